/* fatal.c: see fatal.h. The survivors of a failure all come here at about the same time. The one that is the first to
 * put exit_report.json in its place speaks for all; rank 0 has a head start. Where there is no run directory rank 0
 * speaks, or rank 1 if rank 0 is the one that failed, and others only if nobody ends the job before it is their turn.
 *
 * Invariant: nothing here waits without a bound: for a lock that the main thread may hold while it is blocked, or for
 * a file system that has stopped, which may be why ranks are stuck. So the report is written on a thread of its own. */
#include "cli/fatal.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum { UNARMED, ARMED, FATAL, TERMINATED };
enum { REPORT_S = 3, LAST_RESORT_S = 10 }; /* a file system that hangs must not keep the process */
static const double term_grace_s = 0.2;    /* in which a loss from before the signal may still be noticed */
static const double term_linger_s = 0.3;   /* so that others get the signal before they see this process gone */
static const double linger_s = 0.25;       /* so that the launcher sees what came first */

static atomic_int state;
static atomic_bool term_seen;
static struct sigaction term_before;

static void nap(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

/* Waits as long as the state is that; true: it was to the end. */
static bool stays(int what, double seconds) {
    for (int i = 0; i < (int)(seconds * 100); i++) {
        if (atomic_load(&state) != what) return false;
        nap(0.01);
    }
    return atomic_load(&state) == what;
}

static void on_term(int signal_number) {
    int armed = ARMED;
    atomic_store(&term_seen, true);
    if (stays(ARMED, term_grace_s) && atomic_compare_exchange_strong(&state, &armed, TERMINATED))
        nap(term_linger_s);
    else
        stays(FATAL, LAST_RESORT_S); /* the watchdog's thread ends the process */
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* ---- the end ---- */

static void say(const char *message) {
    char line[1200];
    int n = snprintf(line, sizeof line - 1, "dptrain: %.*s\n", (int)sizeof line - 20, message);
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0) n = 0; /* nowhere else to say it */
}

/* False: the report could not be written here, by anyone's fault but another survivor's. */
static bool report(const dpt_cli *cli, const dpt_failure *f, int code, bool *first) {
    const char *folder = atomic_load(&((dpt_cli *)(uintptr_t)cli)->folder);
    char now[32];
    dpt_clock_utc(now, sizeof now);
    dpt_exit_report r = {.exit_code = code,
                         .message = f->message,
                         .rank = f->rank,
                         .host = f->host[0] ? f->host : NULL,
                         .step = f->step,
                         .epoch = -1,
                         .phase = f->phase,
                         .started = cli->report.started,
                         .ended = now};
    return folder && dpt_exit_report_write_first(folder, cli->control.rank, &r, first) == DPT_OK;
}

/* ---- the report, for a bounded time ---- */

typedef struct reporting {
    const dpt_cli *cli;
    const dpt_failure *failure;
    int code;
    bool first, written;
    sem_t done;
} reporting;

static void *run_report(void *context) {
    reporting *r = context;
    r->written = report(r->cli, r->failure, r->code, &r->first);
    sem_post(&r->done);
    return NULL;
}

/* Whether there is a report now; first: it is this rank's. The thread may outlive the wait, the process does not. */
static bool report_in_time(const dpt_cli *cli, const dpt_failure *f, int code, bool *first) {
    static reporting r;
    pthread_t thread;
    struct timespec until;
    r = (reporting){.cli = cli, .failure = f, .code = code};
    if (sem_init(&r.done, 0, 0) != 0 || pthread_create(&thread, NULL, run_report, &r) != 0) return false;
    pthread_detach(thread);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += REPORT_S;
    while (sem_timedwait(&r.done, &until) != 0)
        if (errno != EINTR) return false;
    *first = r.first;
    return r.written;
}

/* Whether it is this rank that speaks, where no file decides it. */
static bool speaks(const dpt_cli *cli, const dpt_failure *f) {
    int rank = cli->control.rank;
    if (rank == 0) return true;
    if (f->rank != 0) return false;
    for (int i = 0; rank > 1 && i < 30 + 2 * rank && i < 100; i++) { /* rank 1 comes first */
        nap(0.01);
        if (atomic_load(&term_seen)) return false;
    }
    return true;
}

static void flush_output(void) {
    if (ftrylockfile(stdout) != 0) return;
    fflush_unlocked(stdout);
    funlockfile(stdout);
}

static void on_fatal(void *user, const dpt_failure *f) {
    const dpt_cli *cli = user;
    int armed = ARMED, rank = cli->control.rank, code = dpt_exit_code(f->status, DPT_EXIT_WHILE_RUNNING);
    bool first = false;
    if (!atomic_compare_exchange_strong(&state, &armed, FATAL)) return;
    alarm(LAST_RESORT_S);
    if (rank > 0) nap(rank < 20 ? 0.1 + 0.02 * rank : 0.5);
    bool written = report_in_time(cli, f, code, &first);
    if (written ? first : speaks(cli, f)) say(f->message);
    for (double end = dpt_clock_s() + linger_s; dpt_clock_s() < end && !atomic_load(&term_seen);) nap(0.01);
    flush_output();
    _exit(code);
}

/* ---- arming ---- */

void dpt_fatal_arm(dpt_cli *cli, dpt_context_options *options) {
    options->on_fatal = on_fatal;
    options->user = cli;
    if (cli->control.world == 1 || !options->watchdog) return;
    struct sigaction action = {.sa_handler = on_term};
    if (sigaction(SIGTERM, NULL, &term_before) != 0) return;
    atomic_store(&state, ARMED);
    if (term_before.sa_handler != SIG_IGN) sigaction(SIGTERM, &action, NULL);
}

void dpt_fatal_disarm(void) {
    int armed = ARMED;
    if (atomic_compare_exchange_strong(&state, &armed, UNARMED)) sigaction(SIGTERM, &term_before, NULL);
}

dpt_status dpt_fatal_share_folder(dpt_cli *cli) {
    char path[4096] = "";
    dpt_status status = DPT_OK;
    if (cli->control.rank == 0 && realpath(dpt_run_dir_path(cli->run), path) == NULL)
        path[0] = 0; /* ranks then report without a file */
    DPT_TRY(dpt_control_broadcast(&cli->control, path, sizeof path, 0));
    char *copy = path[0] ? dpt_strdup(path) : NULL;
    if (path[0] && copy == NULL) status = DPT_ERR_MEMORY;
    atomic_store(&cli->folder, copy);
    return dpt_control_agree(&cli->control, status);
}
