/* session.c: see session.h. Calls are made once: operands get their addresses from the program's storage, kernels are
 * prepared and bound; collectives run through the communicator, with the ticket of a start kept for its wait. */
#include "program/session_private.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "ops/op_list.h"

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

static void fill_addresses(dpt_session *s, dpt_session_step *st) {
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

static bool starts(int op) {
    return op == DPT_OP_SUM_START || op == DPT_OP_BUCKET_START || op == DPT_OP_SCATTER_START ||
           op == DPT_OP_GATHER_START;
}

static dpt_status prepare_step(dpt_session *s, const dpt_node *node) {
    const dpt_program *p = s->o.program;
    bool collective = dpt_op_of(node)->flags & DPT_IS_COLLECTIVE;
    const dpt_kernel *kernel = collective ? NULL : p->options.backend->kernels[node->op];
    if (p->elided[node->id] || (!collective && kernel == NULL)) return DPT_OK;
    if (collective && !p->options.exchange) return DPT_OK;
    dpt_session_step *st = &s->steps[s->n_step++];
    st->node = node;
    st->kernel = kernel;
    dpt_call_fill(&p->options, node, &st->call);
    if (collective) st->ticket = &s->tickets[starts(node->op) ? node->id : node->in[0]->node->id];
    dpt_status status = kernel && kernel->prepare ? kernel->prepare(&st->call) : DPT_OK;
    fill_addresses(s, st);
    if (status == DPT_OK && kernel && kernel->bind) status = kernel->bind(&st->call);
    return status == DPT_OK ? DPT_OK : dpt_name_failure(node, status);
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

/* Sums whose starts stand side by side go out as one. */
static void group_sums(dpt_session *s) {
    bool groups = s->o.comm && s->o.comm->ops && s->o.comm->ops->group;
    for (int64_t i = 0; i < s->n_step && groups; i++) {
        bool sum = s->steps[i].node->op == DPT_OP_SUM_START;
        bool before = i > 0 && s->steps[i - 1].node->op == DPT_OP_SUM_START;
        bool after = i + 1 < s->n_step && s->steps[i + 1].node->op == DPT_OP_SUM_START;
        s->steps[i].opens = sum && !before && after;
        s->steps[i].closes = sum && before && !after;
    }
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
    s->lent = dpt_alloc_zero((size_t)g->n_input + 1, sizeof *s->lent);
    if (!s->steps || !s->tickets || !s->inputs || !s->outputs || !s->lent) return DPT_ERR_MEMORY;
    DPT_TRY(make_ways(s));
    DPT_TRY(load_constants(s));
    DPT_TRY(make_tables(s));
    for (int64_t i = 0; i < g->n_input; i++) fill_operand(s, g->input[i], &s->inputs[i]);
    for (int64_t i = 0; i < g->n_output; i++) fill_operand(s, g->output[i].tensor, &s->outputs[i]);
    for (int64_t i = 0; i < g->n_node; i++) DPT_TRY(prepare_step(s, g->node[i]));
    group_sums(s);
    return dpt_session_record_create(s);
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

void dpt_session_destroy(dpt_session **session) {
    dpt_session *s = session ? *session : NULL;
    if (s == NULL) return;
    *session = NULL;
    for (int64_t i = 0; i < s->n_step; i++)
        if (s->steps[i].kernel && s->steps[i].kernel->release) s->steps[i].kernel->release(&s->steps[i].call);
    const dpt_device_ops *ops = s->device->ops;
    ops->release(s->device, s->constants, (size_t)s->o.program->constant_bytes, DPT_FOR_COMPUTE);
    ops->release(s->device, s->tables, (size_t)s->o.program->table_bytes, DPT_FOR_COMPUTE);
    dpt_session_drop_timers(s);
    dpt_session_record_destroy(s);
    dpt_inbox_destroy(&s->own_inbox);
    if (s->own_stream) ops->stream_destroy(s->device, s->own_stream);
    dpt_free(s->steps);
    dpt_free(s->tickets);
    dpt_free(s->inputs);
    dpt_free(s->outputs);
    dpt_free(s->lent);
    dpt_free(s);
}

dpt_block *dpt_session_block(dpt_session *s) { return &s->block; }

bool dpt_session_exchange_of(const dpt_session *s, const dpt_session_step *st, dpt_session_exchange *e) {
    static const dpt_collective what[DPT_OP_COUNT] = {[DPT_OP_SUM_START] = DPT_ALL_REDUCE,
                                                      [DPT_OP_BUCKET_START] = DPT_ALL_REDUCE,
                                                      [DPT_OP_SCATTER_START] = DPT_REDUCE_SCATTER,
                                                      [DPT_OP_GATHER_START] = DPT_ALL_GATHER};
    const dpt_attr *a = &st->call.attr;
    const dpt_operand *x = &st->call.in[0];
    int op = st->node->op;
    if (!starts(op)) return false;
    if (op == DPT_OP_SUM_START) {
        *e = (dpt_session_exchange){what[op], x->data, (size_t)x->count, x->dtype};
    } else {
        char *arena = op == DPT_OP_GATHER_START ? s->o.arenas.param : s->o.arenas.grad;
        dpt_dtype dtype = s->o.program->options.arenas->bucket[a->slot.index].dtype;
        *e = (dpt_session_exchange){what[op], arena + a->slot.offset, (size_t)a->slot.bytes / dpt_dtype_size(dtype),
                                    dtype};
    }
    return true;
}

static dpt_status run_collective(dpt_session *s, dpt_session_step *st) {
    dpt_comm *comm = s->o.comm;
    dpt_session_exchange e;
    if (!dpt_session_exchange_of(s, st, &e)) return comm->ops->wait(comm, *st->ticket, s->stream);
    if (st->opens) DPT_TRY(comm->ops->group(comm, true));
    dpt_status status = dpt_comm_start(comm, e.what, e.data, e.count, e.dtype, s->stream, st->ticket);
    if (status == DPT_OK) return st->closes ? comm->ops->group(comm, false) : DPT_OK;
    char first[1024];
    snprintf(first, sizeof first, "%s", dpt_last_error());
    if (comm->ops->group) comm->ops->group(comm, false); /* none may stay open */
    return dpt_error(status, "%s", first);
}

dpt_status dpt_session_step_run(dpt_session *s, dpt_session_step *st) {
    if (s->o.control) dpt_position_tick(s->o.control->position);
    return st->kernel ? st->kernel->run(&st->call, s->stream) : run_collective(s, st);
}

dpt_status dpt_session_run_plain(dpt_session *s, int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) {
        dpt_mark_begin(s->device, s->steps[i].kernel ? s->steps[i].node->name : "exchange");
        dpt_status status = dpt_session_step_run(s, &s->steps[i]);
        dpt_mark_end(s->device);
        if (status == DPT_OK && s->device->sync_each) status = s->device->ops->stream_sync(s->device, s->stream);
        if (status != DPT_OK) return dpt_name_failure(s->steps[i].node, status);
    }
    return DPT_OK;
}

static dpt_status run_once(dpt_session *s) {
    if (s->profiling) return dpt_session_run_profiled(s);
    return s->record ? dpt_session_run_recorded(s) : dpt_session_run_plain(s, 0, s->n_step);
}

dpt_status dpt_session_run(dpt_session *s) {
    DPT_TRY(dpt_session_deliver(s));
    if (!s->device->host_memory) {
        dpt_mark_begin(s->device, dpt_mode_text(s->o.program->options.mode));
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
