/* test_device_cuda.c: the CUDA device on the CPU (hostcuda/): which device a rank gets and every reason why it gets
 * none, the same on all ranks and without a context on a device that is not its own; then memory, streams, events,
 * copies and recordings; at the end a device that falls off. At 1, 2 and 3 ranks; skipped on the CPU device. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/log.h"
#include "check.h"
#include "ops/op_list.h"

static dpt_context *ctx;
static char logged[4096];

static void set(const char *name, const char *value) {
    if (value == NULL)
        unsetenv(name);
    else
        setenv(name, value, 1);
}
static void set_count(const char *name, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    set(name, text);
}

/* As many devices as ranks, all well. */
static void reset(void) {
    const char *const names[] = {"HOSTCUDA_DRIVER",  "HOSTCUDA_BUSY",     "HOSTCUDA_LOST_AFTER", "HOSTCUDA_CAPABILITY",
                                 "HOSTCUDA_MEMORY",  "HOSTCUDA_PCI",      "HOSTCUDA_NAME",       "HOSTCUDA_PROHIBITED",
                                 "HOSTCUDA_DEVICES", "DPTRAIN_SHARE_GPU", "CUDA_VISIBLE_DEVICES"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) set(names[i], NULL);
    set_count("HOSTCUDA_DEVICES", check_world());
}

static int64_t count(const char *what) {
    void *module = dlopen("libdptrain_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    void *symbol = module ? dlsym(module, "hostcuda_count") : NULL;
    int64_t (*fn)(const char *what);
    memcpy(&fn, &symbol, sizeof fn);
    return fn ? fn(what) : -1;
}

static dpt_status open_as(const char *name, double memory) {
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = name;
    o.threads = 1;
    o.memory = memory;
    return dpt_context_create(MPI_COMM_WORLD, &o, &ctx);
}

static bool open_cuda(void) { return CHECK_OK(open_as("cuda", 0)); }

/* On all ranks. `contexts` has a bit for each device on which this process made one: these cases come first. */
static void refused(const char *text) {
    CHECK_FAILS(open_as("cuda", 0), DPT_ERR_DEVICE, text);
    CHECK(ctx == NULL);
    CHECK_EQ_I64(count("contexts"), 0);
}

/* The device of the machine that this rank gets, and its number in this process; a context there and on no other
 * besides those of earlier cases. */
static void wanted(int device, int index) {
    char text[32];
    const int64_t before = count("contexts");
    if (!open_cuda()) return;
    snprintf(text, sizeof text, "cuda %d (", index);
    check_that(strncmp(dpt_context_device(ctx), text, strlen(text)) == 0, __FILE__, __LINE__, "%s",
               dpt_context_device(ctx));
    CHECK_EQ_I64(count("contexts"), before | 1 << device);
    dpt_context_destroy(&ctx);
}

/* ---- selection ---- */

/* Each rank the device with its local number, or the one that it sees; nothing touched on the others. */
static void chosen(void) {
    reset();
    wanted(check_rank(), check_rank());
    set_count("CUDA_VISIBLE_DEVICES", check_rank());
    wanted(check_rank(), 0);
    if (!open_cuda()) return;
    CHECK(strstr(dpt_context_device(ctx), " GiB)") != NULL);
    CHECK(ctx->device.record && !ctx->device.host_memory && !ctx->device.sync_each && !ctx->device.deterministic);
    CHECK(!ctx->comm.host_staged);
    dpt_context_destroy(&ctx);
}

static void no_driver(void) {
    reset();
    set("HOSTCUDA_DRIVER", "0");
    refused("no NVIDIA driver on ");
    set("HOSTCUDA_DRIVER", "11040");
    refused("is too old: it is for CUDA 11.4, this build needs one for CUDA 1");
}

static void no_device(void) {
    reset();
    set("HOSTCUDA_DEVICES", "0");
    refused("no CUDA device on ");
    set("CUDA_VISIBLE_DEVICES", "7");
    refused("(CUDA_VISIBLE_DEVICES is \"7\")");
    set_count("HOSTCUDA_DEVICES", check_world());
    set("CUDA_VISIBLE_DEVICES", "NoDevFiles"); /* Slurm's word for none */
    refused("(CUDA_VISIBLE_DEVICES is \"NoDevFiles\")");
}

/* One device for all ranks, whichever way they came to it. */
static void shared(void) {
    if (check_world() == 1) return;
    const char *ranks = check_world() == 2 ? "ranks 0, 1 would share one device on " : "ranks 0, 1, 2 would share one ";
    reset();
    set("HOSTCUDA_DEVICES", "1");
    refused(ranks);
    set("HOSTCUDA_DEVICES", "4");
    set("CUDA_VISIBLE_DEVICES", "2");
    refused(ranks);
    CHECK(strstr(dpt_last_error(), "0000:12:00.0 (CUDA on the host) (CUDA_VISIBLE_DEVICES is \"2\"): start") != NULL);
    set("HOSTCUDA_NAME", "NVIDIA H200 MIG 1g.18gb");
    refused(": start one rank a device, each with its own instance in CUDA_VISIBLE_DEVICES, or take device=cpu");
}

static void too_few(void) {
    if (check_world() < 3) return;
    reset();
    set("HOSTCUDA_DEVICES", "6");
    set("CUDA_VISIBLE_DEVICES", "3,5");
    refused("and 2 CUDA devices (CUDA_VISIBLE_DEVICES is \"3,5\"): start at most 2 ranks a host, or take device=cpu");
    CHECK(strstr(dpt_last_error(), "3 ranks on ") != NULL);
}

/* Several ranks on one device, for those who ask for it. */
static void shared_on_purpose(void) {
    reset();
    set("DPTRAIN_SHARE_GPU", "1");
    set("HOSTCUDA_DEVICES", "1");
    wanted(0, 0);
    set("HOSTCUDA_DEVICES", "2");
    wanted(check_rank() % 2, check_rank() % 2);
    set("DPTRAIN_SHARE_GPU", "0");
    set("HOSTCUDA_DEVICES", "1");
    if (check_world() > 1) CHECK_FAILS(open_as("cuda", 0), DPT_ERR_DEVICE, "would share one device");
}

/* Instances of one device: its address, numbers of their own. */
static void instances(void) {
    reset();
    set("HOSTCUDA_PCI", "0000:1B:00.0");
    set("HOSTCUDA_NAME", "NVIDIA H200 MIG 1g.18gb");
    set_count("CUDA_VISIBLE_DEVICES", check_rank());
    if (!open_cuda()) return;
    CHECK(strstr(dpt_context_device(ctx), "(NVIDIA H200 MIG 1g.18gb, 0000:1b:00.0, 2.0 GiB)") != NULL);
    dpt_context_destroy(&ctx);
}

static void prohibited(void) {
    reset();
    set_count("HOSTCUDA_PROHIBITED", check_world() - 1);
    CHECK_FAILS(open_as("cuda", 0), DPT_ERR_DEVICE, "is in compute mode \"prohibited\"");
    CHECK_EQ_I64(count("contexts"), check_rank() < check_world() - 1 ? 1 << check_rank() : 0);
}

/* The last rank's device: all ranks say the same. */
static void busy(void) {
    char text[64];
    reset();
    set_count("HOSTCUDA_BUSY", check_world() - 1);
    CHECK_FAILS(open_as("cuda", 0), DPT_ERR_DEVICE, "is taken by another process");
    if (check_world() > 1) {
        snprintf(text, sizeof text, "rank %d: device ", check_world() - 1);
        CHECK(strncmp(dpt_last_error(), text, strlen(text)) == 0);
    }
    CHECK(ctx == NULL);
}

static void old_device(void) {
    reset();
    set("HOSTCUDA_CAPABILITY", "7.5");
    CHECK_FAILS(open_as("cuda", 0), DPT_ERR_DEVICE, "compute capability 7.5, and libdptrain_cuda.so was built for ");
    CHECK(strstr(dpt_last_error(), "-DDPTRAIN_CUDA_ARCHITECTURES=75") != NULL);
    CHECK(ctx == NULL);
}

static void keep_log(void *user, dpt_log_level level, const char *message) {
    (void)user, (void)level;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s\n", message);
}

static void automatic(void) {
    reset();
    if (CHECK_OK(open_as("auto", 0))) CHECK(strncmp(dpt_context_device(ctx), "cuda ", 5) == 0);
    dpt_context_destroy(&ctx);
    set("HOSTCUDA_DEVICES", "0");
    logged[0] = 0;
    dpt_log_set(keep_log, NULL);
    if (CHECK_OK(open_as("auto", 0))) CHECK(strncmp(dpt_context_device(ctx), "cpu (", 5) == 0);
    dpt_log_set(NULL, NULL);
    CHECK(strstr(logged, "device auto: cpu, since cuda cannot be used: no CUDA device on ") != NULL);
    dpt_context_destroy(&ctx);
}

/* Of more devices than the job has, under Slurm, none is named: said, unless CUDA_VISIBLE_DEVICES does. */
static void strangers(void) {
    reset();
    set("HOSTCUDA_DEVICES", "4");
    dpt_log_set(keep_log, NULL);
    for (int turn = 0; turn < 4; turn++) {
        set("SLURM_GPUS_ON_NODE", turn == 1 ? "4" : turn == 2 ? NULL : "3");
        set("CUDA_VISIBLE_DEVICES", turn == 3 ? "0,1,2,3" : NULL);
        logged[0] = 0;
        open_cuda();
        dpt_context_destroy(&ctx);
        CHECK((strstr(logged, "4 CUDA devices are visible on ") != NULL) == (turn == 0));
    }
    dpt_log_set(NULL, NULL);
    set("SLURM_GPUS_ON_NODE", NULL);
}

/* What `dptrain info` prints, and that it makes no context. */
static void described(void) {
    char text[4096];
    const dpt_backend *b;
    reset();
    set("HOSTCUDA_DEVICES", "2");
    if (!CHECK_OK(dpt_plugin_open("libdptrain_cuda.so", DPT_OP_COUNT, &b))) return;
    CHECK_OK(b->describe(text, sizeof text));
    CHECK(strstr(text, "runtime 1") != NULL && strstr(text, "driver for CUDA ") != NULL);
    CHECK(strstr(text, "\ndevice 0: ") != NULL && strstr(text, "\ndevice 1: ") != NULL);
    CHECK(strstr(text, "compute capability ") != NULL);
    CHECK_EQ_I64(count("contexts"), 0);
    set("HOSTCUDA_DEVICES", "0");
    CHECK_FAILS(b->describe(text, sizeof text), DPT_ERR_DEVICE, "no CUDA device");
    CHECK(strstr(text, "driver for CUDA ") != NULL);
    set("HOSTCUDA_DEVICES", "2");
    memset(text, 'x', sizeof text);
    CHECK_OK(b->describe(text, 40));
    CHECK(text[39] == 0 && strlen(text) == 39);
    for (size_t i = 40; i < sizeof text; i++) CHECK(text[i] == 'x');
}

static void options(void) {
    dpt_context_options o;
    reset();
    dpt_context_options_init(&o);
    o.device = "cuda";
    o.deterministic = 1;
    o.graph = 0;
    if (CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &o, &ctx)))
        CHECK(ctx->device.deterministic && !ctx->device.record && !ctx->device.sync_each);
    dpt_context_destroy(&ctx);
    o.graph = 1;
    o.sync = 1;
    o.deterministic = 0;
    if (CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &o, &ctx)))
        CHECK(ctx->device.sync_each && !ctx->device.record && !ctx->device.deterministic);
    dpt_context_destroy(&ctx);
    o.memory = -1;
    CHECK_FAILS(dpt_context_create(MPI_COMM_WORLD, &o, &ctx), DPT_ERR_ARG, "device memory of -1");
}

/* ---- memory ---- */

/* Zeroed, counted, given back; host memory of staging. */
static void memory(void) {
    reset();
    if (!open_cuda()) return;
    dpt_device *d = &ctx->device;
    for (int purpose = 0; purpose < DPT_PURPOSE_COUNT; purpose++) {
        const size_t before = d->allocated[purpose];
        const size_t sizes[] = {0, 1, 1000};
        for (int i = 0; i < 3; i++) {
            unsigned char got[1000] = {1};
            void *p = NULL;
            if (!CHECK_OK(d->ops->alloc(d, sizes[i], (dpt_purpose)purpose, &p))) continue;
            CHECK(p != NULL && (uintptr_t)p % DPT_ALIGNMENT == 0);
            CHECK_EQ_I64(d->allocated[purpose], before + sizes[i]);
            if (purpose == DPT_FOR_STAGING)
                memcpy(got, p, sizes[i]);
            else
                CHECK_OK(d->ops->copy_out(d, got, p, sizes[i], NULL));
            for (size_t k = 0; k < sizes[i]; k++) CHECK(got[k] == 0);
            d->ops->release(d, p, sizes[i], (dpt_purpose)purpose);
            CHECK_EQ_I64(d->allocated[purpose], before);
        }
        d->ops->release(d, NULL, 5, (dpt_purpose)purpose);
        CHECK_EQ_I64(d->allocated[purpose], before);
    }
    dpt_context_destroy(&ctx);
}

/* More than there is: what was asked and what there is are said, and the device still works. */
static void too_much(void) {
    size_t available, total;
    void *p = (void *)1;
    reset();
    set("HOSTCUDA_MEMORY", "67108864");
    if (!open_cuda()) return;
    dpt_device *d = &ctx->device;
    CHECK_OK(d->ops->memory_info(d, &available, &total));
    CHECK_EQ_I64(total, 64 << 20);
    CHECK(available <= total && available > total / 2);
    CHECK_FAILS(d->ops->alloc(d, 100 << 20, DPT_FOR_COMPUTE, &p), DPT_ERR_MEMORY, "100.0 MiB asked");
    CHECK(strstr(dpt_last_error(), "MiB free of 64.0 MiB") != NULL && strstr(dpt_last_error(), d->name) != NULL);
    CHECK(p == NULL);
    CHECK_EQ_I64(d->allocated[DPT_FOR_COMPUTE], 0);
    if (CHECK_OK(d->ops->alloc(d, 1 << 20, DPT_FOR_COMPUTE, &p))) d->ops->release(d, p, 1 << 20, DPT_FOR_COMPUTE);
    dpt_context_destroy(&ctx);
}

/* A limit, as bytes and as a share. Both purposes count; staging does not. */
static void limit(void) {
    const double limits[2] = {10 << 20, 10.0 / 64};
    reset();
    set("HOSTCUDA_MEMORY", "67108864");
    for (int i = 0; i < 2; i++) {
        size_t available, total;
        void *p[4] = {NULL, NULL, NULL, NULL};
        if (!CHECK_OK(open_as("cuda", limits[i]))) return;
        dpt_device *d = &ctx->device;
        CHECK_EQ_I64(d->memory_limit, 10 << 20);
        CHECK_OK(d->ops->alloc(d, 6 << 20, DPT_FOR_COMPUTE, &p[0]));
        CHECK_FAILS(d->ops->alloc(d, 5 << 20, DPT_FOR_COMM, &p[1]), DPT_ERR_MEMORY,
                    "5.0 MiB asked, 4.0 MiB free of 64.0 MiB, 6.0 MiB already taken here, limit 10.0 MiB");
        CHECK_OK(d->ops->memory_info(d, &available, &total));
        CHECK_EQ_I64(available, 4 << 20);
        CHECK_OK(d->ops->alloc(d, 20 << 20, DPT_FOR_STAGING, &p[2]));
        CHECK_OK(d->ops->alloc(d, 4 << 20, DPT_FOR_COMM, &p[1]));
        CHECK_FAILS(d->ops->alloc(d, 1, DPT_FOR_COMPUTE, &p[3]), DPT_ERR_MEMORY, " 0.0 MiB free of");
        d->memory_limit = 1 << 20; /* less than what is taken by now */
        CHECK_FAILS(d->ops->alloc(d, 1, DPT_FOR_COMPUTE, &p[3]), DPT_ERR_MEMORY, " 0.0 MiB free of");
        d->ops->release(d, p[0], 6 << 20, DPT_FOR_COMPUTE);
        d->ops->release(d, p[1], 4 << 20, DPT_FOR_COMM);
        d->ops->release(d, p[2], 20 << 20, DPT_FOR_STAGING);
        dpt_context_destroy(&ctx);
    }
}

/* ---- streams, events, copies, recordings ---- */

enum { N = 1000, BYTES = N * 4 };

typedef struct side {
    dpt_device *d;
    dpt_stream *stream[2];
    dpt_event *event;
    void *a, *b, *host;
} side;

static bool open_side(side *s) {
    *s = (side){.d = NULL};
    reset();
    if (!open_cuda()) return false;
    dpt_device *d = s->d = &ctx->device;
    bool ok = CHECK_OK(d->ops->alloc(d, BYTES, DPT_FOR_COMPUTE, &s->a)) &&
              CHECK_OK(d->ops->alloc(d, BYTES, DPT_FOR_COMPUTE, &s->b)) &&
              CHECK_OK(d->ops->alloc(d, 2 * BYTES, DPT_FOR_STAGING, &s->host)) &&
              CHECK_OK(d->ops->stream_create(d, 0, &s->stream[0])) &&
              CHECK_OK(d->ops->stream_create(d, 100, &s->stream[1])) && CHECK_OK(d->ops->event_create(d, &s->event));
    int32_t *host = s->host;
    for (int i = 0; ok && i < N; i++) host[i] = i, host[N + i] = -1;
    return ok;
}

static void close_side(side *s) {
    dpt_device *d = s->d;
    if (d == NULL) return;
    d->ops->event_destroy(d, s->event);
    for (int i = 0; i < 2; i++) d->ops->stream_destroy(d, s->stream[i]);
    d->ops->release(d, s->a, BYTES, DPT_FOR_COMPUTE);
    d->ops->release(d, s->b, BYTES, DPT_FOR_COMPUTE);
    d->ops->release(d, s->host, 2 * BYTES, DPT_FOR_STAGING);
    dpt_context_destroy(&ctx);
}

static int64_t differ(const int32_t *v, int first, int step) {
    int64_t wrong = 0;
    for (int i = 0; i < N; i++) wrong += v[i] != first + step * i;
    return wrong;
}

/* In on one stream, across on the other, out on the first: right only if events order them. */
static void ordered(void) {
    side s;
    bool done = false;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        int32_t *host = s.host;
        for (int turn = 0; turn < 20; turn++) {
            memset(host + N, 0xff, BYTES);
            CHECK_OK(d->ops->zero(d, s.a, BYTES, s.stream[0]));
            CHECK_OK(d->ops->copy_in(d, s.a, host, BYTES, s.stream[0]));
            CHECK_OK(d->ops->event_record(d, s.event, s.stream[0]));
            CHECK_OK(d->ops->stream_wait(d, s.stream[1], s.event));
            CHECK_OK(d->ops->copy(d, s.b, s.a, BYTES, s.stream[1]));
            CHECK_OK(d->ops->event_record(d, s.event, s.stream[1]));
            CHECK_OK(d->ops->stream_wait(d, s.stream[0], s.event));
            CHECK_OK(d->ops->copy_out(d, host + N, s.b, BYTES, s.stream[0]));
            CHECK_OK(d->ops->stream_sync(d, s.stream[0]));
            CHECK_EQ_I64(differ(host + N, 0, 1), 0);
            CHECK_OK(d->ops->event_done(d, s.event, &done));
            CHECK(done);
        }
    }
    close_side(&s);
}

/* An event that is not reached yet is no error, neither here nor at the next launch. */
static void asked_early(void) {
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        bool done = true;
        int asked = 0;
        for (int i = 0; i < 50; i++) CHECK_OK(d->ops->copy(d, s.b, s.a, BYTES, s.stream[0]));
        CHECK_OK(d->ops->event_record(d, s.event, s.stream[0]));
        CHECK_OK(d->ops->event_done(d, s.event, &done));
        CHECK(!done);
        for (; !done && asked < 100000; asked++) CHECK_OK(d->ops->event_done(d, s.event, &done));
        CHECK(done);
    }
    close_side(&s);
}

/* A thread has its own current device, the first one at its start: that is another rank's. */
static void *work_elsewhere(void *context) {
    dpt_device *d = context;
    void *p = NULL;
    unsigned char got[100];
    if (!CHECK_OK(d->ops->alloc(d, sizeof got, DPT_FOR_COMPUTE, &p))) return NULL;
    CHECK_OK(d->ops->copy_out(d, got, p, sizeof got, NULL));
    d->ops->release(d, p, sizeof got, DPT_FOR_COMPUTE);
    return NULL;
}

static void other_thread(void) {
    pthread_t thread;
    reset();
    if (!open_cuda()) return;
    const int64_t before = count("contexts");
    if (CHECK(pthread_create(&thread, NULL, work_elsewhere, &ctx->device) == 0)) pthread_join(thread, NULL);
    CHECK_EQ_I64(count("contexts"), before);
    CHECK(before >> check_rank() & 1);
    dpt_context_destroy(&ctx);
}

/* Without a stream: behind all that is queued, and done at once. */
static void at_once(void) {
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        int32_t *host = s.host, got[N];
        CHECK_OK(d->ops->copy_in(d, s.a, host, BYTES, s.stream[1]));
        CHECK_OK(d->ops->copy(d, s.b, s.a, BYTES, NULL));
        CHECK_OK(d->ops->copy_out(d, host + N, s.b, BYTES, s.stream[0]));
        CHECK_OK(d->ops->stream_sync(d, NULL));
        CHECK_EQ_I64(differ(host + N, 0, 1), 0);
        CHECK_OK(d->ops->zero(d, s.b, BYTES, NULL));
        CHECK_OK(d->ops->copy_out(d, got, s.b, BYTES, NULL));
        CHECK_EQ_I64(differ(got, 0, 0), 0);
        for (int i = 0; i < N; i++) got[i] = 7 * i;
        CHECK_OK(d->ops->copy_in(d, s.b, got, BYTES, NULL));
        memset(got, 0, sizeof got);
        CHECK_OK(d->ops->copy_out(d, got, s.b, BYTES, NULL));
        CHECK_EQ_I64(differ(got, 0, 7), 0);
        for (int i = 0; i < 50; i++) CHECK_OK(d->ops->copy(d, s.a, s.b, BYTES, s.stream[0]));
        CHECK_OK(d->ops->copy_out(d, host + N, s.a, BYTES, s.stream[0]));
        CHECK_OK(d->ops->event_record(d, s.event, NULL));
        CHECK_OK(d->ops->stream_wait(d, NULL, s.event));
        CHECK_EQ_I64(differ(host + N, 0, 7), 0);
        CHECK_OK(d->ops->copy(d, NULL, NULL, 0, NULL));
        CHECK_OK(d->ops->zero(d, NULL, 0, s.stream[0]));
    }
    close_side(&s);
}

/* Work forked to the other stream and joined is part of the recording; nothing runs before the replay, and each replay
 * reads what is there then. */
static void recorded(void) {
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        dpt_recording *r = NULL;
        int32_t *host = s.host;
        CHECK_OK(d->ops->record_begin(d, s.stream[0]));
        CHECK_OK(d->ops->copy_in(d, s.a, host, BYTES, s.stream[0]));
        CHECK_OK(d->ops->event_record(d, s.event, s.stream[0]));
        CHECK_OK(d->ops->stream_wait(d, s.stream[1], s.event));
        CHECK_OK(d->ops->copy(d, s.b, s.a, BYTES, s.stream[1]));
        CHECK_OK(d->ops->event_record(d, s.event, s.stream[1]));
        CHECK_OK(d->ops->stream_wait(d, s.stream[0], s.event));
        CHECK_OK(d->ops->copy_out(d, host + N, s.b, BYTES, s.stream[0]));
        CHECK_OK(d->ops->record_end(d, s.stream[0], &r));
        CHECK_OK(d->ops->stream_sync(d, NULL));
        CHECK_EQ_I64(differ(host + N, -1, 0), 0);
        for (int turn = 1; r && turn < 4; turn++) {
            for (int i = 0; i < N; i++) host[i] = turn * i;
            CHECK_OK(d->ops->replay(d, r, s.stream[0]));
            CHECK_OK(d->ops->stream_sync(d, s.stream[0]));
            CHECK_EQ_I64(differ(host + N, 0, turn), 0);
        }
        d->ops->recording_destroy(d, r);
        d->ops->recording_destroy(d, NULL);
    }
    close_side(&s);
}

static void *allocate_elsewhere(void *context) {
    dpt_device *d = context;
    for (int purpose = 0; purpose < DPT_PURPOSE_COUNT; purpose++) {
        void *p = NULL;
        CHECK_OK(d->ops->alloc(d, 100, (dpt_purpose)purpose, &p));
        d->ops->release(d, p, 100, (dpt_purpose)purpose);
    }
    return NULL;
}

/* Other threads of the process go on while this one records. */
static void recorded_beside(void) {
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        dpt_recording *r = NULL;
        pthread_t thread;
        CHECK_OK(d->ops->record_begin(d, s.stream[0]));
        CHECK_OK(d->ops->copy(d, s.b, s.a, BYTES, s.stream[0]));
        if (CHECK(pthread_create(&thread, NULL, allocate_elsewhere, d) == 0)) pthread_join(thread, NULL);
        CHECK_OK(d->ops->record_end(d, s.stream[0], &r));
        d->ops->recording_destroy(d, r);
    }
    close_side(&s);
}

/* Waiting inside of a recording breaks it: both calls fail, nothing is left over, and the device goes on. */
static void recorded_badly(void) {
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        dpt_recording *r = (dpt_recording *)1;
        CHECK_OK(d->ops->record_begin(d, s.stream[0]));
        CHECK(d->ops->stream_sync(d, s.stream[0]) == DPT_ERR_DEVICE);
        CHECK(d->ops->record_end(d, s.stream[0], &r) == DPT_ERR_DEVICE);
        CHECK(r == NULL);
        CHECK_OK(d->ops->copy_in(d, s.a, s.host, BYTES, s.stream[0]));
        CHECK_OK(d->ops->stream_sync(d, s.stream[0]));
    }
    close_side(&s);
}

static void timed(void) {
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        dpt_event *begin = NULL, *end = NULL;
        double seconds = -1;
        CHECK_OK(d->ops->timer_create(d, &begin));
        CHECK_OK(d->ops->timer_create(d, &end));
        CHECK_OK(d->ops->event_record(d, begin, s.stream[0]));
        CHECK_OK(d->ops->copy(d, s.b, s.a, BYTES, s.stream[0]));
        CHECK_OK(d->ops->event_record(d, end, s.stream[0]));
        CHECK_OK(d->ops->stream_sync(d, s.stream[0]));
        CHECK_OK(d->ops->timer_elapsed(d, begin, end, &seconds));
        CHECK(seconds >= 0 && seconds < 10);
        d->ops->mark_begin(d, "a copy");
        d->ops->mark_end(d);
        d->ops->event_destroy(d, begin);
        d->ops->event_destroy(d, end);
        d->ops->event_destroy(d, NULL);
    }
    close_side(&s);
}

/* Falls off after the next launch: said with host and PCI address, by every call from then on. The last case. */
static void lost(void) {
    char host[64] = "";
    side s;
    if (open_side(&s)) {
        dpt_device *d = s.d;
        const dpt_operand x = {.data = s.a, .ndim = 1, .dim = {N}, .axis = -1, .count = N, .row_count = N};
        dpt_call call = {.op = DPT_OP_RELU, .n_in = 1, .n_out = 1, .in = {x}, .out = {x}, .device = d, .block = s.b};
        const dpt_kernel *relu = ctx->backend->kernels[DPT_OP_RELU];
        bool done;
        int calls = 0;
        dpt_status status = DPT_OK;
        gethostname(host, sizeof host - 1);
        call.out[0].data = s.b;
        set_count("HOSTCUDA_LOST_AFTER", (int)count("launches") + 1);
        if (relu->prepare) CHECK_OK(relu->prepare(&call));
        if (relu->bind) CHECK_OK(relu->bind(&call));
        for (; status == DPT_OK && calls < 10; calls++) {
            status = relu->run(&call, s.stream[0]);
            if (status == DPT_OK) status = d->ops->event_record(d, s.event, s.stream[0]);
            for (int k = 0; status == DPT_OK && k < 100; k++) status = d->ops->event_done(d, s.event, &done);
        }
        CHECK_EQ_I64(status, DPT_ERR_DEVICE);
        CHECK(strstr(dpt_last_error(), host) != NULL && strstr(dpt_last_error(), " failed: cudaError") != NULL);
        CHECK(strstr(dpt_last_error(), "0000:") != NULL);
        CHECK_FAILS(d->ops->stream_sync(d, NULL), DPT_ERR_DEVICE, host);
        CHECK_FAILS(d->ops->event_done(d, s.event, &done), DPT_ERR_DEVICE, host);
        if (relu->release) relu->release(&call);
    }
    close_side(&s);
    CHECK_FAILS(open_as("cuda", 0), DPT_ERR_DEVICE, host);
}

int main(int argc, char **argv) {
    if (strcmp(check_device(), "cpu") == 0) return 77;
    return CHECK_MAIN(argc, argv, "device_cuda", {"no_driver", no_driver}, {"no_device", no_device}, {"shared", shared},
                      {"too_few", too_few}, {"described", described}, {"prohibited", prohibited}, {"chosen", chosen},
                      {"other_thread", other_thread}, {"shared_on_purpose", shared_on_purpose},
                      {"instances", instances}, {"busy", busy}, {"old_device", old_device}, {"automatic", automatic},
                      {"strangers", strangers}, {"options", options}, {"memory", memory}, {"too_much", too_much},
                      {"limit", limit}, {"ordered", ordered}, {"asked_early", asked_early}, {"at_once", at_once},
                      {"recorded", recorded}, {"recorded_beside", recorded_beside}, {"recorded_badly", recorded_badly},
                      {"timed", timed}, {"lost", lost});
}
