/* norm.c: batch normalisation (Ioffe and Szegedy 2015) as moments -> apply, so that the exchange between ranks of the
 * synchronised form has a place: between the two.
 *
 * Forward: bn_moments gives f64 [2C+1] = (sums, sums of squares, count of elements per channel) over this rank's valid
 * rows; bn_apply normalises with them; bn_running moves the running statistics. Backward: bn_grad_sums gives f64 [2C] =
 * (sum g, sum g*xhat); bn_grad_apply makes dx from them and the moments, the way through the moments included;
 * bn_param_grad makes this rank's share of dweight and dbias. Moments and sums are DPT_IS_LOCAL: the distribute pass
 * sums them over ranks where attr.norm.sync is set. The CPU kernels stand in norm_cpu.c.
 *
 * Fused forms, made by the fuse pass (program/pass_fuse_norm.c): apply and infer with a residual that is added (adds)
 * and ReLU (relu); bn_grad_sums and bn_grad_apply with the gradient of that ReLU, whose mask they find again from x, so
 * that no masked gradient is stored; bn_mask_sums, which masks by y, adds up two gradients (adds), stores the result,
 * because a residual needs it too, and sums it, all in one pass. */
#include "base/memory.h"
#include "ops/declare.h"
#include "ops/internal.h"

/* ---- building ---- */

static dpt_tensor *new_param(DPT_PLACE_ARGS, const dpt_tensor *x, const char *name, const char *part,
                             dpt_init_kind kind) {
    char *full = dpt_format("%s.%s", name, part);
    if (full == NULL) return dpt_graph_fail(x->graph, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    dpt_tensor *t = dpt_param_at(file, line, x->graph, full, DPT_F32, 1, &x->dim[1], (dpt_init){.kind = kind});
    dpt_free(full);
    return t;
}

static dpt_tensor *new_state(DPT_PLACE_ARGS, dpt_graph *g, const char *name, const char *part, dpt_dtype dtype,
                             int64_t count, bool sync, double initial) {
    char *full = dpt_format("%s.%s", name, part);
    if (full == NULL) return dpt_graph_fail(g, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    dpt_state_kind kind = sync ? DPT_STATE_REPLICATED : DPT_STATE_LOCAL;
    dpt_tensor *t = dpt_state_at(file, line, g, full, dtype, 1, &count, kind, initial);
    dpt_free(full);
    return t;
}

/* The running statistics after this step; on ranks of their own they are merged for evaluation (merge_group). */
static void move_running(DPT_PLACE_ARGS, dpt_graph *g, const dpt_attr *attr, dpt_tensor *moments,
                         dpt_tensor *const running[3]) {
    dpt_tensor *in[] = {moments, running[0], running[1], running[2]};
    dpt_node *node = dpt_node_add(g, file, line, DPT_OP_BN_RUNNING, NULL, attr, 4, in);
    if (node == NULL) return;
    for (int role = 0; role < 3; role++) {
        dpt_assign_at(file, line, running[role], &node->out[role]);
        if (attr->norm.sync) continue;
        dpt_state_info *info = &g->state[running[role]->node->slot];
        info->merge_group = (int)g->n_merge_group;
        info->merge_role = role;
    }
    if (!attr->norm.sync) g->n_merge_group++;
}

dpt_tensor *dpt_batch_norm_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_batch_norm_options options, const char *name) {
    dpt_graph *g = x->graph;
    if (dpt_is_poison(x)) return x;
    if (name == NULL || name[0] == 0) return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "batch_norm: a name is needed");
    if (x->dtype == DPT_F64) return dpt_batch_norm_closed_at(file, line, x, options, name);
    if (dpt_wide_dtype(x->dtype) != DPT_F32 || x->ndim < 2 || !dpt_has_batch(x))
        return dpt_graph_fail(g, file, line, DPT_ERR_SHAPE,
                              "batch_norm \"%s\": x is %s %s, not floats [B, channels, ...]", name,
                              dpt_dtype_text(x->dtype), dpt_shape_text(x));
    dpt_attr attr = {0};
    attr.norm.eps = options.eps == 0 ? 1e-5 : options.eps;
    attr.norm.momentum = options.momentum == 0 ? 0.1 : options.momentum;
    attr.norm.sync = options.sync != 0;
    attr.norm.channels = x->dim[1];
    if (!(attr.norm.eps > 0 && attr.norm.momentum > 0 && attr.norm.momentum <= 1))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG,
                              "batch_norm \"%s\": eps is %g (must be positive), momentum %g (in (0, 1])", name,
                              options.eps, options.momentum);
    dpt_tensor *weight = new_param(file, line, x, name, "weight", DPT_INIT_ONES);
    dpt_tensor *bias = new_param(file, line, x, name, "bias", DPT_INIT_ZEROS);
    dpt_tensor *running[3] = {
        new_state(file, line, g, name, "running_mean", DPT_F32, x->dim[1], attr.norm.sync, 0),
        new_state(file, line, g, name, "running_var", DPT_F32, x->dim[1], attr.norm.sync, 1),
        new_state(file, line, g, name, "running_weight", DPT_F64, 1, attr.norm.sync, 0),
    };
    dpt_tensor *moments = dpt_apply(file, line, DPT_OP_BN_MOMENTS, NULL, &attr, 1, &x);
    dpt_tensor *in[] = {x, moments, weight, bias, running[0], running[1]};
    dpt_tensor *y = dpt_apply(file, line, DPT_OP_BN_APPLY, name, &attr, 6, in);
    if (!dpt_is_poison(y)) move_running(file, line, g, &attr, moments, running);
    return y;
}

static void apply_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0] && !want[2] && !want[3]) return;
    dpt_tensor *x = node->in[0], *moments = node->in[1], *weight = node->in[2], *g = gout[0];
    dpt_tensor *sums =
        dpt_apply(DPT_AT(node), DPT_OP_BN_GRAD_SUMS, NULL, &node->attr, 3, (dpt_tensor *[]){g, x, moments});
    if (want[0])
        gin[0] = dpt_apply(DPT_AT(node), DPT_OP_BN_GRAD_APPLY, NULL, &node->attr, 5,
                           (dpt_tensor *[]){g, x, moments, sums, weight});
    if (!want[2] && !want[3]) return;
    dpt_node *params = dpt_node_add(x->graph, DPT_AT(node), DPT_OP_BN_PARAM_GRAD, NULL, &node->attr, 1, &sums);
    if (params == NULL) return;
    if (want[2]) gin[2] = &params->out[0];
    if (want[3]) gin[3] = &params->out[1];
}

static dpt_tensor *apply_infer(const dpt_node *node, dpt_tensor *const *in) {
    dpt_tensor *with[] = {in[0], in[4], in[5], in[2], in[3]};
    return dpt_apply(DPT_AT(node), DPT_OP_BN_INFER, node->name, &node->attr, 5, with);
}

/* ---- shapes ---- */

static dpt_status expect_vector(const dpt_node *node, int i, dpt_dtype dtype, int64_t count) {
    const dpt_tensor *t = node->in[i];
    if (t->dtype == dtype && t->ndim == 1 && t->dim[0] == count) return DPT_OK;
    return dpt_shape_error(node, "operand %d is %s %s, not %s [%lld]", i, dpt_dtype_text(t->dtype), dpt_shape_text(t),
                           dpt_dtype_text(dtype), (long long)count);
}

static dpt_status expect_planes(const dpt_node *node, int i) {
    const dpt_tensor *t = node->in[i];
    bool fits = dpt_wide_dtype(t->dtype) == DPT_F32 && t->dtype == node->in[0]->dtype && t->ndim >= 2 &&
                dpt_has_batch(t) && t->dim[1] == node->attr.norm.channels;
    if (fits && dpt_same_shape(t, node->in[0])) return DPT_OK;
    return dpt_shape_error(node, "operand %d is %s %s, not f32 [B,%lld,...]", i, dpt_dtype_text(t->dtype),
                           dpt_shape_text(t), (long long)node->attr.norm.channels);
}

static dpt_status moments_shape(dpt_node *node) {
    DPT_TRY(expect_planes(node, 0));
    dpt_set_out(node, 0, DPT_F64, 1, (int64_t[]){2 * node->attr.norm.channels + 1});
    return DPT_OK;
}

static dpt_status apply_shape(dpt_node *node) {
    int64_t channels = node->attr.norm.channels;
    DPT_TRY(expect_planes(node, 0));
    DPT_TRY(expect_vector(node, 1, DPT_F64, 2 * channels + 1));
    for (int i = 2; i < 6; i++) DPT_TRY(expect_vector(node, i, DPT_F32, channels));
    if (node->attr.norm.adds) DPT_TRY(expect_planes(node, 6));
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

static dpt_status infer_shape(dpt_node *node) {
    DPT_TRY(expect_planes(node, 0));
    for (int i = 1; i < 5; i++) DPT_TRY(expect_vector(node, i, DPT_F32, node->attr.norm.channels));
    if (node->attr.norm.adds) DPT_TRY(expect_planes(node, 5));
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

/* Of the forms with ReLU: weight (unless it is there already) and bias, from which the forward value comes. */
static dpt_status expect_forward(const dpt_node *node, int first) {
    for (int i = first; node->attr.norm.relu && i < 6 - (first == 3); i++)
        DPT_TRY(expect_vector(node, i, DPT_F32, node->attr.norm.channels));
    return DPT_OK;
}

static dpt_status grad_sums_shape(dpt_node *node) {
    int64_t channels = node->attr.norm.channels;
    for (int i = 0; i < 2; i++) DPT_TRY(expect_planes(node, i));
    DPT_TRY(expect_vector(node, 2, DPT_F64, 2 * channels + 1));
    DPT_TRY(expect_forward(node, 3));
    dpt_set_out(node, 0, DPT_F64, 1, (int64_t[]){2 * channels});
    return DPT_OK;
}

static dpt_status grad_apply_shape(dpt_node *node) {
    int64_t channels = node->attr.norm.channels;
    for (int i = 0; i < 2; i++) DPT_TRY(expect_planes(node, i));
    DPT_TRY(expect_vector(node, 2, DPT_F64, 2 * channels + 1));
    DPT_TRY(expect_vector(node, 3, DPT_F64, 2 * channels));
    DPT_TRY(expect_vector(node, 4, DPT_F32, channels));
    DPT_TRY(expect_forward(node, 5));
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

/* g, y, x, moments, second gradient (adds); gives the masked gradient and its sums. */
static dpt_status mask_sums_shape(dpt_node *node) {
    int64_t channels = node->attr.norm.channels;
    for (int i = 0; i < 3; i++) DPT_TRY(expect_planes(node, i));
    DPT_TRY(expect_vector(node, 3, DPT_F64, 2 * channels + 1));
    if (node->attr.norm.adds) DPT_TRY(expect_planes(node, 4));
    dpt_set_out_like(node, 0, node->in[0]);
    dpt_set_out(node, 1, DPT_F64, 1, (int64_t[]){2 * channels});
    return DPT_OK;
}

static dpt_status param_grad_shape(dpt_node *node) {
    int64_t channels = node->attr.norm.channels;
    DPT_TRY(expect_vector(node, 0, DPT_F64, 2 * channels));
    for (int i = 0; i < 2; i++) dpt_set_out(node, i, DPT_F32, 1, &channels);
    return DPT_OK;
}

static dpt_status running_shape(dpt_node *node) {
    int64_t channels = node->attr.norm.channels;
    DPT_TRY(expect_vector(node, 0, DPT_F64, 2 * channels + 1));
    for (int i = 1; i < 3; i++) DPT_TRY(expect_vector(node, i, DPT_F32, channels));
    DPT_TRY(expect_vector(node, 3, DPT_F64, 1));
    for (int i = 0; i < 3; i++) dpt_set_out_like(node, i, node->in[i + 1]);
    return DPT_OK;
}

/* ---- tables ---- */

static double flop_3(const dpt_call *call) { return 3 * (double)call->in[0].count; }
static double flop_5(const dpt_call *call) { return 5 * (double)call->in[0].count; }

const dpt_op dpt_op_bn_moments = {.name = "bn_moments",
                                  .flags = DPT_IS_TERMINAL | DPT_IS_LOCAL,
                                  .rule = DPT_MIXES,
                                  .precision = DPT_AS_IT_COMES,
                                  .n_out = 1,
                                  .shape = moments_shape,
                                  .flop = flop_3};
const dpt_op dpt_op_bn_apply = {.name = "bn_apply",
                                .flags = DPT_IS_INPLACE,
                                .rule = DPT_MIXES,
                                .precision = DPT_AS_IT_COMES,
                                .n_out = 1,
                                .shape = apply_shape,
                                .gradient = apply_gradient,
                                .flop = flop_3,
                                .infer = apply_infer};
const dpt_op dpt_op_bn_grad_sums = {.name = "bn_grad_sums",
                                    .flags = DPT_IS_TERMINAL | DPT_IS_LOCAL,
                                    .rule = DPT_MIXES,
                                    .precision = DPT_LIKE_SECOND,
                                    .n_out = 1,
                                    .shape = grad_sums_shape,
                                    .flop = flop_5};
const dpt_op dpt_op_bn_mask_sums = {.name = "bn_mask_sums",
                                    .flags = DPT_IS_TERMINAL | DPT_IS_INPLACE,
                                    .rule = DPT_MIXES,
                                    .precision = DPT_LIKE_SECOND,
                                    .n_out = 2,
                                    .shape = mask_sums_shape,
                                    .flop = flop_5};
const dpt_op dpt_op_bn_grad_apply = {.name = "bn_grad_apply",
                                     .flags = DPT_IS_TERMINAL | DPT_IS_INPLACE,
                                     .rule = DPT_MIXES,
                                     .precision = DPT_LIKE_SECOND,
                                     .n_out = 1,
                                     .shape = grad_apply_shape,
                                     .flop = flop_5};
const dpt_op dpt_op_bn_param_grad = {
    .name = "bn_param_grad", .flags = DPT_IS_TERMINAL | DPT_IS_PARTIAL, .n_out = 2, .shape = param_grad_shape};
const dpt_op dpt_op_bn_running = {.name = "bn_running", .flags = DPT_IS_TERMINAL, .n_out = 3, .shape = running_shape};
const dpt_op dpt_op_bn_infer = {.name = "bn_infer",
                                .flags = DPT_IS_TERMINAL | DPT_IS_INPLACE,
                                .precision = DPT_AS_IT_COMES,
                                .n_out = 1,
                                .shape = infer_shape,
                                .flop = flop_3};
