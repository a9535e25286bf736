/* reader.h: one thread's way to the rows of a dataset: read with pread where the index says they lie, chunks decoded
 * here and kept in a cache. HDF5 is not called.
 *
 *   DPT_TRY(dpt_reader_create(dataset, 64 << 20, &reader));
 *   DPT_TRY(dpt_reader_rows(reader, field, row, count, out)); */
#ifndef DPT_DATA_READER_H
#define DPT_DATA_READER_H

#include "data/dataset.h"
#include "data/node_cache.h"

typedef struct dpt_reader dpt_reader;

/* Borrows the dataset. Keeps decoded chunks of at most cache_bytes in all, but one of each field in any case; only
 * chunks that are filtered, or cut across the axes of a sample, are kept at all. Local. */
dpt_status dpt_reader_create(const dpt_dataset *dataset, uint64_t cache_bytes, dpt_reader **reader);
/* Chunks that have a place in a node cache (node_cache.h) are kept there, for this reader and those that share its
 * cache. Before the first row is read; borrowed; NULL: none. Local. */
void dpt_reader_keep(dpt_reader *reader, dpt_node_cache *kept);
/* From here on rows come out of few blocks at a time, any order within, as order lanes brings them: 1 MiB of the rows
 * of the field with the longest ones, or a chunk. The system is told to read such a block as a whole when its first row
 * in this epoch is wanted. Local. DPT_ERR_MEMORY. */
dpt_status dpt_reader_in_blocks(dpt_reader *reader, uint64_t epoch);
/* A reader for another thread, on the same dataset and the same cache, whichever of the two is destroyed first: a chunk
 * is decoded once for both. Local. */
dpt_status dpt_reader_share(const dpt_reader *first, dpt_reader **reader);
void dpt_reader_destroy(dpt_reader **reader);

/* Reads rows [row, row + count) of a field as they are stored into out. One thread at a time. Local.
 * DPT_ERR_ARG: rows outside the dataset. DPT_ERR_IO: the file could not be read (what may pass, as an
 * input/output error or a time-out, is tried 4 times), or ended early. DPT_ERR_DATA: a chunk is damaged, or the file
 * was changed after the index was made, which is looked at once a second and after every failure. Messages name file,
 * dataset, rows and chunk. */
dpt_status dpt_reader_rows(dpt_reader *reader, int field, uint64_t row, uint64_t count, void *out);

/* What a reader has done so far. */
typedef struct dpt_reader_work {
    uint64_t chunks;  /* decoded */
    uint64_t bytes;   /* read from files */
    uint64_t retries; /* reads that failed and were tried again */
} dpt_reader_work;

/* By the thread that reads, or once it does not. Local. */
dpt_reader_work dpt_reader_done(const dpt_reader *reader);
/* Chunks alone. Local. */
uint64_t dpt_reader_chunks(const dpt_reader *reader);

#endif
