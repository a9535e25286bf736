/* test_pool.c: pooling and resampling against PyTorch (golden/make_pool.py), values and gradients, in f32 and f64; what
 * is refused. Kernels in other layouts: test_layout_kernels.c. */
#include <math.h>

#include "dptrain/dptrain.h"
#include "golden/pool.h"
#include "graph_run.h"

#define B DPT_BATCH
#define SIZE(...) ((const int64_t[]){__VA_ARGS__})

enum { VALUES = 80 };

typedef dpt_tensor *(*build_fn)(dpt_tensor *x);
typedef struct golden {
    const char *name;
    build_fn build;
    int64_t rows;
    int ndim;
    int64_t dim[5];
    const double *x, *out, *dx;
    int n_x, n_out;
} golden;

#define MAX(name, ...) \
    static dpt_tensor *name(dpt_tensor *x) { return dpt_max_pool(x, ((dpt_pool_options){__VA_ARGS__})); }
#define AVG(name, ...) \
    static dpt_tensor *name(dpt_tensor *x) { return dpt_avg_pool(x, ((dpt_pool_options){__VA_ARGS__})); }
#define TO(name, call, ...) \
    static dpt_tensor *name(dpt_tensor *x) { return call(x, __VA_ARGS__); }
MAX(max1, .kernel = 3, .stride = 2, .pad = 1, .ceil = 1)
MAX(max2, .kernels = SIZE(3, 2), .strides = SIZE(2, 1), .pads = SIZE(1, 0), .ceil = 1)
MAX(max3, .kernel = 2)
AVG(avg1, .kernel = 3, .stride = 2, .pad = 1, .ceil = 1)
AVG(avg2, .kernels = SIZE(3, 2), .strides = SIZE(2, 2), .pads = SIZE(1, 1), .ceil = 1, .exclude_pad = 1)
AVG(avg3, .kernel = 3, .stride = 2, .pad = 1)
TO(adaptive_max2, dpt_adaptive_max_pool, SIZE(3, 2))
TO(adaptive_avg2, dpt_adaptive_avg_pool, SIZE(3, 2))
TO(adaptive_avg3, dpt_adaptive_avg_pool, SIZE(2, 1, 3))
TO(nearest1, dpt_resample, SIZE(7), DPT_NEAREST)
TO(nearest2, dpt_resample, SIZE(2, 6), DPT_NEAREST)
TO(nearest3, dpt_resample, SIZE(4, 2, 3), DPT_NEAREST)
TO(linear1, dpt_resample, SIZE(7), DPT_LINEAR)
TO(linear2, dpt_resample, SIZE(3, 6), DPT_LINEAR)
TO(linear3, dpt_resample, SIZE(4, 2, 3), DPT_LINEAR)
TO(corners1, dpt_resample, SIZE(7), DPT_LINEAR_CORNERS)
TO(corners2, dpt_resample, SIZE(3, 6), DPT_LINEAR_CORNERS)
TO(corners3, dpt_resample, SIZE(4, 2, 1), DPT_LINEAR_CORNERS)

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
#define GOLDEN(f, rows, ...)                                                        \
    {                                                                               \
#f, f, rows, COUNT(((const int64_t[]){0, __VA_ARGS__})),                    \
            {B, __VA_ARGS__ }, f##_x, f##_out, f##_dx, COUNT(f##_x), COUNT(f##_out) \
    }
static const golden goldens[] = {GOLDEN(max1, 2, 1, 8),
                                 GOLDEN(max2, 2, 1, 6, 4),
                                 GOLDEN(max3, 1, 2, 2, 4, 4),
                                 GOLDEN(avg1, 2, 1, 8),
                                 GOLDEN(avg2, 2, 1, 6, 4),
                                 GOLDEN(avg3, 1, 2, 3, 3, 4),
                                 GOLDEN(adaptive_max2, 2, 1, 5, 4),
                                 GOLDEN(adaptive_avg2, 2, 1, 5, 3),
                                 GOLDEN(adaptive_avg3, 1, 1, 3, 2, 5),
                                 GOLDEN(nearest1, 2, 1, 4),
                                 GOLDEN(nearest2, 2, 1, 3, 3),
                                 GOLDEN(nearest3, 1, 1, 2, 3, 2),
                                 GOLDEN(linear1, 2, 1, 4),
                                 GOLDEN(linear2, 2, 1, 5, 3),
                                 GOLDEN(linear3, 1, 1, 2, 3, 2),
                                 GOLDEN(corners1, 2, 1, 4),
                                 GOLDEN(corners2, 2, 1, 5, 3),
                                 GOLDEN(corners3, 1, 1, 2, 3, 2)};

static dpt_context *ctx;

static void expect(graph_run *run, const golden *f, const char *output, const double *want, int n, double tolerance) {
    double values[VALUES];
    if (!CHECK_EQ_I64(graph_run_read(run, output, f->rows, values, VALUES), n)) return;
    const double error = check_relative_f64(values, want, n);
    check_that(error <= tolerance, __FILE__, __LINE__, "%s: %s is off by %.3g (at most %g)", f->name, output, error,
               tolerance);
}

static void check_golden(const golden *f, dpt_dtype dtype) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", dtype, f->ndim, f->dim), *y = f->build(x);
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = dpt_tensor_dims(y, dim);
    dpt_tensor *loss = dpt_sum(dpt_mul(y, dpt_input(g, "p", dtype, ndim, dim)), DPT_ALL_AXES, 0);
    dpt_output(g, "out", y);
    dpt_output(g, "dx", dpt_gradient(loss, x));
    graph_run run;
    if (CHECK_OK(graph_run_open(&run, ctx, g, f->rows + 2, f->rows, false))) {
        const double tolerance = dtype == DPT_F64 ? 1e-12 : 1e-6;
        double p[VALUES];
        for (int i = 0; i < f->n_out; i++) p[i] = sin(i + 1);
        CHECK_OK(graph_run_set(&run, "x", DPT_F64, f->x, f->rows));
        CHECK_OK(graph_run_set(&run, "p", DPT_F64, p, f->rows));
        CHECK_OK(graph_run_forward(&run));
        expect(&run, f, "out", f->out, f->n_out, tolerance);
        expect(&run, f, "dx", f->dx, f->n_x, tolerance);
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
}

static void as_pytorch(void) {
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return;
    for (int i = 0; i < COUNT(goldens); i++) {
        check_golden(&goldens[i], DPT_F64);
        check_golden(&goldens[i], DPT_F32);
    }
    dpt_context_destroy(&ctx);
}

/* ---- what is refused ---- */

static dpt_tensor *large(dpt_tensor *x) { return dpt_avg_pool(x, ((dpt_pool_options){.kernel = 9, .pad = 1})); }
static dpt_tensor *padded(dpt_tensor *x) {
    return dpt_max_pool(x, ((dpt_pool_options){.kernels = SIZE(3, 2), .pads = SIZE(1, 2)}));
}
static dpt_tensor *flat(dpt_tensor *x) { return dpt_global_avg_pool(dpt_flatten(x)); }
static dpt_tensor *nowhere(dpt_tensor *x) { return dpt_resample(x, SIZE(4, 0), DPT_LINEAR); }
static dpt_tensor *no_kernel(dpt_tensor *x) { return dpt_avg_pool(x, ((dpt_pool_options){.stride = 2})); }
static dpt_tensor *modes(dpt_tensor *x) { return dpt_spectral_conv(x, 2, SIZE(4, 3), "sc"); }
static dpt_tensor *dims(dpt_tensor *x) { return dpt_rfft(x, 4); }
static dpt_tensor *over_batch(dpt_tensor *x) { return dpt_rfft(dpt_flatten(x), 2); }
static dpt_tensor *other_n(dpt_tensor *x) { return dpt_irfft(x, 1, 9); }

static void refusals(void) {
    static const struct {
        build_fn build;
        const char *says;
    } cases[] = {{large, "avg_pool: x is [B,3,6,5], kernel 9, pad 1: the kernel is larger than the padded x"},
                 {padded, "max_pool: kernel is 3x2, stride 3x2, pad 1x2"},
                 {flat, "avg_pool: x is f32 [B,90]"},
                 {nowhere, "resample: x is [B,3,6,5], the size asked for 4x0"},
                 {no_kernel, "avg_pool: kernel is 0, stride 2"},
                 {modes, "spectral_conv \"sc\": x is [B,3,6,5], 4 modes of spatial dimension 0: 1 to 3"},
                 {dims, "rfft: x is [B,3,6,5], dims 4"},
                 {over_batch, "rfft: x is f32 [B,90]"},
                 {other_n, "irfft: x is f32 [B,3,6,5], n is 9"}};
    for (int i = 0; i < COUNT(cases); i++) {
        dpt_graph *g = dpt_graph_create(NULL);
        cases[i].build(dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){B, 3, 6, 5})));
        CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, cases[i].says);
        dpt_graph_destroy(&g);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "pool", {"as_pytorch", as_pytorch}, {"refusals", refusals});
}
