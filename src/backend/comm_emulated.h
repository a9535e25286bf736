/* comm_emulated.h: in place of the exchange, the time that it would take on a described fabric. Nothing is summed:
 * results are good for timing alone. */
#ifndef DPT_BACKEND_COMM_EMULATED_H
#define DPT_BACKEND_COMM_EMULATED_H

#include "backend/fabric.h"

/* control: the ranks, of which none is talked to; device: borrowed until close. ctas: thread blocks that a collective
 * takes from the computation; 0: as many as NCCL would by default. overlap: collectives go on beside the computation;
 * else, on a CPU device, start waits for the end. Logs a warning. After a failure, too, the caller closes. Local.
 * DPT_ERR_CONFIG: there is no such fabric. */
dpt_status dpt_emulated_comm_open(const dpt_control *control, dpt_device *device, const char *fabric, int ctas,
                                  bool overlap, dpt_comm *comm);
/* What it emulates; NULL for any other communicator. Borrowed. Local. */
const dpt_fabric *dpt_emulated_comm_fabric(const dpt_comm *comm);

#endif
