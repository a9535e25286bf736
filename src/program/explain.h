/* explain.h: a graph after a pass, and a finished program, as text: a line a node. */
#ifndef DPT_PROGRAM_EXPLAIN_H
#define DPT_PROGRAM_EXPLAIN_H

#include <stdio.h>

#include "program/program.h"

/* Node, operands, shape, type, layout, how it stands on the ranks. */
void dpt_explain_graph(FILE *out, const char *pass, const dpt_graph *g);
/* The order of execution with layout, region, address, bytes and operations of every call; then the sums, and what the
 * layouts cost (layout_plan.h). */
void dpt_explain_program(FILE *out, const dpt_program *p);

#endif
