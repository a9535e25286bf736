/* test_kernels.cu: see test_kernels.h. */
#include "test_kernels.h"

struct probe_stream {
    cudaStream_t cuda;
};
static cudaError_t dpt_cuda_status(cudaError_t code, const char *) { return code; }

__global__ void block_sum(const float *x, float *out, int with_barrier) {
    __shared__ float of_warp[8];
    float v = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffffu, v, by);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = v;
    if (with_barrier) __syncthreads();
    float sum = 0;
    for (int i = 0; i < 8; i++) sum += of_warp[i];
    if (threadIdx.x == 7) out[blockIdx.x] = sum;
}

template <typename T>
__global__ void __launch_bounds__(128) map(const T *x, T *y, int n, T a, T b) {
    for (int i = (int)(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += (int)(gridDim.x * blockDim.x))
        y[i] = a * x[i] + b;
}

__global__ void number(int *out) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned i = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
    atomicAdd(&out[i], (int)i);
}

__global__ void warp(int *out) {
    int v = (int)threadIdx.x;
    out[v] = __shfl_sync(0xffffffffu, v, 31 - v);
    out[32 + v] = __shfl_xor_sync(0xffffffffu, v, 1);
    out[64 + v] = __shfl_down_sync(0xffffffffu, v, 2);
    out[96 + v] = __shfl_up_sync(0xffffffffu, v, 3);
    out[128 + v] = (int)__shfl_xor_sync(0xffffffffu, (double)v, 1, 4);
    out[160 + v] = (int)__ballot_sync(0xffffffffu, v % 2);
    __syncwarp();
    /* two groups, each with a mask of its own */
    if (v < 16)
        out[v] += __shfl_sync(0x0000ffffu, 0, 3);
    else
        out[v] += __any_sync(0xffff0000u, v == 3) + 1 - __all_sync(0xffff0000u, v > 15);
}

__global__ void votes(int *out) {
    int v = (int)threadIdx.x;
    int even = __syncthreads_count(v % 2 == 0), any = __syncthreads_or(v == 95), all = __syncthreads_and(v < 95);
    int most = __syncthreads_and(v < 96);
    if (v == 0) out[0] = even, out[1] = any, out[2] = all, out[3] = most;
}

__global__ void atomics(float *sum, double *wide, int *most, unsigned *wrapped) {
    atomicAdd(sum, 1);
    atomicAdd(wide, 0.5);
    atomicMax(most, (int)threadIdx.x);
    atomicInc(wrapped, 9);
    atomicCAS(most, 63, 100);
}

__global__ void unwritten_shared(float *y, int write) {
    __shared__ float fixed[32];
    DPT_DYNAMIC_SHARED(float, dynamic);
    if (threadIdx.x == 0) y[2 * blockIdx.x] = fixed[1], y[2 * blockIdx.x + 1] = dynamic[1];
    __syncthreads();
    if (write) fixed[threadIdx.x] = dynamic[threadIdx.x] = 1;
}

__global__ void empty() {}

__global__ void store(float *x, int index) {
    if (threadIdx.x == 3) x[index] = 1;
}

__global__ void load_vector(float *x, int index) {
    if (threadIdx.x == 3) {
        float4 v = *reinterpret_cast<const float4 *>(x + index);
        x[0] = v.x + v.y + v.z + v.w;
    }
}

__global__ void store_shared(float *x, int index) {
    DPT_DYNAMIC_SHARED(float, dynamic);
    if (threadIdx.x == 3) dynamic[index] = 1;
    if (threadIdx.x == 4) x[0] = 1;
}

__global__ void two_barriers() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void late_warp(float *x) {
    float v = x[0];
    if (threadIdx.x == 5)
        __syncthreads();
    else
        v = __shfl_sync(0xffffffffu, v, 0);
    if (threadIdx.x == 0) x[0] = v;
}

__global__ void outside_mask(float *x) {
    float v = __shfl_sync(0x0000ffffu, x[0], 0);
    if (threadIdx.x == 0) x[0] = v;
}

__global__ void two_warp_operations(float *x) {
    float v = x[0];
    if (threadIdx.x < 16)
        v = __shfl_sync(0xffffffffu, v, 0);
    else
        v = __shfl_xor_sync(0xffffffffu, v, 1);
    if (threadIdx.x == 0) x[0] = v;
}

cudaError_t probe_block_sum(const float *x, float *out, int blocks, int with_barrier, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(block_sum, (unsigned)blocks, 256, 0, &s, x, out, with_barrier);
}

cudaError_t probe_map(const float *x, float *y, int n, float a, float b, cudaStream_t stream) {
    probe_stream s = {stream};
    auto kernel = n < 1000 ? map<float> : map<float>; /* a choice made at run time, as kernels have */
    return DPT_LAUNCH(kernel, 2, 128, 0, &s, x, y, n, a, b);
}

cudaError_t probe_number(int *out, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(number, dim3(2, 3, 2), dim3(4, 2, 8), 0, &s, out);
}

cudaError_t probe_warp(int *out, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(warp, 1, 32, 0, &s, out);
}

cudaError_t probe_votes(int *out, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(votes, 1, 96, 0, &s, out);
}

cudaError_t probe_atomics(float *sum, double *wide, int *most, unsigned *wrapped, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(atomics, 1, 64, 0, &s, sum, wide, most, wrapped);
}

cudaError_t probe_unwritten_shared(float *y, int blocks, int write, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(unwritten_shared, (unsigned)blocks, 32, 32 * sizeof(float), &s, y, write);
}

cudaError_t probe_allow_shared(int bytes) {
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(empty), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                bytes);
}

cudaError_t probe_empty(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
    probe_stream s = {stream};
    return DPT_LAUNCH(empty, grid, block, shared_bytes, &s);
}

cudaError_t probe_wrong(probe_mistake mistake, float *x, int index, cudaStream_t stream) {
    probe_stream s = {stream};
    switch (mistake) {
        case PROBE_STORE: return DPT_LAUNCH(store, 1, 32, 0, &s, x, index);
        case PROBE_VECTOR: return DPT_LAUNCH(load_vector, 1, 32, 0, &s, x, index);
        case PROBE_SHARED: return DPT_LAUNCH(store_shared, 1, 32, 10 * sizeof(float), &s, x, index);
        case PROBE_BARRIERS: return DPT_LAUNCH(two_barriers, 1, 64, 0, &s);
        case PROBE_LATE_WARP: return DPT_LAUNCH(late_warp, 1, 32, 0, &s, x);
        case PROBE_MASK: return DPT_LAUNCH(outside_mask, 1, 32, 0, &s, x);
        case PROBE_WARP_PLACES: return DPT_LAUNCH(two_warp_operations, 1, 32, 0, &s, x);
    }
    return cudaErrorInvalidValue;
}
