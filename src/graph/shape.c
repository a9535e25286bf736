/* shape.c: questions about tensors, and what shape rules use to answer and to complain. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "graph/op.h"

int64_t dpt_row_count(const dpt_tensor *t) {
    int64_t n = 1;
    for (int i = dpt_has_batch(t) ? 1 : 0; i < t->ndim; i++) n *= t->dim[i];
    return n;
}

bool dpt_same_shape(const dpt_tensor *a, const dpt_tensor *b) {
    return a->ndim == b->ndim && (a->ndim <= 0 || memcmp(a->dim, b->dim, (size_t)a->ndim * sizeof a->dim[0]) == 0);
}

bool dpt_is_half(dpt_dtype d) { return d == DPT_BF16 || d == DPT_F16; }
bool dpt_is_float(dpt_dtype d) { return d == DPT_F32 || d == DPT_F64 || dpt_is_half(d); }
dpt_dtype dpt_wide_dtype(dpt_dtype d) { return dpt_is_half(d) ? DPT_F32 : d; }

const char *dpt_shape_text(const dpt_tensor *t) {
    enum { BUFFERS = 8, BYTES = 128 };
    static _Thread_local char text[BUFFERS][BYTES];
    static _Thread_local unsigned next;
    char *p = text[next++ % BUFFERS];
    dpt_dims_text(p, BYTES, t->ndim, t->dim);
    return p;
}

dpt_status dpt_shape_error(const dpt_node *node, const char *format, ...) {
    char text[800];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (node->named) return dpt_error(DPT_ERR_SHAPE, "%s \"%s\": %s", dpt_op_of(node)->name, node->name, text);
    return dpt_error(DPT_ERR_SHAPE, "%s: %s", dpt_op_of(node)->name, text);
}

void dpt_set_out(dpt_node *node, int index, dpt_dtype dtype, int ndim, const int64_t *dim) {
    dpt_tensor *t = &node->out[index];
    t->dtype = dtype;
    t->ndim = ndim;
    if (ndim > 0) memcpy(t->dim, dim, (size_t)ndim * sizeof *dim);
}

void dpt_set_out_like(dpt_node *node, int index, const dpt_tensor *like) {
    dpt_set_out(node, index, like->dtype, like->ndim, like->dim);
}

int dpt_tensor_dims(const dpt_tensor *t, int64_t dim[DPT_MAX_NDIM]) {
    if (t == NULL || dpt_is_poison(t)) return -1;
    if (t->ndim > 0) memcpy(dim, t->dim, (size_t)t->ndim * sizeof *dim);
    return t->ndim;
}
