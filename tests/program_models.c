/* program_models.c: see program_models.h. */
#include "program_models.h"

#include "base/memory.h"
#include "graph/init.h"
#include "ops/internal.h"
#include "trainer_pair.h"

static const int64_t rows_8[] = {DPT_BATCH, 8}, rows_1[] = {DPT_BATCH, 1}, rows_4[] = {DPT_BATCH, 4};
static const int64_t rows[] = {DPT_BATCH}, pixels[] = {DPT_BATCH, 2, 8, 8};

/* All activations, and cross-entropy. */
static void build_mlp(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8), *t = dpt_input(g, "class", DPT_U8, 1, rows);
    dpt_tensor *h = dpt_gelu(dpt_linear(dpt_relu(dpt_linear(x, 16, "fc1")), 12, "fc2"));
    dpt_tensor *y = dpt_linear(dpt_tanh(dpt_linear(h, 10, "fc3")), 4, "fc4");
    dpt_output(g, "accuracy", dpt_accuracy(y, t));
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_cross_entropy(y, t), 1, NULL);
}

static void build_cnn(dpt_graph *g) {
    const dpt_conv_options same = {.pad = 1};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, pixels), *t = dpt_input(g, "class", DPT_I64, 1, rows);
    dpt_tensor *h = dpt_max_pool2d(dpt_relu(dpt_conv2d(x, 4, 3, 1, same, "conv1")), 2, 0, 0);
    h = dpt_relu(dpt_conv2d(h, 6, 3, 1, same, "conv2"));
    dpt_tensor *y = dpt_linear(dpt_flatten(h), 4, "fc");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_cross_entropy(y, t), 1, NULL);
}

/* Wide enough for layouts of their own: a residual block with batch norm between convolutions, pooling, dropout. */
static void build_blocks(dpt_graph *g) {
    const dpt_conv_options same = {.pad = 1};
    const dpt_batch_norm_options norm = {0};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, pixels), *t = dpt_input(g, "class", DPT_I64, 1, rows);
    dpt_tensor *h = dpt_relu(dpt_conv2d(x, 16, 3, 1, same, "conv1"));
    dpt_tensor *r = dpt_relu(dpt_batch_norm(dpt_conv2d(h, 16, 3, 0, same, "conv2"), norm, "bn2"));
    h = dpt_relu(dpt_add(dpt_batch_norm(dpt_conv2d(r, 16, 3, 0, same, "conv3"), norm, "bn3"), h));
    h = dpt_dropout(dpt_max_pool2d(h, 2, 2, 0), 0.25, "drop");
    h = dpt_max_pool2d(dpt_relu(dpt_conv2d(h, 32, 3, 1, same, "conv4")), 4, 4, 0);
    dpt_tensor *y = dpt_linear(dpt_flatten(h), 4, "fc");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_cross_entropy(y, t), 1, NULL);
}

static dpt_tensor *conv_norm(dpt_tensor *x, int64_t out, int64_t stride, const char *conv, const char *norm) {
    return dpt_batch_norm(dpt_conv2d(x, out, 3, 0, ((dpt_conv_options){.pad = 1, .stride = stride}), conv),
                          ((dpt_batch_norm_options){0}), norm);
}

/* All that is fused around batch norm: ReLU alone; after a sum with what came in, which has a second use; after a sum
 * of two batch norms; a sum without ReLU; a value that is put out although it was masked. */
static void build_residual(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, pixels), *t = dpt_input(g, "class", DPT_I64, 1, rows);
    dpt_tensor *a = dpt_relu(conv_norm(x, 16, 1, "conv1", "bn1"));
    dpt_tensor *b = dpt_relu(conv_norm(a, 16, 1, "conv2", "bn2"));
    b = dpt_relu(dpt_add(conv_norm(b, 16, 1, "conv3", "bn3"), a));
    dpt_tensor *c = dpt_relu(dpt_add(conv_norm(b, 16, 2, "conv4", "bn4"), conv_norm(b, 16, 2, "conv5", "bn5")));
    dpt_tensor *d = dpt_add(c, conv_norm(c, 16, 1, "conv6", "bn6"));
    dpt_tensor *y = dpt_linear(dpt_mean(dpt_mul(d, d), 1u << 2 | 1u << 3, 0), 4, "fc");
    dpt_output(g, "c", c);
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_cross_entropy(y, t), 1, NULL);
}

/* Values that patterns need and that others need too: nothing may be lost. */
static void build_shared(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8);
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){8, 8}), ((dpt_init){DPT_INIT_NORMAL, 0, 0.3}));
    dpt_tensor *b = dpt_param(g, "b", DPT_F32, 1, ((int64_t[]){8}), ((dpt_init){DPT_INIT_NORMAL, 0, 0.3}));
    dpt_tensor *z = dpt_linear_with(x, w, b), *r = dpt_relu(z), *t = dpt_tanh(z), *e = dpt_gelu(z);
    dpt_tensor *p = dpt_matmul(r, w, 0, 1), *again = dpt_linear_with(dpt_add(t, e), w, b);
    dpt_tensor *no_slope =
        dpt_offset(dpt_scale(dpt_mul(t, e), -1), 1); /* as tanh's gradient looks, but of two values */
    dpt_output(g, "z", z);
    dpt_output(g, "p", p);
    dpt_loss_add(g, dpt_mul(dpt_add(p, again), dpt_add(dpt_tanh(dpt_add(p, b)), p)), 1, NULL);
    dpt_tensor *product = dpt_mul(dpt_matmul(r, w, 0, 0), no_slope);
    dpt_output(g, "product", product);
    dpt_loss_add(g, product, 0.2, NULL);
    dpt_loss_add(g, dpt_mean(dpt_sub(dpt_softmax(again), r), 2, 0), 0.3, NULL);
}

static void build_norm(dpt_graph *g, int sync) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8), *t = dpt_input(g, "t", DPT_F32, 2, rows_4);
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){6, 8}), ((dpt_init){DPT_INIT_NORMAL, 0, 0.5}));
    dpt_tensor *h = dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = sync}), "bn1");
    h = dpt_linear_with(dpt_tanh(h), w, NULL); /* a bias before bn2 would have no gradient */
    h = dpt_batch_norm(h, ((dpt_batch_norm_options){.sync = sync}), "bn2");
    dpt_loss_add(g, dpt_mse(dpt_linear(dpt_tanh(h), 4, "fc2"), t), 1, NULL);
}
static void build_norm_sync(dpt_graph *g) { build_norm(g, 1); }
static void build_norm_local(dpt_graph *g) { build_norm(g, 0); }

static void build_masked(dpt_graph *g) {
    const int64_t points = dpt_batch_axis(g, "points");
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8), *m = dpt_input(g, "mask1", DPT_F32, 1, rows);
    dpt_tensor *q = dpt_input(g, "q", DPT_F32, 2, ((int64_t[]){points, 8}));
    dpt_tensor *k = dpt_input(g, "mask2", DPT_F32, 2, ((int64_t[]){points, 4}));
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){4, 8}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *y = dpt_linear_with(x, w, NULL), *v = dpt_linear_with(q, w, NULL);
    dpt_loss_add(g, dpt_mean(dpt_mul(y, y), 2, 0), 1, m);
    dpt_loss_add(g, dpt_mul(v, v), 0.5, k);
    dpt_loss_add(g, dpt_mean(v, 2, 0), 0.1, NULL);
}

/* sqrt(sum e^2) / sqrt(sum t^2): two sums that the loss is not linear in. */
static void build_relative(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8), *t = dpt_input(g, "t", DPT_F32, 2, rows_4);
    dpt_tensor *e = dpt_sub(dpt_linear(x, 4, "fc"), t);
    dpt_loss_add(
        g,
        dpt_div(dpt_sqrt(dpt_sum(dpt_mul(e, e), DPT_ALL_AXES, 0)), dpt_sqrt(dpt_sum(dpt_mul(t, t), DPT_ALL_AXES, 0))),
        1, NULL);
}

/* Each row against the mean of all: a sum forward and one backward. Weight penalty: replicated beside partial. */
static void build_centred(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8);
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){4, 8}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *y = dpt_tanh(dpt_linear_with(x, w, NULL));
    y = dpt_sub(y, dpt_mean(y, 1, 1));
    dpt_loss_add(g, dpt_mul(y, y), 1, NULL);
    dpt_loss_add(g, dpt_sum(dpt_mul(w, w), DPT_ALL_AXES, 0), 0.1, NULL);
}

static void build_physics(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 2, rows_1);
    const dpt_init normal = {DPT_INIT_NORMAL, 0, 1};
    dpt_tensor *w = dpt_param(g, "w", DPT_F64, 2, ((int64_t[]){8, 1}), normal);
    dpt_tensor *b = dpt_param(g, "b", DPT_F64, 1, ((int64_t[]){8}), normal);
    dpt_tensor *v = dpt_param(g, "v", DPT_F64, 2, ((int64_t[]){1, 8}), normal);
    dpt_tensor *u = dpt_linear_with(dpt_tanh(dpt_linear_with(x, w, b)), v, NULL);
    dpt_tensor *u_xx = dpt_gradient(dpt_gradient(u, x), x);
    dpt_loss_add(g, dpt_mul(u_xx, u_xx), 1, NULL);
}

/* State that reads state, random draws, a user's all-reduce, a sum over the batch that is kept. */
static void build_states(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8);
    dpt_tensor *now = dpt_state(g, "now", DPT_F32, 1, ((int64_t[]){8}), DPT_STATE_REPLICATED, 1);
    dpt_tensor *last = dpt_state(g, "last", DPT_F32, 1, ((int64_t[]){8}), DPT_STATE_REPLICATED, 2);
    dpt_tensor *own = dpt_state(g, "own", DPT_F32, 0, NULL, DPT_STATE_LOCAL, 3);
    dpt_tensor *p = dpt_param(g, "p", DPT_F32, 1, ((int64_t[]){8}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *y = dpt_mul(dpt_dropout(x, 0.5, "drop"), dpt_all_reduce(p));
    dpt_assign(now, dpt_sum(y, 1, 0));
    dpt_assign(last, now);
    dpt_assign(own, dpt_offset(own, 1));
    dpt_loss_add(g, dpt_mul(dpt_add(y, last), y), 1, NULL);
}

/* The backward pass reads a state that is assigned. */
static void build_moving(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8);
    dpt_tensor *s = dpt_state(g, "s", DPT_F32, 1, ((int64_t[]){8}), DPT_STATE_REPLICATED, 2);
    dpt_tensor *p = dpt_param(g, "p", DPT_F32, 1, ((int64_t[]){8}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_assign(s, dpt_scale(s, 0.5));
    dpt_loss_add(g, dpt_mul(dpt_mul(x, p), s), 1, NULL);
}

const program_model program_models[] = {{"mlp", build_mlp},
                                        {"cnn", build_cnn},
                                        {"blocks", build_blocks},
                                        {"residual", build_residual},
                                        {"shared", build_shared},
                                        {"norm_sync", build_norm_sync},
                                        {"norm_local", build_norm_local},
                                        {"masked", build_masked},
                                        {"relative", build_relative},
                                        {"centred", build_centred},
                                        {"physics", build_physics},
                                        {"states", build_states},
                                        {"moving", build_moving}};
const int program_model_count = (int)(sizeof program_models / sizeof *program_models);

const program_model *program_model_find(const char *name) {
    for (int i = 0; i < program_model_count; i++)
        if (strcmp(program_models[i].name, name) == 0) return &program_models[i];
    CHECK_EQ_TEXT(name, "a model");
    return &program_models[0];
}

/* ---- compiling and running ---- */

static bool compile(program_run *r, const program_choice *c) {
    dpt_program_options o = {.mode = c->mode,
                             .world = c->world,
                             .rank = 0,
                             .backend = c->backend ? c->backend : r->ctx->backend,
                             .device = &r->ctx->device,
                             .arenas = &r->plan,
                             .update = {.kind = DPT_UPDATE_ADAMW, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8},
                             .precision = c->precision,
                             .unfused = c->unfused,
                             .recompute = c->recompute,
                             .canonical = c->canonical,
                             .after_pass = c->after_pass,
                             .user = c->user};
    for (int i = 0; i < DPT_MAX_AXES; i++) o.capacity[i] = PROGRAM_CAPACITY;
    return CHECK_OK(dpt_program_create(r->graph, &o, &r->program));
}

static char *cut(char **end, int64_t bytes) {
    char *at = *end;
    *end += dpt_align((size_t)bytes);
    return at;
}

static dpt_arenas arenas_in(const dpt_arena_plan *a, char *memory) {
    char *end = memory;
    return (dpt_arenas){.param = cut(&end, a->param_bytes),
                        .grad = cut(&end, a->grad_bytes),
                        .moment1 = cut(&end, a->grad_bytes),
                        .moment2 = cut(&end, a->grad_bytes),
                        .state = cut(&end, a->state_bytes)};
}

/* Activations start as NaN. */
static bool take_memory(program_run *r) {
    const dpt_arena_plan *a = &r->plan;
    dpt_device *d = &r->ctx->device;
    const size_t activations = (size_t)(r->program->activation_bytes + r->program->workspace_bytes) + DPT_ALIGNMENT;
    r->arena_bytes =
        dpt_align((size_t)a->param_bytes) + 3 * dpt_align((size_t)a->grad_bytes) + dpt_align((size_t)a->state_bytes);
    r->device_bytes = r->arena_bytes + activations;
    r->memory = dpt_alloc_zero(1, r->arena_bytes);
    char *fill = dpt_alloc(activations);
    memset(fill, 0xff, activations);
    bool ok = CHECK_OK(d->ops->alloc(d, r->device_bytes, DPT_FOR_COMPUTE, &r->device_memory)) &&
              CHECK_OK(d->ops->copy_in(d, (char *)r->device_memory + r->arena_bytes, fill, activations, NULL));
    dpt_free(fill);
    return ok;
}

static bool open_session(program_run *r) {
    const dpt_arena_plan *a = &r->plan;
    if (!take_memory(r)) return false;
    r->arenas = arenas_in(a, r->memory);
    for (int64_t i = 0; i < r->graph->n_param; i++) {
        const dpt_param_info *p = &r->graph->param[i];
        CHECK_OK(dpt_init_fill(p->name, p->init, p->tensor->dtype, p->tensor->ndim, p->tensor->dim, 3,
                               r->arenas.param + a->param[i].offset));
    }
    const dpt_session_options o = {.program = r->program,
                                   .comm = &r->ctx->comm,
                                   .arenas = arenas_in(a, r->device_memory),
                                   .activations = (char *)r->device_memory + r->arena_bytes};
    return CHECK_OK(dpt_session_create(&o, &r->session));
}

bool program_open(program_run *r, const program_model *model, const program_choice *choice) {
    *r = (program_run){0};
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &r->ctx))) return false;
    r->graph = dpt_graph_create(r->ctx);
    model->build(r->graph);
    CHECK_OK(dpt_precision_declare(r->graph, choice->precision));
    if (choice->frozen_bias) dpt_param_group(r->graph, "*.bias", (dpt_group){.lr_factor = 1, .frozen = 1});
    dpt_graph_resolve_groups(r->graph);
    bool ok = CHECK_OK(dpt_graph_status(r->graph));
    ok = ok &&
         CHECK_OK(dpt_arena_plan_make(r->graph, 0.1, choice->bucket_bytes ? choice->bucket_bytes : 256, 0, &r->plan));
    ok = ok && compile(r, choice) && (choice->world > 1 || open_session(r));
    if (!ok) program_close(r);
    return ok;
}

void program_close(program_run *r) {
    dpt_session_destroy(&r->session);
    dpt_program_destroy(&r->program);
    dpt_arena_plan_free(&r->plan);
    dpt_graph_destroy(&r->graph);
    if (r->device_memory)
        r->ctx->device.ops->release(&r->ctx->device, r->device_memory, r->device_bytes, DPT_FOR_COMPUTE);
    dpt_context_destroy(&r->ctx);
    dpt_free(r->memory);
    *r = (program_run){0};
}

static bool set_input(program_run *r, const dpt_tensor *t) {
    enum { MOST = PROGRAM_ROWS * 128 };
    const char *name = t->node->name;
    float values[MOST];
    uint8_t classes[MOST];
    const int64_t n = PROGRAM_ROWS * dpt_row_count(t);
    dpt_array in = array_f32(name, values, PROGRAM_ROWS);
    fill_f32(name, values, n);
    for (int64_t i = 0; i < n; i++) {
        classes[i] = (uint8_t)(i % 4);
        if (strncmp(name, "mask", 4) == 0) values[i] = values[i] > 0;
    }
    if (!dpt_is_float(t->dtype)) in.data = classes, in.dtype = DPT_U8;
    return CHECK_OK(dpt_session_set_input(r->session, dpt_session_find_input(r->session, name), &in));
}

bool program_run_once(program_run *r) {
    dpt_block *b = dpt_session_block(r->session);
    b->lr = 0.01;
    for (int i = 0; i < DPT_MAX_AXES; i++) b->rows[i] = b->global_rows[i] = PROGRAM_ROWS;
    for (int64_t i = 0; i < r->graph->n_input; i++)
        if (!set_input(r, r->graph->input[i])) return false;
    dpt_device *d = &r->ctx->device;
    return CHECK_OK(d->ops->copy_in(d, r->device_memory, r->memory, r->arena_bytes, NULL)) &&
           CHECK_OK(dpt_session_run(r->session)) &&
           CHECK_OK(d->ops->copy_out(d, r->memory, r->device_memory, r->arena_bytes, NULL));
}

int program_count(const dpt_graph *g, int op) {
    int n = 0;
    for (int64_t i = 0; i < g->n_node; i++) n += g->node[i]->op == op;
    return n;
}
