/* position.h: where this rank is, for the watchdog: written by the threads that work, read by one that watches.
 *
 * Collectives have numbers, from 1, in the order in which a rank starts them, a lane each for the control plane and for
 * gradients; ranks that agree have the same collective under the same number. The last ones are kept with what they
 * are, and a running hash of all. Every function takes NULL and then does nothing; none blocks. */
#ifndef DPT_BACKEND_POSITION_H
#define DPT_BACKEND_POSITION_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_position dpt_position;

typedef enum dpt_phase {
    DPT_PHASE_OUTSIDE, /* the caller's own code */
    DPT_PHASE_START,
    DPT_PHASE_DATA, /* waits for samples */
    DPT_PHASE_STEP,
    DPT_PHASE_EVALUATE,
    DPT_PHASE_SAVE,
    DPT_PHASE_END,
    DPT_PHASE_COUNT
} dpt_phase;

typedef enum dpt_lane { DPT_LANE_CONTROL, DPT_LANE_GRADIENTS, DPT_LANE_COUNT } dpt_lane;

enum { DPT_POSITION_RECORDS = 32 };

/* One collective. what: a dpt_collective, or a dpt_control_kind (control.h). */
typedef struct dpt_collective_record {
    uint64_t sequence, bytes, hash; /* hash: of this one and all before it */
    uint8_t what, dtype;
} dpt_collective_record;

/* What the watchdog sees of a rank, all of one moment but for collectives that start meanwhile. */
typedef struct dpt_position_view {
    int64_t step;  /* -1: none yet */
    uint64_t tick; /* grows with any progress */
    dpt_phase phase;
    struct {
        uint64_t started, entered, finished;                /* entered: the device, or MPI, has begun it */
        dpt_collective_record record[DPT_POSITION_RECORDS]; /* of sequence s: record[s % DPT_POSITION_RECORDS] */
    } lane[DPT_LANE_COUNT];
} dpt_position_view;

dpt_status dpt_position_create(dpt_position **position);
void dpt_position_destroy(dpt_position **position);

void dpt_position_step(dpt_position *position, int64_t step);
/* Returns the phase before. */
dpt_phase dpt_position_phase(dpt_position *position, dpt_phase phase);
const char *dpt_phase_text(dpt_phase phase); /* "outside", "start", "data", "train", "evaluate", "save", "end" */
void dpt_position_tick(dpt_position *position);

/* A collective is started: its number. Starts of a lane come from one thread at a time. */
uint64_t dpt_position_start(dpt_position *position, dpt_lane lane, int what, uint64_t bytes, int dtype);
/* It and all before it in its lane are done. From any thread. */
void dpt_position_finish(dpt_position *position, dpt_lane lane, uint64_t sequence);
/* The device counts what it has entered and finished itself, from the lane's present number on; the counters are read
 * until follow is called again with NULL. */
void dpt_position_follow(dpt_position *position, dpt_lane lane, const volatile uint64_t *entered,
                         const volatile uint64_t *finished);
/* The number of the last collective started. */
uint64_t dpt_position_started(const dpt_position *position, dpt_lane lane);
/* Starts again, in their order, the given collectives: what a recording replays. Copied from
 * dpt_position_read when they were recorded; sequence and hash are made anew. */
void dpt_position_replay(dpt_position *position, dpt_lane lane, const dpt_collective_record *record, int64_t count);

void dpt_position_read(const dpt_position *position, dpt_position_view *view);

#endif
