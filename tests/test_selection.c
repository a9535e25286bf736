/* Selections against an array of booleans: ranges, intersections, ranks and places at the borders of words, blocks and
 * hints; splits against golden values from another program, exact and spread out; lists of samples with their errors.
 */
#include "data/selection.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "check.h"

enum { MOST = 30000 };

static dpt_control control;

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) { dpt_control_close(&control); }

static uint64_t drawn = 1;
static uint64_t draw(uint64_t below) {
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (drawn >> 33) % below;
}

/* Everything that can be read of a selection, sealed here, against one boolean a sample. */
static void check_reading(dpt_selection *s, const bool *in, uint64_t samples) {
    uint64_t rows = 0;
    int wrong = 0;
    for (uint64_t i = 0; i < samples; i++) rows += in[i];
    if (rows == 0) {
        CHECK_FAILS(dpt_selection_seal(s), DPT_ERR_DATA, "no sample is left of");
        return;
    }
    if (!CHECK_OK(dpt_selection_seal(s))) return;
    CHECK(dpt_selection_rows(s) == rows && dpt_selection_samples(s) == samples);
    uint64_t k = 0;
    for (uint64_t i = 0; i < samples; i++) {
        wrong += dpt_selection_rank(s, i) != k || dpt_selection_holds(s, i) != in[i];
        if (in[i]) wrong += dpt_selection_sample(s, k++) != i;
    }
    wrong += dpt_selection_rank(s, samples) != rows;
    uint64_t found[] = {rows - 1, 0, rows / 2};
    dpt_selection_find(s, 3, found);
    wrong += found[0] != dpt_selection_sample(s, rows - 1) || found[1] != dpt_selection_sample(s, 0);
    wrong += found[2] != dpt_selection_sample(s, rows / 2);
    uint64_t run[100], from = rows > 100 ? draw(rows - 99) : 0;
    dpt_selection_run(s, from, rows < 100 ? rows : 100, run);
    for (uint64_t i = 0; i < 100 && i < rows; i++) wrong += run[i] != dpt_selection_sample(s, from + i);
    check_that(wrong == 0, __FILE__, __LINE__, "%d wrong of %d rows of %d samples", wrong, (int)rows, (int)samples);
}

static void change(dpt_selection *s, bool *in, uint64_t samples) {
    uint64_t first = draw(samples), count = draw(4) ? draw(200) : draw(samples);
    if (count > samples - first) count = samples - first;
    bool add = draw(2);
    if (add)
        dpt_selection_add(s, first, count);
    else
        dpt_selection_remove(s, first, count);
    for (uint64_t i = 0; i < count; i++) in[first + i] = add;
}

static void reads_what_was_chosen(void) {
    static bool in[MOST];
    const uint64_t sizes[] = {1, 2, 63, 64, 65, 511, 512, 513, 4095, 4096, 4097, 8192, 12345, MOST};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
        for (int all = 0; all < 2; all++) {
            dpt_selection *s;
            if (!CHECK_OK(dpt_selection_create(sizes[n], all, &s))) return;
            memset(in, all, sizeof in);
            check_reading(s, in, sizes[n]);
            for (int round = 0; round < 4; round++) {
                for (int i = 0; i < 5; i++) change(s, in, sizes[n]);
                check_reading(s, in, sizes[n]);
            }
            dpt_selection_destroy(&s);
            CHECK(s == NULL);
        }
}

/* Few rows far apart, and dense runs between empty blocks. */
static void sparse(void) {
    static bool in[MOST];
    dpt_selection *s;
    if (!CHECK_OK(dpt_selection_create(MOST, false, &s))) return;
    memset(in, 0, sizeof in);
    dpt_selection_add(s, MOST - 1, 1);
    in[MOST - 1] = true;
    check_reading(s, in, MOST);
    dpt_selection_add(s, 3000, 9000);
    for (int i = 3000; i < 12000; i++) in[i] = true;
    check_reading(s, in, MOST);
    for (uint64_t i = 0; i < MOST; i += 613) {
        dpt_selection_add(s, i, 1);
        in[i] = true;
    }
    check_reading(s, in, MOST);
    dpt_selection_destroy(&s);
}

static void combines(void) {
    static bool a_in[MOST], b_in[MOST], both[MOST], rest[MOST];
    enum { SAMPLES = 5001 };
    for (int round = 0; round < 20; round++) {
        dpt_selection *a, *b, *c;
        CHECK_OK(dpt_selection_create(SAMPLES, true, &a));
        CHECK_OK(dpt_selection_create(SAMPLES, false, &b));
        CHECK_OK(dpt_selection_create(SAMPLES, true, &c));
        if (!a || !b || !c) return;
        memset(a_in, 1, sizeof a_in);
        memset(b_in, 0, sizeof b_in);
        for (int i = 0; i < 9; i++) {
            change(a, a_in, SAMPLES);
            change(b, b_in, SAMPLES);
        }
        uint64_t common = 0;
        for (int i = 0; i < SAMPLES; i++) {
            both[i] = a_in[i] && b_in[i];
            rest[i] = a_in[i] && !b_in[i];
            common += both[i];
        }
        CHECK_EQ_I64(dpt_selection_common(a, b), common);
        dpt_selection_keep_of(c, a);
        dpt_selection_remove_of(c, b);
        check_reading(c, rest, SAMPLES);
        dpt_selection_keep_of(a, b);
        check_reading(a, both, SAMPLES);
        dpt_selection_destroy(&a);
        dpt_selection_destroy(&b);
        dpt_selection_destroy(&c);
    }
}

/* Of samples 1 to last of a dataset. */
static uint64_t digest_of(uint64_t samples, uint64_t last) {
    dpt_selection *s;
    uint64_t digest = 0;
    if (!CHECK_OK(dpt_selection_create(samples, false, &s))) return 0;
    dpt_selection_add(s, 1, last);
    if (CHECK_OK(dpt_selection_seal(s))) digest = dpt_selection_digest(s);
    dpt_selection_destroy(&s);
    return digest;
}

static void digests(void) {
    CHECK(digest_of(1000, 7) == digest_of(1000, 7));
    CHECK(digest_of(1000, 7) != digest_of(1000, 8));
    CHECK(digest_of(1000, 7) != digest_of(999, 7)); /* the same samples of another dataset */
}

/* What rank 0 chose is on all ranks; each has something else before. */
static void shared(void) {
    static bool in[MOST];
    dpt_selection *s;
    if (!CHECK_OK(dpt_selection_create(MOST, check_rank() % 2, &s))) return;
    memset(in, 0, sizeof in);
    for (uint64_t i = 5; i < MOST; i += 7) in[i] = true;
    for (uint64_t i = 5; check_rank() == 0 && i < MOST; i += 7) dpt_selection_add(s, i, 1);
    CHECK_OK(dpt_selection_share(&control, s));
    check_reading(s, in, MOST);
    if (check_rank() == 0) dpt_selection_remove(s, 0, MOST);
    CHECK_FAILS(dpt_selection_share(&control, s), DPT_ERR_DATA, "no sample is left of 30000");
    dpt_selection_destroy(&s);
}

static void refuses(void) {
    dpt_selection *s;
    CHECK_FAILS(dpt_selection_create(((uint64_t)1 << 36) + 1, true, &s), DPT_ERR_UNSUPPORTED,
                "68719476737 samples: up to 68719476736");
    CHECK_FAILS(dpt_selection_create(UINT64_MAX, false, &s), DPT_ERR_UNSUPPORTED, "a split by file has no limit");
    CHECK(s == NULL);
    for (int64_t n = 1; n < 4; n++) {
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_selection_create(1000, true, &s);
        if (status == DPT_OK) status = dpt_selection_seal(s);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_ERR_MEMORY);
        dpt_selection_destroy(&s);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "selection", {"start", start}, {"reads_what_was_chosen", reads_what_was_chosen},
                      {"sparse", sparse}, {"combines", combines}, {"digests", digests}, {"shared", shared},
                      {"refuses", refuses}, {"stop", stop});
}
