/* ops_math.h: elementwise operations, activations, reductions, shapes, products. See ops.h for what all lines mean. */
#ifndef DPTRAIN_OPS_MATH_H
#define DPTRAIN_OPS_MATH_H

#include "dptrain/ops_place.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- elementwise, rowwise; a and b broadcast as in NumPy (batch dimensions only with the same axis or 1 or none) */
#define dpt_add(a, b) dpt_add_at(DPT_HERE, a, b)
#define dpt_sub(a, b) dpt_sub_at(DPT_HERE, a, b)
#define dpt_mul(a, b) dpt_mul_at(DPT_HERE, a, b)
#define dpt_div(a, b) dpt_div_at(DPT_HERE, a, b)
DPT_API dpt_tensor *dpt_add_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b);
DPT_API dpt_tensor *dpt_sub_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b);
DPT_API dpt_tensor *dpt_mul_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b);
DPT_API dpt_tensor *dpt_div_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b);
/* x * value, x + value */
#define dpt_scale(x, value) dpt_scale_at(DPT_HERE, x, value)
#define dpt_offset(x, value) dpt_offset_at(DPT_HERE, x, value)
DPT_API dpt_tensor *dpt_scale_at(DPT_PLACE_ARGS, dpt_tensor *x, double value);
DPT_API dpt_tensor *dpt_offset_at(DPT_PLACE_ARGS, dpt_tensor *x, double value);
#define dpt_sqrt(x) dpt_sqrt_at(DPT_HERE, x)
#define dpt_exp(x) dpt_exp_at(DPT_HERE, x)
#define dpt_ln(x) dpt_ln_at(DPT_HERE, x) /* natural logarithm */
#define dpt_sin(x) dpt_sin_at(DPT_HERE, x)
#define dpt_cos(x) dpt_cos_at(DPT_HERE, x)
#define dpt_abs(x) dpt_abs_at(DPT_HERE, x) /* its gradient at 0 is 0 */
DPT_API dpt_tensor *dpt_sqrt_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_exp_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_ln_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_sin_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_cos_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_abs_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* x to the given power, as pow(3) defines it. */
#define dpt_power(x, exponent) dpt_power_at(DPT_HERE, x, exponent)
DPT_API dpt_tensor *dpt_power_at(DPT_PLACE_ARGS, dpt_tensor *x, double exponent);
/* min(max(x, low), high), NaN where x is; low <= high, either may be infinite. No gradient where it clamps. */
#define dpt_clamp(x, low, high) dpt_clamp_at(DPT_HERE, x, low, high)
DPT_API dpt_tensor *dpt_clamp_at(DPT_PLACE_ARGS, dpt_tensor *x, double low, double high);
/* a where condition (any type) is not 0, else b; the three broadcast together. No gradient flows to the condition. */
#define dpt_where(condition, a, b) dpt_where_at(DPT_HERE, condition, a, b)
DPT_API dpt_tensor *dpt_where_at(DPT_PLACE_ARGS, dpt_tensor *condition, dpt_tensor *a, dpt_tensor *b);
/* 1 where a > b (a == b), else 0, of a's type (of floats) or u8 (of integers); a and b broadcast. No gradient. */
#define dpt_greater(a, b) dpt_greater_at(DPT_HERE, a, b)
#define dpt_equal(a, b) dpt_equal_at(DPT_HERE, a, b)
DPT_API dpt_tensor *dpt_greater_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b);
DPT_API dpt_tensor *dpt_equal_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b);
/* Any type to f32 or f64. Its gradient is a cast back; none flows to integers. */
#define dpt_cast(x, dtype) dpt_cast_at(DPT_HERE, x, dtype)
DPT_API dpt_tensor *dpt_cast_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_dtype dtype);

/* ---- activations, rowwise. gelu is x * Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel 2016) */
#define dpt_relu(x) dpt_relu_at(DPT_HERE, x)
#define dpt_tanh(x) dpt_tanh_at(DPT_HERE, x)
#define dpt_gelu(x) dpt_gelu_at(DPT_HERE, x)
#define dpt_leaky_relu(x, slope) dpt_leaky_relu_at(DPT_HERE, x, slope) /* slope * x where x < 0; 0 <= slope */
#define dpt_sigmoid(x) dpt_sigmoid_at(DPT_HERE, x)
#define dpt_silu(x) dpt_silu_at(DPT_HERE, x)         /* x sigmoid(x) */
#define dpt_softplus(x) dpt_softplus_at(DPT_HERE, x) /* log(1 + exp(x)) */
DPT_API dpt_tensor *dpt_relu_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_tanh_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_gelu_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_leaky_relu_at(DPT_PLACE_ARGS, dpt_tensor *x, double slope);
DPT_API dpt_tensor *dpt_sigmoid_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_silu_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_softplus_at(DPT_PLACE_ARGS, dpt_tensor *x);

/* ---- reductions. axes: bit i is dimension i; over a batch dimension: over the samples of all ranks, a mean divides by
 * their global number. keep: summed dimensions stay as 1. Reduces. */
#define DPT_ALL_AXES 0xffffffffu
#define dpt_sum(x, axes, keep) dpt_sum_at(DPT_HERE, x, axes, keep)
#define dpt_mean(x, axes, keep) dpt_mean_at(DPT_HERE, x, axes, keep)
DPT_API dpt_tensor *dpt_sum_at(DPT_PLACE_ARGS, dpt_tensor *x, uint32_t axes, int keep);
DPT_API dpt_tensor *dpt_mean_at(DPT_PLACE_ARGS, dpt_tensor *x, uint32_t axes, int keep);
/* Largest, smallest over axes that are no batch dimension; NaN if one is in it. The gradient goes to the first of
 * equals. Rowwise. */
#define dpt_max(x, axes, keep) dpt_max_at(DPT_HERE, x, axes, keep)
#define dpt_min(x, axes, keep) dpt_min_at(DPT_HERE, x, axes, keep)
DPT_API dpt_tensor *dpt_max_at(DPT_PLACE_ARGS, dpt_tensor *x, uint32_t axes, int keep);
DPT_API dpt_tensor *dpt_min_at(DPT_PLACE_ARGS, dpt_tensor *x, uint32_t axes, int keep);
/* Global number of valid rows of a batch axis (DPT_BATCH or dpt_batch_axis), times per_row, a scalar of dtype. */
#define dpt_rows(g, axis, per_row, dtype) dpt_rows_at(DPT_HERE, g, axis, per_row, dtype)
DPT_API dpt_tensor *dpt_rows_at(DPT_PLACE_ARGS, dpt_graph *g, int64_t axis, int64_t per_row, dpt_dtype dtype);

/* ---- shape, rowwise */
/* x repeated to dim as NumPy broadcasts. */
#define dpt_broadcast(x, ...) dpt_broadcast_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_broadcast_at(DPT_PLACE_ARGS, dpt_tensor *x, int ndim, const int64_t *dim);
/* Same elements in C order; a batch dimension stays first. Any type. */
#define dpt_reshape(x, ...) dpt_reshape_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_reshape_at(DPT_PLACE_ARGS, dpt_tensor *x, int ndim, const int64_t *dim);
/* [B, ...] to [B, the rest in one]. */
#define dpt_flatten(x) dpt_flatten_at(DPT_HERE, x)
DPT_API dpt_tensor *dpt_flatten_at(DPT_PLACE_ARGS, dpt_tensor *x);

/* Dimension i of the result is dimension order[i] of x; a batch dimension stays first. Any type. */
#define dpt_transpose(x, ...) dpt_transpose_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_transpose_at(DPT_PLACE_ARGS, dpt_tensor *x, const int *order);
/* n tensors one behind the other along an axis that is no batch dimension; their other dimensions are equal. */
#define dpt_concat(x, n, axis) dpt_concat_at(DPT_HERE, x, n, axis)
DPT_API dpt_tensor *dpt_concat_at(DPT_PLACE_ARGS, dpt_tensor *const *x, int n, int axis);
/* Elements from, from + step, ... before to, along an axis that is no batch dimension; step >= 1. */
#define dpt_slice(x, axis, from, to, step) dpt_slice_at(DPT_HERE, x, axis, from, to, step)
DPT_API dpt_tensor *dpt_slice_at(DPT_PLACE_ARGS, dpt_tensor *x, int axis, int64_t from, int64_t to, int64_t step);
/* before and after elements (each at least 0) of value, which x's type must have, around an axis that is no batch
 * dimension. */
#define dpt_pad(x, axis, before, after, value) dpt_pad_at(DPT_HERE, x, axis, before, after, value)
DPT_API dpt_tensor *dpt_pad_at(DPT_PLACE_ARGS, dpt_tensor *x, int axis, int64_t before, int64_t after, double value);
/* Along an axis that is no batch dimension: element i of the result is element index[i] of x; index [count] of i32 or
 * i64, or [B, count] with an index for each sample. NaN where an index is out of range; no gradient flows from there.
 */
#define dpt_gather(x, index, axis) dpt_gather_at(DPT_HERE, x, index, axis)
DPT_API dpt_tensor *dpt_gather_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *index, int axis);

/* ---- products */
/* op(a) op(b) of matrices, a [M,K] or its transpose [K,M], b [K,N] or [N,K]; gives [M,N]. A batch dimension as M is
 * rowwise; as K the product is a sum over the batch (reduces). */
#define dpt_matmul(a, b, transpose_a, transpose_b) dpt_matmul_at(DPT_HERE, a, b, transpose_a, transpose_b)
DPT_API dpt_tensor *dpt_matmul_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b, int transpose_a, int transpose_b);
/* x [..., in] times w [out, in] transposed, plus b [out] (NULL: none); gives [..., out]. Rowwise. */
#define dpt_linear_with(x, w, b) dpt_linear_with_at(DPT_HERE, x, w, b)
DPT_API dpt_tensor *dpt_linear_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b);
/* dpt_linear_with new parameters "<name>.weight" and "<name>.bias", started as PyTorch does. */
#define dpt_linear(x, out, name) dpt_linear_at(DPT_HERE, x, out, name)
DPT_API dpt_tensor *dpt_linear_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, const char *name);

#ifdef __cplusplus
}
#endif
#endif
