/* feed.c: dptrain/data.h's batches: a loader, whose failures all ranks hear of in the place of the batch, and a ledger
 * that is settled after each whole epoch. */
#include "backend/backend.h"
#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset_source.h"
#include "data/ledger.h"
#include "data/loader.h"
#include "dptrain/data.h"

struct dpt_feed {
    const dpt_control *control;
    dpt_loader *loader;
    int64_t capacity;
    bool holds; /* a batch that is to be released */
    bool whole; /* the epoch of the ledger began with its first step */
    uint64_t steps;
    dpt_ledger ledger;
    dpt_status failed;
    char *reason;
};

void dpt_feed_options_init(dpt_feed_options *options) {
    *options = (dpt_feed_options){.struct_size = sizeof *options, .shuffle = 1, .threads = 1, .ahead = 4};
}

dpt_status dpt_dataset_create(dpt_context *context, const dpt_source *source, dpt_dataset **dataset) {
    return dpt_dataset_open_source(&context->control, source, dataset);
}

static dpt_status check_size(const dpt_feed_options *options) {
    DPT_CHECK(options->struct_size == sizeof *options, DPT_ERR_ARG,
              "dpt_feed_options was not started by dpt_feed_options_init");
    return DPT_OK;
}

static uint64_t digest_options(const dpt_feed_options *o) {
    dpt_digest d = {0};
    const int64_t all[] = {
        o->batch,          o->shuffle != 0, (int64_t)o->seed, (int64_t)o->first_epoch, (int64_t)o->first_step,
        (int64_t)o->epochs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) dpt_digest_i64(&d, all[i]);
    return d.value;
}

static dpt_status create_loader(const dpt_control *control, const dpt_dataset *dataset, const dpt_feed_options *options,
                                dpt_feed *feed) {
    int fields = dpt_dataset_field_count(dataset);
    dpt_normalise *checks = dpt_alloc_zero((size_t)fields, sizeof *checks);
    DPT_CHECK_ALLOC(checks);
    for (int i = 0; i < fields; i++) checks[i].classes = dpt_dataset_classes(dataset, i);
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = options->batch;
    o.rank = control->rank;
    o.world = control->world;
    o.shuffle = options->shuffle != 0;
    o.seed = options->seed;
    o.first_epoch = options->first_epoch;
    o.first_step = options->first_step;
    o.epochs = options->epochs;
    o.threads = options->threads;
    o.slots = options->ahead;
    o.normalise = checks;
    dpt_status status = dpt_loader_capacity(dataset, &o, &feed->capacity);
    if (status == DPT_OK) status = dpt_loader_create(dataset, &o, &feed->loader);
    dpt_free(checks);
    return status;
}

dpt_status dpt_feed_create(dpt_context *context, const dpt_dataset *dataset, const dpt_feed_options *options,
                           dpt_feed **feed) {
    const dpt_control *control = &context->control;
    dpt_status status;
    *feed = NULL;
    DPT_TRY(dpt_control_agree(control, check_size(options)));
    DPT_TRY(dpt_control_same(control, "the options of a feed", digest_options(options)));
    dpt_feed *f = dpt_alloc_zero(1, sizeof *f);
    DPT_TRY_GOTO(dpt_control_agree(control, f ? create_loader(control, dataset, options, f) : DPT_ERR_MEMORY), fail);
    f->control = control;
    f->steps = dpt_loader_steps(f->loader);
    f->whole = options->first_step % f->steps == 0;
    *feed = f;
    return DPT_OK;
fail:
    dpt_feed_destroy(&f);
    return status;
}

void dpt_feed_destroy(dpt_feed **feed) {
    dpt_feed *f = *feed;
    *feed = NULL;
    if (f == NULL) return;
    dpt_loader_destroy(&f->loader);
    dpt_free(f->reason);
    dpt_free(f);
}

int64_t dpt_feed_max_rows(const dpt_feed *feed) { return feed->capacity; }

uint64_t dpt_feed_steps(const dpt_feed *feed) { return feed->steps; }

/* Enters a batch; after the last one of an epoch all ranks compare. */
static dpt_status account(dpt_feed *f, const dpt_batch *batch) {
    dpt_ledger expected, global;
    dpt_ledger_add(&f->ledger, batch->epoch, batch->sample, batch->rows);
    if (batch->step + 1 < f->steps) return DPT_OK;
    bool whole = f->whole;
    f->whole = true;
    if (!whole) {
        f->ledger = (dpt_ledger){0};
        return DPT_OK;
    }
    DPT_TRY(dpt_control_agree(f->control, dpt_loader_expected(f->loader, batch->epoch, &expected)));
    return dpt_ledger_settle(f->control, &f->ledger, batch->epoch, &expected, &global);
}

static dpt_status advance(dpt_feed *f, const dpt_batch **batch) {
    if (f->holds) dpt_loader_release(f->loader);
    f->holds = false;
    DPT_TRY(dpt_control_agree(f->control, dpt_loader_next(f->loader, batch)));
    if (*batch == NULL) return DPT_OK;
    f->holds = true;
    return account(f, *batch);
}

dpt_status dpt_feed_next(dpt_feed *feed, const dpt_batch **batch) {
    *batch = NULL;
    if (feed->failed != DPT_OK) return dpt_error(feed->failed, "%s", feed->reason ? feed->reason : "out of memory");
    feed->failed = advance(feed, batch);
    if (feed->failed == DPT_OK) return DPT_OK;
    *batch = NULL;
    feed->reason = dpt_strdup(dpt_last_error());
    return feed->failed;
}
