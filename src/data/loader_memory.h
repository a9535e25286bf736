/* loader_memory.h: what a loader takes of memory, and how a budget is divided over batches read ahead and decoded
 * chunks. The index of a dataset and the tables of an order are not counted: some bytes a chunk. Nor is the page cache,
 * which is the system's and given back when it is wanted. */
#ifndef DPT_DATA_LOADER_MEMORY_H
#define DPT_DATA_LOADER_MEMORY_H

#include "data/loader.h"

typedef struct dpt_loader_need {
    uint64_t batch_bytes;  /* of a slot: this rank's share of a batch */
    uint64_t thread_bytes; /* of all threads: rows and chunks as stored, and on their way through the filters */
    uint64_t chunk_bytes;  /* the least of decoded chunks: one of each field, and one that each other thread is at */
    int threads;
} dpt_loader_need;

/* Counts, at most INT64_MAX each. Local. Errors of options as dpt_loader_create. */
dpt_status dpt_loader_measure(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_loader_need *need);

/* One batch and what else cannot be done without. */
uint64_t dpt_loader_least(const dpt_loader_need *need);
/* Batches that are read ahead where there is room: as many as make read_ahead bytes, at least 2, at most 1024. With 0
 * bytes: 16 MiB, but 32 at most, at least 4 and one more than threads. */
int dpt_loader_wanted_slots(const dpt_loader_need *need, uint64_t read_ahead);

/* Within so many bytes, at least the least: the wanted slots in half of them (2 in all, where they fit; 1 else), then
 * decoded chunks up to chunk_bytes. Sets slots and cache_bytes of the options. Returns the bytes taken. */
uint64_t dpt_loader_divide(const dpt_loader_need *need, uint64_t bytes, uint64_t read_ahead, uint64_t chunk_bytes,
                           dpt_loader_options *options);

#endif
