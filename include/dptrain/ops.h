/* ops.h: the operations of a graph (graph.h). Each is a macro over a function that takes the caller's file and line, so
 * that errors name them. Shapes: B is a batch dimension, C channels, letters any size; [...] any dimensions. Types: f32
 * and f64 unless said otherwise; operands of one op have one type. Each line says how the op treats the batch: rowwise,
 * reduces (over the samples of all ranks), or mixes. All are Local. */
#ifndef DPTRAIN_OPS_H
#define DPTRAIN_OPS_H

#include "dptrain/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DPT_PLACE_ARGS const char *file, int line

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
DPT_API dpt_tensor *dpt_sqrt_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* Any type to f32 or f64. Its gradient is a cast back; none flows to integers. */
#define dpt_cast(x, dtype) dpt_cast_at(DPT_HERE, x, dtype)
DPT_API dpt_tensor *dpt_cast_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_dtype dtype);

/* ---- activations, rowwise. gelu is x * Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel 2016) */
#define dpt_relu(x) dpt_relu_at(DPT_HERE, x)
#define dpt_tanh(x) dpt_tanh_at(DPT_HERE, x)
#define dpt_gelu(x) dpt_gelu_at(DPT_HERE, x)
DPT_API dpt_tensor *dpt_relu_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_tanh_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_gelu_at(DPT_PLACE_ARGS, dpt_tensor *x);

/* ---- reductions. axes: bit i is dimension i; over a batch dimension: over the samples of all ranks, a mean divides by
 * their global number. keep: summed dimensions stay as 1. Reduces. */
#define DPT_ALL_AXES 0xffffffffu
#define dpt_sum(x, axes, keep) dpt_sum_at(DPT_HERE, x, axes, keep)
#define dpt_mean(x, axes, keep) dpt_mean_at(DPT_HERE, x, axes, keep)
DPT_API dpt_tensor *dpt_sum_at(DPT_PLACE_ARGS, dpt_tensor *x, uint32_t axes, int keep);
DPT_API dpt_tensor *dpt_mean_at(DPT_PLACE_ARGS, dpt_tensor *x, uint32_t axes, int keep);
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

/* ---- convolution and pooling, rowwise. x [B, C, H, W] */
typedef struct dpt_conv_options {
    int64_t stride, pad, dilation, groups; /* of both dimensions; 0 means 1 for stride, dilation and groups */
} dpt_conv_options;
/* w [out, C/groups, KH, KW], b [out] or NULL; gives [B, out, H', W'], H' = (H + 2 pad - dilation (KH-1) - 1)/stride
 * + 1. */
#define dpt_conv2d_with(x, ...) dpt_conv2d_with_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_conv2d_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b,
                                       dpt_conv_options options);
/* dpt_conv2d_with new parameters "<name>.weight" and, with bias, "<name>.bias", started as PyTorch does. */
#define dpt_conv2d(x, ...) dpt_conv2d_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_conv2d_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, int64_t kernel, int bias,
                                  dpt_conv_options options, const char *name);
/* Largest of each window, NaN if one is in it; pad counts as -inf and is at most kernel/2. stride 0 means kernel. */
#define dpt_max_pool2d(x, kernel, stride, pad) dpt_max_pool2d_at(DPT_HERE, x, kernel, stride, pad)
DPT_API dpt_tensor *dpt_max_pool2d_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t kernel, int64_t stride, int64_t pad);

/* ---- normalisation. x [B, C, ...]; f32 */
typedef struct dpt_batch_norm_options {
    double eps;      /* 0 means 1e-5 */
    double momentum; /* of the running statistics; 0 means 0.1 */
    int sync;        /* moments over the samples of all ranks instead of this rank's */
} dpt_batch_norm_options;
/* (x - mean) / sqrt(var + eps) * weight + bias by channel (Ioffe and Szegedy 2015), with parameters "<name>.weight",
 * "<name>.bias" and states "<name>.running_mean", "<name>.running_var" (unbiased), "<name>.running_weight". Training
 * uses the batch's moments; evaluation the running ones, merged over ranks. Mixes. Its backward is one fused kernel:
 * for second derivatives write it with dpt_mean. */
#define dpt_batch_norm(x, ...) dpt_batch_norm_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_batch_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_batch_norm_options options, const char *name);

/* Zero with the given probability, else x / (1 - probability); nothing in evaluation. The draw depends on name, seed,
 * step and the sample's position in the global batch alone. Rowwise. */
#define dpt_dropout(x, probability, name) dpt_dropout_at(DPT_HERE, x, probability, name)
DPT_API dpt_tensor *dpt_dropout_at(DPT_PLACE_ARGS, dpt_tensor *x, double probability, const char *name);

/* ---- classification. logits [B, classes], target [B] of u8, i32 or i64. Rowwise */
#define dpt_softmax(x) dpt_softmax_at(DPT_HERE, x) /* over the last dimension */
DPT_API dpt_tensor *dpt_softmax_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* [B] integers to [B, classes] of dtype; a target outside gives zeros. */
#define dpt_one_hot(target, classes, dtype) dpt_one_hot_at(DPT_HERE, target, classes, dtype)
DPT_API dpt_tensor *dpt_one_hot_at(DPT_PLACE_ARGS, dpt_tensor *target, int64_t classes, dpt_dtype dtype);
/* -log softmax(logits)[target]: [B]; NaN where the target is out of range. */
#define dpt_cross_entropy(logits, target) dpt_cross_entropy_at(DPT_HERE, logits, target)
DPT_API dpt_tensor *dpt_cross_entropy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target);
/* 1 where the largest logit is the target's (the first of equals), else 0: [B]. No gradient. */
#define dpt_accuracy(logits, target) dpt_accuracy_at(DPT_HERE, logits, target)
DPT_API dpt_tensor *dpt_accuracy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target);

/* ---- losses per sample */
/* Mean over the row of (y - target)^2: [B]. y, target [B, ...]. Rowwise. */
#define dpt_mse(y, target) dpt_mse_at(DPT_HERE, y, target)
DPT_API dpt_tensor *dpt_mse_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target);

/* ---- ranks */
/* Sum over ranks of a tensor without a batch dimension that each rank has its own of. */
#define dpt_all_reduce(x) dpt_all_reduce_at(DPT_HERE, x)
DPT_API dpt_tensor *dpt_all_reduce_at(DPT_PLACE_ARGS, dpt_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
