/* job.c: config to data, model and trainer. Whatever can fail on one rank alone is agreed on before the next collective
 * call. */
#include "cli/job.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/memory.h"
#include "cli/bind.h"
#include "cli/fatal.h"
#include "data/digits.h"
#include "data/import.h"
#include "data/sampler.h"

static dpt_status cache_folder(char *path, size_t bytes) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && cache[0] ? snprintf(path, bytes, "%s", cache)
                              : snprintf(path, bytes, "%s/.cache", home ? home : "/tmp");
    DPT_CHECK(n > 0 && (size_t)n + sizeof "/dptrain" < bytes, DPT_ERR_CONFIG, "the cache folder's name is too long");
    mkdir(path, 0777); /* a failure shows when the file is written */
    memcpy(path + n, "/dptrain", sizeof "/dptrain");
    mkdir(path, 0777);
    return DPT_OK;
}

/* The built-in job's data: Fashion-MNIST, imported at first use; generated digits where it is not installed. */
static dpt_status built_in_data(dpt_job *job, char *path, size_t bytes) {
    char folder[3800];
    DPT_TRY(cache_folder(folder, sizeof folder));
    if (dpt_import_fashion_mnist_available(NULL)) {
        snprintf(path, bytes, "%s/fashion-mnist.h5", folder);
        snprintf(job->data_name, sizeof job->data_name, "Fashion-MNIST");
        return dpt_import_fashion_mnist(NULL, path);
    }
    snprintf(path, bytes, "%s/digits.h5", folder);
    snprintf(job->data_name, sizeof job->data_name, "generated digits");
    dpt_log(DPT_LOG_WARNING, "Debian's dataset-fashion-mnist is not installed: training on generated digits instead");
    return dpt_digits_write(path);
}

/* Whatever is wrong with the files that a config names is bad data: none there, another shape, another type. */
static dpt_status as_data(dpt_status status) {
    bool other = status == DPT_ERR_CONFIG || status == DPT_ERR_SHAPE || status == DPT_ERR_UNSUPPORTED;
    return other ? DPT_ERR_DATA : status;
}

/* The files, known to rank 0 alone (the others take the index from it). */
static dpt_status find_files(dpt_job *job, dpt_config_texts *files, char *built_in, size_t bytes) {
    if (job->cli->control.rank != 0) return DPT_OK;
    if (job->config->data.files.count > 0) {
        DPT_TRY(as_data(dpt_config_files(job->config, files)));
        snprintf(job->data_name, sizeof job->data_name, "%s%s", files->item[0], files->count > 1 ? ", ..." : "");
        return DPT_OK;
    }
    return built_in_data(job, built_in, bytes);
}

static dpt_status open_part(dpt_job *job, char *const *files, int count, const char *x, const char *y, bool like_train,
                            dpt_dataset **part) {
    bool classes = job->config->loss == DPT_CONFIG_LOSS_CROSS_ENTROPY;
    dpt_field_spec fields[] = {
        {.name = "x", .path = x, .dtype = DPT_F32, .ndim = DPT_ANY_NDIM},
        {.name = "y", .path = y, .dtype = classes ? DPT_I64 : DPT_F32, .ndim = classes ? 0 : DPT_ANY_NDIM}};
    for (int i = 0; like_train && i < 2; i++) {
        const dpt_field *f = dpt_dataset_field(job->train, i);
        fields[i].ndim = f->ndim;
        memcpy(fields[i].dim, f->dim, sizeof f->dim);
    }
    return as_data(dpt_dataset_open(&job->cli->control, (const char *const *)files, count, fields, 2, part));
}

static dpt_status open_data(dpt_job *job) {
    const dpt_config *c = job->config;
    char built_in[4096] = "", *one = built_in;
    dpt_config_texts files = {0};
    dpt_status status = dpt_control_agree(&job->cli->control, find_files(job, &files, built_in, sizeof built_in));
    if (status != DPT_OK) return status;
    char *const *names = files.count ? files.item : &one;
    int count = files.count ? (int)files.count : 1;
    DPT_TRY_GOTO(open_part(job, names, count, c->data.train.x, c->data.train.y, false, &job->train), fail);
    DPT_TRY_GOTO(open_part(job, names, count, c->data.test.x, c->data.test.y, true, &job->test), fail);
    DPT_TRY_GOTO(dpt_control_same(&job->cli->control, "the dataset",
                                  dpt_dataset_digest(job->train) ^ (dpt_dataset_digest(job->test) << 1)),
                 fail);
fail:
    dpt_config_files_free(&files);
    return status;
}

static const dpt_activation activations[] = {DPT_ACT_RELU, DPT_ACT_GELU, DPT_ACT_TANH};
static const dpt_model_norm norms[] = {DPT_MODEL_NORM_NONE, DPT_MODEL_NORM_LOCAL, DPT_MODEL_NORM_SYNC};
static const dpt_model_stem stems[] = {DPT_MODEL_STEM_AUTO, DPT_MODEL_STEM_SMALL, DPT_MODEL_STEM_LARGE};

static dpt_status model_options(const dpt_job *job, dpt_model_options *o) {
    const dpt_config *c = job->config;
    const dpt_field *x = dpt_dataset_field(job->train, 0), *y = dpt_dataset_field(job->train, 1);
    bool classes = c->loss == DPT_CONFIG_LOSS_CROSS_ENTROPY;
    DPT_CHECK(x->ndim < DPT_MAX_NDIM, DPT_ERR_SHAPE, "%s: samples have %d dimensions, at most %d", x->path, x->ndim,
              DPT_MAX_NDIM - 1);
    *o = job->model->defaults;
    o->in_ndim = x->ndim;
    memcpy(o->in_dim, x->dim, (size_t)x->ndim * sizeof *x->dim);
    o->classes = classes ? c->data.classes : y->elements;
    o->target_dtype = y->dtype;
    o->loss = classes ? DPT_MODEL_CROSS_ENTROPY : DPT_MODEL_MSE;
    DPT_CHECK(c->model.hidden.count <= DPT_MODEL_MAX_HIDDEN, DPT_ERR_CONFIG, "model.hidden: %lld layers, at most %d",
              (long long)c->model.hidden.count, DPT_MODEL_MAX_HIDDEN);
    if (c->model.name == DPT_CONFIG_MODEL_MLP) {
        o->n_hidden = (int)c->model.hidden.count;
        for (int i = 0; i < o->n_hidden; i++) o->hidden[i] = c->model.hidden.item[i];
        o->activation = activations[c->model.activation];
    }
    o->dropout = c->model.dropout;
    if (c->model.batch_norm != DPT_CONFIG_BATCH_NORM_NONE) o->batch_norm = norms[c->model.batch_norm];
    o->stem = stems[c->model.stem];
    return DPT_OK;
}

static bool matches(const dpt_config_texts *patterns, const char *name) {
    for (int64_t i = 0; i < patterns->count; i++)
        if (fnmatch(patterns->item[i], name, 0) == 0) return true;
    return false;
}

static void make_groups(const dpt_job *job) {
    const dpt_config *c = job->config;
    for (int64_t i = 0; i < job->graph->n_param; i++) {
        const char *name = job->graph->param[i].name;
        dpt_group group = {.lr_factor = 1,
                           .no_decay = matches(&c->optimizer.no_decay, name),
                           .frozen = matches(&c->optimizer.frozen, name)};
        dpt_param_group(job->graph, name, group);
    }
}

static dpt_status build_model(dpt_job *job) {
    DPT_TRY(dpt_model_find(dpt_config_model_text(job->config->model.name), &job->model));
    dpt_model_options options;
    DPT_TRY(model_options(job, &options));
    job->graph = dpt_graph_create(job->ctx);
    DPT_TRY(job->model->build(job->graph, &options));
    make_groups(job);
    return dpt_graph_status(job->graph);
}

_Static_assert((int)DPT_CONFIG_PRECISION_TF32 == DPT_PRECISION_TF32 &&
                   (int)DPT_CONFIG_PRECISION_FP16 == DPT_PRECISION_FP16,
               "the words of the config stand in the order of dpt_precision");

_Static_assert((int)DPT_CONFIG_RECOMPUTE_NONE == DPT_RECOMPUTE_NONE &&
                   (int)DPT_CONFIG_RECOMPUTE_NORM == DPT_RECOMPUTE_NORM,
               "the words of the config stand in the order of dpt_recompute");

void dpt_job_trainer_options(const dpt_job *job, dpt_trainer_options *o) {
    const dpt_config *c = job->config;
    dpt_trainer_options_init(o);
    o->max_rows = job->share;
    o->optimizer = c->optimizer.name == DPT_CONFIG_OPTIMIZER_ADAMW ? DPT_ADAMW : DPT_SGD;
    o->lr = c->optimizer.lr;
    o->momentum = c->optimizer.momentum;
    o->beta1 = c->optimizer.beta1;
    o->beta2 = c->optimizer.beta2;
    o->eps = c->optimizer.eps;
    o->weight_decay = c->optimizer.weight_decay;
    o->clip_norm = c->optimizer.clip_norm;
    o->accumulate = (int)c->accumulate;
    o->seed = (uint64_t)c->seed;
    o->precision = (dpt_precision)c->precision;
    o->recompute = (dpt_recompute)c->recompute;
    o->zero = (int)c->optimizer.zero;
    o->update_by_bucket = c->optimizer.by_bucket;
    o->bucket_bytes = (int64_t)(c->comm.bucket_mb * 1048576);
}

static dpt_status open_context(dpt_job *job) {
    static const char *const devices[] = {"auto", "cpu", "cuda"};
    static const char *const libraries[] = {"auto", "nccl", "mpi"};
    static const int threads[] = {-1, 1, 0};
    const dpt_config *c = job->config;
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = devices[c->device];
    o.threads = c->threads ? (int)c->threads : job->cli->launch.threads;
    o.comm_thread = threads[c->comm.thread];
    o.graph = (int)c->cuda.graph;
    o.sync = c->cuda.sync == DPT_CONFIG_CUDA_SYNC_OP;
    o.memory = c->cuda.memory;
    o.deterministic = c->deterministic == DPT_CONFIG_SWITCH_ON;
    o.comm = libraries[c->comm.library];
    o.comm_bf16 = c->comm.dtype == DPT_CONFIG_COMM_DTYPE_BF16;
    o.comm_ctas = (int)c->comm.ctas;
    o.comm_check = c->comm.check;
    o.comm_start_s = c->comm.start_s;
    o.emulate = c->comm.emulate;
    o.interface_name = c->comm.interface;
    o.watchdog = c->watchdog.enabled;
    o.silence_s = c->watchdog.silence_s;
    o.stuck_s = c->watchdog.stuck_s;
    o.limit_s = c->watchdog.limit_s;
    dpt_fatal_arm(job->cli, &o);
    DPT_TRY(dpt_context_create(job->cli->control.comm, &o, &job->ctx));
    job->cli->control.position = job->ctx->position;
    dpt_position_phase(job->ctx->position, DPT_PHASE_START); /* until the command says otherwise */
    return c->bind == DPT_CONFIG_BIND_AUTO ? dpt_bind_near_device(job->ctx) : DPT_OK;
}

static dpt_status check_batch(dpt_job *job) {
    const dpt_config *c = job->config;
    int world = job->cli->control.world;
    DPT_CHECK(c->batch >= world, DPT_ERR_CONFIG,
              "%d ranks, but a global batch of %lld rows: give batch at least one row a rank, or start fewer ranks",
              world, (long long)c->batch);
    job->share = (c->batch + world - 1) / world;
    DPT_CHECK(c->accumulate <= job->share, DPT_ERR_CONFIG, "accumulate is %lld, but a rank has %lld rows of a batch",
              (long long)c->accumulate, (long long)job->share);
    return DPT_OK;
}

dpt_status dpt_job_open(dpt_cli *cli, const dpt_config *config, bool plan, dpt_job *job) {
    *job = (dpt_job){.cli = cli, .config = config};
    dpt_cli_log_level = config->log.level;
    dpt_digest digest = {0};
    DPT_TRY(dpt_control_agree(&cli->control, dpt_config_digest(config, &digest)));
    DPT_TRY(dpt_control_same(&cli->control, "the configuration", digest.value));
    DPT_TRY(check_batch(job));
    DPT_TRY(open_context(job));
    DPT_TRY(open_data(job));
    DPT_TRY(dpt_control_agree(&cli->control, build_model(job)));
    int64_t per_epoch = (int64_t)dpt_epoch_steps(dpt_dataset_rows(job->train), config->batch);
    job->steps = config->steps ? config->steps : config->epochs * per_epoch;
    if (plan) return DPT_OK;
    dpt_trainer_options o;
    dpt_job_trainer_options(job, &o);
    return dpt_trainer_create(job->graph, &o, &job->trainer);
}

void dpt_job_close(dpt_job *job) {
    dpt_trainer_destroy(&job->trainer);
    dpt_graph_destroy(&job->graph);
    dpt_dataset_close(&job->train);
    dpt_dataset_close(&job->test);
    if (job->ctx) dpt_position_phase(job->ctx->position, DPT_PHASE_END);
    if (job->cli) job->cli->control.position = NULL;
    dpt_context_destroy(&job->ctx);
}

dpt_status dpt_job_loader(const dpt_job *job, bool training, dpt_loader **loader) {
    const dpt_config *c = job->config;
    const dpt_dataset *part = training ? job->train : job->test;
    const dpt_field *x = dpt_dataset_field(part, 0);
    int64_t channels = c->data.mean.count > c->data.std.count ? c->data.mean.count : c->data.std.count;
    DPT_CHECK(c->data.mean.count == 0 || c->data.std.count == 0 || c->data.mean.count == c->data.std.count,
              DPT_ERR_CONFIG, "data.mean has %lld values, data.std has %lld", (long long)c->data.mean.count,
              (long long)c->data.std.count);
    dpt_normalise normalise[2] = {
        {.scale = c->data.scale, .channels = channels, .mean = c->data.mean.item, .std = c->data.std.item},
        {.classes = c->loss == DPT_CONFIG_LOSS_CROSS_ENTROPY ? c->data.classes : 0}};
    if (c->data.scale == 0) normalise[0].scale = x->stored == DPT_U8 ? 1.0 / 255 : 1;
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.seed = (uint64_t)c->seed;
    o.shuffle = training;
    o.global_batch = training || c->eval_batch == 0 ? c->batch : c->eval_batch;
    o.rank = job->cli->control.rank;
    o.world = job->cli->control.world;
    o.epochs = training ? 0 : 1;
    o.threads = (int)c->data.threads;
    o.normalise = normalise;
    return dpt_loader_create(part, &o, loader);
}

/* An evaluation batch may be larger than a training one: it goes in parts that fit, as many on every rank. */
static dpt_status evaluate_batch(dpt_job *job, const dpt_batch *batch, dpt_status mine, int64_t parts) {
    for (int64_t p = 0; p < parts; p++) {
        dpt_array in[2] = {{.name = "x", .dtype = DPT_F32}, {.name = "y", .dtype = DPT_I64}};
        for (int i = 0; batch && i < 2; i++) {
            int64_t first = batch->rows * p / parts, end = batch->rows * (p + 1) / parts;
            const dpt_field *f = dpt_dataset_field(job->test, i);
            in[i] = batch->array[i];
            in[i].data = (const char *)in[i].data + (size_t)(first * f->elements) * dpt_dtype_size(f->dtype);
            in[i].rows = end - first;
        }
        dpt_step_request r = {.mine = mine, .in = in, .n_in = 2};
        DPT_TRY(dpt_trainer_evaluate_request(job->trainer, &r));
    }
    return DPT_OK;
}

dpt_status dpt_job_evaluate(dpt_job *job, dpt_evaluation *result) {
    dpt_loader *loader = NULL;
    dpt_status status = dpt_control_agree(&job->cli->control, dpt_job_loader(job, false, &loader));
    if (status != DPT_OK) goto fail;
    int64_t global = job->config->eval_batch ? job->config->eval_batch : job->config->batch;
    int world = job->cli->control.world;
    int64_t parts = ((global + world - 1) / world + job->share - 1) / job->share;
    for (uint64_t step = 0; step < dpt_loader_steps(loader); step++) {
        const dpt_batch *batch = NULL;
        dpt_status mine = dpt_loader_next(loader, &batch);
        DPT_TRY_GOTO(evaluate_batch(job, batch, mine, parts), fail);
        dpt_loader_release(loader);
    }
    DPT_TRY_GOTO(dpt_trainer_evaluation(job->trainer, result), fail);
fail:
    dpt_loader_destroy(&loader);
    return status;
}
