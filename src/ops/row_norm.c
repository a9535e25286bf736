/* row_norm.c: layer norm (Ba et al. 2016), RMS norm (Zhang and Sennrich 2019) and group norm (Wu and He 2018) as one
 * operation: a "row", the last dimensions of x or a group of channels with their positions, is normalised by itself:
 *
 *   y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(mean of (x - mean)^2 + eps); RMS norm has mean = 0
 *
 * Outputs: y, mean, rstd; [..., 1, 1] for the last dimensions, [B, groups, 1] for groups of channels. With J(v) =
 * rstd (v - mean(v) - xhat mean(xhat v)), the derivative of xhat = (x - mean) rstd by x, symmetric, the gradients are
 * row_norm_grad: dx = J(weight g), and row_norm_params: sums of g xhat and g over rows. All three are closed; the
 * rules of the two gradients count the way through mean and rstd as part of x, so these operands get none. Invariant:
 * mean and rstd of a gradient node are those of its x. Kernels: row_norm_cpu.c. */
#include <string.h>

#include "base/memory.h"
#include "ops/declare.h"
#include "ops/internal.h"

/* ---- rows ---- */

static bool by_groups(const dpt_node *n) { return n->attr.row_norm.groups > 0; }

/* Elements that are normalised together. */
static int64_t row_length(const dpt_node *n, const dpt_tensor *x) {
    const int first = by_groups(n) ? 1 : x->ndim - n->attr.row_norm.dims;
    int64_t length = 1;
    for (int i = first; i < x->ndim; i++) length *= x->dim[i];
    return by_groups(n) ? length / n->attr.row_norm.groups : length;
}

/* Of mean and rstd. */
static int statistics_shape(const dpt_node *n, const dpt_tensor *x, int64_t *dim) {
    if (by_groups(n)) {
        dim[0] = x->dim[0], dim[1] = n->attr.row_norm.groups, dim[2] = 1;
        return 3;
    }
    for (int i = 0; i < x->ndim; i++) dim[i] = i < x->ndim - n->attr.row_norm.dims ? x->dim[i] : 1;
    return x->ndim;
}

/* Of weight and bias. */
static int parameter_shape(const dpt_attr *attr, const dpt_tensor *x, int64_t *dim) {
    const int n = attr->row_norm.groups > 0 ? 1 : attr->row_norm.dims;
    const int first = attr->row_norm.groups > 0 ? 1 : x->ndim - n;
    memcpy(dim, x->dim + first, (size_t)n * sizeof *dim);
    return n;
}

/* ---- building ---- */

static dpt_tensor *new_param(DPT_PLACE_ARGS, const dpt_attr *attr, const dpt_tensor *x, const char *name,
                             const char *part, dpt_init_kind kind) {
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = parameter_shape(attr, x, dim);
    char *full = dpt_format("%s.%s", name, part);
    if (full == NULL) return dpt_graph_fail(x->graph, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    const dpt_init init = {.kind = kind};
    dpt_tensor *t = dpt_param_at(file, line, x->graph, full, dpt_wide_dtype(x->dtype), ndim, dim, init);
    dpt_free(full);
    return t;
}

/* What all three check before parameters are made of x's shape; NULL where it is sound. */
static dpt_tensor *refuse(DPT_PLACE_ARGS, const char *what, const dpt_tensor *x, const dpt_attr *attr,
                          const char *name) {
    dpt_graph *g = x->graph;
    if (name == NULL || name[0] == 0) return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "%s: a name is needed", what);
    if (!(attr->row_norm.eps > 0))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "%s \"%s\": eps is %g: it must be positive", what, name,
                              attr->row_norm.eps);
    const int dims = attr->row_norm.dims, outer = x->ndim - dims;
    bool fits = dpt_is_float(x->dtype);
    if (attr->row_norm.groups == 0) {
        fits = fits && dims >= 1 && outer >= (dpt_has_batch(x) ? 1 : 0);
        for (int i = outer < 0 ? 0 : outer; fits && i < x->ndim; i++) fits = x->dim[i] > 0;
        if (fits) return NULL;
        return dpt_graph_fail(g, file, line, DPT_ERR_SHAPE,
                              "%s \"%s\": x is %s %s, to be normalised over its last %d dimensions: floats are wanted, "
                              "and dimensions of fixed size without the batch",
                              what, name, dpt_dtype_text(x->dtype), dpt_shape_text(x), dims);
    }
    fits = fits && x->ndim >= 2 && attr->row_norm.groups > 0;
    for (int i = 1; fits && i < x->ndim; i++) fits = x->dim[i] > 0;
    if (fits && x->dim[1] % attr->row_norm.groups == 0) return NULL;
    return dpt_graph_fail(g, file, line, DPT_ERR_SHAPE,
                          "%s \"%s\": x is %s %s, in %lld groups: x must be floats [B, channels, ...], and the groups "
                          "must divide the channels",
                          what, name, dpt_dtype_text(x->dtype), dpt_shape_text(x), (long long)attr->row_norm.groups);
}

static dpt_tensor *build(DPT_PLACE_ARGS, const char *what, dpt_tensor *x, dpt_attr attr, const char *name) {
    if (dpt_is_poison(x)) return x;
    if (attr.row_norm.eps == 0) attr.row_norm.eps = 1e-5;
    dpt_tensor *refused = refuse(file, line, what, x, &attr, name);
    if (refused != NULL) return refused;
    dpt_tensor *in[3] = {x, new_param(file, line, &attr, x, name, "weight", DPT_INIT_ONES), NULL};
    if (attr.row_norm.shift) in[2] = new_param(file, line, &attr, x, name, "bias", DPT_INIT_ZEROS);
    dpt_node *node = dpt_node_add(x->graph, file, line, DPT_OP_ROW_NORM, name, &attr, attr.row_norm.shift ? 3 : 2, in);
    return node ? &node->out[0] : &x->graph->poison;
}

dpt_tensor *dpt_layer_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims, double eps, const char *name) {
    const dpt_attr attr = {.row_norm = {.eps = eps, .dims = dims, .centre = true, .scale = true, .shift = true}};
    return build(file, line, "layer_norm", x, attr, name);
}

dpt_tensor *dpt_rms_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims, double eps, const char *name) {
    const dpt_attr attr = {.row_norm = {.eps = eps, .dims = dims, .scale = true}};
    return build(file, line, "rms_norm", x, attr, name);
}

dpt_tensor *dpt_group_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t groups, double eps, const char *name) {
    const int64_t sound = groups > 0 ? groups : -1; /* 0 would mean the last dimensions */
    const dpt_attr attr = {.row_norm = {.eps = eps, .groups = sound, .centre = true, .scale = true, .shift = true}};
    return build(file, line, "group_norm", x, attr, name);
}

/* ---- shapes ---- */

static bool is_shaped(const dpt_tensor *t, dpt_dtype dtype, int ndim, const int64_t *dim) {
    return t->dtype == dtype && t->ndim == ndim && memcmp(t->dim, dim, (size_t)ndim * sizeof *dim) == 0;
}

static dpt_status operand_error(const dpt_node *node, int i) {
    const dpt_tensor *t = node->in[i], *x = node->in[0];
    return dpt_shape_error(node, "operand %d is %s %s beside %s %s", i, dpt_dtype_text(t->dtype), dpt_shape_text(t),
                           dpt_dtype_text(x->dtype), dpt_shape_text(x));
}

static dpt_status expect_parameters(const dpt_node *node, int first, int count) {
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = parameter_shape(&node->attr, node->in[0], dim);
    for (int i = first; i < first + count; i++)
        if (!is_shaped(node->in[i], dpt_wide_dtype(node->in[0]->dtype), ndim, dim)) return operand_error(node, i);
    return DPT_OK;
}

static dpt_status expect_like_first(const dpt_node *node, int i) {
    const dpt_tensor *t = node->in[i], *x = node->in[0];
    return t->dtype == x->dtype && dpt_same_shape(t, x) ? DPT_OK : operand_error(node, i);
}

/* (x [, r] [, weight [, bias]]) -> y, mean, rstd [, x + r] */
static dpt_status row_norm_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const bool residual = node->attr.row_norm.residual;
    if (!dpt_is_float(x->dtype)) return operand_error(node, 0);
    if (residual) DPT_TRY(expect_like_first(node, 1));
    DPT_TRY(expect_parameters(node, 1 + residual, node->attr.row_norm.scale + node->attr.row_norm.shift));
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = statistics_shape(node, x, dim);
    dpt_set_out_like(node, 0, x);
    for (int i = 1; i < 3; i++) dpt_set_out(node, i, dpt_wide_dtype(x->dtype), ndim, dim);
    dpt_set_out_like(node, 3, x);
    node->out[3].token = !residual;
    if (!residual) node->out[3].ndim = 0;
    return DPT_OK;
}

static dpt_status expect_gradient_operands(const dpt_node *node) {
    int64_t dim[DPT_MAX_NDIM];
    if (!dpt_is_float(node->in[0]->dtype)) return operand_error(node, 0);
    DPT_TRY(expect_like_first(node, 1));
    const int ndim = statistics_shape(node, node->in[1], dim);
    for (int i = 2; i < 4; i++)
        if (!is_shaped(node->in[i], dpt_wide_dtype(node->in[1]->dtype), ndim, dim)) return operand_error(node, i);
    return DPT_OK;
}

/* (g, x, mean, rstd [, weight] [, e]) -> J(weight g) [+ e] */
static dpt_status grad_shape(dpt_node *node) {
    DPT_TRY(expect_gradient_operands(node));
    DPT_TRY(expect_parameters(node, 4, node->attr.row_norm.scale));
    if (node->attr.row_norm.residual) DPT_TRY(expect_like_first(node, 4 + node->attr.row_norm.scale));
    dpt_set_out_like(node, 0, node->in[1]);
    return DPT_OK;
}

/* (g, x, mean, rstd) -> sum of g xhat, sum of g */
static dpt_status param_grad_shape(dpt_node *node) {
    int64_t dim[DPT_MAX_NDIM];
    DPT_TRY(expect_gradient_operands(node));
    const int ndim = parameter_shape(&node->attr, node->in[1], dim);
    for (int i = 0; i < 2; i++) dpt_set_out(node, i, dpt_wide_dtype(node->in[1]->dtype), ndim, dim);
    return DPT_OK;
}

/* ---- gradients ---- */

/* xhat * weight + bias; NULL: 1, 0. */
static dpt_tensor *normalised(const dpt_node *node, dpt_tensor *x, dpt_tensor *weight, dpt_tensor *bias) {
    dpt_attr attr = node->attr;
    attr.row_norm.scale = weight != NULL;
    attr.row_norm.shift = bias != NULL;
    dpt_tensor *in[3] = {x, weight, bias};
    dpt_node *n =
        dpt_node_add(x->graph, DPT_AT(node), DPT_OP_ROW_NORM, NULL, &attr, 1 + (weight != NULL) + (bias != NULL), in);
    return n ? &n->out[0] : &x->graph->poison;
}

/* J(weight g); weight NULL: 1. */
static dpt_tensor *pulled_back(const dpt_node *node, dpt_tensor *g, dpt_tensor *x, dpt_tensor *mean, dpt_tensor *rstd,
                               dpt_tensor *weight) {
    dpt_attr attr = node->attr;
    attr.row_norm.scale = weight != NULL;
    attr.row_norm.shift = false;
    dpt_tensor *in[5] = {g, x, mean, rstd, weight};
    return dpt_apply(DPT_AT(node), DPT_OP_ROW_NORM_GRAD, NULL, &attr, weight ? 5 : 4, in);
}

/* x's shape as [..., 1 or row], where a sum over a row is one over dimensions that stand alone. */
static dpt_tensor *as_rows(const dpt_node *node, dpt_tensor *t) {
    if (!by_groups(node) || dpt_is_poison(t)) return t;
    const int64_t dim[] = {t->dim[0], node->attr.row_norm.groups, row_length(node, t)};
    return dpt_reshape_at(DPT_AT(node), t, 3, dim);
}

static dpt_tensor *as_x(const dpt_node *node, dpt_tensor *t, const dpt_tensor *x) {
    return by_groups(node) ? dpt_reshape_at(DPT_AT(node), t, x->ndim, x->dim) : t;
}

/* Mean of a product of rows: of the shape of the statistics. */
static dpt_tensor *mean_product(const dpt_node *node, dpt_tensor *a, dpt_tensor *b) {
    dpt_tensor *product = dpt_mul_at(DPT_AT(node), a, b);
    if (dpt_is_poison(product)) return product;
    const int dims = by_groups(node) ? 1 : node->attr.row_norm.dims;
    const uint32_t axes = ((1U << dims) - 1U) << (product->ndim - dims);
    return dpt_mean_at(DPT_AT(node), product, axes, 1);
}

/* The weight in a shape that broadcasts against x. */
static dpt_tensor *spread_weight(const dpt_node *node, dpt_tensor *weight, const dpt_tensor *x) {
    if (!by_groups(node) || x->ndim == 2) return weight;
    int64_t dim[DPT_MAX_NDIM] = {x->dim[1]};
    for (int i = 1; i < x->ndim - 1; i++) dim[i] = 1;
    return dpt_reshape_at(DPT_AT(node), weight, x->ndim - 1, dim);
}

/* dmean/dx = 1/n, drstd/dx = -rstd^2 xhat / n */
static dpt_tensor *statistics_gradient(dpt_node *node, dpt_tensor *const *gout) {
    dpt_tensor *x = dpt_wide_at(DPT_AT(node), node->in[0]), *rstd = &node->out[2], *dx = NULL;
    const double share = 1.0 / (double)row_length(node, x);
    if (gout[1] && node->attr.row_norm.centre) {
        dpt_tensor *each = dpt_scale_at(DPT_AT(node), gout[1], share);
        const dpt_tensor *rows = as_rows(node, x);
        dx = dpt_broadcast_at(DPT_AT(node), each, rows->ndim, rows->dim);
    }
    if (gout[2]) {
        dpt_tensor *square = dpt_mul_at(DPT_AT(node), rstd, rstd);
        dpt_tensor *factor = dpt_scale_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), gout[2], square), -share);
        dpt_tensor *more = dpt_mul_at(DPT_AT(node), as_rows(node, normalised(node, x, NULL, NULL)), factor);
        dx = dx ? dpt_add_at(DPT_AT(node), dx, more) : more;
    }
    return dx ? as_x(node, dx, x) : NULL;
}

static void row_norm_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int weight = 1, bias = 1 + node->attr.row_norm.scale;
    dpt_tensor *x = node->in[0], *mean = &node->out[1], *rstd = &node->out[2];
    if (want[0]) {
        dpt_tensor *through = gout[1] || gout[2] ? statistics_gradient(node, gout) : NULL;
        if (gout[0]) {
            dpt_tensor *w = node->attr.row_norm.scale ? node->in[weight] : NULL;
            gin[0] = pulled_back(node, gout[0], x, mean, rstd, w);
        }
        if (through != NULL && gin[0] != NULL)
            through = dpt_add_at(DPT_AT(node), dpt_wide_at(DPT_AT(node), gin[0]), through);
        if (through != NULL) gin[0] = through;
    }
    const bool to_weight = node->attr.row_norm.scale && want[weight], to_bias = node->attr.row_norm.shift && want[bias];
    if (gout[0] == NULL || (!to_weight && !to_bias)) return;
    dpt_node *params = dpt_node_add(x->graph, DPT_AT(node), DPT_OP_ROW_NORM_PARAMS, NULL, &node->attr, 4,
                                    (dpt_tensor *[]){gout[0], x, mean, rstd});
    if (params == NULL) return;
    if (to_weight) gin[weight] = &params->out[0];
    if (to_bias) gin[bias] = &params->out[1];
}

/* u.J(h), h = weight g: by h it is J(u), as J is symmetric; by x, rstd and xhat of J being differentiated,
 * -rstd (xhat mean(u J(h)) + J(u mean(xhat h) + h mean(xhat u))). */
static void grad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const bool scale = node->attr.row_norm.scale;
    dpt_tensor *u = dpt_wide_at(DPT_AT(node), gout[0]), *g = dpt_wide_at(DPT_AT(node), node->in[0]);
    dpt_tensor *x = dpt_wide_at(DPT_AT(node), node->in[1]), *mean = node->in[2], *rstd = node->in[3];
    dpt_tensor *weight = scale ? spread_weight(node, node->in[4], x) : NULL, *h = g;
    if (want[0] || (scale && want[4])) {
        dpt_tensor *back = pulled_back(node, u, x, mean, rstd, NULL);
        if (want[0]) gin[0] = weight ? dpt_mul_at(DPT_AT(node), weight, back) : back;
        if (scale && want[4]) {
            dpt_tensor *sum = dpt_sum_to_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), g, back), weight);
            gin[4] = dpt_reshape_at(DPT_AT(node), sum, node->in[4]->ndim, node->in[4]->dim);
        }
    }
    if (!want[1]) return;
    if (weight) h = dpt_mul_at(DPT_AT(node), weight, g);
    dpt_tensor *hat = as_rows(node, normalised(node, x, NULL, NULL)), *ur = as_rows(node, u), *hr = as_rows(node, h);
    dpt_tensor *along = mean_product(node, ur, as_rows(node, pulled_back(node, h, x, mean, rstd, NULL)));
    dpt_tensor *mixed = dpt_add_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), ur, mean_product(node, hat, hr)),
                                   dpt_mul_at(DPT_AT(node), hr, mean_product(node, hat, ur)));
    if (dpt_is_poison(mixed)) return;
    dpt_tensor *second = as_rows(node, pulled_back(node, as_x(node, mixed, x), x, mean, rstd, NULL));
    dpt_tensor *sum = dpt_add_at(DPT_AT(node), dpt_mul_at(DPT_AT(node), hat, along), second);
    dpt_tensor *dx = dpt_mul_at(DPT_AT(node), sum, dpt_scale_at(DPT_AT(node), rstd, -1));
    if (!dpt_is_poison(dx)) gin[1] = as_x(node, dx, x);
}

/* With a and b flowing into sum of g xhat and sum of g: by g a xhat + b, by x J(a g). */
static void param_grad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *g = node->in[0], *x = node->in[1], *a = gout[0], *b = gout[1];
    if (want[0] && a != NULL) gin[0] = normalised(node, x, a, b);
    if (want[0] && a == NULL) gin[0] = dpt_broadcast_at(DPT_AT(node), spread_weight(node, b, x), x->ndim, x->dim);
    if (want[1] && a != NULL) gin[1] = pulled_back(node, g, x, node->in[2], node->in[3], a);
}

/* ---- the operations ---- */

static double flop(const dpt_call *call, double each) { return each * (double)call->in[0].count; }
static double row_norm_flop(const dpt_call *call) { return flop(call, 7); }
static double grad_flop(const dpt_call *call) { return flop(call, 9); }
static double param_grad_flop(const dpt_call *call) { return flop(call, 5); }

const dpt_op dpt_op_row_norm = {.name = "row_norm",
                                .flags = DPT_IS_INPLACE,
                                .rule = DPT_ROWWISE,
                                .precision = DPT_AS_IT_COMES,
                                .n_out = 4,
                                .shape = row_norm_shape,
                                .gradient = row_norm_gradient,
                                .flop = row_norm_flop};

const dpt_op dpt_op_row_norm_grad = {.name = "row_norm_grad",
                                     .flags = DPT_IS_INPLACE,
                                     .rule = DPT_ROWWISE,
                                     .precision = DPT_LIKE_SECOND,
                                     .n_out = 1,
                                     .shape = grad_shape,
                                     .gradient = grad_gradient,
                                     .flop = grad_flop};

const dpt_op dpt_op_row_norm_params = {.name = "row_norm_params",
                                       .rule = DPT_REDUCES,
                                       .precision = DPT_LIKE_SECOND,
                                       .n_out = 2,
                                       .shape = param_grad_shape,
                                       .gradient = param_grad_gradient,
                                       .flop = param_grad_flop};
