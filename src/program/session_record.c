/* session_record.c: runs that replay recordings (CUDA graphs) in place of queueing every call.
 *
 * Libraries connect and choose in their first calls, so the first runs are made call by call. Then the list is recorded
 * in one of two ways: whole, with the collectives inside; or in segments, with the collectives queued between them, for
 * communicators that wait for the host or that are faster so. Where both are possible and neither was asked for, some
 * runs are made each way and timed on the device, and all ranks take what is faster for their slowest. Invariant: which
 * way a run is made depends on the number of runs alone until the ranks have agreed, so that all make it the same way:
 * whether a collective is inside a recording must be the same on all ranks. */
#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "program/session_private.h"

enum {
    FIRST_RUNS = 2, /* call by call */
    TRIAL_RUNS = 4, /* each way; the first, which records, does not count */
    LEAST_CALLS = 2 /* of a segment that is worth a recording */
};

typedef enum way { WHOLE, SEGMENTS, WAYS } way;

/* Calls [first, end) of the list, recorded, or to be queued one by one. */
typedef struct segment {
    int64_t first, end;
    bool record;
    dpt_recording *recording;
} segment;

struct dpt_session_record {
    segment *segment[WAYS];
    int64_t n_segment[WAYS];
    way chosen;
    bool on_trial;
    int64_t runs;
    dpt_event *timer[WAYS][TRIAL_RUNS][2]; /* before and after a run of the trial */
    dpt_collective_record *collective;     /* that the list starts, in their order */
    int64_t n_collective;
};

static bool is_collective(const dpt_session_step *st) { return st->kernel == NULL; }

/* The whole list as one segment, or cut at its collectives. */
static dpt_status cut(const dpt_session *s, dpt_session_record *r, way w) {
    r->segment[w] = dpt_alloc_zero((size_t)s->n_step + 1, sizeof(segment));
    DPT_CHECK_ALLOC(r->segment[w]);
    segment *at = NULL;
    for (int64_t i = 0; i < s->n_step; i++) {
        bool plain = w == SEGMENTS && is_collective(&s->steps[i]);
        if (at == NULL || at->record == plain) {
            at = &r->segment[w][r->n_segment[w]++];
            *at = (segment){.first = i, .record = !plain};
        }
        at->end = i + 1;
    }
    for (int64_t i = 0; i < r->n_segment[w]; i++)
        if (r->segment[w][i].end - r->segment[w][i].first < LEAST_CALLS) r->segment[w][i].record = false;
    return DPT_OK;
}

static dpt_status list_collectives(const dpt_session *s, dpt_session_record *r) {
    r->collective = dpt_alloc_zero((size_t)s->n_step + 1, sizeof *r->collective);
    DPT_CHECK_ALLOC(r->collective);
    for (int64_t i = 0; i < s->n_step; i++) {
        dpt_session_exchange e;
        if (!is_collective(&s->steps[i]) || !dpt_session_exchange_of(s, &s->steps[i], &e)) continue;
        r->collective[r->n_collective++] =
            (dpt_collective_record){.what = (uint8_t)e.what,
                                    .bytes = dpt_collective_bytes(e.what, e.count, e.dtype, s->o.comm->world),
                                    .dtype = (uint8_t)e.dtype};
    }
    return DPT_OK;
}

static dpt_status make_timers(const dpt_session *s, dpt_session_record *r) {
    for (int w = 0; w < WAYS; w++)
        for (int i = 0; i < TRIAL_RUNS; i++)
            for (int k = 0; k < 2; k++) DPT_TRY(s->device->ops->timer_create(s->device, &r->timer[w][i][k]));
    return DPT_OK;
}

static void drop_timers(const dpt_session *s, dpt_session_record *r) {
    for (int w = 0; w < WAYS; w++)
        for (int i = 0; i < TRIAL_RUNS; i++)
            for (int k = 0; k < 2; k++) {
                if (r->timer[w][i][k]) s->device->ops->event_destroy(s->device, r->timer[w][i][k]);
                r->timer[w][i][k] = NULL;
            }
}

dpt_status dpt_session_record_create(dpt_session *s) {
    const dpt_device *d = s->device;
    if (d->record == DPT_RECORD_OFF || d->ops->record_begin == NULL || d->sync_each) return DPT_OK;
    dpt_session_record *r = s->record = dpt_alloc_zero(1, sizeof *r);
    DPT_CHECK_ALLOC(r);
    DPT_TRY(list_collectives(s, r));
    bool exchanges = r->n_collective > 0, waits = exchanges && s->o.comm->host_staged;
    r->chosen = exchanges && (waits || d->record == DPT_RECORD_SEGMENTS) ? SEGMENTS : WHOLE;
    r->on_trial = exchanges && !waits && d->record == DPT_RECORD_AUTO && s->o.control && d->ops->timer_create;
    for (int w = 0; w < WAYS; w++)
        if (r->on_trial || r->chosen == (way)w) DPT_TRY(cut(s, r, (way)w));
    return r->on_trial ? make_timers(s, r) : DPT_OK;
}

static void drop_way(const dpt_session *s, dpt_session_record *r, way w) {
    for (int64_t i = 0; i < r->n_segment[w]; i++)
        if (r->segment[w][i].recording) s->device->ops->recording_destroy(s->device, r->segment[w][i].recording);
    dpt_free(r->segment[w]);
    r->segment[w] = NULL;
    r->n_segment[w] = 0;
}

void dpt_session_record_destroy(dpt_session *s) {
    dpt_session_record *r = s->record;
    if (r == NULL) return;
    s->record = NULL;
    for (int w = 0; w < WAYS; w++) drop_way(s, r, (way)w);
    drop_timers(s, r);
    dpt_free(r->collective);
    dpt_free(r);
}

/* Collectives that are recorded are not told to the position: each replay tells them. */
static dpt_status record(dpt_session *s, segment *g) {
    const dpt_device_ops *ops = s->device->ops;
    dpt_position *position = s->o.comm ? s->o.comm->position : NULL;
    DPT_TRY(ops->record_begin(s->device, s->stream));
    if (s->o.comm) s->o.comm->position = NULL;
    dpt_status status = dpt_session_run_plain(s, g->first, g->end);
    if (s->o.comm) s->o.comm->position = position;
    char first[1024];
    snprintf(first, sizeof first, "%s", status == DPT_OK ? "" : dpt_last_error());
    dpt_status ended = ops->record_end(s->device, s->stream, &g->recording);
    if (status == DPT_OK) return ended;
    if (g->recording) ops->recording_destroy(s->device, g->recording);
    g->recording = NULL;
    return dpt_error(status, "%s", first);
}

static dpt_status run_way(dpt_session *s, way w);

/* A communicator that cannot be recorded here after all. Nothing has been run yet: the step is made in segments, and so
 * are all that follow, if the communicator has not failed for good. */
static dpt_status keep_outside(dpt_session *s) {
    dpt_session_record *r = s->record;
    dpt_comm *comm = s->o.comm;
    dpt_log(DPT_LOG_WARNING,
            "the exchange of gradients cannot be recorded into a CUDA graph, so it stays between them: %s",
            dpt_last_error());
    DPT_TRY(dpt_control_agree(s->o.control, comm->ops->check ? comm->ops->check(comm) : DPT_OK));
    drop_way(s, r, WHOLE);
    drop_timers(s, r);
    r->on_trial = false;
    r->chosen = SEGMENTS;
    if (r->segment[SEGMENTS] == NULL) DPT_TRY(cut(s, r, SEGMENTS));
    return run_way(s, SEGMENTS);
}

/* With collectives inside, ranks go on only if all have their recording. */
static dpt_status record_alike(dpt_session *s, segment *g, bool *alike) {
    bool exchanges = s->record->n_collective > 0 && s->o.control != NULL;
    dpt_status status = record(s, g);
    if (exchanges) status = dpt_control_agree(s->o.control, status);
    *alike = status == DPT_OK || s->device->record != DPT_RECORD_AUTO;
    return *alike ? status : DPT_OK;
}

/* Without collectives inside, this rank alone may go without a recording: the calls are then queued one by one. */
static dpt_status record_or_queue(dpt_session *s, segment *g) {
    if (record(s, g) == DPT_OK) return DPT_OK;
    dpt_log(DPT_LOG_WARNING, "a part of the step cannot be recorded, and is queued call by call: %s", dpt_last_error());
    g->record = false;
    return dpt_session_run_plain(s, g->first, g->end);
}

/* One run in one way. */
static dpt_status run_way(dpt_session *s, way w) {
    dpt_session_record *r = s->record;
    for (int64_t i = 0; i < r->n_segment[w]; i++) {
        segment *g = &r->segment[w][i];
        bool alike = true;
        if (!g->record) {
            DPT_TRY(dpt_session_run_plain(s, g->first, g->end));
            continue;
        }
        if (g->recording == NULL) DPT_TRY(w == WHOLE ? record_alike(s, g, &alike) : record_or_queue(s, g));
        if (!alike) return keep_outside(s);
        if (g->recording == NULL) continue;
        if (w == WHOLE && r->n_collective > 0)
            dpt_position_replay(s->o.comm->position, DPT_LANE_GRADIENTS, r->collective, r->n_collective);
        if (s->o.control) dpt_position_tick(s->o.control->position);
        DPT_TRY(s->device->ops->replay(s->device, g->recording, s->stream));
    }
    return DPT_OK;
}

/* Seconds of the shortest run of each way. */
static dpt_status read_timers(const dpt_session *s, double best[WAYS]) {
    const dpt_session_record *r = s->record;
    DPT_TRY(s->device->ops->stream_sync(s->device, s->stream));
    for (int w = 0; w < WAYS; w++) {
        best[w] = 1e300;
        for (int i = 1; i < TRIAL_RUNS; i++) {
            double took_s;
            DPT_TRY(s->device->ops->timer_elapsed(s->device, r->timer[w][i][0], r->timer[w][i][1], &took_s));
            if (took_s < best[w]) best[w] = took_s;
        }
    }
    return DPT_OK;
}

/* Of each way the shortest run on this rank, then the longest of these over ranks. */
static dpt_status decide(dpt_session *s) {
    dpt_session_record *r = s->record;
    double best[WAYS];
    DPT_TRY(dpt_control_agree(s->o.control, read_timers(s, best)));
    DPT_TRY(dpt_control_max_f64(s->o.control, best, WAYS));
    r->chosen = best[SEGMENTS] < best[WHOLE] ? SEGMENTS : WHOLE;
    r->on_trial = false;
    drop_way(s, r, r->chosen == WHOLE ? SEGMENTS : WHOLE);
    drop_timers(s, r);
    dpt_log(DPT_LOG_INFO,
            "%s as CUDA graphs: %.3f ms with the exchange inside one, %.3f ms with it between several: %s",
            dpt_mode_text(s->o.program->options.mode), 1e3 * best[WHOLE], 1e3 * best[SEGMENTS],
            r->chosen == WHOLE ? "one" : "several");
    return DPT_OK;
}

/* Run n of the trial: first those of one way, then of the other. */
static dpt_status try_run(dpt_session *s, int64_t n) {
    dpt_session_record *r = s->record;
    way w = n < TRIAL_RUNS ? WHOLE : SEGMENTS;
    dpt_event **timer = r->timer[w][n % TRIAL_RUNS];
    DPT_TRY(s->device->ops->event_record(s->device, timer[0], s->stream));
    DPT_TRY(run_way(s, w));
    if (!r->on_trial) return DPT_OK;
    DPT_TRY(s->device->ops->event_record(s->device, timer[1], s->stream));
    return n + 1 == WAYS * TRIAL_RUNS ? decide(s) : DPT_OK;
}

dpt_status dpt_session_run_recorded(dpt_session *s) {
    dpt_session_record *r = s->record;
    if (r->n_collective > 0 && s->o.comm->eager) return dpt_session_run_plain(s, 0, s->n_step);
    int64_t n = r->runs++;
    if (n < FIRST_RUNS) return dpt_session_run_plain(s, 0, s->n_step);
    return r->on_trial ? try_run(s, n - FIRST_RUNS) : run_way(s, r->chosen);
}

int64_t dpt_session_recordings(const dpt_session *s) {
    int64_t n = 0;
    for (int w = 0; s->record && w < WAYS; w++)
        for (int64_t i = 0; i < s->record->n_segment[w]; i++) n += s->record->segment[w][i].recording != NULL;
    return n;
}
