/* convert.h: rows as stored to rows as a graph input wants them: type, affine normalisation per channel, and the checks
 * that only every single value can show. */
#ifndef DPT_DATA_CONVERT_H
#define DPT_DATA_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "data/dataset.h"

/* y = (x * scale - mean[c]) / std[c], c being the index along the first axis of a sample. */
typedef struct dpt_normalise {
    double scale;             /* 0: as 1 */
    int64_t channels;         /* 1: one mean and std for all; else the size of the sample's first axis; 0: none */
    const double *mean, *std; /* [channels] each; NULL: 0 and 1. Borrowed. */
    int64_t classes;          /* integer values must lie in [0, classes); 0: any */
    bool ignores;             /* or be `ignore` */
    int64_t ignore;
} dpt_normalise;

typedef struct dpt_convert dpt_convert;

/* Prepares the conversion of a field; copies what it needs. normalise may be NULL. Local.
 * DPT_ERR_ARG: normalisation of an integer input, channels that are not the sample's, a std that is 0 or not finite,
 * classes for a float input. */
dpt_status dpt_convert_create(const dpt_field *field, const dpt_normalise *normalise, dpt_convert **convert);
void dpt_convert_destroy(dpt_convert **convert);

/* Whether stored bytes may be read straight into the output (then in == out is allowed below). Local. */
bool dpt_convert_in_place(const dpt_convert *convert);

/* Converts rows. In f32 for u8 and f32 to f32, otherwise through f64; integers exactly. *bad is the first element
 * (counted from in) that is no valid value, where DPT_ERR_DATA is returned; the message says what is wrong with it:
 * NaN or infinite, beyond the wanted type, outside [0, classes). Any thread. Local. */
dpt_status dpt_convert_rows(const dpt_convert *convert, const void *in, int64_t rows, void *out, int64_t *bad);

#endif
