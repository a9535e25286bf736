/* activation.c: ReLU, plain and leaky, tanh, GELU. All are closed: ReLU's gradient by relu_grad, which is linear in the
 * gradient; tanh's by arithmetic on its output; GELU's by the same op one derivative further, so that any order exists.
 */
#include <float.h>
#include <math.h>

#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"
#include "ops/map.h"

static dpt_status float_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    if (!dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be f32 or f64", dpt_dtype_text(x->dtype), dpt_shape_text(x));
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

/* ---- relu: y = x, slope x where x < 0, NaN where x is; relu_grad: g where y > 0, else slope g. Slope 0 is the plain
 * ReLU, with loops of its own: 0 x would be NaN for an infinite x ---- */

static dpt_tensor *relu_of_slope(const char *file, int line, dpt_tensor *x, double slope) {
    return dpt_apply(file, line, DPT_OP_RELU, NULL, &(dpt_attr){.relu = {slope}}, 1, &x);
}

dpt_tensor *dpt_relu_at(const char *file, int line, dpt_tensor *x) { return relu_of_slope(file, line, x, 0); }

dpt_tensor *dpt_leaky_relu_at(const char *file, int line, dpt_tensor *x, double slope) {
    if (dpt_is_poison(x)) return x;
    if (!(slope >= 0 && slope <= DBL_MAX))
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_ARG, "leaky_relu: the slope is %g: at least 0, finite",
                              slope);
    return relu_of_slope(file, line, x, slope);
}

dpt_tensor *dpt_relu_grad_at(const char *file, int line, dpt_tensor *g, dpt_tensor *y, double slope) {
    return dpt_apply(file, line, DPT_OP_RELU_GRAD, NULL, &(dpt_attr){.relu = {slope}}, 2, (dpt_tensor *[]){g, y});
}

static dpt_status relu_grad_shape(dpt_node *node) {
    const dpt_tensor *g = node->in[0], *y = node->in[1];
    if (g->dtype != y->dtype || !dpt_same_shape(g, y))
        return dpt_shape_error(node, "g is %s %s, y is %s %s", dpt_dtype_text(g->dtype), dpt_shape_text(g),
                               dpt_dtype_text(y->dtype), dpt_shape_text(y));
    return float_shape(node);
}

static void relu_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_relu_grad_at(DPT_AT(node), gout[0], &node->out[0], node->attr.relu.slope);
}

/* Linear in g; nothing flows to y, whose sign alone counts. */
static void relu_grad_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_relu_grad_at(DPT_AT(node), gout[0], node->in[1], node->attr.relu.slope);
}

DPT_MAP(relu, v < 0 ? 0 : v, v < 0 ? 0 : v)
DPT_MAP(leaky, v < 0 ? value * v : v, v < 0 ? value * v : v)
DPT_MAP(relu_grad, w > 0 ? v : 0, w > 0 ? v : 0)
DPT_MAP(leaky_grad, w > 0 ? v : value * v, w > 0 ? v : value * v)

static dpt_status relu_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_map map = {.value = call->attr.relu.slope};
    return map.value != 0 ? dpt_map_run(call, map, leaky_f32, leaky_f64) : dpt_map_run(call, map, relu_f32, relu_f64);
}

static dpt_status relu_grad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_map map = {.value = call->attr.relu.slope};
    if (map.value != 0) return dpt_map_run(call, map, leaky_grad_f32, leaky_grad_f64);
    return dpt_map_run(call, map, relu_grad_f32, relu_grad_f64);
}

const dpt_op dpt_op_relu = {.name = "relu",
                            .flags = DPT_IS_INPLACE,
                            .rule = DPT_ROWWISE,
                            .precision = DPT_ALONG,
                            .n_out = 1,
                            .shape = float_shape,
                            .gradient = relu_gradient};
const dpt_kernel dpt_cpu_relu = {.run = relu_run, .layouts = dpt_map_layouts};

const dpt_op dpt_op_relu_grad = {.name = "relu_grad",
                                 .flags = DPT_IS_INPLACE,
                                 .rule = DPT_ROWWISE,
                                 .linear = DPT_LINEAR_FIRST,
                                 .precision = DPT_ALONG,
                                 .n_out = 1,
                                 .shape = relu_grad_shape,
                                 .gradient = relu_grad_gradient};
const dpt_kernel dpt_cpu_relu_grad = {.run = relu_grad_run, .layouts = dpt_map_layouts};

/* ---- tanh ---- */

dpt_tensor *dpt_tanh_at(const char *file, int line, dpt_tensor *x) {
    return dpt_apply(file, line, DPT_OP_TANH, NULL, NULL, 1, &x);
}

/* dy/dx = 1 - y^2, in the shape that the fuse pass looks for. */
static void tanh_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *y = &node->out[0], *square = dpt_mul_at(DPT_AT(node), y, y);
    dpt_tensor *slope = dpt_offset_at(DPT_AT(node), dpt_scale_at(DPT_AT(node), square, -1.0), 1.0);
    gin[0] = dpt_mul_at(DPT_AT(node), gout[0], slope);
}

DPT_MAP(tanh, dpt_tanh_f32(v), dpt_tanh_f64(v))

static dpt_status tanh_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    return dpt_map_run(call, (dpt_map){0}, tanh_f32, tanh_f64);
}

const dpt_op dpt_op_tanh = {.name = "tanh",
                            .flags = DPT_IS_INPLACE,
                            .rule = DPT_ROWWISE,
                            .precision = DPT_ALONG,
                            .n_out = 1,
                            .shape = float_shape,
                            .gradient = tanh_gradient};
const dpt_kernel dpt_cpu_tanh = {.run = tanh_run, .layouts = dpt_map_layouts};

/* ---- gelu and its derivatives
 * order 0: x Phi(x); order 1: Phi(x) + x phi(x); order n >= 2: (-1)^n phi(x) (He_{n-2}(x) - He_n(x)), with the Hermite
 * polynomials He_0 = 1, He_1 = x, He_{k+1} = x He_k - k He_{k-1}, since phi's k-th derivative is (-1)^k He_k phi. ----
 */

static dpt_tensor *gelu_of_order(const char *file, int line, dpt_tensor *x, int order) {
    return dpt_apply(file, line, DPT_OP_GELU, NULL, &(dpt_attr){.derivative = {order}}, 1, &x);
}

dpt_tensor *dpt_gelu_at(const char *file, int line, dpt_tensor *x) { return gelu_of_order(file, line, x, 0); }

static void gelu_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (!want[0]) return;
    dpt_tensor *slope = gelu_of_order(DPT_AT(node), node->in[0], node->attr.derivative.order + 1);
    gin[0] = dpt_mul_at(DPT_AT(node), gout[0], slope);
}

/* (-1)^order (He_{order-2} - He_order), order >= 2 */
#define HERMITE(name, T)                                  \
    DPT_INLINE T name(T x, int order) {                   \
        T before = 1, he = x;                             \
        for (int k = 1; k < order - 1; k++) {             \
            const T next = x * he - (T)k * before;        \
            before = he;                                  \
            he = next;                                    \
        }                                                 \
        const T last = x * he - (T)(order - 1) * before;  \
        return order % 2 ? last - before : before - last; \
    }
HERMITE(hermite_f32, float)
HERMITE(hermite_f64, double)

DPT_MAP(gelu_0, v *dpt_normal_f32(v), v *dpt_normal_f64(v))
DPT_MAP(gelu_1, dpt_normal_f32(v) + v * dpt_normal_density_f32(v), dpt_normal_f64(v) + v * dpt_normal_density_f64(v))
DPT_MAP(gelu_2, dpt_normal_density_f32(v) * (2 - v * v), dpt_normal_density_f64(v) * (2 - v * v))
DPT_MAP(gelu_n, dpt_normal_density_f32(v) * hermite_f32(v, m->order),
        dpt_normal_density_f64(v) * hermite_f64(v, m->order))

static dpt_status gelu_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    static const dpt_range_fn fn[][2] = {
        {gelu_0_f32, gelu_0_f64}, {gelu_1_f32, gelu_1_f64}, {gelu_2_f32, gelu_2_f64}, {gelu_n_f32, gelu_n_f64}};
    const int order = call->attr.derivative.order;
    const dpt_range_fn *f = fn[order < 3 ? order : 3];
    return dpt_map_run(call, (dpt_map){.order = order}, f[0], f[1]);
}

const dpt_op dpt_op_gelu = {.name = "gelu",
                            .flags = DPT_IS_INPLACE,
                            .rule = DPT_ROWWISE,
                            .precision = DPT_ALONG,
                            .n_out = 1,
                            .shape = float_shape,
                            .gradient = gelu_gradient};
const dpt_kernel dpt_cpu_gelu = {.run = gelu_run, .layouts = dpt_map_layouts};
