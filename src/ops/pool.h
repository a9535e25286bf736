/* pool.h: what pool.c and resample.c share: attributes, checks and shapes of what works on windows of a plane. */
#ifndef DPT_OPS_POOL_H
#define DPT_OPS_POOL_H

#include "dptrain/ops.h"
#include "graph/graph.h"

/* Attributes of pooling x; impossible options give such as dpt_pool_check refuses. */
dpt_pool_attr dpt_pool_attr_of(const dpt_tensor *x, const dpt_pool_options *options);
/* The same to given sizes; also where the windows are set afterwards (resampling). */
dpt_pool_attr dpt_pool_attr_adaptive(const dpt_tensor *x, const int64_t *size);
/* Refuses an x or windows that cannot be, with an error that names them. */
dpt_status dpt_pool_check(const dpt_node *node, const dpt_tensor *x);
/* The dimensions of a tensor with rows and channels as `like` and these spatial sizes. */
void dpt_pool_dims(const dpt_pool_attr *a, const dpt_tensor *like, const int64_t size[DPT_MAX_SPATIAL],
                   int64_t dim[DPT_MAX_NDIM]);
/* Whether t has these spatial sizes. */
bool dpt_pool_has(const dpt_tensor *t, const dpt_pool_attr *a, const int64_t size[DPT_MAX_SPATIAL]);

#endif
