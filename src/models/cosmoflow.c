/* cosmoflow.c: networks for the parameters of a universe from its density field (Mathuriya et al. 2018): stages of a
 * 3x3x3 convolution, leaky ReLU and a max-pool that halves each side, o->width channels in the first and twice as many
 * in each further one; then 128 and 64 fully connected units with leaky ReLU and dropout, and the values.
 *
 * cosmoflow is MLPerf HPC's: 128^3 positions, 5 stages from 32 channels, dropout 0.5. cosmo is the small one of the
 * benchmarks: 32^3 positions, 3 stages from 16 channels, no dropout. */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

static const double slope = 0.3;
static const int64_t units[] = {128, 64};
enum { UNITS = sizeof units / sizeof *units, DEEPEST = 12 };

static dpt_status check(const char *model, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(model, o));
    DPT_CHECK(o->in_ndim == 4, DPT_ERR_CONFIG,
              "model %s: samples have %d dimensions: wanted 4, [channels, depth, height, width]", model, o->in_ndim);
    DPT_CHECK(o->depth >= 1 && o->depth <= DEEPEST && o->width >= 1, DPT_ERR_CONFIG,
              "model %s: %lld stages (1 to %d) from %lld channels", model, (long long)o->depth, DEEPEST,
              (long long)o->width);
    for (int i = 1; i < 4; i++)
        DPT_CHECK(o->in_dim[i] >> o->depth > 0, DPT_ERR_CONFIG,
                  "model %s: %lld stages halve each side, but samples are %lld x %lld x %lld", model,
                  (long long)o->depth, (long long)o->in_dim[1], (long long)o->in_dim[2], (long long)o->in_dim[3]);
    return DPT_OK;
}

static dpt_status build(const char *model, dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(check(model, o));
    char name[32];
    dpt_tensor *x = dpt_model_input(g, o);
    for (int i = 0; i < (int)o->depth; i++) {
        snprintf(name, sizeof name, "conv%d", i + 1);
        const dpt_conv_options same = {.pad = 1};
        x = dpt_leaky_relu(dpt_conv3d(x, o->width << i, 3, 1, same, name), slope);
        x = dpt_max_pool(x, ((dpt_pool_options){.kernel = 2}));
    }
    x = dpt_flatten(x);
    for (int i = 0; i < UNITS; i++) {
        snprintf(name, sizeof name, "fc%d", i + 1);
        x = dpt_leaky_relu(dpt_linear(x, units[i], name), slope);
        snprintf(name, sizeof name, "dropout%d", i + 1);
        if (o->dropout > 0) x = dpt_dropout(x, o->dropout, name);
    }
    snprintf(name, sizeof name, "fc%d", UNITS + 1);
    return dpt_model_finish(g, o, dpt_linear(x, o->classes, name));
}

dpt_status dpt_model_cosmoflow(dpt_graph *g, const dpt_model_options *o) { return build("cosmoflow", g, o); }
dpt_status dpt_model_cosmo(dpt_graph *g, const dpt_model_options *o) { return build("cosmo", g, o); }
