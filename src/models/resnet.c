/* resnet.c: residual networks for images (He et al. 2016): a stem, four stages of blocks whose input is added to their
 * output, the mean over positions, one fully connected layer. 18 and 34 layers have blocks of two 3x3 convolutions, 50
 * layers blocks of 1x1, 3x3, 1x1 with the stride in the 3x3 (v1.5). The stem is a 7x7 convolution of stride 2 with a
 * max-pool, or, for small images, one 3x3 convolution. Invariant: parameters are named and shaped as torchvision's, so
 * that its files can be read. */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

enum { SMALL_IMAGE = 64, STAGES = 4, FIRST_WIDTH = 64, NAME = 48 };

typedef struct resnet {
    const char *name;
    const dpt_model_options *options;
    int blocks[STAGES];
    bool bottleneck;
} resnet;

/* Convolution without bias, batch norm: "<prefix><conv>", "<prefix><norm>". */
static dpt_tensor *conv_norm(const resnet *net, dpt_tensor *x, int64_t out, int64_t kernel, int64_t stride,
                             const char *prefix, const char *conv, const char *norm) {
    char name[NAME];
    snprintf(name, sizeof name, "%s%s", prefix, conv);
    x = dpt_conv2d(x, out, kernel, 0, ((dpt_conv_options){.stride = stride, .pad = kernel / 2}), name);
    snprintf(name, sizeof name, "%s%s", prefix, norm);
    return dpt_model_normalise(net->options, x, name);
}

/* The block's input where it has the shape of its output, else projected to it. */
static dpt_tensor *shortcut(const resnet *net, dpt_tensor *x, int64_t in, int64_t out, int64_t stride,
                            const char *prefix) {
    if (stride == 1 && in == out) return x;
    return conv_norm(net, x, out, 1, stride, prefix, "downsample.0", "downsample.1");
}

static dpt_tensor *block(const resnet *net, dpt_tensor *x, int64_t in, int64_t width, int64_t stride,
                         const char *prefix) {
    dpt_tensor *y;
    if (net->bottleneck) {
        y = dpt_relu(conv_norm(net, x, width, 1, 1, prefix, "conv1", "bn1"));
        y = dpt_relu(conv_norm(net, y, width, 3, stride, prefix, "conv2", "bn2"));
        y = conv_norm(net, y, 4 * width, 1, 1, prefix, "conv3", "bn3");
    } else {
        y = dpt_relu(conv_norm(net, x, width, 3, stride, prefix, "conv1", "bn1"));
        y = conv_norm(net, y, width, 3, 1, prefix, "conv2", "bn2");
    }
    return dpt_relu(dpt_add(y, shortcut(net, x, in, net->bottleneck ? 4 * width : width, stride, prefix)));
}

static dpt_tensor *stem(const resnet *net, dpt_tensor *x) {
    const dpt_model_options *o = net->options;
    bool small = o->stem == DPT_MODEL_STEM_SMALL;
    if (o->stem == DPT_MODEL_STEM_AUTO) small = o->in_dim[1] <= SMALL_IMAGE && o->in_dim[2] <= SMALL_IMAGE;
    if (small) return dpt_relu(conv_norm(net, x, FIRST_WIDTH, 3, 1, "", "conv1", "bn1"));
    x = dpt_relu(conv_norm(net, x, FIRST_WIDTH, 7, 2, "", "conv1", "bn1"));
    return dpt_max_pool2d(x, 3, 2, 1);
}

static dpt_status check(const resnet *net) {
    const dpt_model_options *o = net->options;
    DPT_TRY(dpt_model_check(net->name, o));
    DPT_CHECK(o->in_ndim == 3, DPT_ERR_CONFIG,
              "model %s: samples have %d dimensions: wanted 3, [channels, height, width]", net->name, o->in_ndim);
    DPT_CHECK(o->batch_norm != DPT_MODEL_NORM_NONE, DPT_ERR_CONFIG,
              "model %s: it has batch norm after every convolution: local or sync, not none", net->name);
    DPT_CHECK(o->n_hidden == 0 && o->activation == DPT_MODEL_RELU, DPT_ERR_CONFIG,
              "model %s: its layers and activation are fixed: \"hidden\" and \"activation\" belong to mlp", net->name);
    return DPT_OK;
}

static dpt_status build(const resnet *net, dpt_graph *g) {
    DPT_TRY(check(net));
    dpt_tensor *x = stem(net, dpt_model_input(g, net->options));
    int64_t in = FIRST_WIDTH;
    for (int stage = 0; stage < STAGES; stage++) {
        int64_t width = FIRST_WIDTH << stage;
        for (int i = 0; i < net->blocks[stage]; i++) {
            char prefix[NAME / 2];
            snprintf(prefix, sizeof prefix, "layer%d.%d.", stage + 1, i);
            x = block(net, x, in, width, stage > 0 && i == 0 ? 2 : 1, prefix);
            in = net->bottleneck ? 4 * width : width;
        }
    }
    x = dpt_mean(x, 1u << 2 | 1u << 3, 0);
    if (net->options->dropout > 0) x = dpt_dropout(x, net->options->dropout, "dropout");
    return dpt_model_finish(g, net->options, dpt_linear(x, net->options->classes, "fc"));
}

dpt_status dpt_model_resnet18(dpt_graph *g, const dpt_model_options *o) {
    return build(&(resnet){"resnet18", o, {2, 2, 2, 2}, false}, g);
}
dpt_status dpt_model_resnet34(dpt_graph *g, const dpt_model_options *o) {
    return build(&(resnet){"resnet34", o, {3, 4, 6, 3}, false}, g);
}
dpt_status dpt_model_resnet50(dpt_graph *g, const dpt_model_options *o) {
    return build(&(resnet){"resnet50", o, {3, 4, 6, 3}, true}, g);
}
