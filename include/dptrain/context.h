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

/* What the watchdog has found. Texts are borrowed for the call. */
typedef struct dpt_failure {
    dpt_status status; /* DPT_ERR_PEER, DPT_ERR_DEVICE (NCCL failed), DPT_ERR_INTERNAL (ranks out of step) */
    int rank;          /* the cause; -1: not known */
    const char *host;  /* its host, "" if not known */
    int64_t step;      /* that the rank was last known in; -1: none */
    const char *phase; /* "train" */
    const char *message;
} dpt_failure;

typedef struct dpt_context_options {
    size_t struct_size;
    const char *device; /* "auto", "cpu" or "cuda" */
    int threads;        /* compute threads of this rank; 0: OpenMP's own setting */
    int comm_thread;    /* 1: sum gradients on a thread of its own, 0: inline, -1: by cores per rank */
    int graph;          /* a program becomes CUDA graphs after its first runs: 0 never, 1 one or several as measured,
                           2 one with its collectives inside, 3 several with them between */
    int sync;           /* 1: wait after every operation, so that one that fails is named; then no graphs are made */
    int deterministic;  /* 1: algorithms of library calls are chosen by rule, never by timing */
    double memory;      /* most device memory to take: up to 1 a share of the device's, above that bytes; 0: no limit */
    const char *comm;   /* what sums gradients: "auto" (NCCL on GPUs, MPI else), "nccl" or "mpi" */
    int comm_bf16;      /* 1: gradients travel and are added in bf16, half the bytes */
    int comm_ctas;      /* most thread blocks that a collective of NCCL takes from the computation; 0: chosen */
    int64_t comm_check; /* steps between comparisons of the sums with MPI's; 0: none */
    double comm_start_s;        /* seconds until all ranks must have joined NCCL; 120 */
    const char *emulate;        /* take the time of this fabric in place of the exchange (docs/config.md); NULL: none */
    const char *interface_name; /* network interface of NCCL's and the watchdog's sockets; NULL: chosen */
    int watchdog;               /* 1: look out for lost, stopped and stuck ranks, where there are several */
    double silence_s;           /* a rank that has said nothing for so long is stopped or cut off; 20 */
    double stuck_s;             /* ranks that wait for another that makes no progress in a step end after so long; 20 */
    double limit_s;             /* the same while it reads, saves, evaluates, or is in your own code; 600 */
    /* Called on a thread of the watchdog's when a rank is lost, stopped or stuck, or ranks disagree on the order of
     * their collectives, while this rank may be blocked for good: NCCL has been aborted by then, MPI cannot be. Should
     * end the process. NULL: calls that wait for the lost rank may block forever. */
    void (*on_fatal)(void *user, const dpt_failure *failure);
    void *user;
} dpt_context_options;

/* Sets struct_size and the defaults: the defaults named above; "auto" devices, no memory limit, no callback. Local. */
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
