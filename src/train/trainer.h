/* trainer.h: the trainer as the command line uses it, and how its files share it.
 *
 * trainer.c makes programs and sessions; trainer_memory.c takes the memory; trainer_step.c runs steps; trainer_eval.c
 * evaluates and predicts; trainer_store.c reads and writes values and files. Invariant: between calls, parameters are
 * equal on all ranks; with ZeRO-1 each rank's own slices are right, and all of them once they are gathered. */
#ifndef DPT_TRAIN_TRAINER_H
#define DPT_TRAIN_TRAINER_H

#include "dptrain/trainer.h"
#include "program/session.h"

enum {
    DPT_COMPILED_MAX = 9,  /* programs of a trainer, and the NULL that ends their list */
    DPT_RESULT_BYTES = 256 /* of a slot of the outbox: a guard fits */
};

typedef struct dpt_compiled {
    dpt_program *program;
    dpt_session *session;
} dpt_compiled;

struct dpt_trainer {
    dpt_graph *graph; /* borrowed */
    dpt_context *ctx; /* borrowed */
    dpt_trainer_options o;
    int64_t capacity[DPT_MAX_AXES]; /* rows of one micro-batch */
    dpt_arena_plan plan;
    dpt_arenas arenas;
    char *merged_state; /* what evaluation reads; arenas.state itself where no state is local */
    bool has_local_state, merged;
    bool cut_params, cut_grads, cut_averages; /* ZeRO-1: of parameters, ... only the own slices are right */
    void *activations;
    size_t activation_bytes;
    dpt_compiled train;                    /* accumulate = 1 */
    dpt_compiled count, accumulate, apply; /* accumulate > 1; count only with masked losses */
    dpt_compiled first;                    /* the first micro-batch, where it gathers parameters */
    dpt_compiled gradient, evaluate, predict;
    double *mask_count;                     /* by loss, over micro-batches */
    dpt_stream *stream;                     /* everything of a step is queued here */
    dpt_inbox *inbox;                       /* NULL where the host writes the device's memory */
    dpt_outbox *outbox;                     /* guards of the last steps, on their way to the host */
    dpt_metrics pending[DPT_STAGING_SLOTS]; /* of these steps, what the host knows; by step */
    int64_t posted, collected;              /* steps whose guards were sent, and have arrived */
    int64_t step;
    double lr;
    dpt_metrics last;
    dpt_memory memory;
    size_t allocated_before;
    /* evaluation so far: by loss sums and counts, by output sums */
    double *loss_sum, *loss_count, *mean_sum;
    int64_t evaluated_rows[DPT_MAX_AXES];
};

/* A named output, f32 [B, ...], of which this rank's rows go to out. */
typedef struct dpt_wanted_output {
    const char *name;
    float *out;
} dpt_wanted_output;

/* A step whose caller may already have failed, or may want to stop: both are agreed in the step's own exchange. */
typedef struct dpt_step_request {
    dpt_status mine; /* this rank's failure so far, its message in dpt_last_error() */
    const dpt_array *in;
    int n_in;
    const int64_t *first_row; /* by batch axis: position in the global batch; NULL: the sum of the lower ranks' rows */
    bool stop;                /* in: this rank wants to stop; out: a rank does */
    const dpt_wanted_output *wanted; /* evaluation: n_wanted outputs */
    int n_wanted;
} dpt_step_request;

/* dpt_trainer_step with these. Collective. */
dpt_status dpt_trainer_step_request(dpt_trainer *t, dpt_step_request *request, dpt_metrics *metrics);
/* dpt_trainer_evaluate after a failure of the caller's, as above. DPT_ERR_ARG: no such output. Collective. */
dpt_status dpt_trainer_evaluate_request(dpt_trainer *t, dpt_step_request *request);
/* Digest of the graph, the order of the arenas and the options: equal on all ranks. Local. */
uint64_t dpt_trainer_digest(const dpt_trainer *t);

/* Metrics of the oldest step that were not handed out yet, waiting for them; false when there are none. Steps hand out
 * those of the step before the last one but one where results take time; this gets the rest. Local. */
dpt_status dpt_trainer_take_metrics(dpt_trainer *t, dpt_metrics *metrics, bool *any);

/* The options as the update pass takes them. Local. */
dpt_update_rule dpt_trainer_update_rule(const dpt_trainer_options *o);

/* ---- shared by the trainer's files ---- */

/* The parameters that evaluation, prediction and files take. */
static inline dpt_what dpt_trainer_kept(const dpt_trainer *t) {
    return t->arenas.average ? DPT_AVERAGE : DPT_PARAMETER;
}

/* All programs, ended by NULL. */
dpt_compiled *const *dpt_trainer_compiled(dpt_trainer *t, dpt_compiled *list[DPT_COMPILED_MAX]);
/* trainer.c: the programs for t->o.max_rows rows a rank; releases them and their sessions. Local. */
dpt_status dpt_trainer_compile(dpt_trainer *t);
void dpt_trainer_drop_programs(dpt_trainer *t);
/* trainer_memory.c: plans, and refuses what does not fit: DPT_ERR_MEMORY says what is needed, what is free, and how
 * many rows would fit. Then takes; releases. Local. */
dpt_status dpt_trainer_check_memory(dpt_trainer *t);
dpt_status dpt_trainer_take_memory(dpt_trainer *t);
/* Tells the communicator of the gradients. Collective. */
dpt_status dpt_trainer_attach_memory(dpt_trainer *t);
void dpt_trainer_release_memory(dpt_trainer *t);

/* Checks arrays against the program's inputs; finds the rows of each batch axis. needed: every input must be there. */
dpt_status dpt_check_arrays(const dpt_trainer *t, const dpt_array *in, int n_in, bool needed,
                            int64_t rows[DPT_MAX_AXES]);
/* Values per row of a tensor of the user's graph (all where it has no batch dimension), with the length bound. */
int64_t dpt_values_per_row(const dpt_trainer *t, const dpt_tensor *v);
/* Hands rows [first, first + count) of every array, by axis, to a session; ignores arrays that the program lacks. */
dpt_status dpt_feed(dpt_session *s, const dpt_array *in, int n_in, const int64_t *first, const int64_t *count);
/* Merges running statistics of all ranks for evaluation, if steps were made since. Collective. */
dpt_status dpt_trainer_merge(dpt_trainer *t);

/* Averages, where there are any, become the parameters. Local. */
dpt_status dpt_trainer_start_averages(dpt_trainer *t);
/* Brings parameters (gradients, averages) together, where a step has left each rank its slices of them. Collective. */
dpt_status dpt_trainer_gather(dpt_trainer *t, dpt_what what);

/* What every exchange of a step's start carries: rows by axis, failures, wishes to stop. */
typedef struct dpt_agreement {
    int64_t rows[DPT_MAX_AXES], first_row[DPT_MAX_AXES], global_rows[DPT_MAX_AXES];
    bool stop;
} dpt_agreement;
/* Agrees on request->mine and sums rows. DPT_OK only if no rank had failed. Collective. */
dpt_status dpt_agree(dpt_trainer *t, dpt_step_request *request, bool draws, dpt_agreement *a);
/* Micro-batch m of what was agreed on: begin gets the place of its rows in this rank's arrays, by axis. */
void dpt_micro_batch(const dpt_trainer *t, const dpt_agreement *a, int m, int64_t *begin, dpt_agreement *part);
/* Writes what the next run of a session reads: step, learning rate, rows. */
void dpt_fill_block(const dpt_trainer *t, const dpt_agreement *a, dpt_session *s);

#endif
