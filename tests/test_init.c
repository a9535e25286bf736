/* test_init.c: initialisers: bounds and moments of their distributions, orthogonality, and that an element depends on
 * name, seed, shape and its place alone. */
#include "base/random.h"
#include "check.h"
#include "graph/init.h"

enum { COUNT = 64 * 25 * 30 };
static const int64_t conv[] = {64, 30, 5, 5}; /* fan-in 750, fan-out 1600 */

static float values[COUNT];
static double wide[COUNT];

static void fill(const char *name, dpt_init init) {
    CHECK_OK(dpt_init_fill(name, init, DPT_F32, 4, conv, 7, values));
    CHECK_OK(dpt_init_fill(name, init, DPT_F64, 4, conv, 7, wide));
    for (int64_t i = 0; i < COUNT; i++)
        if (!CHECK(values[i] == (float)wide[i])) return;
}

/* Mean, variance and fourth moment over the variance squared, each within five standard errors of n draws. */
static void check_moments(double mean, double variance, double kurtosis) {
    double n = COUNT, m1 = 0, m2 = 0, m4 = 0;
    for (int64_t i = 0; i < COUNT; i++) m1 += wide[i] / n;
    for (int64_t i = 0; i < COUNT; i++) m2 += pow(wide[i] - m1, 2) / n, m4 += pow(wide[i] - m1, 4) / n;
    CHECK_NEAR((m1 - mean) / sqrt(variance), 0, 5 / sqrt(n));
    CHECK_NEAR(m2 / variance, 1, 5 * sqrt((kurtosis - 1) / n));
    CHECK_NEAR(m4 / (m2 * m2) / kurtosis, 1, 0.06);
}

/* All in [low, high], and both ends nearly reached. */
static void check_bounds(double low, double high) {
    double least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < COUNT; i++) least = fmin(least, wide[i]), most = fmax(most, wide[i]);
    CHECK(least >= low && most <= high);
    CHECK(least < low + 1e-3 * (high - low) && most > high - 1e-3 * (high - low));
}

static void constants(void) {
    fill("w", (dpt_init){.kind = DPT_INIT_ZEROS});
    CHECK(values[0] == 0 && values[COUNT - 1] == 0);
    fill("w", (dpt_init){.kind = DPT_INIT_ONES});
    CHECK(values[0] == 1 && values[COUNT - 1] == 1);
    fill("w", (dpt_init){.kind = DPT_INIT_CONSTANT, .a = -2.5});
    CHECK(values[0] == -2.5f && values[COUNT - 1] == -2.5f);
}

static void check_uniform(dpt_init init, double low, double high) {
    fill("w", init);
    check_bounds(low, high);
    check_moments((low + high) / 2, pow(high - low, 2) / 12, 1.8);
}

static void uniform(void) {
    check_uniform((dpt_init){DPT_INIT_UNIFORM, 2, 5}, 2, 5);
    double l = 0.5 * sqrt(3.0 / 750);
    check_uniform((dpt_init){DPT_INIT_KAIMING_UNIFORM, 0.5, 0}, -l, l);
    l = 1 / sqrt(750); /* PyTorch's default of layers */
    check_uniform((dpt_init){DPT_INIT_KAIMING_UNIFORM, 1 / sqrt(3), 0}, -l, l);
    l = 2 * sqrt(6.0 / (750 + 1600));
    check_uniform((dpt_init){DPT_INIT_XAVIER_UNIFORM, 2, 0}, -l, l);
    check_uniform((dpt_init){DPT_INIT_FAN_IN_UNIFORM, 0, 16}, -0.25, 0.25);
}

static void uniform_stays_below(void) {
    /* four floats: rounding would often give 1 */
    CHECK_OK(dpt_init_fill("w", (dpt_init){DPT_INIT_UNIFORM, 1 - 0x1p-22, 1}, DPT_F32, 4, conv, 7, values));
    for (int64_t i = 0; i < COUNT; i++) CHECK(values[i] < 1 && values[i] >= 1 - 0x1p-22f);
    fill("w", (dpt_init){DPT_INIT_UNIFORM, 3, 3});
    CHECK(values[5] == 3);
}

static void normal(void) {
    fill("w", (dpt_init){DPT_INIT_NORMAL, 3, 0.5});
    check_moments(3, 0.25, 3);
    fill("w", (dpt_init){DPT_INIT_KAIMING_NORMAL, sqrt(2), 0});
    check_moments(0, 2.0 / 750, 3);
    fill("w", (dpt_init){DPT_INIT_XAVIER_NORMAL, 1, 0});
    check_moments(0, 2.0 / (750 + 1600), 3);
}

/* Of the standard normal cut at two deviations: variance 1 - 4 phi(2) / (2 Phi(2) - 1), and E z^4 by parts. */
static void truncated(void) {
    double phi = exp(-2) / sqrt(2 * 3.14159265358979323846), inside = erf(2 / sqrt(2));
    double second = 1 - 4 * phi / inside, fourth = 3 * second - 16 * phi / inside;
    fill("w", (dpt_init){DPT_INIT_TRUNCATED_NORMAL, 1, 3});
    check_bounds(1 - 6, 1 + 6);
    check_moments(1, 9 * second, fourth / (second * second));
}

static void check_orthogonal(int ndim, const int64_t *dim, double gain) {
    int64_t rows = dim[0], columns = 1;
    for (int i = 1; i < ndim; i++) columns *= dim[i];
    CHECK_OK(dpt_init_fill("w", (dpt_init){DPT_INIT_ORTHOGONAL, gain, 0}, DPT_F64, ndim, dim, 3, wide));
    bool by_row = rows <= columns;
    int64_t m = by_row ? rows : columns, n = by_row ? columns : rows;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j <= i; j++) {
            double product = 0;
            for (int64_t k = 0; k < n; k++)
                product += by_row ? wide[i * n + k] * wide[j * n + k] : wide[k * m + i] * wide[k * m + j];
            CHECK_NEAR(product, i == j ? gain * gain : 0, 1e-13);
        }
}

static void orthogonal(void) {
    check_orthogonal(2, (int64_t[]){40, 40}, 1);
    check_orthogonal(2, (int64_t[]){10, 33}, 1.5);
    check_orthogonal(2, (int64_t[]){33, 10}, 0.5);
    check_orthogonal(4, (int64_t[]){8, 4, 3, 3}, 1);
    check_orthogonal(2, (int64_t[]){1, 1}, 2);
}

/* Uniform over orthogonal matrices: the mean square of any element is 1/n. Over 400 matrices of 5 x 5. */
static void orthogonal_is_uniform(void) {
    double square[25] = {0}, sum[25] = {0}, q[25];
    for (uint64_t seed = 0; seed < 400; seed++) {
        CHECK_OK(dpt_init_fill("w", (dpt_init){DPT_INIT_ORTHOGONAL, 1, 0}, DPT_F64, 2, (int64_t[]){5, 5}, seed, q));
        for (int i = 0; i < 25; i++) square[i] += q[i] * q[i] / 400, sum[i] += q[i] / 400;
    }
    for (int i = 0; i < 25; i++) {
        CHECK_NEAR(square[i], 0.2, 0.06); /* five standard errors: the variance of an element's square is 8/175 */
        CHECK_NEAR(sum[i], 0, 5 * sqrt(0.2 / 400));
    }
}

/* Element i comes from word i % 4 of quad i / 4 of the key of name and seed: version 1 of the format. */
static void places(void) {
    fill("layer.weight", (dpt_init){DPT_INIT_UNIFORM, 0, 1});
    uint64_t key = dpt_random_key("layer.weight", 7);
    for (int64_t i = 0; i < 1000; i++)
        CHECK(values[i] == dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i / 4, 0, 0).v[i % 4]));
    float few[6], other[6];
    dpt_init init = {DPT_INIT_NORMAL, 0, 1};
    CHECK_OK(dpt_init_fill("a", init, DPT_F32, 1, (int64_t[]){6}, 1, few));
    double pair[2];
    dpt_random4 r = dpt_random_quad(dpt_random_key("a", 1), 1, 0, 0);
    dpt_normal_pair(r.v[0], r.v[1], &pair[0], &pair[1]);
    CHECK(few[4] == (float)pair[0] && few[5] == (float)pair[1]);
    CHECK_OK(dpt_init_fill("b", init, DPT_F32, 1, (int64_t[]){6}, 1, other));
    CHECK(memcmp(few, other, sizeof few) != 0);
    CHECK_OK(dpt_init_fill("a", init, DPT_F32, 1, (int64_t[]){6}, 2, other));
    CHECK(memcmp(few, other, sizeof few) != 0);
    CHECK_OK(dpt_init_fill("a", init, DPT_F32, 1, (int64_t[]){6}, 1, other));
    CHECK(memcmp(few, other, sizeof few) == 0);
}

static dpt_status try_fill(dpt_init init, dpt_dtype dtype, int ndim, const int64_t *dim) {
    return dpt_init_fill("w", init, dtype, ndim, dim, 0, values);
}

static void refuses(void) {
    int64_t dim[] = {4, 3}, large[] = {1 << 20, 1 << 20};
    dpt_init zeros = {.kind = DPT_INIT_ZEROS};
    CHECK_FAILS(try_fill(zeros, DPT_U8, 2, dim), DPT_ERR_ARG, "\"w\": type u8");
    CHECK_FAILS(try_fill(zeros, DPT_F32, 2, large), DPT_ERR_UNSUPPORTED, "dimension 1 is 1048576");
    CHECK_FAILS(try_fill((dpt_init){DPT_INIT_UNIFORM, 2, 1}, DPT_F32, 2, dim), DPT_ERR_ARG, "uniform from 2 to 1");
    CHECK_FAILS(try_fill((dpt_init){DPT_INIT_NORMAL, 0, -1}, DPT_F32, 2, dim), DPT_ERR_ARG, "deviation -1");
    CHECK_FAILS(try_fill((dpt_init){DPT_INIT_NORMAL, NAN, 1}, DPT_F32, 2, dim), DPT_ERR_ARG, "mean nan");
    CHECK_FAILS(try_fill((dpt_init){DPT_INIT_ORTHOGONAL, 1, 0}, DPT_F32, 1, dim), DPT_ERR_ARG, "needs two dimensions");
    CHECK_FAILS(try_fill((dpt_init){DPT_INIT_XAVIER_NORMAL, 1, 0}, DPT_F32, 1, dim), DPT_ERR_ARG, "needs two");
    CHECK_FAILS(try_fill((dpt_init){DPT_INIT_FAN_IN_UNIFORM, 0, 0}, DPT_F32, 1, dim), DPT_ERR_ARG, "fan-in 0");
    CHECK_FAILS(try_fill((dpt_init){(dpt_init_kind)99, 0, 0}, DPT_F32, 1, dim), DPT_ERR_ARG, "no such kind: 99");
    dpt_init scalar = {DPT_INIT_CONSTANT, 4, 0};
    CHECK_OK(try_fill(scalar, DPT_F32, 0, NULL));
    CHECK(values[0] == 4);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "init", {"constants", constants}, {"uniform", uniform},
                      {"uniform_stays_below", uniform_stays_below}, {"normal", normal}, {"truncated", truncated},
                      {"orthogonal", orthogonal}, {"orthogonal_is_uniform", orthogonal_is_uniform}, {"places", places},
                      {"refuses", refuses});
}
