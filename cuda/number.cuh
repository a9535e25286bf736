/* number.cuh: element types on the device. Kernels compute f64 in f64 and everything else in f32: `dpt_wide<T>` is what
 * a T is computed in, dpt_load and dpt_store convert, rounding to nearest even. Pack is 16 bytes of T, what one thread
 * moves at once. */
#ifndef DPT_CUDA_NUMBER_CUH
#define DPT_CUDA_NUMBER_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "cuda/launch.h"

template <typename T>
struct dpt_wide_of {
    typedef float type;
};
template <>
struct dpt_wide_of<double> {
    typedef double type;
};
template <typename T>
using dpt_wide = typename dpt_wide_of<T>::type;

__device__ __forceinline__ float dpt_load(float v) { return v; }
__device__ __forceinline__ double dpt_load(double v) { return v; }
__device__ __forceinline__ float dpt_load(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float dpt_load(__half v) { return __half2float(v); }

template <typename T>
__device__ __forceinline__ T dpt_store(dpt_wide<T> v);
template <>
__device__ __forceinline__ float dpt_store<float>(float v) {
    return v;
}
template <>
__device__ __forceinline__ double dpt_store<double>(double v) {
    return v;
}
template <>
__device__ __forceinline__ __nv_bfloat16 dpt_store<__nv_bfloat16>(float v) {
    return __float2bfloat16_rn(v);
}
template <>
__device__ __forceinline__ __half dpt_store<__half>(float v) {
    return __float2half_rn(v);
}

template <typename T>
struct alignas(16) dpt_pack {
    static constexpr int N = 16 / (int)sizeof(T);
    T v[N];
};

/* Valid rows of an operand with batch axis `axis` in this run, 1 where there is none (axis < 0). */
__device__ __forceinline__ int64_t dpt_rows(const dpt_block *block, int axis) {
    return axis < 0 ? 1 : block->rows[axis];
}

/* Runs the statement with T bound to the C++ type of a float dtype; anything else is an internal error. */
#define DPT_FOR_FLOAT(dtype_, T, ...)                                                                            \
    do {                                                                                                         \
        switch (dtype_) {                                                                                        \
            case DPT_F32: {                                                                                      \
                typedef float T;                                                                                 \
                __VA_ARGS__;                                                                                     \
                break;                                                                                           \
            }                                                                                                    \
            case DPT_F64: {                                                                                      \
                typedef double T;                                                                                \
                __VA_ARGS__;                                                                                     \
                break;                                                                                           \
            }                                                                                                    \
            case DPT_BF16: {                                                                                     \
                typedef __nv_bfloat16 T;                                                                         \
                __VA_ARGS__;                                                                                     \
                break;                                                                                           \
            }                                                                                                    \
            case DPT_F16: {                                                                                      \
                typedef __half T;                                                                                \
                __VA_ARGS__;                                                                                     \
                break;                                                                                           \
            }                                                                                                    \
            default: return dpt_error(DPT_ERR_INTERNAL, "%s is no type of this kernel", dpt_dtype_text(dtype_)); \
        }                                                                                                        \
    } while (0)

#endif
