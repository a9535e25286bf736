/* ledger.c: see ledger.h. */
#include "data/ledger.h"

#include "base/hash.h"
#include "data/sampler.h"

static uint64_t hash(uint64_t epoch, uint64_t sample) {
    unsigned char b[8];
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)(sample >> (8 * i));
    return dpt_hash(b, sizeof b, epoch);
}

void dpt_ledger_add(dpt_ledger *ledger, uint64_t epoch, const uint64_t *sample, int64_t count) {
    for (int64_t i = 0; i < count; i++) ledger->sum += hash(epoch, sample[i]);
    ledger->count += (uint64_t)count;
}

void dpt_ledger_merge(dpt_ledger *ledger, const dpt_ledger *other) {
    ledger->count += other->count;
    ledger->sum += other->sum;
}

dpt_ledger dpt_ledger_expected(uint64_t epoch, uint64_t first, uint64_t count) {
    dpt_ledger l = {.count = count};
    for (uint64_t i = 0; i < count; i++) l.sum += hash(epoch, first + i);
    return l;
}

dpt_status dpt_ledger_settle(const dpt_control *control, dpt_ledger *ledger, uint64_t epoch, uint64_t rows,
                             dpt_ledger *global) {
    int64_t first, count;
    dpt_share((int64_t)rows, control->rank, control->world, &first, &count);
    dpt_ledger wanted = dpt_ledger_expected(epoch, (uint64_t)first, (uint64_t)count);
    /* halves: their sums over ranks do not overflow, as MPI's of signed numbers must not */
    int64_t sums[] = {(int64_t)ledger->count, (int64_t)(ledger->sum & UINT32_MAX), (int64_t)(ledger->sum >> 32),
                      (int64_t)(wanted.sum & UINT32_MAX), (int64_t)(wanted.sum >> 32)};
    *ledger = (dpt_ledger){0};
    DPT_TRY(dpt_control_sum_i64(control, sums, sizeof sums / sizeof *sums));
    *global = (dpt_ledger){.count = (uint64_t)sums[0], .sum = (uint64_t)sums[1] + ((uint64_t)sums[2] << 32)};
    uint64_t sum = (uint64_t)sums[3] + ((uint64_t)sums[4] << 32);
    DPT_CHECK(
        global->count == rows && global->sum == sum, DPT_ERR_INTERNAL,
        "pass %llu over the samples: %llu were delivered, %llu are in the dataset, each to come once (digests %016llx, "
        "%016llx): some were lost or came twice",
        (unsigned long long)epoch + 1, (unsigned long long)global->count, (unsigned long long)rows,
        (unsigned long long)global->sum, (unsigned long long)sum);
    return DPT_OK;
}
