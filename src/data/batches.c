/* batches.c: dptrain/data.h's batches: a loader, whose failures all ranks hear of in the place of the batch, and a
 * ledger that is settled after each whole epoch. */
#include "backend/backend.h"
#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset_source.h"
#include "data/ledger.h"
#include "data/loader.h"
#include "dptrain/data.h"

struct dpt_batches {
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

void dpt_batches_options_init(dpt_batches_options *options) {
    *options = (dpt_batches_options){.struct_size = sizeof *options, .shuffle = 1, .threads = 1, .ahead = 4};
}

dpt_status dpt_dataset_create(dpt_context *context, const dpt_source *source, dpt_dataset **dataset) {
    return dpt_dataset_open_source(&context->control, source, dataset);
}

static dpt_status check_size(const dpt_batches_options *options) {
    DPT_CHECK(options->struct_size == sizeof *options, DPT_ERR_ARG,
              "dpt_batches_options was not started by dpt_batches_options_init");
    return DPT_OK;
}

static uint64_t digest_options(const dpt_batches_options *o) {
    dpt_digest d = {0};
    const int64_t all[] = {
        o->batch,          o->shuffle != 0, (int64_t)o->seed, (int64_t)o->first_epoch, (int64_t)o->first_step,
        (int64_t)o->epochs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) dpt_digest_i64(&d, all[i]);
    return d.value;
}

static dpt_status create_loader(const dpt_control *control, const dpt_dataset *dataset,
                                const dpt_batches_options *options, dpt_batches *batches) {
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
    dpt_status status = dpt_loader_capacity(dataset, &o, &batches->capacity);
    if (status == DPT_OK) status = dpt_loader_create(dataset, &o, &batches->loader);
    dpt_free(checks);
    return status;
}

dpt_status dpt_batches_create(dpt_context *context, const dpt_dataset *dataset, const dpt_batches_options *options,
                              dpt_batches **batches) {
    const dpt_control *control = &context->control;
    dpt_status status;
    *batches = NULL;
    DPT_TRY(dpt_control_agree(control, check_size(options)));
    DPT_TRY(dpt_control_same(control, "the options of batches", digest_options(options)));
    dpt_batches *f = dpt_alloc_zero(1, sizeof *f);
    DPT_TRY_GOTO(dpt_control_agree(control, f ? create_loader(control, dataset, options, f) : DPT_ERR_MEMORY), fail);
    f->control = control;
    f->steps = dpt_loader_steps(f->loader);
    f->whole = options->first_step % f->steps == 0;
    *batches = f;
    return DPT_OK;
fail:
    dpt_batches_destroy(&f);
    return status;
}

void dpt_batches_destroy(dpt_batches **batches) {
    dpt_batches *f = *batches;
    *batches = NULL;
    if (f == NULL) return;
    dpt_loader_destroy(&f->loader);
    dpt_free(f->reason);
    dpt_free(f);
}

int64_t dpt_batches_max_rows(const dpt_batches *batches) { return batches->capacity; }

uint64_t dpt_batches_steps(const dpt_batches *batches) { return batches->steps; }

/* Enters a batch; after the last one of an epoch all ranks compare. */
static dpt_status account(dpt_batches *f, const dpt_batch *batch) {
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

static dpt_status advance(dpt_batches *f, const dpt_batch **batch) {
    if (f->holds) dpt_loader_release(f->loader);
    f->holds = false;
    DPT_TRY(dpt_control_agree(f->control, dpt_loader_next(f->loader, batch)));
    if (*batch == NULL) return DPT_OK;
    f->holds = true;
    return account(f, *batch);
}

dpt_status dpt_batches_next(dpt_batches *batches, const dpt_batch **batch) {
    *batch = NULL;
    if (batches->failed != DPT_OK)
        return dpt_error(batches->failed, "%s", batches->reason ? batches->reason : "out of memory");
    batches->failed = advance(batches, batch);
    if (batches->failed == DPT_OK) return DPT_OK;
    *batch = NULL;
    batches->reason = dpt_strdup(dpt_last_error());
    return batches->failed;
}
