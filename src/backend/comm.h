/* comm.h: the communicator interface: collectives on device memory, in one queue and one order, the same on all ranks.
 * start queues an operation and gives a ticket; wait makes later work see its result. Between them the buffer belongs
 * to the communicator.
 *
 * Implementations: MPI for CPU ranks (comm_mpi.c) and, by way of host memory, for GPUs (comm_staged.c); NCCL, in the
 * plug-in (cuda/comm.c). Two stand in front of another: comm_emulated.c takes the time of a described fabric in place
 * of the exchange, comm_checked.c compares with MPI's sums. comm_open.c chooses. */
#ifndef DPT_BACKEND_COMM_H
#define DPT_BACKEND_COMM_H

#include "backend/control.h"
#include "backend/device.h"
#include "backend/position.h"
#include "dptrain/types.h"

typedef struct dpt_comm dpt_comm;

typedef enum dpt_collective {
    DPT_ALL_REDUCE,     /* sums count elements in place, same bits on all ranks */
    DPT_REDUCE_SCATTER, /* sums world*count elements; this rank's count elements end up in its slice, in place;
                           the other slices hold what they held, or zeros */
    DPT_ALL_GATHER,     /* this rank's count elements stand in its slice; all world*count are filled, in place */
    DPT_BROADCAST       /* root 0 */
} dpt_collective;
/* "all_reduce" */
const char *dpt_collective_text(dpt_collective what);
/* Bytes of the whole buffer that a collective of count elements touches. */
size_t dpt_collective_bytes(dpt_collective what, size_t count, dpt_dtype dtype, int world);

typedef enum dpt_comm_library { DPT_COMM_AUTO, DPT_COMM_NCCL, DPT_COMM_MPI } dpt_comm_library;
typedef enum dpt_comm_scope {
    DPT_COMM_ALL,
    DPT_COMM_NODE,  /* the ranks of this host */
    DPT_COMM_ACROSS /* of every host the ranks with this rank's place there */
} dpt_comm_scope;

typedef struct dpt_comm_options {
    dpt_comm_library library;
    dpt_comm_scope scope;
    int thread;             /* MPI: 1 on a thread of its own, 0 inline, -1 by cores */
    int max_ctas;           /* NCCL: most thread blocks of a collective; 0: the default */
    bool sum_bf16;          /* f32 sums in attached memory travel and are added in bf16 */
    bool deterministic;     /* same bits from run to run: algorithm, protocol, channels fixed */
    bool always;            /* exchange even where one rank is alone */
    double start_limit_s;   /* until all ranks must have joined */
    const char *interface;  /* network interface of sockets; NULL: chosen by the library */
    const char *emulate;    /* a fabric (fabric.h); NULL: none */
    int64_t check_every;    /* steps between comparisons with MPI's sums; 0: none */
    dpt_position *position; /* borrowed until close; may be NULL */
} dpt_comm_options;

typedef struct dpt_comm_ops {
    dpt_status (*start)(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream, uint64_t *ticket);
    dpt_status (*wait)(dpt_comm *comm, uint64_t ticket, dpt_stream *stream);
    /* What is started between begin and end goes out as one. NULL: nothing is gained. */
    dpt_status (*group)(dpt_comm *comm, bool begin);
    /* Memory that collectives will use until detach: registered where the library can; with sum_bf16, f32 sums in it
     * are made in bf16. Collective: same bytes on all ranks. NULL: nothing to do. */
    dpt_status (*attach)(dpt_comm *comm, void *memory, size_t bytes);
    /* Device memory that attach takes for so many bytes. NULL: none. */
    size_t (*attach_bytes)(const dpt_comm *comm, size_t bytes);
    void (*detach)(dpt_comm *comm, void *memory);
    /* What failed since, though no call said so; never waits. From any thread. NULL: nothing can. */
    dpt_status (*check)(dpt_comm *comm);
    /* Makes collectives under way end, as failed. From any thread; returns within limit_s. NULL: not possible. */
    void (*abort)(dpt_comm *comm, double limit_s);
    void (*close)(dpt_comm *comm);
} dpt_comm_ops;

struct dpt_comm {
    const dpt_comm_ops *ops;
    int rank, world;
    bool exchanges;         /* collectives are to be run: several ranks, or options.always */
    bool overlaps;          /* start returns before the sum is made */
    bool host_staged;       /* goes through host memory: waits, so it cannot be recorded */
    bool eager;             /* in this step it must not be recorded or replayed: set by begin_step */
    char name[64];          /* "mpi, inline" */
    uint64_t sequence;      /* collectives started so far */
    dpt_position *position; /* NULL: nobody watches */
    /* Counted by the device, in host memory: collectives entered and finished. NULL: the host knows. */
    const volatile uint64_t *entered, *finished;
    int64_t step;
    void (*begin_step)(dpt_comm *comm); /* step has changed; may be NULL */
    void *state;
};

/* Opens what the options and the backend (comm_open of its table, or NULL) give, in front of it what was asked for.
 * Collective. After a failure, too, the caller closes, once all ranks know of it. DPT_ERR_CONFIG: not possible here. */
struct dpt_backend;
dpt_status dpt_comm_open(const struct dpt_backend *backend, const dpt_control *control, dpt_device *device,
                         const dpt_comm_options *options, dpt_comm *comm);
void dpt_comm_close(dpt_comm *comm); /* may never have been opened */

/* ops->start, told to the position. */
dpt_status dpt_comm_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                          dpt_stream *stream, uint64_t *ticket);
/* dpt_comm_start and wait in one. */
dpt_status dpt_comm_run(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream);
/* Step number step begins. */
void dpt_comm_begin_step(dpt_comm *comm, int64_t step);

#endif
