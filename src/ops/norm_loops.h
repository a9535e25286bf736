/* norm_loops.h: the CPU loops of batch norm over [rows, channels, spatial] in any layout (backend/layout.h): two sums
 * by channel, and elementwise maps with coefficients by channel. The vector is a plane of positions where channels
 * stand alone, else the lanes of channels that stand side by side: a block of 8 or 16, or all of them (channels-last,
 * or spatial 1). Only valid rows are touched; a channel is summed by one thread, so that the number of threads changes
 * nothing. */
#ifndef DPT_OPS_NORM_LOOPS_H
#define DPT_OPS_NORM_LOOPS_H

#include "backend/layout.h"
#include "backend/parallel.h"

/* DPT_PLANES_MOST: the widest block; DPT_PLANES_LANES: partial sums of a plane. */
enum { DPT_PLANES_MOST = 16, DPT_PLANES_LANES = 8, DPT_PLANES_GRAIN = 16384 };

/* Loops whose number of lanes is a constant where they are used: compiled with their user, for its vector width. */
#define DPT_LANES_INLINE static inline __attribute__((always_inline))

typedef struct dpt_planes {
    int64_t rows, channels, spatial, lanes;
    const float *a, *b; /* operands, [rows, channels, spatial] */
    float *out;
    double *sum, *product;                   /* reductions, [channels] */
    const double *shift;                     /* reductions, [channels] */
    const float *mean, *scale, *add, *slope; /* elementwise, [channels] */
} dpt_planes;

static inline dpt_planes dpt_planes_of(const dpt_call *call, int a, int b) {
    const dpt_operand *x = &call->in[a];
    int64_t channels = call->attr.norm.channels, spatial = x->row_count / channels;
    return (dpt_planes){.rows = dpt_valid_rows(call, x),
                        .channels = channels,
                        .spatial = spatial,
                        .lanes = spatial == 1 ? channels : dpt_layout_lanes(x->layout, channels),
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

/* One block of `lanes` channels: positions of it follow each other in a row. */
DPT_LANES_INLINE void dpt_planes_reduce_lanes(const dpt_planes *p, int64_t block, const int lanes) {
    double sum[DPT_PLANES_MOST] = {0}, product[DPT_PLANES_MOST] = {0};
    const double *shift = p->shift + block * lanes;
    for (int64_t r = 0; r < p->rows; r++) {
        const int64_t at = (r * p->channels + block * lanes) * p->spatial;
        const float *a = p->a + at, *b = p->b + at;
        for (int64_t i = 0; i < p->spatial; i++, a += lanes, b += lanes) {
#pragma omp simd
            for (int l = 0; l < lanes; l++) {
                sum[l] += (double)a[l];
                product[l] += (double)a[l] * ((double)b[l] - shift[l]);
            }
        }
    }
    for (int l = 0; l < lanes; l++) p->sum[block * lanes + l] = sum[l], p->product[block * lanes + l] = product[l];
}

DPT_MULTIVERSION static void dpt_planes_reduce_blocks(void *context, int64_t begin, int64_t end) {
    const dpt_planes *p = context;
    for (int64_t block = begin; block < end; block++) {
        if (p->lanes == 16)
            dpt_planes_reduce_lanes(p, block, 16);
        else
            dpt_planes_reduce_lanes(p, block, 8);
    }
}

/* Channels [begin, end): all lanes side by side, or planes. */
static inline void dpt_planes_reduce_channels(void *context, int64_t begin, int64_t end) {
    const dpt_planes *p = context;
    for (int64_t c = begin; c < end; c++) p->sum[c] = p->product[c] = 0;
    if (p->lanes == p->channels && p->channels > 1) {
        for (int64_t i = 0; i < p->rows * p->spatial; i++) {
            int64_t at = i * p->channels + begin;
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

static inline bool dpt_planes_are_blocks(const dpt_planes *p) { return p->lanes > 1 && p->lanes < p->channels; }

/* sum[c] = sum of a, product[c] = sum of a*(b-shift[c]) */
static inline void dpt_planes_reduce(const dpt_call *call, dpt_planes *p) {
    bool blocks = dpt_planes_are_blocks(p);
    int64_t width = blocks ? p->lanes : 1, work = p->rows * p->spatial * width;
    dpt_parallel(call->device->threads, p->channels / width, DPT_PLANES_GRAIN / (work > 0 ? work : 1) + 1,
                 blocks ? dpt_planes_reduce_blocks : dpt_planes_reduce_channels, p);
}

/* Elementwise with coefficients by channel. Forward, x = a: out = (a-mean)*scale + add. Backward, g = a, x = b, where
 * slope is given: out = (a-add)*scale + (b-mean)*slope. */
DPT_MULTIVERSION static void dpt_planes_forward_plane(const dpt_planes *p, int64_t at, int64_t c) {
    const float *restrict a = p->a + at;
    float *restrict out = p->out + at, mean = p->mean[c], scale = p->scale[c], add = p->add[c];
#pragma omp simd
    for (int64_t i = 0; i < p->spatial; i++) out[i] = (a[i] - mean) * scale + add;
}

DPT_LANES_INLINE void dpt_planes_forward_lanes(const dpt_planes *p, int64_t at, int64_t c, const int64_t lanes) {
    const float *restrict mean = p->mean + c, *restrict scale = p->scale + c, *restrict add = p->add + c;
    const float *restrict a = p->a + at;
    float *restrict out = p->out + at;
    for (int64_t i = 0; i < p->spatial; i++, a += lanes, out += lanes) {
#pragma omp simd
        for (int64_t l = 0; l < lanes; l++) out[l] = (a[l] - mean[l]) * scale[l] + add[l];
    }
}

DPT_MULTIVERSION static void dpt_planes_backward_plane(const dpt_planes *p, int64_t at, int64_t c) {
    const float *restrict a = p->a + at, *restrict b = p->b + at;
    float *restrict out = p->out + at, mean = p->mean[c], scale = p->scale[c], add = p->add[c], slope = p->slope[c];
#pragma omp simd
    for (int64_t i = 0; i < p->spatial; i++) out[i] = (a[i] - add) * scale + (b[i] - mean) * slope;
}

DPT_LANES_INLINE void dpt_planes_backward_lanes(const dpt_planes *p, int64_t at, int64_t c, const int64_t lanes) {
    const float *restrict mean = p->mean + c, *restrict scale = p->scale + c, *restrict add = p->add + c;
    const float *restrict slope = p->slope + c, *restrict a = p->a + at, *restrict b = p->b + at;
    float *restrict out = p->out + at;
    for (int64_t i = 0; i < p->spatial; i++, a += lanes, b += lanes, out += lanes) {
#pragma omp simd
        for (int64_t l = 0; l < lanes; l++) out[l] = (a[l] - add[l]) * scale[l] + (b[l] - mean[l]) * slope[l];
    }
}

/* One block of lanes of one row. */
DPT_MULTIVERSION static void dpt_planes_map_lanes(const dpt_planes *p, int64_t at, int64_t c) {
    if (p->slope) {
        if (p->lanes == 16)
            dpt_planes_backward_lanes(p, at, c, 16);
        else if (p->lanes == 8)
            dpt_planes_backward_lanes(p, at, c, 8);
        else
            dpt_planes_backward_lanes(p, at, c, p->lanes);
    } else if (p->lanes == 16) {
        dpt_planes_forward_lanes(p, at, c, 16);
    } else if (p->lanes == 8) {
        dpt_planes_forward_lanes(p, at, c, 8);
    } else {
        dpt_planes_forward_lanes(p, at, c, p->lanes);
    }
}

/* Blocks of lanes of a row, numbered through all rows; with one lane these are planes. */
static inline void dpt_planes_map_range(void *context, int64_t begin, int64_t end) {
    const dpt_planes *p = context;
    const int64_t blocks = p->channels / p->lanes;
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = i * p->spatial * p->lanes, c = i % blocks * p->lanes;
        if (p->lanes > 1)
            dpt_planes_map_lanes(p, at, c);
        else if (p->slope)
            dpt_planes_backward_plane(p, at, c);
        else
            dpt_planes_forward_plane(p, at, c);
    }
}

static inline void dpt_planes_map(const dpt_call *call, dpt_planes *p) {
    int64_t items = p->rows * (p->channels / p->lanes), item = p->lanes * p->spatial;
    dpt_parallel(call->device->threads, items, DPT_PLANES_GRAIN / item + 1, dpt_planes_map_range, p);
}

#endif
