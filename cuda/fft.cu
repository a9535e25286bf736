/* fft.cu: rfft and irfft on the GPU: the transforms by cuFFT (fft.h), the factors of ops/fft.c by own kernels. All rows
 * of the capacity are transformed, each by itself, so padding stays where it is. The way back works on a copy, as cuFFT
 * writes there, made symmetric where a real result asks for it (ops/fft_cpu.c). */
#include "cuda/fft.h"

#include "cuda/layouts.h"
#include "cuda/number.cuh"
#include "ops/op_list.h"

enum { THREADS = 256 };

struct spectrum_shape {
    int64_t n[3], half, count; /* sizes of the real side; kept of the last one; complex values of all transforms */
    double scale;
    bool doubled;
};

__device__ __forceinline__ bool is_single(const spectrum_shape &s, int64_t k) { return k == 0 || 2 * k == s.n[2]; }

/* y[k] *= scale, twice that for what stands for two. */
template <typename T>
__global__ void __launch_bounds__(THREADS) scale_kernel(spectrum_shape s, T *y) {
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < s.count; i += step) {
        const T factor = (T)(s.doubled && !is_single(s, i % s.half) ? 2 * s.scale : s.scale);
        y[2 * i] *= factor, y[2 * i + 1] *= factor;
    }
}

/* y[k] = scale x[k], half of that for what cuFFT takes twice and should not; symmetric where the mirror is kept too. */
template <typename T>
__global__ void __launch_bounds__(THREADS) symmetric_kernel(spectrum_shape s, const T *x, T *y) {
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < s.count; i += step) {
        const int64_t k = i % s.half, row = i / s.half, one = s.n[0] * s.n[1];
        const int64_t k1 = row % s.n[1], k0 = row / s.n[1] % s.n[0];
        if (is_single(s, k)) {
            const int64_t other = row / one * one + (s.n[0] - k0) % s.n[0] * s.n[1] + (s.n[1] - k1) % s.n[1];
            const T *mirror = x + 2 * (other * s.half + k);
            y[2 * i] = (T)(s.scale / 2) * (x[2 * i] + mirror[0]);
            y[2 * i + 1] = (T)(s.scale / 2) * (x[2 * i + 1] - mirror[1]);
        } else {
            const T factor = (T)(s.doubled ? s.scale : s.scale / 2);
            y[2 * i] = factor * x[2 * i], y[2 * i + 1] = factor * x[2 * i + 1];
        }
    }
}

/* ---- kernels of the table ---- */

static bool is_back(const dpt_call *call) { return call->op == DPT_OP_IRFFT; }
static size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
static size_t bytes_of(const dpt_operand *o) { return (size_t)dpt_operand_bytes(o); }

static spectrum_shape shape_of(const dpt_call *call) {
    const dpt_fft_attr *a = &call->attr.fft;
    spectrum_shape s = {{a->n[0], a->n[1], a->n[2]}, a->n[2] / 2 + 1, 0, a->scale, a->doubled};
    s.count = (is_back(call) ? &call->in[0] : &call->out[0])->count / 2;
    return s;
}

static dpt_status fft_prepare(dpt_call *call) {
    const dpt_fft_attr *a = &call->attr.fft;
    const dpt_operand *real = is_back(call) ? &call->out[0] : &call->in[0];
    dpt_fft_plan *plan;
    size_t bytes = 0;
    DPT_TRY(dpt_fft_plan_create(a, real->dtype == DPT_F64, is_back(call), real->count / (a->n[0] * a->n[1] * a->n[2]),
                                &plan, &bytes));
    call->plan = plan;
    call->workspace_bytes = bytes + (is_back(call) ? aligned(bytes_of(&call->in[0])) : 0);
    return DPT_OK;
}

template <typename T>
static dpt_status fft_run_as(dpt_call *call, dpt_stream *stream) {
    const spectrum_shape s = shape_of(call);
    const dpt_fft_plan *plan = (const dpt_fft_plan *)call->plan;
    const unsigned blocks = dpt_blocks_for(call, s.count, THREADS);
    void *from = call->in[0].data, *to = call->out[0].data, *workspace = call->workspace;
    if (!is_back(call)) {
        DPT_TRY(dpt_fft_plan_run(plan, from, to, workspace, stream));
        if (s.scale == 1 && !s.doubled) return DPT_OK;
        return DPT_LAUNCH(scale_kernel<T>, blocks, THREADS, 0, stream, s, (T *)to);
    }
    DPT_TRY(DPT_LAUNCH(symmetric_kernel<T>, blocks, THREADS, 0, stream, s, (const T *)from, (T *)workspace));
    return dpt_fft_plan_run(plan, workspace, to, (char *)workspace + aligned(bytes_of(&call->in[0])), stream);
}

static dpt_status fft_run(dpt_call *call, dpt_stream *stream) {
    if (call->in[0].dtype == DPT_F64) return fft_run_as<double>(call, stream);
    return fft_run_as<float>(call, stream);
}

static void fft_release(dpt_call *call) {
    dpt_fft_plan *plan = (dpt_fft_plan *)call->plan;
    dpt_fft_plan_destroy(&plan);
    call->plan = NULL;
}

DPT_CUDA_KERNEL(rfft, fft_prepare, NULL, fft_run, fft_release)
DPT_CUDA_KERNEL(irfft, fft_prepare, NULL, fft_run, fft_release)
