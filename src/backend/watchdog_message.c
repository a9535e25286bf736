/* watchdog_message.c: see watchdog_message.h. One list of fields serves both ways: a cursor that writes or reads, so
 * that the two cannot disagree. Invariant: a change of the list is a change of DPT_WATCH_VERSION. */
#include "backend/watchdog_message.h"

#include <string.h>

#include "backend/comm.h"

enum { MAGIC = 0x57545044 }; /* "DPTW" */

typedef struct cursor {
    uint8_t *at, *end;
    bool reads, fits;
} cursor;

/* A little-endian number of so many bytes. */
static void number(cursor *c, int bytes, uint64_t *value) {
    c->fits = c->fits && c->end - c->at >= bytes;
    if (!c->fits) return;
    if (c->reads) *value = 0;
    for (int i = 0; i < bytes; i++) {
        if (c->reads)
            *value |= (uint64_t)c->at[i] << (8 * i);
        else
            c->at[i] = (uint8_t)(*value >> (8 * i));
    }
    c->at += bytes;
}

static int32_t integer(cursor *c, int32_t value) {
    uint64_t n = (uint32_t)value;
    number(c, 4, &n);
    return (int32_t)(uint32_t)n;
}

static void bytes_of(cursor *c, void *data, size_t bytes) {
    c->fits = c->fits && (size_t)(c->end - c->at) >= bytes;
    if (!c->fits) return;
    if (c->reads)
        memcpy(data, c->at, bytes);
    else
        memcpy(c->at, data, bytes);
    c->at += bytes;
}

static void record(cursor *c, dpt_collective_record *r) {
    uint64_t what = r->what, dtype = r->dtype;
    number(c, 8, &r->sequence);
    number(c, 8, &r->bytes);
    number(c, 8, &r->hash);
    number(c, 1, &what);
    number(c, 1, &dtype);
    r->what = (uint8_t)what;
    r->dtype = (uint8_t)dtype;
}

static void view(cursor *c, dpt_position_view *v) {
    uint64_t step = (uint64_t)v->step;
    number(c, 8, &step);
    v->step = (int64_t)step;
    number(c, 8, &v->tick);
    v->phase = (dpt_phase)integer(c, (int32_t)v->phase);
    for (int lane = 0; lane < DPT_LANE_COUNT; lane++) {
        number(c, 8, &v->lane[lane].started);
        number(c, 8, &v->lane[lane].entered);
        number(c, 8, &v->lane[lane].finished);
        for (int i = 0; i < DPT_POSITION_RECORDS; i++) record(c, &v->lane[lane].record[i]);
    }
}

static void verdict(cursor *c, dpt_verdict *v) {
    uint64_t step = (uint64_t)v->step;
    v->status = (dpt_status)integer(c, (int32_t)v->status);
    v->rank = integer(c, v->rank);
    number(c, 8, &step);
    v->step = (int64_t)step;
    v->phase = (dpt_phase)integer(c, (int32_t)v->phase);
    bytes_of(c, v->host, sizeof v->host);
    bytes_of(c, v->message, sizeof v->message);
}

static bool has_verdict(dpt_watch_kind kind) { return kind == DPT_WATCH_FAILED || kind == DPT_WATCH_VERDICT; }

/* All fields, in their order; false: this frame is not ours. */
static bool pass(cursor *c, dpt_watch_message *m, const uint8_t token[DPT_WATCH_TOKEN]) {
    uint8_t theirs[DPT_WATCH_TOKEN];
    memcpy(theirs, token, sizeof theirs);
    if (integer(c, MAGIC) != MAGIC || integer(c, DPT_WATCH_VERSION) != DPT_WATCH_VERSION ||
        integer(c, DPT_WATCH_FRAME) != DPT_WATCH_FRAME)
        return false;
    bytes_of(c, theirs, sizeof theirs);
    if (memcmp(theirs, token, sizeof theirs) != 0) return false;
    m->kind = (dpt_watch_kind)integer(c, (int32_t)m->kind);
    m->rank = integer(c, m->rank);
    if (has_verdict(m->kind))
        verdict(c, &m->verdict);
    else
        view(c, &m->view);
    return c->fits;
}

void dpt_watch_encode(const dpt_watch_message *message, const uint8_t token[DPT_WATCH_TOKEN],
                      uint8_t frame[DPT_WATCH_FRAME]) {
    dpt_watch_message copy = *message;
    cursor c = {.at = frame, .end = frame + DPT_WATCH_FRAME, .fits = true};
    memset(frame, 0, DPT_WATCH_FRAME);
    pass(&c, &copy, token);
}

static bool is_sound_view(const dpt_position_view *v) {
    if (v->phase < 0 || v->phase >= DPT_PHASE_COUNT || v->step < -1) return false;
    for (int i = 0; i < DPT_POSITION_RECORDS; i++)
        if (v->lane[DPT_LANE_GRADIENTS].record[i].what > DPT_BROADCAST ||
            v->lane[DPT_LANE_CONTROL].record[i].what >= DPT_CONTROL_KINDS)
            return false;
    return true;
}

static bool is_sound_verdict(dpt_verdict *v, int world) {
    v->host[sizeof v->host - 1] = v->message[sizeof v->message - 1] = 0;
    return v->status > DPT_OK && v->status <= DPT_ERR_INTERNAL && v->rank >= -1 && v->rank < world && v->step >= -1 &&
           v->phase >= 0 && v->phase < DPT_PHASE_COUNT;
}

bool dpt_watch_decode(const uint8_t frame[DPT_WATCH_FRAME], const uint8_t token[DPT_WATCH_TOKEN], int world,
                      dpt_watch_message *m) {
    cursor c = {.at = (uint8_t *)(uintptr_t)frame,
                .end = (uint8_t *)(uintptr_t)frame + DPT_WATCH_FRAME,
                .reads = true,
                .fits = true};
    *m = (dpt_watch_message){0};
    if (!pass(&c, m, token) || m->kind < 0 || m->kind >= DPT_WATCH_KINDS || m->rank < 0 || m->rank >= world)
        return false;
    return has_verdict(m->kind) ? is_sound_verdict(&m->verdict, world) : is_sound_view(&m->view);
}
