/* ptx.cuh: what CUDA C has no words for. The one file with inline PTX; tests/hostcuda/kernel.h defines the same for the
 * CPU before this file is read. */
#ifndef DPT_CUDA_PTX_CUH
#define DPT_CUDA_PTX_CUH

#ifndef DPT_PTX_TWIN
/* Nanoseconds of a clock that all multiprocessors share; it moves on in steps of a microsecond or less. */
__device__ __forceinline__ unsigned long long dpt_nanoseconds() {
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}
#endif

#endif
