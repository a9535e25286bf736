/* Samples of pooling and resampling: see op_samples.h. */
#include "samples/samples.h"

static dpt_tensor *pool_plain(sample_build *b) { return dpt_max_pool2d(any(b, DIMS(B, 2, 4, 6)), 2, 0, 0); }
static dpt_tensor *pool_overlapping(sample_build *b) { return dpt_max_pool2d(any(b, DIMS(B, 2, 5, 5)), 3, 2, 1); }
/* a product, so that the gradient's gradient takes values from where the maxima stand */
static dpt_tensor *pool_square(sample_build *b) {
    dpt_tensor *y = dpt_max_pool2d(any(b, DIMS(B, 1, 4, 4)), 2, 2, 0);
    return dpt_mul(y, y);
}
static dpt_tensor *pool_line(sample_build *b) {
    dpt_tensor *y = dpt_max_pool(any(b, DIMS(B, 1, 7)), (dpt_pool_options){.kernel = 3, .stride = 2, .ceil = 1});
    return dpt_mul(y, y);
}
static dpt_tensor *pool_volume(sample_build *b) {
    dpt_tensor *y = dpt_max_pool(any(b, DIMS(B, 1, 2, 2, 4)), (dpt_pool_options){.kernel = 2});
    return dpt_mul(y, y);
}
/* 2x2 and 2x2x2 windows, which have kernels of their own, the last ones cut */
static dpt_tensor *pool_cut(sample_build *b) {
    dpt_tensor *y = dpt_max_pool(any(b, DIMS(B, 1, 3, 4)), (dpt_pool_options){.kernel = 2, .ceil = 1});
    return dpt_mul(y, y);
}
static dpt_tensor *pool_cut_volume(sample_build *b) {
    dpt_tensor *y = dpt_max_pool(any(b, DIMS(B, 1, 3, 2, 2)), (dpt_pool_options){.kernel = 2, .ceil = 1});
    return dpt_mul(y, y);
}
static dpt_tensor *pool_adaptive(sample_build *b) {
    dpt_tensor *y = dpt_adaptive_max_pool(any(b, DIMS(B, 1, 5, 3)), (int64_t[]){3, 2});
    return dpt_mul(y, y);
}

static dpt_tensor *average_padded(sample_build *b) {
    const dpt_pool_options o = {.kernel = 3, .stride = 2, .pad = 1, .ceil = 1, .exclude_pad = 1};
    dpt_tensor *y = dpt_avg_pool(any(b, DIMS(B, 1, 5, 3)), o);
    return dpt_mul(y, y);
}
static dpt_tensor *average_line(sample_build *b) {
    return dpt_avg_pool(any(b, DIMS(B, 1, 7)), (dpt_pool_options){.kernel = 2, .stride = 3, .pad = 1});
}
static dpt_tensor *average_volume(sample_build *b) {
    return dpt_adaptive_avg_pool(any(b, DIMS(B, 1, 3, 3, 2)), (int64_t[]){2, 2, 1});
}
static dpt_tensor *average_global(sample_build *b) {
    dpt_tensor *y = dpt_global_avg_pool(any(b, DIMS(B, 2, 2, 2)));
    return dpt_mul(y, y);
}
static dpt_tensor *average_global_same(sample_build *b) {
    dpt_tensor *y = dpt_mean(any(b, DIMS(B, 2, 2, 2)), 12, 0);
    return dpt_mul(y, y);
}

static dpt_tensor *nearest(sample_build *b) {
    return dpt_resample(any(b, DIMS(B, 1, 3, 5)), (int64_t[]){6, 3}, DPT_NEAREST);
}
static dpt_tensor *linear_up(sample_build *b) {
    dpt_tensor *y = dpt_resample(any(b, DIMS(B, 1, 3, 4)), (int64_t[]){5, 7}, DPT_LINEAR);
    return dpt_mul(y, y);
}
static dpt_tensor *linear_volume(sample_build *b) {
    return dpt_resample(any(b, DIMS(B, 1, 2, 3, 2)), (int64_t[]){3, 2, 3}, DPT_LINEAR_CORNERS);
}

static const op_sample rows_of_table[] = {
    CLOSED(MAX_POOL, "max_pool2d", pool_plain),
    CLOSED(POOL_SCATTER, "max_pool2d, overlapping", pool_overlapping),
    CLOSED(POOL_GATHER, "max_pool2d, squared", pool_square),
    CLOSED(MAX_POOL, "max_pool1d, overlapping, last one cut", pool_line),
    CLOSED(MAX_POOL, "max_pool3d", pool_volume),
    CLOSED(MAX_POOL, "max_pool2d, last row cut", pool_cut),
    CLOSED(MAX_POOL, "max_pool3d, last slice cut", pool_cut_volume),
    CLOSED(MAX_POOL, "adaptive_max_pool2d", pool_adaptive),
    CLOSED(AVG_POOL, "avg_pool2d, padded, over what is there", average_padded),
    CLOSED(AVG_POOL, "avg_pool1d, padded, with gaps", average_line),
    CLOSED(AVG_POOL, "adaptive_avg_pool3d", average_volume),
    CLOSED_AS(AVG_POOL, "global_avg_pool", average_global, average_global_same),
    CLOSED(RESAMPLE, "nearest, up and down", nearest),
    CLOSED(RESAMPLE, "bilinear, up", linear_up),
    CLOSED(RESAMPLE, "trilinear with corners", linear_volume),
};
SAMPLE_FAMILY(pool)
