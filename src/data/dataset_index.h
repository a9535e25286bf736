/* dataset_index.h: where the rows of each field lie: made and checked by rank 0 alone, sent to the others as bytes. It
 * holds all that reading needs (reader.h), so that HDF5 is not called after it is made.
 *
 * Invariant: whatever a file declares has been checked against what it holds before it enters an index, so readers
 * need no further checks of offsets and sizes. */
#ifndef DPT_DATA_DATASET_INDEX_H
#define DPT_DATA_DATASET_INDEX_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "data/content.h"
#include "data/dataset.h"
#include "data/decode.h"
#include "data/file_list.h"

typedef enum dpt_storage {
    DPT_STORAGE_CONTIGUOUS = 0,
    DPT_STORAGE_CHUNKED = 1,
    DPT_STORAGE_COMPACT = 2,
    DPT_STORAGE_ELSEWHERE = 3 /* rows are made (dataset_private.h), the index only counts them; never packed */
} dpt_storage;

/* A chunk as it lies in its file. */
typedef struct dpt_index_chunk {
    uint64_t offset; /* from the start of the file */
    uint32_t bytes;
    uint32_t mask; /* bit i: filter i was left out */
} dpt_index_chunk;

/* One field in one file. Chunks cut the rows and each axis of a sample; those at an end reach over it, and are stored
 * whole all the same. */
typedef struct dpt_index_part {
    dpt_storage storage;
    uint64_t offset;                      /* contiguous: of row 0 from the start of the file */
    unsigned char *values;                /* compact: all rows */
    uint64_t chunk_dim[DPT_MAX_NDIM + 1]; /* chunked: elements along the rows and each axis */
    uint64_t grid[DPT_MAX_NDIM + 1];      /* chunks along each */
    uint64_t chunks, chunk_bytes;         /* in all; of one, decoded */
    dpt_pipeline pipeline;
    dpt_index_chunk *chunk; /* [chunks], the last axis of the grid fastest */
} dpt_index_part;

typedef struct dpt_index_file {
    char *path;
    uint64_t bytes;     /* size of the file */
    int64_t mtime_ns;   /* of its last change, from before it was opened; a rank's own file's once it is open */
    uint64_t first_row; /* rows of the files before it */
    uint64_t rows;
    dpt_content content; /* all of it that the index was made of; no extents: not known */
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
dpt_status dpt_index_create(const dpt_file_list *files, const dpt_field_spec *fields, int field_count,
                            dpt_index *index);
/* Whether a field is what the caller wants: shape, and integers only from integers. DPT_ERR_SHAPE, DPT_ERR_UNSUPPORTED
 * say why not. Local. */
dpt_status dpt_index_check_wanted(const dpt_field_spec *wanted, dpt_stored stored, int ndim, const int64_t *dim);
/* Room for so many files and fields, all zero. On failure the index still wants dpt_index_destroy. */
dpt_status dpt_index_allocate(dpt_index *index, int files, int fields);
/* Takes an empty index ({0}) and one that dpt_index_create or _unpack left half-filled. */
void dpt_index_destroy(dpt_index *index);

/* What one file holds of one field. */
typedef struct dpt_found {
    dpt_index_part part; /* owned: dpt_index_part_clear */
    dpt_stored stored;
    uint64_t rows, row_bytes;
    int ndim; /* of a sample */
    int64_t dim[DPT_MAX_NDIM];
    int64_t elements;
} dpt_found;

/* Checks one dataset of a file of so many bytes, opened by dpt_chunk_lookup_open: links, type, sizes, storage, each
 * chunk. Inside a dpt_h5_scope; messages start with "file: dataset: ". On failure found holds nothing. Local. */
dpt_status dpt_index_inspect(int64_t file, const char *file_path, uint64_t file_bytes, const char *path,
                             dpt_found *found);

/* Whether a part's values lie within a file of so many bytes, each chunk as long as its filters can make it. What is
 * read by an index that passes stays within its buffers, whatever the file holds. Local. DPT_ERR_DATA. */
dpt_status dpt_index_check_part(const dpt_index_part *part, uint64_t rows, uint64_t row_bytes, uint64_t file_bytes);

void dpt_index_part_clear(dpt_index_part *part);

/* Fills grid, chunks and chunk_bytes from chunk_dim and what it cuts: rows, then each axis of a sample. Local.
 * DPT_ERR_DATA: a chunk of size 0. DPT_ERR_UNSUPPORTED: chunks of more than 64 MiB. */
dpt_status dpt_index_grid(dpt_index_part *part, uint64_t rows, int ndim, const int64_t *dim, uint32_t element_bytes);

/* The index as bytes (caller owns them: dpt_free), and back. Bytes of any origin: an index that comes of them is whole
 * and has passed dpt_index_check_part; it may still be of other files. DPT_ERR_DATA: it cannot be. On failure the index
 * still wants dpt_index_destroy. */
dpt_status dpt_index_pack(const dpt_index *index, void **bytes, uint64_t *size);
dpt_status dpt_index_unpack(const void *bytes, uint64_t size, dpt_index *index);
/* dpt_dataset_digest says of what. */
uint64_t dpt_index_digest(const dpt_index *index);

/* The last file that starts at or before a row; empty files in between hold none. */
int dpt_index_file_of(const dpt_index *index, uint64_t row);
int64_t dpt_index_mtime_ns(const struct stat *about);

/* Of an open dataset, for those who read it: its index, and a file of it, open for reading. Borrowed. Local. */
const dpt_index *dpt_dataset_index(const dpt_dataset *dataset);
int dpt_dataset_descriptor(const dpt_dataset *dataset, int file);

#endif
