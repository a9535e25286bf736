/* metrics_log.c: see metrics_log.h. Each line is flushed, so that a write error is reported by the call it belongs to.
 */
#include "train/metrics_log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

struct dpt_metrics_log {
    FILE *out;
    char *path;
};

dpt_status dpt_metrics_log_open(const char *path, dpt_metrics_log **log) {
    *log = NULL;
    dpt_metrics_log *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    dpt_status status = DPT_OK;
    made->path = dpt_strdup(path);
    DPT_CHECK_ALLOC_GOTO(made->path, fail);
    made->out = fopen(path, "ae");
    DPT_CHECK_GOTO(made->out != NULL, fail, DPT_ERR_IO, "metrics file %s cannot be opened: %s", path, strerror(errno));
    *log = made;
    return DPT_OK;
fail:
    dpt_free(made->path);
    dpt_free(made);
    return status;
}

static void write_number(FILE *out, double x) {
    if (!isfinite(x))
        fputs("null", out);
    else if (x == floor(x) && fabs(x) < 0x1p53)
        fprintf(out, "%.0f", x);
    else
        fprintf(out, "%.9g", x);
}

/* [[1, 0], [0, 1]] */
static void write_matrix(FILE *out, const int64_t *matrix, int64_t side) {
    for (int64_t i = 0; i < side * side; i++)
        fprintf(out, "%s%" PRId64, i == 0 ? "[[" : i % side ? ", " : "], [", matrix[i]);
    fputs("]]", out);
}

dpt_status dpt_metrics_log_write(dpt_metrics_log *log, const char *event, const dpt_metric *metrics, int count) {
    errno = 0;
    fprintf(log->out, "{\"event\": \"%s\"", event);
    for (int i = 0; i < count; i++) {
        fprintf(log->out, ", \"%s\": ", metrics[i].name);
        if (metrics[i].matrix)
            write_matrix(log->out, metrics[i].matrix, metrics[i].side);
        else if (metrics[i].text)
            fprintf(log->out, "\"%s\"", metrics[i].text);
        else
            write_number(log->out, metrics[i].value);
    }
    fputs("}\n", log->out);
    DPT_CHECK(fflush(log->out) == 0 && !ferror(log->out), DPT_ERR_IO, "metrics file %s cannot be written: %s",
              log->path, strerror(errno ? errno : EIO));
    return DPT_OK;
}

dpt_status dpt_metrics_log_close(dpt_metrics_log **log) {
    if (*log == NULL) return DPT_OK;
    dpt_status status = DPT_OK;
    if (fclose((*log)->out) != 0)
        status = dpt_error(DPT_ERR_IO, "metrics file %s cannot be written: %s", (*log)->path, strerror(errno));
    dpt_free((*log)->path);
    dpt_free(*log);
    *log = NULL;
    return status;
}
