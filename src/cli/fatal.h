/* fatal.h: how the program ends when the watchdog has found a failure: the main thread may be blocked for good, so the
 * watchdog's thread writes the report, prints the message and ends the process.
 *
 * Between arm and disarm SIGTERM waits half a second before it ends the process: mpirun sends it as soon as a rank is
 * gone, and what is found in the first 0.2 s of it is reported first, with code 72. */
#ifndef DPT_CLI_FATAL_H
#define DPT_CLI_FATAL_H

#include "cli/cli.h"
#include "dptrain/context.h"

/* Sets on_fatal, and from several ranks on the handler of SIGTERM, unless that is ignored. Local. */
void dpt_fatal_arm(dpt_cli *cli, dpt_context_options *options);
/* From here on the program ends by itself. Local. */
void dpt_fatal_disarm(void);
/* Every rank learns where the run directory is, as rank 0 may be the one that is lost. Collective. */
dpt_status dpt_fatal_share_folder(dpt_cli *cli);

#endif
