/* test_length.c: DPT_LENGTH: a graph over sequences of a length that is bound when the trainer is made equals the same
 * graph with the number written in. */
#include "check.h"
#include "dptrain/dptrain.h"

enum { LENGTH = 5, IN = 4, HIDDEN = 8, POOLED = 4, OUT = 2, ROWS = 3 };

static dpt_context *context(void) {
    dpt_context *ctx;
    CHECK_OK(check_context(MPI_COMM_SELF, 0, &ctx));
    return ctx;
}

/* Sequences [B, L, IN]: a layer and a pooling of every element, a sum over the length and two elements of it, a layer,
 * mean square against t. The ReLU goes behind the pooling. */
static dpt_graph *build(dpt_context *ctx, int64_t length) {
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 3, (int64_t[]){DPT_BATCH, length, IN});
    dpt_tensor *t = dpt_input(g, "t", DPT_F32, 2, (int64_t[]){DPT_BATCH, OUT});
    dpt_tensor *h = dpt_gelu(dpt_linear(x, HIDDEN, "fc1"));
    h = dpt_max_pool(dpt_relu(h), ((dpt_pool_options){.kernel = 2}));
    dpt_tensor *again = dpt_reshape(h, 3, (int64_t[]){DPT_BATCH, length, POOLED});
    dpt_tensor *ends = dpt_gather(again, dpt_constant(g, DPT_I32, 1, (int64_t[]){2}, ((int32_t[]){0, 3})), 1);
    dpt_tensor *sum = dpt_add(dpt_sum(again, 1u << 1, 0), dpt_sum(ends, 1u << 1, 0));
    dpt_tensor *y = dpt_linear(sum, OUT, "fc2");
    dpt_output(g, "y", y);
    dpt_loss_add(g, dpt_mse(y, t), 1.0, NULL);
    return g;
}

static void gradients(int64_t length, int64_t bound, double *loss, float *fc1, float *fc2) {
    static float x[ROWS * LENGTH * IN], t[ROWS * OUT];
    for (int i = 0; i < ROWS * LENGTH * IN; i++) x[i] = (float)((i * 37) % 19 - 9) / 9.0f;
    for (int i = 0; i < ROWS * OUT; i++) t[i] = (float)(i % 3) - 1.0f;
    dpt_context *ctx = context();
    dpt_graph *g = build(ctx, length);
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    o.length = bound;
    dpt_trainer *tr = NULL;
    dpt_metrics m = {0};
    dpt_array in[] = {{"x", x, DPT_F32, DPT_HOST, ROWS, NULL}, {"t", t, DPT_F32, DPT_HOST, ROWS, NULL}};
    if (CHECK_OK(dpt_trainer_create(g, &o, &tr))) {
        CHECK_OK(dpt_trainer_gradient(tr, in, 2, &m));
        CHECK_OK(dpt_trainer_get(tr, DPT_GRADIENT, "fc1.weight", fc1, HIDDEN * IN * sizeof(float)));
        CHECK_OK(dpt_trainer_get(tr, DPT_GRADIENT, "fc2.weight", fc2, OUT * POOLED * sizeof(float)));
    }
    *loss = m.loss;
    dpt_trainer_destroy(&tr);
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

static void bound_equals_written(void) {
    double a, b;
    float a1[HIDDEN * IN] = {0}, b1[HIDDEN * IN] = {1}, a2[OUT * POOLED] = {0}, b2[OUT * POOLED] = {1};
    gradients(DPT_LENGTH, LENGTH, &a, a1, a2);
    gradients(LENGTH, 0, &b, b1, b2);
    CHECK(a > 0);
    CHECK(a == b);
    CHECK(memcmp(a1, b1, sizeof a1) == 0);
    CHECK(memcmp(a2, b2, sizeof a2) == 0);
}

static void unbound_is_an_error(void) {
    dpt_context *ctx = context();
    dpt_graph *g = build(ctx, DPT_LENGTH);
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = ROWS;
    dpt_trainer *tr = NULL;
    CHECK_FAILS(dpt_trainer_create(g, &o, &tr), DPT_ERR_ARG, "DPT_LENGTH");
    CHECK(tr == NULL);
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

static void mean_over_length_is_an_error(void) {
    dpt_context *ctx = context();
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 3, (int64_t[]){DPT_BATCH, DPT_LENGTH, IN});
    dpt_mean(x, 1u << 1, 0);
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_UNSUPPORTED, "test_length.c");
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "length", {"bound_equals_written", bound_equals_written},
                      {"unbound_is_an_error", unbound_is_an_error},
                      {"mean_over_length_is_an_error", mean_over_length_is_an_error});
}
