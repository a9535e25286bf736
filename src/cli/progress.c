/* progress.c: see progress.h. The rate is that of the time since the last line, evaluations not counted; the time left
 * is that of all steps so far. */
#include "cli/progress.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"

static const double terminal_interval_s = 0.1, plain_interval_s = 10;

/* "12 s", "3m05s", "1h02m". */
static void duration_text(char *text, size_t bytes, double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s < 100)
        snprintf(text, bytes, "%" PRId64 " s", s);
    else if (s < 3600)
        snprintf(text, bytes, "%" PRId64 "m%02ds", s / 60, (int)(s % 60));
    else
        snprintf(text, bytes, "%" PRId64 "h%02dm", s / 3600, (int)(s % 3600 / 60));
}

void dpt_progress_header(FILE *out, const dpt_progress_about *about) {
    fprintf(out, "dptrain %s\n", about->version);
    fprintf(out, "ranks       %d on %d host%s, %d thread%s each, %s\n", about->ranks, about->hosts,
            about->hosts == 1 ? "" : "s", about->threads, about->threads == 1 ? "" : "s", about->device);
    fprintf(out, "model       %s, %" PRId64 " parameters, %.1f MiB of memory a rank\n", about->model, about->parameters,
            (double)about->memory_bytes / (1 << 20));
    fprintf(out, "data        %s, %" PRId64 " training samples, %" PRId64 " test samples\n", about->data,
            about->train_samples, about->test_samples);
    fprintf(out, "order       %s\n", about->order);
    fprintf(out, "reading     %s\n", about->reading);
    fprintf(out, "training    %" PRId64 " steps of %" PRId64 " samples, %s\n", about->steps, about->batch,
            about->precision);
    fprintf(out, "results in  %s\n", about->run_dir);
    fflush(out);
}

void dpt_progress_start(dpt_progress *p, FILE *out, bool terminal, int64_t steps, double now_s) {
    *p = (dpt_progress){.out = out, .terminal = terminal, .steps = steps, .start_s = now_s, .line_s = now_s};
}

static void show_line(dpt_progress *p, const char *line) {
    if (p->terminal) {
        int width = (int)strlen(line);
        fprintf(p->out, "\r%s%*s", line, p->width > width ? p->width - width : 0, "");
        p->width = width;
    } else {
        fprintf(p->out, "%s\n", line);
    }
    fflush(p->out);
}

/* Takes the progress line off the terminal, so that a whole line can stand in its place. */
static void clear_line(dpt_progress *p) {
    if (p->width > 0) fprintf(p->out, "\r%*s\r", p->width, "");
    p->width = 0;
}

void dpt_progress_step(dpt_progress *p, int64_t step, int64_t epoch, double loss, int64_t samples, double now_s) {
    p->samples += samples;
    double since_s = now_s - p->line_s;
    if (step < p->steps && since_s < (p->terminal ? terminal_interval_s : plain_interval_s)) return;
    double left_s = step > 0 ? (now_s - p->start_s) / (double)step * (double)(p->steps - step) : 0;
    char left[32], line[160];
    duration_text(left, sizeof left, left_s);
    size_t n = dpt_append(line, sizeof line, 0, "epoch %" PRId64 "  step %" PRId64 "/%" PRId64 "  loss %.4f", epoch,
                          step, p->steps, loss);
    if (since_s > 0) n = dpt_append(line, sizeof line, n, "  %.0f samples/s", (double)p->samples / since_s);
    dpt_append(line, sizeof line, n, "  %s left", left);
    show_line(p, line);
    p->line_s = now_s;
    p->samples = 0;
}

void dpt_progress_evaluated(dpt_progress *p, int64_t epoch, const dpt_progress_evaluation *e) {
    clear_line(p);
    fprintf(p->out, "epoch %" PRId64 "  test loss %.4f", epoch, e->loss);
    for (int i = 0; i < e->count; i++) fprintf(p->out, "  test %s %.4f", e->name[i], e->value[i]);
    fprintf(p->out, "  (%" PRId64 " samples, %.1f s)\n", e->samples, e->seconds);
    fflush(p->out);
    p->line_s += e->seconds;
}

double dpt_progress_value(const dpt_progress_evaluation *e, const char *name) {
    if (strcmp(name, "loss") == 0) return e->loss;
    for (int i = 0; i < e->count; i++)
        if (strcmp(e->name[i], name) == 0) return e->value[i];
    return NAN;
}

void dpt_progress_result(dpt_progress *p, const dpt_progress_evaluation *e) {
    clear_line(p);
    double accuracy = dpt_progress_value(e, "accuracy");
    if (isnan(accuracy))
        fprintf(p->out, "test loss %.4f\n", e->loss);
    else
        fprintf(p->out, "test accuracy %.4f\n", accuracy);
    fflush(p->out);
}
