/* zoo.h: the models that come with the program: a table, and one builder function each. A builder makes input "x",
 * target "y", the layers, one loss, and the outputs: "logits" and "accuracy" (a number per sample) where it classifies,
 * else "y". Parameters are named as in PyTorch ("fc1.weight"). */
#ifndef DPT_MODELS_ZOO_H
#define DPT_MODELS_ZOO_H

#include "backend/kernel.h"
#include "dptrain/graph.h"

enum { DPT_MODEL_MAX_HIDDEN = 16 };

typedef enum dpt_model_loss {
    DPT_MODEL_CROSS_ENTROPY, /* value [B, classes, positions], target [B, positions] of u8, i32 or i64 */
    DPT_MODEL_MSE            /* from here on: target of f32, of the value's shape */
} dpt_model_loss;

/* What a loss takes besides; all 0: nothing. */
typedef struct dpt_model_loss_options {
    double smoothing;            /* cross-entropy: as dpt_cross_entropy_options */
    const double *class_weights; /* cross-entropy: of each class; NULL: 1. Borrowed while the model is built */
    int ignores;                 /* cross-entropy: 1: targets equal to `ignore` count for nothing */
    int64_t ignore;
    double delta; /* huber */
} dpt_model_loss_options;

typedef enum dpt_model_norm { DPT_MODEL_NORM_NONE, DPT_MODEL_NORM_LOCAL, DPT_MODEL_NORM_SYNC } dpt_model_norm;

/* Start from the model's defaults (dpt_model.defaults). */
typedef struct dpt_model_options {
    int in_ndim; /* shape of one sample of x, f32 */
    int64_t in_dim[DPT_MAX_NDIM - 1];
    int64_t classes; /* width (channels) of the last layer */
    dpt_dtype target_dtype;
    int64_t target_elements; /* values in the target of a sample; 0: what fits the model */
    dpt_model_loss loss;
    dpt_model_loss_options of_loss;
    int n_hidden; /* mlp: widths of the hidden layers */
    int64_t hidden[DPT_MODEL_MAX_HIDDEN];
    dpt_activation activation; /* mlp: after each hidden layer */
    double dropout;            /* probability: mlp after each hidden layer, cnn before the last; 0: none */
    dpt_model_norm batch_norm; /* before each activation; cnn: after its convolutions only */
} dpt_model_options;

typedef struct dpt_model {
    const char *name, *help;
    dpt_status (*build)(dpt_graph *g, const dpt_model_options *options);
    int64_t batch;              /* rows per rank when it is timed */
    dpt_model_options defaults; /* what is timed: the same as tests/peers/torch_ddp.py */
} dpt_model;

extern const dpt_model dpt_models[];
extern const int dpt_model_count;

/* DPT_ERR_CONFIG: no model has this name; the message gives the nearest one, or all. Borrowed. Local. */
dpt_status dpt_model_find(const char *name, const dpt_model **model);

/* Each adds its model to an empty graph. DPT_ERR_CONFIG: options that it cannot follow. Local. */
dpt_status dpt_model_mlp(dpt_graph *g, const dpt_model_options *options);
dpt_status dpt_model_cnn(dpt_graph *g, const dpt_model_options *options);
dpt_status dpt_model_surrogate(dpt_graph *g, const dpt_model_options *options);

#endif
