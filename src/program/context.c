/* context.c: what a rank has. The one file that picks a backend: the CPU's table, or a plug-in's. Whatever can fail on
 * one rank alone is agreed on before the next collective call. */
#include <math.h>
#include <string.h>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "dptrain/context.h"
#include "ops/cpu_backend.h"
#include "ops/op_list.h"

static const char *const cuda_plugin = "libdptrain_cuda.so";

void dpt_context_options_init(dpt_context_options *options) {
    *options = (dpt_context_options){.struct_size = sizeof *options,
                                     .device = "auto",
                                     .comm_thread = -1,
                                     .graph = 1,
                                     .comm = "auto",
                                     .comm_start_s = 120,
                                     .watchdog = 1,
                                     .silence_s = 20,
                                     .stuck_s = 20,
                                     .limit_s = 600};
}

/* The plug-in, if it opens and sees a device. */
static dpt_status open_cuda(bool must_see, const dpt_backend **backend) {
    char text[2048];
    DPT_TRY(dpt_plugin_open(cuda_plugin, DPT_OP_COUNT, backend));
    return must_see ? (*backend)->describe(text, sizeof text) : DPT_OK;
}

static dpt_status choose_backend(const char *device, const dpt_backend **backend) {
    if (strcmp(device, "cpu") == 0) {
        *backend = dpt_cpu_backend();
        return DPT_OK;
    }
    bool automatic = strcmp(device, "auto") == 0;
    DPT_CHECK(automatic || strcmp(device, "cuda") == 0, DPT_ERR_CONFIG, "device \"%s\": auto, cpu or cuda", device);
    dpt_status status = open_cuda(automatic, backend);
    if (status == DPT_OK) return DPT_OK;
    if (!automatic) return dpt_error_prefix(status, "device cuda: the CUDA backend could not be opened: ");
    dpt_log(DPT_LOG_DEBUG, "device auto: cpu, since cuda cannot be used: %s", dpt_last_error());
    *backend = dpt_cpu_backend();
    return DPT_OK;
}

static dpt_status check_options(const dpt_context_options *o) {
    DPT_CHECK(o->struct_size == sizeof *o, DPT_ERR_ARG,
              "dpt_context_options was not started by dpt_context_options_init");
    DPT_CHECK(isfinite(o->memory) && o->memory >= 0, DPT_ERR_ARG,
              "device memory of %g: a share or bytes, 0 for no limit", o->memory);
    DPT_CHECK(o->graph >= DPT_RECORD_OFF && o->graph <= DPT_RECORD_SEGMENTS, DPT_ERR_ARG, "graph is %d", o->graph);
    int up = 0;
    MPI_Initialized(&up);
    DPT_CHECK(up, DPT_ERR_ARG, "MPI is not initialised");
    return DPT_OK;
}

static dpt_status set_up_device(const dpt_context_options *o, dpt_device *device) {
    size_t available, total;
    device->record = o->sync ? DPT_RECORD_OFF : (dpt_record)o->graph;
    device->sync_each = o->sync;
    device->deterministic = o->deterministic;
    if (o->memory == 0 || device->host_memory) return DPT_OK;
    DPT_TRY(device->ops->memory_info(device, &available, &total));
    device->memory_limit = (size_t)(o->memory <= 1 ? o->memory * (double)total : o->memory);
    return DPT_OK;
}

static dpt_status open_comm(const dpt_context_options *options, dpt_context *c) {
    static const char *const names[] = {[DPT_COMM_AUTO] = "auto", [DPT_COMM_NCCL] = "nccl", [DPT_COMM_MPI] = "mpi"};
    dpt_comm_options o = {.thread = options->comm_thread,
                          .max_ctas = options->comm_ctas,
                          .sum_bf16 = options->comm_bf16 != 0,
                          .deterministic = options->deterministic != 0,
                          .start_limit_s = options->comm_start_s,
                          .interface = options->interface_name,
                          .emulate = options->emulate,
                          .check_every = options->comm_check,
                          .position = c->position};
    while (o.library <= DPT_COMM_MPI && strcmp(options->comm, names[o.library]) != 0) o.library++;
    DPT_CHECK(o.library <= DPT_COMM_MPI, DPT_ERR_CONFIG, "comm \"%s\": auto, nccl or mpi", options->comm);
    o.always = o.library == DPT_COMM_NCCL || o.emulate;
    return dpt_comm_open(c->backend, &c->control, &c->device, &o, &c->comm);
}

static dpt_status start_watchdog(const dpt_context_options *options, dpt_context *c) {
    dpt_watchdog_options o = {.silence_s = options->silence_s,
                              .stuck_s = options->stuck_s,
                              .limit_s = options->limit_s,
                              .interface = options->interface_name,
                              .position = c->position,
                              .on_fatal = options->on_fatal,
                              .user = options->user};
    if (c->control.world == 1 || !options->watchdog) return DPT_OK;
    return dpt_watchdog_start(&c->control, &o, &c->watchdog);
}

dpt_status dpt_context_create(MPI_Comm comm, const dpt_context_options *options, dpt_context **context) {
    *context = NULL;
    dpt_context_options defaults;
    dpt_context_options_init(&defaults);
    if (options == NULL) options = &defaults;
    DPT_TRY(check_options(options));
    dpt_status status;
    dpt_context *c = dpt_alloc_zero(1, sizeof *c);
    DPT_CHECK_ALLOC(c);
    c->control.comm = MPI_COMM_NULL;
    DPT_TRY_GOTO(dpt_control_open(&c->control, comm), fail);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, dpt_position_create(&c->position)), fail);
    c->control.position = c->position;
    dpt_position_phase(c->position, DPT_PHASE_START);
    DPT_TRY_GOTO(start_watchdog(options, c), fail);
    status = choose_backend(options->device ? options->device : "auto", &c->backend);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    DPT_TRY_GOTO(dpt_control_same(&c->control, "the backend", dpt_hash(c->backend->name, strlen(c->backend->name), 0)),
                 fail);
    status = c->backend->device_open(&c->control, options->threads, &c->device);
    if (status == DPT_OK) status = set_up_device(options, &c->device);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    DPT_TRY_GOTO(dpt_placement_survey(&c->control, c->backend, &c->device, &c->placement), fail);
    double begin_s = dpt_clock_s();
    status = open_comm(options, c);
    if (status == DPT_ERR_PEER) goto fail; /* ranks have not come: an agreement would wait for them */
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    dpt_watchdog_watch(c->watchdog, &c->comm);
    dpt_log(DPT_LOG_DEBUG, "rank %d of %d: %s, gradients by %s, ready after %.2f s", c->control.rank, c->control.world,
            c->device.name, c->comm.name, dpt_clock_s() - begin_s);
    dpt_position_phase(c->position, DPT_PHASE_OUTSIDE);
    *context = c;
    return DPT_OK;
fail:
    dpt_context_destroy(&c);
    return status;
}

void dpt_context_destroy(dpt_context **context) {
    dpt_context *c = context ? *context : NULL;
    if (c == NULL) return;
    *context = NULL;
    dpt_watchdog_watch(c->watchdog, NULL);
    dpt_comm_close(&c->comm);
    if (c->device.ops) c->device.ops->close(&c->device);
    dpt_watchdog_stop(&c->watchdog);
    dpt_control_close(&c->control);
    dpt_position_destroy(&c->position);
    dpt_free(c);
}

int dpt_context_rank(const dpt_context *context) { return context->control.rank; }
int dpt_context_world(const dpt_context *context) { return context->control.world; }
const char *dpt_context_device(const dpt_context *context) { return context->device.name; }
