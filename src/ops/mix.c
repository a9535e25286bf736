/* mix.c: products of spectra with weights for each frequency, and the layer that they make: the spectral convolution of
 * Fourier neural operators (Li et al. 2021, equation 5).
 *
 *   mix(x, w...)     y[b,o,k] = sum over i of x[b,i,k] w[i,o,k]                for the frequencies k kept, else 0
 *   mix_dgrad(g, w)  dx[b,i,k] = sum over o of g[b,o,k] conj(w[i,o,k])         the same
 *   mix_wgrad(x, g)  dw[i,o,k] = sum over b of conj(x[b,i,k]) g[b,o,k]         for one weight
 *
 * in complex numbers. There is a weight for each choice of signs of the leading dimensions' frequencies (a corner of
 * the spectrum). The three are the products of one form, Re sum of conj(y) x w: each is that form without one argument,
 * so the gradients of each are the others, and derivatives of any order exist. Kernels: mix_cpu.c. */
#include <string.h>

#include "base/memory.h"
#include "ops/declare.h"
#include "ops/internal.h"

enum { MOST_CORNERS = 1 << (DPT_MAX_SPATIAL - 1) };

static dpt_tensor *apply(const dpt_node *at, int op, int corner, int n_in, dpt_tensor *const *in) {
    dpt_attr attr = at->attr;
    attr.mix.corner = corner;
    return dpt_apply(DPT_AT(at), op, NULL, &attr, n_in, in);
}

/* x or g with the weights, from the first corner on. */
static dpt_tensor *product(const dpt_node *at, int op, int corner, dpt_tensor *x, dpt_tensor *const *w, int n) {
    dpt_tensor *in[1 + MOST_CORNERS] = {x};
    for (int i = 0; i < n && i < MOST_CORNERS; i++) in[1 + i] = w[i];
    return apply(at, op, corner, 1 + n, in);
}

/* ---- shapes ---- */

/* Whether t is f32 or f64 [B or any, channels, frequencies, 2] of this attribute's sizes. */
static bool is_spectrum(const dpt_tensor *t, const dpt_mix_attr *a) {
    const int64_t *size = a->size + DPT_MAX_SPATIAL - a->dims;
    return dpt_is_float(t->dtype) && !dpt_is_half(t->dtype) && t->ndim == 3 + a->dims && t->dim[t->ndim - 1] == 2 &&
           memcmp(t->dim + 2, size, (size_t)a->dims * sizeof *size) == 0;
}

static bool is_weight(const dpt_tensor *w, const dpt_mix_attr *a) {
    const int64_t *modes = a->modes + DPT_MAX_SPATIAL - a->dims;
    return dpt_is_float(w->dtype) && w->ndim == 3 + a->dims && !dpt_has_batch(w) && w->dim[w->ndim - 1] == 2 &&
           memcmp(w->dim + 2, modes, (size_t)a->dims * sizeof *modes) == 0;
}

/* mix where `input` is 0, mix_dgrad where it is 1: the weight's dimension that is summed over. */
static dpt_status product_shape(dpt_node *node, int input) {
    const dpt_tensor *x = node->in[0], *w = node->in[1];
    const dpt_mix_attr *a = &node->attr.mix;
    int64_t dim[DPT_MAX_NDIM];
    bool fits = is_spectrum(x, a);
    for (int i = 1; i < node->n_in; i++)
        fits &= is_weight(node->in[i], a) && node->in[i]->dtype == x->dtype && dpt_same_shape(node->in[i], w) &&
                node->in[i]->dim[input] == x->dim[1];
    if (!fits)
        return dpt_shape_error(node,
                               "x is %s %s, w is %s %s: they must be f32 or f64 [B,C,frequencies,2], "
                               "[C,out,modes,2]",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x), dpt_dtype_text(w->dtype),
                               dpt_shape_text(w));
    memcpy(dim, x->dim, sizeof dim);
    dim[1] = w->dim[1 - input];
    dpt_set_out(node, 0, x->dtype, x->ndim, dim);
    return DPT_OK;
}

static dpt_status mix_shape(dpt_node *node) { return product_shape(node, 0); }
static dpt_status mix_dgrad_shape(dpt_node *node) { return product_shape(node, 1); }

static dpt_status mix_wgrad_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0], *g = node->in[1];
    const dpt_mix_attr *a = &node->attr.mix;
    int64_t dim[DPT_MAX_NDIM];
    if (!is_spectrum(x, a) || !is_spectrum(g, a) || x->dtype != g->dtype || x->dim[0] != g->dim[0])
        return dpt_shape_error(node, "x is %s, g is %s: not the spectra of one product", dpt_shape_text(x),
                               dpt_shape_text(g));
    dim[0] = x->dim[1], dim[1] = g->dim[1];
    memcpy(dim + 2, a->modes + DPT_MAX_SPATIAL - a->dims, (size_t)a->dims * sizeof *dim);
    dim[2 + a->dims] = 2;
    dpt_set_out(node, 0, x->dtype, x->ndim, dim);
    return DPT_OK;
}

/* ---- gradients ---- */

static void mix_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int corner = node->attr.mix.corner;
    if (want[0]) gin[0] = product(node, DPT_OP_MIX_DGRAD, corner, gout[0], node->in + 1, node->n_in - 1);
    for (int i = 1; i < node->n_in; i++)
        if (want[i]) gin[i] = apply(node, DPT_OP_MIX_WGRAD, corner + i - 1, 2, (dpt_tensor *[]){node->in[0], gout[0]});
}

static void mix_dgrad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int corner = node->attr.mix.corner;
    if (want[0]) gin[0] = product(node, DPT_OP_MIX, corner, gout[0], node->in + 1, node->n_in - 1);
    for (int i = 1; i < node->n_in; i++)
        if (want[i]) gin[i] = apply(node, DPT_OP_MIX_WGRAD, corner + i - 1, 2, (dpt_tensor *[]){gout[0], node->in[0]});
}

static void mix_wgrad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const int corner = node->attr.mix.corner;
    if (want[0]) gin[0] = product(node, DPT_OP_MIX_DGRAD, corner, node->in[1], gout, 1);
    if (want[1]) gin[1] = product(node, DPT_OP_MIX, corner, node->in[0], gout, 1);
}

/* ---- cost ---- */

/* A complex product and sum is 8 operations. */
static double mix_flop(const dpt_call *call) {
    const dpt_mix_attr *a = &call->attr.mix;
    const bool weight = call->op == DPT_OP_MIX_WGRAD;
    const dpt_operand *x = &call->in[0], *y = weight ? &call->in[1] : &call->out[0];
    const double modes = (double)(a->modes[0] * a->modes[1] * a->modes[2]) * (weight ? 1 : call->n_in - 1);
    return 8 * (double)x->dim[0] * (double)x->dim[1] * (double)y->dim[1] * modes;
}

/* With several weights a product is linear in all of them together, not in each. */
#define MIX_OP(op, batch, linear_)                         \
    const dpt_op dpt_op_##op = {.name = #op,               \
                                .rule = batch,             \
                                .linear = linear_,         \
                                .precision = DPT_WIDE,     \
                                .n_out = 1,                \
                                .shape = op##_shape,       \
                                .gradient = op##_gradient, \
                                .flop = mix_flop};
MIX_OP(mix, DPT_ROWWISE, DPT_LINEAR_FIRST)
MIX_OP(mix_dgrad, DPT_ROWWISE, DPT_LINEAR_FIRST)
MIX_OP(mix_wgrad, DPT_REDUCES, DPT_MULTILINEAR)
#undef MIX_OP

/* ---- the layer ---- */

/* The poison tensor where modes do not fit x; NULL where they do. */
static dpt_tensor *check_layer(DPT_PLACE_ARGS, const dpt_tensor *x, int64_t out, const int64_t *modes,
                               const char *name) {
    const int dims = x->ndim - 2;
    if (name == NULL || name[0] == 0)
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_ARG, "spectral_conv: a name is needed");
    if (dims < 1 || dims > DPT_MAX_SPATIAL || !dpt_is_float(x->dtype) || out < 1)
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE,
                              "spectral_conv \"%s\": x is %s %s, out %lld: it must be floats [B,C] and 1, 2 or 3 "
                              "spatial dimensions, out at least 1",
                              name, dpt_dtype_text(x->dtype), dpt_shape_text(x), (long long)out);
    for (int i = 0; i < dims; i++) {
        const int64_t size = x->dim[2 + i], most = i == dims - 1 ? size / 2 + 1 : size / 2;
        if (modes[i] < 1 || modes[i] > most)
            return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE,
                                  "spectral_conv \"%s\": x is %s, %lld modes of spatial dimension %d: 1 to %lld", name,
                                  dpt_shape_text(x), (long long)modes[i], i, (long long)most);
    }
    return NULL;
}

dpt_tensor *dpt_spectral_conv_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, const int64_t *modes, const char *name) {
    if (dpt_is_poison(x)) return x;
    dpt_tensor *refused = check_layer(file, line, x, out, modes, name);
    if (refused) return refused;
    const int dims = x->ndim - 2, corners = 1 << (dims - 1);
    dpt_tensor *in[1 + MOST_CORNERS] = {dpt_rfft_at(file, line, x, dims)};
    dpt_attr attr = {.mix = {.dims = dims}};
    int64_t weight[DPT_MAX_NDIM] = {x->dim[1], out};
    for (int i = 0; i < DPT_MAX_SPATIAL; i++) {
        const int from = i - (DPT_MAX_SPATIAL - dims);
        attr.mix.size[i] = from < 0 ? 1 : from == dims - 1 ? x->dim[2 + from] / 2 + 1 : x->dim[2 + from];
        attr.mix.modes[i] = from < 0 ? 1 : modes[from];
        if (from >= 0) weight[2 + from] = modes[from];
    }
    weight[2 + dims] = 2;
    for (int c = 0; c < corners; c++) {
        char *parameter = dpt_format("%s.weights%d", name, c + 1);
        if (parameter == NULL) return dpt_graph_fail(x->graph, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
        const dpt_init init = {DPT_INIT_UNIFORM, 0, 1 / ((double)x->dim[1] * (double)out)};
        in[1 + c] = dpt_param_at(file, line, x->graph, parameter, x->dtype, 3 + dims, weight, init);
        dpt_free(parameter);
    }
    dpt_tensor *y = dpt_apply(file, line, DPT_OP_MIX, NULL, &attr, 1 + corners, in);
    return dpt_irfft_at(file, line, y, dims, x->dim[1 + dims]);
}
