/* comm_checked.h: in front of another communicator: on every N-th step its sums are compared with MPI's, made in f64
 * from host copies. Such a step must not be recorded or replayed (comm->eager), and takes its time. */
#ifndef DPT_BACKEND_COMM_CHECKED_H
#define DPT_BACKEND_COMM_CHECKED_H

#include "backend/comm.h"

/* Takes inner, which must be open, and nulls its ops; closing this closes it. every: steps between comparisons, at
 * least 1. sum_bf16: inner adds f32 in bf16. Collective. After a failure, too, the caller closes comm. While a sum is
 * wrong, wait fails with DPT_ERR_INTERNAL on all ranks, naming step, collective and the lowest rank that has it. */
dpt_status dpt_checked_comm_open(const dpt_control *control, dpt_device *device, int64_t every, bool sum_bf16,
                                 dpt_comm *inner, dpt_comm *comm);

#endif
