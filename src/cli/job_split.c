/* job_split.c: which samples are for training and which for testing: a split by fraction, count or file, then the lists
 * of each part. Rank 0 makes both selections, for it alone reads the lists; the others take them from it. A part that
 * has all samples has no selection. */
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/job.h"
#include "data/file_list.h"
#include "data/sample_list.h"
#include "data/split.h"

/* Whether both parts read the same inputs of a file. */
static bool same_paths(const dpt_job *job) {
    bool same = true;
    for (int i = 0; i < job->inputs; i++) same &= strcmp(job->about.item[i].train, job->about.item[i].test) == 0;
    return same;
}

/* The same file, by whatever name. */
static bool is_among(const dpt_listed_file *file, const dpt_file_list *others) {
    bool found = false;
    for (int64_t i = 0; i < others->count && !found; i++)
        found =
            others->file[i].about.st_dev == file->about.st_dev && others->file[i].about.st_ino == file->about.st_ino;
    return found;
}

/* Those of `all` that are not of the test part, in `left` [all->count]. */
static dpt_status leave_out(const dpt_file_list *all, const dpt_file_list *of_test, dpt_config_texts *left) {
    for (int64_t i = 0; i < all->count; i++) {
        if (is_among(&all->file[i], of_test)) continue;
        left->item[left->count] = dpt_strdup(all->file[i].path);
        DPT_CHECK_ALLOC(left->item[left->count]);
        left->count++;
    }
    DPT_CHECK(left->count > 0, DPT_ERR_DATA,
              "data.test.files holds all %lld files of data.files: none is left for training", (long long)all->count);
    return DPT_OK;
}

/* A manifest whose files are not all for training gives way to those that are. */
dpt_status dpt_job_split_files(const dpt_job *job, dpt_config_texts *files, const dpt_config_texts *test_files) {
    dpt_file_list all = {0}, of_test = {0};
    dpt_config_texts left = {0};
    dpt_status status;
    if (test_files->count == 0 || !same_paths(job)) return DPT_OK;
    DPT_TRY_GOTO(dpt_file_list_make((const char *const *)files->item, files->count, &all), fail);
    DPT_TRY_GOTO(dpt_file_list_make((const char *const *)test_files->item, test_files->count, &of_test), fail);
    left.item = dpt_alloc_zero((size_t)all.count, sizeof *left.item);
    DPT_CHECK_ALLOC_GOTO(left.item, fail);
    DPT_TRY_GOTO(leave_out(&all, &of_test, &left), fail);
    if (left.count < all.count) {
        dpt_log(DPT_LOG_INFO, "%lld of the %lld files of data.files are for training, the others for testing",
                (long long)left.count, (long long)all.count);
        dpt_config_texts before = *files;
        *files = left;
        left = before;
    }
fail:
    dpt_config_files_free(&left);
    dpt_file_list_free(&all);
    dpt_file_list_free(&of_test);
    return status;
}

static bool draws_split(const dpt_config *c) { return c->data.test.fraction > 0 || c->data.test.count > 0; }

/* A part while it is made. */
typedef struct part {
    const char *key, *include, *exclude;
    const dpt_dataset *dataset;
    dpt_selection **rows;
} part;

/* Keeps or takes away the samples of a list. */
static dpt_status apply_list(const part *p, const char *path, bool include) {
    dpt_selection *list = NULL;
    if (path == NULL) return DPT_OK;
    dpt_status status = dpt_sample_list_read(path, dpt_dataset_rows(p->dataset), &list);
    if (status != DPT_OK) return dpt_error_prefix(status, "%s.%s: ", p->key, include ? "include" : "exclude");
    if (include)
        dpt_selection_keep_of(*p->rows, list);
    else
        dpt_selection_remove_of(*p->rows, list);
    dpt_selection_destroy(&list);
    return DPT_OK;
}

/* Both parts read the same files: their samples have the same numbers where each file holds as many. */
static dpt_status check_numbers(const char *key, const dpt_dataset *train, const dpt_dataset *test) {
    for (int f = 0; f < dpt_dataset_file_count(train); f++) {
        uint64_t rows = dpt_dataset_file_rows(train, f), test_rows = dpt_dataset_file_rows(test, f);
        DPT_CHECK(rows == test_rows, DPT_ERR_DATA,
                  "%s: data.test.%s splits samples that both parts number alike, but %s has %llu and %s has %llu",
                  dpt_dataset_file_path(train, f), key, dpt_dataset_field(train, 0)->path, (unsigned long long)rows,
                  dpt_dataset_field(test, 0)->path, (unsigned long long)test_rows);
    }
    return DPT_OK;
}

/* Takes the samples of a split off training. */
static dpt_status draw_split(const dpt_config *c, int threads, const part parts[2]) {
    uint64_t samples = dpt_dataset_rows(parts[0].dataset), count = (uint64_t)c->data.test.count;
    const int64_t *seed = c->data.split_seed.count > 0 ? c->data.split_seed.item : &c->seed;
    dpt_selection *taken = NULL;
    DPT_TRY(check_numbers(count ? "count" : "fraction", parts[0].dataset, parts[1].dataset));
    dpt_status status = count ? DPT_OK : dpt_split_count(samples, c->data.test.fraction, &count);
    if (status == DPT_OK) status = dpt_split_take(samples, count, (uint64_t)*seed, threads, &taken);
    if (status != DPT_OK) return dpt_error_prefix(status, "data.test.%s: ", c->data.test.count ? "count" : "fraction");
    dpt_selection_remove_of(*parts[0].rows, taken);
    dpt_selection_keep_of(*parts[1].rows, taken);
    dpt_selection_destroy(&taken);
    return DPT_OK;
}

/* Rank 0's: everything but what the others need to take it over. */
static dpt_status choose(const dpt_config *c, int threads, const part parts[2]) {
    if (draws_split(c)) DPT_TRY(draw_split(c, threads, parts));
    for (int i = 0; i < 2; i++) {
        DPT_TRY(apply_list(&parts[i], parts[i].include, true));
        DPT_TRY(apply_list(&parts[i], parts[i].exclude, false));
    }
    return DPT_OK;
}

/* Samples that lists give to both parts, where these are of the same datasets. */
static void warn_overlap(const dpt_job *job) {
    const dpt_config *c = job->config;
    const dpt_selection *a = job->train_rows, *b = job->test_rows;
    if (c->data.test.files.count > 0 || !same_paths(job) || (a == NULL && b == NULL)) return;
    uint64_t common = a && b ? dpt_selection_common(a, b) : dpt_selection_rows(a ? a : b);
    if (common > 0)
        dpt_log(DPT_LOG_WARNING, "%llu samples are in training and test both: data.train.exclude can name them",
                (unsigned long long)common);
}

static dpt_status as_data(dpt_status status) { return status == DPT_ERR_UNSUPPORTED ? DPT_ERR_DATA : status; }

dpt_status dpt_job_split(dpt_job *job) {
    const dpt_config *c = job->config;
    const dpt_control *control = &job->cli->control;
    const part parts[2] = {{"data.train", c->data.train.include, c->data.train.exclude, job->train, &job->train_rows},
                           {"data.test", c->data.test.include, c->data.test.exclude, job->test, &job->test_rows}};
    dpt_status status = DPT_OK;
    dpt_digest digest = {0};
    for (int i = 0; i < 2 && status == DPT_OK; i++)
        if (draws_split(c) || parts[i].include || parts[i].exclude)
            status = as_data(dpt_selection_create(dpt_dataset_rows(parts[i].dataset), true, parts[i].rows));
    if (status == DPT_OK && control->rank == 0) status = as_data(choose(c, job->ctx->device.threads, parts));
    DPT_TRY(dpt_control_agree(control, status));
    for (int i = 0; i < 2; i++) {
        if (*parts[i].rows == NULL) continue;
        status = dpt_selection_share(control, *parts[i].rows);
        if (status != DPT_OK) return dpt_error_prefix(status, "%s.include, exclude: ", parts[i].key);
        dpt_digest_i64(&digest, (int64_t)dpt_selection_digest(*parts[i].rows));
    }
    DPT_TRY(dpt_control_same(control, "the samples of training and test", digest.value));
    if (control->rank == 0) warn_overlap(job);
    return DPT_OK;
}
