/* matmul.c: products of matrices, and the unfused linear layer that is made of them.
 *
 * Closed: the gradients of a product are products with other transposes. A batch dimension may be M (rowwise), the
 * leading dimension of 3-D operands (rowwise), or K (a sum over the batch: DPT_REDUCES); there padded rows are zeroed
 * before oneDNN sees them, and f64 loops stop before them. */
#include <stdio.h>

#include "base/memory.h"
#include "ops/cpu_product.h"
#include "ops/declare.h"
#include "ops/internal.h"

static dpt_tensor *matmul_named(DPT_PLACE_ARGS, const char *name, dpt_tensor *a, dpt_tensor *b, bool transpose_a,
                                bool transpose_b) {
    dpt_attr attr = {.matmul = {.transpose_a = transpose_a, .transpose_b = transpose_b}};
    return dpt_apply(file, line, DPT_OP_MATMUL, name, &attr, 2, (dpt_tensor *[]){a, b});
}

dpt_tensor *dpt_matmul_at(DPT_PLACE_ARGS, dpt_tensor *a, dpt_tensor *b, int transpose_a, int transpose_b) {
    return matmul_named(file, line, NULL, a, b, transpose_a != 0, transpose_b != 0);
}

static dpt_status mismatch(const dpt_node *node, const char *why) {
    const dpt_tensor *a = node->in[0], *b = node->in[1];
    return dpt_shape_error(node, "a is %s%s, b is %s%s%s", dpt_shape_text(a),
                           node->attr.matmul.transpose_a ? " transposed" : "", dpt_shape_text(b),
                           node->attr.matmul.transpose_b ? " transposed" : "", why);
}

/* a and b 2-D, both 3-D with the same leading dimension, or a 3-D with leading dimensions as rows and b 2-D. */
static dpt_status matmul_shape(dpt_node *node) {
    const dpt_tensor *a = node->in[0], *b = node->in[1];
    bool ta = node->attr.matmul.transpose_a, tb = node->attr.matmul.transpose_b;
    if (!dpt_is_float(a->dtype) || a->dtype != b->dtype)
        return dpt_shape_error(node, "a is %s, b is %s: both must be of one float type", dpt_dtype_text(a->dtype),
                               dpt_dtype_text(b->dtype));
    bool fits = a->ndim >= 2 && a->ndim <= 3 && b->ndim >= 2 && b->ndim <= a->ndim;
    if (!fits || (a->ndim > b->ndim && ta)) return mismatch(node, ": both must be 2-D or 3-D");
    if (b->ndim == 3 && a->dim[0] != b->dim[0]) return mismatch(node, ": the leading dimensions differ");
    int ra = a->ndim - 2, rb = b->ndim - 2; /* where the rows of the matrices stand */
    int64_t m = a->dim[ra + ta], ka = a->dim[ra + !ta], kb = b->dim[rb + tb], n = b->dim[rb + !tb];
    if (ka != kb) return mismatch(node, "");
    if (dpt_dim_is_batch(n)) return mismatch(node, ": the batch dimension of the result would not be the first");
    int64_t batched[3] = {a->dim[0], m, n}, plain[2] = {m, n};
    dpt_set_out(node, 0, dpt_dim_is_batch(ka) ? dpt_wide_dtype(a->dtype) : a->dtype, a->ndim,
                a->ndim == 3 ? batched : plain);
    return DPT_OK;
}

/* c = a b: da = g b^T and db = a^T g; with a or b transposed, the transposes of these. */
static void matmul_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *a = node->in[0], *b = node->in[1], *g = dpt_cast_at(DPT_AT(node), gout[0], a->dtype);
    bool ta = node->attr.matmul.transpose_a, tb = node->attr.matmul.transpose_b;
    if (want[0]) gin[0] = ta ? dpt_matmul_at(DPT_AT(node), b, g, tb, 1) : dpt_matmul_at(DPT_AT(node), g, b, 0, !tb);
    if (!want[1]) return;
    gin[1] = tb ? dpt_matmul_at(DPT_AT(node), g, a, 1, ta) : dpt_matmul_at(DPT_AT(node), a, g, !ta, 0);
    if (a->ndim == b->ndim || dpt_is_poison(gin[1])) return;
    /* a 3-D with b 2-D: one product for each leading index, summed */
    gin[1]->dtype = dpt_wide_dtype(gin[1]->dtype);
    gin[1] = dpt_sum_at(DPT_AT(node), gin[1], 1, 0);
}

/* The product of a call at capacity. */
static dpt_product product_of(const dpt_call *call) {
    const dpt_operand *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    bool ta = call->attr.matmul.transpose_a, tb = call->attr.matmul.transpose_b;
    dpt_product d = {.transpose_a = ta, .transpose_b = tb, .n = c->dim[c->ndim - 1]};
    d.k = b->dim[b->ndim - 2 + tb];
    d.batch = b->ndim == 3 ? b->dim[0] : 1;
    d.m = a->count / (d.batch * d.k);
    return d;
}

/* Both operands have a batch dimension that the result lacks. */
static bool contracts(const dpt_call *call) { return call->out[0].axis < 0 && call->in[0].axis >= 0; }

static double matmul_flop(const dpt_call *call) { return 2 * (double)call->out[0].count * (double)product_of(call).k; }

static dpt_status matmul_prepare(dpt_call *call) {
    dpt_product d = product_of(call);
    return dpt_product_prepare(call, &d);
}

static dpt_status matmul_bind(dpt_call *call) { return dpt_product_bind(call, NULL, call->out[0].data); }

/* f64: only the valid rows, wherever the batch dimension stands. */
static void matmul_run_f64(const dpt_call *call) {
    dpt_product d = product_of(call);
    if (contracts(call))
        d.k = dpt_valid_rows(call, &call->in[0]);
    else if (call->out[0].axis >= 0 && d.batch > 1)
        d.batch = dpt_valid_rows(call, &call->out[0]);
    else if (call->out[0].axis >= 0)
        d.m = dpt_valid_count(call, &call->out[0]) / d.n;
    if (d.batch > 0 && d.m > 0)
        dpt_product_f64(call->device->threads, &d, call->in[0].data, call->in[1].data, call->out[0].data);
}

static dpt_status matmul_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (call->plan == NULL) {
        matmul_run_f64(call);
        return DPT_OK;
    }
    if (contracts(call)) {
        dpt_cpu_zero_padding(call, &call->in[0]);
        dpt_cpu_zero_padding(call, &call->in[1]);
    } else if (dpt_valid_count(call, &call->out[0]) == 0) {
        return DPT_OK;
    }
    return dpt_dnnl_run(call->plan, call->device->threads);
}

const dpt_op dpt_op_matmul = {.name = "matmul",
                              .rule = DPT_REDUCES,
                              .linear = DPT_MULTILINEAR,
                              .precision = DPT_PRODUCT,
                              .n_out = 1,
                              .shape = matmul_shape,
                              .gradient = matmul_gradient,
                              .flop = matmul_flop};
const dpt_kernel dpt_cpu_matmul = {
    .prepare = matmul_prepare, .bind = matmul_bind, .run = matmul_run, .release = dpt_product_release};

/* ---- the linear layer: x [..., in] w^T + b, by matmul and add; the fuse pass makes one kernel of it ---- */

static dpt_tensor *linear_mismatch(DPT_PLACE_ARGS, const char *name, const dpt_tensor *x, const dpt_tensor *w,
                                   const dpt_tensor *b) {
    char quoted[128] = "";
    if (name != NULL) snprintf(quoted, sizeof quoted, " \"%s\"", name);
    return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE, "linear%s: x is %s, w is %s%s%s", quoted,
                          dpt_shape_text(x), dpt_shape_text(w), b ? ", b is " : "", b ? dpt_shape_text(b) : "");
}

/* x as a matrix, or as [B,T,in] where its first dimension is symbolic and more stand between. */
static dpt_tensor *linear_operand(DPT_PLACE_ARGS, dpt_tensor *x) {
    int64_t in = x->dim[x->ndim - 1], dim[3] = {1, 1, in};
    if (x->ndim == 2 || (x->ndim == 3 && x->dim[0] < 0)) return x;
    bool symbolic = x->ndim > 2 && x->dim[0] < 0;
    if (symbolic) dim[0] = x->dim[0];
    for (int i = symbolic; i < x->ndim - 1; i++) dim[1] *= x->dim[i];
    return symbolic ? dpt_reshape_at(file, line, x, 3, dim) : dpt_reshape_at(file, line, x, 2, dim + 1);
}

static dpt_tensor *linear_layer(DPT_PLACE_ARGS, const char *name, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b) {
    if (dpt_is_poison(x) || dpt_is_poison(w) || (b && dpt_is_poison(b))) return &x->graph->poison;
    bool fits = x->ndim >= 1 && w->ndim == 2 && w->dim[1] == x->dim[x->ndim - 1] && !dpt_has_batch(w);
    if (!fits || (b && (b->ndim != 1 || b->dim[0] != w->dim[0]))) return linear_mismatch(file, line, name, x, w, b);
    dpt_tensor *y = matmul_named(file, line, name, linear_operand(file, line, x), w, false, true);
    if (b) y = dpt_add_at(file, line, y, b);
    int64_t dim[DPT_MAX_NDIM];
    if (dpt_is_poison(y) || y->ndim == x->ndim) return y;
    for (int i = 0; i < x->ndim - 1; i++) dim[i] = x->dim[i];
    dim[x->ndim - 1] = w->dim[0];
    return dpt_reshape_at(file, line, y, x->ndim, dim);
}

dpt_tensor *dpt_linear_with_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *w, dpt_tensor *b) {
    return linear_layer(file, line, NULL, x, w, b);
}

dpt_tensor *dpt_linear_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, const char *name) {
    dpt_graph *g = x->graph;
    if (dpt_is_poison(x)) return &g->poison;
    int64_t in = x->ndim > 0 ? x->dim[x->ndim - 1] : 0;
    if (name == NULL || !dpt_is_float(x->dtype) || in < 1 || out < 1)
        return dpt_graph_fail(g, file, line, name ? DPT_ERR_SHAPE : DPT_ERR_ARG,
                              "linear \"%s\": x is %s %s, out is %lld: it needs a name, x [..., in] of f32 or f64 and "
                              "out >= 1",
                              name ? name : "", dpt_dtype_text(x->dtype), dpt_shape_text(x), (long long)out);
    char *weight = dpt_format("%s.weight", name), *bias = dpt_format("%s.bias", name);
    dpt_tensor *y = &g->poison;
    if (weight && bias) {
        dpt_init kaiming = {DPT_INIT_KAIMING_UNIFORM, 0.57735026918962576, 0}; /* a = 1/sqrt(3) */
        dpt_init fan_in = {DPT_INIT_FAN_IN_UNIFORM, 0, (double)in};
        dpt_tensor *w = dpt_param_at(file, line, g, weight, x->dtype, 2, (int64_t[]){out, in}, kaiming);
        dpt_tensor *b = dpt_param_at(file, line, g, bias, x->dtype, 1, &out, fan_in);
        y = linear_layer(file, line, name, x, w, b);
    } else {
        dpt_graph_fail(g, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    }
    dpt_free(weight);
    dpt_free(bias);
    return y;
}
