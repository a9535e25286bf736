/* error.c: the thread's last message. The buffer is thread-local and fixed, so that reporting a failure cannot fail. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_message[2048];

const char *dpt_last_error(void) { return last_message; }

const char *dpt_status_text(dpt_status status) {
    switch (status) {
#define CASE(name, value, text) \
    case name: return text;
        DPT_STATUS_LIST(CASE)
#undef CASE
    }
    return "unknown status";
}

dpt_status dpt_error(dpt_status code, const char *format, ...) {
    char text[sizeof last_message]; /* arguments may point into last_message */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_message, text, sizeof text);
    return code;
}

dpt_status dpt_error_prefix(dpt_status code, const char *format, ...) {
    char text[sizeof last_message];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) return code;
    if ((size_t)n < sizeof text) snprintf(text + n, sizeof text - (size_t)n, "%s", last_message);
    memcpy(last_message, text, sizeof text);
    return code;
}
