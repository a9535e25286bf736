/* test_norm_ranks.c: batch norm over ranks in training as it is used: a synchronised net against one rank with the same
 * global batches, step by step; residual blocks whose backward pass is fused against the same unfused; the number of
 * values that pooled statistics have seen, through a file; running statistics over micro-batches; f64; dropout by
 * channel. */
#include <stdio.h>

#include "base/random.h"
#include "trainer_pair.h"

enum { ROWS = 12, SIZE = 6, CLASSES = 3, ELEMENTS = ROWS * SIZE * SIZE };

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.lr = 0.05;
    o.momentum = 0.9;
    return o;
}

/* ---- a synchronised net ---- */

static void build_net(dpt_graph *g) {
    const dpt_batch_norm_options sync = {.sync = 1};
    const dpt_conv_options same = {.pad = 1};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 1, SIZE, SIZE}));
    dpt_tensor *t = dpt_input(g, "t", DPT_I64, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *h = dpt_relu(dpt_batch_norm(dpt_conv2d(x, 4, 3, 0, same, "conv1"), sync, "bn1"));
    h = dpt_max_pool2d(h, 2, 0, 0);
    h = dpt_relu(dpt_batch_norm(dpt_conv2d(h, 6, 3, 0, same, "conv2"), sync, "bn2"));
    dpt_loss_add(g, dpt_cross_entropy(dpt_linear(dpt_flatten(h), CLASSES, "fc"), t), 1.0, NULL);
}

/* Another batch each step; the class shows in the means of halves of the picture, under noise. */
static void fill_batch(int step, float *x, int64_t *t) {
    char name[16];
    snprintf(name, sizeof name, "x%d", step);
    fill_f32(name, x, ELEMENTS);
    for (int r = 0; r < ROWS; r++) {
        t[r] = (r + step) % CLASSES;
        for (int i = 0; i < SIZE * SIZE / 2; i++) x[r * SIZE * SIZE + (int)(t[r] % 2) * SIZE * SIZE / 2 + i] += 0.4F;
        for (int i = 0; i < SIZE * SIZE; i += 2) x[r * SIZE * SIZE + i] += t[r] == 2 ? 0.5F : 0;
    }
}

static void synchronised_loss(void) {
    static float x[ELEMENTS];
    int64_t t[ROWS];
    trainer_pair p;
    dpt_metrics all, alone;
    const dpt_trainer_options o = options_of();
    const int steps = strcmp(check_device(), "cpu") == 0 ? 50 : 4;
    double first = 0;
    if (!trainer_pair_open(&p, build_net, &o)) return;
    for (int step = 0; step < steps; step++) {
        fill_batch(step, x, t);
        const dpt_array in[] = {array_f32("x", x, ROWS),
                                {.name = "t", .data = t, .dtype = DPT_I64, .place = DPT_HOST, .rows = ROWS}};
        if (!trainer_pair_step(&p, in, 2, step % 3, &all, &alone)) break;
        const double off = fabs(all.loss - alone.loss) / alone.loss;
        check_that(off <= 1e-4, __FILE__, __LINE__, "step %d: loss %.9g, alone %.9g: off by %.3g (at most 1e-4)", step,
                   all.loss, alone.loss, off);
        if (step == 0) first = alone.loss;
    }
    if (steps == 50)
        check_that(alone.loss < 0.7 * first, __FILE__, __LINE__, "it does not learn: %g, %g", first, alone.loss);
    trainer_pair_close(&p);
}

/* ---- residual blocks, fused against unfused ---- */

typedef struct block_choice {
    const char *frozen[2];
    bool apart; /* what stands around batch norm is kept from being fused with it */
} block_choice;

static block_choice blocks;

/* The same values; batch norm, addition and ReLU do not meet. */
static dpt_tensor *kept(dpt_tensor *x) { return blocks.apart ? dpt_scale(dpt_scale(x, -1), -1) : x; }

static dpt_tensor *conv_norm(dpt_tensor *x, int64_t kernel, const char *conv, const char *norm) {
    x = dpt_conv2d(x, 4, kernel, 0, ((dpt_conv_options){.pad = kernel / 2}), conv);
    return kept(dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = 1}), norm));
}

/* Every fused form: ReLU alone, behind a projected and behind an identical residual. */
static void build_blocks(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 1, SIZE, SIZE}));
    dpt_tensor *t = dpt_input(g, "t", DPT_I64, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *h = dpt_relu(conv_norm(x, 3, "conv1", "bn1"));
    h = dpt_relu(kept(dpt_add(conv_norm(h, 3, "conv2", "bn2"), conv_norm(h, 1, "conv3", "bn3"))));
    h = dpt_relu(kept(dpt_add(conv_norm(h, 3, "conv4", "bn4"), h)));
    dpt_loss_add(g, dpt_cross_entropy(dpt_linear(dpt_mean(h, 12, 0), CLASSES, "fc"), t), 1.0, NULL);
    for (int i = 0; i < 2; i++)
        if (blocks.frozen[i]) dpt_param_group(g, blocks.frozen[i], (dpt_group){.lr_factor = 1, .frozen = 1});
}

static void compare_blocks(const char *first, const char *second) {
    static float x[ELEMENTS];
    int64_t t[ROWS];
    dpt_array mine[2];
    trainer_pair p;
    trainer_side unfused;
    const dpt_trainer_options o = options_of();
    fill_batch(0, x, t);
    const dpt_array in[] = {array_f32("x", x, ROWS),
                            {.name = "t", .data = t, .dtype = DPT_I64, .place = DPT_HOST, .rows = ROWS}};
    blocks = (block_choice){.frozen = {first, second}};
    if (!trainer_pair_open(&p, build_blocks, &o)) return;
    blocks.apart = true;
    if (trainer_side_open(&unfused, MPI_COMM_WORLD, 1, build_blocks, &o)) {
        for (int turn = SHARE_EVEN; turn <= SHARE_FIRST_EMPTY; turn++) {
            trainer_pair_gradient(&p, in, 2, turn, NULL, NULL);
            share_arrays(&unfused, in, 2, turn, mine);
            CHECK_OK(dpt_trainer_gradient(unfused.trainer, mine, 2, NULL));
            trainer_sides_check(&p.all, &unfused, DPT_GRADIENT, 1e-5, "the unfused one");
            trainer_pair_check_gradients(&p, 1e-5);
        }
        trainer_side_close(&unfused);
    }
    trainer_pair_close(&p);
}

static void fused_blocks(void) {
    compare_blocks(NULL, NULL);
    compare_blocks("bn*", NULL);              /* sums for dx alone */
    compare_blocks("bn2.weight", "bn3.bias"); /* one of the two gradients */
    compare_blocks("conv*", NULL);            /* no dx below bn1, nothing from the weights */
    compare_blocks("conv1.weight", "bn1.*");  /* no backward pass of bn1 at all */
}

/* Moments and their gradients span the ranks, micro-batch by micro-batch. */
static void fused_micro_batches(void) {
    static float x[ELEMENTS];
    int64_t t[ROWS];
    dpt_array mine[2];
    trainer_side side[2];
    dpt_trainer_options o = options_of();
    o.accumulate = 2;
    blocks = (block_choice){.apart = false};
    if (!trainer_side_open(&side[0], MPI_COMM_WORLD, 1, build_blocks, &o)) return;
    blocks.apart = true;
    if (trainer_side_open(&side[1], MPI_COMM_WORLD, 1, build_blocks, &o)) {
        for (int step = 0; step < 4; step++) {
            fill_batch(step, x, t);
            const dpt_array in[] = {array_f32("x", x, ROWS),
                                    {.name = "t", .data = t, .dtype = DPT_I64, .place = DPT_HOST, .rows = ROWS}};
            for (int k = 0; k < 2; k++) {
                share_arrays(&side[k], in, 2, step, mine);
                CHECK_OK(dpt_trainer_step(side[k].trainer, mine, 2, NULL));
            }
        }
        for (int k = 0; k < 2; k++) CHECK_OK(dpt_trainer_sync(side[k].trainer, NULL));
        trainer_sides_check(&side[0], &side[1], DPT_PARAMETER, 1e-5, "the unfused one");
        CHECK(trainer_distance(&side[0], &side[1], DPT_STATE, "bn4.running_var") <= 1e-5);
        trainer_side_close(&side[1]);
    }
    trainer_side_close(&side[0]);
}

/* ---- pooled statistics through a file ---- */

static void build_local(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_tensor *y = dpt_batch_norm(x, ((dpt_batch_norm_options){0}), "bn");
    dpt_loss_add(g, dpt_mul(y, y), 1.0, NULL);
}

static double weight_of(const trainer_side *s) {
    double weight = -1;
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_STATE, "bn.running_weight", &weight, sizeof weight));
    return weight;
}

static void seen_values(void) {
    float x[ROWS * 3];
    char path[512];
    dpt_array mine[1];
    trainer_side s;
    const dpt_trainer_options o = options_of();
    fill_f32("x", x, ROWS * 3);
    const dpt_array whole = array_f32("x", x, ROWS);
    snprintf(path, sizeof path, "%s/pooled.h5", check_tmpdir());
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_local, &o)) return;
    share_arrays(&s, &whole, 1, SHARE_UNEVEN, mine);
    for (int k = 0; k < 2; k++) CHECK_OK(dpt_trainer_step(s.trainer, mine, 1, NULL));
    CHECK_OK(dpt_trainer_sync(s.trainer, NULL));
    CHECK_NEAR(weight_of(&s), 2.0 * (double)mine[0].rows, 0); /* each rank's own */
    for (int k = 0; k < 2; k++) {                             /* saved and loaded twice the sum is the same */
        CHECK_OK(dpt_trainer_save(s.trainer, path, ""));
        CHECK_OK(dpt_trainer_load(s.trainer, path));
        CHECK_NEAR(weight_of(&s), 2.0 * ROWS / check_world(), 1e-12);
    }
    trainer_side_close(&s);
    if (!trainer_side_open(&s, MPI_COMM_SELF, 1, build_local, &o)) return;
    CHECK_OK(dpt_trainer_load(s.trainer, path));
    CHECK_NEAR(weight_of(&s), 2.0 * ROWS, 1e-12);
    trainer_side_close(&s);
}

/* ---- micro-batches: each moves the running statistics, as each is normalised by itself ---- */

static void micro_batches(void) {
    enum { PARTS = 3, EACH = ROWS / PARTS };
    float x[ROWS * 3], mean[3], var[3];
    trainer_side s;
    dpt_trainer_options o = options_of();
    o.accumulate = PARTS;
    o.lr = 0;
    fill_f32("x", x, ROWS * 3);
    const dpt_array whole = array_f32("x", x, ROWS);
    if (!trainer_side_open(&s, MPI_COMM_SELF, 1, build_local, &o)) return;
    CHECK_OK(dpt_trainer_step(s.trainer, &whole, 1, NULL));
    CHECK_OK(dpt_trainer_sync(s.trainer, NULL));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_STATE, "bn.running_mean", mean, sizeof mean));
    CHECK_OK(dpt_trainer_get(s.trainer, DPT_STATE, "bn.running_var", var, sizeof var));
    for (int c = 0; c < 3; c++) {
        double m = 0, v = 1;
        for (int part = 0; part < PARTS; part++) {
            double sum = 0, square = 0;
            for (int r = part * EACH; r < (part + 1) * EACH; r++) sum += (double)x[r * 3 + c] / EACH;
            for (int r = part * EACH; r < (part + 1) * EACH; r++) square += pow((double)x[r * 3 + c] - sum, 2);
            m = 0.9 * m + 0.1 * sum;
            v = 0.9 * v + 0.1 * square / (EACH - 1);
        }
        CHECK_NEAR((double)mean[c], m, 1e-6);
        CHECK_NEAR((double)var[c], v, 1e-6);
    }
    trainer_side_close(&s);
}

/* ---- f64 ---- */

static void build_f64(dpt_graph *g, int sync) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 3, ((int64_t[]){DPT_BATCH, 2, 3}));
    dpt_tensor *y = dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = sync}), "bn");
    dpt_output(g, "y", y);
    dpt_tensor *each = dpt_mul(dpt_tanh(y), dpt_input(g, "p", DPT_F64, 3, ((int64_t[]){DPT_BATCH, 2, 3})));
    dpt_loss_add(g, dpt_reshape_at(DPT_HERE, each, 2, (int64_t[]){DPT_BATCH, 6}), 1.0, NULL);
}
static void build_f64_sync(dpt_graph *g) { build_f64(g, 1); }

/* Over ranks as alone, in training and, by running statistics, in prediction. */
static void double_precision(void) {
    double x[ROWS * 6], p[ROWS * 6], y[ROWS * 6], mean[2], var[2], weight[2], bias[2];
    trainer_pair t;
    const dpt_trainer_options o = options_of();
    fill_f64("x", x, ROWS * 6);
    fill_f64("p", p, ROWS * 6);
    const dpt_array in[] = {{.name = "x", .data = x, .dtype = DPT_F64, .rows = ROWS},
                            {.name = "p", .data = p, .dtype = DPT_F64, .rows = ROWS}};
    if (!trainer_pair_open(&t, build_f64_sync, &o)) return;
    for (int step = 0; step < 3; step++) trainer_pair_step(&t, in, 2, SHARE_UNEVEN, NULL, NULL);
    trainer_pair_check_parameters(&t, 1e-10);
    CHECK(trainer_distance(&t.all, &t.alone, DPT_STATE, "bn.running_mean") <= 1e-10);
    CHECK(trainer_distance(&t.all, &t.alone, DPT_STATE, "bn.running_var") <= 1e-10);
    CHECK_OK(dpt_trainer_get(t.alone.trainer, DPT_STATE, "bn.running_mean", mean, sizeof mean));
    CHECK_OK(dpt_trainer_get(t.alone.trainer, DPT_STATE, "bn.running_var", var, sizeof var));
    CHECK_OK(dpt_trainer_get(t.alone.trainer, DPT_PARAMETER, "bn.weight", weight, sizeof weight));
    CHECK_OK(dpt_trainer_get(t.alone.trainer, DPT_PARAMETER, "bn.bias", bias, sizeof bias));
    CHECK_OK(dpt_trainer_predict(t.alone.trainer, in, 1, "y", y, sizeof y));
    for (int i = 0; i < ROWS * 6; i++) {
        const int c = i / 3 % 2;
        CHECK_NEAR(y[i], (x[i] - mean[c]) / sqrt(var[c] + 1e-5) * weight[c] + bias[c], 1e-12);
    }
    if (check_world() > 1) {
        dpt_graph *g = dpt_graph_create(t.all.ctx);
        build_f64(g, 0);
        CHECK_FAILS(dpt_graph_status(g), DPT_ERR_UNSUPPORTED, "f64 moments are those of all");
        dpt_graph_destroy(&g);
    }
    trainer_pair_close(&t);
}

/* ---- dropout by channel: x is a parameter that all samples share, so its gradient counts what was kept ---- */

enum { CHANNELS = 40, POSITIONS = 3 };

static void build_dropout(dpt_graph *g) {
    const int64_t shape[] = {1, CHANNELS, POSITIONS}, all[] = {DPT_BATCH, CHANNELS, POSITIONS};
    dpt_tensor *w = dpt_param_at(DPT_HERE, g, "w", DPT_F32, 3, shape, (dpt_init){.kind = DPT_INIT_ONES});
    dpt_tensor *y = dpt_dropout_channels(dpt_broadcast_at(DPT_HERE, w, 3, all), 0.25, "drop");
    dpt_tensor *each = dpt_mul(y, dpt_input(g, "p", DPT_F32, 3, ((int64_t[]){DPT_BATCH, 1, 1})));
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_sum(each, DPT_ALL_AXES, 0), 1.0, NULL);
}

/* Sample r counts 2^r: the gradient spells out which samples kept the channel, as the draws of the design say. */
static void dropout_channels(void) {
    float p[ROWS], dw[CHANNELS * POSITIONS], y[ROWS * CHANNELS * POSITIONS];
    trainer_side s;
    dpt_array mine[1];
    dpt_trainer_options o = options_of();
    o.seed = 9;
    for (int r = 0; r < ROWS; r++) p[r] = ldexpf(1, r);
    const dpt_array whole = array_f32("p", p, ROWS);
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_dropout, &o)) return;
    share_arrays(&s, &whole, 1, SHARE_UNEVEN, mine);
    if (CHECK_OK(dpt_trainer_gradient(s.trainer, mine, 1, NULL)) &&
        CHECK_OK(dpt_trainer_get(s.trainer, DPT_GRADIENT, "w", dw, sizeof dw))) {
        const uint64_t key = dpt_random_key("drop", o.seed);
        for (int c = 0; c < CHANNELS; c++) {
            double kept = 0;
            for (int r = 0; r < ROWS; r++)
                if (dpt_uniform_f32(dpt_random_quad(key, (uint32_t)c / 4, (uint64_t)r, 0).v[c % 4]) >= 0.25F)
                    kept += ldexp(1, r);
            for (int i = 0; i < POSITIONS; i++) CHECK_NEAR((double)dw[c * POSITIONS + i], kept / 0.75, 1e-6);
        }
    }
    if (CHECK_OK(dpt_trainer_predict(s.trainer, &whole, 1, "y", y, sizeof y))) /* nothing is dropped */
        for (int i = 0; i < ROWS * CHANNELS * POSITIONS; i++) CHECK(y[i] == 1);
    trainer_side_close(&s);
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_dropout_channels(dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3})), 0.5, "drop");
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "dropout_channels \"drop\": x is f32 [B,3]");
    dpt_graph_destroy(&g);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "norm_ranks", {"synchronised_loss", synchronised_loss},
                      {"fused_blocks", fused_blocks}, {"fused_micro_batches", fused_micro_batches},
                      {"seen_values", seen_values}, {"micro_batches", micro_batches},
                      {"double_precision", double_precision}, {"dropout_channels", dropout_channels});
}
