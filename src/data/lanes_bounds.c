/* lanes_bounds.c: what holds of a shape in all epochs: how many rows a rank can get, what it holds, what is read.
 *
 * Invariant: dpt_lanes_capacity bounds what dpt_lanes_share gives. Of a group of lanes with s rows, in a parent with
 * s + o, at most ceil(c s / (s + o)) of c consecutive rows come from it (lanes.c: cut), which rises with s and falls
 * with o: so the most rows that its blocks can have stand for s and the fewest of its sibling's for o. */
#include "data/lanes_bounds.h"

#include <stdbool.h>

typedef unsigned __int128 wide;

dpt_status dpt_lanes_check(const dpt_lanes_shape *shape) {
    DPT_CHECK(shape->lanes >= 1 && shape->lanes <= DPT_LANES_MAX, DPT_ERR_ARG, "%d lanes; 1 to %d are possible",
              shape->lanes, DPT_LANES_MAX);
    DPT_CHECK(shape->window >= 1, DPT_ERR_ARG, "a window of 0 blocks");
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

uint64_t dpt_lanes_blocks(const dpt_lanes_shape *shape) {
    uint64_t blocks = 0;
    for (int f = 0; f < shape->files; f++) blocks += dpt_lanes_file_blocks(&shape->file[f]);
    return blocks;
}

int dpt_lanes_choose(int64_t global_batch, uint64_t blocks) {
    int lanes = blocks / 8 < DPT_LANES_MAX ? (int)(blocks / 8) : DPT_LANES_MAX;
    while (lanes > 1 && global_batch % lanes != 0) lanes--;
    return lanes > 1 ? lanes : 1;
}

typedef struct bounds {
    int lanes, world;
    uint64_t blocks, rows, largest, smallest; /* of all blocks; rows of one */
} bounds;

static void see_block(bounds *b, uint64_t rows) {
    if (rows > b->largest) b->largest = rows;
    if (rows < b->smallest) b->smallest = rows;
}

static bounds bounds_of(const dpt_lanes_shape *shape, int world) {
    bounds b = {.lanes = shape->lanes, .world = world, .blocks = dpt_lanes_blocks(shape), .smallest = UINT64_MAX};
    for (int f = 0; f < shape->files; f++) {
        const dpt_lanes_file *file = &shape->file[f];
        uint64_t tail = file->rows % file->block_rows;
        b.rows += file->rows;
        if (file->rows >= file->block_rows) see_block(&b, file->block_rows);
        if (tail) see_block(&b, tail);
    }
    return b;
}

/* Rows of so many blocks, at most and at least: as if all were as large as the largest; as if all that the blocks
 * together lack of that were missing among these. */
static uint64_t most_rows(const bounds *b, uint64_t blocks) {
    wide most = (wide)blocks * b->largest;
    return most < b->rows ? (uint64_t)most : b->rows;
}

static uint64_t least_rows(const bounds *b, uint64_t blocks) {
    wide full = (wide)blocks * b->largest, missing = (wide)b->blocks * b->largest - b->rows;
    uint64_t least = full > missing ? (uint64_t)(full - missing) : 0;
    wide small = (wide)blocks * b->smallest;
    return small > least ? (uint64_t)small : least;
}

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

int64_t dpt_lanes_capacity(const dpt_lanes_shape *shape, int64_t global_batch, int world) {
    bounds s = bounds_of(shape, world);
    uint64_t most = (uint64_t)(global_batch / world + (global_batch % world != 0));
    for (int rank = 0; rank < world; rank++) {
        int64_t begin = dpt_lanes_rank_begin(s.lanes, rank, world),
                end = dpt_lanes_rank_begin(s.lanes, rank + 1, world);
        uint64_t rows = most_of(&s, 0, s.lanes, (uint64_t)global_batch, begin, end);
        if (rows > most) most = rows;
    }
    return (int64_t)most;
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
