/* backend.h: the plug-in table: a backend is a name, a device, a communicator and a kernel for every op. The CPU fills
 * it in (ops/cpu_backend.c); CUDA's stands in libdptrain_cuda.so, opened at run time (plugin.c) and refused unless its
 * ABI number is ours. */
#ifndef DPT_BACKEND_BACKEND_H
#define DPT_BACKEND_BACKEND_H

#include "backend/comm.h"
#include "backend/device.h"
#include "backend/kernel.h"
#include "backend/placement.h"
#include "backend/watchdog.h"

enum { DPT_BACKEND_ABI = 3 };

/* Another device of this host, as a device sees it. */
typedef struct dpt_peer {
    bool visible; /* to this process */
    bool access;  /* one can read the other's memory */
    bool nvlink;  /* by a link of their own */
} dpt_peer;

typedef struct dpt_backend {
    uint32_t abi;                     /* DPT_BACKEND_ABI */
    uint32_t n_kernels;               /* ops that it knows: must be ours */
    const char *name;                 /* "cpu", "cuda" */
    const dpt_kernel *const *kernels; /* by op number */
    /* Collective: the choice of a device depends on the local ranks. */
    dpt_status (*device_open)(const dpt_control *control, int threads, dpt_device *device);
    /* The backend's own communicator, as dpt_comm_open. NULL: MPI sums. Collective; the status is the same on all ranks.
     * DPT_ERR_UNSUPPORTED: it cannot serve here (the message says why), MPI can. DPT_ERR_PEER: ranks have not come
     * within the limit, so that no collective call may follow. */
    dpt_status (*comm_open)(const dpt_control *control, dpt_device *device, const dpt_comm_options *options,
                            dpt_comm *comm);
    /* How this rank's device reaches another of its host, by PCI address; no context is made there. NULL: there is
     * nothing to know. Local. */
    dpt_status (*peer)(dpt_device *device, const char *pci, dpt_peer *peer);
    /* One line about versions and devices, for `dptrain info`: opens no device; says what is missing. */
    dpt_status (*describe)(char *text, size_t bytes);
} dpt_backend;

/* What a plug-in may call of the library: it links none of it. */
typedef struct dpt_host {
    uint32_t abi; /* DPT_BACKEND_ABI */
    dpt_status (*error)(dpt_status code, const char *message);
    dpt_status (*error_prefix)(dpt_status code, const char *prefix);
    const char *(*last_error)(void);
    void (*log)(dpt_log_level level, const char *message);
    void *(*alloc)(size_t bytes);
    void (*release)(void *memory);
    uint64_t (*random_key)(const char *name, uint64_t seed);
    /* dpt_control_gather and so on. Collective. */
    dpt_status (*gather)(const dpt_control *control, const void *mine, size_t bytes, void *all);
    dpt_status (*broadcast)(const dpt_control *control, void *data, size_t bytes, int root);
    dpt_status (*agree)(const dpt_control *control, dpt_status mine);
    dpt_status (*meet)(const dpt_control *control, double limit_s, uint8_t *came);
} dpt_host;

/* The symbol that a plug-in exports: `const dpt_backend *dpt_backend_table(const dpt_host *host)`; host is borrowed
 * until the process ends. NULL: the plug-in cannot work with this host. */
#define DPT_BACKEND_SYMBOL "dpt_backend_table"
typedef const dpt_backend *(*dpt_backend_table_fn)(const dpt_host *host);

/* Opens a plug-in by file name and checks its table against n_kernels. DPT_ERR_DEVICE: not there, no table, another
 * ABI number (both are named). The object stays open until the process ends. Local. */
dpt_status dpt_plugin_open(const char *file, uint32_t n_kernels, const dpt_backend **backend);

struct dpt_context {
    dpt_control control;
    const dpt_backend *backend;
    dpt_device device;
    dpt_comm comm;
    dpt_placement placement;
    dpt_position *position;
    dpt_watchdog *watchdog; /* NULL: one rank alone, or not wanted */
};

#endif
