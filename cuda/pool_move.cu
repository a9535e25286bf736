/* pool_move.cu: pool_scatter and pool_gather on the GPU: the index moves of max-pooling's gradients.
 *
 * pool_scatter is written as a gather: an element of x sums the windows that cover it, in the order of the CPU; windows
 * that do not overlap are read once and their part of x is written whole. Invariant: no thread adds to what another
 * writes, so bits repeat. */
#include "cuda/pool.cuh"

enum { THREADS = DPT_POOL_THREADS };

/* ---- pool_scatter: x[n,c,p] = sum of g[n,c,i] over the windows i that cover p and whose index is p ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    scatter_any_kernel(pool_shape s, dpt_stretch rows, const T *g, const int32_t *index, T *x, const dpt_block *block) {
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)(plane_of(s) * (size_t)s.channels));
    const size_t pooled_plane = pooled_plane_of(s);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const element_place at(item, s.x_last, s.channels, s.in);
        const covering d(s, 0, at.d), h(s, 1, at.h), w(s, 2, at.w);
        const size_t n = (size_t)at.n, c = (size_t)at.c;
        const int place = offset_of(s.in, at.d, at.h, at.w);
        dpt_wide<T> sum = 0;
        for (int i = d.begin; i < d.end; i++)
            for (int j = h.begin; j < h.end; j++)
                for (int k = w.begin; k < w.end; k++) {
                    const size_t p = (size_t)offset_of(s.out, i, j, k);
                    if (index[element_of(s.index_last, s.channels, pooled_plane, n, c, p)] == place)
                        sum += dpt_load(g[element_of(s.pooled_last, s.channels, pooled_plane, n, c, p)]);
                }
        x[item] = dpt_store<T>(sum);
    }
}

/* Channels-last, N channels of one place a thread; windows may overlap. */
template <typename T>
__global__ void __launch_bounds__(THREADS) scatter_last_kernel(pool_shape s, dpt_stretch rows, const T *g,
                                                               const int32_t *index, T *x, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N;
    typedef dpt_pack<T> pack;
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)plane_of(s) * packs);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t c = (size_t)dpt_take(&rest, packs);
        const int w = dpt_take(&rest, (uint32_t)s.in[2]), h = dpt_take(&rest, (uint32_t)s.in[1]),
                  d = dpt_take(&rest, (uint32_t)s.in[0]), place = offset_of(s.in, d, h, w);
        const covering slices(s, 0, d), lines(s, 1, h), columns(s, 2, w);
        const size_t first = (size_t)rest * pooled_plane_of(s) * packs + c;
        dpt_wide<T> sum[N] = {};
        for (int i = slices.begin; i < slices.end; i++)
            for (int j = lines.begin; j < lines.end; j++)
                for (int l = columns.begin; l < columns.end; l++) {
                    const size_t from = first + (size_t)offset_of(s.out, i, j, l) * packs;
                    const dpt_elements<int32_t, N> at = ((const dpt_elements<int32_t, N> *)index)[from];
                    const pack v = ((const pack *)g)[from];
#pragma unroll
                    for (int k = 0; k < N; k++) sum[k] += at.v[k] == place ? dpt_load(v.v[k]) : 0;
                }
        pack to;
#pragma unroll
        for (int k = 0; k < N; k++) to.v[k] = dpt_store<T>(sum[k]);
        ((pack *)x)[item] = to;
    }
}

__host__ __device__ static inline int tiles_along(const pool_shape &s, int d) {
    return (s.in[d] + s.kernel[d] - 1) / s.kernel[d];
}

/* Channels-last, windows side by side: N channels of a whole window a thread, those cut off by the end of x too. */
template <typename T>
__global__ void __launch_bounds__(THREADS) scatter_tiles_kernel(pool_shape s, dpt_stretch rows, const T *g,
                                                                const int32_t *index, T *x, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N;
    typedef dpt_pack<T> pack;
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t deep = (uint32_t)tiles_along(s, 0), down = (uint32_t)tiles_along(s, 1),
                   across = (uint32_t)tiles_along(s, 2);
    const uint32_t items = dpt_stretch_items(rows, block, deep * down * across * packs);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t c = (size_t)dpt_take(&rest, packs);
        const int l = dpt_take(&rest, across), j = dpt_take(&rest, down), i = dpt_take(&rest, deep);
        dpt_elements<int32_t, N> at;
        pack v = {};
#pragma unroll
        for (int k = 0; k < N; k++) at.v[k] = -1;
        if (i < s.out[0] && j < s.out[1] && l < s.out[2]) {
            const size_t window = (size_t)rest * pooled_plane_of(s) + (size_t)offset_of(s.out, i, j, l);
            at = ((const dpt_elements<int32_t, N> *)index)[window * packs + c];
            v = ((const pack *)g)[window * packs + c];
        }
        pack *to = (pack *)x + (size_t)rest * plane_of(s) * packs + c;
        for (int d = i * s.kernel[0]; d < (i + 1) * s.kernel[0] && d < s.in[0]; d++)
            for (int h = j * s.kernel[1]; h < (j + 1) * s.kernel[1] && h < s.in[1]; h++)
                for (int w = l * s.kernel[2]; w < (l + 1) * s.kernel[2] && w < s.in[2]; w++) {
                    const int place = offset_of(s.in, d, h, w);
                    pack one;
#pragma unroll
                    for (int k = 0; k < N; k++) one.v[k] = at.v[k] == place ? v.v[k] : dpt_store<T>(0);
                    to[(size_t)place * packs] = one;
                }
    }
}

/* Canonical order, windows of DEEP x 2 x 2 side by side over an even width: V windows a thread, cut ones too. */
template <typename T, int V, int DEEP>
__global__ void __launch_bounds__(THREADS) scatter_pairs_kernel(pool_shape s, dpt_stretch rows, const T *g,
                                                                const int32_t *index, T *x, const dpt_block *block) {
    const uint32_t across = (uint32_t)(s.out[2] / V), down = (uint32_t)tiles_along(s, 1),
                   deep = (uint32_t)tiles_along(s, 0);
    const uint32_t items = dpt_stretch_items(rows, block, across * down * deep * (uint32_t)s.channels);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const int j = dpt_take(&rest, across), i = dpt_take(&rest, down), d = dpt_take(&rest, deep);
        const int corner = offset_of(s.in, DEEP * d, 2 * i, 2 * j * V);
        dpt_elements<T, V> v = {};
        dpt_elements<int32_t, V> at;
#pragma unroll
        for (int k = 0; k < V; k++) at.v[k] = -1;
        if (i < s.out[1] && d < s.out[0]) {
            const size_t window = (size_t)rest * pooled_plane_of(s) + (size_t)offset_of(s.out, d, i, j * V);
            v = *(const dpt_elements<T, V> *)(g + window);
            at = *(const dpt_elements<int32_t, V> *)(index + window);
        }
        T *to = x + (size_t)rest * plane_of(s);
#pragma unroll
        for (int r = 0; r < 2 * DEEP; r++) {
            const int first = corner + offset_of(s.in, r / 2, r % 2, 0);
            dpt_elements<T, 2 * V> line;
#pragma unroll
            for (int k = 0; k < 2 * V; k++) line.v[k] = at.v[k / 2] == first + k ? v.v[k / 2] : dpt_store<T>(0);
            if (2 * i + r % 2 < s.in[1] && DEEP * d + r / 2 < s.in[0]) *(dpt_elements<T, 2 * V> *)(to + first) = line;
        }
    }
}

/* ---- pool_gather: y[n,c,i] = x[n,c,index[n,c,i]] ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    gather_any_kernel(pool_shape s, dpt_stretch rows, const T *x, const int32_t *index, T *y, const dpt_block *block) {
    const size_t pooled_plane = pooled_plane_of(s);
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)(pooled_plane * (size_t)s.channels));
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const element_place at(item, s.pooled_last, s.channels, s.out);
        const size_t n = (size_t)at.n, c = (size_t)at.c, p = (size_t)offset_of(s.out, at.d, at.h, at.w);
        const int32_t from = index[element_of(s.index_last, s.channels, pooled_plane, n, c, p)];
        y[item] = x[element_of(s.x_last, s.channels, plane_of(s), n, c, (size_t)from)];
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    gather_last_kernel(pool_shape s, dpt_stretch rows, const T *x, const int32_t *index, T *y, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N;
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t each = (uint32_t)pooled_plane_of(s) * packs;
    const uint32_t items = dpt_stretch_items(rows, block, each);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const size_t c = (size_t)(item % packs) * N, n = (size_t)(item / each);
        const T *from = x + n * plane_of(s) * (size_t)s.channels + c;
        const dpt_elements<int32_t, N> at = ((const dpt_elements<int32_t, N> *)index)[item];
        dpt_pack<T> to;
#pragma unroll
        for (int k = 0; k < N; k++) to.v[k] = from[(size_t)at.v[k] * (size_t)s.channels + k];
        ((dpt_pack<T> *)y)[item] = to;
    }
}

/* ---- launches ---- */

template <typename T>
static dpt_status pool_scatter(const dpt_call *call, dpt_stream *stream) {
    const pool_operands o = {&call->out[0], &call->in[0], &call->in[1]};
    const pool_shape s = pool_shape_of(call, o);
    const int64_t large = s.channels * pool_product(s.in), small = s.channels * pool_product(s.out);
    const T *g = (const T *)o.pooled->data;
    const int32_t *index = (const int32_t *)o.index->data;
    T *x = (T *)o.x->data;
#define LAUNCH(kernel, each) POOL_LAUNCH((kernel), each, g, small, index, small, x, large)
    if (is_packed<T>(s)) {
        if (!is_tiled(s)) return LAUNCH((scatter_last_kernel<T>), large / dpt_pack<T>::N);
        const int64_t tiles = (int64_t)tiles_along(s, 0) * tiles_along(s, 1) * tiles_along(s, 2) * s.channels;
        return LAUNCH((scatter_tiles_kernel<T>), tiles / dpt_pack<T>::N);
    }
    if (is_paired(s, 1)) {
        const int64_t pairs = (int64_t)s.channels * s.in[0] * tiles_along(s, 1) * s.out[2];
        if (s.out[2] % 4 == 0) return LAUNCH((scatter_pairs_kernel<T, 4, 1>), pairs / 4);
        if (s.out[2] % 2 == 0) return LAUNCH((scatter_pairs_kernel<T, 2, 1>), pairs / 2);
        return LAUNCH((scatter_pairs_kernel<T, 1, 1>), pairs);
    }
    if (is_paired(s, 2)) {
        const int64_t pairs = (int64_t)s.channels * tiles_along(s, 0) * tiles_along(s, 1) * s.out[2];
        if (s.out[2] % 2 == 0) return LAUNCH((scatter_pairs_kernel<T, 2, 2>), pairs / 2);
        return LAUNCH((scatter_pairs_kernel<T, 1, 2>), pairs);
    }
    return LAUNCH((scatter_any_kernel<T>), large);
#undef LAUNCH
}

template <typename T>
static dpt_status pool_gather(const dpt_call *call, dpt_stream *stream) {
    const pool_operands o = {&call->in[0], &call->out[0], &call->in[1]};
    const pool_shape s = pool_shape_of(call, o);
    const int64_t large = s.channels * pool_product(s.in), small = s.channels * pool_product(s.out);
    const T *x = (const T *)o.x->data;
    const int32_t *index = (const int32_t *)o.index->data;
    T *y = (T *)o.pooled->data;
    if (is_packed<T>(s))
        return POOL_LAUNCH((gather_last_kernel<T>), small / dpt_pack<T>::N, x, large, index, small, y, small);
    return POOL_LAUNCH((gather_any_kernel<T>), small, x, large, index, small, y, small);
}

static dpt_status pool_scatter_prepare(dpt_call *call) {
    return pool_check(call, {&call->out[0], &call->in[0], &call->in[1]});
}
static dpt_status pool_scatter_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return pool_scatter<T>(call, stream));
    return DPT_OK;
}

static dpt_status pool_gather_prepare(dpt_call *call) {
    return pool_check(call, {&call->in[0], &call->out[0], &call->in[1]});
}
static dpt_status pool_gather_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return pool_gather<T>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(pool_scatter, pool_scatter_prepare, NULL, pool_scatter_run, NULL, dpt_cuda_pool_layouts)
DPT_CUDA_KERNEL_LAYOUTS(pool_gather, pool_gather_prepare, NULL, pool_gather_run, NULL, dpt_cuda_pool_layouts)
