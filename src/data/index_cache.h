/* index_cache.h: an index kept in a file from one run to the next. It is used again only if it was made of the same
 * files for the same fields, each file has the size and time of change that it had, and the bytes that the index was
 * made of (all but the values) have the same digest. Whatever else is found there, damaged, or a file that belongs to
 * another user (but root) or that others may write to, is made anew and replaced: a message of level debug says why. */
#ifndef DPT_DATA_INDEX_CACHE_H
#define DPT_DATA_INDEX_CACHE_H

#include "data/dataset_index.h"

/* The index of files, manifests' files in their place. folder: where it is kept, made if it is not there; NULL or "":
 * nowhere. Warns of files that hold no samples. Local. Errors as dpt_dataset_open says; none of what is wrong with the
 * folder. On failure the index still wants dpt_index_destroy. */
dpt_status dpt_index_obtain(const char *const *files, int file_count, const dpt_field_spec *fields, int field_count,
                            const char *folder, dpt_index *index);

#endif
