/* clock.c: monotonic seconds, UTC stamps, pauses of a wait. */
#include "base/clock.h"

#include <sched.h>
#include <time.h>

double dpt_clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void dpt_clock_utc(char *text, size_t bytes) {
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(text, bytes, "%Y%m%dT%H%M%SZ", &parts);
}

void dpt_clock_relax(int turn) {
    static const int yields = 200;
    const struct timespec pause = {0, 50000};
    if (turn < yields)
        (void)sched_yield();
    else
        (void)nanosleep(&pause, NULL);
}
