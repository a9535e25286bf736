/* pass_residual.c: residual streams: a sum that is normalised row by row becomes part of the norm's kernel, which hands
 * it on, and the sum of gradients that follows the norm's gradient becomes part of that kernel:
 *
 *   s = x + r, y = row_norm(s)  -> row_norm of x and r, which gives y and s
 *   row_norm_grad(...) + e      -> row_norm_grad with e
 *
 * Each saves reading and writing the stream once. A sum waits for its norm only where the norm is its first user, so
 * all users of s find it; a gradient that anything else needs keeps its node. So fusing never changes what is computed.
 */
#include "ops/op_list.h"
#include "program/program.h"
#include "program/rewrite.h"

static bool adds_alike(const dpt_node *n) {
    if (n->op != DPT_OP_ADD) return false; /* others may have no operands */
    const dpt_tensor *a = n->in[0], *b = n->in[1], *s = &n->out[0];
    return dpt_same_shape(a, b) && dpt_same_shape(a, s) && a->dtype == s->dtype;
}

static bool over_last_dimensions(const dpt_node *n) {
    return n->attr.row_norm.groups == 0 && !n->attr.row_norm.residual;
}

/* Whether a norm is the first to use a sum: the sum may then wait for it. */
static bool waits_for_norm(const dpt_merge *f, const dpt_node *add) {
    for (int64_t i = add->id + 1; i < f->rw.from->n_node; i++) {
        const dpt_node *n = f->rw.from->node[i];
        if (n->op == DPT_OP_ROW_NORM && n->in[0] == &add->out[0]) return over_last_dimensions(n);
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] == &add->out[0]) return false;
    }
    return false;
}

/* n: a norm whose sum waits for it. */
static void fuse_norm(dpt_merge *f, const dpt_node *n) {
    const dpt_node *add = n->in[0]->node;
    dpt_attr attr = n->attr;
    attr.row_norm.residual = true;
    dpt_tensor *in[4] = {dpt_now(f, add->in[0]), dpt_now(f, add->in[1])};
    for (int k = 1; k < n->n_in; k++) in[k + 1] = dpt_now(f, n->in[k]);
    dpt_node *fused =
        dpt_node_add(f->rw.to, n->file, n->line, DPT_OP_ROW_NORM, n->named ? n->name : NULL, &attr, n->n_in + 1, in);
    if (fused == NULL) return;
    for (int i = 0; i < 3; i++) {
        fused->out[i].spread = n->out[i].spread;
        dpt_rewrite_set(&f->rw, &n->out[i], &fused->out[i]);
    }
    fused->out[3].spread = add->out[0].spread;
    dpt_rewrite_set(&f->rw, &add->out[0], &fused->out[3]);
}

static bool fuse_gradient(dpt_merge *f, const dpt_node *add) {
    for (int k = 0; k < 2; k++) {
        const dpt_node *grad = add->in[k]->node;
        if (grad->op != DPT_OP_ROW_NORM_GRAD || !over_last_dimensions(grad) || !dpt_once(f, add->in[k])) continue;
        dpt_attr attr = grad->attr;
        attr.row_norm.residual = true;
        dpt_tensor *in[6] = {NULL};
        for (int i = 0; i < grad->n_in; i++) in[i] = dpt_now(f, grad->in[i]);
        in[grad->n_in] = dpt_now(f, add->in[1 - k]);
        dpt_node *fused =
            dpt_node_add(f->rw.to, add->file, add->line, DPT_OP_ROW_NORM_GRAD, NULL, &attr, grad->n_in + 1, in);
        if (fused == NULL) return true;
        fused->out[0].spread = add->out[0].spread;
        dpt_rewrite_set(&f->rw, &add->out[0], &fused->out[0]);
        return true;
    }
    return false;
}

static bool visit(dpt_merge *f, const dpt_node *n) {
    if (n->op != DPT_OP_ROW_NORM || dpt_now(f, n->in[0]) != NULL)
        return adds_alike(n) && (fuse_gradient(f, n) || waits_for_norm(f, n));
    fuse_norm(f, n);
    return true;
}

dpt_status dpt_pass_residual(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    (void)o;
    return dpt_merge_nodes(from, visit, to);
}
