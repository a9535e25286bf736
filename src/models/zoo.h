/* zoo.h: the models that come with the program: a table, and one builder function each. A builder makes input "x",
 * target "y" (or as the options name them), the layers, one loss, and the outputs: "logits" and "accuracy" (a number
 * per sample) where it classifies, else "y". Parameters are named as in PyTorch ("fc1.weight"). */
#ifndef DPT_MODELS_ZOO_H
#define DPT_MODELS_ZOO_H

#include <stdbool.h>

#include "backend/kernel.h"
#include "dptrain/graph.h"

enum { DPT_MODEL_MAX_HIDDEN = 16 };

/* X(bit, word): the settings that some models follow and others do not; the words are members of the config's model. */
#define DPT_MODEL_KEY_LIST(X)   \
    X(HIDDEN, "hidden")         \
    X(ACTIVATION, "activation") \
    X(DROPOUT, "dropout")       \
    X(BATCH_NORM, "batch_norm") \
    X(NORM, "norm")             \
    X(WIDTH, "width")           \
    X(DEPTH, "depth")           \
    X(STEM, "stem")             \
    X(SIGMA, "sigma")           \
    X(MODES, "modes")

#define DPT_MODEL_KEY_NUMBER(name, word) DPT_MODEL_NUMBER_##name,
enum { DPT_MODEL_KEY_LIST(DPT_MODEL_KEY_NUMBER) DPT_MODEL_KEY_COUNT };
#undef DPT_MODEL_KEY_NUMBER
#define DPT_MODEL_KEY_BIT(name, word) DPT_MODEL_##name = 1U << DPT_MODEL_NUMBER_##name,
typedef enum dpt_model_key { DPT_MODEL_KEY_LIST(DPT_MODEL_KEY_BIT) } dpt_model_key;
#undef DPT_MODEL_KEY_BIT

/* What a sample's target is. */
typedef enum dpt_model_target {
    DPT_MODEL_OF_SAMPLE,    /* a class, or a vector */
    DPT_MODEL_OF_POSITIONS, /* a class or channels for each position of the sample */
    DPT_MODEL_OF_INPUT      /* the sample itself */
} dpt_model_target;

typedef enum dpt_model_loss {
    DPT_MODEL_CROSS_ENTROPY, /* value [B, classes, positions], target [B, positions] of u8, i32 or i64 */
    DPT_MODEL_MSE,           /* from here on: target of f32, of the value's shape */
    DPT_MODEL_L1,
    DPT_MODEL_HUBER,
    DPT_MODEL_BCE, /* the value is logits, output "y" their sigmoid; the same for dice */
    DPT_MODEL_DICE
} dpt_model_loss;

/* What a loss takes besides; all 0: nothing. */
typedef struct dpt_model_loss_options {
    double smoothing;            /* cross-entropy: as dpt_cross_entropy_options */
    const double *class_weights; /* cross-entropy: of each class; NULL: 1. Borrowed while the model is built */
    int ignores;                 /* cross-entropy: 1: targets equal to `ignore` count for nothing */
    int64_t ignore;
    double delta; /* huber */
} dpt_model_loss_options;

/* The activations without an option. */
typedef enum dpt_model_activation {
    DPT_MODEL_RELU,
    DPT_MODEL_GELU,
    DPT_MODEL_TANH,
    DPT_MODEL_SIGMOID,
    DPT_MODEL_SILU,
    DPT_MODEL_SOFTPLUS
} dpt_model_activation;

typedef enum dpt_model_norm { DPT_MODEL_NORM_NONE, DPT_MODEL_NORM_LOCAL, DPT_MODEL_NORM_SYNC } dpt_model_norm;

/* What a norm's statistics are of: batch as dpt_model_norm says; a sample's groups of channels, as many as
 * DPT_MODEL_NORM_GROUPS or as the greatest of its halves that divides them; a sample's channels and positions, all
 * together. */
typedef enum dpt_model_norm_of {
    DPT_MODEL_NORM_OF_BATCH,
    DPT_MODEL_NORM_OF_GROUP,
    DPT_MODEL_NORM_OF_LAYER
} dpt_model_norm_of;
enum { DPT_MODEL_NORM_GROUPS = 8 };

/* How a residual net begins: auto takes small for images of up to 64 x 64. */
typedef enum dpt_model_stem { DPT_MODEL_STEM_AUTO, DPT_MODEL_STEM_SMALL, DPT_MODEL_STEM_LARGE } dpt_model_stem;

/* An input: what a graph calls it, and one sample of it. */
typedef struct dpt_model_input_of {
    const char *name; /* NULL: "x" */
    dpt_dtype dtype;
    int ndim;
    int64_t dim[DPT_MAX_NDIM - 1];
} dpt_model_input_of;

/* Start from the model's defaults (dpt_model.defaults). */
typedef struct dpt_model_options {
    const char *input, *target; /* their names in the graph; NULL: "x", "y" */
    int several;                /* 1: one of several targets: outputs are named "<target>.logits" and so on */
    double weight;              /* of the loss; 0: as 1 */
    int in_ndim;                /* shape of one sample of the input, f32 */
    int64_t in_dim[DPT_MAX_NDIM - 1];
    int64_t classes; /* width (channels) of the last layer */
    dpt_dtype target_dtype;
    int64_t target_elements; /* values in the target of a sample; 0: what fits the model */
    dpt_model_loss loss;
    dpt_model_loss_options of_loss;
    int mixup; /* 1: a cross-entropy also takes "y_partner", the partners' targets, and "lambda" [B] (data/mixup.h) */
    int n_hidden; /* widths of the hidden layers */
    int64_t hidden[DPT_MODEL_MAX_HIDDEN];
    dpt_model_activation activation; /* after each hidden layer */
    double dropout;                  /* probability, after hidden layers that are fully connected; 0: none */
    dpt_model_norm batch_norm;       /* before each activation; in networks of convolutions: after convolutions only */
    dpt_model_norm_of norm;          /* other than of the batch: instead of batch_norm */
    int64_t width, depth;            /* channels or units, and number of stages or blocks; each model says of what */
    int64_t modes;                   /* Fourier neural operators: frequencies kept a dimension */
    dpt_model_stem stem;             /* residual nets */
    double sigma;                    /* fourier: of the frequencies */
} dpt_model_options;

typedef struct dpt_model {
    const char *name, *help;
    dpt_status (*build)(dpt_graph *g, const dpt_model_options *options);
    int64_t batch;              /* rows per rank when it is timed */
    dpt_model_options defaults; /* what is timed: the same as tests/peers/torch_ddp.py */
    unsigned keys;              /* dpt_model_key: the settings that it follows */
    dpt_model_target target;
} dpt_model;

extern const dpt_model dpt_models[];
extern const int dpt_model_count;

/* DPT_ERR_CONFIG: no model has this name; the message gives the nearest one, or all. Borrowed. Local. */
dpt_status dpt_model_find(const char *name, const dpt_model **model);

/* Whether the model follows the setting of this name ("hidden"). Local. */
bool dpt_model_takes(const dpt_model *model, const char *key);

/* Each adds its model to an empty graph. DPT_ERR_CONFIG: options that it cannot follow. Local. */
// clang-format off
#define DPT_MODEL_BUILDERS(X)                                                                                      \
    X(mlp) X(cnn) X(surrogate) X(resnet18) X(resnet34) X(resnet50) X(vgg11) X(vgg13) X(vgg16) X(vgg19) X(resmlp)   \
    X(autoencoder) X(conv_autoencoder) X(cosmo) X(cosmoflow) X(fourier) X(fno) X(unet) X(unet3d)
// clang-format on
#define DPT_MODEL_DECLARE(name) dpt_status dpt_model_##name(dpt_graph *g, const dpt_model_options *options);
DPT_MODEL_BUILDERS(DPT_MODEL_DECLARE)
#undef DPT_MODEL_DECLARE

#endif
