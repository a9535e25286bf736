/* explain.c: see explain.h. */
#include "program/explain.h"

#include "base/text.h"
#include "ops/op_list.h"
#include "program/layout_plan.h"

static const char *spread_text(dpt_spread s) {
    static const char *const text[] = {"replicated", "sharded", "partial", "local"};
    return text[s];
}

static const char *region_text(dpt_region r) {
    static const char *const text[] = {"-", "act", "param", "grad", "state", "const"};
    return text[r];
}

static const char *layout_text(dpt_layout l) {
    static const char *const text[] = {"canonical", "channels-last", "blocked-8", "blocked-16"};
    _Static_assert(sizeof text / sizeof *text == DPT_LAYOUT_COUNT, "a layout has no name");
    return text[l];
}

static void operands_text(char *text, size_t bytes, const dpt_node *n) {
    enum { SHOWN = 4 };
    size_t at = dpt_append(text, bytes, 0, "(");
    for (int k = 0; k < n->n_in && k < SHOWN; k++) {
        const dpt_tensor *t = n->in[k];
        at = dpt_append(text, bytes, at, t->index ? "%s%%%lld.%d" : "%s%%%lld", k ? ", " : "", (long long)t->node->id,
                        t->index);
    }
    if (n->n_in > SHOWN) at = dpt_append(text, bytes, at, ", and %d more", n->n_in - SHOWN);
    dpt_append(text, bytes, at, ")");
}

static void node_text(char *text, size_t bytes, const dpt_node *n) {
    char operands[160];
    operands_text(operands, sizeof operands, n);
    dpt_append(text, bytes, 0, "%s%s", dpt_op_of(n)->name, n->n_in ? operands : "");
}

void dpt_explain_graph(FILE *out, const char *pass, const dpt_graph *g) {
    fprintf(out, "after %s: %lld nodes\n", pass, (long long)g->n_node);
    fprintf(out, "%6s %-24s %-38s %-18s %-4s %-13s %s\n", "node", "name", "operation", "shape", "type", "layout",
            "ranks");
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        char text[256];
        node_text(text, sizeof text, n);
        const dpt_tensor *t = &n->out[0];
        bool token = n->n_out == 0 || t->token;
        fprintf(out, "%6lld %-24s %-38s %-18s %-4s %-13s %s\n", (long long)i, n->name, text,
                token ? "-" : dpt_shape_text(t), token ? "-" : dpt_dtype_text(t->dtype),
                token ? "-" : layout_text(t->layout), token ? "-" : spread_text(t->spread));
    }
}

static dpt_cost cost_of(const dpt_program *p, const dpt_node *n) {
    dpt_call call;
    dpt_call_fill(&p->options, n, &call);
    return dpt_call_cost(&call);
}

static void explain_slices(FILE *out, const dpt_program *p) {
    const dpt_arena_plan *a = p->options.arenas;
    int64_t mine = 0, all = 0;
    for (int64_t i = 0; i < a->n_param; i++)
        if (a->grad[i].offset >= 0) all += a->grad[i].bytes;
    for (int64_t i = 0; i < a->n_segment; i++)
        mine += a->segment[i].count * (int64_t)dpt_dtype_size(a->segment[i].dtype);
    if (a->sharded)
        fprintf(
            out,
            "updates shared out over %d ranks: this one's are of %lld of %lld bytes of parameters, %lld with padding\n",
            p->options.world, (long long)mine, (long long)all, (long long)a->moment_bytes);
}

static void explain_layouts(FILE *out, const dpt_program *p) {
    dpt_layout_cost cost;
    if (dpt_layout_cost_of(p->graph, &p->options, &cost) != DPT_OK) return;
    fprintf(out,
            "layouts: %lld reorders count for %lld bytes a run, conversions in kernels for %lld; all canonical %lld\n",
            (long long)cost.reorders, (long long)cost.reordered, (long long)cost.inside, (long long)cost.canonical);
}

void dpt_explain_program(FILE *out, const dpt_program *p) {
    fprintf(out, "program: %lld nodes in the order of execution; stream 0\n", (long long)p->graph->n_node);
    fprintf(out, "%6s %-24s %-38s %-18s %-13s %-6s %12s %12s %12s\n", "node", "name", "operation", "shape", "layout",
            "place", "address", "bytes", "operations");
    double flop = 0;
    for (int64_t i = 0; i < p->graph->n_node; i++) {
        const dpt_node *n = p->graph->node[i];
        char text[256];
        node_text(text, sizeof text, n);
        const dpt_storage *at = &p->storage[i * DPT_MAX_OUT];
        bool token = n->n_out == 0 || n->out[0].token, idle = p->elided[i] || (dpt_op_of(n)->flags & DPT_IS_LEAF);
        dpt_cost cost = idle ? (dpt_cost){0} : cost_of(p, n);
        flop += cost.flop;
        fprintf(out, "%6lld %-24s %-38s %-18s %-13s %-6s %12lld %12lld %12.0f%s\n", (long long)i, n->name, text,
                token ? "-" : dpt_shape_text(&n->out[0]), token ? "-" : layout_text(n->out[0].layout),
                region_text(at->region), (long long)at->offset, (long long)at->bytes, cost.flop,
                p->elided[i] ? "  (no work)" : "");
    }
    fprintf(out, "activations %lld bytes, workspace %lld, constants %lld; %.3f GFLOP a run at capacity\n",
            (long long)p->activation_bytes, (long long)p->workspace_bytes, (long long)p->constant_bytes, flop / 1e9);
    explain_slices(out, p);
    explain_layouts(out, p);
}
