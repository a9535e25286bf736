/* comm.cu: the small kernels that run beside collectives on the communicator's stream: counting them for the watchdog,
 * in host memory that it reads while the device works, and f32 to bf16 and back.
 *
 * They are part of the stream, and so of a recording: a replayed graph counts as the first run did. */
#include "cuda/comm_nccl.h"
#include "cuda/number.cuh"

__global__ void count_kernel(uint64_t *counter, uint64_t by) {
    if (threadIdx.x == 0) *(volatile uint64_t *)counter = *(volatile uint64_t *)counter + by;
}

template <typename From, typename To>
__global__ void convert_kernel(const From *from, To *to, int64_t count) {
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        to[i] = dpt_store<To>(dpt_load(from[i]));
}

dpt_status dpt_comm_count(uint64_t *counter, uint64_t by, dpt_stream *stream) {
    return DPT_LAUNCH(count_kernel, 1, 32, 0, stream, counter, by);
}

/* As many blocks as keep the memory busy beside a computation that has the rest of the device. */
static unsigned blocks_for(size_t count) {
    const size_t wanted = (count + 1023) / 1024;
    return (unsigned)(wanted < 1 ? 1 : wanted < 64 ? wanted : 64);
}

dpt_status dpt_comm_to_bf16(const float *from, void *to, size_t count, dpt_stream *stream) {
    __nv_bfloat16 *rounded = (__nv_bfloat16 *)to;
    return DPT_LAUNCH((convert_kernel<float, __nv_bfloat16>), blocks_for(count), 256, 0, stream, from, rounded,
                      (int64_t)count);
}

dpt_status dpt_comm_from_bf16(const void *from, float *to, size_t count, dpt_stream *stream) {
    const __nv_bfloat16 *rounded = (const __nv_bfloat16 *)from;
    return DPT_LAUNCH((convert_kernel<__nv_bfloat16, float>), blocks_for(count), 256, 0, stream, rounded, to,
                      (int64_t)count);
}
