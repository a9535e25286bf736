/* Statistics of values as stored, against sums in extended precision over the same values, and bins counted one by one;
 * in any pieces; with values that are no numbers or outside of a range. */
#include "data/statistics.h"

#include <float.h>
#include <stdlib.h>

#include "check.h"

enum { MOST = 20000 };

static double value[MOST];
static uint8_t stored_bytes[MOST * 8];

/* What standard C makes of it, in the machine's order; f16 only for multiples of 1/8 below 128. */
static void encode(dpt_stored stored, int n) {
    for (int i = 0; i < n; i++) {
        uint8_t *at = stored_bytes + i * stored.bytes;
        int64_t whole = (int64_t)value[i];
        float single = (float)value[i];
        if (stored.kind != DPT_STORED_FLOAT) memcpy(at, &whole, stored.bytes);
        if (stored.kind == DPT_STORED_FLOAT && stored.bytes == 8) memcpy(at, &value[i], 8);
        if (stored.kind == DPT_STORED_FLOAT && stored.bytes == 4) memcpy(at, &single, 4);
        if (stored.kind == DPT_STORED_FLOAT && stored.bytes == 2) {
            int exponent;
            double fraction = frexp(fabs(value[i]), &exponent); /* in [1/2, 1) */
            int bits = value[i] == 0 ? 0 : (exponent + 14) << 10 | ((int)(fraction * 2048) & 0x3ff);
            if (value[i] < 0) bits |= 0x8000;
            memcpy(at, &bits, 2);
        }
        for (int k = 0; stored.big_endian && k < stored.bytes / 2; k++) {
            uint8_t byte = at[k];
            at[k] = at[stored.bytes - 1 - k];
            at[stored.bytes - 1 - k] = byte;
        }
    }
}

/* Against the finite ones of value[0, n). */
static void check_all(const dpt_statistics *s, int n, double tolerance) {
    long double sum = 0, squares = 0;
    double min = HUGE_VAL, max = -HUGE_VAL;
    uint64_t count = 0, bins[DPT_HISTOGRAM_BINS] = {0}, wrong = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(value[i])) continue;
        count++;
        sum += value[i];
        min = fmin(min, value[i]);
        max = fmax(max, value[i]);
        double place = floor(ldexp(value[i], -s->exponent)) - (double)s->first;
        if (CHECK(place >= 0 && place < DPT_HISTOGRAM_BINS)) bins[(int)place]++;
    }
    long double mean = sum / (long double)count;
    for (int i = 0; i < n; i++)
        if (isfinite(value[i])) squares += (value[i] - mean) * (value[i] - mean);
    CHECK_EQ_I64(s->added, n);
    CHECK_EQ_I64(s->count, count);
    CHECK(s->min == min && s->max == max);
    CHECK_NEAR(s->mean, (double)mean, tolerance);
    CHECK_NEAR(dpt_statistics_std(s), (double)sqrtl(squares / (long double)count), tolerance);
    for (int i = 0; i < DPT_HISTOGRAM_BINS; i++) wrong += s->bin[i] != bins[i];
    CHECK_EQ_I64(wrong, 0);
    /* bins half as wide would not do */
    double half = floor(ldexp(max, 1 - s->exponent)) - floor(ldexp(min, 1 - s->exponent));
    CHECK(half >= DPT_HISTOGRAM_BINS || s->exponent == 0 || s->exponent < -40);
}

static void types(void) {
    for (int kind = 0; kind < DPT_STORED_KIND_COUNT; kind++)
        for (int bytes = 1; bytes <= 8; bytes *= 2)
            for (int big = 0; big < 2; big++) {
                dpt_stored stored = {.kind = (uint8_t)kind, .bytes = (uint8_t)bytes, .big_endian = big != 0};
                if (!dpt_stored_valid(stored)) continue;
                for (int i = 0; i < 3001; i++) {
                    value[i] = (i * 37) % 101;
                    if (kind != DPT_STORED_UNSIGNED) value[i] -= 50;
                    if (kind == DPT_STORED_FLOAT) value[i] += 0.125 * (i % 8);
                }
                encode(stored, 3001);
                dpt_statistics s = dpt_statistics_begin(stored);
                dpt_statistics_add(&s, stored_bytes, 3001);
                if (!CHECK(s.nans + s.infinities + s.outside == 0)) fprintf(stderr, "%s\n", dpt_stored_text(stored));
                check_all(&s, 3001, 1e-13);
            }
}

static void halves(void) {
    static const struct {
        uint16_t bits;
        double number;
    } known[] = {{0x3c00, 1},         {0xc000, -2},      {0x3555, 0.333251953125}, {0x0001, 0x1p-24},
                 {0x03ff, 0x3ffp-24}, {0x0400, 0x1p-14}, {0x7bff, 65504},          {0x8000, 0}};
    const dpt_stored f16 = {.kind = DPT_STORED_FLOAT, .bytes = 2};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        dpt_statistics s = dpt_statistics_begin(f16);
        dpt_statistics_add(&s, &known[i].bits, 1);
        CHECK(s.count == 1 && s.min == known[i].number && s.max == known[i].number && s.mean == known[i].number);
    }
    const uint16_t bad[] = {0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff};
    dpt_statistics s = dpt_statistics_begin(f16);
    dpt_statistics_add(&s, bad, 5);
    CHECK(s.infinities == 2 && s.nans == 3 && s.count == 0 && s.first_bad == 0);
    CHECK(dpt_statistics_std(&s) == 0 && s.min > s.max);
}

static void fill_wild(int n) {
    uint32_t state = 7;
    for (int i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        value[i] = ((double)state / 4294967296 - 0.3) * pow(10, i * 6.0 / n - 3);
        if (i % 1000 == 777) value[i] = i % 3 ? NAN : -HUGE_VAL;
    }
}

/* However the values come, apart or one after the other: the same counts, and means that agree. */
static void pieces(void) {
    const dpt_stored f64 = dpt_stored_of(DPT_F64);
    fill_wild(MOST);
    dpt_statistics whole = dpt_statistics_begin(f64), parts = whole, merged = whole, part;
    whole.low = parts.low = merged.low = -100, whole.high = parts.high = merged.high = 50;
    dpt_statistics_add(&whole, value, MOST);
    check_all(&whole, MOST, 1e-12);
    CHECK_EQ_I64(whole.first_bad, 777);
    CHECK(whole.nans > 0 && whole.infinities > 0 && whole.nans + whole.infinities == MOST / 1000);
    uint64_t outside = 0, first = UINT64_MAX;
    for (int i = 0; i < MOST; i++)
        if (isfinite(value[i]) && (value[i] < -100 || value[i] > 50)) {
            if (outside++ == 0) first = (uint64_t)i;
        }
    CHECK(outside > 0 && whole.outside == outside && whole.first_outside == first);
    for (int i = 0, n; i < MOST; i += n) {
        n = 1 + (i * 7) % 997;
        if (n > MOST - i) n = MOST - i;
        dpt_statistics_add(&parts, value + i, (uint64_t)n);
        part = dpt_statistics_begin(f64);
        part.low = -100, part.high = 50;
        dpt_statistics_add(&part, value + i, (uint64_t)n);
        dpt_statistics_merge(&merged, &part);
    }
    const dpt_statistics *others[] = {&parts, &merged};
    for (int k = 0; k < 2; k++) {
        const dpt_statistics *s = others[k];
        check_all(s, MOST, 1e-12);
        CHECK(s->nans == whole.nans && s->infinities == whole.infinities && s->first_bad == 777);
        CHECK(s->outside == outside && s->first_outside == first);
        CHECK(s->exponent == whole.exponent && s->first == whole.first);
    }
    part = dpt_statistics_begin(f64);
    dpt_statistics_merge(&part, &whole);
    CHECK(part.mean == whole.mean && part.squares == whole.squares && part.first_bad == 777);
    dpt_statistics_merge(&part, &(dpt_statistics){.first_bad = UINT64_MAX, .first_outside = UINT64_MAX});
    CHECK(part.mean == whole.mean && part.count == whole.count);
}

/* Far from 0 the sum of squares itself would have no digit left; the widest and narrowest ranges. */
static void extremes(void) {
    const dpt_stored f64 = dpt_stored_of(DPT_F64);
    for (int i = 0; i < 9999; i++) value[i] = 1e9 + i % 3;
    dpt_statistics s = dpt_statistics_begin(f64);
    dpt_statistics_add(&s, value, 9999);
    check_all(&s, 9999, 1e-10); /* the mean of a block is rounded at 1e-7 */
    CHECK_NEAR(dpt_statistics_std(&s), sqrt(2.0 / 3), 1e-9);
    const double sets[][3] = {
        {0, 0, 0},         {0.1, 0.1, 0.1}, {DBL_MAX, -DBL_MAX, 0}, {5e-324, 0, -5e-324}, {-1, -1 + DBL_EPSILON, -1},
        {1e300, 1e-300, 3}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        s = dpt_statistics_begin(f64);
        uint64_t binned = 0;
        for (int k = 0; k < 3; k++) dpt_statistics_add(&s, &sets[i][k], 1);
        for (int k = 0; k < DPT_HISTOGRAM_BINS; k++) binned += s.bin[k];
        CHECK_EQ_I64(binned, 3);
        CHECK(i > 1 || dpt_statistics_std(&s) == 0);
    }
    const uint64_t ids[] = {0, UINT64_MAX, 5};
    s = dpt_statistics_begin((dpt_stored){.kind = DPT_STORED_UNSIGNED, .bytes = 8});
    dpt_statistics_add(&s, ids, 3);
    CHECK(s.min == 0 && s.max == 0x1p64 && s.bin[0] == 2 && s.count == 3);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "statistics", {"types", types}, {"halves", halves}, {"pieces", pieces},
                      {"extremes", extremes});
}
