/* trainer_memory.c: the memory of a trainer: planned exactly and compared with what is free before any of it is taken,
 * taken at once, never more. Ranks of a host share its memory, so all must have compared before one takes.
 * Invariant: what is announced (dpt_memory.total) is what the device then holds for the trainer. */
#include <stdio.h>

#include "base/memory.h"
#include "train/trainer.h"

static bool needs_second_moment(const dpt_trainer *t) {
    return t->o.optimizer == DPT_ADAMW || t->o.optimizer == DPT_ADAM || t->o.optimizer == DPT_LAMB;
}
static bool needs_first_moment(const dpt_trainer *t) {
    return needs_second_moment(t) || t->o.optimizer == DPT_LARS || t->o.momentum != 0;
}
static bool averages(const dpt_trainer *t) { return t->o.average_decay > 0; }
static bool saves_state(const dpt_trainer *t) { return t->o.accumulate > 1 && t->plan.state_bytes > 0; }
/* Gradients, but not the loss at the end of their arena, which sums in bf16 would round. */
static bool attaches(const dpt_trainer *t) {
    return t->ctx->comm.exchanges && t->ctx->comm.ops->attach && t->plan.loss.offset > 0;
}
static bool has_inbox(const dpt_trainer *t) { return !t->ctx->device.host_memory; }

/* Bytes of a slot of the inbox: the inputs of the program that has most. */
static size_t slot_bytes(dpt_trainer *t) {
    dpt_compiled *list[DPT_COMPILED_MAX];
    int64_t most = 0;
    for (dpt_compiled *const *c = dpt_trainer_compiled(t, list); *c; c++)
        if ((*c)->program && (*c)->program->input_bytes > most) most = (*c)->program->input_bytes;
    return (size_t)most;
}

static void plan_memory(dpt_trainer *t) {
    dpt_memory *m = &t->memory;
    m->parameters = (size_t)t->plan.param_bytes * (1U + averages(t));
    m->gradients = (size_t)t->plan.grad_bytes;
    if (attaches(t) && t->ctx->comm.ops->attach_bytes)
        m->gradients += t->ctx->comm.ops->attach_bytes(&t->ctx->comm, (size_t)t->plan.loss.offset);
    m->moments = (size_t)t->plan.moment_bytes * (size_t)(needs_first_moment(t) + needs_second_moment(t));
    m->state = (size_t)t->plan.state_bytes * (1U + t->has_local_state + saves_state(t));
    m->control = DPT_STAGING_SLOTS * DPT_RESULT_BYTES;
    m->staging = has_inbox(t) ? 2 * DPT_STAGING_SLOTS * slot_bytes(t) : 0;
    dpt_compiled *list[DPT_COMPILED_MAX];
    int64_t most_workspace = 0;
    for (dpt_compiled *const *c = dpt_trainer_compiled(t, list); *c; c++) {
        if ((*c)->program == NULL) continue;
        m->constants += (size_t)((*c)->program->constant_bytes + (*c)->program->table_bytes);
        if ((*c)->program->workspace_bytes > most_workspace) most_workspace = (*c)->program->workspace_bytes;
    }
    m->workspace = (size_t)most_workspace < t->activation_bytes ? (size_t)most_workspace : t->activation_bytes;
    m->activations = t->activation_bytes - m->workspace;
    m->total = m->parameters + m->gradients + m->moments + m->state + m->activations + m->workspace + m->constants +
               m->control + m->staging;
}

/* Bytes that must be free: on a device with memory of its own those that lie there; on the host those of all its ranks,
 * whose plans are alike. */
static size_t needed(const dpt_trainer *t) {
    const dpt_memory *m = &t->memory;
    if (t->ctx->device.host_memory) return m->total * (size_t)t->ctx->control.local_world;
    return m->total - m->staging / 2 - m->control;
}

/* The same for other rows a rank, by a plan of its own. SIZE_MAX: there is none. */
static size_t needed_for(const dpt_trainer *t, int64_t rows) {
    dpt_trainer other = {.graph = t->graph, .ctx = t->ctx, .o = t->o, .plan = t->plan};
    other.has_local_state = t->has_local_state;
    other.o.max_rows = rows;
    dpt_status status = dpt_trainer_compile(&other);
    if (status == DPT_OK) plan_memory(&other);
    dpt_trainer_drop_programs(&other);
    return status == DPT_OK ? needed(&other) : SIZE_MAX;
}

/* The most rows a rank that fit, by bisection; 0: not even one does. */
static int64_t rows_that_fit(const dpt_trainer *t, size_t available) {
    int64_t fits = 0, too_many = t->o.max_rows;
    while (too_many - fits > 1) {
        int64_t rows = fits + (too_many - fits) / 2;
        *(needed_for(t, rows) <= available ? &fits : &too_many) = rows;
    }
    return fits;
}

dpt_status dpt_trainer_check_memory(dpt_trainer *t) {
    const dpt_memory *m = &t->memory;
    dpt_device *d = &t->ctx->device;
    const double mib = 1048576;
    size_t available, total;
    char fit[80] = "not even one row a rank fits", ranks[32] = "";
    plan_memory(t);
    DPT_TRY(d->ops->memory_info(d, &available, &total));
    size_t asked = needed(t);
    if (asked <= available) return DPT_OK;
    int64_t rows = rows_that_fit(t, available);
    if (rows > 0)
        snprintf(fit, sizeof fit, "%lld rows a rank instead of %lld fit", (long long)rows, (long long)t->o.max_rows);
    if (d->host_memory && t->ctx->control.local_world > 1)
        snprintf(ranks, sizeof ranks, " by %d ranks", t->ctx->control.local_world);
    return dpt_error(DPT_ERR_MEMORY,
                     "%s: %.0f MiB are needed%s (of a rank: parameters, gradients, moments and state %.0f, activations "
                     "%.0f, workspace %.0f, staging %.0f), %.0f of %.0f MiB are free: %s",
                     d->name, (double)asked / mib, ranks,
                     (double)(m->parameters + m->gradients + m->moments + m->state) / mib, (double)m->activations / mib,
                     (double)m->workspace / mib, (double)m->staging / 2 / mib, (double)available / mib,
                     (double)total / mib, fit);
}

static dpt_status alloc(dpt_trainer *t, int64_t bytes, dpt_purpose purpose, char **memory) {
    void *p;
    DPT_TRY(t->ctx->device.ops->alloc(&t->ctx->device, (size_t)bytes, purpose, &p));
    *memory = p;
    return DPT_OK;
}

static dpt_status take_arenas(dpt_trainer *t) {
    DPT_TRY(alloc(t, t->plan.param_bytes, DPT_FOR_COMPUTE, &t->arenas.param));
    if (averages(t)) DPT_TRY(alloc(t, t->plan.param_bytes, DPT_FOR_COMPUTE, &t->arenas.average));
    DPT_TRY(alloc(t, t->plan.grad_bytes, DPT_FOR_COMM, &t->arenas.grad));
    if (needs_first_moment(t)) DPT_TRY(alloc(t, t->plan.moment_bytes, DPT_FOR_COMPUTE, &t->arenas.moment1));
    if (needs_second_moment(t)) DPT_TRY(alloc(t, t->plan.moment_bytes, DPT_FOR_COMPUTE, &t->arenas.moment2));
    DPT_TRY(alloc(t, t->plan.state_bytes, DPT_FOR_COMPUTE, &t->arenas.state));
    t->arenas.state_bytes = t->plan.state_bytes;
    t->merged_state = t->arenas.state;
    if (t->has_local_state) DPT_TRY(alloc(t, t->plan.state_bytes, DPT_FOR_COMPUTE, &t->merged_state));
    if (saves_state(t)) DPT_TRY(alloc(t, t->plan.state_bytes, DPT_FOR_COMPUTE, &t->arenas.saved_state));
    char *activations;
    DPT_TRY(alloc(t, (int64_t)t->activation_bytes, DPT_FOR_COMPUTE, &activations));
    t->activations = activations;
    return DPT_OK;
}

dpt_status dpt_trainer_take_memory(dpt_trainer *t) {
    dpt_device *d = &t->ctx->device;
    for (int i = 0; i < DPT_PURPOSE_COUNT; i++) t->allocated_before += d->allocated[i];
    DPT_TRY(take_arenas(t));
    DPT_TRY(d->ops->stream_create(d, 0, &t->stream));
    if (has_inbox(t)) DPT_TRY(dpt_inbox_create(d, slot_bytes(t), t->stream, &t->inbox));
    return dpt_outbox_create(d, DPT_RESULT_BYTES, t->stream, &t->outbox);
}

dpt_status dpt_trainer_attach_memory(dpt_trainer *t) {
    dpt_comm *comm = &t->ctx->comm;
    return attaches(t) ? comm->ops->attach(comm, t->arenas.grad, (size_t)t->plan.loss.offset) : DPT_OK;
}

void dpt_trainer_release_memory(dpt_trainer *t) {
    dpt_device *d = &t->ctx->device;
    dpt_comm *comm = &t->ctx->comm;
    if (comm->ops && comm->ops->detach && t->arenas.grad) comm->ops->detach(comm, t->arenas.grad);
    dpt_inbox_destroy(&t->inbox);
    dpt_outbox_destroy(&t->outbox);
    if (t->stream) d->ops->stream_destroy(d, t->stream);
    size_t state = (size_t)t->plan.state_bytes, moment = (size_t)t->plan.moment_bytes;
    if (t->merged_state != t->arenas.state) d->ops->release(d, t->merged_state, state, DPT_FOR_COMPUTE);
    d->ops->release(d, t->arenas.param, (size_t)t->plan.param_bytes, DPT_FOR_COMPUTE);
    d->ops->release(d, t->arenas.average, (size_t)t->plan.param_bytes, DPT_FOR_COMPUTE);
    d->ops->release(d, t->arenas.grad, (size_t)t->plan.grad_bytes, DPT_FOR_COMM);
    d->ops->release(d, t->arenas.moment1, moment, DPT_FOR_COMPUTE);
    d->ops->release(d, t->arenas.moment2, moment, DPT_FOR_COMPUTE);
    d->ops->release(d, t->arenas.state, state, DPT_FOR_COMPUTE);
    d->ops->release(d, t->arenas.saved_state, state, DPT_FOR_COMPUTE);
    d->ops->release(d, t->activations, t->activation_bytes, DPT_FOR_COMPUTE);
}

dpt_memory dpt_trainer_memory(const dpt_trainer *t) {
    dpt_memory m = t->memory;
    for (int i = 0; i < DPT_PURPOSE_COUNT; i++) m.allocated += t->ctx->device.allocated[i];
    m.allocated -= t->allocated_before;
    return m;
}
