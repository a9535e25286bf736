/* data_wait.h: says when training waits for its data, and what for: storage that is slow, by its name and rate, or
 * threads that have too much to do.
 *
 *   dpt_data_wait w;
 *   dpt_data_wait_start(&w, dpt_clock_s());
 *   if (dpt_data_wait_judge(&w, dpt_clock_s(), &work, threads, path, text, sizeof text)) ... text ...    now and then
 */
#ifndef DPT_CLI_DATA_WAIT_H
#define DPT_CLI_DATA_WAIT_H

#include "data/loader.h"

/* Looked at every so many seconds; said where the wait took more than this share of them, and again after ten times as
 * long at the earliest. */
#define DPT_DATA_WAIT_EVERY_S 30.0
#define DPT_DATA_WAIT_SHARE 0.10

typedef struct dpt_data_wait {
    double since_s, said_s; /* the last look; the last time that something was said, 0: never */
    dpt_loader_work since;
} dpt_data_wait;

void dpt_data_wait_start(dpt_data_wait *wait, double now_s);
/* Time that belongs to something else, as evaluation, has passed. */
void dpt_data_wait_skip(dpt_data_wait *wait, double seconds);
/* Whether there is something to say, and it. path: of a file that is read. Local. */
bool dpt_data_wait_judge(dpt_data_wait *wait, double now_s, const dpt_loader_work *work, int threads, const char *path,
                         char *text, size_t bytes);

/* "nfs4, server:/export on /data": the file system of a path, as /proc/self/mountinfo names it; "unknown file system"
 * where there is no such path. */
void dpt_data_wait_storage(const char *path, char *text, size_t bytes);

#endif
