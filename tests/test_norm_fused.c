/* test_norm_fused.c: the fused forms of batch norm (ReLU, residual, their gradients) against their formulas in f64, in
 * every layout and type that the device has, at sizes that its loops treat differently; rows past the valid ones are
 * NaN. On the CPU also results in the place of their operand, and numbers of threads. */
#include "backend/layout.h"
#include "float_array.h"

enum { MOST = 4096, MOST_CHANNELS = 64 };

typedef struct sizes {
    int64_t capacity, rows, channels, spatial;
} sizes;

/* planes with and without rest, blocks, lines, one position, no rows */
static const sizes all_sizes[] = {{3, 2, 3, 25}, {4, 3, 16, 9}, {3, 3, 32, 4},
                                  {9, 7, 24, 1}, {2, 2, 8, 40}, {3, 0, 16, 4}};
enum { SIZES = sizeof all_sizes / sizeof all_sizes[0] };

static bool on_cpu(void) { return strcmp(check_device(), "cpu") == 0; }

typedef struct fused_case {
    sizes s;
    dpt_layout layout;
    dpt_dtype dtype;
    dpt_block block;
    dpt_operand x, r, g, d, y; /* input, residual, two gradients, a forward value that masks */
    double moments[2 * MOST_CHANNELS + 1];
    float weight[MOST_CHANNELS], bias[MOST_CHANNELS], mean[MOST_CHANNELS], var[MOST_CHANNELS];
    int threads;
    bool in_place;
} fused_case;

static const double eps = 1e-3;
static fused_case n;

static double draw(uint64_t key, int64_t i) {
    return 2 * (double)dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i, 0, 0).v[0]) - 1;
}

/* Where place i (samples and positions) of channel c lies. */
static int64_t place(int64_t c, int64_t i) {
    const int64_t row = i / n.s.spatial, at = i % n.s.spatial, lanes = dpt_layout_lanes(n.layout, n.s.channels);
    return (row * n.s.channels + c / lanes * lanes) * n.s.spatial + at * lanes + c % lanes;
}

static double at(const dpt_operand *o, int64_t c, int64_t i) { return float_get(o, place(c, i)); }

/* NaN everywhere but in the valid rows, where a key is given. */
static dpt_operand planes(uint64_t key) {
    const int64_t dim[] = {n.s.capacity, n.s.channels, n.s.spatial};
    dpt_operand o = kernel_operand(NULL, n.dtype, true, 3, dim);
    o.layout = n.layout;
    o.data = dpt_alloc_aligned((size_t)o.count * dpt_dtype_size(n.dtype), DPT_ALIGNMENT);
    for (int64_t i = 0; i < o.count; i++) float_put(&o, i, key && i < n.s.rows * o.row_count ? draw(key, i) : NAN);
    return o;
}

static int64_t places(void) { return n.s.rows * n.s.spatial; }

static bool begin(sizes s, dpt_layout layout, dpt_dtype dtype) {
    n = (fused_case){.s = s, .layout = layout, .dtype = dtype, .block = {.rows = {s.rows}}, .threads = 2};
    const dpt_operand shape = kernel_operand(NULL, dtype, true, 3, (int64_t[]){s.capacity, s.channels, s.spatial});
    if (!dpt_layout_fits(&shape, layout)) return false;
    n.x = planes(1), n.r = planes(2), n.g = planes(3), n.d = planes(4), n.y = planes(5);
    for (int64_t c = 0; c < s.channels; c++) {
        n.weight[c] = (float)(1.5 + draw(6, c)), n.bias[c] = (float)(0.3 * draw(7, c));
        n.mean[c] = (float)(0.3 * draw(8, c)), n.var[c] = (float)(1.5 + draw(9, c));
        for (int64_t i = 0; i < places(); i++) {
            n.moments[c] += at(&n.x, c, i);
            n.moments[s.channels + c] += pow(at(&n.x, c, i), 2);
        }
    }
    n.moments[2 * s.channels] = (double)places();
    return true;
}

static void end(void) {
    for (int i = 0; i < 5; i++) dpt_free((dpt_operand *[]){&n.x, &n.r, &n.g, &n.d, &n.y}[i]->data);
}

typedef struct channel {
    double mean, rstd, weight, bias;
} channel;

static channel channel_of(int64_t c, bool running) {
    const double count = (double)places(), mean = running ? (double)n.mean[c] : n.moments[c] / count;
    const double var = running ? (double)n.var[c] : n.moments[n.s.channels + c] / count - mean * mean;
    return (channel){mean, 1 / sqrt(var + eps), (double)n.weight[c], (double)n.bias[c]};
}

static double forward_of(channel k, double x) { return (x - k.mean) * k.rstd * k.weight + k.bias; }

static void run(int op, bool relu, bool adds, int n_in, const dpt_operand *in, int n_out, const dpt_operand *out) {
    dpt_call call = {.op = op, .n_in = n_in, .n_out = n_out, .block = &n.block};
    call.attr.norm.eps = eps;
    call.attr.norm.channels = n.s.channels;
    call.attr.norm.relu = relu;
    call.attr.norm.adds = adds;
    memcpy(call.in, in, (size_t)n_in * sizeof in[0]);
    memcpy(call.out, out, (size_t)n_out * sizeof out[0]);
    if (n.in_place) { /* operand 0 is copied to where the result goes */
        memcpy(call.out[0].data, call.in[0].data, (size_t)call.in[0].count * dpt_dtype_size(n.dtype));
        call.in[0].data = call.out[0].data;
    }
    kernel_run(&call, n.threads);
}

static double bound(void) { return n.dtype == DPT_F32 ? 2e-6 : n.dtype == DPT_BF16 ? 6e-3 : 1e-3; }

/* expected: by c * places + i. */
static void compare(const dpt_operand *got, const double *expected, const char *what) {
    static double values[MOST];
    for (int64_t c = 0; c < n.s.channels; c++)
        for (int64_t i = 0; i < places(); i++) values[c * places() + i] = at(got, c, i);
    const double error = check_relative_f64(values, expected, n.s.channels * places());
    check_that(error <= bound(), __FILE__, __LINE__, "%s, %s, layout %d, %lld channels of %lld: relative error %g",
               what, dpt_dtype_text(n.dtype), (int)n.layout, (long long)n.s.channels, (long long)n.s.spatial, error);
    for (int64_t i = n.s.rows * got->row_count; i < got->count; i++) CHECK(isnan(float_get(got, i)));
}

/* ---- forward ---- */

static void forward_form(bool infer, bool relu, bool adds) {
    static double expected[MOST];
    const int64_t c = n.s.channels;
    const dpt_operand moments = kernel_vector(n.moments, DPT_F64, 2 * c + 1), mean = kernel_vector(n.mean, DPT_F32, c);
    const dpt_operand var = kernel_vector(n.var, DPT_F32, c), weight = kernel_vector(n.weight, DPT_F32, c);
    const dpt_operand bias = kernel_vector(n.bias, DPT_F32, c);
    dpt_operand y = planes(0);
    if (infer)
        run(DPT_OP_BN_INFER, relu, adds, 5 + adds, (dpt_operand[]){n.x, mean, var, weight, bias, n.r}, 1, &y);
    else
        run(DPT_OP_BN_APPLY, relu, adds, 6 + adds, (dpt_operand[]){n.x, moments, weight, bias, mean, var, n.r}, 1, &y);
    for (int64_t k = 0; k < c; k++)
        for (int64_t i = 0; i < places(); i++) {
            const double v = forward_of(channel_of(k, infer), at(&n.x, k, i)) + (adds ? at(&n.r, k, i) : 0);
            expected[k * places() + i] = relu ? fmax(v, 0) : v;
        }
    compare(&y, expected, infer ? "bn_infer" : "bn_apply");
    dpt_free(y.data);
}

static void forward(void) {
    for (int form = 0; form < 8; form++) forward_form(form & 1, form & 2, form & 4);
}

/* ---- backward ---- */

typedef struct sums {
    double g[MOST_CHANNELS], gx[MOST_CHANNELS];
} sums;

/* Sums over masked(c, i), which is also left in `masked`. */
static sums sums_of(double (*gradient)(int64_t c, int64_t i), double *masked) {
    sums s = {{0}, {0}};
    for (int64_t c = 0; c < n.s.channels; c++) {
        const channel k = channel_of(c, false);
        for (int64_t i = 0; i < places(); i++) {
            const double g = masked[c * places() + i] = gradient(c, i);
            s.g[c] += g;
            s.gx[c] += g * (at(&n.x, c, i) - k.mean) * k.rstd;
        }
    }
    return s;
}

static void check_sums(const double *got, const sums *expected, const char *what) {
    const double tolerance = n.dtype == DPT_F32 ? 1e-5 : 0.05;
    for (int64_t c = 0; c < n.s.channels; c++) {
        const double g = got[c] - expected->g[c], gx = got[n.s.channels + c] - expected->gx[c];
        check_that(fabs(g) <= tolerance && fabs(gx) <= tolerance, __FILE__, __LINE__,
                   "%s, %s, layout %d: sums of channel %lld are off by %g and %g", what, dpt_dtype_text(n.dtype),
                   (int)n.layout, (long long)c, g, gx);
    }
}

static double where_forward(int64_t c, int64_t i) {
    return forward_of(channel_of(c, false), at(&n.x, c, i)) > 0 ? at(&n.g, c, i) : 0;
}
static double where_y(int64_t c, int64_t i) { return at(&n.y, c, i) > 0 ? at(&n.g, c, i) : 0; }
static double both_where_y(int64_t c, int64_t i) { return at(&n.y, c, i) > 0 ? at(&n.g, c, i) + at(&n.d, c, i) : 0; }

static void masked_by_x(void) {
    static double masked[MOST], expected[MOST], got[2 * MOST_CHANNELS];
    const int64_t c = n.s.channels;
    const sums s = sums_of(where_forward, masked);
    const dpt_operand moments = kernel_vector(n.moments, DPT_F64, 2 * c + 1),
                      total = kernel_vector(got, DPT_F64, 2 * c);
    const dpt_operand weight = kernel_vector(n.weight, DPT_F32, c), bias = kernel_vector(n.bias, DPT_F32, c);
    const bool in_place = n.in_place;
    n.in_place = false;
    run(DPT_OP_BN_GRAD_SUMS, true, false, 5, (dpt_operand[]){n.g, n.x, moments, weight, bias}, 1, &total);
    check_sums(got, &s, "bn_grad_sums");
    n.in_place = in_place;
    dpt_operand dx = planes(0);
    run(DPT_OP_BN_GRAD_APPLY, true, false, 6, (dpt_operand[]){n.g, n.x, moments, total, weight, bias}, 1, &dx);
    for (int64_t k = 0; k < c; k++) {
        const channel of = channel_of(k, false);
        const double size = (double)places();
        for (int64_t i = 0; i < places(); i++) {
            const double normal = (at(&n.x, k, i) - of.mean) * of.rstd, g = masked[k * places() + i];
            expected[k * places() + i] = of.weight * of.rstd * (g - s.g[k] / size - normal * s.gx[k] / size);
        }
    }
    compare(&dx, expected, "bn_grad_apply");
    dpt_free(dx.data);
}

static void masked_by_y(void) {
    static double masked[MOST], got[2 * MOST_CHANNELS];
    const int64_t c = n.s.channels;
    const dpt_operand moments = kernel_vector(n.moments, DPT_F64, 2 * c + 1),
                      total = kernel_vector(got, DPT_F64, 2 * c);
    for (int adds = 0; adds < 2; adds++) {
        const sums s = sums_of(adds ? both_where_y : where_y, masked);
        dpt_operand gm = planes(0);
        run(DPT_OP_BN_MASK_SUMS, false, adds, 4 + adds, (dpt_operand[]){n.g, n.y, n.x, moments, n.d}, 2,
            (dpt_operand[]){gm, total});
        compare(&gm, masked, "bn_mask_sums");
        check_sums(got, &s, "bn_mask_sums");
        dpt_free(gm.data);
    }
}

static void backward(void) {
    masked_by_x();
    masked_by_y();
}

/* ---- cases ---- */

static void each(void (*work)(void)) {
    static const dpt_dtype dtypes[] = {DPT_F32, DPT_BF16, DPT_F16};
    for (int k = 0; k < SIZES; k++)
        for (int layout = 0; layout < DPT_LAYOUT_COUNT; layout++)
            for (int d = 0; d < 3; d++) {
                if (on_cpu() ? d > 0 : layout > DPT_LAYOUT_CHANNELS_LAST) continue; /* 16 bits: widen.c's, test_half */
                if (!begin(all_sizes[k], (dpt_layout)layout, dtypes[d])) continue;
                work();
                n.in_place = true, n.threads = 1;
                if (on_cpu()) work();
                end();
            }
}

static void forward_everywhere(void) { each(forward); }
static void backward_everywhere(void) { each(backward); }

/* ReLU of NaN is NaN, as by itself. */
static void not_a_number(void) {
    CHECK(begin(all_sizes[1], DPT_LAYOUT_CANONICAL, DPT_F32));
    const int64_t c = n.s.channels;
    dpt_operand y = planes(0);
    float_put(&n.x, 3, NAN);
    run(DPT_OP_BN_APPLY, true, false, 6,
        (dpt_operand[]){n.x, kernel_vector(n.moments, DPT_F64, 2 * c + 1), kernel_vector(n.weight, DPT_F32, c),
                        kernel_vector(n.bias, DPT_F32, c), kernel_vector(n.mean, DPT_F32, c),
                        kernel_vector(n.var, DPT_F32, c)},
        1, &y);
    CHECK(isnan(float_get(&y, 3)) && isfinite(float_get(&y, 4)));
    dpt_free(y.data);
    end();
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "norm_fused", {"forward", forward_everywhere}, {"backward", backward_everywhere},
                      {"not_a_number", not_a_number});
}
