/* Samples of layer, RMS and group norm and of embedding: see op_samples.h. Parameters of a layer cannot be
 * differentiated by here, so weight and bias are inputs. */
#include "samples/samples.h"

static dpt_tensor *norm_with(dpt_tensor *x, dpt_tensor *weight, dpt_tensor *bias, int dims, int64_t groups,
                             bool centre) {
    dpt_attr attr = {.row_norm = {.eps = 0.1, .dims = dims, .groups = groups, .centre = centre}};
    attr.row_norm.scale = weight != NULL;
    attr.row_norm.shift = bias != NULL;
    dpt_node *n = dpt_node_add(x->graph, DPT_HERE, DPT_OP_ROW_NORM, NULL, &attr, 1 + (weight != NULL) + (bias != NULL),
                               (dpt_tensor *[]){x, weight, bias});
    return n ? &n->out[0] : &x->graph->poison;
}

/* The formula, over the last dimension of x [B, groups, n]; by channel [groups n / positions] of `positions` each. */
static dpt_tensor *formula(dpt_tensor *x, bool centre) {
    dpt_tensor *d = centre ? dpt_sub(x, dpt_mean(x, 4, 1)) : x;
    return dpt_div(d, dpt_sqrt(dpt_offset(dpt_mean(dpt_mul(d, d), 4, 1), 0.1)));
}

static dpt_tensor *layer_norm(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 3, 7)), *w = wide(b, DIMS(3, 7)), *bias = wide(b, DIMS(3, 7));
    return norm_with(x, w, bias, 2, 0, true);
}
static dpt_tensor *layer_norm_same(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 3, 7)), *w = wide(b, DIMS(3, 7)), *bias = wide(b, DIMS(3, 7));
    dpt_tensor *hat = dpt_reshape(formula(dpt_reshape(x, DIMS(B, 2, 21)), true), DIMS(B, 2, 3, 7));
    return dpt_add(dpt_mul(hat, w), bias);
}
static dpt_tensor *rms_norm(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 40)), *w = wide(b, DIMS(40));
    return norm_with(x, w, NULL, 1, 0, false);
}
static dpt_tensor *rms_norm_same(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 40)), *w = wide(b, DIMS(40));
    return dpt_mul(formula(x, false), w);
}
/* mean and rstd are differentiated too: of third and higher derivatives they are part */
static dpt_tensor *fixed_rows(sample_build *b) {
    const dpt_tensor *y = norm_with(any(b, DIMS(5, 8)), NULL, NULL, 1, 0, true);
    dpt_tensor *out = y->node->out;
    return dpt_mul(dpt_cast(&out[0], dpt_wide_dtype(b->dtype)), dpt_add(&out[1], &out[2]));
}
/* A residual stream: both sums become part of the norms, forward and backward. */
static dpt_tensor *residual_norm(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 2, 9)), *r = any(b, DIMS(B, 2, 9)), *w = wide(b, DIMS(9));
    dpt_tensor *s = dpt_add(x, r), *next = dpt_add(s, dpt_scale(norm_with(s, w, NULL, 1, 0, true), 0.5));
    return dpt_add(norm_with(next, w, NULL, 1, 0, false), next);
}
static dpt_tensor *group_norm(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 6, 2, 3)), *w = wide(b, DIMS(6)), *bias = wide(b, DIMS(6));
    return norm_with(x, w, bias, 0, 2, true);
}
static dpt_tensor *group_norm_same(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 6, 2, 3)), *w = wide(b, DIMS(6)), *bias = wide(b, DIMS(6));
    dpt_tensor *hat = dpt_reshape(formula(dpt_reshape(x, DIMS(B, 2, 18)), true), DIMS(B, 6, 2, 3));
    return dpt_add(dpt_mul(hat, dpt_reshape(w, DIMS(6, 1, 1))), dpt_reshape(bias, DIMS(6, 1, 1)));
}
static dpt_tensor *group_norm_flat(sample_build *b) {
    dpt_tensor *x = any(b, DIMS(B, 8)), *w = wide(b, DIMS(8));
    return norm_with(x, w, NULL, 0, 2, true);
}

static dpt_tensor *embedding(sample_build *b) {
    dpt_tensor *id = sample_integer(b, DPT_U8, DIMS(B, 3), 5), *w = any(b, DIMS(5, 2));
    return dpt_embedding_with(id, w);
}

static const op_sample rows_of_table[] = {
    CLOSED_AS(ROW_NORM, "layer norm", layer_norm, layer_norm_same),
    CLOSED_AS(ROW_NORM, "RMS norm", rms_norm, rms_norm_same),
    CLOSED(ROW_NORM_GRAD, "norm of rows, no parameters", fixed_rows),
    CLOSED(ROW_NORM, "norm in a residual stream", residual_norm),
    CLOSED_AS(ROW_NORM_PARAMS, "group norm", group_norm, group_norm_same),
    CLOSED(ROW_NORM, "group norm, no positions", group_norm_flat),
    CLOSED(SCATTER_ADD, "embedding", embedding),
};
SAMPLE_FAMILY(norm)
