/* shape.c: reshape, a view of the same bytes, and copy, which makes bytes of their own. Both take any type and are
 * closed. */
#include <string.h>

#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/map.h"

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

/* ---- reshape ---- */

dpt_tensor *dpt_reshape_at(const char *file, int line, dpt_tensor *x, int ndim, const int64_t *dim) {
    if (dpt_is_poison(x)) return x;
    if (ndim < 0 || ndim > DPT_MAX_NDIM)
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE, "reshape: to %d dimensions (0 to %d)", ndim,
                              DPT_MAX_NDIM);
    dpt_attr attr = {.shape = {.ndim = ndim}};
    if (ndim > 0) memcpy(attr.shape.dim, dim, (size_t)ndim * sizeof *dim);
    if (ndim == x->ndim && memcmp(attr.shape.dim, x->dim, (size_t)ndim * sizeof *dim) == 0) return x;
    return dpt_apply(file, line, DPT_OP_RESHAPE, NULL, &attr, 1, &x);
}

dpt_tensor *dpt_flatten_at(const char *file, int line, dpt_tensor *x) {
    if (dpt_is_poison(x)) return x;
    if (x->ndim == 0)
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE, "flatten: x is %s: it has no dimension to keep",
                              dpt_shape_text(x));
    int64_t rest = 1;
    for (int i = 1; i < x->ndim; i++) rest *= x->dim[i];
    return dpt_reshape_at(file, line, x, 2, (int64_t[]){x->dim[0], rest});
}

/* The number of elements of a row (of all, without a batch dimension), or -1 where it overflows or a dimension after
 * the first is not positive. */
static int64_t row_elements(const dpt_tensor *t) {
    int64_t n = 1;
    for (int i = dpt_has_batch(t) ? 1 : 0; i < t->ndim; i++)
        if (t->dim[i] <= 0 || __builtin_mul_overflow(n, t->dim[i], &n)) return -1;
    return n;
}

static dpt_status reshape_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0], *y = &node->out[0];
    dpt_set_out(node, 0, x->dtype, node->attr.shape.ndim, node->attr.shape.dim);
    if (dpt_tensor_axis(x) == dpt_tensor_axis(y) && row_elements(x) == row_elements(y)) return DPT_OK;
    return dpt_shape_error(node, "x is %s, to %s", dpt_shape_text(x), dpt_shape_text(y));
}

static void reshape_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    const dpt_tensor *x = node->in[0];
    if (want[0]) gin[0] = dpt_reshape_at(DPT_AT(node), gout[0], x->ndim, x->dim);
}

const dpt_op dpt_op_reshape = {.name = "reshape",
                               .flags = DPT_IS_VIEW,
                               .rule = DPT_ROWWISE,
                               .linear = DPT_ADDITIVE,
                               .precision = DPT_ARITHMETIC,
                               .n_out = 1,
                               .shape = reshape_shape,
                               .gradient = reshape_gradient,
                               .flop = no_flop};

/* ---- copy ---- */

dpt_tensor *dpt_copy_at(const char *file, int line, dpt_tensor *x) {
    return dpt_apply(file, line, DPT_OP_COPY, NULL, NULL, 1, &x);
}

static dpt_status copy_shape(dpt_node *node) {
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

static void copy_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    (void)node;
    if (want[0]) gin[0] = gout[0];
}

static void copy_bytes(void *map, int64_t begin, int64_t end) {
    const dpt_map *m = map;
    memcpy((char *)m->y + begin, (const char *)m->x + begin, (size_t)(end - begin));
}

static dpt_status copy_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_map map = {.x = call->in[0].data, .y = call->out[0].data};
    const int64_t size = (int64_t)dpt_dtype_size(call->out[0].dtype);
    dpt_parallel(call->device->threads, dpt_valid_count(call, &call->out[0]) * size, DPT_MAP_GRAIN * size, copy_bytes,
                 &map);
    return DPT_OK;
}

const dpt_op dpt_op_copy = {.name = "copy",
                            .rule = DPT_ROWWISE,
                            .linear = DPT_ADDITIVE,
                            .precision = DPT_ALONG,
                            .n_out = 1,
                            .shape = copy_shape,
                            .gradient = copy_gradient,
                            .flop = no_flop};
const dpt_kernel dpt_cpu_copy = {.run = copy_kernel, .layouts = dpt_map_layouts};
