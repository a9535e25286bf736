/* cli.h: what the subcommands share. main.c finds the subcommand, starts MPI where it is needed, and turns the result
 * into one message and one exit code; a subcommand returns a status like any function. */
#ifndef DPT_CLI_CLI_H
#define DPT_CLI_CLI_H

#include "backend/control.h"
#include "cli/config.h"
#include "cli/exit_code.h"
#include "cli/exit_report.h"
#include "cli/launch_check.h"
#include "cli/run_dir.h"

typedef struct dpt_cli {
    int argc; /* the words after the subcommand */
    char **argv;
    dpt_launch launch;
    dpt_control control; /* over all ranks; comm is MPI_COMM_NULL where the subcommand runs without MPI */
    dpt_exit_context context;
    dpt_run_dir *run;       /* rank 0, once a run has a folder */
    char *_Atomic folder;   /* its path, on all ranks; set once */
    dpt_exit_report report; /* what the run has come to, for exit_report.json */
} dpt_cli;

/* Least message of the library that rank 0 shows: log.level. */
extern dpt_log_level dpt_cli_log_level;

/* Collective over the ranks where they use MPI. */
dpt_status dpt_cli_train(dpt_cli *cli);
dpt_status dpt_cli_eval(dpt_cli *cli);
dpt_status dpt_cli_explain(dpt_cli *cli);
dpt_status dpt_cli_bench(dpt_cli *cli);
dpt_status dpt_cli_bench_allreduce(dpt_cli *cli);
dpt_status dpt_cli_data(dpt_cli *cli);
dpt_status dpt_cli_data_import(dpt_cli *cli); /* as the words after `data import` */
dpt_status dpt_cli_data_info(dpt_cli *cli);   /* and so on */
dpt_status dpt_cli_data_verify(dpt_cli *cli);
dpt_status dpt_cli_data_pack(dpt_cli *cli);
dpt_status dpt_cli_data_manifest(dpt_cli *cli);
dpt_status dpt_cli_info(dpt_cli *cli);

/* Whether all ranks do `data <name>` together; else the first of them does it. */
bool dpt_cli_data_by_ranks(const char *name);
/* What `data` can do, with examples: at most `bytes` of text. Returns its length. */
size_t dpt_cli_data_usage(char *text, size_t bytes);
/* Of one command alone: appends to text, as dpt_append. */
size_t dpt_cli_data_import_usage(char *text, size_t bytes, size_t length);
size_t dpt_cli_data_info_usage(char *text, size_t bytes, size_t length);
size_t dpt_cli_data_verify_usage(char *text, size_t bytes, size_t length);
size_t dpt_cli_data_pack_usage(char *text, size_t bytes, size_t length);
size_t dpt_cli_data_manifest_usage(char *text, size_t bytes, size_t length);

#endif
