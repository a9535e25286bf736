/* comm.c: collectives through NCCL, on a stream of their own with high priority.
 *
 * start: the communicator's stream waits for the caller's, runs the collective and records the ticket's event; wait:
 * the caller's stream waits for that event. Two events and no synchronisation, so that a recording of the caller's
 * stream takes the collective in with it. Every event and buffer is made when the communicator is opened or memory
 * attached.
 *
 * Invariant: collectives of a communicator are queued on one stream, in the order of start, and are counted on that
 * stream before and after (entered, finished): the numbers stay right when a recording is replayed. NCCL's calls use
 * the handle within the lock, for the watchdog may abort, and NCCL then frees it, at any time. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cuda/comm_nccl.h"

/* ---- failures ---- */

dpt_status dpt_nccl_failed(dpt_nccl_comm *m, dpt_nccl_result result, const char *during) {
    char said[400];
    pthread_mutex_lock(&m->lock);
    if (m->status == DPT_OK) {
        /* the remote end closed: a lost peer; the watchdog says which */
        m->status = result == DPT_NCCL_REMOTE_ERROR ? DPT_ERR_PEER : DPT_ERR_DEVICE;
        snprintf(m->message, sizeof m->message, "%s: NCCL failed in %s: %s", m->where, during,
                 dpt_nccl_said(m->nccl, m->handle, result, said, sizeof said));
    }
    dpt_status status = dpt_error(m->status, "%s", m->message);
    pthread_mutex_unlock(&m->lock);
    return status;
}

dpt_status dpt_nccl_usable(dpt_nccl_comm *m) {
    pthread_mutex_lock(&m->lock);
    dpt_status status = m->status == DPT_OK ? DPT_OK : dpt_error(m->status, "%s", m->message);
    pthread_mutex_unlock(&m->lock);
    return status;
}

/* NCCL queues in a thread of its own and says "in progress" until it has; that takes microseconds, but the first time,
 * when it connects the ranks. */
dpt_nccl_result dpt_nccl_settle(dpt_nccl_comm *m, dpt_nccl_result result) {
    for (int turn = 0; result == DPT_NCCL_IN_PROGRESS; turn++) {
        dpt_clock_relax(turn);
        pthread_mutex_lock(&m->lock);
        if (m->handle == NULL || m->nccl->CommGetAsyncError(m->handle, &result) != DPT_NCCL_SUCCESS)
            result = DPT_NCCL_INTERNAL_ERROR;
        pthread_mutex_unlock(&m->lock);
    }
    return result;
}

/* "collective 17": the one under way, by what the device has counted. */
static dpt_status nccl_check(dpt_comm *comm) {
    dpt_nccl_comm *m = comm->state;
    dpt_nccl_result result = DPT_NCCL_SUCCESS;
    char during[64];
    pthread_mutex_lock(&m->lock);
    dpt_status status = m->status == DPT_OK ? DPT_OK : dpt_error(m->status, "%s", m->message);
    if (status == DPT_OK && m->handle != NULL && m->nccl->CommGetAsyncError(m->handle, &result) != DPT_NCCL_SUCCESS)
        result = DPT_NCCL_INTERNAL_ERROR;
    uint64_t number = m->first + *comm->entered;
    pthread_mutex_unlock(&m->lock);
    if (status != DPT_OK || result == DPT_NCCL_SUCCESS || result == DPT_NCCL_IN_PROGRESS) return status;
    snprintf(during, sizeof during, "collective %llu", (unsigned long long)number);
    return dpt_nccl_failed(m, result, during);
}

/* ---- collectives ---- */

static dpt_status type_of(dpt_dtype dtype, dpt_nccl_type *type) {
    switch (dtype) {
        case DPT_F32: *type = DPT_NCCL_FLOAT32; return DPT_OK;
        case DPT_F64: *type = DPT_NCCL_FLOAT64; return DPT_OK;
        case DPT_BF16: *type = DPT_NCCL_BFLOAT16; return DPT_OK;
        case DPT_F16: *type = DPT_NCCL_FLOAT16; return DPT_OK;
        case DPT_U8: *type = DPT_NCCL_UINT8; return DPT_OK;
        case DPT_I32: *type = DPT_NCCL_INT32; return DPT_OK;
        case DPT_I64: *type = DPT_NCCL_INT64; return DPT_OK;
    }
    return dpt_error(DPT_ERR_INTERNAL, "type %d over ranks", (int)dtype);
}

/* In place, as comm.h has it: NCCL takes a slice's own place as such. */
static dpt_nccl_result call_with(const dpt_nccl_comm *m, dpt_nccl_handle *handle, dpt_collective what, void *data,
                                 size_t count, dpt_nccl_type type, size_t slice_bytes, int rank) {
    const dpt_nccl *n = m->nccl;
    cudaStream_t stream = m->stream->cuda;
    char *slice = (char *)data + (size_t)rank * slice_bytes;
    switch (what) {
        case DPT_ALL_REDUCE: return n->AllReduce(data, data, count, type, DPT_NCCL_SUM, handle, stream);
        case DPT_REDUCE_SCATTER: return n->ReduceScatter(data, slice, count, type, DPT_NCCL_SUM, handle, stream);
        case DPT_ALL_GATHER: return n->AllGather(slice, data, count, type, handle, stream);
        case DPT_BROADCAST: return n->Broadcast(data, data, count, type, 0, handle, stream);
    }
    return DPT_NCCL_INTERNAL_ERROR;
}

static dpt_nccl_result call(dpt_nccl_comm *m, dpt_collective what, void *data, size_t count, dpt_nccl_type type,
                            size_t slice_bytes, int rank) {
    dpt_nccl_result result = DPT_NCCL_INTERNAL_ERROR; /* of a communicator that has been aborted */
    pthread_mutex_lock(&m->lock);
    if (m->handle != NULL) result = call_with(m, m->handle, what, data, count, type, slice_bytes, rank);
    pthread_mutex_unlock(&m->lock);
    return result;
}

/* f32 sums in bf16: of the first elements, rounded into a buffer of their own; what is left of an all-reduce as it is.
 */
static dpt_nccl_result call_rounded(dpt_nccl_comm *m, dpt_collective what, float *data, size_t count,
                                    const dpt_comm_grouped *one, int rank) {
    const bool sliced = what == DPT_REDUCE_SCATTER;
    dpt_nccl_result result =
        call(m, what, one->half, sliced ? count : one->count, DPT_NCCL_BFLOAT16, count * sizeof(uint16_t), rank);
    if (!m->grouping) result = dpt_nccl_settle(m, result);
    if (sliced || one->count == count || (result != DPT_NCCL_SUCCESS && result != DPT_NCCL_IN_PROGRESS)) return result;
    return call(m, what, data + one->count, count - one->count, DPT_NCCL_FLOAT32, 0, rank);
}

/* What follows a collective on the stream. */
static dpt_status finish(dpt_nccl_comm *m, const dpt_comm_grouped *list, int n) {
    for (int i = 0; i < n; i++)
        if (list[i].full) DPT_TRY(dpt_comm_from_bf16(list[i].half, list[i].full, list[i].count, m->stream));
    DPT_TRY(dpt_comm_count(&m->counters[1], (uint64_t)n, m->stream));
    for (int i = 0; i < n; i++)
        DPT_TRY(m->device->ops->event_record(m->device, m->done[list[i].ticket % DPT_COMM_TICKETS], m->stream));
    return DPT_OK;
}

static dpt_status group_begin(dpt_nccl_comm *m) {
    dpt_nccl_result result = DPT_NCCL_INTERNAL_ERROR;
    pthread_mutex_lock(&m->lock);
    if (m->handle != NULL) result = m->nccl->GroupStart();
    m->grouping = result == DPT_NCCL_SUCCESS;
    pthread_mutex_unlock(&m->lock);
    m->n_grouped = 0;
    return m->grouping ? DPT_OK : dpt_nccl_failed(m, result, "the beginning of a group");
}

dpt_nccl_result dpt_nccl_end_group(dpt_nccl_comm *m) {
    pthread_mutex_lock(&m->lock);
    dpt_nccl_result result = m->nccl->GroupEnd();
    m->grouping = false;
    pthread_mutex_unlock(&m->lock);
    return result;
}

static dpt_status group_end(dpt_nccl_comm *m) {
    dpt_nccl_result result = dpt_nccl_settle(m, dpt_nccl_end_group(m));
    if (result != DPT_NCCL_SUCCESS) return dpt_nccl_failed(m, result, "a group of collectives");
    return m->n_grouped > 0 ? finish(m, m->grouped, m->n_grouped) : DPT_OK;
}

static dpt_status nccl_group(dpt_comm *comm, bool begin) {
    dpt_nccl_comm *m = comm->state;
    if (!begin) return m->grouping ? group_end(m) : DPT_OK;
    DPT_TRY(dpt_nccl_usable(m));
    return group_begin(m);
}

/* What is converted back after the collective: of a reduce-scatter, the slice of this rank alone. */
static void narrow(dpt_comm_grouped *one, size_t count, int rank) {
    one->full += (size_t)rank * count;
    one->half = (uint16_t *)one->half + (size_t)rank * count;
    one->count = count;
}

static dpt_status start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream, uint64_t *ticket) {
    dpt_nccl_comm *m = comm->state;
    const dpt_device_ops *ops = m->device->ops;
    const bool sums = what == DPT_ALL_REDUCE || what == DPT_REDUCE_SCATTER;
    size_t bytes = dpt_collective_bytes(what, count, dtype, comm->world);
    dpt_nccl_type type = DPT_NCCL_FLOAT32;
    char during[96];
    *ticket = 0;
    DPT_TRY(dpt_nccl_usable(m));
    DPT_TRY(type_of(dtype, &type));
    if (!m->first_known) m->first = comm->sequence - 1;
    m->first_known = true;
    DPT_TRY(ops->event_record(m->device, m->fork, stream));
    DPT_TRY(ops->stream_wait(m->device, m->stream, m->fork));
    dpt_comm_grouped one = {.ticket = m->tickets + 1};
    if (sums && m->sum_bf16 && dtype == DPT_F32)
        one.count = dpt_nccl_rounded(m, data, bytes / sizeof(float), &one.half);
    if (one.count < bytes / sizeof(float) && what == DPT_REDUCE_SCATTER) one.count = 0;
    if (one.count) {
        one.full = data;
        DPT_TRY(dpt_comm_to_bf16(data, one.half, one.count, m->stream));
    }
    DPT_TRY(dpt_comm_count(&m->counters[0], 1, m->stream));
    dpt_nccl_result result = one.count ? call_rounded(m, what, data, count, &one, comm->rank)
                                       : call(m, what, data, count, type, count * dpt_dtype_size(dtype), comm->rank);
    if (!m->grouping) result = dpt_nccl_settle(m, result);
    if (result != DPT_NCCL_SUCCESS && result != DPT_NCCL_IN_PROGRESS) {
        snprintf(during, sizeof during, "collective %llu (%s of %zu bytes)", (unsigned long long)comm->sequence,
                 dpt_collective_text(what), bytes);
        return dpt_nccl_failed(m, result, during);
    }
    if (one.count && what == DPT_REDUCE_SCATTER) narrow(&one, count, comm->rank);
    *ticket = ++m->tickets;
    if (!m->grouping) return finish(m, &one, 1);
    m->grouped[m->n_grouped++] = one;
    if (m->n_grouped < DPT_COMM_GROUPED) return DPT_OK;
    DPT_TRY(group_end(m));
    return group_begin(m);
}

/* A failure ends the group that is open: an abort waits for that. */
static dpt_status nccl_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                             dpt_stream *stream, uint64_t *ticket) {
    dpt_nccl_comm *m = comm->state;
    dpt_status status = start(comm, what, data, count, dtype, stream, ticket);
    if (status != DPT_OK && m->grouping) (void)dpt_nccl_end_group(m);
    return status;
}

static dpt_status nccl_wait(dpt_comm *comm, uint64_t ticket, dpt_stream *stream) {
    dpt_nccl_comm *m = comm->state;
    DPT_CHECK(!m->grouping, DPT_ERR_INTERNAL, "a wait within a group of collectives");
    if (ticket == 0) return DPT_OK;
    DPT_TRY(m->device->ops->stream_wait(m->device, stream, m->done[ticket % DPT_COMM_TICKETS]));
    return stream == NULL ? nccl_check(comm) : DPT_OK;
}

const dpt_comm_ops dpt_nccl_comm_ops = {.start = nccl_start,
                                        .wait = nccl_wait,
                                        .group = nccl_group,
                                        .attach = dpt_nccl_attach,
                                        .attach_bytes = dpt_nccl_attach_bytes,
                                        .detach = dpt_nccl_detach,
                                        .check = nccl_check,
                                        .abort = dpt_nccl_abort,
                                        .close = dpt_nccl_close};
