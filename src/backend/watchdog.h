/* watchdog.h: finds ranks that are lost, stopped, stuck or out of step, while calls into MPI or NCCL may be blocked for
 * good. A thread a rank sends what the rank's position says over sockets of its own, never through MPI; rank 0 compares
 * and tells the others. */
#ifndef DPT_BACKEND_WATCHDOG_H
#define DPT_BACKEND_WATCHDOG_H

#include "backend/comm.h"
#include "backend/control.h"
#include "dptrain/context.h"

typedef struct dpt_watchdog dpt_watchdog;

typedef struct dpt_watchdog_options {
    double silence_s, stuck_s, limit_s; /* as in dpt_context_options */
    const char *interface;              /* NULL: any */
    dpt_position *position;             /* borrowed until stop */
    void (*on_fatal)(void *user, const dpt_failure *failure);
    void *user;
} dpt_watchdog_options;

/* Connects the ranks and starts the thread. Collective. DPT_ERR_CONFIG: there is no such interface (those there are are
 * named). DPT_ERR_PEER: ranks cannot reach rank 0. */
dpt_status dpt_watchdog_start(const dpt_control *control, const dpt_watchdog_options *options, dpt_watchdog **watchdog);
/* The communicator whose errors are polled, and which is aborted before on_fatal; NULL: none any more. Local. */
void dpt_watchdog_watch(dpt_watchdog *watchdog, dpt_comm *comm);
/* Says good-bye, so that the closed socket is no loss. Takes NULL. Local. */
void dpt_watchdog_stop(dpt_watchdog **watchdog);

#endif
