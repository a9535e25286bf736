/* position.c: see position.h. A writer takes the lock for a few stores, the reader for a copy; nothing is done under
 * it that can block. Ticks, one an operation, take none. Numbers of a followed lane come from the device, counted from
 * where it was followed. */
#include "backend/position.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

struct dpt_position {
    pthread_mutex_t lock;
    atomic_uint_fast64_t ticks; /* besides those in now.tick */
    dpt_position_view now;
    struct {
        const volatile uint64_t *entered, *finished; /* NULL: told by calls */
        uint64_t from;                               /* the number at which following began */
    } device[DPT_LANE_COUNT];
};

dpt_status dpt_position_create(dpt_position **position) {
    dpt_position *p = *position = dpt_alloc_zero(1, sizeof *p);
    DPT_CHECK_ALLOC(p);
    pthread_mutex_init(&p->lock, NULL);
    p->now.step = -1;
    return DPT_OK;
}

void dpt_position_destroy(dpt_position **position) {
    dpt_position *p = position ? *position : NULL;
    if (p == NULL) return;
    *position = NULL;
    pthread_mutex_destroy(&p->lock);
    dpt_free(p);
}

const char *dpt_phase_text(dpt_phase phase) {
    static const char *const text[DPT_PHASE_COUNT] = {
        [DPT_PHASE_OUTSIDE] = "outside", [DPT_PHASE_START] = "start",       [DPT_PHASE_DATA] = "data",
        [DPT_PHASE_STEP] = "train",      [DPT_PHASE_EVALUATE] = "evaluate", [DPT_PHASE_SAVE] = "save",
        [DPT_PHASE_END] = "end"};
    return text[phase];
}

void dpt_position_step(dpt_position *p, int64_t step) {
    if (p == NULL) return;
    pthread_mutex_lock(&p->lock);
    p->now.step = step;
    p->now.tick++;
    pthread_mutex_unlock(&p->lock);
}

dpt_phase dpt_position_phase(dpt_position *p, dpt_phase phase) {
    if (p == NULL) return DPT_PHASE_OUTSIDE;
    pthread_mutex_lock(&p->lock);
    dpt_phase before = p->now.phase;
    p->now.phase = phase;
    p->now.tick++;
    pthread_mutex_unlock(&p->lock);
    return before;
}

void dpt_position_tick(dpt_position *p) {
    if (p != NULL) atomic_fetch_add_explicit(&p->ticks, 1, memory_order_relaxed);
}

static uint64_t start_locked(dpt_position *p, dpt_lane lane, uint8_t what, uint64_t bytes, uint8_t dtype) {
    uint64_t sequence = ++p->now.lane[lane].started;
    dpt_collective_record *last = &p->now.lane[lane].record[(sequence - 1) % DPT_POSITION_RECORDS];
    dpt_digest d = {last->hash};
    dpt_digest_i64(&d, what);
    dpt_digest_i64(&d, (int64_t)bytes);
    dpt_digest_i64(&d, dtype);
    p->now.lane[lane].record[sequence % DPT_POSITION_RECORDS] =
        (dpt_collective_record){.sequence = sequence, .bytes = bytes, .hash = d.value, .what = what, .dtype = dtype};
    p->now.tick++;
    return sequence;
}

uint64_t dpt_position_start(dpt_position *p, dpt_lane lane, int what, uint64_t bytes, int dtype) {
    if (p == NULL) return 0;
    pthread_mutex_lock(&p->lock);
    uint64_t sequence = start_locked(p, lane, (uint8_t)what, bytes, (uint8_t)dtype);
    pthread_mutex_unlock(&p->lock);
    return sequence;
}

void dpt_position_replay(dpt_position *p, dpt_lane lane, const dpt_collective_record *record, int64_t count) {
    if (p == NULL) return;
    pthread_mutex_lock(&p->lock);
    for (int64_t i = 0; i < count; i++) start_locked(p, lane, record[i].what, record[i].bytes, record[i].dtype);
    pthread_mutex_unlock(&p->lock);
}

void dpt_position_finish(dpt_position *p, dpt_lane lane, uint64_t sequence) {
    if (p == NULL) return;
    pthread_mutex_lock(&p->lock);
    if (sequence > p->now.lane[lane].finished) p->now.lane[lane].finished = sequence;
    p->now.tick++;
    pthread_mutex_unlock(&p->lock);
}

void dpt_position_follow(dpt_position *p, dpt_lane lane, const volatile uint64_t *entered,
                         const volatile uint64_t *finished) {
    if (p == NULL) return;
    pthread_mutex_lock(&p->lock);
    if (p->device[lane].finished) p->now.lane[lane].finished = p->device[lane].from + *p->device[lane].finished;
    p->device[lane].entered = entered;
    p->device[lane].finished = finished;
    p->device[lane].from = p->now.lane[lane].started;
    pthread_mutex_unlock(&p->lock);
}

uint64_t dpt_position_started(const dpt_position *position, dpt_lane lane) {
    dpt_position *p = (dpt_position *)(uintptr_t)position;
    if (p == NULL) return 0;
    pthread_mutex_lock(&p->lock);
    uint64_t started = p->now.lane[lane].started;
    pthread_mutex_unlock(&p->lock);
    return started;
}

void dpt_position_read(const dpt_position *position, dpt_position_view *view) {
    dpt_position *p = (dpt_position *)(uintptr_t)position;
    pthread_mutex_lock(&p->lock);
    *view = p->now;
    view->tick += atomic_load_explicit(&p->ticks, memory_order_relaxed);
    for (int lane = 0; lane < DPT_LANE_COUNT; lane++) {
        view->lane[lane].entered = view->lane[lane].started;
        if (p->device[lane].entered == NULL) continue;
        view->lane[lane].entered = p->device[lane].from + *p->device[lane].entered;
        view->lane[lane].finished = p->device[lane].from + *p->device[lane].finished;
        view->tick += *p->device[lane].entered + *p->device[lane].finished;
    }
    pthread_mutex_unlock(&p->lock);
}
