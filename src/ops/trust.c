/* trust.c: optimisers whose step is scaled by the norms of each parameter, LARS and LAMB, and the moving average of
 * parameters.
 *
 * Both optimisers are two nodes: trust_norms sums squares, two a parameter; lars or lamb takes the step. Between them
 * the sums are added over ranks where parameters are cut into slices (ZeRO-1): a parameter's sums stand at its number
 * among the trained ones, zeros where this rank has no part of it. Sums are in f64, block by block in a fixed order, so
 * threads do not change them. As in update.c nothing changes where the guard is not ok. Parameters without weight decay
 * (biases, norms) take the plain step: their ratio is 1, as is that of a norm of 0. */
#include <math.h>
#include <string.h>

#include "backend/parallel.h"
#include "ops/declare.h"
#include "ops/internal.h"

enum { LANES = 8, BLOCK = 4096, GRAIN = 16384 };
enum { GUARD_FACTOR, GUARD_OK, GUARD_VALUES = 4 };
enum { OF_PARAMETER, OF_STEP, SUMS }; /* a parameter's sums: of its squares, of those of what it moves along */

/* ---- shapes ---- */

static dpt_status expect_guard(const dpt_node *node) {
    const dpt_tensor *t = node->n_in > 0 ? node->in[0] : NULL;
    if (t && t->dtype == DPT_F64 && t->ndim == 1 && t->dim[0] == GUARD_VALUES) return DPT_OK;
    return dpt_shape_error(node, "operand 0 is %s, not a guard: f64 [%d]", t ? dpt_shape_text(t) : "missing",
                           GUARD_VALUES);
}

static dpt_status norms_shape(dpt_node *node) {
    DPT_TRY(expect_guard(node));
    dpt_set_out(node, 0, DPT_F64, 2, (int64_t[]){node->attr.update.parameters, SUMS});
    return DPT_OK;
}

static dpt_status average_shape(dpt_node *node) {
    DPT_TRY(expect_guard(node));
    dpt_set_out(node, 0, DPT_U8, 0, NULL);
    node->out[0].token = true;
    return DPT_OK;
}

static dpt_status trust_shape(dpt_node *node) {
    const dpt_tensor *n = node->n_in > 1 ? node->in[1] : NULL;
    if (n == NULL || n->dtype != DPT_F64 || n->ndim != 2 || n->dim[0] != node->attr.update.parameters)
        return dpt_shape_error(node, "operand 1 is %s, not the norms of %lld parameters",
                               n ? dpt_shape_text(n) : "missing", (long long)node->attr.update.parameters);
    return average_shape(node);
}

/* ---- one stretch of the arenas ---- */

typedef struct stretch {
    void *p, *m, *v;
    const void *g;
    double *partial; /* SUMS a block */
    int64_t count;
    double factor, decay, lr, momentum, beta1, beta2, eps;
    double moment_correction; /* lamb: 1 / (1 - beta1^t) */
    double root_correction;   /* lamb: 1 / sqrt(1 - beta2^t) */
    double ratio;
} stretch;

static stretch stretch_of(const dpt_call *call, const dpt_segment *s) {
    const dpt_arenas *a = &call->arenas;
    const double t = (double)call->block->step + 1;
    return (stretch){.p = a->param + s->param_offset,
                     .g = a->grad + s->grad_offset,
                     .m = a->moment1 ? a->moment1 + s->moment_offset : NULL,
                     .v = a->moment2 ? a->moment2 + s->moment_offset : NULL,
                     .partial = call->workspace,
                     .count = s->count,
                     .factor = ((const double *)call->in[0].data)[GUARD_FACTOR],
                     .decay = (double)s->decay,
                     .lr = call->block->lr * (double)s->lr_factor,
                     .momentum = call->attr.update.momentum,
                     .beta1 = call->attr.update.beta1,
                     .beta2 = call->attr.update.beta2,
                     .eps = call->attr.update.eps,
                     .moment_correction = 1 / (1 - pow(call->attr.update.beta1, t)),
                     .root_correction = 1 / sqrt(1 - pow(call->attr.update.beta2, t))};
}

static bool guard_ok(const dpt_call *call) { return ((const double *)call->in[0].data)[GUARD_OK] != 0; }

/* ---- trust_norms: lars: sum of p^2, of (factor g)^2. lamb: with d = factor g moves m = beta1 m + (1 - beta1) d and
 * v = beta2 v + (1 - beta2) d^2; sum of p^2, of u^2, where u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) +
 * decay p ---- */

#define LAMB_STEP(T, root, m, v, p) \
    ((m) * (T)s->moment_correction / (root(v) * (T)s->root_correction + (T)s->eps) + (T)s->decay * (p))

#define NORM_BLOCKS(suffix, T, root)                                                               \
    DPT_MULTIVERSION static void lars_blocks_##suffix(void *context, int64_t begin, int64_t end) { \
        const stretch *s = context;                                                                \
        for (int64_t b = begin; b < end; b++) {                                                    \
            const T *restrict p = (const T *)s->p + b * BLOCK;                                     \
            const T *restrict g = (const T *)s->g + b * BLOCK;                                     \
            const int64_t n = s->count - b * BLOCK < BLOCK ? s->count - b * BLOCK : BLOCK;         \
            double of_p[LANES] = {0}, of_g[LANES] = {0}, *sum = s->partial + SUMS * b;             \
            for (int64_t i = 0; i < n; i += LANES)                                                 \
                for (int64_t l = 0; l < LANES && i + l < n; l++) {                                 \
                    const double x = (double)p[i + l], d = s->factor * (double)g[i + l];           \
                    of_p[l] += x * x;                                                              \
                    of_g[l] += d * d;                                                              \
                }                                                                                  \
            sum[OF_PARAMETER] = sum[OF_STEP] = 0;                                                  \
            for (int l = 0; l < LANES; l++) sum[OF_PARAMETER] += of_p[l], sum[OF_STEP] += of_g[l]; \
        }                                                                                          \
    }                                                                                              \
    DPT_MULTIVERSION static void lamb_blocks_##suffix(void *context, int64_t begin, int64_t end) { \
        const stretch *s = context;                                                                \
        const T factor = (T)s->factor, beta1 = (T)s->beta1, beta2 = (T)s->beta2;                   \
        const T rest1 = (T)(1 - s->beta1), rest2 = (T)(1 - s->beta2);                              \
        for (int64_t b = begin; b < end; b++) {                                                    \
            const T *restrict p = (const T *)s->p + b * BLOCK;                                     \
            const T *restrict g = (const T *)s->g + b * BLOCK;                                     \
            T *restrict m = (T *)s->m + b * BLOCK, *restrict v = (T *)s->v + b * BLOCK;            \
            const int64_t n = s->count - b * BLOCK < BLOCK ? s->count - b * BLOCK : BLOCK;         \
            double of_p[LANES] = {0}, of_u[LANES] = {0}, *sum = s->partial + SUMS * b;             \
            for (int64_t i = 0; i < n; i += LANES)                                                 \
                for (int64_t l = 0; l < LANES && i + l < n; l++) {                                 \
                    const T d = factor * g[i + l];                                                 \
                    m[i + l] = beta1 * m[i + l] + rest1 * d;                                       \
                    v[i + l] = beta2 * v[i + l] + rest2 * d * d;                                   \
                    const T u = LAMB_STEP(T, root, m[i + l], v[i + l], p[i + l]);                  \
                    of_p[l] += (double)p[i + l] * (double)p[i + l];                                \
                    of_u[l] += (double)u * (double)u;                                              \
                }                                                                                  \
            sum[OF_PARAMETER] = sum[OF_STEP] = 0;                                                  \
            for (int l = 0; l < LANES; l++) sum[OF_PARAMETER] += of_p[l], sum[OF_STEP] += of_u[l]; \
        }                                                                                          \
    }
NORM_BLOCKS(f32, float, sqrtf)
NORM_BLOCKS(f64, double, sqrt)
#undef NORM_BLOCKS

static int64_t block_count(const dpt_segment *s) { return (s->count + BLOCK - 1) / BLOCK; }

static dpt_status norms_prepare(dpt_call *call) {
    int64_t most = 1;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const int64_t blocks = block_count(&call->attr.update.segment[i]);
        if (blocks > most) most = blocks;
    }
    call->workspace_bytes = (size_t)(most * SUMS) * sizeof(double);
    return DPT_OK;
}

static dpt_status norms_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    double *out = call->out[0].data;
    memset(out, 0, (size_t)call->out[0].count * sizeof *out);
    if (!guard_ok(call)) return DPT_OK;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const dpt_segment *segment = &call->attr.update.segment[i];
        stretch s = stretch_of(call, segment);
        const bool wide = segment->dtype == DPT_F64;
        dpt_range_fn run = call->attr.update.lamb ? (wide ? lamb_blocks_f64 : lamb_blocks_f32)
                                                  : (wide ? lars_blocks_f64 : lars_blocks_f32);
        dpt_parallel(call->device->threads, block_count(segment), GRAIN / BLOCK, run, &s);
        for (int64_t b = 0; b < block_count(segment); b++)
            for (int k = 0; k < SUMS; k++) out[segment->parameter * SUMS + k] += s.partial[b * SUMS + k];
    }
    return DPT_OK;
}

/* ---- the steps. lars (You et al. 2017): m = momentum m + lr ratio (d + decay p), p -= m, ratio = trust |p| / (|d| +
 * decay |p|). lamb (You et al. 2020): p -= lr ratio u, ratio = |p| / |u| ---- */

#define TRUST_STEPS(suffix, T, root)                                                                                 \
    DPT_MULTIVERSION static void lars_##suffix(void *context, int64_t begin, int64_t end) {                          \
        const stretch *s = context;                                                                                  \
        T *restrict p = s->p, *restrict m = s->m;                                                                    \
        const T *restrict g = s->g;                                                                                  \
        const T factor = (T)s->factor, decay = (T)s->decay, lr = (T)(s->lr * s->ratio);                              \
        const T momentum = (T)s->momentum;                                                                           \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) {                                                  \
            m[i] = momentum * m[i] + lr * (factor * g[i] + decay * p[i]);                                            \
            p[i] -= m[i];                                                                                            \
        }                                                                                                            \
    }                                                                                                                \
    DPT_MULTIVERSION static void lamb_##suffix(void *context, int64_t begin, int64_t end) {                          \
        const stretch *s = context;                                                                                  \
        T *restrict p = s->p;                                                                                        \
        const T *restrict m = s->m, *restrict v = s->v;                                                              \
        const T lr = (T)(s->lr * s->ratio);                                                                          \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) p[i] -= lr * LAMB_STEP(T, root, m[i], v[i], p[i]); \
    }                                                                                                                \
    DPT_MULTIVERSION static void average_##suffix(void *context, int64_t begin, int64_t end) {                       \
        const stretch *s = context;                                                                                  \
        T *restrict a = s->m;                                                                                        \
        const T *restrict p = s->p;                                                                                  \
        const T rest = (T)(1 - s->ratio);                                                                            \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) a[i] += rest * (p[i] - a[i]);                      \
    }
TRUST_STEPS(f32, float, sqrtf)
TRUST_STEPS(f64, double, sqrt)
#undef TRUST_STEPS

static double ratio_of(const dpt_call *call, const dpt_segment *s) {
    const double *sums = (const double *)call->in[1].data + s->parameter * SUMS;
    const double of_p = sqrt(sums[OF_PARAMETER]), of_step = sqrt(sums[OF_STEP]);
    if (!s->adapts || !(of_p > 0) || !(of_step > 0)) return 1;
    if (call->attr.update.lamb) return of_p / of_step;
    return call->attr.update.trust * of_p / (of_step + (double)s->decay * of_p);
}

static dpt_status trust_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (!guard_ok(call)) return DPT_OK;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const dpt_segment *segment = &call->attr.update.segment[i];
        stretch s = stretch_of(call, segment);
        s.ratio = ratio_of(call, segment);
        const bool wide = segment->dtype == DPT_F64;
        dpt_range_fn run = call->attr.update.lamb ? (wide ? lamb_f64 : lamb_f32) : (wide ? lars_f64 : lars_f32);
        dpt_parallel(call->device->threads, segment->count, GRAIN, run, &s);
    }
    return DPT_OK;
}

/* ---- average: a += (1 - k) (p - a) after the step, k = min(average, (1 + t) / (10 + t)), t = steps made: early
 * averages forget the start (TensorFlow's ExponentialMovingAverage) ---- */

static dpt_status average_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (!guard_ok(call)) return DPT_OK;
    const double t = (double)call->block->step + 1;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const dpt_segment *segment = &call->attr.update.segment[i];
        stretch s = stretch_of(call, segment);
        s.m = call->arenas.average + segment->param_offset;
        s.ratio = fmin(call->attr.update.average, (1 + t) / (10 + t));
        dpt_parallel(call->device->threads, segment->count, GRAIN,
                     segment->dtype == DPT_F64 ? average_f64 : average_f32, &s);
    }
    return DPT_OK;
}

/* ---- tables ---- */

static double segment_flop(const dpt_call *call) {
    double count = 0;
    for (int i = 0; i < call->attr.update.segments; i++) count += (double)call->attr.update.segment[i].count;
    return (call->op == DPT_OP_AVERAGE ? 3 : call->attr.update.lamb ? 12 : 6) * count;
}

#define EFFECT(op, shape_)       \
    const dpt_op dpt_op_##op = { \
        .name = #op, .flags = DPT_IS_TERMINAL | DPT_IS_EFFECT, .n_out = 1, .shape = shape_, .flop = segment_flop}
EFFECT(trust_norms, norms_shape);
EFFECT(trust_step, trust_shape);
EFFECT(average, average_shape);
#undef EFFECT

const dpt_kernel dpt_cpu_trust_norms = {.prepare = norms_prepare, .run = norms_run};
const dpt_kernel dpt_cpu_trust_step = {.run = trust_run};
const dpt_kernel dpt_cpu_average = {.run = average_run};
