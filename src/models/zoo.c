/* zoo.c: the table of models. A new model is one file and one row. */
#include "models/zoo.h"

#include <string.h>

#include "base/text.h"

const dpt_model dpt_models[] = {
    {"mlp",
     "fully connected layers on flattened samples",
     dpt_model_mlp,
     64,
     {.in_ndim = 1,
      .in_dim = {784},
      .classes = 10,
      .target_dtype = DPT_U8,
      .loss = DPT_MODEL_CROSS_ENTROPY,
      .n_hidden = 2,
      .hidden = {512, 512},
      .activation = DPT_ACT_RELU}},
    {"cnn",
     "two convolutions, two fully connected layers, for small images",
     dpt_model_cnn,
     64,
     {.in_ndim = 3,
      .in_dim = {1, 28, 28},
      .classes = 10,
      .target_dtype = DPT_U8,
      .loss = DPT_MODEL_CROSS_ENTROPY,
      .activation = DPT_ACT_RELU}},
    {"surrogate",
     "a small regression network, 8 inputs to 3 outputs, as inside a solver",
     dpt_model_surrogate,
     256,
     {.in_ndim = 1,
      .in_dim = {8},
      .classes = 3,
      .target_dtype = DPT_F32,
      .loss = DPT_MODEL_MSE,
      .n_hidden = 3,
      .hidden = {64, 64, 64},
      .activation = DPT_ACT_RELU}},
    {"mlp4096",
     "eight layers of 4096: what a GPU's products reach",
     dpt_model_mlp,
     8192,
     {.in_ndim = 1,
      .in_dim = {4096},
      .classes = 4096,
      .target_dtype = DPT_F32,
      .loss = DPT_MODEL_MSE,
      .n_hidden = 7,
      .hidden = {4096, 4096, 4096, 4096, 4096, 4096, 4096},
      .activation = DPT_ACT_RELU}},
    {"mlp355m",
     "fourteen layers, 356.6 million parameters: an exchange worth hiding",
     dpt_model_mlp,
     8192,
     {.in_ndim = 1,
      .in_dim = {4096},
      .classes = 4096,
      .target_dtype = DPT_F32,
      .loss = DPT_MODEL_MSE,
      .n_hidden = 13,
      .hidden = {5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120},
      .activation = DPT_ACT_RELU}},
    {"resnet18",
     "residual net of 18 layers, as timed for 32 x 32 images",
     dpt_model_resnet18,
     32,
     {.in_ndim = 3,
      .in_dim = {3, 32, 32},
      .classes = 10,
      .target_dtype = DPT_U8,
      .loss = DPT_MODEL_CROSS_ENTROPY,
      .activation = DPT_ACT_RELU,
      .batch_norm = DPT_MODEL_NORM_LOCAL}},
    {"resnet34",
     "residual net of 34 layers",
     dpt_model_resnet34,
     32,
     {.in_ndim = 3,
      .in_dim = {3, 224, 224},
      .classes = 1000,
      .target_dtype = DPT_I64,
      .loss = DPT_MODEL_CROSS_ENTROPY,
      .activation = DPT_ACT_RELU,
      .batch_norm = DPT_MODEL_NORM_LOCAL}},
    {"resnet50",
     "residual net of 50 layers of bottlenecks (v1.5), as timed for ImageNet",
     dpt_model_resnet50,
     256,
     {.in_ndim = 3,
      .in_dim = {3, 224, 224},
      .classes = 1000,
      .target_dtype = DPT_I64,
      .loss = DPT_MODEL_CROSS_ENTROPY,
      .activation = DPT_ACT_RELU,
      .batch_norm = DPT_MODEL_NORM_LOCAL}},
};

enum { COUNT = sizeof dpt_models / sizeof dpt_models[0] };
const int dpt_model_count = COUNT;

dpt_status dpt_model_find(const char *name, const dpt_model **model) {
    const char *names[COUNT];
    char all[256];
    size_t length = 0;
    *model = NULL;
    for (int i = 0; i < COUNT; i++) {
        names[i] = dpt_models[i].name;
        length = dpt_append(all, sizeof all, length, "%s%s", i ? ", " : "", names[i]);
        if (strcmp(names[i], name) == 0) *model = &dpt_models[i];
    }
    if (*model != NULL) return DPT_OK;
    const char *nearest = dpt_nearest(name, names, COUNT);
    if (nearest) return dpt_error(DPT_ERR_CONFIG, "no model \"%s\": did you mean \"%s\"?", name, nearest);
    return dpt_error(DPT_ERR_CONFIG, "no model \"%s\": there are %s", name, all);
}
