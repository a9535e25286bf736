/* host.h: what the files of the plug-in share beside cuda.h: the library's services, and the device that this process
 * uses, for messages. */
#ifndef DPT_CUDA_HOST_H
#define DPT_CUDA_HOST_H

#include "cuda/nccl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The library's services: host.c forwards to them. Set once, before anything else of the plug-in is called. */
extern const dpt_host *dpt_cuda_host;

/* The device that error messages name; copied. */
void dpt_cuda_name_device(const dpt_cuda_device *device, const char *model);

/* "80, 86, 89 and later by PTX": what this plug-in was built for. */
const char *dpt_cuda_architectures(void);

/* See dpt_backend (backend.h). */
dpt_status dpt_cuda_device_open(const dpt_control *control, int threads, dpt_device *device);
dpt_status dpt_cuda_describe(char *text, size_t bytes);
dpt_status dpt_cuda_peer(dpt_device *device, const char *pci, dpt_peer *peer);

/* Memory for collectives comes from NCCL's allocator from here on, where that gives any, until each call has been
 * followed by one with NULL. */
void dpt_cuda_use_nccl_memory(dpt_device *device, const dpt_nccl *nccl);
bool dpt_cuda_is_nccl_memory(const dpt_device *device, const void *memory);

/* select.c: chooses this rank's device, makes its context and fills in chosen and the device's name, model and address.
 * Collective where control is not NULL. */
dpt_status dpt_cuda_select(const dpt_control *control, dpt_cuda_device *chosen, dpt_device *device);

/* probe.cu: runs a kernel that writes dpt_cuda_probe_value to *word, and queues nothing else. */
enum { dpt_cuda_probe_value = 20260 };
dpt_status dpt_cuda_probe(int *word, dpt_stream *stream);

/* occupy.cu: see dpt_device_ops (device.h); data is aligned to 16 bytes. */
dpt_status dpt_cuda_occupy(void *data, size_t bytes, double seconds, int blocks, dpt_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
