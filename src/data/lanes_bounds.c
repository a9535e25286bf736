/* lanes_bounds.c: what holds of a shape in all epochs: how many rows a rank can get, what it holds, what is read.
 *
 * Invariant: dpt_lanes_capacity bounds what dpt_lanes_share gives. Of a group of lanes with s rows, in a parent with
 * s + o, at most ceil(c s / (s + o)) of c consecutive rows come from it (lanes.c: cut), which rises with s and falls
 * with o: so the most rows that as many blocks as it has can hold stand for s, and the fewest that its sibling's can
 * for o. */
#include "data/lanes_bounds.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

typedef unsigned __int128 wide;

static dpt_status check_files(const dpt_lanes_shape *shape) {
    uint64_t rows = 0;
    bool over = false;
    for (int f = 0; f < shape->files; f++) {
        DPT_CHECK(shape->file[f].block_rows >= 1, DPT_ERR_ARG, "file %d: blocks of 0 rows", f);
        over |= __builtin_add_overflow(rows, shape->file[f].rows, &rows) || rows > INT64_MAX;
    }
    DPT_CHECK(!over, DPT_ERR_ARG, "2^63 rows or more");
    DPT_CHECK(rows > 0, DPT_ERR_ARG, "no rows");
    return DPT_OK;
}

dpt_status dpt_lanes_check(const dpt_lanes_shape *shape) {
    DPT_CHECK(shape->lanes >= 1 && shape->lanes <= DPT_LANES_MAX, DPT_ERR_ARG, "%d lanes; 1 to %d are possible",
              shape->lanes, DPT_LANES_MAX);
    DPT_CHECK(shape->window >= 1, DPT_ERR_ARG, "a window of 0 blocks");
    if (shape->begin == NULL) return check_files(shape);
    DPT_CHECK(shape->blocks > 0 && shape->begin[0] == 0, DPT_ERR_ARG, "no blocks, or rows before the first");
    for (uint64_t b = 0; b < shape->blocks; b++)
        DPT_CHECK(shape->begin[b] < shape->begin[b + 1] && shape->begin[b + 1] <= INT64_MAX, DPT_ERR_ARG,
                  "block %llu: rows %llu to %llu", (unsigned long long)b, (unsigned long long)shape->begin[b],
                  (unsigned long long)shape->begin[b + 1]);
    return DPT_OK;
}

uint64_t dpt_lanes_blocks(const dpt_lanes_shape *shape) {
    uint64_t blocks = 0;
    if (shape->begin) return shape->blocks;
    for (int f = 0; f < shape->files; f++) blocks += dpt_lanes_file_blocks(&shape->file[f]);
    return blocks;
}

int dpt_lanes_choose(int64_t global_batch, uint64_t blocks) {
    int lanes = blocks / 8 < DPT_LANES_MAX ? (int)(blocks / 8) : DPT_LANES_MAX;
    while (lanes > 1 && global_batch % lanes != 0) lanes--;
    return lanes > 1 ? lanes : 1;
}

/* So many blocks of as many rows, and blocks and rows of the kinds before it. */
typedef struct kind {
    uint64_t rows, blocks, blocks_before, rows_before;
} kind;

typedef struct bounds {
    int lanes, world;
    uint64_t blocks, rows; /* in all */
    kind *kind;            /* [kinds], rows falling */
    uint64_t kinds;
} bounds;

static int by_rows(const void *a, const void *b) {
    uint64_t x = ((const kind *)a)->rows, y = ((const kind *)b)->rows;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Joins kinds of equal rows, once they stand side by side, and counts through. */
static void join_kinds(bounds *b) {
    uint64_t n = 0;
    for (uint64_t i = 1; i < b->kinds; i++) {
        if (b->kind[i].rows == b->kind[n].rows)
            b->kind[n].blocks += b->kind[i].blocks;
        else
            b->kind[++n] = b->kind[i];
    }
    b->kinds = n + 1;
    for (uint64_t i = 0; i < b->kinds; i++) {
        b->kind[i].blocks_before = b->blocks;
        b->kind[i].rows_before = b->rows;
        b->blocks += b->kind[i].blocks;
        b->rows += b->kind[i].blocks * b->kind[i].rows;
    }
}

static dpt_status find_bounds(const dpt_lanes_shape *shape, int world, bounds *b) {
    uint64_t most = shape->begin ? shape->blocks : 2 * (uint64_t)shape->files;
    *b = (bounds){.lanes = shape->lanes, .world = world};
    b->kind = dpt_alloc_zero(most, sizeof *b->kind);
    DPT_CHECK_ALLOC(b->kind);
    for (uint64_t i = 0; shape->begin && i < shape->blocks; i++)
        b->kind[b->kinds++] = (kind){.rows = shape->begin[i + 1] - shape->begin[i], .blocks = 1};
    for (int f = 0; !shape->begin && f < shape->files; f++) {
        const dpt_lanes_file *file = &shape->file[f];
        uint64_t whole = file->rows / file->block_rows, tail = file->rows % file->block_rows;
        if (whole) b->kind[b->kinds++] = (kind){.rows = file->block_rows, .blocks = whole};
        if (tail) b->kind[b->kinds++] = (kind){.rows = tail, .blocks = 1};
    }
    qsort(b->kind, b->kinds, sizeof *b->kind, by_rows);
    join_kinds(b);
    return DPT_OK;
}

/* Rows of the so many longest of all blocks, and of the so many shortest. */
static uint64_t most_rows(const bounds *b, uint64_t blocks) {
    uint64_t low = 0, high = b->kinds - 1;
    while (low < high) { /* the last kind with no more blocks before it */
        uint64_t middle = low + (high - low + 1) / 2;
        if (b->kind[middle].blocks_before <= blocks)
            low = middle;
        else
            high = middle - 1;
    }
    const kind *k = &b->kind[low];
    return k->rows_before + k->rows * (blocks - k->blocks_before);
}

static uint64_t least_rows(const bounds *b, uint64_t blocks) { return b->rows - most_rows(b, b->blocks - blocks); }

static uint64_t ceil_share(uint64_t c, uint64_t part, wide whole) {
    return whole ? (uint64_t)(((wide)c * part + whole - 1) / whole) : 0;
}

/* Of at most c rows of lanes [a, b), how many [begin, end) can get, in 1/world of a lane. */
static uint64_t most_of(const bounds *s, int a, int b, uint64_t c, int64_t begin, int64_t end) {
    int64_t from = (int64_t)a * s->world, to = (int64_t)b * s->world;
    if (begin <= from && end >= to) return c;
    if (begin >= to || end <= from) return 0;
    if (begin > from) from = begin;
    if (end < to) to = end;
    if (b - a == 1) return ceil_share(c, (uint64_t)(to - from), (wide)s->world);
    int middle = (a + b) / 2;
    uint64_t left = dpt_lanes_range_blocks(s->blocks, s->lanes, a, middle),
             right = dpt_lanes_range_blocks(s->blocks, s->lanes, middle, b);
    uint64_t most_left = most_rows(s, left), most_right = most_rows(s, right);
    uint64_t c_left = ceil_share(c, most_left, (wide)most_left + least_rows(s, right));
    uint64_t c_right = ceil_share(c, most_right, (wide)most_right + least_rows(s, left));
    uint64_t both = most_of(s, a, middle, c_left, begin, end) + most_of(s, middle, b, c_right, begin, end);
    return both < c ? both : c;
}

dpt_status dpt_lanes_capacity(const dpt_lanes_shape *shape, int64_t global_batch, int world, int64_t *rows) {
    bounds s;
    DPT_TRY(find_bounds(shape, world, &s));
    uint64_t most = (uint64_t)(global_batch / world + (global_batch % world != 0));
    for (int rank = 0; rank < world; rank++) {
        int64_t begin = dpt_lanes_rank_begin(s.lanes, rank, world),
                end = dpt_lanes_rank_begin(s.lanes, rank + 1, world);
        uint64_t of_rank = most_of(&s, 0, s.lanes, (uint64_t)global_batch, begin, end);
        if (of_rank > most) most = of_rank;
    }
    dpt_free(s.kind);
    *rows = (int64_t)most;
    return DPT_OK;
}

/* Blocks of the lanes that a rank has or shares; of a lane at most so many are counted. */
static uint64_t count_blocks(const dpt_lanes_shape *shape, uint64_t blocks, int rank, int world, uint64_t most) {
    int64_t begin = dpt_lanes_rank_begin(shape->lanes, rank, world),
            end = dpt_lanes_rank_begin(shape->lanes, rank + 1, world);
    uint64_t sum = 0;
    for (int64_t i = begin / world; i * world < end; i++) {
        uint64_t n = dpt_lanes_range_blocks(blocks, shape->lanes, (int)i, (int)i + 1);
        sum += n < most ? n : most;
    }
    return sum;
}

uint64_t dpt_lanes_held(const dpt_lanes_shape *shape, int rank, int world) {
    return count_blocks(shape, dpt_lanes_blocks(shape), rank, world, shape->window);
}

uint64_t dpt_lanes_reads(const dpt_lanes_shape *shape, int world) {
    uint64_t reads = 0, blocks = dpt_lanes_blocks(shape);
    for (int rank = 0; rank < world; rank++) reads += count_blocks(shape, blocks, rank, world, UINT64_MAX);
    return reads;
}
