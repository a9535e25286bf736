/* segments.cuh: one launch over all segments of the arenas. The segments stand in the call's table with the number of
 * their first chunk; a block takes every gridDim.x-th chunk and walks the segments along with it. Invariant: what is in
 * a chunk depends on the segments alone. */
#ifndef DPT_CUDA_SEGMENTS_CUH
#define DPT_CUDA_SEGMENTS_CUH

#include "cuda/launch.h"
#include "cuda/number.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.cuh"

enum { THREADS = 256, UPDATE_CHUNK = 2048, SQUARE_CHUNK = 8192 };
enum { GUARD_FACTOR, GUARD_OK, GUARD_NORM, GUARD_LOSS, GUARD_VALUES };

/* ---- the table of segments ---- */

typedef struct stretch {
    dpt_segment segment;
    int64_t first_chunk; /* the last stretch has no segment: its first_chunk is the number of all chunks */
} stretch;

typedef struct alignas(16) table_head {
    unsigned finished; /* blocks of square_norm that are done in this run */
    int stretches;     /* without the last one */
} table_head;

static int64_t chunks_of(const dpt_call *call, int64_t chunk) {
    int64_t chunks = 0;
    for (int i = 0; i < call->attr.update.segments; i++)
        chunks += (call->attr.update.segment[i].count + chunk - 1) / chunk;
    return chunks;
}

static dpt_status table_prepare(dpt_call *call) {
    call->table_bytes = sizeof(table_head) + ((size_t)call->attr.update.segments + 1) * sizeof(stretch);
    return DPT_OK;
}

static dpt_status table_fill(dpt_call *call, int64_t chunk) {
    const int segments = call->attr.update.segments;
    char *host = (char *)dpt_alloc_zero(1, call->table_bytes);
    DPT_CHECK_ALLOC(host);
    table_head *head = (table_head *)host;
    stretch *to = (stretch *)(head + 1);
    head->stretches = segments;
    int64_t first = 0;
    for (int i = 0; i < segments; i++) {
        to[i].segment = call->attr.update.segment[i];
        to[i].first_chunk = first;
        first += (to[i].segment.count + chunk - 1) / chunk;
    }
    to[segments].first_chunk = first;
    dpt_status status = call->device->ops->copy_in(call->device, call->table, host, call->table_bytes, NULL);
    dpt_free(host);
    return status;
}

/* A block's walk over its chunks: chunk `chunk` is elements [begin, begin + count) of segment number `at`. */
struct chunk_walk {
    const stretch *list;
    int at;
    int64_t chunk, chunks;

    __device__ chunk_walk(const table_head *head) : list((const stretch *)(head + 1)), chunk((int64_t)blockIdx.x) {
        int end = head->stretches;
        chunks = list[end].first_chunk;
        at = 0;
        while (end - at > 1) { /* the last segment that starts at or before the chunk; ends before that are empty */
            const int middle = (at + end) / 2;
            if (list[middle].first_chunk <= chunk)
                at = middle;
            else
                end = middle;
        }
    }
    __device__ bool here() const { return chunk < chunks; }
    __device__ void next() {
        chunk += (int64_t)gridDim.x;
        while (chunk < chunks && list[at + 1].first_chunk <= chunk) at++;
    }
    __device__ const dpt_segment &segment() const { return list[at].segment; }
    __device__ int64_t begin(int64_t size) const { return (chunk - list[at].first_chunk) * size; }
    __device__ int64_t count(int64_t size) const {
        const int64_t rest = list[at].segment.count - begin(size);
        return rest < size ? rest : size;
    }
};

__device__ __forceinline__ bool aligned(const void *p) { return p == NULL || (uintptr_t)p % 16 == 0; }

/* Blocks for a walk: enough for the device, at most one a chunk. */
static unsigned walk_blocks(const dpt_call *call, int64_t chunks) {
    return dpt_blocks_for(call, chunks * THREADS, THREADS);
}

#endif
