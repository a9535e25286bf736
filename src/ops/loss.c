/* loss.c: losses per sample, and the factor that turns their sum into the mean over the global count.
 *
 * mse is closed: its gradient is made of sub, scale and mul. loss_scale is where a loss meets the count of its valid
 * targets over all ranks and micro-batches; the count depends on inputs only, so no gradient flows to it. */
#include "backend/parallel.h"
#include "ops/declare.h"
#include "ops/internal.h"

/* ---- mse: out[b] = sum over the row of (y - t)^2 / row, y and t [B, ...] ---- */

dpt_tensor *dpt_mse_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target) {
    return dpt_apply(file, line, DPT_OP_MSE, NULL, NULL, 2, (dpt_tensor *[]){y, target});
}

static dpt_status mse_shape(dpt_node *node) {
    const dpt_tensor *y = node->in[0], *t = node->in[1];
    if (!dpt_is_float(y->dtype) || y->dtype != t->dtype || !dpt_same_shape(y, t) || !dpt_has_batch(y))
        return dpt_shape_error(node, "y is %s %s, target is %s %s: both must be one of f32, f64 and [B, ...]",
                               dpt_dtype_text(y->dtype), dpt_shape_text(y), dpt_dtype_text(t->dtype),
                               dpt_shape_text(t));
    dpt_set_out(node, 0, dpt_wide_dtype(y->dtype), 1, y->dim);
    return DPT_OK;
}

/* dy = g * 2 (y - t) / row, dt = -dy */
static void mse_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0] && !want[1]) return;
    dpt_tensor *y = dpt_wide_at(DPT_AT(node), node->in[0]), *t = dpt_wide_at(DPT_AT(node), node->in[1]), *g = gout[0];
    int64_t dim[DPT_MAX_NDIM] = {y->dim[0]};
    for (int i = 1; i < y->ndim; i++) dim[i] = 1;
    if (y->ndim > 1) g = dpt_reshape_at(DPT_AT(node), g, y->ndim, dim);
    g = dpt_scale_at(DPT_AT(node), g, 2 / (double)dpt_row_count(y));
    if (want[0]) gin[0] = dpt_mul_at(DPT_AT(node), dpt_sub_at(DPT_AT(node), y, t), g);
    if (want[1]) gin[1] = dpt_mul_at(DPT_AT(node), dpt_sub_at(DPT_AT(node), t, y), g);
}

static double mse_flop(const dpt_call *call) { return 3 * (double)call->in[0].count; }

enum { LANES = 8, GRAIN = 16384 };

/* Sums of a row in f64, by LANES partial sums. */
#define MSE_ROWS(suffix, type)                                                                         \
    DPT_MULTIVERSION static void mse_rows_##suffix(void *context, int64_t begin, int64_t end) {        \
        const dpt_call *call = context;                                                                \
        int64_t n = call->in[0].row_count;                                                             \
        type *restrict out = call->out[0].data;                                                        \
        for (int64_t r = begin; r < end; r++) {                                                        \
            const type *restrict y = (const type *)call->in[0].data + r * n;                           \
            const type *restrict t = (const type *)call->in[1].data + r * n;                           \
            double lane[LANES] = {0}, total = 0;                                                       \
            int64_t i = 0;                                                                             \
            for (; i + LANES <= n; i += LANES)                                                         \
                for (int l = 0; l < LANES; l++) {                                                      \
                    double d = (double)y[i + l] - (double)t[i + l];                                    \
                    lane[l] += d * d;                                                                  \
                }                                                                                      \
            for (; i < n; i++) total += ((double)y[i] - (double)t[i]) * ((double)y[i] - (double)t[i]); \
            for (int l = 0; l < LANES; l++) total += lane[l];                                          \
            out[r] = (type)(total / (double)n);                                                        \
        }                                                                                              \
    }
MSE_ROWS(f32, float)
MSE_ROWS(f64, double)
#undef MSE_ROWS

static dpt_status mse_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_range_fn rows = call->in[0].dtype == DPT_F64 ? mse_rows_f64 : mse_rows_f32;
    dpt_parallel(call->device->threads, dpt_valid_rows(call, &call->in[0]), GRAIN / call->in[0].row_count + 1, rows,
                 call);
    return DPT_OK;
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

const dpt_op dpt_op_mse = {.name = "mse",
                           .rule = DPT_ROWWISE,
                           .linear = DPT_NONLINEAR,
                           .n_out = 1,
                           .shape = mse_shape,
                           .gradient = mse_gradient,
                           .flop = mse_flop};
const dpt_op dpt_op_loss_scale = {
    .name = "loss_scale", .flags = DPT_IS_CONSTANT, .n_out = 1, .shape = loss_scale_shape};

const dpt_kernel dpt_cpu_mse = {.run = mse_run};
const dpt_kernel dpt_cpu_loss_scale = {.run = loss_scale_run};
