/* clock.h: time. */
#ifndef DPT_BASE_CLOCK_H
#define DPT_BASE_CLOCK_H

#include <stddef.h>

double dpt_clock_s(void);                     /* monotonic, seconds */
void dpt_clock_utc(char *text, size_t bytes); /* "20261121T031500Z" */

/* Between two looks at something that others will bring about, turn = 0, 1, … of this wait: yields the processor at
 * first, then sleeps 50 us, so that a long wait leaves its core to others. */
void dpt_clock_relax(int turn);

#endif
