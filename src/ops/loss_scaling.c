/* loss_scaling.c: the scale of fp16's loss (Micikevicius et al. 2018). Gradients of 16 bits below 6e-8 vanish, so the
 * loss is multiplied by a scale before the backward pass and the guard divides by it. The scale follows what fits: a
 * step whose gradients are not finite is skipped and halves it; so many good steps in a row double it.
 *
 * Two states hold it, so that they are saved and restored with the others: "loss_scale.value" (f32) and
 * "loss_scale.steps" (i32, good steps since it last changed). Invariant: the scale is a power of two, so scaling rounds
 * nothing. */
#include <string.h>

#include "ops/declare.h"
#include "ops/internal.h"

enum { GROWTH_STEPS = 2000, GUARD_OK = 1, GUARD_VALUES = 4 };
static const float first_scale = 65536, smallest_scale = 1, largest_scale = 16777216;

static const char *const value_name = "loss_scale.value", *const steps_name = "loss_scale.steps";

static dpt_tensor *find_state(const dpt_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_state; i++)
        if (strcmp(g->state[i].name, name) == 0) return g->state[i].tensor;
    return NULL;
}

dpt_tensor *dpt_loss_scale_value(const dpt_graph *g) { return find_state(g, value_name); }
dpt_tensor *dpt_loss_scale_steps(const dpt_graph *g) { return find_state(g, steps_name); }

dpt_status dpt_loss_scale_declare(dpt_graph *g) {
    DPT_TRY(dpt_graph_status(g));
    if (dpt_loss_scale_value(g) == NULL)
        dpt_state_at(__FILE__, __LINE__, g, value_name, DPT_F32, 0, NULL, DPT_STATE_REPLICATED, (double)first_scale);
    if (dpt_loss_scale_steps(g) == NULL)
        dpt_state_at(__FILE__, __LINE__, g, steps_name, DPT_I32, 0, NULL, DPT_STATE_REPLICATED, 0);
    return dpt_graph_status(g);
}

/* ---- scale_update: (guard f64 [4], value f32 [], steps i32 []) -> (value, steps) of the next step. Not ok: value/2,
 * at least 1, and 0 steps; ok: a step more, at the 2000th value*2, at most 2^24, and 0 steps ---- */

static dpt_status scale_update_shape(dpt_node *node) {
    const dpt_tensor *guard = node->in[0], *value = node->in[1], *steps = node->in[2];
    bool fits = guard->dtype == DPT_F64 && guard->ndim == 1 && guard->dim[0] == GUARD_VALUES;
    if (!fits || value->dtype != DPT_F32 || value->ndim != 0 || steps->dtype != DPT_I32 || steps->ndim != 0)
        return dpt_shape_error(node,
                               "operands are %s %s, %s %s, %s %s: they must be a guard f64 [%d], the scale f32 [] and "
                               "its steps i32 []",
                               dpt_dtype_text(guard->dtype), dpt_shape_text(guard), dpt_dtype_text(value->dtype),
                               dpt_shape_text(value), dpt_dtype_text(steps->dtype), dpt_shape_text(steps),
                               GUARD_VALUES);
    dpt_set_out_like(node, 0, value);
    dpt_set_out_like(node, 1, steps);
    return DPT_OK;
}

static dpt_status scale_update_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    bool ok = ((const double *)call->in[0].data)[GUARD_OK] != 0;
    float value = *(const float *)call->in[1].data;
    int32_t steps = ok ? *(const int32_t *)call->in[2].data + 1 : 0;
    if (!ok) value = value / 2 > smallest_scale ? value / 2 : smallest_scale;
    if (steps >= GROWTH_STEPS) {
        value = value * 2 < largest_scale ? value * 2 : largest_scale;
        steps = 0;
    }
    *(float *)call->out[0].data = value;
    *(int32_t *)call->out[1].data = steps;
    return DPT_OK;
}

const dpt_op dpt_op_scale_update = {
    .name = "scale_update", .flags = DPT_IS_TERMINAL, .n_out = 2, .shape = scale_update_shape};
const dpt_kernel dpt_cpu_scale_update = {.run = scale_update_run};
