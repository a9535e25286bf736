/* comm_emulated.c: see comm_emulated.h.
 *
 * On a GPU a kernel takes the thread blocks of a collective and moves the buffer's bytes through memory until the time
 * is over, on a stream of its own, with the events that a real communicator has: so order, contention and the exposed
 * end are real. On the CPU a collective is the moment at which it would end: they follow each other like on a wire, and
 * wait sleeps. Invariant: ticket t uses slot t % SLOTS; a slot that is used again stands for a later collective, which
 * ends after all before it. */
#include "backend/comm_emulated.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

enum { SLOTS = 256, DEFAULT_CTAS = 16, HIGH_PRIORITY = 1 };
static const double awake_s = 100e-6; /* the end of a delay is awaited without sleeping */

typedef struct emulated_comm {
    dpt_fabric fabric;
    dpt_device *device;
    int ctas;
    bool overlap;
    uint64_t started;
    /* a device that can be occupied */
    dpt_stream *stream;
    dpt_event *before, *done[SLOTS];
    /* others */
    double end_s[SLOTS], last_end_s;
} emulated_comm;

static void sleep_until(double end_s) {
    for (double left_s; (left_s = end_s - dpt_clock_s()) > 0;) {
        struct timespec pause = {.tv_nsec = (long)(1e9 * (left_s > 0.5 ? 0.5 : left_s - awake_s))};
        if (left_s > 2 * awake_s) nanosleep(&pause, NULL);
    }
}

static dpt_status occupy(emulated_comm *e, double seconds, void *data, size_t bytes, dpt_stream *stream) {
    const dpt_device_ops *ops = e->device->ops;
    DPT_TRY(ops->event_record(e->device, e->before, stream));
    DPT_TRY(ops->stream_wait(e->device, e->stream, e->before));
    DPT_TRY(ops->occupy(e->device, e->stream, seconds, e->ctas, data, bytes));
    return ops->event_record(e->device, e->done[e->started % SLOTS], e->stream);
}

static void delay(emulated_comm *e, double seconds) {
    double now_s = dpt_clock_s();
    e->last_end_s = (now_s > e->last_end_s ? now_s : e->last_end_s) + seconds;
    e->end_s[e->started % SLOTS] = e->last_end_s;
    if (!e->overlap) sleep_until(e->last_end_s);
}

static dpt_status emulated_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                                 dpt_stream *stream, uint64_t *ticket) {
    emulated_comm *e = comm->state;
    size_t bytes = dpt_collective_bytes(what, count, dtype, comm->world);
    double seconds = dpt_fabric_seconds(&e->fabric, what, bytes);
    *ticket = ++e->started;
    if (e->stream) return occupy(e, seconds, data, bytes, stream);
    delay(e, seconds);
    return DPT_OK;
}

static dpt_status emulated_wait(dpt_comm *comm, uint64_t ticket, dpt_stream *stream) {
    emulated_comm *e = comm->state;
    if (e->stream) return e->device->ops->stream_wait(e->device, stream, e->done[ticket % SLOTS]);
    sleep_until(e->end_s[ticket % SLOTS]);
    return DPT_OK;
}

static void emulated_close(dpt_comm *comm) {
    emulated_comm *e = comm->state;
    comm->state = NULL;
    comm->ops = NULL;
    if (e == NULL) return;
    const dpt_device_ops *ops = e->device->ops;
    if (e->stream) (void)ops->stream_sync(e->device, e->stream);
    for (int i = 0; i < SLOTS; i++)
        if (e->done[i]) ops->event_destroy(e->device, e->done[i]);
    if (e->before) ops->event_destroy(e->device, e->before);
    if (e->stream) ops->stream_destroy(e->device, e->stream);
    dpt_free(e);
}

static const dpt_comm_ops emulated_ops = {.start = emulated_start, .wait = emulated_wait, .close = emulated_close};

static dpt_status make_stream(emulated_comm *e) {
    dpt_device *device = e->device;
    if (device->ops->occupy == NULL) return DPT_OK;
    DPT_TRY(device->ops->event_create(device, &e->before));
    for (int i = 0; i < SLOTS; i++) DPT_TRY(device->ops->event_create(device, &e->done[i]));
    return device->ops->stream_create(device, HIGH_PRIORITY, &e->stream);
}

dpt_status dpt_emulated_comm_open(const dpt_control *control, dpt_device *device, const char *fabric, int ctas,
                                  bool overlap, dpt_comm *comm) {
    *comm = (dpt_comm){.ops = &emulated_ops, .rank = control->rank, .world = control->world};
    emulated_comm *e = dpt_alloc_zero(1, sizeof *e);
    DPT_CHECK_ALLOC(e);
    comm->state = e;
    e->device = device;
    e->ctas = ctas > 0 ? ctas : DEFAULT_CTAS;
    e->overlap = overlap;
    DPT_TRY(dpt_fabric_parse(fabric, &e->fabric));
    DPT_TRY(make_stream(e));
    comm->overlaps = e->stream != NULL || overlap;
    snprintf(comm->name, sizeof comm->name, "nothing: %s is emulated", e->fabric.name);
    dpt_log(DPT_LOG_WARNING,
            "the exchange of gradients is emulated (%s: %.4g us + %.4g GB/s): nothing is summed over ranks, results "
            "are good for timing alone",
            e->fabric.name, 1e6 * e->fabric.latency_s, e->fabric.bandwidth / 1e9);
    return DPT_OK;
}

const dpt_fabric *dpt_emulated_comm_fabric(const dpt_comm *comm) {
    return comm->ops == &emulated_ops ? &((const emulated_comm *)comm->state)->fabric : NULL;
}
