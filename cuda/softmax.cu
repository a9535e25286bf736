/* softmax.cu: softmax over the last dimension, cross-entropy and its fused gradient, one_hot and accuracy on the GPU.
 *
 * Rows of up to 1024 logits are held in the registers of a warp, or of four lanes where they are very short; a longer
 * row is a block's, which keeps it in shared memory where it fits. Either way the logits are read from memory once, and
 * one kernel makes what is asked for: softmax, loss or gradient. Invariants: a thread writes only where it has read
 * itself, after its whole row is summed, so that the output may stand in the place of the logits; sums are made in an
 * order that depends on shapes alone. */
#include <float.h>
#include <math.h>

#include "cuda/launch.h"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"

enum { THREADS = 256, ROW_THREADS = 512, SHORT_ROW = 32, MIDDLE_ROW = 256, LONG_ROW = 1024 };
enum { PLAIN_SHARED = 48 << 10 }; /* bytes of shared memory that need no permission */

typedef enum row_goal { SOFTMAX, LOSS, GRADIENT } row_goal;

struct row_run {
    row_goal goal;
    const void *x;      /* (rows, n) */
    void *y;            /* (rows, n); LOSS: (rows) */
    const void *g;      /* (rows): GRADIENT */
    const void *target; /* (rows): integers */
    dpt_dtype target_dtype, g_dtype, y_dtype;
    int64_t n, rows_each; /* rows_each: for one row of the batch, all rows where there is no batch */
    int axis;
    bool keep; /* a block keeps its row in shared memory */
};

__device__ __forceinline__ int64_t target_of(const row_run &run, int64_t row) {
    switch (run.target_dtype) {
        case DPT_U8: return ((const uint8_t *)run.target)[row];
        case DPT_I32: return ((const int32_t *)run.target)[row];
        default: return ((const int64_t *)run.target)[row];
    }
}

/* ---- what one row gives ---- */

__device__ __forceinline__ float exponential(float v) { return expf(v); }
__device__ __forceinline__ double exponential(double v) { return exp(v); }

/* loss = log(sum of exp(x - max)) - (x[t] - max). others is the sum without x[t]: where x[t] is the largest, its
 * exponential is 1 and log1p keeps losses that are small beside 1. */
template <typename T, typename W>
__device__ void loss_write(const row_run &run, int64_t row, int64_t t, W max, W others) {
    W loss = (W)NAN;
    if (t >= 0 && t < run.n) {
        const W distance = dpt_load(((const T *)run.x)[row * run.n + t]) - max;
        loss = distance == 0 ? (W)log1p(others) : (W)log(others + exponential(distance)) - distance;
    }
    dpt_scalar_write(run.y, run.y_dtype, row, loss);
}

/* What a row's exponentials are multiplied by: 1 / sum, g / sum. */
template <typename W>
__device__ W factor_of(const row_run &run, W g, W sum) {
    return (run.goal == GRADIENT ? g : (W)1) / sum;
}

/* ---- rows in registers: LANES lanes a row, VALUES logits each, N at once ---- */

template <typename T, int N, int LANES, int VALUES>
__global__ void __launch_bounds__(THREADS) row_kernel(row_run run, const dpt_block *block) {
    typedef dpt_wide<T> W;
    typedef dpt_elements<T, N> group;
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row(), n = row < rows ? run.n : 0;
        const int64_t t = row < rows && run.goal != SOFTMAX ? target_of(run, row) : -1;
        const T *x = (const T *)run.x + row * run.n;
        W value[VALUES], max = (W)-INFINITY, sum = 0;
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const int at = (k * LANES + walk.lane) * N;
            group from = {};
            if (at < n) from = *(const group *)(x + at);
#pragma unroll
            for (int j = 0; j < N; j++) {
                value[k * N + j] = at < n ? dpt_load(from.v[j]) : (W)-INFINITY;
                max = value[k * N + j] > max ? value[k * N + j] : max;
            }
        }
        max = dpt_lanes_max<LANES>(max);
#pragma unroll
        for (int i = 0; i < VALUES; i++) {
            const int at = (i / N * LANES + walk.lane) * N + i % N;
            value[i] = exponential(value[i] - max);
            sum += run.goal == LOSS && at == t ? 0 : value[i];
        }
        sum = dpt_lanes_sum<LANES>(sum);
        if (run.goal == LOSS) {
            if (walk.lane == 0 && row < rows) loss_write<T>(run, row, t, max, sum);
            continue;
        }
        const W g = run.goal == GRADIENT && row < rows ? dpt_scalar_read<W>(run.g, run.g_dtype, row) : 0;
        const W factor = factor_of(run, g, sum);
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const int at = (k * LANES + walk.lane) * N;
            group to;
#pragma unroll
            for (int j = 0; j < N; j++) to.v[j] = dpt_store<T>(value[k * N + j] * factor - (at + j == t ? g : 0));
            if (at < n) dpt_elements_store((group *)((T *)run.y + row * run.n + at), to);
        }
    }
}

/* ---- a block a row ---- */

/* Largest value and sum of exp(v - max) over what a thread has seen; starts at the lowest finite number, so that minus
 * infinity, NaN and infinity end where they do in two passes. */
template <typename W>
struct running_sum {
    W max, sum;
    __device__ void raise(W to) {
        if (!(to > max)) return;
        sum *= exponential(max - to);
        max = to;
    }
};

__device__ __forceinline__ float lowest(float) { return -FLT_MAX; }
__device__ __forceinline__ double lowest(double) { return -DBL_MAX; }

/* Adds N logits that begin at element `at`; `without` is left out of the sum. */
template <typename T, int N>
__device__ __forceinline__ void running_add(running_sum<dpt_wide<T>> &r, const dpt_elements<T, N> &from, int64_t at,
                                            int64_t without) {
    dpt_wide<T> max = dpt_load(from.v[0]);
#pragma unroll
    for (int j = 1; j < N; j++) max = dpt_load(from.v[j]) > max ? dpt_load(from.v[j]) : max;
    r.raise(max);
#pragma unroll
    for (int j = 0; j < N; j++) r.sum += at + j == without ? 0 : exponential(dpt_load(from.v[j]) - r.max);
}

template <typename T, int N>
__global__ void __launch_bounds__(ROW_THREADS) long_row_kernel(row_run run, const dpt_block *block) {
    typedef dpt_wide<T> W;
    typedef dpt_elements<T, N> group;
    enum { AT_ONCE = 4 };
    DPT_DYNAMIC_SHARED(group, kept); /* a thread reads only what it has written */
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each, groups = run.n / N;
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const group *x = (const group *)run.x + row * groups;
        const int64_t t = run.goal == SOFTMAX ? -1 : target_of(run, row), without = run.goal == LOSS ? t : -1;
        running_sum<W> r = {lowest((W)0), 0};
        for (int64_t i = threadIdx.x; i < groups; i += AT_ONCE * ROW_THREADS) {
            group from[AT_ONCE];
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++)
                if (i + k * ROW_THREADS < groups) from[k] = x[i + k * ROW_THREADS];
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++) {
                const int64_t at = i + k * ROW_THREADS;
                if (at >= groups) break;
                if (run.keep) kept[at] = from[k];
                running_add<T, N>(r, from[k], at * N, without);
            }
        }
        const W max = dpt_block_max(r.max);
        r.raise(max);
        const W sum = dpt_block_sum(r.sum);
        if (run.goal == LOSS) {
            if (threadIdx.x == 0) loss_write<T>(run, row, t, max, sum);
            continue;
        }
        const W g = run.goal == GRADIENT ? dpt_scalar_read<W>(run.g, run.g_dtype, row) : 0;
        const W factor = factor_of(run, g, sum);
        group *y = (group *)run.y + row * groups;
#pragma unroll 4
        for (int64_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            const group from = run.keep ? kept[i] : x[i];
            group to;
#pragma unroll
            for (int j = 0; j < N; j++)
                to.v[j] = dpt_store<T>(exponential(dpt_load(from.v[j]) - max) * factor - (i * N + j == t ? g : 0));
            dpt_elements_store(&y[i], to);
        }
    }
}

/* ---- choosing the kernel ---- */

/* What `operand` (rows, n) is in a run. */
static row_run run_of(const dpt_call *call, const dpt_operand *operand, row_goal goal) {
    row_run run = {};
    run.goal = goal;
    run.n = operand->dim[operand->ndim - 1];
    run.rows_each = operand->row_count / run.n;
    run.axis = operand->axis;
    run.y = call->out[0].data;
    run.y_dtype = call->out[0].dtype;
    return run;
}

static void target_set(row_run *run, const dpt_operand *target) {
    run->target = target->data;
    run->target_dtype = target->dtype;
}

/* Bytes of shared memory in which a block keeps its row: 0 where it need not or cannot. */
static size_t kept_bytes(const dpt_call *call, const row_run &run, size_t element_bytes) {
    const size_t bytes = (size_t)run.n * element_bytes;
    if (run.goal == LOSS || run.n <= LONG_ROW) return 0;
    return bytes <= dpt_cuda_device_of(call)->shared_memory_limit ? bytes : 0;
}

template <typename T, int N>
static dpt_status long_rows_permit(const dpt_call *call, const row_run &run) {
    const size_t bytes = kept_bytes(call, run, sizeof(T));
    if (bytes <= PLAIN_SHARED) return DPT_OK;
    return DPT_CUDA(cudaFuncSetAttribute((const void *)long_row_kernel<T, N>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

template <typename T, int N>
static dpt_status long_rows_launch(dpt_call *call, dpt_stream *stream, row_run run, int64_t rows) {
    const size_t bytes = kept_bytes(call, run, sizeof(T));
    run.keep = bytes > 0;
    const unsigned blocks = dpt_blocks_for(call, rows * ROW_THREADS, ROW_THREADS);
    return DPT_LAUNCH((long_row_kernel<T, N>), blocks, ROW_THREADS, bytes, stream, run, call->block);
}

template <typename T, int N>
static dpt_status rows_launch(dpt_call *call, dpt_stream *stream, const row_run &run, int64_t rows) {
    if (run.n > LONG_ROW) return long_rows_launch<T, N>(call, stream, run, rows);
    if (run.n <= SHORT_ROW)
        return DPT_LAUNCH((row_kernel<T, N, 4, SHORT_ROW / 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS, 0,
                          stream, run, call->block);
    const unsigned blocks = dpt_blocks_for(call, rows * 32, THREADS);
    if (run.n <= MIDDLE_ROW)
        return DPT_LAUNCH((row_kernel<T, N, 32, MIDDLE_ROW / 32>), blocks, THREADS, 0, stream, run, call->block);
    return DPT_LAUNCH((row_kernel<T, N, 32, LONG_ROW / 32>), blocks, THREADS, 0, stream, run, call->block);
}

static row_run rows_of(const dpt_call *call, row_goal goal) {
    const dpt_operand *x = &call->in[0];
    row_run run = run_of(call, x, goal);
    run.x = x->data;
    if (goal != SOFTMAX) target_set(&run, &call->in[1]);
    if (goal == GRADIENT) run.g = call->in[2].data, run.g_dtype = call->in[2].dtype;
    return run;
}

static bool rows_in_packs(const dpt_call *call, const row_run &run) {
    const dpt_dtype dtype = call->in[0].dtype;
    return dpt_in_packs(run.x, run.n, dtype) && (run.goal == LOSS || dpt_in_packs(run.y, run.n, dtype));
}

static dpt_status rows_bind(dpt_call *call, row_goal goal) {
    const row_run run = rows_of(call, goal);
    const bool packs = rows_in_packs(call, run);
    DPT_CHECK(run.y_dtype == call->in[0].dtype, DPT_ERR_INTERNAL, "\"%s\": logits are %s, the result is %s", call->name,
              dpt_dtype_text(call->in[0].dtype), dpt_dtype_text(run.y_dtype));
    DPT_FOR_FLOAT(call->in[0].dtype, T, {
        if (packs) return long_rows_permit<T, dpt_pack<T>::N>(call, run);
        return long_rows_permit<T, 1>(call, run);
    });
    return DPT_OK;
}

static dpt_status rows_run(dpt_call *call, dpt_stream *stream, row_goal goal) {
    const row_run run = rows_of(call, goal);
    const bool packs = rows_in_packs(call, run);
    const int64_t rows = call->in[0].count / run.n;
    DPT_FOR_FLOAT(call->in[0].dtype, T, {
        if (packs) return rows_launch<T, dpt_pack<T>::N>(call, stream, run, rows);
        return rows_launch<T, 1>(call, stream, run, rows);
    });
    return DPT_OK;
}

static dpt_status softmax_bind(dpt_call *call) { return rows_bind(call, SOFTMAX); }
static dpt_status softmax_run(dpt_call *call, dpt_stream *stream) { return rows_run(call, stream, SOFTMAX); }
static dpt_status cross_entropy_run(dpt_call *call, dpt_stream *stream) { return rows_run(call, stream, LOSS); }
static dpt_status cross_entropy_grad_bind(dpt_call *call) { return rows_bind(call, GRADIENT); }
static dpt_status cross_entropy_grad_run(dpt_call *call, dpt_stream *stream) {
    return rows_run(call, stream, GRADIENT);
}

DPT_CUDA_KERNEL(softmax, NULL, softmax_bind, softmax_run, NULL)
DPT_CUDA_KERNEL(cross_entropy, NULL, NULL, cross_entropy_run, NULL)
DPT_CUDA_KERNEL(cross_entropy_grad, NULL, cross_entropy_grad_bind, cross_entropy_grad_run, NULL)

/* ---- accuracy: 1 where x[t] is above all logits before it and not below any after it; never where one is NaN ---- */

template <typename T, int N, int LANES>
__global__ void __launch_bounds__(THREADS) accuracy_kernel(row_run run, const dpt_block *block) {
    typedef dpt_elements<T, N> group;
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row(), t = row < rows ? target_of(run, row) : -1;
        const bool sound = t >= 0 && t < run.n;
        const T *x = (const T *)run.x + row * run.n;
        const dpt_wide<T> best = sound ? dpt_load(x[t]) : 0;
        int wrong = !sound;
#pragma unroll 4
        for (int64_t at = walk.lane * N; at < run.n && sound; at += LANES * N) {
            const group from = *(const group *)(x + at);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const dpt_wide<T> v = dpt_load(from.v[j]);
                wrong += !(at + j < t ? v < best : v <= best);
            }
        }
        wrong = dpt_lanes_sum<LANES>(wrong);
        if (walk.lane == 0 && row < rows) dpt_scalar_write(run.y, run.y_dtype, row, wrong == 0 ? 1.0f : 0.0f);
    }
}

template <typename T, int N>
static dpt_status accuracy_launch(dpt_call *call, dpt_stream *stream, const row_run &run, int64_t rows) {
    if (run.n <= SHORT_ROW)
        return DPT_LAUNCH((accuracy_kernel<T, N, 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS, 0, stream, run,
                          call->block);
    return DPT_LAUNCH((accuracy_kernel<T, N, 32>), dpt_blocks_for(call, rows * 32, THREADS), THREADS, 0, stream, run,
                      call->block);
}

static dpt_status accuracy_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *x = &call->in[0];
    row_run run = run_of(call, x, LOSS);
    run.x = x->data;
    target_set(&run, &call->in[1]);
    const int64_t rows = x->count / run.n;
    DPT_FOR_FLOAT(x->dtype, T, {
        if (dpt_in_packs(run.x, run.n, x->dtype)) return accuracy_launch<T, dpt_pack<T>::N>(call, stream, run, rows);
        return accuracy_launch<T, 1>(call, stream, run, rows);
    });
    return DPT_OK;
}

DPT_CUDA_KERNEL(accuracy, NULL, NULL, accuracy_run, NULL)

/* ---- one_hot: y[r, c] = 1 where c is target[r], else 0 ---- */

template <typename T, int N, int LANES>
__global__ void __launch_bounds__(THREADS) one_hot_kernel(row_run run, const dpt_block *block) {
    typedef dpt_elements<T, N> group;
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row();
        if (row >= rows) break;
        const int64_t t = target_of(run, row);
        for (int64_t at = walk.lane * N; at < run.n; at += LANES * N) {
            group to;
#pragma unroll
            for (int j = 0; j < N; j++) to.v[j] = dpt_store<T>((dpt_wide<T>)(at + j == t ? 1 : 0));
            dpt_elements_store((group *)((T *)run.y + row * run.n + at), to);
        }
    }
}

template <typename T, int N>
static dpt_status one_hot_launch(dpt_call *call, dpt_stream *stream, const row_run &run, int64_t rows) {
    if (run.n <= SHORT_ROW)
        return DPT_LAUNCH((one_hot_kernel<T, N, 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS, 0, stream, run,
                          call->block);
    return DPT_LAUNCH((one_hot_kernel<T, N, 32>), dpt_blocks_for(call, rows * 32, THREADS), THREADS, 0, stream, run,
                      call->block);
}

static dpt_status one_hot_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *y = &call->out[0];
    row_run run = run_of(call, y, SOFTMAX);
    target_set(&run, &call->in[0]);
    const int64_t rows = y->count / run.n;
    DPT_FOR_FLOAT(y->dtype, T, {
        if (dpt_in_packs(run.y, run.n, y->dtype)) return one_hot_launch<T, dpt_pack<T>::N>(call, stream, run, rows);
        return one_hot_launch<T, 1>(call, stream, run, rows);
    });
    return DPT_OK;
}

DPT_CUDA_KERNEL(one_hot, NULL, NULL, one_hot_run, NULL)
