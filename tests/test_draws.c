/* Weighted, balanced and bucketed orders: golden values of another program, what each promises as a property, threads,
 * bad tables, memory that runs out. */
#include "data/draws.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"
#include "data/sampler.h"
#include "golden/draws.h"

enum { MOST = 3000 };

static double weight[MOST];
static int64_t label[MOST];
static uint64_t length[MOST], row[MOST];

static uint64_t row_at(const dpt_draws *draws, uint64_t epoch, uint64_t position) {
    uint64_t at = UINT64_MAX;
    CHECK_OK(dpt_draws_rows(draws, epoch, position, 1, &at));
    return at;
}

/* ---- the tables of tests/golden/draws.py ---- */

static void set_weights(int kind, uint64_t rows) {
    for (uint64_t i = 0; i < rows; i++)
        weight[i] = kind == 0   ? (double)(i * 37 % 11)
                    : kind == 1 ? ldexp(1, -(int)(i * 5 % 1070))
                    : kind == 2 ? 1.7e308 / (double)(1 + i)
                                : 5e-324 * (double)(i % 3);
}

static void set_labels(uint64_t rows, uint64_t classes) {
    for (uint64_t i = 0; i < rows; i++) label[i] = (int64_t)(i >= classes ? i * i % classes : i);
}

static void set_lengths(uint64_t rows) {
    for (uint64_t i = 0; i < rows; i++) length[i] = i * 7919 % 101 + i % 3 * 1000;
}

static void golden_weighted(void) {
    for (size_t i = 0; i < sizeof weighted_rows / sizeof *weighted_rows; i++) {
        const struct weighted_row *g = &weighted_rows[i];
        dpt_draws *draws;
        set_weights(g->kind, g->rows);
        if (!CHECK_OK(dpt_draws_weighted(weight, g->rows, g->seed, &draws))) return;
        CHECK_EQ_I64(row_at(draws, g->epoch, g->position), g->row);
        dpt_draws_destroy(&draws);
    }
}

static void golden_balanced(void) {
    for (size_t i = 0; i < sizeof balanced_rows / sizeof *balanced_rows; i++) {
        const struct balanced_row *g = &balanced_rows[i];
        dpt_draws *draws;
        set_labels(g->rows, g->classes);
        if (!CHECK_OK(dpt_draws_balanced(label, g->rows, (int64_t)g->classes, g->seed, &draws))) return;
        CHECK_EQ_I64(row_at(draws, g->epoch, g->position), g->row);
        dpt_draws_destroy(&draws);
    }
}

static void golden_buckets(void) {
    for (size_t i = 0; i < sizeof buckets_rows / sizeof *buckets_rows; i++) {
        const struct buckets_row *g = &buckets_rows[i];
        dpt_draws *draws;
        set_lengths(g->rows);
        if (!CHECK_OK(dpt_draws_buckets(length, g->rows, (int64_t)g->batch, (int64_t)g->batches, g->seed, &draws)))
            return;
        CHECK_EQ_I64(row_at(draws, g->epoch, g->position), g->row);
        dpt_draws_destroy(&draws);
    }
}

/* ---- weighted ---- */

/* Each row as often as its weight says, within five standard deviations; rows of weight 0 never, at either end too. */
static void frequencies(void) {
    enum { ROWS = 20, EPOCHS = CHECK_IS_SLOW ? 500 : 5000 };
    int64_t times[ROWS] = {0};
    double all = 0;
    dpt_draws *draws;
    for (int i = 0; i < ROWS; i++) all += weight[i] = i == 0 || i == 7 || i == ROWS - 1 ? 0 : i * 0.1;
    if (!CHECK_OK(dpt_draws_weighted(weight, ROWS, 3, &draws))) return;
    CHECK(!dpt_draws_once(draws));
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        CHECK_OK(dpt_draws_rows(draws, epoch, 0, ROWS, row));
        for (int i = 0; i < ROWS; i++) times[row[i]]++;
    }
    for (int i = 0; i < ROWS; i++) {
        double p = weight[i] / all, n = (double)ROWS * EPOCHS;
        check_that(fabs((double)times[i] - n * p) <= 5 * sqrt(n * p * (1 - p)), __FILE__, __LINE__,
                   "row %d of weight %g came %lld times, not about %g", i, weight[i], (long long)times[i], n * p);
    }
    dpt_draws_destroy(&draws);
}

/* Powers of two as factors change nothing, however large: all arithmetic is exact. */
static void scale(void) {
    dpt_draws *as_they_are, *scaled;
    set_weights(0, 1000);
    CHECK_OK(dpt_draws_weighted(weight, 1000, 9, &as_they_are));
    for (int power = -1000; power <= 1000; power += 500) {
        set_weights(0, 1000);
        for (int i = 0; i < 1000; i++) weight[i] = ldexp(weight[i], power);
        CHECK_OK(dpt_draws_weighted(weight, 1000, 9, &scaled));
        for (uint64_t p = 0; p < 100; p++) CHECK_EQ_I64(row_at(scaled, 1, p), row_at(as_they_are, 1, p));
        dpt_draws_destroy(&scaled);
    }
    dpt_draws_destroy(&as_they_are);
}

static void bad_weights(void) {
    const struct {
        double value;
        const char *text;
    } bad[] = {{-1, "the weight of row 4 is -1: weights are finite, and 0 at least"},
               {NAN, "the weight of row 4 is nan"},
               {HUGE_VAL, "the weight of row 4 is inf"}};
    dpt_draws *draws;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        set_weights(0, 10);
        weight[4] = bad[i].value;
        CHECK_FAILS(dpt_draws_weighted(weight, 10, 0, &draws), DPT_ERR_DATA, bad[i].text);
        CHECK(draws == NULL);
    }
    for (int i = 0; i < 10; i++) weight[i] = 0;
    CHECK_FAILS(dpt_draws_weighted(weight, 10, 0, &draws), DPT_ERR_DATA, "the weights of all 10 rows are 0");
    CHECK_FAILS(dpt_draws_weighted(weight, 0, 0, &draws), DPT_ERR_ARG, "0 rows");
    weight[9] = 5e-324;
    CHECK_OK(dpt_draws_weighted(weight, 10, 0, &draws));
    CHECK_EQ_I64(row_at(draws, 0, 0), 9);
    CHECK_FAILS(dpt_draws_rows(draws, 0, 5, 6, row), DPT_ERR_ARG, "positions 5 to 11 of an epoch of 10");
    dpt_draws_destroy(&draws);
}

/* ---- balanced ---- */

/* Over the ends of epochs: every run of C positions from a multiple of C on holds each class once, and each class all
 * of its rows once, again and again. */
static void rounds(void) {
    enum { ROWS = 53, CLASSES = 6, EPOCHS = 40 };
    static uint64_t taken[EPOCHS * ROWS];
    int64_t times[ROWS] = {0}, of_class[CLASSES] = {0}, drawn[CLASSES] = {0};
    dpt_draws *draws;
    for (int i = 0; i < ROWS; i++) label[i] = i % 9 == 8 ? DPT_NO_CLASS : i < 30 ? 2 : i % CLASSES;
    for (int i = 0; i < ROWS; i++) of_class[label[i] < 0 ? 0 : label[i]] += label[i] >= 0;
    if (!CHECK_OK(dpt_draws_balanced(label, ROWS, CLASSES, 8, &draws))) return;
    CHECK(!dpt_draws_once(draws));
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++)
        CHECK_OK(dpt_draws_rows(draws, epoch, 0, ROWS, taken + epoch * ROWS));
    for (int64_t i = 0; i < EPOCHS * ROWS; i++) {
        int64_t c = label[taken[i]];
        if (!CHECK(c >= 0)) break;
        CHECK_EQ_I64(drawn[c], i / CLASSES); /* so of each round before this one once, and in this one not yet */
        CHECK_EQ_I64(times[taken[i]], drawn[c] / of_class[c]);
        times[taken[i]]++;
        drawn[c]++;
    }
    dpt_draws_destroy(&draws);
}

/* The order of classes changes from round to round, and that of a class's rows from cycle to cycle. */
static void shuffled(void) {
    enum { ROWS = 400, CLASSES = 4 };
    dpt_draws *draws;
    int same_class = 0, same_row = 0;
    for (int i = 0; i < ROWS; i++) label[i] = i % CLASSES;
    CHECK_OK(dpt_draws_balanced(label, ROWS, CLASSES, 1, &draws));
    for (uint64_t p = 0; p + CLASSES < ROWS; p++) {
        same_class += label[row_at(draws, 0, p)] == label[row_at(draws, 0, p + CLASSES)];
        same_row += row_at(draws, 0, p) == row_at(draws, 1, p);
    }
    CHECK(same_class > 50 && same_class < 150 && same_row < 20); /* 99 and 1 are expected */
    dpt_draws_destroy(&draws);
}

static void missing_classes(void) {
    dpt_draws *draws;
    char text[160];
    const int64_t two[] = {5, 0, 1, 0, 2}, none[] = {1, 1};
    int64_t many[40] = {0};
    CHECK_EQ_I64(dpt_classes_missing(two, 5, text, sizeof text), 2);
    CHECK_EQ_TEXT(text, "1 and 3 (2 of 5)");
    CHECK_EQ_I64(dpt_classes_missing(none, 2, text, sizeof text), 0);
    CHECK_EQ_I64(dpt_classes_missing(many, 40, text, sizeof text), 40);
    CHECK_EQ_TEXT(text, "0, 1, 2, 3, 4, 5, 6, 7, ... (40 of 40)");
    set_labels(100, 10);
    for (int i = 0; i < 100; i++) label[i] = label[i] == 3 ? 4 : label[i];
    CHECK_FAILS(dpt_draws_balanced(label, 100, 10, 0, &draws), DPT_ERR_DATA,
                "balanced order: no row has label 3 (1 of 10)");
    CHECK(draws == NULL);
    label[60] = 10;
    CHECK_FAILS(dpt_draws_balanced(label, 100, 10, 0, &draws), DPT_ERR_DATA,
                "the label of row 60 is 10: labels are 0 to 9");
    label[60] = -2;
    CHECK_FAILS(dpt_draws_balanced(label, 100, 10, 0, &draws), DPT_ERR_DATA, "the label of row 60 is -2");
    CHECK_FAILS(dpt_draws_balanced(label, 100, 0, 0, &draws), DPT_ERR_ARG, "0 classes");
}

/* ---- by length ---- */

typedef struct range {
    uint64_t least, most;
} range;

static range lengths_of(const uint64_t *rows, uint64_t count) {
    range r = {UINT64_MAX, 0};
    for (uint64_t i = 0; i < count; i++) {
        if (length[rows[i]] < r.least) r.least = length[rows[i]];
        if (length[rows[i]] > r.most) r.most = length[rows[i]];
    }
    return r;
}

/* Every row once an epoch; of two batches of a window one has the shorter rows; the tail is not sorted; batches come in
 * any order of lengths. */
static void windows(void) {
    const struct {
        uint64_t rows, batch, batches;
    } shapes[] = {{2000, 32, 10}, {2016, 32, 7}, {31, 32, 4}, {96, 32, 3}, {97, 32, 1}, {1, 1, 1}, {500, 1, 20}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const uint64_t n = shapes[s].rows, b = shapes[s].batch, whole = n / b * b;
        dpt_draws *draws;
        set_lengths(n);
        if (!CHECK_OK(dpt_draws_buckets(length, n, (int64_t)b, (int64_t)shapes[s].batches, 4, &draws))) return;
        CHECK(dpt_draws_once(draws));
        dpt_order order = dpt_order_keyed(n, dpt_random_key("buckets", 4));
        int rising = 0, pairs = 0;
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            uint8_t seen[MOST] = {0};
            CHECK_OK(dpt_draws_rows(draws, epoch, 0, n, row));
            for (uint64_t i = 0; i < n; i++) CHECK(row[i] < n && seen[row[i]]++ == 0);
            for (uint64_t i = whole; i < n; i++) CHECK_EQ_I64(row[i], dpt_order_exact(&order, epoch, i));
            for (uint64_t x = 0; x < whole / b; x++)
                for (uint64_t y = x + 1; y < whole / b && y / shapes[s].batches == x / shapes[s].batches; y++) {
                    range first = lengths_of(row + x * b, b), other = lengths_of(row + y * b, b);
                    CHECK(first.most <= other.least || other.most <= first.least);
                    rising += first.most <= other.least;
                    pairs++;
                }
        }
        if (pairs > 200) CHECK(rising > pairs / 3 && rising < pairs * 2 / 3);
        dpt_draws_destroy(&draws);
    }
}

enum { READERS = 4, WHOLE = 3 * 700 };

static dpt_draws *shared;
static uint64_t expected[WHOLE];

/* A thread at its own places, most of them in windows of others. */
static void *read_somewhere(void *user) {
    uint64_t at[25], state = *(uint64_t *)user, wrong = 0;
    for (int k = 0; k < (CHECK_IS_SLOW ? 60 : 400); k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t epoch = (state >> 33) % 3, p = (state >> 40) % 676;
        if (dpt_draws_rows(shared, epoch, p, 25, at) != DPT_OK) wrong++;
        for (int i = 0; i < 25; i++) wrong += at[i] != expected[epoch * 700 + p + (uint64_t)i];
    }
    *(uint64_t *)user = wrong;
    return NULL;
}

static void threads(void) {
    pthread_t thread[READERS];
    uint64_t user[READERS];
    set_lengths(700);
    if (!CHECK_OK(dpt_draws_buckets(length, 700, 20, 4, 6, &shared))) return;
    for (uint64_t epoch = 0; epoch < 3; epoch++) /* position after position, each alone */
        for (uint64_t p = 0; p < 700; p++) expected[epoch * 700 + p] = row_at(shared, epoch, p);
    for (uint64_t i = 0; i < READERS; i++) {
        user[i] = i;
        pthread_create(&thread[i], NULL, read_somewhere, &user[i]);
    }
    for (int i = 0; i < READERS; i++) {
        pthread_join(thread[i], NULL);
        CHECK_EQ_I64(user[i], 0);
    }
    dpt_draws_destroy(&shared);
}

static dpt_status make(int kind, dpt_draws **draws) {
    if (kind == 0) return dpt_draws_weighted(weight, 90, 1, draws);
    if (kind == 1) return dpt_draws_balanced(label, 90, 9, 1, draws);
    return dpt_draws_buckets(length, 90, 8, 4, 1, draws);
}

/* Each allocation fails once. */
static void memory(void) {
    set_weights(0, 90);
    set_labels(90, 9);
    set_lengths(90);
    for (int kind = 0; kind < 3; kind++) {
        int failures = 0;
        for (int64_t n = 1;; n++) {
            dpt_draws *draws = NULL;
            dpt_alloc_fail_at(n);
            dpt_status status = make(kind, &draws);
            bool made = status == DPT_OK;
            if (made) status = dpt_draws_rows(draws, 0, 0, 90, row);
            dpt_alloc_fail_at(0);
            CHECK(status == DPT_OK || status == DPT_ERR_MEMORY);
            CHECK(made == (draws != NULL));
            if (made) CHECK_OK(dpt_draws_rows(draws, 0, 0, 90, row));
            dpt_draws_destroy(&draws);
            if (status == DPT_OK) break;
            failures++;
        }
        CHECK(failures >= 2);
    }
    dpt_draws *draws;
    CHECK_FAILS(dpt_draws_buckets(length, 90, 0, 4, 1, &draws), DPT_ERR_ARG, "windows of 4 batches of 0 rows");
    CHECK_FAILS(dpt_draws_buckets(length, 90, 8, 0, 1, &draws), DPT_ERR_ARG, "windows of 0 batches");
    CHECK_OK(dpt_draws_buckets(length, 90, INT64_MAX, INT64_MAX, 1, &draws));
    CHECK_OK(dpt_draws_rows(draws, 0, 0, 90, row));
    dpt_draws_destroy(&draws);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "draws", {"golden_weighted", golden_weighted}, {"golden_balanced", golden_balanced},
                      {"golden_buckets", golden_buckets}, {"frequencies", frequencies}, {"scale", scale},
                      {"bad_weights", bad_weights}, {"rounds", rounds}, {"shuffled", shuffled},
                      {"missing_classes", missing_classes}, {"windows", windows}, {"threads", threads},
                      {"memory", memory});
}
