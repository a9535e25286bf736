/* arenas.h: where parameters, gradients, optimiser moments and state lie.
 *
 * Order, format 1: parameters stand in the reverse of their first use by a node of the graph (ties: the later made one
 * first), so gradients become final from the front of the arena to its back; unused ones stand last. Slots start at
 * multiples of DPT_ALIGNMENT and are canonical (C order). The gradient arena holds the trained parameters in the same
 * order and, last, the loss of the step, which rides on the exchange. Moments mirror the gradient arena. The order
 * depends on the graph alone and enters the start-up digest.
 *
 * Sharded (ZeRO-1), a bucket is the same stretch of both arenas, padded at its end so that it divides into a slice for
 * each rank; what is not trained stands behind all buckets, and the loss in a bucket of its own. A rank updates its
 * slices and holds moments of those alone, one slice behind the other. Invariant: only the segments differ between
 * ranks. */
#ifndef DPT_PROGRAM_ARENAS_H
#define DPT_PROGRAM_ARENAS_H

#include "graph/graph.h"

typedef struct dpt_slot {
    int64_t offset, bytes; /* offset -1: has no place */
} dpt_slot;

typedef struct dpt_bucket {
    int64_t offset, bytes; /* stretch of the gradient arena */
    dpt_dtype dtype;
    int64_t first, count;            /* positions in `order` of trained parameters */
    bool tail;                       /* holds the loss */
    int64_t first_segment, segments; /* what is updated of it here */
    int64_t slice_bytes;             /* of each rank, sharded; 0: the bucket is not cut */
} dpt_bucket;

typedef struct dpt_arena_plan {
    int64_t n_param, n_state;
    int64_t *order;  /* parameter numbers by place in the arena */
    dpt_slot *param; /* by parameter number */
    dpt_slot *grad;  /* by parameter number; offset -1 where frozen or unused */
    dpt_slot *state; /* by state number */
    dpt_slot loss;   /* in the gradient arena */
    dpt_dtype loss_dtype;
    int64_t param_bytes, grad_bytes, moment_bytes, state_bytes;
    dpt_segment *segment; /* trained parameters in arena order; sharded: what this rank's slices hold of them */
    int64_t n_segment;
    int64_t n_trained; /* parameters */
    bool sharded;
    dpt_bucket *bucket;
    int64_t n_bucket;
} dpt_arena_plan;

/* weight_decay goes to every segment whose group does not refuse it. bucket_bytes: smallest size of a bucket but the
 * last two; last_bytes: largest size of the last, unless one parameter is larger; 0: as it comes. Local. */
dpt_status dpt_arena_plan_make(const dpt_graph *g, double weight_decay, int64_t bucket_bytes, int64_t last_bytes,
                               dpt_arena_plan *plan);
/* Cuts the buckets of a plan into a slice for each of `world` ranks, and keeps what `rank` updates. Local. */
dpt_status dpt_arena_plan_shard(const dpt_graph *g, int rank, int world, dpt_arena_plan *plan);
void dpt_arena_plan_free(dpt_arena_plan *plan);
uint64_t dpt_arena_plan_digest(const dpt_arena_plan *plan);

#endif
