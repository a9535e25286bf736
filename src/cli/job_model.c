/* job_model.c: the model of a job, of the zoo or a list of layers: sample shape, classes and targets come from the data
 * and the loss, its settings from the config. */
#include <string.h>

#include "base/text.h"
#include "cli/job.h"

void dpt_job_choose_model(dpt_job *job) {
    const dpt_config *c = job->config;
    job->target = c->model.file ? DPT_MODEL_OF_POSITIONS : c->model.name->target;
    const char *name = dpt_config_model_text(c, job->model_name, sizeof job->model_name);
    if (name != job->model_name) dpt_append(job->model_name, sizeof job->model_name, 0, "%s", name);
}

_Static_assert((int)DPT_CONFIG_LOSS_CROSS_ENTROPY == DPT_MODEL_CROSS_ENTROPY &&
                   (int)DPT_CONFIG_LOSS_DICE == DPT_MODEL_DICE && DPT_MODEL_DICE == 5,
               "the words of loss.name stand in the order of dpt_model_loss");

/* Whether targets are a number for each position of x [channels, positions], without channels of their own. */
static bool is_plane(const dpt_job *job, const dpt_field *x, const dpt_field *y) {
    return job->config->model.file == NULL && job->target == DPT_MODEL_OF_POSITIONS && y->ndim + 1 == x->ndim &&
           memcmp(y->dim, x->dim + 1, (size_t)y->ndim * sizeof *y->dim) == 0;
}

/* What the data say. Targets with positions have their channels first, or one channel that has no dimension. */
static dpt_status options_of_data(const dpt_job *job, dpt_model_options *o) {
    const dpt_config *c = job->config;
    const dpt_field *x = &job->field[0], *y = &job->field[job->inputs];
    bool classes = c->loss.name == DPT_CONFIG_LOSS_CROSS_ENTROPY;
    DPT_CHECK(x->ndim < DPT_MAX_NDIM, DPT_ERR_SHAPE, "%s: samples have %d dimensions, at most %d", x->path, x->ndim,
              DPT_MAX_NDIM - 1);
    o->in_ndim = x->ndim;
    memcpy(o->in_dim, x->dim, (size_t)x->ndim * sizeof *x->dim);
    bool positions = job->target != DPT_MODEL_OF_SAMPLE && y->ndim > 1;
    o->classes = classes ? c->data.classes : is_plane(job, x, y) ? 1 : positions ? y->dim[0] : y->elements;
    o->target_dtype = y->dtype;
    o->target_elements = y->elements;
    o->mixup = c->mixup.alpha > 0;
    o->loss = (dpt_model_loss)c->loss.name;
    o->of_loss = (dpt_model_loss_options){.smoothing = c->loss.smoothing,
                                          .class_weights = c->loss.class_weights.item,
                                          .ignores = c->loss.ignore.count > 0,
                                          .ignore = c->loss.ignore.count > 0 ? c->loss.ignore.item[0] : 0,
                                          .delta = c->loss.delta};
    return DPT_OK;
}

static dpt_status settings(const dpt_config *c, dpt_model_options *o) {
    DPT_CHECK(c->model.hidden.count <= DPT_MODEL_MAX_HIDDEN, DPT_ERR_CONFIG, "model.hidden: %lld layers, at most %d",
              (long long)c->model.hidden.count, DPT_MODEL_MAX_HIDDEN);
    o->n_hidden = (int)c->model.hidden.count;
    for (int i = 0; i < o->n_hidden; i++) o->hidden[i] = c->model.hidden.item[i];
    o->activation = (dpt_model_activation)c->model.activation;
    o->dropout = c->model.dropout;
    o->batch_norm = (dpt_model_norm)c->model.batch_norm;
    o->norm = (dpt_model_norm_of)c->model.norm;
    o->width = c->model.width;
    o->depth = c->model.depth;
    o->modes = c->model.modes;
    o->sigma = c->model.sigma;
    o->stem = (dpt_model_stem)c->model.stem;
    return DPT_OK;
}

/* The targets in the files against those that the built model wants. */
static dpt_status check_target(const dpt_job *job) {
    const dpt_field *y = &job->field[job->inputs];
    for (int64_t i = 0; i < job->graph->n_input; i++) {
        const dpt_tensor *t = job->graph->input[i];
        if (strcmp(t->node->name, "y") != 0) continue;
        int skip = is_plane(job, &job->field[0], y) && t->ndim - 2 == y->ndim && t->dim[1] == 1;
        const int64_t *dim = t->dim + 1 + skip;
        bool fits = dpt_row_count(t) == y->elements &&
                    (y->ndim <= 1 ||
                     (t->ndim - 1 - skip == y->ndim && memcmp(dim, y->dim, (size_t)y->ndim * sizeof *y->dim) == 0));
        char has[128];
        dpt_dims_text(has, sizeof has, y->ndim, y->dim);
        DPT_CHECK(fits, DPT_ERR_SHAPE, "%s: the targets are %s a sample, but model %s gives %s", y->path, has,
                  job->model_name, dpt_shape_text(t));
    }
    return DPT_OK;
}

dpt_status dpt_job_model(dpt_job *job) {
    const dpt_config *c = job->config;
    dpt_model_options o = {0};
    if (c->model.file == NULL) {
        o = c->model.name->defaults;
        DPT_TRY(settings(c, &o));
    } else {
        DPT_TRY(dpt_layers_read(c->model.file, &job->layers));
    }
    DPT_TRY(options_of_data(job, &o));
    job->graph = dpt_graph_create(job->ctx);
    DPT_TRY(job->layers ? dpt_layers_build(job->layers, job->graph, &o) : c->model.name->build(job->graph, &o));
    DPT_TRY(dpt_graph_status(job->graph));
    return check_target(job);
}
