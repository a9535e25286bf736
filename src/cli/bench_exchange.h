/* bench_exchange.h: how much of a training step's exchange of gradients is hidden behind its computation. */
#ifndef DPT_CLI_BENCH_EXCHANGE_H
#define DPT_CLI_BENCH_EXCHANGE_H

#include "cli/bench_workload.h"

/* Seconds: medians of rank 0. */
typedef struct dpt_exchange_times {
    double exchange, last;                /* all buckets by themselves, one after another; the last one */
    double compute, step;                 /* a step without its exchange; a whole one */
    double kernels_alone, kernels_beside; /* in kernels, without and with the exchange under way */
} dpt_exchange_times;

/* Shares from 0 to 1. hidden: of the exchange; hideable: of the exchange but for the last bucket, for whose time no
 * computation is left. 1 where there is nothing to hide. Local. */
double dpt_exchange_hidden(const dpt_exchange_times *t);
double dpt_exchange_hideable_hidden(const dpt_exchange_times *t);

/* Times a model of the zoo and prints a line on rank 0. Collective. */
dpt_status dpt_bench_exchange(dpt_cli *cli, dpt_context *ctx, const char *name, int64_t batch, dpt_precision precision,
                              double seconds);

#endif
