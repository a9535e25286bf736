/* comm.c: what all communicators share. */
#include "backend/comm.h"

const char *dpt_collective_text(dpt_collective what) {
    static const char *const text[] = {[DPT_ALL_REDUCE] = "all_reduce",
                                       [DPT_REDUCE_SCATTER] = "reduce_scatter",
                                       [DPT_ALL_GATHER] = "all_gather",
                                       [DPT_BROADCAST] = "broadcast"};
    return text[what];
}

size_t dpt_collective_bytes(dpt_collective what, size_t count, dpt_dtype dtype, int world) {
    bool sliced = what == DPT_REDUCE_SCATTER || what == DPT_ALL_GATHER;
    return count * dpt_dtype_size(dtype) * (sliced ? (size_t)world : 1);
}

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
    if (comm->ops) comm->ops->close(comm);
    comm->ops = NULL;
}
