/* test_zero.c: ZeRO-1 against none, and updates by bucket against updates at once, at the same ranks; memory by
 * formula; what skips a step; where gathers stand. */
#include <stdio.h>

#include "base/memory.h"
#include "ops/op_list.h"
#include "train/trainer.h"
#include "trainer_pair.h"

enum { ROWS = 24, IN = 12, WIDE = 21 };

/* ---- models ---- */

/* Odd sizes, so that slices cut parameters; a frozen layer in between, a parameter that nothing uses. */
static void build_single(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_param(g, "unused", DPT_F32, 1, ((int64_t[]){5}), ((dpt_init){DPT_INIT_ONES, 0, 0}));
    dpt_tensor *h = dpt_tanh(dpt_linear(x, WIDE, "fc1"));
    h = dpt_tanh(dpt_linear(h, WIDE, "frozen"));
    h = dpt_tanh(dpt_linear(h, WIDE, "fc2"));
    dpt_tensor *y = dpt_linear(h, 3, "fc3");
    dpt_param_group(g, "*.bias", (dpt_group){.lr_factor = 0.5, .no_decay = 1});
    dpt_param_group(g, "frozen.*", (dpt_group){.lr_factor = 1, .frozen = 1});
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
}

/* f64 parameters beside f32 ones, and a masked loss. */
static void build_mixed(dpt_graph *g) {
    build_single(g);
    dpt_tensor *x = dpt_input(g, "d", DPT_F64, 2, ((int64_t[]){DPT_BATCH, 4}));
    dpt_tensor *m = dpt_input(g, "m", DPT_F64, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *w = dpt_param(g, "w", DPT_F64, 2, ((int64_t[]){37, 4}), ((dpt_init){DPT_INIT_NORMAL, 0, 0.5}));
    dpt_tensor *v = dpt_tanh(dpt_linear_with(x, w, NULL));
    dpt_loss_add(g, dpt_mean(dpt_mul(v, v), 2, 0), 0.3, m);
    dpt_loss_add(g, dpt_sum(v, 2, 0), 0.01, m);
}

/* Buckets large enough for a communication thread. */
static void build_wide(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_tensor *h = dpt_tanh(dpt_linear(x, 160, "fc1"));
    for (int i = 0; i < 3; i++) h = dpt_tanh(dpt_linear(h, 160, ((const char *[]){"fc2", "fc3", "fc4"})[i]));
    dpt_loss_add(g, dpt_mse(dpt_linear(h, 3, "fc5"), t), 1.0, NULL);
}

typedef struct batch {
    float x[ROWS * IN], t[ROWS * 3];
    double d[ROWS * 4], m[ROWS];
    dpt_array array[4];
} batch;

static void fill(batch *b, int step) {
    char name[16];
    snprintf(name, sizeof name, "x%d", step);
    fill_f32(name, b->x, ROWS * IN);
    fill_f64(name, b->d, (int64_t)ROWS * 4);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t j = 0; j < 3; j++) b->t[r * 3 + j] = b->x[r * IN + j] * b->x[r * IN + 5] - 0.3F;
    for (int64_t r = 0; r < ROWS; r++) b->m[r] = (r + step) % 3 != 0;
    b->array[0] = array_f32("x", b->x, ROWS);
    b->array[1] = array_f32("t", b->t, ROWS);
    b->array[2] = array_f64("d", b->d, ROWS);
    b->array[3] = array_f64("m", b->m, ROWS);
}

static dpt_trainer_options options_of(void) {
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.lr = 0.05;
    o.weight_decay = 0.01;
    o.bucket_bytes = 1024;
    return o;
}

/* ---- two trainers on all ranks ---- */

typedef struct two_sides {
    trainer_side a, b;
    int arrays;
} two_sides;

static bool open_sides(two_sides *s, trainer_build_fn build, const dpt_trainer_options *a,
                       const dpt_trainer_options *b) {
    const int threads = build == build_wide ? 2 : 1; /* with 2 there is a communication thread */
    *s = (two_sides){.arrays = build == build_mixed ? 4 : 2};
    if (!trainer_side_open(&s->a, MPI_COMM_WORLD, threads, build, a)) return false;
    if (trainer_side_open(&s->b, MPI_COMM_WORLD, threads, build, b)) return true;
    trainer_side_close(&s->a);
    return false;
}

static void close_sides(two_sides *s) {
    trainer_side_close(&s->a);
    trainer_side_close(&s->b);
}

static bool step_sides(two_sides *s, const dpt_array *whole, dpt_metrics *a, dpt_metrics *b) {
    dpt_array mine[4];
    share_arrays(&s->a, whole, s->arrays, SHARE_ONE_EMPTY, mine);
    return CHECK_OK(trainer_step_now(s->a.trainer, mine, s->arrays, a)) &&
           CHECK_OK(trainer_step_now(s->b.trainer, mine, s->arrays, b));
}

static void check_same(const two_sides *s, dpt_what what, double tolerance, const char *when) {
    for (int64_t i = 0; i < s->a.graph->n_param; i++) {
        const char *name = s->a.graph->param[i].name;
        if (what == DPT_GRADIENT && s->a.trainer->plan.grad[i].offset < 0) continue;
        const double d = trainer_distance(&s->a, &s->b, what, name);
        check_that(d <= tolerance, __FILE__, __LINE__, "%s: \"%s\" differs by %.3g (allowed %.3g)", when, name, d,
                   tolerance);
    }
}

/* Bytes of an arena that belong to no slot are zero. */
static void check_gaps(const trainer_side *s, const char *arena, const dpt_slot *slot, int64_t bytes,
                       const dpt_slot *loss) {
    char *values = dpt_alloc((size_t)bytes);
    dpt_device *d = &s->ctx->device;
    int64_t wrong = 0;
    CHECK_OK(d->ops->copy_out(d, values, arena, (size_t)bytes, NULL));
    CHECK_OK(d->ops->stream_sync(d, NULL));
    for (int64_t i = 0; i < s->graph->n_param; i++)
        if (slot[i].offset >= 0) memset(values + slot[i].offset, 0, (size_t)slot[i].bytes);
    if (loss) memset(values + loss->offset, 0, (size_t)loss->bytes);
    for (int64_t i = 0; i < bytes; i++) wrong += values[i] != 0;
    CHECK_EQ_I64(wrong, 0);
    dpt_free(values);
}

/* A rank's slices cover every trained parameter once, over all ranks. */
static void check_plan(const trainer_side *s) {
    const dpt_arena_plan *p = &s->trainer->plan;
    int64_t mine[2] = {0, p->moment_bytes}, trained = 0, slices = 0;
    for (int64_t k = 0; k < p->n_segment; k++)
        mine[0] += p->segment[k].count * (int64_t)dpt_dtype_size(p->segment[k].dtype);
    for (int64_t i = 0; i < p->n_param; i++)
        if (p->grad[i].offset >= 0) trained += p->grad[i].bytes;
    for (int64_t k = 0; k < p->n_bucket; k++) {
        slices += p->bucket[k].slice_bytes;
        CHECK(p->bucket[k].slice_bytes % DPT_ALIGNMENT == 0 && p->bucket[k].offset % DPT_ALIGNMENT == 0);
    }
    CHECK_OK(dpt_control_sum_i64(&s->ctx->control, mine, 2));
    CHECK_EQ_I64(mine[0], trained);
    CHECK_EQ_I64(mine[1], slices * check_world());
    check_gaps(s, s->trainer->arenas.param, p->param, p->param_bytes, NULL);
    check_gaps(s, s->trainer->arenas.grad, p->grad, p->grad_bytes, &p->loss);
}

/* ---- ZeRO-1 against none ---- */

static void compare(const char *what, trainer_build_fn build, int steps, const dpt_trainer_options *o) {
    two_sides s;
    batch b;
    dpt_metrics zero, none;
    dpt_trainer_options cut = *o;
    cut.zero = 1;
    if (!open_sides(&s, build, &cut, o)) return;
    for (int step = 0; step < steps; step++) {
        fill(&b, step);
        if (!step_sides(&s, b.array, &zero, &none)) break;
        check_that(fabs(zero.loss - none.loss) <= 1e-6 * fabs(none.loss), __FILE__, __LINE__,
                   "%s, step %d: loss %.9g and %.9g", what, step, zero.loss, none.loss);
        check_that(fabs(zero.grad_norm - none.grad_norm) <= 1e-5 * none.grad_norm, __FILE__, __LINE__,
                   "%s, step %d: norm %.9g and %.9g", what, step, zero.grad_norm, none.grad_norm);
        CHECK(zero.skipped == 0);
        if (step == 0) check_same(&s, DPT_GRADIENT, 1e-6, what);
    }
    check_same(&s, DPT_PARAMETER, 1e-6, what);
    check_plan(&s.a);
    const dpt_memory m = dpt_trainer_memory(s.a.trainer);
    CHECK_EQ_I64(m.total, m.allocated);
    close_sides(&s);
}

static void sgd(void) {
    dpt_trainer_options o = options_of();
    compare("momentum", build_single, 50, &o);
    o.momentum = 0;
    o.bucket_bytes = 1 << 20;
    compare("plain sgd, one bucket", build_single, 12, &o);
    o.momentum = 0.9;
    o.nesterov = 1;
    o.clip_norm = 0.05;
    o.bucket_bytes = 1;
    compare("nesterov, clipped, a bucket a parameter", build_mixed, 50, &o);
}

static void adamw(void) {
    dpt_trainer_options o = options_of();
    o.optimizer = DPT_ADAMW;
    o.lr = 1e-3;
    o.eps = 1e-4;
    compare("adamw", build_single, 50, &o);
    o.clip_norm = 0.05;
    o.accumulate = 3;
    compare("adamw, clipped, micro-batches", build_mixed, 12, &o);
}

static void accumulated(void) {
    dpt_trainer_options o = options_of();
    o.accumulate = 2;
    compare("momentum, micro-batches", build_mixed, 12, &o);
    o.update_by_bucket = 1;
    compare("momentum, micro-batches, by bucket", build_mixed, 12, &o);
}

static void threaded(void) {
    dpt_trainer_options o = options_of();
    compare("momentum, on a thread", build_wide, 10, &o);
}

static int64_t aligned(int64_t bytes) { return (int64_t)dpt_align((size_t)bytes); }

/* One bucket: fc3.bias, fc3.weight, fc2.bias, fc2.weight, fc1.bias, fc1.weight, the loss beside them or behind. */
static void moments(void) {
    const int64_t count[] = {3, 3 * WIDE, WIDE, WIDE * WIDE, WIDE, WIDE * IN};
    int64_t before = 0, world = check_world();
    for (int i = 0; i < 5; i++) before += aligned(4 * count[i]);
    const int64_t slice = aligned((before + 4 * count[5] + world - 1) / world);
    for (int k = 0; k < 3; k++) {
        trainer_side s;
        dpt_trainer_options o = options_of();
        o.bucket_bytes = 1 << 20;
        o.zero = k > 0;
        o.optimizer = k == 1 ? DPT_SGD : DPT_ADAMW;
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_single, &o)) return;
        const dpt_memory m = dpt_trainer_memory(s.trainer);
        if (k == 0) CHECK_EQ_I64(m.moments, 2 * (before + aligned(4 * count[5]) + DPT_ALIGNMENT));
        if (k == 1) CHECK_EQ_I64(m.moments, slice);
        if (k == 2) CHECK_EQ_I64(m.moments, 2 * slice);
        if (k > 0) CHECK_EQ_I64(m.gradients, slice * world + DPT_ALIGNMENT);
        CHECK_EQ_I64(m.total, m.allocated);
        trainer_side_close(&s);
    }
}

/* ---- what reads parameters between steps ---- */

static void check_prediction(const two_sides *s, const batch *b) {
    float y[2][ROWS * 3];
    CHECK_OK(dpt_trainer_predict(s->a.trainer, b->array, 1, "y", y[0], sizeof y[0]));
    CHECK_OK(dpt_trainer_predict(s->b.trainer, b->array, 1, "y", y[1], sizeof y[1]));
    CHECK(check_relative_f32(y[0], y[1], ROWS * 3) <= 1e-6);
}

static void check_evaluation(const two_sides *s, const batch *b) {
    dpt_evaluation e[2];
    dpt_array mine[4];
    share_arrays(&s->a, b->array, s->arrays, SHARE_EVEN, mine);
    CHECK_OK(dpt_trainer_evaluate(s->a.trainer, mine, s->arrays));
    CHECK_OK(dpt_trainer_evaluate(s->b.trainer, mine, s->arrays));
    CHECK_OK(dpt_trainer_evaluation(s->a.trainer, &e[0]));
    CHECK_OK(dpt_trainer_evaluation(s->b.trainer, &e[1]));
    CHECK(fabs(e[0].loss - e[1].loss) <= 1e-6 * e[1].loss && e[0].rows == ROWS);
}

static void check_gradient(const two_sides *s, const batch *b) {
    dpt_array mine[4];
    dpt_metrics m[2];
    share_arrays(&s->a, b->array, s->arrays, SHARE_EVEN, mine);
    CHECK_OK(dpt_trainer_gradient(s->a.trainer, mine, s->arrays, &m[0]));
    CHECK_OK(dpt_trainer_gradient(s->b.trainer, mine, s->arrays, &m[1]));
    CHECK(fabs(m[0].loss - m[1].loss) <= 1e-6 * m[1].loss);
    check_same(s, DPT_GRADIENT, 1e-5, "gradient alone");
}

/* The sharded one saves, the other loads. */
static void check_file(const two_sides *s) {
    char path[256];
    snprintf(path, sizeof path, "%s/zero.h5", check_tmpdir());
    CHECK_OK(dpt_trainer_save(s->a.trainer, path, NULL));
    CHECK_OK(dpt_trainer_load(s->b.trainer, path));
    check_same(s, DPT_PARAMETER, 0, "loaded");
    CHECK_OK(dpt_trainer_load(s->a.trainer, path));
    check_same(s, DPT_PARAMETER, 0, "loaded back");
}

/* A value set between steps counts, though others are still cut. */
static void check_set(const two_sides *s) {
    float bias[WIDE];
    fill_f32("bias", bias, WIDE);
    CHECK_OK(dpt_trainer_set(s->a.trainer, DPT_PARAMETER, "fc2.bias", bias, sizeof bias));
    CHECK_OK(dpt_trainer_set(s->b.trainer, DPT_PARAMETER, "fc2.bias", bias, sizeof bias));
}

static void between_steps(void) {
    two_sides s;
    batch b;
    dpt_trainer_options none = options_of(), zero = none;
    zero.zero = 1;
    if (!open_sides(&s, build_single, &zero, &none)) return;
    for (int step = 0; step < 24; step++) {
        fill(&b, step);
        if (!step_sides(&s, b.array, NULL, NULL)) break;
        if (step % 6 == 0) check_prediction(&s, &b);
        if (step % 6 == 1) check_evaluation(&s, &b);
        if (step % 6 == 2) check_gradient(&s, &b);
        if (step == 9) check_file(&s);
        if (step % 6 == 4) check_set(&s);
        if (step % 6 == 5) check_same(&s, DPT_PARAMETER, 1e-6, "in between");
    }
    check_plan(&s.a);
    close_sides(&s);
}

/* ---- steps that do not count ---- */

static void *all_parameters(const trainer_side *s, int64_t *bytes) {
    *bytes = 0;
    for (int64_t i = 0; i < s->graph->n_param; i++) *bytes += s->trainer->plan.param[i].bytes;
    char *values = dpt_alloc((size_t)*bytes), *at = values;
    for (int64_t i = 0; i < s->graph->n_param; i++) {
        const size_t n = (size_t)s->trainer->plan.param[i].bytes;
        CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, s->graph->param[i].name, at, n));
        at += n;
    }
    return values;
}

/* One number on one rank: no rank may change anything, moments included. */
static void skipped_with(int accumulate, int by_bucket) {
    two_sides s;
    batch b;
    dpt_metrics zero, none;
    int64_t bytes;
    dpt_trainer_options o = options_of(), cut = o;
    o.accumulate = cut.accumulate = accumulate;
    cut.update_by_bucket = by_bucket;
    cut.zero = 1;
    if (!open_sides(&s, build_single, &cut, &o)) return;
    for (int step = 0; step < 6; step++) {
        fill(&b, step);
        if (step == 3) b.x[(ROWS - 1) * IN] = NAN;
        char *before = all_parameters(&s.a, &bytes);
        if (step_sides(&s, b.array, &zero, &none)) CHECK(zero.skipped == (step == 3) && none.skipped == (step == 3));
        char *after = all_parameters(&s.a, &bytes);
        CHECK((memcmp(before, after, (size_t)bytes) == 0) == (step == 3));
        dpt_free(before);
        dpt_free(after);
    }
    check_same(&s, DPT_PARAMETER, 1e-6, "after a skipped step");
    close_sides(&s);
}

static void skipped(void) {
    skipped_with(1, 0);
    skipped_with(2, 0);
    skipped_with(1, 1);
}

/* ---- by bucket ---- */

static void by_bucket_as_whole(void) {
    for (int k = 0; k < 4; k++) {
        two_sides s;
        batch b;
        dpt_metrics apart, whole;
        dpt_trainer_options o = options_of();
        o.optimizer = k % 2 ? DPT_ADAMW : DPT_SGD;
        o.zero = k / 2;
        o.bucket_bytes = 300;
        dpt_trainer_options by = o;
        by.update_by_bucket = 1;
        if (!open_sides(&s, build_mixed, &by, &o)) return;
        for (int step = 0; step < 10; step++) {
            fill(&b, step);
            if (!step_sides(&s, b.array, &apart, &whole)) break;
            CHECK(fabs(apart.grad_norm - whole.grad_norm) <= 1e-12 * whole.grad_norm && apart.loss == whole.loss);
        }
        check_same(&s, DPT_PARAMETER, 0, "by bucket");
        close_sides(&s);
    }
}

/* Two losses on parameters of their own: only one of them is not finite. */
static void build_two(dpt_graph *g) {
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, IN}));
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_loss_add(g, dpt_sum(dpt_linear(x, 40, "good"), 2, 0), 1.0, NULL);
    dpt_loss_add(g, dpt_sum(dpt_linear(t, 40, "bad"), 2, 0), 1.0, NULL);
}

static bool moved(const trainer_side *s, const char *name, const void *before, size_t bytes) {
    float now[40 * IN];
    CHECK_OK(dpt_trainer_get(s->trainer, DPT_PARAMETER, name, now, bytes));
    return memcmp(now, before, bytes) != 0;
}

static void one_bucket_skips(void) {
    float good[40 * IN], bad[40 * 3];
    batch b;
    fill(&b, 0);
    b.t[3 * (ROWS - 1)] = INFINITY;
    for (int k = 0; k < 4; k++) {
        trainer_side s;
        dpt_array mine[2];
        dpt_metrics m;
        dpt_trainer_options o = options_of();
        o.bucket_bytes = 1;
        o.zero = k / 2;
        o.update_by_bucket = k % 2;
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_two, &o)) return;
        CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "good.weight", good, sizeof good));
        CHECK_OK(dpt_trainer_get(s.trainer, DPT_PARAMETER, "bad.weight", bad, sizeof bad));
        share_arrays(&s, b.array, 2, SHARE_EVEN, mine);
        CHECK_OK(trainer_step_now(s.trainer, mine, 2, &m));
        CHECK(m.skipped == 1 && !isfinite(m.grad_norm));
        CHECK(moved(&s, "good.weight", good, sizeof good) == (o.update_by_bucket == 1));
        CHECK(!moved(&s, "bad.weight", bad, sizeof bad));
        trainer_side_close(&s);
    }
}

static void refuses(void) {
    dpt_context *ctx;
    dpt_trainer *t;
    if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx))) return;
    dpt_graph *g = dpt_graph_create(ctx);
    build_single(g);
    dpt_trainer_options o = options_of();
    o.update_by_bucket = 1;
    o.clip_norm = 1;
    CHECK_FAILS(dpt_trainer_create(g, &o, &t), DPT_ERR_ARG, "update_by_bucket and clip_norm exclude each other");
    o = options_of();
    o.zero = 2;
    CHECK_FAILS(dpt_trainer_create(g, &o, &t), DPT_ERR_ARG, "zero is 2");
    if (check_world() > 1) {
        o.zero = check_rank() == 0;
        CHECK_FAILS(dpt_trainer_create(g, &o, &t), DPT_ERR_CONFIG, "options");
    }
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

/* ---- the program ---- */

static bool reads_bucket(const dpt_arena_plan *p, const dpt_node *n, int64_t k) {
    for (int i = 0; i < n->n_in; i++) {
        const dpt_node *leaf = n->in[i]->node;
        if (leaf->op != DPT_OP_PARAM) continue;
        const int64_t at = p->grad[leaf->slot].offset;
        if (at >= p->bucket[k].offset && at < p->bucket[k].offset + p->bucket[k].bytes) return true;
    }
    return false;
}

/* Starts stand first, last bucket first; a wait stands right before the first reader of its bucket. */
static void gathers(void) {
    trainer_side s;
    dpt_trainer_options o = options_of();
    o.zero = 1;
    o.bucket_bytes = 300;
    if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_mixed, &o)) return;
    const dpt_arena_plan *p = &s.trainer->plan;
    const dpt_graph *g = s.trainer->train.program->graph;
    int64_t next = p->n_bucket - 2, scatters = 0, computed = 0, waits_later = 0;
    CHECK(p->n_bucket > 4 && p->bucket[p->n_bucket - 1].tail && p->bucket[p->n_bucket - 1].count == 0);
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        scatters += n->op == DPT_OP_SCATTER_START;
        computed += n->op == DPT_OP_LINEAR;
        if (n->op == DPT_OP_GATHER_START) CHECK(n->attr.slot.index == next-- && computed == 0);
        if (n->op != DPT_OP_GATHER_WAIT) continue;
        waits_later += computed > 0;
        for (int64_t j = 0; j < i; j++) CHECK(!reads_bucket(p, g->node[j], n->attr.slot.index));
        CHECK(i + 1 < g->n_node &&
              (g->node[i + 1]->op == DPT_OP_GATHER_WAIT || reads_bucket(p, g->node[i + 1], n->attr.slot.index)));
    }
    CHECK(next == -1 && scatters == p->n_bucket - 1 && waits_later >= 2);
    trainer_side_close(&s);
}

/* A head that only an output shows is in no node of the training program, and yet decays: its parameters must have come
 * before any optimiser moves them. */
static void build_shown(dpt_graph *g) {
    build_single(g);
    dpt_output(g, "shown", dpt_linear(dpt_graph_find_param(g, "fc1.weight")->tensor, WIDE, "head"));
}

static bool is_update(int op) {
    return op == DPT_OP_SGD || op == DPT_OP_ADAMW || op == DPT_OP_TRUST_NORMS || op == DPT_OP_TRUST_STEP;
}

static void gathers_before_updates(void) {
    for (int k = DPT_SGD; k <= DPT_LAMB; k++) {
        trainer_side s;
        dpt_trainer_options o = options_of();
        int64_t waits = 0, updates = 0;
        o.zero = 1;
        o.bucket_bytes = 300;
        o.optimizer = (dpt_optimizer)k;
        if (!trainer_side_open(&s, MPI_COMM_WORLD, 1, build_shown, &o)) return;
        const dpt_graph *g = s.trainer->train.program->graph;
        for (int64_t i = 0; i < g->n_node; i++) {
            waits += g->node[i]->op == DPT_OP_GATHER_WAIT;
            if (is_update(g->node[i]->op) && updates++ == 0) CHECK_EQ_I64(waits, s.trainer->plan.n_bucket - 1);
        }
        CHECK(waits == s.trainer->plan.n_bucket - 1 && updates > 0);
        trainer_side_close(&s);
    }
}

/* ---- groups ---- */

static const dpt_comm_ops *below;
static int groups, open_group, in_groups;

static dpt_status counted_group(dpt_comm *comm, bool begin) {
    CHECK(open_group != begin);
    groups += begin;
    open_group = begin;
    return below->group ? below->group(comm, begin) : DPT_OK;
}

static dpt_status counted_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                                dpt_stream *stream, uint64_t *ticket) {
    in_groups += open_group;
    return below->start(comm, what, data, count, dtype, stream, ticket);
}

/* Sums of a step that go out as one: the counts of two masked losses; by bucket and sharded, the norms too. The norm of
 * all alone makes no group. */
static void grouped(void) {
    for (int k = 0; k < 3; k++) {
        trainer_side s = {0};
        dpt_array mine[4];
        batch b;
        dpt_trainer_options o = options_of();
        o.zero = k > 0;
        o.update_by_bucket = k > 1;
        if (!CHECK_OK(check_context(MPI_COMM_WORLD, 1, &s.ctx))) return;
        below = s.ctx->comm.ops;
        dpt_comm_ops counted = *below;
        counted.group = counted_group;
        counted.start = counted_start;
        s.ctx->comm.ops = &counted;
        s.graph = dpt_graph_create(s.ctx);
        build_mixed(s.graph);
        CHECK_OK(dpt_trainer_create(s.graph, &o, &s.trainer));
        fill(&b, 0);
        share_arrays(&s, b.array, 4, SHARE_EVEN, mine);
        groups = in_groups = open_group = 0;
        CHECK_OK(trainer_step_now(s.trainer, mine, 4, NULL));
        const int64_t buckets = s.trainer->plan.n_bucket - 1, ranks = check_world();
        CHECK(open_group == 0 && groups == (ranks > 1 ? 1 + k / 2 : 0));
        CHECK_EQ_I64(in_groups, ranks > 1 ? 2 + k / 2 * buckets : 0);
        s.ctx->comm.ops = below;
        trainer_side_close(&s);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "zero", {"sgd", sgd}, {"adamw", adamw}, {"accumulated", accumulated},
                      {"threaded", threaded}, {"moments", moments}, {"between_steps", between_steps},
                      {"skipped", skipped}, {"by_bucket_as_whole", by_bucket_as_whole},
                      {"one_bucket_skips", one_bucket_skips}, {"refuses", refuses}, {"gathers", gathers},
                      {"gathers_before_updates", gathers_before_updates}, {"grouped", grouped});
}
