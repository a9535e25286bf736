/* test_ranks.c: training means the same on every rank count: gradients, losses, random draws, masked counts, batch
 * statistics. The reference is this rank alone with the whole batch, or a formula. */
#include <stdio.h>

#include "backend/backend.h"
#include "base/random.h"
#include "trainer_pair.h"

enum { ROWS = 37 };

static dpt_trainer_options options_of(int64_t rows) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = rows;
    o.lr = 0.05;
    o.bucket_bytes = 512; /* several buckets */
    return o;
}

/* ---- an mlp with tanh ---- */

static void build_mlp(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 12}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_tensor *h = dpt_tanh(dpt_linear(x, 24, "fc1"));
    h = dpt_tanh(dpt_linear(h, 24, "fc2"));
    dpt_loss_add(g, dpt_mse(dpt_linear(h, 3, "fc3"), t), 1.0, NULL);
}

typedef struct mlp_batch {
    float x[ROWS * 12], t[ROWS * 3];
    dpt_array array[2];
} mlp_batch;

static void fill_mlp(mlp_batch *b, int step) {
    char name[16];
    snprintf(name, sizeof name, "x%d", step);
    fill_f32(name, b->x, ROWS * 12);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < 3; j++) b->t[r * 3 + j] = b->x[r * 12 + j] * b->x[r * 12 + 5] - 0.3F;
    b->array[0] = array_f32("x", b->x, ROWS);
    b->array[1] = array_f32("t", b->t, ROWS);
}

static void first_gradient(void) {
    trainer_pair p;
    mlp_batch b;
    dpt_metrics all, alone;
    dpt_trainer_options o = options_of(ROWS);
    fill_mlp(&b, 0);
    if (!trainer_pair_open(&p, build_mlp, &o)) return;
    for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++) {
        if (!trainer_pair_gradient(&p, b.array, 2, turn, &all, &alone)) break;
        trainer_pair_check_gradients(&p, 1e-6);
        CHECK(fabs(all.loss - alone.loss) <= 1e-6 * alone.loss);
        CHECK_EQ_I64(all.rows, ROWS);
    }
    trainer_pair_close(&p);
}

static void hundred_steps(void) {
    trainer_pair p;
    mlp_batch b;
    dpt_metrics all, alone, first = {0};
    dpt_trainer_options o = options_of(ROWS);
    if (!trainer_pair_open(&p, build_mlp, &o)) return;
    for (int step = 0; step < 100; step++) {
        fill_mlp(&b, step);
        if (!trainer_pair_step(&p, b.array, 2, SHARE_ONE_EMPTY, &all, &alone)) break;
        if (step == 0) first = alone;
        CHECK(fabs(all.loss - alone.loss) <= 1e-5 * alone.loss);
        CHECK_EQ_I64(all.step, step);
    }
    CHECK(alone.loss < 0.7 * first.loss);
    trainer_pair_close(&p);
}

/* Wide enough that gradients travel on the communication thread, under the rest of the backward pass. */
static void build_wide(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 12}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_tensor *h = dpt_tanh(dpt_linear(x, 160, "fc1"));
    for (int i = 0; i < 3; i++) h = dpt_tanh(dpt_linear(h, 160, ((const char *[]){"fc2", "fc3", "fc4"})[i]));
    dpt_loss_add(g, dpt_mse(dpt_linear(h, 3, "fc5"), t), 1.0, NULL);
}

static void threaded_exchange(void) {
    trainer_pair p = {0};
    mlp_batch b;
    dpt_trainer_options o = options_of(ROWS);
    if (!trainer_side_open(&p.all, MPI_COMM_WORLD, 2, build_wide, &o)) return;
    CHECK(p.all.ctx->comm.overlaps == (check_world() > 1 && !p.all.ctx->comm.host_staged));
    if (trainer_side_open(&p.alone, MPI_COMM_SELF, 1, build_wide, &o)) {
        for (int step = 0; step < 10; step++) {
            fill_mlp(&b, step);
            if (!trainer_pair_step(&p, b.array, 2, SHARE_ONE_EMPTY, NULL, NULL)) break;
            trainer_pair_check_gradients(&p, step ? 1e-4 : 1e-6);
        }
        trainer_pair_check_parameters(&p, 1e-5);
    }
    trainer_pair_close(&p);
}

/* ---- random draws by sample ---- */

enum { DRAWN = 5 };

/* Sum over the batch of mask * 2^row, exact in f64. */
static void build_draws(dpt_graph *g) {
    const char *const names[] = {"drop1", "drop2"};
    dpt_tensor *one = dpt_input(g, "one", DPT_F64, 2, ((int64_t[]){DPT_BATCH, DRAWN}));
    dpt_tensor *power = dpt_input(g, "power", DPT_F64, 2, ((int64_t[]){DPT_BATCH, 1}));
    dpt_tensor *p = dpt_param(g, "p", DPT_F64, 1, (int64_t[]){DRAWN}, ((dpt_init){DPT_INIT_ONES, 0, 0}));
    for (int i = 0; i < 2; i++) {
        dpt_tensor *y = dpt_dropout(one, 0.5, names[i]);
        dpt_tensor *seen = dpt_state(g, i ? "seen2" : "seen1", DPT_F64, 1, (int64_t[]){DRAWN}, DPT_STATE_REPLICATED, 0);
        dpt_assign(seen, dpt_sum(dpt_mul(y, power), 1, 0));
        dpt_loss_add(g, dpt_mul(y, p), 1.0, NULL);
    }
}

/* What Philox draws, straight from the definition. */
static double drawn(const char *name, uint64_t seed, int64_t element, int step) {
    double sum = 0;
    for (int64_t row = 0; row < ROWS; row++) {
        const dpt_random4 r =
            dpt_random_quad(dpt_random_key(name, seed), (uint32_t)(element / 4), (uint64_t)row, (uint32_t)step);
        if (dpt_uniform_f32(r.v[element % 4]) >= 0.5F) sum += 2 * ldexp(1, (int)row);
    }
    return sum;
}

static void check_draws(const trainer_side *s, const char *state, const char *name, uint64_t seed, int step) {
    double seen[DRAWN];
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, state, seen, sizeof seen));
    for (int64_t i = 0; i < DRAWN; i++) CHECK(seen[i] == drawn(name, seed, i, step));
}

static void dropout_masks(void) {
    double one[ROWS * DRAWN], power[ROWS];
    for (int i = 0; i < ROWS * DRAWN; i++) one[i] = 1;
    for (int i = 0; i < ROWS; i++) power[i] = ldexp(1, i);
    dpt_array in[] = {array_f64("one", one, ROWS), array_f64("power", power, ROWS)};
    trainer_pair p;
    dpt_trainer_options o = options_of(ROWS);
    o.seed = 77;
    if (!trainer_pair_open(&p, build_draws, &o)) return;
    for (int step = 0; step < 3; step++) {
        if (!trainer_pair_step(&p, in, 2, step + 1, NULL, NULL)) break;
        check_draws(&p.all, "seen1", "drop1", 77, step);
        check_draws(&p.all, "seen2", "drop2", 77, step);
        check_draws(&p.alone, "seen1", "drop1", 77, step);
    }
    trainer_pair_close(&p);
    CHECK(drawn("drop1", 77, 0, 0) != drawn("drop1", 77, 0, 1));
    CHECK(drawn("drop1", 77, 0, 0) != drawn("drop2", 77, 0, 0));
    CHECK(drawn("drop1", 77, 0, 0) != drawn("drop1", 78, 0, 0));
}

/* ---- losses with masks, on two batch axes ---- */

enum { POINTS = 23 };
static const double data_weight = 1.5, point_weight = 0.3, plain_weight = 0.5;

static void build_masked(dpt_graph *g) {
    const int64_t points = dpt_batch_axis(g, "points");
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 2, ((int64_t[]){DPT_BATCH, 4}));
    dpt_tensor *m = dpt_input(g, "m", DPT_F64, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *q = dpt_input(g, "q", DPT_F64, 2, ((int64_t[]){points, 4}));
    dpt_tensor *k = dpt_input(g, "k", DPT_F64, 2, ((int64_t[]){points, 2}));
    dpt_tensor *w = dpt_param(g, "w", DPT_F64, 2, ((int64_t[]){2, 4}), ((dpt_init){DPT_INIT_NORMAL, 0, 0.5}));
    dpt_tensor *y = dpt_tanh(dpt_linear_with(x, w, NULL)), *v = dpt_linear_with(q, w, NULL);
    dpt_loss_add(g, dpt_mean(dpt_mul(y, y), 2, 0), data_weight, m);
    dpt_loss_add(g, dpt_mul(v, v), point_weight, k);
    dpt_loss_add(g, dpt_sum(v, 2, 0), plain_weight, NULL);
}

typedef struct masked_batch {
    double x[ROWS * 4], m[ROWS], q[POINTS * 4], k[POINTS * 2];
    dpt_array array[4];
} masked_batch;

static void fill_masked(masked_batch *b) {
    fill_f64("x", b->x, ROWS * 4);
    fill_f64("q", b->q, POINTS * 4);
    for (int i = 0; i < ROWS; i++) b->m[i] = i % 3 != 0;
    for (int i = 0; i < POINTS * 2; i++) b->k[i] = i % 5 < 2;
    b->array[0] = array_f64("k", b->k, POINTS);
    b->array[1] = array_f64("x", b->x, ROWS);
    b->array[2] = array_f64("q", b->q, POINTS);
    b->array[3] = array_f64("m", b->m, ROWS);
}

static double product(const double *row, const double *w) {
    return row[0] * w[0] + row[1] * w[1] + row[2] * w[2] + row[3] * w[3];
}

/* The three losses and dloss/dw [2,4], written out. */
static double masked_formula(const masked_batch *b, const double *w, double *dw) {
    double loss[3] = {0}, counted[3] = {0, 0, POINTS}, d[3][8] = {{0}};
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < 2; j++) {
            const double y = tanh(product(&b->x[r * 4], &w[j * 4]));
            loss[0] += b->m[r] * y * y / 2;
            counted[0] += b->m[r] / 2;
            for (int i = 0; i < 4; i++) d[0][j * 4 + i] += b->m[r] * y * (1 - y * y) * b->x[r * 4 + i];
        }
    for (int r = 0; r < POINTS; r++)
        for (int j = 0; j < 2; j++) {
            const double v = product(&b->q[r * 4], &w[j * 4]), k = b->k[r * 2 + j];
            loss[1] += k * v * v;
            loss[2] += v;
            counted[1] += k;
            for (int i = 0; i < 4; i++) d[1][j * 4 + i] += 2 * k * v * b->q[r * 4 + i];
            for (int i = 0; i < 4; i++) d[2][j * 4 + i] += b->q[r * 4 + i];
        }
    const double scale[3] = {data_weight / counted[0], point_weight / counted[1], plain_weight / counted[2]};
    for (int i = 0; i < 8; i++) dw[i] = scale[0] * d[0][i] + scale[1] * d[1][i] + scale[2] * d[2][i];
    return scale[0] * loss[0] + scale[1] * loss[1] + scale[2] * loss[2];
}

static dpt_trainer_options masked_options(int accumulate) {
    dpt_trainer_options o = options_of(ROWS);
    o.max_rows_of[1] = POINTS;
    o.accumulate = accumulate;
    return o;
}

/* Each axis is cut its own way. */
static void share_axes(const trainer_side *s, const masked_batch *b, dpt_array mine[4]) {
    share_arrays(s, &b->array[0], 1, SHARE_FIRST_EMPTY, &mine[0]);
    share_arrays(s, &b->array[1], 1, SHARE_ONE_EMPTY, &mine[1]);
    share_arrays(s, &b->array[2], 1, SHARE_FIRST_EMPTY, &mine[2]);
    share_arrays(s, &b->array[3], 1, SHARE_ONE_EMPTY, &mine[3]);
}

/* Whether the masked losses are counted over the whole batch. accumulate > 1 reads the gradient of a step. */
static void masked_with(int accumulate) {
    masked_batch b;
    trainer_side s;
    dpt_array mine[4];
    dpt_metrics m = {0};
    double w[8], dw[8], got[8];
    dpt_trainer_options o = masked_options(accumulate);
    fill_masked(&b);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_masked, &o)) return;
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "w", w, sizeof w));
    share_axes(&s, &b, mine);
    CHECK_OK(trainer_step_now(s.trainer, mine, 4, &m));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "w", got, sizeof got));
    const double loss = masked_formula(&b, w, dw);
    CHECK_NEAR(m.loss, loss, 1e-12);
    CHECK(check_relative_f64(got, dw, 8) <= 1e-12);
    CHECK_NEAR(m.grad_norm, check_relative_f64(dw, (double[8]){0}, 8), 1e-12);
    trainer_side_close(&s);
}

static void masked_losses(void) { masked_with(1); }
static void masked_losses_accumulated(void) { masked_with(3); }

/* ---- micro-batches ---- */

static void build_dropped(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 12}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_tensor *h = dpt_dropout(dpt_tanh(dpt_linear(x, 24, "fc1")), 0.25, "drop");
    dpt_loss_add(g, dpt_mse(dpt_linear(h, 3, "fc2"), t), 1.0, NULL);
}

/* One step in one batch and in three micro-batches: the same draws, gradients, parameters. */
static void accumulated(void) {
    trainer_pair p = {0};
    mlp_batch b;
    dpt_array mine[2];
    dpt_trainer_options o = options_of(ROWS), three = o;
    three.accumulate = 3;
    fill_mlp(&b, 0);
    if (!trainer_side_open(&p.all, MPI_COMM_WORLD, 1, build_dropped, &three)) return;
    if (trainer_side_open(&p.alone, MPI_COMM_SELF, 1, build_dropped, &o)) {
        for (int step = 0; step < 3; step++) {
            share_arrays(&p.all, b.array, 2, SHARE_UNEVEN, mine);
            CHECK_OK(dpt_trainer_step(p.all.trainer, mine, 2, NULL));
            CHECK_OK(dpt_trainer_step(p.alone.trainer, b.array, 2, NULL));
            trainer_pair_check_gradients(&p, step ? 1e-5 : 1e-6);
        }
        trainer_pair_check_parameters(&p, 1e-6);
    }
    trainer_pair_close(&p);
}

static void build_relative(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 12}));
    dpt_tensor *y = dpt_linear(x, 1, "fc");
    dpt_loss_add(g, dpt_sqrt(dpt_sum(dpt_mul(y, y), DPT_ALL_AXES, 0)), 1.0, NULL);
}

static void accumulated_norm(void) {
    trainer_side s;
    dpt_trainer_options o = options_of(ROWS);
    o.accumulate = 2;
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 0, &s.ctx))) return;
    s.graph = dpt_graph_create(s.ctx);
    build_relative(s.graph);
    CHECK_FAILS(dpt_trainer_create(s.graph, &o, &s.trainer), DPT_ERR_UNSUPPORTED, "accumulated micro-batches");
    CHECK(strstr(dpt_last_error(), "test_ranks.c:") != NULL);
    CHECK(s.trainer == NULL);
    trainer_side_close(&s);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "ranks", {"first_gradient", first_gradient}, {"hundred_steps", hundred_steps},
                      {"threaded_exchange", threaded_exchange}, {"dropout_masks", dropout_masks},
                      {"masked_losses", masked_losses}, {"masked_losses_accumulated", masked_losses_accumulated},
                      {"accumulated", accumulated}, {"accumulated_norm", accumulated_norm});
}
