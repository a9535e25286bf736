/* collective.cu: root_only on the GPU: x on rank 0 in the first micro-batch, zeros elsewhere. What crosses ranks goes
 * through the communicator, not through here. */
#include "cuda/map.cuh"

/* Bytes: packs of 16, then what is left. A rank but 0 never reads x. */
__global__ void __launch_bounds__(DPT_MAP_THREADS)
    root_only_kernel(const uint8_t *x, uint8_t *y, int64_t bytes, int rank, const dpt_block *block) {
    const bool keep = rank == 0 && block->micro_batch == 0;
    const int64_t packs = bytes / 16, first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    const uint4 none = {};
    for (int64_t p = first; p < packs; p += step) ((uint4 *)y)[p] = keep ? ((const uint4 *)x)[p] : none;
    if (first < bytes % 16) y[packs * 16 + first] = keep ? x[packs * 16 + first] : (uint8_t)0;
}

static dpt_status root_only_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *y = &call->out[0];
    const int64_t bytes = y->count * (int64_t)dpt_dtype_size(y->dtype);
    return DPT_LAUNCH(root_only_kernel, dpt_blocks_for(call, bytes / 16, DPT_MAP_THREADS), DPT_MAP_THREADS, 0, stream,
                      (const uint8_t *)call->in[0].data, (uint8_t *)y->data, bytes, call->rank, call->block);
}

DPT_CUDA_KERNEL(root_only, NULL, NULL, root_only_run, NULL)
