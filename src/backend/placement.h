/* placement.h: where the ranks of a job are placed, and what of it costs speed: GPUs that are hidden from each other or
 * have no link, kinds that differ, cores far from the GPU, a far network adapter, cores shared while others idle. Each
 * rank says where it is, looks at the ranks of its host, and rank 0 tells the log what was found, with the remedy.
 *
 * Invariant: nothing found here is an error, and nothing is changed; what hides itself is not known. */
#ifndef DPT_BACKEND_PLACEMENT_H
#define DPT_BACKEND_PLACEMENT_H

#include "backend/control.h"
#include "backend/topology.h"

struct dpt_backend;
struct dpt_device;
struct dpt_peer;

/* What a context keeps of it. */
typedef struct dpt_placement {
    int node;        /* NUMA node of the rank's GPU; -1: not known, or no GPU */
    cpu_set_t share; /* the rank's own share of the CPUs near its GPU, of those that it may use; empty: not known, or
                        the launcher has bound the rank */
} dpt_placement;

/* Collective. DPT_ERR_MEMORY, DPT_ERR_PEER. */
dpt_status dpt_placement_survey(const dpt_control *control, const struct dpt_backend *backend,
                                struct dpt_device *device, dpt_placement *placement);

/* ---- what it is made of ---- */

/* What a rank says of itself. */
typedef struct dpt_rank_place {
    char host[64], model[64], pci[20]; /* as in dpt_device */
    cpu_set_t cpus;                    /* that it may use; empty: not known */
    dpt_locality device;               /* where its GPU stands */
} dpt_rank_place;

typedef enum dpt_finding_kind {
    DPT_FOUND_HIDDEN,    /* GPUs of the host's other ranks are not visible */
    DPT_FOUND_INSTANCES, /* the same, and this one is a part of a GPU (MIG) */
    DPT_FOUND_NO_ACCESS, /* one cannot read the other's memory */
    DPT_FOUND_NO_NVLINK,
    DPT_FOUND_FAR_CPUS,    /* of another NUMA node than the GPU */
    DPT_FOUND_FAR_ADAPTER, /* all fast network adapters are in another socket, and there are several hosts */
    DPT_FOUND_CROWDED,     /* ranks share CPUs while others of the host idle */
    DPT_FOUND_UNKNOWN,     /* where the GPU stands */
    DPT_FOUND_COUNT
} dpt_finding_kind;

/* What a rank has found, for itself. */
typedef struct dpt_finding {
    bool is[DPT_FOUND_COUNT];
    int node, ranks, cpus, idle; /* of the GPU; that share so many CPUs; while so many idle */
    char adapter[32];
} dpt_finding;

/* peers: how its device reaches that of each rank; only those of other GPUs on its host are read; may be NULL.
 * host: the CPUs that the host has to give; NULL: not known. Local. */
void dpt_rank_place_judge(const dpt_rank_place *all, int world, int rank, const struct dpt_peer *peers,
                          const cpu_set_t *host, dpt_finding *finding);
/* Whether a rank's CPUs are fewer than the ranks that have just these. Local. */
bool dpt_rank_place_crowded(const dpt_rank_place *all, int world, int rank);
/* See dpt_placement. Ranks of a host that have the same CPUs have not been bound; a rank alone on its host has not
 * where it has all that there are. Local. */
void dpt_rank_place_share(const dpt_rank_place *all, int world, int rank, const dpt_topology *topology,
                          cpu_set_t *share);
/* Tells the log; marks: 2 * world bytes to work with. Local. */
void dpt_findings_report(const dpt_rank_place *all, const dpt_finding *found, int world, bool *marks);

#endif
