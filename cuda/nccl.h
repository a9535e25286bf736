/* nccl.h: the part of NCCL that is used, opened when it is first needed: libnccl.so.2 of 2.19 or later.
 *
 * The declarations are our own, so that a build needs no header of NCCL's and one plug-in serves all versions; they are
 * NCCL's ABI, which a test compares with <nccl.h> where there is one. What came later than 2.19 is looked up and may be
 * NULL. */
#ifndef DPT_CUDA_NCCL_H
#define DPT_CUDA_NCCL_H

#include <limits.h>

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dpt_nccl_handle dpt_nccl_handle; /* ncclComm */

typedef enum dpt_nccl_result {
    DPT_NCCL_SUCCESS = 0,
    DPT_NCCL_SYSTEM_ERROR = 2,
    DPT_NCCL_INTERNAL_ERROR = 3,
    DPT_NCCL_REMOTE_ERROR = 6,
    DPT_NCCL_IN_PROGRESS = 7
} dpt_nccl_result;

typedef enum dpt_nccl_type {
    DPT_NCCL_UINT8 = 1,
    DPT_NCCL_INT32 = 2,
    DPT_NCCL_INT64 = 4,
    DPT_NCCL_FLOAT16 = 6,
    DPT_NCCL_FLOAT32 = 7,
    DPT_NCCL_FLOAT64 = 8,
    DPT_NCCL_BFLOAT16 = 9
} dpt_nccl_type;

enum { DPT_NCCL_SUM = 0, DPT_NCCL_WINDOW_SYMMETRIC = 1, DPT_NCCL_UNSET = INT_MIN };

typedef struct dpt_nccl_id {
    char bytes[128];
} dpt_nccl_id;

/* NCCL's configuration as 2.18 had it. Later versions read `size` bytes and take the defaults for what they added
 * behind; but their first addition, trafficClass, lies where 2.18's struct ended in padding. `reserved` stands there,
 * so that NCCL reads "not set" and never padding. */
typedef struct dpt_nccl_config {
    size_t size;
    unsigned magic, version;
    int blocking, cluster_size, min_ctas, max_ctas;
    const char *network;
    int split_share, reserved;
} dpt_nccl_config;
#define DPT_NCCL_CONFIG                                                                                       \
    {                                                                                                         \
        .size = sizeof(dpt_nccl_config), .magic = 0xcafebeefU, .version = 21800, .blocking = DPT_NCCL_UNSET,  \
        .cluster_size = DPT_NCCL_UNSET, .min_ctas = DPT_NCCL_UNSET, .max_ctas = DPT_NCCL_UNSET, .network = 0, \
        .split_share = DPT_NCCL_UNSET, .reserved = DPT_NCCL_UNSET                                             \
    }

/* X(name, needed, parameters): name in the library is "nccl" + name. All give a dpt_nccl_result, but the texts. */
#define DPT_NCCL_FUNCTIONS(X)                                                                                     \
    X(GetVersion, true, (int *version))                                                                           \
    X(GetUniqueId, true, (dpt_nccl_id * id))                                                                      \
    X(CommInitRankConfig, true,                                                                                   \
      (dpt_nccl_handle * *comm, int world, dpt_nccl_id id, int rank, dpt_nccl_config *config))                    \
    X(CommGetAsyncError, true, (dpt_nccl_handle * comm, dpt_nccl_result * result))                                \
    X(CommFinalize, true, (dpt_nccl_handle * comm))                                                               \
    X(CommDestroy, true, (dpt_nccl_handle * comm))                                                                \
    X(CommAbort, true, (dpt_nccl_handle * comm))                                                                  \
    X(GroupStart, true, (void))                                                                                   \
    X(GroupEnd, true, (void))                                                                                     \
    X(AllReduce, true,                                                                                            \
      (const void *from, void *to, size_t count, dpt_nccl_type type, int operation, dpt_nccl_handle *comm,        \
       cudaStream_t stream))                                                                                      \
    X(ReduceScatter, true,                                                                                        \
      (const void *from, void *to, size_t count, dpt_nccl_type type, int operation, dpt_nccl_handle *comm,        \
       cudaStream_t stream))                                                                                      \
    X(AllGather, true,                                                                                            \
      (const void *from, void *to, size_t count, dpt_nccl_type type, dpt_nccl_handle *comm, cudaStream_t stream)) \
    X(Broadcast, true,                                                                                            \
      (const void *from, void *to, size_t count, dpt_nccl_type type, int root, dpt_nccl_handle *comm,             \
       cudaStream_t stream))                                                                                      \
    X(MemAlloc, true, (void **memory, size_t bytes))                                                              \
    X(MemFree, true, (void *memory))                                                                              \
    X(CommRegister, true, (dpt_nccl_handle * comm, void *memory, size_t bytes, void **handle))                    \
    X(CommDeregister, true, (dpt_nccl_handle * comm, void *handle))                                               \
    X(CommWindowRegister, false,                                                                                  \
      (dpt_nccl_handle * comm, void *memory, size_t bytes, void **window, int flags)) /* 2.27 */                  \
    X(CommWindowDeregister, false, (dpt_nccl_handle * comm, void *window))

typedef struct dpt_nccl {
    int version; /* 22809 for 2.28.9 */
    const char *(*GetErrorString)(dpt_nccl_result result);
    const char *(*GetLastError)(dpt_nccl_handle *comm);
#define DPT_NCCL_FIELD(name, needed, parameters) dpt_nccl_result(*name) parameters;
    DPT_NCCL_FUNCTIONS(DPT_NCCL_FIELD)
#undef DPT_NCCL_FIELD
} dpt_nccl;

enum { DPT_NCCL_OLDEST = 21900, DPT_NCCL_SHARES_GPU = 23000 };

/* The library, opened at the first call and kept until the process ends. NULL: missing, too old, or not wanted
 * (DPTRAIN_NCCL=0; any other value is the file to open); *why then says so, with the remedy. Local. */
const dpt_nccl *dpt_nccl_open(const char **why);

/* "2.28.9" */
void dpt_nccl_version_text(int version, char *text, size_t bytes);
/* "NCCL 2.28.9", or what is missing. Local. */
void dpt_nccl_describe(char *text, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
