/* explain.c: dptrain explain [PASS] [MODE] [config.yaml] [key=value ...]: the program of a job after a pass, or the
 * finished one. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/job.h"
#include "program/explain.h"

static const char *const pass_names[] = {"lower", "precision", "gradient",  "distribute", "update",
                                         "fuse",  "residual",  "recompute", "layout",     "schedule"};
static const char *const mode_names[] = {"train", "accumulate", "apply", "count", "gradient", "evaluate", "predict"};

typedef struct wanted {
    const char *pass; /* NULL: the finished program */
    dpt_mode mode;
    bool shown;
} wanted;

static int find(const char *word, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0) return (int)i;
    return -1;
}

static dpt_status read_words(dpt_cli *cli, dpt_words *words, dpt_config **config, wanted *w) {
    DPT_TRY(dpt_words_split(cli->argc, cli->argv, words));
    for (int i = 0; i < words->positional_count; i++) {
        const char *word = words->positional[i];
        int pass = find(word, pass_names, sizeof pass_names / sizeof *pass_names);
        int mode = find(word, mode_names, sizeof mode_names / sizeof *mode_names);
        if (pass >= 0 && w->pass == NULL)
            w->pass = pass_names[pass];
        else if (mode >= 0)
            w->mode = (dpt_mode)mode;
        else if (strcmp(word, "memory") != 0)
            return dpt_error(
                DPT_ERR_CONFIG,
                "explain: \"%s\" is neither a pass (lower, precision, gradient, distribute, update, fuse, residual, "
                "recompute, layout, schedule, memory) nor a mode (train, accumulate, apply, count, evaluate, predict)",
                word);
    }
    return dpt_config_load(words->config, words->override, words->override_count, config);
}

/* The fields that a job reads, as its model gets them. */
static void show_fields(const dpt_job *job) {
#define TEXT(name, text) text,
    static const char *const losses[] = {DPT_CONFIG_LOSS_LIST(TEXT)};
#undef TEXT
    for (int i = 0; i < job->fields; i++) {
        const dpt_config_field *about = &job->about.item[i];
        const dpt_field *train = dpt_dataset_field(job->train, i), *test = dpt_dataset_field(job->test, i);
        bool is_input = i < job->inputs;
        char shape[128];
        dpt_dims_text(shape, sizeof shape, job->field[i].ndim, job->field[i].dim);
        printf("%-7s %-12s %s, %s  %s %s", is_input ? "input" : "target", about->name, train->path, test->path,
               dpt_dtype_text(about->dtype), shape);
        if (!is_input) printf("  %s, weight %g", losses[about->loss], about->weight);
        putchar('\n');
    }
}

static void show(void *user, const char *pass, const dpt_graph *g) {
    wanted *w = user;
    if (w->pass == NULL || strcmp(pass, w->pass) != 0) return;
    dpt_explain_graph(stdout, pass, g);
    w->shown = true;
}

static dpt_status explain(dpt_job *job, wanted *w) {
    dpt_trainer_options t;
    dpt_job_trainer_options(job, &t);
    dpt_arena_plan plan;
    dpt_program *program = NULL;
    DPT_TRY(dpt_precision_declare(job->graph, t.precision));
    dpt_graph_resolve_groups(job->graph);
    DPT_TRY(dpt_arena_plan_make(job->graph, t.weight_decay, t.bucket_bytes > 0 ? t.bucket_bytes : 4 << 20, 0, &plan));
    dpt_status status = DPT_OK;
    if (t.zero) status = dpt_arena_plan_shard(job->graph, job->cli->control.rank, job->cli->control.world, &plan);
    dpt_program_options o = {.mode = w->mode,
                             .capacity = {(job->share + t.accumulate - 1) / t.accumulate},
                             .rank = job->cli->control.rank,
                             .world = job->cli->control.world,
                             .exchange = job->ctx->comm.exchanges,
                             .backend = job->ctx->backend,
                             .device = &job->ctx->device,
                             .arenas = &plan,
                             .seed = t.seed,
                             .precision = t.precision,
                             .recompute = t.recompute,
                             .gathers = t.zero && w->mode == DPT_MODE_TRAIN,
                             .update = dpt_trainer_update_rule(&t),
                             .after_pass = job->cli->control.rank == 0 ? show : NULL,
                             .user = w};
    if (status == DPT_OK) status = dpt_program_create(job->graph, &o, &program);
    if (status == DPT_OK && job->cli->control.rank == 0 && w->pass == NULL) dpt_explain_program(stdout, program);
    if (status == DPT_OK && job->cli->control.rank == 0 && w->pass != NULL && !w->shown)
        status = dpt_error(DPT_ERR_CONFIG, "explain: mode %s has no pass %s", mode_names[w->mode], w->pass);
    dpt_program_destroy(&program);
    dpt_arena_plan_free(&plan);
    return status;
}

dpt_status dpt_cli_explain(dpt_cli *cli) {
    dpt_words words = {0};
    dpt_config *config = NULL;
    dpt_job job = {0};
    wanted w = {.mode = DPT_MODE_TRAIN};
    dpt_status status;
    DPT_TRY_GOTO(dpt_control_agree(&cli->control, read_words(cli, &words, &config, &w)), fail);
    DPT_TRY_GOTO(dpt_job_open(cli, config, true, &job), fail);
    if (cli->control.rank == 0) show_fields(&job);
    status = dpt_control_agree(&cli->control, explain(&job, &w));
fail:
    dpt_words_free(&words);
    dpt_job_close(&job);
    dpt_config_destroy(&config);
    return status;
}
