/* mixup.h: pairs of samples of a global batch (Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018).
 * One share lambda and one distance d hold for a whole global batch of n rows: position p is mixed with its partner,
 * position (p + d) mod n, as lambda x[p] + (1 - lambda) x[partner]. Both numbers are a pure function of (seed, epoch,
 * step), so each rank finds its partners by itself.
 *
 * Draws, version 1: key XXH64("mixup", seed); counter (quad, step low, step high, epoch). d is 1 + floor(word 0 of quad
 * 0 * (n - 1) / 2^32), 0 for one row. lambda follows Beta(alpha, alpha): a / (a + b), with a and b of Gamma(alpha) by
 * Marsaglia and Tsang (ACM TOMS 26, 2000), from quads 1, 2, ...; lambda is 1/2 where both round to 0. */
#ifndef DPT_DATA_MIXUP_H
#define DPT_DATA_MIXUP_H

#include <stdint.h>

typedef struct dpt_mixup {
    float lambda;
    int64_t distance;
} dpt_mixup;

/* alpha > 0; of a global batch of `rows`. Local. */
dpt_mixup dpt_mixup_draw(double alpha, uint64_t seed, uint64_t epoch, uint64_t step, int64_t rows);

/* out[i] = lambda out[i] + (1 - lambda) partner[i]. Local. */
void dpt_mixup_blend_f32(float lambda, float *out, const float *partner, int64_t n);
void dpt_mixup_blend_f64(float lambda, double *out, const double *partner, int64_t n);

#endif
