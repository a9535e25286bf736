/* collective.c: collectives in words and bytes; the plug-ins are built with it too. */
#include "backend/comm.h"

const char *dpt_collective_text(dpt_collective what) {
    static const char *const text[] = {[DPT_ALL_REDUCE] = "all_reduce",
                                       [DPT_REDUCE_SCATTER] = "reduce_scatter",
                                       [DPT_ALL_GATHER] = "all_gather",
                                       [DPT_BROADCAST] = "broadcast"};
    return text[what];
}

size_t dpt_collective_bytes(dpt_collective what, size_t count, dpt_dtype dtype, int world) {
    bool sliced = what == DPT_REDUCE_SCATTER || what == DPT_ALL_GATHER;
    return count * dpt_dtype_size(dtype) * (sliced ? (size_t)world : 1);
}
