/* comm_open.c: chooses the communicator of a context: the backend's own (NCCL) or MPI, and what stands in front. */
#include "backend/backend.h"
#include "backend/comm_checked.h"
#include "backend/comm_emulated.h"
#include "backend/comm_mpi.h"
#include "backend/comm_staged.h"

static dpt_status open_mpi(const dpt_control *control, dpt_device *device, const dpt_comm_options *o, dpt_comm *comm) {
    if (device->host_memory) return dpt_mpi_comm_open(control->comm, device, o->thread, comm);
    return dpt_staged_comm_open(control->comm, device, comm);
}

/* In place of the exchange: nothing waits for another rank, so there is nothing for the watchdog to follow. */
static dpt_status open_emulated(const dpt_control *control, dpt_device *device, const dpt_comm_options *o,
                                dpt_comm *comm) {
    DPT_CHECK(o->check_every == 0, DPT_ERR_CONFIG,
              "comm.check compares sums, and comm.emulate makes none: leave one of the two out");
    DPT_TRY(dpt_emulated_comm_open(control, device, o->emulate, o->max_ctas, o->thread != 0, comm));
    comm->exchanges = true;
    return DPT_OK;
}

/* Whoever has no communicator must not leave the others waiting. */
static dpt_status check_sums(const dpt_control *control, dpt_device *device, const dpt_comm_options *o,
                             dpt_status opened, dpt_comm *comm) {
    if (o->check_every == 0) return opened;
    DPT_TRY(dpt_control_agree(control, opened));
    dpt_comm inner = *comm;
    return dpt_checked_comm_open(control, device, o->check_every, o->sum_bf16, &inner, comm);
}

dpt_status dpt_comm_open(const dpt_backend *backend, const dpt_control *control, dpt_device *device,
                         const dpt_comm_options *o, dpt_comm *comm) {
    *comm = (dpt_comm){0};
    DPT_CHECK(o->library != DPT_COMM_NCCL || backend->comm_open, DPT_ERR_CONFIG,
              "comm.library is nccl, which sums between GPUs, and the device is %s: take comm.library=auto",
              device->name);
    if (o->emulate) return open_emulated(control, device, o, comm);
    bool own = backend->comm_open && o->library != DPT_COMM_MPI;
    dpt_status opened = own ? backend->comm_open(control, device, o, comm) : open_mpi(control, device, o, comm);
    DPT_TRY(check_sums(control, device, o, opened, comm));
    comm->position = o->position;
    comm->exchanges = comm->world > 1 || o->always;
    dpt_position_follow(o->position, DPT_LANE_GRADIENTS, comm->entered, comm->finished);
    return DPT_OK;
}
