/* fno.c: Fourier neural operators in one and two dimensions (Li et al. 2021): samples [channels, size] or [channels,
 * height, width], lifted with their coordinates in [0, 1] to o->width channels at each position; o->depth layers, each
 * a spectral convolution of o->modes modes a dimension plus a linear map of the channels, GELU but after the last; two
 * linear maps back to o->classes channels, with GELU between. Parameters are named and shaped as in the authors' code:
 * "fc0", "conv<i>.weights1" (and 2), "w<i>", "fc1", "fc2". Its padding for samples that are not periodic is left out.
 */
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "dptrain/ops.h"
#include "models/ends.h"

enum { PROJECTION = 128, MOST_DIMS = 2 };

/* w [out, in] and b as a linear map of the channels at each position of x. */
static dpt_tensor *at_positions(dpt_tensor *x, dpt_tensor *w, dpt_tensor *b, int dims) {
    int64_t dim[DPT_MAX_NDIM] = {0};
    dpt_tensor_dims(w, dim);
    for (int i = 0; i < dims; i++) dim[2 + i] = 1;
    return dpt_conv_with(x, dpt_reshape(w, 2 + dims, dim), b, ((dpt_conv_options){0}));
}

/* Parameters of a linear layer, as dpt_linear makes them. */
typedef struct linear {
    dpt_tensor *weight, *bias;
} linear;

static linear linear_make(dpt_graph *g, int64_t out, int64_t in, const char *name) {
    char weight[32], bias[32];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    const dpt_init of_weight = {DPT_INIT_KAIMING_UNIFORM, 0.57735026918962576, 0},
                   of_bias = {DPT_INIT_FAN_IN_UNIFORM, 0, (double)in};
    return (linear){dpt_param(g, weight, DPT_F32, 2, ((int64_t[]){out, in}), of_weight),
                    dpt_param(g, bias, DPT_F32, 1, &out, of_bias)};
}

static dpt_tensor *project(dpt_graph *g, dpt_tensor *x, int64_t in, int64_t out, int dims, const char *name) {
    const linear l = linear_make(g, out, in, name);
    return at_positions(x, l.weight, l.bias, dims);
}

/* Columns [from, to) of w. */
static dpt_tensor *columns(dpt_graph *g, dpt_tensor *w, int64_t from, int64_t to) {
    int64_t *index = dpt_alloc((size_t)(to - from) * sizeof *index), n = to - from;
    if (index == NULL) return NULL;
    for (int64_t i = 0; i < n; i++) index[i] = from + i;
    dpt_tensor *all = dpt_gather(w, dpt_constant(g, DPT_I64, 1, &n, index), 1);
    dpt_free(index);
    return all;
}

/* The coordinates of every position, [dims, positions]: each from 0 to 1, ends included. */
static dpt_tensor *coordinates(dpt_graph *g, const int64_t *size, int dims) {
    const int64_t inner = dims == 2 ? size[1] : 1, positions = size[0] * inner;
    const int64_t dim[2] = {dims, positions};
    float *value = dpt_alloc((size_t)(dims * positions) * sizeof *value);
    if (value == NULL) return NULL;
    for (int64_t p = 0; p < positions; p++) {
        value[p] = size[0] > 1 ? (float)((double)(p / inner) / (double)(size[0] - 1)) : 0;
        if (dims == 2) value[positions + p] = inner > 1 ? (float)((double)(p % inner) / (double)(inner - 1)) : 0;
    }
    dpt_tensor *grid = dpt_constant(g, DPT_F32, 2, dim, value);
    dpt_free(value);
    return grid;
}

/* fc0 of the channels of x and the coordinates: those give the same sum for each sample, and so are no channels. */
static dpt_status lift(dpt_graph *g, const dpt_model_options *o, dpt_tensor **x) {
    const int dims = o->in_ndim - 1;
    const int64_t channels = o->in_dim[0];
    const linear l = linear_make(g, o->width, channels + dims, "fc0");
    dpt_tensor *of_x = columns(g, l.weight, 0, channels), *of_grid = columns(g, l.weight, channels, channels + dims);
    dpt_tensor *grid = coordinates(g, o->in_dim + 1, dims);
    DPT_CHECK(of_x && of_grid && grid, DPT_ERR_MEMORY, "model fno: no memory for its coordinates");
    const int64_t dim[1 + MOST_DIMS] = {o->width, o->in_dim[1], dims == 2 ? o->in_dim[2] : 0};
    dpt_tensor *shift = dpt_reshape(dpt_matmul(of_grid, grid, 0, 0), 1 + dims, dim);
    *x = dpt_add(at_positions(*x, of_x, l.bias, dims), shift);
    return DPT_OK;
}

static dpt_tensor *layer(const dpt_model_options *o, dpt_tensor *x, int i) {
    const int64_t modes[MOST_DIMS] = {o->modes, o->modes};
    char spectral[32], channels[32];
    snprintf(spectral, sizeof spectral, "conv%d", i);
    snprintf(channels, sizeof channels, "w%d", i);
    dpt_tensor *y = dpt_spectral_conv(x, o->width, modes, spectral);
    y = dpt_add(y, dpt_conv(x, o->width, 1, 1, ((dpt_conv_options){0}), channels));
    return i + 1 < (int)o->depth ? dpt_gelu(y) : y;
}

static dpt_status check(const dpt_model_options *o) {
    DPT_TRY(dpt_model_check("fno", o));
    DPT_CHECK(o->in_ndim == 2 || o->in_ndim == 3, DPT_ERR_CONFIG,
              "model fno: samples have %d dimensions: wanted [channels, size] or [channels, height, width]",
              o->in_ndim);
    DPT_CHECK(o->width > 0 && o->depth > 0 && o->modes > 0, DPT_ERR_CONFIG,
              "model fno: width %lld, depth %lld, modes %lld: at least 1", (long long)o->width, (long long)o->depth,
              (long long)o->modes);
    for (int i = 1; i < o->in_ndim; i++) {
        const int64_t most = o->in_dim[i] / 2 + (i + 1 == o->in_ndim);
        DPT_CHECK(o->modes <= most, DPT_ERR_CONFIG,
                  "model fno: %lld modes (model.modes), but a side of %lld has 1 to %lld", (long long)o->modes,
                  (long long)o->in_dim[i], (long long)most);
    }
    return DPT_OK;
}

dpt_status dpt_model_fno(dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(check(o));
    dpt_tensor *x = dpt_model_input(g, o);
    DPT_TRY(lift(g, o, &x));
    for (int i = 0; i < (int)o->depth; i++) x = layer(o, x, i);
    const int dims = o->in_ndim - 1;
    x = dpt_gelu(project(g, x, o->width, PROJECTION, dims, "fc1"));
    return dpt_model_finish(g, o, project(g, x, PROJECTION, o->classes, dims, "fc2"));
}
