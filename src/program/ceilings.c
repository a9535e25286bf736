/* ceilings.c: see ceilings.h. The fastest of a few repetitions counts: a ceiling is what can be reached. */
#include "program/ceilings.h"

#include "base/clock.h"
#include "ops/op_list.h"

enum { REPETITIONS = 5, BATCH = 4 };

typedef struct bench {
    const dpt_backend *backend;
    dpt_device *device;
    dpt_stream *stream;
} bench;

/* Seconds of one call, of the best batch of calls. */
typedef dpt_status (*queue_fn)(const bench *b, void *context);
static dpt_status best_time(const bench *b, queue_fn queue, void *context, double *seconds) {
    const dpt_device_ops *ops = b->device->ops;
    *seconds = 0;
    DPT_TRY(queue(b, context));
    for (int i = 0; i < REPETITIONS; i++) {
        DPT_TRY(ops->stream_sync(b->device, b->stream));
        double begin = dpt_clock_s();
        for (int k = 0; k < BATCH; k++) DPT_TRY(queue(b, context));
        DPT_TRY(ops->stream_sync(b->device, b->stream));
        double one = (dpt_clock_s() - begin) / BATCH;
        if (i == 0 || one < *seconds) *seconds = one;
    }
    return DPT_OK;
}

/* A GPU: fills its units with large problems only. */
static bool is_large(const bench *b) {
    size_t available = 0, total = 0;
    if (b->device->host_memory) return false;
    return b->device->ops->memory_info(b->device, &available, &total) == DPT_OK && available > (size_t)4 << 30;
}

typedef struct copy_job {
    char *to, *from;
    size_t bytes;
} copy_job;

static dpt_status queue_copy(const bench *b, void *context) {
    const copy_job *c = context;
    return b->device->ops->copy(b->device, c->to, c->from, c->bytes, b->stream);
}

static dpt_status measure_copy(const bench *b, double *bytes_per_s) {
    const dpt_device_ops *ops = b->device->ops;
    size_t bytes = (size_t)(is_large(b) ? 512 : b->device->host_memory ? 64 : 16) << 20;
    void *memory;
    double seconds;
    DPT_TRY(ops->alloc(b->device, 2 * bytes, DPT_FOR_COMPUTE, &memory));
    copy_job job = {.to = memory, .from = (char *)memory + bytes, .bytes = bytes};
    dpt_status status = best_time(b, queue_copy, &job, &seconds);
    ops->release(b->device, memory, 2 * bytes, DPT_FOR_COMPUTE);
    if (status == DPT_OK) *bytes_per_s = 2 * (double)bytes / seconds;
    return status;
}

static dpt_status queue_product(const bench *b, void *context) {
    return b->backend->kernels[DPT_OP_MATMUL]->run(context, b->stream);
}

static void square(dpt_operand *o, dpt_dtype dtype, int64_t n) {
    *o = (dpt_operand){.dtype = dtype, .ndim = 2, .dim = {n, n}, .axis = -1, .count = n * n, .row_count = n * n};
}

static dpt_status measure_product(const bench *b, dpt_dtype dtype, bool tf32, double *flop_per_s) {
    const dpt_device_ops *ops = b->device->ops;
    const dpt_kernel *kernel = b->backend->kernels[DPT_OP_MATMUL];
    int64_t n = is_large(b) ? 8192 : 512;
    size_t bytes = (size_t)(n * n) * dpt_dtype_size(dtype), taken = 0;
    void *memory = NULL;
    double seconds;
    dpt_status status;
    dpt_call call = {.op = DPT_OP_MATMUL, .name = "ceiling", .n_in = 2, .n_out = 1, .device = b->device, .tf32 = tf32};
    square(&call.in[0], dtype, n);
    square(&call.in[1], dtype, n);
    square(&call.out[0], dtype, n);
    DPT_TRY_GOTO(kernel->prepare ? kernel->prepare(&call) : DPT_OK, fail);
    taken = 3 * bytes + dpt_align(sizeof(dpt_block)) + call.workspace_bytes + call.table_bytes;
    DPT_TRY_GOTO(ops->alloc(b->device, taken, DPT_FOR_COMPUTE, &memory), fail);
    call.in[0].data = memory;
    call.in[1].data = (char *)memory + bytes;
    call.out[0].data = (char *)memory + 2 * bytes;
    call.block = (const dpt_block *)(const void *)((char *)memory + 3 * bytes);
    call.workspace = (char *)memory + 3 * bytes + dpt_align(sizeof(dpt_block));
    call.table = (char *)call.workspace + call.workspace_bytes;
    DPT_TRY_GOTO(kernel->bind ? kernel->bind(&call) : DPT_OK, fail);
    DPT_TRY_GOTO(best_time(b, queue_product, &call, &seconds), fail);
    *flop_per_s = 2 * (double)n * (double)n * (double)n / seconds;
fail:
    if (kernel->release) kernel->release(&call);
    if (memory) ops->release(b->device, memory, taken, DPT_FOR_COMPUTE);
    return status;
}

dpt_status dpt_ceilings_measure(const dpt_backend *backend, dpt_device *device, dpt_dtype dtype, bool tf32,
                                dpt_ceilings *c) {
    bench b = {.backend = backend, .device = device};
    *c = (dpt_ceilings){0};
    DPT_TRY(device->ops->stream_create(device, 0, &b.stream));
    dpt_status status = measure_copy(&b, &c->bytes_per_s);
    if (status == DPT_OK) status = measure_product(&b, dtype, tf32, &c->flop_per_s);
    device->ops->stream_destroy(device, b.stream);
    return status;
}

dpt_status dpt_ceilings_of_precision(dpt_context *ctx, dpt_precision precision, dpt_ceilings *ceilings) {
    static const dpt_dtype type[DPT_PRECISION_COUNT] = {[DPT_PRECISION_FP32] = DPT_F32,
                                                        [DPT_PRECISION_TF32] = DPT_F32,
                                                        [DPT_PRECISION_BF16] = DPT_BF16,
                                                        [DPT_PRECISION_FP16] = DPT_F16};
    return dpt_ceilings_measure(ctx->backend, &ctx->device, type[precision], precision == DPT_PRECISION_TF32, ceilings);
}
