/* loop.h: loops over an array beside others that broadcast against it. Dimensions of size 1 are dropped and neighbours
 * that step alike are merged, so that most calls end with one or two dimensions and the innermost step of every operand
 * is 0 or 1. The batch dimension always stays part of dimension 0, whose length is scaled by the valid rows of a run.
 */
#ifndef DPT_OPS_LOOP_H
#define DPT_OPS_LOOP_H

#include <stdbool.h>
#include <string.h>

#include "backend/kernel.h"

enum { DPT_LOOP_OPERANDS = 3 };

typedef struct dpt_loop {
    int ndim, operands;                            /* ndim >= 1 */
    int64_t length[DPT_MAX_NDIM];                  /* length[0]: to be multiplied by the valid rows */
    int64_t step[DPT_LOOP_OPERANDS][DPT_MAX_NDIM]; /* in elements; 0: broadcast */
} dpt_loop;

/* Steps of `operand`, aligned to the right as NumPy does, along the dimensions of `over`. */
static inline void dpt_loop_align(int64_t step[DPT_MAX_NDIM], const dpt_operand *operand, const dpt_operand *over) {
    const int shift = over->ndim - operand->ndim;
    int64_t stride = 1;
    memset(step, 0, DPT_MAX_NDIM * sizeof step[0]);
    for (int i = operand->ndim - 1; i >= 0; i--) {
        const bool batch = i == 0 && operand->axis >= 0;
        step[i + shift] = batch || operand->dim[i] > 1 ? stride : 0;
        stride *= operand->dim[i];
    }
}

/* Whether dimension i of the loop may be merged into the one before it, which has got `last` as its place. */
static inline bool dpt_loop_merges(const dpt_loop *loop, int last, int64_t length, const int64_t *step) {
    for (int k = 0; k < loop->operands; k++)
        if (loop->step[k][last] != step[k] * length) return false;
    return true;
}

/* Fills length from `over` and shortens the loop; step[k] of every operand has been set, a dimension each. */
static inline void dpt_loop_finish(dpt_loop *loop, const dpt_operand *over) {
    int n = 0;
    for (int i = 0; i < over->ndim; i++) {
        const bool batch = i == 0 && over->axis >= 0;
        const int64_t length = batch ? 1 : over->dim[i];
        if (!batch && length == 1) continue;
        int64_t step[DPT_LOOP_OPERANDS];
        for (int k = 0; k < loop->operands; k++) step[k] = loop->step[k][i];
        const bool merges = n > 0 && dpt_loop_merges(loop, n - 1, length, step);
        const int at = merges ? n - 1 : n++;
        loop->length[at] = merges ? loop->length[at] * length : length;
        for (int k = 0; k < loop->operands; k++) loop->step[k][at] = step[k];
    }
    if (n == 0) {
        loop->length[n++] = 1;
        for (int k = 0; k < loop->operands; k++) loop->step[k][0] = 0;
    }
    loop->ndim = n;
}

/* The offset of operand k at position `index` in C order over the first ndim dimensions. */
static inline int64_t dpt_loop_offset(const dpt_loop *loop, int k, int ndim, int64_t index) {
    int64_t offset = 0;
    for (int i = ndim - 1; i > 0; i--) {
        offset += index % loop->length[i] * loop->step[k][i];
        index /= loop->length[i];
    }
    return ndim > 0 ? offset + index * loop->step[k][0] : 0;
}

#endif
