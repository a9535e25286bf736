/* cuda.h: what every file of the CUDA backend shares: the stream, the converter of CUDA's errors, and how a family's
 * file hands its kernels to the table. Nothing outside this folder includes it.
 *
 * The backend links nothing of the library: what it calls of it (errors, log, host memory) stands in host.c and goes
 * through the table that the library hands over. The same sources are compiled by g++ for the CPU in the tests
 * (tests/hostcuda): a kernel is launched by DPT_LAUNCH only (launch.h). */
#ifndef DPT_CUDA_CUDA_H
#define DPT_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "backend/backend.h"
#include "base/memory.h"

struct dpt_stream {
    cudaStream_t cuda;
};
struct dpt_event {
    cudaEvent_t cuda;
};
struct dpt_recording {
    cudaGraphExec_t cuda;
};

/* Turns a CUDA return code into a status: DPT_TRY(DPT_CUDA(cudaMalloc(&p, n))). DPT_ERR_MEMORY for lack of memory,
 * else DPT_ERR_DEVICE; the message names the call, the error and what CUDA says of it. */
dpt_status dpt_cuda_status(cudaError_t code, const char *call);
#define DPT_CUDA(call) dpt_cuda_status((call), #call)

/* Properties of the device in use, read once when it is opened. */
typedef struct dpt_cuda_device {
    int index;                                                   /* of the device, as CUDA counts in this process */
    int multiprocessors, threads_per_multiprocessor, capability; /* capability: 90 for 9.0 */
    size_t shared_memory_limit;                                  /* bytes a block may ask for */
    char pci[20], host[64];
} dpt_cuda_device;
static inline const dpt_cuda_device *dpt_cuda_device_of(const dpt_call *call) {
    return (const dpt_cuda_device *)call->device->state;
}

/* From the library (host.c). */
uint64_t dpt_random_key(const char *name, uint64_t seed);

#ifdef __cplusplus
}

/* Hands a family's kernel to the table: DPT_CUDA_KERNEL(add, prepare, NULL, run, NULL); with the layouts that it takes:
 * DPT_CUDA_KERNEL_LAYOUTS(add, prepare, NULL, run, NULL, layouts). */
#define DPT_CUDA_KERNEL(name, prepare_, bind_, run_, release_) \
    DPT_CUDA_KERNEL_LAYOUTS(name, prepare_, bind_, run_, release_, NULL)
#define DPT_CUDA_KERNEL_LAYOUTS(name, prepare_, bind_, run_, release_, layouts_)              \
    extern "C" {                                                                              \
    extern const dpt_kernel dpt_cuda_##name;                                                  \
    const dpt_kernel dpt_cuda_##name = {(prepare_), (bind_), (run_), (release_), (layouts_)}; \
    }
#endif

#endif
