/* sequence_rows.h: conversion of samples of different lengths (dataset.h). */
#ifndef DPT_DATA_SEQUENCE_ROWS_H
#define DPT_DATA_SEQUENCE_ROWS_H

#include "data/convert.h"

/* dpt_convert_rows for samples [sample, sample + rows) of a field of sequences, as a reader gives them: behind the end
 * of each stands its pad. Any thread. Local. */
dpt_status dpt_sequence_convert(const dpt_dataset *dataset, int field, const dpt_convert *convert, uint64_t sample,
                                const void *in, int64_t rows, void *out, int64_t *bad);

#endif
