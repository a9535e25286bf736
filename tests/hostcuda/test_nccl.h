/* test_nccl.h: what the files of tests of NCCL on the host share. */
#ifndef HOSTCUDA_TEST_NCCL_H
#define HOSTCUDA_TEST_NCCL_H

#include <mpi.h>
#include <nccl.h>

#include "test_hostcuda.h"

/* The call gives this result of NCCL. */
#define CHECK_RESULT(call, result) check_eq_i64((call), (result), __FILE__, __LINE__, #call, #result)
#define CHECK_NCCL(call) CHECK_RESULT(call, ncclSuccess)

/* A communicator of the ranks of MPI's, each on the device of its number. Collective. */
ncclComm_t make_comm(MPI_Comm mpi, bool blocking);
/* Begins one, with this id, and gives what the call gave. */
ncclResult_t begin_comm(ncclComm_t *comm, const ncclUniqueId *id, bool blocking);
/* An id for all ranks of the world. Collective. */
ncclUniqueId share_id(void);
/* Waits until the communicator is no longer in progress. */
ncclResult_t settle(ncclComm_t comm);
/* Whether the stream is still busy after a while, with all ranks there. Collective. */
bool stays_busy(cudaStream_t stream);
cudaGraphExec_t end_capture(cudaStream_t stream);

/* test_nccl_failures.c */
void test_versions(void);
void test_same_device(void);
void test_wrong_calls(void);
void test_init_hangs(void);
void test_aborts(void);
void test_asynchronous_errors(void);
void test_skips(void);
void test_signals(void);
void test_deaths(void);

#endif
