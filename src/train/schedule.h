/* schedule.h: the learning rate of a step, a pure function of its number: a resumed run needs nothing else, but the
 * plateau's state. */
#ifndef DPT_TRAIN_SCHEDULE_H
#define DPT_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* X(ID, name): the names are what a config says. */
#define DPT_SCHEDULE_LIST(X)    \
    X(CONSTANT, "constant")     \
    X(COSINE, "cosine")         \
    X(STEP, "step")             \
    X(MULTISTEP, "multistep")   \
    X(LINEAR, "linear")         \
    X(POLYNOMIAL, "polynomial") \
    X(ONE_CYCLE, "one_cycle")   \
    X(PLATEAU, "plateau")
#define DPT_SCHEDULE_ENUM(ID, name) DPT_SCHEDULE_##ID,
typedef enum dpt_schedule_kind { DPT_SCHEDULE_LIST(DPT_SCHEDULE_ENUM) DPT_SCHEDULE_KINDS } dpt_schedule_kind;
#undef DPT_SCHEDULE_ENUM

typedef struct dpt_schedule {
    dpt_schedule_kind kind;
    double lr;     /* after the warm-up; one_cycle: the largest */
    double min_lr; /* cosine, linear, polynomial: at the end and after it; plateau: the least */
    int64_t warmup_steps;
    int64_t total_steps;      /* warm-up included */
    double gamma;             /* step, multistep, plateau: factor of a reduction */
    int64_t every;            /* step: steps between reductions */
    const int64_t *milestone; /* multistep: steps of the reductions, growing; borrowed */
    int64_t milestones;
    double power;          /* polynomial */
    double div, final_div; /* one_cycle: lr / div at the start, lr / div / final_div at the end */
    double rise;           /* one_cycle: share of the steps until the largest */
    int64_t patience;      /* plateau: values without an improvement that are borne */
    double threshold;      /* plateau: an improvement is more than this share of the best */
    bool rises;            /* plateau: more is better */
} dpt_schedule;

/* What a plateau has seen; all 0 at the start. */
typedef struct dpt_schedule_state {
    double best;
    int64_t values, since; /* improvements; values since the best, or since a reduction */
    int64_t reductions;
} dpt_schedule_state;

/* DPT_ERR_CONFIG: a rate or a number of steps that makes no sense, by name. Local. */
dpt_status dpt_schedule_check(const dpt_schedule *s);

/* The learning rate of step 0, 1, ... (optimiser steps made before), with w = warmup_steps, T = total_steps, and
 * p = min(1, (step - w) / (T - w)), 1 where T <= w:
 *   step < w:    (step + 1) / w times lr; not for one_cycle, which has a rise of its own
 *   constant:    lr
 *   cosine:      min_lr + (lr - min_lr) (1 + cos(pi p)) / 2 (Loshchilov and Hutter 2017, one period)
 *   step:        lr gamma^floor(step / every)
 *   multistep:   lr gamma^(milestones that are <= step)
 *   linear:      lr + (min_lr - lr) p
 *   polynomial:  min_lr + (lr - min_lr) (1 - p)^power
 *   one_cycle:   from lr / div up to lr at step rise T - 1, then down to lr / div / final_div at T - 1, each by half a
 *                cosine (Smith and Topin 2018, as PyTorch)
 *   plateau:     max(min_lr, lr gamma^reductions), at most lr
 * state is the plateau's, NULL for others. Local. */
double dpt_schedule_lr(const dpt_schedule *s, const dpt_schedule_state *state, int64_t step);

/* plateau: takes the next value of the metric that is watched (the same on all ranks): a reduction where it has not
 * improved for more than `patience` values (as PyTorch's ReduceLROnPlateau); what is not finite is no improvement.
 * Local. */
void dpt_schedule_observe(const dpt_schedule *s, double value, dpt_schedule_state *state);

#endif
