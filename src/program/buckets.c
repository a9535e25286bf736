/* buckets.c: see buckets.h. Sizes are powers of two, so that figures that differ a little from job to job give the same
 * ones. Invariant: equal on all ranks; the trainer's start-up digest would tell. */
#include "program/buckets.h"

#include <math.h>

#include "backend/fabric_measure.h"
#include "base/log.h"

static const int64_t smallest = 1 << 20, largest = 64 << 20, fixed = 4 << 20; /* bytes */
enum { FEWEST = 4, MOST = 128, LAST_SHARE = 8 };

static dpt_bucket_sizes sizes_of(int64_t bytes, bool overlaps) {
    return (dpt_bucket_sizes){.bytes = bytes, .last = overlaps ? (bytes + LAST_SHARE - 1) / LAST_SHARE : 0};
}

dpt_bucket_sizes dpt_bucket_sizes_for(const dpt_fabric *fabric, int64_t gradient_bytes) {
    double equal = fabric->latency_s * fabric->bandwidth; /* bytes sent during the latency */
    int64_t bytes = smallest;
    while (bytes < largest && (double)bytes * sqrt(2) < equal) bytes *= 2;
    while (bytes > smallest && bytes * FEWEST > gradient_bytes) bytes /= 2;
    while (bytes * MOST < gradient_bytes) bytes *= 2;
    return sizes_of(bytes, true);
}

/* Ranks may have a communication thread or not, and in a wrong program differ in all else: rank 0 says what is done. */
dpt_status dpt_bucket_sizes_find(dpt_context *ctx, int64_t asked, int64_t gradient_bytes, dpt_bucket_sizes *sizes) {
    struct {
        bool overlaps, measure;
    } now = {.overlaps = ctx->comm.exchanges && ctx->comm.overlaps};
    now.measure = now.overlaps && asked <= 0 && gradient_bytes > smallest && !ctx->device.deterministic;
    DPT_TRY(dpt_control_broadcast(&ctx->control, &now, sizeof now, 0));
    *sizes = sizes_of(asked > 0 ? asked : fixed, now.overlaps);
    if (!now.measure) return DPT_OK;
    dpt_fabric fabric;
    DPT_TRY(dpt_fabric_find(&ctx->control, &ctx->device, &ctx->comm, &fabric));
    if (asked > 0) return DPT_OK;
    *sizes = dpt_bucket_sizes_for(&fabric, gradient_bytes);
    dpt_log(DPT_LOG_INFO, "all-reduce: %.3g us + %.3g GB/s, %s; buckets of %.4g MiB, the last of %.4g MiB",
            1e6 * fabric.latency_s, fabric.bandwidth / 1e9, fabric.name, (double)sizes->bytes / 1048576,
            (double)sizes->last / 1048576);
    return DPT_OK;
}
