/* loader_order.h: which samples a batch of the loader holds. A position of an epoch stands for a row of the part: by
 * `exact` (sampler.h), `lanes` (lanes.h, whose table of an epoch is made when its first batch is filled and kept as
 * long as one is), a table (draws.h), or in the order of the files. A row of the part is a sample of the dataset by the
 * selection. No rank count enters. */
#ifndef DPT_DATA_LOADER_ORDER_H
#define DPT_DATA_LOADER_ORDER_H

#include "data/lanes.h"
#include "data/loader.h"
#include "data/sampler.h"

typedef struct dpt_loader_order dpt_loader_order;

/* Of checked options; borrows the selection and the draws. */
dpt_status dpt_loader_order_create(const dpt_dataset *dataset, const dpt_loader_options *options,
                                   dpt_loader_order **order);
void dpt_loader_order_destroy(dpt_loader_order **order);

/* A global batch while it is filled. */
typedef struct dpt_batch_order {
    const dpt_loader_order *order;
    uint64_t epoch, begin;      /* begin: position of its first row in the epoch */
    int64_t global_rows;        /* of all ranks */
    int64_t first_row, rows;    /* of this rank */
    uint64_t own_begin;         /* `own` only: this rank's first row in what it gives in the epoch */
    struct dpt_lanes_entry *in; /* `lanes` only: holds on to the epoch's table */
    dpt_lanes_batch lanes;
} dpt_batch_order;

/* Any thread. DPT_ERR_MEMORY: the epoch's table; then nothing is to be closed. */
dpt_status dpt_batch_order_open(dpt_loader_order *order, uint64_t epoch, uint64_t step, dpt_batch_order *batch);
void dpt_batch_order_close(dpt_loader_order *order, dpt_batch_order *batch);
/* The samples at rows [first, first + count) of the global batch, of this rank or another. DPT_ERR_MEMORY: of draws. */
dpt_status dpt_batch_order_samples(const dpt_batch_order *batch, int64_t first, int64_t count, uint64_t *sample);

/* Rows of the part that the options mean. Local. */
uint64_t dpt_loader_rows(const dpt_dataset *dataset, const dpt_loader_options *options);

/* dpt_loader_expected (loader.h). */
dpt_status dpt_loader_order_expected(const dpt_loader_order *order, uint64_t epoch, dpt_ledger *share);

#endif
