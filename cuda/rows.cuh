/* rows.cuh: work by rows: a row is a few lanes', a warp's or a block's, and is moved N elements at once: 16 bytes where
 * rows are aligned to that, else one. Invariant: all lanes of a warp make the same number of steps, so that they may
 * exchange values in each. */
#ifndef DPT_CUDA_ROWS_CUH
#define DPT_CUDA_ROWS_CUH

#include <string.h>

#include "cuda/number.cuh"

/* N elements that are loaded and stored at once. */
template <typename T, int N>
struct alignas(N * sizeof(T)) dpt_elements {
    T v[N];
};

/* *to = from in device memory. As an assignment at the end of an unrolled loop nvcc may take the store apart. */
template <typename T, int N>
__device__ __forceinline__ void dpt_elements_store(dpt_elements<T, N> *to, const dpt_elements<T, N> &from) {
    if (sizeof from == sizeof(uint4)) {
        uint4 whole = {};
        memcpy(&whole, &from, sizeof from);
        __stcg((uint4 *)to, whole);
    } else {
        *to = from;
    }
}

/* Whether rows of n elements from p on can be moved in packs. */
static inline bool dpt_in_packs(const void *p, int64_t n, dpt_dtype dtype) {
    return (uintptr_t)p % 16 == 0 && n * (int64_t)dpt_dtype_size(dtype) % 16 == 0;
}

/* LANES neighbouring lanes of a warp work on one row; the warp walks over 32 / LANES rows at a time: while first is
 * below the number of rows, first += step. */
template <int LANES>
struct dpt_row_walk {
    int64_t first, step;
    int lane, within; /* lane within the row; row within the warp's */
    __device__ dpt_row_walk() {
        lane = (int)(threadIdx.x % LANES);
        within = (int)(threadIdx.x % 32) / LANES;
        first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32 * (32 / LANES);
        step = (int64_t)gridDim.x * (blockDim.x / 32) * (32 / LANES);
    }
    __device__ int64_t row() const { return first + within; }
};

template <int LANES, typename W>
__device__ __forceinline__ W dpt_lanes_max(W v) {
#pragma unroll
    for (int o = LANES / 2; o > 0; o /= 2) {
        const W other = __shfl_xor_sync(0xffffffffU, v, o);
        v = other > v ? other : v;
    }
    return v;
}

template <int LANES, typename W>
__device__ __forceinline__ W dpt_lanes_sum(W v) {
#pragma unroll
    for (int o = LANES / 2; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffU, v, o);
    return v;
}

/* One value a row may be of another type than the row: f32 beside bf16 and f16. */
template <typename W>
__device__ W dpt_scalar_read(const void *from, dpt_dtype dtype, int64_t row) {
    switch (dtype) {
        case DPT_F64: return (W)((const double *)from)[row];
        case DPT_BF16: return (W)dpt_load(((const __nv_bfloat16 *)from)[row]);
        case DPT_F16: return (W)dpt_load(((const __half *)from)[row]);
        default: return (W)((const float *)from)[row];
    }
}

template <typename W>
__device__ void dpt_scalar_write(void *to, dpt_dtype dtype, int64_t row, W value) {
    switch (dtype) {
        case DPT_F64: ((double *)to)[row] = (double)value; break;
        case DPT_BF16: ((__nv_bfloat16 *)to)[row] = dpt_store<__nv_bfloat16>((float)value); break;
        case DPT_F16: ((__half *)to)[row] = dpt_store<__half>((float)value); break;
        default: ((float *)to)[row] = (float)value; break;
    }
}

/* Whether this block is the last of `blocks` that come here; *counter is 0 before and after. What the others have
 * written before is then there to be read, past the first-level cache (volatile). All threads of the block call it. */
__device__ inline bool dpt_last_block(unsigned *counter, unsigned blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicInc(counter, blocks - 1) == blocks - 1;
    __syncthreads();
    __threadfence();
    return last;
}

#endif
