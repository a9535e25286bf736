/* host_memory.c: see host_memory.h. A group's limit holds for all below it, so every folder from this process's group
 * up to the top counts. Page cache that a group holds is given back when memory is asked for: its inactive part is
 * free. */
#include "backend/host_memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096 };

/* The names of a version's files. */
typedef struct group_files {
    const char *folder, *limit, *used, *cache;
} group_files;
static const group_files version1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                     "total_inactive_file"};
static const group_files version2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

/* The number behind a word at the beginning of a line ("" and no lines: the file's first number); SIZE_MAX: none. */
static size_t read_number(const char *path, const char *word) {
    char line[256];
    size_t n = strlen(word), value = SIZE_MAX;
    FILE *in = fopen(path, "re");
    if (in == NULL) return SIZE_MAX;
    while (value == SIZE_MAX && fgets(line, sizeof line, in)) {
        char *end, *from = line + n;
        if (strncmp(line, word, n) != 0 || (n && line[n] != ' ' && line[n] != ':')) continue;
        unsigned long long x = strtoull(from + (n && *from == ':'), &end, 10);
        if (end != from && x < SIZE_MAX) value = (size_t)x;
    }
    fclose(in);
    return value;
}

static size_t group_number(const char *folder, const char *name, const char *word) {
    char path[PATH];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path ? read_number(path, word) : SIZE_MAX;
}

static void take_limit(const group_files *files, const char *folder, size_t *available, size_t *total) {
    size_t limit = group_number(folder, files->limit, ""), used = group_number(folder, files->used, "");
    size_t cache = group_number(folder, "memory.stat", files->cache);
    if (limit == SIZE_MAX || used == SIZE_MAX) return;
    if (cache != SIZE_MAX) used = used > cache ? used - cache : 0;
    size_t left = limit > used ? limit - used : 0;
    if (left < *available) *available = left;
    if (limit < *total) *total = limit;
}

/* From the group's folder up to the top. A container may see its own group at the top only. */
static void take_limits(const group_files *files, const char *root, const char *group, size_t *available,
                        size_t *total) {
    char folder[PATH];
    int top = snprintf(folder, sizeof folder, "%s%s", root, files->folder);
    int n = snprintf(folder, sizeof folder, "%s%s%s", root, files->folder, group);
    if (n < 0 || (size_t)n >= sizeof folder) return;
    for (;;) {
        take_limit(files, folder, available, total);
        char *slash = strrchr(folder, '/');
        if (slash == NULL || slash - folder < top) return;
        *slash = 0;
    }
}

/* Lines "5:cpu,memory:/job" (version 1) and "0::/job" (version 2). */
static void take_groups(const char *root, size_t *available, size_t *total) {
    char path[PATH], line[PATH];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *in = fopen(path, "re");
    if (in == NULL) return;
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) continue;
        *group++ = 0;
        if (controllers[1] == 0)
            take_limits(&version2, root, group, available, total);
        else if (strstr(controllers, "memory"))
            take_limits(&version1, root, group, available, total);
    }
    fclose(in);
}

void dpt_host_memory(const char *root, size_t *available, size_t *total) {
    char path[PATH];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    size_t free_kib = read_number(path, "MemAvailable"), total_kib = read_number(path, "MemTotal");
    *available = free_kib < SIZE_MAX / 1024 ? free_kib * 1024 : (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
    *total = total_kib < SIZE_MAX / 1024 ? total_kib * 1024 : (size_t)sysconf(_SC_PHYS_PAGES) * page;
    take_groups(root, available, total);
}
