/* schedule.h: the learning rate of a step, a pure function of its number: a resumed run needs nothing else. */
#ifndef DPT_TRAIN_SCHEDULE_H
#define DPT_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "base/error.h"

typedef enum dpt_schedule_kind { DPT_SCHEDULE_CONSTANT, DPT_SCHEDULE_COSINE } dpt_schedule_kind;

typedef struct dpt_schedule {
    dpt_schedule_kind kind;
    double lr;     /* after the warm-up */
    double min_lr; /* at the end of the cosine and after it */
    int64_t warmup_steps;
    int64_t total_steps; /* warm-up included; constant: not used */
} dpt_schedule;

/* DPT_ERR_CONFIG: a rate or a number of steps that makes no sense, by name. Local. */
dpt_status dpt_schedule_check(const dpt_schedule *s);

/* The learning rate of step 0, 1, ... (optimiser steps made before), with w = warmup_steps, T = total_steps:
 *   step < w:  lr * (step + 1) / w
 *   constant:  lr
 *   cosine:    min_lr + (lr - min_lr) * (1 + cos(pi * p)) / 2,  p = min(1, (step - w) / (T - w)), 1 where T <= w
 * (Loshchilov and Hutter 2017, one period). Local. */
double dpt_schedule_lr(const dpt_schedule *s, int64_t step);

#endif
