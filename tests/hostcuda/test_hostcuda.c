/* test_hostcuda.c: CUDA on the host does what a kernel's author counts on, and finds what it is there to find: each
 * kind of mistake is planted once. A check that needs luck in the choice of an order is tried often. */
#include "test_hostcuda.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIES = 40 };

bool check_code(cudaError_t got, cudaError_t expected, const char *file, int line, const char *call) {
    (void)cudaGetLastError();
    return check_that(got == expected, file, line, "%s: %s, expected %s", call, cudaGetErrorName(got),
                      cudaGetErrorName(expected));
}

float *device_floats(const float *host, int n) {
    void *device = NULL;
    CHECK_CUDA(cudaMalloc(&device, (size_t)n * sizeof(float)));
    if (host != NULL) CHECK_CUDA(cudaMemcpy(device, host, (size_t)n * sizeof(float), cudaMemcpyHostToDevice));
    return device;
}

void read_floats(const float *device, float *host, int n) {
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_CUDA(cudaMemcpy(host, device, (size_t)n * sizeof(float), cudaMemcpyDeviceToHost));
}

void check_dies(void (*run)(void), const char *text) {
    int ends[2], status = 0;
    char said[8192] = "";
    if (!CHECK(pipe(ends) == 0)) return;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        run();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;) n += (size_t)got;
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    check_that(!WIFEXITED(status) || WEXITSTATUS(status) != 0, __FILE__, __LINE__, "it ended well; wanted '%s'", text);
    check_that(strstr(said, text) != NULL, __FILE__, __LINE__, "it said '%s'; wanted '%s'", said, text);
}

static cudaStream_t make_stream(void) {
    cudaStream_t stream = NULL;
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

static cudaEvent_t make_event(void) {
    cudaEvent_t event = NULL;
    CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return event;
}

/* ---- kernels ---- */

static void indices(void) {
    enum { N = 12 * 64 };
    int host[N];
    void *out;
    CHECK_CUDA(cudaMalloc(&out, sizeof host));
    CHECK_CUDA(cudaMemset(out, 0, sizeof host));
    CHECK_CUDA(probe_number(out, NULL));
    CHECK_CUDA(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < N; i++) wrong += host[i] != i;
    CHECK_EQ_I64(wrong, 0);
    CHECK_CUDA(cudaFree(out));
}

static int block_sums_wrong(int with_barrier) {
    enum { BLOCKS = 6 };
    float x[BLOCKS * 256], sums[BLOCKS];
    for (int i = 0; i < BLOCKS * 256; i++) x[i] = (float)(i % 7);
    float *device = device_floats(x, BLOCKS * 256), *out = device_floats(NULL, BLOCKS);
    CHECK_CUDA(probe_block_sum(device, out, BLOCKS, with_barrier, NULL));
    read_floats(out, sums, BLOCKS);
    int wrong = 0;
    for (int b = 0; b < BLOCKS; b++) {
        float sum = 0;
        for (int i = 0; i < 256; i++) sum += x[b * 256 + i];
        wrong += !(sums[b] == sum);
    }
    CHECK_CUDA(cudaFree(device));
    CHECK_CUDA(cudaFree(out));
    return wrong;
}

static void barriers(void) {
    int without = 0;
    for (int i = 0; i < TRIES; i++) {
        CHECK_EQ_I64(block_sums_wrong(1), 0);
        without += block_sums_wrong(0);
    }
    CHECK(without > 0);
}

static void warps(void) {
    int got[6 * 32];
    void *out;
    CHECK_CUDA(cudaMalloc(&out, sizeof got));
    CHECK_CUDA(probe_warp(out, NULL));
    CHECK_CUDA(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int v = 0; v < 32; v++) {
        wrong += got[v] != 31 - v;
        wrong += got[32 + v] != (v ^ 1);
        wrong += got[64 + v] != (v + 2 < 32 ? v + 2 : v);
        wrong += got[96 + v] != (v < 3 ? v : v - 3);
        wrong += got[128 + v] != (v ^ 1);
        wrong += got[160 + v] != (int)0xaaaaaaaau;
    }
    CHECK_EQ_I64(wrong, 0);
    CHECK_CUDA(probe_votes(out, NULL));
    CHECK_CUDA(cudaMemcpy(got, out, 4 * sizeof(int), cudaMemcpyDeviceToHost));
    CHECK_EQ_I64(got[0], 48);
    CHECK_EQ_I64(got[1], 1);
    CHECK_EQ_I64(got[2], 0);
    CHECK_EQ_I64(got[3], 1);
    CHECK_CUDA(cudaFree(out));
}

static void atomics(void) {
    struct {
        double wide;
        float sum;
        int most;
        unsigned wrapped;
    } host = {0, 0, 0, 0}, *device;
    void *memory;
    CHECK_CUDA(cudaMalloc(&memory, sizeof host));
    device = memory;
    CHECK_CUDA(cudaMemcpy(device, &host, sizeof host, cudaMemcpyHostToDevice));
    CHECK_CUDA(probe_atomics(&device->sum, &device->wide, &device->most, &device->wrapped, NULL));
    CHECK_CUDA(cudaMemcpy(&host, device, sizeof host, cudaMemcpyDeviceToHost));
    CHECK_NEAR(host.sum, 64, 0);
    CHECK_NEAR(host.wide, 32, 0);
    CHECK_EQ_I64(host.most, 100);
    CHECK_EQ_I64(host.wrapped, 4); /* 64 modulo 10 */
    CHECK_CUDA(cudaFree(memory));
}

static void unwritten_memory(void) {
    float got[16];
    float *x = device_floats(NULL, 16), *y = device_floats(NULL, 16);
    CHECK_CUDA(probe_map(x, y, 16, 1, 0, NULL));
    read_floats(y, got, 16);
    for (int i = 0; i < 16; i++) CHECK(isnan(got[i]));
    for (int write = 1; write >= 0; write--) { /* what one launch or block leaves no other one sees */
        CHECK_CUDA(probe_unwritten_shared(y, 8, write, NULL));
        read_floats(y, got, 16);
        for (int i = 0; i < 16; i++) CHECK(isnan(got[i]));
    }
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
}

static void launch_limits(void) {
    dim3 one = {1, 1, 1};
    const struct {
        dim3 grid, block;
        size_t shared;
        cudaError_t code;
    } cases[] = {{{1, 1, 1}, {1024, 1, 1}, 0, cudaSuccess},
                 {{1, 1, 1}, {1025, 1, 1}, 0, cudaErrorInvalidConfiguration},
                 {{1, 1, 1}, {32, 32, 2}, 0, cudaErrorInvalidConfiguration},
                 {{1, 1, 1}, {1, 1, 65}, 0, cudaErrorInvalidConfiguration},
                 {{0, 1, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
                 {{1, 65536, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
                 {{1, 1, 1}, {32, 1, 1}, 48 * 1024, cudaSuccess},
                 {{1, 1, 1}, {32, 1, 1}, 48 * 1024 + 1, cudaErrorInvalidValue}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_CODE(probe_empty(cases[i].grid, cases[i].block, cases[i].shared, NULL), cases[i].code);
    CHECK_CODE(probe_allow_shared(227 * 1024 + 1), cudaErrorInvalidValue);
    CHECK_CUDA(probe_allow_shared(227 * 1024));
    CHECK_CUDA(probe_empty(one, one, 227 * 1024, NULL));
    cudaStream_t stream = make_stream();
    CHECK_CODE(cudaStreamQuery(stream), cudaSuccess);
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CODE(probe_empty(one, one, 0, stream), cudaErrorContextIsDestroyed);
    CHECK(cudaMemset(NULL, 0, 4) == cudaErrorInvalidValue); /* an error that is not cleared shows at the next launch */
    CHECK_CODE(probe_empty(one, one, 0, NULL), cudaErrorInvalidValue);
}

/* ---- mistakes that end the process ---- */

static void make_mistake(probe_mistake mistake, int floats, int index) {
    float *x = device_floats(NULL, floats);
    (void)probe_wrong(mistake, x, index, NULL);
    (void)cudaDeviceSynchronize();
    (void)cudaFree(x);
}
static void store_past_page(void) { make_mistake(PROBE_STORE, 64, 64); }
static void store_past_end(void) { make_mistake(PROBE_STORE, 10, 10); }
static void store_before(void) { make_mistake(PROBE_STORE, 64, -1); }
static void misaligned(void) { make_mistake(PROBE_VECTOR, 64, 1); }
static void store_past_shared(void) { make_mistake(PROBE_SHARED, 64, 12); }
static void store_at_end_of_shared(void) { make_mistake(PROBE_SHARED, 64, 11); }
static void two_barriers(void) { make_mistake(PROBE_BARRIERS, 64, 0); }
static void late_warp(void) { make_mistake(PROBE_LATE_WARP, 64, 0); }
static void outside_mask(void) { make_mistake(PROBE_MASK, 64, 0); }
static void two_operations(void) { make_mistake(PROBE_WARP_PLACES, 64, 0); }

static void host_reads_device(void) {
    float *x = device_floats(NULL, 64);
    fprintf(stderr, "%g\n", (double)*(volatile float *)x);
}

static void wrong_kernels(void) {
    check_dies(store_past_page, "thread (3,0,0): illegal address");
    check_dies(store_past_page, "byte 256 of 256 bytes of device memory");
    check_dies(store_past_end, "byte 40 of 40 bytes of device memory");
    check_dies(store_before, "byte -4 of 256 bytes of device memory");
    check_dies(misaligned, "misaligned");
    check_dies(store_past_shared, "kernel store_shared, block (0,0,0)");
    check_dies(store_at_end_of_shared, "wrote byte 44 of 40 bytes of dynamic shared memory");
    check_dies(two_barriers, "divergent barrier");
    check_dies(late_warp, "waits for ever");
    check_dies(outside_mask, "is not in the mask 0000ffff");
    check_dies(two_operations, "divergent warp");
    check_dies(host_reads_device, "the host touched device memory");
}

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

static void waits(void) {
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

static void slots(void) {
    CHECK_EQ_I64(slot_races(true, true), 0);
    CHECK(slot_races(true, false) > 0);
    CHECK_EQ_I64(slot_races(false, false), 0); /* taken at the call */
}

static void queries(void) {
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

static void copies(void) {
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

/* x -> y on one stream, x -> z on another, then y + z = x on the first: 5 x + 3 a run. */
static cudaGraphExec_t fork_and_join(float *x, float *y, float *z, cudaStream_t stream) {
    cudaStream_t other = make_stream();
    cudaEvent_t fork_event = make_event(), join = make_event();
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    size_t n = 0;
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(cudaEventRecord(fork_event, stream));
    CHECK_CUDA(cudaStreamWaitEvent(other, fork_event, 0));
    CHECK_CUDA(probe_map(x, y, 4, 2, 1, stream));
    CHECK_CUDA(probe_map(x, z, 4, 5, 2, other));
    CHECK_CUDA(cudaEventRecord(join, other));
    CHECK_CUDA(cudaStreamWaitEvent(stream, join, 0));
    CHECK_CUDA(probe_map(z, x, 4, 1, 1, stream));
    CHECK_CODE(cudaEventQuery(make_event()), cudaErrorStreamCaptureUnsupported);
    CHECK_CODE(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    CHECK(graph == NULL);
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(cudaEventRecord(fork_event, stream));
    CHECK_CUDA(cudaStreamWaitEvent(other, fork_event, 0));
    CHECK_CUDA(probe_map(x, y, 4, 2, 1, stream));
    CHECK_CUDA(probe_map(x, z, 4, 5, 2, other));
    CHECK_CUDA(cudaEventRecord(join, other));
    CHECK_CUDA(cudaStreamWaitEvent(stream, join, 0));
    CHECK_CUDA(probe_map(z, x, 4, 1, 1, stream));
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaGraphGetNodes(graph, NULL, &n));
    CHECK_EQ_I64(n, 3);
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphDestroy(graph));
    CHECK_CUDA(cudaStreamDestroy(other));
    return executable;
}

static void graphs(void) {
    float start[4] = {1, 2, 3, 4}, got[4];
    cudaStream_t stream = make_stream();
    float *x = device_floats(start, 4), *y = device_floats(NULL, 4), *z = device_floats(NULL, 4);
    cudaGraphExec_t executable = fork_and_join(x, y, z, stream);
    read_floats(x, got, 4);
    CHECK_NEAR(got[0], 1, 0); /* nothing ran while it was captured */
    for (int i = 0; i < TRIES; i++) {
        CHECK_CUDA(cudaMemcpyAsync(x, start, sizeof start, cudaMemcpyHostToDevice, stream));
        CHECK_CUDA(cudaGraphLaunch(executable, stream));
        CHECK_CUDA(cudaGraphLaunch(executable, stream));
        CHECK_CUDA(cudaStreamSynchronize(stream));
        read_floats(x, got, 4);
        for (int k = 0; k < 4; k++) CHECK_NEAR(got[k], 5 * (5 * start[k] + 3) + 3, 0);
        read_floats(y, got, 4);
        for (int k = 0; k < 4; k++) CHECK_NEAR(got[k], 2 * (5 * start[k] + 3) + 1, 0);
    }
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    CHECK_CODE(cudaGraphLaunch(executable, stream), cudaErrorInvalidValue);
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
    CHECK_CUDA(cudaFree(z));
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

static void captures(void) {
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
}

static void forked_captures(void) {
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
static void stale_addresses(void) { check_dies(stale_graph, "of freed device memory"); }

/* ---- what the environment plays ---- */

static void machines(void) {
    int n = -1;
    char pci[32];
    struct cudaDeviceProp p;
    dim3 one = {1, 1, 1};
    void *memory = NULL;
    setenv("HOSTCUDA_DEVICES", "0", 1);
    CHECK_CODE(cudaGetDeviceCount(&n), cudaErrorNoDevice);
    CHECK_EQ_I64(n, 0);
    setenv("HOSTCUDA_DEVICES", "3", 1);
    setenv("HOSTCUDA_DRIVER", "11080", 1);
    CHECK_CODE(cudaGetDeviceCount(&n), cudaErrorInsufficientDriver);
    CHECK_CODE(cudaSetDevice(0), cudaErrorInsufficientDriver);
    unsetenv("HOSTCUDA_DRIVER");
    CHECK_CUDA(cudaGetDeviceCount(&n));
    CHECK_EQ_I64(n, 3);
    setenv("CUDA_VISIBLE_DEVICES", "2,0,7,1", 1);
    CHECK_CUDA(cudaGetDeviceCount(&n));
    CHECK_EQ_I64(n, 2);
    CHECK_CUDA(cudaDeviceGetPCIBusId(pci, sizeof pci, 0));
    CHECK_EQ_TEXT(pci, "0000:12:00.0");
    setenv("HOSTCUDA_BUSY", "2", 1);
    int mode = -1;
    CHECK_CUDA(cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, 0));
    CHECK_EQ_I64(mode, cudaComputeModeExclusiveProcess);
    long long contexts = hostcuda_count("contexts");
    CHECK_CODE(cudaSetDevice(0), cudaErrorDevicesUnavailable);
    CHECK_EQ_I64(hostcuda_count("contexts"), contexts);
    unsetenv("CUDA_VISIBLE_DEVICES");
    CHECK_CUDA(cudaSetDevice(1));
    CHECK_EQ_I64(hostcuda_count("contexts"), contexts | 2);
    CHECK_CODE(cudaSetDevice(3), cudaErrorInvalidDevice);
    CHECK_CUDA(cudaSetDevice(0));
    unsetenv("HOSTCUDA_BUSY");
    unsetenv("HOSTCUDA_DEVICES");
    setenv("HOSTCUDA_CAPABILITY", "7.5", 1);
    setenv("HOSTCUDA_NAME", "some MIG 1g.10gb", 1);
    CHECK_CUDA(cudaGetDeviceProperties(&p, 0));
    CHECK_EQ_I64(10 * p.major + p.minor, 75);
    CHECK_EQ_TEXT(p.name, "some MIG 1g.10gb");
    CHECK_CODE(probe_empty(one, one, 0, NULL), cudaErrorNoKernelImageForDevice);
    unsetenv("HOSTCUDA_CAPABILITY");
    unsetenv("HOSTCUDA_NAME");
    setenv("HOSTCUDA_MEMORY", "1000000", 1);
    CHECK_CODE(cudaMalloc(&memory, 1000001), cudaErrorMemoryAllocation);
    unsetenv("HOSTCUDA_MEMORY");
}

/* In a child: ends well, which is the failure there, where the call's result is another. */
static void expect(int step, cudaError_t got, cudaError_t expected) {
    if (got == expected) return;
    fprintf(stderr, "step %d: %s\n", step, cudaGetErrorName(got));
    _exit(0);
}

/* Lost at the third kernel from here, not before, and for ever. */
static void lose_device(void) {
    dim3 one = {1, 1, 1};
    void *memory;
    char after[32];
    snprintf(after, sizeof after, "%lld", hostcuda_count("kernels") + 2);
    setenv("HOSTCUDA_LOST_AFTER", after, 1);
    for (int i = 0; i < 2; i++) {
        expect(1, probe_empty(one, one, 0, NULL), cudaSuccess);
        expect(2, cudaDeviceSynchronize(), cudaSuccess);
    }
    (void)probe_empty(one, one, 0, NULL);
    expect(3, cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    expect(4, cudaMalloc(&memory, 4), cudaErrorLaunchFailure);
    expect(5, cudaSetDevice(0), cudaErrorLaunchFailure);
    fprintf(stderr, "lost\n");
    _exit(3);
}
static void lost_devices(void) { check_dies(lose_device, "lost"); }

static void counters(void) {
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

int main(int argc, char **argv) {
    return CHECK_MAIN(
        argc, argv, "hostcuda", {"indices", indices}, {"barriers", barriers}, {"warps", warps}, {"atomics", atomics},
        {"unwritten_memory", unwritten_memory}, {"launch_limits", launch_limits}, {"wrong_kernels", wrong_kernels},
        {"waits", waits}, {"slots", slots}, {"queries", queries}, {"copies", copies}, {"graphs", graphs},
        {"captures", captures}, {"forked_captures", forked_captures}, {"stale_addresses", stale_addresses},
        {"machines", machines}, {"lost_devices", lost_devices}, {"counters", counters}, {"products", test_products},
        {"transposes_and_batches", test_transposes_and_batches}, {"epilogues", test_epilogues},
        {"sixteen_bit", test_sixteen_bit}, {"refusals", test_refusals}, {"algorithms", test_algorithms});
}
