/* Every stored type in both byte orders to every type that an input may have, against the definition of the format in
 * long double; transforms against their formula; one-hot; errors with the element that is wrong. */
#include "data/convert.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "check.h"

_Static_assert(LDBL_MANT_DIG >= 64, "long double holds every integer of 64 bits");

enum { MOST = 1 << 16, CHANNELS = 3 };

static const dpt_dtype wanted[] = {DPT_F32, DPT_F64, DPT_U8, DPT_I32, DPT_I64};

static struct { /* room for values: their bits, what these mean, as bytes in a file, as they come out */
    uint64_t bits[MOST];
    long double value[MOST];
    _Alignas(64) unsigned char stored[8 * MOST + 8];
    _Alignas(64) double out[MOST];
} room;

/* ---- what bits mean ---- */

/* IEEE 754: (-1)^s 2^(e - bias) (1 + m / 2^fraction); subnormal with e = 0, infinite or NaN with the largest e. */
static long double float_value(uint64_t bits, int exponent_bits, int fraction_bits) {
    const uint64_t m = bits & ((1ULL << fraction_bits) - 1), most = (1ULL << exponent_bits) - 1;
    const uint64_t e = bits >> fraction_bits & most;
    const int bias = (int)(most >> 1);
    const long double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
    if (e == most) return m ? (long double)NAN : sign * (long double)INFINITY;
    if (e == 0) return sign * ldexpl((long double)m, 1 - bias - fraction_bits);
    return sign * ldexpl(1 + ldexpl((long double)m, -fraction_bits), (int)e - bias);
}

static long double value_of(dpt_stored s, uint64_t bits) {
    static const int exponent_bits[] = {[2] = 5, [4] = 8, [8] = 11};
    if (s.kind == DPT_STORED_FLOAT)
        return float_value(bits, exponent_bits[s.bytes], 8 * s.bytes - 1 - exponent_bits[s.bytes]);
    const bool negative = s.kind == DPT_STORED_SIGNED && bits >> (8 * s.bytes - 1) & 1;
    return negative ? (long double)bits - ldexpl(1, 8 * s.bytes) : (long double)bits;
}

/* n values of a type from their bits, as they lie in a file. */
static void store(dpt_stored s, int n) {
    for (int i = 0; i < n; i++) {
        room.value[i] = value_of(s, room.bits[i]);
        for (int k = 0; k < s.bytes; k++)
            room.stored[i * s.bytes + (s.big_endian ? s.bytes - 1 - k : k)] = (unsigned char)(room.bits[i] >> 8 * k);
    }
}

static uint64_t random_bits(int i, int bytes) {
    dpt_random4 r = dpt_random_quad(7, 0, (uint64_t)i, 0);
    return ((uint64_t)r.v[0] << 32 | r.v[1]) >> (64 - 8 * bytes);
}

/* All values of up to 16 bits; of others those around every power of two, both signs, and random ones. */
static int all_values(dpt_stored s) {
    const int width = 8 * s.bytes;
    const uint64_t mask = UINT64_MAX >> (64 - width);
    int n = 0;
    if (width <= 16) {
        for (; n < 1 << width; n++) room.bits[n] = (uint64_t)n;
    } else {
        for (int k = 0; k <= width; k++)
            for (int d = -2; d <= 2; d++) {
                uint64_t v = (k < 64 ? (uint64_t)1 << k : 0) + (uint64_t)d;
                room.bits[n++] = v & mask;
                room.bits[n++] = (0 - v) & mask;
                room.bits[n++] = (v ^ 1ULL << (width - 1)) & mask;
            }
        for (int i = 0; i < 3000; i++) room.bits[n++] = random_bits(i, s.bytes);
    }
    store(s, n);
    return n;
}

/* Takes out the values for which keep is false. */
static int keep_only(dpt_stored s, int n, bool (*keep)(long double, dpt_dtype), dpt_dtype to) {
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (keep(room.value[i], to)) room.bits[kept++] = room.bits[i];
    store(s, kept);
    return kept;
}

/* ---- pairs of types ---- */

static bool to_float(dpt_dtype to) { return to == DPT_F32 || to == DPT_F64; }

static long double most_of(dpt_dtype to) {
    return to == DPT_F32   ? (long double)FLT_MAX
           : to == DPT_F64 ? (long double)DBL_MAX
           : to == DPT_U8  ? UINT8_MAX
           : to == DPT_I32 ? (long double)INT32_MAX
                           : (long double)INT64_MAX;
}

static bool fits(long double v, dpt_dtype to) {
    if (to_float(to)) return fabsl(v) <= most_of(to);
    return v <= most_of(to) && v >= (to == DPT_U8 ? 0 : -most_of(to) - 1);
}

static bool fits_not(long double v, dpt_dtype to) { return !fits(v, to); }

/* Half a step of the type at v; the steps of 64-bit integers to f32 are rounded twice. */
static long double half_step(long double v, dpt_dtype to) {
    const int digits = to == DPT_F32 ? FLT_MANT_DIG : DBL_MANT_DIG;
    const int least = (to == DPT_F32 ? FLT_MIN_EXP : DBL_MIN_EXP) - digits;
    int e;
    frexpl(v, &e);
    e -= digits;
    return ldexpl(1, (e > least ? e : least) - 1);
}

static long double out_at(dpt_dtype to, const void *out, int64_t i) {
    switch ((int)to) {
        case DPT_F32: return (long double)((const float *)out)[i];
        case DPT_F64: return (long double)((const double *)out)[i];
        case DPT_U8: return (long double)((const uint8_t *)out)[i];
        case DPT_I32: return (long double)((const int32_t *)out)[i];
        default: return (long double)((const int64_t *)out)[i];
    }
}

static dpt_field field_of(dpt_stored stored, dpt_dtype to, int64_t elements) {
    return (dpt_field){
        .name = "in", .path = "/in", .dtype = to, .stored = stored, .ndim = 1, .dim = {elements}, .elements = elements};
}

static bool same_value(long double got, long double exact, dpt_dtype to) {
    if (!to_float(to)) return got == exact;
    long double half = half_step(exact, to);
    return fabsl(got - exact) <= half * (1 + 0x1p-28L) && !signbit(got) == !signbit(exact);
}

static void check_good(dpt_stored s, dpt_dtype to) {
    int n = keep_only(s, all_values(s), fits, to), wrong = 0;
    int64_t bad = -1;
    dpt_field field = field_of(s, to, n);
    dpt_convert *convert;
    if (!CHECK_OK(dpt_convert_create(&field, NULL, &convert))) return;
    CHECK_OK(dpt_convert_rows(convert, room.stored, 1, room.out, &bad));
    for (int i = 0; i < n; i++) wrong += !same_value(out_at(to, room.out, i), room.value[i], to);
    check_that(wrong == 0 && n > 50, __FILE__, __LINE__, "%s to %s: %d of %d values are wrong", dpt_stored_text(s),
               dpt_dtype_text(to), wrong, n);
    CHECK(dpt_convert_in_place(convert) == dpt_stored_is(s, to));
    if (dpt_convert_in_place(convert)) {
        memset(room.out, 0, sizeof room.out);
        memcpy(room.out, room.stored, (size_t)n * s.bytes);
        CHECK_OK(dpt_convert_rows(convert, room.out, 1, room.out, &bad));
        CHECK(memcmp(room.out, room.stored, (size_t)n * s.bytes) == 0);
    }
    dpt_convert_destroy(&convert);
}

/* One value that does not fit among good ones: first, last, in the middle of a block and of a vector. */
static void check_refused(dpt_stored s, dpt_dtype to) {
    enum { ROW = 2500 };
    static const int places[] = {0, 17, 1023, 1024, ROW - 1};
    uint64_t bad_bits[64];
    int n = keep_only(s, all_values(s), fits_not, to), count = n < 60 ? n : 60;
    for (int k = 0; k < count; k++) bad_bits[k] = room.bits[(int64_t)k * n / count];
    dpt_field field = field_of(s, to, ROW / 2);
    dpt_convert *convert;
    if (n == 0 || !CHECK_OK(dpt_convert_create(&field, NULL, &convert))) return;
    for (int k = 0; k < count; k++) {
        char text[100];
        int64_t bad = -1, place = places[k % 5];
        memset(room.bits, 0, ROW * sizeof *room.bits);
        room.bits[place] = bad_bits[k];
        if (k % 2) room.bits[ROW - 1] = bad_bits[k]; /* the first one is named */
        store(s, ROW);
        if (s.kind == DPT_STORED_FLOAT)
            snprintf(text, sizeof text, "the value %g", (double)room.value[place]);
        else
            snprintf(text, sizeof text, "the value %.0Lf does not fit %s", room.value[place], dpt_dtype_text(to));
        CHECK_FAILS(dpt_convert_rows(convert, room.stored, 2, room.out, &bad), DPT_ERR_DATA,
                    isnan(room.value[place]) ? "nan" : text);
        CHECK_EQ_I64(bad, place);
    }
    dpt_convert_destroy(&convert);
}

static void each_stored(void (*check)(dpt_stored)) {
    for (int kind = 0; kind < DPT_STORED_KIND_COUNT; kind++)
        for (int bytes = 1; bytes <= 8; bytes *= 2)
            for (int big = 0; big < 2; big++) {
                dpt_stored s = {.kind = (uint8_t)kind, .bytes = (uint8_t)bytes, .big_endian = big};
                if (dpt_stored_valid(s)) check(s);
            }
}

static void check_pairs(dpt_stored s) {
    for (size_t t = 0; t < sizeof wanted / sizeof *wanted; t++) {
        if (s.kind == DPT_STORED_FLOAT && !to_float(wanted[t])) {
            dpt_field field = field_of(s, wanted[t], 5);
            dpt_convert *convert;
            CHECK_FAILS(dpt_convert_create(&field, NULL, &convert), DPT_ERR_UNSUPPORTED, "cannot become");
            continue;
        }
        check_good(s, wanted[t]);
        check_refused(s, wanted[t]);
    }
}

static void pairs(void) { each_stored(check_pairs); }

/* ---- transforms ---- */

static const double means[CHANNELS] = {0.5, -2, 30}, stds[CHANNELS] = {0.25, 3, 1.5};

typedef struct transform_case {
    dpt_normalise n;
    bool per_channel;
} transform_case;

static const transform_case transforms[] = {
    {{.scale = 0.037}, false},
    {{.scale = -0.5, .clips = true, .low = -20, .high = 4.5}, false},
    {{.clips = true, .low = -3, .high = 11}, true},
    {{.scale = 0.25}, true},
    {{.logs = true, .offset = 200}, false},
    {{.scale = 3, .clips = true, .low = 0.125, .high = 90, .logs = true}, false},
    {{.scale = 0.5, .clips = true, .low = -1, .high = 1e6, .logs = true, .offset = 1.5}, true},
};

/* The formula of convert.h; *size is that of what was added up, which rounding goes by. */
static long double formula(const dpt_normalise *n, int64_t c, long double v, long double *size) {
    v *= n->scale != 0 ? (long double)n->scale : 1;
    if (n->clips) v = fminl(fmaxl(v, (long double)n->low), (long double)n->high);
    long double roundings = 1; /* of the logarithm's argument, relative to it */
    if (n->logs) {
        roundings = (fabsl(v) + fabsl((long double)n->offset)) / (v + (long double)n->offset);
        v = logl(v + (long double)n->offset);
    }
    long double mean = n->mean ? (long double)n->mean[c] : 0, std = n->std ? (long double)n->std[c] : 1;
    *size = (fabsl(v) + fabsl(mean) + (n->logs ? roundings : 0)) / std;
    return (v - mean) / std;
}

static void check_transform(dpt_stored s, dpt_dtype to, const transform_case *t, int64_t inner) {
    enum { ROWS = 3 };
    dpt_normalise n = t->n;
    if (t->per_channel) n.channels = CHANNELS, n.mean = means, n.std = stds;
    dpt_field field = field_of(s, to, CHANNELS * inner);
    field.ndim = 2, field.dim[0] = CHANNELS, field.dim[1] = inner;
    int count = (int)(ROWS * CHANNELS * inner);
    for (int i = 0; i < count; i++) { /* from -100 to 100, in steps of 1, or 1/4 for floats */
        double v = (double)(i * 37 % 801 - 400) / 4;
        float f = (float)v;
        if (s.kind == DPT_STORED_UNSIGNED) v = fabs(v);
        int64_t whole = (int64_t)v;
        memcpy(&room.bits[i], s.kind != DPT_STORED_FLOAT ? (void *)&whole : (void *)&v, 8);
        if (s.kind != DPT_STORED_FLOAT) room.bits[i] &= UINT64_MAX >> (64 - 8 * s.bytes);
        uint32_t b;
        memcpy(&b, &f, sizeof b);
        if (s.kind == DPT_STORED_FLOAT && s.bytes == 4) room.bits[i] = b;
        if (s.kind == DPT_STORED_FLOAT && s.bytes == 2) /* exact: the exponent loses its middle bits */
            room.bits[i] = f == 0 ? 0 : (b >> 16 & 0xc000) | (b >> 13 & 0x3fff);
    }
    store(s, count);
    dpt_convert *convert;
    int64_t bad;
    if (!CHECK_OK(dpt_convert_create(&field, &n, &convert))) return;
    CHECK(!dpt_convert_in_place(convert) && dpt_convert_elements(convert) == CHANNELS * inner);
    CHECK_OK(dpt_convert_rows(convert, room.stored, ROWS, room.out, &bad));
    double worst = 0;
    for (int i = 0; i < count; i++) {
        long double size, exact = formula(&n, i / inner % CHANNELS, room.value[i], &size);
        worst = fmax(worst, (double)(fabsl(out_at(to, room.out, i) - exact) / size));
    }
    check_that(worst < (to == DPT_F32 ? 4e-7 : 1e-15), __FILE__, __LINE__,
               "%s to %s, %lld a channel, case %d: off by %g", dpt_stored_text(s), dpt_dtype_text(to), (long long)inner,
               (int)(t - transforms), worst);
    dpt_convert_destroy(&convert);
}

static void check_transforms(dpt_stored s) {
    static const int64_t inner[] = {1, 7, 40, 1100};
    for (size_t t = 0; t < sizeof transforms / sizeof *transforms; t++)
        for (int k = 0; k < 4; k++) {
            check_transform(s, DPT_F32, &transforms[t], inner[k]);
            check_transform(s, DPT_F64, &transforms[t], inner[k]);
        }
}

static void transform_formulas(void) { each_stored(check_transforms); }

/* A mean and std a value, for samples of less than a block and of more. */
static void channel_each(void) {
    static double mean[1500], std[1500];
    for (int c = 0; c < 1500; c++) mean[c] = c * 0.25, std[c] = 1 + c % 8;
    for (int64_t channels = 1; channels <= 1500; channels += 499) {
        const int64_t rows = 6000 / channels;
        dpt_field field = field_of((dpt_stored){DPT_STORED_SIGNED, 2, true}, DPT_F32, channels);
        const dpt_normalise n = {.channels = channels, .mean = mean, .std = std};
        dpt_convert *convert;
        int64_t bad, wrong = 0;
        for (int64_t i = 0; i < rows * channels; i++) room.bits[i] = (uint64_t)(i * 11 % 1000);
        store(field.stored, (int)(rows * channels));
        if (!CHECK_OK(dpt_convert_create(&field, &n, &convert))) return;
        CHECK_OK(dpt_convert_rows(convert, room.stored, rows, room.out, &bad));
        for (int64_t i = 0; i < rows * channels; i++) {
            const double exact = ((double)(i * 11 % 1000) - mean[i % channels]) / std[i % channels];
            wrong += fabs((double)out_at(DPT_F32, room.out, i) - exact) > 1e-6 * (1 + fabs(exact));
        }
        check_that(wrong == 0, __FILE__, __LINE__, "%d channels: %d wrong", (int)channels, (int)wrong);
        dpt_convert_destroy(&convert);
    }
}

static const dpt_stored f32 = {.kind = DPT_STORED_FLOAT, .bytes = 4}, u8 = {.kind = DPT_STORED_UNSIGNED, .bytes = 1},
                        i16 = {.kind = DPT_STORED_SIGNED, .bytes = 2, .big_endian = true};

static void set_float(dpt_dtype dtype, int64_t i, double value) {
    if (dtype == DPT_F32)
        ((float *)(void *)room.out)[i] = (float)value;
    else
        ((double *)(void *)room.out)[i] = value;
}

/* Converts floats, all 5 but one: the result, or the error with its element. */
static dpt_status convert_with(const dpt_normalise *n, dpt_dtype to, int64_t at, float value, int64_t *bad) {
    enum { COUNT = 1500 };
    float *x = (float *)(void *)room.stored;
    for (int i = 0; i < COUNT; i++) x[i] = 5;
    x[at] = value;
    dpt_field field = field_of(f32, to, COUNT / 10);
    dpt_convert *convert;
    *bad = -1;
    if (!CHECK_OK(dpt_convert_create(&field, n, &convert))) return DPT_ERR_INTERNAL;
    dpt_status status = dpt_convert_rows(convert, x, COUNT / field.elements, room.out, bad);
    dpt_convert_destroy(&convert);
    return status;
}

/* Values that stay where they are: the largest, smallest and -0 are fine at every place, a NaN of any bits and
 * infinities are not. Numbers of values: less than the kernel's block, blocks, and what is left of one. */
static void values_in_place(void) {
    const double fine[] = {FLT_MAX, -FLT_MAX, 1e-45, -0.0}, bad[] = {NAN, -(double)NAN, INFINITY, -INFINITY};
    const int64_t counts[] = {1, 63, 64, 65, 200};
    int wrong = 0;
    for (int k = 0; k < 10; k++) {
        dpt_dtype to = k < 5 ? DPT_F32 : DPT_F64;
        int64_t n = counts[k % 5], found;
        dpt_field field = field_of(dpt_stored_of(to), to, n);
        dpt_convert *convert;
        if (!CHECK_OK(dpt_convert_create(&field, NULL, &convert))) return;
        CHECK(dpt_convert_in_place(convert));
        for (int64_t i = 0; i < n * 4; i++) set_float(to, i, fine[i % 4]);
        CHECK_OK(dpt_convert_rows(convert, room.out, 4, room.out, &found));
        for (int64_t i = 0; i < n * 4; i++) {
            set_float(to, i, bad[i % 4]);
            found = -1;
            wrong += dpt_convert_rows(convert, room.out, 4, room.out, &found) != DPT_ERR_DATA || found != i;
            set_float(to, i, 1);
        }
        dpt_convert_destroy(&convert);
    }
    CHECK_EQ_I64(wrong, 0);
}

static void bad_floats(void) {
    const dpt_normalise clip = {.clips = true, .low = -4, .high = 7}, plain_log = {.logs = true},
                        shifted = {.scale = 2, .clips = true, .low = -9, .high = 99, .logs = true, .offset = 1},
                        large = {.scale = 1e30};
    int64_t bad;
    for (dpt_dtype to = DPT_F32; to <= DPT_F64; to++) {
        CHECK_OK(convert_with(&clip, to, 1234, INFINITY, &bad));
        CHECK(out_at(to, room.out, 1234) == 7 && out_at(to, room.out, 1233) == 5);
        CHECK_OK(convert_with(&clip, to, 77, -INFINITY, &bad));
        CHECK(out_at(to, room.out, 77) == -4);
        CHECK_FAILS(convert_with(&clip, to, 78, NAN, &bad), DPT_ERR_DATA, "nan");
        CHECK_EQ_I64(bad, 78);
        CHECK_FAILS(convert_with(&plain_log, to, 1030, 0, &bad), DPT_ERR_DATA, "the value 0 has no logarithm");
        CHECK_EQ_I64(bad, 1030);
        CHECK_FAILS(convert_with(&plain_log, to, 3, INFINITY, &bad), DPT_ERR_DATA, "the value inf");
        CHECK_FAILS(convert_with(&shifted, to, 1499, -0.5F, &bad), DPT_ERR_DATA,
                    "the value -0.5 has no logarithm: scaled, clipped and with its offset it is 0");
        CHECK_EQ_I64(bad, 1499);
        CHECK_FAILS(convert_with(&shifted, to, 0, -1e9F, &bad), DPT_ERR_DATA, "with its offset it is -8");
        CHECK_EQ_I64(bad, 0);
        CHECK_FAILS(convert_with(&shifted, to, 5, -INFINITY, &bad), DPT_ERR_DATA, "the value -inf has no logarithm");
    }
    CHECK_FAILS(convert_with(&large, DPT_F32, 10, 1e10F, &bad), DPT_ERR_DATA,
                "the value 1e+10, which becomes inf in f32");
    CHECK_EQ_I64(bad, 10);
    CHECK_OK(convert_with(&large, DPT_F64, 10, 1e10F, &bad));
}

/* ---- classes ---- */

static void check_one_hot(dpt_stored s) {
    enum { ROWS = 400, ROW = 4, CLASSES = 11 };
    if (s.kind == DPT_STORED_FLOAT) return;
    for (dpt_dtype to = DPT_F32; to <= DPT_F64; to++) {
        for (int i = 0; i < ROWS * ROW; i++) room.bits[i] = (uint64_t)(i * 7 % CLASSES);
        store(s, ROWS * ROW);
        dpt_field field = field_of(s, to, ROW), delivered;
        dpt_normalise n = {.one_hot = CLASSES};
        dpt_convert *convert;
        int64_t bad = -1;
        CHECK_OK(dpt_field_delivered(&field, &n, &delivered));
        CHECK(delivered.ndim == 2 && delivered.dim[0] == ROW && delivered.dim[1] == CLASSES);
        CHECK(delivered.elements == ROW * CLASSES);
        if (!CHECK_OK(dpt_convert_create(&field, &n, &convert))) return;
        CHECK_EQ_I64(dpt_convert_elements(convert), ROW * CLASSES);
        memset(room.out, 0xff, sizeof room.out);
        CHECK_OK(dpt_convert_rows(convert, room.stored, ROWS, room.out, &bad));
        int wrong = 0;
        for (int i = 0; i < ROWS * ROW * CLASSES; i++)
            wrong += out_at(to, room.out, i) != (i % CLASSES == i / CLASSES * 7 % CLASSES);
        check_that(wrong == 0, __FILE__, __LINE__, "%s to one-hot %s: %d wrong", dpt_stored_text(s), dpt_dtype_text(to),
                   wrong);
        CHECK(isnan(out_at(to, room.out, ROWS * ROW * CLASSES))); /* nothing past the end */
        room.bits[1033] = CLASSES;
        store(s, ROWS * ROW);
        CHECK_FAILS(dpt_convert_rows(convert, room.stored, ROWS, room.out, &bad), DPT_ERR_DATA,
                    "label 11 is outside [0, 11)");
        CHECK_EQ_I64(bad, 1033);
        dpt_convert_destroy(&convert);
    }
}

static void one_hot(void) { each_stored(check_one_hot); }

/* Labels with one that is ignored: all others outside are refused, also those that look like it after a cast. */
static void ignored_labels(void) {
    static const struct {
        dpt_stored stored;
        dpt_dtype to;
        int64_t ignore;
        uint64_t bits;
        const char *text;
    } cases[] = {
        {{DPT_STORED_UNSIGNED, 1, false}, DPT_I64, 255, 255, NULL},
        {{DPT_STORED_UNSIGNED, 1, false}, DPT_I64, 255, 254, "label 254 is outside [0, 10)"},
        {{DPT_STORED_UNSIGNED, 1, false}, DPT_I64, -1, 255, "label 255 is outside [0, 10)"},
        {{DPT_STORED_SIGNED, 1, false}, DPT_I64, 255, 255, "label -1 is outside [0, 10)"},
        {{DPT_STORED_SIGNED, 2, true}, DPT_I32, -100, 0xff9c, NULL},
        {{DPT_STORED_SIGNED, 2, true}, DPT_U8, -100, 0xff9c, "label -100 is outside [0, 10)"},
        {{DPT_STORED_UNSIGNED, 8, true}, DPT_I64, -1, UINT64_MAX, "label 18446744073709551615 is outside [0, 10)"},
        {{DPT_STORED_SIGNED, 8, true}, DPT_I64, -1, UINT64_MAX, NULL},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        enum { COUNT = 1300 };
        int64_t bad = -1;
        for (int i = 0; i < COUNT; i++) room.bits[i] = (uint64_t)i % 10;
        if (k == 1) room.bits[7] = 255; /* ignored beside one that is not */
        room.bits[1111] = cases[k].bits;
        store(cases[k].stored, COUNT);
        dpt_field field = field_of(cases[k].stored, cases[k].to, 1);
        dpt_normalise n = {.classes = 10, .ignores = true, .ignore = cases[k].ignore};
        dpt_convert *convert;
        if (!CHECK_OK(dpt_convert_create(&field, &n, &convert))) return;
        dpt_status status = dpt_convert_rows(convert, room.stored, COUNT, room.out, &bad);
        if (cases[k].text == NULL)
            CHECK(status == DPT_OK && out_at(cases[k].to, room.out, 1111) == (long double)cases[k].ignore);
        else if (CHECK_FAILS(status, DPT_ERR_DATA, cases[k].text))
            CHECK_EQ_I64(bad, 1111);
        dpt_convert_destroy(&convert);
    }
}

/* ---- creation ---- */

static void refuses(dpt_stored stored, dpt_dtype to, const dpt_normalise *n, const char *text) {
    dpt_field field = field_of(stored, to, 6);
    dpt_convert *convert;
    CHECK_FAILS(dpt_convert_create(&field, n, &convert), DPT_ERR_ARG, text);
    CHECK(convert == NULL);
}

static void bad_options(void) {
    refuses(f32, DPT_F32, &(dpt_normalise){.clips = true, .low = 2, .high = 1}, "\"in\" cannot be clipped to [2, 1]");
    refuses(f32, DPT_F32, &(dpt_normalise){.clips = true, .high = INFINITY}, "clipped to [0, inf]");
    refuses(f32, DPT_F32, &(dpt_normalise){.logs = true, .offset = NAN}, "a logarithm with offset");
    refuses(f32, DPT_F32, &(dpt_normalise){.scale = INFINITY}, "scale inf");
    refuses(u8, DPT_I64, &(dpt_normalise){.logs = true}, "\"in\" is i64: only floats can be normalised");
    refuses(u8, DPT_I64, &(dpt_normalise){.one_hot = 4}, "\"in\" is i64: only floats can be normalised");
    refuses(u8, DPT_F32, &(dpt_normalise){.one_hot = -4}, "one-hot of -4 classes");
    refuses(u8, DPT_F32, &(dpt_normalise){.one_hot = 4, .scale = 2}, "is one-hot: only numbers can be normalised");
    refuses(f32, DPT_F32, &(dpt_normalise){.one_hot = 4}, "\"in\" is stored as f32: only integers can become one-hot");
    refuses(u8, DPT_F32, &(dpt_normalise){.one_hot = INT64_MAX / 3}, "are more than 2^63 values");
    dpt_field field = field_of(u8, DPT_F32, 1);
    field.ndim = DPT_MAX_NDIM;
    for (int i = 0; i < DPT_MAX_NDIM; i++) field.dim[i] = 1;
    dpt_convert *convert;
    CHECK_FAILS(dpt_convert_create(&field, &(dpt_normalise){.one_hot = 4}, &convert), DPT_ERR_ARG,
                "samples have 8 dimensions, at most 7");
}

static void out_of_memory(void) {
    dpt_field field = field_of(i16, DPT_F32, CHANNELS);
    const dpt_normalise n = {.channels = CHANNELS, .mean = means};
    int failures = 0;
    for (int64_t k = 1; k < 20; k++) {
        dpt_convert *convert;
        dpt_alloc_fail_at(k);
        dpt_status status = dpt_convert_create(&field, &n, &convert);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_OK || (status == DPT_ERR_MEMORY && convert == NULL));
        dpt_convert_destroy(&convert);
        if (status == DPT_OK) break;
        failures++;
    }
    CHECK_EQ_I64(failures, 4);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "convert", {"pairs", pairs}, {"transform_formulas", transform_formulas},
                      {"channel_each", channel_each}, {"values_in_place", values_in_place}, {"bad_floats", bad_floats},
                      {"one_hot", one_hot}, {"ignored_labels", ignored_labels}, {"bad_options", bad_options},
                      {"out_of_memory", out_of_memory});
}
