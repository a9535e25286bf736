/* Samples of classification and losses: see op_samples.h. */
#include "samples/samples.h"

/* ---- classification and losses ---- */

static dpt_tensor *softmax(sample_build *b) { return dpt_softmax(sample_float(b, DIMS(B, 2, 20), -3, 3)); }
static dpt_tensor *softmax_fixed(sample_build *b) { return dpt_softmax(sample_float(b, DIMS(3, 5), -30, 30)); }
static dpt_tensor *one_hot(sample_build *b) {
    return dpt_mul(any(b, DIMS(B, 5)), dpt_one_hot(sample_integer(b, DPT_I32, DIMS(B), 5), 5, b->dtype));
}
static dpt_tensor *cross_entropy_u8(sample_build *b) {
    return dpt_cross_entropy(any(b, DIMS(B, 20)), sample_integer(b, DPT_U8, DIMS(B), 20));
}
static dpt_tensor *cross_entropy_i64(sample_build *b) {
    return dpt_cross_entropy(sample_float(b, DIMS(B, 5), -20, 20), sample_integer(b, DPT_I64, DIMS(B), 5));
}
static dpt_tensor *cross_entropy_grad(sample_build *b) {
    dpt_tensor *in[] = {any(b, DIMS(B, 7)), sample_integer(b, DPT_I32, DIMS(B), 7), wide(b, DIMS(B))};
    return dpt_apply(DPT_HERE, DPT_OP_CROSS_ENTROPY_GRAD, NULL, NULL, 3, in);
}
static dpt_tensor *cross_entropy_grad_same(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 7)), *t = sample_integer(b, DPT_I32, DIMS(B), 7), *g = any(b, DIMS(B));
    dpt_tensor *p = dpt_softmax(x);
    return dpt_mul(dpt_reshape_at(DPT_HERE, g, DIMS(B, 1)), dpt_sub(p, dpt_one_hot(t, 7, b->dtype)));
}
static dpt_tensor *class_weights(sample_build *b) {
    static const float single[] = {0.5F, 2, 0, 1.5F, 1};
    static const double real[] = {0.5, 2, 0, 1.5, 1};
    const bool is_f64 = b->dtype == DPT_F64;
    return dpt_constant(b->g, is_f64 ? DPT_F64 : DPT_F32, DIMS(5), is_f64 ? (const void *)real : single);
}
/* Weights, smoothing and an ignored class, with positions and without. */
static const dpt_attr all_options = {.classify = {.smoothing = 0.25, .ignores = true, .ignore = 3}};
static dpt_tensor *cross_entropy_all(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 5, 3)), *t = sample_integer(b, DPT_I64, DIMS(B, 3), 5);
    return dpt_apply(DPT_HERE, DPT_OP_CROSS_ENTROPY, NULL, &all_options, 3, (dpt_tensor *[]){x, t, class_weights(b)});
}
static dpt_tensor *cross_entropy_row(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 5)), *t = sample_integer(b, DPT_U8, DIMS(B), 5);
    return dpt_apply(DPT_HERE, DPT_OP_CROSS_ENTROPY, NULL, &all_options, 3, (dpt_tensor *[]){x, t, class_weights(b)});
}
static dpt_tensor *target_weight(sample_build *b) {
    dpt_tensor *x = wide(b, DIMS(B, 7)), *t = sample_integer(b, DPT_U8, DIMS(B, 7), 5);
    dpt_tensor *in[] = {t, class_weights(b)};
    return dpt_mul(x, dpt_apply(DPT_HERE, DPT_OP_TARGET_WEIGHT, NULL, &all_options, 2, in));
}
static dpt_tensor *log_softmax(sample_build *b) { return dpt_log_softmax(sample_float(b, DIMS(B, 6), -3, 3)); }
static dpt_tensor *log_softmax_along(sample_build *b) {
    dpt_tensor *x = sample_float(b, DIMS(B, 4, 3), -30, 30);
    return dpt_apply(DPT_HERE, DPT_OP_LOG_SOFTMAX, NULL, &(dpt_attr){.classify = {.after = 1}}, 1, &x);
}
static dpt_tensor *softmax_along(sample_build *b) { return dpt_softmax_along_at(DPT_HERE, any(b, DIMS(B, 3, 2)), 1); }
static dpt_tensor *top_k(sample_build *b) {
    dpt_tensor *right = dpt_top_k(any(b, DIMS(B, 5, 2)), sample_integer(b, DPT_I32, DIMS(B, 2), 5), 2);
    return dpt_mul(wide(b, DIMS(B, 2)), right);
}
static dpt_tensor *accuracy(sample_build *b) {
    return dpt_mul(wide(b, DIMS(B)), dpt_accuracy(any(b, DIMS(B, 3)), sample_integer(b, DPT_U8, DIMS(B), 3)));
}
static dpt_tensor *mse(sample_build *b) { return dpt_mse(any(b, DIMS(B, 2, 3)), any(b, DIMS(B, 2, 3))); }
static dpt_tensor *mse_same(sample_build *b) {
    dpt_tensor *y = any(b, DIMS(B, 2, 3)), *t = any(b, DIMS(B, 2, 3)), *d = dpt_sub(y, t);
    return dpt_mean(dpt_mul(d, d), 6, 0);
}
static dpt_tensor *l1(sample_build *b) { return dpt_l1(any(b, DIMS(B, 5)), any(b, DIMS(B, 5))); }
/* Differences on both sides of delta. */
static dpt_tensor *huber(sample_build *b) { return dpt_huber(any(b, DIMS(B, 5)), any(b, DIMS(B, 5)), 0.625); }
static dpt_tensor *slope(sample_build *b) {
    const dpt_attr attr = {.slope = {.delta = 0.625, .of = DPT_OP_HUBER, .order = 1}};
    return dpt_apply(DPT_HERE, DPT_OP_LOSS_SLOPE, NULL, &attr, 2,
                     (dpt_tensor *[]){any(b, DIMS(B, 5)), any(b, DIMS(B, 5))});
}
static dpt_tensor *bce(sample_build *b) {
    return dpt_bce(sample_float(b, DIMS(B, 5), -4, 4), sample_float(b, DIMS(B, 5), 0, 1));
}
static dpt_tensor *dice(sample_build *b) {
    return dpt_dice(positive(b, DIMS(B, 2, 3)), sample_float(b, DIMS(B, 2, 3), 0, 1), 1);
}
static dpt_tensor *loss_scale(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 3)), *count = dpt_rows(b->g, DPT_BATCH, 1, DPT_F64);
    return dpt_mul(x, dpt_loss_scale_at(DPT_HERE, count, 2.5, b->dtype));
}
static dpt_tensor *loss_scale_same(sample_build *b) { return dpt_scale(any(b, DIMS(B, 3)), 2.5 / SAMPLE_ROWS); }

static const op_sample rows_of_table[] = {
    CLOSED(SOFTMAX, "softmax", softmax),
    CLOSED(SOFTMAX, "softmax, no batch", softmax_fixed),
    CLOSED(ONE_HOT, "one_hot", one_hot),
    CLOSED(CROSS_ENTROPY, "cross_entropy of u8", cross_entropy_u8),
    CLOSED(CROSS_ENTROPY, "cross_entropy of i64", cross_entropy_i64),
    CLOSED(CROSS_ENTROPY, "cross_entropy with positions", cross_entropy_all),
    CLOSED(CROSS_ENTROPY, "cross_entropy, all options", cross_entropy_row),
    CLOSED_AS(CROSS_ENTROPY_GRAD, "cross_entropy_grad", cross_entropy_grad, cross_entropy_grad_same),
    CLOSED(TARGET_WEIGHT, "target_weight", target_weight),
    CLOSED(TOP_K, "top_k", top_k),
    CLOSED(LOG_SOFTMAX, "log_softmax", log_softmax),
    CLOSED(LOG_SOFTMAX, "log_softmax along the middle", log_softmax_along),
    CLOSED(SOFTMAX, "softmax along the middle", softmax_along),
    CLOSED(ACCURACY, "accuracy", accuracy),
    CLOSED_AS(MSE, "mse", mse, mse_same),
    CLOSED(L1, "l1", l1),
    CLOSED(HUBER, "huber", huber),
    CLOSED(LOSS_SLOPE, "loss_slope", slope),
    CLOSED(BCE, "bce", bce),
    CLOSED(DIV, "dice", dice),
    CLOSED_AS(LOSS_SCALE, "loss_scale", loss_scale, loss_scale_same),
};
SAMPLE_FAMILY(loss)
