/* data_wait.c: see data_wait.h. A thread that fills batches either works or stands still; on a machine that has a core
 * for it, it stands still for storage alone. */
#include "cli/data_wait.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 64 }; /* that data.threads takes */

void dpt_data_wait_start(dpt_data_wait *w, double now_s) { *w = (dpt_data_wait){.since_s = now_s}; }

void dpt_data_wait_skip(dpt_data_wait *w, double seconds) { w->since_s += seconds; }

/* Whether a path lies at or below a folder. */
static bool is_below(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0 || n == 1);
}

/* Lines "36 35 98:0 /root /mounted/at options [more] - type source options"; of those above the path the one that is
 * nearest to it, and of several in one place the last. */
void dpt_data_wait_storage(const char *path, char *text, size_t bytes) {
    char line[1024], at[512], type[64], source[256], whole[PATH_MAX];
    size_t longest = 0;
    snprintf(text, bytes, "unknown file system");
    if (realpath(path, whole) == NULL) return;
    FILE *in = fopen("/proc/self/mountinfo", "re");
    if (in == NULL) return;
    while (fgets(line, sizeof line, in)) {
        const char *rest = strstr(line, " - ");
        if (rest == NULL || sscanf(line, "%*s %*s %*s %*s %511s", at) != 1) continue;
        if (strlen(at) < longest || !is_below(whole, at)) continue;
        if (sscanf(rest, " - %63s %255s", type, source) != 2) continue;
        longest = strlen(at);
        snprintf(text, bytes, "%s, %s on %s", type, source, at);
    }
    fclose(in);
}

bool dpt_data_wait_judge(dpt_data_wait *w, double now_s, const dpt_loader_work *work, int threads, const char *path,
                         char *text, size_t bytes) {
    double passed_s = now_s - w->since_s, waited_s = work->wait_s - w->since.wait_s;
    if (passed_s < DPT_DATA_WAIT_EVERY_S) return false;
    double fill_s = work->fill_s - w->since.fill_s, still_s = work->still_s - w->since.still_s;
    double still = fill_s > 0 ? still_s / fill_s : 0, rate = (double)(work->bytes - w->since.bytes) / 1e6 / passed_s;
    uint64_t retries = work->retries - w->since.retries;
    char storage[900], again[64] = "";
    w->since_s = now_s;
    w->since = *work;
    bool quiet = w->said_s > 0 && now_s - w->said_s < 10 * DPT_DATA_WAIT_EVERY_S;
    if (quiet || waited_s <= DPT_DATA_WAIT_SHARE * passed_s) return false;
    w->said_s = now_s;
    dpt_data_wait_storage(path, storage, sizeof storage);
    if (retries > 0) snprintf(again, sizeof again, ", %llu reads tried again", (unsigned long long)retries);
    snprintf(text, bytes, "%.0f %% of the last %.0f s went by waiting for data, at %.3g MB/s%s from %s (%s): ",
             100 * waited_s / passed_s, passed_s, rate, again, path, storage);
    size_t n = strlen(text);
    if (still > 0.5)
        snprintf(
            text + n, bytes - n,
            "the reading threads stood still for %.0f %% of their time: this storage is slow now, or cores are short",
            100 * still);
    else
        n += (size_t)snprintf(text + n, bytes - n,
                              "the reading threads were at work for %.0f %% of their time: unpacking and converting "
                              "take it",
                              100 * (1 - still));
    if (still <= 0.5 && threads < MOST_THREADS && n < bytes)
        snprintf(text + n, bytes - n, "; data.threads=%d shares it out",
                 2 * threads < MOST_THREADS ? 2 * threads : MOST_THREADS);
    return true;
}
