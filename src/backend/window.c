/* window.c: see window.h. Positions are computed as whole numbers and so are exact; the weights are rounded once. */
#include "backend/window.h"

#include <stddef.h>

/* Weights of the two elements around the position numerator / denominator, kept inside of [0, size - 1]. */
static dpt_window_row between(int64_t numerator, int64_t denominator, int64_t size) {
    if (numerator < 0) numerator = 0;
    const int64_t at = numerator / denominator;
    const double beyond = (double)(numerator % denominator) / (double)denominator;
    if (at >= size - 1) return (dpt_window_row){size - 1, size, 1, 0};
    if (numerator % denominator == 0) return (dpt_window_row){at, at + 1, 1, 0};
    return (dpt_window_row){at, at + 2, 1 - beyond, beyond};
}

/* The mean over a window: what is cut off by the end of the padded input counts for nothing. */
static dpt_window_row mean_row(const dpt_pool_attr *a, int d, int64_t i) {
    dpt_window_row r;
    dpt_window_inside(a, d, i, &r.begin, &r.end);
    int64_t count = r.end - r.begin;
    if (a->kernel[d] != 0 && !a->exclude_pad) {
        const int64_t from = i * a->stride[d] - a->pad[d], to = from + a->kernel[d], last = a->in[d] + a->pad[d];
        count = (to < last ? to : last) - from;
    }
    r.first = r.rest = 1 / (double)count;
    return r;
}

dpt_window_row dpt_window_row_of(const dpt_pool_attr *a, int d, int64_t i) {
    const int64_t in = a->in[d], out = a->out[d], at = out ? i * in / out : 0;
    switch (a->window) {
        case DPT_WINDOW_NEAREST: return (dpt_window_row){at, at + 1, 1, 0};
        case DPT_WINDOW_LINEAR: return between((2 * i + 1) * in - out, 2 * out, in);
        case DPT_WINDOW_CORNERS: return between(out > 1 ? i * (in - 1) : 0, out > 1 ? out - 1 : 1, in);
        default: return mean_row(a, d, i);
    }
}

static bool is_whole(const dpt_pool_attr *a, int d) {
    return a->window == DPT_WINDOW_POOL && a->out[d] == 1 && a->pad[d] == 0 &&
           (a->kernel[d] == 0 || a->kernel[d] == a->in[d]);
}

bool dpt_window_is_mean(const dpt_pool_attr *a) {
    return !a->transposed && is_whole(a, 0) && is_whole(a, 1) && is_whole(a, 2);
}

dpt_pool_attr dpt_window_merge(const dpt_pool_attr *a) {
    enum { SHORT = 4096 };
    dpt_pool_attr m = *a;
    for (int times = 0; times < 2 && is_whole(&m, 1) && is_whole(&m, 2) && m.in[1] * m.in[2] <= SHORT; times++) {
        m.in[2] *= m.in[1];
        m.kernel[2] = m.in[2];
        m.in[1] = m.in[0], m.out[1] = m.out[0];
        m.kernel[1] = m.kernel[0], m.stride[1] = m.stride[0], m.pad[1] = m.pad[0];
        m.in[0] = m.out[0] = m.kernel[0] = m.stride[0] = 1, m.pad[0] = 0;
    }
    return m;
}

/* ---- tables ---- */

/* The rows of the transposed matrix are ranges of the rows of the matrix: [begin, end) take element p. Both only grow
 * with p, and continue from where they are. */
static void advance(const dpt_pool_attr *a, int d, int64_t p, int64_t *begin, int64_t *end) {
    while (*begin < a->out[d] && dpt_window_row_of(a, d, *begin).end <= p) ++*begin;
    if (*end < *begin) *end = *begin;
    while (*end < a->out[d] && dpt_window_row_of(a, d, *end).begin <= p) ++*end;
}

static size_t weight_size(dpt_dtype dtype) { return dtype == DPT_F64 ? sizeof(double) : sizeof(float); }

/* A multiple of 8. */
static size_t table_bytes(const dpt_taps *t, dpt_dtype dtype) {
    const size_t bytes = (size_t)t->out * (2 * sizeof(int32_t) + (size_t)t->width * weight_size(dtype));
    return (bytes + 7) / 8 * 8;
}

size_t dpt_taps_measure(const dpt_pool_attr *a, dpt_dtype dtype, dpt_taps taps[DPT_MAX_SPATIAL]) {
    size_t bytes = 0;
    for (int d = 0; d < DPT_MAX_SPATIAL; d++) {
        dpt_taps *t = &taps[d];
        t->in = a->transposed ? a->out[d] : a->in[d];
        t->out = a->transposed ? a->in[d] : a->out[d];
        t->width = 1;
        for (int64_t i = 0, begin = 0, end = 0; i < t->out; i++) {
            int64_t count;
            if (a->transposed) {
                advance(a, d, i, &begin, &end);
                count = end - begin;
            } else {
                const dpt_window_row r = dpt_window_row_of(a, d, i);
                count = r.end - r.begin;
            }
            if (count > t->width) t->width = count;
        }
        bytes += table_bytes(t, dtype);
    }
    return bytes;
}

void dpt_taps_place(dpt_dtype dtype, dpt_taps taps[DPT_MAX_SPATIAL], void *memory) {
    char *at = memory;
    for (int d = 0; d < DPT_MAX_SPATIAL; d++) { /* weights first, which want the larger alignment */
        dpt_taps *t = &taps[d];
        t->weight = at;
        t->begin = (int32_t *)(at + (size_t)(t->width * t->out) * weight_size(dtype));
        t->count = t->begin + t->out;
        at += table_bytes(t, dtype);
    }
}

static void set_weight(const dpt_taps *t, dpt_dtype dtype, int64_t k, int64_t i, double weight) {
    if (dtype == DPT_F64)
        ((double *)t->weight)[k * t->out + i] = weight;
    else
        ((float *)t->weight)[k * t->out + i] = (float)weight;
}

void dpt_taps_fill(const dpt_pool_attr *a, dpt_dtype dtype, const dpt_taps taps[DPT_MAX_SPATIAL]) {
    for (int d = 0; d < DPT_MAX_SPATIAL; d++) {
        const dpt_taps *t = &taps[d];
        for (int64_t i = 0, begin = 0, end = 0; i < t->out; i++) {
            dpt_window_row r = {0};
            if (a->transposed) {
                advance(a, d, i, &begin, &end);
                r.begin = begin, r.end = end;
            } else {
                r = dpt_window_row_of(a, d, i);
            }
            t->count[i] = (int32_t)(r.end - r.begin);
            t->begin[i] = r.end > r.begin ? (int32_t)r.begin : 0;
            for (int64_t k = 0; k < t->width; k++) {
                double weight = k == 0 ? r.first : r.rest;
                if (k >= t->count[i]) {
                    weight = 0;
                } else if (a->transposed) {
                    const dpt_window_row from = dpt_window_row_of(a, d, begin + k);
                    weight = from.begin == i ? from.first : from.rest;
                }
                set_weight(t, dtype, k, i, weight);
            }
        }
    }
}
