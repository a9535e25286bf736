/* draws_buckets.c: order `buckets` (draws.h). A window's rows are found, sorted and cut when one of them is asked for;
 * the tables of the last few windows are kept, for the threads of a loader, which are at neighbouring batches.
 *
 * Invariant: tables are made and read under the lock, so threads that need a new one wait for a single one to be made.
 */
#include "data/draws_buckets.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/sampler.h"

enum { KEPT = 4 };

typedef struct member {
    uint64_t length, position, row;
} member;

typedef struct table {
    bool filled;
    uint64_t epoch, window, used; /* used: when, by the clock below */
    uint64_t *row;                /* [window_rows] */
} table;

struct dpt_buckets {
    uint64_t *length; /* [rows] */
    dpt_order shuffled;
    uint64_t key, batch;
    uint64_t whole;       /* rows of all whole batches */
    uint64_t window_rows; /* of a full window */
    pthread_mutex_t lock; /* for: */
    table kept[KEPT];
    uint64_t clock;
};

uint64_t dpt_draws_key(uint64_t key, uint64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(number >> (8 * i));
    return dpt_hash(bytes, sizeof bytes, key);
}

dpt_status dpt_buckets_create(const uint64_t *length, uint64_t rows, uint64_t key, int64_t global_batch,
                              int64_t batches, dpt_buckets **buckets) {
    *buckets = NULL;
    DPT_CHECK(global_batch > 0 && batches > 0, DPT_ERR_ARG, "windows of %lld batches of %lld rows", (long long)batches,
              (long long)global_batch);
    dpt_buckets *b = dpt_alloc_zero(1, sizeof *b);
    DPT_CHECK_ALLOC(b);
    pthread_mutex_init(&b->lock, NULL);
    b->shuffled = dpt_order_keyed(rows, key);
    b->key = key;
    b->batch = (uint64_t)global_batch;
    b->whole = rows - rows % b->batch;
    if (__builtin_mul_overflow(b->batch, (uint64_t)batches, &b->window_rows) || b->window_rows > b->whole)
        b->window_rows = b->whole;
    b->length = rows <= SIZE_MAX / sizeof *b->length ? dpt_alloc((size_t)rows * sizeof *b->length) : NULL;
    if (b->length == NULL) {
        dpt_buckets_destroy(&b);
        return DPT_ERR_MEMORY;
    }
    for (uint64_t i = 0; i < rows; i++) b->length[i] = length[i];
    *buckets = b;
    return DPT_OK;
}

void dpt_buckets_destroy(dpt_buckets **buckets) {
    dpt_buckets *b = *buckets;
    *buckets = NULL;
    if (b == NULL) return;
    for (int i = 0; i < KEPT; i++) dpt_free(b->kept[i].row);
    pthread_mutex_destroy(&b->lock);
    dpt_free(b->length);
    dpt_free(b);
}

static int by_length(const void *a, const void *b) {
    const member *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return x->position < y->position ? -1 : x->position > y->position;
}

static int by_position(const void *a, const void *b) {
    const member *x = a, *y = b;
    return x->position < y->position ? -1 : x->position > y->position;
}

/* The rows of a window of m batches, as they come. */
static void fill(const dpt_buckets *b, uint64_t epoch, uint64_t window, uint64_t m, member *members, uint64_t *row) {
    uint64_t first = window * b->window_rows, rows = m * b->batch;
    dpt_order places = dpt_order_keyed(m, dpt_draws_key(b->key, window));
    dpt_order_run(&b->shuffled, epoch, first, rows, row);
    for (uint64_t i = 0; i < rows; i++) members[i] = (member){b->length[row[i]], i, row[i]};
    qsort(members, (size_t)rows, sizeof *members, by_length);
    for (uint64_t j = 0; j < m; j++) {
        member *batch = members + dpt_order_exact(&places, epoch, j) * b->batch;
        qsort(batch, (size_t)b->batch, sizeof *batch, by_position);
        for (uint64_t i = 0; i < b->batch; i++) row[j * b->batch + i] = batch[i].row;
    }
}

/* The table of a window, made in the place of the one that was used longest ago where it is not there. Under the lock.
 */
static dpt_status find_table(dpt_buckets *b, uint64_t epoch, uint64_t window, const table **found) {
    table *oldest = &b->kept[0];
    for (int i = 0; i < KEPT; i++) {
        table *t = &b->kept[i];
        if (t->filled && t->epoch == epoch && t->window == window) {
            t->used = ++b->clock;
            *found = t;
            return DPT_OK;
        }
        if (t->used < oldest->used) oldest = t;
    }
    uint64_t left = b->whole - window * b->window_rows, rows = left < b->window_rows ? left : b->window_rows;
    member *members = rows <= SIZE_MAX / sizeof *members ? dpt_alloc((size_t)rows * sizeof *members) : NULL;
    DPT_CHECK_ALLOC(members);
    if (oldest->row == NULL) oldest->row = dpt_alloc((size_t)b->window_rows * sizeof *oldest->row);
    if (oldest->row) {
        fill(b, epoch, window, rows / b->batch, members, oldest->row);
        *oldest = (table){.filled = true, .epoch = epoch, .window = window, .used = ++b->clock, .row = oldest->row};
    }
    dpt_free(members);
    DPT_CHECK_ALLOC(oldest->row);
    *found = oldest;
    return DPT_OK;
}

dpt_status dpt_buckets_rows(dpt_buckets *b, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row) {
    while (count > 0 && position < b->whole) {
        const table *t;
        uint64_t window = position / b->window_rows, at = position % b->window_rows;
        uint64_t n = b->window_rows - at < b->whole - position ? b->window_rows - at : b->whole - position;
        if (n > count) n = count;
        pthread_mutex_lock(&b->lock);
        dpt_status status = find_table(b, epoch, window, &t);
        for (uint64_t i = 0; status == DPT_OK && i < n; i++) row[i] = t->row[at + i];
        pthread_mutex_unlock(&b->lock);
        if (status != DPT_OK) return status;
        row += n;
        position += n;
        count -= n;
    }
    dpt_order_run(&b->shuffled, epoch, position, count, row);
    return DPT_OK;
}
