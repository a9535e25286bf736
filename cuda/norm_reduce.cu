/* norm_reduce.cu: the sums of batch norm on the GPU: moments, and those of the backward pass (ops/norm.c says what each
 * op gives; norm.cuh how the work is divided). A block writes the sums of its part to the workspace; of the blocks of a
 * tile the one that ends last adds them. Sums of f32 are in f64, as x - mean may cancel; bf16 and f16 have no such
 * digits to lose: a few of them are summed in f32, those sums in f64. Invariants: the order of a sum depends on shapes
 * and the kind of device alone; a thread reads an element before it stores it, as the masked gradient may stand in the
 * place of g. */
#include "cuda/norm.cuh"
#include "cuda/reduce.cuh"
#include "ops/op_list.h"

enum { WARPS = THREADS / 32 };

/* MOMENTS: g = b = x, shift 0. GRAD: g = a where z > 0, if there is a ReLU, z being the forward value of x; b = x.
 * MASK: g = a, or a + d, where y > 0, else 0, is stored too; b = x. sum = sum of g, product = sum of g * (b - shift). */
typedef enum bn_sums { MOMENTS, GRAD, MASK } bn_sums;

template <typename T>
struct sum_of_few {
    typedef float type;
};
template <>
struct sum_of_few<float> {
    typedef double type;
};

/* The sums of the parts of a tile, added by its last block: partial[split][2][C]. */
template <bn_sums FORM>
__device__ void tile_finish(const bn_run &run, int64_t tile, int columns, volatile const double *partial, double *out,
                            double *shared) {
    const bn_tiling &t = run.tiling;
    const int values = 2 * columns, value = (int)threadIdx.x % values, groups = THREADS / values;
    const int64_t c = tile * columns + value % columns;
    double sum = 0;
#pragma unroll 8
    for (int64_t s = threadIdx.x / values; s < t.splits && c < t.channels; s += groups)
        sum += partial[(s * 2 + value / columns) * t.channels + c];
    __syncthreads();
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (int reach = groups / 2; reach > 0; reach /= 2) {
        if ((int)threadIdx.x < reach * values) shared[threadIdx.x] += shared[threadIdx.x + reach * values];
        __syncthreads();
    }
    if ((int)threadIdx.x < values && c < t.channels) {
        const bool product = value >= columns;
        const double factor = FORM != MOMENTS && product ? channel_moments(run.moments, t.channels, c, run.eps).rstd : 1;
        out[(product ? t.channels : 0) + c] = shared[threadIdx.x] * factor;
    }
    if (FORM == MOMENTS && tile == 0 && threadIdx.x == 0)
        out[2 * t.channels] = (double)(dpt_rows(run.block, t.axis) * t.row_items) *
                              (t.columns ? 1.0 : (double)t.spatial / (double)t.row_items);
}

/* What a channel's sums need besides its elements. */
template <typename F>
struct channel_shift {
    F shift;
    bn_forward forward;
};

/* shared[i] of channel first + i: a division a channel, not a thread, as f64 may be slow. */
template <bn_sums FORM, typename F>
__device__ void shift_compute(const bn_run &run, int64_t first, int columns, channel_shift<F> *shared) {
    const int i = (int)threadIdx.x;
    if (FORM != MOMENTS && i < columns && first + i < run.tiling.channels) {
        const channel_moments m(run.moments, run.tiling.channels, first + i, run.eps);
        shared[i].shift = (F)m.mean;
        if (FORM == GRAD && run.relu) shared[i].forward = bn_forward_of(run, m, first + i);
    }
    __syncthreads();
}

/* What a thread loads at once: g, x, and of MASK y and the second gradient. What is not there is 0 in g. */
template <typename T, int N, bn_sums FORM>
struct bn_loaded {
    typedef dpt_elements<T, N> group;
    group a, b, y, d;
    __device__ __forceinline__ void load(const bn_run &run, int64_t at) {
        a = *(const group *)((const T *)run.a + at);
        if (FORM != MOMENTS) b = *(const group *)((const T *)run.b + at);
        if (FORM == MASK) y = *(const group *)((const T *)run.y + at);
        if (FORM == MASK && run.adds) d = *(const group *)((const T *)run.d + at);
    }
    /* g of MASK, rounded as it is stored. */
    __device__ __forceinline__ void mask(const bn_run &run, int64_t at) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float g = run.adds ? dpt_load(a.v[j]) + dpt_load(d.v[j]) : dpt_load(a.v[j]);
            a.v[j] = dpt_store<T>(dpt_load(y.v[j]) > 0 ? g : 0);
        }
        dpt_elements_store((group *)((T *)run.out + at), a);
    }
    template <typename F>
    __device__ __forceinline__ void add(const bn_run &run, int j, const channel_shift<F> &k, F *sum, F *product) const {
        float g = dpt_load(a.v[j]);
        if (FORM == GRAD && run.relu && !(k.forward(dpt_load(b.v[j])) > 0)) g = 0;
        *sum += (F)g;
        *product += (F)g * (FORM == MOMENTS ? (F)g : (F)dpt_load(b.v[j]) - k.shift);
    }
};

template <typename T, int N, bn_sums FORM>
__global__ void __launch_bounds__(THREADS)
    reduce_planes_kernel(bn_run run, double *partial, unsigned *counters, double *out) {
    typedef typename sum_of_few<T>::type few;
    __shared__ double shared[THREADS];
    __shared__ channel_shift<few> shift;
    const bn_part part(run);
    const int64_t channels = run.tiling.channels, c = part.tile;
    shift_compute<FORM>(run, c, 1, &shift);
    const channel_shift<few> k = shift;
    double sum = 0, product = 0;
    plane_walk walk(run.tiling, c, part.begin + threadIdx.x);
    for (int64_t i = part.begin + threadIdx.x; i < part.end; i += AT_ONCE * THREADS) {
        bn_loaded<T, N, FORM> in[AT_ONCE] = {};
        int64_t at[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++, walk.next()) {
            at[u] = walk.offset + walk.within * N;
            if (i + u * THREADS < part.end) in[u].load(run, at[u]);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            if (FORM == MASK && i + u * THREADS < part.end) in[u].mask(run, at[u]);
            few s = 0, p = 0;
#pragma unroll
            for (int j = 0; j < N; j++) in[u].add(run, j, k, &s, &p);
            sum += (double)s;
            product += (double)p;
        }
    }
    sum = dpt_block_sum(sum);
    product = dpt_block_sum(product);
    if (threadIdx.x == 0) {
        partial[part.split * 2 * channels + c] = sum;
        partial[(part.split * 2 + 1) * channels + c] = product;
    }
    if (dpt_last_block(&counters[c], (unsigned)run.tiling.splits)) tile_finish<FORM>(run, c, 1, partial, out, shared);
}

/* The sums of the lines of a block: lanes of equal column in a warp, then the warps; to partial[split][2][C]. */
template <int N>
__device__ void tile_store(const bn_run &run, const bn_part &part, double *sum, double *product, double *partial,
                           double *shared) {
    const int lanes = run.tiling.lanes, columns = lanes * N, values = 2 * columns;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < N; j++) {
        for (int o = lanes; o < 32; o *= 2) {
            sum[j] += __shfl_xor_sync(0xffffffffU, sum[j], o);
            product[j] += __shfl_xor_sync(0xffffffffU, product[j], o);
        }
        if (lane < lanes) {
            shared[warp * values + lane * N + j] = sum[j];
            shared[warp * values + columns + lane * N + j] = product[j];
        }
    }
    __syncthreads();
    const int value = (int)threadIdx.x;
    const int64_t c = part.tile * columns + value % columns;
    if (value >= values || c >= run.tiling.channels) return;
    double total = 0;
    for (int w = 0; w < WARPS; w++) total += shared[w * values + value];
    partial[(part.split * 2 + value / columns) * run.tiling.channels + c] = total;
}

template <typename T, int N, bn_sums FORM>
__global__ void __launch_bounds__(THREADS)
    reduce_columns_kernel(bn_run run, double *partial, unsigned *counters, double *out) {
    typedef typename sum_of_few<T>::type few;
    __shared__ double shared[WARPS * 2 * MOST_COLUMNS];
    __shared__ channel_shift<few> shift[MOST_COLUMNS];
    const bn_part part(run);
    const int lanes = run.tiling.lanes, lines = THREADS / lanes, line = (int)threadIdx.x / lanes;
    const int column = (int)threadIdx.x % lanes * N;
    const int64_t channels = run.tiling.channels, first = part.tile * lanes * N, c = first + column;
    double sum[N] = {}, product[N] = {};
    channel_shift<few> k[N];
    shift_compute<FORM>(run, first, lanes * N, shift);
#pragma unroll
    for (int j = 0; j < N; j++) k[j] = shift[column + j];
    for (int64_t i = part.begin + line; i < part.end && c < channels; i += AT_ONCE * lines) {
        bn_loaded<T, N, FORM> in[AT_ONCE] = {};
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int64_t at = (i + u * lines) * channels + c;
            if (i + u * lines < part.end) in[u].load(run, at);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE && FORM == MASK; u++) {
            const int64_t at = (i + u * lines) * channels + c;
            if (i + u * lines < part.end) in[u].mask(run, at);
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            few s = 0, p = 0;
#pragma unroll
            for (int u = 0; u < AT_ONCE; u++) in[u].add(run, j, k[j], &s, &p);
            sum[j] += (double)s;
            product[j] += (double)p;
        }
    }
    tile_store<N>(run, part, sum, product, partial, shared);
    if (dpt_last_block(&counters[part.tile], (unsigned)run.tiling.splits))
        tile_finish<FORM>(run, part.tile, lanes * N, partial, out, shared);
}

/* ---- calls ---- */

template <typename T, int N, bn_sums FORM>
static dpt_status reduce_launch(dpt_call *call, dpt_stream *stream, const bn_run &run) {
    double *partial = (double *)call->workspace, *out = (double *)call->out[FORM == MASK ? 1 : 0].data;
    unsigned *counters = (unsigned *)call->table;
    if (run.tiling.columns)
        return DPT_LAUNCH((reduce_columns_kernel<T, N, FORM>), bn_blocks_of(run.tiling), THREADS, 0, stream, run,
                          partial, counters, out);
    return DPT_LAUNCH((reduce_planes_kernel<T, N, FORM>), bn_blocks_of(run.tiling), THREADS, 0, stream, run, partial,
                      counters, out);
}

template <typename T, int N>
struct launch_moments {
    static dpt_status run(dpt_call *call, dpt_stream *stream, const bn_run &r) {
        return reduce_launch<T, N, MOMENTS>(call, stream, r);
    }
};
template <typename T, int N>
struct launch_grad_sums {
    static dpt_status run(dpt_call *call, dpt_stream *stream, const bn_run &r) {
        return reduce_launch<T, N, GRAD>(call, stream, r);
    }
};
template <typename T, int N>
struct launch_mask_sums {
    static dpt_status run(dpt_call *call, dpt_stream *stream, const bn_run &r) {
        return reduce_launch<T, N, MASK>(call, stream, r);
    }
};

static dpt_status reduce_prepare(dpt_call *call) {
    DPT_TRY(bn_check(call));
    const bn_tiling t = bn_tiling_of(call);
    call->workspace_bytes = (size_t)(t.splits * 2 * t.channels) * sizeof(double);
    call->table_bytes = (size_t)t.tiles * sizeof(unsigned);
    return DPT_OK;
}

static dpt_status reduce_bind(dpt_call *call) {
    return call->device->ops->zero(call->device, call->table, call->table_bytes, NULL);
}

static dpt_status moments_run(dpt_call *call, dpt_stream *stream) {
    return bn_launch<launch_moments>(call, stream, bn_run_of(call));
}

static dpt_status grad_sums_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.b = call->in[1].data;
    run.moments = (const double *)call->in[2].data;
    if (run.relu) {
        run.weight = (const float *)call->in[3].data;
        run.bias = (const float *)call->in[4].data;
    }
    return bn_launch<launch_grad_sums>(call, stream, run);
}

static dpt_status mask_sums_run(dpt_call *call, dpt_stream *stream) {
    bn_run run = bn_run_of(call);
    run.y = call->in[1].data;
    run.b = call->in[2].data;
    run.moments = (const double *)call->in[3].data;
    if (run.adds) run.d = call->in[4].data;
    return bn_launch<launch_mask_sums>(call, stream, run);
}

DPT_CUDA_KERNEL_LAYOUTS(bn_moments, reduce_prepare, reduce_bind, moments_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_grad_sums, reduce_prepare, reduce_bind, grad_sums_run, NULL, dpt_cuda_planes_layouts)
DPT_CUDA_KERNEL_LAYOUTS(bn_mask_sums, reduce_prepare, reduce_bind, mask_sums_run, NULL, dpt_cuda_planes_layouts)
