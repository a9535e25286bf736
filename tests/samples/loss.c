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
    dpt_tensor *in[] = {any(b, DIMS(B, 20)), sample_integer(b, DPT_I32, DIMS(B), 20), wide(b, DIMS(B))};
    return dpt_apply(DPT_HERE, DPT_OP_CROSS_ENTROPY_GRAD, NULL, NULL, 3, in);
}
static dpt_tensor *cross_entropy_grad_same(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 20)), *t = sample_integer(b, DPT_I32, DIMS(B), 20), *g = any(b, DIMS(B));
    dpt_tensor *p = dpt_softmax(x);
    return dpt_mul(dpt_reshape_at(DPT_HERE, g, DIMS(B, 1)), dpt_sub(p, dpt_one_hot(t, 20, b->dtype)));
}
static dpt_tensor *accuracy(sample_build *b) {
    return dpt_mul(wide(b, DIMS(B)), dpt_accuracy(any(b, DIMS(B, 3)), sample_integer(b, DPT_U8, DIMS(B), 3)));
}
static dpt_tensor *mse(sample_build *b) { return dpt_mse(any(b, DIMS(B, 2, 3)), any(b, DIMS(B, 2, 3))); }
static dpt_tensor *mse_same(sample_build *b) {
    dpt_tensor *y = any(b, DIMS(B, 2, 3)), *t = any(b, DIMS(B, 2, 3)), *d = dpt_sub(y, t);
    return dpt_mean(dpt_mul(d, d), 6, 0);
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
    {DPT_OP_CROSS_ENTROPY_GRAD, "cross_entropy_grad", cross_entropy_grad, cross_entropy_grad_same, SAMPLE_TERMINAL},
    CLOSED(ACCURACY, "accuracy", accuracy),
    CLOSED_AS(MSE, "mse", mse, mse_same),
    CLOSED_AS(LOSS_SCALE, "loss_scale", loss_scale, loss_scale_same),
};
SAMPLE_FAMILY(loss)
