/* error.cpp: names and texts of CUDA's errors, as NVIDIA's runtime words them: those that the device that is played can
 * give, and those that tests make it give. */
#include <cuda_runtime.h>

#define ERRORS(X)                                                                                                     \
    X(cudaSuccess, "no error")                                                                                        \
    X(cudaErrorInvalidValue, "invalid argument")                                                                      \
    X(cudaErrorMemoryAllocation, "out of memory")                                                                     \
    X(cudaErrorInvalidConfiguration, "invalid configuration argument")                                                \
    X(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy")                                           \
    X(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")                    \
    X(cudaErrorDevicesUnavailable, "CUDA-capable device(s) is/are busy or unavailable")                               \
    X(cudaErrorNoDevice, "no CUDA-capable device is detected")                                                        \
    X(cudaErrorInvalidDevice, "invalid device ordinal")                                                               \
    X(cudaErrorDeviceAlreadyInUse, "exclusive-thread device already in use by a different thread")                    \
    X(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device")                    \
    X(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered")                                               \
    X(cudaErrorNvlinkUncorrectable, "uncorrectable NVLink error detected during the execution")                       \
    X(cudaErrorInvalidResourceHandle, "invalid resource handle")                                                      \
    X(cudaErrorIllegalState, "the operation cannot be performed in the present state")                                \
    X(cudaErrorNotReady, "device not ready")                                                                          \
    X(cudaErrorIllegalAddress, "an illegal memory access was encountered")                                            \
    X(cudaErrorLaunchTimeout, "the launch timed out and was terminated")                                              \
    X(cudaErrorContextIsDestroyed, "context is destroyed")                                                            \
    X(cudaErrorAssert, "device-side assert triggered")                                                                \
    X(cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped")            \
    X(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region")                  \
    X(cudaErrorIllegalInstruction, "an illegal instruction was encountered")                                          \
    X(cudaErrorMisalignedAddress, "misaligned address")                                                               \
    X(cudaErrorLaunchFailure, "unspecified launch failure")                                                           \
    X(cudaErrorNotSupported, "operation not supported")                                                               \
    X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")                          \
    X(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture")                   \
    X(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences")                 \
    X(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began")                        \
    X(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work")                                           \
    X(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream")                     \
    X(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream") \
    X(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream")              \
    X(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread")  \
    X(cudaErrorUnknown, "unknown error")

extern "C" {

const char *cudaGetErrorName(cudaError_t code) {
#define NAME(error, text) \
    if (code == error) return #error;
    ERRORS(NAME)
#undef NAME
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t code) {
#define TEXT(error, text) \
    if (code == error) return text;
    ERRORS(TEXT)
#undef TEXT
    return "unrecognized error code";
}
}
