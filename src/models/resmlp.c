/* resmlp.c: fully connected residual blocks (Gorishniy et al. 2021): flatten, one layer to o->width units, o->depth
 * times x + W2 act(W1 norm(x)), then act(norm(x)) and the last layer. Parameters: "stem", "blocks.<i>.fc1",
 * "blocks.<i>.fc2", "head"; norms "bn<i>". */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

static dpt_tensor *block(const dpt_model_options *o, dpt_tensor *x, int i) {
    char name[40];
    dpt_tensor *y = dpt_model_norm_layer(o, x, i + 1);
    snprintf(name, sizeof name, "blocks.%d.fc1", i);
    y = dpt_model_activate(dpt_linear(y, o->width, name), o->activation);
    snprintf(name, sizeof name, "blocks.%d.dropout", i);
    if (o->dropout > 0) y = dpt_dropout(y, o->dropout, name);
    snprintf(name, sizeof name, "blocks.%d.fc2", i);
    return dpt_add(x, dpt_linear(y, o->width, name));
}

dpt_status dpt_model_resmlp(dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check("resmlp", o));
    DPT_CHECK(o->width > 0 && o->depth > 0, DPT_ERR_CONFIG, "model resmlp: width %lld, depth %lld", (long long)o->width,
              (long long)o->depth);
    dpt_tensor *x = dpt_model_input(g, o);
    if (o->in_ndim > 1) x = dpt_flatten(x);
    x = dpt_linear(x, o->width, "stem");
    for (int i = 0; i < (int)o->depth; i++) x = block(o, x, i);
    x = dpt_model_activate(dpt_model_norm_layer(o, x, (int)o->depth + 1), o->activation);
    return dpt_model_finish(g, o, dpt_linear(x, o->classes, "head"));
}
