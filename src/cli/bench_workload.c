/* bench_workload.c: see bench_workload.h. */
#include "cli/bench_workload.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"

enum { WARM_UP = 5, MIN_TIMES = 5, DEVICE_BLOCK = 20 };

bool dpt_workload_context_word(const char *word, dpt_context_options *options) {
    const char *value = strchr(word, '=') + 1;
    if (strncmp(word, "device=", 7) == 0)
        options->device = value;
    else if (strncmp(word, "comm=", 5) == 0)
        options->comm = value;
    else if (strncmp(word, "emulate=", 8) == 0)
        options->emulate = value;
    else
        return false;
    return true;
}

dpt_status dpt_workload_precision(const char *word, const char *usage, dpt_precision *precision) {
    const char *value = strchr(word, '=') + 1;
    for (int i = 0; i < DPT_PRECISION_COUNT; i++)
        if (strncmp(word, "precision=", 10) == 0 && strcmp(value, dpt_precision_text((dpt_precision)i)) == 0) {
            *precision = (dpt_precision)i;
            return DPT_OK;
        }
    return dpt_error(DPT_ERR_CONFIG, "bench: \"%s\": %s", word, usage);
}

/* Random rows for an input: normal floats, the model's classes, at most ten. */
static dpt_status fill(const dpt_tensor *t, int64_t rows, int64_t classes, dpt_array *a) {
    const uint32_t labels = classes < 10 ? (uint32_t)classes : 10;
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
            ((int64_t *)data)[i] = r.v[2] % labels;
        else if (t->dtype == DPT_U8)
            ((uint8_t *)data)[i] = (uint8_t)(r.v[2] % labels);
        else
            return dpt_error(DPT_ERR_UNSUPPORTED, "bench: input \"%s\" is %s", t->node->name, dpt_dtype_text(t->dtype));
    }
    return DPT_OK;
}

/* Moves an input's rows to the device. */
static dpt_status move_in(dpt_workload *w, int i) {
    dpt_device *d = &w->ctx->device;
    dpt_array *a = &w->in[i];
    void *memory;
    w->in_bytes[i] = (size_t)(a->rows * dpt_row_count(w->graph->input[i])) * dpt_dtype_size(a->dtype);
    DPT_TRY(d->ops->alloc(d, w->in_bytes[i], DPT_FOR_COMPUTE, &memory));
    dpt_status status = d->ops->copy_in(d, memory, a->data, w->in_bytes[i], NULL);
    dpt_free((void *)(uintptr_t)a->data);
    a->data = memory;
    a->place = DPT_DEVICE;
    return status;
}

static void drop_input(dpt_workload *w, int i) {
    dpt_device *d = &w->ctx->device;
    void *memory = (void *)(uintptr_t)w->in[i].data;
    if (w->in[i].place == DPT_DEVICE)
        d->ops->release(d, memory, w->in_bytes[i], DPT_FOR_COMPUTE);
    else
        dpt_free(memory);
    w->in[i] = (dpt_array){0};
}

static dpt_status prepare(dpt_workload *w, const char *name) {
    const dpt_model *model;
    DPT_TRY(dpt_model_find(name, &model));
    if (w->batch == 0) w->batch = model->batch;
    w->graph = dpt_graph_create(w->ctx);
    DPT_TRY(model->build(w->graph, &model->defaults));
    DPT_TRY(dpt_graph_status(w->graph));
    DPT_CHECK(w->graph->n_input == 2, DPT_ERR_INTERNAL, "model %s has %lld inputs", name, (long long)w->graph->n_input);
    for (int i = 0; i < 2; i++) {
        DPT_TRY(fill(w->graph->input[i], w->batch, model->defaults.classes, &w->in[i]));
        if (!w->ctx->device.host_memory) DPT_TRY(move_in(w, i));
    }
    return DPT_OK;
}

static dpt_status create_trainer(dpt_workload *w, const char *name, dpt_precision precision, int zero) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = w->batch;
    o.precision = precision;
    o.zero = zero;
    o.lr = 1e-3;
    o.no_evaluation = 1;
    if (strcmp(name, "surrogate") == 0) { /* as tests/peers/torch_ddp.py */
        o.optimizer = DPT_ADAMW;
        o.lr = 1e-4;
        o.weight_decay = 0.1;
    }
    return dpt_trainer_create(w->graph, &o, &w->trainer);
}

dpt_status dpt_workload_open(dpt_cli *cli, dpt_context *ctx, const char *name, int64_t batch, dpt_precision precision,
                             int zero, dpt_workload *w) {
    *w = (dpt_workload){.cli = cli, .ctx = ctx, .batch = batch, .block = ctx->device.host_memory ? 1 : DEVICE_BLOCK};
    DPT_TRY(dpt_control_agree(&cli->control, prepare(w, name)));
    return create_trainer(w, name, precision, zero);
}

void dpt_workload_close(dpt_workload *w) {
    dpt_trainer_destroy(&w->trainer);
    dpt_graph_destroy(&w->graph);
    for (int i = 0; i < 2 && w->ctx; i++) drop_input(w, i);
    dpt_free(w->times);
    *w = (dpt_workload){0};
}

dpt_status dpt_workload_warm_up(dpt_workload *w) {
    for (int i = 0; i < WARM_UP; i++) DPT_TRY(dpt_trainer_step(w->trainer, w->in, 2, NULL));
    return dpt_trainer_sync(w->trainer, NULL);
}

/* A step, or a block of queued ones; all ranks stop at the same. */
static dpt_status timed_step(dpt_workload *w, double end, bool *go) {
    double begin = dpt_clock_s();
    dpt_step_request r = {.in = w->in, .n_in = 2};
    r.stop = w->cli->control.rank == 0 && begin >= end && w->n_time + 1 >= MIN_TIMES;
    for (int i = 0; i < w->block; i++) DPT_TRY(dpt_trainer_step_request(w->trainer, &r, NULL));
    if (w->block > 1) DPT_TRY(dpt_trainer_sync(w->trainer, NULL));
    DPT_GROW(w->times, w->n_time, w->time_capacity);
    w->times[w->n_time++] = (dpt_clock_s() - begin) / w->block;
    *go = !r.stop;
    return DPT_OK;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double dpt_median(double *values, int64_t count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

dpt_status dpt_workload_time(dpt_workload *w, double seconds, double *median_s) {
    bool go = true;
    w->n_time = 0;
    for (double end = dpt_clock_s() + seconds; go;) DPT_TRY(timed_step(w, end, &go));
    *median_s = dpt_median(w->times, w->n_time);
    return dpt_control_broadcast(&w->cli->control, median_s, sizeof *median_s, 0);
}
