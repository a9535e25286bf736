/* fuzz_hdf5.c: the index of an HDF5 file. The seeds are written by HDF5 in its oldest format, which has no checksums.
 * HDF5 itself crashes on some damaged files (1.10.8 divides by the size of a chunk that is 0): those are counted. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/index_cache.h"
#include "data/hdf5_util.h"
#include "fuzz.h"

enum { ROWS = 10, ROW = 3 };

dpt_status dpt_fuzz_hdf5(const uint8_t *bytes, size_t size) {
    const char *path = fuzz_file(bytes, size);
    const dpt_field_spec fields[] = {{.name = "x", .path = "/g/x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM},
                                     {.name = "y", .path = "/y", .dtype = DPT_I64, .ndim = 0}};
    dpt_index index = {0};
    dpt_status status = dpt_index_obtain(&path, 1, fields, 2, NULL, &index);
    dpt_index_destroy(&index);
    return status;
}

typedef enum seed_layout { LAYOUT_CONTIGUOUS, LAYOUT_CHUNKS, LAYOUT_FILTERS, LAYOUT_COMPACT, LAYOUTS } seed_layout;

static hid_t properties(seed_layout layout, int ndim) {
    static const hsize_t chunk[] = {4, ROW};
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    if (layout == LAYOUT_COMPACT) H5Pset_layout(p, H5D_COMPACT);
    if (layout == LAYOUT_CHUNKS || layout == LAYOUT_FILTERS) H5Pset_chunk(p, ndim, chunk);
    if (layout == LAYOUT_FILTERS) {
        H5Pset_shuffle(p);
        H5Pset_deflate(p, 4);
        H5Pset_fletcher32(p);
    }
    return p;
}

static void add(hid_t file, const char *path, hid_t type, hid_t memory, int ndim, seed_layout layout,
                const void *data) {
    static const hsize_t dim[] = {ROWS, ROW};
    hid_t p = properties(layout, ndim), space = H5Screate_simple(ndim, dim, NULL);
    hid_t set = H5Dcreate2(file, path, type, space, H5P_DEFAULT, p, H5P_DEFAULT);
    if (set < 0 || H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) abort();
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(p);
}

static void write_file(const char *path, seed_layout layout) {
    int64_t y[ROWS];
    float x[ROWS * ROW];
    for (int i = 0; i < ROWS; i++) y[i] = i;
    for (int i = 0; i < ROWS * ROW; i++) x[i] = (float)i / 4;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "/g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    add(file, "/g/x", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 2, layout, x);
    add(file, "/y", H5T_STD_I64LE, H5T_NATIVE_INT64, 1, layout, y);
    H5Fclose(file);
}

static void seed(fuzz_seeds *seeds) {
    char path[] = "/tmp/dptrain-fuzz-XXXXXX";
    dpt_h5_scope scope;
    dpt_h5_enter(&scope); /* before all other calls of HDF5, as in the library */
    close(mkstemp(path));
    for (int i = 0; i < LAYOUTS; i++) {
        write_file(path, (seed_layout)i);
        fuzz_add_file(seeds, path);
    }
    unlink(path);
    dpt_h5_leave(&scope);
}

const fuzz_target fuzz_this = {
    .name = "hdf5", .inputs = 6000, .run = dpt_fuzz_hdf5, .seed = seed, .fragile = "libhdf5"};
