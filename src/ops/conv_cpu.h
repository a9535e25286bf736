/* conv_cpu.h: convolutions on the CPU: f32 by oneDNN (conv_cpu.c), f64 by plain loops (conv_loops.c), both for 1 to 3
 * spatial dimensions, any stride, padding, dilation and groups.
 *
 *   y[n,o,p] = sum over c, k of w[o,c,k] x[n, c of o's group, p stride + k dilation - pad] */
#ifndef DPT_OPS_CONV_CPU_H
#define DPT_OPS_CONV_CPU_H

#include "backend/kernel.h"

/* The three products of x, w and y: each op computes one from the other two. */
typedef enum dpt_conv_kind { DPT_CONV_FORWARD, DPT_CONV_DGRAD, DPT_CONV_WGRAD } dpt_conv_kind;

/* Sizes of one call; missing leading spatial dimensions are 1. */
typedef struct dpt_conv_sizes {
    int64_t batch, in_channels, out_channels, groups;
    int64_t in[3], out[3], kernel[3], stride[3], pad[3], dilation[3];
} dpt_conv_sizes;

/* Output size along one dimension; below 1 where the kernel does not fit. */
static inline int64_t dpt_conv_out(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
    int64_t room = in + 2 * pad - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}

static inline dpt_conv_sizes dpt_conv_sizes_of(const dpt_conv_attr *a, int64_t batch) {
    dpt_conv_sizes s;
    s.batch = batch;
    s.in_channels = a->in_dim[1];
    s.out_channels = a->weight_dim[0];
    s.groups = a->groups;
    for (int i = 0; i < 3; i++) {
        int from = i - (3 - a->spatial);
        s.in[i] = s.out[i] = s.kernel[i] = s.stride[i] = s.dilation[i] = 1;
        s.pad[i] = 0;
        if (from < 0) continue;
        s.in[i] = a->in_dim[2 + from];
        s.kernel[i] = a->kernel[from];
        s.stride[i] = a->stride[from];
        s.pad[i] = a->pad[from];
        s.dilation[i] = a->dilation[from];
        s.out[i] = dpt_conv_out(s.in[i], s.kernel[i], s.stride[i], s.pad[i], s.dilation[i]);
    }
    return s;
}

/* Computes y, x (the data gradient) or w (the weight gradient) from the two others over s->batch rows. bias [O] is
 * added to y, or NULL; the sum over a row's contributions has one order, whatever the threads. */
void dpt_conv_f64(dpt_conv_kind kind, int threads, const dpt_conv_sizes *s, double *x, double *w, double *y,
                  const double *bias);

/* conv_bias.c: output 1 of a conv_wgrad call, the sum of g over rows and positions. */
void dpt_conv_bias_gradient(const dpt_call *call);

#endif
