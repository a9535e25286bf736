/* job_draws.c: what training wants to know of every sample before it begins: weights, labels and lengths for the orders
 * that go by them (data/draws.h), and whether each class has a sample. Ranks read a share each (data/part_scan.h).
 *
 * Invariant: what one rank finds wrong is agreed on before the next exchange. */
#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "cli/job.h"
#include "data/part_scan.h"

enum { MOST_BLOCKS = 4096 };

/* The first target that is a label of a class, one a sample; what loss.ignore says belongs to none. */
typedef struct labels {
    int field;
    int64_t classes; /* 0: there are none */
    const char *path;
    dpt_normalise normalise;
} labels;

static labels find_labels(const dpt_job *job) {
    const dpt_config_ints *ignore = &job->config->loss.ignore;
    for (int i = job->inputs; i < job->fields; i++) {
        const dpt_field *field = dpt_dataset_field(job->train, i);
        const int64_t classes = job->about.item[i].classes;
        if (classes == 0 || field->elements != 1) continue;
        labels l = {.field = i, .classes = classes, .path = field->path};
        l.normalise = (dpt_normalise){
            .classes = classes, .ignores = ignore->count > 0, .ignore = ignore->count > 0 ? ignore->item[0] : 0};
        return l;
    }
    return (labels){0};
}

/* ---- classes without a sample ---- */

typedef struct class_counts {
    const labels *labels;
    int64_t *count; /* [classes] */
} class_counts;

static bool is_ignored(const labels *l, int64_t label) { return l->normalise.ignores && label == l->normalise.ignore; }

/* A label outside of the classes is the loader's to refuse, when its sample comes. */
static dpt_status count_labels(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values) {
    const class_counts *c = user;
    const int64_t *label = values;
    (void)block, (void)row;
    for (int64_t i = 0; i < rows; i++)
        if (label[i] >= 0 && label[i] < c->labels->classes && !is_ignored(c->labels, label[i])) c->count[label[i]]++;
    return DPT_OK;
}

static dpt_status check_missing(const dpt_job *job, const labels *l, int64_t *count) {
    char missing[200];
    const bool balanced = job->config->data.order == DPT_CONFIG_ORDER_BALANCED;
    for (int64_t c = 0; c < l->classes && !balanced; c++) count[c] += is_ignored(l, c); /* nobody wants it learnt */
    if (dpt_classes_missing(count, l->classes, missing, sizeof missing) == 0) return DPT_OK;
    DPT_CHECK(!balanced, DPT_ERR_DATA,
              "%s: no training sample has label %s: data.order=balanced draws from every class", l->path, missing);
    if (job->cli->control.rank == 0)
        dpt_log(DPT_LOG_WARNING, "%s: no training sample has label %s: the model will not learn to tell it", l->path,
                missing);
    return DPT_OK;
}

static dpt_status check_classes(const dpt_job *job, const labels *l) {
    const dpt_control *control = &job->cli->control;
    const dpt_scan scan = {.dataset = job->train,
                           .field = l->field,
                           .dtype = DPT_I64,
                           .selection = job->train_rows,
                           .most_blocks = MOST_BLOCKS};
    class_counts counts = {l, dpt_alloc_zero((size_t)l->classes, sizeof(int64_t))};
    dpt_status status =
        counts.count ? dpt_scan_share(&scan, control->rank, control->world, count_labels, &counts) : DPT_ERR_MEMORY;
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    DPT_TRY_GOTO(dpt_control_sum_i64(control, counts.count, (int)l->classes), fail);
    status = check_missing(job, l, counts.count);
fail:
    dpt_free(counts.count);
    return status;
}

/* ---- orders ---- */

static const char *path_of_numbers(const dpt_config *c) {
    return c->data.order == DPT_CONFIG_ORDER_WEIGHTED  ? c->data.weights
           : c->data.order == DPT_CONFIG_ORDER_BUCKETS ? c->data.lengths
                                                       : NULL;
}

/* File by file: numbers that only make the same sum would be those of other samples. */
static dpt_status check_rows(const dpt_job *job) {
    for (int f = 0; f < dpt_dataset_file_count(job->train); f++) {
        uint64_t numbers = dpt_dataset_file_rows(job->numbers, f), samples = dpt_dataset_file_rows(job->train, f);
        DPT_CHECK(numbers == samples, DPT_ERR_DATA, "%s: %s has %llu rows, but %s has %llu: one for each sample",
                  dpt_dataset_file_path(job->train, f), path_of_numbers(job->config), (unsigned long long)numbers,
                  dpt_dataset_field(job->train, 0)->path, (unsigned long long)samples);
    }
    return DPT_OK;
}

dpt_status dpt_job_numbers_open(dpt_job *job, char *const *files, int count) {
    const char *path = path_of_numbers(job->config);
    if (path == NULL) return DPT_OK;
    bool weights = job->config->data.order == DPT_CONFIG_ORDER_WEIGHTED;
    const dpt_field_spec spec = {.name = weights ? "weight" : "length",
                                 .path = path,
                                 .dtype = weights ? DPT_F64 : DPT_I64,
                                 .ndim = DPT_ANY_NDIM};
    dpt_status status =
        dpt_dataset_open(&job->cli->control, (const char *const *)files, count, &spec, 1, &job->numbers);
    if (status == DPT_OK) status = check_rows(job);
    return status == DPT_ERR_SHAPE || status == DPT_ERR_UNSUPPORTED ? DPT_ERR_DATA : status;
}

/* Rows of messages of draws.h count the part. */
static dpt_status name_rows(const dpt_job *job, const char *path, dpt_status status) {
    if (status != DPT_ERR_DATA) return status;
    return dpt_error_prefix(status, "%s%s: ", path, job->train_rows ? ", rows of the training part" : "");
}

static dpt_status draw_weighted(dpt_job *job, const void *weight, uint64_t rows) {
    dpt_status status = dpt_draws_weighted(weight, rows, (uint64_t)job->config->seed, &job->draws);
    return name_rows(job, job->config->data.weights, status);
}

static dpt_status draw_balanced(dpt_job *job, const labels *l, int64_t *label, uint64_t rows) {
    for (uint64_t k = 0; k < rows; k++)
        if (is_ignored(l, label[k])) label[k] = DPT_NO_CLASS;
    dpt_status status = dpt_draws_balanced(label, rows, l->classes, (uint64_t)job->config->seed, &job->draws);
    return name_rows(job, l->path, status);
}

/* The input of sequences; -1: none. */
static int find_sequences(const dpt_job *job) {
    for (int i = 0; i < dpt_dataset_field_count(job->train); i++)
        if (dpt_dataset_field(job->train, i)->sequence) return i;
    return -1;
}

static dpt_status draw_buckets(dpt_job *job, int64_t *length, uint64_t rows) {
    const dpt_config *c = job->config;
    const int sequences = find_sequences(job);
    for (uint64_t k = 0; k < rows; k++) {
        uint64_t sample = job->train_rows ? dpt_selection_sample(job->train_rows, k) : k;
        if (job->numbers == NULL) DPT_TRY(dpt_dataset_lengths(job->train, sequences, sample, 1, &length[k]));
        DPT_CHECK(length[k] >= 0, DPT_ERR_DATA, "%s: the length of sample %llu is %lld", c->data.lengths,
                  (unsigned long long)sample, (long long)length[k]);
    }
    return dpt_draws_buckets((const uint64_t *)length, rows, c->batch, c->data.bucket_batches, (uint64_t)c->seed,
                             &job->draws);
}

static dpt_status make_draws(dpt_job *job, const labels *l, void *column, uint64_t rows) {
    switch (job->config->data.order) {
        case DPT_CONFIG_ORDER_WEIGHTED: return draw_weighted(job, column, rows);
        case DPT_CONFIG_ORDER_BALANCED: return draw_balanced(job, l, column, rows);
        default: return draw_buckets(job, column, rows);
    }
}

static dpt_status check_order(const dpt_job *job, const labels *l) {
    int order = job->config->data.order;
    DPT_CHECK(order != DPT_CONFIG_ORDER_BALANCED || l->classes > 0, DPT_ERR_CONFIG,
              "data.order=balanced goes by the labels of classes: with loss.name=cross_entropy and a label a sample");
    DPT_CHECK(order != DPT_CONFIG_ORDER_BUCKETS || job->numbers || find_sequences(job) >= 0, DPT_ERR_CONFIG,
              "data.order=buckets goes by the lengths of samples: with inputs of different lengths, or data.lengths");
    return DPT_OK;
}

/* A number of each row of the part, if they are in a file, and the order by them. */
static dpt_status draw(dpt_job *job, const labels *l) {
    const dpt_control *control = &job->cli->control;
    const bool balanced = job->config->data.order == DPT_CONFIG_ORDER_BALANCED,
               weighted = job->config->data.order == DPT_CONFIG_ORDER_WEIGHTED;
    const uint64_t rows = dpt_part_rows(job->train, job->train_rows);
    const dpt_scan scan = {.dataset = balanced ? job->train : job->numbers,
                           .field = balanced ? l->field : 0,
                           .dtype = weighted ? DPT_F64 : DPT_I64,
                           .normalise = balanced ? &l->normalise : NULL,
                           .selection = job->train_rows,
                           .most_blocks = MOST_BLOCKS};
    int64_t *column = dpt_alloc_zero((size_t)rows, sizeof *column);
    dpt_status status = dpt_control_agree(control, column ? DPT_OK : DPT_ERR_MEMORY);
    if (status == DPT_OK && scan.dataset) status = dpt_scan_column(control, &scan, column);
    if (status == DPT_ERR_SHAPE) status = DPT_ERR_DATA;
    if (status == DPT_OK) status = dpt_control_agree(control, make_draws(job, l, column, rows));
    dpt_free(column);
    return status;
}

dpt_status dpt_job_draw(dpt_job *job) {
    const labels l = find_labels(job);
    DPT_TRY(check_order(job, &l));
    if (l.classes > 0) DPT_TRY(check_classes(job, &l));
    if (job->config->data.order < DPT_CONFIG_ORDER_WEIGHTED) return DPT_OK;
    DPT_TRY(draw(job, &l));
    dpt_dataset_close(&job->numbers);
    return DPT_OK;
}

void dpt_job_draws_close(dpt_job *job) {
    dpt_draws_destroy(&job->draws);
    dpt_dataset_close(&job->numbers);
}
