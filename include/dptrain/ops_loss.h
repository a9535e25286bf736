/* ops_loss.h: classification, losses, measures. See ops.h for what all lines mean. */
#ifndef DPTRAIN_OPS_LOSS_H
#define DPTRAIN_OPS_LOSS_H

#include "dptrain/ops_place.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- classification. logits [B, classes, positions], target [B, positions] of u8, i32 or i64, where there may be any
 * number of dimensions of positions, or none. Rowwise */
#define dpt_softmax(x) dpt_softmax_at(DPT_HERE, x) /* over the last dimension */
#define dpt_log_softmax(x) dpt_log_softmax_at(DPT_HERE, x)
DPT_API dpt_tensor *dpt_softmax_at(DPT_PLACE_ARGS, dpt_tensor *x);
DPT_API dpt_tensor *dpt_log_softmax_at(DPT_PLACE_ARGS, dpt_tensor *x);
/* [B] integers to [B, classes] of dtype; a target outside gives zeros. */
#define dpt_one_hot(target, classes, dtype) dpt_one_hot_at(DPT_HERE, target, classes, dtype)
DPT_API dpt_tensor *dpt_one_hot_at(DPT_PLACE_ARGS, dpt_tensor *target, int64_t classes, dpt_dtype dtype);
/* -log softmax(logits)[target], of target's shape; NaN where the target is out of range. */
#define dpt_cross_entropy(logits, target) dpt_cross_entropy_at(DPT_HERE, logits, target)
DPT_API dpt_tensor *dpt_cross_entropy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target);
typedef struct dpt_cross_entropy_options {
    double smoothing;     /* share s of the target that is spread over all classes (Szegedy et al. 2016); 0 */
    const double *weight; /* of each class; NULL: 1 */
    int ignores;          /* 1: targets equal to `ignore` count for nothing */
    int64_t ignore;
} dpt_cross_entropy_options;
/* The loss of PyTorch's CrossEntropyLoss: dpt_loss_add of the mean over all targets of all ranks that are not ignored,
 * weighted by the weight of the target's class. Needs options.weight only during the call. */
#define dpt_cross_entropy_loss(g, logits, target, weight, options) \
    dpt_cross_entropy_loss_at(DPT_HERE, g, logits, target, weight, options)
DPT_API void dpt_cross_entropy_loss_at(DPT_PLACE_ARGS, dpt_graph *g, dpt_tensor *logits, dpt_tensor *target,
                                       double weight, dpt_cross_entropy_options options);
/* 1 where fewer than k logits are larger than the target's or equal and before it, else 0: [B]. No gradient. */
#define dpt_top_k(logits, target, k) dpt_top_k_at(DPT_HERE, logits, target, k)
DPT_API dpt_tensor *dpt_top_k_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target, int64_t k);
/* 1 where the largest logit is the target's (the first of equals), else 0: [B]. No gradient. */
#define dpt_accuracy(logits, target) dpt_accuracy_at(DPT_HERE, logits, target)
DPT_API dpt_tensor *dpt_accuracy_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target);

/* ---- losses per sample. y, target [B, ...]; each gives the mean over the row: [B]. Rowwise */
#define dpt_mse(y, target) dpt_mse_at(DPT_HERE, y, target) /* (y - target)^2 */
#define dpt_l1(y, target) dpt_l1_at(DPT_HERE, y, target)   /* |y - target| */
DPT_API dpt_tensor *dpt_mse_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target);
DPT_API dpt_tensor *dpt_l1_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target);
/* d^2/2 where |d| <= delta, else delta (|d| - delta/2), d = y - target (Huber 1964). */
#define dpt_huber(y, target, delta) dpt_huber_at(DPT_HERE, y, target, delta)
DPT_API dpt_tensor *dpt_huber_at(DPT_PLACE_ARGS, dpt_tensor *y, dpt_tensor *target, double delta);
/* Binary cross-entropy of logits: log(1 + exp(y)) - target y, target in [0, 1]. */
#define dpt_bce(logits, target) dpt_bce_at(DPT_HERE, logits, target)
DPT_API dpt_tensor *dpt_bce_at(DPT_PLACE_ARGS, dpt_tensor *logits, dpt_tensor *target);
/* 1 - (2 sum p t + smooth) / (sum p + sum t + smooth), sums over the row (Milletari et al. 2016); p, t in [0, 1]. */
#define dpt_dice(p, target, smooth) dpt_dice_at(DPT_HERE, p, target, smooth)
DPT_API dpt_tensor *dpt_dice_at(DPT_PLACE_ARGS, dpt_tensor *p, dpt_tensor *target, double smooth);

#ifdef __cplusplus
}
#endif
#endif
