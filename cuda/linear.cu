/* linear.cu: the fused linear layer: products by cuBLASLt (product.h), around them what its epilogues leave out.
 *
 * cuBLASLt's GELU is the approximation by tanh, and its gradients of activations take what this graph does not keep
 * (the bits of ReLU's mask): those are own kernels here, which read and write the product once, in place. Its ReLU,
 * bias and bias gradient are used where the plan has them. Invariants: own kernels stop at the valid rows; sums over
 * the batch have one order, given by the shape alone. */
#include <math.h>

#include "cuda/gelu.cuh"
#include "cuda/launch.h"
#include "cuda/number.cuh"
#include "cuda/product.h"

enum { THREADS = 256 };

/* ---- activations and their derivatives, as in ops/linear.c ---- */

namespace {

struct no_act {
    template <typename W>
    __device__ W of(W v) const {
        return v;
    }
};
struct relu_act {
    template <typename W>
    __device__ W of(W v) const {
        return v < 0 ? 0 : v; /* NaN stays */
    }
    /* g is the gradient; y the output (relu, tanh) or the argument (gelu) */
    template <typename W>
    __device__ W slope(W g, W y) const {
        return y > 0 ? g : 0;
    }
};
struct leaky_act {
    double factor; /* where the argument is negative */
    template <typename W>
    __device__ W of(W v) const {
        return v < 0 ? (W)factor * v : v;
    }
    template <typename W>
    __device__ W slope(W g, W y) const {
        return y > 0 ? g : (W)factor * g;
    }
};
struct tanh_act {
    __device__ float of(float v) const { return tanhf(v); }
    __device__ double of(double v) const { return tanh(v); }
    template <typename W>
    __device__ W slope(W g, W y) const {
        return g - g * (y * y);
    }
};
struct gelu_act {
    template <typename W>
    __device__ W of(W v) const {
        return v * dpt_normal(v);
    }
    template <typename W>
    __device__ W slope(W g, W z) const {
        return g * (dpt_normal(z) + z * dpt_normal_density(z));
    }
};

/* The valid elements of an operand, which stand first. */
struct extent {
    const dpt_block *block;
    int axis;
    int64_t row_count; /* elements */
    __device__ int64_t count() const { return dpt_rows(block, axis) * row_count; }
};

extent extent_of(const dpt_call *call, const dpt_operand *o) { return {call->block, o->axis, o->row_count}; }

/* y[i] = act(z[i]); y may be z. Two packs a thread and turn, loaded before they are used. */
template <typename T, typename Act>
__global__ void __launch_bounds__(THREADS) act_kernel(extent valid, Act act, const T *z, T *y) {
    typedef dpt_pack<T> pack;
    const int64_t count = valid.count(), packs = count / pack::N;
    const int64_t first = (int64_t)blockIdx.x * THREADS + threadIdx.x, step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = first; i < packs; i += 2 * step) {
        const bool second = i + step < packs;
        pack v = ((const pack *)z)[i], w = ((const pack *)z)[second ? i + step : i];
#pragma unroll
        for (int j = 0; j < pack::N; j++) {
            v.v[j] = dpt_store<T>(act.of(dpt_load(v.v[j])));
            w.v[j] = dpt_store<T>(act.of(dpt_load(w.v[j])));
        }
        ((pack *)y)[i] = v;
        if (second) ((pack *)y)[i + step] = w;
    }
    const int64_t tail = packs * pack::N + first;
    if (tail < count) y[tail] = dpt_store<T>(act.of(dpt_load(z[tail])));
}

/* z[i,j] = c[i,j] + b[j], kept where z is not NULL, and y = act(z): where the product took no bias. z or y may be c. */
template <typename T, typename Act>
__global__ void __launch_bounds__(THREADS)
    bias_act_kernel(extent valid, Act act, const T *c, const T *b, int64_t n, T *z, T *y) {
    const int64_t count = valid.count(), step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const T sum = dpt_store<T>(dpt_load(c[i]) + dpt_load(b[i % n]));
        if (z) z[i] = sum;
        y[i] = dpt_store<T>(act.of(dpt_load(sum)));
    }
}

/* dx[i] = slope(dx[i], y[i]), in place; as above. */
template <typename T, typename Act>
__global__ void __launch_bounds__(THREADS) slope_kernel(extent valid, Act act, const T *y, T *dx) {
    typedef dpt_pack<T> pack;
    const int64_t count = valid.count(), packs = count / pack::N;
    const int64_t first = (int64_t)blockIdx.x * THREADS + threadIdx.x, step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = first; i < packs; i += 2 * step) {
        const bool second = i + step < packs;
        const int64_t at[2] = {i, second ? i + step : i};
        pack g[2] = {((const pack *)dx)[at[0]], ((const pack *)dx)[at[1]]};
        const pack w[2] = {((const pack *)y)[at[0]], ((const pack *)y)[at[1]]};
#pragma unroll
        for (int k = 0; k < 2; k++)
#pragma unroll
            for (int j = 0; j < pack::N; j++)
                g[k].v[j] = dpt_store<T>(act.slope(dpt_load(g[k].v[j]), dpt_load(w[k].v[j])));
        ((pack *)dx)[i] = g[0];
        if (second) ((pack *)dx)[i + step] = g[1];
    }
    const int64_t tail = packs * pack::N + first;
    if (tail < count) dx[tail] = dpt_store<T>(act.slope(dpt_load(dx[tail]), dpt_load(y[tail])));
}

}  // namespace

/* Runs the statement with Act bound to the struct of an activation other than none, and act to one of it. */
#define FOR_ACT_CASE(type, value, ...) \
    {                                  \
        typedef type Act;              \
        const Act act = value;         \
        __VA_ARGS__;                   \
        break;                         \
    }
#define FOR_ACT(attr_, ...)                                                        \
    do {                                                                           \
        switch ((attr_).act) {                                                     \
            case DPT_ACT_RELU:                                                     \
                if ((attr_).slope != 0)                                            \
                    FOR_ACT_CASE(leaky_act, leaky_act{(attr_).slope}, __VA_ARGS__) \
                FOR_ACT_CASE(relu_act, relu_act(), __VA_ARGS__)                    \
            case DPT_ACT_GELU: FOR_ACT_CASE(gelu_act, gelu_act(), __VA_ARGS__)     \
            case DPT_ACT_TANH: FOR_ACT_CASE(tanh_act, tanh_act(), __VA_ARGS__)     \
            default: return dpt_error(DPT_ERR_INTERNAL, "no activation");          \
        }                                                                          \
    } while (0)

/* Blocks for a kernel that moves an operand 16 bytes at a time. */
static unsigned blocks_for(const dpt_call *call, const dpt_operand *o) {
    return dpt_blocks_for(call, o->count * (int64_t)dpt_dtype_size(o->dtype) / 16 + 1, THREADS);
}

/* ---- linear: out 0 = act(x w^T + b), x [..., in], w [out, in], b [out]; for gelu out 1 = its argument ---- */

static dpt_status linear_prepare(dpt_call *call) {
    const dpt_operand *x = &call->in[0], *w = &call->in[1];
    dpt_cuda_product d = {};
    d.batch = 1;
    d.n = w->dim[0];
    d.k = w->dim[1];
    d.m = d.k > 0 ? x->count / d.k : 0;
    d.transpose_b = true;
    d.in = x->dtype;
    d.out = call->out[0].dtype;
    DPT_CHECK(!call->attr.matmul.bias || call->in[2].dtype == d.out, DPT_ERR_SHAPE, "the bias is %s, the result %s",
              dpt_dtype_text(call->in[2].dtype), dpt_dtype_text(d.out));
    if (call->attr.matmul.bias) d.with |= DPT_PRODUCT_BIAS;
    if (call->attr.matmul.act == DPT_ACT_RELU && call->attr.matmul.slope == 0) d.with |= DPT_PRODUCT_RELU;
    return dpt_cuda_product_prepare(call, &d);
}

/* Where the activation's argument goes: output 1 where it is kept. */
static void *linear_argument(const dpt_call *call) {
    return call->attr.matmul.act == DPT_ACT_GELU ? call->out[1].data : call->out[0].data;
}

static dpt_status linear_bind(dpt_call *call) {
    return dpt_cuda_product_bind(call, call->in[0].data, call->in[1].data, linear_argument(call),
                                 call->attr.matmul.bias ? call->in[2].data : NULL);
}

template <typename T>
static dpt_status run_act(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *y = &call->out[0];
    FOR_ACT(call->attr.matmul, return DPT_LAUNCH((act_kernel<T, Act>), blocks_for(call, y), THREADS, 0, stream, extent_of(call, y),
                              act, (const T *)linear_argument(call), (T *)y->data));
}

template <typename T>
static dpt_status run_bias_act(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *y = &call->out[0];
    const unsigned blocks = dpt_blocks_for(call, y->count, THREADS);
    const T *b = (const T *)call->in[2].data, *c = (const T *)linear_argument(call);
    T *z = call->attr.matmul.act == DPT_ACT_GELU ? (T *)call->out[1].data : (T *)NULL;
    const int64_t n = y->dim[y->ndim - 1];
    const extent valid = extent_of(call, y);
    if (call->attr.matmul.act == DPT_ACT_NONE)
        return DPT_LAUNCH((bias_act_kernel<T, no_act>), blocks, THREADS, 0, stream, valid, no_act(), c, b, n, z,
                          (T *)y->data);
    FOR_ACT(call->attr.matmul, return DPT_LAUNCH((bias_act_kernel<T, Act>), blocks, THREADS, 0, stream, valid, act, c, b, n, z,
                                                       (T *)y->data));
}

static dpt_status linear_run(dpt_call *call, dpt_stream *stream) {
    const unsigned done = dpt_cuda_product_does(call);
    const bool bias = call->attr.matmul.bias && !(done & DPT_PRODUCT_BIAS);
    DPT_TRY(dpt_cuda_product_run(call, stream));
    if (bias) DPT_FOR_FLOAT(call->out[0].dtype, T, return run_bias_act<T>(call, stream));
    if (call->attr.matmul.act == DPT_ACT_NONE || done & DPT_PRODUCT_RELU) return DPT_OK;
    DPT_FOR_FLOAT(call->out[0].dtype, T, return run_act<T>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL(linear, linear_prepare, linear_bind, linear_run, dpt_cuda_product_release)

/* ---- linear_dgrad: (g w) * act'(y), g [..., out], w [out, in]; y [..., in] is the output of the layer before whose
 * activation act is, or the argument of a gelu ---- */

static dpt_status linear_dgrad_prepare(dpt_call *call) {
    const dpt_operand *g = &call->in[0], *w = &call->in[1];
    dpt_cuda_product d = {};
    d.batch = 1;
    d.n = w->dim[1];
    d.k = w->dim[0];
    d.m = d.k > 0 ? g->count / d.k : 0;
    d.in = g->dtype;
    d.out = call->out[0].dtype;
    DPT_CHECK(call->attr.matmul.act == DPT_ACT_NONE || call->in[2].dtype == d.out, DPT_ERR_SHAPE,
              "the activation's output is %s, its gradient %s", dpt_dtype_text(call->in[2].dtype),
              dpt_dtype_text(d.out));
    return dpt_cuda_product_prepare(call, &d);
}

static dpt_status linear_dgrad_bind(dpt_call *call) {
    return dpt_cuda_product_bind(call, call->in[0].data, call->in[1].data, call->out[0].data, NULL);
}

template <typename T>
static dpt_status run_slope(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *dx = &call->out[0];
    FOR_ACT(call->attr.matmul, return DPT_LAUNCH((slope_kernel<T, Act>), blocks_for(call, dx), THREADS, 0, stream, extent_of(call, dx),
                              act, (const T *)call->in[2].data, (T *)dx->data));
}

static dpt_status linear_dgrad_run(dpt_call *call, dpt_stream *stream) {
    DPT_TRY(dpt_cuda_product_run(call, stream));
    if (call->attr.matmul.act == DPT_ACT_NONE) return DPT_OK;
    DPT_FOR_FLOAT(call->out[0].dtype, T, return run_slope<T>(call, stream));
    return DPT_OK;
}

DPT_CUDA_KERNEL(linear_dgrad, linear_dgrad_prepare, linear_dgrad_bind, linear_dgrad_run, dpt_cuda_product_release)

/* ---- linear_wgrad: out 0 = g^T x [out, in], out 1 = sum of the rows of g [out]; g [..., out], x [..., in]
 *
 * The sums of 16-bit gradients come with the product where it has them. Those of f32 and f64 are summed here, as
 * exactly as on the CPU to within 1e-6: eight rows in the type of the arithmetic, then in f64. ---- */

enum { COLUMNS = 32, ROW_THREADS = THREADS / COLUMNS, ROWS_AT_ONCE = 8, LEAST_ROWS = 256, MOST_BLOCKS = 1024 };

namespace {

/* How the sum is divided, by the shape alone: blocks of 32 columns, each in `splits` stretches of `rows` rows. */
struct division {
    int64_t columns, rows;
    unsigned splits;
};

division division_of(const dpt_operand *g) {
    const int64_t columns = g->dim[g->ndim - 1], all = g->count / columns;
    const int64_t wide = MOST_BLOCKS / ((columns + COLUMNS - 1) / COLUMNS), tall = all / LEAST_ROWS;
    int64_t splits = wide < tall ? wide : tall;
    if (splits < 1) splits = 1;
    return {columns, (all + splits - 1) / splits, (unsigned)splits};
}

/* to[s,j] = sum over the valid rows i of stretch s of g[i,j]; block (column block, s). A warp reads 32 columns of every
 * eighth row. */
template <typename T, typename S>
__global__ void __launch_bounds__(THREADS) column_sums_kernel(extent valid, const T *g, division d, S *to) {
    __shared__ double part[ROW_THREADS][COLUMNS];
    typedef dpt_wide<T> W;
    const int64_t column = (int64_t)blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    const int64_t all = valid.count() / d.columns, begin = blockIdx.y * d.rows;
    const int64_t end = begin + d.rows < all ? begin + d.rows : all;
    double total = 0;
    if (column < d.columns) {
        int64_t i = begin + threadIdx.x / COLUMNS;
        for (; i + (ROWS_AT_ONCE - 1) * ROW_THREADS < end; i += ROWS_AT_ONCE * ROW_THREADS) {
            W v[ROWS_AT_ONCE];
#pragma unroll
            for (int j = 0; j < ROWS_AT_ONCE; j++) v[j] = dpt_load(g[(i + j * ROW_THREADS) * d.columns + column]);
            total += (double)(((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])));
        }
        for (; i < end; i += ROW_THREADS) total += (double)dpt_load(g[i * d.columns + column]);
    }
    part[threadIdx.x / COLUMNS][threadIdx.x % COLUMNS] = total;
    __syncthreads();
    if (threadIdx.x >= COLUMNS || column >= d.columns) return;
    for (int i = 1; i < ROW_THREADS; i++) total += part[i][threadIdx.x];
    to[blockIdx.y * d.columns + column] = dpt_store<S>((dpt_wide<S>)total);
}

/* sum[j] = sum over s of part[s,j] */
template <typename S>
__global__ void __launch_bounds__(THREADS) add_splits_kernel(const double *part, division d, S *sum) {
    const int64_t j = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (j >= d.columns) return;
    double total = 0;
    for (unsigned s = 0; s < d.splits; s++) total += part[s * d.columns + j];
    sum[j] = dpt_store<S>((dpt_wide<S>)total);
}

}  // namespace

template <typename T, typename S>
static dpt_status run_column_sums(const dpt_call *call, dpt_stream *stream) {
    const dpt_operand *g = &call->in[0];
    const division d = division_of(g);
    const extent valid = extent_of(call, g);
    const dim3 grid((unsigned)((d.columns + COLUMNS - 1) / COLUMNS), d.splits);
    const T *from = (const T *)g->data;
    S *sum = (S *)call->out[1].data;
    double *part = (double *)call->workspace;
    if (d.splits == 1) return DPT_LAUNCH((column_sums_kernel<T, S>), grid, THREADS, 0, stream, valid, from, d, sum);
    DPT_TRY(DPT_LAUNCH((column_sums_kernel<T, double>), grid, THREADS, 0, stream, valid, from, d, part));
    const unsigned blocks = (unsigned)((d.columns + THREADS - 1) / THREADS);
    return DPT_LAUNCH(add_splits_kernel<S>, blocks, THREADS, 0, stream, part, d, sum);
}

static dpt_status linear_wgrad_prepare(dpt_call *call) {
    const dpt_operand *g = &call->in[0], *x = &call->in[1];
    dpt_cuda_product d = {};
    d.batch = 1;
    d.m = g->dim[g->ndim - 1];
    d.n = x->dim[x->ndim - 1];
    d.k = d.m > 0 ? g->count / d.m : 0;
    d.transpose_a = true;
    d.in = g->dtype;
    d.out = call->out[0].dtype;
    const bool bias = call->attr.matmul.bias, narrow = d.in == DPT_BF16 || d.in == DPT_F16;
    DPT_CHECK(!bias || call->out[1].dtype == d.out, DPT_ERR_SHAPE, "the bias gradient is %s, the weight's %s",
              dpt_dtype_text(call->out[1].dtype), dpt_dtype_text(d.out));
    if (bias && narrow) d.with = DPT_PRODUCT_SUMS;
    DPT_TRY(dpt_cuda_product_prepare(call, &d));
    if (!bias || dpt_cuda_product_does(call) & DPT_PRODUCT_SUMS) return DPT_OK;
    const division parts = division_of(g);
    const size_t bytes = parts.splits > 1 ? parts.splits * (size_t)parts.columns * sizeof(double) : 0;
    if (call->workspace_bytes < bytes) call->workspace_bytes = bytes;
    return DPT_OK;
}

static dpt_status linear_wgrad_bind(dpt_call *call) {
    return dpt_cuda_product_bind(call, call->in[0].data, call->in[1].data, call->out[0].data,
                                 call->attr.matmul.bias ? call->out[1].data : NULL);
}

static dpt_status run_bias_gradient(const dpt_call *call, dpt_stream *stream) {
    const dpt_dtype to = call->out[1].dtype;
    if (call->in[0].dtype == to)
        DPT_FOR_FLOAT(to, T, return (run_column_sums<T, T>(call, stream)));
    else if (call->in[0].dtype == DPT_BF16)
        return run_column_sums<__nv_bfloat16, float>(call, stream);
    return run_column_sums<__half, float>(call, stream);
}

static dpt_status linear_wgrad_run(dpt_call *call, dpt_stream *stream) {
    const bool sums = call->attr.matmul.bias && !(dpt_cuda_product_does(call) & DPT_PRODUCT_SUMS);
    if (sums) DPT_TRY(run_bias_gradient(call, stream));
    DPT_TRY(dpt_cuda_zero_padding(call, &call->in[0], &call->in[1], stream));
    return dpt_cuda_product_run(call, stream);
}

DPT_CUDA_KERNEL(linear_wgrad, linear_wgrad_prepare, linear_wgrad_bind, linear_wgrad_run, dpt_cuda_product_release)
