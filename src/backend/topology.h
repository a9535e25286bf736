/* topology.h: what stands where on this host: cores, NUMA nodes, GPUs and network adapters, by hwloc and PCI addresses.
 * In a container much of it may be hidden: then it is not known, which is no error. Everything is local. */
#ifndef DPT_BACKEND_TOPOLOGY_H
#define DPT_BACKEND_TOPOLOGY_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct dpt_topology dpt_topology;

/* How a device reaches an adapter. */
typedef enum dpt_reach {
    DPT_REACH_SWITCH, /* through a PCIe switch, past the processor */
    DPT_REACH_NODE,   /* through its NUMA node or socket */
    DPT_REACH_HOST    /* from one socket to another */
} dpt_reach;

typedef struct dpt_locality {
    int node;         /* NUMA node, as the system numbers them; -1: not known */
    cpu_set_t near;   /* CPUs as near as any; empty: not known */
    bool split;       /* other CPUs of the host are farther */
    char adapter[32]; /* the nearest of the fast network adapters, "mlx5_0"; empty: none is known */
    int gbit;         /* its rate in Gbit/s; 0: not known */
    bool fast;        /* 50 Gbit/s or more, as far as is known */
    dpt_reach reach;
} dpt_locality;

/* xml: a host as lstopo writes it; NULL: this one. devices: PCI devices too, which takes longer.
 * DPT_ERR_MEMORY, DPT_ERR_INTERNAL: hwloc could not read it. */
dpt_status dpt_topology_open(const char *xml, bool devices, dpt_topology **topology);
void dpt_topology_close(dpt_topology **topology);

/* Where the device at a PCI address ("0000:0f:00.0") stands. On a host with one NUMA node that is known of all. */
void dpt_topology_locate(const dpt_topology *topology, const char *pci, dpt_locality *locality);
/* The CPUs that this host, or the cgroup, has to give. */
void dpt_topology_cpus(const dpt_topology *topology, cpu_set_t *cpus);
/* The i-th of n shares of the CPUs: whole cores that stand together, all different; all CPUs where the cores are fewer
 * than shares. */
void dpt_topology_share(const dpt_topology *topology, const cpu_set_t *cpus, int i, int n, cpu_set_t *share);
/* New memory of this thread, and of threads that it starts, comes from the node while it has some. False: not possible
 * here. */
bool dpt_topology_prefer(const dpt_topology *topology, int node);

/* The host in lines: NUMA nodes, GPUs, adapters. */
void dpt_topology_text(const dpt_topology *topology, char *text, size_t bytes);

/* "0-3,8": CPUs in words. */
void dpt_cpus_text(char *text, size_t bytes, const cpu_set_t *cpus);

#endif
