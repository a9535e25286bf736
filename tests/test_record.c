/* test_record.c: a step with collectives as recordings: whole, in segments, or as measured. A communicator of one rank
 * stands in for a real one: it moves the data away and back on a stream of its own, so that a wait left out, or one
 * that a recording lost, leaves zeros in the gradients. Runs on the device of DPT_TEST_DEVICE; skipped on the CPU. */
#include "base/memory.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 16, IN = 8, STEPS = 14, TRIAL_END = 10, MANY = 64 };

typedef struct detour {
    dpt_device *device;
    dpt_stream *stream;
    dpt_event *begun, *done[MANY];
    void *elsewhere;
    int64_t starts, fails_at; /* the start of that number fails, counted from 1 */
} detour;

static const size_t elsewhere_bytes = 1 << 20;

static dpt_status detour_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                               dpt_stream *stream, uint64_t *ticket) {
    detour *d = comm->state;
    const dpt_device_ops *ops = d->device->ops;
    size_t bytes = count * dpt_dtype_size(dtype);
    CHECK(what == DPT_ALL_REDUCE && bytes <= elsewhere_bytes);
    *ticket = comm->sequence % MANY;
    DPT_CHECK(++d->starts != d->fails_at, DPT_ERR_DEVICE, "not into a recording");
    DPT_TRY(ops->event_record(d->device, d->begun, stream));
    DPT_TRY(ops->stream_wait(d->device, d->stream, d->begun));
    DPT_TRY(ops->copy(d->device, d->elsewhere, data, bytes, d->stream));
    DPT_TRY(ops->zero(d->device, data, bytes, d->stream));
    DPT_TRY(ops->copy(d->device, data, d->elsewhere, bytes, d->stream));
    return ops->event_record(d->device, d->done[*ticket], d->stream);
}

static dpt_status detour_wait(dpt_comm *comm, uint64_t ticket, dpt_stream *stream) {
    detour *d = comm->state;
    return d->device->ops->stream_wait(d->device, stream, d->done[ticket]);
}

static void detour_close(dpt_comm *comm) {
    detour *d = comm->state;
    const dpt_device_ops *ops = d->device->ops;
    CHECK_OK(ops->stream_sync(d->device, d->stream));
    for (int i = 0; i < MANY; i++) ops->event_destroy(d->device, d->done[i]);
    ops->event_destroy(d->device, d->begun);
    ops->stream_destroy(d->device, d->stream);
    ops->release(d->device, d->elsewhere, elsewhere_bytes, DPT_FOR_COMM);
}

static const dpt_comm_ops detour_ops = {.start = detour_start, .wait = detour_wait, .close = detour_close};

/* In place of the context's own. */
static bool take_detour(dpt_context *ctx, detour *d) {
    dpt_device *device = d->device = &ctx->device;
    dpt_comm_close(&ctx->comm);
    ctx->comm = (dpt_comm){.ops = &detour_ops,
                           .world = 1,
                           .exchanges = true,
                           .overlaps = true,
                           .name = "a detour",
                           .position = ctx->position,
                           .state = d};
    bool ok = CHECK_OK(device->ops->stream_create(device, 1, &d->stream)) &&
              CHECK_OK(device->ops->event_create(device, &d->begun)) &&
              CHECK_OK(device->ops->alloc(device, elsewhere_bytes, DPT_FOR_COMM, &d->elsewhere));
    for (int i = 0; i < MANY; i++) ok = CHECK_OK(device->ops->event_create(device, &d->done[i])) && ok;
    return ok;
}

typedef struct side {
    dpt_context *ctx;
    dpt_graph *graph;
    dpt_trainer *trainer;
    detour detour;
} side;

static bool open_side(side *s, dpt_record record) {
    dpt_context_options c;
    dpt_trainer_options o;
    *s = (side){0};
    dpt_context_options_init(&c);
    c.device = check_device();
    c.graph = (int)record;
    if (!CHECK_OK(dpt_context_create(MPI_COMM_SELF, &c, &s->ctx)) || !take_detour(s->ctx, &s->detour)) return false;
    s->graph = dpt_graph_create(s->ctx);
    dpt_tensor *x = dpt_input(s->graph, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(s->graph, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *h = dpt_gelu(dpt_linear(dpt_gelu(dpt_linear(x, 32, "fc1")), 32, "fc2"));
    dpt_loss_add(s->graph, dpt_mse(dpt_linear(h, IN, "fc3"), t), 1.0, NULL);
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.bucket_bytes = 1;
    o.no_evaluation = 1;
    return CHECK_OK(dpt_trainer_create(s->graph, &o, &s->trainer));
}

static void close_side(side *s) {
    dpt_trainer_destroy(&s->trainer);
    dpt_graph_destroy(&s->graph);
    dpt_context_destroy(&s->ctx);
}

static bool step(side *s, int k) {
    float x[ROWS * IN], t[ROWS * IN];
    char name[16];
    snprintf(name, sizeof name, "x%d", k);
    fill_f32(name, x, ROWS * IN);
    for (int i = 0; i < ROWS * IN; i++) t[i] = x[i] * x[i];
    dpt_array in[] = {array_f32("x", x, ROWS), array_f32("t", t, ROWS)};
    return CHECK_OK(dpt_trainer_step(s->trainer, in, 2, NULL));
}

static int64_t recordings(const side *s) { return dpt_session_recordings(s->trainer->train.session); }

static void weights(side *s, float w[32 * 32]) {
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, "fc2.weight", w, 32 * 32 * sizeof *w));
}

/* What a run starts, as the position knows it: every collective, however the run is made. */
static void all_told(const side *s) {
    int64_t each = s->trainer->plan.n_bucket;
    CHECK(each >= 4);
    CHECK_EQ_I64((int64_t)dpt_position_started(s->ctx->position, DPT_LANE_GRADIENTS), each * STEPS);
}

static void train(dpt_record record, float w[32 * 32], int64_t *made, int64_t *started) {
    side s;
    if (open_side(&s, record)) {
        for (int k = 0; k < STEPS && step(&s, k); k++)
            if (k < 2) CHECK_EQ_I64(recordings(&s), 0);
        all_told(&s);
        weights(&s, w);
        *made = recordings(&s);
        *started = s.detour.starts / s.trainer->plan.n_bucket;
    }
    close_side(&s);
}

/* However it is made, a run computes the same bits; whole, the communicator is called in the first two runs and in the
 * recording; in segments, in every run. */
static void both_ways(void) {
    static float plain[32 * 32], w[32 * 32];
    int64_t made, started;
    train(DPT_RECORD_OFF, plain, &made, &started);
    CHECK(made == 0 && started == STEPS && plain[0] != 0);
    train(DPT_RECORD_WHOLE, w, &made, &started);
    CHECK(made == 1 && started == 3 && memcmp(plain, w, sizeof w) == 0);
    train(DPT_RECORD_SEGMENTS, w, &made, &started);
    CHECK(made > 2 && started == STEPS && memcmp(plain, w, sizeof w) == 0);
}

/* Four runs one way, four the other, then the faster: one of the two is kept. */
static void as_measured(void) {
    static float plain[32 * 32], w[32 * 32];
    int64_t made, started;
    side s;
    train(DPT_RECORD_OFF, plain, &made, &started);
    if (open_side(&s, DPT_RECORD_AUTO)) {
        for (int k = 0; k < STEPS && step(&s, k); k++) {
            if (k >= 2 && k < 6) CHECK_EQ_I64(recordings(&s), 1);
            if (k >= 6 && k + 1 < TRIAL_END) CHECK(recordings(&s) > 3);
        }
        all_told(&s);
        weights(&s, w);
        int64_t runs = s.detour.starts / s.trainer->plan.n_bucket;
        CHECK(recordings(&s) == 1 ? runs == 2 + 1 + 4 : runs == 2 + 1 + 4 + STEPS - TRIAL_END);
        CHECK(memcmp(plain, w, sizeof w) == 0);
    }
    close_side(&s);
}

/* A step that must not be recorded or replayed is made call by call, and the others as before. */
static void eager_steps(void) {
    static float plain[32 * 32], w[32 * 32];
    int64_t made, started;
    side s;
    train(DPT_RECORD_OFF, plain, &made, &started);
    if (open_side(&s, DPT_RECORD_WHOLE)) {
        for (int k = 0; k < STEPS; k++) {
            s.ctx->comm.eager = k % 5 == 4;
            int64_t before = s.detour.starts;
            if (!step(&s, k)) break;
            if (k >= 4) CHECK((s.detour.starts > before) == (k % 5 == 4));
        }
        all_told(&s);
        weights(&s, w);
        CHECK(recordings(&s) == 1 && memcmp(plain, w, sizeof w) == 0);
    }
    close_side(&s);
}

/* One that goes through the host's memory is never inside a recording. */
static void host_staged(void) {
    side s;
    if (open_side(&s, DPT_RECORD_WHOLE)) {
        dpt_trainer_destroy(&s.trainer);
        s.ctx->comm.host_staged = true;
        dpt_trainer_options o;
        dpt_trainer_options_init(&o);
        o.max_rows = ROWS;
        o.bucket_bytes = 1;
        o.no_evaluation = 1;
        if (CHECK_OK(dpt_trainer_create(s.graph, &o, &s.trainer)))
            for (int k = 0; k < 4 && step(&s, k); k++) continue;
        CHECK(recordings(&s) > 2);
    }
    close_side(&s);
}

/* One that turns out not to be recordable: with auto the step is made in segments, and nothing is lost; asked for,
 * it is an error. */
static void not_recordable(void) {
    static float plain[32 * 32], w[32 * 32];
    int64_t made, started;
    side s;
    train(DPT_RECORD_OFF, plain, &made, &started);
    if (open_side(&s, DPT_RECORD_AUTO)) {
        s.detour.fails_at = 2 * s.trainer->plan.n_bucket + 2;
        for (int k = 0; k < STEPS && step(&s, k); k++) continue;
        all_told(&s);
        weights(&s, w);
        CHECK(recordings(&s) > 2 && memcmp(plain, w, sizeof w) == 0);
    }
    close_side(&s);
    if (open_side(&s, DPT_RECORD_WHOLE)) {
        float x[IN] = {0}, t[IN] = {0};
        dpt_array in[] = {array_f32("x", x, 1), array_f32("t", t, 1)};
        s.detour.fails_at = 2 * s.trainer->plan.n_bucket + 2;
        CHECK(step(&s, 0) && step(&s, 1));
        CHECK_FAILS(dpt_trainer_step(s.trainer, in, 2, NULL), DPT_ERR_DEVICE, "not into a recording");
    }
    close_side(&s);
}

int main(int argc, char **argv) {
    if (strcmp(check_device(), "cpu") == 0) return 77;
    return CHECK_MAIN(argc, argv, "record", {"both_ways", both_ways}, {"as_measured", as_measured},
                      {"eager_steps", eager_steps}, {"host_staged", host_staged}, {"not_recordable", not_recordable});
}
