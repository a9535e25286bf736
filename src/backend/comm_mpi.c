/* comm_mpi.c: collectives through MPI, inline or on a communication thread.
 *
 * The thread takes operations from a ring in the order in which they were started and runs each with a blocking call
 * (MPI_Iallreduce makes no progress by itself and is slower). Small ones run inline, after the ring has drained. So the
 * order of MPI calls is the order of start, on every rank, whichever way a rank chose. Small sums of a group are held
 * back and made by one call a type. */
#include "backend/comm_mpi.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "backend/comm_mpi_sum.h"
#include "base/memory.h"

enum { RING = 256, REGIONS = 16, HELD = 32, HELD_BYTES = 4096 };
static const size_t inline_bytes = 64 * 1024;
static const size_t largest_call = (size_t)1 << 30; /* elements of one MPI call: its counts are ints */

typedef struct request {
    dpt_collective what;
    void *data;
    size_t count;
    dpt_dtype dtype;
    uint64_t sequence;
    dpt_position *position;
    size_t rounded; /* of the first elements: f32 that is summed in bf16 */
} request;

typedef struct mpi_comm {
    MPI_Comm comm;
    dpt_mpi_sums sums;
    struct {
        const char *memory;
        size_t bytes;
    } attached[REGIONS];
    int rank, world;
    bool threaded, stop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t started, finished; /* tickets */
    dpt_status status;          /* first failure on the thread */
    char message[512];
    request ring[RING];
    bool grouping;
    int n_held;
    size_t held_bytes;
    request held[HELD];
    _Alignas(8) char packed[HELD_BYTES];
} mpi_comm;

static MPI_Datatype mpi_type(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F32: return MPI_FLOAT;
        case DPT_F64: return MPI_DOUBLE;
        case DPT_U8: return MPI_UINT8_T;
        case DPT_I32: return MPI_INT32_T;
        case DPT_I64: return MPI_INT64_T;
        case DPT_BF16:
        case DPT_F16: return MPI_UINT16_T; /* added by an operation of their own */
    }
    return MPI_DATATYPE_NULL;
}

static MPI_Op sum_of(const mpi_comm *m, dpt_dtype dtype) {
    return dtype == DPT_BF16 ? m->sums.bf16 : dtype == DPT_F16 ? m->sums.f16 : MPI_SUM;
}

static dpt_status all_reduce(mpi_comm *m, const request *r) {
    size_t size = dpt_dtype_size(r->dtype);
    DPT_TRY(dpt_mpi_sum_in_bf16(&m->sums, m->comm, r->data, 1, r->rounded));
    for (size_t done = r->rounded; done < r->count; done += largest_call) {
        size_t n = r->count - done < largest_call ? r->count - done : largest_call;
        DPT_TRY(DPT_MPI(MPI_Allreduce(MPI_IN_PLACE, (char *)r->data + done * size, (int)n, mpi_type(r->dtype),
                                      sum_of(m, r->dtype), m->comm)));
    }
    return DPT_OK;
}

static dpt_status execute(mpi_comm *m, const request *r) {
    if (r->what == DPT_ALL_REDUCE) return all_reduce(m, r);
    if (r->rounded) return dpt_mpi_sum_in_bf16(&m->sums, m->comm, r->data, (size_t)m->world, r->count);
    DPT_CHECK(r->count <= INT_MAX, DPT_ERR_UNSUPPORTED, "collective of %zu elements", r->count);
    int n = (int)r->count;
    MPI_Datatype type = mpi_type(r->dtype);
    size_t bytes = r->count * dpt_dtype_size(r->dtype);
    char *slice = (char *)r->data + (size_t)m->rank * bytes;
    switch (r->what) {
        case DPT_REDUCE_SCATTER: /* in place, MPI leaves the result at the front */
            DPT_TRY(DPT_MPI(MPI_Reduce_scatter_block(MPI_IN_PLACE, r->data, n, type, sum_of(m, r->dtype), m->comm)));
            memmove(slice, r->data, bytes);
            if (m->rank > 0) memset(r->data, 0, bytes); /* gaps between slots stay zero */
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

size_t dpt_mpi_comm_rounded(const dpt_comm *comm, dpt_collective what, const void *data, size_t count,
                            dpt_dtype dtype) {
    const mpi_comm *m = comm->state;
    const char *at = data;
    const bool sums = what == DPT_ALL_REDUCE || what == DPT_REDUCE_SCATTER;
    size_t all = count * (what == DPT_REDUCE_SCATTER ? (size_t)m->world : 1);
    if (m->sums.part == NULL || m->world == 1 || dtype != DPT_F32 || !sums) return 0;
    for (int i = 0; i < REGIONS; i++) {
        const char *begin = m->attached[i].memory, *end = begin + m->attached[i].bytes;
        if (begin == NULL || at < begin || at >= end) continue;
        size_t inside = (size_t)(end - at) / sizeof(float);
        if (inside >= all) return count;
        return what == DPT_ALL_REDUCE ? inside : 0;
    }
    return 0;
}

dpt_status dpt_mpi_comm_sum_in_bf16(dpt_comm *comm, float *data, size_t slices, size_t count) {
    const mpi_comm *m = comm->state;
    return dpt_mpi_sum_in_bf16(&m->sums, m->comm, data, slices, count);
}

static dpt_status mpi_attach(dpt_comm *comm, void *memory, size_t bytes) {
    mpi_comm *m = comm->state;
    int free_one = 0;
    while (free_one < REGIONS && m->attached[free_one].memory) free_one++;
    DPT_CHECK(free_one < REGIONS, DPT_ERR_INTERNAL, "more than %d regions for collectives", REGIONS);
    m->attached[free_one].memory = memory;
    m->attached[free_one].bytes = bytes;
    return DPT_OK;
}

static void mpi_detach(dpt_comm *comm, void *memory) {
    mpi_comm *m = comm->state;
    for (int i = 0; i < REGIONS; i++)
        if (m->attached[i].memory == memory) m->attached[i].memory = NULL;
}

/* ---- groups ---- */

static bool may_hold(const mpi_comm *m, const request *r) {
    bool sums = r->what == DPT_ALL_REDUCE && (r->dtype == DPT_F32 || r->dtype == DPT_F64 || r->dtype == DPT_I64);
    return m->grouping && sums && r->rounded == 0 && m->n_held < HELD &&
           r->count * dpt_dtype_size(r->dtype) <= HELD_BYTES - m->held_bytes;
}

/* The held values of a type to the buffer, or the sums back; how many. */
static size_t pack(mpi_comm *m, dpt_dtype dtype, bool in) {
    size_t bytes = 0;
    for (int i = 0; i < m->n_held; i++) {
        const request *r = &m->held[i];
        size_t n = r->count * dpt_dtype_size(dtype);
        if (r->dtype != dtype) continue;
        if (in)
            memcpy(m->packed + bytes, r->data, n);
        else
            memcpy(r->data, m->packed + bytes, n);
        bytes += n;
    }
    return bytes / dpt_dtype_size(dtype);
}

/* Sums what is held. */
static dpt_status release_held(mpi_comm *m) {
    static const dpt_dtype types[] = {DPT_F64, DPT_F32, DPT_I64};
    if (m->n_held > 0 && m->threaded) DPT_TRY(wait_for(m, m->started));
    for (size_t i = 0; i < sizeof types / sizeof *types && m->n_held > 0; i++) {
        request one = {.what = DPT_ALL_REDUCE, .data = m->packed, .dtype = types[i]};
        one.count = pack(m, types[i], true);
        if (one.count > 0) DPT_TRY(all_reduce(m, &one));
        pack(m, types[i], false);
    }
    for (int i = 0; i < m->n_held; i++)
        dpt_position_finish(m->held[i].position, DPT_LANE_GRADIENTS, m->held[i].sequence);
    m->n_held = 0;
    m->held_bytes = 0;
    return DPT_OK;
}

static dpt_status mpi_group(dpt_comm *comm, bool begin) {
    mpi_comm *m = comm->state;
    m->grouping = begin;
    return begin ? DPT_OK : release_held(m);
}

static dpt_status mpi_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                            dpt_stream *stream, uint64_t *ticket) {
    (void)stream;
    mpi_comm *m = comm->state;
    request r = {
        what, data, count, dtype, comm->sequence, comm->position, dpt_mpi_comm_rounded(comm, what, data, count, dtype)};
    if (may_hold(m, &r)) {
        m->held[m->n_held++] = r;
        m->held_bytes += count * dpt_dtype_size(dtype);
        *ticket = 0;
        return DPT_OK;
    }
    DPT_TRY(release_held(m));
    if (!m->threaded || dpt_collective_bytes(what, count, dtype, m->world) <= inline_bytes) {
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
    dpt_mpi_sums_destroy(&m->sums);
    if (m->comm != MPI_COMM_NULL) MPI_Comm_free(&m->comm);
    dpt_free(m);
}

static const dpt_comm_ops mpi_ops = {.start = mpi_start,
                                     .wait = mpi_wait,
                                     .group = mpi_group,
                                     .attach = mpi_attach,
                                     .detach = mpi_detach,
                                     .close = mpi_close};

dpt_status dpt_mpi_comm_in_bf16(dpt_comm *comm) {
    mpi_comm *m = comm->state;
    DPT_TRY(dpt_mpi_sums_reserve(&m->sums));
    size_t n = strlen(comm->name);
    snprintf(comm->name + n, sizeof comm->name - n, ", in bf16");
    return DPT_OK;
}

dpt_status dpt_mpi_comm_open(MPI_Comm parent, dpt_device *device, int thread, dpt_comm *comm) {
    *comm = (dpt_comm){.ops = &mpi_ops};
    mpi_comm *m = dpt_alloc_zero(1, sizeof *m);
    DPT_CHECK_ALLOC(m);
    comm->state = m;
    m->comm = MPI_COMM_NULL;
    m->sums.bf16 = m->sums.f16 = MPI_OP_NULL;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    dpt_status status;
    int provided = MPI_THREAD_SINGLE;
    DPT_TRY_GOTO(DPT_MPI(MPI_Comm_dup(parent, &m->comm)), fail);
    MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(m->comm, &m->rank);
    MPI_Comm_size(m->comm, &m->world);
    DPT_TRY_GOTO(dpt_mpi_sums_create(&m->sums), fail);
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
