/* dataset.h: HDF5 files as they are: one or several, whose samples stand along the first axis of each dataset and
 * continue from file to file. Rank 0 checks the files and makes an index; the others take it from rank 0.
 *
 *   dpt_field_spec fields[] = {{.name = "x", .path = "/train/x", .dtype = DPT_F32, .ndim = 3, .dim = {1, 28, 28}},
 *                              {.name = "y", .path = "/train/y", .dtype = DPT_I64, .ndim = DPT_ANY_NDIM}};
 *   DPT_TRY(dpt_dataset_open(control, files, file_count, fields, 2, &dataset));
 *
 * What may be stored: the types of stored.h; contiguous, chunked (chunks of at most 64 MiB, along any axes; filters
 * shuffle, fletcher32, deflate, in any order) or compact. Anything else is refused by name, and so are soft and
 * external links, external and virtual storage, and sizes that the file does not hold. HDF5 is called while a dataset
 * is opened, on rank 0 alone. */
#ifndef DPT_DATA_DATASET_H
#define DPT_DATA_DATASET_H

#include <stdbool.h>

#include "backend/control.h"
#include "data/stored.h"
#include "dptrain/data.h"

enum { DPT_ANY_NDIM = -1, DPT_ANY_DIM = -1 };

/* What the caller wants of a field.
 *
 * Samples of different lengths (sequences) stand in two datasets of every file: `path`, [total, ...], holds the steps
 * of all samples one after another, and `offsets`, integers [rows + 1], where the steps of each sample begin: the first
 * is 0, none is less than the one before, the last is the file's total. A sample is delivered as [length, ...], with
 * `pad` behind its end. Where `path` is NULL the field is the number of steps of each sample, for models that mask. */
typedef struct dpt_field_spec {
    const char *name;          /* the graph input that it feeds */
    const char *path;          /* of the dataset in every file */
    dpt_dtype dtype;           /* as the loader delivers it; integers only from integers */
    int ndim;                  /* of a sample, rows not counted; DPT_ANY_NDIM: as found */
    int64_t dim[DPT_MAX_NDIM]; /* a dim of DPT_ANY_DIM: as found */
    const char *offsets;       /* NULL: all samples have one shape, and what follows is not looked at */
    int64_t length;            /* steps that are delivered; 0: as many as the longest sample has */
    bool cuts;                 /* longer samples lose their ends; otherwise they are an error */
    double pad;                /* as delivered, after any scaling and check; an integer where dtype is one */
} dpt_field_spec;

/* What was found. */
typedef struct dpt_field {
    const char *name, *path;
    dpt_dtype dtype;
    dpt_stored stored;
    int ndim;
    int64_t dim[DPT_MAX_NDIM];
    int64_t elements; /* of a sample: the product of dim */
    bool sequence;    /* dim[0] is a number of steps, of which a sample has dpt_dataset_lengths; the rest is padding */
} dpt_field;

/* Opens the files; a manifest (manifest.h) among them stands for those that it lists. Offsets of sequences stay in
 * memory on every rank: 8 bytes a sample. Rank 0's arguments count; the others' are not looked at. Collective over
 * control; every rank ends with the same status and message, which names file, dataset and numbers. A file without
 * samples among others is a warning. DPT_ERR_ARG: no file or no field, or a pad that dtype does not hold. DPT_ERR_IO: a
 * file cannot be opened or read (the system's reason). DPT_ERR_DATA: not HDF5, truncated, of 0 bytes, listed twice
 * (under whatever names), not as its manifest says, a dataset is missing (names those there), a field's rows differ
 * from another's, 0 samples, a chunk that is not where or as long as it says, files that differ between ranks, offsets
 * that are none, a sequence longer than wanted (which, and its length). DPT_ERR_SHAPE: a sample's shape is not the
 * expected one. DPT_ERR_UNSUPPORTED: an element type, storage, filter or link outside those above. */
dpt_status dpt_dataset_open(const dpt_control *control, const char *const *files, int file_count,
                            const dpt_field_spec *fields, int field_count, dpt_dataset **dataset);
/* The same with an index that is kept in a folder (index_cache.h) of rank 0 and used again while it fits the files:
 * they are then not opened by HDF5. NULL: none is kept. */
dpt_status dpt_dataset_open_indexed(const dpt_control *control, const char *const *files, int file_count,
                                    const dpt_field_spec *fields, int field_count, const char *index_folder,
                                    dpt_dataset **dataset);

/* dpt_dataset_close and dpt_dataset_rows are in dptrain/data.h. Local. */
int dpt_dataset_field_count(const dpt_dataset *dataset);
/* Borrowed until the dataset is closed. Local. */
const dpt_field *dpt_dataset_field(const dpt_dataset *dataset, int field);
/* Of names, dataset paths, types, shapes, sizes, places of rows and chunks, filters: equal on all ranks, and in every
 * run on the same files, wherever they lie (file names and times do not enter). Local. */
uint64_t dpt_dataset_digest(const dpt_dataset *dataset);

/* Steps of samples [first, first + count) of a field of sequences, or of their lengths, as they are delivered: at most
 * the field's dim[0]. From memory. Any thread. Local. DPT_ERR_ARG: another field, or samples outside the dataset. */
dpt_status dpt_dataset_lengths(const dpt_dataset *dataset, int field, uint64_t first, uint64_t count, int64_t *length);

/* dpt_reader_rows (reader.h) for a single time: a loop wants a reader. Any thread. Local. */
dpt_status dpt_dataset_read(const dpt_dataset *dataset, int field, uint64_t row, uint64_t count, void *out);

/* Files in their order, and the rows of each. Local. */
int dpt_dataset_file_count(const dpt_dataset *dataset);
uint64_t dpt_dataset_file_rows(const dpt_dataset *dataset, int file);
/* Borrowed until the dataset is closed. Local. */
const char *dpt_dataset_file_path(const dpt_dataset *dataset, int file);
/* The field whose samples take the most bytes as they are stored, of equal ones the first: its chunks are the blocks of
 * order `lanes`. Local. */
int dpt_dataset_longest_field(const dpt_dataset *dataset);
/* Rows of a chunk of a field in a file (of sequences: about so many); 0: not chunked. Local. */
uint64_t dpt_dataset_chunk_rows(const dpt_dataset *dataset, int file, int field);

/* Where a sample stands, for messages: the file (borrowed) and the row in it. Local. */
const char *dpt_dataset_locate(const dpt_dataset *dataset, uint64_t sample, uint64_t *row_in_file);

#endif
