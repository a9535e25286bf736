/* comm_open.c: chooses the communicator of a context: the backend's own (NCCL) or MPI, and what stands in front. */
#include <stdio.h>

#include "backend/backend.h"
#include "backend/comm_checked.h"
#include "backend/comm_emulated.h"
#include "backend/comm_mpi.h"
#include "backend/comm_staged.h"
#include "base/log.h"

/* The ranks of a scope, as a communicator that the caller frees; MPI_COMM_NULL: all. */
static dpt_status split(const dpt_control *control, dpt_comm_scope scope, MPI_Comm *part) {
    *part = MPI_COMM_NULL;
    if (scope == DPT_COMM_NODE)
        return DPT_MPI(MPI_Comm_split_type(control->comm, MPI_COMM_TYPE_SHARED, control->rank, MPI_INFO_NULL, part));
    if (scope == DPT_COMM_ACROSS)
        return DPT_MPI(MPI_Comm_split(control->comm, control->local_rank, control->rank, part));
    return DPT_OK;
}

static dpt_status open_mpi(const dpt_control *control, dpt_device *device, const dpt_comm_options *o, dpt_comm *comm) {
    MPI_Comm part;
    DPT_TRY(split(control, o->scope, &part));
    MPI_Comm parent = part == MPI_COMM_NULL ? control->comm : part;
    dpt_status status = device->host_memory ? dpt_mpi_comm_open(parent, device, o->thread, comm)
                                            : dpt_staged_comm_open(parent, device, comm);
    if (part != MPI_COMM_NULL) MPI_Comm_free(&part);
    if (status != DPT_OK || !o->sum_bf16) return status;
    return device->host_memory ? dpt_mpi_comm_in_bf16(comm) : dpt_staged_comm_in_bf16(comm);
}

/* The backend's own. opened false: it cannot serve here, on any rank, and MPI may. */
static dpt_status open_own(const dpt_backend *backend, const dpt_control *control, dpt_device *device,
                           const dpt_comm_options *o, dpt_comm *comm, bool *opened) {
    char why[1024];
    dpt_status status = backend->comm_open(control, device, o, comm);
    *opened = status != DPT_ERR_UNSUPPORTED;
    if (*opened) return status;
    snprintf(why, sizeof why, "%s", dpt_last_error());
    dpt_comm_close(comm);
    DPT_CHECK(o->library != DPT_COMM_NCCL, DPT_ERR_DEVICE, "comm.library is nccl: %s", why);
    if (control->rank == 0)
        dpt_log(DPT_LOG_WARNING, "gradients go through host memory and MPI, which is slower: %s", why);
    return DPT_OK;
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

static dpt_status open_plain(const dpt_backend *backend, const dpt_control *control, dpt_device *device,
                             const dpt_comm_options *o, dpt_comm *comm) {
    /* one rank alone has nothing to exchange, and needs no NCCL */
    bool own = backend->comm_open && o->library != DPT_COMM_MPI && (control->world > 1 || o->always);
    if (own) DPT_TRY(open_own(backend, control, device, o, comm, &own));
    return own ? DPT_OK : open_mpi(control, device, o, comm);
}

/* Whoever has no communicator must not leave the others waiting, nor wait for those who have not come. */
static dpt_status check_sums(const dpt_control *control, dpt_device *device, const dpt_comm_options *o,
                             dpt_status opened, dpt_comm *comm) {
    if (o->check_every == 0 || opened == DPT_ERR_PEER) return opened;
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
    dpt_status opened = open_plain(backend, control, device, o, comm);
    DPT_TRY(check_sums(control, device, o, opened, comm));
    comm->position = o->position;
    comm->exchanges = comm->world > 1 || o->always;
    dpt_position_follow(o->position, DPT_LANE_GRADIENTS, comm->entered, comm->finished);
    return DPT_OK;
}
