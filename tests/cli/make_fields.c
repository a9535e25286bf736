/* make_fields.c: writes an HDF5 file of several inputs and two targets, which follow from formulas:
 *
 *   make_fields OUT.h5 [kinds=ROWS]
 *
 * Of sample n, of 960 in /train and 240 in /test: u [4] f32 = n (2j + 3) mod 16, so each value of 0 to 15 comes as
 * often as another; kind i32 = n mod 5; place f64 = u[0] / 10; field [2,3] f32 = n mod 16 in the first row, 7 in the
 * second; flux f32 = (u[0] - u[2]) / 10 + {0, 1, -1, 0.5, 2}[kind]; regime u8 = 0 where u[0] < 8, else 1, or 2 for
 * kinds 3 and 4; walk f32, the steps of all samples one after another, 1 + n mod 4 (in /test 3) steps of n mod 16,
 * begin i64 [rows + 1], where they begin, and total f32, a tenth of their sum. kind and place have no dimension besides
 * samples. kinds: rows of /train/kind where they are not those of the others. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRAIN = 960, TEST = 240 };

static int u(int n, int j) { return n * (2 * j + 3) % 16; }
static double flux(int n) {
    static const double of_kind[] = {0, 1, -1, 0.5, 2};
    return (u(n, 0) - u(n, 2)) / 10.0 + of_kind[n % 5];
}
static int regime(int n) { return u(n, 0) < 8 ? 0 : 1 + (n % 5 >= 3); }

/* HDF5 converts to the type in the file. */
static int put(hid_t file, const char *part, const char *name, hid_t type, int ndim, const hsize_t *dim,
               const double *data) {
    char path[64];
    snprintf(path, sizeof path, "/%s/%s", part, name);
    hid_t links = H5Pcreate(H5P_LINK_CREATE), space = H5Screate_simple(ndim, dim, NULL);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(file, path, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    herr_t written = H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
    return set < 0 || written < 0;
}

static int steps_of(int rows, int n) { return 1 + n % (rows == TRAIN ? 4 : 3); }

static int put_walk(hid_t file, const char *part, int rows) {
    static double v[TRAIN * 4], begin[TRAIN + 1];
    int steps = 0;
    for (int n = 0; n < rows; n++) {
        begin[n] = steps;
        for (int k = 0; k < steps_of(rows, n); k++) v[steps++] = n % 16;
    }
    begin[rows] = steps;
    const hsize_t all[] = {(hsize_t)steps}, more[] = {(hsize_t)rows + 1};
    return put(file, part, "walk", H5T_IEEE_F32LE, 1, all, v) | put(file, part, "begin", H5T_STD_I64LE, 1, more, begin);
}

static int put_part(hid_t file, const char *part, int rows, int kinds) {
    static double v[TRAIN * 6];
    const hsize_t one[] = {(hsize_t)rows}, four[] = {(hsize_t)rows, 4}, six[] = {(hsize_t)rows, 2, 3};
    const hsize_t some[] = {(hsize_t)kinds};
    int failed = 0;
    for (int n = 0; n < rows * 4; n++) v[n] = u(n / 4, n % 4);
    failed |= put(file, part, "u", H5T_IEEE_F32LE, 2, four, v);
    for (int n = 0; n < rows * 6; n++) v[n] = n % 6 < 3 ? n / 6 % 16 : 7;
    failed |= put(file, part, "field", H5T_IEEE_F32BE, 3, six, v);
    for (int n = 0; n < rows; n++) v[n] = n % 5;
    failed |= put(file, part, "kind", H5T_STD_I32LE, 1, some, v);
    for (int n = 0; n < rows; n++) v[n] = u(n, 0) / 10.0;
    failed |= put(file, part, "place", H5T_IEEE_F64LE, 1, one, v);
    for (int n = 0; n < rows; n++) v[n] = flux(n);
    failed |= put(file, part, "flux", H5T_IEEE_F32LE, 1, one, v);
    for (int n = 0; n < rows; n++) v[n] = steps_of(rows, n) * (n % 16) / 10.0;
    failed |= put(file, part, "total", H5T_IEEE_F32LE, 1, one, v);
    for (int n = 0; n < rows; n++) v[n] = regime(n);
    return failed | put(file, part, "regime", H5T_STD_U8LE, 1, one, v) | put_walk(file, part, rows);
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: make_fields OUT.h5 [kinds=ROWS]\n"), 64;
    int kinds = argc > 2 && strncmp(argv[2], "kinds=", 6) == 0 ? atoi(argv[2] + 6) : TRAIN;
    if (kinds < 1 || kinds > TRAIN) return 64;
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    int failed = file < 0 || put_part(file, "train", TRAIN, kinds) || put_part(file, "test", TEST, TEST);
    return H5Fclose(file) < 0 || failed;
}
