/* staging.c: see staging.h. */
#include "program/staging.h"

#include "base/clock.h"
#include "base/memory.h"

dpt_status dpt_event_wait(dpt_device *device, dpt_event *event) {
    for (int turn = 0;; turn++) {
        bool done = false;
        DPT_TRY(device->ops->event_done(device, event, &done));
        if (done) return DPT_OK;
        dpt_clock_relax(turn);
    }
}

/* ---- in ---- */

typedef struct in_slot {
    void *host, *memory;
    dpt_event *arrived; /* on the copy stream: the last piece is on the device */
    dpt_event *moved;   /* on the compute stream: the slot may be filled again */
    bool used;
} in_slot;

struct dpt_inbox {
    dpt_device *device;
    size_t slot_bytes;
    dpt_stream *compute, *copy;
    in_slot slot[DPT_STAGING_SLOTS];
    int at; /* the slot that is open or comes next */
    bool open;
};

static dpt_status in_slot_make(dpt_inbox *b, in_slot *s) {
    dpt_device *d = b->device;
    DPT_TRY(d->ops->alloc(d, b->slot_bytes, DPT_FOR_STAGING, &s->host));
    DPT_TRY(d->ops->alloc(d, b->slot_bytes, DPT_FOR_COMPUTE, &s->memory));
    DPT_TRY(d->ops->event_create(d, &s->arrived));
    return d->ops->event_create(d, &s->moved);
}

dpt_status dpt_inbox_create(dpt_device *device, size_t slot_bytes, dpt_stream *stream, dpt_inbox **inbox) {
    *inbox = NULL;
    dpt_inbox *b = dpt_alloc_zero(1, sizeof *b);
    DPT_CHECK_ALLOC(b);
    *b = (dpt_inbox){.device = device, .slot_bytes = slot_bytes, .compute = stream};
    dpt_status status = device->ops->stream_create(device, 0, &b->copy);
    for (int i = 0; i < DPT_STAGING_SLOTS && status == DPT_OK; i++) status = in_slot_make(b, &b->slot[i]);
    if (status != DPT_OK) dpt_inbox_destroy(&b);
    *inbox = b;
    return status;
}

void dpt_inbox_destroy(dpt_inbox **inbox) {
    dpt_inbox *b = inbox ? *inbox : NULL;
    if (b == NULL) return;
    *inbox = NULL;
    dpt_device *d = b->device;
    for (int i = 0; i < DPT_STAGING_SLOTS; i++) {
        in_slot *s = &b->slot[i];
        if (s->arrived) d->ops->event_destroy(d, s->arrived);
        if (s->moved) d->ops->event_destroy(d, s->moved);
        d->ops->release(d, s->host, b->slot_bytes, DPT_FOR_STAGING);
        d->ops->release(d, s->memory, b->slot_bytes, DPT_FOR_COMPUTE);
    }
    if (b->copy) d->ops->stream_destroy(d, b->copy);
    dpt_free(b);
}

dpt_status dpt_inbox_open(dpt_inbox *b, char **slot) {
    in_slot *s = &b->slot[b->at];
    if (!b->open && s->used) DPT_TRY(dpt_event_wait(b->device, s->moved));
    b->open = true;
    *slot = s->host;
    return DPT_OK;
}

dpt_status dpt_inbox_send(dpt_inbox *b, size_t offset, size_t bytes) {
    in_slot *s = &b->slot[b->at];
    if (bytes == 0) return DPT_OK;
    return b->device->ops->copy_in(b->device, (char *)s->memory + offset, (char *)s->host + offset, bytes, b->copy);
}

dpt_status dpt_inbox_deliver(dpt_inbox *b, void *to, size_t bytes) {
    dpt_device *d = b->device;
    in_slot *s = &b->slot[b->at];
    DPT_TRY(d->ops->event_record(d, s->arrived, b->copy));
    DPT_TRY(d->ops->stream_wait(d, b->compute, s->arrived));
    DPT_TRY(d->ops->copy(d, to, s->memory, bytes, b->compute));
    DPT_TRY(d->ops->event_record(d, s->moved, b->compute));
    s->used = true;
    b->open = false;
    b->at = (b->at + 1) % DPT_STAGING_SLOTS;
    return DPT_OK;
}

/* ---- out ---- */

typedef struct out_slot {
    void *host;
    dpt_event *arrived;
} out_slot;

struct dpt_outbox {
    dpt_device *device;
    size_t slot_bytes;
    dpt_stream *compute;
    out_slot slot[DPT_STAGING_SLOTS];
    int64_t posted, collected;
};

dpt_status dpt_outbox_create(dpt_device *device, size_t slot_bytes, dpt_stream *stream, dpt_outbox **outbox) {
    *outbox = NULL;
    dpt_outbox *b = dpt_alloc_zero(1, sizeof *b);
    DPT_CHECK_ALLOC(b);
    *b = (dpt_outbox){.device = device, .slot_bytes = slot_bytes, .compute = stream};
    dpt_status status = DPT_OK;
    for (int i = 0; i < DPT_STAGING_SLOTS && status == DPT_OK; i++) {
        status = device->ops->alloc(device, slot_bytes, DPT_FOR_STAGING, &b->slot[i].host);
        if (status == DPT_OK) status = device->ops->event_create(device, &b->slot[i].arrived);
    }
    if (status != DPT_OK) dpt_outbox_destroy(&b);
    *outbox = b;
    return status;
}

void dpt_outbox_destroy(dpt_outbox **outbox) {
    dpt_outbox *b = outbox ? *outbox : NULL;
    if (b == NULL) return;
    *outbox = NULL;
    dpt_device *d = b->device;
    for (int i = 0; i < DPT_STAGING_SLOTS; i++) {
        if (b->slot[i].arrived) d->ops->event_destroy(d, b->slot[i].arrived);
        d->ops->release(d, b->slot[i].host, b->slot_bytes, DPT_FOR_STAGING);
    }
    dpt_free(b);
}

dpt_status dpt_outbox_post(dpt_outbox *b, const void *from, size_t bytes) {
    dpt_device *d = b->device;
    DPT_CHECK(bytes <= b->slot_bytes && b->posted - b->collected < DPT_STAGING_SLOTS, DPT_ERR_INTERNAL,
              "%zu bytes posted to an outbox of %zu, %lld under way", bytes, b->slot_bytes,
              (long long)(b->posted - b->collected));
    out_slot *s = &b->slot[b->posted % DPT_STAGING_SLOTS];
    DPT_TRY(d->ops->copy_out(d, s->host, from, bytes, b->compute));
    DPT_TRY(d->ops->event_record(d, s->arrived, b->compute));
    b->posted++;
    return DPT_OK;
}

dpt_status dpt_outbox_collect(dpt_outbox *b, const void **data) {
    DPT_CHECK(b->collected < b->posted, DPT_ERR_INTERNAL, "nothing was posted");
    out_slot *s = &b->slot[b->collected % DPT_STAGING_SLOTS];
    DPT_TRY(dpt_event_wait(b->device, s->arrived));
    b->collected++;
    *data = s->host;
    return DPT_OK;
}
