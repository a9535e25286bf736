/* test_help.c: see test_hostcuda.h. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_hostcuda.h"

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

cudaStream_t make_stream(void) {
    cudaStream_t stream = NULL;
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

cudaEvent_t make_event(void) {
    cudaEvent_t event = NULL;
    CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return event;
}
