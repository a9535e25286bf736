/* pass_fuse.c: merges nodes into fused ones, pattern by pattern, looking back from a pattern's last node. What a merge
 * leaves without use is pruned at the end. A value that is needed by anything outside the pattern keeps its own node,
 * so fusing never changes what is computed. Patterns:
 *
 *   act(x w^T + b)                     -> linear (gelu keeps its argument as a second output)
 *   act(conv(x, w) + b)                -> conv
 *   act'(.) * (g w)                    -> linear_dgrad
 *   g^T x and sum of g over the batch  -> linear_wgrad;  the same for conv_wgrad
 *   relu'(y) * scatter(g, max_pool(y)) -> scatter of relu'(max_pool(y)) * g: a quarter of the work, and y is not kept
 *   optimiser nodes of one guard       -> one over what they update
 *
 * What stands around batch norm was merged before that (pass_fuse_norm.c). */
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

static bool is_matmul(const dpt_tensor *t, bool ta, bool tb) {
    const dpt_node *n = t->node;
    return n->op == DPT_OP_MATMUL && n->attr.matmul.transpose_a == ta && n->attr.matmul.transpose_b == tb &&
           n->in[0]->ndim == 2 && n->in[1]->ndim == 2;
}

/* x w^T, with or without + b. */
typedef struct linear_parts {
    const dpt_node *product;
    dpt_tensor *x, *w, *b;
} linear_parts;

static bool match_linear(const dpt_merge *f, const dpt_tensor *t, linear_parts *p) {
    const dpt_node *n = t->node;
    *p = (linear_parts){0};
    if (n->op == DPT_OP_ADD && n->in[1]->ndim == 1 && dpt_once(f, n->in[0]) && is_matmul(n->in[0], false, true)) {
        p->b = n->in[1];
        n = n->in[0]->node;
        if (p->b->dim[0] != n->out[0].dim[1] || dpt_has_batch(p->b)) return false;
    } else if (!is_matmul(t, false, true)) {
        return false;
    }
    p->product = n;
    p->x = n->in[0];
    p->w = n->in[1];
    return !dpt_has_batch(p->w);
}

/* The layer's name, where the caller gave one. */
static const char *layer_name(const dpt_node *n) { return n->named ? n->name : NULL; }

/* What a node that is an activation multiplies negative values by. */
static double slope_of(const dpt_node *n) {
    return n->op == DPT_OP_RELU || n->op == DPT_OP_RELU_GRAD ? n->attr.relu.slope : 0;
}

static dpt_node *emit_linear(dpt_merge *f, const dpt_node *at, const linear_parts *p, dpt_activation act) {
    dpt_attr attr = {.matmul = {.transpose_b = true, .act = act, .slope = slope_of(at), .bias = p->b != NULL}};
    dpt_tensor *in[3] = {dpt_now(f, p->x), dpt_now(f, p->w), p->b ? dpt_now(f, p->b) : NULL};
    return dpt_node_add(f->rw.to, DPT_AT(at), DPT_OP_LINEAR, layer_name(p->product), &attr, p->b ? 3 : 2, in);
}

static bool fuse_bias(dpt_merge *f, const dpt_node *n) {
    linear_parts p;
    if (!match_linear(f, &n->out[0], &p) || p.b == NULL) return false;
    dpt_node *fused = emit_linear(f, n, &p, DPT_ACT_NONE);
    if (fused) dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    return true;
}

/* conv + bias: the bias stands as [O,1,1], a view of [O]. */
static bool match_conv_bias(const dpt_merge *f, const dpt_tensor *t, const dpt_node **conv, dpt_tensor **b) {
    const dpt_node *n = t->node;
    if (n->op != DPT_OP_ADD || n->in[0]->node->op != DPT_OP_CONV || !dpt_once(f, n->in[0])) return false;
    *conv = n->in[0]->node;
    const dpt_node *view = n->in[1]->node;
    if ((*conv)->attr.conv.bias || view->op != DPT_OP_RESHAPE || view->in[0]->ndim != 1) return false;
    *b = view->in[0];
    const dpt_tensor *column = n->in[1]; /* [1,O,1] would be added by row */
    return (*b)->dim[0] == (*conv)->out[0].dim[1] && column->dim[0] == (*b)->dim[0] &&
           column->ndim == (*conv)->attr.conv.spatial + 1;
}

static bool fuse_conv(dpt_merge *f, const dpt_node *n, const dpt_tensor *sum, dpt_activation act) {
    const dpt_node *conv;
    dpt_tensor *b;
    if (!match_conv_bias(f, sum, &conv, &b)) return false;
    dpt_attr attr = conv->attr;
    attr.conv.bias = true;
    attr.conv.act = act;
    attr.conv.slope = slope_of(n);
    dpt_tensor *in[3] = {dpt_now(f, conv->in[0]), dpt_now(f, conv->in[1]), dpt_now(f, b)};
    dpt_node *fused = dpt_node_add(f->rw.to, DPT_AT(n), DPT_OP_CONV, layer_name(conv), &attr, 3, in);
    if (fused) dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    return true;
}

static bool fuse_activation(dpt_merge *f, const dpt_node *n, dpt_activation act) {
    const dpt_tensor *before = n->in[0];
    linear_parts p;
    if (act == DPT_ACT_GELU && n->attr.derivative.order != 0) return false;
    if (act == DPT_ACT_RELU && dpt_once(f, before) && fuse_conv(f, n, before, act)) return true;
    if (!match_linear(f, before, &p) || (act != DPT_ACT_GELU && !dpt_once(f, before))) return false;
    dpt_node *fused = emit_linear(f, n, &p, act);
    if (fused == NULL) return true;
    dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    if (act == DPT_ACT_GELU) dpt_rewrite_set(&f->rw, before, &fused->out[1]);
    return true;
}

static bool emit_dgrad(dpt_merge *f, const dpt_node *n, const dpt_tensor *product, const dpt_tensor *y,
                       dpt_activation act) {
    if (!dpt_once(f, product) || !is_matmul(product, false, false) || dpt_has_batch(product->node->in[1])) return false;
    if (!dpt_same_shape(product, y)) return false; /* y is broadcast */
    dpt_attr attr = {.matmul = {.act = act, .slope = slope_of(n)}};
    dpt_tensor *in[3] = {dpt_now(f, product->node->in[0]), dpt_now(f, product->node->in[1]), dpt_now(f, y)};
    dpt_node *fused = dpt_node_add(f->rw.to, DPT_AT(n), DPT_OP_LINEAR_DGRAD, NULL, &attr, 3, in);
    if (fused) dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    return true;
}

/* 1 - y*y as the gradient of tanh writes it: y, or NULL. */
static const dpt_tensor *match_tanh_slope(const dpt_merge *f, const dpt_tensor *t) {
    const dpt_node *offset = t->node;
    if (offset->op != DPT_OP_OFFSET || offset->attr.scalar.value != 1.0 || !dpt_once(f, t)) return NULL;
    const dpt_node *scale = offset->in[0]->node;
    if (scale->op != DPT_OP_SCALE || scale->attr.scalar.value != -1.0 || !dpt_once(f, offset->in[0])) return NULL;
    const dpt_node *square = scale->in[0]->node;
    if (square->op != DPT_OP_MUL || square->in[0] != square->in[1] || !dpt_once(f, scale->in[0])) return NULL;
    return square->in[0]->node->op == DPT_OP_TANH ? square->in[0] : NULL;
}

static bool fuse_product(dpt_merge *f, const dpt_node *n) {
    for (int k = 0; k < 2; k++) {
        const dpt_tensor *product = n->in[k], *slope = n->in[1 - k];
        const dpt_tensor *y = match_tanh_slope(f, slope);
        if (y && emit_dgrad(f, n, product, y, DPT_ACT_TANH)) return true;
        bool gelu = slope->node->op == DPT_OP_GELU && slope->node->attr.derivative.order == 1 && dpt_once(f, slope);
        if (gelu && emit_dgrad(f, n, product, slope->node->in[0], DPT_ACT_GELU)) return true;
    }
    return false;
}

/* Sum of a gradient [B,O] or [B,O,...] over everything but O. */
static bool is_bias_sum(const dpt_node *n) {
    const dpt_tensor *g = n->in[0];
    if (n->op != DPT_OP_SUM || !dpt_has_batch(g)) return false;
    uint32_t others = ((1u << g->ndim) - 1u) & ~2u;
    return g->ndim >= 2 && (n->attr.reduce.axes & ((1u << g->ndim) - 1u)) == others;
}

static bool is_weight_gradient(const dpt_node *n) {
    if (n->op == DPT_OP_CONV_WGRAD) return !n->attr.conv.bias;
    return n->op == DPT_OP_MATMUL && is_matmul(&n->out[0], true, false) && dpt_has_batch(n->in[0]) &&
           dpt_has_batch(n->in[1]);
}

static bool inputs_made(const dpt_merge *f, const dpt_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (dpt_now(f, n->in[k]) == NULL) return false;
    return true;
}

/* What goes with a weight gradient (its bias sum) or with a bias sum (its weight gradient): same g, still to come. The
 * pair is made where the first of them stands, so that what follows either finds it. */
static const dpt_node *partner(const dpt_merge *f, const dpt_node *n) {
    bool weight = is_weight_gradient(n);
    for (int64_t i = n->id + 1; i < f->rw.from->n_node; i++) {
        const dpt_node *m = f->rw.from->node[i];
        if (m->n_in == 0 || m->in[0] != n->in[0] || !inputs_made(f, m)) continue;
        if (weight ? is_bias_sum(m) : is_weight_gradient(m)) return m;
    }
    return NULL;
}

static bool fuse_weight_gradient(dpt_merge *f, const dpt_node *n) {
    if (dpt_now(f, &n->out[0])) return true;
    const dpt_node *other = partner(f, n);
    if (other == NULL) return false;
    const dpt_node *weight = is_weight_gradient(n) ? n : other, *bias = weight == n ? other : n;
    bool conv = weight->op == DPT_OP_CONV_WGRAD;
    dpt_attr attr = conv ? weight->attr : (dpt_attr){.matmul = {.transpose_a = true, .bias = true}};
    if (conv) attr.conv.bias = true;
    dpt_tensor *in[2] = {dpt_now(f, weight->in[0]), dpt_now(f, weight->in[1])};
    dpt_node *fused =
        dpt_node_add(f->rw.to, DPT_AT(n), conv ? DPT_OP_CONV_WGRAD : DPT_OP_LINEAR_WGRAD, NULL, &attr, 2, in);
    if (fused == NULL) return true;
    dpt_tensor *db = &fused->out[1];
    if (!dpt_same_shape(db, &bias->out[0])) db = dpt_reshape_at(DPT_AT(n), db, bias->out[0].ndim, bias->out[0].dim);
    fused->out[0].spread = fused->out[1].spread = db->spread = DPT_SPREAD_PARTIAL;
    dpt_rewrite_set(&f->rw, &weight->out[0], &fused->out[0]);
    dpt_rewrite_set(&f->rw, &bias->out[0], db);
    return true;
}

static bool same_update(const dpt_node *a, const dpt_node *b) { return a->op == b->op && a->in[0] == b->in[0]; }

/* The first optimiser node of a guard takes the segments of all of them, which follow each other. */
static bool fuse_updates(dpt_merge *f, const dpt_node *n) {
    const dpt_graph *from = f->rw.from;
    if (dpt_now(f, &n->out[0])) return true;
    dpt_attr attr = n->attr;
    for (int64_t i = n->id + 1; i < from->n_node; i++)
        if (same_update(from->node[i], n)) attr.update.segments += from->node[i]->attr.update.segments;
    dpt_tensor *guard = dpt_now(f, n->in[0]);
    dpt_node *fused = dpt_node_add(f->rw.to, DPT_AT(n), n->op, dpt_op_of(n)->name, &attr, 1, &guard);
    if (fused == NULL) return true;
    for (int64_t i = n->id; i < from->n_node; i++)
        if (same_update(from->node[i], n)) dpt_rewrite_set(&f->rw, &from->node[i]->out[0], &fused->out[0]);
    return true;
}

/* A window's winner has the sign of the pooled value, whatever the slope is, and nothing else gets a gradient. */
static bool fuse_pooled_relu(dpt_merge *f, const dpt_node *n) {
    const dpt_node *scatter = n->in[0]->node;
    if (scatter->op != DPT_OP_POOL_SCATTER || !dpt_once(f, n->in[0])) return false;
    const dpt_node *pool = scatter->in[1]->node;
    if (pool->op != DPT_OP_MAX_POOL || pool->in[0] != n->in[1]) return false;
    dpt_tensor *g = dpt_relu_grad_at(DPT_AT(n), dpt_now(f, scatter->in[0]), dpt_now(f, &pool->out[0]), slope_of(n));
    dpt_tensor *in[2] = {g, dpt_now(f, scatter->in[1])};
    g->spread = DPT_SPREAD_SHARDED;
    dpt_node *moved = dpt_node_add(f->rw.to, DPT_AT(n), DPT_OP_POOL_SCATTER, NULL, &scatter->attr, 2, in);
    if (moved) dpt_rewrite_set(&f->rw, &n->out[0], &moved->out[0]);
    return true;
}

static bool fuse_node(dpt_merge *f, const dpt_node *n) {
    switch (n->op) {
        case DPT_OP_ADD: return fuse_bias(f, n) || fuse_conv(f, n, &n->out[0], DPT_ACT_NONE);
        case DPT_OP_RELU: return fuse_activation(f, n, DPT_ACT_RELU);
        case DPT_OP_TANH: return fuse_activation(f, n, DPT_ACT_TANH);
        case DPT_OP_GELU: return fuse_activation(f, n, DPT_ACT_GELU);
        case DPT_OP_RELU_GRAD: return emit_dgrad(f, n, n->in[0], n->in[1], DPT_ACT_RELU) || fuse_pooled_relu(f, n);
        case DPT_OP_MUL: return fuse_product(f, n);
        case DPT_OP_MATMUL:
        case DPT_OP_CONV_WGRAD: return is_weight_gradient(n) && fuse_weight_gradient(f, n);
        case DPT_OP_SUM: return is_bias_sum(n) && fuse_weight_gradient(f, n);
        case DPT_OP_SGD:
        case DPT_OP_ADAMW:
        case DPT_OP_AVERAGE: return fuse_updates(f, n);
        default: return false;
    }
}

dpt_status dpt_pass_fuse(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    (void)o;
    dpt_graph *norms = NULL;
    DPT_TRY(dpt_fuse_norms(from, &norms));
    dpt_status status = dpt_merge_nodes(norms, fuse_node, to);
    dpt_graph_destroy(&norms);
    return status;
}
