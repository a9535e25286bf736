/* test_topology.c: what stands where on a host, from descriptions of hosts: tests/topology/two_sockets.xml has two
 * sockets with 4 cores of 2 CPUs each, numbered alternately (0, 2, ... 14 and 1, 3, ... 15); each socket has two PCIe
 * switches with 2 GPUs each, the first of them a fast adapter too; the first socket a slow adapter besides. */
#include "backend/topology.h"

#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "check.h"

static char *read_host(void) {
    FILE *in = fopen(DPT_TEST_HOST, "r");
    char *text = dpt_alloc_zero(1, 65536);
    if (!CHECK(in != NULL && text != NULL)) exit(1);
    CHECK(fread(text, 1, 65535, in) > 1000);
    fclose(in);
    return text;
}

/* The host with `from` replaced by `to`, as long, in the line of the device at this address; NULL: unchanged. */
static dpt_topology *open_changed(const char *pci, const char *from, const char *to) {
    dpt_topology *t = NULL;
    char *xml = read_host();
    if (pci != NULL) {
        char *line = strstr(xml, pci), *at = line ? strstr(line, from) : NULL;
        if (CHECK(at != NULL && strlen(from) == strlen(to))) memcpy(at, to, strlen(to));
    }
    CHECK_OK(dpt_topology_open(xml, true, &t));
    dpt_free(xml);
    return t;
}

/* hwloc's words for a host, "pack:2 core:3 pu:1". */
static dpt_topology *open_synthetic(const char *description) {
    dpt_topology *t = NULL;
    hwloc_topology_t hwloc;
    char *xml = NULL;
    int bytes;
    hwloc_topology_init(&hwloc);
    CHECK(hwloc_topology_set_synthetic(hwloc, description) == 0 && hwloc_topology_load(hwloc) == 0);
    CHECK(hwloc_topology_export_xmlbuffer(hwloc, &xml, &bytes, 0) == 0);
    CHECK_OK(dpt_topology_open(xml, true, &t));
    hwloc_free_xmlbuffer(hwloc, xml);
    hwloc_topology_destroy(hwloc);
    return t;
}

static void check_cpus(const cpu_set_t *cpus, const char *expected) {
    char text[300];
    dpt_cpus_text(text, sizeof text, cpus);
    CHECK_EQ_TEXT(text, expected);
}

static const char *const even = "0,2,4,6,8,10,12,14", *const odd = "1,3,5,7,9,11,13,15";

static void located(void) {
    static const char *const pci[8] = {"0000:11:00.0", "0000:12:00.0", "0000:15:00.0", "0000:16:00.0",
                                       "0000:91:00.0", "0000:92:00.0", "0000:95:00.0", "0000:96:00.0"};
    dpt_topology *t = open_changed(NULL, NULL, NULL);
    dpt_locality l;
    for (int i = 0; i < 8; i++) {
        dpt_topology_locate(t, pci[i], &l);
        CHECK_EQ_I64(l.node, i / 4);
        check_cpus(&l.near, i < 4 ? even : odd);
        CHECK_EQ_TEXT(l.adapter, i < 4 ? "mlx5_0" : "mlx5_1");
        CHECK_EQ_I64(l.reach, i % 4 < 2 ? DPT_REACH_SWITCH : DPT_REACH_NODE);
        CHECK(l.split && l.fast);
    }
    dpt_topology_locate(t, "0000:77:00.0", &l);
    CHECK(l.node == -1 && CPU_COUNT(&l.near) == 0 && l.adapter[0] == 0 && !l.split);
    dpt_topology_locate(t, "nonsense", &l);
    CHECK_EQ_I64(l.node, -1);
    dpt_topology_close(&t);
    CHECK(t == NULL);
    dpt_topology_close(&t);
}

/* An adapter with less than half the best one's rate is none. */
static void adapters(void) {
    dpt_locality l;
    dpt_topology *t = open_changed("0000:93:00.0", "63.015385", "07.876923");
    dpt_topology_locate(t, "0000:91:00.0", &l);
    CHECK_EQ_TEXT(l.adapter, "mlx5_0");
    CHECK(l.reach == DPT_REACH_HOST && l.fast);
    dpt_topology_locate(t, "0000:12:00.0", &l);
    CHECK(l.reach == DPT_REACH_SWITCH);
    dpt_topology_close(&t);

    t = open_changed("0000:93:00.0", "63.015385", "32.000000"); /* just enough */
    dpt_topology_locate(t, "0000:91:00.0", &l);
    CHECK_EQ_TEXT(l.adapter, "mlx5_1");
    dpt_topology_close(&t);

    t = open_changed("0000:13:00.0", "63.015385", "00.000000"); /* not known: a fabric is taken for 100 Gbit/s */
    dpt_topology_locate(t, "0000:11:00.0", &l);
    CHECK_EQ_TEXT(l.adapter, "mlx5_1");
    CHECK_EQ_I64(l.reach, DPT_REACH_HOST);
    dpt_topology_close(&t);
}

/* All CPUs are as near as any; nothing needs to be known of the device. */
static void one_node(void) {
    dpt_locality l;
    dpt_topology *t = open_synthetic("numa:1 core:3 pu:2");
    dpt_topology_locate(t, "0000:11:00.0", &l);
    CHECK(l.node == 0 && !l.split && l.adapter[0] == 0);
    check_cpus(&l.near, "0-5");
    dpt_topology_close(&t);
}

static void shares(void) {
    static const char *const four[4] = {"0,8", "2,10", "4,12", "6,14"}, *const three[3] = {"0,8", "2,10", "4,6,12,14"};
    dpt_topology *t = open_changed(NULL, NULL, NULL);
    dpt_locality l;
    cpu_set_t share, cpus;
    dpt_topology_cpus(t, &cpus);
    check_cpus(&cpus, "0-15");
    dpt_topology_locate(t, "0000:11:00.0", &l);
    for (int i = 0; i < 4; i++) {
        dpt_topology_share(t, &l.near, i, 4, &share);
        check_cpus(&share, four[i]);
    }
    for (int i = 0; i < 3; i++) {
        dpt_topology_share(t, &l.near, i, 3, &share);
        check_cpus(&share, three[i]);
    }
    for (int i = 0; i < 5; i++) { /* more than cores */
        dpt_topology_share(t, &l.near, i, 5, &share);
        check_cpus(&share, even);
    }
    CPU_CLR(8, &l.near); /* a core of which one CPU may be used */
    dpt_topology_share(t, &l.near, 0, 2, &share);
    check_cpus(&share, "0,2,10");
    dpt_topology_close(&t);
}

static void words(void) {
    char text[4096], small[30];
    dpt_topology *t = open_changed(NULL, NULL, NULL);
    dpt_topology_text(t, text, sizeof text);
    CHECK(strncmp(text, "2 NUMA nodes, 8 cores, CPUs 0-15\n", 33) == 0);
    CHECK(
        strstr(
            text,
            "\nGPU 0000:12:00.0, NUMA node 0 (CPUs 0,2,4,6,8,10,12,14), nearest adapter mlx5_0, by a PCIe switch\n") !=
        NULL);
    CHECK(strstr(text,
                 "\nGPU 0000:95:00.0, NUMA node 1 (CPUs 1,3,5,7,9,11,13,15), nearest adapter mlx5_1, in the same "
                 "socket\n") != NULL);
    CHECK(strstr(text, "\nmlx5_1 0000:93:00.0, NUMA node 1 (") != NULL);
    CHECK(strstr(text, "\neno1 0000:18:00.0, NUMA node 0 (") != NULL);
    dpt_topology_text(t, small, sizeof small);
    CHECK(strlen(small) == sizeof small - 1);
    dpt_topology_close(&t);
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    check_cpus(&cpus, "");
    CPU_SET(0, &cpus);
    CPU_SET(CPU_SETSIZE - 2, &cpus);
    CPU_SET(CPU_SETSIZE - 1, &cpus);
    check_cpus(&cpus, "0,1022-1023");
}

/* This one: whatever it is, it has CPUs, and those that we may use are among them. */
static void this_host(void) {
    dpt_topology *t = NULL;
    cpu_set_t cpus, mine, both;
    char text[8192];
    if (!CHECK_OK(dpt_topology_open(NULL, true, &t))) return;
    dpt_topology_cpus(t, &cpus);
    CHECK(CPU_COUNT(&cpus) > 0);
    CHECK(sched_getaffinity(0, sizeof mine, &mine) == 0);
    CPU_AND(&both, &mine, &cpus);
    CHECK(CPU_EQUAL(&both, &mine));
    dpt_topology_text(t, text, sizeof text);
    CHECK(strstr(text, " CPUs ") != NULL);
    CHECK(!dpt_topology_prefer(t, 4711));
    dpt_topology_close(&t);
}

static void unreadable(void) {
    dpt_topology *t = NULL;
    CHECK_FAILS(dpt_topology_open("<topology version=\"2.0\">", true, &t), DPT_ERR_INTERNAL, "hwloc cannot read");
    CHECK(t == NULL);
    dpt_alloc_fail_at(1);
    CHECK_EQ_I64(dpt_topology_open(NULL, true, &t), DPT_ERR_MEMORY);
    dpt_alloc_fail_at(0);
    CHECK(t == NULL);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "topology", {"located", located}, {"adapters", adapters}, {"one_node", one_node},
                      {"shares", shares}, {"words", words}, {"this_host", this_host}, {"unreadable", unreadable});
}
