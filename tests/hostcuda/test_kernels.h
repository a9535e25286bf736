/* test_kernels.h: kernels for the tests of CUDA on the host itself, right ones and wrong ones, behind C functions that
 * queue them. */
#ifndef HOSTCUDA_TEST_KERNELS_H
#define HOSTCUDA_TEST_KERNELS_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* See stream.cpp. */
long long hostcuda_count(const char *what);

/* out[block] = sum of the block's 256 elements of x; without its barrier a block reads what is not written yet. */
cudaError_t probe_block_sum(const float *x, float *out, int blocks, int with_barrier, cudaStream_t stream);
/* y[i] = a x[i] + b. */
cudaError_t probe_map(const float *x, float *y, int n, float a, float b, cudaStream_t stream);
/* out[i] for the threads of a grid of 2x3x2 blocks of 4x2x8: its number, every thread once. */
cudaError_t probe_number(int *out, cudaStream_t stream);
/* out [6][32] of one warp with v = lane: shuffle from 31 - lane, xor 1, down 2, up 3, xor 1 in groups of 4, ballot of
 * odd lanes. */
cudaError_t probe_warp(int *out, cudaStream_t stream);
/* out [4]: threads of 96 that gave an even number, whether any, whether all, whether all gave at most 95. */
cudaError_t probe_votes(int *out, cudaStream_t stream);
/* counters [4]: added by 64 threads 1.0f, 1.0 (double, in 2 and 3), largest thread, wrapped at 9; see the kernel. */
cudaError_t probe_atomics(float *sum, double *wide, int *most, unsigned *wrapped, cudaStream_t stream);
/* y[i] = what static and dynamic shared memory hold before anything is written: 2 floats a block of 32. */
cudaError_t probe_unwritten_shared(float *y, int blocks, int write, cudaStream_t stream);
/* A launch of these sizes; the kernel does nothing. It may be allowed more shared memory. */
cudaError_t probe_allow_shared(int bytes);
cudaError_t probe_empty(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream);

typedef enum probe_mistake {
    PROBE_STORE,       /* x[index] is written */
    PROBE_VECTOR,      /* 16 bytes are read at x + index */
    PROBE_SHARED,      /* writes float `index` of 10 floats of dynamic shared memory */
    PROBE_BARRIERS,    /* half of the block waits at one barrier, half at another */
    PROBE_LATE_WARP,   /* one lane of a warp goes to a barrier, the others to a shuffle */
    PROBE_MASK,        /* a lane that is not in the mask takes part */
    PROBE_WARP_PLACES, /* lanes of one mask in different warp operations */
} probe_mistake;
cudaError_t probe_wrong(probe_mistake mistake, float *x, int index, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
