/* test_op_kernels.c: what op samples don't reach: random draws, special values, sizes that are spread over threads, and
 * the exactness of fastmath.h. */
#include <math.h>

#include "base/random.h"
#include "dptrain/ops.h"
#include "graph/op.h"
#include "kernel_call.h"
#include "ops/fastmath.h"

/* ---- dropout ---- */

enum { ROWS = 6, ELEMENTS = 7 };

static void drop(const float *x, float *y, int64_t rows, int64_t first_row, int64_t step, double probability) {
    dpt_block block = {.step = step, .rows = {rows}, .first_row = {first_row}};
    dpt_call call = {.op = DPT_OP_DROPOUT, .n_in = 1, .n_out = 1, .seed = 11, .block = &block};
    const int64_t dim[] = {rows, ELEMENTS};
    call.in[0] = kernel_operand(x, DPT_F32, true, 2, dim);
    call.out[0] = kernel_operand(y, DPT_F32, true, 2, dim);
    call.attr.random.probability = probability;
    kernel_run(&call, 1);
}

static void dropout_is_the_defined_draw(void) {
    float x[ROWS * ELEMENTS], y[ROWS * ELEMENTS];
    for (int i = 0; i < ROWS * ELEMENTS; i++) x[i] = (float)(i + 1);
    drop(x, y, ROWS, 1000, 17, 0.25);
    const uint64_t key = dpt_random_key("test", 11);
    int kept = 0;
    for (int r = 0; r < ROWS; r++)
        for (int e = 0; e < ELEMENTS; e++) {
            const uint32_t word = dpt_random_quad(key, (uint32_t)e / 4, 1000 + (uint64_t)r, 17).v[e % 4];
            const float scaled = x[r * ELEMENTS + e] / 0.75F;
            const float want = dpt_uniform_f32(word) >= 0.25F ? scaled : 0;
            CHECK_NEAR((double)y[r * ELEMENTS + e], (double)want, 1e-6);
            kept += want > 0;
        }
    CHECK(kept > 0 && kept < ROWS * ELEMENTS);
}

/* A row draws by its position in the global batch, on whichever rank it stands. */
static void dropout_follows_the_row(void) {
    float x[ROWS * ELEMENTS], whole[ROWS * ELEMENTS], part[ROWS * ELEMENTS];
    for (int i = 0; i < ROWS * ELEMENTS; i++) x[i] = 1;
    drop(x, whole, ROWS, 0, 3, 0.5);
    for (int64_t split = 1; split < ROWS; split++) {
        drop(x, part, split, 0, 3, 0.5);
        drop(x, part + split * ELEMENTS, ROWS - split, split, 3, 0.5);
        CHECK(memcmp(whole, part, sizeof whole) == 0);
    }
    drop(x, part, ROWS, 0, 4, 0.5);
    CHECK(memcmp(whole, part, sizeof whole) != 0);
}

static void dropout_keeps_its_share(void) {
    enum { N = 200000 };
    static double x[N], y[2][N];
    for (int i = 0; i < N; i++) x[i] = 1;
    for (int threads = 1; threads <= 2; threads++) {
        dpt_block block = {0};
        dpt_call call = {.op = DPT_OP_DROPOUT, .n_in = 1, .n_out = 1, .block = &block};
        call.in[0] = kernel_vector(x, DPT_F64, N);
        call.out[0] = kernel_vector(y[threads - 1], DPT_F64, N);
        call.attr.random.probability = 0.1;
        kernel_run(&call, threads);
    }
    CHECK(memcmp(y[0], y[1], sizeof y[0]) == 0);
    double kept = 0;
    for (int i = 0; i < N; i++) kept += y[0][i] > 0;
    /* four deviations of a binomial distribution */
    CHECK_NEAR(kept / N, 0.9, 4 * sqrt(0.1 * 0.9 / N));
}

static void dropout_gradient_is_the_same_draw(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_tensor *x = dpt_input_at(DPT_HERE, g, "x", DPT_F32, 2, (int64_t[]){DPT_BATCH, 3});
    dpt_tensor *y = dpt_dropout(x, 0.25, "drop"), *dx = dpt_gradient(y, x);
    CHECK_OK(dpt_graph_status(g));
    CHECK_EQ_I64(dx->node->op, DPT_OP_DROPOUT);
    CHECK_EQ_TEXT(dx->node->name, "drop");
    CHECK_NEAR(dx->node->attr.random.probability, 0.25, 0);
    CHECK(dpt_op_of(y->node)->infer(y->node, &x) == x);
    dpt_graph_destroy(&g);
}

/* ---- special values ---- */

static void unary(int op, const float *x, float *y, int64_t n, int order) {
    dpt_block block = {0};
    dpt_call call = {.op = op, .n_in = 1, .n_out = 1, .block = &block};
    call.in[0] = kernel_vector(x, DPT_F32, n);
    call.out[0] = kernel_vector(y, DPT_F32, n);
    if (op == DPT_OP_GELU) call.attr.derivative.order = order;
    kernel_run(&call, 1);
}

/* NaN must come through, or a diverged run would go on unseen. */
static void activations_keep_nan(void) {
    float x[20], y[20];
    for (int op = DPT_OP_RELU; op <= DPT_OP_GELU; op++)
        for (int order = 0; order < (op == DPT_OP_GELU ? 5 : 1); order++) {
            if (op == DPT_OP_RELU_GRAD) continue;
            for (int i = 0; i < 20; i++) x[i] = i % 3 ? 1 : NAN;
            unary(op, x, y, 20, order);
            for (int i = 0; i < 20; i++)
                check_that(isnan(y[i]) == (i % 3 == 0), __FILE__, __LINE__, "op %d, order %d: element %d is %g", op,
                           order, i, (double)y[i]);
        }
}

static void activations_at_the_ends(void) {
    const float x[] = {-INFINITY, -1000, -20, 0, 20, 1000, INFINITY};
    float y[7];
    unary(DPT_OP_RELU, x, y, 7, 0);
    CHECK(y[0] == 0 && y[2] == 0 && y[3] == 0 && y[4] == 20 && y[6] == INFINITY);
    unary(DPT_OP_TANH, x, y, 7, 0);
    CHECK(y[0] == -1 && y[1] == -1 && y[3] == 0 && y[4] == 1 && y[6] == 1);
    unary(DPT_OP_GELU, x, y, 7, 0);
    CHECK(y[1] == 0 && fabsf(y[2]) < 1e-30F && y[3] == 0 && y[4] == 20 && y[5] == 1000);
    unary(DPT_OP_GELU, x, y, 7, 1);
    CHECK(y[1] == 0 && y[3] == 0.5F && y[4] == 1 && y[5] == 1);
}

/* logits [rows, 4], target i32 [rows], g [rows] */
static void classify(int op, const float *logits, const int32_t *target, const float *g, int64_t rows, float *y) {
    dpt_block block = {.rows = {rows}};
    dpt_call call = {.op = op, .n_in = op == DPT_OP_SOFTMAX ? 1 : g ? 3 : 2, .n_out = 1, .block = &block};
    const int64_t dim[] = {rows, 4};
    const bool per_row = op == DPT_OP_CROSS_ENTROPY || op == DPT_OP_ACCURACY;
    call.in[0] = kernel_operand(logits, DPT_F32, true, 2, dim);
    call.in[1] = kernel_operand(target, DPT_I32, true, 1, dim);
    call.in[2] = kernel_operand(g, DPT_F32, true, 1, dim);
    call.out[0] = kernel_operand(y, DPT_F32, true, per_row ? 1 : 2, dim);
    kernel_run(&call, 1);
}

static void softmax_does_not_overflow(void) {
    const float x[2][4] = {{10000, 10000, -10000, 0}, {-1e30F, -INFINITY, -1e30F, -1e30F}};
    const int32_t target[] = {0, 3};
    float y[2][4], loss[2];
    classify(DPT_OP_SOFTMAX, x[0], NULL, NULL, 2, y[0]);
    CHECK(y[0][0] == 0.5F && y[0][1] == 0.5F && y[0][2] == 0 && y[0][3] == 0);
    CHECK(y[1][1] == 0);
    CHECK_NEAR((double)y[1][0], 1.0 / 3, 1e-7);
    classify(DPT_OP_CROSS_ENTROPY, x[0], target, NULL, 2, loss);
    CHECK_NEAR((double)loss[0], log(2), 1e-7);
    CHECK_NEAR((double)loss[1], log(3), 1e-7);
}

static void targets_out_of_range(void) {
    const float x[3][4] = {{1, 2, 3, 4}, {1, 2, 3, 4}, {4, 3, 2, 1}}, g[] = {1, 1, 1};
    const int32_t target[] = {-1, 4, 0};
    float loss[3], right[3], y[3][4], softmax[3][4];
    classify(DPT_OP_CROSS_ENTROPY, x[0], target, NULL, 3, loss);
    CHECK(isnan(loss[0]) && isnan(loss[1]) && isfinite(loss[2]));
    classify(DPT_OP_ACCURACY, x[0], target, NULL, 3, right);
    CHECK(right[0] == 0 && right[1] == 0 && right[2] == 1);
    classify(DPT_OP_SOFTMAX, x[0], NULL, NULL, 3, softmax[0]);
    classify(DPT_OP_CROSS_ENTROPY_GRAD, x[0], target, g, 3, y[0]);
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 4; i++) CHECK_NEAR((double)y[r][i], (double)softmax[r][i], 1e-6);
    CHECK_NEAR((double)y[2][0], (double)softmax[2][0] - 1, 1e-6);
}

static void accuracy_counts_the_first_of_equals(void) {
    const float x[5][4] = {{1, 5, 5, 0}, {1, 5, 5, 0}, {1, NAN, 5, 0}, {NAN, 1, 5, 0}, {0, 1, 2, 3}};
    const int32_t target[] = {1, 2, 2, 0, 3};
    const float want[] = {1, 0, 0, 0, 1};
    float y[5];
    classify(DPT_OP_ACCURACY, x[0], target, NULL, 5, y);
    for (int i = 0; i < 5; i++) CHECK_NEAR((double)y[i], (double)want[i], 0);
}

static void casts_keep_values(void) {
    const int64_t x[] = {0, -5, INT64_MAX, INT64_MIN};
    double y[4];
    dpt_block block = {0};
    dpt_call call = {.op = DPT_OP_CAST, .n_in = 1, .n_out = 1, .block = &block};
    call.in[0] = kernel_vector(x, DPT_I64, 4);
    call.out[0] = kernel_vector(y, DPT_F64, 4);
    kernel_run(&call, 1);
    CHECK(y[0] == 0 && y[1] == -5 && y[2] == 0x1p63 && y[3] == -0x1p63);
}

/* ---- large arrays, threads ---- */

enum { LARGE_ROWS = 1500, LARGE_COLUMNS = 130 };
static float large[LARGE_ROWS * LARGE_COLUMNS];

static double large_at(int64_t r, int64_t c) { return (double)((r * 7 + c * 13) % 101) / 7 - 6; }

static void fill_large(void) {
    for (int64_t r = 0; r < LARGE_ROWS; r++)
        for (int64_t c = 0; c < LARGE_COLUMNS; c++) large[r * LARGE_COLUMNS + c] = (float)large_at(r, c);
}

/* Sums over the given axes with 1 to 4 threads: the same bits, and those of a plain sum. */
static void check_large_sum(uint32_t axes, const double *want, int64_t n) {
    static float y[4][LARGE_ROWS];
    for (int threads = 1; threads <= 4; threads++) {
        dpt_block block = {.rows = {LARGE_ROWS}};
        dpt_call call = {.op = DPT_OP_SUM, .n_in = 1, .n_out = 1, .block = &block};
        call.in[0] = kernel_operand(large, DPT_F32, true, 2, (int64_t[]){LARGE_ROWS, LARGE_COLUMNS});
        call.out[0] = kernel_operand(y[threads - 1], DPT_F32, !(axes & 1U), axes == 3 ? 0 : 1, &n);
        call.attr.reduce.axes = axes;
        kernel_run(&call, threads);
        CHECK(memcmp(y[0], y[threads - 1], (size_t)n * sizeof(float)) == 0);
    }
    for (int64_t i = 0; i < n; i++) CHECK_NEAR((double)y[0][i], want[i], 1e-6);
}

static void sums_do_not_depend_on_threads(void) {
    static double rows[LARGE_ROWS], columns[LARGE_COLUMNS], all;
    fill_large();
    for (int64_t r = 0; r < LARGE_ROWS; r++)
        for (int64_t c = 0; c < LARGE_COLUMNS; c++) {
            const double v = (double)(float)large_at(r, c);
            rows[r] += v;
            columns[c] += v;
            all += v;
        }
    check_large_sum(1, columns, LARGE_COLUMNS);
    check_large_sum(2, rows, LARGE_ROWS);
    check_large_sum(3, &all, 1);
}

/* large - b for a b of every way to broadcast, with 1 to 4 threads. */
static void check_large_difference(const dpt_operand *b, int64_t row_step, int64_t column_step) {
    static float y[LARGE_ROWS * LARGE_COLUMNS];
    for (int threads = 1; threads <= 4; threads++) {
        dpt_block block = {.rows = {LARGE_ROWS - 1}};
        dpt_call call = {.op = DPT_OP_SUB, .n_in = 2, .n_out = 1, .block = &block};
        call.in[0] = kernel_operand(large, DPT_F32, true, 2, (int64_t[]){LARGE_ROWS, LARGE_COLUMNS});
        call.in[1] = *b;
        call.out[0] = call.in[0];
        call.out[0].data = y;
        memset(y, 0xff, sizeof y);
        kernel_run(&call, threads);
        int64_t wrong = 0;
        for (int64_t r = 0; r < LARGE_ROWS; r++)
            for (int64_t c = 0; c < LARGE_COLUMNS; c++) {
                const int64_t i = r * LARGE_COLUMNS + c;
                const float want = large[i] - ((const float *)b->data)[r * row_step + c * column_step];
                wrong += r < LARGE_ROWS - 1 ? y[i] != want : !isnan(y[i]);
            }
        CHECK_EQ_I64(wrong, 0);
    }
}

static void differences_of_large_arrays(void) {
    static float b[LARGE_ROWS * LARGE_COLUMNS];
    fill_large();
    for (int64_t i = 0; i < LARGE_ROWS * LARGE_COLUMNS; i++) b[i] = (float)(i % 1009);
    dpt_operand same = kernel_operand(b, DPT_F32, true, 2, (int64_t[]){LARGE_ROWS, LARGE_COLUMNS});
    dpt_operand column = kernel_operand(b, DPT_F32, true, 2, (int64_t[]){LARGE_ROWS, 1});
    dpt_operand row = kernel_vector(b, DPT_F32, LARGE_COLUMNS), scalar = kernel_scalar(b, DPT_F32);
    check_large_difference(&same, LARGE_COLUMNS, 1);
    check_large_difference(&column, 1, 0);
    check_large_difference(&row, 0, 1);
    check_large_difference(&scalar, 0, 0);
}

/* ---- fastmath.h ---- */

typedef struct bound {
    double relative, absolute;
} bound;

/* Largest errors over [lo, hi], relative ones where the exact value is a normal f32. */
static bound worst(float (*f)(float), double (*exact)(double), double lo, double hi) {
    enum { STEPS = 400000 };
    bound b = {0};
    for (int i = 0; i <= STEPS; i++) {
        const float x = (float)(lo + (hi - lo) * i / STEPS);
        const double want = exact((double)x), error = fabs((double)f(x) - want);
        if (error > b.absolute) b.absolute = error;
        if (fabs(want) >= 0x1p-126 && error / fabs(want) > b.relative) b.relative = error / fabs(want);
    }
    return b;
}

static float exp_of(float x) { return dpt_exp_f32(x); }
static float tanh_of(float x) { return dpt_tanh_f32(x); }
static float normal_of(float x) { return dpt_normal_f32(x); }
static float density_of(float x) { return dpt_normal_density_f32(x); }
static double normal_exact(double x) { return 0.5 * erfc(-x / sqrt(2)); }
static double density_exact(double x) { return exp(-x * x / 2) / sqrt(2 * acos(-1)); }

static void fastmath_is_as_exact_as_it_says(void) {
    CHECK(worst(exp_of, exp, -87.3, 88.7).relative < 1e-7);
    CHECK(worst(exp_of, exp, -1, 1).relative < 1e-7);
    CHECK(worst(tanh_of, tanh, -12, 12).relative < 1.5e-7);
    CHECK(worst(tanh_of, tanh, -1e-3, 1e-3).relative < 1.5e-7);
    CHECK(worst(normal_of, normal_exact, -20, 20).absolute < 2e-7);
    CHECK(worst(normal_of, normal_exact, -5, 20).relative < 1e-6);
    CHECK(worst(density_of, density_exact, -20, 20).absolute < 1e-7);
    CHECK(worst(density_of, density_exact, -5, 5).relative < 1e-6);
    CHECK(dpt_exp_f32(89) == INFINITY && dpt_exp_f32(INFINITY) == INFINITY);
    CHECK(dpt_exp_f32(-104) == 0 && dpt_exp_f32(-INFINITY) == 0 && dpt_exp_f32(0) == 1);
    CHECK(isnan(dpt_exp_f32(NAN)) && isnan(dpt_tanh_f32(NAN)) && isnan(dpt_normal_f32(NAN)));
}

int main(int argc, char **argv) {
    return CHECK_MAIN(
        argc, argv, "op_kernels", {"dropout_is_the_defined_draw", dropout_is_the_defined_draw},
        {"dropout_follows_the_row", dropout_follows_the_row}, {"dropout_keeps_its_share", dropout_keeps_its_share},
        {"dropout_gradient_is_the_same_draw", dropout_gradient_is_the_same_draw},
        {"activations_keep_nan", activations_keep_nan}, {"activations_at_the_ends", activations_at_the_ends},
        {"softmax_does_not_overflow", softmax_does_not_overflow}, {"targets_out_of_range", targets_out_of_range},
        {"accuracy_counts_the_first_of_equals", accuracy_counts_the_first_of_equals},
        {"casts_keep_values", casts_keep_values}, {"sums_do_not_depend_on_threads", sums_do_not_depend_on_threads},
        {"differences_of_large_arrays", differences_of_large_arrays},
        {"fastmath_is_as_exact_as_it_says", fastmath_is_as_exact_as_it_says});
}
