/* norm_loops.h: the CPU loops of batch norm over planes [spatial] of [rows, channels, spatial]: two sums by channel,
 * and elementwise maps with coefficients by channel. With spatial 1 the vector is a row of channels instead. Only valid
 * rows are touched; a channel is summed by one thread, so that the number of threads changes nothing. */
#ifndef DPT_OPS_NORM_LOOPS_H
#define DPT_OPS_NORM_LOOPS_H

#include "backend/kernel.h"
#include "backend/parallel.h"

enum { DPT_PLANES_LANES = 8, DPT_PLANES_GRAIN = 16384 };

typedef struct dpt_planes {
    int64_t rows, channels, spatial;
    const float *a, *b; /* operands, [rows, channels, spatial] */
    float *out;
    double *sum, *product;                   /* reductions, [channels] */
    const double *shift;                     /* reductions, [channels] */
    const float *mean, *scale, *add, *slope; /* elementwise, [channels] */
} dpt_planes;

static inline dpt_planes dpt_planes_of(const dpt_call *call, int a, int b) {
    const dpt_operand *x = &call->in[a];
    int64_t channels = call->attr.norm.channels;
    return (dpt_planes){.rows = dpt_valid_rows(call, x),
                        .channels = channels,
                        .spatial = x->row_count / channels,
                        .a = x->data,
                        .b = call->in[b].data,
                        .out = call->out[0].data};
}

/* total += (sum of a, sum of a*(b-shift)) over n elements. */
DPT_MULTIVERSION static void dpt_planes_reduce_plane(const float *a, const float *b, int64_t n, double shift,
                                                     double total[2]) {
    double sum[DPT_PLANES_LANES] = {0}, product[DPT_PLANES_LANES] = {0};
    int64_t i = 0;
    for (; i + DPT_PLANES_LANES <= n; i += DPT_PLANES_LANES) {
#pragma omp simd
        for (int l = 0; l < DPT_PLANES_LANES; l++) {
            double v = a[i + l];
            sum[l] += v;
            product[l] += v * ((double)b[i + l] - shift);
        }
    }
    for (int l = 0; i < n; i++, l++) {
        sum[l] += (double)a[i];
        product[l] += (double)a[i] * ((double)b[i] - shift);
    }
    for (int l = 0; l < DPT_PLANES_LANES; l++) total[0] += sum[l], total[1] += product[l];
}

DPT_MULTIVERSION static void dpt_planes_reduce_row(const float *a, const float *b, int64_t n, const double *shift,
                                                   double *restrict sum, double *restrict product) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        sum[c] += (double)a[c];
        product[c] += (double)a[c] * ((double)b[c] - shift[c]);
    }
}

static inline void dpt_planes_reduce_range(void *context, int64_t begin, int64_t end) {
    const dpt_planes *p = context;
    for (int64_t c = begin; c < end; c++) p->sum[c] = p->product[c] = 0;
    if (p->spatial == 1) {
        for (int64_t r = 0; r < p->rows; r++) {
            int64_t at = r * p->channels + begin;
            dpt_planes_reduce_row(p->a + at, p->b + at, end - begin, p->shift + begin, p->sum + begin,
                                  p->product + begin);
        }
        return;
    }
    for (int64_t c = begin; c < end; c++) {
        double total[2] = {0, 0};
        for (int64_t r = 0; r < p->rows; r++) {
            int64_t at = (r * p->channels + c) * p->spatial;
            dpt_planes_reduce_plane(p->a + at, p->b + at, p->spatial, p->shift[c], total);
        }
        p->sum[c] = total[0];
        p->product[c] = total[1];
    }
}

/* sum[c] = sum of a, product[c] = sum of a*(b-shift[c]) */
static inline void dpt_planes_reduce(const dpt_call *call, dpt_planes *p) {
    int64_t work = p->rows * p->spatial;
    dpt_parallel(call->device->threads, p->channels, DPT_PLANES_GRAIN / (work > 0 ? work : 1) + 1,
                 dpt_planes_reduce_range, p);
}

/* Elementwise with coefficients by channel. Forward, x = a: out = (a-mean)*scale + add. Backward, g = a, x = b, where
 * slope is given: out = (a-add)*scale + (b-mean)*slope. */
DPT_MULTIVERSION static void dpt_planes_forward_plane(const dpt_planes *p, int64_t at, int64_t c) {
    const float *restrict a = p->a + at;
    float *restrict out = p->out + at, mean = p->mean[c], scale = p->scale[c], add = p->add[c];
#pragma omp simd
    for (int64_t i = 0; i < p->spatial; i++) out[i] = (a[i] - mean) * scale + add;
}

DPT_MULTIVERSION static void dpt_planes_forward_row(const dpt_planes *p, int64_t at) {
    const float *restrict a = p->a + at, *restrict mean = p->mean, *restrict scale = p->scale, *restrict add = p->add;
    float *restrict out = p->out + at;
#pragma omp simd
    for (int64_t c = 0; c < p->channels; c++) out[c] = (a[c] - mean[c]) * scale[c] + add[c];
}

DPT_MULTIVERSION static void dpt_planes_backward_plane(const dpt_planes *p, int64_t at, int64_t c) {
    const float *restrict a = p->a + at, *restrict b = p->b + at;
    float *restrict out = p->out + at, mean = p->mean[c], scale = p->scale[c], add = p->add[c], slope = p->slope[c];
#pragma omp simd
    for (int64_t i = 0; i < p->spatial; i++) out[i] = (a[i] - add) * scale + (b[i] - mean) * slope;
}

DPT_MULTIVERSION static void dpt_planes_backward_row(const dpt_planes *p, int64_t at) {
    const float *restrict a = p->a + at, *restrict b = p->b + at, *restrict mean = p->mean, *restrict scale = p->scale;
    const float *restrict add = p->add, *restrict slope = p->slope;
    float *restrict out = p->out + at;
#pragma omp simd
    for (int64_t c = 0; c < p->channels; c++) out[c] = (a[c] - add[c]) * scale[c] + (b[c] - mean[c]) * slope[c];
}

/* Rows where spatial is 1, else planes. */
static inline void dpt_planes_map_range(void *context, int64_t begin, int64_t end) {
    const dpt_planes *p = context;
    for (int64_t i = begin; i < end; i++) {
        if (p->spatial == 1 && p->slope)
            dpt_planes_backward_row(p, i * p->channels);
        else if (p->spatial == 1)
            dpt_planes_forward_row(p, i * p->channels);
        else if (p->slope)
            dpt_planes_backward_plane(p, i * p->spatial, i % p->channels);
        else
            dpt_planes_forward_plane(p, i * p->spatial, i % p->channels);
    }
}

static inline void dpt_planes_map(const dpt_call *call, dpt_planes *p) {
    int64_t items = p->spatial == 1 ? p->rows : p->rows * p->channels;
    int64_t item = p->spatial == 1 ? p->channels : p->spatial;
    dpt_parallel(call->device->threads, items, DPT_PLANES_GRAIN / item + 1, dpt_planes_map_range, p);
}

#endif
