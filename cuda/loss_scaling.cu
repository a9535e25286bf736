/* loss_scaling.cu: the scale of fp16's loss after a step, by one thread: (guard f64 [4], value f32 [], steps i32 []) ->
 * (value, steps). Not ok: value/2, at least 1, and 0 steps; ok: a step more, at the 2000th value*2, at most 2^24, and 0
 * steps. The numbers are those of src/ops/loss_scaling.c. */
#include "cuda/launch.h"

enum { THREADS = 32, GROWTH_STEPS = 2000, GUARD_OK = 1 };

__global__ void __launch_bounds__(THREADS)
    scale_update_kernel(const double *guard, const float *value, const int32_t *steps, float *next_value,
                        int32_t *next_steps) {
    if (threadIdx.x != 0) return;
    const float smallest = 1, largest = 16777216;
    const bool ok = guard[GUARD_OK] != 0;
    float scale = value[0];
    int32_t good = ok ? steps[0] + 1 : 0;
    if (!ok) scale = scale / 2 > smallest ? scale / 2 : smallest;
    if (good >= GROWTH_STEPS) {
        scale = scale * 2 < largest ? scale * 2 : largest;
        good = 0;
    }
    next_value[0] = scale;
    next_steps[0] = good;
}

static dpt_status scale_update_run(dpt_call *call, dpt_stream *stream) {
    return DPT_LAUNCH(scale_update_kernel, 1, THREADS, 0, stream, (const double *)call->in[0].data,
                      (const float *)call->in[1].data, (const int32_t *)call->in[2].data, (float *)call->out[0].data,
                      (int32_t *)call->out[1].data);
}

DPT_CUDA_KERNEL(scale_update, NULL, NULL, scale_update_run, NULL)
