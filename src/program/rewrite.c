/* rewrite.c: see rewrite.h. Copies keep name, place, attributes, shapes and spreads. */
#include "program/rewrite.h"

#include <string.h>

#include "base/memory.h"
#include "ops/op_list.h"

dpt_status dpt_rewrite_begin(dpt_rewrite *rw, const dpt_graph *from) {
    *rw = (dpt_rewrite){.from = from};
    DPT_TRY(dpt_graph_status(from));
    rw->map = dpt_alloc_zero((size_t)from->n_node * DPT_MAX_OUT, sizeof *rw->map);
    DPT_CHECK_ALLOC(rw->map);
    rw->to = dpt_graph_create(from->ctx);
    dpt_status status = dpt_graph_status(rw->to);
    for (int i = 1; i < from->n_axis && status == DPT_OK; i++) {
        rw->to->axis_name[i] = dpt_strdup(from->axis_name[i]);
        if (rw->to->axis_name[i] == NULL)
            status = DPT_ERR_MEMORY;
        else
            rw->to->n_axis = i + 1;
    }
    if (status != DPT_OK) {
        dpt_graph_destroy(&rw->to);
        dpt_free(rw->map);
    }
    return status;
}

dpt_tensor *dpt_rewrite_of(const dpt_rewrite *rw, const dpt_tensor *t) {
    return t ? rw->map[t->node->id * DPT_MAX_OUT + t->index] : NULL;
}

void dpt_rewrite_set(dpt_rewrite *rw, const dpt_tensor *old, dpt_tensor *now) {
    rw->map[old->node->id * DPT_MAX_OUT + old->index] = now;
}

static dpt_status copy_data(const dpt_node *node, dpt_node *copy) {
    if (node->data == NULL) return DPT_OK;
    size_t bytes = (size_t)dpt_row_count(&node->out[0]) * dpt_dtype_size(node->out[0].dtype);
    copy->data = dpt_alloc(bytes);
    DPT_CHECK_ALLOC(copy->data);
    memcpy(copy->data, node->data, bytes);
    return DPT_OK;
}

dpt_node *dpt_rewrite_copy_with(dpt_rewrite *rw, const dpt_node *node, int n_in, dpt_tensor *const *in) {
    dpt_graph *g = rw->to;
    dpt_node *copy = dpt_node_add(g, node->file, node->line, node->op, node->name, &node->attr, n_in, in);
    if (copy == NULL) return NULL;
    copy->named = node->named;
    copy->slot = node->slot;
    if (copy_data(node, copy) != DPT_OK) {
        dpt_graph_fail(g, node->file, node->line, DPT_ERR_MEMORY, "%s", dpt_last_error());
        return NULL;
    }
    for (int i = 0; i < node->n_out; i++) {
        const dpt_tensor *old = &node->out[i];
        dpt_tensor *now = &copy->out[i];
        dpt_set_out_like(copy, i, old);
        now->layout = old->layout;
        now->spread = old->spread;
        now->token = old->token;
        dpt_rewrite_set(rw, old, now);
    }
    return copy;
}

dpt_node *dpt_rewrite_copy(dpt_rewrite *rw, const dpt_node *node) {
    dpt_tensor **in = dpt_alloc((size_t)(node->n_in + 1) * sizeof *in);
    if (in == NULL) {
        dpt_graph_fail(rw->to, node->file, node->line, DPT_ERR_MEMORY, "%s", dpt_last_error());
        return NULL;
    }
    for (int i = 0; i < node->n_in; i++) in[i] = dpt_rewrite_of(rw, node->in[i]);
    dpt_node *copy = dpt_rewrite_copy_with(rw, node, node->n_in, in);
    dpt_free(in);
    return copy;
}

static dpt_status carry_tables(dpt_rewrite *rw) {
    const dpt_graph *from = rw->from;
    dpt_graph *to = rw->to;
    for (int64_t i = 0; i < from->n_input; i++) DPT_TRY(dpt_graph_add_input(to, dpt_rewrite_of(rw, from->input[i])));
    for (int64_t i = 0; i < from->n_param; i++) {
        dpt_param_info p = from->param[i];
        p.tensor = dpt_rewrite_of(rw, p.tensor);
        DPT_TRY(dpt_graph_add_param(to, from->param[i].name, p));
    }
    for (int64_t i = 0; i < from->n_state; i++) {
        dpt_state_info s = from->state[i];
        s.tensor = dpt_rewrite_of(rw, s.tensor);
        s.next = dpt_rewrite_of(rw, s.next);
        DPT_TRY(dpt_graph_add_state(to, from->state[i].name, s));
    }
    for (int64_t i = 0; i < from->n_loss; i++) {
        dpt_loss_info l = from->loss[i];
        l.value = dpt_rewrite_of(rw, l.value);
        l.mask = dpt_rewrite_of(rw, l.mask);
        if (l.value) DPT_TRY(dpt_graph_add_loss(to, l));
    }
    for (int64_t i = 0; i < from->n_output; i++)
        DPT_TRY(dpt_graph_add_output(to, from->output[i].name, dpt_rewrite_of(rw, from->output[i].tensor)));
    to->n_merge_group = from->n_merge_group;
    return DPT_OK;
}

dpt_status dpt_rewrite_finish(dpt_rewrite *rw, dpt_status status, dpt_graph **to) {
    if (status == DPT_OK) status = dpt_graph_status(rw->to);
    if (status == DPT_OK) status = carry_tables(rw);
    if (status == DPT_OK)
        *to = rw->to;
    else
        dpt_graph_destroy(&rw->to);
    dpt_free(rw->map);
    rw->map = NULL;
    return status;
}

static void mark(bool *live, const dpt_tensor *t) {
    if (t) live[t->node->id] = true;
}

dpt_status dpt_prune(const dpt_graph *from, dpt_graph **to) {
    dpt_rewrite rw;
    DPT_TRY(dpt_rewrite_begin(&rw, from));
    dpt_status status = DPT_OK;
    bool *live = dpt_alloc_zero((size_t)from->n_node, sizeof *live);
    DPT_CHECK_ALLOC_GOTO(live, fail);
    for (int64_t i = 0; i < from->n_output; i++) mark(live, from->output[i].tensor);
    for (int64_t i = from->n_node - 1; i >= 0; i--) {
        const dpt_node *n = from->node[i];
        if (dpt_op_of(n)->flags & (DPT_IS_EFFECT | DPT_IS_LEAF)) {
            if (n->op != DPT_OP_CONSTANT) live[i] = true;
        }
        if (live[i])
            for (int k = 0; k < n->n_in; k++) mark(live, n->in[k]);
    }
    for (int64_t i = 0; i < from->n_node; i++)
        if (live[i] && dpt_rewrite_copy(&rw, from->node[i]) == NULL) break;
fail:
    dpt_free(live);
    return dpt_rewrite_finish(&rw, status, to);
}

int *dpt_count_uses(const dpt_graph *g) {
    int *uses = dpt_alloc_zero((size_t)g->n_node * DPT_MAX_OUT, sizeof *uses);
    if (uses == NULL) return NULL;
    for (int64_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_in; k++) {
            const dpt_tensor *t = g->node[i]->in[k];
            uses[t->node->id * DPT_MAX_OUT + t->index]++;
        }
    for (int64_t i = 0; i < g->n_output; i++) {
        const dpt_tensor *t = g->output[i].tensor;
        uses[t->node->id * DPT_MAX_OUT + t->index]++;
    }
    return uses;
}

dpt_status dpt_merge_nodes(const dpt_graph *from, bool (*merge)(dpt_merge *m, const dpt_node *node), dpt_graph **to) {
    dpt_merge m = {0};
    DPT_TRY(dpt_rewrite_begin(&m.rw, from));
    int *uses = dpt_count_uses(from);
    m.uses = uses;
    for (int64_t i = 0; uses && i < from->n_node && m.rw.to->status == DPT_OK; i++) {
        const dpt_node *n = from->node[i];
        if (!merge(&m, n))
            dpt_rewrite_copy(&m.rw, n);
        else
            for (int k = 0; k < n->n_out && dpt_now(&m, &n->out[k]); k++)
                dpt_now(&m, &n->out[k])->spread = n->out[k].spread;
    }
    dpt_free(uses);
    dpt_graph *merged = NULL;
    DPT_TRY(dpt_rewrite_finish(&m.rw, uses ? DPT_OK : DPT_ERR_MEMORY, &merged));
    dpt_status status = dpt_prune(merged, to);
    dpt_graph_destroy(&merged);
    return status;
}
