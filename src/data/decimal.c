/* decimal.c: see decimal.h. The C library's own conversions, in the C locale whatever the process has set. */
#include "data/decimal.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>

const double dpt_decimal_power[DPT_DECIMAL_POWERS] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31,
    1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41, 1e42, 1e43, 1e44, 1e45,
};

static locale_t c_locale;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void make_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); } /* built in: never fails */

float dpt_decimal_exact_f32(const char *text) {
    pthread_once(&once, make_locale);
    return strtof_l(text, NULL, c_locale);
}

double dpt_decimal_exact_f64(const char *text) {
    pthread_once(&once, make_locale);
    return strtod_l(text, NULL, c_locale);
}
