/* launch.h: the one way to launch a kernel, and the block's dynamic shared memory. tests/hostcuda defines both for the
 * CPU before this file is read.
 *
 *   DPT_TRY(DPT_LAUNCH(relu_kernel<float>, blocks, threads, 0, stream, x, y, count));
 *
 * A launch that is refused (bad sizes, no code for this device) is an error here; what fails in the kernel shows at the
 * next wait. */
#ifndef DPT_CUDA_LAUNCH_H
#define DPT_CUDA_LAUNCH_H

#include "cuda/cuda.h"

#ifndef DPT_LAUNCH
#define DPT_LAUNCH(kernel, blocks, threads, shared_bytes, stream, ...)                     \
    ((kernel) < < < (blocks), (threads), (shared_bytes), (stream)->cuda >>> (__VA_ARGS__), \
     dpt_cuda_status(cudaPeekAtLastError(), "launch of " #kernel))
/* T *name: the bytes asked for at the launch, aligned to 16. */
#define DPT_DYNAMIC_SHARED(T, name)                                     \
    extern __shared__ __align__(16) unsigned char dpt_dynamic_shared[]; \
    T *name = reinterpret_cast<T *>(dpt_dynamic_shared)
#endif

/* Blocks for a grid-stride loop over `items` (of a thread each): enough to fill the device, no more. */
static inline unsigned dpt_blocks_for(const dpt_call *call, int64_t items, int threads) {
    const dpt_cuda_device *d = dpt_cuda_device_of(call);
    int64_t wanted = (items + threads - 1) / threads;
    int64_t most = (int64_t)d->multiprocessors * (d->threads_per_multiprocessor / threads);
    return (unsigned)(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

#endif
