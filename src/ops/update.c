/* update.c: the end of a training step: gradients to their arena, their norm, the guard, the optimisers, state.
 *
 * Order is kept by tokens: grad_store... -> [buckets] -> square_norm -> guard -> sgd | adamw, assign. The optimisers
 * work on stretches of the arenas (dpt_segment), one pass each, and touch nothing else. Invariant: where the guard
 * finds a number that is not finite, no parameter, no moment and no state changes. By bucket each bucket has a guard of
 * its own, and the others are updated. */
#include <math.h>
#include <string.h>

#include "backend/parallel.h"
#include "ops/declare.h"
#include "ops/internal.h"

enum { LANES = 32, BLOCK = 4096, GRAIN = 16384 };
enum { GUARD_FACTOR, GUARD_OK, GUARD_NORM, GUARD_LOSS, GUARD_VALUES };

/* ---- shapes ---- */

static dpt_status like_shape(dpt_node *node) {
    if (dpt_has_batch(node->in[0]))
        return dpt_shape_error(node, "the value is %s: it must have no batch dimension", dpt_shape_text(node->in[0]));
    dpt_set_out_like(node, 0, node->in[0]);
    return DPT_OK;
}

/* Operands before tokens: square norm (f64), then losses, and where attr.clip.scaled the scale of the gradients (f32).
 */
static dpt_status guard_shape(dpt_node *node) {
    int operands = 0;
    for (int i = 0; i < node->n_in; i++) {
        const dpt_tensor *t = node->in[i];
        if (t->token) continue;
        bool fits = t->ndim == 0 && (t->dtype == DPT_F64 || (operands > 0 && t->dtype == DPT_F32));
        if (!fits)
            return dpt_shape_error(node, "operand %d is %s %s: wanted the f64 square norm, then scalar losses",
                                   operands, dpt_dtype_text(t->dtype), dpt_shape_text(t));
        operands++;
    }
    if (operands < 1 || operands > DPT_MAX_IN)
        return dpt_shape_error(node, "%d operands: wanted the square norm and at most %d losses", operands,
                               DPT_MAX_IN - 1);
    dpt_set_out(node, 0, DPT_F64, 1, (int64_t[]){GUARD_VALUES});
    return DPT_OK;
}

static dpt_status square_norm_shape(dpt_node *node) {
    int sums = 0;
    for (int i = 0; i < node->n_in; i++) {
        const dpt_tensor *t = node->in[i];
        if (t->token) continue;
        if (t->dtype != DPT_F64 || t->ndim != 0 || sums++ > 0)
            return dpt_shape_error(node, "operand %d is %s %s: wanted tokens and at most one square norm, f64 []", i,
                                   dpt_dtype_text(t->dtype), dpt_shape_text(t));
    }
    dpt_set_out(node, 0, DPT_F64, 0, NULL);
    return DPT_OK;
}

static dpt_status expect_guard(const dpt_node *node, int i) {
    const dpt_tensor *t = i < node->n_in ? node->in[i] : NULL;
    if (t && t->dtype == DPT_F64 && t->ndim == 1 && t->dim[0] == GUARD_VALUES) return DPT_OK;
    return dpt_shape_error(node, "operand %d is %s, not a guard: f64 [%d]", i, t ? dpt_shape_text(t) : "missing",
                           GUARD_VALUES);
}

static dpt_status optimiser_shape(dpt_node *node) {
    DPT_TRY(expect_guard(node, 0));
    dpt_set_out(node, 0, DPT_U8, 0, NULL);
    node->out[0].token = true;
    return DPT_OK;
}

static dpt_status assign_shape(dpt_node *node) {
    if (node->n_in > 1) DPT_TRY(expect_guard(node, 1));
    return like_shape(node);
}

/* ---- grad_store: out = in, or out += in over micro-batches; out lies in the gradient arena ---- */

#define ADD_RANGE(suffix, type)                                                                  \
    DPT_MULTIVERSION static void add_range_##suffix(void *context, int64_t begin, int64_t end) { \
        const dpt_call *call = context;                                                          \
        const type *restrict in = call->in[0].data;                                              \
        type *restrict out = call->out[0].data;                                                  \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) out[i] += in[i];               \
    }
ADD_RANGE(f32, float)
ADD_RANGE(f64, double)
#undef ADD_RANGE

static void copy_range(void *context, int64_t begin, int64_t end) {
    const dpt_call *call = context;
    size_t size = dpt_dtype_size(call->out[0].dtype);
    memcpy((char *)call->out[0].data + (size_t)begin * size, (const char *)call->in[0].data + (size_t)begin * size,
           (size_t)(end - begin) * size);
}

static dpt_status grad_store_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (!call->attr.slot.accumulate && call->in[0].data == call->out[0].data) return DPT_OK;
    dpt_range_fn add = call->out[0].dtype == DPT_F64 ? add_range_f64 : add_range_f32;
    dpt_parallel(call->device->threads, call->out[0].count, GRAIN, call->attr.slot.accumulate ? add : copy_range, call);
    return DPT_OK;
}

/* ---- assign: the state's storage (out) becomes in[0], if the guard (in[1], where there is one) is ok ---- */

static dpt_status assign_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (call->n_in > 1 && ((const double *)call->in[1].data)[GUARD_OK] == 0) return DPT_OK;
    if (call->in[0].data == call->out[0].data) return DPT_OK;
    dpt_parallel(call->device->threads, call->out[0].count, GRAIN, copy_range, call);
    return DPT_OK;
}

/* ---- state_restore: all states as they were before the step, if the guard (in[0]) is not ok: micro-batches write
 * state before anyone knows whether the step counts ---- */

static dpt_status state_restore_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_arenas *a = &call->arenas;
    if (a->saved_state && ((const double *)call->in[0].data)[GUARD_OK] == 0)
        memcpy(a->state, a->saved_state, (size_t)a->state_bytes);
    return DPT_OK;
}

/* ---- square_norm: sum of g^2 over all segments, by blocks of fixed size, so that threads do not change it. It is
 * added to in[0], where there is one: the square norm of what stands before; so buckets give the bits of a sum over
 * all. ----
 */

typedef struct square_stretch {
    const void *g;
    int64_t count;
    double *partial; /* a block each */
} square_stretch;

#define SQUARE_BLOCKS(suffix, type)                                                                                 \
    DPT_MULTIVERSION static void square_blocks_##suffix(void *context, int64_t begin, int64_t end) {                \
        const square_stretch *s = context;                                                                          \
        for (int64_t b = begin; b < end; b++) {                                                                     \
            const type *restrict g = (const type *)s->g + b * BLOCK;                                                \
            int64_t n = s->count - b * BLOCK < BLOCK ? s->count - b * BLOCK : BLOCK, i = 0;                         \
            double lane[LANES] = {0};                                                                               \
            for (; i + LANES <= n; i += LANES)                                                                      \
                _Pragma("omp simd") for (int l = 0; l < LANES; l++) lane[l] += (double)g[i + l] * (double)g[i + l]; \
            for (int l = 0; i < n; i++, l++) lane[l] += (double)g[i] * (double)g[i];                                \
            s->partial[b] = 0;                                                                                      \
            for (int l = 0; l < LANES; l++) s->partial[b] += lane[l];                                               \
        }                                                                                                           \
    }
SQUARE_BLOCKS(f32, float)
SQUARE_BLOCKS(f64, double)
#undef SQUARE_BLOCKS

static int64_t block_count(const dpt_segment *s) { return (s->count + BLOCK - 1) / BLOCK; }

static dpt_status square_norm_prepare(dpt_call *call) {
    int64_t most = 1;
    for (int i = 0; i < call->attr.update.segments; i++) {
        int64_t blocks = block_count(&call->attr.update.segment[i]);
        if (blocks > most) most = blocks;
    }
    call->workspace_bytes = (size_t)most * sizeof(double);
    return DPT_OK;
}

static dpt_status square_norm_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    double total = call->n_in > 0 ? *(const double *)call->in[0].data : 0;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const dpt_segment *s = &call->attr.update.segment[i];
        square_stretch stretch = {call->arenas.grad + s->grad_offset, s->count, call->workspace};
        dpt_parallel(call->device->threads, block_count(s), GRAIN / BLOCK,
                     s->dtype == DPT_F64 ? square_blocks_f64 : square_blocks_f32, &stretch);
        for (int64_t b = 0; b < block_count(s); b++) total += stretch.partial[b];
    }
    *(double *)call->out[0].data = total;
    return DPT_OK;
}

/* ---- guard: {factor, ok, norm, loss} from the square norm (in[0]), the losses (the first is handed on) and the scale
 * that the gradients carry (the last operand where attr.clip.scaled, else 1). norm = sqrt(square) / scale; ok = 1 where
 * all are finite; factor = min(1, max_norm / (norm + 1e-6)) / scale as PyTorch's clip_grad_norm_, 1 / scale where
 * max_norm is 0 ---- */

static double scalar_of(const dpt_operand *o) {
    return o->dtype == DPT_F64 ? *(const double *)o->data : (double)*(const float *)o->data;
}

static dpt_status guard_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    double scale = call->attr.clip.scaled ? scalar_of(&call->in[call->n_in - 1]) : 1;
    double norm = sqrt(scalar_of(&call->in[0])) / scale, max_norm = call->attr.clip.max_norm, *out = call->out[0].data;
    bool ok = true;
    for (int i = 0; i < call->n_in; i++) ok = ok && isfinite(scalar_of(&call->in[i]));
    out[GUARD_FACTOR] = (max_norm > 0 ? fmin(1, max_norm / (norm + 1e-6)) : 1) / scale;
    out[GUARD_OK] = ok;
    out[GUARD_NORM] = norm;
    out[GUARD_LOSS] = call->n_in > 1 ? scalar_of(&call->in[1]) : 0;
    return DPT_OK;
}

/* ---- optimisers: one segment of the arenas at a time ---- */

typedef struct stretch {
    void *p, *m, *v; /* parameters, moments; NULL where the optimiser has none */
    const void *g;
    double factor, decay, lr;
    double beta1, beta2, eps;
    double of_moment, of_gradient; /* sgd: the step is along of_moment * m + of_gradient * d */
    double root_correction;        /* adamw: 1 / sqrt(1 - beta2^t) */
    double step_size;              /* adamw: lr / (1 - beta1^t) */
    double keep, coupled;          /* adamw: 1 - lr decay and 0; adam: 1 and decay */
} stretch;

static stretch stretch_of(const dpt_call *call, const dpt_segment *s) {
    const dpt_arenas *a = &call->arenas;
    return (stretch){.p = a->param + s->param_offset,
                     .g = a->grad + s->grad_offset,
                     .m = a->moment1 ? a->moment1 + s->moment_offset : NULL,
                     .v = a->moment2 ? a->moment2 + s->moment_offset : NULL,
                     .factor = ((const double *)call->in[0].data)[GUARD_FACTOR],
                     .decay = (double)s->decay,
                     .lr = call->block->lr * (double)s->lr_factor,
                     .beta1 = call->attr.update.beta1,
                     .beta2 = call->attr.update.beta2,
                     .eps = call->attr.update.eps};
}

static bool guard_ok(const dpt_call *call) { return ((const double *)call->in[0].data)[GUARD_OK] != 0; }

/* PyTorch's SGD. d = factor*g + decay*p; m = momentum*m + d; p -= lr * (nesterov ? d + momentum*m : m); without
 * momentum p -= lr*d. */
#define SGD(suffix, type)                                                                                          \
    DPT_MULTIVERSION static void momentum_##suffix(void *context, int64_t begin, int64_t end) {                    \
        const stretch *s = context;                                                                                \
        type *restrict p = s->p, *restrict m = s->m;                                                               \
        const type *restrict g = s->g;                                                                             \
        type factor = (type)s->factor, decay = (type)s->decay, lr = (type)s->lr;                                   \
        type momentum = (type)s->beta1, of_m = (type)s->of_moment, of_d = (type)s->of_gradient;                    \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) {                                                \
            type d = factor * g[i] + decay * p[i];                                                                 \
            m[i] = momentum * m[i] + d;                                                                            \
            p[i] -= lr * (of_m * m[i] + of_d * d);                                                                 \
        }                                                                                                          \
    }                                                                                                              \
    DPT_MULTIVERSION static void plain_sgd_##suffix(void *context, int64_t begin, int64_t end) {                   \
        const stretch *s = context;                                                                                \
        type *restrict p = s->p;                                                                                   \
        const type *restrict g = s->g;                                                                             \
        type factor = (type)s->factor, decay = (type)s->decay, lr = (type)s->lr;                                   \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) { p[i] -= lr * (factor * g[i] + decay * p[i]); } \
    }
SGD(f32, float)
SGD(f64, double)
#undef SGD

static dpt_status sgd_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (!guard_ok(call)) return DPT_OK;
    double momentum = call->attr.update.momentum;
    bool nesterov = call->attr.update.nesterov;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const dpt_segment *segment = &call->attr.update.segment[i];
        stretch s = stretch_of(call, segment);
        s.beta1 = momentum;
        s.of_moment = nesterov ? momentum : 1;
        s.of_gradient = nesterov ? 1 : 0;
        bool wide = segment->dtype == DPT_F64;
        dpt_range_fn run =
            momentum != 0 ? (wide ? momentum_f64 : momentum_f32) : (wide ? plain_sgd_f64 : plain_sgd_f32);
        dpt_parallel(call->device->threads, segment->count, GRAIN, run, &s);
    }
    return DPT_OK;
}

/* PyTorch's AdamW (Loshchilov and Hutter 2019), t = steps made + 1. p *= 1 - lr*decay; d = factor*g; m = beta1*m +
 * (1-beta1)*g; v = beta2*v + (1-beta2)*g^2; p -= lr/(1-beta1^t) * m / (sqrt(v)/sqrt(1-beta2^t) + eps). Coupled it is
 * Adam (Kingma and Ba 2015): p stays, and decay*p is added to g. */
#define ADAMW(suffix, type, root)                                                                            \
    DPT_MULTIVERSION static void adamw_##suffix(void *context, int64_t begin, int64_t end) {                 \
        const stretch *s = context;                                                                          \
        type *restrict p = s->p, *restrict m = s->m, *restrict v = s->v;                                     \
        const type *restrict g = s->g;                                                                       \
        type factor = (type)s->factor, keep = (type)s->keep, coupled = (type)s->coupled, eps = (type)s->eps; \
        type beta1 = (type)s->beta1, beta2 = (type)s->beta2, rest1 = (type)(1 - s->beta1);                   \
        type rest2 = (type)(1 - s->beta2), step = (type)s->step_size, correct = (type)s->root_correction;    \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) {                                          \
            type d = factor * g[i] + coupled * p[i];                                                         \
            m[i] = beta1 * m[i] + rest1 * d;                                                                 \
            v[i] = beta2 * v[i] + rest2 * d * d;                                                             \
            p[i] = keep * p[i] - step * m[i] / (root(v[i]) * correct + eps);                                 \
        }                                                                                                    \
    }
ADAMW(f32, float, sqrtf)
ADAMW(f64, double, sqrt)
#undef ADAMW

static dpt_status adamw_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    if (!guard_ok(call)) return DPT_OK;
    double t = (double)call->block->step + 1;
    for (int i = 0; i < call->attr.update.segments; i++) {
        const dpt_segment *segment = &call->attr.update.segment[i];
        stretch s = stretch_of(call, segment);
        s.step_size = s.lr / (1 - pow(s.beta1, t));
        s.root_correction = 1 / sqrt(1 - pow(s.beta2, t));
        s.keep = call->attr.update.coupled ? 1 : 1 - s.lr * s.decay;
        s.coupled = call->attr.update.coupled ? s.decay : 0;
        dpt_parallel(call->device->threads, segment->count, GRAIN, segment->dtype == DPT_F64 ? adamw_f64 : adamw_f32,
                     &s);
    }
    return DPT_OK;
}

/* ---- costs: per element of the segments ---- */

static double segment_flop(const dpt_call *call, double each) {
    double count = 0;
    for (int i = 0; i < call->attr.update.segments; i++) count += (double)call->attr.update.segment[i].count;
    return each * count;
}
static double square_norm_flop(const dpt_call *call) { return segment_flop(call, 2); }
static double sgd_flop(const dpt_call *call) { return segment_flop(call, 7); }
static double adamw_flop(const dpt_call *call) { return segment_flop(call, 14); }

/* ---- tables ---- */

const dpt_op dpt_op_grad_store = {
    .name = "grad_store", .flags = DPT_IS_TERMINAL | DPT_IS_EFFECT, .n_out = 1, .shape = like_shape};
const dpt_op dpt_op_square_norm = {
    .name = "square_norm", .flags = DPT_IS_TERMINAL, .n_out = 1, .shape = square_norm_shape, .flop = square_norm_flop};
const dpt_op dpt_op_guard = {.name = "guard", .flags = DPT_IS_TERMINAL, .n_out = 1, .shape = guard_shape};
const dpt_op dpt_op_sgd = {
    .name = "sgd", .flags = DPT_IS_TERMINAL | DPT_IS_EFFECT, .n_out = 1, .shape = optimiser_shape, .flop = sgd_flop};
const dpt_op dpt_op_adamw = {.name = "adamw",
                             .flags = DPT_IS_TERMINAL | DPT_IS_EFFECT,
                             .n_out = 1,
                             .shape = optimiser_shape,
                             .flop = adamw_flop};
const dpt_op dpt_op_assign = {
    .name = "assign", .flags = DPT_IS_TERMINAL | DPT_IS_EFFECT, .n_out = 1, .shape = assign_shape};
const dpt_op dpt_op_state_restore = {
    .name = "state_restore", .flags = DPT_IS_TERMINAL | DPT_IS_EFFECT, .n_out = 1, .shape = optimiser_shape};

const dpt_kernel dpt_cpu_grad_store = {.run = grad_store_run};
const dpt_kernel dpt_cpu_square_norm = {.prepare = square_norm_prepare, .run = square_norm_run};
const dpt_kernel dpt_cpu_guard = {.run = guard_run};
const dpt_kernel dpt_cpu_sgd = {.run = sgd_run};
const dpt_kernel dpt_cpu_adamw = {.run = adamw_run};
const dpt_kernel dpt_cpu_assign = {.run = assign_run};
const dpt_kernel dpt_cpu_state_restore = {.run = state_restore_run};
