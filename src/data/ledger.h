/* ledger.h: which samples an epoch (a pass over the samples) has delivered, as a number that does not depend on their
 * order: how many, and the sum mod 2^64 of XXH64(sample as 8 bytes, little-endian; seed: the epoch). Ledgers of
 * threads, ranks and parts of an epoch add up.
 *
 *   dpt_ledger_add(&ledger, batch->epoch, batch->sample, batch->rows);             each batch
 *   DPT_TRY(dpt_ledger_settle(&control, &ledger, epoch, &expected, &global));      after the last one of the epoch
 *
 * In the middle of an epoch the state of all ranks is two numbers, which a checkpoint keeps beside (epoch, step):
 *
 *   DPT_TRY(dpt_ledger_gather(&control, &ledger, &kept));                          where it is written
 *   dpt_ledger_resume(&control, &kept, &ledger);                                   after a restart, on any ranks
 *
 * Sums that agree by chance though samples were lost and others came twice: one case in 2^64. */
#ifndef DPT_DATA_LEDGER_H
#define DPT_DATA_LEDGER_H

#include <stdint.h>

#include "backend/control.h"

typedef struct dpt_ledger {
    uint64_t count, sum; /* start from {0} */
} dpt_ledger;

/* Local. */
void dpt_ledger_add(dpt_ledger *ledger, uint64_t epoch, const uint64_t *sample, int64_t count);

/* The sum of all ranks' ledgers, which stay as they are. Collective. */
dpt_status dpt_ledger_gather(const dpt_control *control, const dpt_ledger *ledger, dpt_ledger *global);
/* Hands a sum back: one rank takes it, the others start from 0. Every rank gives the same. Local. */
void dpt_ledger_resume(const dpt_control *control, const dpt_ledger *global, dpt_ledger *ledger);

/* Sums the ledgers of all ranks into *global, compares it with the sum of their shares of what was expected
 * (dpt_loader_expected), and empties the ledger. Collective. DPT_ERR_INTERNAL, on all ranks: they differ (both counts).
 */
dpt_status dpt_ledger_settle(const dpt_control *control, dpt_ledger *ledger, uint64_t epoch, const dpt_ledger *expected,
                             dpt_ledger *global);

#endif
