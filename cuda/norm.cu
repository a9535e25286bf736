/* norm.cu: batch normalisation on the GPU, as moments -> apply (ops/norm.c says what each op gives).
 *
 * Activations are [N, C, spatial]: in C order a channel is a plane a sample, in channels-last order a column of a
 * matrix of lines [N * spatial, C]. Either way a block takes a tile of channels (one, or neighbouring columns) and a
 * part of their elements. Maps compute the coefficients of their tile once, in f64, into shared memory. Reductions
 * write the sums of a part to the workspace; of the blocks of a tile the one that ends last adds them. Sums of f32 are
 * in f64, as x - mean may cancel; bf16 and f16 have no such digits to lose: a few of them are summed in f32, those sums
 * in f64. Invariant: which thread sums what, and in which order, depends on shapes and the kind of device alone. */
#include <math.h>

#include "cuda/launch.h"
#include "cuda/layouts.h"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"
#include "ops/op_list.h"

enum { THREADS = 256, WARPS = THREADS / 32, AT_ONCE = 4 };
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

static int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

static bn_tiling tiling_of(const dpt_call *call) {
    const dpt_operand *x = &call->in[0];
    const int64_t channels = call->attr.norm.channels, spatial = x->row_count / channels;
    const int per_pack = 16 / (int)dpt_dtype_size(x->dtype);
    bn_tiling t = {};
    t.columns = x->layout == DPT_LAYOUT_CHANNELS_LAST || spatial == 1;
    t.channels = channels;
    t.spatial = t.columns ? 1 : spatial;
    t.packs = (t.columns ? channels : spatial) % per_pack == 0;
    t.axis = x->axis;
    const int64_t together = t.packs ? per_pack : 1, groups = ceiling(channels, together);
    const int64_t most_lanes = t.packs ? PACK_LANES : SINGLE_LANES;
    t.lanes = 1;
    while (t.columns && t.lanes < most_lanes && t.lanes < groups) t.lanes *= 2;
    t.tiles = t.columns ? ceiling(groups, t.lanes) : channels;
    t.row_items = t.columns ? spatial : spatial / together;
    const int64_t items = x->dim[0] * t.row_items, least = AT_ONCE * THREADS / t.lanes;
    const int64_t blocks = (int64_t)dpt_cuda_device_of(call)->multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    const int64_t most = ceiling(items, least), wanted = ceiling(blocks, t.tiles);
    t.splits = wanted < most ? wanted : most;
    if (t.splits < 1) t.splits = 1;
    t.part = ceiling(items, t.splits);
    return t;
}

struct bn_run {
    bn_tiling tiling;
    const dpt_block *block;
    const void *a, *b; /* x; or g and x */
    void *out;
    const double *moments, *sums; /* [2C+1], [2C] */
    const float *weight, *bias, *mean, *var;
    double eps;
};

static dpt_status bn_check(const dpt_call *call, int operands) {
    const dpt_operand *x = &call->in[0];
    DPT_CHECK(x->layout == DPT_LAYOUT_CANONICAL || x->layout == DPT_LAYOUT_CHANNELS_LAST, DPT_ERR_INTERNAL,
              "\"%s\": batch norm has no kernel for layout %d", call->name, (int)x->layout);
    for (int i = 1; i < operands; i++)
        DPT_CHECK(call->in[i].layout == x->layout && call->in[i].dtype == x->dtype, DPT_ERR_INTERNAL,
                  "\"%s\": operands 0 and %d differ in type or layout", call->name, i);
    return DPT_OK;
}

static bn_run bn_run_of(const dpt_call *call) {
    bn_run run = {};
    run.tiling = tiling_of(call);
    run.block = call->block;
    run.a = call->in[0].data;
    run.out = call->out[0].data;
    run.eps = call->attr.norm.eps;
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

/* ---- reductions: sum = sum of a, product = sum of a * (b - shift) by channel; moments: b is a, shift is 0 ---- */

template <typename T>
struct sum_of_few {
    typedef float type;
};
template <>
struct sum_of_few<float> {
    typedef double type;
};

/* The sums of the parts of a tile, added by its last block: partial[split][2][C]. */
template <bool GRAD>
__device__ void tile_finish(const bn_run &run, int64_t tile, int columns, volatile const double *partial, double *out,
                            double *shared) {
    const bn_tiling &t = run.tiling;
    const int values = 2 * columns, value = (int)threadIdx.x % values, groups = THREADS / values;
    const int64_t c = tile * columns + value % columns;
    double sum = 0;
#pragma unroll 8
    for (int64_t s = threadIdx.x / values; s < t.splits && c < t.channels; s += groups)
        sum += partial[(s * 2 + value / columns) * t.channels + c];
    __syncthreads();
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (int reach = groups / 2; reach > 0; reach /= 2) {
        if ((int)threadIdx.x < reach * values) shared[threadIdx.x] += shared[threadIdx.x + reach * values];
        __syncthreads();
    }
    if ((int)threadIdx.x < values && c < t.channels) {
        const bool product = value >= columns;
        const double factor = GRAD && product ? channel_moments(run.moments, t.channels, c, run.eps).rstd : 1;
        out[(product ? t.channels : 0) + c] = shared[threadIdx.x] * factor;
    }
    if (!GRAD && tile == 0 && threadIdx.x == 0)
        out[2 * t.channels] = (double)(dpt_rows(run.block, t.axis) * t.row_items) *
                              (t.columns ? 1.0 : (double)t.spatial / (double)t.row_items);
}

/* shared[i] = mean of channel first + i: a division a channel, not a thread, as f64 may be slow. */
template <bool GRAD>
__device__ void shift_compute(const bn_run &run, int64_t first, int columns, double *shared) {
    if (!GRAD) return;
    const int i = (int)threadIdx.x;
    if (i < columns)
        shared[i] = first + i < run.tiling.channels
                        ? channel_moments(run.moments, run.tiling.channels, first + i, run.eps).mean
                        : 0;
    __syncthreads();
}

template <typename T, int N, bool GRAD>
__global__ void __launch_bounds__(THREADS)
    reduce_planes_kernel(bn_run run, double *partial, unsigned *counters, double *out) {
    typedef dpt_elements<T, N> group;
    typedef typename sum_of_few<T>::type few;
    __shared__ double shared[THREADS];
    const bn_part part(run);
    const int64_t channels = run.tiling.channels, c = part.tile;
    shift_compute<GRAD>(run, c, 1, shared);
    const few shift = GRAD ? (few)shared[0] : 0;
    double sum = 0, product = 0;
    plane_walk walk(run.tiling, c, part.begin + threadIdx.x);
    for (int64_t i = part.begin + threadIdx.x; i < part.end; i += AT_ONCE * THREADS) {
        group a[AT_ONCE] = {}, b[AT_ONCE] = {};
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++, walk.next()) {
            if (i + k * THREADS >= part.end) continue;
            a[k] = *(const group *)((const T *)run.a + walk.offset + walk.within * N);
            if (GRAD) b[k] = *(const group *)((const T *)run.b + walk.offset + walk.within * N);
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) { /* what was not there is 0 in a, and adds nothing */
            few s = 0, p = 0;
#pragma unroll
            for (int j = 0; j < N; j++) {
                const few v = (few)dpt_load(a[k].v[j]);
                s += v;
                p += v * (GRAD ? (few)dpt_load(b[k].v[j]) - shift : v);
            }
            sum += (double)s;
            product += (double)p;
        }
    }
    sum = dpt_block_sum(sum);
    product = dpt_block_sum(product);
    if (threadIdx.x == 0) {
        partial[part.split * 2 * channels + c] = sum;
        partial[(part.split * 2 + 1) * channels + c] = product;
    }
    if (dpt_last_block(&counters[c], (unsigned)run.tiling.splits)) tile_finish<GRAD>(run, c, 1, partial, out, shared);
}

/* The sums of the lines of a block: lanes of equal column in a warp, then the warps; to partial[split][2][C]. */
template <int N>
__device__ void tile_store(const bn_run &run, const bn_part &part, double *sum, double *product, double *partial,
                           double *shared) {
    const int lanes = run.tiling.lanes, columns = lanes * N, values = 2 * columns;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < N; j++) {
        for (int o = lanes; o < 32; o *= 2) {
            sum[j] += __shfl_xor_sync(0xffffffffU, sum[j], o);
            product[j] += __shfl_xor_sync(0xffffffffU, product[j], o);
        }
        if (lane < lanes) {
            shared[warp * values + lane * N + j] = sum[j];
            shared[warp * values + columns + lane * N + j] = product[j];
        }
    }
    __syncthreads();
    const int value = (int)threadIdx.x;
    const int64_t c = part.tile * columns + value % columns;
    if (value >= values || c >= run.tiling.channels) return;
    double total = 0;
    for (int w = 0; w < WARPS; w++) total += shared[w * values + value];
    partial[(part.split * 2 + value / columns) * run.tiling.channels + c] = total;
}

template <typename T, int N, bool GRAD>
__global__ void __launch_bounds__(THREADS)
    reduce_columns_kernel(bn_run run, double *partial, unsigned *counters, double *out) {
    typedef dpt_elements<T, N> group;
    typedef typename sum_of_few<T>::type few;
    __shared__ double shared[WARPS * 2 * MOST_COLUMNS];
    const bn_part part(run);
    const int lanes = run.tiling.lanes, lines = THREADS / lanes, line = (int)threadIdx.x / lanes;
    const int64_t channels = run.tiling.channels;
    const int64_t c = part.tile * lanes * N + (int)threadIdx.x % lanes * N;
    double sum[N] = {}, product[N] = {};
    few shift[N] = {};
    shift_compute<GRAD>(run, part.tile * lanes * N, lanes * N, shared);
    for (int j = 0; j < N && GRAD; j++) shift[j] = (few)shared[c + j - part.tile * lanes * N];
    __syncthreads();
    for (int64_t i = part.begin + line; i < part.end && c < channels; i += AT_ONCE * lines) {
        group a[AT_ONCE] = {}, b[AT_ONCE] = {};
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int64_t at = (i + k * lines) * channels + c;
            if (i + k * lines >= part.end) continue;
            a[k] = *(const group *)((const T *)run.a + at);
            if (GRAD) b[k] = *(const group *)((const T *)run.b + at);
        }
#pragma unroll
        for (int j = 0; j < N; j++) { /* what was not there is 0 in a, and adds nothing */
            few s = 0, p = 0;
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
                const few v = (few)dpt_load(a[k].v[j]);
                s += v;
                p += v * (GRAD ? (few)dpt_load(b[k].v[j]) - shift[j] : v);
            }
            sum[j] += (double)s;
            product[j] += (double)p;
        }
    }
    tile_store<N>(run, part, sum, product, partial, shared);
    if (dpt_last_block(&counters[part.tile], (unsigned)run.tiling.splits))
        tile_finish<GRAD>(run, part.tile, lanes * N, partial, out, shared);
}

/* ---- maps. Forward, x = a: out = (a - mean) * scale + add. Backward, g = a, x = b:
 * out = (a - add) * scale + (b - mean) * slope ---- */

typedef enum bn_map { APPLY, INFER, GRAD_APPLY } bn_map;

struct coefficients {
    float mean, scale, add, slope;
};

/* y = (x - mean) * rstd * weight + bias
 * dx = weight * rstd * (g - sum(g)/n - xhat * sum(g*xhat)/n), xhat = (x - mean) * rstd */
template <bn_map MAP>
__device__ coefficients coefficients_of(const bn_run &run, int64_t c) {
    const int64_t channels = run.tiling.channels;
    const double weight = (double)run.weight[c];
    if (MAP == INFER) {
        const coefficients k = {run.mean[c], (float)(weight / sqrt((double)run.var[c] + run.eps)), run.bias[c], 0};
        return k;
    }
    const channel_moments m(run.moments, channels, c, run.eps);
    const double factor = weight * m.rstd;
    if (MAP == APPLY) {
        const coefficients k = {(float)m.mean, (float)factor, run.bias[c], 0};
        return k;
    }
    const double n = m.count > 0 ? m.count : 1;
    const coefficients k = {(float)m.mean, (float)factor, (float)(run.sums[c] / n),
                            (float)(-factor * m.rstd * run.sums[channels + c] / n)};
    return k;
}

template <bn_map MAP>
__device__ __forceinline__ float mapped(const coefficients &k, float a, float b) {
    return MAP == GRAD_APPLY ? (a - k.add) * k.scale + (b - k.mean) * k.slope : (a - k.mean) * k.scale + k.add;
}

template <typename T, int N, bn_map MAP>
__global__ void __launch_bounds__(THREADS) map_planes_kernel(bn_run run) {
    typedef dpt_elements<T, N> group;
    __shared__ coefficients shared;
    const bn_part part(run);
    if (threadIdx.x == 0) shared = coefficients_of<MAP>(run, part.tile);
    __syncthreads();
    const coefficients k = shared;
    plane_walk walk(run.tiling, part.tile, part.begin + threadIdx.x);
    for (int64_t i = part.begin + threadIdx.x; i < part.end; i += AT_ONCE * THREADS) {
        group a[AT_ONCE], b[AT_ONCE] = {};
        int64_t at[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++, walk.next()) {
            at[u] = walk.offset + walk.within * N;
            if (i + u * THREADS >= part.end) continue;
            a[u] = *(const group *)((const T *)run.a + at[u]);
            if (MAP == GRAD_APPLY) b[u] = *(const group *)((const T *)run.b + at[u]);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            if (i + u * THREADS >= part.end) break;
            group to;
#pragma unroll
            for (int j = 0; j < N; j++)
                to.v[j] = dpt_store<T>(mapped<MAP>(k, dpt_load(a[u].v[j]), dpt_load(b[u].v[j])));
            dpt_elements_store((group *)((T *)run.out + at[u]), to);
        }
    }
}

template <typename T, int N, bn_map MAP>
__global__ void __launch_bounds__(THREADS) map_columns_kernel(bn_run run) {
    typedef dpt_elements<T, N> group;
    __shared__ coefficients shared[MOST_COLUMNS];
    const bn_part part(run);
    const int lanes = run.tiling.lanes, lines = THREADS / lanes, columns = lanes * N;
    const int64_t channels = run.tiling.channels, first = part.tile * columns;
    if ((int)threadIdx.x < columns && first + threadIdx.x < channels)
        shared[threadIdx.x] = coefficients_of<MAP>(run, first + threadIdx.x);
    __syncthreads();
    const int column = (int)threadIdx.x % lanes * N;
    if (first + column >= channels) return;
    coefficients k[N];
#pragma unroll
    for (int j = 0; j < N; j++) k[j] = shared[column + j];
#pragma unroll 4
    for (int64_t i = part.begin + (int)threadIdx.x / lanes; i < part.end; i += lines) {
        const int64_t at = i * channels + first + column;
        const group a = *(const group *)((const T *)run.a + at);
        group b = {}, to;
        if (MAP == GRAD_APPLY) b = *(const group *)((const T *)run.b + at);
#pragma unroll
        for (int j = 0; j < N; j++) to.v[j] = dpt_store<T>(mapped<MAP>(k[j], dpt_load(a.v[j]), dpt_load(b.v[j])));
        dpt_elements_store((group *)((T *)run.out + at), to);
    }
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

static unsigned blocks_of(const bn_tiling &t) { return (unsigned)(t.tiles * t.splits); }

template <typename T, int N, bool GRAD>
static dpt_status reduce_launch(dpt_call *call, dpt_stream *stream, const bn_run &run) {
    double *partial = (double *)call->workspace, *out = (double *)call->out[0].data;
    unsigned *counters = (unsigned *)call->table;
    if (run.tiling.columns)
        return DPT_LAUNCH((reduce_columns_kernel<T, N, GRAD>), blocks_of(run.tiling), THREADS, 0, stream, run, partial,
                          counters, out);
    return DPT_LAUNCH((reduce_planes_kernel<T, N, GRAD>), blocks_of(run.tiling), THREADS, 0, stream, run, partial,
                      counters, out);
}

template <typename T, int N, bn_map MAP>
static dpt_status map_launch(dpt_stream *stream, const bn_run &run) {
    if (run.tiling.columns)
        return DPT_LAUNCH((map_columns_kernel<T, N, MAP>), blocks_of(run.tiling), THREADS, 0, stream, run);
    return DPT_LAUNCH((map_planes_kernel<T, N, MAP>), blocks_of(run.tiling), THREADS, 0, stream, run);
}

template <typename T, int N>
struct launch_moments {
    static dpt_status run(dpt_call *call, dpt_stream *stream, const bn_run &r) {
        return reduce_launch<T, N, false>(call, stream, r);
    }
};
template <typename T, int N>
struct launch_grad_sums {
    static dpt_status run(dpt_call *call, dpt_stream *stream, const bn_run &r) {
        return reduce_launch<T, N, true>(call, stream, r);
    }
};
template <typename T, int N>
struct launch_apply {
    static dpt_status run(dpt_call *, dpt_stream *stream, const bn_run &r) {
        return map_launch<T, N, APPLY>(stream, r);
    }
};
template <typename T, int N>
struct launch_infer {
    static dpt_status run(dpt_call *, dpt_stream *stream, const bn_run &r) {
        return map_launch<T, N, INFER>(stream, r);
    }
};
template <typename T, int N>
struct launch_grad_apply {
    static dpt_status run(dpt_call *, dpt_stream *stream, const bn_run &r) {
        return map_launch<T, N, GRAD_APPLY>(stream, r);
    }
};

static dpt_status reduce_prepare(dpt_call *call) {
    DPT_TRY(bn_check(call, call->op == DPT_OP_BN_GRAD_SUMS ? 2 : 1));
    const bn_tiling t = tiling_of(call);
    call->workspace_bytes = (size_t)(t.splits * 2 * t.channels) * sizeof(double);
    call->table_bytes = (size_t)t.tiles * sizeof(unsigned);
    return DPT_OK;
}

static dpt_status reduce_bind(dpt_call *call) {
    return call->device->ops->zero(call->device, call->table, call->table_bytes, NULL);
}

static dpt_status map_prepare(dpt_call *call) { return bn_check(call, call->op == DPT_OP_BN_GRAD_APPLY ? 2 : 1); }

static dpt_status moments_run(dpt_call *call, dpt_stream *stream) {
    return bn_launch<launch_moments>(call, stream, bn_run_of(call));
}

static dpt_status apply_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.moments = (const double *)call->in[1].data;
    run.weight = (const float *)call->in[2].data;
    run.bias = (const float *)call->in[3].data;
    return bn_launch<launch_apply>(call, stream, run);
}

static dpt_status infer_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.mean = (const float *)call->in[1].data;
    run.var = (const float *)call->in[2].data;
    run.weight = (const float *)call->in[3].data;
    run.bias = (const float *)call->in[4].data;
    return bn_launch<launch_infer>(call, stream, run);
}

static dpt_status grad_sums_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.b = call->in[1].data;
    run.moments = (const double *)call->in[2].data;
    return bn_launch<launch_grad_sums>(call, stream, run);
}

static dpt_status grad_apply_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.b = call->in[1].data;
    run.moments = (const double *)call->in[2].data;
    run.sums = (const double *)call->in[3].data;
    run.weight = (const float *)call->in[4].data;
    return bn_launch<launch_grad_apply>(call, stream, run);
}

DPT_CUDA_KERNEL_LAYOUTS(bn_moments, reduce_prepare, reduce_bind, moments_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_apply, map_prepare, NULL, apply_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_infer, map_prepare, NULL, infer_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_grad_sums, reduce_prepare, reduce_bind, grad_sums_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_grad_apply, map_prepare, NULL, grad_apply_run, NULL, dpt_cuda_planes_layouts)

/* ---- by channel: bn_param_grad, bn_running ---- */

/* dweight = sum g*xhat, dbias = sum g */
__global__ void param_grad_kernel(const double *sums, float *dweight, float *dbias, int64_t channels) {
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= channels) return;
    dweight[c] = (float)sums[channels + c];
    dbias[c] = (float)sums[c];
}

static dpt_status param_grad_run(dpt_call *call, dpt_stream *stream) {
    const int64_t channels = call->attr.norm.channels;
    return DPT_LAUNCH(param_grad_kernel, (unsigned)ceiling(channels, THREADS), THREADS, 0, stream,
                      (const double *)call->in[0].data, (float *)call->out[0].data, (float *)call->out[1].data,
                      channels);
}

/* running += momentum * (new - running), with the unbiased variance; one element has none and leaves it, no element
 * leaves all. weight counts the elements seen. */
struct running_statistics {
    const double *moments, *old_weight;
    const float *old_mean, *old_var;
    float *mean, *var;
    double *weight;
    int64_t channels;
    double momentum, eps;
};

__global__ void running_kernel(running_statistics r) {
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= r.channels) return;
    const channel_moments m(r.moments, r.channels, c, r.eps);
    const double to_mean = m.count > 0 ? r.momentum : 0, to_var = m.count > 1 ? r.momentum : 0;
    const double unbiased = m.count > 1 ? m.var * m.count / (m.count - 1) : 0;
    r.mean[c] = (float)((1 - to_mean) * (double)r.old_mean[c] + to_mean * m.mean);
    r.var[c] = (float)((1 - to_var) * (double)r.old_var[c] + to_var * unbiased);
    if (c == 0) r.weight[0] = r.old_weight[0] + m.count;
}

static dpt_status running_run(dpt_call *call, dpt_stream *stream) {
    running_statistics r = {};
    r.moments = (const double *)call->in[0].data;
    r.old_mean = (const float *)call->in[1].data;
    r.old_var = (const float *)call->in[2].data;
    r.old_weight = (const double *)call->in[3].data;
    r.mean = (float *)call->out[0].data;
    r.var = (float *)call->out[1].data;
    r.weight = (double *)call->out[2].data;
    r.channels = call->attr.norm.channels;
    r.momentum = call->attr.norm.momentum;
    r.eps = call->attr.norm.eps;
    return DPT_LAUNCH(running_kernel, (unsigned)ceiling(r.channels, THREADS), THREADS, 0, stream, r);
}

DPT_CUDA_KERNEL(bn_param_grad, NULL, NULL, param_grad_run, NULL)
DPT_CUDA_KERNEL(bn_running, NULL, NULL, running_run, NULL)
