/* node_cache.h: decoded chunks that are kept for a whole run, one copy for all ranks of a host: each is decoded once,
 * by whichever rank wants it first. Behind the cache of a reader (chunk_cache.h), which asks here first.
 *
 * Every chunk that is kept has a place of its own from the beginning, and none ever makes room for another: where the
 * memory does not hold all of them, an even share of the largest fields' chunks has a place. In a random order that is
 * the most that can be found again from epoch to epoch (keeping what was used last finds less). */
#ifndef DPT_DATA_NODE_CACHE_H
#define DPT_DATA_NODE_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "backend/node_memory.h"
#include "data/dataset.h"

typedef struct dpt_node_cache dpt_node_cache;

struct dpt_index_field;
struct dpt_index_part;
/* Whether a field's rows in a file are read from decoded chunks, and not where they lie: chunks with filters, and those
 * that cut samples across their axes. Local. */
bool dpt_chunks_are_decoded(const struct dpt_index_field *field, const struct dpt_index_part *part);

/* Bytes that all chunks of a dataset take that have to be decoded, or put together from several; 0: it has none.
 * UINT64_MAX: more than can be counted. Local. */
uint64_t dpt_node_cache_need(const dpt_dataset *dataset);

/* Whether chunks kept of one dataset are those of the other: the same datasets of the same files. Local. */
bool dpt_node_cache_serves(const dpt_dataset *dataset, const dpt_dataset *other);

/* Of at most so many bytes. control: over all ranks, which share it host by host; dataset and bytes are the same on
 * all. NULL: this process's own. *cache is NULL where nothing can be kept. Collective where control is given, with the
 * same result on all ranks. DPT_ERR_MEMORY, DPT_ERR_UNSUPPORTED: as dpt_node_memory_open. */
dpt_status dpt_node_cache_create(const dpt_control *control, const dpt_dataset *dataset, uint64_t bytes,
                                 dpt_node_cache **cache);
/* The same in memory that is there already, and that all ranks of a host map: filled as far as it goes, less 64 KiB for
 * locks. Takes the memory where it succeeds. All ranks have done so before the first chunk is taken. Local.
 * DPT_ERR_UNSUPPORTED: the locks of so many ranks do not fit in 64 KiB. */
dpt_status dpt_node_cache_create_in(dpt_node_memory *memory, const dpt_dataset *dataset, int rank, int ranks,
                                    dpt_node_cache **cache);
/* Local. Chunks of it are in use no more. The thread that created it. */
void dpt_node_cache_destroy(dpt_node_cache **cache);

/* Bytes that it takes once all that it has places for is there. Local. */
uint64_t dpt_node_cache_bytes(const dpt_node_cache *cache);
/* Whether every chunk that dpt_node_cache_need counts has a place. Local. */
bool dpt_node_cache_holds_all(const dpt_node_cache *cache);

typedef enum dpt_node_chunk_state {
    DPT_NODE_CHUNK_NONE,  /* has no place, or cannot be had: the caller keeps it elsewhere */
    DPT_NODE_CHUNK_EMPTY, /* is the caller's to fill, and to say so */
    DPT_NODE_CHUNK_READY
} dpt_node_chunk_state;

/* A place, found. */
typedef struct dpt_node_chunk {
    unsigned char *data;
    _Atomic uint32_t *state;
} dpt_node_chunk;

bool dpt_node_cache_has_place(const dpt_node_cache *cache, int part, uint64_t chunk);
/* Does not wait: READY or NONE. Any thread. */
dpt_node_chunk_state dpt_node_cache_find(const dpt_node_cache *cache, int part, uint64_t number, dpt_node_chunk *chunk);
/* Waits while another thread or rank fills the chunk: until that has ended, its process has, or 10 seconds are over
 * (NONE: nobody hangs for another). Any thread. */
dpt_node_chunk_state dpt_node_cache_take(dpt_node_cache *cache, int part, uint64_t number, dpt_node_chunk *chunk);
/* Ends the filling; a chunk that could not be filled is the next one's to fill. */
void dpt_node_chunk_filled(const dpt_node_chunk *chunk, bool ok);

#endif
