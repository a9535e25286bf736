/* fft.c: Fourier transforms of real values over the last dimensions, and back. Complex values are a last dimension of
 * 2; of the last of the transformed dimensions, of size n, only frequencies k = 0 to n/2 are kept, the others being
 * their mirror. With w(k) = 1 for k = 0 and k = n/2, else 2 (a frequency that stands for two):
 *
 *   rfft   Y[k] = scale * v(k) * sum over j of x[j] exp(-2 pi i jk/n)       v = w where attr.fft.doubled, else 1
 *   irfft  x[j] = scale * sum over k of u(k) * Re(Y[k] exp(+2 pi i jk/n))   u = w where attr.fft.doubled, else 1
 *
 * and products of such factors for more dimensions. As maps of real and imaginary parts they are each other's transpose
 * for equal attributes: each is the other's gradient, and derivatives of any order exist. Kernels: fft_cpu.c. */
#include <math.h>
#include <string.h>

#include "ops/declare.h"
#include "ops/internal.h"

/* ---- constructors ---- */

/* Room for the sizes; missing leading ones are 1. */
static dpt_fft_attr attr_of(int dims, const int64_t *last_sizes) {
    dpt_fft_attr a = {.dims = dims, .scale = 1};
    for (int i = 0; i < DPT_MAX_SPATIAL; i++) {
        const int from = i - (DPT_MAX_SPATIAL - dims);
        a.n[i] = from < 0 ? 1 : last_sizes[from];
    }
    return a;
}

dpt_tensor *dpt_rfft_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims) {
    const bool fits = dims >= 1 && dims <= DPT_MAX_SPATIAL && dims <= x->ndim;
    dpt_attr attr = {.fft = {.dims = dims}};
    if (fits) attr.fft = attr_of(dims, x->dim + x->ndim - dims);
    return dpt_apply(file, line, DPT_OP_RFFT, NULL, &attr, 1, &x);
}

dpt_tensor *dpt_irfft_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims, int64_t n) {
    const bool fits = dims >= 1 && dims <= DPT_MAX_SPATIAL && dims < x->ndim;
    dpt_attr attr = {.fft = {.dims = dims}};
    if (fits) {
        attr.fft = attr_of(dims, x->dim + x->ndim - 1 - dims);
        attr.fft.n[DPT_MAX_SPATIAL - 1] = n;
        attr.fft.doubled = true;
        for (int i = 0; i < DPT_MAX_SPATIAL; i++) attr.fft.scale /= (double)(attr.fft.n[i] > 0 ? attr.fft.n[i] : 1);
    }
    return dpt_apply(file, line, DPT_OP_IRFFT, NULL, &attr, 1, &x);
}

/* ---- shapes, gradients, cost ---- */

/* Whether t ends in these sizes, of which the first may not be a batch dimension. */
static bool ends_in(const dpt_tensor *t, int n, const int64_t *size) {
    if (!dpt_is_float(t->dtype) || t->ndim < n || (dpt_has_batch(t) && t->ndim == n)) return false;
    for (int i = 0; i < n; i++)
        if (t->dim[t->ndim - n + i] != size[i] || size[i] < 1) return false;
    return true;
}

/* The last dimensions of the real side, and of the side of frequencies. */
static void sides(const dpt_fft_attr *a, int64_t real[DPT_MAX_SPATIAL], int64_t frequencies[DPT_MAX_SPATIAL + 1]) {
    memcpy(real, a->n + DPT_MAX_SPATIAL - a->dims, (size_t)a->dims * sizeof *real);
    memcpy(frequencies, real, (size_t)a->dims * sizeof *real);
    frequencies[a->dims - 1] = real[a->dims - 1] / 2 + 1;
    frequencies[a->dims] = 2;
}

static dpt_status check_dims(const dpt_node *node) {
    const int dims = node->attr.fft.dims;
    if (dims >= 1 && dims <= DPT_MAX_SPATIAL) return DPT_OK;
    return dpt_shape_error(node, "x is %s, dims %d: 1, 2 or 3 of its last dimensions are transformed",
                           dpt_shape_text(node->in[0]), dims);
}

static dpt_status rfft_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const dpt_fft_attr *a = &node->attr.fft;
    int64_t real[DPT_MAX_SPATIAL], frequencies[DPT_MAX_SPATIAL + 1], dim[DPT_MAX_NDIM + 1];
    DPT_TRY(check_dims(node));
    sides(a, real, frequencies);
    if (!ends_in(x, a->dims, real) || x->ndim == DPT_MAX_NDIM)
        return dpt_shape_error(node, "x is %s %s: it must be floats whose last %d dimensions are of fixed size",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x), a->dims);
    memcpy(dim, x->dim, sizeof x->dim);
    memcpy(dim + x->ndim - a->dims, frequencies, (size_t)(a->dims + 1) * sizeof *dim);
    dpt_set_out(node, 0, x->dtype, x->ndim + 1, dim);
    return DPT_OK;
}

static dpt_status irfft_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const dpt_fft_attr *a = &node->attr.fft;
    int64_t real[DPT_MAX_SPATIAL], frequencies[DPT_MAX_SPATIAL + 1], dim[DPT_MAX_NDIM];
    DPT_TRY(check_dims(node));
    sides(a, real, frequencies);
    if (real[a->dims - 1] < 1 || !ends_in(x, a->dims + 1, frequencies))
        return dpt_shape_error(
            node, "x is %s %s, n is %lld: it must be floats [..., n/2 + 1, 2], %d dimensions of them",
            dpt_dtype_text(x->dtype), dpt_shape_text(x), (long long)a->n[DPT_MAX_SPATIAL - 1], a->dims);
    memcpy(dim, x->dim, sizeof x->dim);
    dim[x->ndim - 2] = real[a->dims - 1];
    dpt_set_out(node, 0, x->dtype, x->ndim - 1, dim);
    return DPT_OK;
}

static void rfft_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_apply(DPT_AT(node), DPT_OP_IRFFT, NULL, &node->attr, 1, gout);
}

static void irfft_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_apply(DPT_AT(node), DPT_OP_RFFT, NULL, &node->attr, 1, gout);
}

/* 2.5 N log2 N for N real values, as such libraries are measured. */
static double fft_flop(const dpt_call *call) {
    const dpt_fft_attr *a = &call->attr.fft;
    const double n = (double)(a->n[0] * a->n[1] * a->n[2]);
    const dpt_operand *real = call->op == DPT_OP_RFFT ? &call->in[0] : &call->out[0];
    return (double)real->count * 2.5 * log2(n > 2 ? n : 2);
}

const dpt_op dpt_op_rfft = {.name = "rfft",
                            .rule = DPT_ROWWISE,
                            .linear = DPT_ADDITIVE,
                            .precision = DPT_WIDE,
                            .n_out = 1,
                            .shape = rfft_shape,
                            .gradient = rfft_gradient,
                            .flop = fft_flop};

const dpt_op dpt_op_irfft = {.name = "irfft",
                             .rule = DPT_ROWWISE,
                             .linear = DPT_ADDITIVE,
                             .precision = DPT_WIDE,
                             .n_out = 1,
                             .shape = irfft_shape,
                             .gradient = irfft_gradient,
                             .flop = fft_flop};
