/* bench_exchange.c: see bench_exchange.h. A step that hid nothing would take as long as its computation and its
 * exchange together; what it takes less was hidden. */
#include "cli/bench_exchange.h"

#include <stdio.h>

#include "base/clock.h"

enum { EXCHANGES = 5, ROUNDS = 5 }; /* EXCHANGES: timed of each kind in a round */

static double share(double part, double of) {
    double x = of > 0 ? part / of : 1;
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

double dpt_exchange_hidden(const dpt_exchange_times *t) {
    return share(t->exchange + t->compute - t->step, t->exchange);
}

double dpt_exchange_hideable_hidden(const dpt_exchange_times *t) {
    return share(t->exchange + t->compute - t->step, t->exchange - t->last);
}

/* Buckets [first, n_bucket), as a step starts them, with nothing beside. */
static dpt_status exchange_once(dpt_workload *w, int64_t first) {
    const dpt_arena_plan *plan = &w->trainer->plan;
    dpt_comm *comm = &w->ctx->comm;
    dpt_device *device = &w->ctx->device;
    uint64_t ticket = 0;
    for (int64_t k = first; k < plan->n_bucket; k++) {
        const dpt_bucket *b = &plan->bucket[k];
        DPT_TRY(dpt_comm_start(comm, DPT_ALL_REDUCE, w->trainer->arenas.grad + b->offset,
                               (size_t)b->bytes / dpt_dtype_size(b->dtype), b->dtype, w->trainer->stream, &ticket));
    }
    DPT_TRY(comm->ops->wait(comm, ticket, w->trainer->stream)); /* one queue: all before it are done */
    return device->ops->stream_sync(device, w->trainer->stream);
}

static dpt_status time_exchange(dpt_workload *w, int64_t first, double *seconds) {
    double times[EXCHANGES];
    DPT_TRY(exchange_once(w, first));
    for (int i = 0; i < EXCHANGES; i++) {
        double begin_s = dpt_clock_s();
        DPT_TRY(exchange_once(w, first));
        times[i] = dpt_clock_s() - begin_s;
    }
    *seconds = dpt_median(times, EXCHANGES);
    return DPT_OK;
}

/* A step's time inside kernels: call by call, so without recordings. */
static dpt_status time_kernels(dpt_workload *w, double seconds, double *kernels_s) {
    double unused;
    int block = w->block;
    w->block = 1;
    DPT_TRY(dpt_session_profile(w->trainer->train.session, true, NULL));
    DPT_TRY(dpt_workload_time(w, seconds, &unused));
    dpt_profile p = dpt_session_profile_read(w->trainer->train.session);
    *kernels_s = p.kernels_s / (double)p.runs;
    w->block = block;
    return dpt_session_profile(w->trainer->train.session, false, NULL);
}

/* with: exchanges; without: the same model, each rank training alone. */
static dpt_status time_round(dpt_workload *with, dpt_workload *without, double seconds, dpt_exchange_times *t) {
    DPT_TRY(dpt_workload_time(without, seconds / 6, &t->compute));
    DPT_TRY(dpt_workload_time(with, seconds / 6, &t->step));
    DPT_TRY(time_exchange(with, 0, &t->exchange));
    DPT_TRY(time_exchange(with, with->trainer->plan.n_bucket - 1, &t->last));
    DPT_TRY(time_kernels(without, seconds / 12, &t->kernels_alone));
    return time_kernels(with, seconds / 12, &t->kernels_beside);
}

/* In turn, so that a change of the machine's speed meets all: of each the median of the rounds. */
static dpt_status time_rounds(dpt_workload *with, dpt_workload *without, double seconds, dpt_exchange_times *t) {
    enum { MEMBERS = sizeof *t / sizeof(double) };
    dpt_exchange_times rounds[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) DPT_TRY(time_round(with, without, seconds / ROUNDS, &rounds[i]));
    for (int m = 0; m < MEMBERS; m++) {
        double values[ROUNDS];
        for (int i = 0; i < ROUNDS; i++) values[i] = ((const double *)&rounds[i])[m];
        ((double *)t)[m] = dpt_median(values, ROUNDS);
    }
    return DPT_OK;
}

static void print_line(const char *name, const dpt_workload *w, const dpt_exchange_times *t) {
    printf(
        "%-10s ranks %d batch %lld buckets %lld gradient_bytes %lld exchange_ms %.3f last_ms %.3f compute_ms %.3f "
        "step_ms %.3f "
        "hidden_%% %.1f hideable_hidden_%% %.1f compute_slowdown_%% %.1f\n",
        name, w->ctx->control.world, (long long)w->batch, (long long)w->trainer->plan.n_bucket,
        (long long)w->trainer->plan.grad_bytes, 1e3 * t->exchange, 1e3 * t->last, 1e3 * t->compute, 1e3 * t->step,
        100 * dpt_exchange_hidden(t), 100 * dpt_exchange_hideable_hidden(t),
        100 * (t->kernels_beside / t->kernels_alone - 1));
    fflush(stdout);
}

dpt_status dpt_bench_exchange(dpt_cli *cli, dpt_context *ctx, const char *name, int64_t batch, dpt_precision precision,
                              double seconds) {
    dpt_exchange_times t = {0};
    DPT_CHECK(
        ctx->comm.exchanges, DPT_ERR_CONFIG,
        "bench allreduce model=%s: one rank alone exchanges nothing: start several, or give emulate=F or comm=nccl",
        name);
    dpt_workload with = {0}, without = {0};
    dpt_status status = dpt_workload_open(cli, ctx, name, batch, precision, 0, &with);
    ctx->comm.exchanges = false; /* what is made now trains alone */
    if (status == DPT_OK) status = dpt_workload_open(cli, ctx, name, batch, precision, 0, &without);
    ctx->comm.exchanges = true;
    if (status == DPT_OK) status = dpt_workload_warm_up(&with);
    if (status == DPT_OK) status = dpt_workload_warm_up(&without);
    if (status == DPT_OK) status = time_rounds(&with, &without, seconds, &t);
    if (status == DPT_OK && cli->control.rank == 0) print_line(name, &with, &t);
    dpt_workload_close(&without);
    dpt_workload_close(&with);
    return status;
}
