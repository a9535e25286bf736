/* dnn.cu: the wrapper of cuDNN (cuda/dnn.h) on the CPU: convolutions by plain loops in f64 over canonical copies,
 * queued as a kernel of one thread, so that they wait, replay and fault as the device's would. Every plan that dnn.h
 * can describe is there but what cuDNN lacks: f64, and an f32 result of 16-bit operands. DPTRAIN_CUDNN=0: none is. */
#include "cuda/dnn.h"

#include <stdlib.h>
#include <string.h>

#include <vector>

#include "cuda/launch.h"
#include "cuda/number.cuh"

struct dpt_dnn_plan {
    dpt_dnn_plan *next;
    dpt_dnn_conv conv;
};

enum { WORKSPACE_BYTES = 512 }; /* asked for, to be filled: whoever gives less is found out */

bool dpt_dnn_available(void) {
    const char *wanted = getenv("DPTRAIN_CUDNN");
    return wanted == NULL || strcmp(wanted, "0") != 0;
}

/* ---- the loops ---- */

typedef std::vector<double> array;

static int64_t volume(const int64_t size[3]) { return size[0] * size[1] * size[2]; }

/* Element (n, c, p) of [n, channels, plane], in the plan's layout. */
static size_t place(bool last, int64_t channels, int64_t plane, int64_t n, int64_t c, int64_t p) {
    return (size_t)(last ? (n * plane + p) * channels + c : (n * channels + c) * plane + p);
}

template <typename T>
static array read(const T *from, bool last, int64_t n, int64_t channels, int64_t plane) {
    array to((size_t)(n * channels * plane));
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t p = 0; p < plane; p++)
                to[(size_t)((i * channels + c) * plane + p)] =
                    (double)dpt_load(from[place(last, channels, plane, i, c, p)]);
    return to;
}

template <typename T>
static void write(T *to, const array &from, bool last, int64_t n, int64_t channels, int64_t plane) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t p = 0; p < plane; p++)
                to[place(last, channels, plane, i, c, p)] =
                    dpt_store<T>((dpt_wide<T>)from[(size_t)((i * channels + c) * plane + p)]);
}

/* One filter element over one plane of x and one of y, along lines of outputs. */
static double tap(dpt_conv_kind kind, const dpt_conv_sizes &s, const int64_t k[3], double *x, double w, double *y) {
    int64_t begin[3], end[3], offset[3];
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        offset[i] = k[i] * s.dilation[i] - s.pad[i];
        begin[i] = offset[i] >= 0 ? 0 : (-offset[i] + s.stride[i] - 1) / s.stride[i];
        end[i] = s.in[i] - 1 < offset[i] ? 0 : (s.in[i] - 1 - offset[i]) / s.stride[i] + 1;
        if (end[i] > s.out[i]) end[i] = s.out[i];
    }
    for (int64_t d = begin[0]; d < end[0]; d++)
        for (int64_t h = begin[1]; h < end[1]; h++) {
            const int64_t from = (d * s.stride[0] + offset[0]) * s.in[1] + h * s.stride[1] + offset[1];
            double *xs = x + from * s.in[2] + offset[2], *ys = y + (d * s.out[1] + h) * s.out[2];
            for (int64_t i = begin[2]; i < end[2]; i++) {
                if (kind == DPT_CONV_FORWARD) ys[i] += w * xs[i * s.stride[2]];
                if (kind == DPT_CONV_DGRAD) xs[i * s.stride[2]] += w * ys[i];
                if (kind == DPT_CONV_WGRAD) sum += xs[i * s.stride[2]] * ys[i];
            }
        }
    return sum;
}

static void convolve(dpt_conv_kind kind, const dpt_conv_sizes &s, array &x, array &w, array &y) {
    const int64_t channels = s.in_channels / s.groups, taps = volume(s.kernel);
    for (int64_t n = 0; n < s.batch; n++)
        for (int64_t o = 0; o < s.out_channels; o++)
            for (int64_t c = 0; c < channels; c++) {
                const int64_t from = o / (s.out_channels / s.groups) * channels + c;
                double *xs = x.data() + (n * s.in_channels + from) * volume(s.in);
                double *ys = y.data() + (n * s.out_channels + o) * volume(s.out);
                for (int64_t t = 0; t < taps; t++) {
                    const int64_t k[3] = {t / s.kernel[2] / s.kernel[1], t / s.kernel[2] % s.kernel[1],
                                          t % s.kernel[2]};
                    double *at = w.data() + (o * channels + c) * taps + t;
                    const double sum = tap(kind, s, k, xs, *at, ys);
                    if (kind == DPT_CONV_WGRAD) *at += sum;
                }
            }
}

template <typename T>
__global__ void conv_kernel(dpt_dnn_conv c, T *x, T *w, T *y, const T *bias, char *workspace) {
    if (threadIdx.x != 0) return;
    const dpt_conv_sizes &s = c.sizes;
    const int64_t in = volume(s.in), out = volume(s.out), taps = volume(s.kernel), channels = s.in_channels / s.groups;
    memset(workspace, 0xa5, WORKSPACE_BYTES);
    array xs((size_t)(s.batch * s.in_channels * in)), ws((size_t)(s.out_channels * channels * taps)),
        ys((size_t)(s.batch * s.out_channels * out));
    if (c.kind != DPT_CONV_DGRAD) xs = read(x, c.channels_last, s.batch, s.in_channels, in);
    if (c.kind != DPT_CONV_WGRAD) ws = read(w, c.channels_last, s.out_channels, channels, taps);
    if (c.kind != DPT_CONV_FORWARD) ys = read(y, c.channels_last, s.batch, s.out_channels, out);
    convolve(c.kind, s, xs, ws, ys);
    if (bias)
        for (size_t i = 0; i < ys.size(); i++)
            ys[i] += (double)dpt_load(bias[i / (size_t)out % (size_t)s.out_channels]);
    if (c.relu)
        for (double &v : ys) v = v < 0 ? c.slope * v : v;
    if (c.kind == DPT_CONV_FORWARD) write(y, ys, c.channels_last, s.batch, s.out_channels, out);
    if (c.kind == DPT_CONV_DGRAD) write(x, xs, c.channels_last, s.batch, s.in_channels, in);
    if (c.kind == DPT_CONV_WGRAD) write(w, ws, c.channels_last, s.out_channels, channels, taps);
}

/* ---- the wrapper ---- */

dpt_status dpt_dnn_conv_prepare(const dpt_call *, const dpt_dnn_conv *conv, const dpt_dnn_plan **plan,
                                size_t *workspace_bytes) {
    static dpt_dnn_plan *plans; /* kept until the process ends, as the header says */
    *plan = NULL;
    *workspace_bytes = 0;
    if (conv->in == DPT_F64 || conv->in != conv->out || !dpt_dnn_available()) return DPT_OK;
    dpt_dnn_plan *made = (dpt_dnn_plan *)dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    made->conv = *conv;
    made->next = plans;
    plans = made;
    *plan = made;
    *workspace_bytes = WORKSPACE_BYTES;
    return DPT_OK;
}

dpt_status dpt_dnn_conv_run(const dpt_dnn_plan *plan, void *x, void *w, void *y, const void *bias, void *workspace,
                            dpt_stream *stream) {
    if ((bias != NULL) != plan->conv.bias)
        return dpt_error(DPT_ERR_INTERNAL, "cuDNN: the plan %s a bias", plan->conv.bias ? "has" : "has not");
    DPT_FOR_FLOAT(plan->conv.in, T,
                  return DPT_LAUNCH((conv_kernel<T>), 1, 32, 0, stream, plan->conv, (T *)x, (T *)w, (T *)y,
                                    (const T *)bias, (char *)workspace));
    return DPT_OK;
}
