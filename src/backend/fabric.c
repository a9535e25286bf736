/* fabric.c: see fabric.h.
 *
 * The named fabrics are nodes of 8 H100 with NVSwitch and 8 adapters of 400 Gbit/s, from NCCL's own figures:
 *
 * - 8xnvlink. Latency: 25 us, what NCCL's tuner takes for NVLS on Hopper. Bandwidth: 475 GB/s bus (measured 470 to 480
 *   with NVLS), and an all-reduce over p ranks moves 2(p-1)/p of its bytes over each rank's link: 475 * 8/14 =
 *   271 GB/s. Half of it is reached at 25 us * 271 GB/s = 6.8 MB; measured: about 7 MB.
 * - N-nodes. Latency: NVLS tree, 25 + 2 floor(log2 N) 20.9 us: 109 us at 4, 318 us at 128. Bandwidth: a node's adapters
 *   carry 8 * 50 = 400 GB/s, of which 88 % are reached: with that, half of the bandwidth at 128 nodes comes at the
 *   measured 56 MB. Between nodes, too, 2(N-1)/N of the bytes cross: 352 * N/(2(N-1)) = 235 GB/s at 4, 177 GB/s at 128;
 *   both are less than what a node does inside. */
#include "backend/fabric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const dpt_fabric named[] = {
    {25e-6, 271e9, "8xnvlink"}, {108.6e-6, 235e9, "4-nodes"}, {317.6e-6, 177e9, "128-nodes"}};
enum { N_NAMED = sizeof named / sizeof named[0] };

typedef struct unit {
    const char *text;
    double factor;
} unit;
static const unit times[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {NULL, 0}};
static const unit rates[] = {{"GB/s", 1e9}, {"MB/s", 1e6}, {NULL, 0}};

/* A number and one of the units, up to `end` of the text. */
static bool read_quantity(const char *text, size_t length, const unit *units, double *value) {
    char *rest, copy[32];
    if (length == 0 || length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = 0;
    *value = strtod(copy, &rest);
    if (rest == copy || !isfinite(*value)) return false;
    while (*rest == ' ') rest++;
    for (; units->text; units++)
        if (strcmp(rest, units->text) == 0) {
            *value *= units->factor;
            return true;
        }
    return false;
}

static dpt_status refuse_name(const char *text) {
    const char *names[N_NAMED];
    for (int i = 0; i < N_NAMED; i++) names[i] = named[i].name;
    const char *near = dpt_nearest(text, names, N_NAMED);
    return dpt_error(DPT_ERR_CONFIG,
                     "no fabric \"%s\"%s%s%s: there are 8xnvlink, 4-nodes, 128-nodes, or latency and bandwidth as "
                     "30us,45GB/s",
                     text, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

dpt_status dpt_fabric_parse(const char *text, dpt_fabric *fabric) {
    *fabric = (dpt_fabric){0};
    for (int i = 0; i < N_NAMED; i++)
        if (strcmp(text, named[i].name) == 0) {
            *fabric = named[i];
            return DPT_OK;
        }
    const char *comma = strchr(text, ',');
    if (comma == NULL) return refuse_name(text);
    const char *rate = comma + 1;
    while (*rate == ' ') rate++;
    DPT_CHECK(read_quantity(text, (size_t)(comma - text), times, &fabric->latency_s), DPT_ERR_CONFIG,
              "fabric \"%s\": \"%.*s\" is no latency: a number and us, ms or s, as in 30us,45GB/s", text,
              (int)(comma - text), text);
    DPT_CHECK(read_quantity(rate, strlen(rate), rates, &fabric->bandwidth), DPT_ERR_CONFIG,
              "fabric \"%s\": \"%s\" is no bandwidth: a number and GB/s or MB/s, as in 30us,45GB/s", text, rate);
    DPT_CHECK(fabric->latency_s >= 0 && fabric->latency_s <= 10, DPT_ERR_CONFIG,
              "fabric \"%s\": a latency of %g s: from 0 to 10 s", text, fabric->latency_s);
    DPT_CHECK(fabric->bandwidth >= 1e3 && fabric->bandwidth <= 1e15, DPT_ERR_CONFIG,
              "fabric \"%s\": a bandwidth of %g GB/s: from 1e-06 to 1e+06", text, fabric->bandwidth / 1e9);
    snprintf(fabric->name, sizeof fabric->name, "%.39s", text);
    return DPT_OK;
}

double dpt_fabric_seconds(const dpt_fabric *fabric, dpt_collective what, size_t bytes) {
    double all = fabric->latency_s + (double)bytes / fabric->bandwidth;
    return what == DPT_ALL_REDUCE ? all : all / 2;
}
