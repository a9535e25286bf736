/* fake_nccl.c: a libnccl.so.2 that takes its time to load (FAKE_NCCL_SLEEP, in seconds) and whose communicators never
 * start, for the reason in FAKE_NCCL_SAYS. For test_nccl_start.c. */
#include <stdlib.h>
#include <time.h>

#include "cuda/nccl.h"

#define EXPORT __attribute__((visibility("default")))

#define DECLARE(name, needed, parameters) EXPORT dpt_nccl_result nccl##name parameters;
DPT_NCCL_FUNCTIONS(DECLARE)
#undef DECLARE
EXPORT const char *ncclGetErrorString(dpt_nccl_result result);
EXPORT const char *ncclGetLastError(dpt_nccl_handle *comm);

__attribute__((constructor)) static void take_time(void) {
    const char *text = getenv("FAKE_NCCL_SLEEP");
    const struct timespec seconds = {text ? atoi(text) : 0, 0};
    (void)nanosleep(&seconds, NULL);
}

dpt_nccl_result ncclGetVersion(int *version) {
    *version = 22809;
    return DPT_NCCL_SUCCESS;
}

dpt_nccl_result ncclGetUniqueId(dpt_nccl_id *id) {
    *id = (dpt_nccl_id){{0}};
    return DPT_NCCL_SUCCESS;
}

const char *ncclGetErrorString(dpt_nccl_result result) {
    return result == DPT_NCCL_SYSTEM_ERROR ? "unhandled system error" : "internal error";
}

const char *ncclGetLastError(dpt_nccl_handle *comm) {
    (void)comm;
    return getenv("FAKE_NCCL_SAYS");
}

dpt_nccl_result ncclCommInitRankConfig(dpt_nccl_handle **comm, int world, dpt_nccl_id id, int rank,
                                       dpt_nccl_config *config) {
    (void)world, (void)id, (void)rank, (void)config;
    *comm = NULL;
    return DPT_NCCL_SYSTEM_ERROR;
}

/* Never called, as there is no communicator. */
#define NOTHING(name, arguments) \
    dpt_nccl_result nccl##name arguments { return DPT_NCCL_INTERNAL_ERROR; }
#pragma GCC diagnostic ignored "-Wunused-parameter"
NOTHING(CommGetAsyncError, (dpt_nccl_handle * comm, dpt_nccl_result *result))
NOTHING(CommFinalize, (dpt_nccl_handle * comm))
NOTHING(CommDestroy, (dpt_nccl_handle * comm))
NOTHING(CommAbort, (dpt_nccl_handle * comm))
NOTHING(GroupStart, (void))
NOTHING(GroupEnd, (void))
NOTHING(AllReduce, (const void *from, void *to, size_t count, dpt_nccl_type type, int operation, dpt_nccl_handle *comm,
                    cudaStream_t stream))
NOTHING(ReduceScatter, (const void *from, void *to, size_t count, dpt_nccl_type type, int operation,
                        dpt_nccl_handle *comm, cudaStream_t stream))
NOTHING(AllGather,
        (const void *from, void *to, size_t count, dpt_nccl_type type, dpt_nccl_handle *comm, cudaStream_t stream))
NOTHING(Broadcast, (const void *from, void *to, size_t count, dpt_nccl_type type, int root, dpt_nccl_handle *comm,
                    cudaStream_t stream))
NOTHING(MemAlloc, (void **memory, size_t bytes))
NOTHING(MemFree, (void *memory))
NOTHING(CommRegister, (dpt_nccl_handle * comm, void *memory, size_t bytes, void **handle))
NOTHING(CommDeregister, (dpt_nccl_handle * comm, void *handle))
NOTHING(CommWindowRegister, (dpt_nccl_handle * comm, void *memory, size_t bytes, void **window, int flags))
NOTHING(CommWindowDeregister, (dpt_nccl_handle * comm, void *window))
