/* ledger.c: see ledger.h. */
#include "data/ledger.h"

#include "base/hash.h"

static uint64_t hash(uint64_t epoch, uint64_t sample) {
    unsigned char b[8];
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)(sample >> (8 * i));
    return dpt_hash(b, sizeof b, epoch);
}

void dpt_ledger_add(dpt_ledger *ledger, uint64_t epoch, const uint64_t *sample, int64_t count) {
    for (int64_t i = 0; i < count; i++) ledger->sum += hash(epoch, sample[i]);
    ledger->count += (uint64_t)count;
}

/* Halves: their sums over ranks do not overflow, as MPI's of signed numbers must not. */
static dpt_status sum_over_ranks(const dpt_control *control, dpt_ledger *ledger, int count) {
    int64_t part[6];
    for (int i = 0; i < count; i++) {
        part[3 * i] = (int64_t)ledger[i].count;
        part[3 * i + 1] = (int64_t)(ledger[i].sum & UINT32_MAX);
        part[3 * i + 2] = (int64_t)(ledger[i].sum >> 32);
    }
    DPT_TRY(dpt_control_sum_i64(control, part, 3 * count));
    for (int i = 0; i < count; i++)
        ledger[i] = (dpt_ledger){.count = (uint64_t)part[3 * i],
                                 .sum = (uint64_t)part[3 * i + 1] + ((uint64_t)part[3 * i + 2] << 32)};
    return DPT_OK;
}

dpt_status dpt_ledger_gather(const dpt_control *control, const dpt_ledger *ledger, dpt_ledger *global) {
    *global = *ledger;
    return sum_over_ranks(control, global, 1);
}

void dpt_ledger_resume(const dpt_control *control, const dpt_ledger *global, dpt_ledger *ledger) {
    *ledger = control->rank == 0 ? *global : (dpt_ledger){0};
}

dpt_status dpt_ledger_settle(const dpt_control *control, dpt_ledger *ledger, uint64_t epoch, const dpt_ledger *expected,
                             dpt_ledger *global) {
    dpt_ledger both[2] = {*ledger, *expected};
    *ledger = (dpt_ledger){0};
    DPT_TRY(sum_over_ranks(control, both, 2));
    *global = both[0];
    DPT_CHECK(both[0].count == both[1].count && both[0].sum == both[1].sum, DPT_ERR_INTERNAL,
              "pass %llu over the samples: %llu were delivered, %llu are in its order (digests %016llx, %016llx): some "
              "were lost or came too often",
              (unsigned long long)epoch + 1, (unsigned long long)both[0].count, (unsigned long long)both[1].count,
              (unsigned long long)both[0].sum, (unsigned long long)both[1].sum);
    return DPT_OK;
}
