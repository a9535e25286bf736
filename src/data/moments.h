/* moments.h: mean and standard deviation of a field over a part of its samples, found by all ranks together: each reads
 * its share once. */
#ifndef DPT_DATA_MOMENTS_H
#define DPT_DATA_MOMENTS_H

#include "backend/control.h"
#include "data/convert.h"
#include "data/dataset.h"
#include "data/selection.h"

/* Of the values that `normalise` makes before its mean and std (scale, clip, log; those two are not looked at), over
 * all rows of the selection (NULL: all samples). channels: 1, or the field's first axis: mean[channels] and
 * std[channels] (of the population; 1 where all values are equal); one channel of samples of different lengths, without
 * their padding. The same bits for every number of ranks. Collective. Errors, on all ranks, are those of reading and
 * conversion (loader.h); DPT_ERR_ARG: other channels; DPT_ERR_DATA: values too large for the squares of a double. */
dpt_status dpt_moments_find(const dpt_control *control, const dpt_dataset *dataset, int field,
                            const dpt_normalise *normalise, const dpt_selection *selection, int64_t channels,
                            double *mean, double *std);

#endif
