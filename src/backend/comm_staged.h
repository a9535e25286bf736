/* comm_staged.h: the communicator of a device whose backend has none: through host memory and MPI. */
#ifndef DPT_BACKEND_COMM_STAGED_H
#define DPT_BACKEND_COMM_STAGED_H

#include "backend/comm.h"

/* Duplicates parent; borrows device until close. One rank alone needs no exchange: its collectives return at once, and
 * host_staged is false. Collective. After a failure, too, the caller closes, once all ranks know of it. */
dpt_status dpt_staged_comm_open(MPI_Comm parent, dpt_device *device, dpt_comm *comm);

/* See dpt_mpi_comm_in_bf16. Local. */
dpt_status dpt_staged_comm_in_bf16(dpt_comm *comm);

#endif
