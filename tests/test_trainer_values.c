/* test_trainer_values.c: values in and out of a trainer: evaluation by formula with uneven and empty shares,
 * prediction, params files, memory as announced, parameter groups. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 26, POINTS = 11, IN = 4 };

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.max_rows_of[1] = POINTS;
    o.lr = 0.05;
    o.bucket_bytes = 256;
    return o;
}

/* ---- evaluation ---- */

static void build(dpt_graph *g) {
    const int64_t points = dpt_batch_axis(g, "points");
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *m = dpt_input(g, "m", DPT_F64, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *q = dpt_input(g, "q", DPT_F64, 2, ((int64_t[]){points, IN}));
    dpt_tensor *w = dpt_param(g, "w", DPT_F64, 2, ((int64_t[]){1, IN}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *y = dpt_linear_with(x, w, NULL), *v = dpt_linear_with(q, w, NULL);
    dpt_tensor *size = dpt_sum(dpt_mul(y, y), 2, 0), *high = dpt_sum(v, 2, 0);
    dpt_output(g, "y", dpt_dropout(y, 0.5, "drop"));
    dpt_output(g, "size", size);
    dpt_output(g, "high", high);
    dpt_loss_add(g, size, 2.0, m);
    dpt_loss_add(g, dpt_mul(high, high), 0.5, NULL);
    dpt_loss_add(g, dpt_sum(dpt_mul(w, w), DPT_ALL_AXES, 0), 0.1, NULL);
}

typedef struct batch {
    double x[ROWS * IN], m[ROWS], q[POINTS * IN];
    dpt_array array[3];
} batch;

static void fill(batch *b) {
    fill_f64("x", b->x, ROWS * IN);
    fill_f64("q", b->q, POINTS * IN);
    for (int i = 0; i < ROWS; i++) b->m[i] = i % 4 != 1;
    b->array[0] = array_f64("x", b->x, ROWS);
    b->array[1] = array_f64("m", b->m, ROWS);
    b->array[2] = array_f64("q", b->q, POINTS);
}

static double product(const double *row, const double *w) {
    double sum = 0;
    for (int i = 0; i < IN; i++) sum += row[i] * w[i];
    return sum;
}

typedef struct expected {
    double loss, size, high;
} expected;

static expected formula(const batch *b, const double *w) {
    double counted = 0, masked = 0, square = 0;
    expected e = {0};
    for (int r = 0; r < ROWS; r++) {
        const double y = product(&b->x[r * IN], w);
        e.size += y * y / ROWS;
        masked += b->m[r] * y * y;
        counted += b->m[r];
    }
    for (int r = 0; r < POINTS; r++) {
        const double v = product(&b->q[r * IN], w);
        e.high += v / POINTS;
        square += v * v / POINTS;
    }
    e.loss = 2 * masked / counted + 0.5 * square + 0.1 * product(w, w);
    return e;
}

/* The batch in two parts of any size; then nothing at all. */
static void check_evaluation(trainer_side *s, const batch *b, const expected *e) {
    enum { FIRST = 9, FIRST_POINTS = 2 };
    dpt_array part[3], mine[3];
    dpt_evaluation r;
    for (int i = 0; i < 3; i++) part[i] = b->array[i], part[i].rows = i < 2 ? FIRST : FIRST_POINTS;
    share_arrays(s, part, 3, SHARE_ONE_EMPTY, mine);
    CHECK_OK(dpt_trainer_evaluate(s->trainer, mine, 3));
    part[0] = array_f64("x", b->x + FIRST * IN, ROWS - FIRST);
    part[1] = array_f64("m", b->m + FIRST, ROWS - FIRST);
    part[2] = array_f64("q", b->q + FIRST_POINTS * IN, POINTS - FIRST_POINTS);
    share_arrays(s, part, 3, SHARE_FIRST_EMPTY, mine);
    CHECK_OK(dpt_trainer_evaluate(s->trainer, mine, 3));
    CHECK_OK(dpt_trainer_evaluation(s->trainer, &r));
    CHECK_EQ_I64(r.rows, ROWS);
    CHECK_NEAR(r.loss, e->loss, 1e-12);
    if (CHECK_EQ_I64(r.n_mean, 2)) {
        CHECK_EQ_TEXT(r.name[0], "size");
        CHECK_EQ_TEXT(r.name[1], "high");
        CHECK_NEAR(r.mean[0], e->size, 1e-12);
        CHECK_NEAR(r.mean[1], e->high, 1e-12);
    }
    CHECK_OK(dpt_trainer_evaluation(s->trainer, &r));
    CHECK(r.rows == 0 && r.loss == 0 && r.mean[0] == 0);
}

static void evaluation(void) {
    for (int accumulate = 1; accumulate <= 3; accumulate += 2) {
        trainer_side s;
        batch b;
        double w[IN];
        dpt_array mine[3];
        dpt_trainer_options o = options_of();
        o.accumulate = accumulate;
        fill(&b);
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
        for (int step = 0; step < 2; step++) {
            CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "w", w, sizeof w));
            const expected e = formula(&b, w);
            check_evaluation(&s, &b, &e);
            share_arrays(&s, b.array, 3, SHARE_UNEVEN, mine);
            CHECK_OK(dpt_trainer_step(s.trainer, mine, 3, NULL));
        }
        trainer_side_close(&s);
    }
}

/* ---- prediction ---- */

static void check_prediction(const trainer_side *s, const batch *b) {
    dpt_array mine[1];
    double w[IN], y[ROWS];
    int64_t begin, n;
    share_of(ROWS, SHARE_ONE_EMPTY, &begin, &n);
    share_arrays(s, b->array, 1, SHARE_ONE_EMPTY, mine);
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, "w", w, sizeof w));
    CHECK_OK(dpt_trainer_predict(s->trainer, mine, 1, "y", y, (size_t)n * sizeof *y));
    for (int64_t r = 0; r < n; r++) CHECK_NEAR(y[r], product(&b->x[(begin + r) * IN], w), 1e-12);
    CHECK_FAILS(dpt_trainer_predict(s->trainer, mine, 1, "y", y, (size_t)n * sizeof *y + 1), DPT_ERR_ARG, "bytes");
    CHECK_FAILS(dpt_trainer_predict(s->trainer, mine, 1, "z", y, 0), DPT_ERR_ARG, "the graph has no output \"z\"");
}

static void prediction(void) {
    trainer_side s;
    batch b;
    dpt_trainer_options o = options_of();
    fill(&b);
    for (o.accumulate = 1; o.accumulate <= 2; o.accumulate++) {
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
        check_prediction(&s, &b);
        trainer_side_close(&s);
    }
    o.accumulate = 1;
    o.no_evaluation = 1;
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
    CHECK_FAILS(dpt_trainer_evaluate(s.trainer, b.array, 3), DPT_ERR_ARG, "no_evaluation");
    CHECK_FAILS(dpt_trainer_predict(s.trainer, b.array, 1, "y", NULL, 0), DPT_ERR_ARG, "evaluation");
    trainer_side_close(&s);
}

/* ---- files ---- */

static void build_normed(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *y = dpt_linear(dpt_batch_norm(x, ((dpt_batch_norm_options){0}), "bn"), 2, "fc");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mul(y, y), 1.0, NULL);
}

static void save_and_load(void) {
    trainer_side s, again;
    char path[512];
    float x[ROWS * IN], y[ROWS * 2], z[ROWS * 2];
    dpt_array mine[1];
    dpt_trainer_options o = options_of();
    fill_f32("x", x, ROWS * IN);
    const dpt_array whole = array_f32("x", x, ROWS);
    snprintf(path, sizeof path, "%s/params.h5", check_tmpdir());
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_normed, &o)) return;
    share_arrays(&s, &whole, 1, SHARE_ONE_EMPTY, mine);
    for (int k = 0; k < 3; k++) CHECK_OK(dpt_trainer_step(s.trainer, mine, 1, NULL));
    CHECK_OK(dpt_trainer_save(s.trainer, path, "model: test"));
    CHECK_OK(dpt_trainer_predict(s.trainer, &whole, 1, "y", y, sizeof y));
    o.seed = 5; /* other first values */
    if (trainer_side_open(&again, MPI_COMM_WORLD, 1, build_normed, &o)) {
        CHECK(trainer_distance(&again, &s, DPT_PARAMETER, "fc.weight") > 0.1);
        CHECK_OK(dpt_trainer_load(again.trainer, path));
        CHECK(trainer_distance(&again, &s, DPT_PARAMETER, "fc.weight") == 0);
        CHECK(trainer_distance(&again, &s, DPT_PARAMETER, "bn.weight") == 0);
        CHECK_OK(dpt_trainer_predict(again.trainer, &whole, 1, "y", z, sizeof z));
        CHECK(check_relative_f32(z, y, ROWS * 2) <= 1e-6);
        CHECK_FAILS(dpt_trainer_load(again.trainer, "/nonexistent/params.h5"), DPT_ERR_IO, "/nonexistent/params.h5");
        CHECK_FAILS(dpt_trainer_save(again.trainer, "/nonexistent/params.h5", NULL), DPT_ERR_IO, "/nonexistent");
        trainer_side_close(&again);
    }
    trainer_side_close(&s);
}

/* ---- memory ---- */

static void check_memory(trainer_build_fn model, const dpt_trainer_options *o) {
    trainer_side s;
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, model, o)) return;
    const dpt_memory m = dpt_trainer_memory(s.trainer);
    const size_t sum = m.parameters + m.gradients + m.moments + m.state + m.activations + m.workspace + m.constants +
                       m.control + m.staging;
    CHECK_EQ_I64(m.total, sum);
    CHECK_EQ_I64(m.allocated, m.total);
    CHECK(m.parameters > 0 && m.gradients > 0 && m.activations > 0);
    const size_t before = s.trainer->allocated_before; /* what the communicator holds */
    dpt_trainer_destroy(&s.trainer);
    size_t left = 0;
    for (int i = 0; i < DPT_PURPOSE_COUNT; i++) left += s.ctx->device.allocated[i];
    CHECK_EQ_I64(left, before);
    trainer_side_close(&s);
}

static void memory(void) {
    for (int k = 0; k < 8; k++) {
        dpt_trainer_options o = options_of();
        o.optimizer = k & 1 ? DPT_ADAMW : DPT_SGD;
        o.accumulate = k & 2 ? 2 : 1;
        o.no_evaluation = k & 4;
        o.momentum = k == 0 ? 0 : 0.9;
        check_memory(build, &o);
        check_memory(build_normed, &o);
    }
}

/* Bytes that a trainer for so many rows takes of the device; a device's own memory holds half of the staging. */
static size_t bytes_for(dpt_graph *g, int64_t rows) {
    dpt_trainer_options o = options_of();
    dpt_trainer *t;
    o.max_rows = rows;
    if (!CHECK_OK(dpt_trainer_create(g, &o, &t))) return 0;
    const dpt_memory m = dpt_trainer_memory(t);
    dpt_trainer_destroy(&t);
    return m.total - m.staging / 2 - m.control;
}

/* A plan larger than the limit is refused before anything is taken; the rows that the message names fit, one more does
 * not. */
static void too_large(void) {
    dpt_context *ctx;
    dpt_trainer *t = NULL;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    dpt_graph *g = dpt_graph_create(ctx);
    build(g);
    dpt_trainer_options o = options_of();
    o.max_rows = 100;
    size_t before = 0, after = 0;
    ctx->device.memory_limit = (bytes_for(g, 1) + bytes_for(g, 100)) / 2;
    for (int i = 0; i < DPT_PURPOSE_COUNT; i++) before += ctx->device.allocated[i];
    CHECK_FAILS(dpt_trainer_create(g, &o, &t), DPT_ERR_MEMORY, " rows a rank instead of 100 fit");
    CHECK(t == NULL);
    for (int i = 0; i < DPT_PURPOSE_COUNT; i++) after += ctx->device.allocated[i];
    CHECK_EQ_I64(after, before);
    const char *number = strstr(dpt_last_error(), "are free: ");
    o.max_rows = number ? atoll(number + strlen("are free: ")) : 0;
    if (CHECK(o.max_rows > 0 && o.max_rows < 100)) {
        CHECK_OK(dpt_trainer_create(g, &o, &t));
        dpt_trainer_destroy(&t);
        o.max_rows++;
        CHECK_FAILS(dpt_trainer_create(g, &o, &t), DPT_ERR_MEMORY, "are needed");
        ctx->device.memory_limit = 1;
        CHECK_FAILS(dpt_trainer_create(g, &o, &t), DPT_ERR_MEMORY, "not even one row a rank fits");
    }
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

/* Steps, evaluation and prediction of a trainer that runs already allocate nothing. */
static void steady_state(void) {
    enum { WARM_UP = 12 }; /* steps in which a device's ways to record are made and tried */
    for (int accumulate = 1; accumulate <= 2; accumulate++) {
        trainer_side s;
        batch b;
        dpt_array mine[3];
        double y[ROWS];
        int64_t begin, n, before = 0;
        dpt_trainer_options o = options_of();
        o.accumulate = accumulate;
        fill(&b);
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return;
        share_arrays(&s, b.array, 3, SHARE_UNEVEN, mine);
        share_of(ROWS, SHARE_UNEVEN, &begin, &n);
        for (int k = 0; k < WARM_UP + 4; k++) {
            if (k == WARM_UP) before = dpt_alloc_count();
            CHECK_OK(dpt_trainer_step(s.trainer, mine, 3, NULL));
            CHECK_OK(dpt_trainer_evaluate(s.trainer, mine, 3));
            CHECK_OK(dpt_trainer_predict(s.trainer, mine, 1, "y", y, (size_t)n * sizeof *y));
        }
        CHECK_EQ_I64(dpt_alloc_count() - before, 0);
        trainer_side_close(&s);
    }
}

/* ---- groups ---- */

static void build_groups(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_param_group(g, "*.bias", (dpt_group){.lr_factor = 2, .no_decay = 1});
    dpt_tensor *y = dpt_linear(dpt_linear(x, 3, "fc1"), 2, "fc2");
    dpt_param_group(g, "fc1.*", (dpt_group){.lr_factor = 1, .frozen = 1});
    dpt_loss_add(g, dpt_mul(y, y), 1.0, NULL);
}

/* p' = p - lr * factor * (g + decay * p) as SGD without momentum, one step. */
static void check_group(const trainer_side *s, const char *name, const float *old, int64_t n, double rate,
                        double decay) {
    float now[16], g[16];
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, name, now, (size_t)n * sizeof *now));
    if (rate == 0) {
        CHECK(memcmp(now, old, (size_t)n * sizeof *now) == 0);
        CHECK_FAILS(dpt_trainer_get(s->trainer, DPT_GRADIENT, name, g, (size_t)n * sizeof *g), DPT_ERR_ARG, name);
        return;
    }
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_GRADIENT, name, g, (size_t)n * sizeof *g));
    for (int64_t i = 0; i < n; i++)
        CHECK_NEAR((double)now[i], (double)old[i] - rate * ((double)g[i] + decay * (double)old[i]), 1e-7);
}

static void groups(void) {
    static const char *const name[] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};
    static const int64_t count[] = {3 * IN, 3, 6, 2};
    static const double rate[] = {0, 0, 0.05, 0.1}, decay[] = {0, 0, 0.3, 0};
    trainer_side s;
    float x[ROWS * IN], old[4][16];
    dpt_array mine[1];
    dpt_trainer_options o = options_of();
    o.momentum = 0;
    o.weight_decay = 0.3;
    fill_f32("x", x, ROWS * IN);
    const dpt_array whole = array_f32("x", x, ROWS);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_groups, &o)) return;
    for (int i = 0; i < 4; i++)
        CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, name[i], old[i], (size_t)count[i] * sizeof(float)));
    share_arrays(&s, &whole, 1, SHARE_UNEVEN, mine);
    CHECK_OK(dpt_trainer_step(s.trainer, mine, 1, NULL));
    for (int i = 0; i < 4; i++) check_group(&s, name[i], old[i], count[i], rate[i], decay[i]);
    CHECK_EQ_I64(dpt_trainer_parameters(s.trainer), 3 * IN + 3 + 6 + 2);
    CHECK_FAILS(dpt_trainer_get(s.trainer, DPT_PARAMETER, "fc1.wieght", old[0], 4), DPT_ERR_ARG, "fc1.weight");
    CHECK_FAILS(dpt_trainer_get(s.trainer, DPT_PARAMETER, "fc2.bias", old[0], 4), DPT_ERR_ARG, "8 bytes");
    trainer_side_close(&s);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "trainer_values", {"evaluation", evaluation}, {"prediction", prediction},
                      {"save_and_load", save_and_load}, {"memory", memory}, {"too_large", too_large},
                      {"steady_state", steady_state}, {"groups", groups});
}
