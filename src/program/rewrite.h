/* rewrite.h: how a pass makes a new graph from an old one: begin, copy or replace node by node in order, finish. Tables
 * (inputs, parameters, states, losses, outputs) are carried over; a leaf is copied whether it is used or not, so that
 * its number stays the same. */
#ifndef DPT_PROGRAM_REWRITE_H
#define DPT_PROGRAM_REWRITE_H

#include "graph/op.h"

typedef struct dpt_rewrite {
    const dpt_graph *from;
    dpt_graph *to;
    dpt_tensor **map; /* by node and output of `from` */
} dpt_rewrite;

dpt_status dpt_rewrite_begin(dpt_rewrite *rw, const dpt_graph *from);
/* Where a tensor of `from` now is; NULL if it has not been made. */
dpt_tensor *dpt_rewrite_of(const dpt_rewrite *rw, const dpt_tensor *t);
void dpt_rewrite_set(dpt_rewrite *rw, const dpt_tensor *old, dpt_tensor *now);
/* Copies a node with its inputs as they now are; maps its outputs. NULL without memory. */
dpt_node *dpt_rewrite_copy(dpt_rewrite *rw, const dpt_node *node);
/* The same with other inputs. */
dpt_node *dpt_rewrite_copy_with(dpt_rewrite *rw, const dpt_node *node, int n_in, dpt_tensor *const *in);
/* Carries the tables over and hands out the new graph; on any error frees it and gives NULL. status: of the pass. */
dpt_status dpt_rewrite_finish(dpt_rewrite *rw, dpt_status status, dpt_graph **to);

/* Removes nodes that neither an output nor an effect needs (leaves stay). */
dpt_status dpt_prune(const dpt_graph *from, dpt_graph **to);

/* Number of uses of every tensor (by node id * DPT_MAX_OUT + index), outputs included. The caller frees it. */
int *dpt_count_uses(const dpt_graph *g);
static inline int dpt_uses(const int *uses, const dpt_tensor *t) { return uses[t->node->id * DPT_MAX_OUT + t->index]; }

/* A pass that merges nodes, pattern by pattern, looking back from a pattern's last node. */
typedef struct dpt_merge {
    dpt_rewrite rw;
    const int *uses; /* of rw.from */
} dpt_merge;

static inline dpt_tensor *dpt_now(const dpt_merge *m, const dpt_tensor *old) { return dpt_rewrite_of(&m->rw, old); }
static inline bool dpt_once(const dpt_merge *m, const dpt_tensor *t) { return dpt_uses(m->uses, t) == 1; }

/* Visits the nodes in order. merge says whether it has dealt with a node: what it has set for the node's outputs then
 * stands on the ranks as they did; else the node is copied. What is left without use is pruned. */
dpt_status dpt_merge_nodes(const dpt_graph *from, bool (*merge)(dpt_merge *m, const dpt_node *node), dpt_graph **to);

#endif
