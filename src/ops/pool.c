/* pool.c: largest of each window, and the two index moves that are its gradients.
 *
 * max_pool remembers where each winner stood (offset in its plane of H*W elements); pool_scatter sends values there
 * and pool_gather fetches them, each the gradient of the other, so derivatives of any order exist. A NaN in a window
 * wins, the first of them; otherwise the first of equals. attr.conv holds kernel, stride, pad and the shape of x.
 * Kernels: pool_cpu.c. */
#include <stddef.h>
#include <string.h>

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
