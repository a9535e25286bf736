/* 01_mlp_from_memory.c: a surrogate of a function, trained inside an MPI program on what each rank has in memory.
 *
 *   mpirun -np 4 ./01_mlp_from_memory
 *
 * Every rank computes its own samples of f: R^8 -> R^3, as a simulation would; ranks have different numbers of them and
 * the last of several has none. Each step means over the samples of all ranks. Rank 0 prints the error of the surrogate
 * on points that nobody trained on. Exit status 0 if the surrogate is good. */
#include <dptrain/dptrain.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { IN = 8, OUT = 3, CAPACITY = 256, STEPS = 1500 };

/* What is to be learned. */
static void f(const float *x, float *y) {
    y[0] = sinf(x[0]) + 0.5f * x[1] * x[2];
    y[1] = tanhf(x[3] - x[4]);
    y[2] = 0.3f * x[5] * x[5] - 0.2f * x[6] + 0.1f * x[7];
}

static float uniform(unsigned *state) { /* [-1, 1) */
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static void sample(unsigned *state, int n, float *x, float *y) {
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < IN; k++) x[i * IN + k] = uniform(state);
        f(x + i * IN, y + i * OUT);
    }
}

static dpt_graph *build(dpt_context *ctx) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, (int64_t[]){DPT_BATCH, IN});
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, (int64_t[]){DPT_BATCH, OUT});
    dpt_tensor *h = dpt_gelu(dpt_linear(x, 64, "fc1"));
    dpt_tensor *y = dpt_linear(dpt_gelu(dpt_linear(h, 64, "fc2")), OUT, "fc3");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
    return g;
}

static dpt_status train(dpt_trainer *tr, int rank, int world) {
    static float x[CAPACITY * IN], t[CAPACITY * OUT];
    unsigned state = 12345u + 977u * (unsigned)rank;
    int last = world > 1 && rank == world - 1;
    dpt_metrics m;
    for (int step = 0; step < STEPS; step++) {
        int n = last ? 0 : 64 + (37 * (step + rank)) % (CAPACITY - 64); /* as many as the solver happened to make */
        sample(&state, n, x, t);
        dpt_array in[] = {{"x", x, DPT_F32, DPT_HOST, n, NULL}, {"t", t, DPT_F32, DPT_HOST, n, NULL}};
        dpt_trainer_set_lr(tr, 2e-3 * 0.5 * (1 + cos(3.14159265 * step / STEPS)));
        DPT_TRY(dpt_trainer_step(tr, in, 2, &m));
        if (rank == 0 && (step + 1) % 300 == 0)
            printf("step %4d  samples %lld  loss %.6f\n", step + 1, (long long)m.rows, m.loss);
    }
    return dpt_trainer_sync(tr, &m);
}

/* Relative L2 error on new points. Collective. */
static dpt_status test(dpt_trainer *tr, double *error) {
    static float x[CAPACITY * IN], t[CAPACITY * OUT], y[CAPACITY * OUT];
    unsigned state = 999u;
    sample(&state, CAPACITY, x, t);
    dpt_array in[] = {{"x", x, DPT_F32, DPT_HOST, CAPACITY, NULL}};
    DPT_TRY(dpt_trainer_predict(tr, in, 1, "y", y, sizeof y));
    double off = 0, size = 0;
    for (int i = 0; i < CAPACITY * OUT; i++) {
        off += (double)(y[i] - t[i]) * (y[i] - t[i]);
        size += (double)t[i] * t[i];
    }
    *error = sqrt(off / size);
    return DPT_OK;
}

static dpt_status run(dpt_context *ctx, double *error) {
    dpt_graph *g = build(ctx);
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = CAPACITY;
    o.optimizer = DPT_ADAMW;
    dpt_trainer *tr = NULL;
    dpt_status status = dpt_trainer_create(g, &o, &tr);
    if (status == DPT_OK) status = train(tr, dpt_context_rank(ctx), dpt_context_world(ctx));
    if (status == DPT_OK) status = test(tr, error);
    dpt_trainer_destroy(&tr);
    dpt_graph_destroy(&g);
    return status;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    dpt_context *ctx = NULL;
    double error = 1;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    dpt_status status = dpt_context_create(MPI_COMM_WORLD, NULL, &ctx);
    if (status == DPT_OK) status = run(ctx, &error);
    if (status != DPT_OK && rank == 0) fprintf(stderr, "%s: %s\n", dpt_status_text(status), dpt_last_error());
    if (status == DPT_OK && rank == 0) printf("relative error on new points %.4f\n", error);
    dpt_context_destroy(&ctx);
    MPI_Finalize();
    return status == DPT_OK && error < 0.05 ? EXIT_SUCCESS : EXIT_FAILURE;
}
