/* ledger.h: which samples an epoch (a pass over the samples) has delivered, as a number that does not depend on their
 * order: how many, and the sum mod 2^64 of XXH64(sample as 8 bytes, little-endian; seed: the epoch). Ledgers of
 * threads, ranks and parts of an epoch add up, so a plain struct of two numbers is all that a checkpoint needs to keep.
 *
 *   dpt_ledger_add(&ledger, batch->epoch, batch->sample, batch->rows);             each batch
 *   DPT_TRY(dpt_ledger_settle(&control, &ledger, epoch, rows, &global));           after the last one of the epoch
 *
 * Sums that agree by chance though samples were lost and others came twice: one case in 2^64. */
#ifndef DPT_DATA_LEDGER_H
#define DPT_DATA_LEDGER_H

#include <stdint.h>

#include "backend/control.h"

typedef struct dpt_ledger {
    uint64_t count, sum; /* start from {0} */
} dpt_ledger;

/* Local, all three. */
void dpt_ledger_add(dpt_ledger *ledger, uint64_t epoch, const uint64_t *sample, int64_t count);
void dpt_ledger_merge(dpt_ledger *ledger, const dpt_ledger *other);
/* What samples [first, first + count) give, each once. */
dpt_ledger dpt_ledger_expected(uint64_t epoch, uint64_t first, uint64_t count);

/* Sums the ledgers of all ranks into *global, compares it with samples 0 to rows-1 each once, and empties the ledger.
 * Every rank hashes its share of the rows. Collective. DPT_ERR_INTERNAL, on all ranks: they differ (both counts). */
dpt_status dpt_ledger_settle(const dpt_control *control, dpt_ledger *ledger, uint64_t epoch, uint64_t rows,
                             dpt_ledger *global);

#endif
