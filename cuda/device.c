/* device.c: memory, streams, events, copies and recordings of one CUDA device, as device.h asks for them.
 *
 * A recording is a CUDA graph, captured in thread-local mode, so that other threads of the process may go on. Streams
 * are non-blocking: nothing waits for the legacy stream, and what is told to be done at its return waits for the whole
 * device. Invariant: every call enters the device first, since each thread has its own current device, the first one by
 * default, which may be another rank's. */
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <string.h>

#include "cuda/host.h"

/* What a device keeps; kernels see the first part (dpt_cuda_device_of). */
typedef struct device_state {
    dpt_cuda_device device;
    cudaStream_t zeroing; /* of fresh memory: waiting for the whole device would break another thread's recording */
    const dpt_nccl *nccl; /* whose allocator serves collectives; NULL: none */
    int nccl_users;
    struct nccl_memory *nccl_memory;
} device_state;

/* What NCCL's allocator gave. */
typedef struct nccl_memory {
    struct nccl_memory *next;
    void *memory;
    const dpt_nccl *nccl;
} nccl_memory;

static dpt_status enter(const dpt_device *device) {
    const dpt_cuda_device *d = &((const device_state *)device->state)->device;
    int now = -1;
    if (cudaGetDevice(&now) == cudaSuccess && now == d->index) return DPT_OK;
    return DPT_CUDA(cudaSetDevice(d->index));
}

/* ---- memory ---- */

static double mebibytes(size_t bytes) { return (double)bytes / 1048576; }

static size_t device_bytes(const dpt_device *device) {
    return device->allocated[DPT_FOR_COMPUTE] + device->allocated[DPT_FOR_COMM];
}

/* What the limit leaves. */
static size_t device_left(const dpt_device *device) {
    size_t used = device_bytes(device);
    if (device->memory_limit == 0) return SIZE_MAX;
    return device->memory_limit > used ? device->memory_limit - used : 0;
}

static dpt_status cuda_memory_info(dpt_device *device, size_t *available, size_t *total) {
    DPT_TRY(enter(device));
    DPT_TRY(DPT_CUDA(cudaMemGetInfo(available, total)));
    if (*available > device_left(device)) *available = device_left(device);
    return DPT_OK;
}

static dpt_status refuse(dpt_device *device, size_t bytes) {
    size_t available = 0, total = 0;
    char limit[64] = "";
    DPT_TRY(cuda_memory_info(device, &available, &total));
    if (device->memory_limit != 0) snprintf(limit, sizeof limit, ", limit %.1f MiB", mebibytes(device->memory_limit));
    return dpt_error(
        DPT_ERR_MEMORY, "out of memory on %s: %.1f MiB asked, %.1f MiB free of %.1f MiB, %.1f MiB already taken here%s",
        device->name, mebibytes(bytes), mebibytes(available), mebibytes(total), mebibytes(device_bytes(device)), limit);
}

static dpt_status zero_fresh(const dpt_device *device, void *memory, size_t bytes) {
    const device_state *state = device->state;
    DPT_TRY(DPT_CUDA(cudaMemsetAsync(memory, 0, bytes, state->zeroing)));
    return DPT_CUDA(cudaStreamSynchronize(state->zeroing));
}

/* Memory that NCCL can open to other ranks, or NULL, where CUDA's must do. */
static void *alloc_from_nccl(device_state *state, size_t bytes) {
    void *memory = NULL;
    nccl_memory *entry = state->nccl ? dpt_alloc_zero(1, sizeof *entry) : NULL;
    if (entry == NULL) return NULL;
    if (state->nccl->MemAlloc(&memory, bytes) != DPT_NCCL_SUCCESS) {
        (void)cudaGetLastError();
        dpt_free(entry);
        return NULL;
    }
    *entry = (nccl_memory){state->nccl_memory, memory, state->nccl};
    state->nccl_memory = entry;
    return memory;
}

static void release_device(device_state *state, void *memory) {
    nccl_memory **at = &state->nccl_memory, *entry;
    while (*at != NULL && (*at)->memory != memory) at = &(*at)->next;
    entry = *at;
    if (entry == NULL) {
        if (cudaFree(memory) != cudaSuccess) (void)cudaGetLastError();
        return;
    }
    if (entry->nccl->MemFree(memory) != DPT_NCCL_SUCCESS) (void)cudaGetLastError();
    *at = entry->next;
    dpt_free(entry);
}

void dpt_cuda_use_nccl_memory(dpt_device *device, const dpt_nccl *nccl) {
    device_state *state = device->state;
    state->nccl_users += nccl ? 1 : -1;
    if (nccl != NULL || state->nccl_users == 0) state->nccl = nccl;
}

bool dpt_cuda_is_nccl_memory(const dpt_device *device, const void *memory) {
    const nccl_memory *at = ((const device_state *)device->state)->nccl_memory;
    while (at != NULL && at->memory != memory) at = at->next;
    return at != NULL;
}

static dpt_status alloc_device(dpt_device *device, size_t bytes, dpt_purpose purpose, void **memory) {
    if (bytes > device_left(device)) return refuse(device, bytes);
    size_t rounded = dpt_align(bytes ? bytes : 1);
    *memory = purpose == DPT_FOR_COMM ? alloc_from_nccl(device->state, rounded) : NULL;
    cudaError_t code = *memory ? cudaSuccess : cudaMalloc(memory, rounded);
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return refuse(device, bytes);
    }
    DPT_TRY(dpt_cuda_status(code, "cudaMalloc"));
    dpt_status status = zero_fresh(device, *memory, rounded);
    if (status != DPT_OK) release_device(device->state, *memory);
    return status;
}

static dpt_status alloc_staging(size_t bytes, void **memory) {
    size_t rounded = dpt_align(bytes ? bytes : 1);
    cudaError_t code = cudaHostAlloc(memory, rounded, cudaHostAllocPortable);
    DPT_CHECK(code != cudaErrorMemoryAllocation, DPT_ERR_MEMORY, "out of pinned host memory: %.1f MiB asked",
              mebibytes(bytes));
    DPT_TRY(dpt_cuda_status(code, "cudaHostAlloc"));
    memset(*memory, 0, rounded);
    return DPT_OK;
}

static dpt_status cuda_alloc(dpt_device *device, size_t bytes, dpt_purpose purpose, void **memory) {
    void *made = NULL;
    *memory = NULL;
    DPT_TRY(enter(device));
    DPT_TRY(purpose == DPT_FOR_STAGING ? alloc_staging(bytes, &made) : alloc_device(device, bytes, purpose, &made));
    device->allocated[purpose] += bytes;
    *memory = made;
    return DPT_OK;
}

static void cuda_release(dpt_device *device, void *memory, size_t bytes, dpt_purpose purpose) {
    if (memory == NULL) return;
    device->allocated[purpose] -= bytes;
    if (enter(device) != DPT_OK) return;
    if (purpose != DPT_FOR_STAGING)
        release_device(device->state, memory);
    else if (cudaFreeHost(memory) != cudaSuccess)
        (void)cudaGetLastError();
}

/* ---- streams and events ---- */

/* Higher numbers of ours go first; CUDA counts downwards, and takes the nearest that it has. */
static dpt_status cuda_stream_create(dpt_device *device, int priority, dpt_stream **stream) {
    *stream = NULL;
    DPT_TRY(enter(device));
    dpt_stream *made = dpt_alloc(sizeof *made);
    DPT_CHECK_ALLOC(made);
    dpt_status status = DPT_CUDA(cudaStreamCreateWithPriority(&made->cuda, cudaStreamNonBlocking, -priority));
    if (status == DPT_OK)
        *stream = made;
    else
        dpt_free(made);
    return status;
}

static void cuda_stream_destroy(dpt_device *device, dpt_stream *stream) {
    if (stream == NULL) return;
    if (enter(device) == DPT_OK && cudaStreamDestroy(stream->cuda) != cudaSuccess) (void)cudaGetLastError();
    dpt_free(stream);
}

static dpt_status cuda_stream_wait(dpt_device *device, dpt_stream *stream, dpt_event *event) {
    DPT_TRY(enter(device));
    if (stream == NULL) return DPT_CUDA(cudaEventSynchronize(event->cuda));
    return DPT_CUDA(cudaStreamWaitEvent(stream->cuda, event->cuda, 0));
}

static dpt_status cuda_join(dpt_device *device, dpt_stream *stream, void *callers, bool before) {
    cudaStream_t theirs = (cudaStream_t)callers, from = before ? theirs : stream->cuda;
    cudaEvent_t event;
    DPT_TRY(enter(device));
    DPT_TRY(DPT_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming)));
    dpt_status status = DPT_CUDA(cudaEventRecord(event, from));
    if (status == DPT_OK) status = DPT_CUDA(cudaStreamWaitEvent(before ? stream->cuda : theirs, event, 0));
    cudaEventDestroy(event);
    return status;
}

static dpt_status cuda_stream_sync(dpt_device *device, dpt_stream *stream) {
    DPT_TRY(enter(device));
    if (stream == NULL) return DPT_CUDA(cudaDeviceSynchronize());
    return DPT_CUDA(cudaStreamSynchronize(stream->cuda));
}

static dpt_status create_event(dpt_device *device, unsigned flags, dpt_event **event) {
    *event = NULL;
    DPT_TRY(enter(device));
    dpt_event *made = dpt_alloc(sizeof *made);
    DPT_CHECK_ALLOC(made);
    dpt_status status = DPT_CUDA(cudaEventCreateWithFlags(&made->cuda, flags));
    if (status == DPT_OK)
        *event = made;
    else
        dpt_free(made);
    return status;
}

static dpt_status cuda_event_create(dpt_device *device, dpt_event **event) {
    return create_event(device, cudaEventDisableTiming, event);
}

static void cuda_event_destroy(dpt_device *device, dpt_event *event) {
    if (event == NULL) return;
    if (enter(device) == DPT_OK && cudaEventDestroy(event->cuda) != cudaSuccess) (void)cudaGetLastError();
    dpt_free(event);
}

static dpt_status cuda_event_record(dpt_device *device, dpt_event *event, dpt_stream *stream) {
    DPT_TRY(enter(device));
    if (stream == NULL) DPT_TRY(DPT_CUDA(cudaDeviceSynchronize()));
    return DPT_CUDA(cudaEventRecord(event->cuda, stream ? stream->cuda : NULL));
}

static dpt_status cuda_event_done(dpt_device *device, dpt_event *event, bool *done) {
    *done = false;
    DPT_TRY(enter(device));
    cudaError_t code = cudaEventQuery(event->cuda);
    if (code == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* no error, but the next launch would take it for one */
        return DPT_OK;
    }
    DPT_TRY(dpt_cuda_status(code, "cudaEventQuery"));
    *done = true;
    return DPT_OK;
}

/* ---- copies ---- */

static dpt_status transfer(dpt_device *device, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                           dpt_stream *stream) {
    if (bytes == 0) return DPT_OK;
    DPT_TRY(enter(device));
    if (stream != NULL) return DPT_CUDA(cudaMemcpyAsync(to, from, bytes, kind, stream->cuda));
    DPT_TRY(DPT_CUDA(cudaDeviceSynchronize()));
    DPT_TRY(DPT_CUDA(cudaMemcpy(to, from, bytes, kind)));
    return DPT_CUDA(cudaDeviceSynchronize());
}

static dpt_status cuda_copy_in(dpt_device *device, void *to, const void *host, size_t bytes, dpt_stream *stream) {
    return transfer(device, to, host, bytes, cudaMemcpyHostToDevice, stream);
}
static dpt_status cuda_copy_out(dpt_device *device, void *host, const void *from, size_t bytes, dpt_stream *stream) {
    return transfer(device, host, from, bytes, cudaMemcpyDeviceToHost, stream);
}
static dpt_status cuda_copy(dpt_device *device, void *to, const void *from, size_t bytes, dpt_stream *stream) {
    return transfer(device, to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

static dpt_status cuda_zero(dpt_device *device, void *to, size_t bytes, dpt_stream *stream) {
    if (bytes == 0) return DPT_OK;
    DPT_TRY(enter(device));
    if (stream != NULL) return DPT_CUDA(cudaMemsetAsync(to, 0, bytes, stream->cuda));
    DPT_TRY(DPT_CUDA(cudaDeviceSynchronize()));
    DPT_TRY(DPT_CUDA(cudaMemset(to, 0, bytes)));
    return DPT_CUDA(cudaDeviceSynchronize());
}

/* ---- recordings ---- */

static dpt_status cuda_record_begin(dpt_device *device, dpt_stream *stream) {
    DPT_TRY(enter(device));
    return DPT_CUDA(cudaStreamBeginCapture(stream->cuda, cudaStreamCaptureModeThreadLocal));
}

static dpt_status cuda_record_end(dpt_device *device, dpt_stream *stream, dpt_recording **recording) {
    cudaGraph_t graph = NULL;
    *recording = NULL;
    DPT_TRY(enter(device));
    DPT_TRY(DPT_CUDA(cudaStreamEndCapture(stream->cuda, &graph)));
    dpt_status status = DPT_OK;
    dpt_recording *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC_GOTO(made, fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaGraphInstantiate(&made->cuda, graph, 0)), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaGraphUpload(made->cuda, stream->cuda)), fail);
    (void)cudaGraphDestroy(graph);
    *recording = made;
    return DPT_OK;
fail:
    (void)cudaGraphDestroy(graph);
    if (made != NULL && made->cuda != NULL) (void)cudaGraphExecDestroy(made->cuda);
    dpt_free(made);
    return status;
}

static dpt_status cuda_replay(dpt_device *device, dpt_recording *recording, dpt_stream *stream) {
    DPT_TRY(enter(device));
    return DPT_CUDA(cudaGraphLaunch(recording->cuda, stream->cuda));
}

static void cuda_recording_destroy(dpt_device *device, dpt_recording *recording) {
    if (recording == NULL) return;
    if (enter(device) == DPT_OK && cudaGraphExecDestroy(recording->cuda) != cudaSuccess) (void)cudaGetLastError();
    dpt_free(recording);
}

/* ---- profiles ---- */

static dpt_status cuda_timer_create(dpt_device *device, dpt_event **timer) {
    return create_event(device, cudaEventDefault, timer);
}

static dpt_status cuda_timer_elapsed(dpt_device *device, dpt_event *begin, dpt_event *end, double *seconds) {
    float milliseconds = 0;
    DPT_TRY(enter(device));
    DPT_TRY(DPT_CUDA(cudaEventElapsedTime(&milliseconds, begin->cuda, end->cuda)));
    *seconds = (double)milliseconds / 1000;
    return DPT_OK;
}

static dpt_status cuda_occupy(dpt_device *device, dpt_stream *stream, double seconds, int blocks, void *data,
                              size_t bytes) {
    DPT_TRY(enter(device));
    return dpt_cuda_occupy(data, bytes, seconds, blocks, stream);
}

static void cuda_mark_begin(dpt_device *device, const char *name) {
    (void)device;
    nvtxRangePushA(name);
}

static void cuda_mark_end(dpt_device *device) {
    (void)device;
    nvtxRangePop();
}

/* ---- opening ---- */

static void cuda_close(dpt_device *device) {
    device_state *state = device->state;
    if (state->zeroing != NULL && enter(device) == DPT_OK && cudaStreamDestroy(state->zeroing) != cudaSuccess)
        (void)cudaGetLastError();
    dpt_free(device->state);
    device->state = NULL;
    device->ops = NULL;
}

static const dpt_device_ops cuda_ops = {
    .alloc = cuda_alloc,
    .release = cuda_release,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_wait = cuda_stream_wait,
    .stream_sync = cuda_stream_sync,
    .join = cuda_join,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_done = cuda_event_done,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .memory_info = cuda_memory_info,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .replay = cuda_replay,
    .recording_destroy = cuda_recording_destroy,
    .timer_create = cuda_timer_create,
    .timer_elapsed = cuda_timer_elapsed,
    .mark_begin = cuda_mark_begin,
    .mark_end = cuda_mark_end,
    .occupy = cuda_occupy,
    .close = cuda_close,
};

/* Whether kernels run there at all. */
static dpt_status probe(dpt_device *device) {
    dpt_stream *stream = NULL;
    void *word = NULL;
    int value = 0;
    dpt_status status;
    DPT_TRY_GOTO(cuda_stream_create(device, 0, &stream), fail);
    DPT_TRY_GOTO(cuda_alloc(device, sizeof value, DPT_FOR_COMPUTE, &word), fail);
    DPT_TRY_GOTO(dpt_cuda_probe(word, stream), fail);
    DPT_TRY_GOTO(cuda_copy_out(device, &value, word, sizeof value, NULL), fail);
    DPT_CHECK_GOTO(value == dpt_cuda_probe_value, fail, DPT_ERR_DEVICE, "%s: a kernel wrote %d where %d was to be",
                   device->name, value, dpt_cuda_probe_value);
fail:
    cuda_release(device, word, sizeof value, DPT_FOR_COMPUTE);
    cuda_stream_destroy(device, stream);
    return status;
}

dpt_status dpt_cuda_device_open(const dpt_control *control, int threads, dpt_device *device) {
    dpt_cuda_device chosen;
    *device = (dpt_device){.threads = threads > 0 ? threads : 1, .record = true};
    DPT_TRY(dpt_cuda_select(control, &chosen, device));
    device_state *state = dpt_alloc_zero(1, sizeof *state);
    DPT_CHECK_ALLOC(state);
    state->device = chosen;
    device->state = state;
    dpt_status status = DPT_CUDA(cudaStreamCreateWithFlags(&state->zeroing, cudaStreamNonBlocking));
    if (status == DPT_OK) status = probe(device);
    if (status != DPT_OK)
        cuda_close(device);
    else
        device->ops = &cuda_ops;
    return status;
}
