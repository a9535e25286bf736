/* loader.c: the ring. Batches have numbers 0, 1, 2, ... from the first on; batch n lies in slot n mod slots. Three
 * numbers say all: released <= delivered <= taken <= released + slots. A thread takes the next number while there is
 * room, fills its slot without the lock, and marks it ready; the consumer waits for number `delivered`.
 *
 * Invariant: between taken and ready a slot belongs to its filler, between delivered and released to the consumer. All
 * else is under the lock. */
#include "data/loader.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "data/loader_fill.h"

struct dpt_loader {
    dpt_fill_plan plan;
    uint64_t steps; /* of an epoch */
    uint64_t first_epoch, first_step;
    uint64_t batches; /* to deliver in all; UINT64_MAX: endless */
    int slots, threads;
    dpt_slot *slot;
    bool *ready;           /* [slots] */
    dpt_fill_tools *tools; /* [max(threads, 1)] */
    pthread_t *thread;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t room, filled; /* for fillers; for the consumer */
    uint64_t taken, delivered, released;
    bool waits; /* the consumer does, for number `delivered` */
    bool stop;  /* no more numbers are taken */
    dpt_loader_work done;
};

typedef struct filler {
    dpt_loader *loader;
    const dpt_fill_tools *tools;
} filler;

void dpt_loader_options_init(dpt_loader_options *options) {
    *options = (dpt_loader_options){.world = 1, .threads = 1, .slots = 4, .cache_bytes = 256 << 20};
}

static double processor_s(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

/* What filling took is the caller's to add under the lock. */
static dpt_loader_work fill_number(dpt_loader *loader, uint64_t number, const dpt_fill_tools *tools) {
    uint64_t step = loader->first_step + number % loader->steps;
    uint64_t epoch = loader->first_epoch + number / loader->steps + step / loader->steps;
    double start_s = dpt_clock_s(), start_processor_s = processor_s();
    dpt_reader_work before = dpt_reader_done(tools->reader);
    dpt_slot_fill(&loader->plan, epoch, step % loader->steps, tools, &loader->slot[number % (uint64_t)loader->slots]);
    dpt_reader_work after = dpt_reader_done(tools->reader);
    double fill_s = dpt_clock_s() - start_s, busy_s = processor_s() - start_processor_s;
    return (dpt_loader_work){.fill_s = fill_s,
                             .still_s = fill_s > busy_s ? fill_s - busy_s : 0,
                             .bytes = after.bytes - before.bytes,
                             .chunks = after.chunks - before.chunks,
                             .retries = after.retries - before.retries};
}

static void add_work(dpt_loader_work *sum, const dpt_loader_work *more) {
    sum->fill_s += more->fill_s;
    sum->still_s += more->still_s;
    sum->bytes += more->bytes;
    sum->chunks += more->chunks;
    sum->retries += more->retries;
}

static bool may_take(const dpt_loader *loader) {
    return loader->taken < loader->batches && loader->taken - loader->released < (uint64_t)loader->slots;
}

static void *fill_slots(void *user) {
    filler me = *(filler *)user;
    dpt_free(user);
    dpt_loader *loader = me.loader;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->stop && !may_take(loader)) pthread_cond_wait(&loader->room, &loader->lock);
        if (loader->stop) break;
        uint64_t number = loader->taken++;
        pthread_mutex_unlock(&loader->lock);
        dpt_loader_work work = fill_number(loader, number, me.tools);
        pthread_mutex_lock(&loader->lock);
        add_work(&loader->done, &work);
        uint64_t s = number % (uint64_t)loader->slots;
        loader->ready[s] = true;
        if (loader->slot[s].status != DPT_OK) loader->stop = true; /* numbers before it are taken: they still come */
        if (loader->stop) pthread_cond_broadcast(&loader->room);
        if (!loader->waits || number != loader->delivered) continue;
        pthread_mutex_unlock(&loader->lock); /* woken under the lock, the consumer would sleep again for it */
        pthread_cond_signal(&loader->filled);
        pthread_mutex_lock(&loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static dpt_status check_options(const dpt_dataset *dataset, const dpt_loader_options *o) {
    DPT_CHECK(o->global_batch > 0, DPT_ERR_ARG, "a global batch of %lld rows", (long long)o->global_batch);
    DPT_CHECK(o->world > 0 && o->rank >= 0 && o->rank < o->world, DPT_ERR_ARG, "rank %d of %d", o->rank, o->world);
    DPT_CHECK(o->threads >= 0 && o->threads <= 1024, DPT_ERR_ARG, "%d loader threads", o->threads);
    DPT_CHECK(o->mixup >= 0 && o->mixup < HUGE_VAL, DPT_ERR_ARG, "mixup with alpha %g", o->mixup);
    DPT_CHECK(o->slots >= 1 && o->slots <= 65536, DPT_ERR_ARG, "%d loader slots", o->slots);
    uint64_t steps = dpt_epoch_steps(dpt_loader_rows(dataset, o), o->global_batch);
    DPT_CHECK(steps > 0, DPT_ERR_DATA, "no samples to load");
    DPT_CHECK(o->first_step <= steps, DPT_ERR_ARG, "first step %llu of an epoch of %llu",
              (unsigned long long)o->first_step, (unsigned long long)steps);
    return DPT_OK;
}

/* How many batches lie between the first and the end. */
static uint64_t count_batches(const dpt_loader *loader, uint64_t epochs) {
    uint64_t whole, all;
    if (epochs == 0) return UINT64_MAX;
    if (epochs <= loader->first_epoch) return 0;
    whole = epochs - loader->first_epoch;
    if (__builtin_mul_overflow(whole, loader->steps, &all)) return UINT64_MAX;
    return all - loader->first_step;
}

static dpt_status create_slots(dpt_loader *loader) {
    int fillers = loader->threads > 0 ? loader->threads : 1;
    loader->slot = dpt_alloc_zero((size_t)loader->slots, sizeof *loader->slot);
    loader->ready = dpt_alloc_zero((size_t)loader->slots, sizeof *loader->ready);
    loader->tools = dpt_alloc_zero((size_t)fillers, sizeof *loader->tools);
    loader->thread = dpt_alloc_zero((size_t)fillers, sizeof *loader->thread);
    if (!loader->slot || !loader->ready || !loader->tools || !loader->thread) return DPT_ERR_MEMORY;
    for (int s = 0; s < loader->slots; s++) DPT_TRY(dpt_slot_create(&loader->plan, &loader->slot[s]));
    for (int i = 0; i < fillers; i++)
        DPT_TRY(dpt_fill_tools_create(&loader->plan, i > 0 ? &loader->tools[0] : NULL, &loader->tools[i]));
    return DPT_OK;
}

/* Signals are for the program's own threads. */
static dpt_status start_threads(dpt_loader *loader) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    dpt_status status = DPT_OK;
    while (status == DPT_OK && loader->started < loader->threads) {
        filler *me = dpt_alloc(sizeof *me);
        if (me == NULL) {
            status = DPT_ERR_MEMORY;
            break;
        }
        *me = (filler){loader, &loader->tools[loader->started]};
        int error = pthread_create(&loader->thread[loader->started], NULL, fill_slots, me);
        if (error == 0) {
            loader->started++;
        } else {
            dpt_free(me);
            status = dpt_error(DPT_ERR_MEMORY, "loader thread %d of %d: %s", loader->started + 1, loader->threads,
                               strerror(error));
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

dpt_status dpt_loader_create(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_loader **loader) {
    *loader = NULL;
    int64_t least;
    DPT_TRY(check_options(dataset, options));
    DPT_TRY(dpt_loader_capacity(dataset, options, &least));
    dpt_loader_options o = *options;
    if (o.capacity == 0) o.capacity = least;
    DPT_CHECK(o.capacity >= least, DPT_ERR_ARG,
              "a capacity of %lld rows a rank; a global batch of %lld over %d ranks needs %lld", (long long)o.capacity,
              (long long)o.global_batch, o.world, (long long)least);
    dpt_loader *l = dpt_alloc_zero(1, sizeof *l);
    DPT_CHECK_ALLOC(l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->filled, NULL);
    l->steps = dpt_epoch_steps(dpt_loader_rows(dataset, &o), o.global_batch);
    l->first_epoch = o.first_epoch + (o.first_step == l->steps);
    l->first_step = o.first_step % l->steps;
    l->batches = count_batches(l, o.epochs);
    l->slots = o.slots;
    l->threads = o.threads;
    dpt_status status;
    DPT_TRY_GOTO(dpt_fill_plan_create(dataset, &o, &l->plan), fail);
    DPT_TRY_GOTO(create_slots(l), fail);
    DPT_TRY_GOTO(start_threads(l), fail);
    *loader = l;
    return DPT_OK;
fail:
    dpt_loader_destroy(&l);
    return status;
}

void dpt_loader_destroy(dpt_loader **loader) {
    dpt_loader *l = *loader;
    *loader = NULL;
    if (l == NULL) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    atomic_store(&l->plan.stop, true);
    pthread_cond_broadcast(&l->room);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->started; i++) pthread_join(l->thread[i], NULL);
    for (int s = 0; l->slot && s < l->slots; s++) dpt_slot_destroy(&l->plan, &l->slot[s]);
    for (int i = 0; l->tools && i < (l->threads > 0 ? l->threads : 1); i++) dpt_fill_tools_destroy(&l->tools[i]);
    dpt_fill_plan_destroy(&l->plan);
    pthread_cond_destroy(&l->room);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    dpt_free(l->slot);
    dpt_free(l->ready);
    dpt_free(l->tools);
    dpt_free(l->thread);
    dpt_free(l);
}

/* Waits until number `delivered` is filled. Under the lock. */
static void wait_filled(dpt_loader *loader, uint64_t s) {
    if (loader->ready[s]) return;
    double start = dpt_clock_s();
    if (loader->threads == 0) {
        loader->taken++;
        dpt_loader_work work = fill_number(loader, loader->delivered, &loader->tools[0]);
        add_work(&loader->done, &work);
        loader->ready[s] = true;
    }
    loader->waits = true;
    while (!loader->ready[s]) pthread_cond_wait(&loader->filled, &loader->lock);
    loader->waits = false;
    loader->done.wait_s += dpt_clock_s() - start;
}

dpt_status dpt_loader_next(dpt_loader *loader, const dpt_batch **batch) {
    *batch = NULL;
    if (loader->delivered == loader->batches) return DPT_OK;
    dpt_status status = DPT_OK;
    pthread_mutex_lock(&loader->lock);
    uint64_t s = loader->delivered % (uint64_t)loader->slots;
    DPT_CHECK_GOTO(loader->delivered - loader->released < (uint64_t)loader->slots, fail, DPT_ERR_ARG,
                   "all %d batches of the loader are held: release one first", loader->slots);
    wait_filled(loader, s);
    const dpt_slot *slot = &loader->slot[s];
    status = slot->status;
    if (status != DPT_OK) dpt_error(status, "%s", slot->message ? slot->message : "out of memory");
    if (status != DPT_OK) goto fail; /* and stays there: nothing is delivered past a failed batch */
    loader->delivered++;
    *batch = &slot->batch;
fail:
    pthread_mutex_unlock(&loader->lock);
    return status;
}

void dpt_loader_release(dpt_loader *loader) {
    pthread_mutex_lock(&loader->lock);
    if (loader->released < loader->delivered) {
        loader->ready[loader->released % (uint64_t)loader->slots] = false;
        loader->released++;
        pthread_cond_signal(&loader->room);
    }
    pthread_mutex_unlock(&loader->lock);
}

dpt_loader_work dpt_loader_done(dpt_loader *loader) {
    pthread_mutex_lock(&loader->lock);
    dpt_loader_work done = loader->done;
    pthread_mutex_unlock(&loader->lock);
    return done;
}

double dpt_loader_wait_s(const dpt_loader *loader) { return loader->done.wait_s; }

uint64_t dpt_loader_steps(const dpt_loader *loader) { return loader->steps; }

dpt_status dpt_loader_expected(const dpt_loader *loader, uint64_t epoch, dpt_ledger *share) {
    return dpt_loader_order_expected(loader->plan.order, epoch, share);
}
