/* statistics.c: see statistics.h. Values go through in blocks that fit in the first cache: to f64, what is not finite
 * taken out, then extremes, sums and bins. A block's mean and squares are joined with those before it (Chan, Golub and
 * LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979):
 *
 *   d = mean_b - mean_a,   mean = mean_a + d n_b / n,   squares = squares_a + squares_b + d^2 n_a n_b / n
 *
 * Invariant: exponent and first follow from min and max alone, so that a histogram does not depend on the pieces. */
#include "data/statistics.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "backend/parallel.h"

enum { BLOCK = 2048, LANES = 8, SPREAD = 4, LEAST_EXPONENT = -1000, PLACE_BITS = 45 };

dpt_statistics dpt_statistics_begin(dpt_stored stored) {
    return (dpt_statistics){.stored = stored,
                            .low = -HUGE_VAL,
                            .high = HUGE_VAL,
                            .first_bad = UINT64_MAX,
                            .first_outside = UINT64_MAX,
                            .min = HUGE_VAL,
                            .max = -HUGE_VAL};
}

double dpt_statistics_std(const dpt_statistics *s) {
    return s->count > 0 && s->min < s->max ? sqrt(s->squares / (double)s->count) : 0;
}

/* ---- from the file's types ---- */

static uint8_t same_8(uint8_t bits) { return bits; }

/* A half as a float: its bits moved into place are the number times 2^-112, subnormal ones too. */
static float half(uint16_t bits) {
    uint32_t moved = (uint32_t)(bits & 0x7fff) << 13;
    float number;
    memcpy(&number, &moved, sizeof number);
    number *= 0x1p112f;
    if ((bits & 0x7c00) == 0x7c00) number = (bits & 0x3ff) ? NAN : HUGE_VALF;
    return bits & 0x8000 ? -number : number;
}

/* U holds the element's bits; expression makes the number of them. */
#define LOAD(name, U, swap, expression)                                                                          \
    DPT_MULTIVERSION static void name(const uint8_t *restrict in, int64_t n, bool swapped, double *restrict x) { \
        for (int64_t i = 0; i < n; i++) {                                                                        \
            U bits;                                                                                              \
            memcpy(&bits, in + i * (int64_t)sizeof bits, sizeof bits);                                           \
            if (swapped) bits = swap(bits);                                                                      \
            x[i] = (double)(expression);                                                                         \
        }                                                                                                        \
    }
#define LOAD_FLOAT(name, T, U, swap)                                                                             \
    DPT_MULTIVERSION static void name(const uint8_t *restrict in, int64_t n, bool swapped, double *restrict x) { \
        for (int64_t i = 0; i < n; i++) {                                                                        \
            U bits;                                                                                              \
            T number;                                                                                            \
            memcpy(&bits, in + i * (int64_t)sizeof bits, sizeof bits);                                           \
            if (swapped) bits = swap(bits);                                                                      \
            memcpy(&number, &bits, sizeof bits);                                                                 \
            x[i] = (double)number;                                                                               \
        }                                                                                                        \
    }
LOAD(load_u8, uint8_t, same_8, bits)
LOAD(load_u16, uint16_t, __builtin_bswap16, bits)
LOAD(load_u32, uint32_t, __builtin_bswap32, bits)
LOAD(load_u64, uint64_t, __builtin_bswap64, bits)
LOAD(load_i8, uint8_t, same_8, (int8_t)bits)
LOAD(load_i16, uint16_t, __builtin_bswap16, (int16_t)bits)
LOAD(load_i32, uint32_t, __builtin_bswap32, (int32_t)bits)
LOAD(load_i64, uint64_t, __builtin_bswap64, (int64_t)bits)
LOAD(load_f16, uint16_t, __builtin_bswap16, half(bits))
LOAD_FLOAT(load_f32, float, uint32_t, __builtin_bswap32)
LOAD_FLOAT(load_f64, double, uint64_t, __builtin_bswap64)

typedef void (*load_fn)(const uint8_t *in, int64_t n, bool swapped, double *x);

static load_fn loader_of(dpt_stored stored) {
    static const load_fn load[DPT_STORED_KIND_COUNT][4] = {
        [DPT_STORED_FLOAT] = {NULL, load_f16, load_f32, load_f64},
        [DPT_STORED_SIGNED] = {load_i8, load_i16, load_i32, load_i64},
        [DPT_STORED_UNSIGNED] = {load_u8, load_u16, load_u32, load_u64}};
    return load[stored.kind][stored.bytes == 8 ? 3 : stored.bytes / 2];
}

/* ---- blocks ---- */

/* What is not finite; comparing with the largest number is false for NaN too. */
DPT_MULTIVERSION static int64_t count_bad(const double *x, int64_t n) {
    int64_t bad = 0;
    _Pragma("omp simd reduction(+ : bad)") for (int64_t i = 0; i < n; i++) bad += !(fabs(x[i]) <= DBL_MAX);
    return bad;
}

/* Keeps the finite ones. */
static int64_t take_out_bad(dpt_statistics *s, double *x, int64_t n) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            x[kept++] = x[i];
            continue;
        }
        if (s->first_bad == UINT64_MAX) s->first_bad = s->added + (uint64_t)i;
        if (isnan(x[i]))
            s->nans++;
        else
            s->infinities++;
    }
    return kept;
}

static void count_outside(dpt_statistics *s, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] < s->low || x[i] > s->high)) continue; /* NaN: counted elsewhere */
        if (isinf(x[i])) continue;
        if (s->first_outside == UINT64_MAX) s->first_outside = s->added + (uint64_t)i;
        s->outside++;
    }
}

typedef struct summary {
    double min, max, sum;
} summary;

/* In lanes of a fixed number, so that sums do not depend on the machine's vectors. */
DPT_MULTIVERSION static void summarise(const double *x, int64_t n, summary *out) {
    double min[LANES], max[LANES], sum[LANES] = {0};
    for (int l = 0; l < LANES; l++) min[l] = max[l] = x[0];
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) _Pragma("omp simd") for (int l = 0; l < LANES; l++) {
            const double v = x[i + l];
            min[l] = v < min[l] ? v : min[l];
            max[l] = v > max[l] ? v : max[l];
            sum[l] += v;
        }
    for (int l = 0; i < n; i++, l++) {
        min[l] = fmin(min[l], x[i]);
        max[l] = fmax(max[l], x[i]);
        sum[l] += x[i];
    }
    *out = (summary){min[0], max[0], sum[0]};
    for (int l = 1; l < LANES; l++) *out = (summary){fmin(out->min, min[l]), fmax(out->max, max[l]), out->sum + sum[l]};
}

DPT_MULTIVERSION static double squares_around(const double *x, int64_t n, double mean) {
    double lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _Pragma("omp simd") for (int l = 0; l < LANES; l++) lane[l] += (x[i + l] - mean) * (x[i + l] - mean);
    for (int l = 0; i < n; i++, l++) lane[l] += (x[i] - mean) * (x[i] - mean);
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

static void join_moments(dpt_statistics *s, uint64_t count, double mean, double squares) {
    if (count == 0) return;
    double a = (double)s->count, b = (double)count, d = mean - s->mean;
    s->count += count;
    s->mean += d * (b / (a + b));
    s->squares += squares + d * d * (a * (b / (a + b)));
}

/* ---- the histogram ---- */

/* floor(place / 2^shift), for any shift >= 0. */
static int64_t coarser(int64_t place, int shift) { return place >> (shift < 63 ? shift : 63); }

static int64_t place_of(double value, int exponent) { return (int64_t)floor(value * ldexp(1, -exponent)); }

/* The smallest with which values from min to max fit in the bins and places stay exact. */
static int exponent_for(const dpt_statistics *s, double min, double max) {
    int exponent = s->stored.kind == DPT_STORED_FLOAT ? LEAST_EXPONENT : 0;
    const double most = fmax(fabs(min), fabs(max)), range = max / 2 - min / 2; /* half of it: it may overflow */
    if (most > 0 && ilogb(most) - PLACE_BITS > exponent) exponent = ilogb(most) - PLACE_BITS;
    if (range > 0 && ilogb(range) - 5 > exponent) exponent = ilogb(range) - 5;
    while (place_of(max, exponent) - place_of(min, exponent) >= DPT_HISTOGRAM_BINS) exponent++;
    return exponent;
}

/* Makes bins for values from min to max as well, and moves the counts there. */
static void widen(dpt_statistics *s, double min, double max) {
    uint64_t old[DPT_HISTOGRAM_BINS];
    const int before = s->exponent;
    const int64_t first = s->first;
    const bool empty = s->min > s->max;
    s->min = fmin(s->min, min);
    s->max = fmax(s->max, max);
    s->exponent = exponent_for(s, s->min, s->max);
    s->first = place_of(s->min, s->exponent);
    if (empty || (s->exponent == before && s->first == first)) return;
    memcpy(old, s->bin, sizeof old);
    memset(s->bin, 0, sizeof s->bin);
    for (int i = 0; i < DPT_HISTOGRAM_BINS; i++)
        if (old[i] > 0) s->bin[coarser(first + i, s->exponent - before) - s->first] += old[i];
}

/* Which bin each value goes to. */
DPT_MULTIVERSION static void find_bins(const double *x, int64_t n, double scale, double first, int32_t *bin) {
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) bin[i] = (int32_t)(floor(x[i] * scale) - first);
}

static void count_bins(dpt_statistics *s, const double *x, int64_t n) {
    int32_t bin[BLOCK];
    uint32_t table[SPREAD][DPT_HISTOGRAM_BINS] = {{0}}; /* equal neighbours do not wait for each other */
    find_bins(x, n, ldexp(1, -s->exponent), (double)s->first, bin);
    for (int64_t i = 0; i < n; i++) table[i % SPREAD][bin[i]]++;
    for (int t = 0; t < SPREAD; t++)
        for (int i = 0; i < DPT_HISTOGRAM_BINS; i++) s->bin[i] += table[t][i];
}

static void add_block(dpt_statistics *s, double *x, int64_t n) {
    const int64_t all = n;
    if (s->low > -HUGE_VAL || s->high < HUGE_VAL) count_outside(s, x, n);
    if (count_bad(x, n) > 0) n = take_out_bad(s, x, n);
    s->added += (uint64_t)all;
    if (n == 0) return;
    summary block;
    summarise(x, n, &block);
    const double mean = block.sum / (double)n;
    if (block.min < s->min || block.max > s->max) widen(s, block.min, block.max);
    join_moments(s, (uint64_t)n, mean, squares_around(x, n, mean));
    count_bins(s, x, n);
}

void dpt_statistics_add(dpt_statistics *s, const void *values, uint64_t n) {
    const load_fn load = loader_of(s->stored);
    const uint8_t *in = values;
    double x[BLOCK];
    while (n > 0) {
        const int64_t count = n < BLOCK ? (int64_t)n : BLOCK;
        load(in, count, s->stored.big_endian, x);
        add_block(s, x, count);
        in += count * s->stored.bytes;
        n -= (uint64_t)count;
    }
}

void dpt_statistics_skip(dpt_statistics *s, uint64_t n) { s->added += n; }

void dpt_statistics_merge(dpt_statistics *into, const dpt_statistics *other) {
    if (into->first_bad == UINT64_MAX && other->first_bad != UINT64_MAX)
        into->first_bad = into->added + other->first_bad;
    if (into->first_outside == UINT64_MAX && other->first_outside != UINT64_MAX)
        into->first_outside = into->added + other->first_outside;
    into->added += other->added;
    into->nans += other->nans;
    into->infinities += other->infinities;
    into->outside += other->outside;
    if (other->count == 0) return;
    widen(into, other->min, other->max);
    join_moments(into, other->count, other->mean, other->squares);
    for (int i = 0; i < DPT_HISTOGRAM_BINS; i++)
        if (other->bin[i] > 0)
            into->bin[coarser(other->first + i, into->exponent - other->exponent) - into->first] += other->bin[i];
}
