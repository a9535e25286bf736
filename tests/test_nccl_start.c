/* test_nccl_start.c: how NCCL starts, and how it does not: each case in a process of its own (the library is opened
 * once), with the environment that tests/cuda.cmake gives it. All ranks get the same verdict, which says what to do,
 * and can still talk to each other; with comm.library=auto gradients go through MPI instead. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/backend.h"
#include "check.h"

enum { COUNT = 100 };

static dpt_context *ctx;
static dpt_comm comm;
static char warned[1024];

static void keep_warning(void *user, dpt_log_level level, const char *message) {
    (void)user;
    if (level == DPT_LOG_WARNING) snprintf(warned, sizeof warned, "%s", message);
}

static bool begin(void) {
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = check_device();
    o.comm = "mpi";
    o.watchdog = 0;
    warned[0] = 0;
    dpt_log_set(keep_warning, NULL);
    return CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &o, &ctx));
}

static dpt_status open_comm(dpt_comm_library library, double limit_s, const char *interface) {
    dpt_comm_options o = {.library = library, .start_limit_s = limit_s, .interface = interface, .always = true};
    return dpt_comm_open(ctx->backend, &ctx->control, &ctx->device, &o, &comm);
}

/* A sum over ranks through the communicator. */
static void check_sum(void) {
    float host[COUNT];
    void *memory;
    if (!CHECK_OK(ctx->device.ops->alloc(&ctx->device, sizeof host, DPT_FOR_COMM, &memory))) return;
    for (int i = 0; i < COUNT; i++) host[i] = (float)(i * (check_rank() + 1));
    CHECK_OK(ctx->device.ops->copy_in(&ctx->device, memory, host, sizeof host, NULL));
    CHECK_OK(dpt_comm_run(&comm, DPT_ALL_REDUCE, memory, COUNT, DPT_F32, NULL));
    CHECK_OK(ctx->device.ops->copy_out(&ctx->device, host, memory, sizeof host, NULL));
    for (int i = 0; i < COUNT; i++) CHECK(host[i] == (float)(i * check_world() * (check_world() + 1) / 2));
    ctx->device.ops->release(&ctx->device, memory, sizeof host, DPT_FOR_COMM);
}

static void end(void) {
    dpt_comm_close(&comm);
    dpt_context_destroy(&ctx);
    dpt_log_set(NULL, NULL);
}

/* nccl: refused with this text; auto: MPI sums, and the warning has the text. */
static void falls_back(const char *text) {
    if (!begin()) return;
    CHECK_FAILS(open_comm(DPT_COMM_NCCL, 60, NULL), DPT_ERR_DEVICE, text);
    dpt_comm_close(&comm);
    CHECK_OK(dpt_control_agree(&ctx->control, DPT_OK));
    if (CHECK_OK(open_comm(DPT_COMM_AUTO, 60, NULL))) {
        CHECK_EQ_TEXT(comm.name, check_world() > 1 ? "mpi, through host memory" : "one rank alone");
        if (check_rank() == 0)
            check_that(strstr(warned, text) != NULL, __FILE__, __LINE__, "warning '%s' lacks '%s'", warned, text);
        check_sum();
    }
    end();
}

/* Refused by nccl and auto alike. */
static void refuses(dpt_status status, const char *text, double limit_s, const char *interface) {
    if (!begin()) return;
    for (int library = DPT_COMM_AUTO; library <= DPT_COMM_NCCL; library++) {
        CHECK_FAILS(open_comm((dpt_comm_library)library, limit_s, interface), status, text);
        dpt_comm_close(&comm);
        CHECK_OK(dpt_control_agree(&ctx->control, DPT_OK));
    }
    end();
}

static const char *host(void) {
    static char name[64];
    gethostname(name, sizeof name - 1);
    return name;
}

/* On one rank alone: the others see it and name it. */
static void missing(void) {
    char text[256];
    if (check_rank() == check_world() - 1) setenv("DPTRAIN_NCCL", "/nowhere/libnccl.so.2", 1);
    snprintf(text, sizeof text, "no NCCL for rank %d on %s: /nowhere/libnccl.so.2: cannot open shared object file",
             check_world() - 1, host());
    falls_back(text);
}

static void unwanted(void) { falls_back("DPTRAIN_NCCL=0 asks for none"); }
static void too_old(void) { falls_back("libnccl.so.2 is 2.18.5, and 2.19 or later is needed: install it"); }
static void incomplete(void) { falls_back("lacks ncclCommRegister: install it"); }
static void shared_device(void) { falls_back("rank 0 and rank 1 share a GPU (0000:10:00.0 on "); }

/* From 2.30 ranks may share a device, where that is asked for. */
static void shared_device_2_30(void) {
    if (!begin()) return;
    if (CHECK_OK(open_comm(DPT_COMM_NCCL, 60, NULL))) {
        CHECK(strncmp(comm.name, "nccl 2.30.", 10) == 0);
        check_sum();
    }
    end();
}

static void versions(void) {
    char text[256];
    snprintf(text, sizeof text, "NCCL's version differs over ranks: 2.28.9 (rank 0-1 on %s), 2.27.3 (rank 2-3 on %s)",
             host(), host());
    refuses(DPT_ERR_DEVICE, text, 60, NULL);
}

static void interface(void) {
    refuses(DPT_ERR_CONFIG, "has no such network interface, but lo", 60, "nonet7");
    CHECK(getenv("NCCL_SOCKET_IFNAME") == NULL);
    if (!begin()) return;
    if (CHECK_OK(open_comm(DPT_COMM_NCCL, 60, "lo"))) {
        CHECK_EQ_TEXT(getenv("NCCL_SOCKET_IFNAME"), "=lo");
        check_sum();
    }
    end();
    CHECK(getenv("NCCL_SOCKET_IFNAME") == NULL);
}

/* HOSTNCCL_INIT_HANG: no rank gets through. */
static void init_hangs(void) {
    char text[160];
    snprintf(text, sizeof text, "NCCL has not connected rank 0-%d on %s within 0.3 s", check_world() - 1, host());
    refuses(DPT_ERR_DEVICE, text, 0.3, NULL);
}

/* HOSTNCCL_INIT_HANG on the last rank: the others wait for it, and all end. */
static void init_hangs_on_one(void) { refuses(DPT_ERR_DEVICE, "NCCL has not connected rank ", 0.3, NULL); }

static void shared_memory(void) {
    refuses(DPT_ERR_DEVICE, "give it more (docker run --shm-size=1g), or set NCCL_SHM_DISABLE=1", 60, NULL);
    CHECK(strstr(dpt_last_error(), "NCCL did not start on rank 0 on ") != NULL);
    CHECK(strstr(dpt_last_error(), "Error while creating shared memory segment") != NULL);
}

static void no_interface(void) {
    refuses(DPT_ERR_DEVICE, "Bootstrap : no socket interface found; this host has lo", 60, NULL);
}

/* One rank's library takes longer to load than all ranks have to come. */
static void late(int which) {
    char text[192];
    const double limit_s = 0.3;
    if (check_rank() == which) {
        setenv("DPTRAIN_NCCL", DPT_TEST_FAKE_NCCL, 1);
        setenv("FAKE_NCCL_SLEEP", "2", 1);
    }
    snprintf(text, sizeof text, "NCCL: after %g s there was no sign of rank %d on %s", limit_s, which, host());
    if (!begin()) return;
    dpt_status status = open_comm(DPT_COMM_AUTO, limit_s, NULL);
    if (check_rank() != which) CHECK_FAILS(status, DPT_ERR_PEER, text);
    if (check_rank() == which)
        CHECK_FAILS(status, DPT_ERR_PEER, which == 0 ? "there was no sign of rank 1" : "came after the limit of 0.3 s");
    dpt_comm_close(&comm);
    end();
}

static void late_first(void) { late(0); }
static void late_last(void) { late(check_world() - 1); }

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "nccl_start", {"missing", missing}, {"unwanted", unwanted}, {"too_old", too_old},
                      {"incomplete", incomplete}, {"shared_device", shared_device},
                      {"shared_device_2_30", shared_device_2_30}, {"versions", versions}, {"interface", interface},
                      {"init_hangs", init_hangs}, {"init_hangs_on_one", init_hangs_on_one},
                      {"shared_memory", shared_memory}, {"no_interface", no_interface}, {"late_first", late_first},
                      {"late_last", late_last});
}
