/* watchdog_judge.h: decides from what is known of the ranks whether one of them has failed, and says so in a sentence.
 * Pure functions over a table of views and times: no sockets, no clock, no state. */
#ifndef DPT_BACKEND_WATCHDOG_JUDGE_H
#define DPT_BACKEND_WATCHDOG_JUDGE_H

#include <stdbool.h>

#include "backend/position.h"
#include "base/error.h"

enum { DPT_WATCH_HOST = 64, DPT_WATCH_SENTENCE = 1024 };

/* What is known of a rank. Times are those of one monotonic clock, in seconds. */
typedef struct dpt_watched {
    bool present;                    /* to be judged; the others of the table are not looked at */
    bool lost;                       /* its connection closed without a good-bye */
    bool left;                       /* it said good-bye: its context is being closed */
    double heard_s, moved_s;         /* its last message, its last progress */
    double stands_s[DPT_LANE_COUNT]; /* since when it has waited, or not waited, at the same number */
    dpt_status failed;               /* an error that its communicator reported, with when and in which words */
    double failed_s;
    char said[DPT_WATCH_SENTENCE / 2];
    char host[DPT_WATCH_HOST];
    dpt_position_view view;
} dpt_watched;

typedef struct dpt_watch_limits {
    double silence_s, stuck_s, limit_s; /* as in dpt_context_options */
} dpt_watch_limits;

typedef struct dpt_verdict {
    dpt_status status; /* DPT_ERR_PEER, DPT_ERR_DEVICE, DPT_ERR_INTERNAL */
    int rank;          /* the cause; -1: not known */
    int64_t step;
    dpt_phase phase;
    char host[DPT_WATCH_HOST]; /* the cause's; "" if not known */
    char message[DPT_WATCH_SENTENCE];
} dpt_verdict;

typedef enum dpt_judgement {
    DPT_JUDGED_WELL,
    DPT_JUDGED_SLOW, /* to be warned of: ranks wait, within the limit of what the other does */
    DPT_JUDGED_FATAL
} dpt_judgement;

/* A message of this rank has come, with its view. */
void dpt_watched_hear(dpt_watched *rank, const dpt_position_view *view, double now_s);

/* The first of these that holds; verdict is written unless all is well.
 *   two ranks had different collectives under the same number: out of step, DPT_ERR_INTERNAL;
 *   lost: DPT_ERR_PEER;
 *   an error was reported, a second ago (so that the loss of a rank, which makes others report, comes first): its
 *   status;
 *   silent for silence_s: DPT_ERR_PEER, with the host where all its ranks are;
 *   ranks wait, in a collective or exchange that another has not begun, and that one has made no progress for stuck_s
 *   in a step or after it has left, for limit_s elsewhere (slow after stuck_s): DPT_ERR_PEER;
 *   ranks wait for each other in different ones for stuck_s: DPT_ERR_INTERNAL;
 *   all have begun one that does not end, for stuck_s in a step, limit_s elsewhere: DPT_ERR_PEER, no rank named. */
dpt_judgement dpt_watchdog_judge(const dpt_watched *ranks, int world, const dpt_watch_limits *limits, double now_s,
                                 dpt_verdict *verdict);

/* ---- watchdog_text.c ---- */

/* Appends "collective 731: all_reduce of 4.0 MiB" or "exchange 12: agreement". */
size_t dpt_watch_record_text(char *text, size_t bytes, size_t at, const dpt_position_view *view, dpt_lane lane,
                             uint64_t sequence);
/* Appends "step 124, train, collective 731: all_reduce of 4.0 MiB": where a rank is. */
size_t dpt_watch_place_text(char *text, size_t bytes, size_t at, const dpt_position_view *view);

/* Whether a rank waits in a lane, and in which number. */
bool dpt_watch_waits(const dpt_position_view *view, dpt_lane lane, uint64_t *sequence);
/* The record of a number, NULL where the view no longer or not yet has it. */
const dpt_collective_record *dpt_watch_record(const dpt_position_view *view, dpt_lane lane, uint64_t sequence);

#endif
