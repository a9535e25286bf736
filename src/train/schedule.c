/* schedule.c: learning rates by step; the formulas stand in the header. */
#include "train/schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

static const char *const names[] = {
#define NAME(ID, name) name,
    DPT_SCHEDULE_LIST(NAME)
#undef NAME
};

/* Whether the kind goes to the end of training. */
static bool ends(dpt_schedule_kind kind) {
    return kind == DPT_SCHEDULE_COSINE || kind == DPT_SCHEDULE_LINEAR || kind == DPT_SCHEDULE_POLYNOMIAL ||
           kind == DPT_SCHEDULE_ONE_CYCLE;
}

static bool has_least(dpt_schedule_kind kind) {
    return (ends(kind) && kind != DPT_SCHEDULE_ONE_CYCLE) || kind == DPT_SCHEDULE_PLATEAU;
}

static dpt_status check_reductions(const dpt_schedule *s) {
    const char *name = names[s->kind];
    DPT_CHECK(isfinite(s->gamma) && s->gamma > 0, DPT_ERR_CONFIG, "schedule %s: gamma is %g", name, s->gamma);
    DPT_CHECK(s->kind != DPT_SCHEDULE_PLATEAU || s->gamma < 1, DPT_ERR_CONFIG,
              "schedule plateau: gamma is %g: it must be below 1", s->gamma);
    DPT_CHECK(s->kind != DPT_SCHEDULE_PLATEAU || (s->patience >= 0 && s->threshold >= 0), DPT_ERR_CONFIG,
              "schedule plateau: patience is %lld, threshold %g", (long long)s->patience, s->threshold);
    DPT_CHECK(s->kind != DPT_SCHEDULE_STEP || s->every > 0, DPT_ERR_CONFIG,
              "schedule step: a reduction every %lld steps", (long long)s->every);
    if (s->kind != DPT_SCHEDULE_MULTISTEP) return DPT_OK;
    DPT_CHECK(s->milestones > 0, DPT_ERR_CONFIG, "schedule multistep: there are no milestones");
    for (int64_t i = 0; i < s->milestones; i++)
        DPT_CHECK(s->milestone[i] > (i > 0 ? s->milestone[i - 1] : 0), DPT_ERR_CONFIG,
                  "schedule multistep: milestone %lld is %lld: they must grow, from above 0", (long long)i + 1,
                  (long long)s->milestone[i]);
    return DPT_OK;
}

dpt_status dpt_schedule_check(const dpt_schedule *s) {
    DPT_CHECK((unsigned)s->kind < (unsigned)DPT_SCHEDULE_KINDS, DPT_ERR_CONFIG, "schedule: no such kind: %d",
              (int)s->kind);
    DPT_CHECK(isfinite(s->lr) && s->lr >= 0, DPT_ERR_CONFIG, "schedule: learning rate %g is negative or not finite",
              s->lr);
    DPT_CHECK(s->warmup_steps >= 0, DPT_ERR_CONFIG, "schedule: %lld warm-up steps", (long long)s->warmup_steps);
    DPT_CHECK(!has_least(s->kind) || (isfinite(s->min_lr) && s->min_lr >= 0 && s->min_lr <= s->lr), DPT_ERR_CONFIG,
              "schedule: the smallest learning rate is %g, the largest %g", s->min_lr, s->lr);
    DPT_CHECK(!ends(s->kind) || s->total_steps > 0, DPT_ERR_CONFIG, "schedule: %s over %lld steps", names[s->kind],
              (long long)s->total_steps);
    if (s->kind == DPT_SCHEDULE_STEP || s->kind == DPT_SCHEDULE_MULTISTEP || s->kind == DPT_SCHEDULE_PLATEAU)
        return check_reductions(s);
    DPT_CHECK(s->kind != DPT_SCHEDULE_POLYNOMIAL || (isfinite(s->power) && s->power > 0), DPT_ERR_CONFIG,
              "schedule polynomial: power is %g", s->power);
    if (s->kind != DPT_SCHEDULE_ONE_CYCLE) return DPT_OK;
    DPT_CHECK(s->warmup_steps == 0, DPT_ERR_CONFIG, "schedule one_cycle rises by itself: without warm-up");
    DPT_CHECK(s->div >= 1 && s->final_div >= 1 && s->rise > 0 && s->rise < 1, DPT_ERR_CONFIG,
              "schedule one_cycle: div is %g, final_div %g (at least 1), rise %g (in (0, 1))", s->div, s->final_div,
              s->rise);
    return DPT_OK;
}

/* From a at share 0 to b at share 1 by half a cosine. */
static double anneal(double a, double b, double share) { return b + (a - b) * (1 + cos(PI * share)) / 2; }

static double one_cycle(const dpt_schedule *s, int64_t step) {
    const double last = (double)s->total_steps - 1, top = s->rise * (double)s->total_steps - 1;
    const double at = (double)step < last ? (double)step : last, start = s->lr / s->div;
    if (at <= top) return anneal(start, s->lr, top > 0 ? at / top : 1);
    return anneal(s->lr, start / s->final_div, last > top ? (at - top) / (last - top) : 1);
}

static double multistep(const dpt_schedule *s, int64_t step) {
    int64_t passed = 0;
    while (passed < s->milestones && s->milestone[passed] <= step) passed++;
    return s->lr * pow(s->gamma, (double)passed);
}

static double reduced(const dpt_schedule *s, const dpt_schedule_state *state) {
    const double lr = state ? s->lr * pow(s->gamma, (double)state->reductions) : s->lr;
    return lr > s->min_lr ? lr : s->min_lr;
}

static double after_warmup(const dpt_schedule *s, const dpt_schedule_state *state, int64_t step) {
    const int64_t length = s->total_steps - s->warmup_steps, done = step - s->warmup_steps;
    const double p = done < length ? (double)(done > 0 ? done : 0) / (double)length : 1;
    switch (s->kind) {
        case DPT_SCHEDULE_COSINE: return anneal(s->lr, s->min_lr, p);
        case DPT_SCHEDULE_STEP: return s->lr * pow(s->gamma, (double)(step / s->every));
        case DPT_SCHEDULE_MULTISTEP: return multistep(s, step);
        case DPT_SCHEDULE_LINEAR: return s->lr + (s->min_lr - s->lr) * p;
        case DPT_SCHEDULE_POLYNOMIAL: return s->min_lr + (s->lr - s->min_lr) * pow(1 - p, s->power);
        case DPT_SCHEDULE_ONE_CYCLE: return one_cycle(s, step);
        case DPT_SCHEDULE_PLATEAU: return reduced(s, state);
        case DPT_SCHEDULE_CONSTANT:
        case DPT_SCHEDULE_KINDS: break;
    }
    return s->lr;
}

double dpt_schedule_lr(const dpt_schedule *s, const dpt_schedule_state *state, int64_t step) {
    if (step < s->warmup_steps) return s->lr * (double)(step + 1) / (double)s->warmup_steps;
    return after_warmup(s, state, step);
}

void dpt_schedule_observe(const dpt_schedule *s, double value, dpt_schedule_state *state) {
    if (s->kind != DPT_SCHEDULE_PLATEAU) return;
    const double margin = s->threshold * fabs(state->best);
    const bool better = s->rises ? value > state->best + margin : value < state->best - margin;
    if (isfinite(value) && (state->values == 0 || better)) {
        state->best = value;
        state->since = 0;
        state->values++;
        return;
    }
    state->since++;
    if (state->since <= s->patience) return;
    state->reductions++;
    state->since = 0;
}
