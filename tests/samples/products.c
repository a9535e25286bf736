/* Samples of products and linear layers: see op_samples.h. */
#include "samples/samples.h"

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

static const op_sample rows_of_table[] = {
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
};
SAMPLE_FAMILY(products)
