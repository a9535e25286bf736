/* Metrics of evaluation: values of small tables worked out by hand, exact counts however rows are shared out over ranks
 * and batches; the loss of mixed samples is lambda times their own and 1 - lambda times their partner's. */
#include "train/measures.h"

#include "check.h"
#include "dptrain/dptrain.h"
#include "models/zoo.h"

static dpt_control control;

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) { dpt_control_close(&control); }

static dpt_measures *make(int64_t classes, int64_t values, const char *const *names, int count) {
    dpt_measures *m = NULL;
    CHECK_OK(dpt_measures_create(
        &(dpt_measures_about){.names = names, .count = count, .classes = classes, .values = values}, &m));
    return m;
}

static double value(const dpt_measures *m, const char *name) {
    for (int i = 0; i < dpt_measures_count(m); i++)
        if (strcmp(dpt_measures_name(m, i), name) == 0) return dpt_measures_value(m, i);
    return -1;
}

/* Rows [from, to) of n that this rank adds. */
static void share(int64_t n, int64_t *from, int64_t *to) {
    *from = n * check_rank() / check_world();
    *to = n * (check_rank() + 1) / check_world();
}

/* Six classes, eight samples; the target's place in each row: 0, 1, 0 (ties with later ones), 1 (ties with an earlier
 * one), 5, 4, -, 0. The seventh has no class; NaN never is right. */
static void classes(void) {
    static const float logits[8][6] = {{9, 1, 2, 3, 4, 5}, {9, 8, 2, 3, 4, 5}, {0, 0, 7, 7, 7, 0}, {7, 0, 7, 0, 0, 0},
                                       {5, 6, 7, 8, 9, 1}, {5, 6, 7, 8, 1, 2}, {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5, 6}};
    static const int64_t target[8] = {0, 1, 2, 2, 5, 0, -1, 5};
    static const char *const names[] = {"top5", "confusion", "accuracy"};
    for (int round = 0; round < 2; round++) { /* a finish begins anew */
        dpt_measures *m = make(6, 6, names, 3);
        int64_t from, to;
        share(8, &from, &to);
        for (int64_t r = from; m && r < to; r++) dpt_measures_add(m, logits[r], target + r, 1);
        if (!m || !CHECK_OK(dpt_measures_finish(m, &control))) return;
        CHECK_EQ_I64(dpt_measures_count(m), 2);
        CHECK_NEAR(value(m, "accuracy"), 3.0 / 7, 1e-15);
        CHECK_NEAR(value(m, "top5"), 6.0 / 7, 1e-15); /* 0, 1, 0, 1, 5, 3, 0 stand before it */
        static const int64_t wanted[36] = {[0] = 1, [3] = 1, [6] = 1, [14] = 1, [12] = 1, [34] = 1, [35] = 1};
        CHECK(memcmp(dpt_measures_confusion(m), wanted, sizeof wanted) == 0);
        CHECK_OK(dpt_measures_finish(m, &control));
        CHECK(isnan(value(m, "accuracy")));
        dpt_measures_destroy(&m);
    }
    const float broken[6] = {NAN, NAN, NAN, NAN, NAN, NAN};
    dpt_measures *m = make(6, 6, NULL, 0);
    dpt_measures_add(m, broken, target, 1);
    CHECK_OK(dpt_measures_finish(m, &control));
    CHECK(value(m, "accuracy") == 0 && value(m, "top5") == 0 && dpt_measures_confusion(m) == NULL);
    dpt_measures_destroy(&m);
}

/* The third position's target is one that the loss ignores. */
static void ignored(void) {
    static const float logits[2][3] = {{1, 0, 3}, {0, 5, 2}};
    static const int64_t target[3] = {0, 0, 1};
    dpt_measures *m = NULL;
    CHECK_OK(dpt_measures_create(&(dpt_measures_about){.classes = 2, .values = 6, .ignores = 1, .ignore = 1}, &m));
    dpt_measures_add(m, logits[0], target, 1);
    CHECK_OK(dpt_measures_finish(m, &control));
    CHECK_NEAR(value(m, "accuracy"), 1.0 / 2, 1e-15);
    dpt_measures_destroy(&m);
}

/* Two classes at three positions: [classes, positions]. */
static void positions(void) {
    static const float logits[2][3] = {{1, 0, 3}, {0, 5, 2}};
    static const int64_t target[3] = {0, 1, 1};
    dpt_measures *m = make(2, 6, NULL, 0);
    if (check_rank() == 0) dpt_measures_add(m, logits[0], target, 1);
    CHECK_OK(dpt_measures_finish(m, &control));
    CHECK_EQ_I64(dpt_measures_count(m), 1); /* no top5 of two classes */
    CHECK_NEAR(value(m, "accuracy"), 2.0 / 3, 1e-15);
    dpt_measures_destroy(&m);
}

/* Differences 1, -2, 0, 3, 0, -2 over targets (1, 10), (2, 20), (6, 30): sums of squares about the means 14 and 200. */
static void numbers(void) {
    static const float y[3][2] = {{2, 8}, {2, 23}, {6, 28}}, t[3][2] = {{1, 10}, {2, 20}, {6, 30}};
    dpt_measures *m = make(0, 2, NULL, 0);
    int64_t from, to;
    share(3, &from, &to);
    if (to > from) dpt_measures_add(m, y[from], t[from], to - from);
    CHECK_OK(dpt_measures_finish(m, &control));
    CHECK_EQ_I64(dpt_measures_count(m), 3);
    CHECK_NEAR(value(m, "mae"), 8.0 / 6, 1e-14);
    CHECK_NEAR(value(m, "rmse"), sqrt(18.0 / 6), 1e-14);
    CHECK_NEAR(value(m, "r2"), 1 - 18.0 / 214, 1e-14);
    dpt_measures_add(m, y[0], t[0], 1); /* the same target everywhere: there is nothing to explain */
    CHECK_OK(dpt_measures_finish(m, &control));
    CHECK(isnan(value(m, "r2")) && value(m, "mae") > 0);
    dpt_measures_destroy(&m);
}

static void refused(void) {
    dpt_measures *m;
    dpt_measures_about about = {
        .names = (const char *const[]){"acuracy", "mae"}, .count = 1, .classes = 3, .values = 3};
    CHECK_FAILS(dpt_measures_create(&about, &m), DPT_ERR_CONFIG, "did you mean \"accuracy\"?");
    CHECK(m == NULL);
    about.names++;
    CHECK_FAILS(dpt_measures_create(&about, &m), DPT_ERR_CONFIG, "\"mae\" is for numbers: this loss has classes");
    about.names = (const char *const[]){"confusion", "confusion"}, about.count = 2;
    CHECK_FAILS(dpt_measures_create(&about, &m), DPT_ERR_CONFIG, "\"confusion\" is given twice");
    about.names = (const char *const[]){"unheard of"}, about.count = 1;
    CHECK_FAILS(dpt_measures_create(&about, &m), DPT_ERR_CONFIG, "there are accuracy, top5, confusion");
    CHECK(dpt_measure_rises("r2") && !dpt_measure_rises("rmse") && !dpt_measure_rises("loss"));
}

/* ---- mixup ---- */

enum { ROWS = 4, INPUTS = 5, CLASSES = 3 };

/* Loss and gradient of fc1.weight for targets y, mixed with z where lambda is given. */
static double loss_of(dpt_context *ctx, const int64_t *y, const int64_t *z, const float *lambda, float *gradient) {
    static const float x[ROWS * INPUTS] = {1, -2, 3, 0.5F, 1, 0, 1, 2, -1, 0, 3, 1, 1, 1, 1, -1, -1, 2, 0, 1};
    dpt_model_options o = {.in_ndim = 1,
                           .in_dim = {INPUTS},
                           .classes = CLASSES,
                           .target_dtype = DPT_I64,
                           .n_hidden = 1,
                           .hidden = {4},
                           .activation = DPT_MODEL_TANH,
                           .mixup = lambda != NULL};
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_trainer *t = NULL;
    dpt_trainer_options to;
    dpt_trainer_options_init(&to);
    to.max_rows = ROWS;
    const dpt_array in[] = {{"x", x, DPT_F32, DPT_HOST, ROWS, NULL},
                            {"y", y, DPT_I64, DPT_HOST, ROWS, NULL},
                            {"y_partner", z, DPT_I64, DPT_HOST, ROWS, NULL},
                            {"lambda", lambda, DPT_F32, DPT_HOST, ROWS, NULL}};
    dpt_metrics metrics = {0};
    CHECK_OK(dpt_model_mlp(g, &o));
    CHECK_OK(dpt_trainer_create(g, &to, &t));
    CHECK_OK(dpt_trainer_gradient(t, in, lambda ? 4 : 2, &metrics));
    CHECK_OK(dpt_trainer_get(t, DPT_GRADIENT, "fc1.weight", gradient, 4 * INPUTS * sizeof *gradient));
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
    return metrics.loss;
}

static void mixed_loss(void) {
    static const int64_t y[ROWS] = {0, 1, 2, 1}, z[ROWS] = {2, 0, 1, 1};
    const float lambda[ROWS] = {0.3F, 0.3F, 0.3F, 0.3F};
    float own[4 * INPUTS], other[4 * INPUTS], mixed[4 * INPUTS], wanted[4 * INPUTS];
    dpt_context *ctx;
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    double a = loss_of(ctx, y, NULL, NULL, own), b = loss_of(ctx, z, NULL, NULL, other);
    CHECK_NEAR(loss_of(ctx, y, z, lambda, mixed), 0.3 * a + 0.7 * b, 1e-6);
    CHECK(fabs(a - b) > 1e-3);
    for (int i = 0; i < 4 * INPUTS; i++) wanted[i] = 0.3F * own[i] + 0.7F * other[i];
    CHECK(check_relative_f32(mixed, wanted, 4 * INPUTS) < 1e-5);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "measures", {"start", start}, {"classes", classes}, {"positions", positions},
                      {"ignored", ignored}, {"numbers", numbers}, {"refused", refused}, {"mixed_loss", mixed_loss},
                      {"stop", stop});
}
