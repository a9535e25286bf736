/* test_placement.c: what is found of the places of a job's ranks, and what is said of it: from made-up places, then, on
 * the CUDA device as built for the CPU, from real ranks whose machine is described by the environment; binding. */
#include "backend/placement.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/memory.h"
#include "check.h"
#include "cli/bind.h"
#include "dptrain/types.h"

enum { MOST = 16 };

static char warned[8192], debugged[8192];

static void keep_log(void *user, dpt_log_level level, const char *message) {
    (void)user;
    char *text = level >= DPT_LOG_WARNING ? warned : debugged;
    size_t n = strlen(text);
    snprintf(text + n, sizeof warned - n, "%s\n", message);
}

static void listen_to_log(void) {
    warned[0] = debugged[0] = 0;
    dpt_log_set(keep_log, NULL);
}

/* CPUs from first up to end in steps. */
static cpu_set_t cpus_from(int first, int end, int step) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (int i = first; i < end; i += step) CPU_SET((size_t)i, &cpus);
    return cpus;
}

/* ---- made-up places ---- */

static dpt_rank_place all[MOST];
static dpt_finding found[MOST];
static dpt_peer peers[MOST];
static cpu_set_t host;

/* Hosts of 8 ranks and 16 CPUs in two sockets, 4 GPUs and an adapter each; nobody is bound, all is well. */
static void reset_places(void) {
    memset(all, 0, sizeof all);
    host = cpus_from(0, 16, 1);
    for (int r = 0; r < MOST; r++) {
        snprintf(all[r].host, sizeof all[r].host, "node%d", r / 8);
        snprintf(all[r].model, sizeof all[r].model, "NVIDIA H200");
        snprintf(all[r].pci, sizeof all[r].pci, "0000:%02x:00.0", 16 + r % 8);
        snprintf(all[r].device.adapter, sizeof all[r].device.adapter, "mlx5_%d", r % 8 / 4);
        all[r].cpus = host;
        all[r].device.node = r % 8 / 4;
        all[r].device.near = cpus_from(r % 8 / 4, 16, 2);
        all[r].device.split = all[r].device.fast = true;
        all[r].device.reach = DPT_REACH_SWITCH;
        peers[r] = (dpt_peer){.visible = true, .access = true, .nvlink = true};
    }
}

static void report(int world) {
    bool marks[2 * MOST];
    listen_to_log();
    for (int r = 0; r < world; r++) dpt_rank_place_judge(all, world, r, peers, &host, &found[r]);
    dpt_findings_report(all, found, world, marks);
    dpt_log_set(NULL, NULL);
}

/* Warnings: how many lines, and the text of one. */
static void warns(int lines, const char *text) {
    int n = 0;
    for (const char *c = warned; *c; c++) n += *c == '\n';
    CHECK_EQ_I64(n, lines);
    check_that(strstr(warned, text) != NULL, __FILE__, __LINE__, "no '%s' in '%s'", text, warned);
}

static void nothing(void) {
    reset_places();
    for (int world = 1; world <= MOST; world++) {
        report(world);
        CHECK_EQ_TEXT(warned, "");
        CHECK_EQ_TEXT(debugged, "");
    }
}

static void links(void) {
    reset_places();
    for (int r = 0; r < MOST; r++) peers[r].nvlink = false;
    report(16);
    warns(1, "ranks 0-15: GPUs of the same host reach each other by PCIe and not by NVLink");
    report(1); /* nobody to reach */
    CHECK_EQ_TEXT(warned, "");
    for (int r = 0; r < MOST; r++) peers[r].access = false;
    report(8);
    warns(1, "ranks 0-7: no peer access between GPUs of the same host, so sums go through its memory");
    CHECK(strstr(warned, "nvidia-smi topo -m") != NULL && strstr(warned, "ACS") != NULL);
    for (int r = 0; r < MOST; r++) peers[r].visible = false;
    report(16);
    warns(1, "ranks 0-15: GPUs of the same host are hidden from each other (CUDA_VISIBLE_DEVICES is set by task)");
    CHECK(strstr(warned, "--gpu-bind=none") != NULL);
    for (int r = 0; r < MOST; r++) snprintf(all[r].model, sizeof all[r].model, "NVIDIA H200 MIG 1g.18gb");
    report(8);
    warns(1, "ranks 0-7: MIG instances on several GPUs cannot reach each other");
    for (int r = 0; r < MOST; r++) snprintf(all[r].pci, sizeof all[r].pci, "0000:10:00.0"); /* all of one GPU */
    report(8);
    CHECK_EQ_TEXT(warned, "");
}

/* How a device would reach those of other hosts, or itself, is nobody's concern. */
static void other_hosts(void) {
    reset_places();
    peers[0] = (dpt_peer){.visible = false};
    for (int r = 8; r < MOST; r++) peers[r] = (dpt_peer){.visible = false};
    listen_to_log();
    dpt_rank_place_judge(all, MOST, 0, peers, &host, &found[0]);
    for (int kind = 0; kind < DPT_FOUND_COUNT; kind++) CHECK(!found[0].is[kind]);
    dpt_rank_place_judge(all, MOST, 1, peers, &host, &found[1]);
    CHECK(found[1].is[DPT_FOUND_HIDDEN]);
    dpt_log_set(NULL, NULL);
}

/* Only those who are concerned, in ranges. */
static void some_ranks(void) {
    reset_places();
    for (int r = 0; r < 3; r++) all[r].cpus = cpus_from(1, 16, 2);
    all[6].cpus = cpus_from(0, 16, 2);
    report(8);
    warns(1, "ranks 0-2, 6: bound to cores of another NUMA node than their GPU's");
    CHECK(strstr(warned, "--bind-to none") != NULL && strstr(warned, "--cpu-bind=none") != NULL);
    reset_places();
    all[5].cpus = cpus_from(0, 16, 2);
    report(8);
    warns(1, "rank 5: bound to cores");
    all[5].device.split = false;
    all[5].device.near = host;
    report(8);
    CHECK_EQ_TEXT(warned, "");
    reset_places();
    CPU_ZERO(&all[5].cpus); /* not known */
    report(8);
    CHECK_EQ_TEXT(warned, "");
}

static void models(void) {
    reset_places();
    for (int r = 4; r < 8; r++) snprintf(all[r].model, sizeof all[r].model, "NVIDIA A100");
    report(8);
    warns(
        1,
        "the GPUs differ: NVIDIA H200 (ranks 0-3), NVIDIA A100 (ranks 4-7); each step takes as long as on the slowest");
    for (int r = 0; r < 4; r++) all[r].model[0] = all[r].pci[0] = 0; /* no GPU */
    report(8);
    CHECK_EQ_TEXT(warned, "");
}

static void far_adapter(void) {
    reset_places();
    for (int r = 0; r < MOST; r++) {
        snprintf(all[r].device.adapter, sizeof all[r].device.adapter, "mlx5_0");
        if (r % 8 >= 4) all[r].device.reach = DPT_REACH_HOST;
    }
    report(16);
    warns(
        1,
        "ranks 4-7, 12-15: the GPU is on NUMA node 1, and mlx5_0, the nearest fast network adapter, in another socket");
    report(8); /* on one host nothing leaves by it */
    CHECK_EQ_TEXT(warned, "");
    for (int r = 0; r < MOST; r++) all[r].device.fast = false;
    report(16);
    CHECK_EQ_TEXT(warned, "");
}

static void crowded(void) {
    reset_places();
    for (int r = 0; r < 8; r++) {
        all[r].cpus = cpus_from(0, 2, 1);
        CHECK_EQ_I64(dpt_rank_place_crowded(all, 8, r), r >= 2); /* the ranks so far: 1 to 8 on 2 CPUs */
        if (r < 2) continue;
        for (int k = 0; k <= r; k++) CHECK(dpt_rank_place_crowded(all, r + 1, k));
    }
}

static void crowds(void) {
    reset_places();
    for (int r = 0; r < 8; r++) all[r].cpus = cpus_from(r / 4, r / 4 + 1, 1);
    report(16);
    warns(1, "ranks 0-7: 4 ranks share 1 CPU while 14 of their host idle: ");
    CHECK(strstr(warned, "--cpus-per-task=N") != NULL);
    for (int r = 0; r < 8; r++) all[r].cpus = cpus_from(2 * (r / 4), 2 * (r / 4) + 2, 1);
    all[3].cpus = cpus_from(2, 4, 1);
    report(8); /* what differs stands in lines of its own */
    warns(2, "ranks 0-2: 3 ranks share 2 CPUs while 12 of their host idle: ");
    warns(2, "ranks 3-7: 5 ranks share 2 CPUs while 12 of their host idle: ");
    all[3].cpus = cpus_from(0, 2, 1);
    host = cpus_from(0, 5, 1);
    report(8);
    CHECK(strstr(warned, "ranks 0-7: 4 ranks share 2 CPUs while 1 of their host idles: ") != NULL);
    host = cpus_from(0, 4, 1); /* all there are */
    report(8);
    CHECK(strstr(warned, "share") == NULL);
}

static void unknown(void) {
    reset_places();
    for (int r = 0; r < 8; r++) all[r].device = (dpt_locality){.node = -1};
    report(8);
    CHECK_EQ_TEXT(warned, "");
    CHECK(strncmp(debugged, "ranks 0-7: where the GPU stands on its host is not known", 56) == 0);
}

/* ---- shares ---- */

static dpt_topology *two_sockets(void) {
    static char xml[65536];
    dpt_topology *t = NULL;
    FILE *in = fopen(DPT_TEST_HOST, "r");
    if (!CHECK(in != NULL)) return NULL;
    memset(xml, 0, sizeof xml);
    CHECK(fread(xml, 1, sizeof xml - 1, in) > 0);
    fclose(in);
    CHECK_OK(dpt_topology_open(xml, true, &t));
    return t;
}

static void check_share(const dpt_topology *t, int world, int rank, const char *expected) {
    cpu_set_t share;
    char text[200];
    dpt_rank_place_share(all, world, rank, t, &share);
    dpt_cpus_text(text, sizeof text, &share);
    check_that(strcmp(text, expected) == 0, __FILE__, __LINE__, "rank %d of %d: CPUs '%s', expected '%s'", rank, world,
               text, expected);
}

static void shares(void) {
    static const char *const eight[8] = {"0,8", "2,10", "4,12", "6,14", "1,9", "3,11", "5,13", "7,15"};
    dpt_topology *t = two_sockets();
    if (t == NULL) return;
    reset_places();
    for (int r = 0; r < MOST; r++) check_share(t, MOST, r, eight[r % 8]);
    check_share(t, 1, 0, "0,2,4,6,8,10,12,14"); /* alone */
    check_share(t, 5, 4, "1,3,5,7,9,11,13,15"); /* alone in its socket */
    check_share(t, 2, 1, "4,6,12,14");
    for (int r = 0; r < 8; r++) all[r].cpus = cpus_from(0, 4, 1); /* all of the job alike: not bound */
    check_share(t, 2, 0, "0");
    check_share(t, 2, 1, "2");
    check_share(t, 8, 3, "0,2"); /* more ranks than cores */
    check_share(t, 1, 0, "");    /* alone, with less than there is: bound */
    all[1].cpus = cpus_from(0, 8, 1);
    check_share(t, 2, 0, ""); /* bound each in its way */
    reset_places();
    all[0].device.split = false;
    check_share(t, 8, 0, ""); /* nothing is nearer */
    reset_places();
    for (int r = 0; r < 8; r++) all[r].cpus = cpus_from(1, 16, 2);
    check_share(t, 8, 0, ""); /* nothing near may be used */
    check_share(t, 8, 4, "1,9");
    dpt_topology_close(&t);
}

/* ---- real ranks ---- */

static dpt_context *ctx;

static void set(const char *name, const char *value) {
    if (value == NULL)
        unsetenv(name);
    else
        setenv(name, value, 1);
}

/* Two GPUs, one a socket. */
static void reset(void) {
    char devices[16];
    const char *const names[] = {"HOSTCUDA_NO_PEER", "HOSTCUDA_NO_NVLINK", "HOSTCUDA_NAME",
                                 "HOSTCUDA_PCI",     "HWLOC_XMLFILE",      "CUDA_VISIBLE_DEVICES"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) set(names[i], NULL);
    snprintf(devices, sizeof devices, "%d", check_world());
    set("HOSTCUDA_DEVICES", devices);
}

/* Rank 0 hears what was found; on all ranks. */
static void heard(const char *text) {
    listen_to_log();
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    dpt_log_set(NULL, NULL);
    dpt_context_destroy(&ctx);
    if (check_rank() != 0 || text == NULL)
        CHECK_EQ_TEXT(warned, "");
    else
        warns(1, text);
}

static bool on_cpu(void) { return strcmp(check_device(), "cpu") == 0; }

static void real_links(void) {
    if (on_cpu() || check_world() < 2) return;
    char ranks[32], text[128], device[8];
    snprintf(ranks, sizeof ranks, "ranks 0-%d: ", check_world() - 1);
    reset();
    heard(NULL);
    set("HOSTCUDA_NO_PEER", "0");
    snprintf(text, sizeof text, "%sno peer access", ranks);
    heard(text);
    reset();
    set("HOSTCUDA_NO_NVLINK", "0");
    snprintf(text, sizeof text, "%sGPUs of the same host reach each other by PCIe", ranks);
    heard(text);
    reset();
    snprintf(device, sizeof device, "%d", check_rank());
    set("CUDA_VISIBLE_DEVICES", device);
    snprintf(text, sizeof text, "%sGPUs of the same host are hidden", ranks);
    heard(text);
    reset();
    set("HOSTCUDA_NAME", "NVIDIA H200,NVIDIA L40S");
    heard("the GPUs differ: NVIDIA H200 (rank 0), NVIDIA L40S (rank");
}

static void identity(void) {
    if (on_cpu()) return;
    reset();
    set("HOSTCUDA_NAME", "NVIDIA H200");
    set("HOSTCUDA_PCI", "0000:1B:00.0,0000:1C:00.0,0000:1D:00.0");
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    char pci[20];
    snprintf(pci, sizeof pci, "0000:%02x:00.0", 0x1b + check_rank());
    CHECK_EQ_TEXT(ctx->device.pci, pci);
    CHECK_EQ_TEXT(ctx->device.model, "NVIDIA H200");
    dpt_context_destroy(&ctx);
}

/* A rank with all of this machine's CPUs, bound to the one that is near its GPU. */
static int enough = 0;
static cpu_set_t before, of_thread;
static pthread_barrier_t started, bound;

static void *stay(void *unused) {
    pthread_barrier_wait(&started);
    pthread_barrier_wait(&bound);
    sched_getaffinity(0, sizeof of_thread, &of_thread);
    return unused;
}

/* Rank 1's node is the one that every machine has. */
static void memory_of_node_0(void) {
    enum { DEFAULT = 0, PREFERRED = 1, PREFERRED_MANY = 5 }; /* of the kernel's memory policies */
    int policy = -1;
    unsigned long nodes[16] = {0};
    if (strstr(debugged, "memory cannot be kept on NUMA node 0 here") != NULL) return; /* a container may forbid it */
    CHECK(syscall(SYS_get_mempolicy, &policy, nodes, 8 * sizeof nodes, NULL, 0) == 0);
    CHECK(policy == PREFERRED || policy == PREFERRED_MANY);
    CHECK(nodes[0] == 1);
    CHECK(syscall(SYS_set_mempolicy, DEFAULT, NULL, 0) == 0);
}

static void binds(void) {
    if (on_cpu() || check_world() != 2) return;
    pthread_t thread;
    cpu_set_t first = cpus_from(0, 2, 1), now, both;
    sched_getaffinity(0, sizeof before, &before);
    CPU_AND(&both, &before, &first);
    enough = CPU_EQUAL(&both, &first);
    MPI_Allreduce(MPI_IN_PLACE, &enough, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (!enough) return;
    reset();
    set("HWLOC_XMLFILE", DPT_TEST_HOST);
    set("HWLOC_THISSYSTEM", "1");
    set("HOSTCUDA_PCI", "0000:91:00.0,0000:11:00.0");
    sched_setaffinity(0, sizeof first, &first);
    pthread_barrier_init(&started, NULL, 2);
    pthread_barrier_init(&bound, NULL, 2);
    pthread_create(&thread, NULL, stay, NULL);
    pthread_barrier_wait(&started);
    if (CHECK_OK(check_context(MPI_COMM_WORLD, 2, &ctx))) {
        sched_getaffinity(0, sizeof now, &now);
        CHECK(CPU_EQUAL(&now, &first)); /* a context leaves it alone */
        listen_to_log();
        CHECK_OK(dpt_bind_near_device(ctx));
        dpt_log_set(NULL, NULL);
        sched_getaffinity(0, sizeof now, &now);
        CHECK(CPU_COUNT(&now) == 1 && CPU_ISSET((size_t)(1 - check_rank()), &now));
        CHECK_EQ_I64(ctx->device.threads, 1);
        if (check_rank() == 1) memory_of_node_0();
        if (check_rank() == 0)
            CHECK(strstr(debugged, "bind: 2 of 2 ranks near their GPUs; rank 0 on CPUs 1, NUMA node 1\n") != NULL);
    }
    dpt_context_destroy(&ctx);
    pthread_barrier_wait(&bound);
    pthread_join(thread, NULL);
    CHECK(CPU_EQUAL(&of_thread, &now));
    /* by now each rank has a CPU of its own: bound, and left alone */
    if (CHECK_OK(check_context(MPI_COMM_WORLD, 2, &ctx))) {
        CHECK_EQ_I64(CPU_COUNT(&ctx->placement.share), 0);
        CHECK_EQ_I64(ctx->placement.node, 1 - check_rank());
        listen_to_log();
        CHECK_OK(dpt_bind_near_device(ctx));
        dpt_log_set(NULL, NULL);
        CHECK_EQ_I64(ctx->device.threads, 2);
        CHECK(strstr(debugged, "bind: 0 of 2 ranks near their GPUs\n") != NULL);
    }
    dpt_context_destroy(&ctx);
    sched_setaffinity(0, sizeof before, &before);
}

/* On one CPU together, far from their GPUs. */
static void misplaced(void) {
    cpu_set_t one = cpus_from(0, 1, 1);
    if (on_cpu() || check_world() != 2 || !enough) return;
    reset();
    set("HWLOC_XMLFILE", DPT_TEST_HOST);
    set("HOSTCUDA_PCI", "0000:91:00.0,0000:92:00.0");
    sched_setaffinity(0, sizeof one, &one);
    listen_to_log();
    CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx));
    dpt_log_set(NULL, NULL);
    dpt_context_destroy(&ctx);
    sched_setaffinity(0, sizeof before, &before);
    if (check_rank() != 0) return;
    warns(2, "ranks 0-1: bound to cores of another NUMA node than their GPU's");
    warns(2, "ranks 0-1: 2 ranks share 1 CPU while 15 of their host idle");
}

/* CPU ranks: nothing near to be bound to. */
static void without_gpu(void) {
    if (!on_cpu()) return;
    listen_to_log();
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 2, &ctx))) return;
    CHECK_OK(dpt_bind_near_device(ctx));
    dpt_log_set(NULL, NULL);
    CHECK(ctx->device.threads == 2 && ctx->placement.node == -1 && CPU_COUNT(&ctx->placement.share) == 0);
    CHECK_EQ_TEXT(warned, "");
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "placement", {"nothing", nothing}, {"links", links}, {"other_hosts", other_hosts},
                      {"some_ranks", some_ranks}, {"models", models}, {"far_adapter", far_adapter},
                      {"crowded", crowded}, {"crowds", crowds}, {"unknown", unknown}, {"shares", shares},
                      {"real_links", real_links}, {"identity", identity}, {"binds", binds}, {"misplaced", misplaced},
                      {"without_gpu", without_gpu});
}
