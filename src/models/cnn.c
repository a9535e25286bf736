/* cnn.c: the small image classifier of the built-in job: twice (3x3 convolution, batch norm, ReLU, 2x2 max-pool), 32
 * and 64 channels, then 128 fully connected units with ReLU, dropout, and the classes. */
#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

static dpt_tensor *stage(const dpt_model_options *o, dpt_tensor *x, int64_t channels, const char *name, int number) {
    int bias = !dpt_model_has_norm(o); /* a norm has its own */
    x = dpt_conv2d(x, channels, 3, bias, ((dpt_conv_options){.pad = 1}), name);
    x = dpt_relu(dpt_model_norm_layer(o, x, number));
    return dpt_max_pool2d(x, 2, 2, 0);
}

dpt_status dpt_model_cnn(dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check("cnn", o));
    DPT_CHECK(o->in_ndim == 3 && o->in_dim[1] >= 4 && o->in_dim[2] >= 4, DPT_ERR_CONFIG,
              "model cnn: samples have %d dimensions and are %lld high, %lld wide: wanted [channels, height, width], "
              "4 pixels each way or more",
              o->in_ndim, (long long)(o->in_ndim > 1 ? o->in_dim[1] : 0),
              (long long)(o->in_ndim > 2 ? o->in_dim[2] : 0));
    DPT_CHECK(o->n_hidden == 0 && o->activation == DPT_MODEL_RELU, DPT_ERR_CONFIG,
              "model cnn: its layers and activation are fixed: \"hidden\" and \"activation\" belong to mlp");
    dpt_tensor *x = dpt_model_input(g, o);
    x = stage(o, x, 32, "conv1", 1);
    x = stage(o, x, 64, "conv2", 2);
    x = dpt_relu(dpt_linear(dpt_flatten(x), 128, "fc1"));
    if (o->dropout > 0) x = dpt_dropout(x, o->dropout, "dropout1");
    return dpt_model_finish(g, o, dpt_linear(x, o->classes, "fc2"));
}
