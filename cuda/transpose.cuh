/* transpose.cuh: matrices turned over by tiles in shared memory: canonical rows [C, P] to channels-last [P, C] and
 * back, filters [C/g, K] to [K, C/g] and back. Reads and writes run along consecutive addresses. */
#ifndef DPT_CUDA_TRANSPOSE_CUH
#define DPT_CUDA_TRANSPOSE_CUH

#include "cuda/launch.h"
#include "cuda/number.cuh"

enum { DPT_TILE = 32, DPT_TILE_THREADS = 256, DPT_TILE_LINES = DPT_TILE_THREADS / DPT_TILE };

template <typename From, typename To>
__device__ __forceinline__ To dpt_convert(From v) {
    return dpt_store<To>((dpt_wide<To>)dpt_load(v));
}
template <>
__device__ __forceinline__ __nv_bfloat16 dpt_convert<__nv_bfloat16, __nv_bfloat16>(__nv_bfloat16 v) {
    return v;
}
template <>
__device__ __forceinline__ __half dpt_convert<__half, __half>(__half v) {
    return v;
}

/* to[b][j][i] = from[b][i][j]: `batch` matrices [lines, columns]. */
template <typename From, typename To>
__global__ void __launch_bounds__(DPT_TILE_THREADS)
    dpt_transpose_kernel(const From *from, To *to, int64_t batch, int64_t lines, int64_t columns) {
    __shared__ To tile[DPT_TILE][DPT_TILE + 2];
    const int x = (int)threadIdx.x % DPT_TILE, y = (int)threadIdx.x / DPT_TILE;
    const int64_t across = (columns + DPT_TILE - 1) / DPT_TILE, down = (lines + DPT_TILE - 1) / DPT_TILE;
    for (int64_t at = (int64_t)blockIdx.x; at < batch * across * down; at += (int64_t)gridDim.x) {
        const int64_t b = at / (across * down), j = at % across * DPT_TILE, i = at / across % down * DPT_TILE;
        const From *source = from + b * lines * columns;
        To *target = to + b * lines * columns;
#pragma unroll
        for (int l = y; l < DPT_TILE; l += DPT_TILE_LINES)
            if (i + l < lines && j + x < columns) tile[l][x] = dpt_convert<From, To>(source[(i + l) * columns + j + x]);
        __syncthreads();
#pragma unroll
        for (int l = y; l < DPT_TILE; l += DPT_TILE_LINES)
            if (j + l < columns && i + x < lines) target[(j + l) * lines + i + x] = tile[x][l];
        __syncthreads();
    }
}

template <typename From, typename To>
static dpt_status dpt_transpose(const dpt_call *call, const From *from, To *to, int64_t batch, int64_t lines,
                                int64_t columns, dpt_stream *stream) {
    const int64_t tiles = batch * ((lines + DPT_TILE - 1) / DPT_TILE) * ((columns + DPT_TILE - 1) / DPT_TILE);
    return DPT_LAUNCH((dpt_transpose_kernel<From, To>),
                      dpt_blocks_for(call, tiles * DPT_TILE_THREADS, DPT_TILE_THREADS), DPT_TILE_THREADS, 0, stream,
                      from, to, batch, lines, columns);
}

#endif
