/* draws.h: orders that need a number of every row: weighted, balanced, by length. They map positions of an epoch to
 * rows of a part (selection.h) and are pure functions of (table, seed, epoch, position): no rank and no thread count
 * enters. Memory: O(rows), said by each.
 *
 * Rows of all functions are 0 to rows-1. An epoch has `rows` positions. */
#ifndef DPT_DATA_DRAWS_H
#define DPT_DATA_DRAWS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_draws dpt_draws;

/* Takes NULL, nulls *draws. Local. */
void dpt_draws_destroy(dpt_draws **draws);

/* The rows at positions [position, position + count) of an epoch, inside it. Any thread. Local. DPT_ERR_MEMORY. */
dpt_status dpt_draws_rows(const dpt_draws *draws, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row);
/* Whether each row comes once an epoch: by length yes, weighted and balanced no. Local. */
bool dpt_draws_once(const dpt_draws *draws);

#endif
