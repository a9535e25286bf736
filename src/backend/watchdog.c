/* watchdog.c: the thread of a rank. At every beat rank 0 sends where it is and judges what the others had answered to
 * the beat before, so that all views are of nearly one moment; the others answer, and look out for rank 0 alone. What
 * rank 0 finds it tells all; each then aborts its communicator and calls on_fatal. A second thread asks the
 * communicator for its errors: should that wait, on a lock that a blocked call holds, heartbeats go on.
 *
 * Invariant: nothing here waits for a peer, and nothing calls MPI: a rank's thread goes on whatever its other threads
 * are blocked in. */
#include "backend/watchdog.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/watchdog_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

static const double longest_beat_s = 0.5;
static const double abort_limit_s = 0.5; /* a launcher that has seen the loss kills us a second later */
static const double send_limit_s = 0.2;
static const double answer_limit_s = 0.05; /* for the others to say where they wait, once a rank is lost */

static bool is_root(const dpt_watchdog *w) { return w->rank == 0; }

/* ---- what goes out ---- */

static void post(dpt_watchdog *w, int link, const uint8_t *frame, double limit_s) {
    struct timespec pause = {.tv_nsec = 2000000};
    for (double end = dpt_clock_s() + limit_s; w->links[link].fd >= 0; nanosleep(&pause, NULL))
        if (dpt_watch_link_send(&w->links[link], frame) || dpt_clock_s() >= end) return;
}

/* The limit is that of all links together: many may lead to one host that is cut off. */
static void post_all(dpt_watchdog *w, const dpt_watch_message *m, double limit_s) {
    uint8_t frame[DPT_WATCH_FRAME];
    double end = dpt_clock_s() + limit_s;
    dpt_watch_encode(m, w->token, frame);
    for (int i = 0; i < w->n_link; i++) post(w, i, frame, end - dpt_clock_s());
}

/* Where this rank is now, into its own table. */
static dpt_position_view note_where(dpt_watchdog *w) {
    dpt_position_view view;
    dpt_position_read(w->o.position, &view);
    dpt_watched_hear(&w->ranks[w->rank], &view, dpt_clock_s());
    return view;
}

/* The same, to the others. */
static void say_where(dpt_watchdog *w, dpt_watch_kind kind, double limit_s) {
    dpt_watch_message m = {.kind = kind, .rank = w->rank, .view = note_where(w)};
    post_all(w, &m, limit_s);
}

/* ---- the verdict ---- */

/* Unless the communicator is just being asked, and does not answer: then it would not hear of an abort either. */
static void abort_comm(dpt_watchdog *w) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += (long)(abort_limit_s * 1e9);
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    if (pthread_mutex_timedlock(&w->comm_lock, &end) != 0) return;
    if (w->comm && w->comm->ops && w->comm->ops->abort) w->comm->ops->abort(w->comm, abort_limit_s);
    pthread_mutex_unlock(&w->comm_lock);
}

static void carry_out(dpt_watchdog *w, const dpt_verdict *v) {
    w->fatal = true;
    if (w->o.on_fatal == NULL) dpt_log(DPT_LOG_ERROR, "%s", v->message);
    abort_comm(w);
    dpt_failure failure = {.status = v->status,
                           .rank = v->rank,
                           .host = v->host,
                           .step = v->step,
                           .phase = dpt_phase_text(v->phase),
                           .message = v->message};
    if (w->o.on_fatal) w->o.on_fatal(w->o.user, &failure);
}

static void announce(dpt_watchdog *w, const dpt_verdict *v) {
    dpt_watch_message m = {.kind = DPT_WATCH_VERDICT, .rank = w->rank, .verdict = *v};
    if (is_root(w)) post_all(w, &m, send_limit_s);
    carry_out(w, v);
}

static void warn(dpt_watchdog *w, const dpt_verdict *v) {
    double moved = w->ranks[v->rank].moved_s;
    if (v->rank == w->warned_rank && moved == w->warned_moved_s) return;
    w->warned_rank = v->rank;
    w->warned_moved_s = moved;
    dpt_log(DPT_LOG_WARNING, "%s", v->message);
}

/* Not on rank 0 only rank 0 is judged, later than it judges itself, and this rank beside it where nobody else will. */
static void judge(dpt_watchdog *w) {
    dpt_watch_limits limits = w->limits;
    double now = w->looked_s; /* up to then everything is known that had come */
    dpt_verdict v;
    w->judge_s = 0;
    if (!is_root(w)) {
        limits.silence_s += limits.silence_s / 4 + 2 * w->beat_s;
        bool silent = now - w->ranks[0].heard_s >= limits.silence_s;
        w->ranks[w->rank].present =
            w->ranks[0].left || w->ranks[0].lost || silent || w->ranks[w->rank].failed != DPT_OK;
    }
    dpt_judgement judged = dpt_watchdog_judge(w->ranks, w->world, &limits, now, &v);
    if (judged == DPT_JUDGED_FATAL) announce(w, &v);
    if (judged == DPT_JUDGED_SLOW) warn(w, &v);
}

/* ---- what comes in ---- */

static void hear(dpt_watchdog *w, int from, const dpt_watch_message *m) {
    dpt_watched *r = &w->ranks[from];
    r->heard_s = dpt_clock_s();
    switch (m->kind) {
        case DPT_WATCH_BEAT:
        case DPT_WATCH_BYE:
            dpt_watched_hear(r, &m->view, dpt_clock_s());
            r->left = m->kind == DPT_WATCH_BYE;
            if (!is_root(w) && !r->left) say_where(w, DPT_WATCH_BEAT, 0);
            return;
        case DPT_WATCH_FAILED:
            r->failed = m->verdict.status;
            r->failed_s = dpt_clock_s();
            snprintf(r->said, sizeof r->said, "%.*s", (int)sizeof r->said - 1, m->verdict.message);
            return;
        case DPT_WATCH_VERDICT:
            if (from == 0 && !w->fatal) carry_out(w, &m->verdict);
            return;
        default: return;
    }
}

static void receive(dpt_watchdog *w, int i) {
    bool closed = false;
    dpt_watch_message m;
    int from = is_root(w) ? i : 0;
    while (w->links[i].fd >= 0 && dpt_watch_link_receive(&w->links[i], &closed))
        if (dpt_watch_decode(w->links[i].in, w->token, w->world, &m) && m.rank == from) hear(w, from, &m);
    if (!closed) return;
    dpt_watch_link_close(&w->links[i]);
    w->ranks[from].lost = !w->ranks[from].left;
    if (!w->ranks[from].lost) return;
    say_where(w, DPT_WATCH_BEAT, 0);
    w->judge_s = dpt_clock_s() + (is_root(w) ? answer_limit_s : 0);
}

/* ---- the communicator of this rank ---- */

/* Under comm_lock. */
static void check_comm(dpt_watchdog *w) {
    if (w->comm == NULL || w->comm->ops == NULL || w->comm->ops->check == NULL) return;
    dpt_status status = w->comm->ops->check(w->comm);
    pthread_mutex_lock(&w->lock);
    if (status != DPT_OK && w->failed == DPT_OK)
        snprintf(w->said, sizeof w->said, "%.*s", (int)sizeof w->said - 1, dpt_last_error());
    if (w->failed == DPT_OK) w->failed = status;
    pthread_mutex_unlock(&w->lock);
}

static bool is_stopped(dpt_watchdog *w) {
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

/* The second thread. */
static void *ask(void *context) {
    dpt_watchdog *w = context;
    struct pollfd p = {.fd = w->wake, .events = POLLIN};
    while (!is_stopped(w)) {
        pthread_mutex_lock(&w->comm_lock);
        check_comm(w);
        pthread_mutex_unlock(&w->comm_lock);
        poll(&p, 1, (int)(w->beat_s * 1000) + 1);
    }
    return NULL;
}

/* Tells rank 0, once; rank 0 looks for what may be behind it. If rank 0 says nothing, this rank speaks for itself. */
static void report_comm(dpt_watchdog *w) {
    dpt_watched *me = &w->ranks[w->rank];
    dpt_watch_message m = {.kind = DPT_WATCH_FAILED, .rank = w->rank, .verdict = {.rank = w->rank, .step = -1}};
    pthread_mutex_lock(&w->lock);
    m.verdict.status = w->failed;
    snprintf(m.verdict.message, sizeof m.verdict.message, "%s", w->said);
    pthread_mutex_unlock(&w->lock);
    if (m.verdict.status == DPT_OK || me->failed != DPT_OK) return;
    me->failed = m.verdict.status;
    me->failed_s = dpt_clock_s() + (is_root(w) ? 0 : 4 * w->beat_s);
    snprintf(me->said, sizeof me->said, "%.*s", (int)sizeof me->said - 1, m.verdict.message);
    if (!is_root(w)) post_all(w, &m, send_limit_s);
}

/* ---- the thread ---- */

/* A process that was itself stopped, or got no processor, has not heard of others what they said meanwhile. */
static void forgive_gap(dpt_watchdog *w) {
    double now = dpt_clock_s(), gap = now - w->looked_s;
    w->looked_s = now;
    if (gap < 2 * w->beat_s) return;
    for (int r = 0; r < w->world; r++) { /* what was read within the gap is of now */
        w->ranks[r].heard_s = fmin(w->ranks[r].heard_s + gap, now);
        w->ranks[r].moved_s = fmin(w->ranks[r].moved_s + gap, now);
        for (int lane = 0; lane < DPT_LANE_COUNT; lane++)
            w->ranks[r].stands_s[lane] = fmin(w->ranks[r].stands_s[lane] + gap, now);
    }
}

static void look(dpt_watchdog *w, double until) {
    double left = until - dpt_clock_s();
    for (int i = 0; i < w->n_link; i++) w->polls[i] = (struct pollfd){.fd = w->links[i].fd, .events = POLLIN};
    w->polls[w->n_link] = (struct pollfd){.fd = w->wake, .events = POLLIN};
    int n = poll(w->polls, (nfds_t)w->n_link + 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    forgive_gap(w);
    for (int i = 0; n > 0 && i < w->n_link && !w->fatal; i++)
        if (w->polls[i].revents) receive(w, i);
}

/* After a verdict there is nothing left to find out: sockets stay open until the stop, which ends the poll. */
static void rest(dpt_watchdog *w) {
    struct pollfd p = {.fd = w->wake, .events = POLLIN};
    while (!is_stopped(w)) poll(&p, 1, 1000);
}

static void *serve(void *context) {
    dpt_watchdog *w = context;
    w->looked_s = dpt_clock_s();
    for (double beat = w->looked_s; !is_stopped(w) && !w->fatal;) {
        double now = dpt_clock_s();
        bool due = now >= beat;
        if (w->judge_s > 0 ? now >= w->judge_s : due) judge(w);
        if (w->fatal) break;
        if (due) {
            report_comm(w);
            if (is_root(w))
                say_where(w, DPT_WATCH_BEAT, 0);
            else
                note_where(w);
            beat = now + w->beat_s;
        }
        look(w, w->judge_s > 0 && w->judge_s < beat ? w->judge_s : beat);
    }
    if (w->fatal) rest(w);
    report_comm(w);
    if (!w->orphan) say_where(w, DPT_WATCH_BYE, send_limit_s); /* else on_fatal has taken position and context away */
    bool closed;
    for (int i = 0; i < w->n_link; i++) /* what is unread at a close would take the good-bye with it */
        while (dpt_watch_link_receive(&w->links[i], &closed)) continue;
    pthread_join(w->checker, NULL);
    if (w->orphan) dpt_watchdog_free(w);
    return NULL;
}

static dpt_status start_thread(dpt_watchdog *w) {
    sigset_t all, before;
    sigfillset(&all); /* signals are the program's: its own threads take them, but for a thread's own faults */
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    double now = dpt_clock_s();
    for (int r = 0; r < w->world; r++) {
        dpt_position_view none = {.step = -1};
        if (is_root(w) || r == 0) dpt_watched_hear(&w->ranks[r], &none, now);
    }
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->checks = pthread_create(&w->checker, NULL, ask, w) == 0;
    w->runs = w->checks && pthread_create(&w->thread, NULL, serve, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    DPT_CHECK(w->runs, DPT_ERR_MEMORY, "the watchdog's threads could not be started");
    return DPT_OK;
}

static dpt_status check_options(const dpt_watchdog_options *o) {
    bool ok = o->silence_s > 0 && o->stuck_s > 0 && o->limit_s > 0 && isfinite(o->silence_s + o->stuck_s + o->limit_s);
    DPT_CHECK(ok, DPT_ERR_ARG, "silence_s %g, stuck_s %g, limit_s %g: seconds above 0", o->silence_s, o->stuck_s,
              o->limit_s);
    DPT_CHECK(o->position, DPT_ERR_ARG, "a watchdog without a position");
    return DPT_OK;
}

static double beat_of(const dpt_watch_limits *l) {
    double shortest = l->silence_s < l->stuck_s ? l->silence_s : l->stuck_s;
    return shortest / 4 < longest_beat_s ? shortest / 4 : longest_beat_s;
}

dpt_status dpt_watchdog_start(const dpt_control *control, const dpt_watchdog_options *options,
                              dpt_watchdog **watchdog) {
    *watchdog = NULL;
    dpt_status status = check_options(options);
    dpt_watchdog *w = status == DPT_OK ? dpt_alloc_zero(1, sizeof *w) : NULL;
    if (status == DPT_OK && w == NULL) status = DPT_ERR_MEMORY;
    if (w) {
        *w = (dpt_watchdog){.o = *options, .rank = control->rank, .world = control->world, .wake = -1};
        w->limits = (dpt_watch_limits){options->silence_s, options->stuck_s, options->limit_s};
        w->beat_s = beat_of(&w->limits);
        w->warned_rank = -1;
        pthread_mutex_init(&w->lock, NULL);
        pthread_mutex_init(&w->comm_lock, NULL);
    }
    status = dpt_control_agree(control, status);
    if (status == DPT_OK) status = dpt_watchdog_connect(control, w);
    if (status == DPT_OK) status = dpt_control_agree(control, start_thread(w));
    if (status == DPT_OK)
        *watchdog = w;
    else
        dpt_watchdog_stop(&w);
    return status;
}

void dpt_watchdog_watch(dpt_watchdog *w, dpt_comm *comm) {
    if (w == NULL) return;
    char said[sizeof w->said * 2];
    snprintf(said, sizeof said, "%s", dpt_last_error());
    pthread_mutex_lock(&w->comm_lock);
    check_comm(w); /* the last look: what fails makes a rank close it */
    w->comm = comm;
    pthread_mutex_unlock(&w->comm_lock);
    dpt_error(DPT_OK, "%s", said);
}

void dpt_watchdog_stop(dpt_watchdog **watchdog) {
    dpt_watchdog *w = watchdog ? *watchdog : NULL;
    if (w == NULL) return;
    *watchdog = NULL;
    bool own = w->runs && pthread_equal(w->thread, pthread_self());
    uint64_t one = 1;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    w->orphan = own;
    pthread_mutex_unlock(&w->lock);
    if (w->wake >= 0 && write(w->wake, &one, sizeof one) != sizeof one) {
    } /* at the next beat, then */
    if (own) {
        pthread_detach(w->thread);
        return;
    }
    if (w->runs)
        pthread_join(w->thread, NULL);
    else if (w->checks)
        pthread_join(w->checker, NULL);
    dpt_watchdog_free(w);
}
