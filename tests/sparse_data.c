/* sparse_data.c: writes an HDF5 file with a large dataset of zeros that takes no room on a disk: one that is not
 * written at all (a hole in the file), or in chunks that all hold the same deflated bytes.
 *
 *   sparse_data OUT.h5 ROWS ELEMENTS [CHUNK_ROWS]
 *
 * /train/x [ROWS, ELEMENTS] f32, /train/y [ROWS] u8, /test/x [100, ELEMENTS], /test/y; with CHUNK_ROWS, which divides
 * ROWS, /train/x is deflated. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

static hid_t add(hid_t file, const char *path, hid_t type, int ndim, const hsize_t *dim, hsize_t chunk_rows) {
    hid_t p = H5Pcreate(H5P_DATASET_CREATE), links = H5Pcreate(H5P_LINK_CREATE),
          space = H5Screate_simple(ndim, dim, NULL);
    hsize_t chunk[2] = {chunk_rows, dim[1]};
    H5Pset_create_intermediate_group(links, 1);
    H5Pset_fill_time(p, H5D_FILL_TIME_NEVER);
    if (chunk_rows == 0) H5Pset_alloc_time(p, H5D_ALLOC_TIME_EARLY);
    if (chunk_rows > 0) H5Pset_chunk(p, ndim, chunk);
    if (chunk_rows > 0) H5Pset_deflate(p, 1);
    hid_t set = H5Dcreate2(file, path, type, space, links, p, H5P_DEFAULT);
    H5Sclose(space);
    H5Pclose(links);
    H5Pclose(p);
    return set;
}

/* Every chunk of a dataset. */
static int fill(hid_t set, const hsize_t *dim, hsize_t chunk_rows) {
    uLong bytes = (uLong)(chunk_rows * dim[1] * sizeof(float)), room = compressBound(bytes);
    unsigned char *zeros = calloc(bytes, 1), *packed = malloc(room);
    int failed = zeros == NULL || packed == NULL || compress2(packed, &room, zeros, bytes, 1) != Z_OK;
    for (hsize_t row = 0; !failed && row < dim[0]; row += chunk_rows)
        failed = H5Dwrite_chunk(set, H5P_DEFAULT, 0, (hsize_t[]){row, 0}, room, packed) < 0;
    free(zeros);
    free(packed);
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5) return fprintf(stderr, "usage: sparse_data OUT.h5 ROWS ELEMENTS [CHUNK_ROWS]\n"), 64;
    hsize_t train[] = {strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10)}, test[] = {100, train[1]};
    hsize_t chunk_rows = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t x = add(file, "/train/x", H5T_IEEE_F32LE, 2, train, chunk_rows);
    int failed = x < 0 || (chunk_rows > 0 && fill(x, train, chunk_rows));
    hid_t others[] = {x, add(file, "/train/y", H5T_STD_U8LE, 1, train, 0),
                      add(file, "/test/x", H5T_IEEE_F32LE, 2, test, 0), add(file, "/test/y", H5T_STD_U8LE, 1, test, 0)};
    for (int i = 0; i < 4; i++) failed |= H5Dclose(others[i]) < 0;
    return failed | (H5Fclose(file) < 0) ? 1 : 0;
}
