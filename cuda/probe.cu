/* probe.cu: the first kernel that a process runs: whether this build has code for the device, and whether the device
 * computes at all, is known before any work is planned. */
#include "cuda/host.h"
#include "cuda/launch.h"

__global__ void probe_kernel(int *word) {
    if (threadIdx.x == 0) *word = dpt_cuda_probe_value;
}

dpt_status dpt_cuda_probe(int *word, dpt_stream *stream) { return DPT_LAUNCH(probe_kernel, 1, 32, 0, stream, word); }
