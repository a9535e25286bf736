/* lanes.h: order `lanes`: shuffled epochs that read each block of a file (a chunk, or consecutive rows) once, and hold
 * few blocks at a time. Pure functions of (blocks, seed, epoch): no rank count and no thread count enters, so a restart
 * or another number of ranks sees the same global batches.
 *
 *   dpt_lanes *lanes;
 *   DPT_TRY(dpt_lanes_create(&shape, epoch, &lanes));                  once an epoch
 *   dpt_lanes_batch batch;
 *   dpt_lanes_batch_find(lanes, global_batch, step, &batch);
 *   dpt_lanes_share(&batch, rank, world, &first, &count);
 *   dpt_lanes_rows(lanes, &batch, first, count, row);
 *
 * Order `lanes`, version 1 (a format: never change it, add a version 2). All arithmetic is on integers.
 *
 *   rows      those of a part (selection.h), numbered from 0: of a whole dataset, its samples. N of them, 1 <= N < 2^63
 *   blocks    each file's samples are cut into blocks of its block_rows, the last one of a file maybe shorter. A block
 *             holds the rows of the part whose samples lie in it; those with one row or more are numbered 0 to M-1
 *   key       XXH64(the five bytes "lanes", seed)
 *   P(n, k)   the permutation of [0, n) that sampler.h defines for `exact`, with n rows and key k, in this epoch
 *
 *   dealing   place p of [0, M) holds block P(M, key)(p). Of lanes 0 to L-1, place p belongs to p mod L, but in the
 * last round, where that has only E = M mod L places, place M - E + j belongs to floor(j L / E): so lanes differ by one
 * block at most, and the longer ones lie spread out. A lane takes its blocks in the order of places
 *
 *   windows   a lane's blocks, W at a time. The rows of window w of lane i are numbered block after block, from 0 to
 *             m-1; the row that comes as the j-th is P(m, XXH64(i and w as 8 bytes each, little-endian; key))(j)
 *
 *   batches   the first c rows of an epoch are shared out by halving: a group of lanes [a, b) with n rows, of which c
 *             are wanted, gives floor((c l + floor(n/2)) / n) of [a, floor((a+b)/2)), which has l rows, and the rest of
 *             the other half; none of an empty group. What lane i gives of the first c rows is its own first c_i ones.
 *             Batch k has what the first (k+1)B rows (all N at the end) have and the first kB have not, lane after lane
 *
 * Each half's number rises with c, by one at most, and is all of its rows at the end: so all lanes end together, every
 * batch but the last has B rows, and no row is lost or twice. A lane of n rows gives of any batch at most
 * ceil(... ceil(ceil(B n'/N) n''/n') ... n/n^) along its halvings: exactly B/L where lanes are equally long and L
 * divides B. Rows that come in the order of (2t+1)/(2n) over all lanes would also end together, but lanes of two
 * lengths then move in two crowds, and single batches are up to twice as large on a rank as the mean. */
#ifndef DPT_DATA_LANES_H
#define DPT_DATA_LANES_H

#include <stdint.h>

#include "base/error.h"

enum { DPT_LANES_MAX = 64 };

typedef struct dpt_lanes_file {
    uint64_t rows, block_rows; /* block_rows >= 1 */
} dpt_lanes_file;

/* The blocks: those of files, all of whose samples are rows; or, where `begin` is given, one by one. */
typedef struct dpt_lanes_shape {
    const dpt_lanes_file *file; /* [files] */
    int files;
    const uint64_t *begin; /* [blocks + 1]: the first row of each, rising, from 0; in the end N. NULL: of files */
    uint64_t blocks;       /* with begin */
    int lanes;             /* L: 1 to DPT_LANES_MAX */
    uint64_t window;       /* W >= 1: blocks */
    uint64_t seed;
} dpt_lanes_shape;

/* DPT_ERR_ARG: a number is out of its range; no rows, or 2^63 and more; `begin` does not rise. Local. */
dpt_status dpt_lanes_check(const dpt_lanes_shape *shape);
/* M. The shape is a checked one, here and below. Local. */
uint64_t dpt_lanes_blocks(const dpt_lanes_shape *shape);
/* How many lanes a loader takes: the largest divisor of the global batch that is at most DPT_LANES_MAX and an eighth of
 * the blocks, so that lanes differ by an eighth of their length at most; 1 at least. Local. */
int dpt_lanes_choose(int64_t global_batch, uint64_t blocks);

/* Rows of a global batch that some rank can get, in any epoch: never more. At least ceil(B/R). Local.
 * DPT_ERR_MEMORY: 32 bytes a block of `begin`. */
dpt_status dpt_lanes_capacity(const dpt_lanes_shape *shape, int64_t global_batch, int world, int64_t *rows);
/* Blocks whose rows a rank mixes at a time: of its lanes, a window each. Local. */
uint64_t dpt_lanes_held(const dpt_lanes_shape *shape, int rank, int world);
/* Blocks read in an epoch by all ranks together, if each keeps those that it holds (a cache that drops what was used
 * longest ago needs room for twice as many); blocks, where no lane is shared by ranks. Local. */
uint64_t dpt_lanes_reads(const dpt_lanes_shape *shape, int world);

/* The table of one epoch: 16 bytes a block. */
typedef struct dpt_lanes dpt_lanes;

/* Copies what it needs of the shape. Local. DPT_ERR_ARG: as dpt_lanes_check. DPT_ERR_MEMORY. */
dpt_status dpt_lanes_create(const dpt_lanes_shape *shape, uint64_t epoch, dpt_lanes **lanes);
void dpt_lanes_destroy(dpt_lanes **lanes);

/* Rows of a lane: n_i. Local. */
uint64_t dpt_lanes_length(const dpt_lanes *lanes, int lane);
/* The rows that come as the t-th and next ones of a lane; t + count <= n_i. Any thread. Local. */
void dpt_lanes_lane_rows(const dpt_lanes *lanes, int lane, uint64_t t, uint64_t count, uint64_t *row);

/* Which rows of which lanes a global batch holds: rows begin[i] to begin[i+1]-1 of the batch are rows first[i] and on
 * of lane i. */
typedef struct dpt_lanes_batch {
    int lanes;
    uint64_t first[DPT_LANES_MAX];
    int64_t begin[DPT_LANES_MAX + 1];
} dpt_lanes_batch;

/* step < ceil(N/B). Local. */
void dpt_lanes_batch_find(const dpt_lanes *lanes, int64_t global_batch, uint64_t step, dpt_lanes_batch *batch);
/* What a rank takes of it: with L >= R the rows of lanes floor(rL/R) to floor((r+1)L/R)-1, with L < R the part of the
 * lanes' rows between rL/R and (r+1)L/R, where lane i spans [i, i+1). Local. */
void dpt_lanes_share(const dpt_lanes_batch *batch, int rank, int world, int64_t *first, int64_t *count);
/* The rows at places [first, first + count) of the batch. Any thread. Local. */
void dpt_lanes_rows(const dpt_lanes *lanes, const dpt_lanes_batch *batch, int64_t first, int64_t count, uint64_t *row);

#endif
