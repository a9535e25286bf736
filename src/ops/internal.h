/* internal.h: constructors that gradient rules and passes use and users do not. Like the public ones (dptrain/ops.h)
 * they take the place of the node that they serve, and never return NULL. */
#ifndef DPT_OPS_INTERNAL_H
#define DPT_OPS_INTERNAL_H

#include "dptrain/ops.h"
#include "graph/op.h"
#include "ops/op_list.h"

/* The place of a node, for what its gradient rule appends. */
#define DPT_AT(node) (node)->file, (node)->line

/* elementwise.c: sums g over the dimensions along which `like` was broadcast, so that the result has like's shape. */
dpt_tensor *dpt_sum_to_at(DPT_PLACE_ARGS, dpt_tensor *g, const dpt_tensor *like);
/* elementwise.c: x, in f32 where it is a 16-bit float: by the cast that is there already, if one is. */
dpt_tensor *dpt_wide_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* softmax.c: softmax along the dimension before the last `after` ones. */
dpt_tensor *dpt_softmax_along_at(DPT_PLACE_ARGS, dpt_tensor *x, int after);
/* cross_entropy.c: dpt_cross_entropy with a smoothed target. */
dpt_tensor *dpt_smooth_cross_entropy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target, double smoothing);
/* activation.c: g where y > 0, else slope * g (0 for slope 0). */
dpt_tensor *dpt_relu_grad_at(DPT_PLACE_ARGS, dpt_tensor *g, dpt_tensor *y, double slope);
/* gather.c: zeros like x in dpt_gather(x, index, axis), but for `size` elements along the axis, to which g, shaped like
 * that gather's result, is added where the indices say; indices out of range are left out. over_batch: x has no batch
 * dimension and index has one; the result is a sum over the global batch. Sums have one order. */
dpt_tensor *dpt_scatter_add_at(DPT_PLACE_ARGS, dpt_tensor *g, dpt_tensor *index, int axis, int64_t size,
                               bool over_batch);
/* loss.c: weight / count as a scalar of dtype, 0 where count is 0; count is an f64 scalar. */
dpt_tensor *dpt_loss_scale_at(DPT_PLACE_ARGS, dpt_tensor *count, double weight, dpt_dtype dtype);
/* collective.c: x on rank 0, zeros elsewhere: a replicated value as a sum over ranks. */
dpt_tensor *dpt_root_only_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* loss_scaling.c: the states of fp16's loss scale. Adds them to a user's graph, unless they are there. Local. */
dpt_status dpt_loss_scale_declare(dpt_graph *g);
/* NULL: the graph has none. */
dpt_tensor *dpt_loss_scale_value(const dpt_graph *g);
dpt_tensor *dpt_loss_scale_steps(const dpt_graph *g);
/* norm_closed.c: batch norm of f64 values, in closed operations. name is not empty. */
dpt_tensor *dpt_batch_norm_closed_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_batch_norm_options options, const char *name);
/* shape.c */
dpt_tensor *dpt_copy_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* reorder.c: the same values in another layout. */
dpt_tensor *dpt_reorder_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_layout to);

#endif
