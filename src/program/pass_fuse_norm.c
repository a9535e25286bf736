/* pass_fuse_norm.c: the first part of the fuse pass: merges what stands around batch norm into its kernels, pattern by
 * pattern, looking back from a pattern's last node. What a merge leaves without use is pruned. Patterns:
 *
 *   relu(bn(x)), relu(bn(x) + r), bn(x) + r              -> bn_apply, bn_infer with what follows
 *   sums and dx of relu'(y) * g, y = relu(bn(x))         -> bn_grad_sums, bn_grad_apply that find the mask from x
 *   relu'(y) * g, or of (g + d), and the sums of that    -> bn_mask_sums, where the masked gradient is needed itself
 *
 * Invariant: a value that is needed by anything outside a pattern keeps its own node, so fusing never changes what is
 * computed. */
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

static bool is_norm(const dpt_tensor *t) {
    const dpt_node *n = t->node;
    return (n->op == DPT_OP_BN_APPLY || n->op == DPT_OP_BN_INFER) && !n->attr.norm.relu && !n->attr.norm.adds;
}

static bool is_plain_relu(const dpt_node *n) {
    return (n->op == DPT_OP_RELU || n->op == DPT_OP_RELU_GRAD) && n->attr.relu.slope == 0;
}

/* a + b of tensors of one shape and type, used by nothing but what looks back at it. */
static bool is_inner_sum(const dpt_merge *f, const dpt_tensor *t) {
    const dpt_node *n = t->node;
    return n->op == DPT_OP_ADD && dpt_once(f, t) && dpt_same_shape(n->in[0], n->in[1]) && n->in[0]->dtype == t->dtype &&
           n->in[1]->dtype == t->dtype;
}

/* ---- forward ---- */

/* n becomes norm with `residual` (or NULL) added, and ReLU. */
static bool emit_forward(dpt_merge *f, const dpt_node *n, const dpt_node *norm, const dpt_tensor *residual, bool relu) {
    dpt_attr attr = norm->attr;
    attr.norm.relu = relu;
    attr.norm.adds = residual != NULL;
    dpt_tensor *in[DPT_MAX_IN];
    int count = norm->n_in;
    for (int k = 0; k < count; k++) in[k] = dpt_now(f, norm->in[k]);
    if (residual) in[count++] = dpt_now(f, residual);
    dpt_node *fused = dpt_node_add(f->rw.to, DPT_AT(norm), norm->op, norm->named ? norm->name : NULL, &attr, count, in);
    if (fused) dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    return true;
}

/* n is norm + residual, in either order, or ReLU of it. The later of two norms takes the addition in: the other one is
 * a residual that may be projected. */
static bool fuse_sum(dpt_merge *f, const dpt_node *n, const dpt_node *sum, bool relu) {
    if (!dpt_same_shape(sum->in[0], sum->in[1]) || sum->in[0]->dtype != sum->in[1]->dtype) return false;
    for (int k = 0; k < 2; k++) {
        const dpt_tensor *t = sum->in[k];
        if (is_norm(t) && dpt_once(f, t)) return emit_forward(f, n, t->node, sum->in[1 - k], relu);
    }
    return false;
}

static bool fuse_relu(dpt_merge *f, const dpt_node *n) {
    const dpt_tensor *x = n->in[0];
    if (!is_plain_relu(n) || !dpt_once(f, x)) return false;
    if (is_norm(x)) return emit_forward(f, n, x->node, NULL, true);
    return x->node->op == DPT_OP_ADD && fuse_sum(f, n, x->node, true);
}

/* An addition that a ReLU takes in waits for it. */
static bool before_relu(const dpt_merge *f, const dpt_node *n) {
    if (!dpt_once(f, &n->out[0])) return false;
    const dpt_graph *from = f->rw.from;
    for (int64_t i = n->id + 1; i < from->n_node; i++)
        for (int k = 0; k < from->node[i]->n_in; k++)
            if (from->node[i]->in[k] == &n->out[0])
                return from->node[i]->op == DPT_OP_RELU && is_plain_relu(from->node[i]);
    return false;
}

/* ---- backward ---- */

/* g * relu'(y) with y = relu(bn(x)) of this x and these moments: the batch norm, or NULL. */
static const dpt_node *masked_norm(const dpt_tensor *g, const dpt_tensor *x, const dpt_tensor *moments) {
    const dpt_node *mask = g->node;
    if (mask->op != DPT_OP_RELU_GRAD || !is_plain_relu(mask)) return NULL;
    const dpt_node *relu = mask->in[1]->node;
    if (relu->op != DPT_OP_RELU || !is_plain_relu(relu) || relu->in[0]->node->op != DPT_OP_BN_APPLY) return NULL;
    const dpt_node *norm = relu->in[0]->node;
    return norm->in[0] == x && norm->in[1] == moments ? norm : NULL;
}

/* Uses of a masked gradient by the two backward kernels of its own batch norm. */
static int own_uses(const dpt_merge *f, const dpt_node *mask) {
    const dpt_graph *from = f->rw.from;
    const dpt_tensor *g = &mask->out[0];
    int count = 0;
    for (int64_t i = mask->id + 1; i < from->n_node; i++) {
        const dpt_node *n = from->node[i];
        bool backward = n->op == DPT_OP_BN_GRAD_SUMS || n->op == DPT_OP_BN_GRAD_APPLY;
        if (backward && n->in[0] == g && masked_norm(g, n->in[1], n->in[2])) count++;
    }
    return count;
}

/* bn_grad_sums or bn_grad_apply of a masked gradient that nothing else needs. */
static bool fuse_backward(dpt_merge *f, const dpt_node *n) {
    const dpt_tensor *g = n->in[0];
    const dpt_node *norm = masked_norm(g, n->in[1], n->in[2]);
    if (norm == NULL || own_uses(f, g->node) != dpt_uses(f->uses, g)) return false;
    dpt_attr attr = n->attr;
    attr.norm.relu = true;
    dpt_tensor *in[6] = {dpt_now(f, g->node->in[0]), dpt_now(f, n->in[1]), dpt_now(f, n->in[2])};
    int count = 3;
    if (n->op == DPT_OP_BN_GRAD_APPLY) in[count++] = dpt_now(f, n->in[3]);
    in[count++] = dpt_now(f, norm->in[2]);
    in[count++] = dpt_now(f, norm->in[3]);
    dpt_node *fused = dpt_node_add(f->rw.to, DPT_AT(n), n->op, NULL, &attr, count, in);
    if (fused) dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    return true;
}

/* The first sums of a masked gradient. */
static const dpt_node *sums_of(const dpt_merge *f, const dpt_node *mask) {
    const dpt_graph *from = f->rw.from;
    for (int64_t i = mask->id + 1; i < from->n_node; i++) {
        const dpt_node *n = from->node[i];
        if (n->op == DPT_OP_BN_GRAD_SUMS && n->in[0] == &mask->out[0]) return dpt_now(f, n->in[1]) ? n : NULL;
    }
    return NULL;
}

static bool fuse_mask(dpt_merge *f, const dpt_node *n) {
    if (!is_plain_relu(n)) return false;
    const dpt_node *sums = sums_of(f, n);
    if (sums == NULL || n->in[1]->dtype != n->in[0]->dtype || sums->in[1]->dtype != n->in[0]->dtype) return false;
    if (own_uses(f, n) == dpt_uses(f->uses, &n->out[0])) return false;
    const dpt_tensor *g = n->in[0];
    dpt_attr attr = sums->attr;
    attr.norm.adds = is_inner_sum(f, g);
    dpt_tensor *in[5] = {dpt_now(f, g), dpt_now(f, n->in[1]), dpt_now(f, sums->in[1]), dpt_now(f, sums->in[2])};
    if (attr.norm.adds) in[0] = dpt_now(f, g->node->in[0]), in[4] = dpt_now(f, g->node->in[1]);
    dpt_node *fused = dpt_node_add(f->rw.to, DPT_AT(n), DPT_OP_BN_MASK_SUMS, NULL, &attr, attr.norm.adds ? 5 : 4, in);
    if (fused == NULL) return true;
    fused->out[1].spread = sums->out[0].spread;
    dpt_rewrite_set(&f->rw, &n->out[0], &fused->out[0]);
    dpt_rewrite_set(&f->rw, &sums->out[0], &fused->out[1]);
    return true;
}

static bool fuse_node(dpt_merge *f, const dpt_node *n) {
    switch (n->op) {
        case DPT_OP_RELU: return fuse_relu(f, n);
        case DPT_OP_ADD: return !before_relu(f, n) && fuse_sum(f, n, n, false);
        case DPT_OP_RELU_GRAD: return fuse_mask(f, n);
        case DPT_OP_BN_GRAD_SUMS: return dpt_now(f, &n->out[0]) || fuse_backward(f, n);
        case DPT_OP_BN_GRAD_APPLY: return fuse_backward(f, n);
        default: return false;
    }
}

dpt_status dpt_fuse_norms(const dpt_graph *from, dpt_graph **to) { return dpt_merge_nodes(from, fuse_node, to); }
