/* hdf5_output.h: an HDF5 file that appears whole or not at all (base/file.h). The same content written in the same
 * order gives the same bytes, on any day.
 *
 *   dpt_hdf5_output out;
 *   DPT_TRY(dpt_hdf5_output_open(&out, path, temporary));
 *   DPT_TRY_GOTO(dpt_hdf5_output_text(&out, "format", "labels"), fail);
 *   DPT_TRY_GOTO(dpt_hdf5_output_dataset(&out, "/train/y", DPT_U8, 1, &rows), fail);
 *   DPT_TRY_GOTO(dpt_hdf5_output_rows(&out, first, count, labels), fail);
 *   DPT_TRY_GOTO(dpt_hdf5_output_commit(&out), fail);
 *   fail: dpt_hdf5_output_close(&out);
 *
 * All functions are local and fail with DPT_ERR_IO, "<path> cannot be written: <dataset>: <reason>". */
#ifndef DPT_DATA_HDF5_OUTPUT_H
#define DPT_DATA_HDF5_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "data/stored.h"
#include "dptrain/types.h"

typedef struct dpt_hdf5_output {
    char *path, *temporary; /* the name, and the one it is written under */
    int64_t file, dataset;  /* HDF5 handles, -1: none */
    char *dataset_path;     /* of the dataset last started */
    int ndim;
    int64_t dim[DPT_MAX_NDIM + 1];
    int64_t row_bytes;
    bool sums; /* the values, in the order of their rows: */
    int64_t summed_rows;
    dpt_checksum sum;
} dpt_hdf5_output;

/* How a dataset lies in its file; all 0: contiguous. Filters need chunks. */
typedef struct dpt_hdf5_layout {
    int64_t chunk_rows; /* a chunk is so many whole rows, or all where there are fewer; 0: contiguous */
    int deflate;        /* 1 to 9; 0: none */
    bool shuffle, fletcher32;
    bool reserve; /* a contiguous one has its place in the file from the start */
} dpt_hdf5_layout;

/* Creates the file under its temporary name, in the same folder. Copies both names. On failure nothing needs closing.
 */
dpt_status dpt_hdf5_output_open(dpt_hdf5_output *output, const char *path, const char *temporary);
/* Starts the next dataset: contiguous, dim[0] rows; 0 axes: one value. Its groups are made. Copies path. Fails also
 * where the path exists already. DPT_ERR_UNSUPPORTED: too many axes. */
dpt_status dpt_hdf5_output_dataset(dpt_hdf5_output *output, const char *path, dpt_dtype dtype, int ndim,
                                   const int64_t *dim);
/* The same for any type that elements may have in a file, and any layout; rows are then given as they are stored. */
dpt_status dpt_hdf5_output_stored(dpt_hdf5_output *output, const char *path, dpt_stored stored,
                                  const dpt_hdf5_layout *layout, int ndim, const int64_t *dim);
/* The dataset last started gets the XXH64 of its values, as they are stored, as an attribute of 16 digits when it is
 * finished, if all of its rows were written in their order. Call it before the first row. */
#define DPT_CHECKSUM_ATTRIBUTE "dptrain_xxh64"
void dpt_hdf5_output_checksum(dpt_hdf5_output *output);
/* Gives the dataset last started the attributes of a dataset of another file, but for references, those above 64 KiB
 * and checksums. DPT_ERR_DATA, DPT_ERR_IO: that cannot be read. */
dpt_status dpt_hdf5_output_attributes(dpt_hdf5_output *output, const char *path, const char *dataset);
/* For rows that are written past HDF5: gives a dataset of a file that is left under a temporary name its checksum, in
 * the place of the one that dpt_hdf5_output_text (16 digits) put there. */
dpt_status dpt_hdf5_output_seal(const char *path, const char *dataset, uint64_t checksum);
/* Writes rows [first, first + count) of the dataset last started; the one value is its row 0. */
dpt_status dpt_hdf5_output_rows(dpt_hdf5_output *output, int64_t first, int64_t count, const void *data);
/* Adds an attribute to the dataset last started, or to the file where there is none yet: a UTF-8 text of fixed length
 * with its end, or a little-endian integer. */
dpt_status dpt_hdf5_output_text(dpt_hdf5_output *output, const char *name, const char *text);
dpt_status dpt_hdf5_output_i32(dpt_hdf5_output *output, const char *name, int32_t value);
/* The same for texts: one axis, as long each as the longest, filled with zeros. */
dpt_status dpt_hdf5_output_texts(dpt_hdf5_output *output, const char *name, char *const *text, int64_t count);
/* Starts a contiguous dataset whose values are written by others, at *offset of the file. */
dpt_status dpt_hdf5_output_reserve(dpt_hdf5_output *output, const char *path, dpt_dtype dtype, int ndim,
                                   const int64_t *dim, int64_t *offset);
/* Ends the file and leaves it under its temporary name. close may follow. */
dpt_status dpt_hdf5_output_leave(dpt_hdf5_output *output);
/* Makes it durable and gives it its name. */
dpt_status dpt_hdf5_output_commit(dpt_hdf5_output *output);
/* Removes what was not committed. */
void dpt_hdf5_output_close(dpt_hdf5_output *output);

/* Writes the content of a file. */
typedef dpt_status (*dpt_hdf5_fill)(dpt_hdf5_output *output, const void *what);
/* Makes a file that is not there, and the folder that it lies in. Of several processes that call at once one makes it
 * and the others wait, for a lock on "<path>.lock", which goes with the last of them; on file systems without locks
 * each makes it. DPT_ERR_IO also for the folder and the lock, with their names; all of fill's. */
dpt_status dpt_hdf5_output_once(const char *path, dpt_hdf5_fill fill, const void *what);
/* The first step of that: makes the folder and waits for the lock. *lock: -1: a file system without locks. */
dpt_status dpt_hdf5_output_lock(const char *path, int *lock);
/* Removes the lock's file and lets others have it; *lock becomes -1. Takes -1. */
void dpt_hdf5_output_unlock(const char *path, int *lock);
/* A temporary name of this process alone, for where the lock does not hold. Release with dpt_free. NULL: no memory. */
char *dpt_hdf5_output_own_name(const char *path);

/* The type in a file of a dtype. Inside a scope (hdf5_util.h). Borrowed from HDF5; -1: none. */
int64_t dpt_hdf5_output_type(dpt_dtype dtype);

#endif
