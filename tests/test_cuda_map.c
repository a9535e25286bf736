/* test_cuda_map.c: element-wise kernels, broadcasts, sums and draws in all forms that the device's kernels treat
 * differently: types of 16 bits, packs and tails, lines that are no whole packs, several tiles and splits, fewer rows
 * than there is room for, calls that run again. What passes on the CPU must pass on the device that DPT_TEST_DEVICE
 * names; 16-bit types run there only. */
#include "float_array.h"

static const dpt_dtype dtypes[] = {DPT_F32, DPT_F64, DPT_BF16, DPT_F16};
static int dtype_count(void) { return strcmp(check_device(), "cpu") == 0 ? 2 : 4; }

typedef struct shape {
    int ndim;
    int64_t dim[5];
    bool batch;
} shape;

static const dpt_block *block_of(int64_t rows) {
    static dpt_block block;
    block = (dpt_block){.step = 3, .rows = {rows}, .first_row = {INT64_C(5000000000)}, .global_rows = {977}};
    return &block;
}

static dpt_operand array(dpt_dtype dtype, const shape *s, int64_t rows, uint64_t key) {
    return float_array(dtype, s->batch, rows, s->ndim, s->dim, key);
}

/* Where element i of y stands in x, which is broadcast against it. */
static int64_t place_in(const dpt_operand *x, const dpt_operand *y, int64_t i) {
    int64_t offset = 0, stride = 1;
    for (int d = y->ndim - 1, e = x->ndim - 1; d >= 0; i /= y->dim[d], d--, e--) {
        if (e < 0) continue;
        if (x->dim[e] > 1) offset += i % y->dim[d] * stride;
        stride *= x->dim[e];
    }
    return offset;
}

/* ---- a op b ---- */

static const struct pattern {
    shape a, b, y;
    int64_t rows;
} patterns[] = {
    {{2, {7, 10}, true}, {2, {7, 10}, true}, {2, {7, 10}, true}, 6},
    {{2, {9, 10}, true}, {1, {10}, false}, {2, {9, 10}, true}, 7},                  /* a bias, no whole packs */
    {{2, {9, 48}, true}, {1, {48}, false}, {2, {9, 48}, true}, 8},                  /* a bias in packs */
    {{2, {9, 48}, true}, {2, {9, 1}, true}, {2, {9, 48}, true}, 8},                 /* a column in packs */
    {{2, {9, 1}, true}, {2, {9, 13}, true}, {2, {9, 13}, true}, 9},                 /* a column, first */
    {{2, {5, 1}, true}, {2, {1, 33}, false}, {2, {5, 33}, true}, 4},                /* both */
    {{0, {0}, false}, {2, {6, 11}, true}, {2, {6, 11}, true}, 5},                   /* a scalar */
    {{4, {4, 3, 5, 2}, true}, {3, {3, 1, 2}, false}, {4, {4, 3, 5, 2}, true}, 3},   /* the middle */
    {{4, {4, 3, 1, 16}, true}, {3, {3, 5, 1}, false}, {4, {4, 3, 5, 16}, true}, 4}, /* two in the middle */
    {{3, {2, 3, 1}, false}, {1, {4}, false}, {3, {2, 3, 4}, false}, 1},             /* no batch */
    {{2, {1, 7}, true}, {1, {7}, false}, {2, {1, 7}, true}, 1},                     /* room for one row */
    {{2, {4, 6}, true}, {1, {6}, false}, {2, {4, 6}, true}, 0},                     /* no row at all */
    {{2, {700, 301}, true}, {1, {301}, false}, {2, {700, 301}, true}, 690},         /* tiles, by elements */
    {{2, {700, 304}, true}, {1, {304}, false}, {2, {700, 304}, true}, 699},         /* tiles, in packs */
    {{2, {700, 301}, true}, {2, {700, 301}, true}, {2, {700, 301}, true}, 699},     /* tiles, the same shape */
};
enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

static double result_of(int op, dpt_dtype dtype, double a, double b) {
    if (dtype != DPT_F64) {
        const float x = (float)a, y = (float)b;
        const float r = op == DPT_OP_ADD ? x + y : op == DPT_OP_SUB ? x - y : op == DPT_OP_MUL ? x * y : x / y;
        return float_rounded(dtype, (double)r);
    }
    return op == DPT_OP_ADD ? a + b : op == DPT_OP_SUB ? a - b : op == DPT_OP_MUL ? a * b : a / b;
}

/* op < 0: broadcast of b alone. */
static void check_pattern(int op, dpt_dtype dtype, const struct pattern *p, int number) {
    const dpt_operand a = array(dtype, &p->a, p->rows, 11), b = array(dtype, &p->b, p->rows, 12);
    const dpt_operand y = array(dtype, &p->y, p->rows, 0);
    dpt_call call = {.op = op, .n_in = 2, .n_out = 1, .in = {a, b}, .out = {y}, .block = block_of(p->rows)};
    if (op < 0) call.op = DPT_OP_BROADCAST, call.n_in = 1, call.in[0] = b;
    kernel_run(&call, 1);
    int64_t wrong = -1;
    for (int64_t i = 0; i < float_valid(&y, p->rows) && wrong < 0; i++) {
        const double vb = float_get(&b, place_in(&b, &y, i));
        const double expected = op < 0 ? vb : result_of(op, dtype, float_get(&a, place_in(&a, &y, i)), vb);
        if (float_get(&y, i) != expected) wrong = i;
    }
    check_that(wrong < 0, __FILE__, __LINE__, "pattern %d, operation %d, %s: element %lld", number, op,
               dpt_dtype_text(dtype), (long long)wrong);
    dpt_free(a.data);
    dpt_free(b.data);
    dpt_free(y.data);
}

static void broadcasts(void) {
    static const int ops[] = {DPT_OP_ADD, DPT_OP_SUB, DPT_OP_MUL, DPT_OP_DIV, -1};
    for (int t = 0; t < dtype_count(); t++)
        for (int i = 0; i < PATTERNS; i++)
            for (int o = 0; o < 5; o++) check_pattern(ops[o], dtypes[t], &patterns[i], i);
}

/* a = a op b in place: the output is the first operand itself. */
static void in_place(void) {
    const int64_t dim[] = {40, 301};
    for (int t = 0; t < dtype_count(); t++) {
        const dpt_operand a = float_array(dtypes[t], true, 37, 2, dim, 21),
                          b = float_array(dtypes[t], true, 37, 2, dim, 22);
        const dpt_operand same = float_array(dtypes[t], true, 37, 2, dim, 21);
        dpt_call call = {.op = DPT_OP_MUL, .n_in = 2, .n_out = 1, .in = {a, b}, .out = {a}, .block = block_of(37)};
        kernel_run(&call, 1);
        for (int64_t i = 0; i < float_valid(&a, 37); i++)
            if (!CHECK(float_get(&a, i) == result_of(DPT_OP_MUL, a.dtype, float_get(&same, i), float_get(&b, i))))
                break;
        dpt_free(a.data);
        dpt_free(b.data);
        dpt_free(same.data);
    }
}

/* ---- of one array ---- */

static double normal(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static double density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

static const struct unary {
    int op, order;
    double value;
} unaries[] = {{DPT_OP_SCALE, 0, -1.75}, {DPT_OP_OFFSET, 0, 0.625}, {DPT_OP_SQRT, 0, 0}, {DPT_OP_RELU, 0, 0},
               {DPT_OP_TANH, 0, 0},      {DPT_OP_GELU, 0, 0},       {DPT_OP_GELU, 1, 0}, {DPT_OP_GELU, 2, 0},
               {DPT_OP_GELU, 3, 0},      {DPT_OP_GELU, 4, 0}};

static double unary_of(const struct unary *u, double x) {
    switch (u->op) {
        case DPT_OP_SCALE: return x * u->value;
        case DPT_OP_OFFSET: return x + u->value;
        case DPT_OP_SQRT: return sqrt(x);
        case DPT_OP_RELU: return x < 0 ? 0 : x;
        case DPT_OP_TANH: return tanh(x);
        default: break;
    }
    switch (u->order) {
        case 0: return x * normal(x);
        case 1: return normal(x) + x * density(x);
        case 2: return density(x) * (2 - x * x);
        case 3: return density(x) * (x * x * x - 4 * x);
        default: return density(x) * (-x * x * x * x + 7 * x * x - 4);
    }
}

/* Half of the last place, relative to the value, and what the function itself may add. */
static double rounding_of(dpt_dtype dtype) {
    return dtype == DPT_F64 ? 1e-15 : dtype == DPT_F32 ? 1e-6 : dtype == DPT_BF16 ? 1.01 / 256 : 1.01 / 2048;
}

static void check_unary(const struct unary *u, dpt_dtype dtype, int64_t room, int64_t rows) {
    const int64_t dim[] = {room, 7};
    const dpt_operand x = float_array(dtype, true, rows, 2, dim, 31), y = float_array(dtype, true, rows, 2, dim, 0);
    for (int64_t i = 0; i < float_valid(&x, rows); i++)
        float_put(&x, i, u->op == DPT_OP_SQRT ? fabs(float_get(&x, i)) : 3 * float_get(&x, i));
    dpt_call call = {.op = u->op, .n_in = 1, .n_out = 1, .in = {x}, .out = {y}, .block = block_of(rows)};
    if (u->op == DPT_OP_GELU) call.attr.derivative.order = u->order;
    if (u->op == DPT_OP_SCALE || u->op == DPT_OP_OFFSET) call.attr.scalar.value = u->value;
    kernel_run(&call, 1);
    const double bound = rounding_of(dtype), floor = dtype == DPT_F64 ? 1e-15 : 2e-6;
    for (int64_t i = 0; i < float_valid(&y, rows); i++) {
        const double expected = unary_of(u, float_get(&x, i)), error = fabs(float_get(&y, i) - expected);
        if (!check_that(error <= bound * fabs(expected) + floor, __FILE__, __LINE__,
                        "operation %d of order %d, %s: %.9g at %.9g, expected %.9g", u->op, u->order,
                        dpt_dtype_text(dtype), float_get(&y, i), float_get(&x, i), expected))
            break;
    }
    dpt_free(x.data);
    dpt_free(y.data);
}

static void functions(void) {
    for (int t = 0; t < dtype_count(); t++)
        for (size_t u = 0; u < sizeof unaries / sizeof unaries[0]; u++) {
            check_unary(&unaries[u], dtypes[t], 41, 38);
            check_unary(&unaries[u], dtypes[t], 1, 1);
            check_unary(&unaries[u], dtypes[t], 20000, 19999);
        }
}

/* g where y > 0: y of 0 and less lets nothing through. */
static void relu_gradient(void) {
    const int64_t dim[] = {30, 5};
    for (int t = 0; t < dtype_count(); t++) {
        const dpt_operand g = float_array(dtypes[t], true, 29, 2, dim, 41),
                          y = float_array(dtypes[t], true, 29, 2, dim, 42);
        const dpt_operand out = float_array(dtypes[t], true, 29, 2, dim, 0);
        for (int i = 0; i < 50; i++) float_put(&y, i, 0);
        dpt_call call = {
            .op = DPT_OP_RELU_GRAD, .n_in = 2, .n_out = 1, .in = {g, y}, .out = {out}, .block = block_of(29)};
        kernel_run(&call, 1);
        for (int64_t i = 0; i < float_valid(&out, 29); i++)
            if (!CHECK(float_get(&out, i) == (float_get(&y, i) > 0 ? float_get(&g, i) : 0))) break;
        dpt_free(g.data);
        dpt_free(y.data);
        dpt_free(out.data);
    }
}

/* ---- cast: from every type to every float type ---- */

static double integer_put(const dpt_operand *x, int64_t i) {
    switch (x->dtype) {
        case DPT_U8: return ((uint8_t *)x->data)[i] = (uint8_t)(i * 37);
        case DPT_I32: return ((int32_t *)x->data)[i] = (int32_t)(i * 16777259 - 40000000);
        default: ((int64_t *)x->data)[i] = (i - 20) * INT64_C(123456789123); return (double)((int64_t *)x->data)[i];
    }
}

static void check_cast(dpt_dtype from, dpt_dtype to) {
    enum { ROOM = 29, ROWS = 27, N = 3 };
    const int64_t dim[] = {ROOM, N};
    const bool floats = from != DPT_U8 && from != DPT_I32 && from != DPT_I64;
    dpt_operand x = kernel_operand(NULL, from, true, 2, dim);
    if (floats) x = float_array(from, true, ROWS, 2, dim, 51);
    double value[ROOM * N];
    if (!floats) x.data = dpt_alloc(sizeof value);
    for (int64_t i = 0; i < ROOM * N; i++) value[i] = floats ? float_get(&x, i) : integer_put(&x, i);
    const dpt_operand y = float_array(to, true, ROWS, 2, dim, 0);
    dpt_call call = {
        .op = DPT_OP_CAST, .n_in = 1, .n_out = 1, .in = {x}, .out = {y}, .attr.cast = {to}, .block = block_of(ROWS)};
    kernel_run(&call, 1);
    for (int64_t i = 0; i < float_valid(&y, ROWS); i++)
        if (!check_that(float_get(&y, i) == float_rounded(to, value[i]), __FILE__, __LINE__,
                        "%s to %s: %.17g gives %.17g", dpt_dtype_text(from), dpt_dtype_text(to), value[i],
                        float_get(&y, i)))
            break;
    dpt_free(x.data);
    dpt_free(y.data);
}

static void casts(void) {
    static const dpt_dtype integers[] = {DPT_U8, DPT_I32, DPT_I64};
    for (int to = 0; to < dtype_count(); to++) {
        for (int from = 0; from < dtype_count(); from++) check_cast(dtypes[from], dtypes[to]);
        for (int from = 0; from < 3; from++) check_cast(integers[from], dtypes[to]);
    }
}

/* ---- sums ---- */

static const struct sums {
    shape x;
    int64_t rows;
} sums[] = {
    {{1, {77}, true}, 71},         {{2, {7, 10}, true}, 5},
    {{2, {40, 64}, true}, 37},                                    /* a tile in packs */
    {{2, {6, 33}, true}, 6},                                      /* odd lines */
    {{2, {4, 5}, true}, 0},        {{4, {8, 3, 20, 6}, true}, 6}, /* all that lies between */
    {{4, {3, 6, 5, 16}, true}, 3}, {{5, {2, 3, 2, 5, 2}, false}, 1},
    {{2, {1300, 96}, true}, 1200},                              /* splits of a tile */
    {{2, {700, 300}, true}, 690},                               /* several tiles, the last of them narrow */
    {{2, {2200, 10}, true}, 2101},                              /* flat, split */
    {{2, {900, 17}, true}, 850},   {{3, {3, 40, 15}, true}, 2}, /* flat, of each row */
    {{2, {70, 521}, true}, 66},                                 /* lines that are neither */
    {{2, {5, 2400}, false}, 1},                                 /* a block each */
    {{2, {2, 30000}, false}, 1},                                /* and split */
    {{1, {30011}, false}, 1},                                   /* with a tail */
    {{2, {1, 9}, true}, 1},
};

static bool sum_close(const dpt_operand *y, int64_t i, double expected, double size) {
    const double within = y->dtype == DPT_F64 ? 1e-14 : 3e-7, last = y->dtype == DPT_F32 ? 6e-8 : rounding_of(y->dtype);
    return fabs(float_get(y, i) - expected) <= within * size + last * fabs(expected);
}

static void check_sum(const struct sums *s, uint32_t axes, dpt_dtype from, dpt_dtype to) {
    const dpt_operand x = array(from, &s->x, s->rows, 61);
    shape kept = {.batch = s->x.batch && !(axes & 1U)};
    for (int d = 0; d < s->x.ndim; d++)
        if (!(axes >> d & 1U)) kept.dim[kept.ndim++] = s->x.dim[d];
    const dpt_operand y = array(to, &kept, s->rows, 0);
    double *expected = dpt_alloc_zero((size_t)y.count, sizeof *expected),
           *size = dpt_alloc_zero((size_t)y.count, sizeof *size);
    for (int64_t i = 0; i < float_valid(&x, s->rows); i++) {
        int64_t at = 0, stride = 1, rest = i;
        for (int d = x.ndim - 1; d >= 0; rest /= x.dim[d], d--) {
            if (axes >> d & 1U) continue;
            at += rest % x.dim[d] * stride;
            stride *= x.dim[d];
        }
        expected[at] += float_get(&x, i);
        size[at] += fabs(float_get(&x, i));
    }
    dpt_call call = {.op = DPT_OP_SUM,
                     .n_in = 1,
                     .n_out = 1,
                     .in = {x},
                     .out = {y},
                     .attr.reduce = {axes, false},
                     .block = block_of(s->rows)};
    kernel_run_times(&call, 1, from == DPT_F64 ? 1 : 2); /* after its bind, and after a run */
    for (int64_t i = 0; i < float_valid(&y, s->rows); i++)
        if (!check_that(sum_close(&y, i, expected[i], size[i]), __FILE__, __LINE__,
                        "sum of (%lld,%lld...) over axes %x, %s to %s: element %lld is %.9g, expected %.9g",
                        (long long)x.dim[0], (long long)x.dim[1], axes, dpt_dtype_text(from), dpt_dtype_text(to),
                        (long long)i, float_get(&y, i), expected[i]))
            break;
    dpt_free(x.data);
    dpt_free(y.data);
    dpt_free(expected);
    dpt_free(size);
}

static void sums_of_all_forms(void) {
    for (int t = 0; t < dtype_count(); t++)
        for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
            for (uint32_t axes = 1; axes < 1U << sums[i].x.ndim; axes++) {
                check_sum(&sums[i], axes, dtypes[t], dtypes[t]);
                if (t > 1) check_sum(&sums[i], axes, dtypes[t], DPT_F32);
            }
}

/* ---- dropout: kept where the draw of random.h says, for rows of whole quads and others ---- */

static void check_dropout(dpt_dtype dtype, int64_t n) {
    const int64_t dim[] = {30, n};
    const dpt_operand x = float_array(dtype, true, 28, 2, dim, 71), y = float_array(dtype, true, 28, 2, dim, 0);
    dpt_call call = {.op = DPT_OP_DROPOUT,
                     .seed = 9,
                     .n_in = 1,
                     .n_out = 1,
                     .in = {x},
                     .out = {y},
                     .attr.random = {0.375},
                     .block = block_of(28)};
    kernel_run(&call, 1);
    const uint64_t key = dpt_random_key("test", 9);
    for (int64_t i = 0; i < float_valid(&y, 28); i++) {
        const uint64_t row = (uint64_t)(call.block->first_row[0] + i / n);
        const uint32_t word = dpt_random_quad(key, (uint32_t)(i % n / 4), row, 3).v[i % n % 4];
        const double scaled = dtype == DPT_F64 ? float_get(&x, i) * 1.6 : (double)((float)float_get(&x, i) * 1.6F);
        const double expected = dpt_uniform_f32(word) >= 0.375F ? float_rounded(dtype, scaled) : 0;
        if (!check_that(float_get(&y, i) == expected, __FILE__, __LINE__,
                        "%s, rows of %lld: element %lld is %g, expected %g", dpt_dtype_text(dtype), (long long)n,
                        (long long)i, float_get(&y, i), expected))
            break;
    }
    dpt_free(x.data);
    dpt_free(y.data);
}

static void draws(void) {
    static const int64_t row[] = {1, 3, 4, 8, 10, 12, 16, 50, 104};
    for (int t = 0; t < dtype_count(); t++)
        for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) check_dropout(dtypes[t], row[i]);
}

/* ---- copies ---- */

/* All types; bytes of 3 rows of 5, and of more than a tile. */
static void copies(void) {
    for (int type = 0; type < DPT_DTYPE_COUNT; type++)
        for (int64_t n = 5; n <= 30000; n += 29995) {
            const int64_t dim[] = {4, n};
            const size_t bytes = 4 * (size_t)n * dpt_dtype_size((dpt_dtype)type), valid = bytes / 4 * 3;
            uint8_t *x = dpt_alloc(bytes), *y = dpt_alloc_zero(1, bytes);
            for (size_t i = 0; i < bytes; i++) x[i] = (uint8_t)(i * 7 + i / 256 + 1);
            dpt_call call = {.op = DPT_OP_COPY,
                             .n_in = 1,
                             .n_out = 1,
                             .block = block_of(3),
                             .in = {kernel_operand(x, (dpt_dtype)type, true, 2, dim)},
                             .out = {kernel_operand(y, (dpt_dtype)type, true, 2, dim)}};
            kernel_run(&call, 1);
            CHECK(memcmp(x, y, valid) == 0);
            dpt_free(x);
            dpt_free(y);
        }
}

/* x on rank 0 in the first micro-batch, zeros elsewhere. */
static void root_only(void) {
    for (int t = 0; t < dtype_count(); t++)
        for (int way = 0; way < 4; way++) {
            const int64_t n = 1003;
            const dpt_operand x = float_array(dtypes[t], false, 1, 1, &n, 81),
                              y = float_array(dtypes[t], false, 1, 1, &n, 0);
            dpt_block block = {.micro_batch = way / 2};
            dpt_call call = {.op = DPT_OP_ROOT_ONLY,
                             .n_in = 1,
                             .n_out = 1,
                             .in = {x},
                             .out = {y},
                             .rank = way % 2,
                             .world = 2,
                             .block = &block};
            kernel_run(&call, 1);
            for (int64_t i = 0; i < n; i++)
                if (!CHECK(float_get(&y, i) == (way == 0 ? float_get(&x, i) : 0))) break;
            dpt_free(x.data);
            dpt_free(y.data);
        }
}

static void rows_of_all_ranks(void) {
    for (int t = 0; t < dtype_count(); t++) {
        const dpt_operand y = float_array(dtypes[t], false, 1, 0, NULL, 0);
        dpt_call call = {
            .op = DPT_OP_ROWS, .n_out = 1, .out = {y}, .attr.rows = {0, 3, dtypes[t]}, .block = block_of(5)};
        kernel_run(&call, 1);
        CHECK(float_get(&y, 0) == float_rounded(dtypes[t], 977 * 3));
        dpt_free(y.data);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "cuda_map", {"broadcasts", broadcasts}, {"in_place", in_place},
                      {"functions", functions}, {"relu_gradient", relu_gradient}, {"casts", casts},
                      {"sums_of_all_forms", sums_of_all_forms}, {"draws", draws}, {"copies", copies},
                      {"root_only", root_only}, {"rows_of_all_ranks", rows_of_all_ranks});
}
