/* test_nccl.c: NCCL on the host: results by formula, order of streams, groups, splits, captures, and what NCCL does
 * when something is wrong. */
#include "test_nccl.h"

#include <stdlib.h>

void free_all(int n, float **memory) {
    for (int i = 0; i < n; i++) CHECK_CUDA(cudaFree(memory[i]));
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
    ncclResult_t code = ncclCommInitRankConfig(&comm, world, id, rank, &config);
    CHECK(code == (blocking ? ncclSuccess : ncclInProgress));
    CHECK_NCCL(settle(comm));
    return comm;
}

ncclResult_t settle(ncclComm_t comm) {
    ncclResult_t state = ncclInProgress;
    while (ncclCommGetAsyncError(comm, &state) == ncclSuccess && state == ncclInProgress) sched_yield();
    return state;
}

static void sums(void) {
    enum { N = 1000 };
    float x[N], got[N];
    int n = check_world(), me = check_rank();
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    for (int i = 0; i < N; i++) x[i] = (float)(i + 1) * (float)(me + 1);
    float *device = device_floats(x, N);
    CHECK_NCCL(ncclAllReduce(device, device, N, ncclFloat32, ncclSum, comm, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(device, got, N);
    for (int i = 0; i < N; i++) CHECK_NEAR(got[i], (i + 1) * n * (n + 1) / 2, 0);
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(device));
}

/* Launches of a graph with two sums of each other's results, beside eager ones. */
static void replays(void) {
    float one = 1, got;
    int n = check_world();
    ncclComm_t comm = make_comm(MPI_COMM_WORLD, true);
    cudaStream_t stream = make_stream();
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    float *x = device_floats(&one, 1);
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK_CUDA(probe_map(x, x, 1, 1, 1, stream));
    CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream));
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphDestroy(graph));
    double expected = 1;
    for (int i = 0; i < 4; i++) {
        CHECK_CUDA(cudaGraphLaunch(executable, stream));
        CHECK_NCCL(ncclAllReduce(x, x, 1, ncclFloat32, ncclSum, comm, stream));
        expected = (expected + 1) * n * n;
    }
    CHECK_CUDA(cudaStreamSynchronize(stream));
    read_floats(x, &got, 1);
    CHECK_NEAR(got, expected, 0);
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    CHECK_NCCL(ncclCommDestroy(comm));
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CUDA(cudaFree(x));
}

int main(int argc, char **argv) {
    setenv("HOSTCUDA_DEVICES", "4", 0);
    return CHECK_MAIN(argc, argv, "nccl", {"sums", sums}, {"replays", replays});
}
