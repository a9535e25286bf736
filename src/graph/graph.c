/* graph.c: making graphs and nodes. The first error sticks with the caller's place, everything after it is poison:
 * builders of a broken graph do nothing. */
#include "graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "graph/op.h"

/* What dpt_graph_create gives when there is no memory. Never written: its status is set. */
static dpt_graph no_memory = {
    .status = DPT_ERR_MEMORY, .error = "out of memory: graph", .poison = {.graph = &no_memory}};

dpt_graph *dpt_graph_create(dpt_context *ctx) {
    dpt_graph *g = dpt_alloc_zero(1, sizeof *g);
    if (g == NULL) return &no_memory;
    g->ctx = ctx;
    g->poison = (dpt_tensor){.graph = g, .ndim = -1};
    g->n_axis = 1;
    g->axis_name[0] = dpt_strdup("batch");
    if (g->axis_name[0] == NULL) dpt_graph_destroy(&g);
    return g ? g : &no_memory;
}

static void node_destroy(dpt_node *node) {
    if (node == NULL) return;
    dpt_free(node->in);
    dpt_free(node->name);
    dpt_free(node->data);
    dpt_free(node);
}

void dpt_graph_destroy(dpt_graph **graph) {
    dpt_graph *g = graph ? *graph : NULL;
    if (graph) *graph = NULL;
    if (g == NULL || g == &no_memory) return;
    for (int64_t i = 0; i < g->n_node; i++) node_destroy(g->node[i]);
    for (int64_t i = 0; i < g->n_param; i++) dpt_free(g->param[i].name);
    for (int64_t i = 0; i < g->n_state; i++) dpt_free(g->state[i].name);
    for (int64_t i = 0; i < g->n_output; i++) dpt_free(g->output[i].name);
    for (int64_t i = 0; i < g->n_rule; i++) dpt_free(g->rule[i].pattern);
    for (int i = 0; i < g->n_axis; i++) dpt_free(g->axis_name[i]);
    dpt_free(g->node);
    dpt_free(g->input);
    dpt_free(g->param);
    dpt_free(g->state);
    dpt_free(g->loss);
    dpt_free(g->output);
    dpt_free(g->rule);
    dpt_free(g->error);
    dpt_free(g);
}

dpt_status dpt_graph_status(const dpt_graph *g) {
    if (g == NULL) return dpt_error(DPT_ERR_ARG, "graph is NULL");
    if (g->status != DPT_OK) dpt_error(g->status, "%s", g->error ? g->error : "out of memory");
    return g->status;
}

dpt_tensor *dpt_graph_fail(dpt_graph *g, const char *file, int line, dpt_status code, const char *format, ...) {
    if (g->status != DPT_OK) return &g->poison;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    g->status = code;
    g->error = dpt_format("%s:%d: %s", file, line, text);
    return &g->poison;
}

static dpt_node *fail_from_thread(dpt_graph *g, const char *file, int line, dpt_status code) {
    dpt_graph_fail(g, file, line, code, "%s", dpt_last_error());
    return NULL;
}

/* A node without its shape, not yet in the graph. */
static dpt_node *node_new(dpt_graph *g, const char *file, int line, int op, const char *name, int n_in) {
    dpt_node *node = dpt_alloc_zero(1, sizeof *node);
    if (node == NULL) return NULL;
    node->in = dpt_alloc_zero((size_t)n_in, sizeof *node->in);
    node->name = name ? dpt_strdup(name) : dpt_format("%s.%lld", dpt_ops[op]->name, (long long)g->n_node);
    if (node->in == NULL || node->name == NULL) {
        node_destroy(node);
        return NULL;
    }
    node->named = name != NULL;
    node->id = g->n_node;
    node->op = op;
    node->file = file;
    node->line = line;
    node->n_in = n_in;
    node->slot = -1;
    node->n_out = dpt_ops[op]->n_out;
    for (int i = 0; i < node->n_out; i++) node->out[i] = (dpt_tensor){.graph = g, .node = node, .index = i};
    return node;
}

static dpt_status node_append(dpt_graph *g, dpt_node *node) {
    DPT_GROW(g->node, g->n_node, g->node_capacity);
    g->node[g->n_node++] = node;
    return DPT_OK;
}

dpt_node *dpt_node_add(dpt_graph *g, const char *file, int line, int op, const char *name, const dpt_attr *attr,
                       int n_in, dpt_tensor *const *in) {
    if (g->status != DPT_OK) return NULL;
    for (int i = 0; i < n_in; i++) {
        if (dpt_is_poison(in[i])) return NULL;
        if (in[i]->graph != g) {
            dpt_graph_fail(g, file, line, DPT_ERR_ARG, "%s: operand %d belongs to another graph", dpt_ops[op]->name, i);
            return NULL;
        }
    }
    dpt_node *node = node_new(g, file, line, op, name, n_in);
    if (node == NULL) return fail_from_thread(g, file, line, DPT_ERR_MEMORY);
    if (n_in) memcpy(node->in, in, (size_t)n_in * sizeof *in);
    if (attr) node->attr = *attr;
    dpt_status status = dpt_ops[op]->shape ? dpt_ops[op]->shape(node) : DPT_OK;
    if (status == DPT_OK) status = node_append(g, node);
    if (status == DPT_OK) return node;
    node_destroy(node);
    return fail_from_thread(g, file, line, status);
}

dpt_tensor *dpt_apply(const char *file, int line, int op, const char *name, const dpt_attr *attr, int n_in,
                      dpt_tensor *const *in) {
    dpt_graph *g = in[0]->graph;
    for (int i = 0; i < n_in; i++)
        if (dpt_is_poison(in[i])) return in[i];
    dpt_node *node = dpt_node_add(g, file, line, op, name, attr, n_in, in);
    return node ? &node->out[0] : &g->poison;
}

bool dpt_name_free(dpt_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_param; i++)
        if (strcmp(g->param[i].name, name) == 0) return false;
    for (int64_t i = 0; i < g->n_state; i++)
        if (strcmp(g->state[i].name, name) == 0) return false;
    for (int64_t i = 0; i < g->n_input; i++)
        if (strcmp(g->input[i]->node->name, name) == 0) return false;
    for (int64_t i = 0; i < g->n_node; i++)
        if ((dpt_op_of(g->node[i])->flags & DPT_IS_DRAWS) && strcmp(g->node[i]->name, name) == 0) return false;
    return true;
}
