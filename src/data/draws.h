/* draws.h: orders that need a number of every row: weighted, balanced, by length. They map positions of an epoch to
 * rows of a part (selection.h) and are pure functions of (table, seed, epoch, position): no rank and no thread count
 * enters.
 *
 *   DPT_TRY(dpt_draws_weighted(weight, rows, seed, &draws));
 *   DPT_TRY(dpt_draws_rows(draws, epoch, position, count, row));
 *
 * Rows of all functions are 0 to N-1. An epoch has N positions. P(n, k)(e, x) is the permutation of [0, n) that
 * sampler.h defines for `exact`, with n rows and key k, in epoch e, of x; XXH64(a; k) hashes a as 8 bytes,
 * little-endian, with seed k. Each order is a format: never change it, add a version 2. All arithmetic is on integers.
 *
 * Order `weighted`, version 1: each position draws a row for itself, with replacement.
 *
 *   e, b      e: the smallest with max weight < 2^e; b >= 0: the smallest with 2^b >= N
 *   u(i)      floor(weight(i) 2^(127-b-e)), so that all of them together stay below 2^127
 *   C(i)      floor((u(0) + ... + u(i)) 2^-s), s >= 0 the smallest with C(N-1) < 2^64
 *   r         words 0 (low) and 1 (high) of Philox4x32-10 at counter (position low, position high, epoch low, epoch
 *             high), key XXH64(the eight bytes "weighted", seed)
 *   the row   the first i with C(i) > floor(r C(N-1) 2^-64)
 *
 * A row of weight 0 never comes. Any other comes with a probability that is within 2^-61 of its share; one whose share
 * is below that may never come.
 *
 * Order `balanced`, version 1: all classes that have rows to come equally often, however many rows they have.
 *
 *   C, n(c)   classes; rows of class c, which are numbered in their order; a row may belong to no class: it never comes
 *   key       XXH64(the eight bytes "balanced", seed)
 *   g         epoch N + position, a number of 128 bits; t = floor(g / C) mod 2^64, j = g mod C
 *   the row   of class c = P(C, key)(t, j) the one with number P(n(c), XXH64(c; key))(floor(t / n(c)), t mod n(c))
 *
 * So C positions in a row hold each class once, over the ends of epochs too; in an epoch their counts differ by 2 at
 * most. A class goes through all of its rows before one comes again.
 *
 * Order `buckets`, version 1: batches of rows that are about equally long, each row once an epoch.
 *
 *   key       XXH64(the seven bytes "buckets", seed); position p of the shuffled epoch holds row P(N, key)(epoch, p)
 *   windows   K global batches of B rows each, from position 0 on; the last window has fewer where they do not go on
 *   batches   a window's positions sorted by (length of the row, position) and cut into batches of B; place j of the
 *             window's m batches holds batch P(m, XXH64(window; key))(epoch, j); its rows stand in the order of their
 *             positions in the shuffled epoch
 *   the end   the last N mod B positions, which make no batch, hold what the shuffled epoch has there */
#ifndef DPT_DATA_DRAWS_H
#define DPT_DATA_DRAWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_draws dpt_draws;

enum { DPT_NO_CLASS = -1 };

/* Copies what it needs of weight [rows], rows >= 1, into 8 bytes a row. Local. DPT_ERR_DATA: a weight below 0, NaN or
 * infinite (names the row), or all of them 0. DPT_ERR_MEMORY. */
dpt_status dpt_draws_weighted(const double *weight, uint64_t rows, uint64_t seed, dpt_draws **draws);

/* label [rows]: from 0 to classes-1, or DPT_NO_CLASS. Copies what it needs into 8 bytes a row and 32 a class. Local.
 * DPT_ERR_DATA: another label (names the row), or classes without a row (says which). DPT_ERR_MEMORY. */
dpt_status dpt_draws_balanced(const int64_t *label, uint64_t rows, int64_t classes, uint64_t seed, dpt_draws **draws);

/* length [rows]; batches of global_batch rows, as the loader's, `batches` of them a window. Copies the lengths, 8 bytes
 * a row, and keeps tables of up to 4 windows, 8 bytes a row of theirs, and 24 more while one is made. Local.
 * DPT_ERR_ARG: global_batch or batches below 1. DPT_ERR_MEMORY. */
dpt_status dpt_draws_buckets(const uint64_t *length, uint64_t rows, int64_t global_batch, int64_t batches,
                             uint64_t seed, dpt_draws **draws);

/* Takes NULL, nulls *draws. Local. */
void dpt_draws_destroy(dpt_draws **draws);

/* The rows at positions [position, position + count) of an epoch, inside it. Any thread. Local. DPT_ERR_MEMORY. */
dpt_status dpt_draws_rows(const dpt_draws *draws, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row);
/* Whether each row comes once an epoch: by length yes, weighted and balanced no. Local. */
bool dpt_draws_once(const dpt_draws *draws);

/* A list of the classes that have no row, for a message: "3, 7 and 12 (3 of 20)"; at most 8 are named. count [classes].
 * Returns how many there are. Local. */
int64_t dpt_classes_missing(const int64_t *count, int64_t classes, char *text, size_t bytes);

#endif
