/* conv_loops.c: convolutions and their gradients in f64: the reference that gradient checks run on. One loop nest
 * serves all three; only what happens along a line of outputs differs. */
#include "backend/parallel.h"
#include "ops/conv_cpu.h"

typedef struct context {
    dpt_conv_kind kind;
    const dpt_conv_sizes *s;
    double *x, *w, *y;
    const double *bias;
} context;

static int64_t volume(const int64_t size[3]) { return size[0] * size[1] * size[2]; }

/* Outputs [begin, end) along dimension i whose input lies inside for kernel position k. */
static void inside(const dpt_conv_sizes *s, int i, int64_t k, int64_t *begin, int64_t *end) {
    int64_t first = k * s->dilation[i] - s->pad[i], last = s->in[i] - 1 - first;
    *begin = first >= 0 ? 0 : (-first + s->stride[i] - 1) / s->stride[i];
    *end = last < 0 ? 0 : last / s->stride[i] + 1;
    if (*end > s->out[i]) *end = s->out[i];
}

/* Along a line of n outputs: y += w x, x += w y, or the sum of x y. */
static double line(dpt_conv_kind kind, int64_t n, int64_t stride, double *restrict x, double w, double *restrict y) {
    double sum = 0;
    switch (kind) {
        case DPT_CONV_FORWARD:
            for (int64_t i = 0; i < n; i++) y[i] += w * x[i * stride];
            break;
        case DPT_CONV_DGRAD:
            for (int64_t i = 0; i < n; i++) x[i * stride] += w * y[i];
            break;
        case DPT_CONV_WGRAD:
            for (int64_t i = 0; i < n; i++) sum += x[i * stride] * y[i];
            break;
    }
    return sum;
}

/* One kernel position over one input and one output plane. */
static double tap(const context *c, const int64_t k[3], double *x, double w, double *y) {
    const dpt_conv_sizes *s = c->s;
    int64_t begin[3], end[3], offset[3];
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        inside(s, i, k[i], &begin[i], &end[i]);
        offset[i] = k[i] * s->dilation[i] - s->pad[i];
    }
    if (begin[2] >= end[2]) return 0;
    for (int64_t d = begin[0]; d < end[0]; d++)
        for (int64_t h = begin[1]; h < end[1]; h++) {
            int64_t xd = d * s->stride[0] + offset[0], xh = h * s->stride[1] + offset[1];
            double *x_line = x + (xd * s->in[1] + xh) * s->in[2] + begin[2] * s->stride[2] + offset[2];
            sum += line(c->kind, end[2] - begin[2], s->stride[2], x_line, w,
                        y + (d * s->out[1] + h) * s->out[2] + begin[2]);
        }
    return sum;
}

/* All kernel positions between row n's input channel (ci of o's group) and output channel o. */
static void channel_pair(const context *c, int64_t n, int64_t o, int64_t ci) {
    const dpt_conv_sizes *s = c->s;
    int64_t per_group = s->in_channels / s->groups, group = o / (s->out_channels / s->groups);
    double *x = c->x + (n * s->in_channels + group * per_group + ci) * volume(s->in);
    double *y = c->y + (n * s->out_channels + o) * volume(s->out);
    double *w = c->w + (o * per_group + ci) * volume(s->kernel);
    int64_t k[3];
    for (k[0] = 0; k[0] < s->kernel[0]; k[0]++)
        for (k[1] = 0; k[1] < s->kernel[1]; k[1]++)
            for (k[2] = 0; k[2] < s->kernel[2]; k[2]++, w++) {
                double sum = tap(c, k, x, *w, y);
                if (c->kind == DPT_CONV_WGRAD) *w += sum;
            }
}

/* Rows [begin, end) of y, or of x. */
static void rows(void *p, int64_t begin, int64_t end) {
    const context *c = p;
    const dpt_conv_sizes *s = c->s;
    int64_t x_row = s->in_channels * volume(s->in), plane = volume(s->out);
    for (int64_t n = begin; n < end; n++) {
        if (c->kind == DPT_CONV_DGRAD)
            for (int64_t i = 0; i < x_row; i++) c->x[n * x_row + i] = 0;
        for (int64_t o = 0; o < s->out_channels; o++) {
            if (c->kind == DPT_CONV_FORWARD)
                for (int64_t i = 0; i < plane; i++)
                    c->y[(n * s->out_channels + o) * plane + i] = c->bias ? c->bias[o] : 0;
            for (int64_t ci = 0; ci < s->in_channels / s->groups; ci++) channel_pair(c, n, o, ci);
        }
    }
}

/* Output channels [begin, end) of w. */
static void filters(void *p, int64_t begin, int64_t end) {
    const context *c = p;
    const dpt_conv_sizes *s = c->s;
    int64_t per_group = s->in_channels / s->groups, filter = per_group * volume(s->kernel);
    for (int64_t i = begin * filter; i < end * filter; i++) c->w[i] = 0;
    for (int64_t n = 0; n < s->batch; n++)
        for (int64_t o = begin; o < end; o++)
            for (int64_t ci = 0; ci < per_group; ci++) channel_pair(c, n, o, ci);
}

void dpt_conv_f64(dpt_conv_kind kind, int threads, const dpt_conv_sizes *s, double *x, double *w, double *y,
                  const double *bias) {
    context c = {kind, s, x, w, y, bias};
    if (kind == DPT_CONV_WGRAD)
        dpt_parallel(threads, s->out_channels, 1, filters, &c);
    else
        dpt_parallel(threads, s->batch, 1, rows, &c);
}
