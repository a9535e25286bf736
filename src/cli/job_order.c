/* job_order.c: the order of the training samples: data.order, where it is `auto` by what the data are; what is said of
 * it in the header. All ranks come to the same from the same config and index; that they did is compared. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/job.h"
#include "data/read_cost.h"
#include "data/sampler.h"

enum { FEW_LANES = 8, LEAST_BLOCKS_A_LANE = 8 }; /* with fewer blocks there are few lanes whatever the batch is */

/* The field whose chunks are the blocks of lanes. */
static bool is_chunked(const dpt_dataset *dataset) {
    bool chunked = false;
    const int longest = dpt_dataset_longest_field(dataset);
    for (int f = 0; f < dpt_dataset_file_count(dataset); f++)
        chunked |= dpt_dataset_chunk_rows(dataset, f, longest) > 0;
    return chunked;
}

static bool is_drawn(const dpt_job *job) { return job->config->data.order >= DPT_CONFIG_ORDER_WEIGHTED; }

/* One lane that mixes 16 of 2858 blocks of a file sorted by class costs 1.5 % of accuracy on Fashion-MNIST (batch=127),
 * 64 lanes nothing (launch/order-accuracy.sh). */
static void warn_of_few_lanes(const dpt_job *job) {
    const long long batch = job->config->batch, window = (long long)job->window;
    const uint64_t most = job->blocks / LEAST_BLOCKS_A_LANE;
    if (job->window == 0 || job->lanes >= FEW_LANES || job->blocks < FEW_LANES * LEAST_BLOCKS_A_LANE) return;
    if (job->cli->control.rank != 0 || job->blocks <= 2 * job->window * (uint64_t)job->lanes) return;
    dpt_log(DPT_LOG_WARNING,
            "order lanes mixes only %lld of %llu blocks at a time, as batch=%lld has no divisor from %d to %d: where "
            "neighbours in the file are alike, a batch that has one or a larger data.window trains better",
            window * job->lanes, (unsigned long long)job->blocks, batch, FEW_LANES,
            most < DPT_LANES_MAX ? (int)most : DPT_LANES_MAX);
}

static void warn_of_decoding(const dpt_job *job, double decodes, uint64_t kept) {
    const double mib = 1 << 20;
    if (decodes < 2 || job->cli->control.rank != 0) return;
    dpt_log(DPT_LOG_WARNING,
            "this order takes samples from anywhere, in chunks that must be decoded whole: %.3g MiB, of which %.3g MiB "
            "can be kept, so that each will be decoded about %.3g times an epoch; %s",
            (double)job->cost.bytes / mib, (double)kept / mib, decodes,
            is_drawn(job) ? "dptrain data pack can make a file without chunks" : "data.order=lanes decodes each once");
}

void dpt_job_tell_reads(dpt_job *job, uint64_t kept) {
    const size_t used = strlen(job->order_name), room = sizeof job->order_name - used;
    const double decodes = dpt_read_cost_decodes(&job->cost, kept);
    warn_of_few_lanes(job);
    if (job->window > 0 || job->cost.bytes == 0) return;
    if (decodes > 0)
        snprintf(job->order_name + used, room, "; chunks are decoded about %.3g times an epoch", decodes);
    else
        snprintf(job->order_name + used, room, "; chunks are decoded once and kept");
    warn_of_decoding(job, decodes, kept);
}

void dpt_job_order_options(const dpt_job *job, bool training, dpt_loader_options *o) {
    const dpt_config *c = job->config;
    o->seed = (uint64_t)c->seed;
    o->selection = training ? job->train_rows : job->test_rows;
    o->draws = training ? job->draws : NULL;
    o->shuffle = training;
    o->window = training ? job->window : 0;
    o->global_batch = training || c->eval_batch == 0 ? c->batch : c->eval_batch;
    o->rank = job->cli->control.rank;
    o->world = job->cli->control.world;
}

int64_t dpt_job_epoch_steps(const dpt_job *job) {
    if (job->config->epoch.steps > 0) return job->config->epoch.steps;
    return (int64_t)dpt_epoch_steps(dpt_job_rows(job, true), job->config->batch);
}

/* Bytes of a sample, of all fields. */
static uint64_t sample_bytes(const dpt_dataset *dataset) {
    uint64_t bytes = 0;
    for (int i = 0; i < dpt_dataset_field_count(dataset); i++) {
        const dpt_field *field = dpt_dataset_field(dataset, i);
        bytes += (uint64_t)field->elements * field->stored.bytes;
    }
    return bytes;
}

/* Blocks as if all were as long as the longest. */
static void describe_lanes(dpt_job *job, const dpt_lanes_shape *shape) {
    const int world = job->cli->control.world;
    uint64_t held = 0, rows = 0, bytes;
    for (int rank = 0; rank < world; rank++) {
        uint64_t of_rank = dpt_lanes_held(shape, rank, world);
        if (of_rank > held) held = of_rank;
    }
    for (int f = 0; f < shape->files; f++) {
        const dpt_lanes_file *file = &shape->file[f];
        uint64_t most = file->block_rows < file->rows ? file->block_rows : file->rows;
        if (most > rows) rows = most;
    }
    if (__builtin_mul_overflow(rows, sample_bytes(job->train), &bytes) || __builtin_mul_overflow(bytes, held, &bytes))
        bytes = INT64_MAX;
    job->mixed_bytes = bytes < INT64_MAX / 2 ? bytes : INT64_MAX / 2;
    double reads = (double)dpt_lanes_reads(shape, world) / (double)dpt_lanes_blocks(shape);
    snprintf(job->order_name, sizeof job->order_name,
             "%d lane%s; a rank mixes %llu block%s at a time (%.3g MiB); blocks are read %.2f times an epoch",
             shape->lanes, shape->lanes == 1 ? "" : "s", (unsigned long long)held, held == 1 ? "" : "s",
             (double)job->mixed_bytes / (1 << 20), reads);
}

/* An order that takes samples from anywhere. */
static void describe_scattered(dpt_job *job) {
    const dpt_config *c = job->config;
    const size_t room = sizeof job->order_name;
    switch (c->data.order) {
        case DPT_CONFIG_ORDER_WEIGHTED: snprintf(job->order_name, room, "weighted by %.80s", c->data.weights); break;
        case DPT_CONFIG_ORDER_BALANCED: snprintf(job->order_name, room, "balanced over the classes"); break;
        case DPT_CONFIG_ORDER_BUCKETS:
            snprintf(job->order_name, room, "buckets by length; %lld batches are sorted at a time",
                     (long long)c->data.bucket_batches);
            break;
        default: snprintf(job->order_name, room, "exact");
    }
}

static dpt_status choose(dpt_job *job, dpt_digest *digest) {
    dpt_loader_options o;
    dpt_lanes_shape shape;
    dpt_lanes_file *file = NULL;
    const int order = job->config->data.order;
    bool in_lanes = order == DPT_CONFIG_ORDER_LANES || (order == DPT_CONFIG_ORDER_AUTO && is_chunked(job->train));
    job->window = in_lanes ? (uint64_t)job->config->data.window : 0;
    job->cost = dpt_read_cost_find(job->train, job->train_rows);
    dpt_loader_options_init(&o);
    dpt_job_order_options(job, true, &o);
    DPT_TRY(dpt_loader_capacity(job->train, &o, &job->share));
    dpt_digest_i64(digest, order);
    dpt_digest_i64(digest, (int64_t)job->window);
    dpt_digest_i64(digest, job->share);
    if (!in_lanes) describe_scattered(job);
    if (!in_lanes) return DPT_OK;
    DPT_TRY(dpt_loader_lanes(job->train, &o, &file, &shape));
    dpt_digest_i64(digest, shape.lanes);
    job->lanes = shape.lanes;
    job->blocks = dpt_lanes_blocks(&shape);
    describe_lanes(job, &shape);
    dpt_free(file);
    return DPT_OK;
}

dpt_status dpt_job_choose_order(dpt_job *job) {
    dpt_digest digest = {0};
    DPT_TRY(dpt_control_agree(&job->cli->control, choose(job, &digest)));
    return dpt_control_same(&job->cli->control, "the order of samples", digest.value);
}
