/* test_spectral.c: Fourier transforms, spectral convolutions and the models made of them against PyTorch
 * (golden/make_fno.py): transforms in f32 and f64, of spectra too that belong to no real values; loss, output and
 * gradients of Fourier neural operators. */
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "dptrain/dptrain.h"
#include "golden/fno.h"
#include "graph/graph.h"
#include "graph_run.h"
#include "models/zoo.h"

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

enum { VALUES = 2048 };

static dpt_context *ctx;

static void in_context(void (*test)(void)) {
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    test();
    dpt_context_destroy(&ctx);
}

/* Element i of array `number`. */
static void wave(double *values, int n, int number, double scale) {
    for (int i = 0; i < n; i++) values[i] = scale * sin(0.7 * (i + 1) + number);
}

/* ---- transforms ---- */

typedef struct transform {
    int dims;
    int64_t size[3];
    const double *forth, *back;
    int n_forth, n_back;
} transform;

#define TRANSFORM(name, ...) \
    { COUNT(((const int64_t[]){__VA_ARGS__})), {__VA_ARGS__}, name, i##name, COUNT(name), COUNT(i##name) }
/* dims of 1: the first size is a number of transforms */
static const transform transforms[] = {TRANSFORM(fft2x6, 2, 6), TRANSFORM(fft3x5, 3, 5), TRANSFORM(fft4x4, 4, 4),
                                       TRANSFORM(fft2x3x4, 2, 3, 4)};

static void expect(graph_run *run, const char *output, const double *want, int n, double tolerance) {
    double values[VALUES];
    if (!CHECK_EQ_I64(graph_run_read(run, output, 1, values, VALUES), n)) return;
    const double error = check_relative_f64(values, want, n);
    check_that(error <= tolerance, __FILE__, __LINE__, "%s is off by %.3g (at most %g)", output, error, tolerance);
}

static void check_transform(const transform *t, int dims, dpt_dtype dtype) {
    double values[VALUES];
    int64_t real[4] = {DPT_BATCH}, spectrum[5] = {DPT_BATCH};
    for (int i = 0; i < t->dims; i++) real[1 + i] = spectrum[1 + i] = t->size[i];
    spectrum[t->dims] = t->size[t->dims - 1] / 2 + 1;
    spectrum[t->dims + 1] = 2;
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", dtype, 1 + t->dims, real), *y = dpt_input(g, "y", dtype, 2 + t->dims, spectrum);
    dpt_output(g, "forth", dpt_rfft(x, dims));
    dpt_output(g, "back", dpt_irfft(y, dims, t->size[t->dims - 1]));
    graph_run run;
    if (CHECK_OK(graph_run_open(&run, ctx, g, 3, 1, false))) {
        const double tolerance = dtype == DPT_F64 ? 1e-11 : 1e-6;
        wave(values, t->n_back, 1, 1);
        CHECK_OK(graph_run_set(&run, "x", DPT_F64, values, 1));
        wave(values, t->n_forth, 2, 1);
        CHECK_OK(graph_run_set(&run, "y", DPT_F64, values, 1));
        CHECK_OK(graph_run_forward(&run));
        expect(&run, "forth", t->forth, t->n_forth, tolerance);
        expect(&run, "back", t->back, t->n_back, tolerance);
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
}

static void check_transforms(void) {
    for (int i = 0; i < COUNT(transforms); i++)
        for (int f64 = 0; f64 <= 1; f64++)
            check_transform(&transforms[i], i == 0 ? 1 : transforms[i].dims, f64 ? DPT_F64 : DPT_F32);
}

/* ---- models ---- */

typedef struct golden_model {
    const char *name;
    int64_t size[2], modes;
    double loss;
    const double *out;
    const char *const *parameter;
    const double *norm, *product; /* of each gradient: its norm, and its product with a wave */
    int n_out, n_parameter;
} golden_model;

static int64_t count_of(const dpt_graph *g, const char *name) {
    int64_t n = 1, dim[DPT_MAX_NDIM];
    const int ndim = dpt_tensor_dims(dpt_graph_find_param(g, name)->tensor, dim);
    for (int i = 0; i < ndim; i++) n *= dim[i];
    return n;
}

static void set_parameters(dpt_trainer *t, const dpt_graph *g, const golden_model *m) {
    for (int k = 0; k < m->n_parameter; k++) {
        double values[VALUES];
        float narrow[VALUES];
        if (!CHECK(dpt_graph_find_param(g, m->parameter[k]) != NULL)) continue;
        const int n = (int)count_of(g, m->parameter[k]);
        wave(values, n, k, 0.8);
        for (int i = 0; i < n; i++) narrow[i] = (float)values[i];
        CHECK_OK(dpt_trainer_set(t, DPT_PARAMETER, m->parameter[k], narrow, (size_t)n * sizeof *narrow));
    }
}

static void check_gradients(dpt_trainer *t, const dpt_graph *g, const golden_model *m) {
    for (int k = 0; k < m->n_parameter; k++) {
        double with[VALUES], squares = 0, product = 0;
        float values[VALUES];
        const int n = (int)count_of(g, m->parameter[k]);
        CHECK_OK(dpt_trainer_get(t, DPT_GRADIENT, m->parameter[k], values, (size_t)n * sizeof *values));
        wave(with, n, 300, 1);
        for (int i = 0; i < n; i++) squares += (double)values[i] * (double)values[i], product += values[i] * with[i];
        const double error = fmax(fabs(sqrt(squares) - m->norm[k]), fabs(product - m->product[k])) / m->norm[k];
        check_that(error < 1e-4, __FILE__, __LINE__, "%s: the gradient of %s is off by %.3g", m->name, m->parameter[k],
                   error);
    }
}

static void check_model(const golden_model *m) {
    const dpt_model *model = NULL;
    double x[VALUES], y[VALUES], want[VALUES];
    float out[VALUES];
    dpt_metrics metrics;
    CHECK_OK(dpt_model_find(m->name, &model));
    dpt_model_options o = model->defaults;
    o.width = 3;
    o.modes = m->modes;
    for (int i = 0; i < o.in_ndim - 1; i++) o.in_dim[1 + i] = m->size[i];
    dpt_graph *g = dpt_graph_create(ctx);
    CHECK_OK(model->build(g, &o));
    CHECK_EQ_I64(g->n_param, m->n_parameter);
    dpt_trainer_options options;
    dpt_trainer_options_init(&options);
    options.max_rows = 3;
    dpt_trainer *t = NULL;
    if (CHECK_OK(dpt_trainer_create(g, &options, &t))) {
        wave(x, m->n_out, 100, 1);
        wave(y, m->n_out, 200, 1);
        const dpt_array in[] = {{.name = "x", .data = x, .dtype = DPT_F64, .rows = 2},
                                {.name = "y", .data = y, .dtype = DPT_F64, .rows = 2}};
        set_parameters(t, g, m);
        CHECK_OK(dpt_trainer_gradient(t, in, 2, &metrics));
        CHECK_NEAR(metrics.loss / m->loss, 1, 1e-5);
        check_gradients(t, g, m);
        CHECK_OK(dpt_trainer_predict(t, in, 1, "y", out, (size_t)m->n_out * sizeof *out));
        for (int i = 0; i < m->n_out; i++) want[i] = out[i];
        CHECK(check_relative_f64(want, m->out, m->n_out) < 1e-5);
    }
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
}

#define MODEL(name, of, modes, ...)                                                                              \
    {                                                                                                            \
        name, {__VA_ARGS__}, modes, of##_loss, of##_out, of##_names, of##_norms, of##_products, COUNT(of##_out), \
            COUNT(of##_names)                                                                                    \
    }

static void check_models(void) {
    const golden_model models[] = {MODEL("fno1d", fno1, 3, 8), MODEL("fno2d", fno2, 2, 4, 6)};
    for (int i = 0; i < COUNT(models); i++) check_model(&models[i]);
}

static void transforms_as_pytorch(void) { in_context(check_transforms); }
static void models_as_pytorch(void) { in_context(check_models); }

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "spectral", {"transforms", transforms_as_pytorch}, {"models", models_as_pytorch});
}
