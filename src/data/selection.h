/* selection.h: which samples of a dataset a part (training, test) holds: what splits and lists leave of all, in the
 * order of the files. Everything behind it (orders, loader, ledger, moments) counts rows of the part: row k is sample
 * dpt_selection_sample(selection, k) of the dataset. A selection of NULL is all samples.
 *
 * One bit a sample, and a count for each 512 of them: N/8 bytes and an eighth more. */
#ifndef DPT_DATA_SELECTION_H
#define DPT_DATA_SELECTION_H

#include <stdint.h>

#include "base/error.h"

typedef struct dpt_selection dpt_selection;

/* Takes NULL, nulls *selection. Local, like all that follow. */
void dpt_selection_destroy(dpt_selection **selection);

/* Rows of the part, at least 1; samples of the dataset that it was made for. */
uint64_t dpt_selection_rows(const dpt_selection *selection);
uint64_t dpt_selection_samples(const dpt_selection *selection);
/* Row k < rows as a sample of the dataset: rising with k. */
uint64_t dpt_selection_sample(const dpt_selection *selection, uint64_t k);
/* How many rows lie before a sample <= samples: row k, where that sample is row k. */
uint64_t dpt_selection_rank(const dpt_selection *selection, uint64_t sample);
/* Equal for equal selections, on all ranks and machines. */
uint64_t dpt_selection_digest(const dpt_selection *selection);

#endif
