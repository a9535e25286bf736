/* layout_plan.h: which layout every operand of a program has, at least cost. See layout_plan.c. */
#ifndef DPT_PROGRAM_LAYOUT_PLAN_H
#define DPT_PROGRAM_LAYOUT_PLAN_H

#include "program/program.h"

typedef struct dpt_layout_variable {
    int64_t cost[DPT_LAYOUT_COUNT]; /* bytes; DPT_LAYOUT_NEVER: not this one */
    dpt_layout now;
} dpt_layout_variable;

/* A use of a tensor: by an operand, or as the program's output (variable -1). */
typedef struct dpt_layout_use {
    int64_t variable, next;
} dpt_layout_use;

/* Bytes that a run at capacity moves because of layouts. */
typedef struct dpt_layout_cost {
    int64_t reorders, reordered; /* nodes, and what they count for */
    int64_t inside;              /* by kernels that convert operands themselves or lose time */
    int64_t canonical;           /* the same if every tensor were canonical */
} dpt_layout_cost;

typedef struct dpt_layout_plan {
    const dpt_graph *g;
    const dpt_program_options *o;
    dpt_layout_variable *variable;
    int64_t n_variable, variable_capacity;
    int64_t *operand; /* first operand number of each node: inputs, then outputs */
    int64_t *of;      /* variable by operand number; -1: canonical */
    int64_t *used;    /* first use of each tensor (node * DPT_MAX_OUT + output), -1 at the end */
    dpt_layout_use *use;
    int64_t n_use, use_capacity;
} dpt_layout_plan;

/* Finds the layouts; on failure there is nothing to free. The graph and options are borrowed. */
dpt_status dpt_layout_plan_make(dpt_layout_plan *plan, const dpt_graph *g, const dpt_program_options *o);
void dpt_layout_plan_free(dpt_layout_plan *plan);
/* Makes moves until none pays, from whatever layouts the variables have. */
dpt_status dpt_layout_plan_improve(dpt_layout_plan *plan);
/* Of a graph as it came out of the layout pass. */
dpt_status dpt_layout_cost_of(const dpt_graph *g, const dpt_program_options *o, dpt_layout_cost *cost);

static inline dpt_layout dpt_layout_planned(const dpt_layout_plan *p, int64_t variable) {
    return variable < 0 ? DPT_LAYOUT_CANONICAL : p->variable[variable].now;
}
static inline dpt_layout dpt_layout_of_in(const dpt_layout_plan *p, const dpt_node *n, int k) {
    return dpt_layout_planned(p, p->of[p->operand[n->id] + k]);
}
static inline dpt_layout dpt_layout_of_out(const dpt_layout_plan *p, const dpt_node *n, int k) {
    return dpt_layout_planned(p, p->of[p->operand[n->id] + n->n_in + k]);
}

#endif
