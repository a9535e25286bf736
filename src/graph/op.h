/* op.h: what the graph knows of an operation. Every op is one const dpt_op in its family's file, src/ops/<family>.c,
 * beside its constructor and CPU kernel; ops/op_list.h lists them all. */
#ifndef DPT_GRAPH_OP_H
#define DPT_GRAPH_OP_H

#include "graph/graph.h"

/* How an op treats the batch dimension. */
typedef enum dpt_batch_rule {
    DPT_ROWWISE, /* a row of the output depends on the same row of the inputs only */
    DPT_REDUCES, /* where an output lacks the batch dimension of an input, it is a sum over the global batch */
    DPT_MIXES    /* rows depend on other rows by the op's own rule */
} dpt_batch_rule;

/* In which inputs an op is linear: decides where a sum over ranks may wait. */
typedef enum dpt_linearity {
    DPT_NONLINEAR,
    DPT_ADDITIVE,     /* linear in all inputs together: add, sub, reshape, sum, scale */
    DPT_MULTILINEAR,  /* linear in each input with the others fixed: mul, matmul, conv */
    DPT_LINEAR_FIRST, /* linear in input 0 with the others fixed: div */
    DPT_LINEAR_SECOND /* linear in input 1, where there is one, with the other fixed: f(x) g */
} dpt_linearity;

/* In which type the precision pass has an op compute, where a policy asks for 16 bits (program/pass_precision.c). */
typedef enum dpt_treatment {
    DPT_WIDE,        /* all floats in f32 (or what they are, f64) */
    DPT_PRODUCT,     /* all operands in 16 bits */
    DPT_ALONG,       /* all float operands in one type */
    DPT_ARITHMETIC,  /* the same; f32 where only a loss follows */
    DPT_AS_IT_COMES, /* operand 0 in whatever type it has, the others wide */
    DPT_LIKE_SECOND  /* operands 0 and 1 in the type that 1 has, the others wide */
} dpt_treatment;

enum {
    DPT_IS_TERMINAL = 1,    /* no gradient rule: differentiating it is an error that names it */
    DPT_IS_CONSTANT = 2,    /* its output does not depend on inputs differentiably (one_hot, rows): gradient is zero */
    DPT_IS_VIEW = 4,        /* output 0 is input 0's bytes */
    DPT_IS_INPLACE = 8,     /* output 0 may overwrite input 0 where both have the same size */
    DPT_IS_EFFECT = 16,     /* does something besides its outputs: never removed */
    DPT_IS_COLLECTIVE = 32, /* run by the executor through the communicator */
    DPT_IS_DRAWS = 64,      /* takes random numbers: needs the rows' global positions */
    DPT_IS_LEAF = 128,      /* computes nothing */
    DPT_IS_LOCAL = 256, /* batch norm: a sum over this rank's rows: DPT_SPREAD_LOCAL, or PARTIAL where attr.norm.sync */
    DPT_IS_PARTIAL = 512 /* each rank's output is its share of a sum: DPT_SPREAD_PARTIAL whatever the inputs are */
};

typedef struct dpt_cost {
    double flop;  /* floating-point operations */
    double bytes; /* read and written, each operand once */
} dpt_cost;

typedef struct dpt_op {
    const char *name;
    unsigned flags;
    dpt_batch_rule rule;
    dpt_linearity linear;
    dpt_treatment precision;
    int n_out;
    /* Checks the inputs, sets dtype and shape of the outputs (dpt_set_out). */
    dpt_status (*shape)(dpt_node *node);
    /* Appends nodes for the gradients of the inputs that are wanted; gout[i] is NULL where nothing flows into output i.
     * gin[] comes zeroed; an entry left NULL means no gradient. Errors stick to the graph. */
    void (*gradient)(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin);
    /* Floating-point operations at concrete dimensions; NULL: one per output element. Bytes are counted for all. */
    double (*flop)(const dpt_call *call);
    /* In evaluate and predict programs the node's output 0 is replaced by this; in[] are the node's inputs in the new
     * graph, whose graph it appends to. NULL: the node as it is. */
    dpt_tensor *(*infer)(const dpt_node *node, dpt_tensor *const *in);
} dpt_op;

/* By op number; defined in ops/op_table.c. */
extern const dpt_op *const dpt_ops[];
static inline const dpt_op *dpt_op_of(const dpt_node *n) { return dpt_ops[n->op]; }

#endif
