/* launch_check.h: what the launcher's environment says about this process: how many ranks share the host, and whether
 * the ranks have found each other. */
#ifndef DPT_CLI_LAUNCH_CHECK_H
#define DPT_CLI_LAUNCH_CHECK_H

#include <stdbool.h>

#include "base/error.h"

typedef struct dpt_launch {
    int local_world;    /* ranks on this host, as the launcher says; 1 without one */
    int cores;          /* that they have together */
    int threads;        /* this rank's share of them, at least 1 */
    int oversubscribed; /* more ranks than cores */
} dpt_launch;

/* Before MPI_Init, and before any thread: counts ranks and cores of this host, and sets in the environment, where it
 * is not set already, OMP_NUM_THREADS to this rank's share and, oversubscribed, OMPI_MCA_mpi_yield_when_idle to 1
 * (waiting ranks would spin on the cores that the others need). DPT_ERR_MEMORY: the environment cannot grow. Local. */
dpt_status dpt_launch_prepare(dpt_launch *launch);

/* Whether a launcher that MPI can find the other ranks by started this process. Local. */
bool dpt_launch_is_by_mpi(void);

/* Before MPI_Init: DPT_ERR_CONFIG, with the remedy, where srun started several tasks without the means to find each
 * other: Open MPI's MPI_Init would end the process in its own words. Local. */
dpt_status dpt_launch_check_tasks(void);

/* After MPI_Init: DPT_ERR_CONFIG, with the remedy, where srun started several tasks that each believe to be alone.
 * Local. */
dpt_status dpt_launch_check(int world);

#endif
