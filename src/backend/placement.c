/* placement.c: see placement.h. Two exchanges: places, then findings, which rank 0 puts together by their texts, so
 * that a thousand ranks in the same plight make one line. */
#include "backend/placement.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

static bool same_host(const dpt_rank_place *a, const dpt_rank_place *b) { return strcmp(a->host, b->host) == 0; }

static bool is_far(const cpu_set_t *cpus, const dpt_locality *device) {
    cpu_set_t both;
    CPU_AND(&both, cpus, &device->near);
    return device->split && CPU_COUNT(cpus) > 0 && CPU_COUNT(&both) == 0;
}

/* ---- one rank's view ---- */

/* The ranks of this one's host with just its CPUs. */
static int alike(const dpt_rank_place *all, int world, int rank) {
    int n = 0;
    for (int r = 0; r < world; r++) n += same_host(&all[r], &all[rank]) && CPU_EQUAL(&all[r].cpus, &all[rank].cpus);
    return n;
}

bool dpt_rank_place_crowded(const dpt_rank_place *all, int world, int rank) {
    int cpus = CPU_COUNT(&all[rank].cpus);
    return cpus > 0 && alike(all, world, rank) > cpus;
}

static void union_of_host(const dpt_rank_place *all, int world, int rank, cpu_set_t *cpus) {
    CPU_ZERO(cpus);
    for (int r = 0; r < world; r++)
        if (same_host(&all[r], &all[rank])) CPU_OR(cpus, cpus, &all[r].cpus);
}

static void judge_peers(const dpt_rank_place *all, int world, int rank, const dpt_peer *peers, dpt_finding *f) {
    bool instance = strstr(all[rank].model, "MIG") != NULL;
    for (int r = 0; r < world; r++) {
        if (!same_host(&all[r], &all[rank]) || all[r].pci[0] == 0 || strcmp(all[r].pci, all[rank].pci) == 0) continue;
        if (!peers[r].visible)
            f->is[instance ? DPT_FOUND_INSTANCES : DPT_FOUND_HIDDEN] = true;
        else if (!peers[r].access)
            f->is[DPT_FOUND_NO_ACCESS] = true;
        else if (!peers[r].nvlink)
            f->is[DPT_FOUND_NO_NVLINK] = true;
    }
}

void dpt_rank_place_judge(const dpt_rank_place *all, int world, int rank, const dpt_peer *peers, const cpu_set_t *host,
                          dpt_finding *f) {
    const dpt_rank_place *me = &all[rank];
    const dpt_locality *device = &me->device;
    bool hosts = false;
    memset(f, 0, sizeof *f);
    for (int r = 0; r < world; r++) hosts = hosts || !same_host(&all[r], me);
    if (dpt_rank_place_crowded(all, world, rank) && host != NULL) {
        cpu_set_t used;
        union_of_host(all, world, rank, &used);
        CPU_AND(&used, &used, host);
        f->ranks = alike(all, world, rank);
        f->cpus = CPU_COUNT(&me->cpus);
        f->idle = CPU_COUNT(host) - CPU_COUNT(&used);
        f->is[DPT_FOUND_CROWDED] = f->idle > 0;
    }
    if (me->pci[0] == 0) return;
    if (peers != NULL) judge_peers(all, world, rank, peers, f);
    f->node = device->node;
    f->is[DPT_FOUND_UNKNOWN] = device->node < 0;
    f->is[DPT_FOUND_FAR_CPUS] = is_far(&me->cpus, device);
    f->is[DPT_FOUND_FAR_ADAPTER] = hosts && device->adapter[0] && device->fast && device->reach == DPT_REACH_HOST;
    memcpy(f->adapter, device->adapter, sizeof f->adapter);
}

void dpt_rank_place_share(const dpt_rank_place *all, int world, int rank, const dpt_topology *topology,
                          cpu_set_t *share) {
    const dpt_rank_place *me = &all[rank];
    cpu_set_t used, near;
    int i = 0, n = 0, local = 0;
    CPU_ZERO(share);
    for (int r = 0; r < world; r++) {
        if (!same_host(&all[r], me)) continue;
        bool together = CPU_EQUAL(&all[r].device.near, &me->device.near);
        local++;
        n += together;
        i += together && r < rank;
    }
    if (local > 1)
        union_of_host(all, world, rank, &used);
    else
        dpt_topology_cpus(topology, &used);
    CPU_AND(&near, &me->cpus, &me->device.near);
    if (!me->device.split || !CPU_EQUAL(&used, &me->cpus) || CPU_COUNT(&near) == 0) return;
    dpt_topology_share(topology, &near, i, n, share);
}

/* ---- what is said of it ---- */

static void finding_text(dpt_finding_kind kind, const dpt_finding *f, char *text, size_t bytes) {
    switch (kind) {
        case DPT_FOUND_HIDDEN:
            snprintf(
                text, bytes,
                "GPUs of the same host are hidden from each other (CUDA_VISIBLE_DEVICES is set by task), and NVLink "
                "between them may be lost: start with --gpus-per-node and --gpu-bind=none in place of "
                "--gpus-per-task or --gpu-bind=single; each rank then takes the GPU of its local rank");
            break;
        case DPT_FOUND_INSTANCES:
            snprintf(
                text, bytes,
                "MIG instances on several GPUs cannot reach each other, so sums go through host memory: take whole "
                "GPUs where several ranks train together");
            break;
        case DPT_FOUND_NO_ACCESS:
            snprintf(
                text, bytes,
                "no peer access between GPUs of the same host, so sums go through its memory, several times slower: "
                "see nvidia-smi topo -m; where the GPUs are linked, PCIe access control (ACS), an IOMMU or a "
                "virtual machine stands between them, which the site can change");
            break;
        case DPT_FOUND_NO_NVLINK:
            snprintf(
                text, bytes,
                "GPUs of the same host reach each other by PCIe and not by NVLink (tens of GB/s, not hundreds): see "
                "nvidia-smi topo -m, and nvidia-smi nvlink -s for links that are down; take GPUs that are linked");
            break;
        case DPT_FOUND_FAR_CPUS:
            snprintf(
                text, bytes,
                "bound to cores of another NUMA node than their GPU's, so every copy crosses the sockets: start with "
                "mpirun --bind-to none or srun --cpu-bind=none, and dptrain binds each rank near its GPU");
            break;
        case DPT_FOUND_FAR_ADAPTER:
            snprintf(text, bytes,
                     "the GPU is on NUMA node %d, and %s, the nearest fast network adapter, in another socket, which "
                     "slows sums between hosts: with fewer ranks than GPUs on a host take those near it (dptrain info "
                     "shows them, CUDA_VISIBLE_DEVICES chooses)",
                     f->node, f->adapter);
            break;
        case DPT_FOUND_CROWDED:
            snprintf(text, bytes,
                     "%d ranks share %d CPU%s while %d of their host idle%s: start with mpirun --bind-to none, or srun "
                     "--cpus-per-task=N (given to srun, not to sbatch alone)",
                     f->ranks, f->cpus, f->cpus == 1 ? "" : "s", f->idle, f->idle == 1 ? "s" : "");
            break;
        default:
            snprintf(text, bytes,
                     "where the GPU stands on its host is not known (/sys shows no such device), so threads "
                     "are not bound near it");
    }
}

static void report_kind(dpt_finding_kind kind, const dpt_finding *found, int world, bool *said, bool *now) {
    char text[600], other[600], line[900];
    memset(said, 0, (size_t)world);
    for (int first = 0; first < world; first++) {
        if (!found[first].is[kind] || said[first]) continue;
        finding_text(kind, &found[first], text, sizeof text);
        memset(now, 0, (size_t)world);
        for (int r = first; r < world; r++) {
            if (!found[r].is[kind] || said[r]) continue;
            finding_text(kind, &found[r], other, sizeof other);
            now[r] = said[r] = strcmp(text, other) == 0;
        }
        size_t used = dpt_append_ranks(line, sizeof line, 0, now, world);
        dpt_append(line, sizeof line, used, ": %s", text);
        dpt_log(kind == DPT_FOUND_UNKNOWN ? DPT_LOG_DEBUG : DPT_LOG_WARNING, "%s", line);
    }
}

/* Ranks without a GPU have no model. */
static void report_models(const dpt_rank_place *all, int world, bool *said, bool *now) {
    char line[900];
    size_t used = dpt_append(line, sizeof line, 0, "the GPUs differ: ");
    int models = 0;
    memset(said, 0, (size_t)world);
    for (int first = 0; first < world; first++) {
        if (said[first] || all[first].model[0] == 0) continue;
        memset(now, 0, (size_t)world);
        for (int r = first; r < world; r++)
            if (strcmp(all[r].model, all[first].model) == 0) now[r] = said[r] = true;
        used = dpt_append(line, sizeof line, used, "%s%s (", models++ ? ", " : "", all[first].model);
        used = dpt_append_ranks(line, sizeof line, used, now, world);
        used = dpt_append(line, sizeof line, used, ")");
    }
    if (models > 1)
        dpt_log(
            DPT_LOG_WARNING,
            "%s; each step takes as long as on the slowest: ask for one kind (--gpus-per-node=TYPE:N, --constraint)",
            line);
}

void dpt_findings_report(const dpt_rank_place *all, const dpt_finding *found, int world, bool *marks) {
    for (int kind = 0; kind < DPT_FOUND_COUNT; kind++)
        report_kind((dpt_finding_kind)kind, found, world, marks, marks + world);
    report_models(all, world, marks, marks + world);
}

/* ---- the survey ---- */

/* What hwloc cannot say is not known. */
static dpt_topology *open_host(bool devices) {
    dpt_topology *topology = NULL;
    if (dpt_topology_open(NULL, devices, &topology) != DPT_OK)
        dpt_log(DPT_LOG_DEBUG, "where things stand on this host is not known: %s", dpt_last_error());
    return topology;
}

static void place_me(const dpt_device *device, const dpt_topology *topology, dpt_rank_place *me) {
    memset(me, 0, sizeof *me);
    gethostname(me->host, sizeof me->host - 1);
    memcpy(me->model, device->model, sizeof me->model);
    memcpy(me->pci, device->pci, sizeof me->pci);
    me->device.node = -1;
    if (sched_getaffinity(0, sizeof me->cpus, &me->cpus) != 0) CPU_ZERO(&me->cpus);
    if (topology != NULL) dpt_topology_locate(topology, me->pci, &me->device);
}

/* A device that cannot say how it reaches another is not blamed for it. */
static void ask_peers(const dpt_backend *backend, dpt_device *device, const dpt_rank_place *all, int world, int rank,
                      dpt_peer *peers) {
    for (int r = 0; r < world; r++) {
        peers[r] = (dpt_peer){.visible = true, .access = true, .nvlink = true};
        if (!same_host(&all[r], &all[rank]) || all[r].pci[0] == 0) continue;
        if (backend->peer(device, all[r].pci, &peers[r]) == DPT_OK) continue;
        dpt_log(DPT_LOG_DEBUG, "how %s reaches %s is not known: %s", all[rank].pci, all[r].pci, dpt_last_error());
        peers[r] = (dpt_peer){.visible = true, .access = true, .nvlink = true};
    }
}

typedef struct survey {
    dpt_rank_place *all;
    dpt_finding *found;
    dpt_peer *peers;
    bool *marks;
} survey;

static dpt_status make_room(survey *s, int world) {
    size_t n = (size_t)world;
    s->all = dpt_alloc_zero(n, sizeof *s->all);
    s->found = dpt_alloc_zero(n, sizeof *s->found);
    s->peers = dpt_alloc_zero(n, sizeof *s->peers);
    s->marks = dpt_alloc_zero(2 * n, sizeof *s->marks);
    DPT_CHECK(s->all && s->found && s->peers && s->marks, DPT_ERR_MEMORY, "out of memory for the places of %d ranks",
              world);
    return DPT_OK;
}

static void look(const dpt_control *control, const dpt_backend *backend, dpt_device *device, dpt_topology **topology,
                 survey *s, dpt_finding *mine, dpt_placement *placement) {
    cpu_set_t host;
    int world = control->world, rank = control->rank;
    bool peers = backend->peer != NULL && device->pci[0] != 0;
    if (peers) ask_peers(backend, device, s->all, world, rank, s->peers);
    if (*topology == NULL && dpt_rank_place_crowded(s->all, world, rank)) *topology = open_host(false);
    if (*topology != NULL) dpt_topology_cpus(*topology, &host);
    dpt_rank_place_judge(s->all, world, rank, peers ? s->peers : NULL, *topology ? &host : NULL, mine);
    if (*topology == NULL || device->pci[0] == 0) return;
    placement->node = s->all[rank].device.node;
    dpt_rank_place_share(s->all, world, rank, *topology, &placement->share);
}

dpt_status dpt_placement_survey(const dpt_control *control, const dpt_backend *backend, dpt_device *device,
                                dpt_placement *placement) {
    survey s = {.all = NULL};
    dpt_topology *topology = device->pci[0] ? open_host(true) : NULL;
    dpt_rank_place me;
    dpt_finding mine;
    dpt_status status;
    placement->node = -1;
    CPU_ZERO(&placement->share);
    place_me(device, topology, &me);
    DPT_TRY_GOTO(dpt_control_agree(control, make_room(&s, control->world)), fail);
    DPT_TRY_GOTO(dpt_control_gather(control, &me, sizeof me, s.all), fail);
    look(control, backend, device, &topology, &s, &mine, placement);
    DPT_TRY_GOTO(dpt_control_gather(control, &mine, sizeof mine, s.found), fail);
    if (control->rank == 0) dpt_findings_report(s.all, s.found, control->world, s.marks);
fail:
    dpt_topology_close(&topology);
    dpt_free(s.all);
    dpt_free(s.found);
    dpt_free(s.peers);
    dpt_free(s.marks);
    return status;
}
