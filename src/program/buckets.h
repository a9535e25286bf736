/* buckets.h: how large the pieces are in which gradients are exchanged. */
#ifndef DPT_PROGRAM_BUCKETS_H
#define DPT_PROGRAM_BUCKETS_H

#include "backend/backend.h"
#include "backend/fabric.h"

typedef struct dpt_bucket_sizes {
    int64_t bytes; /* of a bucket, at least */
    int64_t last;  /* of the last one, at most, where parameters allow; 0: as it comes */
} dpt_bucket_sizes;

/* For gradient_bytes of gradients on a fabric: a bucket whose latency takes as long as its transfer, as a power of two
 * from 1 to 64 MiB, smaller where there would be fewer than 4 of them and larger where there would be more than 128;
 * the last, which nothing is left to hide, an eighth of that. Local. */
dpt_bucket_sizes dpt_bucket_sizes_for(const dpt_fabric *fabric, int64_t gradient_bytes);

/* Those of a context's communicator: asked, if above 0, is what the user wants; else from the fabric's figures
 * (dpt_fabric_find), and the log says so. Where nothing overlaps, where all fits into one bucket, and in a
 * deterministic run they are fixed, and nothing is measured. Collective. */
dpt_status dpt_bucket_sizes_find(dpt_context *ctx, int64_t asked, int64_t gradient_bytes, dpt_bucket_sizes *sizes);

#endif
