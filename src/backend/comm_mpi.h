/* comm_mpi.h: the communicator for CPU ranks: MPI sums the gradients. */
#ifndef DPT_BACKEND_COMM_MPI_H
#define DPT_BACKEND_COMM_MPI_H

#include "backend/comm.h"

/* Duplicates parent. thread: 1 runs collectives on a thread of their own (needs MPI_THREAD_MULTIPLE), 0 inline, -1
 * chooses: a thread where this rank has two cores or more and MPI allows it. Collective. */
dpt_status dpt_mpi_comm_open(MPI_Comm parent, dpt_device *device, int thread, dpt_comm *comm);

/* From here on sums of f32 in attached memory travel and are added in bf16; what of an all-reduce goes past its end
 * stays f32. DPT_ERR_MEMORY. Local. */
dpt_status dpt_mpi_comm_in_bf16(dpt_comm *comm);

/* For what stands in front: how many of the first elements of a collective over this memory are such sums (all-reduce:
 * any number; reduce-scatter: all or none); and that sum of other memory, slices of count elements each: one, which
 * every rank gets, or one a rank, of which each gets its own. Inline, host memory. */
size_t dpt_mpi_comm_rounded(const dpt_comm *comm, dpt_collective what, const void *data, size_t count, dpt_dtype dtype);
dpt_status dpt_mpi_comm_sum_in_bf16(dpt_comm *comm, float *data, size_t slices, size_t count);

#endif
