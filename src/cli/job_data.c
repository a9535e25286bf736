/* job_data.c: the data of a job: finds the files, opens the training and the test part, says what is done to each field
 * and what samples come, and makes loaders over them. Rank 0 alone looks for files; what it finds wrong is agreed on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/memory.h"
#include "cli/job.h"
#include "data/digits.h"
#include "data/import.h"
#include "data/moments.h"

enum { MOST_FOUND = 4096 }; /* channels whose mean and std are found: the run keeps them in its config */

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

/* Where rank 0 keeps indices. "": nowhere. */
static dpt_status index_folder(const dpt_job *job, char *path, size_t bytes) {
    const char *where = job->config->data.index;
    path[0] = 0;
    if (job->cli->control.rank != 0 || strcmp(where, "none") == 0) return DPT_OK;
    if (strcmp(where, "auto") == 0) return cache_folder(path, bytes);
    DPT_CHECK((size_t)snprintf(path, bytes, "%s", where) < bytes, DPT_ERR_CONFIG, "data.index: the name is too long");
    return DPT_OK;
}

/* Whatever is wrong with the files that a config names is bad data: none there, another shape, another type. */
static dpt_status as_data(dpt_status status) {
    bool other = status == DPT_ERR_CONFIG || status == DPT_ERR_SHAPE || status == DPT_ERR_UNSUPPORTED;
    return other ? DPT_ERR_DATA : status;
}

/* The files, known to rank 0 alone (the others take the index from it); test: those of data.test.files. */
static dpt_status find_files(dpt_job *job, dpt_config_texts *files, dpt_config_texts *test, char *built_in,
                             size_t bytes) {
    if (job->cli->control.rank != 0) return DPT_OK;
    if (job->config->data.files.count > 0) {
        DPT_TRY(as_data(dpt_config_files(job->config, files)));
        DPT_TRY(as_data(dpt_config_test_files(job->config, test)));
        DPT_TRY(dpt_job_split_files(job, files, test));
        snprintf(job->data_name, sizeof job->data_name, "%s%s", files->item[0], files->count > 1 ? ", ..." : "");
        return DPT_OK;
    }
    return built_in_data(job, built_in, bytes);
}

/* Targets that are the model's input follow it in all. */
static bool is_copy(const dpt_job *job, int i) { return job->target == DPT_MODEL_OF_INPUT && i >= job->inputs; }

static dpt_status open_part(dpt_job *job, char *const *files, int count, bool training, dpt_dataset **part) {
    dpt_field_spec spec[DPT_CONFIG_MOST_FIELDS];
    for (int i = 0; i < job->fields; i++) {
        const dpt_config_field *path = &job->about.item[is_copy(job, i) ? 0 : i];
        spec[i] = (dpt_field_spec){.name = job->about.item[i].name,
                                   .path = training ? path->train : path->test,
                                   .dtype = job->about.item[i].dtype,
                                   .ndim = DPT_ANY_NDIM,
                                   .offsets = training ? path->train_offsets : path->test_offsets,
                                   .length = path->length,
                                   .cuts = path->cut,
                                   .pad = path->pad};
        if (path->lengths) spec[i].path = NULL;
        if (training) continue;
        const dpt_field *like = dpt_dataset_field(job->train, i);
        spec[i].ndim = like->ndim;
        memcpy(spec[i].dim, like->dim, sizeof like->dim);
    }
    char folder[4096] = "";
    DPT_TRY(dpt_control_agree(&job->cli->control, index_folder(job, folder, sizeof folder)));
    return as_data(dpt_dataset_open_indexed(&job->cli->control, (const char *const *)files, count, spec, job->fields,
                                            folder, part));
}

/* What is done to the fields of a part; what is to be found still is not done. */
static void choose_normalise(const dpt_job *job, const dpt_dataset *part, dpt_normalise *normalise) {
    const dpt_config_ints *ignore = &job->config->loss.ignore;
    for (int i = 0; i < job->fields; i++) {
        const dpt_config_field *f = &job->about.item[is_copy(job, i) ? 0 : i];
        bool bytes = (i < job->inputs || is_copy(job, i)) && dpt_stored_is(dpt_dataset_field(part, i)->stored, DPT_U8);
        dpt_normalise *n = &normalise[i];
        *n = (dpt_normalise){.scale = f->scale, .one_hot = f->one_hot, .classes = f->classes};
        if (f->dtype == DPT_F32 && f->scale == 0) n->scale = bytes && f->one_hot == 0 ? 1.0 / 255 : 1;
        n->mean = dpt_config_is_auto(&f->mean) ? NULL : f->mean.item;
        n->std = dpt_config_is_auto(&f->std) ? NULL : f->std.item;
        n->channels = n->mean ? f->mean.count : n->std ? f->std.count : 0;
        n->clips = f->clip.count > 0;
        if (n->clips) n->low = f->clip.item[0], n->high = f->clip.item[1];
        n->logs = f->log.count > 0;
        if (n->logs) n->offset = f->log.item[0];
        n->ignores = f->classes > 0 && ignore->count > 0;
        if (n->ignores) n->ignore = ignore->item[0];
    }
}

/* A mean and std for each channel, or for all values; for as many as are given where one of them is. */
static dpt_status find_moments(dpt_job *job, int i) {
    const dpt_config_field *f = &job->about.item[i];
    const dpt_field *field = dpt_dataset_field(job->train, i);
    bool finds_mean = dpt_config_is_auto(&f->mean), finds_std = dpt_config_is_auto(&f->std);
    if (!finds_mean && !finds_std) return DPT_OK;
    const dpt_config_floats *given = finds_mean ? &f->std : &f->mean;
    bool each = isnan(finds_mean ? f->mean.item[0] : f->std.item[0]);
    const int64_t axis = field->ndim > 0 && !field->sequence ? field->dim[0] : 1; /* steps are no channels */
    int64_t channels = given->count > 0 && !(finds_mean && finds_std) ? given->count : each ? axis : 1;
    DPT_CHECK(channels == 1 || channels == axis, DPT_ERR_CONFIG,
              "%s: %lld values are given for its mean or std, but samples have %lld channels", field->path,
              (long long)channels, (long long)axis);
    DPT_CHECK(
        channels <= MOST_FOUND, DPT_ERR_CONFIG,
        "%s: a mean and std for each of %lld channels are too many to keep (%d at most): auto_all finds one for all",
        field->path, (long long)channels, MOST_FOUND);
    dpt_normalise normalise[DPT_CONFIG_MOST_FIELDS];
    choose_normalise(job, job->train, normalise);
    double *found = dpt_alloc((size_t)channels * 2 * sizeof *found);
    dpt_status status =
        dpt_control_agree(&job->cli->control, found ? DPT_OK : dpt_error(DPT_ERR_MEMORY, "out of memory"));
    if (status == DPT_OK)
        status = dpt_moments_find(&job->cli->control, job->train, i, &normalise[i], job->train_rows, channels, found,
                                  found + channels);
    if (status == DPT_OK) {
        status = dpt_config_fields_keep(job->config, &job->about, i, channels, found, found + channels);
        status = dpt_control_agree(&job->cli->control, status);
    }
    dpt_free(found);
    return status;
}

static dpt_status describe_fields(dpt_job *job) {
    dpt_normalise normalise[DPT_CONFIG_MOST_FIELDS];
    choose_normalise(job, job->train, normalise);
    for (int i = 0; i < job->fields; i++)
        DPT_TRY(dpt_field_delivered(dpt_dataset_field(job->train, i), &normalise[i], &job->field[i]));
    return DPT_OK;
}

dpt_status dpt_job_data_open(dpt_job *job, bool plan) {
    char built_in[4096] = "", *one = built_in;
    dpt_config_texts files = {0}, test = {0};
    dpt_status status = dpt_config_fields_read(job->config, &job->about);
    job->inputs = job->about.inputs;
    job->fields = job->about.count;
    if (status == DPT_OK) status = find_files(job, &files, &test, built_in, sizeof built_in);
    DPT_TRY_GOTO(dpt_control_agree(&job->cli->control, status), fail);
    char *const *names = files.count ? files.item : &one, *const *test_names = test.count ? test.item : names;
    int count = files.count ? (int)files.count : 1, test_count = test.count ? (int)test.count : count;
    DPT_TRY_GOTO(open_part(job, names, count, true, &job->train), fail);
    DPT_TRY_GOTO(dpt_job_numbers_open(job, names, count), fail);
    DPT_TRY_GOTO(open_part(job, test_names, test_count, false, &job->test), fail);
    DPT_TRY_GOTO(dpt_control_same(&job->cli->control, "the dataset",
                                  dpt_dataset_digest(job->train) ^ (dpt_dataset_digest(job->test) << 1)),
                 fail);
    DPT_TRY_GOTO(dpt_job_split(job), fail);
    DPT_TRY_GOTO(describe_fields(job), fail);
    for (int i = 0; i < job->fields && !plan; i++) DPT_TRY_GOTO(find_moments(job, i), fail);
fail:
    dpt_config_files_free(&files);
    dpt_config_files_free(&test);
    return status;
}

uint64_t dpt_job_rows(const dpt_job *job, bool training) {
    const dpt_selection *rows = training ? job->train_rows : job->test_rows;
    return rows ? dpt_selection_rows(rows) : dpt_dataset_rows(training ? job->train : job->test);
}

void dpt_job_data_close(dpt_job *job) {
    dpt_dataset_close(&job->train);
    dpt_dataset_close(&job->test);
    dpt_selection_destroy(&job->train_rows);
    dpt_selection_destroy(&job->test_rows);
    dpt_config_fields_free(&job->about);
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

/* Crop and flips move pixels of the first input, and with them what other inputs and targets say of places. */
static dpt_status check_augment(const dpt_job *job, const dpt_augment_options *augment) {
    const char *what = augment->crop > 0 ? "crop" : "flip";
    bool moves = augment->flip_horizontal || augment->flip_vertical || augment->crop > 0;
    for (int i = 1; moves && i < job->fields; i++) {
        const dpt_field *other = dpt_dataset_field(job->train, i);
        DPT_CHECK(other->ndim < 2, DPT_ERR_CONFIG,
                  "augment.%s moves the pixels of %s, but not those of %s %s, which have %d dimensions", what,
                  dpt_dataset_field(job->train, 0)->path, i < job->inputs ? "the input" : "its targets", other->path,
                  other->ndim);
    }
    return DPT_OK;
}

/* A loader's options, and what they point to. */
typedef struct loader_setup {
    const dpt_dataset *part;
    dpt_loader_options options;
    dpt_normalise normalise[DPT_CONFIG_MOST_FIELDS];
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
