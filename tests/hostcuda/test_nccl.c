/* test_nccl.c: NCCL on the host: results by formula, communicators that do not block, splits, registered memory. */
#include "test_nccl.h"

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

/* ---- communicators ---- */

/* A communicator that does not block refuses calls until it has been asked, and then has done what it was told. */
static void not_blocking(void) {
    float one = 1, got;
    int ranks;
    ncclUniqueId id = share_id();
    ncclComm_t comm = NULL;
    CHECK_CUDA(cudaSetDevice(check_rank()));
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

/* Two communicators of the same ranks, which wait for each other at the end of the group alone. */
static void init_in_group(void) {
    ncclUniqueId first = share_id(), second = share_id();
    ncclComm_t a = NULL, b = NULL;
    int ranks = 0;
    bool even = check_rank() % 2 == 0;
    CHECK_NCCL(ncclGroupStart());
    CHECK_NCCL(begin_comm(even ? &a : &b, even ? &first : &second, true));
    CHECK_NCCL(begin_comm(even ? &b : &a, even ? &second : &first, true));
    CHECK_NCCL(ncclGroupEnd());
    CHECK_NCCL(ncclCommCount(a, &ranks));
    CHECK_EQ_I64(ranks, check_world());
    CHECK_NCCL(ncclCommDestroy(a));
    CHECK_NCCL(ncclCommDestroy(b));
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
        {"waits", test_waits}, {"order_of_calls", test_order_of_calls}, {"groups", test_groups},
        {"replays", test_replays}, {"progress", test_progress}, {"threads", test_threads},
        {"not_blocking", not_blocking}, {"init_in_group", init_in_group}, {"splits", split_both_ways},
        {"some_ranks", some_ranks}, {"registered_memory", registered_memory}, {"versions", test_versions},
        {"same_device", test_same_device}, {"wrong_calls", test_wrong_calls}, {"init_hangs", test_init_hangs},
        {"aborts", test_aborts}, {"asynchronous_errors", test_asynchronous_errors}, {"skips", test_skips},
        {"signals", test_signals}, {"deaths", test_deaths});
}
