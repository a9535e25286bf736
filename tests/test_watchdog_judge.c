/* test_watchdog_judge.c: what the watchdog concludes from a table of views and times, and the frames that views travel
 * in. No sockets, no clock: four ranks on two hosts at second 100. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/comm.h"
#include "backend/watchdog_message.h"
#include "base/text.h"
#include "check.h"

enum { WORLD = 4 };
static const double now = 100;
static const dpt_watch_limits limits = {.silence_s = 20, .stuck_s = 20, .limit_s = 600};
static dpt_watched ranks[WORLD];
static dpt_verdict verdict;

static void record(dpt_position_view *v, dpt_lane lane, int what, uint64_t bytes) {
    uint64_t s = ++v->lane[lane].started;
    uint64_t before = s > 1 ? v->lane[lane].record[(s - 1) % DPT_POSITION_RECORDS].hash : 0;
    v->lane[lane].record[s % DPT_POSITION_RECORDS] = (dpt_collective_record){
        .sequence = s, .bytes = bytes, .what = (uint8_t)what, .hash = before * 31 + bytes * 7 + (uint64_t)what + 1};
    v->lane[lane].entered = s;
}

/* Four ranks in step 124 (the 125th), that have done 40 collectives and 10 exchanges, and heard of just now. */
static void all_well(void) {
    memset(ranks, 0, sizeof ranks);
    for (int r = 0; r < WORLD; r++) {
        dpt_watched *w = &ranks[r];
        w->present = true;
        w->heard_s = w->moved_s = w->stands_s[0] = w->stands_s[1] = now - 0.4;
        snprintf(w->host, sizeof w->host, "n%d", 1 + r / 2);
        w->view.step = 123;
        w->view.phase = DPT_PHASE_STEP;
        for (int i = 0; i < 40; i++) record(&w->view, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 1 << 20);
        for (int i = 0; i < 10; i++) record(&w->view, DPT_LANE_CONTROL, DPT_CONTROL_SUM, 24);
        w->view.lane[DPT_LANE_GRADIENTS].finished = 40;
        w->view.lane[DPT_LANE_CONTROL].finished = 10;
    }
}

static void wait_in(int rank, dpt_lane lane, int what, uint64_t bytes, double for_s) {
    record(&ranks[rank].view, lane, what, bytes);
    ranks[rank].moved_s = ranks[rank].stands_s[lane] = now - for_s;
}

static bool judged(dpt_judgement expected, dpt_status status, int rank, const char *text) {
    verdict = (dpt_verdict){.rank = -2};
    dpt_judgement j = dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict);
    if (!check_that(j == expected, __FILE__, __LINE__, "judged %d, expected %d: %s", (int)j, (int)expected,
                    verdict.message))
        return false;
    if (j == DPT_JUDGED_WELL) return true;
    CHECK_EQ_I64(verdict.status, status);
    CHECK_EQ_I64(verdict.rank, rank);
    return CHECK_EQ_TEXT(verdict.message, text);
}

static void well(void) {
    all_well();
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
    wait_in(0, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 64, 19); /* not yet */
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
}

static void lost(void) {
    all_well();
    ranks[3].lost = true;
    wait_in(0, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 4 << 20, 0.1);
    wait_in(1, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 4 << 20, 0.1);
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 3,
           "rank 3 on n2 is gone: it was last seen in step 124, train, after collective 40: all_reduce of 1.0 MiB; "
           "ranks 0-1 wait for it in collective 41: all_reduce of 4.0 MiB");
    CHECK_EQ_I64(verdict.step, 123);
    CHECK_EQ_TEXT(verdict.host, "n2");
    CHECK_EQ_I64(verdict.phase, DPT_PHASE_STEP);
}

static void silent(void) {
    all_well();
    ranks[2].heard_s = now - 20;
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 2,
           "rank 2 on n2 has stopped answering (nothing for 20 s): it was last seen in step 124, train, after "
           "collective 40: all_reduce of 1.0 MiB");
    ranks[3].heard_s = now - 19.2; /* the last rank of its host: its next message will not come either */
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 2,
           "host n2 (ranks 2-3) has stopped answering (nothing for 20 s): rank 2 was last seen in step 124, train, "
           "after collective 40: all_reduce of 1.0 MiB");
    ranks[2].heard_s = now - 19.2; /* the first is named, whichever was heard last */
    ranks[3].heard_s = now - 20.1;
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 2,
           "host n2 (ranks 2-3) has stopped answering (nothing for 20.1 s): rank 2 was last seen in step 124, train, "
           "after collective 40: all_reduce of 1.0 MiB");
    all_well();
    ranks[2].heard_s = now - 300;
    ranks[2].left = true; /* who has said good-bye may be silent */
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
}

static void failed(void) {
    all_well();
    for (int r = 0; r < WORLD; r++) {
        ranks[r].failed = r == 2 ? DPT_ERR_DEVICE : DPT_ERR_PEER;
        ranks[r].failed_s = now - 0.9;
        snprintf(ranks[r].said, sizeof ranks[r].said, r == 2 ? "ncclSystemError" : "ncclRemoteError");
    }
    judged(DPT_JUDGED_WELL, 0, 0, NULL); /* a lost rank may come to light */
    for (int r = 0; r < WORLD; r++) ranks[r].failed_s = now - 1.1;
    wait_in(2, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 100, 1.5);
    judged(
        DPT_JUDGED_FATAL, DPT_ERR_DEVICE, 2,
        "rank 2 on n2: ncclSystemError: it was last seen in step 124, train, collective 41: all_reduce of 100 bytes");
    ranks[1].lost = true;
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 1,
           "rank 1 on n1 is gone: it was last seen in step 124, train, after collective 40: all_reduce of 1.0 MiB; "
           "rank 2 waits for it in collective 41: all_reduce of 100 bytes");
}

static void order(void) {
    all_well();
    for (int r = 0; r < WORLD; r++) {
        record(&ranks[r].view, DPT_LANE_GRADIENTS, r == 2 ? DPT_ALL_GATHER : DPT_ALL_REDUCE, r == 2 ? 2048 : 4096);
        record(&ranks[r].view, DPT_LANE_GRADIENTS, r == 2 ? DPT_ALL_REDUCE : DPT_ALL_GATHER, r == 2 ? 4096 : 2048);
    }
    const char *said =
        "ranks are out of step: rank 2 began collective 41: all_gather of 2.0 KiB, then collective 42: "
        "all_reduce of 4.0 KiB (on n2); ranks 0-1, 3 began collective 41: all_reduce of 4.0 KiB, then "
        "collective 42: all_gather of 2.0 KiB";
    judged(DPT_JUDGED_FATAL, DPT_ERR_INTERNAL, 2, said);
    /* also where they have come together again, on other numbers of steps ahead */
    for (int r = 0; r < WORLD; r++)
        for (int i = 0; i < 5 + r; i++) record(&ranks[r].view, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 77);
    verdict.message[0] = 0;
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    CHECK(strstr(verdict.message, "rank 2 began collective 41: all_gather of 2.0 KiB, then") != NULL);
    CHECK(strstr(verdict.message, "earlier") == NULL);
    /* long ago */
    for (int r = 0; r < WORLD; r++)
        for (int i = 0; i < DPT_POSITION_RECORDS; i++) record(&ranks[r].view, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 77);
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    CHECK_EQ_I64(verdict.rank, 2);
    CHECK(strstr(verdict.message, "; they may have parted earlier") != NULL);
    /* views of moments too far apart tell nothing */
    all_well();
    for (int i = 0; i < 2 * DPT_POSITION_RECORDS; i++) record(&ranks[1].view, DPT_LANE_GRADIENTS, DPT_ALL_GATHER, 1);
    ranks[1].view.lane[DPT_LANE_GRADIENTS].finished = ranks[1].view.lane[DPT_LANE_GRADIENTS].started;
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
}

static void order_of_two(void) {
    all_well();
    ranks[2].present = ranks[3].present = false;
    record(&ranks[0].view, DPT_LANE_CONTROL, DPT_CONTROL_SUM, 8);
    record(&ranks[1].view, DPT_LANE_CONTROL, DPT_CONTROL_AGREE, 0);
    judged(DPT_JUDGED_FATAL, DPT_ERR_INTERNAL, -1,
           "ranks are out of step: rank 0 began exchange 11: sum of 8 bytes; rank 1 began exchange 11: agreement");
    CHECK_EQ_TEXT(verdict.host, "");
    CHECK_EQ_I64(verdict.step, 123);
}

static void stuck(void) {
    all_well();
    for (int r = 0; r < WORLD; r++) {
        if (r != 1) wait_in(r, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 4 << 20, 21);
    }
    ranks[1].moved_s = now - 19; /* at work until then */
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
    ranks[1].moved_s = now - 25; /* the wait counts, not how long it has been quiet */
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 1,
           "rank 1 on n1 has made no progress for 21 s: it is in step 124, train, after collective 40: all_reduce of "
           "1.0 MiB; ranks 0, 2-3 wait for it in collective 41: all_reduce of 4.0 MiB");
    ranks[1].view.phase = DPT_PHASE_DATA;
    judged(DPT_JUDGED_SLOW, DPT_ERR_PEER, 1,
           "rank 1 on n1 has made no progress for 21 s: it is in step 124, data, after collective 40: all_reduce of "
           "1.0 MiB; ranks 0, 2-3 wait for it in collective 41: all_reduce of 4.0 MiB; they give up after 600 s");
    for (int r = 0; r < WORLD; r++) ranks[r].moved_s = ranks[r].stands_s[DPT_LANE_GRADIENTS] = now - 601;
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    for (int r = 0; r < WORLD; r++) ranks[r].moved_s = ranks[r].stands_s[DPT_LANE_GRADIENTS] = now - 21;
    ranks[1].left = true;
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, 1,
           "rank 1 on n1 has left after step 124, data, after collective 40: all_reduce of 1.0 MiB; ranks 0, 2-3 wait "
           "for it in collective 41: all_reduce of 4.0 MiB");
}

/* A rank that waits for the culprit elsewhere is not the culprit. */
static void stuck_in_line(void) {
    all_well();
    wait_in(0, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 64, 30);
    wait_in(2, DPT_LANE_CONTROL, DPT_CONTROL_AGREE, 0, 40);
    wait_in(3, DPT_LANE_CONTROL, DPT_CONTROL_AGREE, 0, 40);
    ranks[1].moved_s = now - 30;
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    CHECK_EQ_I64(verdict.rank, 1);
    CHECK(strstr(verdict.message, "ranks 0, 2-3 wait for it, rank 0 in collective 41") != NULL);
}

static void crossed(void) {
    all_well();
    for (int r = 0; r < WORLD; r++)
        if (r == 3)
            wait_in(r, DPT_LANE_CONTROL, DPT_CONTROL_SUM, 24, 21);
        else
            wait_in(r, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 64, 21);
    judged(DPT_JUDGED_FATAL, DPT_ERR_INTERNAL, 3,
           "ranks are out of step: ranks 0-2 wait in collective 41: all_reduce of 64 bytes (rank 0 on n1, in step 124, "
           "train); rank 3 waits in exchange 11: sum of 24 bytes (rank 3 on n2, in step 124, train)");
    ranks[2].present = ranks[0].present = false; /* of two, who is a step ahead has left something out */
    ranks[1].view.step = 125;
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    CHECK_EQ_I64(verdict.rank, 1);
    ranks[1].view.step = 123;
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    CHECK_EQ_I64(verdict.rank, -1);
    ranks[1].moved_s = now - 19;
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
}

static void endless(void) {
    all_well();
    for (int r = 0; r < WORLD; r++) wait_in(r, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 64, 21);
    judged(DPT_JUDGED_FATAL, DPT_ERR_PEER, -1,
           "ranks 0-3 have waited for 21 s in collective 41: all_reduce of 64 bytes, which all have begun: the network "
           "or a device hangs");
    for (int r = 1; r < WORLD; r++) ranks[r].present = false; /* from afar it cannot be told who has begun */
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
    for (int r = 1; r < WORLD; r++) ranks[r].present = true;
    ranks[2].view.phase = DPT_PHASE_START; /* parameters may take long */
    judged(DPT_JUDGED_WELL, 0, 0, NULL);
}

/* One rank's device is still in the collective before: nobody else can be named. */
static void behind_and_waiting(void) {
    all_well();
    for (int r = 0; r < WORLD; r++) wait_in(r, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 64, 21);
    for (int r = 0; r < WORLD; r++)
        if (r != 2) {
            ranks[r].view.lane[DPT_LANE_GRADIENTS].finished++;
            wait_in(r, DPT_LANE_GRADIENTS, DPT_ALL_REDUCE, 64, 21);
        }
    CHECK_EQ_I64(dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict), DPT_JUDGED_FATAL);
    CHECK_EQ_I64(verdict.rank, 2);
}

/* moved_s and stands_s follow what views say. */
static void hearing(void) {
    dpt_watched w = {0};
    dpt_position_view v = {.step = -1};
    dpt_watched_hear(&w, &v, 1);
    CHECK(w.present && w.heard_s == 1 && w.moved_s == 1 && w.stands_s[DPT_LANE_GRADIENTS] == 1);
    dpt_watched_hear(&w, &v, 2);
    CHECK(w.heard_s == 2 && w.moved_s == 1 && w.stands_s[DPT_LANE_GRADIENTS] == 1);
    v.tick = 7;
    dpt_watched_hear(&w, &v, 3);
    CHECK(w.moved_s == 3 && w.stands_s[DPT_LANE_GRADIENTS] == 1);
    record(&v, DPT_LANE_GRADIENTS, DPT_BROADCAST, 1);
    dpt_watched_hear(&w, &v, 4);
    CHECK(w.moved_s == 3 && w.stands_s[DPT_LANE_GRADIENTS] == 4 && w.stands_s[DPT_LANE_CONTROL] == 1);
    v.lane[DPT_LANE_GRADIENTS].finished = 1; /* it waits again, in the next */
    record(&v, DPT_LANE_GRADIENTS, DPT_BROADCAST, 1);
    dpt_watched_hear(&w, &v, 5);
    CHECK(w.stands_s[DPT_LANE_GRADIENTS] == 5);
}

static void rank_lists(void) {
    char text[64];
    const bool some[] = {true, true, true, false, true, false, true, true};
    dpt_append_ranks(text, sizeof text, 0, some, 8);
    CHECK_EQ_TEXT(text, "ranks 0-2, 4, 6-7");
    dpt_append_ranks(text, sizeof text, 0, some + 3, 3);
    CHECK_EQ_TEXT(text, "rank 1");
}

/* ---- frames ---- */

static const uint8_t token[DPT_WATCH_TOKEN] = {1, 2, 3, 250, 5};
static uint8_t frame[DPT_WATCH_FRAME];

static void frames(void) {
    all_well();
    dpt_watch_message m = {.kind = DPT_WATCH_BEAT, .rank = 2, .view = ranks[2].view}, back;
    m.view.tick = 0x0123456789abcdefu;
    m.view.step = -1;
    dpt_watch_encode(&m, token, frame);
    CHECK_EQ_I64(frame[0], 'D'); /* little-endian whatever the machine */
    CHECK_EQ_I64(frame[4], DPT_WATCH_VERSION);
    if (!CHECK(dpt_watch_decode(frame, token, WORLD, &back))) return;
    CHECK(memcmp(&m.view, &back.view, sizeof m.view) == 0);
    CHECK(back.kind == DPT_WATCH_BEAT && back.rank == 2);
    for (uint8_t what = 0; what <= DPT_CONTROL_KINDS; what++) { /* whatever ranks do together can be told */
        m.view.lane[DPT_LANE_CONTROL].record[5].what = what;
        dpt_watch_encode(&m, token, frame);
        CHECK(dpt_watch_decode(frame, token, WORLD, &back) == (what < DPT_CONTROL_KINDS));
        if (what < DPT_CONTROL_KINDS) CHECK(dpt_control_text((dpt_control_kind)what)[0] != 0);
    }
    m = (dpt_watch_message){.kind = DPT_WATCH_VERDICT, .rank = 0};
    m.verdict = (dpt_verdict){DPT_ERR_PEER, 3, 123, DPT_PHASE_SAVE, "n2", "rank 3"};
    dpt_watch_encode(&m, token, frame);
    if (!CHECK(dpt_watch_decode(frame, token, WORLD, &back))) return;
    CHECK_EQ_TEXT(back.verdict.message, "rank 3");
    CHECK_EQ_TEXT(back.verdict.host, "n2");
    CHECK(back.verdict.rank == 3 && back.verdict.step == 123 && back.verdict.status == DPT_ERR_PEER);
    CHECK(!dpt_watch_decode(frame, token, 3, &back)); /* there is no rank 3 */
    memset(m.verdict.message, 'x', sizeof m.verdict.message);
    dpt_watch_encode(&m, token, frame);
    CHECK(dpt_watch_decode(frame, token, WORLD, &back) && strlen(back.verdict.message) == DPT_WATCH_SENTENCE - 1);
}

/* Bytes 0 to 35: magic number, version, size, token, kind, rank. Each changed bit of the first 28 makes it a
 * stranger's; whatever else changes, what is let through can be judged and put into words. */
static void hostile_bytes(void) {
    dpt_watch_message m = {.kind = DPT_WATCH_BEAT, .rank = 2}, back;
    srand(7);
    for (int kind = 0; kind < DPT_WATCH_KINDS; kind++) {
        all_well();
        m.kind = (dpt_watch_kind)kind;
        m.view = ranks[2].view;
        m.verdict = (dpt_verdict){.status = DPT_ERR_DEVICE, .rank = 2, .message = "broken"};
        for (int i = 0; i < 28 * 8; i++) {
            dpt_watch_encode(&m, token, frame);
            frame[i / 8] ^= (uint8_t)(1 << i % 8);
            CHECK(!dpt_watch_decode(frame, token, WORLD, &back));
        }
        for (int i = 0; i < 3000; i++) {
            dpt_watch_encode(&m, token, frame);
            for (int k = 0; k < 1 + i % 40; k++) frame[28 + rand() % (DPT_WATCH_FRAME - 28)] = (uint8_t)rand();
            if (!dpt_watch_decode(frame, token, WORLD, &back)) continue;
            if (kind != DPT_WATCH_FAILED && kind != DPT_WATCH_VERDICT) ranks[2].view = back.view;
            ranks[2].lost = i % 3 == 0;
            dpt_watchdog_judge(ranks, WORLD, &limits, now, &verdict);
        }
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "watchdog_judge", {"well", well}, {"lost", lost}, {"silent", silent},
                      {"failed", failed}, {"order", order}, {"order_of_two", order_of_two}, {"stuck", stuck},
                      {"stuck_in_line", stuck_in_line}, {"crossed", crossed}, {"endless", endless},
                      {"behind_and_waiting", behind_and_waiting}, {"hearing", hearing}, {"rank_lists", rank_lists},
                      {"frames", frames}, {"hostile_bytes", hostile_bytes});
}
