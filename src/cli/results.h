/* results.h: what rank 0 keeps of a run's course: lines of metrics.jsonl, and pictures of it in the run directory, made
 * anew after each evaluation. Local, all of it. */
#ifndef DPT_CLI_RESULTS_H
#define DPT_CLI_RESULTS_H

#include "cli/job.h"
#include "cli/picture.h"
#include "cli/progress.h"
#include "cli/run_dir.h"
#include "data/ledger.h"
#include "train/metrics_log.h"

typedef struct dpt_results {
    dpt_run_dir *run; /* borrowed */
    dpt_metrics_log *log;
    dpt_history history;
} dpt_results;

/* Begins metrics.jsonl anew and removes what an earlier run left of pictures. */
dpt_status dpt_results_open(dpt_run_dir *run, dpt_results *results);
dpt_status dpt_results_close(dpt_results *results);

/* A training step's line; metrics begin with its number from 1. */
dpt_status dpt_results_step(dpt_results *results, const dpt_metric *metrics, int count);
/* What reading a pass has taken. */
typedef struct dpt_pass_work {
    double seconds;                     /* evaluations and files left out */
    double data_wait_s;                 /* of the rank that waited longest */
    double read_bytes, chunks, retries; /* of all ranks: from files, decoded, tried again */
} dpt_pass_work;

/* What a pass over the samples, from 1, has delivered over all ranks, and what that took. */
dpt_status dpt_results_pass(dpt_results *results, int64_t pass, const dpt_ledger *ledger, const dpt_pass_work *work);
/* What an evaluation after `step` steps has shown: its line, curves.svg, confusion.svg where that is measured. */
dpt_status dpt_results_evaluated(dpt_results *results, const dpt_job *job, int64_t step, int64_t epoch,
                                 const dpt_progress_evaluation *evaluation);

#endif
