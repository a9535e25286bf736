/* zoo.c: the table of models. A new model is one file and one row. */
#include "models/zoo.h"

#include <string.h>

#include "base/text.h"

enum { MLP_KEYS = DPT_MODEL_HIDDEN | DPT_MODEL_ACTIVATION | DPT_MODEL_DROPOUT | DPT_MODEL_BATCH_NORM };

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
      .activation = DPT_ACT_RELU},
     MLP_KEYS,
     DPT_MODEL_OF_SAMPLE},
    {"cnn",
     "two convolutions, two fully connected layers, for small images",
     dpt_model_cnn,
     64,
     {.in_ndim = 3,
      .in_dim = {1, 28, 28},
      .classes = 10,
      .target_dtype = DPT_U8,
      .loss = DPT_MODEL_CROSS_ENTROPY,
      .activation = DPT_ACT_RELU},
     DPT_MODEL_DROPOUT | DPT_MODEL_BATCH_NORM,
     DPT_MODEL_OF_SAMPLE},
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
      .activation = DPT_ACT_RELU},
     MLP_KEYS,
     DPT_MODEL_OF_SAMPLE},
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
      .activation = DPT_ACT_RELU},
     MLP_KEYS,
     DPT_MODEL_OF_SAMPLE},
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
      .activation = DPT_ACT_RELU},
     MLP_KEYS,
     DPT_MODEL_OF_SAMPLE},
};

enum { COUNT = sizeof dpt_models / sizeof dpt_models[0] };
const int dpt_model_count = COUNT;

dpt_status dpt_model_find(const char *name, const dpt_model **model) {
    const char *names[COUNT];
    char all[512];
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

bool dpt_model_takes(const dpt_model *model, const char *key) {
#define BIT(name, word) \
    if (strcmp(key, word) == 0) return model->keys & DPT_MODEL_##name;
    DPT_MODEL_KEY_LIST(BIT)
#undef BIT
    return false;
}
