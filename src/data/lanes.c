/* lanes.c: see lanes.h, which is the definition; lanes_bounds.c holds what is known of a shape without its epochs.
 *
 * A table has a lane's blocks one after the other: the first row of each, and how many of the lane come before it. Row
 * t of a lane is found by two searches, for its window and for its block, around one permutation. */
#include "data/lanes.h"

#include <stdbool.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/lanes_bounds.h"
#include "data/sampler.h"

typedef unsigned __int128 wide;

enum { TOGETHER = 64, PIECE = 1024 }; /* rows of any lanes, and places, that are permuted at a time */

typedef struct block {
    uint64_t before; /* rows of the lane */
    uint64_t first;  /* its first row */
} block;

struct dpt_lanes {
    int lanes;
    uint64_t window, key, epoch;
    uint64_t rows[DPT_LANES_MAX + 1];  /* of the lanes before it; in the end N */
    uint64_t place[DPT_LANES_MAX + 1]; /* of its first block in the table */
    block *block;
};

/* Where blocks lie: `begin` of a shape, or its files, with the blocks and rows before each. */
typedef struct layout {
    const uint64_t *begin; /* NULL: of files */
    const dpt_lanes_file *file;
    uint64_t *blocks, *rows;
    int files;
} layout;

static void find_block(const layout *f, uint64_t b, uint64_t *first, uint64_t *rows) {
    if (f->begin) {
        *first = f->begin[b];
        *rows = f->begin[b + 1] - f->begin[b];
        return;
    }
    int low = 0, high = f->files - 1;
    while (low < high) { /* the last file that begins at or before it; empty ones in between hold none */
        int middle = low + (high - low + 1) / 2;
        if (f->blocks[middle] <= b)
            low = middle;
        else
            high = middle - 1;
    }
    const dpt_lanes_file *file = &f->file[low];
    uint64_t in_file = (b - f->blocks[low]) * file->block_rows, left = file->rows - in_file;
    *first = f->rows[low] + in_file;
    *rows = left < file->block_rows ? left : file->block_rows;
}

static dpt_status open_layout(const dpt_lanes_shape *shape, layout *f) {
    *f = (layout){.begin = shape->begin, .file = shape->file, .files = shape->files};
    if (shape->begin) return DPT_OK;
    f->blocks = dpt_alloc_zero((size_t)shape->files, sizeof *f->blocks);
    f->rows = dpt_alloc_zero((size_t)shape->files, sizeof *f->rows);
    if (!f->blocks || !f->rows) return DPT_ERR_MEMORY;
    for (int i = 1; i < shape->files; i++) {
        f->blocks[i] = f->blocks[i - 1] + dpt_lanes_file_blocks(&shape->file[i - 1]);
        f->rows[i] = f->rows[i - 1] + shape->file[i - 1].rows;
    }
    return DPT_OK;
}

/* Lane after lane, each with its blocks in the order of places. */
static void deal(const dpt_lanes_shape *shape, const layout *f, uint64_t blocks, dpt_lanes *l) {
    uint64_t filled[DPT_LANES_MAX] = {0}, rows[DPT_LANES_MAX] = {0}, dealt[PIECE];
    dpt_order order = dpt_order_keyed(blocks, l->key);
    for (int i = 0; i < l->lanes; i++)
        l->place[i + 1] = l->place[i] + dpt_lanes_range_blocks(blocks, shape->lanes, i, i + 1);
    for (uint64_t p = 0; p < blocks; p++) {
        if (p % PIECE == 0) dpt_order_run(&order, l->epoch, p, blocks - p < PIECE ? blocks - p : PIECE, dealt);
        int lane = dpt_lanes_of_place(blocks, shape->lanes, p);
        block *b = &l->block[l->place[lane] + filled[lane]++];
        uint64_t block_rows;
        find_block(f, dealt[p % PIECE], &b->first, &block_rows);
        b->before = rows[lane];
        rows[lane] += block_rows;
    }
    for (int i = 0; i < l->lanes; i++) l->rows[i + 1] = l->rows[i] + rows[i];
}

dpt_status dpt_lanes_create(const dpt_lanes_shape *shape, uint64_t epoch, dpt_lanes **lanes) {
    *lanes = NULL;
    DPT_TRY(dpt_lanes_check(shape));
    layout f = {0};
    uint64_t blocks = dpt_lanes_blocks(shape);
    dpt_status status = DPT_OK;
    dpt_lanes *l = dpt_alloc_zero(1, sizeof *l);
    DPT_CHECK_ALLOC_GOTO(l, fail);
    l->lanes = shape->lanes;
    l->window = shape->window;
    l->key = dpt_random_key("lanes", shape->seed);
    l->epoch = epoch;
    DPT_CHECK_GOTO(blocks <= SIZE_MAX / 2 / sizeof *l->block, fail, DPT_ERR_MEMORY,
                   "out of memory for a table of %llu blocks", (unsigned long long)blocks);
    l->block = dpt_alloc_zero(blocks, sizeof *l->block);
    DPT_CHECK_ALLOC_GOTO(l->block, fail);
    DPT_TRY_GOTO(open_layout(shape, &f), fail);
    deal(shape, &f, blocks, l);
    *lanes = l;
    l = NULL;
fail:
    dpt_free(f.blocks);
    dpt_free(f.rows);
    dpt_lanes_destroy(&l);
    return status;
}

void dpt_lanes_destroy(dpt_lanes **lanes) {
    if (*lanes) dpt_free((*lanes)->block);
    dpt_free(*lanes);
    *lanes = NULL;
}

uint64_t dpt_lanes_length(const dpt_lanes *lanes, int lane) { return lanes->rows[lane + 1] - lanes->rows[lane]; }

/* The last of blocks 0, step, 2 step, ... of n with no more than t rows before it. */
static uint64_t search(const block *b, uint64_t n, uint64_t step, uint64_t t) {
    uint64_t low = 0, high = (n - 1) / step;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (b[middle * step].before <= t)
            low = middle;
        else
            high = middle - 1;
    }
    return low * step;
}

static uint64_t window_key(const dpt_lanes *l, int lane, uint64_t window) {
    unsigned char b[16];
    for (int i = 0; i < 8; i++) {
        b[i] = (unsigned char)((uint64_t)lane >> (8 * i));
        b[8 + i] = (unsigned char)(window >> (8 * i));
    }
    return dpt_hash(b, sizeof b, l->key);
}

/* Rows that are found together, of whichever lanes: where each stands in its window, and the window. */
typedef struct crowd {
    const dpt_lanes *lanes;
    uint64_t *row; /* where the next ones go */
    uint64_t position[TOGETHER];
    const dpt_order *order[TOGETHER];
    int count, windows;
    struct {
        dpt_order order;
        const block *block; /* its first one */
        uint64_t blocks, rows;
    } window[TOGETHER];
} crowd;

static void find(crowd *c) {
    uint64_t row[TOGETHER];
    dpt_order_each(c->order, c->lanes->epoch, c->position, (uint64_t)c->count, row);
    for (int w = 0, i = 0; w < c->windows; w++) {
        const block *first = c->window[w].block;
        for (uint64_t k = 0; k < c->window[w].rows; k++, i++) {
            uint64_t of_lane = first->before + row[i];
            const block *in = first + search(first, c->window[w].blocks, 1, of_lane);
            *c->row++ = in->first + (of_lane - in->before);
        }
    }
    c->count = c->windows = 0;
}

/* Adds rows of a lane from t on that lie in one window, whose blocks begin at `first` of the lane's; returns how many.
 */
static uint64_t add_window(crowd *c, int lane, uint64_t first, uint64_t t, uint64_t count) {
    const dpt_lanes *l = c->lanes;
    const block *b = l->block + l->place[lane] + first;
    uint64_t blocks = l->place[lane + 1] - l->place[lane] - first;
    bool last = blocks <= l->window;
    uint64_t end = last ? dpt_lanes_length(l, lane) : b[l->window].before;
    if (c->count == TOGETHER) find(c);
    if (count > end - t) count = end - t;
    if (count > (uint64_t)(TOGETHER - c->count)) count = (uint64_t)(TOGETHER - c->count);
    int w = c->windows++;
    c->window[w].order = dpt_order_keyed(end - b->before, window_key(l, lane, first / l->window));
    c->window[w].block = b;
    c->window[w].blocks = last ? blocks : l->window;
    c->window[w].rows = count;
    for (uint64_t i = 0; i < count; i++, c->count++) {
        c->order[c->count] = &c->window[w].order;
        c->position[c->count] = t - b->before + i;
    }
    return count;
}

static void add_lane(crowd *c, int lane, uint64_t t, uint64_t count) {
    const dpt_lanes *l = c->lanes;
    uint64_t blocks = l->place[lane + 1] - l->place[lane];
    for (uint64_t done = 0; done < count;)
        done +=
            add_window(c, lane, search(l->block + l->place[lane], blocks, l->window, t + done), t + done, count - done);
}

void dpt_lanes_lane_rows(const dpt_lanes *l, int lane, uint64_t t, uint64_t count, uint64_t *row) {
    crowd c = {.lanes = l, .row = row};
    add_lane(&c, lane, t, count);
    find(&c);
}

/* Of the first c rows of lanes [a, b), how many each gives. */
static void cut(const dpt_lanes *l, int a, int b, uint64_t c, uint64_t *of_lane) {
    if (b - a == 1) {
        of_lane[a] = c;
        return;
    }
    int middle = (a + b) / 2;
    uint64_t n = l->rows[b] - l->rows[a], left = l->rows[middle] - l->rows[a];
    uint64_t of_left = n ? (uint64_t)(((wide)c * left + n / 2) / n) : 0;
    cut(l, a, middle, of_left, of_lane);
    cut(l, middle, b, c - of_left, of_lane);
}

void dpt_lanes_batch_find(const dpt_lanes *lanes, int64_t global_batch, uint64_t step, dpt_lanes_batch *batch) {
    uint64_t end[DPT_LANES_MAX], rows = lanes->rows[lanes->lanes], begin = step * (uint64_t)global_batch;
    batch->lanes = lanes->lanes;
    cut(lanes, 0, lanes->lanes, begin, batch->first);
    cut(lanes, 0, lanes->lanes, begin + (uint64_t)dpt_epoch_batch_rows(rows, global_batch, step), end);
    batch->begin[0] = 0;
    for (int i = 0; i < lanes->lanes; i++) batch->begin[i + 1] = batch->begin[i] + (int64_t)(end[i] - batch->first[i]);
}

/* Where the part of a rank begins, and that of the rank before it ends. */
static int64_t share_begin(const dpt_lanes_batch *batch, int rank, int world) {
    int64_t at = dpt_lanes_rank_begin(batch->lanes, rank, world), lane = at / world, part, unused;
    if (lane == batch->lanes) return batch->begin[lane];
    dpt_share(batch->begin[lane + 1] - batch->begin[lane], (int)(at % world), world, &part, &unused);
    return batch->begin[lane] + part;
}

void dpt_lanes_share(const dpt_lanes_batch *batch, int rank, int world, int64_t *first, int64_t *count) {
    *first = share_begin(batch, rank, world);
    *count = share_begin(batch, rank + 1, world) - *first;
}

void dpt_lanes_rows(const dpt_lanes *lanes, const dpt_lanes_batch *batch, int64_t first, int64_t count, uint64_t *row) {
    crowd c = {.lanes = lanes, .row = row};
    for (int i = 0; i < batch->lanes; i++) {
        int64_t from = batch->begin[i] > first ? batch->begin[i] : first,
                to = batch->begin[i + 1] < first + count ? batch->begin[i + 1] : first + count;
        if (from < to) add_lane(&c, i, batch->first[i] + (uint64_t)(from - batch->begin[i]), (uint64_t)(to - from));
    }
    find(&c);
}
