/* kernel.h: force-included before every .cu file that g++ compiles for the CPU: CUDA C's keywords, built-in variables
 * and device functions, and the launch (cuda/launch.h leaves that to whoever defined it first).
 *
 * Only what the kernels use is here. What is missing is a compile error; add it with its meaning on the device. Shared
 * variables are thread_local so that they form one segment, which fibres.cpp fills with 0xff before each block. */
#ifndef HOSTCUDA_KERNEL_H
#define HOSTCUDA_KERNEL_H

/* __half and __nv_bfloat16 have second names that get in the way of local variables. */
#define CUDA_NO_HALF
#define CUDA_NO_BFLOAT16
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include <tuple>
#include <type_traits>

#include "block.h"

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__

#define threadIdx (static_cast<const uint3 &>(::hostcuda::here.thread))
#define blockIdx (static_cast<const uint3 &>(::hostcuda::here.block))
#define blockDim (static_cast<const dim3 &>(::hostcuda::here.block_size))
#define gridDim (static_cast<const dim3 &>(::hostcuda::here.grid_size))
#define warpSize 32

namespace hostcuda {

/* The arguments are converted and copied now, the kernel is called later, once for each thread. */
template <typename... Parameters, typename... Arguments>
cudaError_t launch(launch_shape shape, cudaStream_t stream, void (*kernel)(Parameters...), Arguments... arguments) {
    static_assert((sizeof(Parameters) + ... + 0) <= arguments_most, "too many bytes of kernel arguments");
    shape.function = reinterpret_cast<const void *>(kernel);
    std::tuple<std::decay_t<Parameters>...> copies(arguments...);
    return queue_kernel(shape, stream, [=] { std::apply(kernel, copies); });
}

/* Stops template deduction, so that the second operand converts to the type of the first, as with CUDA's overloads. */
template <typename T>
struct as_given {
    typedef T type;
};
template <typename T>
using same = typename as_given<T>::type;

template <typename To, typename From>
inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits of another size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

template <typename T>
inline T shuffle(unsigned mask, T value, int source, const char *file, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "not a type that shuffles take");
    uint64_t sent = 0;
    memcpy(&sent, &value, sizeof value);
    uint64_t got = warp_exchange(mask, sent, (unsigned)source, warp_operation::shuffle, file, line);
    T result;
    memcpy(static_cast<void *>(&result), &got, sizeof result);
    return result;
}

/* The lane read from, or the own one where that lies outside of the group of `width`. */
inline int shuffle_index(int source, int width) { return ((int)lane() & ~(width - 1)) + (source & (width - 1)); }
inline int shuffle_xor(int with, int width) {
    int own = (int)lane(), source = own ^ with;
    return source >= (own & ~(width - 1)) + width ? own : source;
}
inline int shuffle_down(unsigned by, int width) {
    int own = (int)lane(), source = own + (int)by;
    return source >= (own & ~(width - 1)) + width ? own : source;
}
inline int shuffle_up(unsigned by, int width) {
    int own = (int)lane(), source = own - (int)by;
    return source < (own & ~(width - 1)) ? own : source;
}
constexpr int width_or_warp(int width = 32) { return width; }

/* One thread runs at a time and is never stopped inside of these: plain reads and writes are atomic. */
template <typename T, typename Update>
inline T atomic(T *at, Update update) {
    T old = *at;
    *at = update(old);
    return old;
}

}  // namespace hostcuda

/* A launch, and the shared memory that it asks for. */
#define DPT_LAUNCH(kernel, blocks, threads, shared_bytes, stream, ...)                                                \
    dpt_cuda_status(::hostcuda::launch(                                                                               \
                        ::hostcuda::launch_shape{#kernel, NULL, dim3(blocks), dim3(threads), (size_t)(shared_bytes)}, \
                        (stream)->cuda, (kernel), ##__VA_ARGS__),                                                     \
                    "launch of " #kernel)
#define DPT_DYNAMIC_SHARED(T, name) T *name = static_cast<T *>(::hostcuda::here.dynamic_shared)

/* Barriers and warp operations carry their place in the source: what meets must meet at the same one. */
#define __syncthreads() ((void)::hostcuda::barrier(false, __FILE__, __LINE__))
#define __syncthreads_or(predicate) ((int)(::hostcuda::barrier((predicate) != 0, __FILE__, __LINE__) > 0))
#define __syncthreads_and(predicate) ((int)(::hostcuda::barrier((predicate) == 0, __FILE__, __LINE__) == 0))
#define __syncthreads_count(predicate) (::hostcuda::barrier((predicate) != 0, __FILE__, __LINE__))
#define HOSTCUDA_WARP(mask, value, operation) \
    ::hostcuda::warp_exchange((mask), (value), 0, ::hostcuda::warp_operation::operation, __FILE__, __LINE__)
#define __syncwarp(...) ((void)HOSTCUDA_WARP(::hostcuda::mask_or_warp(__VA_ARGS__), 0, sync))
#define __ballot_sync(mask, predicate) ((unsigned)HOSTCUDA_WARP(mask, (predicate) != 0, ballot))
#define __any_sync(mask, predicate) ((int)(HOSTCUDA_WARP(mask, (predicate) != 0, ballot) != 0))
#define __all_sync(mask, predicate) ((int)(HOSTCUDA_WARP(mask, (predicate) == 0, ballot) == 0))
#define __shfl_sync(mask, value, source, ...)                                                                         \
    ::hostcuda::shuffle((mask), (value), ::hostcuda::shuffle_index((source), ::hostcuda::width_or_warp(__VA_ARGS__)), \
                        __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, with, ...)                                                                   \
    ::hostcuda::shuffle((mask), (value), ::hostcuda::shuffle_xor((with), ::hostcuda::width_or_warp(__VA_ARGS__)), \
                        __FILE__, __LINE__)
#define __shfl_down_sync(mask, value, by, ...)                                                                   \
    ::hostcuda::shuffle((mask), (value), ::hostcuda::shuffle_down((by), ::hostcuda::width_or_warp(__VA_ARGS__)), \
                        __FILE__, __LINE__)
#define __shfl_up_sync(mask, value, by, ...)                                                                   \
    ::hostcuda::shuffle((mask), (value), ::hostcuda::shuffle_up((by), ::hostcuda::width_or_warp(__VA_ARGS__)), \
                        __FILE__, __LINE__)
namespace hostcuda {
constexpr unsigned mask_or_warp(unsigned mask = 0xffffffffu) { return mask; }
}  // namespace hostcuda

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}

/* The twin of cuda/ptx.cuh. Blocks run one after another: each sees a clock that is as many times faster as there are
 * blocks, so that all of them together take the time that they would side by side. */
#define DPT_PTX_TWIN
inline unsigned long long dpt_nanoseconds() {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec) * gridDim.x;
}

template <typename T>
inline T atomicAdd(T *at, hostcuda::same<T> v) {
    return hostcuda::atomic(at, [=](T old) { return (T)(old + v); });
}
template <typename T>
inline T atomicSub(T *at, hostcuda::same<T> v) {
    return hostcuda::atomic(at, [=](T old) { return (T)(old - v); });
}
template <typename T>
inline T atomicMax(T *at, hostcuda::same<T> v) {
    static_assert(std::is_integral<T>::value, "atomicMax takes integers");
    return hostcuda::atomic(at, [=](T old) { return old < v ? v : old; });
}
template <typename T>
inline T atomicMin(T *at, hostcuda::same<T> v) {
    static_assert(std::is_integral<T>::value, "atomicMin takes integers");
    return hostcuda::atomic(at, [=](T old) { return v < old ? v : old; });
}
template <typename T>
inline T atomicOr(T *at, hostcuda::same<T> v) {
    return hostcuda::atomic(at, [=](T old) { return (T)(old | v); });
}
template <typename T>
inline T atomicAnd(T *at, hostcuda::same<T> v) {
    return hostcuda::atomic(at, [=](T old) { return (T)(old & v); });
}
template <typename T>
inline T atomicExch(T *at, hostcuda::same<T> v) {
    return hostcuda::atomic(at, [=](T) { return v; });
}
template <typename T>
inline T atomicCAS(T *at, hostcuda::same<T> expected, hostcuda::same<T> v) {
    return hostcuda::atomic(at, [=](T old) { return old == expected ? v : old; });
}
/* Wraps to 0 after `most`. */
inline unsigned atomicInc(unsigned *at, unsigned most) {
    return hostcuda::atomic(at, [=](unsigned old) { return old >= most ? 0u : old + 1; });
}

/* Loads and stores with a cache hint. */
template <typename T>
inline T __ldg(const T *p) {
    return *p;
}
template <typename T>
inline T __ldcs(const T *p) {
    return *p;
}
template <typename T>
inline T __ldcg(const T *p) {
    return *p;
}
template <typename T>
inline T __ldca(const T *p) {
    return *p;
}
template <typename T>
inline void __stcs(T *p, hostcuda::same<T> v) {
    *p = v;
}
template <typename T>
inline void __stcg(T *p, hostcuda::same<T> v) {
    *p = v;
}

/* A NaN loses against a number, as on the device. */
template <typename A, typename B>
inline typename std::common_type<A, B>::type min(A a, B b) {
    typedef typename std::common_type<A, B>::type T;
    if (std::is_floating_point<T>::value) return (T)fmin((double)a, (double)b);
    return (T)b < (T)a ? (T)b : (T)a;
}
template <typename A, typename B>
inline typename std::common_type<A, B>::type max(A a, B b) {
    typedef typename std::common_type<A, B>::type T;
    if (std::is_floating_point<T>::value) return (T)fmax((double)a, (double)b);
    return (T)a < (T)b ? (T)b : (T)a;
}

/* glibc declares some of these names for itself: macros. */
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __tanhf(x) tanhf(x)
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __frsqrt_rn(float a) { return 1.0f / sqrtf(a); }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }
inline float __double2float_rn(double a) { return (float)a; }
inline float __int2float_rn(int a) { return (float)a; }
inline float __uint2float_rn(unsigned a) { return (float)a; }
inline int __float2int_rn(float a) { return (int)nearbyintf(a); }
inline int __float2int_rz(float a) { return (int)a; }

inline int __float_as_int(float v) { return hostcuda::bits<int>(v); }
inline unsigned __float_as_uint(float v) { return hostcuda::bits<unsigned>(v); }
inline float __int_as_float(int v) { return hostcuda::bits<float>(v); }
inline float __uint_as_float(unsigned v) { return hostcuda::bits<float>(v); }
inline long long __double_as_longlong(double v) { return hostcuda::bits<long long>(v); }
inline double __longlong_as_double(long long v) { return hostcuda::bits<double>(v); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v != 0 ? __builtin_clz((unsigned)v) : 32; }
inline int __clzll(long long v) { return v != 0 ? __builtin_clzll((unsigned long long)v) : 64; }

#endif
