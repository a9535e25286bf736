/* control.h: the control plane: small, synchronous exchanges between ranks on host memory, over a duplicate of the
 * caller's MPI communicator. Gradients never travel here (comm.h). */
#ifndef DPT_BACKEND_CONTROL_H
#define DPT_BACKEND_CONTROL_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/position.h"
#include "base/error.h"

typedef struct dpt_control {
    MPI_Comm comm;
    int rank, world;
    int local_rank, local_world; /* among the ranks of this host */
    dpt_position *position;      /* where exchanges are told; NULL: nobody watches */
} dpt_control;

/* What an exchange is, in the control plane's lane of a position. */
typedef enum dpt_control_kind {
    DPT_CONTROL_GATHER,
    DPT_CONTROL_BROADCAST,
    DPT_CONTROL_SUM,
    DPT_CONTROL_MAX,
    DPT_CONTROL_PREFIX,
    DPT_CONTROL_AGREE,
    DPT_CONTROL_MEET,
    DPT_CONTROL_KINDS
} dpt_control_kind;
const char *dpt_control_text(dpt_control_kind kind); /* "agreement" */

/* Duplicates comm; position is NULL. Collective. */
dpt_status dpt_control_open(dpt_control *control, MPI_Comm comm);
/* Collective. */
void dpt_control_close(dpt_control *control);

/* Turns an MPI return code into a status: DPT_TRY(DPT_MPI(MPI_Barrier(c))). */
dpt_status dpt_mpi_status(int code, const char *call);
#define DPT_MPI(call) dpt_mpi_status((call), #call)

/* Copies every rank's bytes to all, in the order of ranks. Collective. */
dpt_status dpt_control_gather(const dpt_control *control, const void *mine, size_t bytes, void *all);
/* Copies root's bytes to all ranks; any size. Collective. */
dpt_status dpt_control_broadcast(const dpt_control *control, void *data, size_t bytes, int root);
/* Element-wise sums over ranks, in place. Collective. */
dpt_status dpt_control_sum_i64(const dpt_control *control, int64_t *values, int count);
dpt_status dpt_control_sum_f64(const dpt_control *control, double *values, int count);
/* Element-wise largest over ranks, in place. Collective. */
dpt_status dpt_control_max_f64(const dpt_control *control, double *values, int count);
/* before[i] = sum of values[i] over the lower ranks. Collective. */
dpt_status dpt_control_prefix_i64(const dpt_control *control, const int64_t *values, int64_t *before, int count);
/* Tells every rank whether any rank failed: returns, on all ranks, the status of the lowest failing rank and sets its
 * message, prefixed "rank 3: " where world > 1; DPT_OK where none failed. Collective. */
dpt_status dpt_control_agree(const dpt_control *control, dpt_status mine);
/* Checks that all ranks hold the same digest. DPT_ERR_CONFIG on all ranks, naming what differs and the odd ranks.
 * Collective. */
dpt_status dpt_control_same(const dpt_control *control, const char *what, uint64_t digest);

/* Waits until every rank has called it, for limit_s seconds at most. came [world]: 1 for a rank that has; on the ranks
 * above 0, where rank 0 is missing, for all but that one. DPT_ERR_PEER: some have not come, and nothing collective may
 * follow; a rank that comes too late gets it too, with came all 1. Collective. */
dpt_status dpt_control_meet(const dpt_control *control, double limit_s, uint8_t *came);

#endif
