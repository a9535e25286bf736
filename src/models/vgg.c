/* vgg.c: networks of 3x3 convolutions (Simonyan and Zisserman 2015): five stages of convolutions with ReLU, each ending
 * in a 2x2 max-pool, then two fully connected layers of o->width units with dropout, and the classes. Where the last
 * stage leaves other than 7x7 positions they are pooled to 7x7 first. Invariant: parameters are named and shaped as
 * torchvision's (with batch norm: as its vgg*_bn), so that its files can be read. */
#include <stdio.h>

#include "base/error.h"
#include "dptrain/ops.h"
#include "models/ends.h"

enum { STAGES = 5, FIRST_WIDTH = 64, MOST_WIDTH = 512, LAST_SIZE = 7, SMALLEST = 32 };

static dpt_tensor *norm(const dpt_model_options *o, dpt_tensor *x, int *place) {
    if (!dpt_model_has_norm(o)) return x;
    char name[32];
    snprintf(name, sizeof name, "features.%d", (*place)++);
    return dpt_model_normalise(o, x, name);
}

/* place: torchvision numbers convolutions, norms, activations and pools in one row. */
static dpt_tensor *stage(const dpt_model_options *o, dpt_tensor *x, int convolutions, int64_t width, int *place) {
    char name[32];
    for (int i = 0; i < convolutions; i++) {
        snprintf(name, sizeof name, "features.%d", (*place)++);
        x = dpt_conv2d(x, width, 3, 1, ((dpt_conv_options){.pad = 1}), name);
        x = dpt_relu(norm(o, x, place));
        ++*place;
    }
    ++*place;
    return dpt_max_pool2d(x, 2, 2, 0);
}

static dpt_status check(const char *model, const dpt_model_options *o) {
    DPT_TRY(dpt_model_check(model, o));
    DPT_CHECK(o->in_ndim == 3 && o->in_dim[1] >= SMALLEST && o->in_dim[2] >= SMALLEST, DPT_ERR_CONFIG,
              "model %s: samples have %d dimensions and are %lld high, %lld wide: wanted [channels, height, width], %d "
              "pixels each way or more",
              model, o->in_ndim, (long long)(o->in_ndim > 1 ? o->in_dim[1] : 0),
              (long long)(o->in_ndim > 2 ? o->in_dim[2] : 0), SMALLEST);
    DPT_CHECK(o->width > 0, DPT_ERR_CONFIG, "model %s: width %lld", model, (long long)o->width);
    return DPT_OK;
}

static dpt_tensor *unit(const dpt_model_options *o, dpt_tensor *x, const char *name, const char *dropout) {
    x = dpt_relu(dpt_linear(x, o->width, name));
    return o->dropout > 0 ? dpt_dropout(x, o->dropout, dropout) : x;
}

static dpt_status build(const char *model, const int convolutions[STAGES], dpt_graph *g, const dpt_model_options *o) {
    DPT_TRY(check(model, o));
    dpt_tensor *x = dpt_model_input(g, o);
    int place = 0;
    int64_t width = FIRST_WIDTH;
    for (int i = 0; i < STAGES; i++, width = width < MOST_WIDTH ? 2 * width : width)
        x = stage(o, x, convolutions[i], width, &place);
    int64_t dim[DPT_MAX_NDIM] = {0};
    dpt_tensor_dims(x, dim);
    if (dim[2] != LAST_SIZE || dim[3] != LAST_SIZE) x = dpt_adaptive_avg_pool(x, ((int64_t[]){LAST_SIZE, LAST_SIZE}));
    x = unit(o, dpt_flatten(x), "classifier.0", "classifier.2");
    x = unit(o, x, "classifier.3", "classifier.5");
    return dpt_model_finish(g, o, dpt_linear(x, o->classes, "classifier.6"));
}

#define VGG(name, ...)                                                      \
    dpt_status dpt_model_##name(dpt_graph *g, const dpt_model_options *o) { \
        return build(#name, (const int[STAGES]){__VA_ARGS__}, g, o);        \
    }
VGG(vgg11, 1, 1, 2, 2, 2)
VGG(vgg13, 2, 2, 2, 2, 2)
VGG(vgg16, 2, 2, 3, 3, 3)
VGG(vgg19, 2, 2, 4, 4, 4)
