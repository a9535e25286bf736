/* test_host_memory.c: what is available under /proc and control groups of both versions, from files made here. */
#include "backend/host_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "check.h"

static char root[512];

/* Makes root/path with its folders. */
static void put(const char *path, const char *text) {
    char file[1024];
    snprintf(file, sizeof file, "%s%s", root, path);
    for (char *slash = file + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(file, 0777);
        *slash = '/';
    }
    FILE *out = fopen(file, "w");
    if (!CHECK(out != NULL)) return;
    fputs(text, out);
    fclose(out);
}

static void begin(const char *name) {
    snprintf(root, sizeof root, "%s/%s", check_tmpdir(), name);
    mkdir(root, 0777);
    put("/proc/meminfo", "MemTotal:       4096 kB\nMemFree:         100 kB\nMemAvailable:   2048 kB\n");
}

static void expect(size_t available, size_t total) {
    size_t got_available, got_total;
    dpt_host_memory(root, &got_available, &got_total);
    CHECK_EQ_I64(got_available, available);
    CHECK_EQ_I64(got_total, total);
}

static void no_groups(void) {
    begin("none");
    expect(2048 * 1024, 4096 * 1024);
    put("/proc/self/cgroup", "0::/\n");
    expect(2048 * 1024, 4096 * 1024);
}

/* The tightest limit on the way to the top counts; page cache that can go is free. */
static void version2(void) {
    begin("two");
    put("/proc/self/cgroup", "0::/job/step\n");
    put("/sys/fs/cgroup/job/step/memory.max", "max\n");
    put("/sys/fs/cgroup/job/step/memory.current", "5\n");
    expect(2048 * 1024, 4096 * 1024);
    put("/sys/fs/cgroup/job/memory.max", "1000000\n");
    put("/sys/fs/cgroup/job/memory.current", "400000\n");
    expect(600000, 1000000);
    put("/sys/fs/cgroup/job/memory.stat", "anon 1\ninactive_file 300000\nactive_file 9\n");
    expect(900000, 1000000);
    put("/sys/fs/cgroup/memory.max", "100\n");
    put("/sys/fs/cgroup/memory.current", "200\n");
    expect(0, 100);
}

static void version1(void) {
    begin("one");
    put("/proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/slurm/job\n0::/\n");
    put("/sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/slurm/job/memory.usage_in_bytes", "10\n");
    expect(2048 * 1024, 4096 * 1024);
    put("/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "50000\n");
    put("/sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "20000\n");
    put("/sys/fs/cgroup/memory/slurm/memory.stat", "inactive_file 1\ntotal_inactive_file 5000\n");
    expect(35000, 50000);
    put("/sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n"); /* another controller's group */
    expect(35000, 50000);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "host_memory", {"no_groups", no_groups}, {"version2", version2},
                      {"version1", version1});
}
