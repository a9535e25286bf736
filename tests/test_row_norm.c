/* test_row_norm.c: the kernels of layer, RMS and group norm by themselves, on the device that tests run on, against the
 * formula in f64 and two passes: row lengths around every bound of the kernels, groups in every layout, all types,
 * residual sums, padded rows full of NaN, large means; and that a residual stream becomes part of its norms. */
#include <stdlib.h>

#include "base/numbers.h"
#include "base/random.h"
#include "dptrain/ops.h"
#include "graph_run.h"
#include "kernel_call.h"
#include "ops/op_list.h"

enum { PADDING_ROWS = 2, MOST = 10000, MOST_ROWS = 64, MOST_CHANNELS = 4100 };

typedef struct norm_case {
    int64_t rows, channels, spatial, groups; /* groups 0: over all of a row */
    dpt_layout layout;
    dpt_dtype dtype;
    bool centre, scale, shift, residual;
} norm_case;

static const norm_case cases[] = {
    /* over the last dimension: lengths around what four lanes, a warp and a block hold; packs, and none */
    {5, 5, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F32, true, true, true, false},
    {3, 32, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F32, true, true, true, true},
    {3, 33, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F64, false, true, false, true},
    {3, 256, 1, 0, DPT_LAYOUT_CANONICAL, DPT_BF16, true, true, true, true},
    {2, 300, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F16, false, true, false, false},
    {2, 1024, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F32, true, true, true, true},
    {2, 1025, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F32, true, false, false, false},
    {2, 2048, 1, 0, DPT_LAYOUT_CANONICAL, DPT_BF16, true, true, true, true},
    {1, 4100, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F64, true, true, true, true},
    {0, 16, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F32, true, true, true, false},
    /* by groups of channels */
    {2, 6, 7, 3, DPT_LAYOUT_CANONICAL, DPT_F32, true, true, true, false},
    {2, 4, 300, 2, DPT_LAYOUT_CANONICAL, DPT_BF16, true, true, true, false},
    {1, 4, 640, 2, DPT_LAYOUT_CANONICAL, DPT_F32, true, true, true, false},
    {3, 12, 1, 4, DPT_LAYOUT_CANONICAL, DPT_F64, true, true, true, false},
    {2, 6, 7, 3, DPT_LAYOUT_CHANNELS_LAST, DPT_F32, true, true, true, false},
    {2, 80, 5, 2, DPT_LAYOUT_CHANNELS_LAST, DPT_F32, true, true, true, false},
    {2, 16, 9, 2, DPT_LAYOUT_CHANNELS_LAST, DPT_BF16, true, true, true, false},
    {1, 16, 150, 2, DPT_LAYOUT_CHANNELS_LAST, DPT_F64, true, false, false, false},
    {2, 32, 5, 2, DPT_LAYOUT_BLOCKED_8, DPT_F32, true, true, true, false},
    {2, 32, 5, 4, DPT_LAYOUT_BLOCKED_8, DPT_F32, true, true, true, false},
    {2, 32, 70, 2, DPT_LAYOUT_BLOCKED_16, DPT_F32, true, true, true, false},
    {2, 64, 5, 2, DPT_LAYOUT_BLOCKED_16, DPT_F32, true, false, false, false},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- values, by logical place [rows, channels, spatial] ---- */

typedef struct values {
    double x[MOST], r[MOST], g[MOST], e[MOST], y[MOST], dx[MOST], sum[MOST]; /* sum: x + r */
    double weight[MOST_CHANNELS], bias[MOST_CHANNELS], dweight[MOST_CHANNELS], dbias[MOST_CHANNELS];
    double mean[MOST_ROWS], rstd[MOST_ROWS];
} values;

static const double eps = 1e-3;

static double stored(double v, dpt_dtype dtype) {
    switch (dtype) {
        case DPT_BF16: return (double)dpt_f32_of_bf16(dpt_bf16_of_f32((float)v));
        case DPT_F16: return (double)dpt_f32_of_f16(dpt_f16_of_f32((float)v));
        case DPT_F32: return (double)(float)v;
        default: return v;
    }
}

static double draw(int which, int64_t i) {
    return 2 * dpt_uniform_open_f64(dpt_random_quad((uint64_t)which, (uint32_t)i, 0, 0).v[0]) - 1;
}

static void fill(const norm_case *c, values *v) {
    const int64_t n = c->rows * c->channels * c->spatial;
    for (int64_t i = 0; i < n; i++) {
        v->x[i] = stored(draw(1, i) + 0.3 * (double)(i / c->spatial % 5), c->dtype);
        v->r[i] = stored(draw(2, i), c->dtype);
        v->g[i] = stored(draw(3, i), c->dtype);
        v->e[i] = stored(draw(4, i), c->dtype);
        v->sum[i] = c->residual ? v->x[i] + v->r[i] : v->x[i];
    }
    for (int64_t k = 0; k < c->channels; k++) {
        v->weight[k] = c->scale ? (double)(float)(1 + draw(5, k)) : 1;
        v->bias[k] = c->shift ? (double)(float)draw(6, k) : 0;
        v->dweight[k] = v->dbias[k] = 0;
    }
}

/* The formulas of ops/row_norm.c for one row: elements [begin, begin + n) of a sample, in C order. */
static void expect_row(const norm_case *c, values *v, int64_t row, int64_t begin, int64_t n) {
    double mean = 0, var = 0, h_mean = 0, along = 0;
    for (int64_t i = begin; i < begin + n; i++) mean += c->centre ? v->sum[i] / (double)n : 0;
    for (int64_t i = begin; i < begin + n; i++) var += pow(v->sum[i] - mean, 2) / (double)n;
    const double rstd = 1 / sqrt(var + eps);
    v->mean[row] = mean, v->rstd[row] = rstd;
    for (int64_t i = begin; i < begin + n; i++) {
        const int64_t k = i / c->spatial % c->channels;
        const double hat = (v->sum[i] - mean) * rstd, h = v->g[i] * v->weight[k];
        v->y[i] = hat * v->weight[k] + v->bias[k];
        v->dweight[k] += v->g[i] * hat, v->dbias[k] += v->g[i];
        h_mean += c->centre ? h / (double)n : 0, along += h * hat / (double)n;
    }
    for (int64_t i = begin; i < begin + n; i++) {
        const double hat = (v->sum[i] - mean) * rstd, h = v->g[i] * v->weight[i / c->spatial % c->channels];
        v->dx[i] = rstd * (h - h_mean - hat * along) + (c->residual ? v->e[i] : 0);
    }
}

static void expect_all(const norm_case *c, values *v) {
    const int64_t groups = c->groups ? c->groups : 1, n = c->channels * c->spatial / groups;
    for (int64_t row = 0; row < c->rows * groups; row++) expect_row(c, v, row, row * n, n);
}

/* ---- operands ---- */

static int64_t place(const norm_case *c, int64_t i) {
    const int64_t p = i % c->spatial, k = i / c->spatial % c->channels, row = i / c->spatial / c->channels;
    const int64_t lanes = c->layout == DPT_LAYOUT_CANONICAL       ? 1
                          : c->layout == DPT_LAYOUT_CHANNELS_LAST ? c->channels
                          : c->layout == DPT_LAYOUT_BLOCKED_8     ? 8
                                                                  : 16;
    return row * c->channels * c->spatial + k / lanes * lanes * c->spatial + p * lanes + k % lanes;
}

static void put(void *data, dpt_dtype dtype, int64_t i, double v) {
    switch (dtype) {
        case DPT_BF16: ((uint16_t *)data)[i] = dpt_bf16_of_f32((float)v); break;
        case DPT_F16: ((uint16_t *)data)[i] = dpt_f16_of_f32((float)v); break;
        case DPT_F32: ((float *)data)[i] = (float)v; break;
        default: ((double *)data)[i] = v;
    }
}

static double take(const void *data, dpt_dtype dtype, int64_t i) {
    switch (dtype) {
        case DPT_BF16: return (double)dpt_f32_of_bf16(((const uint16_t *)data)[i]);
        case DPT_F16: return (double)dpt_f32_of_f16(((const uint16_t *)data)[i]);
        case DPT_F32: return (double)((const float *)data)[i];
        default: return ((const double *)data)[i];
    }
}

/* [rows + padding, channels, spatial] in the case's layout, padding NaN; from NULL: all NaN. */
static dpt_operand planes(const norm_case *c, const double *from) {
    const int64_t dim[] = {c->rows + PADDING_ROWS, c->channels, c->spatial};
    dpt_operand o = kernel_operand(NULL, c->dtype, true, c->spatial > 1 ? 3 : 2, dim);
    const int64_t valid = c->rows * o.row_count;
    o.layout = c->layout;
    o.data = dpt_alloc((size_t)o.count * sizeof(double));
    for (int64_t i = 0; i < o.count; i++) put(o.data, c->dtype, i, NAN);
    for (int64_t i = 0; from && i < valid; i++) put(o.data, c->dtype, place(c, i), from[i]);
    return o;
}

static dpt_operand vector(const norm_case *c, const double *from) {
    const dpt_dtype dtype = dpt_wide_dtype(c->dtype);
    dpt_operand o = kernel_vector(NULL, dtype, c->channels);
    o.data = dpt_alloc((size_t)c->channels * sizeof(double));
    for (int64_t i = 0; i < c->channels; i++) put(o.data, dtype, i, from ? from[i] : NAN);
    return o;
}

static dpt_operand statistics(const norm_case *c, const double *from) {
    const int64_t groups = c->groups ? c->groups : 1, dim[] = {c->rows + PADDING_ROWS, groups, 1};
    const dpt_dtype dtype = dpt_wide_dtype(c->dtype);
    dpt_operand o = kernel_operand(NULL, dtype, true, c->groups ? 3 : 2, dim);
    o.data = dpt_alloc((size_t)o.count * sizeof(double));
    for (int64_t i = 0; i < o.count; i++) put(o.data, dtype, i, from && i < c->rows * groups ? from[i] : NAN);
    return o;
}

static void expect(const norm_case *c, const dpt_operand *o, const double *want, int64_t n, const char *what) {
    const bool shaped = o->axis >= 0 && o->count == (c->rows + PADDING_ROWS) * c->channels * c->spatial;
    const double unit = o->dtype == DPT_F64 ? 1e-15 : o->dtype == DPT_F32 ? 1e-7 : o->dtype == DPT_F16 ? 5e-4 : 4e-3;
    double *got = dpt_alloc((size_t)(n + 1) * sizeof *got);
    for (int64_t i = 0; i < n; i++) got[i] = take(o->data, o->dtype, shaped && want ? place(c, i) : i);
    const double error = n ? check_relative_f64(got, want, n) : 0, most = 5 * unit;
    check_that(error <= most, __FILE__, __LINE__, "case %d (%lld in %lld groups, layout %d, %s): %s is off by %.3g",
               (int)(c - cases), (long long)c->channels, (long long)c->groups, (int)c->layout, dpt_dtype_text(c->dtype),
               what, error);
    dpt_free(got);
}

/* ---- the calls ---- */

static dpt_call start(const norm_case *c, int op, const dpt_block *block) {
    dpt_call call = {.op = op, .name = "norm", .block = block};
    call.attr.row_norm.eps = eps;
    call.attr.row_norm.groups = c->groups;
    call.attr.row_norm.dims = c->groups ? 0 : 1;
    call.attr.row_norm.centre = c->centre;
    call.attr.row_norm.scale = c->scale;
    call.attr.row_norm.shift = c->shift;
    call.attr.row_norm.residual = c->residual;
    return call;
}

/* Runs with one thread and with three: the same bits. */
static void run_twice(dpt_call *call) {
    void *first[DPT_MAX_OUT];
    kernel_run(call, 1);
    for (int k = 0; k < call->n_out; k++) {
        const size_t bytes = (size_t)dpt_valid_count(call, &call->out[k]) * dpt_dtype_size(call->out[k].dtype);
        first[k] = dpt_alloc(bytes + 1);
        memcpy(first[k], call->out[k].data, bytes);
    }
    kernel_run(call, 3);
    for (int k = 0; k < call->n_out; k++) {
        const size_t bytes = (size_t)dpt_valid_count(call, &call->out[k]) * dpt_dtype_size(call->out[k].dtype);
        CHECK(memcmp(first[k], call->out[k].data, bytes) == 0);
        dpt_free(first[k]);
    }
}

static void finish(dpt_call *call) {
    for (int i = 0; i < call->n_in; i++) dpt_free(call->in[i].data);
    for (int i = 0; i < call->n_out; i++) dpt_free(call->out[i].data);
}

static void check_forward(const norm_case *c, const values *v, const dpt_block *block) {
    const int64_t n = c->rows * c->channels * c->spatial, rows = c->rows * (c->groups ? c->groups : 1);
    dpt_call call = start(c, DPT_OP_ROW_NORM, block);
    call.in[call.n_in++] = planes(c, v->x);
    if (c->residual) call.in[call.n_in++] = planes(c, v->r);
    if (c->scale) call.in[call.n_in++] = vector(c, v->weight);
    if (c->shift) call.in[call.n_in++] = vector(c, v->bias);
    call.out[call.n_out++] = planes(c, NULL);
    for (int i = 0; i < 2; i++) call.out[call.n_out++] = statistics(c, NULL);
    if (c->residual) call.out[call.n_out++] = planes(c, NULL);
    run_twice(&call);
    expect(c, &call.out[0], v->y, n, "y");
    if (c->centre) expect(c, &call.out[1], v->mean, rows, "mean");
    expect(c, &call.out[2], v->rstd, rows, "rstd");
    if (c->residual) expect(c, &call.out[3], v->sum, n, "x + r");
    finish(&call);
}

static void check_backward(const norm_case *c, const values *v, const dpt_block *block) {
    for (int params = 0; params < 2; params++) {
        dpt_call call = start(c, params ? DPT_OP_ROW_NORM_PARAMS : DPT_OP_ROW_NORM_GRAD, block);
        call.in[call.n_in++] = planes(c, v->g);
        call.in[call.n_in++] = planes(c, v->sum);
        call.in[call.n_in++] = statistics(c, v->mean);
        call.in[call.n_in++] = statistics(c, v->rstd);
        if (!params && c->scale) call.in[call.n_in++] = vector(c, v->weight);
        if (!params && c->residual) call.in[call.n_in++] = planes(c, v->e);
        if (params)
            for (int i = 0; i < 2; i++) call.out[call.n_out++] = vector(c, NULL);
        else
            call.out[call.n_out++] = planes(c, NULL);
        run_twice(&call);
        if (params) {
            expect(c, &call.out[0], v->dweight, c->channels, "dweight");
            expect(c, &call.out[1], v->dbias, c->channels, "dbias");
        } else {
            expect(c, &call.out[0], v->dx, c->rows * c->channels * c->spatial, "dx");
        }
        finish(&call);
    }
}

static values v;

static void kernels(void) {
    const bool cpu = strcmp(check_device(), "cpu") == 0;
    for (int k = 0; k < CASES; k++) {
        const norm_case *c = &cases[k];
        const dpt_block block = {.rows = {c->rows}};
        const bool blocked = c->layout == DPT_LAYOUT_BLOCKED_8 || c->layout == DPT_LAYOUT_BLOCKED_16;
        if (blocked && !cpu) continue;
        fill(c, &v);
        expect_all(c, &v);
        check_forward(c, &v, &block);
        fill(c, &v);
        for (int64_t i = 0; i < c->rows * c->channels * c->spatial; i++) v.sum[i] = stored(v.sum[i], c->dtype);
        expect_all(c, &v); /* the backward kernels see x + r as it was stored */
        check_backward(c, &v, &block);
    }
}

/* A mean that is large beside the spread: off by the rounding of x and of the mean, not by cancellation of squares. */
static void large_means(void) {
    static const norm_case c = {2, 500, 1, 0, DPT_LAYOUT_CANONICAL, DPT_F32, true, false, false, false};
    const dpt_block block = {.rows = {2}};
    fill(&c, &v);
    for (int64_t i = 0; i < 1000; i++) v.sum[i] = v.x[i] = stored(1e4 + 1.7 * draw(7, i), DPT_F32);
    expect_all(&c, &v);
    dpt_call call = start(&c, DPT_OP_ROW_NORM, &block);
    call.in[call.n_in++] = planes(&c, v.x);
    call.out[call.n_out++] = planes(&c, NULL);
    for (int i = 0; i < 2; i++) call.out[call.n_out++] = statistics(&c, NULL);
    kernel_run(&call, 1);
    for (int64_t i = 0; i < 1000; i++) CHECK_NEAR(take(call.out[0].data, DPT_F32, i), v.y[i], 1e-3);
    for (int i = 0; i < 2; i++) CHECK_NEAR(take(call.out[2].data, DPT_F32, i) / v.rstd[i], 1, 1e-5);
    finish(&call);
}

/* Which layouts the layout pass may choose: canonical always; others where groups are whole blocks and wide. */
static void layouts(void) {
    static const struct {
        int64_t channels, groups;
        bool takes[DPT_LAYOUT_COUNT];
    } asked[] = {{32, 2, {1, 1, 1, 1}}, {32, 4, {1, 1, 1, 0}}, {32, 8, {1, 0, 0, 0}}, {20, 2, {1, 0, 0, 0}}};
    static const int ops[] = {DPT_OP_ROW_NORM, DPT_OP_ROW_NORM_GRAD, DPT_OP_ROW_NORM_PARAMS};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        for (int k = 0; k < 3; k++) {
            const int64_t dim[] = {4, asked[i].channels, 3, 3};
            const dpt_operand x = kernel_operand(NULL, DPT_F32, true, 4, dim);
            dpt_call call = {.op = ops[k], .n_in = k ? 4 : 1, .n_out = 1, .in = {x, x}, .out = {x}};
            dpt_layout_choice choice = {0};
            call.attr.row_norm.groups = asked[i].groups;
            CHECK_OK(dpt_cpu_kernels[ops[k]]->layouts(&call, &choice));
            CHECK_EQ_I64(choice.alike_in, k ? 3 : 1);
            CHECK_EQ_I64(choice.alike_out, k < 2);
            for (int l = 0; l < DPT_LAYOUT_COUNT; l++) CHECK((choice.in[0][l] == 0) == asked[i].takes[l]);
        }
}

/* ---- the pass ---- */

typedef struct census {
    int add, norm, norm_taken, gradient, gradient_taken;
} census;

static census count_nodes(const dpt_graph *g) {
    census n = {0};
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *node = g->node[i];
        n.add += node->op == DPT_OP_ADD;
        n.norm += node->op == DPT_OP_ROW_NORM;
        n.norm_taken += node->op == DPT_OP_ROW_NORM && node->attr.row_norm.residual;
        n.gradient += node->op == DPT_OP_ROW_NORM_GRAD;
        n.gradient_taken += node->op == DPT_OP_ROW_NORM_GRAD && node->attr.row_norm.residual;
    }
    return n;
}

/* Two blocks x + tanh(norm(x)), then a norm: the sums before the second and the third norm are theirs; so are the sums
 * of gradients behind the gradients of all three, where the stream's own gradient comes in. */
static void residual_stream(void) {
    dpt_context *ctx = NULL;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    dpt_graph *g = dpt_graph_create(ctx);
    const char *const names[] = {"ln1", "ln2"};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 3, ((int64_t[]){DPT_BATCH, 2, 8})), *h = x;
    for (int i = 0; i < 2; i++) h = dpt_add(h, dpt_tanh(dpt_layer_norm(h, 1, 0, names[i])));
    h = dpt_rms_norm(h, 1, 0, "last");
    dpt_tensor *square = dpt_sum(dpt_mul(h, h), DPT_ALL_AXES, 0);
    dpt_output(g, "dx", dpt_gradient(square, x));
    graph_run run;
    if (CHECK_OK(graph_run_open(&run, ctx, g, 4, 3, true))) {
        const census n = count_nodes(run.program->graph);
        CHECK_EQ_I64(n.norm, 3);
        CHECK_EQ_I64(n.norm_taken, 2);
        CHECK_EQ_I64(n.gradient, 3);
        CHECK_EQ_I64(n.gradient_taken, 2); /* nothing comes in behind the last norm's */
        CHECK_EQ_I64(n.add, 1);            /* of h with itself, the gradient of the square */
    }
    graph_run_close(&run);
    dpt_graph_destroy(&g);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "row_norm", {"kernels", kernels}, {"large_means", large_means}, {"layouts", layouts},
                      {"residual_stream", residual_stream});
}
