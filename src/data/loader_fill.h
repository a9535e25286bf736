/* loader_fill.h: one slot of the loader's ring and how it is filled: the samples of a batch, read in runs, converted,
 * checked, augmented, mixed. No threads here: a slot belongs to whoever fills it. */
#ifndef DPT_DATA_LOADER_FILL_H
#define DPT_DATA_LOADER_FILL_H

#include <stdatomic.h>

#include "data/loader.h"
#include "data/loader_order.h"
#include "data/mixup.h"
#include "data/reader.h"

/* What filling needs to know, the same for all slots and unchanged after creation. */
typedef struct dpt_fill_plan {
    const dpt_dataset *dataset;
    dpt_loader_order *order; /* owned */
    int64_t capacity;
    bool in_blocks; /* rows come out of few blocks at a time: order lanes */
    int fields;
    dpt_convert **convert;    /* [fields], owned */
    dpt_augmenter *augmenter; /* NULL: none; owned */
    int augmented;            /* field */
    double mixup;             /* alpha; 0: none */
    int arrays;               /* fields, then the partners' of the last one and lambda, where that holds integers */
    char *partner_name;       /* of that array; owned */
    uint64_t seed;
    uint64_t cache_bytes;
    dpt_node_cache *kept;              /* NULL: none */
    uint64_t raw_bytes;                /* of stored rows that are read together */
    uint64_t row_bytes, scratch_bytes; /* a filler needs raw_bytes and two rows as they come out */
    atomic_bool stop;                  /* filling ends early, with an unusable slot */
} dpt_fill_plan;

typedef struct dpt_slot {
    dpt_batch batch;
    dpt_array *array;
    uint64_t *sample, *partner; /* partner: with mixup */
    dpt_mixup mixup;
    dpt_status status;
    char *message; /* the filler's last error where status is not DPT_OK; owned, NULL if memory ran out */
} dpt_slot;

/* What one thread fills with. */
typedef struct dpt_fill_tools {
    dpt_reader *reader;
    void *scratch; /* plan->scratch_bytes, aligned to 64 */
} dpt_fill_tools;

/* first: another thread's, whose cache of chunks is shared; NULL: none. On failure the tools still want their destroy.
 */
dpt_status dpt_fill_tools_create(const dpt_fill_plan *plan, const dpt_fill_tools *first, dpt_fill_tools *tools);
void dpt_fill_tools_destroy(dpt_fill_tools *tools);

/* Copies what it needs of checked options. On failure the plan still wants dpt_fill_plan_destroy. */
dpt_status dpt_fill_plan_create(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_fill_plan *plan);
void dpt_fill_plan_destroy(dpt_fill_plan *plan);

/* Bytes of a row in a slot: its values, and which sample it is. */
uint64_t dpt_fill_plan_row_bytes(const dpt_fill_plan *plan);

/* The same of a slot: arrays of capacity rows, all zero. */
dpt_status dpt_slot_create(const dpt_fill_plan *plan, dpt_slot *slot);
void dpt_slot_destroy(const dpt_fill_plan *plan, dpt_slot *slot);

/* Fills a slot with this rank's share of global batch (epoch, step). Sets status and message. */
void dpt_slot_fill(const dpt_fill_plan *plan, uint64_t epoch, uint64_t step, const dpt_fill_tools *tools,
                   dpt_slot *slot);

#endif
