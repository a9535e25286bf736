/* The cache of decoded chunks: what stays and what goes, and one filler where several threads want a chunk. */
#include "data/chunk_cache.h"

#include <pthread.h>
#include <unistd.h>

#include "check.h"

enum { BYTES = 100 };

/* Takes a chunk, fills it with its number if need be, and gives it back. Whether it had to be filled. */
static bool use(dpt_chunk_cache *cache, int field, int part, uint64_t number) {
    dpt_cached_chunk *chunk;
    CHECK_OK(
        dpt_chunk_cache_take(cache, (dpt_chunk_key){.field = field, .part = part, .chunk = number}, BYTES, &chunk));
    bool fresh = !chunk->ready;
    if (fresh) {
        memset(chunk->data, (int)number, BYTES);
        dpt_chunk_cache_filled(cache, chunk, true);
    }
    CHECK(chunk->data[0] == number && chunk->data[BYTES - 1] == number);
    dpt_chunk_cache_give(cache, chunk);
    return fresh;
}

/* The one used longest ago makes room, by taking as by finding. */
static void oldest_goes(void) {
    dpt_chunk_cache *cache;
    CHECK_OK(dpt_chunk_cache_create(3 * BYTES, 1, &cache));
    for (uint64_t i = 0; i < 3; i++) CHECK(use(cache, 0, 0, i));
    CHECK(!use(cache, 0, 0, 0));
    dpt_cached_chunk *found = dpt_chunk_cache_find(cache, (dpt_chunk_key){.chunk = 1});
    CHECK(found && found->data[5] == 1);
    if (found) dpt_chunk_cache_give(cache, found);
    CHECK(use(cache, 0, 0, 3)); /* 2 goes */
    CHECK(!use(cache, 0, 0, 0) && !use(cache, 0, 0, 1) && use(cache, 0, 0, 2));
    CHECK(use(cache, 0, 1, 2)); /* the same number elsewhere is another chunk */
    dpt_chunk_cache_destroy(&cache);
}

/* More chunks than the table had room for at first. */
static void many(void) {
    dpt_chunk_cache *cache;
    CHECK_OK(dpt_chunk_cache_create(200 * BYTES, 2, &cache));
    for (int again = 0; again < 2; again++)
        for (uint64_t i = 0; i < 200; i++) CHECK(use(cache, (int)i % 2, (int)i % 2, i) == (again == 0));
    dpt_chunk_cache_destroy(&cache);
}

static void each_field_keeps_one(void) {
    dpt_chunk_cache *cache;
    CHECK_OK(dpt_chunk_cache_create(0, 2, &cache));
    CHECK(use(cache, 0, 0, 1) && use(cache, 1, 1, 2));
    CHECK(!use(cache, 0, 0, 1) && !use(cache, 1, 1, 2));
    CHECK(use(cache, 0, 0, 3) && !use(cache, 1, 1, 2) && use(cache, 0, 0, 1));
    dpt_chunk_cache_destroy(&cache);
}

static void chunks_in_use_stay(void) {
    dpt_chunk_cache *cache;
    dpt_cached_chunk *held;
    CHECK_OK(dpt_chunk_cache_create(BYTES, 1, &cache));
    CHECK_OK(dpt_chunk_cache_take(cache, (dpt_chunk_key){.chunk = 7}, BYTES, &held));
    memset(held->data, 7, BYTES);
    dpt_chunk_cache_filled(cache, held, true);
    CHECK(use(cache, 0, 0, 8) && use(cache, 0, 0, 9));
    CHECK(held->data[0] == 7 && !use(cache, 0, 0, 7));
    dpt_chunk_cache_give(cache, held);
    CHECK(use(cache, 0, 0, 8) && use(cache, 0, 0, 7));
    dpt_chunk_cache_destroy(&cache);
}

typedef struct waiting {
    dpt_chunk_cache *cache;
    dpt_cached_chunk *got;
    bool had_to_fill;
} waiting;

static void *want_chunk(void *user) {
    waiting *w = user;
    CHECK_OK(dpt_chunk_cache_take(w->cache, (dpt_chunk_key){.chunk = 4}, BYTES, &w->got));
    w->had_to_fill = !w->got->ready;
    if (w->had_to_fill) dpt_chunk_cache_filled(w->cache, w->got, true);
    dpt_chunk_cache_give(w->cache, w->got);
    return NULL;
}

/* Who comes second waits, and takes what was filled; where filling failed it fills itself. */
static void one_fills(void) {
    for (int ok = 0; ok < 2; ok++) {
        waiting w = {0};
        dpt_cached_chunk *chunk;
        pthread_t thread;
        CHECK_OK(dpt_chunk_cache_create(BYTES, 1, &w.cache));
        CHECK_OK(dpt_chunk_cache_take(w.cache, (dpt_chunk_key){.chunk = 4}, BYTES, &chunk));
        CHECK(dpt_chunk_cache_find(w.cache, (dpt_chunk_key){.chunk = 4}) == NULL);
        pthread_create(&thread, NULL, want_chunk, &w);
        usleep(20000);
        dpt_chunk_cache_filled(w.cache, chunk, ok);
        pthread_join(thread, NULL);
        CHECK(w.had_to_fill == !ok && (w.got == chunk) == ok);
        dpt_chunk_cache_give(w.cache, chunk);
        dpt_chunk_cache_destroy(&w.cache);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "chunk_cache", {"oldest_goes", oldest_goes}, {"many", many},
                      {"each_field_keeps_one", each_field_keeps_one}, {"chunks_in_use_stay", chunks_in_use_stay},
                      {"one_fills", one_fills});
}
