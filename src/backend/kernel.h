/* kernel.h: a kernel call: operands at fixed addresses, attributes, workspace. The same for every backend.
 *
 * Life of a call: prepare (shapes are known, pointers are not: choose an algorithm, set `plan`, `workspace_bytes` and
 * `table_bytes`), bind (pointers are known), run (any number of times), release. run only queues work, and may be
 * recorded: it neither waits nor allocates. Invariants:
 *  - Dimensions are concrete: a batch dimension stands at its capacity. How many rows are valid is in block->rows,
 * which changes from run to run; block lies in device memory.
 *  - Rows past the valid ones are padding: outputs there may hold anything finite or not, and no kernel that contracts
 *    over the batch (a sum, a weight gradient) may let them in. Own kernels stop at the valid rows; a library call of
 *    fixed shape has the padded rows of its operands zeroed first (dpt_cpu_zero_padding). */
#ifndef DPT_BACKEND_KERNEL_H
#define DPT_BACKEND_KERNEL_H

#include "backend/device.h"
#include "dptrain/types.h"

enum { DPT_MAX_IN = 12, DPT_MAX_OUT = 4, DPT_MAX_AXES = 8, DPT_MAX_SPATIAL = 3 };

/* Physical layout of an edge. Shapes are always logical: [N, C, spatial...]; only the layout pass makes others than
 * canonical. In every layout rows come first and are row_count elements apart. Where a layout has the bytes of the
 * canonical one (one channel, or one position) the operand is called canonical. */
typedef enum dpt_layout {
    DPT_LAYOUT_CANONICAL = 0, /* C order */
    DPT_LAYOUT_CHANNELS_LAST, /* [N, spatial..., C] */
    DPT_LAYOUT_BLOCKED_8,     /* [N, C/8, spatial..., 8]; C is a multiple of 8 */
    DPT_LAYOUT_BLOCKED_16,    /* [N, C/16, spatial..., 16]; C is a multiple of 16 */
    DPT_LAYOUT_COUNT
} dpt_layout;

/* What a program reads and writes besides its tensors; written by the host before a run, in device memory. */
typedef struct dpt_block {
    int64_t step;                      /* optimiser steps made before this one */
    int64_t micro_batch;               /* number of this one within the step, from 0 */
    double lr;                         /* learning rate of this step */
    int64_t rows[DPT_MAX_AXES];        /* valid rows of this rank, a batch axis each */
    int64_t first_row[DPT_MAX_AXES];   /* position of this rank's first row in the global batch */
    int64_t global_rows[DPT_MAX_AXES]; /* rows of all ranks and micro-batches */
} dpt_block;

typedef struct dpt_operand {
    void *data;
    dpt_dtype dtype;
    dpt_layout layout;
    int ndim;
    int64_t dim[DPT_MAX_NDIM]; /* concrete */
    int axis;                  /* dim[0] is batch axis number `axis`; -1: no batch dimension */
    int64_t count;             /* elements at capacity */
    int64_t row_count;         /* elements of one row; count where axis is -1 */
} dpt_operand;

typedef enum dpt_activation { DPT_ACT_NONE, DPT_ACT_RELU, DPT_ACT_GELU, DPT_ACT_TANH } dpt_activation;

/* One stretch of the arenas that an optimiser treats alike. */
typedef struct dpt_segment {
    int64_t param_offset, grad_offset, moment_offset; /* bytes into the arenas */
    int64_t count;                                    /* elements */
    dpt_dtype dtype;
    float lr_factor, decay; /* decay: weight decay of this stretch */
    int64_t parameter;      /* number among the trained parameters */
    bool adapts;            /* takes part in weight decay: LARS and LAMB scale its step */
} dpt_segment;

typedef struct dpt_conv_attr {
    int spatial; /* 1, 2 or 3 */
    int64_t kernel[DPT_MAX_SPATIAL], stride[DPT_MAX_SPATIAL], pad[DPT_MAX_SPATIAL], dilation[DPT_MAX_SPATIAL];
    int64_t groups;
    int64_t in_dim[2 + DPT_MAX_SPATIAL]; /* shape of the convolution's input, dim[0] symbolic */
    int64_t weight_dim[2 + DPT_MAX_SPATIAL];
    dpt_activation act; /* fused forms */
    double slope;       /* of act relu where its argument is negative */
    bool bias;
} dpt_conv_attr;

/* Pooling and resampling (backend/window.h). Missing leading spatial dimensions are 1, with windows of 1. */
typedef enum dpt_window { DPT_WINDOW_POOL, DPT_WINDOW_NEAREST, DPT_WINDOW_LINEAR, DPT_WINDOW_CORNERS } dpt_window;
typedef struct dpt_pool_attr {
    dpt_window window;
    int spatial; /* 1, 2 or 3 */
    int64_t in[DPT_MAX_SPATIAL], out[DPT_MAX_SPATIAL];
    int64_t kernel[DPT_MAX_SPATIAL]; /* of DPT_WINDOW_POOL; 0: adaptive */
    int64_t stride[DPT_MAX_SPATIAL], pad[DPT_MAX_SPATIAL];
    bool exclude_pad; /* averages count no padding */
    bool transposed;  /* from the sizes `out` to `in` */
} dpt_pool_attr;

/* Operations over classes. All 0: plain. */
typedef struct dpt_classify_attr {
    int after;        /* softmax, log_softmax: dimensions after that of the classes */
    int64_t k;        /* top_k */
    double smoothing; /* share of the target that is spread over all classes */
    bool ignores;     /* targets equal to `ignore` count for nothing */
    int64_t ignore;
} dpt_classify_attr;

/* rfft and irfft; missing leading dimensions are 1. */
typedef struct dpt_fft_attr {
    int dims;                   /* 1, 2 or 3 */
    int64_t n[DPT_MAX_SPATIAL]; /* sizes of the real side */
    bool doubled;               /* frequencies that stand for two count twice */
    double scale;
} dpt_fft_attr;

/* Products of spectra; missing leading dimensions are 1. */
typedef struct dpt_mix_attr {
    int dims;   /* 1, 2 or 3 */
    int corner; /* bit i: the negative frequencies of dimension i; of the first weight, or the one computed */
    int64_t size[DPT_MAX_SPATIAL], modes[DPT_MAX_SPATIAL]; /* frequencies that there are, and that are kept */
} dpt_mix_attr;

typedef union dpt_attr {
    struct {
        double value;
    } scalar; /* scale, offset, fill */
    struct {
        uint32_t axes; /* bit i: dimension i is summed */
        bool keep;     /* summed dimensions stay as 1 */
    } reduce;
    struct {
        int ndim;
        int64_t dim[DPT_MAX_NDIM]; /* symbolic */
    } shape;                       /* reshape, broadcast */
    struct {
        bool transpose_a, transpose_b;
        dpt_activation act;
        double slope; /* of act relu where its argument is negative */
        bool bias;
    } matmul;
    struct {
        double slope; /* of relu and relu_grad where x < 0 */
    } relu;
    struct {
        int order; /* derivative of the function: 0 is the function itself */
    } derivative;
    struct {
        int order;        /* the same */
        double low, high; /* clamp; low: the exponent of power */
    } function;
    dpt_conv_attr conv;
    dpt_pool_attr pool;
    dpt_fft_attr fft;
    dpt_mix_attr mix;
    dpt_classify_attr classify;
    struct {
        double delta; /* huber */
        int of;       /* slope: the loss, by op number */
        int order;    /* slope: how often it is differentiated, from 1 */
    } slope;
    struct {
        double eps, momentum;
        bool sync;
        int64_t channels;
        bool relu, adds; /* fused forms: with ReLU or its gradient; with one more operand added */
    } norm;
    struct {
        double eps;
        int64_t groups;    /* of channels; 0: over the last `dims` dimensions */
        int dims;          /* where groups is 0 */
        bool centre;       /* the mean is subtracted */
        bool scale, shift; /* a weight, a bias is among the operands */
        bool residual;     /* fused forms: adds another operand, to x (forward) or to dx (backward) */
    } row_norm;
    struct {
        int order[DPT_MAX_NDIM]; /* dimension i of the result is order[i] of x */
    } transpose;
    struct {
        int axis;
        int64_t from, to, step;
    } slice;
    struct {
        int axis;
        int64_t before, after, step; /* element i of x is element before + i step of the result */
        double value;
    } pad;
    struct {
        int axis;
    } concat;
    struct {
        int axis;        /* of x: what the indices count */
        int64_t size;    /* scatter_add: of that axis */
        bool over_batch; /* x has no batch dimension, the index has one */
        double missing;  /* gather: the value where an index is out of range */
    } gather;            /* and scatter_add, its gradient */
    struct {
        double probability;
    } random;
    struct {
        int64_t classes;
        dpt_dtype dtype;
    } one_hot;
    struct {
        int axis; /* batch axis number */
        int64_t per_row;
        dpt_dtype dtype;
    } rows;
    struct {
        dpt_dtype dtype;
    } cast;
    struct {
        double weight;
        dpt_dtype dtype;
    } loss; /* loss_scale */
    struct {
        dpt_layout to;
    } reorder;
    struct {
        int index;      /* parameter, state, loss or bucket number in the graph */
        int64_t offset; /* bytes into its arena */
        int64_t bytes;
        bool accumulate; /* add to what is there */
    } slot;
    struct {
        const dpt_segment *segment; /* borrowed from the program */
        int segments;
        double momentum, beta1, beta2, eps;
        bool nesterov;
        bool coupled;       /* adamw: weight decay is added to the gradient: Adam */
        bool lamb;          /* of the trust_ ops: LAMB, else LARS */
        double trust;       /* LARS */
        double average;     /* average: share of the average that stays */
        int64_t parameters; /* trust_ ops: how many are trained */
    } update;
    struct {
        double max_norm; /* 0: no clipping */
        bool scaled;     /* the last operand is the f32 factor by which the gradients were scaled (fp16) */
    } clip;
} dpt_attr;

/* Arenas of a session; calls that work on whole stretches of them get these. */
typedef struct dpt_arenas {
    char *param, *grad, *moment1, *moment2, *state;
    char *average;     /* moving averages, as param; NULL: there are none */
    char *saved_state; /* the state before the step, where micro-batches write state; else NULL */
    int64_t state_bytes;
} dpt_arenas;

typedef struct dpt_call {
    int op;
    const char *name; /* of the node, for messages */
    int n_in, n_out;
    dpt_operand in[DPT_MAX_IN], out[DPT_MAX_OUT];
    dpt_attr attr;
    dpt_device *device;
    int rank, world;
    bool tf32;     /* f32 products may round their operands to TF32 */
    uint64_t seed; /* of random ops; their key is dpt_random_key(name, seed) */
    const dpt_block *block;
    dpt_arenas arenas;
    void *workspace; /* shared with other calls: holds nothing between runs */
    size_t workspace_bytes;
    void *table; /* device memory of this call's own, from bind to release: filled in bind (copy_in without a stream) */
    size_t table_bytes;
    void *plan; /* the kernel's own, in host memory */
} dpt_call;

/* What a kernel can take and what it costs, operand by operand, for the layout pass: bytes moved beyond those that the
 * call moves with every operand in the layout that it likes best; DPT_LAYOUT_NEVER where it cannot take it. Speed
 * counts as the bytes that could be moved in the time lost. Depends on shapes and the machine alone, never on timing.
 * Filled in with the functions of layout.h, which know which layouts a shape has at all. */
#define DPT_LAYOUT_NEVER (INT64_C(1) << 50)
typedef struct dpt_layout_choice {
    int64_t in[DPT_MAX_IN][DPT_LAYOUT_COUNT], out[DPT_MAX_OUT][DPT_LAYOUT_COUNT];
    uint32_t alike_in, alike_out; /* bit by operand: all of these have the same layout */
} dpt_layout_choice;

typedef struct dpt_kernel {
    dpt_status (*prepare)(dpt_call *call); /* may be NULL */
    dpt_status (*bind)(dpt_call *call);    /* may be NULL */
    dpt_status (*run)(dpt_call *call, dpt_stream *stream);
    void (*release)(dpt_call *call); /* frees plan; may be NULL */
    /* Says which layouts the call takes; neither prepared nor bound. choice comes as canonical only, at no cost. NULL:
     * canonical only. */
    dpt_status (*layouts)(const dpt_call *call, dpt_layout_choice *choice);
} dpt_kernel;

/* Valid rows of an operand in this run. */
static inline int64_t dpt_valid_rows(const dpt_call *call, const dpt_operand *o) {
    return o->axis < 0 ? 1 : call->block->rows[o->axis];
}
/* Valid elements of an operand in this run: they stand first. */
static inline int64_t dpt_valid_count(const dpt_call *call, const dpt_operand *o) {
    return o->axis < 0 ? o->count : call->block->rows[o->axis] * o->row_count;
}

#endif
