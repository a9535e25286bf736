/* window.h: which elements of a tensor an element of the pooled or resampled one takes, and with what weight.
 *
 * Pooling, averaging and resampling work dimension by dimension: element i of the result takes elements [begin, end) of
 * that dimension, and neither begin nor end ever goes back as i grows. So the elements of the result that take element
 * p are a range too, and the transposed operation (a gradient) has the same form. Averages and resampling are sums with
 * weights, the product of one weight a dimension: dpt_taps is the table of them. Both backends include this. */
#ifndef DPT_BACKEND_WINDOW_H
#define DPT_BACKEND_WINDOW_H

#include "backend/kernel.h"

/* One row of a dimension's matrix of weights: elements [begin, end) of the input, the first one with the weight
 * `first`, the others with `rest`. */
typedef struct dpt_window_row {
    int64_t begin, end;
    double first, rest;
} dpt_window_row;

/* What element i of the result takes along dimension d of three. */
dpt_window_row dpt_window_row_of(const dpt_pool_attr *a, int d, int64_t i);

/* The part of window number i that lies inside dimension d, for DPT_WINDOW_POOL. */
static inline void dpt_window_inside(const dpt_pool_attr *a, int d, int64_t i, int64_t *begin, int64_t *end) {
    if (a->kernel[d] == 0) { /* adaptive */
        *begin = i * a->in[d] / a->out[d];
        *end = ((i + 1) * a->in[d] + a->out[d] - 1) / a->out[d];
        return;
    }
    *begin = i * a->stride[d] - a->pad[d];
    *end = *begin + a->kernel[d] < a->in[d] ? *begin + a->kernel[d] : a->in[d];
    if (*begin < 0) *begin = 0;
}

/* The weights along one dimension, for the operation as it is or transposed: element i of the result is the sum over k
 * < count[i] of weight[k * out + i] times element begin[i] + k. */
typedef struct dpt_taps {
    int64_t in, out;
    int64_t width; /* largest count */
    int32_t *begin, *count;
    void *weight; /* of f64 for f64, else of f32 */
} dpt_taps;

/* Whether the result is the mean of a whole plane. */
bool dpt_window_is_mean(const dpt_pool_attr *a);
/* The same operation with neighbouring dimensions that are averaged as a whole made one, as long as that is short. */
dpt_pool_attr dpt_window_merge(const dpt_pool_attr *a);
/* Sizes of the tables of three dimensions; gives the bytes that they take. */
size_t dpt_taps_measure(const dpt_pool_attr *a, dpt_dtype dtype, dpt_taps taps[DPT_MAX_SPATIAL]);
/* Points the tables into memory of that size. */
void dpt_taps_place(dpt_dtype dtype, dpt_taps taps[DPT_MAX_SPATIAL], void *memory);
/* Fills tables that have been placed. */
void dpt_taps_fill(const dpt_pool_attr *a, dpt_dtype dtype, const dpt_taps taps[DPT_MAX_SPATIAL]);

#endif
