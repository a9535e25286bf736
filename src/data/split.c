/* split.c: see split.h, which is the definition: selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2,
 * algorithm S) of each group by itself. */
#include "data/split.h"

#include <math.h>

#include "base/random.h"

typedef unsigned __int128 wide;

enum { GROUP = 4096 };

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

static void take_of_group(uint64_t key, uint64_t group, uint64_t n, uint64_t t, dpt_selection *taken) {
    dpt_random4 u = {{0}};
    for (uint64_t i = 0; i < n && t > 0; i++) {
        if (i % 4 == 0) u = dpt_random_quad(key, (uint32_t)(i / 4), group, 0);
        if (u.v[i % 4] * (n - i) >> 32 >= t) continue;
        dpt_selection_add(taken, group * GROUP + i, 1);
        t--;
    }
}

dpt_status dpt_split_take(uint64_t samples, uint64_t count, uint64_t seed, dpt_selection **taken) {
    *taken = NULL;
    DPT_TRY(check_count(samples, count));
    DPT_TRY(dpt_selection_create(samples, false, taken));
    uint64_t key = dpt_random_key("split", seed), given = 0;
    for (uint64_t group = 0; group * GROUP < samples; group++) {
        uint64_t left = samples - group * GROUP, n = left < GROUP ? left : GROUP;
        uint64_t end = (uint64_t)((wide)(group * GROUP + n) * count / samples);
        take_of_group(key, group, n, end - given, *taken);
        given = end;
    }
    return DPT_OK;
}
