/* session.h: the executor. A session runs one program on memory of its own (activations, workspace, constants) and on
 * arenas that programs share; one thread at a time. A run is a walk over a list of calls whose addresses are fixed;
 * where the device can record, the walk is recorded after its first runs and from then on replayed, whole or in
 * segments (session_record.c). Invariant:
 * running allocates nothing and, on a device with memory of its own, waits for nothing but the slot that it fills. */
#ifndef DPT_PROGRAM_SESSION_H
#define DPT_PROGRAM_SESSION_H

#include "program/program.h"
#include "program/staging.h"
#include "program/timeline.h"

typedef struct dpt_session dpt_session;

typedef struct dpt_session_options {
    const dpt_program *program; /* borrowed */
    dpt_comm *comm;             /* borrowed; NULL where the program exchanges nothing */
    const dpt_control *control; /* borrowed; on which ranks agree how to record; NULL: whole */
    dpt_arenas arenas;          /* borrowed memory */
    void *activations;          /* borrowed: at least program->activation_bytes + program->workspace_bytes, shared by
                                   sessions that do not run at the same time */
    dpt_stream *stream;         /* borrowed; NULL: one of its own. Sessions that share memory share it */
    dpt_inbox *inbox; /* borrowed, on that stream, slots of program->input_bytes at least; NULL: one of its own
                         where the host cannot write the device's memory */
} dpt_session_options;

dpt_status dpt_session_create(const dpt_session_options *options, dpt_session **session);
void dpt_session_destroy(dpt_session **session);

/* What the next run reads: learning rate, step, rows. The caller writes it. */
dpt_block *dpt_session_block(dpt_session *session);

/* Number of the named input, -1 if the program has none. */
int dpt_session_find_input(const dpt_session *session, const char *name);
/* Its batch axis number (-1: none) and the elements of one row. */
void dpt_session_input_shape(const dpt_session *session, int input, int *axis, int64_t *row_count);
/* Copies rows into the input's fixed place, converting; an array on the device, of the input's own type, is copied by
 * the next run. DPT_ERR_ARG: too many rows, a type that cannot be converted. */
dpt_status dpt_session_set_input(dpt_session *session, int input, const dpt_array *array);
/* Queues one run. Collective where the program has collectives. */
dpt_status dpt_session_run(dpt_session *session);
/* How many recordings it holds now: 0 before runs are replayed, one where a run is one, more where it is in pieces. */
int64_t dpt_session_recordings(const dpt_session *session);
/* Waits for the run and copies an output to host memory: rows (0: all of it) of it. */
dpt_status dpt_session_read(dpt_session *session, const char *output, int64_t rows, void *data);
/* The output as an operand (address, dtype, dims); NULL if there is none of that name. */
const dpt_operand *dpt_session_output(const dpt_session *session, const char *name);

/* Time by call. Switched on, runs are made call by call and every call is timed; where timeline is not NULL (borrowed
 * until it is switched off) each becomes a span of it. On a device a run then waits for its end. */
dpt_status dpt_session_profile(dpt_session *session, bool on, dpt_timeline *timeline);
/* Seconds inside kernels and inside collectives, and of whole runs, since the profile was switched on. */
typedef struct dpt_profile {
    double kernels_s, collectives_s, runs_s;
    int64_t runs;
} dpt_profile;
dpt_profile dpt_session_profile_read(const dpt_session *session);
/* Calls fn with (node, seconds) for every call that is not elided. */
void dpt_session_profile_each(const dpt_session *session,
                              void (*fn)(void *user, const dpt_node *node, const dpt_call *call, double seconds),
                              void *user);

#endif
