/* session.c: see session.h. Calls are made once: operands get their addresses from the program's storage, kernels are
 * prepared and bound; collectives run through the communicator, with the ticket of a start kept for its wait. */
#include "program/session.h"

#include <omp.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "ops/op_list.h"
#include "program/array_convert.h"

typedef struct step {
    const dpt_node *node;
    const dpt_kernel *kernel; /* NULL: a collective */
    dpt_call call;
    uint64_t *ticket; /* of the start that this start or wait belongs to */
    double seconds;
} step;

struct dpt_session {
    dpt_session_options o;
    dpt_device *device;
    dpt_stream *stream, *own_stream;
    dpt_inbox *inbox, *own_inbox; /* NULL where the host writes the device's memory */
    dpt_block block;              /* the host's copy */
    char *constants, *tables;
    size_t table_end; /* bytes of tables handed out */
    step *steps;
    int64_t n_step;
    uint64_t *tickets; /* by node */
    dpt_operand *inputs, *outputs;
    bool records; /* runs may be recorded */
    int eager;    /* runs made call by call so far */
    dpt_recording *recording;
    bool profiling;
    dpt_profile profile;
    dpt_timeline *timeline;
    dpt_event **timer; /* one before each call and one after the last; NULL where the host's clock serves */
    double *passed_s;  /* when each was passed, since the run began */
};

static void *address(const dpt_session *s, const dpt_storage *at) {
    switch (at->region) {
        case DPT_IN_ACTIVATIONS: return (char *)s->o.activations + at->offset;
        case DPT_IN_PARAMS: return s->o.arenas.param + at->offset;
        case DPT_IN_GRADS: return s->o.arenas.grad + at->offset;
        case DPT_IN_STATE: return s->o.arenas.state + at->offset;
        case DPT_IN_CONSTANTS: return s->constants + at->offset;
        default: return NULL;
    }
}

static void fill_operand(const dpt_session *s, const dpt_tensor *t, dpt_operand *o) {
    dpt_operand_fill(s->o.program->options.capacity, t, o);
    o->data = address(s, dpt_storage_of(s->o.program, t));
}

static void fill_addresses(dpt_session *s, step *st) {
    int in = 0, out = 0;
    for (int k = 0; k < st->node->n_in && in < DPT_MAX_IN; k++)
        if (!st->node->in[k]->token) st->call.in[in++].data = address(s, dpt_storage_of(s->o.program, st->node->in[k]));
    for (int k = 0; k < st->node->n_out; k++)
        if (!st->node->out[k].token)
            st->call.out[out++].data = address(s, dpt_storage_of(s->o.program, &st->node->out[k]));
    st->call.arenas = s->o.arenas;
    st->call.block = s->o.activations;
    st->call.workspace = (char *)s->o.activations + s->o.program->activation_bytes;
    st->call.table = s->tables + s->table_end;
    s->table_end += dpt_align(st->call.table_bytes);
}

/* "matmul "fc1" ([64,784] f32, [512,784] f32): ..." */
static dpt_status name_failure(const dpt_node *node, dpt_status status) {
    char text[256];
    size_t n = 0;
    text[0] = 0;
    for (int k = 0; k < node->n_in && k < DPT_MAX_IN; k++)
        if (!node->in[k]->token)
            n = dpt_append(text, sizeof text, n, "%s%s %s", n ? ", " : "", dpt_shape_text(node->in[k]),
                           dpt_dtype_text(node->in[k]->dtype));
    return dpt_error_prefix(status, "%s \"%s\" (%s): ", dpt_op_of(node)->name, node->name, text);
}

static dpt_status prepare_step(dpt_session *s, const dpt_node *node) {
    const dpt_program *p = s->o.program;
    bool collective = dpt_op_of(node)->flags & DPT_IS_COLLECTIVE;
    const dpt_kernel *kernel = collective ? NULL : p->options.backend->kernels[node->op];
    if (p->elided[node->id] || (!collective && kernel == NULL)) return DPT_OK;
    if (collective && p->options.world == 1) return DPT_OK;
    step *st = &s->steps[s->n_step++];
    st->node = node;
    st->kernel = kernel;
    dpt_call_fill(&p->options, node, &st->call);
    if (collective) {
        bool waits = node->op == DPT_OP_SUM_WAIT || node->op == DPT_OP_BUCKET_WAIT;
        st->ticket = &s->tickets[waits ? node->in[0]->node->id : node->id];
    }
    dpt_status status = kernel && kernel->prepare ? kernel->prepare(&st->call) : DPT_OK;
    fill_addresses(s, st);
    if (status == DPT_OK && kernel && kernel->bind) status = kernel->bind(&st->call);
    return status == DPT_OK ? DPT_OK : name_failure(node, status);
}

static dpt_status load_constants(dpt_session *s) {
    const dpt_program *p = s->o.program;
    if (p->constant_bytes == 0) return DPT_OK;
    void *memory;
    DPT_TRY(s->device->ops->alloc(s->device, (size_t)p->constant_bytes, DPT_FOR_COMPUTE, &memory));
    s->constants = memory;
    for (int64_t i = 0; i < p->graph->n_node; i++) {
        const dpt_node *n = p->graph->node[i];
        if (n->op != DPT_OP_CONSTANT) continue;
        const dpt_storage *at = dpt_storage_of(p, &n->out[0]);
        DPT_TRY(s->device->ops->copy_in(s->device, s->constants + at->offset, n->data, (size_t)at->bytes, NULL));
    }
    return DPT_OK;
}

/* The stream and the inbox, where none were handed over. */
static dpt_status make_ways(dpt_session *s) {
    s->stream = s->o.stream;
    s->inbox = s->o.inbox;
    if (s->stream == NULL) {
        DPT_TRY(s->device->ops->stream_create(s->device, 0, &s->own_stream));
        s->stream = s->own_stream;
    }
    if (s->inbox || s->device->host_memory) return DPT_OK;
    DPT_TRY(dpt_inbox_create(s->device, (size_t)s->o.program->input_bytes, s->stream, &s->own_inbox));
    s->inbox = s->own_inbox;
    return DPT_OK;
}

static bool has_collectives(const dpt_program *p) {
    for (int64_t i = 0; i < p->graph->n_node; i++)
        if (p->options.world > 1 && (dpt_op_of(p->graph->node[i])->flags & DPT_IS_COLLECTIVE)) return true;
    return false;
}

static dpt_status make_tables(dpt_session *s) {
    void *memory;
    if (s->o.program->table_bytes == 0) return DPT_OK;
    DPT_TRY(s->device->ops->alloc(s->device, (size_t)s->o.program->table_bytes, DPT_FOR_COMPUTE, &memory));
    s->tables = memory;
    return DPT_OK;
}

static dpt_status build(dpt_session *s) {
    const dpt_graph *g = s->o.program->graph;
    size_t n = (size_t)g->n_node + 1;
    s->steps = dpt_alloc_zero(n, sizeof *s->steps);
    s->tickets = dpt_alloc_zero(n, sizeof *s->tickets);
    s->inputs = dpt_alloc_zero((size_t)g->n_input + 1, sizeof *s->inputs);
    s->outputs = dpt_alloc_zero((size_t)g->n_output + 1, sizeof *s->outputs);
    if (!s->steps || !s->tickets || !s->inputs || !s->outputs) return DPT_ERR_MEMORY;
    DPT_TRY(make_ways(s));
    DPT_TRY(load_constants(s));
    DPT_TRY(make_tables(s));
    const dpt_device *d = s->device;
    s->records = d->record && d->ops->record_begin && !d->sync_each &&
                 !(has_collectives(s->o.program) && s->o.comm->host_staged);
    for (int64_t i = 0; i < g->n_input; i++) fill_operand(s, g->input[i], &s->inputs[i]);
    for (int64_t i = 0; i < g->n_output; i++) fill_operand(s, g->output[i].tensor, &s->outputs[i]);
    for (int64_t i = 0; i < g->n_node; i++) DPT_TRY(prepare_step(s, g->node[i]));
    return DPT_OK;
}

dpt_status dpt_session_create(const dpt_session_options *options, dpt_session **session) {
    *session = NULL;
    dpt_session *s = dpt_alloc_zero(1, sizeof *s);
    DPT_CHECK_ALLOC(s);
    s->o = *options;
    s->device = options->program->options.device;
    dpt_status status = build(s);
    if (status != DPT_OK) dpt_session_destroy(&s);
    *session = s;
    return status;
}

static void drop_timers(dpt_session *s) {
    for (int64_t i = 0; s->timer && i <= s->n_step; i++)
        if (s->timer[i]) s->device->ops->event_destroy(s->device, s->timer[i]);
    dpt_free(s->timer);
    dpt_free(s->passed_s);
    s->timer = NULL;
    s->passed_s = NULL;
}

void dpt_session_destroy(dpt_session **session) {
    dpt_session *s = session ? *session : NULL;
    if (s == NULL) return;
    *session = NULL;
    for (int64_t i = 0; i < s->n_step; i++)
        if (s->steps[i].kernel && s->steps[i].kernel->release) s->steps[i].kernel->release(&s->steps[i].call);
    const dpt_device_ops *ops = s->device->ops;
    ops->release(s->device, s->constants, (size_t)s->o.program->constant_bytes, DPT_FOR_COMPUTE);
    ops->release(s->device, s->tables, (size_t)s->o.program->table_bytes, DPT_FOR_COMPUTE);
    drop_timers(s);
    if (s->recording) ops->recording_destroy(s->device, s->recording);
    dpt_inbox_destroy(&s->own_inbox);
    if (s->own_stream) ops->stream_destroy(s->device, s->own_stream);
    dpt_free(s->steps);
    dpt_free(s->tickets);
    dpt_free(s->inputs);
    dpt_free(s->outputs);
    dpt_free(s);
}

dpt_block *dpt_session_block(dpt_session *s) { return &s->block; }

int dpt_session_find_input(const dpt_session *s, const char *name) {
    const dpt_graph *g = s->o.program->graph;
    for (int64_t i = 0; i < g->n_input; i++)
        if (strcmp(g->input[i]->node->name, name) == 0) return (int)i;
    return -1;
}

void dpt_session_input_shape(const dpt_session *s, int input, int *axis, int64_t *row_count) {
    *axis = s->inputs[input].axis;
    *row_count = s->inputs[input].row_count;
}

dpt_status dpt_session_set_input(dpt_session *s, int input, const dpt_array *a) {
    const dpt_operand *o = &s->inputs[input];
    const char *name = s->o.program->graph->input[input]->node->name;
    int64_t rows = o->axis < 0 ? 1 : a->rows;
    DPT_CHECK(rows >= 0 && (o->axis < 0 || rows <= o->dim[0]), DPT_ERR_ARG, "input \"%s\": %lld rows, capacity %lld",
              name, (long long)a->rows, (long long)(o->axis < 0 ? 1 : o->dim[0]));
    int64_t count = rows * o->row_count;
    DPT_CHECK(count == 0 || a->data != NULL, DPT_ERR_ARG, "input \"%s\": data is NULL", name);
    DPT_CHECK(a->place == DPT_HOST || s->device->host_memory, DPT_ERR_UNSUPPORTED,
              "input \"%s\": arrays on the device are not supported by this backend", name);
    char *to = o->data;
    size_t bytes = (size_t)count * dpt_dtype_size(o->dtype), offset = (size_t)(to - (char *)s->o.activations);
    if (s->inbox) {
        DPT_TRY(dpt_inbox_open(s->inbox, &to));
        to += offset;
    }
    dpt_status status = dpt_array_convert(a->data, a->dtype, to, o->dtype, count);
    if (status != DPT_OK) return dpt_error_prefix(status, "input \"%s\": ", name);
    return s->inbox ? dpt_inbox_send(s->inbox, offset, bytes) : DPT_OK;
}

/* Brings the block, and the inputs that were set, to their place. */
static dpt_status deliver(dpt_session *s) {
    if (s->inbox == NULL) {
        memcpy(s->o.activations, &s->block, sizeof s->block);
        return DPT_OK;
    }
    char *slot;
    DPT_TRY(dpt_inbox_open(s->inbox, &slot));
    memcpy(slot, &s->block, sizeof s->block);
    DPT_TRY(dpt_inbox_send(s->inbox, 0, sizeof s->block));
    return dpt_inbox_deliver(s->inbox, s->o.activations, (size_t)s->o.program->input_bytes);
}

static dpt_status run_collective(dpt_session *s, step *st) {
    dpt_comm *comm = s->o.comm;
    const dpt_attr *a = &st->call.attr;
    switch (st->node->op) {
        case DPT_OP_SUM_START:
            return comm->ops->start(comm, DPT_ALL_REDUCE, st->call.in[0].data, (size_t)st->call.in[0].count,
                                    st->call.in[0].dtype, s->stream, st->ticket);
        case DPT_OP_BUCKET_START: {
            dpt_dtype dtype = s->o.program->options.arenas->bucket[a->slot.index].dtype;
            return comm->ops->start(comm, DPT_ALL_REDUCE, s->o.arenas.grad + a->slot.offset,
                                    (size_t)a->slot.bytes / dpt_dtype_size(dtype), dtype, s->stream, st->ticket);
        }
        default: return comm->ops->wait(comm, *st->ticket, s->stream);
    }
}

static dpt_status run_step(dpt_session *s, step *st) {
    return st->kernel ? st->kernel->run(&st->call, s->stream) : run_collective(s, st);
}

static dpt_status take_time(dpt_session *s, int64_t i, double begin_s) {
    if (s->timer) return s->device->ops->event_record(s->device, s->timer[i], s->stream);
    s->passed_s[i] = dpt_clock_s() - begin_s;
    return DPT_OK;
}

static dpt_status read_timers(dpt_session *s) {
    if (s->timer == NULL) return DPT_OK;
    DPT_TRY(s->device->ops->stream_sync(s->device, s->stream));
    for (int64_t i = 0; i <= s->n_step; i++)
        DPT_TRY(s->device->ops->timer_elapsed(s->device, s->timer[0], s->timer[i], &s->passed_s[i]));
    return DPT_OK;
}

static void account_profile(dpt_session *s, double begin_s) {
    for (int64_t i = 0; i < s->n_step; i++) {
        step *st = &s->steps[i];
        double took_s = s->passed_s[i + 1] - s->passed_s[i];
        st->seconds += took_s;
        *(st->kernel ? &s->profile.kernels_s : &s->profile.collectives_s) += took_s;
        if (s->timeline == NULL) continue;
        dpt_cost cost = dpt_call_cost(&st->call);
        dpt_timeline_add(s->timeline, st->kernel ? DPT_TRACK_OPS : DPT_TRACK_EXCHANGE, st->node->name,
                         dpt_op_of(st->node)->name, begin_s + s->passed_s[i], begin_s + s->passed_s[i + 1], &cost);
    }
    s->profile.runs++;
}

static dpt_status run_profiled(dpt_session *s) {
    double begin_s = dpt_clock_s();
    DPT_TRY(take_time(s, 0, begin_s));
    for (int64_t i = 0; i < s->n_step; i++) {
        step *st = &s->steps[i];
        dpt_mark_begin(s->device, st->node->name);
        dpt_status status = run_step(s, st);
        dpt_mark_end(s->device);
        if (status != DPT_OK) return name_failure(st->node, status);
        DPT_TRY(take_time(s, i + 1, begin_s));
    }
    DPT_TRY(read_timers(s));
    s->profile.runs_s += dpt_clock_s() - begin_s;
    account_profile(s, begin_s);
    return DPT_OK;
}

static dpt_status run_plain(dpt_session *s) {
    for (int64_t i = 0; i < s->n_step; i++) {
        dpt_status status = run_step(s, &s->steps[i]);
        if (status == DPT_OK && s->device->sync_each) status = s->device->ops->stream_sync(s->device, s->stream);
        if (status != DPT_OK) return name_failure(s->steps[i].node, status);
    }
    return DPT_OK;
}

/* Libraries connect and choose in their first calls; then the list is recorded once. */
static dpt_status run_recorded(dpt_session *s) {
    enum { FIRST_RUNS = 2 };
    const dpt_device_ops *ops = s->device->ops;
    if (s->recording == NULL) {
        if (s->eager < FIRST_RUNS) {
            s->eager++;
            return run_plain(s);
        }
        DPT_TRY(ops->record_begin(s->device, s->stream));
        dpt_status status = run_plain(s);
        dpt_status ended = ops->record_end(s->device, s->stream, &s->recording);
        if (status == DPT_OK) status = ended;
        if (status != DPT_OK && s->recording) {
            ops->recording_destroy(s->device, s->recording);
            s->recording = NULL;
        }
        DPT_TRY(status);
    }
    return ops->replay(s->device, s->recording, s->stream);
}

static const char *mode_text(dpt_mode mode) {
    static const char *const text[] = {[DPT_MODE_TRAIN] = "train",       [DPT_MODE_ACCUMULATE] = "accumulate",
                                       [DPT_MODE_APPLY] = "apply",       [DPT_MODE_COUNT] = "count",
                                       [DPT_MODE_GRADIENT] = "gradient", [DPT_MODE_EVALUATE] = "evaluate",
                                       [DPT_MODE_PREDICT] = "predict"};
    return text[mode];
}

bool dpt_session_recorded(const dpt_session *s) { return s->recording != NULL; }

static dpt_status run_once(dpt_session *s) {
    if (s->profiling) return run_profiled(s);
    return s->records ? run_recorded(s) : run_plain(s);
}

dpt_status dpt_session_run(dpt_session *s) {
    DPT_TRY(deliver(s));
    if (!s->device->host_memory) {
        dpt_mark_begin(s->device, mode_text(s->o.program->options.mode));
        dpt_status status = run_once(s);
        dpt_mark_end(s->device);
        return status;
    }
    int threads = omp_get_max_threads();
    if (threads != s->device->threads) omp_set_num_threads(s->device->threads);
    dpt_status status = run_once(s);
    if (threads != s->device->threads) omp_set_num_threads(threads);
    return status;
}

const dpt_operand *dpt_session_output(const dpt_session *s, const char *name) {
    const dpt_graph *g = s->o.program->graph;
    for (int64_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, name) == 0) return &s->outputs[i];
    return NULL;
}

dpt_status dpt_session_read(dpt_session *s, const char *output, int64_t rows, void *data) {
    const dpt_operand *o = dpt_session_output(s, output);
    DPT_CHECK(o != NULL, DPT_ERR_ARG, "no output \"%s\"", output);
    int64_t count = o->axis < 0 || rows == 0 ? o->count : rows * o->row_count;
    DPT_TRY(s->device->ops->copy_out(s->device, data, o->data, (size_t)count * dpt_dtype_size(o->dtype), s->stream));
    return s->device->ops->stream_sync(s->device, s->stream);
}

static dpt_status make_timers(dpt_session *s) {
    size_t n = (size_t)s->n_step + 1;
    s->passed_s = dpt_alloc_zero(n, sizeof *s->passed_s);
    DPT_CHECK_ALLOC(s->passed_s);
    if (s->device->ops->timer_create == NULL) return DPT_OK;
    s->timer = dpt_alloc_zero(n, sizeof(dpt_event *));
    DPT_CHECK_ALLOC(s->timer);
    for (size_t i = 0; i < n; i++) DPT_TRY(s->device->ops->timer_create(s->device, &s->timer[i]));
    return DPT_OK;
}

dpt_status dpt_session_profile(dpt_session *s, bool on, dpt_timeline *timeline) {
    drop_timers(s);
    s->profiling = on;
    s->timeline = on ? timeline : NULL;
    s->profile = (dpt_profile){0};
    for (int64_t i = 0; i < s->n_step; i++) s->steps[i].seconds = 0;
    return on ? make_timers(s) : DPT_OK;
}

dpt_profile dpt_session_profile_read(const dpt_session *s) { return s->profile; }

void dpt_session_profile_each(const dpt_session *s,
                              void (*fn)(void *user, const dpt_node *node, const dpt_call *call, double seconds),
                              void *user) {
    for (int64_t i = 0; i < s->n_step; i++) fn(user, s->steps[i].node, &s->steps[i].call, s->steps[i].seconds);
}
