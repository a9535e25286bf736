/* samples.h: what the files of samples, one a family, share. A family ends with its table, rows_of_table, and
 * SAMPLE_FAMILY(name); op_samples.c lists the families. */
#ifndef DPT_TESTS_SAMPLES_SAMPLES_H
#define DPT_TESTS_SAMPLES_SAMPLES_H

#include "op_samples.h"
#include "ops/internal.h"

#define DIMS(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
#define B DPT_BATCH

static inline dpt_tensor *any(sample_build *b, int ndim, const int64_t *dim) {
    return sample_float(b, ndim, dim, -1, 1);
}
/* What a sum or a loss of 16-bit values is multiplied by: f32. */
static inline dpt_tensor *wide(sample_build *b, int ndim, const int64_t *dim) {
    const dpt_dtype dtype = b->dtype;
    b->dtype = dpt_wide_dtype(dtype);
    dpt_tensor *t = any(b, ndim, dim);
    b->dtype = dtype;
    return t;
}
static inline dpt_tensor *positive(sample_build *b, int ndim, const int64_t *dim) {
    return sample_float(b, ndim, dim, 0.5, 2);
}

#define CLOSED(ID, name, build) \
    { DPT_OP_##ID, name, build, NULL, 0 }
#define CLOSED_AS(ID, name, build, same) \
    { DPT_OP_##ID, name, build, same, 0 }
#define FUSED(ID, name, build, same) \
    { DPT_OP_##ID, name, build, same, SAMPLE_TERMINAL }

#define SAMPLE_FAMILY(name) \
    const op_samples op_samples_of_##name = {rows_of_table, (int)(sizeof rows_of_table / sizeof *rows_of_table)};

#endif
