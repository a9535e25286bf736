/* job_order.c: the order of the training samples: data.order, where it is `auto` by what the data are; what is said of
 * it in the header. All ranks come to the same from the same config and
 * index; that they did is compared. */
#include <stdio.h>

#include "base/hash.h"
#include "base/memory.h"
#include "cli/job.h"
#include "data/read_cost.h"
#include "data/sampler.h"

static uint64_t row_bytes(const dpt_field *field) { return (uint64_t)field->elements * field->stored.bytes; }

/* The field with the longest rows, whose chunks are the blocks of lanes (loader.h). */
static bool is_chunked(const dpt_dataset *dataset) {
    bool chunked = false;
    int longest = 0;
    for (int i = 1; i < dpt_dataset_field_count(dataset); i++)
        if (row_bytes(dpt_dataset_field(dataset, i)) > row_bytes(dpt_dataset_field(dataset, longest))) longest = i;
    for (int f = 0; f < dpt_dataset_file_count(dataset); f++)
        chunked |= dpt_dataset_chunk_rows(dataset, f, longest) > 0;
    return chunked;
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
    for (int i = 0; i < dpt_dataset_field_count(dataset); i++) bytes += row_bytes(dpt_dataset_field(dataset, i));
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
    if (!in_lanes) {
        describe_scattered(job);
        return DPT_OK;
    }
    DPT_TRY(dpt_loader_lanes(job->train, &o, &file, &shape));
    dpt_digest_i64(digest, shape.lanes);
    describe_lanes(job, &shape);
    dpt_free(file);
    return DPT_OK;
}

dpt_status dpt_job_choose_order(dpt_job *job) {
    dpt_digest digest = {0};
    DPT_TRY(dpt_control_agree(&job->cli->control, choose(job, &digest)));
    return dpt_control_same(&job->cli->control, "the order of samples", digest.value);
}
