/* run_dir.h: the folder that keeps a run: config.yaml, metrics, params.h5, exit_report.json, and a lock that names the
 * host and process that write there. One rank of a run opens it. Every file is replaced whole or not at all.
 *
 *   DPT_TRY(dpt_run_dir_open(config->run.dir, model, overwrite, &run));
 *   DPT_TRY(dpt_run_dir_write(run, "config.yaml", text));
 *   dpt_run_dir_close(&run);
 *
 * All functions are local. */
#ifndef DPT_CLI_RUN_DIR_H
#define DPT_CLI_RUN_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_run_dir dpt_run_dir;

/* Makes the folder, and those above it, and locks it. path NULL: runs/<model>-<Slurm job id[_task]>, without Slurm
 * runs/<model>-<UTC time>. A lock left by a process that is gone from this host is taken over.
 * DPT_ERR_CONFIG: not empty (and not overwrite), or in use, with the host and process that hold it.
 * DPT_ERR_IO: cannot be made or written, with the system's reason. */
dpt_status dpt_run_dir_open(const char *path, const char *model, bool overwrite, dpt_run_dir **run);
/* Gives the lock back. The files stay. */
void dpt_run_dir_close(dpt_run_dir **run);

/* Borrowed until the folder is closed. */
const char *dpt_run_dir_path(const dpt_run_dir *run);
/* The path of a file in the folder; release with dpt_free; NULL: out of memory. */
char *dpt_run_dir_file(const dpt_run_dir *run, const char *name);

/* Writes a file whole: beside its name, synchronised, renamed. DPT_ERR_IO: with the system's reason. */
dpt_status dpt_run_dir_write(const dpt_run_dir *run, const char *name, const char *text);

#endif
