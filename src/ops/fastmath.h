/* fastmath.h: exp, ln, sin, cos, tanh, the logistic function and the normal distribution for loops over f32 that must
 * vectorise, in plain arithmetic without branches or calls; f64 twins of the same names by libm. NaN gives NaN.
 *
 * Errors are against libm in f64, over all arguments where the result is a normal number. Every polynomial was chosen
 * for these bounds: who changes one measures again (tests/test_op_kernels.c does). */
#ifndef DPT_OPS_FASTMATH_H
#define DPT_OPS_FASTMATH_H

#include <math.h>
#include <stdbool.h>
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

/* ln(1 + m) + e ln 2, m in [sqrt(1/2) - 1, sqrt(2) - 1]: the polynomial of Cephes' logf. */
DPT_INLINE float dpt_ln_of_fraction(float m, float e) {
    const float z = m * m;
    float p = 7.0376836292E-2F;
    p = p * m - 1.1514610310E-1F;
    p = p * m + 1.1676998740E-1F;
    p = p * m - 1.2420140846E-1F;
    p = p * m + 1.4249322787E-1F;
    p = p * m - 1.6668057665E-1F;
    p = p * m + 2.0000714765E-1F;
    p = p * m - 2.4999993993E-1F;
    p = p * m + 3.3333331174E-1F;
    const float y = p * m * z + e * -2.12194440e-4F;
    return m + (y - 0.5F * z) + e * 0.693359375F;
}

/* ln x with relative error below 1.2e-7; -inf at 0, NaN below. x = 2^e (1 + m). Subnormal x is scaled first. */
DPT_INLINE float dpt_ln_f32(float x) {
    const float scaled = x < 1.17549435e-38F ? x * 8388608.0F : x;
    const dpt_bits32 bits = {.f = scaled};
    const dpt_bits32 fraction = {.u = (bits.u & 0x007fffffU) | 0x3f000000U};
    const float e = (float)((int32_t)(bits.u >> 23) - 126) - (x < 1.17549435e-38F ? 23.0F : 0.0F);
    const bool low = fraction.f < 0.707106781F;
    float y = dpt_ln_of_fraction(low ? fraction.f + fraction.f - 1.0F : fraction.f - 1.0F, low ? e - 1.0F : e);
    y = x == 0 ? -INFINITY : y;
    y = x < 0 ? NAN : y;
    return x < INFINITY ? y : x; /* infinity and NaN */
}

/* sin(x + quarter pi/2) for |x| <= DPT_SIN_MOST, absolute error below 1e-7; relative too where x is no multiple of pi/2
 * to within it. x - n pi/2 is taken in f64 (n pi/2 in two parts, the first exact for n below 2^20), the polynomials are
 * Cephes' sinf and cosf. */
#define DPT_SIN_MOST 1e6F
DPT_INLINE float dpt_sin_of_quarter(float x, double quarter) {
    const double wide = x, n = wide * 0.63661977236758134308 + 6755399441055744.0 - 6755399441055744.0;
    const float r = (float)(wide - n * 1.57079632673412561417 - n * 6.07710050650619224932e-11);
    const double turn = (n + quarter) * 0.25;
    const float q = (float)(turn - (turn - 0.375 + 6755399441055744.0 - 6755399441055744.0)) * 4.0F; /* 0, 1, 2, 3 */
    const float z = r * r;
    float s = -1.9515295891e-4F, c = 2.443315711809948e-5F;
    s = s * z + 8.3321608736e-3F;
    s = (s * z - 1.6666654611e-1F) * z * r + r;
    c = c * z - 1.388731625493765e-3F;
    c = (c * z + 4.166664568298827e-2F) * z * z - 0.5F * z + 1.0F;
    const float y = q == 1.0F || q == 3.0F ? c : s;
    return q >= 2.0F ? -y : y;
}
DPT_INLINE float dpt_sin_f32(float x) { return dpt_sin_of_quarter(x, 0); }
DPT_INLINE float dpt_cos_f32(float x) { return dpt_sin_of_quarter(x, 1); }

/* 1/(1 + e^-x), relative error below 3e-7 where it is a normal number. */
DPT_INLINE float dpt_sigmoid_f32(float x) { return 1.0F / (1.0F + dpt_exp_f32(-x)); }
DPT_INLINE double dpt_sigmoid_f64(double x) { return 1.0 / (1.0 + exp(-x)); }

/* ln(1 + e^x) = max(x, 0) + ln(1 + t), t = e^-|x| in [0, 1], relative error below 3e-7; 1 + t is halved where it is
 * above sqrt(2). */
DPT_INLINE float dpt_softplus_f32(float x) {
    const float t = dpt_exp_f32(-fabsf(x));
    const bool high = t > 0.414213562F;
    return (x > 0 ? x : 0.0F) + dpt_ln_of_fraction(high ? 0.5F * t - 0.5F : t, high ? 1.0F : 0.0F);
}
DPT_INLINE double dpt_softplus_f64(double x) { return (x > 0 ? x : 0.0) + log1p(exp(-fabs(x))); }

DPT_INLINE double dpt_exp_f64(double x) { return exp(x); }
DPT_INLINE double dpt_tanh_f64(double x) { return tanh(x); }
DPT_INLINE double dpt_normal_density_f64(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }
DPT_INLINE double dpt_normal_f64(double x) { return 0.5 * erfc(-0.70710678118654752440 * x); }

#endif
