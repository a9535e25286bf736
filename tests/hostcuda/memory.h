/* memory.h: device memory and pinned host memory of the device that is played.
 *
 * Each allocation ends at a page that cannot be touched, begins as 0xff (NaN in every float type), and is never mapped
 * again at the same address once freed: reads of unwritten memory, accesses past the end and stale addresses show.
 * Device memory can only be touched while queued work runs (memory_open to memory_close): the host never can, as on a
 * machine with a GPU. Invariant: all functions are called with the runtime's lock held. */
#ifndef HOSTCUDA_MEMORY_H
#define HOSTCUDA_MEMORY_H

#include <cuda_runtime.h>
#include <stddef.h>

namespace hostcuda {

enum class memory_kind { pageable, pinned, device };

/* cudaErrorMemoryAllocation beyond HOSTCUDA_MEMORY bytes (2 GiB), for device memory. */
cudaError_t memory_alloc(memory_kind kind, size_t bytes, void **memory);
/* cudaErrorInvalidValue: not the start of an allocation of this kind. NULL is fine. */
cudaError_t memory_free(memory_kind kind, void *memory);
/* Host memory of others becomes pinned, or pageable again. */
cudaError_t memory_register(void *memory, size_t bytes);
cudaError_t memory_unregister(void *memory);

memory_kind memory_kind_of(const void *address);
/* Whether the bytes lie in one allocation that is not freed. */
bool memory_holds(const void *address, size_t bytes);
size_t memory_used();
size_t memory_limit();

void memory_open();
void memory_close();

/* Ends the process if something was written around an allocation, where no page guards it. */
void memory_check();

/* "byte 1024 of 1024 bytes of device memory at 0x…": the allocation nearest to the address. */
void memory_describe(const void *address, char *text, size_t bytes);
/* Whether the address lies where allocations are. */
bool memory_is_ours(const void *address);

/* Reports faults of queued work, and of the host in device memory, before the process ends. Idempotent. */
void fault_handler_install();
/* What runs now, for reports; NULL: nothing. */
extern const char *running_operation;

}  // namespace hostcuda

#endif
