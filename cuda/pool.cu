/* pool.cu: max_pool, pool_scatter and pool_gather on the GPU.
 *
 * Each has a kernel for any window and layout, an element a thread, and fast ones: 16 bytes of channels a thread in
 * channels-last, several 2x2 windows a thread in canonical order. pool_scatter is written as a gather: an element of x
 * sums the windows that cover it, in the order of the CPU; windows that do not overlap are read once and their part of
 * x is written whole. Invariants: the first NaN of a window wins, else the first of equals; no thread adds to what
 * another writes, so bits repeat. */
#include "cuda/layouts.h"
#include "cuda/stretch.cuh"

enum { THREADS = 256 };

struct pool_shape {
    int channels, height, width, out_height, out_width;
    int kernel[2], stride[2], pad[2];
    bool x_last, pooled_last, index_last; /* channels-last, by operand */
};

/* ---- addresses ---- */

__device__ __forceinline__ size_t plane_of(const pool_shape &s) { return (size_t)s.height * (size_t)s.width; }
__device__ __forceinline__ size_t pooled_plane_of(const pool_shape &s) {
    return (size_t)s.out_height * (size_t)s.out_width;
}

/* Element (n, c, p) of a tensor of planes [plane]. */
__device__ __forceinline__ size_t element_of(bool last, int channels, size_t plane, size_t n, size_t c, size_t p) {
    return last ? (n * plane + p) * (size_t)channels + c : (n * (size_t)channels + c) * plane + p;
}

/* An element in the order in which its tensor lies in memory: n, c, h, w. */
struct element_place {
    int n, c, h, w;
    __device__ element_place(uint32_t item, bool last, int channels, int height, int width) {
        if (last) c = dpt_take(&item, (uint32_t)channels);
        w = dpt_take(&item, (uint32_t)width);
        h = dpt_take(&item, (uint32_t)height);
        if (!last) c = dpt_take(&item, (uint32_t)channels);
        n = (int)item;
    }
};

/* The part of window number i that lies inside dimension d, of `size` elements. */
struct window_part {
    int begin, end;
    __device__ window_part(const pool_shape &s, int d, int i, int size) {
        begin = i * s.stride[d] - s.pad[d];
        end = begin + s.kernel[d] < size ? begin + s.kernel[d] : size;
        begin = begin < 0 ? 0 : begin;
    }
};

/* The windows [begin, end) of dimension d that cover its element number `at`. */
struct covering {
    int begin, end;
    __device__ covering(const pool_shape &s, int d, int at, int windows) {
        const int room = at + s.pad[d] - s.kernel[d];
        begin = room < 0 ? 0 : room / s.stride[d] + 1;
        end = (at + s.pad[d]) / s.stride[d] + 1;
        end = end < windows ? end : windows;
    }
};

template <typename W>
__device__ __forceinline__ bool goes_before(W v, W best) {
    return v > best || (v != v && best == best);
}

/* ---- max_pool: y[n,c,i,j] = the largest of x[n,c] in window (i,j), and where in its plane ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    pool_any_kernel(pool_shape s, dpt_stretch rows, const T *x, T *y, int32_t *index, const dpt_block *block) {
    const uint32_t each = (uint32_t)(pooled_plane_of(s) * (size_t)s.channels);
    const uint32_t items = dpt_stretch_items(rows, block, each);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const element_place at(item, s.pooled_last, s.channels, s.out_height, s.out_width);
        const window_part h(s, 0, at.h, s.height), w(s, 1, at.w, s.width);
        int best = h.begin * s.width + w.begin;
        const size_t plane = plane_of(s), n = (size_t)at.n, c = (size_t)at.c;
        T value = x[element_of(s.x_last, s.channels, plane, n, c, (size_t)best)];
        for (int i = h.begin; i < h.end; i++)
            for (int j = w.begin; j < w.end; j++) {
                const T v = x[element_of(s.x_last, s.channels, plane, n, c, (size_t)(i * s.width + j))];
                if (goes_before(dpt_load(v), dpt_load(value))) value = v, best = i * s.width + j;
            }
        y[item] = value;
        const size_t p = (size_t)at.h * (size_t)s.out_width + (size_t)at.w;
        index[element_of(s.index_last, s.channels, pooled_plane_of(s), n, c, p)] = best;
    }
}

/* Channels-last, N channels a thread. KERNEL > 0: the window's size, where it lies inside of x: all of it is read
 * before the first comparison. */
template <typename T, int KERNEL>
__global__ void __launch_bounds__(THREADS)
    pool_last_kernel(pool_shape s, dpt_stretch rows, const T *x, T *y, int32_t *index, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N;
    typedef dpt_pack<T> pack;
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)pooled_plane_of(s) * packs);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t c = (size_t)dpt_take(&rest, packs);
        const int ow = dpt_take(&rest, (uint32_t)s.out_width), oh = dpt_take(&rest, (uint32_t)s.out_height);
        const pack *from = (const pack *)x + (size_t)rest * plane_of(s) * packs + c;
        const window_part h(s, 0, oh, s.height), w(s, 1, ow, s.width);
        const int corner = h.begin * s.width + w.begin;
        pack best = from[(size_t)corner * packs];
        dpt_elements<int32_t, N> at;
#pragma unroll
        for (int k = 0; k < N; k++) at.v[k] = corner;
        const int height = KERNEL ? KERNEL : h.end - h.begin, width = KERNEL ? KERNEL : w.end - w.begin;
        pack next[KERNEL ? KERNEL * KERNEL : 1];
#pragma unroll
        for (int i = 0; i < KERNEL * KERNEL; i++)
            next[i] = from[(size_t)(corner + i / (KERNEL ? KERNEL : 1) * s.width + i % (KERNEL ? KERNEL : 1)) * packs];
#pragma unroll(KERNEL ? KERNEL : 1)
        for (int i = 0; i < height; i++)
#pragma unroll(KERNEL ? KERNEL : 1)
            for (int j = 0; j < width; j++) {
                const int place = corner + i * s.width + j;
                const pack v = KERNEL ? next[i * KERNEL + j] : from[(size_t)place * packs];
#pragma unroll
                for (int k = 0; k < N; k++)
                    if (goes_before(dpt_load(v.v[k]), dpt_load(best.v[k]))) best.v[k] = v.v[k], at.v[k] = place;
            }
        ((pack *)y)[item] = best;
        ((dpt_elements<int32_t, N> *)index)[item] = at;
    }
}

/* Canonical order, 2x2 windows side by side over an even width: V windows a thread. */
template <typename T, int V>
__global__ void __launch_bounds__(THREADS)
    pool_pairs_kernel(pool_shape s, dpt_stretch rows, const T *x, T *y, int32_t *index, const dpt_block *block) {
    const uint32_t across = (uint32_t)(s.out_width / V);
    const uint32_t items = dpt_stretch_items(rows, block, across * (uint32_t)(s.out_height * s.channels));
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const int j = dpt_take(&rest, across), i = dpt_take(&rest, (uint32_t)s.out_height);
        const int corner = 2 * (i * s.width + j * V);
        const T *from = x + (size_t)rest * plane_of(s) + (size_t)corner;
        const dpt_elements<T, 2 *V> upper = *(const dpt_elements<T, 2 * V> *)from;
        const dpt_elements<T, 2 *V> lower = *(const dpt_elements<T, 2 * V> *)(from + s.width);
        dpt_elements<T, V> best;
        dpt_elements<int32_t, V> at;
#pragma unroll
        for (int k = 0; k < V; k++) {
            best.v[k] = upper.v[2 * k], at.v[k] = corner + 2 * k;
            const T other[3] = {upper.v[2 * k + 1], lower.v[2 * k], lower.v[2 * k + 1]};
#pragma unroll
            for (int o = 0; o < 3; o++)
                if (goes_before(dpt_load(other[o]), dpt_load(best.v[k])))
                    best.v[k] = other[o], at.v[k] = corner + 2 * k + (o + 1) / 2 * s.width + (o + 1) % 2;
        }
        ((dpt_elements<T, V> *)y)[item] = best;
        ((dpt_elements<int32_t, V> *)index)[item] = at;
    }
}

/* ---- pool_scatter: x[n,c,p] = sum of g[n,c,i,j] over the windows (i,j) that cover p and whose index is p ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    scatter_any_kernel(pool_shape s, dpt_stretch rows, const T *g, const int32_t *index, T *x, const dpt_block *block) {
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)(plane_of(s) * (size_t)s.channels));
    const size_t pooled_plane = pooled_plane_of(s);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const element_place at(item, s.x_last, s.channels, s.height, s.width);
        const covering h(s, 0, at.h, s.out_height), w(s, 1, at.w, s.out_width);
        const size_t n = (size_t)at.n, c = (size_t)at.c;
        const int place = at.h * s.width + at.w;
        dpt_wide<T> sum = 0;
        for (int i = h.begin; i < h.end; i++)
            for (int j = w.begin; j < w.end; j++) {
                const size_t p = (size_t)(i * s.out_width + j);
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
        const int w = dpt_take(&rest, (uint32_t)s.width), h = dpt_take(&rest, (uint32_t)s.height),
                  place = h * s.width + w;
        const covering rows_of(s, 0, h, s.out_height), columns_of(s, 1, w, s.out_width);
        const size_t first = (size_t)rest * pooled_plane_of(s) * packs + c;
        dpt_wide<T> sum[N] = {};
        for (int i = rows_of.begin; i < rows_of.end; i++)
            for (int j = columns_of.begin; j < columns_of.end; j++) {
                const size_t from = first + (size_t)(i * s.out_width + j) * packs;
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

/* Channels-last, windows side by side: N channels of a whole window a thread, those cut off by the end of x too. */
template <typename T>
__global__ void __launch_bounds__(THREADS) scatter_tiles_kernel(pool_shape s, dpt_stretch rows, const T *g,
                                                                const int32_t *index, T *x, const dpt_block *block) {
    constexpr int N = dpt_pack<T>::N;
    typedef dpt_pack<T> pack;
    const uint32_t packs = (uint32_t)(s.channels / N);
    const uint32_t down = (uint32_t)((s.height + s.kernel[0] - 1) / s.kernel[0]);
    const uint32_t across = (uint32_t)((s.width + s.kernel[1] - 1) / s.kernel[1]);
    const uint32_t items = dpt_stretch_items(rows, block, down * across * packs);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const size_t c = (size_t)dpt_take(&rest, packs);
        const int j = dpt_take(&rest, across), i = dpt_take(&rest, down);
        dpt_elements<int32_t, N> at;
        pack v = {};
#pragma unroll
        for (int k = 0; k < N; k++) at.v[k] = -1;
        if (i < s.out_height && j < s.out_width) {
            const size_t window = (size_t)rest * pooled_plane_of(s) + (size_t)(i * s.out_width + j);
            at = ((const dpt_elements<int32_t, N> *)index)[window * packs + c];
            v = ((const pack *)g)[window * packs + c];
        }
        pack *to = (pack *)x + (size_t)rest * plane_of(s) * packs + c;
        for (int h = i * s.kernel[0]; h < (i + 1) * s.kernel[0] && h < s.height; h++)
            for (int w = j * s.kernel[1]; w < (j + 1) * s.kernel[1] && w < s.width; w++) {
                const int place = h * s.width + w;
                pack one;
#pragma unroll
                for (int k = 0; k < N; k++) one.v[k] = at.v[k] == place ? v.v[k] : dpt_store<T>(0);
                to[(size_t)place * packs] = one;
            }
    }
}

/* Canonical order, 2x2 windows side by side over an even width: V windows a thread, half ones below them too. */
template <typename T, int V>
__global__ void __launch_bounds__(THREADS) scatter_pairs_kernel(pool_shape s, dpt_stretch rows, const T *g,
                                                                const int32_t *index, T *x, const dpt_block *block) {
    const uint32_t across = (uint32_t)(s.out_width / V), down = (uint32_t)((s.height + 1) / 2);
    const uint32_t items = dpt_stretch_items(rows, block, across * down * (uint32_t)s.channels);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        uint32_t rest = item;
        const int j = dpt_take(&rest, across), i = dpt_take(&rest, down), corner = 2 * (i * s.width + j * V);
        dpt_elements<T, V> v = {};
        dpt_elements<int32_t, V> at;
#pragma unroll
        for (int k = 0; k < V; k++) at.v[k] = -1;
        if (i < s.out_height) {
            const size_t window = (size_t)rest * pooled_plane_of(s) + (size_t)(i * s.out_width + j * V);
            v = *(const dpt_elements<T, V> *)(g + window);
            at = *(const dpt_elements<int32_t, V> *)(index + window);
        }
        T *to = x + (size_t)rest * plane_of(s) + (size_t)corner;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            dpt_elements<T, 2 * V> line;
#pragma unroll
            for (int k = 0; k < 2 * V; k++)
                line.v[k] = at.v[k / 2] == corner + r * s.width + k ? v.v[k / 2] : dpt_store<T>(0);
            if (2 * i + r < s.height) *(dpt_elements<T, 2 * V> *)(to + r * s.width) = line;
        }
    }
}

/* ---- pool_gather: y[n,c,i,j] = x[n,c,index[n,c,i,j]] ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS)
    gather_any_kernel(pool_shape s, dpt_stretch rows, const T *x, const int32_t *index, T *y, const dpt_block *block) {
    const size_t pooled_plane = pooled_plane_of(s);
    const uint32_t items = dpt_stretch_items(rows, block, (uint32_t)(pooled_plane * (size_t)s.channels));
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        const element_place at(item, s.pooled_last, s.channels, s.out_height, s.out_width);
        const size_t n = (size_t)at.n, c = (size_t)at.c, p = (size_t)(at.h * s.out_width + at.w);
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

/* The operands of a call: x of the large size, pooled and index of the small one. */
struct pool_operands {
    const dpt_operand *x, *pooled, *index;
};

static pool_shape shape_of(const dpt_call *call, pool_operands o) {
    const dpt_conv_attr *a = &call->attr.conv;
    pool_shape s = {};
    s.channels = (int)o.x->dim[1];
    s.height = (int)o.x->dim[2], s.width = (int)o.x->dim[3];
    s.out_height = (int)o.pooled->dim[2], s.out_width = (int)o.pooled->dim[3];
    for (int i = 0; i < 2; i++) {
        s.kernel[i] = (int)a->kernel[i];
        s.stride[i] = (int)a->stride[i];
        s.pad[i] = (int)a->pad[i];
    }
    const bool one = s.out_height * s.out_width == 1; /* the same bytes in both layouts */
    s.x_last = o.x->layout == DPT_LAYOUT_CHANNELS_LAST;
    s.pooled_last = one ? s.x_last : o.pooled->layout == DPT_LAYOUT_CHANNELS_LAST;
    s.index_last = one ? s.x_last : o.index->layout == DPT_LAYOUT_CHANNELS_LAST;
    return s;
}

static dpt_status check(const dpt_call *call, pool_operands o) {
    const dpt_operand *all[] = {o.x, o.pooled, o.index};
    for (int i = 0; i < 3; i++)
        DPT_CHECK(all[i]->layout == DPT_LAYOUT_CANONICAL || all[i]->layout == DPT_LAYOUT_CHANNELS_LAST,
                  DPT_ERR_INTERNAL, "pooling \"%s\": layout %d is not one of the GPU's", call->name,
                  (int)all[i]->layout);
    DPT_CHECK(o.x->count / o.x->dim[0] < INT32_MAX, DPT_ERR_UNSUPPORTED,
              "pooling \"%s\": a sample of %lld channels of %lldx%lld has more than 2^31 elements", call->name,
              (long long)o.x->dim[1], (long long)o.x->dim[2], (long long)o.x->dim[3]);
    return DPT_OK;
}

/* Windows side by side that begin at the edge of x. */
static bool is_tiled(const pool_shape &s) {
    return s.stride[0] == s.kernel[0] && s.stride[1] == s.kernel[1] && s.pad[0] == 0 && s.pad[1] == 0;
}

static bool is_square_tile(const pool_shape &s, int size) {
    return is_tiled(s) && s.kernel[0] == size && s.kernel[1] == size;
}

/* Every operand channels-last, in whole packs. */
template <typename T>
static bool is_packed(const pool_shape &s) {
    return s.x_last && s.pooled_last && s.index_last && s.channels % dpt_pack<T>::N == 0;
}

/* Every operand in canonical order, pairs of columns over the whole width. */
static bool is_paired(const pool_shape &s) {
    return !s.x_last && !s.pooled_last && !s.index_last && is_square_tile(s, 2) && s.width % 2 == 0;
}

/* Launches a kernel over (shape, rows, from, also, to, block), whose pointers begin at the stretch's first row. */
#define POOL_LAUNCH(kernel, each, a, a_row, b, b_row, c, c_row)                                               \
    dpt_each_stretch(o.x->dim[0], o.x->axis, (each), [&](dpt_stretch rows, int64_t items) {                   \
        return DPT_LAUNCH((kernel), dpt_blocks_for(call, items, THREADS), THREADS, 0, stream, s, rows,        \
                          (a) + rows.first * (a_row), (b) + rows.first * (b_row), (c) + rows.first * (c_row), \
                          call->block);                                                                       \
    })

template <typename T>
static dpt_status max_pool(const dpt_call *call, dpt_stream *stream) {
    const pool_operands o = {&call->in[0], &call->out[0], &call->out[1]};
    const pool_shape s = shape_of(call, o);
    const int64_t large = (int64_t)s.channels * s.height * s.width;
    const int64_t small = (int64_t)s.channels * s.out_height * s.out_width;
    const T *x = (const T *)o.x->data;
    T *y = (T *)o.pooled->data;
    int32_t *index = (int32_t *)o.index->data;
    if (is_packed<T>(s) && is_square_tile(s, 2))
        return POOL_LAUNCH((pool_last_kernel<T, 2>), small / dpt_pack<T>::N, x, large, y, small, index, small);
    if (is_packed<T>(s))
        return POOL_LAUNCH((pool_last_kernel<T, 0>), small / dpt_pack<T>::N, x, large, y, small, index, small);
    if (is_paired(s) && s.out_width % 4 == 0)
        return POOL_LAUNCH((pool_pairs_kernel<T, 4>), small / 4, x, large, y, small, index, small);
    if (is_paired(s) && s.out_width % 2 == 0)
        return POOL_LAUNCH((pool_pairs_kernel<T, 2>), small / 2, x, large, y, small, index, small);
    if (is_paired(s)) return POOL_LAUNCH((pool_pairs_kernel<T, 1>), small, x, large, y, small, index, small);
    return POOL_LAUNCH((pool_any_kernel<T>), small, x, large, y, small, index, small);
}

template <typename T>
static dpt_status pool_scatter(const dpt_call *call, dpt_stream *stream) {
    const pool_operands o = {&call->out[0], &call->in[0], &call->in[1]};
    const pool_shape s = shape_of(call, o);
    const int64_t large = (int64_t)s.channels * s.height * s.width;
    const int64_t small = (int64_t)s.channels * s.out_height * s.out_width;
    const T *g = (const T *)o.pooled->data;
    const int32_t *index = (const int32_t *)o.index->data;
    T *x = (T *)o.x->data;
    if (is_packed<T>(s) && is_tiled(s)) {
        const int64_t tiles = (int64_t)((s.height + s.kernel[0] - 1) / s.kernel[0]) *
                              ((s.width + s.kernel[1] - 1) / s.kernel[1]) * s.channels;
        return POOL_LAUNCH((scatter_tiles_kernel<T>), tiles / dpt_pack<T>::N, g, small, index, small, x, large);
    }
    if (is_packed<T>(s))
        return POOL_LAUNCH((scatter_last_kernel<T>), large / dpt_pack<T>::N, g, small, index, small, x, large);
    const int64_t pairs = (int64_t)s.channels * ((s.height + 1) / 2) * s.out_width;
    if (is_paired(s) && s.out_width % 4 == 0)
        return POOL_LAUNCH((scatter_pairs_kernel<T, 4>), pairs / 4, g, small, index, small, x, large);
    if (is_paired(s) && s.out_width % 2 == 0)
        return POOL_LAUNCH((scatter_pairs_kernel<T, 2>), pairs / 2, g, small, index, small, x, large);
    if (is_paired(s)) return POOL_LAUNCH((scatter_pairs_kernel<T, 1>), pairs, g, small, index, small, x, large);
    return POOL_LAUNCH((scatter_any_kernel<T>), large, g, small, index, small, x, large);
}

template <typename T>
static dpt_status pool_gather(const dpt_call *call, dpt_stream *stream) {
    const pool_operands o = {&call->in[0], &call->out[0], &call->in[1]};
    const pool_shape s = shape_of(call, o);
    const int64_t large = (int64_t)s.channels * s.height * s.width;
    const int64_t small = (int64_t)s.channels * s.out_height * s.out_width;
    const T *x = (const T *)o.x->data;
    const int32_t *index = (const int32_t *)o.index->data;
    T *y = (T *)o.pooled->data;
    if (is_packed<T>(s))
        return POOL_LAUNCH((gather_last_kernel<T>), small / dpt_pack<T>::N, x, large, index, small, y, small);
    return POOL_LAUNCH((gather_any_kernel<T>), small, x, large, index, small, y, small);
}

/* ---- kernels of the table ---- */

static dpt_status max_pool_prepare(dpt_call *call) { return check(call, {&call->in[0], &call->out[0], &call->out[1]}); }
static dpt_status max_pool_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return max_pool<T>(call, stream));
    return DPT_OK;
}

static dpt_status pool_scatter_prepare(dpt_call *call) {
    return check(call, {&call->out[0], &call->in[0], &call->in[1]});
}
static dpt_status pool_scatter_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return pool_scatter<T>(call, stream));
    return DPT_OK;
}

static dpt_status pool_gather_prepare(dpt_call *call) {
    return check(call, {&call->in[0], &call->out[0], &call->in[1]});
}
static dpt_status pool_gather_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->in[0].dtype, T, return pool_gather<T>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(max_pool, max_pool_prepare, NULL, max_pool_run, NULL, dpt_cuda_pool_layouts)
DPT_CUDA_KERNEL_LAYOUTS(pool_scatter, pool_scatter_prepare, NULL, pool_scatter_run, NULL, dpt_cuda_pool_layouts)
DPT_CUDA_KERNEL_LAYOUTS(pool_gather, pool_gather_prepare, NULL, pool_gather_run, NULL, dpt_cuda_pool_layouts)
