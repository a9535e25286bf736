/* test_cuda_rows.c: classification, squared errors and batch norm in all sizes that the device's kernels treat
 * differently (lanes, warps, blocks, parts; packs and single elements), in 16 bits and in channels-last layout, against
 * formulas in f64. Rows past the valid ones are NaN. On the CPU, which has f32 and f64 in C order, those run. */
#include "float_array.h"

static const dpt_dtype dtypes[] = {DPT_F32, DPT_F64, DPT_BF16, DPT_F16};
static bool on_cpu(void) { return strcmp(check_device(), "cpu") == 0; }
static int dtype_count(void) { return on_cpu() ? 2 : 4; }

/* An array of `rows` valid rows; NaN everywhere. */
static dpt_operand array_of(dpt_dtype dtype, int ndim, const int64_t *dim) {
    dpt_operand o = kernel_operand(NULL, dtype, true, ndim, dim);
    o.data = dpt_alloc_aligned((size_t)o.count * dpt_dtype_size(dtype), DPT_ALIGNMENT);
    for (int64_t i = 0; i < o.count; i++) float_put(&o, i, NAN);
    return o;
}

static double draw(uint64_t key, int64_t i) {
    return 2 * (double)dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i, 0, 0).v[0]) - 1;
}

static dpt_operand drawn(dpt_dtype dtype, int64_t rows, int ndim, const int64_t *dim, uint64_t key, double scale) {
    dpt_operand o = array_of(dtype, ndim, dim);
    for (int64_t i = 0; i < rows * o.row_count; i++) float_put(&o, i, scale * draw(key, i));
    return o;
}

static double bound_of(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F64: return 1e-13;
        case DPT_F32: return 2e-6;
        case DPT_BF16: return 4e-3;
        default: return 1e-3;
    }
}

static void compare(const dpt_operand *got, const double *expected, int64_t count, double bound, const char *what) {
    double *values = dpt_alloc((size_t)(count + 1) * sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = float_get(got, i);
    const double error = check_relative_f64(values, expected, count);
    check_that(error <= bound, __FILE__, __LINE__, "%s, %s, rows of %lld: relative error %g, at most %g", what,
               dpt_dtype_text(got->dtype), (long long)got->row_count, error, bound);
    dpt_free(values);
}

/* ---- classification ---- */

enum { CAPACITY = 11, VALID = 9 };
typedef struct classified {
    int64_t n;
    dpt_operand x, target, g;
    double *softmax, *gradient, loss[VALID], right[VALID];
    int64_t chosen[VALID];
} classified;

static void target_put(dpt_operand *o, int64_t row, int64_t value) {
    switch (o->dtype) {
        case DPT_U8: ((uint8_t *)o->data)[row] = (uint8_t)value; break;
        case DPT_I32: ((int32_t *)o->data)[row] = (int32_t)value; break;
        default: ((int64_t *)o->data)[row] = value; break;
    }
}

/* In every second row the target is the largest logit; in row 0 an equal one follows, in row 2 one stands before it. */
static void targets_draw(classified *c) {
    for (int64_t r = 0; r < CAPACITY; r++) {
        int64_t best = 0, chosen = (int64_t)((draw(7, r) + 1) / 2 * (double)c->n);
        for (int64_t i = 1; i < c->n && r < VALID; i++)
            if (float_get(&c->x, r * c->n + i) > float_get(&c->x, r * c->n + best)) best = i;
        if (r % 2 == 0) chosen = best;
        if (c->target.dtype == DPT_U8) chosen %= 256;
        if (r < VALID) c->chosen[r] = chosen;
        target_put(&c->target, r, r < VALID ? chosen : 99999);
    }
    if (c->n > 2) float_put(&c->x, c->n - 1, float_get(&c->x, c->chosen[0]));
    if (c->n > 2) float_put(&c->x, 2 * c->n, float_get(&c->x, 2 * c->n + c->chosen[2]));
}

static void expect_row(classified *c, int64_t r) {
    double sum = 0, max = -INFINITY;
    const int64_t first = r * c->n, t = c->chosen[r];
    for (int64_t i = 0; i < c->n; i++) max = fmax(max, float_get(&c->x, first + i));
    for (int64_t i = 0; i < c->n; i++) sum += exp(float_get(&c->x, first + i) - max);
    c->loss[r] = log(sum) - (float_get(&c->x, first + t) - max);
    c->right[r] = 1;
    for (int64_t i = 0; i < c->n; i++) {
        const double p = exp(float_get(&c->x, first + i) - max) / sum;
        c->softmax[first + i] = p;
        c->gradient[first + i] = float_get(&c->g, r) * (p - (i == t));
        const double v = float_get(&c->x, first + i), best = float_get(&c->x, first + t);
        if (i < t ? v >= best : v > best) c->right[r] = 0;
    }
}

static classified classified_make(int64_t n, dpt_dtype dtype, dpt_dtype scalar, dpt_dtype target) {
    const int64_t dim[] = {CAPACITY, n};
    classified c = {.n = n, .x = drawn(dtype, VALID, 2, dim, (uint64_t)n, 4)};
    c.g = drawn(scalar, VALID, 1, dim, 5, 1);
    c.target = kernel_operand(NULL, target, true, 1, dim);
    c.target.data = dpt_alloc(CAPACITY * sizeof(int64_t));
    c.softmax = dpt_alloc((size_t)(VALID * n) * sizeof(double));
    c.gradient = dpt_alloc((size_t)(VALID * n) * sizeof(double));
    targets_draw(&c);
    for (int64_t r = 0; r < VALID; r++) expect_row(&c, r);
    return c;
}

static void classified_free(classified *c) {
    dpt_free(c->x.data);
    dpt_free(c->g.data);
    dpt_free(c->target.data);
    dpt_free(c->softmax);
    dpt_free(c->gradient);
}

/* Runs op into an array of its own, or in the place of the logits. */
static dpt_operand classify(classified *c, int op, dpt_dtype out, bool in_place) {
    const int64_t dim[] = {CAPACITY, c->n};
    const bool per_row = op == DPT_OP_CROSS_ENTROPY || op == DPT_OP_ACCURACY;
    dpt_block block = {.rows = {VALID}};
    dpt_call call = {.op = op, .n_out = 1, .block = &block};
    call.n_in = op == DPT_OP_SOFTMAX || op == DPT_OP_ONE_HOT ? 1 : op == DPT_OP_CROSS_ENTROPY_GRAD ? 3 : 2;
    call.in[0] = op == DPT_OP_ONE_HOT ? c->target : c->x;
    call.in[1] = c->target;
    call.in[2] = c->g;
    if (op == DPT_OP_ONE_HOT) call.attr.one_hot.classes = c->n;
    call.out[0] = in_place ? c->x : array_of(out, per_row ? 1 : 2, dim);
    kernel_run(&call, 2);
    return call.out[0];
}

static void classify_check(classified *c, int op, dpt_dtype out, const double *expected, const char *what) {
    const int64_t each = op == DPT_OP_CROSS_ENTROPY || op == DPT_OP_ACCURACY ? 1 : c->n;
    dpt_operand got = classify(c, op, out, false);
    compare(&got, expected, VALID * each, bound_of(out), what);
    dpt_free(got.data);
}

/* scalar: type of g and of values a row */
static void classification_of(int64_t n, dpt_dtype dtype, dpt_dtype scalar, dpt_dtype target) {
    classified c = classified_make(n, dtype, scalar, target);
    classify_check(&c, DPT_OP_SOFTMAX, dtype, c.softmax, "softmax");
    classify_check(&c, DPT_OP_CROSS_ENTROPY, scalar, c.loss, "cross_entropy");
    classify_check(&c, DPT_OP_CROSS_ENTROPY_GRAD, dtype, c.gradient, "cross_entropy_grad");
    classify_check(&c, DPT_OP_ACCURACY, scalar, c.right, "accuracy");
    double *hot = dpt_alloc_zero((size_t)(VALID * n), sizeof *hot);
    for (int64_t r = 0; r < VALID; r++) hot[r * n + c.chosen[r]] = 1;
    classify_check(&c, DPT_OP_ONE_HOT, dtype, hot, "one_hot");
    dpt_free(hot);
    classify(&c, DPT_OP_CROSS_ENTROPY_GRAD, dtype, true);
    compare(&c.x, c.gradient, VALID * n, bound_of(dtype), "cross_entropy_grad in place");
    classified_free(&c);
}

static void classification(void) {
    static const int64_t sizes[] = {1, 3, 10, 16, 32, 33, 64, 256, 257, 1000, 1024, 1025, 4104, 5001};
    static const dpt_dtype targets[] = {DPT_I32, DPT_U8, DPT_I64};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int d = 0; d < dtype_count(); d++) classification_of(sizes[k], dtypes[d], dtypes[d], targets[k % 3]);
}

static void wide_losses_of_narrow_logits(void) {
    if (on_cpu()) return;
    classification_of(10, DPT_BF16, DPT_F32, DPT_U8);
    classification_of(1000, DPT_F16, DPT_F32, DPT_I32);
    classification_of(2056, DPT_BF16, DPT_F32, DPT_I64);
}

/* More than a block keeps in shared memory, and a row that needs permission for what it keeps. */
static void very_long_rows(void) {
    classification_of(60000, DPT_F32, DPT_F32, DPT_I32);
    classification_of(20001, DPT_F32, DPT_F32, DPT_I32);
}

/* Logits [rows, classes, positions] and all options, with positions side by side and channels-last: both give the same
 * values, which test_losses has from PyTorch. */
static void positions_of(int64_t n, int64_t inner, dpt_dtype dtype) {
    const int64_t dim[] = {CAPACITY, n, inner}, per_row[] = {CAPACITY, inner};
    dpt_operand x = drawn(dtype, VALID, 3, dim, 3, 4), last = array_of(dtype, 3, dim);
    dpt_operand g = drawn(DPT_F32, VALID, 2, per_row, 4, 1), w = drawn(DPT_F32, CAPACITY, 1, &n, 5, 1);
    w.axis = -1, w.row_count = n;
    dpt_operand target = kernel_operand(dpt_alloc((size_t)(CAPACITY * inner) * 4), DPT_I32, true, 2, per_row);
    for (int64_t i = 0; i < CAPACITY * inner; i++)
        ((int32_t *)target.data)[i] = i < VALID * inner ? (int32_t)(i * 5 % n) : 1 << 30;
    for (int64_t i = 0; i < n; i++) float_put(&w, i, 0.25 + (double)(i % 3));
    for (int64_t r = 0; r < VALID; r++)
        for (int64_t k = 0; k < n * inner; k++)
            float_put(&last, (r * inner + k % inner) * n + k / inner, float_get(&x, r * n * inner + k));
    last.layout = DPT_LAYOUT_CHANNELS_LAST;
    dpt_block block = {.rows = {VALID}};
    const dpt_classify_attr attr = {.smoothing = 0.3, .ignores = true, .ignore = 2};
    dpt_operand y[2], d[2];
    for (int k = 0; k < 2; k++) {
        dpt_call loss = {
            .op = DPT_OP_CROSS_ENTROPY, .n_in = 3, .n_out = 1, .block = &block, .attr = {.classify = attr}};
        loss.in[0] = k ? last : x, loss.in[1] = target, loss.in[2] = w;
        loss.out[0] = y[k] = array_of(DPT_F32, 2, per_row);
        kernel_run(&loss, 2);
        dpt_call grad = {
            .op = DPT_OP_CROSS_ENTROPY_GRAD, .n_in = 4, .n_out = 1, .block = &block, .attr = {.classify = attr}};
        grad.in[0] = loss.in[0], grad.in[1] = target, grad.in[2] = g, grad.in[3] = w;
        grad.out[0] = d[k] = array_of(dtype, 3, dim);
        grad.out[0].layout = d[k].layout = grad.in[0].layout;
        kernel_run(&grad, 2);
    }
    for (int64_t i = 0; i < VALID * inner; i++)
        CHECK_NEAR(float_get(&y[0], i), float_get(&y[1], i), 1e-5 * (1 + fabs(float_get(&y[1], i))));
    for (int64_t r = 0; r < VALID; r++)
        for (int64_t k = 0; k < n * inner; k++)
            CHECK_NEAR(float_get(&d[0], r * n * inner + k), float_get(&d[1], (r * inner + k % inner) * n + k / inner),
                       bound_of(dtype));
    for (int k = 0; k < 2; k++) dpt_free(y[k].data), dpt_free(d[k].data);
    dpt_free(x.data), dpt_free(last.data), dpt_free(g.data), dpt_free(w.data), dpt_free(target.data);
}

static void positions(void) {
    positions_of(5, 3, DPT_F32);
    positions_of(40, 70, DPT_F32);
    positions_of(1100, 2, DPT_F32);
    if (!on_cpu()) positions_of(12, 9, DPT_BF16);
}

/* A loss that is small beside 1 keeps its digits; infinities and NaN end where the definition says. */
static void extreme_logits(void) {
    static const int64_t sizes[] = {4, 40, 1500};
    for (int k = 0; k < 3; k++) {
        const int64_t n = sizes[k], dim[] = {CAPACITY, n};
        classified c = {.n = n, .x = array_of(DPT_F32, 2, dim), .target = kernel_operand(NULL, DPT_I32, true, 1, dim)};
        int32_t target[CAPACITY] = {0, 1, 1, 2, 3, 0, -1, (int32_t)n, 2};
        c.target.data = target;
        for (int64_t i = 0; i < VALID * n; i++) float_put(&c.x, i, 0);
        float_put(&c.x, 0, 25);                                                /* sure and right */
        float_put(&c.x, n, 25);                                                /* sure and wrong */
        for (int64_t i = 0; i < n; i++) float_put(&c.x, 2 * n + i, -INFINITY); /* nothing */
        float_put(&c.x, 3 * n + 1, NAN);
        float_put(&c.x, 4 * n + 3, INFINITY);
        for (int64_t i = 2; i < n; i++) float_put(&c.x, 5 * n + i, -INFINITY); /* two that are left */
        for (int64_t i = 0; i < n; i++) float_put(&c.x, 8 * n + i, i == 2 ? 1e30 : -1e30);
        dpt_operand loss = classify(&c, DPT_OP_CROSS_ENTROPY, DPT_F32, false);
        const double others = (double)(n - 1);
        CHECK_NEAR(float_get(&loss, 0) / log1p(others * exp(-25)), 1, 1e-5);
        CHECK_NEAR(float_get(&loss, 1), 25 + log1p(others * exp(-25)), 1e-6);
        for (int r = 2; r < 5; r++) CHECK(isnan(float_get(&loss, r)));
        CHECK_NEAR(float_get(&loss, 5), log(2), 1e-6);
        CHECK(isnan(float_get(&loss, 6)) && isnan(float_get(&loss, 7)));
        CHECK(float_get(&loss, 8) == 0);
        dpt_operand y = classify(&c, DPT_OP_SOFTMAX, DPT_F32, false);
        CHECK(isnan(float_get(&y, 2 * n)) && isnan(float_get(&y, 3 * n)) && isnan(float_get(&y, 4 * n + 3)));
        CHECK(float_get(&y, 5 * n + 3) == 0 && float_get(&y, 5 * n) == 0.5);
        CHECK(float_get(&y, 8 * n + 2) == 1 && float_get(&y, 8 * n) == 0);
        dpt_operand right = classify(&c, DPT_OP_ACCURACY, DPT_F32, false);
        CHECK(float_get(&right, 0) == 1 && float_get(&right, 1) == 0 && float_get(&right, 3) == 0);
        dpt_free(c.x.data);
        dpt_free(loss.data);
        dpt_free(y.data);
        dpt_free(right.data);
    }
}

/* ---- mse ---- */

static void mse_of(int64_t n, dpt_dtype dtype, dpt_dtype out) {
    const int64_t dim[] = {CAPACITY, n};
    double expected[VALID] = {0};
    dpt_block block = {.rows = {VALID}};
    dpt_call call = {.op = DPT_OP_MSE, .n_in = 2, .n_out = 1, .block = &block};
    call.in[0] = drawn(dtype, VALID, 2, dim, 1, 1);
    call.in[1] = drawn(dtype, VALID, 2, dim, 2, 1);
    call.out[0] = array_of(out, 1, dim);
    for (int64_t i = 0; i < VALID * n; i++)
        expected[i / n] += pow(float_get(&call.in[0], i) - float_get(&call.in[1], i), 2) / (double)n;
    kernel_run_times(&call, 1, 2);
    compare(&call.out[0], expected, VALID, bound_of(out), "mse");
    CHECK(isnan(float_get(&call.out[0], VALID)));
    for (int i = 0; i < 2; i++) dpt_free(call.in[i].data);
    dpt_free(call.out[0].data);
}

static void mse(void) {
    static const int64_t sizes[] = {1, 3, 8, 32, 33, 104, 4096, 5001, 40000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (int d = 0; d < dtype_count(); d++)
            mse_of(sizes[k], dtypes[d], dtypes[d] == DPT_BF16 ? DPT_F32 : dtypes[d]);
}

/* ---- batch norm ---- */

typedef struct planes {
    int64_t capacity, rows, channels, spatial;
} planes;

static const planes all_planes[] = {{6, 4, 3, 25},      {9, 7, 8, 16}, {5, 3, 64, 49},  {40, 33, 70, 1},
                                    {3, 2, 136, 9},     {8, 5, 2, 64}, {4, 4, 1, 3},    {7, 7, 32, 1},
                                    {700, 650, 16, 64}, {3, 0, 8, 4},  {2, 2, 3, 20000}};
enum { MOST_CHANNELS = 136 };

typedef struct norm_case {
    planes s;
    dpt_layout layout;
    dpt_block block;
    dpt_operand x, g, y, dx;
    double moments[2 * MOST_CHANNELS + 1], again[2 * MOST_CHANNELS + 1], sums[2 * MOST_CHANNELS];
    float weight[MOST_CHANNELS], bias[MOST_CHANNELS], mean[MOST_CHANNELS], var[MOST_CHANNELS];
} norm_case;

/* Where element i of channel c's lies: i counts samples and places. */
static int64_t place(const norm_case *n, int64_t c, int64_t i) {
    const int64_t row = i / n->s.spatial, at = i % n->s.spatial, channels = n->s.channels;
    return n->layout == DPT_LAYOUT_CHANNELS_LAST ? i * channels + c : (row * channels + c) * n->s.spatial + at;
}

static dpt_operand planes_of(norm_case *n, dpt_dtype dtype, uint64_t key) {
    const int64_t dim[] = {n->s.capacity, n->s.channels, n->s.spatial};
    dpt_operand o = array_of(dtype, 3, dim);
    o.layout = n->layout;
    for (int64_t c = 0; c < n->s.channels && key > 0; c++)
        for (int64_t i = 0; i < n->s.rows * n->s.spatial; i++) {
            const int64_t at = place(n, c, i);
            float_put(&o, at, (key == 1 ? (double)(c % 5) : 0) + (0.5 + (double)(c % 3)) * draw(key, at));
        }
    return o;
}

static void norm_call(norm_case *n, int op, int n_in, const dpt_operand *in, dpt_operand *out, int times) {
    dpt_call call = {.op = op, .n_in = n_in, .n_out = 1, .block = &n->block};
    call.attr.norm.eps = 1e-3;
    call.attr.norm.channels = n->s.channels;
    memcpy(call.in, in, (size_t)n_in * sizeof in[0]);
    call.out[0] = *out;
    kernel_run_times(&call, 2, times);
}

/* The kernels in the order of a step; moments twice, the second time three runs of one bind. */
static void norm_run(norm_case *n) {
    const int64_t c = n->s.channels;
    dpt_operand moments = kernel_vector(n->moments, DPT_F64, 2 * c + 1), sums = kernel_vector(n->sums, DPT_F64, 2 * c);
    dpt_operand again = kernel_vector(n->again, DPT_F64, 2 * c + 1), weight = kernel_vector(n->weight, DPT_F32, c);
    const dpt_operand bias = kernel_vector(n->bias, DPT_F32, c), mean = kernel_vector(n->mean, DPT_F32, c);
    const dpt_operand var = kernel_vector(n->var, DPT_F32, c);
    norm_call(n, DPT_OP_BN_MOMENTS, 1, &n->x, &moments, 1);
    norm_call(n, DPT_OP_BN_MOMENTS, 1, &n->x, &again, 3);
    CHECK(memcmp(n->moments, n->again, (size_t)(2 * c + 1) * sizeof(double)) == 0);
    norm_call(n, DPT_OP_BN_APPLY, 6, (dpt_operand[]){n->x, moments, weight, bias, mean, var}, &n->y, 1);
    norm_call(n, DPT_OP_BN_GRAD_SUMS, 3, (dpt_operand[]){n->g, n->x, moments}, &sums, 2);
    norm_call(n, DPT_OP_BN_GRAD_APPLY, 5, (dpt_operand[]){n->g, n->x, moments, sums, weight}, &n->dx, 1);
}

typedef struct channel {
    double mean, var, rstd, sum_g, sum_gx;
} channel;

static channel channel_of(const norm_case *n, int64_t c) {
    channel k = {0};
    const int64_t count = n->s.rows * n->s.spatial;
    for (int64_t i = 0; i < count; i++) k.mean += float_get(&n->x, place(n, c, i)) / (double)count;
    for (int64_t i = 0; i < count; i++) k.var += pow(float_get(&n->x, place(n, c, i)) - k.mean, 2) / (double)count;
    k.rstd = 1 / sqrt(k.var + 1e-3);
    for (int64_t i = 0; i < count; i++) {
        const double g = float_get(&n->g, place(n, c, i));
        k.sum_g += g;
        k.sum_gx += g * (float_get(&n->x, place(n, c, i)) - k.mean) * k.rstd;
    }
    return k;
}

static void norm_check(norm_case *n) {
    const int64_t channels = n->s.channels, count = n->s.rows * n->s.spatial, all = count * channels;
    double *y = dpt_alloc_zero((size_t)all + 1, sizeof *y), *dx = dpt_alloc_zero((size_t)all + 1, sizeof *dx);
    const double exact = n->x.dtype == DPT_F32 ? 1e-12 : 1e-6;
    CHECK(n->moments[2 * channels] == (double)count);
    for (int64_t c = 0; c < channels && count > 0; c++) {
        const channel k = channel_of(n, c);
        const double size = (double)count, weight = (double)n->weight[c];
        CHECK_NEAR(n->moments[c] / size, k.mean, exact);
        CHECK_NEAR(n->moments[channels + c] / size - k.mean * k.mean, k.var, 10 * exact);
        CHECK_NEAR(n->sums[c] / size, k.sum_g / size, exact);
        CHECK_NEAR(n->sums[channels + c] / size, k.sum_gx / size, 10 * exact);
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = place(n, c, i);
            const double normal = (float_get(&n->x, at) - k.mean) * k.rstd;
            y[at] = normal * weight + (double)n->bias[c];
            dx[at] = weight * k.rstd * (float_get(&n->g, at) - k.sum_g / size - normal * k.sum_gx / size);
        }
    }
    if (count == 0)
        for (int64_t i = 0; i < 2 * channels; i++) CHECK(n->moments[i] == 0 && n->sums[i] == 0);
    compare(&n->y, y, all, bound_of(n->x.dtype), "bn_apply");
    compare(&n->dx, dx, all, 2 * bound_of(n->x.dtype), "bn_grad_apply");
    if (n->s.rows < n->s.capacity) CHECK(isnan(float_get(&n->y, all)) && isnan(float_get(&n->dx, all)));
    dpt_free(y);
    dpt_free(dx);
}

static void infer_check(norm_case *n) {
    const int64_t c = n->s.channels, count = n->s.rows * n->s.spatial;
    dpt_operand in[] = {n->x, kernel_vector(n->mean, DPT_F32, c), kernel_vector(n->var, DPT_F32, c),
                        kernel_vector(n->weight, DPT_F32, c), kernel_vector(n->bias, DPT_F32, c)};
    norm_call(n, DPT_OP_BN_INFER, 5, in, &n->y, 1);
    double *y = dpt_alloc_zero((size_t)(count * c) + 1, sizeof *y);
    for (int64_t k = 0; k < c; k++)
        for (int64_t i = 0; i < count; i++)
            y[place(n, k, i)] = (float_get(&n->x, place(n, k, i)) - (double)n->mean[k]) /
                                    sqrt((double)n->var[k] + 1e-3) * (double)n->weight[k] +
                                (double)n->bias[k];
    compare(&n->y, y, count * c, bound_of(n->x.dtype), "bn_infer");
    dpt_free(y);
}

static void norm_of(planes s, dpt_layout layout, dpt_dtype dtype) {
    static norm_case n;
    n = (norm_case){.s = s, .layout = layout, .block = {.rows = {s.rows}}};
    n.x = planes_of(&n, dtype, 1), n.g = planes_of(&n, dtype, 2);
    n.y = planes_of(&n, dtype, 0), n.dx = planes_of(&n, dtype, 0);
    for (int64_t c = 0; c < s.channels; c++) {
        n.weight[c] = (float)(1.5 + draw(3, c)), n.bias[c] = (float)draw(4, c);
        n.mean[c] = (float)draw(5, c), n.var[c] = (float)(1.5 + draw(6, c));
    }
    norm_run(&n);
    norm_check(&n);
    infer_check(&n);
    for (int i = 0; i < 4; i++) dpt_free((dpt_operand *[]){&n.x, &n.g, &n.y, &n.dx}[i]->data);
}

static void batch_norm(void) {
    for (size_t k = 0; k < sizeof all_planes / sizeof all_planes[0]; k++)
        for (int d = 0; d < dtype_count(); d++) {
            if (dtypes[d] == DPT_F64) continue;
            norm_of(all_planes[k], DPT_LAYOUT_CANONICAL, dtypes[d]);
            if (!on_cpu()) norm_of(all_planes[k], DPT_LAYOUT_CHANNELS_LAST, dtypes[d]);
        }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "cuda_rows", {"classification", classification},
                      {"wide_losses_of_narrow_logits", wide_losses_of_narrow_logits},
                      {"very_long_rows", very_long_rows}, {"positions", positions}, {"extreme_logits", extreme_logits},
                      {"mse", mse}, {"batch_norm", batch_norm});
}
