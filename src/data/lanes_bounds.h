/* lanes_bounds.h: what lanes.c and lanes_bounds.c share: how blocks are dealt and how lanes are shared out. */
#ifndef DPT_DATA_LANES_BOUNDS_H
#define DPT_DATA_LANES_BOUNDS_H

#include "data/lanes.h"

static inline uint64_t dpt_lanes_file_blocks(const dpt_lanes_file *file) {
    return file->rows / file->block_rows + (file->rows % file->block_rows != 0);
}

/* The lane of a place. */
static inline int dpt_lanes_of_place(uint64_t blocks, int lanes, uint64_t place) {
    uint64_t l = (uint64_t)lanes, rest = blocks % l, j = place % l;
    return (int)(place / l < blocks / l ? j : j * l / rest);
}

/* Blocks of lanes [a, b): of the last round those with floor(j L / E) in [a, b). */
static inline uint64_t dpt_lanes_range_blocks(uint64_t blocks, int lanes, int a, int b) {
    uint64_t l = (uint64_t)lanes, rest = blocks % l;
    uint64_t below_a = ((uint64_t)a * rest + l - 1) / l, below_b = ((uint64_t)b * rest + l - 1) / l;
    return (uint64_t)(b - a) * (blocks / l) + below_b - below_a;
}

/* Where a rank's part of the lanes begins, in 1/world of a lane: whole lanes where there are enough. */
static inline int64_t dpt_lanes_rank_begin(int lanes, int rank, int world) {
    int64_t at = (int64_t)rank * lanes;
    return world > lanes ? at : at / world * world;
}

#endif
