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

/* An input as the graph takes it: a number a sample is a vector of one. */
static dpt_status input_of(const dpt_job *job, int i, dpt_model_input_of *input) {
    const dpt_field *x = &job->field[i];
    DPT_CHECK(x->ndim < DPT_MAX_NDIM, DPT_ERR_SHAPE, "%s: samples have %d dimensions, at most %d", x->path, x->ndim,
              DPT_MAX_NDIM - 1);
    *input = (dpt_model_input_of){.name = x->name, .dtype = x->dtype, .ndim = x->ndim};
    memcpy(input->dim, x->dim, (size_t)x->ndim * sizeof *x->dim);
    if (x->ndim == 0 && x->dtype == DPT_F32) input->dim[input->ndim++] = 1;
    return DPT_OK;
}

/* What the data say of a target. Targets with positions have their channels first, or one channel that has no
 * dimension. */
static void options_of_target(const dpt_job *job, int i, dpt_model_options *o) {
    const dpt_config *c = job->config;
    const dpt_config_field *about = &job->about.item[i];
    const dpt_field *x = &job->field[0], *y = &job->field[i];
    bool positions = job->target != DPT_MODEL_OF_SAMPLE && y->ndim > 1;
    o->target = y->name;
    o->several = job->fields - job->inputs > 1;
    o->weight = about->weight;
    o->classes = about->classes ? about->classes : is_plane(job, x, y) ? 1 : positions ? y->dim[0] : y->elements;
    o->target_dtype = y->dtype;
    o->target_elements = y->elements;
    o->mixup = c->mixup.alpha > 0;
    o->loss = (dpt_model_loss)about->loss;
    o->of_loss = (dpt_model_loss_options){.smoothing = c->loss.smoothing,
                                          .class_weights = c->loss.class_weights.item,
                                          .ignores = c->loss.ignore.count > 0,
                                          .ignore = c->loss.ignore.count > 0 ? c->loss.ignore.item[0] : 0,
                                          .delta = c->loss.delta};
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

/* A target in the files against what the built model wants. */
static dpt_status check_target(const dpt_job *job, const dpt_field *y) {
    for (int64_t i = 0; i < job->graph->n_input; i++) {
        const dpt_tensor *t = job->graph->input[i];
        if (strcmp(t->node->name, y->name) != 0) continue;
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

static dpt_status read_layers(dpt_job *job) {
    const char *inputs[DPT_CONFIG_MOST_FIELDS], *outputs[DPT_CONFIG_MOST_FIELDS];
    const bool named = job->about.item[job->inputs].layer != NULL;
    for (int i = 0; i < job->inputs; i++) inputs[i] = job->about.item[i].name;
    for (int i = job->inputs; i < job->fields; i++) outputs[i - job->inputs] = job->about.item[i].layer;
    if (job->config->data.inputs.count == 0) inputs[0] = "input"; /* a layer may be called x */
    dpt_layers_ends ends = {
        .input = inputs, .inputs = job->inputs, .output = named ? outputs : NULL, .outputs = job->fields - job->inputs};
    return dpt_layers_read(job->config->model.file, &ends, &job->layers);
}

static dpt_status build(dpt_job *job, const dpt_model_options *of_model) {
    dpt_model_input_of input[DPT_CONFIG_MOST_FIELDS];
    dpt_model_options o[DPT_CONFIG_MOST_FIELDS];
    for (int i = 0; i < job->inputs; i++) DPT_TRY(input_of(job, i, &input[i]));
    for (int t = 0; t < job->fields - job->inputs; t++) {
        o[t] = *of_model;
        o[t].input = input[0].name;
        o[t].in_ndim = input[0].ndim;
        memcpy(o[t].in_dim, input[0].dim, sizeof o[t].in_dim);
        options_of_target(job, job->inputs + t, &o[t]);
    }
    if (job->layers) return dpt_layers_build_ends(job->layers, job->graph, input, o);
    DPT_CHECK(input[0].dtype == DPT_F32, DPT_ERR_CONFIG,
              "model.name=%s takes floats, but the input %s is %s: embedding in a list of layers takes integers",
              job->model_name, input[0].name, dpt_dtype_text(input[0].dtype));
    return job->config->model.name->build(job->graph, &o[0]);
}

dpt_status dpt_job_model(dpt_job *job) {
    const dpt_config *c = job->config;
    dpt_model_options o = {0};
    if (c->model.file == NULL) {
        o = c->model.name->defaults;
        DPT_TRY(settings(c, &o));
    } else {
        DPT_TRY(read_layers(job));
    }
    job->graph = dpt_graph_create(job->ctx);
    DPT_TRY(build(job, &o));
    DPT_TRY(dpt_graph_status(job->graph));
    for (int i = job->inputs; i < job->fields; i++) DPT_TRY(check_target(job, &job->field[i]));
    return DPT_OK;
}
