/* test_norm.c: batch norm against its formula in f64 (two passes), its gradients against finite differences of that
 * formula; running statistics; empty ranks; what the constructor leaves in the graph. */
#include "base/random.h"
#include "dptrain/ops.h"
#include "graph/graph.h"
#include "kernel_call.h"

enum { MOST = 65536, MOST_CHANNELS = 40, PADDING_ROWS = 2 };

typedef struct sizes {
    int64_t rows, channels, spatial;
} sizes;

static const sizes all_sizes[] = {{4, 3, 25}, {7, 5, 1}, {64, 40, 1}, {3, 2, 16}, {2, 4, 63}, {9, 1, 8}};
enum { SIZES = sizeof all_sizes / sizeof all_sizes[0] };
/* Large enough to be spread over threads. */
static const sizes large_sizes[] = {{64, 40, 16}, {1024, 40, 1}};

static const double eps = 1e-3, momentum = 0.25;

/* Arrays of one case; rows past the valid ones are NaN. */
typedef struct arrays {
    sizes s;
    int64_t count;
    float x[MOST], g[MOST], y[MOST], dx[MOST];
    float weight[MOST_CHANNELS], bias[MOST_CHANNELS], mean[MOST_CHANNELS], var[MOST_CHANNELS];
    float dweight[MOST_CHANNELS], dbias[MOST_CHANNELS], new_mean[MOST_CHANNELS], new_var[MOST_CHANNELS];
    double moments[2 * MOST_CHANNELS + 1], sums[2 * MOST_CHANNELS], seen, new_seen;
    dpt_block block;
} arrays;

static float draw(uint64_t key, int64_t i) {
    double a, b;
    dpt_random4 r = dpt_random_quad(key, (uint32_t)i, 0, 0);
    dpt_normal_pair(r.v[0], r.v[1], &a, &b);
    return (float)a;
}

static void fill(arrays *a, sizes s) {
    *a = (arrays){.s = s, .count = s.rows * s.channels * s.spatial, .seen = 10, .block = {.rows = {s.rows}}};
    for (int64_t i = 0; i < MOST; i++) a->x[i] = a->g[i] = NAN;
    for (int64_t i = 0; i < a->count; i++) {
        int64_t c = i / s.spatial % s.channels;
        a->x[i] = 3.0f * (float)c + (0.5f + (float)c) * draw(1, i);
        a->g[i] = draw(2, i);
    }
    for (int64_t c = 0; c < s.channels; c++) {
        a->weight[c] = 1.5f + draw(3, c);
        a->bias[c] = draw(4, c);
        a->mean[c] = draw(5, c);
        a->var[c] = 0.5f + (float)c;
    }
}

static dpt_operand planes(const arrays *a, const float *data) {
    return kernel_operand(data, DPT_F32, true, 3, (int64_t[]){a->s.rows + PADDING_ROWS, a->s.channels, a->s.spatial});
}

static dpt_call start(const arrays *a, int op) {
    dpt_call call = {.op = op, .block = &a->block};
    call.attr.norm.eps = eps;
    call.attr.norm.momentum = momentum;
    call.attr.norm.channels = a->s.channels;
    return call;
}

static void run_moments(arrays *a, int threads) {
    dpt_call call = start(a, DPT_OP_BN_MOMENTS);
    call.n_in = call.n_out = 1;
    call.in[0] = planes(a, a->x);
    call.out[0] = kernel_vector(a->moments, DPT_F64, 2 * a->s.channels + 1);
    kernel_run(&call, threads);
}

static void run_apply(arrays *a, int threads) {
    int64_t c = a->s.channels;
    dpt_call call = start(a, DPT_OP_BN_APPLY);
    call.n_in = 6, call.n_out = 1;
    call.in[0] = planes(a, a->x);
    call.in[1] = kernel_vector(a->moments, DPT_F64, 2 * c + 1);
    call.in[2] = kernel_vector(a->weight, DPT_F32, c);
    call.in[3] = kernel_vector(a->bias, DPT_F32, c);
    call.in[4] = kernel_vector(a->mean, DPT_F32, c);
    call.in[5] = kernel_vector(a->var, DPT_F32, c);
    call.out[0] = planes(a, a->y);
    kernel_run(&call, threads);
}

static void run_backward(arrays *a, int threads) {
    int64_t c = a->s.channels;
    dpt_call sums = start(a, DPT_OP_BN_GRAD_SUMS);
    sums.n_in = 3, sums.n_out = 1;
    sums.in[0] = planes(a, a->g);
    sums.in[1] = planes(a, a->x);
    sums.in[2] = kernel_vector(a->moments, DPT_F64, 2 * c + 1);
    sums.out[0] = kernel_vector(a->sums, DPT_F64, 2 * c);
    kernel_run(&sums, threads);

    dpt_call apply = start(a, DPT_OP_BN_GRAD_APPLY);
    apply.n_in = 5, apply.n_out = 1;
    memcpy(apply.in, sums.in, 3 * sizeof sums.in[0]);
    apply.in[3] = sums.out[0];
    apply.in[4] = kernel_vector(a->weight, DPT_F32, c);
    apply.out[0] = planes(a, a->dx);
    kernel_run(&apply, threads);

    dpt_call params = start(a, DPT_OP_BN_PARAM_GRAD);
    params.n_in = 1, params.n_out = 2;
    params.in[0] = sums.out[0];
    params.out[0] = kernel_vector(a->dweight, DPT_F32, c);
    params.out[1] = kernel_vector(a->dbias, DPT_F32, c);
    kernel_run(&params, threads);
}

static void run_running(arrays *a) {
    int64_t c = a->s.channels;
    dpt_call call = start(a, DPT_OP_BN_RUNNING);
    call.n_in = 4, call.n_out = 3;
    call.in[0] = kernel_vector(a->moments, DPT_F64, 2 * c + 1);
    call.in[1] = kernel_vector(a->mean, DPT_F32, c);
    call.in[2] = kernel_vector(a->var, DPT_F32, c);
    call.in[3] = kernel_vector(&a->seen, DPT_F64, 1);
    call.out[0] = kernel_vector(a->new_mean, DPT_F32, c);
    call.out[1] = kernel_vector(a->new_var, DPT_F32, c);
    call.out[2] = kernel_vector(&a->new_seen, DPT_F64, 1);
    kernel_run(&call, 1);
}

/* ---- the formula, in f64 and two passes ---- */

static double element(const arrays *a, const double *x, int64_t c, int64_t k) {
    return x[(k / a->s.spatial * a->s.channels + c) * a->s.spatial + k % a->s.spatial];
}

static void expected_moments(const arrays *a, const double *x, int64_t c, double *mean, double *var) {
    int64_t n = a->s.rows * a->s.spatial;
    *mean = *var = 0;
    for (int64_t k = 0; k < n; k++) *mean += element(a, x, c, k) / (double)n;
    for (int64_t k = 0; k < n; k++) *var += pow(element(a, x, c, k) - *mean, 2) / (double)n;
}

static void expected_y(const arrays *a, const double *x, const double *weight, const double *bias, double *y) {
    for (int64_t c = 0; c < a->s.channels; c++) {
        double mean, var;
        expected_moments(a, x, c, &mean, &var);
        for (int64_t i = 0; i < a->count; i++)
            if (i / a->s.spatial % a->s.channels == c) y[i] = (x[i] - mean) / sqrt(var + eps) * weight[c] + bias[c];
    }
}

/* sum of g * y */
static double expected_loss(const arrays *a, const double *x, const double *weight, const double *bias) {
    static double y[MOST];
    double loss = 0;
    expected_y(a, x, weight, bias, y);
    for (int64_t i = 0; i < a->count; i++) loss += (double)a->g[i] * y[i];
    return loss;
}

static void widen(const float *from, double *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = (double)from[i];
}

/* d(loss)/d(values[i]) by central differences. */
static double slope(const arrays *a, double *x, double *weight, double *bias, double *value) {
    double keep = *value, h = 1e-5;
    *value = keep + h;
    double up = expected_loss(a, x, weight, bias);
    *value = keep - h;
    double down = expected_loss(a, x, weight, bias);
    *value = keep;
    return (up - down) / (2 * h);
}

/* ---- cases ---- */

static arrays a, b;

static void forward(void) {
    for (int k = 0; k < SIZES; k++) {
        fill(&a, all_sizes[k]);
        run_moments(&a, 1);
        run_apply(&a, 1);
        static double x[MOST], y[MOST], weight[MOST_CHANNELS], bias[MOST_CHANNELS], got[MOST];
        widen(a.x, x, a.count);
        widen(a.weight, weight, a.s.channels);
        widen(a.bias, bias, a.s.channels);
        expected_y(&a, x, weight, bias, y);
        widen(a.y, got, a.count);
        CHECK_NEAR(check_relative_f64(got, y, a.count), 0, 3e-7);
        CHECK_NEAR(a.moments[2 * a.s.channels], (double)(a.s.rows * a.s.spatial), 0);
        for (int64_t c = 0; c < a.s.channels; c++) {
            double mean, var, n = (double)(a.s.rows * a.s.spatial);
            expected_moments(&a, x, c, &mean, &var);
            CHECK_NEAR(a.moments[c] / n, mean, 1e-13);
            CHECK_NEAR(a.moments[a.s.channels + c] / n - mean * mean, var, 1e-10);
        }
        CHECK(a.y[a.count] == 0); /* padding is not touched */
    }
}

static void backward(void) {
    for (int k = 0; k < SIZES; k++) {
        fill(&a, all_sizes[k]);
        if (CHECK_IS_SLOW && a.count > 1000) continue; /* a slope an element */
        run_moments(&a, 1);
        run_backward(&a, 1);
        static double x[MOST], weight[MOST_CHANNELS], bias[MOST_CHANNELS], got[MOST], expected[MOST];
        widen(a.x, x, a.count);
        widen(a.weight, weight, a.s.channels);
        widen(a.bias, bias, a.s.channels);
        for (int64_t i = 0; i < a.count; i++) expected[i] = slope(&a, x, weight, bias, &x[i]);
        widen(a.dx, got, a.count);
        CHECK_NEAR(check_relative_f64(got, expected, a.count), 0, 2e-6);
        for (int64_t c = 0; c < a.s.channels; c++) {
            CHECK_NEAR(a.dweight[c], slope(&a, x, weight, bias, &weight[c]), 1e-6);
            CHECK_NEAR(a.dbias[c], slope(&a, x, weight, bias, &bias[c]), 1e-6);
        }
    }
}

/* Moments and gradient sums of a batch are those of its parts added up: what the synchronised form relies on. */
static void parts_add_up(void) {
    fill(&a, all_sizes[0]);
    run_moments(&a, 1);
    run_backward(&a, 1);
    double moments[2 * MOST_CHANNELS + 1], dweight = (double)a.dweight[1], n = 2 * (double)a.s.channels + 1;
    memcpy(moments, a.moments, sizeof moments);
    b = a;
    b.block.rows[0] = 1;
    run_moments(&b, 1);
    for (int64_t i = 0; i < (int64_t)n; i++) moments[i] -= b.moments[i];
    memcpy(b.moments, a.moments, sizeof b.moments);
    run_backward(&b, 1);
    dweight -= (double)b.dweight[1];
    int64_t row = a.s.channels * a.s.spatial;
    memmove(b.x, a.x + row, (size_t)(a.count - row) * sizeof *b.x);
    memmove(b.g, a.g + row, (size_t)(a.count - row) * sizeof *b.g);
    b.block.rows[0] = a.s.rows - 1;
    run_backward(&b, 1);
    CHECK_NEAR(b.dweight[1], dweight, 1e-5);
    run_moments(&b, 1);
    CHECK_NEAR(check_relative_f64(b.moments, moments, (int64_t)n), 0, 1e-12);
}

static void no_rows(void) {
    fill(&a, all_sizes[0]);
    a.block.rows[0] = 0;
    run_moments(&a, 2);
    run_apply(&a, 2);
    run_backward(&a, 2);
    run_running(&a);
    for (int64_t i = 0; i <= 2 * a.s.channels; i++) CHECK(a.moments[i] == 0);
    for (int64_t c = 0; c < a.s.channels; c++) {
        CHECK(a.dweight[c] == 0 && a.dbias[c] == 0);
        CHECK(a.new_mean[c] == a.mean[c] && a.new_var[c] == a.var[c]);
    }
    CHECK(a.new_seen == a.seen && a.y[0] == 0 && a.dx[0] == 0);
    a.block.rows[0] = a.s.rows; /* rows, but moments of none: the bias, no NaN */
    run_apply(&a, 1);
    for (int64_t i = 0; i < a.count; i++) CHECK(a.y[i] == a.bias[i / a.s.spatial % a.s.channels]);
}

static void constant_channel(void) {
    fill(&a, all_sizes[1]);
    for (int64_t i = 0; i < a.count; i++) a.x[i] = 1000.1f;
    run_moments(&a, 1);
    run_apply(&a, 1);
    for (int64_t i = 0; i < a.count; i++) CHECK_NEAR(a.y[i], a.bias[i % a.s.channels], 1e-3);
}

/* A mean of 10^4 standard deviations: squares are summed in f64, so the variance keeps its digits; y is off by the
 * rounding of the mean to f32. */
static void large_means(void) {
    static double x[MOST], y[MOST], weight[MOST_CHANNELS], bias[MOST_CHANNELS];
    for (int k = 0; k < SIZES; k++) {
        fill(&a, all_sizes[k]);
        for (int64_t i = 0; i < a.count; i++) a.x[i] = 1e4F + draw(7, i);
        run_moments(&a, 1);
        run_apply(&a, 1);
        widen(a.x, x, a.count);
        widen(a.weight, weight, a.s.channels);
        widen(a.bias, bias, a.s.channels);
        expected_y(&a, x, weight, bias, y);
        const double n = (double)(a.s.rows * a.s.spatial);
        for (int64_t c = 0; c < a.s.channels; c++) {
            double mean, var;
            expected_moments(&a, x, c, &mean, &var);
            const double got = a.moments[a.s.channels + c] / n - pow(a.moments[c] / n, 2);
            CHECK_NEAR(got, var, 1e-6);
            for (int64_t i = 0; i < a.count; i++)
                if (i / a.s.spatial % a.s.channels == c)
                    CHECK(fabs((double)a.y[i] - y[i]) <= 1e-3 * fabs(weight[c]) / sqrt(var + eps) + 1e-5);
        }
    }
}

static void running(void) {
    fill(&a, all_sizes[0]);
    run_moments(&a, 1);
    run_running(&a);
    static double x[MOST];
    widen(a.x, x, a.count);
    double n = (double)(a.s.rows * a.s.spatial);
    for (int64_t c = 0; c < a.s.channels; c++) {
        double mean, var;
        expected_moments(&a, x, c, &mean, &var);
        CHECK_NEAR(a.new_mean[c], 0.75 * (double)a.mean[c] + 0.25 * mean, 1e-6);
        CHECK_NEAR(a.new_var[c], 0.75 * (double)a.var[c] + 0.25 * var * n / (n - 1), 1e-6);
    }
    CHECK_NEAR(a.new_seen, 10 + n, 0);
    fill(&a, (sizes){1, 3, 1}); /* one element has a mean and no variance */
    run_moments(&a, 1);
    run_running(&a);
    for (int64_t c = 0; c < 3; c++) {
        CHECK_NEAR(a.new_mean[c], 0.75 * (double)a.mean[c] + 0.25 * (double)a.x[c], 1e-6);
        CHECK(a.new_var[c] == a.var[c]);
    }
}

static void inference(void) {
    for (int k = 0; k < 2; k++) {
        fill(&a, all_sizes[k]);
        int64_t c = a.s.channels;
        dpt_call call = start(&a, DPT_OP_BN_INFER);
        call.n_in = 5, call.n_out = 1;
        call.in[0] = planes(&a, a.x);
        call.in[1] = kernel_vector(a.mean, DPT_F32, c);
        call.in[2] = kernel_vector(a.var, DPT_F32, c);
        call.in[3] = kernel_vector(a.weight, DPT_F32, c);
        call.in[4] = kernel_vector(a.bias, DPT_F32, c);
        call.out[0] = planes(&a, a.y);
        kernel_run(&call, 2);
        for (int64_t i = 0; i < a.count; i++) {
            int64_t j = i / a.s.spatial % c;
            double y = ((double)a.x[i] - (double)a.mean[j]) / sqrt((double)a.var[j] + eps) * (double)a.weight[j];
            CHECK_NEAR(a.y[i], y + (double)a.bias[j], 1e-6);
        }
    }
}

static void threads_do_not_matter(void) {
    for (int k = 0; k < 2; k++) {
        fill(&a, large_sizes[k]);
        fill(&b, large_sizes[k]);
        run_moments(&a, 1);
        run_apply(&a, 1);
        run_backward(&a, 1);
        run_moments(&b, 3);
        run_apply(&b, 3);
        run_backward(&b, 3);
        CHECK(memcmp(a.moments, b.moments, sizeof a.moments) == 0);
        CHECK(memcmp(a.sums, b.sums, sizeof a.sums) == 0);
        CHECK(memcmp(a.y, b.y, sizeof a.y) == 0);
        CHECK(memcmp(a.dx, b.dx, sizeof a.dx) == 0);
    }
}

/* ---- the graph ---- */

static dpt_tensor *graph_with(dpt_graph **g, int sync) {
    *g = dpt_graph_create(NULL);
    dpt_tensor *x = dpt_input(*g, "x", DPT_F32, 4, ((int64_t[]){DPT_BATCH, 3, 8, 8}));
    return dpt_batch_norm(x, ((dpt_batch_norm_options){.sync = sync}), "bn1");
}

static void builds(void) {
    for (int sync = 0; sync < 2; sync++) {
        dpt_graph *g;
        dpt_tensor *y = graph_with(&g, sync);
        CHECK_OK(dpt_graph_status(g));
        CHECK_EQ_TEXT(dpt_shape_text(y), "[B,3,8,8]");
        CHECK_EQ_I64(g->n_param, 2);
        CHECK_EQ_TEXT(g->param[0].name, "bn1.weight");
        CHECK_EQ_I64(g->param[0].init.kind, DPT_INIT_ONES);
        CHECK_EQ_TEXT(g->param[1].name, "bn1.bias");
        CHECK_EQ_I64(g->param[1].init.kind, DPT_INIT_ZEROS);
        const char *names[] = {"bn1.running_mean", "bn1.running_var", "bn1.running_weight"};
        CHECK_EQ_I64(g->n_state, 3);
        for (int i = 0; i < 3; i++) {
            const dpt_state_info *s = &g->state[i];
            CHECK_EQ_TEXT(s->name, names[i]);
            CHECK(s->next != NULL);
            CHECK_EQ_I64(s->kind, sync ? DPT_STATE_REPLICATED : DPT_STATE_LOCAL);
            CHECK_EQ_I64(s->merge_group, sync ? -1 : 0);
            if (!sync) CHECK_EQ_I64(s->merge_role, i);
            CHECK_NEAR(s->initial, i == 1, 0);
        }
        CHECK_EQ_I64(g->n_merge_group, sync ? 0 : 1);
        dpt_graph_destroy(&g);
    }
}

static void differentiates_once(void) {
    dpt_graph *g;
    dpt_tensor *y = graph_with(&g, 0), *x = g->input[0], *w = g->param[0].tensor;
    CHECK_EQ_TEXT(dpt_shape_text(dpt_gradient(y, w)), "[3]");
    dpt_tensor *dx = dpt_gradient(y, x);
    CHECK_EQ_TEXT(dpt_shape_text(dx), "[B,3,8,8]");
    CHECK_OK(dpt_graph_status(g));
    dpt_gradient(dx, x);
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_UNSUPPORTED, "bn_grad_apply");
    dpt_graph_destroy(&g);
}

static void refuses(void) {
    dpt_graph *g = dpt_graph_create(NULL);
    dpt_tensor *x = dpt_input(g, "x", DPT_I32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_batch_norm(x, ((dpt_batch_norm_options){0}), "bn1");
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "x is i32 [B,3], not floats [B, channels, ...]");
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "batch_norm \"bn1\"");
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_SHAPE, "test_norm.c:");
    dpt_graph_destroy(&g);
    g = dpt_graph_create(NULL);
    x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_batch_norm(x, ((dpt_batch_norm_options){.momentum = 1.5}), "bn1");
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_ARG, "momentum 1.5");
    dpt_graph_destroy(&g);
    g = dpt_graph_create(NULL);
    x = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 3}));
    dpt_batch_norm(x, ((dpt_batch_norm_options){0}), NULL);
    CHECK_FAILS(dpt_graph_status(g), DPT_ERR_ARG, "a name is needed");
    dpt_graph_destroy(&g);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "norm", {"forward", forward}, {"backward", backward}, {"parts_add_up", parts_add_up},
                      {"no_rows", no_rows}, {"constant_channel", constant_channel}, {"large_means", large_means},
                      {"running", running}, {"inference", inference}, {"threads_do_not_matter", threads_do_not_matter},
                      {"builds", builds}, {"differentiates_once", differentiates_once}, {"refuses", refuses});
}
