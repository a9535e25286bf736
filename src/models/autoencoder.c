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
