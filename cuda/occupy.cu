/* occupy.cu: in place of a collective: its thread blocks are taken and its bytes go through memory until its time is
 * over. */
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/ptx.cuh"

enum { THREADS = 512, PACKS = 4 }; /* a block moves THREADS * PACKS packs of 16 bytes at once, as NCCL keeps many loads
                                      under way */

/* Every block moves its share of the packs, back to where they were, evenly over the time from its own start: like a
 * collective, which ends when the last block that got a place is done. */
__global__ void __launch_bounds__(THREADS) occupy_kernel(uint4 *data, int64_t packs, long long nanoseconds) {
    __shared__ unsigned long long begin;
    if (threadIdx.x == 0) begin = dpt_nanoseconds();
    __syncthreads();
    const int64_t at_once = (int64_t)THREADS * PACKS, all = (packs + at_once - 1) / at_once;
    const int64_t mine = (all - blockIdx.x + gridDim.x - 1) / gridDim.x;
    for (int64_t k = 0; k < mine; k++) {
        const int64_t first = (k * gridDim.x + blockIdx.x) * at_once + threadIdx.x;
        uint4 value[PACKS];
#pragma unroll
        for (int i = 0; i < PACKS; i++)
            if (first + i * THREADS < packs) value[i] = __ldcg(&data[first + i * THREADS]);
#pragma unroll
        for (int i = 0; i < PACKS; i++)
            if (first + i * THREADS < packs) __stcg(&data[first + i * THREADS], value[i]);
        const unsigned long long until = begin + (unsigned long long)(nanoseconds * (k + 1) / mine);
        while (dpt_nanoseconds() < until) __nanosleep(100);
    }
    while (dpt_nanoseconds() < begin + (unsigned long long)nanoseconds) __nanosleep(100);
}

dpt_status dpt_cuda_occupy(void *data, size_t bytes, double seconds, int blocks, dpt_stream *stream) {
    return DPT_LAUNCH(occupy_kernel, (unsigned)blocks, THREADS, 0, stream, (uint4 *)data, (int64_t)(bytes / 16),
                      (long long)(seconds * 1e9));
}
