/* Imports: IDX to HDF5 and what can be wrong with IDX; one import for many callers; the generated digits; the file that
 * appears whole or not at all. */
#include "data/import.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data/describe.h"
#include "data/digits.h"
#include "data/hdf5_output.h"
#include "data_files.h"

enum { IMAGES = 23, SIDE = 5 };

static dpt_control control;

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

static uint8_t value_at(int64_t i) { return (uint8_t)(i * i * 7 + i); }

/* An IDX file of unsigned bytes, as many values as asked for whatever the header says; gzip if the name ends so. */
static void write_idx(const char *name, int ndim, const int *dim, int64_t values) {
    const char *path = file_path(name);
    gzFile f = gzopen(path, strstr(name, ".gz") ? "wb" : "wbT");
    uint8_t head[4] = {0, 0, 8, (uint8_t)ndim};
    gzwrite(f, head, 4);
    for (int i = 0; i < ndim; i++) {
        uint8_t b[4] = {(uint8_t)(dim[i] >> 24), (uint8_t)(dim[i] >> 16), (uint8_t)(dim[i] >> 8), (uint8_t)dim[i]};
        gzwrite(f, b, 4);
    }
    for (int64_t i = 0; i < values; i++) gzputc(f, value_at(i));
    gzclose(f);
}

static void write_pair(const char *end) {
    char images[40], labels[40];
    snprintf(images, sizeof images, "images%s", end);
    snprintf(labels, sizeof labels, "labels%s", end);
    write_idx(images, 3, (int[]){IMAGES, SIDE, SIDE}, IMAGES * SIDE * SIDE);
    write_idx(labels, 1, (int[]){IMAGES}, IMAGES);
}

static dpt_status import_pair(const char *end, const char *target) {
    char images[40], labels[40];
    snprintf(images, sizeof images, "images%s", end);
    snprintf(labels, sizeof labels, "labels%s", end);
    dpt_import_source sources[] = {{"/train/x", file_path(images), NULL}, {"/train/y", file_path(labels), NULL}};
    return dpt_import_files(sources, 2, file_path(target));
}

static long file_bytes(const char *path, char **bytes) {
    FILE *f = fopen(path, "rb");
    *bytes = NULL;
    if (f == NULL) return -1;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    *bytes = malloc((size_t)n + 1);
    if (fread(*bytes, 1, (size_t)n, f) != (size_t)n) n = -1;
    fclose(f);
    return n;
}

static bool same_bytes(const char *a, const char *b) {
    char *x, *y;
    long n = file_bytes(a, &x), m = file_bytes(b, &y);
    bool same = n > 0 && n == m && memcmp(x, y, (size_t)n) == 0;
    free(x);
    free(y);
    return same;
}

static dpt_dataset *open_pair(const char *target, const char *x, const char *y) {
    const char *path = file_path(target);
    dpt_field_spec fields[] = {{.name = "x", .path = x, .dtype = DPT_F32, .ndim = DPT_ANY_NDIM},
                               {.name = "y", .path = y, .dtype = DPT_I64, .ndim = 0}};
    dpt_dataset *ds = NULL;
    CHECK_OK(dpt_dataset_open(&control, &path, 1, fields, 2, &ds));
    return ds;
}

static void imports(void) {
    write_pair("");
    write_pair(".gz");
    CHECK_OK(import_pair("", "new/folder/plain.h5"));
    CHECK_OK(import_pair(".gz", "gzip.h5"));
    CHECK(same_bytes(file_path("new/folder/plain.h5"), file_path("gzip.h5")));
    dpt_dataset *ds = open_pair("gzip.h5", "/train/x", "/train/y");
    if (ds == NULL) return;
    const dpt_field *x = dpt_dataset_field(ds, 0);
    CHECK(dpt_stored_is(x->stored, DPT_U8) && x->ndim == 3 && x->dim[0] == 1 && x->dim[1] == SIDE && x->dim[2] == SIDE);
    CHECK_EQ_I64(dpt_dataset_rows(ds), IMAGES);
    uint8_t images[IMAGES * SIDE * SIDE], labels[IMAGES];
    CHECK_OK(dpt_dataset_read(ds, 0, 0, IMAGES, images));
    CHECK_OK(dpt_dataset_read(ds, 1, 0, IMAGES, labels));
    int wrong = 0;
    for (int i = 0; i < IMAGES * SIDE * SIDE; i++) wrong += images[i] != value_at(i);
    for (int i = 0; i < IMAGES; i++) wrong += labels[i] != value_at(i);
    CHECK_EQ_I64(wrong, 0);
    dpt_dataset_close(&ds);
    CHECK_EQ_I64(partial_files(), 0);
    dpt_description *all; /* each dataset tells the checksum of its values */
    int64_t count;
    if (!CHECK_OK(dpt_describe(file_path("gzip.h5"), &all, &count)) || !CHECK_EQ_I64(count, 2)) return;
    CHECK(all[0].has_checksum && all[0].checksum == dpt_hash(images, sizeof images, 0));
    CHECK(all[1].has_checksum && all[1].checksum == dpt_hash(labels, sizeof labels, 0));
    dpt_describe_free(all, count);
}

static void same_bytes_another_day(void) {
    sleep(2); /* times of objects have seconds */
    CHECK_OK(import_pair(".gz", "later.h5"));
    CHECK(same_bytes(file_path("later.h5"), file_path("gzip.h5")));
}

static void leaves_existing_target(void) {
    FILE *f = fopen(file_path("there.h5"), "w");
    fputs("mine", f);
    fclose(f);
    CHECK_OK(import_pair("", "there.h5"));
    char *bytes;
    CHECK_EQ_I64(file_bytes(file_path("there.h5"), &bytes), 4);
    free(bytes);
}

/* Every piece is told of, in order, to the last row. */
typedef struct seen_rows {
    const char *dataset;
    int64_t done, rows, calls, wrong;
} seen_rows;

static void see_rows(void *user, const dpt_import_progress *now) {
    seen_rows *seen = user;
    seen->wrong += now->rows <= seen->done || strcmp(now->source->dataset, seen->dataset) != 0;
    seen->wrong += now->bytes != 1000 * now->rows || now->all_bytes != 1000 * now->all_rows || now->kept_rows != 0;
    seen->done = now->rows;
    seen->rows = now->all_rows;
    seen->calls++;
}

static void tells_of_rows(void) {
    enum { ROWS = 3000, BYTES = 1000 };
    write_idx("long_rows.idx", 2, (int[]){ROWS, BYTES}, ROWS * BYTES);
    dpt_import_source source = {"/long", file_path("long_rows.idx"), NULL};
    seen_rows seen = {.dataset = "/long"};
    CHECK_OK(dpt_import_files_with(&(dpt_import_options){.watch = see_rows, .user = &seen}, &source, 1,
                                   file_path("told.h5")));
    CHECK(seen.wrong == 0 && seen.done == ROWS && seen.rows == ROWS);
    CHECK_EQ_I64(seen.calls, 3); /* pieces of a MiB */
}

static void copy_cut(const char *from, const char *to, long less) {
    char *bytes;
    long n = file_bytes(file_path(from), &bytes);
    FILE *f = fopen(file_path(to), "wb");
    CHECK(n > less && fwrite(bytes, 1, (size_t)(n - less), f) == (size_t)(n - less));
    fclose(f);
    free(bytes);
}

static void refuse(const char *idx, dpt_status code, const char *text) {
    dpt_import_source source = {"/x", file_path(idx), NULL};
    const char *target = file_path("bad.h5");
    CHECK_FAILS(dpt_import_files(&source, 1, target), code, text);
    if (strstr(dpt_last_error(), idx) == NULL) CHECK_EQ_TEXT(dpt_last_error(), idx);
    CHECK(access(target, F_OK) != 0 && partial_files() == 0);
}

static void write_head(const char *name, const char *bytes, size_t n) {
    FILE *f = fopen(file_path(name), "wb");
    CHECK(fwrite(bytes, 1, n, f) == n);
    fclose(f);
}

static void bad_sources(void) {
    refuse("none.idx", DPT_ERR_IO, "none.idx: No such file or directory");
    write_head("text.idx", "hello, world", 12);
    refuse("text.idx", DPT_ERR_DATA, "text.idx: not an IDX file");
    write_head("empty.idx", "", 0);
    refuse("empty.idx", DPT_ERR_DATA, "empty.idx: not an IDX file");
    write_head("float.idx", "\0\0\x0D\1\0\0\0\1abcd", 12);
    refuse("float.idx", DPT_ERR_UNSUPPORTED, "IDX type 0x0d (32-bit floats) are not supported");
    write_head("head.idx", "\0\0\x08\3\0\0\0\1\0\0", 10);
    refuse("head.idx", DPT_ERR_DATA, "truncated in its header: 10 bytes of 16");
    write_head("axes.idx", "\0\0\x08\x09", 4);
    refuse("axes.idx", DPT_ERR_DATA, "9 axes; 1 to 8 are possible");
    write_head("huge.idx", "\0\0\x08\4\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 20);
    refuse("huge.idx", DPT_ERR_DATA, "declares more than 2^63 bytes");
    const int beyond_disks[] = {1 << 30, 1 << 20, 1 << 9};
    write_idx("beyond.idx", 3, beyond_disks, 100);
    refuse("beyond.idx", DPT_ERR_DATA, "truncated: 100 bytes of values, its header says 576460752303423488");
    write_idx("beyond.idx.gz", 3, beyond_disks, 100);
    refuse("beyond.idx.gz", DPT_ERR_DATA, "declares 576460752303423488 bytes of values, which its ");
    write_idx("zero.idx", 2, (int[]){3, 0}, 0);
    refuse("zero.idx", DPT_ERR_DATA, "axis 1 has size 0");
    write_idx("short.idx", 2, (int[]){10, 6}, 59);
    refuse("short.idx", DPT_ERR_DATA, "truncated: 59 bytes of values, its header says 60");
    write_idx("short.idx.gz", 2, (int[]){10, 6}, 59);
    refuse("short.idx.gz", DPT_ERR_DATA, "truncated: 59 bytes of values, its header says 60");
    write_idx("long.idx", 2, (int[]){10, 6}, 61);
    refuse("long.idx", DPT_ERR_DATA, "goes on after the 60 bytes of values");
    write_idx("long.idx.gz", 2, (int[]){10, 6}, 61);
    refuse("long.idx.gz", DPT_ERR_DATA, "goes on after the 60 bytes of values");
    write_idx("whole.idx.gz", 2, (int[]){100, 60}, 6000);
    copy_cut("whole.idx.gz", "cut.idx.gz", 30);
    refuse("cut.idx.gz", DPT_ERR_DATA, "the compressed stream ends early");
    copy_cut("whole.idx.gz", "end.idx.gz", 3);
    refuse("end.idx.gz", DPT_ERR_DATA, "the compressed stream ends early");
    write_head("what.bin", "1,2,3\n", 6);
    refuse("what.bin", DPT_ERR_DATA, "what.bin: of no known format");
    dpt_import_source part = {"/x", file_path("labels"), "images"};
    CHECK_FAILS(dpt_import_files(&part, 1, file_path("bad.h5")), DPT_ERR_CONFIG, "an IDX file has no parts");
    char *bytes;
    long n = file_bytes(file_path("whole.idx.gz"), &bytes);
    bytes[n - 6] ^= 1; /* its checksum */
    write_head("flip.idx.gz", bytes, (size_t)n);
    free(bytes);
    refuse("flip.idx.gz", DPT_ERR_DATA, "damaged");
}

static void bad_targets(void) {
    dpt_import_source source = {"/y", file_path("labels"), NULL}, twice[] = {source, source};
    CHECK_FAILS(dpt_import_files(&source, 1, file_path("labels/x.h5")), DPT_ERR_IO,
                "labels/x.h5.lock: Not a directory");
    CHECK_FAILS(dpt_import_files(&source, 1, "/proc/none/x.h5"), DPT_ERR_IO, "/proc/none: No such file or directory");
    CHECK_FAILS(dpt_import_files(twice, 2, file_path("twice.h5")), DPT_ERR_CONFIG, "/y: asked for twice");
    twice[1].dataset = "y"; /* the same to HDF5 */
    CHECK_FAILS(dpt_import_files(twice, 2, file_path("twice.h5")), DPT_ERR_CONFIG, "/y: asked for twice");
    twice[1].dataset = "/y/z";
    CHECK_FAILS(dpt_import_files(twice, 2, file_path("twice.h5")), DPT_ERR_CONFIG,
                "/y/z: cannot lie in /y, which is a dataset");
    static const char *const no_names[] = {"", "/", "/x/", "//x", "a//b", "./x", "/a/../x", ".."};
    for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++) {
        const dpt_import_source unnamed = {no_names[i], file_path("labels"), NULL};
        CHECK_FAILS(dpt_import_files(&unnamed, 1, file_path("named.h5")), DPT_ERR_CONFIG, "is no name of a dataset");
    }
    CHECK_FAILS(dpt_import_files(&source, 1, check_tmpdir()), DPT_ERR_CONFIG, "a folder; the target");
    CHECK_FAILS(dpt_import_files(&source, 1, file_path("new/")), DPT_ERR_CONFIG, "a folder; the target");
    CHECK_FAILS(dpt_import_files(&source, 0, file_path("none.h5")), DPT_ERR_ARG, "an import of no files");
    dpt_import_source second[] = {{"/long", file_path("long_rows.idx"), NULL}, {"/x", file_path("none.idx"), NULL}};
    seen_rows seen = {.dataset = "/long"};
    CHECK_FAILS(dpt_import_files_with(&(dpt_import_options){.watch = see_rows, .user = &seen}, second, 2,
                                      file_path("second.h5")),
                DPT_ERR_IO, "none.idx: No such file");
    CHECK(partial_files() == 0 && seen.calls == 0);
}

static void out_of_memory(void) {
    int failures = 0;
    for (int64_t n = 1; n < 200; n++) {
        dpt_alloc_fail_at(n);
        dpt_status status = import_pair("", "memory.h5");
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY && access(file_path("memory.h5"), F_OK) != 0 && partial_files() == 0);
        failures++;
    }
    CHECK(failures > 8 && failures < 199);
}

static void output_of_every_type(void) {
    dpt_hdf5_output out;
    double d[12];
    float f[12];
    int32_t i[12];
    int64_t l[12];
    uint8_t u[12];
    for (int k = 0; k < 12; k++)
        d[k] = k / 4.0, f[k] = (float)k / 8, i[k] = -k, l[k] = (int64_t)k << 40, u[k] = (uint8_t)k;
    const void *data[] = {f, d, u, i, l};
    CHECK_OK(dpt_hdf5_output_open(&out, file_path("types.h5"), file_path("types.h5.partial")));
    for (int t = 0; t < DPT_I64 + 1; t++) {
        size_t half = 6 * dpt_dtype_size((dpt_dtype)t);
        CHECK_OK(dpt_hdf5_output_dataset(&out, dpt_dtype_text((dpt_dtype)t), (dpt_dtype)t, 2, (int64_t[]){4, 3}));
        CHECK_OK(dpt_hdf5_output_rows(&out, 2, 2, (const char *)data[t] + half));
        CHECK_OK(dpt_hdf5_output_rows(&out, 0, 2, data[t]));
        CHECK_FAILS(dpt_hdf5_output_rows(&out, 3, 2, data[t]), DPT_ERR_IO, "rows 3 to 4");
    }
    CHECK(access(file_path("types.h5"), F_OK) != 0 && partial_files() == 1);
    CHECK_OK(dpt_hdf5_output_commit(&out));
    dpt_hdf5_output_close(&out);
    for (int t = 0; t < DPT_I64 + 1; t++) {
        const char *path = file_path("types.h5");
        dpt_field_spec spec = {
            .name = "v", .path = dpt_dtype_text((dpt_dtype)t), .dtype = DPT_F64, .ndim = 1, .dim = {3}};
        dpt_dataset *ds;
        char back[12 * 8];
        if (!CHECK_OK(dpt_dataset_open(&control, &path, 1, &spec, 1, &ds))) continue;
        CHECK_OK(dpt_dataset_read(ds, 0, 0, 4, back));
        CHECK(memcmp(back, data[t], 12 * dpt_dtype_size((dpt_dtype)t)) == 0);
        dpt_dataset_close(&ds);
    }
    CHECK_OK(dpt_hdf5_output_open(&out, file_path("dropped.h5"), file_path("dropped.h5.partial")));
    dpt_hdf5_output_close(&out);
    CHECK(access(file_path("dropped.h5"), F_OK) != 0 && partial_files() == 0);
}

/* Known of the set: 10 classes, 6000 and 1000 of each; and every byte as zlib reads it. */
static void check_fashion(const char *split, const char *idx, int64_t rows) {
    char x[20], y[20], path[200];
    snprintf(x, sizeof x, "/%s/x", split);
    snprintf(y, sizeof y, "/%s/y", split);
    snprintf(path, sizeof path, "/usr/share/datasets/fashion-mnist/%s-images-idx3-ubyte.gz", idx);
    dpt_dataset *ds = open_pair("fashion.h5", x, y);
    if (ds == NULL) return;
    size_t n = (size_t)rows * 784;
    uint8_t *label = malloc((size_t)rows), *image = malloc(n), *source = malloc(n + 16);
    CHECK_EQ_I64(dpt_dataset_rows(ds), rows);
    CHECK_OK(dpt_dataset_read(ds, 1, 0, (uint64_t)rows, label));
    CHECK_OK(dpt_dataset_read(ds, 0, 0, (uint64_t)rows, image));
    int64_t of[256] = {0};
    for (int64_t i = 0; i < rows; i++) of[label[i]]++;
    for (int c = 0; c < 10; c++) CHECK_EQ_I64(of[c], rows / 10);
    gzFile f = gzopen(path, "rb");
    CHECK_EQ_I64(gzread(f, source, (unsigned)n + 16), n + 16);
    gzclose(f);
    CHECK(memcmp(source + 16, image, n) == 0);
    free(label);
    free(image);
    free(source);
    dpt_dataset_close(&ds);
}

static void fashion_mnist(void) {
    CHECK(!dpt_import_fashion_mnist_available(check_tmpdir()));
    CHECK_FAILS(dpt_import_fashion_mnist(check_tmpdir(), file_path("no.h5")), DPT_ERR_IO,
                "train-images-idx3-ubyte.gz: No such");
    if (!dpt_import_fashion_mnist_available(NULL)) {
        fprintf(stderr, "dataset-fashion-mnist is not installed: its import is not tested\n");
        return;
    }
    CHECK_OK(dpt_import_fashion_mnist(NULL, file_path("fashion.h5")));
    check_fashion("train", "train", 60000);
    check_fashion("test", "t10k", 10000);
}

/* The digits can be told apart, but not trivially: the nearest class mean of the training set is right on most of the
 * test set, and not on all. */
static void check_learnable(const dpt_dataset *train, const dpt_dataset *test) {
    static double mean[10][784], count[10];
    enum { TEST = DPT_DIGITS_TEST };
    uint8_t *image = malloc((size_t)DPT_DIGITS_TRAIN * 784), *label = malloc(DPT_DIGITS_TRAIN);
    CHECK_OK(dpt_dataset_read(train, 0, 0, DPT_DIGITS_TRAIN, image));
    CHECK_OK(dpt_dataset_read(train, 1, 0, DPT_DIGITS_TRAIN, label));
    for (int64_t i = 0; i < DPT_DIGITS_TRAIN; i++) {
        count[label[i]]++;
        for (int p = 0; p < 784; p++) mean[label[i]][p] += image[i * 784 + p];
    }
    for (int c = 0; c < 10; c++) { /* five standard deviations of a fair draw */
        CHECK(fabs(count[c] - DPT_DIGITS_TRAIN / 10.0) < 5 * sqrt(DPT_DIGITS_TRAIN * 0.09));
        for (int p = 0; p < 784; p++) mean[c][p] /= count[c];
    }
    CHECK_OK(dpt_dataset_read(test, 0, 0, TEST, image));
    CHECK_OK(dpt_dataset_read(test, 1, 0, TEST, label));
    int right = 0;
    for (int64_t i = 0; i < TEST; i++) {
        int best = 0;
        double least = INFINITY;
        for (int c = 0; c < 10; c++) {
            double d = 0;
            for (int p = 0; p < 784; p++) d += (mean[c][p] - image[i * 784 + p]) * (mean[c][p] - image[i * 784 + p]);
            if (d < least) least = d, best = c;
        }
        right += best == label[i];
    }
    check_that(right > TEST / 2 && right < TEST * 9 / 10, __FILE__, __LINE__, "%d of %d", right, TEST);
    free(image);
    free(label);
}

static void digits(void) {
    CHECK_OK(dpt_digits_write(file_path("digits.h5")));
    dpt_dataset *train = open_pair("digits.h5", "/train/x", "/train/y"),
                *test = open_pair("digits.h5", "/test/x", "/test/y");
    if (train && test) {
        CHECK_EQ_I64(dpt_dataset_rows(train), DPT_DIGITS_TRAIN);
        CHECK_EQ_I64(dpt_dataset_rows(test), DPT_DIGITS_TEST);
        const dpt_field *x = dpt_dataset_field(test, 0);
        CHECK(x->ndim == 3 && x->dim[0] == 1 && x->dim[1] == 28 && x->dim[2] == 28 && dpt_stored_is(x->stored, DPT_U8));
        uint8_t drawn[784], stored[784], label;
        for (uint64_t i = 0; i < DPT_DIGITS_TEST; i += 997) {
            uint8_t digit = dpt_digits_draw("test", i, drawn);
            CHECK_OK(dpt_dataset_read(test, 0, i, 1, stored));
            CHECK_OK(dpt_dataset_read(test, 1, i, 1, &label));
            CHECK(digit == label && memcmp(drawn, stored, 784) == 0);
            dpt_digits_draw("train", i, drawn);
            CHECK(memcmp(drawn, stored, 784) != 0);
        }
        check_learnable(train, test);
    }
    dpt_dataset_close(&train);
    dpt_dataset_close(&test);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "import", {"start", start}, {"imports", imports},
                      {"same_bytes_another_day", same_bytes_another_day},
                      {"leaves_existing_target", leaves_existing_target}, {"tells_of_rows", tells_of_rows},
                      {"bad_sources", bad_sources}, {"bad_targets", bad_targets}, {"out_of_memory", out_of_memory},
                      {"output_of_every_type", output_of_every_type}, {"fashion_mnist", fashion_mnist},
                      {"digits", digits}, {"stop", stop});
}
