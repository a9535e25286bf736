/* embedding.c: rows of a table by id, as a gather along the table's first dimension; the gradient is its scatter_add,
 * which sums the rows of an id in one order, whatever the threads. */
#include "base/memory.h"
#include "ops/internal.h"

/* ids as gather takes them: [count], or [B, count]. */
static dpt_tensor *flat_ids(DPT_PLACE_ARGS, dpt_tensor *id) {
    const bool batch = dpt_has_batch(id);
    int64_t dim[2] = {id->dim[0], 1};
    if (!batch) dim[0] = 1;
    for (int i = batch; i < id->ndim; i++) dim[batch] *= id->dim[i];
    return id->ndim == (batch ? 2 : 1) ? id : dpt_reshape_at(file, line, id, batch ? 2 : 1, dim);
}

dpt_tensor *dpt_embedding_with_at(DPT_PLACE_ARGS, dpt_tensor *id, dpt_tensor *w) {
    if (dpt_is_poison(id)) return id;
    if (dpt_is_poison(w)) return w;
    bool fits = !dpt_is_float(id->dtype) && id->ndim < DPT_MAX_NDIM && dpt_is_float(w->dtype) && w->ndim == 2 &&
                w->dim[0] > 0 && w->dim[1] > 0;
    for (int i = dpt_has_batch(id); fits && i < id->ndim; i++) fits = id->dim[i] > 0;
    if (!fits)
        return dpt_graph_fail(
            id->graph, file, line, DPT_ERR_SHAPE,
            "embedding: ids are %s %s, the table is %s %s: they must be of u8, i32 or i64, and floats "
            "[count,width]",
            dpt_dtype_text(id->dtype), dpt_shape_text(id), dpt_dtype_text(w->dtype), dpt_shape_text(w));
    int64_t dim[DPT_MAX_NDIM];
    for (int i = 0; i < id->ndim; i++) dim[i] = id->dim[i];
    dim[id->ndim] = w->dim[1];
    dpt_tensor *rows = dpt_gather_at(file, line, w, flat_ids(file, line, id), 0);
    return dpt_is_poison(rows) ? rows : dpt_reshape_at(file, line, rows, id->ndim + 1, dim);
}

dpt_tensor *dpt_embedding_at(DPT_PLACE_ARGS, dpt_tensor *id, int64_t count, int64_t width, const char *name) {
    if (dpt_is_poison(id)) return id;
    if (name == NULL || name[0] == 0)
        return dpt_graph_fail(id->graph, file, line, DPT_ERR_ARG, "embedding: a name is needed");
    if (count < 1 || width < 1)
        return dpt_graph_fail(id->graph, file, line, DPT_ERR_SHAPE,
                              "embedding \"%s\": a table of %lld rows of %lld: at least one of each", name,
                              (long long)count, (long long)width);
    char *full = dpt_format("%s.weight", name);
    if (full == NULL) return dpt_graph_fail(id->graph, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    const dpt_init init = {.kind = DPT_INIT_NORMAL, .b = 1};
    dpt_tensor *w = dpt_param_at(file, line, id->graph, full, DPT_F32, 2, (int64_t[]){count, width}, init);
    dpt_free(full);
    return dpt_embedding_with_at(file, line, id, w);
}
