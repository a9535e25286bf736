/* rank_order.h: order `own`: each rank holds samples of its own and delivers no others. Pure functions of (rows of each
 * rank, seed, epoch).
 *
 * Order `own`, version 1 (a format: never change it, add a version 2). All arithmetic is on integers.
 *
 *   samples   rank r holds n_r of N, 1 <= N < 2^63; they are numbered rank after rank
 *   batches   the first c samples of an epoch are shared out by halving: a group of ranks [a, b) with n samples, of
 *             which c are wanted, gives floor((c l + floor(n/2)) / n) of [a, floor((a+b)/2)), which has l, and the rest
 *             of the other half; none of an empty group. Batch k has what the first (k+1)B (all N at the end) have and
 *             the first kB have not, rank after rank
 *   rows      what rank r gives j-th is its sample P(n_r, key)(j), P being the permutation of sampler.h, the key
 *             XXH64(r as 8 bytes, little-endian; XXH64("own", seed)); without shuffle its sample j
 *
 * Each half's number rises with c, by one at most, so no sample is lost or twice and every batch but the last has B
 * rows. */
#ifndef DPT_DATA_RANK_ORDER_H
#define DPT_DATA_RANK_ORDER_H

#include "data/loader.h"

typedef struct dpt_rank_order dpt_rank_order;

/* *order is NULL where ranks do not hold samples of their own. Copies what it needs. Local. DPT_ERR_ARG: rank or world
 * are not the dataset's. DPT_ERR_UNSUPPORTED: a selection, draws or mixup, which want samples of other ranks. */
dpt_status dpt_rank_order_create(const dpt_dataset *dataset, const dpt_loader_options *options, dpt_rank_order **order);
/* The same from the numbers of each rank's first sample, [world + 1]. Local. */
dpt_status dpt_rank_order_of(const uint64_t *first, int world, const dpt_loader_options *options,
                             dpt_rank_order **order);
void dpt_rank_order_destroy(dpt_rank_order **order);

/* Rows of a global batch that some rank can get. Local. */
int64_t dpt_rank_order_capacity(const dpt_rank_order *order);
/* This rank's rows of global batch `step`: rows [first_row, first_row + rows) of it, which are rows `begin` and on of
 * what the rank gives in an epoch. Any thread. Local. */
void dpt_rank_order_batch(const dpt_rank_order *order, uint64_t step, int64_t *first_row, int64_t *rows,
                          uint64_t *begin);
/* The sample that this rank gives j-th in an epoch. Any thread. Local. */
uint64_t dpt_rank_order_sample(const dpt_rank_order *order, uint64_t epoch, uint64_t j);

#endif
