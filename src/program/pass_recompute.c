/* pass_recompute.c: trades time for memory. The output of a batch norm (with ReLU, with a residual) is kept for the
 * weight gradient of the layer that reads it, beside the batch norm's own input, which its backward pass needs: two
 * copies of nearly the same. Where most bytes are alive, about where backward begins, such outputs are let go, and
 * computed again in front of the first node that reads them later: one more pass over them, which costs less than a
 * hundredth of a convolution's step. Invariants: only batch norms are made twice, never a collective, a random draw or
 * a write of state; all that a second computation reads is alive there anyway, so that memory only falls; what is
 * computed is the same to the bit. */
#include "base/memory.h"
#include "ops/op_list.h"
#include "program/program.h"
#include "program/rewrite.h"

/* Activations from which on `auto` recomputes. */
enum { AUTO_BYTES = 1 << 30 };

typedef struct recompute {
    dpt_rewrite rw;
    int64_t *root; /* by tensor number: the tensor whose bytes these are (views) */
    int64_t *last; /* by root: last node that reads it */
    int64_t peak;  /* node at which most bytes are alive */
    bool *again;   /* by node: made once more after the peak */
} recompute;

static int64_t number(const dpt_tensor *t) { return t->node->id * DPT_MAX_OUT + t->index; }

static bool is_view(const dpt_node *n, int out) {
    return out == 0 && n->n_in > 0 && (dpt_op_of(n)->flags & DPT_IS_VIEW) && !n->out[0].token;
}

static void find_last(recompute *r) {
    const dpt_graph *g = r->rw.from;
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        for (int k = 0; k < n->n_out; k++) {
            const int64_t t = number(&n->out[k]);
            r->root[t] = is_view(n, k) ? r->root[number(n->in[0])] : t;
            if (r->root[t] == t) r->last[t] = i;
        }
        for (int k = 0; k < n->n_in; k++) r->last[r->root[number(n->in[k])]] = i;
    }
    for (int64_t i = 0; i < g->n_output; i++) r->last[r->root[number(g->output[i].tensor)]] = g->n_node;
}

/* Finds the peak; gives the bytes alive there. */
static int64_t find_peak(recompute *r, const dpt_program_options *o, int64_t *change) {
    const dpt_graph *g = r->rw.from;
    for (int64_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_out; k++) {
            const dpt_tensor *t = &g->node[i]->out[k];
            if (t->token || is_view(g->node[i], k) || !dpt_has_batch(t)) continue;
            const int64_t bytes =
                dpt_row_count(t) * o->capacity[dpt_tensor_axis(t)] * (int64_t)dpt_dtype_size(t->dtype);
            const int64_t end = r->last[number(t)];
            change[i] += bytes;
            if (end < g->n_node) change[end + 1] -= bytes;
        }
    int64_t alive = 0, most = 0;
    for (int64_t i = 0; i < g->n_node; i++) {
        alive += change[i];
        if (alive > most) most = alive, r->peak = i;
    }
    return most;
}

/* First node after the peak that reads t; -1: none, or a view made before keeps its bytes. */
static int64_t first_after(const recompute *r, const dpt_tensor *t) {
    const dpt_graph *g = r->rw.from;
    int64_t first = -1;
    for (int64_t i = r->peak + 1; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_in; k++) {
            const dpt_tensor *in = g->node[i]->in[k];
            if (in == t && first < 0) first = i;
            if (in != t && in->node->id <= r->peak && r->root[number(in)] == number(t)) return -1;
        }
    return first;
}

/* Whether node n can be made again before node `at` out of what is alive there. */
static bool inputs_alive(const recompute *r, const dpt_node *n, int64_t at) {
    for (int k = 0; k < n->n_in; k++) {
        const dpt_node *maker = n->in[k]->node;
        if (dpt_op_of(maker)->flags & DPT_IS_LEAF) continue;
        if (r->again[maker->id] || r->last[r->root[number(n->in[k])]] < at) return false;
    }
    return true;
}

static void choose(recompute *r) {
    const dpt_graph *g = r->rw.from;
    for (int64_t i = 0; i < r->peak; i++) {
        const dpt_node *n = g->node[i];
        if (n->op != DPT_OP_BN_APPLY || r->last[number(&n->out[0])] >= g->n_node) continue;
        const int64_t at = first_after(r, &n->out[0]);
        r->again[i] = at >= 0 && inputs_alive(r, n, at);
    }
}

/* The second computation, in front of the first node that reads it. */
static void make_again(recompute *r, const dpt_node *reader) {
    for (int k = 0; k < reader->n_in; k++) {
        const dpt_node *n = reader->in[k]->node;
        if (!r->again[n->id]) continue;
        dpt_rewrite_copy(&r->rw, n); /* what comes later reads the twin */
        r->again[n->id] = false;
    }
}

static dpt_status run(recompute *r, const dpt_program_options *o) {
    const dpt_graph *g = r->rw.from;
    int64_t *change = dpt_alloc_zero((size_t)g->n_node + 2, sizeof *change);
    DPT_CHECK_ALLOC(change);
    find_last(r);
    const int64_t bytes = find_peak(r, o, change);
    dpt_free(change);
    if (o->recompute == DPT_RECOMPUTE_NORM || bytes > AUTO_BYTES) choose(r);
    for (int64_t i = 0; i < g->n_node && r->rw.to->status == DPT_OK; i++) {
        if (i > r->peak) make_again(r, g->node[i]);
        dpt_rewrite_copy(&r->rw, g->node[i]);
    }
    return dpt_graph_status(r->rw.to);
}

dpt_status dpt_pass_recompute(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    recompute r = {0};
    DPT_TRY(dpt_rewrite_begin(&r.rw, from));
    const size_t n = (size_t)from->n_node * DPT_MAX_OUT + 1;
    r.root = dpt_alloc_zero(n, sizeof *r.root);
    r.last = dpt_alloc_zero(n, sizeof *r.last);
    r.again = dpt_alloc_zero((size_t)from->n_node + 1, sizeof *r.again);
    dpt_status status = DPT_ERR_MEMORY;
    if (r.root && r.last && r.again) status = run(&r, o);
    dpt_free(r.root);
    dpt_free(r.last);
    dpt_free(r.again);
    return dpt_rewrite_finish(&r.rw, status, to);
}
