/* context.h: what one rank has: a communicator, a device, threads.
 *
 *   dpt_context *ctx;
 *   DPT_TRY(dpt_context_create(MPI_COMM_WORLD, NULL, &ctx));
 *   ...
 *   dpt_context_destroy(&ctx);
 *
 * The caller has initialised MPI (MPI_THREAD_SINGLE suffices) and finalises it after the context is gone. The context
 * never calls MPI_Init or exit, installs no signal handler and leaves affinity and OpenMP settings as they are. One
 * thread at a time may use a context and what was made from it. */
#ifndef DPTRAIN_CONTEXT_H
#define DPTRAIN_CONTEXT_H

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include "dptrain/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dpt_context dpt_context;

typedef struct dpt_context_options {
    size_t struct_size;
    const char *device; /* "auto", "cpu" or "cuda" */
    int threads;        /* compute threads of this rank; 0: OpenMP's own setting */
    int comm_thread;    /* 1: sum gradients on a thread of its own, 0: inline, -1: by cores per rank */
    int graph;          /* 1: a program becomes one CUDA graph after its first runs; 0: each operation is queued */
    int sync;           /* 1: wait after every operation, so that one that fails is named; then no graphs are made */
    int deterministic;  /* 1: algorithms of library calls are chosen by rule, never by timing */
    double memory;      /* most device memory to take: up to 1 a share of the device's, above that bytes; 0: no limit */
    /* Called when a peer is lost while this rank may be blocked inside MPI; NULL: the call may block forever. */
    void (*on_fatal)(void *user, dpt_status status, const char *message);
    void *user;
} dpt_context_options;

/* Sets struct_size and the defaults: "auto", 0, -1, graphs, no limit, no callback. Local. */
DPT_API void dpt_context_options_init(dpt_context_options *options);

/* Duplicates comm twice (gradients, control) and opens the device. options may be NULL: the defaults.
 * Collective over comm.
 * "auto" is "cuda" where that backend opens and sees a device, else "cpu"; the log says why at debug level.
 * DPT_ERR_ARG: bad options, MPI not initialised. DPT_ERR_DEVICE: the device cannot be opened (no driver, one too old,
 * fewer devices than ranks on this host, one device for two ranks, taken by another process, no code for it).
 * DPT_ERR_CONFIG: ranks found different backends. DPT_ERR_PEER: MPI failed. */
DPT_API dpt_status dpt_context_create(MPI_Comm comm, const dpt_context_options *options, dpt_context **context);

/* Frees the communicators and the device; takes NULL, nulls *context. Collective. */
DPT_API void dpt_context_destroy(dpt_context **context);

/* Local. */
DPT_API int dpt_context_rank(const dpt_context *context);
DPT_API int dpt_context_world(const dpt_context *context);
/* "cpu (AVX-512, 2 threads)". Borrowed. Local. */
DPT_API const char *dpt_context_device(const dpt_context *context);

#ifdef __cplusplus
}
#endif
#endif
