/* bind.c: see bind.h. Threads that run already (the watchdog's, MPI's, CUDA's) are found in /proc; later ones inherit.
 */
#include "cli/bind.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/log.h"

/* False: not even this thread could be bound. */
static bool bind_threads(const cpu_set_t *cpus) {
    if (sched_setaffinity(0, sizeof *cpus, cpus) != 0) return false;
    DIR *folder = opendir("/proc/self/task");
    if (folder == NULL) return true;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        int thread = atoi(entry->d_name);
        if (thread > 0) (void)sched_setaffinity(thread, sizeof *cpus, cpus); /* it may be gone by now */
    }
    closedir(folder);
    return true;
}

static void prefer_memory(int node) {
    dpt_topology *topology = NULL;
    if (dpt_topology_open(NULL, false, &topology) != DPT_OK || !dpt_topology_prefer(topology, node))
        dpt_log(DPT_LOG_DEBUG, "memory cannot be kept on NUMA node %d here", node);
    dpt_topology_close(&topology);
}

dpt_status dpt_bind_near_device(dpt_context *context) {
    const dpt_placement *p = &context->placement;
    int cpus = CPU_COUNT(&p->share);
    int64_t bound = 0;
    char text[200];
    dpt_cpus_text(text, sizeof text, &p->share);
    if (cpus > 0) {
        bound = bind_threads(&p->share);
        if (!bound) dpt_log(DPT_LOG_DEBUG, "threads cannot be bound to CPUs %s: %s", text, strerror(errno));
    }
    if (bound) {
        prefer_memory(p->node);
        if (context->device.threads > cpus) context->device.threads = cpus;
    }
    int64_t ranks = bound;
    DPT_TRY(dpt_control_sum_i64(&context->control, &ranks, 1));
    if (bound)
        dpt_log(DPT_LOG_DEBUG, "bind: %lld of %d ranks near their GPUs; rank %d on CPUs %s, NUMA node %d",
                (long long)ranks, context->control.world, context->control.rank, text, p->node);
    else
        dpt_log(DPT_LOG_DEBUG, "bind: %lld of %d ranks near their GPUs", (long long)ranks, context->control.world);
    return DPT_OK;
}
