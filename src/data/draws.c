/* draws.c: weighted and balanced order, and what all have in common; draws_buckets.c is the one by length. draws.h is
 * the definition of each.
 *
 * Invariant: after creation only the tables of windows change, under their lock. */
#include "data/draws.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/random.h"
#include "data/draws_buckets.h"
#include "data/sampler.h"

typedef unsigned __int128 wide;

typedef struct class_rows {
    uint64_t first; /* in `table` */
    dpt_order order;
} class_rows;

typedef void (*rows_fn)(const dpt_draws *draws, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row);

struct dpt_draws {
    uint64_t rows, key;
    rows_fn find;    /* NULL: by length */
    uint64_t *table; /* weighted: C [rows]; balanced: rows, class by class */
    uint64_t classes;
    class_rows *of_class; /* [classes] */
    dpt_order rounds;     /* of the classes */
    dpt_buckets *buckets;
};

void dpt_draws_destroy(dpt_draws **draws) {
    dpt_draws *d = *draws;
    *draws = NULL;
    if (d == NULL) return;
    dpt_buckets_destroy(&d->buckets);
    dpt_free(d->table);
    dpt_free(d->of_class);
    dpt_free(d);
}

bool dpt_draws_once(const dpt_draws *draws) { return draws->buckets != NULL; }

dpt_status dpt_draws_rows(const dpt_draws *draws, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row) {
    DPT_CHECK(position <= draws->rows && count <= draws->rows - position, DPT_ERR_ARG,
              "positions %llu to %llu of an epoch of %llu", (unsigned long long)position,
              (unsigned long long)(position + count), (unsigned long long)draws->rows);
    if (draws->buckets) return dpt_buckets_rows(draws->buckets, epoch, position, count, row);
    draws->find(draws, epoch, position, count, row);
    return DPT_OK;
}

static dpt_status create(uint64_t rows, uint64_t key, dpt_draws **draws) {
    *draws = NULL;
    DPT_CHECK(rows > 0, DPT_ERR_ARG, "an order of 0 rows");
    *draws = dpt_alloc_zero(1, sizeof **draws);
    DPT_CHECK_ALLOC(*draws);
    (*draws)->rows = rows;
    (*draws)->key = key;
    return DPT_OK;
}

/* ---- weighted ---- */

static void weighted_rows(const dpt_draws *d, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row) {
    const uint64_t all = d->table[d->rows - 1];
    for (uint64_t i = 0; i < count; i++, position++) {
        dpt_random4 w = dpt_philox(d->key, (uint32_t)position, (uint32_t)(position >> 32), (uint32_t)epoch,
                                   (uint32_t)(epoch >> 32));
        uint64_t r = (uint64_t)w.v[1] << 32 | w.v[0], wanted = (uint64_t)((wide)r * all >> 64);
        uint64_t low = 0, high = d->rows - 1; /* the row lies in [low, high] */
        while (low < high) {
            uint64_t middle = low + (high - low) / 2;
            if (d->table[middle] > wanted)
                high = middle;
            else
                low = middle + 1;
        }
        row[i] = low;
    }
}

static dpt_status greatest_weight(const double *weight, uint64_t rows, double *greatest) {
    *greatest = 0;
    for (uint64_t i = 0; i < rows; i++) {
        DPT_CHECK(weight[i] >= 0 && weight[i] < HUGE_VAL, DPT_ERR_DATA,
                  "the weight of row %llu is %g: weights are finite, and 0 at least", (unsigned long long)i, weight[i]);
        if (weight[i] > *greatest) *greatest = weight[i];
    }
    DPT_CHECK(*greatest > 0, DPT_ERR_DATA, "the weights of all %llu rows are 0", (unsigned long long)rows);
    return DPT_OK;
}

/* floor(weight 2^power) of a weight that leaves it below 2^127. */
static wide scaled(double weight, int power) {
    int exponent;
    if (weight == 0) return 0;
    uint64_t digits = (uint64_t)ldexp(frexp(weight, &exponent), 53); /* weight = digits 2^(exponent - 53) */
    int shift = exponent - 53 + power;
    if (shift >= 0) return (wide)digits << shift;
    return shift > -64 ? digits >> -shift : 0;
}

static int bits_of(wide x) {
    uint64_t high = (uint64_t)(x >> 64), low = (uint64_t)x;
    return high ? 128 - __builtin_clzll(high) : low ? 64 - __builtin_clzll(low) : 0;
}

dpt_status dpt_draws_weighted(const double *weight, uint64_t rows, uint64_t seed, dpt_draws **draws) {
    double greatest;
    int e;
    dpt_status status = DPT_OK;
    DPT_TRY(create(rows, dpt_random_key("weighted", seed), draws));
    dpt_draws *d = *draws;
    d->find = weighted_rows;
    DPT_TRY_GOTO(greatest_weight(weight, rows, &greatest), fail);
    d->table = rows <= SIZE_MAX / sizeof *d->table ? dpt_alloc((size_t)rows * sizeof *d->table) : NULL;
    DPT_CHECK_ALLOC_GOTO(d->table, fail);
    frexp(greatest, &e);
    const int power = 127 - bits_of(rows - 1) - e;
    wide all = 0, sum = 0;
    for (uint64_t i = 0; i < rows; i++) all += scaled(weight[i], power);
    const int shift = bits_of(all) > 64 ? bits_of(all) - 64 : 0;
    for (uint64_t i = 0; i < rows; i++) {
        sum += scaled(weight[i], power);
        d->table[i] = (uint64_t)(sum >> shift);
    }
    return DPT_OK;
fail:
    dpt_draws_destroy(draws);
    return status;
}

/* ---- balanced ---- */

/* The classes of a round that are few come in one go, which costs much less than one by one. */
static void balanced_rows(const dpt_draws *d, uint64_t epoch, uint64_t position, uint64_t count, uint64_t *row) {
    enum { FEW = 256 };
    uint64_t round[FEW];
    wide g = (wide)epoch * d->rows + position;
    for (uint64_t i = 0; i < count; i++, g++) {
        uint64_t t = (uint64_t)(g / d->classes), j = (uint64_t)(g % d->classes);
        bool few = d->classes <= FEW;
        if (few && (i == 0 || j == 0)) dpt_order_run(&d->rounds, t, 0, d->classes, round);
        const class_rows *c = &d->of_class[few ? round[j] : dpt_order_exact(&d->rounds, t, j)];
        row[i] = d->table[c->first + dpt_order_exact(&c->order, t / c->order.rows, t % c->order.rows)];
    }
}

int64_t dpt_classes_missing(const int64_t *count, int64_t classes, char *text, size_t bytes) {
    enum { NAMED = 8 };
    int64_t missing = 0, named = 0;
    size_t used = 0;
    for (int64_t c = 0; c < classes; c++) missing += count[c] == 0;
    text[0] = 0;
    for (int64_t c = 0; c < classes && named < NAMED && named < missing; c++) {
        if (count[c] > 0) continue;
        const char *before = named == 0 ? "" : named + 1 == missing ? " and " : ", ";
        int n = snprintf(text + used, bytes - used, "%s%lld", before, (long long)c);
        named++;
        if (n < 0 || (size_t)n >= bytes - used) return missing;
        used += (size_t)n;
    }
    snprintf(text + used, bytes - used, "%s (%lld of %lld)", missing > named ? ", ..." : "", (long long)missing,
             (long long)classes);
    return missing;
}

/* counts [classes] all 0. */
static dpt_status count_classes(const int64_t *label, uint64_t rows, int64_t classes, int64_t *counts) {
    char missing[160];
    for (uint64_t i = 0; i < rows; i++) {
        DPT_CHECK(label[i] == DPT_NO_CLASS || (label[i] >= 0 && label[i] < classes), DPT_ERR_DATA,
                  "the label of row %llu is %lld: labels are 0 to %lld", (unsigned long long)i, (long long)label[i],
                  (long long)classes - 1);
        if (label[i] != DPT_NO_CLASS) counts[label[i]]++;
    }
    DPT_CHECK(dpt_classes_missing(counts, classes, missing, sizeof missing) == 0, DPT_ERR_DATA,
              "balanced order: no row has label %s", missing);
    return DPT_OK;
}

dpt_status dpt_draws_balanced(const int64_t *label, uint64_t rows, int64_t classes, uint64_t seed, dpt_draws **draws) {
    int64_t *counts = NULL;
    dpt_status status = DPT_OK;
    DPT_CHECK(classes > 0, DPT_ERR_ARG, "%lld classes", (long long)classes);
    DPT_TRY(create(rows, dpt_random_key("balanced", seed), draws));
    dpt_draws *d = *draws;
    d->find = balanced_rows;
    d->classes = (uint64_t)classes;
    d->rounds = dpt_order_keyed((uint64_t)classes, d->key);
    d->of_class = dpt_alloc_zero((size_t)classes, sizeof *d->of_class);
    counts = dpt_alloc_zero((size_t)classes, sizeof *counts);
    d->table = rows <= SIZE_MAX / sizeof *d->table ? dpt_alloc((size_t)rows * sizeof *d->table) : NULL;
    if (!d->of_class || !counts || !d->table) status = DPT_ERR_MEMORY;
    if (status == DPT_OK) status = count_classes(label, rows, classes, counts);
    if (status != DPT_OK) goto fail;
    uint64_t first = 0;
    for (int64_t c = 0; c < classes; c++) {
        d->of_class[c] = (class_rows){first, dpt_order_keyed((uint64_t)counts[c], dpt_draws_key(d->key, (uint64_t)c))};
        first += (uint64_t)counts[c];
        counts[c] = 0; /* from here on: those that stand in the table */
    }
    for (uint64_t i = 0; i < rows; i++)
        if (label[i] != DPT_NO_CLASS) d->table[d->of_class[label[i]].first + (uint64_t)counts[label[i]]++] = i;
    dpt_free(counts);
    return DPT_OK;
fail:
    dpt_free(counts);
    dpt_draws_destroy(draws);
    return status;
}

/* ---- by length ---- */

dpt_status dpt_draws_buckets(const uint64_t *length, uint64_t rows, int64_t global_batch, int64_t batches,
                             uint64_t seed, dpt_draws **draws) {
    DPT_TRY(create(rows, dpt_random_key("buckets", seed), draws));
    dpt_status status = dpt_buckets_create(length, rows, (*draws)->key, global_batch, batches, &(*draws)->buckets);
    if (status != DPT_OK) dpt_draws_destroy(draws);
    return status;
}
