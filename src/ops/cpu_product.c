/* cpu_product.c: see cpu_product.h. */
#include "ops/cpu_product.h"

#include "backend/parallel.h"
#include "base/memory.h"

/* ---- f32 ---- */

/* A [rows, columns] matrix, or `batch` of them, stored as it is or transposed. */
static dpt_status matrix_layout(dnnl_memory_desc_t *md, int64_t batch, int64_t rows, int64_t columns, bool transposed) {
    int64_t row_step = transposed ? 1 : columns, column_step = transposed ? rows : 1;
    if (batch == 1) {
        dnnl_dims_t dims = {rows, columns}, strides = {row_step, column_step};
        return DPT_DNNL(dnnl_memory_desc_init_by_strides(md, 2, dims, dnnl_f32, strides));
    }
    dnnl_dims_t dims = {batch, rows, columns}, strides = {rows * columns, row_step, column_step};
    return DPT_DNNL(dnnl_memory_desc_init_by_strides(md, 3, dims, dnnl_f32, strides));
}

static dpt_status open_product(dpt_dnnl *p, int threads, const dpt_product *d) {
    dnnl_memory_desc_t a, b, c, bias;
    dnnl_matmul_desc_t operation;
    DPT_TRY(matrix_layout(&a, d->batch, d->m, d->k, d->transpose_a));
    DPT_TRY(matrix_layout(&b, d->batch, d->k, d->n, d->transpose_b));
    DPT_TRY(matrix_layout(&c, d->batch, d->m, d->n, false));
    DPT_TRY(matrix_layout(&bias, 1, 1, d->n, false));
    DPT_TRY(DPT_DNNL(dnnl_matmul_desc_init(&operation, &a, &b, d->bias ? &bias : NULL, &c)));
    DPT_TRY(dpt_dnnl_open(p, threads, &operation, NULL, 0));
    DPT_TRY(dpt_dnnl_operand(p, DNNL_ARG_SRC, &a));
    DPT_TRY(dpt_dnnl_operand(p, DNNL_ARG_WEIGHTS, &b));
    DPT_TRY(dpt_dnnl_operand(p, DNNL_ARG_DST, &c));
    return d->bias ? dpt_dnnl_operand(p, DNNL_ARG_BIAS, &bias) : DPT_OK;
}

dpt_status dpt_product_prepare(dpt_call *call, const dpt_product *d) {
    if (call->in[0].dtype != DPT_F32) return DPT_OK;
    call->plan = dpt_alloc_zero(1, sizeof(dpt_dnnl));
    DPT_CHECK_ALLOC(call->plan);
    dpt_status status = open_product(call->plan, call->device->threads, d);
    if (status != DPT_OK)
        dpt_product_release(call);
    else
        call->workspace_bytes = dpt_dnnl_scratch_bytes(call->plan);
    return status;
}

dpt_status dpt_product_bind(dpt_call *call, const void *bias, void *c) {
    dpt_dnnl *p = call->plan;
    if (p == NULL) return DPT_OK;
    DPT_TRY(dpt_dnnl_bind(p, DNNL_ARG_SRC, call->in[0].data));
    DPT_TRY(dpt_dnnl_bind(p, DNNL_ARG_WEIGHTS, call->in[1].data));
    DPT_TRY(dpt_dnnl_bind(p, DNNL_ARG_BIAS, (void *)(uintptr_t)bias));
    DPT_TRY(dpt_dnnl_bind(p, DNNL_ARG_DST, c));
    return dpt_dnnl_bind(p, DNNL_ARG_SCRATCHPAD, call->workspace);
}

void dpt_product_release(dpt_call *call) {
    if (call->plan == NULL) return;
    dpt_dnnl_close(call->plan);
    dpt_free(call->plan);
    call->plan = NULL;
}

/* ---- f64: c is made row by row ---- */

typedef struct f64_context {
    const dpt_product *d;
    const double *a, *b;
    double *c;
} f64_context;

/* b [k,n]: c's row is a sum of rows of b. */
DPT_MULTIVERSION static void f64_row(const dpt_product *d, const double *restrict a, int64_t a_step,
                                     const double *restrict b, double *restrict c) {
    for (int64_t j = 0; j < d->n; j++) c[j] = 0;
    for (int64_t k = 0; k < d->k; k++) {
        const double factor = a[k * a_step];
        const double *row = b + k * d->n;
#pragma omp simd
        for (int64_t j = 0; j < d->n; j++) c[j] += factor * row[j];
    }
}

/* b stored [n,k]: each element of c is a product of two vectors. */
DPT_MULTIVERSION static void f64_row_transposed(const dpt_product *d, const double *restrict a, int64_t a_step,
                                                const double *restrict b, double *restrict c) {
    for (int64_t j = 0; j < d->n; j++) {
        const double *row = b + j * d->k;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < d->k; k++) sum += a[k * a_step] * row[k];
        c[j] = sum;
    }
}

static void f64_rows(void *context, int64_t begin, int64_t end) {
    const f64_context *x = context;
    const dpt_product *d = x->d;
    for (int64_t r = begin; r < end; r++) {
        int64_t product = r / d->m, i = r % d->m;
        const double *a = x->a + product * d->m * d->k + (d->transpose_a ? i : i * d->k);
        const double *b = x->b + product * d->k * d->n;
        (d->transpose_b ? f64_row_transposed : f64_row)(d, a, d->transpose_a ? d->m : 1, b, x->c + r * d->n);
    }
}

void dpt_product_f64(int threads, const dpt_product *d, const double *a, const double *b, double *c) {
    enum { WORK = 65536 }; /* multiplications from which another thread is worth its start */
    f64_context x = {d, a, b, c};
    dpt_parallel(threads, d->batch * d->m, WORK / (d->n * d->k + 1) + 1, f64_rows, &x);
}
