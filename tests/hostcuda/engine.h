/* engine.h: what NCCL on the host (nccl_*.cpp, a library of its own) calls of the device that is played.
 *
 * The runtime stands in the plug-in, or in the probe of the tests, with its names hidden: it exports this table, and
 * NCCL looks for it among the objects that are loaded. Invariant: functions of the table take the runtime's lock
 * themselves, but for those that say that a starter or a question calls them. */
#ifndef HOSTCUDA_ENGINE_H
#define HOSTCUDA_ENGINE_H

#include "queue.h"

namespace hostcuda {

struct engine {
    /* enqueue_started, on streams of this device. cudaErrorInvalidResourceHandle: they are not. */
    cudaError_t (*queue)(int device, const std::vector<cudaStream_t> &streams, const char *name, starter start,
                         const order_ref &among);
    /* Waits until all of the order that has been queued has ended. */
    void (*finish)(const order_ref &among);
    bool (*has_ended)(const order_ref &among);
    void (*run_beside)();
    /* The caller's device and its bus address. */
    cudaError_t (*device)(int *device, char *pci, int bytes);
    /* cudaMalloc and cudaFree, at whole pages. */
    cudaError_t (*allocate)(void **memory, size_t bytes);
    cudaError_t (*release)(void *memory);
    /* Whether the bytes lie in one allocation of device memory. */
    bool (*holds)(const void *memory, size_t bytes);
    void (*fatal)(const char *format, ...) __attribute__((format(printf, 1, 2)));
    /* Of starters and questions: makes device memory accessible; ends the process unless the bytes are of one
     * allocation that a device can reach; counts a collective. */
    void (*open_memory)();
    void (*check)(const void *memory, size_t bytes);
    void (*count_collective)();
    void (*count_registered)(int change); /* takes the lock */
};

#define HOSTCUDA_ENGINE_SYMBOL "hostcuda_engine"

}  // namespace hostcuda

#endif
