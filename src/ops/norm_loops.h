/* norm_loops.h: the CPU loops of batch norm over [rows, channels, spatial] in any layout (backend/layout.h): two sums
 * by channel, and elementwise maps with coefficients by channel, each in forms that take in what stands beside batch
 * norm: the addition of a residual, ReLU, the gradient of both. The vector is a plane of positions where channels stand
 * alone, else the lanes of channels that stand side by side: a block of 8 or 16, or all of them (channels-last, or
 * spatial 1). A thread goes through memory in order, row by row. Invariants: only valid rows are touched; an element is
 * read before it is written, as the result may stand in the place of operand a; a channel is summed by one thread, so
 * that the number of threads changes nothing. */
#ifndef DPT_OPS_NORM_LOOPS_H
#define DPT_OPS_NORM_LOOPS_H

#include "backend/layout.h"
#include "backend/parallel.h"

/* DPT_PLANES_MOST: the widest block; DPT_PLANES_LANES: partial sums of a plane. */
enum { DPT_PLANES_MOST = 16, DPT_PLANES_LANES = 16, DPT_PLANES_GRAIN = 16384 };

/* Loops whose number of lanes and form are constants where they are used: compiled with their user, for its vector
 * width. */
#define DPT_LANES_INLINE static inline __attribute__((always_inline))

/* What is computed. Maps give out; z = (x - mean) * scale + bias is the forward value.
 *   APPLY:          z + 0 or b, x being a; relu of it in the RELU forms
 *   GRAD:           (g - add) * scale + (x - mean) * slope with g = a, x = b; in the RELU form g counts where z > 0
 * Sums give sum = sum of g, product = sum of g * (x - shift).
 *   SUMS:           g = a, x = b; in the RELU form g counts where z > 0
 *   MASKED:         out = g = a or a + d where c > 0, else 0; x = b */
typedef enum dpt_planes_form {
    DPT_PLANES_APPLY,
    DPT_PLANES_APPLY_RELU,
    DPT_PLANES_APPLY_ADD,
    DPT_PLANES_APPLY_ADD_RELU,
    DPT_PLANES_GRAD,
    DPT_PLANES_GRAD_RELU,
    DPT_PLANES_SUMS,
    DPT_PLANES_SUMS_RELU,
    DPT_PLANES_MASKED,
    DPT_PLANES_MASKED_ADD
} dpt_planes_form;

typedef struct dpt_planes {
    int64_t rows, channels, spatial, lanes;
    const float *a, *b, *c, *d; /* operands, [rows, channels, spatial]; those that a form does not read are a */
    float *out;
    double *sum, *product;                          /* [channels] */
    const double *shift;                            /* [channels] */
    const float *mean, *scale, *bias, *add, *slope; /* [channels]; those that a form does not read are NULL */
} dpt_planes;

static inline dpt_planes dpt_planes_of(const dpt_call *call) {
    const dpt_operand *x = &call->in[0];
    int64_t channels = call->attr.norm.channels, spatial = x->row_count / channels;
    return (dpt_planes){.rows = dpt_valid_rows(call, x),
                        .channels = channels,
                        .spatial = spatial,
                        .lanes = spatial == 1 ? channels : dpt_layout_lanes(x->layout, channels),
                        .a = x->data,
                        .b = x->data,
                        .c = x->data,
                        .d = x->data,
                        .out = call->out[0].data};
}

/* ---- one element ---- */

DPT_LANES_INLINE float dpt_planes_mapped(const dpt_planes_form form, float a, float b, float mean, float scale,
                                         float bias, float add, float slope) {
    if (form == DPT_PLANES_GRAD || form == DPT_PLANES_GRAD_RELU) {
        const float z = (b - mean) * scale + bias, g = form == DPT_PLANES_GRAD || z > 0 ? a : 0;
        return (g - add) * scale + (b - mean) * slope;
    }
    const bool adds = form == DPT_PLANES_APPLY_ADD || form == DPT_PLANES_APPLY_ADD_RELU;
    const float z = (a - mean) * scale + bias, y = adds ? z + b : z;
    return (form == DPT_PLANES_APPLY_RELU || form == DPT_PLANES_APPLY_ADD_RELU) && y < 0 ? 0 : y;
}

/* g of a sum, from operands a, c, d and the forward value z. */
DPT_LANES_INLINE float dpt_planes_gradient(const dpt_planes_form form, float a, float c, float d, float z) {
    if (form == DPT_PLANES_SUMS) return a;
    if (form == DPT_PLANES_SUMS_RELU) return z > 0 ? a : 0;
    const float g = form == DPT_PLANES_MASKED_ADD ? a + d : a;
    return c > 0 ? g : 0;
}

/* ---- maps: a stretch of one channel, or of lanes of channels, of one row ---- */

DPT_LANES_INLINE void dpt_planes_map_plane(const dpt_planes *p, const dpt_planes_form form, int64_t at, int64_t c) {
    const bool grad = form == DPT_PLANES_GRAD || form == DPT_PLANES_GRAD_RELU;
    const float mean = p->mean[c], scale = p->scale[c], bias = p->bias[c];
    const float add = grad ? p->add[c] : 0, slope = grad ? p->slope[c] : 0;
    const float *a = p->a + at, *b = p->b + at;
    float *out = p->out + at;
#pragma omp simd
    for (int64_t i = 0; i < p->spatial; i++)
        out[i] = dpt_planes_mapped(form, a[i], b[i], mean, scale, bias, add, slope);
}

DPT_LANES_INLINE void dpt_planes_map_lanes(const dpt_planes *p, const dpt_planes_form form, int64_t at, int64_t c,
                                           const int64_t lanes) {
    const bool grad = form == DPT_PLANES_GRAD || form == DPT_PLANES_GRAD_RELU;
    const float *mean = p->mean + c, *scale = p->scale + c, *bias = p->bias + c;
    const float *add = grad ? p->add + c : mean, *slope = grad ? p->slope + c : mean;
    const float *a = p->a + at, *b = p->b + at;
    float *out = p->out + at;
    for (int64_t i = 0; i < p->spatial; i++, a += lanes, b += lanes, out += lanes) {
#pragma omp simd
        for (int64_t l = 0; l < lanes; l++)
            out[l] = dpt_planes_mapped(form, a[l], b[l], mean[l], scale[l], bias[l], add[l], slope[l]);
    }
}

/* ---- sums: the same, added to sum and product ---- */

DPT_LANES_INLINE void dpt_planes_sum_plane(const dpt_planes *p, const dpt_planes_form form, int64_t at, int64_t c) {
    const bool relu = form == DPT_PLANES_SUMS_RELU, writes = form >= DPT_PLANES_MASKED;
    const float mean = relu ? p->mean[c] : 0, scale = relu ? p->scale[c] : 0, bias = relu ? p->bias[c] : 0;
    const double shift = p->shift[c];
    const float *a = p->a + at, *b = p->b + at, *mask = p->c + at, *d = p->d + at;
    float *out = p->out + at;
    double sum[DPT_PLANES_LANES] = {0}, product[DPT_PLANES_LANES] = {0};
    int64_t i = 0;
    for (; i + DPT_PLANES_LANES <= p->spatial; i += DPT_PLANES_LANES) {
#pragma omp simd
        for (int l = 0; l < DPT_PLANES_LANES; l++) {
            const float g =
                dpt_planes_gradient(form, a[i + l], mask[i + l], d[i + l], (b[i + l] - mean) * scale + bias);
            if (writes) out[i + l] = g;
            sum[l] += (double)g;
            product[l] += (double)g * ((double)b[i + l] - shift);
        }
    }
    for (int l = 0; i < p->spatial; i++, l++) {
        const float g = dpt_planes_gradient(form, a[i], mask[i], d[i], (b[i] - mean) * scale + bias);
        if (writes) out[i] = g;
        sum[l] += (double)g;
        product[l] += (double)g * ((double)b[i] - shift);
    }
    for (int l = 0; l < DPT_PLANES_LANES; l++) p->sum[c] += sum[l], p->product[c] += product[l];
}

/* Positions of a block of `lanes` channels; sums in registers. */
DPT_LANES_INLINE void dpt_planes_sum_lanes(const dpt_planes *p, const dpt_planes_form form, int64_t at, int64_t c,
                                           const int lanes) {
    const bool relu = form == DPT_PLANES_SUMS_RELU, writes = form >= DPT_PLANES_MASKED;
    const double *shift = p->shift + c;
    const float *a = p->a + at, *b = p->b + at, *mask = p->c + at, *d = p->d + at;
    const float *mean = relu ? p->mean + c : a, *scale = relu ? p->scale + c : a, *bias = relu ? p->bias + c : a;
    float *out = p->out + at;
    double sum[DPT_PLANES_MOST] = {0}, product[DPT_PLANES_MOST] = {0};
    for (int64_t i = 0; i < p->spatial; i++, a += lanes, b += lanes, mask += lanes, d += lanes, out += lanes) {
#pragma omp simd
        for (int l = 0; l < lanes; l++) {
            const float g = dpt_planes_gradient(form, a[l], mask[l], d[l], (b[l] - mean[l]) * scale[l] + bias[l]);
            if (writes) out[l] = g;
            sum[l] += (double)g;
            product[l] += (double)g * ((double)b[l] - shift[l]);
        }
    }
    for (int l = 0; l < lanes; l++) p->sum[c + l] += sum[l], p->product[c + l] += product[l];
}

/* n channels that stand side by side, at one position; sums in memory. */
DPT_LANES_INLINE void dpt_planes_sum_line(const dpt_planes *p, const dpt_planes_form form, int64_t at, int64_t c,
                                          int64_t n) {
    const bool relu = form == DPT_PLANES_SUMS_RELU, writes = form >= DPT_PLANES_MASKED;
    const double *shift = p->shift + c;
    const float *a = p->a + at, *b = p->b + at, *mask = p->c + at, *d = p->d + at;
    const float *mean = relu ? p->mean + c : a, *scale = relu ? p->scale + c : a, *bias = relu ? p->bias + c : a;
    float *out = p->out + at;
    double *sum = p->sum + c, *product = p->product + c;
#pragma omp simd
    for (int64_t l = 0; l < n; l++) {
        const float g = dpt_planes_gradient(form, a[l], mask[l], d[l], (b[l] - mean[l]) * scale[l] + bias[l]);
        if (writes) out[l] = g;
        sum[l] += (double)g;
        product[l] += (double)g * ((double)b[l] - shift[l]);
    }
}

/* ---- all of it ---- */

/* Blocks of lanes of a row, numbered through all rows; with one lane these are planes. */
DPT_LANES_INLINE void dpt_planes_map_items(const dpt_planes *p, const dpt_planes_form form, int64_t begin,
                                           int64_t end) {
    const int64_t blocks = p->channels / p->lanes;
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = i * p->spatial * p->lanes, c = i % blocks * p->lanes;
        if (p->lanes == 1)
            dpt_planes_map_plane(p, form, at, c);
        else if (p->lanes == 16)
            dpt_planes_map_lanes(p, form, at, c, 16);
        else if (p->lanes == 8)
            dpt_planes_map_lanes(p, form, at, c, 8);
        else
            dpt_planes_map_lanes(p, form, at, c, p->lanes);
    }
}

static inline bool dpt_planes_are_lines(const dpt_planes *p) { return p->lanes == p->channels && p->channels > 1; }

/* Channels [begin, end) of all rows; blocks are counted whole. */
DPT_LANES_INLINE void dpt_planes_sum_items(const dpt_planes *p, const dpt_planes_form form, int64_t begin,
                                           int64_t end) {
    const int64_t lanes = p->lanes, row = p->channels * p->spatial;
    if (dpt_planes_are_lines(p)) {
        for (int64_t i = 0; i < p->rows * p->spatial; i++)
            dpt_planes_sum_line(p, form, i * p->channels + begin, begin, end - begin);
        return;
    }
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t block = begin; block < end; block++) {
            const int64_t c = block * lanes, at = r * row + c * p->spatial;
            if (lanes == 16)
                dpt_planes_sum_lanes(p, form, at, c, 16);
            else if (lanes == 8)
                dpt_planes_sum_lanes(p, form, at, c, 8);
            else
                dpt_planes_sum_plane(p, form, at, c);
        }
}

#define DPT_PLANES_RANGE(name, work, form)                                         \
    DPT_MULTIVERSION static void name(void *context, int64_t begin, int64_t end) { \
        work((const dpt_planes *)context, form, begin, end);                       \
    }
DPT_PLANES_RANGE(dpt_planes_apply, dpt_planes_map_items, DPT_PLANES_APPLY)
DPT_PLANES_RANGE(dpt_planes_apply_relu, dpt_planes_map_items, DPT_PLANES_APPLY_RELU)
DPT_PLANES_RANGE(dpt_planes_apply_add, dpt_planes_map_items, DPT_PLANES_APPLY_ADD)
DPT_PLANES_RANGE(dpt_planes_apply_add_relu, dpt_planes_map_items, DPT_PLANES_APPLY_ADD_RELU)
DPT_PLANES_RANGE(dpt_planes_grad, dpt_planes_map_items, DPT_PLANES_GRAD)
DPT_PLANES_RANGE(dpt_planes_grad_relu, dpt_planes_map_items, DPT_PLANES_GRAD_RELU)
DPT_PLANES_RANGE(dpt_planes_sums, dpt_planes_sum_items, DPT_PLANES_SUMS)
DPT_PLANES_RANGE(dpt_planes_sums_relu, dpt_planes_sum_items, DPT_PLANES_SUMS_RELU)
DPT_PLANES_RANGE(dpt_planes_masked, dpt_planes_sum_items, DPT_PLANES_MASKED)
DPT_PLANES_RANGE(dpt_planes_masked_add, dpt_planes_sum_items, DPT_PLANES_MASKED_ADD)
#undef DPT_PLANES_RANGE

static inline void dpt_planes_run(const dpt_call *call, dpt_planes *p, dpt_planes_form form) {
    static const dpt_range_fn runs[] = {
        [DPT_PLANES_APPLY] = dpt_planes_apply,         [DPT_PLANES_APPLY_RELU] = dpt_planes_apply_relu,
        [DPT_PLANES_APPLY_ADD] = dpt_planes_apply_add, [DPT_PLANES_APPLY_ADD_RELU] = dpt_planes_apply_add_relu,
        [DPT_PLANES_GRAD] = dpt_planes_grad,           [DPT_PLANES_GRAD_RELU] = dpt_planes_grad_relu,
        [DPT_PLANES_SUMS] = dpt_planes_sums,           [DPT_PLANES_SUMS_RELU] = dpt_planes_sums_relu,
        [DPT_PLANES_MASKED] = dpt_planes_masked,       [DPT_PLANES_MASKED_ADD] = dpt_planes_masked_add};
    const int threads = call->device->threads;
    if (form < DPT_PLANES_SUMS) {
        int64_t items = p->rows * (p->channels / p->lanes), item = p->lanes * p->spatial;
        dpt_parallel(threads, items, DPT_PLANES_GRAIN / item + 1, runs[form], p);
        return;
    }
    for (int64_t c = 0; c < p->channels; c++) p->sum[c] = p->product[c] = 0;
    int64_t width = dpt_planes_are_lines(p) ? 1 : p->lanes, work = p->rows * p->spatial * width;
    dpt_parallel(threads, p->channels / width, DPT_PLANES_GRAIN / (work > 0 ? work : 1) + 1, runs[form], p);
}

#endif
