/* error.c: CUDA's return codes as statuses. What a code says about the device as a whole (it fell off the bus, a kernel
 * wrote outside of its memory) holds for every later call of this process too: those messages name host and device, for
 * the operator who has to look at it. The others are cleared, so that the next launch does not report them again. */
#include <stdio.h>
#include <string.h>

#include "cuda/host.h"

#ifndef DPTRAIN_CUDA_ARCHITECTURES
#error "the build names the architectures that it compiles for"
#endif

static struct {
    char text[192];
    int capability;
} used;

void dpt_cuda_name_device(const dpt_cuda_device *device, const char *model) {
    snprintf(used.text, sizeof used.text, "%s, device %s (%s)", device->host, device->pci, model);
    used.capability = device->capability;
}

const char *dpt_cuda_architectures(void) { return DPTRAIN_CUDA_ARCHITECTURES; }

/* No later call of this process can succeed on the device. */
static bool is_lost(cudaError_t code) {
    switch (code) {
        case cudaErrorDevicesUnavailable:
        case cudaErrorDeviceUninitialized:
        case cudaErrorECCUncorrectable:
        case cudaErrorNvlinkUncorrectable:
        case cudaErrorHardwareStackError:
        case cudaErrorIllegalInstruction:
        case cudaErrorMisalignedAddress:
        case cudaErrorInvalidAddressSpace:
        case cudaErrorInvalidPc:
        case cudaErrorIllegalAddress:
        case cudaErrorLaunchFailure:
        case cudaErrorLaunchTimeout:
        case cudaErrorAssert:
        case cudaErrorMpsClientTerminated:
        case cudaErrorContained:
        case cudaErrorTensorMemoryLeak:
        case cudaErrorExternalDevice:
        case cudaErrorUnknown: return true;
        default: return false;
    }
}

dpt_status dpt_cuda_status(cudaError_t code, const char *call) {
    if (code == cudaSuccess) return DPT_OK;
    (void)cudaGetLastError();
    const char *name = cudaGetErrorName(code), *text = cudaGetErrorString(code);
    int length = (int)strcspn(call, "("); /* the name of the function alone: arguments say nothing to a user */
    if (code == cudaErrorMemoryAllocation)
        return dpt_error(DPT_ERR_MEMORY, "%.*s: out of device memory (%s)", length, call, name);
    if (code == cudaErrorNoKernelImageForDevice)
        return dpt_error(DPT_ERR_DEVICE,
                         "%s: compute capability %d.%d, and libdptrain_cuda.so was built for %s: build it with "
                         "-DDPTRAIN_CUDA_ARCHITECTURES=%d",
                         used.text, used.capability / 10, used.capability % 10, dpt_cuda_architectures(),
                         used.capability);
    if (is_lost(code)) return dpt_error(DPT_ERR_DEVICE, "%s failed: %s: %s (%s)", used.text, name, text, call);
    return dpt_error(DPT_ERR_DEVICE, "%.*s: %s: %s", length, call, name, text);
}
