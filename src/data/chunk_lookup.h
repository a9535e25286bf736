/* chunk_lookup.h: where each chunk of an HDF5 dataset lies in its file.
 *
 *   DPT_TRY(dpt_chunk_lookup_open(path, &file));
 *   DPT_TRY(dpt_chunk_lookup(file, dataset, start, &chunk)); */
#ifndef DPT_DATA_CHUNK_LOOKUP_H
#define DPT_DATA_CHUNK_LOOKUP_H

#include "data/dataset_index.h"
#include "data/hdf5_util.h"

/* As dpt_h5_open, for a file whose chunks will be looked up. Inside a dpt_h5_scope. Local. */
dpt_status dpt_chunk_lookup_open(const char *path, hid_t *file);

/* The place, stored size and filter mask of the chunk whose first element is at start (an entry an axis), in a dataset
 * of a file opened as above. Takes steps by the logarithm of the number of chunks. Inside a dpt_h5_scope. Local.
 * DPT_ERR_DATA: no such chunk is stored. DPT_ERR_IO: its entry cannot be read, or points beyond the end of the file. */
dpt_status dpt_chunk_lookup(hid_t file, hid_t dataset, const hsize_t *start, dpt_index_chunk *chunk);

/* What HDF5 has read of a file of so many bytes that was opened as above, values left out: what an index was made of,
 * since it follows from nothing else. content (empty before) is the caller's: dpt_content_free. Without extents: not
 * known, as with versions of HDF5 that have another form of drivers. Inside a dpt_h5_scope. Local. DPT_ERR_IO: it
 * cannot be read again. */
dpt_status dpt_chunk_lookup_content(hid_t file, uint64_t file_bytes, dpt_content *content);

#endif
