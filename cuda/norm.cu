/* norm.cu: the maps of batch norm on the GPU (ops/norm.c says what each op gives; norm.cuh how the work is divided;
 * norm_reduce.cu has the sums), and what works on statistics alone. A block computes the coefficients of its tile once,
 * in f64, into shared memory. Invariant: a thread reads an element before it stores it, as the result may stand in the
 * place of operand 0. */
#include "cuda/norm.cuh"
#include "ops/op_list.h"

/* Forward, x = a: out = (a - mean) * scale + bias, + b where a residual is added, relu. Backward, x = b:
 * out = (g - add) * scale + (b - mean) * slope, g = a, but 0 where the ReLU, if there is one, was 0. */

typedef enum bn_map { APPLY, INFER, GRAD_APPLY } bn_map;

struct coefficients {
    bn_forward forward;
    float add, slope;
};

/* dx = weight * rstd * (g - sum(g)/n - xhat * sum(g*xhat)/n), xhat = (x - mean) * rstd */
template <bn_map MAP>
__device__ coefficients coefficients_of(const bn_run &run, int64_t c) {
    const int64_t channels = run.tiling.channels;
    const double weight = (double)run.weight[c];
    coefficients k = {};
    if (MAP == INFER) {
        k.forward.mean = run.mean[c];
        k.forward.scale = (float)(weight / sqrt((double)run.var[c] + run.eps));
        k.forward.bias = run.bias[c];
        return k;
    }
    const channel_moments m(run.moments, channels, c, run.eps);
    k.forward = bn_forward_of(run, m, c);
    if (MAP == APPLY) return k;
    const double n = m.count > 0 ? m.count : 1;
    k.add = (float)(run.sums[c] / n);
    k.slope = (float)(-weight * m.rstd * m.rstd * run.sums[channels + c] / n);
    return k;
}

template <bn_map MAP>
__device__ __forceinline__ float mapped(const bn_run &run, const coefficients &k, float a, float b) {
    if (MAP == GRAD_APPLY) {
        const float g = run.relu && !(k.forward(b) > 0) ? 0 : a;
        return (g - k.add) * k.forward.scale + (b - k.forward.mean) * k.slope;
    }
    const float z = k.forward(a), y = run.adds ? z + b : z;
    return run.relu && y < 0 ? 0 : y;
}

template <typename T, int N, bn_map MAP>
__global__ void __launch_bounds__(THREADS) map_planes_kernel(bn_run run) {
    typedef dpt_elements<T, N> group;
    __shared__ coefficients shared;
    const bn_part part(run);
    if (threadIdx.x == 0) shared = coefficients_of<MAP>(run, part.tile);
    __syncthreads();
    const coefficients k = shared;
    plane_walk walk(run.tiling, part.tile, part.begin + threadIdx.x);
    for (int64_t i = part.begin + threadIdx.x; i < part.end; i += AT_ONCE * THREADS) {
        group a[AT_ONCE], b[AT_ONCE] = {};
        int64_t at[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++, walk.next()) {
            at[u] = walk.offset + walk.within * N;
            if (i + u * THREADS >= part.end) continue;
            a[u] = *(const group *)((const T *)run.a + at[u]);
            if (MAP == GRAD_APPLY || run.adds) b[u] = *(const group *)((const T *)run.b + at[u]);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            if (i + u * THREADS >= part.end) break;
            group to;
#pragma unroll
            for (int j = 0; j < N; j++)
                to.v[j] = dpt_store<T>(mapped<MAP>(run, k, dpt_load(a[u].v[j]), dpt_load(b[u].v[j])));
            dpt_elements_store((group *)((T *)run.out + at[u]), to);
        }
    }
}

template <typename T, int N, bn_map MAP>
__global__ void __launch_bounds__(THREADS) map_columns_kernel(bn_run run) {
    typedef dpt_elements<T, N> group;
    __shared__ coefficients shared[MOST_COLUMNS];
    const bn_part part(run);
    const int lanes = run.tiling.lanes, lines = THREADS / lanes, columns = lanes * N;
    const int64_t channels = run.tiling.channels, first = part.tile * columns;
    if ((int)threadIdx.x < columns && first + threadIdx.x < channels)
        shared[threadIdx.x] = coefficients_of<MAP>(run, first + threadIdx.x);
    __syncthreads();
    const int column = (int)threadIdx.x % lanes * N;
    if (first + column >= channels) return;
    coefficients k[N];
#pragma unroll
    for (int j = 0; j < N; j++) k[j] = shared[column + j];
#pragma unroll 4
    for (int64_t i = part.begin + (int)threadIdx.x / lanes; i < part.end; i += lines) {
        const int64_t at = i * channels + first + column;
        const group a = *(const group *)((const T *)run.a + at);
        group b = {}, to;
        if (MAP == GRAD_APPLY || run.adds) b = *(const group *)((const T *)run.b + at);
#pragma unroll
        for (int j = 0; j < N; j++) to.v[j] = dpt_store<T>(mapped<MAP>(run, k[j], dpt_load(a.v[j]), dpt_load(b.v[j])));
        dpt_elements_store((group *)((T *)run.out + at), to);
    }
}

/* ---- calls ---- */

template <typename T, int N, bn_map MAP>
static dpt_status map_launch(dpt_stream *stream, const bn_run &run) {
    if (run.tiling.columns)
        return DPT_LAUNCH((map_columns_kernel<T, N, MAP>), bn_blocks_of(run.tiling), THREADS, 0, stream, run);
    return DPT_LAUNCH((map_planes_kernel<T, N, MAP>), bn_blocks_of(run.tiling), THREADS, 0, stream, run);
}

template <typename T, int N>
struct launch_apply {
    static dpt_status run(dpt_call *, dpt_stream *stream, const bn_run &r) {
        return map_launch<T, N, APPLY>(stream, r);
    }
};
template <typename T, int N>
struct launch_infer {
    static dpt_status run(dpt_call *, dpt_stream *stream, const bn_run &r) {
        return map_launch<T, N, INFER>(stream, r);
    }
};
template <typename T, int N>
struct launch_grad_apply {
    static dpt_status run(dpt_call *, dpt_stream *stream, const bn_run &r) {
        return map_launch<T, N, GRAD_APPLY>(stream, r);
    }
};

static dpt_status map_prepare(dpt_call *call) { return bn_check(call); }

static dpt_status apply_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.moments = (const double *)call->in[1].data;
    run.weight = (const float *)call->in[2].data;
    run.bias = (const float *)call->in[3].data;
    if (run.adds) run.b = call->in[6].data;
    return bn_launch<launch_apply>(call, stream, run);
}

static dpt_status infer_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.mean = (const float *)call->in[1].data;
    run.var = (const float *)call->in[2].data;
    run.weight = (const float *)call->in[3].data;
    run.bias = (const float *)call->in[4].data;
    if (run.adds) run.b = call->in[5].data;
    return bn_launch<launch_infer>(call, stream, run);
}

static dpt_status grad_apply_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.b = call->in[1].data;
    run.moments = (const double *)call->in[2].data;
    run.sums = (const double *)call->in[3].data;
    run.weight = (const float *)call->in[4].data;
    if (run.relu) run.bias = (const float *)call->in[5].data;
    return bn_launch<launch_grad_apply>(call, stream, run);
}

DPT_CUDA_KERNEL_LAYOUTS(bn_apply, map_prepare, NULL, apply_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_infer, map_prepare, NULL, infer_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_grad_apply, map_prepare, NULL, grad_apply_run, NULL, dpt_cuda_planes_layouts)

/* ---- by channel: bn_param_grad, bn_running ---- */

/* dweight = sum g*xhat, dbias = sum g */
__global__ void param_grad_kernel(const double *sums, float *dweight, float *dbias, int64_t channels) {
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= channels) return;
    dweight[c] = (float)sums[channels + c];
    dbias[c] = (float)sums[c];
}

static dpt_status param_grad_run(dpt_call *call, dpt_stream *stream) {
    const int64_t channels = call->attr.norm.channels;
    return DPT_LAUNCH(param_grad_kernel, (unsigned)bn_ceiling(channels, THREADS), THREADS, 0, stream,
                      (const double *)call->in[0].data, (float *)call->out[0].data, (float *)call->out[1].data,
                      channels);
}

/* running += momentum * (new - running), with the unbiased variance; one element has none and leaves it, no element
 * leaves all. weight counts the elements seen. */
struct running_statistics {
    const double *moments, *old_weight;
    const float *old_mean, *old_var;
    float *mean, *var;
    double *weight;
    int64_t channels;
    double momentum, eps;
};

__global__ void running_kernel(running_statistics r) {
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= r.channels) return;
    const channel_moments m(r.moments, r.channels, c, r.eps);
    const double to_mean = m.count > 0 ? r.momentum : 0, to_var = m.count > 1 ? r.momentum : 0;
    const double unbiased = m.count > 1 ? m.var * m.count / (m.count - 1) : 0;
    r.mean[c] = (float)((1 - to_mean) * (double)r.old_mean[c] + to_mean * m.mean);
    r.var[c] = (float)((1 - to_var) * (double)r.old_var[c] + to_var * unbiased);
    if (c == 0) r.weight[0] = r.old_weight[0] + m.count;
}

static dpt_status running_run(dpt_call *call, dpt_stream *stream) {
    running_statistics r = {};
    r.moments = (const double *)call->in[0].data;
    r.old_mean = (const float *)call->in[1].data;
    r.old_var = (const float *)call->in[2].data;
    r.old_weight = (const double *)call->in[3].data;
    r.mean = (float *)call->out[0].data;
    r.var = (float *)call->out[1].data;
    r.weight = (double *)call->out[2].data;
    r.channels = call->attr.norm.channels;
    r.momentum = call->attr.norm.momentum;
    r.eps = call->attr.norm.eps;
    return DPT_LAUNCH(running_kernel, (unsigned)bn_ceiling(r.channels, THREADS), THREADS, 0, stream, r);
}

DPT_CUDA_KERNEL(bn_param_grad, NULL, NULL, param_grad_run, NULL)
DPT_CUDA_KERNEL(bn_running, NULL, NULL, running_run, NULL)
