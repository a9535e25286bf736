/* queue.cpp: see queue.h. */
#include "queue.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>

#include "block.h"
#include "device.h"
#include "memory.h"
#include "setting.h"

namespace hostcuda {

counters count;
cudaError_t lost;

namespace {

enum { room = 512 }; /* operations that may be queued before the host has to wait for one */

typedef std::chrono::steady_clock host_clock;

std::mutex lock;
std::atomic<int> callers;             /* threads that have the lock, or want it */
std::atomic<long long> last_call;     /* when one left, in ns of the host's clock */
std::vector<operation_ref> ready;     /* wait for nothing */
std::vector<operation_ref> under_way; /* have been started */
int queued;
operation_ref legacy_last; /* the legacy stream's */

pthread_key_t thread_key;

void make_thread_key() {
    pthread_key_create(&thread_key, [](void *state) { delete static_cast<host_thread *>(state); });
}

void depend(const operation_ref &later, const operation_ref &earlier) {
    if (earlier == NULL || earlier->done) return;
    earlier->then.push_back(later);
    later->waits_for++;
}

void admit(const operation_ref &op) {
    queued++;
    if (op->waits_for == 0) ready.push_back(op);
}

/* The device falls off after so many kernels; what is queued then never runs. */
void count_kernel() {
    long long after = setting("HOSTCUDA_LOST_AFTER", -1);
    if (after >= 0 && count.kernel >= after) lost = (cudaError_t)setting("HOSTCUDA_LOST_ERROR", cudaErrorLaunchFailure);
    count.kernel++;
}

void end(const operation_ref &op) {
    queued--;
    op->run = nullptr, op->start = nullptr, op->ended = nullptr;
    op->done = true;
    for (const operation_ref &next : op->then)
        if (--next->waits_for == 0) ready.push_back(next);
    op->then.clear();
}

/* Whether one of those that have been started has ended. */
bool end_started() {
    size_t kept = 0, before = under_way.size();
    std::vector<operation_ref> asked;
    asked.swap(under_way);
    for (operation_ref &op : asked) {
        running_operation = op->name;
        if (lost != cudaSuccess || op->ended())
            end(op);
        else
            kept++, under_way.push_back(op);
    }
    running_operation = NULL;
    return kept < before;
}

void execute(const operation_ref &op) {
    memory_open();
    running_operation = op->name;
    if (op->start) {
        op->ended = op->start();
        under_way.push_back(op);
    } else {
        op->run();
    }
    running_operation = NULL;
}

/* Whether there was something to do. */
bool run_one() {
    bool some = end_started();
    if (ready.empty()) return some;
    size_t choice = random_below((uint32_t)ready.size());
    operation_ref op = ready[choice];
    ready[choice] = ready.back();
    ready.pop_back();
    if (op->is_kernel) count_kernel();
    if ((op->run || op->start) && lost == cudaSuccess) execute(op);
    if (!op->ended) end(op);
    return true;
}

/* Runs one operation; where all that could run has been started, lets others in for a moment. */
void run_or_wait() {
    enum { patience = 20, nap_us = 50 };
    static int vain;
    if (run_one()) {
        vain = 0;
        return;
    }
    if (under_way.empty()) fatal("queued work waits for itself");
    bool nap = ++vain > patience;
    lock.unlock();
    if (nap)
        usleep(nap_us);
    else
        std::this_thread::yield();
    lock.lock();
}

operation_ref make_operation(const char *name, bool is_kernel) {
    operation_ref op = std::make_shared<operation>();
    op->name = name;
    op->is_kernel = is_kernel;
    return op;
}

/* The operation follows the stream's last one, and is it from now on; the legacy stream waits for every blocking
 * stream, and they for it. */
void line_up(const operation_ref &op, cudaStream_t stream) {
    if (stream == NULL) {
        depend(op, legacy_last);
        for (cudaStream_t s : streams())
            if (s->blocking) depend(op, s->last);
        legacy_last = op;
    } else {
        depend(op, stream->last);
        if (stream->blocking) depend(op, legacy_last);
        stream->last = op;
    }
}

void line_up_among(const operation_ref &op, const order_ref &among) {
    if (among == NULL) return;
    depend(op, among->last);
    among->last = op;
}

operation_ref append(cudaStream_t stream, const char *name, bool is_kernel, std::function<void()> run,
                     const std::vector<operation_ref> &earlier = {}) {
    operation_ref op = make_operation(name, is_kernel);
    op->run = std::move(run);
    for (const operation_ref &e : earlier) depend(op, e);
    line_up(op, stream);
    admit(op);
    return op;
}

/* Sometimes work runs as soon as it is queued: whoever counts on it to be late is wrong too. */
void run_early() {
    if (random_below(8) == 0) run_some();
}

void make_room() {
    while (queued > room) run_or_wait();
    run_early();
}

bool any_capture(bool (*counts)(const capture &)) {
    bool found = false;
    for (cudaStream_t s : streams())
        if (s->capture != NULL && counts(*s->capture)) {
            s->capture->broken = true;
            found = true;
        }
    return found;
}

}  // namespace

std::set<cudaStream_t> &streams() {
    static std::set<cudaStream_t> all;
    return all;
}

bool is_stream(cudaStream_t stream) { return streams().count(stream) != 0; }

host_thread &this_thread() {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_thread_key);
    host_thread *state = static_cast<host_thread *>(pthread_getspecific(thread_key));
    if (state == NULL) {
        state = new host_thread();
        pthread_setspecific(thread_key, state);
    }
    return *state;
}

static long long now_ns() { return host_clock::now().time_since_epoch().count(); }

entry::entry() {
    callers++;
    lock.lock();
    fault_handler_install();
}

entry::~entry() {
    memory_close();
    last_call = now_ns();
    lock.unlock();
    callers--;
}

bool has_ended(const order_ref &among) {
    std::lock_guard<std::mutex> held(lock); /* not a call of the program's */
    return among->last == NULL || among->last->done;
}

void run_beside() {
    enum { idle_ns = 1000000 };
    if (callers != 0 || now_ns() - last_call < idle_ns || !lock.try_lock()) return;
    while (callers == 0 && run_one()) continue;
    memory_close();
    lock.unlock();
}

cudaError_t result(cudaError_t code) {
    if (code != cudaSuccess) this_thread().last_error = code;
    return code;
}

cudaError_t check_stream(cudaStream_t *stream) {
    if (*stream == cudaStreamLegacy) *stream = NULL;
    if (*stream == cudaStreamPerThread) fatal("cudaStreamPerThread is not implemented");
    if (*stream == NULL) {
        for (cudaStream_t s : streams())
            if (s->blocking && s->capture != NULL) {
                s->capture->broken = true;
                return cudaErrorStreamCaptureImplicit;
            }
        return cudaSuccess;
    }
    if (!is_stream(*stream)) return cudaErrorContextIsDestroyed;
    return (*stream)->device == this_thread().device ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t enqueue(cudaStream_t stream, const char *name, bool is_kernel, std::function<void()> run) {
    if (stream == NULL || stream->capture == NULL) {
        append(stream, name, is_kernel, std::move(run));
        make_room();
        return lost;
    }
    capture *c = stream->capture;
    if (c->broken) return cudaErrorStreamCaptureInvalidated;
    c->graph->nodes.push_back({name, std::move(run), is_kernel, stream->after, nullptr, nullptr});
    stream->after = {(int)c->graph->nodes.size() - 1};
    return cudaSuccess;
}

/* In a capture: a node after the last ones of all the streams. */
static cudaError_t capture_started(const std::vector<cudaStream_t> &streams, node made) {
    capture *c = streams[0]->capture;
    if (c->broken) return cudaErrorStreamCaptureInvalidated;
    for (cudaStream_t s : streams) made.after.insert(made.after.end(), s->after.begin(), s->after.end());
    c->graph->nodes.push_back(std::move(made));
    for (cudaStream_t s : streams) s->after = {(int)c->graph->nodes.size() - 1};
    return cudaSuccess;
}

cudaError_t enqueue_started(const std::vector<cudaStream_t> &streams, const char *name, starter start,
                            const order_ref &among) {
    auto capture_of = [](cudaStream_t s) { return s != NULL ? s->capture : NULL; };
    for (cudaStream_t s : streams)
        if (capture_of(s) != capture_of(streams[0])) return cudaErrorStreamCaptureIsolation;
    if (capture_of(streams[0]) != NULL)
        return capture_started(streams, {name, nullptr, false, {}, std::move(start), among});
    operation_ref op = make_operation(name, false);
    op->start = std::move(start);
    line_up_among(op, among);
    for (cudaStream_t s : streams) line_up(op, s);
    admit(op);
    run_early(); /* and never wait: the caller may hold what others need */
    return lost;
}

static std::map<const void *, size_t> shared_allowed; /* by kernel; others have the default */

void allow_shared(const void *function, size_t bytes) { shared_allowed[function] = bytes; }

static cudaError_t check_shape(const launch_shape &s) {
    unsigned long long threads = (unsigned long long)s.block.x * s.block.y * s.block.z;
    if (threads == 0 || threads > max_threads || s.block.z > 64) return cudaErrorInvalidConfiguration;
    if (s.grid.x == 0 || s.grid.y == 0 || s.grid.z == 0) return cudaErrorInvalidConfiguration;
    if (s.grid.x > 0x7fffffffu || s.grid.y > 65535 || s.grid.z > 65535) return cudaErrorInvalidConfiguration;
    auto allowed = shared_allowed.find(s.function);
    size_t most = allowed != shared_allowed.end() ? allowed->second : 0;
    return s.shared_bytes > shared_default && s.shared_bytes > most ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t queue_kernel(const launch_shape &shape, cudaStream_t stream, std::function<void()> thread) {
    entry held;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code == cudaSuccess && device_capability() < 80) code = cudaErrorNoKernelImageForDevice;
    if (code == cudaSuccess) code = check_shape(shape);
    if (code == cudaSuccess) {
        count.launch++;
        code = enqueue(stream, shape.name, true, [=] { run_grid(shape, thread); });
    }
    result(code);
    return this_thread().last_error; /* a launch returns nothing: callers peek, and may see an older error */
}

cudaError_t enqueue_after(cudaStream_t stream, const operation_ref &earlier) {
    append(stream, "wait for an event", false, nullptr, {earlier});
    make_room();
    return lost;
}

/* The nodes wait for the stream and for each other as captured; the stream goes on after all of them. */
cudaError_t enqueue_graph(cudaStream_t stream, cudaGraphExec_t executable) {
    if (stream != NULL && stream->capture != NULL) fatal("a graph launched while capturing is not implemented");
    operation_ref begin = append(stream, "graph", false, nullptr, {executable->last});
    std::vector<operation_ref> made;
    for (const node &n : executable->nodes) {
        operation_ref op = make_operation(n.name, n.is_kernel);
        op->run = n.run, op->start = n.start;
        depend(op, begin);
        line_up_among(op, n.among);
        for (int before : n.after) depend(op, made[(size_t)before]);
        admit(op);
        made.push_back(op);
    }
    executable->last = append(stream, "end of a graph", false, nullptr, made);
    make_room();
    return lost;
}

operation_ref stream_last(cudaStream_t stream) { return stream != NULL ? stream->last : legacy_last; }

operation_ref stream_end(cudaStream_t stream) {
    if (stream != NULL) return stream->last;
    return append(NULL, "end of the legacy stream", false, nullptr);
}

void run_until(operation_ref end) {
    while (end != NULL && !end->done) run_or_wait();
}

void run_all() {
    while (!ready.empty() || !under_way.empty()) run_or_wait();
}

void run_some() {
    if (!ready.empty() || !under_way.empty()) run_one();
}

static bool forbids_here(const capture &c) {
    if (this_thread().mode == cudaStreamCaptureModeRelaxed || c.mode == cudaStreamCaptureModeRelaxed) return false;
    return c.mode == cudaStreamCaptureModeGlobal || c.thread == std::this_thread::get_id();
}

cudaError_t allow_unsafe_call() { return any_capture(forbids_here) ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }

cudaError_t allow_wait(cudaStream_t stream) {
    if (stream == NULL)
        return any_capture([](const capture &) { return true; }) ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
    if (stream->capture == NULL) return cudaSuccess;
    stream->capture->broken = true;
    return cudaErrorStreamCaptureUnsupported;
}

}  // namespace hostcuda
