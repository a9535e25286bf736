/* select.c: which device this rank uses, and what `dptrain info` says of those there are.
 *
 * The choice: the one device that is visible; else, where there are as many as ranks on this host, the one with the
 * number of the local rank. Every rank then tells the others host, PCI address and unique number, and a device taken
 * twice is refused. Invariant: until that is settled only calls that make no context are used, so that none ever
 * appears on a device that belongs to somebody else. Ranks that failed earlier still take part in the exchange. */
#include <ctype.h>
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cuda/host.h"

/* What ranks tell each other. All zero: this rank has none. */
typedef struct identity {
    char host[64], pci[20], name[100];
    unsigned char uuid[16];
} identity;

static const char *visible(void) {
    static char text[128];
    const char *devices = getenv("CUDA_VISIBLE_DEVICES");
    text[0] = 0;
    if (devices != NULL) snprintf(text, sizeof text, " (CUDA_VISIBLE_DEVICES is \"%.80s\")", devices);
    return text;
}

static dpt_status count_devices(const char *host, int *count) {
    int driver = 0, runtime = 0;
    *count = 0;
    cudaError_t code = cudaGetDeviceCount(count);
    if (code == cudaSuccess && *count > 0) return DPT_OK;
    (void)cudaGetLastError();
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    DPT_TRY(DPT_CUDA(cudaRuntimeGetVersion(&runtime)));
    DPT_CHECK(driver != 0, DPT_ERR_DEVICE,
              "no NVIDIA driver on %s (libcuda.so.1 is missing or does not start); this build needs one for CUDA %d.%d",
              host, runtime / 1000, runtime % 1000 / 10);
    DPT_CHECK(code != cudaErrorInsufficientDriver, DPT_ERR_DEVICE,
              "the NVIDIA driver on %s is too old: it is for CUDA %d.%d, this build needs one for CUDA %d.%d", host,
              driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    DPT_CHECK(code != cudaSuccess && code != cudaErrorNoDevice, DPT_ERR_DEVICE, "no CUDA device on %s%s", host,
              visible());
    *count = 0;
    return dpt_error(DPT_ERR_DEVICE, "the CUDA devices on %s cannot be counted: %s: %s", host, cudaGetErrorName(code),
                     cudaGetErrorString(code));
}

/* DPTRAIN_SHARE_GPU=1: ranks may share a device, to try out several ranks on a host with one. */
static bool may_share(void) {
    const char *share = getenv("DPTRAIN_SHARE_GPU");
    return share != NULL && strcmp(share, "1") == 0;
}

/* Under --gpu-bind=none Slurm names no devices; where it does not hide those of other jobs either, these are visible. */
static void warn_of_strangers(const char *host, int count) {
    const char *given = getenv("SLURM_GPUS_ON_NODE");
    int own = given ? atoi(given) : 0;
    if (own > 0 && own < count && getenv("CUDA_VISIBLE_DEVICES") == NULL)
        dpt_log(DPT_LOG_WARNING,
                "%d CUDA devices are visible on %s, but the job has %d of them, and CUDA_VISIBLE_DEVICES does not say "
                "which: ranks may take another job's; start without --gpu-bind=none, or ask for whole nodes "
                "(--exclusive)",
                count, host, own);
}

static dpt_status choose_index(const dpt_control *control, const char *host, int count, int *index) {
    int rank = control ? control->local_rank : 0, world = control ? control->local_world : 1;
    *index = count == 1 ? 0 : rank;
    if (may_share()) *index = rank % count;
    DPT_CHECK(*index < count && (count == 1 || world <= count || may_share()), DPT_ERR_DEVICE,
              "%d ranks on %s, and %d CUDA devices%s: start at most %d ranks a host, or take device=cpu", world, host,
              count, visible(), count);
    return DPT_OK;
}

static dpt_status read_device(int index, dpt_cuda_device *d, identity *me, size_t *memory) {
    struct cudaDeviceProp p;
    DPT_TRY(DPT_CUDA(cudaGetDeviceProperties(&p, index)));
    DPT_TRY(DPT_CUDA(cudaDeviceGetPCIBusId(d->pci, (int)sizeof d->pci, index)));
    for (char *c = d->pci; *c; c++) *c = (char)tolower((unsigned char)*c);
    d->index = index;
    d->multiprocessors = p.multiProcessorCount;
    d->threads_per_multiprocessor = p.maxThreadsPerMultiProcessor;
    d->capability = 10 * p.major + p.minor;
    d->shared_memory_limit = p.sharedMemPerBlockOptin;
    *memory = p.totalGlobalMem;
    memcpy(me->host, d->host, sizeof me->host);
    memcpy(me->pci, d->pci, sizeof me->pci);
    memcpy(me->uuid, &p.uuid, sizeof me->uuid);
    snprintf(me->name, sizeof me->name, "%.99s", p.name);
    return DPT_OK;
}

static dpt_status find_device(const dpt_control *control, dpt_cuda_device *d, identity *me, size_t *memory) {
    int count, index;
    DPT_TRY(count_devices(d->host, &count));
    warn_of_strangers(d->host, count);
    DPT_TRY(choose_index(control, d->host, count, &index));
    return read_device(index, d, me, memory);
}

/* Instances of one device (MIG) have its address, and numbers of their own. */
static bool same_device(const identity *a, const identity *b) {
    return a->pci[0] != 0 && strcmp(a->host, b->host) == 0 && strcmp(a->pci, b->pci) == 0 &&
           memcmp(a->uuid, b->uuid, sizeof a->uuid) == 0;
}

/* Each rank in turn tells the others; so nothing is allocated that one rank alone could lack. */
static dpt_status check_shared(const dpt_control *control, const identity *mine) {
    char ranks[200] = "";
    int n = 0, sharing = 0;
    for (int r = 0; r < control->world; r++) {
        identity other = *mine;
        DPT_TRY(dpt_cuda_host->broadcast(control, &other, sizeof other, r));
        if (!same_device(mine, &other)) continue;
        if (n < (int)sizeof ranks - 16)
            n += snprintf(ranks + n, sizeof ranks - (size_t)n, "%s%d", sharing > 0 ? ", " : "", r);
        sharing++;
    }
    if (sharing < 2 || may_share()) return DPT_OK;
    const char *instances = strstr(mine->name, "MIG") ? ", each with its own instance in CUDA_VISIBLE_DEVICES" : "";
    return dpt_error(DPT_ERR_DEVICE,
                     "ranks %s would share one device on %s, %s (%s)%s: start one rank a device%s, or take device=cpu",
                     ranks, mine->host, mine->pci, mine->name, visible(), instances);
}

/* Makes the context: from here on the process is seen on the device. */
static dpt_status take_device(const dpt_cuda_device *d, const identity *me) {
    int mode = cudaComputeModeDefault;
    DPT_TRY(DPT_CUDA(cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, d->index)));
    DPT_CHECK(mode != cudaComputeModeProhibited, DPT_ERR_DEVICE,
              "device %s on %s (%s) is in compute mode \"prohibited\": ask for another, or set it by nvidia-smi -c",
              d->pci, d->host, me->name);
    cudaError_t code = cudaSetDevice(d->index);
    if (code == cudaSuccess) code = cudaFree(NULL); /* older runtimes make the context at the first use */
    if (code == cudaSuccess) return DPT_OK;
    (void)cudaGetLastError();
    DPT_CHECK(code != cudaErrorDevicesUnavailable && code != cudaErrorDeviceAlreadyInUse, DPT_ERR_DEVICE,
              "device %s on %s (%s) is taken by another process%s: %s", d->pci, d->host, me->name,
              mode == cudaComputeModeExclusiveProcess ? " (its compute mode is \"exclusive process\")" : "",
              cudaGetErrorString(code));
    return DPT_CUDA(code);
}

dpt_status dpt_cuda_select(const dpt_control *control, dpt_cuda_device *chosen, dpt_device *device) {
    identity me = {.host = ""};
    size_t memory = 0;
    *chosen = (dpt_cuda_device){.index = 0};
    gethostname(chosen->host, sizeof chosen->host - 1);
    dpt_status status = find_device(control, chosen, &me, &memory);
    if (control != NULL && control->world > 1) {
        dpt_status shared = check_shared(control, &me);
        if (status == DPT_OK) status = shared;
    }
    DPT_TRY(status);
    dpt_cuda_name_device(chosen, me.name);
    snprintf(device->model, sizeof device->model, "%.63s", me.name);
    snprintf(device->pci, sizeof device->pci, "%.19s", me.pci);
    snprintf(device->name, sizeof device->name, "cuda %d (%s, %s, %.1f GiB)", chosen->index, device->model, device->pci,
             (double)memory / 1073741824);
    return take_device(chosen, &me);
}

static void describe_cudnn(char *text, size_t bytes) {
    void *object = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    size_t (*get_version)(void) = NULL;
    void *symbol = object ? dlsym(object, "cudnnGetVersion") : NULL;
    memcpy(&get_version, &symbol, sizeof symbol);
    size_t version = get_version ? get_version() : 0;
    if (version == 0)
        snprintf(text, bytes, "no cuDNN (libcudnn.so.9 is missing)");
    else
        snprintf(text, bytes, "cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    if (object) dlclose(object);
}

static int describe_libraries(char *text, size_t bytes) {
    int driver = 0, runtime = 0;
    size_t lt = cublasLtGetVersion();
    char dnn[64], nccl[600];
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    int n = snprintf(text, bytes, "runtime %d.%d, built for %s", runtime / 1000, runtime % 1000 / 10,
                     dpt_cuda_architectures());
    n += snprintf(text + n, bytes - (size_t)n, driver ? "; driver for CUDA %d.%d" : "; no driver", driver / 1000,
                  driver % 1000 / 10);
    n += snprintf(text + n, bytes - (size_t)n, "; cuBLASLt %zu.%zu", lt / 10000, lt / 100 % 100);
    describe_cudnn(dnn, sizeof dnn);
    dpt_nccl_describe(nccl, sizeof nccl);
    return n + snprintf(text + n, bytes - (size_t)n, "; %s; %s\n", dnn, nccl);
}

dpt_status dpt_cuda_describe(char *text, size_t bytes) {
    char line[1024];
    dpt_cuda_device d = {.index = 0};
    int count = 0;
    describe_libraries(line, sizeof line);
    size_t used = (size_t)snprintf(text, bytes, "%s", line);
    gethostname(d.host, sizeof d.host - 1);
    DPT_TRY(count_devices(d.host, &count));
    for (int i = 0; i < count && used < bytes; i++) {
        identity me = {.host = ""};
        size_t memory = 0;
        DPT_TRY(read_device(i, &d, &me, &memory));
        used += (size_t)snprintf(text + used, bytes - used, "device %d: %s, %s, %.1f GiB, compute capability %d.%d\n",
                                 i, me.name, d.pci, (double)memory / 1073741824, d.capability / 10, d.capability % 10);
    }
    return DPT_OK;
}
