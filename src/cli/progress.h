/* progress.h: what rank 0 shows while it trains: a header, a line that moves, evaluations, the result.
 *
 *   dpt_progress_header(stdout, &about);
 *   dpt_progress_start(&p, stdout, isatty(1), steps, dpt_clock_s());
 *   dpt_progress_step(&p, step, epoch, loss, samples, dpt_clock_s());       after each step
 *   dpt_progress_evaluated(&p, epoch, &evaluation);
 *   dpt_progress_result(&p, &evaluation);
 *
 * On a terminal the progress line is drawn over itself up to ten times a second; elsewhere it is a plain line every ten
 * seconds. The last line of a classifier is "test accuracy 0.dddd". Local, all of it. */
#ifndef DPT_CLI_PROGRESS_H
#define DPT_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "train/measures.h"

typedef struct dpt_progress_about {
    const char *version, *device, *model, *data, *order, *reading, *run_dir, *precision;
    int ranks, hosts, threads; /* threads of a rank */
    int64_t parameters;        /* elements */
    int64_t memory_bytes;      /* of a rank: arenas and workspaces */
    int64_t train_samples, test_samples;
    int64_t batch, steps; /* global; of the whole training */
} dpt_progress_about;

typedef struct dpt_progress {
    FILE *out;
    bool terminal;
    int64_t steps;          /* of the whole training */
    double start_s, line_s; /* of the start, of the last line */
    int64_t samples;        /* since the last line */
    int width;              /* of the line that stands on the terminal */
} dpt_progress;

typedef struct dpt_progress_evaluation {
    double loss;
    int count; /* metrics */
    const char *name[DPT_MEASURES_ALL];
    double value[DPT_MEASURES_ALL];
    int64_t samples;
    double seconds;
} dpt_progress_evaluation;

void dpt_progress_header(FILE *out, const dpt_progress_about *about);
void dpt_progress_start(dpt_progress *p, FILE *out, bool terminal, int64_t steps, double now_s);
/* Step `step`, counted from 1, is done, with `samples` in it over all ranks. */
void dpt_progress_step(dpt_progress *p, int64_t step, int64_t epoch, double loss, int64_t samples, double now_s);
void dpt_progress_evaluated(dpt_progress *p, int64_t epoch, const dpt_progress_evaluation *e);
/* The last line: the accuracy where it is measured, else the loss. */
void dpt_progress_result(dpt_progress *p, const dpt_progress_evaluation *e);
/* The value of the loss or of the metric of that name; NaN: there is none. */
double dpt_progress_value(const dpt_progress_evaluation *e, const char *name);

#endif
