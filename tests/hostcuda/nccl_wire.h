/* nccl_wire.h: how the processes of a communicator reach each other: messages over MPI, each under a key that says what
 * it belongs to.
 *
 * Messages go between pairs of MPI_COMM_WORLD, under tags from 2^29 on that nobody else may use: so no process takes
 * part that is not meant. Ranks that do not call alike make other keys: their messages never meet, and they wait for
 * ever, as NCCL does. Nothing here blocks. */
#ifndef HOSTCUDA_NCCL_WIRE_H
#define HOSTCUDA_NCCL_WIRE_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace hostnccl {

/* NULL, or why no messages can be sent. */
const char *wire_missing();
/* This process in MPI_COMM_WORLD; 0 without MPI. */
int wire_rank();

/* A key made of another and a number. */
uint64_t key_of(uint64_t key, uint64_t number);

/* Messages that are awaited together. Their memory belongs to them until ended() or abandon(). */
class messages {
   public:
    void send(int process, uint64_t key, const void *data, size_t bytes);
    void receive(int process, uint64_t key, void *data, size_t bytes); /* process: MPI_ANY_SOURCE too */
    bool ended();
    /* They will never be awaited; what is to be sent may still be read. */
    void abandon();

   private:
    std::vector<MPI_Request> sends, receives;
};

}  // namespace hostnccl

#endif
