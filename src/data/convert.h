/* convert.h: rows as stored to rows as a graph input wants them: type and byte order, transforms of floats, one-hot,
 * and the checks that only every single value can show. */
#ifndef DPT_DATA_CONVERT_H
#define DPT_DATA_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "data/dataset.h"

/* Of floats, in this order: v = stored * scale; v clipped to [low, high], infinities too; log(v + offset); then
 * (v - mean[c]) / std[c], c being the index along the first axis of a sample. All that is 0 changes nothing.
 * Stored integers wanted as floats may become one-hot instead: integer k of K becomes K floats, 1 at k and 0 elsewhere,
 * along a new last axis. Of integers wanted as integers the range is checked. */
typedef struct dpt_normalise {
    double scale;             /* 0: as 1 */
    bool clips, logs;         /* whether these count: */
    double low, high;         /* low <= high */
    double offset;            /* of the logarithm */
    int64_t channels;         /* 1: one mean and std for all; else the size of the sample's first axis; 0: none */
    const double *mean, *std; /* [channels] each; NULL: 0 and 1. Borrowed. */
    int64_t one_hot;          /* K: stored integers lie in [0, K); 0: numbers */
    int64_t classes;          /* integer values must lie in [0, classes); 0: any */
    bool ignores;             /* or be `ignore` */
    int64_t ignore;
} dpt_normalise;

/* What the formula makes of one stored value, in f64; NaN or infinite where it has no logarithm. Local. */
double dpt_normalise_value(const dpt_normalise *normalise, int64_t channel, double stored);

/* A field as it is delivered: with one-hot its shape ends in the classes. normalise may be NULL. Local.
 * DPT_ERR_ARG: one-hot with a sample of DPT_MAX_NDIM dimensions, or of more than 2^63 values. */
dpt_status dpt_field_delivered(const dpt_field *field, const dpt_normalise *normalise, dpt_field *delivered);

typedef struct dpt_convert dpt_convert;

/* Prepares the conversion of a field; copies what it needs. normalise may be NULL. Local.
 * DPT_ERR_ARG: transforms of an integer input or beside one-hot, one-hot of floats, bounds in the wrong order or not
 * finite, channels that are not the sample's, a std that is 0 or not finite, classes for a float input, and as
 * dpt_field_delivered. DPT_ERR_UNSUPPORTED: the stored type cannot become the input's. */
dpt_status dpt_convert_create(const dpt_field *field, const dpt_normalise *normalise, dpt_convert **convert);
void dpt_convert_destroy(dpt_convert **convert);

/* Whether stored bytes may be read straight into the output (then in == out is allowed below). Local. */
bool dpt_convert_in_place(const dpt_convert *convert);
/* Values of a sample as delivered. Local. */
int64_t dpt_convert_elements(const dpt_convert *convert);

/* Converts rows. Integers of up to 16 bits, f16 and f32 go to f32 in f32, all other floats come through f64; integers
 * are exact. *bad is the first element (counted from in) that is no valid value, where DPT_ERR_DATA is returned; the
 * message says what is wrong with it: NaN or infinite, without a logarithm, beyond the wanted type, outside
 * [0, classes). Any thread. Local. */
dpt_status dpt_convert_rows(const dpt_convert *convert, const void *in, int64_t rows, void *out, int64_t *bad);

#endif
