/* class_rows.h: what the operations over classes share on the CPU: where classes and positions stand, options of a
 * classification, how rows are spread over threads.
 *
 * x is (outer, n, inner): n classes, `inner` positions behind each other in memory. A row is one position: row r has
 * the classes x[r / inner, :, r % inner]. Where inner is 1 the loops named *_rows run along the classes; else those
 * named *_columns run along up to DPT_CLASS_COLUMNS positions at once. Channels-last x is (outer * positions, n, 1). */
#ifndef DPT_OPS_CLASS_ROWS_H
#define DPT_OPS_CLASS_ROWS_H

#include "ops/map.h"

enum { DPT_CLASS_COLUMNS = 64 };

typedef struct dpt_class_run {
    const void *x;             /* (outer, n, inner) */
    const dpt_operand *target; /* (outer, inner) */
    const void *g;             /* (outer, inner) */
    const void *weight;        /* (n), or NULL */
    void *y;                   /* as x, or (outer, inner) */
    int64_t n, inner;
    double weights; /* sum of weight; n where that is NULL */
    dpt_classify_attr attr;
} dpt_class_run;

static inline int64_t dpt_class_target(const dpt_operand *target, int64_t row) {
    const void *t = target->data;
    switch (target->dtype) {
        case DPT_U8: return ((const uint8_t *)t)[row];
        case DPT_I32: return ((const int32_t *)t)[row];
        default: return ((const int64_t *)t)[row];
    }
}

static inline bool dpt_class_in_range(int64_t target, int64_t n) { return target >= 0 && target < n; }

/* Places of an operand whose classes are dimension ndim - 1 - after. */
static inline void dpt_class_shape(dpt_class_run *run, const dpt_operand *o, int after) {
    run->n = o->dim[o->ndim - 1 - after];
    run->inner = 1;
    for (int i = o->ndim - after; i < o->ndim && o->layout == DPT_LAYOUT_CANONICAL; i++) run->inner *= o->dim[i];
}

/* Positions [first, first + count) of a run of columns: classes of them from element `at` on, `inner` apart. */
typedef struct dpt_class_columns {
    int64_t at, row, count;
} dpt_class_columns;

static inline int64_t dpt_class_chunks(int64_t inner) { return (inner + DPT_CLASS_COLUMNS - 1) / DPT_CLASS_COLUMNS; }

static inline dpt_class_columns dpt_class_columns_of(const dpt_class_run *run, int64_t item) {
    const int64_t chunks = dpt_class_chunks(run->inner), outer = item / chunks;
    const int64_t first = item % chunks * DPT_CLASS_COLUMNS, rest = run->inner - first;
    return (dpt_class_columns){.at = outer * run->n * run->inner + first,
                               .row = outer * run->inner + first,
                               .count = rest < DPT_CLASS_COLUMNS ? rest : DPT_CLASS_COLUMNS};
}

/* Runs a loop over the valid rows of an operand; loop[0..3]: rows in f32, rows in f64, columns in f32, in f64. */
static inline dpt_status dpt_class_rows(const dpt_call *call, const dpt_operand *o, dpt_class_run *run,
                                        const dpt_range_fn loop[4]) {
    const int wide = call->out[0].dtype == DPT_F64 ? 1 : 0;
    const int64_t rows = dpt_valid_count(call, o) / run->n;
    run->y = call->out[0].data;
    if (run->inner == 1)
        dpt_parallel(call->device->threads, rows, DPT_MAP_GRAIN / 8 / run->n + 1, loop[wide], run);
    else
        dpt_parallel(call->device->threads, rows / run->inner * dpt_class_chunks(run->inner),
                     DPT_MAP_GRAIN / 8 / DPT_CLASS_COLUMNS / run->n + 1, loop[2 + wide], run);
    return DPT_OK;
}

#endif
