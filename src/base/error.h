/* error.h: how a function fails. Checks set the thread's message and return a status; DPT_TRY (status.h) passes a
 * status on; the _GOTO forms leave by the function's one `fail:` label, with the status in `status`. */
#ifndef DPT_BASE_ERROR_H
#define DPT_BASE_ERROR_H

#include "dptrain/status.h"

/* Sets the thread's message and returns code. */
dpt_status dpt_error(dpt_status code, const char *format, ...) DPT_PRINTF(2, 3);
/* Puts a prefix before the thread's message and returns code. */
dpt_status dpt_error_prefix(dpt_status code, const char *format, ...) DPT_PRINTF(2, 3);

#define DPT_CHECK(condition, code, ...)                          \
    do {                                                         \
        if (!(condition)) return dpt_error((code), __VA_ARGS__); \
    } while (0)

#define DPT_TRY_GOTO(call, label)         \
    do {                                  \
        status = (call);                  \
        if (status != DPT_OK) goto label; \
    } while (0)

#define DPT_CHECK_GOTO(condition, label, code, ...)  \
    do {                                             \
        if (!(condition)) {                          \
            status = dpt_error((code), __VA_ARGS__); \
            goto label;                              \
        }                                            \
    } while (0)

#endif
