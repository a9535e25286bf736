/* results.c: see results.h. */
#include "cli/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static dpt_status remove_file(const dpt_run_dir *run, const char *name) {
    char *path = dpt_run_dir_file(run, name);
    DPT_CHECK_ALLOC(path);
    remove(path);
    dpt_free(path);
    return DPT_OK;
}

dpt_status dpt_results_open(dpt_run_dir *run, dpt_results *r) {
    static const char *const files[] = {"exit_report.json", "metrics.jsonl", "curves.svg", "confusion.svg"};
    *r = (dpt_results){.run = run};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) DPT_TRY(remove_file(run, files[i]));
    char *path = dpt_run_dir_file(run, "metrics.jsonl");
    DPT_CHECK_ALLOC(path);
    dpt_status status = dpt_metrics_log_open(path, &r->log);
    dpt_free(path);
    return status;
}

dpt_status dpt_results_close(dpt_results *r) {
    dpt_history_clear(&r->history);
    return dpt_metrics_log_close(&r->log);
}

dpt_status dpt_results_step(dpt_results *r, const dpt_metric *metrics, int count) {
    for (int i = 1; i < count; i++) {
        double step = metrics[0].value, value = metrics[i].value;
        if (strcmp(metrics[i].name, "loss") == 0)
            DPT_TRY(dpt_history_add(&r->history, DPT_PANEL_LOSS, "training", step, value));
        if (strcmp(metrics[i].name, "lr") == 0) DPT_TRY(dpt_history_add(&r->history, DPT_PANEL_LR, "lr", step, value));
    }
    return dpt_metrics_log_write(r->log, "train", metrics, count);
}

dpt_status dpt_results_pass(dpt_results *r, int64_t pass, const dpt_ledger *ledger, const dpt_pass_work *work) {
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)ledger->sum);
    const dpt_metric metrics[] = {{.name = "pass", .value = (double)pass},
                                  {.name = "samples", .value = (double)ledger->count},
                                  {.name = "digest", .text = digest},
                                  {.name = "seconds", .value = work->seconds},
                                  {.name = "data_wait_s", .value = work->data_wait_s},
                                  {.name = "read_mb", .value = work->read_bytes / 1e6},
                                  {.name = "chunks_decoded", .value = work->chunks},
                                  {.name = "reads_retried", .value = work->retries}};
    return dpt_metrics_log_write(r->log, "pass", metrics, sizeof metrics / sizeof *metrics);
}

static dpt_status write_picture(const dpt_results *r, const char *name, char *svg) {
    dpt_status status = svg ? dpt_run_dir_write(r->run, name, svg) : DPT_OK;
    dpt_free(svg);
    return status;
}

/* Shares of 1 and errors, which have a unit, stand in panels of their own. */
static dpt_status add_curves(dpt_results *r, int64_t step, const dpt_progress_evaluation *e) {
    DPT_TRY(dpt_history_add(&r->history, DPT_PANEL_LOSS, "test", (double)step, e->loss));
    for (int i = 0; i < e->count; i++) {
        dpt_panel panel = dpt_measure_rises(e->name[i]) ? DPT_PANEL_SHARES : DPT_PANEL_ERRORS;
        DPT_TRY(dpt_history_add(&r->history, panel, e->name[i], (double)step, e->value[i]));
    }
    return DPT_OK;
}

dpt_status dpt_results_evaluated(dpt_results *r, const dpt_job *job, int64_t step, int64_t epoch,
                                 const dpt_progress_evaluation *e) {
    int64_t classes;
    const int64_t *confusion = dpt_job_confusion(job, &classes);
    dpt_metric metrics[DPT_MEASURES_ALL + 4] = {{.name = "epoch", .value = (double)epoch},
                                                {.name = "loss", .value = e->loss}};
    int n = 2;
    for (int i = 0; i < e->count; i++) metrics[n++] = (dpt_metric){.name = e->name[i], .value = e->value[i]};
    metrics[n++] = (dpt_metric){.name = "samples", .value = (double)e->samples};
    if (confusion) metrics[n++] = (dpt_metric){.name = "confusion", .matrix = confusion, .side = classes};
    DPT_TRY(dpt_metrics_log_write(r->log, "evaluate", metrics, n));
    DPT_TRY(add_curves(r, step, e));
    char *svg;
    DPT_TRY(dpt_picture_curves(&r->history, &svg));
    DPT_TRY(write_picture(r, "curves.svg", svg));
    if (confusion == NULL) return DPT_OK;
    DPT_TRY(dpt_picture_confusion(confusion, classes, &svg));
    return write_picture(r, "confusion.svg", svg);
}
