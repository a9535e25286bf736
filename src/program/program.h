/* program.h: a graph compiled for one purpose: an ordered list of kernel calls on fixed addresses. Passes, a file each,
 * lead from the user's graph to it:
 *
 *   lower → precision → gradient → distribute → update → fuse → recompute → layout → schedule → memory
 *
 * A program is immutable; a session (session.h) runs it. Programs of one graph share the arenas (arenas.h). */
#ifndef DPT_PROGRAM_PROGRAM_H
#define DPT_PROGRAM_PROGRAM_H

#include "backend/backend.h"
#include "graph/op.h"
#include "program/arenas.h"

typedef enum dpt_mode {
    DPT_MODE_TRAIN,      /* forward, backward, exchange, update: a whole step */
    DPT_MODE_ACCUMULATE, /* forward, backward; adds to the gradient arena */
    DPT_MODE_APPLY,      /* exchange, update of accumulated gradients */
    DPT_MODE_COUNT,      /* this rank's counts of masked losses: outputs "loss.<i>.count" */
    DPT_MODE_GRADIENT,   /* forward, backward, exchange; no update: the gradient arena is the result */
    DPT_MODE_EVALUATE, /* forward; sums of this rank: "loss.<i>.sum", "loss.<i>.count", "<output>.sum" of [B] outputs */
    DPT_MODE_PREDICT   /* forward; the graph's outputs by name */
} dpt_mode;
const char *dpt_mode_text(dpt_mode mode); /* "train" */

typedef enum dpt_update_kind {
    DPT_UPDATE_SGD,
    DPT_UPDATE_ADAMW,
    DPT_UPDATE_ADAM,
    DPT_UPDATE_LARS,
    DPT_UPDATE_LAMB
} dpt_update_kind;

typedef struct dpt_update_rule {
    dpt_update_kind kind;
    double momentum, beta1, beta2, eps, weight_decay, clip_norm;
    double trust;   /* LARS */
    double average; /* of moving averages of the parameters; 0: none */
    bool nesterov;
    bool by_bucket; /* each bucket is updated by a guard of its own */
} dpt_update_rule;

/* Receives the graph after each pass; for `explain` and tests. */
typedef void (*dpt_pass_fn)(void *user, const char *pass, const dpt_graph *g);

typedef struct dpt_program_options {
    dpt_mode mode;
    int64_t capacity[DPT_MAX_AXES]; /* rows per rank, a batch axis each */
    int64_t length;                 /* what DPT_LENGTH stands for; 0: the graph has none */
    int rank, world;
    bool exchange; /* collectives are run: there are several ranks, or one that acts as if there were */
    const dpt_backend *backend;
    dpt_device *device;
    const dpt_arena_plan *arenas; /* borrowed until the program is destroyed */
    dpt_update_rule update;
    dpt_precision precision;
    uint64_t seed;
    dpt_recompute recompute;
    bool gathers;   /* the parameters, sharded, come from all ranks first */
    bool unfused;   /* skip the fuse pass: tests compare both */
    bool canonical; /* the layout pass chooses nothing: tests compare both */
    dpt_pass_fn after_pass;
    void *user;
} dpt_program_options;

/* Where a tensor's bytes lie. */
typedef enum dpt_region {
    DPT_IN_NOTHING, /* tokens */
    DPT_IN_ACTIVATIONS,
    DPT_IN_PARAMS,
    DPT_IN_GRADS,
    DPT_IN_STATE,
    DPT_IN_CONSTANTS
} dpt_region;

typedef struct dpt_storage {
    dpt_region region;
    int64_t offset, bytes;
} dpt_storage;

typedef struct dpt_program {
    dpt_program_options options;
    dpt_graph *graph;     /* after the last pass; nodes stand in the order of execution */
    dpt_storage *storage; /* by node id * DPT_MAX_OUT + output */
    bool *elided;         /* by node: computes nothing here (its work is done by placement) */
    int64_t activation_bytes, workspace_bytes, constant_bytes, table_bytes;
    int64_t input_bytes; /* the block, then the inputs: the first bytes of the activations, written before every run */
    bool draws;          /* takes random numbers: needs the rows' global positions */
} dpt_program;

/* Compiles. Local; every rank must call it with the same graph. */
dpt_status dpt_program_create(const dpt_graph *graph, const dpt_program_options *options, dpt_program **program);
void dpt_program_destroy(dpt_program **program);

static inline const dpt_storage *dpt_storage_of(const dpt_program *p, const dpt_tensor *t) {
    return &p->storage[t->node->id * DPT_MAX_OUT + t->index];
}
/* Fills an operand's shape, with batch dimensions at capacity; data stays NULL. */
void dpt_operand_fill(const int64_t *capacity, const dpt_tensor *t, dpt_operand *o);
/* Puts operation, node and the operands' shapes before the message: `matmul "fc1" ([64,784] f32, [512,784] f32): `. */
dpt_status dpt_name_failure(const dpt_node *node, dpt_status status);
/* Operations and bytes of a call at capacity. */
dpt_cost dpt_call_cost(const dpt_call *call);
/* Fills a call from a node: operands without addresses. */
void dpt_call_fill(const dpt_program_options *options, const dpt_node *node, dpt_call *call);

/* Adds to a user's graph the states that a precision needs (fp16: its loss scale), unless they are there. Before the
 * arenas are planned. */
dpt_status dpt_precision_declare(dpt_graph *graph, dpt_precision precision);

/* ---- the passes: each reads `from` and makes `to` ---- */

/* Carries the graph over for a mode, with the length bound: losses become sums and counts, evaluation forms replace
 * training ones. */
dpt_status dpt_pass_lower(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Decides in which type each value is computed; inserts casts. fp32 and tf32: changes nothing. */
dpt_status dpt_pass_precision(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Appends backward nodes; a grad_store marks where a parameter's gradient is final. fp16: starts from the loss scale.
 */
dpt_status dpt_pass_gradient(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Finds how each value stands on the ranks; inserts collectives; makes the buckets of the gradient arena. */
dpt_status dpt_pass_distribute(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Appends gradient norm, guard, optimiser; hangs assignments on the guard; moves the loss scale. */
dpt_status dpt_pass_update(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Merges nodes into fused ones. */
dpt_status dpt_pass_fuse(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Its first part: what stands around batch norm. */
dpt_status dpt_fuse_norms(const dpt_graph *from, dpt_graph **to);
/* The same as fuse, of residual streams and the norms in them. */
dpt_status dpt_pass_residual(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Lets go of values that are cheap to make again, and makes them again. */
dpt_status dpt_pass_recompute(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Gives every tensor the layout in which the kernels together move least; inserts reorders. */
dpt_status dpt_pass_layout(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Order of execution: as built, but stores and starts of collectives as soon as they can. */
dpt_status dpt_pass_schedule(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);
/* Lifetimes to offsets; fills the program's storage. */
dpt_status dpt_pass_memory(dpt_program *p);

#endif
