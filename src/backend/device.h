/* device.h: the device interface: memory, streams, events, copies. Asynchronous: what is queued on a stream runs in its
 * order; the CPU device runs it inline, so that there everything has happened when the call returns. */
#ifndef DPT_BACKEND_DEVICE_H
#define DPT_BACKEND_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct dpt_stream dpt_stream;
typedef struct dpt_event dpt_event;
typedef struct dpt_recording dpt_recording; /* a list of queued work that can be queued again: a CUDA graph */
typedef struct dpt_device dpt_device;

/* What memory is for; the device may place it accordingly (registered for the network, pinned). */
typedef enum dpt_purpose {
    DPT_FOR_COMPUTE, /* activations, workspaces, constants, state */
    DPT_FOR_COMM,    /* gradients and what else collectives touch */
    DPT_FOR_STAGING, /* host memory that copies to and from the device use: pinned */
    DPT_PURPOSE_COUNT
} dpt_purpose;

/* How programs are recorded after their first runs, where the device can. */
typedef enum dpt_record {
    DPT_RECORD_OFF,
    DPT_RECORD_AUTO,    /* as is faster */
    DPT_RECORD_WHOLE,   /* collectives inside, where the communicator can be recorded */
    DPT_RECORD_SEGMENTS /* collectives between */
} dpt_record;

/* A stream of NULL means: after all work queued so far, and done when the call returns. With a stream, host memory
 * belongs to the copy until the stream has passed it. */
typedef struct dpt_device_ops {
    dpt_status (*alloc)(dpt_device *device, size_t bytes, dpt_purpose purpose, void **memory); /* zeroed */
    void (*release)(dpt_device *device, void *memory, size_t bytes, dpt_purpose purpose);
    dpt_status (*stream_create)(dpt_device *device, int priority, dpt_stream **stream);
    void (*stream_destroy)(dpt_device *device, dpt_stream *stream);
    dpt_status (*stream_wait)(dpt_device *device, dpt_stream *stream, dpt_event *event);
    dpt_status (*stream_sync)(dpt_device *device, dpt_stream *stream);
    dpt_status (*event_create)(dpt_device *device, dpt_event **event);
    void (*event_destroy)(dpt_device *device, dpt_event *event);
    dpt_status (*event_record)(dpt_device *device, dpt_event *event, dpt_stream *stream);
    /* Whether the stream has passed the event's last record; never waits. Reports what failed on the device before. */
    dpt_status (*event_done)(dpt_device *device, dpt_event *event, bool *done);
    dpt_status (*copy_in)(dpt_device *device, void *to, const void *host, size_t bytes, dpt_stream *stream);
    dpt_status (*copy_out)(dpt_device *device, void *host, const void *from, size_t bytes, dpt_stream *stream);
    dpt_status (*copy)(dpt_device *device, void *to, const void *from, size_t bytes, dpt_stream *stream);
    dpt_status (*zero)(dpt_device *device, void *to, size_t bytes, dpt_stream *stream);
    /* callers: a stream of the program's caller, in the vendor's terms (cudaStream_t). before: our stream waits for
     * what is queued there so far; else theirs waits for ours. NULL where the host writes the device's memory. */
    dpt_status (*join)(dpt_device *device, dpt_stream *stream, void *callers, bool before);
    /* Bytes free and in all, of device memory. */
    dpt_status (*memory_info)(dpt_device *device, size_t *available, size_t *total);
    /* What is queued on the stream (and on streams that wait for its events and are waited for) between begin and end
     * becomes a recording instead of being run; replay queues it whole. NULL where the device has no recordings. */
    dpt_status (*record_begin)(dpt_device *device, dpt_stream *stream);
    dpt_status (*record_end)(dpt_device *device, dpt_stream *stream, dpt_recording **recording);
    dpt_status (*replay)(dpt_device *device, dpt_recording *recording, dpt_stream *stream);
    void (*recording_destroy)(dpt_device *device, dpt_recording *recording);
    /* For profiles: an event that also takes the time; the seconds between two that the stream has passed. NULL: what
     * is queued is done at once, and the host's clock serves. */
    dpt_status (*timer_create)(dpt_device *device, dpt_event **timer);
    dpt_status (*timer_elapsed)(dpt_device *device, dpt_event *begin, dpt_event *end, double *seconds);
    /* Names what the host does until mark_end, for a profiler of the vendor's (NVTX). NULL: there is none. */
    void (*mark_begin)(dpt_device *device, const char *name);
    void (*mark_end)(dpt_device *device);
    /* In place of an exchange: `blocks` thread blocks read and write the bytes until `seconds` have passed on the
     * stream. NULL: the host waits instead. */
    dpt_status (*occupy)(dpt_device *device, dpt_stream *stream, double seconds, int blocks, void *data, size_t bytes);
    void (*close)(dpt_device *device);
} dpt_device_ops;

struct dpt_device {
    const dpt_device_ops *ops;
    char name[128];      /* "cpu (AVX-512, 1 thread)" */
    char model[64];      /* "NVIDIA H200"; empty where there are no models */
    char pci[20];        /* "0000:0f:00.0"; empty: not on a bus */
    int threads;         /* compute threads of this rank */
    bool host_memory;    /* the host may read device memory directly, work is done when queued */
    dpt_record record;
    bool sync_each;      /* for debugging: wait after every operation, so that the one that failed is named */
    bool deterministic;  /* choose algorithms by rule, never by timing */
    size_t memory_limit; /* bytes of device memory that may be allocated here; 0: what there is */
    size_t allocated[DPT_PURPOSE_COUNT]; /* bytes now allocated, by purpose */
    void *state;
};

static inline void dpt_mark_begin(dpt_device *device, const char *name) {
    if (device->ops->mark_begin) device->ops->mark_begin(device, name);
}
static inline void dpt_mark_end(dpt_device *device) {
    if (device->ops->mark_end) device->ops->mark_end(device);
}

/* Arena slots start at multiples of this many bytes, on every device. */
enum { DPT_ALIGNMENT = 256 };
static inline size_t dpt_align(size_t bytes) { return (bytes + DPT_ALIGNMENT - 1) / DPT_ALIGNMENT * DPT_ALIGNMENT; }

#endif
