/* pool.c: largest of each window, and the two index moves that are its gradients.
 *
 * max_pool remembers where each winner stood (offset in its plane of H*W elements); pool_scatter sends values there
 * and pool_gather fetches them, each the gradient of the other, so derivatives of any order exist. A NaN in a window
 * wins, the first of them; otherwise the first of equals. attr.conv holds kernel, stride, pad and the shape of x. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "backend/parallel.h"
#include "ops/conv_cpu.h"
#include "ops/declare.h"
#include "ops/internal.h"

/* ---- constructors, shapes, gradients ---- */

dpt_tensor *dpt_max_pool2d_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t kernel, int64_t stride, int64_t pad) {
    dpt_attr attr = {0};
    dpt_conv_attr *a = &attr.conv;
    a->spatial = 2;
    a->groups = 1;
    for (int i = 0; i < 2; i++) {
        a->kernel[i] = kernel;
        a->stride[i] = stride == 0 ? kernel : stride;
        a->pad[i] = pad;
        a->dilation[i] = 1;
    }
    if (x->ndim == 4) memcpy(a->in_dim, x->dim, 4 * sizeof *a->in_dim);
    return dpt_apply(file, line, DPT_OP_MAX_POOL, NULL, &attr, 1, &x);
}

static dpt_tensor *move(const dpt_node *at, int op, dpt_tensor *values, dpt_tensor *index) {
    return dpt_apply(DPT_AT(at), op, NULL, &at->attr, 2, (dpt_tensor *[]){values, index});
}

static void out_dims(const dpt_conv_attr *a, int64_t rows, int64_t dim[4]) {
    dim[0] = rows;
    dim[1] = a->in_dim[1];
    for (int i = 0; i < 2; i++) dim[2 + i] = dpt_conv_out(a->in_dim[2 + i], a->kernel[i], a->stride[i], a->pad[i], 1);
}

static dpt_status max_pool_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const dpt_conv_attr *a = &node->attr.conv;
    int64_t dim[4];
    if (!dpt_is_float(x->dtype) || x->ndim != 4)
        return dpt_shape_error(node, "x is %s %s: it must be f32 or f64 [B,C,H,W]", dpt_dtype_text(x->dtype),
                               dpt_shape_text(x));
    if (a->kernel[0] < 1 || a->stride[0] < 1 || a->pad[0] < 0 || 2 * a->pad[0] > a->kernel[0])
        return dpt_shape_error(node, "kernel is %lld, stride %lld, pad %lld: at least 1, 1 and 0, pad at most kernel/2",
                               (long long)a->kernel[0], (long long)a->stride[0], (long long)a->pad[0]);
    out_dims(a, x->dim[0], dim);
    if (dim[2] < 1 || dim[3] < 1 || x->dim[2] * x->dim[3] > INT32_MAX)
        return dpt_shape_error(node,
                               "x is %s, kernel %lld, pad %lld: no window fits, or a plane has more than 2^31 "
                               "elements",
                               dpt_shape_text(x), (long long)a->kernel[0], (long long)a->pad[0]);
    dpt_set_out(node, 0, x->dtype, 4, dim);
    dpt_set_out(node, 1, DPT_I32, 4, dim);
    return DPT_OK;
}

static dpt_status check_index(const dpt_node *node) {
    const dpt_tensor *v = node->in[0], *index = node->in[1];
    int64_t dim[4];
    out_dims(&node->attr.conv, index->dim[0], dim);
    if (dpt_is_float(v->dtype) && v->ndim == 4 && index->dtype == DPT_I32 && index->ndim == 4 &&
        v->dim[0] == index->dim[0] && memcmp(index->dim, dim, sizeof dim) == 0)
        return DPT_OK;
    return dpt_shape_error(node, "values are %s %s, index is %s %s: not of one pooling", dpt_dtype_text(v->dtype),
                           dpt_shape_text(v), dpt_dtype_text(index->dtype), dpt_shape_text(index));
}

static dpt_status pool_scatter_shape(dpt_node *node) {
    const dpt_tensor *g = node->in[0];
    DPT_TRY(check_index(node));
    if (!dpt_same_shape(g, node->in[1]))
        return dpt_shape_error(node, "g is %s, index is %s", dpt_shape_text(g), dpt_shape_text(node->in[1]));
    dpt_set_out(node, 0, g->dtype, 4, node->attr.conv.in_dim);
    node->out[0].dim[0] = g->dim[0];
    return DPT_OK;
}

static dpt_status pool_gather_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    DPT_TRY(check_index(node));
    if (memcmp(x->dim + 1, node->attr.conv.in_dim + 1, 3 * sizeof x->dim[0]) != 0)
        return dpt_shape_error(node, "x is %s: not the shape that was pooled", dpt_shape_text(x));
    dpt_set_out(node, 0, x->dtype, 4, node->in[1]->dim);
    return DPT_OK;
}

static void max_pool_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0] && gout[0]) gin[0] = move(node, DPT_OP_POOL_SCATTER, gout[0], &node->out[1]);
}

static void pool_scatter_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = move(node, DPT_OP_POOL_GATHER, gout[0], node->in[1]);
}

static void pool_gather_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = move(node, DPT_OP_POOL_SCATTER, gout[0], node->in[1]);
}

static double max_pool_flop(const dpt_call *call) {
    const dpt_conv_attr *a = &call->attr.conv;
    return (double)call->out[0].count * (double)(a->kernel[0] * a->kernel[1]);
}

/* ---- kernels: a range of planes [H,W] and [H',W'], one plane for each valid row and channel ---- */

typedef struct pool_call {
    const dpt_conv_attr *a;
    int64_t height, width, out_height, out_width;
    void *x, *y; /* planes of x's size, and of the pooled size */
    int32_t *index;
} pool_call;

/* Whether v takes the place of best: a NaN does unless one stands there already. */
#define WINS(v, best) ((int)!((v) <= (best)) & (int)((best) == (best)))

/* 2x2 windows side by side: all four elements of every window exist. */
#define POOL_2X2(name, T)                                                                       \
    DPT_MULTIVERSION static void name(const pool_call *p, const T *restrict x, T *restrict y,   \
                                      int32_t *restrict index) {                                \
        for (int64_t i = 0; i < p->out_height; i++, y += p->out_width, index += p->out_width) { \
            const int32_t start = (int32_t)(2 * i * p->width), width = (int32_t)p->width;       \
            const T *restrict upper = x + start, *restrict lower = upper + width;               \
            _Pragma("omp simd") for (int32_t j = 0; j < (int32_t)p->out_width; j++) {           \
                T best = upper[2 * j];                                                          \
                int32_t at = start + 2 * j;                                                     \
                const T b = upper[2 * j + 1], c = lower[2 * j], d = lower[2 * j + 1];           \
                at = WINS(b, best) ? start + 2 * j + 1 : at;                                    \
                best = WINS(b, best) ? b : best;                                                \
                at = WINS(c, best) ? start + width + 2 * j : at;                                \
                best = WINS(c, best) ? c : best;                                                \
                at = WINS(d, best) ? start + width + 2 * j + 1 : at;                            \
                best = WINS(d, best) ? d : best;                                                \
                y[j] = best;                                                                    \
                index[j] = at;                                                                  \
            }                                                                                   \
        }                                                                                       \
    }
POOL_2X2(pool_2x2_f32, float)
POOL_2X2(pool_2x2_f64, double)
#undef POOL_2X2

/* The part of window number i that lies inside a dimension. */
static void window(int64_t i, int64_t kernel, int64_t stride, int64_t pad, int64_t size, int64_t *begin, int64_t *end) {
    *begin = i * stride - pad;
    *end = *begin + kernel < size ? *begin + kernel : size;
    if (*begin < 0) *begin = 0;
}

#define POOL_ANY(name, T)                                                                               \
    static void name(const pool_call *p, const T *restrict x, T *restrict y, int32_t *restrict index) { \
        const dpt_conv_attr *a = p->a;                                                                  \
        for (int64_t i = 0; i < p->out_height; i++)                                                     \
            for (int64_t j = 0; j < p->out_width; j++) {                                                \
                int64_t h0, h1, w0, w1;                                                                 \
                window(i, a->kernel[0], a->stride[0], a->pad[0], p->height, &h0, &h1);                  \
                window(j, a->kernel[1], a->stride[1], a->pad[1], p->width, &w0, &w1);                   \
                int64_t at = h0 * p->width + w0;                                                        \
                for (int64_t h = h0; h < h1; h++)                                                       \
                    for (int64_t w = w0; w < w1; w++)                                                   \
                        if (WINS(x[h * p->width + w], x[at])) at = h * p->width + w;                    \
                *y++ = x[at];                                                                           \
                *index++ = (int32_t)at;                                                                 \
            }                                                                                           \
    }
POOL_ANY(pool_any_f32, float)
POOL_ANY(pool_any_f64, double)
#undef POOL_ANY

static bool is_2x2(const dpt_conv_attr *a) {
    return a->kernel[0] == 2 && a->kernel[1] == 2 && a->stride[0] == 2 && a->stride[1] == 2 && a->pad[0] == 0 &&
           a->pad[1] == 0;
}

#define MAX_POOL(name, T, two, any)                                                                                  \
    static void name(void *context, int64_t begin, int64_t end) {                                                    \
        const pool_call *p = context;                                                                                \
        int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;                              \
        bool fast = is_2x2(p->a);                                                                                    \
        for (int64_t i = begin; i < end; i++)                                                                        \
            (fast ? two : any)(p, (const T *)p->x + i * plane, (T *)p->y + i * out_plane, p->index + i * out_plane); \
    }
MAX_POOL(max_pool_f32, float, pool_2x2_f32, pool_any_f32)
MAX_POOL(max_pool_f64, double, pool_2x2_f64, pool_any_f64)
#undef MAX_POOL

/* dx of 2x2 windows side by side: every element belongs to one window at most, so each is written once. */
#define SCATTER_2X2(name, T)                                                                                  \
    DPT_MULTIVERSION static void name(const pool_call *p, const T *restrict g, const int32_t *restrict index, \
                                      T *restrict x) {                                                        \
        for (int64_t i = 0; i < p->out_height; i++, g += p->out_width, index += p->out_width) {               \
            const int32_t start = (int32_t)(2 * i * p->width), width = (int32_t)p->width;                     \
            T *restrict upper = x + start, *restrict lower = upper + width;                                   \
            _Pragma("omp simd") for (int32_t j = 0; j < (int32_t)p->out_width; j++) {                         \
                const int32_t at = index[j] - start - 2 * j;                                                  \
                upper[2 * j] = at == 0 ? g[j] : 0;                                                            \
                upper[2 * j + 1] = at == 1 ? g[j] : 0;                                                        \
                lower[2 * j] = at == width ? g[j] : 0;                                                        \
                lower[2 * j + 1] = at == width + 1 ? g[j] : 0;                                                \
            }                                                                                                 \
            if (p->width % 2) upper[width - 1] = lower[width - 1] = 0;                                        \
        }                                                                                                     \
        for (int64_t k = 2 * p->out_height * p->width; k < p->height * p->width; k++) x[k] = 0;               \
    }
SCATTER_2X2(scatter_2x2_f32, float)
SCATTER_2X2(scatter_2x2_f64, double)
#undef SCATTER_2X2

#define SCATTER(name, T, two)                                                           \
    static void name(void *context, int64_t begin, int64_t end) {                       \
        const pool_call *p = context;                                                   \
        int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width; \
        bool fast = is_2x2(p->a);                                                       \
        for (int64_t i = begin; i < end; i++) {                                         \
            const T *g = (const T *)p->y + i * out_plane;                               \
            const int32_t *index = p->index + i * out_plane;                            \
            T *x = (T *)p->x + i * plane;                                               \
            if (fast) {                                                                 \
                two(p, g, index, x);                                                    \
            } else {                                                                    \
                for (int64_t k = 0; k < plane; k++) x[k] = 0;                           \
                for (int64_t k = 0; k < out_plane; k++) x[index[k]] += g[k];            \
            }                                                                           \
        }                                                                               \
    }
SCATTER(scatter_f32, float, scatter_2x2_f32)
SCATTER(scatter_f64, double, scatter_2x2_f64)
#undef SCATTER

#define GATHER(name, T)                                                                 \
    static void name(void *context, int64_t begin, int64_t end) {                       \
        const pool_call *p = context;                                                   \
        int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width; \
        for (int64_t i = begin; i < end; i++)                                           \
            for (int64_t k = i * out_plane; k < (i + 1) * out_plane; k++)               \
                ((T *)p->y)[k] = ((const T *)p->x)[i * plane + p->index[k]];            \
    }
GATHER(gather_f32, float)
GATHER(gather_f64, double)
#undef GATHER

/* Runs a loop over all valid planes; x and pooled are the operands of either size. */
static dpt_status run_planes(const dpt_call *call, const dpt_operand *x, const dpt_operand *pooled, void *index,
                             dpt_range_fn f32, dpt_range_fn f64) {
    enum { WORK = 16384 }; /* elements from which another thread is worth its start */
    pool_call p = {.a = &call->attr.conv,
                   .height = x->dim[2],
                   .width = x->dim[3],
                   .out_height = pooled->dim[2],
                   .out_width = pooled->dim[3],
                   .x = x->data,
                   .y = pooled->data,
                   .index = index};
    int64_t plane = p.height * p.width;
    dpt_parallel(call->device->threads, dpt_valid_count(call, x) / plane, WORK / plane + 1,
                 x->dtype == DPT_F32 ? f32 : f64, &p);
    return DPT_OK;
}

static dpt_status max_pool_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return run_planes(call, &call->in[0], &call->out[0], call->out[1].data, max_pool_f32, max_pool_f64);
}

static dpt_status pool_scatter_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return run_planes(call, &call->out[0], &call->in[0], call->in[1].data, scatter_f32, scatter_f64);
}

static dpt_status pool_gather_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return run_planes(call, &call->in[0], &call->out[0], call->in[1].data, gather_f32, gather_f64);
}

const dpt_op dpt_op_max_pool = {.name = "max_pool",
                                .rule = DPT_ROWWISE,
                                .n_out = 2,
                                .shape = max_pool_shape,
                                .gradient = max_pool_gradient,
                                .flop = max_pool_flop};
const dpt_kernel dpt_cpu_max_pool = {.run = max_pool_run};

const dpt_op dpt_op_pool_scatter = {.name = "pool_scatter",
                                    .rule = DPT_ROWWISE,
                                    .linear = DPT_LINEAR_FIRST,
                                    .n_out = 1,
                                    .shape = pool_scatter_shape,
                                    .gradient = pool_scatter_gradient};
const dpt_kernel dpt_cpu_pool_scatter = {.run = pool_scatter_run};

const dpt_op dpt_op_pool_gather = {.name = "pool_gather",
                                   .rule = DPT_ROWWISE,
                                   .linear = DPT_LINEAR_FIRST,
                                   .n_out = 1,
                                   .shape = pool_gather_shape,
                                   .gradient = pool_gather_gradient};
const dpt_kernel dpt_cpu_pool_gather = {.run = pool_gather_run};
