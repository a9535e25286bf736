/* test_update.c: what ends a training step (update.c), losses (loss.c) and rank-wise ops (collective.c): kernels
 * against their formulas in f64, and what their shape rules refuse. */
#include "base/random.h"
#include "dptrain/ops.h"
#include "graph/op.h"
#include "kernel_call.h"
#include "ops/internal.h"

/* Two stretches with a gap before, between and after: f32 and f64. */
enum { LONG = 50021, SHORT = 37, GAP = 64, BYTES = 4 * LONG + 8 * SHORT + 3 * GAP + 256 };
enum { SHORT_AT = (GAP + 4 * LONG + GAP + 63) / 64 * 64 };

static const dpt_segment segments[2] = {
    {.param_offset = GAP,
     .grad_offset = GAP,
     .moment_offset = GAP,
     .count = LONG,
     .dtype = DPT_F32,
     .lr_factor = 1,
     .decay = 0.125f},
    {.param_offset = SHORT_AT,
     .grad_offset = SHORT_AT,
     .moment_offset = SHORT_AT,
     .count = SHORT,
     .dtype = DPT_F64,
     .lr_factor = 0.5f},
};

typedef struct arena {
    _Alignas(64) char byte[BYTES];
} arena;

typedef struct training {
    arena p, g, m, v;
    double guard[4];
    dpt_block block;
} training;

static double get(const arena *a, int segment, int64_t i) {
    return segment == 0 ? (double)((const float *)(a->byte + GAP))[i] : ((const double *)(a->byte + SHORT_AT))[i];
}

static void put(arena *a, int segment, int64_t i, double value) {
    if (segment == 0)
        ((float *)(a->byte + GAP))[i] = (float)value;
    else
        ((double *)(a->byte + SHORT_AT))[i] = value;
}

static void draw(arena *a, uint64_t key) {
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < segments[s].count; i++) {
            double x, y;
            dpt_random4 r = dpt_random_quad(key, (uint32_t)i, (uint64_t)s, 0);
            dpt_normal_pair(r.v[0], r.v[1], &x, &y);
            put(a, s, i, x);
        }
}

static void start(training *t) {
    memset(t, 0x11, sizeof *t); /* what lies between the stretches must stay */
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < segments[s].count; i++) put(&t->m, s, i, 0), put(&t->v, s, i, 0);
    draw(&t->p, 1);
    draw(&t->g, 2);
    t->guard[0] = 0.5, t->guard[1] = 1, t->guard[2] = 3;
    t->block = (dpt_block){.step = 0, .lr = 0.01};
}

static dpt_call update_call(training *t, int op) {
    dpt_call call = {.op = op, .n_in = 1, .block = &t->block};
    call.attr.update.segment = segments;
    call.attr.update.segments = 2;
    call.arenas = (dpt_arenas){.param = t->p.byte, .grad = t->g.byte, .moment1 = t->m.byte, .moment2 = t->v.byte};
    call.in[0] = kernel_vector(t->guard, DPT_F64, 4);
    return call;
}

/* ---- optimisers ---- */

typedef struct expected {
    double p[2][LONG], m[2][LONG], v[2][LONG];
} expected;

static void expect(const training *t, expected *e) {
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < segments[s].count; i++) e->p[s][i] = get(&t->p, s, i), e->m[s][i] = e->v[s][i] = 0;
}

static void check_arena(const arena *got, double formula[2][LONG]) {
    static double values[LONG];
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < segments[s].count; i++) values[i] = get(got, s, i);
        CHECK_NEAR(check_relative_f64(values, formula[s], segments[s].count), 0, s == 0 ? 2e-7 : 1e-14);
    }
    for (int64_t i = 0; i < BYTES; i++) {
        bool in_long = i >= GAP && i < GAP + 4 * LONG, in_short = i >= SHORT_AT && i < SHORT_AT + 8 * SHORT;
        if (!in_long && !in_short && !CHECK_EQ_I64(got->byte[i], 0x11)) return;
    }
}

/* torch.optim.SGD's documentation, written out. */
static void sgd_step(const training *t, expected *e, double momentum, bool nesterov) {
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < segments[s].count; i++) {
            double lr = t->block.lr * (double)segments[s].lr_factor, p = e->p[s][i];
            double g = t->guard[0] * get(&t->g, s, i) + (double)segments[s].decay * p;
            if (momentum != 0) e->m[s][i] = momentum * e->m[s][i] + g;
            if (momentum != 0) g = nesterov ? g + momentum * e->m[s][i] : e->m[s][i];
            e->p[s][i] = p - lr * g;
        }
}

/* torch.optim.AdamW's. */
static void adamw_step(const training *t, expected *e, double beta1, double beta2, double eps) {
    double count = (double)t->block.step + 1;
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < segments[s].count; i++) {
            double lr = t->block.lr * (double)segments[s].lr_factor, g = t->guard[0] * get(&t->g, s, i);
            double *m = &e->m[s][i], *v = &e->v[s][i];
            e->p[s][i] -= lr * (double)segments[s].decay * e->p[s][i];
            *m = beta1 * *m + (1 - beta1) * g;
            *v = beta2 * *v + (1 - beta2) * g * g;
            double m_hat = *m / (1 - pow(beta1, count)), v_hat = *v / (1 - pow(beta2, count));
            e->p[s][i] -= lr * m_hat / (sqrt(v_hat) + eps);
        }
}

static training one, two;
static expected want;

static void sgd_case(float momentum, bool nesterov) {
    start(&one);
    start(&two);
    expect(&one, &want);
    for (int step = 0; step < 3; step++) {
        one.block.step = two.block.step = step;
        draw(&one.g, 10 + (uint64_t)step);
        draw(&two.g, 10 + (uint64_t)step);
        dpt_call call = update_call(&one, DPT_OP_SGD);
        call.attr.update.momentum = momentum;
        call.attr.update.nesterov = nesterov;
        kernel_run(&call, 1);
        dpt_call threads = update_call(&two, DPT_OP_SGD);
        threads.attr = call.attr;
        kernel_run(&threads, 3);
        sgd_step(&one, &want, (double)momentum, nesterov);
    }
    check_arena(&one.p, want.p);
    check_arena(&one.m, want.m);
    CHECK(memcmp(&one.p, &two.p, sizeof one.p) == 0 && memcmp(&one.m, &two.m, sizeof one.m) == 0);
}

static void sgd(void) {
    sgd_case(0, false);
    sgd_case(0.875f, false);
    sgd_case(0.875f, true);
}

static void sgd_without_moments(void) {
    start(&one);
    expect(&one, &want);
    dpt_call call = update_call(&one, DPT_OP_SGD);
    call.arenas.moment1 = call.arenas.moment2 = NULL;
    kernel_run(&call, 1);
    sgd_step(&one, &want, 0, false);
    check_arena(&one.p, want.p);
}

static void adamw(void) {
    start(&one);
    start(&two);
    expect(&one, &want);
    for (int step = 0; step < 4; step++) {
        one.block.step = two.block.step = step;
        draw(&one.g, 10 + (uint64_t)step);
        draw(&two.g, 10 + (uint64_t)step);
        dpt_call call = update_call(&one, DPT_OP_ADAMW);
        call.attr.update.beta1 = 0.875f;
        call.attr.update.beta2 = 0.96875f;
        call.attr.update.eps = 0x1p-10f;
        kernel_run(&call, 1);
        dpt_call threads = update_call(&two, DPT_OP_ADAMW);
        threads.attr = call.attr;
        kernel_run(&threads, 3);
        adamw_step(&one, &want, 0.875, 0.96875, 0x1p-10);
    }
    check_arena(&one.p, want.p);
    check_arena(&one.m, want.m);
    check_arena(&one.v, want.v);
    CHECK(memcmp(&one.p, &two.p, sizeof one.p) == 0 && memcmp(&one.v, &two.v, sizeof one.v) == 0);
}

/* The first step of Adam is the learning rate along the sign of the gradient (Kingma and Ba 2015, section 2.1). */
static void adamw_first_step(void) {
    start(&one);
    dpt_call call = update_call(&one, DPT_OP_ADAMW);
    call.attr.update.beta1 = 0.9f, call.attr.update.beta2 = 0.999f, call.attr.update.eps = 1e-30f;
    double before = get(&one.p, 1, 5);
    kernel_run(&call, 1);
    CHECK_NEAR(get(&one.p, 1, 5) - before, get(&one.g, 1, 5) > 0 ? -0.005 : 0.005, 1e-12);
}

static void not_ok_changes_nothing(void) {
    for (int op = DPT_OP_SGD; op <= DPT_OP_ADAMW; op++) {
        start(&one);
        one.guard[0] = NAN, one.guard[1] = 0, one.guard[2] = NAN;
        two = one;
        dpt_call call = update_call(&one, op);
        call.attr.update.momentum = call.attr.update.beta1 = call.attr.update.beta2 = 0.5f;
        kernel_run(&call, 1);
        CHECK(memcmp(&one, &two, sizeof one) == 0);
    }
}

/* ---- norm and guard ---- */

/* Onto *before, where there is one. */
static double norm_onto(training *t, double *before, int threads) {
    double square = -1;
    dpt_call call = update_call(t, DPT_OP_SQUARE_NORM);
    call.n_in = before != NULL;
    call.n_out = 1;
    if (before) call.in[0] = kernel_scalar(before, DPT_F64);
    call.out[0] = kernel_scalar(&square, DPT_F64);
    kernel_run(&call, threads);
    return square;
}

static double norm_with(training *t, int threads) { return norm_onto(t, NULL, threads); }

static void square_norm(void) {
    start(&one);
    double square = 0;
    for (int s = 0; s < 2; s++)
        for (int64_t i = 0; i < segments[s].count; i++) square += get(&one.g, s, i) * get(&one.g, s, i);
    double got = norm_with(&one, 1), again = norm_with(&one, 3);
    CHECK_NEAR(got, square, 1e-12);
    CHECK(memcmp(&got, &again, sizeof got) == 0);
    CHECK_NEAR(norm_onto(&one, &square, 2), 2 * square, 1e-12);
    for (int64_t i = 0; i < LONG; i++) put(&one.g, 0, i, 1e30); /* f32 alone would overflow */
    CHECK_NEAR(norm_with(&one, 1) / (LONG * 1e60), 1, 1e-6);
    put(&one.g, 0, LONG - 1, NAN);
    CHECK(isnan(norm_with(&one, 2)));
}

typedef struct guarded {
    double factor, ok, norm, loss;
} guarded;

static guarded guard_of(double square, float loss, double wide_loss, double max_norm) {
    guarded out = {-1, -1, -1, -1};
    dpt_call call = {.op = DPT_OP_GUARD, .n_in = 3, .n_out = 1};
    call.attr.clip.max_norm = max_norm;
    call.in[0] = kernel_scalar(&square, DPT_F64);
    call.in[1] = kernel_scalar(&loss, DPT_F32);
    call.in[2] = kernel_scalar(&wide_loss, DPT_F64);
    call.out[0] = kernel_vector(&out, DPT_F64, 4);
    kernel_run(&call, 1);
    return out;
}

static void guard(void) {
    guarded r = guard_of(16, 1, 2, 0);
    CHECK(r.factor == 1 && r.ok == 1 && r.norm == 4);
    r = guard_of(16, 1, 2, 1);
    CHECK_NEAR(r.factor, 1 / (4 + 1e-6), 1e-15); /* torch.nn.utils.clip_grad_norm_ */
    r = guard_of(16, 1, 2, 5);
    CHECK(r.factor == 1);
    CHECK(guard_of(NAN, 1, 2, 1).ok == 0);
    CHECK(guard_of(INFINITY, 1, 2, 1).ok == 0);
    CHECK(guard_of(16, NAN, 2, 1).ok == 0);
    CHECK(guard_of(16, 1, -INFINITY, 1).ok == 0);
}

/* ---- stores ---- */

static void grad_store(void) {
    static float in[LONG], out[LONG];
    for (int64_t i = 0; i < LONG; i++) in[i] = (float)i, out[i] = 0.5f;
    dpt_call call = {.op = DPT_OP_GRAD_STORE, .n_in = 1, .n_out = 1};
    call.in[0] = kernel_vector(in, DPT_F32, LONG);
    call.out[0] = kernel_vector(out, DPT_F32, LONG);
    kernel_run(&call, 2);
    CHECK(memcmp(in, out, sizeof in) == 0);
    call.attr.slot.accumulate = true;
    kernel_run(&call, 2);
    for (int64_t i = 0; i < LONG; i++) CHECK(out[i] == 2 * (float)i);
    double wide_in[2] = {1, 2}, wide_out[2] = {0.25, 0.5};
    call.in[0] = kernel_vector(wide_in, DPT_F64, 2);
    call.out[0] = kernel_vector(wide_out, DPT_F64, 2);
    kernel_run(&call, 1);
    CHECK(wide_out[0] == 1.25 && wide_out[1] == 2.5);
    call.attr.slot.accumulate = false;
    call.in[0] = call.out[0]; /* made in place */
    kernel_run(&call, 1);
    CHECK(wide_out[0] == 1.25 && wide_out[1] == 2.5);
}

static void assign(void) {
    int64_t value[3] = {1, 2, 3}, state[3] = {7, 8, 9};
    double ok[3] = {1, 0, 0};
    dpt_call call = {.op = DPT_OP_ASSIGN, .n_in = 2, .n_out = 1};
    call.in[0] = kernel_vector(value, DPT_I64, 3);
    call.in[1] = kernel_vector(ok, DPT_F64, 3);
    call.out[0] = kernel_vector(state, DPT_I64, 3);
    kernel_run(&call, 1);
    CHECK(state[0] == 7 && state[2] == 9);
    ok[1] = 1;
    kernel_run(&call, 1);
    CHECK(state[0] == 1 && state[2] == 3);
    value[1] = 5;
    call.n_in = 1;
    kernel_run(&call, 1);
    CHECK_EQ_I64(state[1], 5);
}

/* ---- losses ---- */

static void mse(void) {
    enum { ROWS = 5, WIDTH = 21, VALID = 3 };
    float y[ROWS * WIDTH], t[ROWS * WIDTH], loss[ROWS];
    double wide_y[ROWS * WIDTH], wide_t[ROWS * WIDTH], wide_loss[ROWS];
    for (int i = 0; i < ROWS * WIDTH; i++) {
        y[i] = (float)(i % 7) * 0.25f, t[i] = (float)(i % 5) - 1;
        wide_y[i] = (double)y[i], wide_t[i] = (double)t[i];
    }
    for (int i = 0; i < ROWS; i++) loss[i] = 99, wide_loss[i] = 99;
    dpt_block block = {.rows = {VALID}};
    dpt_call call = {.op = DPT_OP_MSE, .n_in = 2, .n_out = 1, .block = &block};
    const int64_t dim[] = {ROWS, WIDTH};
    call.in[0] = kernel_operand(y, DPT_F32, true, 2, dim);
    call.in[1] = kernel_operand(t, DPT_F32, true, 2, dim);
    call.out[0] = kernel_operand(loss, DPT_F32, true, 1, dim);
    kernel_run(&call, 1);
    call.in[0] = kernel_operand(wide_y, DPT_F64, true, 2, dim);
    call.in[1] = kernel_operand(wide_t, DPT_F64, true, 2, dim);
    call.out[0] = kernel_operand(wide_loss, DPT_F64, true, 1, dim);
    kernel_run(&call, 2);
    for (int r = 0; r < VALID; r++) {
        double sum = 0;
        for (int i = 0; i < WIDTH; i++) sum += pow(wide_y[r * WIDTH + i] - wide_t[r * WIDTH + i], 2);
        CHECK_NEAR(wide_loss[r], sum / WIDTH, 1e-15);
        CHECK_NEAR(loss[r], sum / WIDTH, 1e-7);
    }
    CHECK(loss[VALID] == 99 && wide_loss[VALID] == 99);
}

static void loss_scale(void) {
    double count = 8, wide;
    float scale;
    dpt_call call = {.op = DPT_OP_LOSS_SCALE, .n_in = 1, .n_out = 1};
    call.attr.loss.weight = 2;
    call.in[0] = kernel_scalar(&count, DPT_F64);
    call.out[0] = kernel_scalar(&scale, DPT_F32);
    kernel_run(&call, 1);
    CHECK(scale == 0.25f);
    count = 0;
    kernel_run(&call, 1);
    CHECK(scale == 0);
    count = 3;
    call.out[0] = kernel_scalar(&wide, DPT_F64);
    kernel_run(&call, 1);
    CHECK_NEAR(wide, 2.0 / 3, 1e-16);
}

static void root_only(void) {
    double x[2] = {3, 4}, y[2] = {9, 9};
    dpt_block block = {0};
    dpt_call call = {.op = DPT_OP_ROOT_ONLY, .n_in = 1, .n_out = 1, .world = 2, .rank = 1, .block = &block};
    call.in[0] = kernel_vector(x, DPT_F64, 2);
    call.out[0] = kernel_vector(y, DPT_F64, 2);
    kernel_run(&call, 1);
    CHECK(y[0] == 0 && y[1] == 0);
    call.rank = 0;
    kernel_run(&call, 1);
    CHECK(y[0] == 3 && y[1] == 4);
    block.micro_batch = 1; /* counted in the first one */
    kernel_run(&call, 1);
    CHECK(y[0] == 0 && y[1] == 0);
}

/* ---- shape rules ---- */

static dpt_node *node_of(dpt_graph *g, int op, int n_in, dpt_tensor *const *in) {
    return dpt_node_add(g, DPT_HERE, op, NULL, NULL, n_in, in);
}

static void tokens(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_tensor *w = dpt_param(g, "w", DPT_F32, 2, ((int64_t[]){3, 4}), ((dpt_init){0}));
    dpt_tensor *store = &node_of(g, DPT_OP_GRAD_STORE, 1, &w)->out[0];
    CHECK_EQ_TEXT(dpt_shape_text(store), "[3,4]");
    dpt_tensor *many[20];
    for (int i = 0; i < 20; i++) many[i] = store;
    dpt_tensor *started = &node_of(g, DPT_OP_BUCKET_START, 20, many)->out[0];
    dpt_tensor *token = &node_of(g, DPT_OP_BUCKET_WAIT, 1, &started)->out[0];
    CHECK(started->token && token->token && !store->token);
    dpt_tensor *square = &node_of(g, DPT_OP_SQUARE_NORM, 1, &token)->out[0];
    dpt_tensor *loss = dpt_scalar(g, DPT_F32, 1);
    dpt_tensor *guard = &node_of(g, DPT_OP_GUARD, 3, (dpt_tensor *[]){square, loss, token})->out[0];
    CHECK_EQ_TEXT(dpt_shape_text(guard), "[4]");
    CHECK(node_of(g, DPT_OP_SGD, 2, (dpt_tensor *[]){guard, token})->out[0].token);
    CHECK(node_of(g, DPT_OP_ADAMW, 1, &guard)->out[0].token);
    dpt_tensor *next = &node_of(g, DPT_OP_ASSIGN, 2, (dpt_tensor *[]){w, guard})->out[0];
    CHECK_EQ_TEXT(dpt_shape_text(next), "[3,4]");
    CHECK_OK(dpt_graph_status(g));
    CHECK(node_of(g, DPT_OP_SGD, 1, &loss) == NULL);
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "sgd: operand 0 is [], not a guard");
    dpt_graph_destroy(&g);
}

static dpt_tensor *batch_input(dpt_graph *g, const char *name, dpt_dtype dtype, int64_t width) {
    return dpt_input(g, name, dtype, 2, ((int64_t[]){DPT_BATCH, width}));
}

static void refuses(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_mse(batch_input(g, "y", DPT_F32, 3), batch_input(g, "t", DPT_F32, 4));
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "mse: y is f32 [B,3], target is f32 [B,4]");
    dpt_graph_destroy(&g);
    g = dpt_graph_create(NULL);
    dpt_all_reduce(batch_input(g, "y", DPT_F32, 3));
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "all_reduce: x is [B,3]");
    dpt_graph_destroy(&g);
    g = dpt_graph_create(NULL);
    dpt_all_reduce(dpt_input(g, "n", DPT_U8, 1, ((int64_t[]){3})));
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "x is u8 [3]: only f32, f64 and i64");
    dpt_graph_destroy(&g);
    g = dpt_graph_create(NULL);
    dpt_tensor *x = batch_input(g, "x", DPT_F32, 3);
    CHECK(node_of(g, DPT_OP_GRAD_STORE, 1, &x) == NULL);
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "grad_store: the value is [B,3]");
    dpt_graph_destroy(&g);
}

/* The gradients of all_reduce: all ranks get the same g, and so on in turns. */
static void all_reduce_gradients(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_tensor *x = dpt_input(g, "x", DPT_F64, 1, ((int64_t[]){3})), *dx = NULL, *seed = x, *dseed = NULL;
    dpt_tensor *y = dpt_all_reduce(x);
    dpt_gradients(&y, &seed, 1, &x, 1, &dx);
    CHECK(dx != NULL && dx->node->op == DPT_OP_ALL_REDUCE_GRAD && dx->node->in[0] == seed);
    if (dx != NULL) dpt_gradients(&dx, &seed, 1, &x, 1, &dseed);
    CHECK(dseed != NULL && dseed->node->op == DPT_OP_ALL_REDUCE);
    CHECK_OK(dpt_graph_status(g));
    dpt_graph_destroy(&g);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "update", {"sgd", sgd}, {"sgd_without_moments", sgd_without_moments},
                      {"adamw", adamw}, {"adamw_first_step", adamw_first_step},
                      {"not_ok_changes_nothing", not_ok_changes_nothing}, {"square_norm", square_norm},
                      {"guard", guard}, {"grad_store", grad_store}, {"assign", assign}, {"mse", mse},
                      {"loss_scale", loss_scale}, {"root_only", root_only}, {"tokens", tokens}, {"refuses", refuses},
                      {"all_reduce_gradients", all_reduce_gradients});
}
