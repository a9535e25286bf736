/* log.c: one sink a process, set before threads start. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static dpt_log_fn sink;
static void *sink_user;

void dpt_log_set(dpt_log_fn fn, void *user) {
    sink = fn;
    sink_user = user;
}

void dpt_log(dpt_log_level level, const char *format, ...) {
    if (sink == NULL) return;
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sink(sink_user, level, text);
}
