/* test_nccl.c: NCCL on the host: results by formula, order of streams, groups, splits, captures, progress. What needs
 * luck in the choice of an order is tried often. */
#include "test_nccl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

ncclUniqueId share_id(void) {
    ncclUniqueId id = {{0}};
    if (check_rank() == 0) CHECK_NCCL(ncclGetUniqueId(&id));
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    return id;
}

ncclResult_t begin_comm(ncclComm_t *comm, const ncclUniqueId *id, bool blocking) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = blocking;
    CHECK_CUDA(cudaSetDevice(check_rank()));
    return ncclCommInitRankConfig(comm, check_world(), *id, check_rank(), &config);
}

ncclComm_t make_comm(MPI_Comm mpi, bool blocking) {
    ncclUniqueId id = {{0}};
    ncclComm_t comm = NULL;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    int rank, world;
    MPI_Comm_rank(mpi, &rank);
    MPI_Comm_size(mpi, &world);
    CHECK_CUDA(cudaSetDevice(check_rank()));
    if (rank == 0) CHECK_NCCL(ncclGetUniqueId(&id));
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, mpi);
    config.blocking = blocking;
    CHECK_RESULT(ncclCommInitRankConfig(&comm, world, id, rank, &config), blocking ? ncclSuccess : ncclInProgress);
    CHECK_NCCL(settle(comm));
    return comm;
}

ncclResult_t settle(ncclComm_t comm) {
    ncclResult_t state = ncclInProgress;
    while (ncclCommGetAsyncError(comm, &state) == ncclSuccess && state == ncclInProgress) sched_yield();
    return state;
}

bool stays_busy(cudaStream_t stream) {
    cudaError_t code = cudaErrorNotReady;
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < 50 && code == cudaErrorNotReady; i++) {
        code = cudaStreamQuery(stream);
        usleep(1000);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return code == cudaErrorNotReady;
}

cudaGraphExec_t end_capture(cudaStream_t stream) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphDestroy(graph));
    return executable;
}

/* ---- results ---- */

enum { MOST = 37 };

/* Element i of rank r, from 1 on and small enough for sums to be exact in 16 bits; what n ranks make of it. */
static double element(int rank, int i) { return (rank + 1) * (i % 5 + 1) + i % 3; }
static double expected(ncclRedOp_t op, int n, int i) {
    double sum = 0;
    for (int r = 0; r < n; r++) sum += element(r, i);
    if (op == ncclMax) return element(n - 1, i);
    if (op == ncclMin) return element(0, i);
    return op == ncclAvg ? sum / n : sum;
}

static uint16_t to_bf16(double v) {
    union {
        float f;
        uint32_t u;
    } x = {(float)v};
    return (uint16_t)(x.u >> 16); /* of values that fit */
}

/* Whole numbers below 2048, and halves of them. */
static uint16_t to_f16(double v) {
    int e = 0;
    uint16_t sign = v < 0 ? 0x8000 : 0;
    if (v == 0) return 0;
    double fraction = frexp(fabs(v), &e);
    return (uint16_t)(sign | (e + 14) << 10 | ((int)(fraction * 2048) & 0x3ff));
}

static size_t put(ncclDataType_t type, void *all, int i, double v) {
    switch (type) {
        case ncclUint8: ((uint8_t *)all)[i] = (uint8_t)v; return 1;
        case ncclInt32: ((int32_t *)all)[i] = (int32_t)v; return 4;
        case ncclInt64: ((int64_t *)all)[i] = (int64_t)v; return 8;
        case ncclFloat16: ((uint16_t *)all)[i] = to_f16(v); return 2;
        case ncclBfloat16: ((uint16_t *)all)[i] = to_bf16(v); return 2;
        case ncclFloat32: ((float *)all)[i] = (float)v; return 4;
        default: ((double *)all)[i] = v; return 8;
    }
}

static void reduces(ncclDataType_t type, ncclRedOp_t op, int count, ncclComm_t comm, cudaStream_t stream) {
    char host[MOST * 8], got[MOST * 8], wanted[MOST * 8];
    size_t bytes = 0;
    void *x;
    for (int i = 0; i < MOST; i++) {
        bytes = put(type, host, i, element(check_rank(), i));
        put(type, wanted, i, i < count ? expected(op, check_world(), i) : element(check_rank(), i));
    }
    CHECK_CUDA(cudaMalloc(&x, MOST * bytes));
    CHECK_CUDA(cudaMemcpy(x, host, MOST * bytes, cudaMemcpyHostToDevice));
    CHECK_NCCL(ncclAllReduce(x, x, (size_t)count, type, op, comm, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaMemcpy(got, x, MOST * bytes, cudaMemcpyDeviceToHost));
    check_that(memcmp(got, wanted, MOST * bytes) == 0, __FILE__, __LINE__, "type %d, operation %d, %d elements", type,
               op, count);
    CHECK_CUDA(cudaFree(x));
}

static void sums(void) {
    static const ncclDataType_t types[] = {ncclUint8,    ncclInt32,   ncclInt64,  ncclFloat16,
                                           ncclBfloat16, ncclFloat32, ncclFloat64};
    static const ncclRedOp_t ops[] = {ncclSum, ncclMax, ncclMin};
    static const int counts[] = {0, 1, 3, MOST};
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    for (int t = 0; t < 7; t++)
        for (int o = 0; o < 3; o++)
            for (int c = 0; c < 4; c++) reduces(types[t], ops[o], counts[c], comm, stream);
    reduces(ncclFloat64, ncclAvg, MOST, comm, stream);
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaStreamDestroy(stream));
}

/* Values whose sum depends on the order: it is that of ranks, on all of them. bf16 is rounded once, at the end. */
static void order_of_sums(void) {
    float mine = check_rank() == 0 ? 1 : 0x1p-24f, sum = 1, got;
    uint16_t mine16 = to_bf16(check_rank() == 0 ? 256 : 0.5), got16;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    float *x = device_floats(&mine, 1), *y = device_floats(NULL, 1);
    for (int r = 1; r < check_world(); r++) sum += 0x1p-24f;
    CHECK_CUDA(cudaMemcpy(y, &mine16, 2, cudaMemcpyHostToDevice));
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, NULL));
    CHECK_NCCL(ncclAllReduce(y, y, 1, ncclBfloat16, ncclSum, comm, NULL));
    read_floats(x, &got, 1);
    CHECK_NEAR(got, sum, 0);
    CHECK_CUDA(cudaMemcpy(&got16, y, 2, cudaMemcpyDeviceToHost));
    CHECK_EQ_I64(got16, to_bf16(check_world() == 4 ? 258 : 256)); /* 257.5; each addition alone would be lost */
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
    CHECK_NCCL(ncclCommDestroy(comm));
}

/* Slices of 3 elements, in place and not; a broadcast; point to point around a ring. */
static void other_collectives(void) {
    float host[3 * 4], got[3 * 4], to_next = (float)check_rank();
    int n = check_world(), me = check_rank(), last = n - 1;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    for (int i = 0; i < 3 * n; i++) host[i] = (float)element(me, i);
    float *x = device_floats(host, 3 * n), *y = device_floats(NULL, 3 * n), *z = device_floats(&to_next, 1);
    CHECK_NCCL(ncclReduceScatter(x, y, 3, ncclFloat32, ncclSum, comm, stream));
    CHECK_NCCL(ncclReduceScatter(x, x + 3 * me, 3, ncclFloat32, ncclSum, comm, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(y, got, 3);
    for (int i = 0; i < 3; i++) CHECK_NEAR(got[i], expected(ncclSum, n, 3 * me + i), 0);
    CHECK_NCCL(ncclAllGather(y, y, 0, ncclFloat32, comm, stream));
    CHECK_NCCL(ncclAllGather(x + 3 * me, y, 3, ncclFloat32, comm, stream));
    CHECK_NCCL(ncclAllGather(x + 3 * me, x, 3, ncclFloat32, comm, stream));
    for (int in_place = 0; in_place < 2; in_place++) {
        read_floats(in_place ? x : y, got, 3 * n);
        for (int i = 0; i < 3 * n; i++) CHECK_NEAR(got[i], expected(ncclSum, n, i), 0);
    }
    CHECK_CUDA(cudaMemcpy(x, host, sizeof(float), cudaMemcpyHostToDevice));
    CHECK_NCCL(ncclBroadcast(x, y, 1, ncclFloat32, last, comm, stream));
    CHECK_NCCL(ncclReduce(x, x, 1, ncclFloat32, ncclSum, last, comm, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(y, got, 1);
    CHECK_NEAR(got[0], element(last, 0), 0);
    read_floats(x, got, 1);
    CHECK_NEAR(got[0], me == last ? expected(ncclSum, n, 0) : element(me, 0), 0);
    CHECK_NCCL(ncclGroupStart());
    CHECK_NCCL(ncclSend(z, 1, ncclFloat32, (me + 1) % n, comm, stream));
    CHECK_NCCL(ncclRecv(y, 1, ncclFloat32, (me + last) % n, comm, stream));
    CHECK_NCCL(ncclGroupEnd());
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(y, got, 1);
    CHECK_NEAR(got[0], (me + last) % n, 0);
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
    CHECK_CUDA(cudaFree(z));
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaStreamDestroy(stream));
}

/* ---- order ---- */

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

static void waits(void) {
    CHECK_EQ_I64(races(true, true), 0);
    if (check_world() == 1) return; /* its sum changes nothing */
    CHECK(races(false, true) > 0);
    CHECK(races(true, false) > 0);
}

/* Sums of one communicator follow each other as they were called, on whatever streams and in graphs; the host waits for
 * nothing. */
static void order_of_calls(void) {
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
static void groups(void) {
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
static void replays(void) {
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
static void progress(void) {
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
    for (int i = 0; i < 60; i++) {
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
static void threads(void) {
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

/* ---- communicators ---- */

/* A communicator that does not block refuses calls until it has been asked, and then has done what it was told. */
static void not_blocking(void) {
    float one = 1, got;
    int ranks;
    ncclUniqueId id = share_id();
    ncclComm_t comm = NULL;
    cudaStream_t stream = make_stream();
    float *x = device_floats(&one, 1), *y = device_floats(&one, 1);
    CHECK_RESULT(begin_comm(&comm, &id, false), ncclInProgress);
    CHECK_NCCL(settle(comm));
    for (int i = 0; i < TRIES; i++) {
        CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream), ncclInProgress);
        CHECK_NCCL(settle(comm));
        CHECK_CUDA(probe_map(x, x, 1, 1.0f / (float)check_world(), 0, stream));
    }
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(x, &got, 1);
    CHECK_NEAR(got, 1, 0);
    CHECK_NCCL(ncclGroupStart());
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream));
    CHECK_NCCL(ncclAllReduce(y, y, 1, ncclFloat32, ncclSum, comm, stream));
    CHECK_RESULT(ncclGroupEnd(), ncclInProgress);
    CHECK_NCCL(settle(comm));
    CHECK_NCCL(ncclCommCount(comm, &ranks));
    CHECK_EQ_I64(ranks, check_world());
    CHECK_RESULT(ncclCommFinalize(comm), ncclInProgress);
    CHECK_NCCL(settle(comm));
    for (int i = 0; i < 2; i++) {
        read_floats(i == 0 ? x : y, &got, 1);
        CHECK_NEAR(got, check_world(), 0);
    }
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
    CHECK_CUDA(cudaStreamDestroy(stream));
}

/* The even ranks in reverse order, the odd ones but for rank 3 in theirs. */
static void splits(bool blocking) {
    float mine = (float)(check_rank() + 1), got;
    int n = check_world(), me = check_rank(), rank = -1, ranks = 0, device = -1;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, blocking), half = comm;
    float *x = device_floats(&mine, 1);
    ncclResult_t code = ncclCommSplit(comm, me == 3 ? NCCL_SPLIT_NOCOLOR : me % 2, me % 2 ? me : -me, &half, NULL);
    if (!blocking) CHECK(code == ncclInProgress && half == NULL); /* nothing to be asked but the parent */
    CHECK_NCCL(settle(comm));
    CHECK((half == NULL) == (me == 3));
    if (half != NULL) {
        int evens = (n + 1) / 2;
        CHECK_NCCL(settle(half));
        CHECK_NCCL(ncclCommUserRank(half, &rank));
        CHECK_NCCL(ncclCommCount(half, &ranks));
        CHECK_NCCL(ncclCommCuDevice(half, &device));
        CHECK_EQ_I64(ranks, me % 2 ? 1 : evens);
        CHECK_EQ_I64(rank, me % 2 ? 0 : evens - 1 - me / 2);
        CHECK_EQ_I64(device, me);
        (void)ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, half, NULL);
        CHECK_NCCL(settle(half));
        read_floats(x, &got, 1);
        CHECK_NEAR(got, me % 2 ? me + 1 : evens * evens, 0);
        CHECK_NCCL(ncclCommDestroy(half));
    }
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaFree(x));
}

static void split_both_ways(void) {
    splits(true);
    splits(false);
}

/* A communicator of some ranks of the world alone, while the others do something else. */
static void some_ranks(void) {
    float one = 1, got;
    int me = check_rank();
    MPI_Comm part;
    MPI_Comm_split(MPI_COMM_WORLD, me == 0 ? MPI_UNDEFINED : 0, -me, &part);
    if (part == MPI_COMM_NULL) return;
    ncclComm_t comm = make_comm(part, false);
    float *x = device_floats(&one, 1);
    CHECK_RESULT(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, NULL), ncclInProgress);
    CHECK_NCCL(settle(comm));
    read_floats(x, &got, 1);
    CHECK_NEAR(got, check_world() - 1, 0);
    CHECK_CUDA(cudaFree(x));
    CHECK_NCCL(ncclCommDestroy(comm));
    MPI_Comm_free(&part);
}

static void registered_memory(void) {
    void *memory = NULL, *handle = NULL;
    float *plain = device_floats(NULL, 4);
    ncclWindow_t window = NULL;
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    long long registered = hostcuda_count("registered"), bytes = hostcuda_count("memory_bytes");
    CHECK_NCCL(ncclMemAlloc(&memory, 5000));
    CHECK_EQ_I64((uintptr_t)memory % NCCL_WIN_REQUIRED_ALIGNMENT, 0);
    CHECK_NCCL(ncclCommRegister(comm, memory, 5000, &handle));
    CHECK_NCCL(ncclCommWindowRegister(comm, memory, 5000, &window, NCCL_WIN_COLL_SYMMETRIC));
    CHECK_EQ_I64(hostcuda_count("registered"), registered + 2);
    CHECK_RESULT(ncclCommWindowRegister(comm, plain, 16, &window, NCCL_WIN_COLL_SYMMETRIC), ncclInvalidArgument);
    CHECK_RESULT(ncclCommRegister(comm, &memory, sizeof memory, &handle), ncclInvalidArgument);
    CHECK_NCCL(ncclCommWindowDeregister(comm, window));
    CHECK_NCCL(ncclCommDeregister(comm, handle));
    CHECK_RESULT(ncclCommDeregister(comm, handle), ncclInvalidArgument);
    CHECK_EQ_I64(hostcuda_count("registered"), registered);
    CHECK_NCCL(ncclMemFree(memory));
    CHECK_EQ_I64(hostcuda_count("memory_bytes"), bytes);
    CHECK_CUDA(cudaFree(plain));
    CHECK_NCCL(ncclCommDestroy(comm));
}

int main(int argc, char **argv) {
    setenv("HOSTCUDA_DEVICES", "4", 0);
    return CHECK_MAIN(
        argc, argv, "nccl", {"sums", sums}, {"order_of_sums", order_of_sums}, {"other_collectives", other_collectives},
        {"waits", waits}, {"order_of_calls", order_of_calls}, {"groups", groups}, {"replays", replays},
        {"progress", progress}, {"threads", threads}, {"not_blocking", not_blocking}, {"splits", split_both_ways},
        {"some_ranks", some_ranks}, {"registered_memory", registered_memory}, {"versions", test_versions},
        {"same_device", test_same_device}, {"wrong_calls", test_wrong_calls}, {"init_hangs", test_init_hangs},
        {"aborts", test_aborts}, {"asynchronous_errors", test_asynchronous_errors}, {"skips", test_skips},
        {"signals", test_signals}, {"deaths", test_deaths});
}
