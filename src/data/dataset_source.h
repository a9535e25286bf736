/* dataset_source.h: datasets of what the caller holds (dptrain/data.h). */
#ifndef DPT_DATA_DATASET_SOURCE_H
#define DPT_DATA_DATASET_SOURCE_H

#include "data/dataset.h"

/* dpt_dataset_create, over any control plane. Collective. */
dpt_status dpt_dataset_open_source(const dpt_control *control, const dpt_source *source, dpt_dataset **dataset);
/* Where each rank holds rows of its own: the number of each rank's first sample, [world + 1], borrowed; else NULL.
 * Local. */
const uint64_t *dpt_dataset_own_rows(const dpt_dataset *dataset, int *world);
/* Of a field of integers, as the caller said; 0: any. Local. */
int64_t dpt_dataset_classes(const dpt_dataset *dataset, int field);

#endif
