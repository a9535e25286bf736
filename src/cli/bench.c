/* bench.c: dptrain bench NAME... [seconds=S] [batch=B] [precision=P] [device=D] [profile=true]: steps a second of
 * the zoo's models on random data in memory: forward, backward, exchange and update, a line a workload in the format of
 * tests/peers/torch_ddp.py. batch is per rank. samples/s is the sum over ranks, from the median step of rank 0. On a
 * device the data lie there, as the peer's do, and steps are queued in blocks, each timed as a whole. profile adds
 * where the time went. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "cli/bind.h"
#include "cli/job.h"

enum { WARM_UP = 5, MIN_TIMES = 5, DEVICE_BLOCK = 20 };

typedef struct bench {
    dpt_cli *cli;
    dpt_context *ctx;
    double seconds;
    int64_t batch; /* 0: the model's own */
    dpt_precision precision;
    bool profile;
    const char *device; /* NULL: auto */
    int block;          /* steps timed together */
    dpt_graph *graph;
    dpt_trainer *trainer;
    dpt_array in[2];
    size_t in_bytes[2];
    double *times;
    int64_t n_time, time_capacity;
} bench;

static dpt_status read_precision(bench *b, const char *word) {
    const char *value = strchr(word, '=') + 1;
    for (int i = 0; i < DPT_PRECISION_COUNT; i++)
        if (strncmp(word, "precision=", 10) == 0 && strcmp(value, dpt_precision_text((dpt_precision)i)) == 0) {
            b->precision = (dpt_precision)i;
            return DPT_OK;
        }
    return dpt_error(DPT_ERR_CONFIG, "bench: \"%s\": seconds=S, batch=B, precision=fp32|tf32|bf16|fp16 or profile=true",
                     word);
}

static dpt_status read_option(bench *b, const char *word) {
    const char *value = strchr(word, '=') + 1;
    char *end;
    double number = strtod(value, &end);
    bool numeric = end != value && *end == 0 && number > 0;
    if (strncmp(word, "seconds=", 8) == 0 && numeric)
        b->seconds = number;
    else if (strncmp(word, "batch=", 6) == 0 && numeric && number <= 1 << 24)
        b->batch = (int64_t)number;
    else if (strncmp(word, "device=", 7) == 0)
        b->device = value;
    else if (strcmp(word, "profile=true") == 0)
        b->profile = true;
    else
        return read_precision(b, word);
    return DPT_OK;
}

static bool on_device(const bench *b) { return !b->ctx->device.host_memory; }

/* Random rows for an input: normal floats, classes 0 to 9. */
static dpt_status fill(const dpt_tensor *t, int64_t rows, dpt_array *a) {
    int64_t n = rows * dpt_row_count(t);
    void *data = dpt_alloc((size_t)n * dpt_dtype_size(t->dtype));
    DPT_CHECK_ALLOC(data);
    *a = (dpt_array){t->node->name, data, t->dtype, DPT_HOST, rows, NULL};
    uint64_t key = dpt_random_key(t->node->name, 0);
    for (int64_t i = 0; i < n; i++) {
        dpt_random4 r = dpt_random_quad(key, 0, (uint64_t)i, 0);
        double x, y;
        dpt_normal_pair(r.v[0], r.v[1], &x, &y);
        if (t->dtype == DPT_F32)
            ((float *)data)[i] = (float)x;
        else if (t->dtype == DPT_I64)
            ((int64_t *)data)[i] = r.v[2] % 10;
        else if (t->dtype == DPT_U8)
            ((uint8_t *)data)[i] = (uint8_t)(r.v[2] % 10);
        else
            return dpt_error(DPT_ERR_UNSUPPORTED, "bench: input \"%s\" is %s", t->node->name, dpt_dtype_text(t->dtype));
    }
    return DPT_OK;
}

/* Moves an input's rows to the device. */
static dpt_status move_in(bench *b, int i) {
    dpt_device *d = &b->ctx->device;
    dpt_array *a = &b->in[i];
    void *memory;
    b->in_bytes[i] = (size_t)(a->rows * dpt_row_count(b->graph->input[i])) * dpt_dtype_size(a->dtype);
    DPT_TRY(d->ops->alloc(d, b->in_bytes[i], DPT_FOR_COMPUTE, &memory));
    dpt_status status = d->ops->copy_in(d, memory, a->data, b->in_bytes[i], NULL);
    dpt_free((void *)(uintptr_t)a->data);
    a->data = memory;
    a->place = DPT_DEVICE;
    return status;
}

static void drop_input(bench *b, int i) {
    dpt_device *d = &b->ctx->device;
    void *memory = (void *)(uintptr_t)b->in[i].data;
    if (b->in[i].place == DPT_DEVICE)
        d->ops->release(d, memory, b->in_bytes[i], DPT_FOR_COMPUTE);
    else
        dpt_free(memory);
    b->in[i] = (dpt_array){0};
}

static dpt_status prepare(bench *b, const char *name, int64_t *batch) {
    const dpt_model *model;
    DPT_TRY(dpt_model_find(name, &model));
    *batch = b->batch ? b->batch : model->batch;
    b->graph = dpt_graph_create(b->ctx);
    DPT_TRY(model->build(b->graph, &model->defaults));
    DPT_TRY(dpt_graph_status(b->graph));
    DPT_CHECK(b->graph->n_input == 2, DPT_ERR_INTERNAL, "model %s has %lld inputs", name, (long long)b->graph->n_input);
    for (int i = 0; i < 2; i++) {
        DPT_TRY(fill(b->graph->input[i], *batch, &b->in[i]));
        if (on_device(b)) DPT_TRY(move_in(b, i));
    }
    return DPT_OK;
}

static dpt_status create_trainer(bench *b, const char *name, int64_t batch) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = batch;
    o.precision = b->precision;
    o.lr = 1e-3;
    o.no_evaluation = 1;
    if (strcmp(name, "surrogate") == 0) { /* as tests/peers/torch_ddp.py */
        o.optimizer = DPT_ADAMW;
        o.lr = 1e-4;
        o.weight_decay = 0.1;
    }
    return dpt_trainer_create(b->graph, &o, &b->trainer);
}

/* A step, or a block of queued ones; all ranks stop at the same. */
static dpt_status timed_step(bench *b, double end, bool *go) {
    double begin = dpt_clock_s();
    dpt_step_request r = {.in = b->in, .n_in = 2};
    r.stop = b->cli->control.rank == 0 && begin >= end && b->n_time + 1 >= MIN_TIMES;
    for (int i = 0; i < b->block; i++) DPT_TRY(dpt_trainer_step_request(b->trainer, &r, NULL));
    if (b->block > 1) DPT_TRY(dpt_trainer_sync(b->trainer, NULL));
    DPT_GROW(b->times, b->n_time, b->time_capacity);
    b->times[b->n_time++] = (dpt_clock_s() - begin) / b->block;
    *go = !r.stop;
    return DPT_OK;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void show_call(void *user, const dpt_node *node, const dpt_call *call, double seconds) {
    const double *runs = user;
    (void)call;
    printf("  %-24s %-20s %10.2f us\n", node->name, dpt_op_of(node)->name, 1e6 * seconds / *runs);
}

static void show_profile(const bench *b) {
    dpt_profile p = dpt_session_profile_read(b->trainer->train.session);
    double runs = (double)p.runs, whole = 0;
    dpt_session_profile_each(b->trainer->train.session, show_call, &runs);
    for (int64_t i = 0; i < b->n_time; i++) whole += b->times[i] * b->block;
    printf("  kernels %.2f us, collectives %.2f us, step %.2f us, outside both %.2f %%\n", 1e6 * p.kernels_s / runs,
           1e6 * p.collectives_s / runs, 1e6 * whole / runs, 100 * (whole - p.kernels_s - p.collectives_s) / whole);
}

static dpt_status run(bench *b, const char *name, int64_t batch) {
    bool go = true;
    b->n_time = 0;
    b->block = on_device(b) && !b->profile ? DEVICE_BLOCK : 1;
    for (int i = 0; i < WARM_UP; i++) DPT_TRY(dpt_trainer_step(b->trainer, b->in, 2, NULL));
    DPT_TRY(dpt_session_profile(b->trainer->train.session, b->profile, NULL));
    for (double end = dpt_clock_s() + b->seconds; go;) DPT_TRY(timed_step(b, end, &go));
    if (b->cli->control.rank != 0) return DPT_OK;
    if (b->profile) show_profile(b);
    qsort(b->times, (size_t)b->n_time, sizeof *b->times, ascending);
    double median = b->times[b->n_time / 2];
    int world = b->cli->control.world;
    printf("%-10s ranks %d batch %lld steps %6lld samples/s %12.1f step_ms %9.3f\n", name, world, (long long)batch,
           (long long)b->n_time * b->block, (double)(world * batch) / median, 1e3 * median);
    fflush(stdout);
    return DPT_OK;
}

static void clear(bench *b) {
    dpt_trainer_destroy(&b->trainer);
    dpt_graph_destroy(&b->graph);
    for (int i = 0; i < 2 && b->ctx; i++) drop_input(b, i);
}

static dpt_status run_one(bench *b, const char *name) {
    int64_t batch = 0;
    DPT_TRY(dpt_control_agree(&b->cli->control, prepare(b, name, &batch)));
    DPT_TRY(create_trainer(b, name, batch));
    return run(b, name, batch);
}

dpt_status dpt_cli_bench(dpt_cli *cli) {
    bench b = {.cli = cli, .seconds = 5};
    dpt_status status = DPT_OK;
    int names = 0;
    for (int i = 0; i < cli->argc && status == DPT_OK; i++) {
        if (strchr(cli->argv[i], '='))
            status = read_option(&b, cli->argv[i]);
        else
            names++;
    }
    if (status == DPT_OK && names == 0)
        status =
            dpt_error(DPT_ERR_CONFIG,
                      "usage: dptrain bench NAME... [seconds=S] [batch=B] [precision=P] [device=D] [profile=true]");
    if (status != DPT_OK) return dpt_control_agree(&cli->control, status);
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.threads = cli->launch.threads;
    if (b.device) o.device = b.device;
    status = dpt_context_create(cli->control.comm, &o, &b.ctx);
    if (status == DPT_OK) status = dpt_bind_near_device(b.ctx);
    for (int i = 0; i < cli->argc && status == DPT_OK; i++) {
        if (strchr(cli->argv[i], '=')) continue;
        status = run_one(&b, cli->argv[i]);
        clear(&b);
    }
    clear(&b);
    dpt_free(b.times);
    dpt_context_destroy(&b.ctx);
    return status;
}
