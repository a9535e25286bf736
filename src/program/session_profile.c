/* session_profile.c: runs that take the time of every call: by the host's clock where work is done when it is queued,
 * by the device's timers, read at the end of the run, where it is not. */
#include "base/clock.h"
#include "base/memory.h"
#include "program/session_private.h"

void dpt_session_drop_timers(dpt_session *s) {
    for (int64_t i = 0; s->timer && i <= s->n_step; i++)
        if (s->timer[i]) s->device->ops->event_destroy(s->device, s->timer[i]);
    dpt_free(s->timer);
    dpt_free(s->passed_s);
    s->timer = NULL;
    s->passed_s = NULL;
}

static dpt_status take_time(dpt_session *s, int64_t i, double begin_s) {
    if (s->timer) return s->device->ops->event_record(s->device, s->timer[i], s->stream);
    s->passed_s[i] = dpt_clock_s() - begin_s;
    return DPT_OK;
}

static dpt_status read_timers(dpt_session *s) {
    if (s->timer == NULL) return DPT_OK;
    DPT_TRY(s->device->ops->stream_sync(s->device, s->stream));
    for (int64_t i = 0; i <= s->n_step; i++)
        DPT_TRY(s->device->ops->timer_elapsed(s->device, s->timer[0], s->timer[i], &s->passed_s[i]));
    return DPT_OK;
}

static void account_profile(dpt_session *s, double begin_s) {
    for (int64_t i = 0; i < s->n_step; i++) {
        dpt_session_step *st = &s->steps[i];
        double took_s = s->passed_s[i + 1] - s->passed_s[i];
        st->seconds += took_s;
        *(st->kernel ? &s->profile.kernels_s : &s->profile.collectives_s) += took_s;
        if (s->timeline == NULL) continue;
        dpt_cost cost = dpt_call_cost(&st->call);
        dpt_timeline_add(s->timeline, st->kernel ? DPT_TRACK_OPS : DPT_TRACK_EXCHANGE, st->node->name,
                         dpt_op_of(st->node)->name, begin_s + s->passed_s[i], begin_s + s->passed_s[i + 1], &cost);
    }
    s->profile.runs++;
}

dpt_status dpt_session_run_profiled(dpt_session *s) {
    double begin_s = dpt_clock_s();
    DPT_TRY(take_time(s, 0, begin_s));
    for (int64_t i = 0; i < s->n_step; i++) {
        dpt_session_step *st = &s->steps[i];
        dpt_mark_begin(s->device, st->node->name);
        dpt_status status = dpt_session_step_run(s, st);
        dpt_mark_end(s->device);
        if (status != DPT_OK) return dpt_name_failure(st->node, status);
        DPT_TRY(take_time(s, i + 1, begin_s));
    }
    DPT_TRY(read_timers(s));
    s->profile.runs_s += dpt_clock_s() - begin_s;
    account_profile(s, begin_s);
    return DPT_OK;
}

static dpt_status make_timers(dpt_session *s) {
    size_t n = (size_t)s->n_step + 1;
    s->passed_s = dpt_alloc_zero(n, sizeof *s->passed_s);
    DPT_CHECK_ALLOC(s->passed_s);
    if (s->device->ops->timer_create == NULL) return DPT_OK;
    s->timer = dpt_alloc_zero(n, sizeof(dpt_event *));
    DPT_CHECK_ALLOC(s->timer);
    for (size_t i = 0; i < n; i++) DPT_TRY(s->device->ops->timer_create(s->device, &s->timer[i]));
    return DPT_OK;
}

dpt_status dpt_session_profile(dpt_session *s, bool on, dpt_timeline *timeline) {
    dpt_session_drop_timers(s);
    s->profiling = on;
    s->timeline = on ? timeline : NULL;
    s->profile = (dpt_profile){0};
    for (int64_t i = 0; i < s->n_step; i++) s->steps[i].seconds = 0;
    return on ? make_timers(s) : DPT_OK;
}

dpt_profile dpt_session_profile_read(const dpt_session *s) { return s->profile; }

void dpt_session_profile_each(const dpt_session *s,
                              void (*fn)(void *user, const dpt_node *node, const dpt_call *call, double seconds),
                              void *user) {
    for (int64_t i = 0; i < s->n_step; i++) fn(user, s->steps[i].node, &s->steps[i].call, s->steps[i].seconds);
}
