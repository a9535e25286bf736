/* min_cut.h: a cut of least weight between the source and the sink of a directed graph, by blocking flows (Dinic 1970).
 * The answer depends on the edges alone: of several least cuts it is the one with the fewest nodes on the source's
 * side. */
#ifndef DPT_PROGRAM_MIN_CUT_H
#define DPT_PROGRAM_MIN_CUT_H

#include <stdbool.h>

#include "base/error.h"

enum { DPT_CUT_SOURCE, DPT_CUT_SINK, DPT_CUT_FIRST /* of the caller's nodes */ };
#define DPT_CUT_NEVER (INT64_C(1) << 58) /* weight of an edge that no cut may take */

typedef struct dpt_cut_edge {
    int64_t to, left, next; /* next: edge of the same node, -1 at the end; the edge back is at index ^ 1 */
} dpt_cut_edge;

typedef struct dpt_cut {
    int64_t *first, *level, *at; /* by node */
    int64_t n_node, node_capacity;
    dpt_cut_edge *edge;
    int64_t n_edge, edge_capacity;
    int64_t *queue;
} dpt_cut;

/* Starts with source and sink alone; on failure there is nothing to free. */
dpt_status dpt_cut_begin(dpt_cut *cut);
dpt_status dpt_cut_node(dpt_cut *cut, int64_t *node);
/* Costs `weight` where `from` is on the source's side and `to` is not. */
dpt_status dpt_cut_join(dpt_cut *cut, int64_t from, int64_t to, int64_t weight);
dpt_status dpt_cut_solve(dpt_cut *cut);
/* After solving. */
static inline bool dpt_cut_with_source(const dpt_cut *cut, int64_t node) { return cut->level[node] >= 0; }
void dpt_cut_end(dpt_cut *cut);

#endif
