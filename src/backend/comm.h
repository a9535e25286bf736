/* comm.h: the communicator interface: collectives on device memory, in one queue and one order, the same on all ranks.
 * start queues an operation and gives a ticket; wait makes later work see its result. Between them the buffer belongs
 * to the communicator. Implementations: MPI for CPU ranks (comm_mpi.c) and, by way of host memory, for GPUs whose
 * plug-in brings none of its own (comm_staged.c). */
#ifndef DPT_BACKEND_COMM_H
#define DPT_BACKEND_COMM_H

#include "backend/control.h"
#include "backend/device.h"
#include "dptrain/types.h"

typedef struct dpt_comm dpt_comm;

typedef enum dpt_collective {
    DPT_ALL_REDUCE,     /* sums count elements in place, same bits on all ranks */
    DPT_REDUCE_SCATTER, /* sums world*count elements; this rank's count elements end up in its slice, in place */
    DPT_ALL_GATHER,     /* this rank's count elements stand in its slice; all world*count are filled, in place */
    DPT_BROADCAST       /* root 0 */
} dpt_collective;

typedef struct dpt_comm_ops {
    dpt_status (*start)(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream, uint64_t *ticket);
    dpt_status (*wait)(dpt_comm *comm, uint64_t ticket, dpt_stream *stream);
    void (*close)(dpt_comm *comm);
} dpt_comm_ops;

struct dpt_comm {
    const dpt_comm_ops *ops;
    int rank, world;
    bool overlaps;     /* start returns before the sum is made */
    bool host_staged;  /* goes through host memory: waits, so it cannot be recorded */
    char name[64];     /* "mpi, inline" */
    uint64_t sequence; /* collectives started so far, for reports */
    void *state;
};

/* start and wait in one. */
dpt_status dpt_comm_run(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream);

#endif
