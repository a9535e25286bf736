/* gather.cu: elements by index along one axis, and the sum that is its gradient. Twin of src/ops/gather.c; ops/gather.h
 * says what stands where.
 *
 * gather moves elements by their size, 16 bytes at once where lines allow. scatter_add has no atomics: a warp owns one
 * target and 256 of its columns, a block eight targets; the block reads the indices in stretches, and each warp adds
 * the lines that are its own in the order of the indices, so that sums have one order. */
#include "cuda/map.cuh"
#include "ops/gather.h"

enum { THREADS = 256, WARPS = THREADS / 32, COLUMNS = 8 /* of a lane */ };

namespace {

/* Indices of any of their types. */
struct indices {
    const void *data;
    dpt_dtype dtype;
    __device__ __forceinline__ int64_t operator[](int64_t i) const {
        if (dtype == DPT_I64) return ((const int64_t *)data)[i];
        return dtype == DPT_I32 ? (int64_t)((const int32_t *)data)[i] : (int64_t)((const uint8_t *)data)[i];
    }
};

/* The walk on the device; axis: the batch axis of what is walked. */
struct walk {
    dpt_gather_shape s;
    dpt_divisor outer, count, line; /* line: of units of T in a line */
    int axis;
};

/* y[r,o,i,k] = x[r,o,index[r,i],k]; T: what a thread moves at once, s.inner of them in a line. */
template <typename T, typename E>
__global__ void __launch_bounds__(THREADS)
    gather_kernel(const T *x, T *y, indices index, const __grid_constant__ walk w, double missing,
                  const dpt_block *block) {
    constexpr int N = (int)(sizeof(T) / sizeof(E));
    const dpt_gather_shape &s = w.s;
    const int64_t items = dpt_rows(block, w.axis) * s.outer * s.count * s.inner;
    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < items; at += (int64_t)gridDim.x * THREADS) {
        const int64_t u = dpt_divide(at, w.line), k = at - u * s.inner;
        const int64_t ro = dpt_divide(u, w.count), i = u - ro * s.count;
        const int64_t r = dpt_divide(ro, w.outer), o = ro - r * s.outer;
        const int64_t v = index[r * s.index_row + i];
        if (v >= 0 && v < s.size) {
            y[at] = x[r * s.x_row + (o * s.size + v) * s.inner + k];
        } else {
            dpt_elements<E, N> none;
#pragma unroll
            for (int j = 0; j < N; j++) none.v[j] = dpt_store<E>((dpt_wide<E>)missing);
            ((dpt_elements<E, N> *)y)[at] = none;
        }
    }
}

/* x[r,o,v,k] = sum over i with index[r,i] = v of g[r,o,i,k], over r too where x has no rows. Block (row, outer, eight
 * targets; 256 columns). */
template <typename T, typename S>
__global__ void __launch_bounds__(THREADS)
    scatter_kernel(const T *g, S *x, indices index, const __grid_constant__ walk w, int g_axis,
                   const dpt_block *block) {
    __shared__ signed char target[THREADS]; /* of eight; -1: another's */
    typedef dpt_wide<S> W;
    const dpt_gather_shape &s = w.s;
    const int64_t groups = (s.size + WARPS - 1) / WARPS, unit = blockIdx.x;
    const int64_t row = unit / groups / s.outer, o = unit / groups % s.outer, first = unit % groups * WARPS;
    if (row >= dpt_rows(block, w.axis)) return; /* the whole block: padding */
    const bool over_rows = s.x_row == 0 && s.y_row > 0;
    const int64_t positions = (over_rows ? dpt_rows(block, g_axis) : 1) * s.count;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int64_t column = (int64_t)blockIdx.y * 32 * COLUMNS + lane;
    W sum[COLUMNS] = {};
    for (int64_t base = 0; base < positions; base += THREADS) {
        const int64_t p = base + threadIdx.x;
        int64_t v = -1;
        if (p < positions) {
            const int64_t r = over_rows ? p / s.count : row, i = over_rows ? p - r * s.count : p;
            v = index[r * s.index_row + i] - first;
            if (v >= WARPS || v >= s.size - first) v = -1;
        }
        target[threadIdx.x] = (signed char)(v < 0 ? -1 : v);
        __syncthreads();
        for (int k = 0; k < THREADS; k += 32) {
            unsigned mine = __ballot_sync(0xffffffffU, target[k + lane] == warp);
            while (mine) {
                const int64_t q = base + k + __ffs((int)mine) - 1;
                const int64_t r = over_rows ? q / s.count : row, i = over_rows ? q - r * s.count : q;
                const T *from = g + r * s.y_row + (o * s.count + i) * s.inner;
#pragma unroll
                for (int j = 0; j < COLUMNS; j++)
                    if (column + 32 * j < s.inner) sum[j] += (W)dpt_load(from[column + 32 * j]);
                mine &= mine - 1;
            }
        }
        __syncthreads();
    }
    if (first + warp >= s.size) return;
    S *to = x + row * s.x_row + (o * s.size + first + warp) * s.inner;
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
        if (column + 32 * j < s.inner) to[column + 32 * j] = dpt_store<S>(sum[j]);
}

}  // namespace

/* x: what is gathered from, or added to; y: the other one; n elements move at once. */
static walk walk_of(const dpt_call *call, const dpt_operand *x, const dpt_operand *y, int64_t n) {
    walk w = {};
    w.s = dpt_gather_shape_of(x, y, &call->in[1], call->attr.gather.axis);
    w.s.inner /= n;
    w.s.x_row /= n;
    w.s.y_row /= n;
    w.outer = dpt_divisor_of(w.s.outer);
    w.count = dpt_divisor_of(w.s.count);
    w.line = dpt_divisor_of(w.s.inner);
    return w;
}

template <typename E>
static dpt_status gather_of(const dpt_call *call, dpt_stream *stream) {
    constexpr int N = 16 / (int)sizeof(E);
    typedef dpt_elements<E, N> pack;
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const indices index = {call->in[1].data, call->in[1].dtype};
    const double missing = call->attr.gather.missing;
    walk w = walk_of(call, x, y, 1);
    const bool packs = dpt_in_packs(x->data, w.s.inner, x->dtype);
    if (packs) w = walk_of(call, x, y, N);
    w.axis = y->axis;
    const unsigned blocks = dpt_blocks_for(call, packs ? y->count / N : y->count, THREADS);
    if (packs)
        return DPT_LAUNCH((gather_kernel<pack, E>), blocks, THREADS, 0, stream, (const pack *)x->data, (pack *)y->data,
                          index, w, missing, call->block);
    return DPT_LAUNCH((gather_kernel<E, E>), blocks, THREADS, 0, stream, (const E *)x->data, (E *)y->data, index, w,
                      missing, call->block);
}

static dpt_status gather_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->out[0].dtype, T, return gather_of<T>(call, stream));
    return DPT_OK;
}

template <typename T, typename S>
static dpt_status scatter_of(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *g = &call->in[0], *x = &call->out[0];
    const indices index = {call->in[1].data, call->in[1].dtype};
    walk w = walk_of(call, x, g, 1);
    w.axis = x->axis;
    const int64_t rows = x->axis >= 0 ? x->dim[0] : 1, groups = (w.s.size + WARPS - 1) / WARPS;
    const int64_t columns = (w.s.inner + 32 * COLUMNS - 1) / (32 * COLUMNS);
    const dim3 grid((unsigned)(rows * w.s.outer * groups), (unsigned)columns);
    return DPT_LAUNCH((scatter_kernel<T, S>), grid, THREADS, 0, stream, (const T *)g->data, (S *)x->data, index, w,
                      g->axis, call->block);
}

static dpt_status scatter_add_run(dpt_call *call, dpt_stream *stream) {
    const dpt_dtype from = call->in[0].dtype;
    if (from == call->out[0].dtype) DPT_FOR_FLOAT(from, T, return (scatter_of<T, T>(call, stream)));
    if (from == DPT_BF16) return scatter_of<__nv_bfloat16, float>(call, stream);
    return scatter_of<__half, float>(call, stream);
}

DPT_CUDA_KERNEL(gather, NULL, NULL, gather_run, NULL)
DPT_CUDA_KERNEL(scatter_add, NULL, NULL, scatter_add_run, NULL)
