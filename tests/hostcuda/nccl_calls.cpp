/* nccl_calls.cpp: the functions of nccl.h, checked as NCCL checks them. What NCCL does not check is not checked here: a
 * rank that calls otherwise than the others makes them wait.
 *
 * A call outside of a group is a group of one. Invariant: a communicator that does not block gives ncclInProgress after
 * every call that does something, but for a window's registration, and refuses the next one until ncclCommGetAsyncError
 * has said ncclSuccess. */
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>

#include "nccl_comm.h"
#include "nccl_meeting.h"
#include "nccl_plan.h"
#include "nccl_reduce.h"
#include "nccl_wire.h"

namespace hostnccl {

namespace {

/* Calls between ncclGroupStart and ncclGroupEnd, of one thread. */
struct group {
    int depth;
    ncclResult_t code; /* of the first that failed */
    std::vector<std::pair<ncclComm_t, work>> works;
    std::vector<ncclComm_t> created; /* wait for each other, so all must be there first */
};
thread_local group calls;

ncclResult_t check_here() {
    const char *missing = wire_missing();
    if (engine() == NULL) return failed(ncclUnhandledCudaError, "the CUDA runtime on the host is not loaded");
    return missing == NULL ? ncclSuccess : failed(ncclSystemError, "%s", missing);
}

ncclResult_t check_work(ncclComm_t comm, const work &w) {
    bool has_root = w.what != kind::all_reduce && w.what != kind::reduce_scatter && w.what != kind::all_gather;
    ncclResult_t code = check_ready(comm);
    if (code != ncclSuccess) return code;
    if (comm->finalized) return failed(ncclInvalidArgument, "%s: the communicator has been finalized", name_of(w.what));
    if (has_root && (w.root < 0 || w.root >= (int)comm->on->processes.size()))
        return failed(ncclInvalidArgument, "%s: invalid root %d", name_of(w.what), w.root);
    if (bytes_of(w.type) == 0) return failed(ncclInvalidArgument, "%s: invalid type %d", name_of(w.what), (int)w.type);
    if (w.op < 0 || w.op >= ncclNumOps)
        return failed(ncclInvalidArgument, "%s: invalid reduction operation %d", name_of(w.what), (int)w.op);
    return ncclSuccess;
}

/* All works of a communicator as one operation of all their streams. */
ncclResult_t queue_works(ncclComm_t comm, const std::vector<work> &works) {
    std::vector<cudaStream_t> streams;
    for (const work &w : works)
        if (std::find(streams.begin(), streams.end(), w.stream) == streams.end()) streams.push_back(w.stream);
    cudaError_t code = engine()->queue(comm->device, streams, name_of(works[0].what),
                                       make_starter(comm->on, works, comm->held), comm->among);
    if (code == cudaSuccess) return ncclSuccess;
    return failed(ncclUnhandledCudaError, "%s: Cuda failure %d", name_of(works[0].what), (int)code);
}

/* Takes out those of the first one's communicator, in their order. */
std::vector<work> take_works_of_one(std::vector<std::pair<ncclComm_t, work>> *works, ncclComm_t *comm) {
    std::vector<work> taken;
    std::vector<std::pair<ncclComm_t, work>> others;
    *comm = works->front().first;
    for (const auto &w : *works) {
        if (w.first == *comm)
            taken.push_back(w.second);
        else
            others.push_back(w);
    }
    *works = others;
    return taken;
}

ncclResult_t end_group() {
    group done = std::move(calls);
    calls = group();
    if (done.code != ncclSuccess) return done.code;
    hold held(guard());
    ncclResult_t code = ncclSuccess;
    for (ncclComm_t comm : done.created)
        if (code == ncclSuccess) code = comm->blocking ? wait_for_jobs(comm, &held) : ncclInProgress;
    while (!done.works.empty() && (code == ncclSuccess || code == ncclInProgress)) {
        ncclComm_t comm;
        std::vector<work> works = take_works_of_one(&done.works, &comm);
        if (!is_live(comm)) return check_ready(comm); /* another thread has aborted it since */
        job queued = [=] { return queue_works(comm, works); };
        ncclResult_t result = comm->blocking ? queued() : submit(comm, queued, &held);
        if (result != ncclSuccess) code = result;
    }
    return code;
}

ncclResult_t call_work(ncclComm_t comm, const work &w) {
    ncclResult_t code;
    {
        hold held(guard());
        code = check_work(comm, w);
    }
    if (code == ncclSuccess) calls.works.push_back({comm, w});
    if (calls.depth == 0) {
        calls.code = code;
        return end_group();
    }
    if (calls.code == ncclSuccess) calls.code = code;
    return code;
}

/* Fields that later versions have added stand at the end; `blocking` has been there from the first. */
ncclResult_t read_config(const ncclConfig_t *config, bool otherwise, bool *blocking) {
    *blocking = otherwise;
    if (config == NULL) return ncclSuccess;
    if (config->magic != 0xcafebeef) return failed(ncclInvalidArgument, "ncclConfig_t argument not initialized");
    int least = config->minCTAs, most = config->maxCTAs, unset = NCCL_CONFIG_UNDEF_INT;
    if (config->blocking != unset && config->blocking != 0 && config->blocking != 1)
        return failed(ncclInvalidArgument, "Invalid config blocking attribute value %d", config->blocking);
    if ((least != unset && least <= 0) || (most != unset && (most <= 0 || least > most)))
        return failed(ncclInvalidArgument, "Invalid config min/max channels attribute value %d/%d", least, most);
    if (config->blocking != unset) *blocking = config->blocking != 0;
    return ncclSuccess;
}

ncclResult_t init_rank(ncclComm_t *comm, int ranks, const ncclUniqueId &id, int rank, const ncclConfig_t *config) {
    bool blocking;
    if (comm == NULL) return failed(ncclInvalidArgument, "CommInitRank : comm argument is NULL");
    *comm = NULL;
    ncclResult_t code = check_here();
    if (code == ncclSuccess) code = read_config(config, true, &blocking);
    if (code != ncclSuccess) return code;
    if (ranks < 1 || rank < 0 || rank >= ranks)
        return failed(ncclInvalidArgument, "Invalid rank requested : %d/%d", rank, ranks);
    code = create(comm, ranks, id, rank, blocking);
    if (code != ncclSuccess) return code;
    calls.created.push_back(*comm);
    return calls.depth == 0 ? end_group() : ncclSuccess;
}

ncclResult_t optional_mem_alloc(void **memory, size_t bytes) {
    if (memory == NULL || bytes == 0) return failed(ncclInvalidArgument, "ncclMemAlloc: invalid argument");
    if (engine() == NULL || engine()->allocate(memory, bytes) != cudaSuccess)
        return failed(ncclUnhandledCudaError, "ncclMemAlloc: no %zu bytes of device memory", bytes);
    return ncclSuccess;
}

ncclResult_t optional_mem_free(void *memory) {
    bool freed = engine() != NULL && engine()->release(memory) == cudaSuccess;
    return freed ? ncclSuccess : failed(ncclUnhandledCudaError, "ncclMemFree: Cuda failure");
}

ncclResult_t check_buffer(ncclComm_t comm, const void *memory, size_t bytes) {
    ncclResult_t code = check_ready(comm);
    if (code != ncclSuccess) return code;
    if (memory == NULL || bytes == 0 || !engine()->holds(memory, bytes))
        return failed(ncclInvalidArgument, "%zu bytes at %p are not device memory", bytes, memory);
    return ncclSuccess;
}

void *add_registered(ncclComm_t comm, size_t bytes) {
    void *handle = malloc(1);
    comm->registered[handle] = bytes;
    engine()->count_registered(1);
    return handle;
}

ncclResult_t remove_registered(ncclComm_t comm, void *handle) {
    if (comm->registered.erase(handle) == 0)
        return failed(ncclInvalidArgument, "the handle is none of the communicator");
    engine()->count_registered(-1);
    free(handle);
    return ncclSuccess;
}

ncclResult_t optional_register(const ncclComm_t comm, void *memory, size_t bytes, void **handle) {
    hold held(guard());
    ncclResult_t code = check_buffer(comm, memory, bytes);
    if (code == ncclSuccess) *handle = add_registered(comm, bytes);
    return code;
}

ncclResult_t optional_deregister(const ncclComm_t comm, void *handle) {
    hold held(guard());
    if (!is_live(comm)) return failed(ncclInvalidArgument, "the communicator is none, or has been destroyed");
    return handle == NULL ? ncclSuccess : remove_registered(comm, handle);
}

/* Collective: ready when all ranks have called, with as many bytes. NULL where HOSTNCCL_WINDOWS is 0. As NCCL's, it
 * gives ncclSuccess while it is under way, and writes the window at its end. */
ncclResult_t optional_window_register(ncclComm_t comm, void *memory, size_t bytes, ncclWindow_t *window, int) {
    const char *windows = getenv("HOSTNCCL_WINDOWS");
    hold held(guard());
    ncclResult_t code = check_buffer(comm, memory, bytes);
    if (code != ncclSuccess) return code;
    if ((uintptr_t)memory % NCCL_WIN_REQUIRED_ALIGNMENT != 0)
        return failed(ncclInvalidArgument, "ncclCommWindowRegister: %p is not at a multiple of %d", memory,
                      NCCL_WIN_REQUIRED_ALIGNMENT);
    *window = NULL;
    if (windows != NULL && atoi(windows) == 0) return ncclSuccess;
    std::vector<int> all;
    for (size_t r = 0; r < comm->on->processes.size(); r++) all.push_back((int)r);
    uint64_t key = key_of(key_of(comm->on->key, 'w'), comm->windows++);
    code = submit(comm,
                  make_exchange(comm->on, all, key, &bytes, sizeof bytes,
                                [=](const char *told) {
                                    if (planned_rank("HOSTNCCL_WINDOW_FAILS"))
                                        return failed(ncclSystemError, "ncclCommWindowRegister: made to fail");
                                    const size_t *sizes = reinterpret_cast<const size_t *>(told);
                                    for (size_t r = 0; r < all.size(); r++)
                                        if (sizes[r] != bytes)
                                            return failed(ncclInvalidArgument,
                                                          "ncclCommWindowRegister: %zu bytes here, %zu on rank %zu",
                                                          bytes, sizes[r], r);
                                    *window = static_cast<ncclWindow_t>(add_registered(comm, bytes));
                                    return ncclSuccess;
                                }),
                  &held);
    return code == ncclInProgress ? ncclSuccess : code;
}

ncclResult_t optional_window_deregister(ncclComm_t comm, ncclWindow_t window) {
    return optional_deregister(comm, window);
}

ncclResult_t optional_split(ncclComm_t comm, int color, int key, ncclComm_t *child, ncclConfig_t *config) {
    bool blocking;
    hold held(guard());
    ncclResult_t code = check_ready(comm);
    if (code == ncclSuccess) code = read_config(config, comm->blocking, &blocking);
    if (code != ncclSuccess) return code;
    if (child == NULL || (color < 0 && color != NCCL_SPLIT_NOCOLOR))
        return failed(ncclInvalidArgument, "ncclCommSplit: invalid argument");
    return split(comm, color, key, child, blocking, &held);
}

}  // namespace

}  // namespace hostnccl

using namespace hostnccl;

/* A function that not every version has: dlsym finds none where this version is older, or HOSTNCCL_WITHOUT names it. */
#define OPTIONAL(name, since, does)                                                                   \
    __attribute__((visibility("hidden"))) decltype(&name) hostnccl_find_##name(void);                 \
    decltype(&name) hostnccl_find_##name(void) { return has_function(#name, since) ? (does) : NULL; } \
    __attribute__((visibility("default"), ifunc("hostnccl_find_" #name))) decltype(name) name

#pragma GCC visibility push(default)
extern "C" {

ncclResult_t ncclGetVersion(int *number) {
    if (number == NULL) return ncclInvalidArgument;
    *number = version();
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    if (id == NULL) return ncclInvalidArgument;
    make_id(id);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t code) {
    switch (code) {
        case ncclSuccess: return "no error";
        case ncclUnhandledCudaError: return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
        case ncclSystemError: return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
        case ncclInternalError: return "internal error - please report this issue to the NCCL developers";
        case ncclInvalidArgument: return "invalid argument (run with NCCL_DEBUG=WARN for details)";
        case ncclInvalidUsage: return "invalid usage (run with NCCL_DEBUG=WARN for details)";
        case ncclRemoteError: return "remote process exited or there was a network error";
        case ncclInProgress: return "NCCL operation in progress";
        default: return "unknown result code";
    }
}

const char *ncclGetLastError(ncclComm_t) { return last_error(); }

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank) {
    return init_rank(comm, ranks, id, rank, NULL);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config) {
    return init_rank(comm, ranks, id, rank, config);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    hold held(guard());
    if (comm == NULL) return ncclSuccess;
    ncclResult_t code = check_ready(comm);
    if (code == ncclSuccess && comm->finalized) code = failed(ncclInvalidArgument, "finalized twice");
    return code == ncclSuccess ? finalize(comm, &held) : code;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    hold held(guard());
    if (comm == NULL) return ncclSuccess;
    ncclResult_t code = check_ready(comm);
    return code == ncclSuccess ? destroy(comm, &held) : code;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    hold held(guard());
    if (comm == NULL) return ncclSuccess;
    if (!is_live(comm) || comm->on->aborted) return failed(ncclInvalidArgument, "aborted twice, or no communicator");
    return abort(comm, &held);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
    hold held(guard());
    if (error == NULL || !is_live(comm)) return failed(ncclInvalidArgument, "ncclCommGetAsyncError: no communicator");
    settle(comm);
    *error = state_of(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *ranks) {
    hold held(guard());
    ncclResult_t code = check_ready(comm);
    if (code == ncclSuccess) *ranks = (int)comm->on->processes.size();
    return code;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
    hold held(guard());
    ncclResult_t code = check_ready(comm);
    if (code == ncclSuccess) *device = comm->device;
    return code;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
    hold held(guard());
    ncclResult_t code = check_ready(comm);
    if (code == ncclSuccess) *rank = comm->on->rank;
    return code;
}

ncclResult_t ncclGroupStart(void) {
    calls.depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
    if (calls.depth == 0) return failed(ncclInvalidUsage, "ncclGroupEnd: not in a group call.");
    return --calls.depth == 0 ? end_group() : ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
    return call_work(comm, {kind::all_reduce, from, to, count, type, op, 0, stream});
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    return call_work(comm, {kind::reduce_scatter, from, to, count, type, op, 0, stream});
}

ncclResult_t ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
    return call_work(comm, {kind::reduce, from, to, count, type, op, root, stream});
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    return call_work(comm, {kind::all_gather, from, to, count, type, ncclSum, 0, stream});
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
    return call_work(comm, {kind::broadcast, from, to, count, type, ncclSum, root, stream});
}

ncclResult_t ncclBcast(void *buffer, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                       cudaStream_t stream) {
    return ncclBroadcast(buffer, buffer, count, type, root, comm, stream);
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return call_work(comm, {kind::send, from, NULL, count, type, ncclSum, peer, stream});
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
    return call_work(comm, {kind::receive, NULL, to, count, type, ncclSum, peer, stream});
}

OPTIONAL(ncclMemAlloc, NCCL_VERSION(2, 19, 1), optional_mem_alloc);
OPTIONAL(ncclMemFree, NCCL_VERSION(2, 19, 1), optional_mem_free);
OPTIONAL(ncclCommRegister, NCCL_VERSION(2, 19, 1), optional_register);
OPTIONAL(ncclCommDeregister, NCCL_VERSION(2, 19, 1), optional_deregister);
OPTIONAL(ncclCommWindowRegister, NCCL_VERSION(2, 27, 3), optional_window_register);
OPTIONAL(ncclCommWindowDeregister, NCCL_VERSION(2, 27, 3), optional_window_deregister);
OPTIONAL(ncclCommSplit, NCCL_VERSION(2, 18, 1), optional_split);
}
#pragma GCC visibility pop
