/* table.c: the plug-in's one symbol: the table of device, communicator and kernels. The kernels are expanded from
 * op_list.h, as the CPU's are in ops/op_table.c: an operation without its twin here is a link error. */
#include "cuda/comm_nccl.h"
#include "ops/op_list.h"

#define DECLARE(ID, name) extern const dpt_kernel dpt_cuda_##name;
#define NOTHING(ID, name)
DPT_OP_LIST(DECLARE, NOTHING)
#undef DECLARE

static const dpt_kernel *const kernels[DPT_OP_COUNT] = {
#define KERNEL(ID, name) [DPT_OP_##ID] = &dpt_cuda_##name,
    DPT_OP_LIST(KERNEL, NOTHING)};

static const dpt_backend table = {
    .abi = DPT_BACKEND_ABI,
    .n_kernels = DPT_OP_COUNT,
    .name = "cuda",
    .kernels = kernels,
    .device_open = dpt_cuda_device_open,
    .comm_open = dpt_nccl_comm_open,
    .peer = dpt_cuda_peer,
    .describe = dpt_cuda_describe,
};

DPT_API const dpt_backend *dpt_backend_table(const dpt_host *host);

const dpt_backend *dpt_backend_table(const dpt_host *host) {
    if (host->abi == DPT_BACKEND_ABI) dpt_cuda_host = host;
    return &table;
}
