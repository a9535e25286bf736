/* norm_closed.c: batch norm of f64 values, written in closed operations, so that it can be differentiated as often as
 * wanted:
 *
 *   mean, var over the samples of all ranks; y = (x - mean) / sqrt(var + eps) * weight + bias
 *
 * The result passes through a view, bn_train, whose inference form is the same with the running statistics. A mean over
 * the batch means the global batch, so moments of a rank's own samples cannot be written this way: with several ranks
 * the layer must be synchronised. */
#include "base/memory.h"
#include "dptrain/context.h"
#include "ops/declare.h"
#include "ops/internal.h"

typedef struct closed_norm {
    const char *file;
    int line;
    dpt_graph *g;
    const char *name;
    int64_t channels;
} closed_norm;

#define AT(n) (n)->file, (n)->line

static dpt_tensor *param(const closed_norm *n, const char *part, dpt_init_kind kind) {
    char *full = dpt_format("%s.%s", n->name, part);
    if (full == NULL) return dpt_graph_fail(n->g, AT(n), DPT_ERR_MEMORY, "%s", dpt_last_error());
    const dpt_init init = {.kind = kind};
    dpt_tensor *t = dpt_param_at(AT(n), n->g, full, DPT_F64, 1, &n->channels, init);
    dpt_free(full);
    return t;
}

static dpt_tensor *state(const closed_norm *n, const char *part, int64_t count, double initial) {
    char *full = dpt_format("%s.%s", n->name, part);
    if (full == NULL) return dpt_graph_fail(n->g, AT(n), DPT_ERR_MEMORY, "%s", dpt_last_error());
    dpt_tensor *t = dpt_state_at(AT(n), n->g, full, DPT_F64, 1, &count, DPT_STATE_REPLICATED, initial);
    dpt_free(full);
    return t;
}

/* [C] as it broadcasts against x. */
static dpt_tensor *by_channel(DPT_PLACE_ARGS, dpt_tensor *v, const dpt_tensor *x) {
    int64_t dim[DPT_MAX_NDIM] = {x->dim[1]};
    for (int i = 1; i < x->ndim - 1; i++) dim[i] = 1;
    return x->ndim == 2 || dpt_is_poison(v) ? v : dpt_reshape_at(file, line, v, x->ndim - 1, dim);
}

/* (x - mean) / sqrt(var + eps) * weight + bias, all of them by channel */
static dpt_tensor *normalise(DPT_PLACE_ARGS, dpt_tensor *x, dpt_tensor *const by[4], double eps) {
    dpt_tensor *c[4];
    for (int i = 0; i < 4; i++) c[i] = by_channel(file, line, by[i], x);
    dpt_tensor *deviation = dpt_sqrt_at(file, line, dpt_offset_at(file, line, c[1], eps));
    dpt_tensor *hat = dpt_div_at(file, line, dpt_sub_at(file, line, x, c[0]), deviation);
    return dpt_add_at(file, line, dpt_mul_at(file, line, hat, c[2]), c[3]);
}

/* state += share (value - state) */
static void move_towards(const closed_norm *n, dpt_tensor *s, dpt_tensor *value, dpt_tensor *share) {
    dpt_tensor *step = dpt_mul_at(AT(n), dpt_sub_at(AT(n), value, s), share);
    dpt_assign_at(AT(n), s, dpt_add_at(AT(n), s, step));
}

/* With the unbiased variance; one element has none and leaves it. */
static void move_running(const closed_norm *n, dpt_tensor *const running[3], dpt_tensor *mean, dpt_tensor *var,
                         dpt_tensor *count, double momentum) {
    dpt_tensor *less = dpt_offset_at(AT(n), count, -1);
    dpt_tensor *part = dpt_loss_scale_at(AT(n), less, 1, DPT_F64); /* 1 / (count - 1), 0 where count is 1 */
    dpt_tensor *unbiased = dpt_mul_at(AT(n), var, dpt_mul_at(AT(n), count, part));
    dpt_tensor *any = dpt_mul_at(AT(n), count, dpt_loss_scale_at(AT(n), count, 1, DPT_F64));
    move_towards(n, running[0], mean, dpt_scale_at(AT(n), any, momentum));
    move_towards(n, running[1], unbiased, dpt_scale_at(AT(n), dpt_mul_at(AT(n), less, part), momentum));
    dpt_assign_at(AT(n), running[2], dpt_add_at(AT(n), running[2], count));
}

dpt_tensor *dpt_batch_norm_closed_at(DPT_PLACE_ARGS, dpt_tensor *x, dpt_batch_norm_options options, const char *name) {
    dpt_graph *g = x->graph;
    const dpt_attr attr = {.norm = {.eps = options.eps == 0 ? 1e-5 : options.eps,
                                    .momentum = options.momentum == 0 ? 0.1 : options.momentum}};
    bool fits = x->dtype == DPT_F64 && x->ndim >= 2 && dpt_has_batch(x);
    for (int i = 1; fits && i < x->ndim; i++) fits = x->dim[i] > 0;
    if (!fits)
        return dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "batch_norm \"%s\": x is %s %s, not f64 [B, channels, ...]",
                              name, dpt_dtype_text(x->dtype), dpt_shape_text(x));
    if (!(attr.norm.eps > 0 && attr.norm.momentum > 0 && attr.norm.momentum <= 1))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG,
                              "batch_norm \"%s\": eps is %g (must be positive), momentum %g (in (0, 1])", name,
                              options.eps, options.momentum);
    if (!options.sync && g->ctx != NULL && dpt_context_world(g->ctx) > 1)
        return dpt_graph_fail(g, file, line, DPT_ERR_UNSUPPORTED,
                              "batch_norm \"%s\": f64 moments are those of all %d ranks: set sync, or use f32", name,
                              dpt_context_world(g->ctx));
    const closed_norm n = {file, line, g, name, x->dim[1]};
    dpt_tensor *weight = param(&n, "weight", DPT_INIT_ONES), *bias = param(&n, "bias", DPT_INIT_ZEROS);
    dpt_tensor *running[3] = {state(&n, "running_mean", n.channels, 0), state(&n, "running_var", n.channels, 1),
                              state(&n, "running_weight", 1, 0)};
    const uint32_t axes = ((1U << x->ndim) - 1U) & ~2U;
    dpt_tensor *mean = dpt_mean_at(file, line, x, axes, 0);
    dpt_tensor *d = dpt_sub_at(file, line, x, by_channel(file, line, mean, x));
    dpt_tensor *var = dpt_mean_at(file, line, dpt_mul_at(file, line, d, d), axes, 0);
    dpt_tensor *y = normalise(file, line, x, (dpt_tensor *[]){mean, var, weight, bias}, attr.norm.eps);
    if (dpt_is_poison(y)) return y;
    dpt_tensor *count = dpt_rows_at(file, line, g, x->dim[0], dpt_row_count(x) / n.channels, DPT_F64);
    move_running(&n, running, mean, var, count, attr.norm.momentum);
    return dpt_apply(file, line, DPT_OP_BN_TRAIN, name, &attr, 6,
                     (dpt_tensor *[]){y, x, running[0], running[1], weight, bias});
}

/* ---- bn_train: (y, x, running mean, running variance, weight, bias) -> y ---- */

static dpt_status train_shape(dpt_node *node) {
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

static void train_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    (void)node;
    if (want[0]) gin[0] = gout[0];
}

static dpt_tensor *train_infer(const dpt_node *node, dpt_tensor *const *in) {
    return normalise(DPT_AT(node), in[1], in + 2, node->attr.norm.eps);
}

const dpt_op dpt_op_bn_train = {.name = "bn_train",
                                .flags = DPT_IS_VIEW,
                                .rule = DPT_ROWWISE,
                                .n_out = 1,
                                .shape = train_shape,
                                .gradient = train_gradient,
                                .infer = train_infer};
