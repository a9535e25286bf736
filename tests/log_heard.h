/* log_heard.h: what the library logs, for tests to look into: dpt_log_set(listen, NULL), then heard("a text"). */
#ifndef DPT_TESTS_LOG_HEARD_H
#define DPT_TESTS_LOG_HEARD_H

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "check.h"

static char said[4000];

static inline void listen(void *user, dpt_log_level level, const char *text) {
    (void)user;
    const size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s%s\n", level == DPT_LOG_WARNING ? "warning: " : "", text);
}

/* Whether it was said; a failed check where not. */
static inline bool heard(const char *text) {
    return check_that(strstr(said, text) != NULL, __FILE__, __LINE__, "not said: %s; but: %s", text, said);
}

#endif
