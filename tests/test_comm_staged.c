/* test_comm_staged.c: collectives by way of host memory: every kind, sizes on both sides of what fits into the buffer
 * at once, behind work that is still queued on the stream; nothing beside the operand is written; what was taken is
 * given back. Runs on the device of DPT_TEST_DEVICE. */
#include <stdio.h>

#include "backend/backend.h"
#include "backend/comm_staged.h"
#include "base/memory.h"
#include "comm_values.h"

enum { BESIDE = 64, SMALL = 1000, LARGE = 5000000 }; /* 20 MB of f32: more than the 16 MiB of the buffer */

static dpt_context *ctx;
static dpt_device *device;
static dpt_comm comm;
static dpt_stream *stream;

/* The operand gets its values on the stream, right before the collective; BESIDE elements on both sides stay -1. */
static void check(dpt_collective what, int64_t count) {
    const bool sliced = what == DPT_ALL_GATHER || what == DPT_REDUCE_SCATTER;
    const int64_t all = count * (sliced ? check_world() : 1), with = all + 2 * BESIDE;
    const size_t bytes = (size_t)with * sizeof(float);
    void *memory = NULL, *host = NULL;
    int64_t wrong = 0;
    uint64_t ticket;
    bool ok = CHECK_OK(device->ops->alloc(device, bytes, DPT_FOR_COMM, &memory)) &&
              CHECK_OK(device->ops->alloc(device, bytes, DPT_FOR_STAGING, &host));
    if (!ok) return;
    float *v = host, *operand = (float *)memory + BESIDE;
    for (int64_t i = 0; i < with; i++) v[i] = -1;
    for (int64_t i = 0; i < all; i++) v[BESIDE + i] = (float)comm_value(check_rank(), i);
    CHECK_OK(device->ops->copy_in(device, memory, v, bytes, stream));
    CHECK_OK(dpt_comm_start(&comm, what, operand, (size_t)count, DPT_F32, stream, &ticket));
    CHECK_OK(comm.ops->wait(&comm, ticket, stream));
    CHECK_OK(device->ops->copy_out(device, v, memory, bytes, stream));
    CHECK_OK(device->ops->stream_sync(device, stream));
    for (int64_t i = 0; i < all; i++) {
        double e = comm_expected(what, count, i);
        wrong += !isnan(e) && (double)v[BESIDE + i] != e;
    }
    for (int64_t i = 0; i < BESIDE; i++) wrong += (v[i] != -1) + (v[BESIDE + all + i] != -1);
    check_that(wrong == 0, __FILE__, __LINE__, "collective %d of %lld elements: %lld are wrong", (int)what,
               (long long)count, (long long)wrong);
    device->ops->release(device, memory, bytes, DPT_FOR_COMM);
    device->ops->release(device, host, bytes, DPT_FOR_STAGING);
}

static bool begin(void) {
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return false;
    device = &ctx->device;
    return CHECK_OK(dpt_staged_comm_open(MPI_COMM_WORLD, device, &comm)) &&
           CHECK_OK(device->ops->stream_create(device, 0, &stream));
}

static void end(void) {
    device->ops->stream_destroy(device, stream);
    comm.ops->close(&comm);
    CHECK(comm.ops == NULL);
    dpt_context_destroy(&ctx);
}

static void values(void) {
    if (!begin()) return;
    CHECK_EQ_I64(comm.world, check_world());
    CHECK_EQ_I64(comm.rank, check_rank());
    for (int what = DPT_ALL_REDUCE; what <= DPT_BROADCAST; what++) {
        check((dpt_collective)what, SMALL);
        check((dpt_collective)what, 1);
        check((dpt_collective)what, LARGE / (what == DPT_ALL_REDUCE || what == DPT_BROADCAST ? 1 : check_world()));
    }
    CHECK_EQ_I64(comm.sequence, 12);
    end();
}

/* One rank keeps no buffer and can be recorded. */
static void taken(void) {
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    device = &ctx->device;
    const size_t before = device->allocated[DPT_FOR_STAGING];
    if (CHECK_OK(dpt_staged_comm_open(MPI_COMM_WORLD, device, &comm))) {
        CHECK(comm.host_staged == (check_world() > 1));
        CHECK_EQ_I64(device->allocated[DPT_FOR_STAGING] - before, check_world() > 1 ? 16 << 20 : 0);
        comm.ops->close(&comm);
        CHECK_EQ_I64(device->allocated[DPT_FOR_STAGING], before);
    }
    dpt_context_destroy(&ctx);
}

/* Without memory on every rank: an error, and what was made goes. */
static void out_of_memory(void) {
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    dpt_alloc_fail_at(1);
    CHECK_FAILS(dpt_staged_comm_open(MPI_COMM_WORLD, &ctx->device, &comm), DPT_ERR_MEMORY, "planned failure");
    dpt_alloc_fail_at(0);
    if (comm.ops) comm.ops->close(&comm);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "comm_staged", {"values", values}, {"taken", taken},
                      {"out_of_memory", out_of_memory});
}
