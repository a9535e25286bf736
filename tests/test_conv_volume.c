/* test_conv_volume.c: convolutions and their gradients along one and three dimensions, and from few channels, against
 * sums written out in f64 from the definition; padded rows that hold NaN, no valid rows; the same bits whatever the
 * threads. Two dimensions: test_conv.c. */
#include "dptrain/graph.h"
#include "kernel_array.h"

enum { PADDING_ROWS = 1, MOST = 3 };

typedef struct volume_case {
    int spatial;
    int64_t rows, in, size[MOST], out, kernel[MOST], stride[MOST], pad[MOST], dilation[MOST], groups;
} volume_case;

static const volume_case cases[] = {
    {1, 3, 4, {11}, 6, {3}, {2}, {1}, {2}, 2},
    {1, 2, 3, {9}, 16, {5}, {1}, {2}, {1}, 1},                /* few channels, 5 wide */
    {2, 3, 1, {6, 7}, 16, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1}, /* three filter lines */
    {2, 2, 3, {9, 8}, 16, {7, 7}, {2, 2}, {3, 3}, {1, 1}, 1}, /* 7 wide, stride 2, padding as wide as it gets */
    {2, 2, 2, {5, 6}, 32, {2, 3}, {1, 3}, {0, 1}, {1, 1}, 1}, /* four filter lines, two blocks of outputs */
    {2, 2, 4, {7, 5}, 16, {3, 3}, {1, 1}, {2, 0}, {1, 2}, 1}, /* dilated along the line: not ours */
    {3, 2, 2, {4, 3, 5}, 3, {3, 2, 3}, {1, 2, 1}, {1, 0, 1}, {1, 1, 1}, 1},   /* a number a dimension */
    {3, 2, 4, {10, 3, 4}, 16, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1}, /* 36 filter lines; two parts a sample */
    {3, 2, 1, {18, 2, 3}, 16, {3, 3, 3}, {2, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1}, /* the second part is shorter */
    {3, 2, 2, {7, 6, 4}, 16, {2, 3, 3}, {1, 1, 1}, {2, 1, 1}, {3, 2, 1}, 1},  /* dilated across the lines */
    {3, 1, 16, {3, 3, 3}, 32, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1},
    {3, 2, 4, {3, 4, 3}, 6, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1}, 2},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static int64_t out_size(const volume_case *c, int i) {
    return (c->size[i] + 2 * c->pad[i] - c->dilation[i] * (c->kernel[i] - 1) - 1) / c->stride[i] + 1;
}

static int64_t product(int n, const int64_t *v) {
    int64_t p = 1;
    for (int i = 0; i < n; i++) p *= v[i];
    return p;
}

/* Coordinate i of the n that position p stands for. */
static int64_t coordinate(int64_t p, int n, const int64_t *size, int i) {
    for (int k = n - 1; k > i; k--) p /= size[k];
    return p % size[i];
}

typedef struct fixture {
    const volume_case *c;
    int64_t out[MOST];
    dpt_block block;
    dpt_attr attr;
    kernel_array x, w, g, y, dx, dw;
    double *expected_y, *expected_dx, *expected_dw;
} fixture;

/* Position in x's plane that output p and tap k meet, or -1. */
static int64_t meet(const fixture *f, int64_t p, int64_t k) {
    const volume_case *c = f->c;
    int64_t at = 0;
    for (int i = 0; i < c->spatial; i++) {
        const int64_t v = coordinate(p, c->spatial, f->out, i) * c->stride[i] +
                          coordinate(k, c->spatial, c->kernel, i) * c->dilation[i] - c->pad[i];
        if (v < 0 || v >= c->size[i]) return -1;
        at = at * c->size[i] + v;
    }
    return at;
}

static void expect(fixture *f) {
    const volume_case *c = f->c;
    const int64_t in = c->in / c->groups, taps = product(c->spatial, c->kernel), plane = product(c->spatial, f->out);
    f->expected_y = dpt_alloc_zero((size_t)f->y.valid + 1, sizeof(double));
    f->expected_dx = dpt_alloc_zero((size_t)f->dx.valid + 1, sizeof(double));
    f->expected_dw = dpt_alloc_zero((size_t)f->dw.valid + 1, sizeof(double));
    for (int64_t y = 0; y < f->y.valid; y++)
        for (int64_t t = 0; t < in * taps; t++) {
            const int64_t n = y / plane / c->out, o = y / plane % c->out, at = meet(f, y % plane, t % taps);
            const int64_t channel = o / (c->out / c->groups) * in + t / taps, w = o * in * taps + t;
            const int64_t x = (n * c->in + channel) * product(c->spatial, c->size) + at;
            if (at < 0) continue;
            f->expected_y[y] += f->w.value[w] * f->x.value[x];
            f->expected_dx[x] += f->w.value[w] * f->g.value[y];
            f->expected_dw[w] += f->g.value[y] * f->x.value[x];
        }
}

static fixture open_case(const volume_case *c, dpt_dtype type, int64_t rows) {
    fixture f = {.c = c, .block = {.rows = {rows}}};
    const int ndim = 2 + c->spatial;
    int64_t x[2 + MOST] = {c->rows + PADDING_ROWS, c->in}, w[2 + MOST] = {c->out, c->in / c->groups};
    int64_t y[2 + MOST] = {c->rows + PADDING_ROWS, c->out};
    dpt_conv_attr *a = &f.attr.conv;
    a->spatial = c->spatial;
    a->groups = c->groups;
    for (int i = 0; i < c->spatial; i++) {
        f.out[i] = y[2 + i] = out_size(c, i);
        x[2 + i] = c->size[i];
        w[2 + i] = a->kernel[i] = c->kernel[i];
        a->stride[i] = c->stride[i];
        a->pad[i] = c->pad[i];
        a->dilation[i] = c->dilation[i];
    }
    memcpy(a->in_dim, x, sizeof x);
    memcpy(a->weight_dim, w, sizeof w);
    a->in_dim[0] = DPT_BATCH;
    f.x = kernel_array_make(type, rows, ndim, x, 1);
    f.w = kernel_array_make(type, -1, ndim, w, 2);
    f.g = kernel_array_make(type, rows, ndim, y, 3);
    f.y = kernel_array_out(type, rows, ndim, y);
    f.dx = kernel_array_out(type, rows, ndim, x);
    f.dw = kernel_array_out(type, -1, ndim, w);
    expect(&f);
    return f;
}

static void close_case(fixture *f) {
    kernel_array *all[] = {&f->x, &f->w, &f->g, &f->y, &f->dx, &f->dw};
    double *expected[] = {f->expected_y, f->expected_dx, f->expected_dw};
    for (int i = 0; i < 6; i++) kernel_array_free(all[i]);
    for (int i = 0; i < 3; i++) dpt_free(expected[i]);
}

static void run(fixture *f, int op, const kernel_array *a, const kernel_array *b, kernel_array *out, int threads) {
    dpt_call call = {.op = op,
                     .n_in = 2,
                     .n_out = 1,
                     .in = {a->operand, b->operand},
                     .out = {out->operand},
                     .block = &f->block,
                     .attr = f->attr};
    kernel_run(&call, threads);
}

static void check_products(const volume_case *c, dpt_dtype type, int64_t rows) {
    fixture f = open_case(c, type, rows);
    run(&f, DPT_OP_CONV, &f.x, &f.w, &f.y, 2);
    kernel_array_check(&f.y, f.expected_y, "conv");
    run(&f, DPT_OP_CONV_DGRAD, &f.g, &f.w, &f.dx, 1);
    kernel_array_check(&f.dx, f.expected_dx, "conv_dgrad");
    run(&f, DPT_OP_CONV_WGRAD, &f.g, &f.x, &f.dw, 1);
    kernel_array_check(&f.dw, f.expected_dw, "conv_wgrad");
    close_case(&f);
}

static void all_rows(void) {
    for (int i = 0; i < CASES; i++) check_products(&cases[i], DPT_F32, cases[i].rows);
}
static void in_f64(void) {
    for (int i = 0; i < CASES; i++) check_products(&cases[i], DPT_F64, cases[i].rows);
}
static void some_rows(void) {
    for (int i = 0; i < CASES; i++) check_products(&cases[i], DPT_F32, cases[i].rows - 1);
}
static void no_rows(void) {
    for (int i = 0; i < CASES; i++) check_products(&cases[i], DPT_F32, 0);
}

/* Weight gradients are sums over rows and positions: their order is that of the shapes. */
static void threads(void) {
    for (int i = 0; i < CASES; i++) {
        fixture f = open_case(&cases[i], DPT_F32, cases[i].rows), other = open_case(&cases[i], DPT_F32, cases[i].rows);
        run(&f, DPT_OP_CONV_WGRAD, &f.g, &f.x, &f.dw, 1);
        run(&other, DPT_OP_CONV_WGRAD, &other.g, &other.x, &other.dw, 3);
        const bool few = cases[i].in <= 4 && cases[i].out % 16 == 0 && cases[i].dilation[cases[i].spatial - 1] == 1;
        if (few) CHECK(memcmp(f.dw.operand.data, other.dw.operand.data, (size_t)f.dw.valid * sizeof(float)) == 0);
        kernel_array_check(&other.dw, other.expected_dw, "conv_wgrad by three threads");
        close_case(&f);
        close_case(&other);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "conv_volume", {"all rows", all_rows}, {"f64", in_f64}, {"some rows", some_rows},
                      {"no rows", no_rows}, {"threads", threads});
}
