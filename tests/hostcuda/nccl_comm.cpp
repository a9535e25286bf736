/* nccl_comm.cpp: see nccl_comm.h. The ranks of a communicator find each other by the id: whoever made it collects what
 * the others say of themselves, and sends all of it to all. A split needs no such meeting: the parent's ranks tell each
 * other their colours. */
#include "nccl_comm.h"

#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>
#include <thread>

#include "nccl_plan.h"
#include "nccl_wire.h"

namespace hostnccl {

namespace {

enum { nap_us = 200 };

/* What a rank says of itself. */
struct introduction {
    int rank, ranks, process, version;
    char host[64], pci[32];
};

/* In ncclUniqueId. */
struct unique_id {
    char mark[16];
    uint64_t number;
    int process; /* that made it */
};
const char id_mark[] = "NCCL on host";

std::set<ncclComm_t> &live() {
    static auto *all = new std::set<ncclComm_t>();
    return *all;
}

std::thread *beside; /* under guard */
std::atomic<bool> beside_ends;

/* ---- the thread ---- */

/* A stack for signal handlers of its own: the report of a kernel's stack that ran over is written on it. */
void give_signal_stack() {
    static char memory[64 * 1024];
    stack_t ours;
    memset(&ours, 0, sizeof ours);
    ours.ss_sp = memory, ours.ss_size = sizeof memory;
    sigaltstack(&ours, NULL);
}

void run_thread() {
    sigset_t all;
    sigfillset(&all);
    for (int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) sigdelset(&all, fault);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    give_signal_stack();
    while (!beside_ends) {
        usleep(nap_us);
        {
            hold held(guard());
            for (ncclComm_t comm : live()) settle(comm);
        }
        engine()->run_beside();
    }
}

/* Without the guard. */
void stop_thread() {
    std::thread *ending;
    {
        hold held(guard());
        ending = beside;
        beside = NULL;
        if (ending != NULL) beside_ends = true;
    }
    if (ending == NULL) return;
    ending->join();
    delete ending;
}

int stop_at_finalize(MPI_Comm, int, void *, void *) {
    stop_thread();
    return MPI_SUCCESS;
}

/* MPI ends while there are communicators, or the process does: the thread must not call into what is gone. */
void stop_thread_at_end() {
    static bool prepared;
    int started = 0, key;
    if (prepared) return;
    prepared = true;
    atexit(stop_thread);
    MPI_Initialized(&started);
    if (!started) return;
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, stop_at_finalize, &key, NULL);
    MPI_Comm_set_attr(MPI_COMM_SELF, key, NULL);
}

/* Under guard. */
void add_live(ncclComm_t comm) {
    live().insert(comm);
    if (beside != NULL) return;
    stop_thread_at_end();
    beside_ends = false;
    beside = new std::thread(run_thread);
}

/* Without the guard afterwards. */
void remove_live(ncclComm_t comm, hold *held) {
    live().erase(comm);
    bool was_last = live().empty();
    held->unlock();
    for (const auto &r : comm->registered) free(r.first);
    if (!comm->registered.empty()) engine()->count_registered(-(int)comm->registered.size());
    delete comm;
    if (was_last) stop_thread();
}

/* ---- jobs ---- */

/* The job, not before it has been asked so many times. */
job later(int times, job then) {
    auto left = std::make_shared<int>(times);
    return [left, then]() -> ncclResult_t { return (*left)-- > 0 ? ncclInProgress : then(); };
}

/* Every rank's bytes to the others. */
struct exchange {
    messages under_way;
    std::vector<char> all, mine;
    bool begun;
};

ncclComm_t make(const ranks_ref &on, int device, bool blocking) {
    ncclComm_t comm = new ncclComm();
    comm->on = on;
    comm->among = std::make_shared<hostcuda::order>();
    comm->held = std::make_shared<int>(0);
    comm->device = device;
    comm->blocking = blocking;
    comm->failure = ncclSuccess;
    return comm;
}

/* ---- init ---- */

struct meeting {
    ranks_ref on;
    unique_id id;
    introduction mine;
    std::vector<introduction> all; /* by rank, at the end */
    messages under_way;
    bool begun, gathered;
    uint64_t hello() const { return key_of(id.number, 'h'); }
    uint64_t roster() const { return key_of(id.number, 'r'); }
    bool collects() const { return mine.process == id.process; }
};

void introduce(introduction *mine, int rank, int ranks, const char *pci) {
    const char *host = getenv("NCCL_HOSTID");
    memset(mine, 0, sizeof *mine);
    mine->rank = rank, mine->ranks = ranks;
    mine->process = wire_rank();
    mine->version = version();
    if (host != NULL && *host != '\0')
        snprintf(mine->host, sizeof mine->host, "%s", host);
    else
        gethostname(mine->host, sizeof mine->host - 1);
    snprintf(mine->pci, sizeof mine->pci, "%s", pci);
}

void begin_meeting(meeting *m) {
    m->begun = true;
    m->all.resize((size_t)m->mine.ranks);
    m->all[0] = m->mine;
    if (m->mine.ranks == 1) return;
    if (m->collects()) {
        for (int i = 1; i < m->mine.ranks; i++)
            m->under_way.receive(MPI_ANY_SOURCE, m->hello(), &m->all[(size_t)i], sizeof m->mine);
    } else {
        m->under_way.send(m->id.process, m->hello(), &m->mine, sizeof m->mine);
        m->under_way.receive(m->id.process, m->roster(), m->all.data(), m->all.size() * sizeof m->mine);
        m->gathered = true;
    }
}

/* In order of ranks; false: they do not fit each other, and NCCL's root says nothing more to anyone. */
bool sort_roster(meeting *m) {
    std::sort(m->all.begin(), m->all.end(),
              [](const introduction &a, const introduction &b) { return a.rank < b.rank; });
    for (int i = 0; i < m->mine.ranks; i++)
        if (m->all[(size_t)i].rank != i || m->all[(size_t)i].ranks != m->mine.ranks) return false;
    return true;
}

void send_roster(meeting *m) {
    m->gathered = true;
    for (const introduction &other : m->all)
        if (other.process != m->mine.process)
            m->under_way.send(other.process, m->roster(), m->all.data(), m->all.size() * sizeof m->mine);
}

bool same_device(const introduction &a, const introduction &b) {
    return a.rank != b.rank && strcmp(a.host, b.host) == 0 && strcmp(a.pci, b.pci) == 0;
}

bool allows_same_device() {
    const char *text = getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    return version() >= NCCL_VERSION(2, 30, 0) && text != NULL && atoi(text) == 1;
}

/* What NCCL says of other versions and of one device twice. */
ncclResult_t check_roster(const meeting &m) {
    const introduction &mine = m.mine;
    for (const introduction &other : m.all)
        if (other.version != mine.version)
            return failed(ncclInvalidUsage, "Mismatched NCCL version detected : rank %d version %d rank %d version %d",
                          mine.rank, mine.version, other.rank, other.version);
    if (allows_same_device()) return ncclSuccess;
    for (const introduction &other : m.all)
        if (same_device(mine, other))
            return failed(ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d both on CUDA device %s",
                          mine.rank, other.rank, mine.pci);
    for (const introduction &a : m.all)
        for (const introduction &b : m.all)
            if (same_device(a, b)) return failed(ncclRemoteError, "rank %d has left during init", a.rank);
    return ncclSuccess;
}

ncclResult_t go_on_meeting(meeting *m) {
    if (planned_rank("HOSTNCCL_INIT_HANG")) return ncclInProgress;
    if (!m->begun) begin_meeting(m);
    if (!m->under_way.ended()) return ncclInProgress;
    if (!m->gathered && m->mine.ranks > 1) {
        if (sort_roster(m)) send_roster(m);
        return ncclInProgress;
    }
    ncclResult_t code = check_roster(*m);
    if (code != ncclSuccess) return code;
    for (const introduction &other : m->all) {
        m->on->processes.push_back(other.process);
        if (strcmp(other.host, m->mine.host) == 0) m->on->of_host.push_back(other.rank);
    }
    return ncclSuccess;
}

/* ---- split ---- */

struct choice {
    int color, key, rank;
};

ranks_ref ranks_of_color(const ranks_ref &parent, uint64_t key, int color, const choice *chosen) {
    std::vector<choice> members;
    for (size_t r = 0; r < parent->processes.size(); r++)
        if (chosen[r].color == color) members.push_back({color, chosen[r].key, (int)r});
    std::stable_sort(members.begin(), members.end(), [](const choice &a, const choice &b) { return a.key < b.key; });
    ranks_ref on = std::make_shared<group_of_ranks>();
    on->key = key_of(key, (uint64_t)color);
    for (size_t i = 0; i < members.size(); i++) {
        const std::vector<int> &near = parent->of_host;
        on->processes.push_back(parent->processes[(size_t)members[i].rank]);
        if (std::find(near.begin(), near.end(), members[i].rank) != near.end()) on->of_host.push_back((int)i);
        if (members[i].rank == parent->rank) on->rank = (int)i;
    }
    return on;
}

}  // namespace

/* ---- shared ---- */

std::mutex &guard() {
    static auto *one = new std::mutex();
    return *one;
}

static int collect_name(struct dl_phdr_info *info, size_t, void *names) {
    static_cast<std::vector<std::string> *>(names)->push_back(info->dlpi_name);
    return 0;
}

static const hostcuda::engine *find_engine() {
    std::vector<std::string> names;
    dl_iterate_phdr(collect_name, &names);
    for (const std::string &name : names) {
        void *object = name.empty() ? NULL : dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);
        void *found = object != NULL ? dlsym(object, HOSTCUDA_ENGINE_SYMBOL) : NULL;
        if (object != NULL) dlclose(object);
        if (found != NULL) return static_cast<const hostcuda::engine *>(found);
    }
    return NULL;
}

const hostcuda::engine *engine() {
    static std::atomic<const hostcuda::engine *> found;
    if (found == NULL) found = find_engine();
    return found;
}

static char last_text[512];
static std::mutex last_lock;

ncclResult_t failed(ncclResult_t code, const char *format, ...) {
    std::lock_guard<std::mutex> held(last_lock);
    va_list args;
    va_start(args, format);
    vsnprintf(last_text, sizeof last_text, format, args);
    va_end(args);
    if (getenv("NCCL_DEBUG") != NULL) fprintf(stderr, "%d NCCL WARN %s\n", wire_rank(), last_text);
    return code;
}

const char *last_error() { return last_text; }

bool is_live(ncclComm_t comm) { return live().count(comm) != 0; }

ncclResult_t state_of(ncclComm_t comm) {
    int failure = comm->on->failure;
    if (failure != ncclSuccess) return (ncclResult_t)failure;
    if (comm->failure != ncclSuccess) return comm->failure;
    return comm->jobs.empty() ? ncclSuccess : ncclInProgress;
}

ncclResult_t check_ready(ncclComm_t comm) {
    if (!is_live(comm)) return failed(ncclInvalidArgument, "the communicator is none, or has been destroyed");
    if (comm->on->aborted) return failed(ncclInvalidArgument, "the communicator has been aborted");
    ncclResult_t state = state_of(comm);
    if (state != ncclInProgress) return state;
    return failed(ncclInvalidArgument,
                  "Attempt to use communicator before the previous operation returned ncclSuccess");
}

void settle(ncclComm_t comm) {
    while (!comm->jobs.empty() && !comm->on->aborted) {
        ncclResult_t code = comm->jobs.front()();
        if (code == ncclInProgress) return;
        comm->jobs.pop_front();
        if (code != ncclSuccess) comm->failure = code;
    }
}

ncclResult_t wait_for_jobs(ncclComm_t comm, hold *held) {
    for (settle(comm); state_of(comm) == ncclInProgress && !comm->on->aborted; settle(comm)) {
        held->unlock();
        usleep(nap_us);
        held->lock();
        if (!is_live(comm)) return failed(ncclInternalError, "another thread has aborted the communicator");
    }
    return state_of(comm);
}

ncclResult_t submit(ncclComm_t comm, job added, hold *held) {
    enum { most_asked = 3 };
    static int submitted;
    comm->jobs.push_back(comm->blocking ? added : later(1 + submitted++ % most_asked, added));
    return comm->blocking ? wait_for_jobs(comm, held) : ncclInProgress;
}

job make_exchange(const ranks_ref &on, const std::vector<int> &ranks, uint64_t key, const void *mine, size_t bytes,
                  std::function<ncclResult_t(const char *)> then) {
    std::shared_ptr<exchange> e = std::make_shared<exchange>();
    e->mine.assign(static_cast<const char *>(mine), static_cast<const char *>(mine) + bytes);
    e->all.resize(bytes * on->processes.size());
    e->begun = false;
    return [=]() -> ncclResult_t {
        for (int r : ranks) {
            int process = on->processes[(size_t)r];
            char *place = e->all.data() + bytes * (size_t)r;
            if (e->begun) break;
            if (r == on->rank) memcpy(place, e->mine.data(), bytes);
            if (r == on->rank) continue;
            e->under_way.receive(process, key, place, bytes);
            e->under_way.send(process, key, e->mine.data(), bytes);
        }
        e->begun = true;
        if (!e->under_way.ended()) return ncclInProgress;
        return then(e->all.data());
    };
}

void make_id(ncclUniqueId *id) {
    static std::atomic<uint64_t> made;
    unique_id mine = {};
    memcpy(mine.mark, id_mark, sizeof id_mark);
    mine.process = wire_rank();
    mine.number = key_of(key_of('i', (uint64_t)mine.process), ++made);
    memset(id, 0, sizeof *id);
    memcpy(id->internal, &mine, sizeof mine);
}

ncclResult_t create(ncclComm_t *comm, int ranks, const ncclUniqueId &id, int rank, bool blocking) {
    char pci[32];
    int device;
    auto m = std::make_shared<meeting>();
    memcpy(&m->id, id.internal, sizeof m->id);
    if (memcmp(m->id.mark, id_mark, sizeof id_mark) != 0) return failed(ncclInvalidArgument, "the id is none");
    if (engine()->device(&device, pci, sizeof pci) != cudaSuccess || engine()->release(NULL) != cudaSuccess)
        return failed(ncclUnhandledCudaError, "Cuda failure: the device cannot be used");
    introduce(&m->mine, rank, ranks, pci);
    m->on = std::make_shared<group_of_ranks>();
    m->on->key = m->id.number;
    m->on->rank = rank;
    m->begun = m->gathered = false;
    *comm = make(m->on, device, blocking);
    hold held(guard());
    add_live(*comm);
    return submit(
        *comm, [m] { return go_on_meeting(m.get()); }, &held);
}

ncclResult_t split(ncclComm_t comm, int color, int key, ncclComm_t *child, bool blocking, hold *held) {
    ranks_ref on = comm->on;
    uint64_t made = key_of(key_of(on->key, 's'), comm->children++);
    choice mine = {color, key, on->rank};
    std::vector<int> all;
    for (size_t r = 0; r < on->processes.size(); r++) all.push_back((int)r);
    int device = comm->device;
    *child = NULL; /* until it is ready */
    job tell = make_exchange(on, all, made, &mine, sizeof mine, [=](const char *chosen) {
        if (color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
        const choice *choices = reinterpret_cast<const choice *>(chosen);
        *child = make(ranks_of_color(on, made, color, choices), device, blocking);
        add_live(*child);
        return ncclSuccess;
    });
    return submit(comm, tell, held);
}

/* ---- the end ---- */

/* Once what is queued has ended, and the ranks of the host have come. Then only graphs hold the communicator, and NCCL
 * waits until they are gone. */
static job make_end(ncclComm_t comm) {
    char nothing = 0;
    hostcuda::order_ref among = comm->among;
    std::weak_ptr<int> held = comm->held;
    job meet = make_exchange(comm->on, comm->on->of_host, key_of(comm->on->key, 'f'), &nothing, 1,
                             [](const char *) { return ncclSuccess; });
    return [=]() -> ncclResult_t {
        if (!engine()->has_ended(among)) return ncclInProgress;
        if (held.use_count() > 1)
            engine()->fatal(
                "a communicator of NCCL ends before the graphs that hold its collectives: NCCL would wait "
                "for ever; destroy them first");
        return meet();
    };
}

ncclResult_t finalize(ncclComm_t comm, hold *held) {
    comm->finalized = true;
    return submit(comm, make_end(comm), held);
}

ncclResult_t destroy(ncclComm_t comm, hold *held) {
    if (!comm->finalized) comm->jobs.push_back(make_end(comm));
    ncclResult_t code = wait_for_jobs(comm, held);
    if (code == ncclSuccess) remove_live(comm, held);
    return code;
}

/* What is under way ends at once. Then, as NCCL, it waits until no graph holds the communicator. What waits for other
 * ranks is left as it is, for messages may still arrive. */
ncclResult_t abort(ncclComm_t comm, hold *held) {
    static auto *left = new std::vector<job>();
    comm->on->aborted = true;
    for (job &j : comm->jobs) left->push_back(j);
    comm->jobs.clear();
    hostcuda::order_ref among = comm->among;
    std::weak_ptr<int> graphs = comm->held;
    held->unlock();
    engine()->finish(among);
    while (planned_rank("HOSTNCCL_ABORT_HANGS") || graphs.use_count() > 1) usleep(nap_us);
    held->lock();
    remove_live(comm, held);
    return ncclSuccess;
}

}  // namespace hostnccl
