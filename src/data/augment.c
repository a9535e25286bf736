/* augment.c: see augment.h. Crop and flips are one gather: pixel (i, j) of the result is pixel (i' + dy, j' + dx) of
 * the image, with i' = height - 1 - i where it is flipped. Sums are taken in eight fixed lanes, so that the vector
 * width changes no bit. */
#include "data/augment.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

enum { LANES = 8, RGB = 3 };

/* ITU-R BT.601, as most image libraries weight a grey value. */
static const float grey_weight[RGB] = {0.299F, 0.587F, 0.114F};

struct dpt_augmenter {
    dpt_augment_options o;
    uint64_t key;
    int64_t channels, height, width;
    float *mean, *std; /* [channels]: a value before normalisation is y * std + mean */
    float *black;      /* [channels]: what a stored 0 becomes */
};

/* What is drawn for one sample. */
typedef struct draws {
    bool flip_horizontal, flip_vertical;
    int64_t dy, dx, cut_row, cut_column;
    float brightness, contrast, saturation;
} draws;

bool dpt_augment_any(const dpt_augment_options *o) {
    return o->flip_horizontal || o->flip_vertical || o->crop > 0 || o->cutout > 0 || o->brightness > 0 ||
           o->contrast > 0 || o->saturation > 0;
}

static dpt_status check(const dpt_field *f, const dpt_normalise *n, const dpt_augment_options *o) {
    DPT_CHECK(n == NULL || n->one_hot == 0, DPT_ERR_CONFIG, "augment changes images: samples of \"%s\" are one-hot",
              f->name);
    DPT_CHECK(f->ndim == 3 && f->dtype == DPT_F32, DPT_ERR_CONFIG,
              "augment changes images [channels, height, width] of f32: samples of \"%s\" have %d dimensions, of %s",
              f->name, f->ndim, dpt_dtype_text(f->dtype));
    long long height = f->dim[1], width = f->dim[2];
    int64_t least = f->dim[1] < f->dim[2] ? f->dim[1] : f->dim[2];
    DPT_CHECK(!o->reflect || o->crop < least, DPT_ERR_CONFIG,
              "augment.crop=%lld: a reflection needs less than the image's %lld x %lld pixels", (long long)o->crop,
              height, width);
    DPT_CHECK(o->cutout <= least, DPT_ERR_CONFIG, "augment.cutout=%lld: images have %lld x %lld pixels",
              (long long)o->cutout, height, width);
    DPT_CHECK(o->saturation == 0 || f->dim[0] == RGB, DPT_ERR_CONFIG,
              "augment.saturation needs three channels, red, green and blue: samples of \"%s\" have %lld", f->name,
              (long long)f->dim[0]);
    return DPT_OK;
}

dpt_status dpt_augmenter_create(const dpt_field *field, const dpt_normalise *n, const dpt_augment_options *options,
                                uint64_t seed, dpt_augmenter **augmenter) {
    *augmenter = NULL;
    DPT_TRY(check(field, n, options));
    dpt_augmenter *a = dpt_alloc_zero(1, sizeof *a);
    DPT_CHECK_ALLOC(a);
    *a = (dpt_augmenter){.o = *options,
                         .key = dpt_random_key("augment", seed),
                         .channels = field->dim[0],
                         .height = field->dim[1],
                         .width = field->dim[2]};
    a->mean = dpt_alloc((size_t)a->channels * sizeof *a->mean);
    a->std = dpt_alloc((size_t)a->channels * sizeof *a->std);
    a->black = dpt_alloc((size_t)a->channels * sizeof *a->black);
    dpt_status status = DPT_ERR_MEMORY;
    if (!a->mean || !a->std || !a->black) goto fail;
    for (int64_t c = 0; c < a->channels; c++) {
        int64_t k = n && n->channels > 1 ? c : 0;
        a->mean[c] = n && n->mean && n->channels > 0 ? (float)n->mean[k] : 0;
        a->std[c] = n && n->std && n->channels > 0 ? (float)n->std[k] : 1;
        a->black[c] = n ? (float)dpt_normalise_value(n, c, 0) : 0;
        DPT_CHECK_GOTO(isfinite(a->black[c]) || a->o.crop == 0 || a->o.reflect, fail, DPT_ERR_CONFIG,
                       "augment.crop adds stored zeros, which have no logarithm (data.log): give "
                       "augment.padding=reflect");
    }
    *augmenter = a;
    return DPT_OK;
fail:
    dpt_augmenter_destroy(&a);
    return status;
}

void dpt_augmenter_destroy(dpt_augmenter **augmenter) {
    if (*augmenter == NULL) return;
    dpt_free((*augmenter)->mean);
    dpt_free((*augmenter)->std);
    dpt_free((*augmenter)->black);
    dpt_free(*augmenter);
    *augmenter = NULL;
}

static int64_t below(uint32_t word, int64_t n) { return (int64_t)(((uint64_t)word * (uint64_t)n) >> 32); }

static float factor(uint32_t word, double strength) {
    return (float)(1 - strength + 2 * strength * (double)dpt_uniform_f32(word));
}

static draws draw(const dpt_augmenter *a, uint64_t epoch, uint64_t sample) {
    dpt_random4 q[3];
    for (uint32_t quad = 0; quad < 3; quad++) q[quad] = dpt_random_quad(a->key, quad, sample, (uint32_t)epoch);
    int64_t places = 2 * a->o.crop + 1;
    return (draws){.flip_horizontal = a->o.flip_horizontal && q[0].v[0] >> 31,
                   .flip_vertical = a->o.flip_vertical && q[0].v[1] >> 31,
                   .dy = below(q[0].v[2], places) - a->o.crop,
                   .dx = below(q[0].v[3], places) - a->o.crop,
                   .cut_row = below(q[1].v[0], a->height),
                   .cut_column = below(q[1].v[1], a->width),
                   .brightness = factor(q[2].v[0], a->o.brightness),
                   .contrast = factor(q[2].v[1], a->o.contrast),
                   .saturation = factor(q[2].v[2], a->o.saturation)};
}

/* i mirrored at the edges of [0, n), whose own elements are not repeated. */
static int64_t mirror(int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; }

static void fill(float *out, int64_t n, float value) {
    for (int64_t j = 0; j < n; j++) out[j] = value;
}

/* The image's column for column j of the result, beyond an edge too. */
static int64_t mirrored(const draws *d, int64_t j, int64_t w) {
    return mirror((d->flip_horizontal ? w - 1 - j : j) + d->dx, w);
}

static void move_row(const dpt_augmenter *a, const draws *d, const float *in, float black, float *out) {
    int64_t w = a->width;
    /* columns [begin, end) of the result lie inside the image */
    int64_t left = d->dx < 0 ? -d->dx : 0, right = d->dx > 0 ? d->dx : 0;
    if (left > w) left = w;
    if (right > w) right = w;
    int64_t begin = d->flip_horizontal ? right : left, end = w - (d->flip_horizontal ? left : right);
    if (d->flip_horizontal)
        for (int64_t j = begin; j < end; j++) out[j] = in[w - 1 - j + d->dx];
    else if (end > begin)
        memcpy(out + begin, in + (begin + d->dx), (size_t)(end - begin) * sizeof *out);
    for (int64_t j = 0; j < begin; j++) out[j] = a->o.reflect ? in[mirrored(d, j, w)] : black;
    for (int64_t j = end; j < w; j++) out[j] = a->o.reflect ? in[mirrored(d, j, w)] : black;
}

static void move(const dpt_augmenter *a, const draws *d, const float *in, float *out) {
    int64_t h = a->height, w = a->width;
    for (int64_t c = 0; c < a->channels; c++, in += h * w) {
        for (int64_t i = 0; i < h; i++, out += w) {
            int64_t from = (d->flip_vertical ? h - 1 - i : i) + d->dy;
            if (a->o.reflect) from = mirror(from, h);
            if (from < 0 || from >= h)
                fill(out, w, a->black[c]);
            else
                move_row(a, d, in + from * w, a->black[c], out);
        }
    }
}

/* The square's rows and columns are [centre - side/2, centre - side/2 + side). */
static void cut(const dpt_augmenter *a, const draws *d, float *out) {
    int64_t h = a->height, w = a->width, side = a->o.cutout;
    int64_t top = d->cut_row - side / 2, left = d->cut_column - side / 2;
    int64_t bottom = top + side < h ? top + side : h, right = left + side < w ? left + side : w;
    if (top < 0) top = 0;
    if (left < 0) left = 0;
    for (int64_t c = 0; c < a->channels; c++)
        for (int64_t i = top; i < bottom; i++) fill(out + (c * h + i) * w + left, right - left, 0);
}

static double sum(const float *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t whole = n - n % LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (double)x[i + k];
    for (int64_t i = whole; i < n; i++) lane[i - whole] += (double)x[i];
    double all = 0;
    for (int k = 0; k < LANES; k++) all += lane[k];
    return all;
}

/* The mean over the pixels of the grey value: of red, green and blue as they are weighted, of other channels alike. */
static float mean_grey(const dpt_augmenter *a, const float *x) {
    int64_t n = a->height * a->width;
    double grey = 0;
    for (int64_t c = 0; c < a->channels; c++) {
        double weight = a->channels == RGB ? (double)grey_weight[c] : 1.0 / (double)a->channels;
        grey += weight * ((double)a->std[c] * sum(x + c * n, n) / (double)n + (double)a->mean[c]);
    }
    return (float)grey;
}

/* u = y std + mean; v = contrast brightness u + (1 - contrast) brightness mean_grey(u) in each channel. */
static void tone(const dpt_augmenter *a, const draws *d, float *x) {
    int64_t n = a->height * a->width;
    float gain = d->contrast * d->brightness, level = (1 - d->contrast) * d->brightness * mean_grey(a, x);
    for (int64_t c = 0; c < a->channels; c++) {
        float shift = (gain * a->mean[c] + level - a->mean[c]) / a->std[c], *y = x + c * n;
        for (int64_t i = 0; i < n; i++) y[i] = gain * y[i] + shift;
    }
}

/* v = saturation u + (1 - saturation) grey(u), pixel by pixel. */
static void saturate(const dpt_augmenter *a, const draws *d, float *x) {
    int64_t n = a->height * a->width;
    float s = d->saturation, *r = x, *g = x + n, *b = x + 2 * n;
    float level = 0, weight[RGB], part[RGB];
    for (int c = 0; c < RGB; c++) {
        weight[c] = grey_weight[c] * a->std[c];
        level += grey_weight[c] * a->mean[c];
        part[c] = (1 - s) / a->std[c];
    }
    for (int64_t i = 0; i < n; i++) {
        float grey = weight[0] * r[i] + weight[1] * g[i] + weight[2] * b[i] + level;
        r[i] = s * r[i] + part[0] * (grey - a->mean[0]);
        g[i] = s * g[i] + part[1] * (grey - a->mean[1]);
        b[i] = s * b[i] + part[2] * (grey - a->mean[2]);
    }
}

void dpt_augmenter_apply(const dpt_augmenter *a, uint64_t epoch, uint64_t sample, const float *in, float *out) {
    draws d = draw(a, epoch, sample);
    if (a->o.flip_horizontal || a->o.flip_vertical || a->o.crop > 0)
        move(a, &d, in, out);
    else
        memcpy(out, in, (size_t)(a->channels * a->height * a->width) * sizeof *out);
    if (a->o.brightness > 0 || a->o.contrast > 0) tone(a, &d, out);
    if (a->o.saturation > 0) saturate(a, &d, out);
    if (a->o.cutout > 0) cut(a, &d, out);
}
