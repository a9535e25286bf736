/* Splits: golden values from another program; exact, spread out, different by seed. */
#include "data/split.h"

#include <stdlib.h>

#include "check.h"
#include "golden/split.h"

static void counts(void) {
    for (size_t i = 0; i < sizeof split_counts / sizeof *split_counts; i++) {
        uint64_t count = 0;
        CHECK_OK(dpt_split_count(split_counts[i].samples, split_counts[i].fraction, &count));
        CHECK_EQ_I64(count, split_counts[i].count);
    }
    uint64_t count;
    CHECK_FAILS(dpt_split_count(10, 0.04, &count), DPT_ERR_DATA, "0 of 10 samples for the test part");
    CHECK_FAILS(dpt_split_count(10, 0.96, &count), DPT_ERR_DATA, "10 of 10 samples for the test part");
    CHECK_FAILS(dpt_split_count(1, 0.5, &count), DPT_ERR_DATA, "1 of 1 samples");
    CHECK_FAILS(dpt_split_count(UINT64_MAX, 1e-300, &count), DPT_ERR_DATA, "0 of 18446744073709551615 samples");
    CHECK_FAILS(dpt_split_count(10, 0, &count), DPT_ERR_ARG, "a fraction of 0");
    CHECK_FAILS(dpt_split_count(10, (double)NAN, &count), DPT_ERR_ARG, "a fraction of");
}

static void golden(void) {
    for (size_t i = 0; i < sizeof split_groups / sizeof *split_groups; i++) {
        const struct split_group *g = &split_groups[i];
        dpt_selection *taken;
        if (!CHECK_OK(dpt_split_take(g->samples, g->count, g->seed, 1, &taken))) return;
        uint64_t n = 0, sum = 0, first = 0, last = 0;
        for (uint64_t s = g->group * 4096; s < g->samples && s < (g->group + 1) * 4096; s++) {
            if (!dpt_selection_holds(taken, s)) continue;
            if (n++ == 0) first = s;
            last = s;
            sum += s;
        }
        check_that(n == g->taken && sum == g->sum && first == g->first && last == g->last, __FILE__, __LINE__,
                   "%llu of %llu, group %llu: %llu taken, not %llu", (unsigned long long)g->count,
                   (unsigned long long)g->samples, (unsigned long long)g->group, (unsigned long long)n,
                   (unsigned long long)g->taken);
        dpt_selection_destroy(&taken);
    }
    dpt_selection *taken;
    if (!CHECK_OK(dpt_split_take(40, 12, 9, 2, &taken)) || !CHECK_OK(dpt_selection_seal(taken))) return;
    CHECK_EQ_I64(dpt_selection_rows(taken), 12);
    for (uint64_t k = 0; k < 12; k++) CHECK_EQ_I64(dpt_selection_sample(taken, k), split_all[k]);
    dpt_selection_destroy(&taken);
}

/* Exactly as many as wanted; of any run of 10000 samples their share, to a row a group; each sample equally often over
 * seeds: chi-square. */
static void spread(void) {
    enum { SAMPLES = 100003, WANTED = 12345, SMALL = 50, SEEDS = 4000 };
    dpt_selection *taken;
    if (!CHECK_OK(dpt_split_take(SAMPLES, WANTED, 5, 1, &taken)) || !CHECK_OK(dpt_selection_seal(taken))) return;
    CHECK_EQ_I64(dpt_selection_rows(taken), WANTED);
    for (uint64_t at = 0; at + 8192 <= SAMPLES; at += 4096) {
        double of_run = (double)(dpt_selection_rank(taken, at + 8192) - dpt_selection_rank(taken, at));
        CHECK(fabs(of_run - 8192.0 * WANTED / SAMPLES) <= 1);
    }
    dpt_selection_destroy(&taken);
    int times[SMALL] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        if (!CHECK_OK(dpt_split_take(SMALL, 10, seed, 1, &taken))) return;
        for (int i = 0; i < SMALL; i++) times[i] += dpt_selection_holds(taken, (uint64_t)i);
        dpt_selection_destroy(&taken);
    }
    double chi = 0, expected = SEEDS * 10.0 / SMALL;
    for (int i = 0; i < SMALL; i++) chi += (times[i] - expected) * (times[i] - expected) / (expected * 0.8);
    check_that(chi > 20 && chi < 95, __FILE__, __LINE__, "chi-square %.1f of 49", chi);
}

/* 245 groups, among one thread and three. */
static void threads(void) {
    enum { SAMPLES = 1000003, WANTED = 99999 };
    dpt_selection *one, *three;
    if (!CHECK_OK(dpt_split_take(SAMPLES, WANTED, 5, 1, &one)) ||
        !CHECK_OK(dpt_split_take(SAMPLES, WANTED, 5, 3, &three)))
        return;
    CHECK_EQ_I64(dpt_selection_common(one, three), WANTED);
    CHECK_EQ_I64(dpt_selection_common(three, three), WANTED);
    dpt_selection_destroy(&one);
    dpt_selection_destroy(&three);
}

static void refuses(void) {
    dpt_selection *taken;
    CHECK_FAILS(dpt_split_take(10, 0, 1, 1, &taken), DPT_ERR_DATA,
                "0 of 10 samples for the test part: each part needs");
    CHECK_FAILS(dpt_split_take(10, 10, 1, 1, &taken), DPT_ERR_DATA, "10 of 10 samples");
    CHECK_FAILS(dpt_split_take((uint64_t)1 << 40, 5, 1, 1, &taken), DPT_ERR_UNSUPPORTED, "1099511627776 samples");
    CHECK(taken == NULL);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "split", {"counts", counts}, {"golden", golden}, {"spread", spread},
                      {"threads", threads}, {"refuses", refuses});
}
