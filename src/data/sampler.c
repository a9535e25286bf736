/* sampler.c: see sampler.h, which is the definition. Every product is formed so that it cannot overflow. */
#include "data/sampler.h"

#include "backend/parallel.h"
#include "base/random.h"

enum { ROUNDS = 8, LEAST_BITS = 6, TOGETHER = 64, STRIDE = 16, FEW = 8 };

dpt_order dpt_order_keyed(uint64_t rows, uint64_t key) {
    int bits = rows > 1 ? 64 - __builtin_clzll(rows - 1) : 0;
    if (bits < LEAST_BITS) bits = LEAST_BITS;
    return (dpt_order){.rows = rows, .key = key, .low_bits = bits - bits / 2, .high_bits = bits / 2};
}

dpt_order dpt_order_create(uint64_t rows, uint64_t seed) {
    return dpt_order_keyed(rows, dpt_random_key("order", seed));
}

static uint32_t low_mask(int bits) { return bits == 32 ? UINT32_MAX : ((uint32_t)1 << bits) - 1; }

/* Numbers on their way, each under an order of its own. */
typedef struct crowd {
    uint32_t low[TOGETHER], high[TOGETHER];           /* x */
    uint32_t low_mask[TOGETHER], high_mask[TOGETHER]; /* what its order says of each */
    uint32_t key[2][TOGETHER];
    int low_bits[TOGETHER];
    uint64_t rows[TOGETHER], at[TOGETHER]; /* at: which of those asked for it is */
} crowd;

static void enter(crowd *c, int l, const dpt_order *order, uint64_t x, uint64_t at) {
    c->low_mask[l] = low_mask(order->low_bits);
    c->high_mask[l] = low_mask(order->high_bits);
    c->low[l] = (uint32_t)x & c->low_mask[l];
    c->high[l] = (uint32_t)(x >> order->low_bits);
    c->key[0][l] = (uint32_t)order->key;
    c->key[1][l] = (uint32_t)(order->key >> 32);
    c->low_bits[l] = order->low_bits;
    c->rows[l] = order->rows;
    c->at[l] = at;
}

static void move(crowd *c, int from, int to) {
    c->low[to] = c->low[from];
    c->high[to] = c->high[from];
    c->low_mask[to] = c->low_mask[from];
    c->high_mask[to] = c->high_mask[from];
    c->key[0][to] = c->key[0][from];
    c->key[1][to] = c->key[1][from];
    c->low_bits[to] = c->low_bits[from];
    c->rows[to] = c->rows[from];
    c->at[to] = c->at[from];
}

/* half[l] xor= F(of[l], round) mod 2^bits: Philox4x32-10 (random.h) of as many counters as vectors take. */
static inline __attribute__((always_inline)) void mix(const crowd *c, int first, uint64_t epoch, uint32_t round,
                                                      const uint32_t *of, const uint32_t *keep, uint32_t *half) {
    uint32_t c0[STRIDE], c1[STRIDE], c2[STRIDE], c3[STRIDE], k0[STRIDE], k1[STRIDE];
    for (int l = 0; l < STRIDE; l++) {
        c0[l] = of[first + l], c1[l] = round;
        c2[l] = (uint32_t)epoch, c3[l] = (uint32_t)(epoch >> 32);
        k0[l] = c->key[0][first + l], k1[l] = c->key[1][first + l];
    }
    for (int i = 0; i < PHILOX4x32_DEFAULT_ROUNDS; i++)
        for (int l = 0; l < STRIDE; l++) {
            uint64_t a = (uint64_t)PHILOX_M4x32_0 * c0[l], b = (uint64_t)PHILOX_M4x32_1 * c2[l];
            c0[l] = (uint32_t)(b >> 32) ^ c1[l] ^ k0[l];
            c1[l] = (uint32_t)b;
            c2[l] = (uint32_t)(a >> 32) ^ c3[l] ^ k1[l];
            c3[l] = (uint32_t)a;
            k0[l] += PHILOX_W32_0;
            k1[l] += PHILOX_W32_1;
        }
    for (int l = 0; l < STRIDE; l++) half[first + l] ^= c0[l] & keep[first + l];
}

/* Of the first n, and some after them. */
DPT_MULTIVERSION static void permute(crowd *c, uint64_t epoch, int n) {
    for (uint32_t i = 0; i < ROUNDS; i += 2) {
        for (int l = 0; l < n; l += STRIDE) mix(c, l, epoch, i, c->low, c->high_mask, c->high);
        for (int l = 0; l < n; l += STRIDE) mix(c, l, epoch, i + 1, c->high, c->low_mask, c->low);
    }
}

/* Those that are back in [0, N) make room for the next ones. A few alone are done sooner one by one. */
void dpt_order_each(const dpt_order *const *order, uint64_t epoch, const uint64_t *position, uint64_t count,
                    uint64_t *sample) {
    if (count < FEW) {
        for (uint64_t i = 0; i < count; i++) sample[i] = dpt_order_exact(order[i], epoch, position[i]);
        return;
    }
    crowd c = {0};
    uint64_t next = 0;
    for (int under_way = 0, left; next < count || under_way > 0; under_way = left) {
        for (; under_way < TOGETHER && next < count; under_way++, next++)
            enter(&c, under_way, order[next], position[next], next);
        permute(&c, epoch, under_way);
        left = 0;
        for (int l = 0; l < under_way; l++) {
            uint64_t x = (uint64_t)c.high[l] << c.low_bits[l] | c.low[l];
            if (x < c.rows[l])
                sample[c.at[l]] = x;
            else
                move(&c, l, left++);
        }
    }
}

void dpt_order_run(const dpt_order *order, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *sample) {
    enum { PIECE = 512 };
    const dpt_order *each[PIECE];
    uint64_t at[PIECE];
    for (uint64_t done = 0, n; done < count; done += n) {
        n = count - done < PIECE ? count - done : PIECE;
        for (uint64_t i = 0; i < n; i++) each[i] = order, at[i] = position + done + i;
        dpt_order_each(each, epoch, at, n, sample + done);
    }
}

/* Without vectors: one alone would wait for all of their places. */
uint64_t dpt_order_exact(const dpt_order *order, uint64_t epoch, uint64_t position) {
    const uint32_t mask[2] = {low_mask(order->high_bits), low_mask(order->low_bits)};
    const uint32_t epoch_low = (uint32_t)epoch, epoch_high = (uint32_t)(epoch >> 32);
    uint64_t x = position;
    do {
        uint32_t low = (uint32_t)x & mask[1], high = (uint32_t)(x >> order->low_bits);
        for (uint32_t i = 0; i < ROUNDS; i += 2) {
            high ^= dpt_philox(order->key, low, i, epoch_low, epoch_high).v[0] & mask[0];
            low ^= dpt_philox(order->key, high, i + 1, epoch_low, epoch_high).v[0] & mask[1];
        }
        x = (uint64_t)high << order->low_bits | low;
    } while (x >= order->rows);
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
