/* metrics_log.h: the metrics of a run as JSON lines, one object a line, whole lines only, so that it can be read while
 * it grows. A value that is not finite is null. All functions are local. */
#ifndef DPT_TRAIN_METRICS_LOG_H
#define DPT_TRAIN_METRICS_LOG_H

#include <stdint.h>

#include "base/error.h"

typedef struct dpt_metrics_log dpt_metrics_log;

typedef struct dpt_metric {
    const char *name;      /* a JSON name without escapes: "loss" */
    double value;          /* whole numbers are written without a point */
    const int64_t *matrix; /* in place of value: [side, side]; NULL: none */
    int64_t side;
    const char *text; /* in place of value, without what JSON escapes; NULL: none */
} dpt_metric;

/* Opens the file and appends to it. DPT_ERR_IO: with the system's reason. */
dpt_status dpt_metrics_log_open(const char *path, dpt_metrics_log **log);
/* Writes {"event": event, metrics...} and hands it to the system. DPT_ERR_IO: with the system's reason. */
dpt_status dpt_metrics_log_write(dpt_metrics_log *log, const char *event, const dpt_metric *metrics, int count);
/* Closes the file. DPT_ERR_IO: the last lines did not arrive. */
dpt_status dpt_metrics_log_close(dpt_metrics_log **log);

#endif
