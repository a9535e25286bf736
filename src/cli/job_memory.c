/* job_memory.c: the memory that reading may take on a rank (data.memory), divided: what evaluation needs; of training
 * the batches read ahead; chunks that stay decoded for the whole run, one copy for all ranks of a host where they can
 * share memory; what is left holds chunks that are mixed now. All ranks come to the same from the same numbers. */
#include <math.h>
#include <stdio.h>

#include "backend/host_memory.h"
#include "base/log.h"
#include "cli/job.h"
#include "data/loader_memory.h"

static const double MIB = 1 << 20;

static uint64_t least_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* What the parts ask for; the training part asks for nothing where it is not used. */
typedef struct wishes {
    dpt_loader_need train, test;
    uint64_t train_chunks, test_chunks; /* decoded, all of them */
} wishes;

/* Where a share of the samples is for testing, chunks that stay are those of both parts. */
static bool share_chunks(const dpt_job *job) { return dpt_node_cache_serves(job->train, job->test); }

static dpt_status measure(const dpt_job *job, bool training, wishes *w) {
    *w = (wishes){.test_chunks = training && share_chunks(job) ? 0 : dpt_node_cache_need(job->test)};
    DPT_TRY(dpt_job_loader_need(job, false, &w->test));
    if (!training) return DPT_OK;
    w->train_chunks = dpt_node_cache_need(job->train);
    return dpt_job_loader_need(job, true, &w->train);
}

/* Half of what the host has left beside the trainer, for each of its ranks. */
static uint64_t share_of_host(const dpt_job *job) {
    size_t available, total, taken = 0;
    const size_t ranks = (size_t)job->cli->control.local_world;
    dpt_host_memory("", &available, &total);
    if (job->trainer && job->ctx->device.host_memory) taken = dpt_trainer_memory(job->trainer).total;
    size_t of_rank = available / ranks;
    return (of_rank > taken ? of_rank - taken : 0) / 2;
}

/* The least over all ranks of two numbers, which an f64 holds nearly enough. */
static dpt_status least_of_ranks(const dpt_job *job, uint64_t *bytes, int *local_ranks) {
    double least[2] = {-(double)*bytes, -(double)job->cli->control.local_world};
    DPT_TRY(dpt_control_max_f64(&job->cli->control, least, 2));
    *bytes = (uint64_t)-least[0];
    *local_ranks = (int)-least[1];
    return DPT_OK;
}

static dpt_status find_budget(const dpt_job *job, const wishes *w, uint64_t *bytes, int *local_ranks) {
    uint64_t least = dpt_loader_least(&w->test);
    if (w->train.batch_bytes > 0) least += dpt_loader_least(&w->train);
    double asked = job->config->data.memory * MIB;
    *bytes = asked > 0 ? (asked < 0x1p62 ? (uint64_t)asked : (uint64_t)1 << 62) : share_of_host(job);
    DPT_TRY(least_of_ranks(job, bytes, local_ranks));
    DPT_CHECK(asked == 0 || *bytes >= least, DPT_ERR_CONFIG,
              "data.memory=%g: reading takes at least %.2f MiB a rank: a batch of training samples (%.2f MiB) and one "
              "for evaluation (%.2f MiB), %d thread%s with what is stored (%.2f MiB), a decoded chunk of each field "
              "(%.2f MiB); a smaller batch or fewer data.threads need less",
              job->config->data.memory, ceil((double)least / MIB * 100) / 100, (double)w->train.batch_bytes / MIB,
              (double)w->test.batch_bytes / MIB, w->test.threads, w->test.threads == 1 ? "" : "s",
              (double)(w->train.thread_bytes + w->test.thread_bytes) / MIB,
              (double)(w->train.chunk_bytes + w->test.chunk_bytes) / MIB);
    if (*bytes < least) *bytes = least;
    return DPT_OK;
}

/* Memory for chunks that stay, of this part: for all ranks of a host together, else for each. */
static dpt_status keep(dpt_job *job, bool together, uint64_t train_bytes, uint64_t test_bytes) {
    const dpt_control *control = &job->cli->control;
    dpt_job_memory *m = &job->memory;
    dpt_status status = DPT_OK;
    if (train_bytes > 0)
        status = dpt_node_cache_create(together ? control : NULL, job->train, train_bytes, &m->kept[1]);
    if (!together) status = dpt_control_agree(control, status);
    if (status == DPT_OK && test_bytes > 0)
        status = dpt_node_cache_create(together ? control : NULL, job->test, test_bytes, &m->kept[0]);
    if (!together) status = dpt_control_agree(control, status);
    if (status != DPT_OK)
        for (int i = 0; i < 2; i++) dpt_node_cache_destroy(&m->kept[i]);
    return status;
}

/* `spare`: bytes of each rank that batches do not take. Returns what of them the chunks took that stay. */
static dpt_status keep_chunks(dpt_job *job, const wishes *w, uint64_t spare, int local_ranks, uint64_t *taken) {
    const int cache = job->config->data.cache;
    *taken = 0;
    uint64_t wanted = w->train_chunks < UINT64_MAX - w->test_chunks ? w->train_chunks + w->test_chunks : UINT64_MAX;
    if (cache == DPT_CONFIG_CACHE_OFF || wanted == 0) return DPT_OK;
    for (bool together = cache != DPT_CONFIG_CACHE_RANK;; together = false) {
        const uint64_t copies = together ? (uint64_t)local_ranks : 1;
        uint64_t bytes = spare > (uint64_t)INT64_MAX / copies ? INT64_MAX : spare * copies;
        /* where not all can stay, a chunk that is mixed now is wanted many times, another one once an epoch */
        if (bytes < wanted) bytes -= copies * least_of(2 * job->mixed_bytes, spare);
        bytes = least_of(bytes, wanted);
        double share = (double)w->train_chunks / (double)wanted;
        uint64_t train = bytes == wanted ? w->train_chunks : (uint64_t)((double)bytes * share);
        dpt_status status = keep(job, together, train, bytes - train);
        if (status == DPT_OK) *taken = bytes / copies;
        job->memory.together = together && local_ranks > 1;
        if (status == DPT_OK || !together || cache == DPT_CONFIG_CACHE_NODE) return status;
        if (job->cli->control.rank == 0)
            dpt_log(DPT_LOG_INFO, "each rank keeps decoded chunks of its own: %s", dpt_last_error());
    }
}

/* Two windows a lane: while one is used up, others may come to the end of theirs and go through most of another, and
 * the cache drops what was used longest ago. Without lanes what is read at random is worth as much as it finds. */
static uint64_t chunks_in_use(const dpt_job *job) {
    return job->window > 0 ? 2 * job->mixed_bytes : (uint64_t)256 << 20;
}

/* Bytes of decoded chunks of the training part that can be found again. Those of steps have no place among chunks that
 * stay (node_cache.h), so that all of those may be kept and yet not all that is decoded. */
static uint64_t bytes_kept(const dpt_job_memory *m) {
    return m->cache_bytes[1] + (m->kept[1] ? dpt_node_cache_bytes(m->kept[1]) : 0);
}

static void warn_of_windows(const dpt_job *job) {
    const dpt_job_memory *m = &job->memory;
    if (job->window == 0 || bytes_kept(m) >= job->cost.bytes || m->cache_bytes[1] >= 2 * job->mixed_bytes) return;
    dpt_log(DPT_LOG_WARNING,
            "the windows of order lanes, two a lane, hold %.3g MiB a rank, of which %.3g MiB can be kept decoded: "
            "chunks will be decoded more than once an epoch; a smaller data.window needs less, data.memory allows more",
            2 * (double)job->mixed_bytes / MIB, (double)m->cache_bytes[1] / MIB);
}

/* "4 batches ahead (1.5 MiB) of at most 512 MiB a rank; all 30 MiB of decoded chunks kept, once a host" */
static void describe(dpt_job *job, const wishes *w) {
    dpt_job_memory *m = &job->memory;
    const dpt_node_cache *kept = m->kept[1];
    const int slots = m->slots[1];
    size_t n = 0;
    n = (size_t)snprintf(m->text, sizeof m->text, "%d batch%s ahead (%.3g MiB) of at most %.4g MiB a rank", slots,
                         slots == 1 ? "" : "es", (double)slots * (double)w->train.batch_bytes / MIB,
                         (double)m->budget / MIB);
    if (w->train.chunk_bytes == 0 || n >= sizeof m->text) return;
    const char *where = m->together ? "host" : "rank";
    const double all = (double)w->train_chunks / MIB;
    const bool holds_all = kept && dpt_node_cache_holds_all(kept);
    if (holds_all)
        n += (size_t)snprintf(m->text + n, sizeof m->text - n, "; all %.3g MiB of decoded chunks kept, once a %s", all,
                              where);
    else if (kept)
        n += (size_t)snprintf(m->text + n, sizeof m->text - n, "; %.3g of %.3g MiB of decoded chunks kept, once a %s",
                              (double)dpt_node_cache_bytes(kept) / MIB, all, where);
    if (n < sizeof m->text && !(holds_all && bytes_kept(m) >= job->cost.bytes))
        snprintf(m->text + n, sizeof m->text - n, "; %.3g MiB of %s mixed now",
                 (double)least_of(m->cache_bytes[1], job->cost.bytes) / MIB,
                 holds_all ? "others"
                 : kept    ? "those"
                           : "decoded chunks");
}

static void set(dpt_job_memory *m, bool training, const dpt_loader_options *o) {
    m->slots[training] = o->slots;
    m->cache_bytes[training] = o->cache_bytes;
}

dpt_status dpt_job_plan_memory(dpt_job *job, bool training) {
    dpt_job_memory *m = &job->memory;
    wishes w;
    int local_ranks = 1;
    uint64_t taken = 0, ahead = (uint64_t)fmin(job->config->data.read_ahead * MIB, 0x1p62);
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    DPT_TRY(dpt_control_agree(&job->cli->control, measure(job, training, &w)));
    DPT_TRY(find_budget(job, &w, &m->budget, &local_ranks));
    /* evaluation: the least, and in up to an eighth of all 4 batches ahead, as its loaders come and go */
    const uint64_t least = dpt_loader_least(&w.test), spared = m->budget - dpt_loader_least(&w.train);
    const uint64_t most = training ? least_of(m->budget / 8, spared) : spared;
    uint64_t of_test = dpt_loader_divide(&w.test, most > least ? most : least, 4 * w.test.batch_bytes, 0, &o);
    set(m, false, &o);
    uint64_t left = m->budget - of_test;
    uint64_t batches = training ? dpt_loader_divide(&w.train, left, ahead, 0, &o) : 0;
    DPT_TRY(keep_chunks(job, &w, left - batches, local_ranks, &taken));
    if (!training) return DPT_OK;
    if (share_chunks(job)) m->kept[0] = m->kept[1];
    if (w.train.chunk_bytes > 0) o.cache_bytes += least_of(left - batches - taken, chunks_in_use(job));
    set(m, true, &o);
    describe(job, &w);
    dpt_job_tell_reads(job, bytes_kept(m));
    if (job->cli->control.rank != 0) return DPT_OK;
    warn_of_windows(job);
    if (o.slots < 2)
        dpt_log(DPT_LOG_WARNING,
                "data.memory holds one batch (%.2f MiB) only: nothing is read ahead while a step computes",
                (double)w.train.batch_bytes / MIB);
    return DPT_OK;
}

void dpt_job_memory_close(dpt_job *job) {
    if (job->memory.kept[0] == job->memory.kept[1]) job->memory.kept[0] = NULL;
    for (int i = 0; i < 2; i++) dpt_node_cache_destroy(&job->memory.kept[i]);
}
