/* parallel.c: static ranges over an OpenMP team. */
#include "backend/parallel.h"

#include <omp.h>

void dpt_parallel(int threads, int64_t n, int64_t grain, dpt_range_fn fn, void *context) {
    int64_t parts = grain > 0 ? n / grain : n;
    if (parts > threads) parts = threads;
    if (parts <= 1) {
        if (n > 0) fn(context, 0, n);
        return;
    }
#pragma omp parallel num_threads((int)parts)
    {
        int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
        int64_t begin = n * me / team, end = n * (me + 1) / team;
        if (begin < end) fn(context, begin, end);
    }
}
