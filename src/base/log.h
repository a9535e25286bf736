/* log.h: messages to the callback that dpt_log_set (types.h) names; dropped without one. */
#ifndef DPT_BASE_LOG_H
#define DPT_BASE_LOG_H

#include "dptrain/types.h"

void dpt_log(dpt_log_level level, const char *format, ...) DPT_PRINTF(2, 3);

#endif
