/* pass_gradient.c: backward nodes of the loss for every trained parameter. grad_store marks where a gradient is final:
 * its output is the parameter's slot of the gradient arena. The loss itself is stored behind the gradients, so that it
 * is summed over ranks by their exchange.
 *
 * In fp16 the gradient starts from the loss scale instead of 1, and the arena holds scaled gradients until the guard's
 * factor undoes it; a program whose result the arena is divides before it stores. */
#include "base/memory.h"
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

static void store(dpt_graph *g, const dpt_program_options *o, const char *name, int index, dpt_slot slot,
                  dpt_tensor *value) {
    dpt_attr attr = {
        .slot = {
            .index = index, .offset = slot.offset, .bytes = slot.bytes, .accumulate = o->mode == DPT_MODE_ACCUMULATE}};
    dpt_node_add(g, DPT_AT(value->node), DPT_OP_GRAD_STORE, name, &attr, 1, &value);
}

static dpt_status copy_all(dpt_rewrite *rw, const dpt_graph *from) {
    DPT_TRY(dpt_rewrite_begin(rw, from));
    for (int64_t i = 0; i < from->n_node; i++)
        if (dpt_rewrite_copy(rw, from->node[i]) == NULL) break;
    return DPT_OK;
}

static dpt_status append_backward(dpt_rewrite *rw, const dpt_program_options *o, dpt_tensor **x, dpt_tensor **dx,
                                  int64_t *index) {
    const dpt_graph *from = rw->from;
    dpt_graph *g = rw->to;
    int64_t n = 0;
    DPT_TRY(dpt_graph_status(g));
    for (int64_t i = 0; i < from->n_param; i++)
        if (o->arenas->grad[i].offset >= 0) {
            index[n] = i;
            x[n++] = dpt_rewrite_of(rw, from->param[i].tensor);
        }
    dpt_tensor *total = dpt_rewrite_of(rw, from->output[0].tensor);
    dpt_tensor *scale = o->precision == DPT_PRECISION_FP16 ? dpt_rewrite_of(rw, dpt_loss_scale_value(from)) : NULL;
    if (n) dpt_gradients(&total, scale ? &scale : NULL, 1, x, n, dx);
    for (int64_t i = 0; scale && o->mode == DPT_MODE_GRADIENT && i < n; i++)
        if (dx[i]) dx[i] = dpt_div_at(DPT_AT(dx[i]->node), dx[i], scale);
    for (int64_t i = 0; i < n && g->status == DPT_OK; i++)
        if (dx[i]) store(g, o, from->param[index[i]].name, (int)index[i], o->arenas->grad[index[i]], dx[i]);
    store(g, o, "loss", -1, o->arenas->loss, total);
    return dpt_graph_status(g);
}

dpt_status dpt_pass_gradient(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    dpt_rewrite rw;
    DPT_TRY(copy_all(&rw, from));
    size_t n = (size_t)from->n_param + 1;
    dpt_tensor **x = dpt_alloc_zero(n, sizeof *x), **dx = dpt_alloc_zero(n, sizeof *dx);
    int64_t *index = dpt_alloc_zero(n, sizeof *index);
    dpt_status status = x && dx && index ? append_backward(&rw, o, x, dx, index) : DPT_ERR_MEMORY;
    dpt_free(x);
    dpt_free(dx);
    dpt_free(index);
    dpt_graph shown = *from;
    shown.n_output = 0; /* the loss is read from the arena, after the exchange */
    rw.from = &shown;
    dpt_graph *whole = NULL;
    DPT_TRY(dpt_rewrite_finish(&rw, status, &whole));
    status = dpt_prune(whole, to); /* what rules have made and nothing needs would keep values from being fused */
    dpt_graph_destroy(&whole);
    return status;
}
