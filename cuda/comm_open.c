/* comm_open.c: opens NCCL's communicator together with the other ranks: who is there, with which library and which
 * device; what of it cannot work is refused by all ranks alike, with the remedy.
 *
 * Steps: every rank opens its library, then they meet within a limit; they tell each other what they have; the first
 * rank of each communicator makes its id; NCCL connects them in the background, while they compare how far they are.
 *
 * Invariant: after each step all ranks decide by what all ranks said, so that none goes on alone. The status that is
 * returned is every rank's; DPT_ERR_UNSUPPORTED: NCCL cannot serve here, MPI can. After DPT_ERR_PEER, from ranks that
 * have not met, no collective call may follow. */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "cuda/comm_nccl.h"

/* Most thread blocks of a collective, where the user names no number: NCCL reaches the full bandwidth of NVLink with 16
 * on the devices there are; more would only take multiprocessors from the computation beside it. */
enum { DEFAULT_CTAS = 16 };

enum { HOST = 64, STREAM_PRIORITY = 5 };

/* What a rank tells the others. */
typedef struct fact {
    char host[HOST], pci[20], missing[400];
    int version, local_rank;
} fact;

typedef enum state { STATE_RUNNING, STATE_DONE, STATE_FAILED, STATE_LATE } state;

/* An opening: of all ranks, whatever the scope. */
typedef struct opening {
    const dpt_control *control;
    const dpt_comm_options *o;
    dpt_nccl_comm *m;
    const fact *fact; /* [world] */
    uint8_t *mark;    /* [world] of the ranks in a list */
    int rank, world;  /* in the communicator that is opened */
    int leader;       /* the rank of the control plane that makes its id */
} opening;

/* ---- lists of ranks and interfaces, for messages ---- */

/* "0-3 on nodea, 7 on nodea, 9 on nodeb": the ranks with mark[r] == which. */
static size_t list_ranks(const uint8_t *mark, uint8_t which, const fact *f, int world, char *text, size_t bytes) {
    size_t n = 0;
    text[0] = 0;
    for (int r = 0; r < world; r++) {
        if (mark[r] != which) continue;
        int last = r;
        while (last + 1 < world && mark[last + 1] == which && strcmp(f[last + 1].host, f[r].host) == 0) last++;
        n = dpt_append(text, bytes, n, "%s%d", n ? ", " : "", r);
        if (last > r) n = dpt_append(text, bytes, n, "-%d", last);
        n = dpt_append(text, bytes, n, " on %s", f[r].host);
        r = last;
    }
    return n;
}

static void list_interfaces(char *text, size_t bytes) {
    struct if_nameindex *all = if_nameindex();
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; all != NULL && all[i].if_index != 0; i++)
        n = dpt_append(text, bytes, n, "%s%s", n ? ", " : "", all[i].if_name);
    if (all != NULL) if_freenameindex(all);
}

static void say_shared_memory(char *text, size_t bytes) {
    struct statvfs at;
    if (statvfs("/dev/shm", &at) != 0) return;
    snprintf(text, bytes,
             "; /dev/shm has %.0f MiB free of %.0f MiB: give it more (docker run --shm-size=1g), or set "
             "NCCL_SHM_DISABLE=1",
             (double)at.f_bavail * (double)at.f_frsize / 1048576, (double)at.f_blocks * (double)at.f_frsize / 1048576);
}

const char *dpt_nccl_said(const dpt_nccl *nccl, dpt_nccl_handle *handle, dpt_nccl_result result, char *text,
                          size_t bytes) {
    char interfaces[160], more[320] = "";
    const char *last = nccl->GetLastError(handle);
    if (last == NULL) last = "";
    if (strstr(last, "shared memory") || strstr(last, "/dev/shm")) say_shared_memory(more, sizeof more);
    if (strstr(last, "socket interface")) {
        list_interfaces(interfaces, sizeof interfaces);
        snprintf(more, sizeof more, "; this host has %s: name one by comm.interface", interfaces);
    }
    int length = (int)strcspn(last, "\n");
    snprintf(text, bytes, "%s%s%.*s%s", nccl->GetErrorString(result), length ? ": " : "", length, last, more);
    return text;
}

/* ---- what the ranks have ---- */

static void tell_about_me(const dpt_nccl_comm *m, const dpt_control *control, fact *mine) {
    const dpt_cuda_device *d = m->device->state;
    const char *why = "";
    const dpt_nccl *nccl = dpt_nccl_open(&why);
    snprintf(mine->pci, sizeof mine->pci, "%s", d->pci);
    snprintf(mine->missing, sizeof mine->missing, "%s", why);
    mine->version = nccl ? nccl->version : 0;
    mine->local_rank = control->local_rank;
}

/* Ranks that come to the start of NCCL; who does not within the limit is named. */
static dpt_status meet(const opening *p) {
    char ranks[400];
    dpt_status status = dpt_cuda_host->meet(p->control, p->o->start_limit_s, p->mark);
    if (status != DPT_ERR_PEER) return status;
    if (list_ranks(p->mark, 0, p->fact, p->control->world, ranks, sizeof ranks) == 0) return status;
    return dpt_error(DPT_ERR_PEER, "NCCL: after %g s there was no sign of rank %s, which the others waited for",
                     p->o->start_limit_s, ranks);
}

static dpt_status check_libraries(const opening *p) {
    const fact *f = p->fact;
    const int world = p->control->world;
    char ranks[400];
    int first = 0;
    while (first < world && f[first].version != 0) first++;
    if (first == world) return DPT_OK;
    for (int r = 0; r < world; r++) p->mark[r] = f[r].version == 0 && strcmp(f[r].missing, f[first].missing) == 0;
    list_ranks(p->mark, 1, f, world, ranks, sizeof ranks);
    return dpt_error(DPT_ERR_UNSUPPORTED, "no NCCL for rank %s: %s", ranks, f[first].missing);
}

static dpt_status check_versions(const opening *p) {
    const fact *f = p->fact;
    const int world = p->control->world;
    char text[900] = "", version[32], ranks[300];
    size_t n = 0;
    int kinds = 0;
    for (int r = 0; r < world; r++) {
        bool known = false;
        for (int s = 0; s < r; s++) known = known || f[s].version == f[r].version;
        if (known) continue;
        for (int s = 0; s < world; s++) p->mark[s] = f[s].version == f[r].version;
        list_ranks(p->mark, 1, f, world, ranks, sizeof ranks);
        dpt_nccl_version_text(f[r].version, version, sizeof version);
        n = dpt_append(text, sizeof text, n, "%s%s (rank %s)", n ? ", " : "", version, ranks);
        kinds++;
    }
    return kinds < 2 ? DPT_OK
                     : dpt_error(DPT_ERR_DEVICE,
                                 "NCCL's version differs over ranks: %s: give all ranks the same "
                                 "library, by its module or by DPTRAIN_NCCL=<file>",
                                 text);
}

/* Two ranks on a device, which only newer versions can. */
static dpt_status check_sharing(const opening *p, bool *shared) {
    const fact *f = p->fact;
    char version[32];
    *shared = false;
    for (int r = 0; r < p->control->world; r++)
        for (int s = 0; s < r; s++) {
            if (strcmp(f[r].pci, f[s].pci) != 0 || strcmp(f[r].host, f[s].host) != 0) continue;
            *shared = true;
            dpt_nccl_version_text(f[0].version, version, sizeof version);
            DPT_CHECK(f[0].version >= DPT_NCCL_SHARES_GPU, DPT_ERR_UNSUPPORTED,
                      "rank %d and rank %d share a GPU (%s on %s), which NCCL %s refuses: take 2.30 or later, or one "
                      "rank a GPU",
                      s, r, f[r].pci, f[r].host, version);
        }
    return DPT_OK;
}

/* Who is in the communicator, in the order of ranks. */
static void find_members(opening *p) {
    const fact *f = p->fact, *me = &f[p->control->rank];
    p->rank = p->world = 0;
    for (int r = 0; r < p->control->world; r++) {
        bool in = p->o->scope == DPT_COMM_ALL ||
                  (p->o->scope == DPT_COMM_NODE ? strcmp(f[r].host, me->host) == 0 : f[r].local_rank == me->local_rank);
        if (!in) continue;
        if (p->world == 0) p->leader = r;
        if (r < p->control->rank) p->rank++;
        p->world++;
    }
}

/* ---- NCCL's settings: variables of the environment, read when a communicator is opened ---- */

/* The user's own value stands, and is mentioned where it matters. */
static void set(dpt_nccl_comm *m, const char *name, const char *value, const char *for_what) {
    const char *now = getenv(name);
    if (now == NULL && m->n_setting < DPT_COMM_SETTINGS && setenv(name, value, 0) == 0)
        m->setting[m->n_setting++] = name;
    if (now != NULL && strcmp(now, value) != 0)
        dpt_log(DPT_LOG_WARNING, "%s=%s in the environment is kept, where %s asks for %s", name, now, for_what, value);
}

static dpt_status apply_settings(const opening *p, bool shared) {
    const char *interface = p->o->interface;
    char exact[80], there[200];
    if (shared) {
        set(p->m, "NCCL_MULTI_RANK_GPU_ENABLE", "1", "a GPU with several ranks");
        set(p->m, "NCCL_NVLS_ENABLE", "0", "a GPU with several ranks");
    }
    if (p->o->deterministic) {
        set(p->m, "NCCL_ALGO", "Ring", "deterministic");
        set(p->m, "NCCL_PROTO", "Simple", "deterministic");
        set(p->m, "NCCL_NVLS_ENABLE", "0", "deterministic");
    }
    if (interface == NULL || interface[0] == 0) return DPT_OK;
    list_interfaces(there, sizeof there);
    DPT_CHECK(if_nametoindex(interface) != 0, DPT_ERR_CONFIG,
              "comm.interface is \"%.40s\", and %s has no such network interface, but %s", interface,
              p->fact[p->control->rank].host, there);
    snprintf(exact, sizeof exact, "=%.60s", interface);
    set(p->m, "NCCL_SOCKET_IFNAME", exact, "comm.interface");
    return DPT_OK;
}

static dpt_nccl_config config_of(const dpt_comm_options *o) {
    dpt_nccl_config config = DPT_NCCL_CONFIG;
    config.blocking = 0;
    config.max_ctas = o->max_ctas > 0 ? o->max_ctas : DEFAULT_CTAS;
    if (o->deterministic) config.min_ctas = config.max_ctas; /* as many channels whatever the devices' links */
    return config;
}

/* ---- connecting ---- */

/* What each rank has come to, compared in rounds until all are done, one has failed or the limit has passed. */
static dpt_status follow(const opening *p, dpt_nccl_result result) {
    dpt_nccl_comm *m = p->m;
    const double begin = dpt_clock_s();
    struct timespec pause = {0, 200000};
    for (;;) {
        if (result == DPT_NCCL_IN_PROGRESS &&
            (m->handle == NULL || m->nccl->CommGetAsyncError(m->handle, &result) != DPT_NCCL_SUCCESS))
            result = DPT_NCCL_INTERNAL_ERROR;
        uint8_t mine = result == DPT_NCCL_SUCCESS                    ? STATE_DONE
                       : result != DPT_NCCL_IN_PROGRESS              ? STATE_FAILED
                       : dpt_clock_s() - begin > p->o->start_limit_s ? STATE_LATE
                                                                     : STATE_RUNNING;
        DPT_TRY(dpt_cuda_host->gather(p->control, &mine, sizeof mine, p->mark));
        uint8_t worst = STATE_DONE;
        bool running = false;
        for (int r = 0; r < p->control->world; r++) {
            if (p->mark[r] > worst) worst = p->mark[r];
            running = running || p->mark[r] == STATE_RUNNING;
        }
        if (worst == STATE_DONE && !running) return DPT_OK;
        if (worst > STATE_DONE) break;
        (void)nanosleep(&pause, NULL);
        if (pause.tv_nsec < 20000000) pause.tv_nsec *= 2;
    }
    char said[400], ranks[400];
    dpt_nccl_said(m->nccl, m->handle, result, said, sizeof said);
    for (int r = 0; r < p->control->world; r++)
        if (p->mark[r] == STATE_FAILED) {
            DPT_TRY(dpt_cuda_host->broadcast(p->control, said, sizeof said, r));
            return dpt_error(DPT_ERR_DEVICE, "NCCL did not start on rank %d on %s: %s", r, p->fact[r].host, said);
        }
    for (int r = 0; r < p->control->world; r++)
        if (p->mark[r] == STATE_RUNNING) p->mark[r] = STATE_LATE;
    list_ranks(p->mark, STATE_LATE, p->fact, p->control->world, ranks, sizeof ranks);
    const char *interface = getenv("NCCL_SOCKET_IFNAME");
    return dpt_error(DPT_ERR_DEVICE,
                     "NCCL has not connected rank %s within %g s, though all ranks are there; NCCL said: %s; network "
                     "interface: %s (comm.interface names another, NCCL_DEBUG=INFO says more)",
                     ranks, p->o->start_limit_s, said, interface ? interface : "chosen by NCCL");
}

/* The id of this rank's communicator: every first rank makes one. With several communicators, all ids go to all. */
static dpt_status get_id(const opening *p, dpt_nccl_id *id) {
    const dpt_control *c = p->control;
    char said[400];
    dpt_status status = DPT_OK;
    if (c->rank == p->leader) {
        dpt_nccl_result result = p->m->nccl->GetUniqueId(id);
        if (result != DPT_NCCL_SUCCESS)
            status = dpt_error(DPT_ERR_DEVICE, "NCCL makes no id for its communicator: %s",
                               dpt_nccl_said(p->m->nccl, NULL, result, said, sizeof said));
    }
    DPT_TRY(dpt_cuda_host->agree(c, status));
    if (p->o->scope == DPT_COMM_ALL) return dpt_cuda_host->broadcast(c, id, sizeof *id, p->leader);
    for (int r = 0; r < c->world; r++) {
        dpt_nccl_id theirs = *id;
        DPT_TRY(dpt_cuda_host->broadcast(c, &theirs, sizeof theirs, r));
        if (r == p->leader) *id = theirs;
    }
    return DPT_OK;
}

static dpt_status connect_ranks(const opening *p) {
    dpt_nccl_comm *m = p->m;
    dpt_nccl_config config = config_of(p->o);
    dpt_nccl_id id = {{0}};
    DPT_TRY(get_id(p, &id));
    return follow(p, m->nccl->CommInitRankConfig(&m->handle, p->world, id, p->rank, &config));
}

/* ---- opening ---- */

/* What this rank alone needs. */
static dpt_status prepare(dpt_nccl_comm *m) {
    const dpt_device_ops *ops = m->device->ops;
    void *counters = NULL;
    DPT_TRY(ops->stream_create(m->device, STREAM_PRIORITY, &m->stream));
    DPT_TRY(ops->event_create(m->device, &m->fork));
    for (int i = 0; i < DPT_COMM_TICKETS; i++) DPT_TRY(ops->event_create(m->device, &m->done[i]));
    DPT_TRY(ops->alloc(m->device, 2 * sizeof *m->counters, DPT_FOR_STAGING, &counters));
    m->counters = counters;
    return dpt_nccl_abortion_create(&m->abortion);
}

static dpt_status open_with(opening *p, fact *facts) {
    const dpt_control *c = p->control;
    dpt_nccl_comm *m = p->m;
    fact mine = {.host = ""};
    bool shared;
    snprintf(mine.host, sizeof mine.host, "%s", ((const dpt_cuda_device *)m->device->state)->host);
    snprintf(m->where, sizeof m->where, "rank %d on %s", c->rank, mine.host);
    p->fact = facts;
    DPT_TRY(dpt_cuda_host->gather(c, &mine, sizeof mine, facts)); /* names, should one be missing after this */
    tell_about_me(m, c, &mine);
    DPT_TRY(meet(p));
    DPT_TRY(dpt_cuda_host->gather(c, &mine, sizeof mine, facts));
    DPT_TRY(check_libraries(p));
    DPT_TRY(check_versions(p));
    DPT_TRY(check_sharing(p, &shared));
    m->nccl = dpt_nccl_open(NULL);
    find_members(p);
    dpt_status status = apply_settings(p, shared);
    if (status == DPT_OK) status = prepare(m);
    DPT_TRY(dpt_cuda_host->agree(c, status));
    return connect_ranks(p);
}

static void describe(const opening *p, dpt_comm *comm) {
    static const char *const scope[] = {
        [DPT_COMM_ALL] = "", [DPT_COMM_NODE] = ", within the host", [DPT_COMM_ACROSS] = ", across hosts"};
    dpt_nccl_comm *m = p->m;
    char version[32];
    dpt_nccl_version_text(m->nccl->version, version, sizeof version);
    snprintf(comm->name, sizeof comm->name, "nccl %s%s%s%s", version, scope[p->o->scope],
             p->o->deterministic ? ", deterministic" : "", p->o->sum_bf16 ? ", in bf16" : "");
    comm->rank = p->rank;
    comm->world = p->world;
    comm->overlaps = true;
    comm->entered = &m->counters[0];
    comm->finished = &m->counters[1];
    dpt_cuda_use_nccl_memory(m->device, m->nccl);
}

dpt_status dpt_nccl_comm_open(const dpt_control *control, dpt_device *device, const dpt_comm_options *options,
                              dpt_comm *comm) {
    *comm = (dpt_comm){.ops = &dpt_nccl_comm_ops};
    dpt_nccl_comm *m = dpt_alloc_zero(1, sizeof *m);
    fact *facts = dpt_alloc_zero((size_t)control->world, sizeof *facts);
    uint8_t *mark = dpt_alloc_zero((size_t)control->world, 1);
    opening p = {.control = control, .o = options, .m = m, .mark = mark};
    comm->state = m;
    if (m != NULL) {
        pthread_mutex_init(&m->lock, NULL);
        m->device = device;
        m->device_index = ((const dpt_cuda_device *)device->state)->index;
        m->control = *control;
        m->sum_bf16 = options->sum_bf16;
        m->deterministic = options->deterministic;
    }
    dpt_status status = dpt_cuda_host->agree(control, m && facts && mark ? DPT_OK : DPT_ERR_MEMORY);
    if (status == DPT_OK) status = open_with(&p, facts);
    if (status == DPT_OK) describe(&p, comm);
    if (status != DPT_OK && m != NULL && m->status == DPT_OK) { /* no rank waits for it to end together */
        m->status = status;
        snprintf(m->message, sizeof m->message, "%s", dpt_last_error());
    }
    dpt_free(mark);
    dpt_free(facts);
    return status;
}
