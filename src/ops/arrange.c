/* arrange.c: transpose, concat, slice, pad: elements in other places, any type. All are closed, and linear but for a
 * pad by a value other than 0 (program/pass_distribute.c). concat's gradients are slices, slice's is a pad that also
 * spreads (step), pad's a slice. A kernel is a few boxes (box.h), copied in lines, or in tiles where source and target
 * run along different dimensions. Concat, slice and pad work in other layouts too, as box.h says. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "ops/box.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/map.h"

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

/* Whether axis is a dimension of x that can be taken apart. */
static dpt_status check_axis(const dpt_node *node, const dpt_tensor *x, int axis) {
    if (axis >= 0 && axis < x->ndim && x->dim[axis] > 0) return DPT_OK;
    return dpt_shape_error(node, "axis %d of x, which is %s: it must be a dimension with a size, and no batch", axis,
                           dpt_shape_text(x));
}

/* ---- transpose ---- */

dpt_tensor *dpt_transpose_at(const char *file, int line, dpt_tensor *x, const int *order) {
    dpt_attr attr = {0};
    bool same = true;
    if (dpt_is_poison(x)) return x;
    for (int i = 0; i < x->ndim; i++) {
        attr.transpose.order[i] = order[i];
        same &= order[i] == i;
    }
    return same ? x : dpt_apply(file, line, DPT_OP_TRANSPOSE, NULL, &attr, 1, &x);
}

static dpt_status transpose_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const int *order = node->attr.transpose.order;
    int64_t dim[DPT_MAX_NDIM];
    uint32_t seen = 0;
    for (int i = 0; i < x->ndim; i++) {
        const bool fits = order[i] >= 0 && order[i] < x->ndim && !(seen >> order[i] & 1U);
        if (!fits || (i == 0 && order[0] != 0 && dpt_has_batch(x)))
            return dpt_shape_error(node, "x is %s, dimension %d of the result is %d of x: each once, a batch first",
                                   dpt_shape_text(x), i, order[i]);
        seen |= 1U << order[i];
        dim[i] = x->dim[order[i]];
    }
    dpt_set_out(node, 0, x->dtype, x->ndim, dim);
    return DPT_OK;
}

static void transpose_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    int back[DPT_MAX_NDIM];
    for (int i = 0; i < node->in[0]->ndim; i++) back[node->attr.transpose.order[i]] = i;
    if (want[0]) gin[0] = dpt_transpose_at(DPT_AT(node), gout[0], back);
}

/* ---- concat ---- */

dpt_tensor *dpt_concat_at(const char *file, int line, dpt_tensor *const *x, int n, int axis) {
    if (n == 1 || dpt_is_poison(x[0])) return x[0];
    if (n < 1) return dpt_graph_fail(x[0]->graph, file, line, DPT_ERR_ARG, "concat: of %d tensors: at least one", n);
    const dpt_attr attr = {.concat = {axis}};
    if (n <= DPT_MAX_IN) return dpt_apply(file, line, DPT_OP_CONCAT, NULL, &attr, n, x);
    dpt_tensor *last[2] = {dpt_apply(file, line, DPT_OP_CONCAT, NULL, &attr, DPT_MAX_IN, x),
                           dpt_concat_at(file, line, x + DPT_MAX_IN, n - DPT_MAX_IN, axis)};
    return dpt_apply(file, line, DPT_OP_CONCAT, NULL, &attr, 2, last);
}

static dpt_status concat_shape(dpt_node *node) {
    const dpt_tensor *first = node->in[0];
    const int axis = node->attr.concat.axis;
    int64_t dim[DPT_MAX_NDIM], size = 0;
    DPT_TRY(check_axis(node, first, axis));
    memcpy(dim, first->dim, (size_t)first->ndim * sizeof *dim);
    for (int k = 0; k < node->n_in; k++) {
        const dpt_tensor *x = node->in[k];
        bool fits = x->dtype == first->dtype && x->ndim == first->ndim;
        for (int i = 0; fits && i < x->ndim; i++) fits = i == axis ? x->dim[i] > 0 : x->dim[i] == dim[i];
        if (!fits)
            return dpt_shape_error(node,
                                   "operand 0 is %s %s, operand %d is %s %s: one type, and equal in all dimensions but "
                                   "%d",
                                   dpt_dtype_text(first->dtype), dpt_shape_text(first), k, dpt_dtype_text(x->dtype),
                                   dpt_shape_text(x), axis);
        size += x->dim[axis];
    }
    dim[axis] = size;
    dpt_set_out(node, 0, first->dtype, first->ndim, dim);
    return DPT_OK;
}

static void concat_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int axis = node->attr.concat.axis;
    int64_t at = 0;
    for (int k = 0; k < node->n_in; k++) {
        const int64_t end = at + node->in[k]->dim[axis];
        if (want[k]) gin[k] = dpt_slice_at(DPT_AT(node), gout[0], axis, at, end, 1);
        at = end;
    }
}

/* ---- slice and pad ---- */

dpt_tensor *dpt_slice_at(const char *file, int line, dpt_tensor *x, int axis, int64_t from, int64_t to, int64_t step) {
    if (dpt_is_poison(x)) return x;
    if (axis >= 0 && axis < x->ndim && x->dim[axis] > 0 && from == 0 && to == x->dim[axis] && step == 1) return x;
    return dpt_apply(file, line, DPT_OP_SLICE, NULL, &(dpt_attr){.slice = {axis, from, to, step}}, 1, &x);
}

static dpt_status slice_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const int axis = node->attr.slice.axis;
    const int64_t from = node->attr.slice.from, to = node->attr.slice.to, step = node->attr.slice.step;
    DPT_TRY(check_axis(node, x, axis));
    if (from < 0 || from >= to || to > x->dim[axis] || step < 1)
        return dpt_shape_error(
            node, "x is %s, from %lld to %lld by %lld along axis %d: 0 <= from < to <= %lld, step >= 1",
            dpt_shape_text(x), (long long)from, (long long)to, (long long)step, axis, (long long)x->dim[axis]);
    dpt_set_out_like(node, 0, x);
    node->out[0].dim[axis] = (to - from - 1) / step + 1;
    return DPT_OK;
}

static dpt_tensor *pad(const char *file, int line, dpt_tensor *x, int axis, int64_t before, int64_t after, int64_t step,
                       double value) {
    return dpt_apply(file, line, DPT_OP_PAD, NULL, &(dpt_attr){.pad = {axis, before, after, step, value}}, 1, &x);
}

dpt_tensor *dpt_pad_at(const char *file, int line, dpt_tensor *x, int axis, int64_t before, int64_t after,
                       double value) {
    if (dpt_is_poison(x) || (before == 0 && after == 0)) return x;
    return pad(file, line, x, axis, before, after, 1, value);
}

/* Whether an element of the type can have this value. */
static bool is_value_of(dpt_dtype dtype, double value) {
    const double low = dtype == DPT_U8 ? 0 : dtype == DPT_I32 ? INT32_MIN : -0x1p53;
    const double high = dtype == DPT_U8 ? UINT8_MAX : dtype == DPT_I32 ? INT32_MAX : 0x1p53;
    return dpt_is_float(dtype) || (value >= low && value <= high && value == floor(value));
}

static dpt_status pad_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const int axis = node->attr.pad.axis;
    const int64_t before = node->attr.pad.before, after = node->attr.pad.after;
    DPT_TRY(check_axis(node, x, axis));
    if (before < 0 || after < 0)
        return dpt_shape_error(node, "x is %s, %lld before and %lld after along axis %d: at least 0", dpt_shape_text(x),
                               (long long)before, (long long)after, axis);
    int64_t size = (x->dim[axis] - 1) * node->attr.pad.step + 1;
    if (__builtin_add_overflow(size, before, &size) || __builtin_add_overflow(size, after, &size))
        return dpt_shape_error(node, "x is %s, %lld before and %lld after along axis %d: that is too many",
                               dpt_shape_text(x), (long long)before, (long long)after, axis);
    if (!is_value_of(x->dtype, node->attr.pad.value))
        return dpt_shape_error(node, "x is %s %s, the value is %g: it must be one of that type",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x), node->attr.pad.value);
    dpt_set_out_like(node, 0, x);
    node->out[0].dim[axis] = size;
    return DPT_OK;
}

static void slice_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int axis = node->attr.slice.axis;
    const int64_t from = node->attr.slice.from, step = node->attr.slice.step;
    const int64_t end = from + (node->out[0].dim[axis] - 1) * step + 1;
    if (want[0]) gin[0] = pad(DPT_AT(node), gout[0], axis, from, node->in[0]->dim[axis] - end, step, 0);
}

static void pad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int axis = node->attr.pad.axis;
    const int64_t before = node->attr.pad.before, end = node->out[0].dim[axis] - node->attr.pad.after;
    if (want[0]) gin[0] = dpt_slice_at(DPT_AT(node), gout[0], axis, before, end, node->attr.pad.step);
}

/* ---- kernels ---- */

enum { TILE = 16 };

typedef struct box_run {
    dpt_box box; /* with length[0] of this run */
    const char *from;
    char *to;
    int64_t size;  /* of an element */
    uint64_t fill; /* where from is NULL */
    bool tiles;    /* along the last two dimensions */
} box_run;

/* y[a ta + b tb] = x[a fa + b fb], a < m, b < n; x NULL: the value. */
#define MOVE(T)                                                                                                \
    static void move_##T(const void *x, void *y, uint64_t value, int64_t m, int64_t fa, int64_t ta, int64_t n, \
                         int64_t fb, int64_t tb) {                                                             \
        const T *from = x;                                                                                     \
        T *to = y;                                                                                             \
        for (int64_t a = 0; a < m; a++)                                                                        \
            if (from == NULL)                                                                                  \
                for (int64_t b = 0; b < n; b++) to[a * ta + b * tb] = (T)value;                                \
            else                                                                                               \
                for (int64_t b = 0; b < n; b++) to[a * ta + b * tb] = from[a * fa + b * fb];                   \
    }
MOVE(uint8_t)
MOVE(uint16_t)
MOVE(uint32_t)
MOVE(uint64_t)

static void move(const box_run *run, int64_t from, int64_t to, int64_t m, int64_t fa, int64_t ta, int64_t n, int64_t fb,
                 int64_t tb) {
    const void *x = run->from ? run->from + from * run->size : NULL;
    void *y = run->to + to * run->size;
    if (x && fb == 1 && tb == 1 && m == 1) {
        memcpy(y, x, (size_t)(n * run->size));
        return;
    }
    switch (run->size) {
        case 1: move_uint8_t(x, y, run->fill, m, fa, ta, n, fb, tb); break;
        case 2: move_uint16_t(x, y, run->fill, m, fa, ta, n, fb, tb); break;
        case 4: move_uint32_t(x, y, run->fill, m, fa, ta, n, fb, tb); break;
        default: move_uint64_t(x, y, run->fill, m, fa, ta, n, fb, tb); break;
    }
}

/* Lines [begin, end) along the innermost dimension; of a loop of one dimension, its elements. */
static void box_lines(void *context, int64_t begin, int64_t end) {
    const box_run *run = context;
    const dpt_loop *l = &run->box.loop;
    const int inner = l->ndim - 1;
    const int64_t fb = l->step[0][inner], tb = l->step[1][inner];
    if (inner == 0) {
        move(run, run->box.from + begin * fb, run->box.to + begin * tb, 1, 0, 0, end - begin, fb, tb);
        return;
    }
    for (int64_t u = begin; u < end; u++)
        move(run, run->box.from + dpt_loop_offset(l, 0, inner, u), run->box.to + dpt_loop_offset(l, 1, inner, u), 1, 0,
             0, l->length[inner], fb, tb);
}

/* Stretches [begin, end) of TILE along the last dimension but one, in squares. */
static void box_tiles(void *context, int64_t begin, int64_t end) {
    const box_run *run = context;
    const dpt_loop *l = &run->box.loop;
    const int b = l->ndim - 1, a = l->ndim - 2;
    const int64_t across = (l->length[a] + TILE - 1) / TILE;
    const int64_t fa = l->step[0][a], ta = l->step[1][a], fb = l->step[0][b], tb = l->step[1][b];
    for (int64_t u = begin; u < end; u++) {
        const int64_t i = u % across * TILE, m = l->length[a] - i < TILE ? l->length[a] - i : TILE;
        const int64_t from = run->box.from + dpt_loop_offset(l, 0, a, u / across) + i * fa;
        const int64_t to = run->box.to + dpt_loop_offset(l, 1, a, u / across) + i * ta;
        for (int64_t j = 0; j < l->length[b]; j += TILE) {
            const int64_t n = l->length[b] - j < TILE ? l->length[b] - j : TILE;
            move(run, from + j * fb, to + j * tb, m, fa, ta, n, fb, tb);
        }
    }
}

/* Moves the dimension along which the source runs to the last place but one. Only the order of the copy changes; the
 * rows stay first. */
static bool tiles_of(dpt_box *box) {
    dpt_loop *l = &box->loop;
    const int inner = l->ndim - 1;
    int along = -1;
    for (int i = box->axis >= 0 ? 1 : 0; i < inner; i++)
        if (l->step[0][i] == 1 && l->length[i] > 1) along = i;
    if (along < 0 || l->step[0][inner] == 1) return false;
    const int64_t length = l->length[along], to = l->step[1][along];
    for (int i = along; i < inner - 1; i++) {
        l->length[i] = l->length[i + 1];
        l->step[0][i] = l->step[0][i + 1];
        l->step[1][i] = l->step[1][i + 1];
    }
    l->length[inner - 1] = length;
    l->step[0][inner - 1] = 1;
    l->step[1][inner - 1] = to;
    return true;
}

static dpt_status run_boxes(dpt_call *call, int (*boxes_of)(const dpt_call *, dpt_box *, int *)) {
    dpt_box box[DPT_BOXES];
    int source[DPT_BOXES];
    const int n = boxes_of(call, box, source);
    const dpt_operand *y = &call->out[0];
    for (int k = 0; k < n; k++) {
        box_run run = {.box = box[k],
                       .from = source[k] < 0 ? NULL : call->in[source[k]].data,
                       .to = y->data,
                       .size = (int64_t)dpt_dtype_size(y->dtype)};
        if (source[k] < 0) run.fill = dpt_bits_of(y->dtype, call->attr.pad.value);
        run.tiles = source[k] >= 0 && tiles_of(&run.box);
        dpt_loop *l = &run.box.loop;
        l->length[0] *= dpt_valid_rows(call, y);
        const int inner = l->ndim - 1;
        const int64_t line = l->length[inner], items = dpt_box_count(&run.box, l->ndim);
        if (run.tiles) {
            const int64_t a = l->length[inner - 1], across = (a + TILE - 1) / TILE;
            dpt_parallel(call->device->threads, dpt_box_count(&run.box, inner - 1) * across,
                         DPT_MAP_GRAIN / (TILE * line + 1) + 1, box_tiles, &run);
        } else {
            dpt_parallel(call->device->threads, inner == 0 ? items : dpt_box_count(&run.box, inner),
                         inner == 0 ? DPT_MAP_GRAIN : DPT_MAP_GRAIN / (line + 1) + 1, box_lines, &run);
        }
    }
    return DPT_OK;
}

#define ARRANGE_OP(name_)                                               \
    static dpt_status name_##_run(dpt_call *call, dpt_stream *stream) { \
        (void)stream;                                                   \
        return run_boxes(call, dpt_boxes_of_##name_);                   \
    }                                                                   \
    const dpt_op dpt_op_##name_ = {.name = #name_,                      \
                                   .rule = DPT_ROWWISE,                 \
                                   .linear = DPT_ADDITIVE,              \
                                   .precision = DPT_ALONG,              \
                                   .n_out = 1,                          \
                                   .shape = name_##_shape,              \
                                   .gradient = name_##_gradient,        \
                                   .flop = no_flop};
ARRANGE_OP(transpose)
ARRANGE_OP(concat)
ARRANGE_OP(slice)
ARRANGE_OP(pad)

#define LAYOUTS(name)                                                                   \
    static dpt_status name##_layouts(const dpt_call *call, dpt_layout_choice *choice) { \
        return dpt_##name##_layouts(call, choice, DPT_LAYOUTS_ALL);                     \
    }
LAYOUTS(concat)
LAYOUTS(slice)
LAYOUTS(pad)

const dpt_kernel dpt_cpu_transpose = {.run = transpose_run};
const dpt_kernel dpt_cpu_concat = {.run = concat_run, .layouts = concat_layouts};
const dpt_kernel dpt_cpu_slice = {.run = slice_run, .layouts = slice_layouts};
const dpt_kernel dpt_cpu_pad = {.run = pad_run, .layouts = pad_layouts};
