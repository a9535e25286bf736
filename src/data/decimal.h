/* decimal.h: numbers from text, rounded once to the nearest of their type, ties to even, in every locale. The grammar:
 * [+-] digits [. digits] [e [+-] digits], with a digit at least before the e.
 *
 *   dpt_decimal n;
 *   const char *end = dpt_decimal_scan(text, &n);               NULL: no number stands there
 *   if (!dpt_decimal_f32(&n, &value)) value = dpt_decimal_exact_f32(text);
 *
 * The quick way is a product or quotient of doubles, which is right where the error of that cannot change the result;
 * where it can, and for more than 19 digits or large exponents, the C library decides. Text must be followed by a byte
 * that is in no number, as the end of a line. */
#ifndef DPT_DATA_DECIMAL_H
#define DPT_DATA_DECIMAL_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* digits · 10^exponent, less the sign. */
typedef struct dpt_decimal {
    uint64_t digits;
    int64_t exponent;
    bool negative;
    bool fits;  /* at most 19 digits, so that `digits` holds them all */
    bool whole; /* neither point nor exponent */
} dpt_decimal;

enum { DPT_DECIMAL_DIGITS = 19, DPT_DECIMAL_POWERS = 46, DPT_DECIMAL_EXACT_POWERS = 23 };
/* 10^0 to 10^45; exact to 10^22. */
extern const double dpt_decimal_power[DPT_DECIMAL_POWERS];

static inline bool dpt_decimal_digit(char c) { return (unsigned)(unsigned char)c - '0' <= 9; }

static inline const char *dpt_decimal_digits(const char *p, uint64_t *digits) {
    for (; dpt_decimal_digit(*p); p++) *digits = *digits * 10 + (uint64_t)(*p - '0');
    return p;
}

/* "e-5": NULL where no digit follows. */
static inline const char *dpt_decimal_exponent(const char *p, int64_t *exponent) {
    enum { BEYOND_ALL = 100000 };
    bool down = *++p == '-';
    p += *p == '-' || *p == '+';
    if (!dpt_decimal_digit(*p)) return NULL;
    int64_t e = 0;
    for (; dpt_decimal_digit(*p); p++)
        if (e < BEYOND_ALL) e = e * 10 + (*p - '0');
    *exponent += down ? -e : e;
    return p;
}

static inline const char *dpt_decimal_scan(const char *p, dpt_decimal *n) {
    n->negative = *p == '-';
    p += *p == '-' || *p == '+';
    uint64_t digits = 0;
    const char *first = p;
    p = dpt_decimal_digits(p, &digits);
    ptrdiff_t count = p - first;
    n->exponent = 0;
    n->whole = *p != '.';
    if (*p == '.') {
        first = ++p;
        p = dpt_decimal_digits(p, &digits);
        count += p - first;
        n->exponent = first - p;
    }
    if (count == 0) return NULL;
    n->digits = digits;
    n->fits = count <= DPT_DECIMAL_DIGITS;
    if ((*p | 0x20) != 'e') return p;
    n->whole = false;
    return dpt_decimal_exponent(p, &n->exponent);
}

/* digits and power are each rounded at most once, their product or quotient once more: together within 3 units in the
 * last place of the double. A double that is further than that from the middle of two floats rounds to the same float
 * as the number itself. False: too near, or outside the normal floats. */
static inline bool dpt_decimal_f32(const dpt_decimal *n, float *value) {
    enum { NEAR = 8, BELOW_FLOAT_BITS = 29 };
    const int64_t e = n->exponent;
    if (!n->fits || e <= -DPT_DECIMAL_POWERS || e >= DPT_DECIMAL_POWERS) return false;
    double d = (double)n->digits;
    d = e < 0 ? d / dpt_decimal_power[-e] : d * dpt_decimal_power[e];
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    const uint64_t below = bits & (((uint64_t)1 << BELOW_FLOAT_BITS) - 1);
    const uint64_t middle = (uint64_t)1 << (BELOW_FLOAT_BITS - 1);
    if (below - (middle - NEAR) <= 2 * NEAR) return false;
    if (n->digits != 0 && (d < (double)FLT_MIN || d > (double)FLT_MAX)) return false;
    *value = (float)(n->negative ? -d : d);
    return true;
}

/* Clinger's case: both operands are exact, so the one rounding is right. */
static inline bool dpt_decimal_f64(const dpt_decimal *n, double *value) {
    const int64_t e = n->exponent;
    if (!n->fits || n->digits > (uint64_t)1 << DBL_MANT_DIG) return false;
    if (e <= -DPT_DECIMAL_EXACT_POWERS || e >= DPT_DECIMAL_EXACT_POWERS) return false;
    double d = (double)n->digits;
    d = e < 0 ? d / dpt_decimal_power[-e] : d * dpt_decimal_power[e];
    *value = n->negative ? -d : d;
    return true;
}

/* Whether the number is one of 64 bits. */
static inline bool dpt_decimal_i64(const dpt_decimal *n, int64_t *value) {
    if (!n->fits || !n->whole || n->digits > (uint64_t)INT64_MAX + n->negative) return false;
    *value = n->negative ? (int64_t)(0 - n->digits) : (int64_t)n->digits;
    return true;
}

/* Of any number that dpt_decimal_scan takes; infinite where it is too large. Local. */
float dpt_decimal_exact_f32(const char *text);
double dpt_decimal_exact_f64(const char *text);

#endif
