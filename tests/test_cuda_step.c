/* test_cuda_step.c: a training step on a device that works by itself: nobody waits for it, results come at most two
 * steps late and belong to their step, programs are recorded after two runs and then queued as one; and all of it
 * computes what the CPU computes. Runs on the device of DPT_TEST_DEVICE; skipped on the CPU. */
#include <dlfcn.h>
#include <stdlib.h>

#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 24, IN = 6, OUT = 3, STEPS = 12, LAG = 2 };

static void build(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, OUT}));
    dpt_tensor *h = dpt_relu(dpt_linear(x, 16, "fc1"));
    h = dpt_batch_norm(h, ((dpt_batch_norm_options){0}), "bn");
    h = dpt_dropout(h, 0.1, "drop");
    dpt_tensor *y = dpt_linear(dpt_gelu(dpt_linear(h, 16, "fc2")), OUT, "fc3");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
}

typedef struct batch {
    float x[ROWS * IN], t[ROWS * OUT];
    dpt_array array[2];
} batch;

/* Rows change from step to step, down to one; the loss of every step is its own. */
static void fill(batch *b, int step) {
    const int64_t rows = step % 4 == 3 ? 1 : ROWS - step % 5;
    fill_products(step, ROWS, IN, OUT, b->x, b->t);
    b->array[0] = array_f32("x", b->x, rows);
    b->array[1] = array_f32("t", b->t, rows);
}

typedef struct side {
    dpt_context *ctx;
    dpt_graph *graph;
    dpt_trainer *trainer;
} side;

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.optimizer = DPT_ADAMW;
    o.lr = 0.01;
    o.clip_norm = 1;
    o.seed = 5;
    return o;
}

static bool open_side(side *s, const char *device, bool record, const dpt_trainer_options *o) {
    dpt_context_options c;
    *s = (side){0};
    dpt_context_options_init(&c);
    c.device = device;
    if (!CHECK_OK(dpt_context_create(MPI_COMM_SELF, &c, &s->ctx))) return false;
    if (!record) s->ctx->device.record = DPT_RECORD_OFF;
    s->graph = dpt_graph_create(s->ctx);
    build(s->graph);
    return CHECK_OK(dpt_trainer_create(s->graph, o, &s->trainer));
}

static void close_side(side *s) {
    dpt_trainer_destroy(&s->trainer);
    dpt_graph_destroy(&s->graph);
    dpt_context_destroy(&s->ctx);
}

/* The host memory of a step's arrays is overwritten as soon as the step returns. */
static bool step(side *s, int k, dpt_metrics *m) {
    batch b;
    fill(&b, k);
    bool ok = CHECK_OK(dpt_trainer_step(s->trainer, b.array, 2, m));
    memset(&b, 0x7f, sizeof b);
    return ok;
}

/* Metrics by step, however late they come. */
static void train(side *s, dpt_metrics metrics[STEPS]) {
    dpt_metrics m;
    int n = 0;
    for (int k = 0; k < STEPS && step(s, k, &m); k++) {
        CHECK_EQ_I64(m.step, k < LAG ? -1 : k - LAG);
        if (m.step >= 0) metrics[n++] = m;
    }
    for (bool any = true; any && CHECK_OK(dpt_trainer_take_metrics(s->trainer, &m, &any));)
        if (any) metrics[n++] = m;
    CHECK_EQ_I64(n, STEPS);
    for (int k = 0; k < n; k++) CHECK_EQ_I64(metrics[k].step, k);
}

static void train_on_cpu(const dpt_trainer_options *o, dpt_metrics metrics[STEPS]) {
    side s;
    if (open_side(&s, "cpu", true, o))
        for (int k = 0; k < STEPS && step(&s, k, &metrics[k]); k++) CHECK_EQ_I64(metrics[k].step, k);
    close_side(&s);
}

static void as_the_cpu(int accumulate) {
    side s;
    dpt_metrics here[STEPS], cpu[STEPS];
    dpt_trainer_options o = options_of();
    o.accumulate = accumulate;
    train_on_cpu(&o, cpu);
    if (open_side(&s, check_device(), true, &o)) {
        train(&s, here);
        for (int k = 0; k < STEPS; k++) {
            CHECK_NEAR(here[k].loss / cpu[k].loss, 1, 1e-5);
            CHECK_NEAR(here[k].grad_norm / cpu[k].grad_norm, 1, 1e-4);
            CHECK_EQ_I64(here[k].rows, cpu[k].rows);
        }
        dpt_memory m = dpt_trainer_memory(s.trainer);
        CHECK_EQ_I64(m.allocated, m.total);
    }
    close_side(&s);
}

static void curve(void) { as_the_cpu(1); }
static void curve_accumulated(void) { as_the_cpu(3); }

static void weights_of(side *s, float w[16 * IN]) {
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, "fc1.weight", w, 16 * IN * sizeof *w));
}

/* Recorded or not, and from run to run: the same bits. */
static void same_bits(void) {
    float w[3][16 * IN];
    dpt_metrics m[3][STEPS];
    const dpt_trainer_options o = options_of();
    for (int i = 0; i < 3; i++) {
        side s;
        if (open_side(&s, check_device(), i > 0, &o)) {
            train(&s, m[i]);
            CHECK_EQ_I64(dpt_session_recordings(s.trainer->train.session), i > 0);
            weights_of(&s, w[i]);
        }
        close_side(&s);
    }
    for (int i = 1; i < 3; i++) {
        CHECK(memcmp(w[0], w[i], sizeof w[0]) == 0);
        for (int k = 0; k < STEPS; k++) CHECK(m[0][k].loss == m[i][k].loss);
    }
}

/* A step whose loss is not finite changes nothing, and says so when its metrics come. */
static void not_finite(void) {
    side s;
    batch b;
    dpt_metrics m;
    float before[16 * IN], after[16 * IN];
    const dpt_trainer_options o = options_of();
    if (open_side(&s, check_device(), true, &o)) {
        for (int k = 0; k < 4; k++) step(&s, k, NULL);
        CHECK_OK(dpt_trainer_sync(s.trainer, NULL));
        weights_of(&s, before);
        fill(&b, 4);
        b.x[0] = NAN;
        CHECK_OK(dpt_trainer_step(s.trainer, b.array, 2, NULL));
        CHECK_OK(dpt_trainer_sync(s.trainer, &m));
        CHECK(m.step == 4 && m.skipped && isnan(m.loss));
        weights_of(&s, after);
        CHECK(memcmp(before, after, sizeof before) == 0);
        step(&s, 5, NULL);
        CHECK_OK(dpt_trainer_sync(s.trainer, &m));
        CHECK(m.step == 5 && !m.skipped);
    }
    close_side(&s);
}

/* ---- what the host does meanwhile: only where the device is the test's own ---- */

typedef int64_t (*count_fn)(const char *what);

static count_fn counter(void) {
    void *module = dlopen("libdptrain_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    void *symbol = module ? dlsym(module, "hostcuda_count") : NULL;
    count_fn fn;
    memcpy(&fn, &symbol, sizeof fn);
    return fn;
}

static void nobody_waits(void) {
    side s;
    const dpt_trainer_options o = options_of();
    if (open_side(&s, check_device(), true, &o)) {
        count_fn count = counter();
        for (int k = 0; k < 4; k++) step(&s, k, NULL);
        if (count) {
            int64_t waits = count("synchronisations"), launches = count("launches"), replays = count("graph_launches");
            for (int k = 4; k < STEPS; k++) step(&s, k, NULL);
            CHECK_EQ_I64(count("synchronisations") - waits, 0);
            CHECK_EQ_I64(count("launches") - launches, 0);
            CHECK_EQ_I64(count("graph_launches") - replays, STEPS - 4);
        }
    }
    close_side(&s);
}

/* Evaluation and prediction between steps: they share memory and stream with the step. */
static void between_steps(void) {
    side s[2];
    batch b;
    float y[2][ROWS * OUT];
    dpt_evaluation e[2];
    const dpt_trainer_options o = options_of();
    const char *const device[2] = {"cpu", check_device()};
    for (int i = 0; i < 2; i++) {
        if (!open_side(&s[i], device[i], true, &o)) continue;
        for (int k = 0; k < STEPS; k++) {
            step(&s[i], k, NULL);
            fill(&b, k);
            const size_t bytes = (size_t)b.array[0].rows * OUT * sizeof(float);
            CHECK_OK(dpt_trainer_evaluate(s[i].trainer, b.array, 2));
            CHECK_OK(dpt_trainer_predict(s[i].trainer, b.array, 1, "y", y[i], bytes));
        }
        CHECK_OK(dpt_trainer_evaluation(s[i].trainer, &e[i]));
    }
    CHECK(e[0].rows == e[1].rows);
    CHECK_NEAR(e[1].loss / e[0].loss, 1, 1e-5);
    CHECK(check_relative_f32(y[1], y[0], OUT) < 1e-4);
    for (int i = 0; i < 2; i++) close_side(&s[i]);
}

/* Arrays on the device, on a stream of the caller's (here: the device's own, then none): the same as from the host. */
static void lent_arrays(void) {
    side s;
    batch b;
    float w[2][16 * IN];
    const dpt_trainer_options o = options_of();
    for (int lent = 0; lent < 2; lent++) {
        if (!open_side(&s, check_device(), true, &o)) continue;
        dpt_device *d = &s.ctx->device;
        void *memory[2];
        for (int i = 0; i < 2; i++) CHECK_OK(d->ops->alloc(d, sizeof b.x, DPT_FOR_COMPUTE, &memory[i]));
        for (int k = 0; k < 6; k++) {
            fill(&b, k);
            for (int i = 0; i < 2 && lent; i++) {
                CHECK_OK(d->ops->copy_in(d, memory[i], b.array[i].data, i ? sizeof b.t : sizeof b.x, NULL));
                b.array[i].data = memory[i];
                b.array[i].place = DPT_DEVICE;
            }
            CHECK_OK(dpt_trainer_step(s.trainer, b.array, 2, NULL));
            for (int i = 0; i < 2 && lent; i++) /* their stream waits for the step's copy, then may write again */
                CHECK_OK(d->ops->zero(d, memory[i], sizeof b.t, NULL));
        }
        weights_of(&s, w[lent]);
        if (lent) {
            b.array[0].dtype = DPT_F64;
            CHECK_FAILS(dpt_trainer_step(s.trainer, b.array, 2, NULL), DPT_ERR_ARG, "must be f32, not f64");
        }
        for (int i = 0; i < 2; i++) d->ops->release(d, memory[i], sizeof b.x, DPT_FOR_COMPUTE);
        close_side(&s);
    }
    CHECK(memcmp(w[0], w[1], sizeof w[0]) == 0);
}

int main(int argc, char **argv) {
    if (strcmp(check_device(), "cpu") == 0) return 77;
    return CHECK_MAIN(argc, argv, "cuda_step", {"curve", curve}, {"curve_accumulated", curve_accumulated},
                      {"same_bits", same_bits}, {"not_finite", not_finite}, {"nobody_waits", nobody_waits},
                      {"between_steps", between_steps}, {"lent_arrays", lent_arrays});
}
