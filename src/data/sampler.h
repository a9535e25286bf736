/* sampler.h: which samples form global batch k. Pure functions of (seed, rows, epoch, position): no state, no rank
 * count, no thread count, so a restart or another number of ranks sees the same order.
 *
 * Order `exact`, version 1 (a format: never change it, add a version 2). All arithmetic is on unsigned integers.
 *
 *   N      rows of the part (selection.h: of a whole dataset, its samples), 1 <= N < 2^64
 *   key    XXH64(the five bytes "order", seed); its low 32 bits are Philox's first key word
 *   bits   the smallest b >= 6 with 2^b >= N; low = ceil(b/2) bits, high = floor(b/2) bits
 *   F(h, i)  word 0 of Philox4x32-10 at counter (h, i, epoch mod 2^32, floor(epoch / 2^32))
 *
 *   permute(x), 0 <= x < 2^bits:
 *       L = x mod 2^low, H = floor(x / 2^low)
 *       for i = 0..7:   i even:  H = H xor (F(L, i) mod 2^high)
 *                       i odd:   L = L xor (F(H, i) mod 2^low)
 *       return H * 2^low + L
 *
 *   exact(epoch, position):  x = position;  do x = permute(x) while x >= N;  return x
 *
 * permute is a bijection of [0, 2^bits) (each round undoes itself), so walking its cycle until it is back in [0, N)
 * is a bijection of [0, N); 2^bits < 2N (or 64), so the walk takes fewer than two steps on average from 33 rows up. Six
 * bits at least: measured, a narrower network does not reach all orders of a handful of rows evenly. */
#ifndef DPT_DATA_SAMPLER_H
#define DPT_DATA_SAMPLER_H

#include <stdint.h>

typedef struct dpt_order {
    uint64_t rows; /* N */
    uint64_t key;
    int low_bits, high_bits;
} dpt_order;

/* The order of a dataset of rows >= 1. Local. */
dpt_order dpt_order_create(uint64_t rows, uint64_t seed);

/* The same permutation under a key of one's own. Local. */
dpt_order dpt_order_keyed(uint64_t rows, uint64_t key);

/* The samples at positions [position, position + count) of an epoch, inside it: order `exact`, version 1. Many at once
 * cost a fraction of as many single ones. Any thread. Local. */
void dpt_order_run(const dpt_order *order, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *sample);
/* The same of positions that each have an order of their own. sample may be position. Any thread. Local. */
void dpt_order_each(const dpt_order *const *order, uint64_t epoch, const uint64_t *position, uint64_t count,
                    uint64_t *sample);
/* A single one. Local. */
uint64_t dpt_order_exact(const dpt_order *order, uint64_t epoch, uint64_t position);

/* Global batches of an epoch, the partial last one included. Local. */
uint64_t dpt_epoch_steps(uint64_t rows, int64_t global_batch);

/* Rows of global batch `step` of an epoch: global_batch, fewer in the last one, 0 past it. Its first row stands at
 * position step * global_batch of the epoch. Local. */
int64_t dpt_epoch_batch_rows(uint64_t rows, int64_t global_batch, uint64_t step);

/* What a rank takes of a global batch: rows floor(r*B/R) to floor((r+1)*B/R) - 1, maybe none. Never more than
 * ceil(B/R), for partial batches too. Local. */
void dpt_share(int64_t global_rows, int rank, int world, int64_t *first, int64_t *count);

#endif
