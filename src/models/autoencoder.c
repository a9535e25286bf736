/* autoencoder.c: networks that give back their input through a narrow code. autoencoder: fully connected layers of the
 * widths o->hidden, whose last is the code's, and the same in reverse order. The target is the input itself, so the
 * loss compares values (mse, l1, ...). */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

static dpt_tensor *layer(const dpt_model_options *o, dpt_tensor *x, int64_t width, const char *part, int number,
                         bool last) {
    char name[40];
    snprintf(name, sizeof name, "%s.fc%d", part, number);
    x = dpt_linear(x, width, name);
    return last ? x : dpt_model_activate(x, o->activation);
}

static dpt_status check(const char *model, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(model, o));
    DPT_CHECK(o->loss != DPT_MODEL_CROSS_ENTROPY, DPT_ERR_CONFIG,
              "model %s: its target is the sample itself: a loss that compares values (loss=mse), not cross_entropy",
              model);
    return DPT_OK;
}

dpt_status dpt_model_autoencoder(dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(check("autoencoder", o));
    DPT_CHECK(o->n_hidden >= 1 && o->n_hidden <= DPT_MODEL_MAX_HIDDEN, DPT_ERR_CONFIG,
              "model autoencoder: %d widths (1 to %d; the last is the code's)", o->n_hidden, DPT_MODEL_MAX_HIDDEN);
    int64_t dim[DPT_MAX_NDIM], elements = 1;
    dpt_tensor *x = dpt_model_input(g, o);
    int ndim = dpt_tensor_dims(x, dim), n = o->n_hidden;
    for (int i = 1; i < ndim; i++) elements *= dim[i];
    if (ndim > 2) x = dpt_flatten(x);
    for (int i = 0; i < n; i++) x = layer(o, x, o->hidden[i], "encoder", i + 1, i + 1 == n);
    dpt_output(g, "code", x);
    for (int i = n - 2; i >= -1; i--) x = layer(o, x, i < 0 ? elements : o->hidden[i], "decoder", n - 1 - i, i < 0);
    if (ndim > 2) x = dpt_reshape(x, ndim, dim);
    return dpt_model_finish(g, o, x);
}

enum { DEEPEST = 8 };

static dpt_tensor *halve(const dpt_model_options *o, dpt_tensor *x, int i) {
    char name[40];
    snprintf(name, sizeof name, "encoder.conv%d", i + 1);
    x = dpt_conv(x, o->width << i, 3, 1, ((dpt_conv_options){.stride = 2, .pad = 1}), name);
    return dpt_model_activate(x, o->activation);
}

/* The last one, to the sample's channels, has no activation. */
static dpt_tensor *twice(const dpt_model_options *o, dpt_tensor *x, int i) {
    char name[40];
    snprintf(name, sizeof name, "decoder.transpose%d", (int)o->depth - i);
    int64_t width = i > 0 ? o->width << (i - 1) : o->in_dim[0];
    x = dpt_conv_transpose(x, width, 2, 1, ((dpt_conv_options){.stride = 2}), name);
    return i > 0 ? dpt_model_activate(x, o->activation) : x;
}

dpt_status dpt_model_conv_autoencoder(dpt_graph *g, const dpt_model_options *o) {
    const char *model = "conv_autoencoder";
    DPT_TRY(check(model, o));
    DPT_CHECK(o->in_ndim >= 2 && o->in_ndim <= 4, DPT_ERR_CONFIG,
              "model %s: samples have %d dimensions: wanted [channels, 1 to 3 sides]", model, o->in_ndim);
    DPT_CHECK(o->depth >= 1 && o->depth <= DEEPEST && o->width >= 1, DPT_ERR_CONFIG,
              "model %s: depth %lld (1 to %d), width %lld", model, (long long)o->depth, DEEPEST, (long long)o->width);
    DPT_TRY(dpt_model_check_halving(model, o));
    dpt_tensor *x = dpt_model_input(g, o);
    for (int i = 0; i < (int)o->depth; i++) x = halve(o, x, i);
    dpt_output(g, "code", x);
    for (int i = (int)o->depth - 1; i >= 0; i--) x = twice(o, x, i);
    return dpt_model_finish(g, o, x);
}
