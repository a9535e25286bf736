/* norm.cuh: what the kernels of batch norm share (norm.cu: maps, norm_reduce.cu: sums): how the work is divided, the
 * moments of a channel, its forward coefficients.
 *
 * Activations are [N, C, spatial]: in C order a channel is a plane a sample, in channels-last order a column of a
 * matrix of lines [N * spatial, C]. Either way a block takes a tile of channels (one, or neighbouring columns) and a
 * part of their elements. Invariants: which thread has what depends on shapes and the kind of device alone; forward and
 * backward compute the value before a fused ReLU by the same expression, so that its mask is the one that was applied.
 */
#ifndef DPT_CUDA_NORM_CUH
#define DPT_CUDA_NORM_CUH

#include <math.h>

#include "cuda/launch.h"
#include "cuda/layouts.h"
#include "cuda/number.cuh"
#include "cuda/rows.cuh"

enum { THREADS = 256, AT_ONCE = 4 }; /* items that a thread loads before it computes */
enum { PACK_LANES = 8, SINGLE_LANES = 32, MOST_COLUMNS = 64 }; /* a tile's lanes: 128 bytes a line; its columns */
enum { BLOCKS_PER_MULTIPROCESSOR = 4 };

/* ---- the division of the work ---- */

struct bn_tiling {
    bool columns, packs;         /* channels last; 16 bytes at once */
    int lanes;                   /* threads beside each other in a line of a tile: a power of two (columns) */
    int64_t channels, spatial;   /* spatial: 1 in columns */
    int64_t row_items;           /* of one sample: lines (columns), groups of elements of a plane (planes) */
    int64_t tiles, splits, part; /* blocks: tiles * splits; a block has `part` items of its tile */
    int axis;
};

static inline int64_t bn_ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline bn_tiling bn_tiling_of(const dpt_call *call) {
    const dpt_operand *x = &call->in[0];
    const int64_t channels = call->attr.norm.channels, spatial = x->row_count / channels;
    const int per_pack = 16 / (int)dpt_dtype_size(x->dtype);
    bn_tiling t = {};
    t.columns = x->layout == DPT_LAYOUT_CHANNELS_LAST || spatial == 1;
    t.channels = channels;
    t.spatial = t.columns ? 1 : spatial;
    t.packs = (t.columns ? channels : spatial) % per_pack == 0;
    t.axis = x->axis;
    const int64_t together = t.packs ? per_pack : 1, groups = bn_ceiling(channels, together);
    const int64_t most_lanes = t.packs ? PACK_LANES : SINGLE_LANES;
    t.lanes = 1;
    while (t.columns && t.lanes < most_lanes && t.lanes < groups) t.lanes *= 2;
    t.tiles = t.columns ? bn_ceiling(groups, t.lanes) : channels;
    t.row_items = t.columns ? spatial : spatial / together;
    const int64_t items = x->dim[0] * t.row_items, least = AT_ONCE * THREADS / t.lanes;
    const int64_t blocks = (int64_t)dpt_cuda_device_of(call)->multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    const int64_t most = bn_ceiling(items, least), wanted = bn_ceiling(blocks, t.tiles);
    t.splits = wanted < most ? wanted : most;
    if (t.splits < 1) t.splits = 1;
    t.part = bn_ceiling(items, t.splits);
    return t;
}

struct bn_run {
    bn_tiling tiling;
    const dpt_block *block;
    const void *a, *b; /* x and, where one is added, the residual; or g and x */
    const void *y, *d; /* bn_mask_sums: the value that masks; a second gradient, or NULL */
    void *out;
    const double *moments, *sums; /* [2C+1], [2C] */
    const float *weight, *bias, *mean, *var;
    double eps;
    bool relu, adds;
};

/* All operands of x's shape are alike. */
static inline dpt_status bn_check(const dpt_call *call) {
    const dpt_operand *x = &call->in[0];
    DPT_CHECK(x->layout == DPT_LAYOUT_CANONICAL || x->layout == DPT_LAYOUT_CHANNELS_LAST, DPT_ERR_INTERNAL,
              "\"%s\": batch norm has no kernel for layout %d", call->name, (int)x->layout);
    for (int i = 1; i < call->n_in; i++)
        DPT_CHECK(call->in[i].axis < 0 || (call->in[i].layout == x->layout && call->in[i].dtype == x->dtype),
                  DPT_ERR_INTERNAL, "\"%s\": operands 0 and %d differ in type or layout", call->name, i);
    return DPT_OK;
}

static inline bn_run bn_run_of(const dpt_call *call) {
    bn_run run = {};
    run.tiling = bn_tiling_of(call);
    run.block = call->block;
    run.a = call->in[0].data;
    run.out = call->out[0].data;
    run.eps = call->attr.norm.eps;
    run.relu = call->attr.norm.relu;
    run.adds = call->attr.norm.adds;
    return run;
}

/* The items of this block: [begin, end) of its tile. */
struct bn_part {
    int64_t tile, split, begin, end;
    __device__ bn_part(const bn_run &run) {
        const bn_tiling &t = run.tiling;
        tile = blockIdx.x % t.tiles;
        split = blockIdx.x / t.tiles;
        const int64_t valid = dpt_rows(run.block, t.axis) * t.row_items;
        begin = split * t.part;
        end = begin + t.part < valid ? begin + t.part : valid;
    }
};

/* A thread's way through the groups of its channel's planes: every THREADS-th from one on. */
struct plane_walk {
    int64_t offset, within; /* of the plane, in elements; of the group in it, in groups */
    int64_t row_items, step_within, step_offset, plane_step;
    __device__ plane_walk(const bn_tiling &t, int64_t channel, int64_t item) {
        plane_step = t.channels * t.spatial;
        row_items = t.row_items;
        within = item % row_items;
        offset = item / row_items * plane_step + channel * t.spatial;
        step_within = THREADS % row_items;
        step_offset = THREADS / row_items * plane_step;
    }
    __device__ void next() {
        within += step_within;
        offset += step_offset;
        if (within >= row_items) within -= row_items, offset += plane_step;
    }
};

/* Mean, variance (biased) and 1/sqrt(var + eps) of a channel from moments [2C+1]; count 0 gives 0, 0 and 0. */
struct channel_moments {
    double count, mean, var, rstd;
    __device__ channel_moments(const double *moments, int64_t channels, int64_t c, double eps)
        : count(moments[2 * channels]), mean(0), var(0), rstd(0) {
        if (count <= 0) return;
        mean = moments[c] / count;
        var = fmax(moments[channels + c] / count - mean * mean, 0.0);
        rstd = 1 / sqrt(var + eps);
    }
};

/* mean and scale = rstd * weight of a channel, and its bias: y = (x - mean) * scale + bias. */
struct bn_forward {
    float mean, scale, bias;
    __device__ __forceinline__ float operator()(float x) const { return (x - mean) * scale + bias; }
};

__device__ inline bn_forward bn_forward_of(const bn_run &run, const channel_moments &m, int64_t c) {
    const bn_forward k = {(float)m.mean, (float)(m.rstd * (double)run.weight[c]), run.bias ? run.bias[c] : 0};
    return k;
}

/* ---- calls ---- */

/* Runs LAUNCH<T, N>::run, T and N as the tiling says. */
template <template <typename, int> class LAUNCH>
static dpt_status bn_launch(dpt_call *call, dpt_stream *stream, const bn_run &run) {
    const bool packs = run.tiling.packs;
    switch (call->in[0].dtype) {
        case DPT_F32:
            return packs ? LAUNCH<float, 4>::run(call, stream, run) : LAUNCH<float, 1>::run(call, stream, run);
        case DPT_BF16:
            return packs ? LAUNCH<__nv_bfloat16, 8>::run(call, stream, run)
                         : LAUNCH<__nv_bfloat16, 1>::run(call, stream, run);
        case DPT_F16:
            return packs ? LAUNCH<__half, 8>::run(call, stream, run) : LAUNCH<__half, 1>::run(call, stream, run);
        default:
            return dpt_error(DPT_ERR_INTERNAL, "\"%s\": batch norm has no kernel for %s", call->name,
                             dpt_dtype_text(call->in[0].dtype));
    }
}

static inline unsigned bn_blocks_of(const bn_tiling &t) { return (unsigned)(t.tiles * t.splits); }

#endif
