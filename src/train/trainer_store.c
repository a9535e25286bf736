/* trainer_store.c: values in and out of a trainer: by name, and to and from params.h5. */
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "ops/internal.h"
#include "train/params_file.h"
#include "train/trainer.h"

static dpt_status no_such(const dpt_graph *g, const char *kind, const char *name, bool state) {
    int64_t n = state ? g->n_state : g->n_param;
    const char **names = dpt_alloc((size_t)(n + 1) * sizeof *names);
    DPT_CHECK_ALLOC(names);
    for (int64_t i = 0; i < n; i++) names[i] = state ? g->state[i].name : g->param[i].name;
    const char *near = dpt_nearest(name, names, n);
    dpt_status status = dpt_error(DPT_ERR_ARG, "no %s \"%s\"%s%s%s", kind, name, near ? "; did you mean \"" : "",
                                  near ? near : "", near ? "\"?" : "");
    dpt_free(names);
    return status;
}

static char *arena_of(const dpt_trainer *t, dpt_what what) {
    if (what == DPT_AVERAGE) return t->arenas.average;
    return what == DPT_GRADIENT ? t->arenas.grad : t->arenas.param;
}

/* Where a named value lies. */
static dpt_status find(const dpt_trainer *t, dpt_what what, const char *name, char **at, size_t *bytes) {
    const dpt_graph *g = t->graph;
    for (int64_t i = 0; what == DPT_STATE && i < g->n_state; i++)
        if (strcmp(g->state[i].name, name) == 0) {
            *at = t->arenas.state + t->plan.state[i].offset;
            *bytes = (size_t)t->plan.state[i].bytes;
            return DPT_OK;
        }
    if (what == DPT_STATE) return no_such(g, "state", name, true);
    for (int64_t i = 0; i < g->n_param; i++)
        if (strcmp(g->param[i].name, name) == 0) {
            DPT_CHECK(what != DPT_AVERAGE || t->arenas.average, DPT_ERR_ARG,
                      "parameter \"%s\" has no average: average_decay is 0", name);
            const dpt_slot *slot = what == DPT_GRADIENT ? &t->plan.grad[i] : &t->plan.param[i];
            DPT_CHECK(slot->offset >= 0, DPT_ERR_ARG, "parameter \"%s\" is not trained: it has no gradient", name);
            *at = arena_of(t, what) + slot->offset;
            *bytes = (size_t)slot->bytes;
            return DPT_OK;
        }
    return no_such(g, "parameter", name, false);
}

dpt_status dpt_trainer_gather(dpt_trainer *t, dpt_what what) {
    bool *cut = what == DPT_GRADIENT ? &t->cut_grads : what == DPT_AVERAGE ? &t->cut_averages : &t->cut_params;
    char *arena = arena_of(t, what);
    if (!*cut || what == DPT_STATE) return DPT_OK;
    for (int64_t k = 0; k < t->plan.n_bucket && t->ctx->comm.exchanges; k++) {
        const dpt_bucket *b = &t->plan.bucket[k];
        size_t count = (size_t)b->slice_bytes / dpt_dtype_size(b->dtype);
        if (count > 0)
            DPT_TRY(dpt_comm_run(&t->ctx->comm, DPT_ALL_GATHER, arena + b->offset, count, b->dtype, t->stream));
    }
    *cut = false;
    return DPT_OK;
}

dpt_status dpt_trainer_start_averages(dpt_trainer *t) {
    dpt_device *d = &t->ctx->device;
    if (t->arenas.average == NULL || t->plan.param_bytes == 0) return DPT_OK;
    t->cut_averages = false;
    DPT_TRY(d->ops->copy(d, t->arenas.average, t->arenas.param, (size_t)t->plan.param_bytes, NULL));
    return d->ops->stream_sync(d, NULL);
}

static dpt_status find_sized(const dpt_trainer *t, dpt_what what, const char *name, size_t bytes, char **at) {
    size_t size = 0;
    DPT_TRY(find(t, what, name, at, &size));
    DPT_CHECK(bytes == size, DPT_ERR_ARG, "\"%s\" takes %zu bytes, %zu were given", name, size, bytes);
    return DPT_OK;
}

dpt_status dpt_trainer_get(dpt_trainer *t, dpt_what what, const char *name, void *data, size_t bytes) {
    char *at;
    dpt_status status = find_sized(t, what, name, bytes, &at);
    if (t->plan.sharded) status = dpt_control_agree(&t->ctx->control, status); /* what follows is collective */
    DPT_TRY(status);
    DPT_TRY(dpt_trainer_gather(t, what));
    DPT_TRY(t->ctx->device.ops->copy_out(&t->ctx->device, data, at, bytes, NULL));
    return t->ctx->device.ops->stream_sync(&t->ctx->device, NULL);
}

dpt_status dpt_trainer_set(dpt_trainer *t, dpt_what what, const char *name, const void *data, size_t bytes) {
    char *at;
    DPT_TRY(find_sized(t, what, name, bytes, &at));
    t->merged = false;
    DPT_TRY(t->ctx->device.ops->copy_in(&t->ctx->device, at, data, bytes, NULL));
    if (what == DPT_PARAMETER && t->arenas.average)
        DPT_TRY(t->ctx->device.ops->copy_in(&t->ctx->device, t->arenas.average + (at - t->arenas.param), data, bytes,
                                            NULL));
    return t->ctx->device.ops->stream_sync(&t->ctx->device, NULL);
}

static void describe(const char *name, dpt_params_kind kind, const dpt_tensor *tensor, dpt_params_entry *e) {
    *e = (dpt_params_entry){.name = name, .kind = kind, .dtype = tensor->dtype, .ndim = tensor->ndim};
    for (int i = 0; i < tensor->ndim; i++) e->dim[i] = tensor->dim[i];
}

/* Host copies of all parameters and merged states; entry[i].data points into them. */
static dpt_status collect(dpt_trainer *t, dpt_params_entry *entry, char *values) {
    const dpt_graph *g = t->graph;
    dpt_device *d = &t->ctx->device;
    DPT_TRY(d->ops->copy_out(d, values, arena_of(t, dpt_trainer_kept(t)), (size_t)t->plan.param_bytes, NULL));
    DPT_TRY(d->ops->copy_out(d, values + t->plan.param_bytes, t->merged_state, (size_t)t->plan.state_bytes, NULL));
    DPT_TRY(d->ops->stream_sync(d, NULL));
    for (int64_t i = 0; i < g->n_param; i++) {
        describe(g->param[i].name, DPT_PARAMS_PARAMETER, g->param[i].tensor, &entry[i]);
        entry[i].data = values + t->plan.param[i].offset;
    }
    for (int64_t i = 0; i < g->n_state; i++) {
        describe(g->state[i].name, DPT_PARAMS_STATE, g->state[i].tensor, &entry[g->n_param + i]);
        entry[g->n_param + i].data = values + t->plan.param_bytes + t->plan.state[i].offset;
    }
    return DPT_OK;
}

static dpt_status save_local(dpt_trainer *t, const char *path, const char *config) {
    int64_t n = t->graph->n_param + t->graph->n_state;
    dpt_params_entry *entry = dpt_alloc_zero((size_t)n + 1, sizeof *entry);
    char *values = dpt_alloc((size_t)(t->plan.param_bytes + t->plan.state_bytes));
    dpt_status status = entry && values ? collect(t, entry, values) : DPT_ERR_MEMORY;
    if (status == DPT_OK) status = dpt_params_file_write(path, config ? config : "", entry, n);
    dpt_free(entry);
    dpt_free(values);
    return status;
}

dpt_status dpt_trainer_save(dpt_trainer *t, const char *path, const char *config) {
    DPT_TRY(dpt_trainer_gather(t, dpt_trainer_kept(t)));
    DPT_TRY(dpt_trainer_merge(t));
    const dpt_control *control = &t->ctx->control;
    dpt_phase before = dpt_position_phase(t->ctx->position, DPT_PHASE_SAVE);
    dpt_status status = dpt_control_agree(control, control->rank == 0 ? save_local(t, path, config) : DPT_OK);
    dpt_position_phase(t->ctx->position, before);
    return status;
}

/* Whether a state is this rank's share of what a file holds the sum of: the values seen by pooled statistics. */
static bool is_share(const dpt_state_info *s) {
    return s->kind == DPT_STATE_LOCAL && s->merge_group >= 0 && s->merge_role == 2;
}

/* shares: of how many ranks this one's is a part; 1: the value as it is. */
static dpt_status read_one(const dpt_params_file *file, const dpt_params_entry *wanted, size_t bytes, int shares,
                           dpt_device *d, char *to) {
    void *values = dpt_alloc(bytes);
    DPT_CHECK_ALLOC(values);
    dpt_status status = dpt_params_file_read(file, wanted, values);
    if (status == DPT_OK && shares > 1) *(double *)values /= shares;
    if (status == DPT_OK) status = d->ops->copy_in(d, to, values, bytes, NULL);
    if (status == DPT_OK) status = d->ops->stream_sync(d, NULL);
    dpt_free(values);
    return status;
}

static dpt_status load_local(dpt_trainer *t, const char *path) {
    const dpt_graph *g = t->graph;
    dpt_device *d = &t->ctx->device;
    dpt_params_file *file;
    dpt_params_entry e;
    dpt_status status;
    DPT_TRY(dpt_params_file_open(path, &file));
    for (int64_t i = 0; i < g->n_param; i++) {
        describe(g->param[i].name, DPT_PARAMS_PARAMETER, g->param[i].tensor, &e);
        DPT_TRY_GOTO(
            read_one(file, &e, (size_t)t->plan.param[i].bytes, 1, d, t->arenas.param + t->plan.param[i].offset), fail);
    }
    for (int64_t i = 0; i < g->n_state; i++) {
        describe(g->state[i].name, DPT_PARAMS_STATE, g->state[i].tensor, &e);
        bool scale = g->state[i].tensor == dpt_loss_scale_value(g) || g->state[i].tensor == dpt_loss_scale_steps(g);
        if (scale && dpt_params_file_find(file, e.name) == NULL) continue; /* saved in another precision */
        const int shares = is_share(&g->state[i]) ? t->ctx->control.world : 1;
        DPT_TRY_GOTO(
            read_one(file, &e, (size_t)t->plan.state[i].bytes, shares, d, t->arenas.state + t->plan.state[i].offset),
            fail);
    }
    status = dpt_trainer_start_averages(t);
fail:
    dpt_params_file_close(&file);
    return status;
}

dpt_status dpt_trainer_load(dpt_trainer *t, const char *path) {
    t->merged = false;
    return dpt_control_agree(&t->ctx->control, load_local(t, path));
}
