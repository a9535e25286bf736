/* engine.cpp: see engine.h. */
#include "engine.h"

#include "block.h"
#include "memory.h"

namespace hostcuda {

namespace {

cudaError_t queue(int device, const std::vector<cudaStream_t> &on, const char *name, starter start,
                  const order_ref &among) {
    entry held;
    for (cudaStream_t s : on)
        if (s != NULL && (!is_stream(s) || s->device != device)) return cudaErrorInvalidResourceHandle;
    return enqueue_started(on, name, std::move(start), among);
}

void finish(const order_ref &among) {
    entry held;
    run_until(among->last);
}

cudaError_t device(int *number, char *pci, int bytes) {
    cudaError_t code = cudaGetDevice(number);
    return code == cudaSuccess ? cudaDeviceGetPCIBusId(pci, bytes, *number) : code;
}

/* Windows have to begin at a page: the size is rounded up, and so the allocation, which ends at one, begins at one. */
cudaError_t allocate(void **memory, size_t bytes) {
    const size_t page = 4096;
    return cudaMalloc(memory, (bytes + page - 1) / page * page);
}

bool holds(const void *memory, size_t bytes) {
    entry held;
    return memory_kind_of(memory) == memory_kind::device && memory_holds(memory, bytes);
}

void check(const void *memory, size_t bytes) {
    char where[256];
    if (bytes == 0 || (memory_kind_of(memory) != memory_kind::pageable && memory_holds(memory, bytes))) return;
    memory_describe(memory, where, sizeof where);
    fatal("%s: %zu bytes at %p are not device memory: %s", running_operation, bytes, memory, where);
}

void count_collective() { count.collective++; }

void count_registered(int change) {
    entry held;
    count.registered += change;
}

}  // namespace

}  // namespace hostcuda

extern "C" {
extern __attribute__((visibility("default"))) const hostcuda::engine hostcuda_engine;
const hostcuda::engine hostcuda_engine = {
    .queue = hostcuda::queue,
    .finish = hostcuda::finish,
    .has_ended = hostcuda::has_ended,
    .run_beside = hostcuda::run_beside,
    .device = hostcuda::device,
    .allocate = hostcuda::allocate,
    .release = cudaFree,
    .holds = hostcuda::holds,
    .fatal = hostcuda::fatal,
    .open_memory = hostcuda::memory_open,
    .check = hostcuda::check,
    .count_collective = hostcuda::count_collective,
    .count_registered = hostcuda::count_registered,
};
}
