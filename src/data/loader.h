/* loader.h: threads that read, convert and check this rank's share of each global batch ahead of its use, into a ring
 * of slots. Which samples come, and in which order, is a pure function of the options (sampler.h, lanes.h): neither the
 * number of threads and slots nor a restart at (first_epoch, first_step) changes it.
 *
 *   dpt_loader_options o;
 *   dpt_loader_options_init(&o);
 *   o.global_batch = 512; o.rank = rank; o.world = world; o.shuffle = true; o.seed = 1; o.threads = 2;
 *   DPT_TRY(dpt_loader_create(dataset, &o, &loader));
 *   const dpt_batch *batch;
 *   while ((status = dpt_loader_next(loader, &batch)) == DPT_OK && batch) {
 *       ... batch->array[0 .. fields - 1] ...
 *       dpt_loader_release(loader);
 *   } */
#ifndef DPT_DATA_LOADER_H
#define DPT_DATA_LOADER_H

#include <stdbool.h>

#include "data/augment.h"
#include "data/convert.h"
#include "data/dataset.h"
#include "data/draws.h"
#include "data/lanes.h"
#include "data/ledger.h"
#include "data/node_cache.h"
#include "data/selection.h"

typedef struct dpt_loader dpt_loader;

typedef struct dpt_loader_options {
    uint64_t seed;
    bool shuffle;    /* otherwise the order of the files, as evaluation wants it */
    uint64_t window; /* shuffled by order `lanes`, so many blocks of a lane at a time; 0: order `exact` */
    const dpt_selection *selection; /* the part of the samples that is meant; NULL: all. Borrowed. */
    const dpt_draws *draws; /* an order by a table; shuffle and window are not looked at. NULL: none. Borrowed. */
    int64_t global_batch;   /* rows over all ranks; required */
    int64_t capacity;       /* rows of a slot, at least dpt_loader_capacity; 0: just that */
    int rank, world;
    uint64_t first_epoch, first_step;   /* where to begin; first_step may be the number of steps: the next epoch */
    uint64_t epochs;                    /* ends before this epoch; 0: never ends */
    int threads;                        /* 0: dpt_loader_next reads in the caller */
    uint64_t cache_bytes;               /* of decoded chunks, for all threads together */
    dpt_node_cache *kept;               /* of the same dataset, for chunks that stay; NULL: none. Borrowed. */
    int slots;                          /* batches read ahead or held; at least 1 */
    const dpt_normalise *normalise;     /* a field each, in the dataset's order; NULL: none. Copied. */
    const dpt_augment_options *augment; /* of one field; NULL: none. Copied. */
    double mixup; /* alpha of mixup.h: floats are mixed with those of a partner of the same global batch; 0: none */
} dpt_loader_options;

/* With mixup a batch has two arrays more where the last field holds integers: the partners' ("<name>_partner"), and
 * lambda for each row (f32). */
#define DPT_PARTNER_SUFFIX "_partner"
#define DPT_LAMBDA_NAME "lambda"

/* Seed 0, no shuffle, one rank, from the start, endless, 1 thread, 4 slots, 256 MiB of chunks. Local. */
void dpt_loader_options_init(dpt_loader_options *options);

/* A dpt_batch (dptrain/data.h) has the fields' arrays, then mixup's; rows past `rows` up to the capacity hold finite
 * values; samples are numbers over all files. */

/* Rows of a global batch that a rank can get: ceil(global_batch / world), with `lanes` more where lanes are of
 * different lengths. The same on all ranks. Local. DPT_ERR_ARG: an option is out of range, or the selection is of
 * another number of samples. DPT_ERR_MEMORY. */
dpt_status dpt_loader_capacity(const dpt_dataset *dataset, const dpt_loader_options *options, int64_t *rows);
/* The shape of order `lanes` for these options. A block is a chunk of the field with the longest rows, or as many of
 * them as make 64 KiB; without chunks it is 1 MiB of its rows; with a selection, what it leaves of those. *file is the
 * caller's (dpt_free), and all of the shape's memory. Local.
 * DPT_ERR_MEMORY. */
dpt_status dpt_loader_lanes(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_lanes_file **file,
                            dpt_lanes_shape *shape);

/* Starts the threads. Borrows the dataset until the loader is destroyed. Local.
 * DPT_ERR_ARG: an option is out of range (which, with numbers), or normalisation does not fit a field. DPT_ERR_CONFIG:
 * augmentation does not fit its field. */
dpt_status dpt_loader_create(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_loader **loader);
/* Stops at once, whatever is in flight. Local. */
void dpt_loader_destroy(dpt_loader **loader);

/* The next batch in order; waits for it. *batch is borrowed until its dpt_loader_release, and NULL at the end. An error
 * comes in the place of the batch that it befell, on the rank that it befell (to be agreed by all), and again at every
 * later call. One thread at a time. Local.
 * DPT_ERR_DATA: a value is NaN, infinite or no class; names file, dataset, sample and value. DPT_ERR_IO: a file could
 * not be read. DPT_ERR_ARG: all slots are held. */
dpt_status dpt_loader_next(dpt_loader *loader, const dpt_batch **batch);
/* Gives back the oldest batch held. Local. */
void dpt_loader_release(dpt_loader *loader);

/* What a loader has done since its creation, of batches that are filled. */
typedef struct dpt_loader_work {
    double wait_s;    /* dpt_loader_next has waited (or read, without threads) */
    double fill_s;    /* all threads together have filled batches */
    double still_s;   /* of that without a processor at work: waiting for storage, or for a core */
    uint64_t bytes;   /* read from files */
    uint64_t chunks;  /* decoded */
    uint64_t retries; /* reads that failed and were tried again */
} dpt_loader_work;

/* By the thread that takes the batches. Local. */
dpt_loader_work dpt_loader_done(dpt_loader *loader);
/* The wait alone. By the same thread. Local. */
double dpt_loader_wait_s(const dpt_loader *loader);
/* Steps of an epoch, the partial last batch included. Local. */
uint64_t dpt_loader_steps(const dpt_loader *loader);
/* This rank's share of what the ledger of a whole epoch is to hold over all ranks: each sample of the part once; where
 * draws repeat rows, what they are in that epoch. Local. DPT_ERR_MEMORY. */
dpt_status dpt_loader_expected(const dpt_loader *loader, uint64_t epoch, dpt_ledger *share);

#endif
