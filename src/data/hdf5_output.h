/* hdf5_output.h: an HDF5 file that appears whole or not at all: written beside its name, synced, renamed, its folder
 * synced. The same datasets written in the same order give the same bytes, on any day.
 *
 *   dpt_hdf5_output out;
 *   DPT_TRY(dpt_hdf5_output_open(&out, path));
 *   DPT_TRY_GOTO(dpt_hdf5_output_dataset(&out, "/train/y", DPT_U8, 1, &rows), fail);
 *   DPT_TRY_GOTO(dpt_hdf5_output_rows(&out, first, count, labels), fail);
 *   DPT_TRY_GOTO(dpt_hdf5_output_commit(&out), fail);
 *   fail: dpt_hdf5_output_close(&out); */
#ifndef DPT_DATA_HDF5_OUTPUT_H
#define DPT_DATA_HDF5_OUTPUT_H

#include <stdint.h>

#include "dptrain/types.h"

typedef struct dpt_hdf5_output {
    char *path, *partial;  /* the name, and the one it is written under */
    int64_t file, dataset; /* HDF5 handles, -1: none */
    char *dataset_path;    /* of the dataset last started */
    dpt_dtype dtype;
    int ndim;
    int64_t dim[DPT_MAX_NDIM + 1];
} dpt_hdf5_output;

/* Creates the file under its partial name, and the folder that it lies in. On failure nothing needs closing. Local.
 * DPT_ERR_IO: cannot be created (the system's reason). */
dpt_status dpt_hdf5_output_open(dpt_hdf5_output *output, const char *path);
/* Starts the next dataset: contiguous, dim[0] rows; its groups are made. Copies path. Local.
 * DPT_ERR_IO: also where the path exists already. */
dpt_status dpt_hdf5_output_dataset(dpt_hdf5_output *output, const char *path, dpt_dtype dtype, int ndim,
                                   const int64_t *dim);
/* Writes rows [first, first + count) of the dataset last started. Local. DPT_ERR_IO: not written. */
dpt_status dpt_hdf5_output_rows(dpt_hdf5_output *output, int64_t first, int64_t count, const void *data);
/* Makes it durable and gives it its name. Local. DPT_ERR_IO: not written, synced or renamed. */
dpt_status dpt_hdf5_output_commit(dpt_hdf5_output *output);
/* Removes what was not committed. Local. */
void dpt_hdf5_output_close(dpt_hdf5_output *output);

/* Lets one process of all at a time past, for the life of *lock (-1: none, on file systems without locks): a lock on
 * the file "<path>.lock", which is made, with its folder, and stays. Waits. Local.
 * DPT_ERR_IO: it cannot be made. */
dpt_status dpt_path_lock(const char *path, int *lock);
void dpt_path_unlock(int lock);

#endif
