/* import_names.h: whether what an import is asked for can be, before any file is opened: HDF5 would say so late and in
 * its own words. */
#ifndef DPT_DATA_IMPORT_NAMES_H
#define DPT_DATA_IMPORT_NAMES_H

#include "data/import_stream.h"

/* Looks at names alone, so all ranks find the same. Local.
 * DPT_ERR_CONFIG: a dataset without a proper name, asked for twice, or inside of another. */
dpt_status dpt_import_check_datasets(const dpt_import_source *source, int count);

/* A target that is made inside of what it is made from would change it. Local.
 * DPT_ERR_CONFIG: the target is a folder, or lies in one that is imported. DPT_ERR_MEMORY. */
dpt_status dpt_import_check_target(const dpt_import_source *source, int count, const char *target);

#endif
