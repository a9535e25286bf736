/* nccl_comm.h: communicators of NCCL on the host, and what is done for them beside the caller.
 *
 * Whatever needs other ranks (init, split, a window, the end) is a job of its communicator, asked again and again
 * until it has ended: by the call itself where the communicator is blocking, else by ncclCommGetAsyncError and a thread
 * that exists while there are communicators. That thread also runs what is queued on the device while the program does
 * not call CUDA, as a GPU would.
 *
 * Invariants: communicators are read and changed under `guard`, but for `ncclComm::on`, which operations on the device
 * use under the runtime's lock. guard is taken before the runtime's lock, never inside it, and is not held while
 * anything waits. */
#ifndef HOSTCUDA_NCCL_COMM_H
#define HOSTCUDA_NCCL_COMM_H

#include <nccl.h>

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine.h"

namespace hostnccl {

/* What operations on the device know of their communicator; they keep it. */
struct group_of_ranks {
    uint64_t key;
    int rank;
    std::vector<int> processes;             /* by rank: in MPI_COMM_WORLD */
    std::vector<int> of_host;               /* ranks of this rank's host */
    std::atomic<bool> aborted;
    std::atomic<int> failure; /* an ncclResult_t that came without a call */
};
typedef std::shared_ptr<group_of_ranks> ranks_ref;

/* Gives ncclInProgress until it has ended. */
typedef std::function<ncclResult_t()> job;

/* One call of a collective, or of ncclSend and ncclRecv (root: the peer). */
enum class kind { all_reduce, reduce_scatter, all_gather, broadcast, reduce, send, receive };
struct work {
    kind what;
    const void *from;
    void *to;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
    cudaStream_t stream;
};

}  // namespace hostnccl

struct ncclComm {
    hostnccl::ranks_ref on;
    hostcuda::order_ref among; /* its collectives follow each other */
    std::shared_ptr<int> held; /* one more reference for each operation that is queued or captured */
    int device;
    bool blocking, finalized;
    ncclResult_t failure; /* of a job */
    std::deque<hostnccl::job> jobs;
    uint64_t children, windows;
    std::map<void *, size_t> registered; /* by handle */
};

namespace hostnccl {

typedef std::unique_lock<std::mutex> hold;
std::mutex &guard();

/* NULL: the runtime of the plug-in is not loaded. */
const hostcuda::engine *engine();

/* Remembers the text for ncclGetLastError, prints it where NCCL_DEBUG is set, and returns the code. */
ncclResult_t failed(ncclResult_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *last_error();

/* Whether it is one that has neither been destroyed nor aborted. */
bool is_live(ncclComm_t comm);
/* ncclInProgress while there are jobs. */
ncclResult_t state_of(ncclComm_t comm);
/* ncclSuccess: calls are allowed. */
ncclResult_t check_ready(ncclComm_t comm);
/* Appends the job, which begins a little later where the communicator does not block; gives the call's result, waiting
 * where it blocks. The hold is of guard(). */
ncclResult_t submit(ncclComm_t comm, job added, hold *held);
/* Goes on with the jobs of the communicator. */
void settle(ncclComm_t comm);
/* Waits until no job is left or the communicator is aborted. */
ncclResult_t wait_for_jobs(ncclComm_t comm, hold *held);

void make_id(ncclUniqueId *id);
/* Begins to, and does not wait. */
ncclResult_t create(ncclComm_t *comm, int ranks, const ncclUniqueId &id, int rank, bool blocking);
ncclResult_t split(ncclComm_t comm, int color, int key, ncclComm_t *child, bool blocking, hold *held);
ncclResult_t finalize(ncclComm_t comm, hold *held);
/* The communicator is gone, and the hold given up, where the result is ncclSuccess. */
ncclResult_t destroy(ncclComm_t comm, hold *held);
ncclResult_t abort(ncclComm_t comm, hold *held);

/* Tells the given ranks, this one among them, these bytes; `then` gets those of all, by rank of the communicator. */
job make_exchange(const ranks_ref &on, const std::vector<int> &ranks, uint64_t key, const void *mine, size_t bytes,
                  std::function<ncclResult_t(const char *all)> then);

/* The starter of works that go out as one operation (nccl_collective.cpp). */
hostcuda::starter make_starter(const ranks_ref &on, std::vector<work> works, std::shared_ptr<int> held);
const char *name_of(kind what);

}  // namespace hostnccl

#endif
