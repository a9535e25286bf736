/* test_norm_golden.c: the layers that normalise, and embedding, against PyTorch (golden/make_norm.py), as a user builds
 * and trains them: results, gradients of x and of the layer's parameters, running statistics; and what their
 * constructors refuse. */
#include <stdio.h>

#include "check.h"
#include "dptrain/dptrain.h"
#include "golden/norm.h"

#define B DPT_BATCH

enum { VALUES = 64 };

static dpt_context *ctx;

typedef struct golden_layer {
    const char *name;
    dpt_tensor *(*build)(dpt_tensor *x, const char *name);
    int64_t rows;
    const double *x;
    int n_x, ndim;
    int64_t dim[4];
    const double *dx; /* NULL: ids */
    const double *p, *out;
    int n_out;
    const double *weight, *dweight;
    int n_weight;
    const double *bias, *dbias; /* of as many; or NULL */
    bool trains;                /* batch norm: out is that of training, which shows in the loss alone */
} golden_layer;

static dpt_tensor *layer(dpt_tensor *x, const char *name) { return dpt_layer_norm(x, 2, 0, name); }
static dpt_tensor *rms(dpt_tensor *x, const char *name) { return dpt_rms_norm(x, 1, 0, name); }
static dpt_tensor *group(dpt_tensor *x, const char *name) { return dpt_group_norm(x, 3, 0, name); }
static dpt_tensor *instance(dpt_tensor *x, const char *name) { return dpt_group_norm(x, 3, 0, name); }
static dpt_tensor *embedding(dpt_tensor *x, const char *name) { return dpt_embedding(x, 5, 3, name); }
static dpt_tensor *batch(dpt_tensor *x, const char *name) {
    return dpt_batch_norm(x, ((dpt_batch_norm_options){0}), name);
}

#define LAYER(f, build_, rows_, shape_, dx_)                                                                        \
    .name = #f, .build = (build_), .rows = (rows_), .x = f##_x, .n_x = (int)(sizeof f##_x / sizeof *f##_x), shape_, \
    .dx = (dx_), .p = f##_p, .out = f##_out, .n_out = (int)(sizeof f##_out / sizeof *f##_out), .weight = f##_w,     \
    .dweight = f##_dw, .n_weight = (int)(sizeof f##_w / sizeof *f##_w)
#define BIAS(f) .bias = f##_b, .dbias = f##_db
#define SHAPE(n, ...) .ndim = (n), .dim = {__VA_ARGS__}
#define embedding_x embedding_id

static const golden_layer layers[] = {
    {LAYER(layer, layer, 3, SHAPE(3, B, 2, 5), layer_dx), BIAS(layer)},
    {LAYER(rms, rms, 3, SHAPE(3, B, 2, 7), rms_dx)},
    {LAYER(group, group, 2, SHAPE(4, B, 6, 2, 2), group_dx), BIAS(group)},
    {LAYER(instance, instance, 2, SHAPE(3, B, 3, 5), instance_dx), BIAS(instance)},
    {LAYER(embedding, embedding, 2, SHAPE(2, B, 3), NULL)},
    {LAYER(flat, batch, 5, SHAPE(2, B, 3), flat_dx), BIAS(flat), .trains = true},
    {LAYER(planes, batch, 3, SHAPE(4, B, 2, 2, 2), planes_dx), BIAS(planes), .trains = true},
};

static dpt_graph *graph_of(const golden_layer *l, dpt_dtype dtype) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", l->dx ? dtype : DPT_I64, l->ndim, l->dim), *y = l->build(x, "norm");
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = dpt_tensor_dims(y, dim);
    dpt_tensor *p = dpt_input(g, "p", dtype, ndim, dim), *sum = dpt_sum(dpt_mul(p, y), DPT_ALL_AXES, 0);
    dpt_output(g, "y", y);
    if (l->dx) dpt_output(g, "dx", dpt_gradient(sum, x));
    dpt_loss_add(g, sum, 1.0, NULL);
    return g;
}

static void expect(const golden_layer *l, const char *what, const void *got, dpt_dtype dtype, const double *want,
                   int n) {
    double values[VALUES];
    for (int i = 0; i < n; i++)
        values[i] = dtype == DPT_F32 ? (double)((const float *)got)[i] : ((const double *)got)[i];
    const double error = check_relative_f64(values, want, n), most = dtype == DPT_F32 ? 3e-6 : 1e-10;
    check_that(error <= most, __FILE__, __LINE__, "%s, %s: %s is off by %.3g (at most %g)", l->name,
               dpt_dtype_text(dtype), what, error, most);
}

static void set_parameter(dpt_trainer *t, const char *name, dpt_dtype dtype, const double *values, int n) {
    float narrow[VALUES];
    for (int i = 0; i < n; i++) narrow[i] = (float)values[i];
    const bool f32 = dtype == DPT_F32;
    CHECK_OK(dpt_trainer_set(t, DPT_PARAMETER, name, f32 ? (const void *)narrow : (const void *)values,
                             (size_t)n * dpt_dtype_size(dtype)));
}

static void check_parameters(const golden_layer *l, dpt_trainer *t, dpt_dtype dtype) {
    double got[VALUES];
    const size_t bytes = (size_t)l->n_weight * dpt_dtype_size(dtype);
    if (CHECK_OK(dpt_trainer_get(t, DPT_GRADIENT, "norm.weight", got, bytes)))
        expect(l, "dweight", got, dtype, l->dweight, l->n_weight);
    if (l->bias && CHECK_OK(dpt_trainer_get(t, DPT_GRADIENT, "norm.bias", got, bytes)))
        expect(l, "dbias", got, dtype, l->dbias, l->n_weight);
}

static void check_values(const golden_layer *l, dpt_trainer *t, dpt_dtype dtype) {
    int64_t id[VALUES];
    double got[VALUES], loss = 0;
    dpt_metrics m;
    for (int i = 0; i < l->n_x; i++) id[i] = (int64_t)l->x[i];
    for (int i = 0; i < l->n_out; i++) loss += l->p[i] * l->out[i];
    const dpt_array in[] = {
        {.name = "x", .data = l->dx ? (const void *)l->x : id, .dtype = l->dx ? DPT_F64 : DPT_I64, .rows = l->rows},
        {.name = "p", .data = l->p, .dtype = DPT_F64, .rows = l->rows}};
    if (CHECK_OK(dpt_trainer_gradient(t, in, 2, &m))) CHECK_NEAR(m.loss, loss, dtype == DPT_F32 ? 1e-5 : 1e-10);
    check_parameters(l, t, dtype);
    if (!l->trains && CHECK_OK(dpt_trainer_predict(t, in, 1, "y", got, (size_t)l->n_out * dpt_dtype_size(dtype))))
        expect(l, "y", got, dtype, l->out, l->n_out);
    if (l->dx && CHECK_OK(dpt_trainer_predict(t, in, 2, "dx", got, (size_t)l->n_x * dpt_dtype_size(dtype))))
        expect(l, "dx", got, dtype, l->dx, l->n_x);
}

static void check_layer(const golden_layer *l, dpt_dtype dtype) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = l->rows + 1;
    dpt_graph *g = graph_of(l, dtype);
    dpt_trainer *t = NULL;
    if (CHECK_OK(dpt_trainer_create(g, &o, &t))) {
        set_parameter(t, "norm.weight", dtype, l->weight, l->n_weight);
        if (l->bias) set_parameter(t, "norm.bias", dtype, l->bias, l->n_weight);
        check_values(l, t, dtype);
    }
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
}

static void golden_values(void) {
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        check_layer(&layers[i], DPT_F32);
        if (layers[i].build != embedding) check_layer(&layers[i], DPT_F64);
    }
}

/* ---- running statistics after two steps ---- */

static void check_running(const golden_layer *l, dpt_dtype dtype, const double *first, const double *mean,
                          const double *var) {
    dpt_trainer_options o;
    double got[VALUES];
    dpt_trainer_options_init(&o);
    o.max_rows = l->rows;
    o.lr = 0;
    dpt_graph *g = graph_of(l, dtype);
    dpt_trainer *t = NULL;
    if (CHECK_OK(dpt_trainer_create(g, &o, &t))) {
        const size_t bytes = (size_t)l->n_weight * dpt_dtype_size(dtype);
        for (int step = 0; step < 2; step++) {
            const dpt_array in[] = {{.name = "x", .data = step ? l->x : first, .dtype = DPT_F64, .rows = l->rows},
                                    {.name = "p", .data = l->p, .dtype = DPT_F64, .rows = l->rows}};
            CHECK_OK(dpt_trainer_step(t, in, 2, NULL));
        }
        CHECK_OK(dpt_trainer_sync(t, NULL));
        if (CHECK_OK(dpt_trainer_get(t, DPT_STATE, "norm.running_mean", got, bytes)))
            expect(l, "running mean", got, dtype, mean, l->n_weight);
        if (CHECK_OK(dpt_trainer_get(t, DPT_STATE, "norm.running_var", got, bytes)))
            expect(l, "running variance", got, dtype, var, l->n_weight);
    }
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
}

static void running_statistics(void) {
    for (int dtype = DPT_F32; dtype <= DPT_F64; dtype++) {
        check_running(&layers[5], (dpt_dtype)dtype, flat_first, flat_mean, flat_var);
        check_running(&layers[6], (dpt_dtype)dtype, planes_first, planes_mean, planes_var);
    }
}

/* ---- ids out of range ---- */

static void ids_out_of_range(void) {
    static const int32_t id[] = {1, -1, 5, 0};
    float y[12], dweight[15], p[12];
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = 4;
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *out = dpt_embedding(dpt_input(g, "x", DPT_I32, 1, ((int64_t[]){B})), 5, 3, "table");
    dpt_output(g, "y", out);
    dpt_loss_add(g, dpt_sum(dpt_mul(dpt_input(g, "p", DPT_F32, 2, ((int64_t[]){B, 3})), out), DPT_ALL_AXES, 0), 1,
                 NULL);
    dpt_trainer *t = NULL;
    for (int i = 0; i < 12; i++) p[i] = (float)(i + 1);
    const dpt_array in[] = {{.name = "x", .data = id, .dtype = DPT_I32, .rows = 4},
                            {.name = "p", .data = p, .dtype = DPT_F32, .rows = 4}};
    if (CHECK_OK(dpt_trainer_create(g, &o, &t)) && CHECK_OK(dpt_trainer_predict(t, in, 1, "y", y, sizeof y)) &&
        CHECK_OK(dpt_trainer_gradient(t, in, 2, NULL)) &&
        CHECK_OK(dpt_trainer_get(t, DPT_GRADIENT, "table.weight", dweight, sizeof dweight))) {
        for (int i = 0; i < 12; i++) CHECK(isnan(y[i]) == (i >= 3 && i < 9));
        for (int i = 0; i < 15; i++) CHECK(dweight[i] == (i < 3 ? p[9 + i] : i < 6 ? p[i - 3] : 0));
    }
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
}

/* ---- what constructors refuse ---- */

#define REFUSES(code, text, ...)                                               \
    do {                                                                       \
        dpt_graph *g = dpt_graph_create(NULL);                                 \
        dpt_tensor *x = dpt_input(g, "x", DPT_F32, 3, ((int64_t[]){B, 6, 4})); \
        dpt_tensor *id = dpt_input(g, "id", DPT_U8, 1, ((int64_t[]){B}));      \
        (void)x, (void)id, (void)(__VA_ARGS__);                                \
        CHECK_FAILS(dpt_graph_status(g), code, text);                          \
        CHECK_FAILS(dpt_graph_status(g), code, "test_norm_golden.c:");         \
        dpt_graph_destroy(&g);                                                 \
    } while (0)

static void refuses(void) {
    REFUSES(DPT_ERR_SHAPE, "group_norm \"gn\": x is f32 [B,6,4], in 4 groups", dpt_group_norm(x, 4, 0, "gn"));
    REFUSES(DPT_ERR_SHAPE, "group_norm \"gn\": x is f32 [B,6,4], in -1 groups", dpt_group_norm(x, 0, 0, "gn"));
    REFUSES(DPT_ERR_SHAPE, "layer_norm \"ln\": x is f32 [B,6,4], to be normalised over its last 3 dimensions",
            dpt_layer_norm(x, 3, 0, "ln"));
    REFUSES(DPT_ERR_SHAPE, "last 0 dimensions", dpt_rms_norm(x, 0, 0, "rn"));
    REFUSES(DPT_ERR_SHAPE, "x is u8 [B]", dpt_layer_norm(id, 1, 0, "ln"));
    REFUSES(DPT_ERR_ARG, "eps is -1", dpt_layer_norm(x, 1, -1, "ln"));
    REFUSES(DPT_ERR_ARG, "a name is needed", dpt_rms_norm(x, 1, 0, NULL));
    REFUSES(DPT_ERR_SHAPE, "ids are f32 [B,6,4]", dpt_embedding(x, 3, 4, "table"));
    REFUSES(DPT_ERR_SHAPE, "embedding \"table\": a table of 0 rows of 4", dpt_embedding(id, 0, 4, "table"));
    REFUSES(DPT_ERR_ARG, "a name is needed", dpt_embedding(id, 3, 4, ""));
}

/* ---- cases ---- */

#define CASE(name)                                                    \
    static void run_##name(void) {                                    \
        if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return; \
        name();                                                       \
        dpt_context_destroy(&ctx);                                    \
    }
CASE(golden_values)
CASE(running_statistics)
CASE(ids_out_of_range)

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "norm_golden", {"golden_values", run_golden_values},
                      {"running_statistics", run_running_statistics}, {"ids_out_of_range", run_ids_out_of_range},
                      {"refuses", refuses});
}
