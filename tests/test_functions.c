/* test_functions.c: functions of one number and their slopes against PyTorch (golden/make_functions.py) at 0, small,
 * large and infinite numbers and NaN, in f64 and f32; f32 loops against libm over their whole range, and whatever
 * stands beside an element; where transpose,
 * concat, slice, pad, gather, max, min and where put elements; indices out of range; what constructors refuse. */
#include <float.h>
#include <stdio.h>

#include "base/memory.h"
#include "dptrain/dptrain.h"
#include "golden/functions.h"
#include "graph_run.h"

#define DIMS(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
#define B DPT_BATCH

enum { POINTS = sizeof function_x / sizeof *function_x, MOST = 1 << 16 };

static dpt_context *ctx;

static void in_context(void (*test)(void)) {
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return;
    test();
    dpt_context_destroy(&ctx);
}

/* ---- functions ---- */

static dpt_tensor *leaky(dpt_tensor *x) { return dpt_leaky_relu(x, 0.125); }
static dpt_tensor *clamp_(dpt_tensor *x) { return dpt_clamp(x, -1.0, 2.0); }
static dpt_tensor *power_2(dpt_tensor *x) { return dpt_power(x, 2); }
static dpt_tensor *power_3(dpt_tensor *x) { return dpt_power(x, 3); }
static dpt_tensor *power_half(dpt_tensor *x) { return dpt_power(x, 0.5); }
static dpt_tensor *power_less_1(dpt_tensor *x) { return dpt_power(x, -1); }
static dpt_tensor *power_less_2(dpt_tensor *x) { return dpt_power(x, -2); }
static dpt_tensor *power_1_75(dpt_tensor *x) { return dpt_power(x, 1.75); }
#define PLAIN(name) \
    static dpt_tensor *name##_(dpt_tensor *x) { return dpt_##name(x); }
PLAIN(exp)
PLAIN(ln)
PLAIN(sin)
PLAIN(cos)
PLAIN(abs)
PLAIN(sigmoid)
PLAIN(silu)
PLAIN(softplus)

static const struct golden {
    const char *name;
    dpt_tensor *(*build)(dpt_tensor *x);
    const double *y, *slope;
} table[] = {{"exp", exp_, exp_y, exp_slope},
             {"ln", ln_, ln_y, ln_slope},
             {"sin", sin_, sin_y, sin_slope},
             {"cos", cos_, cos_y, cos_slope},
             {"abs", abs_, abs_y, abs_slope},
             {"sigmoid", sigmoid_, sigmoid_y, sigmoid_slope},
             {"silu", silu_, silu_y, silu_slope},
             {"softplus", softplus_, softplus_y, softplus_slope},
             {"leaky_relu", leaky, leaky_y, leaky_slope},
             {"clamp", clamp_, clamp_y, clamp_slope},
             {"power 2", power_2, power_2_y, power_2_slope},
             {"power 3", power_3, power_3_y, power_3_slope},
             {"power 1/2", power_half, power_half_y, power_half_slope},
             {"power -1", power_less_1, power_less_1_y, power_less_1_slope},
             {"power -2", power_less_2, power_less_2_y, power_less_2_slope},
             {"power 1.75", power_1_75, power_1_75_y, power_1_75_slope}};

/* f32: what is too large for it is infinite, what is too small may be 0. */
static bool near(double got, double expected, dpt_dtype dtype) {
    const bool f32 = dtype == DPT_F32;
    if (f32 && fabs(expected) > FLT_MAX) expected = copysign(INFINITY, expected);
    if (isnan(expected) || isinf(expected)) return isnan(expected) ? isnan(got) : got == expected;
    return fabs(got - expected) <= (f32 ? 6e-7 : 1e-14) * fabs(expected) + (f32 ? 2e-38 : 1e-300);
}

static void check_values(const char *what, dpt_dtype dtype, const double *got, const double *expected, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        check_that(near(got[i], expected[i], dtype), __FILE__, __LINE__, "%s of %s, %lld (x = %g): %.9g, not %.9g",
                   what, dpt_dtype_text(dtype), (long long)i, i < POINTS ? function_x[i] : 0.0, got[i], expected[i]);
}

/* Runs a graph of one input "x" of n rows. */
static bool run_rows(graph_run *run, dpt_graph *g, const double *x, int64_t n) {
    return CHECK_OK(graph_run_open(run, ctx, g, n + 1, n, true)) && CHECK_OK(graph_run_set(run, "x", DPT_F64, x, n)) &&
           CHECK_OK(graph_run_forward(run));
}

static void check_function(const struct golden *f, dpt_dtype dtype) {
    double got[POINTS];
    graph_run run = {0};
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", dtype, DIMS(B)), *y = f->build(x);
    dpt_output(g, "y", y);
    dpt_output(g, "slope", dpt_gradient(y, x));
    if (run_rows(&run, g, function_x, POINTS)) {
        CHECK_EQ_I64(graph_run_read(&run, "y", POINTS, got, POINTS), POINTS);
        check_values(f->name, dtype, got, f->y, POINTS);
        CHECK_EQ_I64(graph_run_read(&run, "slope", POINTS, got, POINTS), POINTS);
        check_values(f->name, dtype, got, f->slope, POINTS);
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
}

static void functions(void) {
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        check_function(&table[k], DPT_F64);
        check_function(&table[k], DPT_F32);
    }
}

/* ---- f32 against libm over a range ---- */

static double sigmoid_of(double x) { return 1 / (1 + exp(-x)); }
static double silu_of(double x) { return x / (1 + exp(-x)); }
static double softplus_of(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

static const struct range {
    const char *name;
    dpt_tensor *(*build)(dpt_tensor *x);
    double (*f)(double x);
    double from, to;
    double relative, absolute; /* error at most relative |y| + absolute */
} ranges[] = {{"exp", exp_, exp, -87, 88.7, 1.2e-7, 0},
              {"ln", ln_, log, 1e-3, 3, 1.2e-7, 1e-9},
              {"ln", ln_, log, 1e-3, 1e6, 1.2e-7, 0},
              {"sin", sin_, sin, -20, 20, 1.5e-7, 1e-15},
              {"cos", cos_, cos, -9e5, 9e5, 1.5e-7, 1e-12},
              {"sin, large", sin_, sin, 9e5, 1e9, 1.5e-7, 1e-12},
              {"sigmoid", sigmoid_, sigmoid_of, -87, 87, 3e-7, 0},
              {"silu", silu_, silu_of, -80, 80, 4e-7, 0},
              {"softplus", softplus_, softplus_of, -80, 80, 3e-7, 0}};

static void check_range(const struct range *r, int64_t n) {
    double *x = dpt_alloc(2 * (size_t)n * sizeof *x), *y = x + n, worst = 0, at = 0;
    graph_run run = {0};
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_output(g, "y", r->build(dpt_input(g, "x", DPT_F32, DIMS(B))));
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(r->from + (r->to - r->from) * ((double)i + 0.37) / (double)n);
    if (run_rows(&run, g, x, n)) {
        CHECK_EQ_I64(graph_run_read(&run, "y", n, y, n), n);
        for (int64_t i = 0; i < n; i++) {
            const double expected = r->f(x[i]);
            const double error = (fabs(y[i] - expected) - r->absolute) / fabs(expected);
            if (!(error <= worst)) worst = error, at = x[i];
        }
        check_that(worst <= r->relative, __FILE__, __LINE__, "%s of %.9g: relative error %.3g, at most %g", r->name, at,
                   worst, r->relative);
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
    dpt_free(x);
}

static void accuracy(void) {
    const bool device = strcmp(check_device(), "cpu") != 0;
    for (size_t k = 0; k < sizeof ranges / sizeof *ranges; k++) check_range(&ranges[k], device ? 512 : MOST);
}

/* A sine depends on its own argument alone: not on a large one beside it, not on the threads that share the work. */
static void neighbours(void) {
    enum { N = 3000 };
    static double x[N], got[2][N];
    for (int t = 0; t < 4; t++) {
        for (int k = 0; k < 2; k++) {
            graph_run run = {0};
            dpt_graph *g = dpt_graph_create(ctx);
            dpt_tensor *v = dpt_input(g, "x", DPT_F32, DIMS(B)), *y = t % 2 ? dpt_cos(v) : dpt_sin(v);
            dpt_output(g, "y", t < 2 ? y : dpt_gradient(y, v));
            for (int i = 0; i < N; i++) x[i] = (double)(float)(0.7 * i - 1000);
            if (k > 0) x[N - 1] = 3e7;
            if (run_rows(&run, g, x, N)) CHECK_EQ_I64(graph_run_read(&run, "y", N, got[k], N), N);
            graph_run_close(&run);
            dpt_graph_destroy(&g);
        }
        CHECK(memcmp(got[0], got[1], (N - 1) * sizeof **got) == 0 && got[0][N - 1] != got[1][N - 1]);
    }
}

/* ---- places ---- */

static dpt_tensor *transpose(dpt_tensor *x) { return dpt_transpose(x, ((const int[]){0, 2, 1})); }
static dpt_tensor *concat(dpt_tensor *x) {
    dpt_tensor *parts[] = {x, dpt_slice(x, 1, 0, 1, 1), dpt_slice(x, 1, 1, 3, 1)};
    return dpt_concat(parts, 3, 1);
}
static dpt_tensor *slice(dpt_tensor *x) { return dpt_slice(x, 2, 1, 4, 2); }
static dpt_tensor *pad(dpt_tensor *x) { return dpt_pad(x, 2, 1, 2, -0.5); }
static dpt_graph *graph_of(const dpt_tensor *x) { return x->graph; }
static dpt_tensor *gather(dpt_tensor *x) {
    const int32_t index[] = {2, 0, 2};
    return dpt_gather(x, dpt_constant(graph_of(x), DPT_I32, DIMS(3), index), 1);
}
static dpt_tensor *sines_max(dpt_tensor *x) { return dpt_max(dpt_sin(x), 2, 0); }
static dpt_tensor *sines_min(dpt_tensor *x) { return dpt_min(dpt_sin(x), 6, 0); }
static dpt_tensor *where(dpt_tensor *x) {
    dpt_tensor *limit = dpt_scalar_at(DPT_HERE, graph_of(x), x->dtype, 0.25);
    return dpt_where(dpt_greater(dpt_sin(x), limit), x, dpt_scale(x, -1));
}
/* Thirteen operands: more than an operation takes. */
static dpt_tensor *concat_many(dpt_tensor *x) {
    dpt_tensor *parts[13];
    for (int i = 0; i < 13; i++) parts[i] = dpt_slice(x, 2, i % 4, i % 4 + 1, 1);
    return dpt_slice(dpt_concat(parts, 13, 2), 2, 9, 11, 1);
}

static const struct placing {
    const char *name;
    dpt_tensor *(*build)(dpt_tensor *x);
    const double *y;
    int64_t n;
} placings[] = {
#define PLACING(name, build) \
    { #name, build, name##_y, (int64_t)(sizeof name##_y / sizeof *name##_y) }
    PLACING(transpose, transpose), PLACING(concat, concat), PLACING(slice, slice),   PLACING(pad, pad),
    PLACING(gather, gather),       PLACING(max, sines_max), PLACING(min, sines_min), PLACING(where, where)};

static const dpt_dtype types[] = {DPT_F64, DPT_F32};

static void check_placing(const char *name, dpt_tensor *(*build)(dpt_tensor *), const double *expected, int64_t n,
                          dpt_dtype dtype) {
    double x[24], got[64];
    graph_run run = {0};
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_output(g, "y", build(dpt_input(g, "x", dtype, DIMS(B, 3, 4))));
    for (int i = 0; i < 24; i++) x[i] = i;
    if (run_rows(&run, g, x, 2)) {
        CHECK_EQ_I64(graph_run_read(&run, "y", 2, got, 64), n);
        check_values(name, dtype, got, expected, n);
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
}

static void places(void) {
    double many[12];
    for (int i = 0; i < 12; i++) many[i] = i / 2 * 4 + (i % 2 ? 2 : 1);
    for (int t = 0; t < 2; t++) {
        for (size_t k = 0; k < sizeof placings / sizeof *placings; k++)
            check_placing(placings[k].name, placings[k].build, placings[k].y, placings[k].n, types[t]);
        check_placing("concat of 13", concat_many, many, 12, types[t]);
    }
}

/* ---- indices ---- */

/* One index a sample, some out of range: NaN there, and no gradient from there. */
static void indices(void) {
    static const int64_t each[] = {1, 3, 2, -1, 1, 0};
    static const double slope[2][3] = {{0, 1, 1}, {1, 1, 0}};
    double x[24], got[24];
    for (int t = 0; t < 2; t++) {
        graph_run run = {0};
        dpt_graph *g = dpt_graph_create(ctx);
        dpt_tensor *v = dpt_input(g, "x", types[t], DIMS(B, 3, 4)), *index = dpt_input(g, "i", DPT_I64, DIMS(B, 3));
        dpt_tensor *y = dpt_gather(v, index, 1);
        dpt_output(g, "y", y);
        dpt_output(g, "slope", dpt_gradient(y, v));
        for (int i = 0; i < 24; i++) x[i] = i;
        if (CHECK_OK(graph_run_open(&run, ctx, g, 3, 2, true)) && CHECK_OK(graph_run_set(&run, "x", DPT_F64, x, 2)) &&
            CHECK_OK(graph_run_set(&run, "i", DPT_I64, each, 2)) && CHECK_OK(graph_run_forward(&run))) {
            graph_run_read(&run, "y", 2, got, 24);
            for (int i = 0; i < 24; i++) {
                const int64_t v_at = each[i / 4];
                CHECK(v_at < 0 || v_at > 2 ? isnan(got[i]) : got[i] == (double)(i / 12 * 12 + v_at * 4 + i % 4));
            }
            graph_run_read(&run, "slope", 2, got, 24);
            for (int i = 0; i < 24; i++) CHECK(got[i] == slope[i / 12][i / 4 % 3]);
        }
        graph_run_close(&run);
        dpt_graph_destroy(&g);
    }
}

/* ---- what is refused ---- */

typedef dpt_tensor *(*wrong_fn)(dpt_tensor *x);
static dpt_tensor *negative_slope(dpt_tensor *x) { return dpt_leaky_relu(x, -0.1); }
static dpt_tensor *crossed(dpt_tensor *x) { return dpt_clamp(x, 2, 1); }
static dpt_tensor *twice(dpt_tensor *x) { return dpt_transpose(x, ((const int[]){0, 1, 1})); }
static dpt_tensor *batch_moved(dpt_tensor *x) { return dpt_transpose(x, ((const int[]){1, 0, 2})); }
static dpt_tensor *unlike(dpt_tensor *x) {
    dpt_tensor *parts[] = {x, dpt_slice(x, 2, 0, 2, 1)};
    return dpt_concat(parts, 2, 1);
}
static dpt_tensor *concat_batch(dpt_tensor *x) {
    dpt_tensor *parts[] = {x, x};
    return dpt_concat(parts, 2, 0);
}
static dpt_tensor *slice_beyond(dpt_tensor *x) { return dpt_slice(x, 1, 1, 4, 1); }
static dpt_tensor *pad_less(dpt_tensor *x) { return dpt_pad(x, 1, -1, 0, 0); }
static dpt_tensor *pad_more(dpt_tensor *x) { return dpt_pad(x, 1, INT64_MAX, 0, 0); }
static dpt_tensor *pad_half(dpt_tensor *x) {
    return dpt_pad(dpt_input(graph_of(x), "bytes", DPT_U8, DIMS(B, 2)), 1, 1, 0, 0.5);
}
static dpt_tensor *pad_negative(dpt_tensor *x) {
    return dpt_pad(dpt_input(graph_of(x), "bytes", DPT_U8, DIMS(B, 2)), 1, 1, 0, -1);
}
static dpt_tensor *float_index(dpt_tensor *x) { return dpt_gather(x, x, 1); }
static dpt_tensor *max_batch(dpt_tensor *x) { return dpt_max(x, 1, 0); }
static dpt_tensor *where_wide(dpt_tensor *x) { return dpt_where(x, x, dpt_cast(x, DPT_F64)); }
static dpt_tensor *greater_unlike(dpt_tensor *x) { return dpt_greater(x, dpt_slice(x, 2, 0, 3, 1)); }

static void refused(void) {
    static const struct {
        wrong_fn build;
        dpt_status status;
        const char *text;
    } wrong[] = {{negative_slope, DPT_ERR_ARG, "leaky_relu: the slope is -0.1"},
                 {crossed, DPT_ERR_ARG, "clamp: low is 2, high is 1"},
                 {twice, DPT_ERR_SHAPE, "transpose: x is [B,3,4], dimension 2 of the result is 1 of x"},
                 {batch_moved, DPT_ERR_SHAPE, "transpose: x is [B,3,4], dimension 0 of the result is 1 of x"},
                 {unlike, DPT_ERR_SHAPE, "operand 1 is f32 [B,3,2]"},
                 {concat_batch, DPT_ERR_SHAPE, "concat: axis 0 of x, which is [B,3,4]"},
                 {slice_beyond, DPT_ERR_SHAPE, "from 1 to 4 by 1 along axis 1"},
                 {pad_less, DPT_ERR_SHAPE, "-1 before and 0 after"},
                 {pad_more, DPT_ERR_SHAPE, "too many"},
                 {pad_half, DPT_ERR_SHAPE, "x is u8 [B,2], the value is 0.5"},
                 {pad_negative, DPT_ERR_SHAPE, "x is u8 [B,2], the value is -1"},
                 {float_index, DPT_ERR_SHAPE, "index is f32 [B,3,4]"},
                 {max_batch, DPT_ERR_SHAPE, "max: axes 0x1 of x, which is [B,3,4]"},
                 {where_wide, DPT_ERR_SHAPE, "b is f64 [B,3,4]"},
                 {greater_unlike, DPT_ERR_SHAPE, "b is f32 [B,3,3]"}};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        dpt_graph *g = dpt_graph_create(ctx);
        wrong[k].build(dpt_input(g, "x", DPT_F32, DIMS(B, 3, 4)));
        CHECK_FAILS(dpt_graph_status(g), wrong[k].status, wrong[k].text);
        dpt_graph_destroy(&g);
    }
}

#define CASE(name) \
    static void run_##name(void) { in_context(name); }
CASE(functions)
CASE(accuracy)
CASE(neighbours)
CASE(places)
CASE(indices)
CASE(refused)

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "functions", {"functions", run_functions}, {"accuracy", run_accuracy},
                      {"neighbours", run_neighbours}, {"places", run_places}, {"indices", run_indices},
                      {"refused", run_refused});
}
