/* test_optimizers.c: optimisers and the moving average against PyTorch and NumPy, parameters whole and cut over ranks
 * (ZeRO-1); averages in evaluation and files; a step that does not count; what is refused. */
#include <math.h>
#include <stdio.h>

#include "golden/training.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 6, IN = 100, OUT = 3, STEPS = 5, SHOWN = 12 };

typedef struct data {
    float w[OUT * IN], b[OUT], x[ROWS * IN], t[ROWS * OUT];
} data;

static void wave(float *to, int n, double a, double b, double scale) {
    for (int i = 0; i < n; i++) to[i] = (float)(scale * sin(a * i + b));
}

static void build(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, OUT}));
    dpt_param_group(g, "*.bias", (dpt_group){.lr_factor = 1, .no_decay = 1});
    dpt_tensor *y = dpt_linear(x, OUT, "fc");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
}

static dpt_trainer_options options_of(dpt_optimizer optimizer, double lr) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.optimizer = optimizer;
    o.lr = lr;
    o.weight_decay = 0.1;
    return o;
}

static bool begin(trainer_side *s, data *d, const dpt_trainer_options *o) {
    wave(d->w, OUT * IN, 2.1, 1, 0.2);
    wave(d->b, OUT, 1, 0, 0.1);
    wave(d->x, ROWS * IN, 1.3, 0.5, 1);
    wave(d->t, ROWS * OUT, 0.9, 0, 1);
    return trainer_side_open(s, MPI_COMM_WORLD, 1, build, o) &&
           CHECK_OK(dpt_trainer_set(s->trainer, DPT_PARAMETER, "fc.weight", d->w, sizeof d->w)) &&
           CHECK_OK(dpt_trainer_set(s->trainer, DPT_PARAMETER, "fc.bias", d->b, sizeof d->b));
}

static void shares(const trainer_side *s, const data *d, dpt_array mine[2]) {
    const dpt_array whole[] = {array_f32("x", d->x, ROWS), array_f32("t", d->t, ROWS)};
    share_arrays(s, whole, 2, SHARE_EVEN, mine);
}

static bool steps(trainer_side *s, const data *d, int n) {
    dpt_array mine[2];
    shares(s, d, mine);
    for (int i = 0; i < n; i++)
        if (!CHECK_OK(dpt_trainer_step(s->trainer, mine, 2, NULL))) return false;
    return true;
}

static void check_values(trainer_side *s, dpt_what what, const double *golden, const char *name) {
    float w[OUT * IN], b[OUT];
    double got[SHOWN] = {0};
    if (!CHECK_OK(dpt_trainer_get(s->trainer, what, "fc.weight", w, sizeof w))) return;
    if (!CHECK_OK(dpt_trainer_get(s->trainer, what, "fc.bias", b, sizeof b))) return;
    for (int i = 0; i < 4; i++) got[i] = (double)w[i], got[4 + i] = (double)w[OUT * IN - 4 + i];
    for (int i = 0; i < OUT * IN; i++) got[8] += (double)w[i] * cos(i);
    for (int i = 0; i < OUT; i++) got[9 + i] = (double)b[i];
    for (int i = 0; i < SHOWN; i++)
        check_that(fabs(got[i] - golden[i]) <= 5e-6 * (1 + fabs(golden[i])), __FILE__, __LINE__,
                   "%s, value %d: %.9g, not %.9g", name, i, got[i], golden[i]);
}

static void run(dpt_trainer_options o, const double *golden, const char *name) {
    static data d;
    for (o.zero = 0; o.zero <= 1; o.zero++) {
        trainer_side s;
        if (begin(&s, &d, &o) && steps(&s, &d, STEPS)) check_values(&s, DPT_PARAMETER, golden, name);
        trainer_side_close(&s);
    }
}

static void nesterov_by_pytorch(void) {
    dpt_trainer_options o = options_of(DPT_SGD, 0.05);
    o.nesterov = 1;
    run(o, nesterov, "nesterov");
}

static void adam_by_pytorch(void) { run(options_of(DPT_ADAM, 0.05), adam, "adam"); }

static void lars_by_numpy(void) {
    dpt_trainer_options o = options_of(DPT_LARS, 2);
    o.trust = 0.02;
    run(o, lars, "lars");
}

static void lamb_by_numpy(void) { run(options_of(DPT_LAMB, 0.05), lamb, "lamb"); }

/* ---- averages ---- */

static double evaluated(trainer_side *s, const data *d) {
    dpt_array mine[2];
    dpt_evaluation e = {0};
    shares(s, d, mine);
    CHECK_OK(dpt_trainer_evaluate(s->trainer, mine, 2));
    CHECK_OK(dpt_trainer_evaluation(s->trainer, &e));
    return e.loss;
}

static void averages(void) {
    static data d;
    char path[512];
    dpt_trainer_options o = options_of(DPT_SGD, 0.05);
    o.momentum = o.weight_decay = 0;
    o.average_decay = 0.4;
    for (o.zero = 0; o.zero <= 1; o.zero++) {
        trainer_side s;
        if (!begin(&s, &d, &o) || !steps(&s, &d, STEPS)) return;
        CHECK_NEAR(evaluated(&s, &d), average[SHOWN], 1e-6); /* first: it brings the averages together by itself */
        check_values(&s, DPT_AVERAGE, average, "average");
        snprintf(path, sizeof path, "%s/average%d.h5", check_tmpdir(), o.zero);
        CHECK_OK(dpt_trainer_save(s.trainer, path, NULL));
        CHECK_OK(dpt_trainer_load(s.trainer, path)); /* both are now what the file has */
        check_values(&s, DPT_PARAMETER, average, "parameters of the file");
        check_values(&s, DPT_AVERAGE, average, "averages of the file");
        CHECK_NEAR(evaluated(&s, &d), average[SHOWN], 1e-6);
        trainer_side_close(&s);
    }
}

/* ---- a step that does not count changes nothing ---- */

static void not_finite(void) {
    static data d;
    static const dpt_optimizer all[] = {DPT_ADAM, DPT_LARS, DPT_LAMB};
    for (int k = 0; k < 3; k++) {
        trainer_side s;
        float w[2][OUT * IN], a[2][OUT * IN];
        dpt_trainer_options o = options_of(all[k], 0.05);
        o.average_decay = 0.9;
        if (!begin(&s, &d, &o) || !steps(&s, &d, 1)) return;
        for (int i = 0; i < 2; i++) {
            CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "fc.weight", w[i], sizeof w[i]));
            CHECK_OK(dpt_trainer_get(s.trainer, DPT_AVERAGE, "fc.weight", a[i], sizeof a[i]));
            d.x[7] = INFINITY;
            if (i == 0) steps(&s, &d, 1);
        }
        CHECK(memcmp(w[0], w[1], sizeof w[0]) == 0 && memcmp(a[0], a[1], sizeof a[0]) == 0);
        d.x[7] = 0.25F;
        steps(&s, &d, 1); /* moments are finite still */
        CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "fc.weight", w[1], sizeof w[1]));
        for (int i = 0; i < OUT * IN; i++) CHECK(isfinite(w[1][i]));
        trainer_side_close(&s);
    }
}

/* ---- what is refused ---- */

static void expect_refused(const dpt_trainer_options *o, const char *text) {
    dpt_context *ctx;
    dpt_trainer *t;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    dpt_graph *g = dpt_graph_create(ctx);
    build(g);
    CHECK_FAILS(dpt_trainer_create(g, o, &t), DPT_ERR_ARG, text);
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

static void refuses(void) {
    dpt_trainer_options o = options_of(DPT_ADAM, 0.05);
    o.nesterov = 1;
    expect_refused(&o, "nesterov goes with SGD");
    o = options_of(DPT_LAMB, 0.05);
    o.update_by_bucket = 1;
    expect_refused(&o, "without LARS and LAMB");
    o = options_of(DPT_LARS, 0.05);
    o.trust = 0;
    expect_refused(&o, "LARS needs one above 0");
    o = options_of(DPT_SGD, 0.05);
    o.average_decay = 1;
    expect_refused(&o, "average_decay is 1");
    o = options_of(DPT_ADAM, 0.05);
    o.beta2 = 1;
    expect_refused(&o, "beta2 1: in [0, 1)");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "optimizers", {"nesterov_by_pytorch", nesterov_by_pytorch},
                      {"adam_by_pytorch", adam_by_pytorch}, {"lars_by_numpy", lars_by_numpy},
                      {"lamb_by_numpy", lamb_by_numpy}, {"averages", averages}, {"not_finite", not_finite},
                      {"refuses", refuses});
}
