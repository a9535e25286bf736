/* exit_report.h: exit_report.json in the run directory: how a run ended, for job scripts and people. Where a launcher
 * changes the exit code it is the authority. Rank 0 writes it; after a failure that the watchdog found, the first of
 * those that are left. All functions are local. */
#ifndef DPT_CLI_EXIT_REPORT_H
#define DPT_CLI_EXIT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* How a run ended; texts may be NULL, numbers below 0 mean that there is none. */
typedef struct dpt_exit_report {
    int exit_code;
    const char *message; /* what went wrong */
    int rank;            /* that it went wrong on */
    const char *host;
    int64_t step, epoch;
    const char *phase;           /* "start", "train", "evaluate", "save" */
    const char *started, *ended; /* dpt_clock_utc */
} dpt_exit_report;

/* Replaces the file whole. DPT_ERR_IO: with the system's reason. */
dpt_status dpt_exit_report_write(const char *folder, const dpt_exit_report *report);
/* Writes it only if nobody has: of several writers, on several hosts too, one is the first. writer: this rank. */
dpt_status dpt_exit_report_write_first(const char *folder, int writer, const dpt_exit_report *report, bool *first);

#endif
