/* schedule.c: constant and cosine schedules with a linear warm-up; the formulas stand in the header. */
#include "train/schedule.h"

#include <math.h>

dpt_status dpt_schedule_check(const dpt_schedule *s) {
    DPT_CHECK(s->kind == DPT_SCHEDULE_CONSTANT || s->kind == DPT_SCHEDULE_COSINE, DPT_ERR_CONFIG,
              "schedule: no such kind: %d", (int)s->kind);
    DPT_CHECK(isfinite(s->lr) && s->lr >= 0, DPT_ERR_CONFIG, "schedule: learning rate %g is negative or not finite",
              s->lr);
    DPT_CHECK(s->warmup_steps >= 0, DPT_ERR_CONFIG, "schedule: %lld warm-up steps", (long long)s->warmup_steps);
    if (s->kind == DPT_SCHEDULE_CONSTANT) return DPT_OK;
    DPT_CHECK(isfinite(s->min_lr) && s->min_lr >= 0 && s->min_lr <= s->lr, DPT_ERR_CONFIG,
              "schedule: the smallest learning rate is %g, the largest %g", s->min_lr, s->lr);
    DPT_CHECK(s->total_steps > 0, DPT_ERR_CONFIG, "schedule: cosine over %lld steps", (long long)s->total_steps);
    return DPT_OK;
}

double dpt_schedule_lr(const dpt_schedule *s, int64_t step) {
    const double pi = 3.14159265358979323846;
    if (step < s->warmup_steps) return s->lr * (double)(step + 1) / (double)s->warmup_steps;
    if (s->kind == DPT_SCHEDULE_CONSTANT) return s->lr;
    int64_t length = s->total_steps - s->warmup_steps, done = step - s->warmup_steps;
    double p = done < length ? (double)done / (double)length : 1;
    return s->min_lr + (s->lr - s->min_lr) * (1 + cos(pi * p)) / 2;
}
