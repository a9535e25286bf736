/* test_program.c: the passes, each by what it leaves in the graph; and programs, fused and unfused, by what they
 * compute. */
#include <stdlib.h>

#include "graph/op.h"
#include "ops/op_list.h"
#include "program/explain.h"
#include "program_models.h"

static const dpt_mode all_modes[] = {DPT_MODE_TRAIN,    DPT_MODE_GRADIENT, DPT_MODE_ACCUMULATE, DPT_MODE_APPLY,
                                     DPT_MODE_EVALUATE, DPT_MODE_PREDICT,  DPT_MODE_COUNT};

/* Under accumulation a loss that is not linear in a sum over the batch is refused (test_ranks); the others compile. */
static bool compiles(const program_model *m, dpt_mode mode) {
    static const char *const not_accumulated[] = {"relative", "centred", "states"};
    for (int i = 0; i < 3; i++)
        if (mode == DPT_MODE_ACCUMULATE && strcmp(m->name, not_accumulated[i]) == 0) return false;
    return true;
}

/* ---- what each pass inserts ---- */

typedef struct census {
    const char *pass;
    int count[DPT_OP_COUNT];
    int relu, gelu, tanh, bias; /* of fused nodes */
} census;

static void take_census(void *user, const char *pass, const dpt_graph *g) {
    census *c = user;
    if (strcmp(pass, c->pass) != 0) return;
    for (int op = 0; op < DPT_OP_COUNT; op++) c->count[op] = program_count(g, op);
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        const bool linear = n->op == DPT_OP_LINEAR || n->op == DPT_OP_LINEAR_DGRAD, conv = n->op == DPT_OP_CONV;
        if (!linear && !conv) continue;
        const dpt_activation act = linear ? n->attr.matmul.act : n->attr.conv.act;
        c->relu += act == DPT_ACT_RELU;
        c->gelu += act == DPT_ACT_GELU;
        c->tanh += act == DPT_ACT_TANH;
        c->bias += linear ? n->attr.matmul.bias : n->attr.conv.bias;
    }
}

static census census_of(const char *model, const char *pass, dpt_mode mode, int world) {
    census c = {.pass = pass};
    program_run r;
    const program_choice choice = {.mode = mode, .world = world, .after_pass = take_census, .user = &c};
    if (program_open(&r, program_model_find(model), &choice)) program_close(&r);
    return c;
}

static void expect(const char *model, dpt_mode mode, int sums, bool buckets) {
    program_run r;
    const program_choice choice = {.mode = mode, .world = 4};
    const census c = census_of(model, "distribute", mode, 4);
    if (!program_open(&r, program_model_find(model), &choice)) return;
    const int wanted = buckets ? (int)r.plan.n_bucket : 0;
    check_that(c.count[DPT_OP_SUM_START] == sums && c.count[DPT_OP_SUM_WAIT] == sums, __FILE__, __LINE__,
               "%s, mode %d: %d sums over ranks, expected %d", model, (int)mode, c.count[DPT_OP_SUM_START], sums);
    check_that(c.count[DPT_OP_BUCKET_START] == wanted && c.count[DPT_OP_BUCKET_WAIT] == wanted, __FILE__, __LINE__,
               "%s, mode %d: %d buckets, expected %d", model, (int)mode, c.count[DPT_OP_BUCKET_START], wanted);
    CHECK_EQ_I64(c.count[DPT_OP_ALL_REDUCE], 0);
    program_close(&r);
}

/* Sums over ranks that cannot wait for the exchange of gradients, counted by hand. */
static void distribute(void) {
    expect("mlp", DPT_MODE_TRAIN, 0, true);
    expect("mlp", DPT_MODE_GRADIENT, 0, true);
    expect("mlp", DPT_MODE_ACCUMULATE, 0, false);
    expect("mlp", DPT_MODE_APPLY, 0, true);
    expect("mlp", DPT_MODE_EVALUATE, 0, false);
    expect("mlp", DPT_MODE_PREDICT, 0, false);
    expect("physics", DPT_MODE_TRAIN, 0, true);
    expect("norm_local", DPT_MODE_TRAIN, 0, true);
    expect("norm_sync", DPT_MODE_TRAIN, 3, true); /* two moments, the sums of gradients of bn2 (none flows below bn1) */
    expect("norm_sync", DPT_MODE_PREDICT, 0, false);
    expect("masked", DPT_MODE_TRAIN, 2, true); /* two counts */
    expect("masked", DPT_MODE_ACCUMULATE, 0, false);
    expect("masked", DPT_MODE_COUNT, 0, false);
    expect("relative", DPT_MODE_TRAIN, 2, true);
    expect("relative", DPT_MODE_EVALUATE, 2, false);
    expect("centred", DPT_MODE_TRAIN, 2, true); /* the mean, and its gradient */
    expect("states", DPT_MODE_TRAIN, 2, true);  /* the user's, and the sum that is kept */
    CHECK_EQ_I64(census_of("mlp", "distribute", DPT_MODE_TRAIN, 4).count[DPT_OP_ROOT_ONLY], 0);
    CHECK(census_of("centred", "distribute", DPT_MODE_TRAIN, 4).count[DPT_OP_ROOT_ONLY] >= 1);
}

static void gradient_and_update(void) {
    const census mlp = census_of("mlp", "gradient", DPT_MODE_TRAIN, 1);
    CHECK_EQ_I64(mlp.count[DPT_OP_GRAD_STORE], 8 + 1); /* parameters and the loss */
    const census update = census_of("mlp", "update", DPT_MODE_TRAIN, 1);
    const program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 1};
    program_run r;
    if (!program_open(&r, program_model_find("mlp"), &choice)) return;
    CHECK(r.plan.n_bucket > 2 && update.count[DPT_OP_ADAMW] == r.plan.n_bucket); /* each has parameters */
    program_close(&r);
    CHECK(update.count[DPT_OP_GUARD] == 1 && update.count[DPT_OP_SQUARE_NORM] == 1);
    CHECK_EQ_I64(census_of("states", "update", DPT_MODE_TRAIN, 1).count[DPT_OP_ASSIGN], 3);
    CHECK_EQ_I64(census_of("states", "update", DPT_MODE_GRADIENT, 1).count[DPT_OP_ASSIGN], 0);
    CHECK_EQ_I64(census_of("mlp", "update", DPT_MODE_GRADIENT, 1).count[DPT_OP_ADAMW], 0);
}

static void none_left(const census *c, const char *where, int n, const int *ops) {
    for (int i = 0; i < n; i++)
        check_that(c->count[ops[i]] == 0, __FILE__, __LINE__, "%s: %d %s left", where, c->count[ops[i]],
                   dpt_ops[ops[i]]->name);
}

static void fuse(void) {
    const census mlp = census_of("mlp", "fuse", DPT_MODE_TRAIN, 1);
    none_left(&mlp, "mlp", 10,
              (int[]){DPT_OP_MATMUL, DPT_OP_ADD, DPT_OP_RELU, DPT_OP_GELU, DPT_OP_TANH, DPT_OP_RELU_GRAD,
                      DPT_OP_SOFTMAX, DPT_OP_ONE_HOT, DPT_OP_SUB, DPT_OP_OFFSET});
    CHECK_EQ_I64(mlp.count[DPT_OP_LINEAR], 4);
    CHECK_EQ_I64(mlp.count[DPT_OP_LINEAR_DGRAD], 3);
    CHECK_EQ_I64(mlp.count[DPT_OP_LINEAR_WGRAD], 4);
    CHECK_EQ_I64(mlp.count[DPT_OP_CROSS_ENTROPY_GRAD], 1);
    CHECK_EQ_I64(mlp.count[DPT_OP_ADAMW], 1);
    CHECK_EQ_I64(mlp.count[DPT_OP_SUM], 1); /* of the loss */
    CHECK(mlp.relu == 2 && mlp.gelu == 2 && mlp.tanh == 2 && mlp.bias == 4);
    const census cnn = census_of("cnn", "fuse", DPT_MODE_TRAIN, 1);
    none_left(&cnn, "cnn", 1, (int[]){DPT_OP_ADD});
    CHECK_EQ_I64(cnn.count[DPT_OP_RELU], 1); /* of conv1, behind its max-pool */
    CHECK(cnn.count[DPT_OP_CONV] == 2 && cnn.relu == 1 && cnn.count[DPT_OP_CONV_WGRAD] == 2);
    CHECK_EQ_I64(cnn.count[DPT_OP_SUM], 1);
    const census residual = census_of("residual", "fuse", DPT_MODE_TRAIN, 1);
    none_left(&residual, "residual", 2, (int[]){DPT_OP_RELU, DPT_OP_RELU_GRAD});
    CHECK_EQ_I64(residual.count[DPT_OP_BN_MASK_SUMS], 2); /* behind bn3 and bn4; bn1 and bn2 find their masks from x */
    CHECK_EQ_I64(residual.count[DPT_OP_BN_GRAD_SUMS], 4);
    CHECK_EQ_I64(residual.count[DPT_OP_BN_APPLY], 6);
    const census inferred = census_of("residual", "fuse", DPT_MODE_PREDICT, 1);
    none_left(&inferred, "residual, predict", 2, (int[]){DPT_OP_RELU, DPT_OP_ADD});
    const census predict = census_of("mlp", "fuse", DPT_MODE_PREDICT, 1);
    CHECK(predict.count[DPT_OP_LINEAR] == 4 && predict.count[DPT_OP_ADD] == 0 && predict.count[DPT_OP_RELU] == 0);
}

/* ---- order ---- */

static bool is_start(const dpt_node *n) { return n->op == DPT_OP_BUCKET_START || n->op == DPT_OP_SUM_START; }

/* Inputs come first; between a bucket's last store and its start stand only stores and other starts. */
static void check_order(const char *name, const dpt_graph *g) {
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        int64_t last = -1;
        for (int k = 0; k < n->n_in; k++) {
            const int64_t from = n->in[k]->node->id;
            check_that(from < i, __FILE__, __LINE__, "%s: node %lld stands before its input", name, (long long)i);
            if (from > last) last = from;
        }
        for (int64_t j = last + 1; n->op == DPT_OP_BUCKET_START && last >= 0 && j < i; j++)
            check_that(g->node[j]->op == DPT_OP_GRAD_STORE || is_start(g->node[j]), __FILE__, __LINE__,
                       "%s: %s stands between a bucket's last store and its start", name, dpt_op_of(g->node[j])->name);
    }
}

static void schedule(void) {
    for (int m = 0; m < program_model_count; m++)
        for (int k = 0; k < 7; k++) {
            program_run r;
            const program_choice choice = {.mode = all_modes[k], .world = 4};
            if (!compiles(&program_models[m], all_modes[k])) continue;
            if (!program_open(&r, &program_models[m], &choice)) continue;
            check_order(program_models[m].name, r.program->graph);
            program_close(&r);
        }
}

/* The first bucket of a deep network starts before the backward pass ends. */
static void overlap(void) {
    program_run r;
    const program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 4};
    if (!program_open(&r, program_model_find("mlp"), &choice)) return;
    const dpt_graph *g = r.program->graph;
    int64_t start = -1, wgrad = -1, wait = -1;
    for (int64_t i = g->n_node - 1; i >= 0; i--) {
        if (g->node[i]->op == DPT_OP_BUCKET_START) start = i;
        if (g->node[i]->op == DPT_OP_BUCKET_WAIT) wait = i;
        if (g->node[i]->op == DPT_OP_LINEAR_WGRAD && wgrad < 0) wgrad = i;
    }
    CHECK(r.plan.n_bucket > 2 && start >= 0 && start < wgrad && wait > wgrad);
    program_close(&r);
}

/* ---- fused against unfused ---- */

static double distance(const program_run *a, const program_run *b, int64_t param, bool gradient) {
    const dpt_tensor *t = a->graph->param[param].tensor;
    const dpt_slot *slot = gradient ? &a->plan.grad[param] : &a->plan.param[param];
    const char *x = (gradient ? a->arenas.grad : a->arenas.param) + slot->offset;
    const char *y = (gradient ? b->arenas.grad : b->arenas.param) + slot->offset;
    if (t->dtype == DPT_F64) return check_relative_f64((const double *)x, (const double *)y, dpt_row_count(t));
    return check_relative_f32((const float *)x, (const float *)y, dpt_row_count(t));
}

static double loss_of(program_run *r) {
    double value = 0;
    float single = 0;
    bool wide = dpt_session_output(r->session, "loss")->dtype == DPT_F64;
    CHECK_OK(dpt_session_read(r->session, "loss", 0, wide ? (void *)&value : &single));
    return wide ? value : (double)single;
}

static void compare(const program_model *m, dpt_mode mode) {
    program_run a = {0}, b = {0};
    const program_choice fused = {.mode = mode, .world = 1}, unfused = {.mode = mode, .world = 1, .unfused = true};
    const bool gradient = mode == DPT_MODE_GRADIENT;
    if (program_open(&a, m, &fused) && program_open(&b, m, &unfused) && program_run_once(&a) && program_run_once(&b)) {
        CHECK(isfinite(loss_of(&b)));
        CHECK_NEAR(loss_of(&a), loss_of(&b), 1e-6);
        for (int64_t i = 0; i < a.graph->n_param; i++) {
            const double d = distance(&a, &b, i, gradient);
            check_that(d <= 2e-6, __FILE__, __LINE__, "%s: %s \"%s\" is off by %.3g when fused", m->name,
                       gradient ? "gradient" : "parameter", a.graph->param[i].name, d);
        }
    }
    program_close(&a);
    program_close(&b);
}

/* What is made again has the same bits, and is not kept: of "residual" the outputs of bn1 and bn2 and, behind bn3,
 * which reads bn1's, and bn4, none; "c" is put out in prediction alone. */
static void recomputed(void) {
    const program_model *m = program_model_find("residual");
    census c = {.pass = "recompute"};
    program_run a = {0}, b = {0};
    const program_choice kept = {.mode = DPT_MODE_GRADIENT, .world = 1, .recompute = DPT_RECOMPUTE_NONE};
    program_choice again = kept;
    again.recompute = DPT_RECOMPUTE_NORM;
    again.after_pass = take_census;
    again.user = &c;
    if (program_open(&a, m, &again) && program_open(&b, m, &kept) && program_run_once(&a) && program_run_once(&b)) {
        CHECK(c.count[DPT_OP_BN_APPLY] > program_count(b.program->graph, DPT_OP_BN_APPLY));
        CHECK_EQ_I64(c.count[DPT_OP_BN_MOMENTS], program_count(b.program->graph, DPT_OP_BN_MOMENTS));
        CHECK(a.program->activation_bytes < b.program->activation_bytes);
        CHECK(memcmp(a.arenas.grad, b.arenas.grad, (size_t)a.plan.grad_bytes) == 0);
    }
    program_close(&a);
    program_close(&b);
}

/* Valid rows of every output in prediction. */
static void compare_outputs(const program_model *m) {
    program_run a = {0}, b = {0};
    const program_choice fused = {.mode = DPT_MODE_PREDICT, .world = 1};
    const program_choice unfused = {.mode = DPT_MODE_PREDICT, .world = 1, .unfused = true};
    if (program_open(&a, m, &fused) && program_open(&b, m, &unfused) && program_run_once(&a) && program_run_once(&b))
        for (int64_t i = 0; i < a.graph->n_output; i++) {
            const char *name = a.graph->output[i].name;
            float x[PROGRAM_OUTPUT], y[PROGRAM_OUTPUT];
            const int64_t n = PROGRAM_ROWS * dpt_session_output(b.session, name)->row_count;
            if (!CHECK(n <= PROGRAM_OUTPUT) || !CHECK_OK(dpt_session_read(a.session, name, PROGRAM_ROWS, x)) ||
                !CHECK_OK(dpt_session_read(b.session, name, PROGRAM_ROWS, y)))
                continue;
            const double d = check_relative_f32(x, y, n);
            check_that(d <= 1e-6, __FILE__, __LINE__, "%s: output \"%s\" is off by %.3g when fused", m->name, name, d);
        }
    program_close(&a);
    program_close(&b);
}

static void fused_numbers(void) {
    for (int m = 0; m < program_model_count; m++) {
        compare(&program_models[m], DPT_MODE_GRADIENT);
        compare(&program_models[m], DPT_MODE_TRAIN);
        compare_outputs(&program_models[m]);
    }
}

/* ---- digests ---- */

static uint64_t digest_of(void (*change)(dpt_graph *g)) {
    dpt_graph *g = dpt_graph_create(NULL);
    program_model_find("mlp")->build(g);
    if (change) change(g);
    dpt_graph_resolve_groups(g);
    CHECK_OK(dpt_graph_status(g));
    const uint64_t digest = dpt_graph_digest(g);
    dpt_graph_destroy(&g);
    return digest;
}

static void add_node(dpt_graph *g) { dpt_relu(g->param[0].tensor); }
static void add_group(dpt_graph *g) { dpt_param_group(g, "fc1.*", (dpt_group){.lr_factor = 1, .no_decay = 1}); }
static void change_init(dpt_graph *g) { g->param[0].init.a *= 2; }
static void change_name(dpt_graph *g) { g->param[0].tensor->node->name[0] = 'g'; }
static void change_weight(dpt_graph *g) { g->loss[0].weight = 2; }
static void change_attr(dpt_graph *g) { g->node[g->n_node - 2]->attr.shape.dim[3] = 7; }
static void change_place(dpt_graph *g) { g->node[3]->line += 100; }

static void digests(void) {
    void (*const change[])(dpt_graph *) = {add_node, add_group, change_init, change_name, change_weight, change_attr};
    const uint64_t same = digest_of(NULL);
    CHECK(same == digest_of(NULL) && same == digest_of(change_place));
    for (int i = 0; i < 6; i++) CHECK(digest_of(change[i]) != same);
    program_run a, b;
    const program_choice small = {.mode = DPT_MODE_TRAIN, .world = 4},
                         large = {.mode = DPT_MODE_TRAIN, .world = 4, .bucket_bytes = 4096};
    if (!program_open(&a, program_model_find("mlp"), &small)) return;
    if (program_open(&b, program_model_find("mlp"), &large)) {
        CHECK(dpt_arena_plan_digest(&a.plan) != dpt_arena_plan_digest(&b.plan));
        CHECK(a.plan.n_bucket > b.plan.n_bucket);
        program_close(&b);
    }
    program_close(&a);
}

/* ---- explain ---- */

static void explain_pass(void *user, const char *pass, const dpt_graph *g) { dpt_explain_graph(user, pass, g); }

static void explain(void) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    program_run r;
    const program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 4, .after_pass = explain_pass, .user = out};
    if (program_open(&r, program_model_find("mlp"), &choice)) {
        dpt_explain_program(out, r.program);
        program_close(&r);
    }
    fclose(out);
    const char *const parts[] = {"after lower:", "after gradient:", "after distribute:", "after update:",
                                 "after fuse:",  "after schedule:", "fc1.weight",        "bucket_start",
                                 "partial",      "program:"};
    for (int i = 0; i < 10; i++) CHECK(strstr(text, parts[i]) != NULL);
    free(text);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "program", {"distribute", distribute}, {"gradient_and_update", gradient_and_update},
                      {"fuse", fuse}, {"schedule", schedule}, {"overlap", overlap}, {"fused_numbers", fused_numbers},
                      {"recomputed", recomputed}, {"digests", digests}, {"explain", explain});
}
