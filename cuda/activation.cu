/* activation.cu: ReLU, tanh and GELU on the GPU, with the derivatives that src/ops/activation.c has. Launches and
 * element types are map.cuh's; here stand the functions. */
#include <math.h>

#include "cuda/gelu.cuh"
#include "cuda/layouts.h"
#include "cuda/map.cuh"

/* ---- relu: y = x, slope x where x < 0, NaN where x is; relu_grad: g where y > 0, else slope g. Slope 0 is the plain
 * ReLU, by itself: 0 x would be NaN for an infinite x ---- */

struct positive {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v < 0 ? 0 : v;
    }
};

struct where_positive {
    template <typename W>
    __device__ __forceinline__ W operator()(W g, W y) const {
        return y > 0 ? g : 0;
    }
};

struct leaky {
    double slope;
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v < 0 ? (W)slope * v : v;
    }
};

struct where_positive_leaky {
    double slope;
    template <typename W>
    __device__ __forceinline__ W operator()(W g, W y) const {
        return y > 0 ? g : (W)slope * g;
    }
};

static dpt_status relu_run(dpt_call *call, dpt_stream *stream) {
    const double slope = call->attr.relu.slope;
    return slope != 0 ? dpt_map_run(call, stream, leaky{slope}) : dpt_map_run(call, stream, positive());
}

static dpt_status relu_grad_run(dpt_call *call, dpt_stream *stream) {
    const where_positive_leaky any = {call->attr.relu.slope};
    if (any.slope != 0)
        DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, any)));
    DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, where_positive())));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(relu, NULL, NULL, relu_run, NULL, dpt_cuda_map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(relu_grad, NULL, NULL, relu_grad_run, NULL, dpt_cuda_map_layouts)

/* ---- tanh ---- */

struct tangent {
    __device__ __forceinline__ float operator()(float v) const { return tanhf(v); }
    __device__ __forceinline__ double operator()(double v) const { return tanh(v); }
};

static dpt_status tanh_run(dpt_call *call, dpt_stream *stream) { return dpt_map_run(call, stream, tangent()); }

DPT_CUDA_KERNEL_LAYOUTS(tanh, NULL, NULL, tanh_run, NULL, dpt_cuda_map_layouts)

/* ---- gelu and its derivatives
 * order 0: x Phi(x); order 1: Phi(x) + x phi(x); order n >= 2: (-1)^n phi(x) (He_{n-2}(x) - He_n(x)), with the Hermite
 * polynomials He_0 = 1, He_1 = x, He_{k+1} = x He_k - k He_{k-1}. ---- */

struct gelu_0 {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return v * dpt_normal(v);
    }
};

struct gelu_1 {
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        return dpt_normal(v) + v * dpt_normal_density(v);
    }
};

struct gelu_n {
    int order; /* >= 2 */
    template <typename W>
    __device__ __forceinline__ W operator()(W v) const {
        W before = 1, he = v;
        for (int k = 1; k < order - 1; k++) {
            const W next = v * he - (W)k * before;
            before = he;
            he = next;
        }
        const W last = v * he - (W)(order - 1) * before;
        return dpt_normal_density(v) * (order % 2 ? last - before : before - last);
    }
};

static dpt_status gelu_run(dpt_call *call, dpt_stream *stream) {
    const int order = call->attr.derivative.order;
    if (order == 0) return dpt_map_run(call, stream, gelu_0());
    if (order == 1) return dpt_map_run(call, stream, gelu_1());
    return dpt_map_run(call, stream, gelu_n{order});
}

DPT_CUDA_KERNEL_LAYOUTS(gelu, NULL, NULL, gelu_run, NULL, dpt_cuda_map_layouts)
