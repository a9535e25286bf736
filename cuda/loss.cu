/* loss.cu: losses per sample on the GPU, and the factor that turns their sum into the mean over the global count.
 *
 * A sample's squares are summed by four lanes where it is short, by a warp, or by several blocks where it is long: a
 * block a stretch of SPLIT elements, then a second kernel adds the stretches. Differences and the sums of up to SPLIT
 * squares are in f32 (f64 for f64), in many partial sums: within 1e-6 of the f64 sum. Invariant: which thread sums what
 * depends on shapes alone. */
#include "cuda/launch.h"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"

enum { THREADS = 256, SHORT_ROW = 32, MIDDLE_ROW = 4096, SPLIT = 16384 };

/* ---- mse: out[b] = sum over the row of (y - t)^2 / row, y and t [B, ...] ---- */

struct mse_rows {
    const void *y, *t; /* (rows, n) */
    void *out;         /* (rows) */
    dpt_dtype out_dtype;
    int64_t n, splits; /* splits: blocks a row */
    int axis;
};

template <typename T, int N>
__device__ __forceinline__ dpt_wide<T> square_difference(const T *y, const T *t, int64_t at) {
    typedef dpt_elements<T, N> group;
    const group a = *(const group *)(y + at), b = *(const group *)(t + at);
    dpt_wide<T> sum = 0;
#pragma unroll
    for (int j = 0; j < N; j++) {
        const dpt_wide<T> d = dpt_load(a.v[j]) - dpt_load(b.v[j]);
        sum += d * d;
    }
    return sum;
}

template <typename T, int N, int LANES>
__global__ void __launch_bounds__(THREADS) mse_kernel(mse_rows run, const dpt_block *block) {
    const int64_t rows = dpt_rows(block, run.axis);
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row(), n = row < rows ? run.n : 0;
        const T *y = (const T *)run.y + row * run.n, *t = (const T *)run.t + row * run.n;
        dpt_wide<T> sum = 0;
#pragma unroll 4
        for (int64_t at = walk.lane * N; at < n; at += LANES * N) sum += square_difference<T, N>(y, t, at);
        sum = dpt_lanes_sum<LANES>(sum);
        if (walk.lane == 0 && row < rows) dpt_scalar_write(run.out, run.out_dtype, row, sum / (dpt_wide<T>)run.n);
    }
}

/* partial[row, split]: sums of stretches of SPLIT elements */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS) mse_split_kernel(mse_rows run, double *partial, const dpt_block *block) {
    const int64_t items = dpt_rows(block, run.axis) * run.splits;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const int64_t row = item / run.splits, begin = item % run.splits * SPLIT;
        const int64_t end = begin + SPLIT < run.n ? begin + SPLIT : run.n;
        const T *y = (const T *)run.y + row * run.n, *t = (const T *)run.t + row * run.n;
        dpt_wide<T> sum = 0;
#pragma unroll 4
        for (int64_t at = begin + threadIdx.x * N; at < end; at += THREADS * N)
            sum += square_difference<T, N>(y, t, at);
        const double total = dpt_block_sum((double)sum);
        if (threadIdx.x == 0) partial[item] = total;
    }
}

__global__ void __launch_bounds__(THREADS)
    mse_join_kernel(mse_rows run, const double *partial, const dpt_block *block) {
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

static dpt_status mse_prepare(dpt_call *call) {
    call->workspace_bytes = (size_t)(call->in[0].dim[0] * splits_of(call)) * sizeof(double);
    return DPT_OK;
}

template <typename T, int N>
static dpt_status mse_launch(dpt_call *call, dpt_stream *stream, const mse_rows &run) {
    const int64_t rows = call->in[0].dim[0];
    double *partial = (double *)call->workspace;
    if (run.n <= SHORT_ROW)
        return DPT_LAUNCH((mse_kernel<T, N, 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS, 0, stream, run,
                          call->block);
    const unsigned blocks = dpt_blocks_for(call, rows * 32, THREADS);
    if (run.n <= MIDDLE_ROW) return DPT_LAUNCH((mse_kernel<T, N, 32>), blocks, THREADS, 0, stream, run, call->block);
    DPT_TRY(DPT_LAUNCH((mse_split_kernel<T, N>), dpt_blocks_for(call, rows * run.splits * THREADS, THREADS), THREADS, 0,
                       stream, run, partial, call->block));
    return DPT_LAUNCH(mse_join_kernel, blocks, THREADS, 0, stream, run, (const double *)partial, call->block);
}

static dpt_status mse_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *y = &call->in[0], *t = &call->in[1];
    mse_rows run = {};
    run.y = y->data;
    run.t = t->data;
    run.out = call->out[0].data;
    run.out_dtype = call->out[0].dtype;
    run.n = y->row_count;
    run.splits = splits_of(call);
    run.axis = y->axis;
    const bool packs = dpt_in_packs(run.y, run.n, y->dtype) && dpt_in_packs(run.t, run.n, t->dtype);
    DPT_FOR_FLOAT(y->dtype, T, {
        if (packs) return mse_launch<T, dpt_pack<T>::N>(call, stream, run);
        return mse_launch<T, 1>(call, stream, run);
    });
    return DPT_OK;
}

DPT_CUDA_KERNEL(mse, mse_prepare, NULL, mse_run, NULL)

/* ---- loss_scale: weight / count, 0 where count is 0 ---- */

__global__ void loss_scale_kernel(const double *count, double weight, void *out, dpt_dtype dtype) {
    if (threadIdx.x == 0) dpt_scalar_write(out, dtype, 0, *count > 0 ? weight / *count : 0.0);
}

static dpt_status loss_scale_run(dpt_call *call, dpt_stream *stream) {
    return DPT_LAUNCH(loss_scale_kernel, 1, 32, 0, stream, (const double *)call->in[0].data, call->attr.loss.weight,
                      call->out[0].data, call->out[0].dtype);
}

DPT_CUDA_KERNEL(loss_scale, NULL, NULL, loss_scale_run, NULL)
