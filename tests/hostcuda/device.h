/* device.h: the devices that are played, as the environment describes them (README.md). */
#ifndef HOSTCUDA_DEVICE_H
#define HOSTCUDA_DEVICE_H

#include <cuda_runtime.h>

namespace hostcuda {

/* cudaErrorInsufficientDriver, cudaErrorNoDevice: there are none. */
cudaError_t device_count(int *count);
/* 90 for 9.0. */
int device_capability();

}  // namespace hostcuda

#endif
