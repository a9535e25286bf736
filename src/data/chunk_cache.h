/* chunk_cache.h: decoded chunks that threads share: each is filled once, by the thread that asks first, while the
 * others that want it wait; the ones used longest ago make room.
 *
 *   DPT_TRY(dpt_chunk_cache_take(cache, key, bytes, &chunk));
 *   if (!chunk->ready) dpt_chunk_cache_filled(cache, chunk, fill(chunk->data) == DPT_OK);
 *   ... chunk->data ...
 *   dpt_chunk_cache_give(cache, chunk); */
#ifndef DPT_DATA_CHUNK_CACHE_H
#define DPT_DATA_CHUNK_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "data/node_cache.h"

typedef struct dpt_chunk_key {
    int field, part; /* of the index */
    uint64_t chunk;
} dpt_chunk_key;

typedef struct dpt_cached_chunk {
    unsigned char *data;
    bool ready; /* otherwise it is the taker's to fill */
    bool failed;
    dpt_chunk_key key;
    uint64_t bytes;
    _Atomic uint32_t *kept; /* its state in a node cache, where its data are; NULL: they are here */
    int users;
    struct dpt_cached_chunk *newer, *older; /* by last use */
    struct dpt_cached_chunk *next;          /* of the same bucket */
} dpt_cached_chunk;

typedef struct dpt_chunk_cache dpt_chunk_cache;

/* For a number of fields and so many bytes in all. Of each field one chunk may stay whatever the bytes are, and chunks
 * in use always do. */
dpt_status dpt_chunk_cache_create(uint64_t bytes, int fields, dpt_chunk_cache **cache);
/* Chunks that have a place in a node cache are kept there instead, and count for nothing here. Before the first chunk
 * is taken; borrowed; NULL: none. */
void dpt_chunk_cache_keep(dpt_chunk_cache *cache, dpt_node_cache *kept);
/* Whether it has one: then it is worth keeping a chunk all of whose rows are read at once. Any thread. */
bool dpt_chunk_cache_keeps(const dpt_chunk_cache *cache, dpt_chunk_key key);
/* No chunk is in use. */
void dpt_chunk_cache_destroy(dpt_chunk_cache **cache);

/* The chunk, if it is there and ready, in use until given back; NULL otherwise. Any thread. */
dpt_cached_chunk *dpt_chunk_cache_find(dpt_chunk_cache *cache, dpt_chunk_key key);
/* The chunk, in use until given back; where it is not ready the caller fills it and says so. Waits while another thread
 * fills it. Any thread. DPT_ERR_MEMORY. */
dpt_status dpt_chunk_cache_take(dpt_chunk_cache *cache, dpt_chunk_key key, uint64_t bytes, dpt_cached_chunk **chunk);
/* Ends the filling. A chunk that could not be filled is forgotten; whoever waits for it tries for itself. */
void dpt_chunk_cache_filled(dpt_chunk_cache *cache, dpt_cached_chunk *chunk, bool ok);
void dpt_chunk_cache_give(dpt_chunk_cache *cache, dpt_cached_chunk *chunk);

#endif
