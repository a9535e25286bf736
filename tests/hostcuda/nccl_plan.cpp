/* nccl_plan.cpp: see nccl_plan.h. */
#include "nccl_plan.h"

#include <nccl.h>
#include <stdlib.h>
#include <string.h>

#include "nccl_wire.h"

namespace hostnccl {

namespace {

/* One entry of a list: numbers between colons, "*" as -1; at most `most`. Returns how many; *at goes to the next. */
int read_entry(const char **at, long long *numbers, int most) {
    int n = 0;
    while (**at != '\0' && **at != ',') {
        char *end = const_cast<char *>(*at);
        long long value = **at == '*' ? -1 : strtoll(*at, &end, 10);
        if (n < most) numbers[n++] = value;
        *at = **at == '*' || end == *at ? *at + 1 : end;
        if (**at == ':') ++*at;
    }
    if (**at == ',') ++*at;
    return n;
}

bool is_here(long long rank) { return rank == -1 || rank == wire_rank(); }

}  // namespace

bool planned(const char *variable, long long number, int *third) {
    const char *at = getenv(variable);
    long long v[3];
    while (at != NULL && *at != '\0') {
        int n = read_entry(&at, v, 3);
        if (n < 2 || !is_here(v[0]) || v[1] != number) continue;
        if (n > 2 && third != NULL) *third = (int)v[2];
        return true;
    }
    return false;
}

bool planned_rank(const char *variable) {
    const char *at = getenv(variable);
    long long v[1];
    while (at != NULL && *at != '\0')
        if (read_entry(&at, v, 1) == 1 && is_here(v[0])) return true;
    return false;
}

int version() {
    const char *at = getenv("HOSTNCCL_VERSION");
    long long v[2];
    while (at != NULL && *at != '\0') {
        int n = read_entry(&at, v, 2);
        if (n == 1) return (int)v[0];
        if (n == 2 && is_here(v[0])) return (int)v[1];
    }
    return NCCL_VERSION_CODE;
}

bool has_function(const char *name, int since) {
    const char *list = getenv("HOSTNCCL_WITHOUT");
    size_t length = strlen(name);
    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ",");
        if (n == length && strncmp(at, name, n) == 0) return false;
        at += n + (at[n] == ',');
    }
    return version() >= since;
}

}  // namespace hostnccl
