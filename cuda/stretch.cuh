/* stretch.cuh: kernels over the rows of a batch, an item a thread: rows are taken in stretches, a launch each, so long
 * that items can be counted in 31 bits and divided as 32-bit numbers; nearly always one launch does. */
#ifndef DPT_CUDA_STRETCH_CUH
#define DPT_CUDA_STRETCH_CUH

#include "cuda/launch.h"
#include "cuda/number.cuh"

/* Rows [first, first + count) of a batch of `capacity` rows, of batch axis `axis` (-1: none, all are valid). */
struct dpt_stretch {
    int64_t first, count, capacity;
    int axis;
};

/* N elements that are moved at once. */
template <typename T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) dpt_elements {
    T v[N];
};

/* Items of the stretch's valid rows, at `each` a row. */
__device__ __forceinline__ uint32_t dpt_stretch_items(dpt_stretch rows, const dpt_block *block, uint32_t each) {
    int64_t valid = (rows.axis < 0 ? rows.capacity : block->rows[rows.axis]) - rows.first;
    valid = valid < 0 ? 0 : valid < rows.count ? valid : rows.count;
    return (uint32_t)valid * each;
}

/* for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) */
__device__ __forceinline__ uint32_t dpt_first_item() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ uint32_t dpt_item_step() { return gridDim.x * blockDim.x; }

/* Coordinates of an item, the fastest one first: takes `size` off what is left. */
__device__ __forceinline__ int dpt_take(uint32_t *item, uint32_t size) {
    const uint32_t rest = *item / size, at = *item - rest * size;
    *item = rest;
    return (int)at;
}

/* Calls run(stretch, items) for every stretch of a batch, at `each` items a row, 1 to INT32_MAX. */
template <typename Run>
static dpt_status dpt_each_stretch(int64_t capacity, int axis, int64_t each, const Run &run) {
    const int64_t most = (int64_t)INT32_MAX / each;
    for (int64_t first = 0; first < capacity; first += most) {
        const int64_t left = capacity - first;
        const dpt_stretch rows = {first, left < most ? left : most, capacity, axis};
        DPT_TRY(run(rows, rows.count * each));
    }
    return DPT_OK;
}

#endif
