/* functions.cu: functions of one number on the GPU, derivative number `order` of them, f(x) or f(x) g. Twin of
 * src/ops/functions.c. Launches and element types are map.cuh's; here stand the functions. */
#include <math.h>

#include "cuda/layouts.h"
#include "cuda/map.cuh"
#include "ops/logistic.h"

namespace {

/* f(x) g */
template <typename F>
struct times {
    F f;
    template <typename W>
    __device__ __forceinline__ W operator()(W x, W g) const {
        return f(x) * g;
    }
};

template <typename F>
dpt_status launch(dpt_call *call, dpt_stream *stream, F f) {
    if (call->n_in == 1) return dpt_map_run(call, stream, f);
    const times<F> product = {f};
    DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, product)));
    return DPT_OK;
}

/* A function without attributes, by the device's own for each type. */
#define OF_LIBRARY(name, f32, f64)                                                 \
    struct name {                                                                  \
        __device__ __forceinline__ float operator()(float v) const { return f32; } \
        __device__ __forceinline__ double operator()(double v) const { return f64; } \
    };
OF_LIBRARY(exponential, expf(v), exp(v))
OF_LIBRARY(logarithm, logf(v), log(v))
OF_LIBRARY(sine, sinf(v), sin(v))
OF_LIBRARY(cosine, cosf(v), cos(v))
OF_LIBRARY(magnitude, fabsf(v), fabs(v))
OF_LIBRARY(sign, v > 0 ? 1 : (v < 0 ? -1 : 0), v > 0 ? 1 : (v < 0 ? -1 : 0))
OF_LIBRARY(soft_plus, (v > 0 ? v : 0) + log1pf(expf(-fabsf(v))), (v > 0 ? v : 0) + log1p(exp(-fabs(v))))
OF_LIBRARY(logistic, 1 / (1 + expf(-v)), 1 / (1 + exp(-v)))
OF_LIBRARY(swish, v / (1 + expf(-v)), v / (1 + exp(-v)))

struct power_of {
    double exponent;
    int whole; /* the exponent, where it is -2 ... 3; 4: 1/2; else 5 */
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        switch (whole) {
            case -2: return 1 / (v * v);
            case -1: return 1 / v;
            case 0: return 1;
            case 1: return v;
            case 2: return v * v;
            case 3: return v * v * v;
            case 4: return root(v);
            default: return any(v);
        }
    }
    /* As pow(3): infinity for -infinity, 0 for -0. */
    static __device__ __forceinline__ float root(float v) { return isinf(v) ? fabsf(v) : sqrtf(v + 0.0F); }
    static __device__ __forceinline__ double root(double v) { return isinf(v) ? fabs(v) : sqrt(v + 0.0); }
    __device__ __forceinline__ float any(float v) const { return powf(v, (float)exponent); }
    __device__ __forceinline__ double any(double v) const { return pow(v, exponent); }
};

struct clamped {
    double low, high;
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v < (W)low ? (W)low : (v > (W)high ? (W)high : v);
    }
};

/* 1 inside, or g. */
struct inside {
    double low, high;
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v >= (W)low && v <= (W)high ? 1 : 0;
    }
    template <typename W>
    __device__ __forceinline__ W operator()(W v, W g) const {
        return v >= (W)low && v <= (W)high ? g : 0;
    }
};

__device__ __forceinline__ float natural_exp(float v) { return expf(v); }
__device__ __forceinline__ double natural_exp(double v) { return exp(v); }

/* s and 1 - s for both signs of x without cancellation, t = e^-|x|: 1/(1 + t) and t/(1 + t). */
template <typename W>
struct logistic_pair {
    W s, rest;
    __device__ __forceinline__ explicit logistic_pair(W x) {
        const W t = natural_exp(x < 0 ? x : -x), large = 1 / (1 + t), small = t * large;
        s = x < 0 ? small : large;
        rest = x < 0 ? large : small;
    }
};

struct logistic_1 {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        const logistic_pair<W> p(v);
        return p.s * p.rest;
    }
};

struct logistic_2 {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        const logistic_pair<W> p(v);
        return p.s * p.rest * (p.rest - p.s);
    }
};

struct swish_1 {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        const logistic_pair<W> p(v);
        return p.s + v * p.s * p.rest;
    }
};

struct swish_2 {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        const logistic_pair<W> p(v);
        return p.s * p.rest * (2 + v * (p.rest - p.s));
    }
};

/* Derivative number `order` >= 2 by its polynomial. */
struct logistic_n {
    int order;
    double c[DPT_LOGISTIC_POWERS];
    explicit logistic_n(int number) : order(number) { dpt_logistic_polynomial(number, c); }
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        const W t = natural_exp(v < 0 ? v : -v), s = t / (1 + t);
        W sum = 0;
        for (int k = order + 1; k > 0; k--) sum = (sum + (W)c[k]) * s;
        return order % 2 == 0 && v > 0 ? -sum : sum;
    }
};

/* (x s)^(n) = x s^(n) + n s^(n-1) */
struct swish_n {
    logistic_n here, lower;
    explicit swish_n(int number) : here(number), lower(number - 1) {}
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v * here(v) + (W)here.order * lower(v);
    }
};

}  // namespace

#define SIMPLE(name, f)                                                                                      \
    static dpt_status name##_run(dpt_call *call, dpt_stream *stream) { return launch(call, stream, f()); }
SIMPLE(exp, exponential)
SIMPLE(ln, logarithm)
SIMPLE(sin, sine)
SIMPLE(cos, cosine)
SIMPLE(softplus, soft_plus)

static dpt_status abs_run(dpt_call *call, dpt_stream *stream) {
    return call->attr.function.order == 0 ? launch(call, stream, magnitude()) : launch(call, stream, sign());
}

static dpt_status power_run(dpt_call *call, dpt_stream *stream) {
    power_of f = {call->attr.function.low, 5};
    for (int k = -2; k <= 3; k++)
        if (f.exponent == k) f.whole = k;
    if (f.exponent == 0.5) f.whole = 4;
    return launch(call, stream, f);
}

static dpt_status clamp_run(dpt_call *call, dpt_stream *stream) {
    const double low = call->attr.function.low, high = call->attr.function.high;
    const inside step = {low, high};
    if (call->attr.function.order == 0) return launch(call, stream, clamped{low, high});
    if (call->n_in == 1) return dpt_map_run(call, stream, step);
    DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, step)));
    return DPT_OK;
}

static dpt_status sigmoid_run(dpt_call *call, dpt_stream *stream) {
    const int order = call->attr.function.order;
    if (order == 0) return launch(call, stream, logistic());
    if (order == 1) return launch(call, stream, logistic_1());
    return order == 2 ? launch(call, stream, logistic_2()) : launch(call, stream, logistic_n(order));
}

static dpt_status silu_run(dpt_call *call, dpt_stream *stream) {
    const int order = call->attr.function.order;
    if (order == 0) return launch(call, stream, swish());
    if (order == 1) return launch(call, stream, swish_1());
    return order == 2 ? launch(call, stream, swish_2()) : launch(call, stream, swish_n(order));
}

#define KERNEL(name) DPT_CUDA_KERNEL_LAYOUTS(name, NULL, NULL, name##_run, NULL, dpt_cuda_map_layouts)
KERNEL(exp)
KERNEL(ln)
KERNEL(sin)
KERNEL(cos)
KERNEL(abs)
KERNEL(power)
KERNEL(clamp)
KERNEL(sigmoid)
KERNEL(silu)
KERNEL(softplus)
