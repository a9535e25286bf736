/* collective.c: what crosses ranks, as nodes. Only shapes and gradients stand here: the executor runs collectives
 * through the communicator, in the order of the program, which is the same on all ranks.
 *
 * all_reduce is the user's; the distribute pass turns it, and every sum over ranks that it inserts itself, into
 * sum_start -> sum_wait, so that compute may run between the two and memory in flight is not reused. The others work on
 * a bucket of an arena and pass tokens only: bucket_start and bucket_wait sum its gradients; with ZeRO-1 scatter_start
 * and scatter_wait leave each rank the sums of its slice, and gather_start and gather_wait bring the parameters, of
 * which each rank has updated its slice, back together. */
#include <string.h>

#include "ops/declare.h"
#include "ops/internal.h"

/* A tensor that each rank has one of, of a type that can be summed. */
static dpt_status summed_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (dpt_has_batch(x))
        return dpt_shape_error(node, "x is %s: a tensor with a batch dimension is spread over ranks already",
                               dpt_shape_text(x));
    if (x->dtype != DPT_F32 && x->dtype != DPT_F64 && x->dtype != DPT_I64)
        return dpt_shape_error(node, "x is %s %s: only f32, f64 and i64 are summed over ranks",
                               dpt_dtype_text(x->dtype), dpt_shape_text(x));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

static dpt_status token_shape(dpt_node *node) {
    dpt_set_out(node, 0, DPT_U8, 0, NULL);
    node->out[0].token = true;
    return DPT_OK;
}

/* ---- all_reduce: y = sum of x over ranks; its gradient hands every rank the same g, meant as shares of a sum. Both
 * carry x along: where x is a sum over the batch already, they are the identity (distribute pass). ---- */

dpt_tensor *dpt_all_reduce_at(DPT_PLACE_ARGS, dpt_tensor *x) {
    return dpt_apply(file, line, DPT_OP_ALL_REDUCE, NULL, NULL, 1, &x);
}

static void all_reduce_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *in[] = {gout[0], node->in[node->n_in - 1]};
    if (want[0]) gin[0] = dpt_apply(DPT_AT(node), DPT_OP_ALL_REDUCE_GRAD, NULL, NULL, 2, in);
}

static void all_reduce_grad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    dpt_tensor *in[] = {gout[0], node->in[1]};
    if (want[0]) gin[0] = dpt_apply(DPT_AT(node), DPT_OP_ALL_REDUCE, NULL, NULL, 2, in);
}

/* ---- root_only: x on rank 0, zeros elsewhere: a replicated value as a sum over ranks ---- */

dpt_tensor *dpt_root_only_at(DPT_PLACE_ARGS, dpt_tensor *x) {
    return dpt_apply(file, line, DPT_OP_ROOT_ONLY, NULL, NULL, 1, &x);
}

static dpt_status root_only_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    size_t bytes = (size_t)call->out[0].count * dpt_dtype_size(call->out[0].dtype);
    if (call->rank == 0 && call->block->micro_batch == 0)
        memcpy(call->out[0].data, call->in[0].data, bytes);
    else
        memset(call->out[0].data, 0, bytes);
    return DPT_OK;
}

/* ---- tables ---- */

const dpt_op dpt_op_all_reduce = {
    .name = "all_reduce", .linear = DPT_ADDITIVE, .n_out = 1, .shape = summed_shape, .gradient = all_reduce_gradient};
const dpt_op dpt_op_all_reduce_grad = {.name = "all_reduce_grad",
                                       .flags = DPT_IS_VIEW | DPT_IS_PARTIAL,
                                       .linear = DPT_ADDITIVE,
                                       .n_out = 1,
                                       .shape = summed_shape,
                                       .gradient = all_reduce_grad_gradient};
const dpt_op dpt_op_root_only = {.name = "root_only",
                                 .flags = DPT_IS_TERMINAL | DPT_IS_PARTIAL,
                                 .linear = DPT_ADDITIVE,
                                 .n_out = 1,
                                 .shape = summed_shape};
const dpt_op dpt_op_sum_start = {.name = "sum_start",
                                 .flags = DPT_IS_TERMINAL | DPT_IS_COLLECTIVE | DPT_IS_VIEW,
                                 .linear = DPT_ADDITIVE,
                                 .n_out = 1,
                                 .shape = summed_shape};
const dpt_op dpt_op_sum_wait = {.name = "sum_wait",
                                .flags = DPT_IS_TERMINAL | DPT_IS_COLLECTIVE | DPT_IS_VIEW,
                                .linear = DPT_ADDITIVE,
                                .n_out = 1,
                                .shape = summed_shape};
#define ON_ARENA(id)             \
    const dpt_op dpt_op_##id = { \
        .name = #id, .flags = DPT_IS_TERMINAL | DPT_IS_COLLECTIVE | DPT_IS_EFFECT, .n_out = 1, .shape = token_shape};
ON_ARENA(bucket_start)
ON_ARENA(bucket_wait)
ON_ARENA(scatter_start)
ON_ARENA(scatter_wait)
ON_ARENA(gather_start)
ON_ARENA(gather_wait)
#undef ON_ARENA

const dpt_kernel dpt_cpu_root_only = {.run = root_only_run};
