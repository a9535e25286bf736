/* stream.cpp: the runtime's calls about streams, events, captures and graphs. What queues is in queue.cpp; here stands
 * what a caller may do when, as CUDA documents it: most of the rules are about captures, where a call that is not
 * allowed also spoils the capture. */
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "block.h"
#include "memory.h"
#include "queue.h"

namespace hostcuda {

namespace {

std::set<cudaEvent_t> events;
std::set<cudaGraph_t> graphs;
std::set<cudaGraphExec_t> executables;
unsigned long long captures;

cudaError_t create_stream(cudaStream_t *stream, unsigned flags, int priority) {
    *stream = NULL;
    cudaError_t code = use_device();
    if (code != cudaSuccess) return code;
    if ((flags & ~(unsigned)cudaStreamNonBlocking) != 0) return cudaErrorInvalidValue;
    cudaStream_t made = new CUstream_st();
    made->device = this_thread().device;
    made->blocking = (flags & cudaStreamNonBlocking) == 0;
    made->priority = std::max(-5, std::min(0, priority));
    streams().insert(made);
    *stream = made;
    return cudaSuccess;
}

/* The host waits: everything that the stream (NULL: the device) has queued is done afterwards. */
cudaError_t wait_for(cudaStream_t stream, bool whole_device) {
    count.synchronise++;
    cudaError_t code = use_device();
    if (code == cudaSuccess && !whole_device) code = check_stream(&stream);
    if (code == cudaSuccess && (stream != NULL || whole_device)) code = allow_wait(stream);
    if (code != cudaSuccess) return code;
    if (whole_device)
        run_all();
    else
        run_until(stream_end(stream));
    memory_check();
    return lost;
}

/* ---- events ---- */

cudaError_t check_event(cudaEvent_t event) {
    return events.count(event) != 0 ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

capture *capture_of(cudaEvent_t event) { /* NULL: none, or one that has ended */
    for (cudaStream_t s : streams())
        if (event->capture != NULL && s->capture == event->capture && s->capture->id == event->capture_id)
            return s->capture;
    return NULL;
}

cudaError_t record(cudaEvent_t event, cudaStream_t stream) {
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_event(event);
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code != cudaSuccess) return code;
    if (stream != NULL && stream->capture != NULL) {
        if (stream->capture->broken) return cudaErrorStreamCaptureInvalidated;
        event->capture = stream->capture;
        event->capture_id = stream->capture->id;
        event->after = stream->after;
        return cudaSuccess;
    }
    event->capture = NULL;
    code = enqueue(stream, "event", false, [=] { event->when = std::chrono::steady_clock::now(); });
    if (code == cudaSuccess) event->record = stream_last(stream);
    return code;
}

cudaError_t wait_captured(cudaStream_t stream, cudaEvent_t event) {
    capture *from = capture_of(event);
    if (from == NULL) return cudaErrorCapturedEvent;
    if (from->broken) return cudaErrorStreamCaptureInvalidated;
    if (stream == NULL) {
        from->broken = true;
        return cudaErrorStreamCaptureImplicit;
    }
    if (stream->capture != NULL && stream->capture != from) {
        stream->capture->broken = from->broken = true;
        return cudaErrorStreamCaptureMerge;
    }
    if (stream->capture == NULL) {
        stream->capture = from;
        stream->after.clear();
        from->streams.insert(stream);
    }
    for (int n : event->after)
        if (std::find(stream->after.begin(), stream->after.end(), n) == stream->after.end()) stream->after.push_back(n);
    return cudaSuccess;
}

cudaError_t wait_event(cudaStream_t stream, cudaEvent_t event) {
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_event(event);
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code != cudaSuccess) return code;
    if (event->capture != NULL) return wait_captured(stream, event);
    if (event->record == NULL) return cudaSuccess;
    if (stream != NULL && stream->capture != NULL) {
        stream->capture->broken = true;
        return cudaErrorStreamCaptureIsolation;
    }
    return enqueue_after(stream, event->record);
}

cudaError_t query(cudaEvent_t event) {
    count.query++;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_event(event);
    if (code != cudaSuccess) return code;
    if (event->capture != NULL) {
        capture *c = capture_of(event);
        if (c != NULL) c->broken = true;
        return cudaErrorCapturedEvent;
    }
    code = allow_unsafe_call();
    if (code != cudaSuccess) return code;
    run_some();
    if (lost != cudaSuccess) return lost;
    return event->record == NULL || event->record->done ? cudaSuccess : cudaErrorNotReady;
}

/* ---- captures ---- */

cudaError_t begin_capture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code != cudaSuccess) return code;
    if (stream == NULL) return cudaErrorStreamCaptureUnsupported;
    if (stream->capture != NULL) return cudaErrorIllegalState;
    capture *c = new capture();
    c->graph = new CUgraph_st();
    c->origin = stream;
    c->mode = mode;
    c->thread = std::this_thread::get_id();
    c->id = ++captures;
    c->streams.insert(stream);
    stream->capture = c;
    stream->after.clear();
    return cudaSuccess;
}

/* Whether every node comes before the end of the stream that the capture began on. */
bool is_joined(const capture &c) {
    std::vector<bool> reached(c.graph->nodes.size());
    std::vector<int> open = c.origin->after;
    while (!open.empty()) {
        int n = open.back();
        open.pop_back();
        if (reached[(size_t)n]) continue;
        reached[(size_t)n] = true;
        for (int before : c.graph->nodes[(size_t)n].after) open.push_back(before);
    }
    return std::find(reached.begin(), reached.end(), false) == reached.end();
}

cudaError_t end_capture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = NULL;
    if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
    capture *c = stream->capture;
    if (c == NULL) return cudaErrorIllegalState;
    if (c->origin != stream) {
        c->broken = true;
        return cudaErrorStreamCaptureUnmatched;
    }
    if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
        return cudaErrorStreamCaptureWrongThread;
    cudaError_t code = c->broken ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
    if (code == cudaSuccess && !is_joined(*c)) code = cudaErrorStreamCaptureUnjoined;
    for (cudaStream_t s : c->streams)
        if (is_stream(s)) s->capture = NULL;
    if (code == cudaSuccess) {
        *graph = c->graph;
        graphs.insert(c->graph);
    } else {
        delete c->graph;
    }
    delete c;
    return code;
}

}  // namespace

}  // namespace hostcuda

using namespace hostcuda;

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    entry held;
    return result(create_stream(stream, flags, priority));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}

/* What is queued on it still runs: the operations do not need the stream. */
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    entry held;
    if (!is_stream(stream)) return result(cudaErrorInvalidResourceHandle);
    if (stream->capture != NULL) stream->capture->broken = true;
    streams().erase(stream);
    delete stream;
    return result(lost);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    entry held;
    return result(wait_for(stream, false));
}

cudaError_t cudaDeviceSynchronize(void) {
    entry held;
    return result(wait_for(NULL, true));
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    entry held;
    count.query++;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code == cudaSuccess && stream != NULL) code = allow_wait(stream);
    if (code != cudaSuccess) return result(code);
    run_some();
    if (lost != cudaSuccess) return result(lost);
    operation_ref end = stream_last(stream);
    return result(end == NULL || end->done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *argument) {
    entry held;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code == cudaSuccess) code = enqueue(stream, "host function", false, [=] { function(argument); });
    return result(code);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    entry held;
    *event = NULL;
    cudaError_t code = use_device();
    if (code != cudaSuccess) return result(code);
    *event = new CUevent_st();
    (*event)->device = this_thread().device;
    (*event)->timing = (flags & cudaEventDisableTiming) == 0;
    events.insert(*event);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

/* The record that is still queued writes into the event: it runs first. */
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    entry held;
    cudaError_t code = check_event(event);
    if (code != cudaSuccess) return result(code);
    run_until(event->record);
    events.erase(event);
    delete event;
    return result(lost);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    entry held;
    return result(record(event, stream));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    entry held;
    return result(query(event));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    entry held;
    count.synchronise++;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_event(event);
    if (code == cudaSuccess && event->capture != NULL) {
        if (capture_of(event) != NULL) capture_of(event)->broken = true;
        code = cudaErrorCapturedEvent;
    }
    if (code == cudaSuccess) code = allow_unsafe_call();
    if (code != cudaSuccess) return result(code);
    run_until(event->record);
    memory_check();
    return result(lost);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    entry held;
    cudaError_t code = check_event(begin);
    if (code == cudaSuccess) code = check_event(end);
    if (code != cudaSuccess) return result(code);
    if (!begin->timing || !end->timing || begin->record == NULL || end->record == NULL)
        return result(cudaErrorInvalidResourceHandle);
    if (!begin->record->done || !end->record->done) return result(cudaErrorNotReady);
    *milliseconds = std::chrono::duration<float, std::milli>(end->when - begin->when).count();
    return result(lost);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    entry held;
    return result(wait_event(stream, event));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    entry held;
    return result(begin_capture(stream, mode));
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    entry held;
    return result(end_capture(stream, graph));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    entry held;
    cudaError_t code = check_stream(&stream);
    if (code != cudaSuccess) return result(code);
    *status = stream == NULL || stream->capture == NULL ? cudaStreamCaptureStatusNone
              : stream->capture->broken                 ? cudaStreamCaptureStatusInvalidated
                                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
    entry held;
    std::swap(*mode, this_thread().mode);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
    entry held;
    *executable = NULL;
    cudaError_t code = use_device();
    if (code == cudaSuccess && graphs.count(graph) == 0) code = cudaErrorInvalidValue;
    if (code != cudaSuccess) return result(code);
    *executable = new CUgraphExec_st();
    (*executable)->nodes = graph->nodes;
    executables.insert(*executable);
    count.graph_node += (long long)graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
    entry held;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    return result(code == cudaSuccess && executables.count(executable) == 0 ? cudaErrorInvalidValue : code);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    entry held;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code == cudaSuccess && executables.count(executable) == 0) code = cudaErrorInvalidValue;
    if (code != cudaSuccess) return result(code);
    count.graph_launch++;
    return result(enqueue_graph(stream, executable));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    entry held;
    if (executables.erase(executable) == 0) return result(cudaErrorInvalidValue);
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    entry held;
    if (graphs.erase(graph) == 0) return result(cudaErrorInvalidValue);
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
    entry held;
    if (graphs.count(graph) == 0) return result(cudaErrorInvalidValue);
    if (nodes != NULL) fatal("cudaGraphGetNodes: the nodes themselves are not implemented");
    *n = graph->nodes.size();
    return cudaSuccess;
}

/* For tests, by dlsym: how often what was done. -1: no such counter. */
__attribute__((visibility("default"))) long long hostcuda_count(const char *what) {
    entry held;
    const struct {
        const char *name;
        long long value;
    } table[] = {{"synchronisations", count.synchronise},
                 {"queries", count.query},
                 {"allocations", count.allocate},
                 {"launches", count.launch},
                 {"kernels", count.kernel},
                 {"graph_launches", count.graph_launch},
                 {"graph_nodes", count.graph_node},
                 {"copies", count.copy},
                 {"collectives", count.collective},
                 {"registered", count.registered},
                 {"contexts", count.contexts},
                 {"memory_bytes", (long long)memory_used()}};
    for (const auto &counter : table)
        if (strcmp(counter.name, what) == 0) return counter.value;
    return -1;
}
}
