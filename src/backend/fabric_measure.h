/* fabric_measure.h: latency and bandwidth of this job's own all-reduce: measured in less than a second, and kept for
 * later jobs on the same kind of machine. */
#ifndef DPT_BACKEND_FABRIC_MEASURE_H
#define DPT_BACKEND_FABRIC_MEASURE_H

#include "backend/fabric.h"

/* latency + bytes/bandwidth through n points, least squares of relative errors; neither is negative, bandwidth is
 * finite and above 0. Names nothing. Local. */
void dpt_fabric_fit(const double *bytes, const double *seconds, int n, dpt_fabric *fabric);

/* Times all-reduces of 4 KiB to 16 MiB through comm; the same figures on all ranks: rank 0's. Stops before the larger
 * sizes where they would take more than half a second. Collective. DPT_ERR_MEMORY: on all ranks. */
dpt_status dpt_fabric_measure(const dpt_control *control, dpt_device *device, dpt_comm *comm, dpt_fabric *fabric);

/* The figures of comm: those that it emulates; those that an earlier job with the same number of ranks on each host,
 * devices and libraries has left in dptrain/ under $XDG_CACHE_HOME or ~/.cache; else measured, and left there where the
 * folder can be written. fabric->name says which: "emulated", "from an earlier job", "measured". Collective; files are
 * rank 0's business alone. */
dpt_status dpt_fabric_find(const dpt_control *control, dpt_device *device, dpt_comm *comm, dpt_fabric *fabric);

#endif
