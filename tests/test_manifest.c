/* Lists of files: the same file twice under whatever names, empty files, and manifests: what they say is what the files
 * are, and each kind of damage to one is named with its line. */
#include "data/manifest.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data_files.h"

enum { ROWS = 6, TEST_ROWS = 2 };

static dpt_control control;

/* x [rows] i64, y [rows] and test [2] of u8; values first, first + 1, ... */
static void write_file(const char *name, int64_t first, int64_t rows) {
    int64_t values[ROWS];
    uint8_t bytes[ROWS] = {0};
    for (int64_t i = 0; i < rows; i++) values[i] = first + i;
    hid_t file = file_create(name);
    file_add(file, "x", H5T_STD_I64LE, DPT_I64, values, 1, (hsize_t[]){(hsize_t)rows}, STORE_PLAIN);
    file_add(file, "y", H5T_STD_U8LE, DPT_U8, bytes, 1, (hsize_t[]){(hsize_t)rows}, STORE_PLAIN);
    file_add(file, "test", H5T_STD_U8LE, DPT_U8, bytes, 1, (hsize_t[]){TEST_ROWS}, STORE_PLAIN);
    H5Fclose(file);
}

static dpt_status open_list(const char *const *names, int count, const char *path, dpt_dataset **ds) {
    dpt_field_spec spec = {.name = "x", .path = path, .dtype = DPT_I64, .ndim = 0};
    return dpt_dataset_open(&control, names, count, &spec, 1, ds);
}

static void refuse(const char *const *names, int count, dpt_status code, const char *text) {
    dpt_dataset *ds;
    CHECK_FAILS(open_list(names, count, "/x", &ds), code, text);
}

/* ---- lists ---- */

static void twice(void) {
    char a[400], link_name[400], hard[400], dotted[450], text[1000];
    write_file("a.h5", 0, ROWS);
    write_file("b.h5", ROWS, ROWS);
    snprintf(a, sizeof a, "%s", file_path("a.h5"));
    snprintf(link_name, sizeof link_name, "%s", file_path("soft.h5"));
    snprintf(hard, sizeof hard, "%s", file_path("hard.h5"));
    snprintf(dotted, sizeof dotted, "%s/./a.h5", check_tmpdir());
    CHECK(symlink("a.h5", link_name) == 0 && link(a, hard) == 0);
    const char *const other[] = {link_name, hard, dotted};
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%s: the same file as %s, which is listed too", other[i], a);
        refuse((const char *[]){a, file_path("b.h5"), other[i]}, 3, DPT_ERR_DATA, text);
    }
    snprintf(text, sizeof text, "%s: listed twice", a);
    refuse((const char *[]){a, a}, 2, DPT_ERR_DATA, text);
    CHECK(unlink(link_name) == 0 && unlink(hard) == 0);
}

static char logged[600];
static int log_count;
static void keep_log(void *user, dpt_log_level level, const char *message) {
    (void)user;
    if (level != DPT_LOG_WARNING) return;
    log_count++;
    snprintf(logged, sizeof logged, "%s", message);
}

static void empty_files(void) {
    FILE *f = fopen(file_path("nothing.h5"), "w");
    fclose(f);
    refuse((const char *[]){file_path("a.h5"), file_path("nothing.h5")}, 2, DPT_ERR_DATA,
           "nothing.h5: an empty file, of 0 bytes");
    refuse((const char *[]){file_path("a.h5"), check_tmpdir()}, 2, DPT_ERR_DATA, "not a regular file");
    write_file("norows.h5", 0, 0);
    dpt_dataset *ds = NULL;
    const char *names[] = {file_path("a.h5"), file_path("norows.h5"), file_path("b.h5")};
    log_count = 0;
    dpt_log_set(keep_log, NULL);
    CHECK_OK(open_list(names, 3, "/x", &ds));
    dpt_log_set(NULL, NULL);
    CHECK_EQ_I64(log_count, 1);
    CHECK(strstr(logged, "norows.h5: /x: 0 samples: the file adds nothing") != NULL);
    if (ds) CHECK_EQ_I64(dpt_dataset_rows(ds), 2 * ROWS);
    dpt_dataset_close(&ds);
    refuse((const char *[]){file_path("norows.h5")}, 1, DPT_ERR_DATA, "norows.h5: /x: 0 samples");
}

/* ---- manifests ---- */

static size_t read_text(const char *name, char *text, size_t most) {
    FILE *f = fopen(file_path(name), "r");
    size_t n = f ? fread(text, 1, most - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    return n;
}

static void write_text(const char *name, const char *text, size_t bytes) {
    FILE *f = fopen(file_path(name), "w");
    CHECK(f != NULL && fwrite(text, 1, bytes, f) == bytes);
    fclose(f);
}

static char good[2000];

/* A manifest in the files' folder, one in another, both lists and files in one. */
static void opened(void) {
    mkdir(file_path("deep"), 0777);
    write_file("deep/c.h5", 2 * ROWS, ROWS);
    const char *names[] = {file_path("a.h5"), file_path("b.h5"), file_path("deep/c.h5")};
    CHECK_OK(dpt_manifest_write(file_path("all.manifest"), names, 3));
    read_text("all.manifest", good, sizeof good);
    /* each line again from what the system and the files say */
    char want[2000] = "dptrain manifest 1\n";
    for (int i = 0; i < 3; i++) {
        static char bytes[1 << 16];
        FILE *f = fopen(names[i], "r");
        size_t n = fread(bytes, 1, sizeof bytes, f), at = strlen(want);
        fclose(f);
        snprintf(want + at, sizeof want - at, "2,6 %zu %016llx %s\n", n, (unsigned long long)dpt_hash(bytes, n, 0),
                 i == 2 ? "deep/c.h5"
                 : i    ? "b.h5"
                        : "a.h5");
    }
    strcat(want, "end 3\n");
    CHECK_EQ_TEXT(good, want);
    CHECK(dpt_manifest_is(file_path("all.manifest")) && !dpt_manifest_is(names[0]));
    CHECK_OK(dpt_manifest_write(file_path("deep/some.manifest"), names + 1, 1)); /* an absolute name in it */
    for (int way = 0; way < 2; way++) {
        const char *lists[2][3] = {{file_path("all.manifest")}, {names[0], file_path("deep/some.manifest"), names[2]}};
        dpt_dataset *ds;
        if (!CHECK_OK(open_list(lists[way], way ? 3 : 1, "/x", &ds))) continue;
        int64_t x[3 * ROWS];
        CHECK_EQ_I64(dpt_dataset_rows(ds), 3 * ROWS);
        CHECK_OK(dpt_dataset_read(ds, 0, 0, 3 * ROWS, x));
        for (int i = 0; i < 3 * ROWS; i++) CHECK_EQ_I64(x[i], i);
        dpt_dataset_close(&ds);
        CHECK_OK(open_list(lists[way], way ? 3 : 1, "/test", &ds));
        if (ds) CHECK_EQ_I64(dpt_dataset_rows(ds), 3 * TEST_ROWS);
        dpt_dataset_close(&ds);
    }
    refuse((const char *[]){file_path("all.manifest"), names[1]}, 2, DPT_ERR_DATA, "b.h5: listed twice");
    const char *broken = file_path("a\nb.h5");
    CHECK_FAILS(dpt_manifest_write(file_path("bad.manifest"), &broken, 1), DPT_ERR_DATA, "a name with a line break");
    broken = file_path("none.h5");
    CHECK_FAILS(dpt_manifest_write(file_path("bad.manifest"), &broken, 1), DPT_ERR_IO, "none.h5: No such file");
    CHECK(access(file_path("bad.manifest"), F_OK) != 0);
}

/* The text with the first `old` replaced by `new`. */
static void damage(const char *old, const char *new) {
    char text[2400];
    const char *at = strstr(good, old);
    if (!CHECK(at != NULL)) return;
    int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, new, at + strlen(old));
    write_text("bad.manifest", text, (size_t)n);
}

static void damaged(void) {
    char line[300], size[40];
    struct stat about;
    CHECK(stat(file_path("b.h5"), &about) == 0);
    snprintf(size, sizeof size, "2,6 %lld ", (long long)about.st_size);
    const char *b = strstr(good, "b.h5\n") - 17; /* its checksum */
    snprintf(line, sizeof line, "%.17s", b);
    const struct {
        const char *old, *new, *text;
    } bad[] = {{"manifest 1", "manifest 2", "line 1: \"dptrain manifest 2\", where \"dptrain manifest 1\" is read"},
               {"2,6 ", "2;6 ", "line 2: \"2;6 "},
               {"2,6 ", "6,2 ", "line 2: \"6,2 "},
               {"2,6 ", "2, ", "line 2: \"2, "},
               {"2,6 ", "-1 ", "line 2: \"-1 "},
               {"2,6 ", "99999999999999999999 ", "begins with no numbers of rows"},
               {size, "2,6 x ", "line 2: \"x "},
               {size, "2,6 18446744073709551616 ", "is no number of bytes"},
               {line, "0123456789abcdeF ", "line 3: \"0123456789abcdeF b.h\" is no checksum of 16 digits"},
               {line, "0123456789abcdef0 ", "is no checksum of 16 digits"},
               {"b.h5\n", "\n", "line 3: a line without a file's name"},
               {"b.h5\n", "none.h5\n", "line 3: "},
               {"b.h5\n", "deep\n", "deep: not a regular file"},
               {"b.h5\n", "a.h5\n", "a.h5: listed twice"},
               {"end 3", "end 4", "line 5: lists 3 files, but says 4"},
               {"end 3", "end", "line 5: \"end\" begins with no"},
               {"end 3\n", "", "line 5: is missing: a manifest ends with \"end\""},
               {"end 3\n", "end 3", "line 5: ends within the line"},
               {"end 3\n", "end 3\n\n", "line 5: something follows"},
               {"2,6 ", "1,2 ", "line 2: "}};
    const char *name = file_path("bad.manifest");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        damage(bad[i].old, bad[i].new);
        dpt_dataset *ds;
        dpt_status status = open_list(&name, 1, "/x", &ds);
        check_that(status == DPT_ERR_DATA || status == DPT_ERR_IO, __FILE__, __LINE__, "%s: status %d", bad[i].text,
                   status);
        check_that(strstr(dpt_last_error(), bad[i].text) != NULL, __FILE__, __LINE__, "'%s' lacks '%s'",
                   dpt_last_error(), bad[i].text);
        dpt_dataset_close(&ds);
    }
    damage("2,6 ", "2,60 ");
    refuse(&name, 1, DPT_ERR_DATA, "a.h5 has 6 rows, the manifest says 2, 60");
    damage("2,6 ", "- ");
    refuse(&name, 1, DPT_ERR_DATA, "a.h5 has 6 rows, the manifest says none");
    snprintf(line, sizeof line, "2,6 %lld ", (long long)about.st_size + 8);
    damage(size, line);
    snprintf(line, sizeof line, "a.h5 has %lld bytes, the manifest says %lld", (long long)about.st_size,
             (long long)about.st_size + 8);
    refuse(&name, 1, DPT_ERR_DATA, line);
    damage("a.h5\n", "all.manifest\n");
    refuse(&name, 1, DPT_ERR_DATA, "all.manifest is a manifest itself; a manifest lists HDF5 files");
    write_text("bad.manifest", "dptrain manifest 1\nend 0\n", 25);
    refuse(&name, 1, DPT_ERR_DATA, "bad.manifest: line 2: lists no files");
    write_text("bad.manifest", "dptrain manifest 1\n\0\n", 21);
    refuse(&name, 1, DPT_ERR_DATA, "holds a zero byte");
    write_text("bad.manifest", "dptrain manifest 1", 18);
    refuse(&name, 1, DPT_ERR_DATA, "line 1: ");
    for (size_t n = strlen("dptrain manifest "); n < strlen(good); n++) { /* cut anywhere: never fewer files */
        dpt_manifest m;
        write_text("bad.manifest", good, n);
        CHECK_FAILS(dpt_manifest_read(name, &m), DPT_ERR_DATA, "bad.manifest: line ");
        CHECK(m.count == 0);
    }
}

static void out_of_memory(void) {
    int failures = 0;
    for (int64_t n = 1; n < 200; n++) {
        dpt_manifest m = {0};
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_manifest_read(file_path("all.manifest"), &m);
        dpt_alloc_fail_at(0);
        dpt_manifest_free(&m);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY);
        failures++;
    }
    CHECK(failures >= 8 && failures < 199);
}

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "manifest", {"start", start}, {"twice", twice}, {"empty_files", empty_files},
                      {"opened", opened}, {"damaged", damaged}, {"out_of_memory", out_of_memory}, {"stop", stop});
}
