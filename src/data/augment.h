/* augment.h: random changes to images [channels, height, width] of f32 as they are read for training: crop, flip,
 * colour, cut-out, in this order. What is drawn for a sample is a pure function of (seed, epoch, sample): ranks,
 * threads, batches and restarts change nothing.
 *
 * Draws, version 1: key XXH64("augment", seed); counter (quad, sample low, sample high, epoch). A whole number below n
 * is floor(word * n / 2^32), a flip the highest bit of its word, a factor 1 - s + 2 s u with u = floor(word / 2^8) /
 * 2^24. Quad 0: flip left to right, flip top to bottom, row and column of the crop in the padded image (below 2 pad +
 * 1). Quad 1: row and column of the cut-out's centre. Quad 2: factors of brightness, contrast, saturation. */
#ifndef DPT_DATA_AUGMENT_H
#define DPT_DATA_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "data/convert.h"
#include "data/dataset.h"

typedef struct dpt_augment_options {
    int field;                               /* of the dataset: the images */
    bool flip_horizontal, flip_vertical;     /* each for every second sample, at random */
    int64_t crop;                            /* pixels added on each side before a window of the old size is cut */
    bool reflect;                            /* added pixels mirror the image; else their stored value is 0 */
    int64_t cutout;                          /* side of the square, clipped by the edges, set to 0 (DeVries 2017) */
    double brightness, contrast, saturation; /* s: factors from [1 - s, 1 + s]; of scaled values, never clamped */
} dpt_augment_options;

typedef struct dpt_augmenter dpt_augmenter;

/* Whether the options change anything. Local. */
bool dpt_augment_any(const dpt_augment_options *options);

/* Prepares for the images of a field that are normalised so (NULL: not). Local.
 * DPT_ERR_CONFIG: samples that are no images of f32 or one-hot, a reflection or cut-out larger than they are,
 * saturation without three channels, added zeros that have no logarithm. */
dpt_status dpt_augmenter_create(const dpt_field *field, const dpt_normalise *normalise,
                                const dpt_augment_options *options, uint64_t seed, dpt_augmenter **augmenter);
void dpt_augmenter_destroy(dpt_augmenter **augmenter);

/* out: `in`, changed; they do not overlap. Any thread. Local. */
void dpt_augmenter_apply(const dpt_augmenter *augmenter, uint64_t epoch, uint64_t sample, const float *in, float *out);

#endif
