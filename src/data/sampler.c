/* sampler.c: see sampler.h, which is the definition. Every product is formed so that it cannot overflow. */
#include "data/sampler.h"

#include "backend/parallel.h"
#include "base/random.h"

enum { ROUNDS = 8, LEAST_BITS = 6, TOGETHER = 64, STRIDE = 16 };

dpt_order dpt_order_keyed(uint64_t rows, uint64_t key) {
    int bits = rows > 1 ? 64 - __builtin_clzll(rows - 1) : 0;
    if (bits < LEAST_BITS) bits = LEAST_BITS;
    return (dpt_order){.rows = rows, .key = key, .low_bits = bits - bits / 2, .high_bits = bits / 2};
}

dpt_order dpt_order_create(uint64_t rows, uint64_t seed) {
    return dpt_order_keyed(rows, dpt_random_key("order", seed));
}

static uint32_t low_mask(int bits) { return bits == 32 ? UINT32_MAX : ((uint32_t)1 << bits) - 1; }

/* half[l] xor= F(of[l], round) mod 2^bits: Philox4x32-10 (random.h) of as many counters as vectors take. */
static inline __attribute__((always_inline)) void mix(uint64_t key, uint64_t epoch, uint32_t round, const uint32_t *of,
                                                      uint32_t keep, uint32_t *half) {
    uint32_t c0[STRIDE], c1[STRIDE], c2[STRIDE], c3[STRIDE], k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int l = 0; l < STRIDE; l++) {
        c0[l] = of[l], c1[l] = round;
        c2[l] = (uint32_t)epoch, c3[l] = (uint32_t)(epoch >> 32);
    }
    for (int i = 0; i < PHILOX4x32_DEFAULT_ROUNDS; i++, k0 += PHILOX_W32_0, k1 += PHILOX_W32_1)
        for (int l = 0; l < STRIDE; l++) {
            uint64_t a = (uint64_t)PHILOX_M4x32_0 * c0[l], b = (uint64_t)PHILOX_M4x32_1 * c2[l];
            c0[l] = (uint32_t)(b >> 32) ^ c1[l] ^ k0;
            c1[l] = (uint32_t)b;
            c2[l] = (uint32_t)(a >> 32) ^ c3[l] ^ k1;
            c3[l] = (uint32_t)a;
        }
    for (int l = 0; l < STRIDE; l++) half[l] ^= c0[l] & keep;
}

/* Of the first n, and of some after them. */
DPT_MULTIVERSION static void permute(const dpt_order *order, uint64_t epoch, uint64_t *x, int n) {
    uint32_t high_mask = low_mask(order->high_bits), mask = low_mask(order->low_bits);
    uint32_t low[TOGETHER], high[TOGETHER];
    n = (n + STRIDE - 1) / STRIDE * STRIDE;
    for (int l = 0; l < n; l++) {
        low[l] = (uint32_t)x[l] & mask;
        high[l] = (uint32_t)(x[l] >> order->low_bits);
    }
    for (uint32_t i = 0; i < ROUNDS; i += 2) {
        for (int l = 0; l < n; l += STRIDE) mix(order->key, epoch, i, low + l, high_mask, high + l);
        for (int l = 0; l < n; l += STRIDE) mix(order->key, epoch, i + 1, high + l, mask, low + l);
    }
    for (int l = 0; l < n; l++) x[l] = (uint64_t)high[l] << order->low_bits | low[l];
}

/* Those that are back in [0, N) make room for the next positions. */
void dpt_order_run(const dpt_order *order, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *sample) {
    uint64_t x[TOGETHER] = {0}, at[TOGETHER], next = 0;
    for (int under_way = 0, left; next < count || under_way > 0; under_way = left) {
        for (; under_way < TOGETHER && next < count; under_way++, next++) {
            x[under_way] = position + next;
            at[under_way] = next;
        }
        permute(order, epoch, x, under_way);
        left = 0;
        for (int l = 0; l < under_way; l++)
            if (x[l] < order->rows) {
                sample[at[l]] = x[l];
            } else {
                x[left] = x[l];
                at[left++] = at[l];
            }
    }
}

uint64_t dpt_order_exact(const dpt_order *order, uint64_t epoch, uint64_t position) {
    uint64_t sample;
    dpt_order_run(order, epoch, position, 1, &sample);
    return sample;
}

uint64_t dpt_epoch_steps(uint64_t rows, int64_t global_batch) {
    uint64_t batch = (uint64_t)global_batch;
    return rows / batch + (rows % batch != 0);
}

int64_t dpt_epoch_batch_rows(uint64_t rows, int64_t global_batch, uint64_t step) {
    uint64_t batch = (uint64_t)global_batch, whole = rows / batch;
    if (step < whole) return global_batch;
    return step == whole ? (int64_t)(rows % batch) : 0;
}

/* floor(r*B/R) without forming r*B. */
static int64_t share_start(int64_t global_rows, int rank, int world) {
    return rank * (global_rows / world) + rank * (global_rows % world) / world;
}

void dpt_share(int64_t global_rows, int rank, int world, int64_t *first, int64_t *count) {
    *first = share_start(global_rows, rank, world);
    *count = share_start(global_rows, rank + 1, world) - *first;
}
