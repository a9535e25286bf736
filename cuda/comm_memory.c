/* comm_memory.c: memory that NCCL is told of, so that it moves data without copies of its own; and the buffers of sums
 * in bf16.
 *
 * A window (from 2.27) also lets ranks linked by NVLink add in each other's memory; it needs memory of NCCL's own
 * allocator, at the same offsets on all ranks, and is a collective call: all ranks make it or none. Where no window
 * comes of it, memory is registered, each rank for itself. Sums stay right without either, so that is no error. A
 * window that fails half-way is one: NCCL keeps the error and refuses every further call on the communicator. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cuda/comm_nccl.h"

static void forget(dpt_nccl_comm *m, dpt_comm_memory *at) {
    for (int turn = 0; turn < 2; turn++) {
        dpt_nccl_result result = DPT_NCCL_SUCCESS;
        pthread_mutex_lock(&m->lock);
        const bool usable = m->status == DPT_OK && m->handle != NULL;
        if (usable && turn == 0 && at->window) result = m->nccl->CommWindowDeregister(m->handle, at->window);
        if (usable && turn == 1 && at->registration) result = m->nccl->CommDeregister(m->handle, at->registration);
        pthread_mutex_unlock(&m->lock);
        (void)dpt_nccl_settle(m, result);
    }
    at->window = at->registration = NULL;
}

/* Sums by windows take other algorithms, so a deterministic communicator has none. */
static bool has_windows(const dpt_nccl_comm *m) {
    return !m->deterministic && m->nccl->CommWindowRegister && m->nccl->CommWindowDeregister;
}

/* After a failed registration: whether the communicator can still be used, on all ranks; else it has failed on all. */
static dpt_status check_unbroken(dpt_nccl_comm *m) {
    dpt_nccl_result result = dpt_nccl_settle(m, DPT_NCCL_IN_PROGRESS);
    dpt_status status = DPT_OK;
    if (result != DPT_NCCL_SUCCESS)
        status = dpt_nccl_failed(m, result, "registering a window (NCCL_WIN_ENABLE=0 does without windows)");
    status = dpt_cuda_host->agree(&m->control, status);
    pthread_mutex_lock(&m->lock);
    if (status != DPT_OK && m->status == DPT_OK) { /* no rank waits for it to end together */
        m->status = status;
        snprintf(m->message, sizeof m->message, "%s", dpt_last_error());
    }
    pthread_mutex_unlock(&m->lock);
    return status;
}

/* DPT_ERR_UNSUPPORTED: none, and the communicator is as it was. */
static dpt_status open_window(dpt_nccl_comm *m, dpt_comm_memory *at) {
    char said[400];
    const bool mine = dpt_cuda_is_nccl_memory(m->device, at->memory);
    DPT_TRY(dpt_cuda_host->agree(&m->control,
                                 mine ? DPT_OK : dpt_error(DPT_ERR_UNSUPPORTED, "memory of another allocator")));
    dpt_nccl_result result = DPT_NCCL_INTERNAL_ERROR;
    pthread_mutex_lock(&m->lock);
    if (m->handle != NULL)
        result = m->nccl->CommWindowRegister(m->handle, at->memory, at->bytes, &at->window, DPT_NCCL_WINDOW_SYMMETRIC);
    pthread_mutex_unlock(&m->lock);
    /* NCCL gives success while its thread still registers, and writes the window later */
    if (result == DPT_NCCL_SUCCESS) result = DPT_NCCL_IN_PROGRESS;
    result = dpt_nccl_settle(m, result);
    if (result != DPT_NCCL_SUCCESS) at->window = NULL;
    dpt_status status = DPT_OK;
    if (result != DPT_NCCL_SUCCESS)
        status = dpt_error(DPT_ERR_UNSUPPORTED, "%s", dpt_nccl_said(m->nccl, NULL, result, said, sizeof said));
    status = dpt_cuda_host->agree(&m->control, status);
    if (status == DPT_ERR_UNSUPPORTED) DPT_TRY(check_unbroken(m));
    return status;
}

static dpt_status tell(dpt_nccl_comm *m, dpt_comm_memory *at) {
    DPT_TRY(dpt_nccl_usable(m));
    if (has_windows(m)) {
        dpt_status status = open_window(m, at);
        if (status == DPT_OK && at->window != NULL) return DPT_OK;
        if (status != DPT_OK && status != DPT_ERR_UNSUPPORTED) return status;
        forget(m, at);
        dpt_log(DPT_LOG_DEBUG, "no NCCL window: %s", status == DPT_OK ? "none on this host" : dpt_last_error());
    }
    dpt_nccl_result result = DPT_NCCL_INTERNAL_ERROR;
    pthread_mutex_lock(&m->lock);
    if (m->handle != NULL) result = m->nccl->CommRegister(m->handle, at->memory, at->bytes, &at->registration);
    pthread_mutex_unlock(&m->lock);
    result = dpt_nccl_settle(m, result);
    if (result != DPT_NCCL_SUCCESS) {
        at->registration = NULL;
        dpt_log(DPT_LOG_DEBUG, "NCCL does not register %zu bytes: %s", at->bytes, m->nccl->GetErrorString(result));
    }
    return DPT_OK;
}

static void drop(dpt_nccl_comm *m, dpt_comm_region *r) {
    forget(m, &r->half);
    forget(m, &r->full);
    if (r->half.memory) m->device->ops->release(m->device, r->half.memory, r->half.bytes, DPT_FOR_COMM);
    memset(r, 0, sizeof *r);
}

static size_t half_bytes(const dpt_nccl_comm *m, size_t bytes) { return m->sum_bf16 ? dpt_align(bytes / 2) : 0; }

size_t dpt_nccl_attach_bytes(const dpt_comm *comm, size_t bytes) { return half_bytes(comm->state, bytes); }

static dpt_status reserve(dpt_nccl_comm *m, void *memory, size_t bytes, dpt_comm_region **region) {
    *region = NULL;
    for (int i = 0; i < DPT_COMM_REGIONS && *region == NULL; i++)
        if (m->region[i].full.memory == NULL) *region = &m->region[i];
    DPT_CHECK(*region != NULL, DPT_ERR_INTERNAL, "more than %d regions for collectives", (int)DPT_COMM_REGIONS);
    (*region)->full = (dpt_comm_memory){.memory = memory, .bytes = bytes};
    if (!m->sum_bf16) return DPT_OK;
    void *half = NULL;
    (*region)->half.bytes = half_bytes(m, bytes);
    DPT_TRY(m->device->ops->alloc(m->device, (*region)->half.bytes, DPT_FOR_COMM, &half));
    (*region)->half.memory = half;
    return DPT_OK;
}

dpt_status dpt_nccl_attach(dpt_comm *comm, void *memory, size_t bytes) {
    dpt_nccl_comm *m = comm->state;
    dpt_comm_region *r = NULL;
    dpt_status status;
    if (memory == NULL || bytes == 0) return DPT_OK;
    DPT_TRY_GOTO(dpt_cuda_host->agree(&m->control, reserve(m, memory, bytes, &r)), fail);
    DPT_TRY_GOTO(tell(m, &r->full), fail);
    if (r->half.memory) DPT_TRY_GOTO(tell(m, &r->half), fail);
    return DPT_OK;
fail:
    if (r) drop(m, r);
    return status;
}

void dpt_nccl_detach(dpt_comm *comm, void *memory) {
    dpt_nccl_comm *m = comm->state;
    for (int i = 0; i < DPT_COMM_REGIONS; i++)
        if (memory != NULL && m->region[i].full.memory == memory) drop(m, &m->region[i]);
}

void dpt_nccl_detach_all(dpt_nccl_comm *m) {
    for (int i = 0; i < DPT_COMM_REGIONS; i++)
        if (m->region[i].full.memory) drop(m, &m->region[i]);
}

size_t dpt_nccl_rounded(const dpt_nccl_comm *m, const void *data, size_t count, void **half) {
    const char *at = data;
    *half = NULL;
    for (int i = 0; i < DPT_COMM_REGIONS; i++) {
        const dpt_comm_region *r = &m->region[i];
        const char *end = r->full.memory + r->full.bytes;
        if (r->half.memory == NULL || at < r->full.memory || at >= end) continue;
        size_t inside = (size_t)(end - at) / sizeof(float);
        *half = r->half.memory + (at - r->full.memory) / 2;
        return inside < count ? inside : count;
    }
    return 0;
}
