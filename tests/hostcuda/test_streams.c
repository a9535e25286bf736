/* test_streams.c: streams, events, copies, captures and graphs of CUDA on the host: orders that events enforce hold,
 * others differ, and what CUDA forbids is refused. */
#include "test_hostcuda.h"

/* ---- streams ---- */

/* Producer and consumer on two streams; how often the consumer was too early. */
static int stream_races(bool with_wait) {
    float one[64], got[64];
    int early = 0;
    cudaStream_t producer = make_stream(), consumer = make_stream();
    cudaEvent_t event = make_event();
    for (int i = 0; i < 64; i++) one[i] = 1;
    float *x = device_floats(one, 64), *y = device_floats(NULL, 64), *z = device_floats(NULL, 64);
    for (int i = 0; i < TRIES; i++) {
        CHECK_CUDA(cudaMemset(y, 0, sizeof one));
        CHECK_CUDA(cudaDeviceSynchronize());
        CHECK_CUDA(probe_map(x, y, 64, 2, 1, producer));
        CHECK_CUDA(cudaEventRecord(event, producer));
        if (with_wait) CHECK_CUDA(cudaStreamWaitEvent(consumer, event, 0));
        CHECK_CUDA(probe_map(y, z, 64, 1, 0, consumer));
        CHECK_CUDA(cudaStreamSynchronize(consumer));
        read_floats(z, got, 64);
        early += got[0] != 3 || got[63] != 3;
    }
    CHECK_CUDA(cudaEventDestroy(event));
    CHECK_CUDA(cudaStreamDestroy(producer));
    CHECK_CUDA(cudaStreamDestroy(consumer));
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
    CHECK_CUDA(cudaFree(z));
    return early;
}

void test_waits(void) {
    CHECK_EQ_I64(stream_races(true), 0);
    CHECK(stream_races(false) > 0);
}

/* A slot of pinned memory written again before the copy has run; how often the copy saw the new value. */
static int slot_races(bool pinned, bool with_wait) {
    cudaStream_t stream = make_stream();
    float *slot, got[4], pageable[4];
    void *memory = NULL;
    int wrong = 0;
    CHECK_CUDA(cudaHostAlloc(&memory, 4 * sizeof(float), cudaHostAllocDefault));
    slot = pinned ? memory : pageable;
    float *x = device_floats(NULL, 4);
    for (int i = 0; i < TRIES; i++) {
        slot[0] = slot[1] = slot[2] = slot[3] = 1;
        CHECK_CUDA(cudaMemcpyAsync(x, slot, sizeof got, cudaMemcpyHostToDevice, stream));
        if (with_wait) CHECK_CUDA(cudaStreamSynchronize(stream));
        slot[0] = 2;
        read_floats(x, got, 4);
        wrong += got[0] != 1;
    }
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFreeHost(memory));
    CHECK_CUDA(cudaStreamDestroy(stream));
    return wrong;
}

void test_slots(void) {
    CHECK_EQ_I64(slot_races(true, true), 0);
    CHECK(slot_races(true, false) > 0);
    CHECK_EQ_I64(slot_races(false, false), 0); /* taken at the call */
}

void test_queries(void) {
    float zero[4] = {0, 0, 0, 0}, got[4];
    cudaStream_t stream = make_stream();
    cudaEvent_t event = make_event();
    float *x = device_floats(zero, 4);
    int polls = 0, late = 0;
    for (int i = 0; i < TRIES; i++) {
        for (int k = 0; k < 4; k++) CHECK_CUDA(probe_map(x, x, 4, 1, 1, stream));
        CHECK_CUDA(cudaEventRecord(event, stream));
        cudaError_t code;
        while ((code = cudaEventQuery(event)) == cudaErrorNotReady && ++polls < 100 * TRIES) late++;
        CHECK_CUDA(code);
    }
    CHECK(late > 0);
    read_floats(x, got, 4);
    CHECK_NEAR(got[3], 4 * TRIES, 0);
    CHECK_CUDA(cudaEventDestroy(event));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(x));
}

void test_copies(void) {
    float host[8] = {1, 2, 3, 4, 5, 6, 7, 8}, back[8];
    float *x = device_floats(host, 8), *y = device_floats(NULL, 8);
    CHECK_CODE(cudaMemcpy(y, x, sizeof host, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    CHECK_CODE(cudaMemcpy(y, x, sizeof host + 4, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    CHECK_CODE(cudaMemcpy(back, host, sizeof host, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    CHECK_CUDA(cudaMemcpy(y, x, sizeof host, cudaMemcpyDefault));
    CHECK_CUDA(cudaMemcpyAsync(back, y, sizeof host, cudaMemcpyDeviceToHost, NULL)); /* pageable: done at return */
    CHECK(memcmp(host, back, sizeof host) == 0);
    CHECK_CODE(cudaFree(x + 1), cudaErrorInvalidValue);
    CHECK_CUDA(cudaFree(x));
    CHECK_CODE(cudaFree(x), cudaErrorInvalidValue);
    CHECK_CODE(cudaMemcpy(back, x, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    CHECK_CODE(cudaFreeHost(y), cudaErrorInvalidValue);
    CHECK_CUDA(cudaFree(y));
    CHECK_CUDA(cudaFree(NULL));
}

/* ---- graphs ---- */

typedef struct fork_join {
    float *x, *y, *z;
    cudaStream_t stream, other;
    cudaEvent_t forked, joined;
} fork_join;

/* Captures x -> y on one stream beside x -> z on the other, then z -> x on the first: x becomes 5 x + 3. */
static void capture_fork(const fork_join *f) {
    CHECK_CUDA(cudaStreamBeginCapture(f->stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(cudaEventRecord(f->forked, f->stream));
    CHECK_CUDA(cudaStreamWaitEvent(f->other, f->forked, 0));
    CHECK_CUDA(probe_map(f->x, f->y, 4, 2, 1, f->stream));
    CHECK_CUDA(probe_map(f->x, f->z, 4, 5, 2, f->other));
    CHECK_CUDA(cudaEventRecord(f->joined, f->other));
    CHECK_CUDA(cudaStreamWaitEvent(f->stream, f->joined, 0));
    CHECK_CUDA(probe_map(f->z, f->x, 4, 1, 1, f->stream));
}

static cudaGraphExec_t make_graph(const fork_join *f) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    size_t n = 0;
    capture_fork(f);
    CHECK_CODE(cudaStreamSynchronize(f->other),
               cudaErrorStreamCaptureUnsupported); /* spoils it, and it can be redone */
    CHECK_CODE(cudaStreamEndCapture(f->stream, &graph), cudaErrorStreamCaptureInvalidated);
    CHECK(graph == NULL);
    capture_fork(f);
    CHECK_CUDA(cudaStreamEndCapture(f->stream, &graph));
    CHECK_CUDA(cudaGraphGetNodes(graph, NULL, &n));
    CHECK_EQ_I64(n, 3);
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphUpload(executable, f->stream));
    CHECK_CUDA(cudaGraphDestroy(graph));
    return executable;
}

void test_graphs(void) {
    float start[4] = {1, 2, 3, 4}, got[4];
    fork_join f = {device_floats(start, 4),
                   device_floats(NULL, 4),
                   device_floats(NULL, 4),
                   make_stream(),
                   make_stream(),
                   make_event(),
                   make_event()};
    cudaGraphExec_t executable = make_graph(&f);
    read_floats(f.x, got, 4);
    CHECK_NEAR(got[0], 1, 0); /* nothing ran while it was captured */
    for (int i = 0; i < TRIES; i++) {
        CHECK_CUDA(cudaMemcpyAsync(f.x, start, sizeof start, cudaMemcpyHostToDevice, f.stream));
        CHECK_CUDA(cudaGraphLaunch(executable, f.stream));
        CHECK_CUDA(cudaGraphLaunch(executable, f.stream));
        CHECK_CUDA(cudaStreamSynchronize(f.stream));
        read_floats(f.x, got, 4);
        for (int k = 0; k < 4; k++) CHECK_NEAR(got[k], 5 * (5 * start[k] + 3) + 3, 0);
        read_floats(f.y, got, 4);
        for (int k = 0; k < 4; k++) CHECK_NEAR(got[k], 2 * (5 * start[k] + 3) + 1, 0);
    }
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    CHECK_CODE(cudaGraphLaunch(executable, f.stream), cudaErrorInvalidValue);
    CHECK_CUDA(cudaStreamDestroy(f.stream));
    CHECK_CUDA(cudaStreamDestroy(f.other));
    CHECK_CUDA(cudaEventDestroy(f.forked));
    CHECK_CUDA(cudaEventDestroy(f.joined));
    CHECK_CUDA(cudaFree(f.x));
    CHECK_CUDA(cudaFree(f.y));
    CHECK_CUDA(cudaFree(f.z));
}

static cudaStream_t captured;
static cudaEvent_t outside, inside;
static void *memory_of_capture;
static cudaError_t wait_for_stream(void) { return cudaStreamSynchronize(captured); }
static cudaError_t wait_for_device(void) { return cudaDeviceSynchronize(); }
static cudaError_t ask_stream(void) { return cudaStreamQuery(captured); }
static cudaError_t ask_captured_event(void) { return cudaEventQuery(inside); }
static cudaError_t wait_for_captured_event(void) { return cudaEventSynchronize(inside); }
static cudaError_t wait_for_outside_event(void) { return cudaStreamWaitEvent(captured, outside, 0); }
static cudaError_t allocate(void) { return cudaMalloc(&memory_of_capture, 16); }
static cudaError_t allocate_host(void) { return cudaHostAlloc(&memory_of_capture, 16, 0); }
static cudaError_t copy_synchronously(void) { return cudaMemcpy(memory_of_capture, "1234", 4, cudaMemcpyHostToDevice); }
static cudaError_t begin_again(void) { return cudaStreamBeginCapture(captured, cudaStreamCaptureModeRelaxed); }

void test_captures(void) {
    const struct {
        cudaError_t (*call)(void);
        cudaError_t code, at_end;
    } cases[] = {{wait_for_stream, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
                 {wait_for_device, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
                 {ask_stream, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
                 {ask_captured_event, cudaErrorCapturedEvent, cudaErrorStreamCaptureInvalidated},
                 {wait_for_captured_event, cudaErrorCapturedEvent, cudaErrorStreamCaptureInvalidated},
                 {wait_for_outside_event, cudaErrorStreamCaptureIsolation, cudaErrorStreamCaptureInvalidated},
                 {allocate, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
                 {allocate_host, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
                 {copy_synchronously, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated},
                 {begin_again, cudaErrorIllegalState, cudaSuccess}};
    captured = make_stream(), outside = make_event(), inside = make_event();
    dim3 one = {1, 1, 1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cudaGraph_t graph = NULL;
        enum cudaStreamCaptureStatus status;
        CHECK_CUDA(cudaEventRecord(outside, captured));
        CHECK_CUDA(cudaStreamBeginCapture(captured, cudaStreamCaptureModeThreadLocal));
        CHECK_CUDA(cudaEventRecord(inside, captured));
        CHECK_CODE(cases[i].call(), cases[i].code);
        CHECK_CUDA(cudaStreamIsCapturing(captured, &status));
        CHECK_EQ_I64(status == cudaStreamCaptureStatusActive, cases[i].at_end == cudaSuccess);
        CHECK_CODE(probe_empty(one, one, 0, captured), cases[i].at_end);
        CHECK_CODE(cudaStreamEndCapture(captured, &graph), cases[i].at_end);
        if (graph != NULL) CHECK_CUDA(cudaGraphDestroy(graph));
        CHECK_CUDA(cudaStreamSynchronize(captured));
    }
    CHECK_CUDA(cudaStreamDestroy(captured));
    CHECK_CUDA(cudaEventDestroy(outside));
    CHECK_CUDA(cudaEventDestroy(inside));
}

void test_forked_captures(void) {
    cudaStream_t stream = make_stream(), other = make_stream(), blocking = NULL;
    cudaEvent_t event = make_event();
    cudaGraph_t graph = NULL;
    dim3 one = {1, 1, 1};
    CHECK_CODE(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(probe_empty(one, one, 0, stream));
    CHECK_CUDA(cudaEventRecord(event, stream));
    CHECK_CUDA(cudaStreamWaitEvent(other, event, 0));
    CHECK_CUDA(probe_empty(one, one, 0, other));
    CHECK_CODE(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnjoined);
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(cudaStreamBeginCapture(other, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(cudaEventRecord(event, stream));
    CHECK_CODE(cudaStreamWaitEvent(other, event, 0), cudaErrorStreamCaptureMerge);
    CHECK_CODE(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    CHECK_CODE(cudaStreamEndCapture(other, &graph), cudaErrorStreamCaptureInvalidated);
    CHECK_CUDA(cudaStreamCreate(&blocking));
    CHECK_CUDA(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed));
    CHECK_CODE(probe_empty(one, one, 0, NULL), cudaErrorStreamCaptureImplicit);
    CHECK_CODE(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
    CHECK_CODE(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeRelaxed), cudaErrorStreamCaptureUnsupported);
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaStreamDestroy(other));
    CHECK_CUDA(cudaStreamDestroy(blocking));
    CHECK_CUDA(cudaEventDestroy(event));
}

static void stale_graph(void) {
    cudaStream_t stream = make_stream();
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    float *x = device_floats(NULL, 64);
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(probe_map(x, x, 64, 1, 1, stream));
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphLaunch(executable, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaGraphLaunch(executable, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
}
void test_stale_addresses(void) { check_dies(stale_graph, "of freed device memory"); }

/* ---- counters ---- */

void test_counters(void) {
    cudaStream_t stream = make_stream();
    cudaEvent_t event = make_event();
    dim3 one = {1, 1, 1};
    float host[4] = {0, 0, 0, 0};
    float *x = device_floats(NULL, 4);
    long long waits_before = hostcuda_count("synchronisations"), launches = hostcuda_count("launches");
    CHECK_CUDA(probe_empty(one, one, 0, stream));
    CHECK_CUDA(cudaEventRecord(event, stream));
    CHECK_CUDA(cudaStreamWaitEvent(stream, event, 0));
    CHECK_EQ_I64(hostcuda_count("synchronisations"), waits_before);
    CHECK_EQ_I64(hostcuda_count("launches"), launches + 1);
    CHECK_CUDA(cudaMemcpyAsync(x, host, sizeof host, cudaMemcpyHostToDevice, stream)); /* pageable */
    CHECK_EQ_I64(hostcuda_count("synchronisations"), waits_before + 1);
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaEventSynchronize(event));
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_EQ_I64(hostcuda_count("synchronisations"), waits_before + 4);
    CHECK_EQ_I64(hostcuda_count("no such counter"), -1);
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaEventDestroy(event));
    CHECK_CUDA(cudaStreamDestroy(stream));
}
