/* test_trainer.c: what a trainer promises around its steps: updates that are skipped or clipped, the same bytes from
 * the same run, failures that all ranks return and survive, evaluation by formula, files, memory. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 26, IN = 6, OUT = 3 };

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.lr = 0.05;
    o.bucket_bytes = 256;
    return o;
}

/* An mlp with batch norm, a counter and a running mean of the batch: parameters, moments and both kinds of state. */
static void build(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, OUT}));
    dpt_tensor *steps = dpt_state(g, "steps", DPT_F64, 0, NULL, DPT_STATE_REPLICATED, 0);
    dpt_tensor *h = dpt_relu(dpt_linear(x, 16, "fc1"));
    h = dpt_batch_norm(h, ((dpt_batch_norm_options){0}), "bn");
    dpt_tensor *y = dpt_linear(h, OUT, "fc2"), *error = dpt_mse(y, t);
    dpt_assign(steps, dpt_offset(steps, 1));
    dpt_output(g, "y", y);
    dpt_output(g, "error", error);
    dpt_loss_add(g, error, 2.0, NULL);
}

typedef struct batch {
    float x[ROWS * IN], t[ROWS * OUT];
    dpt_array array[2];
} batch;

static void fill(batch *b, int step) {
    fill_products(step, ROWS, IN, OUT, b->x, b->t);
    b->array[0] = array_f32("x", b->x, ROWS);
    b->array[1] = array_f32("t", b->t, ROWS);
}

static bool step(trainer_side *s, int k, dpt_metrics *m) {
    batch b;
    dpt_array mine[2];
    fill(&b, k);
    share_arrays(s, b.array, 2, SHARE_UNEVEN, mine);
    return CHECK_OK(trainer_step_now(s->trainer, mine, 2, m));
}

/* Digest of memory of the device; h as it is where there is none. */
static uint64_t digest(const dpt_trainer *t, const char *memory, int64_t bytes, uint64_t h) {
    if (memory == NULL) return h;
    dpt_device *d = &t->ctx->device;
    char *copy = malloc((size_t)bytes + 1);
    CHECK_OK(d->ops->copy_out(d, copy, memory, (size_t)bytes, NULL));
    h = dpt_hash(copy, (size_t)bytes, h);
    free(copy);
    return h;
}

/* The bytes of parameters, moments and state. */
static uint64_t fingerprint(const trainer_side *s) {
    const dpt_trainer *t = s->trainer;
    uint64_t h = digest(t, t->arenas.param, t->plan.param_bytes, 1);
    h = digest(t, t->arenas.state, t->plan.state_bytes, h);
    h = digest(t, t->arenas.moment1, t->plan.grad_bytes, h);
    return digest(t, t->arenas.moment2, t->plan.grad_bytes, h);
}

/* ---- skipped and clipped updates ---- */

/* One bad number, on one rank, for each optimiser: nothing changes anywhere, and the next step is made. */
static void not_finite(void) {
    const float bad[] = {NAN, INFINITY};
    for (int k = 0; k < 4; k++) {
        trainer_side s;
        batch b;
        dpt_array mine[2];
        dpt_metrics m;
        dpt_trainer_options o = options_of();
        o.optimizer = k / 2 ? DPT_ADAMW : DPT_SGD;
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
        step(&s, 0, NULL);
        const uint64_t before = fingerprint(&s);
        fill(&b, 1);
        b.x[(ROWS - 1) * IN + 2] = bad[k % 2];
        share_arrays(&s, b.array, 2, SHARE_UNEVEN, mine);
        CHECK_OK(trainer_step_now(s.trainer, mine, 2, &m));
        CHECK(m.skipped && m.step == 1 && !isfinite(m.grad_norm));
        CHECK(fingerprint(&s) == before);
        CHECK(step(&s, 2, &m) && !m.skipped && isfinite(m.loss));
        CHECK(fingerprint(&s) != before);
        trainer_side_close(&s);
    }
}

/* Under accumulation too: what micro-batches have put into state is taken back. */
static void not_finite_accumulated(void) {
    trainer_side s;
    batch b;
    dpt_array mine[2];
    dpt_metrics m;
    dpt_trainer_options o = options_of();
    o.accumulate = 2;
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
    step(&s, 0, NULL);
    const uint64_t before = fingerprint(&s);
    fill(&b, 1);
    b.x[(ROWS - 1) * IN + 2] = NAN;
    share_arrays(&s, b.array, 2, SHARE_UNEVEN, mine);
    CHECK_OK(trainer_step_now(s.trainer, mine, 2, &m));
    CHECK(m.skipped && fingerprint(&s) == before);
    CHECK(step(&s, 2, &m) && !m.skipped);
    trainer_side_close(&s);
}

/* SGD without momentum: p' = p - lr * g * min(1, clip / (norm + 1e-6)). */
static void clipped(void) {
    trainer_side s;
    dpt_metrics m;
    float w[16 * IN], after[16 * IN], g[16 * IN];
    dpt_trainer_options o = options_of();
    o.momentum = 0;
    o.clip_norm = 0.01;
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "fc1.weight", w, sizeof w));
    step(&s, 0, &m);
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "fc1.weight", after, sizeof after));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "fc1.weight", g, sizeof g));
    CHECK(m.grad_norm > 10 * o.clip_norm);
    for (int i = 0; i < 16 * IN; i++)
        CHECK_NEAR((double)after[i], (double)w[i] - 0.05 * (double)g[i] * 0.01 / (m.grad_norm + 1e-6), 1e-7);
    double square = 0;
    for (int64_t i = 0; i < s.graph->n_param; i++) {
        float values[512];
        const int64_t n = dpt_row_count(s.graph->param[i].tensor);
        CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, s.graph->param[i].name, values, (size_t)n * 4));
        for (int64_t k = 0; k < n; k++) square += (double)values[k] * (double)values[k];
    }
    CHECK_NEAR(m.grad_norm, sqrt(square), 1e-9);
    trainer_side_close(&s);
}

/* ---- the same run twice ---- */

static uint64_t train(int threads, int accumulate) {
    trainer_side s;
    dpt_trainer_options o = options_of();
    o.optimizer = DPT_ADAMW;
    o.accumulate = accumulate;
    if (!trainer_side_open(&s, MPI_COMM_WORLD, threads, build, &o)) return 0;
    for (int k = 0; k < 10; k++) step(&s, k, NULL);
    const uint64_t h = digest(s.trainer, s.trainer->arenas.param, s.trainer->plan.param_bytes, 1);
    uint64_t ends[2] = {h, ~h};
    MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
    CHECK(ends[0] == ~ends[1]); /* replicas are equal */
    trainer_side_close(&s);
    return h;
}

static void same_bytes(void) {
    CHECK(train(1, 1) == train(1, 1));
    CHECK(train(2, 1) == train(2, 1));
    CHECK(train(1, 3) == train(1, 3));
}

/* ---- failures that are agreed ---- */

/* Hands `odd` to one rank and the right arrays to the others. */
static void fails_everywhere(trainer_side *s, const batch *b, const dpt_array *odd, int n_odd, const char *text) {
    dpt_array mine[2];
    char prefix[32] = "";
    const int bad = check_world() - 1;
    share_arrays(s, b->array, 2, SHARE_EVEN, mine);
    if (check_world() > 1) snprintf(prefix, sizeof prefix, "rank %d: ", bad);
    const bool mine_is_odd = check_rank() == bad;
    for (int call = 0; call < 3; call++) {
        const dpt_array *in = mine_is_odd ? odd : mine;
        const int n = mine_is_odd ? n_odd : 2;
        if (call == 0) CHECK_FAILS(dpt_trainer_step(s->trainer, in, n, NULL), DPT_ERR_ARG, text);
        if (call == 1) CHECK_FAILS(dpt_trainer_gradient(s->trainer, in, n, NULL), DPT_ERR_ARG, text);
        if (call == 2) CHECK_FAILS(dpt_trainer_evaluate(s->trainer, in, n), DPT_ERR_ARG, text);
        CHECK(strncmp(dpt_last_error(), prefix, strlen(prefix)) == 0);
    }
}

static void bad_arrays(void) {
    trainer_side s;
    batch b;
    dpt_metrics m;
    dpt_trainer_options o = options_of();
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
    fill(&b, 0);
    step(&s, 0, NULL);
    const uint64_t before = fingerprint(&s);
    const dpt_array x = array_f32("x", b.x, 4), t = array_f32("t", b.t, 4);
    fails_everywhere(&s, &b, &x, 1, "no array for input \"t\" [B,3]");
    fails_everywhere(&s, &b, ((dpt_array[]){x, t, array_f32("z", b.t, 4)}), 3, "the graph has no input \"z\"");
    fails_everywhere(&s, &b, ((dpt_array[]){x, array_f32("t", b.t, 5)}), 2, "5 rows");
    fails_everywhere(&s, &b, ((dpt_array[]){array_f32("x", b.x, ROWS + 1), array_f32("t", b.t, ROWS + 1)}), 2,
                     "27 rows, at most 26");
    fails_everywhere(&s, &b, ((dpt_array[]){array_f32("x", b.x, -1), array_f32("t", b.t, -1)}), 2, "-1 rows");
    fails_everywhere(&s, &b, ((dpt_array[]){array_f32("x", NULL, 4), t}), 2, "input \"x\": data is NULL");
    fails_everywhere(&s, &b, ((dpt_array[]){{"x", b.x, (dpt_dtype)99, DPT_HOST, 4, NULL}, t}), 2, "input \"x\"");
    CHECK(fingerprint(&s) == before);
    CHECK(step(&s, 1, &m) && m.step == 1 && !m.skipped);
    trainer_side_close(&s);
}

/* Targets that are no integers, or do not fit. */
static void build_classes(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_U8, 1, ((int64_t[]){DPT_BATCH}));
    dpt_loss_add(g, dpt_cross_entropy(dpt_linear(x, 10, "fc"), t), 1, NULL);
}

static void bad_types(void) {
    trainer_side s;
    float x[ROWS * IN], real[ROWS] = {0};
    int32_t large[ROWS] = {0};
    uint8_t good[ROWS] = {0};
    dpt_trainer_options o = options_of();
    large[2] = 300;
    fill_f32("x", x, ROWS * IN);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_classes, &o)) return;
    const dpt_array ax = array_f32("x", x, 4), u8 = {"t", good, DPT_U8, DPT_HOST, 4, NULL};
    const dpt_array wrong[] = {array_f32("t", real, 4), {"t", large, DPT_I32, DPT_HOST, 4, NULL}};
    const char *const text[] = {"input \"t\": f32 cannot become u8", "input \"t\": element 2 is 300"};
    for (int k = 0; k < 2; k++) {
        const bool odd = check_rank() == check_world() - 1;
        const dpt_array in[] = {ax, odd ? wrong[k] : u8};
        CHECK_FAILS(dpt_trainer_step(s.trainer, in, 2, NULL), DPT_ERR_ARG, text[k]);
        CHECK_FAILS(dpt_trainer_evaluate(s.trainer, in, 2), DPT_ERR_ARG, text[k]);
    }
    const dpt_array fine[] = {ax, u8};
    CHECK_OK(dpt_trainer_step(s.trainer, fine, 2, NULL));
    trainer_side_close(&s);
}

static void build_odd(dpt_graph *g) {
    build(g);
    if (check_rank() == check_world() - 1) dpt_param_group(g, "fc1.*", (dpt_group){.lr_factor = 0.5});
}

static void build_broken(dpt_graph *g) {
    build(g);
    if (check_rank() == 0) dpt_linear(dpt_constant(g, DPT_I32, 1, (int64_t[]){1}, &(int32_t){0}), 2, "fc3");
}

static void create_fails(trainer_build_fn wrong, dpt_status code, const char *text) {
    trainer_side s = {0};
    dpt_trainer_options o = options_of();
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 0, &s.ctx))) return;
    s.graph = dpt_graph_create(s.ctx);
    wrong(s.graph);
    CHECK_FAILS(dpt_trainer_create(s.graph, &o, &s.trainer), code, text);
    CHECK(s.trainer == NULL);
    trainer_side_close(&s);
}

/* With two ranks nobody can say which is the odd one; the message names one of them. */
static void odd_graph(void) {
    char text[64];
    create_fails(build_broken, DPT_ERR_SHAPE, "test_trainer.c:");
    if (check_world() == 1) return;
    snprintf(text, sizeof text, "rank %d against the others", check_world() - 1);
    create_fails(build_odd, DPT_ERR_CONFIG, text);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "trainer", {"not_finite", not_finite},
                      {"not_finite_accumulated", not_finite_accumulated}, {"clipped", clipped},
                      {"same_bytes", same_bytes}, {"bad_arrays", bad_arrays}, {"bad_types", bad_types},
                      {"odd_graph", odd_graph});
}
