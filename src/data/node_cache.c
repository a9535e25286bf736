/* node_cache.c: see node_cache.h. The memory (backend/node_memory.h) holds, in this order: a lock of each rank of the
 * host, which that rank holds as long as it lives and its cache exists (a robust mutex: the system frees it when the
 * rank dies, so that others can tell); a state of each chunk kept; the chunks.
 *
 * Invariant: a state is EMPTY, READY or FILLED_BY + a rank of the host. Only the rank whose number stands there writes
 * to the chunk; from READY on nobody does. A state FILLED_BY a rank that has died is anybody's to take over. */
#include "data/node_cache.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "backend/node_memory.h"
#include "base/clock.h"
#include "base/memory.h"
#include "data/dataset_index.h"

enum { EMPTY, READY, FILLED_BY, ALIGNMENT = 64, OVERHEAD = 64 << 10 /* most bytes of locks */ };
static const double MOST_WAIT_S = 10;

/* Where a part's chunks lie. */
typedef struct place {
    uint64_t chunks, kept; /* in all; that have a place */
    uint64_t stride;       /* bytes from one to the next */
    uint64_t first, data;  /* number of the state of the first one; its byte in the memory */
} place;

struct dpt_node_cache {
    dpt_node_memory memory;
    pthread_mutex_t *alive; /* [ranks], in the memory */
    _Atomic uint32_t *state;
    int rank, ranks; /* of the host */
    bool holds_lock, holds_all;
    uint64_t bytes; /* of the memory that is used */
    int parts;
    place *place; /* [parts] */
};

bool dpt_chunks_are_decoded(const dpt_index_field *field, const dpt_index_part *part) {
    if (part->storage != DPT_STORAGE_CHUNKED) return false;
    bool whole = true; /* rows are */
    for (int k = 0; k < field->about.ndim; k++) whole &= part->chunk_dim[k + 1] == (uint64_t)field->about.dim[k];
    return part->pipeline.count > 0 || !whole;
}

static bool is_worth_keeping(const dpt_index_field *field, const dpt_index_part *part) {
    return dpt_chunks_are_decoded(field, part) && part->chunks > 0 && part->chunks <= UINT32_MAX;
}

static uint64_t align(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Bytes of a chunk with its state. */
static uint64_t chunk_cost(const dpt_index_part *part) { return align(part->chunk_bytes) + sizeof(uint32_t); }

/* Saturating. */
static uint64_t add_product(uint64_t sum, uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(sum, product, &sum) ? UINT64_MAX : sum;
}

static uint64_t field_need(const dpt_index *index, int field) {
    uint64_t bytes = 0;
    for (int f = 0; f < index->files; f++) {
        const dpt_index_part *part = &index->part[f * index->fields + field];
        if (is_worth_keeping(&index->field[field], part)) bytes = add_product(bytes, part->chunks, chunk_cost(part));
    }
    return bytes;
}

uint64_t dpt_node_cache_need(const dpt_dataset *dataset) {
    const dpt_index *index = dpt_dataset_index(dataset);
    uint64_t bytes = 0;
    for (int i = 0; i < index->fields; i++) bytes = add_product(bytes, 1, field_need(index, i));
    return bytes;
}

/* A digest is of where values lie: other files may have the same. */
bool dpt_node_cache_serves(const dpt_dataset *dataset, const dpt_dataset *other) {
    const dpt_index *a = dpt_dataset_index(dataset), *b = dpt_dataset_index(other);
    bool same = dpt_dataset_digest(dataset) == dpt_dataset_digest(other) && a->files == b->files;
    for (int f = 0; same && f < a->files; f++)
        same = strcmp(a->file[f].path, b->file[f].path) == 0 && a->file[f].mtime_ns == b->file[f].mtime_ns;
    return same;
}

/* Gives the chunks of a field places within so many bytes, the same share in each file. Returns what they take. */
static uint64_t place_field(dpt_node_cache *c, const dpt_index *index, int field, uint64_t bytes) {
    uint64_t need = field_need(index, field), taken = 0;
    double share = need <= bytes ? 1 : (double)bytes / (double)need;
    for (int f = 0; f < index->files; f++) {
        const int p = f * index->fields + field;
        const dpt_index_part *part = &index->part[p];
        if (!is_worth_keeping(&index->field[field], part)) continue;
        uint64_t kept = need <= bytes ? part->chunks : (uint64_t)((double)part->chunks * share),
                 cost = chunk_cost(part);
        while (kept > 0 && kept * cost > bytes - taken) kept--;
        taken += kept * cost;
        c->place[p] = (place){.chunks = part->chunks, .kept = kept, .stride = align(part->chunk_bytes)};
        c->holds_all &= kept == part->chunks;
    }
    return taken;
}

/* Small fields first: labels beside images are kept whole. */
static dpt_status place_all(dpt_node_cache *c, const dpt_index *index, uint64_t bytes) {
    bool *placed = dpt_alloc_zero((size_t)index->fields, sizeof *placed);
    DPT_CHECK_ALLOC(placed);
    for (int n = 0; n < index->fields; n++) {
        int least = -1;
        for (int i = 0; i < index->fields; i++)
            if (!placed[i] && (least < 0 || field_need(index, i) < field_need(index, least))) least = i;
        placed[least] = true;
        bytes -= place_field(c, index, least, bytes);
    }
    dpt_free(placed);
    return DPT_OK;
}

static uint64_t lock_bytes(const dpt_node_cache *c) { return align((uint64_t)c->ranks * sizeof(pthread_mutex_t)); }

/* Where states and chunks lie in the memory, behind the locks. Returns the bytes of it that are used. */
static uint64_t arrange(dpt_node_cache *c) {
    uint64_t states = 0, at = lock_bytes(c);
    for (int p = 0; p < c->parts; p++) {
        c->place[p].first = states;
        states += c->place[p].kept;
    }
    at = align(at + states * sizeof(uint32_t));
    for (int p = 0; p < c->parts; p++) {
        c->place[p].data = at;
        at += c->place[p].kept * c->place[p].stride;
    }
    return at;
}

/* This rank's lock, held from now on. */
static dpt_status show_alive(dpt_node_cache *c) {
    pthread_mutexattr_t shared;
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
    int error = pthread_mutex_init(&c->alive[c->rank], &shared);
    pthread_mutexattr_destroy(&shared);
    if (error == 0) error = pthread_mutex_lock(&c->alive[c->rank]);
    DPT_CHECK(error == 0, DPT_ERR_MEMORY, "a lock in shared memory: %s", strerror(error));
    c->holds_lock = true;
    return DPT_OK;
}

static dpt_status make_places(const dpt_dataset *dataset, dpt_node_cache *c) {
    const dpt_index *index = dpt_dataset_index(dataset);
    uint64_t bytes = c->memory.bytes;
    c->parts = index->files * index->fields;
    c->holds_all = true;
    c->place = dpt_alloc_zero((size_t)c->parts, sizeof *c->place);
    DPT_CHECK_ALLOC(c->place);
    return place_all(c, index, bytes - OVERHEAD);
}

dpt_status dpt_node_cache_create_in(dpt_node_memory *memory, const dpt_dataset *dataset, int rank, int ranks,
                                    dpt_node_cache **cache) {
    dpt_node_cache *c = *cache = dpt_alloc_zero(1, sizeof *c);
    DPT_CHECK_ALLOC(c);
    dpt_status status = DPT_OK;
    DPT_CHECK_GOTO(memory->bytes >= OVERHEAD, fail, DPT_ERR_ARG, "%llu bytes for chunks",
                   (unsigned long long)memory->bytes);
    c->memory = *memory;
    c->rank = rank;
    c->ranks = ranks;
    DPT_TRY_GOTO(make_places(dataset, c), fail);
    c->bytes = arrange(c);
    DPT_CHECK_GOTO(c->bytes <= c->memory.bytes, fail, DPT_ERR_UNSUPPORTED,
                   "%d ranks of a host: their locks take more than the %d bytes that are there for them", ranks,
                   OVERHEAD);
    c->alive = (pthread_mutex_t *)(void *)c->memory.data;
    c->state = (_Atomic uint32_t *)(void *)(c->memory.data + lock_bytes(c));
    DPT_TRY_GOTO(show_alive(c), fail);
    *memory = (dpt_node_memory){.descriptor = -1};
    return DPT_OK;
fail:
    c->memory.data = NULL; /* is still the caller's */
    c->memory.bytes = 0;
    dpt_node_cache_destroy(cache);
    return status;
}

dpt_status dpt_node_cache_create(const dpt_control *control, const dpt_dataset *dataset, uint64_t bytes,
                                 dpt_node_cache **cache) {
    dpt_node_memory memory = {.descriptor = -1};
    uint64_t need = dpt_node_cache_need(dataset);
    dpt_status status;
    *cache = NULL;
    if (bytes > need) bytes = need;
    if (bytes == 0) return DPT_OK;
    bytes = bytes < INT64_MAX - OVERHEAD ? bytes + OVERHEAD : INT64_MAX;
    status = control ? dpt_node_memory_open(control, bytes, &memory) : dpt_node_memory_open_own(bytes, &memory);
    if (status == DPT_OK && control)
        status = dpt_node_cache_create_in(&memory, dataset, control->local_rank, control->local_world, cache);
    else if (status == DPT_OK)
        status = dpt_node_cache_create_in(&memory, dataset, 0, 1, cache);
    if (control) status = dpt_control_agree(control, status); /* nobody looks at a lock that is not there yet */
    if (status != DPT_OK) dpt_node_cache_destroy(cache);
    dpt_node_memory_close(&memory);
    return status;
}

void dpt_node_cache_destroy(dpt_node_cache **cache) {
    dpt_node_cache *c = *cache;
    *cache = NULL;
    if (c == NULL) return;
    if (c->holds_lock) pthread_mutex_unlock(&c->alive[c->rank]);
    dpt_node_memory_close(&c->memory);
    dpt_free(c->place);
    dpt_free(c);
}

uint64_t dpt_node_cache_bytes(const dpt_node_cache *cache) { return cache->bytes; }

bool dpt_node_cache_holds_all(const dpt_node_cache *cache) { return cache->holds_all; }

/* Of n chunks k are kept: those i where ik/n and (i+1)k/n differ in their whole parts, the first of which is the place.
 */
static bool locate(const dpt_node_cache *c, int part, uint64_t number, dpt_node_chunk *chunk) {
    const place *p = &c->place[part];
    uint64_t at = number;
    if (p->kept == 0) return false;
    if (p->kept < p->chunks) {
        at = number * p->kept / p->chunks;
        if ((number + 1) * p->kept / p->chunks == at) return false;
    }
    *chunk = (dpt_node_chunk){.data = c->memory.data + p->data + at * p->stride, .state = c->state + p->first + at};
    return true;
}

bool dpt_node_cache_has_place(const dpt_node_cache *c, int part, uint64_t number) {
    dpt_node_chunk chunk;
    return locate(c, part, number, &chunk);
}

dpt_node_chunk_state dpt_node_cache_find(const dpt_node_cache *c, int part, uint64_t number, dpt_node_chunk *chunk) {
    bool ready = locate(c, part, number, chunk) && atomic_load_explicit(chunk->state, memory_order_acquire) == READY;
    return ready ? DPT_NODE_CHUNK_READY : DPT_NODE_CHUNK_NONE;
}

/* Whether a rank of the host lives and has its cache. This one's other threads always do. */
static bool is_alive(dpt_node_cache *c, int rank) {
    if (rank == c->rank) return true;
    int error = pthread_mutex_trylock(&c->alive[rank]);
    if (error == EBUSY) return true;
    if (error == EOWNERDEAD) pthread_mutex_consistent(&c->alive[rank]);
    if (error == 0 || error == EOWNERDEAD) pthread_mutex_unlock(&c->alive[rank]);
    return false;
}

/* The chunk is this rank's to fill, if there are pages for it. */
static dpt_node_chunk_state begin(const dpt_node_cache *c, int part, const dpt_node_chunk *chunk) {
    uint64_t offset = (uint64_t)(chunk->data - c->memory.data);
    if (dpt_node_memory_reserve(&c->memory, offset, c->place[part].stride) == DPT_OK) return DPT_NODE_CHUNK_EMPTY;
    dpt_node_chunk_filled(chunk, false);
    return DPT_NODE_CHUNK_NONE;
}

dpt_node_chunk_state dpt_node_cache_take(dpt_node_cache *c, int part, uint64_t number, dpt_node_chunk *chunk) {
    if (!locate(c, part, number, chunk)) return DPT_NODE_CHUNK_NONE;
    const uint32_t mine = FILLED_BY + (uint32_t)c->rank;
    double start_s = 0;
    for (int turn = 0;; turn++) {
        uint32_t seen = atomic_load_explicit(chunk->state, memory_order_acquire);
        if (seen == READY) return DPT_NODE_CHUNK_READY;
        bool is_free = seen == EMPTY || !is_alive(c, (int)(seen - FILLED_BY));
        if (is_free && atomic_compare_exchange_strong(chunk->state, &seen, mine)) return begin(c, part, chunk);
        if (turn == 0) start_s = dpt_clock_s();
        if (dpt_clock_s() - start_s > MOST_WAIT_S) return DPT_NODE_CHUNK_NONE;
        dpt_clock_relax(turn);
    }
}

void dpt_node_chunk_filled(const dpt_node_chunk *chunk, bool ok) {
    atomic_store_explicit(chunk->state, ok ? READY : EMPTY, memory_order_release);
}
