/* unet.c: encoder and decoder with skips between them (Ronneberger et al. 2015; in three dimensions Cicek et al. 2016):
 * o->depth times two 3x3 convolutions with ReLU and a max-pool that halves each side while channels double, from
 * o->width; two convolutions at the bottom; then as many times a transposed convolution that doubles each side, its
 * result beside the skip, and two convolutions; last a 1x1 convolution to the classes (or channels) of each position.
 * Convolutions keep the size, so that the result has that of the sample. Parameters: "down<i>.conv1", "bottom.conv1",
 * "up<i>.transpose", "up<i>.conv1", "head"; norms "<block>.bn1".
 *
 * Invariant: each side of a sample is a multiple of 2^depth; others are refused with the size to pad to. */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

enum { DEEPEST = 8, NAME = 48 };

static dpt_tensor *conv(const dpt_model_options *o, dpt_tensor *x, int64_t width, const char *block, int number) {
    char name[NAME];
    int bias = !dpt_model_has_norm(o); /* a norm has its own */
    snprintf(name, sizeof name, "%s.conv%d", block, number);
    x = dpt_conv(x, width, 3, bias, ((dpt_conv_options){.pad = 1}), name);
    snprintf(name, sizeof name, "%s.bn%d", block, number);
    return dpt_relu(dpt_model_normalise(o, x, name));
}

static dpt_tensor *two_convs(const dpt_model_options *o, dpt_tensor *x, int64_t width, const char *block) {
    return conv(o, conv(o, x, width, block, 1), width, block, 2);
}

static dpt_tensor *up(const dpt_model_options *o, dpt_tensor *x, dpt_tensor *skip, int level) {
    char block[NAME / 2], name[NAME];
    int64_t width = o->width << level;
    snprintf(block, sizeof block, "up%d", level + 1);
    snprintf(name, sizeof name, "%s.transpose", block);
    x = dpt_conv_transpose(x, width, 2, 1, ((dpt_conv_options){.stride = 2}), name);
    x = dpt_concat(((dpt_tensor *[]){skip, x}), 2, 1);
    return two_convs(o, x, width, block);
}

static dpt_status check(const char *model, int spatial, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(model, o));
    DPT_CHECK(o->in_ndim == spatial + 1, DPT_ERR_CONFIG,
              "model %s: samples have %d dimensions: wanted %d, [channels, %sheight, width]", model, o->in_ndim,
              spatial + 1, spatial == 3 ? "depth, " : "");
    DPT_CHECK(o->depth >= 1 && o->depth <= DEEPEST && o->width >= 1, DPT_ERR_CONFIG,
              "model %s: depth %lld (1 to %d), width %lld", model, (long long)o->depth, DEEPEST, (long long)o->width);
    return dpt_model_check_halving(model, o);
}

static dpt_status build(const char *model, int spatial, dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(check(model, spatial, o));
    dpt_tensor *skip[DEEPEST], *x = dpt_model_input(g, o);
    char block[NAME / 2];
    for (int i = 0; i < (int)o->depth; i++) {
        snprintf(block, sizeof block, "down%d", i + 1);
        skip[i] = two_convs(o, x, o->width << i, block);
        x = dpt_max_pool(skip[i], ((dpt_pool_options){.kernel = 2}));
    }
    x = two_convs(o, x, o->width << o->depth, "bottom");
    if (o->dropout > 0) x = dpt_dropout(x, o->dropout, "dropout");
    for (int i = (int)o->depth - 1; i >= 0; i--) x = up(o, x, skip[i], i);
    const dpt_conv_options plain = {0};
    return dpt_model_finish(g, o, dpt_conv(x, o->classes, 1, 1, plain, "head"));
}

dpt_status dpt_model_unet(dpt_graph *g, const dpt_model_options *o) { return build("unet", 2, g, o); }
dpt_status dpt_model_unet3d(dpt_graph *g, const dpt_model_options *o) { return build("unet3d", 3, g, o); }
