/* comm.c: what all communicators share. */
#include "backend/comm.h"

/* Invariant: comm->sequence is the number that the position knows this collective by. */
dpt_status dpt_comm_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                          dpt_stream *stream, uint64_t *ticket) {
    uint64_t number = dpt_position_start(comm->position, DPT_LANE_GRADIENTS, (int)what,
                                         dpt_collective_bytes(what, count, dtype, comm->world), (int)dtype);
    comm->sequence = number ? number : comm->sequence + 1;
    return comm->ops->start(comm, what, data, count, dtype, stream, ticket);
}

dpt_status dpt_comm_run(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                        dpt_stream *stream) {
    uint64_t ticket;
    DPT_TRY(dpt_comm_start(comm, what, data, count, dtype, stream, &ticket));
    return comm->ops->wait(comm, ticket, stream);
}

void dpt_comm_begin_step(dpt_comm *comm, int64_t step) {
    comm->step = step;
    if (comm->begin_step) comm->begin_step(comm);
}

void dpt_comm_close(dpt_comm *comm) {
    if (comm->entered) dpt_position_follow(comm->position, DPT_LANE_GRADIENTS, NULL, NULL);
    if (comm->ops) comm->ops->close(comm);
    comm->ops = NULL;
}
