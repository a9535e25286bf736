/* bench_workload.h: a model of the zoo on random data in memory, and its training steps timed: what the benchmarks
 * share. */
#ifndef DPT_CLI_BENCH_WORKLOAD_H
#define DPT_CLI_BENCH_WORKLOAD_H

#include "cli/job.h"

typedef struct dpt_workload {
    dpt_cli *cli;
    dpt_context *ctx; /* borrowed */
    int64_t batch;    /* rows of a rank */
    dpt_graph *graph;
    dpt_trainer *trainer;
    dpt_array in[2];
    size_t in_bytes[2];
    int block; /* steps that time_steps queues and times as one */
    double *times;
    int64_t n_time, time_capacity;
} dpt_workload;

/* What bench words say of a context: device=D, comm=C, emulate=F. False where the word is none of these. Local. */
bool dpt_workload_context_word(const char *word, dpt_context_options *options);
/* precision=P. DPT_ERR_CONFIG: it is none; usage is the message then. Local. */
dpt_status dpt_workload_precision(const char *word, const char *usage, dpt_precision *precision);

/* batch 0: the model's own. zero: as in dpt_trainer_options. On a device the data lie there and steps are queued in
 * blocks. Collective. Close it on failure too. DPT_ERR_CONFIG: no such model. */
dpt_status dpt_workload_open(dpt_cli *cli, dpt_context *ctx, const char *name, int64_t batch, dpt_precision precision,
                             int zero, dpt_workload *w);
void dpt_workload_close(dpt_workload *w);

/* A few steps that nobody times. Collective. */
dpt_status dpt_workload_warm_up(dpt_workload *w);
/* Steps for so long, at least a few, the same number on all ranks; times are sorted, a step each; the median is rank
 * 0's on all ranks. Collective. */
dpt_status dpt_workload_time(dpt_workload *w, double seconds, double *median_s);

/* Sorts; the one in the middle. */
double dpt_median(double *values, int64_t count);

#endif
