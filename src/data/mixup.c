/* mixup.c: see mixup.h. */
#include "data/mixup.h"

#include <math.h>

#include "base/random.h"

typedef struct stream {
    uint64_t key, step;
    uint32_t epoch, quad; /* quad: the next one */
} stream;

static dpt_random4 next(stream *s) { return dpt_random_quad(s->key, s->quad++, s->step, s->epoch); }

/* Gamma(alpha) with alpha >= 1: d v with v = (1 + c x)^3, x normal, accepted where log u < x^2/2 + d - d v + d log v,
 * d = alpha - 1/3, c = 1 / sqrt(9 d). */
static double large_gamma(double alpha, stream *s) {
    double d = alpha - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        dpt_random4 r = next(s);
        double x, unused;
        dpt_normal_pair(r.v[0], r.v[1], &x, &unused);
        double v = (1 + c * x) * (1 + c * x) * (1 + c * x);
        if (v > 0 && log(dpt_uniform_open_f64(r.v[2])) < x * x / 2 + d - d * v + d * log(v)) return d * v;
    }
}

/* Below 1: Gamma(alpha + 1) u^(1/alpha). */
static double gamma_draw(double alpha, stream *s) {
    if (alpha >= 1) return large_gamma(alpha, s);
    double u = dpt_uniform_open_f64(next(s).v[0]);
    return large_gamma(alpha + 1, s) * pow(u, 1 / alpha);
}

dpt_mixup dpt_mixup_draw(double alpha, uint64_t seed, uint64_t epoch, uint64_t step, int64_t rows) {
    stream s = {.key = dpt_random_key("mixup", seed), .step = step, .epoch = (uint32_t)epoch};
    dpt_mixup m = {.lambda = 0.5F};
    uint32_t word = next(&s).v[0];
    if (rows > 1) m.distance = 1 + (int64_t)(((uint64_t)word * (uint64_t)(rows - 1)) >> 32);
    double a = gamma_draw(alpha, &s), b = gamma_draw(alpha, &s);
    if (a + b > 0) m.lambda = (float)(a / (a + b));
    return m;
}

#define BLEND(name, T)                                                                         \
    void name(float lambda, T *out, const T *partner, int64_t n) {                             \
        T share = (T)lambda;                                                                   \
        for (int64_t i = 0; i < n; i++) out[i] = share * out[i] + ((T)1 - share) * partner[i]; \
    }
BLEND(dpt_mixup_blend_f32, float)
BLEND(dpt_mixup_blend_f64, double)
