/* zoo.c: the table of models. A new model is one file and one row. */
#include "models/zoo.h"

#include <string.h>

#include "base/text.h"

/* Samples and targets of the rows below. */
#define SAMPLE(...) .in_ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .in_dim = {__VA_ARGS__}
#define CLASSES(n) \
    .classes = (n), .target_dtype = DPT_I64, .loss = DPT_MODEL_CROSS_ENTROPY, .activation = DPT_MODEL_RELU
#define VALUES(n) .classes = (n), .target_dtype = DPT_F32, .loss = DPT_MODEL_MSE, .activation = DPT_MODEL_RELU
#define HIDDEN(...) .n_hidden = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .hidden = {__VA_ARGS__}

enum {
    NORM_KEYS = DPT_MODEL_BATCH_NORM | DPT_MODEL_NORM,
    MLP_KEYS = DPT_MODEL_HIDDEN | DPT_MODEL_ACTIVATION | DPT_MODEL_DROPOUT | NORM_KEYS,
    CNN_KEYS = DPT_MODEL_DROPOUT | DPT_MODEL_BATCH_NORM,
    RESNET_KEYS = CNN_KEYS | DPT_MODEL_STEM,
    RESMLP_KEYS = DPT_MODEL_WIDTH | DPT_MODEL_DEPTH | DPT_MODEL_ACTIVATION | DPT_MODEL_DROPOUT | NORM_KEYS,
    AUTOENCODER_KEYS = DPT_MODEL_HIDDEN | DPT_MODEL_ACTIVATION,
    FOURIER_KEYS = MLP_KEYS | DPT_MODEL_WIDTH | DPT_MODEL_SIGMA,
    CONV_AUTOENCODER_KEYS = DPT_MODEL_WIDTH | DPT_MODEL_DEPTH | DPT_MODEL_ACTIVATION,
    UNET_KEYS = DPT_MODEL_WIDTH | DPT_MODEL_DEPTH | DPT_MODEL_DROPOUT | NORM_KEYS,
    COSMO_KEYS = DPT_MODEL_WIDTH | DPT_MODEL_DEPTH | DPT_MODEL_DROPOUT,
    FNO_KEYS = DPT_MODEL_WIDTH | DPT_MODEL_DEPTH | DPT_MODEL_MODES,
    VGG_KEYS = CNN_KEYS | DPT_MODEL_WIDTH
};

// clang-format off
/* name, help, builder, rows per rank when timed, defaults, settings, targets */
#define IMAGENET SAMPLE(3, 224, 224), CLASSES(1000)
#define RESNET(name, help, batch, ...) \
    {#name, help, dpt_model_##name, batch, {__VA_ARGS__, .batch_norm = DPT_MODEL_NORM_LOCAL}, RESNET_KEYS, \
     DPT_MODEL_OF_SAMPLE}
#define VGG(name, help) \
    {#name, help, dpt_model_##name, 32, {IMAGENET, .dropout = 0.5, .width = 4096}, VGG_KEYS, DPT_MODEL_OF_SAMPLE}
#define COSMOFLOW(name, help) \
    {name, help, dpt_model_cosmoflow, 4, {SAMPLE(4, 128, 128, 128), VALUES(4), .width = 32, .depth = 5, .dropout = 0.5}, \
     COSMO_KEYS, DPT_MODEL_OF_SAMPLE}

const dpt_model dpt_models[] = {
    {"mlp", "fully connected layers on flattened samples", dpt_model_mlp, 64,
     {SAMPLE(784), CLASSES(10), HIDDEN(512, 512)}, MLP_KEYS, DPT_MODEL_OF_SAMPLE},
    {"cnn", "two convolutions, two fully connected layers, for small images", dpt_model_cnn, 64,
     {SAMPLE(1, 28, 28), CLASSES(10)}, CNN_KEYS, DPT_MODEL_OF_SAMPLE},
    {"surrogate", "a small regression network, 8 inputs to 3 outputs, as inside a solver", dpt_model_surrogate, 256,
     {SAMPLE(8), VALUES(3), HIDDEN(64, 64, 64)}, MLP_KEYS, DPT_MODEL_OF_SAMPLE},
    {"mlp4096", "eight layers of 4096: what a GPU's products reach", dpt_model_mlp, 8192,
     {SAMPLE(4096), VALUES(4096), HIDDEN(4096, 4096, 4096, 4096, 4096, 4096, 4096)}, MLP_KEYS, DPT_MODEL_OF_SAMPLE},
    {"mlp355m", "fourteen layers, 356.6 million parameters: an exchange worth hiding", dpt_model_mlp, 8192,
     {SAMPLE(4096), VALUES(4096),
      HIDDEN(5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120, 5120)},
     MLP_KEYS, DPT_MODEL_OF_SAMPLE},
    RESNET(resnet18, "residual net of 18 layers, as timed for 32 x 32 images", 32, SAMPLE(3, 32, 32), CLASSES(10)),
    RESNET(resnet34, "residual net of 34 layers", 32, IMAGENET),
    RESNET(resnet50, "residual net of 50 layers of bottlenecks (v1.5), as timed for ImageNet", 256, IMAGENET),
    VGG(vgg11, "8 convolutions, 3 fully connected layers; width is that of the latter"),
    VGG(vgg13, "10 convolutions, 3 fully connected layers"),
    VGG(vgg16, "13 convolutions, 3 fully connected layers"),
    VGG(vgg19, "16 convolutions, 3 fully connected layers"),
    {"resmlp", "fully connected residual blocks, for tables of numbers", dpt_model_resmlp, 256,
     {SAMPLE(64), VALUES(1), .width = 256, .depth = 4}, RESMLP_KEYS, DPT_MODEL_OF_SAMPLE},
    {"autoencoder", "fully connected layers to a narrow code and back; the last of hidden is the code's width",
     dpt_model_autoencoder, 128, {SAMPLE(1, 28, 28), VALUES(1), HIDDEN(512, 128, 32)}, AUTOENCODER_KEYS,
     DPT_MODEL_OF_INPUT},
    {"conv_autoencoder", "convolutions that halve each side, and transposed ones back", dpt_model_conv_autoencoder, 64,
     {SAMPLE(1, 28, 28), VALUES(1), .width = 16, .depth = 2}, CONV_AUTOENCODER_KEYS, DPT_MODEL_OF_INPUT},
    {"unet", "encoder and decoder with skips: classes or values of each pixel", dpt_model_unet, 8,
     {SAMPLE(3, 128, 128), CLASSES(2), .width = 64, .depth = 4, .batch_norm = DPT_MODEL_NORM_LOCAL}, UNET_KEYS,
     DPT_MODEL_OF_POSITIONS},
    {"unet3d", "the same in three dimensions", dpt_model_unet3d, 2,
     {SAMPLE(1, 64, 64, 64), CLASSES(2), .width = 32, .depth = 3, .batch_norm = DPT_MODEL_NORM_LOCAL}, UNET_KEYS,
     DPT_MODEL_OF_POSITIONS},
    {"cosmo", "three stages of 3-D convolutions, for cubes of 32: a small cosmoflow", dpt_model_cosmo, 8,
     {SAMPLE(4, 32, 32, 32), VALUES(4), .width = 16, .depth = 3}, COSMO_KEYS, DPT_MODEL_OF_SAMPLE},
    {"fourier", "Fourier features of coordinates, then fully connected layers; width is the number of frequencies",
     dpt_model_fourier, 1024, {SAMPLE(2), VALUES(3), HIDDEN(256, 256, 256), .width = 256, .sigma = 10}, FOURIER_KEYS,
     DPT_MODEL_OF_SAMPLE},
    COSMOFLOW("cosmoflow", "MLPerf HPC's: five stages of 3-D convolutions, for cubes of 128"),
    COSMOFLOW("cosmoflow128", "cosmoflow, by its name in the benchmarks"),
    {"fno1d", "Fourier neural operator on a line; modes of each dimension are kept", dpt_model_fno, 20,
     {SAMPLE(1, 1024), VALUES(1), .width = 64, .depth = 4, .modes = 16}, FNO_KEYS, DPT_MODEL_OF_POSITIONS},
    {"fno2d", "Fourier neural operator on a plane", dpt_model_fno, 20,
     {SAMPLE(1, 64, 64), VALUES(1), .width = 32, .depth = 4, .modes = 12}, FNO_KEYS, DPT_MODEL_OF_POSITIONS},
};
// clang-format on

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
