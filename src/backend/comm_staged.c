/* comm_staged.c: device to host, MPI on the host's copy, back to the device, a part at a time.
 *
 * A part is what fits into one pinned buffer, made when the communicator is opened: during a step nothing is allocated
 * that one rank alone could lack. Collectives over slices (reduce-scatter, all-gather) take the same part of every
 * slice. Invariant: start returns when the device has the result, so that the buffer and the order of MPI calls belong
 * to one collective at a time. */
#include "backend/comm_staged.h"

#include <stdio.h>

#include "backend/comm_mpi.h"
#include "base/memory.h"

static const size_t buffer_bytes = (size_t)16 << 20;

typedef struct staged_comm {
    dpt_comm mpi; /* inline, on host memory */
    dpt_device *device;
    char *buffer;
} staged_comm;

/* Copies part [first, first + count) of each of `slices` slices of `stride` elements, to the buffer or back. */
static dpt_status move(staged_comm *s, char *data, size_t slices, size_t stride, size_t first, size_t count,
                       size_t size, bool out, dpt_stream *stream) {
    for (size_t i = 0; i < slices; i++) {
        char *there = data + (i * stride + first) * size, *here = s->buffer + i * count * size;
        DPT_TRY(out ? s->device->ops->copy_out(s->device, here, there, count * size, stream)
                    : s->device->ops->copy_in(s->device, there, here, count * size, stream));
    }
    return s->device->ops->stream_sync(s->device, stream);
}

static dpt_status exchange(dpt_comm *comm, dpt_collective what, char *data, size_t count, dpt_dtype dtype, bool rounds,
                           dpt_stream *stream) {
    staged_comm *s = comm->state;
    bool sliced = what == DPT_REDUCE_SCATTER || what == DPT_ALL_GATHER;
    size_t size = dpt_dtype_size(dtype), slices = sliced ? (size_t)comm->world : 1;
    size_t most = buffer_bytes / size / slices;
    DPT_CHECK(most > 0, DPT_ERR_UNSUPPORTED, "a collective over %d ranks does not fit into %zu bytes", comm->world,
              buffer_bytes);
    for (size_t first = 0; first < count; first += most) {
        size_t n = count - first < most ? count - first : most;
        DPT_TRY(move(s, data, slices, count, first, n, size, true, stream));
        DPT_TRY(rounds ? dpt_mpi_comm_sum_in_bf16(&s->mpi, (void *)s->buffer, slices, n)
                       : dpt_comm_run(&s->mpi, what, s->buffer, n, dtype, NULL));
        DPT_TRY(move(s, data, slices, count, first, n, size, false, stream));
    }
    return DPT_OK;
}

static dpt_status staged_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                               dpt_stream *stream, uint64_t *ticket) {
    staged_comm *s = comm->state;
    size_t rounded = dpt_mpi_comm_rounded(&s->mpi, what, data, count, dtype);
    *ticket = 0;
    if (comm->world > 1 && rounded > 0) DPT_TRY(exchange(comm, what, data, rounded, dtype, true, stream));
    if (comm->world > 1 && count > rounded)
        DPT_TRY(exchange(comm, what, (char *)data + rounded * dpt_dtype_size(dtype), count - rounded, dtype, false,
                         stream));
    dpt_position_finish(comm->position, DPT_LANE_GRADIENTS, comm->sequence);
    return DPT_OK;
}

static dpt_status staged_wait(dpt_comm *comm, uint64_t ticket, dpt_stream *stream) {
    (void)comm, (void)ticket, (void)stream;
    return DPT_OK;
}

/* Only the addresses are of interest there. */
static dpt_status staged_attach(dpt_comm *comm, void *memory, size_t bytes) {
    staged_comm *s = comm->state;
    return s->mpi.ops->attach(&s->mpi, memory, bytes);
}

static void staged_detach(dpt_comm *comm, void *memory) {
    staged_comm *s = comm->state;
    s->mpi.ops->detach(&s->mpi, memory);
}

static void staged_close(dpt_comm *comm) {
    staged_comm *s = comm->state;
    comm->state = NULL;
    comm->ops = NULL;
    if (s == NULL) return;
    if (s->mpi.ops) s->mpi.ops->close(&s->mpi);
    s->device->ops->release(s->device, s->buffer, buffer_bytes, DPT_FOR_STAGING);
    dpt_free(s);
}

static const dpt_comm_ops staged_ops = {.start = staged_start,
                                        .wait = staged_wait,
                                        .attach = staged_attach,
                                        .detach = staged_detach,
                                        .close = staged_close};

dpt_status dpt_staged_comm_in_bf16(dpt_comm *comm) {
    staged_comm *s = comm->state;
    if (!comm->host_staged) return DPT_OK;
    DPT_TRY(dpt_mpi_comm_in_bf16(&s->mpi));
    snprintf(comm->name, sizeof comm->name, "mpi, through host memory, in bf16");
    return DPT_OK;
}

dpt_status dpt_staged_comm_open(MPI_Comm parent, dpt_device *device, dpt_comm *comm) {
    *comm = (dpt_comm){.ops = &staged_ops};
    staged_comm *s = dpt_alloc_zero(1, sizeof *s);
    DPT_CHECK_ALLOC(s);
    comm->state = s;
    s->device = device;
    DPT_TRY(dpt_mpi_comm_open(parent, device, 0, &s->mpi));
    comm->rank = s->mpi.rank;
    comm->world = s->mpi.world;
    comm->host_staged = comm->world > 1;
    snprintf(comm->name, sizeof comm->name, "%s", comm->host_staged ? "mpi, through host memory" : "one rank alone");
    if (!comm->host_staged) return DPT_OK;
    void *buffer = NULL;
    dpt_status status = device->ops->alloc(device, buffer_bytes, DPT_FOR_STAGING, &buffer);
    s->buffer = buffer;
    return status;
}
