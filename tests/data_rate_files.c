/* data_rate_files.c: see data_rate_files.h. Values repeat with the period of a block, so that writing is quick; deflate
 * makes about a third of them. */
#include "data_rate_files.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 32, IMAGE = 3 * 224 * 224 };

typedef struct layout {
    const char *name;
    int share;    /* of the wanted size: one over it */
    bool chunked; /* in chunks of CHUNK rows */
    int cut;      /* chunks along a row */
    int deflate;
} layout;

static const layout layouts[RATE_FILE_COUNT] = {
    [RATE_CONTIGUOUS] = {"contiguous", 1, false, 0, 0},
    [RATE_CHUNKED] = {"chunked", 1, true, 1, 0},
    [RATE_CUT] = {"cut", 4, true, 2, 0},
    [RATE_DEFLATED] = {"deflated", 8, true, 1, 4},
    [RATE_IMAGES] = {"images", 2, false, 0, 0},
};

void rate_file_path(const char *folder, rate_file file, char *path, size_t bytes) {
    snprintf(path, bytes, "%s/%s.h5", folder, layouts[file].name);
}

/* CHUNK rows of what the file holds, over and over. */
static void *make_values(rate_file file, size_t elements) {
    uint32_t state = 1;
    size_t n = CHUNK * elements;
    float *values = malloc(n * sizeof *values);
    for (size_t i = 0; values && i < n; i++) {
        state = state * 1664525 + 1013904223;
        if (file == RATE_IMAGES)
            ((unsigned char *)values)[i] = (unsigned char)(state >> 24);
        else
            values[i] = (float)(i % elements / 64 % 7) + (float)(state >> 28) / 16;
    }
    return values;
}

static bool write_file(const char *path, rate_file file, const rate_sizes *sizes) {
    const layout *l = &layouts[file];
    bool images = file == RATE_IMAGES;
    hsize_t width = images ? IMAGE : (hsize_t)sizes->width, row_bytes = images ? IMAGE : 4 * width;
    hsize_t rows = ((hsize_t)sizes->mib << 20) / (hsize_t)l->share / row_bytes / CHUNK * CHUNK;
    const hsize_t dim[] = {rows, images ? 3 : width, 224, 224}, piece[] = {CHUNK, dim[1], 224, 224};
    const hsize_t chunk[] = {CHUNK, l->cut ? width / (hsize_t)l->cut : width};
    int ndim = images ? 4 : 2;
    hid_t type = images ? H5T_STD_U8LE : H5T_IEEE_F32LE;
    void *values = make_values(file, width);
    hid_t h5 = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(ndim, dim, NULL);
    hid_t p = H5Pcreate(H5P_DATASET_CREATE), memory = H5Screate_simple(ndim, piece, NULL);
    if (l->chunked) H5Pset_chunk(p, ndim, chunk);
    if (l->deflate) H5Pset_deflate(p, (unsigned)l->deflate);
    hid_t set = H5Dcreate2(h5, "x", type, space, H5P_DEFAULT, p, H5P_DEFAULT);
    bool fine = values != NULL && rows > 0;
    for (hsize_t row = 0; fine && row < rows; row += CHUNK) {
        const hsize_t first[] = {row, 0, 0, 0};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, first, NULL, piece, NULL);
        fine = H5Dwrite(set, type, memory, space, H5P_DEFAULT, values) >= 0;
    }
    H5Sclose(memory);
    H5Dclose(set);
    H5Pclose(p);
    H5Sclose(space);
    free(values);
    return H5Fclose(h5) >= 0 && fine;
}

dpt_dataset *rate_file_open(const char *path, rate_file file, const rate_sizes *sizes) {
    const dpt_control alone = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1};
    const dpt_field_spec spec = {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};
    dpt_dataset *dataset = NULL;
    if (access(path, R_OK) != 0 && !write_file(path, file, sizes)) {
        dpt_error(DPT_ERR_IO, "the file could not be written");
        return NULL;
    }
    dpt_dataset_open(&alone, &path, 1, &spec, 1, &dataset);
    return dataset;
}

void rate_read_hdf5(const char *path) {
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, "x", H5P_DEFAULT);
    hid_t space = H5Dget_space(set);
    hsize_t dim[2] = {0};
    H5Sget_simple_extent_dims(space, dim, NULL);
    const hsize_t size[] = {CHUNK, dim[1]};
    hid_t memory = H5Screate_simple(2, size, NULL);
    float *rows = malloc(sizeof(float) * CHUNK * dim[1]);
    for (hsize_t row = 0; row < dim[0]; row += CHUNK) {
        const hsize_t first[] = {row, 0};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, first, NULL, size, NULL);
        if (rows == NULL || H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, rows) < 0) {
            fprintf(stderr, "data_rate: H5Dread failed at row %llu\n", (unsigned long long)row);
            exit(70);
        }
    }
    free(rows);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
}
