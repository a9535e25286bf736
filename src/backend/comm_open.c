/* comm_open.c: chooses the communicator of a context: the backend's own (NCCL) or MPI, and what stands in front. */
#include "backend/backend.h"
#include "backend/comm_mpi.h"
#include "backend/comm_staged.h"

static dpt_status open_mpi(const dpt_control *control, dpt_device *device, const dpt_comm_options *o, dpt_comm *comm) {
    if (device->host_memory) return dpt_mpi_comm_open(control->comm, device, o->thread, comm);
    return dpt_staged_comm_open(control->comm, device, comm);
}

dpt_status dpt_comm_open(const dpt_backend *backend, const dpt_control *control, dpt_device *device,
                         const dpt_comm_options *o, dpt_comm *comm) {
    *comm = (dpt_comm){0};
    DPT_CHECK(o->library != DPT_COMM_NCCL || backend->comm_open, DPT_ERR_CONFIG,
              "comm.library is nccl, which sums between GPUs, and the device is %s: take comm.library=auto",
              device->name);
    bool own = backend->comm_open && o->library != DPT_COMM_MPI;
    DPT_TRY(own ? backend->comm_open(control, device, o, comm) : open_mpi(control, device, o, comm));
    comm->position = o->position;
    comm->exchanges = comm->world > 1 || o->always;
    dpt_position_follow(o->position, DPT_LANE_GRADIENTS, comm->entered, comm->finished);
    return DPT_OK;
}
