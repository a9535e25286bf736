/* test_graph.c: building graphs: what is refused and with which words, what sticks, names, axes, groups, gradients of
 * gradients, and that no failing allocation does harm. */
#include <stdio.h>

#include "backend/backend.h"
#include "base/memory.h"
#include "graph/op.h"
#include "graph_run.h"
#include "ops/internal.h"
#include "train/trainer.h"

/* ---- what is refused ---- */

typedef struct parts {
    dpt_graph *g, *other;
    dpt_tensor *x, *d, *i, *m, *w, *c3, *s, *foreign;
    int64_t points;
} parts;

static parts begin(void) {
    parts p = {.g = dpt_graph_create(NULL), .other = dpt_graph_create(NULL)};
    p.x = dpt_input(p.g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 8}));
    p.d = dpt_input(p.g, "d", DPT_F64, 2, ((int64_t[]){DPT_BATCH, 8}));
    p.i = dpt_input(p.g, "i", DPT_U8, 1, ((int64_t[]){DPT_BATCH}));
    p.m = dpt_input(p.g, "m", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 3, 6, 6}));
    p.w = dpt_param(p.g, "w", DPT_F32, 2, ((int64_t[]){4, 8}), ((dpt_init){0}));
    p.s = dpt_state(p.g, "s", DPT_F32, 1, ((int64_t[]){3}), DPT_STATE_REPLICATED, 0);
    p.c3 = dpt_constant(p.g, DPT_F32, 1, ((int64_t[]){3}), ((float[]){1, 2, 3}));
    p.points = dpt_batch_axis(p.g, "points");
    p.foreign = dpt_input(p.other, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 8}));
    CHECK_OK(dpt_graph_status(p.g));
    return p;
}

/* The graph has failed with this text after this file and line; a later error changes nothing. */
static void refused(parts *p, int line, dpt_status code, const char *text) {
    char place[256], first[1024];
    snprintf(place, sizeof place, "%s:%d: ", __FILE__, line);
    const dpt_status status = dpt_graph_status(p->g);
    snprintf(first, sizeof first, "%s", dpt_last_error());
    check_that(status == code && strncmp(first, place, strlen(place)) == 0 && strstr(first, text) != NULL, __FILE__,
               line, "status '%s', message '%s'; expected '%s', '%s...%s'", dpt_status_text(status), first,
               dpt_status_text(code), place, text);
    dpt_input(p->g, "x", DPT_F32, 99, NULL);
    dpt_graph_status(p->g);
    CHECK_EQ_TEXT(dpt_last_error(), first);
    dpt_graph_destroy(&p->g);
    dpt_graph_destroy(&p->other);
}

#define REFUSED(expression, code, text)        \
    do {                                       \
        parts p = begin();                     \
        (void)(expression);                    \
        refused(&p, __LINE__, (code), (text)); \
    } while (0)

static void refuses_shapes(void) {
    const dpt_conv_options conv = {0};
    REFUSED(dpt_add(p.x, p.c3), DPT_ERR_SHAPE, "add: a is [B,8], b is [3]");
    REFUSED(dpt_mul(p.x, p.d), DPT_ERR_SHAPE, "mul: a is f32 [B,8], b is f64 [B,8]");
    REFUSED(dpt_matmul(p.x, p.w, 0, 0), DPT_ERR_SHAPE, "matmul: a is [B,8], b is [4,8]");
    REFUSED(dpt_linear_with(p.x, p.w, p.c3), DPT_ERR_SHAPE, "linear: x is [B,8], w is [4,8], b is [3]");
    REFUSED(dpt_linear(p.i, 3, "fc"), DPT_ERR_SHAPE, "linear \"fc\": x is u8 [B]");
    REFUSED(dpt_reshape(p.x, 2, ((int64_t[]){DPT_BATCH, 7})), DPT_ERR_SHAPE, "reshape: x is [B,8]");
    REFUSED(dpt_mse(p.x, p.d), DPT_ERR_SHAPE, "mse: y is f32 [B,8], target is f64 [B,8]");
    REFUSED(dpt_cross_entropy(p.x, p.x), DPT_ERR_SHAPE, "cross_entropy: logits are f32 [B,8], target is f32 [B,8]");
    REFUSED(dpt_conv2d(p.x, 4, 3, 1, conv, "conv"), DPT_ERR_SHAPE, "conv \"conv\": x is f32 [B,8]");
    REFUSED(dpt_conv2d(p.m, 4, 7, 1, conv, "conv"), DPT_ERR_SHAPE,
            "conv \"conv\": x is f32 [B,3,6,6]: size 6 with pad 0 is smaller than a kernel of 7");
    REFUSED(dpt_max_pool2d(p.x, 2, 0, 0), DPT_ERR_SHAPE, "max_pool: x is f32 [B,8]");
    REFUSED(dpt_batch_norm(p.i, ((dpt_batch_norm_options){0}), "bn"), DPT_ERR_SHAPE, "batch_norm \"bn\": x is u8 [B]");
    REFUSED(dpt_softmax(p.i), DPT_ERR_SHAPE, "softmax: x is u8 [B]");
    REFUSED(dpt_all_reduce(p.x), DPT_ERR_SHAPE, "all_reduce: x is [B,8]");
    REFUSED(dpt_loss_add(p.g, p.i, 1, NULL), DPT_ERR_SHAPE, "loss: value is u8 [B]");
    REFUSED(dpt_loss_add(p.g, p.c3, 1, NULL), DPT_ERR_SHAPE, "loss: value is f32 [3]");
    REFUSED(dpt_loss_add(p.g, dpt_sum(p.x, 2, 0), 1, p.x), DPT_ERR_SHAPE, "value is f32 [B], mask is f32 [B,8]");
    REFUSED(dpt_assign(p.s, p.w), DPT_ERR_SHAPE, "assign \"s\": state is f32 [3], value is f32 [4,8]");
}

static void refuses_names(void) {
    const dpt_init zeros = {0};
    const int64_t one[] = {1};
    REFUSED(dpt_param(p.g, "w", DPT_F32, 1, one, zeros), DPT_ERR_ARG, "param \"w\": the name is taken");
    REFUSED(dpt_param(p.g, "x", DPT_F32, 1, one, zeros), DPT_ERR_ARG, "param \"x\": the name is taken");
    REFUSED(dpt_input(p.g, "w", DPT_F32, 1, one), DPT_ERR_ARG, "input \"w\": the name is taken");
    REFUSED(dpt_state(p.g, "w", DPT_F32, 1, one, DPT_STATE_LOCAL, 0), DPT_ERR_ARG, "state \"w\": the name is taken");
    REFUSED(dpt_dropout(p.x, 0.5, "s"), DPT_ERR_ARG, "dropout \"s\": the name is taken");
    REFUSED(dpt_linear(dpt_linear(p.x, 8, "fc"), 8, "fc"), DPT_ERR_ARG, "param \"fc.weight\": the name is taken");
    REFUSED((dpt_output(p.g, "y", p.x), dpt_output(p.g, "y", p.d)), DPT_ERR_ARG, "output \"y\": the name is taken");
    REFUSED(dpt_batch_axis(p.g, "points"), DPT_ERR_ARG, "batch axis \"points\": the name is taken");
    REFUSED(dpt_batch_axis(p.g, "batch"), DPT_ERR_ARG, "batch axis \"batch\": the name is taken");
    REFUSED(dpt_param(p.g, "", DPT_F32, 1, one, zeros), DPT_ERR_ARG, "param: a name is needed");
    REFUSED(dpt_input(p.g, NULL, DPT_F32, 1, one), DPT_ERR_ARG, "input: a name is needed");
    REFUSED(dpt_dropout(p.x, 0.5, NULL), DPT_ERR_ARG, "dropout: a name is needed");
    REFUSED(dpt_linear(p.x, 3, NULL), DPT_ERR_ARG, "it needs a name");
}

static void refuses_leaves(void) {
    const dpt_init zeros = {0};
    const int64_t inner[] = {8, DPT_BATCH}, none[] = {DPT_BATCH, 0}, stranger[] = {-23, 2}, batch[] = {DPT_BATCH};
    REFUSED(dpt_input(p.g, "y", DPT_F32, 2, inner), DPT_ERR_SHAPE, "input \"y\": dimension 1 of [8,B]");
    REFUSED(dpt_input(p.g, "y", DPT_F32, 2, none), DPT_ERR_SHAPE, "input \"y\": dimension 1 of [B,0]");
    REFUSED(dpt_input(p.g, "y", DPT_F32, 2, stranger), DPT_ERR_SHAPE, "names no batch axis of this graph");
    REFUSED(dpt_input(p.g, "y", DPT_F32, 9, none), DPT_ERR_SHAPE, "input \"y\": 9 dimensions (0 to 8)");
    REFUSED(dpt_input(p.g, "y", (dpt_dtype)77, 1, batch), DPT_ERR_ARG, "no such element type: 77");
    REFUSED(dpt_param(p.g, "y", DPT_F32, 1, batch, zeros), DPT_ERR_SHAPE, "param \"y\": dimension 0 of [B]");
    REFUSED(dpt_param(p.g, "y", DPT_I32, 1, none + 1, zeros), DPT_ERR_ARG, "param \"y\": type i32");
    REFUSED(dpt_scalar(p.g, DPT_U8, 1), DPT_ERR_ARG, "scalar: type u8");
    REFUSED(dpt_state(p.g, "y", DPT_F32, 1, batch, DPT_STATE_LOCAL, 0), DPT_ERR_SHAPE, "state \"y\": dimension 0");
}

static void refuses_uses(void) {
    REFUSED(dpt_add(p.x, p.foreign), DPT_ERR_ARG, "add: operand 1 belongs to another graph");
    REFUSED(dpt_output(p.g, "y", p.foreign), DPT_ERR_ARG, "output \"y\" belongs to another graph");
    REFUSED(dpt_loss_add(p.g, p.foreign, 1, NULL), DPT_ERR_ARG, "another graph");
    REFUSED(dpt_gradient(p.x, p.foreign), DPT_ERR_ARG, "another graph");
    REFUSED(dpt_gradient(p.x, p.i), DPT_ERR_ARG, "gradient: y is f32, x is u8");
    REFUSED(dpt_assign(p.x, p.x), DPT_ERR_ARG, "assign: \"x\" is no state");
    REFUSED((dpt_assign(p.s, p.c3), dpt_assign(p.s, p.c3)), DPT_ERR_ARG, "state \"s\" is assigned twice");
    REFUSED(dpt_dropout(p.x, 1.5, "drop"), DPT_ERR_ARG, "dropout \"drop\": the probability is 1.5");
    REFUSED(dpt_add(p.x, dpt_input(p.g, "q", DPT_F32, 2, ((int64_t[]){p.points, 8}))), DPT_ERR_SHAPE,
            "add: a is [B,8], b is [A2,8]");
}

/* Everything made of poison is poison; nothing is added to a broken graph. */
static void poison(void) {
    parts p = begin();
    dpt_tensor *bad = dpt_add(p.x, p.c3);
    int64_t dim[DPT_MAX_NDIM];
    const int64_t nodes = p.g->n_node, params = p.g->n_param;
    CHECK(bad == &p.g->poison && dpt_tensor_dims(bad, dim) == -1);
    dpt_tensor *const made[] = {dpt_relu(bad),
                                dpt_add(p.x, bad),
                                dpt_matmul(bad, p.w, 0, 1),
                                dpt_linear(bad, 3, "fc"),
                                dpt_conv2d(bad, 3, 3, 1, (dpt_conv_options){0}, "conv"),
                                dpt_mse(bad, p.x),
                                dpt_batch_norm(bad, (dpt_batch_norm_options){0}, "bn"),
                                dpt_dropout(bad, 0.5, "drop"),
                                dpt_cross_entropy(bad, p.i),
                                dpt_accuracy(bad, p.i),
                                dpt_one_hot(bad, 3, DPT_F32),
                                dpt_sum(bad, 1, 0),
                                dpt_mean(bad, 1, 0),
                                dpt_flatten(bad),
                                dpt_softmax(bad),
                                dpt_max_pool2d(bad, 2, 0, 0),
                                dpt_cast(bad, DPT_F64),
                                dpt_all_reduce(bad),
                                dpt_gradient(bad, p.x),
                                dpt_gradient(p.x, bad),
                                dpt_sqrt(p.x),
                                dpt_broadcast(bad, 1, (int64_t[]){3}),
                                dpt_scale(bad, 2),
                                dpt_gelu(bad),
                                dpt_linear_with(p.x, bad, NULL),
                                dpt_rows(p.g, DPT_BATCH, 1, DPT_F32)};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        check_that(made[i] == bad, __FILE__, __LINE__, "result %zu is not poison", i);
    dpt_assign(bad, p.x);
    dpt_assign(p.s, bad);
    dpt_loss_add(p.g, bad, 1, NULL);
    dpt_output(p.g, "y", bad);
    dpt_param_group(p.g, "*", (dpt_group){0});
    CHECK_EQ_I64(dpt_batch_axis(p.g, "more"), DPT_BATCH);
    CHECK(p.g->n_node == nodes && p.g->n_param == params && p.g->n_loss == 0 && p.g->n_output == 0);
    dpt_graph_destroy(&p.g);
    CHECK(p.g == NULL);
    dpt_graph_destroy(&p.g);
    dpt_graph_destroy(&p.other);
}

static void batch_axes(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    int64_t dim[DPT_MAX_NDIM];
    char name[16];
    for (int i = 1; i < DPT_MAX_AXES; i++) {
        snprintf(name, sizeof name, "axis%d", i);
        const int64_t axis = dpt_batch_axis(g, name);
        dpt_tensor *x = dpt_input(g, name, DPT_F32, 2, ((int64_t[]){axis, 3}));
        CHECK(dpt_tensor_dims(dpt_tanh(x), dim) == 2 && dim[0] == axis && dim[1] == 3);
        CHECK_EQ_I64(dpt_tensor_axis(x), i);
    }
    CHECK_OK(dpt_graph_status(g));
    dpt_batch_axis(g, "one too many");
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_ARG, "batch axis \"one too many\": at most 8 axes");
    dpt_graph_destroy(&g);
}

static void check_group(const dpt_graph *g, const char *name, double lr_factor, int no_decay, int frozen) {
    const dpt_group group = dpt_graph_find_param(g, name)->group;
    CHECK(group.lr_factor == lr_factor && group.no_decay == no_decay && group.frozen == frozen);
}

static void groups(void) {
    parts p = begin();
    dpt_param_group(p.g, "fc?.weight", (dpt_group){.lr_factor = 3});
    dpt_linear(dpt_linear(p.x, 4, "fc1"), 4, "fc2");
    dpt_param_group(p.g, "*.bias", (dpt_group){.lr_factor = 1, .no_decay = 1});
    dpt_param_group(p.g, "fc2.*", (dpt_group){.lr_factor = 0.5, .frozen = 1});
    dpt_graph_resolve_groups(p.g);
    check_group(p.g, "fc1.weight", 3, 0, 0);
    check_group(p.g, "fc1.bias", 1, 1, 0);
    check_group(p.g, "fc2.weight", 0.5, 0, 1);
    check_group(p.g, "fc2.bias", 0.5, 0, 1);
    check_group(p.g, "w", 1, 0, 0);
    CHECK(dpt_graph_find_param(p.g, "fc3.bias") == NULL);
    dpt_graph_destroy(&p.g);
    dpt_graph_destroy(&p.other);
}

/* ---- gradients ---- */

static bool open_alone(dpt_context **ctx) { return CHECK_OK(check_context(MPI_COMM_SELF, 1, ctx)); }

/* y = sum of x^3: dy/dx = 3x^2, then 6x, then 6, then nothing; nothing flows to z. */
static void gradients(void) {
    static const char *const name[] = {"1", "2", "3", "4", "z"};
    const double x[] = {-1.5, 0, 2, 0.25};
    dpt_context *ctx = NULL;
    graph_run r;
    double got[4];
    if (!open_alone(&ctx)) return;
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *in = dpt_input(g, "x", DPT_F64, 2, ((int64_t[]){DPT_BATCH, 2})), *y = dpt_mul(dpt_mul(in, in), in);
    dpt_tensor *z = dpt_input(g, "z", DPT_F64, 2, ((int64_t[]){DPT_BATCH, 2}));
    dpt_output(g, "z", dpt_gradient(y, z));
    for (int i = 0; i < 4; i++) dpt_output(g, name[i], y = dpt_gradient(y, in));
    if (CHECK_OK(graph_run_open(&r, ctx, g, 3, 2, true))) {
        CHECK_OK(graph_run_set(&r, "x", DPT_F64, x, 2));
        CHECK_OK(graph_run_forward(&r));
        for (int k = 0; k < 5; k++) {
            CHECK_EQ_I64(graph_run_read(&r, name[k], 2, got, 4), 4);
            for (int i = 0; i < 4; i++) CHECK_NEAR(got[i], ((double[]){3 * x[i] * x[i], 6 * x[i], 6, 0, 0})[k], 1e-14);
        }
        graph_run_close(&r);
    }
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

static void terminal(void) {
    parts p = begin();
    dpt_tensor *y = dpt_batch_norm(p.x, (dpt_batch_norm_options){0}, "bn");
    const int line = __LINE__ - 1; /* the place is the node's, where the user built it */
    dpt_tensor *dx = dpt_gradient(dpt_mul(y, y), p.x);
    CHECK_OK(dpt_graph_status(p.g));
    CHECK(dpt_is_poison(dpt_gradient(dpt_mul(dx, dx), p.x)));
    refused(&p, line, DPT_ERR_UNSUPPORTED, "has a fused backward kernel only and cannot be differentiated again");
}

/* ---- no memory ---- */

static void build_everything(dpt_graph *g) {
    const int64_t points = dpt_batch_axis(g, "points");
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 4}));
    dpt_tensor *q = dpt_input(g, "q", DPT_F32, 2, ((int64_t[]){points, 1}));
    dpt_tensor *t = dpt_input(g, "t", DPT_U8, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *m = dpt_input(g, "m", DPT_F32, 1, ((int64_t[]){DPT_BATCH}));
    dpt_tensor *s = dpt_state(g, "s", DPT_F32, 0, NULL, DPT_STATE_REPLICATED, 1);
    dpt_tensor *h = dpt_gelu(dpt_linear(x, 5, "fc1"));
    h = dpt_dropout(dpt_batch_norm(h, (dpt_batch_norm_options){0}, "bn"), 0.5, "drop");
    dpt_tensor *y = dpt_linear(h, 3, "fc2"), *u = dpt_tanh(dpt_linear(q, 2, "fc3"));
    dpt_param_group(g, "*.bias", (dpt_group){.lr_factor = 1, .no_decay = 1});
    dpt_assign(s, dpt_offset(dpt_mul(s, s), 1));
    dpt_output(g, "accuracy", dpt_accuracy(y, t));
    dpt_loss_add(g, dpt_cross_entropy(y, t), 1, m);
    dpt_loss_add(g, dpt_sqrt(dpt_sum(dpt_gradient(u, q), DPT_ALL_AXES, 0)), 1, NULL);
}

static dpt_status build_and_destroy(dpt_context *ctx) {
    dpt_trainer_options o;
    dpt_trainer *trainer;
    dpt_trainer_options_init(&o);
    o.max_rows = 3;
    o.optimizer = DPT_ADAMW;
    dpt_graph *g = dpt_graph_create(ctx);
    build_everything(g);
    const dpt_status status = dpt_trainer_create(g, &o, &trainer);
    CHECK((trainer != NULL) == (status == DPT_OK));
    dpt_trainer_destroy(&trainer);
    dpt_graph_destroy(&g);
    return status;
}

/* Sanitizers make a try a hundred times slower: they see every 37th. */
enum { STRIDE = CHECK_IS_SLOW ? 37 : 1 };

/* Every allocation fails once. What was taken is given back, and the last try works. */
static void failing_allocations(void) {
    dpt_context *ctx = NULL;
    if (!open_alone(&ctx)) return;
    const int64_t before = dpt_alloc_count();
    CHECK_OK(build_and_destroy(ctx));
    const int64_t all = dpt_alloc_count() - before;
    CHECK(all > 100);
    for (int64_t n = 1; n <= all; n += STRIDE) {
        dpt_alloc_fail_at(n);
        const dpt_status status = build_and_destroy(ctx);
        dpt_alloc_fail_at(0);
        size_t left = 0;
        for (int i = 0; i < DPT_PURPOSE_COUNT; i++) left += ctx->device.allocated[i];
        if (!check_that(status == DPT_ERR_MEMORY && left == 0, __FILE__, __LINE__,
                        "allocation %lld of %lld: status '%s' (%s), %zu bytes of the device kept", (long long)n,
                        (long long)all, dpt_status_text(status), dpt_last_error(), left))
            break;
    }
    CHECK_OK(build_and_destroy(ctx));
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "graph", {"refuses_shapes", refuses_shapes}, {"refuses_names", refuses_names},
                      {"refuses_leaves", refuses_leaves}, {"refuses_uses", refuses_uses}, {"poison", poison},
                      {"batch_axes", batch_axes}, {"groups", groups}, {"gradients", gradients}, {"terminal", terminal},
                      {"failing_allocations", failing_allocations});
}
