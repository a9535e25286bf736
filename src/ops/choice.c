/* choice.c: greater, equal, where, with NumPy's broadcasting of all operands. Closed: nothing flows through a
 * comparison or to a condition, and what flows through where is chosen by where.
 *
 * A kernel goes over the output in short stretches of a line. An operand that does not step along the line is first
 * spread over a buffer, so that every loop runs over arrays side by side and vectorises. */
#include <string.h>

#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/loop.h"
#include "ops/map.h"

/* ---- constructors, shapes, gradients ---- */

dpt_tensor *dpt_greater_at(const char *file, int line, dpt_tensor *a, dpt_tensor *b) {
    return dpt_apply(file, line, DPT_OP_GREATER, NULL, NULL, 2, (dpt_tensor *[]){a, b});
}

dpt_tensor *dpt_equal_at(const char *file, int line, dpt_tensor *a, dpt_tensor *b) {
    return dpt_apply(file, line, DPT_OP_EQUAL, NULL, NULL, 2, (dpt_tensor *[]){a, b});
}

dpt_tensor *dpt_where_at(const char *file, int line, dpt_tensor *condition, dpt_tensor *a, dpt_tensor *b) {
    return dpt_apply(file, line, DPT_OP_WHERE, NULL, NULL, 3, (dpt_tensor *[]){condition, a, b});
}

/* The shape that all operands broadcast to. False: there is none. */
static bool broadcast_dims(const dpt_node *node, int *ndim, int64_t dim[DPT_MAX_NDIM]) {
    *ndim = 0;
    for (int k = 0; k < node->n_in; k++)
        if (node->in[k]->ndim > *ndim) *ndim = node->in[k]->ndim;
    for (int i = 0; i < *ndim; i++) {
        dim[i] = 1;
        for (int k = 0; k < node->n_in; k++) {
            const int at = i - (*ndim - node->in[k]->ndim);
            const int64_t d = at < 0 ? 1 : node->in[k]->dim[at];
            if (dim[i] == 1) dim[i] = d;
            if ((d != 1 && d != dim[i]) || (i > 0 && dpt_dim_is_batch(d))) return false;
        }
    }
    return true;
}

static dpt_status compare_shape(dpt_node *node) {
    const dpt_tensor *a = node->in[0], *b = node->in[1];
    int ndim;
    int64_t dim[DPT_MAX_NDIM];
    if (a->dtype != b->dtype || !broadcast_dims(node, &ndim, dim))
        return dpt_shape_error(node, "a is %s %s, b is %s %s: both must be of one type, and broadcast",
                               dpt_dtype_text(a->dtype), dpt_shape_text(a), dpt_dtype_text(b->dtype),
                               dpt_shape_text(b));
    dpt_set_out(node, 0, dpt_is_float(a->dtype) ? a->dtype : DPT_U8, ndim, dim);
    return DPT_OK;
}

static dpt_status where_shape(dpt_node *node) {
    const dpt_tensor *c = node->in[0], *a = node->in[1], *b = node->in[2];
    int ndim;
    int64_t dim[DPT_MAX_NDIM];
    if (a->dtype != b->dtype || !dpt_is_float(a->dtype) || !broadcast_dims(node, &ndim, dim))
        return dpt_shape_error(node,
                               "condition is %s, a is %s %s, b is %s %s: a and b must be of one float type, and all "
                               "broadcast",
                               dpt_shape_text(c), dpt_dtype_text(a->dtype), dpt_shape_text(a), dpt_dtype_text(b->dtype),
                               dpt_shape_text(b));
    dpt_set_out(node, 0, a->dtype, ndim, dim);
    return DPT_OK;
}

static void where_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *g = gout[0], *c = node->in[0];
    dpt_tensor *zero = dpt_scalar_at(DPT_AT(node), g->graph, g->dtype, 0);
    if (want[1]) gin[1] = dpt_sum_to_at(DPT_AT(node), dpt_where_at(DPT_AT(node), c, g, zero), node->in[1]);
    if (want[2]) gin[2] = dpt_sum_to_at(DPT_AT(node), dpt_where_at(DPT_AT(node), c, zero, g), node->in[2]);
}

/* ---- loops over arrays side by side ---- */

enum { STRETCH = 256 };
typedef void (*choice_fn)(const void *const *in, void *out, int64_t n);

#define COMPARE(name, T, To, op)                                                                 \
    DPT_HOT_LOOP static void name##_##T(const void *const *in, void *out, int64_t n) {           \
        const T *a = in[0], *b = in[1];                                                          \
        To *y = out;                                                                             \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = a[i] op b[i] ? (To)1 : (To)0; \
    }
#define COMPARE_ALL(name, op)                                                        \
    COMPARE(name, float, float, op)                                                  \
    COMPARE(name, double, double, op)                                                \
    COMPARE(name, uint8_t, uint8_t, op)                                              \
    COMPARE(name, int32_t, uint8_t, op)                                              \
    COMPARE(name, int64_t, uint8_t, op)                                              \
    static const choice_fn name##_of[DPT_DTYPE_COUNT] = {[DPT_F32] = name##_float,   \
                                                         [DPT_F64] = name##_double,  \
                                                         [DPT_U8] = name##_uint8_t,  \
                                                         [DPT_I32] = name##_int32_t, \
                                                         [DPT_I64] = name##_int64_t};
COMPARE_ALL(greater, >)
COMPARE_ALL(equal, ==)

/* where: the condition as bytes, then the choice. */
#define IS_SET(T)                                                                                         \
    DPT_HOT_LOOP static void is_set_##T(const void *condition, uint8_t *set, int64_t n) {                 \
        const T *c = condition;                                                                           \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) set[i] = c[i] != 0 ? (uint8_t)1 : (uint8_t)0; \
    }
IS_SET(float)
IS_SET(double)
IS_SET(uint8_t)
IS_SET(int32_t)
IS_SET(int64_t)

#define CHOOSE(T)                                                                                                 \
    DPT_HOT_LOOP static void choose_##T(const uint8_t *set, const void *x, const void *z, void *out, int64_t n) { \
        const T *a = x, *b = z;                                                                                   \
        T *y = out;                                                                                               \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                                     \
            const T yes = a[i], no = b[i];                                                                        \
            y[i] = set[i] ? yes : no;                                                                             \
        }                                                                                                         \
    }
CHOOSE(float)
CHOOSE(double)

static void is_set(dpt_dtype dtype, const void *condition, uint8_t *set, int64_t n) {
    switch (dtype) {
        case DPT_F32: is_set_float(condition, set, n); break;
        case DPT_F64: is_set_double(condition, set, n); break;
        case DPT_U8: is_set_uint8_t(condition, set, n); break;
        case DPT_I32: is_set_int32_t(condition, set, n); break;
        default: is_set_int64_t(condition, set, n); break;
    }
}

/* ---- kernels ---- */

typedef struct choice_run {
    dpt_loop loop; /* with length[0] of this run */
    int n_in;
    const char *in[DPT_LOOP_OPERANDS];
    char *out;
    int64_t size[DPT_LOOP_OPERANDS], out_size;
    dpt_dtype condition; /* where */
    choice_fn fn;        /* NULL: where */
} choice_run;

static void spread(const char *value, int64_t size, char *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i * size, value, (size_t)size);
}

/* Elements [begin, end) of the output. */
static void choice_elements(void *context, int64_t begin, int64_t end) {
    const choice_run *run = context;
    const dpt_loop *l = &run->loop;
    const int inner = l->ndim - 1;
    const int64_t line = l->length[inner];
    _Alignas(64) char buffer[DPT_LOOP_OPERANDS][STRETCH * 8];
    uint8_t set[STRETCH];
    while (begin < end) {
        const int64_t at = begin % line, left = line - at < end - begin ? line - at : end - begin;
        const int64_t n = left < STRETCH ? left : STRETCH;
        const void *in[DPT_LOOP_OPERANDS];
        for (int k = 0; k < run->n_in; k++) {
            const int64_t step = l->step[k][inner];
            const char *from = run->in[k] + (dpt_loop_offset(l, k, inner, begin / line) + at * step) * run->size[k];
            in[k] = step ? from : buffer[k];
            if (!step) spread(from, run->size[k], buffer[k], n);
        }
        char *y = run->out + begin * run->out_size;
        if (run->fn) {
            run->fn(in, y, n);
        } else {
            is_set(run->condition, in[0], set, n);
            (run->out_size == 8 ? choose_double : choose_float)(set, in[1], in[2], y, n);
        }
        begin += n;
    }
}

static dpt_status choice_run_by(dpt_call *call, choice_fn fn) {
    const dpt_operand *y = &call->out[0];
    choice_run run = {.loop = {.operands = call->n_in},
                      .n_in = call->n_in,
                      .out = y->data,
                      .out_size = (int64_t)dpt_dtype_size(y->dtype),
                      .condition = call->in[0].dtype,
                      .fn = fn};
    for (int k = 0; k < call->n_in; k++) {
        run.in[k] = call->in[k].data;
        run.size[k] = (int64_t)dpt_dtype_size(call->in[k].dtype);
        dpt_loop_align(run.loop.step[k], &call->in[k], y);
    }
    dpt_loop_finish(&run.loop, y);
    run.loop.length[0] *= dpt_valid_rows(call, y);
    dpt_parallel(call->device->threads, dpt_valid_count(call, y), DPT_MAP_GRAIN, choice_elements, &run);
    return DPT_OK;
}

static dpt_status greater_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return choice_run_by(call, greater_of[call->in[0].dtype]);
}

static dpt_status equal_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return choice_run_by(call, equal_of[call->in[0].dtype]);
}

static dpt_status where_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return choice_run_by(call, NULL);
}

/* Without broadcasting element i of all operands is the same element. */
static dpt_status choice_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    for (int k = 0; k < call->n_in; k++)
        if (call->in[k].ndim != call->out[0].ndim || call->in[k].count != call->out[0].count) return DPT_OK;
    return dpt_map_layouts(call, choice);
}

#define COMPARE_OP(name_)                                       \
    const dpt_op dpt_op_##name_ = {.name = #name_,              \
                                   .flags = DPT_IS_CONSTANT,    \
                                   .rule = DPT_ROWWISE,         \
                                   .precision = DPT_ARITHMETIC, \
                                   .n_out = 1,                  \
                                   .shape = compare_shape};     \
    const dpt_kernel dpt_cpu_##name_ = {.run = name_##_run, .layouts = choice_layouts};
COMPARE_OP(greater)
COMPARE_OP(equal)

const dpt_op dpt_op_where = {.name = "where",
                             .rule = DPT_ROWWISE,
                             .precision = DPT_ARITHMETIC,
                             .n_out = 1,
                             .shape = where_shape,
                             .gradient = where_gradient};
const dpt_kernel dpt_cpu_where = {.run = where_run, .layouts = choice_layouts};
