/* gather.c: elements by index along one axis, and the sum that is its gradient. Both are linear in the values and each
 * the gradient of the other, so derivatives of any order exist. gather moves bytes; scatter_add adds in an order that
 * is that of the indices, whatever the threads: a thread takes a range of targets and looks through all indices. */
#include "ops/gather.h"

#include <math.h>
#include <string.h>

#include "base/numbers.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/map.h"

/* ---- constructors, shapes, gradients ---- */

static dpt_tensor *gather(const char *file, int line, dpt_tensor *x, dpt_tensor *index, int axis, double missing) {
    if (dpt_is_poison(x)) return x;
    if (dpt_is_poison(index)) return index;
    const dpt_attr attr = {
        .gather = {.axis = axis, .over_batch = dpt_has_batch(index) && !dpt_has_batch(x), .missing = missing}};
    return dpt_apply(file, line, DPT_OP_GATHER, NULL, &attr, 2, (dpt_tensor *[]){x, index});
}

dpt_tensor *dpt_gather_at(const char *file, int line, dpt_tensor *x, dpt_tensor *index, int axis) {
    return gather(file, line, x, index, axis, NAN);
}

dpt_tensor *dpt_scatter_add_at(const char *file, int line, dpt_tensor *g, dpt_tensor *index, int axis, int64_t size,
                               bool over_batch) {
    const dpt_attr attr = {.gather = {.axis = axis, .size = size, .over_batch = over_batch}};
    return dpt_apply(file, line, DPT_OP_SCATTER_ADD, NULL, &attr, 2, (dpt_tensor *[]){g, index});
}

/* The index is [count] or [B,count], of B of the values where they have one; axis is one of theirs, no batch. */
static dpt_status check_index(const dpt_node *node, const dpt_tensor *x, const dpt_tensor *index, int axis) {
    const bool integer = index->dtype == DPT_U8 || index->dtype == DPT_I32 || index->dtype == DPT_I64;
    const bool counts = index->ndim == (dpt_has_batch(index) ? 2 : 1);
    const bool rows = !dpt_has_batch(index) || !dpt_has_batch(x) || index->dim[0] == x->dim[0];
    if (!dpt_is_float(x->dtype) || !integer || !counts || !rows)
        return dpt_shape_error(node,
                               "x is %s %s, index is %s %s: x must be of floats, the index of integers [count] or, of "
                               "the same batch, [B,count]",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x), dpt_dtype_text(index->dtype),
                               dpt_shape_text(index));
    if (axis < 0 || axis >= x->ndim || dpt_dim_is_batch(x->dim[axis]))
        return dpt_shape_error(node, "axis %d of x, which is %s: it must be a dimension, and no batch", axis,
                               dpt_shape_text(x));
    return DPT_OK;
}

static dpt_status gather_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0], *index = node->in[1];
    const int axis = node->attr.gather.axis, more = node->attr.gather.over_batch ? 1 : 0;
    int64_t dim[DPT_MAX_NDIM + 1];
    DPT_TRY(check_index(node, x, index, axis));
    if (x->ndim + more > DPT_MAX_NDIM)
        return dpt_shape_error(node, "x is %s: with the batch it would have more than %d dimensions", dpt_shape_text(x),
                               DPT_MAX_NDIM);
    dim[0] = index->dim[0];
    memcpy(dim + more, x->dim, (size_t)x->ndim * sizeof *dim);
    dim[axis + more] = index->dim[index->ndim - 1];
    dpt_set_out(node, 0, x->dtype, x->ndim + more, dim);
    return DPT_OK;
}

static dpt_status scatter_add_shape(dpt_node *node) {
    const dpt_tensor *g = node->in[0], *index = node->in[1];
    const bool over_batch = node->attr.gather.over_batch;
    const int less = over_batch ? 1 : 0, axis = node->attr.gather.axis;
    int64_t dim[DPT_MAX_NDIM];
    DPT_TRY(check_index(node, g, index, axis + less));
    if ((over_batch && (!dpt_has_batch(g) || !dpt_has_batch(index))) || node->attr.gather.size < 1 ||
        g->dim[axis + less] != index->dim[index->ndim - 1])
        return dpt_shape_error(node, "g is %s, index is %s: not of one gather from %lld elements along axis %d",
                               dpt_shape_text(g), dpt_shape_text(index), (long long)node->attr.gather.size, axis);
    memcpy(dim, g->dim + less, (size_t)(g->ndim - less) * sizeof *dim);
    dim[axis] = node->attr.gather.size;
    dpt_set_out(node, 0, over_batch ? dpt_wide_dtype(g->dtype) : g->dtype, g->ndim - less, dim);
    return DPT_OK;
}

static void gather_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int axis = node->attr.gather.axis;
    if (want[0])
        gin[0] = dpt_scatter_add_at(DPT_AT(node), gout[0], node->in[1], axis, node->in[0]->dim[axis],
                                    node->attr.gather.over_batch);
}

/* What was left out has no share in the sum: 0. */
static void scatter_add_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *g = dpt_cast_at(DPT_AT(node), gout[0], node->in[0]->dtype);
    gin[0] = gather(DPT_AT(node), g, node->in[1], node->attr.gather.axis, 0);
}

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

static double scatter_add_flop(const dpt_call *call) { return (double)call->in[0].count; }

/* ---- kernels ---- */

typedef struct gather_run {
    dpt_gather_shape shape;
    const char *from;
    char *to;
    const void *index;
    dpt_dtype index_type;
    int64_t size, rows, chunk; /* of an element; scatter_add: rows to sum over, targets a unit */
    unsigned char missing[8];  /* the value's bytes */
} gather_run;

static int64_t index_at(const gather_run *run, int64_t i) {
    switch (run->index_type) {
        case DPT_U8: return ((const uint8_t *)run->index)[i];
        case DPT_I32: return ((const int32_t *)run->index)[i];
        default: return ((const int64_t *)run->index)[i];
    }
}

static void put_missing(gather_run *run, dpt_dtype dtype, double value) {
    const float f32 = (float)value;
    const uint16_t bf16 = dpt_bf16_of_f32(f32), f16 = dpt_f16_of_f32(f32);
    switch (dtype) {
        case DPT_F64: memcpy(run->missing, &value, sizeof value); break;
        case DPT_F32: memcpy(run->missing, &f32, sizeof f32); break;
        case DPT_BF16: memcpy(run->missing, &bf16, sizeof bf16); break;
        default: memcpy(run->missing, &f16, sizeof f16); break;
    }
}

/* Lines [begin, end) of inner elements: (row, outer, i). */
static void gather_lines(void *context, int64_t begin, int64_t end) {
    const gather_run *run = context;
    const dpt_gather_shape *s = &run->shape;
    const int64_t bytes = s->inner * run->size;
    for (int64_t u = begin; u < end; u++) {
        const int64_t i = u % s->count, o = u / s->count % s->outer, r = u / s->count / s->outer;
        const int64_t v = index_at(run, r * s->index_row + i);
        char *to = run->to + u * bytes;
        if (v >= 0 && v < s->size)
            memcpy(to, run->from + (r * s->x_row + (o * s->size + v) * s->inner) * run->size, (size_t)bytes);
        else
            for (int64_t k = 0; k < s->inner; k++) memcpy(to + k * run->size, run->missing, (size_t)run->size);
    }
}

static dpt_status gather_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_operand *x = &call->in[0], *index = &call->in[1], *y = &call->out[0];
    gather_run run = {.shape = dpt_gather_shape_of(x, y, index, call->attr.gather.axis),
                      .from = x->data,
                      .to = y->data,
                      .index = index->data,
                      .index_type = index->dtype,
                      .size = (int64_t)dpt_dtype_size(x->dtype)};
    put_missing(&run, y->dtype, call->attr.gather.missing);
    dpt_parallel(call->device->threads, dpt_valid_count(call, y) / run.shape.inner, DPT_MAP_GRAIN / run.shape.inner + 1,
                 gather_lines, &run);
    return DPT_OK;
}

#define ADD_LINE(T)                                                                 \
    DPT_HOT_LOOP static void add_line_##T(const void *from, void *to, int64_t n) {  \
        const T *g = from;                                                          \
        T *sum = to;                                                                \
        _Pragma("omp simd") for (int64_t k = 0; k < n; k++) sum[k] = sum[k] + g[k]; \
    }
ADD_LINE(float)
ADD_LINE(double)

/* Units [begin, end): (row, outer, chunk of targets). Sums over rows where the targets have none. */
static void scatter_units(void *context, int64_t begin, int64_t end) {
    const gather_run *run = context;
    const dpt_gather_shape *s = &run->shape;
    const int64_t chunks = (s->size + run->chunk - 1) / run->chunk, line = s->inner * run->size;
    for (int64_t u = begin; u < end; u++) {
        const int64_t first = u % chunks * run->chunk, o = u / chunks % s->outer, row = u / chunks / s->outer;
        const int64_t n = s->size - first < run->chunk ? s->size - first : run->chunk;
        char *to = run->to + (row * s->x_row + (o * s->size + first) * s->inner) * run->size;
        memset(to, 0, (size_t)(n * line));
        for (int64_t r = row; r < row + run->rows; r++)
            for (int64_t i = 0; i < s->count; i++) {
                const int64_t v = index_at(run, r * s->index_row + i) - first;
                if (v < 0 || v >= n) continue;
                const char *from = run->from + (r * s->y_row + (o * s->count + i) * s->inner) * run->size;
                if (run->size == 8)
                    add_line_double(from, to + v * line, s->inner);
                else
                    add_line_float(from, to + v * line, s->inner);
            }
    }
}

static dpt_status scatter_add_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_operand *g = &call->in[0], *index = &call->in[1], *x = &call->out[0];
    const bool over_batch = call->attr.gather.over_batch;
    gather_run run = {.shape = dpt_gather_shape_of(x, g, index, call->attr.gather.axis),
                      .from = g->data,
                      .to = x->data,
                      .index = index->data,
                      .index_type = index->dtype,
                      .size = (int64_t)dpt_dtype_size(x->dtype),
                      .rows = over_batch ? dpt_valid_rows(call, g) : 1};
    const int64_t lines = dpt_valid_rows(call, x) * run.shape.outer, threads = call->device->threads;
    run.chunk = lines >= threads ? run.shape.size : (run.shape.size + threads - 1) / threads;
    const int64_t chunks = (run.shape.size + run.chunk - 1) / run.chunk;
    dpt_parallel((int)threads, lines * chunks, DPT_MAP_GRAIN / (run.chunk * run.shape.inner) + 1, scatter_units, &run);
    return DPT_OK;
}

const dpt_op dpt_op_gather = {.name = "gather",
                              .rule = DPT_ROWWISE,
                              .linear = DPT_LINEAR_FIRST,
                              .precision = DPT_ALONG,
                              .n_out = 1,
                              .shape = gather_shape,
                              .gradient = gather_gradient,
                              .flop = no_flop};
const dpt_kernel dpt_cpu_gather = {.run = gather_kernel};

const dpt_op dpt_op_scatter_add = {.name = "scatter_add",
                                   .rule = DPT_REDUCES,
                                   .linear = DPT_LINEAR_FIRST,
                                   .precision = DPT_AS_IT_COMES,
                                   .n_out = 1,
                                   .shape = scatter_add_shape,
                                   .gradient = scatter_add_gradient,
                                   .flop = scatter_add_flop};
const dpt_kernel dpt_cpu_scatter_add = {.run = scatter_add_kernel};
