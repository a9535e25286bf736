/* extreme.c: largest and smallest over dimensions, made of other operations: what is reduced becomes the last
 * dimension, of which one window of max-pooling is the whole. Its gradient goes to the first of equals, NaN wins. */
#include "ops/internal.h"

/* The dimensions of x that `axes` names last; the others, in order, into dim, with 1 for a reduced one that is kept.
 * Returns how many are in dim. */
static int part(const dpt_tensor *x, uint32_t axes, int keep, int order[DPT_MAX_NDIM], int64_t dim[DPT_MAX_NDIM]) {
    int n = 0, dims = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (!(axes >> i & 1U)) order[n++] = i;
        if (!(axes >> i & 1U) || keep) dim[dims++] = axes >> i & 1U ? 1 : x->dim[i];
    }
    for (int i = 0; i < x->ndim; i++)
        if (axes >> i & 1U) order[n++] = i;
    return dims;
}

static dpt_tensor *extreme(const char *file, int line, const char *name, dpt_tensor *x, uint32_t axes, int keep) {
    int64_t dim[DPT_MAX_NDIM], kept = 1, reduced = 1;
    int order[DPT_MAX_NDIM];
    const uint32_t all = (1U << x->ndim) - 1U;
    const bool batch = dpt_has_batch(x);
    if (axes == DPT_ALL_AXES) axes = all;
    if ((axes & ~all) || (batch && (axes & 1U)))
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_SHAPE,
                              "%s: axes 0x%x of x, which is %s: they must be dimensions, and no batch", name, axes,
                              dpt_shape_text(x));
    if (axes == 0) return x;
    for (int i = batch ? 1 : 0; i < x->ndim; i++) {
        if (x->dim[i] < 1)
            return dpt_graph_fail(x->graph, file, line, DPT_ERR_UNSUPPORTED, "%s: x is %s: a dimension has no size yet",
                                  name, dpt_shape_text(x));
        *(axes >> i & 1U ? &reduced : &kept) *= x->dim[i];
    }
    const int dims = part(x, axes, keep, order, dim);
    dpt_tensor *rows = dpt_reshape_at(file, line, dpt_transpose_at(file, line, x, order), 3,
                                      (int64_t[]){batch ? x->dim[0] : 1, kept, reduced});
    return dpt_reshape_at(file, line, dpt_max_pool_at(file, line, rows, (dpt_pool_options){.kernel = reduced}), dims,
                          dim);
}

dpt_tensor *dpt_max_at(const char *file, int line, dpt_tensor *x, uint32_t axes, int keep) {
    return dpt_is_poison(x) ? x : extreme(file, line, "max", x, axes, keep);
}

dpt_tensor *dpt_min_at(const char *file, int line, dpt_tensor *x, uint32_t axes, int keep) {
    if (dpt_is_poison(x)) return x;
    return dpt_scale_at(file, line, extreme(file, line, "min", dpt_scale_at(file, line, x, -1.0), axes, keep), -1.0);
}
