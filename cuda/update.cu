/* update.cu: the end of a training step on the GPU: gradients to their arena, their norm, the guard, the optimisers,
 * state.
 *
 * Optimisers and square_norm are one launch over all segments (segments.cuh). Everything that a
 * step decides (the guard, the learning rate, the step number) is read on the device. Invariants: where the guard is
 * not ok nothing is written; the sums of a chunk, and the order in which chunks are added, depend on the segments
 * alone, so that bits repeat on any device. */
#include <math.h>

#include "cuda/segments.cuh"

enum { UPDATES_AT_ONCE = 2, COPIES_AT_ONCE = 4 };

/* ---- square_norm: in[0] (0 where there is none) + sum of g^2 over all segments, in f64: a sum a chunk, then the block
 * that ends last adds those ---- */

template <typename T>
__device__ double square_of(const T *g, int64_t count) {
    constexpr int N = dpt_pack<T>::N;
    const int64_t packs = aligned(g) ? count / N : 0;
    double sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < packs; i += THREADS) {
        const dpt_pack<T> pack = ((const dpt_pack<T> *)g)[i];
#pragma unroll
        for (int j = 0; j < N; j++) sum += (double)pack.v[j] * (double)pack.v[j];
    }
    for (int64_t i = packs * N + threadIdx.x; i < count; i += THREADS) sum += (double)g[i] * (double)g[i];
    return sum;
}

__global__ void __launch_bounds__(THREADS)
    square_norm_kernel(const char *grad, table_head *head, volatile double *partial, const double *before,
                       double *out) {
    const int64_t chunks = ((const stretch *)(head + 1))[head->stretches].first_chunk;
    for (chunk_walk walk(head); walk.here(); walk.next()) {
        const dpt_segment &s = walk.segment();
        const char *g = grad + s.grad_offset;
        const int64_t begin = walk.begin(SQUARE_CHUNK), count = walk.count(SQUARE_CHUNK);
        double sum = s.dtype == DPT_F64 ? square_of((const double *)g + begin, count)
                                        : square_of((const float *)g + begin, count);
        sum = dpt_block_sum(sum);
        if (threadIdx.x == 0) partial[walk.chunk] = sum;
    }
    if (!dpt_last_block(&head->finished, gridDim.x)) return;
    double sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < chunks; i += THREADS) sum += partial[i];
    sum = dpt_block_sum(sum);
    if (threadIdx.x == 0) *out = before ? *before + sum : sum;
}

static dpt_status square_norm_prepare(dpt_call *call) {
    call->workspace_bytes = (size_t)(chunks_of(call, SQUARE_CHUNK) + 1) * sizeof(double);
    return table_prepare(call);
}

static dpt_status square_norm_bind(dpt_call *call) { return table_fill(call, SQUARE_CHUNK); }

static dpt_status square_norm_run(dpt_call *call, dpt_stream *stream) {
    const unsigned blocks = walk_blocks(call, chunks_of(call, SQUARE_CHUNK));
    return DPT_LAUNCH(square_norm_kernel, blocks, THREADS, 0, stream, call->arenas.grad, (table_head *)call->table,
                      (double *)call->workspace, call->n_in > 0 ? (const double *)call->in[0].data : NULL,
                      (double *)call->out[0].data);
}

DPT_CUDA_KERNEL(square_norm, square_norm_prepare, square_norm_bind, square_norm_run, NULL)

/* ---- guard: {factor, ok, norm, loss} from the square norm, the losses and the scale that the gradients carry; see
 * ops/update.c ---- */

struct guard_operands {
    const void *data[DPT_MAX_IN];
    dpt_dtype dtype[DPT_MAX_IN];
    int count;
};

__device__ double scalar_of(const void *data, dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F64: return *(const double *)data;
        case DPT_BF16: return (double)dpt_load(*(const __nv_bfloat16 *)data);
        case DPT_F16: return (double)dpt_load(*(const __half *)data);
        default: return (double)*(const float *)data;
    }
}

__global__ void guard_kernel(guard_operands in, double max_norm, bool scaled, double *out) {
    if (threadIdx.x != 0) return;
    double value[DPT_MAX_IN];
    bool ok = true;
    for (int i = 0; i < in.count; i++) {
        value[i] = scalar_of(in.data[i], in.dtype[i]);
        ok = ok && isfinite(value[i]);
    }
    const double scale = scaled ? value[in.count - 1] : 1, norm = sqrt(value[0]) / scale;
    out[GUARD_FACTOR] = (max_norm > 0 ? fmin(1.0, max_norm / (norm + 1e-6)) : 1) / scale;
    out[GUARD_OK] = ok ? 1 : 0;
    out[GUARD_NORM] = norm;
    out[GUARD_LOSS] = in.count > 1 ? value[1] : 0;
}

static dpt_status guard_run(dpt_call *call, dpt_stream *stream) {
    guard_operands in = {};
    in.count = call->n_in;
    for (int i = 0; i < call->n_in; i++) in.data[i] = call->in[i].data, in.dtype[i] = call->in[i].dtype;
    return DPT_LAUNCH(guard_kernel, 1, 32, 0, stream, in, call->attr.clip.max_norm, call->attr.clip.scaled,
                      (double *)call->out[0].data);
}

DPT_CUDA_KERNEL(guard, NULL, NULL, guard_run, NULL)

/* ---- optimisers: the rules, an element each; T is the segment's type ---- */

struct update_settings {
    double momentum, beta1, beta2, eps;
    bool nesterov, coupled;
};

/* What is the same for all segments of a step. */
struct step_values {
    double factor, lr;
    double lr_correction;   /* 1 / (1 - beta1^t), t = steps made + 1 */
    double root_correction; /* 1 / sqrt(1 - beta2^t) */
};

/* PyTorch's SGD without momentum: p -= lr * (factor*g + decay*p) */
template <typename T>
struct plain_sgd {
    static constexpr int MOMENTS = 0;
    static constexpr bool CORRECTS = false;
    T factor, decay, lr;
    __device__ plain_sgd(const update_settings &, const step_values &step, const dpt_segment &s)
        : factor((T)step.factor), decay((T)s.decay), lr((T)(step.lr * (double)s.lr_factor)) {}
    __device__ void operator()(T g, T &p, T &, T &) const { p -= lr * (factor * g + decay * p); }
};

/* d = factor*g + decay*p; m = momentum*m + d; p -= lr * (nesterov ? d + momentum*m : m) */
template <typename T>
struct momentum_sgd {
    static constexpr int MOMENTS = 1;
    static constexpr bool CORRECTS = false;
    T factor, decay, lr, momentum, of_moment, of_gradient;
    __device__ momentum_sgd(const update_settings &u, const step_values &step, const dpt_segment &s)
        : factor((T)step.factor),
          decay((T)s.decay),
          lr((T)(step.lr * (double)s.lr_factor)),
          momentum((T)u.momentum),
          of_moment(u.nesterov ? (T)u.momentum : (T)1),
          of_gradient(u.nesterov ? (T)1 : (T)0) {}
    __device__ void operator()(T g, T &p, T &m, T &) const {
        const T d = factor * g + decay * p;
        m = momentum * m + d;
        p -= lr * (of_moment * m + of_gradient * d);
    }
};

__device__ __forceinline__ float root(float v) { return sqrtf(v); }
__device__ __forceinline__ double root(double v) { return sqrt(v); }

/* PyTorch's AdamW (Loshchilov and Hutter 2019). p *= 1 - lr*decay; m = beta1*m + (1-beta1)*g; v = beta2*v +
 * (1-beta2)*g^2; p -= lr/(1-beta1^t) * m / (sqrt(v)/sqrt(1-beta2^t) + eps). Coupled it is Adam (Kingma and Ba 2015): p
 * stays, and decay*p is added to g. */
template <typename T>
struct adamw_rule {
    static constexpr int MOMENTS = 2;
    static constexpr bool CORRECTS = true;
    T factor, keep, coupled, beta1, beta2, rest1, rest2, lr, correct, eps;
    __device__ adamw_rule(const update_settings &u, const step_values &step, const dpt_segment &s)
        : factor((T)step.factor),
          keep(u.coupled ? (T)1 : (T)(1 - step.lr * (double)s.lr_factor * (double)s.decay)),
          coupled(u.coupled ? (T)s.decay : (T)0),
          beta1((T)u.beta1),
          beta2((T)u.beta2),
          rest1((T)(1 - u.beta1)),
          rest2((T)(1 - u.beta2)),
          lr((T)(step.lr * (double)s.lr_factor * step.lr_correction)),
          correct((T)step.root_correction),
          eps((T)u.eps) {}
    __device__ void operator()(T g, T &p, T &m, T &v) const {
        const T d = factor * g + coupled * p;
        m = beta1 * m + rest1 * d;
        v = beta2 * v + rest2 * d * d;
        p = keep * p - lr * m / (root(v) * correct + eps);
    }
};

/* ---- optimisers: the one loop ---- */

/* Applies the rule to count elements; the arenas do not overlap. */
template <typename T, typename RULE>
__device__ void update_elements(const RULE &rule, const T *__restrict__ g, T *__restrict__ p, T *__restrict__ m,
                                T *__restrict__ v, int64_t count) {
    constexpr int N = dpt_pack<T>::N, MOMENTS = RULE::MOMENTS;
    typedef dpt_elements<T, N> pack;
    const bool wide = aligned(g) && aligned(p) && (MOMENTS < 1 || aligned(m)) && (MOMENTS < 2 || aligned(v));
    const int64_t packs = wide ? count / N : 0;
    for (int64_t i = threadIdx.x; i < packs; i += UPDATES_AT_ONCE * THREADS) {
        pack of_g[UPDATES_AT_ONCE], of_p[UPDATES_AT_ONCE], of_m[UPDATES_AT_ONCE] = {}, of_v[UPDATES_AT_ONCE] = {};
#pragma unroll
        for (int u = 0; u < UPDATES_AT_ONCE; u++) {
            const int64_t at = i + u * THREADS;
            if (at >= packs) continue;
            of_g[u] = ((const pack *)g)[at];
            of_p[u] = ((const pack *)p)[at];
            if (MOMENTS > 0) of_m[u] = ((const pack *)m)[at];
            if (MOMENTS > 1) of_v[u] = ((const pack *)v)[at];
        }
#pragma unroll
        for (int u = 0; u < UPDATES_AT_ONCE; u++) {
            const int64_t at = i + u * THREADS;
            if (at >= packs) continue;
#pragma unroll
            for (int j = 0; j < N; j++) rule(of_g[u].v[j], of_p[u].v[j], of_m[u].v[j], of_v[u].v[j]);
            dpt_elements_store((pack *)p + at, of_p[u]);
            if (MOMENTS > 0) dpt_elements_store((pack *)m + at, of_m[u]);
            if (MOMENTS > 1) dpt_elements_store((pack *)v + at, of_v[u]);
        }
    }
    for (int64_t i = packs * N + threadIdx.x; i < count; i += THREADS) {
        T none = 0;
        rule(g[i], p[i], MOMENTS > 0 ? m[i] : none, MOMENTS > 1 ? v[i] : none);
    }
}

/* The chunk that the walk stands at, of type T. */
template <typename T, typename RULE>
__device__ void update_chunk(const chunk_walk &walk, const update_settings &settings, const step_values &step,
                             const dpt_arenas &a) {
    const dpt_segment &s = walk.segment();
    const int64_t begin = walk.begin(UPDATE_CHUNK);
    T *m = RULE::MOMENTS > 0 ? (T *)(a.moment1 + s.moment_offset) + begin : NULL;
    T *v = RULE::MOMENTS > 1 ? (T *)(a.moment2 + s.moment_offset) + begin : NULL;
    update_elements<T>(RULE(settings, step, s), (const T *)(a.grad + s.grad_offset) + begin,
                       (T *)(a.param + s.param_offset) + begin, m, v, walk.count(UPDATE_CHUNK));
}

/* Three blocks a multiprocessor: each thread has up to 128 bytes on their way. */
template <template <typename> class RULE>
__global__ void __launch_bounds__(THREADS, 3)
    update_kernel(const table_head *head, update_settings settings, dpt_arenas arenas, const double *guard,
                  const dpt_block *block) {
    __shared__ step_values step;
    if (guard[GUARD_OK] == 0) return;
    if (threadIdx.x == 0) { /* powers in f64 are slow: one thread a block */
        const double t = (double)block->step + 1;
        step.factor = guard[GUARD_FACTOR];
        step.lr = block->lr;
        step.lr_correction = RULE<float>::CORRECTS ? 1 / (1 - pow(settings.beta1, t)) : 1;
        step.root_correction = RULE<float>::CORRECTS ? 1 / sqrt(1 - pow(settings.beta2, t)) : 1;
    }
    __syncthreads();
    for (chunk_walk walk(head); walk.here(); walk.next()) {
        if (walk.segment().dtype == DPT_F64)
            update_chunk<double, RULE<double>>(walk, settings, step, arenas);
        else
            update_chunk<float, RULE<float>>(walk, settings, step, arenas);
    }
}

static dpt_status update_bind(dpt_call *call) { return table_fill(call, UPDATE_CHUNK); }

template <template <typename> class RULE>
static dpt_status update_launch(dpt_call *call, dpt_stream *stream) {
    const int64_t chunks = chunks_of(call, UPDATE_CHUNK);
    if (chunks == 0) return DPT_OK;
    const update_settings settings = {call->attr.update.momentum, call->attr.update.beta1, call->attr.update.beta2,
                                      call->attr.update.eps, call->attr.update.nesterov, call->attr.update.coupled};
    return DPT_LAUNCH(update_kernel<RULE>, walk_blocks(call, chunks), THREADS, 0, stream,
                      (const table_head *)call->table, settings, call->arenas, (const double *)call->in[0].data,
                      call->block);
}

static dpt_status sgd_run(dpt_call *call, dpt_stream *stream) {
    return call->attr.update.momentum != 0 ? update_launch<momentum_sgd>(call, stream)
                                           : update_launch<plain_sgd>(call, stream);
}

static dpt_status adamw_run(dpt_call *call, dpt_stream *stream) { return update_launch<adamw_rule>(call, stream); }

DPT_CUDA_KERNEL(sgd, table_prepare, update_bind, sgd_run, NULL)
DPT_CUDA_KERNEL(adamw, table_prepare, update_bind, adamw_run, NULL)

/* ---- copies: grad_store, assign, state_restore ---- */

/* Copies bytes; with a guard only where its ok is 0 (when_ok false) or is not 0 (when_ok true). Both are aligned to 16.
 */
__global__ void __launch_bounds__(THREADS) copy_kernel(char *__restrict__ to, const char *__restrict__ from,
                                                       int64_t bytes, const double *guard, bool when_ok) {
    if (guard != NULL && (guard[GUARD_OK] != 0) != when_ok) return;
    const int64_t packs = bytes / 16, first = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = first; i < packs; i += COPIES_AT_ONCE * step) {
        uint4 taken[COPIES_AT_ONCE];
#pragma unroll
        for (int u = 0; u < COPIES_AT_ONCE; u++)
            if (i + u * step < packs) taken[u] = ((const uint4 *)from)[i + u * step];
#pragma unroll
        for (int u = 0; u < COPIES_AT_ONCE; u++)
            if (i + u * step < packs) __stcg((uint4 *)to + i + u * step, taken[u]);
    }
    if (first < bytes - packs * 16) to[packs * 16 + first] = from[packs * 16 + first];
}

static dpt_status copy_guarded(dpt_call *call, dpt_stream *stream, void *to, const void *from, int64_t bytes,
                               const double *guard, bool when_ok) {
    if (to == from || bytes == 0) return DPT_OK;
    return DPT_LAUNCH(copy_kernel, dpt_blocks_for(call, (bytes + 15) / 16, THREADS), THREADS, 0, stream, (char *)to,
                      (const char *)from, bytes, guard, when_ok);
}

static int64_t bytes_of(const dpt_operand *o) { return o->count * (int64_t)dpt_dtype_size(o->dtype); }

/* out += in; the operands are aligned to 16 and do not overlap */
template <typename T>
__global__ void __launch_bounds__(THREADS) add_kernel(T *__restrict__ out, const T *__restrict__ in, int64_t count) {
    constexpr int N = dpt_pack<T>::N;
    typedef dpt_elements<T, N> pack;
    const int64_t packs = count / N, first = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = first; i < packs; i += UPDATES_AT_ONCE * step) {
        pack from[UPDATES_AT_ONCE], to[UPDATES_AT_ONCE];
#pragma unroll
        for (int u = 0; u < UPDATES_AT_ONCE; u++) {
            if (i + u * step >= packs) continue;
            from[u] = ((const pack *)in)[i + u * step];
            to[u] = ((const pack *)out)[i + u * step];
        }
#pragma unroll
        for (int u = 0; u < UPDATES_AT_ONCE; u++) {
            if (i + u * step >= packs) continue;
#pragma unroll
            for (int j = 0; j < N; j++) to[u].v[j] += from[u].v[j];
            dpt_elements_store((pack *)out + i + u * step, to[u]);
        }
    }
    if (first < count - packs * N) out[packs * N + first] += in[packs * N + first];
}

/* out = in, or out += in over micro-batches; out lies in the gradient arena, in f32 or f64 */
static dpt_status grad_store_run(dpt_call *call, dpt_stream *stream) {
    const dpt_operand *in = &call->in[0], *out = &call->out[0];
    if (!call->attr.slot.accumulate) return copy_guarded(call, stream, out->data, in->data, bytes_of(out), NULL, true);
    const unsigned blocks = dpt_blocks_for(call, (bytes_of(out) + 15) / 16, THREADS);
    if (out->dtype == DPT_F64)
        return DPT_LAUNCH(add_kernel<double>, blocks, THREADS, 0, stream, (double *)out->data, (const double *)in->data,
                          out->count);
    return DPT_LAUNCH(add_kernel<float>, blocks, THREADS, 0, stream, (float *)out->data, (const float *)in->data,
                      out->count);
}

/* The state's storage (out) becomes in[0], if the guard (in[1], where there is one) is ok. */
static dpt_status assign_run(dpt_call *call, dpt_stream *stream) {
    const double *guard = call->n_in > 1 ? (const double *)call->in[1].data : NULL;
    return copy_guarded(call, stream, call->out[0].data, call->in[0].data, bytes_of(&call->out[0]), guard, true);
}

/* All states as they were before the step, if the guard (in[0]) is not ok: micro-batches write state before anyone
 * knows whether the step counts. */
static dpt_status state_restore_run(dpt_call *call, dpt_stream *stream) {
    const dpt_arenas *a = &call->arenas;
    if (a->saved_state == NULL) return DPT_OK;
    return copy_guarded(call, stream, a->state, a->saved_state, a->state_bytes, (const double *)call->in[0].data,
                        false);
}

DPT_CUDA_KERNEL(grad_store, NULL, NULL, grad_store_run, NULL)
DPT_CUDA_KERNEL(assign, NULL, NULL, assign_run, NULL)
DPT_CUDA_KERNEL(state_restore, NULL, NULL, state_restore_run, NULL)
