/* test_zoo_values.c: every model of the zoo against the same layers in PyTorch (golden/make_zoo.py): number of
 * parameters, the loss from equal parameters, and the loss after a step, which takes in every gradient. Widths and
 * sizes are small; the models are those of the zoo's builders. On a device only the smallest. */
#include <stdio.h>

#include "base/memory.h"
#include "dptrain/dptrain.h"
#include "graph/graph.h"
#include "graph/init.h"
#include "models/zoo.h"

typedef struct zoo_golden {
    const char *name;
    int64_t parameters;
    double loss, after;
} zoo_golden;

#include "check.h"
#include "golden/zoo.h"

enum { BATCH = 2, GOLDEN = sizeof golden / sizeof *golden };
static const double learning_rate = 0.001;

/* The model's options as in make_zoo.py; what is 0 stays as the zoo has it. */
typedef struct small_model {
    const char *name;
    int ndim;
    int64_t dim[4], classes, width, depth;
    int n_hidden;
    int64_t hidden[2];
    dpt_model_norm norm;
    bool tiny;    /* for a device that is played by the host */
    bool chaotic; /* the step magnifies rounding: PyTorch's own f32 ends 12 % from its f64 */
} small_model;

static const small_model small[] = {
    {"mlp", 1, {12}, 5, 0, 0, 2, {16, 8}, DPT_MODEL_NORM_NONE, true, false},
    {"cnn", 3, {1, 8, 8}, 10, 0, 0, 0, {0}, DPT_MODEL_NORM_NONE, true, false},
    {"surrogate", 1, {8}, 3, 0, 0, 0, {0}, DPT_MODEL_NORM_NONE, true, false},
    {"resnet18", 3, {3, 16, 16}, 10, 0, 0, 0, {0}, DPT_MODEL_NORM_LOCAL, false, false},
    {"resnet50", 3, {3, 16, 16}, 10, 0, 0, 0, {0}, DPT_MODEL_NORM_LOCAL, false, true},
    {"vgg11", 3, {3, 32, 32}, 10, 16, 0, 0, {0}, DPT_MODEL_NORM_LOCAL, false, false},
    {"vgg16", 3, {3, 32, 32}, 10, 16, 0, 0, {0}, DPT_MODEL_NORM_NONE, false, false},
    {"resmlp", 1, {6}, 3, 8, 2, 0, {0}, DPT_MODEL_NORM_NONE, true, false},
    {"autoencoder", 3, {1, 4, 4}, 1, 0, 0, 2, {8, 3}, DPT_MODEL_NORM_NONE, true, false},
    {"conv_autoencoder", 3, {1, 8, 4}, 1, 4, 2, 0, {0}, DPT_MODEL_NORM_NONE, true, false},
    {"unet", 3, {3, 16, 8}, 3, 4, 2, 0, {0}, DPT_MODEL_NORM_LOCAL, true, false},
    {"unet3d", 4, {1, 8, 4, 8}, 2, 2, 2, 0, {0}, DPT_MODEL_NORM_NONE, true, false},
    {"cosmo", 4, {4, 8, 8, 8}, 4, 4, 2, 0, {0}, DPT_MODEL_NORM_NONE, true, false},
    {"cosmoflow", 4, {4, 16, 16, 16}, 4, 2, 4, 0, {0}, DPT_MODEL_NORM_NONE, false, false},
};

static dpt_model_options options_of(const small_model *s, const dpt_model *model) {
    dpt_model_options o = model->defaults;
    o.in_ndim = s->ndim;
    memcpy(o.in_dim, s->dim, sizeof s->dim);
    o.classes = s->classes;
    if (s->width) o.width = s->width;
    if (s->depth) o.depth = s->depth;
    if (s->n_hidden) o.n_hidden = s->n_hidden;
    if (s->n_hidden) memcpy(o.hidden, s->hidden, sizeof s->hidden);
    o.batch_norm = s->norm;
    o.dropout = 0;
    if (strcmp(s->name, "unet3d") == 0) o.loss = DPT_MODEL_MSE, o.target_dtype = DPT_F32;
    return o;
}

/* make_zoo.py's fill. */
static void fill_param(const dpt_param_info *p, float *values) {
    int64_t n = dpt_row_count(p->tensor);
    unsigned sum = 0;
    for (const char *c = p->name; *c; c++) sum += (unsigned char)*c;
    double h = sum % 97 / 7.0, scale = p->tensor->ndim > 1 ? sqrt(6 / ((double)n / (double)p->tensor->dim[0])) : 0.1;
    size_t length = strlen(p->name);
    bool around_one = p->tensor->ndim == 1 && length > 6 && strcmp(p->name + length - 6, "weight") == 0;
    for (int64_t i = 0; i < n; i++) {
        double wave = sin((double)i * 12.9898 + h) * 43758.5453;
        values[i] = (float)((around_one ? 1 : 0) + scale * (2 * (wave - floor(wave)) - 1));
    }
}

static void set_params(dpt_trainer *t, const dpt_graph *g) {
    for (int64_t i = 0; i < g->n_param; i++) {
        size_t bytes = (size_t)dpt_row_count(g->param[i].tensor) * sizeof(float);
        float *values = dpt_alloc(bytes);
        if (!CHECK(values != NULL)) return;
        fill_param(&g->param[i], values);
        CHECK_OK(dpt_trainer_set(t, DPT_PARAMETER, g->param[i].name, values, bytes));
        dpt_free(values);
    }
}

enum { MOST_VALUES = BATCH * 4 * 16 * 16 * 16 };
static float x[MOST_VALUES], y[MOST_VALUES];
static int64_t label[MOST_VALUES];

static void check_losses(dpt_graph *g, const dpt_model_options *o, const zoo_golden *want, int steps) {
    dpt_trainer_options t;
    dpt_trainer_options_init(&t);
    t.max_rows = BATCH;
    t.lr = learning_rate;
    t.momentum = 0;
    t.no_evaluation = 1;
    dpt_trainer *trainer;
    if (!CHECK_OK(dpt_trainer_create(g, &t, &trainer))) return;
    CHECK_EQ_I64(dpt_trainer_parameters(trainer), want->parameters);
    set_params(trainer, g);
    bool classifies = o->loss == DPT_MODEL_CROSS_ENTROPY;
    dpt_array in[] = {{"x", x, DPT_F32, DPT_HOST, BATCH, NULL},
                      {"y", classifies ? (void *)label : y, classifies ? DPT_I64 : DPT_F32, DPT_HOST, BATCH, NULL}};
    for (int64_t i = 0; i < MOST_VALUES; i++) {
        x[i] = (float)sin(0.7 * (double)i);
        y[i] = (float)cos(0.3 * (double)i);
        label[i] = i * 7 % o->classes;
    }
    const double loss[] = {want->loss, want->after};
    for (int step = 0; step < steps; step++) {
        dpt_metrics m;
        if (!CHECK_OK(dpt_trainer_step(trainer, in, 2, NULL)) || !CHECK_OK(dpt_trainer_sync(trainer, &m))) break;
        check_that(fabs(m.loss - loss[step]) <= (step ? 1e-3 : 1e-4) * fabs(loss[step]), __FILE__, __LINE__,
                   "%s: loss %d is %.9g, PyTorch's %.9g", want->name, step, m.loss, loss[step]);
    }
    dpt_trainer_destroy(&trainer);
}

/* What the model gives from make_zoo.py's parameters. */
static void predict(dpt_context *ctx, dpt_status (*build)(dpt_graph *, const dpt_model_options *),
                    const dpt_model_options *o, const float *sample, float *out) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_trainer_options t;
    dpt_trainer *trainer = NULL;
    dpt_trainer_options_init(&t);
    t.max_rows = BATCH;
    if (CHECK_OK(build(g, o)) && CHECK_OK(dpt_trainer_create(g, &t, &trainer))) {
        const dpt_array in[] = {{"x", sample, DPT_F32, DPT_HOST, BATCH, NULL}};
        set_params(trainer, g);
        CHECK_OK(dpt_trainer_predict(trainer, in, 1, "y", out, BATCH * sizeof(float)));
    }
    dpt_trainer_destroy(&trainer);
    dpt_graph_destroy(&g);
}

static void check_model(dpt_context *ctx, const small_model *s) {
    const zoo_golden *want = NULL;
    const dpt_model *model;
    for (int i = 0; i < GOLDEN; i++)
        if (strcmp(golden[i].name, s->name) == 0) want = &golden[i];
    if (!CHECK(want != NULL) || !CHECK_OK(dpt_model_find(s->name, &model))) return;
    dpt_model_options o = options_of(s, model);
    dpt_graph *g = dpt_graph_create(ctx);
    if (CHECK_OK(model->build(g, &o))) check_losses(g, &o, want, s->chaotic ? 1 : 2);
    dpt_graph_destroy(&g);
}

static void models(bool tiny) {
    dpt_context *ctx;
    bool all = strcmp(check_device(), "cpu") == 0;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (small[i].tiny == tiny && (tiny || all)) check_model(ctx, &small[i]);
    dpt_context_destroy(&ctx);
}
/* Fourier features are the fully connected layers behind cosines and sines of the drawn frequencies. */
static void fourier(void) {
    enum { WIDTH = 3, INPUTS = 2 };
    const double two_pi = 6.28318530717958648;
    float projection[WIDTH * INPUTS], point[BATCH * INPUTS] = {0.1F, -0.3F, 0.7F, 0.2F}, feature[BATCH * 2 * WIDTH];
    float got[BATCH], want[BATCH];
    dpt_context *ctx;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return;
    const dpt_init init = {DPT_INIT_NORMAL, 0, 0.5};
    CHECK_OK(dpt_init_fill("fourier.projection", init, DPT_F32, 2, ((int64_t[]){WIDTH, INPUTS}), 0, projection));
    for (int i = 0; i < BATCH * WIDTH; i++) {
        int row = i / WIDTH, k = i % WIDTH;
        double v = two_pi * (projection[k * INPUTS] * point[row * INPUTS] +
                             projection[k * INPUTS + 1] * point[row * INPUTS + 1]);
        feature[row * 2 * WIDTH + k] = (float)cos(v);
        feature[row * 2 * WIDTH + WIDTH + k] = (float)sin(v);
    }
    dpt_model_options o = {.in_ndim = 1,
                           .in_dim = {INPUTS},
                           .classes = 1,
                           .target_dtype = DPT_F32,
                           .loss = DPT_MODEL_MSE,
                           .n_hidden = 1,
                           .hidden = {4},
                           .activation = DPT_MODEL_TANH,
                           .width = WIDTH,
                           .sigma = 0.5};
    predict(ctx, dpt_model_fourier, &o, point, got);
    o.in_dim[0] = 2 * WIDTH;
    predict(ctx, dpt_model_mlp, &o, feature, want);
    for (int i = 0; i < BATCH; i++) CHECK_NEAR(got[i], want[i], 1e-5);
    CHECK(fabs((double)want[0] - (double)want[1]) > 1e-3);
    dpt_context_destroy(&ctx);
}

static void tiny(void) { models(true); }
static void large(void) { models(false); }

/* A model without a row above would be one that nothing compares. */
static void complete(void) {
    /* other sizes of one that is there; a case of its own, here or in test_spectral */
    static const char *const same[] = {"mlp4096",      "mlp355m", "resnet34", "vgg13", "vgg19",
                                       "cosmoflow128", "fourier", "fno1d",    "fno2d"};
    for (int i = 0; i < dpt_model_count; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof small / sizeof *small; k++)
            known |= strcmp(small[k].name, dpt_models[i].name) == 0;
        for (size_t k = 0; k < sizeof same / sizeof *same; k++) known |= strcmp(same[k], dpt_models[i].name) == 0;
        check_that(known, __FILE__, __LINE__, "model %s has no row", dpt_models[i].name);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "zoo_values", {"tiny", tiny}, {"large", large}, {"fourier", fourier},
                      {"complete", complete});
}
