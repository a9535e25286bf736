/* reduce.c: sums and means over dimensions, and their converse, broadcast; the number of rows of the global batch.
 * Sums are accumulated in f64 in an order that comes from the shape and the valid rows alone, never from the number of
 * threads. All ops are closed. */
#include <string.h>

#include "base/memory.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/loop.h"
#include "ops/map.h"

static void plan_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

/* ---- sum and mean: constructors, shape, gradient ---- */

/* The dimensions that a mask names. False: it names one that x does not have. */
static bool axes_resolve(const dpt_tensor *x, uint32_t *axes) {
    const uint32_t all = (1U << x->ndim) - 1U;
    if (*axes == DPT_ALL_AXES) *axes = all;
    return (*axes & ~all) == 0;
}

static dpt_tensor *axes_fail(const char *file, int line, const char *op, const dpt_tensor *x, uint32_t axes) {
    return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE,
                          "%s: axes 0x%x name a dimension that x does not have: x is %s", op, axes, dpt_shape_text(x));
}

dpt_tensor *dpt_sum_at(const char *file, int line, dpt_tensor *x, uint32_t axes, int keep) {
    if (dpt_is_poison(x)) return x;
    if (!axes_resolve(x, &axes)) return axes_fail(file, line, "sum", x, axes);
    if (axes == 0 && dpt_is_float(x->dtype)) return x;
    return dpt_apply(file, line, DPT_OP_SUM, NULL, &(dpt_attr){.reduce = {axes, keep != 0}}, 1, &x);
}

dpt_tensor *dpt_mean_at(const char *file, int line, dpt_tensor *x, uint32_t axes, int keep) {
    if (dpt_is_poison(x)) return x;
    if (!axes_resolve(x, &axes)) return axes_fail(file, line, "mean", x, axes);
    int64_t per_row = 1;
    const bool over_batch = dpt_has_batch(x) && (axes & 1U);
    for (int i = over_batch ? 1 : 0; i < x->ndim; i++) {
        if (!(axes >> i & 1U)) continue;
        if (x->dim[i] == DPT_LENGTH)
            return dpt_graph_fail(x->graph, file, line, DPT_ERR_UNSUPPORTED,
                                  "mean: over DPT_LENGTH of %s, which has no size yet: sum, and divide by it",
                                  dpt_shape_text(x));
        per_row *= x->dim[i];
    }
    dpt_tensor *sum = dpt_sum_at(file, line, x, axes, keep);
    if (!over_batch) return dpt_scale_at(file, line, sum, 1.0 / (double)per_row);
    return dpt_div_at(file, line, sum, dpt_rows_at(file, line, x->graph, x->dim[0], per_row, dpt_wide_dtype(x->dtype)));
}

/* x's shape with the summed dimensions as 1, or without them. Returns how many there are. */
static int reduced_dims(const dpt_tensor *x, uint32_t axes, bool keep, int64_t dim[DPT_MAX_NDIM]) {
    int n = 0;
    for (int i = 0; i < x->ndim; i++) {
        const bool summed = axes >> i & 1U;
        if (!summed || keep) dim[n++] = summed ? 1 : x->dim[i];
    }
    return n;
}

static dpt_status sum_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (!dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be f32 or f64", dpt_dtype_text(x->dtype), dpt_shape_text(x));
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = reduced_dims(x, node->attr.reduce.axes, node->attr.reduce.keep, dim);
    dpt_set_out(node, 0, dpt_wide_dtype(x->dtype), ndim, dim);
    return DPT_OK;
}

static void sum_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    const dpt_tensor *x = node->in[0];
    const uint32_t axes = node->attr.reduce.axes;
    int64_t dim[DPT_MAX_NDIM];
    dpt_tensor *g = dpt_cast_at(DPT_AT(node), gout[0], x->dtype);
    const bool leading = (axes & (axes + 1U)) == 0; /* the rest aligns to the right as it is */
    if (!node->attr.reduce.keep && !leading) g = dpt_reshape_at(DPT_AT(node), g, reduced_dims(x, axes, true, dim), dim);
    gin[0] = dpt_broadcast_at(DPT_AT(node), g, x->ndim, x->dim);
}

static double sum_flop(const dpt_call *call) { return (double)call->in[0].count; }

/* ---- sum: kernel ----
 * The dimensions of the input are parted into the kept ones, which in C order are the output, and the summed ones; the
 * step of both is the input's. Where the innermost dimension is summed, output is made element by element, each a sum
 * of stretches; where it is kept, COLUMNS neighbours are summed at a time. A sum of everything goes by blocks. */

enum { COLUMNS = 64, BLOCK = 16384 };

typedef struct sum_plan {
    dpt_loop kept, summed; /* summed.ndim >= 1 */
    bool first_kept;       /* dimension 0 of the input, which may be the batch, is dimension 0 of kept */
    bool inner_kept;
} sum_plan;

typedef struct sum_run {
    sum_plan plan; /* with the lengths of this run */
    const char *x;
    char *y;
    double *partial; /* a sum of everything: a place for each block */
    bool f64;
    int64_t size; /* of an element */
} sum_run;

#define SUM_LOOPS(T)                                                                                             \
    DPT_HOT_LOOP static double stretch_##T(const void *data, int64_t n) {                                        \
        const T *x = data;                                                                                       \
        double sum = 0;                                                                                          \
        _Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < n; i++) sum += (double)x[i];              \
        return sum;                                                                                              \
    }                                                                                                            \
    DPT_HOT_LOOP static void columns_##T(const void *data, int64_t rows, int64_t step, int64_t n, double *sum) { \
        for (int64_t r = 0; r < rows; r++) {                                                                     \
            const T *x = (const T *)data + r * step;                                                             \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) sum[i] += (double)x[i];                          \
        }                                                                                                        \
    }
SUM_LOOPS(float)
SUM_LOOPS(double)

static int64_t loop_count(const dpt_loop *loop, int ndim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= loop->length[i];
    return n;
}

static void store(const sum_run *run, int64_t at, const double *sum, int64_t n) {
    if (run->f64) {
        memcpy(run->y + at * run->size, sum, (size_t)(n * run->size));
        return;
    }
    float *y = (float *)(void *)run->y + at;
    for (int64_t i = 0; i < n; i++) y[i] = (float)sum[i];
}

/* Output elements [begin, end), each a sum of stretches. */
static void sum_elements(void *context, int64_t begin, int64_t end) {
    const sum_run *run = context;
    const dpt_loop *kept = &run->plan.kept, *summed = &run->plan.summed;
    const int inner = summed->ndim - 1;
    const int64_t n = summed->length[inner], stretches = loop_count(summed, inner);
    for (int64_t u = begin; u < end; u++) {
        const char *x = run->x + dpt_loop_offset(kept, 0, kept->ndim, u) * run->size;
        double sum = 0;
        for (int64_t s = 0; s < stretches; s++) {
            const char *from = x + dpt_loop_offset(summed, 0, inner, s) * run->size;
            sum += run->f64 ? stretch_double(from, n) : stretch_float(from, n);
        }
        store(run, u, &sum, 1);
    }
}

static int64_t chunks_of(int64_t n) { return (n + COLUMNS - 1) / COLUMNS; }

/* Chunks [begin, end) of COLUMNS output elements; the last of a line may be shorter. */
static void sum_columns(void *context, int64_t begin, int64_t end) {
    const sum_run *run = context;
    const dpt_loop *kept = &run->plan.kept, *summed = &run->plan.summed;
    const int inner = summed->ndim - 1, line = kept->ndim - 1;
    const int64_t rows = summed->length[inner], step = summed->step[0][inner], blocks = loop_count(summed, inner);
    const int64_t width = kept->length[line], chunks = chunks_of(width);
    for (int64_t u = begin; u < end; u++) {
        const int64_t first = u % chunks * COLUMNS, n = width - first < COLUMNS ? width - first : COLUMNS;
        const char *x = run->x + (dpt_loop_offset(kept, 0, line, u / chunks) + first) * run->size;
        double sum[COLUMNS] = {0};
        for (int64_t b = 0; b < blocks; b++) {
            const char *from = x + dpt_loop_offset(summed, 0, inner, b) * run->size;
            if (run->f64)
                columns_double(from, rows, step, n, sum);
            else
                columns_float(from, rows, step, n, sum);
        }
        store(run, u / chunks * width + first, sum, n);
    }
}

/* Blocks [begin, end) of a sum of everything. */
static void sum_blocks(void *context, int64_t begin, int64_t end) {
    sum_run *run = context;
    const int64_t count = run->plan.summed.length[0];
    for (int64_t b = begin; b < end; b++) {
        const int64_t first = b * BLOCK, n = count - first < BLOCK ? count - first : BLOCK;
        const char *from = run->x + first * run->size;
        run->partial[b] = run->f64 ? stretch_double(from, n) : stretch_float(from, n);
    }
}

static dpt_status sum_prepare(dpt_call *call) {
    const dpt_operand *x = &call->in[0];
    sum_plan *plan = dpt_alloc_zero(1, sizeof *plan);
    DPT_CHECK_ALLOC(plan);
    call->plan = plan;
    /* operand 0: the input; operand 1: 1 where a dimension is kept, which only keeps kept and summed ones apart */
    dpt_loop loop = {.operands = 2};
    dpt_loop_align(loop.step[0], x, x);
    int64_t stride = 1;
    for (int i = x->ndim - 1; i >= 0; i--) {
        if (call->attr.reduce.axes >> i & 1U) continue;
        loop.step[1][i] = stride;
        stride *= x->dim[i];
    }
    dpt_loop_finish(&loop, x);
    for (int i = 0; i < loop.ndim; i++) {
        dpt_loop *part = loop.step[1][i] ? &plan->kept : &plan->summed;
        part->length[part->ndim] = loop.length[i];
        part->step[0][part->ndim++] = loop.step[0][i];
    }
    plan->first_kept = loop.step[1][0] != 0;
    plan->inner_kept = loop.step[1][loop.ndim - 1] != 0;
    if (plan->summed.ndim == 0) plan->summed.length[plan->summed.ndim++] = 1;
    if (plan->kept.ndim == 0) call->workspace_bytes = (size_t)((x->count + BLOCK - 1) / BLOCK) * sizeof(double);
    return DPT_OK;
}

static dpt_status sum_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    sum_run run = {.plan = *(const sum_plan *)call->plan,
                   .x = call->in[0].data,
                   .y = call->out[0].data,
                   .partial = call->workspace,
                   .f64 = call->out[0].dtype == DPT_F64,
                   .size = (int64_t)dpt_dtype_size(call->out[0].dtype)};
    dpt_loop *kept = &run.plan.kept, *summed = &run.plan.summed;
    const int threads = call->device->threads;
    (run.plan.first_kept ? kept : summed)->length[0] *= dpt_valid_rows(call, &call->in[0]);
    const int64_t per_element = loop_count(summed, summed->ndim) + 1;
    if (kept->ndim == 0) {
        const int64_t blocks = (summed->length[0] + BLOCK - 1) / BLOCK;
        dpt_parallel(threads, blocks, 2, sum_blocks, &run);
        double sum = 0;
        for (int64_t b = 0; b < blocks; b++) sum += run.partial[b];
        store(&run, 0, &sum, 1);
    } else if (run.plan.inner_kept) {
        const int line = kept->ndim - 1;
        const int64_t units = loop_count(kept, line) * chunks_of(kept->length[line]);
        dpt_parallel(threads, units, DPT_MAP_GRAIN / (per_element * COLUMNS) + 1, sum_columns, &run);
    } else {
        dpt_parallel(threads, loop_count(kept, kept->ndim), DPT_MAP_GRAIN / per_element + 1, sum_elements, &run);
    }
    return DPT_OK;
}

const dpt_op dpt_op_sum = {.name = "sum",
                           .rule = DPT_REDUCES,
                           .linear = DPT_ADDITIVE,
                           .precision = DPT_AS_IT_COMES,
                           .n_out = 1,
                           .shape = sum_shape,
                           .gradient = sum_gradient,
                           .flop = sum_flop};
const dpt_kernel dpt_cpu_sum = {.prepare = sum_prepare, .run = sum_kernel, .release = plan_release};

/* ---- broadcast ---- */

dpt_tensor *dpt_broadcast_at(const char *file, int line, dpt_tensor *x, int ndim, const int64_t *dim) {
    if (dpt_is_poison(x)) return x;
    if (ndim < 0 || ndim > DPT_MAX_NDIM)
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE, "broadcast: to %d dimensions (0 to %d)", ndim,
                              DPT_MAX_NDIM);
    dpt_attr attr = {.shape = {.ndim = ndim}};
    if (ndim > 0) memcpy(attr.shape.dim, dim, (size_t)ndim * sizeof *dim);
    if (ndim == x->ndim && memcmp(attr.shape.dim, x->dim, (size_t)ndim * sizeof *dim) == 0 && dpt_is_float(x->dtype))
        return x;
    return dpt_apply(file, line, DPT_OP_BROADCAST, NULL, &attr, 1, &x);
}

static dpt_status broadcast_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const int ndim = node->attr.shape.ndim, shift = ndim - x->ndim;
    const int64_t *dim = node->attr.shape.dim;
    dpt_set_out(node, 0, x->dtype, ndim, dim);
    bool fits = shift >= 0 && dpt_is_float(x->dtype);
    for (int i = 0; i < ndim && fits; i++) {
        const int64_t from = i < shift ? 1 : x->dim[i - shift];
        const bool batch = i == 0 && dpt_dim_is_batch(dim[i]) && dpt_dim_axis(dim[i]) < x->graph->n_axis;
        fits = (dim[i] > 0 || batch) && (from == dim[i] || from == 1);
    }
    if (fits) return DPT_OK;
    return dpt_shape_error(node, "x is %s %s, to %s", dpt_dtype_text(x->dtype), dpt_shape_text(x),
                           dpt_shape_text(&node->out[0]));
}

static void broadcast_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_sum_to_at(DPT_AT(node), gout[0], node->in[0]);
}

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

typedef struct broadcast_run {
    dpt_loop loop; /* with length[0] of this run */
    const char *x;
    char *y;
    bool f64;
} broadcast_run;

#define SPREAD(T)                                                                              \
    DPT_HOT_LOOP static void spread_##T(const void *from, int64_t step, int64_t n, void *to) { \
        const T *x = from;                                                                     \
        T *y = to;                                                                             \
        const T value = x[0];                                                                  \
        if (step)                                                                              \
            memcpy(y, x, (size_t)n * sizeof *y);                                               \
        else {                                                                                 \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = value;                  \
        }                                                                                      \
    }
SPREAD(float)
SPREAD(double)

/* Lines [begin, end) along the innermost dimension. */
static void broadcast_lines(void *context, int64_t begin, int64_t end) {
    const broadcast_run *run = context;
    const dpt_loop *l = &run->loop;
    const int inner = l->ndim - 1;
    const int64_t n = l->length[inner], step = l->step[0][inner], size = run->f64 ? 8 : 4;
    for (int64_t u = begin; u < end; u++) {
        const char *from = run->x + dpt_loop_offset(l, 0, inner, u) * size;
        if (run->f64)
            spread_double(from, step, n, run->y + u * n * size);
        else
            spread_float(from, step, n, run->y + u * n * size);
    }
}

/* A loop of one dimension: elements [begin, end). */
static void broadcast_elements(void *context, int64_t begin, int64_t end) {
    const broadcast_run *run = context;
    const int64_t step = run->loop.step[0][0], size = run->f64 ? 8 : 4;
    const char *from = run->x + begin * step * size;
    if (run->f64)
        spread_double(from, step, end - begin, run->y + begin * size);
    else
        spread_float(from, step, end - begin, run->y + begin * size);
}

static dpt_status broadcast_prepare(dpt_call *call) {
    dpt_loop *loop = dpt_alloc_zero(1, sizeof *loop);
    DPT_CHECK_ALLOC(loop);
    call->plan = loop;
    loop->operands = 1;
    dpt_loop_align(loop->step[0], &call->in[0], &call->out[0]);
    dpt_loop_finish(loop, &call->out[0]);
    return DPT_OK;
}

static dpt_status broadcast_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    broadcast_run run = {.loop = *(const dpt_loop *)call->plan,
                         .x = call->in[0].data,
                         .y = call->out[0].data,
                         .f64 = call->out[0].dtype == DPT_F64};
    dpt_loop *l = &run.loop;
    l->length[0] *= dpt_valid_rows(call, &call->out[0]);
    const int64_t n = l->length[l->ndim - 1];
    if (l->ndim == 1)
        dpt_parallel(call->device->threads, n, DPT_MAP_GRAIN, broadcast_elements, &run);
    else
        dpt_parallel(call->device->threads, loop_count(l, l->ndim - 1), DPT_MAP_GRAIN / n + 1, broadcast_lines, &run);
    return DPT_OK;
}

const dpt_op dpt_op_broadcast = {.name = "broadcast",
                                 .rule = DPT_ROWWISE,
                                 .linear = DPT_ADDITIVE,
                                 .precision = DPT_ARITHMETIC,
                                 .n_out = 1,
                                 .shape = broadcast_shape,
                                 .gradient = broadcast_gradient,
                                 .flop = no_flop};
const dpt_kernel dpt_cpu_broadcast = {.prepare = broadcast_prepare, .run = broadcast_kernel, .release = plan_release};

/* ---- rows ---- */

dpt_tensor *dpt_rows_at(const char *file, int line, dpt_graph *g, int64_t axis, int64_t per_row, dpt_dtype dtype) {
    if (!dpt_dim_is_batch(axis) || dpt_dim_axis(axis) >= g->n_axis)
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "rows: %lld is no batch axis of this graph", (long long)axis);
    if (!dpt_is_float(dtype))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "rows: of type %s: only f32 and f64", dpt_dtype_text(dtype));
    const dpt_attr attr = {.rows = {dpt_dim_axis(axis), per_row, dtype}};
    dpt_node *node = dpt_node_add(g, file, line, DPT_OP_ROWS, NULL, &attr, 0, NULL);
    return node ? &node->out[0] : &g->poison;
}

static dpt_status rows_shape(dpt_node *node) {
    dpt_set_out(node, 0, node->attr.rows.dtype, 0, NULL);
    return DPT_OK;
}

static dpt_status rows_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const double rows = (double)call->block->global_rows[call->attr.rows.axis] * (double)call->attr.rows.per_row;
    if (call->out[0].dtype == DPT_F64)
        *(double *)call->out[0].data = rows;
    else
        *(float *)call->out[0].data = (float)rows;
    return DPT_OK;
}

const dpt_op dpt_op_rows = {
    .name = "rows", .flags = DPT_IS_CONSTANT, .rule = DPT_ROWWISE, .n_out = 1, .shape = rows_shape, .flop = no_flop};
const dpt_kernel dpt_cpu_rows = {.run = rows_kernel};
