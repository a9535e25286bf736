/* random.c: keys and the normal distribution; the generator itself is inline in random.h. */
#include "base/random.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

uint64_t dpt_random_key(const char *name, uint64_t seed) { return dpt_hash(name, strlen(name), seed); }

void dpt_normal_pair(uint32_t a, uint32_t b, double *x, double *y) {
    double radius = sqrt(-2.0 * log(dpt_uniform_open_f64(a)));
    double angle = 6.283185307179586 * dpt_uniform_open_f64(b);
    *x = radius * cos(angle);
    *y = radius * sin(angle);
}
