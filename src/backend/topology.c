/* topology.c: see topology.h. hwloc's components that ask a GPU's driver are left out: they are slow, and may make a
 * context on devices of other ranks. Invariant: nothing here touches a device. */
#include "backend/topology.h"

#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum { NVIDIA = 0x10de, FAST_GBIT = 50 };

struct dpt_topology {
    hwloc_topology_t hwloc;
};

dpt_status dpt_topology_open(const char *xml, bool devices, dpt_topology **topology) {
    static const char *const ask_drivers[] = {"cuda", "nvml", "opencl", "rsmi", "levelzero", "gl"};
    dpt_status status;
    dpt_topology *t = *topology = dpt_alloc_zero(1, sizeof *t);
    DPT_CHECK_ALLOC(t);
    DPT_CHECK_GOTO(hwloc_topology_init(&t->hwloc) == 0, fail, DPT_ERR_MEMORY, "hwloc cannot start");
    for (size_t i = 0; i < sizeof ask_drivers / sizeof *ask_drivers; i++) /* fails for those that are not installed */
        (void)hwloc_topology_set_components(t->hwloc, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, ask_drivers[i]);
    if (devices) hwloc_topology_set_io_types_filter(t->hwloc, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    DPT_CHECK_GOTO(xml == NULL || hwloc_topology_set_xmlbuffer(t->hwloc, xml, (int)strlen(xml) + 1) == 0, fail,
                   DPT_ERR_INTERNAL, "hwloc cannot read the description of a host");
    DPT_CHECK_GOTO(hwloc_topology_load(t->hwloc) == 0, fail, DPT_ERR_INTERNAL, "hwloc cannot read this host");
    return DPT_OK;
fail:
    dpt_topology_close(topology);
    return status;
}

void dpt_topology_close(dpt_topology **topology) {
    dpt_topology *t = topology ? *topology : NULL;
    if (t == NULL) return;
    *topology = NULL;
    if (t->hwloc) hwloc_topology_destroy(t->hwloc);
    dpt_free(t);
}

/* ---- CPUs ---- */

static void to_cpus(hwloc_const_bitmap_t from, cpu_set_t *cpus) {
    CPU_ZERO(cpus);
    for (int i = hwloc_bitmap_first(from); i >= 0 && i < CPU_SETSIZE; i = hwloc_bitmap_next(from, i))
        CPU_SET((size_t)i, cpus);
}

void dpt_topology_cpus(const dpt_topology *t, cpu_set_t *cpus) {
    to_cpus(hwloc_topology_get_topology_cpuset(t->hwloc), cpus);
}

/* Adds to share the cores among these CPUs from number first up to end; returns how many there are. */
static int take_cores(const dpt_topology *t, const cpu_set_t *cpus, int first, int end, cpu_set_t *share) {
    hwloc_obj_type_t unit = hwloc_get_nbobjs_by_type(t->hwloc, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    int cores = 0;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(t->hwloc, unit, o)) != NULL;) {
        cpu_set_t core;
        to_cpus(o->cpuset, &core);
        CPU_AND(&core, &core, cpus);
        if (CPU_COUNT(&core) == 0) continue;
        if (cores >= first && cores < end) CPU_OR(share, share, &core);
        cores++;
    }
    return cores;
}

void dpt_topology_share(const dpt_topology *t, const cpu_set_t *cpus, int i, int n, cpu_set_t *share) {
    CPU_ZERO(share);
    int cores = take_cores(t, cpus, 0, 0, share);
    if (cores < n)
        *share = *cpus;
    else
        take_cores(t, cpus, cores * i / n, cores * (i + 1) / n, share);
}

void dpt_cpus_text(char *text, size_t bytes, const cpu_set_t *cpus) {
    size_t used = 0;
    if (bytes > 0) text[0] = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, cpus)) continue;
        size_t last = i;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus)) last++;
        used = dpt_append(text, bytes, used, last > i ? "%s%zu-%zu" : "%s%zu", used ? "," : "", i, last);
        i = last;
    }
}

/* ---- devices ---- */

typedef struct adapter {
    hwloc_obj_t pci;
    const char *name;
    int gbit;      /* 0: not known */
    double weight; /* Gbit/s, or what its PCIe link could carry */
} adapter;

/* The leading number of a file of one line; 0: there is none. */
static int number_in(const char *format, const char *name) {
    char path[256];
    double value = 0;
    snprintf(path, sizeof path, format, name);
    FILE *in = fopen(path, "r");
    if (in == NULL) return 0;
    if (fscanf(in, "%lf", &value) != 1 || value < 0) value = 0;
    fclose(in);
    return (int)value;
}

/* False: the device at this address is no network adapter. */
static bool read_adapter(const dpt_topology *t, hwloc_obj_t pci, adapter *a) {
    bool here = hwloc_topology_is_thissystem(t->hwloc) != 0, infiniband = false;
    *a = (adapter){.pci = pci};
    for (hwloc_obj_t o = pci->io_first_child; o != NULL; o = o->next_sibling) {
        if (o->type != HWLOC_OBJ_OS_DEVICE || o->name == NULL) continue;
        hwloc_obj_osdev_type_t type = o->attr->osdev.type;
        if (type != HWLOC_OBJ_OSDEV_NETWORK && type != HWLOC_OBJ_OSDEV_OPENFABRICS) continue;
        bool fabric = type == HWLOC_OBJ_OSDEV_OPENFABRICS;
        int gbit = !here    ? 0
                   : fabric ? number_in("/sys/class/infiniband/%s/ports/1/rate", o->name)
                            : number_in("/sys/class/net/%s/speed", o->name) / 1000;
        if (gbit > a->gbit) a->gbit = gbit;
        if (a->name == NULL || (fabric && !infiniband)) a->name = o->name;
        infiniband = infiniband || fabric;
    }
    a->weight = a->gbit > 0 ? a->gbit : 8 * (double)pci->attr->pcidev.linkspeed;
    if (a->weight == 0) a->weight = infiniband ? 100 : 1;
    return a->name != NULL;
}

static bool is_inside(hwloc_obj_t object, hwloc_obj_t ancestor) {
    while (object != NULL && object != ancestor) object = object->parent;
    return object != NULL;
}

static dpt_reach reach_of(hwloc_obj_t a, hwloc_obj_t b) {
    while (!is_inside(b, a)) a = a->parent;
    if (a->type == HWLOC_OBJ_BRIDGE || a->type == HWLOC_OBJ_PCI_DEVICE) {
        bool root = a->type == HWLOC_OBJ_BRIDGE && a->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_HOST;
        return root ? DPT_REACH_NODE : DPT_REACH_SWITCH;
    }
    bool whole = a->type == HWLOC_OBJ_MACHINE || a->type == HWLOC_OBJ_GROUP;
    return whole && hwloc_bitmap_weight(a->nodeset) > 1 ? DPT_REACH_HOST : DPT_REACH_NODE;
}

/* Of the adapters with at least half the best one's rate the nearest. */
static void find_adapter(const dpt_topology *t, hwloc_obj_t device, dpt_locality *l) {
    double best = 0, weight = 0;
    adapter a;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(t->hwloc, o)) != NULL;)
        if (read_adapter(t, o, &a) && a.weight > best) best = a.weight;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(t->hwloc, o)) != NULL;) {
        if (!read_adapter(t, o, &a) || a.weight < best / 2) continue;
        dpt_reach reach = reach_of(device, o);
        if (l->adapter[0] && (reach > l->reach || (reach == l->reach && a.weight <= weight))) continue;
        l->reach = reach;
        l->gbit = a.gbit;
        l->fast = a.weight >= FAST_GBIT;
        weight = a.weight;
        snprintf(l->adapter, sizeof l->adapter, "%s", a.name);
    }
}

static void locate_object(const dpt_topology *t, hwloc_obj_t device, dpt_locality *l) {
    hwloc_const_bitmap_t all = hwloc_topology_get_topology_cpuset(t->hwloc);
    hwloc_obj_t near = device ? hwloc_get_non_io_ancestor_obj(t->hwloc, device) : hwloc_get_root_obj(t->hwloc);
    bool everywhere = hwloc_bitmap_isequal(near->cpuset, all);
    *l = (dpt_locality){.node = -1};
    if (device) find_adapter(t, device, l);
    if (hwloc_bitmap_iszero(near->cpuset)) return;
    if (everywhere && hwloc_get_nbobjs_by_type(t->hwloc, HWLOC_OBJ_NUMANODE) > 1) return;
    /* memory of a GPU may count as nodes too; these have the higher numbers */
    l->node = hwloc_bitmap_first(near->nodeset);
    l->split = !everywhere;
    to_cpus(near->cpuset, &l->near);
}

void dpt_topology_locate(const dpt_topology *t, const char *pci, dpt_locality *l) {
    locate_object(t, hwloc_get_pcidev_by_busidstring(t->hwloc, pci), l);
}

bool dpt_topology_prefer(const dpt_topology *t, int node) {
    hwloc_obj_t o = hwloc_get_numanode_obj_by_os_index(t->hwloc, (unsigned)node);
    return o != NULL && hwloc_set_membind(t->hwloc, o->nodeset, HWLOC_MEMBIND_BIND, HWLOC_MEMBIND_BYNODESET) == 0;
}

/* ---- in words ---- */

static size_t append_locality(char *text, size_t bytes, size_t used, const dpt_locality *l) {
    static const char *const reaches[] = {"by a PCIe switch", "in the same socket", "in another socket"};
    char cpus[200];
    dpt_cpus_text(cpus, sizeof cpus, &l->near);
    if (l->node < 0)
        used = dpt_append(text, bytes, used, ", NUMA node not known");
    else
        used = dpt_append(text, bytes, used, ", NUMA node %d (CPUs %s)", l->node, cpus);
    if (l->adapter[0]) used = dpt_append(text, bytes, used, ", nearest adapter %s, %s", l->adapter, reaches[l->reach]);
    return used;
}

static size_t append_device(const dpt_topology *t, hwloc_obj_t o, char *text, size_t bytes, size_t used) {
    const struct hwloc_pcidev_attr_s *pci = &o->attr->pcidev;
    dpt_locality l;
    adapter a;
    bool gpu = pci->vendor_id == NVIDIA && pci->class_id >> 8 == 3;
    if (!gpu && !read_adapter(t, o, &a)) return used;
    locate_object(t, o, &l);
    if (!gpu) l.adapter[0] = 0;
    used = dpt_append(text, bytes, used, "%s %04x:%02x:%02x.%x", gpu ? "GPU" : a.name, (unsigned)pci->domain, pci->bus,
                      pci->dev, pci->func);
    if (!gpu && a.gbit > 0) used = dpt_append(text, bytes, used, ", %d Gbit/s", a.gbit);
    used = append_locality(text, bytes, used, &l);
    return dpt_append(text, bytes, used, "\n");
}

void dpt_topology_text(const dpt_topology *t, char *text, size_t bytes) {
    char allowed[200];
    cpu_set_t cpus;
    dpt_topology_cpus(t, &cpus);
    dpt_cpus_text(allowed, sizeof allowed, &cpus);
    int nodes = hwloc_get_nbobjs_by_type(t->hwloc, HWLOC_OBJ_NUMANODE);
    int cores = hwloc_get_nbobjs_by_type(t->hwloc, HWLOC_OBJ_CORE);
    size_t used = dpt_append(text, bytes, 0, "%d NUMA node%s, %d core%s, CPUs %s\n", nodes, nodes == 1 ? "" : "s",
                             cores, cores == 1 ? "" : "s", allowed);
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(t->hwloc, o)) != NULL;)
        used = append_device(t, o, text, bytes, used);
}
