/* cross_entropy.c: cross-entropy with its gradient in one pass, the weight of a target in a mean, accuracy and top-k.
 *
 * With target t the wanted distribution is q_c = own [c = t] + each w_c, own = (1 - s) w_t, each = s / classes: s is
 * the smoothing, w the weights of classes, and q is 0 where the target is ignored. The loss is sum_c q_c (log sum
 * exp(x) - x_c), its gradient (sum of q) softmax(x) - q. So PyTorch's mean, over the weights of the targets, is the sum
 * of this over the sum of target_weight.
 *
 * logits are [N, C, positions...], targets [N, positions...]; all of it closed: what is differentiated twice is built
 * of softmax and products. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "ops/class_rows.h"
#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"

typedef struct soft_target {
    int64_t t;
    bool ignored, sound; /* sound: in range */
    double own, each, all;
} soft_target;

#define CROSS_ENTROPY_LOOPS
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

/* ---- shapes ---- */

static bool fits(const dpt_tensor *x, const dpt_tensor *t) {
    if (x->ndim < 2 || t->ndim != x->ndim - 1 || x->dim[0] != t->dim[0] || x->dim[1] <= 0) return false;
    for (int i = 1; i < t->ndim; i++)
        if (t->dim[i] != x->dim[i + 1]) return false;
    return dpt_is_float(x->dtype) && !dpt_is_float(t->dtype);
}

/* logits, target; weights of classes as the operand after those that are needed, if there is one more */
static dpt_status check_logits(const dpt_node *node, int needed) {
    const dpt_tensor *x = node->in[0], *t = node->in[1], *w = node->n_in > needed ? node->in[needed] : NULL;
    if (!fits(x, t))
        return dpt_shape_error(node,
                               "logits are %s %s, target is %s %s: they must be [N,classes,positions] of floats and "
                               "[N,positions] of u8, i32 or i64",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x), dpt_dtype_text(t->dtype),
                               dpt_shape_text(t));
    if (w && (w->ndim != 1 || w->dim[0] != x->dim[1] || w->dtype != dpt_wide_dtype(x->dtype)))
        return dpt_shape_error(node, "logits are %s %s, weights of classes are %s %s", dpt_dtype_text(x->dtype),
                               dpt_shape_text(x), dpt_dtype_text(w->dtype), dpt_shape_text(w));
    return DPT_OK;
}

static dpt_status per_row_shape(dpt_node *node) {
    DPT_TRY(check_logits(node, 2));
    const dpt_tensor *t = node->in[1];
    dpt_set_out(node, 0, dpt_wide_dtype(node->in[0]->dtype), t->ndim, t->dim);
    return DPT_OK;
}

/* (logits, target, g [, weights]) -> as logits */
static dpt_status cross_entropy_grad_shape(dpt_node *node) {
    DPT_TRY(check_logits(node, 3));
    const dpt_tensor *x = node->in[0], *t = node->in[1], *g = node->in[2];
    if (!dpt_same_shape(g, t) || g->dtype != dpt_wide_dtype(x->dtype))
        return dpt_shape_error(node, "logits are %s %s, g is %s %s", dpt_dtype_text(x->dtype), dpt_shape_text(x),
                               dpt_dtype_text(g->dtype), dpt_shape_text(g));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

/* (target [, weights]) -> as target, of attr.classify's weights' type or f32 */
static dpt_status target_weight_shape(dpt_node *node) {
    const dpt_tensor *t = node->in[0], *w = node->n_in > 1 ? node->in[1] : NULL;
    if (dpt_is_float(t->dtype) || !dpt_has_batch(t) || w == NULL || w->ndim != 1 || !dpt_is_float(w->dtype))
        return dpt_shape_error(node, "target is %s %s: it must be [N,...] of u8, i32 or i64, with weights of classes",
                               dpt_dtype_text(t->dtype), dpt_shape_text(t));
    dpt_set_out(node, 0, w->dtype, t->ndim, t->dim);
    return DPT_OK;
}

/* A subtraction, an exponential, a sum and a product a logit. */
static double four_flop(const dpt_call *call) { return 4.0 * (double)call->in[0].count; }

/* ---- gradients ---- */

static void cross_entropy_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *in[4] = {node->in[0], node->in[1], gout[0], node->n_in > 2 ? node->in[2] : NULL};
    gin[0] = dpt_apply(DPT_AT(node), DPT_OP_CROSS_ENTROPY_GRAD, NULL, &node->attr, node->n_in + 1, in);
}

/* [N, positions] as [N, 1, positions] */
static dpt_tensor *beside_classes(const dpt_node *node, dpt_tensor *t) {
    int64_t dim[DPT_MAX_NDIM] = {t->dim[0], 1};
    for (int i = 1; i < t->ndim; i++) dim[i + 1] = t->dim[i];
    return dpt_reshape_at(DPT_AT(node), t, t->ndim + 1, dim);
}

/* With u what flows in, p = softmax(x), Q = sum of q: dx = g Q p (u - sum(u p)), dg = sum(u (Q p - q)) */
static void cross_entropy_grad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *x = dpt_wide_at(DPT_AT(node), node->in[0]), *u = dpt_wide_at(DPT_AT(node), gout[0]);
    dpt_tensor *t = node->in[1], *g = node->in[2], *w = node->n_in > 3 ? node->in[3] : NULL;
    if (want[0]) {
        dpt_tensor *p = dpt_softmax_along_at(DPT_AT(node), x, x->ndim - 2), *part = g;
        dpt_tensor *dot = dpt_sum_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), u, p), 2, 1);
        if (w) {
            dpt_tensor *all =
                dpt_apply(DPT_AT(node), DPT_OP_TARGET_WEIGHT, NULL, &node->attr, 2, (dpt_tensor *[]){t, w});
            part = dpt_mul_at(DPT_AT(node), g, all);
        }
        dpt_tensor *slope = dpt_mul_at(DPT_AT(node), p, dpt_sub_at(DPT_AT(node), u, dot));
        slope = dpt_mul_at(DPT_AT(node), slope, beside_classes(node, part));
        gin[0] = dpt_cast_at(DPT_AT(node), slope, node->in[0]->dtype);
    }
    if (want[2]) {
        dpt_tensor *one = dpt_scalar_at(DPT_AT(node), node->out[0].graph, g->dtype, 1);
        dpt_tensor *in[4] = {x, t, dpt_broadcast_at(DPT_AT(node), one, g->ndim, g->dim), w};
        dpt_tensor *d = dpt_apply(DPT_AT(node), DPT_OP_CROSS_ENTROPY_GRAD, NULL, &node->attr, node->n_in, in);
        gin[2] = dpt_sum_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), u, d), 2, 0);
    }
}

/* ---- constructors ---- */

dpt_tensor *dpt_smooth_cross_entropy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target, double smoothing) {
    const dpt_attr attr = {.classify = {.smoothing = smoothing}};
    return dpt_apply(file, line, DPT_OP_CROSS_ENTROPY, NULL, &attr, 2, (dpt_tensor *[]){logits, target});
}

dpt_tensor *dpt_cross_entropy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target) {
    return dpt_smooth_cross_entropy_at(file, line, logits, target, 0);
}

/* Weights of classes as a constant of logits' type; ones where there are none. */
static dpt_tensor *class_weights(DPT_PLACE_ARGS, dpt_graph *g, const dpt_tensor *logits, const double *weight) {
    const dpt_dtype dtype = dpt_wide_dtype(logits->dtype);
    const int64_t classes = logits->dim[1];
    void *values = dpt_alloc((size_t)classes * sizeof(double));
    if (values == NULL) return dpt_graph_fail(g, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    for (int64_t i = 0; i < classes; i++) {
        const double w = weight ? weight[i] : 1;
        if (dtype == DPT_F64)
            ((double *)values)[i] = w;
        else
            ((float *)values)[i] = (float)w;
    }
    dpt_tensor *t = dpt_constant_at(file, line, g, dtype, 1, &classes, values);
    dpt_free(values);
    return t;
}

static bool check_options(DPT_PLACE_ARGS, dpt_graph *g, const dpt_tensor *logits, const dpt_cross_entropy_options *o) {
    const char *message = NULL;
    if (logits->ndim < 2 || logits->dim[1] <= 0 || !dpt_is_float(logits->dtype))
        message = "logits must be [N,classes,positions] of floats";
    else if (!(o->smoothing >= 0 && o->smoothing < 1))
        message = "smoothing must be in [0, 1)";
    for (int64_t i = 0; message == NULL && o->weight && i < logits->dim[1]; i++)
        if (!(isfinite(o->weight[i]) && o->weight[i] >= 0))
            message = "a class has a negative weight, or one not finite";
    if (message) dpt_graph_fail(g, file, line, DPT_ERR_ARG, "cross_entropy_loss: %s", message);
    return message == NULL;
}

void dpt_cross_entropy_loss_at(DPT_PLACE_ARGS, dpt_graph *g, dpt_tensor *logits, dpt_tensor *target, double weight,
                               dpt_cross_entropy_options o) {
    if (g->status != DPT_OK || dpt_is_poison(logits) || dpt_is_poison(target)) return;
    if (!check_options(file, line, g, logits, &o)) return;
    dpt_attr attr = {.classify = {.smoothing = o.smoothing, .ignores = o.ignores != 0, .ignore = o.ignore}};
    if (o.weight == NULL && !o.ignores && o.smoothing == 0) {
        dpt_loss_add_at(file, line, g, dpt_cross_entropy_at(file, line, logits, target), weight, NULL);
        return;
    }
    const bool weighed = o.weight || o.ignores;
    dpt_tensor *in[3] = {logits, target, NULL}, *mask = NULL;
    if (weighed) in[2] = class_weights(file, line, g, logits, o.weight);
    dpt_tensor *value = dpt_apply(file, line, DPT_OP_CROSS_ENTROPY, NULL, &attr, weighed ? 3 : 2, in);
    attr.classify.smoothing = 0;
    if (weighed) mask = dpt_apply(file, line, DPT_OP_TARGET_WEIGHT, NULL, &attr, 2, in + 1);
    dpt_loss_add_at(file, line, g, value, weight, mask);
    if (weighed && g->status == DPT_OK) g->loss[g->n_loss - 1].weighed = true;
}

dpt_tensor *dpt_accuracy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_ACCURACY, NULL, NULL, 2, (dpt_tensor *[]){logits, target});
}

dpt_tensor *dpt_top_k_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target, int64_t k) {
    const dpt_attr attr = {.classify = {.k = k}};
    return dpt_apply(file, line, DPT_OP_TOP_K, NULL, &attr, 2, (dpt_tensor *[]){logits, target});
}

static dpt_status top_k_shape(dpt_node *node) {
    DPT_TRY(per_row_shape(node));
    const int64_t k = node->attr.classify.k, classes = node->in[0]->dim[1];
    if (k < 1 || k > classes)
        return dpt_shape_error(node, "k is %lld, of %lld classes", (long long)k, (long long)classes);
    return DPT_OK;
}

/* ---- kernels ---- */

static double sum_of(const dpt_operand *w) {
    double sum = 0;
    for (int64_t i = 0; i < w->count; i++)
        sum += w->dtype == DPT_F64 ? ((const double *)w->data)[i] : (double)((const float *)w->data)[i];
    return sum;
}

static dpt_class_run class_run(const dpt_call *call, int weight) {
    dpt_class_run run = {.x = call->in[0].data, .target = &call->in[1], .attr = call->attr.classify};
    dpt_class_shape(&run, &call->in[0], call->in[0].ndim - 2);
    run.weight = call->n_in > weight ? call->in[weight].data : NULL;
    run.weights = run.weight ? sum_of(&call->in[weight]) : (double)run.n;
    return run;
}

static dpt_status cross_entropy_run(dpt_call *call, dpt_stream *stream) {
    static const dpt_range_fn loop[] = {loss_rows_f32, loss_rows_f64, loss_columns_f32, loss_columns_f64};
    (void)stream;
    dpt_class_run run = class_run(call, 2);
    return dpt_class_rows(call, &call->in[0], &run, loop);
}

static dpt_status cross_entropy_grad_run(dpt_call *call, dpt_stream *stream) {
    static const dpt_range_fn loop[] = {gradient_rows_f32, gradient_rows_f64, gradient_columns_f32,
                                        gradient_columns_f64};
    (void)stream;
    dpt_class_run run = class_run(call, 3);
    run.g = call->in[2].data;
    return dpt_class_rows(call, &call->in[0], &run, loop);
}

static dpt_status target_weight_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_operand *w = &call->in[1], *y = &call->out[0];
    dpt_class_run run = {.target = &call->in[0],
                         .weight = w->data,
                         .weights = sum_of(w),
                         .n = w->count,
                         .y = y->data,
                         .attr = call->attr.classify};
    dpt_parallel(call->device->threads, dpt_valid_count(call, y), DPT_MAP_GRAIN / 4,
                 y->dtype == DPT_F64 ? target_weight_f64 : target_weight_f32, &run);
    return DPT_OK;
}

static dpt_status top_k_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_class_run run = class_run(call, 2);
    run.y = call->out[0].data;
    dpt_parallel(call->device->threads, dpt_valid_count(call, &call->out[0]), DPT_MAP_GRAIN / 8 / run.n + 1,
                 call->out[0].dtype == DPT_F64 ? top_k_f64 : top_k_f32, &run);
    return DPT_OK;
}

static dpt_status logits_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_alike(call, choice, 1, call->op == DPT_OP_CROSS_ENTROPY_GRAD, DPT_LAYOUTS_CHANNELS_LAST);
    return DPT_OK;
}

/* ---- tables ---- */

const dpt_op dpt_op_cross_entropy = {.name = "cross_entropy",
                                     .rule = DPT_ROWWISE,
                                     .precision = DPT_AS_IT_COMES,
                                     .n_out = 1,
                                     .shape = per_row_shape,
                                     .gradient = cross_entropy_gradient,
                                     .flop = four_flop};
const dpt_op dpt_op_cross_entropy_grad = {.name = "cross_entropy_grad",
                                          .flags = DPT_IS_INPLACE,
                                          .rule = DPT_ROWWISE,
                                          .precision = DPT_AS_IT_COMES,
                                          .n_out = 1,
                                          .shape = cross_entropy_grad_shape,
                                          .gradient = cross_entropy_grad_gradient,
                                          .flop = four_flop};
const dpt_op dpt_op_target_weight = {
    .name = "target_weight", .flags = DPT_IS_CONSTANT, .rule = DPT_ROWWISE, .n_out = 1, .shape = target_weight_shape};
const dpt_op dpt_op_accuracy = {.name = "accuracy",
                                .flags = DPT_IS_CONSTANT,
                                .rule = DPT_ROWWISE,
                                .precision = DPT_AS_IT_COMES,
                                .n_out = 1,
                                .shape = per_row_shape};
const dpt_op dpt_op_top_k = {.name = "top_k",
                             .flags = DPT_IS_CONSTANT,
                             .rule = DPT_ROWWISE,
                             .precision = DPT_AS_IT_COMES,
                             .n_out = 1,
                             .shape = top_k_shape};

const dpt_kernel dpt_cpu_cross_entropy = {.run = cross_entropy_run, .layouts = logits_layouts};
const dpt_kernel dpt_cpu_cross_entropy_grad = {.run = cross_entropy_grad_run, .layouts = logits_layouts};
const dpt_kernel dpt_cpu_target_weight = {.run = target_weight_run};
const dpt_kernel dpt_cpu_accuracy = {.run = top_k_run, .layouts = logits_layouts};
const dpt_kernel dpt_cpu_top_k = {.run = top_k_run, .layouts = logits_layouts};
