/* row_norm.cu: layer, RMS and group norm on the GPU, and their gradients (ops/row_norm.c says what each op gives).
 *
 * A row of up to 1024 elements is held in the registers of a warp, or of four lanes where it is very short; a longer one
 * is a block's, which keeps it in shared memory where it fits. Either way memory is read once and written once, with
 * whatever is added before (x + r) or after. Sums over rows: a block takes a tile of channels and a part of their
 * elements and writes its sums to the workspace; of the blocks of a tile the one that ends last adds them. Invariants: a
 * thread writes only where it has read itself, after its row is summed, so that the result may stand in the place of the
 * first operand; sums are made in an order that depends on shapes and the kind of device alone. */
#include <math.h>

#include "cuda/launch.h"
#include "cuda/layouts.h"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"
#include "ops/op_list.h"

enum { THREADS = 256, ROW_THREADS = 512, SHORT_ROW = 32, MIDDLE_ROW = 256, LONG_ROW = 1024 };
enum { PLAIN_SHARED = 48 << 10 }; /* bytes of shared memory that need no permission */
enum { LINES = THREADS / 32, BLOCKS_PER_MULTIPROCESSOR = 4, PART_LEAST = 32 };

struct norm_run {
    const dpt_block *block;
    const void *x, *g, *more, *weight, *bias; /* more: what is added, or NULL */
    void *mean, *rstd, *y, *sum;
    int64_t channels, groups, samples_each; /* samples_each: for one row of the batch, all where there is no batch */
    uint32_t width, spatial, n;             /* channels of a group; positions; elements of a row */
    double eps;
    int axis;
    bool centre, last; /* channels last */
    bool keep;         /* a block keeps its row in shared memory */
};

__device__ __forceinline__ int64_t samples_of(const norm_run &run) {
    return dpt_rows(run.block, run.axis) * run.samples_each;
}

/* Where element j of a row stands, and the channel that it belongs to; a pack has one channel, or follows each other. */
struct norm_place {
    int64_t at, channel;
    __device__ norm_place(const norm_run &run, int64_t row, uint32_t j) {
        const int64_t sample = row / run.groups, first = row % run.groups * run.width;
        if (run.last) {
            const uint32_t position = j / run.width;
            channel = first + (j - position * run.width);
            at = (sample * run.spatial + position) * run.channels + channel;
        } else {
            channel = first + (run.spatial == 1 ? j : j / run.spatial);
            at = row * run.n + j;
        }
    }
};

/* Whether the elements of a pack belong to channels that follow each other. */
__device__ __forceinline__ bool by_vector(const norm_run &run) { return run.last || run.spatial == 1; }

template <typename W, int N>
__device__ __forceinline__ void channel_values(const norm_run &run, const void *from, int64_t channel, W otherwise,
                                               W value[N]) {
#pragma unroll
    for (int j = 0; j < N; j++)
        value[j] = from ? ((const W *)from)[channel + (by_vector(run) ? j : 0)] : otherwise;
}

/* x, or x + r, which is kept. */
template <typename T, int N>
__device__ __forceinline__ void row_load(const norm_run &run, int64_t at, dpt_wide<T> value[N]) {
    typedef dpt_elements<T, N> group;
    const group x = *(const group *)((const T *)run.x + at);
    if (run.more == NULL) {
#pragma unroll
        for (int j = 0; j < N; j++) value[j] = dpt_load(x.v[j]);
        return;
    }
    const group r = *(const group *)((const T *)run.more + at);
    group sum;
#pragma unroll
    for (int j = 0; j < N; j++) {
        value[j] = dpt_load(x.v[j]) + dpt_load(r.v[j]);
        sum.v[j] = dpt_store<T>(value[j]);
    }
    dpt_elements_store((group *)((T *)run.sum + at), sum);
}

/* y = (x - mean) rstd weight + bias */
template <typename T, int N>
__device__ __forceinline__ void row_store(const norm_run &run, const norm_place &place, const dpt_wide<T> value[N],
                                          dpt_wide<T> mean, dpt_wide<T> rstd) {
    typedef dpt_wide<T> W;
    W weight[N], bias[N];
    channel_values<W, N>(run, run.weight, place.channel, 1, weight);
    channel_values<W, N>(run, run.bias, place.channel, 0, bias);
    dpt_elements<T, N> to;
#pragma unroll
    for (int j = 0; j < N; j++) to.v[j] = dpt_store<T>((value[j] - mean) * (rstd * weight[j]) + bias[j]);
    dpt_elements_store((dpt_elements<T, N> *)((T *)run.y + place.at), to);
}

/* The terms of dx = h rstd + (x - mean) slope + add, h = g weight. */
template <typename W>
struct norm_slopes {
    W rstd, slope, add;
    __device__ norm_slopes(const norm_run &run, W rstd_, W sum, W product) : rstd(rstd_) {
        slope = -rstd * rstd * rstd * product / (W)run.n;
        add = run.centre ? -rstd * sum / (W)run.n : (W)0;
    }
};

template <typename T, int N>
__device__ __forceinline__ void gradient_store(const norm_run &run, int64_t at, const dpt_wide<T> h[N],
                                               const dpt_wide<T> distance[N], const norm_slopes<dpt_wide<T>> &k) {
    typedef dpt_elements<T, N> group;
    group more = {}, to;
    if (run.more) more = *(const group *)((const T *)run.more + at);
#pragma unroll
    for (int j = 0; j < N; j++) {
        const dpt_wide<T> dx = h[j] * k.rstd + (distance[j] * k.slope + k.add);
        to.v[j] = dpt_store<T>(run.more ? dx + dpt_load(more.v[j]) : dx);
    }
    dpt_elements_store((group *)((T *)run.y + at), to);
}

/* ---- rows in registers: LANES lanes a row, VALUES elements each, N at once ---- */

template <typename T, int N, int LANES, int VALUES>
__global__ void __launch_bounds__(THREADS) forward_kernel(norm_run run) {
    typedef dpt_wide<T> W;
    const int64_t rows = samples_of(run) * run.groups;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row();
        const uint32_t n = row < rows ? run.n : 0;
        W value[VALUES], sum = 0, square = 0;
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const uint32_t j = (uint32_t)(k * LANES + walk.lane) * N;
#pragma unroll
            for (int i = 0; i < N; i++) value[k * N + i] = 0;
            if (j < n) row_load<T, N>(run, norm_place(run, row, j).at, value + k * N);
#pragma unroll
            for (int i = 0; i < N; i++) sum += value[k * N + i];
        }
        const W mean = run.centre ? dpt_lanes_sum<LANES>(sum) / (W)run.n : (W)0;
#pragma unroll
        for (int k = 0; k < VALUES; k++) {
            const W distance = (uint32_t)((k / N * LANES + walk.lane) * N) < n ? value[k] - mean : (W)0;
            square += distance * distance;
        }
        const W rstd = 1 / sqrt(dpt_lanes_sum<LANES>(square) / (W)run.n + (W)run.eps);
        if (walk.lane == 0 && row < rows) ((W *)run.mean)[row] = mean, ((W *)run.rstd)[row] = rstd;
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const uint32_t j = (uint32_t)(k * LANES + walk.lane) * N;
            if (j < n) row_store<T, N>(run, norm_place(run, row, j), value + k * N, mean, rstd);
        }
    }
}

template <typename T, int N, int LANES, int VALUES>
__global__ void __launch_bounds__(THREADS) backward_kernel(norm_run run) {
    typedef dpt_wide<T> W;
    typedef dpt_elements<T, N> group;
    const int64_t rows = samples_of(run) * run.groups;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row();
        const uint32_t n = row < rows ? run.n : 0;
        const W mean = row < rows ? ((const W *)run.mean)[row] : (W)0;
        const W rstd = row < rows ? ((const W *)run.rstd)[row] : (W)0;
        W h[VALUES], distance[VALUES], sum = 0, product = 0;
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const uint32_t j = (uint32_t)(k * LANES + walk.lane) * N;
            group g = {}, x = {};
            W weight[N] = {};
            if (j < n) {
                const norm_place place(run, row, j);
                g = *(const group *)((const T *)run.g + place.at);
                x = *(const group *)((const T *)run.x + place.at);
                channel_values<W, N>(run, run.weight, place.channel, 1, weight);
            }
#pragma unroll
            for (int i = 0; i < N; i++) { /* what is not there has the weight 0 */
                h[k * N + i] = dpt_load(g.v[i]) * weight[i];
                distance[k * N + i] = dpt_load(x.v[i]) - mean;
                sum += h[k * N + i];
                product += h[k * N + i] * distance[k * N + i];
            }
        }
        sum = dpt_lanes_sum<LANES>(sum);
        product = dpt_lanes_sum<LANES>(product);
        const norm_slopes<W> slopes(run, rstd, sum, product);
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const uint32_t j = (uint32_t)(k * LANES + walk.lane) * N;
            if (j < n)
                gradient_store<T, N>(run, norm_place(run, row, j).at, h + k * N, distance + k * N, slopes);
        }
    }
}

/* ---- a block a row ---- */

/* Group i of a row once it has been summed: from shared memory, or where it stands (x + r is in `sum` by now). */
template <typename T, int N>
__device__ __forceinline__ void row_again(const norm_run &run, const dpt_wide<T> *kept, uint32_t i, int64_t at,
                                          dpt_wide<T> value[N]) {
    const T *x = (const T *)(run.more ? run.sum : run.x) + at;
#pragma unroll
    for (int j = 0; j < N; j++) value[j] = run.keep ? kept[i * N + j] : dpt_load(x[j]);
}

template <typename T, int N>
__global__ void __launch_bounds__(ROW_THREADS) long_forward_kernel(norm_run run) {
    typedef dpt_wide<T> W;
    DPT_DYNAMIC_SHARED(W, kept); /* a thread reads only what it has written */
    const int64_t rows = samples_of(run) * run.groups;
    const uint32_t groups = run.n / N;
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        W value[N], sum = 0, square = 0;
#pragma unroll 4
        for (uint32_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            row_load<T, N>(run, norm_place(run, row, i * N).at, value);
#pragma unroll
            for (int j = 0; j < N; j++) {
                sum += value[j];
                if (run.keep) kept[i * N + j] = value[j];
            }
        }
        sum = dpt_block_sum(sum);
        const W mean = run.centre ? sum / (W)run.n : (W)0;
#pragma unroll 4
        for (uint32_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            row_again<T, N>(run, kept, i, norm_place(run, row, i * N).at, value);
#pragma unroll
            for (int j = 0; j < N; j++) square += (value[j] - mean) * (value[j] - mean);
        }
        const W rstd = 1 / sqrt(dpt_block_sum(square) / (W)run.n + (W)run.eps);
        if (threadIdx.x == 0) ((W *)run.mean)[row] = mean, ((W *)run.rstd)[row] = rstd;
#pragma unroll 4
        for (uint32_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            const norm_place place(run, row, i * N);
            row_again<T, N>(run, kept, i, place.at, value);
            row_store<T, N>(run, place, value, mean, rstd);
        }
    }
}

/* Weighted g and x - mean of group i: from memory. */
template <typename T, int N>
__device__ __forceinline__ void pair_load(const norm_run &run, const norm_place &place, dpt_wide<T> mean,
                                          dpt_wide<T> h[N], dpt_wide<T> distance[N]) {
    typedef dpt_elements<T, N> group;
    const group g = *(const group *)((const T *)run.g + place.at), x = *(const group *)((const T *)run.x + place.at);
    channel_values<dpt_wide<T>, N>(run, run.weight, place.channel, 1, h);
#pragma unroll
    for (int j = 0; j < N; j++) h[j] *= dpt_load(g.v[j]), distance[j] = dpt_load(x.v[j]) - mean;
}

template <typename T, int N>
__global__ void __launch_bounds__(ROW_THREADS) long_backward_kernel(norm_run run) {
    typedef dpt_wide<T> W;
    DPT_DYNAMIC_SHARED(W, kept); /* a group's h, then its x - mean */
    const int64_t rows = samples_of(run) * run.groups;
    const uint32_t groups = run.n / N;
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const W mean = ((const W *)run.mean)[row], rstd = ((const W *)run.rstd)[row];
        W h[N], distance[N], sum = 0, product = 0;
#pragma unroll 2
        for (uint32_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            pair_load<T, N>(run, norm_place(run, row, i * N), mean, h, distance);
#pragma unroll
            for (int j = 0; j < N; j++) {
                sum += h[j];
                product += h[j] * distance[j];
                if (run.keep) kept[2 * i * N + j] = h[j], kept[(2 * i + 1) * N + j] = distance[j];
            }
        }
        sum = dpt_block_sum(sum);
        product = dpt_block_sum(product);
        const norm_slopes<W> slopes(run, rstd, sum, product);
#pragma unroll 2
        for (uint32_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            const norm_place place(run, row, i * N);
            if (!run.keep) pair_load<T, N>(run, place, mean, h, distance);
#pragma unroll
            for (int j = 0; j < N && run.keep; j++) h[j] = kept[2 * i * N + j], distance[j] = kept[(2 * i + 1) * N + j];
            gradient_store<T, N>(run, place.at, h, distance, slopes);
        }
    }
}

/* ---- choosing the kernel ---- */

static dpt_status run_of(const dpt_call *call, const dpt_operand *x, norm_run *run) {
    *run = norm_run{};
    run->block = call->block;
    run->groups = 1;
    run->channels = 1;
    run->axis = x->axis;
    run->eps = call->attr.row_norm.eps;
    run->centre = call->attr.row_norm.centre;
    run->x = x->data;
    run->y = call->out[0].data;
    int64_t spatial = 1;
    if (call->attr.row_norm.groups > 0) {
        run->groups = call->attr.row_norm.groups;
        run->channels = x->dim[1];
        spatial = dpt_spatial_of(x);
        run->last = x->layout == DPT_LAYOUT_CHANNELS_LAST && spatial > 1;
    } else {
        for (int i = x->ndim - call->attr.row_norm.dims; i < x->ndim; i++) run->channels *= x->dim[i];
    }
    const int64_t n = run->channels / run->groups * spatial;
    DPT_CHECK(n <= INT32_MAX, DPT_ERR_UNSUPPORTED, "\"%s\": %lld elements are normalised together, at most %d can be",
              call->name, (long long)n, INT32_MAX);
    DPT_CHECK(x->layout == DPT_LAYOUT_CANONICAL || x->layout == DPT_LAYOUT_CHANNELS_LAST, DPT_ERR_INTERNAL,
              "\"%s\": the norm has no kernel for layout %d", call->name, (int)x->layout);
    run->width = (uint32_t)(run->channels / run->groups);
    run->spatial = (uint32_t)spatial;
    run->n = (uint32_t)n;
    run->samples_each = x->row_count / (run->channels * spatial);
    return DPT_OK;
}

/* Whether packs of `together` elements have one channel, or channels of one group, and stand aligned. */
static bool in_packs(const dpt_call *call, const norm_run &run, int64_t together) {
    const int64_t count = run.last || run.spatial == 1 ? run.width : run.spatial;
    bool aligned = count % together == 0;
    for (int i = 0; i < call->n_in; i++) aligned = aligned && (uintptr_t)call->in[i].data % 16 == 0;
    for (int i = 0; i < call->n_out; i++) aligned = aligned && (uintptr_t)call->out[i].data % 16 == 0;
    return aligned;
}

/* Bytes of shared memory in which a block keeps its row, or two: 0 where it need not or cannot. */
static size_t kept_bytes(const dpt_call *call, const norm_run &run, size_t each, bool backward) {
    const size_t bytes = (size_t)run.n * each * (backward ? 2 : 1);
    return run.n > LONG_ROW && bytes <= dpt_cuda_device_of(call)->shared_memory_limit ? bytes : 0;
}

static int64_t rows_at_capacity(const dpt_call *call, const norm_run &run, int x) {
    return call->in[x].count / run.n;
}

template <typename T, int N>
struct forward_launch {
    static const void *long_kernel() { return (const void *)long_forward_kernel<T, N>; }
    static dpt_status run(dpt_call *call, dpt_stream *stream, norm_run run, int64_t rows) {
        if (run.n <= SHORT_ROW)
            return DPT_LAUNCH((forward_kernel<T, N, 4, SHORT_ROW / 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS,
                              0, stream, run);
        const unsigned blocks = dpt_blocks_for(call, rows * 32, THREADS);
        if (run.n <= MIDDLE_ROW)
            return DPT_LAUNCH((forward_kernel<T, N, 32, MIDDLE_ROW / 32>), blocks, THREADS, 0, stream, run);
        if (run.n <= LONG_ROW)
            return DPT_LAUNCH((forward_kernel<T, N, 32, LONG_ROW / 32>), blocks, THREADS, 0, stream, run);
        const size_t bytes = kept_bytes(call, run, sizeof(dpt_wide<T>), false);
        run.keep = bytes > 0;
        return DPT_LAUNCH((long_forward_kernel<T, N>), dpt_blocks_for(call, rows * ROW_THREADS, ROW_THREADS),
                          ROW_THREADS, bytes, stream, run);
    }
};

template <typename T, int N>
struct backward_launch {
    static const void *long_kernel() { return (const void *)long_backward_kernel<T, N>; }
    static dpt_status run(dpt_call *call, dpt_stream *stream, norm_run run, int64_t rows) {
        if (run.n <= SHORT_ROW)
            return DPT_LAUNCH((backward_kernel<T, N, 4, SHORT_ROW / 4>), dpt_blocks_for(call, rows * 4, THREADS),
                              THREADS, 0, stream, run);
        const unsigned blocks = dpt_blocks_for(call, rows * 32, THREADS);
        if (run.n <= MIDDLE_ROW)
            return DPT_LAUNCH((backward_kernel<T, N, 32, MIDDLE_ROW / 32>), blocks, THREADS, 0, stream, run);
        if (run.n <= LONG_ROW)
            return DPT_LAUNCH((backward_kernel<T, N, 32, LONG_ROW / 32>), blocks, THREADS, 0, stream, run);
        const size_t bytes = kept_bytes(call, run, sizeof(dpt_wide<T>), true);
        run.keep = bytes > 0;
        return DPT_LAUNCH((long_backward_kernel<T, N>), dpt_blocks_for(call, rows * ROW_THREADS, ROW_THREADS),
                          ROW_THREADS, bytes, stream, run);
    }
};

static dpt_status shared_permit(const void *kernel, size_t bytes) {
    if (bytes <= PLAIN_SHARED) return DPT_OK;
    return DPT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

template <template <typename, int> class LAUNCH>
static dpt_status rows_bind(dpt_call *call, int x, bool backward) {
    norm_run run;
    DPT_TRY(run_of(call, &call->in[x], &run));
    DPT_FOR_FLOAT(call->in[x].dtype, T, {
        const size_t bytes = kept_bytes(call, run, sizeof(dpt_wide<T>), backward);
        if (in_packs(call, run, dpt_pack<T>::N))
            return shared_permit(LAUNCH<T, dpt_pack<T>::N>::long_kernel(), bytes);
        return shared_permit(LAUNCH<T, 1>::long_kernel(), bytes);
    });
    return DPT_OK;
}

template <template <typename, int> class LAUNCH>
static dpt_status rows_run(dpt_call *call, dpt_stream *stream, const norm_run &run, int x) {
    const int64_t rows = rows_at_capacity(call, run, x);
    DPT_FOR_FLOAT(call->in[x].dtype, T, {
        if (in_packs(call, run, dpt_pack<T>::N)) return LAUNCH<T, dpt_pack<T>::N>::run(call, stream, run, rows);
        return LAUNCH<T, 1>::run(call, stream, run, rows);
    });
    return DPT_OK;
}

static dpt_status forward_bind(dpt_call *call) { return rows_bind<forward_launch>(call, 0, false); }
static dpt_status backward_bind(dpt_call *call) { return rows_bind<backward_launch>(call, 1, true); }

static dpt_status forward_run(dpt_call *call, dpt_stream *stream) {
    const int residual = call->attr.row_norm.residual, scale = call->attr.row_norm.scale;
    norm_run run;
    DPT_TRY(run_of(call, &call->in[0], &run));
    if (residual) run.more = call->in[1].data, run.sum = call->out[3].data;
    if (scale) run.weight = call->in[1 + residual].data;
    if (call->attr.row_norm.shift) run.bias = call->in[1 + residual + scale].data;
    run.mean = call->out[1].data;
    run.rstd = call->out[2].data;
    return rows_run<forward_launch>(call, stream, run, 0);
}

static dpt_status gradient_run_of(const dpt_call *call, norm_run *run) {
    DPT_TRY(run_of(call, &call->in[1], run));
    run->g = call->in[0].data;
    run->mean = call->in[2].data;
    run->rstd = call->in[3].data;
    return DPT_OK;
}

static dpt_status backward_run(dpt_call *call, dpt_stream *stream) {
    const int scale = call->attr.row_norm.scale;
    norm_run run;
    DPT_TRY(gradient_run_of(call, &run));
    if (scale) run.weight = call->in[4].data;
    if (call->attr.row_norm.residual) run.more = call->in[4 + scale].data;
    return rows_run<backward_launch>(call, stream, run, 1);
}

/* ---- sums over rows: sum of g xhat, sum of g by channel ---- */

struct sums_tiling {
    int64_t lines, tiles, splits, part; /* lines of a channel tile at capacity; of a block: `part` of them */
};

/* A tile: 32 groups of channels side by side, lines being samples and positions; or a channel, lines being groups of
 * positions. */
static sums_tiling tiling_of(const dpt_call *call, const norm_run &run, int64_t together) {
    const bool columns = run.last || run.spatial == 1;
    const int64_t samples = call->in[1].count / (run.channels * run.spatial);
    const int64_t lanes = columns ? (run.channels / together + 31) / 32 : run.channels;
    sums_tiling t = {};
    t.lines = samples * (columns ? run.spatial : run.spatial / together);
    t.tiles = lanes < 1 ? 1 : lanes;
    const int64_t blocks = (int64_t)dpt_cuda_device_of(call)->multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    const int64_t least = columns ? (int64_t)PART_LEAST : (int64_t)THREADS, most = (t.lines + least - 1) / least;
    const int64_t wanted = (blocks + t.tiles - 1) / t.tiles;
    t.splits = wanted < most ? wanted : most;
    if (t.splits < 1) t.splits = 1;
    t.part = (t.lines + t.splits - 1) / t.splits;
    return t;
}

struct sums_out {
    double *partial; /* [splits][2][channels] */
    unsigned *counters;
    void *weight, *bias;
};

/* Channel c of a tile that is done: the parts' sums added up, by one thread a value. */
template <typename W>
__device__ void channel_finish(const sums_tiling &t, const sums_out &out, int64_t channels, int64_t c, int which) {
    const volatile double *partial = out.partial;
    double sum = 0;
#pragma unroll 8
    for (int64_t s = 0; s < t.splits; s++) sum += partial[(s * 2 + which) * channels + c];
    ((W *)(which ? out.bias : out.weight))[c] = (W)sum;
}

template <typename T, int N>
__global__ void __launch_bounds__(THREADS) sums_columns_kernel(norm_run run, sums_tiling t, sums_out out) {
    typedef dpt_wide<T> W;
    typedef dpt_elements<T, N> group;
    __shared__ double shared[LINES][32 * N];
    const int64_t tile = blockIdx.x % t.tiles, split = blockIdx.x / t.tiles;
    const int lane = (int)threadIdx.x % 32, line = (int)threadIdx.x / 32;
    const int64_t c = (tile * 32 + lane) * N, valid = samples_of(run) * run.spatial;
    const int64_t end = (split + 1) * t.part < valid ? (split + 1) * t.part : valid;
    double sums[2][N] = {};
#pragma unroll 4
    for (int64_t i = split * t.part + line; i < end && c < run.channels; i += LINES) {
        const int64_t row = i / run.spatial * run.groups + c / run.width, at = i * run.channels + c;
        const W mean = ((const W *)run.mean)[row], rstd = ((const W *)run.rstd)[row];
        const group g = *(const group *)((const T *)run.g + at), x = *(const group *)((const T *)run.x + at);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sums[0][j] += (double)(dpt_load(g.v[j]) * ((dpt_load(x.v[j]) - mean) * rstd));
            sums[1][j] += (double)dpt_load(g.v[j]);
        }
    }
    for (int which = 0; which < 2; which++) {
#pragma unroll
        for (int j = 0; j < N; j++) shared[line][lane * N + j] = sums[which][j];
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 32 * N; i += THREADS) {
            double total = 0;
            for (int l = 0; l < LINES; l++) total += shared[l][i];
            const int64_t channel = tile * 32 * N + i;
            if (channel < run.channels) out.partial[(split * 2 + which) * run.channels + channel] = total;
        }
        __syncthreads();
    }
    if (!dpt_last_block(&out.counters[tile], (unsigned)t.splits)) return;
    for (int i = (int)threadIdx.x; i < 2 * 32 * N; i += THREADS) {
        const int64_t channel = tile * 32 * N + i % (32 * N);
        if (channel < run.channels) channel_finish<W>(t, out, run.channels, channel, i / (32 * N));
    }
}

template <typename T, int N>
__global__ void __launch_bounds__(THREADS) sums_planes_kernel(norm_run run, sums_tiling t, sums_out out) {
    typedef dpt_wide<T> W;
    typedef dpt_elements<T, N> group;
    const int64_t c = blockIdx.x % t.tiles, split = blockIdx.x / t.tiles, each = run.spatial / N;
    const int64_t valid = samples_of(run) * each;
    const int64_t end = (split + 1) * t.part < valid ? (split + 1) * t.part : valid;
    double product = 0, sum = 0;
#pragma unroll 4
    for (int64_t i = split * t.part + threadIdx.x; i < end; i += THREADS) {
        const int64_t sample = i / each, row = sample * run.groups + c / run.width;
        const int64_t at = (sample * run.channels + c) * run.spatial + (i - sample * each) * N;
        const W mean = ((const W *)run.mean)[row], rstd = ((const W *)run.rstd)[row];
        const group g = *(const group *)((const T *)run.g + at), x = *(const group *)((const T *)run.x + at);
#pragma unroll
        for (int j = 0; j < N; j++) {
            product += (double)(dpt_load(g.v[j]) * ((dpt_load(x.v[j]) - mean) * rstd));
            sum += (double)dpt_load(g.v[j]);
        }
    }
    product = dpt_block_sum(product);
    sum = dpt_block_sum(sum);
    if (threadIdx.x == 0) {
        out.partial[split * 2 * run.channels + c] = product;
        out.partial[(split * 2 + 1) * run.channels + c] = sum;
    }
    if (dpt_last_block(&out.counters[c], (unsigned)t.splits) && threadIdx.x < 2)
        channel_finish<W>(t, out, run.channels, c, (int)threadIdx.x);
}

static int64_t elements_at_once(const dpt_call *call, const norm_run &run) {
    const int64_t together = 16 / (int64_t)dpt_dtype_size(call->in[1].dtype);
    return in_packs(call, run, together) ? together : 1;
}

/* Sized for elements one by one too: whether packs are aligned shows when the call is bound. */
static dpt_status params_prepare(dpt_call *call) {
    norm_run run;
    DPT_TRY(run_of(call, &call->in[1], &run));
    const int64_t together = 16 / (int64_t)dpt_dtype_size(call->in[1].dtype);
    const sums_tiling packs = tiling_of(call, run, together), single = tiling_of(call, run, 1);
    const int64_t splits = packs.splits > single.splits ? packs.splits : single.splits;
    call->workspace_bytes = (size_t)(splits * 2 * run.channels) * sizeof(double);
    call->table_bytes = (size_t)(packs.tiles > single.tiles ? packs.tiles : single.tiles) * sizeof(unsigned);
    return DPT_OK;
}

static dpt_status params_bind(dpt_call *call) {
    return call->device->ops->zero(call->device, call->table, call->table_bytes, NULL);
}

template <typename T, int N>
static dpt_status params_launch(dpt_call *call, dpt_stream *stream, const norm_run &run) {
    const sums_tiling t = tiling_of(call, run, N);
    const sums_out out = {(double *)call->workspace, (unsigned *)call->table, call->out[0].data, call->out[1].data};
    const unsigned blocks = (unsigned)(t.tiles * t.splits);
    if (run.last || run.spatial == 1)
        return DPT_LAUNCH((sums_columns_kernel<T, N>), blocks, THREADS, 0, stream, run, t, out);
    return DPT_LAUNCH((sums_planes_kernel<T, N>), blocks, THREADS, 0, stream, run, t, out);
}

static dpt_status params_run(dpt_call *call, dpt_stream *stream) {
    norm_run run;
    DPT_TRY(gradient_run_of(call, &run));
    const bool packs = elements_at_once(call, run) > 1;
    DPT_FOR_FLOAT(call->in[1].dtype, T, {
        if (packs) return params_launch<T, dpt_pack<T>::N>(call, stream, run);
        return params_launch<T, 1>(call, stream, run);
    });
    return DPT_OK;
}

/* Groups of channels: x, and what is shaped like it. */
static dpt_status row_norm_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    if (call->attr.row_norm.groups == 0) return DPT_OK;
    const uint32_t in = call->op == DPT_OP_ROW_NORM ? 1 : 3, out = call->op == DPT_OP_ROW_NORM_PARAMS ? 0 : 1;
    dpt_layouts_alike(call, choice, in, out, DPT_LAYOUTS_CHANNELS_LAST);
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(row_norm, NULL, forward_bind, forward_run, NULL, row_norm_layouts)
DPT_CUDA_KERNEL_LAYOUTS(row_norm_grad, NULL, backward_bind, backward_run, NULL, row_norm_layouts)
DPT_CUDA_KERNEL_LAYOUTS(row_norm_params, params_prepare, params_bind, params_run, NULL, row_norm_layouts)
