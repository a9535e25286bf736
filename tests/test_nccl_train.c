/* test_nccl_train.c: training whose gradients NCCL sums, at any rank count: the first gradient and the loss of every
 * step as on CPU ranks, parameters as with sums by way of MPI, the same bits on every rank and from run to run, sums in
 * bf16 near the others with the loss itself unrounded, memory as announced. Runs on the device of DPT_TEST_DEVICE. */
#include <stdlib.h>

#include "backend/backend.h"
#include "base/hash.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 22, IN = 36, OUT = 4, STEPS = 30 };

/* Convolution, pooling, batch statistics, dropout, a loss with targets that are left out: what ranks must agree on. */
static void build(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 1, 6, 6}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, OUT}));
    dpt_tensor *h = dpt_relu(dpt_conv2d(x, 4, 3, 1, (dpt_conv_options){.pad = 1}, "conv"));
    h = dpt_reshape(h, 2, ((int64_t[]){DPT_BATCH, 4 * IN}));
    h = dpt_dropout(dpt_tanh(dpt_linear(h, 16, "fc1")), 0.1, "drop");
    dpt_loss_add(g, dpt_mse(dpt_linear(h, OUT, "fc2"), t), 1.0, NULL);
}

typedef struct batch {
    float x[ROWS * IN], t[ROWS * OUT];
    dpt_array array[2];
} batch;

static void fill(batch *b, int step) {
    fill_products(step, ROWS, IN, OUT, b->x, b->t);
    for (int i = 0; i < ROWS * OUT; i++) b->t[i] += 0.2F;
    b->array[0] = array_f32("x", b->x, ROWS);
    b->array[1] = array_f32("t", b->t, ROWS);
}

typedef struct kind {
    const char *device, *comm;
    int deterministic, bf16;
} kind;

static bool open_side(trainer_side *s, kind k) {
    dpt_context_options c;
    dpt_trainer_options o;
    *s = (trainer_side){0};
    dpt_context_options_init(&c);
    c.device = k.device;
    c.comm = k.comm;
    c.threads = 1;
    c.deterministic = k.deterministic;
    c.comm_bf16 = k.bf16;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.optimizer = DPT_ADAMW;
    o.lr = 0.01;
    o.clip_norm = 1;
    o.seed = 3;
    o.bucket_bytes = 2048; /* several buckets */
    if (!CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &c, &s->ctx))) return false;
    CHECK(strncmp(s->ctx->comm.name, "nccl", 4) == 0 || strcmp(k.comm, "nccl") != 0);
    s->graph = dpt_graph_create(s->ctx);
    build(s->graph);
    return CHECK_OK(dpt_trainer_create(s->graph, &o, &s->trainer));
}

static bool step_side(trainer_side *s, int step, double *loss) {
    batch b;
    dpt_array mine[2];
    dpt_metrics m;
    fill(&b, step);
    share_arrays(s, b.array, 2, step % 4, mine);
    bool ok = CHECK_OK(trainer_step_now(s->trainer, mine, 2, &m));
    *loss = m.loss;
    return ok;
}

static dpt_metrics gradient_side(trainer_side *s) {
    batch b;
    dpt_array mine[2];
    dpt_metrics m = {0};
    fill(&b, 0);
    share_arrays(s, b.array, 2, SHARE_UNEVEN, mine);
    CHECK_OK(dpt_trainer_gradient(s->trainer, mine, 2, &m));
    return m;
}

static double farthest(const trainer_side *a, const trainer_side *b, dpt_what what) {
    double most = 0;
    for (int64_t i = 0; i < a->graph->n_param; i++)
        most = fmax(most, trainer_distance(a, b, what, a->graph->param[i].name));
    return most;
}

/* One number for all bits of all parameters. */
static uint64_t bits_of(const trainer_side *s) {
    dpt_digest d = {0};
    for (int64_t i = 0; i < s->graph->n_param; i++) {
        static float value[16384];
        const size_t bytes = (size_t)dpt_row_count(s->graph->param[i].tensor) * sizeof(float);
        CHECK(bytes <= sizeof value);
        CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, s->graph->param[i].name, value, bytes));
        dpt_digest_i64(&d, (int64_t)dpt_hash(value, bytes, 0));
    }
    return d.value;
}

static const kind on_cpu = {"cpu", "mpi", 0, 0};
static kind by_nccl(void) { return (kind){check_device(), "nccl", 0, 0}; }

static void like_cpu_ranks(void) {
    trainer_side gpu, cpu;
    double a, b = 0, first = 0;
    if (!open_side(&gpu, by_nccl()) || !open_side(&cpu, on_cpu)) return;
    dpt_metrics ma = gradient_side(&gpu), mb = gradient_side(&cpu);
    CHECK(farthest(&gpu, &cpu, DPT_GRADIENT) <= 1e-5);
    CHECK(fabs(ma.loss / mb.loss - 1) <= 1e-5);
    for (int step = 0; step < STEPS && step_side(&gpu, step, &a) && step_side(&cpu, step, &b); step++) {
        check_that(fabs(a / b - 1) <= 1e-4, __FILE__, __LINE__, "step %d: loss %.9g, on CPU ranks %.9g", step, a, b);
        if (step == 0) first = b;
    }
    CHECK(b < 0.8 * first);
    CHECK_OK(dpt_control_same(&gpu.ctx->control, "the parameters", bits_of(&gpu)));
    CHECK_OK(dpt_control_same(&gpu.ctx->control, "the digest", dpt_trainer_digest(gpu.trainer)));
    CHECK_EQ_I64(gpu.ctx->comm.entered[0], gpu.ctx->comm.finished[0]);
    trainer_side_close(&gpu);
    trainer_side_close(&cpu);
}

static void like_mpi(void) {
    trainer_side nccl, mpi;
    double a, b;
    if (!open_side(&nccl, by_nccl()) || !open_side(&mpi, (kind){check_device(), "mpi", 0, 0})) return;
    for (int step = 0; step < STEPS && step_side(&nccl, step, &a) && step_side(&mpi, step, &b); step++)
        CHECK(fabs(a / b - 1) <= 1e-5);
    CHECK(farthest(&nccl, &mpi, DPT_PARAMETER) <= 1e-5);
    trainer_side_close(&nccl);
    trainer_side_close(&mpi);
}

static void repeatable(void) {
    uint64_t bits[2] = {0};
    for (int run = 0; run < 2; run++) {
        trainer_side s;
        double loss;
        kind k = by_nccl();
        k.deterministic = 1;
        if (!open_side(&s, k)) return;
        for (int step = 0; step < 10; step++) step_side(&s, step, &loss);
        bits[run] = bits_of(&s);
        trainer_side_close(&s);
    }
    CHECK(bits[0] == bits[1]);
}

/* The loss of the first step holds no rounded number; gradients do, where there is something to sum. */
static void in_bf16(void) {
    kind rounded[] = {by_nccl(), {check_device(), "mpi", 0, 1}, {"cpu", "mpi", 0, 1}};
    trainer_side exact;
    double after[3], wanted;
    rounded[0].bf16 = 1;
    if (!open_side(&exact, on_cpu)) return;
    dpt_metrics whole = gradient_side(&exact);
    for (int k = 0; k < 3; k++) {
        trainer_side s;
        if (!open_side(&s, rounded[k])) return;
        dpt_memory m = dpt_trainer_memory(s.trainer);
        CHECK_EQ_I64(m.total, m.allocated);
        dpt_metrics part = gradient_side(&s);
        CHECK(fabs(part.loss / whole.loss - 1) <= 1e-6);
        const double off = farthest(&s, &exact, DPT_GRADIENT);
        check_that(off <= 0.01 && (off >= 1e-4 || check_world() == 1), __FILE__, __LINE__, "%s: gradients off by %.3g",
                   s.ctx->comm.name, off);
        for (int step = 0; step < 5; step++) step_side(&s, step, &after[k]);
        CHECK_OK(dpt_control_same(&s.ctx->control, "the parameters", bits_of(&s)));
        trainer_side_close(&s);
    }
    for (int step = 0; step < 5; step++) step_side(&exact, step, &wanted);
    for (int k = 0; k < 3; k++) CHECK(fabs(after[k] / wanted - 1) <= 0.01);
    trainer_side_close(&exact);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "nccl_train", {"like_cpu_ranks", like_cpu_ranks}, {"like_mpi", like_mpi},
                      {"repeatable", repeatable}, {"in_bf16", in_bf16});
}
