/* test_schedule.c: learning rates against their formulas at the places where these are easy to read. */
#include "check.h"
#include "train/schedule.h"

static void constant(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_CONSTANT, .lr = 0.1, .warmup_steps = 4};
    CHECK_OK(dpt_schedule_check(&s));
    const double expected[] = {0.025, 0.05, 0.075, 0.1, 0.1, 0.1};
    for (int step = 0; step < 6; step++) CHECK_NEAR(dpt_schedule_lr(&s, step), expected[step], 1e-16);
    CHECK(dpt_schedule_lr(&s, INT64_MAX) == 0.1);
    s.warmup_steps = 0;
    CHECK(dpt_schedule_lr(&s, 0) == 0.1);
}

static void cosine(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_COSINE, .lr = 1, .min_lr = 0.2, .warmup_steps = 10, .total_steps = 110};
    CHECK_OK(dpt_schedule_check(&s));
    CHECK_NEAR(dpt_schedule_lr(&s, 0), 0.1, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 9), 1, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 10), 1, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 35), 0.2 + 0.8 * (1 + sqrt(0.5)) / 2, 1e-15); /* cos(pi/4) */
    CHECK_NEAR(dpt_schedule_lr(&s, 60), 0.6, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 10 + 75), 0.2 + 0.8 * (1 - sqrt(0.5)) / 2, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 110), 0.2, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 1000000), 0.2, 1e-15);
    for (int step = 10; step < 110; step++) CHECK(dpt_schedule_lr(&s, step + 1) < dpt_schedule_lr(&s, step));
}

static void all_warmup(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_COSINE, .lr = 1, .min_lr = 0.5, .warmup_steps = 8, .total_steps = 4};
    CHECK_OK(dpt_schedule_check(&s));
    CHECK_NEAR(dpt_schedule_lr(&s, 3), 0.5, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, 8), 0.5, 1e-15);
}

static void refuses(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_COSINE, .lr = -1, .total_steps = 10};
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "learning rate -1");
    s.lr = NAN;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "learning rate nan");
    s.lr = 0.1, s.min_lr = 0.2;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "is 0.2, the largest 0.1");
    s.min_lr = 0, s.warmup_steps = -3;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "-3 warm-up steps");
    s.warmup_steps = 0, s.total_steps = 0;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "cosine over 0 steps");
    s.kind = (dpt_schedule_kind)7;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "no such kind: 7");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "schedule", {"constant", constant}, {"cosine", cosine}, {"all_warmup", all_warmup},
                      {"refuses", refuses});
}
