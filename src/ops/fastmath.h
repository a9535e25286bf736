/* fastmath.h: exp, tanh and the normal distribution for loops over f32 that must vectorise, in plain arithmetic without
 * branches or calls; f64 twins of the same names by libm. NaN gives NaN.
 *
 * Errors are against libm in f64, over all arguments where the result is a normal number. Every polynomial was chosen
 * for these bounds: who changes one measures again (tests/test_op_kernels.c does). */
#ifndef DPT_OPS_FASTMATH_H
#define DPT_OPS_FASTMATH_H

#include <math.h>
#include <stdint.h>

#include "ops/normal_polynomial.h"

/* Inlined always: a call would keep the loop around it from vectorising. */
#define DPT_INLINE static inline __attribute__((always_inline))

typedef union dpt_bits32 {
    float f;
    uint32_t u;
} dpt_bits32;

/* 2^n, n in [-126, 127], from n + 1.5 * 2^23. */
DPT_INLINE float dpt_power_of_two(uint32_t n) {
    dpt_bits32 b = {.u = (n + 127U) << 23};
    return b.f;
}

/* e^x with relative error below 1e-7; 0 below -104, infinity above 88.73. x = n ln 2 + r, |r| <= ln 2 / 2; e^r by the
 * polynomial of Cephes' expf; 2^n in two factors, so that neither overflows. */
DPT_INLINE float dpt_exp_f32(float x) {
    x = x < -104.0F ? -104.0F : x;
    x = x > 89.0F ? 89.0F : x;
    const dpt_bits32 shifted = {.f = x * 1.44269504F + 12582912.0F};
    const float n = shifted.f - 12582912.0F;
    const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    const int32_t whole = (int32_t)(shifted.u - 0x4b400000U), half = whole / 2;
    return p * dpt_power_of_two((uint32_t)half) * dpt_power_of_two((uint32_t)(whole - half));
}

/* Relative error below 1.5e-7: Cephes' odd polynomial below 0.625, 1 - 2/(e^2x + 1) above. */
DPT_INLINE float dpt_tanh_f32(float x) {
    const float a = fabsf(x), z = x * x;
    float p = -5.70498872745e-3F;
    p = p * z + 2.06390887954e-2F;
    p = p * z - 5.37397155531e-2F;
    p = p * z + 1.33314422036e-1F;
    p = p * z - 3.33332819422e-1F;
    const float small = x + x * z * p;
    const float large = copysignf(1.0F - 2.0F / (dpt_exp_f32(2.0F * a) + 1.0F), x);
    return a < 0.625F ? small : large;
}

/* Density of the standard normal distribution, e^(-x^2/2) / sqrt(2 pi): relative error below 1e-6 for |x| < 5, absolute
 * below 1e-7. */
DPT_INLINE float dpt_normal_density_f32(float x) { return 0.398942280F * dpt_exp_f32(-0.5F * x * x); }

/* Distribution of the standard normal, Phi(x): absolute error below 2e-7, relative below 1e-6 for x > -5.
 * Phi(-u) = e^(-u^2/2) t P((u - 2.5) t), t = 1/(u + 2.5), P a minimax fit on [0, 14.5] (error 1.5e-8). */
DPT_INLINE float dpt_normal_f32(float x) {
    float u = fabsf(x);
    u = u > 14.5F ? 14.5F : u;
    const float t = 1.0F / (u + 2.5F), q = (u - 2.5F) * t;
    const float p = DPT_NORMAL_POLYNOMIAL(q);
    const float tail = dpt_exp_f32(-0.5F * u * u) * t * p;
    return x < 0 ? tail : 1.0F - tail;
}

DPT_INLINE double dpt_exp_f64(double x) { return exp(x); }
DPT_INLINE double dpt_tanh_f64(double x) { return tanh(x); }
DPT_INLINE double dpt_normal_density_f64(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }
DPT_INLINE double dpt_normal_f64(double x) { return 0.5 * erfc(-0.70710678118654752440 * x); }

#endif
