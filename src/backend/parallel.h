/* parallel.h: the project's one way to spread a loop over a rank's threads, and to compile a loop for several vector
 * widths. Ranges are split evenly and statically, so results do not depend on timing; a kernel whose result depends on
 * the split must split by data instead. */
#ifndef DPT_BACKEND_PARALLEL_H
#define DPT_BACKEND_PARALLEL_H

#include <stdint.h>

/* Handles [begin, end). */
typedef void (*dpt_range_fn)(void *context, int64_t begin, int64_t end);

/* Calls fn on parts of [0, n), with at most `threads` threads and at least `grain` items a part; one part runs in the
 * calling thread without starting any. */
void dpt_parallel(int threads, int64_t n, int64_t grain, dpt_range_fn fn, void *context);

/* Before a static function with a hot loop: compiled for AVX-512, AVX2 and the baseline, chosen at load time. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(DPT_NO_MULTIVERSION)
#define DPT_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DPT_MULTIVERSION
#endif

#endif
