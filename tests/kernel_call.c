/* kernel_call.c: see kernel_call.h. */
#include "kernel_call.h"

#include <stdlib.h>

#include "backend/backend.h"

/* Host memory of a test and its copy on the device. */
typedef struct twin {
    void *host, *device;
    size_t bytes;
} twin;

enum { MOST_TWINS = DPT_MAX_IN + DPT_MAX_OUT + 8 };
typedef struct twins {
    dpt_device *device;
    twin of[MOST_TWINS];
    int count;
} twins;

static void run_on_cpu(dpt_call *call, int threads, int times) {
    const dpt_kernel *kernel = dpt_cpu_kernels[call->op];
    dpt_device device = {.threads = threads, .host_memory = true};
    call->device = &device;
    if (kernel->prepare) CHECK_OK(kernel->prepare(call));
    call->workspace = dpt_alloc_aligned(call->workspace_bytes + DPT_ALIGNMENT, DPT_ALIGNMENT);
    memset(call->workspace, 0xff, call->workspace_bytes);
    call->table = dpt_alloc_aligned(call->table_bytes + DPT_ALIGNMENT, DPT_ALIGNMENT);
    if (kernel->bind) CHECK_OK(kernel->bind(call));
    for (int i = 0; i < times; i++) CHECK_OK(kernel->run(call, NULL));
    if (kernel->release) kernel->release(call);
    dpt_free(call->workspace);
    dpt_free(call->table);
    call->workspace = call->table = NULL;
}

/* ---- on another device ---- */

static dpt_context *context;
static void close_context(void) { dpt_context_destroy(&context); }

static dpt_context *open_context(void) {
    if (context == NULL && CHECK_OK(check_context(MPI_COMM_SELF, 1, &context))) check_at_end(close_context);
    return context;
}

/* Memory on the device, filled with 0xff, then with the host's bytes where there are any. */
static void *twin_make(twins *t, void *host, size_t bytes) {
    for (int i = 0; i < t->count; i++)
        if (host && t->of[i].host == host && t->of[i].bytes >= bytes) return t->of[i].device;
    const dpt_device_ops *ops = t->device->ops;
    twin *made = &t->of[t->count++];
    *made = (twin){.host = host, .bytes = bytes};
    void *fill = malloc(bytes + 1);
    memset(fill, 0xff, bytes);
    CHECK_OK(ops->alloc(t->device, bytes, DPT_FOR_COMPUTE, &made->device));
    CHECK_OK(ops->copy_in(t->device, made->device, host ? host : fill, bytes, NULL));
    free(fill);
    return made->device;
}

static void twins_close(twins *t) {
    for (int i = 0; i < t->count; i++) {
        twin *one = &t->of[i];
        if (one->host) CHECK_OK(t->device->ops->copy_out(t->device, one->host, one->device, one->bytes, NULL));
        t->device->ops->release(t->device, one->device, one->bytes, DPT_FOR_COMPUTE);
    }
}

static size_t bytes_of(const dpt_operand *o) { return (size_t)o->count * dpt_dtype_size(o->dtype); }

static void operands_move(twins *t, dpt_call *call) {
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i].data) call->in[i].data = twin_make(t, call->in[i].data, bytes_of(&call->in[i]));
    for (int i = 0; i < call->n_out; i++)
        if (call->out[i].data) call->out[i].data = twin_make(t, call->out[i].data, bytes_of(&call->out[i]));
    if (call->block) call->block = twin_make(t, (void *)(uintptr_t)call->block, sizeof *call->block);
}

/* Arenas are as long as the segments say. */
static void arenas_move(twins *t, dpt_call *call) {
    size_t param = 0, grad = 0, moment = 0;
    bool updates = call->op == DPT_OP_SGD || call->op == DPT_OP_ADAMW || call->op == DPT_OP_SQUARE_NORM;
    for (int i = 0; updates && i < call->attr.update.segments; i++) {
        const dpt_segment *s = &call->attr.update.segment[i];
        size_t bytes = (size_t)s->count * dpt_dtype_size(s->dtype);
        if ((size_t)s->param_offset + bytes > param) param = (size_t)s->param_offset + bytes;
        if ((size_t)s->grad_offset + bytes > grad) grad = (size_t)s->grad_offset + bytes;
        if ((size_t)s->moment_offset + bytes > moment) moment = (size_t)s->moment_offset + bytes;
    }
    dpt_arenas *a = &call->arenas;
    if (a->param) a->param = twin_make(t, a->param, param);
    if (a->grad) a->grad = twin_make(t, a->grad, grad);
    if (a->moment1) a->moment1 = twin_make(t, a->moment1, moment);
    if (a->moment2) a->moment2 = twin_make(t, a->moment2, moment);
    if (a->state) a->state = twin_make(t, a->state, (size_t)a->state_bytes);
    if (a->saved_state) a->saved_state = twin_make(t, a->saved_state, (size_t)a->state_bytes);
}

/* What a call only writes: filled with 0xff, so that a run that does not write it shows. */
static void outputs_spoil(dpt_device *device, const dpt_call *call) {
    for (int i = 0; i < call->n_out; i++) {
        bool read = false;
        for (int k = 0; k < call->n_in; k++) read = read || call->in[k].data == call->out[i].data;
        if (read || bytes_of(&call->out[i]) == 0) continue;
        void *fill = malloc(bytes_of(&call->out[i]));
        memset(fill, 0xff, bytes_of(&call->out[i]));
        CHECK_OK(device->ops->copy_in(device, call->out[i].data, fill, bytes_of(&call->out[i]), NULL));
        free(fill);
    }
}

static void run_on_device(dpt_call *call, int times) {
    if (open_context() == NULL) return;
    const dpt_kernel *kernel = context->backend->kernels[call->op];
    twins t = {.device = &context->device};
    dpt_stream *stream = NULL;
    dpt_call moved = *call;
    moved.device = t.device;
    if (!check_that(kernel != NULL, __FILE__, __LINE__, "%s has no kernel for operation %d", context->backend->name,
                    call->op))
        return;
    bool ok = kernel->prepare == NULL || CHECK_OK(kernel->prepare(&moved));
    if (!ok) return;
    operands_move(&t, &moved);
    arenas_move(&t, &moved);
    moved.workspace = twin_make(&t, NULL, moved.workspace_bytes);
    if (moved.table_bytes) moved.table = twin_make(&t, NULL, moved.table_bytes);
    CHECK_OK(t.device->ops->stream_create(t.device, 0, &stream));
    ok = kernel->bind == NULL || CHECK_OK(kernel->bind(&moved));
    for (int i = 0; i < times && ok; i++) {
        if (i > 0) outputs_spoil(t.device, &moved);
        ok = CHECK_OK(kernel->run(&moved, stream));
    }
    if (ok) CHECK_OK(t.device->ops->stream_sync(t.device, stream));
    if (kernel->release) kernel->release(&moved);
    t.device->ops->stream_destroy(t.device, stream);
    twins_close(&t);
}

void kernel_run_times(dpt_call *call, int threads, int times) {
    call->name = "test";
    if (strcmp(check_device(), "cpu") == 0)
        run_on_cpu(call, threads, times);
    else
        run_on_device(call, times);
}

void kernel_run(dpt_call *call, int threads) { kernel_run_times(call, threads, 1); }
