#include <mpi.h>
#include <nccl.h>
#include <sched.h>

#include "test_hostcuda.h"
#define CHECK_NCCL(call) CHECK_EQ_I64((call), ncclSuccess)
ncclComm_t make_comm(MPI_Comm mpi, bool blocking);
ncclResult_t settle(ncclComm_t comm);
void free_all(int n, float **memory);
