/* graph_run.h: runs a graph's outputs forward on one rank, for tests: compiles it as a prediction program, takes inputs
 * by name (all before each run), gives outputs back in f64. Memory of activations starts as NaN and padded rows stay
 * so: a kernel that lets padding in shows. */
#ifndef DPT_TESTS_GRAPH_RUN_H
#define DPT_TESTS_GRAPH_RUN_H

#include "check.h"
#include "program/session.h"

typedef struct graph_run {
    dpt_arena_plan plan;
    dpt_program *program;
    dpt_session *session;
    dpt_device *device;
    void *memory; /* of the device: arenas, then activations and workspace */
    size_t bytes;
} graph_run;

/* Capacity is of every batch axis; rows are what a run then uses. fused: with the fuse pass. */
dpt_status graph_run_open(graph_run *r, dpt_context *ctx, const dpt_graph *g, int64_t capacity, int64_t rows,
                          bool fused);
void graph_run_close(graph_run *r);
dpt_status graph_run_set(graph_run *r, const char *input, dpt_dtype dtype, const void *data, int64_t rows);
dpt_status graph_run_forward(graph_run *r);
/* The valid rows of an output; how many elements there are. -1: no such output, or a failure. */
int64_t graph_run_read(graph_run *r, const char *output, int64_t rows, double *values, int64_t capacity);

#endif
