/* cpu_backend.c: the CPU's plug-in table. */
#include "ops/cpu_backend.h"

#include "backend/device_cpu.h"
#include "ops/op_table.h"

static const dpt_backend cpu = {
    .abi = DPT_BACKEND_ABI,
    .n_kernels = DPT_OP_COUNT,
    .name = "cpu",
    .kernels = dpt_cpu_kernels,
    .device_open = dpt_cpu_device_open,
};

const dpt_backend *dpt_cpu_backend(void) { return &cpu; }
