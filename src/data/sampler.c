/* sampler.c: see sampler.h, which is the definition. Every product is formed so that it cannot overflow. */
#include "data/sampler.h"

#include "base/random.h"

enum { ROUNDS = 8, LEAST_BITS = 6 };

dpt_order dpt_order_keyed(uint64_t rows, uint64_t key) {
    int bits = rows > 1 ? 64 - __builtin_clzll(rows - 1) : 0;
    if (bits < LEAST_BITS) bits = LEAST_BITS;
    return (dpt_order){.rows = rows, .key = key, .low_bits = bits - bits / 2, .high_bits = bits / 2};
}

dpt_order dpt_order_create(uint64_t rows, uint64_t seed) {
    return dpt_order_keyed(rows, dpt_random_key("order", seed));
}

static uint32_t low_mask(int bits) { return bits == 32 ? UINT32_MAX : ((uint32_t)1 << bits) - 1; }

static uint64_t permute(const dpt_order *order, uint64_t epoch, uint64_t x) {
    uint32_t masks[2] = {low_mask(order->high_bits), low_mask(order->low_bits)};
    uint32_t low = (uint32_t)x & masks[1], high = (uint32_t)(x >> order->low_bits);
    uint32_t epoch_low = (uint32_t)epoch, epoch_high = (uint32_t)(epoch >> 32);
    for (uint32_t i = 0; i < ROUNDS; i += 2) {
        high ^= dpt_philox(order->key, low, i, epoch_low, epoch_high).v[0] & masks[0];
        low ^= dpt_philox(order->key, high, i + 1, epoch_low, epoch_high).v[0] & masks[1];
    }
    return (uint64_t)high << order->low_bits | low;
}

uint64_t dpt_order_exact(const dpt_order *order, uint64_t epoch, uint64_t position) {
    uint64_t x = position;
    do x = permute(order, epoch, x);
    while (x >= order->rows);
    return x;
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
