/* resample.c: sums over windows with fixed weights: averages and resampling.
 *
 *   y[n,c,i] = sum over p of w0[i0,p0] w1[i1,p1] w2[i2,p2] x[n,c,p]
 *
 * with one matrix of weights a spatial dimension (backend/window.h). With attr.pool.transposed the matrices are
 * transposed: each operation is, so, its own gradient with the flag turned, and derivatives of any order exist.
 * Kernels: resample_cpu.c. */
#include <stddef.h>

#include "backend/window.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/pool.h"

/* ---- constructors ---- */

dpt_tensor *dpt_avg_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_pool_options options) {
    const dpt_attr attr = {.pool = dpt_pool_attr_of(x, &options)};
    return dpt_apply(file, line, DPT_OP_AVG_POOL, NULL, &attr, 1, &x);
}

dpt_tensor *dpt_adaptive_avg_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, const int64_t *size) {
    const dpt_attr attr = {.pool = dpt_pool_attr_adaptive(x, size)};
    return dpt_apply(file, line, DPT_OP_AVG_POOL, NULL, &attr, 1, &x);
}

dpt_tensor *dpt_global_avg_pool_at(DPT_PLACE_ARGS, dpt_tensor *x) {
    static const int64_t one[DPT_MAX_SPATIAL] = {1, 1, 1};
    dpt_tensor *y = dpt_adaptive_avg_pool_at(file, line, x, one);
    if (dpt_is_poison(y)) return y;
    return dpt_reshape_at(file, line, y, 2, y->dim);
}

dpt_tensor *dpt_resample_at(DPT_PLACE_ARGS, dpt_tensor *x, const int64_t *size, dpt_resample_mode mode) {
    dpt_attr attr = {.pool = dpt_pool_attr_adaptive(x, size)};
    attr.pool.window = mode == DPT_NEAREST  ? DPT_WINDOW_NEAREST
                       : mode == DPT_LINEAR ? DPT_WINDOW_LINEAR
                                            : DPT_WINDOW_CORNERS;
    for (int d = 0; d < DPT_MAX_SPATIAL; d++) attr.pool.kernel[d] = attr.pool.stride[d] = 0;
    return dpt_apply(file, line, DPT_OP_RESAMPLE, NULL, &attr, 1, &x);
}

/* ---- shape, gradient, cost ---- */

static dpt_status window_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const dpt_pool_attr *a = &node->attr.pool;
    int64_t dim[DPT_MAX_NDIM];
    DPT_TRY(dpt_pool_check(node, x));
    if (!dpt_pool_has(x, a, a->transposed ? a->out : a->in))
        return dpt_shape_error(node, "g is %s: not of the shape that came out", dpt_shape_text(x));
    dpt_pool_dims(a, x, a->transposed ? a->in : a->out, dim);
    dpt_set_out(node, 0, x->dtype, x->ndim, dim);
    return DPT_OK;
}

static void window_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_attr attr = node->attr;
    attr.pool.transposed = !attr.pool.transposed;
    if (want[0]) gin[0] = dpt_apply(DPT_AT(node), node->op, NULL, &attr, 1, gout);
}

/* A product and a sum for every weight that is not 0, which are as many as in the operation itself. */
static double window_flop(const dpt_call *call) {
    const dpt_pool_attr *a = &call->attr.pool;
    double weights = (double)call->out[0].dim[0] * (double)call->out[0].dim[1];
    for (int d = 0; d < DPT_MAX_SPATIAL; d++) {
        int64_t of_dimension = 0;
        for (int64_t i = 0; i < a->out[d]; i++) {
            const dpt_window_row r = dpt_window_row_of(a, d, i);
            of_dimension += r.end - r.begin;
        }
        weights *= (double)of_dimension;
    }
    return 2 * weights;
}

#define WINDOW_OP(op)                                        \
    const dpt_op dpt_op_##op = {.name = #op,                 \
                                .rule = DPT_ROWWISE,         \
                                .linear = DPT_ADDITIVE,      \
                                .precision = DPT_ALONG,      \
                                .n_out = 1,                  \
                                .shape = window_shape,       \
                                .gradient = window_gradient, \
                                .flop = window_flop};
WINDOW_OP(avg_pool)
WINDOW_OP(resample)
#undef WINDOW_OP
