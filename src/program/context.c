/* context.c: what a rank has. The one file that picks a backend: the CPU's table, or a plug-in's. */
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "dptrain/context.h"
#include "ops/cpu_backend.h"
#include "ops/op_list.h"

static const char *const cuda_plugin = "libdptrain_cuda.so";

void dpt_context_options_init(dpt_context_options *options) {
    *options = (dpt_context_options){.struct_size = sizeof *options, .device = "auto", .comm_thread = -1};
}

static dpt_status choose_backend(const char *device, const dpt_backend **backend) {
    if (strcmp(device, "cpu") == 0) {
        *backend = dpt_cpu_backend();
        return DPT_OK;
    }
    bool automatic = strcmp(device, "auto") == 0;
    DPT_CHECK(automatic || strcmp(device, "cuda") == 0, DPT_ERR_CONFIG, "device \"%s\": auto, cpu or cuda", device);
    dpt_status status = dpt_plugin_open(cuda_plugin, DPT_OP_COUNT, backend);
    if (status == DPT_OK || !automatic)
        return status == DPT_OK ? DPT_OK
                                : dpt_error_prefix(status, "device cuda: the CUDA backend could not be opened: ");
    *backend = dpt_cpu_backend();
    return DPT_OK;
}

dpt_status dpt_context_create(MPI_Comm comm, const dpt_context_options *options, dpt_context **context) {
    *context = NULL;
    dpt_context_options defaults;
    dpt_context_options_init(&defaults);
    if (options == NULL) options = &defaults;
    DPT_CHECK(options->struct_size == sizeof *options, DPT_ERR_ARG,
              "dpt_context_options was not started by dpt_context_options_init");
    int up = 0;
    MPI_Initialized(&up);
    DPT_CHECK(up, DPT_ERR_ARG, "MPI is not initialised");
    dpt_status status;
    dpt_context *c = dpt_alloc_zero(1, sizeof *c);
    DPT_CHECK_ALLOC(c);
    c->control.comm = MPI_COMM_NULL;
    c->on_fatal = options->on_fatal;
    c->user = options->user;
    DPT_TRY_GOTO(dpt_control_open(&c->control, comm), fail);
    status = choose_backend(options->device ? options->device : "auto", &c->backend);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    DPT_TRY_GOTO(dpt_control_same(&c->control, "the backend", dpt_hash(c->backend->name, strlen(c->backend->name), 0)),
                 fail);
    status = c->backend->device_open(&c->control, options->threads, &c->device);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    status = c->backend->comm_open(comm, &c->device, options->comm_thread, &c->comm);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    dpt_log(DPT_LOG_DEBUG, "rank %d of %d: %s, gradients by %s", c->control.rank, c->control.world, c->device.name,
            c->comm.name);
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
    if (c->comm.ops) c->comm.ops->close(&c->comm);
    if (c->device.ops) c->device.ops->close(&c->device);
    dpt_control_close(&c->control);
    dpt_free(c);
}

int dpt_context_rank(const dpt_context *context) { return context->control.rank; }
int dpt_context_world(const dpt_context *context) { return context->control.world; }
const char *dpt_context_device(const dpt_context *context) { return context->device.name; }
