/* elementwise.cu: arithmetic on arrays on the GPU: add, sub, mul, div with NumPy's broadcasting, scale, offset, square
 * root, cast. Launches and element types are map.cuh's; here stand the functions. */
#include <math.h>

#include "cuda/layouts.h"
#include "cuda/map.cuh"

/* ---- y = a op b ---- */

#define BINARY(name, op)                                                                                   \
    struct name##_of {                                                                                     \
        template <typename W>                                                                              \
        __device__ __forceinline__ W operator()(W a, W b) const {                                          \
            return a op b;                                                                                 \
        }                                                                                                  \
    };                                                                                                     \
    static dpt_status name##_run(dpt_call *call, dpt_stream *stream) {                                     \
        DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, name##_of()))); \
        return DPT_OK;                                                                                     \
    }                                                                                                      \
    DPT_CUDA_KERNEL_LAYOUTS(name, NULL, NULL, name##_run, NULL, dpt_cuda_map_layouts)
BINARY(add, +)
BINARY(sub, -)
BINARY(mul, *)
BINARY(div, /)

/* ---- of one array: scale, offset, square root ---- */

struct scaled {
    double value;
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v * (W)value;
    }
};

struct shifted {
    double value;
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v + (W)value;
    }
};

struct root {
    __device__ __forceinline__ float operator()(float v) const { return sqrtf(v); }
    __device__ __forceinline__ double operator()(double v) const { return sqrt(v); }
};

static dpt_status scale_run(dpt_call *call, dpt_stream *stream) {
    return dpt_map_run(call, stream, scaled{call->attr.scalar.value});
}

static dpt_status offset_run(dpt_call *call, dpt_stream *stream) {
    return dpt_map_run(call, stream, shifted{call->attr.scalar.value});
}

static dpt_status sqrt_run(dpt_call *call, dpt_stream *stream) { return dpt_map_run(call, stream, root()); }

DPT_CUDA_KERNEL_LAYOUTS(scale, NULL, NULL, scale_run, NULL, dpt_cuda_map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(offset, NULL, NULL, offset_run, NULL, dpt_cuda_map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(sqrt, NULL, NULL, sqrt_run, NULL, dpt_cuda_map_layouts)

/* ---- cast: any type to a float type; to 16 bits by way of f32 ---- */

struct same {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v;
    }
};

template <typename To>
static dpt_status cast_to(dpt_call *call, dpt_stream *stream) {
    switch (call->in[0].dtype) {
        case DPT_U8: return dpt_map_launch<To, uint8_t>(call, stream, same());
        case DPT_I32: return dpt_map_launch<To, int32_t>(call, stream, same());
        case DPT_I64: return dpt_map_launch<To, int64_t>(call, stream, same());
        default: break;
    }
    DPT_FOR_FLOAT(call->in[0].dtype, From, return (dpt_map_launch<To, From>(call, stream, same())));
    return DPT_OK;
}

static dpt_status cast_run(dpt_call *call, dpt_stream *stream) {
    DPT_FOR_FLOAT(call->out[0].dtype, To, return cast_to<To>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(cast, NULL, NULL, cast_run, NULL, dpt_cuda_map_layouts)
