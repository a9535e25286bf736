/* graph.h: describing a model: inputs, parameters, state, operations (ops.h), losses.
 *
 *   dpt_graph  *g = dpt_graph_create(ctx);
 *   dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, (int64_t[]){DPT_BATCH, 8});
 *   dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, (int64_t[]){DPT_BATCH, 3});
 *   dpt_tensor *y = dpt_linear(dpt_gelu(dpt_linear(x, 64, "fc1")), 3, "fc2");
 *   dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
 *
 * Builders chain and never return NULL. An error gives the graph's poison tensor, sticks to the graph, and is reported
 * with the caller's file and line by dpt_graph_status and by the next call that takes the graph and returns a status.
 * Tensors belong to their graph. A graph means global mathematics: a sum over the batch is the sum over the samples of
 * all ranks, and every rank must build the same graph. All functions here are Local. */
#ifndef DPTRAIN_GRAPH_H
#define DPTRAIN_GRAPH_H

#include "dptrain/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dpt_graph dpt_graph;
typedef struct dpt_tensor dpt_tensor;

/* Symbolic dimensions. The batch is always the first dimension of a tensor that has one. DPT_LENGTH is a size that is
 * bound when programs are made (dpt_trainer_options.length); it may stand in inputs, after the batch. */
#define DPT_BATCH ((int64_t)-1)
#define DPT_LENGTH ((int64_t)-2)

/* Builders are macros over functions that take the caller's place. Those that take an array or a struct are variadic,
 * so that a compound literal with commas can stand in their arguments. */
#define DPT_HERE __FILE__, __LINE__

/* Never NULL: without memory, a graph that reports DPT_ERR_MEMORY. Borrows ctx until destroyed. */
DPT_API dpt_graph *dpt_graph_create(dpt_context *ctx);
/* Takes NULL, nulls *graph. */
DPT_API void dpt_graph_destroy(dpt_graph **graph);
/* The first error of a builder, with its place; DPT_OK if there was none. */
DPT_API dpt_status dpt_graph_status(const dpt_graph *graph);

/* A further batch axis (collocation points beside data points), with rows and counts of its own. Use the result as the
 * first dimension of inputs. At most 8 axes a graph; names are unique. */
#define dpt_batch_axis(g, name) dpt_batch_axis_at(DPT_HERE, g, name)
DPT_API int64_t dpt_batch_axis_at(const char *file, int line, dpt_graph *g, const char *name);

/* An array that the caller hands over with every step, by name. dim[0] is a batch axis, or no dimension is one: then
 * the array must be the same on all ranks. */
#define dpt_input(g, ...) dpt_input_at(DPT_HERE, g, __VA_ARGS__)
DPT_API dpt_tensor *dpt_input_at(const char *file, int line, dpt_graph *g, const char *name, dpt_dtype dtype, int ndim,
                                 const int64_t *dim);

/* How a parameter starts. Numbers come from the parameter's name and the seed, never from the rank count. */
typedef enum dpt_init_kind {
    DPT_INIT_ZEROS,
    DPT_INIT_ONES,
    DPT_INIT_CONSTANT,         /* a */
    DPT_INIT_UNIFORM,          /* [a, b) */
    DPT_INIT_NORMAL,           /* mean a, standard deviation b */
    DPT_INIT_TRUNCATED_NORMAL, /* mean a, standard deviation b, redrawn outside two deviations */
    DPT_INIT_KAIMING_UNIFORM,  /* U(-l, l), l = a * sqrt(3 / fan_in); a = 1/sqrt(3) is PyTorch's default of layers */
    DPT_INIT_KAIMING_NORMAL,   /* N(0, a^2 / fan_in), a = sqrt(2) before ReLU (He et al. 2015) */
    DPT_INIT_XAVIER_UNIFORM,   /* U(-l, l), l = a * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010) */
    DPT_INIT_XAVIER_NORMAL,    /* N(0, a^2 * 2 / (fan_in + fan_out)) */
    DPT_INIT_ORTHOGONAL,       /* rows (or columns) orthonormal, times a (Saxe et al. 2013) */
    DPT_INIT_FAN_IN_UNIFORM    /* U(-l, l), l = 1/sqrt(b), b being the layer's fan-in: PyTorch's biases */
} dpt_init_kind;

typedef struct dpt_init {
    dpt_init_kind kind;
    double a, b;
} dpt_init;

/* A trained array in PyTorch's layout and name ("fc1.weight" [out, in]); f32 or f64. Names are unique in the graph. */
#define dpt_param(g, ...) dpt_param_at(DPT_HERE, g, __VA_ARGS__)
DPT_API dpt_tensor *dpt_param_at(const char *file, int line, dpt_graph *g, const char *name, dpt_dtype dtype, int ndim,
                                 const int64_t *dim, dpt_init init);

/* Settings of all parameters whose name matches a shell pattern ("*.bias"); later calls win. Applies to parameters
 * made before and after. */
typedef struct dpt_group {
    double lr_factor; /* times the learning rate; 1 */
    int no_decay;     /* no weight decay */
    int frozen;       /* no gradient, no update */
} dpt_group;
DPT_API void dpt_param_group(dpt_graph *g, const char *pattern, dpt_group group);

/* An array that keeps its value: data is copied, dim fixed. */
#define dpt_constant(g, ...) dpt_constant_at(DPT_HERE, g, __VA_ARGS__)
DPT_API dpt_tensor *dpt_constant_at(const char *file, int line, dpt_graph *g, dpt_dtype dtype, int ndim,
                                    const int64_t *dim, const void *data);
/* A number as a tensor without dimensions; f32 or f64. */
#define dpt_scalar(g, dtype, value) dpt_scalar_at(DPT_HERE, g, dtype, value)
DPT_API dpt_tensor *dpt_scalar_at(const char *file, int line, dpt_graph *g, dpt_dtype dtype, double value);

/* What survives a step and is no parameter. A read gives the value before the step. */
typedef enum dpt_state_kind {
    DPT_STATE_REPLICATED, /* equal on all ranks */
    DPT_STATE_LOCAL       /* each rank its own */
} dpt_state_kind;
#define dpt_state(g, ...) dpt_state_at(DPT_HERE, g, __VA_ARGS__)
DPT_API dpt_tensor *dpt_state_at(const char *file, int line, dpt_graph *g, const char *name, dpt_dtype dtype, int ndim,
                                 const int64_t *dim, dpt_state_kind kind, double initial);
/* At the end of every training step whose loss and gradient are finite, state becomes value. At most once a state. */
#define dpt_assign(state, value) dpt_assign_at(DPT_HERE, state, value)
DPT_API void dpt_assign_at(const char *file, int line, dpt_tensor *state, dpt_tensor *value);

/* Adds weight * mean(value) to what is minimised. value is either a number per sample (or several: [B, ...]), then its
 * mean is over the valid values of all ranks, counted by mask ([B, ...] as value, of 0 and 1; NULL: all rows count); or
 * a scalar made by reductions over the batch, then it is taken as it is and mask is NULL. */
#define dpt_loss_add(g, value, weight, mask) dpt_loss_add_at(DPT_HERE, g, value, weight, mask)
DPT_API void dpt_loss_add_at(const char *file, int line, dpt_graph *g, dpt_tensor *value, double weight,
                             dpt_tensor *mask);

/* Names a tensor, so that programs can return it. */
#define dpt_output(g, name, value) dpt_output_at(DPT_HERE, g, name, value)
DPT_API void dpt_output_at(const char *file, int line, dpt_graph *g, const char *name, dpt_tensor *value);

/* d(sum of y)/dx, a tensor of x's shape, as new nodes of the graph: it can be differentiated again. An error where a
 * node on the way has a fused backward kernel only (its name and the unfused way are in the message). */
#define dpt_gradient(y, x) dpt_gradient_at(DPT_HERE, y, x)
DPT_API dpt_tensor *dpt_gradient_at(const char *file, int line, dpt_tensor *y, dpt_tensor *x);

/* Shape of a tensor: dim gets ndim values (symbolic ones negative). Returns ndim; -1 for the poison tensor. */
DPT_API int dpt_tensor_dims(const dpt_tensor *t, int64_t dim[DPT_MAX_NDIM]);

#ifdef __cplusplus
}
#endif
#endif
