/* test_schedule.c: learning rates against their formulas at the places where these are easy to read. */
#include "check.h"
#include "golden/training.h"
#include "train/schedule.h"

static void constant(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_CONSTANT, .lr = 0.1, .warmup_steps = 4};
    CHECK_OK(dpt_schedule_check(&s));
    const double expected[] = {0.025, 0.05, 0.075, 0.1, 0.1, 0.1};
    for (int step = 0; step < 6; step++) CHECK_NEAR(dpt_schedule_lr(&s, NULL, step), expected[step], 1e-16);
    CHECK(dpt_schedule_lr(&s, NULL, INT64_MAX) == 0.1);
    s.warmup_steps = 0;
    CHECK(dpt_schedule_lr(&s, NULL, 0) == 0.1);
}

static void cosine(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_COSINE, .lr = 1, .min_lr = 0.2, .warmup_steps = 10, .total_steps = 110};
    CHECK_OK(dpt_schedule_check(&s));
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 0), 0.1, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 9), 1, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 10), 1, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 35), 0.2 + 0.8 * (1 + sqrt(0.5)) / 2, 1e-15); /* cos(pi/4) */
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 60), 0.6, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 10 + 75), 0.2 + 0.8 * (1 - sqrt(0.5)) / 2, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 110), 0.2, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 1000000), 0.2, 1e-15);
    for (int step = 10; step < 110; step++)
        CHECK(dpt_schedule_lr(&s, NULL, step + 1) < dpt_schedule_lr(&s, NULL, step));
}

static void all_warmup(void) {
    dpt_schedule s = {.kind = DPT_SCHEDULE_COSINE, .lr = 1, .min_lr = 0.5, .warmup_steps = 8, .total_steps = 4};
    CHECK_OK(dpt_schedule_check(&s));
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 3), 0.5, 1e-15);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 8), 0.5, 1e-15);
}

/* ---- against PyTorch's schedulers ---- */

static void same_rates(const dpt_schedule *s, const double *golden, int n, double tolerance) {
    CHECK_OK(dpt_schedule_check(s));
    for (int step = 0; step < n; step++) CHECK_NEAR(dpt_schedule_lr(s, NULL, step), golden[step], tolerance);
}

static void by_pytorch(void) {
    static const int64_t milestones[] = {3, 4, 17};
    enum { N = 24 };
    dpt_schedule s = {.kind = DPT_SCHEDULE_COSINE, .lr = 0.8, .min_lr = 0.1, .total_steps = N};
    same_rates(&s, rates_cosine, N, 1e-11);
    s = (dpt_schedule){.kind = DPT_SCHEDULE_STEP, .lr = 0.8, .every = 5, .gamma = 0.3};
    same_rates(&s, rates_step, N, 1e-11);
    s = (dpt_schedule){
        .kind = DPT_SCHEDULE_MULTISTEP, .lr = 0.8, .milestone = milestones, .milestones = 3, .gamma = 0.5};
    same_rates(&s, rates_multistep, N, 1e-11);
    s = (dpt_schedule){.kind = DPT_SCHEDULE_LINEAR, .lr = 0.8, .min_lr = 0.1, .total_steps = N};
    same_rates(&s, rates_linear, N, 1e-11);
    s = (dpt_schedule){.kind = DPT_SCHEDULE_POLYNOMIAL, .lr = 0.8, .power = 2.5, .total_steps = N};
    same_rates(&s, rates_polynomial, N, 1e-11);
    s = (dpt_schedule){
        .kind = DPT_SCHEDULE_ONE_CYCLE, .lr = 0.8, .total_steps = N, .div = 20, .final_div = 50, .rise = 0.3};
    same_rates(&s, rates_one_cycle, N, 1e-11);
    CHECK_NEAR(dpt_schedule_lr(&s, NULL, 1000), 0.0008, 1e-12);
}

static void plateau(void) {
    dpt_schedule s = {
        .kind = DPT_SCHEDULE_PLATEAU, .lr = 0.8, .min_lr = 0.15, .gamma = 0.5, .patience = 2, .threshold = 1e-4};
    dpt_schedule_state state = {0}, rising = {0};
    CHECK_OK(dpt_schedule_check(&s));
    CHECK_NEAR(dpt_schedule_lr(&s, &state, 0), 0.8, 1e-12);
    for (size_t i = 0; i < sizeof plateau_seen / sizeof *plateau_seen; i++) {
        dpt_schedule_observe(&s, plateau_seen[i], &state);
        CHECK_NEAR(dpt_schedule_lr(&s, &state, 1), rates_plateau[i], 1e-11);
    }
    s.rises = true;
    for (int i = 0; i < 4; i++) dpt_schedule_observe(&s, i, &rising);
    CHECK_EQ_I64(rising.reductions, 0);
    for (int i = 0; i < 3; i++) dpt_schedule_observe(&s, i < 2 ? 3 : (double)NAN, &rising);
    CHECK_EQ_I64(rising.reductions, 1);
    s.warmup_steps = 4;
    CHECK_NEAR(dpt_schedule_lr(&s, &rising, 1), 0.4, 1e-12);
    dpt_schedule_state infinite = {0};
    s.rises = false;
    for (int i = 0; i < 5; i++) dpt_schedule_observe(&s, i < 1 ? (double)INFINITY : 5 - i, &infinite);
    CHECK_EQ_I64(infinite.reductions, 0);
}

static void refuses_others(void) {
    static const int64_t falling[] = {5, 3};
    dpt_schedule s = {.kind = DPT_SCHEDULE_STEP, .lr = 1, .gamma = 0.1};
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "every 0 steps");
    s = (dpt_schedule){.kind = DPT_SCHEDULE_MULTISTEP, .lr = 1, .gamma = 0.1};
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "there are no milestones");
    s.milestone = falling, s.milestones = 2;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "milestone 2 is 3");
    s = (dpt_schedule){.kind = DPT_SCHEDULE_POLYNOMIAL, .lr = 1, .total_steps = 5};
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "power is 0");
    s = (dpt_schedule){
        .kind = DPT_SCHEDULE_ONE_CYCLE, .lr = 1, .total_steps = 5, .div = 25, .final_div = 10, .rise = 1};
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "rise 1");
    s.warmup_steps = 3;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "without warm-up");
    s = (dpt_schedule){.kind = DPT_SCHEDULE_PLATEAU, .lr = 1, .gamma = 1};
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "gamma is 1");
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
    s.kind = (dpt_schedule_kind)8;
    CHECK_FAILS(dpt_schedule_check(&s), DPT_ERR_CONFIG, "no such kind: 8");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "schedule", {"constant", constant}, {"cosine", cosine}, {"all_warmup", all_warmup},
                      {"by_pytorch", by_pytorch}, {"plateau", plateau}, {"refuses", refuses},
                      {"refuses_others", refuses_others});
}
