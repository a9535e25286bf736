/* arrange.cu: transpose, concat, slice, pad on the GPU. Twin of src/ops/arrange.c: the same boxes (ops/box.h), a launch
 * each. Elements are moved by their size, 16 bytes at once where all steps of a box allow; where source and target run
 * along different dimensions, a block turns tiles of 32 x 32 over in shared memory. Only valid rows are copied. */
#include "cuda/layouts.h"
#include "cuda/map.cuh"
#include "ops/box.h"

enum { THREADS = 256, TILE = 32, LINES = THREADS / TILE };

namespace {

/* A box on the device. Without a source the fill is stored. */
struct box_walk {
    int64_t from, to;
    int64_t per_row; /* elements of a valid row */
    int axis;
    dpt_coordinates<2> at;
};

/* to[..] = from[..], elements of T in the order of the box. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    copy_kernel(const T *from, T *to, T fill, const __grid_constant__ box_walk w, const dpt_block *block) {
    const int64_t items = dpt_count(block, w.axis, w.per_row), step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < items; i += step) {
        const T v = from ? from[w.from + dpt_offset(w.at, 0, i)] : fill;
        to[w.to + dpt_offset(w.at, 1, i)] = v;
    }
}

/* Matrices whose lines run along the source, as tiles: element (a, b) of matrix i is at from + offset(i) + a + b fb and
 * at to + offset(i) + a ta + b. w.at: the matrices. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    turn_kernel(const T *from, T *to, const __grid_constant__ box_walk w, int64_t m, int64_t ta, int64_t n, int64_t fb,
                const dpt_block *block) {
    __shared__ T tile[TILE][TILE + 1];
    const int x = (int)threadIdx.x % TILE, y = (int)threadIdx.x / TILE;
    const int64_t across = (m + TILE - 1) / TILE, down = (n + TILE - 1) / TILE;
    const int64_t tiles = dpt_count(block, w.axis, w.per_row) * across * down;
    for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
        const int64_t i = t / (across * down), a = t % across * TILE, b = t / across % down * TILE;
        const T *source = from + w.from + dpt_offset(w.at, 0, i);
        T *target = to + w.to + dpt_offset(w.at, 1, i);
#pragma unroll
        for (int l = y; l < TILE; l += LINES)
            if (b + l < n && a + x < m) tile[l][x] = source[a + x + (b + l) * fb];
        __syncthreads();
#pragma unroll
        for (int l = y; l < TILE; l += LINES)
            if (a + l < m && b + x < n) target[(a + l) * ta + b + x] = tile[x][l];
        __syncthreads();
    }
}

/* Whether all that a box does is by whole packs of n elements. */
bool in_packs(const dpt_box &box, const void *from, const void *to, int64_t n) {
    const int inner = box.loop.ndim - 1;
    bool whole = (uintptr_t)from % 16 == 0 && (uintptr_t)to % 16 == 0 && box.from % n == 0 && box.to % n == 0;
    whole = whole && box.loop.length[inner] % n == 0 && box.loop.step[1][inner] == 1 &&
            (from == NULL || box.loop.step[0][inner] == 1);
    for (int i = 0; i < inner && whole; i++) whole = box.loop.step[0][i] % n == 0 && box.loop.step[1][i] % n == 0;
    return whole;
}

dpt_box packed(dpt_box box, int64_t n) {
    const int inner = box.loop.ndim - 1;
    box.loop.length[inner] /= n;
    for (int i = 0; i < inner; i++) {
        box.loop.step[0][i] /= n;
        box.loop.step[1][i] /= n;
    }
    box.from /= n;
    box.to /= n;
    return box;
}

box_walk walk_of(const dpt_box &box, const dpt_loop &loop, int64_t per_row) {
    box_walk w = {};
    w.from = box.from;
    w.to = box.to;
    w.axis = box.axis;
    w.per_row = per_row;
    w.at = dpt_coordinates_of<2>(&loop);
    return w;
}

/* The dimension, not the rows, along which the source runs, while the target runs along the last; -1: none. */
int turned(const dpt_box &box) {
    const dpt_loop &l = box.loop;
    const int inner = l.ndim - 1;
    if (l.step[0][inner] == 1 || l.step[1][inner] != 1 || l.length[inner] < 4) return -1;
    for (int i = box.axis >= 0 ? 1 : 0; i < inner; i++)
        if (l.step[0][i] == 1 && l.length[i] >= 4) return i;
    return -1;
}

template <typename T>
dpt_status turn(const dpt_call *call, dpt_stream *stream, const dpt_box &box, int along, const T *from, T *to) {
    const dpt_loop &l = box.loop;
    const int inner = l.ndim - 1;
    dpt_loop rest = {};
    rest.operands = 2;
    for (int i = 0; i < inner; i++) {
        if (i == along) continue;
        rest.length[rest.ndim] = l.length[i];
        for (int k = 0; k < 2; k++) rest.step[k][rest.ndim] = l.step[k][i];
        rest.ndim++;
    }
    int64_t matrices = 1;
    for (int i = 0; i < rest.ndim; i++) matrices *= rest.length[i];
    const int64_t m = l.length[along], n = l.length[inner], rows = box.axis < 0 ? 1 : call->out[0].dim[0];
    const int64_t tiles = rows * matrices * ((m + TILE - 1) / TILE) * ((n + TILE - 1) / TILE);
    return DPT_LAUNCH(turn_kernel<T>, dpt_blocks_for(call, tiles * THREADS, THREADS), THREADS, 0, stream, from, to,
                      walk_of(box, rest, matrices), m, l.step[1][along], n, l.step[0][inner], call->block);
}

/* U: of 16 bytes. */
template <typename T>
dpt_status copy_box(const dpt_call *call, dpt_stream *stream, const dpt_box &box, const T *from, T *to, uint64_t bits) {
    constexpr int N = 16 / (int)sizeof(T);
    typedef dpt_elements<T, N> pack;
    const int64_t per_row = dpt_box_count(&box, box.loop.ndim), rows = box.axis < 0 ? 1 : call->out[0].dim[0];
    if (in_packs(box, from, to, N)) {
        const dpt_box whole = packed(box, N);
        pack fill;
        for (int j = 0; j < N; j++) fill.v[j] = (T)bits;
        return DPT_LAUNCH(copy_kernel<pack>, dpt_blocks_for(call, rows * per_row / N, THREADS), THREADS, 0, stream,
                          (const pack *)from, (pack *)to, fill, walk_of(whole, whole.loop, per_row / N), call->block);
    }
    const int along = from ? turned(box) : -1;
    if (along >= 0) return turn<T>(call, stream, box, along, from, to);
    return DPT_LAUNCH(copy_kernel<T>, dpt_blocks_for(call, rows * per_row, THREADS), THREADS, 0, stream, from, to,
                      (T)bits, walk_of(box, box.loop, per_row), call->block);
}

typedef int (*boxes_fn)(const dpt_call *, dpt_box *, int *);

template <typename T>
dpt_status run_boxes(const dpt_call *call, dpt_stream *stream, boxes_fn boxes_of) {
    dpt_box box[DPT_BOXES];
    int source[DPT_BOXES];
    const int n = boxes_of(call, box, source);
    for (int k = 0; k < n; k++) {
        const T *from = source[k] < 0 ? (const T *)NULL : (const T *)call->in[source[k]].data;
        const uint64_t bits = source[k] < 0 ? dpt_bits_of(call->out[0].dtype, call->attr.pad.value) : 0;
        DPT_TRY(copy_box<T>(call, stream, box[k], from, (T *)call->out[0].data, bits));
    }
    return DPT_OK;
}

dpt_status run_by_size(const dpt_call *call, dpt_stream *stream, boxes_fn boxes_of) {
    switch (dpt_dtype_size(call->out[0].dtype)) {
        case 1: return run_boxes<uint8_t>(call, stream, boxes_of);
        case 2: return run_boxes<uint16_t>(call, stream, boxes_of);
        case 4: return run_boxes<uint32_t>(call, stream, boxes_of);
        default: return run_boxes<uint64_t>(call, stream, boxes_of);
    }
}

}  // namespace

#define ARRANGE(name)                                                                \
    static dpt_status name##_run(dpt_call *call, dpt_stream *stream) {               \
        return run_by_size(call, stream, dpt_boxes_of_##name);                       \
    }
#define ARRANGE_IN_LAYOUTS(name)                                                         \
    ARRANGE(name)                                                                        \
    static dpt_status name##_layouts(const dpt_call *call, dpt_layout_choice *choice) {  \
        return dpt_##name##_layouts(call, choice, DPT_LAYOUTS_CHANNELS_LAST);            \
    }                                                                                    \
    DPT_CUDA_KERNEL_LAYOUTS(name, NULL, NULL, name##_run, NULL, name##_layouts)
ARRANGE(transpose)
DPT_CUDA_KERNEL(transpose, NULL, NULL, transpose_run, NULL)
ARRANGE_IN_LAYOUTS(concat)
ARRANGE_IN_LAYOUTS(slice)
ARRANGE_IN_LAYOUTS(pad)
