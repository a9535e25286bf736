/* data_files.h: HDF5 files for the tests of src/data, written by HDF5's own calls on rank 0. */
#ifndef DPT_TESTS_DATA_FILES_H
#define DPT_TESTS_DATA_FILES_H

#include <dirent.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/control.h"
#include "check.h"
#include "data/hdf5_util.h"

typedef enum file_storage { STORE_PLAIN, STORE_CHUNKS, STORE_DEFLATE, STORE_ALL_FILTERS, STORE_COMPACT } file_storage;

/* A path in the test's folder; valid for the next 15 calls. */
static inline const char *file_path(const char *name) {
    static char text[16][400];
    static int next;
    next = (next + 1) % 16;
    snprintf(text[next], sizeof text[next], "%s/%s", check_tmpdir(), name);
    return text[next];
}

static inline hid_t file_create(const char *name) {
    return H5Fcreate(file_path(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
}

static inline hid_t file_properties(file_storage storage, int ndim, const hsize_t *chunk) {
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    if (storage == STORE_COMPACT) H5Pset_layout(p, H5D_COMPACT);
    if (storage >= STORE_CHUNKS && storage <= STORE_ALL_FILTERS) H5Pset_chunk(p, ndim, chunk);
    if (storage == STORE_ALL_FILTERS) H5Pset_shuffle(p);
    if (storage == STORE_DEFLATE || storage == STORE_ALL_FILTERS) H5Pset_deflate(p, 4);
    if (storage == STORE_ALL_FILTERS) H5Pset_fletcher32(p);
    return p;
}

/* Writes data (of the dtype's C type, in C order) as a dataset of the given type on disk; chunks of 7 rows. */
static inline void file_add(hid_t file, const char *path, hid_t disk, dpt_dtype dtype, const void *data, int ndim,
                            const hsize_t *dim, file_storage storage) {
    hsize_t chunk[8];
    for (int i = 0; i < ndim; i++) chunk[i] = dim[i];
    chunk[0] = 7;
    hid_t p = file_properties(storage, ndim, chunk), links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t space = H5Screate_simple(ndim, dim, NULL);
    hid_t set = H5Dcreate2(file, path, disk, space, links, p, H5P_DEFAULT);
    CHECK(set >= 0);
    if (dim[0] > 0) CHECK(H5Dwrite(set, dpt_h5_type(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
    H5Pclose(p);
}

/* What rank 0 wrote is there for all. */
static inline void files_ready(void) { MPI_Barrier(MPI_COMM_WORLD); }

/* Files in the test's folder that were not committed. */
static inline int partial_files(void) {
    DIR *folder = opendir(check_tmpdir());
    int n = 0;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) n += strstr(e->d_name, ".partial") != NULL;
    closedir(folder);
    return n;
}

/* No HDF5 file, group or dataset is left open. */
static inline void check_nothing_open(void) { CHECK_EQ_I64(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0); }

#endif
