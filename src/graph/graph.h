/* graph.h: the graph as the library sees it. Nodes stand in creation order, which is a topological order: a node's
 * inputs come before it. Passes never change a graph in place: they copy it node by node into a new one (rewrite.h),
 * except the gradient pass, which appends. */
#ifndef DPT_GRAPH_GRAPH_H
#define DPT_GRAPH_GRAPH_H

#include <stdbool.h>

#include "backend/kernel.h"
#include "dptrain/graph.h"

typedef struct dpt_node dpt_node;

/* How a value stands on the ranks. Found by the distribute pass. */
typedef enum dpt_spread {
    DPT_SPREAD_REPLICATED, /* the same on every rank */
    DPT_SPREAD_SHARDED,    /* has a batch dimension: each rank holds its rows */
    DPT_SPREAD_PARTIAL,    /* the value is the sum over ranks of what each holds */
    DPT_SPREAD_LOCAL       /* each rank has its own, and means its own (moments of an unsynchronised batch norm) */
} dpt_spread;

struct dpt_tensor {
    dpt_graph *graph;
    dpt_node *node; /* that computes it; NULL for the poison tensor */
    int index;      /* which output of node */
    dpt_dtype dtype;
    dpt_layout layout;
    dpt_spread spread;
    bool token; /* carries order only: no bytes, no operand */
    int ndim;
    int64_t dim[DPT_MAX_NDIM]; /* batch axes and length negative */
};

struct dpt_node {
    int64_t id; /* index in graph->node */
    int op;     /* number in ops/op_list.h */
    char *name; /* "fc1", or "<op>.<n>" */
    bool named; /* by the caller */
    const char *file;
    int line; /* where the caller built it */
    int n_in, n_out;
    dpt_tensor **in;
    dpt_tensor out[DPT_MAX_OUT];
    dpt_attr attr;
    int slot;   /* leaves: index into graph->param, input, state; others -1 */
    void *data; /* constants: their bytes, owned */
};

typedef struct dpt_param_info {
    char *name;
    dpt_tensor *tensor;
    dpt_init init;
    dpt_group group; /* resolved from graph->group when a program is made */
} dpt_param_info;

typedef struct dpt_state_info {
    char *name;
    dpt_tensor *tensor;
    dpt_tensor *next; /* what dpt_assign gave, or NULL */
    dpt_state_kind kind;
    double initial;
    int merge_group; /* batch norm: states of one node share a number >= 0; else -1 */
    int merge_role;  /* batch norm: 0 mean, 1 variance, 2 weight */
} dpt_state_info;

typedef struct dpt_loss_info {
    dpt_tensor *value; /* per sample, or scalar */
    dpt_tensor *mask;  /* or NULL */
    bool weighed;      /* the mask is in the value already: it only counts */
    double weight;
} dpt_loss_info;

typedef struct dpt_output_info {
    char *name;
    dpt_tensor *tensor;
} dpt_output_info;

typedef struct dpt_group_rule {
    char *pattern;
    dpt_group group;
} dpt_group_rule;

struct dpt_graph {
    dpt_context *ctx;
    dpt_status status; /* first error of a builder */
    char *error;
    dpt_tensor poison;
    dpt_node **node;
    int64_t n_node, node_capacity;
    dpt_tensor **input; /* by slot */
    int64_t n_input, input_capacity;
    dpt_param_info *param;
    int64_t n_param, param_capacity;
    dpt_state_info *state;
    int64_t n_state, state_capacity;
    dpt_loss_info *loss;
    int64_t n_loss, loss_capacity;
    dpt_output_info *output;
    int64_t n_output, output_capacity;
    dpt_group_rule *rule;
    int64_t n_rule, rule_capacity;
    char *axis_name[DPT_MAX_AXES]; /* axis 0 is "batch" */
    int n_axis;
    int64_t n_merge_group;
};

/* ---- building ---- */

/* Appends a node, runs its shape rule. name may be NULL. NULL on error (stuck to g, with file and line): the caller
 * then returns &g->poison. Fails silently where an input is poison. */
dpt_node *dpt_node_add(dpt_graph *g, const char *file, int line, int op, const char *name, const dpt_attr *attr,
                       int n_in, dpt_tensor *const *in);
/* The same for ops with one output: its tensor, or poison. */
dpt_tensor *dpt_apply(const char *file, int line, int op, const char *name, const dpt_attr *attr, int n_in,
                      dpt_tensor *const *in);
/* Makes the first error stick, with the caller's place in front; returns poison. */
dpt_tensor *dpt_graph_fail(dpt_graph *g, const char *file, int line, dpt_status code, const char *format, ...)
    DPT_PRINTF(5, 6);
static inline bool dpt_is_poison(const dpt_tensor *t) { return t->node == NULL; }
/* Appends to the graph's tables; the name is copied. */
dpt_status dpt_graph_add_input(dpt_graph *g, dpt_tensor *t);
dpt_status dpt_graph_add_param(dpt_graph *g, const char *name, dpt_param_info info);
dpt_status dpt_graph_add_state(dpt_graph *g, const char *name, dpt_state_info info);
dpt_status dpt_graph_add_loss(dpt_graph *g, dpt_loss_info info);
dpt_status dpt_graph_add_output(dpt_graph *g, const char *name, dpt_tensor *value);
/* Whether a name (parameter, state, input, output, random op) is taken; error text names it. */
bool dpt_name_free(dpt_graph *g, const char *name);

/* ---- asking ---- */

static inline bool dpt_dim_is_batch(int64_t d) { return d == DPT_BATCH || d <= -16; }
/* Batch axis number of a symbolic dimension: 0 for DPT_BATCH, 1.. for further axes. */
static inline int dpt_dim_axis(int64_t d) { return d == DPT_BATCH ? 0 : (int)(-d - 15); }
static inline int64_t dpt_axis_dim(int axis) { return axis == 0 ? DPT_BATCH : -(int64_t)axis - 15; }
static inline bool dpt_has_batch(const dpt_tensor *t) { return t->ndim > 0 && dpt_dim_is_batch(t->dim[0]); }
/* Batch axis number of a tensor, -1 for none. */
static inline int dpt_tensor_axis(const dpt_tensor *t) { return dpt_has_batch(t) ? dpt_dim_axis(t->dim[0]) : -1; }
/* Elements of one row (all of them where there is no batch dimension). */
int64_t dpt_row_count(const dpt_tensor *t);
bool dpt_same_shape(const dpt_tensor *a, const dpt_tensor *b);
bool dpt_is_float(dpt_dtype d);
/* bf16 or f16: stored in 16 bits, computed with in f32. */
bool dpt_is_half(dpt_dtype d);
/* What a type is computed with: f32 for 16-bit floats, else the type itself. Results that sum many values (over the
 * batch, over dimensions, losses) have it too. */
dpt_dtype dpt_wide_dtype(dpt_dtype d);
/* "[B,64]" in one of 8 rotating buffers, for messages. */
const char *dpt_shape_text(const dpt_tensor *t);

/* Shape rules use these: an error names the op, the node and the shapes. */
dpt_status dpt_shape_error(const dpt_node *node, const char *format, ...) DPT_PRINTF(2, 3);
void dpt_set_out(dpt_node *node, int index, dpt_dtype dtype, int ndim, const int64_t *dim);
/* Output 0 like input i. */
void dpt_set_out_like(dpt_node *node, int index, const dpt_tensor *like);

/* Resolves parameter groups by the graph's rules. */
void dpt_graph_resolve_groups(dpt_graph *g);
/* Digest of everything that ranks must build alike. */
uint64_t dpt_graph_digest(const dpt_graph *g);
const dpt_param_info *dpt_graph_find_param(const dpt_graph *g, const char *name);

/* The gradient pass (gradient.c): appends to y->graph the gradients of sum(seed * y) with respect to x[0..n_x); seed
 * NULL means ones. dx[i] is NULL where nothing flows. Errors stick to the graph. */
void dpt_gradients(dpt_tensor *const *y, dpt_tensor *const *seed, int n_y, dpt_tensor *const *x, int64_t n_x,
                   dpt_tensor **dx);

#endif
