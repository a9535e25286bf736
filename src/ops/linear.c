/* linear.c: the linear layer in fused kernels, which the fuse pass puts in the place of matmul, add, activation and
 * their gradients. Terminal: gradients are taken before fusion.
 *
 * The activation is applied to the product in the cache by this project's own loops, the same as the unfused kernels:
 * oneDNN's own turn NaN into 0 (ReLU), which would hide a diverged run, or are less exact. */
#include "ops/cpu_product.h"
#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"
#include "ops/map.h"

/* ---- activations and their derivatives ---- */

DPT_MAP(act_relu, v < 0 ? 0 : v, v < 0 ? 0 : v)
DPT_MAP(act_leaky, v < 0 ? value * v : v, v < 0 ? value * v : v)
DPT_MAP(act_tanh, dpt_tanh_f32(v), dpt_tanh_f64(v))
DPT_MAP(act_gelu, v *dpt_normal_f32(v), v *dpt_normal_f64(v))
/* v is the gradient; w the activation's output (relu, tanh) or argument (gelu) */
DPT_MAP(slope_relu, w > 0 ? v : 0, w > 0 ? v : 0)
DPT_MAP(slope_leaky, w > 0 ? v : value * v, w > 0 ? v : value * v)
DPT_MAP(slope_tanh, v - v * (w * w), v - v * (w * w))
DPT_MAP(slope_gelu, v *(dpt_normal_f32(w) + w * dpt_normal_density_f32(w)),
        v *(dpt_normal_f64(w) + w * dpt_normal_density_f64(w)))

typedef struct act_loops {
    dpt_range_fn f32, f64;
} act_loops;

static const act_loops act_forward[] = {[DPT_ACT_RELU] = {act_relu_f32, act_relu_f64},
                                        [DPT_ACT_GELU] = {act_gelu_f32, act_gelu_f64},
                                        [DPT_ACT_TANH] = {act_tanh_f32, act_tanh_f64}};
static const act_loops act_slope[] = {[DPT_ACT_RELU] = {slope_relu_f32, slope_relu_f64},
                                      [DPT_ACT_GELU] = {slope_gelu_f32, slope_gelu_f64},
                                      [DPT_ACT_TANH] = {slope_tanh_f32, slope_tanh_f64}};

static const act_loops leaky_forward = {act_leaky_f32, act_leaky_f64}, leaky_slope = {slope_leaky_f32, slope_leaky_f64};

/* y = act(x), or x act'(z), over the valid elements of output 0. */
static void apply(const dpt_call *call, const void *x, const void *z, void *y) {
    const dpt_activation act = call->attr.matmul.act;
    const bool leaky = act == DPT_ACT_RELU && call->attr.matmul.slope != 0;
    const act_loops *loops = z ? &act_slope[act] : &act_forward[act];
    if (leaky) loops = z ? &leaky_slope : &leaky_forward;
    dpt_map map = {.x = x, .z = z, .y = y, .value = call->attr.matmul.slope};
    dpt_parallel(call->device->threads, dpt_valid_count(call, &call->out[0]), DPT_MAP_GRAIN,
                 call->out[0].dtype == DPT_F32 ? loops->f32 : loops->f64, &map);
}

/* ---- what the three kernels share ---- */

/* Rows of a [..., n] operand that are valid in this run. */
static int64_t valid_matrix_rows(const dpt_call *call, const dpt_operand *o) {
    return dpt_valid_count(call, o) / o->dim[o->ndim - 1];
}

static dpt_status check_operands(const dpt_node *node, bool fits) {
    const dpt_tensor *a = node->in[0], *b = node->in[1], *c = node->n_in > 2 ? node->in[2] : NULL;
    if (fits && dpt_is_float(a->dtype) && a->dtype == b->dtype && (c == NULL || c->dtype == a->dtype)) return DPT_OK;
    return dpt_shape_error(node, "operands are %s %s, %s %s%s%s", dpt_dtype_text(a->dtype), dpt_shape_text(a),
                           dpt_dtype_text(b->dtype), dpt_shape_text(b), c ? ", " : "", c ? dpt_shape_text(c) : "");
}

/* ---- linear: out 0 = act(x w^T + b), x [..., in], w [out, in], b [out]; for gelu out 1 = its argument ---- */

static dpt_status linear_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0], *w = node->in[1], *b = node->attr.matmul.bias ? node->in[2] : NULL;
    bool fits = x->ndim >= 2 && w->ndim == 2 && w->dim[1] == x->dim[x->ndim - 1] &&
                (b == NULL || (b->ndim == 1 && b->dim[0] == w->dim[0]));
    DPT_TRY(check_operands(node, fits));
    dpt_set_out_like(node, 0, x);
    node->out[0].dim[x->ndim - 1] = w->dim[0];
    dpt_set_out_like(node, 1, &node->out[0]);
    node->out[1].token = node->attr.matmul.act != DPT_ACT_GELU;
    if (node->out[1].token) node->out[1].ndim = 0;
    return DPT_OK;
}

static dpt_product linear_product(const dpt_call *call) {
    const dpt_operand *x = &call->in[0], *w = &call->in[1];
    return (dpt_product){.batch = 1,
                         .m = x->count / w->dim[1],
                         .n = w->dim[0],
                         .k = w->dim[1],
                         .transpose_b = true,
                         .bias = call->attr.matmul.bias};
}

static double linear_flop(const dpt_call *call) {
    return 2 * (double)call->out[0].count * (double)call->in[1].dim[1] + 2 * (double)call->out[0].count;
}

static dpt_status linear_prepare(dpt_call *call) {
    dpt_product d = linear_product(call);
    return dpt_product_prepare(call, &d);
}

/* The activation's argument: output 1 where it is kept. */
static void *linear_argument(const dpt_call *call) {
    return call->attr.matmul.act == DPT_ACT_GELU ? call->out[1].data : call->out[0].data;
}

static dpt_status linear_bind(dpt_call *call) {
    return dpt_product_bind(call, call->attr.matmul.bias ? call->in[2].data : NULL, linear_argument(call));
}

static void linear_f64(const dpt_call *call, double *y) {
    dpt_product d = linear_product(call);
    d.m = valid_matrix_rows(call, &call->in[0]);
    dpt_product_f64(call->device->threads, &d, call->in[0].data, call->in[1].data, y);
    const double *b = d.bias ? call->in[2].data : NULL;
    for (int64_t i = 0; b && i < d.m; i++)
        for (int64_t j = 0; j < d.n; j++) y[i * d.n + j] += b[j];
}

static dpt_status linear_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_activation act = call->attr.matmul.act;
    void *argument = linear_argument(call);
    if (valid_matrix_rows(call, &call->in[0]) == 0) return DPT_OK;
    if (call->plan)
        DPT_TRY(dpt_dnnl_run(call->plan, call->device->threads));
    else
        linear_f64(call, argument);
    if (act != DPT_ACT_NONE) apply(call, argument, NULL, call->out[0].data);
    return DPT_OK;
}

const dpt_op dpt_op_linear = {.name = "linear",
                              .flags = DPT_IS_TERMINAL,
                              .rule = DPT_ROWWISE,
                              .n_out = 2,
                              .shape = linear_shape,
                              .flop = linear_flop};
const dpt_kernel dpt_cpu_linear = {
    .prepare = linear_prepare, .bind = linear_bind, .run = linear_run, .release = dpt_product_release};

/* ---- linear_dgrad: (g w) * act'(y), g [..., out], w [out, in]; y [..., in] is the output of the layer before whose
 * activation act is, or the argument of a gelu ---- */

static dpt_status linear_dgrad_shape(dpt_node *node) {
    const dpt_tensor *g = node->in[0], *w = node->in[1];
    bool act = node->attr.matmul.act != DPT_ACT_NONE;
    DPT_TRY(check_operands(
        node, g->ndim >= 2 && w->ndim == 2 && w->dim[0] == g->dim[g->ndim - 1] && node->n_in == (act ? 3 : 2)));
    dpt_set_out_like(node, 0, g);
    node->out[0].dim[g->ndim - 1] = w->dim[1];
    return check_operands(node, !act || dpt_same_shape(node->in[2], &node->out[0]));
}

static dpt_product linear_dgrad_product(const dpt_call *call) {
    const dpt_operand *g = &call->in[0], *w = &call->in[1];
    return (dpt_product){.batch = 1, .m = g->count / w->dim[0], .n = w->dim[1], .k = w->dim[0]};
}

static double linear_dgrad_flop(const dpt_call *call) {
    return 2 * (double)call->out[0].count * (double)call->in[1].dim[0] + (double)call->out[0].count;
}

static dpt_status linear_dgrad_prepare(dpt_call *call) {
    dpt_product d = linear_dgrad_product(call);
    return dpt_product_prepare(call, &d);
}

static dpt_status gradient_bind(dpt_call *call) { return dpt_product_bind(call, NULL, call->out[0].data); }

static dpt_status linear_dgrad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_activation act = call->attr.matmul.act;
    dpt_product d = linear_dgrad_product(call);
    void *dx = call->out[0].data;
    d.m = valid_matrix_rows(call, &call->in[0]);
    if (d.m == 0) return DPT_OK;
    if (call->plan)
        DPT_TRY(dpt_dnnl_run(call->plan, call->device->threads));
    else
        dpt_product_f64(call->device->threads, &d, call->in[0].data, call->in[1].data, dx);
    if (act != DPT_ACT_NONE) apply(call, dx, call->in[2].data, dx);
    return DPT_OK;
}

const dpt_op dpt_op_linear_dgrad = {.name = "linear_dgrad",
                                    .flags = DPT_IS_TERMINAL,
                                    .rule = DPT_ROWWISE,
                                    .n_out = 1,
                                    .shape = linear_dgrad_shape,
                                    .flop = linear_dgrad_flop};
const dpt_kernel dpt_cpu_linear_dgrad = {
    .prepare = linear_dgrad_prepare, .bind = gradient_bind, .run = linear_dgrad_run, .release = dpt_product_release};

/* ---- linear_wgrad: out 0 = g^T x [out, in], out 1 = sum of the rows of g [out]; g [..., out], x [..., in] ---- */

static dpt_status linear_wgrad_shape(dpt_node *node) {
    const dpt_tensor *g = node->in[0], *x = node->in[1];
    bool fits = g->ndim >= 2 && g->ndim == x->ndim;
    for (int i = 0; fits && i < g->ndim - 1; i++) fits = g->dim[i] == x->dim[i];
    DPT_TRY(check_operands(node, fits));
    int64_t dim[2] = {g->dim[g->ndim - 1], x->dim[x->ndim - 1]};
    dpt_set_out(node, 0, dpt_wide_dtype(g->dtype), 2, dim);
    node->out[1].token = !node->attr.matmul.bias;
    dpt_set_out(node, 1, dpt_wide_dtype(g->dtype), node->out[1].token ? 0 : 1, dim);
    return DPT_OK;
}

static dpt_product linear_wgrad_product(const dpt_call *call) {
    const dpt_operand *g = &call->in[0], *x = &call->in[1];
    int64_t out = g->dim[g->ndim - 1], in = x->dim[x->ndim - 1];
    return (dpt_product){.batch = 1, .m = out, .n = in, .k = g->count / out, .transpose_a = true};
}

static double linear_wgrad_flop(const dpt_call *call) {
    return 2 * (double)call->in[0].count * (double)call->out[0].dim[1] + (double)call->in[0].count;
}

static dpt_status linear_wgrad_prepare(dpt_call *call) {
    dpt_product d = linear_wgrad_product(call);
    return dpt_product_prepare(call, &d);
}

typedef struct column_sums {
    const void *g;
    void *sum;
    int64_t rows, columns;
} column_sums;

/* sum[j] = sum over i of g[i,j], each column in f64 from the first row to the last. */
#define COLUMN_SUMS(name, T)                                                                      \
    DPT_MULTIVERSION static void name(void *context, int64_t begin, int64_t end) {                \
        enum { BLOCK = 32 };                                                                      \
        const column_sums *s = context;                                                           \
        for (int64_t at = begin; at < end; at += BLOCK) {                                         \
            const int64_t width = end - at < BLOCK ? end - at : BLOCK;                            \
            double total[BLOCK] = {0};                                                            \
            const T *g = (const T *)s->g + at;                                                    \
            for (int64_t i = 0; i < s->rows; i++, g += s->columns) {                              \
                if (width == BLOCK)                                                               \
                    _Pragma("omp simd") for (int j = 0; j < BLOCK; j++) total[j] += (double)g[j]; \
                else                                                                              \
                    for (int64_t j = 0; j < width; j++) total[j] += (double)g[j];                 \
            }                                                                                     \
            for (int64_t j = 0; j < width; j++) ((T *)s->sum)[at + j] = (T)total[j];              \
        }                                                                                         \
    }
COLUMN_SUMS(column_sums_f32, float)
COLUMN_SUMS(column_sums_f64, double)
#undef COLUMN_SUMS

static dpt_status linear_wgrad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_product d = linear_wgrad_product(call);
    d.k = valid_matrix_rows(call, &call->in[0]);
    if (call->attr.matmul.bias) {
        column_sums sums = {call->in[0].data, call->out[1].data, d.k, d.m};
        dpt_parallel(call->device->threads, d.m, DPT_MAP_GRAIN / (d.k + 1) + 1,
                     call->plan ? column_sums_f32 : column_sums_f64, &sums);
    }
    if (call->plan == NULL) {
        dpt_product_f64(call->device->threads, &d, call->in[0].data, call->in[1].data, call->out[0].data);
        return DPT_OK;
    }
    dpt_cpu_zero_padding(call, &call->in[0]);
    dpt_cpu_zero_padding(call, &call->in[1]);
    return dpt_dnnl_run(call->plan, call->device->threads);
}

const dpt_op dpt_op_linear_wgrad = {.name = "linear_wgrad",
                                    .flags = DPT_IS_TERMINAL,
                                    .rule = DPT_REDUCES,
                                    .linear = DPT_MULTILINEAR,
                                    .n_out = 2,
                                    .shape = linear_wgrad_shape,
                                    .flop = linear_wgrad_flop};
const dpt_kernel dpt_cpu_linear_wgrad = {
    .prepare = linear_wgrad_prepare, .bind = gradient_bind, .run = linear_wgrad_run, .release = dpt_product_release};
