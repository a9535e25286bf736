/* test_nccl_order.c: NCCL on the host: what waits for what, in streams, groups and graphs, and what goes on beside the
 * program. What needs luck in the choice of an order is tried often. */
#include <pthread.h>
#include <unistd.h>

#include "test_nccl.h"

/* A sum on one stream between kernels on another: how often it, or its consumer, was too early. */
static int races(bool before, bool after) {
    float one = 1, got;
    int early = 0, n = check_world();
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t compute = make_stream(), exchange = make_stream();
    cudaEvent_t ready = make_event(), summed = make_event();
    float *x = device_floats(NULL, 1), *y = device_floats(NULL, 1), *z = device_floats(NULL, 1);
    for (int i = 0; i < TRIES; i++) {
        CHECK_CUDA(cudaMemcpy(x, &one, sizeof one, cudaMemcpyHostToDevice));
        CHECK_CUDA(cudaMemcpy(y, &one, sizeof one, cudaMemcpyHostToDevice));
        CHECK_CUDA(probe_map(x, y, 1, 1, 1, compute));
        CHECK_CUDA(cudaEventRecord(ready, compute));
        if (before) CHECK_CUDA(cudaStreamWaitEvent(exchange, ready, 0));
        CHECK_NCCL(ncclAllReduce(y, y, 1, ncclFloat32, ncclSum, comm, exchange));
        CHECK_CUDA(cudaEventRecord(summed, exchange));
        if (after) CHECK_CUDA(cudaStreamWaitEvent(compute, summed, 0));
        CHECK_CUDA(probe_map(y, z, 1, 10, 0, compute));
        CHECK_CUDA(cudaDeviceSynchronize());
        read_floats(z, &got, 1);
        early += got != (float)(20 * n);
    }
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
    CHECK_CUDA(cudaFree(z));
    CHECK_CUDA(cudaEventDestroy(ready));
    CHECK_CUDA(cudaEventDestroy(summed));
    CHECK_CUDA(cudaStreamDestroy(compute));
    CHECK_CUDA(cudaStreamDestroy(exchange));
    CHECK_NCCL(ncclCommDestroy(comm));
    MPI_Allreduce(MPI_IN_PLACE, &early, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    return early;
}

void test_waits(void) {
    CHECK_EQ_I64(races(true, true), 0);
    if (check_world() == 1) return; /* its sum changes nothing */
    CHECK(races(false, true) > 0);
    CHECK(races(true, false) > 0);
}

/* Sums of one communicator follow each other as they were called, on whatever streams and in graphs; the host waits for
 * nothing. */
void test_order_of_calls(void) {
    float start = 1, got;
    int n = check_world();
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t streams[] = {make_stream(), make_stream(), make_stream()};
    float *x = device_floats(&start, 1);
    CHECK_CUDA(cudaStreamBeginCapture(streams[0], cudaStreamCaptureModeThreadLocal));
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, streams[0]));
    cudaGraphExec_t executable = end_capture(streams[0]);
    CHECK_CUDA(cudaDeviceSynchronize());
    long long synchronisations = hostcuda_count("synchronisations"), collectives = hostcuda_count("collectives");
    double wanted = 1;
    for (int i = 0; i < 15; i++) {
        if (i % 5 == 4)
            CHECK_CUDA(cudaGraphLaunch(executable, streams[i % 3]));
        else
            CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, i % 5 == 3 ? ncclMax : ncclSum, comm, streams[i % 3]));
        if (i % 5 != 3) wanted *= n;
    }
    CHECK_EQ_I64(hostcuda_count("synchronisations"), synchronisations);
    read_floats(x, &got, 1);
    CHECK_NEAR(got, wanted, 0);
    CHECK_EQ_I64(hostcuda_count("collectives"), collectives + 15);
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    for (int i = 0; i < 3; i++) CHECK_CUDA(cudaStreamDestroy(streams[i]));
    CHECK_CUDA(cudaFree(x));
    CHECK_NCCL(ncclCommDestroy(comm));
}

/* A group is one operation of all its streams; a wrong call in it takes all others with it. */
void test_groups(void) {
    float host[2] = {1, 2}, got[2];
    int n = check_world(), early = 0;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t a = make_stream(), b = make_stream();
    float *x = device_floats(host, 2);
    for (int i = 0; i < TRIES; i++) {
        CHECK_CUDA(cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice));
        CHECK_CUDA(probe_map(x, x, 1, 3, 0, a));
        CHECK_CUDA(probe_map(x + 1, x + 1, 1, 3, 0, b));
        CHECK_NCCL(ncclGroupStart());
        CHECK_NCCL(ncclAllReduce(x + 1, x + 1, 1, ncclFloat32, ncclSum, comm, a)); /* needs what b does before */
        CHECK_NCCL(ncclGroupStart());
        CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, b));
        CHECK_NCCL(ncclGroupEnd());
        CHECK_NCCL(ncclGroupEnd());
        CHECK_CUDA(probe_map(x + 1, x + 1, 1, 1, 1, a));
        CHECK_CUDA(cudaDeviceSynchronize());
        read_floats(x, got, 2);
        early += got[0] != (float)(3 * n) || got[1] != (float)(6 * n + 1);
    }
    CHECK_EQ_I64(early, 0);
    long long collectives = hostcuda_count("collectives");
    CHECK_NCCL(ncclGroupStart());
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, a));
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat8e4m3, ncclSum, comm, a), ncclInvalidArgument);
    CHECK_RESULT(ncclGroupEnd(), ncclInvalidArgument);
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_EQ_I64(hostcuda_count("collectives"), collectives);
    CHECK_RESULT(ncclGroupEnd(), ncclInvalidUsage);
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaStreamDestroy(a));
    CHECK_CUDA(cudaStreamDestroy(b));
    CHECK_NCCL(ncclCommDestroy(comm));
}

/* Replays of a graph with a sum between kernels, forked to another stream, beside sums that are not in it. */
void test_replays(void) {
    float one = 1, got;
    int n = check_world();
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream(), exchange = make_stream();
    cudaEvent_t forked = make_event(), joined = make_event();
    float *x = device_floats(&one, 1), *y = device_floats(&one, 1);
    long long collectives = hostcuda_count("collectives");
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(probe_map(x, x, 1, 1, 1, stream));
    CHECK_CUDA(cudaEventRecord(forked, stream));
    CHECK_CUDA(cudaStreamWaitEvent(exchange, forked, 0));
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, exchange));
    CHECK_CUDA(cudaEventRecord(joined, exchange));
    CHECK_CUDA(probe_map(y, y, 1, 1, 1, stream));
    CHECK_CUDA(cudaStreamWaitEvent(stream, joined, 0));
    CHECK_CUDA(probe_map(x, x, 1, 0.5f, 0, stream));
    cudaGraphExec_t executable = end_capture(stream);
    CHECK_EQ_I64(hostcuda_count("collectives"), collectives); /* nothing ran while it was captured */
    double wanted = 1;
    for (int i = 0; i < 6; i++) {
        CHECK_CUDA(cudaGraphLaunch(executable, stream));
        CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclMax, comm, stream));
        wanted = (wanted + 1) * n / 2;
    }
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(x, &got, 1);
    CHECK_NEAR(got, wanted, 0);
    read_floats(y, &got, 1);
    CHECK_NEAR(got, 7, 0);
    CHECK_EQ_I64(hostcuda_count("collectives"), collectives + 12);
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaEventDestroy(forked));
    CHECK_CUDA(cudaEventDestroy(joined));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaStreamDestroy(exchange));
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
}

/* ---- progress ---- */

/* What is queued goes on while the host waits in MPI for a rank that waits for it. */
void test_progress(void) {
    float one = 1, got;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    float *x = device_floats(&one, 1);
    for (int turn = 0; turn < 2 * check_world(); turn++) {
        CHECK_CUDA(probe_map(x, x, 1, 2, 0, stream));
        CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclMax, comm, stream));
        if (turn % check_world() == check_rank()) CHECK_CUDA(cudaStreamSynchronize(stream));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    read_floats(x, &got, 1);
    CHECK_NEAR(got, pow(4, check_world()), 0);
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_NCCL(ncclCommDestroy(comm));
}

typedef struct summer {
    int wrong;
    volatile bool ends;
    ncclComm_t comm;
} summer;

/* Kernels with barriers, many at a time, with pauses in which the thread beside the program takes them over. */
static void *sum_blocks(void *argument) {
    enum { BLOCKS = 16 };
    summer *s = argument;
    float x[256 * BLOCKS], sums[BLOCKS];
    for (int i = 0; i < 256 * BLOCKS; i++) x[i] = (float)(i % 256 % 3);
    cudaStream_t stream = make_stream();
    float *from = device_floats(x, 256 * BLOCKS), *to = device_floats(NULL, BLOCKS);
    for (int i = 0; i < 30; i++) {
        CHECK_CUDA(cudaMemsetAsync(to, 0, sizeof sums, stream));
        for (int k = 0; k < 10; k++) CHECK_CUDA(probe_block_sum(from, to, BLOCKS, 3, stream));
        usleep((useconds_t)(1000 + i * 37 % 900));
        read_floats(to, sums, BLOCKS);
        for (int k = 0; k < BLOCKS; k++) s->wrong += sums[k] != 255;
    }
    CHECK_CUDA(cudaFree(from));
    CHECK_CUDA(cudaFree(to));
    CHECK_CUDA(cudaStreamDestroy(stream));
    return NULL;
}

static void *watch(void *argument) {
    summer *s = argument;
    ncclResult_t state;
    while (!s->ends) {
        CHECK_NCCL(ncclCommGetAsyncError(s->comm, &state));
        CHECK(state == ncclSuccess);
        usleep(100);
    }
    return NULL;
}

/* Threads that call CUDA and NCCL at once, and the one that runs beside them. */
void test_threads(void) {
    float one = 1, got;
    pthread_t other, watcher;
    summer s = {0, false, make_comm(MPI_COMM_WORLD, true)};
    cudaStream_t stream = make_stream();
    float *x = device_floats(&one, 1);
    CHECK(pthread_create(&watcher, NULL, watch, &s) == 0);
    if (check_rank() == 0) CHECK(pthread_create(&other, NULL, sum_blocks, &s) == 0);
    for (int i = 0; i < 30; i++) {
        CHECK_CUDA(probe_map(x, x, 1, 1, 1, stream));
        CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclMax, s.comm, stream));
        usleep((useconds_t)(i % 3) * 1000);
    }
    CHECK_CUDA(cudaStreamSynchronize(stream));
    if (check_rank() == 0) pthread_join(other, NULL);
    s.ends = true;
    pthread_join(watcher, NULL);
    read_floats(x, &got, 1);
    CHECK_NEAR(got, 31, 0);
    CHECK_EQ_I64(s.wrong, 0);
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_NCCL(ncclCommDestroy(s.comm));
}
