/* conv.cu: conv, conv_dgrad and conv_wgrad on the GPU.
 *
 * cuDNN makes them where it is there (dnn.h), im2col.h else, and f64 always. x and y stand in either layout; cuDNN
 * wants all operands in one, so of two that differ the canonical one gets a copy in the workspace, as the weights do
 * for channels-last, once a run. Bias and ReLU, plain or leaky, are part of cuDNN's plan where it has one that keeps
 * NaN, else a pass over y; the bias gradient is always our own sum. Invariants: a weight gradient sees zeros in the
 * padded rows; sums are made in an order that depends on shapes alone. */
#include "cuda/dnn.h"
#include "cuda/im2col.h"
#include "cuda/layouts.h"
#include "cuda/product.h"
#include "cuda/reduce.cuh"
#include "cuda/stretch.cuh"
#include "cuda/transpose.cuh"
#include "ops/op_list.h"

enum { THREADS = 256 };
enum { ARRAY_X, ARRAY_W, ARRAY_Y, ARRAYS };

struct conv_plan {
    dpt_conv_kind kind;
    dpt_conv_sizes sizes;
    const dpt_dnn_plan *dnn; /* or own */
    dpt_im2col *own;
    bool last;                          /* cuDNN's layout is channels-last */
    bool fused;                         /* cuDNN's plan has bias and ReLU */
    bool turn[ARRAYS];                  /* cuDNN works on a copy */
    dpt_dtype result;                   /* type of what cuDNN writes */
    size_t copy[ARRAYS], scratch, sums; /* offsets in the workspace */
};

static int64_t volume(const int64_t size[3]) { return size[0] * size[1] * size[2]; }

static dpt_conv_kind kind_of(const dpt_call *call) {
    if (call->op == DPT_OP_CONV) return DPT_CONV_FORWARD;
    return call->op == DPT_OP_CONV_DGRAD ? DPT_CONV_DGRAD : DPT_CONV_WGRAD;
}

/* x, w or y of the convolution among the call's operands; the result is output 0. */
static const dpt_operand *operand_of(const dpt_call *call, dpt_conv_kind kind, int array) {
    static const int input[][ARRAYS] = {{0, 1, -1}, {-1, 1, 0}, {1, -1, 0}};
    return input[kind][array] < 0 ? &call->out[0] : &call->in[input[kind][array]];
}

static bool is_last(const dpt_operand *o) { return o->layout == DPT_LAYOUT_CHANNELS_LAST; }

/* Whether both layouts are the same bytes: one channel, or one position. */
static bool is_flat(const dpt_conv_sizes &s, int array) {
    switch (array) {
        case ARRAY_X: return s.in_channels == 1 || volume(s.in) == 1;
        case ARRAY_W: return s.in_channels == s.groups || volume(s.kernel) == 1;
        default: return s.out_channels == 1 || volume(s.out) == 1;
    }
}

/* ---- y = act(conv + b), in place ---- */

/* N elements a thread. The channel of element i of a row is i / inner % channels. */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
    finish_kernel(T *y, const T *bias, bool relu, dpt_wide<T> slope, uint32_t row, uint32_t inner, uint32_t channels,
                  dpt_stretch rows, const dpt_block *block) {
    const uint32_t items = dpt_stretch_items(rows, block, row / N);
    for (uint32_t item = dpt_first_item(); item < items; item += dpt_item_step()) {
        dpt_elements<T, N> v = ((dpt_elements<T, N> *)y)[item];
        const uint32_t at = item % (row / N) * N;
        uint32_t c = at / inner, place = at - c * inner;
        c %= channels;
#pragma unroll
        for (int k = 0; k < N; k++) {
            dpt_wide<T> sum = dpt_load(v.v[k]);
            if (bias) sum += dpt_load(bias[c]);
            if (relu && sum < 0) sum = slope != 0 ? slope * sum : (dpt_wide<T>)0; /* 0 times infinity is NaN */
            v.v[k] = dpt_store<T>(sum);
            if (++place < inner) continue;
            place = 0;
            c = c + 1 < channels ? c + 1 : 0;
        }
        ((dpt_elements<T, N> *)y)[item] = v;
    }
}

template <typename T>
static dpt_status finish(const dpt_call *call, const conv_plan *p, dpt_stream *stream) {
    constexpr int N = dpt_pack<T>::N;
    const dpt_operand *y = &call->out[0];
    const int64_t row = y->count / y->dim[0], plane = row / y->dim[1];
    const dpt_wide<T> slope = (dpt_wide<T>)call->attr.conv.slope;
    const bool relu = call->attr.conv.act == DPT_ACT_RELU, packed = row % N == 0;
    const T *bias = call->attr.conv.bias ? (const T *)call->in[2].data : NULL;
    const uint32_t inner = is_last(y) && !is_flat(p->sizes, ARRAY_Y) ? 1 : (uint32_t)plane;
    return dpt_each_stretch(y->dim[0], y->axis, packed ? row / N : row, [&](dpt_stretch rows, int64_t items) {
        T *at = (T *)y->data + rows.first * row;
        if (packed)
            return DPT_LAUNCH((finish_kernel<T, N>), dpt_blocks_for(call, items, THREADS), THREADS, 0, stream, at, bias,
                              relu, slope, (uint32_t)row, inner, (uint32_t)y->dim[1], rows, call->block);
        return DPT_LAUNCH((finish_kernel<T, 1>), dpt_blocks_for(call, items, THREADS), THREADS, 0, stream, at, bias,
                          relu, slope, (uint32_t)row, inner, (uint32_t)y->dim[1], rows, call->block);
    });
}

/* ---- bias gradient: db[o] = sum of g[n,o,p] over n and p, in two steps: parts of the batch, then those ----
 *
 * A few numbers of g at a time are summed as they are computed, those sums in f64: a long sum in f32 loses digits, and
 * f64 alone is slow on many devices. */

enum { SUM_PARTS = 512, SUM_PART_ROWS = 1024, SUM_RUN = 8 };

/* g is a matrix [lines, C], channels-last: `lanes` threads side by side take N channels each, the others further lines.
 * parts[part][C] */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
    sum_columns_kernel(const T *g, double *parts, int64_t channels, int64_t plane, int lanes, int64_t part_rows,
                       int64_t capacity, int axis, const dpt_block *block) {
    typedef dpt_elements<T, N> group;
    __shared__ double shared[THREADS * N];
    const int lane = (int)threadIdx.x % lanes, line = (int)threadIdx.x / lanes, lines = THREADS / lanes;
    const int64_t c = ((int64_t)blockIdx.x * lanes + lane) * N;
    const int64_t valid = (axis < 0 ? capacity : dpt_rows(block, axis)) * plane;
    const int64_t begin = (int64_t)blockIdx.y * part_rows;
    const int64_t end = begin + part_rows < valid ? begin + part_rows : valid;
    double sum[N] = {};
    if (c < channels)
        for (int64_t m = begin + line; m < end; m += (int64_t)lines * SUM_RUN) {
            dpt_wide<T> run[N] = {};
#pragma unroll
            for (int i = 0; i < SUM_RUN; i++) {
                const int64_t at = m + (int64_t)i * lines;
                if (at >= end) continue;
                const group v = *(const group *)(g + at * channels + c);
#pragma unroll
                for (int k = 0; k < N; k++) run[k] += dpt_load(v.v[k]);
            }
#pragma unroll
            for (int k = 0; k < N; k++) sum[k] += (double)run[k];
        }
    for (int k = 0; k < N; k++) shared[threadIdx.x * N + k] = sum[k];
    for (int upper = lines / 2; upper > 0; upper /= 2) {
        __syncthreads();
        if (line < upper)
            for (int k = 0; k < N; k++) shared[threadIdx.x * N + k] += shared[(threadIdx.x + upper * lanes) * N + k];
    }
    if (line == 0 && c < channels)
        for (int k = 0; k < N; k++) parts[(int64_t)blockIdx.y * channels + c + k] = shared[threadIdx.x * N + k];
}

/* g [rows, C, plane] in canonical order: a block a channel and part of the rows; its threads are spread over rows of
 * planes, N elements each. */
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
    sum_planes_kernel(const T *g, double *parts, int64_t channels, uint32_t plane, int64_t part_rows, int64_t capacity,
                      int axis, const dpt_block *block) {
    typedef dpt_elements<T, N> group;
    const int64_t c = (int64_t)blockIdx.x, valid = axis < 0 ? capacity : dpt_rows(block, axis);
    const int64_t begin = (int64_t)blockIdx.y * part_rows;
    const int64_t rows = begin + part_rows < valid ? part_rows : valid > begin ? valid - begin : 0;
    const uint32_t across = plane / N;
    double sum = 0;
    for (int64_t first = threadIdx.x; first < rows * across; first += (int64_t)THREADS * SUM_RUN) {
        dpt_wide<T> run = 0;
#pragma unroll
        for (int i = 0; i < SUM_RUN; i++) {
            const int64_t item = first + (int64_t)i * THREADS;
            if (item >= rows * across) continue;
            const int64_t n = begin + (int64_t)((uint64_t)item / across);
            const group v = *(const group *)(g + (n * channels + c) * plane + item % across * N);
#pragma unroll
            for (int k = 0; k < N; k++) run += dpt_load(v.v[k]);
        }
        sum += (double)run;
    }
    sum = dpt_block_sum(sum);
    if (threadIdx.x == 0) parts[(int64_t)blockIdx.y * channels + c] = sum;
}

/* db[o] = sum over parts: a warp a channel. */
template <typename T>
__global__ void __launch_bounds__(THREADS) sum_parts_kernel(const double *parts, T *db, int64_t channels, int count) {
    const int64_t c = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / 32;
    double sum = 0;
    if (c < channels)
        for (int i = (int)threadIdx.x % 32; i < count; i += 32) sum += parts[i * channels + c];
    sum = dpt_warp_sum(sum);
    if (c < channels && threadIdx.x % 32 == 0) db[c] = dpt_store<T>((dpt_wide<T>)sum);
}

/* Lines of a channels-last g, or rows of a canonical one, that are summed by one block. */
static int64_t part_rows_of(int64_t lines, int64_t least) {
    const int64_t rows = (lines + SUM_PARTS - 1) / SUM_PARTS;
    return rows < least ? least : rows;
}

struct sum_split {
    bool columns; /* channels-last */
    int64_t part_rows, parts;
};

static sum_split split_of(const dpt_call *call, const conv_plan *p) {
    const dpt_operand *g = &call->in[0];
    const int64_t plane = volume(p->sizes.out);
    sum_split s;
    s.columns = is_last(g) || plane == 1;
    const int64_t lines = s.columns ? g->dim[0] * plane : g->dim[0];
    s.part_rows = part_rows_of(lines, s.columns ? (int64_t)SUM_PART_ROWS : SUM_PART_ROWS * SUM_RUN / plane + 1);
    s.parts = (lines + s.part_rows - 1) / s.part_rows;
    return s;
}

template <typename T, int N>
static dpt_status sum_columns(const dpt_call *call, const sum_split &s, int64_t plane, double *parts,
                              dpt_stream *stream) {
    const dpt_operand *g = &call->in[0];
    const int64_t groups = g->dim[1] / N;
    int lanes = 1;
    while (lanes < 32 && lanes < groups) lanes *= 2;
    const dim3 blocks((unsigned)((groups + lanes - 1) / lanes), (unsigned)s.parts);
    return DPT_LAUNCH((sum_columns_kernel<T, N>), blocks, THREADS, 0, stream, (const T *)g->data, parts, g->dim[1],
                      plane, lanes, s.part_rows, g->dim[0], g->axis, call->block);
}

template <typename T, int N>
static dpt_status sum_planes(const dpt_call *call, const sum_split &s, int64_t plane, double *parts,
                             dpt_stream *stream) {
    const dpt_operand *g = &call->in[0];
    const dim3 blocks((unsigned)g->dim[1], (unsigned)s.parts);
    return DPT_LAUNCH((sum_planes_kernel<T, N>), blocks, THREADS, 0, stream, (const T *)g->data, parts, g->dim[1],
                      (uint32_t)plane, s.part_rows, g->dim[0], g->axis, call->block);
}

template <typename T>
static dpt_status bias_gradient(const dpt_call *call, const conv_plan *p, dpt_stream *stream) {
    constexpr int N = dpt_pack<T>::N;
    const sum_split s = split_of(call, p);
    const int64_t channels = call->in[0].dim[1], plane = volume(p->sizes.out);
    double *parts = (double *)((char *)call->workspace + p->sums);
    if (s.columns)
        DPT_TRY(channels % N == 0 ? (sum_columns<T, N>(call, s, plane, parts, stream))
                                  : (sum_columns<T, 1>(call, s, plane, parts, stream)));
    else
        DPT_TRY(plane % N == 0 ? (sum_planes<T, N>(call, s, plane, parts, stream))
                               : (sum_planes<T, 1>(call, s, plane, parts, stream)));
    const unsigned blocks = (unsigned)((channels * 32 + THREADS - 1) / THREADS);
    DPT_FOR_FLOAT(call->out[1].dtype, To,
                  return DPT_LAUNCH((sum_parts_kernel<To>), blocks, THREADS, 0, stream, parts, (To *)call->out[1].data,
                                    channels, (int)s.parts));
    return DPT_OK;
}

/* ---- preparing ---- */

static size_t take(dpt_call *call, size_t bytes) {
    const size_t at = call->workspace_bytes;
    call->workspace_bytes += dpt_align(bytes);
    return at;
}

/* Asks cuDNN for a plan in one layout: with bias and ReLU first, then without; of a weight gradient in the type that is
 * wanted, then in that of its operands. p->dnn stays NULL where there is none. */
static dpt_status ask(const dpt_call *call, conv_plan *p, bool last, size_t *scratch) {
    const dpt_conv_attr *a = &call->attr.conv;
    const bool bias = p->kind == DPT_CONV_FORWARD && a->bias, relu = a->act == DPT_ACT_RELU;
    dpt_dnn_conv c = {};
    c.kind = p->kind;
    c.sizes = p->sizes;
    c.spatial = a->spatial;
    c.in = call->in[0].dtype;
    c.out = call->out[0].dtype;
    c.channels_last = last;
    c.bias = bias;
    c.relu = relu;
    c.slope = relu ? a->slope : 0;
    p->last = last;
    DPT_TRY(dpt_dnn_conv_prepare(call, &c, &p->dnn, scratch));
    p->fused = p->dnn != NULL;
    if (p->dnn == NULL && (bias || relu)) {
        c.bias = c.relu = false;
        c.slope = 0;
        DPT_TRY(dpt_dnn_conv_prepare(call, &c, &p->dnn, scratch));
    }
    if (p->dnn == NULL && c.out != c.in) {
        c.out = c.in;
        DPT_TRY(dpt_dnn_conv_prepare(call, &c, &p->dnn, scratch));
    }
    p->result = c.out;
    return DPT_OK;
}

/* Operands in the canonical layout go to cuDNN as they are where both are, and it has a plan for that. */
static dpt_status prepare_dnn(dpt_call *call, conv_plan *p) {
    const dpt_operand *x = operand_of(call, p->kind, ARRAY_X), *y = operand_of(call, p->kind, ARRAY_Y);
    const bool x_free = is_flat(p->sizes, ARRAY_X), y_free = is_flat(p->sizes, ARRAY_Y);
    const bool any_last = (is_last(x) && !x_free) || (is_last(y) && !y_free) || (x_free && y_free);
    size_t scratch = 0;
    DPT_TRY(ask(call, p, any_last, &scratch));
    if (p->dnn == NULL && !any_last) DPT_TRY(ask(call, p, true, &scratch));
    if (p->dnn == NULL) return DPT_OK;
    for (int i = 0; i < ARRAYS; i++) {
        const dpt_operand *o = operand_of(call, p->kind, i);
        const bool is_result = o == &call->out[0];
        p->turn[i] = (is_last(o) != p->last && !is_flat(p->sizes, i)) || (is_result && o->dtype != p->result);
        if (p->turn[i]) p->copy[i] = take(call, (size_t)o->count * dpt_dtype_size(is_result ? p->result : o->dtype));
    }
    p->scratch = take(call, scratch);
    return DPT_OK;
}

static dpt_status prepare_own(dpt_call *call, conv_plan *p) {
    dpt_im2col_conv c = {};
    size_t scratch = 0;
    c.kind = p->kind;
    c.sizes = p->sizes;
    c.x_last = is_last(operand_of(call, p->kind, ARRAY_X));
    c.y_last = is_last(operand_of(call, p->kind, ARRAY_Y));
    c.in = call->in[0].dtype;
    c.out = call->out[0].dtype;
    DPT_TRY(dpt_im2col_open(call, &c, &p->own, &scratch));
    p->scratch = take(call, scratch);
    return DPT_OK;
}

static dpt_status check(const dpt_call *call, dpt_conv_kind kind) {
    const dpt_operand *y = operand_of(call, kind, ARRAY_Y);
    for (int i = 0; i < ARRAYS; i++) {
        const dpt_layout layout = operand_of(call, kind, i)->layout;
        DPT_CHECK(layout == DPT_LAYOUT_CANONICAL || (layout == DPT_LAYOUT_CHANNELS_LAST && i != ARRAY_W),
                  DPT_ERR_INTERNAL, "layout %d is not one that the GPU takes", (int)layout);
    }
    DPT_CHECK(y->count / y->dim[0] <= INT32_MAX && y->dim[1] <= 1 << 20, DPT_ERR_UNSUPPORTED,
              "%lld outputs a sample in %lld channels: at most 2^31 and 2^20", (long long)(y->count / y->dim[0]),
              (long long)y->dim[1]);
    return DPT_OK;
}

static void release(dpt_call *call) {
    conv_plan *p = (conv_plan *)call->plan;
    if (p == NULL) return;
    dpt_im2col_close(&p->own);
    dpt_free(p);
    call->plan = NULL;
}

static dpt_status plan_make(dpt_call *call, conv_plan *p) {
    const dpt_operand *x = operand_of(call, p->kind, ARRAY_X);
    p->sizes = dpt_conv_sizes_of(&call->attr.conv, x->dim[0]);
    call->workspace_bytes = 0;
    DPT_TRY(check(call, p->kind));
    if (call->in[0].dtype != DPT_F64) DPT_TRY(prepare_dnn(call, p));
    if (p->dnn == NULL) DPT_TRY(prepare_own(call, p));
    if (p->kind == DPT_CONV_WGRAD && call->attr.conv.bias)
        p->sums = take(call, (size_t)(split_of(call, p).parts * p->sizes.out_channels) * sizeof(double));
    return DPT_OK;
}

static dpt_status prepare(dpt_call *call) {
    static const char *const names[] = {"conv", "conv_dgrad", "conv_wgrad"};
    conv_plan *p = (conv_plan *)dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    call->plan = p;
    p->kind = kind_of(call);
    const dpt_status status = plan_make(call, p);
    if (status == DPT_OK) return DPT_OK;
    const dpt_conv_sizes s = p->sizes;
    const dpt_conv_kind kind = p->kind;
    release(call);
    return dpt_error_prefix(
        status, "%s \"%s\", x [%lld,%lld,%lldx%lldx%lld], w [%lld,%lld,%lldx%lldx%lld]: ", names[kind], call->name,
        (long long)s.batch, (long long)s.in_channels, (long long)s.in[0], (long long)s.in[1], (long long)s.in[2],
        (long long)s.out_channels, (long long)(s.in_channels / s.groups), (long long)s.kernel[0],
        (long long)s.kernel[1], (long long)s.kernel[2]);
}

/* ---- running ---- */

/* The matrices that turning an operand over to channels-last turns over. */
struct matrices {
    int64_t batch, lines, columns;
};
static matrices matrices_of(const conv_plan *p, int array) {
    const dpt_conv_sizes &s = p->sizes;
    switch (array) {
        case ARRAY_X: return {s.batch, s.in_channels, volume(s.in)};
        case ARRAY_W: return {s.out_channels, s.in_channels / s.groups, volume(s.kernel)};
        default: return {s.batch, s.out_channels, volume(s.out)};
    }
}

/* An input's copy in cuDNN's layout. */
static dpt_status turn_in(const dpt_call *call, const conv_plan *p, int array, void *copy, dpt_stream *stream) {
    const dpt_operand *o = operand_of(call, p->kind, array);
    const matrices m = matrices_of(p, array);
    DPT_FOR_FLOAT(
        o->dtype, T,
        return (dpt_transpose<T, T>(call, (const T *)o->data, (T *)copy, m.batch, m.lines, m.columns, stream)));
    return DPT_OK;
}

/* The result from cuDNN's layout and type to its own. */
template <typename To>
static dpt_status turn_out(const dpt_call *call, const conv_plan *p, int array, const void *copy, To *to,
                           dpt_stream *stream) {
    const matrices m = matrices_of(p, array);
    const bool turned = p->last && !is_flat(p->sizes, array);
    const int64_t lines = turned ? m.columns : 1, columns = turned ? m.lines : m.lines * m.columns;
    DPT_FOR_FLOAT(p->result, T,
                  return (dpt_transpose<T, To>(call, (const T *)copy, to, m.batch, lines, columns, stream)));
    return DPT_OK;
}

static dpt_status run_dnn(const dpt_call *call, const conv_plan *p, dpt_stream *stream) {
    char *workspace = (char *)call->workspace;
    void *data[ARRAYS];
    int result = 0;
    for (int i = 0; i < ARRAYS; i++) {
        const dpt_operand *o = operand_of(call, p->kind, i);
        data[i] = p->turn[i] ? workspace + p->copy[i] : o->data;
        if (o == &call->out[0])
            result = i;
        else if (p->turn[i])
            DPT_TRY(turn_in(call, p, i, data[i], stream));
    }
    const void *bias = p->fused && call->attr.conv.bias && p->kind == DPT_CONV_FORWARD ? call->in[2].data : NULL;
    DPT_TRY(
        dpt_dnn_conv_run(p->dnn, data[ARRAY_X], data[ARRAY_W], data[ARRAY_Y], bias, workspace + p->scratch, stream));
    if (!p->turn[result]) return DPT_OK;
    DPT_FOR_FLOAT(call->out[0].dtype, To,
                  return turn_out<To>(call, p, result, data[result], (To *)call->out[0].data, stream));
    return DPT_OK;
}

static dpt_status run_own(const dpt_call *call, const conv_plan *p, dpt_stream *stream) {
    void *data[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) data[i] = operand_of(call, p->kind, i)->data;
    return dpt_im2col_run(p->own, call, data[ARRAY_X], data[ARRAY_W], data[ARRAY_Y],
                          (char *)call->workspace + p->scratch, stream);
}

static dpt_status run(dpt_call *call, dpt_stream *stream) {
    const conv_plan *p = (const conv_plan *)call->plan;
    const dpt_conv_attr *a = &call->attr.conv;
    if (p->kind == DPT_CONV_WGRAD) DPT_TRY(dpt_cuda_zero_padding(call, &call->in[0], &call->in[1], stream));
    DPT_TRY(p->dnn ? run_dnn(call, p, stream) : run_own(call, p, stream));
    if (p->kind == DPT_CONV_WGRAD && a->bias)
        DPT_FOR_FLOAT(call->in[0].dtype, T, return bias_gradient<T>(call, p, stream));
    if (p->kind == DPT_CONV_FORWARD && !p->fused && (a->bias || a->act == DPT_ACT_RELU))
        DPT_FOR_FLOAT(call->in[0].dtype, T, return finish<T>(call, p, stream));
    return DPT_OK;
}

/* x or g in, y or dx out; g and x in. */
static dpt_status map_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    return dpt_cuda_conv_layouts(call, choice, 1, 1);
}
static dpt_status wgrad_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    return dpt_cuda_conv_layouts(call, choice, 3, 0);
}

DPT_CUDA_KERNEL_LAYOUTS(conv, prepare, NULL, run, release, map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(conv_dgrad, prepare, NULL, run, release, map_layouts)
DPT_CUDA_KERNEL_LAYOUTS(conv_wgrad, prepare, NULL, run, release, wgrad_layouts)
