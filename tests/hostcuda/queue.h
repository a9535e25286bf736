/* queue.h: streams, events, captures and graphs of the device that is played.
 *
 * What the host queues becomes an operation that waits for others: the one before it in its stream, the record of an
 * event. Nothing runs until the host waits, asks or has queued a lot; then operations run one by one, in the host's
 * thread, each chosen at random among those that wait for nothing. So an order that no event enforces differs from seed
 * to seed. A capture collects the same operations as the nodes of a graph instead; a launch of the graph queues them.
 *
 * A collective takes until other processes are there too: it is started, and then asked now and then whether it is
 * done, while other work runs. Whoever waits for it lets other threads in between two questions.
 *
 * Invariant: everything here is called with the runtime's lock held (`entry`), and an operation runs only after all
 * that it waits for. What a caller of run_until or run_all read before may have changed after it: they let others in.
 */
#ifndef HOSTCUDA_QUEUE_H
#define HOSTCUDA_QUEUE_H

#include <cuda_runtime.h>

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace hostcuda {

struct operation;
typedef std::shared_ptr<operation> operation_ref;

/* What does not end at once: started, with device memory open, it gives the question whether it has ended. */
typedef std::function<bool()> question;
typedef std::function<question()> starter;

/* Operations that follow each other, whatever their streams: those of one communicator. */
struct order {
    operation_ref last;
};
typedef std::shared_ptr<order> order_ref;

struct operation {
    const char *name;          /* borrowed */
    std::function<void()> run; /* may be empty: then it is there for the order alone */
    bool is_kernel;
    bool done;
    int waits_for;
    std::vector<operation_ref> then; /* those that wait for this one */
    starter start;                   /* in place of run */
    question ended;                  /* once started */
};

struct node {
    const char *name;
    std::function<void()> run;
    bool is_kernel;
    std::vector<int> after; /* nodes of the same graph */
    starter start;
    order_ref among; /* NULL: follows the nodes before it alone */
};

/* Between cudaStreamBeginCapture and cudaStreamEndCapture. */
struct capture {
    cudaGraph_t graph;
    cudaStream_t origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool broken;
    std::set<cudaStream_t> streams;
    unsigned long long id;
};

}  // namespace hostcuda

struct CUstream_st {
    int device;
    bool blocking;
    int priority;
    hostcuda::operation_ref last; /* NULL: nothing queued yet */
    hostcuda::capture *capture;
    std::vector<int> after; /* while capturing: nodes that the next one comes after */
};

struct CUevent_st {
    int device;
    bool timing;
    hostcuda::operation_ref record; /* NULL: never recorded */
    std::chrono::steady_clock::time_point when;
    hostcuda::capture *capture; /* recorded in it; NULL: not */
    unsigned long long capture_id;
    std::vector<int> after;
};

struct CUgraph_st {
    std::vector<hostcuda::node> nodes;
};

struct CUgraphExec_st {
    std::vector<hostcuda::node> nodes;
    hostcuda::operation_ref last; /* end of the last launch: launches of one graph follow each other */
};

namespace hostcuda {

/* What a thread of the host has: its device and its last error. */
struct host_thread {
    int device;
    cudaError_t last_error;
    cudaStreamCaptureMode mode;
};
host_thread &this_thread();

/* Held while a CUDA function works: the lock; on leaving it, device memory is closed. It is given up now and then while
 * the function waits for a collective. */
class entry {
   public:
    entry();
    ~entry();
    entry(const entry &) = delete;
    entry &operator=(const entry &) = delete;
};

/* Remembers an error as the thread's last one, and returns it. */
cudaError_t result(cudaError_t code);

/* Every counter that hostcuda_count knows. */
struct counters {
    long long synchronise, query, allocate, launch, kernel, graph_launch, graph_node, copy, contexts, collective,
        registered;
};
extern counters count;

/* Not cudaSuccess when the device cannot be used by this thread: no driver, none there, busy, lost. Makes a context. */
cudaError_t use_device();
/* The error of a device that fell off (HOSTCUDA_LOST_AFTER); cudaSuccess before. */
extern cudaError_t lost;

/* Queues, or captures; NULL is the legacy stream. */
cudaError_t enqueue(cudaStream_t stream, const char *name, bool is_kernel, std::function<void()> run);
/* Queues, or captures, what takes a while, as one operation of all the streams and behind those of the same order. */
cudaError_t enqueue_started(const std::vector<cudaStream_t> &streams, const char *name, starter start,
                            const order_ref &among);
/* Queues (not captures) what waits for an operation of another stream; a whole graph. */
cudaError_t enqueue_after(cudaStream_t stream, const operation_ref &earlier);
cudaError_t enqueue_graph(cudaStream_t stream, cudaGraphExec_t executable);
/* The stream's last operation; NULL: nothing was queued. */
operation_ref stream_last(cudaStream_t stream);
/* The operation after which all that is queued on the stream is done: for the legacy stream, on others too. */
operation_ref stream_end(cudaStream_t stream);
void run_until(operation_ref end);
void run_all();
/* Runs one operation, if there is one. */
void run_some();
/* Without the lock. */
bool has_ended(const order_ref &among);
/* Without the lock: runs what can run, when no other thread has called for a millisecond, until one does. */
void run_beside();

/* Not cudaSuccess while a capture forbids the call; breaks that capture. */
cudaError_t allow_unsafe_call();
cudaError_t allow_wait(cudaStream_t stream); /* NULL: the whole device */
bool is_stream(cudaStream_t stream);
std::set<cudaStream_t> &streams();

/* What the thread may not use: other devices' streams, streams destroyed. The legacy stream becomes NULL. */
cudaError_t check_stream(cudaStream_t *stream);

}  // namespace hostcuda

#endif
