/* profile.c: see profile.h. */
#include "cli/profile.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "program/ceilings.h"

enum { FIRST_STEP = 10 };

/* The sessions of a training step. */
static int sessions_of(dpt_job *job, dpt_session *list[3]) {
    dpt_trainer *t = job->trainer;
    dpt_session *all[] = {t->train.session, t->accumulate.session, t->apply.session};
    int n = 0;
    for (int i = 0; i < 3; i++)
        if (all[i]) list[n++] = all[i];
    return n;
}

static dpt_status share_folder(dpt_job *job, char **folder) {
    const dpt_control *control = &job->cli->control;
    char path[1024] = "";
    if (control->rank == 0) snprintf(path, sizeof path, "%s", dpt_run_dir_path(job->cli->run));
    DPT_TRY(dpt_control_broadcast(control, path, sizeof path, 0));
    *folder = dpt_strdup(path);
    return dpt_control_agree(control, *folder ? DPT_OK : DPT_ERR_MEMORY);
}

dpt_status dpt_profiler_open(dpt_job *job, int64_t count, dpt_profiler *p) {
    const dpt_control *control = &job->cli->control;
    *p = (dpt_profiler){.count = count};
    if (count == 0) return DPT_OK;
    p->first = job->steps > FIRST_STEP + count ? FIRST_STEP : job->steps > count ? job->steps - count : 0;
    DPT_TRY(share_folder(job, &p->folder));
    DPT_TRY(dpt_control_agree(control, dpt_timeline_create(control->rank, &p->timeline)));
    return dpt_control_agree(control, dpt_ceilings_of_precision(job->ctx, job->trainer->o.precision, &p->ceilings));
}

void dpt_profiler_close(dpt_profiler *p) {
    dpt_timeline_destroy(&p->timeline);
    dpt_free(p->folder);
    *p = (dpt_profiler){0};
}

static dpt_status switch_sessions(dpt_profiler *p, dpt_job *job, bool on) {
    dpt_session *list[3];
    int n = sessions_of(job, list);
    for (int i = 0; i < n; i++) DPT_TRY(dpt_session_profile(list[i], on, p->timeline));
    return DPT_OK;
}

dpt_status dpt_profiler_begin(dpt_profiler *p, dpt_job *job, int64_t step) {
    if (step < p->first || step >= p->first + p->count) return DPT_OK;
    if (step == p->first) DPT_TRY(dpt_control_agree(&job->cli->control, switch_sessions(p, job, true)));
    p->step_begin_s = dpt_clock_s();
    return DPT_OK;
}

static dpt_status write_table(const dpt_profiler *p) {
    char *path = dpt_format("%s/profile.txt", p->folder);
    DPT_CHECK_ALLOC(path);
    FILE *out = fopen(path, "w");
    dpt_status status =
        out ? dpt_timeline_table(p->timeline, &p->ceilings, out) : dpt_error(DPT_ERR_IO, "%s cannot be written", path);
    if (out && fclose(out) != 0 && status == DPT_OK)
        status = dpt_error(DPT_ERR_IO, "%s could not be written whole", path);
    dpt_free(path);
    return status;
}

static dpt_status write_files(const dpt_profiler *p, int rank) {
    char *path = dpt_format("%s/trace.%d.json", p->folder, rank);
    DPT_CHECK_ALLOC(path);
    dpt_status status = dpt_timeline_write(p->timeline, path);
    dpt_free(path);
    return status == DPT_OK && rank == 0 ? write_table(p) : status;
}

dpt_status dpt_profiler_end(dpt_profiler *p, dpt_job *job, int64_t step, double loader_s) {
    if (step < p->first || step >= p->first + p->count) return DPT_OK;
    const dpt_control *control = &job->cli->control;
    double end_s = dpt_clock_s();
    dpt_timeline_add(p->timeline, DPT_TRACK_STEP, "step", "step", p->step_begin_s, end_s, NULL);
    dpt_timeline_add(p->timeline, DPT_TRACK_LOADER, "wait for data", "loader", p->step_begin_s,
                     p->step_begin_s + loader_s, NULL);
    if (step + 1 < p->first + p->count) return DPT_OK;
    dpt_status status = switch_sessions(p, job, false);
    return dpt_control_agree(control, status == DPT_OK ? write_files(p, control->rank) : status);
}
