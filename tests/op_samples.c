/* op_samples.c: see op_samples.h. The table has at least one row for every op that computes; op_covers says for the
 * others which test has them, and does not compile until a new op has its line. */
#include "op_samples.h"

#include <stdio.h>

#include "base/random.h"
#include "ops/internal.h"

#define DIMS(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
#define B DPT_BATCH

/* ---- inputs ---- */

static sample_input *declare(sample_build *b, dpt_dtype dtype, int ndim, const int64_t *dim) {
    sample_input *in = &b->input[b->n_input];
    snprintf(in->name, sizeof in->name, "x%d", b->n_input++);
    in->tensor = dpt_input(b->g, in->name, dtype, ndim, dim);
    in->dtype = dtype;
    in->count = 1;
    for (int i = 0; i < ndim; i++) in->count *= dim[i] == DPT_BATCH ? SAMPLE_ROWS : dim[i];
    return in;
}

static int64_t word(const sample_input *in, int64_t i) {
    return dpt_philox(dpt_random_key(in->name, 7), (uint32_t)i, 0, 0, 0).v[0];
}

dpt_tensor *sample_float(sample_build *b, int ndim, const int64_t *dim, double lo, double hi) {
    sample_input *in = declare(b, b->dtype, ndim, dim);
    for (int64_t i = 0; i < in->count && i < SAMPLE_VALUES; i++) {
        /* f32 values, so that both types compute on the same numbers */
        const float v = (float)(lo + (hi - lo) * dpt_uniform_open_f64((uint32_t)word(in, i)));
        in->value[i] = (double)(v + (v < 0 ? -0.05F : 0.05F));
    }
    return in->tensor;
}

dpt_tensor *sample_integer(sample_build *b, dpt_dtype dtype, int ndim, const int64_t *dim, int64_t classes) {
    sample_input *in = declare(b, dtype, ndim, dim);
    for (int64_t i = 0; i < in->count && i < SAMPLE_VALUES; i++) in->value[i] = (double)(word(in, i) % classes);
    return in->tensor;
}

static dpt_tensor *any(sample_build *b, int ndim, const int64_t *dim) { return sample_float(b, ndim, dim, -1, 1); }
/* What a sum or a loss of 16-bit values is multiplied by: f32. */
static dpt_tensor *wide(sample_build *b, int ndim, const int64_t *dim) {
    const dpt_dtype dtype = b->dtype;
    b->dtype = dpt_wide_dtype(dtype);
    dpt_tensor *t = any(b, ndim, dim);
    b->dtype = dtype;
    return t;
}
static dpt_tensor *positive(sample_build *b, int ndim, const int64_t *dim) {
    return sample_float(b, ndim, dim, 0.5, 2);
}

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
    return dpt_relu_grad_at(DPT_HERE, g, dpt_relu(x));
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

/* ---- products ---- */

static dpt_tensor *matmul_nn(sample_build *b) { return dpt_matmul(any(b, DIMS(B, 3)), any(b, DIMS(3, 5)), 0, 0); }
static dpt_tensor *matmul_nt(sample_build *b) { return dpt_matmul(any(b, DIMS(B, 3)), any(b, DIMS(5, 3)), 0, 1); }
static dpt_tensor *matmul_tn(sample_build *b) { return dpt_matmul(any(b, DIMS(3, 2)), any(b, DIMS(3, 5)), 1, 0); }
static dpt_tensor *matmul_tt(sample_build *b) { return dpt_matmul(any(b, DIMS(3, 2)), any(b, DIMS(5, 3)), 1, 1); }
static dpt_tensor *matmul_over_batch(sample_build *b) {
    return dpt_matmul(any(b, DIMS(B, 3)), any(b, DIMS(B, 5)), 1, 0);
}
static dpt_tensor *linear_with(sample_build *b) {
    return dpt_linear_with(any(b, DIMS(B, 3)), any(b, DIMS(5, 3)), any(b, DIMS(5)));
}
static dpt_tensor *linear_with_deep(sample_build *b) {
    return dpt_linear_with(any(b, DIMS(B, 2, 3)), any(b, DIMS(5, 3)), NULL);
}

typedef struct linear_operands {
    dpt_tensor *x, *w, *bias;
} linear_operands;

static linear_operands linear_in(sample_build *b) {
    linear_operands in;
    in.x = any(b, DIMS(B, 3));
    in.w = any(b, DIMS(5, 3));
    in.bias = any(b, DIMS(5));
    return in;
}

static dpt_tensor *linear_act(sample_build *b, dpt_activation act) {
    const linear_operands in = linear_in(b);
    const dpt_attr attr = {.matmul = {.transpose_b = true, .act = act, .bias = true}};
    return dpt_apply(DPT_HERE, DPT_OP_LINEAR, NULL, &attr, 3, (dpt_tensor *[]){in.x, in.w, in.bias});
}
static dpt_tensor *linear_same(sample_build *b) {
    const linear_operands in = linear_in(b);
    return dpt_add(dpt_matmul(in.x, in.w, 0, 1), in.bias);
}
static dpt_tensor *linear_none(sample_build *b) { return linear_act(b, DPT_ACT_NONE); }
static dpt_tensor *linear_relu(sample_build *b) { return linear_act(b, DPT_ACT_RELU); }
static dpt_tensor *linear_gelu(sample_build *b) { return linear_act(b, DPT_ACT_GELU); }
static dpt_tensor *linear_tanh(sample_build *b) { return linear_act(b, DPT_ACT_TANH); }
static dpt_tensor *linear_relu_same(sample_build *b) { return dpt_relu(linear_same(b)); }
static dpt_tensor *linear_gelu_same(sample_build *b) { return dpt_gelu(linear_same(b)); }
static dpt_tensor *linear_tanh_same(sample_build *b) { return dpt_tanh(linear_same(b)); }

/* g [B,5] w [5,3] times the slope of the activation at y (gelu: at its argument) [B,3] */
static dpt_tensor *linear_dgrad_act(sample_build *b, dpt_activation act) {
    dpt_tensor *g = any(b, DIMS(B, 5)), *w = any(b, DIMS(5, 3)), *x = any(b, DIMS(B, 3));
    dpt_tensor *y = act == DPT_ACT_RELU ? dpt_relu(x) : act == DPT_ACT_TANH ? dpt_tanh(x) : x;
    return dpt_apply(DPT_HERE, DPT_OP_LINEAR_DGRAD, NULL, &(dpt_attr){.matmul = {.act = act}}, 3,
                     (dpt_tensor *[]){g, w, y});
}
static dpt_tensor *linear_dgrad_same(sample_build *b, dpt_activation act) {
    dpt_tensor *g = any(b, DIMS(B, 5)), *w = any(b, DIMS(5, 3)), *x = any(b, DIMS(B, 3));
    dpt_tensor *y = act == DPT_ACT_RELU ? dpt_relu(x) : act == DPT_ACT_TANH ? dpt_tanh(x) : dpt_gelu(x);
    return dpt_mul(dpt_matmul(g, w, 0, 0), dpt_gradient(y, x));
}
static dpt_tensor *linear_dgrad_relu(sample_build *b) { return linear_dgrad_act(b, DPT_ACT_RELU); }
static dpt_tensor *linear_dgrad_gelu(sample_build *b) { return linear_dgrad_act(b, DPT_ACT_GELU); }
static dpt_tensor *linear_dgrad_tanh(sample_build *b) { return linear_dgrad_act(b, DPT_ACT_TANH); }
static dpt_tensor *linear_dgrad_relu_same(sample_build *b) { return linear_dgrad_same(b, DPT_ACT_RELU); }
static dpt_tensor *linear_dgrad_gelu_same(sample_build *b) { return linear_dgrad_same(b, DPT_ACT_GELU); }
static dpt_tensor *linear_dgrad_tanh_same(sample_build *b) { return linear_dgrad_same(b, DPT_ACT_TANH); }

/* g [B,5], x [B,3]: g^T x [5,3] and the sum of g [5], added up so that both are seen. */
static dpt_tensor *linear_wgrad(sample_build *b) {
    dpt_tensor *in[] = {any(b, DIMS(B, 5)), any(b, DIMS(B, 3))};
    const dpt_attr attr = {.matmul = {.transpose_a = true, .bias = true}};
    dpt_node *node = dpt_node_add(b->g, DPT_HERE, DPT_OP_LINEAR_WGRAD, NULL, &attr, 2, in);
    if (node == NULL) return &b->g->poison;
    return dpt_add(&node->out[0], dpt_reshape_at(DPT_HERE, &node->out[1], DIMS(5, 1)));
}
static dpt_tensor *linear_wgrad_same(sample_build *b) {
    dpt_tensor *g = any(b, DIMS(B, 5)), *x = any(b, DIMS(B, 3));
    return dpt_add(dpt_matmul(g, x, 1, 0), dpt_reshape_at(DPT_HERE, dpt_sum(g, 1, 0), DIMS(5, 1)));
}

/* ---- convolution and pooling ---- */

static dpt_tensor *conv_plain(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 5, 4)), *w = any(b, DIMS(3, 2, 3, 3)), *bias = any(b, DIMS(3));
    return dpt_conv2d_with(x, w, bias, (dpt_conv_options){.pad = 1});
}
static dpt_tensor *conv_strided(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 4, 6, 5)), *w = any(b, DIMS(4, 2, 2, 2));
    const dpt_conv_options options = {.stride = 2, .pad = 1, .dilation = 2, .groups = 2};
    return dpt_conv2d_with(x, w, NULL, options);
}
static dpt_tensor *pool_plain(sample_build *b) { return dpt_max_pool2d(any(b, DIMS(B, 2, 4, 6)), 2, 0, 0); }
static dpt_tensor *pool_overlapping(sample_build *b) { return dpt_max_pool2d(any(b, DIMS(B, 2, 5, 5)), 3, 2, 1); }
/* a product, so that the gradient's gradient takes values from where the maxima stand */
static dpt_tensor *pool_square(sample_build *b) {
    dpt_tensor *y = dpt_max_pool2d(any(b, DIMS(B, 1, 4, 4)), 2, 2, 0);
    return dpt_mul(y, y);
}

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

#define CLOSED(ID, name, build) \
    { DPT_OP_##ID, name, build, NULL, 0 }
#define CLOSED_AS(ID, name, build, same) \
    { DPT_OP_##ID, name, build, same, 0 }
#define FUSED(ID, name, build, same) \
    { DPT_OP_##ID, name, build, same, SAMPLE_TERMINAL }

const op_sample op_samples[] = {
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
    CLOSED(MATMUL, "matmul", matmul_nn),
    CLOSED(MATMUL, "matmul, b transposed", matmul_nt),
    CLOSED(MATMUL, "matmul, a transposed", matmul_tn),
    CLOSED(MATMUL, "matmul, both transposed", matmul_tt),
    CLOSED(MATMUL, "matmul over the batch", matmul_over_batch),
    CLOSED(MATMUL, "linear_with", linear_with),
    CLOSED(MATMUL, "linear_with, 3 dimensions", linear_with_deep),
    FUSED(LINEAR, "linear", linear_none, linear_same),
    FUSED(LINEAR, "linear relu", linear_relu, linear_relu_same),
    FUSED(LINEAR, "linear gelu", linear_gelu, linear_gelu_same),
    FUSED(LINEAR, "linear tanh", linear_tanh, linear_tanh_same),
    FUSED(LINEAR_DGRAD, "linear_dgrad relu", linear_dgrad_relu, linear_dgrad_relu_same),
    FUSED(LINEAR_DGRAD, "linear_dgrad gelu", linear_dgrad_gelu, linear_dgrad_gelu_same),
    FUSED(LINEAR_DGRAD, "linear_dgrad tanh", linear_dgrad_tanh, linear_dgrad_tanh_same),
    FUSED(LINEAR_WGRAD, "linear_wgrad", linear_wgrad, linear_wgrad_same),
    CLOSED(CONV, "conv2d", conv_plain),
    CLOSED(CONV_DGRAD, "conv2d, strided, dilated, grouped", conv_strided),
    CLOSED(CONV_WGRAD, "conv2d, strided, dilated, grouped", conv_strided),
    CLOSED(MAX_POOL, "max_pool2d", pool_plain),
    CLOSED(POOL_SCATTER, "max_pool2d, overlapping", pool_overlapping),
    CLOSED(POOL_GATHER, "max_pool2d, squared", pool_square),
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
const int op_sample_count = (int)(sizeof op_samples / sizeof *op_samples);

/* ---- coverage ---- */

#define BY_SAMPLES(ID) \
    { DPT_OP_##ID, NULL }
#define BY(ID, test) \
    { DPT_OP_##ID, test }

static const op_cover covers[] = {
    BY(INPUT, "all samples"),
    BY(PARAM, "test_golden"),
    BY(CONSTANT, "all samples: where a gradient starts"),
    BY(STATE, "test_norm"),
    BY_SAMPLES(ADD),
    BY_SAMPLES(SUB),
    BY_SAMPLES(MUL),
    BY_SAMPLES(DIV),
    BY_SAMPLES(SCALE),
    BY_SAMPLES(OFFSET),
    BY_SAMPLES(SQRT),
    BY_SAMPLES(CAST),
    BY_SAMPLES(RELU),
    BY_SAMPLES(RELU_GRAD),
    BY_SAMPLES(TANH),
    BY_SAMPLES(GELU),
    BY_SAMPLES(SUM),
    BY_SAMPLES(BROADCAST),
    BY_SAMPLES(ROWS),
    BY_SAMPLES(RESHAPE),
    BY_SAMPLES(COPY),
    BY_SAMPLES(REORDER),
    BY_SAMPLES(MATMUL),
    BY_SAMPLES(LINEAR),
    BY_SAMPLES(LINEAR_DGRAD),
    BY_SAMPLES(LINEAR_WGRAD),
    BY_SAMPLES(CONV),
    BY_SAMPLES(CONV_DGRAD),
    BY_SAMPLES(CONV_WGRAD),
    BY_SAMPLES(MAX_POOL),
    BY_SAMPLES(POOL_SCATTER),
    BY_SAMPLES(POOL_GATHER),
    BY(BN_MOMENTS, "test_norm, test_golden"),
    BY(BN_APPLY, "test_norm, test_golden"),
    BY(BN_GRAD_SUMS, "test_norm, test_golden"),
    BY(BN_GRAD_APPLY, "test_norm, test_golden"),
    BY(BN_PARAM_GRAD, "test_norm, test_golden"),
    BY(BN_RUNNING, "test_norm, test_golden"),
    BY(BN_INFER, "test_norm, test_golden"),
    BY(DROPOUT, "test_op_kernels"),
    BY_SAMPLES(SOFTMAX),
    BY_SAMPLES(ONE_HOT),
    BY_SAMPLES(CROSS_ENTROPY),
    BY_SAMPLES(CROSS_ENTROPY_GRAD),
    BY_SAMPLES(ACCURACY),
    BY_SAMPLES(MSE),
    BY_SAMPLES(LOSS_SCALE),
    BY(GRAD_STORE, "test_update"),
    BY(GRAD_READ, "test_golden"),
    BY(SQUARE_NORM, "test_update"),
    BY(GUARD, "test_update"),
    BY(SGD, "test_update, test_golden"),
    BY(ADAMW, "test_update, test_golden"),
    BY(ASSIGN, "test_update"),
    BY(STATE_RESTORE, "test_update"),
    BY(SCALE_UPDATE, "test_precision"),
    BY(ALL_REDUCE, "test_program"),
    BY(ALL_REDUCE_GRAD, "test_program"),
    BY(ROOT_ONLY, "test_program"),
    BY(SUM_START, "test_program"),
    BY(SUM_WAIT, "test_program"),
    BY(BUCKET_START, "test_program"),
    BY(BUCKET_WAIT, "test_program"),
    BY(SCATTER_START, "test_zero"),
    BY(SCATTER_WAIT, "test_zero"),
    BY(GATHER_START, "test_zero"),
    BY(GATHER_WAIT, "test_zero"),
};
_Static_assert(sizeof covers / sizeof *covers == DPT_OP_COUNT, "an op has no line in covers, and so no test");
const op_cover *const op_covers = covers;
