/* device_cpu.h: the CPU as a device: memory is the host's, streams and events are nothing, copies happen at once. */
#ifndef DPT_BACKEND_DEVICE_CPU_H
#define DPT_BACKEND_DEVICE_CPU_H

#include "backend/control.h"
#include "backend/device.h"

/* threads: compute threads of this rank, 0 for OpenMP's own setting. Local. */
dpt_status dpt_cpu_device_open(const dpt_control *control, int threads, dpt_device *device);

#endif
