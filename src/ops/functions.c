/* functions.c: functions of one number, element by element: exp, ln, sin, cos, abs, power, clamp, sigmoid, SiLU,
 * softplus.
 *
 * Where a function has derivatives of its own kind, its op computes derivative number `order` of it, times a second
 * operand g if it has one: f(x) or f(x) g. So the gradient is one node, linear in g, and differentiable again:
 *
 *   d/dx [f(x) g] gout = f'(x) (g gout)          d/dg [f(x) g] gout = f(x) gout
 *
 * A row of `rules` says what f' is. Loops in f32 are fastmath.h's, in f64 libm's; NaN gives NaN. */
#include <float.h>
#include <math.h>

#include "ops/declare.h"
#include "ops/fastmath.h"
#include "ops/internal.h"
#include "ops/logistic.h"
#include "ops/map.h"

/* ---- constructors ---- */

/* f(x), or f(x) g. */
static dpt_tensor *function(const char *file, int line, int op, dpt_tensor *x, dpt_tensor *g, int order, double low,
                            double high) {
    const dpt_attr attr = {.function = {order, low, high}};
    return dpt_apply(file, line, op, NULL, &attr, g ? 2 : 1, (dpt_tensor *[]){x, g});
}

#define CONSTRUCTOR(ID, name)                                                \
    dpt_tensor *dpt_##name##_at(const char *file, int line, dpt_tensor *x) { \
        return function(file, line, DPT_OP_##ID, x, NULL, 0, 0, 0);          \
    }
CONSTRUCTOR(EXP, exp)
CONSTRUCTOR(LN, ln)
CONSTRUCTOR(SIN, sin)
CONSTRUCTOR(COS, cos)
CONSTRUCTOR(ABS, abs)
CONSTRUCTOR(SIGMOID, sigmoid)
CONSTRUCTOR(SILU, silu)
CONSTRUCTOR(SOFTPLUS, softplus)

dpt_tensor *dpt_power_at(const char *file, int line, dpt_tensor *x, double exponent) {
    return function(file, line, DPT_OP_POWER, x, NULL, 0, exponent, 0);
}

dpt_tensor *dpt_clamp_at(const char *file, int line, dpt_tensor *x, double low, double high) {
    if (dpt_is_poison(x)) return x;
    if (!(low <= high))
        return dpt_graph_fail(x->graph, file, line, DPT_ERR_ARG, "clamp: low is %g, high is %g: low <= high", low,
                              high);
    return function(file, line, DPT_OP_CLAMP, x, NULL, 0, low, high);
}

/* ---- shape, gradient ---- */

static dpt_status function_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0], *g = node->n_in > 1 ? node->in[1] : x;
    if (!dpt_is_float(x->dtype))
        return dpt_shape_error(node, "x is %s %s: it must be of floats", dpt_dtype_text(x->dtype), dpt_shape_text(x));
    if (g->dtype != x->dtype || !dpt_same_shape(g, x))
        return dpt_shape_error(node, "x is %s %s, g is %s %s", dpt_dtype_text(x->dtype), dpt_shape_text(x),
                               dpt_dtype_text(g->dtype), dpt_shape_text(g));
    if (node->attr.function.order > DPT_LOGISTIC_ORDERS)
        return dpt_shape_error(node, "derivative number %d: there are %d", node->attr.function.order,
                               DPT_LOGISTIC_ORDERS);
    dpt_set_out_like(node, 0, x);
    return DPT_OK;
}

/* f'(x) g as nodes, of the function of a node; NULL: it is 0. */
typedef dpt_tensor *(*derivative_fn)(dpt_node *node, dpt_tensor *x, dpt_tensor *g);

/* Of the same op, one order up. */
static dpt_tensor *next_order(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    return function(DPT_AT(node), node->op, x, g, node->attr.function.order + 1, node->attr.function.low,
                    node->attr.function.high);
}

/* A step function has none. */
static dpt_tensor *next_order_once(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    return node->attr.function.order == 0 ? next_order(node, x, g) : NULL;
}

static dpt_tensor *of_exp(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    (void)x;
    return dpt_mul_at(DPT_AT(node), g, &node->out[0]);
}

static dpt_tensor *of_ln(dpt_node *node, dpt_tensor *x, dpt_tensor *g) { return dpt_div_at(DPT_AT(node), g, x); }

static dpt_tensor *of_sin(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    return function(DPT_AT(node), DPT_OP_COS, x, g, 0, 0, 0);
}

static dpt_tensor *of_cos(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    return dpt_scale_at(DPT_AT(node), function(DPT_AT(node), DPT_OP_SIN, x, g, 0, 0, 0), -1.0);
}

static dpt_tensor *of_power(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    const double exponent = node->attr.function.low;
    if (exponent == 0) return NULL;
    return dpt_scale_at(DPT_AT(node), function(DPT_AT(node), DPT_OP_POWER, x, g, 0, exponent - 1, 0), exponent);
}

static dpt_tensor *of_softplus(dpt_node *node, dpt_tensor *x, dpt_tensor *g) {
    return function(DPT_AT(node), DPT_OP_SIGMOID, x, g, 0, 0, 0);
}

static void gradient_by(derivative_fn derivative, dpt_node *node, dpt_tensor *gout, const bool *want,
                        dpt_tensor **gin) {
    dpt_tensor *x = node->in[0], *g = node->n_in > 1 ? node->in[1] : NULL;
    if (want[0]) gin[0] = derivative(node, x, g ? dpt_mul_at(DPT_AT(node), gout, g) : gout);
    if (g && want[1])
        gin[1] = function(DPT_AT(node), node->op, x, gout, node->attr.function.order, node->attr.function.low,
                          node->attr.function.high);
}

/* ---- loops: f(x), and f(x) g ---- */

#define FUNCTION(name, f32, f64) \
    DPT_MAP(name, f32, f64)      \
    DPT_MAP(name##_times, (f32)*w, (f64)*w)

DPT_MAP(exp, dpt_exp_f32(v), dpt_exp_f64(v))
DPT_MAP(ln, dpt_ln_f32(v), log(v))
FUNCTION(abs_0, fabsf(v), fabs(v))
FUNCTION(abs_1, v > 0 ? 1.0F : (v < 0 ? -1.0F : 0.0F), v > 0 ? 1.0 : (v < 0 ? -1.0 : 0.0))
FUNCTION(softplus, dpt_softplus_f32(v), dpt_softplus_f64(v))

DPT_MAP(clamp_0, v < value ? value : (v > (float)m->high ? (float)m->high : v),
        v < value ? value : (v > m->high ? m->high : v))
DPT_MAP(clamp_1, v >= value && v <= (float)m->high ? 1.0F : 0.0F, v >= value && v <= m->high ? 1.0 : 0.0)
DPT_MAP(clamp_1_times, v >= value && v <= (float)m->high ? w : 0.0F, v >= value && v <= m->high ? w : 0.0)

/* Sines of numbers beyond DPT_SIN_MOST are libm's; a stretch that has one goes element by element. What becomes of an
 * element does not depend on its neighbours, and so not on how threads share the elements. */
DPT_MAP_LOOP(sin_near, float, dpt_sin_f32(v))
DPT_MAP_LOOP(sin_far, float, fabsf(v) > DPT_SIN_MOST ? sinf(v) : dpt_sin_f32(v))
DPT_MAP_LOOP(cos_near, float, dpt_cos_f32(v))
DPT_MAP_LOOP(cos_far, float, fabsf(v) > DPT_SIN_MOST ? cosf(v) : dpt_cos_f32(v))
DPT_MAP_LOOP(sin_times_near, float, dpt_sin_f32(v) * w)
DPT_MAP_LOOP(sin_times_far, float, (fabsf(v) > DPT_SIN_MOST ? sinf(v) : dpt_sin_f32(v)) * w)
DPT_MAP_LOOP(cos_times_near, float, dpt_cos_f32(v) * w)
DPT_MAP_LOOP(cos_times_far, float, (fabsf(v) > DPT_SIN_MOST ? cosf(v) : dpt_cos_f32(v)) * w)
DPT_MAP_LOOP(sin_f64, double, sin(v))
DPT_MAP_LOOP(cos_f64, double, cos(v))
DPT_MAP_LOOP(sin_times_f64, double, sin(v) * w)
DPT_MAP_LOOP(cos_times_f64, double, cos(v) * w)

DPT_HOT_LOOP static float largest(const float *x, int64_t n) {
    float most = 0;
    _Pragma("omp simd reduction(max : most)") for (int64_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        most = a > most ? a : most;
    }
    return most;
}

static void by_stretches(dpt_map *m, int64_t begin, int64_t end, dpt_range_fn near, dpt_range_fn far) {
    enum { STRETCH = 1024 };
    for (int64_t at = begin; at < end; at += STRETCH) {
        const int64_t n = end - at < STRETCH ? end - at : STRETCH;
        (largest((const float *)m->x + at, n) <= DPT_SIN_MOST ? near : far)(m, at, at + n);
    }
}

#define BY_STRETCHES(name)                                          \
    static void name##_f32(void *map, int64_t begin, int64_t end) { \
        by_stretches(map, begin, end, name##_near, name##_far);     \
    }
BY_STRETCHES(sin)
BY_STRETCHES(cos)
BY_STRETCHES(sin_times)
BY_STRETCHES(cos_times)

/* The powers that need no pow(3), with its values at 0, infinities and NaN. */
FUNCTION(power_0, 1.0F, 1.0)
FUNCTION(power_1, v, v)
FUNCTION(power_2, v *v, v *v)
FUNCTION(power_3, v *v *v, v *v *v)
FUNCTION(power_half, v < -FLT_MAX ? INFINITY : sqrtf(v + 0.0F), v < -DBL_MAX ? (double)INFINITY : sqrt(v + 0.0))
FUNCTION(power_less_1, 1.0F / v, 1.0 / v)
FUNCTION(power_less_2, 1.0F / (v * v), 1.0 / (v * v))
FUNCTION(power_any, powf(v, value), pow(v, value))

/* s and 1 - s for both signs of x without cancellation, t = e^-|x|: 1/(1 + t) and t/(1 + t). */
#define LOGISTIC_PAIR(T, suffix, fabs_)                                                  \
    typedef struct pair_##suffix {                                                       \
        T s, rest;                                                                       \
    } pair_##suffix;                                                                     \
    DPT_INLINE pair_##suffix logistic_##suffix(T x) {                                    \
        const T t = dpt_exp_##suffix(-fabs_(x)), large = 1 / (1 + t), small = t * large; \
        return x < 0 ? (pair_##suffix){small, large} : (pair_##suffix){large, small};    \
    }                                                                                    \
    /* s' and s'' */                                                                     \
    DPT_INLINE T logistic_1_##suffix(T x) {                                              \
        const pair_##suffix p = logistic_##suffix(x);                                    \
        return p.s * p.rest;                                                             \
    }                                                                                    \
    DPT_INLINE T logistic_2_##suffix(T x) {                                              \
        const pair_##suffix p = logistic_##suffix(x);                                    \
        return p.s * p.rest * (p.rest - p.s);                                            \
    }                                                                                    \
    DPT_INLINE T silu_1_of_##suffix(T x) {                                               \
        const pair_##suffix p = logistic_##suffix(x);                                    \
        return p.s + x * p.s * p.rest;                                                   \
    }                                                                                    \
    DPT_INLINE T silu_2_of_##suffix(T x) {                                               \
        const pair_##suffix p = logistic_##suffix(x);                                    \
        return p.s * p.rest * (2 + x * (p.rest - p.s));                                  \
    }                                                                                    \
    /* derivative number `order` >= 2 by its polynomial c */                             \
    DPT_INLINE T logistic_n_##suffix(T x, int order, const double *c) {                  \
        const T t = dpt_exp_##suffix(-fabs_(x)), s = t / (1 + t);                        \
        T sum = 0;                                                                       \
        for (int k = order + 1; k > 0; k--) sum = (sum + (T)c[k]) * s;                   \
        return order % 2 == 0 && x > 0 ? -sum : sum;                                     \
    }                                                                                    \
    /* (x s)^(n) = x s^(n) + n s^(n-1): the polynomials of both orders */                \
    DPT_INLINE T silu_n_of_##suffix(T x, int order, const double *c) {                   \
        const T lower = logistic_n_##suffix(x, order - 1, c + DPT_LOGISTIC_POWERS);      \
        return x * logistic_n_##suffix(x, order, c) + (T)order * lower;                  \
    }
LOGISTIC_PAIR(float, f32, fabsf)
LOGISTIC_PAIR(double, f64, fabs)

FUNCTION(sigmoid_0, dpt_sigmoid_f32(v), dpt_sigmoid_f64(v))
FUNCTION(sigmoid_1, logistic_1_f32(v), logistic_1_f64(v))
FUNCTION(sigmoid_2, logistic_2_f32(v), logistic_2_f64(v))
FUNCTION(sigmoid_n, logistic_n_f32(v, m->order, m->table), logistic_n_f64(v, m->order, m->table))
FUNCTION(silu_0, v / (1 + dpt_exp_f32(-v)), v / (1 + dpt_exp_f64(-v)))
FUNCTION(silu_1, silu_1_of_f32(v), silu_1_of_f64(v))
FUNCTION(silu_2, silu_2_of_f32(v), silu_2_of_f64(v))
FUNCTION(silu_n, silu_n_of_f32(v, m->order, m->table), silu_n_of_f64(v, m->order, m->table))

/* ---- kernels ---- */

typedef struct loops {
    dpt_range_fn f32, f64, times_f32, times_f64;
} loops;

#define LOOPS(name) \
    { name##_f32, name##_f64, name##_times_f32, name##_times_f64 }
#define LOOPS_ALONE(name) \
    { name##_f32, name##_f64, NULL, NULL }

static loops power_loops(double exponent) {
    static const struct {
        double exponent;
        loops loops;
    } known[] = {{0, LOOPS(power_0)},      {1, LOOPS(power_1)},       {2, LOOPS(power_2)},      {3, LOOPS(power_3)},
                 {0.5, LOOPS(power_half)}, {-1, LOOPS(power_less_1)}, {-2, LOOPS(power_less_2)}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].exponent == exponent) return known[i].loops;
    return (loops)LOOPS(power_any);
}

/* By op and order; of higher orders the last. */
static loops loops_of(const dpt_call *call) {
    enum { ORDERS = 4 };
    static const loops table[][ORDERS] = {
        [DPT_OP_EXP - DPT_OP_EXP] = {LOOPS_ALONE(exp)},
        [DPT_OP_LN - DPT_OP_EXP] = {LOOPS_ALONE(ln)},
        [DPT_OP_SIN - DPT_OP_EXP] = {LOOPS(sin)},
        [DPT_OP_COS - DPT_OP_EXP] = {LOOPS(cos)},
        [DPT_OP_ABS - DPT_OP_EXP] = {LOOPS(abs_0), LOOPS(abs_1)},
        [DPT_OP_CLAMP - DPT_OP_EXP] = {LOOPS_ALONE(clamp_0), LOOPS(clamp_1)},
        [DPT_OP_SIGMOID - DPT_OP_EXP] = {LOOPS(sigmoid_0), LOOPS(sigmoid_1), LOOPS(sigmoid_2), LOOPS(sigmoid_n)},
        [DPT_OP_SILU - DPT_OP_EXP] = {LOOPS(silu_0), LOOPS(silu_1), LOOPS(silu_2), LOOPS(silu_n)},
        [DPT_OP_SOFTPLUS - DPT_OP_EXP] = {LOOPS(softplus)}};
    const int order = call->attr.function.order;
    if (call->op == DPT_OP_POWER) return power_loops(call->attr.function.low);
    return table[call->op - DPT_OP_EXP][order < ORDERS ? order : ORDERS - 1];
}

static dpt_status function_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const loops l = loops_of(call);
    const int order = call->attr.function.order;
    double table[2 * DPT_LOGISTIC_POWERS];
    const dpt_map map = {
        .value = call->attr.function.low, .high = call->attr.function.high, .order = order, .table = table};
    if (order > 2) {
        dpt_logistic_polynomial(order, table);
        dpt_logistic_polynomial(order - 1, table + DPT_LOGISTIC_POWERS);
    }
    return call->n_in > 1 ? dpt_map_run(call, map, l.times_f32, l.times_f64) : dpt_map_run(call, map, l.f32, l.f64);
}

#define FUNCTION_OP(name_, treatment, derivative)                                                               \
    static void name_##_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) { \
        gradient_by(derivative, node, gout[0], want, gin);                                                      \
    }                                                                                                           \
    const dpt_op dpt_op_##name_ = {.name = #name_,                                                              \
                                   .flags = DPT_IS_INPLACE,                                                     \
                                   .rule = DPT_ROWWISE,                                                         \
                                   .linear = DPT_LINEAR_SECOND,                                                 \
                                   .precision = treatment,                                                      \
                                   .n_out = 1,                                                                  \
                                   .shape = function_shape,                                                     \
                                   .gradient = name_##_gradient};                                               \
    const dpt_kernel dpt_cpu_##name_ = {.run = function_run, .layouts = dpt_map_layouts};
FUNCTION_OP(exp, DPT_ARITHMETIC, of_exp)
FUNCTION_OP(ln, DPT_ARITHMETIC, of_ln)
FUNCTION_OP(sin, DPT_ARITHMETIC, of_sin)
FUNCTION_OP(cos, DPT_ARITHMETIC, of_cos)
FUNCTION_OP(abs, DPT_ARITHMETIC, next_order_once)
FUNCTION_OP(power, DPT_ARITHMETIC, of_power)
FUNCTION_OP(clamp, DPT_ARITHMETIC, next_order_once)
FUNCTION_OP(sigmoid, DPT_ALONG, next_order)
FUNCTION_OP(silu, DPT_ALONG, next_order)
FUNCTION_OP(softplus, DPT_ALONG, of_softplus)
