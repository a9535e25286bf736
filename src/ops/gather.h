/* gather.h: how gather and scatter_add, its gradient, walk over their operands; the same on both backends (C11 and
 * C++17).
 *
 *   gather       y[r,o,i,k] = x[r,o,index[r,i],k]
 *   scatter_add  x[r,o,v,k] = sum over i with index[r,i] = v of y[r,o,i,k]
 *
 * x is [rows, outer, size, inner], y [rows, outer, count, inner]. Where x has no batch dimension r is 0 in x, and the
 * sum is over r too, in the order of (r, i). Where the index has none, it is the same for all r. */
#ifndef DPT_OPS_GATHER_H
#define DPT_OPS_GATHER_H

#include "backend/kernel.h"

typedef struct dpt_gather_shape {
    int64_t outer, size, count, inner;
    int64_t x_row, y_row, index_row; /* elements from one row to the next; 0: no batch dimension */
} dpt_gather_shape;

/* x: what is gathered from, or added to; y: the other one; axis: of x. */
static inline dpt_gather_shape dpt_gather_shape_of(const dpt_operand *x, const dpt_operand *y, const dpt_operand *index,
                                                   int axis) {
    dpt_gather_shape s = {1, x->dim[axis], index->dim[index->ndim - 1], 1, 0, 0, 0};
    for (int i = x->axis >= 0 ? 1 : 0; i < axis; i++) s.outer *= x->dim[i];
    for (int i = axis + 1; i < x->ndim; i++) s.inner *= x->dim[i];
    if (x->axis >= 0) s.x_row = x->row_count;
    if (y->axis >= 0) s.y_row = y->row_count;
    if (index->axis >= 0) s.index_row = index->row_count;
    return s;
}

#endif
