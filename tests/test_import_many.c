/* Imports of many files, one of them broken, by several ranks; and of more than there is memory for. */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "data/import.h"
#include "data_files.h"
#include "image_files.h"
#include "log_heard.h"

static dpt_control control;
static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

enum { IMAGES = 10000, CLASSES = 4, SIDE = 24, PICTURES = 7 };

static void picture_path(char *path, size_t bytes, int i) {
    snprintf(path, bytes, "%s/photos/%d/%s%d.%s", check_tmpdir(), i % CLASSES, i % 3 ? "" : "deep/er/", i,
             i % 2 ? "png" : "PNG");
}

/* Links to a few files. */
static void write_pictures(void) {
    static image_bytes file;
    uint8_t pixel[SIDE * SIDE];
    char path[500];
    mkdir(file_path("photos"), 0777);
    for (int c = 0; c < CLASSES; c++)
        for (int deep = 0; deep < 3; deep++) {
            snprintf(path, sizeof path, "%s/photos/%d/%s", check_tmpdir(), c,
                     deep == 0   ? ""
                     : deep == 1 ? "deep"
                                 : "deep/er");
            mkdir(path, 0777);
        }
    for (int i = 0; i < PICTURES; i++) {
        memset(pixel, i * 30, sizeof pixel);
        png_write(&file, (png_kind){.type = PNG_COLOR_TYPE_GRAY, .depth = 8}, SIDE, SIDE, pixel);
        char name[20];
        snprintf(name, sizeof name, "picture%d", i);
        FILE *f = fopen(file_path(name), "wb");
        CHECK(fwrite(file.at, 1, file.size, f) == file.size);
        fclose(f);
    }
    int made = 0;
    for (int i = 0; i < IMAGES; i++) {
        char name[20];
        snprintf(name, sizeof name, "picture%d", i % PICTURES);
        picture_path(path, sizeof path, i);
        made += link(file_path(name), path) == 0;
    }
    CHECK_EQ_I64(made, IMAGES);
}

static void break_one(int i) {
    char path[500];
    picture_path(path, sizeof path, i);
    unlink(path);
    FILE *f = fopen(path, "wb");
    fputs("\x89PNG\r\n\x1a\n", f);
    fclose(f);
}

/* Whatever the order, a picture is the one that its class and number say: each value as often as it was linked. */
static void check_pictures(const char *target, int64_t rows) {
    hid_t file = H5Fopen(file_path(target), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t x = H5Dopen2(file, "/x", H5P_DEFAULT), y = H5Dopen2(file, "/y", H5P_DEFAULT);
    uint8_t *image = malloc((size_t)IMAGES * SIDE * SIDE);
    int32_t *label = malloc(IMAGES * sizeof *label), wrong = 0, of[CLASSES] = {0}, shown[PICTURES] = {0};
    hid_t space = H5Dget_space(x);
    CHECK_EQ_I64(H5Sget_simple_extent_npoints(space), rows * SIDE * SIDE);
    CHECK(H5Dread(x, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, image) >= 0);
    CHECK(H5Dread(y, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, label) >= 0);
    for (int64_t i = 0; i < rows; i++) {
        of[label[i] & 3]++;
        shown[image[i * SIDE * SIDE] / 30 % PICTURES]++;
        for (int k = 0; k < SIDE * SIDE; k++) wrong += image[i * SIDE * SIDE + k] != image[i * SIDE * SIDE];
        wrong += i > 0 && label[i] < label[i - 1];
    }
    CHECK_EQ_I64(wrong, 0);
    for (int c = 0; c < CLASSES; c++) CHECK(of[c] == IMAGES / CLASSES || of[c] == IMAGES / CLASSES - 1);
    for (int p = 0; p < PICTURES; p++) CHECK(shown[p] >= IMAGES / PICTURES - 1 && shown[p] <= IMAGES / PICTURES + 1);
    H5Aclose(H5Aopen(y, "classes", H5P_DEFAULT));
    H5Sclose(space);
    H5Dclose(x);
    H5Dclose(y);
    H5Fclose(file);
    free(image);
    free(label);
}

/* One broken picture among ten thousand is named; it is left out, and counted, where that is asked for. */
static void ten_thousand(void) {
    char photos[400];
    snprintf(photos, sizeof photos, "%s", file_path("photos"));
    const dpt_import_source plain[] = {{"/x", photos, "images"}, {"/y", photos, "labels"}};
    const dpt_import_source skip[] = {{"/x", photos, "images:skip=yes"}, {"/y", photos, "labels:skip=yes"}};
    const dpt_import_options options = {.control = &control};
    if (check_world() == 1) return;
    if (check_rank() == 0) write_pictures();
    files_ready();
    CHECK_OK(dpt_import_files_with(&options, plain, 2, file_path("photos.h5")));
    files_ready();
    if (check_rank() == 0) {
        check_pictures("photos.h5", IMAGES);
        break_one(7777);
    }
    files_ready();
    CHECK_FAILS(dpt_import_files_with(&options, plain, 2, file_path("broken.h5")), DPT_ERR_DATA,
                "photos/1/7777.png: broken PNG: ");
    said[0] = 0;
    CHECK_OK(dpt_import_files_with(&options, skip, 2, file_path("skipped.h5")));
    files_ready();
    if (check_rank() != 0) return;
    heard("1 broken images skipped, the first: ");
    heard("photos/1/7777.png: broken PNG: ");
    check_pictures("skipped.h5", IMAGES - 1);
}

/* Memory does not grow with the source: 96 MiB of values, 48 MiB of text. */
static void bounded_memory(void) {
    enum { ROWS = 98304, ROW = 1024, FIELDS = 16, LINES = 180000, GROWTH_KIB = 24 << 10 };
    if (check_world() > 1 || CHECK_IS_SLOW) return;
    char head[120] = "\x93NUMPY\1\0";
    const int n =
        snprintf(head + 10, sizeof head - 10, "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, %d)}", ROWS, ROW);
    head[8] = (char)n;
    FILE *f = fopen(file_path("large.npy"), "wb");
    fwrite(head, 1, 10 + (size_t)n, f);
    fclose(f);
    CHECK(truncate(file_path("large.npy"), 10 + n + (off_t)ROWS * ROW) == 0);
    f = fopen(file_path("large.csv"), "w");
    char line[FIELDS * 18 + 1] = "";
    for (int i = 0; i < FIELDS; i++) strcat(line, i == FIELDS - 1 ? "0.12345678901234\n" : "0.12345678901234,");
    for (int i = 0; i < LINES; i++) fputs(line, f);
    fclose(f);
    const pid_t child = fork();
    if (child == 0) {
        struct rusage before, after;
        char npy[400], csv[400];
        snprintf(npy, sizeof npy, "%s", file_path("large.npy"));
        snprintf(csv, sizeof csv, "%s", file_path("large.csv"));
        getrusage(RUSAGE_SELF, &before);
        const dpt_import_source sources[] = {{"/npy", npy, NULL}, {"/csv", csv, NULL}};
        const bool good = dpt_import_files(sources, 2, file_path("large.h5")) == DPT_OK;
        getrusage(RUSAGE_SELF, &after);
        _exit(good && after.ru_maxrss - before.ru_maxrss < GROWTH_KIB ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    dpt_log_set(listen, NULL);
    return CHECK_MAIN(argc, argv, "import_many", {"start", start}, {"ten_thousand", ten_thousand},
                      {"bounded_memory", bounded_memory}, {"stop", stop});
}
