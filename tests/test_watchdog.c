/* test_watchdog.c: watchdogs of several ranks, over their own sockets. Positions are moved by hand, so that no rank is
 * really blocked and all can tell what on_fatal was told. Limits are short; nothing here must be faster than they are.
 * Real blocked ranks: tests/cli/watchdog.sh. */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/watchdog.h"
#include "backend/watchdog_judge.h"
#include "base/clock.h"
#include "check.h"

static const double patience_s = 20;

static dpt_control control;
static dpt_position *position;
static dpt_watchdog *watchdog;
static dpt_comm comm;
static char host[DPT_WATCH_HOST];

/* What on_fatal was told, and what the communicator had gone through by then. */
static struct {
    atomic_int calls;
    int rank, aborts;
    dpt_status status;
    int64_t step;
    char host[64], phase[16], message[DPT_WATCH_SENTENCE];
} told;
static atomic_int aborts, broken, warnings, hangs;

static void nap(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void on_fatal(void *user, const dpt_failure *f) {
    CHECK(user == &told);
    told.rank = f->rank;
    told.status = f->status;
    told.step = f->step;
    told.aborts = aborts;
    snprintf(told.host, sizeof told.host, "%s", f->host);
    snprintf(told.phase, sizeof told.phase, "%s", f->phase);
    snprintf(told.message, sizeof told.message, "%s", f->message);
    told.calls++;
}

static void on_log(void *user, dpt_log_level level, const char *message) {
    (void)user, (void)message;
    warnings += level == DPT_LOG_WARNING;
}

static void fake_abort(dpt_comm *c, double limit_s) {
    CHECK(c == &comm && limit_s > 0);
    aborts++;
}
static dpt_status fake_check(dpt_comm *c) {
    CHECK(c == &comm);
    while (hangs) nap(0.01);
    return broken ? dpt_error(DPT_ERR_DEVICE, "the cable is out") : DPT_OK;
}
static const dpt_comm_ops fake_ops = {.check = fake_check, .abort = fake_abort};

enum { MOST_FDS = 1024 };
static bool there_before[MOST_FDS];

static bool is_socket(int fd) {
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

static bool begin_with(double silence_s, double stuck_s, double limit_s, const char *interface) {
    told.calls = 0;
    aborts = broken = warnings = 0;
    gethostname(host, sizeof host - 1);
    if (!CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD))) return false;
    if (!CHECK_OK(dpt_position_create(&position))) return false;
    dpt_position_step(position, 7);
    dpt_position_phase(position, DPT_PHASE_STEP);
    comm = (dpt_comm){.ops = &fake_ops};
    for (int fd = 3; fd < MOST_FDS; fd++) there_before[fd] = is_socket(fd);
    dpt_watchdog_options o = {silence_s, stuck_s, limit_s, interface, position, on_fatal, &told};
    if (!CHECK_OK(dpt_watchdog_start(&control, &o, &watchdog))) return false;
    dpt_watchdog_watch(watchdog, &comm);
    return true;
}
static bool begin(void) { return begin_with(20, 1, 60, NULL); }

static void end(void) {
    MPI_Barrier(MPI_COMM_WORLD);
    dpt_watchdog_watch(watchdog, NULL);
    dpt_watchdog_stop(&watchdog);
    CHECK(watchdog == NULL);
    dpt_position_destroy(&position);
    dpt_control_close(&control);
}

/* All ranks are told the same. */
static void expect_told(dpt_status status, int rank, const char *text) {
    for (double limit = dpt_clock_s() + patience_s; told.calls == 0 && dpt_clock_s() < limit;) nap(0.01);
    if (!CHECK_EQ_I64(told.calls, 1)) return;
    CHECK_EQ_I64(told.status, status);
    CHECK_EQ_I64(told.rank, rank);
    CHECK_EQ_TEXT(told.host, rank >= 0 ? host : "");
    check_that(strstr(told.message, text) != NULL, __FILE__, __LINE__, "'%s' lacks '%s'", told.message, text);
    CHECK_EQ_I64(told.aborts, 1);
}

static void expect_peace(double for_s) {
    nap(for_s);
    check_that(told.calls == 0, __FILE__, __LINE__, "nobody failed, but: %s", told.message);
}

static uint64_t start(dpt_collective what) {
    return dpt_position_start(position, DPT_LANE_GRADIENTS, what, 4 << 20, DPT_F32);
}

/* ---- cases ---- */

static void peace(void) {
    for (int i = 0; i < 3; i++) {
        if (!begin()) return;
        for (int k = 0; k < 100; k++) dpt_position_finish(position, DPT_LANE_GRADIENTS, start(DPT_ALL_REDUCE));
        expect_peace(i == 0 ? 0.7 : 0);
        end();
        CHECK_EQ_I64(told.calls, 0);
    }
}

/* The last rank does not come to a collective; it ticks for a while before it stops. */
static void stuck(void) {
    if (!begin()) return;
    int culprit = check_world() - 1;
    if (check_rank() != culprit) start(DPT_ALL_REDUCE);
    for (int i = 0; check_rank() == culprit && i < 13; i++) {
        dpt_position_tick(position);
        nap(0.1);
        CHECK_EQ_I64(told.calls, 0);
    }
    expect_told(DPT_ERR_PEER, culprit, "has made no progress for 1");
    CHECK(strstr(told.message, "collective 1: all_reduce of 4.0 MiB") != NULL);
    CHECK_EQ_I64(told.step, 7);
    CHECK_EQ_TEXT(told.phase, "train");
    end();
}

/* The same while it saves: warned of once, by rank 0, until limit_s. */
static void slow(void) {
    dpt_log_set(on_log, NULL);
    if (!begin_with(20, 0.3, 1.2, NULL)) return;
    double begun = dpt_clock_s();
    if (check_rank() == 1) dpt_position_phase(position, DPT_PHASE_SAVE);
    if (check_rank() != 1) start(DPT_ALL_REDUCE);
    expect_told(DPT_ERR_PEER, 1, "save");
    CHECK(dpt_clock_s() - begun > 1);
    CHECK_EQ_I64(warnings, check_rank() == 0);
    end();
    dpt_log_set(NULL, NULL);
}

static void out_of_step(void) {
    if (!begin_with(20, 20, 60, NULL)) return; /* found at once, not by a wait */
    bool odd = check_rank() == check_world() - 1;
    start(odd ? DPT_ALL_GATHER : DPT_ALL_REDUCE);
    start(odd ? DPT_ALL_REDUCE : DPT_ALL_GATHER);
    expect_told(DPT_ERR_INTERNAL, check_world() > 2 ? check_world() - 1 : -1, "ranks are out of step: ");
    CHECK(strstr(told.message, "collective 1: all_reduce of 4.0 MiB, then collective 2: all_gather") != NULL);
    CHECK(strstr(told.message, "collective 1: all_gather of 4.0 MiB, then collective 2: all_reduce") != NULL);
    end();
}

/* A communicator that does not answer keeps nobody from being heard. */
static void unanswered(void) {
    if (!begin_with(0.8, 20, 60, NULL)) return;
    hangs = 1;
    expect_peace(1.6);
    hangs = 0;
    end();
}

/* What the communicator of a rank reports is told by all. */
static void failing(void) {
    if (!begin_with(20, 20, 60, NULL)) return;
    int culprit = check_world() - 1;
    start(DPT_ALL_REDUCE);
    broken = check_rank() == culprit;
    expect_told(DPT_ERR_DEVICE, culprit,
                ": the cable is out: it was last seen in step 8, train, collective 1: all_red");
    end();
}

/* The same when the rank itself has been told first, and closes: its last word counts. */
static void failing_and_closing(void) {
    if (!begin_with(20, 20, 60, NULL)) return;
    int culprit = check_world() - 1;
    if (check_rank() == culprit) {
        broken = 1;
        dpt_error(DPT_ERR_DATA, "another message");
        dpt_watchdog_watch(watchdog, NULL);
        CHECK_EQ_TEXT(dpt_last_error(), "another message");
        dpt_watchdog_stop(&watchdog);
        told.calls = 1; /* it does not hear the others' verdict */
    } else {
        start(DPT_ALL_REDUCE);
        expect_told(DPT_ERR_DEVICE, culprit, "the cable is out");
    }
    end();
}

/* Shuts the watchdog's connections down: the sockets that were not there before it started. */
static void hang_up(void) {
    for (int fd = 3; fd < MOST_FDS; fd++)
        if (!there_before[fd] && is_socket(fd)) shutdown(fd, SHUT_RDWR);
}

/* As if the last rank's process had ended. It sees the same of rank 0. */
static void lost(void) {
    if (!begin_with(20, 20, 60, NULL)) return;
    int culprit = check_world() - 1;
    nap(0.3);
    if (check_rank() == culprit) hang_up();
    expect_told(DPT_ERR_PEER, check_rank() == culprit ? 0 : culprit, " is gone: it was last seen in step 8, train");
    end();
}

static void root_lost(void) {
    if (!begin_with(20, 20, 60, NULL)) return;
    nap(0.3);
    if (check_rank() == 0) hang_up();
    for (double limit = dpt_clock_s() + patience_s; told.calls == 0 && dpt_clock_s() < limit;) nap(0.01);
    CHECK_EQ_I64(told.calls, 1);
    if (check_rank() > 0) expect_told(DPT_ERR_PEER, 0, "rank 0 on ");
    end();
}

/* Nobody waits for the one that has left; then somebody does. */
static void leaving(int who) {
    if (!begin_with(20, 0.4, 60, NULL)) return;
    if (check_rank() == who) {
        dpt_watchdog_watch(watchdog, NULL);
        dpt_watchdog_stop(&watchdog);
        nap(0.6);
    } else {
        expect_peace(0.6);
        start(DPT_BROADCAST);
        expect_told(DPT_ERR_PEER, who, " has left after step 8, train");
    }
    end();
}
static void one_leaves(void) { leaving(check_world() - 1); }
static void root_leaves(void) { leaving(0); }

/* After the verdict, on its thread. */
static void stop_inside(void *user, const dpt_failure *f) {
    (void)f;
    dpt_watchdog_stop(&watchdog);
    (*(atomic_int *)user)++;
}

static void stop_from_on_fatal(void) {
    static atomic_int calls;
    calls = 0;
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    CHECK_OK(dpt_position_create(&position));
    dpt_position_phase(position, DPT_PHASE_STEP);
    dpt_watchdog_options o = {20, 0.4, 60, NULL, position, stop_inside, &calls};
    if (!CHECK_OK(dpt_watchdog_start(&control, &o, &watchdog))) return;
    MPI_Barrier(MPI_COMM_WORLD);
    dpt_position_step(position, 8);
    if (check_rank() > 0) start(DPT_ALL_REDUCE);
    for (double limit = dpt_clock_s() + patience_s; calls == 0 && dpt_clock_s() < limit;) nap(0.01);
    CHECK_EQ_I64(calls, 1);
    nap(0.2); /* the thread reads the position once more */
    end();
}

static void refused(const char *interface, double silence_s, dpt_status status, const char *text) {
    dpt_watchdog_options o = {silence_s, 20, 600, interface, position, NULL, NULL};
    CHECK_FAILS(dpt_watchdog_start(&control, &o, &watchdog), status, text);
    CHECK(watchdog == NULL);
}

static void refusals(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    CHECK_OK(dpt_position_create(&position));
    gethostname(host, sizeof host - 1);
    refused("eth97", 20, DPT_ERR_CONFIG, "rank 0: comm.interface: eth97 is no network interface on ");
    CHECK(strstr(dpt_last_error(), "(there are: lo") != NULL && strstr(dpt_last_error(), host) != NULL);
    refused(check_rank() == 1 ? "eth97" : "lo", 20, DPT_ERR_CONFIG, "rank 1: comm.interface: eth97");
    refused(NULL, check_rank() == 1 ? 0 : 20, DPT_ERR_ARG, "rank 1: silence_s 0");
    dpt_position_destroy(&position);
    dpt_control_close(&control);
    if (!begin_with(20, 20, 60, "lo")) return;
    expect_peace(0.6);
    end();
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "watchdog", {"peace", peace}, {"stuck", stuck}, {"slow", slow},
                      {"out_of_step", out_of_step}, {"unanswered", unanswered}, {"failing", failing},
                      {"failing_and_closing", failing_and_closing}, {"lost", lost}, {"root_lost", root_lost},
                      {"one_leaves", one_leaves}, {"root_leaves", root_leaves},
                      {"stop_from_on_fatal", stop_from_on_fatal}, {"refusals", refusals});
}
