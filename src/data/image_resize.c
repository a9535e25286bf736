/* image_resize.c: another size, in integers, so that all machines make the same bytes.
 *
 * Each axis is a list of taps: output i is sum_k weight[i][k] in[first[i]+k] / total, with whole weights of sum
 * `total`. Shrinking from n to m: input j covers [j m, (j+1) m) and output i [i n, (i+1) n); a weight is their overlap,
 * total n. Growing: output i lies at ((2i+1) n - m) / 2m inputs, held inside [0, n-1], between two of them; total 2m.
 * Both axes together: one sum of 8 + 17 + 17 bits, divided by the product of the totals and rounded to nearest. */
#include <string.h>

#include "base/memory.h"
#include "data/image.h"

typedef struct axis {
    int64_t in, out, most; /* taps an output has at most */
    uint64_t total;
    int32_t *first, *taps; /* [out] */
    uint32_t *weight;      /* [out, most] */
} axis;

static void close_axis(axis *a) {
    dpt_free(a->first);
    dpt_free(a->taps);
    dpt_free(a->weight);
}

static void shrink(axis *a) {
    a->total = (uint64_t)a->in;
    for (int64_t i = 0; i < a->out; i++) {
        const int64_t from = i * a->in, to = from + a->in, first = from / a->out;
        int32_t taps = 0;
        for (int64_t j = first; j * a->out < to; j++) {
            const int64_t low = j * a->out > from ? j * a->out : from;
            const int64_t high = (j + 1) * a->out < to ? (j + 1) * a->out : to;
            a->weight[i * a->most + taps++] = (uint32_t)(high - low);
        }
        a->first[i] = (int32_t)first;
        a->taps[i] = taps;
    }
}

static void grow(axis *a) {
    const int64_t total = 2 * a->out, last = (a->in - 1) * total;
    a->total = (uint64_t)total;
    for (int64_t i = 0; i < a->out; i++) {
        int64_t at = (2 * i + 1) * a->in - a->out;
        if (at < 0) at = 0;
        if (at > last) at = last;
        a->first[i] = (int32_t)(at / total);
        a->taps[i] = at % total > 0 ? 2 : 1;
        a->weight[i * a->most] = (uint32_t)(total - at % total);
        a->weight[i * a->most + 1] = (uint32_t)(at % total);
    }
}

static dpt_status open_axis(axis *a, int64_t in, int64_t out) {
    *a = (axis){.in = in, .out = out, .most = out <= in ? in / out + 2 : 2};
    a->first = dpt_alloc((size_t)out * sizeof *a->first);
    a->taps = dpt_alloc((size_t)out * sizeof *a->taps);
    a->weight = dpt_alloc((size_t)(out * a->most) * sizeof *a->weight);
    if (a->first == NULL || a->taps == NULL || a->weight == NULL) return DPT_ERR_MEMORY;
    if (out <= in)
        shrink(a);
    else
        grow(a);
    return DPT_OK;
}

/* sum[x.out, channels] += share * (row [x.in, channels] along x) */
static void add_row(const axis *x, int channels, const uint8_t *row, uint64_t share, uint64_t *sum) {
    for (int64_t i = 0; i < x->out; i++) {
        const uint8_t *in = row + (int64_t)x->first[i] * channels;
        const uint32_t *weight = x->weight + i * x->most;
        for (int c = 0; c < channels; c++) {
            uint32_t along = 0;
            for (int32_t k = 0; k < x->taps[i]; k++) along += weight[k] * in[k * channels + c];
            *sum++ += share * along;
        }
    }
}

static void resize(const dpt_image *image, const axis *y, const axis *x, uint64_t *sum, uint8_t *out) {
    const int channels = image->channels;
    const uint64_t total = y->total * x->total;
    for (int64_t i = 0; i < y->out; i++) {
        memset(sum, 0, (size_t)(x->out * channels) * sizeof *sum);
        for (int32_t k = 0; k < y->taps[i]; k++)
            add_row(x, channels, image->pixel + (y->first[i] + k) * x->in * channels, y->weight[i * y->most + k], sum);
        for (int64_t j = 0; j < x->out; j++)
            for (int c = 0; c < channels; c++)
                out[(c * y->out + i) * x->out + j] = (uint8_t)((2 * sum[j * channels + c] + total) / (2 * total));
    }
}

static void planes(const dpt_image *image, uint8_t *out) {
    const int64_t pixels = image->height * image->width;
    for (int c = 0; c < image->channels; c++)
        for (int64_t i = 0; i < pixels; i++) *out++ = image->pixel[i * image->channels + c];
}

dpt_status dpt_image_resize(const dpt_image *image, int64_t height, int64_t width, uint8_t *out) {
    if (height == image->height && width == image->width) {
        planes(image, out);
        return DPT_OK;
    }
    axis y = {0}, x = {0};
    uint64_t *sum = dpt_alloc((size_t)(width * image->channels) * sizeof *sum);
    dpt_status status = sum == NULL ? DPT_ERR_MEMORY : DPT_OK;
    if (status == DPT_OK) status = open_axis(&y, image->height, height);
    if (status == DPT_OK) status = open_axis(&x, image->width, width);
    if (status == DPT_OK) resize(image, &y, &x, sum, out);
    dpt_free(sum);
    close_axis(&y);
    close_axis(&x);
    return status;
}
