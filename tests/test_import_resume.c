/* Imports by several ranks, and imports that are killed and started again: the same bytes as those of one process that
 * nobody disturbs, with what was done not done again. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "base/log.h"
#include "data/import.h"
#include "data_files.h"
#include "log_heard.h"

/* Some pieces of 4 MiB of each kind. */
enum { CSV_ROWS = 400000, NPY_ROWS = 2200, IDX_ROWS = 9000, COLUMNS = 1000, SOURCES = 5 };

static dpt_control control;
static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

/* ---- sources ---- */

/* Quoted fields hold line ends and separators; each row says its number. */
static void write_csv(const char *name) {
    gzFile f = gzopen(file_path(name), strstr(name, ".gz") ? "wb1" : "wbT");
    gzbuffer(f, 1 << 20);
    gzprintf(f, "n,\"a\nb\",v\n");
    for (int i = 0; i < CSV_ROWS; i++)
        gzprintf(f, i % 1000 ? "%d,\"x\",%d.25\n" : "%d,\"1,\n2,\n\"\"3\",%d.25\n", i, i % 977);
    gzclose(f);
}

static uint8_t byte_at(int64_t i) { return (uint8_t)(i ^ i >> 8 ^ i >> 16); }

static void write_values(const char *name, const char *head, size_t head_bytes, int64_t values) {
    uint8_t *all = malloc((size_t)values);
    for (int64_t i = 0; i < values; i++) all[i] = byte_at(i);
    gzFile f = gzopen(file_path(name), strstr(name, ".gz") ? "wb1" : "wbT");
    CHECK(gzwrite(f, head, (unsigned)head_bytes) == (int)head_bytes);
    CHECK(gzwrite(f, all, (unsigned)values) == (int)values);
    gzclose(f);
    free(all);
}

static void write_idx(const char *name) {
    const char head[] = {
        0, 0, 8, 2, 0, 0, IDX_ROWS >> 8, (char)(IDX_ROWS & 255), 0, 0, COLUMNS >> 8, (char)(COLUMNS & 255)};
    write_values(name, head, sizeof head, (int64_t)IDX_ROWS * COLUMNS);
}

static void write_npy(const char *name) {
    char head[200] = "\x93NUMPY\1\0";
    const int n = snprintf(head + 10, sizeof head - 10,
                           "{'descr': '>i4', 'fortran_order': False, 'shape': (%d, %d), }\n", NPY_ROWS, COLUMNS);
    head[8] = (char)n;
    write_values(name, head, 10 + (size_t)n, 4LL * NPY_ROWS * COLUMNS);
}

static void write_sources(void) {
    if (check_rank() == 0) {
        write_csv("t.csv");
        write_csv("t.csv.gz");
        write_idx("i.idx");
        write_idx("i.idx.gz");
        write_npy("a.npy");
    }
    files_ready();
}

static void find_sources(dpt_import_source source[SOURCES]) {
    static const dpt_import_source all[SOURCES] = {{"/csv/n", "t.csv", "n:i64"},
                                                   {"/packed/v", "t.csv.gz", "3,1"},
                                                   {"/idx", "i.idx", NULL},
                                                   {"/packed/idx", "i.idx.gz", NULL},
                                                   {"/npy", "a.npy", NULL}};
    static char path[SOURCES][400];
    for (int i = 0; i < SOURCES; i++) {
        snprintf(path[i], sizeof path[i], "%s", file_path(all[i].file));
        source[i] = (dpt_import_source){all[i].dataset, path[i], all[i].part};
    }
}

/* ---- targets ---- */

static bool same_bytes(const char *a, const char *b) {
    FILE *x = fopen(file_path(a), "rb"), *y = fopen(file_path(b), "rb");
    static char p[1 << 16], q[1 << 16];
    bool same = x && y;
    for (size_t n = 1; same && n > 0;) {
        n = fread(p, 1, sizeof p, x);
        same = fread(q, 1, sizeof q, y) == n && memcmp(p, q, n) == 0;
    }
    if (x) fclose(x);
    if (y) fclose(y);
    return same;
}

static void check_values(const char *target) {
    hid_t file = H5Fopen(file_path(target), H5F_ACC_RDONLY, H5P_DEFAULT);
    int64_t *n = malloc(CSV_ROWS * sizeof *n), wrong = 0;
    float *v = malloc(2 * CSV_ROWS * sizeof *v);
    uint8_t *idx = malloc((size_t)IDX_ROWS * COLUMNS);
    int32_t *npy = malloc(4L * NPY_ROWS * COLUMNS);
    const struct {
        const char *path;
        hid_t type;
        void *out;
    } sets[] = {{"/csv/n", H5T_NATIVE_INT64, n},
                {"/packed/v", H5T_NATIVE_FLOAT, v},
                {"/npy", H5T_NATIVE_INT32, npy},
                {"/packed/idx", H5T_NATIVE_UINT8, idx},
                {"/idx", H5T_NATIVE_UINT8, idx}};
    for (int i = 0; i < SOURCES; i++) {
        hid_t set = H5Dopen2(file, sets[i].path, H5P_DEFAULT);
        CHECK(H5Dread(set, sets[i].type, H5S_ALL, H5S_ALL, H5P_DEFAULT, sets[i].out) >= 0);
        H5Dclose(set);
        if (i < 3) continue;
        for (int64_t k = 0; k < (int64_t)IDX_ROWS * COLUMNS; k++) wrong += idx[k] != byte_at(k);
    }
    H5Fclose(file);
    for (int64_t i = 0; i < CSV_ROWS; i++)
        wrong += n[i] != i || v[2 * i] != (float)(i % 977) + 0.25F || v[2 * i + 1] != (float)i;
    for (int64_t k = 0; k < (int64_t)NPY_ROWS * COLUMNS; k++) {
        const uint32_t big = (uint32_t)byte_at(4 * k) << 24 | (uint32_t)byte_at(4 * k + 1) << 16 |
                             (uint32_t)byte_at(4 * k + 2) << 8 | byte_at(4 * k + 3);
        wrong += npy[k] != (int32_t)big;
    }
    CHECK_EQ_I64(wrong, 0);
    free(n);
    free(v);
    free(idx);
    free(npy);
}

/* The undisturbed import of one process, which the others are compared with. */
static void one_process(void) {
    dpt_import_source source[SOURCES];
    write_sources();
    find_sources(source);
    if (check_rank() == 0) {
        CHECK_OK(dpt_import_files(source, SOURCES, file_path("one.h5")));
        check_values("one.h5");
        CHECK_EQ_I64(partial_files(), 0);
    }
    files_ready();
}

/* That this process wrote, by whatever call. */
static int64_t bytes_written(void) {
    long long bytes = -1;
    char line[100];
    FILE *f = fopen("/proc/self/io", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "wchar: %lld", &bytes);
    if (f) fclose(f);
    return bytes;
}

/* Each rank writes its share, within a piece and what cannot be divided. */
static void all_ranks(void) {
    dpt_import_source source[SOURCES];
    find_sources(source);
    const int64_t before = bytes_written();
    CHECK_OK(dpt_import_files_with(&(dpt_import_options){.control = &control}, source, SOURCES, file_path("all.h5")));
    const int64_t all = (8 + 8LL) * CSV_ROWS + 2LL * IDX_ROWS * COLUMNS + 4LL * NPY_ROWS * COLUMNS;
    if (before >= 0) CHECK(bytes_written() - before > all / check_world() - (8 << 20));
    files_ready();
    if (check_rank() == 0) CHECK(same_bytes("one.h5", "all.h5") && partial_files() == 0);
    files_ready();
}

/* ---- killed ---- */

typedef struct until {
    int64_t bytes;                                      /* the end comes once so many are written */
    int64_t kept_rows, first_rows, last_rows, all_rows; /* what was told of */
} until;

static void kill_at(void *user, const dpt_import_progress *now) {
    if (now->bytes >= ((until *)user)->bytes) raise(SIGKILL);
}

static void look_back(void *user, const dpt_import_progress *now) {
    until *seen = user;
    if (seen->first_rows == 0) seen->first_rows = now->rows;
    seen->kept_rows = now->kept_rows;
    seen->last_rows = now->rows;
    seen->all_rows = now->all_rows;
}

/* A child, which does not use MPI, imports alone and is killed once so many bytes are written. */
static void import_and_die(int64_t bytes) {
    if (check_rank() == 0) {
        const pid_t child = fork();
        if (child == 0) {
            dpt_import_source source[SOURCES];
            until end = {.bytes = bytes};
            find_sources(source);
            dpt_import_files_with(&(dpt_import_options){.watch = kill_at, .user = &end, .every_piece = true}, source,
                                  SOURCES, file_path("again.h5"));
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        CHECK(access(file_path("again.h5"), F_OK) != 0 && partial_files() == 2);
    }
    files_ready();
}

static void import_again(until *seen) {
    dpt_import_source source[SOURCES];
    find_sources(source);
    said[0] = 0;
    *seen = (until){0};
    const dpt_import_options options = {.control = &control, .watch = look_back, .user = seen, .every_piece = true};
    CHECK_OK(dpt_import_files_with(&options, source, SOURCES, file_path("again.h5")));
    files_ready();
    if (check_rank() != 0) return;
    CHECK(same_bytes("one.h5", "again.h5") && partial_files() == 0);
    CHECK_EQ_I64(seen->last_rows, seen->all_rows); /* no row twice */
    unlink(file_path("again.h5"));
}

/* At the very beginning, in each source, and at the end. What is there again is all but the piece at hand. */
static void killed(void) {
    enum { MIB = 1 << 20, CSV = 8 * CSV_ROWS, PACKED = CSV, IDX = IDX_ROWS * COLUMNS, NPY = 4 * NPY_ROWS * COLUMNS };
    static const int64_t at[] = {1,
                                 3 * MIB,
                                 CSV + 3 * MIB,
                                 CSV + PACKED + 6 * MIB,
                                 CSV + PACKED + IDX + 6 * MIB,
                                 CSV + PACKED + 2 * IDX + 2 * MIB,
                                 CSV + PACKED + 2 * IDX + NPY};
    int64_t before = -1;
    for (size_t i = 0; i < sizeof at / sizeof *at; i += CHECK_IS_SLOW || check_world() > 1 ? 3 : 1) {
        until seen;
        import_and_die(at[i]);
        import_again(&seen);
        if (check_rank() != 0) continue;
        if (i > 0) heard("again.h5: goes on with an import that was ended by force");
        if (i > 0)
            check_that(seen.kept_rows > before && seen.first_rows > seen.kept_rows, __FILE__, __LINE__,
                       "killed at byte %lld: %lld rows kept, %lld before", (long long)at[i], (long long)seen.kept_rows,
                       (long long)before);
        before = seen.kept_rows;
    }
    if (check_rank() == 0) CHECK(before > 2 * CSV_ROWS + 2 * IDX_ROWS); /* to the last but one piece */
}

/* Killed again while it goes on: nothing of either is lost. */
static void killed_twice(void) {
    until seen;
    if (check_world() == 1) return;
    import_and_die(3 << 20);
    import_and_die(20 << 20);
    import_again(&seen);
    if (check_rank() == 0) CHECK(seen.kept_rows > CSV_ROWS);
}

/* What is half-made of other sources is not gone on with. */
static void changed_since(void) {
    until seen;
    import_and_die(20 << 20);
    if (check_rank() == 0) {
        FILE *f = fopen(file_path("a.npy"), "r+b");
        fseek(f, -1, SEEK_END);
        const int last = byte_at(4LL * NPY_ROWS * COLUMNS - 1);
        fputc(last, f); /* the same byte, another time */
        fclose(f);
    }
    files_ready();
    import_again(&seen);
    if (check_rank() != 0) return;
    CHECK_EQ_I64(seen.kept_rows, 0);
    heard("again.h5: a half-made import is thrown away: it is of other sources, or they changed");
}

/* Every byte of a journal's head and plan changed in turn, and some of its marks cut off: never believed. A half-made
 * target that was cut is thrown away too. */
static void damaged(void) {
    dpt_import_source source[SOURCES];
    struct stat about;
    if (check_world() > 1) return;
    find_sources(source);
    char journal[400], partial[400];
    snprintf(journal, sizeof journal, "%s", file_path("again.h5.partial.journal"));
    snprintf(partial, sizeof partial, "%s", file_path("again.h5.partial"));
    for (int kind = 0; kind < 5; kind++) {
        until seen;
        import_and_die(20 << 20);
        const int file = open(journal, O_RDWR);
        char byte;
        CHECK(file >= 0 && fstat(file, &about) == 0);
        const off_t at = kind == 0 ? 3 : about.st_size - 40; /* in the version; in the plan, before the marks */
        CHECK(pread(file, &byte, 1, at) == 1);
        byte ^= 1;
        if (kind < 2) CHECK(pwrite(file, &byte, 1, at) == 1);
        if (kind == 2) CHECK(ftruncate(file, about.st_size - 1) == 0);
        close(file);
        if (kind == 3) CHECK(truncate(partial, 1000) == 0);
        if (kind == 4) CHECK(unlink(journal) == 0);
        import_again(&seen);
        CHECK_EQ_I64(seen.kept_rows, 0);
        heard("again.h5: a half-made import is thrown away: it");
    }
}

/* ---- failures ---- */

static rlim_t usual;
static void set_limit(rlim_t bytes) {
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void fill_disk(void *user, const dpt_import_progress *now) {
    (void)user;
    if (now->bytes > 6 << 20) set_limit(1 << 20);
}

/* The disk fills before the first row, and in the middle: the last rank's file may not grow there, or where it is. */
static void disk_fills(void) {
    dpt_import_source source[SOURCES];
    struct rlimit limit;
    find_sources(source);
    getrlimit(RLIMIT_FSIZE, &limit);
    usual = limit.rlim_cur;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    const dpt_import_options options = {.control = &control};
    if (check_rank() == 0) set_limit(1 << 20);
    CHECK_FAILS(dpt_import_files_with(&options, source, SOURCES, file_path("full.h5")), DPT_ERR_IO,
                "full.h5 cannot be written: it needs ");
    set_limit(usual);
    const dpt_import_options filled = {.control = &control, .watch = fill_disk};
    CHECK_FAILS(dpt_import_files_with(&filled, source, SOURCES, file_path("full.h5")), DPT_ERR_IO,
                "full.h5 cannot be written: ");
    if (check_rank() == 0) CHECK(strstr(dpt_last_error(), "File too large") != NULL);
    set_limit(usual);
    signal(SIGXFSZ, before);
    files_ready();
    CHECK(access(file_path("full.h5"), F_OK) != 0 && partial_files() == 0);
    files_ready();
}

static void touch(void *user, const dpt_import_progress *now) {
    (void)now;
    FILE *f = fopen(user, "r+b");
    fseek(f, -1, SEEK_END);
    fputc(byte_at((int64_t)IDX_ROWS * COLUMNS - 1), f); /* as it was */
    fclose(f);
}

/* A source that is written to, with whatever bytes, before the last row is read. */
static void written_meanwhile(void) {
    dpt_import_source source[SOURCES];
    find_sources(source);
    char path[400];
    snprintf(path, sizeof path, "%s", file_path("i.idx"));
    const dpt_import_options options = {.control = &control, .watch = touch, .user = path};
    CHECK_FAILS(dpt_import_files_with(&options, source, SOURCES, file_path("bad.h5")), DPT_ERR_DATA,
                "i.idx: was written to while it was imported");
    files_ready();
    CHECK(access(file_path("bad.h5"), F_OK) != 0 && partial_files() == 0);
    files_ready();
}

/* The error of whichever rank meets it is that of all, and nothing is left. */
static void wrong_row(void) {
    if (check_rank() == 0) {
        FILE *f = fopen(file_path("t.csv"), "r+b");
        fseek(f, -4, SEEK_END);
        fputc('x', f);
        fclose(f);
    }
    files_ready();
    dpt_import_source source = {"/v", file_path("t.csv"), "v"};
    const dpt_import_options options = {.control = &control};
    /* a header of 2 lines, and rows of 3 lines more for each 1000 */
    char place[100];
    snprintf(place, sizeof place, "t.csv: line %d, column 3 (v)", 2 + CSV_ROWS + 2 * CSV_ROWS / 1000);
    CHECK_FAILS(dpt_import_files_with(&options, &source, 1, file_path("bad.h5")), DPT_ERR_DATA, place);
    files_ready();
    CHECK(access(file_path("bad.h5"), F_OK) != 0 && partial_files() == 0);
    files_ready();
}

int main(int argc, char **argv) {
    dpt_log_set(listen, NULL);
    return CHECK_MAIN(argc, argv, "import_resume", {"start", start}, {"one_process", one_process},
                      {"all_ranks", all_ranks}, {"killed", killed}, {"killed_twice", killed_twice},
                      {"changed_since", changed_since}, {"damaged", damaged}, {"disk_fills", disk_fills},
                      {"written_meanwhile", written_meanwhile}, {"wrong_row", wrong_row}, {"stop", stop});
}
