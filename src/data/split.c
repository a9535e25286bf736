/* split.c: see split.h, which is the definition: selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2,
 * algorithm S) of each group by itself. */
#include "data/split.h"

#include <math.h>

#include "backend/parallel.h"
#include "base/random.h"

typedef unsigned __int128 wide;

enum { GROUP = 4096, LEAST_GROUPS = 64 }; /* of a thread */

static dpt_status check_count(uint64_t samples, uint64_t count) {
    DPT_CHECK(count >= 1 && count < samples, DPT_ERR_DATA,
              "%llu of %llu samples for the test part: each part needs at least 1", (unsigned long long)count,
              (unsigned long long)samples);
    return DPT_OK;
}

dpt_status dpt_split_count(uint64_t samples, double fraction, uint64_t *count) {
    DPT_CHECK(fraction > 0 && fraction < 1, DPT_ERR_ARG, "a fraction of %g", fraction);
    int exponent; /* fraction = m 2^-shift exactly, m < 2^53 */
    wide m = (wide)ldexp(frexp(fraction, &exponent), 53);
    int shift = 53 - exponent;
    *count = shift < 120 ? (uint64_t)((m * samples + ((wide)1 << (shift - 1))) >> shift) : 0;
    return check_count(samples, *count);
}

typedef struct taking {
    uint64_t samples, count, key;
    dpt_selection *taken;
} taking;

static uint64_t taken_before(const taking *t, uint64_t sample) {
    return (uint64_t)((wide)sample * t->count / t->samples);
}

/* Groups begin where words of a selection do, so that threads may take of several at once. */
static void take_of_groups(void *context, int64_t begin, int64_t end) {
    const taking *t = context;
    for (uint64_t group = (uint64_t)begin; group < (uint64_t)end; group++) {
        uint64_t first = group * GROUP, n = t->samples - first < GROUP ? t->samples - first : GROUP;
        uint64_t wanted = taken_before(t, first + n) - taken_before(t, first);
        dpt_random4 u = {{0}};
        for (uint64_t i = 0; i < n && wanted > 0; i++) {
            if (i % 4 == 0) u = dpt_random_quad(t->key, (uint32_t)(i / 4), group, 0);
            if (u.v[i % 4] * (n - i) >> 32 >= wanted) continue;
            dpt_selection_add(t->taken, first + i, 1);
            wanted--;
        }
    }
}

dpt_status dpt_split_take(uint64_t samples, uint64_t count, uint64_t seed, int threads, dpt_selection **taken) {
    *taken = NULL;
    DPT_TRY(check_count(samples, count));
    DPT_TRY(dpt_selection_create(samples, false, taken));
    taking t = {.samples = samples, .count = count, .key = dpt_random_key("split", seed), .taken = *taken};
    dpt_parallel(threads, (int64_t)(samples / GROUP + (samples % GROUP != 0)), LEAST_GROUPS, take_of_groups, &t);
    return DPT_OK;
}
