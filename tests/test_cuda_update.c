/* test_cuda_update.c: optimisers and the gradient norm over many segments: odd sizes, places that are aligned to an
 * element only, f32 and f64 in turn; steps that the guard skips; calls that are run again after one bind. The formulas
 * stand in f64 here; what passes on the CPU must pass on the device that DPT_TEST_DEVICE names. */
#include "base/random.h"
#include "kernel_call.h"

enum { SEGMENTS = 90, MOST_BYTES = 3 << 20, MOST_ELEMENTS = MOST_BYTES / 4 };

/* Sizes about the chunks and packs of the kernels, and one of several chunks. */
static const int64_t sizes[] = {1, 2, 3, 4, 5, 31, 255, 0, 1023, 2047, 2048, 2049, 4096, 5001, 8191, 8193, 33333};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static dpt_segment segments[SEGMENTS];
static int64_t arena_bytes;

typedef struct training {
    _Alignas(256) char p[MOST_BYTES], g[MOST_BYTES], m[MOST_BYTES], v[MOST_BYTES];
    double guard[4];
    dpt_block block;
} training;

static training now, before;

/* Every third segment is f64; every fourth starts at an element that is not aligned to a pack. */
static void plan(void) {
    int64_t at = 0;
    for (int i = 0; i < SEGMENTS; i++) {
        const bool wide = i % 3 == 2;
        const int64_t size = wide ? 8 : 4, shift = i % 4 == 1 ? size : 0;
        at = (at + 63) / 64 * 64 + shift;
        segments[i] = (dpt_segment){.param_offset = at,
                                    .grad_offset = at,
                                    .moment_offset = at,
                                    .count = sizes[(i * 5) % SIZES],
                                    .dtype = wide ? DPT_F64 : DPT_F32,
                                    .lr_factor = i % 5 == 0 ? 0.5f : 1,
                                    .decay = i % 2 == 0 ? 0.125f : 0};
        at += segments[i].count * size + 8;
    }
    arena_bytes = at;
    CHECK(at <= MOST_BYTES);
}

static double get(const char *arena, const dpt_segment *s, int64_t i) {
    const char *from = arena + s->param_offset;
    return s->dtype == DPT_F64 ? ((const double *)(const void *)from)[i]
                               : (double)((const float *)(const void *)from)[i];
}

static void put(char *arena, const dpt_segment *s, int64_t i, double value) {
    char *to = arena + s->param_offset;
    if (s->dtype == DPT_F64)
        ((double *)(void *)to)[i] = value;
    else
        ((float *)(void *)to)[i] = (float)value;
}

static double draw(uint64_t key, int segment, int64_t i) {
    return 2 * (double)dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i, (uint64_t)segment, 0).v[0]) - 1;
}

/* Every byte of the arenas is set; what lies between segments is NaN, which a sum or a store that strays would show. */
static void start(void) {
    plan();
    memset(&now, 0xff, sizeof now);
    for (int s = 0; s < SEGMENTS; s++)
        for (int64_t i = 0; i < segments[s].count; i++) {
            put(now.p, &segments[s], i, draw(1, s, i));
            put(now.g, &segments[s], i, draw(2, s, i));
            put(now.m, &segments[s], i, draw(3, s, i));
            put(now.v, &segments[s], i, fabs(draw(4, s, i)));
        }
    now.guard[0] = 0.5, now.guard[1] = 1, now.guard[2] = 3, now.guard[3] = 0;
    now.block = (dpt_block){.step = 6, .lr = 0.01};
    before = now;
}

static dpt_call update_call(int op) {
    dpt_call call = {.op = op, .n_in = 1, .block = &now.block};
    call.attr.update.segment = segments;
    call.attr.update.segments = SEGMENTS;
    call.attr.update.momentum = 0.875;
    call.attr.update.beta1 = 0.875;
    call.attr.update.beta2 = 0.96875;
    call.attr.update.eps = 0x1p-10;
    call.arenas = (dpt_arenas){.param = now.p, .grad = now.g, .moment1 = now.m, .moment2 = now.v};
    call.in[0] = kernel_vector(now.guard, DPT_F64, 4);
    return call;
}

typedef struct element {
    double p, m, v;
} element;

static element sgd_of(const dpt_segment *s, double g, element e, bool momentum, bool nesterov) {
    const double d = 0.5 * g + (double)s->decay * e.p, lr = 0.01 * (double)s->lr_factor;
    if (momentum) e.m = 0.875 * e.m + d;
    e.p -= lr * (!momentum ? d : nesterov ? d + 0.875 * e.m : e.m);
    return e;
}

static element adamw_of(const dpt_segment *s, double g, element e) {
    const double lr = 0.01 * (double)s->lr_factor, d = 0.5 * g;
    e.p -= lr * (double)s->decay * e.p;
    e.m = 0.875 * e.m + 0.125 * d;
    e.v = 0.96875 * e.v + 0.03125 * d * d;
    e.p -= lr * (e.m / (1 - pow(0.875, 7))) / (sqrt(e.v / (1 - pow(0.96875, 7))) + 0x1p-10);
    return e;
}

static void check_segment(const char *arena, int s, const double *expected, const char *what) {
    static double got[MOST_ELEMENTS];
    for (int64_t i = 0; i < segments[s].count; i++) got[i] = get(arena, &segments[s], i);
    const double error = check_relative_f64(got, expected, segments[s].count);
    const double bound = segments[s].dtype == DPT_F64 ? 1e-14 : 3e-7;
    check_that(error <= bound, __FILE__, __LINE__, "%s of segment %d (%lld elements): relative error %g, at most %g",
               what, s, (long long)segments[s].count, error, bound);
}

/* The bytes between segments are as they were. */
static void check_gaps(const char *arena) {
    int64_t at = 0;
    for (int s = 0; s <= SEGMENTS; s++) {
        const int64_t end = s < SEGMENTS ? segments[s].param_offset : arena_bytes;
        for (; at < end; at++)
            if (!CHECK_EQ_I64((unsigned char)arena[at], 0xff)) return;
        if (s < SEGMENTS) at += segments[s].count * (segments[s].dtype == DPT_F64 ? 8 : 4);
    }
}

typedef enum rule { PLAIN, MOMENTUM, NESTEROV, ADAMW } rule;

static void check_rule(rule r) {
    static double p[MOST_ELEMENTS], m[MOST_ELEMENTS], v[MOST_ELEMENTS];
    for (int s = 0; s < SEGMENTS; s++) {
        const dpt_segment *segment = &segments[s];
        for (int64_t i = 0; i < segment->count; i++) {
            element e = {get(before.p, segment, i), get(before.m, segment, i), get(before.v, segment, i)};
            const double g = get(before.g, segment, i);
            e = r == ADAMW ? adamw_of(segment, g, e) : sgd_of(segment, g, e, r != PLAIN, r == NESTEROV);
            p[i] = e.p, m[i] = e.m, v[i] = e.v;
        }
        check_segment(now.p, s, p, "parameter");
        check_segment(now.m, s, m, "first moment");
        check_segment(now.v, s, v, "second moment");
    }
    check_gaps(now.p);
    check_gaps(now.m);
    check_gaps(now.v);
    CHECK(memcmp(now.g, before.g, sizeof now.g) == 0);
}

static void optimisers(void) {
    for (rule r = PLAIN; r <= ADAMW; r++) {
        start();
        dpt_call call = update_call(r == ADAMW ? DPT_OP_ADAMW : DPT_OP_SGD);
        if (r == PLAIN) call.attr.update.momentum = 0;
        call.attr.update.nesterov = r == NESTEROV;
        kernel_run(&call, 2);
        check_rule(r);
    }
}

static void skipped_step(void) {
    for (rule r = PLAIN; r <= ADAMW; r++) {
        start();
        now.guard[0] = NAN, now.guard[1] = 0;
        before = now;
        dpt_call call = update_call(r == ADAMW ? DPT_OP_ADAMW : DPT_OP_SGD);
        if (r == PLAIN) call.attr.update.momentum = 0;
        kernel_run(&call, 1);
        CHECK(memcmp(&now, &before, sizeof now) == 0);
    }
}

static void no_segments(void) {
    start();
    dpt_call call = update_call(DPT_OP_ADAMW);
    call.attr.update.segments = 0;
    kernel_run(&call, 1);
    CHECK(memcmp(&now, &before, sizeof now) == 0);
    double square = -1;
    call.op = DPT_OP_SQUARE_NORM, call.n_in = 0, call.n_out = 1;
    call.out[0] = kernel_scalar(&square, DPT_F64);
    kernel_run(&call, 1);
    CHECK(square == 0);
    double before_it = 3.5;
    call.n_in = 1;
    call.in[0] = kernel_scalar(&before_it, DPT_F64);
    kernel_run(&call, 1);
    CHECK(square == 3.5);
}

/* Onto *before_it, where there is one. */
static double square_norm_of(double *before_it, int times) {
    double square = -1;
    dpt_call call = update_call(DPT_OP_SQUARE_NORM);
    call.n_in = before_it != NULL, call.n_out = 1;
    if (before_it) call.in[0] = kernel_scalar(before_it, DPT_F64);
    call.out[0] = kernel_scalar(&square, DPT_F64);
    kernel_run_times(&call, 1, times);
    return square;
}

/* Also where the same call is run again, as a program does every step. */
static void square_norm(void) {
    start();
    double square = 0;
    for (int s = 0; s < SEGMENTS; s++)
        for (int64_t i = 0; i < segments[s].count; i++) square += pow(get(now.g, &segments[s], i), 2);
    const double once = square_norm_of(NULL, 1), often = square_norm_of(NULL, 3);
    CHECK_NEAR(once / square, 1, 2e-12);
    CHECK(memcmp(&once, &often, sizeof once) == 0);
    CHECK_NEAR(square_norm_of(&square, 3) / square, 2, 4e-12);
}

/* ---- copies ---- */

enum { ODD = 1027 };

static void state_restore(void) {
    static char state[ODD], saved[ODD];
    double guard[4] = {1, 1, 0, 0};
    for (int i = 0; i < ODD; i++) state[i] = (char)i, saved[i] = (char)(i * 7 + 1);
    dpt_call call = {.op = DPT_OP_STATE_RESTORE, .n_in = 1, .arenas = {.state = state, .state_bytes = ODD}};
    call.in[0] = kernel_vector(guard, DPT_F64, 4);
    guard[1] = 0;
    kernel_run(&call, 1); /* no micro-batches: nothing was saved */
    for (int i = 0; i < ODD; i++) CHECK(state[i] == (char)i);
    guard[1] = 1;
    call.arenas.saved_state = saved;
    kernel_run(&call, 1);
    for (int i = 0; i < ODD; i++) CHECK(state[i] == (char)i);
    guard[1] = 0;
    kernel_run(&call, 1);
    CHECK(memcmp(state, saved, ODD) == 0);
}

/* Sizes that are no multiple of 16 bytes: the last ones too, and not one more. The last operand is one that the kernel
 * does not look at: it makes the memory longer than what is copied. */
static void odd_copies(void) {
    static uint8_t from[ODD + 1], to[ODD + 1];
    static float in[ODD + 1], out[ODD + 1];
    for (int count = 1; count <= ODD; count += 171) {
        for (int i = 0; i <= count; i++) from[i] = (uint8_t)(i + 3), to[i] = 250, in[i] = (float)i, out[i] = 0.5f;
        double ok[4] = {1, 1, 0, 0};
        dpt_call assign = {.op = DPT_OP_ASSIGN, .n_in = 3, .n_out = 1};
        assign.in[0] = kernel_vector(from, DPT_U8, count + 1);
        assign.in[1] = kernel_vector(ok, DPT_F64, 4);
        assign.in[2] = kernel_vector(to, DPT_U8, count + 1);
        assign.out[0] = kernel_vector(to, DPT_U8, count);
        kernel_run(&assign, 1);
        CHECK(memcmp(from, to, (size_t)count) == 0 && to[count] == 250);
        dpt_call store = {.op = DPT_OP_GRAD_STORE, .n_in = 2, .n_out = 1, .attr.slot.accumulate = true};
        store.in[0] = kernel_vector(in, DPT_F32, count + 1);
        store.in[1] = kernel_vector(out, DPT_F32, count + 1);
        store.out[0] = kernel_vector(out, DPT_F32, count);
        kernel_run(&store, 1);
        for (int i = 0; i < count; i++) CHECK(out[i] == (float)i + 0.5f);
        CHECK(out[count] == 0.5f);
    }
}

/* ---- guard ---- */

static void guard_with_scale(void) {
    double square = 64, out[4] = {0};
    float loss = 3, scale = 4;
    dpt_call call = {.op = DPT_OP_GUARD, .n_in = 3, .n_out = 1, .attr.clip = {.max_norm = 1, .scaled = true}};
    call.in[0] = kernel_scalar(&square, DPT_F64);
    call.in[1] = kernel_scalar(&loss, DPT_F32);
    call.in[2] = kernel_scalar(&scale, DPT_F32);
    call.out[0] = kernel_vector(out, DPT_F64, 4);
    kernel_run(&call, 1);
    CHECK_NEAR(out[0], 1 / (2 + 1e-6) / 4, 1e-15); /* the norm is 8 / 4 */
    CHECK(out[1] == 1 && out[2] == 2 && out[3] == 3);
    call.attr.clip.max_norm = 0;
    kernel_run(&call, 1);
    CHECK(out[0] == 0.25);
    scale = INFINITY;
    kernel_run(&call, 1);
    CHECK(out[1] == 0);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "cuda_update", {"optimisers", optimisers}, {"skipped_step", skipped_step},
                      {"no_segments", no_segments}, {"square_norm", square_norm}, {"state_restore", state_restore},
                      {"odd_copies", odd_copies}, {"guard_with_scale", guard_with_scale});
}
