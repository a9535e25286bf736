/* eval.c: dptrain eval PARAMS [config.yaml] [key=value ...]: a trained model on the test part of a dataset. Without a
 * config, the one that params.h5 keeps; overrides apply to either. Means and stds that are to be found (auto) are those
 * that training found, in both cases. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/job.h"
#include "train/params_file.h"

static dpt_status config_of_params(const char *path, const dpt_words *words, dpt_config **config) {
    dpt_params_file *file;
    DPT_TRY(dpt_params_file_open(path, &file));
    const char *text = dpt_params_file_config(file);
    dpt_status status = dpt_config_parse(path, text, strlen(text), words->override, words->override_count, config);
    dpt_params_file_close(&file);
    return status;
}

static const dpt_config_field *find_field(const dpt_config_fields *fields, const char *name, bool input) {
    for (int i = 0; i < fields->count; i++)
        if ((i < fields->inputs) == input && strcmp(fields->item[i].name, name) == 0) return &fields->item[i];
    return NULL;
}

/* Puts what training found (kept) in place of what config leaves to be found. */
static dpt_status take_moments(const char *path, const dpt_config_fields *kept, dpt_config *config,
                               dpt_config_fields *fields) {
    for (int i = 0; i < fields->count; i++) {
        const dpt_config_field *f = &fields->item[i];
        const bool mean = dpt_config_is_auto(&f->mean), std = dpt_config_is_auto(&f->std), input = i < fields->inputs;
        if (!mean && !std) continue;
        const dpt_config_field *k = find_field(kept, f->name, input);
        bool has_mean = k && k->mean.count > 0 && !dpt_config_is_auto(&k->mean);
        bool has_std = k && k->std.count > 0 && !dpt_config_is_auto(&k->std);
        DPT_CHECK((!mean || has_mean) && (!std || has_std), DPT_ERR_CONFIG,
                  "the %s of %s \"%s\" is auto, which evaluation takes from %s, but that has none: give numbers",
                  mean && !has_mean ? "mean" : "std", input ? "input" : "target", f->name, path);
        DPT_TRY(
            dpt_config_fields_keep(config, fields, i, mean ? k->mean.count : k->std.count, k->mean.item, k->std.item));
    }
    return DPT_OK;
}

/* A mean or std of auto is that which the model was trained with, whatever files it is evaluated on. */
static dpt_status keep_moments(const char *path, dpt_config *config) {
    const dpt_words none = {0};
    dpt_config *trained = NULL;
    dpt_config_fields fields, kept = {0};
    dpt_status status;
    bool any = false;
    DPT_TRY(dpt_config_fields_read(config, &fields));
    for (int i = 0; i < fields.count; i++)
        any |= dpt_config_is_auto(&fields.item[i].mean) || dpt_config_is_auto(&fields.item[i].std);
    status = any ? config_of_params(path, &none, &trained) : DPT_OK;
    if (any && status == DPT_OK) status = dpt_config_fields_read(trained, &kept);
    if (any && status == DPT_OK) status = take_moments(path, &kept, config, &fields);
    dpt_config_fields_free(&kept);
    dpt_config_fields_free(&fields);
    dpt_config_destroy(&trained);
    return status;
}

static dpt_status read_words(dpt_cli *cli, dpt_words *words, dpt_config **config) {
    DPT_TRY(dpt_words_split(cli->argc, cli->argv, words));
    DPT_CHECK(words->positional_count == 1, DPT_ERR_CONFIG,
              "usage: dptrain eval PARAMS.h5 [config.yaml] [key=value ...]");
    cli->context = DPT_EXIT_WHILE_LOADING;
    if (words->config)
        DPT_TRY(dpt_config_load(words->config, words->override, words->override_count, config));
    else
        DPT_TRY(config_of_params(words->positional[0], words, config));
    return keep_moments(words->positional[0], *config);
}

/* The accuracy stands last, as at the end of training. */
static void print_measures(const dpt_job *job) {
    int64_t classes;
    const int64_t *confusion = dpt_job_confusion(job, &classes);
    if (confusion) printf("samples of each class (line) taken for each class (column)\n");
    for (int64_t i = 0; confusion && i < classes * classes; i++)
        printf("%lld%c", (long long)confusion[i], (i + 1) % classes ? ' ' : '\n');
    for (int last = 0; last < 2; last++)
        for (int i = 0; i < job->measures; i++) {
            const char *name = job->measure[i].name;
            bool is_last = strcmp(name, "accuracy") == 0;
            if (is_last == last) printf("test %s %.*f\n", name, is_last ? 4 : 6, dpt_job_measure_value(job, i));
        }
}

dpt_status dpt_cli_eval(dpt_cli *cli) {
    dpt_words words = {0};
    dpt_config *config = NULL;
    dpt_job job = {0};
    dpt_evaluation e;
    dpt_status status;
    DPT_TRY_GOTO(dpt_control_agree(&cli->control, read_words(cli, &words, &config)), fail);
    cli->context = DPT_EXIT_WHILE_RUNNING;
    DPT_TRY_GOTO(dpt_job_open(cli, config, false, &job), fail);
    cli->context = DPT_EXIT_WHILE_LOADING;
    DPT_TRY_GOTO(dpt_trainer_load(job.trainer, words.positional[0]), fail);
    cli->context = DPT_EXIT_WHILE_RUNNING;
    DPT_TRY_GOTO(dpt_job_plan_memory(&job, false), fail);
    DPT_TRY_GOTO(dpt_job_evaluate(&job, &e), fail);
    if (cli->control.rank == 0) {
        printf("test samples %lld\ntest loss %.6f\n", (long long)e.rows, e.loss);
        print_measures(&job);
    }
fail:
    dpt_words_free(&words);
    dpt_job_close(&job);
    dpt_config_destroy(&config);
    return status;
}
