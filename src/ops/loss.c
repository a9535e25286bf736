/* loss.c: losses per sample, and the factor that turns their sum into the mean over the global count.
 *
 * mse, l1, huber and bce are means over a row of a function f(y, t) of each element. The gradient of mse is made of
 * sub, scale and mul; that of the others of loss_slope, the derivatives of f by y. dice is built of sums. loss_scale is
 * where a loss meets the count of its valid targets over all ranks and micro-batches; the count depends on inputs only,
 * so no gradient flows to it. */
#include <math.h>

#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"
#include "ops/map.h"

/* ---- mse, l1, huber, bce: out[b] = sum over the row of f(y, t) / row, y and t [B, ...] ---- */

dpt_tensor *dpt_mse_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_MSE, NULL, NULL, 2, (dpt_tensor *[]){y, target});
}

dpt_tensor *dpt_l1_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_L1, NULL, NULL, 2, (dpt_tensor *[]){y, target});
}

dpt_tensor *dpt_huber_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target, double delta) {
    if (!(delta > 0) && !dpt_is_poison(y))
        return dpt_graph_fail(y->graph, file, line, DPT_ERR_ARG, "huber: delta is %g: it must be above 0", delta);
    const dpt_attr attr = {.slope = {.delta = delta}};
    return dpt_apply(file, line, DPT_OP_HUBER, NULL, &attr, 2, (dpt_tensor *[]){y, target});
}

dpt_tensor *dpt_bce_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_BCE, NULL, NULL, 2, (dpt_tensor *[]){logits, target});
}

static dpt_status pair_check(const dpt_node *node) {
    const dpt_tensor *y = node->in[0], *t = node->in[1];
    if (!dpt_is_float(y->dtype) || y->dtype != t->dtype || !dpt_same_shape(y, t) || !dpt_has_batch(y))
        return dpt_shape_error(node, "y is %s %s, target is %s %s: both must be one of f32, f64 and [B, ...]",
                               dpt_dtype_text(y->dtype), dpt_shape_text(y), dpt_dtype_text(t->dtype),
                               dpt_shape_text(t));
    return DPT_OK;
}

static dpt_status row_loss_shape(dpt_node *node) {
    DPT_TRY(pair_check(node));
    dpt_set_out(node, 0, dpt_wide_dtype(node->in[0]->dtype), 1, node->in[0]->dim);
    return DPT_OK;
}

/* g [B] times `factor`, to stand beside y [B, ...]. */
static dpt_tensor *beside(const dpt_node *node, dpt_tensor *g, const dpt_tensor *y, double factor) {
    int64_t dim[DPT_MAX_NDIM] = {y->dim[0]};
    for (int i = 1; i < y->ndim; i++) dim[i] = 1;
    if (y->ndim > 1) g = dpt_reshape_at(DPT_AT(node), g, y->ndim, dim);
    return dpt_scale_at(DPT_AT(node), g, factor);
}

/* dy = g * 2 (y - t) / row, dt = -dy */
static void mse_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0] && !want[1]) return;
    dpt_tensor *y = dpt_wide_at(DPT_AT(node), node->in[0]), *t = dpt_wide_at(DPT_AT(node), node->in[1]);
    dpt_tensor *g = beside(node, gout[0], y, 2 / (double)dpt_row_count(y));
    if (want[0]) gin[0] = dpt_mul_at(DPT_AT(node), dpt_sub_at(DPT_AT(node), y, t), g);
    if (want[1]) gin[1] = dpt_mul_at(DPT_AT(node), dpt_sub_at(DPT_AT(node), t, y), g);
}

/* dy = g f'(y, t) / row; dt = -dy where f is of y - t, -g y / row for bce */
static void row_loss_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0] && !want[1]) return;
    dpt_tensor *in[2] = {dpt_wide_at(DPT_AT(node), node->in[0]), dpt_wide_at(DPT_AT(node), node->in[1])};
    const dpt_attr attr = {.slope = {.delta = node->attr.slope.delta, .of = node->op, .order = 1}};
    const bool logits = node->op == DPT_OP_BCE;
    const double share = 1 / (double)dpt_row_count(in[0]);
    dpt_tensor *slope = NULL;
    if (want[0] || !logits) slope = dpt_apply(DPT_AT(node), DPT_OP_LOSS_SLOPE, NULL, &attr, 2, in);
    if (want[0]) gin[0] = dpt_mul_at(DPT_AT(node), slope, beside(node, gout[0], in[0], share));
    if (want[1]) gin[1] = dpt_mul_at(DPT_AT(node), logits ? in[0] : slope, beside(node, gout[0], in[0], -share));
}

/* A difference, f and a sum an element. */
static double row_loss_flop(const dpt_call *call) { return 3 * (double)call->in[0].count; }

enum { LANES = 8, GRAIN = 16384 };

/* Sums of a row in f64, by LANES partial sums; `term` in y, t, d = y - t (f64) and delta. */
#define ROW_LOSS(name, suffix, type, term)                                                     \
    DPT_HOT_LOOP static void name##_rows_##suffix(void *context, int64_t begin, int64_t end) { \
        const dpt_call *call = context;                                                        \
        const int64_t n = call->in[0].row_count;                                               \
        const double delta = call->attr.slope.delta;                                           \
        type *restrict out = call->out[0].data;                                                \
        (void)delta;                                                                           \
        for (int64_t r = begin; r < end; r++) {                                                \
            const type *restrict of_y = (const type *)call->in[0].data + r * n;                \
            const type *restrict of_t = (const type *)call->in[1].data + r * n;                \
            double lane[LANES] = {0}, total = 0;                                               \
            int64_t i = 0;                                                                     \
            for (; i + LANES <= n; i += LANES)                                                 \
                for (int l = 0; l < LANES; l++) {                                              \
                    const double y = (double)of_y[i + l], t = (double)of_t[i + l], d = y - t;  \
                    (void)d;                                                                   \
                    lane[l] += (term);                                                         \
                }                                                                              \
            for (; i < n; i++) {                                                               \
                const double y = (double)of_y[i], t = (double)of_t[i], d = y - t;              \
                (void)d;                                                                       \
                total += (term);                                                               \
            }                                                                                  \
            for (int l = 0; l < LANES; l++) total += lane[l];                                  \
            out[r] = (type)(total / (double)n);                                                \
        }                                                                                      \
    }
#define ROW_LOSSES(name, term)                                                                       \
    ROW_LOSS(name, f32, float, term)                                                                 \
    ROW_LOSS(name, f64, double, term)                                                                \
    static dpt_status name##_run(dpt_call *call, dpt_stream *stream) {                               \
        (void)stream;                                                                                \
        return row_loss_run(call, call->in[0].dtype == DPT_F64 ? name##_rows_f64 : name##_rows_f32); \
    }

static dpt_status row_loss_run(dpt_call *call, dpt_range_fn rows) {
    dpt_parallel(call->device->threads, dpt_valid_rows(call, &call->in[0]), GRAIN / call->in[0].row_count + 1, rows,
                 call);
    return DPT_OK;
}

ROW_LOSSES(mse, d *d)
ROW_LOSSES(l1, fabs(d))
ROW_LOSSES(huber, fabs(d) <= delta ? d * d / 2 : delta * (fabs(d) - delta / 2))
/* log(1 + e^y) - t y, of an exponential that cannot overflow */
ROW_LOSSES(bce, (y > 0 ? y : 0) + log1p(exp(-fabs(y))) - t * y)
#undef ROW_LOSSES
#undef ROW_LOSS

/* ---- loss_slope: derivatives of f by y, element by element. Order 1: l1 sign(d), huber d within [-delta, delta], bce
 * sigmoid(y) - t; order 2: huber 1 where |d| <= delta, else 0; d = y - t ---- */

static dpt_status slope_shape(dpt_node *node) {
    DPT_TRY(pair_check(node));
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

/* By y and by t; nothing flows through l1, nor twice through huber. */
static void slope_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_attr attr = node->attr;
    dpt_tensor *g = gout[0], *bend = NULL;
    if (attr.slope.of == DPT_OP_HUBER && attr.slope.order == 1) {
        attr.slope.order = 2;
        bend = dpt_apply(DPT_AT(node), DPT_OP_LOSS_SLOPE, NULL, &attr, 2, node->in);
        bend = dpt_mul_at(DPT_AT(node), g, bend);
        if (want[0]) gin[0] = bend;
        if (want[1]) gin[1] = dpt_scale_at(DPT_AT(node), bend, -1);
    }
    if (attr.slope.of == DPT_OP_BCE && want[0]) { /* s (1 - s), s = sigmoid(y) = slope + t */
        dpt_tensor *s = dpt_add_at(DPT_AT(node), &node->out[0], node->in[1]);
        bend = dpt_sub_at(DPT_AT(node), s, dpt_mul_at(DPT_AT(node), s, s));
        gin[0] = dpt_mul_at(DPT_AT(node), g, bend);
    }
    if (attr.slope.of == DPT_OP_BCE && want[1]) gin[1] = dpt_scale_at(DPT_AT(node), g, -1);
}

#define SIGN(T) (T)((v > w) - (v < w))
#define CLAMP(T) (v - w > value ? value : v - w < -value ? -value : v - w)
#define WITHIN(T) (T)(v - w <= value && w - v <= value)
/* Of an exponential that cannot overflow: e = e^-|v|; sigmoid(v) = (v < 0 ? e : 1) / (1 + e). */
#define SIGMOID_LESS(exponential, magnitude) \
    ((v < 0 ? exponential(-magnitude(v)) : 1) / (1 + exponential(-magnitude(v))) - w)
DPT_MAP(slope_l1, SIGN(float), SIGN(double))
DPT_MAP(slope_huber, CLAMP(float), CLAMP(double))
DPT_MAP(bend_huber, WITHIN(float), WITHIN(double))
DPT_MAP(slope_bce, SIGMOID_LESS(dpt_exp_f32, fabsf), SIGMOID_LESS(exp, fabs))

static dpt_status slope_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_map map = {.value = call->attr.slope.delta};
    if (call->attr.slope.of == DPT_OP_L1) return dpt_map_run(call, map, slope_l1_f32, slope_l1_f64);
    if (call->attr.slope.of == DPT_OP_BCE) return dpt_map_run(call, map, slope_bce_f32, slope_bce_f64);
    if (call->attr.slope.order == 1) return dpt_map_run(call, map, slope_huber_f32, slope_huber_f64);
    return dpt_map_run(call, map, bend_huber_f32, bend_huber_f64);
}

/* ---- dice: 1 - (2 sum p t + smooth) / (sum p + sum t + smooth), sums over the row ---- */

static dpt_tensor *dice_fail(DPT_PLACE_ARGS, const dpt_tensor *p, const dpt_tensor *t, double smooth) {
    if (!(smooth >= 0))
        return dpt_graph_fail(p->graph, file, line, DPT_ERR_ARG, "dice: smooth is %g: it must not be negative", smooth);
    return dpt_graph_fail(p->graph, file, line, DPT_ERR_SHAPE,
                          "dice: p is %s %s, target is %s %s: both must be one of f32, f64 and [B, ...]",
                          dpt_dtype_text(p->dtype), dpt_shape_text(p), dpt_dtype_text(t->dtype), dpt_shape_text(t));
}

dpt_tensor *dpt_dice_at(DPT_PLACE_ARGS, dpt_tensor *p, dpt_tensor *target, double smooth) {
    if (dpt_is_poison(p) || dpt_is_poison(target)) return dpt_is_poison(p) ? p : target;
    const bool fits = dpt_is_float(p->dtype) && p->dtype == target->dtype && dpt_same_shape(p, target);
    if (!fits || !dpt_has_batch(p) || p->ndim < 2 || !(smooth >= 0)) return dice_fail(file, line, p, target, smooth);
    const uint32_t row = ((1U << p->ndim) - 1) & ~1U;
    p = dpt_wide_at(file, line, p);
    target = dpt_wide_at(file, line, target);
    dpt_tensor *both = dpt_sum_at(file, line, dpt_mul_at(file, line, p, target), row, 0);
    dpt_tensor *of_p = dpt_sum_at(file, line, p, row, 0), *of_t = dpt_sum_at(file, line, target, row, 0);
    dpt_tensor *above = dpt_offset_at(file, line, dpt_scale_at(file, line, both, 2), smooth);
    dpt_tensor *below = dpt_offset_at(file, line, dpt_add_at(file, line, of_p, of_t), smooth);
    return dpt_offset_at(file, line, dpt_scale_at(file, line, dpt_div_at(file, line, above, below), -1), 1);
}

/* ---- loss_scale: weight / count, 0 where count is 0 ---- */

dpt_tensor *dpt_loss_scale_at(DPT_PLACE_ARGS, dpt_tensor *count, double weight, dpt_dtype dtype) {
    dpt_attr attr = {0};
    attr.loss.weight = weight;
    attr.loss.dtype = dtype;
    return dpt_apply(file, line, DPT_OP_LOSS_SCALE, NULL, &attr, 1, &count);
}

static dpt_status loss_scale_shape(dpt_node *node) {
    const dpt_tensor *count = node->in[0];
    if (count->dtype != DPT_F64 || count->ndim != 0 || !dpt_is_float(node->attr.loss.dtype))
        return dpt_shape_error(node, "count is %s %s, not an f64 scalar, or the result is no float: %s",
                               dpt_dtype_text(count->dtype), dpt_shape_text(count),
                               dpt_dtype_text(node->attr.loss.dtype));
    dpt_set_out(node, 0, node->attr.loss.dtype, 0, NULL);
    return DPT_OK;
}

static dpt_status loss_scale_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    double count = *(const double *)call->in[0].data;
    double scale = count > 0 ? call->attr.loss.weight / count : 0;
    if (call->out[0].dtype == DPT_F64)
        *(double *)call->out[0].data = scale;
    else
        *(float *)call->out[0].data = (float)scale;
    return DPT_OK;
}

/* ---- tables ---- */

#define ROW_LOSS(op, gradient_)                          \
    const dpt_op dpt_op_##op = {.name = #op,             \
                                .rule = DPT_ROWWISE,     \
                                .n_out = 1,              \
                                .shape = row_loss_shape, \
                                .gradient = gradient_,   \
                                .flop = row_loss_flop};  \
    const dpt_kernel dpt_cpu_##op = {.run = op##_run}
ROW_LOSS(mse, mse_gradient);
ROW_LOSS(l1, row_loss_gradient);
ROW_LOSS(huber, row_loss_gradient);
ROW_LOSS(bce, row_loss_gradient);
#undef ROW_LOSS
const dpt_op dpt_op_loss_slope = {.name = "loss_slope",
                                  .flags = DPT_IS_INPLACE,
                                  .rule = DPT_ROWWISE,
                                  .n_out = 1,
                                  .shape = slope_shape,
                                  .gradient = slope_gradient};
const dpt_op dpt_op_loss_scale = {
    .name = "loss_scale", .flags = DPT_IS_CONSTANT, .n_out = 1, .shape = loss_scale_shape};

const dpt_kernel dpt_cpu_loss_slope = {.run = slope_run, .layouts = dpt_map_layouts};
const dpt_kernel dpt_cpu_loss_scale = {.run = loss_scale_run};
