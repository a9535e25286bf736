/* ops_layers.h: convolution, pooling, resampling, normalisation, embedding, dropout. See ops.h for what all lines mean.
 */
#ifndef DPTRAIN_OPS_LAYERS_H
#define DPTRAIN_OPS_LAYERS_H

#include "dptrain/ops_place.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- convolution, rowwise. x [B, C, spatial], with 1, 2 or 3 spatial dimensions */
typedef struct dpt_conv_options {
    int64_t stride, pad, dilation, groups; /* of all dimensions; 0 means 1 for stride, dilation and groups */
    /* instead of the above and of a layer's kernel: one number a spatial dimension; NULL: none */
    const int64_t *strides, *pads, *dilations, *kernels;
    const int64_t *output_pads; /* transposed: added to the size of the result at its end, below the stride */
} dpt_conv_options;
/* w [out, C/groups, kernel], b [out] or NULL; gives [B, out, spatial'], each size (S + 2 pad - dilation (K-1) - 1) /
 * stride + 1. DPT_ERR_SHAPE: the kernel is larger than the padded input; groups do not divide the channels. */
#define dpt_conv_with(x, ...) dpt_conv_with_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_conv_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b,
                                     dpt_conv_options options);
/* dpt_conv_with new parameters "<name>.weight" and, with bias, "<name>.bias", started as PyTorch does. x must have the
 * spatial dimensions that the name says; dpt_conv takes any. */
#define dpt_conv(x, ...) dpt_conv_at(DPT_HERE, 0, x, __VA_ARGS__)
#define dpt_conv1d(x, ...) dpt_conv_at(DPT_HERE, 1, x, __VA_ARGS__)
#define dpt_conv2d(x, ...) dpt_conv_at(DPT_HERE, 2, x, __VA_ARGS__)
#define dpt_conv3d(x, ...) dpt_conv_at(DPT_HERE, 3, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_conv_at(DPT_PLACE_ARGS, int spatial, dpt_tensor *x, int64_t out, int64_t kernel, int bias,
                                dpt_conv_options options, const char *name);
/* Transposed (the data gradient of a convolution): w [C, out/groups, kernel], each size (S-1) stride - 2 pad + dilation
 * (K-1) + output_pad + 1. */
#define dpt_conv_transpose_with(x, ...) dpt_conv_transpose_with_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_conv_transpose_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b,
                                               dpt_conv_options options);
#define dpt_conv_transpose(x, ...) dpt_conv_transpose_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_conv_transpose_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, int64_t kernel, int bias,
                                          dpt_conv_options options, const char *name);

/* ---- pooling and resampling, rowwise. x [B, C, spatial], with 1, 2 or 3 spatial dimensions */
typedef struct dpt_pool_options {
    int64_t kernel, stride, pad;             /* of all dimensions; stride 0 means kernel; pad at most kernel/2 */
    const int64_t *kernels, *strides, *pads; /* instead: one number a spatial dimension; NULL: none */
    int ceil;                                /* a last window that begins inside of x counts */
    int exclude_pad;                         /* average: over what is no padding */
} dpt_pool_options;
/* Largest of each window, NaN if one is in it; pad counts as -inf. Sizes as of a convolution. */
#define dpt_max_pool(x, ...) dpt_max_pool_at(DPT_HERE, x, __VA_ARGS__)
/* Mean of each window; pad counts as 0. */
#define dpt_avg_pool(x, ...) dpt_avg_pool_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_max_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_pool_options options);
DPT_API dpt_tensor *dpt_avg_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_pool_options options);
/* dpt_max_pool of the usual kind, for two spatial dimensions. */
#define dpt_max_pool2d(x, kernel, stride, pad) dpt_max_pool2d_at(DPT_HERE, x, kernel, stride, pad)
DPT_API dpt_tensor *dpt_max_pool2d_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t kernel, int64_t stride, int64_t pad);
/* To the spatial sizes `size`: window i runs from floor(i S / size) to ceil((i+1) S / size) (PyTorch). */
#define dpt_adaptive_max_pool(x, ...) dpt_adaptive_max_pool_at(DPT_HERE, x, __VA_ARGS__)
#define dpt_adaptive_avg_pool(x, ...) dpt_adaptive_avg_pool_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_adaptive_max_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, const int64_t *size);
DPT_API dpt_tensor *dpt_adaptive_avg_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, const int64_t *size);
/* Mean over all positions: [B, C]. */
#define dpt_global_avg_pool(x) dpt_global_avg_pool_at(DPT_HERE, x)
DPT_API dpt_tensor *dpt_global_avg_pool_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* To the spatial sizes `size`. Nearest: position floor(i S / size). Linear (bilinear, trilinear): position
 * (i + 1/2) S / size - 1/2 kept inside, or, with corners aligned, i (S-1) / (size-1) (PyTorch's interpolate). */
typedef enum dpt_resample_mode { DPT_NEAREST, DPT_LINEAR, DPT_LINEAR_CORNERS } dpt_resample_mode;
#define dpt_resample(x, ...) dpt_resample_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_resample_at(DPT_PLACE_ARGS, dpt_tensor *x, const int64_t *size, dpt_resample_mode mode);

/* ---- normalisation. batch norm: x [B, C, ...] */
typedef struct dpt_batch_norm_options {
    double eps;      /* 0 means 1e-5 */
    double momentum; /* of the running statistics; 0 means 0.1 */
    int sync;        /* moments over the samples of all ranks instead of this rank's */
} dpt_batch_norm_options;
/* (x - mean) / sqrt(var + eps) * weight + bias by channel (Ioffe and Szegedy 2015), with parameters "<name>.weight",
 * "<name>.bias" and states "<name>.running_mean", "<name>.running_var" (unbiased), "<name>.running_weight". Training
 * uses the batch's moments; evaluation the running ones, merged over ranks; each micro-batch moves them. Mixes. Of f32
 * its backward is one fused kernel, with first derivatives alone; of f64 it can be differentiated again, but has
 * moments of all ranks only. DPT_ERR_UNSUPPORTED: f64 with several ranks and without sync. */
#define dpt_batch_norm(x, ...) dpt_batch_norm_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_batch_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_batch_norm_options options, const char *name);
/* The next three can be differentiated as often as wanted. DPT_ERR_SHAPE: dims takes in the batch, groups do not divide
 * the channels.
 * (x - mean) / sqrt(var + eps) * weight + bias over the last `dims` dimensions of x [..., shape] (Ba et al. 2016), with
 * parameters "<name>.weight" and "<name>.bias" of that shape. eps 0 means 1e-5. Rowwise. */
#define dpt_layer_norm(x, dims, eps, name) dpt_layer_norm_at(DPT_HERE, x, dims, eps, name)
DPT_API dpt_tensor *dpt_layer_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims, double eps, const char *name);
/* x / sqrt(mean of x^2 + eps) * weight over the last `dims` dimensions (Zhang and Sennrich 2019). Rowwise. */
#define dpt_rms_norm(x, dims, eps, name) dpt_rms_norm_at(DPT_HERE, x, dims, eps, name)
DPT_API dpt_tensor *dpt_rms_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims, double eps, const char *name);
/* As layer norm over each of `groups` groups of channels of x [B, C, ...] and their positions (Wu and He 2018), with
 * parameters of [C]; as many groups as channels is instance norm. Rowwise. */
#define dpt_group_norm(x, groups, eps, name) dpt_group_norm_at(DPT_HERE, x, groups, eps, name)
DPT_API dpt_tensor *dpt_group_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t groups, double eps, const char *name);

/* ---- embedding, rowwise */
/* Rows of w [count, width] by id [...] of u8, i32 or i64; gives [..., width]. NaN where an id is out of range; no
 * gradient flows from there. */
#define dpt_embedding_with(id, w) dpt_embedding_with_at(DPT_HERE, id, w)
DPT_API dpt_tensor *dpt_embedding_with_at(DPT_PLACE_ARGS, dpt_tensor *id, dpt_tensor *w);
/* dpt_embedding_with a new f32 parameter "<name>.weight", started from a normal distribution as PyTorch does. */
#define dpt_embedding(id, count, width, name) dpt_embedding_at(DPT_HERE, id, count, width, name)
DPT_API dpt_tensor *dpt_embedding_at(DPT_PLACE_ARGS, dpt_tensor *id, int64_t count, int64_t width, const char *name);

/* ---- dropout, rowwise */
/* Zero with the given probability, else x / (1 - probability); nothing in evaluation. The draw depends on name, seed,
 * step and the sample's position in the global batch alone. Rowwise. */
#define dpt_dropout(x, probability, name) dpt_dropout_at(DPT_HERE, x, probability, name)
DPT_API dpt_tensor *dpt_dropout_at(DPT_PLACE_ARGS, dpt_tensor *x, double probability, const char *name);
/* The same of whole channels of x [B, C, positions]: each sample's channel is zero or kept as one (Tompson et al.
 * 2015). Rowwise. */
#define dpt_dropout_channels(x, probability, name) dpt_dropout_channels_at(DPT_HERE, x, probability, name)
DPT_API dpt_tensor *dpt_dropout_channels_at(DPT_PLACE_ARGS, dpt_tensor *x, double probability, const char *name);

#ifdef __cplusplus
}
#endif
#endif
