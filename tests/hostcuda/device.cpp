/* device.cpp: the runtime's calls about devices: how many there are, what they are called, whether they can be used.
 * All of it comes from the environment, for the tests of bad machines. Invariant: a query makes no context;
 * `count.contexts` has a bit for each device on which something did. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "block.h"
#include "memory.h"
#include "queue.h"
#include "setting.h"

namespace hostcuda {

namespace {

enum { most_devices = 16, multiprocessors = 4, threads_per_multiprocessor = 2048 };

int driver_version() { return (int)setting("HOSTCUDA_DRIVER", CUDART_VERSION); }

/* The number of entry `index` in a list as "0,3,MIG-1,GPU-2"; names count from 0. -1: no such entry. */
int list_entry(const char *list, int index) {
    const char *at = list;
    for (int i = 0; at != NULL && *at != '\0'; i++) {
        bool named = strncmp(at, "MIG-", 4) == 0 || strncmp(at, "GPU-", 4) == 0;
        if (i == index) return *at >= '0' && *at <= '9' ? atoi(at) : named ? i : -1;
        at = strchr(at, ',');
        if (at != NULL) at++;
    }
    return -1;
}

bool in_list(const char *name, int value) {
    const char *list = getenv(name);
    for (int i = 0; list != NULL && list_entry(list, i) >= 0; i++)
        if (list_entry(list, i) == value) return true;
    return false;
}

/* As the machine numbers them; CUDA_VISIBLE_DEVICES chooses and orders. */
int physical_device(int device) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible == NULL ? device : list_entry(visible, device);
}

cudaError_t check_device(int device) {
    int there;
    cudaError_t code = device_count(&there);
    if (code != cudaSuccess) return code;
    return device >= 0 && device < there ? cudaSuccess : cudaErrorInvalidDevice;
}

/* The device's entry of a list whose last one stands for all that follow. */
void describe_by(const char *list, int device, char *text, size_t bytes) {
    for (int i = 0; i < physical_device(device) && strchr(list, ',') != NULL; i++) list = strchr(list, ',') + 1;
    snprintf(text, bytes, "%.*s", (int)strcspn(list, ","), list);
}

void describe_pci(int device, char *text, size_t bytes) {
    const char *list = getenv("HOSTCUDA_PCI");
    if (list != NULL && *list != '\0')
        describe_by(list, device, text, bytes);
    else
        snprintf(text, bytes, "0000:%02X:00.0", 16 + physical_device(device));
}

/* Neither device is in the list of those without links. */
bool linked(const char *without, int device, int peer) {
    return !in_list(without, physical_device(device)) && !in_list(without, physical_device(peer));
}

void describe(int device, cudaDeviceProp *p) {
    memset(p, 0, sizeof *p);
    const char *name = getenv("HOSTCUDA_NAME");
    describe_by(name != NULL ? name : "CUDA on the host", device, p->name, sizeof p->name);
    snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "hostcuda %d", physical_device(device));
    char pci[32];
    describe_pci(device, pci, sizeof pci);
    sscanf(pci, "%x:%x:%x", reinterpret_cast<unsigned *>(&p->pciDomainID), reinterpret_cast<unsigned *>(&p->pciBusID),
           reinterpret_cast<unsigned *>(&p->pciDeviceID));
    p->major = device_capability() / 10, p->minor = device_capability() % 10;
    p->totalGlobalMem = memory_limit();
    p->multiProcessorCount = multiprocessors;
    p->maxThreadsPerMultiProcessor = threads_per_multiprocessor;
    p->maxBlocksPerMultiProcessor = 32;
    p->maxThreadsPerBlock = max_threads;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = max_threads, p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff, p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->warpSize = warp_size;
    p->sharedMemPerBlock = shared_default;
    p->sharedMemPerBlockOptin = shared_most;
    p->sharedMemPerMultiprocessor = shared_most + 1024;
    p->reservedSharedMemPerBlock = 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->l2CacheSize = 1 << 20;
    p->unifiedAddressing = p->concurrentKernels = p->asyncEngineCount = 1;
    p->streamPrioritiesSupported = p->ECCEnabled = p->canMapHostMemory = 1;
}

cudaError_t attribute(cudaDeviceAttr name, int device, int *value) {
    cudaDeviceProp p;
    describe(device, &p);
    switch (name) {
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
        case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
        case cudaDevAttrWarpSize: *value = p.warpSize; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        case cudaDevAttrPciDomainId: *value = p.pciDomainID; break;
        case cudaDevAttrPciBusId: *value = p.pciBusID; break;
        case cudaDevAttrPciDeviceId: *value = p.pciDeviceID; break;
        case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
        case cudaDevAttrClockRate: *value = 1000000; break;
        case cudaDevAttrMemoryClockRate: *value = 1000000; break;
        case cudaDevAttrGlobalMemoryBusWidth: *value = 64; break;
        case cudaDevAttrMemoryPoolsSupported: *value = 0; break;
        case cudaDevAttrComputeMode:
            *value = in_list("HOSTCUDA_PROHIBITED", physical_device(device)) ? cudaComputeModeProhibited
                     : in_list("HOSTCUDA_BUSY", physical_device(device))     ? cudaComputeModeExclusiveProcess
                                                                             : cudaComputeModeDefault;
            break;
        default: fatal("cudaDeviceGetAttribute: attribute %d is not implemented", (int)name);
    }
    return cudaSuccess;
}

}  // namespace

int device_capability() {
    const char *text = getenv("HOSTCUDA_CAPABILITY");
    int major = 9, minor = 0;
    if (text == NULL || *text == '\0') return 90;
    if (sscanf(text, "%d.%d", &major, &minor) == 2) return 10 * major + minor;
    return atoi(text);
}

cudaError_t device_count(int *there) {
    *there = 0;
    if (driver_version() / 1000 < CUDART_VERSION / 1000) return cudaErrorInsufficientDriver;
    int machine = (int)setting("HOSTCUDA_DEVICES", 1);
    if (machine > most_devices) fatal("HOSTCUDA_DEVICES is %d; at most %d are played", machine, most_devices);
    if (getenv("CUDA_VISIBLE_DEVICES") == NULL) {
        *there = machine;
    } else { /* the list counts up to its first entry that is not there */
        while (physical_device(*there) >= 0 && physical_device(*there) < machine) ++*there;
    }
    return *there > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t use_device() {
    int device = this_thread().device;
    if (lost != cudaSuccess) return lost;
    cudaError_t code = check_device(device);
    if (code != cudaSuccess) return code;
    int physical = physical_device(device);
    if (in_list("HOSTCUDA_BUSY", physical) || in_list("HOSTCUDA_PROHIBITED", physical))
        return cudaErrorDevicesUnavailable;
    count.contexts |= 1LL << physical;
    return cudaSuccess;
}

}  // namespace hostcuda

using namespace hostcuda;

extern "C" {

cudaError_t cudaGetDeviceCount(int *there) {
    entry held;
    return result(device_count(there));
}

cudaError_t cudaSetDevice(int device) {
    entry held;
    cudaError_t code = check_device(device);
    if (code != cudaSuccess) return result(code);
    this_thread().device = device;
    return result(use_device());
}

cudaError_t cudaGetDevice(int *device) {
    entry held;
    int there;
    *device = this_thread().device;
    return result(device_count(&there));
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    entry held;
    cudaError_t code = check_device(device);
    if (code == cudaSuccess) describe(device, properties);
    return result(code);
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr name, int device) {
    entry held;
    cudaError_t code = check_device(device);
    return result(code == cudaSuccess ? attribute(name, device, value) : code);
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int bytes, int device) {
    entry held;
    cudaError_t code = check_device(device);
    if (code == cudaSuccess) describe_pci(device, text, (size_t)bytes);
    return result(code);
}

cudaError_t cudaDeviceGetByPCIBusId(int *device, const char *text) {
    entry held;
    int there;
    cudaError_t code = device_count(&there);
    for (int i = 0; code == cudaSuccess && i < there; i++) {
        char pci[32];
        describe_pci(i, pci, sizeof pci);
        if (strcasecmp(pci, text) != 0) continue;
        *device = i;
        return cudaSuccess;
    }
    return result(code == cudaSuccess ? cudaErrorInvalidDevice : code);
}

/* No device is its own peer. */
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    entry held;
    cudaError_t code = check_device(device);
    if (code == cudaSuccess) code = check_device(peer);
    if (code == cudaSuccess) *can = device != peer && linked("HOSTCUDA_NO_PEER", device, peer);
    return result(code);
}

cudaError_t cudaDeviceGetP2PAttribute(int *value, cudaDeviceP2PAttr name, int device, int peer) {
    entry held;
    cudaError_t code = check_device(device);
    if (code == cudaSuccess) code = check_device(peer);
    if (code == cudaSuccess && device == peer) code = cudaErrorInvalidDevice;
    if (code != cudaSuccess) return result(code);
    bool access = linked("HOSTCUDA_NO_PEER", device, peer);
    switch (name) {
        case cudaDevP2PAttrAccessSupported: *value = access; break;
        case cudaDevP2PAttrNativeAtomicSupported:
            *value = access && linked("HOSTCUDA_NO_NVLINK", device, peer);
            break;
        default: fatal("cudaDeviceGetP2PAttribute: attribute %d is not implemented", (int)name);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    entry held;
    *least = 0, *greatest = -5;
    return result(use_device());
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = driver_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    entry held;
    cudaError_t code = use_device();
    if (code == cudaSuccess) *total = memory_limit(), *available = memory_limit() - memory_used();
    return result(code);
}

cudaError_t cudaGetLastError(void) {
    entry held;
    cudaError_t code = this_thread().last_error;
    this_thread().last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void) {
    entry held;
    return this_thread().last_error;
}

/* Of a kernel: how much dynamic shared memory a launch of it may ask for. */
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
    entry held;
    if (kernel == NULL) return result(cudaErrorInvalidDeviceFunction);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > shared_most)
        return result(cudaErrorInvalidValue);
    allow_shared(kernel, (size_t)value);
    return cudaSuccess;
}

/* The device's own limits; what a kernel needs of registers is not known here. */
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads, size_t shared_bytes) {
    entry held;
    if (threads <= 0 || threads > max_threads || shared_bytes > shared_most) {
        *blocks = 0;
        return result(cudaErrorInvalidValue);
    }
    int by_threads = threads_per_multiprocessor / ((threads + warp_size - 1) / warp_size * warp_size);
    int by_shared = (int)((shared_most + 1024) / (shared_bytes + 1024));
    *blocks = by_threads < by_shared ? by_threads : by_shared;
    if (*blocks > 32) *blocks = 32;
    return cudaSuccess;
}
}
