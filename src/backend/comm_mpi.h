/* comm_mpi.h: the communicator for CPU ranks: MPI sums the gradients. */
#ifndef DPT_BACKEND_COMM_MPI_H
#define DPT_BACKEND_COMM_MPI_H

#include "backend/comm.h"

/* Duplicates parent. thread: 1 runs collectives on a thread of their own (needs MPI_THREAD_MULTIPLE), 0 inline, -1
 * chooses: a thread where this rank has two cores or more and MPI allows it. Collective. */
dpt_status dpt_mpi_comm_open(MPI_Comm parent, dpt_device *device, int thread, dpt_comm *comm);

#endif
