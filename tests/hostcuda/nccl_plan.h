/* nccl_plan.h: what the environment asks NCCL on the host to do wrong, and which version it is (README.md). Places are
 * lists as "1:5,*:9": on rank 1 of MPI_COMM_WORLD the 5th collective, on every rank the 9th; collectives count from 1,
 * over all communicators, as the device enters them. Read at every use. */
#ifndef HOSTCUDA_NCCL_PLAN_H
#define HOSTCUDA_NCCL_PLAN_H

namespace hostnccl {

/* Whether the list in the variable names this rank and number; its third number, as in "1:5:6", if there is one. */
bool planned(const char *variable, long long number, int *third = nullptr);
/* Whether the list, of ranks alone, names this one. */
bool planned_rank(const char *variable);

/* As ncclGetVersion gives it: HOSTNCCL_VERSION, as in "21903" or "1:21903" for rank 1 alone; or that of nccl.h. */
int version();
/* Whether this version has the function: HOSTNCCL_WITHOUT names those that it has not. since: the version that has
 * brought it. */
bool has_function(const char *name, int since);

}  // namespace hostnccl

#endif
