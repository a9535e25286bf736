/* softmax.c: softmax over the last dimension, and what classification needs: one_hot, cross-entropy with its fused
 * backward kernel, accuracy. Exponentials are taken of x - max(x), so nothing overflows; sums are in f64.
 *
 * Cross-entropy's gradient is built of closed ops, g (softmax(logits) - one_hot(target)), in exactly the shape that the
 * fuse pass turns into cross_entropy_grad: change both together. */
#include <math.h>
#include <string.h>

#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"
#include "ops/map.h"

/* ---- rows ---- */

typedef struct row_run {
    const void *x;             /* (rows, n) */
    const dpt_operand *target; /* (rows) */
    const void *g;             /* (rows) */
    void *y;                   /* (rows, n) or (rows) */
    int64_t n;
} row_run;

static int64_t target_of(const row_run *run, int64_t row) {
    const void *t = run->target->data;
    switch (run->target->dtype) {
        case DPT_U8: return ((const uint8_t *)t)[row];
        case DPT_I32: return ((const int32_t *)t)[row];
        default: return ((const int64_t *)t)[row];
    }
}

static bool in_range(int64_t target, int64_t n) { return target >= 0 && target < n; }

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

/* Runs a row loop over the valid rows of an operand (rows, n). */
static dpt_status run_rows(const dpt_call *call, const dpt_operand *rows_of, row_run run, dpt_range_fn f32,
                           dpt_range_fn f64) {
    run.n = rows_of->dim[rows_of->ndim - 1];
    run.y = call->out[0].data;
    dpt_parallel(call->device->threads, dpt_valid_count(call, rows_of) / run.n, DPT_MAP_GRAIN / 8 / run.n + 1,
                 call->out[0].dtype == DPT_F32 ? f32 : f64, &run);
    return DPT_OK;
}

/* logits [N, C] of f32 or f64, target [N] of integers */
static dpt_status check_logits(const dpt_node *node) {
    const dpt_tensor *x = node->in[0], *t = node->in[1];
    if (x->ndim == 2 && t->ndim == 1 && x->dim[0] == t->dim[0] && dpt_is_float(x->dtype) && !dpt_is_float(t->dtype))
        return DPT_OK;
    return dpt_shape_error(node,
                           "logits are %s %s, target is %s %s: they must be [N,classes] of f32 or f64 and [N] of u8, "
                           "i32 or i64",
                           dpt_dtype_text(x->dtype), dpt_shape_text(x), dpt_dtype_text(t->dtype), dpt_shape_text(t));
}

static dpt_status per_row_shape(dpt_node *node) {
    DPT_TRY(check_logits(node));
    dpt_set_out(node, 0, dpt_wide_dtype(node->in[0]->dtype), 1, node->in[0]->dim);
    return DPT_OK;
}

/* A subtraction, an exponential, a sum and a product a logit. */
static double four_flop(const dpt_call *call) { return 4.0 * (double)call->in[0].count; }

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

/* ---- softmax ---- */

dpt_tensor *dpt_softmax_at(const char *file, int line, dpt_tensor *x) {
    return dpt_apply(file, line, DPT_OP_SOFTMAX, NULL, NULL, 1, &x);
}

static dpt_status softmax_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (x->ndim == 0 || x->dim[x->ndim - 1] <= 0 || !dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be [...,classes] of f32 or f64", dpt_dtype_text(x->dtype),
                               dpt_shape_text(x));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

/* dx = y (g - sum(g y)) */
static void softmax_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *y = dpt_wide_at(DPT_AT(node), &node->out[0]), *g = dpt_wide_at(DPT_AT(node), gout[0]);
    dpt_tensor *sum = dpt_sum_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), g, y), 1U << (y->ndim - 1), 1);
    gin[0] = dpt_mul_at(DPT_AT(node), y, dpt_sub_at(DPT_AT(node), g, sum));
}

static dpt_status softmax_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return run_rows(call, &call->in[0], (row_run){.x = call->in[0].data}, softmax_f32, softmax_f64);
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
    (void)stream;
    return run_rows(call, &call->out[0], (row_run){.target = &call->in[0]}, one_hot_f32, one_hot_f64);
}

const dpt_op dpt_op_one_hot = {.name = "one_hot",
                               .flags = DPT_IS_CONSTANT,
                               .rule = DPT_ROWWISE,
                               .n_out = 1,
                               .shape = one_hot_shape,
                               .flop = no_flop};
const dpt_kernel dpt_cpu_one_hot = {.run = one_hot_run};

/* ---- cross_entropy and its fused gradient ---- */

dpt_tensor *dpt_cross_entropy_at(const char *file, int line, dpt_tensor *logits, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_CROSS_ENTROPY, NULL, NULL, 2, (dpt_tensor *[]){logits, target});
}

/* dlogits = g (softmax(logits) - one_hot(target)), of 16-bit logits in f32 and rounded once */
static void cross_entropy_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *logits = dpt_wide_at(DPT_AT(node), node->in[0]), *target = node->in[1];
    dpt_tensor *hot = dpt_one_hot_at(DPT_AT(node), target, logits->dim[1], logits->dtype);
    dpt_tensor *difference = dpt_sub_at(DPT_AT(node), dpt_softmax_at(DPT_AT(node), logits), hot);
    dpt_tensor *g = dpt_reshape_at(DPT_AT(node), gout[0], 2, (int64_t[]){logits->dim[0], 1});
    gin[0] = dpt_cast_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), g, difference), node->in[0]->dtype);
}

static dpt_status cross_entropy_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const row_run run = {.x = call->in[0].data, .target = &call->in[1]};
    return run_rows(call, &call->in[0], run, cross_entropy_f32, cross_entropy_f64);
}

const dpt_op dpt_op_cross_entropy = {.name = "cross_entropy",
                                     .rule = DPT_ROWWISE,
                                     .precision = DPT_AS_IT_COMES,
                                     .n_out = 1,
                                     .shape = per_row_shape,
                                     .gradient = cross_entropy_gradient,
                                     .flop = four_flop};
const dpt_kernel dpt_cpu_cross_entropy = {.run = cross_entropy_run};

/* (logits [N, C], target [N], g [N]) -> [N, C] */
static dpt_status cross_entropy_grad_shape(dpt_node *node) {
    DPT_TRY(check_logits(node));
    const dpt_tensor *x = node->in[0], *g = node->in[2];
    if (g->ndim != 1 || g->dim[0] != x->dim[0] || g->dtype != dpt_wide_dtype(x->dtype))
        return dpt_shape_error(node, "logits are %s %s, g is %s %s", dpt_dtype_text(x->dtype), dpt_shape_text(x),
                               dpt_dtype_text(g->dtype), dpt_shape_text(g));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

static dpt_status cross_entropy_grad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const row_run run = {.x = call->in[0].data, .target = &call->in[1], .g = call->in[2].data};
    return run_rows(call, &call->in[0], run, cross_entropy_grad_f32, cross_entropy_grad_f64);
}

const dpt_op dpt_op_cross_entropy_grad = {.name = "cross_entropy_grad",
                                          .flags = DPT_IS_TERMINAL | DPT_IS_INPLACE,
                                          .rule = DPT_ROWWISE,
                                          .n_out = 1,
                                          .shape = cross_entropy_grad_shape,
                                          .flop = four_flop};
const dpt_kernel dpt_cpu_cross_entropy_grad = {.run = cross_entropy_grad_run};

/* ---- accuracy ---- */

dpt_tensor *dpt_accuracy_at(const char *file, int line, dpt_tensor *logits, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_ACCURACY, NULL, NULL, 2, (dpt_tensor *[]){logits, target});
}

static dpt_status accuracy_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const row_run run = {.x = call->in[0].data, .target = &call->in[1]};
    return run_rows(call, &call->in[0], run, accuracy_f32, accuracy_f64);
}

const dpt_op dpt_op_accuracy = {.name = "accuracy",
                                .flags = DPT_IS_CONSTANT,
                                .rule = DPT_ROWWISE,
                                .precision = DPT_AS_IT_COMES,
                                .n_out = 1,
                                .shape = per_row_shape};
const dpt_kernel dpt_cpu_accuracy = {.run = accuracy_run};
