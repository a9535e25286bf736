/* test_conv.c: convolutions, their gradients and pooling against sums written out in f64 from the definition: strides,
 * padding, dilation, groups, few and many channels, padded rows that hold NaN, no valid rows; what constructors refuse.
 */
#include "dptrain/ops.h"
#include "graph/graph.h"
#include "kernel_array.h"

static const dpt_dtype types[] = {DPT_F32, DPT_F64};
enum { PADDING_ROWS = 2 };

/* ---- the reference: y[n,o,i,j] = sum over c, k, l of w[o,c,k,l] x[n, c of o's group, i s + k d - p, j s + l d - p]
 * ---- */

typedef struct conv_case {
    int64_t rows, channels, height, width, out, kernel, stride, pad, dilation, groups;
} conv_case;

static const conv_case cases[] = {
    {2, 1, 5, 5, 1, 3, 1, 1, 1, 1},   {3, 1, 28, 28, 32, 3, 1, 1, 1, 1}, {2, 3, 11, 9, 8, 3, 2, 1, 1, 1},
    {3, 4, 10, 13, 6, 3, 2, 2, 2, 2}, {2, 8, 7, 7, 8, 3, 1, 1, 1, 8},    {2, 16, 6, 8, 24, 1, 1, 0, 1, 1},
    {1, 2, 9, 9, 3, 5, 3, 2, 1, 1},   {5, 20, 6, 6, 36, 3, 1, 0, 1, 4},  {2, 6, 12, 12, 5, 2, 2, 0, 3, 1},
    {3, 5, 3, 3, 7, 3, 1, 0, 1, 1},   {2, 17, 8, 8, 33, 3, 1, 1, 1, 1},  {4, 32, 14, 14, 64, 3, 1, 1, 1, 1},
};
enum { ALL = sizeof cases / sizeof cases[0], LARGEST = ALL - 1, CASES = ALL - CHECK_IS_SLOW };

static int64_t out_size(const conv_case *c, int64_t in) {
    return (in + 2 * c->pad - c->dilation * (c->kernel - 1) - 1) / c->stride + 1;
}

/* The one loop over all products of the convolution. */
typedef void (*product_fn)(void *context, int64_t x, int64_t w, int64_t y);

static void each_product(const conv_case *c, int64_t rows, product_fn fn, void *context) {
    int64_t oh = out_size(c, c->height), ow = out_size(c, c->width), cg = c->channels / c->groups, k = c->kernel;
    for (int64_t n = 0; n < rows; n++)
        for (int64_t o = 0; o < c->out; o++)
            for (int64_t i = 0; i < oh * ow; i++)
                for (int64_t f = 0; f < cg * k * k; f++) {
                    int64_t h = i / ow * c->stride + f / k % k * c->dilation - c->pad;
                    int64_t v = i % ow * c->stride + f % k * c->dilation - c->pad;
                    int64_t channel = o / (c->out / c->groups) * cg + f / (k * k);
                    if (h < 0 || h >= c->height || v < 0 || v >= c->width) continue;
                    fn(context, ((n * c->channels + channel) * c->height + h) * c->width + v, o * cg * k * k + f,
                       (n * c->out + o) * oh * ow + i);
                }
}

typedef struct reference {
    const double *x, *w, *g;
    double *y, *dx, *dw;
} reference;

static void accumulate(void *context, int64_t x, int64_t w, int64_t y) {
    reference *r = context;
    r->y[y] += r->w[w] * r->x[x];
    r->dx[x] += r->w[w] * r->g[y];
    r->dw[w] += r->g[y] * r->x[x];
}

/* ---- the three kernels on one case ---- */

typedef struct fixture {
    const conv_case *c;
    dpt_block block;
    dpt_attr attr;
    kernel_array x, w, b, g, y, dx, dw, db;
    double *expected_y, *expected_dx, *expected_dw, *expected_db;
} fixture;

static dpt_attr attr_of(const conv_case *c) {
    dpt_attr attr = {.conv = {.spatial = 2,
                              .groups = c->groups,
                              .in_dim = {DPT_BATCH, c->channels, c->height, c->width},
                              .weight_dim = {c->out, c->channels / c->groups, c->kernel, c->kernel}}};
    for (int i = 0; i < 2; i++) {
        attr.conv.kernel[i] = c->kernel;
        attr.conv.stride[i] = c->stride;
        attr.conv.pad[i] = c->pad;
        attr.conv.dilation[i] = c->dilation;
    }
    return attr;
}

static double *zeros(const kernel_array *like) { return dpt_alloc_zero((size_t)like->valid + 1, sizeof(double)); }

static void expect(fixture *f) {
    int64_t plane = f->g.operand.dim[2] * f->g.operand.dim[3];
    f->expected_y = zeros(&f->y);
    f->expected_dx = zeros(&f->dx);
    f->expected_dw = zeros(&f->dw);
    f->expected_db = zeros(&f->db);
    reference r = {f->x.value, f->w.value, f->g.value, f->expected_y, f->expected_dx, f->expected_dw};
    each_product(f->c, f->block.rows[0], accumulate, &r);
    for (int64_t i = 0; i < f->g.valid; i++) f->expected_db[i / plane % f->c->out] += f->g.value[i];
}

static fixture conv_open(const conv_case *c, dpt_dtype type, int64_t rows) {
    fixture f = {.c = c, .block = {.rows = {rows}}, .attr = attr_of(c)};
    int64_t capacity = c->rows + PADDING_ROWS;
    int64_t x[4] = {capacity, c->channels, c->height, c->width};
    int64_t y[4] = {capacity, c->out, out_size(c, c->height), out_size(c, c->width)};
    f.x = kernel_array_make(type, rows, 4, x, 1);
    f.w = kernel_array_make(type, -1, 4, f.attr.conv.weight_dim, 2);
    f.b = kernel_array_make(type, -1, 1, &c->out, 3);
    f.g = kernel_array_make(type, rows, 4, y, 4);
    f.y = kernel_array_out(type, rows, 4, y);
    f.dx = kernel_array_out(type, rows, 4, x);
    f.dw = kernel_array_out(type, -1, 4, f.attr.conv.weight_dim);
    f.db = kernel_array_out(type, -1, 1, &c->out);
    expect(&f);
    return f;
}

static void conv_close(fixture *f) {
    kernel_array *all[] = {&f->x, &f->w, &f->b, &f->g, &f->y, &f->dx, &f->dw, &f->db};
    double *expected[] = {f->expected_y, f->expected_dx, f->expected_dw, f->expected_db};
    for (int i = 0; i < 8; i++) kernel_array_free(all[i]);
    for (int i = 0; i < 4; i++) dpt_free(expected[i]);
}

/* op on inputs a, b (and bias), giving out (and the bias gradient). */
static void conv_run(fixture *f, int op, const kernel_array *a, const kernel_array *b, kernel_array *out, bool bias,
                     dpt_activation act, int threads) {
    dpt_call call = {.op = op,
                     .n_in = bias && op == DPT_OP_CONV ? 3 : 2,
                     .n_out = bias && op == DPT_OP_CONV_WGRAD ? 2 : 1,
                     .in = {a->operand, b->operand, f->b.operand},
                     .out = {out->operand, f->db.operand},
                     .block = &f->block,
                     .attr = f->attr};
    call.attr.conv.bias = bias;
    call.attr.conv.act = act;
    kernel_run(&call, threads);
}

static void check_sizes(const conv_case *c, dpt_dtype type, int64_t rows, int threads) {
    fixture f = conv_open(c, type, rows);
    conv_run(&f, DPT_OP_CONV, &f.x, &f.w, &f.y, false, DPT_ACT_NONE, threads);
    kernel_array_check(&f.y, f.expected_y, "conv");
    conv_run(&f, DPT_OP_CONV_DGRAD, &f.g, &f.w, &f.dx, false, DPT_ACT_NONE, threads);
    kernel_array_check(&f.dx, f.expected_dx, "conv_dgrad");
    conv_run(&f, DPT_OP_CONV_WGRAD, &f.g, &f.x, &f.dw, false, DPT_ACT_NONE, threads);
    kernel_array_check(&f.dw, f.expected_dw, "conv_wgrad");
    conv_close(&f);
}

static void all_rows(void) {
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < CASES; i++) check_sizes(&cases[i], types[t], cases[i].rows, 1 + i % 2);
}

static void some_rows(void) {
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < CASES; i++) check_sizes(&cases[i], types[t], cases[i].rows - 1, 1);
}

static void no_rows(void) {
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < CASES; i++) check_sizes(&cases[i], types[t], 0, 1);
}

/* With bias and ReLU in the forward kernel, and the bias gradient beside the weight gradient. */
static void fused(void) {
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < CASES; i++)
            for (int act = 0; act < 2; act++) {
                fixture f = conv_open(&cases[i], types[t], cases[i].rows);
                int64_t plane = f.y.operand.dim[2] * f.y.operand.dim[3];
                for (int64_t k = 0; k < f.y.valid; k++) {
                    double y = f.expected_y[k] + f.b.value[k / plane % cases[i].out];
                    f.expected_y[k] = act && y < 0 ? 0 : y;
                }
                conv_run(&f, DPT_OP_CONV, &f.x, &f.w, &f.y, true, act ? DPT_ACT_RELU : DPT_ACT_NONE, 1);
                kernel_array_check(&f.y, f.expected_y, "conv with bias");
                conv_run(&f, DPT_OP_CONV_WGRAD, &f.g, &f.x, &f.dw, true, DPT_ACT_NONE, 1);
                kernel_array_check(&f.dw, f.expected_dw, "conv_wgrad dw");
                kernel_array_check(&f.db, f.expected_db, "conv_wgrad db");
                conv_close(&f);
            }
}

/* A long sum keeps its digits: gradients of one sign over a batch of images. */
static void bias_gradient_is_exact(void) {
    static const conv_case c = {64, 1, 28, 28, 32, 3, 1, 1, 1, 1};
    fixture f = conv_open(&c, DPT_F32, c.rows);
    for (int64_t i = 0; i < f.g.valid; i++) kernel_array_put(&f.g, i, 0.1);
    for (int64_t o = 0; o < c.out; o++) f.expected_db[o] = (double)0.1f * 64 * 28 * 28;
    conv_run(&f, DPT_OP_CONV_WGRAD, &f.g, &f.x, &f.dw, true, DPT_ACT_NONE, 1);
    kernel_array_check(&f.db, f.expected_db, "db of equal gradients");
    conv_close(&f);
}

/* A NaN in one sample stays in it, and ReLU, plain or leaky, does not hide it. */
static void nan_survives(void) {
    for (int i = 0; i < 4; i++) {
        const conv_case *c = &cases[i % 2 ? LARGEST : 1];
        fixture f = conv_open(c, DPT_F32, c->rows);
        f.attr.conv.slope = i < 2 ? 0 : 0.25;
        int64_t row = f.y.operand.row_count, bad = 0;
        kernel_array_put(&f.x, f.x.operand.row_count + 30, NAN);
        conv_run(&f, DPT_OP_CONV, &f.x, &f.w, &f.y, true, DPT_ACT_RELU, 1);
        for (int64_t k = 0; k < f.y.valid; k++) {
            bool nan = isnan(kernel_array_get(&f.y, k));
            bad += nan;
            if (k / row != 1) CHECK(!nan);
        }
        CHECK_EQ_I64(bad, 9 * f.c->out);
        conv_close(&f);
    }
}

/* ---- pooling ---- */

typedef struct pool_case {
    int64_t rows, channels, height, width, kernel, stride, pad;
} pool_case;

static const pool_case pools[] = {{2, 3, 8, 8, 2, 2, 0},    {3, 2, 28, 28, 2, 2, 0},  {2, 2, 7, 9, 2, 2, 0},
                                  {2, 4, 9, 10, 3, 2, 1},   {1, 1, 5, 5, 3, 1, 1},    {2, 2, 6, 6, 2, 1, 0},
                                  {2, 2, 12, 11, 3, 3, 0},  {2, 3, 4, 35, 2, 2, 0},   {1, 2, 5, 5, 1, 2, 0},
                                  {2, 2, 301, 20, 2, 2, 0}, {1, 1, 4, 2050, 2, 2, 0}, {2, 1, 5, 2048, 2, 2, 0}};
enum { POOLS = sizeof pools / sizeof pools[0] };

typedef struct pool_fixture {
    const pool_case *c;
    dpt_block block;
    dpt_attr attr;
    kernel_array x, y, g, dx, moved;
    dpt_operand index;
    int64_t *expected; /* winner of every window, in its plane */
} pool_fixture;

static int64_t pooled(const pool_case *c, int64_t in) { return (in + 2 * c->pad - c->kernel) / c->stride + 1; }

/* Whether v goes before best: NaN first, then the larger one; of equals the one that stands. */
static bool goes_before(double v, double best) { return isnan(v) ? !isnan(best) : v > best; }

static int64_t winner(const pool_case *c, const double *plane, int64_t i, int64_t j) {
    int64_t best = -1;
    for (int64_t k = 0; k < c->kernel * c->kernel; k++) {
        int64_t h = i * c->stride - c->pad + k / c->kernel, w = j * c->stride - c->pad + k % c->kernel;
        if (h < 0 || w < 0 || h >= c->height || w >= c->width) continue;
        if (best < 0 || goes_before(plane[h * c->width + w], plane[best])) best = h * c->width + w;
    }
    return best;
}

/* Values of few kinds, so that there are ties, and a NaN here and there. */
static void make_ties(kernel_array *x) {
    for (int64_t i = 0; i < x->valid; i++) {
        x->value[i] = i % 41 == 5 ? (double)NAN : floor(4 * x->value[i]);
        kernel_array_put(x, i, x->value[i]);
    }
}

static pool_fixture pool_open(const pool_case *c, dpt_dtype type, int64_t rows, bool ties) {
    pool_fixture f = {.c = c, .block = {.rows = {rows}}};
    int64_t capacity = c->rows + PADDING_ROWS, x_dim[4] = {capacity, c->channels, c->height, c->width};
    int64_t y_dim[4] = {capacity, c->channels, pooled(c, c->height), pooled(c, c->width)};
    f.attr.pool = (dpt_pool_attr){.spatial = 2,
                                  .in = {1, c->height, c->width},
                                  .out = {1, y_dim[2], y_dim[3]},
                                  .kernel = {1, c->kernel, c->kernel},
                                  .stride = {1, c->stride, c->stride},
                                  .pad = {0, c->pad, c->pad}};
    f.x = kernel_array_make(type, rows, 4, x_dim, 1);
    if (ties) make_ties(&f.x);
    f.y = kernel_array_out(type, rows, 4, y_dim);
    f.g = kernel_array_make(type, rows, 4, y_dim, 2);
    f.dx = kernel_array_out(type, rows, 4, x_dim);
    f.moved = kernel_array_out(type, rows, 4, y_dim);
    f.index = kernel_operand(NULL, DPT_I32, true, 4, y_dim);
    f.index.data = dpt_alloc((size_t)f.index.count * sizeof(int32_t));
    memset(f.index.data, 0x7f, (size_t)f.index.count * sizeof(int32_t)); /* a wild index in padded rows */
    f.expected = dpt_alloc_zero((size_t)f.y.valid + 1, sizeof *f.expected);
    int64_t plane = y_dim[2] * y_dim[3];
    for (int64_t i = 0; i < f.y.valid; i++)
        f.expected[i] = winner(c, f.x.value + i / plane * c->height * c->width, i % plane / y_dim[3], i % y_dim[3]);
    return f;
}

static void pool_close(pool_fixture *f) {
    kernel_array_free(&f->x), kernel_array_free(&f->y), kernel_array_free(&f->g), kernel_array_free(&f->dx);
    kernel_array_free(&f->moved);
    dpt_free(f->index.data);
    dpt_free(f->expected);
}

static void pool_run(pool_fixture *f, int op, dpt_operand in0, dpt_operand in1, dpt_operand out0, dpt_operand out1) {
    dpt_call call = {.op = op,
                     .n_in = op == DPT_OP_MAX_POOL ? 1 : 2,
                     .n_out = op == DPT_OP_MAX_POOL ? 2 : 1,
                     .in = {in0, in1},
                     .out = {out0, out1},
                     .block = &f->block,
                     .attr = f->attr};
    kernel_run(&call, 2);
}

static void check_pool(const pool_case *c, dpt_dtype type, int64_t rows, bool ties) {
    pool_fixture f = pool_open(c, type, rows, ties);
    int64_t plane = f.y.operand.dim[2] * f.y.operand.dim[3], x_plane = c->height * c->width;
    double *scattered = dpt_alloc_zero((size_t)f.x.valid + 1, sizeof *scattered);
    pool_run(&f, DPT_OP_MAX_POOL, f.x.operand, f.x.operand, f.y.operand, f.index);
    for (int64_t i = 0; i < f.y.valid; i++) {
        int64_t at = i / plane * x_plane + f.expected[i];
        double y = kernel_array_get(&f.y, i);
        CHECK_EQ_I64(((int32_t *)f.index.data)[i], f.expected[i]);
        CHECK(y == f.x.value[at] || (isnan(y) && isnan(f.x.value[at])));
        scattered[at] += f.g.value[i];
    }
    pool_run(&f, DPT_OP_POOL_SCATTER, f.g.operand, f.index, f.dx.operand, f.index);
    kernel_array_check(&f.dx, scattered, "pool_scatter");
    pool_run(&f, DPT_OP_POOL_GATHER, f.x.operand, f.index, f.moved.operand, f.index);
    for (int64_t i = 0; i < f.y.valid; i++) {
        double y = kernel_array_get(&f.y, i), moved = kernel_array_get(&f.moved, i);
        CHECK(moved == y || (isnan(moved) && isnan(y)));
    }
    dpt_free(scattered);
    pool_close(&f);
}

static void pooling(void) {
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < POOLS; i++)
            for (int ties = 0; ties < 2; ties++) {
                check_pool(&pools[i], types[t], pools[i].rows, ties);
                check_pool(&pools[i], types[t], pools[i].rows - 1, ties);
                check_pool(&pools[i], types[t], 0, ties);
            }
}

/* ---- constructors ---- */

static dpt_tensor *image(dpt_graph *g) { return dpt_input(g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 4, 9, 9})); }
static dpt_tensor *weight(dpt_graph *g, int64_t out, int64_t in, int64_t kernel) {
    return dpt_input(g, "w", DPT_F32, 4, ((int64_t[]){out, in, kernel, kernel}));
}

static void check_dims(const dpt_tensor *t, int64_t c, int64_t h, int64_t w) {
    int64_t dim[DPT_MAX_NDIM], expected[4] = {DPT_BATCH, c, h, w};
    CHECK_EQ_I64(dpt_tensor_dims(t, dim), 4);
    for (int i = 0; i < 4; i++) CHECK_EQ_I64(dim[i], expected[i]);
}

static void shapes(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_tensor *x = image(g);
    check_dims(dpt_conv2d(x, 6, 3, 1, ((dpt_conv_options){.stride = 2, .pad = 1, .groups = 2}), "conv1"), 6, 5, 5);
    check_dims(dpt_conv2d(x, 6, 3, 0, ((dpt_conv_options){.dilation = 2}), "conv2"), 6, 5, 5);
    check_dims(dpt_conv_transpose(x, 2, 3, 1, ((dpt_conv_options){.stride = 2, .pad = 1}), "up1"), 2, 17, 17);
    check_dims(dpt_max_pool2d(x, 3, 0, 1), 4, 3, 3);
    check_dims(dpt_max_pool2d(x, 2, 1, 0), 4, 8, 8);
    CHECK_OK(dpt_graph_status(g));
    const dpt_param_info *w = dpt_graph_find_param(g, "conv1.weight"), *b = dpt_graph_find_param(g, "conv1.bias");
    CHECK(w != NULL && b != NULL && dpt_graph_find_param(g, "conv2.bias") == NULL);
    if (w && b) {
        int64_t dim[DPT_MAX_NDIM], expected[4] = {6, 2, 3, 3};
        CHECK_EQ_I64(dpt_tensor_dims(w->tensor, dim), 4);
        for (int i = 0; i < 4; i++) CHECK_EQ_I64(dim[i], expected[i]);
        CHECK(w->init.kind == DPT_INIT_KAIMING_UNIFORM && b->init.kind == DPT_INIT_FAN_IN_UNIFORM);
        CHECK_NEAR(b->init.b, 2 * 3 * 3, 0);
    }
    dpt_graph_destroy(&g);
}

static const dpt_conv_options plain = {0};
static void wrong_channels(dpt_graph *g) { dpt_conv_with(image(g), weight(g, 6, 3, 3), NULL, plain); }
static void wrong_groups(dpt_graph *g) {
    dpt_conv_with(image(g), weight(g, 5, 2, 3), NULL, ((dpt_conv_options){.groups = 2}));
}
static void wrong_rank(dpt_graph *g) { dpt_conv2d(dpt_flatten(image(g)), 6, 3, 1, plain, "conv1"); }
static void wrong_kernel(dpt_graph *g) { dpt_conv2d(image(g), 6, 10, 1, plain, "conv1"); }
static void wrong_bias(dpt_graph *g) {
    dpt_tensor *b = dpt_input(g, "b", DPT_F32, 1, ((int64_t[]){4}));
    dpt_conv_with(image(g), weight(g, 6, 4, 3), b, plain);
}
static void wrong_stride(dpt_graph *g) { dpt_conv2d(image(g), 6, 3, 1, ((dpt_conv_options){.stride = -1}), "conv1"); }
static void wrong_group_channels(dpt_graph *g) {
    dpt_conv(image(g), 6, 3, 1, ((dpt_conv_options){.groups = 3}), "conv1");
}
static void wrong_group_outputs(dpt_graph *g) {
    dpt_conv(image(g), 5, 3, 1, ((dpt_conv_options){.groups = 2}), "conv1");
}
static void wrong_dimensions(dpt_graph *g) { dpt_conv3d(image(g), 6, 3, 1, plain, "conv1"); }
static void wrong_width(dpt_graph *g) {
    dpt_conv(image(g), 6, 3, 1, ((dpt_conv_options){.kernels = (const int64_t[]){3, 12}, .pad = 1}), "conv1");
}
static void wrong_transposed(dpt_graph *g) { dpt_conv_transpose_with(image(g), weight(g, 6, 4, 3), NULL, plain); }
static void wrong_output_pad(dpt_graph *g) {
    const dpt_conv_options options = {.stride = 2, .output_pads = (const int64_t[]){0, 2}};
    dpt_conv_transpose(image(g), 6, 3, 1, options, "up1");
}
static void wrong_end(dpt_graph *g) {
    dpt_conv(image(g), 6, 3, 1, ((dpt_conv_options){.output_pads = (const int64_t[]){1, 0}}), "conv1");
}
static void nothing_left(dpt_graph *g) { dpt_conv_transpose(image(g), 6, 1, 1, ((dpt_conv_options){.pad = 5}), "up1"); }
static void pool_pad(dpt_graph *g) { dpt_max_pool2d(image(g), 3, 2, 2); }
static void pool_large(dpt_graph *g) { dpt_max_pool2d(image(g), 10, 1, 0); }
static void pool_rank(dpt_graph *g) { dpt_max_pool2d(dpt_flatten(image(g)), 2, 0, 0); }

static void wrong_shapes(void) {
    static const struct {
        void (*build)(dpt_graph *g);
        const char *text;
    } wrong[] = {{wrong_channels, "conv: x is f32 [B,4,9,9], w is f32 [6,3,3,3]"},
                 {wrong_groups, "conv: x is f32 [B,4,9,9], w is [5,2,3,3]: groups 2 do not divide its 5 outputs"},
                 {wrong_rank, "conv \"conv1\": x is f32 [B,324]"},
                 {wrong_kernel, "conv \"conv1\": x is f32 [B,4,9,9]: size 9 with pad 0 is smaller than a kernel of 10"},
                 {wrong_bias, "w is [6,4,3,3], b is f32 [4]"},
                 {wrong_stride, "conv \"conv1\": x is f32 [B,4,9,9], stride is -1"},
                 {wrong_group_channels, "conv \"conv1\": x is f32 [B,4,9,9]: groups 3 do not divide its 4 channels"},
                 {wrong_group_outputs, "conv \"conv1\": x is f32 [B,4,9,9], out is 5: groups 2 do not divide it"},
                 {wrong_dimensions, "conv \"conv1\": x is f32 [B,4,9,9]: it must be [B,C,spatial] of floats with 3"},
                 {wrong_width, "size 9 with pad 1 is smaller than a kernel of 12"},
                 {wrong_transposed, "conv_transpose: x is f32 [B,4,9,9], w is f32 [6,4,3,3]"},
                 {wrong_output_pad, "conv_transpose \"up1\": x is f32 [B,4,9,9], output_pad is 2 with stride 2"},
                 {wrong_end, "conv \"conv1\": x is f32 [B,4,9,9], output_pad is 1"},
                 {nothing_left, "conv_transpose \"up1\": x is f32 [B,4,9,9], kernel is 1, stride 1, pad 5"},
                 {pool_pad, "max_pool: kernel is 3, stride 2, pad 2"},
                 {pool_large, "max_pool: x is [B,4,9,9], kernel 10"},
                 {pool_rank, "max_pool: x is f32 [B,324]"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dpt_graph *g = dpt_graph_create(NULL);
        wrong[i].build(g);
        CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, wrong[i].text);
        CHECK(strstr(dpt_last_error(), "test_conv.c:") != NULL);
        dpt_graph_destroy(&g);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "conv", {"all rows", all_rows}, {"some rows", some_rows}, {"no rows", no_rows},
                      {"fused", fused}, {"bias gradient is exact", bias_gradient_is_exact},
                      {"NaN survives", nan_survives}, {"pooling", pooling}, {"shapes", shapes},
                      {"wrong shapes", wrong_shapes});
}
