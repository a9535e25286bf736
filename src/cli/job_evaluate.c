/* job_evaluate.c: what evaluation measures of each target, and the evaluation of the test part. With several targets a
 * metric's name begins with its target's; those of config that fit a target are taken of it. Invariant: all ranks take
 * the same steps and exchange the same measures in the same order. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/job.h"

static int targets_of(const dpt_job *job) { return job->fields - job->inputs; }

/* The metrics of config that fit a target; those that nobody knows too, so that they are refused by name. */
static int choose_names(const dpt_config_texts *all, bool classes, bool several, const char **chosen) {
    int count = 0;
    for (int64_t i = 0; i < all->count && count <= DPT_MEASURES_MAX; i++) {
        int of_classes = dpt_measure_of_classes(all->item[i]);
        if (!several || of_classes < 0 || (of_classes > 0) == classes) chosen[count++] = all->item[i];
    }
    return count;
}

/* Of several targets; one is asked by its measures. */
static dpt_status check_fitting(const dpt_job *job) {
    const dpt_config_texts *all = &job->config->metrics;
    for (int64_t i = 0; i < all->count && targets_of(job) > 1; i++) {
        int of_classes = dpt_measure_of_classes(all->item[i]);
        bool fits = of_classes < 0;
        for (int t = job->inputs; t < job->fields; t++) fits |= (job->about.item[t].classes > 0) == of_classes;
        DPT_CHECK(fits, DPT_ERR_CONFIG, "metric \"%s\" is for %s: no target has %s", all->item[i],
                  of_classes ? "classes" : "numbers", of_classes ? "classes" : "numbers");
    }
    return DPT_OK;
}

static dpt_status open_target(dpt_job *job, int t) {
    const dpt_config *c = job->config;
    const dpt_config_field *about = &job->about.item[job->inputs + t];
    dpt_job_measured *m = &job->measured[t];
    const char *names[DPT_MEASURES_MAX + 1];
    const bool several = targets_of(job) > 1;
    int64_t elements = job->field[job->inputs + t].elements, bytes;
    dpt_measures_about wanted = {.names = names,
                                 .count = choose_names(&c->metrics, about->classes > 0, several, names),
                                 .classes = about->classes,
                                 .ignores = c->loss.ignore.count > 0,
                                 .ignore = c->loss.ignore.count > 0 ? c->loss.ignore.item[0] : 0};
    bool over = __builtin_mul_overflow(elements, about->classes ? about->classes : 1, &wanted.values) ||
                __builtin_mul_overflow(wanted.values, job->share * (int64_t)sizeof *m->prediction, &bytes);
    DPT_CHECK(!over, DPT_ERR_MEMORY, "predictions of %s: %lld rows of %lld values, %lld classes", about->name,
              (long long)job->share, (long long)elements, (long long)about->classes);
    DPT_CHECK(wanted.count <= DPT_MEASURES_MAX, DPT_ERR_CONFIG, "metrics: more than %d", DPT_MEASURES_MAX);
    snprintf(m->output, sizeof m->output, "%s%s%s", several ? about->name : "", several ? "." : "",
             about->classes ? "logits" : "y");
    if (c->metrics.count > 0 && wanted.count == 0) return DPT_OK; /* none fits it */
    m->prediction = dpt_alloc((size_t)bytes);
    DPT_CHECK_ALLOC(m->prediction);
    return dpt_measures_create(&wanted, &m->measures);
}

/* Which targets' measures stand in the list of all. */
static dpt_status name_measures(dpt_job *job) {
    for (int t = 0; t < targets_of(job); t++) {
        const dpt_measures *m = job->measured[t].measures;
        for (int i = 0; m && i < dpt_measures_count(m); i++) {
            DPT_CHECK(job->measures < DPT_JOB_MOST_MEASURES, DPT_ERR_CONFIG,
                      "metrics: more than %d of all targets together", DPT_JOB_MOST_MEASURES);
            dpt_job_measure *named = &job->measure[job->measures++];
            const char *target = job->about.item[job->inputs + t].name;
            *named = (dpt_job_measure){.target = t, .number = i};
            snprintf(named->name, sizeof named->name, "%s%s%s", targets_of(job) > 1 ? target : "",
                     targets_of(job) > 1 ? "_" : "", dpt_measures_name(m, i));
        }
    }
    return DPT_OK;
}

dpt_status dpt_job_measures_open(dpt_job *job) {
    const dpt_config *c = job->config;
    DPT_TRY(check_fitting(job));
    for (int t = 0; t < targets_of(job); t++) DPT_TRY(open_target(job, t));
    DPT_TRY(name_measures(job));
    snprintf(job->partner, sizeof job->partner, "%s" DPT_PARTNER_SUFFIX, job->about.item[job->inputs].name);
    if (c->mixup.alpha == 0) return DPT_OK;
    job->lambda = dpt_alloc((size_t)job->share * sizeof *job->lambda);
    DPT_CHECK_ALLOC(job->lambda);
    for (int64_t i = 0; i < job->share; i++) job->lambda[i] = 1;
    return DPT_OK;
}

void dpt_job_measures_close(dpt_job *job) {
    for (int t = 0; t < DPT_JOB_MOST_TARGETS; t++) {
        dpt_measures_destroy(&job->measured[t].measures);
        dpt_free(job->measured[t].prediction);
        job->measured[t].prediction = NULL;
    }
    dpt_free(job->lambda);
    job->lambda = NULL;
    job->measures = 0;
}

double dpt_job_measure_value(const dpt_job *job, int i) {
    return dpt_measures_value(job->measured[job->measure[i].target].measures, job->measure[i].number);
}

const int64_t *dpt_job_confusion(const dpt_job *job, int64_t *classes) {
    for (int t = 0; t < targets_of(job); t++) {
        const dpt_measures *m = job->measured[t].measures;
        const int64_t *confusion = m ? dpt_measures_confusion(m) : NULL;
        *classes = job->about.item[job->inputs + t].classes;
        if (confusion) return confusion;
    }
    return NULL;
}

/* ---- evaluation ---- */

enum { MOST_ARRAYS = DPT_CONFIG_MOST_FIELDS + 2 };

/* Rows of a part of a batch as the trainer takes them; returns how many arrays. */
static int part_arrays(const dpt_job *job, const dpt_batch *batch, int64_t first, int64_t rows, dpt_array *in) {
    int n = job->fields;
    for (int i = 0; i < n; i++) {
        const dpt_field *f = &job->field[i];
        in[i] = batch->array[i];
        in[i].data = (const char *)in[i].data + (size_t)(first * f->elements) * dpt_dtype_size(f->dtype);
        in[i].rows = rows;
    }
    if (job->lambda == NULL || job->about.item[job->inputs].classes == 0) return n;
    in[n] = in[n - 1]; /* each sample is its own partner */
    in[n++].name = job->partner;
    in[n++] =
        (dpt_array){.name = DPT_LAMBDA_NAME, .data = job->lambda, .dtype = DPT_F32, .place = DPT_HOST, .rows = rows};
    return n;
}

/* The predictions that are measured. */
static int wanted_outputs(const dpt_job *job, dpt_wanted_output *wanted) {
    int n = 0;
    for (int t = 0; t < targets_of(job); t++)
        if (job->measured[t].measures)
            wanted[n++] = (dpt_wanted_output){.name = job->measured[t].output, .out = job->measured[t].prediction};
    return n;
}

/* An evaluation batch may be larger than a training one: it goes in parts that fit, as many on every rank. */
static dpt_status evaluate_batch(dpt_job *job, const dpt_batch *batch, dpt_status mine, int64_t parts) {
    dpt_wanted_output wanted[DPT_JOB_MOST_TARGETS];
    for (int64_t p = 0; p < parts; p++) {
        dpt_array in[MOST_ARRAYS];
        dpt_step_request r = {.mine = mine, .in = in, .wanted = wanted, .n_wanted = wanted_outputs(job, wanted)};
        int64_t first = batch ? batch->rows * p / parts : 0, end = batch ? batch->rows * (p + 1) / parts : 0;
        if (batch) r.n_in = part_arrays(job, batch, first, end - first, in);
        DPT_TRY(dpt_trainer_evaluate_request(job->trainer, &r));
        for (int t = 0; batch && t < targets_of(job); t++)
            if (job->measured[t].measures)
                dpt_measures_add(job->measured[t].measures, job->measured[t].prediction, in[job->inputs + t].data,
                                 end - first);
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
    for (int t = 0; t < targets_of(job); t++)
        if (job->measured[t].measures)
            DPT_TRY_GOTO(dpt_measures_finish(job->measured[t].measures, &job->cli->control), fail);
fail:
    dpt_loader_destroy(&loader);
    return status;
}
