/* device_cpu.c: see device_cpu.h. Everything is done when a call returns, so streams and events carry no state: one
 * static object stands for all of them. */
#include "backend/device_cpu.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/host_memory.h"
#include "base/memory.h"

struct dpt_stream {
    int unused;
};
struct dpt_event {
    int unused;
};
static dpt_stream the_stream;
static dpt_event the_event;

static dpt_status cpu_alloc(dpt_device *device, size_t bytes, dpt_purpose purpose, void **memory) {
    *memory = dpt_alloc_aligned(bytes, DPT_ALIGNMENT);
    DPT_CHECK_ALLOC(*memory);
    memset(*memory, 0, bytes);
    device->allocated[purpose] += bytes;
    return DPT_OK;
}

static void cpu_release(dpt_device *device, void *memory, size_t bytes, dpt_purpose purpose) {
    if (memory == NULL) return;
    device->allocated[purpose] -= bytes;
    dpt_free(memory);
}

static dpt_status cpu_stream_create(dpt_device *device, int priority, dpt_stream **stream) {
    (void)device, (void)priority;
    *stream = &the_stream;
    return DPT_OK;
}
static void cpu_stream_destroy(dpt_device *device, dpt_stream *stream) { (void)device, (void)stream; }
static dpt_status cpu_stream_wait(dpt_device *device, dpt_stream *stream, dpt_event *event) {
    (void)device, (void)stream, (void)event;
    return DPT_OK;
}
static dpt_status cpu_stream_sync(dpt_device *device, dpt_stream *stream) {
    (void)device, (void)stream;
    return DPT_OK;
}
static dpt_status cpu_event_create(dpt_device *device, dpt_event **event) {
    (void)device;
    *event = &the_event;
    return DPT_OK;
}
static void cpu_event_destroy(dpt_device *device, dpt_event *event) { (void)device, (void)event; }
static dpt_status cpu_event_record(dpt_device *device, dpt_event *event, dpt_stream *stream) {
    (void)device, (void)event, (void)stream;
    return DPT_OK;
}

static dpt_status cpu_event_done(dpt_device *device, dpt_event *event, bool *done) {
    (void)device, (void)event;
    *done = true;
    return DPT_OK;
}

static dpt_status cpu_memory_info(dpt_device *device, size_t *available, size_t *total) {
    dpt_host_memory("", available, total);
    size_t taken = 0, limit = device->memory_limit;
    for (int i = 0; i < DPT_PURPOSE_COUNT; i++) taken += device->allocated[i];
    if (limit != 0 && *available > limit - (taken < limit ? taken : limit))
        *available = limit - (taken < limit ? taken : limit);
    return DPT_OK;
}

static dpt_status cpu_copy(dpt_device *device, void *to, const void *from, size_t bytes, dpt_stream *stream) {
    (void)device, (void)stream;
    if (bytes) memcpy(to, from, bytes);
    return DPT_OK;
}

static dpt_status cpu_zero(dpt_device *device, void *to, size_t bytes, dpt_stream *stream) {
    (void)device, (void)stream;
    if (bytes) memset(to, 0, bytes);
    return DPT_OK;
}

static void cpu_close(dpt_device *device) { device->ops = NULL; }

static const dpt_device_ops cpu_ops = {
    .alloc = cpu_alloc,
    .release = cpu_release,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_wait = cpu_stream_wait,
    .stream_sync = cpu_stream_sync,
    .event_create = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_record,
    .event_done = cpu_event_done,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .memory_info = cpu_memory_info,
    .close = cpu_close,
};

static const char *vector_units(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return "AVX-512";
    if (__builtin_cpu_supports("avx2")) return "AVX2";
#endif
    return "baseline vectors";
}

dpt_status dpt_cpu_device_open(const dpt_control *control, int threads, dpt_device *device) {
    (void)control;
    if (threads <= 0) threads = omp_get_max_threads();
    *device = (dpt_device){.ops = &cpu_ops, .threads = threads, .host_memory = true};
    snprintf(device->name, sizeof device->name, "cpu (%s, %d thread%s)", vector_units(), threads,
             threads == 1 ? "" : "s");
    return DPT_OK;
}
