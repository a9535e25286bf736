/* fabric.h: what an exchange costs: a latency and a bandwidth. An all-reduce of n bytes takes latency + n/bandwidth,
 * whatever the number of ranks; that number is part of both figures. Named fabrics stand for machines that are not
 * here; fabric_measure.h finds the figures of this job's own. */
#ifndef DPT_BACKEND_FABRIC_H
#define DPT_BACKEND_FABRIC_H

#include "backend/comm.h"

typedef struct dpt_fabric {
    double latency_s;
    double bandwidth; /* bytes a second of an all-reduce: its bytes over its time, not the wire's ("bus") */
    char name[40];
} dpt_fabric;

/* "8xnvlink", "4-nodes", "128-nodes", or figures as "30us,45GB/s". DPT_ERR_CONFIG: none of these; the message says
 * what is wrong. Local. */
dpt_status dpt_fabric_parse(const char *text, dpt_fabric *fabric);

/* Seconds of a collective that touches `bytes` in all (dpt_collective_bytes). An all-reduce is a reduce-scatter and an
 * all-gather: each is half of it; so is a broadcast, its way back left out. */
double dpt_fabric_seconds(const dpt_fabric *fabric, dpt_collective what, size_t bytes);

#endif
