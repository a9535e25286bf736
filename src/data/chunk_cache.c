/* chunk_cache.c: a hash table of chunks, which are also on a list by last use. All under one lock, but for the filling
 * and reading of data. What a node cache keeps passes by all that: such a chunk is made for its taker alone, around
 * data that lie there.
 *
 * Invariant: a chunk in use (users > 0) is neither freed nor given to another key. */
#include "data/chunk_cache.h"

#include <pthread.h>

#include "base/memory.h"

enum { FIRST_BUCKETS = 64, ALIGNMENT = 64 };

struct dpt_chunk_cache {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    uint64_t limit, used; /* bytes */
    uint64_t chunks;
    uint64_t buckets; /* a power of 2 */
    dpt_cached_chunk **bucket;
    dpt_cached_chunk *newest, *oldest;
    uint64_t *of_field; /* [field]: chunks of it */
    dpt_node_cache *kept;
};

dpt_status dpt_chunk_cache_create(uint64_t bytes, int fields, dpt_chunk_cache **cache) {
    dpt_chunk_cache *c = *cache = dpt_alloc_zero(1, sizeof *c);
    DPT_CHECK_ALLOC(c);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->filled, NULL);
    c->limit = bytes;
    c->buckets = FIRST_BUCKETS;
    c->bucket = dpt_alloc_zero(c->buckets, sizeof(dpt_cached_chunk *));
    c->of_field = dpt_alloc_zero((size_t)fields, sizeof *c->of_field);
    if (c->bucket && c->of_field) return DPT_OK;
    dpt_chunk_cache_destroy(cache);
    return DPT_ERR_MEMORY;
}

void dpt_chunk_cache_keep(dpt_chunk_cache *cache, dpt_node_cache *kept) { cache->kept = kept; }

bool dpt_chunk_cache_keeps(const dpt_chunk_cache *cache, dpt_chunk_key key) {
    return cache->kept && dpt_node_cache_has_place(cache->kept, key.part, key.chunk);
}

static void release(dpt_cached_chunk *chunk) {
    dpt_free(chunk->data);
    dpt_free(chunk);
}

void dpt_chunk_cache_destroy(dpt_chunk_cache **cache) {
    dpt_chunk_cache *c = *cache;
    *cache = NULL;
    if (c == NULL) return;
    for (dpt_cached_chunk *chunk = c->newest, *older; chunk; chunk = older) {
        older = chunk->older;
        release(chunk);
    }
    pthread_cond_destroy(&c->filled);
    pthread_mutex_destroy(&c->lock);
    dpt_free(c->bucket);
    dpt_free(c->of_field);
    dpt_free(c);
}

static uint64_t bucket_of(const dpt_chunk_cache *c, dpt_chunk_key key) {
    uint64_t mixed = (key.chunk + ((uint64_t)(uint32_t)key.part << 40)) * 0x9e3779b97f4a7c15u;
    return (mixed ^ mixed >> 32) & (c->buckets - 1);
}

static dpt_cached_chunk *search(const dpt_chunk_cache *c, dpt_chunk_key key) {
    dpt_cached_chunk *chunk = c->bucket[bucket_of(c, key)];
    while (chunk && (chunk->key.chunk != key.chunk || chunk->key.part != key.part)) chunk = chunk->next;
    return chunk;
}

static void leave_list(dpt_chunk_cache *c, dpt_cached_chunk *chunk) {
    *(chunk->newer ? &chunk->newer->older : &c->newest) = chunk->older;
    *(chunk->older ? &chunk->older->newer : &c->oldest) = chunk->newer;
}

static void enter_list(dpt_chunk_cache *c, dpt_cached_chunk *chunk) {
    chunk->newer = NULL;
    chunk->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = chunk;
    c->newest = chunk;
}

static void insert(dpt_chunk_cache *c, dpt_cached_chunk *chunk) {
    uint64_t at = bucket_of(c, chunk->key);
    chunk->next = c->bucket[at];
    c->bucket[at] = chunk;
    enter_list(c, chunk);
    c->used += chunk->bytes;
    c->of_field[chunk->key.field]++;
    c->chunks++;
}

static void take_out(dpt_chunk_cache *c, dpt_cached_chunk *chunk) {
    dpt_cached_chunk **link = &c->bucket[bucket_of(c, chunk->key)];
    while (*link != chunk) link = &(*link)->next;
    *link = chunk->next;
    leave_list(c, chunk);
    c->used -= chunk->bytes;
    c->of_field[chunk->key.field]--;
    c->chunks--;
}

/* As many buckets as chunks; where there is no memory for more, the chains grow. */
static void widen(dpt_chunk_cache *c) {
    if (c->chunks < c->buckets) return;
    dpt_cached_chunk **more = dpt_alloc_zero(2 * c->buckets, sizeof(dpt_cached_chunk *));
    if (more == NULL) return;
    dpt_free(c->bucket);
    c->bucket = more;
    c->buckets *= 2;
    for (dpt_cached_chunk *chunk = c->newest; chunk; chunk = chunk->older) {
        uint64_t at = bucket_of(c, chunk->key);
        chunk->next = more[at];
        more[at] = chunk;
    }
}

/* The chunk that was used longest ago and may go to make room for one of a field. */
static dpt_cached_chunk *find_oldest(const dpt_chunk_cache *c, int field) {
    dpt_cached_chunk *chunk = c->oldest;
    while (chunk && (chunk->users > 0 || (chunk->key.field != field && c->of_field[chunk->key.field] == 1)))
        chunk = chunk->newer;
    return chunk;
}

/* A chunk for a key, out of the list: one that had to go, if its size fits, as fresh memory costs more than reading. */
static dpt_cached_chunk *make_chunk(dpt_chunk_cache *c, dpt_chunk_key key, uint64_t bytes) {
    dpt_cached_chunk *chunk = NULL, *old;
    while (c->used > c->limit - (bytes < c->limit ? bytes : c->limit) && (old = find_oldest(c, key.field)) != NULL) {
        take_out(c, old);
        if (chunk == NULL && old->bytes == bytes)
            chunk = old;
        else
            release(old);
    }
    unsigned char *data = chunk ? chunk->data : dpt_alloc_aligned(bytes, ALIGNMENT);
    if (chunk == NULL && data) chunk = dpt_alloc(sizeof *chunk);
    if (chunk)
        *chunk = (dpt_cached_chunk){.data = data, .key = key, .bytes = bytes, .users = 1};
    else
        dpt_free(data);
    return chunk;
}

/* A chunk of the node cache as one of this; NULL: no memory. */
static dpt_cached_chunk *wrap(const dpt_node_chunk *in, dpt_chunk_key key, bool ready) {
    dpt_cached_chunk *chunk = dpt_alloc(sizeof *chunk);
    if (chunk) *chunk = (dpt_cached_chunk){.data = in->data, .ready = ready, .key = key, .kept = in->state};
    return chunk;
}

dpt_cached_chunk *dpt_chunk_cache_find(dpt_chunk_cache *c, dpt_chunk_key key) {
    dpt_node_chunk in;
    if (c->kept && dpt_node_cache_find(c->kept, key.part, key.chunk, &in) == DPT_NODE_CHUNK_READY)
        return wrap(&in, key, true);
    pthread_mutex_lock(&c->lock);
    dpt_cached_chunk *chunk = search(c, key);
    if (chunk && chunk->ready) {
        chunk->users++;
        leave_list(c, chunk);
        enter_list(c, chunk);
    } else {
        chunk = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    return chunk;
}

static dpt_status take_kept(dpt_chunk_cache *c, dpt_chunk_key key, dpt_cached_chunk **chunk) {
    dpt_node_chunk in;
    dpt_node_chunk_state state = dpt_node_cache_take(c->kept, key.part, key.chunk, &in);
    if (state == DPT_NODE_CHUNK_NONE) return DPT_OK;
    *chunk = wrap(&in, key, state == DPT_NODE_CHUNK_READY);
    if (*chunk == NULL && state == DPT_NODE_CHUNK_EMPTY) dpt_node_chunk_filled(&in, false);
    return *chunk ? DPT_OK : DPT_ERR_MEMORY;
}

dpt_status dpt_chunk_cache_take(dpt_chunk_cache *c, dpt_chunk_key key, uint64_t bytes, dpt_cached_chunk **chunk) {
    /* what could not be had there, after a wait or for want of pages, is here already and not tried for again */
    *chunk = c->kept ? dpt_chunk_cache_find(c, key) : NULL;
    if (c->kept && *chunk == NULL) DPT_TRY(take_kept(c, key, chunk));
    if (*chunk) return DPT_OK;
    pthread_mutex_lock(&c->lock);
    dpt_cached_chunk *found;
    while ((found = search(c, key)) != NULL && !found->ready) pthread_cond_wait(&c->filled, &c->lock);
    if (found) {
        found->users++;
        leave_list(c, found);
        enter_list(c, found);
    } else if ((found = make_chunk(c, key, bytes)) != NULL) {
        insert(c, found);
        widen(c);
    }
    pthread_mutex_unlock(&c->lock);
    *chunk = found;
    return found ? DPT_OK : DPT_ERR_MEMORY;
}

void dpt_chunk_cache_filled(dpt_chunk_cache *c, dpt_cached_chunk *chunk, bool ok) {
    if (chunk->kept) {
        chunk->ready = ok;
        dpt_node_chunk_filled(&(dpt_node_chunk){.data = chunk->data, .state = chunk->kept}, ok);
        return;
    }
    pthread_mutex_lock(&c->lock);
    if (ok)
        chunk->ready = true;
    else
        take_out(c, chunk);
    chunk->failed = !ok;
    pthread_cond_broadcast(&c->filled);
    pthread_mutex_unlock(&c->lock);
}

void dpt_chunk_cache_give(dpt_chunk_cache *c, dpt_cached_chunk *chunk) {
    if (chunk->kept) {
        dpt_free(chunk);
        return;
    }
    pthread_mutex_lock(&c->lock);
    bool last = --chunk->users == 0 && chunk->failed;
    pthread_mutex_unlock(&c->lock);
    if (last) release(chunk);
}
