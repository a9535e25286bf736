/* split.h: which samples of a dataset a split takes for its test part; training gets the rest.
 *
 *   DPT_TRY(dpt_split_count(samples, 0.1, &count));
 *   DPT_TRY(dpt_split_take(samples, count, seed, threads, &test));
 *
 * Split, version 1 (a format: never change it, add a version 2): T of N samples, 1 <= T < N. All arithmetic is on
 * integers without bound.
 *
 *   count     of a fraction f (as the f64 that it is):  T = floor(f N + 1/2)
 *   groups    group g holds the n samples from 4096 g on, in the order of the files: 4096, the last one maybe fewer.
 *             It gives t = floor((4096 g + n) T / N) - floor(4096 g T / N) of them
 *   u(g, i)   word i mod 4 of Philox4x32-10 at counter (floor(i/4), g mod 2^32, floor(g / 2^32), 0),
 *             key XXH64(the five bytes "split", seed)
 *   choice    for i = 0 to n-1: where k of the group's samples are taken by then, sample 4096 g + i is taken if
 *                 floor(u(g, i) (n - i) / 2^32) < t - k
 *
 * So exactly T are taken, spread over the dataset (a file that is sorted by class gives of each class about its share),
 * and every group by itself is known from (T, N, seed). A sample more or less in the files is another split. */
#ifndef DPT_DATA_SPLIT_H
#define DPT_DATA_SPLIT_H

#include "data/selection.h"

/* Local. DPT_ERR_DATA: not 1 <= T < samples: a part would be empty (both numbers). */
dpt_status dpt_split_count(uint64_t samples, double fraction, uint64_t *count);
/* The samples taken, the same with any number of threads; not sealed. Local. DPT_ERR_DATA: not 1 <= count < samples.
 * Else as dpt_selection_create. */
dpt_status dpt_split_take(uint64_t samples, uint64_t count, uint64_t seed, int threads, dpt_selection **taken);

#endif
