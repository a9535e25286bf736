/* session_private.h: the session as its files share it: session.c makes and runs it, session_input.c brings inputs to
 * their place, session_record.c records runs, session_profile.c takes times. */
#ifndef DPT_PROGRAM_SESSION_PRIVATE_H
#define DPT_PROGRAM_SESSION_PRIVATE_H

#include "program/session.h"

typedef struct dpt_session_step {
    const dpt_node *node;
    const dpt_kernel *kernel; /* NULL: a collective */
    dpt_call call;
    uint64_t *ticket;   /* of the start that this start or wait belongs to */
    bool opens, closes; /* the first, the last of several small sums that go out as one */
    double seconds;
} dpt_session_step;

/* What a call that starts a collective hands to the communicator. */
typedef struct dpt_session_exchange {
    dpt_collective what;
    void *data;
    size_t count;
    dpt_dtype dtype;
} dpt_session_exchange;

typedef struct dpt_session_record dpt_session_record; /* session_record.c */

struct dpt_session {
    dpt_session_options o;
    dpt_device *device;
    dpt_stream *stream, *own_stream;
    dpt_inbox *inbox, *own_inbox; /* NULL where the host writes the device's memory */
    dpt_block block;              /* the host's copy */
    char *constants, *tables;
    size_t table_end; /* bytes of tables handed out */
    dpt_session_step *steps;
    int64_t n_step;
    uint64_t *tickets; /* by node */
    dpt_operand *inputs, *outputs;
    dpt_array *lent;            /* by input: an array on the device that the next run copies; data NULL: none */
    dpt_session_record *record; /* NULL: every run is made call by call */
    bool profiling;
    dpt_profile profile;
    dpt_timeline *timeline;
    dpt_event **timer; /* one before each call and one after the last; NULL where the host's clock serves */
    double *passed_s;  /* when each was passed, since the run began */
};

/* Brings the block, and the inputs that were set, to their place. */
dpt_status dpt_session_deliver(dpt_session *s);
/* One call, through its kernel or the communicator. */
dpt_status dpt_session_step_run(dpt_session *s, dpt_session_step *st);
/* Calls [first, end) of the list, one by one. */
dpt_status dpt_session_run_plain(dpt_session *s, int64_t first, int64_t end);
/* False for a wait. */
bool dpt_session_exchange_of(const dpt_session *s, const dpt_session_step *st, dpt_session_exchange *exchange);
/* Leaves s->record NULL where nothing can or may be recorded. */
dpt_status dpt_session_record_create(dpt_session *s);
void dpt_session_record_destroy(dpt_session *s);
dpt_status dpt_session_run_recorded(dpt_session *s);
/* A run with the time of every call. */
dpt_status dpt_session_run_profiled(dpt_session *s);
void dpt_session_drop_timers(dpt_session *s);

#endif
