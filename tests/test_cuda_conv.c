/* test_cuda_conv.c: what test_conv.c does not reach of the GPU's convolutions and poolings: channels-last and mixed
 * layouts, 16-bit types, 1 and 3 dimensions, chunks of a batch, with cuDNN and without, equal bits in every run, and
 * what is refused. Values are multiples of 1/16, which every type holds; expected ones are sums written out in f64. */
#include <stdlib.h>

#include "backend/backend.h"
#include "base/random.h"
#include "dptrain/graph.h"
#include "kernel_call.h"
#include "ops/conv_cpu.h"

static const dpt_dtype types[] = {DPT_F32, DPT_F64, DPT_BF16, DPT_F16};
enum { TYPES = 4, PADDING_ROWS = 2 };

static bool is_narrow(dpt_dtype dtype) { return dtype == DPT_BF16 || dtype == DPT_F16; }
static dpt_dtype wide(dpt_dtype dtype) { return is_narrow(dtype) ? DPT_F32 : dtype; }
/* Largest relative error of a result that is rounded to the type once or twice. */
static double rounding(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F64: return 1e-14;
        case DPT_BF16: return 4e-3;
        case DPT_F16: return 5e-4;
        default: return 2e-6;
    }
}

/* ---- numbers in memory ---- */

static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double v = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return bits >> 15 ? -v : v;
}

/* v is a number that f16 holds, or NaN. */
static uint16_t half_bits(double v) {
    int exponent;
    if (isnan(v)) return 0x7e00;
    if (v == 0) return 0;
    double fraction = frexp(fabs(v), &exponent); /* in [1/2, 1) */
    return (uint16_t)((v < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | ((int)(fraction * 2048) & 1023));
}

static double number_get(dpt_dtype dtype, const void *data, int64_t i) {
    uint32_t bits;
    float value;
    switch (dtype) {
        case DPT_F32: return (double)((const float *)data)[i];
        case DPT_F64: return ((const double *)data)[i];
        case DPT_F16: return half_value(((const uint16_t *)data)[i]);
        case DPT_I32: return ((const int32_t *)data)[i];
        default:
            bits = (uint32_t)((const uint16_t *)data)[i] << 16;
            memcpy(&value, &bits, sizeof value);
            return (double)value;
    }
}

static void number_put(dpt_dtype dtype, void *data, int64_t i, double v) {
    float value = (float)v;
    uint32_t bits;
    switch (dtype) {
        case DPT_F32: ((float *)data)[i] = value; break;
        case DPT_F64: ((double *)data)[i] = v; break;
        case DPT_F16: ((uint16_t *)data)[i] = half_bits(v); break;
        case DPT_I32: ((int32_t *)data)[i] = (int32_t)v; break;
        default: memcpy(&bits, &value, sizeof bits), ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
    }
}

/* ---- arrays [n, c, positions...] in either layout; indices are canonical ---- */

typedef struct array {
    dpt_operand operand;
    int64_t valid, channels, plane;
    double *value; /* of valid rows */
} array;

static int64_t place(const array *a, int64_t i) {
    if (a->operand.layout == DPT_LAYOUT_CANONICAL) return i;
    int64_t n = i / (a->channels * a->plane), c = i / a->plane % a->channels, p = i % a->plane;
    return (n * a->plane + p) * a->channels + c;
}

static double array_get(const array *a, int64_t i) {
    return number_get(a->operand.dtype, a->operand.data, place(a, i));
}
static void array_put(array *a, int64_t i, double v) { number_put(a->operand.dtype, a->operand.data, place(a, i), v); }

/* rows < 0: no batch. Rows past the valid ones hold NaN; key 0: so does everything, an output. */
static array array_make(dpt_dtype dtype, bool last, int64_t rows, int ndim, const int64_t *dim, uint64_t key) {
    array a = {.operand = kernel_operand(NULL, dtype, rows >= 0, ndim, dim), .channels = dim[1], .plane = 1};
    for (int i = 2; i < ndim; i++) a.plane *= dim[i];
    if (ndim < 2) a.channels = 1;
    a.operand.layout = last ? DPT_LAYOUT_CHANNELS_LAST : DPT_LAYOUT_CANONICAL;
    a.operand.data = dpt_alloc((size_t)a.operand.count * dpt_dtype_size(dtype));
    a.valid = rows < 0 ? a.operand.count : rows * a.operand.row_count;
    a.value = dpt_alloc_zero((size_t)a.valid + 1, sizeof *a.value);
    for (int64_t i = 0; i < a.operand.count; i++) {
        if (i < a.valid && key) a.value[i] = (double)(dpt_random_quad(key, (uint32_t)i, 0, 0).v[0] % 33) / 16 - 1;
        array_put(&a, i, i < a.valid && key ? a.value[i] : dtype == DPT_I32 ? -7 : (double)NAN);
    }
    return a;
}

static void array_free(array *a) {
    dpt_free(a->operand.data);
    dpt_free(a->value);
}

static void array_check(const array *a, const double *expected, double bound, const char *what, const char *where) {
    double *got = dpt_alloc((size_t)(a->valid + 1) * sizeof *got);
    for (int64_t i = 0; i < a->valid; i++) got[i] = array_get(a, i);
    double error = check_relative_f64(got, expected, a->valid);
    check_that(error <= bound, __FILE__, __LINE__, "%s, %s: relative error %g, at most %g", what, where, error, bound);
    dpt_free(got);
}

/* ---- convolutions ---- */

typedef struct conv_case {
    int spatial;
    int64_t rows, channels, out, groups, size[3], kernel, stride, pad, dilation;
} conv_case;

static const conv_case cases[] = {
    {2, 3, 3, 8, 1, {9, 7}, 3, 2, 1, 1},    {2, 2, 16, 24, 1, {6, 5}, 3, 1, 1, 1},
    {2, 4, 1, 16, 1, {10, 10}, 3, 1, 1, 1}, {2, 2, 16, 32, 2, {7, 6}, 3, 1, 2, 2},
    {2, 3, 6, 6, 6, {8, 5}, 3, 1, 1, 1},    {2, 2, 24, 1, 1, {5, 5}, 1, 1, 0, 1},
    {2, 2, 8, 16, 1, {4, 4}, 4, 1, 0, 1},   {2, 3, 40, 72, 1, {3, 3}, 1, 2, 0, 1},
    {1, 3, 5, 8, 1, {13}, 5, 2, 2, 1},      {3, 2, 4, 8, 2, {4, 5, 6}, 3, 2, 1, 1},
};
enum { CASES = sizeof cases / sizeof cases[0] };

typedef struct fixture {
    const conv_case *c;
    dpt_conv_sizes s;
    dpt_block block;
    dpt_attr attr;
    array x, w, b, g, y, dx, dw, db;
    double *expected_y, *expected_dx, *expected_dw, *expected_db;
} fixture;

/* n, o, input channel c of o's group, output position p and kernel position k; q lies inside of x. */
static void product(fixture *f, int64_t n, int64_t o, int64_t c, int64_t p, int64_t k, int64_t q) {
    const dpt_conv_sizes *s = &f->s;
    int64_t channels = s->in_channels / s->groups, from = o / (s->out_channels / s->groups) * channels + c;
    int64_t x = (n * s->in_channels + from) * f->x.plane + q, y = (n * s->out_channels + o) * f->y.plane + p;
    int64_t w = (o * channels + c) * f->w.plane + k;
    f->expected_y[y] += f->w.value[w] * f->x.value[x];
    f->expected_dx[x] += f->w.value[w] * f->g.value[y];
    f->expected_dw[w] += f->g.value[y] * f->x.value[x];
}

/* Where kernel position k of output position p reads x; -1: outside. */
static int64_t reach(const dpt_conv_sizes *s, int64_t p, int64_t k) {
    int64_t q = 0, step = 1;
    for (int i = 2; i >= 0; i--) {
        int64_t at = p % s->out[i] * s->stride[i] + k % s->kernel[i] * s->dilation[i] - s->pad[i];
        if (at < 0 || at >= s->in[i]) return -1;
        q += at * step;
        step *= s->in[i];
        p /= s->out[i];
        k /= s->kernel[i];
    }
    return q;
}

static void expect(fixture *f) {
    const dpt_conv_sizes *s = &f->s;
    for (int64_t n = 0; n < f->block.rows[0]; n++)
        for (int64_t p = 0; p < f->y.plane; p++)
            for (int64_t k = 0; k < f->w.plane; k++) {
                int64_t q = reach(s, p, k);
                for (int64_t i = 0; q >= 0 && i < s->out_channels * (s->in_channels / s->groups); i++)
                    product(f, n, i % s->out_channels, i / s->out_channels, p, k, q);
            }
    for (int64_t i = 0; i < f->g.valid; i++) f->expected_db[i / f->g.plane % s->out_channels] += f->g.value[i];
    for (int64_t i = 0; i < f->y.valid; i++) {
        double y = f->expected_y[i] + f->b.value[i / f->y.plane % s->out_channels];
        f->expected_y[i] = y < 0 ? 0 : y;
    }
}

static double *zeros(const array *a) { return dpt_alloc_zero((size_t)a->valid + 1, sizeof(double)); }

/* y is act(conv + b); the gradients are plain. */
static fixture conv_open(const conv_case *c, dpt_dtype type, bool x_last, bool y_last, int64_t rows) {
    fixture f = {.c = c, .block = {.rows = {rows}}};
    dpt_conv_attr *a = &f.attr.conv;
    int64_t capacity = c->rows + PADDING_ROWS, x[5] = {capacity, c->channels}, y[5] = {capacity, c->out};
    *a = (dpt_conv_attr){.spatial = c->spatial,
                         .groups = c->groups,
                         .in_dim = {DPT_BATCH, c->channels},
                         .weight_dim = {c->out, c->channels / c->groups}};
    for (int i = 0; i < c->spatial; i++) {
        a->kernel[i] = a->weight_dim[2 + i] = i == 1 && c->size[1] < c->kernel ? 1 : c->kernel;
        a->stride[i] = c->stride, a->pad[i] = c->pad, a->dilation[i] = c->dilation;
        x[2 + i] = a->in_dim[2 + i] = c->size[i];
        y[2 + i] = dpt_conv_out(c->size[i], a->kernel[i], c->stride, c->pad, c->dilation);
    }
    f.s = dpt_conv_sizes_of(a, capacity);
    int ndim = 2 + c->spatial;
    f.x = array_make(type, x_last, rows, ndim, x, 1);
    f.w = array_make(type, false, -1, ndim, a->weight_dim, 2);
    f.b = array_make(type, false, -1, 1, (int64_t[]){c->out, 1}, 3);
    f.g = array_make(type, y_last, rows, ndim, y, 4);
    f.y = array_make(type, y_last, rows, ndim, y, 0);
    f.dx = array_make(type, x_last, rows, ndim, x, 0);
    f.dw = array_make(wide(type), false, -1, ndim, a->weight_dim, 0);
    f.db = array_make(wide(type), false, -1, 1, (int64_t[]){c->out, 1}, 0);
    f.expected_y = zeros(&f.y), f.expected_dx = zeros(&f.dx);
    f.expected_dw = zeros(&f.dw), f.expected_db = zeros(&f.db);
    expect(&f);
    return f;
}

static void conv_close(fixture *f) {
    array *all[] = {&f->x, &f->w, &f->b, &f->g, &f->y, &f->dx, &f->dw, &f->db};
    double *expected[] = {f->expected_y, f->expected_dx, f->expected_dw, f->expected_db};
    for (int i = 0; i < 8; i++) array_free(all[i]);
    for (int i = 0; i < 4; i++) dpt_free(expected[i]);
}

static dpt_call call_of(const fixture *f, int op) {
    dpt_call call = {.op = op, .n_in = 2, .n_out = 1, .block = &f->block, .attr = f->attr};
    switch (op) {
        case DPT_OP_CONV:
            call.in[0] = f->x.operand, call.in[1] = f->w.operand, call.in[2] = f->b.operand;
            call.out[0] = f->y.operand;
            call.n_in = 3;
            call.attr.conv.act = DPT_ACT_RELU;
            call.attr.conv.bias = true;
            break;
        case DPT_OP_CONV_DGRAD:
            call.in[0] = f->g.operand, call.in[1] = f->w.operand, call.out[0] = f->dx.operand;
            break;
        default:
            call.in[0] = f->g.operand, call.in[1] = f->x.operand;
            call.out[0] = f->dw.operand, call.out[1] = f->db.operand;
            call.n_out = 2;
            call.attr.conv.bias = true;
    }
    return call;
}

static void conv_run(fixture *f) {
    static const int ops[] = {DPT_OP_CONV, DPT_OP_CONV_DGRAD, DPT_OP_CONV_WGRAD};
    for (int i = 0; i < 3; i++) {
        dpt_call call = call_of(f, ops[i]);
        kernel_run(&call, 1);
    }
}

static void conv_check(const fixture *f, bool library, const char *where) {
    dpt_dtype type = f->x.operand.dtype;
    array_check(&f->y, f->expected_y, 2 * rounding(type), "conv", where);
    array_check(&f->dx, f->expected_dx, rounding(type), "conv_dgrad", where);
    /* cuDNN has no f32 result of 16-bit operands: that is rounded on its way */
    array_check(&f->dw, f->expected_dw, rounding(library ? type : wide(type)), "conv_wgrad dw", where);
    array_check(&f->db, f->expected_db, rounding(wide(type)), "conv_wgrad db", where);
}

static void set_library(bool library) { setenv("DPTRAIN_CUDNN", library ? "1" : "0", 1); }

static void conv_check_case(const conv_case *c, dpt_dtype type, int layouts, bool library, int64_t rows) {
    char where[96];
    snprintf(where, sizeof where, "case %d, %s, x %s, y %s, %s cuDNN, %d rows", (int)(c - cases), dpt_dtype_text(type),
             layouts & 1 ? "last" : "canonical", layouts & 2 ? "last" : "canonical", library ? "with" : "without",
             (int)rows);
    set_library(library);
    fixture f = conv_open(c, type, layouts & 1, layouts & 2, rows);
    conv_run(&f);
    conv_check(&f, library, where);
    conv_close(&f);
}

static void layouts_f32(void) {
    for (int i = 0; i < CASES; i++)
        for (int layouts = 0; layouts < 4; layouts++)
            for (int library = 0; library < 2; library++)
                conv_check_case(&cases[i], DPT_F32, layouts, library, cases[i].rows);
}

static void other_types(void) {
    for (int t = 1; t < TYPES; t++)
        for (int i = 0; i < CASES; i++)
            for (int layouts = 0; layouts < 4; layouts++)
                conv_check_case(&cases[i], types[t], layouts, (i + layouts) % 2, cases[i].rows - 1);
    for (int i = 0; i < CASES; i++) conv_check_case(&cases[i], DPT_BF16, 3, (i + 1) % 2, cases[i].rows);
}

static void no_rows(void) {
    for (int t = 0; t < TYPES; t++)
        for (int library = 0; library < 2; library++) conv_check_case(&cases[1], types[t], 3, library, 0);
}

/* The windows of a batch are more than one chunk holds, and the last chunk is shorter. */
static void chunks(void) {
    static const conv_case c = {2, 3, 256, 4, 2, {24, 24}, 5, 1, 2, 1};
    set_library(false);
    for (int layouts = 0; layouts < 4; layouts += 3) {
        fixture f = conv_open(&c, DPT_F64, layouts & 1, layouts & 2, c.rows);
        conv_run(&f);
        conv_check(&f, false, "chunks");
        conv_close(&f);
    }
}

/* The bias gradient over many rows and channels, in parts. */
static void long_sums(void) {
    static const conv_case long_cases[] = {{2, 40, 1, 1, 1, {13, 60}, 1, 1, 0, 1},
                                           {2, 70, 1, 36, 1, {6, 6}, 1, 1, 0, 1},
                                           {2, 9, 1, 600, 1, {2, 2}, 1, 1, 0, 1}};
    set_library(true);
    for (int i = 0; i < 3; i++)
        for (int layouts = 0; layouts < 4; layouts += 2)
            for (int t = 0; t < TYPES; t++) {
                fixture f = conv_open(&long_cases[i], types[t], false, layouts & 2, long_cases[i].rows);
                double v = is_narrow(types[t]) ? 0.0625 : (double)0.1F;
                for (int64_t k = 0; k < f.g.valid; k++) array_put(&f.g, k, v);
                for (int64_t o = 0; o < long_cases[i].out; o++)
                    f.expected_db[o] = v * (double)(long_cases[i].rows * f.g.plane);
                dpt_call call = call_of(&f, DPT_OP_CONV_WGRAD);
                kernel_run(&call, 1);
                array_check(&f.db, f.expected_db, rounding(wide(types[t])) / 4, "db of equal gradients",
                            dpt_dtype_text(types[t]));
                conv_close(&f);
            }
}

/* A NaN in one sample stays in it, and ReLU keeps it. */
static void nan_survives(void) {
    for (int t = 0; t < TYPES; t++)
        for (int layouts = 0; layouts < 4; layouts++)
            for (int library = 0; library < 2; library++) {
                set_library(library);
                fixture f = conv_open(&cases[1], types[t], layouts & 1, layouts & 2, 2);
                array_put(&f.x, f.x.operand.row_count + 2 * f.x.plane + 7, (double)NAN);
                dpt_call call = call_of(&f, DPT_OP_CONV);
                kernel_run(&call, 1);
                int64_t bad[2] = {0, 0};
                for (int64_t i = 0; i < f.y.valid; i++)
                    bad[i / f.y.operand.row_count] += isnan(array_get(&f.y, i)) != 0;
                CHECK_EQ_I64(bad[0], 0);
                CHECK_EQ_I64(bad[1], 9 * cases[1].out);
                conv_close(&f);
            }
}

static void same_bits(void) {
    for (int i = 0; i < 4; i++)
        for (int library = 0; library < 2; library++) {
            set_library(library);
            fixture first = conv_open(&cases[i], DPT_F32, i % 2, i / 2 % 2, cases[i].rows);
            fixture again = conv_open(&cases[i], DPT_F32, i % 2, i / 2 % 2, cases[i].rows);
            array *of[2][4] = {{&first.y, &first.dx, &first.dw, &first.db},
                               {&again.y, &again.dx, &again.dw, &again.db}};
            conv_run(&first);
            conv_run(&again);
            for (int k = 0; k < 4; k++)
                for (int64_t e = 0; e < of[0][k]->valid; e++) CHECK(array_get(of[0][k], e) == array_get(of[1][k], e));
            conv_close(&first);
            conv_close(&again);
        }
}

/* ---- pooling ---- */

typedef struct pool_case {
    int64_t rows, channels, height, width, kernel[2], stride[2], pad[2];
} pool_case;

static const pool_case pools[] = {
    {2, 16, 8, 8, {2, 2}, {2, 2}, {0, 0}}, {3, 8, 7, 9, {2, 2}, {2, 2}, {0, 0}},  {2, 16, 9, 7, {3, 3}, {2, 2}, {1, 1}},
    {2, 8, 11, 8, {3, 3}, {3, 3}, {0, 0}}, {2, 24, 5, 8, {2, 4}, {2, 4}, {0, 0}}, {2, 3, 6, 6, {2, 2}, {2, 2}, {0, 0}},
    {2, 5, 7, 12, {2, 2}, {2, 2}, {0, 0}}, {2, 8, 4, 4, {4, 4}, {4, 4}, {0, 0}},  {2, 8, 6, 6, {1, 1}, {2, 2}, {0, 0}},
    {2, 2, 9, 16, {2, 2}, {2, 2}, {0, 0}}, {1, 1, 5, 5, {3, 3}, {1, 1}, {1, 1}},
};
enum { POOLS = sizeof pools / sizeof pools[0] };

static int64_t pooled(const pool_case *c, int d) {
    return dpt_conv_out(d ? c->width : c->height, c->kernel[d], c->stride[d], c->pad[d], 1);
}

/* Where the winner of window (i, j) stands: the first NaN, else the first of the largest. */
static int64_t winner(const pool_case *c, const double *plane, int64_t i, int64_t j) {
    int64_t best = -1;
    for (int64_t k = 0; k < c->kernel[0] * c->kernel[1]; k++) {
        int64_t h = i * c->stride[0] - c->pad[0] + k / c->kernel[1],
                w = j * c->stride[1] - c->pad[1] + k % c->kernel[1];
        if (h < 0 || w < 0 || h >= c->height || w >= c->width) continue;
        double v = plane[h * c->width + w], b = best < 0 ? 0 : plane[best];
        if (best < 0 || v > b || (isnan(v) && !isnan(b))) best = h * c->width + w;
    }
    return best;
}

static void pool_run(const pool_case *c, dpt_block *block, int op, const array *a, const array *b, array *out,
                     array *index) {
    dpt_call call = {.op = op,
                     .n_in = b ? 2 : 1,
                     .n_out = index ? 2 : 1,
                     .in = {a->operand, b ? b->operand : a->operand},
                     .out = {out->operand, index ? index->operand : out->operand},
                     .block = block,
                     .attr = {.pool = {.spatial = 2,
                                       .in = {1, c->height, c->width},
                                       .out = {1, pooled(c, 0), pooled(c, 1)},
                                       .kernel = {1, c->kernel[0], c->kernel[1]},
                                       .stride = {1, c->stride[0], c->stride[1]},
                                       .pad = {0, c->pad[0], c->pad[1]}}}};
    kernel_run(&call, 1);
}

/* layouts: bits say which of x, pooled values and index are channels-last. */
static void check_pool(const pool_case *c, dpt_dtype type, int layouts, int64_t rows) {
    int64_t capacity = c->rows + PADDING_ROWS, x_dim[] = {capacity, c->channels, c->height, c->width};
    int64_t y_dim[] = {capacity, c->channels, pooled(c, 0), pooled(c, 1)};
    dpt_block block = {.rows = {rows}};
    array x = array_make(type, layouts & 1, rows, 4, x_dim, 1), y = array_make(type, layouts & 2, rows, 4, y_dim, 0);
    array g = array_make(type, layouts & 2, rows, 4, y_dim, 2), dx = array_make(type, layouts & 1, rows, 4, x_dim, 0);
    array index = array_make(DPT_I32, layouts & 4, rows, 4, y_dim, 0),
          moved = array_make(type, layouts & 2, rows, 4, y_dim, 0);
    for (int64_t i = 0; i < x.valid; i++) {
        if (i % 41 == 5) x.value[i] = (double)NAN;
        array_put(&x, i, x.value[i] = floor(4 * x.value[i]) / 4); /* many are equal */
    }
    double *scattered = zeros(&x);
    pool_run(c, &block, DPT_OP_MAX_POOL, &x, NULL, &y, &index);
    for (int64_t i = 0; i < y.valid; i++) {
        const double *plane = x.value + i / y.plane * x.plane;
        int64_t at = winner(c, plane, i % y.plane / y_dim[3], i % y_dim[3]);
        double got = array_get(&y, i);
        CHECK_EQ_I64((int64_t)array_get(&index, i), at);
        CHECK(got == plane[at] || (isnan(got) && isnan(plane[at])));
        scattered[i / y.plane * x.plane + at] += g.value[i];
    }
    pool_run(c, &block, DPT_OP_POOL_SCATTER, &g, &index, &dx, NULL);
    for (int64_t i = 0; i < dx.valid; i++) CHECK(array_get(&dx, i) == scattered[i]);
    for (int64_t i = index.valid; i < index.operand.count; i++) array_put(&index, i, 0x7f7f7f7f); /* is not followed */
    pool_run(c, &block, DPT_OP_POOL_GATHER, &x, &index, &moved, NULL);
    for (int64_t i = 0; i < y.valid; i++) {
        double a = array_get(&moved, i), b = array_get(&y, i);
        CHECK(a == b || (isnan(a) && isnan(b)));
    }
    array *all[] = {&x, &y, &g, &dx, &index, &moved};
    for (int i = 0; i < 6; i++) array_free(all[i]);
    dpt_free(scattered);
}

static void pooling(void) {
    for (int t = 0; t < TYPES; t++)
        for (int i = 0; i < POOLS; i++) {
            check_pool(&pools[i], types[t], 0, pools[i].rows);
            check_pool(&pools[i], types[t], 7, pools[i].rows);
            check_pool(&pools[i], types[t], 7, pools[i].rows - 1);
            check_pool(&pools[i], types[t], 1 + (i + t) % 6, pools[i].rows);
        }
    check_pool(&pools[0], DPT_F32, 7, 0);
}

/* ---- what is refused ---- */

static dpt_status prepare(dpt_context *context, dpt_call *call) {
    call->name = "conv1";
    call->device = &context->device;
    const dpt_kernel *kernel = context->backend->kernels[call->op];
    dpt_status status = kernel->prepare(call);
    if (status == DPT_OK) kernel->release(call);
    CHECK(call->plan == NULL);
    return status;
}

static void refused(void) {
    dpt_context *context = NULL;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &context))) return;
    fixture f = conv_open(&cases[1], DPT_F32, false, false, 1);
    dpt_call call = call_of(&f, DPT_OP_CONV);
    call.in[0].layout = DPT_LAYOUT_BLOCKED_8;
    CHECK_FAILS(prepare(context, &call), DPT_ERR_INTERNAL, "conv \"conv1\", x [4,16,1x6x5], w [24,16,1x3x3]: layout");
    static const conv_case huge = {3, 1, 1, 1, 1, {1, 1, 1}, 1, 1, 0, 1};
    fixture h = conv_open(&huge, DPT_F64, false, false, 1);
    call = call_of(&h, DPT_OP_CONV_DGRAD);
    for (int i = 2; i < 5; i++) call.attr.conv.in_dim[i] = 1200, call.attr.conv.kernel[i - 2] = 3;
    CHECK_FAILS(prepare(context, &call), DPT_ERR_UNSUPPORTED, "conv_dgrad \"conv1\", x [3,1,1200x1200x1200]");
    conv_close(&f);
    conv_close(&h);
    dpt_context_destroy(&context);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "cuda_conv", {"layouts, f32", layouts_f32}, {"other types", other_types},
                      {"no rows", no_rows}, {"chunks", chunks}, {"long sums", long_sums},
                      {"NaN survives", nan_survives}, {"same bits", same_bits}, {"pooling", pooling},
                      {"refused", refused});
}
