/* test_losses.c: losses and their gradients against PyTorch's, over ranks and micro-batches; weights and ignored
 * targets that leave nothing; what is refused. The gradient is read from one step of plain SGD with learning rate 1. */
#include <math.h>

#include "golden/training.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 6, CLASSES = 4, POSITIONS = 3, EACH = CLASSES * POSITIONS };

static int kind; /* of the graph that build makes */
enum { PLAIN, SMOOTH, IGNORED, WEIGHED, L1, HUBER, BCE, DICE, KINDS, ALL_IGNORED, NO_WEIGHT };

static const double weights[CLASSES] = {0.5, 2, 1, 1.5}, no_weights[CLASSES] = {0};

static void add_classes(dpt_graph *g, dpt_tensor *y) {
    dpt_tensor *label = dpt_input(g, "label", DPT_I32, 2, ((int64_t[]){DPT_BATCH, POSITIONS}));
    dpt_cross_entropy_options o = {.smoothing = kind == SMOOTH || kind == WEIGHED ? 0.2 : 0,
                                   .weight = kind == WEIGHED     ? weights
                                             : kind == NO_WEIGHT ? no_weights
                                                                 : NULL,
                                   .ignores = kind == IGNORED || kind == WEIGHED || kind == ALL_IGNORED,
                                   .ignore = kind == ALL_IGNORED ? 77 : 2};
    dpt_cross_entropy_loss(g, y, label, 1.0, o);
}

static void build(dpt_graph *g) {
    const int64_t dim[] = {DPT_BATCH, CLASSES, POSITIONS};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 3, dim);
    dpt_tensor *z =
        dpt_param(g, "z", DPT_F32, 2, ((int64_t[]){CLASSES, POSITIONS}), ((dpt_init){DPT_INIT_ZEROS, 0, 0}));
    dpt_tensor *y = dpt_add(x, z);
    if (kind < L1 || kind > KINDS) {
        add_classes(g, y);
        return;
    }
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 3, dim), *loss = NULL;
    if (kind == L1) loss = dpt_l1(y, t);
    if (kind == HUBER) loss = dpt_huber(y, t, 0.7);
    if (kind == BCE) loss = dpt_bce(y, t);
    if (kind == DICE) loss = dpt_dice(dpt_offset(dpt_scale(y, 0.2), 0.5), t, 1);
    dpt_loss_add(g, loss, 1.0, NULL);
}

static float x[ROWS * EACH], t[ROWS * EACH];
static int32_t label[ROWS * POSITIONS];

static void fill(void) {
    for (int i = 0; i < ROWS * EACH; i++) x[i] = (float)(2 * sin(1.3 * i + 0.5));
    for (int i = 0; i < ROWS * EACH; i++) t[i] = (float)(0.5 + 0.5 * sin(0.9 * i));
    for (int i = 0; i < ROWS * POSITIONS; i++) label[i] = kind == ALL_IGNORED ? 77 : (7 * i + i / 5) % CLASSES;
}

/* One step on shares of the rows; z, and the step's metrics. */
static bool step_of(int accumulate, float *z, dpt_metrics *m) {
    trainer_side s;
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.lr = 1;
    o.momentum = 0;
    o.accumulate = accumulate;
    fill();
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build, &o)) return false;
    const bool classes = kind < L1 || kind > KINDS;
    const dpt_array whole[] = {array_f32("x", x, ROWS), classes
                                                            ? (dpt_array){"label", label, DPT_I32, DPT_HOST, ROWS, NULL}
                                                            : array_f32("t", t, ROWS)};
    dpt_array mine[2];
    share_arrays(&s, whole, 2, SHARE_UNEVEN, mine);
    const bool ok = CHECK_OK(trainer_step_now(s.trainer, mine, 2, m)) &&
                    CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "z", z, EACH * sizeof *z));
    trainer_side_close(&s);
    return ok;
}

static void by_pytorch(int accumulate) {
    static const double *const golden[KINDS] = {loss_plain, loss_smooth, loss_ignored, loss_weighed,
                                                loss_l1,    loss_huber,  loss_bce,     loss_dice};
    float z[EACH];
    dpt_metrics m;
    for (kind = 0; kind < KINDS; kind++) {
        if (!step_of(accumulate, z, &m)) return;
        CHECK_NEAR(m.loss, golden[kind][0], 2e-6);
        for (int i = 0; i < EACH; i++)
            check_that(fabs((double)z[i] + golden[kind][1 + i]) < 1e-6, __FILE__, __LINE__,
                       "loss %d: gradient %d is %g, not %g", kind, i, -(double)z[i], golden[kind][1 + i]);
    }
}

static void at_once(void) { by_pytorch(1); }
static void accumulated(void) { by_pytorch(3); }

/* No target counts: the loss is 0 and nothing moves. */
static void nothing_counts(void) {
    float z[EACH];
    dpt_metrics m;
    for (kind = ALL_IGNORED; kind <= NO_WEIGHT; kind++) {
        if (!step_of(1, z, &m)) return;
        CHECK(m.loss == 0 && !m.skipped);
        for (int i = 0; i < EACH; i++) CHECK(z[i] == 0);
    }
}

static void expect_refused(const char *text, void (*make)(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels)) {
    dpt_context *ctx;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *y = dpt_input(g, "x", DPT_F32, 3, ((int64_t[]){DPT_BATCH, CLASSES, POSITIONS}));
    make(g, y, dpt_input(g, "label", DPT_I32, 2, ((int64_t[]){DPT_BATCH, POSITIONS})));
    CHECK(dpt_graph_status(g) != DPT_OK && strstr(dpt_last_error(), text) != NULL);
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

static void bad_smoothing(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels) {
    dpt_cross_entropy_loss(g, y, labels, 1.0, ((dpt_cross_entropy_options){.smoothing = 1}));
}
static void bad_weight(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels) {
    static const double negative[CLASSES] = {1, 1, -1, 1};
    dpt_cross_entropy_loss(g, y, labels, 1.0, ((dpt_cross_entropy_options){.weight = negative}));
}
static void bad_positions(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels) {
    (void)labels;
    dpt_cross_entropy(y, dpt_input(g, "one", DPT_I32, 1, ((int64_t[]){DPT_BATCH})));
}
static void bad_k(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels) {
    (void)g;
    dpt_top_k(y, labels, 5);
}
static void bad_delta(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels) {
    (void)g, (void)labels;
    dpt_huber(y, y, 0);
}
static void bad_dice(dpt_graph *g, dpt_tensor *y, dpt_tensor *labels) {
    (void)g;
    dpt_dice(y, labels, 1);
}

static void refuses(void) {
    expect_refused("smoothing must be in [0, 1)", bad_smoothing);
    expect_refused("negative weight", bad_weight);
    expect_refused("target is i32 [B]", bad_positions);
    expect_refused("k is 5, of 4 classes", bad_k);
    expect_refused("delta is 0", bad_delta);
    expect_refused("dice: p is f32 [B,4,3], target is i32 [B,3]", bad_dice);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "losses", {"at_once", at_once}, {"accumulated", accumulated},
                      {"nothing_counts", nothing_counts}, {"refuses", refuses});
}
