/* comm.c: what all communicators share. */
#include "backend/comm.h"

dpt_status dpt_comm_run(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream) {
    uint64_t ticket;
    DPT_TRY(comm->ops->start(comm, what, data, count, dtype, stream, &ticket));
    return comm->ops->wait(comm, ticket, stream);
}
