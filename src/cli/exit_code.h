/* exit_code.h: what the process says to a job script when it ends (sysexits.h where one fits). */
#ifndef DPT_CLI_EXIT_CODE_H
#define DPT_CLI_EXIT_CODE_H

#include "dptrain/status.h"

/* X(name, code, text). Job scripts act on the codes and exit_report.json holds the texts: append only. */
#define DPT_EXIT_LIST(X)                              \
    X(DPT_EXIT_DONE, 0, "done")                       \
    X(DPT_EXIT_CONFIG, 64, "config or launch")        \
    X(DPT_EXIT_DATA, 65, "data")                      \
    X(DPT_EXIT_CHECKPOINT, 66, "no valid checkpoint") \
    X(DPT_EXIT_INTERNAL, 70, "internal")              \
    X(DPT_EXIT_DEVICE, 71, "device")                  \
    X(DPT_EXIT_PEER, 72, "hang or lost peer")         \
    X(DPT_EXIT_DIVERGED, 73, "diverged")              \
    X(DPT_EXIT_IO, 74, "input/output")                \
    X(DPT_EXIT_PREEMPTED, 75, "preempted, resumable") \
    X(DPT_EXIT_REPLICAS, 76, "replicas differ")

typedef enum dpt_exit {
#define DPT_EXIT_ENUM(name, code, text) name = code,
    DPT_EXIT_LIST(DPT_EXIT_ENUM)
#undef DPT_EXIT_ENUM
} dpt_exit;

/* What the program was doing, where the status alone does not say which code it is. */
typedef enum dpt_exit_context {
    DPT_EXIT_WHILE_RUNNING, /* the code of the status */
    DPT_EXIT_WHILE_LOADING, /* parameters or a checkpoint: one that cannot be used is 66 */
    DPT_EXIT_WHILE_STOPPING /* asked to stop by a signal: success is 75 */
} dpt_exit_context;

/* Local. */
dpt_exit dpt_exit_code(dpt_status status, dpt_exit_context context);
/* The code in words, "unknown" outside the list. Local. */
const char *dpt_exit_text(int code);

#endif
