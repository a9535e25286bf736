/* convert_kernels.h: the loops over values that convert.c is made of, from native elements (those of this machine) of
 * any stored width to those that an input may have. */
#ifndef DPT_DATA_CONVERT_KERNELS_H
#define DPT_DATA_CONVERT_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "data/stored.h"

/* y = x*a + b, then not below low and not above high. b is -0 where nothing is added, which keeps the sign of a 0. */
typedef struct dpt_affine {
    double a, b, low, high;
} dpt_affine;

/* Integers from least to most, or `other`; all three are values of the stored type. */
typedef struct dpt_bounds {
    int64_t least;
    uint64_t most;
    int64_t other;
} dpt_bounds;

/* Both return whether any value was bad: not finite as it came out; outside of the bounds. in may be out where both
 * have the same width. */
typedef int (*dpt_affine_fn)(const void *in, int64_t n, const dpt_affine *affine, void *out);
typedef int (*dpt_integer_fn)(const void *in, int64_t n, const dpt_bounds *bounds, void *out);

/* For elements that dpt_stored_unpack has made native, where they are not. Values of up to 16 bits and f32 go to f32 in
 * f32, all others through f64. NULL: no f32 or f64; no u8, i32 or i64, or from floats. */
dpt_affine_fn dpt_affine_kernel(dpt_stored stored, dpt_dtype to);
dpt_integer_fn dpt_integer_kernel(dpt_stored stored, dpt_dtype to);
/* Only looks whether all values of an f32 or f64 are finite. */
dpt_affine_fn dpt_finite_kernel(dpt_dtype dtype);

/* Whether elements must go through dpt_stored_unpack: f16, and those of the other byte order. */
bool dpt_stored_is_packed(dpt_stored stored);
/* n elements in native byte order, f16 as f32. */
void dpt_stored_unpack(dpt_stored stored, const void *in, int64_t n, void *out);

/* Whether all values of a stored type are exact in f32. */
bool dpt_stored_fits_f32(dpt_stored stored);

/* x = ln(x) in place, f32 or f64; NaN or infinite where x is not positive. f32 with a relative error below 1.2e-7. */
void dpt_log_kernel(dpt_dtype dtype, void *x, int64_t n);
/* y = x*a[i] + b[i] with dtype f32 or f64; whether any is not finite. */
int dpt_affine_each(const double *x, int64_t n, const double *a, const double *b, dpt_dtype to, void *y);

#endif
