/* profile.h: profile=N: N steps of training, timed operation by operation, become a trace a rank (trace.<rank>.json,
 * for chrome://tracing or Perfetto) and, on rank 0, a table (profile.txt). The steps before it are left alone: they
 * hold what happens once. Profiled steps are slower: each waits for its end. */
#ifndef DPT_CLI_PROFILE_H
#define DPT_CLI_PROFILE_H

#include "cli/job.h"

typedef struct dpt_profiler {
    int64_t first, count; /* steps; count 0: off */
    dpt_timeline *timeline;
    dpt_ceilings ceilings;
    char *folder; /* the run's, on every rank */
    double step_begin_s;
} dpt_profiler;

/* Collective. */
dpt_status dpt_profiler_open(dpt_job *job, int64_t count, dpt_profiler *p);
void dpt_profiler_close(dpt_profiler *p);
/* Before and after a step's work; loader_s: seconds of it spent waiting for data, at its beginning. Collective. */
dpt_status dpt_profiler_begin(dpt_profiler *p, dpt_job *job, int64_t step);
dpt_status dpt_profiler_end(dpt_profiler *p, dpt_job *job, int64_t step, double loader_s);

#endif
