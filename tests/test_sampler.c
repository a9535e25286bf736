/* Sample order and shares: golden values from another program, and properties. */
#include "data/sampler.h"

#include <stdlib.h>

#include "check.h"
#include "golden/order.h"

static void golden(void) {
    for (size_t i = 0; i < sizeof order_rows / sizeof *order_rows; i++) {
        const struct order_row *g = &order_rows[i];
        dpt_order order = dpt_order_create(g->rows, g->seed);
        uint64_t sample = dpt_order_exact(&order, g->epoch, g->position);
        check_that(sample == g->sample, __FILE__, __LINE__,
                   "rows %llu seed %llu epoch %llu position %llu: %llu, not %llu", (unsigned long long)g->rows,
                   (unsigned long long)g->seed, (unsigned long long)g->epoch, (unsigned long long)g->position,
                   (unsigned long long)sample, (unsigned long long)g->sample);
    }
}

enum { MOST = 70001 };
static uint64_t run[MOST];

static bool is_permutation(uint64_t rows, uint64_t seed, uint64_t epoch, uint8_t *seen) {
    dpt_order order = dpt_order_create(rows, seed);
    memset(seen, 0, rows);
    dpt_order_run(&order, epoch, 0, rows, run);
    for (uint64_t i = 0; i < rows; i++)
        if (run[i] >= rows || seen[run[i]]++) return false;
    return true;
}

static void bijection(void) {
    uint8_t *seen = malloc(MOST);
    for (uint64_t rows = 1; rows <= (CHECK_IS_SLOW ? 130 : 600); rows++)
        for (uint64_t epoch = 0; epoch < 3; epoch++)
            check_that(is_permutation(rows, 42 + epoch, epoch, seen), __FILE__, __LINE__, "%d rows", (int)rows);
    const uint64_t more[] = {1023, 1024, 1025, 4095, 4097, 16385, 60000, 65536, 65537, MOST};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (!CHECK_IS_SLOW || more[i] < 5000)
            check_that(is_permutation(more[i], 1, 1ull << 40, seen), __FILE__, __LINE__, "%d rows", (int)more[i]);
    free(seen);
}

/* Runs of any length and place are what single positions are. */
static void runs(void) {
    const uint64_t sizes[] = {1, 64, 65, 1000, (1ull << 33) + 1};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t count = 0; count <= 200 && count <= sizes[s]; count += count < 70 ? 1 : 43) {
            dpt_order order = dpt_order_create(sizes[s], 4);
            uint64_t first = (sizes[s] - count) / 2;
            dpt_order_run(&order, 9, first, count, run);
            int wrong = 0;
            for (uint64_t i = 0; i < count; i++) wrong += run[i] != dpt_order_exact(&order, 9, first + i);
            CHECK_EQ_I64(wrong, 0);
        }
}

/* Orders of many sizes and keys at once: each position has what its own order gives. */
static void each(void) {
    enum { COUNT = 300 };
    static dpt_order orders[COUNT];
    const dpt_order *order[COUNT];
    uint64_t position[COUNT], sample[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        orders[i] = dpt_order_keyed(i % 7 == 0 ? (1ull << 62) + i : 1 + i * i, i % 5 == 0 ? ~i : i << 32);
        order[i] = &orders[i];
        position[i] = i * 7919 % orders[i].rows;
    }
    for (uint64_t count = 0; count <= COUNT; count += count < 70 ? 1 : 46) {
        int wrong = 0;
        dpt_order_each(order, 1ull << 33, position, count, sample);
        for (uint64_t i = 0; i < count; i++) wrong += sample[i] != dpt_order_exact(order[i], 1ull << 33, position[i]);
        CHECK_EQ_I64(wrong, 0);
    }
}

/* Past 2^33 rows: in range, and no two of the first positions meet. */
static void large(void) {
    enum { TAKEN = 1000 };
    const uint64_t sizes[] = {(1ull << 33) + 1, (1ull << 40) - 1, (1ull << 63) + 1, UINT64_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        dpt_order order = dpt_order_create(sizes[s], 9);
        uint64_t sample[TAKEN], above = 0;
        for (uint64_t i = 0; i < TAKEN; i++) {
            sample[i] = dpt_order_exact(&order, 0, sizes[s] - 1 - i);
            CHECK(sample[i] < sizes[s]);
            above += sample[i] > sizes[s] / 2;
            for (uint64_t j = 0; j < i; j++)
                if (sample[j] == sample[i]) CHECK(!"two positions with one sample");
        }
        CHECK(above > TAKEN / 2 - 80 && above < TAKEN / 2 + 80); /* five standard deviations */
    }
}

/* All 120 orders of 5 rows come up equally often over epochs: chi-square with 119 degrees of freedom. */
static void uniform(void) {
    enum { ROWS = 5, ORDERS = 120, EPOCHS = CHECK_IS_SLOW ? 6000 : 60000 };
    int count[ORDERS] = {0};
    dpt_order order = dpt_order_create(ROWS, 3);
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        uint64_t p[ROWS];
        dpt_order_run(&order, epoch, 0, ROWS, p);
        int code = 0;
        for (int i = 0; i < ROWS; i++) {
            int smaller = 0;
            for (int j = i + 1; j < ROWS; j++) smaller += p[j] < p[i];
            code = code * (ROWS - i) + smaller;
        }
        count[code]++;
    }
    double expected = (double)EPOCHS / ORDERS, chi2 = 0;
    for (int i = 0; i < ORDERS; i++) chi2 += (count[i] - expected) * (count[i] - expected) / expected;
    check_that(chi2 > 60 && chi2 < 200, __FILE__, __LINE__, "chi-square %.1f of 119", chi2);
}

static void depends_on_seed_and_epoch(void) {
    dpt_order a = dpt_order_create(60000, 1), b = dpt_order_create(60000, 2);
    int seed_same = 0, epoch_same = 0, high_same = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t x = dpt_order_exact(&a, 0, i);
        seed_same += x == dpt_order_exact(&b, 0, i);
        epoch_same += x == dpt_order_exact(&a, 1, i);
        high_same += x == dpt_order_exact(&a, 1ull << 32, i);
    }
    CHECK(seed_same < 5 && epoch_same < 5 && high_same < 5);
}

static void steps(void) {
    CHECK_EQ_I64(dpt_epoch_steps(16777217, 64), 262145); /* one too few in 32-bit floats */
    CHECK_EQ_I64(dpt_epoch_steps(64, 64), 1);
    CHECK_EQ_I64(dpt_epoch_steps(1, 64), 1);
    CHECK_EQ_I64(dpt_epoch_steps(1ull << 40, 3), 366503875926);
    CHECK_EQ_I64(dpt_epoch_batch_rows(100, 30, 0), 30);
    CHECK_EQ_I64(dpt_epoch_batch_rows(100, 30, 3), 10);
    CHECK_EQ_I64(dpt_epoch_batch_rows(100, 30, 4), 0);
    CHECK_EQ_I64(dpt_epoch_batch_rows(90, 30, 2), 30);
    CHECK_EQ_I64(dpt_epoch_batch_rows(90, 30, 3), 0);
    CHECK_EQ_I64(dpt_epoch_batch_rows(UINT64_MAX, 1000, UINT64_MAX / 1000), 615);
}

/* Shares tile the batch in order, stay within ceil(B/R), and equal the formula. */
static void shares(void) {
    for (int world = 1; world <= 9; world++)
        for (int64_t rows = 0; rows <= 40; rows++) {
            int64_t next = 0, first, count;
            for (int rank = 0; rank < world; rank++) {
                dpt_share(rows, rank, world, &first, &count);
                CHECK_EQ_I64(first, next);
                CHECK_EQ_I64(first, rank * rows / world);
                CHECK(count >= 0 && count <= (rows + world - 1) / world);
                next = first + count;
            }
            CHECK_EQ_I64(next, rows);
        }
    int64_t first, count; /* where r*B does not fit 64 bits: floor(2/3 (2^63-1)) by hand */
    dpt_share(INT64_MAX, 2, 3, &first, &count);
    CHECK_EQ_I64(first, 6148914691236517204);
    CHECK_EQ_I64(first + count, INT64_MAX);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "sampler", {"golden", golden}, {"bijection", bijection}, {"runs", runs},
                      {"each", each}, {"large", large}, {"uniform", uniform},
                      {"depends_on_seed_and_epoch", depends_on_seed_and_epoch}, {"steps", steps}, {"shares", shares});
}
