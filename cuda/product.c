/* product.c: see product.h. A plan is cuBLASLt's description of one product and the algorithm that was chosen for it.
 *
 * cuBLASLt counts columns first: what is c = op(a) op(b) here is c^T = op(b)^T op(a)^T there. Its A is our b, its B is
 * our a, the rows of its D are our columns; so its bias, one value a row, is our bias.
 *
 * Of the algorithms that its heuristics propose each is timed once, in a recording, as it will run; under
 * `deterministic` the first is taken. What was found for a shape is kept until the process ends: equal shapes are timed
 * once, and a program and its sessions get the same answer. Invariants: only algorithms whose bits repeat from run to
 * run, and which add partial sums in the compute type (no reduction in place, none in 16 bit); ReLU in the epilogue
 * only where it was seen here to keep NaN. cuBLASLt does not promise that and has been reported to return 0, which
 * would hide a run that has diverged. */
#include "cuda/product.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "cuda/product_trial.h"

enum { CANDIDATES = 8, MOST_DEVICES = 64 };

/* ---- errors ---- */

static dpt_status product_status(cublasStatus_t code, const char *call) {
    if (code == CUBLAS_STATUS_SUCCESS) return DPT_OK;
    int length = (int)strcspn(call, "(");
    return dpt_error(code == CUBLAS_STATUS_ALLOC_FAILED ? DPT_ERR_MEMORY : DPT_ERR_DEVICE, "%.*s: %s", length, call,
                     cublasLtGetStatusString(code));
}
#define LT(call) product_status((call), #call)

/* ---- what was chosen, for the rest of the process ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of both */
static product_choice *choices;
static cublasLtHandle_t handles[MOST_DEVICES];

static dpt_status handle_of(int device, cublasLtHandle_t *handle) {
    DPT_CHECK(device >= 0 && device < MOST_DEVICES, DPT_ERR_DEVICE, "device number %d: at most %d are supported",
              device, MOST_DEVICES);
    if (handles[device] == NULL) DPT_TRY(LT(cublasLtCreate(&handles[device])));
    *handle = handles[device];
    return DPT_OK;
}

/* ---- the plan ---- */

static cudaDataType type_of(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F64: return CUDA_R_64F;
        case DPT_BF16: return CUDA_R_16BF;
        case DPT_F16: return CUDA_R_16F;
        default: return CUDA_R_32F;
    }
}

static cublasComputeType_t compute_type(const dpt_call *call, dpt_dtype in) {
    if (in == DPT_F64) return CUBLAS_COMPUTE_64F;
    return in == DPT_F32 && call->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

static cublasLtEpilogue_t epilogue_of(unsigned with) {
    switch (with) {
        case DPT_PRODUCT_BIAS: return CUBLASLT_EPILOGUE_BIAS;
        case DPT_PRODUCT_RELU: return CUBLASLT_EPILOGUE_RELU;
        case DPT_PRODUCT_BIAS | DPT_PRODUCT_RELU: return CUBLASLT_EPILOGUE_RELU_BIAS;
        case DPT_PRODUCT_SUMS: return CUBLASLT_EPILOGUE_BGRADB;
        default: return CUBLASLT_EPILOGUE_DEFAULT;
    }
}

dpt_status dpt_cuda_product_set_vector(const product_plan *p, const void *vector) {
    return LT(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector, sizeof vector));
}

/* `rows` rows of ours of `columns` elements, `batch` times one after the other. */
static dpt_status layout_open(dpt_dtype dtype, int64_t batch, int64_t rows, int64_t columns,
                              cublasLtMatrixLayout_t *layout) {
    int32_t count = (int32_t)batch;
    int64_t stride = rows * columns;
    DPT_TRY(LT(cublasLtMatrixLayoutCreate(layout, type_of(dtype), (uint64_t)columns, (uint64_t)rows, columns)));
    if (batch == 1) return DPT_OK;
    DPT_TRY(LT(cublasLtMatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count)));
    return LT(
        cublasLtMatrixLayoutSetAttribute(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
}

static void plan_close(product_plan *p) {
    if (p->operation) (void)cublasLtMatmulDescDestroy(p->operation);
    if (p->a) (void)cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) (void)cublasLtMatrixLayoutDestroy(p->b);
    if (p->c) (void)cublasLtMatrixLayoutDestroy(p->c);
    *p = (product_plan){0};
}

static dpt_status plan_describe(product_plan *p, const dpt_call *call, const dpt_cuda_product *d, unsigned with) {
    cublasOperation_t of_a = d->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t of_b = d->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint32_t epilogue = epilogue_of(with);
    p->with = with;
    p->f64 = d->in == DPT_F64;
    DPT_TRY(LT(cublasLtMatmulDescCreate(&p->operation, compute_type(call, d->in), p->f64 ? CUDA_R_64F : CUDA_R_32F)));
    DPT_TRY(LT(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &of_b, sizeof of_b)));
    DPT_TRY(LT(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSB, &of_a, sizeof of_a)));
    DPT_TRY(
        LT(cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue)));
    if (with & (DPT_PRODUCT_BIAS | DPT_PRODUCT_SUMS)) /* the heuristics want an address, for its alignment */
        DPT_TRY(dpt_cuda_product_set_vector(p, (const void *)(uintptr_t)DPT_ALIGNMENT));
    DPT_TRY(layout_open(d->in, d->batch, d->transpose_a ? d->k : d->m, d->transpose_a ? d->m : d->k, &p->a));
    DPT_TRY(layout_open(d->in, d->batch, d->transpose_b ? d->n : d->k, d->transpose_b ? d->k : d->n, &p->b));
    return layout_open(d->out, d->batch, d->m, d->n, &p->c);
}

/* c is not read: beta is 0. */
cublasStatus_t dpt_cuda_product_queue(const product_plan *p, const product_choice *chosen, const void *a, const void *b,
                                      void *c, void *workspace, dpt_stream *stream) {
    static const double one = 1, zero = 0;
    static const float one_f32 = 1, zero_f32 = 0;
    const void *alpha = p->f64 ? (const void *)&one : &one_f32, *beta = p->f64 ? (const void *)&zero : &zero_f32;
    return cublasLtMatmul(p->handle, p->operation, alpha, b, p->b, a, p->a, beta, c, p->c, c, p->c, &chosen->algorithm,
                          workspace, chosen->workspace_bytes, stream->cuda);
}

/* ---- candidates ---- */

static size_t workspace_limit(const dpt_call *call) {
    return (size_t)(dpt_cuda_device_of(call)->capability >= 90 ? 32 : 8) << 20;
}

/* The heuristics' proposals, best first; none is no error. */
static dpt_status propose(const dpt_call *call, const product_plan *p, product_choice *list, int *count) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    cublasLtMatmulPreference_t preference = NULL;
    uint64_t workspace = workspace_limit(call);
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    int returned = 0;
    dpt_status status;
    *count = 0;
    DPT_TRY(LT(cublasLtMatmulPreferenceCreate(&preference)));
    DPT_TRY_GOTO(LT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                         &workspace, sizeof workspace)),
                 fail);
    DPT_TRY_GOTO(LT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                         &reductions, sizeof reductions)),
                 fail);
    cublasStatus_t code = cublasLtMatmulAlgoGetHeuristic(p->handle, p->operation, p->b, p->a, p->c, p->c, preference,
                                                         CANDIDATES, found, &returned);
    if (code == CUBLAS_STATUS_NOT_SUPPORTED || code == CUBLAS_STATUS_INVALID_VALUE)
        returned = 0;
    else
        status = LT(code);
    for (int i = 0; status == DPT_OK && i < returned; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS)
            list[(*count)++] = (product_choice){
                .supported = true, .algorithm = found[i].algo, .workspace_bytes = found[i].workspaceSize};
fail:
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

/* ---- choosing ---- */

/* What the choice depends on. */
static void make_key(const dpt_call *call, const dpt_cuda_product *d, unsigned with, int64_t key[DPT_PRODUCT_KEY]) {
    int64_t of[DPT_PRODUCT_KEY] = {dpt_cuda_device_of(call)->index,
                                   d->batch,
                                   d->m,
                                   d->n,
                                   d->k,
                                   d->transpose_a,
                                   d->transpose_b,
                                   d->in,
                                   d->out,
                                   with,
                                   call->tf32 && d->in == DPT_F32,
                                   call->device->deterministic};
    memcpy(key, of, sizeof of);
}

/* Sets chosen->supported, and the rest where it is. Without memory for a trial the heuristics' first is taken, and no
 * ReLU. */
static dpt_status choose(const dpt_call *call, const product_plan *p, const dpt_cuda_product *d,
                         product_choice *chosen) {
    product_choice list[CANDIDATES];
    bool relu = p->with & DPT_PRODUCT_RELU, keeps_nan = false;
    int count, best = 0;
    chosen->supported = false;
    DPT_TRY(propose(call, p, list, &count));
    if (count == 0) return DPT_OK;
    bool timed = count > 1 && !call->device->deterministic;
    if (timed || relu) {
        dpt_status status = dpt_cuda_product_try(call, d, p, list, count, timed, &best, &keeps_nan);
        if (status == DPT_ERR_MEMORY)
            best = 0;
        else if (status != DPT_OK)
            return status;
    }
    if (best < 0 || (relu && !keeps_nan)) return DPT_OK;
    *chosen = list[best];
    return DPT_OK;
}

/* The choice for a described plan, from what is known or anew; under the lock. */
static dpt_status look_up(const dpt_call *call, const dpt_cuda_product *d, product_plan *p) {
    int64_t key[DPT_PRODUCT_KEY];
    make_key(call, d, p->with, key);
    for (const product_choice *c = choices; c != NULL; c = c->next)
        if (memcmp(c->key, key, sizeof key) == 0) {
            p->chosen = *c;
            return DPT_OK;
        }
    product_choice *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    dpt_status status = choose(call, p, d, made);
    if (status != DPT_OK) {
        dpt_free(made);
        return status;
    }
    memcpy(made->key, key, sizeof key);
    made->next = choices;
    choices = made;
    p->chosen = *made;
    return DPT_OK;
}

/* ---- what kernels call ---- */

static dpt_status check(const dpt_cuda_product *d) {
    bool narrow = d->in == DPT_BF16 || d->in == DPT_F16;
    int64_t size[] = {d->batch, d->m, d->n, d->k};
    DPT_CHECK((narrow && (d->out == d->in || d->out == DPT_F32)) ||
                  ((d->in == DPT_F32 || d->in == DPT_F64) && d->out == d->in),
              DPT_ERR_SHAPE, "a product of %s cannot be %s", dpt_dtype_text(d->in), dpt_dtype_text(d->out));
    for (int i = 0; i < 4; i++)
        DPT_CHECK(size[i] > 0 && size[i] <= INT32_MAX, DPT_ERR_SHAPE,
                  "%lld products of [%lld,%lld] and [%lld,%lld]: sizes must be 1 to %d", (long long)d->batch,
                  (long long)d->m, (long long)d->k, (long long)d->k, (long long)d->n, INT32_MAX);
    return DPT_OK;
}

static dpt_status plan_make(const dpt_call *call, const dpt_cuda_product *d, product_plan *p) {
    unsigned with = d->with;
    for (;;) {
        DPT_TRY(handle_of(dpt_cuda_device_of(call)->index, &p->handle));
        DPT_TRY(plan_describe(p, call, d, with));
        DPT_TRY(look_up(call, d, p));
        if (p->chosen.supported) return DPT_OK;
        plan_close(p);
        DPT_CHECK(with != 0, DPT_ERR_UNSUPPORTED,
                  "cuBLASLt has no algorithm for %lld products of [%lld,%lld] and [%lld,%lld], %s to %s",
                  (long long)d->batch, (long long)d->m, (long long)d->k, (long long)d->k, (long long)d->n,
                  dpt_dtype_text(d->in), dpt_dtype_text(d->out));
        with = with & DPT_PRODUCT_RELU ? with & ~(unsigned)DPT_PRODUCT_RELU : 0;
    }
}

dpt_status dpt_cuda_product_prepare(dpt_call *call, const dpt_cuda_product *product) {
    DPT_TRY(check(product));
    DPT_TRY(DPT_CUDA(cudaSetDevice(dpt_cuda_device_of(call)->index)));
    product_plan *p = dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    pthread_mutex_lock(&lock);
    dpt_status status = plan_make(call, product, p);
    pthread_mutex_unlock(&lock);
    if (status != DPT_OK) {
        plan_close(p);
        dpt_free(p);
        return status;
    }
    call->plan = p;
    call->workspace_bytes = p->chosen.workspace_bytes;
    return DPT_OK;
}

unsigned dpt_cuda_product_does(const dpt_call *call) { return ((const product_plan *)call->plan)->with; }

dpt_status dpt_cuda_product_bind(dpt_call *call, const void *a, const void *b, void *c, void *vector) {
    product_plan *p = call->plan;
    p->a_data = a;
    p->b_data = b;
    p->c_data = c;
    return p->with & (DPT_PRODUCT_BIAS | DPT_PRODUCT_SUMS) ? dpt_cuda_product_set_vector(p, vector) : DPT_OK;
}

dpt_status dpt_cuda_product_run(const dpt_call *call, dpt_stream *stream) {
    const product_plan *p = call->plan;
    return product_status(
        dpt_cuda_product_queue(p, &p->chosen, p->a_data, p->b_data, p->c_data, call->workspace, stream),
        "cublasLtMatmul");
}

void dpt_cuda_product_release(dpt_call *call) {
    if (call->plan == NULL) return;
    plan_close(call->plan);
    dpt_free(call->plan);
    call->plan = NULL;
}
