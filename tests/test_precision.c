/* test_precision.c: computing in 16 bits: which values the pass makes 16-bit and where it casts, gradients and training
 * beside fp32, the loss scale of fp16, ranks against one. The bounds follow from the formats: a value rounded to p bits
 * is off by 2^-p of itself at most, n roundings on the way to a result add up like independent errors. */
#include <stdio.h>

#include "base/memory.h"
#include "graph/graph.h"
#include "kernel_call.h"
#include "ops/internal.h"
#include "program_models.h"
#include "train/trainer.h"
#include "trainer_pair.h"

static const int64_t rows_8[] = {DPT_BATCH, 8}, rows_3[] = {DPT_BATCH, 3}, rows_1[] = {DPT_BATCH, 1};
static const dpt_precision halves[] = {DPT_PRECISION_BF16, DPT_PRECISION_FP16};

/* ---- graphs ---- */

static void build_surrogate(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8), *t = dpt_input(g, "t", DPT_F32, 2, rows_3);
    dpt_tensor *y = dpt_linear(dpt_relu(dpt_linear(dpt_relu(dpt_linear(x, 16, "fc1")), 16, "fc2")), 3, "fc3");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(y, t), 1, NULL);
}

/* u'' = of a network, and a data loss as users write it. */
static void build_physics(dpt_graph *g) {
    const dpt_init normal = {DPT_INIT_NORMAL, 0, 1};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_1), *t = dpt_input(g, "t", DPT_F32, 2, rows_1);
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){8, 1}), normal);
    dpt_tensor *b = dpt_param(g, "b", DPT_F32, 1, ((int64_t[]){8}), normal);
    dpt_tensor *v = dpt_param(g, "v", DPT_F32, 2, ((int64_t[]){1, 8}), normal);
    dpt_tensor *u = dpt_linear_with(dpt_tanh(dpt_linear_with(x, w, b)), v, NULL);
    dpt_tensor *u_xx = dpt_gradient(dpt_gradient(u, x), x), *e = dpt_sub(u, t);
    dpt_loss_add(g, dpt_mul(u_xx, u_xx), 1, NULL);
    dpt_loss_add(g, dpt_mul(e, e), 1, NULL);
}

static const program_model own[] = {{"surrogate", build_surrogate}, {"physics_f32", build_physics}};

static const program_model *model_of(const char *name) {
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i].name, name) == 0) return &own[i];
    return program_model_find(name);
}

/* Graphs of f32: all of those of program_models.c but the f64 one, and the two above. */
static int n_graphs(void) { return program_model_count + (int)(sizeof own / sizeof *own); }
static const program_model *graph_number(int i) {
    return i < program_model_count ? &program_models[i] : &own[i - program_model_count];
}
static bool is_f64(const program_model *m) { return strcmp(m->name, "physics") == 0; }

/* ---- the pass ---- */

static bool half(const dpt_tensor *t) { return dpt_is_half(t->dtype); }

static bool is_product(int op) {
    return op == DPT_OP_MATMUL || op == DPT_OP_LINEAR || op == DPT_OP_LINEAR_DGRAD || op == DPT_OP_LINEAR_WGRAD ||
           op == DPT_OP_CONV || op == DPT_OP_CONV_DGRAD || op == DPT_OP_CONV_WGRAD;
}

static bool is_wide_result(int op) {
    return op == DPT_OP_LINEAR_WGRAD || op == DPT_OP_CONV_WGRAD || op == DPT_OP_SUM || op == DPT_OP_CROSS_ENTROPY ||
           op == DPT_OP_ACCURACY || op == DPT_OP_MSE || op == DPT_OP_GRAD_STORE || op == DPT_OP_ASSIGN ||
           op == DPT_OP_BN_MOMENTS || op == DPT_OP_BN_GRAD_SUMS || op == DPT_OP_BN_PARAM_GRAD || op == DPT_OP_SUM_START;
}

static void check_casts(const char *model, const dpt_graph *g) {
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        if (n->op != DPT_OP_CAST) continue;
        const dpt_tensor *from = n->in[0];
        check_that(from->dtype != n->out[0].dtype, __FILE__, __LINE__, "%s: %s changes nothing", model, n->name);
        check_that(!(from->node->op == DPT_OP_CAST && half(from->node->in[0]) && half(&n->out[0])), __FILE__, __LINE__,
                   "%s: %s goes back where %s came from", model, n->name, from->node->name);
        for (int64_t j = 0; j < i; j++)
            check_that(g->node[j]->op != DPT_OP_CAST || g->node[j]->in[0] != from ||
                           g->node[j]->out[0].dtype != n->out[0].dtype,
                       __FILE__, __LINE__, "%s: %s and %s are the same", model, g->node[j]->name, n->name);
    }
}

static void check_types(const char *model, const dpt_graph *g, dpt_dtype wanted) {
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        for (int k = 0; k < n->n_in; k++)
            if (is_product(n->op))
                check_that(n->in[k]->dtype == wanted, __FILE__, __LINE__, "%s: operand %d of %s \"%s\" is %s", model, k,
                           dpt_ops[n->op]->name, n->name, dpt_dtype_text(n->in[k]->dtype));
        for (int k = 0; k < n->n_out; k++)
            if (is_wide_result(n->op) && !n->out[k].token)
                check_that(!half(&n->out[k]), __FILE__, __LINE__, "%s: %s \"%s\" gives %s", model, dpt_ops[n->op]->name,
                           n->name, dpt_dtype_text(n->out[k].dtype));
        for (int k = 0; k < n->n_out; k++) /* sums over ranks are f32 to their end */
            check_that(n->out[k].spread != DPT_SPREAD_PARTIAL || n->out[k].token || !half(&n->out[k]), __FILE__,
                       __LINE__, "%s: %s \"%s\" is a share of a sum, in %s", model, dpt_ops[n->op]->name, n->name,
                       dpt_dtype_text(n->out[k].dtype));
    }
    for (int64_t i = 0; i < g->n_output; i++)
        check_that(!half(g->output[i].tensor), __FILE__, __LINE__, "%s: output \"%s\" is 16-bit", model,
                   g->output[i].name);
}

static void types_and_casts(void) {
    static const dpt_mode modes[] = {DPT_MODE_TRAIN,    DPT_MODE_ACCUMULATE, DPT_MODE_APPLY,
                                     DPT_MODE_GRADIENT, DPT_MODE_EVALUATE,   DPT_MODE_PREDICT};
    for (int i = 0; i < n_graphs(); i++)
        for (int h = 0; h < 2; h++)
            for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
                for (int unfused = 0; unfused < 2; unfused++) {
                    const program_model *model = graph_number(i);
                    const bool sums_forward = strcmp(model->name, "relative") == 0 ||
                                              strcmp(model->name, "centred") == 0 || strcmp(model->name, "states") == 0;
                    if (is_f64(model) || (modes[m] == DPT_MODE_ACCUMULATE && sums_forward)) continue;
                    const program_choice c = {
                        .mode = modes[m], .world = 2, .precision = halves[h], .unfused = unfused != 0};
                    program_run r;
                    if (!program_open(&r, model, &c)) continue;
                    check_types(model->name, r.program->graph, h == 0 ? DPT_BF16 : DPT_F16);
                    check_casts(model->name, r.program->graph);
                    program_close(&r);
                }
}

typedef struct census {
    int count[DPT_OP_COUNT];
} census;

static census census_of(const program_model *model, dpt_precision precision, dpt_mode mode) {
    program_run r;
    census c = {0};
    const program_choice choice = {.mode = mode, .world = 1, .precision = precision};
    if (!program_open(&r, model, &choice)) return c;
    for (int op = 0; op < DPT_OP_COUNT; op++) c.count[op] = program_count(r.program->graph, op);
    program_close(&r);
    return c;
}

/* Casts counted by hand: one of each parameter that a layer of products has, one of the input; where the loss is an
 * mse, one of the output and one of its gradient. Batch norm's parameters are none. norm: "w", "fc2.weight",
 * "fc2.bias", the value before the first product, and its gradient back. */
static void casts_are_counted(void) {
    static const struct {
        const char *model;
        int train, predict;
    } wanted[] = {{"mlp", 8 + 1, 8 + 1 + 1},
                  {"cnn", 6 + 1, 6 + 1 + 1},
                  {"surrogate", 6 + 1 + 2, 6 + 1 + 1},
                  {"norm_sync", 3 + 2 + 2, -1},
                  {"norm_local", 3 + 2 + 2, -1}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        for (int h = 0; h < 2; h++) {
            const program_model *m = model_of(wanted[i].model);
            const int train = census_of(m, halves[h], DPT_MODE_TRAIN).count[DPT_OP_CAST];
            const int predict = census_of(m, halves[h], DPT_MODE_PREDICT).count[DPT_OP_CAST];
            check_that(train == wanted[i].train, __FILE__, __LINE__, "%s, training: %d casts, expected %d", m->name,
                       train, wanted[i].train);
            check_that(wanted[i].predict < 0 || predict == wanted[i].predict, __FILE__, __LINE__,
                       "%s, prediction: %d casts, expected %d", m->name, predict, wanted[i].predict);
        }
}

/* Every pattern that is fused in fp32 is fused in 16 bits. */
static void fuses_as_in_fp32(void) {
    static const int ops[] = {DPT_OP_LINEAR,     DPT_OP_LINEAR_DGRAD, DPT_OP_LINEAR_WGRAD, DPT_OP_CONV,
                              DPT_OP_CONV_WGRAD, DPT_OP_MATMUL,       DPT_OP_SOFTMAX,      DPT_OP_CROSS_ENTROPY_GRAD,
                              DPT_OP_RELU,       DPT_OP_RELU_GRAD,    DPT_OP_GELU};
    static const char *const models[] = {"mlp", "cnn", "surrogate"};
    for (int m = 0; m < 3; m++)
        for (int h = 0; h < 2; h++) {
            const census a = census_of(model_of(models[m]), DPT_PRECISION_FP32, DPT_MODE_TRAIN);
            const census b = census_of(model_of(models[m]), halves[h], DPT_MODE_TRAIN);
            for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
                check_that(a.count[ops[i]] == b.count[ops[i]], __FILE__, __LINE__, "%s: %d of %s in fp32, %d in %s",
                           models[m], a.count[ops[i]], dpt_ops[ops[i]]->name, b.count[ops[i]],
                           dpt_precision_text(halves[h]));
        }
}

static void find_losses(void *user, const char *pass, const dpt_graph *g) {
    if (strcmp(pass, "precision") != 0) return;
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        if (n->op == DPT_OP_MUL && n->in[0] == n->in[1] && n->out[0].dtype == DPT_F32) ++*(int *)user;
    }
}

/* u_xx^2 and (u - t)^2 are computed in f32, of 16-bit u_xx and u; 1 - tanh^2 between products is not. */
static void written_losses_are_wide(void) {
    int squares = 0;
    program_run r;
    const program_choice c = {.mode = DPT_MODE_TRAIN,
                              .world = 1,
                              .precision = DPT_PRECISION_FP16,
                              .after_pass = find_losses,
                              .user = &squares};
    if (program_open(&r, model_of("physics_f32"), &c)) program_close(&r);
    CHECK_EQ_I64(squares, 2);
}

static void tf32_changes_no_type(void) {
    for (int i = 0; i < n_graphs(); i++) {
        program_run r;
        const program_choice c = {.mode = DPT_MODE_TRAIN, .world = 1, .precision = DPT_PRECISION_TF32};
        if (!program_open(&r, graph_number(i), &c)) continue;
        for (int64_t k = 0; k < r.program->graph->n_node; k++) {
            dpt_call call;
            const dpt_node *n = r.program->graph->node[k];
            dpt_call_fill(&r.program->options, n, &call);
            CHECK(call.tf32);
            for (int o = 0; o < n->n_out; o++) CHECK(n->out[o].token || !half(&n->out[o]));
        }
        program_close(&r);
    }
}

static dpt_status create(void (*build)(dpt_graph *g), dpt_precision precision) {
    dpt_context *ctx;
    DPT_TRY(check_context(MPI_COMM_SELF, 1, &ctx));
    dpt_graph *g = dpt_graph_create(ctx);
    build(g);
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = 4;
    o.precision = precision;
    dpt_trainer *t;
    dpt_status status = dpt_trainer_create(g, &o, &t);
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
    return status;
}

static void build_f64_product(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 2, rows_8);
    dpt_tensor *p = dpt_param(g, "p", DPT_F32, 0, NULL, ((dpt_init){DPT_INIT_ONES, 0, 0}));
    dpt_tensor *s = dpt_cast(dpt_sum(dpt_matmul(x, x, 1, 0), DPT_ALL_AXES, 0), DPT_F32);
    dpt_loss_add(g, dpt_mul(s, p), 1, NULL);
}

static void f64_is_refused(void) {
    void (*physics)(dpt_graph * g) = model_of("physics")->build;
    CHECK_FAILS(create(physics, DPT_PRECISION_BF16), DPT_ERR_UNSUPPORTED, "precision bf16: parameter \"w\" is f64");
    CHECK_FAILS(create(physics, DPT_PRECISION_FP16), DPT_ERR_UNSUPPORTED, "precision fp16: parameter \"w\" is f64");
    CHECK_FAILS(create(build_f64_product, DPT_PRECISION_FP16), DPT_ERR_UNSUPPORTED, "multiplies f64 values");
    CHECK_OK(create(physics, DPT_PRECISION_TF32));
    CHECK_FAILS(create(physics, (dpt_precision)4), DPT_ERR_ARG, "precision 4");
}

/* ---- values ---- */

enum { ROWS = 24, MOST_INPUTS = 4, MOST_VALUES = ROWS * 128 };

typedef struct batch {
    float value[MOST_INPUTS][MOST_VALUES];
    uint8_t class[MOST_INPUTS][ROWS];
    dpt_array array[MOST_INPUTS];
    int n;
} batch;

/* Floats in [-1, 1), classes 0 to 3 that follow from the first of them, so that there is something to learn. */
static void fill(batch *b, const dpt_graph *g) {
    b->n = (int)g->n_input;
    for (int i = 0; i < b->n; i++) {
        const dpt_tensor *t = g->input[i];
        const int64_t per_row = dpt_row_count(t);
        fill_f32(t->node->name, b->value[i], ROWS * per_row);
        b->array[i] = array_f32(t->node->name, b->value[i], ROWS);
        if (strncmp(t->node->name, "mask", 4) == 0)
            for (int64_t k = 0; k < ROWS * per_row; k++) b->value[i][k] = b->value[i][k] > 0;
        if (dpt_is_float(t->dtype)) continue;
        const int64_t stride = dpt_row_count(g->input[0]);
        for (int64_t r = 0; r < ROWS; r++) {
            const float *x = b->value[0] + r * stride;
            b->class[i][r] = (uint8_t)((x[0] > 0) + 2 * (x[1] > 0));
        }
        b->array[i] = (dpt_array){t->node->name, b->class[i], DPT_U8, DPT_HOST, ROWS, NULL};
    }
}

static dpt_trainer_options options_of(dpt_precision precision) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.precision = precision;
    o.lr = 0.1;
    return o;
}

static bool open_alone(trainer_side *s, const char *model, const dpt_trainer_options *o) {
    return trainer_side_open(s, MPI_COMM_SELF, 1, model_of(model)->build, o);
}

static int rounded_values(const trainer_side *s) {
    const dpt_graph *g = s->trainer->gradient.program->graph;
    int n = 0;
    for (int64_t i = 0; i < g->n_node; i++) n += g->node[i]->n_out > 0 && half(&g->node[i]->out[0]);
    return n;
}

/* All gradients together: ||a - b|| / ||b||. */
static double gradient_distance(const trainer_side *a, const trainer_side *b) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < a->graph->n_param; i++) {
        const dpt_param_info *p = &a->graph->param[i];
        const int64_t n = dpt_row_count(p->tensor);
        float *x = dpt_alloc((size_t)n * sizeof *x), *y = dpt_alloc((size_t)n * sizeof *y);
        CHECK_OK(dpt_trainer_get(a->trainer, DPT_GRADIENT, p->name, x, (size_t)n * sizeof *x));
        CHECK_OK(dpt_trainer_get(b->trainer, DPT_GRADIENT, p->name, y, (size_t)n * sizeof *y));
        for (int64_t k = 0; k < n; k++) {
            difference += ((double)x[k] - (double)y[k]) * ((double)x[k] - (double)y[k]);
            size += (double)y[k] * (double)y[k];
        }
        dpt_free(x);
        dpt_free(y);
    }
    return sqrt(difference / size);
}

/* n values rounded to p bits, each off by a half of its last place at most: 2^-p sqrt(n), doubled for the signs of relu
 * and the winners of pooling that turn; and no less than a tenth of one rounding. */
static void gradients_beside_fp32(void) {
    static const char *const models[] = {"mlp", "cnn", "surrogate", "norm_local", "masked", "centred", "physics_f32"};
    static const int bits[] = {8, 11};
    for (int m = 0; m < 7; m++)
        for (int h = 0; h < 2; h++) {
            trainer_side a, b;
            static batch data;
            dpt_metrics in_half, in_fp32;
            dpt_trainer_options o = options_of(halves[h]), reference = options_of(DPT_PRECISION_FP32);
            if (!open_alone(&a, models[m], &o)) continue;
            if (open_alone(&b, models[m], &reference)) {
                fill(&data, a.graph);
                CHECK_OK(dpt_trainer_gradient(a.trainer, data.array, data.n, &in_half));
                CHECK_OK(dpt_trainer_gradient(b.trainer, data.array, data.n, &in_fp32));
                const double unit = ldexp(1, -bits[h]), most = 2 * unit * sqrt(rounded_values(&a));
                const double d = gradient_distance(&a, &b), loss = fabs(in_half.loss - in_fp32.loss) / in_fp32.loss;
                check_that(d <= most && d > unit / 10, __FILE__, __LINE__,
                           "%s, %s: gradients differ by %.3g of their size (%.3g to %.3g)", models[m],
                           dpt_precision_text(halves[h]), d, unit / 10, most);
                check_that(loss <= most, __FILE__, __LINE__, "%s, %s: loss differs by %.3g (at most %.3g)", models[m],
                           dpt_precision_text(halves[h]), loss, most);
                trainer_side_close(&b);
            }
            trainer_side_close(&a);
        }
}

/* 150 steps on one batch: the curves stay within 2 % of the first loss of each other, and both have learnt. */
static void training_beside_fp32(void) {
    enum { STEPS = 150 };
    static const char *const models[] = {"mlp", "cnn", "surrogate", "norm_local"};
    for (int m = 0; m < 4; m++)
        for (int h = 0; h < 2; h++) {
            trainer_side a, b;
            static batch data;
            dpt_trainer_options o = options_of(halves[h]), reference = options_of(DPT_PRECISION_FP32);
            if (!open_alone(&a, models[m], &o)) continue;
            if (open_alone(&b, models[m], &reference)) {
                dpt_metrics x, y, first = {0};
                double most = 0;
                fill(&data, a.graph);
                for (int step = 0; step < STEPS; step++) {
                    CHECK_OK(trainer_step_now(b.trainer, data.array, data.n, &y));
                    do CHECK_OK(trainer_step_now(a.trainer, data.array, data.n, &x));
                    while (x.skipped && step == 0);
                    CHECK(!x.skipped);
                    if (step == 0) first = y;
                    if (fabs(x.loss - y.loss) > most) most = fabs(x.loss - y.loss);
                }
                check_that(most <= 0.02 * first.loss, __FILE__, __LINE__,
                           "%s, %s: losses differ by %.3g (at most %.3g)", models[m], dpt_precision_text(halves[h]),
                           most, 0.02 * first.loss);
                check_that(x.loss < 0.5 * first.loss, __FILE__, __LINE__, "%s, %s: loss %.3g after %.3g", models[m],
                           dpt_precision_text(halves[h]), x.loss, first.loss);
                trainer_side_close(&b);
            }
            trainer_side_close(&a);
        }
}

/* Evaluation and prediction are by the same rounded forward pass. */
static void predicts_in_16_bits(void) {
    for (int h = 0; h < 2; h++) {
        trainer_side a, b;
        static batch data;
        static float x[ROWS * 4], y[ROWS * 4];
        dpt_trainer_options o = options_of(halves[h]), reference = options_of(DPT_PRECISION_FP32);
        if (!open_alone(&a, "mlp", &o)) return;
        if (open_alone(&b, "mlp", &reference)) {
            dpt_evaluation e, f;
            fill(&data, a.graph);
            CHECK_OK(dpt_trainer_predict(a.trainer, data.array, data.n, "y", x, sizeof x));
            CHECK_OK(dpt_trainer_predict(b.trainer, data.array, data.n, "y", y, sizeof y));
            const double d = check_relative_f32(x, y, ROWS * 4), unit = h == 0 ? 0x1p-8 : 0x1p-11;
            check_that(d > unit / 10 && d < 6 * unit, __FILE__, __LINE__, "outputs differ by %g", d);
            CHECK_OK(dpt_trainer_evaluate(a.trainer, data.array, data.n));
            CHECK_OK(dpt_trainer_evaluation(a.trainer, &e));
            CHECK_OK(dpt_trainer_evaluate(b.trainer, data.array, data.n));
            CHECK_OK(dpt_trainer_evaluation(b.trainer, &f));
            CHECK_NEAR(e.loss, f.loss, 6 * unit);
            CHECK(e.loss != f.loss);
            trainer_side_close(&b);
        }
        trainer_side_close(&a);
    }
}

/* ---- the loss scale ---- */

typedef struct scale {
    float value;
    int32_t steps;
} scale;

static scale scale_get(const trainer_side *s) {
    scale v = {0};
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "loss_scale.value", &v.value, sizeof v.value));
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "loss_scale.steps", &v.steps, sizeof v.steps));
    return v;
}

static void scale_set(const trainer_side *s, float value, int32_t steps) {
    CHECK_OK(dpt_trainer_set(s->trainer, DPT_STATE, "loss_scale.value", &value, sizeof value));
    CHECK_OK(dpt_trainer_set(s->trainer, DPT_STATE, "loss_scale.steps", &steps, sizeof steps));
}

/* A step on a scale: whether it was skipped, and what the scale becomes. */
static void expect_step(const trainer_side *s, const batch *data, scale before, bool skipped, scale after) {
    dpt_metrics m;
    scale_set(s, before.value, before.steps);
    if (!CHECK_OK(trainer_step_now(s->trainer, data->array, data->n, &m))) return;
    const scale now = scale_get(s);
    check_that(m.skipped == skipped && now.value == after.value && now.steps == after.steps, __FILE__, __LINE__,
               "from %g, %d: %s, now %g, %d (expected %s, %g, %d)", (double)before.value, before.steps,
               m.skipped ? "skipped" : "made", (double)now.value, now.steps, skipped ? "skipped" : "made",
               (double)after.value, after.steps);
}

static void reads(const trainer_side *s, const char *name, float *to, size_t n) {
    const bool state = strstr(name, "running") != NULL;
    CHECK_OK(dpt_trainer_get(s->trainer, state ? DPT_STATE : DPT_PARAMETER, name, to, n * sizeof *to));
}

/* A scale at which gradients overflow: nothing moves but the scale; over micro-batches too, which move running
 * statistics before anyone knows. */
static void overflow_is_skipped(void) {
    for (int accumulate = 1; accumulate <= 2; accumulate++) {
        trainer_side s;
        static batch data;
        float w[6 * 8], w_after[6 * 8], mean[8], mean_after[8];
        dpt_trainer_options o = options_of(DPT_PRECISION_FP16);
        o.accumulate = accumulate;
        if (!open_alone(&s, "norm_local", &o)) return;
        fill(&data, s.graph);
        CHECK(scale_get(&s).value == 65536 && scale_get(&s).steps == 0);
        for (size_t i = 0; i < sizeof data.value[1] / sizeof(float); i++) data.value[1][i] *= 100; /* targets */
        expect_step(&s, &data, (scale){64, 5}, false, (scale){64, 6});
        reads(&s, "w", w, 48);
        reads(&s, "bn1.running_mean", mean, 8);
        expect_step(&s, &data, (scale){16777216, 7}, true, (scale){8388608, 0});
        reads(&s, "w", w_after, 48);
        reads(&s, "bn1.running_mean", mean_after, 8);
        CHECK(memcmp(w, w_after, sizeof w) == 0);
        CHECK(memcmp(mean, mean_after, sizeof mean) == 0);
        data.value[0][3] = INFINITY; /* forward: no scale helps; it ends at 1 */
        expect_step(&s, &data, (scale){2, 7}, true, (scale){1, 0});
        expect_step(&s, &data, (scale){1, 0}, true, (scale){1, 0});
        reads(&s, "w", w_after, 48);
        CHECK(memcmp(w, w_after, sizeof w) == 0);
        trainer_side_close(&s);
    }
}

/* Not ok: half, at least 1; ok: a step more, at the 2000th twice, at most 2^24. */
static void scale_follows(void) {
    static const struct {
        bool ok;
        scale before, after;
    } wanted[] = {{true, {65536, 0}, {65536, 1}},
                  {true, {65536, 1998}, {65536, 1999}},
                  {true, {65536, 1999}, {131072, 0}},
                  {true, {8388608, 1999}, {16777216, 0}},
                  {true, {16777216, 1999}, {16777216, 0}},
                  {false, {65536, 1999}, {32768, 0}},
                  {false, {2, 7}, {1, 0}},
                  {false, {1, 7}, {1, 0}}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const double guard[4] = {1, wanted[i].ok, NAN, NAN};
        const scale before = wanted[i].before;
        scale after = {0};
        const dpt_block block = {0};
        dpt_call call = {.op = DPT_OP_SCALE_UPDATE, .n_in = 3, .n_out = 2, .block = &block};
        call.in[0] = kernel_vector(guard, DPT_F64, 4);
        call.in[1] = kernel_scalar(&before.value, DPT_F32);
        call.in[2] = kernel_scalar(&before.steps, DPT_I32);
        call.out[0] = kernel_scalar(&after.value, DPT_F32);
        call.out[1] = kernel_scalar(&after.steps, DPT_I32);
        kernel_run(&call, 1);
        check_that(after.value == wanted[i].after.value && after.steps == wanted[i].after.steps, __FILE__, __LINE__,
                   "%s, %g, %d: now %g, %d", wanted[i].ok ? "ok" : "not ok", (double)before.value, before.steps,
                   (double)after.value, after.steps);
    }
}

static void scale_grows(void) {
    trainer_side s;
    static batch data;
    dpt_trainer_options o = options_of(DPT_PRECISION_FP16);
    if (!open_alone(&s, "mlp", &o)) return;
    fill(&data, s.graph);
    expect_step(&s, &data, (scale){1024, 1998}, false, (scale){1024, 1999});
    expect_step(&s, &data, (scale){1024, 1999}, false, (scale){2048, 0});
    trainer_side_close(&s);
}

/* The scale is a power of two: without it, or with another, the same gradients but for what vanishes in 16 bits; the
 * norm that is reported and the step that is made are of the unscaled ones. */
static void scale_changes_no_result(void) {
    static batch data;
    trainer_side s[2];
    dpt_metrics m[2];
    dpt_trainer_options o = options_of(DPT_PRECISION_FP16);
    o.clip_norm = 0.05;
    if (!open_alone(&s[0], "cnn", &o)) return;
    if (open_alone(&s[1], "cnn", &o)) {
        fill(&data, s[0].graph);
        for (int k = 0; k < 2; k++) {
            scale_set(&s[k], k ? 4096 : 256, 0);
            CHECK_OK(trainer_step_now(s[k].trainer, data.array, data.n, &m[k]));
        }
        CHECK_NEAR(m[0].grad_norm / m[1].grad_norm, 1, 1e-3);
        CHECK(m[0].grad_norm > 0.05 && m[0].loss == m[1].loss);
        for (int64_t i = 0; i < s[0].graph->n_param; i++) {
            const char *name = s[0].graph->param[i].name;
            CHECK(trainer_distance(&s[0], &s[1], DPT_PARAMETER, name) < 1e-5);
        }
        CHECK_OK(dpt_trainer_gradient(s[0].trainer, data.array, data.n, NULL));
        CHECK_OK(dpt_trainer_gradient(s[1].trainer, data.array, data.n, NULL));
        CHECK(gradient_distance(&s[0], &s[1]) < 2e-3);
        trainer_side_close(&s[1]);
    }
    trainer_side_close(&s[0]);
}

/* Without the scale small gradients vanish: a loss weighted 2^-20 still trains. */
static void build_faint(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, rows_8), *t = dpt_input(g, "t", DPT_F32, 2, rows_3);
    dpt_loss_add(g, dpt_mse(dpt_linear(dpt_tanh(dpt_linear(x, 16, "fc1")), 3, "fc2"), t), 0x1p-20, NULL);
}

static void scale_keeps_small_gradients(void) {
    static batch data;
    trainer_side s, reference;
    dpt_trainer_options o = options_of(DPT_PRECISION_FP16), fp32 = options_of(DPT_PRECISION_FP32);
    if (!trainer_side_open(&s, MPI_COMM_SELF, 1, build_faint, &o)) return;
    if (trainer_side_open(&reference, MPI_COMM_SELF, 1, build_faint, &fp32)) {
        fill(&data, s.graph);
        CHECK_OK(dpt_trainer_gradient(reference.trainer, data.array, data.n, NULL));
        CHECK_OK(dpt_trainer_gradient(s.trainer, data.array, data.n, NULL));
        CHECK(gradient_distance(&s, &reference) < 6 * 0x1p-11);
        scale_set(&s, 1, 0);
        CHECK_OK(dpt_trainer_gradient(s.trainer, data.array, data.n, NULL));
        CHECK(gradient_distance(&s, &reference) > 0.1);
        trainer_side_close(&reference);
    }
    trainer_side_close(&s);
}

/* Saved with the other states; a file of another precision has none. */
static void scale_is_saved(void) {
    char path[400];
    snprintf(path, sizeof path, "%s/scale%d.h5", check_tmpdir(), check_rank());
    trainer_side s;
    dpt_trainer_options o = options_of(DPT_PRECISION_FP16), fp32 = options_of(DPT_PRECISION_FP32);
    if (open_alone(&s, "mlp", &o)) {
        scale_set(&s, 512, 77);
        CHECK_OK(dpt_trainer_save(s.trainer, path, NULL));
        scale_set(&s, 4, 5);
        CHECK_OK(dpt_trainer_load(s.trainer, path));
        CHECK(scale_get(&s).value == 512 && scale_get(&s).steps == 77);
        trainer_side_close(&s);
    }
    if (open_alone(&s, "mlp", &fp32)) {
        CHECK_OK(dpt_trainer_load(s.trainer, path));
        CHECK_OK(dpt_trainer_save(s.trainer, path, NULL));
        trainer_side_close(&s);
    }
    if (open_alone(&s, "mlp", &o)) {
        CHECK_OK(dpt_trainer_load(s.trainer, path));
        CHECK(scale_get(&s).value == 65536 && scale_get(&s).steps == 0);
        trainer_side_close(&s);
    }
}

/* ---- ranks ---- */

/* Rows are rounded alike wherever they are; only f32 sums differ in order, which may turn a rounding here and there. */
static void ranks_equal_one(void) {
    static const char *const models[] = {"mlp", "cnn", "surrogate", "norm_sync", "relative", "centred"};
    for (int m = 0; m < 6; m++)
        for (int h = 0; h < 2; h++) {
            trainer_pair p;
            static batch data;
            dpt_trainer_options o = options_of(halves[h]);
            o.bucket_bytes = 256;
            if (!trainer_pair_open(&p, model_of(models[m])->build, &o)) continue;
            fill(&data, p.all.graph);
            for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++)
                if (trainer_pair_gradient(&p, data.array, data.n, turn, NULL, NULL)) {
                    const double d = gradient_distance(&p.all, &p.alone), most = h == 0 ? 0x1p-10 : 0x1p-13;
                    check_that(d <= most, __FILE__, __LINE__, "%s, %s: gradients differ from one rank's by %.3g (%.3g)",
                               models[m], dpt_precision_text(halves[h]), d, most);
                }
            trainer_pair_close(&p);
        }
}

/* One rank's overflow is every rank's. */
static void ranks_skip_alike(void) {
    trainer_side s;
    static batch data;
    dpt_array mine[MOST_INPUTS];
    dpt_metrics m;
    dpt_trainer_options o = options_of(DPT_PRECISION_FP16);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_surrogate, &o)) return;
    fill(&data, s.graph);
    for (int i = 0; i < 3; i++) data.value[1][i] = 60000; /* target of the first row: of the first rank */
    scale_set(&s, 65536, 9);
    share_arrays(&s, data.array, data.n, SHARE_EVEN, mine);
    CHECK_OK(trainer_step_now(s.trainer, mine, data.n, &m));
    CHECK(m.skipped && isfinite(m.loss));
    CHECK(scale_get(&s).value == 32768 && scale_get(&s).steps == 0);
    data.value[1][0] = data.value[1][1] = data.value[1][2] = 1;
    CHECK_OK(trainer_step_now(s.trainer, mine, data.n, &m));
    CHECK(!m.skipped);
    CHECK(scale_get(&s).value == 32768 && scale_get(&s).steps == 1);
    trainer_side_close(&s);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "precision", {"types_and_casts", types_and_casts},
                      {"casts_are_counted", casts_are_counted}, {"fuses_as_in_fp32", fuses_as_in_fp32},
                      {"written_losses_are_wide", written_losses_are_wide},
                      {"tf32_changes_no_type", tf32_changes_no_type}, {"f64_is_refused", f64_is_refused},
                      {"gradients_beside_fp32", gradients_beside_fp32}, {"training_beside_fp32", training_beside_fp32},
                      {"predicts_in_16_bits", predicts_in_16_bits}, {"overflow_is_skipped", overflow_is_skipped},
                      {"scale_follows", scale_follows}, {"scale_grows", scale_grows},
                      {"scale_changes_no_result", scale_changes_no_result},
                      {"scale_keeps_small_gradients", scale_keeps_small_gradients}, {"scale_is_saved", scale_is_saved},
                      {"ranks_equal_one", ranks_equal_one}, {"ranks_skip_alike", ranks_skip_alike});
}
