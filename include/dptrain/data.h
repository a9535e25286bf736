/* data.h: batches for a trainer, of samples that the program itself holds in memory or makes on demand: shuffled over
 * all ranks, every sample exactly once an epoch, whatever the number of threads.
 *
 *   dpt_source_field fields[2] = {{"x", DPT_F32, 1, {8}, xs, 0}, {"t", DPT_F32, 1, {3}, ts, 0}};
 *   dpt_source source;
 *   dpt_source_init(&source);
 *   source.fields = fields, source.field_count = 2, source.rows = 100000;
 *   DPT_TRY(dpt_dataset_create(ctx, &source, &dataset));
 *   dpt_batches_options o;
 *   dpt_batches_options_init(&o);
 *   o.batch = 512;
 *   DPT_TRY(dpt_batches_create(ctx, dataset, &o, &batches));
 *   trainer_options.max_rows = dpt_batches_max_rows(batches);
 *   ...
 *   const dpt_batch *batch;
 *   while ((status = dpt_batches_next(batches, &batch)) == DPT_OK && batch)
 *       DPT_TRY(dpt_trainer_step(trainer, batch->array, batch->arrays, &metrics));
 *
 * Two ways to hold the samples. Without own_rows every rank can give every sample, and the order is one permutation of
 * all of them, the same for every number of ranks. With own_rows each rank holds samples of its own, as many as it
 * likes, and is asked for no others: samples are numbered rank by rank, a batch has of each rank as many as its share
 * of all samples, and each rank shuffles its own. */
#ifndef DPTRAIN_DATA_H
#define DPTRAIN_DATA_H

#include "dptrain/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dpt_dataset dpt_dataset;

/* ---- where samples come from ---- */

typedef struct dpt_source_field {
    const char *name;          /* the graph input that it feeds */
    dpt_dtype dtype;           /* of the values, here and in batches (f16 becomes f32); not bf16 */
    int ndim;                  /* of a sample */
    int64_t dim[DPT_MAX_NDIM]; /* its shape */
    const void *values;        /* (rows, dim...) in C order, borrowed; must stay as they are. NULL: read gives them */
    int64_t classes;           /* integers must lie in [0, classes); 0: not looked at */
} dpt_source_field;

/* Writes rows [row, row + count) of a field to out, one after another; counted from this rank's first with own_rows.
 * Called by threads of batches, several at a time unless `serial`; the same row must always give the same values. May
 * use MPI only as the program's thread level allows. Not DPT_OK: the batch fails (dpt_source_fail says why). */
typedef dpt_status (*dpt_source_read)(void *user, int field, uint64_t row, uint64_t count, void *out);

typedef struct dpt_source {
    size_t struct_size;
    const char *name;               /* for messages: "memory" */
    const dpt_source_field *fields; /* the same on all ranks, but for values */
    int field_count;
    uint64_t rows; /* that this rank can give */
    int own_rows;  /* 0: the same rows on every rank; 1: each rank's are its own, maybe none */
    dpt_source_read read;
    void *user;
    int serial; /* 1: read is called by one thread at a time */
} dpt_source;

/* Sets struct_size and the defaults: a name, nothing else. Local. */
DPT_API void dpt_source_init(dpt_source *source);
/* For read: takes a reason, copied, and returns status: return dpt_source_fail(DPT_ERR_IO, strerror(errno)). Local. */
DPT_API dpt_status dpt_source_fail(dpt_status status, const char *reason);

/* Copies the source; borrows values and user until the dataset is closed. Where all ranks hold the same rows, up to 64
 * of each field that lies in memory, evenly spread, are compared; read is not called. Collective.
 * DPT_ERR_ARG: no fields, no rows on any rank, a field without a name, a shape, or values and read, two fields of one
 * name. DPT_ERR_UNSUPPORTED: bf16. DPT_ERR_CONFIG: fields, rows or values differ between ranks (which). */
DPT_API dpt_status dpt_dataset_create(dpt_context *context, const dpt_source *source, dpt_dataset **dataset);
/* After the batches that use it. Takes NULL, nulls *dataset. Local. */
DPT_API void dpt_dataset_close(dpt_dataset **dataset);
/* Samples that all ranks hold together; of those that every rank holds, just these. Local. */
DPT_API uint64_t dpt_dataset_rows(const dpt_dataset *dataset);

/* ---- batches ---- */

typedef struct dpt_batches dpt_batches;

typedef struct dpt_batches_options {
    size_t struct_size;
    int64_t batch;                    /* samples of a step over all ranks; required */
    int shuffle;                      /* 1; 0: in the order of the rows, for evaluation */
    uint64_t seed;                    /* of the order; equal on all ranks; 0 */
    uint64_t first_epoch, first_step; /* where to begin, to go on with an earlier run; 0, 0 */
    uint64_t epochs;                  /* ends before this epoch; 0: never ends */
    int threads;                      /* of this rank that prepare batches ahead; 1; 0: dpt_batches_next does */
    int ahead;                        /* batches ready or held at most; 4 */
} dpt_batches_options;

/* Sets struct_size and the defaults above. Local. */
DPT_API void dpt_batches_options_init(dpt_batches_options *options);

/* This rank's part of a global batch. The last batch of an epoch may be smaller; none is dropped or filled up. */
typedef struct dpt_batch {
    uint64_t epoch, step;   /* step within the epoch */
    int64_t first_row;      /* of this rank in the global batch */
    int64_t rows;           /* of this rank; maybe 0 */
    int64_t global_rows;    /* of all ranks: fewer in the last batch of an epoch */
    int arrays;             /* a field each */
    const dpt_array *array; /* as dpt_trainer_step takes them */
    const uint64_t *sample; /* [rows]: their numbers over all */
} dpt_batch;

/* Starts the threads. Borrows the dataset. Collective. DPT_ERR_ARG: an option is out of range. DPT_ERR_CONFIG: options
 * differ between ranks. DPT_ERR_MEMORY. */
DPT_API dpt_status dpt_batches_create(dpt_context *context, const dpt_dataset *dataset,
                                      const dpt_batches_options *options, dpt_batches **batches);
/* Stops at once; a read that is under way is waited for. Takes NULL, nulls *batches. Local. */
DPT_API void dpt_batches_destroy(dpt_batches **batches);
/* Rows of a batch that a rank can get; equal on all ranks: max_rows of a trainer. Local. */
DPT_API int64_t dpt_batches_max_rows(const dpt_batches *batches);
/* Steps of an epoch, with the smaller last one. Local. */
DPT_API uint64_t dpt_batches_steps(const dpt_batches *batches);

/* The next batch, or NULL on all ranks at the end; borrowed until the next call. After each whole epoch the ranks
 * compare what was delivered with every sample once. Collective: where one rank has failed, all of them get its status
 * and message, and at every later call again.
 * DPT_ERR_DATA: a value is NaN, infinite or no class (field, sample and value). Others: as read says, after the names
 * of the field and the rows. DPT_ERR_INTERNAL: a sample is missing or came twice. */
DPT_API dpt_status dpt_batches_next(dpt_batches *batches, const dpt_batch **batch);

#ifdef __cplusplus
}
#endif
#endif
