/* rank_order.c: see rank_order.h. */
#include "data/rank_order.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset_source.h"
#include "data/sampler.h"

typedef unsigned __int128 wide;

struct dpt_rank_order {
    int rank, world;
    bool shuffle;
    int64_t global_batch;
    dpt_order order;  /* of this rank's rows */
    uint64_t first[]; /* [world + 1] */
};

dpt_status dpt_rank_order_create(const dpt_dataset *dataset, const dpt_loader_options *options,
                                 dpt_rank_order **order) {
    int world = 0;
    const uint64_t *first = dpt_dataset_own_rows(dataset, &world);
    *order = NULL;
    return first ? dpt_rank_order_of(first, world, options, order) : DPT_OK;
}

dpt_status dpt_rank_order_of(const uint64_t *first, int world, const dpt_loader_options *options,
                             dpt_rank_order **order) {
    *order = NULL;
    DPT_CHECK(options->world == world, DPT_ERR_ARG, "%d ranks load what %d ranks hold, each its own", options->world,
              world);
    DPT_CHECK(!options->selection && !options->draws && options->mixup == 0, DPT_ERR_UNSUPPORTED,
              "where each rank holds samples of its own there are neither parts of them, nor weights, nor mixup");
    dpt_rank_order *o = dpt_alloc(sizeof *o + (size_t)(world + 1) * sizeof *o->first);
    DPT_CHECK_ALLOC(o);
    *o = (dpt_rank_order){
        .rank = options->rank, .world = world, .shuffle = options->shuffle, .global_batch = options->global_batch};
    memcpy(o->first, first, (size_t)(world + 1) * sizeof *first);
    uint64_t rank = (uint64_t)options->rank, rows = first[rank + 1] - first[rank];
    uint64_t key = dpt_hash(&rank, sizeof rank, dpt_hash("own", 3, options->seed));
    if (rows > 0) o->order = dpt_order_keyed(rows, key);
    *order = o;
    return DPT_OK;
}

void dpt_rank_order_destroy(dpt_rank_order **order) {
    dpt_free(*order);
    *order = NULL;
}

int64_t dpt_rank_order_capacity(const dpt_rank_order *o) {
    int64_t most = 0;
    for (int r = 0; r < o->world; r++) { /* the largest share of a batch, rounded up at each halving */
        uint64_t rows = (uint64_t)o->global_batch;
        for (int a = 0, b = o->world; b - a > 1;) {
            int middle = a + (b - a) / 2, left = r < middle;
            uint64_t n = o->first[b] - o->first[a], l = o->first[middle] - o->first[a], part = left ? l : n - l;
            if (n > 0) rows = (uint64_t)(((wide)rows * part + n - 1) / n);
            if (left)
                b = middle;
            else
                a = middle;
        }
        uint64_t held = o->first[r + 1] - o->first[r];
        if (rows > held) rows = held;
        if ((int64_t)rows > most) most = (int64_t)rows;
    }
    return most;
}

/* Of the first c samples of an epoch: how many this rank gives, and how many the ranks before it. */
static void share(const dpt_rank_order *o, uint64_t c, uint64_t *before, uint64_t *mine) {
    *before = 0;
    for (int a = 0, b = o->world; b - a > 1;) {
        int middle = a + (b - a) / 2;
        uint64_t n = o->first[b] - o->first[a], l = o->first[middle] - o->first[a];
        uint64_t left = n > 0 ? (uint64_t)(((wide)c * l + n / 2) / n) : 0;
        if (o->rank < middle) {
            c = left;
            b = middle;
        } else {
            *before += left;
            c -= left;
            a = middle;
        }
    }
    *mine = c;
}

void dpt_rank_order_batch(const dpt_rank_order *o, uint64_t step, int64_t *first_row, int64_t *rows, uint64_t *begin) {
    uint64_t all = o->first[o->world], from, to, before, before_end, mine_end;
    if (__builtin_mul_overflow(step, (uint64_t)o->global_batch, &from) || from > all) from = all;
    to = all - from < (uint64_t)o->global_batch ? all : from + (uint64_t)o->global_batch;
    share(o, from, &before, begin);
    share(o, to, &before_end, &mine_end);
    *first_row = (int64_t)(before_end - before);
    *rows = (int64_t)(mine_end - *begin);
}

uint64_t dpt_rank_order_sample(const dpt_rank_order *o, uint64_t epoch, uint64_t j) {
    return o->first[o->rank] + (o->shuffle ? dpt_order_exact(&o->order, epoch, j) : j);
}
