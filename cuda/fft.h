/* fft.h: Fourier transforms by cuFFT: the only file that knows it is cufft.c, and the tests put another in its place.
 * cuFFT is opened when a transform is first prepared. */
#ifndef DPT_CUDA_FFT_H
#define DPT_CUDA_FFT_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dpt_fft_plan dpt_fft_plan;

/* A plan for `count` transforms of f32 or f64 side by side, in the calling thread's device, not normalised: real to
 * complex or, with back, complex to real (whose input is overwritten and must be symmetric where a real result asks for
 * it). Gives the workspace it needs. DPT_ERR_UNSUPPORTED: there is no cuFFT. DPT_ERR_DEVICE: cuFFT fails. */
dpt_status dpt_fft_plan_create(const dpt_fft_attr *attr, bool f64, bool back, int64_t count, dpt_fft_plan **plan,
                               size_t *workspace_bytes);
/* Queues it. */
dpt_status dpt_fft_plan_run(const dpt_fft_plan *plan, void *from, void *to, void *workspace, dpt_stream *stream);
void dpt_fft_plan_destroy(dpt_fft_plan **plan);

#ifdef __cplusplus
}
#endif

#endif
