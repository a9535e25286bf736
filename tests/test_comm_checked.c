/* test_comm_checked.c: sums that are right pass, of every type, size and kind, in whatever order they are waited for;
 * one wrong element, planted by a communicator in between, is found and named by all ranks; steps in between are left
 * alone. Runs on the device of DPT_TEST_DEVICE. */
#include <stdio.h>

#include "backend/backend.h"
#include "backend/comm_checked.h"
#include "backend/comm_mpi.h"
#include "backend/comm_staged.h"
#include "base/memory.h"
#include "base/numbers.h"
#include "base/random.h"
#include "check.h"

enum { MANY = 70001, EVERY = 4 }; /* MANY: more than one part */

static dpt_context *ctx;
static dpt_device *device;
static dpt_comm comm;
static dpt_stream *stream;

/* ---- a communicator that can be wrong ---- */

static dpt_comm real;
static int wrong_rank; /* -1: none */
static float wrong_factor;
static float *started;
static int64_t grouped, attached, begun;

static dpt_status planted_start(dpt_comm *c, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                                dpt_stream *on, uint64_t *ticket) {
    real.sequence = c->sequence;
    started = data;
    return real.ops->start(&real, what, data, count, dtype, on, ticket);
}

/* One element of what was started last. */
static dpt_status planted_wait(dpt_comm *c, uint64_t ticket, dpt_stream *on) {
    float value;
    DPT_TRY(real.ops->wait(&real, ticket, on));
    if (c->rank != wrong_rank) return DPT_OK;
    float *element = started + (c->world - 1) * 100 + 17; /* in the last rank's slice of 100 */
    DPT_TRY(device->ops->copy_out(device, &value, element, sizeof value, NULL));
    value *= wrong_factor;
    return device->ops->copy_in(device, element, &value, sizeof value, NULL);
}

static dpt_status planted_group(dpt_comm *c, bool begin) { return (void)c, (void)begin, grouped++, DPT_OK; }
static dpt_status planted_attach(dpt_comm *c, void *memory, size_t bytes) {
    return (void)c, (void)memory, (void)bytes, attached++, DPT_OK;
}
static void planted_detach(dpt_comm *c, void *memory) { (void)c, (void)memory, attached--; }
static void planted_begin_step(dpt_comm *c) { begun = c->step; }
static void planted_close(dpt_comm *c) {
    dpt_comm_close(&real);
    c->ops = NULL;
}
static const dpt_comm_ops planted_ops = {.start = planted_start,
                                         .wait = planted_wait,
                                         .group = planted_group,
                                         .attach = planted_attach,
                                         .detach = planted_detach,
                                         .close = planted_close};

static bool begin(bool sum_bf16) {
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return false;
    device = &ctx->device;
    wrong_rank = -1;
    wrong_factor = 1;
    bool ok = device->host_memory ? CHECK_OK(dpt_mpi_comm_open(MPI_COMM_WORLD, device, 1, &real))
                                  : CHECK_OK(dpt_staged_comm_open(MPI_COMM_WORLD, device, &real));
    if (!ok) return false;
    dpt_comm planted = real;
    planted.ops = &planted_ops;
    planted.begin_step = planted_begin_step;
    ok = CHECK_OK(dpt_checked_comm_open(&ctx->control, device, EVERY, sum_bf16, &planted, &comm));
    CHECK(planted.ops == NULL && comm.world == check_world() && comm.rank == check_rank());
    CHECK(comm.overlaps == real.overlaps && comm.host_staged == real.host_staged);
    return ok && CHECK_OK(device->ops->stream_create(device, 0, &stream));
}

static void end(void) {
    device->ops->stream_destroy(device, stream);
    dpt_comm_close(&comm);
    CHECK(comm.ops == NULL && real.ops == NULL);
    dpt_context_destroy(&ctx);
}

/* ---- operands ---- */

/* Numbers of all sizes and both signs, so that sums are rounded. */
static double value_at(int rank, int64_t i) {
    dpt_random4 r = dpt_random_quad(7, (uint32_t)rank, (uint64_t)i, 0);
    double x, y;
    dpt_normal_pair(r.v[0], r.v[1], &x, &y);
    return x * (1 + (double)(i % 5) * 100);
}

typedef struct operand {
    void *memory;
    size_t bytes;
} operand;

static operand make(int64_t count, dpt_dtype dtype) {
    operand o = {.bytes = (size_t)count * dpt_dtype_size(dtype)};
    float *f = dpt_alloc((size_t)count * sizeof(double));
    for (int64_t i = 0; i < count; i++)
        if (dtype == DPT_F64)
            ((double *)(void *)f)[i] = value_at(check_rank(), i);
        else
            f[i] = (float)value_at(check_rank(), i);
    CHECK_OK(device->ops->alloc(device, o.bytes, DPT_FOR_COMM, &o.memory));
    CHECK_OK(device->ops->copy_in(device, o.memory, f, o.bytes, NULL));
    dpt_free(f);
    return o;
}

static void drop(operand *o) { device->ops->release(device, o->memory, o->bytes, DPT_FOR_COMM); }

static dpt_status run(dpt_collective what, int64_t count, dpt_dtype dtype) {
    operand o = make(what == DPT_ALL_REDUCE ? count : count * check_world(), dtype);
    dpt_status status = dpt_comm_run(&comm, what, o.memory, (size_t)count, dtype, stream);
    drop(&o);
    return status;
}

/* ---- right sums ---- */

static char said[2048];
static void hear(void *user, dpt_log_level level, const char *message) {
    (void)user;
    if (strstr(message, "comm.check") == NULL) return;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%d %s\n", (int)level, message);
}

static void right_sums(void) {
    if (!begin(false)) return;
    said[0] = 0;
    dpt_log_set(hear, NULL);
    dpt_comm_begin_step(&comm, 8);
    CHECK(comm.eager);
    CHECK_EQ_I64(begun, 8);
    const int64_t counts[] = {0, 1, 1000, 65536, MANY};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        CHECK_OK(run(DPT_ALL_REDUCE, counts[i], DPT_F32));
        CHECK_OK(run(DPT_ALL_REDUCE, counts[i], DPT_F64));
        CHECK_OK(run(DPT_REDUCE_SCATTER, counts[i], DPT_F32));
    }
    CHECK_OK(run(DPT_ALL_REDUCE, 100, DPT_I64)); /* not compared, nor are those that add nothing */
    CHECK_OK(run(DPT_ALL_GATHER, 1000, DPT_F32));
    CHECK_OK(run(DPT_BROADCAST, 1000, DPT_F32));
    CHECK_EQ_TEXT(said, "");
    dpt_comm_begin_step(&comm, 9);
    CHECK(!comm.eager);
    CHECK(strstr(said, "1 comm.check: 15 sums of step 8 compared with MPI's: largest relative error ") != NULL);
    dpt_comm_begin_step(&comm, 12);
    CHECK_OK(run(DPT_ALL_REDUCE, 100, DPT_F32));
    end();
    CHECK(strstr(said, "0 comm.check: 1 sums of step 12 ") != NULL); /* the first time at level info, then at debug */
    dpt_log_set(NULL, NULL);
}

/* Many under way, waited for from the last to the first. */
static void any_order(void) {
    enum { N = 40 };
    operand o[N];
    uint64_t ticket[N];
    if (!begin(false)) return;
    for (int step = EVERY; step <= EVERY + 1; step++) {
        dpt_comm_begin_step(&comm, step);
        for (int i = 0; i < N; i++) {
            o[i] = make(20000 + i, DPT_F32);
            CHECK_OK(
                dpt_comm_start(&comm, DPT_ALL_REDUCE, o[i].memory, (size_t)(20000 + i), DPT_F32, stream, &ticket[i]));
        }
        for (int i = N; i-- > 0;) CHECK_OK(comm.ops->wait(&comm, ticket[i], stream));
        for (int i = 0; i < N; i++) drop(&o[i]);
    }
    end();
}

/* ---- wrong ones ---- */

static void expect_found(dpt_collective what, int64_t count, const char *kind) {
    char text[128];
    if (check_world() > 1)
        snprintf(text, sizeof text, "rank %d: step 4: %s number ", wrong_rank, kind);
    else
        snprintf(text, sizeof text, "step 4: %s number ", kind);
    CHECK_FAILS(run(what, count, DPT_F32), DPT_ERR_INTERNAL, text);
    CHECK(strstr(dpt_last_error(), "is not the sum over ranks: MPI's has norm") != NULL);
}

static void wrong_sums(void) {
    if (!begin(false)) return;
    wrong_rank = check_world() - 1;
    wrong_factor = 1.01F;
    dpt_comm_begin_step(&comm, 3);
    CHECK_OK(run(DPT_ALL_REDUCE, 5000, DPT_F32)); /* nobody looks */
    dpt_comm_begin_step(&comm, 4);
    expect_found(DPT_ALL_REDUCE, 5000, "all_reduce");
    expect_found(DPT_REDUCE_SCATTER, 100, "reduce_scatter");
    wrong_factor = INFINITY;
    expect_found(DPT_ALL_REDUCE, 5000, "all_reduce");
    wrong_factor = NAN;
    expect_found(DPT_ALL_REDUCE, 5000, "all_reduce");
    CHECK(strstr(dpt_last_error(), "not finite") != NULL);
    wrong_factor = 1 + 0x1p-23F; /* the last bit: rounding explains it */
    CHECK_OK(run(DPT_ALL_REDUCE, 5000, DPT_F32));
    wrong_factor = 1;
    CHECK_OK(run(DPT_ALL_REDUCE, 5000, DPT_F32));
    end();
}

/* Sums made in bf16 may be off by its rounding, and no more. */
static void bf16_sums(void) {
    if (!begin(true)) return;
    wrong_rank = 0;
    dpt_comm_begin_step(&comm, 4);
    wrong_factor = 1 + 0x1p-8F;
    CHECK_OK(run(DPT_ALL_REDUCE, 500 * check_world(), DPT_F32));
    wrong_factor = 1000;
    expect_found(DPT_ALL_REDUCE, 500 * check_world(), "all_reduce");
    end();
}

/* Gradients may hold numbers that are not finite: that is the step's business. */
static void not_finite(void) {
    if (!begin(false)) return;
    dpt_comm_begin_step(&comm, 4);
    float v[4] = {1, NAN, INFINITY, -3};
    void *memory = NULL;
    CHECK_OK(device->ops->alloc(device, sizeof v, DPT_FOR_COMM, &memory));
    CHECK_OK(device->ops->copy_in(device, memory, v, sizeof v, NULL));
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, memory, 4, DPT_F32, stream));
    device->ops->release(device, memory, sizeof v, DPT_FOR_COMM);
    end();
}

/* ---- the rest ---- */

static void passes_on(void) {
    if (!begin(false)) return;
    char memory[16];
    grouped = attached = 0;
    CHECK_OK(comm.ops->group(&comm, true));
    CHECK_OK(comm.ops->attach(&comm, memory, sizeof memory));
    CHECK(grouped == 1 && attached == 1);
    comm.ops->detach(&comm, memory);
    CHECK_EQ_I64(attached, 0);
    CHECK_OK(comm.ops->check(&comm));
    comm.ops->abort(&comm, 1);
    end();
}

/* One rank without memory for its copy: all ranks fail before the sum is started. */
static void out_of_memory(void) {
    if (!begin(false)) return;
    dpt_comm_begin_step(&comm, 4);
    operand o = make(1000, DPT_F32);
    uint64_t ticket;
    for (int n = 1; n <= 2; n++) {
        if (check_rank() == check_world() - 1) dpt_alloc_fail_at(n);
        CHECK_FAILS(dpt_comm_start(&comm, DPT_ALL_REDUCE, o.memory, 1000, DPT_F32, stream, &ticket), DPT_ERR_MEMORY,
                    "planned failure");
        dpt_alloc_fail_at(0);
    }
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, o.memory, 1000, DPT_F32, stream));
    drop(&o);
    end();
}

static void no_memory_to_open(void) {
    dpt_context_options opt;
    dpt_context_options_init(&opt);
    opt.device = check_device();
    opt.comm_check = 2;
    if (CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &opt, &ctx))) {
        CHECK(strstr(ctx->comm.name, ", checked") != NULL);
        CHECK(!ctx->comm.eager);
        dpt_comm_begin_step(&ctx->comm, 2);
        CHECK(ctx->comm.eager);
    }
    dpt_context_destroy(&ctx);
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    for (int n = 1; n <= 3; n++) {
        dpt_comm inner, checked;
        if (!CHECK_OK(dpt_mpi_comm_open(MPI_COMM_WORLD, &ctx->device, 0, &inner))) return;
        if (check_rank() == 0) dpt_alloc_fail_at(n);
        CHECK_FAILS(dpt_checked_comm_open(&ctx->control, &ctx->device, 1, false, &inner, &checked), DPT_ERR_MEMORY,
                    "planned failure");
        dpt_alloc_fail_at(0);
        CHECK(inner.ops == NULL);
        dpt_comm_close(&checked);
    }
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "comm_checked", {"right_sums", right_sums}, {"any_order", any_order},
                      {"wrong_sums", wrong_sums}, {"bf16_sums", bf16_sums}, {"not_finite", not_finite},
                      {"passes_on", passes_on}, {"out_of_memory", out_of_memory},
                      {"no_memory_to_open", no_memory_to_open});
}
