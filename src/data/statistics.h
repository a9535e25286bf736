/* statistics.h: what the values of a dataset look like, in one pass over them as they are stored: how many, extremes,
 * mean, standard deviation, a histogram; how many are no numbers and how many lie outside of a range, and where the
 * first of them stands. Parts that were looked at apart are merged into what the whole gives.
 *
 *   dpt_statistics s = dpt_statistics_begin(field->stored);
 *   dpt_statistics_add(&s, values, n);        again and again
 *   printf("%g %g\n", s.mean, dpt_statistics_std(&s));
 *
 * All functions are local. Numbers are f64: integers beyond 2^53 are rounded, sums may overflow to infinity. The same
 * values added in the same pieces give the same bits on every machine. */
#ifndef DPT_DATA_STATISTICS_H
#define DPT_DATA_STATISTICS_H

#include "data/stored.h"

enum { DPT_HISTOGRAM_BINS = 64 };

typedef struct dpt_statistics {
    dpt_stored stored;
    double low, high; /* the range that values should lie in; -infinity and infinity: any */
    uint64_t added;   /* values, those passed over too */
    uint64_t nans, infinities, outside;
    uint64_t first_bad;     /* which value is the first that is NaN or infinite, from 0; UINT64_MAX: none */
    uint64_t first_outside; /* the same, of finite ones outside of the range */

    uint64_t count;        /* finite values; all below is of them */
    double min, max, mean; /* infinity, -infinity, 0 where there is none */
    double squares;        /* sum of (x - mean)^2 */
    /* bin[i]: values in [(first + i) 2^exponent, (first + i + 1) 2^exponent); exponent is the smallest with which all
     * fit, never below 0 for integers */
    int exponent;
    int64_t first;
    uint64_t bin[DPT_HISTOGRAM_BINS];
} dpt_statistics;

/* Of no values yet, and any range. */
dpt_statistics dpt_statistics_begin(dpt_stored stored);
/* n values as they stand in the file, at any address. */
void dpt_statistics_add(dpt_statistics *statistics, const void *values, uint64_t n);
/* Passes over n values that could not be read: they count in no number, but later ones stand n places further. */
void dpt_statistics_skip(dpt_statistics *statistics, uint64_t n);
/* Adds what `other` has seen, as if its values came after those of `into`. */
void dpt_statistics_merge(dpt_statistics *into, const dpt_statistics *other);
/* Of the population: sqrt(squares / count); 0 where there is no value. */
double dpt_statistics_std(const dpt_statistics *statistics);

#endif
