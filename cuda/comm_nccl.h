/* comm_nccl.h: NCCL's communicator as its files share it: comm_open.c opens it together with the other ranks, comm.c
 * runs collectives, comm_end.c ends it, whole or broken. */
#ifndef DPT_CUDA_COMM_NCCL_H
#define DPT_CUDA_COMM_NCCL_H

#include <pthread.h>

#include "cuda/host.h"
#include "cuda/nccl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tickets that have an event of their own; an older one waits for the one that took its place, which comes later on the
 * same stream. Regions that may be attached; collectives of a group that go out at once; variables that are set. */
enum { DPT_COMM_TICKETS = 256, DPT_COMM_REGIONS = 16, DPT_COMM_GROUPED = 64, DPT_COMM_SETTINGS = 8 };

/* Memory that NCCL knows: through a window, or registered; neither where it cannot be. */
typedef struct dpt_comm_memory {
    char *memory;
    size_t bytes;
    void *window, *registration;
} dpt_comm_memory;

/* Attached memory, and with sum_bf16 the place where its sums are made: half its bytes. */
typedef struct dpt_comm_region {
    dpt_comm_memory full, half;
} dpt_comm_region;

/* A collective of a group that is open. */
typedef struct dpt_comm_grouped {
    uint64_t ticket;
    float *full; /* NULL: nothing is converted back */
    void *half;
    size_t count; /* that are converted back */
} dpt_comm_grouped;

typedef struct dpt_comm_abortion dpt_comm_abortion;

typedef struct dpt_nccl_comm {
    dpt_device *device;
    int device_index;
    dpt_control control; /* for what attach agrees on */
    const dpt_nccl *nccl;
    dpt_stream *stream;
    dpt_event *fork, *done[DPT_COMM_TICKETS];
    uint64_t tickets;
    uint64_t *counters; /* [2] entered, finished: host memory that the device counts in */
    uint64_t first;     /* number of the first collective, less 1; counters count from there */
    bool sum_bf16, deterministic, first_known;
    dpt_comm_grouped grouped[DPT_COMM_GROUPED];
    int n_grouped;
    dpt_comm_region region[DPT_COMM_REGIONS];
    char where[96]; /* "rank 3 on node7" */
    const char *setting[DPT_COMM_SETTINGS];
    int n_setting;
    dpt_comm_abortion *abortion; /* made when opened: nothing is allocated after a failure */
    pthread_mutex_t lock;        /* of what follows: the watchdog asks and aborts from its own thread */
    dpt_nccl_handle *handle;     /* NULL: not open, or aborted. Used within the lock, where no call waits for a rank */
    bool grouping;               /* a group of NCCL's is open, which may hold the handle */
    dpt_status status;           /* the first failure */
    char message[640];
} dpt_nccl_comm;

/* comm_open.c: see dpt_backend (backend.h). */
dpt_status dpt_nccl_comm_open(const dpt_control *control, dpt_device *device, const dpt_comm_options *options,
                              dpt_comm *comm);
/* What NCCL said last, what it may mean here and what helps. Returns text. */
const char *dpt_nccl_said(const dpt_nccl *nccl, dpt_nccl_handle *handle, dpt_nccl_result result, char *text,
                          size_t bytes);

/* comm.c */
extern const dpt_comm_ops dpt_nccl_comm_ops;
/* The result of a call on this communicator, once NCCL has done it; returns early where the communicator is aborted. */
dpt_nccl_result dpt_nccl_settle(dpt_nccl_comm *m, dpt_nccl_result result);
/* A failure: the communicator has failed before. */
dpt_status dpt_nccl_usable(dpt_nccl_comm *m);
/* Ends the group that is open, whatever has become of the communicator. */
dpt_nccl_result dpt_nccl_end_group(dpt_nccl_comm *m);
/* Keeps the first failure: the communicator is not used again. Returns the status that stands. */
dpt_status dpt_nccl_failed(dpt_nccl_comm *m, dpt_nccl_result result, const char *during);

/* comm_memory.c: what attach and detach do. */
dpt_status dpt_nccl_attach(dpt_comm *comm, void *memory, size_t bytes);
size_t dpt_nccl_attach_bytes(const dpt_comm *comm, size_t bytes);
void dpt_nccl_detach(dpt_comm *comm, void *memory);
void dpt_nccl_detach_all(dpt_nccl_comm *m);
/* Where the bf16 sums of attached f32 memory are made, and how many of the first elements are in that memory; 0: none.
 */
size_t dpt_nccl_rounded(const dpt_nccl_comm *m, const void *data, size_t count, void **half);

/* comm_end.c */
dpt_status dpt_nccl_abortion_create(dpt_comm_abortion **abortion);
void dpt_nccl_abort(dpt_comm *comm, double limit_s);
void dpt_nccl_close(dpt_comm *comm);

/* comm.cu: queued on the stream. */
dpt_status dpt_comm_count(uint64_t *counter, uint64_t by, dpt_stream *stream);
dpt_status dpt_comm_to_bf16(const float *from, void *to, size_t count, dpt_stream *stream);
dpt_status dpt_comm_from_bf16(const void *from, float *to, size_t count, dpt_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
