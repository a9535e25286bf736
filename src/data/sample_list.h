/* sample_list.h: lists of samples as text, one entry a line: a number ("17") or a range with both ends ("100-199").
 * Numbers count the samples of a dataset from 0, over all its files in their order. Blanks around numbers, empty lines
 * and what follows a # are passed over. */
#ifndef DPT_DATA_SAMPLE_LIST_H
#define DPT_DATA_SAMPLE_LIST_H

#include "data/selection.h"

/* The samples of a list, maybe none; not sealed. Local. DPT_ERR_IO: the file cannot be read. DPT_ERR_DATA, with file
 * and line: no entry, a number that the dataset has not (and how many it has), a range whose end is before its start, a
 * sample for the second time. Else as dpt_selection_create. */
dpt_status dpt_sample_list_read(const char *path, uint64_t samples, dpt_selection **list);

#endif
