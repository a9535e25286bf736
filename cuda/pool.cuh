/* pool.cuh: what the kernels of pool.cu and pool_move.cu share: sizes, addresses and windows of planes [D,H,W], in
 * canonical order or channels last. Missing leading dimensions are 1. */
#ifndef DPT_CUDA_POOL_CUH
#define DPT_CUDA_POOL_CUH

#include "cuda/layouts.h"
#include "cuda/stretch.cuh"

enum { DPT_POOL_THREADS = 256 };

struct pool_shape {
    int channels, in[3], out[3];
    int kernel[3], stride[3], pad[3];     /* kernel 0: adaptive */
    bool x_last, pooled_last, index_last; /* channels-last, by operand */
};

/* ---- addresses ---- */

__device__ __forceinline__ size_t plane_of(const pool_shape &s) {
    return (size_t)s.in[0] * (size_t)s.in[1] * (size_t)s.in[2];
}
__device__ __forceinline__ size_t pooled_plane_of(const pool_shape &s) {
    return (size_t)s.out[0] * (size_t)s.out[1] * (size_t)s.out[2];
}
__device__ __forceinline__ int offset_of(const int size[3], int d, int h, int w) {
    return (d * size[1] + h) * size[2] + w;
}

/* Element (n, c, p) of a tensor of planes [plane]. */
__device__ __forceinline__ size_t element_of(bool last, int channels, size_t plane, size_t n, size_t c, size_t p) {
    return last ? (n * plane + p) * (size_t)channels + c : (n * (size_t)channels + c) * plane + p;
}

/* An element in the order in which its tensor lies in memory. */
struct element_place {
    int n, c, d, h, w;
    __device__ element_place(uint32_t item, bool last, int channels, const int size[3]) {
        if (last) c = dpt_take(&item, (uint32_t)channels);
        w = dpt_take(&item, (uint32_t)size[2]);
        h = dpt_take(&item, (uint32_t)size[1]);
        d = dpt_take(&item, (uint32_t)size[0]);
        if (!last) c = dpt_take(&item, (uint32_t)channels);
        n = (int)item;
    }
};

/* The part of window number i that lies inside dimension d. */
struct window_part {
    int begin, end;
    __device__ window_part(const pool_shape &s, int d, int i) {
        if (s.kernel[d] == 0) {
            begin = (int)((int64_t)i * s.in[d] / s.out[d]);
            end = (int)(((int64_t)(i + 1) * s.in[d] + s.out[d] - 1) / s.out[d]);
            return;
        }
        begin = i * s.stride[d] - s.pad[d];
        end = begin + s.kernel[d] < s.in[d] ? begin + s.kernel[d] : s.in[d];
        begin = begin < 0 ? 0 : begin;
    }
};

/* The windows [begin, end) of dimension d that cover its element number `at`. */
struct covering {
    int begin, end;
    __device__ covering(const pool_shape &s, int d, int at) {
        if (s.kernel[d] == 0) {
            begin = (int)((int64_t)at * s.out[d] / s.in[d]);
            end = (int)(((int64_t)(at + 1) * s.out[d] + s.in[d] - 1) / s.in[d]);
            return;
        }
        const int room = at + s.pad[d] - s.kernel[d];
        begin = room < 0 ? 0 : room / s.stride[d] + 1;
        end = (at + s.pad[d]) / s.stride[d] + 1;
        end = end < s.out[d] ? end : s.out[d];
    }
};

/* ---- launches ---- */

/* The operands of a call: x of the large size, pooled and index of the small one. */
struct pool_operands {
    const dpt_operand *x, *pooled, *index;
};

static inline pool_shape pool_shape_of(const dpt_call *call, pool_operands o) {
    const dpt_pool_attr *a = &call->attr.pool;
    pool_shape s = {};
    s.channels = (int)o.x->dim[1];
    for (int i = 0; i < 3; i++) {
        s.in[i] = (int)a->in[i], s.out[i] = (int)a->out[i];
        s.kernel[i] = (int)a->kernel[i], s.stride[i] = (int)a->stride[i], s.pad[i] = (int)a->pad[i];
    }
    const bool one = dpt_spatial_of(o.pooled) == 1; /* the same bytes in both layouts */
    s.x_last = o.x->layout == DPT_LAYOUT_CHANNELS_LAST;
    s.pooled_last = one ? s.x_last : o.pooled->layout == DPT_LAYOUT_CHANNELS_LAST;
    s.index_last = one ? s.x_last : o.index->layout == DPT_LAYOUT_CHANNELS_LAST;
    return s;
}

static inline dpt_status pool_check(const dpt_call *call, pool_operands o) {
    const dpt_operand *all[] = {o.x, o.pooled, o.index};
    for (int i = 0; i < 3; i++)
        DPT_CHECK(all[i]->layout == DPT_LAYOUT_CANONICAL || all[i]->layout == DPT_LAYOUT_CHANNELS_LAST,
                  DPT_ERR_INTERNAL, "pooling \"%s\": layout %d is not one of the GPU's", call->name,
                  (int)all[i]->layout);
    DPT_CHECK(o.x->count / o.x->dim[0] < INT32_MAX && o.pooled->count / o.pooled->dim[0] < INT32_MAX, DPT_ERR_UNSUPPORTED,
              "pooling \"%s\": a sample of %lld channels of %lld elements has more than 2^31 elements", call->name,
              (long long)o.x->dim[1], (long long)dpt_spatial_of(o.x));
    return DPT_OK;
}

static inline int64_t pool_product(const int size[3]) { return (int64_t)size[0] * size[1] * size[2]; }

/* Windows side by side that begin at the edge of x. */
static inline bool is_tiled(const pool_shape &s) {
    for (int d = 0; d < 3; d++)
        if (s.kernel[d] == 0 || s.stride[d] != s.kernel[d] || s.pad[d] != 0) return false;
    return true;
}

/* Windows of deep x 2 x 2 side by side, none of them cut off by the end of x. */
static inline bool is_pair_tile(const pool_shape &s, int deep) {
    for (int d = 0; d < 3; d++)
        if (s.out[d] * s.kernel[d] > s.in[d]) return false;
    return is_tiled(s) && s.kernel[0] == deep && s.kernel[1] == 2 && s.kernel[2] == 2;
}

/* Every operand channels-last, in whole packs. */
template <typename T>
static inline bool is_packed(const pool_shape &s) {
    return s.x_last && s.pooled_last && s.index_last && s.channels % dpt_pack<T>::N == 0;
}

/* Every operand in canonical order, pairs of columns over the whole width. */
static inline bool is_paired(const pool_shape &s, int deep) {
    return !s.x_last && !s.pooled_last && !s.index_last && is_pair_tile(s, deep) && s.in[2] % 2 == 0;
}

/* Launches a kernel over (shape, rows, a, b, c, block), whose pointers begin at the stretch's first row. */
#define POOL_LAUNCH(kernel, each, a, a_row, b, b_row, c, c_row)                                                     \
    dpt_each_stretch(o.x->dim[0], o.x->axis, (each), [&](dpt_stretch rows, int64_t items) {                         \
        return DPT_LAUNCH((kernel), dpt_blocks_for(call, items, DPT_POOL_THREADS), DPT_POOL_THREADS, 0, stream, s,  \
                          rows, (a) + rows.first * (a_row), (b) + rows.first * (b_row), (c) + rows.first * (c_row), \
                          call->block);                                                                             \
    })

#endif
