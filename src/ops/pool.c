/* pool.c: largest of each window, and the two index moves that are its gradients.
 *
 * max_pool remembers where each winner stood (offset in its plane: the elements of one channel of one sample);
 * pool_scatter sends values there and pool_gather fetches them, each the gradient of the other, so derivatives of any
 * order exist. A NaN in a window wins, the first of them; otherwise the first of equals. Kernels: pool_cpu.c. Means of
 * windows: resample.c. */
#include "ops/pool.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "ops/declare.h"
#include "ops/internal.h"

/* ---- attributes of all poolings ---- */

static int64_t pick(const int64_t *each, int64_t all, int i) { return each ? each[i] : all; }

/* Windows along one dimension: the last one begins inside of x or of the padding before it (PyTorch). */
static int64_t windows(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int ceil) {
    const int64_t room = in + 2 * pad - kernel;
    if (room < 0) return 0;
    int64_t out = (room + (ceil ? stride - 1 : 0)) / stride + 1;
    if ((out - 1) * stride >= in + pad) out--;
    return out;
}

dpt_pool_attr dpt_pool_attr_of(const dpt_tensor *x, const dpt_pool_options *options) {
    dpt_pool_attr a = {.spatial = x->ndim - 2, .exclude_pad = options->exclude_pad != 0};
    for (int i = 0; i < DPT_MAX_SPATIAL; i++) {
        const int from = i - (DPT_MAX_SPATIAL - a.spatial);
        a.in[i] = a.out[i] = a.kernel[i] = a.stride[i] = 1;
        if (from < 0 || a.spatial > DPT_MAX_SPATIAL) continue;
        a.in[i] = x->dim[2 + from];
        a.kernel[i] = pick(options->kernels, options->kernel, from);
        a.stride[i] = pick(options->strides, options->stride, from);
        if (a.stride[i] == 0) a.stride[i] = a.kernel[i];
        a.pad[i] = pick(options->pads, options->pad, from);
        a.out[i] = 0;
        if (a.kernel[i] > 0 && a.stride[i] > 0 && a.pad[i] >= 0)
            a.out[i] = windows(a.in[i], a.kernel[i], a.stride[i], a.pad[i], options->ceil);
        if (a.kernel[i] == 0) a.kernel[i] = -1; /* 0 means adaptive */
    }
    return a;
}

/* Where a size divides the one before, its windows are plain ones. */
dpt_pool_attr dpt_pool_attr_adaptive(const dpt_tensor *x, const int64_t *size) {
    dpt_pool_attr a = {.spatial = x->ndim - 2};
    for (int i = 0; i < DPT_MAX_SPATIAL; i++) {
        const int from = i - (DPT_MAX_SPATIAL - a.spatial);
        a.in[i] = a.out[i] = a.kernel[i] = a.stride[i] = 1;
        if (from < 0 || a.spatial > DPT_MAX_SPATIAL) continue;
        a.in[i] = x->dim[2 + from];
        a.out[i] = size[from];
        a.kernel[i] = a.stride[i] = 0;
        if (a.out[i] > 0 && a.in[i] % a.out[i] == 0) a.kernel[i] = a.stride[i] = a.in[i] / a.out[i];
    }
    return a;
}

/* "3", or "3x2" where the dimensions differ. */
static const char *sizes_text(char text[80], const dpt_pool_attr *a, const int64_t *size, int64_t none) {
    const int first = DPT_MAX_SPATIAL - a->spatial;
    bool same = true;
    int at = 0;
    for (int i = first; i < DPT_MAX_SPATIAL; i++) same &= size[i] == size[first];
    for (int i = first; i < (same ? first + 1 : DPT_MAX_SPATIAL); i++)
        at += snprintf(text + at, (size_t)(80 - at), "%s%lld", i > first ? "x" : "",
                       (long long)(size[i] < 0 ? none : size[i]));
    return text;
}

/* Whether kernel, stride and pad are possible at all. */
static dpt_status check_windows(const dpt_node *node, const dpt_pool_attr *a) {
    char kernel[80], stride[80], pad[80];
    bool good = true;
    for (int i = 0; i < DPT_MAX_SPATIAL; i++)
        good &= a->kernel[i] == 0 ||
                (a->kernel[i] > 0 && a->stride[i] > 0 && a->pad[i] >= 0 && 2 * a->pad[i] <= a->kernel[i]);
    if (good) return DPT_OK;
    return dpt_shape_error(node, "kernel is %s, stride %s, pad %s: at least 1, 1 and 0, pad at most kernel/2",
                           sizes_text(kernel, a, a->kernel, 0), sizes_text(stride, a, a->stride, 0),
                           sizes_text(pad, a, a->pad, 0));
}

dpt_status dpt_pool_check(const dpt_node *node, const dpt_tensor *x) {
    const dpt_pool_attr *a = &node->attr.pool;
    char kernel[80], pad[80], size[80];
    bool fits = true, sized = true;
    int64_t plane = 1;
    if (!dpt_is_float(x->dtype) || x->ndim < 3 || x->ndim > 2 + DPT_MAX_SPATIAL)
        return dpt_shape_error(node, "x is %s %s: it must be f32 or f64 [B,C] and 1, 2 or 3 spatial dimensions",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x));
    for (int i = 2; i < x->ndim; i++)
        if (x->dim[i] < 1)
            return dpt_shape_error(node, "x is %s: its spatial sizes must be numbers", dpt_shape_text(x));
    DPT_TRY(check_windows(node, a));
    for (int i = 0; i < DPT_MAX_SPATIAL; i++) {
        fits &= a->out[i] >= 1 || a->kernel[i] == 0;
        sized &= a->out[i] >= 1;
        plane = plane > INT32_MAX / a->in[i] ? INT32_MAX : plane * a->in[i];
    }
    if (!fits)
        return dpt_shape_error(node, "x is %s, kernel %s, pad %s: the kernel is larger than the padded x",
                               dpt_shape_text(x), sizes_text(kernel, a, a->kernel, 0), sizes_text(pad, a, a->pad, 0));
    if (!sized)
        return dpt_shape_error(node, "x is %s, the size asked for %s: each must be at least 1", dpt_shape_text(x),
                               sizes_text(size, a, a->out, 0));
    if (plane >= INT32_MAX)
        return dpt_shape_error(node, "x is %s: a channel of a sample has more than 2^31 elements", dpt_shape_text(x));
    return DPT_OK;
}

void dpt_pool_dims(const dpt_pool_attr *a, const dpt_tensor *like, const int64_t size[DPT_MAX_SPATIAL],
                   int64_t dim[DPT_MAX_NDIM]) {
    dim[0] = like->dim[0];
    dim[1] = like->dim[1];
    for (int i = 0; i < a->spatial; i++) dim[2 + i] = size[DPT_MAX_SPATIAL - a->spatial + i];
}

bool dpt_pool_has(const dpt_tensor *t, const dpt_pool_attr *a, const int64_t size[DPT_MAX_SPATIAL]) {
    int64_t dim[DPT_MAX_NDIM];
    if (t->ndim != 2 + a->spatial) return false;
    dpt_pool_dims(a, t, size, dim);
    return memcmp(dim, t->dim, (size_t)t->ndim * sizeof *dim) == 0;
}

/* ---- max_pool and its moves ---- */

dpt_tensor *dpt_max_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_pool_options options) {
    const dpt_attr attr = {.pool = dpt_pool_attr_of(x, &options)};
    return dpt_apply(file, line, DPT_OP_MAX_POOL, NULL, &attr, 1, &x);
}

dpt_tensor *dpt_max_pool2d_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t kernel, int64_t stride, int64_t pad) {
    if (!dpt_is_poison(x) && x->ndim != 4)
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE,
                              "max_pool: x is %s %s: it must be f32 or f64 [B,C,H,W]", dpt_dtype_text(x->dtype),
                              dpt_shape_text(x));
    return dpt_max_pool_at(file, line, x, (dpt_pool_options){.kernel = kernel, .stride = stride, .pad = pad});
}

dpt_tensor *dpt_adaptive_max_pool_at(DPT_PLACE_ARGS, dpt_tensor *x, const int64_t *size) {
    const dpt_attr attr = {.pool = dpt_pool_attr_adaptive(x, size)};
    return dpt_apply(file, line, DPT_OP_MAX_POOL, NULL, &attr, 1, &x);
}

static dpt_tensor *move(const dpt_node *at, int op, dpt_tensor *values, dpt_tensor *index) {
    return dpt_apply(DPT_AT(at), op, NULL, &at->attr, 2, (dpt_tensor *[]){values, index});
}

static dpt_status max_pool_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    int64_t dim[DPT_MAX_NDIM];
    DPT_TRY(dpt_pool_check(node, x));
    dpt_pool_dims(&node->attr.pool, x, node->attr.pool.out, dim);
    dpt_set_out(node, 0, x->dtype, x->ndim, dim);
    dpt_set_out(node, 1, DPT_I32, x->ndim, dim);
    return DPT_OK;
}

/* Values of the size `from`, an index of the pooled one; the result has the size `to`. */
static dpt_status move_shape(dpt_node *node, const int64_t *from, const int64_t *to) {
    const dpt_tensor *v = node->in[0], *index = node->in[1];
    const dpt_pool_attr *a = &node->attr.pool;
    int64_t dim[DPT_MAX_NDIM];
    if (!dpt_is_float(v->dtype) || index->dtype != DPT_I32 || !dpt_pool_has(v, a, from) ||
        !dpt_pool_has(index, a, a->out) || v->dim[0] != index->dim[0] || v->dim[1] != index->dim[1])
        return dpt_shape_error(node, "values are %s %s, index is %s %s: not of one pooling", dpt_dtype_text(v->dtype),
                               dpt_shape_text(v), dpt_dtype_text(index->dtype), dpt_shape_text(index));
    dpt_pool_dims(a, v, to, dim);
    dpt_set_out(node, 0, v->dtype, v->ndim, dim);
    return DPT_OK;
}

static dpt_status pool_scatter_shape(dpt_node *node) {
    return move_shape(node, node->attr.pool.out, node->attr.pool.in);
}

static dpt_status pool_gather_shape(dpt_node *node) {
    return move_shape(node, node->attr.pool.in, node->attr.pool.out);
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
    const dpt_pool_attr *a = &call->attr.pool;
    double each = 1;
    for (int d = 0; d < DPT_MAX_SPATIAL; d++)
        each *= a->kernel[d] ? (double)a->kernel[d] : (double)a->in[d] / (double)a->out[d];
    return (double)call->out[0].count * each;
}

const dpt_op dpt_op_max_pool = {.name = "max_pool",
                                .rule = DPT_ROWWISE,
                                .precision = DPT_ALONG,
                                .n_out = 2,
                                .shape = max_pool_shape,
                                .gradient = max_pool_gradient,
                                .flop = max_pool_flop};

const dpt_op dpt_op_pool_scatter = {.name = "pool_scatter",
                                    .rule = DPT_ROWWISE,
                                    .linear = DPT_LINEAR_FIRST,
                                    .precision = DPT_ALONG,
                                    .n_out = 1,
                                    .shape = pool_scatter_shape,
                                    .gradient = pool_scatter_gradient};

const dpt_op dpt_op_pool_gather = {.name = "pool_gather",
                                   .rule = DPT_ROWWISE,
                                   .linear = DPT_LINEAR_FIRST,
                                   .precision = DPT_ALONG,
                                   .n_out = 1,
                                   .shape = pool_gather_shape,
                                   .gradient = pool_gather_gradient};
