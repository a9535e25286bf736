/* Folders of images: classes and their order, what is left out, one size for all, broken files with skip=yes and
 * without. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"
#include "data/image.h"
#include "data/import.h"
#include "image_files.h"
#include "log_heard.h"

enum { H = 13, W = 11 };

static image_bytes file;

static const char *path_of(const char *name) {
    static char text[16][500];
    static int next;
    next = (next + 1) % 16;
    snprintf(text[next], sizeof text[next], "%s/%s", check_tmpdir(), name);
    return text[next];
}

static void folder(const char *name) { CHECK(mkdir(path_of(name), 0777) == 0); }

static void write_bytes(const char *name, const void *bytes, size_t size) {
    FILE *f = fopen(path_of(name), "wb");
    CHECK(f != NULL && fwrite(bytes, 1, size, f) == size);
    fclose(f);
}

/* A gray or RGB PNG of value_at, as a file. */
static void add_png(const char *name, int seed, int height, int width, int channels) {
    uint8_t pixel[64 * 64 * 3];
    fill_rgb(seed, height, width, channels, pixel);
    png_write(&file, (png_kind){.type = channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, .depth = 8}, height,
              width, pixel);
    write_bytes(name, file.at, file.size);
}

static dpt_status open_part(const char *name, const char *part, dpt_import_stream *stream) {
    said[0] = 0;
    const dpt_import_source source = {.dataset = "/x", .file = path_of(name), .part = part};
    return dpt_import_open_images(&source, stream);
}

/* Reads in pieces of so many rows; out has room for rows [dim[0], row_bytes]. */
static dpt_status read_all(dpt_import_stream *stream, int64_t piece, void *out) {
    int64_t row = 0, got = piece;
    while (got == piece) {
        DPT_TRY(stream->read(stream, piece, (char *)out + row * stream->row_bytes, &got));
        row += got;
    }
    CHECK_EQ_I64(row, stream->dim[0]);
    return stream->read(stream, piece, out, &got) == DPT_OK && got == 0 ? DPT_OK : DPT_ERR_INTERNAL;
}

static void check_images(const char *name, const char *part, int count, const int *seed) {
    dpt_import_stream x;
    uint8_t *out = malloc((size_t)count * 3 * H * W);
    if (CHECK_OK(open_part(name, part, &x))) {
        CHECK(x.dtype == DPT_U8 && x.ndim == 4 && x.dim[0] == count && x.dim[1] == 3 && x.dim[2] == H && x.dim[3] == W);
        CHECK_EQ_I64(x.row_bytes, 3 * H * W);
        CHECK_OK(read_all(&x, 2, out));
        int wrong = 0;
        for (int i = 0; i < count * 3 * H * W; i++)
            wrong += out[i] != value_at(seed[i / (3 * H * W)], i / W % H, i % W, i / (H * W) % 3);
        CHECK_EQ_I64(wrong, 0);
        x.close(&x);
    }
    free(out);
}

static void check_labels(const char *name, const char *part, int count, const int *label) {
    dpt_import_stream y;
    int32_t out[20];
    if (!CHECK_OK(open_part(name, part, &y))) return;
    CHECK(y.dtype == DPT_I32 && y.ndim == 1 && y.dim[0] == count && y.row_bytes == 4);
    CHECK_OK(read_all(&y, 3, out));
    for (int i = 0; i < count; i++) CHECK_EQ_I64(out[i], label[i]);
    y.close(&y);
}

/* Class names and file names out of order on disk; Z sorts before a, bytes above 127 behind. */
static void classes(void) {
    static const char *const made[] = {"p", "p/dog", "p/Cat", "p/\xc3\xa9t\xc3\xa9", "p/.git", "p/none", "p/dog/inner"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) folder(made[i]);
    add_png("p/dog/b.png", 4, H, W, 3);
    add_png("p/dog/a\nb %s%n'.PNG", 3, H, W, 3);
    add_png("p/dog/no-suffix", 7, H, W, 3);
    add_png("p/Cat/10.png", 0, H, W, 3);
    add_png("p/Cat/9.png", 2, H, W, 3);
    add_png("p/\xc3\xa9t\xc3\xa9/-rf", 8, H, W, 3);
    add_png("p/.git/1.png", 9, H, W, 3);
    folder("p/dog/inner/deep");
    add_png("p/dog/inner/deep/1.JPG", 6, H, W, 3);
    add_png("p/dog/inner/2.png", 5, H, W, 3);
    add_png("elsewhere.png", 1, H, W, 3);
    write_bytes("p/dog/.hidden.png", "", 0);
    write_bytes("p/README", "of the photos", 13);
    CHECK(symlink(path_of("elsewhere.png"), path_of("p/Cat/2.png")) == 0);
    CHECK(symlink(path_of("p/dog"), path_of("p/more")) == 0);
    CHECK(mkfifo(path_of("p/dog/pipe.png"), 0666) == 0);
    check_images("p", NULL, 9, (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8});
    heard("3 files or folders left out that are no images, the first: dog/pipe.png");
    heard("2 hidden files or folders left out");
    heard("warning: ");
    heard("1 of 4 classes without an image, the first: 2, none");
    check_images("p", "images", 9, (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8});
    check_labels("p", "labels", 9, (int[]){0, 0, 0, 1, 1, 1, 1, 1, 3});
    heard("p: 4 classes: 0 Cat, 1 dog, 2 none, 3 \xc3\xa9t\xc3\xa9\n");
}

static void flat(void) {
    dpt_import_stream stream;
    folder("flat");
    CHECK_FAILS(open_part("flat", NULL, &stream), DPT_ERR_DATA, "flat: no images: PNG or JPEG files");
    add_png("flat/2.png", 2, H, W, 3);
    add_png("flat/1.png", 1, H, W, 3);
    check_images("flat", NULL, 2, (int[]){1, 2});
    CHECK_EQ_TEXT(said, "");
    CHECK_FAILS(open_part("flat", "labels", &stream), DPT_ERR_CONFIG, "flat: no labels: ");
    write_bytes("flat/1\n\033.png", "", 0);
    CHECK_FAILS(open_part("flat", NULL, &stream), DPT_ERR_DATA, "flat/1??.png: empty");
    CHECK(unlink(path_of("flat/1\n\033.png")) == 0);
    folder("flat/class");
    CHECK_FAILS(open_part("flat", NULL, &stream), DPT_ERR_DATA, "flat/1.png: an image beside the folders of classes");
}

static void parts(void) {
    static const char *const bad[][2] = {{"pixels", "\"pixels\" is no part of a folder of images: images or labels"},
                                         {"images:scale=2", "\"scale=2\" is no option of images: size=HEIGHTxWIDTH"},
                                         {"images:size=0x4", "\"size=0x4\" is no option"},
                                         {"images:size=4x4x4", "\"size=4x4x4\" is no option"},
                                         {"images:size=-4x4", "\"size=-4x4\" is no option"},
                                         {"images:size=65537x4", "\"size=65537x4\" is no option"},
                                         {"images:size=65536x65536", "\"size=65536x65536\" is no option"},
                                         {"images:skip=yes,skip=no", "\"skip=no\" is no option"},
                                         {"images:", "\"\" is no option"}};
    dpt_import_stream stream;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(open_part("p", bad[i][0], &stream), DPT_ERR_CONFIG, bad[i][1]);
    CHECK_FAILS(open_part("absent", NULL, &stream), DPT_ERR_IO, "absent: No such file or directory");
    CHECK_FAILS(open_part("p/README", NULL, &stream), DPT_ERR_IO, "p/README: Not a directory");
}

static void one_size(void) {
    dpt_import_stream x;
    folder("sizes");
    folder("sizes/a");
    add_png("sizes/a/1.png", 1, 8, 6, 1);
    add_png("sizes/a/2.png", 2, 8, 7, 1);
    CHECK_FAILS(open_part("sizes", NULL, &x), DPT_ERR_DATA,
                "sizes/a/2.png: 8 x 7 pixels (height x width), but the images before it are 8 x 6");
    CHECK_FAILS(open_part("sizes", "images:skip=yes", &x), DPT_ERR_DATA, "sizes/a/2.png: 8 x 7 pixels");
    check_labels("sizes", "labels", 2, (int[]){0, 0});
    uint8_t out[2 * 4 * 3], pixel[8 * 7], expected[4 * 3];
    if (CHECK_OK(open_part("sizes", "images:size=4x3", &x))) {
        CHECK(x.ndim == 4 && x.dim[0] == 2 && x.dim[1] == 1 && x.dim[2] == 4 && x.dim[3] == 3 && x.row_bytes == 12);
        CHECK_OK(read_all(&x, 5, out));
        for (int i = 0; i < 2; i++) {
            fill_rgb(i + 1, 8, 6 + i, 1, pixel);
            CHECK_OK(dpt_image_resize(&(dpt_image){8, 6 + i, 1, pixel, 0}, 4, 3, expected));
            CHECK(memcmp(expected, out + 12 * i, 12) == 0);
        }
        x.close(&x);
    }
    add_png("sizes/a/3.png", 3, 8, 6, 3);
    CHECK_FAILS(open_part("sizes", "images:size=4x3", &x), DPT_ERR_DATA,
                "sizes/a/3.png: RGB, but the images before it are gray");
    CHECK(unlink(path_of("sizes/a/3.png")) == 0);
    if (CHECK_OK(open_part("sizes", "images:size=4x3", &x))) { /* one that changes after the check */
        int64_t got;
        add_png("sizes/a/2.png", 2, 8, 7, 3);
        CHECK_FAILS(x.read(&x, 2, out, &got), DPT_ERR_DATA, "sizes/a/2.png: RGB, but");
        CHECK(unlink(path_of("sizes/a/2.png")) == 0);
        CHECK_FAILS(x.read(&x, 2, out, &got), DPT_ERR_IO, "sizes/a/2.png: No such file or directory");
        x.close(&x);
    }
}

static void cut(const char *name, long less, long size) {
    struct stat about;
    CHECK(stat(path_of(name), &about) == 0);
    CHECK(truncate(path_of(name), less > 0 ? about.st_size - less : size) == 0);
}

static void refuse_many(const char *message) {
    uint8_t out[8 * 3 * H * W];
    dpt_import_stream x;
    dpt_status status = open_part("many", "images", &x);
    if (status == DPT_OK) {
        status = read_all(&x, 3, out);
        x.close(&x);
    }
    CHECK_FAILS(status, DPT_ERR_DATA, message);
}

/* Broken ones: good to the last byte but one, empty, not at all an image. What a head shows is seen before a pixel. */
static void broken(void) {
    dpt_import_stream x;
    char name[40];
    folder("many");
    folder("many/a");
    folder("many/b");
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "many/%c/%d.png", i < 6 ? 'a' : 'b', i);
        add_png(name, i, H, W, 3);
    }
    cut("many/a/2.png", 1, 0);
    refuse_many("many/a/2.png: broken PNG: the file ends early");
    cut("many/a/5.png", 0, 0);
    refuse_many("many/a/5.png: empty");
    cut("many/a/3.png", 0, 7);
    refuse_many("many/a/3.png: begins neither as a PNG nor as a JPEG");
    check_images("many", "images:skip=yes", 5, (int[]){0, 1, 4, 6, 7});
    heard("warning: ");
    heard("many: 3 broken images skipped, the first: ");
    heard("many/a/2.png: broken PNG: the file ends early\n");
    check_labels("many", "labels:skip=yes", 5, (int[]){0, 0, 0, 1, 1});
    for (int i = 0; i < 5; i += i ? 3 : 1) {
        snprintf(name, sizeof name, "many/a/%d.png", i);
        cut(name, 0, 60);
    }
    check_images("many", "images:skip=yes", 2, (int[]){6, 7});
    heard("1 of 2 classes without an image, the first: 0, a");
    check_labels("many", "labels:skip=yes", 2, (int[]){1, 1});
    cut("many/b/6.png", 0, 60);
    cut("many/b/7.png", 0, 60);
    CHECK_FAILS(open_part("many", "images:skip=yes", &x), DPT_ERR_DATA, "many: no unbroken images");
}

/* A target inside of the folder would be one of its files. */
static void target_inside(void) {
    folder("own");
    folder("own/a");
    folder("own/.hidden");
    add_png("own/a/1.png", 1, H, W, 3);
    char source[400];
    snprintf(source, sizeof source, "%s", path_of("own"));
    const dpt_import_source x = {"/x", source, "images"};
    static const char *const inside[] = {"own/x.h5", "own/a/x.h5", "own/new/x.h5", "own/a/../x.h5"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        CHECK_FAILS(dpt_import_files(&x, 1, path_of(inside[i])), DPT_ERR_CONFIG, "which is imported: make it outside");
        CHECK(access(path_of("own/new"), F_OK) != 0);
    }
    CHECK_OK(dpt_import_files(&x, 1, path_of("own/.hidden/x.h5")));
    CHECK_OK(dpt_import_files(&x, 1, path_of("own.h5")));
}

/* What stands before the size can be longer than what opening looks at. */
static void long_head(void) {
    folder("long");
    uint8_t pixel[H * W], *bytes = calloc(1, 400000);
    smooth(H, W, 1, pixel);
    jpeg_write(&file, (jpeg_kind){JCS_GRAYSCALE, false, 90}, H, W, pixel);
    size_t size = 2;
    memcpy(bytes, "\xff\xd8", 2);
    for (int i = 0; i < 4; i++, size += 2 + 65000) memcpy(bytes + size, "\xff\xe5\xfd\xe8", 4); /* 65000 */
    memcpy(bytes + size, file.at + 2, file.size - 2);
    write_bytes("long/1.jpg", bytes, size + file.size - 2);
    free(bytes);
    dpt_import_stream x;
    uint8_t out[H * W], bare[H * W];
    decode_bare(&file, bare);
    if (!CHECK_OK(open_part("long", NULL, &x))) return;
    CHECK_OK(read_all(&x, 1, out));
    CHECK(memcmp(out, bare, sizeof out) == 0);
    x.close(&x);
}

static dpt_status labels_of(const char *images_part, const char *part, int32_t *label, bool *done) {
    char path[500];
    snprintf(path, sizeof path, "%s", path_of("p"));
    const dpt_import_source x = {"/x", path, images_part}, y = {"/y", path, part};
    dpt_import_stream images, labels;
    int64_t got = 0;
    said[0] = 0;
    DPT_TRY(dpt_import_open_images(&x, &images));
    said[0] = 0;
    dpt_status status = dpt_import_open_labels_of(&y, &x, &images, &labels, done);
    images.close(&images);
    if (status != DPT_OK || !*done) return status;
    status = labels.read(&labels, 20, label, &got);
    CHECK(got == 9 && labels.dtype == DPT_I32 && labels.classes == 4 && strcmp(labels.class_name[1], "dog") == 0);
    CHECK(labels.notes_bytes > 100);
    labels.close(&labels);
    return status;
}

/* Labels from the list of the images: the same as without it. */
static void labels_of_images(void) {
    static const int32_t expected[] = {0, 0, 0, 1, 1, 1, 1, 1, 3};
    int32_t label[20];
    bool done = false;
    CHECK_OK(labels_of("images:size=4x4", "labels", label, &done));
    CHECK(done && memcmp(label, expected, sizeof expected) == 0);
    heard("p: 4 classes: 0 Cat, 1 dog, 2 none, 3 \xc3\xa9t\xc3\xa9\n");
    CHECK_OK(labels_of("images:skip=yes", "labels:skip=yes", label, &done));
    CHECK(done && memcmp(label, expected, sizeof expected) == 0);
    CHECK_OK(labels_of("images", "labels:skip=yes", label, &done));
    CHECK(!done);
    CHECK_OK(labels_of("labels", "labels", label, &done));
    CHECK(!done);
    int failures = 0;
    for (int64_t n = 1; n < 2000; n++, failures++) {
        dpt_alloc_fail_at(n);
        dpt_status status = labels_of("images", "labels", label, &done);
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY);
    }
    CHECK(failures > 40 && failures < 1900);
}

static dpt_status open_and_read(const char *part) {
    static uint8_t out[9 * 3 * 16 * 16];
    dpt_import_stream x;
    int64_t got;
    DPT_TRY(open_part("p", part, &x));
    dpt_status status = x.read(&x, 9, out, &got);
    x.close(&x);
    return status;
}

static void out_of_memory(void) {
    static const char *const part[] = {"images:size=16x16,skip=yes", "labels"};
    for (int i = 0; i < 2; i++) {
        int failures = 0;
        for (int64_t n = 1; n < 2000; n++) {
            dpt_alloc_fail_at(n);
            dpt_status status = open_and_read(part[i]);
            dpt_alloc_fail_at(0);
            if (status == DPT_OK) break;
            check_that(status == DPT_ERR_MEMORY, __FILE__, __LINE__, "%lld: %s", (long long)n, dpt_last_error());
            failures++;
        }
        check_that(failures > 20 && failures < 1900, __FILE__, __LINE__, "%d", failures);
    }
}

int main(int argc, char **argv) {
    dpt_log_set(listen, NULL);
    return CHECK_MAIN(argc, argv, "import_images", {"classes", classes}, {"flat", flat}, {"parts", parts},
                      {"one_size", one_size}, {"broken", broken}, {"target_inside", target_inside},
                      {"long_head", long_head}, {"labels_of_images", labels_of_images},
                      {"out_of_memory", out_of_memory});
}
