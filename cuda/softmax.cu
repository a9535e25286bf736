/* softmax.cu: softmax and its logarithm over the classes, cross-entropy and its gradient, weights of targets, one_hot,
 * accuracy and top-k on the GPU. What a target wants of the classes stands in ops/cross_entropy.c.
 *
 * x is (outer, n, inner): n classes, inner positions; channels-last x has inner 1. Rows with inner 1 of up to 1024
 * logits are held in the registers of a warp, or of four lanes where they are very short; a longer row is a block's,
 * which keeps it in shared memory where it fits: the logits are read from memory once. With inner above 1 a thread
 * takes a position and walks its classes, twice for the loss and three times for what has a value a class, neighbours
 * side by side. One kernel makes what is asked for: softmax, its logarithm, loss or gradient. Invariants: a thread
 * writes only where it has read itself, after its whole row is summed, so that the output may stand in the place of
 * the logits; sums are made in an order that depends on shapes alone. */
#include <float.h>
#include <math.h>

#include "cuda/launch.h"
#include "cuda/layouts.h"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"
#include "ops/op_list.h"

enum { THREADS = 256, ROW_THREADS = 512, SHORT_ROW = 32, MIDDLE_ROW = 256, LONG_ROW = 1024 };
enum { PLAIN_SHARED = 48 << 10 }; /* bytes of shared memory that need no permission */

typedef enum row_goal { SOFTMAX, LOG_SOFTMAX, LOSS, GRADIENT } row_goal;

struct row_run {
    row_goal goal;
    const void *x;      /* (outer, n, inner) */
    void *y;            /* the same; LOSS: (outer, inner) */
    const void *g;      /* (outer, inner): GRADIENT */
    const void *target; /* (outer, inner): integers */
    const void *weight; /* (n), or NULL: of the type that is computed in */
    dpt_dtype target_dtype, g_dtype, y_dtype;
    int64_t n, inner, rows_each; /* rows_each: for one row of the batch, all rows where there is no batch */
    int axis;
    bool keep; /* a block keeps its row in shared memory */
    dpt_classify_attr attr;
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

/* q_c = own [c = t] + each w_c; t is -1 where the row has no target in range. */
template <typename W>
struct soft_target {
    int64_t t;
    bool ignored;
    W own, each;
};

template <typename W>
__device__ __forceinline__ soft_target<W> soft_target_of(const row_run &run, int64_t row, bool here) {
    const W s = (W)run.attr.smoothing;
    soft_target<W> q = {-1, false, 1 - s, s / (W)run.n};
    if (!here || run.goal == SOFTMAX || run.goal == LOG_SOFTMAX) return q;
    const int64_t t = target_of(run, row);
    q.ignored = run.attr.ignores && t == run.attr.ignore;
    if (q.ignored || t < 0 || t >= run.n) return q;
    q.t = t;
    if (run.weight != NULL) q.own *= ((const W *)run.weight)[t];
    return q;
}

template <typename W>
__device__ __forceinline__ W weight_of(const row_run &run, int64_t c) {
    return run.weight == NULL ? (W)1 : ((const W *)run.weight)[c];
}

/* loss = (own + each weights) log(sum of exp(x - max)) - own (x[t] - max) - each spread, spread the sum of w (x - max).
 * others is the sum of exponentials without x[t]: where x[t] is the largest, its exponential is 1 and log1p keeps
 * losses that are small beside 1. */
template <typename T, typename W>
__device__ void loss_write(const row_run &run, int64_t row, const soft_target<W> &q, W max, W others, W spread,
                           W weights) {
    W loss = q.ignored ? (W)0 : (W)NAN;
    if (q.t >= 0) {
        const int64_t first = row / run.inner * run.inner * run.n + row % run.inner;
        const W distance = dpt_load(((const T *)run.x)[first + q.t * run.inner]) - max;
        const W log_sum = distance == 0 ? (W)log1p(others) : (W)log(others + exponential(distance));
        loss = q.own * (log_sum - distance);
        if (q.each > 0) loss += q.each * (weights * log_sum - spread);
    }
    dpt_scalar_write(run.y, run.y_dtype, row, loss);
}

/* What a row's exponentials are multiplied by: 1 / sum, g (own + each weights) / sum. */
template <typename W>
__device__ W factor_of(const row_run &run, const soft_target<W> &q, W g, W weights, W sum) {
    return (run.goal == GRADIENT ? g * (q.own + q.each * weights) : (W)1) / sum;
}

/* An element of the result from its exponential e and v = x - max. */
template <typename W>
__device__ __forceinline__ W element_of(const row_run &run, const soft_target<W> &q, int64_t c, W e, W v, W factor,
                                        W g, W log_sum) {
    if (run.goal == LOG_SOFTMAX) return v - log_sum;
    if (run.goal == SOFTMAX) return e * factor;
    if (q.ignored) return 0;
    W y = e * factor - (c == q.t ? g * q.own : 0);
    if (q.each > 0) y -= g * q.each * weight_of<W>(run, c);
    return y;
}

/* ---- rows in registers: LANES lanes a row, VALUES logits each, N at once ---- */

template <typename T, int N, int LANES, int VALUES>
__global__ void __launch_bounds__(THREADS) row_kernel(row_run run, const dpt_block *block) {
    typedef dpt_wide<T> W;
    typedef dpt_elements<T, N> group;
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row(), n = row < rows ? run.n : 0;
        const soft_target<W> q = soft_target_of<W>(run, row, row < rows);
        const T *x = (const T *)run.x + row * run.n;
        W value[VALUES], max = (W)-INFINITY, sum = 0, spread = 0, weights = 0;
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
            const W v = value[i] - max, e = exponential(v);
            sum += run.goal == LOSS && at == q.t ? 0 : e;
            if (run.attr.smoothing > 0 && at < n) {
                weights += weight_of<W>(run, at);
                spread += weight_of<W>(run, at) * v;
            }
            value[i] = run.goal == LOG_SOFTMAX ? v : e;
        }
        sum = dpt_lanes_sum<LANES>(sum);
        if (run.attr.smoothing > 0) {
            weights = dpt_lanes_sum<LANES>(weights);
            spread = dpt_lanes_sum<LANES>(spread);
        }
        if (run.goal == LOSS) {
            if (walk.lane == 0 && row < rows) loss_write<T>(run, row, q, max, sum, spread, weights);
            continue;
        }
        const W g = run.goal == GRADIENT && row < rows ? dpt_scalar_read<W>(run.g, run.g_dtype, row) : 0;
        const W factor = factor_of(run, q, g, weights, sum), log_sum = run.goal == LOG_SOFTMAX ? (W)log(sum) : (W)0;
#pragma unroll
        for (int k = 0; k < VALUES / N; k++) {
            const int at = (k * LANES + walk.lane) * N;
            group to;
#pragma unroll
            for (int j = 0; j < N; j++) {
                const W v = value[k * N + j];
                to.v[j] = at < n ? dpt_store<T>(element_of(run, q, at + j, v, v, factor, g, log_sum)) : dpt_store<T>(0);
            }
            if (at < n) dpt_elements_store((group *)((T *)run.y + row * run.n + at), to);
        }
    }
}

/* ---- positions side by side: a thread each ---- */

template <typename T>
__global__ void __launch_bounds__(THREADS) column_kernel(row_run run, const dpt_block *block) {
    typedef dpt_wide<T> W;
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    for (int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x; row < rows; row += (int64_t)gridDim.x * THREADS) {
        const int64_t first = row / run.inner * run.inner * run.n + row % run.inner;
        const soft_target<W> q = soft_target_of<W>(run, row, true);
        const T *x = (const T *)run.x + first;
        W max = dpt_load(x[0]), sum = 0, spread = 0, weights = 0;
        for (int64_t c = 1; c < run.n; c++) {
            const W v = dpt_load(x[c * run.inner]);
            max = v > max ? v : max;
        }
        for (int64_t c = 0; c < run.n; c++) {
            const W v = dpt_load(x[c * run.inner]) - max;
            sum += run.goal == LOSS && c == q.t ? 0 : exponential(v);
            if (run.attr.smoothing > 0) {
                weights += weight_of<W>(run, c);
                spread += weight_of<W>(run, c) * v;
            }
        }
        if (run.goal == LOSS) {
            loss_write<T>(run, row, q, max, sum, spread, weights);
            continue;
        }
        const W g = run.goal == GRADIENT ? dpt_scalar_read<W>(run.g, run.g_dtype, row) : 0;
        const W factor = factor_of(run, q, g, weights, sum), log_sum = run.goal == LOG_SOFTMAX ? (W)log(sum) : (W)0;
        T *y = (T *)run.y + first;
        for (int64_t c = 0; c < run.n; c++) {
            const W v = dpt_load(x[c * run.inner]) - max, e = run.goal == LOG_SOFTMAX ? v : exponential(v);
            y[c * run.inner] = dpt_store<T>(element_of(run, q, c, e, v, factor, g, log_sum));
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
        const soft_target<W> q = soft_target_of<W>(run, row, true);
        const int64_t without = run.goal == LOSS ? q.t : -1;
        running_sum<W> r = {lowest((W)0), 0};
        W spread = 0, weights = 0; /* of w x, and of w */
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
                for (int j = 0; j < N && run.attr.smoothing > 0; j++) {
                    weights += weight_of<W>(run, at * N + j);
                    spread += weight_of<W>(run, at * N + j) * dpt_load(from[k].v[j]);
                }
            }
        }
        const W max = dpt_block_max(r.max);
        r.raise(max);
        const W sum = dpt_block_sum(r.sum);
        if (run.attr.smoothing > 0) {
            weights = dpt_block_sum(weights);
            spread = dpt_block_sum(spread) - weights * max;
        }
        if (run.goal == LOSS) {
            if (threadIdx.x == 0) loss_write<T>(run, row, q, max, sum, spread, weights);
            continue;
        }
        const W g = run.goal == GRADIENT ? dpt_scalar_read<W>(run.g, run.g_dtype, row) : 0;
        const W factor = factor_of(run, q, g, weights, sum), log_sum = run.goal == LOG_SOFTMAX ? (W)log(sum) : (W)0;
        group *y = (group *)run.y + row * groups;
#pragma unroll 4
        for (int64_t i = threadIdx.x; i < groups; i += ROW_THREADS) {
            const group from = run.keep ? kept[i] : x[i];
            group to;
#pragma unroll
            for (int j = 0; j < N; j++) {
                const W v = dpt_load(from.v[j]) - max, e = run.goal == LOG_SOFTMAX ? v : exponential(v);
                to.v[j] = dpt_store<T>(element_of(run, q, i * N + j, e, v, factor, g, log_sum));
            }
            dpt_elements_store(&y[i], to);
        }
    }
}

/* ---- choosing the kernel ---- */

/* What `operand` is in a run: its classes stand before the last `after` dimensions. */
static row_run run_of(const dpt_call *call, const dpt_operand *operand, int after, row_goal goal) {
    row_run run = {};
    run.goal = goal;
    run.attr = call->attr.classify;
    run.n = operand->dim[operand->ndim - 1 - after];
    run.inner = 1;
    for (int i = operand->ndim - after; i < operand->ndim && operand->layout == DPT_LAYOUT_CANONICAL; i++)
        run.inner *= operand->dim[i];
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
    if (run.inner > 1)
        return DPT_LAUNCH(column_kernel<T>, dpt_blocks_for(call, rows, THREADS), THREADS, 0, stream, run, call->block);
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
    const bool targets = goal == LOSS || goal == GRADIENT;
    const int weight = goal == GRADIENT ? 3 : 2;
    row_run run = run_of(call, x, targets ? x->ndim - 2 : call->attr.classify.after, goal);
    run.x = x->data;
    if (targets) target_set(&run, &call->in[1]);
    if (goal == GRADIENT) run.g = call->in[2].data, run.g_dtype = call->in[2].dtype;
    if (targets && call->n_in > weight) run.weight = call->in[weight].data;
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
static dpt_status log_softmax_bind(dpt_call *call) { return rows_bind(call, LOG_SOFTMAX); }
static dpt_status log_softmax_run(dpt_call *call, dpt_stream *stream) { return rows_run(call, stream, LOG_SOFTMAX); }
static dpt_status cross_entropy_run(dpt_call *call, dpt_stream *stream) { return rows_run(call, stream, LOSS); }
static dpt_status cross_entropy_grad_bind(dpt_call *call) { return rows_bind(call, GRADIENT); }
static dpt_status cross_entropy_grad_run(dpt_call *call, dpt_stream *stream) {
    return rows_run(call, stream, GRADIENT);
}

/* Channels-last logits are rows. */
static dpt_status logits_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_alike(call, choice, 1, call->op == DPT_OP_CROSS_ENTROPY_GRAD,
                      DPT_LAYOUTS_CHANNELS_LAST);
    return DPT_OK;
}

DPT_CUDA_KERNEL(softmax, NULL, softmax_bind, softmax_run, NULL)
DPT_CUDA_KERNEL(log_softmax, NULL, log_softmax_bind, log_softmax_run, NULL)
DPT_CUDA_KERNEL_LAYOUTS(cross_entropy, NULL, NULL, cross_entropy_run, NULL, logits_layouts)
DPT_CUDA_KERNEL_LAYOUTS(cross_entropy_grad, NULL, cross_entropy_grad_bind, cross_entropy_grad_run, NULL, logits_layouts)

/* ---- target_weight: w[t], 0 where t is ignored; with smoothing the sum of q ---- */

template <typename W>
__global__ void __launch_bounds__(THREADS) target_weight_kernel(row_run run, const dpt_block *block) {
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    W weights = 0;
    for (int64_t c = 0; c < run.n && run.attr.smoothing > 0; c++) weights += weight_of<W>(run, c);
    for (int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x; row < rows; row += (int64_t)gridDim.x * THREADS) {
        const soft_target<W> q = soft_target_of<W>(run, row, true);
        ((W *)run.y)[row] = q.ignored ? (W)0 : q.own + q.each * weights;
    }
}

static dpt_status target_weight_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *w = &call->in[1], *y = &call->out[0];
    row_run run = run_of(call, w, 0, LOSS);
    target_set(&run, &call->in[0]);
    run.axis = y->axis;
    run.rows_each = y->row_count;
    run.weight = w->data;
    const unsigned blocks = dpt_blocks_for(call, y->count, THREADS);
    if (y->dtype == DPT_F64)
        return DPT_LAUNCH(target_weight_kernel<double>, blocks, THREADS, 0, stream, run, call->block);
    return DPT_LAUNCH(target_weight_kernel<float>, blocks, THREADS, 0, stream, run, call->block);
}

DPT_CUDA_KERNEL(target_weight, NULL, NULL, target_weight_run, NULL)

/* ---- top_k (accuracy: k is 1): 1 where fewer than k logits stand above x[t]: those before it that are not below it,
 * those after it that are above it, and every NaN ---- */

template <typename T, int N, int LANES>
__global__ void __launch_bounds__(THREADS) top_k_kernel(row_run run, const dpt_block *block) {
    typedef dpt_elements<T, N> group;
    const int64_t rows = dpt_rows(block, run.axis) * run.rows_each;
    const int64_t most = run.attr.k > 1 ? run.attr.k : 1;
    for (dpt_row_walk<LANES> walk; walk.first < rows; walk.first += walk.step) {
        const int64_t row = walk.row(), t = row < rows ? target_of(run, row) : -1;
        const bool sound = t >= 0 && t < run.n;
        const T *x = (const T *)run.x + row / run.inner * run.inner * run.n + row % run.inner;
        const dpt_wide<T> best = sound ? dpt_load(x[t * run.inner]) : 0;
        int64_t above = 0;
#pragma unroll 4
        for (int64_t at = walk.lane * N; at < run.n && sound; at += LANES * N) {
            group from;
            if (N == 1)
                from.v[0] = x[at * run.inner];
            else
                from = *(const group *)(x + at);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const dpt_wide<T> v = dpt_load(from.v[j]);
                above += !(at + j < t ? v < best : v <= best);
            }
        }
        above = dpt_lanes_sum<LANES>(above);
        const bool right = sound && above < most;
        if (walk.lane == 0 && row < rows) dpt_scalar_write(run.y, run.y_dtype, row, right ? 1.0f : 0.0f);
    }
}

template <typename T, int N>
static dpt_status top_k_launch(dpt_call *call, dpt_stream *stream, const row_run &run, int64_t rows) {
    if (run.n <= SHORT_ROW)
        return DPT_LAUNCH((top_k_kernel<T, N, 4>), dpt_blocks_for(call, rows * 4, THREADS), THREADS, 0, stream, run,
                          call->block);
    return DPT_LAUNCH((top_k_kernel<T, N, 32>), dpt_blocks_for(call, rows * 32, THREADS), THREADS, 0, stream, run,
                      call->block);
}

static dpt_status top_k_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *x = &call->in[0];
    row_run run = run_of(call, x, x->ndim - 2, LOSS);
    run.x = x->data;
    target_set(&run, &call->in[1]);
    const int64_t rows = x->count / run.n;
    const bool packs = run.inner == 1 && dpt_in_packs(run.x, run.n, x->dtype);
    DPT_FOR_FLOAT(x->dtype, T, {
        if (packs) return top_k_launch<T, dpt_pack<T>::N>(call, stream, run, rows);
        return top_k_launch<T, 1>(call, stream, run, rows);
    });
    return DPT_OK;
}

DPT_CUDA_KERNEL_LAYOUTS(accuracy, NULL, NULL, top_k_run, NULL, logits_layouts)
DPT_CUDA_KERNEL_LAYOUTS(top_k, NULL, NULL, top_k_run, NULL, logits_layouts)

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
    row_run run = run_of(call, y, 0, SOFTMAX);
    target_set(&run, &call->in[0]);
    const int64_t rows = y->count / run.n;
    DPT_FOR_FLOAT(y->dtype, T, {
        if (dpt_in_packs(run.y, run.n, y->dtype)) return one_hot_launch<T, dpt_pack<T>::N>(call, stream, run, rows);
        return one_hot_launch<T, 1>(call, stream, run, rows);
    });
    return DPT_OK;
}

DPT_CUDA_KERNEL(one_hot, NULL, NULL, one_hot_run, NULL)
