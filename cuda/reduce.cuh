/* reduce.cuh: sums and maxima over the lanes of a warp and the threads of a block, in an order that depends on the
 * block's size alone, so that bits repeat from run to run.
 *
 * W is float, double or an integer type. Every thread of the warp or block calls, and every one gets the result, the
 * same bits. Blocks are one-dimensional, a multiple of 32 threads. A block's function waits for all threads before it
 * returns: it may be called again at once, also in a loop that all threads go through equally often. */
#ifndef DPT_CUDA_REDUCE_CUH
#define DPT_CUDA_REDUCE_CUH

#include "cuda/launch.h"

/* A butterfly: lanes that meet add the same two numbers, so that all end alike. */
template <typename W>
__device__ __forceinline__ W dpt_warp_sum(W v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffU, v, o);
    return v;
}

/* The largest; no v may be NaN (a NaN would win or lose by its place). */
template <typename W>
__device__ __forceinline__ W dpt_warp_max(W v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) {
        const W other = __shfl_xor_sync(0xffffffffU, v, o);
        v = other > v ? other : v;
    }
    return v;
}

/* The value of each warp's lane 0, in `part` for all to read; a second wait belongs after the reading. */
template <typename W>
__device__ __forceinline__ void dpt_block_share(W v, W part[32]) {
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
}

template <typename W>
__device__ __forceinline__ W dpt_block_sum(W v) {
    __shared__ W part[32];
    dpt_block_share(dpt_warp_sum(v), part);
    const unsigned lane = threadIdx.x % 32;
    const W sum = dpt_warp_sum(lane < blockDim.x / 32 ? part[lane] : (W)0);
    __syncthreads();
    return sum;
}

/* As dpt_warp_max. */
template <typename W>
__device__ __forceinline__ W dpt_block_max(W v) {
    __shared__ W part[32];
    dpt_block_share(dpt_warp_max(v), part);
    const unsigned lane = threadIdx.x % 32;
    const W max = dpt_warp_max(part[lane < blockDim.x / 32 ? lane : 0]);
    __syncthreads();
    return max;
}

#endif
