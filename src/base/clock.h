/* clock.h: time. */
#ifndef DPT_BASE_CLOCK_H
#define DPT_BASE_CLOCK_H

#include <stddef.h>

double dpt_clock_s(void);                     /* monotonic, seconds */
void dpt_clock_utc(char *text, size_t bytes); /* "20261121T031500Z" */

#endif
