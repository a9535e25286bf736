/* test_ops.c: every op by the table of op_samples.c: gradients of first and second order against central differences in
 * f64, f32 against f64, fused against unfused, other ways to write the same, no valid rows at all, terminal ops,
 * digests.
 *
 * What is differentiated is L = sum(w * y), w random; of second order S = sum over inputs k of sum(v_k * dL/dx_k). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "dptrain/context.h"
#include "graph_run.h"
#include "op_samples.h"

static dpt_context *ctx;

/* ---- a sample with its gradients, compiled ---- */

typedef struct fixture {
    const op_sample *sample;
    sample_build b;
    int n_x; /* inputs of the sample; w and v_k come after them */
    graph_run run;
} fixture;

static void output(fixture *f, const char *format, int k, dpt_tensor *t) {
    char name[16];
    snprintf(name, sizeof name, format, k);
    dpt_output(f->b.g, name, t);
}

/* sum(t * an input of t's shape) */
static dpt_tensor *project(fixture *f, dpt_tensor *t) {
    int64_t dim[DPT_MAX_NDIM];
    const int ndim = dpt_tensor_dims(t, dim);
    return dpt_sum(dpt_mul(t, sample_float(&f->b, ndim, dim, -1, 1)), DPT_ALL_AXES, 0);
}

static bool differentiable(const fixture *f, int k) { return dpt_is_float(f->b.input[k].dtype); }

/* Outputs "L", "dx<k>", "S", "ddx<k>". */
static void build_gradients(fixture *f, dpt_tensor *y) {
    dpt_tensor *loss = project(f, y), *second = NULL;
    dpt_output(f->b.g, "L", loss);
    if (f->sample->flags & SAMPLE_TERMINAL) return;
    for (int k = 0; k < f->n_x; k++) {
        if (!differentiable(f, k)) continue;
        dpt_tensor *dx = dpt_gradient(loss, f->b.input[k].tensor);
        output(f, "dx%d", k, dx);
        dpt_tensor *part = project(f, dx);
        second = second ? dpt_add(second, part) : part;
    }
    dpt_output(f->b.g, "S", second);
    for (int k = 0; k < f->n_x; k++)
        if (differentiable(f, k)) output(f, "ddx%d", k, dpt_gradient(second, f->b.input[k].tensor));
}

static bool set_input(fixture *f, const sample_input *in) {
    static int64_t integer[SAMPLE_VALUES];
    const void *data = in->value;
    dpt_dtype dtype = DPT_F64;
    if (!dpt_is_float(in->dtype)) {
        for (int64_t i = 0; i < in->count; i++) integer[i] = (int64_t)in->value[i];
        data = integer;
        dtype = DPT_I64;
    }
    return CHECK_OK(graph_run_set(&f->run, in->name, dtype, data, SAMPLE_ROWS));
}

/* Inputs are handed over for every run: their memory is used again after their last reader. */
static bool run(fixture *f) {
    for (int k = 0; k < f->b.n_input; k++)
        if (!set_input(f, &f->b.input[k])) return false;
    return CHECK_OK(graph_run_forward(&f->run));
}

static bool fixture_open(fixture *f, const op_sample *s, sample_fn build, dpt_dtype dtype, bool fused) {
    *f = (fixture){.sample = s, .b = {.g = dpt_graph_create(ctx), .dtype = dtype}};
    dpt_tensor *y = build(&f->b);
    f->n_x = f->b.n_input;
    dpt_output(f->b.g, "y", y);
    build_gradients(f, y);
    return CHECK_OK(graph_run_open(&f->run, ctx, f->b.g, SAMPLE_CAPACITY, SAMPLE_ROWS, fused)) && run(f);
}

static void fixture_close(fixture *f) {
    graph_run_close(&f->run);
    dpt_graph_destroy(&f->b.g);
}

static int64_t read_values(fixture *f, const char *name, double *values) {
    return graph_run_read(&f->run, name, SAMPLE_ROWS, values, SAMPLE_VALUES);
}

/* ---- coverage ---- */

static void covers_every_op(void) {
    for (int op = 0; op < DPT_OP_COUNT; op++) {
        int lines = 0, rows = 0;
        const char *by = NULL;
        for (int i = 0; i < DPT_OP_COUNT; i++)
            if (op_covers[i].op == op) lines++, by = op_covers[i].by;
        for (int i = 0; op_sample_at(i); i++) rows += op_sample_at(i)->op == op;
        check_that(lines == 1, __FILE__, __LINE__, "%s has %d lines in op_covers", dpt_ops[op]->name, lines);
        check_that((rows > 0) == (by == NULL), __FILE__, __LINE__, "%s has %d samples, and is covered by %s",
                   dpt_ops[op]->name, rows, by ? by : "samples");
    }
}

/* A row's op really is in its graph. */
static void samples_hold_their_op(void) {
    for (int i = 0; op_sample_at(i); i++) {
        fixture f;
        if (fixture_open(&f, op_sample_at(i), op_sample_at(i)->build, DPT_F64, false)) {
            bool found = false;
            for (int64_t n = 0; n < f.b.g->n_node; n++) found |= f.b.g->node[n]->op == op_sample_at(i)->op;
            check_that(found, __FILE__, __LINE__, "%s: no %s in the graph", op_sample_at(i)->name,
                       dpt_ops[op_sample_at(i)->op]->name);
        }
        fixture_close(&f);
    }
}

/* ---- gradients ---- */

static double value_at(fixture *f, sample_input *in, int64_t i, double x, const char *scalar) {
    const double kept = in->value[i];
    double result = NAN;
    in->value[i] = x;
    if (run(f)) read_values(f, scalar, &result);
    in->value[i] = kept;
    return result;
}

/* The same along a direction of +1 and -1 in all elements at once: two runs an input, where they are slow.
 * An error in any element shows, unless it is orthogonal to the direction. */
static void check_along(fixture *f, int k, const char *scalar, const char *name, double h, double tolerance) {
    static double exact[SAMPLE_VALUES], kept[SAMPLE_VALUES];
    sample_input *in = &f->b.input[k];
    const int64_t n = read_values(f, name, exact);
    if (!CHECK_EQ_I64(n, in->count)) return;
    double along = 0, size = 0, value[2] = {NAN, NAN};
    memcpy(kept, in->value, sizeof kept);
    for (int side = 0; side < 2; side++) {
        along = size = 0;
        for (int64_t i = 0; i < n; i++) {
            const double sign = dpt_philox(dpt_random_key(name, 11), (uint32_t)i, 0, 0, 0).v[0] & 1 ? 1 : -1;
            in->value[i] = kept[i] + (side ? -h : h) * sign;
            along += exact[i] * sign;
            size += exact[i] * exact[i];
        }
        if (run(f)) read_values(f, scalar, &value[side]);
    }
    memcpy(in->value, kept, sizeof kept);
    run(f);
    const double numeric = (value[0] - value[1]) / (2 * h), error = fabs(numeric - along) / fmax(sqrt(size), 1e-30);
    check_that(error <= tolerance || (size == 0 && numeric == 0), __FILE__, __LINE__,
               "%s: %s is off by %.3g (at most %g)", f->sample->name, name, error, tolerance);
}

/* d(scalar)/d(input k) by central differences, against what the graph says. */
static void check_gradient(fixture *f, int k, const char *scalar, const char *gradient) {
    static double numeric[SAMPLE_VALUES], exact[SAMPLE_VALUES];
    char name[16];
    snprintf(name, sizeof name, gradient, k);
    const bool rough = f->sample->flags & SAMPLE_LOW_PRECISION;
    const double h = rough ? 0x1p-3 : 0x1p-17;
    if (CHECK_IS_SLOW || strcmp(check_device(), "cpu") != 0) {
        check_along(f, k, scalar, name, h, rough ? 1e-4 : 1e-5);
        return;
    }
    sample_input *in = &f->b.input[k];
    const int64_t n = read_values(f, name, exact);
    if (!CHECK_EQ_I64(n, in->count)) return;
    for (int64_t i = 0; i < n; i++) {
        const double x = in->value[i];
        numeric[i] = (value_at(f, in, i, x + h, scalar) - value_at(f, in, i, x - h, scalar)) / (2 * h);
    }
    run(f);
    const double error = check_relative_f64(exact, numeric, n), tolerance = rough ? 1e-5 : 1e-6;
    check_that(error <= tolerance, __FILE__, __LINE__, "%s: %s is off by %.3g (at most %g)", f->sample->name, name,
               error, tolerance);
}

static void check_gradients(const char *scalar, const char *gradient) {
    for (int i = 0; op_sample_at(i); i++) {
        if (op_sample_at(i)->flags & SAMPLE_TERMINAL) continue;
        fixture f;
        if (fixture_open(&f, op_sample_at(i), op_sample_at(i)->build, DPT_F64, false))
            for (int k = 0; k < f.n_x; k++)
                if (differentiable(&f, k)) check_gradient(&f, k, scalar, gradient);
        fixture_close(&f);
    }
}

static void first_order(void) { check_gradients("L", "dx%d"); }
static void second_order(void) { check_gradients("S", "ddx%d"); }

/* ---- two ways to the same values ---- */

static void compare(fixture *a, fixture *b, const char *name, double tolerance, const char *what) {
    static double x[SAMPLE_VALUES], y[SAMPLE_VALUES];
    const int64_t n = read_values(a, name, x), m = read_values(b, name, y);
    if (!check_that(n >= 0 && n == m, __FILE__, __LINE__, "%s: %s: %lld values and %lld", a->sample->name, name,
                    (long long)n, (long long)m))
        return;
    const double error = check_relative_f64(x, y, n);
    check_that(error <= tolerance, __FILE__, __LINE__, "%s, %s: %s is off by %.3g (at most %g)", a->sample->name, what,
               name, error, tolerance);
}

static void compare_all(fixture *a, fixture *b, double tolerance, const char *what) {
    compare(a, b, "y", tolerance, what);
    compare(a, b, "L", tolerance, what);
    if (a->sample->flags & SAMPLE_TERMINAL) return;
    compare(a, b, "S", tolerance, what);
    for (int k = 0; k < a->n_x; k++) {
        char name[2][16];
        if (!differentiable(a, k)) continue;
        snprintf(name[0], sizeof name[0], "dx%d", k);
        snprintf(name[1], sizeof name[1], "ddx%d", k);
        compare(a, b, name[0], tolerance, what);
        compare(a, b, name[1], tolerance, what);
    }
}

static void f32_against_f64(void) {
    for (int i = 0; op_sample_at(i); i++) {
        const op_sample *s = op_sample_at(i);
        fixture a, b;
        const bool opened = fixture_open(&a, s, s->build, DPT_F32, false);
        if (fixture_open(&b, s, s->build, DPT_F64, false) && opened) compare_all(&a, &b, 1e-4, "f32 against f64");
        fixture_close(&a);
        fixture_close(&b);
    }
}

static void fused_against_unfused(void) {
    for (int i = 0; op_sample_at(i); i++) {
        const op_sample *s = op_sample_at(i);
        for (int type = DPT_F32; type <= DPT_F64; type++) {
            fixture a, b;
            const bool opened = fixture_open(&a, s, s->build, (dpt_dtype)type, true);
            if (fixture_open(&b, s, s->build, (dpt_dtype)type, false) && opened)
                compare_all(&a, &b, type == DPT_F32 ? 1e-5 : 1e-12, "fused against unfused");
            fixture_close(&a);
            fixture_close(&b);
        }
    }
}

static void same_by_other_ops(void) {
    for (int i = 0; op_sample_at(i); i++) {
        const op_sample *s = op_sample_at(i);
        for (int type = DPT_F32; type <= DPT_F64 && s->same; type++) {
            fixture a, b;
            const bool opened = fixture_open(&a, s, s->build, (dpt_dtype)type, false);
            if (fixture_open(&b, s, s->same, (dpt_dtype)type, false) && opened)
                compare(&a, &b, "y", type == DPT_F32 ? 1e-6 : 1e-13, "by other ops");
            fixture_close(&a);
            fixture_close(&b);
        }
    }
}

/* ---- a rank without rows ---- */

static void finite_without_rows(fixture *f) {
    static double values[SAMPLE_VALUES];
    int64_t dim[DPT_MAX_NDIM];
    dpt_block *block = dpt_session_block(f->run.session);
    block->rows[0] = 0;
    if (!run(f)) return;
    for (int64_t o = 0; o < f->b.g->n_output; o++) {
        const dpt_output_info *info = &f->b.g->output[o];
        const int64_t n = graph_run_read(&f->run, info->name, 0, values, SAMPLE_VALUES);
        for (int64_t i = 0; i < n; i++)
            if (!check_that(isfinite(values[i]), __FILE__, __LINE__, "%s: %s[%lld] is %g without rows", f->sample->name,
                            info->name, (long long)i, values[i]))
                break;
    }
    if (dpt_tensor_dims(f->b.g->output[0].tensor, dim) < 1 || dim[0] != DPT_BATCH) return;
    read_values(f, "L", values);
    check_that(values[0] == 0, __FILE__, __LINE__, "%s: sum over no rows is %g", f->sample->name, values[0]);
}

static void no_rows(void) {
    for (int i = 0; op_sample_at(i); i++)
        for (int type = DPT_F32; type <= DPT_F64; type++) {
            fixture f;
            if (fixture_open(&f, op_sample_at(i), op_sample_at(i)->build, (dpt_dtype)type, false))
                finite_without_rows(&f);
            fixture_close(&f);
        }
}

/* ---- terminal ops ---- */

static void terminal_is_named(void) {
    for (int i = 0; op_sample_at(i); i++) {
        const op_sample *s = op_sample_at(i);
        sample_build b = {.g = dpt_graph_create(ctx), .dtype = DPT_F32};
        if (s->flags & SAMPLE_TERMINAL) {
            dpt_tensor *y = s->build(&b);
            dpt_gradient(dpt_sum(y, DPT_ALL_AXES, 0), b.input[0].tensor);
            CHECK_FAILS(dpt_graph_status(b.g), DPT_ERR_UNSUPPORTED, dpt_ops[s->op]->name);
        }
        dpt_graph_destroy(&b.g);
    }
}

/* ---- digests: attributes enter them as bytes, of which none may be left as the stack had it ---- */

static __attribute__((noinline)) void soil_stack(int byte) {
    volatile char bytes[1 << 16];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)byte;
}

static uint64_t digest_over(const op_sample *s, int byte) {
    static fixture f;
    f = (fixture){.sample = s, .b = {.g = dpt_graph_create(ctx), .dtype = DPT_F32}};
    soil_stack(byte);
    dpt_tensor *y = s->build(&f.b);
    f.n_x = f.b.n_input;
    soil_stack(byte);
    build_gradients(&f, y);
    CHECK_OK(dpt_graph_status(f.b.g));
    const uint64_t digest = dpt_graph_digest(f.b.g);
    dpt_graph_destroy(&f.b.g);
    return digest;
}

static void digests(void) {
    for (int i = 0; op_sample_at(i); i++) {
        const op_sample *s = op_sample_at(i);
        check_that(digest_over(s, 0x11) == digest_over(s, 0x6e), __FILE__, __LINE__,
                   "%s: built twice alike, it has two digests", s->name);
    }
}

/* ---- cases ---- */

static void in_context(void (*test)(void)) {
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx))) return;
    test();
    dpt_context_destroy(&ctx);
}

#define CASE(name) \
    static void run_##name(void) { in_context(name); }
CASE(covers_every_op)
CASE(samples_hold_their_op)
CASE(first_order)
CASE(second_order)
CASE(f32_against_f64)
CASE(fused_against_unfused)
CASE(same_by_other_ops)
CASE(no_rows)
CASE(terminal_is_named)
CASE(digests)

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "ops", {"covers_every_op", run_covers_every_op},
                      {"samples_hold_their_op", run_samples_hold_their_op}, {"first_order", run_first_order},
                      {"second_order", run_second_order}, {"f32_against_f64", run_f32_against_f64},
                      {"fused_against_unfused", run_fused_against_unfused},
                      {"same_by_other_ops", run_same_by_other_ops}, {"no_rows", run_no_rows},
                      {"terminal_is_named", run_terminal_is_named}, {"digests", run_digests});
}
