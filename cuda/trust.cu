/* trust.cu: LARS, LAMB and the moving average of parameters on the GPU; formulas and contract stand in ops/trust.c.
 *
 * trust_norms sums a chunk of a segment a block, then the block that ends last adds the chunks of each segment, a warp a
 * segment, in an order that depends on the segments alone. Everything that a step decides is read on the device.
 * Invariant: where the guard is not ok nothing is written but zeros for the norms. */
#include <math.h>

#include "cuda/segments.cuh"

enum { OF_PARAMETER, OF_STEP, SUMS }; /* a parameter's sums */

struct trust_settings {
    bool lamb;
    double momentum, beta1, beta2, eps, trust, average;
    int64_t parameters;
};

static trust_settings settings_of(const dpt_call *call) {
    trust_settings s = {};
    s.lamb = call->attr.update.lamb;
    s.momentum = call->attr.update.momentum;
    s.beta1 = call->attr.update.beta1;
    s.beta2 = call->attr.update.beta2;
    s.eps = call->attr.update.eps;
    s.trust = call->attr.update.trust;
    s.average = call->attr.update.average;
    s.parameters = call->attr.update.parameters;
    return s;
}

/* What is the same for all segments of a step. */
struct trust_step {
    double factor, lr, moment_correction, root_correction, keep;
};

/* Filled by one thread a block: powers in f64 are slow. */
__device__ void step_fill(trust_step *step, const trust_settings &s, const double *guard, const dpt_block *block) {
    if (threadIdx.x == 0) {
        const double t = (double)block->step + 1;
        step->factor = guard[GUARD_FACTOR];
        step->lr = block->lr;
        step->moment_correction = 1 / (1 - pow(s.beta1, t));
        step->root_correction = 1 / sqrt(1 - pow(s.beta2, t));
        step->keep = fmin(s.average, (1 + t) / (10 + t));
    }
    __syncthreads();
}

__device__ __forceinline__ float root(float v) { return sqrtf(v); }
__device__ __forceinline__ double root(double v) { return sqrt(v); }

/* u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + decay p */
template <typename T>
__device__ __forceinline__ T lamb_step(const trust_settings &s, const trust_step &step, T decay, T m, T v, T p) {
    return m * (T)step.moment_correction / (root(v) * (T)step.root_correction + (T)s.eps) + decay * p;
}

/* ---- trust_norms ---- */

/* Adds up a chunk; lamb moves its moments first. */
template <typename T>
__device__ void chunk_sums(const chunk_walk &walk, const trust_settings &s, const trust_step &step,
                           const dpt_arenas &a, double *of_p, double *of_step) {
    const dpt_segment &segment = walk.segment();
    const int64_t begin = walk.begin(SQUARE_CHUNK), count = walk.count(SQUARE_CHUNK);
    const T *p = (const T *)(a.param + segment.param_offset) + begin;
    const T *g = (const T *)(a.grad + segment.grad_offset) + begin;
    T *m = s.lamb ? (T *)(a.moment1 + segment.moment_offset) + begin : NULL;
    T *v = s.lamb ? (T *)(a.moment2 + segment.moment_offset) + begin : NULL;
    for (int64_t i = threadIdx.x; i < count; i += THREADS) {
        const T x = p[i];
        T d = (T)step.factor * g[i];
        if (s.lamb) {
            m[i] = (T)s.beta1 * m[i] + (T)(1 - s.beta1) * d;
            v[i] = (T)s.beta2 * v[i] + (T)(1 - s.beta2) * d * d;
            d = lamb_step<T>(s, step, (T)segment.decay, m[i], v[i], x);
        }
        *of_p += (double)x * (double)x;
        *of_step += (double)d * (double)d;
    }
}

__global__ void __launch_bounds__(THREADS)
    trust_norms_kernel(table_head *head, trust_settings settings, dpt_arenas arenas, const double *guard,
                       const dpt_block *block, volatile double *partial, double *out) {
    __shared__ trust_step step;
    const stretch *list = (const stretch *)(head + 1);
    const bool ok = guard[GUARD_OK] != 0;
    step_fill(&step, settings, guard, block);
    for (chunk_walk walk(head); walk.here() && ok; walk.next()) {
        double of_p = 0, of_step = 0;
        if (walk.segment().dtype == DPT_F64)
            chunk_sums<double>(walk, settings, step, arenas, &of_p, &of_step);
        else
            chunk_sums<float>(walk, settings, step, arenas, &of_p, &of_step);
        of_p = dpt_block_sum(of_p);
        of_step = dpt_block_sum(of_step);
        if (threadIdx.x == 0) {
            partial[walk.chunk * SUMS + OF_PARAMETER] = of_p;
            partial[walk.chunk * SUMS + OF_STEP] = of_step;
        }
    }
    if (!dpt_last_block(&head->finished, gridDim.x)) return;
    for (int64_t i = threadIdx.x; i < settings.parameters * SUMS; i += THREADS) out[i] = 0;
    __syncthreads();
    for (int at = (int)(threadIdx.x / 32); at < head->stretches && ok; at += THREADS / 32) {
        double sum[SUMS] = {0, 0};
        for (int64_t c = list[at].first_chunk + threadIdx.x % 32; c < list[at + 1].first_chunk; c += 32)
            for (int k = 0; k < SUMS; k++) sum[k] += partial[c * SUMS + k];
        for (int k = 0; k < SUMS; k++) sum[k] = dpt_warp_sum(sum[k]);
        if (threadIdx.x % 32 == 0)
            for (int k = 0; k < SUMS; k++) out[list[at].segment.parameter * SUMS + k] = sum[k];
    }
}

static dpt_status trust_norms_prepare(dpt_call *call) {
    call->workspace_bytes = (size_t)(SUMS * (chunks_of(call, SQUARE_CHUNK) + 1)) * sizeof(double);
    return table_prepare(call);
}

static dpt_status trust_norms_bind(dpt_call *call) { return table_fill(call, SQUARE_CHUNK); }

static dpt_status trust_norms_run(dpt_call *call, dpt_stream *stream) {
    const unsigned blocks = walk_blocks(call, chunks_of(call, SQUARE_CHUNK));
    return DPT_LAUNCH(trust_norms_kernel, blocks, THREADS, 0, stream, (table_head *)call->table, settings_of(call),
                      call->arenas, (const double *)call->in[0].data, call->block, (double *)call->workspace,
                      (double *)call->out[0].data);
}

DPT_CUDA_KERNEL(trust_norms, trust_norms_prepare, trust_norms_bind, trust_norms_run, NULL)

/* ---- trust_step: lars m = momentum m + lr ratio (d + decay p), p -= m; lamb p -= lr ratio u ---- */

__device__ double ratio_of(const trust_settings &s, const dpt_segment &segment, const double *norms) {
    const double of_p = sqrt(norms[segment.parameter * SUMS + OF_PARAMETER]);
    const double of_step = sqrt(norms[segment.parameter * SUMS + OF_STEP]);
    if (!segment.adapts || !(of_p > 0) || !(of_step > 0)) return 1;
    if (s.lamb) return of_p / of_step;
    return s.trust * of_p / (of_step + (double)segment.decay * of_p);
}

template <typename T>
__device__ void chunk_step(const chunk_walk &walk, const trust_settings &s, const trust_step &step, const dpt_arenas &a,
                           const double *norms) {
    const dpt_segment &segment = walk.segment();
    const int64_t begin = walk.begin(UPDATE_CHUNK), count = walk.count(UPDATE_CHUNK);
    const T lr = (T)(step.lr * (double)segment.lr_factor * ratio_of(s, segment, norms)), decay = (T)segment.decay;
    T *p = (T *)(a.param + segment.param_offset) + begin;
    const T *g = (const T *)(a.grad + segment.grad_offset) + begin;
    T *m = (T *)(a.moment1 + segment.moment_offset) + begin;
    const T *v = s.lamb ? (const T *)(a.moment2 + segment.moment_offset) + begin : NULL;
    for (int64_t i = threadIdx.x; i < count; i += THREADS) {
        if (s.lamb) {
            p[i] -= lr * lamb_step<T>(s, step, decay, m[i], v[i], p[i]);
        } else {
            m[i] = (T)s.momentum * m[i] + lr * ((T)step.factor * g[i] + decay * p[i]);
            p[i] -= m[i];
        }
    }
}

__global__ void __launch_bounds__(THREADS)
    trust_step_kernel(const table_head *head, trust_settings settings, dpt_arenas arenas, const double *guard,
                      const dpt_block *block, const double *norms) {
    __shared__ trust_step step;
    if (guard[GUARD_OK] == 0) return;
    step_fill(&step, settings, guard, block);
    for (chunk_walk walk(head); walk.here(); walk.next()) {
        if (walk.segment().dtype == DPT_F64)
            chunk_step<double>(walk, settings, step, arenas, norms);
        else
            chunk_step<float>(walk, settings, step, arenas, norms);
    }
}

static dpt_status update_bind(dpt_call *call) { return table_fill(call, UPDATE_CHUNK); }

static dpt_status trust_step_run(dpt_call *call, dpt_stream *stream) {
    const int64_t chunks = chunks_of(call, UPDATE_CHUNK);
    if (chunks == 0) return DPT_OK;
    return DPT_LAUNCH(trust_step_kernel, walk_blocks(call, chunks), THREADS, 0, stream,
                      (const table_head *)call->table, settings_of(call), call->arenas,
                      (const double *)call->in[0].data, call->block, (const double *)call->in[1].data);
}

DPT_CUDA_KERNEL(trust_step, table_prepare, update_bind, trust_step_run, NULL)

/* ---- average: a += (1 - k) (p - a), k = min(average, (1 + t) / (10 + t)) ---- */

template <typename T>
__device__ void chunk_average(const chunk_walk &walk, const trust_step &step, const dpt_arenas &a) {
    const int64_t begin = walk.begin(UPDATE_CHUNK), count = walk.count(UPDATE_CHUNK);
    const T *p = (const T *)(a.param + walk.segment().param_offset) + begin;
    T *average = (T *)(a.average + walk.segment().param_offset) + begin;
    const T rest = (T)(1 - step.keep);
    for (int64_t i = threadIdx.x; i < count; i += THREADS) average[i] += rest * (p[i] - average[i]);
}

__global__ void __launch_bounds__(THREADS)
    average_kernel(const table_head *head, trust_settings settings, dpt_arenas arenas, const double *guard,
                   const dpt_block *block) {
    __shared__ trust_step step;
    if (guard[GUARD_OK] == 0) return;
    step_fill(&step, settings, guard, block);
    for (chunk_walk walk(head); walk.here(); walk.next()) {
        if (walk.segment().dtype == DPT_F64)
            chunk_average<double>(walk, step, arenas);
        else
            chunk_average<float>(walk, step, arenas);
    }
}

static dpt_status average_run(dpt_call *call, dpt_stream *stream) {
    const int64_t chunks = chunks_of(call, UPDATE_CHUNK);
    if (chunks == 0) return DPT_OK;
    return DPT_LAUNCH(average_kernel, walk_blocks(call, chunks), THREADS, 0, stream, (const table_head *)call->table,
                      settings_of(call), call->arenas, (const double *)call->in[0].data, call->block);
}

DPT_CUDA_KERNEL(average, table_prepare, update_bind, average_run, NULL)
