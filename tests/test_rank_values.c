/* test_rank_values.c: values that cross ranks inside a step: batch statistics, a user's all-reduce, sums over the batch
 * that a loss is not linear in, replicated terms of a loss. */
#include <stdio.h>

#include "ops/internal.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 29, CHANNELS = 3 };

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.lr = 0.05;
    o.bucket_bytes = 256;
    return o;
}

/* ---- batch norm ---- */

static void build_norm(dpt_graph *g, int sync) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, CHANNELS}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 2}));
    dpt_tensor *y = dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = sync}), "bn");
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){8, CHANNELS}), ((dpt_init){DPT_INIT_NORMAL, 0, 0.5}));
    dpt_tensor *h = dpt_linear_with(dpt_tanh(y), w, NULL); /* a bias before bn2 would have no gradient */
    h = dpt_batch_norm(h, ((dpt_batch_norm_options){.sync = sync}), "bn2");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(dpt_linear(dpt_tanh(h), 2, "fc2"), t), 1.0, NULL);
}
static void build_norm_sync(dpt_graph *g) { build_norm(g, 1); }
static void build_norm_local(dpt_graph *g) { build_norm(g, 0); }

typedef struct norm_batch {
    float x[ROWS * CHANNELS], t[ROWS * 2];
    dpt_array array[2];
} norm_batch;

static void fill_norm(norm_batch *b, int step) {
    char name[16];
    snprintf(name, sizeof name, "x%d", step);
    fill_f32(name, b->x, ROWS * CHANNELS);
    fill_f32("t", b->t, ROWS * 2);
    for (int i = 0; i < ROWS * CHANNELS; i++) b->x[i] = b->x[i] * (float)(1 + i % CHANNELS) + 0.5F;
    b->array[0] = array_f32("x", b->x, ROWS);
    b->array[1] = array_f32("t", b->t, ROWS);
}

static void norm_sync(void) {
    static const char *const states[] = {"bn.running_mean", "bn.running_var", "bn.running_weight", "bn2.running_mean",
                                         "bn2.running_var"};
    trainer_pair p;
    norm_batch b;
    dpt_metrics all, alone;
    dpt_trainer_options o = options_of();
    if (!trainer_pair_open(&p, build_norm_sync, &o)) return;
    fill_norm(&b, 0);
    for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++)
        if (trainer_pair_gradient(&p, b.array, 2, turn, NULL, NULL)) trainer_pair_check_gradients(&p, 2e-6);
    for (int step = 0; step < 5; step++) {
        fill_norm(&b, step);
        if (!trainer_pair_step(&p, b.array, 2, SHARE_ONE_EMPTY, &all, &alone)) break;
        CHECK(fabs(all.loss - alone.loss) <= 1e-5 * alone.loss);
        for (int i = 0; i < 5; i++) CHECK(trainer_distance(&p.all, &p.alone, DPT_STATE, states[i]) <= 1e-5);
    }
    trainer_pair_close(&p);
}

/* Mean and variance of channel c of rows [begin, begin + n), the variance unbiased. */
static void moments_of(const norm_batch *b, int64_t begin, int64_t n, int c, double *mean, double *var) {
    *mean = *var = 0;
    for (int64_t r = begin; r < begin + n; r++) *mean += (double)b->x[r * CHANNELS + c] / (double)n;
    for (int64_t r = begin; r < begin + n; r++)
        *var += pow((double)b->x[r * CHANNELS + c] - *mean, 2) / (double)(n - 1);
}

/* Running statistics of this rank after `steps` steps of its rows. */
static void check_running(const trainer_side *s, int steps, int turn) {
    norm_batch b;
    float mean[CHANNELS], var[CHANNELS];
    double weight, m[CHANNELS] = {0}, v[CHANNELS] = {1, 1, 1}, new_mean, new_var;
    int64_t begin, n;
    share_of(ROWS, turn, &begin, &n);
    for (int step = 0; step < steps && n > 1; step++) {
        fill_norm(&b, step);
        for (int c = 0; c < CHANNELS; c++) {
            moments_of(&b, begin, n, c, &new_mean, &new_var);
            m[c] = 0.9 * m[c] + 0.1 * new_mean;
            v[c] = 0.9 * v[c] + 0.1 * new_var;
        }
    }
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_mean", mean, sizeof mean));
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_var", var, sizeof var));
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_weight", &weight, sizeof weight));
    CHECK_NEAR(weight, (double)(steps * n), 0);
    for (int c = 0; c < CHANNELS && n != 1; c++) {
        CHECK_NEAR((double)mean[c], m[c], 1e-6);
        CHECK_NEAR((double)var[c], v[c], 1e-6);
    }
}

/* Mean and variance over ranks: m = sum w m_r / W, v = sum w (v_r + (m_r - m)^2) / W. */
static void pooled(const trainer_side *s, double mean[CHANNELS], double var[CHANNELS]) {
    float m[CHANNELS], v[CHANNELS];
    double weight, sum[1 + CHANNELS], square[CHANNELS];
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_mean", m, sizeof m));
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_var", v, sizeof v));
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_weight", &weight, sizeof weight));
    sum[CHANNELS] = weight;
    for (int c = 0; c < CHANNELS; c++) sum[c] = weight * (double)m[c];
    MPI_Allreduce(MPI_IN_PLACE, sum, 1 + CHANNELS, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int c = 0; c < CHANNELS; c++) mean[c] = sum[c] / sum[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) square[c] = weight * ((double)v[c] + pow((double)m[c] - mean[c], 2));
    MPI_Allreduce(MPI_IN_PLACE, square, CHANNELS, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int c = 0; c < CHANNELS; c++) var[c] = square[c] / sum[CHANNELS];
}

/* The normalised output in prediction: with pooled statistics on every rank. */
static void check_prediction(const trainer_side *s, const norm_batch *b) {
    double mean[CHANNELS], var[CHANNELS];
    float y[ROWS * CHANNELS], weight[CHANNELS], bias[CHANNELS];
    pooled(s, mean, var);
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, "bn.weight", weight, sizeof weight));
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, "bn.bias", bias, sizeof bias));
    CHECK_OK(dpt_trainer_predict(s->trainer, b->array, 1, "y", y, sizeof y));
    for (int i = 0; i < ROWS * CHANNELS; i++) {
        const int c = i % CHANNELS;
        const double expected = ((double)b->x[i] - mean[c]) / sqrt(var[c] + 1e-5) * (double)weight[c] + (double)bias[c];
        CHECK_NEAR((double)y[i], expected, 2e-6);
    }
}

static void norm_local(void) {
    trainer_side s;
    norm_batch b;
    dpt_array mine[2];
    dpt_trainer_options o = options_of();
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_norm_local, &o)) return;
    for (int step = 0; step < 4; step++) {
        fill_norm(&b, step);
        share_arrays(&s, b.array, 2, SHARE_ONE_EMPTY, mine);
        if (!CHECK_OK(dpt_trainer_step(s.trainer, mine, 2, NULL))) break;
        check_running(&s, step + 1, SHARE_ONE_EMPTY);
        if (step % 2) check_prediction(&s, &b);
        check_running(&s, step + 1, SHARE_ONE_EMPTY); /* merging leaves training's own alone */
    }
    trainer_side_close(&s);
}

/* ---- a user's all-reduce ---- */

/* loss = sum(c * (all_reduce(p) + all_reduce(sum over the batch of x * q))) + sum over the batch of x * all_reduce(r);
 * the sum over ranks of `own` goes into `total` */
static void build_all_reduce(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 2, ((int64_t[]){DPT_BATCH, CHANNELS}));
    dpt_tensor *c = dpt_constant(g, DPT_F64, 1, (int64_t[]){CHANNELS}, ((double[]){1, -2, 3}));
    dpt_tensor *p = dpt_param(g, "p", DPT_F64, 1, (int64_t[]){CHANNELS}, ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *q = dpt_param(g, "q", DPT_F64, 1, (int64_t[]){CHANNELS}, ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *r = dpt_param(g, "r", DPT_F64, 1, (int64_t[]){CHANNELS}, ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *own = dpt_state(g, "own", DPT_F64, 1, (int64_t[]){1}, DPT_STATE_LOCAL, 0);
    dpt_tensor *total = dpt_state(g, "total", DPT_F64, 1, (int64_t[]){1}, DPT_STATE_REPLICATED, 0);
    dpt_tensor *sum = dpt_all_reduce(dpt_sum(dpt_mul(x, q), 1, 0));
    dpt_assign(total, dpt_all_reduce(own));
    dpt_loss_add(g, dpt_sum(dpt_mul(dpt_add(dpt_all_reduce(p), sum), c), DPT_ALL_AXES, 0), 1.0, NULL);
    dpt_loss_add(g, dpt_sum(dpt_mul(x, dpt_all_reduce(r)), DPT_ALL_AXES, 0), 1.0, NULL);
}

static void all_reduce(void) {
    static const double c[] = {1, -2, 3};
    trainer_side s;
    dpt_array mine[1];
    dpt_metrics m = {0};
    double x[ROWS * CHANNELS], p[CHANNELS], q[CHANNELS], r[CHANNELS], own = check_rank() + 1, total = -1;
    double dp[CHANNELS], dq[CHANNELS], dr[CHANNELS];
    dpt_trainer_options o = options_of();
    fill_f64("x", x, ROWS * CHANNELS);
    const dpt_array whole = array_f64("x", x, ROWS);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_all_reduce, &o)) return;
    CHECK_OK(dpt_trainer_set(s.trainer, DPT_STATE, "own", &own, sizeof own));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "p", p, sizeof p));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "q", q, sizeof q));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "r", r, sizeof r));
    share_arrays(&s, &whole, 1, SHARE_ONE_EMPTY, mine);
    CHECK_OK(trainer_step_now(s.trainer, mine, 1, &m));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "p", dp, sizeof dp));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "q", dq, sizeof dq));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "r", dr, sizeof dr));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_STATE, "total", &total, sizeof total));
    double loss = 0;
    for (int j = 0; j < CHANNELS; j++) {
        double column = 0;
        for (int row = 0; row < ROWS; row++) column += x[row * CHANNELS + j];
        loss += c[j] * (check_world() * p[j] + column * q[j]) + column * check_world() * r[j];
        CHECK_NEAR(dp[j], c[j] * check_world(), 1e-12);
        CHECK_NEAR(dq[j], c[j] * column, 1e-12);
        CHECK_NEAR(dr[j], column * check_world(), 1e-12);
    }
    CHECK_NEAR(m.loss, loss, 1e-12);
    CHECK_NEAR(total, check_world() * (check_world() + 1) / 2.0, 0);
    trainer_side_close(&s);
}

/* ---- sums that must be finished in the forward pass, replicated terms ---- */

/* mse + 0.1 sum(w*w) + 0.2 sqrt(sum e^2)/sqrt(sum t^2), and a mean over the batch that every row is measured against */
static void build_mixed(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, CHANNELS}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 2}));
    dpt_tensor *y = dpt_linear(dpt_tanh(dpt_linear(x, 6, "fc1")), 2, "fc2");
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){2, 2}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *alone = dpt_param(g, "alone", DPT_F32, 1, ((int64_t[]){5}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    y = dpt_add(y, dpt_matmul(y, w, 0, 0));
    y = dpt_sub(y, dpt_scale(dpt_mean(y, 1, 1), 0.5));
    dpt_tensor *e = dpt_sub(y, t);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
    dpt_loss_add(g, dpt_sum(dpt_mul(w, w), DPT_ALL_AXES, 0), 0.1, NULL);
    dpt_loss_add(g, dpt_sum(dpt_mul(alone, alone), DPT_ALL_AXES, 0), 0.05, NULL);
    dpt_loss_add(
        g,
        dpt_div(dpt_sqrt(dpt_sum(dpt_mul(e, e), DPT_ALL_AXES, 0)), dpt_sqrt(dpt_sum(dpt_mul(t, t), DPT_ALL_AXES, 0))),
        0.2, NULL);
}

static void mixed_terms(void) {
    trainer_pair p;
    norm_batch b;
    dpt_metrics all, alone;
    dpt_trainer_options o = options_of();
    fill_norm(&b, 3);
    if (!trainer_pair_open(&p, build_mixed, &o)) return;
    for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++) {
        if (!trainer_pair_gradient(&p, b.array, 2, turn, &all, &alone)) break;
        trainer_pair_check_gradients(&p, 1e-6);
        CHECK(fabs(all.loss - alone.loss) <= 1e-6 * alone.loss);
    }
    trainer_pair_close(&p);
}

/* Operations that are linear but for a part of them, of a sum over the batch that differs between ranks: padding that
 * is not 0, and spectra with a weight for each sign. */
static void build_affine(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, CHANNELS}));
    dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 2}));
    dpt_tensor *p = dpt_param(g, "p", DPT_F32, 1, ((int64_t[]){CHANNELS}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *s = dpt_sum(dpt_mul(x, p), 1, 0); /* [CHANNELS] */
    dpt_loss_add(g, dpt_sum(dpt_pad(s, 0, 2, 1, 1.5), DPT_ALL_AXES, 0), 1.0, NULL);
    dpt_tensor *image =
        dpt_param(g, "image", DPT_F32, 4, ((int64_t[]){1, 1, 4, 4}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *scaled = dpt_mul(dpt_rfft(image, 2), dpt_sum(s, 1, 0));
    dpt_attr attr = {.mix = {.dims = 2, .size = {1, 4, 3}, .modes = {1, 1, 1}}};
    const dpt_init init = {DPT_INIT_NORMAL, 0, 1};
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 5, ((int64_t[]){1, 1, 1, 1, 2}), init);
    dpt_tensor *other = dpt_param(g, "other", DPT_F32, 5, ((int64_t[]){1, 1, 1, 1, 2}), init);
    dpt_tensor *partial = dpt_mul(w, dpt_sum(s, 1, 0));
    dpt_tensor *in[] = {dpt_rfft(image, 2), partial, other};
    dpt_loss_add(g, dpt_sum(dpt_apply(DPT_HERE, DPT_OP_MIX, NULL, &attr, 3, in), DPT_ALL_AXES, 0), 1.0, NULL);
    in[0] = scaled, in[1] = w;
    dpt_loss_add(g, dpt_sum(dpt_apply(DPT_HERE, DPT_OP_MIX, NULL, &attr, 3, in), DPT_ALL_AXES, 0), 1.0, NULL);
}

static void affine(void) {
    trainer_pair p;
    norm_batch b;
    dpt_metrics all, alone;
    dpt_trainer_options o = options_of();
    fill_norm(&b, 3);
    if (!trainer_pair_open(&p, build_affine, &o)) return;
    for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++) {
        if (!trainer_pair_gradient(&p, b.array, 2, turn, &all, &alone)) break;
        trainer_pair_check_gradients(&p, 5e-6);
        CHECK(fabs(all.loss - alone.loss) <= 5e-6 * (1 + fabs(alone.loss)));
    }
    trainer_pair_close(&p);
}

/* Functions of parameters: what flows back to them is a sum over the batch, which may wait, micro-batches or not. */
static void build_functions(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, CHANNELS}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 2}));
    dpt_tensor *p = dpt_param(g, "p", DPT_F32, 1, ((int64_t[]){CHANNELS}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *q = dpt_param(g, "q", DPT_F32, 1, ((int64_t[]){CHANNELS}), ((dpt_init){DPT_INIT_NORMAL, 0, 1}));
    dpt_tensor *gate = dpt_mul(dpt_sigmoid(p), dpt_clamp(dpt_softplus(dpt_sin(q)), 0.1, 0.9));
    dpt_loss_add(g, dpt_mse(dpt_linear(dpt_tanh(dpt_mul(x, gate)), 2, "fc"), t), 1.0, NULL);
}

static void functions(void) {
    norm_batch b;
    dpt_trainer_options o = options_of();
    for (o.accumulate = 1; o.accumulate <= 2; o.accumulate++) {
        trainer_pair p;
        if (!trainer_pair_open(&p, build_functions, &o)) return;
        for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++) {
            fill_norm(&b, turn);
            if (!trainer_pair_step(&p, b.array, 2, turn, NULL, NULL)) break;
            trainer_pair_check_parameters(&p, 2e-6);
        }
        const dpt_program *step = o.accumulate > 1 ? p.all.trainer->accumulate.program : p.all.trainer->train.program;
        for (int64_t i = 0; i < step->graph->n_node; i++) CHECK(step->graph->node[i]->op != DPT_OP_SUM_START);
        trainer_pair_close(&p);
    }
}

/* The gradient of a penalty: 2 * 0.05 * alone, whatever the rank count. */
static void penalty(void) {
    trainer_side s;
    norm_batch b;
    dpt_array mine[2];
    float value[5], gradient[5];
    dpt_trainer_options o = options_of();
    fill_norm(&b, 3);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_mixed, &o)) return;
    share_arrays(&s, b.array, 2, SHARE_ONE_EMPTY, mine);
    CHECK_OK(dpt_trainer_gradient(s.trainer, mine, 2, NULL));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "alone", value, sizeof value));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "alone", gradient, sizeof gradient));
    for (int i = 0; i < 5; i++) CHECK_NEAR((double)gradient[i], 0.1 * (double)value[i], 1e-7);
    trainer_side_close(&s);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "rank_values", {"norm_sync", norm_sync}, {"norm_local", norm_local},
                      {"all_reduce", all_reduce}, {"mixed_terms", mixed_terms}, {"affine", affine},
                      {"functions", functions}, {"penalty", penalty});
}
