/* test_layout_kernels.c: CPU kernels in every layout against themselves in the canonical one: the same values, wherever
 * they lie. Places come from the formula of backend/layout.h, written out here a second time, element by element. Rows
 * past the valid ones hold NaN. */
#include <stdlib.h>

#include "backend/layout.h"
#include "graph/op.h"
#include "kernel_array.h"
#include "ops/op_list.h"

enum { CAPACITY = 4, ROWS = 3, MOST_OPERANDS = DPT_MAX_IN + DPT_MAX_OUT };

/* Place of element (row, c, p) of [rows, channels, spatial], by nested dimensions. */
static int64_t place(dpt_layout layout, int64_t channels, int64_t spatial, int64_t row, int64_t c, int64_t p) {
    const int64_t start = row * channels * spatial;
    switch (layout) {
        case DPT_LAYOUT_CHANNELS_LAST: return start + p * channels + c;
        case DPT_LAYOUT_BLOCKED_8: return start + (c / 8 * spatial + p) * 8 + c % 8;
        case DPT_LAYOUT_BLOCKED_16: return start + (c / 16 * spatial + p) * 16 + c % 16;
        default: return start + c * spatial + p;
    }
}

/* The operand's elements moved from one layout to another; all rows of its capacity. */
static void *moved(const dpt_operand *o, const void *data, dpt_layout from, dpt_layout to) {
    const int64_t channels = o->dim[1], spatial = o->row_count / channels;
    const size_t size = dpt_dtype_size(o->dtype);
    char *result = dpt_alloc((size_t)o->count * size);
    for (int64_t r = 0; r < o->dim[0]; r++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t p = 0; p < spatial; p++)
                memcpy(result + (size_t)place(to, channels, spatial, r, c, p) * size,
                       (const char *)data + (size_t)place(from, channels, spatial, r, c, p) * size, size);
    return result;
}

/* ---- one call in the canonical layout and in another ---- */

typedef struct twin {
    dpt_call call;
    dpt_block block;
    kernel_array array[MOST_OPERANDS];
    int n;
} twin;

static void begin(twin *t, int op) {
    *t = (twin){.block = {.rows = {ROWS}}};
    t->call.op = op;
}

static void in(twin *t, dpt_dtype dtype, bool batch, int ndim, const int64_t *dim) {
    t->array[t->n] = kernel_array_make(dtype, batch ? ROWS : -1, ndim, dim, (uint64_t)t->n + 11);
    t->call.in[t->call.n_in++] = t->array[t->n++].operand;
}

static void out(twin *t, dpt_dtype dtype, bool batch, int ndim, const int64_t *dim) {
    t->array[t->n] = kernel_array_out(dtype, batch ? ROWS : -1, ndim, dim);
    t->call.out[t->call.n_out++] = t->array[t->n++].operand;
}

static void end(twin *t) {
    for (int i = 0; i < t->n; i++) kernel_array_free(&t->array[i]);
}

/* Runs a copy of the call with operands in the layouts given (by operand, inputs first) and hands the outputs back in
 * canonical order. */
static void run_in(const twin *t, const dpt_layout *layout, int threads, void **result) {
    dpt_call call = t->call;
    void *data[MOST_OPERANDS];
    call.block = &t->block;
    for (int i = 0; i < t->n; i++) {
        dpt_operand *o = i < call.n_in ? &call.in[i] : &call.out[i - call.n_in];
        const bool moves = layout[i] != DPT_LAYOUT_CANONICAL;
        data[i] = moves ? moved(o, o->data, DPT_LAYOUT_CANONICAL, layout[i]) : dpt_alloc((size_t)dpt_operand_bytes(o));
        if (!moves) memcpy(data[i], o->data, (size_t)dpt_operand_bytes(o));
        o->data = data[i];
        o->layout = layout[i];
    }
    kernel_run(&call, threads);
    for (int k = 0; k < call.n_out; k++) {
        const dpt_operand *o = &call.out[k];
        result[k] = data[call.n_in + k];
        if (o->layout != DPT_LAYOUT_CANONICAL) {
            result[k] = moved(o, o->data, o->layout, DPT_LAYOUT_CANONICAL);
            dpt_free(data[call.n_in + k]);
        }
    }
    for (int i = 0; i < call.n_in; i++) dpt_free(data[i]);
}

static double difference(const dpt_operand *o, int64_t n, const void *a, const void *b) {
    if (o->dtype == DPT_F32) return check_relative_f32(a, b, n);
    if (o->dtype == DPT_F64) return check_relative_f64(a, b, n);
    return memcmp(a, b, (size_t)n * dpt_dtype_size(o->dtype)) ? 1 : 0;
}

/* bound 0: bit by bit. */
static void compare(const twin *t, const dpt_layout *layout, const char *what, double bound) {
    static const dpt_layout canonical[MOST_OPERANDS] = {DPT_LAYOUT_CANONICAL};
    void *expected[DPT_MAX_OUT], *got[DPT_MAX_OUT];
    for (int threads = 1; threads <= 3; threads += 2) {
        run_in(t, canonical, threads, expected);
        run_in(t, layout, threads, got);
        for (int k = 0; k < t->call.n_out; k++) {
            const dpt_operand *o = &t->call.out[k];
            const int64_t n = o->axis < 0 ? o->count : ROWS * o->row_count;
            const size_t bytes = (size_t)n * dpt_dtype_size(o->dtype);
            const bool ok =
                bound == 0 ? memcmp(got[k], expected[k], bytes) == 0 : difference(o, n, got[k], expected[k]) <= bound;
            check_that(ok, __FILE__, __LINE__, "%s, output %d, layouts %d %d, %d threads", what, k, (int)layout[0],
                       (int)layout[t->call.n_in], threads);
            dpt_free(expected[k]);
            dpt_free(got[k]);
        }
    }
}

/* All operands of x's rank in one layout, each that takes it, as the hook says. */
static void compare_alike(twin *t, const char *what, double bound) {
    dpt_layout_choice choice = {0};
    CHECK_OK(dpt_cpu_kernels[t->call.op]->layouts(&t->call, &choice));
    int tried = 0;
    const char *device = getenv("DPT_TEST_DEVICE"); /* a GPU has two layouts */
    const int layouts = device && strcmp(device, "cpu") != 0 ? DPT_LAYOUT_BLOCKED_8 : DPT_LAYOUT_COUNT;
    for (int l = 1; l < layouts; l++) {
        dpt_layout layout[MOST_OPERANDS] = {DPT_LAYOUT_CANONICAL};
        bool any = false;
        for (int i = 0; i < t->n; i++) {
            const bool is_in = i < t->call.n_in;
            const int k = is_in ? i : i - t->call.n_in;
            const dpt_operand *o = is_in ? &t->call.in[k] : &t->call.out[k];
            if (!((is_in ? choice.alike_in : choice.alike_out) >> k & 1) || !dpt_layout_fits(o, (dpt_layout)l))
                continue;
            CHECK_EQ_I64((is_in ? choice.in[k] : choice.out[k])[l], 0);
            layout[i] = (dpt_layout)l;
            any = true;
        }
        if (any) compare(t, layout, what, bound);
        tried += any;
    }
    CHECK(tried > 0);
}

/* ---- reorder ---- */

static void reorders(void) {
    static const int64_t dims[][5] = {{CAPACITY, 16, 5, 7},  {CAPACITY, 48, 3, 3}, {CAPACITY, 3, 9, 4},
                                      {CAPACITY, 40, 1, 70}, {CAPACITY, 8, 2, 2},  {CAPACITY, 33, 6, 6}};
    static const dpt_dtype types[] = {DPT_U8, DPT_BF16, DPT_F32, DPT_I32, DPT_F64};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t k = 0; k < sizeof types / sizeof *types; k++)
            for (int pair = 0; pair < DPT_LAYOUT_COUNT * DPT_LAYOUT_COUNT; pair++) {
                const dpt_layout from = (dpt_layout)(pair / DPT_LAYOUT_COUNT),
                                 to = (dpt_layout)(pair % DPT_LAYOUT_COUNT);
                dpt_operand x = kernel_operand(NULL, types[k], true, 4, dims[d]), y = x;
                if (!dpt_layout_fits(&x, from) || !dpt_layout_fits(&x, to)) continue;
                const size_t size = dpt_dtype_size(types[k]), bytes = (size_t)x.count * size;
                unsigned char *canonical = dpt_alloc(bytes), *made = dpt_alloc(bytes);
                for (size_t i = 0; i < bytes; i++) canonical[i] = (unsigned char)((i * 2654435761u) >> 13);
                memset(made, 0xee, bytes);
                void *data = moved(&x, canonical, DPT_LAYOUT_CANONICAL, from);
                void *expected = moved(&x, canonical, DPT_LAYOUT_CANONICAL, to);
                x.layout = from, x.data = data, y.layout = to, y.data = made;
                const dpt_block block = {.rows = {ROWS}};
                dpt_call call = {.op = DPT_OP_REORDER, .n_in = 1, .n_out = 1, .in = {x}, .out = {y}, .block = &block};
                call.attr.reorder.to = to;
                kernel_run(&call, 1 + pair % 2);
                const size_t valid = bytes / CAPACITY * ROWS;
                check_that(memcmp(made, expected, valid) == 0, __FILE__, __LINE__,
                           "reorder %d to %d, %s, %lld channels", (int)from, (int)to, dpt_dtype_text(types[k]),
                           (long long)x.dim[1]);
                bool untouched = true;
                for (size_t i = valid; i < bytes; i++) untouched = untouched && made[i] == 0xee;
                CHECK(untouched); /* padding is not written */
                dpt_free(canonical);
                dpt_free(made);
                dpt_free(data);
                dpt_free(expected);
            }
}

/* ---- convolution ---- */

typedef struct conv_case {
    int64_t channels, out, size, kernel, stride, pad, groups;
} conv_case;

static const conv_case convs[] = {{16, 32, 9, 3, 1, 1, 1}, {32, 16, 8, 3, 2, 1, 1}, {1, 16, 12, 3, 1, 1, 1},
                                  {16, 48, 5, 1, 1, 0, 1}, {20, 24, 6, 3, 1, 1, 1}, {16, 16, 6, 3, 1, 1, 16},
                                  {32, 16, 3, 3, 1, 0, 1}, {16, 40, 1, 1, 1, 0, 1}};

static dpt_conv_attr conv_attr(const conv_case *c) {
    dpt_conv_attr a = {.spatial = 2, .groups = c->groups, .in_dim = {DPT_BATCH, c->channels, c->size, c->size}};
    for (int i = 0; i < 2; i++) a.kernel[i] = c->kernel, a.stride[i] = c->stride, a.pad[i] = c->pad, a.dilation[i] = 1;
    const int64_t weight[] = {c->out, c->channels / c->groups, c->kernel, c->kernel};
    memcpy(a.weight_dim, weight, sizeof weight);
    return a;
}

static void begin_conv(twin *t, int op, const conv_case *c) {
    const int64_t size = (c->size + 2 * c->pad - c->kernel) / c->stride + 1;
    const int64_t x[] = {CAPACITY, c->channels, c->size, c->size}, y[] = {CAPACITY, c->out, size, size};
    begin(t, op);
    t->call.attr.conv = conv_attr(c);
    const int64_t *w = t->call.attr.conv.weight_dim;
    t->call.attr.conv.bias = op != DPT_OP_CONV_DGRAD;
    in(t, DPT_F32, true, 4, op == DPT_OP_CONV ? x : y);
    in(t, DPT_F32, op == DPT_OP_CONV_WGRAD, 4, op == DPT_OP_CONV_WGRAD ? x : w);
    if (op == DPT_OP_CONV) {
        t->call.attr.conv.act = DPT_ACT_RELU;
        in(t, DPT_F32, false, 1, &c->out);
    }
    out(t, DPT_F32, op != DPT_OP_CONV_WGRAD, 4, op == DPT_OP_CONV ? y : op == DPT_OP_CONV_DGRAD ? x : w);
    if (op == DPT_OP_CONV_WGRAD) out(t, DPT_F32, false, 1, &c->out);
}

/* x and y each in every layout that they have. */
static void convolutions(void) {
    static const int ops[] = {DPT_OP_CONV, DPT_OP_CONV_DGRAD, DPT_OP_CONV_WGRAD};
    int tried = 0;
    for (size_t c = 0; c < sizeof convs / sizeof *convs; c++)
        for (int k = 0; k < 3; k++) {
            twin t;
            begin_conv(&t, ops[k], &convs[c]);
            const int second = ops[k] == DPT_OP_CONV_WGRAD ? 1 : t.call.n_in; /* the other one of x and y */
            for (int pair = 1; pair < DPT_LAYOUT_COUNT * DPT_LAYOUT_COUNT; pair++) {
                dpt_layout layout[MOST_OPERANDS] = {DPT_LAYOUT_CANONICAL};
                layout[0] = (dpt_layout)(pair / DPT_LAYOUT_COUNT);
                layout[second] = (dpt_layout)(pair % DPT_LAYOUT_COUNT);
                const dpt_operand *other = second == 1 ? &t.call.in[1] : &t.call.out[0];
                if (!dpt_layout_fits(&t.call.in[0], layout[0]) || !dpt_layout_fits(other, layout[second])) continue;
                compare(&t, layout, dpt_ops[ops[k]]->name, 1e-6);
                tried++;
            }
            end(&t);
        }
    CHECK(tried > 100);
}

/* What the hook promises: the operand that costs nothing is used as it is (no copy in the workspace), others cost their
 * bytes twice. */
static void convolution_costs(void) {
    for (size_t c = 0; c < sizeof convs / sizeof *convs; c++) {
        twin t;
        dpt_layout_choice choice = {0};
        dpt_device device = {.threads = 1};
        begin_conv(&t, DPT_OP_CONV, &convs[c]);
        t.call.device = &device;
        CHECK_OK(dpt_cpu_kernels[DPT_OP_CONV]->layouts(&t.call, &choice));
        size_t least = SIZE_MAX, best = 0;
        for (int l = 0; l < DPT_LAYOUT_COUNT; l++) {
            const dpt_operand *x = &t.call.in[0];
            if (!dpt_layout_fits(x, (dpt_layout)l)) continue;
            const int64_t cost = choice.in[0][l];
            CHECK(cost == 0 || cost == 2 * dpt_operand_bytes(x));
            dpt_call call = t.call;
            call.in[0].layout = (dpt_layout)l;
            CHECK_OK(dpt_cpu_kernels[DPT_OP_CONV]->prepare(&call));
            if (call.workspace_bytes < least) least = call.workspace_bytes;
            if (cost == 0) best = call.workspace_bytes;
            dpt_cpu_kernels[DPT_OP_CONV]->release(&call);
        }
        CHECK(best == 0 || best == least);
        CHECK_EQ_I64(choice.in[1][DPT_LAYOUT_CANONICAL], 0);
        end(&t);
    }
}

/* ---- pooling ---- */

typedef struct pool_case {
    int64_t channels, height, width, kernel, stride, pad;
} pool_case;

static const pool_case pools[] = {{16, 8, 6, 2, 2, 0}, {32, 9, 7, 2, 2, 0}, {24, 7, 7, 3, 2, 1}, {48, 6, 6, 3, 1, 1},
                                  {20, 5, 4, 2, 1, 0}, {16, 2, 2, 2, 2, 0}, {16, 7, 6, 2, 2, 0}, {16, 6, 7, 2, 2, 0}};

static void begin_pool(twin *t, int op, const pool_case *c, dpt_dtype dtype) {
    const int64_t oh = (c->height + 2 * c->pad - c->kernel) / c->stride + 1;
    const int64_t ow = (c->width + 2 * c->pad - c->kernel) / c->stride + 1;
    const int64_t x[] = {CAPACITY, c->channels, c->height, c->width}, y[] = {CAPACITY, c->channels, oh, ow};
    begin(t, op);
    t->call.attr.pool = (dpt_pool_attr){.spatial = 2,
                                        .in = {1, c->height, c->width},
                                        .out = {1, oh, ow},
                                        .kernel = {1, c->kernel, c->kernel},
                                        .stride = {1, c->stride, c->stride},
                                        .pad = {0, c->pad, c->pad}};
    in(t, dtype, true, 4, op == DPT_OP_POOL_SCATTER ? y : x);
    if (op != DPT_OP_MAX_POOL) in(t, DPT_F32, true, 4, y); /* becomes the index */
    out(t, dtype, true, 4, op == DPT_OP_POOL_SCATTER ? x : y);
    if (op == DPT_OP_MAX_POOL) out(t, DPT_F32, true, 4, y);
    if (op == DPT_OP_MAX_POOL)
        t->call.out[1].dtype = DPT_I32;
    else
        t->call.in[1].dtype = DPT_I32;
}

/* An index from the definition: some position of its window, different ones for different channels. */
static void fill_index(twin *t, const pool_case *c) {
    const dpt_operand *o = &t->call.in[1];
    int32_t *index = o->data;
    for (int64_t i = 0; i < ROWS * o->row_count; i++) {
        const int64_t w = i % o->dim[3], h = i / o->dim[3] % o->dim[2],
                      pick = (i * 7 + i / o->row_count) % (c->kernel * c->kernel);
        int64_t y = h * c->stride - c->pad + pick / c->kernel, x = w * c->stride - c->pad + pick % c->kernel;
        y = y < 0 ? 0 : y >= c->height ? c->height - 1 : y;
        x = x < 0 ? 0 : x >= c->width ? c->width - 1 : x;
        index[i] = (int32_t)(y * c->width + x);
    }
}

static void poolings(void) {
    static const int ops[] = {DPT_OP_MAX_POOL, DPT_OP_POOL_SCATTER, DPT_OP_POOL_GATHER};
    for (size_t c = 0; c < sizeof pools / sizeof *pools; c++)
        for (int k = 0; k < 6; k++) {
            twin t;
            begin_pool(&t, ops[k / 2], &pools[c], k % 2 ? DPT_F64 : DPT_F32);
            if (k / 2) fill_index(&t, &pools[c]);
            compare_alike(&t, dpt_ops[ops[k / 2]]->name, 0);
            end(&t);
        }
}

/* Equals and NaN: the first of equals, the first NaN, in every layout. */
static void pooling_ties(void) {
    for (size_t c = 0; c < sizeof pools / sizeof *pools; c++) {
        twin t;
        begin_pool(&t, DPT_OP_MAX_POOL, &pools[c], DPT_F32);
        float *x = t.call.in[0].data;
        for (int64_t i = 0; i < ROWS * t.call.in[0].row_count; i++) {
            const uint32_t draw = dpt_random_quad(5, (uint32_t)i, 0, 0).v[0] % 8;
            x[i] = draw == 0 ? NAN : (float)(draw % 3);
        }
        compare_alike(&t, "max_pool of equals and NaN", 0);
        end(&t);
    }
}

/* Windows of 1 to 3 dimensions, adaptive ones, averages and resampling, as they are and transposed. */
typedef struct window_case {
    int64_t channels;
    dpt_pool_attr a;
} window_case;

static const window_case windows[] = {
    {16, {.spatial = 3, .in = {4, 5, 6}, .out = {2, 2, 3}, .kernel = {2, 2, 2}, .stride = {2, 2, 2}}},
    {16, {.spatial = 3, .in = {3, 5, 6}, .out = {2, 3, 3}, .kernel = {2, 2, 2}, .stride = {2, 2, 2}}}, /* cut */
    {16, {.spatial = 2, .in = {1, 5, 7}, .out = {1, 3, 4}, .kernel = {1, 2, 2}, .stride = {1, 2, 2}}}, /* cut */
    {24, {.spatial = 3, .in = {3, 4, 5}, .out = {2, 2, 3}, .kernel = {3, 2, 3}, .stride = {2, 2, 2}, .pad = {1, 0, 1}}},
    {16, {.spatial = 1, .in = {1, 1, 9}, .out = {1, 1, 5}, .kernel = {1, 1, 2}, .stride = {1, 1, 2}, .pad = {0, 0, 1}}},
    {20, {.spatial = 2, .in = {1, 7, 5}, .out = {1, 3, 4}, .kernel = {1, 0, 0}, .stride = {1, 0, 0}}},
    {16, {.spatial = 2, .in = {1, 4, 6}, .out = {1, 1, 1}, .kernel = {1, 4, 6}, .stride = {1, 4, 6}}},
    {8, {.spatial = 2, .in = {1, 3, 4}, .out = {1, 5, 3}, .window = DPT_WINDOW_LINEAR}},
    {16, {.spatial = 3, .in = {2, 3, 4}, .out = {3, 5, 2}, .window = DPT_WINDOW_CORNERS}},
    {32, {.spatial = 3, .in = {2, 3, 4}, .out = {4, 6, 2}, .window = DPT_WINDOW_NEAREST}}};

static int window_dims(const window_case *c, const int64_t *size, int64_t dim[5]) {
    dim[0] = CAPACITY, dim[1] = c->channels;
    for (int i = 0; i < c->a.spatial; i++) dim[2 + i] = size[DPT_MAX_SPATIAL - c->a.spatial + i];
    return 2 + c->a.spatial;
}

static void compare_sums(const window_case *c, dpt_dtype dtype, bool transposed) {
    twin t;
    int64_t x[5], y[5];
    const int ndim = window_dims(c, c->a.in, x);
    window_dims(c, c->a.out, y);
    begin(&t, c->a.window == DPT_WINDOW_POOL ? DPT_OP_AVG_POOL : DPT_OP_RESAMPLE);
    t.call.attr.pool = c->a;
    t.call.attr.pool.transposed = transposed;
    in(&t, dtype, true, ndim, transposed ? y : x);
    out(&t, dtype, true, ndim, transposed ? x : y);
    compare_alike(&t, dpt_ops[t.call.op]->name, dtype == DPT_F64 ? 1e-14 : 1e-6);
    end(&t);
}

/* The moves take the index that max_pool makes. */
static void compare_moves(const window_case *c, dpt_dtype dtype) {
    static const int ops[] = {DPT_OP_MAX_POOL, DPT_OP_POOL_SCATTER, DPT_OP_POOL_GATHER};
    twin t[3];
    int64_t x[5], y[5];
    const int ndim = window_dims(c, c->a.in, x);
    window_dims(c, c->a.out, y);
    for (int k = 0; k < 3; k++) {
        begin(&t[k], ops[k]);
        t[k].call.attr.pool = c->a;
        in(&t[k], dtype, true, ndim, k == 1 ? y : x);
        if (k > 0) in(&t[k], DPT_F32, true, ndim, y);
        out(&t[k], dtype, true, ndim, k == 1 ? x : y);
        if (k == 0) out(&t[k], DPT_F32, true, ndim, y);
        *(k ? &t[k].call.in[1].dtype : &t[k].call.out[1].dtype) = DPT_I32;
        if (k > 0)
            memcpy(t[k].call.in[1].data, t[0].call.out[1].data, (size_t)t[0].call.out[1].count * sizeof(int32_t));
        compare_alike(&t[k], dpt_ops[ops[k]]->name, 0);
        if (k > 0) continue;
        t[0].call.block = &t[0].block;
        kernel_run(&t[0].call, 1);
    }
    for (int k = 0; k < 3; k++) end(&t[k]);
}

static void window_layouts(void) {
    for (size_t c = 0; c < sizeof windows / sizeof *windows; c++)
        for (int f64 = 0; f64 <= 1; f64++) {
            for (int transposed = 0; transposed <= 1; transposed++)
                compare_sums(&windows[c], f64 ? DPT_F64 : DPT_F32, transposed);
            if (windows[c].a.window == DPT_WINDOW_POOL) compare_moves(&windows[c], f64 ? DPT_F64 : DPT_F32);
        }
}

/* ---- batch norm, elementwise ---- */

static void batch_norms(void) {
    static const int64_t dims[][4] = {
        {CAPACITY, 16, 5, 3}, {CAPACITY, 32, 4, 4}, {CAPACITY, 24, 3, 3}, {CAPACITY, 3, 6, 5}};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        const int64_t c = dims[d][1], twice = 2 * c, moments = 2 * c + 1;
        static const int ops[] = {DPT_OP_BN_MOMENTS, DPT_OP_BN_APPLY, DPT_OP_BN_GRAD_SUMS, DPT_OP_BN_GRAD_APPLY,
                                  DPT_OP_BN_INFER};
        for (int k = 0; k < 5; k++) {
            twin t;
            const bool backward = k == 2 || k == 3, maps = k == 1 || k >= 3;
            begin(&t, ops[k]);
            t.call.attr.norm.channels = c;
            t.call.attr.norm.eps = 1e-3;
            for (int i = 0; i < 1 + backward; i++) in(&t, DPT_F32, true, 4, dims[d]);
            if (k == 4)
                for (int i = 0; i < 4; i++) in(&t, DPT_F32, false, 1, &c);
            else if (k > 0)
                in(&t, DPT_F64, false, 1, &moments);
            if (k == 3) in(&t, DPT_F64, false, 1, &twice);
            if (k == 1 || k == 3) in(&t, DPT_F32, false, 1, &c);
            if (k == 1) in(&t, DPT_F32, false, 1, &c);
            if (maps)
                out(&t, DPT_F32, true, 4, dims[d]);
            else
                out(&t, DPT_F64, false, 1, k == 0 ? &moments : &twice);
            if (k > 0 && k < 4) ((double *)t.call.in[1 + backward].data)[2 * c] = 7;
            if (k == 4)
                for (int64_t i = 0; i < c; i++) ((float *)t.call.in[2].data)[i] += 2;
            compare_alike(&t, dpt_ops[ops[k]]->name, maps ? 1e-7 : 1e-13);
            end(&t);
        }
    }
}

static void elementwise(void) {
    static const int64_t dim[] = {CAPACITY, 16, 3, 5}, vector[] = {16, 1, 1};
    static const int ops[] = {DPT_OP_ADD,  DPT_OP_SUB,       DPT_OP_MUL,  DPT_OP_SCALE, DPT_OP_OFFSET,
                              DPT_OP_RELU, DPT_OP_RELU_GRAD, DPT_OP_TANH, DPT_OP_GELU,  DPT_OP_COPY};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        const bool two =
            ops[k] == DPT_OP_ADD || ops[k] == DPT_OP_SUB || ops[k] == DPT_OP_MUL || ops[k] == DPT_OP_RELU_GRAD;
        twin t;
        begin(&t, ops[k]);
        for (int i = 0; i < 1 + two; i++) in(&t, DPT_F32, true, 4, dim);
        out(&t, DPT_F32, true, 4, dim);
        compare_alike(&t, dpt_ops[ops[k]]->name, 0);
        end(&t);
    }
    twin t; /* a broadcast operand stands in another order: canonical only */
    dpt_layout_choice choice = {0};
    begin(&t, DPT_OP_ADD);
    in(&t, DPT_F32, true, 4, dim);
    in(&t, DPT_F32, false, 3, vector);
    out(&t, DPT_F32, true, 4, dim);
    CHECK_OK(dpt_cpu_kernels[DPT_OP_ADD]->layouts(&t.call, &choice));
    CHECK(choice.alike_in == 0 && choice.alike_out == 0);
    end(&t);
}

/* ---- which layouts a shape has ---- */

static void shapes(void) {
    static const struct {
        int64_t dim[4];
        int ndim;
        bool batch, fits[DPT_LAYOUT_COUNT], plain[DPT_LAYOUT_COUNT];
    } cases[] = {
        {{4, 32, 5, 5}, 4, true, {1, 1, 1, 1}, {1, 0, 0, 0}}, {{4, 24, 5, 5}, 4, true, {1, 1, 1, 0}, {1, 0, 0, 0}},
        {{4, 3, 5, 5}, 4, true, {1, 1, 0, 0}, {1, 0, 0, 0}},  {{4, 1, 5, 5}, 4, true, {1, 0, 0, 0}, {1, 1, 0, 0}},
        {{4, 32, 1, 1}, 4, true, {1, 0, 0, 0}, {1, 1, 1, 1}}, {{4, 20, 1, 1}, 4, true, {1, 0, 0, 0}, {1, 1, 0, 0}},
        {{4, 32, 5}, 3, true, {1, 1, 1, 1}, {1, 0, 0, 0}},    {{4, 32}, 2, true, {1, 0, 0, 0}, {1, 0, 0, 0}},
        {{4, 32, 5, 5}, 4, false, {1, 0, 0, 0}, {1, 0, 0, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int l = 0; l < DPT_LAYOUT_COUNT; l++) {
            const dpt_operand o = kernel_operand(NULL, DPT_F32, cases[i].batch, cases[i].ndim, cases[i].dim);
            check_that(dpt_layout_fits(&o, (dpt_layout)l) == cases[i].fits[l], __FILE__, __LINE__, "case %d fits %d",
                       (int)i, l);
            check_that(dpt_layout_is_plain(&o, (dpt_layout)l) == cases[i].plain[l], __FILE__, __LINE__,
                       "case %d plain %d", (int)i, l);
        }
}

/* A kernel that converts by itself: free in its best layout, and in canonical where that has the same bytes. */
static void conversions(void) {
    const dpt_operand wide = kernel_operand(NULL, DPT_F32, true, 4, (int64_t[]){4, 16, 5, 5});
    const dpt_operand points = kernel_operand(NULL, DPT_F32, true, 4, (int64_t[]){4, 16, 1, 1});
    const int64_t twice = 2 * dpt_operand_bytes(&wide);
    for (int best = 0; best <= DPT_LAYOUT_COUNT; best++) {
        int64_t cost[DPT_LAYOUT_COUNT];
        dpt_layouts_convert(cost, &wide, (dpt_layout)best);
        for (int l = 0; l < DPT_LAYOUT_COUNT; l++) CHECK_EQ_I64(cost[l], l == best ? 0 : twice);
        dpt_layouts_convert(cost, &points, (dpt_layout)best);
        CHECK_EQ_I64(cost[DPT_LAYOUT_CANONICAL], best == DPT_LAYOUT_COUNT ? 2 * dpt_operand_bytes(&points) : 0);
    }
}

/* ---- concat, slice, pad ---- */

/* takes: the layouts that all operands are expected to take, bit by layout. */
static void arrange_one(int op, const dpt_attr *attr, int n_in, const int64_t in_dim[][4], const int64_t *out_dim,
                        unsigned takes) {
    dpt_layout_choice choice = {0};
    twin t;
    begin(&t, op);
    for (int i = 0; i < n_in; i++) in(&t, DPT_F32, true, 4, in_dim[i]);
    out(&t, DPT_F32, true, 4, out_dim);
    t.call.attr = *attr;
    CHECK_OK(dpt_cpu_kernels[op]->layouts(&t.call, &choice));
    for (int l = 1; l < DPT_LAYOUT_COUNT; l++) {
        dpt_layout layout[MOST_OPERANDS];
        bool all = choice.out[0][l] == 0;
        for (int i = 0; i < t.n; i++) layout[i] = (dpt_layout)l;
        for (int i = 0; i < n_in; i++) all &= choice.in[i][l] == 0;
        check_that(all == (takes >> l & 1), __FILE__, __LINE__, "%s takes layout %d: %d", dpt_ops[op]->name, l, all);
        if (all) compare(&t, layout, dpt_ops[op]->name, 0);
    }
    end(&t);
}

/* Along channels, in whole blocks and not, and along positions; in each layout that the kernel takes. */
static void arranges(void) {
    enum { LAST = 1 << DPT_LAYOUT_CHANNELS_LAST, BY_8 = 1 << DPT_LAYOUT_BLOCKED_8, BY_16 = 1 << DPT_LAYOUT_BLOCKED_16 };
    static const int64_t channels[][4] = {{CAPACITY, 16, 3, 5}, {CAPACITY, 32, 3, 5}, {CAPACITY, 8, 3, 5}};
    static const int64_t places[][4] = {{CAPACITY, 16, 3, 5}, {CAPACITY, 16, 3, 2}};
    static const struct {
        int op;
        dpt_attr attr;
        int n_in;
        const int64_t (*in)[4];
        int64_t out[4];
        unsigned takes;
    } cases[] = {{DPT_OP_CONCAT, {.concat = {1}}, 2, channels, {CAPACITY, 48, 3, 5}, LAST | BY_8 | BY_16},
                 {DPT_OP_CONCAT, {.concat = {1}}, 3, channels, {CAPACITY, 56, 3, 5}, LAST | BY_8},
                 {DPT_OP_CONCAT, {.concat = {3}}, 2, places, {CAPACITY, 16, 3, 7}, LAST | BY_8 | BY_16},
                 {DPT_OP_SLICE, {.slice = {1, 8, 24, 1}}, 1, channels + 1, {CAPACITY, 16, 3, 5}, LAST | BY_8},
                 {DPT_OP_SLICE, {.slice = {1, 3, 9, 2}}, 1, channels + 1, {CAPACITY, 3, 3, 5}, LAST},
                 {DPT_OP_SLICE, {.slice = {3, 1, 5, 3}}, 1, channels, {CAPACITY, 16, 3, 2}, LAST | BY_8 | BY_16},
                 {DPT_OP_PAD, {.pad = {1, 16, 0, 1, 2}}, 1, channels, {CAPACITY, 32, 3, 5}, LAST | BY_8 | BY_16},
                 {DPT_OP_PAD, {.pad = {2, 1, 2, 1, 2}}, 1, channels, {CAPACITY, 16, 6, 5}, LAST | BY_8 | BY_16},
                 {DPT_OP_PAD, {.pad = {3, 1, 0, 2, 2}}, 1, channels, {CAPACITY, 16, 3, 10}, LAST | BY_8 | BY_16}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        arrange_one(cases[k].op, &cases[k].attr, cases[k].n_in, cases[k].in, cases[k].out, cases[k].takes);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "layout_kernels", {"reorders", reorders}, {"convolutions", convolutions},
                      {"convolution_costs", convolution_costs}, {"poolings", poolings}, {"pooling_ties", pooling_ties},
                      {"windows", window_layouts}, {"batch_norms", batch_norms}, {"elementwise", elementwise},
                      {"shapes", shapes}, {"arranges", arranges}, {"conversions", conversions});
}
