/* launch_check.c: see launch_check.h. The cores of a rank are those of its affinity mask; the cores of all ranks of the
 * host are the same ones where ranks are not bound, else those of the host or, under Slurm, of the job on it. */
#include "cli/launch_check.h"

#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

static int number_from(const char *name) {
    const char *text = getenv(name);
    long n = text ? strtol(text, NULL, 10) : 0;
    return n > 0 && n < 1 << 20 ? (int)n : 0;
}

/* SLURM_STEP_TASKS_PER_NODE, "8(x2),3": this host is one of them, the fullest for all we know. */
static int slurm_tasks_per_node(void) {
    const char *text = getenv("SLURM_STEP_TASKS_PER_NODE");
    int most = 0;
    while (text != NULL && *text != '\0') {
        int n = atoi(text);
        if (n > most) most = n;
        text = strchr(text, ',');
        if (text != NULL) text++;
    }
    return most;
}

static int cores_in_mask(int online) {
    size_t bytes = CPU_ALLOC_SIZE(CPU_SETSIZE * 8);
    cpu_set_t *mask = CPU_ALLOC(CPU_SETSIZE * 8);
    int n = mask && sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : online;
    if (mask) CPU_FREE(mask);
    return n > 0 ? n : 1;
}

static dpt_status set_default(const char *name, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    DPT_CHECK(setenv(name, text, 0) == 0, DPT_ERR_MEMORY, "%s cannot be set in the environment", name);
    return DPT_OK;
}

static void count(dpt_launch *launch) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int host = online > 0 ? (int)online : 1, mine = cores_in_mask(host);
    int by_mpirun = number_from("OMPI_COMM_WORLD_LOCAL_SIZE");
    launch->local_world = by_mpirun ? by_mpirun : slurm_tasks_per_node();
    if (launch->local_world == 0) launch->local_world = 1;
    launch->cores = mine;
    if (by_mpirun && number_from("OMPI_MCA_orte_bound_at_launch")) launch->cores = host;
    if (!by_mpirun && number_from("SLURM_CPUS_ON_NODE")) launch->cores = number_from("SLURM_CPUS_ON_NODE");
    launch->threads = launch->cores / launch->local_world;
    if (launch->threads > mine) launch->threads = mine;
    if (launch->threads < 1) launch->threads = 1;
    launch->oversubscribed = launch->local_world > launch->cores;
}

dpt_status dpt_launch_prepare(dpt_launch *launch) {
    count(launch);
    DPT_TRY(set_default("OMP_NUM_THREADS", launch->threads));
    if (launch->oversubscribed) DPT_TRY(set_default("OMPI_MCA_mpi_yield_when_idle", 1));
    /* a process without mpirun starts no daemon of Open MPI's beside it: a third of a second, and nothing to lose */
    DPT_TRY(set_default("OMPI_MCA_ess_singleton_isolated", 1));
    return DPT_OK;
}

static dpt_status tasks_are_alone(int tasks) {
    return dpt_error(DPT_ERR_CONFIG,
                     "srun started %d tasks, but MPI sees this one alone: start with \"srun --mpi=pmix\", or with "
                     "\"mpirun\" inside the allocation (sbatch, salloc)",
                     tasks);
}

static bool is_set_one_of(const char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if (getenv(names[i]) != NULL) return true;
    return false;
}

/* What a launcher tells a process that it starts: Open MPI's, or one that speaks PMIx or PMI. */
bool dpt_launch_is_by_mpi(void) {
    static const char *const means[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD"};
    return is_set_one_of(means, sizeof means / sizeof *means);
}

dpt_status dpt_launch_check_tasks(void) {
#ifdef OPEN_MPI
    int tasks = number_from("SLURM_STEP_NUM_TASKS");
    if (tasks > 1 && !dpt_launch_is_by_mpi()) return tasks_are_alone(tasks);
#endif
    return DPT_OK;
}

dpt_status dpt_launch_check(int world) {
    int tasks = number_from("SLURM_STEP_NUM_TASKS");
    if (world == 1 && tasks > 1 && getenv("OMPI_COMM_WORLD_SIZE") == NULL) return tasks_are_alone(tasks);
    return DPT_OK;
}
