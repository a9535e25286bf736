/* timeline.h: what a rank did when: spans on a few tracks, written as a trace that browsers show (Chrome's trace event
 * format, as chrome://tracing and Perfetto read it) and as a table by operation, beside the ceilings of the device.
 *
 * Invariant: times are of one clock (dpt_clock_s) on one rank; a trace holds the rank and host in its process name, so
 * that traces of several ranks can be shown together. */
#ifndef DPT_PROGRAM_TIMELINE_H
#define DPT_PROGRAM_TIMELINE_H

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "graph/op.h"

typedef struct dpt_timeline dpt_timeline;

typedef enum dpt_track {
    DPT_TRACK_STEP,
    DPT_TRACK_LOADER,
    DPT_TRACK_OPS,
    DPT_TRACK_EXCHANGE,
    DPT_TRACK_COUNT
} dpt_track;

/* What the device can do at most, measured. 0: not measured. */
typedef struct dpt_ceilings {
    double bytes_per_s; /* read and written, of a large copy */
    double flop_per_s;  /* of a large product in the type that products use */
} dpt_ceilings;

dpt_status dpt_timeline_create(int rank, dpt_timeline **timeline);
void dpt_timeline_destroy(dpt_timeline **timeline);
/* Appends a span; name and kind (the operation, or what the track does) are borrowed until the timeline is destroyed or
 * written. cost may be NULL. A lack of memory drops the span and is reported by the writers. */
void dpt_timeline_add(dpt_timeline *timeline, dpt_track track, const char *name, const char *kind, double begin_s,
                      double end_s, const dpt_cost *cost);
/* The trace as JSON. DPT_ERR_IO, DPT_ERR_MEMORY. */
dpt_status dpt_timeline_write(const dpt_timeline *timeline, const char *path);
/* One line an operation, the longest first: calls, time, share of the time of all operations, bytes and operations a
 * second, and what share of the ceilings these are. */
dpt_status dpt_timeline_table(const dpt_timeline *timeline, const dpt_ceilings *ceilings, FILE *out);

#endif
