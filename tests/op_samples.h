/* op_samples.h: for every operation, small graphs that use it. Tests make from one table: gradient checks of first and
 * second order, f32 against f64, fused against unfused; later CPU against GPU, and ranks.
 *
 * A sample builds its op on inputs that it declares here, so that a test can hand over values and differentiate by
 * them. */
#ifndef DPT_TESTS_OP_SAMPLES_H
#define DPT_TESTS_OP_SAMPLES_H

#include <stdbool.h>

#include "dptrain/ops.h"
#include "ops/op_list.h"

enum { SAMPLE_INPUTS = 8, SAMPLE_ROWS = 4, SAMPLE_CAPACITY = 6, SAMPLE_VALUES = 1024 };

typedef struct sample_input {
    char name[8]; /* "x0", "x1", ... */
    dpt_tensor *tensor;
    dpt_dtype dtype;
    int64_t count;               /* of SAMPLE_ROWS rows, where it has a batch dimension */
    double value[SAMPLE_VALUES]; /* floats; integers as they are */
} sample_input;

/* A graph under construction. */
typedef struct sample_build {
    dpt_graph *g;
    dpt_dtype dtype; /* of floats */
    int n_input;
    sample_input input[SAMPLE_INPUTS];
} sample_build;

/* Declares an input of the sample's type with values in [lo, hi), none nearer than 0.05 to 0: a step of finite
 * differences crosses no kink there. */
dpt_tensor *sample_float(sample_build *b, int ndim, const int64_t *dim, double lo, double hi);
/* Declares an input of integers in [0, classes). */
dpt_tensor *sample_integer(sample_build *b, dpt_dtype dtype, int ndim, const int64_t *dim, int64_t classes);

typedef dpt_tensor *(*sample_fn)(sample_build *b);

enum {
    SAMPLE_TERMINAL = 1,     /* has no gradient: differentiating it is an error */
    SAMPLE_LOW_PRECISION = 2 /* rounds to f32 inside an f64 graph */
};

typedef struct op_sample {
    int op; /* appears in the graph, or in that of its gradients */
    const char *name;
    sample_fn build;
    sample_fn same; /* builds the same values from other ops, on the same inputs; or NULL */
    unsigned flags;
} op_sample;

/* The samples of one family: tests/samples/<family>.c. */
typedef struct op_samples {
    const op_sample *row;
    int count;
} op_samples;

/* Sample i of all families; NULL where there is none. */
const op_sample *op_sample_at(int i);

/* A line for every op: covered by samples (by NULL), or by what. */
typedef struct op_cover {
    int op;
    const char *by;
} op_cover;
extern const op_cover *const op_covers; /* DPT_OP_COUNT of them */

#endif
