/* min_cut.c: see min_cut.h. Depth-first search is by an explicit path, so that long chains cannot overflow the stack.
 */
#include "program/min_cut.h"

#include "base/memory.h"

dpt_status dpt_cut_begin(dpt_cut *cut) {
    int64_t node;
    *cut = (dpt_cut){0};
    for (int i = 0; i < DPT_CUT_FIRST; i++) {
        dpt_status status = dpt_cut_node(cut, &node);
        if (status == DPT_OK) continue;
        dpt_cut_end(cut);
        return status;
    }
    return DPT_OK;
}

dpt_status dpt_cut_node(dpt_cut *cut, int64_t *node) {
    DPT_GROW(cut->first, cut->n_node, cut->node_capacity);
    cut->first[cut->n_node] = -1;
    *node = cut->n_node++;
    return DPT_OK;
}

static dpt_status half(dpt_cut *cut, int64_t from, int64_t to, int64_t weight) {
    DPT_GROW(cut->edge, cut->n_edge, cut->edge_capacity);
    cut->edge[cut->n_edge] = (dpt_cut_edge){.to = to, .left = weight, .next = cut->first[from]};
    cut->first[from] = cut->n_edge++;
    return DPT_OK;
}

dpt_status dpt_cut_join(dpt_cut *cut, int64_t from, int64_t to, int64_t weight) {
    DPT_TRY(half(cut, from, to, weight));
    return half(cut, to, from, 0);
}

/* Distances from the source over edges with room left; -1 where there is no way. */
static void measure(dpt_cut *cut) {
    int64_t begin = 0, end = 0;
    for (int64_t i = 0; i < cut->n_node; i++) cut->level[i] = -1, cut->at[i] = cut->first[i];
    cut->level[DPT_CUT_SOURCE] = 0;
    cut->queue[end++] = DPT_CUT_SOURCE;
    while (begin < end) {
        const int64_t node = cut->queue[begin++];
        for (int64_t e = cut->first[node]; e >= 0; e = cut->edge[e].next) {
            const int64_t to = cut->edge[e].to;
            if (cut->edge[e].left <= 0 || cut->level[to] >= 0) continue;
            cut->level[to] = cut->level[node] + 1;
            cut->queue[end++] = to;
        }
    }
}

/* Sends what a path of `n` edges (in the queue) carries; how many of them are still before the first full one. */
static int64_t send(dpt_cut *cut, int64_t n) {
    int64_t least = INT64_MAX, keep = n;
    for (int64_t i = 0; i < n; i++)
        if (cut->edge[cut->queue[i]].left < least) least = cut->edge[cut->queue[i]].left;
    for (int64_t i = n - 1; i >= 0; i--) {
        dpt_cut_edge *e = &cut->edge[cut->queue[i]];
        e->left -= least;
        cut->edge[cut->queue[i] ^ 1].left += least;
        if (e->left == 0) keep = i;
    }
    return keep;
}

/* All that shortest paths carry: a walk forward along falling distance, a step back where it ends. */
static void block(dpt_cut *cut) {
    int64_t n = 0, node = DPT_CUT_SOURCE;
    for (;;) {
        if (node == DPT_CUT_SINK) {
            n = send(cut, n);
            node = cut->edge[cut->queue[n] ^ 1].to;
        }
        int64_t *e = &cut->at[node];
        while (*e >= 0 && (cut->edge[*e].left <= 0 || cut->level[cut->edge[*e].to] != cut->level[node] + 1))
            *e = cut->edge[*e].next;
        if (*e >= 0) {
            cut->queue[n++] = *e;
            node = cut->edge[*e].to;
        } else if (n == 0) {
            return;
        } else {
            node = cut->edge[cut->queue[--n] ^ 1].to;
            cut->at[node] = cut->edge[cut->at[node]].next;
        }
    }
}

dpt_status dpt_cut_solve(dpt_cut *cut) {
    const size_t n = (size_t)cut->n_node;
    cut->level = dpt_alloc(n * sizeof *cut->level);
    cut->at = dpt_alloc(n * sizeof *cut->at);
    cut->queue = dpt_alloc(n * sizeof *cut->queue);
    DPT_CHECK_ALLOC(cut->level);
    DPT_CHECK_ALLOC(cut->at);
    DPT_CHECK_ALLOC(cut->queue);
    for (measure(cut); cut->level[DPT_CUT_SINK] >= 0; measure(cut)) block(cut);
    return DPT_OK;
}

void dpt_cut_end(dpt_cut *cut) {
    dpt_free(cut->first);
    dpt_free(cut->level);
    dpt_free(cut->at);
    dpt_free(cut->queue);
    dpt_free(cut->edge);
    *cut = (dpt_cut){0};
}
