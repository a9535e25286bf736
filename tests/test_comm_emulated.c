/* test_comm_emulated.c: the emulated exchange takes at least its time, one after another, beside what the caller does
 * or not; on a device it stands between what is queued before and after it, eagerly and recorded, and leaves its bytes
 * as they are. Runs on the device of DPT_TEST_DEVICE; no upper bounds on times but one of ten seconds. */
#include "backend/backend.h"
#include "backend/comm_emulated.h"
#include "base/clock.h"
#include "base/memory.h"
#include "check.h"

enum { COUNT = 100001 }; /* not a multiple of what a block moves */

static dpt_context *ctx;
static dpt_device *device;
static dpt_comm comm;
static dpt_stream *stream;

static bool begin(const char *fabric, bool overlap) {
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return false;
    device = &ctx->device;
    return CHECK_OK(dpt_emulated_comm_open(&ctx->control, device, fabric, 3, overlap, &comm)) &&
           CHECK_OK(device->ops->stream_create(device, 0, &stream));
}

static void end(void) {
    device->ops->stream_destroy(device, stream);
    dpt_comm_close(&comm);
    CHECK(comm.ops == NULL);
    dpt_context_destroy(&ctx);
}

/* 10 ms and 2 MB/s: 60 ms for 100 kB. */
static void takes_its_time(void) {
    uint64_t ticket[3];
    void *data = NULL;
    if (!begin("10ms,2MB/s", true) || !CHECK_OK(device->ops->alloc(device, 100000, DPT_FOR_COMM, &data))) return;
    CHECK_EQ_I64(comm.world, check_world());
    CHECK(comm.overlaps);
    double begin_s = dpt_clock_s();
    for (int i = 0; i < 3; i++)
        CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, data, 25000, DPT_F32, stream, &ticket[i]));
    CHECK_OK(comm.ops->wait(&comm, ticket[2], stream));
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK(dpt_clock_s() - begin_s >= 0.180);
    CHECK_OK(comm.ops->wait(&comm, ticket[0], stream));
    begin_s = dpt_clock_s();
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_GATHER, data, 25000 / (size_t)check_world(), DPT_F32, stream));
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK(dpt_clock_s() - begin_s >= 0.030);
    CHECK_EQ_I64(comm.sequence, 4);
    device->ops->release(device, data, 100000, DPT_FOR_COMM);
    end();
}

/* start does not wait for ten seconds; nobody does, where nobody asks for the result. */
static void goes_on_beside(void) {
    uint64_t ticket;
    char byte[16];
    if (!begin("10s,1GB/s", true)) return;
    double begin_s = dpt_clock_s();
    if (device->host_memory) CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, byte, 4, DPT_F32, stream, &ticket));
    CHECK(dpt_clock_s() - begin_s < 10);
    end();
}

static void inline_waits(void) {
    uint64_t ticket;
    char byte[16] = "";
    if (!begin("20ms,1GB/s", false)) return;
    CHECK(comm.overlaps == !device->host_memory);
    double begin_s = dpt_clock_s();
    if (device->host_memory) {
        CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, byte, 4, DPT_F32, stream, &ticket));
        CHECK(dpt_clock_s() - begin_s >= 0.020);
    }
    end();
}

/* ---- on a device ---- */

static float *host, *back;
static void *memory, *other;
static const size_t bytes = COUNT * sizeof(float);

static bool take(void) {
    void *a = NULL, *b = NULL;
    bool ok = CHECK_OK(device->ops->alloc(device, bytes, DPT_FOR_COMM, &memory)) &&
              CHECK_OK(device->ops->alloc(device, bytes, DPT_FOR_COMM, &other)) &&
              CHECK_OK(device->ops->alloc(device, bytes, DPT_FOR_STAGING, &a)) &&
              CHECK_OK(device->ops->alloc(device, bytes, DPT_FOR_STAGING, &b));
    host = a;
    back = b;
    for (int i = 0; ok && i < COUNT; i++) host[i] = (float)i;
    return ok;
}

static void give(void) {
    device->ops->release(device, memory, bytes, DPT_FOR_COMM);
    device->ops->release(device, other, bytes, DPT_FOR_COMM);
    device->ops->release(device, host, bytes, DPT_FOR_STAGING);
    device->ops->release(device, back, bytes, DPT_FOR_STAGING);
}

static int64_t differences(float plus) {
    int64_t wrong = 0;
    for (int i = 0; i < COUNT; i++) wrong += back[i] != host[i] + plus;
    return wrong;
}

static dpt_status exchange_and_fetch(void) {
    DPT_TRY(device->ops->copy_in(device, memory, host, bytes, stream));
    DPT_TRY(dpt_comm_run(&comm, DPT_ALL_REDUCE, memory, COUNT, DPT_F32, stream));
    return device->ops->copy_out(device, back, memory, bytes, stream);
}

static void keeps_the_bytes(void) {
    if (!begin("30ms,1GB/s", true) || device->host_memory) {
        if (device && device->host_memory) end();
        return;
    }
    if (!take()) return;
    double begin_s = dpt_clock_s();
    CHECK_OK(exchange_and_fetch());
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK(dpt_clock_s() - begin_s >= 0.030);
    CHECK_EQ_I64(differences(0), 0);
    give();
    end();
}

/* In place of the kernel, one that shows when it ran: it takes what stands in `other`. */
static dpt_status take_other(dpt_device *d, dpt_stream *on, double seconds, int blocks, void *data, size_t n) {
    CHECK(seconds > 0 && blocks == 3);
    return d->ops->copy(d, data, other, n, on);
}

static void stands_in_order(void) {
    if (!begin("30ms,1GB/s", true) || device->host_memory) {
        if (device && device->host_memory) end();
        return;
    }
    const dpt_device_ops *ops = device->ops;
    dpt_device_ops seen = *ops;
    seen.occupy = take_other;
    if (!take()) return;
    for (int i = 0; i < COUNT; i++) back[i] = host[i] + 1;
    CHECK_OK(ops->copy_in(device, other, back, bytes, stream));
    device->ops = &seen;
    for (int round = 0; round < 8; round++) {
        CHECK_OK(exchange_and_fetch());
        CHECK_OK(ops->stream_sync(device, stream));
        CHECK_EQ_I64(differences(1), 0);
    }
    device->ops = ops;
    give();
    end();
}

/* Two collectives in a recording, replayed: each replay takes the time of both. */
static void recorded(void) {
    uint64_t ticket[2];
    dpt_recording *recording = NULL;
    if (!begin("15ms,1GB/s", true) || device->ops->record_begin == NULL) {
        if (device && device->host_memory) end();
        return;
    }
    if (!take()) return;
    CHECK_OK(exchange_and_fetch());
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK_OK(device->ops->record_begin(device, stream));
    for (int i = 0; i < 2; i++)
        CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, memory, COUNT, DPT_F32, stream, &ticket[i]));
    for (int i = 0; i < 2; i++) CHECK_OK(comm.ops->wait(&comm, ticket[i], stream));
    CHECK_OK(device->ops->copy_out(device, back, memory, bytes, stream));
    CHECK_OK(device->ops->record_end(device, stream, &recording));
    for (int round = 0; round < 2; round++) {
        memset(back, 0, bytes);
        double begin_s = dpt_clock_s();
        CHECK_OK(device->ops->replay(device, recording, stream));
        CHECK_OK(device->ops->stream_sync(device, stream));
        CHECK(dpt_clock_s() - begin_s >= 0.030);
        CHECK_EQ_I64(differences(0), 0);
    }
    device->ops->recording_destroy(device, recording);
    give();
    end();
}

/* More under way than there are slots. */
static void many(void) {
    uint64_t ticket[600];
    void *data = NULL;
    if (!begin("20us,1GB/s", true) || !CHECK_OK(device->ops->alloc(device, 64, DPT_FOR_COMM, &data))) return;
    double begin_s = dpt_clock_s();
    for (int i = 0; i < 600; i++)
        CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, data, 16, DPT_F32, stream, &ticket[i]));
    for (int i = 0; i < 600; i++) CHECK_OK(comm.ops->wait(&comm, ticket[i], stream));
    CHECK_OK(device->ops->stream_sync(device, stream));
    CHECK(dpt_clock_s() - begin_s >= 0.012);
    device->ops->release(device, data, 64, DPT_FOR_COMM);
    end();
}

/* A context that emulates exchanges even alone; with sums to compare it is refused. */
static void in_a_context(void) {
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = check_device();
    o.emulate = "8xnvlink";
    if (CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &o, &ctx))) {
        CHECK(ctx->comm.exchanges && ctx->comm.overlaps && !ctx->comm.host_staged);
        CHECK_EQ_TEXT(ctx->comm.name, "nothing: 8xnvlink is emulated");
        CHECK(dpt_emulated_comm_fabric(&ctx->comm) != NULL);
    }
    dpt_context_destroy(&ctx);
    o.comm_check = 5;
    CHECK_FAILS(dpt_context_create(MPI_COMM_WORLD, &o, &ctx), DPT_ERR_CONFIG, "comm.emulate makes none");
    o.comm_check = 0;
    o.emulate = "8xnvlnk";
    CHECK_FAILS(dpt_context_create(MPI_COMM_WORLD, &o, &ctx), DPT_ERR_CONFIG, "did you mean \"8xnvlink\"");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "comm_emulated", {"takes_its_time", takes_its_time},
                      {"goes_on_beside", goes_on_beside}, {"inline_waits", inline_waits},
                      {"keeps_the_bytes", keeps_the_bytes}, {"stands_in_order", stands_in_order},
                      {"recorded", recorded}, {"many", many}, {"in_a_context", in_a_context});
}
