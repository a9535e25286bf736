/* train.c: dptrain train. Every rank runs the same steps; rank 0 keeps the run directory, prints and logs. A rank's
 * failure (a bad sample, a full disk) is agreed on by all in the exchange that begins the next step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/data_wait.h"
#include "cli/early_stop.h"
#include "cli/fatal.h"
#include "cli/job.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/results.h"
#include "data/sampler.h"
#include "train/schedule.h"

/* So many updates in a row that were not finite end a run: it will not recover. In fp16 the loss scale finds its level
 * by skipped steps, from 2^24 to 1 at most, as long as the loss itself is finite. */
enum { MOST_SKIPPED = 10, MOST_HALVINGS = 24 };

_Static_assert((int)DPT_CONFIG_SCHEDULE_COSINE == DPT_SCHEDULE_COSINE &&
                   (int)DPT_CONFIG_SCHEDULE_PLATEAU == DPT_SCHEDULE_PLATEAU,
               "the words of schedule.name stand in the order of dpt_schedule_kind");

typedef struct training {
    dpt_cli *cli;
    dpt_config *config;
    dpt_job job;
    dpt_loader *loader;
    dpt_schedule schedule;
    dpt_schedule_state plateau;
    int64_t *milestones; /* of the schedule, in steps */
    dpt_progress progress;
    dpt_profiler profiler;
    dpt_results results; /* rank 0 */
    dpt_early_stop stop;
    dpt_progress_evaluation last, best; /* best: of early stopping */
    char *config_text;
    dpt_ledger ledger;           /* of this pass over the samples, on this rank */
    int64_t per_epoch, per_pass; /* steps; the same but with epoch.steps */
    int64_t skipped, overflowed; /* steps in a row; overflowed: by fp16's loss scale */
    bool overflow_said;
    double logged_s, passed_s; /* when the last line was written, the last pass ended; evaluations are taken out */
    int64_t logged_rows;
    uint64_t logged_bytes;
    dpt_loader_work passed; /* of the loader when the last pass ended */
    dpt_data_wait wait;
} training;

static bool is_root(const training *t) { return t->cli->control.rank == 0; }

static void enter(training *t, dpt_phase phase) {
    t->cli->report.phase = dpt_phase_text(phase);
    dpt_position_phase(t->job.ctx->position, phase);
}

static dpt_status open_run(training *t) {
    if (!is_root(t)) return DPT_OK;
    const dpt_config *c = t->config;
    char model[64];
    DPT_TRY(
        dpt_run_dir_open(c->run.dir, dpt_config_model_text(c, model, sizeof model), c->run.overwrite, &t->cli->run));
    DPT_TRY(dpt_run_dir_write(t->cli->run, "config.yaml", t->config_text));
    if (t->job.layers) DPT_TRY(dpt_run_dir_write(t->cli->run, "layers.yaml", dpt_layers_text(t->job.layers)));
    return dpt_results_open(t->cli->run, &t->results);
}

static dpt_status count_hosts(const training *t, int *hosts) {
    int64_t first = t->cli->control.local_rank == 0;
    DPT_TRY(dpt_control_sum_i64(&t->cli->control, &first, 1));
    *hosts = (int)first;
    return DPT_OK;
}

static dpt_status show_header(training *t) {
    int hosts;
    DPT_TRY(count_hosts(t, &hosts));
    if (!is_root(t)) return DPT_OK;
    const dpt_job *job = &t->job;
    dpt_memory memory = dpt_trainer_memory(job->trainer);
    dpt_progress_about about = {.version = dpt_version(),
                                .device = dpt_context_device(job->ctx),
                                .model = job->model_name,
                                .data = job->data_name,
                                .order = job->order_name,
                                .reading = job->memory.text,
                                .run_dir = dpt_run_dir_path(t->cli->run),
                                .ranks = t->cli->control.world,
                                .hosts = hosts,
                                .threads = job->ctx->device.threads,
                                .parameters = dpt_trainer_parameters(job->trainer),
                                .memory_bytes = (int64_t)memory.total,
                                .train_samples = (int64_t)dpt_job_rows(job, true),
                                .test_samples = (int64_t)dpt_job_rows(job, false),
                                .batch = t->config->batch,
                                .precision = dpt_precision_text((dpt_precision)t->config->precision),
                                .steps = job->steps};
    dpt_progress_header(stdout, &about);
    dpt_log(DPT_LOG_INFO, "gradients are summed by %s", job->ctx->comm.name);
    return DPT_OK;
}

/* What is watched must be measured. */
static dpt_status check_metric(const training *t, const char *key, const char *metric) {
    bool found = strcmp(metric, "loss") == 0;
    for (int i = 0; i < t->job.measures; i++) found |= strcmp(metric, t->job.measure[i].name) == 0;
    DPT_CHECK(found, DPT_ERR_CONFIG, "%s=%s is neither loss nor among metrics", key, metric);
    return DPT_OK;
}

static dpt_status open_early_stop(training *t) {
    const char *metric = t->config->early_stop.metric;
    if (metric == NULL) return DPT_OK;
    DPT_TRY(check_metric(t, "early_stop.metric", metric));
    t->stop = (dpt_early_stop){.metric = metric,
                               .rises = dpt_measure_rises(metric),
                               .patience = t->config->early_stop.patience,
                               .min_delta = t->config->early_stop.min_delta};
    return DPT_OK;
}

/* The config's schedule, in steps. */
static dpt_status open_schedule(training *t) {
    const dpt_config *c = t->config;
    const int64_t per_epoch = dpt_job_epoch_steps(&t->job);
    const int64_t unit = c->schedule.unit == DPT_CONFIG_UNIT_EPOCHS ? per_epoch : 1, n = c->schedule.milestones.count;
    const bool plateau = c->schedule.name == DPT_CONFIG_SCHEDULE_PLATEAU;
    t->milestones = dpt_alloc((size_t)(n + 1) * sizeof *t->milestones);
    DPT_CHECK_ALLOC(t->milestones);
    for (int64_t i = 0; i < n; i++) t->milestones[i] = dpt_job_steps(c->schedule.milestones.item[i], unit);
    t->schedule = (dpt_schedule){.kind = (dpt_schedule_kind)c->schedule.name,
                                 .lr = c->optimizer.lr,
                                 .min_lr = c->schedule.min_lr,
                                 .warmup_steps = c->schedule.warmup_steps,
                                 .total_steps = t->job.steps,
                                 .gamma = c->schedule.gamma,
                                 .every = dpt_job_steps(c->schedule.every, unit),
                                 .milestone = t->milestones,
                                 .milestones = n,
                                 .power = c->schedule.power,
                                 .div = c->schedule.div,
                                 .final_div = c->schedule.final_div,
                                 .rise = c->schedule.rise,
                                 .patience = c->schedule.patience,
                                 .threshold = c->schedule.threshold,
                                 .rises = plateau && dpt_measure_rises(c->schedule.metric)};
    const double warmup = c->schedule.warmup_epochs * (double)per_epoch + 0.5;
    if (c->schedule.warmup_epochs > 0)
        t->schedule.warmup_steps = warmup < (double)INT64_MAX ? (int64_t)warmup : INT64_MAX;
    if (plateau) DPT_TRY(check_metric(t, "schedule.metric", c->schedule.metric));
    return dpt_schedule_check(&t->schedule);
}

static dpt_status open_training(training *t) {
    dpt_status parsed = DPT_OK;
    dpt_words words = {0};
    parsed = dpt_words_split(t->cli->argc, t->cli->argv, &words);
    if (parsed == DPT_OK && words.positional_count)
        parsed = dpt_error(DPT_ERR_CONFIG, "\"%s\" is no config file (.yaml) and no key=value", words.positional[0]);
    if (parsed == DPT_OK) parsed = dpt_config_load(words.config, words.override, words.override_count, &t->config);
    dpt_words_free(&words);
    DPT_TRY(dpt_control_agree(&t->cli->control, parsed));
    DPT_TRY(dpt_job_open(t->cli, t->config, false, &t->job));
    DPT_TRY(dpt_job_draw(&t->job));
    dpt_status status = dpt_config_text(t->config, &t->config_text); /* with what was found in the data */
    if (status == DPT_OK) status = open_schedule(t);
    if (status == DPT_OK) status = open_early_stop(t);
    DPT_TRY(dpt_control_agree(&t->cli->control, status));
    DPT_TRY(dpt_job_plan_memory(&t->job, true));
    DPT_TRY(dpt_control_agree(&t->cli->control, dpt_job_loader(&t->job, true, &t->loader)));
    t->per_epoch = dpt_job_epoch_steps(&t->job);
    t->per_pass = (int64_t)dpt_loader_steps(t->loader);
    DPT_TRY(dpt_control_agree(&t->cli->control, open_run(t)));
    DPT_TRY(dpt_fatal_share_folder(t->cli));
    DPT_TRY(dpt_profiler_open(&t->job, t->config->profile, &t->profiler));
    return show_header(t);
}

static dpt_status log_step(training *t, int64_t epoch, const dpt_metrics *m) {
    bool due = (m->step + 1) % t->config->log.every == 0 || m->step + 1 == t->job.steps;
    t->logged_rows += m->rows;
    if (!is_root(t) || !due) return DPT_OK;
    const double now = dpt_clock_s(), since_s = now - t->logged_s, rate = (double)t->logged_rows / since_s;
    const dpt_loader_work done = dpt_loader_done(t->loader);
    const double read_mb = (double)(done.bytes - t->logged_bytes) / 1e6;
    t->logged_s = now;
    t->logged_rows = 0;
    t->logged_bytes = done.bytes;
    const dpt_metric metrics[] = {{.name = "step", .value = (double)(m->step + 1)},
                                  {.name = "epoch", .value = (double)epoch},
                                  {.name = "loss", .value = m->loss},
                                  {.name = "lr", .value = m->lr},
                                  {.name = "grad_norm", .value = m->grad_norm},
                                  {.name = "skipped", .value = (double)m->skipped},
                                  {.name = "samples_per_s", .value = rate},
                                  {.name = "data_wait_s", .value = done.wait_s},
                                  {.name = "read_mb_per_s", .value = read_mb / since_s}};
    return dpt_results_step(&t->results, metrics, sizeof metrics / sizeof *metrics);
}

/* Warns where this rank waits for its data. */
static void watch_data(training *t, double now_s) {
    char text[2048];
    const dpt_loader_work done = dpt_loader_done(t->loader);
    const char *path = dpt_dataset_locate(t->job.train, 0, NULL);
    if (dpt_data_wait_judge(&t->wait, now_s, &done, (int)t->config->data.threads, path, text, sizeof text))
        dpt_log(DPT_LOG_WARNING, "%s", text);
}

/* Says what was skipped: a search of the loss scale once, others where a row of them begins. */
static void say_skipped(training *t, const dpt_metrics *m, bool overflow) {
    if (overflow && !t->overflow_said)
        dpt_log(DPT_LOG_INFO,
                "step %lld: the gradient does not fit fp16: the update is skipped and the loss scale "
                "halved, as is normal now and then",
                (long long)m->step + 1);
    if (overflow) t->overflow_said = true;
    if (!overflow && t->skipped == 1)
        dpt_log(DPT_LOG_WARNING, "step %lld: loss %g, gradient norm %g: not finite, the update is skipped",
                (long long)m->step + 1, m->loss, m->grad_norm);
}

/* Every rank sees the same metrics, so every rank comes to the same end. */
static dpt_status check_finite(training *t, const dpt_metrics *m) {
    bool overflow = t->config->precision == DPT_CONFIG_PRECISION_FP16 && isfinite(m->loss);
    if (!m->skipped) t->skipped = t->overflowed = 0;
    if (!m->skipped) return DPT_OK;
    *(overflow ? &t->overflowed : &t->skipped) += 1;
    say_skipped(t, m, overflow);
    int64_t row = t->skipped + t->overflowed;
    DPT_CHECK(
        t->skipped < MOST_SKIPPED && t->overflowed < MOST_SKIPPED + MOST_HALVINGS, DPT_ERR_DIVERGED,
        "diverged: loss or gradient have not been finite in steps %lld to %lld (learning rate %g); parameters are "
        "those of step %lld",
        (long long)(m->step + 2 - row), (long long)m->step + 1, m->lr, (long long)(m->step + 1 - row));
    return DPT_OK;
}

/* What follows from the metrics of a step; on a device they belong to an earlier one, at first to none. */
static dpt_status account(training *t, const dpt_metrics *m, dpt_status *mine) {
    if (m->step < 0) return DPT_OK;
    int64_t epoch = m->step / t->per_epoch + 1;
    dpt_phase before = dpt_position_phase(t->job.ctx->position, DPT_PHASE_SAVE); /* files may take their time */
    if (is_root(t)) {
        double now_s = dpt_clock_s();
        dpt_progress_step(&t->progress, m->step + 1, epoch, m->loss, m->rows, now_s);
        watch_data(t, now_s);
    }
    if (*mine == DPT_OK) *mine = log_step(t, epoch, m);
    dpt_position_phase(t->job.ctx->position, before);
    return check_finite(t, m);
}

/* The metrics that are still under way. */
static dpt_status account_rest(training *t, dpt_status *mine) {
    dpt_metrics m;
    for (bool any = true; any;) {
        DPT_TRY(dpt_trainer_take_metrics(t->job.trainer, &m, &any));
        if (any) DPT_TRY(account(t, &m, mine));
    }
    return DPT_OK;
}

/* mine: a failure of the last step's bookkeeping, agreed on here. */
static dpt_status train_step(training *t, int64_t step, dpt_status *mine) {
    const dpt_batch *batch = NULL;
    DPT_TRY(dpt_profiler_begin(&t->profiler, &t->job, step));
    double waited_s = dpt_loader_wait_s(t->loader);
    dpt_mark_begin(&t->job.ctx->device, "wait for data");
    dpt_position_phase(t->job.ctx->position, DPT_PHASE_DATA);
    if (*mine == DPT_OK) *mine = dpt_loader_next(t->loader, &batch);
    dpt_position_phase(t->job.ctx->position, DPT_PHASE_STEP);
    dpt_mark_end(&t->job.ctx->device);
    waited_s = dpt_loader_wait_s(t->loader) - waited_s;
    dpt_trainer_set_lr(t->job.trainer, dpt_schedule_lr(&t->schedule, &t->plateau, step));
    int64_t first_row[DPT_MAX_AXES] = {batch ? batch->first_row : 0};
    dpt_step_request r = {
        .mine = *mine, .in = batch ? batch->array : NULL, .n_in = batch ? batch->arrays : 0, .first_row = first_row};
    dpt_metrics m;
    DPT_TRY(dpt_trainer_step_request(t->job.trainer, &r, &m));
    dpt_ledger_add(&t->ledger, batch->epoch, batch->sample, batch->rows);
    t->cli->report.step = step + 1;
    t->cli->report.epoch = step / t->per_epoch + 1;
    dpt_loader_release(t->loader);
    dpt_position_phase(t->job.ctx->position, DPT_PHASE_SAVE);
    DPT_TRY(dpt_profiler_end(&t->profiler, &t->job, step, waited_s));
    dpt_position_phase(t->job.ctx->position, DPT_PHASE_STEP);
    return account(t, &m, mine);
}

/* What this pass has taken, over all ranks. */
static dpt_status sum_work(training *t, dpt_pass_work *work) {
    const dpt_loader_work done = dpt_loader_done(t->loader), before = t->passed;
    const double now_s = dpt_clock_s();
    int64_t sums[] = {(int64_t)(done.bytes - before.bytes), (int64_t)(done.chunks - before.chunks),
                      (int64_t)(done.retries - before.retries)};
    *work = (dpt_pass_work){.seconds = now_s - t->passed_s, .data_wait_s = done.wait_s - before.wait_s};
    t->passed = done;
    t->passed_s = now_s;
    DPT_TRY(dpt_control_sum_i64(&t->cli->control, sums, 3));
    work->read_bytes = (double)sums[0];
    work->chunks = (double)sums[1];
    work->retries = (double)sums[2];
    return dpt_control_max_f64(&t->cli->control, &work->data_wait_s, 1);
}

/* After a pass, from 1: that it has delivered what it should have, each sample once unless draws repeat them. */
static dpt_status settle(training *t, int64_t pass, dpt_status *mine) {
    dpt_ledger expected, all;
    uint64_t epoch = (uint64_t)pass - 1;
    DPT_TRY(dpt_control_agree(&t->cli->control, dpt_loader_expected(t->loader, epoch, &expected)));
    DPT_TRY(dpt_ledger_settle(&t->cli->control, &t->ledger, epoch, &expected, &all));
    dpt_pass_work work;
    DPT_TRY(sum_work(t, &work));
    dpt_phase before = dpt_position_phase(t->job.ctx->position, DPT_PHASE_SAVE);
    if (is_root(t) && work.retries > 0)
        dpt_log(DPT_LOG_WARNING, "pass %lld: %.0f reads failed and were tried again: the storage is unwell",
                (long long)pass, work.retries);
    if (is_root(t) && *mine == DPT_OK) *mine = dpt_results_pass(&t->results, pass, &all, &work);
    dpt_position_phase(t->job.ctx->position, before);
    return DPT_OK;
}

static dpt_status save(training *t) {
    char *path = is_root(t) ? dpt_run_dir_file(t->cli->run, "params.h5") : NULL;
    enter(t, DPT_PHASE_SAVE);
    DPT_TRY(dpt_control_agree(&t->cli->control, is_root(t) && !path ? DPT_ERR_MEMORY : DPT_OK));
    dpt_status status = dpt_trainer_save(t->job.trainer, path, t->config_text);
    dpt_free(path);
    return status;
}

/* With early stopping, params.h5 is written where the evaluation is the best so far, and not at the end. */
static dpt_status keep_best(training *t, int64_t epoch) {
    if (t->stop.metric == NULL) return DPT_OK;
    if (!dpt_early_stop_add(&t->stop, epoch, dpt_progress_value(&t->last, t->stop.metric))) return DPT_OK;
    t->best = t->last;
    return save(t);
}

static dpt_status evaluate(training *t, int64_t step, int64_t epoch, dpt_status *mine) {
    dpt_evaluation e;
    double begin = dpt_clock_s();
    DPT_TRY(account_rest(t, mine));
    enter(t, DPT_PHASE_EVALUATE);
    DPT_TRY(dpt_control_agree(&t->cli->control, *mine));
    DPT_TRY(dpt_job_evaluate(&t->job, &e));
    t->last = (dpt_progress_evaluation){
        .loss = e.loss, .count = t->job.measures, .samples = e.rows, .seconds = dpt_clock_s() - begin};
    for (int i = 0; i < t->last.count; i++) {
        t->last.name[i] = t->job.measure[i].name;
        t->last.value[i] = dpt_job_measure_value(&t->job, i);
    }
    if (is_root(t)) {
        dpt_progress_evaluated(&t->progress, epoch, &t->last);
        enter(t, DPT_PHASE_SAVE);
        *mine = dpt_results_evaluated(&t->results, &t->job, step, epoch, &t->last);
    }
    if (t->schedule.kind == DPT_SCHEDULE_PLATEAU)
        dpt_schedule_observe(&t->schedule, dpt_progress_value(&t->last, t->config->schedule.metric), &t->plateau);
    DPT_TRY(keep_best(t, epoch));
    const double took_s = dpt_clock_s() - begin;
    t->logged_s += took_s;
    t->passed_s += took_s;
    dpt_data_wait_skip(&t->wait, took_s);
    enter(t, DPT_PHASE_STEP);
    return DPT_OK;
}

/* Whether lines may be drawn over. mpirun gives ranks a terminal of its own whatever its output is, so the launcher's
 * is looked at too; one on another host cannot be seen, and then lines are plain. */
static bool is_terminal(void) {
    if (!isatty(STDOUT_FILENO)) return false;
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL) return true;
    char name[64], target[64];
    snprintf(name, sizeof name, "/proc/%d/fd/1", (int)getppid());
    ssize_t n = readlink(name, target, sizeof target - 1);
    if (n < 0) return false;
    target[n] = 0;
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

/* The end: parameters, where the best are not already there, and the last line. */
static dpt_status finish(training *t, int64_t steps) {
    if (!t->stop.any) DPT_TRY(save(t));
    if (!is_root(t)) return DPT_OK;
    if (dpt_early_stop_ends(&t->stop) && steps < t->job.steps)
        dpt_log(DPT_LOG_INFO, "stopped after step %lld: %s has not improved for %lld evaluations", (long long)steps,
                t->stop.metric, (long long)t->stop.since);
    if (t->stop.any)
        dpt_log(DPT_LOG_INFO, "params.h5 and the result are those of epoch %lld, %s %.6g",
                (long long)t->stop.best_epoch, t->stop.metric, t->stop.best);
    dpt_progress_result(&t->progress, t->stop.any ? &t->best : &t->last);
    return DPT_OK;
}

static dpt_status run(training *t) {
    dpt_status mine = DPT_OK;
    int64_t every = dpt_job_steps(t->config->eval_every, t->per_epoch), step = 0;
    enter(t, DPT_PHASE_STEP);
    t->logged_s = t->passed_s = dpt_clock_s();
    dpt_data_wait_start(&t->wait, t->logged_s);
    if (is_root(t)) dpt_progress_start(&t->progress, stdout, is_terminal(), t->job.steps, t->logged_s);
    while (step < t->job.steps && !dpt_early_stop_ends(&t->stop)) {
        DPT_TRY(train_step(t, step, &mine));
        step++;
        if (step % t->per_pass == 0) DPT_TRY(settle(t, step / t->per_pass, &mine));
        bool epoch_ends = every > 0 && step % every == 0;
        if (step == t->job.steps || epoch_ends) DPT_TRY(evaluate(t, step, t->cli->report.epoch, &mine));
    }
    DPT_TRY(dpt_control_agree(&t->cli->control, mine));
    return finish(t, step);
}

dpt_status dpt_cli_train(dpt_cli *cli) {
    training t = {.cli = cli};
    cli->report.phase = "start";
    dpt_status status = open_training(&t);
    if (status == DPT_OK) status = run(&t);
    char message[1024];
    snprintf(message, sizeof message, "%s", dpt_last_error());
    dpt_status closed = dpt_results_close(&t.results);
    if (status == DPT_OK)
        status = closed;
    else
        dpt_error(status, "%s", message);
    dpt_profiler_close(&t.profiler);
    dpt_loader_destroy(&t.loader);
    dpt_job_close(&t.job);
    dpt_free(t.milestones);
    dpt_free(t.config_text);
    dpt_config_destroy(&t.config);
    return status;
}
