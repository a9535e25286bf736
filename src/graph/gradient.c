/* gradient.c: reverse-mode differentiation as nodes: walks back from y, asks every op's gradient rule for the gradients
 * of its inputs, adds up contributions. Only nodes between x and y are touched, so what is not asked for costs nothing.
 * Because rules append ordinary nodes, a gradient can be differentiated again. */
#include <string.h>

#include "base/memory.h"
#include "graph/op.h"
#include "ops/internal.h"

typedef struct pass {
    dpt_graph *g;
    int64_t n;         /* nodes before the pass: only these are differentiated */
    bool *needed;      /* by node: lies on a way from some x */
    dpt_tensor **grad; /* by node and output: gradient so far */
} pass;

static dpt_tensor **slot(pass *p, const dpt_tensor *t) { return &p->grad[t->node->id * DPT_MAX_OUT + t->index]; }

/* Gradients of a 16-bit value may be f32 (sums are): added up in f32 where one is. */
static void contribute(pass *p, const dpt_node *place, dpt_tensor *t, dpt_tensor *g) {
    dpt_tensor **s = slot(p, t);
    if (*s == NULL || dpt_is_poison(g) || dpt_is_poison(*s)) {
        *s = g;
        return;
    }
    if ((*s)->dtype != g->dtype) {
        *s = dpt_wide_at(DPT_AT(place), *s);
        g = dpt_wide_at(DPT_AT(place), g);
    }
    *s = dpt_add_at(DPT_AT(place), *s, g);
}

/* What flows into output i of a node, in the output's own type; casts and views take what comes, so that the f32
 * gradient of a 16-bit copy arrives at the parameter unrounded. */
static dpt_tensor *flowing(pass *p, dpt_node *node, int i) {
    dpt_tensor *g = *slot(p, &node->out[i]);
    if (g == NULL || node->op == DPT_OP_CAST || (dpt_op_of(node)->flags & DPT_IS_VIEW)) return g;
    return dpt_cast_at(DPT_AT(node), g, node->out[i].dtype);
}

/* A tensor of ones (or the seed) where differentiation starts. */
static dpt_tensor *seed_of(dpt_tensor *y, dpt_tensor *seed) {
    if (seed != NULL) return seed;
    const dpt_node *n = y->node;
    dpt_tensor *one = dpt_scalar_at(DPT_AT(n), y->graph, y->dtype, 1.0);
    return y->ndim == 0 ? one : dpt_broadcast_at(DPT_AT(n), one, y->ndim, y->dim);
}

static void mark_needed(pass *p, dpt_tensor *const *x, int64_t n_x) {
    for (int64_t i = 0; i < n_x; i++) p->needed[x[i]->node->id] = true;
    for (int64_t i = 0; i < p->n; i++) {
        const dpt_node *node = p->g->node[i];
        if (p->needed[i] || (dpt_op_of(node)->flags & DPT_IS_CONSTANT)) continue;
        for (int k = 0; k < node->n_in; k++)
            if (p->needed[node->in[k]->node->id]) p->needed[i] = true;
    }
}

static void back_through(pass *p, dpt_node *node) {
    dpt_tensor *gout[DPT_MAX_OUT], *gin[DPT_MAX_IN] = {0};
    bool want[DPT_MAX_IN] = {0}, flows = false, wanted = false;
    for (int i = 0; i < node->n_out; i++) flows |= *slot(p, &node->out[i]) != NULL;
    for (int k = 0; k < node->n_in; k++) {
        want[k] = p->needed[node->in[k]->node->id] && dpt_is_float(node->in[k]->dtype);
        wanted |= want[k];
    }
    if (!flows || !wanted) return;
    for (int i = 0; i < node->n_out; i++) gout[i] = flowing(p, node, i);
    const dpt_op *op = dpt_op_of(node);
    if (op->gradient == NULL) {
        dpt_graph_fail(p->g, DPT_AT(node), DPT_ERR_UNSUPPORTED,
                       "%s \"%s\" has a fused backward kernel only and cannot be differentiated again: build it from "
                       "unfused operations (ops.h)",
                       op->name, node->name);
        return;
    }
    op->gradient(node, gout, want, gin);
    for (int k = 0; k < node->n_in; k++)
        if (gin[k] != NULL) contribute(p, node, node->in[k], gin[k]);
}

void dpt_gradients(dpt_tensor *const *y, dpt_tensor *const *seed, int n_y, dpt_tensor *const *x, int64_t n_x,
                   dpt_tensor **dx) {
    dpt_graph *g = y[0]->graph;
    for (int64_t i = 0; i < n_x; i++) dx[i] = NULL;
    if (g->status != DPT_OK) return;
    pass p = {.g = g, .n = g->n_node};
    p.needed = dpt_alloc_zero((size_t)p.n, sizeof *p.needed);
    p.grad = dpt_alloc_zero((size_t)p.n * DPT_MAX_OUT, sizeof *p.grad);
    if (p.needed == NULL || p.grad == NULL) {
        dpt_graph_fail(g, DPT_AT(y[0]->node), DPT_ERR_MEMORY, "%s", dpt_last_error());
    } else {
        mark_needed(&p, x, n_x);
        for (int i = 0; i < n_y; i++)
            if (p.needed[y[i]->node->id]) contribute(&p, y[i]->node, y[i], seed_of(y[i], seed ? seed[i] : NULL));
        for (int64_t i = p.n - 1; i >= 0 && g->status == DPT_OK; i--)
            if (p.needed[i]) back_through(&p, g->node[i]);
        for (int64_t i = 0; i < n_x; i++) dx[i] = *slot(&p, x[i]);
    }
    dpt_free(p.needed);
    dpt_free(p.grad);
}

dpt_tensor *dpt_gradient_at(const char *file, int line, dpt_tensor *y, dpt_tensor *x) {
    dpt_graph *g = y->graph;
    if (dpt_is_poison(y) || dpt_is_poison(x)) return &g->poison;
    if (x->graph != g) return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "gradient: x belongs to another graph");
    if (!dpt_is_float(y->dtype) || !dpt_is_float(x->dtype))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "gradient: y is %s, x is %s: both must be f32 or f64",
                              dpt_dtype_text(y->dtype), dpt_dtype_text(x->dtype));
    dpt_tensor *dx = NULL;
    dpt_gradients(&y, NULL, 1, &x, 1, &dx);
    if (g->status != DPT_OK) return &g->poison;
    if (dx != NULL) return dpt_cast_at(file, line, dx, x->dtype);
    dpt_tensor *zero = dpt_scalar_at(file, line, g, x->dtype, 0.0);
    return dpt_broadcast_at(file, line, zero, x->ndim, x->dim);
}
