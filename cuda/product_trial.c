/* product_trial.c: see product_trial.h. An algorithm is timed as it will run: in a recording, which a short product
 * fills several times, so that the time is the device's and not the host's. Invariant: what runs here is queued by the
 * same function as in training, on operands of the same alignment. */
#include "cuda/product_trial.h"

#include <float.h>
#include <string.h>

#include "base/log.h"

enum { NAN_CHECK_BYTES = 4096 };

typedef struct trial {
    dpt_device *device;
    dpt_stream *stream;
    cudaEvent_t begin, end;
    void *memory;
    size_t bytes;
    char *a, *b, *c, *vector, *workspace;
    size_t c_bytes;
} trial;

static void trial_close(trial *t) {
    if (t->stream) (void)t->device->ops->stream_sync(t->device, t->stream); /* what fails there was reported before */
    if (t->begin) (void)cudaEventDestroy(t->begin);
    if (t->end) (void)cudaEventDestroy(t->end);
    t->device->ops->stream_destroy(t->device, t->stream);
    t->device->ops->release(t->device, t->memory, t->bytes, DPT_FOR_COMPUTE);
}

/* Operands full of numbers of magnitude 1/2 to 1: how fast a product is depends on what it multiplies. */
static dpt_status trial_fill(trial *t, dpt_dtype in) {
    static const uint32_t keep[] = {[DPT_F32] = 0x807fffff, [DPT_BF16] = 0x807f807f, [DPT_F16] = 0x83ff83ff},
                          set[] = {[DPT_F32] = 0x3f000000, [DPT_BF16] = 0x3f003f00, [DPT_F16] = 0x38003800};
    enum { WORDS = 1 << 16 };
    size_t filled = WORDS * sizeof(uint32_t), all = (size_t)(t->workspace - (char *)t->memory);
    uint32_t *host = dpt_alloc(filled), random = 1;
    DPT_CHECK_ALLOC(host);
    for (int i = 0; i < WORDS; i++) {
        random = random * 1664525U + 1013904223U;
        uint32_t word = random >> 8 | random << 24;
        host[i] = in != DPT_F64 ? (word & keep[in]) | set[in] : i % 2 ? (word & 0x800fffffU) | 0x3fe00000U : word;
    }
    if (filled > all) filled = all;
    dpt_status status = t->device->ops->copy_in(t->device, t->memory, host, filled, NULL);
    dpt_free(host);
    for (; status == DPT_OK && filled < all; filled *= 2)
        status = t->device->ops->copy(t->device, (char *)t->memory + filled, t->memory,
                                      filled < all - filled ? filled : all - filled, t->stream);
    return status;
}

static dpt_status trial_open(trial *t, const dpt_call *call, const dpt_cuda_product *d, size_t workspace_bytes) {
    size_t in = dpt_dtype_size(d->in), out = dpt_dtype_size(d->out), batch = (size_t)d->batch;
    size_t m = (size_t)d->m, n = (size_t)d->n, k = (size_t)d->k;
    size_t a = dpt_align(batch * m * k * in), b = dpt_align(batch * k * n * in), c = dpt_align(batch * m * n * out);
    size_t vector = dpt_align((m > n ? m : n) * out);
    *t = (trial){.device = call->device, .bytes = a + b + c + vector + workspace_bytes, .c_bytes = batch * m * n * out};
    dpt_status status = t->device->ops->alloc(t->device, t->bytes, DPT_FOR_COMPUTE, &t->memory);
    if (status != DPT_OK) return status;
    t->a = t->memory;
    t->b = t->a + a;
    t->c = t->b + b;
    t->vector = t->c + c;
    t->workspace = t->vector + vector;
    DPT_TRY_GOTO(t->device->ops->stream_create(t->device, 0, &t->stream), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventCreate(&t->begin)), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventCreate(&t->end)), fail);
    DPT_TRY_GOTO(trial_fill(t, d->in), fail);
    return DPT_OK;
fail:
    trial_close(t);
    return status;
}

static cublasStatus_t trial_queue(const trial *t, const product_plan *p, const product_choice *chosen) {
    return dpt_cuda_product_queue(p, chosen, t->a, t->b, t->c, t->workspace, t->stream);
}

/* Microseconds of one product among `runs` in a recording; FLT_MAX where the algorithm refuses. */
static dpt_status measure(trial *t, const product_plan *p, const product_choice *chosen, int runs,
                          float *microseconds) {
    const dpt_device_ops *ops = t->device->ops;
    dpt_recording *recording = NULL;
    float milliseconds = 0;
    *microseconds = FLT_MAX;
    if (trial_queue(t, p, chosen) != CUBLAS_STATUS_SUCCESS) return DPT_OK;
    DPT_TRY(ops->record_begin(t->device, t->stream));
    cublasStatus_t code = CUBLAS_STATUS_SUCCESS;
    for (int i = 0; i < runs && code == CUBLAS_STATUS_SUCCESS; i++) code = trial_queue(t, p, chosen);
    DPT_TRY(ops->record_end(t->device, t->stream, &recording));
    dpt_status status = DPT_OK;
    if (code != CUBLAS_STATUS_SUCCESS) goto fail;
    DPT_TRY_GOTO(ops->replay(t->device, recording, t->stream), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventRecord(t->begin, t->stream->cuda)), fail);
    DPT_TRY_GOTO(ops->replay(t->device, recording, t->stream), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventRecord(t->end, t->stream->cuda)), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventSynchronize(t->end)), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventElapsedTime(&milliseconds, t->begin, t->end)), fail);
    *microseconds = 1000 * milliseconds / (float)runs;
fail:
    ops->recording_destroy(t->device, recording);
    return status;
}

static const char *with_text(unsigned with) {
    switch (with) {
        case DPT_PRODUCT_BIAS: return " + bias";
        case DPT_PRODUCT_RELU: return " with ReLU";
        case DPT_PRODUCT_BIAS | DPT_PRODUCT_RELU: return " + bias with ReLU";
        case DPT_PRODUCT_SUMS: return " with sums";
        default: return "";
    }
}

/* The fastest; the heuristics' first unless another is faster by more than times scatter; -1 where all refuse. */
static dpt_status fastest(trial *t, const product_plan *p, const dpt_cuda_product *d, const product_choice *list,
                          int count, int *best) {
    double flop = 2 * (double)d->batch * (double)d->m * (double)d->n * (double)d->k;
    float first = FLT_MAX, least = FLT_MAX, microseconds;
    *best = -1;
    for (int i = 0; i < count; i++) {
        DPT_TRY(measure(t, p, &list[i], flop < 1e10 ? 8 : 1, &microseconds));
        if (i == 0) first = microseconds;
        if (microseconds < least && (i == 0 || microseconds < 0.97F * first)) {
            least = microseconds;
            *best = i;
        }
    }
    dpt_log(DPT_LOG_DEBUG, "product %lld x %lld x %lld x %lld, %s to %s%s: algorithm %d of %d, %.1f us",
            (long long)d->batch, (long long)d->m, (long long)d->n, (long long)d->k, dpt_dtype_text(d->in),
            dpt_dtype_text(d->out), with_text(p->with), *best + 1, count, (double)least);
    return DPT_OK;
}

static bool all_nan(dpt_dtype dtype, const void *data, size_t bytes) {
    size_t size = dpt_dtype_size(dtype);
    for (size_t i = 0; i < bytes; i += size) {
        const char *at = (const char *)data + i;
        uint16_t bits;
        float f32;
        double f64;
        memcpy(&bits, at, sizeof bits);
        if (dtype == DPT_BF16 && (bits & 0x7fff) <= 0x7f80) return false;
        if (dtype == DPT_F16 && (bits & 0x7fff) <= 0x7c00) return false;
        if (dtype == DPT_F32 && (memcpy(&f32, at, sizeof f32), f32 == f32)) return false;
        if (dtype == DPT_F64 && (memcpy(&f64, at, sizeof f64), f64 == f64)) return false;
    }
    return true;
}

/* Whether a product of NaN is NaN, at the beginning and at the end of c. */
static dpt_status test_nan(trial *t, const product_plan *p, const dpt_cuda_product *d, const product_choice *chosen,
                           bool *keeps) {
    char host[NAN_CHECK_BYTES];
    size_t bytes = t->c_bytes < sizeof host ? t->c_bytes : sizeof host;
    size_t start[2] = {0, t->c_bytes - bytes};
    *keeps = false;
    DPT_TRY(DPT_CUDA(cudaMemsetAsync(t->memory, 0xff, (size_t)(t->workspace - t->a), t->stream->cuda)));
    DPT_TRY(t->device->ops->zero(t->device, t->c, t->c_bytes, t->stream));
    if (trial_queue(t, p, chosen) != CUBLAS_STATUS_SUCCESS) return DPT_OK;
    for (int i = 0; i < 2; i++) {
        DPT_TRY(t->device->ops->copy_out(t->device, host, t->c + start[i], bytes, NULL));
        if (!all_nan(d->out, host, bytes)) return DPT_OK;
    }
    *keeps = true;
    return DPT_OK;
}

dpt_status dpt_cuda_product_try(const dpt_call *call, const dpt_cuda_product *product, const product_plan *plan,
                                const product_choice *list, int count, bool timed, int *best, bool *keeps_nan) {
    size_t workspace_bytes = 0;
    trial t;
    dpt_status status;
    *best = 0;
    *keeps_nan = false;
    for (int i = 0; i < count; i++)
        if (list[i].workspace_bytes > workspace_bytes) workspace_bytes = list[i].workspace_bytes;
    DPT_TRY(trial_open(&t, call, product, workspace_bytes));
    if (plan->with & (DPT_PRODUCT_BIAS | DPT_PRODUCT_SUMS))
        DPT_TRY_GOTO(dpt_cuda_product_set_vector(plan, t.vector), fail);
    if (timed) DPT_TRY_GOTO(fastest(&t, plan, product, list, count, best), fail);
    if (plan->with & DPT_PRODUCT_RELU && *best >= 0)
        DPT_TRY_GOTO(test_nan(&t, plan, product, &list[*best], keeps_nan), fail);
    status = DPT_OK;
fail:
    trial_close(&t);
    return status;
}
