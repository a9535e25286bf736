/* digest.c: a digest of everything in a graph that ranks must build alike: operations, their order, shapes, attributes,
 * names, initialisers, losses. Places in the caller's source are left out. */
#include "base/hash.h"
#include "graph/op.h"

static void digest_tensor(dpt_digest *d, const dpt_tensor *t) {
    dpt_digest_i64(d, t->dtype);
    dpt_digest_i64(d, t->ndim);
    for (int i = 0; i < t->ndim; i++) dpt_digest_i64(d, t->dim[i]);
}

static void digest_ref(dpt_digest *d, const dpt_tensor *t) {
    dpt_digest_i64(d, t ? t->node->id * DPT_MAX_OUT + t->index : -1);
}

static void digest_node(dpt_digest *d, const dpt_node *n) {
    dpt_digest_text(d, dpt_op_of(n)->name);
    dpt_digest_text(d, n->name);
    dpt_digest_bytes(d, &n->attr, sizeof n->attr);
    for (int i = 0; i < n->n_in; i++) digest_ref(d, n->in[i]);
    for (int i = 0; i < n->n_out; i++) digest_tensor(d, &n->out[i]);
    if (n->data) dpt_digest_bytes(d, n->data, (size_t)dpt_row_count(&n->out[0]) * dpt_dtype_size(n->out[0].dtype));
}

uint64_t dpt_graph_digest(const dpt_graph *g) {
    dpt_digest d = {0};
    for (int64_t i = 0; i < g->n_node; i++) digest_node(&d, g->node[i]);
    for (int64_t i = 0; i < g->n_param; i++) {
        const dpt_param_info *p = &g->param[i];
        dpt_digest_i64(&d, p->init.kind);
        dpt_digest_f64(&d, p->init.a);
        dpt_digest_f64(&d, p->init.b);
        dpt_digest_f64(&d, p->group.lr_factor);
        dpt_digest_i64(&d, p->group.no_decay + 2 * p->group.frozen);
    }
    for (int64_t i = 0; i < g->n_state; i++) {
        digest_ref(&d, g->state[i].next);
        dpt_digest_i64(&d, g->state[i].kind);
        dpt_digest_f64(&d, g->state[i].initial);
    }
    for (int64_t i = 0; i < g->n_loss; i++) {
        digest_ref(&d, g->loss[i].value);
        digest_ref(&d, g->loss[i].mask);
        dpt_digest_f64(&d, g->loss[i].weight);
    }
    return d.value;
}
