/* ops_place.h: what the ops_*.h headers share. */
#ifndef DPTRAIN_OPS_PLACE_H
#define DPTRAIN_OPS_PLACE_H

#include "dptrain/graph.h"

/* The first arguments of every operation: where the caller's line is. */
#define DPT_PLACE_ARGS const char *file, int line

#endif
