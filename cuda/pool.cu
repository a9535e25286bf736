/* pool.cu: max_pool on the GPU, for 1 to 3 spatial dimensions. pool_move.cu has the moves that are its gradients.
 *
 * There is a kernel for any window and layout, an element a thread, and fast ones: 16 bytes of channels a thread in
 * channels-last, several 2x2 or 2x2x2 windows a thread in canonical order. Invariant: the first NaN of a window wins,
 * else the first of equals. */
#include "cuda/pool.cuh"

enum { THREADS = DPT_POOL_THREADS };

template <typename W>
__device__ __forceinline__ bool goes_before(W v, W best) {
    return v > best || (v != v && best == best);
}

/* y[n,c,i] = the largest of x[n,c] in window i, and where in its plane. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    pool_any_kernel(pool_shape s, dpt_stretch rows, const T *x, T *y, int32_t *index, const dpt_block *block) {
    const uint32_t each = (uint32_t)(pooled_plane_of(s) * (size_t)s.channels);
    const uint32_t items = dpt_stretch_items(rows, block, each);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const element_place at(item, s.pooled_last, s.channels, s.out);
        const window_part d(s, 0, at.d), h(s, 1, at.h), w(s, 2, at.w);
        int best = offset_of(s.in, d.begin, h.begin, w.begin);
        const size_t plane = plane_of(s), n = (size_t)at.n, c = (size_t)at.c;
        T value = x[element_of(s.x_last, s.channels, plane, n, c, (size_t)best)];
        for (int i = d.begin; i < d.end; i++)
            for (int j = h.begin; j < h.end; j++)
                for (int k = w.begin; k < w.end; k++) {
                    const int place = offset_of(s.in, i, j, k);
                    const T v = x[element_of(s.x_last, s.channels, plane, n, c, (size_t)place)];
                    if (goes_before(dpt_load(v), dpt_load(value))) value = v, best = place;
                }
        y[item] = value;
        const size_t p = (size_t)offset_of(s.out, at.d, at.h, at.w);
        index[element_of(s.index_last, s.channels, pooled_plane_of(s), n, c, p)] = best;
    }
}

/* Channels-last, N channels a thread. DEEP > 0: windows of DEEP x 2 x 2 that lie inside of x: all of one is read before
 * the first comparison. */
template <typename T, int DEEP>
__global__ void __launch_bounds__(THREADS)
    pool_last_kernel(pool_shape s, dpt_stretch rows, const T *x, T *y, int32_t *index, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N, ALL = DEEP ? 4 * DEEP : 1;
    typedef dpt_pack<T> pack;
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)pooled_plane_of(s) * packs);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t c = (size_t)dpt_take(&rest, packs);
        const int ow = dpt_take(&rest, (uint32_t)s.out[2]), oh = dpt_take(&rest, (uint32_t)s.out[1]),
                  od = dpt_take(&rest, (uint32_t)s.out[0]);
        const pack *from = (const pack *)x + (size_t)rest * plane_of(s) * packs + c;
        const window_part d(s, 0, od), h(s, 1, oh), w(s, 2, ow);
        const int corner = offset_of(s.in, d.begin, h.begin, w.begin);
        dpt_elements<int32_t, N> at;
#pragma unroll
        for (int k = 0; k < N; k++) at.v[k] = corner;
        pack best;
        if (DEEP) {
            pack all[ALL];
#pragma unroll
            for (int i = 0; i < ALL; i++)
                all[i] = from[(size_t)(corner + offset_of(s.in, i / 4, i / 2 % 2, i % 2)) * packs];
            best = all[0];
#pragma unroll
            for (int i = 1; i < ALL; i++)
#pragma unroll
                for (int k = 0; k < N; k++)
                    if (goes_before(dpt_load(all[i].v[k]), dpt_load(best.v[k])))
                        best.v[k] = all[i].v[k], at.v[k] = corner + offset_of(s.in, i / 4, i / 2 % 2, i % 2);
        } else {
            best = from[(size_t)corner * packs];
            for (int i = d.begin; i < d.end; i++)
                for (int j = h.begin; j < h.end; j++)
                    for (int l = w.begin; l < w.end; l++) {
                        const int place = offset_of(s.in, i, j, l);
                        const pack v = from[(size_t)place * packs];
#pragma unroll
                        for (int k = 0; k < N; k++)
                            if (goes_before(dpt_load(v.v[k]), dpt_load(best.v[k]))) best.v[k] = v.v[k], at.v[k] = place;
                    }
        }
        ((pack *)y)[item] = best;
        ((dpt_elements<int32_t, N> *)index)[item] = at;
    }
}

/* Canonical order, windows of DEEP x 2 x 2 side by side over an even width: V windows a thread. */
template <typename T, int V, int DEEP>
__global__ void __launch_bounds__(THREADS)
    pool_pairs_kernel(pool_shape s, dpt_stretch rows, const T *x, T *y, int32_t *index, const dpt_block *block) {
    typedef dpt_elements<T, 2 * V> line;
    const uint32_t across = (uint32_t)(s.out[2] / V);
    const uint32_t items = dpt_stretch_items(rows, block, across * (uint32_t)(s.out[0] * s.out[1] * s.channels));
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const int j = dpt_take(&rest, across), i = dpt_take(&rest, (uint32_t)s.out[1]),
                  d = dpt_take(&rest, (uint32_t)s.out[0]);
        const int corner = offset_of(s.in, DEEP * d, 2 * i, 2 * j * V);
        const T *from = x + (size_t)rest * plane_of(s) + (size_t)corner;
        line lines[2 * DEEP];
#pragma unroll
        for (int r = 0; r < 2 * DEEP; r++) lines[r] = *(const line *)(from + offset_of(s.in, r / 2, r % 2, 0));
        dpt_elements<T, V> best;
        dpt_elements<int32_t, V> at;
#pragma unroll
        for (int k = 0; k < V; k++) {
            best.v[k] = lines[0].v[2 * k], at.v[k] = corner + 2 * k;
#pragma unroll
            for (int o = 1; o < 4 * DEEP; o++) {
                const T other = lines[o / 2].v[2 * k + o % 2];
                if (goes_before(dpt_load(other), dpt_load(best.v[k])))
                    best.v[k] = other, at.v[k] = corner + 2 * k + offset_of(s.in, o / 4, o / 2 % 2, o % 2);
            }
        }
        ((dpt_elements<T, V> *)y)[item] = best;
        ((dpt_elements<int32_t, V> *)index)[item] = at;
    }
}

/* ---- launches ---- */

template <typename T>
static dpt_status max_pool(const dpt_call *call, dpt_stream *stream) {
    const pool_operands o = {&call->in[0], &call->out[0], &call->out[1]};
    const pool_shape s = pool_shape_of(call, o);
    const int64_t large = s.channels * pool_product(s.in), small = s.channels * pool_product(s.out);
    const T *x = (const T *)o.x->data;
    T *y = (T *)o.pooled->data;
    int32_t *index = (int32_t *)o.index->data;
#define LAUNCH(kernel, each) POOL_LAUNCH((kernel), each, x, large, y, small, index, small)
    if (is_packed<T>(s)) {
        const int64_t each = small / dpt_pack<T>::N;
        if (is_pair_tile(s, 1)) return LAUNCH((pool_last_kernel<T, 1>), each);
        if (is_pair_tile(s, 2)) return LAUNCH((pool_last_kernel<T, 2>), each);
        return LAUNCH((pool_last_kernel<T, 0>), each);
    }
    if (is_paired(s, 1)) {
        if (s.out[2] % 4 == 0) return LAUNCH((pool_pairs_kernel<T, 4, 1>), small / 4);
        if (s.out[2] % 2 == 0) return LAUNCH((pool_pairs_kernel<T, 2, 1>), small / 2);
        return LAUNCH((pool_pairs_kernel<T, 1, 1>), small);
    }
    if (is_paired(s, 2)) {
        if (s.out[2] % 2 == 0) return LAUNCH((pool_pairs_kernel<T, 2, 2>), small / 2);
        return LAUNCH((pool_pairs_kernel<T, 1, 2>), small);
    }
    return LAUNCH((pool_any_kernel<T>), small);
#undef LAUNCH
}

static dpt_status max_pool_prepare(dpt_call *call) {
    return pool_check(call, {&call->in[0], &call->out[0], &call->out[1]});
}
static dpt_status max_pool_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return max_pool<T>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(max_pool, max_pool_prepare, NULL, max_pool_run, NULL, dpt_cuda_pool_layouts)
