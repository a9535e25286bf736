/* elementwise.c: arithmetic on arrays: add, sub, mul, div with NumPy's broadcasting, scale, offset, square root, cast.
 * A broadcasting call is planned once as a loop (loop.h) whose innermost dimension steps by 0 or 1 in each operand, so
 * that a bias, a column or a scalar run as fast as equal shapes do. All ops are closed. */
#include <math.h>

#include "base/memory.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/loop.h"
#include "ops/map.h"

/* ---- a op b: constructors, shape, gradients ---- */

static dpt_tensor *binary(const char *file, int line, int op, dpt_tensor *a, dpt_tensor *b) {
    return dpt_apply(file, line, op, NULL, NULL, 2, (dpt_tensor *[]){a, b});
}

dpt_tensor *dpt_add_at(const char *file, int line, dpt_tensor *a, dpt_tensor *b) {
    return binary(file, line, DPT_OP_ADD, a, b);
}

dpt_tensor *dpt_sub_at(const char *file, int line, dpt_tensor *a, dpt_tensor *b) {
    return binary(file, line, DPT_OP_SUB, a, b);
}

dpt_tensor *dpt_mul_at(const char *file, int line, dpt_tensor *a, dpt_tensor *b) {
    return binary(file, line, DPT_OP_MUL, a, b);
}

dpt_tensor *dpt_div_at(const char *file, int line, dpt_tensor *a, dpt_tensor *b) {
    return binary(file, line, DPT_OP_DIV, a, b);
}

static dpt_status check_types(const dpt_node *node) {
    const dpt_tensor *a = node->in[0], *b = node->in[1];
    if (a->dtype == b->dtype && dpt_is_float(a->dtype)) return DPT_OK;
    return dpt_shape_error(node, "a is %s %s, b is %s %s: both must be of one float type", dpt_dtype_text(a->dtype),
                           dpt_shape_text(a), dpt_dtype_text(b->dtype), dpt_shape_text(b));
}

static dpt_status binary_shape(dpt_node *node) {
    DPT_TRY(check_types(node));
    const dpt_tensor *a = node->in[0], *b = node->in[1];
    const int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t dim[DPT_MAX_NDIM];
    for (int i = 0; i < ndim; i++) {
        const int ia = i - (ndim - a->ndim), ib = i - (ndim - b->ndim);
        const int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        dim[i] = da == 1 ? db : da;
        if ((da != db && da != 1 && db != 1) || (i > 0 && dpt_dim_is_batch(dim[i])))
            return dpt_shape_error(node, "a is %s, b is %s", dpt_shape_text(a), dpt_shape_text(b));
    }
    dpt_set_out(node, 0, a->dtype, ndim, dim);
    return DPT_OK;
}

dpt_tensor *dpt_sum_to_at(const char *file, int line, dpt_tensor *g, const dpt_tensor *like) {
    if (dpt_is_poison(g) || dpt_same_shape(g, like)) return g;
    const int extra = g->ndim - like->ndim;
    uint32_t axes = 0;
    for (int i = 0; i < g->ndim; i++)
        if (i < extra || g->dim[i] != like->dim[i - extra]) axes |= 1U << i;
    const uint32_t leading = (1U << extra) - 1U;
    const bool keep = axes != leading;
    dpt_tensor *sum = dpt_sum_at(file, line, g, axes, keep);
    return keep && extra > 0 ? dpt_reshape_at(file, line, sum, like->ndim, like->dim) : sum;
}

static void add_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    for (int i = 0; i < 2; i++)
        if (want[i]) gin[i] = dpt_sum_to_at(DPT_AT(node), gout[0], node->in[i]);
}

static void sub_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    add_gradient(node, gout, want, gin);
    if (want[1]) gin[1] = dpt_scale_at(DPT_AT(node), gin[1], -1.0);
}

static void mul_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    for (int i = 0; i < 2; i++) {
        if (!want[i]) continue;
        dpt_tensor *product = dpt_mul_at(DPT_AT(node), gout[0], node->in[1 - i]);
        gin[i] = dpt_sum_to_at(DPT_AT(node), product, node->in[i]);
    }
}

/* y = a/b: dy/da = 1/b, dy/db = -y/b */
static void div_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *ratio = dpt_div_at(DPT_AT(node), gout[0], node->in[1]);
    if (want[0]) gin[0] = dpt_sum_to_at(DPT_AT(node), ratio, node->in[0]);
    if (!want[1]) return;
    dpt_tensor *sum = dpt_sum_to_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), ratio, &node->out[0]), node->in[1]);
    gin[1] = dpt_scale_at(DPT_AT(node), sum, -1.0);
}

/* ---- a op b: kernels ---- */

/* Rows of n elements: y[r][i] = a[r*row_step[0] + i*step[0]] op b[r*row_step[1] + i*step[1]], y contiguous. */
typedef struct rows_of {
    const char *a, *b;
    char *y;
    int64_t rows, n;
    int64_t row_step[2], step[2];
} rows_of;

#define BINARY(name, T, op)                                                                   \
    DPT_HOT_LOOP static void name##_##T(const rows_of *call) {                                \
        const int64_t n = call->n, rows = call->rows;                                         \
        for (int64_t r = 0; r < rows; r++) {                                                  \
            const T *a = (const T *)(const void *)call->a + r * call->row_step[0];            \
            const T *b = (const T *)(const void *)call->b + r * call->row_step[1];            \
            T *y = (T *)(void *)call->y + r * n;                                              \
            if (call->step[0] && call->step[1]) {                                             \
                _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = a[i] op b[i];      \
            } else if (call->step[0]) {                                                       \
                const T value = b[0];                                                         \
                _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = a[i] op value;     \
            } else {                                                                          \
                const T value = a[0];                                                         \
                const int64_t step = call->step[1];                                           \
                if (step) {                                                                   \
                    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = value op b[i]; \
                } else {                                                                      \
                    for (int64_t i = 0; i < n; i++) y[i] = value op b[0];                     \
                }                                                                             \
            }                                                                                 \
        }                                                                                     \
    }
#define BINARY_BOTH(name, op) BINARY(name, float, op) BINARY(name, double, op)
BINARY_BOTH(add, +)
BINARY_BOTH(sub, -)
BINARY_BOTH(mul, *)
BINARY_BOTH(div, /)

typedef void (*rows_fn)(const rows_of *call);

typedef struct binary_plan {
    dpt_loop loop;
    rows_fn fn;
} binary_plan;

typedef struct binary_run {
    dpt_loop loop; /* with length[0] of this run */
    rows_fn fn;
    const char *a, *b;
    char *y;
    int64_t size; /* of an element */
} binary_run;

static dpt_status binary_prepare(dpt_call *call) {
    static const rows_fn fn[][2] = {[DPT_OP_ADD] = {add_float, add_double},
                                    [DPT_OP_SUB] = {sub_float, sub_double},
                                    [DPT_OP_MUL] = {mul_float, mul_double},
                                    [DPT_OP_DIV] = {div_float, div_double}};
    binary_plan *plan = dpt_alloc_zero(1, sizeof *plan);
    DPT_CHECK_ALLOC(plan);
    plan->fn = fn[call->op][call->out[0].dtype == DPT_F64];
    plan->loop.operands = 2;
    for (int i = 0; i < 2; i++) dpt_loop_align(plan->loop.step[i], &call->in[i], &call->out[0]);
    dpt_loop_finish(&plan->loop, &call->out[0]);
    call->plan = plan;
    return DPT_OK;
}

static void plan_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

/* A loop of one dimension: elements [begin, end). */
static void binary_elements(void *context, int64_t begin, int64_t end) {
    const binary_run *run = context;
    const int64_t step[2] = {run->loop.step[0][0], run->loop.step[1][0]};
    const rows_of part = {.a = run->a + begin * step[0] * run->size,
                          .b = run->b + begin * step[1] * run->size,
                          .y = run->y + begin * run->size,
                          .rows = 1,
                          .n = end - begin,
                          .step = {step[0], step[1]}};
    run->fn(&part);
}

/* A loop of several dimensions: lines [begin, end) along the innermost one, as far as the next-inner one goes at a
 * time. */
static void binary_lines(void *context, int64_t begin, int64_t end) {
    const binary_run *run = context;
    const dpt_loop *l = &run->loop;
    const int inner = l->ndim - 1, next = l->ndim - 2;
    while (begin < end) {
        const int64_t left = l->length[next] - begin % l->length[next];
        const int64_t rows = left < end - begin ? left : end - begin;
        const rows_of part = {.a = run->a + dpt_loop_offset(l, 0, inner, begin) * run->size,
                              .b = run->b + dpt_loop_offset(l, 1, inner, begin) * run->size,
                              .y = run->y + begin * l->length[inner] * run->size,
                              .rows = rows,
                              .n = l->length[inner],
                              .row_step = {l->step[0][next], l->step[1][next]},
                              .step = {l->step[0][inner], l->step[1][inner]}};
        run->fn(&part);
        begin += rows;
    }
}

static dpt_status binary_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const binary_plan *plan = call->plan;
    binary_run run = {.loop = plan->loop,
                      .fn = plan->fn,
                      .a = call->in[0].data,
                      .b = call->in[1].data,
                      .y = call->out[0].data,
                      .size = (int64_t)dpt_dtype_size(call->out[0].dtype)};
    run.loop.length[0] *= dpt_valid_rows(call, &call->out[0]);
    if (run.loop.ndim == 1) {
        dpt_parallel(call->device->threads, run.loop.length[0], DPT_MAP_GRAIN, binary_elements, &run);
        return DPT_OK;
    }
    const int64_t n = run.loop.length[run.loop.ndim - 1];
    int64_t lines = 1;
    for (int i = 0; i < run.loop.ndim - 1; i++) lines *= run.loop.length[i];
    dpt_parallel(call->device->threads, lines, DPT_MAP_GRAIN / n + 1, binary_lines, &run);
    return DPT_OK;
}

/* Without broadcasting element i of all operands is the same element. */
static dpt_status binary_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    for (int k = 0; k < 2; k++)
        if (call->in[k].ndim != call->out[0].ndim || call->in[k].count != call->out[0].count) return DPT_OK;
    return dpt_map_layouts(call, choice);
}

#define BINARY_OP(name_, linear_)                                 \
    const dpt_op dpt_op_##name_ = {.name = #name_,                \
                                   .precision = DPT_ARITHMETIC,   \
                                   .flags = DPT_IS_INPLACE,       \
                                   .rule = DPT_ROWWISE,           \
                                   .linear = (linear_),           \
                                   .n_out = 1,                    \
                                   .shape = binary_shape,         \
                                   .gradient = name_##_gradient}; \
    const dpt_kernel dpt_cpu_##name_ = {                          \
        .prepare = binary_prepare, .run = binary_kernel, .release = plan_release, .layouts = binary_layouts};
BINARY_OP(add, DPT_ADDITIVE)
BINARY_OP(sub, DPT_ADDITIVE)
BINARY_OP(mul, DPT_MULTILINEAR)
BINARY_OP(div, DPT_LINEAR_FIRST)

/* ---- of one array: scale, offset, square root ---- */

static dpt_tensor *unary(const char *file, int line, int op, dpt_tensor *x, double value) {
    return dpt_apply(file, line, op, NULL, &(dpt_attr){.scalar = {value}}, 1, &x);
}

dpt_tensor *dpt_scale_at(const char *file, int line, dpt_tensor *x, double value) {
    return unary(file, line, DPT_OP_SCALE, x, value);
}

dpt_tensor *dpt_offset_at(const char *file, int line, dpt_tensor *x, double value) {
    return unary(file, line, DPT_OP_OFFSET, x, value);
}

dpt_tensor *dpt_sqrt_at(const char *file, int line, dpt_tensor *x) { return unary(file, line, DPT_OP_SQRT, x, 0); }

static dpt_status unary_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (!dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be f32 or f64", dpt_dtype_text(x->dtype), dpt_shape_text(x));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

static void scale_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_scale_at(DPT_AT(node), gout[0], node->attr.scalar.value);
}

static void offset_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    (void)node;
    if (want[0]) gin[0] = gout[0];
}

/* y = sqrt(x): dy/dx = 1/(2y) */
static void sqrt_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *half = dpt_scale_at(DPT_AT(node), gout[0], 0.5);
    gin[0] = dpt_div_at(DPT_AT(node), half, &node->out[0]);
}

DPT_MAP(scale, v *value, v *value)
DPT_MAP(offset, v + value, v + value)
DPT_MAP(root, sqrtf(v), sqrt(v))

static dpt_status scale_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return dpt_map_run(call, (dpt_map){.value = call->attr.scalar.value}, scale_f32, scale_f64);
}

static dpt_status offset_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return dpt_map_run(call, (dpt_map){.value = call->attr.scalar.value}, offset_f32, offset_f64);
}

static dpt_status sqrt_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return dpt_map_run(call, (dpt_map){0}, root_f32, root_f64);
}

#define UNARY_OP(name_, linear_)                                  \
    const dpt_op dpt_op_##name_ = {.name = #name_,                \
                                   .precision = DPT_ARITHMETIC,   \
                                   .flags = DPT_IS_INPLACE,       \
                                   .rule = DPT_ROWWISE,           \
                                   .linear = (linear_),           \
                                   .n_out = 1,                    \
                                   .shape = unary_shape,          \
                                   .gradient = name_##_gradient}; \
    const dpt_kernel dpt_cpu_##name_ = {.run = name_##_run, .layouts = dpt_map_layouts};
UNARY_OP(scale, DPT_ADDITIVE)
UNARY_OP(offset, DPT_NONLINEAR)
UNARY_OP(sqrt, DPT_NONLINEAR)

/* ---- cast ---- */

/* Whether every value of a is one of b. */
static bool holds(dpt_dtype b, dpt_dtype a) {
    return dpt_is_float(a) && (b == DPT_F64 || b == a || (b == DPT_F32 && dpt_is_half(a)));
}

/* Back from a type that holds all values: what was cast before. */
dpt_tensor *dpt_cast_at(const char *file, int line, dpt_tensor *x, dpt_dtype dtype) {
    if (!dpt_is_poison(x) && x->dtype == dtype && dpt_is_float(dtype)) return x;
    if (!dpt_is_poison(x) && x->node->op == DPT_OP_CAST) {
        dpt_tensor *source = x->node->in[0];
        if (source->dtype == dtype && holds(x->dtype, dtype)) return source;
    }
    return dpt_apply(file, line, DPT_OP_CAST, NULL, &(dpt_attr){.cast = {dtype}}, 1, &x);
}

dpt_tensor *dpt_wide_at(const char *file, int line, dpt_tensor *x) {
    if (dpt_is_poison(x) || !dpt_is_half(x->dtype)) return x;
    for (int64_t i = x->node->id + 1; i < x->graph->n_node; i++) {
        dpt_node *n = x->graph->node[i];
        if (n->op == DPT_OP_CAST && n->in[0] == x && n->out[0].dtype == DPT_F32) return &n->out[0];
    }
    return dpt_cast_at(file, line, x, DPT_F32);
}

static dpt_status cast_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (!dpt_is_float(node->attr.cast.dtype))
        return dpt_shape_error(node, "x is %s, to %s: only floats can be cast to", dpt_shape_text(x),
                               dpt_dtype_text(node->attr.cast.dtype));
    dpt_set_out(node, 0, node->attr.cast.dtype, x->ndim, x->dim);
    return DPT_OK;
}

static void cast_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_cast_at(DPT_AT(node), gout[0], node->in[0]->dtype);
}

#define CAST(from, to)                                                             \
    DPT_HOT_LOOP static void from##_##to(void *map, int64_t begin, int64_t end) {  \
        const dpt_map *m = map;                                                    \
        const from *x = m->x;                                                      \
        to *y = m->y;                                                              \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) y[i] = (to)x[i]; \
    }
CAST(float, float)
CAST(double, float)
CAST(uint8_t, float)
CAST(int32_t, float)
CAST(int64_t, float)
CAST(float, double)
CAST(double, double)
CAST(uint8_t, double)
CAST(int32_t, double)
CAST(int64_t, double)

static dpt_status cast_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    static const dpt_range_fn fn[DPT_DTYPE_COUNT][2] = {[DPT_F32] = {float_float, float_double},
                                                        [DPT_F64] = {double_float, double_double},
                                                        [DPT_U8] = {uint8_t_float, uint8_t_double},
                                                        [DPT_I32] = {int32_t_float, int32_t_double},
                                                        [DPT_I64] = {int64_t_float, int64_t_double}};
    const dpt_range_fn *to = fn[call->in[0].dtype];
    return dpt_map_run(call, (dpt_map){0}, to[0], to[1]);
}

const dpt_op dpt_op_cast = {.name = "cast",
                            .rule = DPT_ROWWISE,
                            .linear = DPT_ADDITIVE,
                            .precision = DPT_AS_IT_COMES,
                            .n_out = 1,
                            .shape = cast_shape,
                            .gradient = cast_gradient};
const dpt_kernel dpt_cpu_cast = {.run = cast_run, .layouts = dpt_map_layouts};
