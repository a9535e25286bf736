/* conv.c: convolution in 1 to 3 dimensions: shapes, gradients. Constructors: conv_layer.c; kernels: conv_cpu.c.
 *
 * conv(x, w) -> y, conv_dgrad(g, w) -> dx, conv_wgrad(g, x) -> dw are the three products of one trilinear form
 * T(x, w, y) = sum of y * conv(x, w): each is T without one argument, so the gradients of each are the other two, and
 * derivatives of any order exist. attr.conv holds stride, pad, dilation, groups and the full shapes of x and w, so that
 * each knows the size of its result. The fused forms (bias and activation in conv, bias gradient in conv_wgrad) are
 * made by the fuse pass after all gradients. */
#include <string.h>

#include "ops/conv_cpu.h"
#include "ops/declare.h"
#include "ops/internal.h"

static dpt_tensor *product(const dpt_node *at, int op, dpt_tensor *a, dpt_tensor *b) {
    return dpt_apply(DPT_AT(at), op, NULL, &at->attr, 2, (dpt_tensor *[]){a, b});
}

/* ---- shapes ---- */

/* Whether the attributes make sense and y's spatial dimensions are at least 1. */
static dpt_status check_attr(const dpt_node *node) {
    const dpt_conv_attr *a = &node->attr.conv;
    for (int i = 0; i < a->spatial; i++) {
        if (a->stride[i] < 1 || a->dilation[i] < 1 || a->pad[i] < 0)
            return dpt_shape_error(node, "stride is %lld, dilation %lld, pad %lld: at least 1, 1 and 0",
                                   (long long)a->stride[i], (long long)a->dilation[i], (long long)a->pad[i]);
        int64_t out = dpt_conv_out(a->in_dim[2 + i], a->kernel[i], a->stride[i], a->pad[i], a->dilation[i]);
        if (a->kernel[i] < 1 || out < 1)
            return dpt_shape_error(node,
                                   "x of size %lld with pad %lld is smaller than a kernel of %lld with dilation "
                                   "%lld",
                                   (long long)a->in_dim[2 + i], (long long)a->pad[i], (long long)a->kernel[i],
                                   (long long)a->dilation[i]);
    }
    return DPT_OK;
}

/* y's shape, with the batch of `like`. */
static void out_dims(const dpt_conv_attr *a, const dpt_tensor *like, int64_t dim[2 + DPT_MAX_SPATIAL]) {
    dim[0] = like->dim[0];
    dim[1] = a->weight_dim[0];
    for (int i = 0; i < a->spatial; i++)
        dim[2 + i] = dpt_conv_out(a->in_dim[2 + i], a->kernel[i], a->stride[i], a->pad[i], a->dilation[i]);
}

static bool has_dims(const dpt_tensor *t, int ndim, const int64_t *dim, int from) {
    return t->ndim == ndim && memcmp(t->dim + from, dim + from, (size_t)(ndim - from) * sizeof *dim) == 0;
}

static dpt_status check_types(const dpt_node *node) {
    const dpt_tensor *a = node->in[0], *b = node->in[1];
    if (dpt_is_float(a->dtype) && a->dtype == b->dtype && (node->n_in < 3 || node->in[2]->dtype == a->dtype))
        return DPT_OK;
    return dpt_shape_error(node, "operands are %s and %s: all must be f32, or all f64", dpt_dtype_text(a->dtype),
                           dpt_dtype_text(b->dtype));
}

static dpt_status conv_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0], *w = node->in[1];
    const dpt_conv_attr *a = &node->attr.conv;
    DPT_TRY(check_types(node));
    bool fits = x->ndim == 2 + a->spatial && w->ndim == x->ndim && !dpt_has_batch(w) && a->groups >= 1;
    if (!fits || w->dim[1] * a->groups != x->dim[1] || w->dim[0] % a->groups != 0)
        return dpt_shape_error(node,
                               "x is %s, w is %s, groups %lld: they must be [B,C,spatial] and [O,C/groups,kernel]",
                               dpt_shape_text(x), dpt_shape_text(w), (long long)a->groups);
    if (a->bias && (node->n_in < 3 || node->in[2]->ndim != 1 || node->in[2]->dim[0] != w->dim[0]))
        return dpt_shape_error(node, "w is %s and the bias does not fit it", dpt_shape_text(w));
    DPT_TRY(check_attr(node));
    int64_t dim[2 + DPT_MAX_SPATIAL];
    out_dims(a, x, dim);
    dpt_set_out(node, 0, x->dtype, x->ndim, dim);
    return DPT_OK;
}

/* g must be of y's shape. */
static dpt_status check_gradient_operand(const dpt_node *node) {
    const dpt_conv_attr *a = &node->attr.conv;
    int64_t dim[2 + DPT_MAX_SPATIAL];
    DPT_TRY(check_types(node));
    DPT_TRY(check_attr(node));
    out_dims(a, node->in[0], dim);
    if (has_dims(node->in[0], 2 + a->spatial, dim, 0)) return DPT_OK;
    return dpt_shape_error(node, "g is %s: not the shape of the convolution's output", dpt_shape_text(node->in[0]));
}

static dpt_status conv_dgrad_shape(dpt_node *node) {
    const dpt_conv_attr *a = &node->attr.conv;
    DPT_TRY(check_gradient_operand(node));
    if (!has_dims(node->in[1], 2 + a->spatial, a->weight_dim, 0))
        return dpt_shape_error(node, "w is %s: not the shape of the convolution's weight", dpt_shape_text(node->in[1]));
    dpt_set_out(node, 0, node->in[0]->dtype, 2 + a->spatial, a->in_dim);
    node->out[0].dim[0] = node->in[0]->dim[0];
    return DPT_OK;
}

static dpt_status conv_wgrad_shape(dpt_node *node) {
    const dpt_tensor *g = node->in[0], *x = node->in[1];
    const dpt_conv_attr *a = &node->attr.conv;
    DPT_TRY(check_gradient_operand(node));
    if (!has_dims(x, 2 + a->spatial, a->in_dim, 1) || x->dim[0] != g->dim[0])
        return dpt_shape_error(node, "g is %s, x is %s: not the shapes of one convolution", dpt_shape_text(g),
                               dpt_shape_text(x));
    dpt_set_out(node, 0, dpt_wide_dtype(g->dtype), 2 + a->spatial, a->weight_dim);
    node->out[1].token = !a->bias;
    dpt_set_out(node, 1, dpt_wide_dtype(g->dtype), a->bias ? 1 : 0, a->weight_dim);
    return DPT_OK;
}

/* ---- gradients ---- */

static bool is_fused(dpt_node *node) {
    if (!node->attr.conv.bias && node->attr.conv.act == DPT_ACT_NONE) return false;
    dpt_graph_fail(node->out[0].graph, DPT_AT(node), DPT_ERR_UNSUPPORTED,
                   "%s \"%s\" is fused and cannot be differentiated: take gradients before fusion",
                   dpt_op_of(node)->name, node->name);
    return true;
}

static void conv_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (is_fused(node)) return;
    if (want[0]) gin[0] = product(node, DPT_OP_CONV_DGRAD, gout[0], node->in[1]);
    if (want[1]) gin[1] = product(node, DPT_OP_CONV_WGRAD, gout[0], node->in[0]);
}

/* dx = dgrad(g, w), u = its gradient: T(u, w, g) */
static void conv_dgrad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (is_fused(node)) return;
    if (want[0]) gin[0] = product(node, DPT_OP_CONV, gout[0], node->in[1]);
    if (want[1]) gin[1] = product(node, DPT_OP_CONV_WGRAD, node->in[0], gout[0]);
}

/* dw = wgrad(g, x), u = its gradient: T(x, u, g) */
static void conv_wgrad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (is_fused(node)) return;
    dpt_tensor *u = dpt_cast_at(DPT_AT(node), gout[0], node->in[0]->dtype);
    if (want[0]) gin[0] = product(node, DPT_OP_CONV, node->in[1], u);
    if (want[1]) gin[1] = product(node, DPT_OP_CONV_DGRAD, node->in[0], u);
}

/* A multiplication and an addition for every element of y and of a filter. */
static double flop(const dpt_call *call) {
    const dpt_conv_attr *a = &call->attr.conv;
    dpt_conv_sizes s = dpt_conv_sizes_of(a, call->in[0].dim[0]);
    double filter = (double)a->weight_dim[1], plane = 1;
    for (int i = 0; i < 3; i++) filter *= (double)s.kernel[i], plane *= (double)s.out[i];
    return 2 * filter * plane * (double)s.batch * (double)s.out_channels;
}

const dpt_op dpt_op_conv = {.name = "conv",
                            .rule = DPT_ROWWISE,
                            .linear = DPT_MULTILINEAR,
                            .precision = DPT_PRODUCT,
                            .n_out = 1,
                            .shape = conv_shape,
                            .gradient = conv_gradient,
                            .flop = flop};
const dpt_op dpt_op_conv_dgrad = {.name = "conv_dgrad",
                                  .rule = DPT_ROWWISE,
                                  .linear = DPT_MULTILINEAR,
                                  .precision = DPT_PRODUCT,
                                  .n_out = 1,
                                  .shape = conv_dgrad_shape,
                                  .gradient = conv_dgrad_gradient,
                                  .flop = flop};
const dpt_op dpt_op_conv_wgrad = {.name = "conv_wgrad",
                                  .rule = DPT_REDUCES,
                                  .linear = DPT_MULTILINEAR,
                                  .precision = DPT_PRODUCT,
                                  .n_out = 2,
                                  .shape = conv_wgrad_shape,
                                  .gradient = conv_wgrad_gradient,
                                  .flop = flop};
