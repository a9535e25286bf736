/* gelu.cuh: the standard normal distribution and its density on the device, for gelu (x Phi(x), exact) and its
 * derivatives. f32 as in ops/fastmath.h, with the same polynomial and bounds; f64 by libm. NaN gives NaN. */
#ifndef DPT_CUDA_GELU_CUH
#define DPT_CUDA_GELU_CUH

#include <math.h>

#include "cuda/number.cuh"
#include "ops/normal_polynomial.h"

/* e^(-x^2/2) / sqrt(2 pi) */
__device__ __forceinline__ float dpt_normal_density(float x) { return 0.398942280F * expf(-0.5F * x * x); }
__device__ __forceinline__ double dpt_normal_density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

/* Phi(x). Phi(-u) = e^(-u^2/2) t P((u - 2.5) t), t = 1/(u + 2.5), P a minimax fit on [0, 14.5]. */
__device__ __forceinline__ float dpt_normal(float x) {
    float u = fabsf(x);
    u = u > 14.5F ? 14.5F : u;
    const float t = __fdividef(1.0F, u + 2.5F), q = (u - 2.5F) * t;
    const float p = DPT_NORMAL_POLYNOMIAL(q);
    const float tail = expf(-0.5F * u * u) * t * p;
    return x < 0 ? tail : 1.0F - tail;
}
__device__ __forceinline__ double dpt_normal(double x) { return 0.5 * erfc(-0.70710678118654752440 * x); }

#endif
