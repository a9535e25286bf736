/* loss.cu: losses per sample on the GPU, their slopes, and the factor that turns their sum into the mean over the
 * global count.
 *
 * mse, l1, huber and bce are one kernel with another term f(y, t). A sample's terms are summed by four lanes where it
 * is short, by a warp, or by several blocks where it is long: a block a stretch of SPLIT elements, then a second
 * kernel adds the stretches. Terms and the sums of up to SPLIT of them are in f32 (f64 for f64), in many partial
 * sums: within 1e-6 of the f64 sum. Invariant: which thread sums what depends on shapes alone. */
#include <math.h>

#include "cuda/launch.h"
#include "cuda/layouts.h"
#include "cuda/map.cuh"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"
#include "ops/op_list.h"

enum { THREADS = 256, SHORT_ROW = 32, MIDDLE_ROW = 4096, SPLIT = 16384 };

/* ---- mse, l1, huber, bce: out[b] = sum over the row of f(y, t) / row, y and t [B, ...] ---- */

enum row_loss_kind { MSE, L1, HUBER, BCE };

struct loss_rows {
    row_loss_kind kind;
    double delta;      /* huber */
    const void *y, *t; /* (rows, n) */
    void *out;         /* (rows) */
    dpt_dtype out_dtype;
    int64_t n, splits; /* splits: blocks a row */
    int axis;
};

__device__ __forceinline__ float exponential(float v) { return expf(v); }
__device__ __forceinline__ double exponential(double v) { return exp(v); }
__device__ __forceinline__ float log_of_1_and(float v) { return log1pf(v); }
__device__ __forceinline__ double log_of_1_and(double v) { return log1p(v); }

/* f(y, t), d = y - t: d^2; |d|; d^2/2 where |d| <= delta, else delta (|d| - delta/2); log(1 + e^y) - t y */
template <typename W>
__device__ __forceinline__ W term_of(row_loss_kind kind, W y, W t, W delta) {
    const W d = y - t, size = d < 0 ? -d : d;
    if (kind == MSE) return d * d;
    if (kind == L1) return size;
    if (kind == HUBER) return size <= delta ? d * d / 2 : delta * (size - delta / 2);
    return (y > 0 ? y : 0) + log_of_1_and(exponential(y < 0 ? y : -y)) - t * y;
}

template <typename T, int N>
__device__ __forceinline__ dpt_wide<T> terms_of(const loss_rows &run, const T *y, const T *t, int64_t at) {
    typedef dpt_elements<T, N> group;
    const group a = *(const group *)(y + at), b = *(const group *)(t + at);
    dpt_wide<T> sum = 0;
#pragma unroll
    for (int j = 0; j < N; j++)
        sum += term_of<dpt_wide<T>>(run.kind, dpt_load(a.v[j]), dpt_load(b.v[j]), (dpt_wide<T>)run.delta);
    return sum;
}

template <typename T, int N, int LANES>
__global__ void __launch_bounds__(THREADS) loss_kernel(loss_rows run, const dpt_block *block) {
    const int64_t rows = dpt_rows(block, run.axis);
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row(), n = row < rows ? run.n : 0;
        const T *y = (const T *)run.y + row * run.n, *t = (const T *)run.t + row * run.n;
        dpt_wide<T> sum = 0;
#pragma unroll 4
        for (int64_t at = walk.lane * N; at < n; at += LANES * N) sum += terms_of<T, N>(run, y, t, at);
        sum = dpt_lanes_sum<LANES>(sum);
        if (walk.lane == 0 && row < rows) dpt_scalar_write(run.out, run.out_dtype, row, sum / (dpt_wide<T>)run.n);
    }
}

/* partial[row, split]: sums of stretches of SPLIT elements */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS) split_kernel(loss_rows run, double *partial, const dpt_block *block) {
    const int64_t items = dpt_rows(block, run.axis) * run.splits;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const int64_t row = item / run.splits, begin = item % run.splits * SPLIT;
        const int64_t end = begin + SPLIT < run.n ? begin + SPLIT : run.n;
        const T *y = (const T *)run.y + row * run.n, *t = (const T *)run.t + row * run.n;
        dpt_wide<T> sum = 0;
#pragma unroll 4
        for (int64_t at = begin + threadIdx.x * N; at < end; at += THREADS * N)
            sum += terms_of<T, N>(run, y, t, at);
        const double total = dpt_block_sum((double)sum);
        if (threadIdx.x == 0) partial[item] = total;
    }
}

__global__ void __launch_bounds__(THREADS)
    join_kernel(loss_rows run, const double *partial, const dpt_block *block) {
    const int64_t rows = dpt_rows(block, run.axis);
    for (dpt_row_walk<32> walk; walk.first < rows; walk.first += walk.step) {
        double sum = 0;
        for (int64_t i = walk.lane; i < run.splits; i += 32) sum += partial[walk.first * run.splits + i];
        sum = dpt_lanes_sum<32>(sum);
        if (walk.lane == 0) dpt_scalar_write(run.out, run.out_dtype, walk.first, sum / (double)run.n);
    }
}

static int64_t splits_of(const dpt_call *call) {
    const int64_t n = call->in[0].row_count;
    return n <= MIDDLE_ROW ? 0 : (n + SPLIT - 1) / SPLIT;
}

static dpt_status loss_prepare(dpt_call *call) {
    call->workspace_bytes = (size_t)(call->in[0].dim[0] * splits_of(call)) * sizeof(double);
    return DPT_OK;
}

template <typename T, int N>
static dpt_status loss_launch(dpt_call *call, dpt_stream *stream, const loss_rows &run) {
    const int64_t rows = call->in[0].dim[0];
    double *partial = (double *)call->workspace;
    if (run.n <= SHORT_ROW)
        return DPT_LAUNCH((loss_kernel<T, N, 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS, 0, stream, run,
                          call->block);
    const unsigned blocks = dpt_blocks_for(call, rows * 32, THREADS);
    if (run.n <= MIDDLE_ROW) return DPT_LAUNCH((loss_kernel<T, N, 32>), blocks, THREADS, 0, stream, run, call->block);
    DPT_TRY(DPT_LAUNCH((split_kernel<T, N>), dpt_blocks_for(call, rows * run.splits * THREADS, THREADS), THREADS, 0,
                       stream, run, partial, call->block));
    return DPT_LAUNCH(join_kernel, blocks, THREADS, 0, stream, run, (const double *)partial, call->block);
}

static dpt_status loss_run(dpt_call *call, dpt_stream *stream, row_loss_kind kind) {
    const dpt_operand *y = &call->in[0], *t = &call->in[1];
    loss_rows run = {};
    run.kind = kind;
    run.delta = call->attr.slope.delta;
    run.y = y->data;
    run.t = t->data;
    run.out = call->out[0].data;
    run.out_dtype = call->out[0].dtype;
    run.n = y->row_count;
    run.splits = splits_of(call);
    run.axis = y->axis;
    const bool packs = dpt_in_packs(run.y, run.n, y->dtype) && dpt_in_packs(run.t, run.n, t->dtype);
    DPT_FOR_FLOAT(y->dtype, T, {
        if (packs) return loss_launch<T, dpt_pack<T>::N>(call, stream, run);
        return loss_launch<T, 1>(call, stream, run);
    });
    return DPT_OK;
}

static dpt_status mse_run(dpt_call *call, dpt_stream *stream) { return loss_run(call, stream, MSE); }
static dpt_status l1_run(dpt_call *call, dpt_stream *stream) { return loss_run(call, stream, L1); }
static dpt_status huber_run(dpt_call *call, dpt_stream *stream) { return loss_run(call, stream, HUBER); }
static dpt_status bce_run(dpt_call *call, dpt_stream *stream) { return loss_run(call, stream, BCE); }

DPT_CUDA_KERNEL(mse, loss_prepare, NULL, mse_run, NULL)
DPT_CUDA_KERNEL(l1, loss_prepare, NULL, l1_run, NULL)
DPT_CUDA_KERNEL(huber, loss_prepare, NULL, huber_run, NULL)
DPT_CUDA_KERNEL(bce, loss_prepare, NULL, bce_run, NULL)

/* ---- loss_slope: derivatives of f by y. Order 1: l1 sign(d), huber d within [-delta, delta], bce sigmoid(y) - t; order
 * 2: huber 1 where |d| <= delta, else 0 ---- */

struct slope_of {
    int op, order;
    double delta;
    template <typename W>
    __device__ __forceinline__ W operator()(W y, W t) const {
        const W d = y - t, most = (W)delta;
        if (op == DPT_OP_L1) return (W)((d > 0) - (d < 0));
        if (op == DPT_OP_BCE) {
            const W e = exponential(y < 0 ? y : -y);
            return (y < 0 ? e : 1) / (1 + e) - t;
        }
        if (order == 2) return (W)(d <= most && -d <= most ? 1 : 0);
        return d > most ? most : d < -most ? -most : d;
    }
};

static dpt_status loss_slope_run(dpt_call *call, dpt_stream *stream) {
    const slope_of slope = {call->attr.slope.of, call->attr.slope.order, call->attr.slope.delta};
    DPT_FOR_FLOAT(call->out[0].dtype, T, return (dpt_spread_launch<T, 2>(call, stream, slope)));
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(loss_slope, NULL, NULL, loss_slope_run, NULL, dpt_cuda_map_layouts)

/* ---- loss_scale: weight / count, 0 where count is 0 ---- */

__global__ void loss_scale_kernel(const double *count, double weight, void *out, dpt_dtype dtype) {
    if (threadIdx.x == 0) dpt_scalar_write(out, dtype, 0, *count > 0 ? weight / *count : 0.0);
}

static dpt_status loss_scale_run(dpt_call *call, dpt_stream *stream) {
    return DPT_LAUNCH(loss_scale_kernel, 1, 32, 0, stream, (const double *)call->in[0].data, call->attr.loss.weight,
                      call->out[0].data, call->out[0].dtype);
}

DPT_CUDA_KERNEL(loss_scale, NULL, NULL, loss_scale_run, NULL)
