/* comm_mpi_sum.h: sums over MPI ranks of what MPI has no type for. */
#ifndef DPT_BACKEND_COMM_MPI_SUM_H
#define DPT_BACKEND_COMM_MPI_SUM_H

#include "backend/control.h"
#include "dptrain/types.h"

/* Operations on MPI_UINT16_T, and where f32 numbers are while they have 16 bits. */
typedef struct dpt_mpi_sums {
    MPI_Op bf16, f16;
    uint16_t *part; /* NULL: f32 is not summed in bf16 */
} dpt_mpi_sums;

dpt_status dpt_mpi_sums_create(dpt_mpi_sums *sums);
/* Makes place for dpt_mpi_sum_in_bf16. */
dpt_status dpt_mpi_sums_reserve(dpt_mpi_sums *sums);
void dpt_mpi_sums_destroy(dpt_mpi_sums *sums);

/* Rounds to bf16, sums over ranks, widens again, in place. slices of count elements each: one, all of it for every rank
 * (an all-reduce), or one a rank, of which each gets its own (a reduce-scatter). Collective. */
dpt_status dpt_mpi_sum_in_bf16(const dpt_mpi_sums *sums, MPI_Comm comm, float *data, size_t slices, size_t count);

#endif
