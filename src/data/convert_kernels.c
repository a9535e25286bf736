/* convert_kernels.c: see convert_kernels.h. A loop a pair of types, made by macros. They check without branching, so
 * that they vectorise; which value is bad, convert.c finds afterwards. */
#include "data/convert_kernels.h"

#include <float.h>
#include <math.h>

#include "backend/parallel.h"
#include "base/numbers.h"
#include "ops/fastmath.h"

/* Before a loop whose rounds do not depend on each other, also where in is out. Not "omp simd": what that reduces gcc
 * lays out for the baseline before it makes the clones, and bytes go through vectors of 128 bits in all of them. */
#if defined(__GNUC__) && !defined(__clang__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

/* Stored types, f16 aside, and what of them is exact in f32. X(name, type, what it is widened to for f32) */
#define FOR_INTEGERS(X)      \
    X(i8, int8_t, float)     \
    X(u8, uint8_t, float)    \
    X(i16, int16_t, float)   \
    X(u16, uint16_t, float)  \
    X(i32, int32_t, double)  \
    X(u32, uint32_t, double) \
    X(i64, int64_t, double)  \
    X(u64, uint64_t, double)
#define FOR_FLOATS(X)    \
    X(f32, float, float) \
    X(f64, double, double)

#define NAME(name, type, work) NATIVE_##name,
typedef enum native { FOR_INTEGERS(NAME) FOR_FLOATS(NAME) NATIVE_COUNT } native;
#undef NAME

static native native_of(dpt_stored s) {
    if (s.kind == DPT_STORED_FLOAT) return s.bytes == 8 ? NATIVE_f64 : NATIVE_f32;
    int width = s.bytes == 1 ? 0 : s.bytes == 2 ? 1 : s.bytes == 4 ? 2 : 3;
    return (native)(2 * width + (s.kind == DPT_STORED_UNSIGNED));
}

bool dpt_stored_fits_f32(dpt_stored s) { return s.bytes <= 2 || (s.kind == DPT_STORED_FLOAT && s.bytes == 4); }

/* ---- to floats ---- */

#define AFFINE(name, FROM, TO, WORK, LARGEST)                                                          \
    DPT_MULTIVERSION static int name(const void *in, int64_t n, const dpt_affine *affine, void *out) { \
        const FROM *x = in;                                                                            \
        TO *y = out;                                                                                   \
        const WORK a = (WORK)affine->a, b = (WORK)affine->b;                                           \
        const WORK low = (WORK)affine->low, high = (WORK)affine->high;                                 \
        int bad = 0;                                                                                   \
        INDEPENDENT for (int64_t i = 0; i < n; i++) {                                                  \
            WORK w = (WORK)x[i] * a + b;                                                               \
            w = w < low ? low : w; /* a NaN stays */                                                   \
            w = w > high ? high : w;                                                                   \
            TO v = (TO)w;                                                                              \
            y[i] = v;                                                                                  \
            bad |= !(v <= LARGEST && v >= -LARGEST);                                                   \
        }                                                                                              \
        return bad;                                                                                    \
    }
#define AFFINE_PAIR(name, type, work)                 \
    AFFINE(name##_to_f32, type, float, work, FLT_MAX) \
    AFFINE(name##_to_f64, type, double, double, DBL_MAX)
FOR_INTEGERS(AFFINE_PAIR)
FOR_FLOATS(AFFINE_PAIR)

dpt_affine_fn dpt_affine_kernel(dpt_stored stored, dpt_dtype to) {
#define NAME(name, type, work) [NATIVE_##name] = {name##_to_f32, name##_to_f64},
    static const dpt_affine_fn table[NATIVE_COUNT][2] = {FOR_INTEGERS(NAME) FOR_FLOATS(NAME)};
#undef NAME
    return to == DPT_F32 || to == DPT_F64 ? table[native_of(stored)][to == DPT_F64] : NULL;
}

/* Infinities and NaNs are the values whose bits, the sign aside, reach those of infinity. Maxima of WIDE numbers are
 * four vectors of 512 bits or more: a single one would wait for itself, at half the speed of the cache. */
enum { WIDE = 64 };
#define FINITE(name, BITS, POSITIVE, INFINITE)                                                         \
    typedef BITS __attribute__((may_alias)) name##_bits;                                               \
    DPT_MULTIVERSION static int name(const void *in, int64_t n, const dpt_affine *affine, void *out) { \
        const name##_bits *x = in;                                                                     \
        BITS most[WIDE] = {0};                                                                         \
        int64_t i = 0;                                                                                 \
        (void)affine, (void)out;                                                                       \
        for (; i + WIDE <= n; i += WIDE)                                                               \
            for (int l = 0; l < WIDE; l++) {                                                           \
                BITS v = x[i + l] & POSITIVE;                                                          \
                most[l] = most[l] > v ? most[l] : v;                                                   \
            }                                                                                          \
        for (; i < n; i++) most[0] = most[0] > (x[i] & POSITIVE) ? most[0] : x[i] & POSITIVE;          \
        for (int l = 1; l < WIDE; l++) most[0] = most[0] > most[l] ? most[0] : most[l];                \
        return most[0] >= INFINITE;                                                                    \
    }
FINITE(finite_f32, int32_t, INT32_MAX, INT32_C(0x7f800000))
FINITE(finite_f64, int64_t, INT64_MAX, INT64_C(0x7ff0000000000000))

dpt_affine_fn dpt_finite_kernel(dpt_dtype dtype) { return dtype == DPT_F32 ? finite_f32 : finite_f64; }

#define EACH(name, T, LARGEST)                                                                             \
    DPT_MULTIVERSION static int name(const double *x, int64_t n, const double *a, const double *b, T *y) { \
        int bad = 0;                                                                                       \
        INDEPENDENT for (int64_t i = 0; i < n; i++) {                                                      \
            T v = (T)(x[i] * a[i] + b[i]);                                                                 \
            y[i] = v;                                                                                      \
            bad |= !(v <= LARGEST && v >= -LARGEST);                                                       \
        }                                                                                                  \
        return bad;                                                                                        \
    }
EACH(each_f32, float, FLT_MAX)
EACH(each_f64, double, DBL_MAX)

int dpt_affine_each(const double *x, int64_t n, const double *a, const double *b, dpt_dtype to, void *y) {
    return to == DPT_F32 ? each_f32(x, n, a, b, y) : each_f64(x, n, a, b, y);
}

DPT_MULTIVERSION static void log_f32(float *x, int64_t n) {
    INDEPENDENT for (int64_t i = 0; i < n; i++) x[i] = dpt_ln_f32(x[i]);
}

void dpt_log_kernel(dpt_dtype dtype, void *x, int64_t n) {
    double *wide = x;
    if (dtype == DPT_F32)
        log_f32(x, n);
    else
        for (int64_t i = 0; i < n; i++) wide[i] = log(wide[i]);
}

/* ---- to integers ---- */

#define INTEGER(name, FROM, TO)                                                                         \
    DPT_MULTIVERSION static int name(const void *in, int64_t n, const dpt_bounds *bounds, void *out) {  \
        const FROM *x = in;                                                                             \
        TO *y = out;                                                                                    \
        const FROM least = (FROM)bounds->least, most = (FROM)bounds->most, other = (FROM)bounds->other; \
        int bad = 0;                                                                                    \
        INDEPENDENT for (int64_t i = 0; i < n; i++) {                                                   \
            const FROM v = x[i];                                                                        \
            y[i] = (TO)v;                                                                               \
            bad |= ((v < least) | (v > most)) & (v != other);                                           \
        }                                                                                               \
        return bad;                                                                                     \
    }
#define INTEGER_TRIPLE(name, type, work)  \
    INTEGER(name##_to_u8, type, uint8_t)  \
    INTEGER(name##_to_i32, type, int32_t) \
    INTEGER(name##_to_i64, type, int64_t)
FOR_INTEGERS(INTEGER_TRIPLE)

dpt_integer_fn dpt_integer_kernel(dpt_stored stored, dpt_dtype to) {
#define NAME(name, type, work) [NATIVE_##name] = {name##_to_u8, name##_to_i32, name##_to_i64},
    static const dpt_integer_fn table[NATIVE_f32][3] = {FOR_INTEGERS(NAME)};
#undef NAME
    int column = to == DPT_U8 ? 0 : to == DPT_I32 ? 1 : to == DPT_I64 ? 2 : -1;
    return stored.kind == DPT_STORED_FLOAT || column < 0 ? NULL : table[native_of(stored)][column];
}

/* ---- native elements ---- */

#define UNPACK(name, FROM, TO, VALUE)                                         \
    DPT_MULTIVERSION static void name(const void *in, int64_t n, void *out) { \
        const FROM *x = in;                                                   \
        TO *y = out;                                                          \
        INDEPENDENT for (int64_t i = 0; i < n; i++) y[i] = VALUE(x[i]);       \
    }
#define SWAPPED_HALF(x) dpt_f32_of_f16(__builtin_bswap16(x))
UNPACK(swap_2, uint16_t, uint16_t, __builtin_bswap16)
UNPACK(swap_4, uint32_t, uint32_t, __builtin_bswap32)
UNPACK(swap_8, uint64_t, uint64_t, __builtin_bswap64)
UNPACK(widen_half, uint16_t, float, dpt_f32_of_f16)
UNPACK(widen_swapped_half, uint16_t, float, SWAPPED_HALF)

static bool is_half(dpt_stored stored) { return stored.kind == DPT_STORED_FLOAT && stored.bytes == 2; }

bool dpt_stored_is_packed(dpt_stored stored) { return is_half(stored) || stored.big_endian; }

void dpt_stored_unpack(dpt_stored stored, const void *in, int64_t n, void *out) {
    if (is_half(stored) && stored.big_endian)
        widen_swapped_half(in, n, out);
    else if (is_half(stored))
        widen_half(in, n, out);
    else if (stored.bytes == 2)
        swap_2(in, n, out);
    else if (stored.bytes == 4)
        swap_4(in, n, out);
    else
        swap_8(in, n, out);
}
