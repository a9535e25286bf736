/* program_models.h: graphs that between them use every pass, and what compiles and runs one of their programs on one
 * rank. A program for more ranks is only compiled, never run. Activations start as NaN, as does padding. */
#ifndef DPT_TESTS_PROGRAM_MODELS_H
#define DPT_TESTS_PROGRAM_MODELS_H

#include "check.h"
#include "dptrain/dptrain.h"
#include "program/session.h"

typedef struct program_model {
    const char *name;
    void (*build)(dpt_graph *g);
} program_model;

enum { PROGRAM_CAPACITY = 7, PROGRAM_ROWS = 5, PROGRAM_OUTPUT = 1 << 16 /* values of the largest output */ };
extern const program_model program_models[];
extern const int program_model_count;
const program_model *program_model_find(const char *name);

typedef struct program_run {
    dpt_context *ctx; /* on MPI_COMM_SELF */
    dpt_graph *graph;
    dpt_arena_plan plan;
    dpt_program *program;
    dpt_session *session;
    dpt_arenas arenas;   /* in host memory: goes to the device before a run, comes back after it */
    char *memory;        /* those arenas */
    void *device_memory; /* the device's, then activations; the host writes both where it can */
    size_t arena_bytes, device_bytes;
} program_run;

/* How to compile: mode, ranks, and, where wanted, what sees the graph after each pass. */
typedef struct program_choice {
    dpt_mode mode;
    int world;
    dpt_precision precision;
    bool unfused;
    bool frozen_bias;     /* parameters "*.bias" are frozen */
    int64_t bucket_bytes; /* 0: 256 */
    dpt_pass_fn after_pass;
    void *user;
    dpt_recompute recompute;
    bool canonical;             /* the layout pass chooses nothing */
    const dpt_backend *backend; /* NULL: the context's */
} program_choice;

/* Builds and compiles; with world 1 also opens a session on memory of its own, with first values of the parameters. */
bool program_open(program_run *r, const program_model *model, const program_choice *choice);
void program_close(program_run *r);
/* Fills the inputs with PROGRAM_ROWS rows and runs once. */
bool program_run_once(program_run *r);

/* Nodes of an op in a graph. */
int program_count(const dpt_graph *g, int op);

#endif
