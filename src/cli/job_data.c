/* job_data.c: the data of a job: finds the files, opens the training and the test part, says what is done to each field
 * and what samples come, and makes loaders over them. Rank 0 alone looks for files; what it finds wrong is agreed on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cli/job.h"
#include "data/digits.h"
#include "data/import.h"

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
    bool classes = job->config->loss.name == DPT_CONFIG_LOSS_CROSS_ENTROPY,
         of_input = job->target == DPT_MODEL_OF_INPUT;
    dpt_field_spec fields[] = {
        {.name = "x", .path = x, .dtype = DPT_F32, .ndim = DPT_ANY_NDIM},
        {.name = "y", .path = of_input ? x : y, .dtype = classes ? DPT_I64 : DPT_F32, .ndim = DPT_ANY_NDIM}};
    for (int i = 0; like_train && i < 2; i++) {
        const dpt_field *f = dpt_dataset_field(job->train, i);
        fields[i].ndim = f->ndim;
        memcpy(fields[i].dim, f->dim, sizeof f->dim);
    }
    return as_data(dpt_dataset_open(&job->cli->control, (const char *const *)files, count, fields, 2, part));
}

/* What is done to the inputs and targets of a part. */
static void choose_normalise(const dpt_job *job, const dpt_dataset *part, dpt_normalise normalise[2]) {
    const dpt_config *c = job->config;
    int64_t channels = c->data.mean.count > c->data.std.count ? c->data.mean.count : c->data.std.count;
    normalise[0] = (dpt_normalise){
        .scale = c->data.scale, .channels = channels, .mean = c->data.mean.item, .std = c->data.std.item};
    bool bytes = dpt_stored_is(dpt_dataset_field(part, 0)->stored, DPT_U8);
    if (c->data.scale == 0) normalise[0].scale = bytes && c->data.one_hot == 0 ? 1.0 / 255 : 1;
    normalise[0].clips = c->data.clip.count > 0;
    if (normalise[0].clips) normalise[0].low = c->data.clip.item[0], normalise[0].high = c->data.clip.item[1];
    normalise[0].logs = c->data.log.count > 0;
    if (normalise[0].logs) normalise[0].offset = c->data.log.item[0];
    normalise[0].one_hot = c->data.one_hot;
    normalise[1] = (dpt_normalise){.classes = c->loss.name == DPT_CONFIG_LOSS_CROSS_ENTROPY ? c->data.classes : 0,
                                   .ignores = c->loss.ignore.count > 0,
                                   .ignore = c->loss.ignore.count > 0 ? c->loss.ignore.item[0] : 0};
    if (job->target == DPT_MODEL_OF_INPUT) normalise[1] = normalise[0];
}

dpt_status dpt_job_data_open(dpt_job *job) {
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
    dpt_normalise normalise[2];
    job->inputs = 1;
    job->fields = 2;
    choose_normalise(job, job->train, normalise);
    DPT_TRY_GOTO(dpt_field_delivered(dpt_dataset_field(job->train, 0), &normalise[0], &job->field[0]), fail);
    DPT_TRY_GOTO(dpt_field_delivered(dpt_dataset_field(job->train, 1), &normalise[1], &job->field[1]), fail);
fail:
    dpt_config_files_free(&files);
    return status;
}

uint64_t dpt_job_rows(const dpt_job *job, bool training) { return dpt_dataset_rows(training ? job->train : job->test); }

void dpt_job_data_close(dpt_job *job) {
    dpt_dataset_close(&job->train);
    dpt_dataset_close(&job->test);
}

static dpt_augment_options augment_options(const dpt_config *c) {
    int flip = c->augment.flip;
    return (dpt_augment_options){.field = 0,
                                 .flip_horizontal = flip == DPT_CONFIG_FLIP_HORIZONTAL || flip == DPT_CONFIG_FLIP_BOTH,
                                 .flip_vertical = flip == DPT_CONFIG_FLIP_VERTICAL || flip == DPT_CONFIG_FLIP_BOTH,
                                 .crop = c->augment.crop,
                                 .reflect = c->augment.padding == DPT_CONFIG_PADDING_REFLECT,
                                 .cutout = c->augment.cutout,
                                 .brightness = c->augment.brightness,
                                 .contrast = c->augment.contrast,
                                 .saturation = c->augment.saturation};
}

/* Crop and flips move pixels, and with them what a target says of places. */
static dpt_status check_augment(const dpt_job *job, const dpt_augment_options *augment) {
    const dpt_field *y = dpt_dataset_field(job->train, 1);
    const char *what = augment->crop > 0 ? "crop" : "flip";
    bool moves = augment->flip_horizontal || augment->flip_vertical || augment->crop > 0, places = y->ndim >= 2;
    DPT_CHECK(!moves || !places, DPT_ERR_CONFIG,
              "augment.%s moves the pixels of %s, but not those of its targets %s, which have %d dimensions", what,
              dpt_dataset_field(job->train, 0)->path, y->path, y->ndim);
    return DPT_OK;
}

/* A loader's options, and what they point to. */
typedef struct loader_setup {
    const dpt_dataset *part;
    dpt_loader_options options;
    dpt_normalise normalise[2];
    dpt_augment_options augment;
} loader_setup;

static dpt_status set_up(const dpt_job *job, bool training, loader_setup *s) {
    const dpt_config *c = job->config;
    dpt_loader_options *o = &s->options;
    s->part = training ? job->train : job->test;
    choose_normalise(job, s->part, s->normalise);
    dpt_loader_options_init(o);
    dpt_job_order_options(job, training, o);
    o->epochs = training ? 0 : 1;
    o->threads = (int)c->data.threads;
    o->normalise = s->normalise;
    s->augment = augment_options(c);
    o->augment = training ? &s->augment : NULL;
    o->mixup = training ? c->mixup.alpha : 0;
    o->kept = job->memory.kept[training];
    if (job->memory.slots[training] > 0) {
        o->slots = job->memory.slots[training];
        o->cache_bytes = job->memory.cache_bytes[training];
    }
    return check_augment(job, &s->augment);
}

dpt_status dpt_job_loader(const dpt_job *job, bool training, dpt_loader **loader) {
    loader_setup s;
    DPT_TRY(set_up(job, training, &s));
    return dpt_loader_create(s.part, &s.options, loader);
}

dpt_status dpt_job_loader_need(const dpt_job *job, bool training, dpt_loader_need *need) {
    loader_setup s;
    DPT_TRY(set_up(job, training, &s));
    return dpt_loader_measure(s.part, &s.options, need);
}
