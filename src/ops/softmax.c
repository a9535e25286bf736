/* softmax.c: softmax and its logarithm over the classes, one_hot. Exponentials are taken of x - max(x), so nothing
 * overflows; sums are in f64. The classes are the last dimension for users; gradients of cross-entropy have positions
 * after them (attr.classify.after). */
#include <math.h>
#include <string.h>

#include "ops/class_rows.h"
#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"

#define SOFTMAX_LOOPS
#define REAL float
#define NAME(x) x##_f32
#include "ops/softmax_rows.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_f64
#include "ops/softmax_rows.h"
#undef REAL
#undef NAME

/* A subtraction, an exponential, a sum and a product a logit. */
static double four_flop(const dpt_call *call) { return 4.0 * (double)call->in[0].count; }

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

/* ---- softmax ---- */

dpt_tensor *dpt_softmax_along_at(DPT_PLACE_ARGS, dpt_tensor *x, int after) {
    const dpt_attr attr = {.classify = {.after = after}};
    return dpt_apply(file, line, DPT_OP_SOFTMAX, NULL, &attr, 1, &x);
}

dpt_tensor *dpt_softmax_at(DPT_PLACE_ARGS, dpt_tensor *x) { return dpt_softmax_along_at(file, line, x, 0); }

static dpt_status softmax_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const int along = x->ndim - 1 - node->attr.classify.after;
    if (along < 0 || x->dim[along] <= 0 || !dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be [...,classes] of floats", dpt_dtype_text(x->dtype),
                               dpt_shape_text(x));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

static uint32_t axis_of(const dpt_node *node) { return 1U << (node->in[0]->ndim - 1 - node->attr.classify.after); }

/* dx = y (g - sum(g y)) */
static void softmax_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *y = dpt_wide_at(DPT_AT(node), &node->out[0]), *g = dpt_wide_at(DPT_AT(node), gout[0]);
    dpt_tensor *sum = dpt_sum_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), g, y), axis_of(node), 1);
    gin[0] = dpt_mul_at(DPT_AT(node), y, dpt_sub_at(DPT_AT(node), g, sum));
}

static dpt_status softmax_run(dpt_call *call, dpt_stream *stream) {
    static const dpt_range_fn loop[] = {softmax_rows_f32, softmax_rows_f64, softmax_columns_f32, softmax_columns_f64};
    (void)stream;
    dpt_class_run run = {.x = call->in[0].data};
    dpt_class_shape(&run, &call->in[0], call->attr.classify.after);
    return dpt_class_rows(call, &call->in[0], &run, loop);
}

const dpt_op dpt_op_softmax = {.name = "softmax",
                               .flags = DPT_IS_INPLACE,
                               .rule = DPT_ROWWISE,
                               .precision = DPT_ALONG,
                               .n_out = 1,
                               .shape = softmax_shape,
                               .gradient = softmax_gradient,
                               .flop = four_flop};
const dpt_kernel dpt_cpu_softmax = {.run = softmax_run};

/* ---- log_softmax ---- */

dpt_tensor *dpt_log_softmax_at(DPT_PLACE_ARGS, dpt_tensor *x) {
    return dpt_apply(file, line, DPT_OP_LOG_SOFTMAX, NULL, NULL, 1, &x);
}

/* dx = g - softmax(x) sum(g) */
static void log_softmax_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *x = dpt_wide_at(DPT_AT(node), node->in[0]), *g = dpt_wide_at(DPT_AT(node), gout[0]);
    dpt_tensor *p = dpt_softmax_along_at(DPT_AT(node), x, node->attr.classify.after);
    dpt_tensor *sum = dpt_sum_at(DPT_AT(node), g, axis_of(node), 1);
    gin[0] = dpt_sub_at(DPT_AT(node), g, dpt_mul_at(DPT_AT(node), p, sum));
}

static dpt_status log_softmax_run(dpt_call *call, dpt_stream *stream) {
    static const dpt_range_fn loop[] = {log_softmax_rows_f32, log_softmax_rows_f64, log_softmax_columns_f32,
                                        log_softmax_columns_f64};
    (void)stream;
    dpt_class_run run = {.x = call->in[0].data};
    dpt_class_shape(&run, &call->in[0], call->attr.classify.after);
    return dpt_class_rows(call, &call->in[0], &run, loop);
}

const dpt_op dpt_op_log_softmax = {.name = "log_softmax",
                                   .flags = DPT_IS_INPLACE,
                                   .rule = DPT_ROWWISE,
                                   .precision = DPT_ALONG,
                                   .n_out = 1,
                                   .shape = softmax_shape,
                                   .gradient = log_softmax_gradient,
                                   .flop = four_flop};
const dpt_kernel dpt_cpu_log_softmax = {.run = log_softmax_run};

/* ---- one_hot ---- */

dpt_tensor *dpt_one_hot_at(const char *file, int line, dpt_tensor *target, int64_t classes, dpt_dtype dtype) {
    return dpt_apply(file, line, DPT_OP_ONE_HOT, NULL, &(dpt_attr){.one_hot = {classes, dtype}}, 1, &target);
}

static dpt_status one_hot_shape(dpt_node *node) {
    const dpt_tensor *t = node->in[0];
    const int64_t classes = node->attr.one_hot.classes;
    if (t->ndim != 1 || dpt_is_float(t->dtype))
        return dpt_shape_error(node, "target is %s %s: it must be [N] of u8, i32 or i64", dpt_dtype_text(t->dtype),
                               dpt_shape_text(t));
    if (classes < 1 || !dpt_is_float(node->attr.one_hot.dtype))
        return dpt_shape_error(node, "target is %s, to %lld classes of %s: at least one, of f32 or f64",
                               dpt_shape_text(t), (long long)classes, dpt_dtype_text(node->attr.one_hot.dtype));
    dpt_set_out(node, 0, node->attr.one_hot.dtype, 2, (int64_t[]){t->dim[0], classes});
    return DPT_OK;
}

static dpt_status one_hot_run(dpt_call *call, dpt_stream *stream) {
    static const dpt_range_fn loop[4] = {one_hot_f32, one_hot_f64};
    (void)stream;
    dpt_class_run run = {.target = &call->in[0]};
    dpt_class_shape(&run, &call->out[0], 0);
    return dpt_class_rows(call, &call->out[0], &run, loop);
}

const dpt_op dpt_op_one_hot = {.name = "one_hot",
                               .flags = DPT_IS_CONSTANT,
                               .rule = DPT_ROWWISE,
                               .n_out = 1,
                               .shape = one_hot_shape,
                               .flop = no_flop};
const dpt_kernel dpt_cpu_one_hot = {.run = one_hot_run};
