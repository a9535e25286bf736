/* test_nccl_failures.c: what NCCL on the host does when something is wrong: refused calls, ranks that do not fit each
 * other, and what the environment makes it do: hang, fail, leave out a collective, kill or stop its process. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_nccl.h"

static int last_rank(void) { return check_world() - 1; }

/* The variable makes something happen in this rank's next collective but `later`. */
static void plan(const char *variable, int later, const char *more) {
    char text[64];
    snprintf(text, sizeof text, "*:%lld%s", hostcuda_count("collectives") + 1 + later, more);
    setenv(variable, text, 1);
}

static void check_said(const char *text) {
    check_that(strstr(ncclGetLastError(NULL), text) != NULL, __FILE__, __LINE__, "it said '%s'; wanted '%s'",
               ncclGetLastError(NULL), text);
}

void test_versions(void) {
    int version = 0;
    ncclComm_t comm = NULL;
    ncclUniqueId id = share_id();
    CHECK_NCCL(ncclGetVersion(&version));
    CHECK_EQ_I64(version, NCCL_VERSION_CODE);
    CHECK(dlsym(RTLD_DEFAULT, "ncclCommWindowRegister") != NULL);
    setenv("HOSTNCCL_VERSION", "0:21903,22000", 1);
    CHECK_NCCL(ncclGetVersion(&version));
    CHECK_EQ_I64(version, check_rank() == 0 ? 21903 : 22000);
    CHECK(dlsym(RTLD_DEFAULT, "ncclCommWindowRegister") == NULL);
    CHECK(dlsym(RTLD_DEFAULT, "ncclMemAlloc") != NULL);
    setenv("HOSTNCCL_WITHOUT", "ncclCommSplit,ncclMemAlloc", 1);
    CHECK(dlsym(RTLD_DEFAULT, "ncclMemAlloc") == NULL);
    CHECK(dlsym(RTLD_DEFAULT, "ncclMemFree") != NULL);
    CHECK_RESULT(begin_comm(&comm, &id, true), check_world() == 1 ? ncclSuccess : ncclInvalidUsage);
    if (check_world() > 1) check_said("Mismatched NCCL version detected");
    CHECK_NCCL(ncclCommAbort(comm));
    unsetenv("HOSTNCCL_VERSION");
    unsetenv("HOSTNCCL_WITHOUT");
}

/* The last two ranks have one device; the others see them leave. */
void test_same_device(void) {
    ncclResult_t wanted = check_world() == 1                ? ncclSuccess
                          : check_rank() >= last_rank() - 1 ? ncclInvalidUsage
                                                            : ncclRemoteError;
    static const char *const addresses[] = {"", "0:1:0.0", "0:1:0.0", "", "0:1:0.0,0:2:0.0,0:3:0.0"};
    ncclComm_t comm = NULL;
    ncclUniqueId id = share_id();
    setenv("HOSTCUDA_PCI", addresses[check_world() <= 4 ? check_world() : 4], 1);
    CHECK_RESULT(begin_comm(&comm, &id, true), wanted);
    if (wanted == ncclInvalidUsage) check_said("Duplicate GPU detected");
    CHECK_NCCL(ncclCommAbort(comm));
    setenv("HOSTNCCL_VERSION", "23000", 1);
    setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
    id = share_id();
    CHECK_NCCL(begin_comm(&comm, &id, true));
    CHECK_NCCL(ncclCommDestroy(comm));
    unsetenv("HOSTNCCL_VERSION");
    unsetenv("NCCL_MULTI_RANK_GPU_ENABLE");
    unsetenv("HOSTCUDA_PCI");
}

void test_wrong_calls(void) {
    ncclUniqueId id = share_id(), none = {{0}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t comm = NULL;
    float *x = device_floats(NULL, 1);
    CHECK_RESULT(ncclCommInitRank(&comm, 1, none, 0), ncclInvalidArgument);
    CHECK_RESULT(ncclCommInitRank(&comm, 2, id, 2), ncclInvalidArgument);
    config.minCTAs = 8, config.maxCTAs = 4;
    CHECK_RESULT(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument);
    memset(&config, 0, sizeof config);
    CHECK_RESULT(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument);
    CHECK(comm == NULL);
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, NULL, NULL), ncclInvalidArgument);
    comm = make_comm(MPI_COMM_WORLD, true);
    CHECK_RESULT(ncclBroadcast(x, x, 1, ncclFloat32, check_world(), comm, NULL), ncclInvalidArgument);
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclNumTypes, ncclSum, comm, NULL), ncclInvalidArgument);
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclNumOps, comm, NULL), ncclInvalidArgument);
    CHECK_NCCL(ncclCommFinalize(comm));
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, NULL), ncclInvalidArgument);
    CHECK_RESULT(ncclCommFinalize(comm), ncclInvalidArgument);
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_RESULT(ncclCommDestroy(comm), ncclInvalidArgument);
    CHECK_CUDA(cudaFree(x));
}

/* One rank never comes: the others can still give up. */
void test_init_hangs(void) {
    float one = 1;
    ncclComm_t comm = NULL;
    ncclResult_t state = ncclSuccess;
    ncclUniqueId id = share_id();
    float *x = device_floats(&one, 1);
    if (check_rank() == last_rank()) setenv("HOSTNCCL_INIT_HANG", "*", 1);
    CHECK_RESULT(begin_comm(&comm, &id, false), ncclInProgress);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < 20; i++) {
        CHECK_NCCL(ncclCommGetAsyncError(comm, &state));
        CHECK(state == ncclInProgress);
        usleep(1000);
    }
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, NULL), ncclInvalidArgument);
    check_said("before the previous operation");
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK_NCCL(ncclCommAbort(comm));
    unsetenv("HOSTNCCL_INIT_HANG");
    comm = make_comm(MPI_COMM_WORLD, true);
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaFree(x));
}

typedef struct aborter {
    ncclComm_t comm;
    volatile bool done;
} aborter;

static void *abort_soon(void *argument) {
    aborter *a = argument;
    usleep(10000);
    CHECK_NCCL(ncclCommAbort(a->comm));
    a->done = true;
    return NULL;
}

/* A collective that one rank does not enter keeps the others until a thread aborts it; then the stream goes on. */
static void abort_one(bool captured) {
    float one = 1, got;
    pthread_t thread;
    cudaGraphExec_t executable = NULL;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    aborter aborts = {comm, false};
    cudaStream_t stream = make_stream();
    float *x = device_floats(&one, 1);
    if (check_rank() == last_rank()) plan("HOSTNCCL_HANG", 1, "");
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclMax, comm, stream));
    if (captured) CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream));
    if (captured) executable = end_capture(stream);
    if (captured) CHECK_CUDA(cudaGraphLaunch(executable, stream));
    CHECK_CUDA(probe_map(x, x, 1, 5, 0, stream));
    CHECK(stays_busy(stream));
    if (!captured) setenv("HOSTNCCL_ABORT_HANGS", "*", 1);
    CHECK(pthread_create(&thread, NULL, abort_soon, &aborts) == 0);
    CHECK_CUDA(cudaStreamSynchronize(stream));
    usleep(10000);
    CHECK(!aborts.done); /* waits for the end of the graph, or as it was told */
    if (captured)
        CHECK_CUDA(cudaGraphExecDestroy(executable));
    else
        unsetenv("HOSTNCCL_ABORT_HANGS");
    pthread_join(thread, NULL);
    CHECK(aborts.done);
    read_floats(x, &got, 1);
    CHECK_NEAR(got, 5, 0);
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream), ncclInvalidArgument);
    CHECK_RESULT(ncclCommAbort(comm), ncclInvalidArgument);
    unsetenv("HOSTNCCL_HANG");
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(x));
}

void test_aborts(void) {
    abort_one(false);
    abort_one(true);
}

/* One rank hears of an error; the others wait until they abort. */
void test_asynchronous_errors(void) {
    float one = 1;
    bool mine = check_rank() == last_rank();
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    float *x = device_floats(&one, 1);
    if (mine) plan("HOSTNCCL_ERROR", 0, ":6");
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream));
    CHECK(stays_busy(stream));
    CHECK_RESULT(settle(comm), mine ? ncclRemoteError : ncclSuccess);
    if (mine) {
        check_said("connection to a peer was lost");
        CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream), ncclRemoteError);
        CHECK_RESULT(ncclCommDestroy(comm), ncclRemoteError);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK_NCCL(ncclCommAbort(comm));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    unsetenv("HOSTNCCL_ERROR");
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(x));
}

/* One rank leaves a collective out: its next one does not fit the others', and all wait. */
void test_skips(void) {
    float host[8] = {0};
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    float *x = device_floats(host, 8);
    if (check_rank() == last_rank()) plan("HOSTNCCL_SKIP", 0, "");
    CHECK_NCCL(ncclAllReduce(x, x, 4, ncclFloat32, ncclSum, comm, stream));
    CHECK_NCCL(ncclAllReduce(x, x, 8, ncclFloat32, ncclSum, comm, stream));
    CHECK(stays_busy(stream) == (check_world() > 1));
    CHECK_NCCL(ncclCommAbort(comm));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    unsetenv("HOSTNCCL_SKIP");
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(x));
}

/* ---- of a process of its own ---- */

static void sum_twice(void) {
    float one = 1;
    ncclComm_t comm = make_comm(MPI_COMM_SELF, true);
    float *x = device_floats(&one, 1);
    plan("HOSTNCCL_KILL", 1, "");
    for (int i = 0; i < 2; i++) {
        CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, NULL));
        CHECK_CUDA(cudaDeviceSynchronize());
        if (write(STDOUT_FILENO, ".", 1) != 1) return;
    }
}

static void sum_stopped(void) {
    float one = 1;
    ncclComm_t comm = make_comm(MPI_COMM_SELF, true);
    float *x = device_floats(&one, 1);
    plan("HOSTNCCL_STOP", 0, "");
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, NULL));
    CHECK_CUDA(cudaDeviceSynchronize());
}

static int status_of(void (*run)(void), bool *stopped) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        run();
        _exit(0);
    }
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    *stopped = WIFSTOPPED(status);
    if (!*stopped) return status;
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

void test_signals(void) {
    bool stopped;
    if (check_world() > 1) return;
    int status = status_of(sum_twice, &stopped);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = status_of(sum_stopped, &stopped);
    CHECK(stopped && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void sum_on_host(void) {
    float x = 1, *y = device_floats(NULL, 1);
    ncclComm_t comm = make_comm(MPI_COMM_SELF, true);
    (void)ncclAllReduce(&x, y, 1, ncclFloat32, ncclSum, comm, NULL);
    (void)cudaDeviceSynchronize();
}

static void sum_freed(void) {
    float *x = device_floats(NULL, 1), *y = device_floats(NULL, 1);
    ncclComm_t comm = make_comm(MPI_COMM_SELF, true);
    cudaStream_t stream = make_stream();
    (void)cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    (void)ncclAllReduce(x, y, 1, ncclFloat32, ncclSum, comm, stream);
    cudaGraphExec_t executable = end_capture(stream);
    (void)cudaFree(y);
    (void)cudaGraphLaunch(executable, stream);
    (void)cudaDeviceSynchronize();
}

static void end_before_graph(void) {
    float *x = device_floats(NULL, 1);
    ncclComm_t comm = make_comm(MPI_COMM_SELF, true);
    cudaStream_t stream = make_stream();
    (void)cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    (void)ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream);
    (void)end_capture(stream);
    (void)ncclCommDestroy(comm);
}

void test_deaths(void) {
    if (check_world() > 1) return;
    check_dies(sum_on_host, "ncclAllReduce: 4 bytes at");
    check_dies(sum_freed, "of 4 bytes of freed device memory");
    check_dies(end_before_graph, "before the graphs that hold its collectives");
}
