/* resample.cu: avg_pool and resample on the GPU: sums over windows with the tables of weights of backend/window.h, as
 * they are or transposed. An element of the result, or 16 bytes of channels in channels-last, is a thread's, which reads
 * what it takes, so no thread adds to what another writes. Means over whole planes are a warp's each, or, channels last,
 * a block's for some channels. Sums are made in f32 (f64 for f64), in an order that depends on shapes alone. */
#include "cuda/layouts.h"
#include "cuda/reduce.cuh"
#include "cuda/stretch.cuh"

extern "C" {
#include "backend/window.h"
}

enum { THREADS = 256, MEAN_PACKS = 8, MEAN_PARTS = THREADS / MEAN_PACKS };

struct window_shape {
    int channels, in[3], out[3];
    bool last; /* channels-last, x and y */
    const int32_t *begin[3], *count[3];
    const void *weight[3];
};

template <typename W>
__device__ __forceinline__ W weight_of(const window_shape &s, int d, int k, int i) {
    return ((const W *)s.weight[d])[(size_t)k * (size_t)s.out[d] + (size_t)i];
}

/* y[n,c,i] = sum of w0[i0,p0] w1[i1,p1] w2[i2,p2] x[n,c,p]; N elements that stand side by side, `step` of them apart. */
template <typename T, int N>
__device__ __forceinline__ dpt_elements<T, N> window_sum(const window_shape &s, const dpt_elements<T, N> *x, size_t step,
                                                         int d, int h, int w) {
    typedef dpt_wide<T> wide;
    const int columns = s.count[2][w], first = s.begin[2][w];
    wide sum[N] = {};
    for (int i = 0; i < s.count[0][d]; i++)
        for (int j = 0; j < s.count[1][h]; j++) {
            const wide outer = weight_of<wide>(s, 0, i, d) * weight_of<wide>(s, 1, j, h);
            const int row = ((s.begin[0][d] + i) * s.in[1] + s.begin[1][h] + j) * s.in[2] + first;
            wide part[N] = {};
            for (int l = 0; l < columns; l++) {
                const wide each = weight_of<wide>(s, 2, l, w);
                const dpt_elements<T, N> v = x[(size_t)(row + l) * step];
#pragma unroll
                for (int k = 0; k < N; k++) part[k] += each * dpt_load(v.v[k]);
            }
#pragma unroll
            for (int k = 0; k < N; k++) sum[k] += outer * part[k];
        }
    dpt_elements<T, N> y;
#pragma unroll
    for (int k = 0; k < N; k++) y.v[k] = dpt_store<T>(sum[k]);
    return y;
}

/* Packs of N channels where they stand side by side, else single elements (N is 1). */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
    window_kernel(window_shape s, dpt_stretch rows, const T *x, T *y, const dpt_block *block) {
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t items = dpt_stretch_items(rows, block, packs * (uint32_t)(s.out[0] * s.out[1] * s.out[2]));
    const size_t plane = (size_t)s.in[0] * (size_t)s.in[1] * (size_t)s.in[2];
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        size_t c = 0;
        if (s.last) c = (size_t)dpt_take(&rest, packs);
        const int w = dpt_take(&rest, (uint32_t)s.out[2]), h = dpt_take(&rest, (uint32_t)s.out[1]),
                  d = dpt_take(&rest, (uint32_t)s.out[0]);
        const dpt_elements<T, N> *from = (const dpt_elements<T, N> *)x;
        from += s.last ? (size_t)rest * plane * packs + c : (size_t)rest * plane;
        ((dpt_elements<T, N> *)y)[item] = window_sum<T, N>(s, from, s.last ? packs : 1, d, h, w);
    }
}

/* ---- means of whole planes: y[n,c] = factor * sum of x[n,c,p] ---- */

/* Canonical order: a warp a plane. */
template <typename T>
__global__ void __launch_bounds__(THREADS) mean_kernel(int64_t plane, dpt_wide<T> factor, int64_t channels,
                                                       dpt_stretch rows, const T *x, T *y, const dpt_block *block) {
    const int64_t planes = dpt_stretch_items(rows, block, 1) * channels;
    const int64_t step = (int64_t)gridDim.x * (THREADS / 32);
    for (int64_t at = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32; at < planes; at += step) {
        dpt_wide<T> sum = 0;
        for (int64_t p = threadIdx.x % 32; p < plane; p += 32) sum += dpt_load(x[at * plane + p]);
        sum = dpt_warp_sum(sum);
        if (threadIdx.x % 32 == 0) y[at] = dpt_store<T>(factor * sum);
    }
}

/* Channels last: a block for MEAN_PACKS packs of channels of a sample, each of whose planes MEAN_PARTS threads share. */
template <typename T>
__global__ void __launch_bounds__(THREADS) mean_last_kernel(int64_t plane, dpt_wide<T> factor, int64_t channels,
                                                            dpt_stretch rows, const T *x, T *y, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N;
    __shared__ dpt_wide<T> parts[MEAN_PARTS][MEAN_PACKS][N];
    const int64_t packs = channels / N, groups = (packs + MEAN_PACKS - 1) / MEAN_PACKS;
    const int pack = (int)threadIdx.x % MEAN_PACKS, part = (int)threadIdx.x / MEAN_PACKS;
    const int64_t items = dpt_stretch_items(rows, block, 1) * groups;
    for (int64_t at = blockIdx.x; at < items; at += gridDim.x) {
        const int64_t row = at / groups, c = at % groups * MEAN_PACKS + pack;
        dpt_wide<T> sum[N] = {};
        for (int64_t p = part; p < plane && c < packs; p += MEAN_PARTS) {
            const dpt_pack<T> v = ((const dpt_pack<T> *)x)[(row * plane + p) * packs + c];
#pragma unroll
            for (int k = 0; k < N; k++) sum[k] += dpt_load(v.v[k]);
        }
#pragma unroll
        for (int k = 0; k < N; k++) parts[part][pack][k] = sum[k];
        __syncthreads();
        for (int i = (int)threadIdx.x; i < MEAN_PACKS * N; i += THREADS) {
            const int64_t channel = at % groups * MEAN_PACKS * N + i;
            dpt_wide<T> all = 0;
            for (int q = 0; q < MEAN_PARTS; q++) all += parts[q][i / N][i % N];
            if (channel < channels) y[row * channels + channel] = dpt_store<T>(factor * all);
        }
        __syncthreads();
    }
}

/* ---- launches ---- */

static window_shape shape_of(const dpt_call *call) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const dpt_taps *taps = (const dpt_taps *)call->plan;
    window_shape s = {};
    s.channels = (int)x->dim[1];
    s.last = (dpt_layout_is_plain(x, x->layout) ? y : x)->layout == DPT_LAYOUT_CHANNELS_LAST;
    for (int d = 0; d < 3; d++) {
        s.in[d] = (int)taps[d].in, s.out[d] = (int)taps[d].out;
        s.begin[d] = taps[d].begin, s.count[d] = taps[d].count, s.weight[d] = taps[d].weight;
    }
    return s;
}

template <typename T>
static dpt_status mean_run(const dpt_call *call, dpt_stream *stream, bool last) {
    const dpt_operand *x = &call->in[0];
    const int64_t plane = dpt_spatial_of(x), channels = x->dim[1];
    const dpt_stretch rows = {0, x->dim[0], x->dim[0], x->axis};
    const dpt_wide<T> factor = (dpt_wide<T>)(1 / (double)plane);
    const T *from = (const T *)x->data;
    T *to = (T *)call->out[0].data;
    const int64_t threads = rows.count * (last ? channels / dpt_pack<T>::N * MEAN_PARTS : channels * 32);
    const unsigned blocks = dpt_blocks_for(call, threads, THREADS);
    if (last)
        return DPT_LAUNCH(mean_last_kernel<T>, blocks, THREADS, 0, stream, plane, factor, channels, rows, from, to,
                          call->block);
    return DPT_LAUNCH(mean_kernel<T>, blocks, THREADS, 0, stream, plane, factor, channels, rows, from, to, call->block);
}

/* Means of whole planes that are long enough to be shared. */
static bool is_mean(const dpt_call *call, const window_shape &s, bool packed) {
    enum { LONG = 16 };
    return dpt_window_is_mean(&call->attr.pool) && dpt_spatial_of(&call->in[0]) >= LONG && (!s.last || packed);
}

template <typename T>
static dpt_status window_sums(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *from = &call->in[0], *to = &call->out[0];
    const window_shape s = shape_of(call);
    const bool packed = s.last && s.channels % dpt_pack<T>::N == 0;
    const T *x = (const T *)from->data;
    T *y = (T *)to->data;
    if (is_mean(call, s, packed)) return mean_run<T>(call, stream, s.last);
    const int64_t from_row = from->count / from->dim[0], to_row = to->count / to->dim[0];
    const int64_t each = packed ? to_row / dpt_pack<T>::N : to_row;
    return dpt_each_stretch(from->dim[0], from->axis, each, [&](dpt_stretch rows, int64_t items) {
        const unsigned blocks = dpt_blocks_for(call, items, THREADS);
        const T *first = x + rows.first * from_row;
        T *result = y + rows.first * to_row;
        if (packed)
            return DPT_LAUNCH((window_kernel<T, dpt_pack<T>::N>), blocks, THREADS, 0, stream, s, rows, first, result,
                              call->block);
        return DPT_LAUNCH((window_kernel<T, 1>), blocks, THREADS, 0, stream, s, rows, first, result, call->block);
    });
}

/* ---- kernels of the table ---- */

static dpt_status window_prepare(dpt_call *call) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    DPT_CHECK(x->count / x->dim[0] < INT32_MAX && y->count / y->dim[0] < INT32_MAX, DPT_ERR_UNSUPPORTED,
              "resampling \"%s\": a sample of %lld channels has more than 2^31 elements", call->name,
              (long long)x->dim[1]);
    const dpt_pool_attr a = dpt_window_merge(&call->attr.pool);
    call->plan = dpt_alloc_zero(3, sizeof(dpt_taps));
    DPT_CHECK_ALLOC(call->plan);
    call->table_bytes = dpt_taps_measure(&a, x->dtype, (dpt_taps *)call->plan);
    return DPT_OK;
}

/* The tables are made on the host and copied; the plan then points to the copies. */
static dpt_status window_bind(dpt_call *call) {
    const dpt_pool_attr a = dpt_window_merge(&call->attr.pool);
    dpt_taps *taps = (dpt_taps *)call->plan;
    void *host = dpt_alloc_zero(1, call->table_bytes);
    DPT_CHECK_ALLOC(host);
    dpt_taps_place(call->in[0].dtype, taps, host);
    dpt_taps_fill(&a, call->in[0].dtype, taps);
    const dpt_status status = call->device->ops->copy_in(call->device, call->table, host, call->table_bytes, NULL);
    dpt_free(host);
    dpt_taps_place(call->in[0].dtype, taps, call->table);
    return status;
}

static dpt_status window_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return window_sums<T>(call, stream));
    return DPT_OK;
}

static void window_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

DPT_CUDA_KERNEL_LAYOUTS(avg_pool, window_prepare, window_bind, window_run, window_release, dpt_cuda_pool_layouts)
DPT_CUDA_KERNEL_LAYOUTS(resample, window_prepare, window_bind, window_run, window_release, dpt_cuda_pool_layouts)
