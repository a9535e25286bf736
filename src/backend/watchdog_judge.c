/* watchdog_judge.c: see watchdog_judge.h. Evidence first, suspicion last: what two ranks say they did, then a closed
 * connection, an error, silence, and at the end who waits for whom. Invariant: a rank that makes progress is never the
 * cause of a wait. */
#include "backend/watchdog_judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

/* So long an error waits for a lost peer to show as its cause. */
static const double error_grace_s = 1;
/* Ranks of one host fall silent at different moments, by what was their last message: by so much at most, and no more
 * than half the limit. */
static const double silence_spread_s = 1.5;

typedef struct table {
    const dpt_watched *rank;
    int world;
    dpt_watch_limits limits;
    double now;
    bool *chosen; /* a set of ranks, for the text at hand */
    dpt_verdict *v;
    size_t n; /* length of the message so far */
} table;

/* SAY(t, format, …) appends to the verdict's message. */
#define SAY(t, ...) ((t)->n = dpt_append((t)->v->message, sizeof(t)->v->message, (t)->n, __VA_ARGS__))

static void say_ranks(table *t) {
    t->n = dpt_append_ranks(t->v->message, sizeof t->v->message, t->n, t->chosen, t->world);
}
static void say_record(table *t, int rank, dpt_lane lane, uint64_t sequence) {
    t->n = dpt_watch_record_text(t->v->message, sizeof t->v->message, t->n, &t->rank[rank].view, lane, sequence);
}
static void say_place(table *t, int rank) {
    t->n = dpt_watch_place_text(t->v->message, sizeof t->v->message, t->n, &t->rank[rank].view);
}
static void say_rank(table *t, int rank) { SAY(t, "rank %d on %s", rank, t->rank[rank].host); }

static void blame(table *t, dpt_status status, int rank) {
    dpt_verdict *v = t->v;
    *v = (dpt_verdict){.status = status, .rank = rank, .step = -1, .phase = DPT_PHASE_OUTSIDE};
    t->n = 0;
    for (int r = 0; rank < 0 && r < t->world; r++) /* all are where one is */
        if (t->rank[r].present && t->rank[r].view.step >= v->step) {
            v->step = t->rank[r].view.step;
            v->phase = t->rank[r].view.phase;
        }
    if (rank < 0) return;
    v->step = t->rank[rank].view.step;
    v->phase = t->rank[rank].view.phase;
    snprintf(v->host, sizeof v->host, "%s", t->rank[rank].host);
}

void dpt_watched_hear(dpt_watched *w, const dpt_position_view *view, double now) {
    w->heard_s = now;
    if (view->tick != w->view.tick || view->phase != w->view.phase || !w->present) w->moved_s = now;
    for (int lane = 0; lane < DPT_LANE_COUNT; lane++) {
        uint64_t before, after;
        bool waited = dpt_watch_waits(&w->view, lane, &before), waits = dpt_watch_waits(view, lane, &after);
        if (before != after || waited != waits || !w->present) w->stands_s[lane] = now;
    }
    w->present = true;
    w->view = *view;
}

/* ---- out of step ---- */

/* The first number, among those that both views hold, under which the ranks' histories differ; 0: none. */
static uint64_t first_difference(const dpt_position_view *a, const dpt_position_view *b, dpt_lane lane) {
    uint64_t end = a->lane[lane].started < b->lane[lane].started ? a->lane[lane].started : b->lane[lane].started;
    uint64_t found = 0;
    for (uint64_t s = end; s > 0 && end - s < DPT_POSITION_RECORDS; s--) {
        const dpt_collective_record *x = dpt_watch_record(a, lane, s), *y = dpt_watch_record(b, lane, s);
        if (x == NULL || y == NULL || x->hash == y->hash) break; /* what came before an equal hash was equal too */
        found = s;
    }
    return found;
}

static bool same_at(const table *t, int a, int b, dpt_lane lane, uint64_t s) {
    const dpt_collective_record *x = dpt_watch_record(&t->rank[a].view, lane, s);
    const dpt_collective_record *y = dpt_watch_record(&t->rank[b].view, lane, s);
    return x && y && x->hash == y->hash;
}

/* Chooses the ranks that agree with one; returns how many. */
static int choose_agreeing(table *t, int with, dpt_lane lane, uint64_t s) {
    int count = 0;
    for (int r = 0; r < t->world; r++) {
        t->chosen[r] = t->rank[r].present && (r == with || same_at(t, r, with, lane, s));
        count += t->chosen[r];
    }
    return count;
}

/* "; ranks 0-2 did collective 7: …, then collective 8: …" */
static void say_order(table *t, int rank, dpt_lane lane, uint64_t s) {
    choose_agreeing(t, rank, lane, s);
    say_ranks(t);
    SAY(t, " began ");
    for (uint64_t k = s; k < s + 3 && k <= t->rank[rank].view.lane[lane].started; k++) {
        if (k > s) SAY(t, ", then ");
        say_record(t, rank, lane, k);
    }
}

static bool out_of_step(table *t, int a, int b, dpt_lane lane) {
    uint64_t s = first_difference(&t->rank[a].view, &t->rank[b].view, lane);
    if (s == 0) return false;
    int with_a = choose_agreeing(t, a, lane, s), with_b = choose_agreeing(t, b, lane, s);
    int odd = with_b < with_a ? b : with_a < with_b ? a : -1;
    blame(t, DPT_ERR_INTERNAL, odd);
    SAY(t, "ranks are out of step: ");
    say_order(t, odd == b ? b : a, lane, s);
    if (odd >= 0) SAY(t, " (on %s)", t->rank[odd].host);
    SAY(t, "; ");
    say_order(t, odd == b ? a : b, lane, s);
    bool before = s > 1 && !same_at(t, a, b, lane, s - 1);
    if (before) SAY(t, "; they may have parted earlier");
    return true;
}

static bool find_order(table *t) {
    int first = 0;
    while (first < t->world && !t->rank[first].present) first++;
    for (int r = first + 1; r < t->world; r++)
        for (int lane = 0; t->rank[r].present && lane < DPT_LANE_COUNT; lane++)
            if (out_of_step(t, first, r, lane)) return true;
    return false;
}

/* ---- who waits where ---- */

typedef struct wait {
    dpt_lane lane;
    uint64_t number;
    int waiter;     /* one of those that wait there */
    double since_s; /* of the one that has waited longest */
} wait;

static bool waits_at_all(const dpt_watched *w) {
    uint64_t n;
    return dpt_watch_waits(&w->view, DPT_LANE_CONTROL, &n) || dpt_watch_waits(&w->view, DPT_LANE_GRADIENTS, &n);
}

/* The furthest number of a lane that ranks, but for one, wait in: whoever has not begun it is needed there. */
static bool find_wait(const table *t, dpt_lane lane, int but, wait *w) {
    *w = (wait){.lane = lane, .waiter = -1};
    for (int r = 0; r < t->world; r++) {
        uint64_t n;
        const dpt_watched *k = &t->rank[r];
        if (r == but || !k->present || k->lost || !dpt_watch_waits(&k->view, lane, &n) || n < w->number) continue;
        if (n == w->number && k->stands_s[lane] >= w->since_s) continue;
        *w = (wait){lane, n, r, k->stands_s[lane]};
    }
    return w->waiter >= 0;
}

static void choose_in(table *t, const wait *w, int but) {
    for (int r = 0; r < t->world; r++) {
        uint64_t n;
        t->chosen[r] =
            r != but && t->rank[r].present && dpt_watch_waits(&t->rank[r].view, w->lane, &n) && n == w->number;
    }
}

/* All that wait for a rank; where, of those that have come furthest. */
static void say_wait(table *t, const wait *w, int cause) {
    int there = 0, all = 0;
    choose_in(t, w, cause);
    for (int r = 0; r < t->world; r++) there += t->chosen[r];
    for (int r = 0; r < t->world; r++) {
        t->chosen[r] = r != cause && t->rank[r].present && !t->rank[r].lost && waits_at_all(&t->rank[r]);
        all += t->chosen[r];
    }
    say_ranks(t);
    SAY(t, " %s for it", all == 1 ? "waits" : "wait");
    if (there < all) {
        choose_in(t, w, cause);
        SAY(t, ", ");
        say_ranks(t);
    }
    SAY(t, " in ");
    say_record(t, w->waiter, w->lane, w->number);
}

/* ---- lost, failed, silent ---- */

/* Where a rank was that no longer answers, and who waits for it. */
static void say_last_place(table *t, int rank, bool several) {
    wait w;
    if (several)
        SAY(t, "rank %d", rank);
    else
        SAY(t, "it");
    SAY(t, " was last seen in ");
    say_place(t, rank);
    for (int lane = DPT_LANE_COUNT - 1; lane >= 0; lane--) {
        if (!find_wait(t, (dpt_lane)lane, rank, &w) || w.number <= t->rank[rank].view.lane[lane].finished) continue;
        SAY(t, "; ");
        say_wait(t, &w, rank);
        return;
    }
}

static bool find_lost(table *t) {
    for (int r = 0; r < t->world; r++) {
        if (!t->rank[r].present || !t->rank[r].lost) continue;
        blame(t, DPT_ERR_PEER, r);
        say_rank(t, r);
        SAY(t, " is gone: ");
        say_last_place(t, r, false);
        return true;
    }
    return false;
}

/* A rank's own failure explains those that others saw of a peer. */
static bool find_failed(table *t) {
    int cause = -1;
    for (int r = 0; r < t->world; r++) {
        const dpt_watched *w = &t->rank[r];
        if (!w->present || w->failed == DPT_OK || t->now - w->failed_s < error_grace_s) continue;
        if (cause < 0 || (t->rank[cause].failed == DPT_ERR_PEER && w->failed != DPT_ERR_PEER)) cause = r;
    }
    if (cause < 0) return false;
    blame(t, t->rank[cause].failed, cause);
    say_rank(t, cause);
    SAY(t, ": %s: ", t->rank[cause].said);
    say_last_place(t, cause, false);
    return true;
}

static bool is_silent(const table *t, int r, double limit) {
    return t->rank[r].present && !t->rank[r].left && t->now - t->rank[r].heard_s >= limit;
}

/* Those of a host that fell silent within a short time are one failure, named after the first of them. */
static bool find_silent(table *t) {
    int cause = 0, silent = 0, on_host = 0;
    double longest, spread = fmin(silence_spread_s, t->limits.silence_s / 2);
    while (cause < t->world && !is_silent(t, cause, t->limits.silence_s)) cause++;
    if (cause == t->world) return false;
    longest = t->now - t->rank[cause].heard_s;
    for (int r = t->world - 1; r >= 0; r--) {
        t->chosen[r] = strcmp(t->rank[r].host, t->rank[cause].host) == 0;
        on_host += t->chosen[r];
        t->chosen[r] = t->chosen[r] && is_silent(t, r, t->limits.silence_s - spread);
        silent += t->chosen[r];
        if (t->chosen[r]) {
            cause = r;
            longest = fmax(longest, t->now - t->rank[r].heard_s);
        }
    }
    blame(t, DPT_ERR_PEER, cause);
    bool whole = silent > 1 && silent == on_host;
    if (whole) SAY(t, "host %s (", t->rank[cause].host);
    say_ranks(t);
    if (whole)
        SAY(t, ")");
    else
        SAY(t, " on %s", t->rank[cause].host);
    SAY(t, " %s stopped answering (nothing for %.3g s): ", whole || silent == 1 ? "has" : "have", longest);
    say_last_place(t, cause, silent > 1);
    return true;
}

/* ---- waiting ---- */

static bool is_behind(const table *t, int r, const wait *w) {
    return t->rank[r].present && t->rank[r].view.lane[w->lane].entered < w->number;
}

static double limit_of(const table *t, int r) {
    dpt_phase phase = t->rank[r].view.phase;
    bool soon = t->rank[r].left || phase == DPT_PHASE_STEP || phase == DPT_PHASE_END;
    return soon ? t->limits.stuck_s : t->limits.limit_s;
}

static double stood(const table *t, int r, const wait *w) {
    double since = t->rank[r].moved_s > w->since_s ? t->rank[r].moved_s : w->since_s;
    return t->now - since;
}

static dpt_judgement blame_behind(table *t, int r, const wait *w) {
    double s = stood(t, r, w), limit = limit_of(t, r);
    blame(t, DPT_ERR_PEER, r);
    say_rank(t, r);
    if (t->rank[r].left)
        SAY(t, " has left after ");
    else
        SAY(t, " has made no progress for %.3g s: it is in ", s);
    say_place(t, r);
    SAY(t, "; ");
    say_wait(t, w, r);
    if (s >= limit) return DPT_JUDGED_FATAL;
    SAY(t, "; they give up after %.3g s", limit);
    return DPT_JUDGED_SLOW;
}

/* Of the ranks that are needed there, the one that has stood longest against its limit; -1: none. Those that wait
 * themselves are looked at only on wish. */
static int find_behind(const table *t, const wait *w, bool waiting_too) {
    int cause = -1;
    for (int r = 0; r < t->world; r++) {
        if (!is_behind(t, r, w)) continue;
        if (!waiting_too && waits_at_all(&t->rank[r]) && !t->rank[r].left) continue;
        if (cause < 0 || stood(t, r, w) / limit_of(t, r) > stood(t, cause, w) / limit_of(t, cause)) cause = r;
    }
    return cause;
}

static int count_in(table *t, const wait *w) {
    int n = 0;
    choose_in(t, w, -1);
    for (int r = 0; r < t->world; r++) n += t->chosen[r];
    return n;
}

/* Of two groups that wait for each other: the smaller; of equal ones that which is a step ahead, having left something
 * out; -1: nothing speaks for either. */
static int odd_of(table *t, const wait *a, const wait *b) {
    int in_a = count_in(t, a), in_b = count_in(t, b);
    int64_t ahead = t->rank[a->waiter].view.step - t->rank[b->waiter].view.step;
    if (in_a == in_b) return ahead == 0 ? -1 : ahead > 0 ? a->waiter : b->waiter;
    return in_a < in_b ? a->waiter : b->waiter;
}

/* For how long nobody has moved. */
static double all_stood(const table *t) {
    double since = 0;
    for (int r = 0; r < t->world; r++)
        if (t->rank[r].present) since = fmax(since, t->rank[r].moved_s);
    return t->now - since;
}

/* Each waits where the others have not been: nobody can move. */
static bool find_crossed(table *t, const wait *a, const wait *b) {
    for (int r = 0; r < t->world; r++)
        if (t->rank[r].present && !waits_at_all(&t->rank[r])) return false;
    blame(t, DPT_ERR_INTERNAL, odd_of(t, a, b));
    SAY(t, "ranks are out of step: ");
    const wait *const both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        int count = count_in(t, both[i]);
        say_ranks(t);
        SAY(t, count == 1 ? " waits in " : " wait in ");
        say_record(t, both[i]->waiter, both[i]->lane, both[i]->number);
        SAY(t, " (rank %d on %s, in step %lld, %s", both[i]->waiter, t->rank[both[i]->waiter].host,
            (long long)t->rank[both[i]->waiter].view.step + 1, dpt_phase_text(t->rank[both[i]->waiter].view.phase));
        SAY(t, i == 0 ? "); " : ")");
    }
    return true;
}

/* All that are needed have come, and it does not end. */
static bool find_endless(table *t, const wait *w) {
    double s = fmin(t->now - w->since_s, all_stood(t)), limit = t->limits.stuck_s;
    for (int r = 0; r < t->world; r++)
        if (t->rank[r].present) limit = fmax(limit, limit_of(t, r));
    if (s < limit) return false;
    blame(t, DPT_ERR_PEER, -1);
    int count = count_in(t, w);
    say_ranks(t);
    SAY(t, " %s waited for %.3g s in ", count == 1 ? "has" : "have", s);
    say_record(t, w->waiter, w->lane, w->number);
    SAY(t, ", which all have begun: the network or a device hangs");
    return true;
}

static dpt_judgement find_stuck(table *t) {
    wait w[DPT_LANE_COUNT];
    bool found[DPT_LANE_COUNT];
    int present = 0;
    for (int r = 0; r < t->world; r++) present += t->rank[r].present;
    if (present < 2) return DPT_JUDGED_WELL; /* of one alone nobody can say for whom it waits */
    for (int lane = 0; lane < DPT_LANE_COUNT; lane++) found[lane] = find_wait(t, (dpt_lane)lane, -1, &w[lane]);
    dpt_judgement worst = DPT_JUDGED_WELL;
    for (int pass = 0; pass < 2; pass++) {
        for (int lane = DPT_LANE_COUNT - 1; lane >= 0; lane--) {
            int cause = found[lane] ? find_behind(t, &w[lane], pass == 1) : -1;
            if (cause >= 0 && stood(t, cause, &w[lane]) >= t->limits.stuck_s) worst = blame_behind(t, cause, &w[lane]);
            if (worst == DPT_JUDGED_FATAL) return worst;
        }
        if (worst != DPT_JUDGED_WELL || all_stood(t) < t->limits.stuck_s) return worst;
        bool both = found[DPT_LANE_CONTROL] && found[DPT_LANE_GRADIENTS];
        if (both && find_crossed(t, &w[DPT_LANE_GRADIENTS], &w[DPT_LANE_CONTROL])) return DPT_JUDGED_FATAL;
    }
    for (int lane = DPT_LANE_COUNT - 1; lane >= 0; lane--)
        if (found[lane] && find_behind(t, &w[lane], true) < 0 && find_endless(t, &w[lane])) return DPT_JUDGED_FATAL;
    return DPT_JUDGED_WELL;
}

dpt_judgement dpt_watchdog_judge(const dpt_watched *ranks, int world, const dpt_watch_limits *limits, double now,
                                 dpt_verdict *verdict) {
    bool few[64], *chosen = world <= 64 ? few : dpt_alloc_zero((size_t)world, sizeof *chosen);
    table t = {.rank = ranks, .world = world, .limits = *limits, .now = now, .chosen = chosen, .v = verdict};
    if (chosen == NULL) return DPT_JUDGED_WELL; /* at the next beat there may be memory again */
    bool fatal = find_order(&t) || find_lost(&t) || find_failed(&t) || find_silent(&t);
    dpt_judgement judged = fatal ? DPT_JUDGED_FATAL : find_stuck(&t);
    if (chosen != few) dpt_free(chosen);
    return judged;
}
