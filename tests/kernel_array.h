/* kernel_array.h: arrays for kernel tests: random values that f32 and f64 hold alike, capacity beyond the valid rows
 * filled with NaN, so that a kernel that lets padding in shows. */
#ifndef DPT_TESTS_KERNEL_ARRAY_H
#define DPT_TESTS_KERNEL_ARRAY_H

#include "base/random.h"
#include "kernel_call.h"

typedef struct kernel_array {
    dpt_operand operand;
    int64_t valid; /* elements of the valid rows */
    double *value; /* those, for the test's own arithmetic */
} kernel_array;

static inline void kernel_array_put(kernel_array *a, int64_t i, double value) {
    if (a->operand.dtype == DPT_F32)
        ((float *)a->operand.data)[i] = (float)value;
    else
        ((double *)a->operand.data)[i] = value;
}

static inline double kernel_array_get(const kernel_array *a, int64_t i) {
    return a->operand.dtype == DPT_F32 ? (double)((float *)a->operand.data)[i] : ((double *)a->operand.data)[i];
}

/* rows < 0: no batch dimension; else rows of dim[0] are valid. Values in [-1, 1). f32 or f64. */
static inline kernel_array kernel_array_make(dpt_dtype dtype, int64_t rows, int ndim, const int64_t *dim,
                                             uint64_t key) {
    kernel_array a = {.operand = kernel_operand(NULL, dtype, rows >= 0, ndim, dim)};
    int64_t count = a.operand.count;
    a.valid = rows < 0 ? count : rows * a.operand.row_count;
    a.operand.data = dpt_alloc((size_t)count * dpt_dtype_size(dtype));
    a.value = dpt_alloc_zero((size_t)a.valid + 1, sizeof *a.value);
    for (int64_t i = 0; i < count; i++) {
        double v = 2 * (double)dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i, 0, 0).v[0]) - 1;
        if (i < a.valid) a.value[i] = v;
        kernel_array_put(&a, i, i < a.valid ? v : NAN);
    }
    return a;
}

/* An output: NaN everywhere. */
static inline kernel_array kernel_array_out(dpt_dtype dtype, int64_t rows, int ndim, const int64_t *dim) {
    kernel_array a = kernel_array_make(dtype, rows, ndim, dim, 0);
    for (int64_t i = 0; i < a.operand.count; i++) kernel_array_put(&a, i, NAN);
    return a;
}

static inline void kernel_array_free(kernel_array *a) {
    dpt_free(a->operand.data);
    dpt_free(a->value);
}

/* ||a - expected|| / ||expected|| over the valid rows is within the type's rounding. */
static inline void kernel_array_check(const kernel_array *a, const double *expected, const char *what) {
    double *got = dpt_alloc((size_t)(a->valid + 1) * sizeof *got);
    for (int64_t i = 0; i < a->valid; i++) got[i] = kernel_array_get(a, i);
    double error = check_relative_f64(got, expected, a->valid);
    double bound = a->operand.dtype == DPT_F32 ? 2e-6 : 1e-14;
    check_that(error <= bound, __FILE__, __LINE__, "%s: relative error %g, at most %g", what, error, bound);
    dpt_free(got);
}

#endif
