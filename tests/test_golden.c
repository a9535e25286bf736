/* test_golden.c: against PyTorch (golden/make_golden.py): functions and their gradients, in f64 and f32, fused and not;
 * parameters after some steps of training, which takes in conv, pool, batch norm, linear, the losses, SGD and AdamW. */
#include <stdio.h>

#include "base/memory.h"
#include "dptrain/dptrain.h"
#include "golden/conv.h"
#include "golden/golden.h"
#include "graph_run.h"

#define ARRAY(a) a, (int)(sizeof(a) / sizeof *(a))
#define DIMS(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), { __VA_ARGS__ }
#define B DPT_BATCH

enum { INPUTS = 3, VALUES = 400 };

static dpt_context *ctx;

static void in_context(void (*test)(void)) {
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return;
    test();
    dpt_context_destroy(&ctx);
}

/* ---- functions ---- */

typedef struct golden_input {
    const double *value;
    int n;
    int ndim;
    int64_t dim[5];
    const double *gradient; /* NULL: integers */
} golden_input;

typedef struct golden_function {
    const char *name;
    dpt_tensor *(*build)(dpt_tensor *const *in);
    int64_t rows;
    golden_input in[INPUTS];
    const double *out, *weight; /* the gradients are those of sum(weight * out) */
    int n_out;
} golden_function;

static dpt_tensor *relu(dpt_tensor *const *in) { return dpt_relu(in[0]); }
static dpt_tensor *tanh_(dpt_tensor *const *in) { return dpt_tanh(in[0]); }
static dpt_tensor *gelu(dpt_tensor *const *in) { return dpt_gelu(in[0]); }
static dpt_tensor *softmax(dpt_tensor *const *in) { return dpt_softmax(in[0]); }
static dpt_tensor *cross_entropy(dpt_tensor *const *in) { return dpt_cross_entropy(in[0], in[1]); }
static dpt_tensor *mse(dpt_tensor *const *in) { return dpt_mse(in[0], in[1]); }
static dpt_tensor *linear(dpt_tensor *const *in) { return dpt_linear_with(in[0], in[1], in[2]); }
static dpt_tensor *conv(dpt_tensor *const *in) {
    const dpt_conv_options options = {.pad = 1};
    return dpt_conv_with(in[0], in[1], in[2], options);
}
static dpt_tensor *strided(dpt_tensor *const *in) {
    const dpt_conv_options options = {.stride = 2, .pad = 2, .dilation = 2, .groups = 2};
    return dpt_conv_with(in[0], in[1], in[2], options);
}
static dpt_tensor *conv1d(dpt_tensor *const *in) {
    const dpt_conv_options options = {.stride = 2, .pad = 2, .dilation = 2, .groups = 2};
    return dpt_conv_with(in[0], in[1], in[2], options);
}
static dpt_tensor *conv3d(dpt_tensor *const *in) {
    const dpt_conv_options options = {.strides = (const int64_t[]){1, 2, 1}, .pads = (const int64_t[]){1, 0, 1}};
    return dpt_conv_with(in[0], in[1], in[2], options);
}
static dpt_tensor *deconv1d(dpt_tensor *const *in) {
    const dpt_conv_options options = {.stride = 3, .pad = 1, .dilation = 2, .output_pads = (const int64_t[]){2}};
    return dpt_conv_transpose_with(in[0], in[1], in[2], options);
}
static dpt_tensor *deconv2d(dpt_tensor *const *in) {
    const dpt_conv_options options = {.stride = 2, .groups = 2, .output_pads = (const int64_t[]){1, 0}};
    return dpt_conv_transpose_with(in[0], in[1], in[2], options);
}
static dpt_tensor *deconv3d(dpt_tensor *const *in) {
    return dpt_conv_transpose_with(in[0], in[1], in[2], (dpt_conv_options){.stride = 2});
}
static dpt_tensor *pool(dpt_tensor *const *in) { return dpt_max_pool2d(in[0], 3, 2, 1); }

#define RESULT(name) .out = name##_out, .weight = name##_p, .n_out = (int)(sizeof name##_out / sizeof *name##_out)

/* Of two rows. */
#define CONV(name, x_dims, w_dims, b_dims)                                                                 \
    {                                                                                                      \
#name, name, 2,                                                                                    \
            {{ARRAY(name##_x), x_dims, name##_dx },                                                        \
              {ARRAY(name##_w), w_dims, name##_dw }, {ARRAY(name##_b), b_dims, name##_db } }, RESULT(name) \
    }

static const golden_function functions[] = {
    {"relu", relu, 44, {{ARRAY(relu_input), DIMS(B), relu_dinput}}, RESULT(relu)},
    {"tanh", tanh_, 44, {{ARRAY(tanh_input), DIMS(B), tanh_dinput}}, RESULT(tanh)},
    {"gelu", gelu, 44, {{ARRAY(gelu_input), DIMS(B), gelu_dinput}}, RESULT(gelu)},
    {"softmax", softmax, 3, {{ARRAY(softmax_x), DIMS(B, 6), softmax_dx}}, RESULT(softmax)},
    {"cross_entropy",
     cross_entropy,
     3,
     {{ARRAY(cross_entropy_x), DIMS(B, 6), cross_entropy_dx}, {ARRAY(cross_entropy_t), DIMS(B), NULL}},
     RESULT(cross_entropy)},
    {"mse", mse, 3, {{ARRAY(mse_y), DIMS(B, 4), mse_dy}, {ARRAY(mse_t), DIMS(B, 4), mse_dt}}, RESULT(mse)},
    {"linear",
     linear,
     3,
     {{ARRAY(linear_input), DIMS(B, 4), linear_dinput},
      {ARRAY(linear_weight), DIMS(2, 4), linear_dweight},
      {ARRAY(linear_bias), DIMS(2), linear_dbias}},
     RESULT(linear)},
    {"conv",
     conv,
     3,
     {{ARRAY(conv_x), DIMS(B, 2, 5, 4), conv_dx},
      {ARRAY(conv_w), DIMS(3, 2, 3, 3), conv_dw},
      {ARRAY(conv_b), DIMS(3), conv_db}},
     RESULT(conv)},
    {"strided",
     strided,
     3,
     {{ARRAY(strided_x), DIMS(B, 4, 6, 5), strided_dx},
      {ARRAY(strided_w), DIMS(4, 2, 3, 3), strided_dw},
      {ARRAY(strided_b), DIMS(4), strided_db}},
     RESULT(strided)},
    CONV(conv1d, DIMS(B, 4, 9), DIMS(6, 2, 3), DIMS(6)),
    CONV(conv3d, DIMS(B, 2, 2, 5, 3), DIMS(3, 2, 2, 3, 3), DIMS(3)),
    CONV(deconv1d, DIMS(B, 2, 4), DIMS(2, 3, 3), DIMS(3)),
    CONV(deconv2d, DIMS(B, 4, 3, 2), DIMS(4, 2, 3, 2), DIMS(4)),
    CONV(deconv3d, DIMS(B, 2, 2, 1, 2), DIMS(2, 3, 2, 2, 2), DIMS(3)),
    {"pool", pool, 3, {{ARRAY(pool_x), DIMS(B, 2, 5, 6), pool_dx}}, RESULT(pool)},
};

static dpt_graph *function_graph(const golden_function *f, dpt_dtype dtype) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *in[INPUTS] = {NULL};
    char name[16];
    for (int k = 0; k < INPUTS && f->in[k].value; k++) {
        snprintf(name, sizeof name, "in%d", k);
        in[k] = dpt_input(g, name, f->in[k].gradient ? dtype : DPT_I64, f->in[k].ndim, f->in[k].dim);
    }
    dpt_tensor *out = f->build(in);
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = dpt_tensor_dims(out, dim);
    dpt_tensor *loss = dpt_sum(dpt_mul(out, dpt_input(g, "weight", dtype, ndim, dim)), DPT_ALL_AXES, 0);
    dpt_output(g, "out", out);
    for (int k = 0; k < INPUTS && f->in[k].gradient; k++) {
        snprintf(name, sizeof name, "d%d", k);
        dpt_output(g, name, dpt_gradient(loss, in[k]));
    }
    return g;
}

static void feed(graph_run *run, const golden_function *f) {
    int64_t integer[VALUES];
    for (int k = 0; k < INPUTS && f->in[k].value; k++) {
        const golden_input *in = &f->in[k];
        char name[16];
        snprintf(name, sizeof name, "in%d", k);
        for (int i = 0; i < in->n; i++) integer[i] = (int64_t)in->value[i];
        if (in->gradient)
            CHECK_OK(graph_run_set(run, name, DPT_F64, in->value, f->rows));
        else
            CHECK_OK(graph_run_set(run, name, DPT_I64, integer, f->rows));
    }
    CHECK_OK(graph_run_set(run, "weight", DPT_F64, f->weight, f->rows));
}

static void expect(graph_run *run, const golden_function *f, const char *output, const double *want, int n,
                   double tolerance) {
    double values[VALUES];
    if (!CHECK_EQ_I64(graph_run_read(run, output, f->rows, values, VALUES), n)) return;
    const double error = check_relative_f64(values, want, n);
    check_that(error <= tolerance, __FILE__, __LINE__, "%s: %s is off by %.3g (at most %g)", f->name, output, error,
               tolerance);
}

static void check_function(const golden_function *f, dpt_dtype dtype, bool fused) {
    dpt_graph *g = function_graph(f, dtype);
    graph_run run;
    if (CHECK_OK(graph_run_open(&run, ctx, g, f->rows + 2, f->rows, fused))) {
        const double tolerance = dtype == DPT_F64 ? 1e-12 : 2e-6;
        feed(&run, f);
        CHECK_OK(graph_run_forward(&run));
        expect(&run, f, "out", f->out, f->n_out, tolerance);
        for (int k = 0; k < INPUTS && f->in[k].gradient; k++) {
            char name[16];
            snprintf(name, sizeof name, "d%d", k);
            expect(&run, f, name, f->in[k].gradient, f->in[k].n, tolerance);
        }
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
}

static void check_functions(void) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        for (int fused = 0; fused <= 1; fused++) {
            check_function(&functions[i], DPT_F32, fused);
            check_function(&functions[i], DPT_F64, fused);
        }
}

/* ---- training ---- */

typedef struct golden_value {
    dpt_what what;
    const char *name;
    const double *before, *after; /* before is NULL for state */
    int n;
} golden_value;

static void set_parameters(dpt_trainer *t, const golden_value *v, int n) {
    float values[VALUES];
    for (int k = 0; k < n; k++) {
        if (v[k].before == NULL) continue;
        for (int i = 0; i < v[k].n; i++) values[i] = (float)v[k].before[i];
        CHECK_OK(dpt_trainer_set(t, v[k].what, v[k].name, values, (size_t)v[k].n * sizeof *values));
    }
}

static void check_values(dpt_trainer *t, const golden_value *v, int n) {
    float values[VALUES], want[VALUES];
    for (int k = 0; k < n; k++) {
        if (!CHECK_OK(dpt_trainer_get(t, v[k].what, v[k].name, values, (size_t)v[k].n * sizeof *values))) continue;
        for (int i = 0; i < v[k].n; i++) want[i] = (float)v[k].after[i];
        const double error = check_relative_f32(values, want, v[k].n);
        check_that(error <= 1e-5, __FILE__, __LINE__, "%s is off by %.3g (at most 1e-5)", v[k].name, error);
    }
}

typedef struct golden_training {
    const double *x, *t;
    int64_t rows;
    dpt_dtype t_dtype;
    int steps;
    double loss, norm; /* of the first step */
    const golden_value *value;
    int n_value;
} golden_training;

static void check_training(dpt_graph *g, const dpt_trainer_options *o, const golden_training *run) {
    int64_t target[VALUES] = {0};
    for (int64_t i = 0; i < run->rows; i++) target[i] = (int64_t)run->t[i];
    const bool integer = run->t_dtype == DPT_I64;
    const dpt_array in[] = {
        {.name = "x", .data = run->x, .dtype = DPT_F64, .rows = run->rows},
        {.name = "t", .data = integer ? (const void *)target : run->t, .dtype = run->t_dtype, .rows = run->rows}};
    dpt_trainer *t = NULL;
    if (CHECK_OK(dpt_trainer_create(g, o, &t))) {
        set_parameters(t, run->value, run->n_value);
        for (int step = 0; step < run->steps; step++) {
            dpt_metrics m;
            CHECK_OK(dpt_trainer_step(t, in, 2, NULL));
            CHECK_OK(dpt_trainer_sync(t, &m));
            if (step > 0) continue;
            CHECK_NEAR(m.loss, run->loss, 1e-6);
            CHECK_NEAR(m.grad_norm, run->norm, 1e-5);
        }
        check_values(t, run->value, run->n_value);
    }
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
}

static dpt_graph *cnn_graph(void) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input_at(DPT_HERE, g, "x", DPT_F32, 4, (int64_t[]){B, 2, 6, 6});
    dpt_tensor *t = dpt_input_at(DPT_HERE, g, "t", DPT_I64, 1, (int64_t[]){B});
    const dpt_conv_options options = {.pad = 1};
    const dpt_batch_norm_options norm = {0};
    dpt_tensor *h = dpt_batch_norm(dpt_conv2d(x, 3, 3, 1, options, "conv"), norm, "bn");
    dpt_tensor *y = dpt_linear(dpt_flatten(dpt_max_pool2d(dpt_relu(h), 2, 0, 0)), 4, "fc");
    dpt_loss_add(g, dpt_cross_entropy(y, t), 1.0, NULL);
    return g;
}

static dpt_graph *mlp_graph(dpt_activation act) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *h = dpt_input_at(DPT_HERE, g, "x", DPT_F32, 2, (int64_t[]){B, 3});
    dpt_tensor *t = dpt_input_at(DPT_HERE, g, "t", DPT_F32, 2, (int64_t[]){B, 2});
    const char *const name[] = {"fc1", "fc2"};
    for (int i = 0; i < 2; i++) {
        h = dpt_linear(h, i ? 5 : 6, name[i]);
        h = act == DPT_ACT_GELU ? dpt_gelu(h) : dpt_tanh(h);
    }
    dpt_loss_add(g, dpt_mse(dpt_linear(h, 2, "fc3"), t), 1.0, NULL);
    return g;
}

#define PARAMETER(run, name, text) \
    { DPT_PARAMETER, text, run##_##name##_before, ARRAY(run##_##name##_after) }
#define STATE(run, name, text) \
    { DPT_STATE, text, NULL, ARRAY(run##_##name##_after) }
#define CNN_VALUES(run)                                                                                  \
    {                                                                                                    \
        PARAMETER(run, conv_weight, "conv.weight"), PARAMETER(run, conv_bias, "conv.bias"),              \
            PARAMETER(run, bn_weight, "bn.weight"), PARAMETER(run, bn_bias, "bn.bias"),                  \
            PARAMETER(run, fc_weight, "fc.weight"), PARAMETER(run, fc_bias, "fc.bias"),                  \
            STATE(run, bn_running_mean, "bn.running_mean"), STATE(run, bn_running_var, "bn.running_var") \
    }
#define MLP_VALUES(run)                                                                     \
    {                                                                                       \
        PARAMETER(run, fc1_weight, "fc1.weight"), PARAMETER(run, fc1_bias, "fc1.bias"),     \
            PARAMETER(run, fc2_weight, "fc2.weight"), PARAMETER(run, fc2_bias, "fc2.bias"), \
            PARAMETER(run, fc3_weight, "fc3.weight"), PARAMETER(run, fc3_bias, "fc3.bias")  \
    }
#define TRAINING(run, rows_, dtype_, steps_)                                                                        \
    {                                                                                                               \
        .x = run##_x, .t = run##_t, .rows = (rows_), .t_dtype = (dtype_), .steps = (steps_), .loss = run##_loss[0], \
        .norm = run##_norm[0], .value = value, .n_value = (int)(sizeof value / sizeof *value)                       \
    }

static dpt_trainer_options options_of(dpt_optimizer optimizer, double lr, int64_t rows) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = rows;
    o.optimizer = optimizer;
    o.lr = lr;
    return o;
}

static void check_sgd(void) {
    static const golden_value value[] = CNN_VALUES(sgd);
    const golden_training run = TRAINING(sgd, 5, DPT_I64, 5);
    dpt_trainer_options o = options_of(DPT_SGD, 0.05, 8);
    o.momentum = 0.9;
    check_training(cnn_graph(), &o, &run);
}

static void check_nesterov(void) {
    static const golden_value value[] = CNN_VALUES(nesterov);
    const golden_training run = TRAINING(nesterov, 5, DPT_I64, 5);
    dpt_trainer_options o = options_of(DPT_SGD, 0.05, 5);
    o.momentum = 0.9;
    o.nesterov = 1;
    o.weight_decay = 0.01;
    check_training(cnn_graph(), &o, &run);
}

static void check_adamw(void) {
    static const golden_value value[] = MLP_VALUES(adamw);
    const golden_training run = TRAINING(adamw, 7, DPT_F64, 6);
    dpt_trainer_options o = options_of(DPT_ADAMW, 0.01, 7);
    o.beta1 = 0.8;
    o.beta2 = 0.95;
    o.eps = 1e-6;
    o.weight_decay = 0.1;
    check_training(mlp_graph(DPT_ACT_GELU), &o, &run);
}

static void check_clipped(void) {
    static const golden_value value[] = MLP_VALUES(clipped);
    const golden_training run = TRAINING(clipped, 7, DPT_F64, 6);
    dpt_trainer_options o = options_of(DPT_SGD, 0.2, 16);
    o.momentum = 0.5;
    o.clip_norm = 0.25;
    check_training(mlp_graph(DPT_ACT_TANH), &o, &run);
}

#define CASE(name) \
    static void run_##name(void) { in_context(check_##name); }
CASE(functions)
CASE(sgd)
CASE(nesterov)
CASE(adamw)
CASE(clipped)

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "golden", {"functions", run_functions}, {"sgd", run_sgd}, {"nesterov", run_nesterov},
                      {"adamw", run_adamw}, {"clipped", run_clipped});
}
