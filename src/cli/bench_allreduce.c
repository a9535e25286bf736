/* bench_allreduce.c: dptrain bench allreduce: a collective by itself, at sizes from min to max, each four times the one
 * before; a table on rank 0. Bandwidths are those of nccl-tests: "alg" is bytes over time, "bus" is that times what
 * each rank's link carries of a byte, 2(n-1)/n for all_reduce, (n-1)/n for reduce_scatter and all_gather, bytes being
 * the whole buffer's. Each size is checked once against sums that are known. model=NAME adds how much of a training
 * step's exchange hides behind its computation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/numbers.h"
#include "base/text.h"
#include "cli/bench_exchange.h"
#include "cli/bind.h"
#include "cli/fatal.h"

enum { GROWTH = 4, WARM_UP = 3, MIN_TIMES = 5, MAX_TIMES = 1000, DEVICE_BLOCK = 20 };

static const char usage[] =
    "usage: dptrain bench allreduce [min=BYTES] [max=BYTES] [op=all_reduce|reduce_scatter|all_gather] [dtype=f32|bf16] "
    "[scope=all|node|across] [comm=C] [emulate=F] [device=D] [seconds=S] [model=NAME] [batch=B] [precision=P]";

typedef struct bench {
    dpt_cli *cli;
    dpt_context *ctx;
    dpt_context_options options;
    size_t min_bytes, max_bytes;
    dpt_collective op;
    dpt_dtype dtype;
    dpt_comm_scope scope;
    double seconds;
    const char *model;
    int64_t batch;
    dpt_precision precision;
    /* the ranks that exchange */
    dpt_control group;
    dpt_comm own, *comm; /* own: of the group, where that is not all ranks */
    dpt_stream *stream;
    char *data, *host; /* host: what was put in, then what came out */
    double *times;
} bench;

/* ---- words ---- */

static dpt_status read_bytes(const char *word, size_t *bytes) {
    char *end;
    double number = strtod(strchr(word, '=') + 1, &end);
    static const char units[] = "KMG";
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (int i = 0; unit && i <= unit - units; i++) number *= 1024;
    bool valid = end > strchr(word, '=') + 1 && (*end == 0 || (unit && end[1] == 0)) && number >= 1 && number <= 1e12;
    DPT_CHECK(valid, DPT_ERR_CONFIG, "bench allreduce: \"%s\": bytes, as in 4096, 64K, 16M or 1G", word);
    *bytes = (size_t)number;
    return DPT_OK;
}

/* Number of the word's value among some, ended by NULL; -1: it is none. */
static int choice(const char *word, const char *key, const char *const *choices) {
    size_t n = strlen(key);
    if (strncmp(word, key, n) != 0 || word[n] != '=') return -1;
    for (int i = 0; choices[i]; i++)
        if (strcmp(word + n + 1, choices[i]) == 0) return i;
    return -1;
}

static dpt_status read_number(bench *b, const char *word) {
    const char *value = strchr(word, '=') + 1;
    char *end;
    double number = strtod(value, &end);
    bool numeric = end != value && *end == 0 && number > 0;
    if (strncmp(word, "seconds=", 8) == 0 && numeric)
        b->seconds = number;
    else if (strncmp(word, "batch=", 6) == 0 && numeric && number <= 1 << 24)
        b->batch = (int64_t)number;
    else
        return dpt_workload_precision(word, usage, &b->precision);
    return DPT_OK;
}

static dpt_status read_word(bench *b, const char *word) {
    static const char *const ops[] = {"all_reduce", "reduce_scatter", "all_gather", NULL};
    static const char *const scopes[] = {"all", "node", "across", NULL}, *const dtypes[] = {"f32", "bf16", NULL};
    DPT_CHECK(strchr(word, '='), DPT_ERR_CONFIG, "bench allreduce: \"%s\": %s", word, usage);
    if (dpt_workload_context_word(word, &b->options)) return DPT_OK;
    int op = choice(word, "op", ops), scope = choice(word, "scope", scopes), dtype = choice(word, "dtype", dtypes);
    if (strncmp(word, "min=", 4) == 0) return read_bytes(word, &b->min_bytes);
    if (strncmp(word, "max=", 4) == 0) return read_bytes(word, &b->max_bytes);
    if (strncmp(word, "model=", 6) == 0)
        b->model = word + 6;
    else if (op >= 0)
        b->op = (dpt_collective)op;
    else if (scope >= 0)
        b->scope = (dpt_comm_scope)scope;
    else if (dtype >= 0)
        b->dtype = dtype == 0 ? DPT_F32 : DPT_BF16;
    else
        return read_number(b, word);
    return DPT_OK;
}

static dpt_status read_words(bench *b) {
    for (int i = 1; i < b->cli->argc; i++) DPT_TRY(read_word(b, b->cli->argv[i]));
    DPT_CHECK(b->min_bytes <= b->max_bytes, DPT_ERR_CONFIG, "bench allreduce: min is %zu bytes, max %zu", b->min_bytes,
              b->max_bytes);
    const dpt_model *model;
    return b->model ? dpt_model_find(b->model, &model) : DPT_OK;
}

/* ---- who exchanges ---- */

static dpt_status open_group(bench *b) {
    const dpt_control *all = &b->ctx->control;
    MPI_Comm part = MPI_COMM_NULL;
    b->comm = &b->ctx->comm;
    if (b->scope == DPT_COMM_ALL) {
        b->group = *all;
        return DPT_OK;
    }
    if (b->scope == DPT_COMM_NODE)
        DPT_TRY(DPT_MPI(MPI_Comm_split_type(all->comm, MPI_COMM_TYPE_SHARED, all->rank, MPI_INFO_NULL, &part)));
    else
        DPT_TRY(DPT_MPI(MPI_Comm_split(all->comm, all->local_rank, all->rank, &part)));
    dpt_status status = dpt_control_open(&b->group, part);
    MPI_Comm_free(&part);
    DPT_TRY(status);
    dpt_comm_options o = {.thread = b->options.comm_thread,
                          .library = strcmp(b->options.comm, "nccl") == 0  ? DPT_COMM_NCCL
                                     : strcmp(b->options.comm, "mpi") == 0 ? DPT_COMM_MPI
                                                                           : DPT_COMM_AUTO,
                          .always = b->ctx->comm.exchanges,
                          .start_limit_s = b->options.comm_start_s,
                          .emulate = b->options.emulate};
    b->comm = &b->own;
    return dpt_comm_open(b->ctx->backend, &b->group, &b->ctx->device, &o, &b->own);
}

static dpt_status take_memory(bench *b) {
    dpt_device *d = &b->ctx->device;
    void *data = NULL, *host = NULL;
    DPT_TRY(d->ops->stream_create(d, 0, &b->stream));
    DPT_TRY(d->ops->alloc(d, b->max_bytes, DPT_FOR_COMM, &data));
    b->data = data;
    DPT_TRY(d->ops->alloc(d, b->max_bytes, DPT_FOR_STAGING, &host));
    b->host = host;
    b->times = dpt_alloc_zero(MAX_TIMES, sizeof *b->times);
    DPT_CHECK_ALLOC(b->times);
    return DPT_OK;
}

static void close_all(bench *b) {
    dpt_device *d = b->ctx ? &b->ctx->device : NULL;
    if (d && d->ops) {
        dpt_comm_close(&b->own);
        if (b->stream) d->ops->stream_destroy(d, b->stream);
        if (b->data) d->ops->release(d, b->data, b->max_bytes, DPT_FOR_COMM);
        if (b->host) d->ops->release(d, b->host, b->max_bytes, DPT_FOR_STAGING);
    }
    if (b->scope != DPT_COMM_ALL) dpt_control_close(&b->group);
    dpt_free(b->times);
    dpt_context_destroy(&b->ctx);
}

/* ---- known sums ---- */

/* Small multiples of 1/64, exact in both types; so are their sums in f32. */
enum { PERIOD = 61 };
static double value_at(int rank, size_t i) { return (double)((i * 7 + (size_t)rank * 13) % PERIOD) / 64; }

static void put(const bench *b, size_t i, double value) {
    if (b->dtype == DPT_F32)
        ((float *)(void *)b->host)[i] = (float)value;
    else
        ((uint16_t *)(void *)b->host)[i] = dpt_bf16_of_f32((float)value);
}

static double get(const bench *b, size_t i) {
    return b->dtype == DPT_F32 ? (double)((float *)(void *)b->host)[i]
                               : (double)dpt_f32_of_bf16(((uint16_t *)(void *)b->host)[i]);
}

/* Element i of the result of `all`, a slice of `count` for each rank; sum: of all ranks, by element. */
static double expected(const bench *b, size_t count, size_t i, const double sum[PERIOD]) {
    return b->op == DPT_ALL_GATHER ? value_at((int)(i / count), i) : sum[i % PERIOD];
}

/* Largest difference from what is known, over the largest value; NAN where nothing is summed. */
static dpt_status check_sums(bench *b, size_t count, size_t all, double *error) {
    dpt_device *d = &b->ctx->device;
    size_t bytes = all * dpt_dtype_size(b->dtype), begin = 0, end = all;
    double worst = 0, largest = 1e-30, sum[PERIOD] = {0};
    for (int r = 0; r < b->group.world; r++)
        for (size_t i = 0; i < PERIOD; i++) sum[i] += value_at(r, i);
    for (size_t i = 0; i < all; i++) put(b, i, value_at(b->group.rank, i));
    DPT_TRY(d->ops->copy_in(d, b->data, b->host, bytes, b->stream));
    DPT_TRY(dpt_comm_run(b->comm, b->op, b->data, count, b->dtype, b->stream));
    DPT_TRY(d->ops->copy_out(d, b->host, b->data, bytes, b->stream));
    DPT_TRY(d->ops->stream_sync(d, b->stream));
    if (b->op == DPT_REDUCE_SCATTER) {
        begin = (size_t)b->group.rank * count;
        end = begin + count;
    }
    for (size_t i = begin; i < end; i++) {
        double want = expected(b, count, i, sum), off = fabs(get(b, i) - want);
        if (off > worst || isnan(off)) worst = off;
        if (want > largest) largest = want;
    }
    *error = b->options.emulate ? NAN : worst / largest;
    return d->ops->zero(d, b->data, bytes, b->stream); /* zeros stay zeros, however often they are added */
}

/* ---- times ---- */

/* Runs `block` times in a row; the seconds of one. */
static dpt_status time_block(bench *b, size_t count, int block, double *seconds) {
    double begin_s = dpt_clock_s();
    for (int i = 0; i < block; i++) DPT_TRY(dpt_comm_run(b->comm, b->op, b->data, count, b->dtype, b->stream));
    DPT_TRY(b->ctx->device.ops->stream_sync(&b->ctx->device, b->stream));
    *seconds = (dpt_clock_s() - begin_s) / block;
    return DPT_OK;
}

typedef struct row {
    double median_s, spread, error; /* spread: from the tenth to the ninetieth percentile, over the median */
} row;

/* As often as fit into the time, the same number on all ranks. */
static dpt_status time_size(bench *b, size_t count, double seconds, row *r) {
    int block = b->ctx->device.host_memory ? 1 : DEVICE_BLOCK;
    double one_s = 0;
    for (int i = 0; i < WARM_UP; i++) DPT_TRY(time_block(b, count, block, &one_s));
    double fit = seconds / (one_s * block);
    int64_t times = fit < MIN_TIMES ? MIN_TIMES : fit > MAX_TIMES ? MAX_TIMES : (int64_t)fit;
    DPT_TRY(dpt_control_broadcast(&b->group, &times, sizeof times, 0));
    for (int64_t i = 0; i < times; i++) DPT_TRY(time_block(b, count, block, &b->times[i]));
    r->median_s = dpt_median(b->times, times);
    r->spread = (b->times[times * 9 / 10] - b->times[times / 10]) / r->median_s;
    return DPT_OK;
}

static double bus_factor(dpt_collective op, int ranks) {
    double share = (double)(ranks - 1) / ranks;
    return op == DPT_ALL_REDUCE ? 2 * share : share;
}

static void print_row(const bench *b, size_t bytes, const row *r) {
    double rate = (double)bytes / r->median_s / 1e9;
    printf("%12zu %12.2f %9.1f %10.3f %10.3f ", bytes, 1e6 * r->median_s, 100 * r->spread, rate,
           rate * bus_factor(b->op, b->group.world));
    if (isnan(r->error))
        printf("%10s\n", "-");
    else
        printf("%10.1e\n", r->error);
    fflush(stdout);
}

/* One rounding for each rank, of a type that has so many bits. */
static dpt_status judge(const bench *b, size_t bytes, double error) {
    double allowed = b->group.world * (b->dtype == DPT_F32 ? 0x1p-24 : 0x1p-8);
    DPT_CHECK(!(error > allowed) && !isinf(error), DPT_ERR_INTERNAL,
              "%s of %zu bytes by %s is wrong: relative error %.2g, rounding explains %.2g", dpt_collective_text(b->op),
              bytes, b->comm->name, error, allowed);
    return DPT_OK;
}

static dpt_status run_size(bench *b, size_t bytes, double seconds) {
    size_t slices = b->op == DPT_ALL_REDUCE ? 1 : (size_t)b->group.world;
    size_t count = bytes / dpt_dtype_size(b->dtype) / slices, all = count * slices;
    row r = {0};
    double empty = count == 0; /* for the largest group */
    DPT_TRY(dpt_control_max_f64(&b->cli->control, &empty, 1));
    if (empty > 0) return DPT_OK;
    dpt_status status = check_sums(b, count, all, &r.error);
    DPT_TRY(dpt_control_agree(&b->cli->control, status));
    DPT_TRY(dpt_control_agree(&b->cli->control, judge(b, all * dpt_dtype_size(b->dtype), r.error)));
    DPT_TRY(time_size(b, count, seconds, &r));
    if (b->cli->control.rank == 0) print_row(b, all * dpt_dtype_size(b->dtype), &r);
    return DPT_OK;
}

static dpt_status run_table(bench *b) {
    int sizes = 0;
    for (size_t bytes = b->min_bytes; bytes <= b->max_bytes; bytes *= GROWTH) sizes++;
    if (b->cli->control.rank == 0)
        printf("%s over %d rank%s by %s, %s\n%12s %12s %9s %10s %10s %10s\n", dpt_collective_text(b->op),
               b->group.world, b->group.world == 1 ? "" : "s", b->comm->name, dpt_dtype_text(b->dtype), "bytes",
               "time_us", "spread_%", "alg_GB/s", "bus_GB/s", "error");
    for (size_t bytes = b->min_bytes; bytes <= b->max_bytes; bytes *= GROWTH)
        DPT_TRY(run_size(b, bytes, b->seconds / sizes));
    return DPT_OK;
}

static dpt_status run(bench *b) {
    dpt_fatal_arm(b->cli, &b->options);
    DPT_TRY(dpt_context_create(b->cli->control.comm, &b->options, &b->ctx));
    DPT_TRY(dpt_bind_near_device(b->ctx));
    dpt_status status = open_group(b);
    if (status == DPT_OK) status = take_memory(b);
    DPT_TRY(dpt_control_agree(&b->cli->control, status));
    DPT_TRY(run_table(b));
    return b->model ? dpt_bench_exchange(b->cli, b->ctx, b->model, b->batch, b->precision, b->seconds) : DPT_OK;
}

dpt_status dpt_cli_bench_allreduce(dpt_cli *cli) {
    bench b = {.cli = cli, .group = {.comm = MPI_COMM_NULL}, .min_bytes = 1 << 10, .max_bytes = 64 << 20, .seconds = 3};
    dpt_context_options_init(&b.options);
    b.options.threads = cli->launch.threads;
    dpt_status status = dpt_control_agree(&cli->control, read_words(&b));
    if (status == DPT_OK) status = run(&b);
    close_all(&b);
    return status;
}
