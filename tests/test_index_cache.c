/* Kept indices: used again without a call of HDF5 to open a file, refused after each change of the files, and harmless
 * whatever the kept file holds. */
#include "data/index_cache.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data_files.h"

enum { ROWS = 40, CHUNK = 8, WIDTH = 3, FILES = 2 };

static dpt_control control;

/* How often HDF5 opened a file. */
static int opened;

hid_t H5Fopen(const char *path, unsigned flags, hid_t access) {
    static hid_t (*real)(const char *, unsigned, hid_t);
    opened++;
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "H5Fopen");
    return real(path, flags, access);
}

static float value_at(int64_t row, int64_t i) { return (float)(row * 10 + i); }

/* x [ROWS,WIDTH] in chunks, written in rising order of rows or falling: the same bytes in other places. */
static void write_file(const char *name, int64_t first, bool falling) {
    hid_t file = file_create(name), p = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t dim[] = {ROWS, WIDTH}, chunk[] = {CHUNK, WIDTH};
    hid_t space = H5Screate_simple(2, dim, NULL), memory = H5Screate_simple(2, chunk, NULL);
    H5Pset_chunk(p, 2, chunk);
    H5Pset_shuffle(p);
    H5Pset_fletcher32(p);
    hid_t set = H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    for (int c = 0; c < ROWS / CHUNK; c++) {
        float values[CHUNK * WIDTH];
        hsize_t start[] = {(hsize_t)((falling ? ROWS / CHUNK - 1 - c : c) * CHUNK), 0};
        for (int i = 0; i < CHUNK * WIDTH; i++) values[i] = value_at(first + (int64_t)start[0] + i / WIDTH, i % WIDTH);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, chunk, NULL);
        CHECK(H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values) >= 0);
        H5Fflush(file, H5F_SCOPE_GLOBAL);
    }
    H5Dclose(set);
    H5Sclose(space);
    H5Sclose(memory);
    H5Pclose(p);
    int8_t y[ROWS] = {0};
    file_add(file, "y", H5T_STD_I8LE, DPT_U8, y, 1, dim, STORE_COMPACT);
    H5Fclose(file);
}

static const char *folder(void) { return file_path("kept"); }

static dpt_status open_with(const char *a, const char *b, const char *field, const char *kept, dpt_dataset **ds) {
    const char *files[FILES] = {a, b};
    dpt_field_spec spec = {.name = "in", .path = field, .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};
    opened = 0;
    return dpt_dataset_open_indexed(&control, files, FILES, &spec, 1, kept, ds);
}

/* Opens both files, and looks at every value. */
static bool open_and_check(void) {
    dpt_dataset *ds;
    float x[FILES * ROWS * WIDTH];
    int wrong = 0;
    if (!CHECK_OK(open_with(file_path("a.h5"), file_path("b.h5"), "/x", folder(), &ds))) return false;
    CHECK_EQ_I64(dpt_dataset_rows(ds), FILES * ROWS);
    if (CHECK_OK(dpt_dataset_read(ds, 0, 0, FILES * ROWS, x)))
        for (int i = 0; i < FILES * ROWS * WIDTH; i++) wrong += x[i] != value_at(i / WIDTH, i % WIDTH);
    dpt_dataset_close(&ds);
    return CHECK_EQ_I64(wrong, 0);
}

static void write_files(void) {
    write_file("a.h5", 0, false);
    write_file("b.h5", ROWS, false);
}

static void expect_opened(const char *what, int want) {
    open_and_check();
    check_that(opened == want, __FILE__, __LINE__, "%s: HDF5 opened %d files, not %d", what, opened, want);
}

static int kept_files(char *name, size_t bytes) {
    DIR *d = opendir(folder());
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') n++, snprintf(name, bytes, "%s/%s", folder(), e->d_name);
    if (d) closedir(d);
    return n;
}

static void used_again(void) {
    char name[600];
    dpt_dataset *ds = NULL;
    write_files();
    expect_opened("the first time", FILES);
    CHECK_EQ_I64(kept_files(name, sizeof name), 1);
    expect_opened("the second time", 0);
    /* by other names of the same files, which messages then use */
    char other[500];
    snprintf(other, sizeof other, "%s/../kept/../a.h5", folder());
    CHECK_OK(open_with(other, file_path("b.h5"), "/x", folder(), &ds));
    CHECK_EQ_I64(opened, 0);
    if (ds) CHECK_EQ_TEXT(dpt_dataset_locate(ds, 0, NULL), other);
    dpt_dataset_close(&ds);
    /* another field, another order of files, no folder: not this one */
    CHECK_OK(open_with(file_path("a.h5"), file_path("b.h5"), "/y", folder(), &ds));
    CHECK_EQ_I64(opened, FILES);
    dpt_dataset_close(&ds);
    CHECK_OK(open_with(file_path("b.h5"), file_path("a.h5"), "/x", folder(), &ds));
    CHECK_EQ_I64(opened, FILES);
    dpt_dataset_close(&ds);
    CHECK_OK(open_with(file_path("a.h5"), file_path("b.h5"), "/x", NULL, &ds));
    CHECK_EQ_I64(opened, FILES);
    dpt_dataset_close(&ds);
    CHECK_EQ_I64(kept_files(name, sizeof name), 3);
    expect_opened("after others", 0);
}

static void set_times(const char *path, const struct stat *as) {
    const struct timespec times[2] = {as->st_atim, as->st_mtim};
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static void changed(void) {
    struct stat before, after;
    char b[400];
    snprintf(b, sizeof b, "%s", file_path("b.h5"));
    write_files();
    expect_opened("the first time", FILES);
    CHECK(stat(b, &before) == 0);
    /* the time alone */
    struct stat later = before;
    later.st_mtim.tv_sec += 3;
    set_times(b, &later);
    expect_opened("another time", FILES);
    expect_opened("and again", 0);
    set_times(b, &before);
    expect_opened("the time before", FILES);
    /* the size alone: a byte behind the end is none of HDF5's */
    FILE *f = fopen(b, "a");
    fputc(0, f);
    fclose(f);
    set_times(b, &before);
    expect_opened("another size", FILES);
    /* the content alone: chunks lie in other places */
    write_file("b.h5", ROWS, false);
    set_times(b, &before);
    expect_opened("as it was", FILES);
    write_file("b.h5", ROWS, true);
    set_times(b, &before);
    CHECK(stat(b, &after) == 0 && after.st_size == before.st_size && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
    expect_opened("another content", FILES);
    expect_opened("and again", 0);
    unlink(b);
    dpt_dataset *ds;
    CHECK_FAILS(open_with(file_path("a.h5"), b, "/x", folder(), &ds), DPT_ERR_IO, "b.h5: No such file");
}

static size_t read_kept(const char *name, unsigned char *bytes, size_t most) {
    FILE *f = fopen(name, "r");
    size_t n = f ? fread(bytes, 1, most, f) : 0;
    if (f) fclose(f);
    return n;
}

static void write_kept(const char *name, const unsigned char *bytes, size_t n) {
    FILE *f = fopen(name, "w");
    CHECK(f != NULL && fwrite(bytes, 1, n, f) == n);
    fclose(f);
}

/* Cut short, or with a byte changed: made anew. */
static void damaged(void) {
    enum { HEAD = 24, STEP = CHECK_IS_SLOW ? 61 : 7 };
    static unsigned char good[1 << 16], bad[1 << 16];
    char name[600];
    write_files();
    char command[500];
    snprintf(command, sizeof command, "rm -rf '%s'", folder());
    CHECK(system(command) == 0);
    expect_opened("without a folder", FILES);
    CHECK_EQ_I64(kept_files(name, sizeof name), 1);
    size_t n = read_kept(name, good, sizeof good);
    CHECK(n > 500 && memcmp(good, "dptrain index 1\n", 16) == 0);
    for (size_t i = 0; i < n; i += i < HEAD ? 1 : STEP) {
        write_kept(name, good, i);
        expect_opened("cut short", FILES);
        memcpy(bad, good, n);
        bad[i] ^= 0x10;
        write_kept(name, bad, n);
        expect_opened("a byte changed", FILES);
    }
    expect_opened("whole again", 0);
    /* a byte changed by someone who knows how to sum: it may pass, but reads nothing outside of files and buffers */
    for (size_t i = HEAD; i < n; i += STEP) {
        static unsigned char x[FILES * ROWS * WIDTH * 4];
        dpt_dataset *ds = NULL;
        memcpy(bad, good, n);
        bad[i] ^= i % 3 ? 0x01 : 0x80;
        uint64_t sum = dpt_hash(bad + HEAD, n - HEAD, 0);
        memcpy(bad + 16, &sum, sizeof sum);
        write_kept(name, bad, n);
        dpt_status status = open_with(file_path("a.h5"), file_path("b.h5"), "/x", folder(), &ds);
        if (status == DPT_OK && dpt_dataset_rows(ds) == FILES * ROWS &&
            dpt_dataset_field(ds, 0)->elements * dpt_dataset_field(ds, 0)->stored.bytes == WIDTH * 4)
            dpt_dataset_read(ds, 0, 0, FILES * ROWS, x);
        dpt_dataset_close(&ds);
    }
}

/* What others wrote, or may have written, says where values are: it is made anew. */
static void of_others(void) {
    char name[600];
    struct stat about;
    const mode_t before = umask(0);
    write_files();
    while (kept_files(name, sizeof name) > 0) unlink(name);
    expect_opened("nothing kept", FILES);
    umask(before);
    expect_opened("a folder that all may write to", 0);
    CHECK_EQ_I64(kept_files(name, sizeof name), 1);
    CHECK(stat(name, &about) == 0 && (about.st_mode & 0777) == 0644);
    for (int i = 0; i < 2; i++) {
        CHECK(chmod(name, i ? 0664 : 0646) == 0);
        expect_opened("one that others may write to", FILES);
        expect_opened("and again", 0);
    }
    if (geteuid() != 0) return;
    CHECK(chown(name, 12345, (gid_t)-1) == 0);
    expect_opened("another user's", FILES);
    expect_opened("and again", 0);
}

/* Extents against a map of single bytes; the end of the file cuts them off. */
static void extents(void) {
    enum { BYTES = 5000, NOTES = 20000 };
    static bool want[BYTES + 100], have[BYTES];
    uint64_t state = 3, end = 0;
    dpt_content c = {0};
    for (int i = 0; i < NOTES; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t place = (state >> 40) % 40 * 125, bytes = (state >> 20) % 60;
        CHECK(dpt_content_note(&c, place, bytes));
        memset(want + place, 1, bytes);
    }
    CHECK(dpt_content_note(&c, BYTES - 3, 50) && dpt_content_note(&c, BYTES + 9, 1));
    memset(want + BYTES - 3, 1, 3);
    CHECK(c.capacity < 1000);
    dpt_content_settle(&c, BYTES);
    for (int64_t i = 0; i < c.extents; i++) {
        CHECK(i == 0 || c.extent[i].offset > end);
        end = c.extent[i].offset + c.extent[i].bytes;
        if (CHECK(end <= BYTES)) memset(have + c.extent[i].offset, 1, c.extent[i].bytes);
    }
    CHECK(memcmp(have, want, BYTES) == 0);
    dpt_content_free(&c);
}

/* A folder that cannot be is no reason to fail. */
static void no_folder(void) {
    dpt_dataset *ds = NULL;
    write_files();
    CHECK_OK(open_with(file_path("a.h5"), file_path("b.h5"), "/x", "/dev/null/kept", &ds));
    dpt_dataset_close(&ds);
}

static void out_of_memory(void) {
    int failures = 0;
    write_files();
    for (int again = 0; again < 2; again++)
        for (int64_t n = 1; n < 400; n++) {
            dpt_dataset *ds;
            char name[600];
            if (!again)
                while (kept_files(name, sizeof name) > 0) unlink(name);
            dpt_alloc_fail_at(n);
            dpt_status status = open_with(file_path("a.h5"), file_path("b.h5"), "/x", folder(), &ds);
            dpt_alloc_fail_at(0);
            bool made = status == DPT_OK;
            dpt_dataset_close(&ds);
            CHECK(made || status == DPT_ERR_MEMORY);
            failures += !made;
            if (made && n > 100) break;
        }
    CHECK(failures >= 40);
    open_and_check();
}

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "index_cache", {"start", start}, {"used_again", used_again}, {"changed", changed},
                      {"damaged", damaged}, {"of_others", of_others}, {"extents", extents}, {"no_folder", no_folder},
                      {"out_of_memory", out_of_memory}, {"stop", stop});
}
