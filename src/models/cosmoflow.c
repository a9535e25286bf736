/* cosmoflow.c: CosmoFlow, a 3-D convolutional network that estimates the parameters of a universe from its distribution
 * of matter (Mathuriya et al. 2018), as MLPerf HPC defines it: stages of a 3x3x3 convolution with padding, leaky ReLU
 * of slope 0.3 and 2x2x2 max-pool, each with twice the channels of the one before; 128 and 64 fully connected units
 * with leaky ReLU and, where asked for, dropout; the parameters. o->width is the number of channels of the first stage,
 * o->depth the number of stages: 32 and 5 for MLPerf's 128^3 volumes, 16 and 3 for the small one. */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

#define SLOPE 0.3
enum { UNITS_1 = 128, UNITS_2 = 64, MOST_DEPTH = 10 };

static dpt_status check(const char *model, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(model, o));
    DPT_CHECK(o->width > 0 && o->depth > 0 && o->depth <= MOST_DEPTH, DPT_ERR_CONFIG,
              "model %s: width %lld, depth %lld: at least 1, and at most %d stages", model, (long long)o->width,
              (long long)o->depth, MOST_DEPTH);
    bool fits = o->in_ndim == 4;
    for (int i = 1; i < 4 && fits; i++) fits = o->in_dim[i] >> o->depth >= 1;
    DPT_CHECK(fits, DPT_ERR_CONFIG,
              "model %s: samples have %d dimensions: wanted [channels, depth, height, width], %lld or more each way, "
              "which %lld stages halve",
              model, o->in_ndim, 1LL << o->depth, (long long)o->depth);
    return DPT_OK;
}

static dpt_tensor *unit(const dpt_model_options *o, dpt_tensor *x, int64_t units, int number) {
    char name[32];
    snprintf(name, sizeof name, "fc%d", number);
    x = dpt_leaky_relu(dpt_linear(x, units, name), SLOPE);
    if (o->dropout <= 0) return x;
    snprintf(name, sizeof name, "dropout%d", number);
    return dpt_dropout(x, o->dropout, name);
}

static dpt_status build(const char *model, dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(check(model, o));
    dpt_tensor *x = dpt_model_input(g, o);
    for (int i = 0; i < (int)o->depth; i++) {
        char name[32];
        snprintf(name, sizeof name, "conv%d", i + 1);
        x = dpt_conv3d(x, o->width << i, 3, 1, ((dpt_conv_options){.pad = 1}), name);
        x = dpt_max_pool(dpt_leaky_relu(x, SLOPE), ((dpt_pool_options){.kernel = 2}));
    }
    x = unit(o, unit(o, dpt_flatten(x), UNITS_1, 1), UNITS_2, 2);
    return dpt_model_finish(g, o, dpt_linear(x, o->classes, "fc3"));
}

dpt_status dpt_model_cosmo(dpt_graph *g, const dpt_model_options *o) { return build("cosmo", g, o); }
dpt_status dpt_model_cosmoflow128(dpt_graph *g, const dpt_model_options *o) { return build("cosmoflow128", g, o); }
