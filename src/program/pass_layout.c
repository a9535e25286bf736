/* pass_layout.c: gives every tensor the layout that the plan (layout_plan.c) found, and inserts a reorder where a user
 * wants another one than the maker gives; users that want the same share it. Shapes stay logical. Inputs, parameters,
 * states, outputs, views, collectives and all that no kernel asks for stay canonical: a tensor of which other layouts
 * have the same bytes, as before a flatten of 1x1 planes, is called canonical and needs no reorder. Invariant: a
 * reorder reads what a kernel made, never another reorder. */
#include "base/memory.h"
#include "ops/internal.h"
#include "program/layout_plan.h"
#include "program/rewrite.h"

typedef struct layout {
    dpt_rewrite rw;
    const dpt_layout_plan *plan;
    dpt_tensor **reordered; /* by tensor of rw.from and layout */
} layout;

/* The tensor as it now is, in the layout that is wanted. */
static dpt_tensor *in_layout(layout *l, const dpt_node *at, const dpt_tensor *old, dpt_layout wanted) {
    dpt_tensor *now = dpt_rewrite_of(&l->rw, old);
    if (now == NULL || now->token || now->layout == wanted) return now;
    dpt_tensor **memo = &l->reordered[(old->node->id * DPT_MAX_OUT + old->index) * DPT_LAYOUT_COUNT + wanted];
    if (*memo) return *memo;
    dpt_tensor *made = dpt_reorder_at(DPT_AT(at), now, wanted);
    if (!dpt_is_poison(made)) made->spread = now->spread;
    return *memo = made;
}

static dpt_status copy_node(layout *l, const dpt_node *n) {
    dpt_tensor **in = dpt_alloc((size_t)(n->n_in + 1) * sizeof *in);
    DPT_CHECK_ALLOC(in);
    for (int k = 0; k < n->n_in; k++) in[k] = in_layout(l, n, n->in[k], dpt_layout_of_in(l->plan, n, k));
    dpt_node *copy = dpt_rewrite_copy_with(&l->rw, n, n->n_in, in);
    for (int k = 0; copy && k < n->n_out; k++) copy->out[k].layout = dpt_layout_of_out(l->plan, n, k);
    dpt_free(in);
    return DPT_OK;
}

/* Outputs are canonical to whoever reads them. */
static void settle_outputs(layout *l) {
    const dpt_graph *g = l->rw.from;
    for (int64_t i = 0; i < g->n_output; i++) {
        const dpt_tensor *t = g->output[i].tensor;
        dpt_rewrite_set(&l->rw, t, in_layout(l, t->node, t, DPT_LAYOUT_CANONICAL));
    }
}

static dpt_status apply(const dpt_graph *from, const dpt_layout_plan *plan, dpt_graph **to) {
    layout l = {.plan = plan};
    DPT_TRY(dpt_rewrite_begin(&l.rw, from));
    dpt_status status = DPT_OK;
    l.reordered = dpt_alloc_zero((size_t)(from->n_node + 1) * DPT_MAX_OUT * DPT_LAYOUT_COUNT, sizeof *l.reordered);
    DPT_CHECK_ALLOC_GOTO(l.reordered, done);
    for (int64_t i = 0; i < from->n_node && status == DPT_OK && l.rw.to->status == DPT_OK; i++)
        status = copy_node(&l, from->node[i]);
    if (status == DPT_OK && l.rw.to->status == DPT_OK) settle_outputs(&l);
done:
    dpt_free(l.reordered);
    return dpt_rewrite_finish(&l.rw, status, to);
}

dpt_status dpt_pass_layout(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    dpt_graph *pruned = NULL;
    dpt_layout_plan plan;
    DPT_TRY(dpt_prune(from, &pruned));
    dpt_status status = dpt_layout_plan_make(&plan, pruned, o);
    if (status == DPT_OK) {
        status = apply(pruned, &plan, to);
        dpt_layout_plan_free(&plan);
    }
    dpt_graph_destroy(&pruned);
    return status;
}
