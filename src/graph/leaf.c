/* leaf.c: what a graph starts from: inputs, parameters, constants, state; and what it is for: losses, outputs,
 * assignments. Leaves are nodes without inputs; node->slot is their index in the graph's table. */
#include <fnmatch.h>
#include <string.h>

#include "base/memory.h"
#include "base/numbers.h"
#include "base/text.h"
#include "graph/op.h"
#include "ops/op_list.h"

const dpt_op dpt_op_input = {.name = "input", .flags = DPT_IS_LEAF | DPT_IS_CONSTANT, .n_out = 1};
const dpt_op dpt_op_param = {.name = "param", .flags = DPT_IS_LEAF | DPT_IS_CONSTANT, .n_out = 1};
const dpt_op dpt_op_constant = {.name = "constant", .flags = DPT_IS_LEAF | DPT_IS_CONSTANT, .n_out = 1};
const dpt_op dpt_op_state = {.name = "state", .flags = DPT_IS_LEAF | DPT_IS_CONSTANT, .n_out = 1};

/* Checks dimensions: at most DPT_MAX_NDIM, positive; where symbolic ones are allowed a batch dimension stands first,
 * DPT_LENGTH anywhere else. */
static bool dims_fit(dpt_graph *g, const char *file, int line, const char *what, const char *name, int ndim,
                     const int64_t *dim, bool batch_allowed) {
    if (ndim < 0 || ndim > DPT_MAX_NDIM) {
        dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "%s \"%s\": %d dimensions (0 to %d)", what, name, ndim,
                       DPT_MAX_NDIM);
        return false;
    }
    char text[128];
    dpt_dims_text(text, sizeof text, ndim, dim);
    for (int i = 0; i < ndim; i++) {
        if (i == 0 && batch_allowed && dpt_dim_is_batch(dim[0])) {
            if (dpt_dim_axis(dim[0]) < g->n_axis) continue;
            dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "%s \"%s\": %s names no batch axis of this graph", what, name,
                           text);
            return false;
        }
        if (dim[i] > 0 || (dim[i] == DPT_LENGTH && batch_allowed && i > 0)) continue;
        dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "%s \"%s\": dimension %d of %s must be positive%s", what, name, i,
                       text, dim[i] < 0 ? " (the batch stands first, in inputs only)" : "");
        return false;
    }
    return true;
}

static dpt_tensor *leaf(dpt_graph *g, const char *file, int line, int op, const char *name, dpt_dtype dtype, int ndim,
                        const int64_t *dim) {
    if (g->status != DPT_OK) return &g->poison;
    if (dpt_dtype_size(dtype) == 0)
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "%s: no such element type: %d", dpt_ops[op]->name,
                              (int)dtype);
    if (op != DPT_OP_CONSTANT && (name == NULL || name[0] == 0))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "%s: a name is needed", dpt_ops[op]->name);
    if (op != DPT_OP_CONSTANT && !dpt_name_free(g, name))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "%s \"%s\": the name is taken", dpt_ops[op]->name, name);
    if (!dims_fit(g, file, line, dpt_ops[op]->name, name ? name : "", ndim, dim, op == DPT_OP_INPUT)) return &g->poison;
    dpt_node *node = dpt_node_add(g, file, line, op, name, NULL, 0, NULL);
    if (node == NULL) return &g->poison;
    dpt_set_out(node, 0, dtype, ndim, dim);
    return &node->out[0];
}

dpt_status dpt_graph_add_input(dpt_graph *g, dpt_tensor *t) {
    DPT_GROW(g->input, g->n_input, g->input_capacity);
    t->node->slot = (int)g->n_input;
    g->input[g->n_input++] = t;
    return DPT_OK;
}

dpt_tensor *dpt_input_at(const char *file, int line, dpt_graph *g, const char *name, dpt_dtype dtype, int ndim,
                         const int64_t *dim) {
    dpt_tensor *t = leaf(g, file, line, DPT_OP_INPUT, name, dtype, ndim, dim);
    if (dpt_is_poison(t)) return t;
    dpt_status status = dpt_graph_add_input(g, t);
    return status == DPT_OK ? t : dpt_graph_fail(g, file, line, status, "%s", dpt_last_error());
}

dpt_status dpt_graph_add_param(dpt_graph *g, const char *name, dpt_param_info info) {
    DPT_GROW(g->param, g->n_param, g->param_capacity);
    info.name = dpt_strdup(name);
    DPT_CHECK_ALLOC(info.name);
    info.tensor->node->slot = (int)g->n_param;
    g->param[g->n_param++] = info;
    return DPT_OK;
}

dpt_tensor *dpt_param_at(const char *file, int line, dpt_graph *g, const char *name, dpt_dtype dtype, int ndim,
                         const int64_t *dim, dpt_init init) {
    if (!dpt_is_float(dtype) || dpt_is_half(dtype))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "param \"%s\": type %s is neither f32 nor f64",
                              name ? name : "", dpt_dtype_text(dtype));
    dpt_tensor *t = leaf(g, file, line, DPT_OP_PARAM, name, dtype, ndim, dim);
    if (dpt_is_poison(t)) return t;
    dpt_status status =
        dpt_graph_add_param(g, name, (dpt_param_info){.tensor = t, .init = init, .group = {.lr_factor = 1}});
    return status == DPT_OK ? t : dpt_graph_fail(g, file, line, status, "%s", dpt_last_error());
}

dpt_tensor *dpt_constant_at(const char *file, int line, dpt_graph *g, dpt_dtype dtype, int ndim, const int64_t *dim,
                            const void *data) {
    dpt_tensor *t = leaf(g, file, line, DPT_OP_CONSTANT, NULL, dtype, ndim, dim);
    if (dpt_is_poison(t)) return t;
    size_t bytes = (size_t)dpt_row_count(t) * dpt_dtype_size(dtype);
    void *copy = dpt_alloc(bytes);
    if (copy == NULL) return dpt_graph_fail(g, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
    memcpy(copy, data, bytes);
    t->node->data = copy;
    return t;
}

dpt_tensor *dpt_scalar_at(const char *file, int line, dpt_graph *g, dpt_dtype dtype, double value) {
    const float f32 = (float)value;
    const uint16_t bf16 = dpt_bf16_of_f32(f32), f16 = dpt_f16_of_f32(f32);
    switch (dtype) {
        case DPT_F32: return dpt_constant_at(file, line, g, dtype, 0, NULL, &f32);
        case DPT_F64: return dpt_constant_at(file, line, g, dtype, 0, NULL, &value);
        case DPT_BF16: return dpt_constant_at(file, line, g, dtype, 0, NULL, &bf16);
        case DPT_F16: return dpt_constant_at(file, line, g, dtype, 0, NULL, &f16);
        default:
            return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "scalar: type %s is neither f32 nor f64",
                                  dpt_dtype_text(dtype));
    }
}

dpt_status dpt_graph_add_state(dpt_graph *g, const char *name, dpt_state_info info) {
    DPT_GROW(g->state, g->n_state, g->state_capacity);
    info.name = dpt_strdup(name);
    DPT_CHECK_ALLOC(info.name);
    info.tensor->node->slot = (int)g->n_state;
    g->state[g->n_state++] = info;
    return DPT_OK;
}

dpt_tensor *dpt_state_at(const char *file, int line, dpt_graph *g, const char *name, dpt_dtype dtype, int ndim,
                         const int64_t *dim, dpt_state_kind kind, double initial) {
    if (dpt_is_half(dtype))
        return dpt_graph_fail(g, file, line, DPT_ERR_ARG, "state \"%s\": type %s: only f32, f64 and integers",
                              name ? name : "", dpt_dtype_text(dtype));
    dpt_tensor *t = leaf(g, file, line, DPT_OP_STATE, name, dtype, ndim, dim);
    if (dpt_is_poison(t)) return t;
    dpt_status status = dpt_graph_add_state(
        g, name, (dpt_state_info){.tensor = t, .kind = kind, .initial = initial, .merge_group = -1});
    return status == DPT_OK ? t : dpt_graph_fail(g, file, line, status, "%s", dpt_last_error());
}

void dpt_assign_at(const char *file, int line, dpt_tensor *state, dpt_tensor *value) {
    dpt_graph *g = state->graph;
    if (dpt_is_poison(state) || dpt_is_poison(value)) return;
    if (state->node->op != DPT_OP_STATE || state->graph != value->graph) {
        dpt_graph_fail(g, file, line, DPT_ERR_ARG, "assign: \"%s\" is no state of this graph", state->node->name);
        return;
    }
    dpt_state_info *info = &g->state[state->node->slot];
    if (info->next != NULL)
        dpt_graph_fail(g, file, line, DPT_ERR_ARG, "assign: state \"%s\" is assigned twice", info->name);
    else if (!dpt_same_shape(state, value) || state->dtype != value->dtype)
        dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "assign \"%s\": state is %s %s, value is %s %s", info->name,
                       dpt_dtype_text(state->dtype), dpt_shape_text(state), dpt_dtype_text(value->dtype),
                       dpt_shape_text(value));
    else
        info->next = value;
}

dpt_status dpt_graph_add_loss(dpt_graph *g, dpt_loss_info info) {
    DPT_GROW(g->loss, g->n_loss, g->loss_capacity);
    g->loss[g->n_loss++] = info;
    return DPT_OK;
}

void dpt_loss_add_at(const char *file, int line, dpt_graph *g, dpt_tensor *value, double weight, dpt_tensor *mask) {
    if (g->status != DPT_OK || dpt_is_poison(value) || (mask && dpt_is_poison(mask))) return;
    if (value->graph != g || (mask && mask->graph != g)) {
        dpt_graph_fail(g, file, line, DPT_ERR_ARG, "loss: the value belongs to another graph");
        return;
    }
    if (!dpt_is_float(value->dtype) || dpt_is_half(value->dtype) ||
        (!dpt_has_batch(value) && dpt_row_count(value) != 1)) {
        dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "loss: value is %s %s, neither a float per sample nor one number",
                       dpt_dtype_text(value->dtype), dpt_shape_text(value));
        return;
    }
    if (mask && (!dpt_has_batch(value) || !dpt_same_shape(value, mask) || mask->dtype != value->dtype)) {
        dpt_graph_fail(g, file, line, DPT_ERR_SHAPE, "loss: value is %s %s, mask is %s %s",
                       dpt_dtype_text(value->dtype), dpt_shape_text(value), dpt_dtype_text(mask->dtype),
                       dpt_shape_text(mask));
        return;
    }
    dpt_status status = dpt_graph_add_loss(g, (dpt_loss_info){.value = value, .mask = mask, .weight = weight});
    if (status != DPT_OK) dpt_graph_fail(g, file, line, status, "%s", dpt_last_error());
}

dpt_status dpt_graph_add_output(dpt_graph *g, const char *name, dpt_tensor *value) {
    DPT_GROW(g->output, g->n_output, g->output_capacity);
    char *copy = dpt_strdup(name);
    DPT_CHECK_ALLOC(copy);
    g->output[g->n_output++] = (dpt_output_info){.name = copy, .tensor = value};
    return DPT_OK;
}

void dpt_output_at(const char *file, int line, dpt_graph *g, const char *name, dpt_tensor *value) {
    if (g->status != DPT_OK || dpt_is_poison(value)) return;
    for (int64_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, name) == 0) {
            dpt_graph_fail(g, file, line, DPT_ERR_ARG, "output \"%s\": the name is taken", name);
            return;
        }
    dpt_status status = value->graph == g ? dpt_graph_add_output(g, name, value)
                                          : dpt_error(DPT_ERR_ARG, "output \"%s\" belongs to another graph", name);
    if (status != DPT_OK) dpt_graph_fail(g, file, line, status, "%s", dpt_last_error());
}

int64_t dpt_batch_axis_at(const char *file, int line, dpt_graph *g, const char *name) {
    if (g->status != DPT_OK) return DPT_BATCH;
    for (int i = 0; i < g->n_axis; i++)
        if (strcmp(g->axis_name[i], name) == 0) {
            dpt_graph_fail(g, file, line, DPT_ERR_ARG, "batch axis \"%s\": the name is taken", name);
            return DPT_BATCH;
        }
    if (g->n_axis == DPT_MAX_AXES) {
        dpt_graph_fail(g, file, line, DPT_ERR_ARG, "batch axis \"%s\": at most %d axes", name, DPT_MAX_AXES);
        return DPT_BATCH;
    }
    char *copy = dpt_strdup(name);
    if (copy == NULL) {
        dpt_graph_fail(g, file, line, DPT_ERR_MEMORY, "%s", dpt_last_error());
        return DPT_BATCH;
    }
    g->axis_name[g->n_axis] = copy;
    return dpt_axis_dim(g->n_axis++);
}

static dpt_status rule_append(dpt_graph *g, const char *pattern, dpt_group group) {
    DPT_GROW(g->rule, g->n_rule, g->rule_capacity);
    char *copy = dpt_strdup(pattern);
    DPT_CHECK_ALLOC(copy);
    g->rule[g->n_rule++] = (dpt_group_rule){.pattern = copy, .group = group};
    return DPT_OK;
}

void dpt_param_group(dpt_graph *g, const char *pattern, dpt_group group) {
    if (g->status != DPT_OK) return;
    dpt_status status = rule_append(g, pattern, group);
    if (status != DPT_OK) dpt_graph_fail(g, "", 0, status, "%s", dpt_last_error());
}

void dpt_graph_resolve_groups(dpt_graph *g) {
    for (int64_t i = 0; i < g->n_param; i++)
        for (int64_t r = 0; r < g->n_rule; r++)
            if (fnmatch(g->rule[r].pattern, g->param[i].name, 0) == 0) g->param[i].group = g->rule[r].group;
}

const dpt_param_info *dpt_graph_find_param(const dpt_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_param; i++)
        if (strcmp(g->param[i].name, name) == 0) return &g->param[i];
    return NULL;
}
