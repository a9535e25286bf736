/* 04_own_samples.c: a surrogate trained on what a solver left in memory: every rank has solved cases of its own, and
 * all ranks train on all of them, shuffled, each case once an epoch.
 *
 *   mpirun -np 4 ./04_own_samples
 *
 * The solver integrates a damped pendulum (angle, speed, damping, time) -> (angle, speed); ranks have solved different
 * numbers of cases. The inputs lie in an array; the targets are worked out by a function when a batch needs them, as a
 * code would that reads them back from its own files. Rank 0 prints the loss of each tenth epoch. Exit status 0 if the
 * surrogate is good. */
#include <dptrain/dptrain.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { IN = 4, OUT = 2, CASES = 600, EPOCHS = 60 };

typedef struct cases {
    float x[CASES * IN];
} cases;

static float uniform(unsigned *state) { /* [-1, 1) */
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

/* Semi-implicit Euler steps of a'' = -sin(a) - c a'. */
static void solve(const float *x, float *y) {
    float a = x[0], v = x[1], c = 0.5f + 0.5f * x[2], t = 1 + x[3], dt = t / 50;
    for (int i = 0; i < 50; i++) {
        v += dt * (-sinf(a) - c * v);
        a += dt * v;
    }
    y[0] = a;
    y[1] = v;
}

/* Targets of this rank's cases [row, row + count): called by the threads that prepare batches. */
static dpt_status read_targets(void *user, int field, uint64_t row, uint64_t count, void *out) {
    const cases *c = user;
    (void)field;
    for (uint64_t i = 0; i < count; i++) {
        float *y = (float *)out + i * OUT;
        solve(c->x + (row + i) * IN, y);
        if (!isfinite(y[0])) return dpt_source_fail(DPT_ERR_DATA, "the solver has diverged");
    }
    return DPT_OK;
}

static dpt_status open_samples(dpt_context *ctx, cases *mine, dpt_dataset **samples, dpt_batches **batches) {
    int rank = dpt_context_rank(ctx);
    unsigned state = 7u + 31u * (unsigned)rank;
    for (int i = 0; i < CASES * IN; i++) mine->x[i] = uniform(&state);
    dpt_source_field fields[2] = {{"x", DPT_F32, 1, {IN}, mine->x, 0}, {"t", DPT_F32, 1, {OUT}, NULL, 0}};
    dpt_source source;
    dpt_source_init(&source);
    source.name = "the pendulum's cases";
    source.fields = fields;
    source.field_count = 2;
    source.own_rows = 1;
    source.rows = (uint64_t)(CASES - 150 * (rank % 3)); /* as many as this rank has solved */
    source.read = read_targets;
    source.user = mine;
    DPT_TRY(dpt_dataset_create(ctx, &source, samples));
    dpt_batches_options o;
    dpt_batches_options_init(&o);
    o.batch = 64;
    o.epochs = EPOCHS;
    return dpt_batches_create(ctx, *samples, &o, batches);
}

static dpt_graph *build(dpt_context *ctx) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, (int64_t[]){DPT_BATCH, IN});
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, (int64_t[]){DPT_BATCH, OUT});
    dpt_tensor *h = dpt_gelu(dpt_linear(dpt_gelu(dpt_linear(x, 64, "fc1")), 64, "fc2"));
    dpt_loss_add(g, dpt_mse(dpt_linear(h, OUT, "fc3"), t), 1.0, NULL);
    return g;
}

static dpt_status train(dpt_context *ctx, dpt_trainer *tr, dpt_batches *batches, double *loss) {
    uint64_t steps = dpt_batches_steps(batches);
    const dpt_batch *b;
    dpt_metrics m;
    for (;;) {
        DPT_TRY(dpt_batches_next(batches, &b));
        if (b == NULL) break;
        double done = (double)(b->epoch * steps + b->step) / (double)(EPOCHS * steps);
        dpt_trainer_set_lr(tr, 4e-3 * 0.5 * (1 + cos(3.14159265 * done)));
        DPT_TRY(dpt_trainer_step(tr, b->array, b->arrays, &m));
        if (dpt_context_rank(ctx) == 0 && b->step + 1 == steps && (b->epoch + 1) % 10 == 0)
            printf("epoch %3d  loss %.6f\n", (int)b->epoch + 1, m.loss);
    }
    DPT_TRY(dpt_trainer_sync(tr, &m));
    *loss = m.loss;
    return DPT_OK;
}

static dpt_status run(dpt_context *ctx, cases *mine, double *loss) {
    dpt_dataset *samples = NULL;
    dpt_batches *batches = NULL;
    dpt_graph *g = NULL;
    dpt_trainer *tr = NULL;
    dpt_status status = open_samples(ctx, mine, &samples, &batches);
    if (status == DPT_OK) {
        dpt_trainer_options o;
        dpt_trainer_options_init(&o);
        o.max_rows = dpt_batches_max_rows(batches);
        o.optimizer = DPT_ADAMW;
        g = build(ctx);
        status = dpt_trainer_create(g, &o, &tr);
    }
    if (status == DPT_OK) status = train(ctx, tr, batches, loss);
    dpt_trainer_destroy(&tr);
    dpt_graph_destroy(&g);
    dpt_batches_destroy(&batches);
    dpt_dataset_close(&samples);
    return status;
}

int main(int argc, char **argv) {
    static cases mine;
    MPI_Init(&argc, &argv);
    dpt_context *ctx = NULL;
    double loss = 1;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    dpt_status status = dpt_context_create(MPI_COMM_WORLD, NULL, &ctx);
    if (status == DPT_OK) status = run(ctx, &mine, &loss);
    if (status != DPT_OK && rank == 0) fprintf(stderr, "%s: %s\n", dpt_status_text(status), dpt_last_error());
    dpt_context_destroy(&ctx);
    MPI_Finalize();
    return status == DPT_OK && loss < 0.002 ? EXIT_SUCCESS : EXIT_FAILURE;
}
