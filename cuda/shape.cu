/* shape.cu: copy on the GPU, of tensors of any type, and what broadcast shares with it. A copy knows only on the device
 * how many rows it has, so that it is a kernel too: map.cuh's, with nothing to broadcast. */
#include "cuda/layouts.h"
#include "cuda/map.cuh"

dpt_status dpt_cuda_spread(dpt_call *call, dpt_stream *stream) {
    switch (dpt_dtype_size(call->out[0].dtype)) {
        case 1: return dpt_spread_launch<uint8_t, 1>(call, stream, dpt_as_is());
        case 2: return dpt_spread_launch<uint16_t, 1>(call, stream, dpt_as_is());
        case 4: return dpt_spread_launch<uint32_t, 1>(call, stream, dpt_as_is());
        default: return dpt_spread_launch<uint64_t, 1>(call, stream, dpt_as_is());
    }
}

DPT_CUDA_KERNEL_LAYOUTS(copy, NULL, NULL, dpt_cuda_spread, NULL, dpt_cuda_map_layouts)
