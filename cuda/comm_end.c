/* comm_end.c: ends NCCL's communicator: as a whole, once all ranks are done with it, or by an abort, which makes
 * collectives under way return on this device.
 *
 * NCCL's abort may hang itself, where a driver or a network does; and graphs that were recorded with collectives hold
 * the communicator: the abort ends what is under way at once, and returns when those graphs are destroyed. So it runs
 * on a thread of its own, and whoever asks for it waits for a bounded time: the watchdog, and again close, by when the
 * trainer's graphs are gone. A thread that never returns keeps what it needs. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "cuda/comm_nccl.h"

/* Seconds that ranks have to end together before the communicator is aborted, and that the abort has then. Together
 * less than the others, who may wait in a collective, need to call this rank stuck: its own message comes first. */
static const double end_limit_s = 5, abort_limit_s = 10;
/* Seconds that an abort gives the caller's thread to end its group, which refers to the communicator: no call in a
 * group waits, so it takes no time unless that thread is held up elsewhere. */
static const double group_limit_s = 1;

struct dpt_comm_abortion {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running, done;
    dpt_nccl_comm *m; /* outlives the thread */
    dpt_nccl_handle *handle;
};

dpt_status dpt_nccl_abortion_create(dpt_comm_abortion **abortion) {
    pthread_condattr_t attributes;
    dpt_comm_abortion *a = *abortion = dpt_alloc_zero(1, sizeof *a);
    DPT_CHECK_ALLOC(a);
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return DPT_OK;
}

static bool is_running(dpt_comm_abortion *a) {
    pthread_mutex_lock(&a->lock);
    bool running = a->running && !a->done;
    pthread_mutex_unlock(&a->lock);
    return running;
}

static void abortion_destroy(dpt_comm_abortion *a) {
    if (a == NULL) return;
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    dpt_free(a);
}

static void wait_for_group(dpt_nccl_comm *m) {
    const double begin = dpt_clock_s();
    const struct timespec pause = {0, 200000};
    for (bool open = true; open && dpt_clock_s() - begin < group_limit_s; (void)nanosleep(&pause, NULL)) {
        pthread_mutex_lock(&m->lock);
        open = m->grouping;
        pthread_mutex_unlock(&m->lock);
    }
}

static void *run_abort(void *context) {
    dpt_comm_abortion *a = context;
    if (cudaSetDevice(a->m->device_index) != cudaSuccess) (void)cudaGetLastError();
    wait_for_group(a->m);
    (void)a->m->nccl->CommAbort(a->handle);
    pthread_mutex_lock(&a->lock);
    a->done = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void wait_for(dpt_comm_abortion *a, double limit_s) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    double end = (double)until.tv_sec + 1e-9 * (double)until.tv_nsec + limit_s;
    until.tv_sec = (time_t)end;
    until.tv_nsec = (long)((end - (double)until.tv_sec) * 1e9);
    pthread_mutex_lock(&a->lock);
    while (a->running && !a->done)
        if (pthread_cond_timedwait(&a->changed, &a->lock, &until) != 0) break;
    pthread_mutex_unlock(&a->lock);
    if (is_running(a)) dpt_log(DPT_LOG_INFO, "NCCL has not ended its communicator within %g s of the abort", limit_s);
}

static void abort_comm(dpt_nccl_comm *m, double limit_s) {
    dpt_comm_abortion *a = m->abortion;
    pthread_t thread;
    pthread_mutex_lock(&m->lock);
    dpt_nccl_handle *handle = m->handle;
    m->handle = NULL;
    if (m->status == DPT_OK) {
        m->status = DPT_ERR_PEER;
        snprintf(m->message, sizeof m->message, "%s: the communicator was aborted", m->where);
    }
    pthread_mutex_unlock(&m->lock);
    if (a == NULL) return;
    if (handle != NULL) {
        a->m = m;
        a->handle = handle;
        a->running = true;
        if (pthread_create(&thread, NULL, run_abort, a) == 0)
            pthread_detach(thread);
        else
            a->running = false;
    }
    wait_for(a, limit_s);
}

void dpt_nccl_abort(dpt_comm *comm, double limit_s) {
    if (comm->state) abort_comm(comm->state, limit_s);
}

/* Whether all ranks ended together within the limit. */
static bool end_together(dpt_nccl_comm *m) {
    dpt_nccl_result result = DPT_NCCL_INTERNAL_ERROR;
    const double begin = dpt_clock_s();
    const struct timespec pause = {0, 200000};
    pthread_mutex_lock(&m->lock);
    if (m->status == DPT_OK && m->handle != NULL) result = m->nccl->CommFinalize(m->handle);
    pthread_mutex_unlock(&m->lock);
    while (result == DPT_NCCL_IN_PROGRESS && dpt_clock_s() - begin <= end_limit_s) {
        (void)nanosleep(&pause, NULL);
        pthread_mutex_lock(&m->lock);
        if (m->handle == NULL || m->nccl->CommGetAsyncError(m->handle, &result) != DPT_NCCL_SUCCESS)
            result = DPT_NCCL_INTERNAL_ERROR;
        pthread_mutex_unlock(&m->lock);
    }
    if (result != DPT_NCCL_SUCCESS) return false;
    pthread_mutex_lock(&m->lock);
    dpt_nccl_handle *handle = m->handle;
    m->handle = NULL;
    pthread_mutex_unlock(&m->lock);
    return handle != NULL && m->nccl->CommDestroy(handle) == DPT_NCCL_SUCCESS;
}

void dpt_nccl_close(dpt_comm *comm) {
    dpt_nccl_comm *m = comm->state;
    const bool served = comm->entered != NULL;
    comm->state = NULL;
    comm->ops = NULL;
    comm->entered = comm->finished = NULL;
    if (m == NULL) return;
    const dpt_device_ops *ops = m->device->ops;
    if (m->grouping) (void)dpt_nccl_end_group(m);
    dpt_nccl_detach_all(m);
    if (!end_together(m)) abort_comm(m, abort_limit_s); /* or waits for the abort that is under way */
    if (served) dpt_cuda_use_nccl_memory(m->device, NULL);
    for (int i = 0; i < m->n_setting; i++) (void)unsetenv(m->setting[i]);
    if (m->abortion != NULL && is_running(m->abortion)) return; /* the device may never be done with what is left */
    for (int i = 0; i < DPT_COMM_TICKETS; i++) ops->event_destroy(m->device, m->done[i]);
    ops->event_destroy(m->device, m->fork);
    ops->stream_destroy(m->device, m->stream);
    ops->release(m->device, m->counters, 2 * sizeof *m->counters, DPT_FOR_STAGING);
    abortion_destroy(m->abortion);
    pthread_mutex_destroy(&m->lock);
    dpt_free(m);
}
