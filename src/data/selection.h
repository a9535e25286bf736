/* selection.h: which samples of a dataset a part (training, test) holds: what splits and lists leave of all, in the
 * order of the files. Everything behind it (orders, loader, ledger, moments) counts rows of the part: row k is sample
 * dpt_selection_sample(selection, k) of the dataset. A selection of NULL is all samples.
 *
 *   DPT_TRY(dpt_selection_create(samples, true, &part));      all of them
 *   dpt_selection_remove(part, 100, 50);                      but samples 100 to 149
 *   DPT_TRY(dpt_selection_seal(part));                        from here on it is read, by any thread
 *
 * One bit a sample, a count for each 512 of them, a place for each 4096 rows: N/8 bytes and a seventh more. */
#ifndef DPT_DATA_SELECTION_H
#define DPT_DATA_SELECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/control.h"

typedef struct dpt_selection dpt_selection;

/* Samples of a dataset that can be selected from: 2^36, which are 9.2 GiB on every rank. */
#define DPT_SELECTION_MOST ((uint64_t)1 << 36)

/* All samples of a dataset, or none of them yet. Local. DPT_ERR_UNSUPPORTED: more than DPT_SELECTION_MOST.
 * DPT_ERR_MEMORY. */
dpt_status dpt_selection_create(uint64_t samples, bool all, dpt_selection **selection);
/* Takes NULL, nulls *selection. Local, like all that follow but dpt_selection_share. */
void dpt_selection_destroy(dpt_selection **selection);

/* Samples [first, first + count), inside the dataset. A change wants dpt_selection_seal, again. Threads may change
 * samples at once where no two of them touch the same 64 (64 i to 64 i + 63). */
void dpt_selection_add(dpt_selection *selection, uint64_t first, uint64_t count);
void dpt_selection_remove(dpt_selection *selection, uint64_t first, uint64_t count);
/* What the other one, of as many samples, holds too; what it does not hold. It need not be sealed. */
void dpt_selection_keep_of(dpt_selection *selection, const dpt_selection *other);
void dpt_selection_remove_of(dpt_selection *selection, const dpt_selection *other);
/* Samples that both hold; as many samples, sealed or not. */
uint64_t dpt_selection_common(const dpt_selection *a, const dpt_selection *b);
/* Sealed or not. */
bool dpt_selection_holds(const dpt_selection *selection, uint64_t sample);

/* Makes what the functions below read. DPT_ERR_DATA: no sample is left. DPT_ERR_MEMORY. */
dpt_status dpt_selection_seal(dpt_selection *selection);

/* Gives rank 0's samples, sealed or not, to the selections of all other ranks, of as many samples, and seals them all.
 * Collective. DPT_ERR_DATA: no sample is left. DPT_ERR_MEMORY. */
dpt_status dpt_selection_share(const dpt_control *control, dpt_selection *selection);

/* Rows of the part, at least 1; samples of the dataset that it was made for. Here and below: of a sealed one. */
uint64_t dpt_selection_rows(const dpt_selection *selection);
uint64_t dpt_selection_samples(const dpt_selection *selection);
/* Row k < rows as a sample of the dataset: rising with k. */
uint64_t dpt_selection_sample(const dpt_selection *selection, uint64_t k);
/* The same of many rows, in place: cheaper than one by one. */
void dpt_selection_find(const dpt_selection *selection, uint64_t count, uint64_t *row);
/* The same of rows [k, k + count), inside the part; costs little more than copying. */
void dpt_selection_run(const dpt_selection *selection, uint64_t k, uint64_t count, uint64_t *sample);
/* How many rows lie before a sample <= samples: row k, where that sample is row k. */
uint64_t dpt_selection_rank(const dpt_selection *selection, uint64_t sample);
/* Equal for equal selections, on all ranks and machines. */
uint64_t dpt_selection_digest(const dpt_selection *selection);

#endif
