/* staging.h: how values come to a device whose memory the host cannot write, and back, without anyone waiting.
 *
 * Inbox: a ring of slots, each pinned host memory and as much device memory. The host fills a slot piece by piece, each
 * piece travels on a stream of its own as soon as it is there, and the compute stream then moves the whole slot to the
 * fixed addresses that a program reads: so the host fills slot k+1 while the device computes on slot k. Outbox: a ring
 * of pinned slots that small results are copied to, each with an event.
 *
 * Invariant: a slot is filled again only after the compute stream has moved it; the host asks for that event and never
 * calls anything that waits for the device. With device->host_memory there is no need for either. */
#ifndef DPT_PROGRAM_STAGING_H
#define DPT_PROGRAM_STAGING_H

#include "backend/device.h"

enum { DPT_STAGING_SLOTS = 3 };

typedef struct dpt_inbox dpt_inbox;

/* slot_bytes: of the largest slot. stream: the compute stream, borrowed. */
dpt_status dpt_inbox_create(dpt_device *device, size_t slot_bytes, dpt_stream *stream, dpt_inbox **inbox);
void dpt_inbox_destroy(dpt_inbox **inbox);
/* The slot being filled: its host memory. Blocks until the compute stream is done with what it held before. */
dpt_status dpt_inbox_open(dpt_inbox *inbox, char **slot);
/* Bytes [offset, offset + bytes) of the open slot are filled: they start to travel. */
dpt_status dpt_inbox_send(dpt_inbox *inbox, size_t offset, size_t bytes);
/* The slot is complete: the compute stream waits for it and moves its first `bytes` to `to`. */
dpt_status dpt_inbox_deliver(dpt_inbox *inbox, void *to, size_t bytes);

typedef struct dpt_outbox dpt_outbox;

dpt_status dpt_outbox_create(dpt_device *device, size_t slot_bytes, dpt_stream *stream, dpt_outbox **outbox);
void dpt_outbox_destroy(dpt_outbox **outbox);
/* Queues a copy of `bytes` at `from` after the work queued so far. At most DPT_STAGING_SLOTS may be under way. */
dpt_status dpt_outbox_post(dpt_outbox *outbox, const void *from, size_t bytes);
/* The oldest copy that was not collected, when it has arrived; valid until DPT_STAGING_SLOTS - 1 more were posted. */
dpt_status dpt_outbox_collect(dpt_outbox *outbox, const void **data);

/* Waits for an event by asking again and again, with pauses between (dpt_clock_relax). */
dpt_status dpt_event_wait(dpt_device *device, dpt_event *event);

#endif
