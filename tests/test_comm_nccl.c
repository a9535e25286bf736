/* test_comm_nccl.c: NCCL's communicator: every collective and type against formulas, in groups, more at once than it
 * has events, attached memory, sums in bf16, scopes, deterministic sums, recorded and replayed; what it counts; an
 * error that comes without a call, and the abort of a collective that never ends. Runs on the device of
 * DPT_TEST_DEVICE. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "base/clock.h"
#include "comm_values.h"

enum { SMALL = 1000, LARGE = 300000, BESIDE = 64 };

static dpt_context *ctx;
static dpt_device *device;
static dpt_comm comm;
static dpt_stream *stream;

static dpt_comm_options plain(void) {
    return (dpt_comm_options){.library = DPT_COMM_NCCL, .always = true, .start_limit_s = 60};
}

static bool begin(const dpt_comm_options *options) {
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = check_device();
    o.threads = 1;
    o.comm = "mpi";
    comm = (dpt_comm){0};
    if (!CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &o, &ctx))) return false;
    device = &ctx->device;
    return CHECK_OK(dpt_comm_open(ctx->backend, &ctx->control, device, options, &comm)) &&
           CHECK_OK(device->ops->stream_create(device, 0, &stream));
}

static void end(void) {
    device->ops->stream_destroy(device, stream);
    dpt_comm_close(&comm);
    CHECK(comm.ops == NULL);
    for (int purpose = 0; purpose < DPT_PURPOSE_COUNT; purpose++)
        CHECK_EQ_I64(device->allocated[purpose], purpose == DPT_FOR_STAGING && check_world() > 1 ? 16 << 20 : 0);
    dpt_context_destroy(&ctx);
}

/* What the device on the host counts; -1: it is a GPU. */
static long long count(const char *what) {
    long long (*counter)(const char *) = NULL;
    void *module = dlopen("libdptrain_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    void *symbol = module ? dlsym(module, "hostcuda_count") : NULL;
    memcpy(&counter, &symbol, sizeof symbol);
    return counter ? counter(what) : -1;
}

/* Memory on the device with `count` elements, BESIDE ones on both sides, and its copy on the host. */
typedef struct field {
    void *memory, *host;
    int64_t count, with;
    dpt_dtype dtype;
    size_t bytes;
} field;

static bool field_open(field *f, int64_t count, dpt_dtype dtype) {
    *f = (field){.count = count, .with = count + 2 * BESIDE, .dtype = dtype};
    f->bytes = (size_t)f->with * dpt_dtype_size(dtype);
    return CHECK_OK(device->ops->alloc(device, f->bytes, DPT_FOR_COMM, &f->memory)) &&
           CHECK_OK(device->ops->alloc(device, f->bytes, DPT_FOR_STAGING, &f->host));
}

static void field_close(field *f) {
    device->ops->release(device, f->memory, f->bytes, DPT_FOR_COMM);
    device->ops->release(device, f->host, f->bytes, DPT_FOR_STAGING);
}

static void *field_data(const field *f) { return (char *)f->memory + BESIDE * dpt_dtype_size(f->dtype); }

static void field_set(field *f, int offset) {
    for (int64_t i = 0; i < f->with; i++) comm_put(f->host, f->dtype, i, 9);
    for (int64_t i = 0; i < f->count; i++)
        comm_put(f->host, f->dtype, BESIDE + i, comm_value(check_rank(), i) + offset);
    CHECK_OK(device->ops->copy_in(device, f->memory, f->host, f->bytes, stream));
}

static void field_get(field *f) {
    CHECK_OK(device->ops->copy_out(device, f->host, f->memory, f->bytes, stream));
    CHECK_OK(device->ops->stream_sync(device, stream));
}

/* Elements that are not scale times what the collective gives, and those beside that are not what they were. */
static int64_t field_wrong(const field *f, dpt_collective what, int64_t count, double scale) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < f->count; i++) {
        double e = scale * comm_expected(what, count, i);
        wrong += !isnan(e) && comm_get(f->host, f->dtype, BESIDE + i) != e;
    }
    for (int64_t i = 0; i < BESIDE; i++)
        wrong += (comm_get(f->host, f->dtype, i) != 9) + (comm_get(f->host, f->dtype, BESIDE + f->count + i) != 9);
    return wrong;
}

static void check_collective(dpt_collective what, int64_t count, dpt_dtype dtype) {
    const bool sliced = what == DPT_ALL_GATHER || what == DPT_REDUCE_SCATTER;
    field f;
    if (!field_open(&f, count * (sliced ? check_world() : 1), dtype)) return;
    field_set(&f, 0);
    CHECK_OK(dpt_comm_run(&comm, what, field_data(&f), (size_t)count, dtype, stream));
    field_get(&f);
    check_that(field_wrong(&f, what, count, 1) == 0, __FILE__, __LINE__, "%s of %lld %s is wrong",
               dpt_collective_text(what), (long long)count, dpt_dtype_text(dtype));
    field_close(&f);
}

static void values(void) {
    dpt_comm_options o = plain();
    int64_t runs = 0;
    if (!begin(&o)) return;
    CHECK(comm.rank == check_rank() && comm.world == check_world() && comm.exchanges && comm.overlaps);
    CHECK(strncmp(comm.name, "nccl 2.", 7) == 0 && !comm.host_staged);
    for (int what = DPT_ALL_REDUCE; what <= DPT_BROADCAST; what++)
        for (int dtype = 0; dtype <= DPT_F16; dtype++, runs += 2) {
            check_collective((dpt_collective)what, SMALL, (dpt_dtype)dtype);
            check_collective((dpt_collective)what, 1, (dpt_dtype)dtype);
        }
    check_collective(DPT_ALL_REDUCE, LARGE, DPT_F32);
    CHECK_EQ_I64(comm.sequence, runs + 1);
    CHECK_EQ_I64(*comm.entered, runs + 1);
    CHECK_EQ_I64(*comm.finished, runs + 1);
    CHECK_OK(comm.ops->check(&comm));
    end();
}

/* The same by way of MPI, which adds numbers of 16 bits by operations of our own. */
static void by_mpi(void) {
    dpt_comm_options o = plain();
    o.library = DPT_COMM_MPI;
    if (!begin(&o)) return;
    for (int what = DPT_ALL_REDUCE; what <= DPT_BROADCAST; what++)
        for (int dtype = 0; dtype <= DPT_F16; dtype++) check_collective((dpt_collective)what, SMALL, (dpt_dtype)dtype);
    end();
}

/* Without a stream: after all that is queued, and done at the return. */
static void without_stream(void) {
    dpt_comm_options o = plain();
    field f;
    if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
    field_set(&f, 0);
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, NULL));
    CHECK_EQ_I64(*comm.finished, 1);
    CHECK_OK(device->ops->copy_out(device, f.host, f.memory, f.bytes, NULL));
    CHECK_EQ_I64(field_wrong(&f, DPT_ALL_REDUCE, SMALL, 1), 0);
    field_close(&f);
    end();
}

/* ---- many ---- */

/* In groups of one to more than NCCL gets at a time; waited for in another order. */
static void groups_of(bool in_bf16) {
    enum { MOST = 100 };
    static const int sizes[] = {1, 3, MOST};
    dpt_comm_options o = plain();
    field f[MOST];
    uint64_t ticket[MOST];
    o.sum_bf16 = in_bf16;
    if (!begin(&o)) return;
    for (int k = 0; k < MOST; k++)
        if (!field_open(&f[k], 10 + k, DPT_F32)) return;
    for (int k = 0; k < 10; k++) CHECK_OK(comm.ops->attach(&comm, f[k].memory, f[k].bytes));
    for (int turn = 0; turn < 3; turn++) {
        const int n = sizes[turn];
        int64_t wrong = 0;
        for (int k = 0; k < n; k++) field_set(&f[k], 0);
        CHECK_OK(comm.ops->group(&comm, true));
        for (int k = 0; k < n; k++)
            CHECK_OK(
                dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f[k]), 10 + (size_t)k, DPT_F32, stream, &ticket[k]));
        CHECK_OK(comm.ops->group(&comm, false));
        for (int k = n - 1; k >= 0; k--) CHECK_OK(comm.ops->wait(&comm, ticket[k], stream));
        for (int k = 0; k < n; k++) {
            field_get(&f[k]);
            wrong += field_wrong(&f[k], DPT_ALL_REDUCE, 10 + k, 1);
        }
        CHECK_EQ_I64(wrong, 0);
    }
    CHECK_EQ_I64(*comm.entered, 1 + 3 + MOST);
    CHECK_EQ_I64(*comm.finished, 1 + 3 + MOST);
    for (int k = 0; k < 10; k++) comm.ops->detach(&comm, f[k].memory);
    for (int k = 0; k < MOST; k++) field_close(&f[k]);
    end();
}

static void groups(void) { groups_of(false); }
static void groups_in_bf16(void) { groups_of(true); }

/* More in flight than there are events for tickets. */
static void many_in_flight(void) {
    enum { MANY = 300 };
    dpt_comm_options o = plain();
    uint64_t ticket[MANY];
    field f;
    if (!begin(&o) || !field_open(&f, MANY, DPT_F32)) return;
    field_set(&f, 0);
    for (int k = 0; k < MANY; k++)
        CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, (float *)field_data(&f) + k, 1, DPT_F32, stream, &ticket[k]));
    for (int k = 0; k < MANY; k++) CHECK_OK(comm.ops->wait(&comm, ticket[(k * 7) % MANY], stream));
    field_get(&f);
    CHECK_EQ_I64(field_wrong(&f, DPT_ALL_REDUCE, MANY, 1), 0);
    field_close(&f);
    end();
}

/* ---- recorded ---- */

/* Each replay sums over ranks what the last one left: world times as much. */
static void recorded(void) {
    dpt_comm_options o = plain();
    dpt_recording *recording = NULL;
    field f[2];
    uint64_t ticket[2];
    double scale = 1;
    if (!begin(&o) || !field_open(&f[0], SMALL, DPT_F64) || !field_open(&f[1], 100, DPT_F64)) return;
    for (int k = 0; k < 2; k++) field_set(&f[k], 0);
    for (int turn = 0; turn < 5; turn++) {
        if (turn == 1) CHECK_OK(device->ops->record_begin(device, stream));
        if (turn < 2) {
            for (int k = 0; k < 2; k++)
                CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f[k]), (size_t)f[k].count, DPT_F64, stream,
                                        &ticket[k]));
            for (int k = 0; k < 2; k++) CHECK_OK(comm.ops->wait(&comm, ticket[k], stream));
        }
        if (turn == 1) CHECK_OK(device->ops->record_end(device, stream, &recording));
        if (turn >= 1) CHECK_OK(device->ops->replay(device, recording, stream));
        for (int k = 0; k < 2; k++) {
            field_get(&f[k]);
            CHECK_EQ_I64(field_wrong(&f[k], DPT_ALL_REDUCE, f[k].count, scale), 0);
        }
        CHECK_EQ_I64(*comm.entered, 2 * (turn + 1));
        CHECK_EQ_I64(*comm.finished, 2 * (turn + 1));
        scale *= check_world();
    }
    device->ops->recording_destroy(device, recording);
    for (int k = 0; k < 2; k++) field_close(&f[k]);
    end();
}

/* ---- attached memory, and bf16 ---- */

/* Numbers of 10 bits: what fits into bf16's 8 is kept, the rest rounded; each rank has the same. */
static float fine(int64_t i) { return 1.0F + (float)(i % 512) / 512.0F; }
static float coarse(int64_t i) { return dpt_f32_of_bf16(dpt_bf16_of_f32(fine(i))); }

/* rounded: of the first elements. */
static bool check_fine(field *f, dpt_collective what, int64_t count, int64_t rounded) {
    const bool sliced = what == DPT_REDUCE_SCATTER;
    const bool kept = strncmp(comm.name, "nccl", 4) == 0; /* slices of other ranks are left as they are */
    int64_t wrong = 0;
    float *host = f->host;
    for (int64_t i = 0; i < f->with; i++) host[i] = fine(i);
    CHECK_OK(device->ops->copy_in(device, f->memory, host, f->bytes, stream));
    CHECK_OK(dpt_comm_run(&comm, what, field_data(f), (size_t)count, DPT_F32, stream));
    field_get(f);
    for (int64_t i = 0; i < f->with; i++) {
        const int64_t k = i - BESIDE;
        if (k < 0 || k >= f->count) {
            wrong += host[i] != fine(i);
        } else if (!sliced || k / count == check_rank()) {
            const float sum = (k < rounded ? coarse(i) : fine(i)) * (float)check_world();
            wrong += host[i] != sum; /* of equal numbers, over a power of 2 of ranks: exact */
        } else if (kept) {
            wrong += host[i] != fine(i);
        }
    }
    return CHECK_EQ_I64(wrong, 0);
}

static void in_bf16_of(dpt_comm_library library) {
    dpt_comm_options o = plain();
    field f;
    o.sum_bf16 = true;
    o.library = library;
    if (!begin(&o) || !field_open(&f, 2048 * check_world(), DPT_F32)) return;
    const bool rounds = library == DPT_COMM_NCCL || check_world() > 1;
    CHECK(strstr(comm.name, "in bf16") != NULL || !rounds);
    const int64_t all = rounds ? f.count : 0, part = rounds ? 1000 : 0;
    check_fine(&f, DPT_ALL_REDUCE, f.count, 0);
    CHECK_OK(comm.ops->attach(&comm, f.memory, f.bytes));
    check_fine(&f, DPT_ALL_REDUCE, f.count, all);
    check_fine(&f, DPT_REDUCE_SCATTER, 2048, all);
    comm.ops->detach(&comm, f.memory);
    check_fine(&f, DPT_ALL_REDUCE, f.count, 0);
    /* what goes past the end stays f32 */
    CHECK_OK(comm.ops->attach(&comm, field_data(&f), 1000 * sizeof(float)));
    check_fine(&f, DPT_ALL_REDUCE, f.count, part);
    check_fine(&f, DPT_REDUCE_SCATTER, 2048, 0);
    if (comm.ops->group) CHECK_OK(comm.ops->group(&comm, true));
    if (comm.ops->group) CHECK_OK(comm.ops->group(&comm, false));
    comm.ops->detach(&comm, field_data(&f));
    field_close(&f);
    end();
}

static void in_bf16(void) { in_bf16_of(DPT_COMM_NCCL); }
static void in_bf16_staged(void) { in_bf16_of(DPT_COMM_MPI); }

/* Attached memory gives the same sums, whatever NCCL can do with it; what is still attached at the end goes too. */
static void attached(void) {
    static const char *const windows[] = {"1", "0", "refused"};
    for (int turn = 0; turn < 3; turn++) {
        dpt_comm_options o = plain();
        field f, other;
        o.deterministic = turn == 2;
        setenv("HOSTNCCL_WINDOWS", windows[turn], 1);
        if (!begin(&o) || !field_open(&f, LARGE, DPT_F32) || !field_open(&other, SMALL, DPT_F32)) return;
        const long long before = count("registered");
        CHECK_OK(comm.ops->attach(&comm, f.memory, f.bytes));
        CHECK_OK(comm.ops->attach(&comm, other.memory, other.bytes));
        CHECK_EQ_I64(count("registered") - before, before < 0 ? 0 : 2);
        field_set(&f, 0);
        CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), LARGE, DPT_F32, stream));
        field_get(&f);
        CHECK_EQ_I64(field_wrong(&f, DPT_ALL_REDUCE, LARGE, 1), 0);
        comm.ops->detach(&comm, f.memory);
        comm.ops->detach(&comm, NULL);
        comm.ops->detach(&comm, other.memory);
        CHECK_EQ_I64(count("registered"), before);
        field_close(&f);
        field_close(&other);
        end();
        unsetenv("HOSTNCCL_WINDOWS");
    }
}

/* NCCL keeps the error of a window that failed: all ranks say so, with the way around it, and end without a wait. */
static void window_fails(void) {
    dpt_comm_options o = plain();
    field f;
    uint64_t ticket;
    setenv("HOSTNCCL_WINDOW_FAILS", "0", 1);
    if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
    CHECK_FAILS(comm.ops->attach(&comm, f.memory, f.bytes), DPT_ERR_DEVICE, "rank 0");
    CHECK(strstr(dpt_last_error(), "made to fail") != NULL && strstr(dpt_last_error(), "NCCL_WIN_ENABLE=0") != NULL);
    CHECK_FAILS(dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream, &ticket), DPT_ERR_DEVICE,
                "NCCL_WIN_ENABLE=0");
    field_close(&f);
    end();
    unsetenv("HOSTNCCL_WINDOW_FAILS");
}

/* ---- scopes, settings ---- */

static void scopes(void) {
    for (int scope = DPT_COMM_NODE; scope <= DPT_COMM_ACROSS; scope++)
        for (int library = DPT_COMM_NCCL; library <= DPT_COMM_MPI; library++) {
            dpt_comm_options o = plain();
            field f;
            o.scope = (dpt_comm_scope)scope;
            o.library = (dpt_comm_library)library;
            if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
            const int world = scope == DPT_COMM_NODE ? check_world() : 1; /* all ranks are on one host */
            CHECK(comm.world == world && comm.rank == (world > 1 ? check_rank() : 0));
            field_set(&f, 0);
            CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream));
            field_get(&f);
            int64_t wrong = 0;
            for (int64_t i = 0; i < SMALL; i++)
                wrong +=
                    ((float *)f.host)[BESIDE + i] != (float)(world > 1 ? comm_sum(i) : comm_value(check_rank(), i));
            CHECK_EQ_I64(wrong, 0);
            field_close(&f);
            end();
        }
}

static const char *variable(const char *name) { return getenv(name) ? getenv(name) : "unset"; }

/* NCCL gets its settings while the communicator is open, but for those that the user has made. */
static void deterministic(void) {
    static float first[SMALL];
    for (int turn = 0; turn < 2; turn++) {
        dpt_comm_options o = plain();
        field f;
        o.deterministic = true;
        if (turn == 1) setenv("NCCL_PROTO", "LL", 1);
        if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
        CHECK_EQ_TEXT(variable("NCCL_ALGO"), "Ring");
        CHECK_EQ_TEXT(variable("NCCL_PROTO"), turn == 1 ? "LL" : "Simple");
        CHECK_EQ_TEXT(variable("NCCL_NVLS_ENABLE"), "0");
        CHECK(strstr(comm.name, "deterministic") != NULL);
        float *host = f.host;
        for (int64_t i = 0; i < f.with; i++) host[i] = 1.0F / (float)(3 + i + 7 * check_rank());
        CHECK_OK(device->ops->copy_in(device, f.memory, host, f.bytes, stream));
        CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream));
        field_get(&f);
        if (turn == 0) memcpy(first, host + BESIDE, sizeof first);
        CHECK(memcmp(first, host + BESIDE, sizeof first) == 0);
        field_close(&f);
        end();
        CHECK_EQ_TEXT(variable("NCCL_ALGO"), "unset");
        CHECK_EQ_TEXT(variable("NCCL_PROTO"), turn == 1 ? "LL" : "unset");
    }
    unsetenv("NCCL_PROTO");
}

/* Sums by way of MPI are the same within rounding. */
static void like_mpi(void) {
    static float by_nccl[SMALL];
    for (int turn = 0; turn < 2; turn++) {
        dpt_comm_options o = plain();
        field f;
        o.library = turn == 0 ? DPT_COMM_NCCL : DPT_COMM_MPI;
        if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
        float *host = f.host;
        for (int64_t i = 0; i < f.with; i++) host[i] = sinf((float)(i + 100 * check_rank()));
        CHECK_OK(device->ops->copy_in(device, f.memory, host, f.bytes, stream));
        CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream));
        field_get(&f);
        if (turn == 0) memcpy(by_nccl, host + BESIDE, sizeof by_nccl);
        CHECK(check_relative_f32(by_nccl, host + BESIDE, SMALL) <= 1e-6);
        field_close(&f);
        end();
    }
}

/* ---- failures ---- */

/* Plans what happens at a collective of this process, counted from now on. */
static void plan(const char *variable_name, long long number, const char *code) {
    char text[64];
    snprintf(text, sizeof text, "*:%lld%s", count("collectives") + number, code);
    setenv(variable_name, text, 1);
}

/* Broken on one rank, the error comes without a call: named by rank, host and number; then nothing more is started. */
static void error_in_flight(void) {
    dpt_comm_options o = plain();
    field f;
    uint64_t ticket;
    dpt_status status;
    if (check_rank() == 0) plan("HOSTNCCL_ERROR", 2, ":2"); /* ncclSystemError */
    if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
    field_set(&f, 0);
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, NULL));
    status = dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream, &ticket);
    if (check_rank() != 0) CHECK_OK(status); /* on rank 0 the error may be there already */
    const double begun = dpt_clock_s();
    while (check_rank() == 0 && status == DPT_OK && dpt_clock_s() - begun < 20) status = comm.ops->check(&comm);
    if (check_rank() == 0) {
        CHECK_FAILS(status, DPT_ERR_DEVICE, "rank 0 on ");
        CHECK(strstr(dpt_last_error(), "collective 2") != NULL && strstr(dpt_last_error(), "NCCL") != NULL);
        CHECK_FAILS(dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream, &ticket),
                    DPT_ERR_DEVICE, "collective 2");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    comm.ops->abort(&comm, 10);
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK(comm.ops->check(&comm) != DPT_OK);
    field_close(&f);
    end();
    unsetenv("HOSTNCCL_ERROR");
}

/* A collective that never ends; the abort makes the stream go on, and is not waited for beyond its limit. */
static void hangs_and(bool abort_hangs) {
    dpt_comm_options o = plain();
    field f;
    uint64_t ticket;
    plan("HOSTNCCL_HANG", 1, "");
    if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
    field_set(&f, 0);
    CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream, &ticket));
    CHECK_OK(comm.ops->wait(&comm, ticket, stream));
    for (int k = 0; k < 100000 && *comm.entered == 0; k++) CHECK_OK(comm.ops->check(&comm));
    CHECK_EQ_I64(*comm.finished, 0);
    if (abort_hangs) {
        const double begun = dpt_clock_s();
        setenv("HOSTNCCL_ABORT_HANGS", "*", 1);
        comm.ops->abort(&comm, 0.2);
        CHECK(dpt_clock_s() - begun >= 0.2);
        CHECK_FAILS(comm.ops->check(&comm), DPT_ERR_PEER, "aborted");
        unsetenv("HOSTNCCL_ABORT_HANGS");
    }
    comm.ops->abort(&comm, 20);
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK_FAILS(comm.ops->check(&comm), DPT_ERR_PEER, "aborted");
    CHECK_FAILS(dpt_comm_start(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream, &ticket), DPT_ERR_PEER,
                "aborted");
    field_close(&f);
    end();
    unsetenv("HOSTNCCL_HANG");
}

/* A recording holds the communicator, so that its abort takes until the recording is destroyed; close waits for it. An
 * open group of this thread's is ended either way. */
static void aborted_while_recorded(void) {
    dpt_comm_options o = plain();
    dpt_recording *recording = NULL;
    field f;
    if (!begin(&o) || !field_open(&f, SMALL, DPT_F32)) return;
    field_set(&f, 0);
    CHECK_OK(device->ops->record_begin(device, stream));
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, field_data(&f), SMALL, DPT_F32, stream));
    CHECK_OK(device->ops->record_end(device, stream, &recording));
    CHECK_OK(comm.ops->group(&comm, true));
    MPI_Barrier(MPI_COMM_WORLD);
    comm.ops->abort(&comm, 0.2);
    CHECK_FAILS(comm.ops->check(&comm), DPT_ERR_PEER, "aborted");
    device->ops->recording_destroy(device, recording);
    field_close(&f);
    end();
    values(); /* a new communicator, on a thread without a group */
}

static void hangs(void) { hangs_and(false); }
static void hangs_twice(void) { hangs_and(true); }

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "comm_nccl", {"values", values}, {"by_mpi", by_mpi},
                      {"without_stream", without_stream}, {"groups", groups}, {"groups_in_bf16", groups_in_bf16},
                      {"many_in_flight", many_in_flight}, {"recorded", recorded}, {"in_bf16", in_bf16},
                      {"in_bf16_staged", in_bf16_staged}, {"attached", attached}, {"window_fails", window_fails},
                      {"scopes", scopes}, {"deterministic", deterministic}, {"like_mpi", like_mpi},
                      {"error_in_flight", error_in_flight}, {"aborted_while_recorded", aborted_while_recorded},
                      {"hangs", hangs}, {"hangs_twice", hangs_twice});
}
