/* copy.cpp: the runtime's calls about memory: allocation, copies, fills.
 *
 * A copy between the device and pinned memory reads and writes when it runs, which may be late. One from pageable
 * memory is taken at the call, one to pageable memory is finished at the call's return, as CUDA documents; both are
 * counted as synchronising. Invariant: what is wrong with a call's addresses is said at the call. */
#include <string.h>

#include <memory>
#include <vector>

#include "block.h"
#include "memory.h"
#include "queue.h"

namespace hostcuda {

namespace {

bool is_host(memory_kind kind) { return kind != memory_kind::device; }

cudaError_t check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    if (to == NULL || from == NULL) return cudaErrorInvalidValue;
    if (!memory_holds(to, bytes) || !memory_holds(from, bytes)) return cudaErrorInvalidValue;
    bool to_host = is_host(memory_kind_of(to)), from_host = is_host(memory_kind_of(from));
    switch (kind) {
        case cudaMemcpyHostToDevice: return from_host && !to_host ? cudaSuccess : cudaErrorInvalidValue;
        case cudaMemcpyDeviceToHost: return to_host && !from_host ? cudaSuccess : cudaErrorInvalidValue;
        case cudaMemcpyDeviceToDevice: return !to_host && !from_host ? cudaSuccess : cudaErrorInvalidValue;
        case cudaMemcpyHostToHost: return to_host && from_host ? cudaSuccess : cudaErrorInvalidValue;
        case cudaMemcpyDefault: return cudaSuccess;
    }
    return cudaErrorInvalidMemcpyDirection;
}

const char *copy_name(const void *to, const void *from) {
    if (is_host(memory_kind_of(from))) return "copy from the host to the device";
    return is_host(memory_kind_of(to)) ? "copy from the device to the host" : "copy on the device";
}

cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code == cudaSuccess) code = check_copy(to, from, bytes, kind);
    if (code != cudaSuccess || bytes == 0) return code;
    bool captures = stream != NULL && stream->capture != NULL;
    const char *name = copy_name(to, from);
    count.copy++;
    if (memory_kind_of(from) == memory_kind::pageable && !captures) {
        count.synchronise++;
        auto taken = std::make_shared<std::vector<char>>(static_cast<const char *>(from),
                                                         static_cast<const char *>(from) + bytes);
        code = enqueue(stream, name, false, [=] { memcpy(to, taken->data(), bytes); });
    } else {
        code = enqueue(stream, name, false, [=] { memmove(to, from, bytes); });
    }
    if (code == cudaSuccess && memory_kind_of(to) == memory_kind::pageable && !captures) {
        count.synchronise++;
        run_until(stream_end(stream));
        code = lost;
    }
    return code;
}

cudaError_t fill(void *to, int value, size_t bytes, cudaStream_t stream) {
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code != cudaSuccess || bytes == 0) return code;
    if (memory_kind_of(to) == memory_kind::pageable || !memory_holds(to, bytes)) return cudaErrorInvalidValue;
    count.copy++;
    return enqueue(stream, "memset", false, [=] { memset(to, value, bytes); });
}

/* Allocation and release wait for the device, and a capture forbids them. */
cudaError_t begin_allocation() {
    count.allocate++;
    cudaError_t code = use_device();
    return code == cudaSuccess ? allow_unsafe_call() : code;
}

cudaError_t allocate(memory_kind kind, void **memory, size_t bytes) {
    *memory = NULL;
    cudaError_t code = begin_allocation();
    return code == cudaSuccess ? memory_alloc(kind, bytes, memory) : code;
}

cudaError_t release(memory_kind kind, void *memory) {
    cudaError_t code = begin_allocation();
    if (code != cudaSuccess || memory == NULL) return code;
    run_all();
    return lost == cudaSuccess ? memory_free(kind, memory) : lost;
}

}  // namespace

}  // namespace hostcuda

using namespace hostcuda;

extern "C" {

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    entry held;
    return result(allocate(memory_kind::device, memory, bytes));
}

cudaError_t cudaFree(void *memory) {
    entry held;
    return result(release(memory_kind::device, memory));
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    entry held;
    return result(allocate(memory_kind::pinned, memory, bytes));
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) { return cudaHostAlloc(memory, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void *memory) {
    entry held;
    return result(release(memory_kind::pinned, memory));
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned) {
    entry held;
    cudaError_t code = begin_allocation();
    return result(code == cudaSuccess ? memory_register(memory, bytes) : code);
}

cudaError_t cudaHostUnregister(void *memory) {
    entry held;
    cudaError_t code = begin_allocation();
    if (code == cudaSuccess) run_all();
    return result(code == cudaSuccess ? memory_unregister(memory) : code);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *address) {
    entry held;
    memory_kind kind = memory_kind_of(address);
    memset(attributes, 0, sizeof *attributes);
    attributes->type = kind == memory_kind::device   ? cudaMemoryTypeDevice
                       : kind == memory_kind::pinned ? cudaMemoryTypeHost
                                                     : cudaMemoryTypeUnregistered;
    attributes->device = kind == memory_kind::pageable ? -1 : this_thread().device;
    if (is_host(kind)) attributes->hostPointer = const_cast<void *>(address);
    if (kind != memory_kind::pageable) attributes->devicePointer = const_cast<void *>(address);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    entry held;
    return result(copy(to, from, bytes, kind, stream));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    entry held;
    count.synchronise++;
    cudaError_t code = allow_unsafe_call();
    if (code == cudaSuccess) code = copy(to, from, bytes, kind, NULL);
    if (code == cudaSuccess) {
        run_until(stream_end(NULL));
        memory_check();
        code = lost;
    }
    return result(code);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    entry held;
    return result(fill(to, value, bytes, stream));
}

/* On the legacy stream; on the device alone, so the host does not wait for it. */
cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    entry held;
    count.synchronise++;
    cudaError_t code = allow_unsafe_call();
    return result(code == cudaSuccess ? fill(to, value, bytes, NULL) : code);
}
}
