/* program.c: runs the passes of a mode in order, then asks every kernel for its workspace. */
#include "program/program.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "ops/op_list.h"
#include "program/rewrite.h"

typedef dpt_status (*pass_fn)(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to);

typedef struct pass_entry {
    const char *name;
    pass_fn run;
    unsigned modes; /* bit by dpt_mode */
} pass_entry;

#define MODE(m) (1u << DPT_MODE_##m)
#define ALL_MODES (~0u)

static const pass_entry passes[] = {
    {"lower", dpt_pass_lower, ALL_MODES},
    {"precision", dpt_pass_precision, ALL_MODES},
    {"gradient", dpt_pass_gradient, MODE(TRAIN) | MODE(ACCUMULATE) | MODE(GRADIENT)},
    {"distribute", dpt_pass_distribute, ALL_MODES},
    {"update", dpt_pass_update, MODE(TRAIN) | MODE(APPLY) | MODE(GRADIENT)},
    {"fuse", dpt_pass_fuse, ALL_MODES},
    {"residual", dpt_pass_residual, ALL_MODES},
    {"recompute", dpt_pass_recompute, MODE(TRAIN) | MODE(ACCUMULATE) | MODE(GRADIENT)},
    {"layout", dpt_pass_layout, ALL_MODES},
    {"schedule", dpt_pass_schedule, ALL_MODES},
};

static bool fuses(pass_fn run) { return run == dpt_pass_fuse || run == dpt_pass_residual; }

static dpt_status run_passes(const dpt_graph *graph, const dpt_program_options *o, dpt_graph **result) {
    const dpt_graph *from = graph;
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        if (!(passes[i].modes & (1u << o->mode)) || (o->unfused && fuses(passes[i].run))) continue;
        dpt_graph *to = NULL;
        dpt_status status = passes[i].run(from, o, &to);
        if (from != graph) {
            dpt_graph *done = (dpt_graph *)(uintptr_t)from;
            dpt_graph_destroy(&done);
        }
        DPT_TRY(status);
        if (o->after_pass) o->after_pass(o->user, passes[i].name, to);
        from = to;
    }
    *result = (dpt_graph *)(uintptr_t)from;
    return DPT_OK;
}

const char *dpt_mode_text(dpt_mode mode) {
    static const char *const text[] = {
        [DPT_MODE_TRAIN] = "train",    [DPT_MODE_ACCUMULATE] = "accumulate", [DPT_MODE_APPLY] = "apply",
        [DPT_MODE_COUNT] = "count",    [DPT_MODE_GRADIENT] = "gradient",     [DPT_MODE_EVALUATE] = "evaluate",
        [DPT_MODE_PREDICT] = "predict"};
    return text[mode];
}

void dpt_operand_fill(const int64_t *capacity, const dpt_tensor *t, dpt_operand *o) {
    *o = (dpt_operand){.dtype = t->dtype, .layout = t->layout, .ndim = t->ndim, .axis = dpt_tensor_axis(t)};
    o->row_count = dpt_row_count(t);
    o->count = o->row_count;
    for (int i = 0; i < t->ndim; i++) o->dim[i] = t->dim[i];
    if (o->axis >= 0) {
        o->dim[0] = capacity[o->axis];
        o->count = o->row_count * o->dim[0];
    }
}

void dpt_call_fill(const dpt_program_options *o, const dpt_node *node, dpt_call *call) {
    *call = (dpt_call){.op = node->op,
                       .name = node->name,
                       .attr = node->attr,
                       .device = o->device,
                       .rank = o->rank,
                       .world = o->world,
                       .tf32 = o->precision == DPT_PRECISION_TF32,
                       .seed = o->seed};
    for (int k = 0; k < node->n_in; k++)
        if (!node->in[k]->token && call->n_in < DPT_MAX_IN)
            dpt_operand_fill(o->capacity, node->in[k], &call->in[call->n_in++]);
    for (int k = 0; k < node->n_out; k++)
        if (!node->out[k].token) dpt_operand_fill(o->capacity, &node->out[k], &call->out[call->n_out++]);
}

dpt_status dpt_name_failure(const dpt_node *node, dpt_status status) {
    char text[256];
    size_t n = 0;
    text[0] = 0;
    for (int k = 0; k < node->n_in && k < DPT_MAX_IN; k++)
        if (!node->in[k]->token)
            n = dpt_append(text, sizeof text, n, "%s%s %s", n ? ", " : "", dpt_shape_text(node->in[k]),
                           dpt_dtype_text(node->in[k]->dtype));
    return dpt_error_prefix(status, "%s \"%s\" (%s): ", dpt_op_of(node)->name, node->name, text);
}

/* Bytes of the arenas that an update reads and writes: gradients once, what it moves twice, averages and the parameters
 * that they follow three times together. */
static double arena_bytes(const dpt_call *call) {
    double times = 0, bytes = 0;
    if (call->op == DPT_OP_SQUARE_NORM) times = 1;
    if (call->op == DPT_OP_SGD) times = call->attr.update.momentum != 0 ? 5 : 3;
    if (call->op == DPT_OP_ADAMW) times = 7;
    if (call->op == DPT_OP_TRUST_NORMS) times = call->attr.update.lamb ? 6 : 2;
    if (call->op == DPT_OP_TRUST_STEP) times = call->attr.update.lamb ? 4 : 5;
    if (call->op == DPT_OP_AVERAGE) times = 3;
    for (int i = 0; times > 0 && i < call->attr.update.segments; i++) {
        const dpt_segment *s = &call->attr.update.segment[i];
        bytes += times * (double)s->count * (double)dpt_dtype_size(s->dtype);
    }
    return bytes;
}

dpt_cost dpt_call_cost(const dpt_call *call) {
    const dpt_op *op = dpt_ops[call->op];
    dpt_cost cost = {.bytes = arena_bytes(call)};
    for (int k = 0; k < call->n_in; k++)
        cost.bytes += (double)call->in[k].count * (double)dpt_dtype_size(call->in[k].dtype);
    for (int k = 0; k < call->n_out; k++)
        cost.bytes += (double)call->out[k].count * (double)dpt_dtype_size(call->out[k].dtype);
    if (op->flop)
        cost.flop = op->flop(call);
    else if (call->n_out)
        cost.flop = (double)call->out[0].count;
    return cost;
}

/* The largest workspace that a kernel of the program asks for, and the tables of all. */
static dpt_status measure_workspace(dpt_program *p) {
    for (int64_t i = 0; i < p->graph->n_node; i++) {
        const dpt_node *node = p->graph->node[i];
        const dpt_kernel *kernel = p->options.backend->kernels[node->op];
        if (dpt_op_of(node)->flags & DPT_IS_DRAWS) p->draws = true;
        if (kernel == NULL || p->elided[i] || kernel->prepare == NULL) continue;
        dpt_call call;
        dpt_call_fill(&p->options, node, &call);
        dpt_status status = kernel->prepare(&call);
        if (status == DPT_OK && (int64_t)call.workspace_bytes > p->workspace_bytes)
            p->workspace_bytes = (int64_t)dpt_align(call.workspace_bytes);
        if (status == DPT_OK) p->table_bytes += (int64_t)dpt_align(call.table_bytes);
        if (kernel->release) kernel->release(&call);
        if (status != DPT_OK) return dpt_name_failure(node, status);
    }
    return DPT_OK;
}

dpt_status dpt_program_create(const dpt_graph *graph, const dpt_program_options *options, dpt_program **program) {
    *program = NULL;
    DPT_TRY(dpt_graph_status(graph));
    dpt_status status;
    dpt_program *p = dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    p->options = *options;
    for (int i = 0; i < graph->n_axis; i++)
        DPT_CHECK_GOTO(options->capacity[i] > 0, fail, DPT_ERR_ARG, "batch axis \"%s\" has no capacity",
                       graph->axis_name[i]);
    DPT_TRY_GOTO(run_passes(graph, options, &p->graph), fail);
    DPT_TRY_GOTO(dpt_pass_memory(p), fail);
    DPT_TRY_GOTO(measure_workspace(p), fail);
    *program = p;
    return DPT_OK;
fail:
    dpt_program_destroy(&p);
    return status;
}

void dpt_program_destroy(dpt_program **program) {
    dpt_program *p = program ? *program : NULL;
    if (p == NULL) return;
    *program = NULL;
    dpt_graph_destroy(&p->graph);
    dpt_free(p->storage);
    dpt_free(p->elided);
    dpt_free(p);
}
