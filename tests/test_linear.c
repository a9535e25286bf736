/* test_linear.c: products of matrices and the fused linear kernels against sums written out in f64: all transposes,
 * batch dimensions in every place, padded rows that hold NaN, no valid rows; what constructors build and refuse. */
#include "activation_formula.h"
#include "dptrain/ops.h"
#include "graph/graph.h"
#include "kernel_array.h"

static const dpt_dtype types[] = {DPT_F32, DPT_F64};
enum { PADDING_ROWS = 3 };

/* ---- the reference: c[i,j] = sum over k of a[i,k] b[k,j], by steps from row to row and column to column ---- */

typedef struct view {
    const double *at;
    int64_t row, column;
} view;

static view matrix(const double *at, int64_t rows, int64_t columns, bool transposed) {
    return transposed ? (view){at, 1, rows} : (view){at, columns, 1};
}

static void multiply(int64_t m, int64_t n, int64_t k, view a, view b, double *c) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += a.at[i * a.row + l * a.column] * b.at[l * b.row + j * b.column];
            c[i * n + j] = sum;
        }
}

/* ---- matmul ---- */

static const int64_t sizes[][3] = {{1, 1, 1},   {2, 3, 4},     {17, 5, 33}, {64, 64, 64}, {256, 64, 8},
                                   {5, 256, 3}, {33, 10, 129}, {1, 40, 17}, {40, 1, 17},  {64, 128, 784}};
enum { SIZES = sizeof sizes / sizeof sizes[0] - CHECK_IS_SLOW }; /* without the largest */

static void run_matmul(dpt_block *block, const kernel_array *a, const kernel_array *b, kernel_array *c, bool ta,
                       bool tb, int threads) {
    dpt_call call = {.op = DPT_OP_MATMUL,
                     .n_in = 2,
                     .n_out = 1,
                     .in = {a->operand, b->operand},
                     .out = {c->operand},
                     .block = block,
                     .attr = {.matmul = {.transpose_a = ta, .transpose_b = tb}}};
    kernel_run(&call, threads);
}

/* rows < 0: no batch dimension; else M is one (where a stands as it is), or K (where a is transposed and b is not). */
static void check_matmul(dpt_dtype type, const int64_t size[3], bool ta, bool tb, int64_t rows, int threads) {
    int64_t m = size[0], n = size[1], k = size[2];
    int64_t capacity_m = rows >= 0 && !ta ? m + PADDING_ROWS : m, capacity_k = rows >= 0 && ta ? k + PADDING_ROWS : k;
    bool over_batch = rows >= 0 && ta;
    dpt_block block = {.rows = {rows}};
    int64_t a_dim[2] = {ta ? capacity_k : capacity_m, ta ? m : k}, b_dim[2] = {tb ? n : capacity_k, tb ? k : n};
    kernel_array a = kernel_array_make(type, rows, 2, a_dim, 1);
    kernel_array b = kernel_array_make(type, over_batch ? rows : -1, 2, b_dim, 2);
    kernel_array c = kernel_array_out(type, over_batch ? -1 : rows, 2, (int64_t[]){capacity_m, n});
    int64_t valid_m = rows >= 0 && !ta ? rows : m, valid_k = over_batch ? rows : k;
    double *expected = dpt_alloc_zero((size_t)(m * n), sizeof *expected);
    multiply(valid_m, n, valid_k, matrix(a.value, m, k, ta), matrix(b.value, k, n, tb), expected);
    run_matmul(&block, &a, &b, &c, ta, tb, threads);
    kernel_array_check(&c, expected, "matmul");
    dpt_free(expected);
    kernel_array_free(&a), kernel_array_free(&b), kernel_array_free(&c);
}

static void matmul_of_matrices(void) {
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < SIZES; s++)
            for (int transposes = 0; transposes < 4; transposes++)
                check_matmul(types[t], sizes[s], transposes & 1, transposes & 2, -1, 1 + s % 2);
}

static void matmul_of_rows(void) {
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < SIZES; s++)
            for (int tb = 0; tb < 2; tb++) {
                check_matmul(types[t], sizes[s], false, tb, sizes[s][0], 1);
                check_matmul(types[t], sizes[s], false, tb, sizes[s][0] / 2, 1);
                check_matmul(types[t], sizes[s], false, tb, 0, 1);
            }
}

/* The view of a transposed matrix depends on its number of rows alone, so fewer valid rows read the same array. */
static void matmul_over_batch(void) {
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < SIZES; s++) {
            check_matmul(types[t], sizes[s], true, false, sizes[s][2], 1);
            check_matmul(types[t], sizes[s], true, false, sizes[s][2] / 2, 2);
            check_matmul(types[t], sizes[s], true, false, 0, 1);
        }
}

/* a [B,T,K] (or [B,K,T]) with b [B,K,N] or, shared by all rows, [K,N]; B of more capacity than rows. */
static void check_batched(dpt_dtype type, bool ta, bool tb, bool shared, int64_t rows) {
    enum { CAPACITY = 5, T = 7, K = 9, N = 6 };
    dpt_block block = {.rows = {rows}};
    int64_t a_dim[3] = {CAPACITY, ta ? K : T, ta ? T : K}, b_dim[3] = {CAPACITY, tb ? N : K, tb ? K : N};
    kernel_array a = kernel_array_make(type, rows, 3, a_dim, 3);
    kernel_array b = shared ? kernel_array_make(type, -1, 2, b_dim + 1, 4) : kernel_array_make(type, rows, 3, b_dim, 4);
    kernel_array c = kernel_array_out(type, rows, 3, (int64_t[]){CAPACITY, T, N});
    double expected[CAPACITY * T * N] = {0};
    for (int64_t r = 0; r < rows; r++)
        multiply(T, N, K, matrix(a.value + r * T * K, T, K, ta), matrix(b.value + (shared ? 0 : r * K * N), K, N, tb),
                 expected + r * T * N);
    run_matmul(&block, &a, &b, &c, ta, tb, 1);
    kernel_array_check(&c, expected, shared ? "matmul 3-D by 2-D" : "matmul 3-D");
    kernel_array_free(&a), kernel_array_free(&b), kernel_array_free(&c);
}

static void matmul_batched(void) {
    for (int t = 0; t < 2; t++)
        for (int64_t rows = 0; rows <= 5; rows += rows ? 3 : 2)
            for (int tb = 0; tb < 2; tb++) {
                check_batched(types[t], false, tb, false, rows);
                check_batched(types[t], true, tb, false, rows);
                check_batched(types[t], false, tb, true, rows);
            }
}

/* ---- the fused kernels: x [B,in], w [out,in], b [out] ---- */

static const int64_t layers[][3] = {{4, 3, 5}, {256, 8, 64}, {256, 64, 3}, {33, 100, 10}, {1, 7, 1}, {64, 784, 128}};
enum { LAYERS = sizeof layers / sizeof layers[0] - CHECK_IS_SLOW };
static const dpt_activation acts[] = {DPT_ACT_NONE, DPT_ACT_RELU, DPT_ACT_TANH, DPT_ACT_GELU};

static void check_linear(dpt_dtype type, const int64_t layer[3], int64_t rows, dpt_activation act, bool bias) {
    int64_t in = layer[1], out = layer[2], capacity = layer[0] + PADDING_ROWS;
    dpt_block block = {.rows = {rows}};
    kernel_array x = kernel_array_make(type, rows, 2, (int64_t[]){capacity, in}, 1);
    kernel_array w = kernel_array_make(type, -1, 2, (int64_t[]){out, in}, 2);
    kernel_array b = kernel_array_make(type, -1, 1, &out, 3);
    kernel_array y = kernel_array_out(type, rows, 2, (int64_t[]){capacity, out});
    kernel_array z = kernel_array_out(type, rows, 2, (int64_t[]){capacity, out});
    double *expected = dpt_alloc_zero((size_t)(capacity * out), sizeof *expected);
    multiply(rows, out, in, matrix(x.value, rows, in, false), matrix(w.value, in, out, true), expected);
    for (int64_t i = 0; i < rows * out; i++) expected[i] += bias ? b.value[i % out] : 0;
    dpt_call call = {.op = DPT_OP_LINEAR,
                     .n_in = bias ? 3 : 2,
                     .n_out = act == DPT_ACT_GELU ? 2 : 1,
                     .in = {x.operand, w.operand, b.operand},
                     .out = {y.operand, z.operand},
                     .block = &block,
                     .attr = {.matmul = {.transpose_b = true, .act = act, .bias = bias}}};
    kernel_run(&call, 1);
    if (act == DPT_ACT_GELU) kernel_array_check(&z, expected, "argument of gelu");
    for (int64_t i = 0; i < rows * out; i++) expected[i] = activation_formula(act, expected[i]);
    kernel_array_check(&y, expected, "linear");
    dpt_free(expected);
    kernel_array_free(&x), kernel_array_free(&w), kernel_array_free(&b), kernel_array_free(&y), kernel_array_free(&z);
}

static void linear_forward(void) {
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < LAYERS; s++)
            for (int act = 0; act < 4; act++) {
                check_linear(types[t], layers[s], layers[s][0], acts[act], true);
                check_linear(types[t], layers[s], layers[s][0] / 2, acts[act], false);
                check_linear(types[t], layers[s], 0, acts[act], true);
            }
}

static void check_dgrad(dpt_dtype type, const int64_t layer[3], int64_t rows, dpt_activation act) {
    int64_t in = layer[1], out = layer[2], capacity = layer[0] + PADDING_ROWS;
    dpt_block block = {.rows = {rows}};
    kernel_array g = kernel_array_make(type, rows, 2, (int64_t[]){capacity, out}, 1);
    kernel_array w = kernel_array_make(type, -1, 2, (int64_t[]){out, in}, 2);
    kernel_array y = kernel_array_make(type, rows, 2, (int64_t[]){capacity, in}, 3);
    kernel_array dx = kernel_array_out(type, rows, 2, (int64_t[]){capacity, in});
    double *expected = dpt_alloc_zero((size_t)(capacity * in), sizeof *expected);
    multiply(rows, in, out, matrix(g.value, rows, out, false), matrix(w.value, out, in, false), expected);
    for (int64_t i = 0; i < rows * in; i++) expected[i] *= activation_slope(act, y.value[i]);
    dpt_call call = {.op = DPT_OP_LINEAR_DGRAD,
                     .n_in = act == DPT_ACT_NONE ? 2 : 3,
                     .n_out = 1,
                     .in = {g.operand, w.operand, y.operand},
                     .out = {dx.operand},
                     .block = &block,
                     .attr = {.matmul = {.act = act}}};
    kernel_run(&call, 2);
    kernel_array_check(&dx, expected, "linear_dgrad");
    dpt_free(expected);
    kernel_array_free(&g), kernel_array_free(&w), kernel_array_free(&y), kernel_array_free(&dx);
}

static void linear_data_gradient(void) {
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < LAYERS; s++)
            for (int act = 0; act < 4; act++) {
                check_dgrad(types[t], layers[s], layers[s][0], acts[act]);
                check_dgrad(types[t], layers[s], layers[s][0] / 2, acts[act]);
                check_dgrad(types[t], layers[s], 0, acts[act]);
            }
}

static void check_wgrad(dpt_dtype type, const int64_t layer[3], int64_t rows, bool bias) {
    int64_t in = layer[1], out = layer[2], capacity = layer[0] + PADDING_ROWS;
    dpt_block block = {.rows = {rows}};
    kernel_array g = kernel_array_make(type, rows, 2, (int64_t[]){capacity, out}, 1);
    kernel_array x = kernel_array_make(type, rows, 2, (int64_t[]){capacity, in}, 2);
    kernel_array dw = kernel_array_out(type, -1, 2, (int64_t[]){out, in});
    kernel_array db = kernel_array_out(type, -1, 1, &out);
    double *expected = dpt_alloc_zero((size_t)(out * in), sizeof *expected);
    double *sums = dpt_alloc_zero((size_t)out, sizeof *sums);
    multiply(out, in, rows, matrix(g.value, out, rows, true), matrix(x.value, rows, in, false), expected);
    for (int64_t i = 0; i < rows * out; i++) sums[i % out] += g.value[i];
    dpt_call call = {.op = DPT_OP_LINEAR_WGRAD,
                     .n_in = 2,
                     .n_out = bias ? 2 : 1,
                     .in = {g.operand, x.operand},
                     .out = {dw.operand, db.operand},
                     .block = &block,
                     .attr = {.matmul = {.transpose_a = true, .bias = bias}}};
    kernel_run(&call, 1);
    kernel_array_check(&dw, expected, "linear_wgrad dw");
    if (bias) kernel_array_check(&db, sums, "linear_wgrad db");
    dpt_free(expected), dpt_free(sums);
    kernel_array_free(&g), kernel_array_free(&x), kernel_array_free(&dw), kernel_array_free(&db);
}

static void linear_weight_gradient(void) {
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < LAYERS; s++) {
            check_wgrad(types[t], layers[s], layers[s][0], true);
            check_wgrad(types[t], layers[s], layers[s][0] / 2, true);
            check_wgrad(types[t], layers[s], layers[s][0], false);
            check_wgrad(types[t], layers[s], 0, true);
        }
}

/* A NaN in one sample stays in it, through every activation. */
static void nan_survives(void) {
    enum { ROWS = 4, IN = 20, OUT = 24 };
    for (int act = 0; act < 4; act++) {
        dpt_block block = {.rows = {ROWS}};
        kernel_array x = kernel_array_make(DPT_F32, ROWS, 2, (int64_t[]){ROWS, IN}, 1);
        kernel_array w = kernel_array_make(DPT_F32, -1, 2, (int64_t[]){OUT, IN}, 2);
        kernel_array y = kernel_array_out(DPT_F32, ROWS, 2, (int64_t[]){ROWS, OUT});
        kernel_array z = kernel_array_out(DPT_F32, ROWS, 2, (int64_t[]){ROWS, OUT});
        kernel_array_put(&x, IN + 3, NAN);
        dpt_call call = {.op = DPT_OP_LINEAR,
                         .n_in = 2,
                         .n_out = 2,
                         .in = {x.operand, w.operand},
                         .out = {y.operand, z.operand},
                         .block = &block,
                         .attr = {.matmul = {.transpose_b = true, .act = acts[act]}}};
        kernel_run(&call, 1);
        for (int64_t i = 0; i < ROWS * OUT; i++) CHECK(isnan(kernel_array_get(&y, i)) == (i / OUT == 1));
        kernel_array_free(&x), kernel_array_free(&w), kernel_array_free(&y), kernel_array_free(&z);
    }
}

/* f64 sums have one order: the same bits for every number of threads. */
static void threads_do_not_matter(void) {
    enum { M = 70, N = 90, K = 50 };
    double result[2][M * N];
    dpt_block block = {.rows = {0}};
    for (int t = 0; t < 2; t++) {
        kernel_array a = kernel_array_make(DPT_F64, -1, 2, (int64_t[]){M, K}, 1);
        kernel_array b = kernel_array_make(DPT_F64, -1, 2, (int64_t[]){N, K}, 2);
        kernel_array c = kernel_array_out(DPT_F64, -1, 2, (int64_t[]){M, N});
        run_matmul(&block, &a, &b, &c, false, true, 1 + 2 * t);
        memcpy(result[t], c.operand.data, sizeof result[t]);
        kernel_array_free(&a), kernel_array_free(&b), kernel_array_free(&c);
    }
    CHECK(memcmp(result[0], result[1], sizeof result[0]) == 0);
}

/* ---- constructors ---- */

static dpt_tensor *input(dpt_graph *g, const char *name, int ndim, const int64_t *dim) {
    return dpt_input(g, name, DPT_F32, ndim, dim);
}

static void check_dims(const dpt_tensor *t, int ndim, const int64_t *expected) {
    int64_t dim[DPT_MAX_NDIM];
    CHECK_EQ_I64(dpt_tensor_dims(t, dim), ndim);
    for (int i = 0; i < ndim; i++) CHECK_EQ_I64(dim[i], expected[i]);
}

static void shapes(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_tensor *x2 = input(g, "x2", 2, (int64_t[]){DPT_BATCH, 8}), *x1 = input(g, "x1", 1, (int64_t[]){8});
    dpt_tensor *x4 = input(g, "x4", 4, (int64_t[]){DPT_BATCH, 3, 5, 8});
    dpt_tensor *f3 = input(g, "f3", 3, (int64_t[]){2, 3, 8});
    dpt_tensor *w = input(g, "w", 2, (int64_t[]){6, 8});
    check_dims(dpt_linear(x2, 6, "fc"), 2, (int64_t[]){DPT_BATCH, 6});
    check_dims(dpt_linear_with(x1, w, NULL), 1, (int64_t[]){6});
    check_dims(dpt_linear_with(x4, w, NULL), 4, (int64_t[]){DPT_BATCH, 3, 5, 6});
    check_dims(dpt_linear_with(f3, w, NULL), 3, (int64_t[]){2, 3, 6});
    check_dims(dpt_matmul(x2, x2, 1, 0), 2, (int64_t[]){8, 8});
    CHECK_OK(dpt_graph_status(g));
    const dpt_param_info *weight = dpt_graph_find_param(g, "fc.weight"), *bias = dpt_graph_find_param(g, "fc.bias");
    CHECK(weight != NULL && bias != NULL);
    if (weight && bias) {
        check_dims(weight->tensor, 2, (int64_t[]){6, 8});
        check_dims(bias->tensor, 1, (int64_t[]){6});
        CHECK(weight->init.kind == DPT_INIT_KAIMING_UNIFORM && bias->init.kind == DPT_INIT_FAN_IN_UNIFORM);
        CHECK_NEAR(weight->init.a, sqrt(1.0 / 3), 1e-15);
        CHECK_NEAR(bias->init.b, 8, 0);
    }
    dpt_graph_destroy(&g);
}

/* Each builds one wrong thing; the message names the op and both shapes. */
static void linear_wrong(dpt_graph *g) {
    dpt_linear_with(input(g, "x", 2, (int64_t[]){DPT_BATCH, 64}), input(g, "w", 2, (int64_t[]){63, 10}), NULL);
}
static void linear_wrong_bias(dpt_graph *g) {
    dpt_linear_with(input(g, "x", 2, (int64_t[]){DPT_BATCH, 64}), input(g, "w", 2, (int64_t[]){10, 64}),
                    input(g, "b", 1, (int64_t[]){64}));
}
static void linear_of_nothing(dpt_graph *g) { dpt_linear(input(g, "x", 0, NULL), 3, "fc2"); }
static void matmul_wrong(dpt_graph *g) {
    dpt_matmul(input(g, "a", 2, (int64_t[]){32, 64}), input(g, "b", 2, (int64_t[]){63, 10}), 0, 0);
}
static void matmul_wrong_transposed(dpt_graph *g) {
    dpt_matmul(input(g, "a", 2, (int64_t[]){32, 64}), input(g, "b", 2, (int64_t[]){64, 10}), 1, 0);
}
static void matmul_batch_last(dpt_graph *g) {
    dpt_matmul(input(g, "a", 2, (int64_t[]){32, 64}), input(g, "b", 2, (int64_t[]){DPT_BATCH, 64}), 0, 1);
}
static void matmul_other_axis(dpt_graph *g) {
    int64_t points = dpt_batch_axis(g, "points");
    dpt_matmul(input(g, "a", 2, (int64_t[]){DPT_BATCH, 4}), input(g, "b", 2, (int64_t[]){points, 4}), 1, 0);
}
static void matmul_leading(dpt_graph *g) {
    dpt_matmul(input(g, "a", 3, (int64_t[]){2, 4, 5}), input(g, "b", 3, (int64_t[]){3, 5, 4}), 0, 0);
}
static void matmul_types(dpt_graph *g) {
    dpt_matmul(input(g, "a", 2, (int64_t[]){4, 5}), dpt_input(g, "b", DPT_F64, 2, ((int64_t[]){5, 4})), 0, 0);
}

static void wrong_shapes(void) {
    static const struct {
        void (*build)(dpt_graph *g);
        const char *text;
    } wrong[] = {{linear_wrong, "linear: x is [B,64], w is [63,10]"},
                 {linear_wrong_bias, "linear: x is [B,64], w is [10,64], b is [64]"},
                 {linear_of_nothing, "linear \"fc2\": x is f32 []"},
                 {matmul_wrong, "matmul: a is [32,64], b is [63,10]"},
                 {matmul_wrong_transposed, "matmul: a is [32,64] transposed, b is [64,10]"},
                 {matmul_batch_last, "the batch dimension of the result would not be the first"},
                 {matmul_other_axis, "matmul: a is [B,4] transposed, b is ["},
                 {matmul_leading, "the leading dimensions differ"},
                 {matmul_types, "a is f32, b is f64"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dpt_graph *g = dpt_graph_create(NULL);
        wrong[i].build(g);
        CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, wrong[i].text);
        CHECK(strstr(dpt_last_error(), "test_linear.c:") != NULL);
        dpt_graph_destroy(&g);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "linear", {"matmul of matrices", matmul_of_matrices},
                      {"matmul of rows", matmul_of_rows}, {"matmul over the batch", matmul_over_batch},
                      {"matmul batched", matmul_batched}, {"linear", linear_forward},
                      {"linear_dgrad", linear_data_gradient}, {"linear_wgrad", linear_weight_gradient},
                      {"NaN survives", nan_survives}, {"threads do not matter", threads_do_not_matter},
                      {"shapes", shapes}, {"wrong shapes", wrong_shapes});
}
