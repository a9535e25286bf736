/* mlp.c: fully connected layers: flatten, (linear, batch norm, activation, dropout)..., linear. */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

dpt_status dpt_model_layers(const char *model, dpt_graph *g, const dpt_model_options *o, dpt_tensor *x) {
    DPT_CHECK(o->n_hidden >= 0 && o->n_hidden <= DPT_MODEL_MAX_HIDDEN, DPT_ERR_CONFIG,
              "model %s: %d hidden layers (at most %d)", model, o->n_hidden, DPT_MODEL_MAX_HIDDEN);
    char name[32];
    for (int i = 0; i < o->n_hidden; i++) {
        DPT_CHECK(o->hidden[i] > 0, DPT_ERR_CONFIG, "model %s: hidden layer %d is %lld wide", model, i + 1,
                  (long long)o->hidden[i]);
        snprintf(name, sizeof name, "fc%d", i + 1);
        x = dpt_model_norm_layer(o, dpt_linear(x, o->hidden[i], name), i + 1);
        x = dpt_model_activate(x, o->activation);
        snprintf(name, sizeof name, "dropout%d", i + 1);
        if (o->dropout > 0) x = dpt_dropout(x, o->dropout, name);
    }
    snprintf(name, sizeof name, "fc%d", o->n_hidden + 1);
    return dpt_model_finish(g, o, dpt_linear(x, o->classes, name));
}

static dpt_status build(const char *model, dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(model, o));
    dpt_tensor *x = dpt_model_input(g, o);
    return dpt_model_layers(model, g, o, o->in_ndim > 1 ? dpt_flatten(x) : x);
}

dpt_status dpt_model_mlp(dpt_graph *g, const dpt_model_options *options) { return build("mlp", g, options); }

dpt_status dpt_model_surrogate(dpt_graph *g, const dpt_model_options *options) {
    return build("surrogate", g, options);
}
