/* pass_lower.c: from what the user wrote to what a program of a mode computes. DPT_LENGTH becomes a number. Losses
 * become sums over the batch and scales by global counts; evaluation replaces nodes by their inference form; outputs
 * become the program's. A ReLU before a max-pool goes behind it: the largest value has the same place and sign, and a
 * quarter or an eighth of the elements are left. */
#include <stdio.h>

#include "base/memory.h"
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct lower {
    dpt_rewrite rw;
    const dpt_program_options *o;
    const int *uses;
} lower;

static dpt_status output(dpt_graph *g, dpt_tensor *t, const char *format, int64_t i) {
    char name[64];
    snprintf(name, sizeof name, format, (long long)i);
    return dpt_graph_add_output(g, name, t);
}

/* Sum over the batch of the masked loss values. */
static dpt_tensor *loss_sum(lower *l, const dpt_loss_info *loss) {
    dpt_tensor *value = dpt_rewrite_of(&l->rw, loss->value), *mask = dpt_rewrite_of(&l->rw, loss->mask);
    const dpt_node *at = loss->value->node;
    if (mask && !loss->weighed) value = dpt_mul_at(DPT_AT(at), value, mask);
    return dpt_sum_at(DPT_AT(at), value, DPT_ALL_AXES, 0);
}

/* Number of valid values of all ranks (f64): the mask's sum, or rows. Where gradients are accumulated a masked count
 * spans micro-batches: it is handed in. */
static dpt_tensor *loss_count(lower *l, const dpt_loss_info *loss, int64_t i) {
    const dpt_node *at = loss->value->node;
    dpt_graph *g = l->rw.to;
    if (loss->mask == NULL)
        return dpt_rows_at(DPT_AT(at), g, loss->value->dim[0], dpt_row_count(dpt_rewrite_of(&l->rw, loss->value)),
                           DPT_F64);
    if (l->o->mode == DPT_MODE_ACCUMULATE) {
        char name[64];
        snprintf(name, sizeof name, "loss.%lld.count", (long long)i);
        return dpt_input_at(DPT_AT(at), g, name, DPT_F64, 0, NULL);
    }
    dpt_tensor *mask = dpt_cast_at(DPT_AT(at), dpt_rewrite_of(&l->rw, loss->mask), DPT_F64);
    return dpt_sum_at(DPT_AT(at), mask, DPT_ALL_AXES, 0);
}

/* weight * mean of one loss, a scalar of dtype. */
static dpt_tensor *loss_term(lower *l, int64_t i, dpt_dtype dtype) {
    const dpt_loss_info *loss = &l->rw.from->loss[i];
    const dpt_node *at = loss->value->node;
    dpt_tensor *term;
    if (dpt_has_batch(loss->value)) {
        dpt_tensor *scale = dpt_loss_scale_at(DPT_AT(at), loss_count(l, loss, i), loss->weight, loss->value->dtype);
        term = dpt_mul_at(DPT_AT(at), loss_sum(l, loss), scale);
    } else {
        term = dpt_reshape_at(DPT_AT(at), dpt_rewrite_of(&l->rw, loss->value), 0, NULL);
        if (loss->weight != 1.0) term = dpt_scale_at(DPT_AT(at), term, loss->weight);
    }
    return loss->value->dtype == dtype ? term : dpt_cast_at(DPT_AT(at), term, dtype);
}

static dpt_status lower_training(lower *l) {
    dpt_graph *g = l->rw.to;
    const dpt_graph *from = l->rw.from;
    DPT_CHECK(from->n_loss > 0, DPT_ERR_ARG, "nothing to train: the graph has no loss (dpt_loss_add)");
    dpt_tensor *total = NULL;
    for (int64_t i = 0; i < from->n_loss; i++) {
        dpt_tensor *term = loss_term(l, i, l->o->arenas->loss_dtype);
        total = total ? dpt_add_at(DPT_AT(from->loss[i].value->node), total, term) : term;
    }
    DPT_TRY(dpt_graph_status(g));
    if (l->o->mode == DPT_MODE_GRADIENT) return dpt_graph_add_output(g, "loss", total);
    for (int64_t i = 0; i < from->n_state; i++) {
        dpt_tensor *next = dpt_rewrite_of(&l->rw, from->state[i].next);
        dpt_attr attr = {.slot = {.index = (int)i}};
        if (next) dpt_node_add(g, DPT_AT(next->node), DPT_OP_ASSIGN, from->state[i].name, &attr, 1, &next);
    }
    return dpt_graph_add_output(g, "loss", total);
}

static dpt_status lower_counting(lower *l) {
    for (int64_t i = 0; i < l->rw.from->n_loss; i++)
        if (l->rw.from->loss[i].mask)
            DPT_TRY(output(l->rw.to, loss_count(l, &l->rw.from->loss[i], i), "loss.%lld.count", i));
    return DPT_OK;
}

static dpt_status lower_evaluation(lower *l) {
    const dpt_graph *from = l->rw.from;
    dpt_graph *g = l->rw.to;
    for (int64_t i = 0; i < from->n_loss; i++) {
        const dpt_loss_info *loss = &from->loss[i];
        if (!dpt_has_batch(loss->value)) {
            DPT_TRY(output(g, dpt_rewrite_of(&l->rw, loss->value), "loss.%lld.scalar", i));
            continue;
        }
        DPT_TRY(output(g, loss_sum(l, loss), "loss.%lld.sum", i));
        if (loss->mask) DPT_TRY(output(g, loss_count(l, loss, i), "loss.%lld.count", i));
    }
    for (int64_t i = 0; i < from->n_output; i++) {
        const dpt_tensor *t = from->output[i].tensor;
        if (!dpt_has_batch(t) || !dpt_is_float(t->dtype)) continue;
        if (t->ndim > 1) DPT_TRY(dpt_graph_add_output(g, from->output[i].name, dpt_rewrite_of(&l->rw, t)));
        if (t->ndim > 1) continue; /* is read as it is: dpt_step_request.output */
        dpt_tensor *sum = dpt_sum_at(DPT_AT(t->node), dpt_rewrite_of(&l->rw, t), DPT_ALL_AXES, 0);
        char name[128];
        snprintf(name, sizeof name, "%s.sum", from->output[i].name);
        DPT_TRY(dpt_graph_add_output(g, name, sum));
    }
    return DPT_OK;
}

static dpt_status lower_prediction(lower *l) {
    const dpt_graph *from = l->rw.from;
    for (int64_t i = 0; i < from->n_output; i++)
        DPT_TRY(dpt_graph_add_output(l->rw.to, from->output[i].name, dpt_rewrite_of(&l->rw, from->output[i].tensor)));
    return DPT_OK;
}

static bool bind_dims(int ndim, int64_t *dim, int64_t length) {
    bool bound = false;
    for (int i = 0; i < ndim; i++)
        if (dim[i] == DPT_LENGTH) dim[i] = length, bound = true;
    return bound;
}

/* DPT_LENGTH as a number in the shapes of a node's copy. */
static void bind_outputs(lower *l, const dpt_node *node, dpt_node *copy) {
    for (int i = 0; i < copy->n_out; i++)
        if (bind_dims(copy->out[i].ndim, copy->out[i].dim, l->o->length) && l->o->length == 0)
            dpt_graph_fail(l->rw.to, DPT_AT(node), DPT_ERR_ARG,
                           "%s \"%s\" has dimension DPT_LENGTH: dpt_trainer_options.length must say how long",
                           dpt_op_of(node)->name, node->name);
}

/* Copies a node with DPT_LENGTH bound: in a leaf's shape, in a shape that an attribute holds; others follow by their
 * shape rules from operands that are bound already. */
static bool copy_bound(lower *l, const dpt_node *node) {
    dpt_node bound = *node;
    if (node->op == DPT_OP_RESHAPE || node->op == DPT_OP_BROADCAST)
        bind_dims(bound.attr.shape.ndim, bound.attr.shape.dim, l->o->length);
    dpt_node *copy = dpt_rewrite_copy(&l->rw, &bound);
    if (copy) bind_outputs(l, node, copy);
    return copy != NULL;
}

/* The ReLU, plain or leaky, that y is and nothing but one max-pool takes; NULL: it is none. */
static const dpt_node *relu_to_move(const lower *l, const dpt_tensor *y) {
    return y->node->op == DPT_OP_RELU && dpt_uses(l->uses, y) == 1 ? y->node : NULL;
}

/* Max-pool of ReLU as ReLU of max-pool. The ReLU that stays serves a loss or a state that names it, or nothing. */
static bool lower_pool(lower *l, const dpt_node *pool) {
    const dpt_node *relu = relu_to_move(l, pool->in[0]);
    if (relu == NULL) return false;
    dpt_tensor *x = dpt_rewrite_of(&l->rw, relu->in[0]);
    dpt_node *copy = dpt_rewrite_copy_with(&l->rw, pool, 1, &x);
    if (copy == NULL) return true;
    bind_outputs(l, pool, copy);
    dpt_tensor *y = &copy->out[0];
    dpt_rewrite_set(&l->rw, &pool->out[0], dpt_apply(DPT_AT(relu), DPT_OP_RELU, NULL, &relu->attr, 1, &y));
    return true;
}

static bool inference(dpt_mode mode) { return mode == DPT_MODE_EVALUATE || mode == DPT_MODE_PREDICT; }

static bool lower_node(lower *l, const dpt_node *node) {
    const dpt_op *op = dpt_op_of(node);
    if (node->op == DPT_OP_MAX_POOL && lower_pool(l, node)) return dpt_graph_status(l->rw.to) == DPT_OK;
    if (!inference(l->o->mode) || op->infer == NULL) return copy_bound(l, node);
    dpt_tensor *in[DPT_MAX_IN];
    for (int k = 0; k < node->n_in; k++) in[k] = dpt_rewrite_of(&l->rw, node->in[k]);
    dpt_tensor *now = op->infer(node, in);
    dpt_rewrite_set(&l->rw, &node->out[0], now);
    return !dpt_is_poison(now);
}

/* Tables but the outputs, which are the program's own. */
static dpt_status finish(lower *l, dpt_status status, dpt_graph **to) {
    dpt_graph shown = *l->rw.from;
    shown.n_output = 0;
    l->rw.from = &shown;
    return dpt_rewrite_finish(&l->rw, status, to);
}

dpt_status dpt_pass_lower(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    lower l = {.o = o};
    DPT_TRY(dpt_rewrite_begin(&l.rw, from));
    int *uses = dpt_count_uses(from);
    l.uses = uses;
    if (uses == NULL) return finish(&l, DPT_ERR_MEMORY, to);
    for (int64_t i = 0; i < from->n_node; i++)
        if (!lower_node(&l, from->node[i])) break;
    dpt_free(uses);
    dpt_status status = dpt_graph_status(l.rw.to);
    if (status == DPT_OK && o->mode != DPT_MODE_APPLY) {
        if (o->mode == DPT_MODE_COUNT)
            status = lower_counting(&l);
        else if (o->mode == DPT_MODE_EVALUATE)
            status = lower_evaluation(&l);
        else if (o->mode == DPT_MODE_PREDICT)
            status = lower_prediction(&l);
        else
            status = lower_training(&l);
    }
    return finish(&l, status, to);
}
