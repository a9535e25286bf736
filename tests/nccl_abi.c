/* nccl_abi.c: our declarations of NCCL (cuda/nccl.h) beside its own header: values, sizes and places are the same. It
 * is compiled, and that is the test. */
#include <nccl.h>
#include <stddef.h>

#include "cuda/nccl.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)
SAME(DPT_NCCL_SUCCESS, ncclSuccess);
SAME(DPT_NCCL_SYSTEM_ERROR, ncclSystemError);
SAME(DPT_NCCL_INTERNAL_ERROR, ncclInternalError);
SAME(DPT_NCCL_REMOTE_ERROR, ncclRemoteError);
SAME(DPT_NCCL_IN_PROGRESS, ncclInProgress);
SAME(DPT_NCCL_UINT8, ncclUint8);
SAME(DPT_NCCL_INT32, ncclInt32);
SAME(DPT_NCCL_INT64, ncclInt64);
SAME(DPT_NCCL_FLOAT16, ncclFloat16);
SAME(DPT_NCCL_FLOAT32, ncclFloat32);
SAME(DPT_NCCL_FLOAT64, ncclFloat64);
SAME(DPT_NCCL_BFLOAT16, ncclBfloat16);
SAME(DPT_NCCL_SUM, ncclSum);
SAME(DPT_NCCL_UNSET, NCCL_CONFIG_UNDEF_INT);
SAME(sizeof(dpt_nccl_result), sizeof(ncclResult_t));
SAME(sizeof(dpt_nccl_type), sizeof(ncclDataType_t));
SAME(sizeof(int), sizeof(ncclRedOp_t));
SAME(sizeof(dpt_nccl_id), sizeof(ncclUniqueId));
#ifdef NCCL_WIN_COLL_SYMMETRIC
SAME(DPT_NCCL_WINDOW_SYMMETRIC, NCCL_WIN_COLL_SYMMETRIC);
#endif

#define PLACE(ours, theirs) SAME(offsetof(dpt_nccl_config, ours), offsetof(ncclConfig_t, theirs))
PLACE(size, size);
PLACE(magic, magic);
PLACE(version, version);
PLACE(blocking, blocking);
PLACE(cluster_size, cgaClusterSize);
PLACE(min_ctas, minCTAs);
PLACE(max_ctas, maxCTAs);
PLACE(network, netName);
PLACE(split_share, splitShare);
#ifdef NCCL_WIN_COLL_SYMMETRIC
PLACE(reserved, trafficClass);
#endif
_Static_assert(sizeof(dpt_nccl_config) <= sizeof(ncclConfig_t), "newer versions only add fields");

/* As many parameters, each as large: a call through ours passes what theirs takes. */
#define TAKES(name, ...) ((void)sizeof(((dpt_nccl *)0)->name(__VA_ARGS__)), (void)sizeof(nccl##name(__VA_ARGS__)))
int dpt_nccl_abi(void);
int dpt_nccl_abi(void) {
    TAKES(GetVersion, NULL);
    TAKES(GetUniqueId, NULL);
    TAKES(CommGetAsyncError, NULL, NULL);
    TAKES(CommFinalize, NULL);
    TAKES(CommDestroy, NULL);
    TAKES(CommAbort, NULL);
    TAKES(GroupStart, );
    TAKES(GroupEnd, );
    TAKES(AllReduce, NULL, NULL, 0, 0, 0, NULL, NULL);
    TAKES(ReduceScatter, NULL, NULL, 0, 0, 0, NULL, NULL);
    TAKES(AllGather, NULL, NULL, 0, 0, NULL, NULL);
    TAKES(Broadcast, NULL, NULL, 0, 0, 0, NULL, NULL);
    TAKES(MemAlloc, NULL, 0);
    TAKES(MemFree, NULL);
    TAKES(CommRegister, NULL, NULL, 0, NULL);
    TAKES(CommDeregister, NULL, NULL);
#ifdef NCCL_WIN_COLL_SYMMETRIC
    TAKES(CommWindowRegister, NULL, NULL, 0, NULL, 0);
    TAKES(CommWindowDeregister, NULL, NULL);
#endif
    return 0;
}
