/* make_data.c: writes the HDF5 files that the tests of the command line train on: /train/x, /train/y, /test/x, /test/y,
 * ten classes that a small network learns in an epoch, and, on demand, one fault.
 *
 *   make_data OUT.h5 [train=600] [test=200] [side=6] [test_side=6] [type=u8|f32] [chunk=ROWS] [labels=ROWS]
 *             [label=SAMPLE:VALUE] [value=SAMPLE:nan|inf|NUMBER] [without=/test/y] [numbers=ROWS] [deflate=1]
 *
 * x is [rows, 1, side, side]; /train/image and /test/image, [rows, side, side], hold the same. labels: rows of /train/y
 * where they are not those of /train/x. label, value: of one training sample. numbers: rows of /train/weight (f32; 0
 * for samples 5, 15, 25, ..., else 1, 2, 3, 1, ...) and /train/length (i32; 0 to 99, scattered). The same words give
 * the same bytes. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct wanted {
    const char *file, *type, *label, *value, *without;
    long train, test, side, test_side, chunk, labels, numbers, deflate;
} wanted;

/* Class c lights pixels c, c + 10, c + 20, ...; the rest is weak noise. */
static float pixel(long sample, long place, unsigned *noise) {
    *noise = *noise * 1664525u + 1013904223u;
    unsigned weak = *noise >> 26;
    return (float)(place % 10 == sample % 10 ? 192 + weak : weak);
}

static int put(hid_t file, const wanted *w, const char *path, hid_t type, int ndim, const hsize_t *dim,
               const void *data) {
    if (w->without != NULL && strcmp(w->without, path) == 0) return 0;
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), links = H5Pcreate(H5P_LINK_CREATE);
    hid_t space = H5Screate_simple(ndim, dim, NULL);
    hsize_t chunk[4] = {(hsize_t)w->chunk, dim[1], dim[2], dim[3]};
    H5Pset_create_intermediate_group(links, 1);
    H5Pset_obj_track_times(creation, 0);
    if (w->chunk > 0) H5Pset_chunk(creation, ndim, chunk);
    if (w->chunk > 0 && w->deflate > 0) H5Pset_deflate(creation, 1);
    hid_t set = H5Dcreate2(file, path, type, space, links, creation, H5P_DEFAULT);
    herr_t written = dim[0] > 0 ? H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) : 0;
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
    H5Pclose(creation);
    return set < 0 || written < 0;
}

/* SAMPLE:VALUE in text. */
static void split(const char *text, long *sample, const char **value) {
    char *end = NULL;
    *sample = text ? strtol(text, &end, 10) : -1;
    *value = text && *end == ':' ? end + 1 : "";
}

static int put_images(hid_t file, const wanted *w, const char *part, long rows, long side) {
    char path[64];
    const char *value;
    long faulty, pixels = side * side;
    int as_bytes = strcmp(w->type, "u8") == 0;
    float *x = calloc((size_t)(rows * pixels) + 1, sizeof *x);
    unsigned char *bytes = calloc((size_t)(rows * pixels) + 1, 1);
    if (x == NULL || bytes == NULL) abort();
    unsigned noise = part[1] == 't' && part[2] == 'r' ? 1u : 2u;
    split(noise == 1u ? w->value : NULL, &faulty, &value);
    for (long i = 0; i < rows * pixels; i++) {
        x[i] = pixel(i / pixels, i % pixels, &noise);
        bytes[i] = (unsigned char)x[i];
        x[i] /= 255;
    }
    if (faulty >= 0 && faulty < rows) x[faulty * pixels + pixels / 2] = strtof(value, NULL);
    snprintf(path, sizeof path, "%s/x", part);
    const hsize_t dim[] = {(hsize_t)rows, 1, (hsize_t)side, (hsize_t)side};
    int failed = put(file, w, path, as_bytes ? H5T_STD_U8LE : H5T_IEEE_F32LE, 4, dim, as_bytes ? (void *)bytes : x);
    const hsize_t plane[] = {(hsize_t)rows, (hsize_t)side, (hsize_t)side, 0};
    snprintf(path, sizeof path, "%s/image", part);
    failed |= put(file, w, path, as_bytes ? H5T_STD_U8LE : H5T_IEEE_F32LE, 3, plane, as_bytes ? (void *)bytes : x);
    free(x);
    free(bytes);
    return failed;
}

static int put_labels(hid_t file, const wanted *w, const char *part, long rows, const char *label) {
    char path[64];
    const char *value;
    long faulty;
    unsigned char *y = calloc((size_t)rows + 1, 1);
    if (y == NULL) abort();
    split(label, &faulty, &value);
    for (long i = 0; i < rows; i++) y[i] = (unsigned char)(i % 10);
    if (faulty >= 0 && faulty < rows) y[faulty] = (unsigned char)atoi(value);
    snprintf(path, sizeof path, "%s/y", part);
    const hsize_t dim[] = {(hsize_t)rows, 0, 0, 0};
    int failed = put(file, w, path, H5T_STD_U8LE, 1, dim, y);
    free(y);
    return failed;
}

static int put_numbers(hid_t file, const wanted *w) {
    const hsize_t dim[] = {(hsize_t)w->numbers, 0, 0, 0};
    float *weight = calloc((size_t)w->numbers + 1, sizeof *weight);
    int *length = calloc((size_t)w->numbers + 1, sizeof *length);
    if (weight == NULL || length == NULL) abort();
    for (long i = 0; i < w->numbers; i++) {
        weight[i] = i % 10 == 5 ? 0 : (float)(1 + i % 3);
        length[i] = (int)(i * 37 % 100);
    }
    int failed = w->numbers > 0 && (put(file, w, "/train/weight", H5T_NATIVE_FLOAT, 1, dim, weight) ||
                                    put(file, w, "/train/length", H5T_NATIVE_INT, 1, dim, length));
    free(weight);
    free(length);
    return failed;
}

static int read_word(wanted *w, const char *word) {
    const struct {
        const char *name;
        const char **text;
        long *number;
    } known[] = {{"train=", NULL, &w->train},     {"test=", NULL, &w->test},       {"side=", NULL, &w->side},
                 {"chunk=", NULL, &w->chunk},     {"labels=", NULL, &w->labels},   {"test_side=", NULL, &w->test_side},
                 {"type=", &w->type, NULL},       {"label=", &w->label, NULL},     {"value=", &w->value, NULL},
                 {"without=", &w->without, NULL}, {"numbers=", NULL, &w->numbers}, {"deflate=", NULL, &w->deflate}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].name);
        if (strncmp(word, known[i].name, n) != 0) continue;
        if (known[i].text != NULL)
            *known[i].text = word + n;
        else
            *known[i].number = strtol(word + n, NULL, 10);
        return 0;
    }
    fprintf(stderr, "make_data: unknown word %s\n", word);
    return 1;
}

int main(int argc, char **argv) {
    wanted w = {.type = "u8", .train = 600, .test = 200, .side = 6, .test_side = -1, .labels = -1};
    if (argc < 2) return fprintf(stderr, "usage: make_data OUT.h5 [name=value ...]\n"), 64;
    w.file = argv[1];
    for (int i = 2; i < argc; i++)
        if (read_word(&w, argv[i])) return 64;
    if (w.test_side < 0) w.test_side = w.side;
    if (w.labels < 0) w.labels = w.train;
    hid_t file = H5Fcreate(w.file, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    int failed = file < 0 || put_images(file, &w, "/train", w.train, w.side) ||
                 put_labels(file, &w, "/train", w.labels, w.label) ||
                 put_images(file, &w, "/test", w.test, w.test_side) || put_labels(file, &w, "/test", w.test, NULL) ||
                 put_numbers(file, &w);
    return H5Fclose(file) < 0 || failed;
}
