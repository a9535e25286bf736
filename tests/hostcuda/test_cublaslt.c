/* test_cublaslt.c: the products of CUDA on the host against plain sums in f64, each epilogue against its formula, and
 * what the library has to refuse. */
#include <cublasLt.h>
#include <stdlib.h>

#include "test_hostcuda.h"

enum { M = 5, N = 3, K = 7, MOST = 2048, AUX_LD = 128 };

#define CHECK_LT(call, code) check_lt((call), (code), __FILE__, __LINE__, #call)
static bool check_lt(cublasStatus_t got, cublasStatus_t expected, const char *file, int line, const char *call) {
    return check_that(got == expected, file, line, "%s: %s, expected %s", call, cublasLtGetStatusName(got),
                      cublasLtGetStatusName(expected));
}

/* A product on device memory, all of it f32 unless told otherwise. Columns first, as is cuBLASLt's default. */
typedef struct problem {
    cublasComputeType_t compute;
    cudaDataType scale, in, out;
    int m, n, k, batch, ld_a, ld_b, ld_d; /* ld: 0 for tight */
    bool transpose_a, transpose_b;
    cublasLtOrder_t order; /* of D */
    uint32_t epilogue;
    void *a, *b, *d, *bias, *aux;
    int64_t aux_ld;
    float alpha, beta;
    size_t workspace_given, workspace_allowed;
    int algorithm; /* of those proposed; -1: none is passed */
    bool other_algorithm;
} problem;

static problem plain(void) {
    return (problem){.compute = CUBLAS_COMPUTE_32F,
                     .scale = CUDA_R_32F,
                     .in = CUDA_R_32F,
                     .out = CUDA_R_32F,
                     .m = M,
                     .n = N,
                     .k = K,
                     .batch = 1,
                     .order = CUBLASLT_ORDER_COL,
                     .epilogue = CUBLASLT_EPILOGUE_DEFAULT,
                     .aux_ld = AUX_LD,
                     .alpha = 1,
                     .workspace_allowed = 4 << 20,
                     .algorithm = -1};
}

static cublasLtMatrixLayout_t layout_of(cudaDataType type, int rows, int columns, int ld, int batch,
                                        cublasLtOrder_t order) {
    cublasLtMatrixLayout_t layout = NULL;
    bool by_rows = order == CUBLASLT_ORDER_ROW;
    int32_t order_value = order;
    if (ld == 0) ld = by_rows ? columns : rows;
    int64_t stride = (int64_t)ld * (by_rows ? rows : columns);
    CHECK_LT(cublasLtMatrixLayoutCreate(&layout, type, (uint64_t)rows, (uint64_t)columns, ld), CUBLAS_STATUS_SUCCESS);
    (void)cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ORDER, &order_value, sizeof order_value);
    (void)cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
    (void)cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride);
    return layout;
}

static cublasLtMatmulDesc_t describe(const problem *p) {
    cublasLtMatmulDesc_t d = NULL;
    cublasOperation_t a = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, b = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    CHECK_LT(cublasLtMatmulDescCreate(&d, p->compute, p->scale), CUBLAS_STATUS_SUCCESS);
    (void)cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a);
    (void)cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b);
    (void)cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE, &p->epilogue, sizeof p->epilogue);
    (void)cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
    (void)cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &p->aux, sizeof p->aux);
    (void)cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &p->aux_ld, sizeof p->aux_ld);
    return d;
}

/* The first thing that fails, of looking for algorithms and the product. */
static cublasStatus_t multiply(const problem *p) {
    static cublasLtHandle_t handle;
    cublasLtMatmulHeuristicResult_t found[8];
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulDesc_t d = describe(p);
    int n = 0;
    void *workspace = NULL;
    double alpha = p->alpha, beta = p->beta; /* for f64 */
    bool wide = p->scale == CUDA_R_64F;
    if (handle == NULL) CHECK_LT(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    cublasLtMatrixLayout_t a = layout_of(p->in, p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k, p->ld_a,
                                         p->batch, CUBLASLT_ORDER_COL);
    cublasLtMatrixLayout_t b = layout_of(p->in, p->transpose_b ? p->n : p->k, p->transpose_b ? p->k : p->n, p->ld_b,
                                         p->batch, CUBLASLT_ORDER_COL);
    cublasLtMatrixLayout_t to = layout_of(p->out, p->m, p->n, p->ld_d, p->batch, p->order);
    CHECK_LT(cublasLtMatmulPreferenceCreate(&preference), CUBLAS_STATUS_SUCCESS);
    (void)cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &p->workspace_allowed, sizeof p->workspace_allowed);
    cublasStatus_t code = cublasLtMatmulAlgoGetHeuristic(handle, d, a, b, to, to, preference, 8, found, &n);
    const cublasLtMatmulAlgo_t *algorithm = p->algorithm < 0 ? NULL : &found[p->algorithm].algo;
    if (code == CUBLAS_STATUS_SUCCESS && p->workspace_given > 0) CHECK_CUDA(cudaMalloc(&workspace, p->workspace_given));
    if (code == CUBLAS_STATUS_SUCCESS && p->algorithm >= n) code = CUBLAS_STATUS_ALLOC_FAILED;
    if (p->other_algorithm) { /* found for one product, used for another */
        (void)cublasLtMatrixLayoutDestroy(to);
        to = layout_of(p->out, p->m, p->n, p->m + 1, p->batch, p->order);
    }
    if (code == CUBLAS_STATUS_SUCCESS)
        code = cublasLtMatmul(handle, d, wide ? (void *)&alpha : (void *)&p->alpha, p->a, a, p->b, b,
                              wide ? (void *)&beta : (void *)&p->beta, p->d, to, p->d, to, algorithm, workspace,
                              p->workspace_given, NULL);
    CHECK_CUDA(cudaDeviceSynchronize());
    if (workspace != NULL) CHECK_CUDA(cudaFree(workspace));
    (void)cublasLtMatmulPreferenceDestroy(preference);
    (void)cublasLtMatrixLayoutDestroy(a);
    (void)cublasLtMatrixLayoutDestroy(b);
    (void)cublasLtMatrixLayoutDestroy(to);
    (void)cublasLtMatmulDescDestroy(d);
    return code;
}

/* Between -1 and 1, in steps that bf16 holds. */
static float value(int i) { return (float)((i * 37 + 11) % 65 - 32) / 32; }

static float a_host[MOST], b_host[MOST], got[MOST];

static void fill(void) {
    for (int i = 0; i < MOST; i++) a_host[i] = value(i), b_host[i] = value(3 * i + 5);
}

/* Element (i, j) of op(A) op(B) of product `batch`, from the host's copies. */
static double expected(const problem *p, int batch, int i, int j) {
    int ld_a = p->ld_a          ? p->ld_a
               : p->transpose_a ? p->k
                                : p->m,
        ld_b = p->ld_b          ? p->ld_b
               : p->transpose_b ? p->n
                                : p->k;
    const float *a = a_host + batch * ld_a * (p->transpose_a ? p->m : p->k);
    const float *b = b_host + batch * ld_b * (p->transpose_b ? p->k : p->n);
    double sum = 0;
    for (int l = 0; l < p->k; l++)
        sum += (double)(p->transpose_a ? a[i * ld_a + l] : a[l * ld_a + i]) *
               (double)(p->transpose_b ? b[l * ld_b + j] : b[j * ld_b + l]);
    return sum;
}

static void check_product(problem p) {
    fill();
    p.a = device_floats(a_host, MOST), p.b = device_floats(b_host, MOST), p.d = device_floats(NULL, MOST);
    CHECK_LT(multiply(&p), CUBLAS_STATUS_SUCCESS);
    read_floats(p.d, got, MOST);
    int ld = p.ld_d ? p.ld_d : p.order == CUBLASLT_ORDER_ROW ? p.n : p.m;
    int stride = ld * (p.order == CUBLASLT_ORDER_ROW ? p.m : p.n);
    for (int s = 0; s < p.batch; s++)
        for (int i = 0; i < p.m; i++)
            for (int j = 0; j < p.n; j++) {
                int at = s * stride + (p.order == CUBLASLT_ORDER_ROW ? i * ld + j : j * ld + i);
                CHECK_NEAR(got[at], p.alpha * expected(&p, s, i, j), 1e-6);
            }
    if (ld > p.m && p.order == CUBLASLT_ORDER_COL) CHECK(isnan(got[p.m])); /* between the columns nothing is written */
    CHECK(isnan(got[p.batch * stride]));
    CHECK_CUDA(cudaFree(p.a));
    CHECK_CUDA(cudaFree(p.b));
    CHECK_CUDA(cudaFree(p.d));
}

void test_products(void) {
    problem p = plain();
    check_product(p);
    p.alpha = 0.5F;
    p.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    check_product(p);
    p.order = CUBLASLT_ORDER_ROW;
    check_product(p);

    double a[K * M], b[K * N], d[M * N]; /* f64, with beta */
    problem wide = plain();
    void *device[3];
    wide.compute = CUBLAS_COMPUTE_64F, wide.scale = wide.in = wide.out = CUDA_R_64F, wide.beta = 3;
    for (int i = 0; i < K * M; i++) a[i] = a_host[i];
    for (int i = 0; i < K * N; i++) b[i] = b_host[i];
    for (int i = 0; i < M * N; i++) d[i] = 1.0 / 3;
    const void *host[3] = {a, b, d};
    size_t bytes[3] = {sizeof a, sizeof b, sizeof d};
    for (int i = 0; i < 3; i++) {
        CHECK_CUDA(cudaMalloc(&device[i], bytes[i]));
        CHECK_CUDA(cudaMemcpy(device[i], host[i], bytes[i], cudaMemcpyHostToDevice));
    }
    wide.a = device[0], wide.b = device[1], wide.d = device[2];
    CHECK_LT(multiply(&wide), CUBLAS_STATUS_SUCCESS);
    CHECK_CUDA(cudaMemcpy(d, device[2], sizeof d, cudaMemcpyDeviceToHost));
    for (int i = 0; i < M * N; i++) CHECK_NEAR(d[i], expected(&wide, 0, i % M, i / M) + 1, 1e-14);
    for (int i = 0; i < 3; i++) CHECK_CUDA(cudaFree(device[i]));
}

void test_transposes_and_batches(void) {
    for (int i = 0; i < 16; i++) {
        problem p = plain();
        p.transpose_a = i & 1, p.transpose_b = i & 2;
        if (i & 4) p.batch = 3;
        if (i & 8) p.ld_a = 9, p.ld_b = 10, p.ld_d = 8;
        check_product(p);
    }
}

/* ---- epilogues ---- */

static double gelu(double x) { return x / 2 * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x))); }
static double gelu_slope(double x) { return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5; }

static bool mask_bit(const float *mask, int i, int j) {
    const unsigned char *bytes = (const unsigned char *)mask;
    int bit = j * AUX_LD + i;
    return bytes[bit / 8] >> bit % 8 & 1;
}

/* What D holds for the product x with bias b, what was in aux. */
static double finished(uint32_t epilogue, double x, double b, double aux, bool bit) {
    if (epilogue & CUBLASLT_EPILOGUE_BIAS) x += b;
    switch (epilogue & ~(uint32_t)CUBLASLT_EPILOGUE_BIAS) {
        case CUBLASLT_EPILOGUE_RELU:
        case CUBLASLT_EPILOGUE_RELU_AUX: return x > 0 ? x : 0;
        case CUBLASLT_EPILOGUE_GELU:
        case CUBLASLT_EPILOGUE_GELU_AUX: return gelu(x);
        case CUBLASLT_EPILOGUE_DRELU:
        case CUBLASLT_EPILOGUE_DRELU_BGRAD: return bit ? x : 0;
        case CUBLASLT_EPILOGUE_DGELU:
        case CUBLASLT_EPILOGUE_DGELU_BGRAD: return x * gelu_slope(aux);
        default: return x;
    }
}

static void check_epilogue(uint32_t epilogue) {
    static float bias[MOST], aux[MOST], aux_before[MOST];
    problem p = plain();
    double sums[M] = {0};
    bool stores = (epilogue & ~(uint32_t)CUBLASLT_EPILOGUE_BIAS) == CUBLASLT_EPILOGUE_RELU_AUX ||
                  (epilogue & ~(uint32_t)CUBLASLT_EPILOGUE_BIAS) == CUBLASLT_EPILOGUE_GELU_AUX;
    bool bits = stores && (epilogue & CUBLASLT_EPILOGUE_RELU), reads = (epilogue & 128) && !stores;
    fill();
    for (int i = 0; i < MOST; i++) aux_before[i] = value(5 * i);
    for (int i = 0; i < MOST; i++) bias[i] = value(7 * i + 1);
    p.epilogue = epilogue;
    p.a = device_floats(a_host, MOST), p.b = device_floats(b_host, MOST), p.d = device_floats(NULL, MOST);
    p.bias = device_floats(bias, MOST), p.aux = device_floats(reads ? aux_before : NULL, MOST);
    CHECK_LT(multiply(&p), CUBLAS_STATUS_SUCCESS);
    read_floats(p.d, got, MOST);
    read_floats(p.aux, aux, MOST);
    for (int j = 0; j < N; j++)
        for (int i = 0; i < M; i++) {
            double x = expected(&p, 0, i, j);
            double y = finished(epilogue, x, bias[i], aux_before[j * AUX_LD + i], mask_bit(aux_before, i, j));
            sums[i] += y;
            CHECK_NEAR(got[j * M + i], y, 2e-6);
            if (epilogue & CUBLASLT_EPILOGUE_BIAS) x += bias[i];
            if (bits) CHECK_EQ_I64(mask_bit(aux, i, j), x > 0);
            if (stores && !bits) CHECK_NEAR(aux[j * AUX_LD + i], x, 1e-6);
        }
    read_floats(p.bias, bias, MOST);
    if (epilogue & 16)
        for (int i = 0; i < M; i++) CHECK_NEAR(bias[i], sums[i], 1e-6);
    void *all[] = {p.a, p.b, p.d, p.bias, p.aux};
    for (int i = 0; i < 5; i++) CHECK_CUDA(cudaFree(all[i]));
}

static void check_sums(uint32_t epilogue, bool transpose) {
    float sums[M > N ? M : N];
    problem p = plain();
    int count = epilogue == CUBLASLT_EPILOGUE_BGRADA ? M : N;
    p.epilogue = epilogue;
    p.transpose_a = p.transpose_b = transpose;
    p.a = device_floats(a_host, MOST), p.b = device_floats(b_host, MOST), p.d = device_floats(NULL, MOST);
    p.bias = device_floats(NULL, count);
    CHECK_LT(multiply(&p), CUBLAS_STATUS_SUCCESS);
    read_floats(p.bias, sums, count);
    for (int i = 0; i < count; i++) {
        double sum = 0;
        for (int l = 0; l < K; l++)
            sum += epilogue == CUBLASLT_EPILOGUE_BGRADA ? a_host[transpose ? i * K + l : l * M + i]
                                                        : b_host[transpose ? l * N + i : i * K + l];
        CHECK_NEAR(sums[i], sum, 1e-6);
    }
    void *all[] = {p.a, p.b, p.d, p.bias};
    for (int i = 0; i < 4; i++) CHECK_CUDA(cudaFree(all[i]));
}

void test_epilogues(void) {
    const uint32_t all[] = {
        CUBLASLT_EPILOGUE_BIAS,       CUBLASLT_EPILOGUE_RELU,          CUBLASLT_EPILOGUE_RELU_BIAS,
        CUBLASLT_EPILOGUE_RELU_AUX,   CUBLASLT_EPILOGUE_RELU_AUX_BIAS, CUBLASLT_EPILOGUE_GELU,
        CUBLASLT_EPILOGUE_GELU_BIAS,  CUBLASLT_EPILOGUE_GELU_AUX,      CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
        CUBLASLT_EPILOGUE_DRELU,      CUBLASLT_EPILOGUE_DRELU_BGRAD,   CUBLASLT_EPILOGUE_DGELU,
        CUBLASLT_EPILOGUE_DGELU_BGRAD};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_epilogue(all[i]);
    for (int transpose = 0; transpose < 2; transpose++) {
        check_sums(CUBLASLT_EPILOGUE_BGRADA, transpose);
        check_sums(CUBLASLT_EPILOGUE_BGRADB, transpose);
    }
}

/* ---- types ---- */

/* bf16 keeps 8 bits: to nearest, ties to even. */
static uint16_t to_bf16(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void test_sixteen_bit(void) {
    static uint16_t narrow[2][MOST], result[MOST];
    fill();
    for (int i = 0; i < MOST; i++) narrow[0][i] = to_bf16(a_host[i]), narrow[1][i] = to_bf16(b_host[i]);
    void *a = device_floats(NULL, MOST), *b = device_floats(NULL, MOST), *d = device_floats(NULL, MOST);
    CHECK_CUDA(cudaMemcpy(a, narrow[0], sizeof narrow[0], cudaMemcpyHostToDevice));
    CHECK_CUDA(cudaMemcpy(b, narrow[1], sizeof narrow[1], cudaMemcpyHostToDevice));
    problem p = plain();
    p.in = p.out = CUDA_R_16BF, p.a = a, p.b = b, p.d = d;
    CHECK_LT(multiply(&p), CUBLAS_STATUS_SUCCESS);
    CHECK_CUDA(cudaMemcpy(result, d, sizeof result, cudaMemcpyDeviceToHost));
    for (int i = 0; i < M * N; i++) /* the values are multiples of 1/32: f32 sums are exact */
        CHECK_EQ_I64(result[i], to_bf16((float)expected(&p, 0, i % M, i / M)));
    p.out = CUDA_R_32F;
    CHECK_LT(multiply(&p), CUBLAS_STATUS_SUCCESS);
    CHECK_CUDA(cudaMemcpy(got, d, sizeof got, cudaMemcpyDeviceToHost));
    for (int i = 0; i < M * N; i++) CHECK_NEAR(got[i], expected(&p, 0, i % M, i / M), 0);
    CHECK_CUDA(cudaFree(a));
    CHECK_CUDA(cudaFree(b));
    CHECK_CUDA(cudaFree(d));
}

/* ---- what is refused ---- */

void test_refusals(void) {
    float *memory = device_floats(NULL, MOST), *vector = device_floats(NULL, MOST);
    problem good = plain();
    good.a = good.b = memory, good.d = vector, good.bias = vector, good.aux = vector;
    struct {
        problem p;
        cublasStatus_t code;
    } cases[12];
    for (int i = 0; i < 12; i++) cases[i].p = good, cases[i].code = CUBLAS_STATUS_INVALID_VALUE;
    cases[0].code = CUBLAS_STATUS_SUCCESS;
    cases[1].p.ld_d = M - 1;
    cases[2].p.a = memory + 1; /* not aligned */
    cases[3].p.out = CUDA_R_16BF, cases[3].code = CUBLAS_STATUS_NOT_SUPPORTED;
    cases[4].p.in = CUDA_R_16F, cases[4].p.out = CUDA_R_16BF, cases[4].code = CUBLAS_STATUS_NOT_SUPPORTED;
    cases[5].p.compute = CUBLAS_COMPUTE_64F, cases[5].code = CUBLAS_STATUS_NOT_SUPPORTED;
    cases[6].p.epilogue = CUBLASLT_EPILOGUE_RELU_AUX, cases[6].p.aux_ld = 64;
    cases[7].p.epilogue = CUBLASLT_EPILOGUE_GELU_AUX, cases[7].p.aux_ld = 12;
    cases[8].p.epilogue = CUBLASLT_EPILOGUE_BIAS, cases[8].p.bias = NULL;
    cases[9].p.epilogue = CUBLASLT_EPILOGUE_RELU, cases[9].p.order = CUBLASLT_ORDER_ROW;
    cases[9].code = CUBLAS_STATUS_NOT_SUPPORTED;
    cases[10].p.epilogue = 3; /* no such one */
    cases[11].p.a = NULL;
    for (int i = 0; i < 12; i++) check_that(multiply(&cases[i].p) == cases[i].code, __FILE__, __LINE__, "case %d", i);
    setenv("HOSTCUDA_LT_EPILOGUES", "0", 1);
    good.epilogue = CUBLASLT_EPILOGUE_BIAS;
    CHECK_LT(multiply(&good), CUBLAS_STATUS_NOT_SUPPORTED);
    unsetenv("HOSTCUDA_LT_EPILOGUES");
    CHECK_CUDA(cudaFree(memory));
    CHECK_CUDA(cudaFree(vector));
}

void test_algorithms(void) {
    problem p = plain();
    for (p.algorithm = 0; p.algorithm < 3; p.algorithm++) {
        p.workspace_given = 1 << 20;
        check_product(p);
    }
    p.a = p.b = device_floats(a_host, MOST), p.d = device_floats(NULL, MOST);
    p.algorithm = 2, p.workspace_given = (1 << 20) - 1; /* too little */
    CHECK_LT(multiply(&p), CUBLAS_STATUS_INVALID_VALUE);
    p.algorithm = 0, p.workspace_allowed = 0, p.workspace_given = 0; /* without, one is left */
    CHECK_LT(multiply(&p), CUBLAS_STATUS_SUCCESS);
    p.other_algorithm = true;
    CHECK_LT(multiply(&p), CUBLAS_STATUS_INVALID_VALUE);
    p.other_algorithm = false, p.a = (float *)p.a + 4; /* less aligned than was said */
    CHECK_LT(multiply(&p), CUBLAS_STATUS_INVALID_VALUE);
    CHECK_CUDA(cudaFree((float *)p.a - 4));
    CHECK_CUDA(cudaFree(p.d));
}
