/* comm_mpi.c: collectives through MPI, inline or on a communication thread.
 *
 * The thread takes operations from a ring in the order in which they were started and runs each with a blocking call
 * (MPI_Iallreduce makes no progress by itself and is slower). Small ones run inline, after the ring has drained. So the
 * order of MPI calls is the order of start, on every rank, whichever way a rank chose. */
#include "backend/comm_mpi.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { RING = 256 };
static const size_t inline_bytes = 64 * 1024;
static const size_t largest_call = (size_t)1 << 30; /* elements of one MPI call: its counts are ints */

typedef struct request {
    dpt_collective what;
    void *data;
    size_t count;
    dpt_dtype dtype;
    uint64_t sequence;
    dpt_position *position;
} request;

typedef struct mpi_comm {
    MPI_Comm comm;
    int rank, world;
    bool threaded, stop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t started, finished; /* tickets */
    dpt_status status;          /* first failure on the thread */
    char message[512];
    request ring[RING];
} mpi_comm;

static MPI_Datatype mpi_type(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F32: return MPI_FLOAT;
        case DPT_F64: return MPI_DOUBLE;
        case DPT_U8: return MPI_UINT8_T;
        case DPT_I32: return MPI_INT32_T;
        case DPT_I64: return MPI_INT64_T;
        case DPT_BF16:
        case DPT_F16: return MPI_UINT16_T; /* to be moved; execute refuses to add them */
    }
    return MPI_DATATYPE_NULL;
}

static dpt_status all_reduce(mpi_comm *m, const request *r) {
    size_t size = dpt_dtype_size(r->dtype);
    for (size_t done = 0; done < r->count; done += largest_call) {
        size_t n = r->count - done < largest_call ? r->count - done : largest_call;
        DPT_TRY(DPT_MPI(
            MPI_Allreduce(MPI_IN_PLACE, (char *)r->data + done * size, (int)n, mpi_type(r->dtype), MPI_SUM, m->comm)));
    }
    return DPT_OK;
}

static dpt_status execute(mpi_comm *m, const request *r) {
    bool adds = r->what == DPT_ALL_REDUCE || r->what == DPT_REDUCE_SCATTER;
    DPT_CHECK(!adds || (r->dtype != DPT_BF16 && r->dtype != DPT_F16), DPT_ERR_UNSUPPORTED,
              "%s is not summed over ranks: sum in f32", dpt_dtype_text(r->dtype));
    if (r->what == DPT_ALL_REDUCE) return all_reduce(m, r);
    DPT_CHECK(r->count <= INT_MAX, DPT_ERR_UNSUPPORTED, "collective of %zu elements", r->count);
    int n = (int)r->count;
    MPI_Datatype type = mpi_type(r->dtype);
    char *slice = (char *)r->data + (size_t)m->rank * r->count * dpt_dtype_size(r->dtype);
    switch (r->what) {
        case DPT_REDUCE_SCATTER: /* in place, MPI leaves the result at the front */
            DPT_TRY(DPT_MPI(MPI_Reduce_scatter_block(MPI_IN_PLACE, r->data, n, type, MPI_SUM, m->comm)));
            memmove(slice, r->data, r->count * dpt_dtype_size(r->dtype));
            return DPT_OK;
        case DPT_ALL_GATHER: return DPT_MPI(MPI_Allgather(MPI_IN_PLACE, n, type, r->data, n, type, m->comm));
        case DPT_BROADCAST: return DPT_MPI(MPI_Bcast(r->data, n, type, 0, m->comm));
        default: return dpt_error(DPT_ERR_INTERNAL, "collective %d", (int)r->what);
    }
}

static void *serve(void *context) {
    mpi_comm *m = context;
    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (m->finished == m->started && !m->stop) pthread_cond_wait(&m->changed, &m->lock);
        if (m->finished == m->started) break;
        request r = m->ring[m->finished % RING];
        pthread_mutex_unlock(&m->lock);
        dpt_status status = execute(m, &r);
        dpt_position_finish(r.position, DPT_LANE_GRADIENTS, r.sequence);
        pthread_mutex_lock(&m->lock);
        if (status != DPT_OK && m->status == DPT_OK) {
            m->status = status;
            snprintf(m->message, sizeof m->message, "%s", dpt_last_error());
        }
        m->finished++;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static dpt_status wait_for(mpi_comm *m, uint64_t ticket) {
    pthread_mutex_lock(&m->lock);
    while (m->finished < ticket) pthread_cond_wait(&m->changed, &m->lock);
    dpt_status status = m->status;
    pthread_mutex_unlock(&m->lock);
    return status == DPT_OK ? DPT_OK : dpt_error(status, "%s", m->message);
}

static dpt_status mpi_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                            dpt_stream *stream, uint64_t *ticket) {
    (void)stream;
    mpi_comm *m = comm->state;
    request r = {what, data, count, dtype, comm->sequence, comm->position};
    if (!m->threaded || count * dpt_dtype_size(dtype) <= inline_bytes) {
        if (m->threaded) DPT_TRY(wait_for(m, m->started));
        *ticket = 0;
        dpt_status status = execute(m, &r);
        dpt_position_finish(r.position, DPT_LANE_GRADIENTS, r.sequence);
        return status;
    }
    pthread_mutex_lock(&m->lock);
    while (m->started - m->finished == RING) pthread_cond_wait(&m->changed, &m->lock);
    m->ring[m->started % RING] = r;
    *ticket = ++m->started;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return DPT_OK;
}

static dpt_status mpi_wait(dpt_comm *comm, uint64_t ticket, dpt_stream *stream) {
    (void)stream;
    mpi_comm *m = comm->state;
    return ticket == 0 ? DPT_OK : wait_for(m, ticket);
}

static void mpi_close(dpt_comm *comm) {
    mpi_comm *m = comm->state;
    comm->state = NULL;
    comm->ops = NULL;
    if (m == NULL) return;
    if (m->threaded) {
        pthread_mutex_lock(&m->lock);
        m->stop = true;
        pthread_cond_broadcast(&m->changed);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->changed);
    if (m->comm != MPI_COMM_NULL) MPI_Comm_free(&m->comm);
    dpt_free(m);
}

static const dpt_comm_ops mpi_ops = {.start = mpi_start, .wait = mpi_wait, .close = mpi_close};

dpt_status dpt_mpi_comm_open(MPI_Comm parent, dpt_device *device, int thread, dpt_comm *comm) {
    *comm = (dpt_comm){.ops = &mpi_ops};
    mpi_comm *m = dpt_alloc_zero(1, sizeof *m);
    DPT_CHECK_ALLOC(m);
    comm->state = m;
    m->comm = MPI_COMM_NULL;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    dpt_status status;
    int provided = MPI_THREAD_SINGLE;
    DPT_TRY_GOTO(DPT_MPI(MPI_Comm_dup(parent, &m->comm)), fail);
    MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(m->comm, &m->rank);
    MPI_Comm_size(m->comm, &m->world);
    MPI_Query_thread(&provided);
    bool can = provided == MPI_THREAD_MULTIPLE;
    DPT_CHECK_GOTO(thread != 1 || can, fail, DPT_ERR_CONFIG,
                   "a communication thread needs MPI_THREAD_MULTIPLE, and MPI was not started with it");
    m->threaded = m->world > 1 && (thread == 1 || (thread < 0 && can && device->threads >= 2));
    if (m->threaded && pthread_create(&m->thread, NULL, serve, m) != 0) {
        m->threaded = false;
        DPT_CHECK_GOTO(false, fail, DPT_ERR_MEMORY, "the communication thread could not be started");
    }
    comm->rank = m->rank;
    comm->world = m->world;
    comm->overlaps = m->threaded;
    snprintf(comm->name, sizeof comm->name, "mpi, %s", m->threaded ? "on a thread of its own" : "inline");
    return DPT_OK;
fail:
    mpi_close(comm);
    return status;
}
