/* op_list.h: the only registry of operations.
 *
 * KERNEL(ID, name): dpt_op_<name> in its family's file, and one kernel a backend: dpt_cpu_<name>, dpt_cuda_<name>.
 * PLAIN(ID, name): dpt_op_<name> alone: leaves, views, and what the executor runs through the communicator.
 * A line without its twin is a link error. Numbers are not stable: nothing saved may hold them. */
#ifndef DPT_OPS_OP_LIST_H
#define DPT_OPS_OP_LIST_H

#define DPT_OP_LIST(KERNEL, PLAIN)                 \
    /* graph/leaf.c */                             \
    PLAIN(INPUT, input)                            \
    PLAIN(PARAM, param)                            \
    PLAIN(CONSTANT, constant)                      \
    PLAIN(STATE, state)                            \
    /* ops/elementwise.c */                        \
    KERNEL(ADD, add)                               \
    KERNEL(SUB, sub)                               \
    KERNEL(MUL, mul)                               \
    KERNEL(DIV, div)                               \
    KERNEL(SCALE, scale)                           \
    KERNEL(OFFSET, offset)                         \
    KERNEL(SQRT, sqrt)                             \
    KERNEL(CAST, cast)                             \
    /* ops/activation.c */                         \
    KERNEL(RELU, relu)                             \
    KERNEL(RELU_GRAD, relu_grad)                   \
    KERNEL(TANH, tanh)                             \
    KERNEL(GELU, gelu)                             \
    /* ops/functions.c */                          \
    KERNEL(EXP, exp)                               \
    KERNEL(LN, ln)                                 \
    KERNEL(SIN, sin)                               \
    KERNEL(COS, cos)                               \
    KERNEL(ABS, abs)                               \
    KERNEL(POWER, power)                           \
    KERNEL(CLAMP, clamp)                           \
    KERNEL(SIGMOID, sigmoid)                       \
    KERNEL(SILU, silu)                             \
    KERNEL(SOFTPLUS, softplus)                     \
    /* ops/reduce.c */                             \
    KERNEL(SUM, sum)                               \
    KERNEL(BROADCAST, broadcast)                   \
    KERNEL(ROWS, rows)                             \
    /* ops/shape.c */                              \
    PLAIN(RESHAPE, reshape)                        \
    KERNEL(COPY, copy)                             \
    /* ops/choice.c */                             \
    KERNEL(GREATER, greater)                       \
    KERNEL(EQUAL, equal)                           \
    KERNEL(WHERE, where)                           \
    /* ops/arrange.c */                            \
    KERNEL(TRANSPOSE, transpose)                   \
    KERNEL(CONCAT, concat)                         \
    KERNEL(SLICE, slice)                           \
    KERNEL(PAD, pad)                               \
    /* ops/gather.c */                             \
    KERNEL(GATHER, gather)                         \
    KERNEL(SCATTER_ADD, scatter_add)               \
    /* ops/reorder.c: made by the layout pass */   \
    KERNEL(REORDER, reorder)                       \
    /* ops/matmul.c */                             \
    KERNEL(MATMUL, matmul)                         \
    /* ops/linear.c: made by the fuse pass */      \
    KERNEL(LINEAR, linear)                         \
    KERNEL(LINEAR_DGRAD, linear_dgrad)             \
    KERNEL(LINEAR_WGRAD, linear_wgrad)             \
    /* ops/conv.c */                               \
    KERNEL(CONV, conv)                             \
    KERNEL(CONV_DGRAD, conv_dgrad)                 \
    KERNEL(CONV_WGRAD, conv_wgrad)                 \
    /* ops/pool.c */                               \
    KERNEL(MAX_POOL, max_pool)                     \
    KERNEL(POOL_SCATTER, pool_scatter)             \
    KERNEL(POOL_GATHER, pool_gather)               \
    /* ops/resample.c */                           \
    KERNEL(AVG_POOL, avg_pool)                     \
    KERNEL(RESAMPLE, resample)                     \
    /* ops/fft.c */                                \
    KERNEL(RFFT, rfft)                             \
    KERNEL(IRFFT, irfft)                           \
    /* ops/mix.c */                                \
    KERNEL(MIX, mix)                               \
    KERNEL(MIX_DGRAD, mix_dgrad)                   \
    KERNEL(MIX_WGRAD, mix_wgrad)                   \
    /* ops/norm.c */                               \
    KERNEL(BN_MOMENTS, bn_moments)                 \
    KERNEL(BN_APPLY, bn_apply)                     \
    KERNEL(BN_GRAD_SUMS, bn_grad_sums)             \
    KERNEL(BN_MASK_SUMS, bn_mask_sums)             \
    KERNEL(BN_GRAD_APPLY, bn_grad_apply)           \
    KERNEL(BN_PARAM_GRAD, bn_param_grad)           \
    KERNEL(BN_RUNNING, bn_running)                 \
    KERNEL(BN_INFER, bn_infer)                     \
    /* ops/norm_closed.c */                        \
    PLAIN(BN_TRAIN, bn_train)                      \
    /* ops/row_norm.c, row_norm_cpu.c */           \
    KERNEL(ROW_NORM, row_norm)                     \
    KERNEL(ROW_NORM_GRAD, row_norm_grad)           \
    KERNEL(ROW_NORM_PARAMS, row_norm_params)       \
    /* ops/dropout.c */                            \
    KERNEL(DROPOUT, dropout)                       \
    /* ops/softmax.c */                            \
    KERNEL(SOFTMAX, softmax)                       \
    KERNEL(LOG_SOFTMAX, log_softmax)               \
    KERNEL(ONE_HOT, one_hot)                       \
    /* ops/cross_entropy.c */                      \
    KERNEL(CROSS_ENTROPY, cross_entropy)           \
    KERNEL(CROSS_ENTROPY_GRAD, cross_entropy_grad) \
    KERNEL(TARGET_WEIGHT, target_weight)           \
    KERNEL(ACCURACY, accuracy)                     \
    KERNEL(TOP_K, top_k)                           \
    /* ops/loss.c */                               \
    KERNEL(MSE, mse)                               \
    KERNEL(L1, l1)                                 \
    KERNEL(HUBER, huber)                           \
    KERNEL(BCE, bce)                               \
    KERNEL(LOSS_SLOPE, loss_slope)                 \
    KERNEL(LOSS_SCALE, loss_scale)                 \
    /* ops/update.c */                             \
    KERNEL(GRAD_STORE, grad_store)                 \
    KERNEL(SQUARE_NORM, square_norm)               \
    KERNEL(GUARD, guard)                           \
    KERNEL(SGD, sgd)                               \
    KERNEL(ADAMW, adamw)                           \
    /* ops/trust.c */                              \
    KERNEL(TRUST_NORMS, trust_norms)               \
    KERNEL(TRUST_STEP, trust_step)                 \
    KERNEL(AVERAGE, average)                       \
    /* ops/update.c */                             \
    KERNEL(ASSIGN, assign)                         \
    KERNEL(STATE_RESTORE, state_restore)           \
    /* ops/loss_scaling.c */                       \
    KERNEL(SCALE_UPDATE, scale_update)             \
    /* ops/arena.c */                              \
    PLAIN(GRAD_READ, grad_read)                    \
    /* ops/collective.c */                         \
    PLAIN(ALL_REDUCE, all_reduce)                  \
    PLAIN(ALL_REDUCE_GRAD, all_reduce_grad)        \
    KERNEL(ROOT_ONLY, root_only)                   \
    PLAIN(SUM_START, sum_start)                    \
    PLAIN(SUM_WAIT, sum_wait)                      \
    PLAIN(BUCKET_START, bucket_start)              \
    PLAIN(BUCKET_WAIT, bucket_wait)                \
    PLAIN(SCATTER_START, scatter_start)            \
    PLAIN(SCATTER_WAIT, scatter_wait)              \
    PLAIN(GATHER_START, gather_start)              \
    PLAIN(GATHER_WAIT, gather_wait)

typedef enum dpt_op_id {
#define DPT_OP_ENUM(ID, name) DPT_OP_##ID,
    DPT_OP_LIST(DPT_OP_ENUM, DPT_OP_ENUM)
#undef DPT_OP_ENUM
        DPT_OP_COUNT
} dpt_op_id;

#endif
