/* dataset_index.h: where the rows of each field lie: made and checked by rank 0 alone, sent to the others as bytes.
 *
 * Invariant: whatever a file declares has been checked against what it holds before it enters an index, so readers
 * need no further checks of offsets and sizes. */
#ifndef DPT_DATA_DATASET_INDEX_H
#define DPT_DATA_DATASET_INDEX_H

#include <stdint.h>

#include "base/error.h"
#include "data/dataset.h"

typedef enum dpt_storage { DPT_STORAGE_CONTIGUOUS = 0, DPT_STORAGE_CHUNKED = 1, DPT_STORAGE_COMPACT = 2 } dpt_storage;

/* One field in one file. */
typedef struct dpt_index_part {
    dpt_storage storage;
    uint64_t offset;       /* of row 0 from the start of the file; contiguous only */
    uint64_t chunk_dim[1]; /* rows of a chunk; chunked only */
} dpt_index_part;

typedef struct dpt_index_file {
    char *path;
    uint64_t bytes;     /* size of the file */
    uint64_t first_row; /* rows of the files before it */
    uint64_t rows;
} dpt_index_file;

typedef struct dpt_index_field {
    dpt_field about; /* its name and path are these: */
    char *name, *path;
    uint64_t row_bytes; /* as stored */
} dpt_index_field;

typedef struct dpt_index {
    int files, fields;
    uint64_t rows;
    dpt_index_file *file;
    dpt_index_field *field;
    dpt_index_part *part; /* [file * fields + field] */
} dpt_index;

/* Opens every file, checks it, fills the index. Local. Errors as dpt_dataset_open says. */
dpt_status dpt_index_create(const char *const *files, int file_count, const dpt_field_spec *fields, int field_count,
                            dpt_index *index);
/* Takes an empty index ({0}) and one that dpt_index_create or _unpack left half-filled. */
void dpt_index_destroy(dpt_index *index);

/* What one file holds of one field. */
typedef struct dpt_found {
    dpt_index_part part;
    dpt_stored stored;
    uint64_t rows, row_bytes;
    int ndim; /* of a sample */
    int64_t dim[DPT_MAX_NDIM];
    int64_t elements;
} dpt_found;

/* Checks one dataset of an open file of so many bytes: links, type, sizes, storage. Inside a dpt_h5_scope; messages
 * start with "file: dataset: ". Local. */
dpt_status dpt_index_inspect(int64_t file, const char *file_path, uint64_t file_bytes, const char *path,
                             dpt_found *found);

/* The index as bytes (caller owns them: dpt_free), and back. */
dpt_status dpt_index_pack(const dpt_index *index, void **bytes, uint64_t *size);
dpt_status dpt_index_unpack(const void *bytes, uint64_t size, dpt_index *index);

#endif
