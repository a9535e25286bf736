/* When a wait for data is said, and what is said of it; times and counts are made up. */
#include "cli/data_wait.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

static char text[2048];

static bool judge(dpt_data_wait *w, double now_s, const dpt_loader_work *work) {
    return dpt_data_wait_judge(w, now_s, work, 2, "/proc/self/exe", text, sizeof text);
}

static void says_when(void) {
    dpt_data_wait w;
    dpt_loader_work work = {.wait_s = 20, .fill_s = 25, .still_s = 24, .bytes = 62000000};
    dpt_data_wait_start(&w, 100);
    CHECK(!judge(&w, 129, &work)); /* too early */
    CHECK(judge(&w, 131, &work));  /* 20 of 31 s, at 2 MB/s */
    CHECK(strstr(text, "65 % of the last 31 s") && strstr(text, "at 2 MB/s from /proc/self/exe ("));
    CHECK(strstr(text, "stood still for 96 % of their time: this storage is slow"));
    work.wait_s += 30, work.fill_s += 30, work.bytes += 1;
    CHECK(!judge(&w, 162, &work)); /* said already */
    work.wait_s += 30, work.fill_s += 30, work.still_s += 3, work.retries = 7, work.bytes += 29000000;
    CHECK(!judge(&w, 290, &work));
    work.wait_s += 39, work.fill_s += 200, work.still_s += 3, work.retries = 10;
    CHECK(judge(&w, 440, &work)); /* 39 of 150 s */
    CHECK(strstr(text, "26 % of the last 150 s") && strstr(text, ", 3 reads tried again from"));
    CHECK(strstr(text, "at work for 98 % of their time") && strstr(text, "data.threads=4"));
}

/* No more threads are named than data.threads takes. */
static void names_threads(void) {
    const struct {
        int threads;
        const char *hint;
    } plan[] = {{1, "data.threads=2 "}, {32, "data.threads=64 "}, {48, "data.threads=64 "}, {64, NULL}};
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        dpt_data_wait w;
        const dpt_loader_work work = {.wait_s = 20, .fill_s = 25};
        dpt_data_wait_start(&w, 0);
        CHECK(dpt_data_wait_judge(&w, 31, &work, plan[i].threads, "/proc/self/exe", text, sizeof text));
        CHECK(plan[i].hint ? strstr(text, plan[i].hint) != NULL : strstr(text, "data.threads") == NULL);
    }
}

static void not_for_little(void) {
    dpt_data_wait w;
    dpt_loader_work work = {.wait_s = 3.9, .fill_s = 25, .still_s = 24};
    dpt_data_wait_start(&w, 0);
    CHECK(!judge(&w, 40, &work)); /* just below a tenth */
    work.wait_s += 5;
    dpt_data_wait_skip(&w, 20); /* 40 s, of which 20 were evaluation's */
    CHECK(!judge(&w, 80, &work));
    CHECK(judge(&w, 91, &work)); /* 5 of 31 s */
}

/* Of the mounts above a file the nearest one. */
static void storage(void) {
    char got[900], type[64], source[256], at[512];
    dpt_data_wait_storage("/proc/self/exe", got, sizeof got);
    CHECK(sscanf(got, "%63[^,], %255s on %511s", type, source, at) == 3 && at[0] == '/');
    dpt_data_wait_storage("/proc/self/maps", got, sizeof got);
    CHECK(strncmp(got, "proc, ", 6) == 0 && strstr(got, " on /proc") != NULL);
    dpt_data_wait_storage("/no/such/file", got, sizeof got);
    CHECK_EQ_TEXT(got, "unknown file system");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "data_wait", {"says_when", says_when}, {"names_threads", names_threads},
                      {"not_for_little", not_for_little}, {"storage", storage});
}
