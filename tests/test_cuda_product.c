/* test_cuda_product.c: what of the products on the GPU no op test reaches: 16-bit operands, results of f32, TF32, sums
 * over many rows, ReLU that must keep NaN, zeroed padding of odd sizes; that a shape is planned once, how much
 * workspace it may take, what is refused. Expected values are sums in f64 over the operands as they were rounded.
 * Skipped on the CPU device. */
#include <stdlib.h>

#include "activation_formula.h"
#include "backend/backend.h"
#include "float_array.h"

static const dpt_dtype dtypes[] = {DPT_F32, DPT_F64, DPT_BF16, DPT_F16};
static const dpt_activation acts[] = {DPT_ACT_NONE, DPT_ACT_RELU, DPT_ACT_TANH, DPT_ACT_GELU};
enum { DTYPES = 4, ACTS = 4, PADDING_ROWS = 3 };

/* ---- arrays of any float type ---- */

typedef struct array {
    dpt_operand operand;
    int64_t valid; /* elements of the valid rows */
    double *value; /* those, as rounded to the type */
} array;

/* rows < 0: no batch dimension. Values in [-1, 1); NaN past the valid rows, and everywhere where key is 0. */
static array make(dpt_dtype dtype, int64_t rows, int64_t capacity, int64_t columns, uint64_t key) {
    array a = {.operand = kernel_operand(NULL, dtype, rows >= 0, 2, (int64_t[]){capacity, columns})};
    a.valid = (rows < 0 ? capacity : rows) * columns;
    a.operand.data = dpt_alloc((size_t)a.operand.count * dpt_dtype_size(dtype));
    a.value = dpt_alloc_zero((size_t)a.valid + 1, sizeof *a.value);
    for (int64_t i = 0; i < a.operand.count; i++) {
        double v = 2 * (double)dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i, 0, 0).v[0]) - 1;
        float_put(&a.operand, i, key && i < a.valid ? v : NAN);
        if (i < a.valid) a.value[i] = float_get(&a.operand, i);
    }
    return a;
}

static array make_vector(dpt_dtype dtype, int64_t count, uint64_t key) {
    array a = make(dtype, -1, count, 1, key);
    a.operand.ndim = 1;
    return a;
}

static void drop(array *a) {
    dpt_free(a->operand.data);
    dpt_free(a->value);
}

/* The rounding of a result of this type: two of its last digits, and a sum of a few hundred f32. */
static double bound_of(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F64: return 1e-14;
        case DPT_BF16: return 4e-3;
        case DPT_F16: return 5e-4;
        default: return 2e-6;
    }
}

static void compare(const array *a, const double *expected, const char *what, int line) {
    double *got = dpt_alloc_zero((size_t)a->valid + 1, sizeof *got);
    for (int64_t i = 0; i < a->valid; i++) got[i] = float_get(&a->operand, i);
    double error = check_relative_f64(got, expected, a->valid), bound = bound_of(a->operand.dtype);
    check_that(error <= bound, __FILE__, line, "%s, %s: relative error %g, at most %g", what,
               dpt_dtype_text(a->operand.dtype), error, bound);
    dpt_free(got);
}
#define COMPARE(a, expected, what) compare((a), (expected), (what), __LINE__)

/* c[i,j] = sum over k of a[i,k] b[k,j], by steps from row to row and column to column. */
static double *multiply(int64_t m, int64_t n, int64_t k, const double *a, int64_t ai, int64_t ak, const double *b,
                        int64_t bk, int64_t bj) {
    double *c = dpt_alloc_zero((size_t)(m * n) + 1, sizeof *c);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t l = 0; l < k; l++) c[i * n + j] += a[i * ai + l * ak] * b[l * bk + j * bj];
    return c;
}

/* ---- linear, its data gradient and its weight gradient, at sizes [rows, in, out] ---- */

static const int64_t layers[][3] = {{5, 3, 7}, {33, 24, 40}, {64, 16, 8}};
enum { LAYERS = sizeof layers / sizeof layers[0] };

static void forward_of(dpt_dtype dtype, const int64_t layer[3], dpt_activation act, bool bias, bool tf32) {
    int64_t rows = layer[0], in = layer[1], out = layer[2], capacity = rows + PADDING_ROWS;
    dpt_block block = {.rows = {rows}};
    array x = make(dtype, rows, capacity, in, 1), w = make(dtype, -1, out, in, 2), b = make_vector(dtype, out, 3);
    array y = make(dtype, rows, capacity, out, 0), z = make(dtype, rows, capacity, out, 0);
    double *expected = multiply(rows, out, in, x.value, in, 1, w.value, 1, in);
    for (int64_t i = 0; bias && i < rows * out; i++) expected[i] += b.value[i % out];
    dpt_call call = {.op = DPT_OP_LINEAR,
                     .n_in = bias ? 3 : 2,
                     .n_out = act == DPT_ACT_GELU ? 2 : 1,
                     .in = {x.operand, w.operand, b.operand},
                     .out = {y.operand, z.operand},
                     .block = &block,
                     .tf32 = tf32,
                     .attr = {.matmul = {.transpose_b = true, .act = act, .bias = bias}}};
    kernel_run(&call, 1);
    if (act == DPT_ACT_GELU) COMPARE(&z, expected, "argument of gelu");
    for (int64_t i = 0; i < rows * out; i++) expected[i] = activation_formula(act, expected[i]);
    COMPARE(&y, expected, bias ? "linear with bias" : "linear");
    dpt_free(expected);
    drop(&x), drop(&w), drop(&b), drop(&y), drop(&z);
}

static void data_gradient_of(dpt_dtype dtype, const int64_t layer[3], dpt_activation act) {
    int64_t rows = layer[0], in = layer[1], out = layer[2], capacity = rows + PADDING_ROWS;
    dpt_block block = {.rows = {rows}};
    array g = make(dtype, rows, capacity, out, 1), w = make(dtype, -1, out, in, 2);
    array y = make(dtype, rows, capacity, in, 3), dx = make(dtype, rows, capacity, in, 0);
    double *expected = multiply(rows, in, out, g.value, out, 1, w.value, in, 1);
    for (int64_t i = 0; i < rows * in; i++) expected[i] *= activation_slope(act, y.value[i]);
    dpt_call call = {.op = DPT_OP_LINEAR_DGRAD,
                     .n_in = act == DPT_ACT_NONE ? 2 : 3,
                     .n_out = 1,
                     .in = {g.operand, w.operand, y.operand},
                     .out = {dx.operand},
                     .block = &block,
                     .attr = {.matmul = {.act = act}}};
    kernel_run(&call, 1);
    COMPARE(&dx, expected, "linear_dgrad");
    dpt_free(expected);
    drop(&g), drop(&w), drop(&y), drop(&dx);
}

/* With rows of padding; to: the type of the gradients. */
static void weight_gradient_of(dpt_dtype dtype, dpt_dtype to, const int64_t layer[3], bool bias) {
    int64_t rows = layer[0], in = layer[1], out = layer[2], capacity = rows + PADDING_ROWS;
    dpt_block block = {.rows = {rows}};
    array g = make(dtype, rows, capacity, out, 1), x = make(dtype, rows, capacity, in, 2);
    array dw = make(to, -1, out, in, 0), db = make_vector(to, out, 0);
    double *expected = multiply(out, in, rows, g.value, 1, out, x.value, in, 1);
    double *sums = dpt_alloc_zero((size_t)out, sizeof *sums);
    for (int64_t i = 0; i < rows * out; i++) sums[i % out] += g.value[i];
    dpt_call call = {.op = DPT_OP_LINEAR_WGRAD,
                     .n_in = 2,
                     .n_out = bias ? 2 : 1,
                     .in = {g.operand, x.operand},
                     .out = {dw.operand, db.operand},
                     .block = &block,
                     .attr = {.matmul = {.transpose_a = true, .bias = bias}}};
    kernel_run(&call, 1);
    COMPARE(&dw, expected, "weight gradient");
    if (bias) COMPARE(&db, sums, "bias gradient");
    for (int64_t i = 0; i < capacity * out; i++) CHECK(float_get(&g.operand, i) == (i < rows * out ? g.value[i] : 0));
    for (int64_t i = 0; i < capacity * in; i++) CHECK(float_get(&x.operand, i) == (i < rows * in ? x.value[i] : 0));
    dpt_free(expected), dpt_free(sums);
    drop(&g), drop(&x), drop(&dw), drop(&db);
}

/* All that the fused layer does, at sizes that nothing else here has: choices are kept by size. */
static void layer_of(dpt_dtype dtype, const int64_t layer[3]) {
    for (int act = 0; act < ACTS; act++) {
        forward_of(dtype, layer, acts[act], true, false);
        forward_of(dtype, layer, acts[act], false, false);
        data_gradient_of(dtype, layer, acts[act]);
    }
    weight_gradient_of(dtype, dtype, layer, true);
    weight_gradient_of(dtype, dtype, layer, false);
    if (dtype == DPT_BF16 || dtype == DPT_F16) weight_gradient_of(dtype, DPT_F32, layer, true);
}

static void all_types(void) {
    for (int d = 0; d < DTYPES; d++)
        for (int s = 0; s < LAYERS; s++) layer_of(dtypes[d], layers[s]);
}

/* The library on the CPU can be told to have no epilogue: then all of it is own kernels. */
static void without_epilogues(void) {
    setenv("HOSTCUDA_LT_EPILOGUES", "0", 1);
    for (int d = 0; d < DTYPES; d++) layer_of(dtypes[d], (int64_t[]){21, 10, 36});
    unsetenv("HOSTCUDA_LT_EPILOGUES");
}

static void tf32(void) {
    forward_of(DPT_F64, (int64_t[]){9, 8, 16}, DPT_ACT_RELU, true, true);
    forward_of(DPT_BF16, (int64_t[]){9, 8, 16}, DPT_ACT_RELU, true, true);
    /* values that TF32 holds: products of small integers */
    enum { ROWS = 6, IN = 4, OUT = 8 };
    dpt_block block = {.rows = {ROWS}};
    array x = make(DPT_F32, ROWS, ROWS, IN, 1), w = make(DPT_F32, -1, OUT, IN, 2),
          y = make(DPT_F32, ROWS, ROWS, OUT, 0);
    for (int i = 0; i < ROWS * IN; i++) float_put(&x.operand, i, x.value[i] = i % 7 - 3);
    for (int i = 0; i < OUT * IN; i++) float_put(&w.operand, i, w.value[i] = i % 5 - 2);
    double *expected = multiply(ROWS, OUT, IN, x.value, IN, 1, w.value, 1, IN);
    dpt_call call = {.op = DPT_OP_MATMUL,
                     .n_in = 2,
                     .n_out = 1,
                     .in = {x.operand, w.operand},
                     .out = {y.operand},
                     .block = &block,
                     .tf32 = true,
                     .attr = {.matmul = {.transpose_b = true}}};
    kernel_run(&call, 1);
    for (int i = 0; i < ROWS * OUT; i++) CHECK(float_get(&y.operand, i) == expected[i]);
    dpt_free(expected);
    drop(&x), drop(&w), drop(&y);
}

/* Rows enough that each column is summed in stretches; columns past a block of 32; f32 as exact as sums in f64. */
static void sums_of_many_rows(void) {
    weight_gradient_of(DPT_F32, DPT_F32, (int64_t[]){1500, 2, 45}, true);
    weight_gradient_of(DPT_F64, DPT_F64, (int64_t[]){1500, 2, 45}, true);
    weight_gradient_of(DPT_F32, DPT_F32, (int64_t[]){600, 1, 1}, true);
    setenv("HOSTCUDA_LT_EPILOGUES", "0", 1);
    weight_gradient_of(DPT_BF16, DPT_F32, (int64_t[]){1500, 2, 45}, true);
    unsetenv("HOSTCUDA_LT_EPILOGUES");
}

/* More elements than the device of the host build has threads, so that each takes several; much padding. */
static void large(void) {
    for (int d = 0; d < 2; d++) {
        forward_of(dtypes[d], (int64_t[]){700, 2, 51}, DPT_ACT_TANH, false, false);
        data_gradient_of(dtypes[d], (int64_t[]){700, 51, 2}, DPT_ACT_RELU);
        weight_gradient_of(dtypes[d], dtypes[d], (int64_t[]){2, 4001, 8}, true);
    }
}

static void nan_survives_in(int64_t out) {
    enum { ROWS = 4, IN = 20 };
    for (int d = 0; d < DTYPES; d++)
        for (int act = 0; act < ACTS; act++) {
            dpt_block block = {.rows = {ROWS}};
            array x = make(dtypes[d], ROWS, ROWS, IN, 1), w = make(dtypes[d], -1, out, IN, 2);
            array b = make_vector(dtypes[d], out, 3);
            array y = make(dtypes[d], ROWS, ROWS, out, 0), z = make(dtypes[d], ROWS, ROWS, out, 0);
            float_put(&x.operand, IN + 3, NAN);
            dpt_call call = {.op = DPT_OP_LINEAR,
                             .n_in = 3,
                             .n_out = 2,
                             .in = {x.operand, w.operand, b.operand},
                             .out = {y.operand, z.operand},
                             .block = &block,
                             .attr = {.matmul = {.transpose_b = true, .act = acts[act], .bias = true}}};
            kernel_run(&call, 1);
            for (int64_t i = 0; i < ROWS * out; i++) CHECK(isnan(float_get(&y.operand, i)) == (i / out == 1));
            drop(&x), drop(&w), drop(&b), drop(&y), drop(&z);
        }
}

/* Also where the library's own ReLU returns 0 for NaN; other sizes, since what was found for one is kept. */
static void nan_survives(void) {
    nan_survives_in(24);
    setenv("HOSTCUDA_RELU_DROPS_NAN", "1", 1);
    nan_survives_in(25);
    unsetenv("HOSTCUDA_RELU_DROPS_NAN");
}

/* ---- matmul with 16-bit operands; over the batch, with padding of 6 bytes a row ---- */

static void narrow_matmul(void) {
    enum { M = 3, N = 5, K = 20, CAPACITY = K + PADDING_ROWS };
    for (int d = 2; d < DTYPES; d++)
        for (int wide = 0; wide < 2; wide++) {
            dpt_block block = {.rows = {K}};
            array a = make(dtypes[d], K, CAPACITY, M, 1), b = make(dtypes[d], K, CAPACITY, N, 2);
            array c = make(wide ? DPT_F32 : dtypes[d], -1, M, N, 0);
            double *expected = multiply(M, N, K, a.value, 1, M, b.value, N, 1);
            dpt_call call = {.op = DPT_OP_MATMUL,
                             .n_in = 2,
                             .n_out = 1,
                             .in = {a.operand, b.operand},
                             .out = {c.operand},
                             .block = &block,
                             .attr = {.matmul = {.transpose_a = true}}};
            kernel_run(&call, 1);
            COMPARE(&c, expected, "matmul over the batch");
            dpt_free(expected);
            drop(&a), drop(&b), drop(&c);
        }
}

/* The same bits, whatever ran before. */
static void repeats(void) {
    enum { ROWS = 300, IN = 33, OUT = 50 };
    for (int d = 0; d < DTYPES; d++) {
        array g = make(dtypes[d], ROWS, ROWS, OUT, 1), x = make(dtypes[d], ROWS, ROWS, IN, 2);
        array dw[2], db[2];
        dpt_block block = {.rows = {ROWS}};
        for (int i = 0; i < 2; i++) {
            dw[i] = make(dtypes[d], -1, OUT, IN, 0);
            db[i] = make_vector(dtypes[d], OUT, 0);
            dpt_call call = {.op = DPT_OP_LINEAR_WGRAD,
                             .n_in = 2,
                             .n_out = 2,
                             .in = {g.operand, x.operand},
                             .out = {dw[i].operand, db[i].operand},
                             .block = &block,
                             .attr = {.matmul = {.transpose_a = true, .bias = true}}};
            kernel_run(&call, 1);
        }
        size_t size = dpt_dtype_size(dtypes[d]);
        CHECK(memcmp(dw[0].operand.data, dw[1].operand.data, OUT * IN * size) == 0);
        CHECK(memcmp(db[0].operand.data, db[1].operand.data, OUT * size) == 0);
        drop(&g), drop(&x), drop(&dw[0]), drop(&dw[1]), drop(&db[0]), drop(&db[1]);
    }
}

/* ---- planning ---- */

static dpt_context *ctx;
static int timed;

static void count_timed(void *user, dpt_log_level level, const char *message) {
    (void)user;
    if (level == DPT_LOG_DEBUG && strncmp(message, "product ", 8) == 0) timed++;
}

/* A product [m,k] by [k,n]; nothing runs, so nothing lies behind the operands. */
static dpt_call product_of(dpt_dtype in, dpt_dtype out, int64_t m, int64_t n, int64_t k) {
    return (dpt_call){.op = DPT_OP_MATMUL,
                      .name = "test",
                      .n_in = 2,
                      .n_out = 1,
                      .in = {kernel_operand(NULL, in, false, 2, (int64_t[]){m, k}),
                             kernel_operand(NULL, in, false, 2, (int64_t[]){k, n})},
                      .out = {kernel_operand(NULL, out, false, 2, (int64_t[]){m, n})},
                      .device = &ctx->device};
}

/* How many shapes were timed for it; its workspace. */
static int plan(dpt_call call, size_t *workspace_bytes) {
    const dpt_kernel *kernel = ctx->backend->kernels[call.op];
    timed = 0;
    if (CHECK_OK(kernel->prepare(&call))) kernel->release(&call);
    CHECK(call.plan == NULL);
    *workspace_bytes = call.workspace_bytes;
    return timed;
}

static void planned_once(void) {
    size_t bytes, again, taken;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    taken = ctx->device.allocated[DPT_FOR_COMPUTE];
    dpt_log_set(count_timed, NULL);
    dpt_call call = product_of(DPT_F32, DPT_F32, 18, 26, 34);
    CHECK_EQ_I64(plan(call, &bytes), 1);
    CHECK(bytes <= (size_t)32 << 20);
    CHECK_EQ_I64(plan(call, &again), 0);
    CHECK_EQ_I64(bytes, again);
    call.tf32 = true;
    CHECK_EQ_I64(plan(call, &bytes), 1);
    call = product_of(DPT_BF16, DPT_BF16, 18, 26, 34);
    CHECK_EQ_I64(plan(call, &bytes), 1);
    call = product_of(DPT_BF16, DPT_F32, 18, 26, 34);
    CHECK_EQ_I64(plan(call, &bytes), 1);
    call = product_of(DPT_F32, DPT_F32, 18, 26, 35);
    CHECK_EQ_I64(plan(call, &bytes), 1);
    call.attr.matmul.transpose_b = true;
    call.in[1] = kernel_operand(NULL, DPT_F32, false, 2, (int64_t[]){26, 35});
    CHECK_EQ_I64(plan(call, &bytes), 1);
    ctx->device.deterministic = true;
    CHECK_EQ_I64(plan(call, &bytes), 0);
    ctx->device.deterministic = false;
    ctx->device.memory_limit = taken + 1;
    CHECK_EQ_I64(plan(product_of(DPT_F32, DPT_F32, 180, 26, 34), &bytes), 0); /* no room to try: still a plan */
    ctx->device.memory_limit = 0;
    CHECK_EQ_I64(ctx->device.allocated[DPT_FOR_COMPUTE], taken);
    dpt_log_set(NULL, NULL);
    dpt_context_destroy(&ctx);
}

static void refused(void) {
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    const dpt_kernel *const *kernels = ctx->backend->kernels;
    dpt_call call = product_of(DPT_F32, DPT_F32, 4, 5, 0);
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "sizes must be 1 to");
    call = product_of(DPT_F32, DPT_F32, 4, 5, (int64_t)1 << 31);
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "[4,2147483648] and [2147483648,5]");
    call = product_of(DPT_F32, DPT_BF16, 4, 5, 6);
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "a product of f32 cannot be bf16");
    call = product_of(DPT_BF16, DPT_F16, 4, 5, 6);
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "a product of bf16 cannot be f16");
    call = product_of(DPT_BF16, DPT_F32, 4, 5, 5);
    call.op = DPT_OP_LINEAR;
    call.in[2] = kernel_operand(NULL, DPT_BF16, false, 1, (int64_t[]){5});
    call.attr.matmul.bias = true;
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "the bias is bf16, the result f32");
    call.op = DPT_OP_LINEAR_DGRAD;
    call.attr.matmul.act = DPT_ACT_TANH;
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "the activation's output is bf16, its gradient f32");
    call = product_of(DPT_BF16, DPT_F32, 4, 5, 5);
    call.op = DPT_OP_LINEAR_WGRAD;
    call.out[1] = kernel_operand(NULL, DPT_BF16, false, 1, (int64_t[]){5});
    call.attr.matmul.bias = true;
    CHECK_FAILS(kernels[call.op]->prepare(&call), DPT_ERR_SHAPE, "the bias gradient is bf16, the weight's f32");
    CHECK(call.plan == NULL);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    if (strcmp(check_device(), "cpu") == 0) return 77;
    return CHECK_MAIN(argc, argv, "cuda_product", {"all types", all_types}, {"without epilogues", without_epilogues},
                      {"TF32", tf32}, {"sums of many rows", sums_of_many_rows}, {"large", large},
                      {"NaN survives", nan_survives}, {"matmul of 16 bits", narrow_matmul}, {"repeats", repeats},
                      {"planned once", planned_once}, {"refused", refused});
}
