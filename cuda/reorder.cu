/* reorder.cu: the same values in another layout (backend/layout.h). Twin of src/ops/reorder.c.
 *
 * Between canonical [C, S] and channels-last [S, C] each row of the batch is a matrix that is transposed: a block takes
 * a tile of 64 x 64 elements through shared memory, so that both sides are read and written along their rows, several
 * elements at once where the row length allows. A matrix with a side of at most 8 needs no tile: a thread takes the
 * elements across it, neighbours being neighbours along the other side. Blocked layouts, which no kernel here asks for,
 * go element by element. Elements are moved by their size, so any type does. */
#include "backend/layout.h"
#include "cuda/number.cuh"

enum { TILE = 64, THREADS = 256, NARROW = 8 };

/* V elements that one thread moves at once. */
template <typename T, int V>
struct alignas(sizeof(T) * V) bundle {
    T v[V];
};

/* to[b][q][r] = from[b][r][q], r < height, q < width, for the valid rows b. The shared tile is one element wider than
 * it needs to be, two for elements of 2 bytes, so that its columns spread over the banks. */
template <typename T, int V>
__global__ void __launch_bounds__(THREADS)
    transpose(const T *from, T *to, const dpt_block *block, int axis, int64_t height, int64_t width) {
    __shared__ T tile[TILE][TILE + (sizeof(T) < 4 ? 4 / sizeof(T) : 1)];
    const int64_t down = (height + TILE - 1) / TILE, across = (width + TILE - 1) / TILE;
    const int64_t item = blockIdx.x;
    const bool wide_in = width % V == 0, wide_out = height % V == 0;
    const int slot = (int)threadIdx.x;
    if (item >= dpt_rows(block, axis) * down * across) return; /* the whole block: padding */
    const int64_t base = item / (down * across) * height * width;
    const int64_t r0 = item / across % down * TILE, q0 = item % across * TILE;
    const int step_in = wide_in ? V : 1, step_out = wide_out ? V : 1;
    for (int i = slot; i < TILE * (TILE / step_in); i += THREADS) {
        const int r = i / (TILE / step_in), q = i % (TILE / step_in) * step_in;
        if (r0 + r >= height || q0 + q >= width) continue;
        const T *at = from + base + (r0 + r) * width + q0 + q;
        if (wide_in) {
            const bundle<T, V> b = *(const bundle<T, V> *)at;
#pragma unroll
            for (int k = 0; k < V; k++) tile[r][q + k] = b.v[k];
        } else {
            tile[r][q] = *at;
        }
    }
    __syncthreads();
    for (int i = slot; i < TILE * (TILE / step_out); i += THREADS) {
        const int q = i / (TILE / step_out), r = i % (TILE / step_out) * step_out;
        if (r0 + r >= height || q0 + q >= width) continue;
        T *at = to + base + (q0 + q) * height + r0 + r;
        if (wide_out) {
            bundle<T, V> b;
#pragma unroll
            for (int k = 0; k < V; k++) b.v[k] = tile[r + k][q];
            *(bundle<T, V> *)at = b;
        } else {
            *at = tile[r][q];
        }
    }
}

/* The same where `height` or `width` is at most NARROW: `length` is the other one. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    transpose_narrow(const T *from, T *to, const dpt_block *block, int axis, int64_t height, int64_t width) {
    const bool flat = height <= NARROW;
    const int64_t length = flat ? width : height, items = dpt_rows(block, axis) * length;
    const int64_t from_long = flat ? 1 : width, from_short = flat ? width : 1;
    const int64_t to_long = flat ? height : 1, to_short = flat ? 1 : height;
    const int n = (int)(flat ? height : width);
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < items; i += (int64_t)gridDim.x * THREADS) {
        const int64_t base = i / length * height * width, at = i % length;
        for (int k = 0; k < n; k++)
            to[base + at * to_long + k * to_short] = from[base + at * from_long + k * from_short];
    }
}

/* Any pair of layouts, an element a thread: position i of `to` is read from its place in `from`. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    reorder_any(const T *from, T *to, const dpt_block *block, int axis, int64_t channels, int64_t spatial,
                int64_t from_lanes, int64_t to_lanes) {
    const int64_t row_count = channels * spatial, items = dpt_rows(block, axis) * row_count;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < items; i += (int64_t)gridDim.x * THREADS) {
        const int64_t in_row = i % row_count, in_block = in_row % (spatial * to_lanes);
        const int64_t p = in_block / to_lanes, c = in_row / (spatial * to_lanes) * to_lanes + in_block % to_lanes;
        to[i] = from[i - in_row + c / from_lanes * spatial * from_lanes + p * from_lanes + c % from_lanes];
    }
}

template <typename T, int V>
static dpt_status run_transpose(const dpt_call *call, dpt_stream *stream, int64_t height, int64_t width) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const T *from = (const T *)x->data;
    T *to = (T *)y->data;
    const int64_t rows = x->dim[0];
    if (height <= NARROW || width <= NARROW) {
        const int64_t length = height <= NARROW ? width : height;
        return DPT_LAUNCH(transpose_narrow<T>, dpt_blocks_for(call, rows * length, THREADS), THREADS, 0, stream, from,
                          to, call->block, x->axis, height, width);
    }
    const int64_t items = rows * ((height + TILE - 1) / TILE) * ((width + TILE - 1) / TILE);
    return DPT_LAUNCH((transpose<T, V>), (unsigned)items, THREADS, 0, stream, from, to, call->block, x->axis, height,
                      width);
}

/* V: elements of at most 8 bytes together, 16 where an element has 4 or more: wider ones would meet in the banks. */
template <typename T, int V>
static dpt_status run_of(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const int64_t channels = dpt_channels_of(x), spatial = dpt_spatial_of(x);
    if (x->layout == DPT_LAYOUT_CANONICAL && y->layout == DPT_LAYOUT_CHANNELS_LAST)
        return run_transpose<T, V>(call, stream, channels, spatial);
    if (x->layout == DPT_LAYOUT_CHANNELS_LAST && y->layout == DPT_LAYOUT_CANONICAL)
        return run_transpose<T, V>(call, stream, spatial, channels);
    return DPT_LAUNCH(reorder_any<T>, dpt_blocks_for(call, x->count, THREADS), THREADS, 0, stream, (const T *)x->data,
                      (T *)y->data, call->block, x->axis, channels, spatial, dpt_layout_lanes(x->layout, channels),
                      dpt_layout_lanes(y->layout, channels));
}

static dpt_status reorder_run(dpt_call *call, dpt_stream *stream) {
    switch (dpt_dtype_size(call->in[0].dtype)) {
        case 1: return run_of<uint8_t, 4>(call, stream);
        case 2: return run_of<uint16_t, 4>(call, stream);
        case 4: return run_of<uint32_t, 4>(call, stream);
        default: return run_of<uint64_t, 2>(call, stream);
    }
}

DPT_CUDA_KERNEL_LAYOUTS(reorder, NULL, NULL, reorder_run, NULL, dpt_layouts_of_reorder)
