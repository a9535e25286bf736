/* test_half.c: 16-bit floats: conversions over all values against the formula of the format, host arrays, kernels with
 * 16-bit operands against rounding by hand, and every op of the table of samples in bf16 and f16 against f64. */
#include "base/numbers.h"

#include <float.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph_run.h"
#include "kernel_call.h"
#include "op_samples.h"
#include "program/array_convert.h"

/* ---- the formats ---- */

typedef struct format {
    const char *name;
    dpt_dtype dtype;
    int exponent_bits, fraction_bits;
    float (*widen)(uint16_t half);
    uint16_t (*narrow)(float value);
} format;

static const format formats[] = {{"bf16", DPT_BF16, 8, 7, dpt_f32_of_bf16, dpt_bf16_of_f32},
                                 {"f16", DPT_F16, 5, 10, dpt_f32_of_f16, dpt_f16_of_f32}};

/* (-1)^s 2^(e - bias) (1 + m / 2^fraction); subnormal with e = 0, infinite or NaN with the largest e */
static double value_of(const format *f, unsigned half) {
    const unsigned fraction = half & ((1U << f->fraction_bits) - 1U), most = (1U << f->exponent_bits) - 1U;
    const unsigned exponent = half >> f->fraction_bits & most;
    const int bias = (int)(most >> 1);
    const double sign = half >> 15 ? -1 : 1;
    if (exponent == most) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - f->fraction_bits);
    return sign * ldexp(1 + ldexp(fraction, -f->fraction_bits), (int)exponent - bias);
}

static void widens_all_values(void) {
    for (int k = 0; k < 2; k++)
        for (unsigned half = 0; half < 65536; half++) {
            const double wanted = value_of(&formats[k], half), got = (double)formats[k].widen((uint16_t)half);
            const bool same = isnan(wanted) ? isnan(got) : got == wanted && !signbit(got) == !signbit(wanted);
            if (!check_that(same, __FILE__, __LINE__, "%s 0x%04x is %g, expected %g", formats[k].name, half, got,
                            wanted))
                return;
        }
}

static bool rounds(const format *f, float value, unsigned wanted) {
    const unsigned got = f->narrow(value);
    return check_that(got == wanted, __FILE__, __LINE__, "%s of %a is 0x%04x, expected 0x%04x", f->name, (double)value,
                      got, wanted);
}

/* Every value to itself; between it and the next one: the middle to the even of both, to either side of the middle the
 * nearer one. The next after the largest is 2^(emax+1), as infinity. */
static void rounds_to_nearest_even(void) {
    for (int k = 0; k < 2; k++) {
        const format *f = &formats[k];
        const unsigned infinity = ((1U << f->exponent_bits) - 1U) << f->fraction_bits;
        bool ok = true;
        for (unsigned half = 0; half < infinity && ok; half++) {
            const double low = value_of(f, half), step = low - value_of(f, half - 1 < half ? half - 1 : 1);
            const bool carries = (half & ((1U << f->fraction_bits) - 1U)) == 0 && half >> f->fraction_bits > 1;
            const double high = half + 1 < infinity ? value_of(f, half + 1) : low + (carries ? 2 * step : step);
            const float middle = (float)(low + (high - low) / 2);
            const unsigned even = half % 2 ? half + 1 : half;
            for (unsigned sign = 0; sign < 2 && ok; sign++) {
                const float s = sign ? -1.0F : 1.0F;
                const unsigned bit = sign << 15;
                ok = rounds(f, s * (float)low, half | bit) && rounds(f, s * middle, even | bit) &&
                     rounds(f, s * nextafterf(middle, 0), half | bit) &&
                     rounds(f, s * nextafterf(middle, INFINITY), (half + 1) | bit);
            }
        }
        rounds(f, FLT_MAX, infinity);
        for (int e = k == 0 ? 128 : 16; e < 128; e++) rounds(f, ldexpf(1.5F, e), infinity);
        for (int e = -26; k == 1 && e >= -149; e--) rounds(f, ldexpf(1.5F, e), 0); /* less than half of the smallest */
        rounds(f, INFINITY, infinity);
        rounds(f, -INFINITY, infinity | 0x8000U);
        CHECK(isnan((double)f->widen(f->narrow(NAN))));
        CHECK(
            isnan((double)f->widen(f->narrow(dpt_f32_of_bits(0x7f800001U))))); /* whose upper half alone is infinity */
        CHECK(isnan((double)f->widen(f->narrow(dpt_f32_of_bits(0xffffffffU)))));
    }
}

static void converts_arrays(void) {
    const double from[] = {1, -2.5, 1e-3, 65504, 3e38};
    for (int k = 0; k < 2; k++) {
        const format *f = &formats[k];
        uint16_t half[5], bytes[3];
        double back[5];
        float single[5];
        CHECK_OK(dpt_array_convert(from, DPT_F64, half, f->dtype, 5));
        CHECK_OK(dpt_array_convert(half, f->dtype, back, DPT_F64, 5));
        CHECK_OK(dpt_array_convert(half, f->dtype, single, DPT_F32, 5));
        for (int i = 0; i < 5; i++) {
            CHECK(back[i] == value_of(f, f->narrow((float)from[i])));
            CHECK((double)single[i] == back[i]);
        }
        CHECK_OK(dpt_array_convert((const uint8_t[]){0, 7, 255}, DPT_U8, bytes, f->dtype, 3));
        CHECK(value_of(f, bytes[1]) == 7 && value_of(f, bytes[2]) == 255);
        CHECK_FAILS(dpt_array_convert(half, f->dtype, bytes, DPT_U8, 3), DPT_ERR_ARG, "cannot become u8");
    }
}

/* ---- kernels ---- */

enum { ROWS = 5, CAPACITY = 7, COLUMNS = 33, COUNT = CAPACITY * COLUMNS };
static const int64_t matrix[] = {CAPACITY, COLUMNS};

static void draw(const format *f, const char *name, uint16_t *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const dpt_random4 r = dpt_random_quad(dpt_random_key(name, 1), (uint32_t)i, 0, 0);
        values[i] = f->narrow(4 * dpt_uniform_f32(r.v[0]) - 2);
    }
}

/* a*b in f32, rounded once, in the place of a as well; rows past the valid ones are left alone. */
static void rounds_once(void) {
    for (int k = 0; k < 2; k++)
        for (int in_place = 0; in_place < 2; in_place++) {
            const format *f = &formats[k];
            uint16_t a[COUNT], b[COUNT], kept[COUNT], apart[COUNT];
            draw(f, "a", a, COUNT);
            draw(f, "b", b, COUNT);
            memcpy(kept, a, sizeof a);
            memset(apart, 0x55, sizeof apart);
            uint16_t *y = in_place ? a : apart;
            const dpt_block block = {.rows = {ROWS}};
            dpt_call call = {.op = DPT_OP_MUL, .n_in = 2, .n_out = 1, .block = &block};
            call.in[0] = kernel_operand(a, f->dtype, true, 2, matrix);
            call.in[1] = kernel_operand(b, f->dtype, true, 2, matrix);
            call.out[0] = kernel_operand(y, f->dtype, true, 2, matrix);
            kernel_run(&call, 2);
            int wrong = 0;
            for (int i = 0; i < COUNT; i++) {
                const uint16_t product = f->narrow(f->widen(kept[i]) * f->widen(b[i]));
                wrong += y[i] != (i < ROWS * COLUMNS ? product : in_place ? kept[i] : 0x5555);
            }
            CHECK_EQ_I64(wrong, 0);
        }
}

/* Sums of 16-bit values are f32, of the values as they are. */
static void sums_are_wide(void) {
    for (int k = 0; k < 2; k++) {
        const format *f = &formats[k];
        uint16_t x[COUNT];
        float sum[COLUMNS];
        draw(f, "x", x, COUNT);
        const dpt_block block = {.rows = {ROWS}};
        dpt_call call = {.op = DPT_OP_SUM, .n_in = 1, .n_out = 1, .block = &block, .attr = {.reduce = {.axes = 1}}};
        call.in[0] = kernel_operand(x, f->dtype, true, 2, matrix);
        call.out[0] = kernel_vector(sum, DPT_F32, COLUMNS);
        kernel_run(&call, 1);
        for (int c = 0; c < COLUMNS; c++) {
            double wanted = 0;
            for (int r = 0; r < ROWS; r++) wanted += (double)f->widen(x[r * COLUMNS + c]);
            CHECK((double)sum[c] == (double)(float)wanted);
        }
    }
}

/* g^T x and the column sums of g, 16-bit in, f32 out; a kernel with a workspace and padded rows of its own. */
static void weight_gradients_are_wide(void) {
    enum { OUT = 3 };
    for (int k = 0; k < 2; k++) {
        const format *f = &formats[k];
        uint16_t x[COUNT], g[CAPACITY * OUT];
        float dw[OUT * COLUMNS], db[OUT];
        double got[OUT * COLUMNS], wanted[OUT * COLUMNS] = {0};
        draw(f, "x", x, COUNT);
        draw(f, "g", g, CAPACITY * OUT);
        for (int i = ROWS * COLUMNS; i < COUNT; i++) x[i] = f->narrow(NAN);
        const dpt_block block = {.rows = {ROWS}};
        dpt_call call = {
            .op = DPT_OP_LINEAR_WGRAD, .n_in = 2, .n_out = 2, .block = &block, .attr = {.matmul = {.bias = true}}};
        call.in[0] = kernel_operand(g, f->dtype, true, 2, (int64_t[]){CAPACITY, OUT});
        call.in[1] = kernel_operand(x, f->dtype, true, 2, matrix);
        call.out[0] = kernel_operand(dw, DPT_F32, false, 2, (int64_t[]){OUT, COLUMNS});
        call.out[1] = kernel_vector(db, DPT_F32, OUT);
        kernel_run(&call, 1);
        for (int o = 0; o < OUT; o++) {
            double sum = 0;
            for (int r = 0; r < ROWS; r++) {
                const double d = (double)f->widen(g[r * OUT + o]);
                for (int c = 0; c < COLUMNS; c++) wanted[o * COLUMNS + c] += d * (double)f->widen(x[r * COLUMNS + c]);
                sum += d;
            }
            CHECK_NEAR((double)db[o], sum, 1e-6);
        }
        for (int i = 0; i < OUT * COLUMNS; i++) got[i] = (double)dw[i];
        CHECK(check_relative_f64(got, wanted, OUT * COLUMNS) < 1e-6);
    }
}

/* Through a wider type and back nothing changes, and nothing is computed; through a narrower one values are rounded. */
static void casts_back(void) {
    dpt_context *ctx;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    for (int k = 0; k < 2; k++) {
        const format *f = &formats[k];
        const float x[] = {1.003F, -2.7182818F, 3e-6F, 65519.0F};
        double got[4];
        graph_run run;
        dpt_graph *g = dpt_graph_create(ctx);
        dpt_tensor *t = dpt_input(g, "x", DPT_F32, 1, ((int64_t[]){DPT_BATCH})), *half = dpt_cast(t, f->dtype);
        CHECK(dpt_cast(dpt_cast(half, DPT_F32), f->dtype) == half);
        CHECK(dpt_cast(dpt_cast(half, DPT_F64), f->dtype) == half);
        CHECK(dpt_cast(dpt_cast(t, DPT_F64), DPT_F32) == t);
        dpt_output(g, "y", dpt_cast(half, DPT_F32));
        if (CHECK_OK(graph_run_open(&run, ctx, g, 4, 4, true)) && CHECK_OK(graph_run_set(&run, "x", DPT_F32, x, 4)) &&
            CHECK_OK(graph_run_forward(&run)) && CHECK_EQ_I64(graph_run_read(&run, "y", 4, got, 4), 4))
            for (int i = 0; i < 4; i++) CHECK(got[i] == (double)f->widen(f->narrow(x[i])) && got[i] != (double)x[i]);
        graph_run_close(&run);
        dpt_graph_destroy(&g);
    }
    dpt_context_destroy(&ctx);
}

/* ---- every op ---- */

typedef struct fixture {
    sample_build b;
    graph_run run;
} fixture;

/* Outputs of 16 bits in f32; where the op has one, the gradient of the sum of its output, weighted by an input. */
static bool fixture_open(fixture *f, const op_sample *s, dpt_dtype dtype, bool fused) {
    dpt_context *ctx;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return false;
    *f = (fixture){.b = {.g = dpt_graph_create(ctx), .dtype = dtype}};
    dpt_tensor *y = s->build(&f->b);
    const int n_x = f->b.n_input;
    const dpt_dtype wide = dtype == DPT_F64 ? DPT_F64 : DPT_F32;
    dpt_output(f->b.g, "y", dpt_cast(y, wide));
    if (!(s->flags & SAMPLE_TERMINAL)) {
        int64_t dim[DPT_MAX_NDIM];
        const int ndim = dpt_tensor_dims(y, dim);
        dpt_tensor *w = dpt_cast(sample_float(&f->b, ndim, dim, -1, 1), wide);
        dpt_tensor *loss = dpt_sum(dpt_mul(dpt_cast(y, wide), w), DPT_ALL_AXES, 0);
        for (int k = 0; k < n_x; k++) {
            char name[16];
            snprintf(name, sizeof name, "dx%d", k);
            if (!dpt_is_float(f->b.input[k].dtype)) continue;
            dpt_output(f->b.g, name, dpt_cast(dpt_gradient(loss, f->b.input[k].tensor), wide));
        }
    }
    return CHECK_OK(graph_run_open(&f->run, ctx, f->b.g, SAMPLE_CAPACITY, SAMPLE_ROWS, fused));
}

static void fixture_close(fixture *f) {
    dpt_context *ctx = f->b.g ? f->b.g->ctx : NULL;
    graph_run_close(&f->run);
    dpt_graph_destroy(&f->b.g);
    dpt_context_destroy(&ctx);
}

/* Values of the half type, so that both graphs compute on the same numbers. */
static bool fixture_run(fixture *f, const format *half) {
    for (int k = 0; k < f->b.n_input; k++) {
        static double value[SAMPLE_VALUES];
        static int64_t integer[SAMPLE_VALUES];
        const sample_input *in = &f->b.input[k];
        const bool floats = dpt_is_float(in->dtype);
        for (int64_t i = 0; i < in->count; i++) {
            value[i] = (double)half->widen(half->narrow((float)in->value[i]));
            integer[i] = (int64_t)in->value[i];
        }
        if (!CHECK_OK(graph_run_set(&f->run, in->name, floats ? DPT_F64 : DPT_I64,
                                    floats ? (const void *)value : (const void *)integer, SAMPLE_ROWS)))
            return false;
    }
    return CHECK_OK(graph_run_forward(&f->run));
}

/* Every 16-bit value on the way is off by half a unit of its last place; they add up like independent errors. */
static double bound_of(const format *half, const dpt_graph *g) {
    int rounded = 1;
    for (int64_t i = 0; i < g->n_node; i++) rounded += g->node[i]->n_out > 0 && dpt_is_half(g->node[i]->out[0].dtype);
    return 2 * sqrt(rounded) * ldexp(1, -half->fraction_bits - 1);
}

static void compare(const op_sample *s, const format *half, fixture *a, fixture *b, const char *name) {
    static double x[SAMPLE_VALUES], y[SAMPLE_VALUES];
    const int64_t n = graph_run_read(&a->run, name, SAMPLE_ROWS, x, SAMPLE_VALUES);
    const int64_t m = graph_run_read(&b->run, name, SAMPLE_ROWS, y, SAMPLE_VALUES);
    if (n < 0 && m < 0) return;
    if (!check_that(n == m, __FILE__, __LINE__, "%s, %s: %s: %lld values and %lld", s->name, half->name, name,
                    (long long)n, (long long)m))
        return;
    const double error = check_relative_f64(x, y, n), most = bound_of(half, a->run.program->graph);
    check_that(error <= most, __FILE__, __LINE__, "%s, %s: %s is off by %.3g (at most %g)", s->name, half->name, name,
               error, most);
}

static void samples(bool fused) {
    for (int i = 0; op_sample_at(i); i++)
        for (int k = 0; k < 2; k++) {
            const op_sample *s = op_sample_at(i);
            fixture a = {0}, b = {0};
            if (fixture_open(&a, s, formats[k].dtype, fused) && fixture_open(&b, s, DPT_F64, fused) &&
                fixture_run(&a, &formats[k]) && fixture_run(&b, &formats[k])) {
                compare(s, &formats[k], &a, &b, "y");
                for (int x = 0; x < a.b.n_input; x++) {
                    char name[16];
                    snprintf(name, sizeof name, "dx%d", x);
                    compare(s, &formats[k], &a, &b, name);
                }
            }
            fixture_close(&a);
            fixture_close(&b);
        }
}
static void samples_unfused(void) { samples(false); }
static void samples_fused(void) { samples(true); }

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "half", {"widens_all_values", widens_all_values},
                      {"rounds_to_nearest_even", rounds_to_nearest_even}, {"converts_arrays", converts_arrays},
                      {"rounds_once", rounds_once}, {"sums_are_wide", sums_are_wide},
                      {"weight_gradients_are_wide", weight_gradients_are_wide}, {"casts_back", casts_back},
                      {"samples_unfused", samples_unfused}, {"samples_fused", samples_fused});
}
