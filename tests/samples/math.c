/* Samples of elementwise operations, activations, reductions, shapes: see op_samples.h. */
#include "samples/samples.h"

/* ---- elementwise ---- */

#define BROADCASTS(name)                                                              \
    static dpt_tensor *name##_same(sample_build *b) {                                 \
        return dpt_##name(positive(b, DIMS(B, 5)), positive(b, DIMS(B, 5)));          \
    }                                                                                 \
    static dpt_tensor *name##_row(sample_build *b) {                                  \
        return dpt_##name(positive(b, DIMS(B, 5)), positive(b, DIMS(5)));             \
    }                                                                                 \
    static dpt_tensor *name##_column(sample_build *b) {                               \
        return dpt_##name(positive(b, DIMS(B, 1)), positive(b, DIMS(B, 5)));          \
    }                                                                                 \
    static dpt_tensor *name##_scalar(sample_build *b) {                               \
        return dpt_##name(positive(b, 0, NULL), positive(b, DIMS(B, 5)));             \
    }                                                                                 \
    static dpt_tensor *name##_strided(sample_build *b) {                              \
        return dpt_##name(positive(b, DIMS(B, 2, 1, 3)), positive(b, DIMS(2, 2, 1))); \
    }                                                                                 \
    static dpt_tensor *name##_fixed(sample_build *b) {                                \
        return dpt_##name(positive(b, DIMS(2, 1, 3)), positive(b, DIMS(4, 1)));       \
    }                                                                                 \
    static dpt_tensor *name##_self(sample_build *b) {                                 \
        dpt_tensor *x = positive(b, DIMS(B, 5));                                      \
        return dpt_##name(x, x);                                                      \
    }
BROADCASTS(add)
BROADCASTS(sub)
BROADCASTS(mul)
BROADCASTS(div)
#define BROADCAST_ROWS(ID, name)                                                                          \
    {DPT_OP_##ID, #name " same", name##_same, NULL, 0}, {DPT_OP_##ID, #name " row", name##_row, NULL, 0}, \
        {DPT_OP_##ID, #name " column", name##_column, NULL, 0},                                           \
        {DPT_OP_##ID, #name " scalar", name##_scalar, NULL, 0},                                           \
        {DPT_OP_##ID, #name " strided", name##_strided, NULL, 0},                                         \
        {DPT_OP_##ID, #name " fixed", name##_fixed, NULL, 0}, {                                           \
        DPT_OP_##ID, #name " self", name##_self, NULL, 0                                                  \
    }

static dpt_tensor *scale(sample_build *b) { return dpt_scale(any(b, DIMS(B, 5)), -1.75); }
static dpt_tensor *offset(sample_build *b) { return dpt_offset(any(b, DIMS(B, 5)), 0.5); }
static dpt_tensor *root(sample_build *b) { return dpt_sqrt(positive(b, DIMS(B, 5))); }
static dpt_tensor *cast_float(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 5));
    return dpt_cast(dpt_cast(x, b->dtype == DPT_F64 ? DPT_F32 : DPT_F64), b->dtype);
}
static dpt_tensor *cast_u8(sample_build *b) {
    return dpt_mul(any(b, DIMS(B, 5)), dpt_cast(sample_integer(b, DPT_U8, DIMS(B, 5), 256), b->dtype));
}
static dpt_tensor *cast_i32(sample_build *b) {
    return dpt_mul(any(b, DIMS(B, 5)), dpt_cast(sample_integer(b, DPT_I32, DIMS(B, 5), 1000), b->dtype));
}
static dpt_tensor *cast_i64(sample_build *b) {
    return dpt_mul(any(b, DIMS(B, 5)), dpt_cast(sample_integer(b, DPT_I64, DIMS(B, 5), 1000), b->dtype));
}

/* ---- activations ---- */

static dpt_tensor *relu(sample_build *b) { return dpt_relu(any(b, DIMS(B, 7))); }
static dpt_tensor *relu_grad(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 7)), *g = any(b, DIMS(B, 7));
    return dpt_relu_grad_at(DPT_HERE, g, dpt_relu(x), 0);
}
static dpt_tensor *leaky_relu(sample_build *b) { return dpt_leaky_relu(any(b, DIMS(B, 7)), 0.25); }
/* A hidden layer: the fuse pass makes linear and linear_dgrad of it. */
static dpt_tensor *leaky_layer(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 3)), *w = any(b, DIMS(4, 3));
    return dpt_linear_with(dpt_leaky_relu(dpt_linear_with(x, w, NULL), 0.25), any(b, DIMS(2, 4)), NULL);
}
static dpt_tensor *tanh_(sample_build *b) { return dpt_tanh(sample_float(b, DIMS(B, 40), -2, 2)); }
static dpt_tensor *gelu(sample_build *b) { return dpt_gelu(sample_float(b, DIMS(B, 40), -3, 3)); }
static dpt_tensor *gelu_order(sample_build *b, int order) {
    dpt_tensor *x = sample_float(b, DIMS(B, 40), -3, 3);
    return dpt_apply(DPT_HERE, DPT_OP_GELU, NULL, &(dpt_attr){.derivative = {order}}, 1, &x);
}
static dpt_tensor *gelu_2(sample_build *b) { return gelu_order(b, 2); }
static dpt_tensor *gelu_5(sample_build *b) { return gelu_order(b, 5); }

/* ---- reduce ---- */

static dpt_tensor *sum_all(sample_build *b) { return dpt_sum(any(b, DIMS(B, 2, 3)), DPT_ALL_AXES, 0); }
static dpt_tensor *sum_batch(sample_build *b) { return dpt_sum(any(b, DIMS(B, 2, 3)), 1, 0); }
static dpt_tensor *sum_last(sample_build *b) { return dpt_sum(any(b, DIMS(B, 2, 3)), 4, 1); }
static dpt_tensor *sum_middle(sample_build *b) { return dpt_sum(any(b, DIMS(B, 2, 3)), 2, 0); }
static dpt_tensor *sum_ends(sample_build *b) { return dpt_sum(any(b, DIMS(B, 2, 3)), 5, 0); }
static dpt_tensor *sum_fixed(sample_build *b) { return dpt_sum(any(b, DIMS(3, 70)), 1, 1); }
static dpt_tensor *mean_batch(sample_build *b) { return dpt_mean(any(b, DIMS(B, 2, 3)), 5, 0); }
static dpt_tensor *mean_batch_same(sample_build *b) {
    return dpt_scale(dpt_sum(any(b, DIMS(B, 2, 3)), 5, 0), 1.0 / (3 * SAMPLE_ROWS));
}
static dpt_tensor *mean_last(sample_build *b) { return dpt_mean(any(b, DIMS(B, 2, 3)), 6, 1); }
static dpt_tensor *mean_last_same(sample_build *b) { return dpt_scale(dpt_sum(any(b, DIMS(B, 2, 3)), 6, 1), 1.0 / 6); }
static dpt_tensor *broadcast_row(sample_build *b) { return dpt_broadcast_at(DPT_HERE, any(b, DIMS(3)), DIMS(B, 3)); }
static dpt_tensor *broadcast_column(sample_build *b) {
    return dpt_broadcast_at(DPT_HERE, any(b, DIMS(B, 1)), DIMS(B, 3));
}
static dpt_tensor *broadcast_strided(sample_build *b) {
    return dpt_broadcast_at(DPT_HERE, any(b, DIMS(2, 1, 3)), DIMS(B, 2, 4, 3));
}
static dpt_tensor *broadcast_scalar(sample_build *b) { return dpt_broadcast_at(DPT_HERE, any(b, 0, NULL), DIMS(2, 3)); }
static dpt_tensor *rows(sample_build *b) { return dpt_mul(any(b, DIMS(B, 3)), dpt_rows(b->g, DPT_BATCH, 3, b->dtype)); }
static dpt_tensor *rows_same(sample_build *b) { return dpt_scale(any(b, DIMS(B, 3)), 3.0 * SAMPLE_ROWS); }

/* ---- shape ---- */

static dpt_tensor *reshape(sample_build *b) {
    return dpt_reshape_at(DPT_HERE, any(b, DIMS(B, 2, 3)), DIMS(B, 3, 1, 2));
}
static dpt_tensor *flatten(sample_build *b) { return dpt_flatten(any(b, DIMS(B, 2, 3))); }
/* There and back, for the sample's values are read in canonical order. */
static dpt_tensor *reorder_by(sample_build *b, dpt_tensor *x, dpt_layout to) {
    (void)b;
    return dpt_reorder_at(DPT_HERE, dpt_reorder_at(DPT_HERE, x, to), DPT_LAYOUT_CANONICAL);
}
static dpt_tensor *reorder_last(sample_build *b) {
    return reorder_by(b, any(b, DIMS(B, 3, 2, 5)), DPT_LAYOUT_CHANNELS_LAST);
}
static dpt_tensor *reorder_blocked(sample_build *b) {
    return reorder_by(b, any(b, DIMS(B, 16, 3)), DPT_LAYOUT_BLOCKED_8);
}
static dpt_tensor *reorder_last_same(sample_build *b) { return dpt_copy_at(DPT_HERE, any(b, DIMS(B, 3, 2, 5))); }
static dpt_tensor *reorder_blocked_same(sample_build *b) { return dpt_copy_at(DPT_HERE, any(b, DIMS(B, 16, 3))); }
static dpt_tensor *copy(sample_build *b) { return dpt_copy_at(DPT_HERE, any(b, DIMS(B, 2, 3))); }

static const op_sample rows_of_table[] = {
    BROADCAST_ROWS(ADD, add),
    BROADCAST_ROWS(SUB, sub),
    BROADCAST_ROWS(MUL, mul),
    BROADCAST_ROWS(DIV, div),
    CLOSED(SCALE, "scale", scale),
    CLOSED(OFFSET, "offset", offset),
    CLOSED(SQRT, "sqrt", root),
    {DPT_OP_CAST, "cast float", cast_float, NULL, SAMPLE_LOW_PRECISION},
    CLOSED(CAST, "cast u8", cast_u8),
    CLOSED(CAST, "cast i32", cast_i32),
    CLOSED(CAST, "cast i64", cast_i64),
    CLOSED(RELU, "relu", relu),
    CLOSED(RELU_GRAD, "relu_grad", relu_grad),
    CLOSED(RELU, "leaky relu", leaky_relu),
    CLOSED(RELU, "leaky layer", leaky_layer),
    CLOSED(TANH, "tanh", tanh_),
    CLOSED(GELU, "gelu", gelu),
    CLOSED(GELU, "gelu, order 2", gelu_2),
    CLOSED(GELU, "gelu, order 5", gelu_5),
    CLOSED(SUM, "sum of all", sum_all),
    CLOSED(SUM, "sum over the batch", sum_batch),
    CLOSED(SUM, "sum, last, kept", sum_last),
    CLOSED(SUM, "sum, middle", sum_middle),
    CLOSED(SUM, "sum, both ends", sum_ends),
    CLOSED(SUM, "sum, no batch", sum_fixed),
    CLOSED_AS(SUM, "mean over the batch", mean_batch, mean_batch_same),
    CLOSED_AS(SUM, "mean of a row", mean_last, mean_last_same),
    CLOSED(BROADCAST, "broadcast row", broadcast_row),
    CLOSED(BROADCAST, "broadcast column", broadcast_column),
    CLOSED(BROADCAST, "broadcast strided", broadcast_strided),
    CLOSED(BROADCAST, "broadcast scalar", broadcast_scalar),
    CLOSED_AS(ROWS, "rows", rows, rows_same),
    CLOSED(RESHAPE, "reshape", reshape),
    CLOSED(RESHAPE, "flatten", flatten),
    CLOSED(COPY, "copy", copy),
    CLOSED_AS(REORDER, "reorder, channels-last", reorder_last, reorder_last_same),
    CLOSED_AS(REORDER, "reorder, blocked", reorder_blocked, reorder_blocked_same),
};
SAMPLE_FAMILY(math)
