/* norm_cpu.c: the CPU kernels of batch norm (ops/norm.c says what each op gives): coefficients by channel in f64, then
 * one of the loops of norm_loops.h. Invariant: forward and backward take mean, scale and bias of a channel alike, so
 * that the mask of a fused ReLU, found again from x, is the one that was applied. */
#include <math.h>

#include "ops/declare.h"
#include "ops/norm_loops.h"

/* Mean, variance (biased) and 1/sqrt(var + eps) of a channel from moments [2C+1]; count 0 gives 0, 0 and 0. */
typedef struct channel_moments {
    double count, mean, var, rstd;
} channel_moments;

static channel_moments moments_of(const dpt_call *call, const double *moments, int64_t c) {
    int64_t channels = call->attr.norm.channels;
    channel_moments m = {.count = moments[2 * channels]};
    if (m.count <= 0) return m;
    m.mean = moments[c] / m.count;
    m.var = fmax(moments[channels + c] / m.count - m.mean * m.mean, 0);
    m.rstd = 1 / sqrt(m.var + call->attr.norm.eps);
    return m;
}

static dpt_planes_form apply_form(const dpt_call *call) {
    if (call->attr.norm.adds) return call->attr.norm.relu ? DPT_PLANES_APPLY_ADD_RELU : DPT_PLANES_APPLY_ADD;
    return call->attr.norm.relu ? DPT_PLANES_APPLY_RELU : DPT_PLANES_APPLY;
}

/* Four vectors of f32, and behind them one of f64. */
static dpt_status vectors_prepare(dpt_call *call) {
    call->workspace_bytes = (size_t)call->attr.norm.channels * (4 * sizeof(float) + sizeof(double));
    return DPT_OK;
}

static float *vector_of(const dpt_call *call, int i) { return (float *)call->workspace + i * call->attr.norm.channels; }

static double *shift_of(const dpt_call *call) { return (double *)(void *)vector_of(call, 4); }

/* mean and scale = rstd * weight. */
static void forward_coefficients(const dpt_call *call, const double *moments, const float *weight, dpt_planes *p) {
    float *mean = vector_of(call, 0), *scale = vector_of(call, 1);
    for (int64_t c = 0; c < p->channels; c++) {
        channel_moments m = moments_of(call, moments, c);
        mean[c] = (float)m.mean;
        scale[c] = (float)(m.rstd * (double)weight[c]);
    }
    p->mean = mean;
    p->scale = scale;
}

static dpt_status moments_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    int64_t channels = call->attr.norm.channels;
    double *out = call->out[0].data, *zero = shift_of(call);
    for (int64_t c = 0; c < channels; c++) zero[c] = 0;
    dpt_planes p = dpt_planes_of(call);
    p.sum = out;
    p.product = out + channels;
    p.shift = zero;
    dpt_planes_run(call, &p, DPT_PLANES_SUMS);
    out[2 * channels] = (double)(p.rows * p.spatial);
    return DPT_OK;
}

/* y = (x - mean) * rstd * weight + bias, + residual, relu */
static dpt_status apply_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_planes p = dpt_planes_of(call);
    forward_coefficients(call, call->in[1].data, call->in[2].data, &p);
    p.bias = call->in[3].data;
    if (call->attr.norm.adds) p.b = call->in[6].data;
    dpt_planes_run(call, &p, apply_form(call));
    return DPT_OK;
}

static dpt_status infer_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    int64_t channels = call->attr.norm.channels;
    const float *var = call->in[2].data, *weight = call->in[3].data;
    float *scale = vector_of(call, 1);
    for (int64_t c = 0; c < channels; c++)
        scale[c] = (float)((double)weight[c] / sqrt((double)var[c] + call->attr.norm.eps));
    dpt_planes p = dpt_planes_of(call);
    p.mean = call->in[1].data;
    p.scale = scale;
    p.bias = call->in[4].data;
    if (call->attr.norm.adds) p.b = call->in[5].data;
    dpt_planes_run(call, &p, apply_form(call));
    return DPT_OK;
}

/* sums[c] = sum g, sums[C+c] = sum g * (x - mean) * rstd, p holding the operands */
static void gradient_sums(const dpt_call *call, const double *moments, double *out, dpt_planes *p,
                          dpt_planes_form form) {
    double *mean = shift_of(call);
    for (int64_t c = 0; c < p->channels; c++) mean[c] = moments_of(call, moments, c).mean;
    p->sum = out;
    p->product = out + p->channels;
    p->shift = mean;
    dpt_planes_run(call, p, form);
    for (int64_t c = 0; c < p->channels; c++) p->product[c] *= moments_of(call, moments, c).rstd;
}

static dpt_status grad_sums_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const double *moments = call->in[2].data;
    dpt_planes p = dpt_planes_of(call);
    p.b = call->in[1].data;
    if (call->attr.norm.relu) {
        forward_coefficients(call, moments, call->in[3].data, &p);
        p.bias = call->in[4].data;
    }
    gradient_sums(call, moments, call->out[0].data, &p, call->attr.norm.relu ? DPT_PLANES_SUMS_RELU : DPT_PLANES_SUMS);
    return DPT_OK;
}

/* out = (g + d) where y > 0, else 0; and its sums */
static dpt_status mask_sums_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    dpt_planes p = dpt_planes_of(call);
    p.c = call->in[1].data;
    p.b = call->in[2].data;
    if (call->attr.norm.adds) p.d = call->in[4].data;
    gradient_sums(call, call->in[3].data, call->out[1].data, &p,
                  call->attr.norm.adds ? DPT_PLANES_MASKED_ADD : DPT_PLANES_MASKED);
    return DPT_OK;
}

/* dx = weight * rstd * (g - sum(g)/n - xhat * sum(g*xhat)/n), xhat = (x - mean) * rstd */
static dpt_status grad_apply_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    int64_t channels = call->attr.norm.channels;
    const double *moments = call->in[2].data, *sums = call->in[3].data;
    const float *weight = call->in[4].data;
    float *add = vector_of(call, 2), *slope = vector_of(call, 3);
    dpt_planes p = dpt_planes_of(call);
    forward_coefficients(call, moments, weight, &p);
    for (int64_t c = 0; c < channels; c++) {
        channel_moments m = moments_of(call, moments, c);
        double n = m.count > 0 ? m.count : 1, factor = (double)weight[c] * m.rstd;
        add[c] = (float)(sums[c] / n);
        slope[c] = (float)(-factor * m.rstd * sums[channels + c] / n);
    }
    p.b = call->in[1].data;
    p.bias = call->attr.norm.relu ? (const float *)call->in[5].data : add;
    p.add = add;
    p.slope = slope;
    dpt_planes_run(call, &p, call->attr.norm.relu ? DPT_PLANES_GRAD_RELU : DPT_PLANES_GRAD);
    return DPT_OK;
}

static dpt_status param_grad_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    int64_t channels = call->attr.norm.channels;
    const double *sums = call->in[0].data;
    float *dweight = call->out[0].data, *dbias = call->out[1].data;
    for (int64_t c = 0; c < channels; c++) dweight[c] = (float)sums[channels + c], dbias[c] = (float)sums[c];
    return DPT_OK;
}

/* running += momentum * (new - running), with the unbiased variance; one element has none and leaves it, no element
 * leaves all. */
static dpt_status running_run(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    int64_t channels = call->attr.norm.channels;
    const double *moments = call->in[0].data, *old_weight = call->in[3].data;
    const float *old_mean = call->in[1].data, *old_var = call->in[2].data;
    float *mean = call->out[0].data, *var = call->out[1].data;
    double *weight = call->out[2].data, momentum = call->attr.norm.momentum;
    for (int64_t c = 0; c < channels; c++) {
        channel_moments m = moments_of(call, moments, c);
        double to_mean = m.count > 0 ? momentum : 0, to_var = m.count > 1 ? momentum : 0;
        double unbiased = m.count > 1 ? m.var * m.count / (m.count - 1) : 0;
        mean[c] = (float)((1 - to_mean) * (double)old_mean[c] + to_mean * m.mean);
        var[c] = (float)((1 - to_var) * (double)old_var[c] + to_var * unbiased);
    }
    weight[0] = old_weight[0] + moments[2 * channels];
    return DPT_OK;
}

/* Every operand of x's shape in the layout of operand 0; the rest are vectors. */
static dpt_status planes_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    uint32_t in = 0, out = 0;
    for (int k = 0; k < call->n_in; k++) in |= (uint32_t)(call->in[k].axis >= 0) << k;
    for (int k = 0; k < call->n_out; k++) out |= (uint32_t)(call->out[k].axis >= 0) << k;
    dpt_layouts_alike(call, choice, in, out, DPT_LAYOUTS_ALL);
    return DPT_OK;
}

const dpt_kernel dpt_cpu_bn_moments = {.prepare = vectors_prepare, .run = moments_run, .layouts = planes_layouts};
const dpt_kernel dpt_cpu_bn_apply = {.prepare = vectors_prepare, .run = apply_run, .layouts = planes_layouts};
const dpt_kernel dpt_cpu_bn_grad_sums = {.prepare = vectors_prepare, .run = grad_sums_run, .layouts = planes_layouts};
const dpt_kernel dpt_cpu_bn_mask_sums = {.prepare = vectors_prepare, .run = mask_sums_run, .layouts = planes_layouts};
const dpt_kernel dpt_cpu_bn_grad_apply = {.prepare = vectors_prepare, .run = grad_apply_run, .layouts = planes_layouts};
const dpt_kernel dpt_cpu_bn_param_grad = {.run = param_grad_run};
const dpt_kernel dpt_cpu_bn_running = {.run = running_run};
const dpt_kernel dpt_cpu_bn_infer = {.prepare = vectors_prepare, .run = infer_run, .layouts = planes_layouts};
