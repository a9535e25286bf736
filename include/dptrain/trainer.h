/* trainer.h: trains a graph. A step takes this rank's rows, computes the gradient of the loss over the rows of all
 * ranks, and updates the parameters, which stay equal on all ranks.
 *
 *   dpt_trainer_options o;
 *   dpt_trainer_options_init(&o);
 *   o.max_rows = 256;
 *   dpt_trainer *tr;
 *   DPT_TRY(dpt_trainer_create(g, &o, &tr));
 *   dpt_array in[] = {{"x", xs, DPT_F32, DPT_HOST, n, NULL}, {"t", ts, DPT_F32, DPT_HOST, n, NULL}};
 *   for (...) DPT_TRY(dpt_trainer_step(tr, in, 2, &metrics));
 *
 * A failure on one rank, found before the step's first exchange, is returned by all ranks. Without an on_fatal callback
 * in the context, a call may block forever when another rank dies inside MPI. */
#ifndef DPTRAIN_TRAINER_H
#define DPTRAIN_TRAINER_H

#include "dptrain/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dpt_trainer dpt_trainer;

typedef enum dpt_optimizer {
    DPT_SGD,   /* m = momentum m + g; p -= lr m (Sutskever et al. 2013, as PyTorch writes it) */
    DPT_ADAMW, /* decoupled weight decay (Loshchilov and Hutter 2019) */
    DPT_ADAM,  /* weight decay is added to the gradient (Kingma and Ba 2015, as PyTorch) */
    DPT_LARS,  /* SGD, steps scaled by |p| / |gradient| of each parameter (You et al. 2017) */
    DPT_LAMB   /* AdamW, steps scaled by |p| / |step| of each parameter (You et al. 2020) */
} dpt_optimizer;

typedef struct dpt_trainer_options {
    size_t struct_size;
    int64_t max_rows;                  /* rows of this rank in one step at most, of the first batch axis; required */
    int64_t max_rows_of[DPT_MAX_NDIM]; /* the same of further axes, [1] being the first made; 0: max_rows */
    int64_t length;                    /* what DPT_LENGTH stands for; needed where the graph has it */
    dpt_optimizer optimizer;           /* DPT_SGD */
    double lr;                         /* 0.01 */
    double momentum;                   /* SGD, LARS: 0.9 */
    int nesterov;                      /* SGD: 1: p -= lr (g + momentum m) */
    double beta1, beta2, eps;          /* AdamW, Adam, LAMB: 0.9, 0.999, 1e-8 */
    double trust;            /* LARS: 0.001 times |p| / (|g| + decay |p|) scales the step; parameters without weight
                                decay take it as it is, LAMB's too */
    double weight_decay;     /* 0 */
    double average_decay;    /* share of the moving average of the parameters that stays in a step, in steps made t at
                                most (1 + t) / (10 + t); 0: no average. With one, dpt_trainer_evaluate, _predict and
                                _save take the averages; steps go on with the parameters. */
    double clip_norm;        /* gradients with a larger norm are scaled down to it; 0: no clipping */
    int accumulate;          /* micro-batches a step, whose gradients are added before the exchange; 1 */
    dpt_precision precision; /* DPT_PRECISION_FP32; 16-bit ones for graphs of f32 */
    uint64_t seed;           /* of initial parameters and random operations; equal on all ranks; 0 */
    int64_t bucket_bytes;    /* gradients exchanged at once; 0: chosen */
    int zero;                /* 1: each rank keeps the optimiser's moments of its share of the parameters only */
    int update_by_bucket;    /* 1: parameters are updated as their gradients arrive, each bucket by its own guard: a
                                gradient that is not finite then skips its own bucket only. Without clip_norm,
                                LARS and LAMB. */
    dpt_recompute recompute; /* memory for time; DPT_RECOMPUTE_AUTO */
    int no_evaluation;       /* 1: evaluation and prediction are not planned, their memory not taken */
} dpt_trainer_options;

/* Sets struct_size and the defaults above. Local. */
DPT_API void dpt_trainer_options_init(dpt_trainer_options *options);

/* Compiles the graph, takes all memory that training will ever need, starts the parameters. Borrows g.
 * Collective. DPT_ERR_ARG, DPT_ERR_SHAPE, DPT_ERR_UNSUPPORTED: the graph or the options are wrong (the message names
 * the place). DPT_ERR_CONFIG: ranks have built different graphs or options; the odd rank is named. DPT_ERR_MEMORY. */
DPT_API dpt_status dpt_trainer_create(dpt_graph *g, const dpt_trainer_options *options, dpt_trainer **trainer);
/* Takes NULL, nulls *trainer. Local. */
DPT_API void dpt_trainer_destroy(dpt_trainer **trainer);

typedef struct dpt_metrics {
    int64_t step;     /* the step these belong to, from 0; -1: none has arrived yet */
    int64_t rows;     /* of all ranks, first batch axis */
    double loss;      /* weighted mean over all ranks */
    double grad_norm; /* before clipping */
    double lr;
    int skipped; /* loss or gradient was not finite: nothing was updated (by bucket: not in the buckets concerned) */
} dpt_metrics;

/* One step on this rank's rows: one array an input, in any order. rows may be 0 and may differ between ranks, not
 * between the inputs of one batch axis. metrics may be NULL; they arrive at most 2 steps late. Collective.
 * DPT_ERR_ARG: an array is missing, unknown, too long or of a type that cannot be converted (on all ranks). */
DPT_API dpt_status dpt_trainer_step(dpt_trainer *trainer, const dpt_array *in, int n_in, dpt_metrics *metrics);
/* The gradient that a step on these rows would use: fills the gradients (dpt_trainer_get) and the loss, changes nothing
 * else. Needs accumulate = 1. Collective. Errors as dpt_trainer_step. */
DPT_API dpt_status dpt_trainer_gradient(dpt_trainer *trainer, const dpt_array *in, int n_in, dpt_metrics *metrics);
/* Waits for all queued work; metrics (or NULL) are the last step's. Collective. */
DPT_API dpt_status dpt_trainer_sync(dpt_trainer *trainer, dpt_metrics *metrics);
/* Learning rate from the next step on; equal on all ranks. Local. */
DPT_API void dpt_trainer_set_lr(dpt_trainer *trainer, double lr);

enum { DPT_MAX_MEANS = 8 };
typedef struct dpt_evaluation {
    int64_t rows; /* of all ranks */
    double loss;  /* over all rows since the last result */
    int n_mean;
    const char *name[DPT_MAX_MEANS]; /* outputs of shape [B] (dpt_output), borrowed from the trainer */
    double mean[DPT_MAX_MEANS];      /* their means over all rows */
} dpt_evaluation;

/* Adds a batch to the evaluation: forward only, dropout off, running statistics merged over ranks. Arrays as in a step.
 * Collective; a rank that has run out of rows hands over 0 rows. */
DPT_API dpt_status dpt_trainer_evaluate(dpt_trainer *trainer, const dpt_array *in, int n_in);
/* Sums over batches and ranks, and starts anew. Collective. */
DPT_API dpt_status dpt_trainer_evaluation(dpt_trainer *trainer, dpt_evaluation *result);

/* Forward only; copies the named output to out: (rows, its other dimensions) of its own type. Inputs that the output
 * does not depend on may be left out. Collective where the graph reduces over the batch, and after training steps. */
DPT_API dpt_status dpt_trainer_predict(dpt_trainer *trainer, const dpt_array *in, int n_in, const char *output,
                                       void *out, size_t out_bytes);

typedef enum dpt_what {
    DPT_PARAMETER,
    DPT_GRADIENT,
    DPT_STATE,
    DPT_AVERAGE /* of a parameter (average_decay) */
} dpt_what;
/* Copies a parameter, its gradient after the last exchange, or a state to data; bytes must be its size. In fp16 a step
 * leaves gradients that are multiplied by its loss scale; dpt_trainer_gradient leaves plain ones. Local; with zero = 1
 * collective: after a step each rank holds a share of them. */
DPT_API dpt_status dpt_trainer_get(dpt_trainer *trainer, dpt_what what, const char *name, void *data, size_t bytes);
/* The other way; the same values on all ranks. A parameter's average then starts from it. Local. */
DPT_API dpt_status dpt_trainer_set(dpt_trainer *trainer, dpt_what what, const char *name, const void *data,
                                   size_t bytes);

/* Writes all parameters (their averages, where there are any) and states (running statistics merged) to an HDF5 file,
 * atomically; config is kept in it as text and may be NULL. Collective. DPT_ERR_IO. */
DPT_API dpt_status dpt_trainer_save(dpt_trainer *trainer, const char *path, const char *config);
/* Reads them back; every parameter must be there with its shape; a loss scale that is not there keeps its value;
 * averages start from what is read.
 * Collective. DPT_ERR_IO, DPT_ERR_SHAPE. */
DPT_API dpt_status dpt_trainer_load(dpt_trainer *trainer, const char *path);

/* Bytes of one rank. */
typedef struct dpt_memory {
    size_t parameters, gradients, moments, state, activations, workspace, constants, control, staging;
    size_t total;     /* what was announced: the sum of the above */
    size_t allocated; /* what the device now holds for this trainer */
} dpt_memory;
/* Local. */
DPT_API dpt_memory dpt_trainer_memory(const dpt_trainer *trainer);
/* Number of trained and frozen parameters' elements. Local. */
DPT_API int64_t dpt_trainer_parameters(const dpt_trainer *trainer);

#ifdef __cplusplus
}
#endif
#endif
