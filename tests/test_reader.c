/* The reader: chunks that were decoded once however many threads and rows ask, and files that are damaged, changed or
 * failing. That it gives what HDF5 gives: test_layouts.c. */
#include "data/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "chunk_files.h"

/* pread as the tests want it: the next `failures` calls fail, then every `often`-th, and no call gives more than `most`
 * bytes. */
static struct { atomic_int failures, often, error, most, calls; } reads;

ssize_t pread(int descriptor, void *out, size_t bytes, off_t offset) {
    int call = atomic_fetch_add(&reads.calls, 1);
    if (reads.often > 0 && call % reads.often == 0) {
        errno = reads.error;
        return -1;
    }
    if (atomic_load(&reads.failures) > 0 && atomic_fetch_sub(&reads.failures, 1) > 0) {
        errno = reads.error;
        return -1;
    }
    if (reads.most > 0 && bytes > (size_t)reads.most) bytes = (size_t)reads.most;
    return syscall(SYS_pread64, descriptor, out, bytes, offset);
}

/* A chunk written without the filters of its dataset says so in its mask. */
static void masked_chunk(void) {
    hid_t file = file_create("mask.h5");
    add_chunked(file, "x0", H5T_IEEE_F32LE, chunks[0], SHUFFLE_DEFLATE, 3);
    hid_t set = H5Dopen2(file, "x0", H5P_DEFAULT);
    float plain[7 * ROW_ELEMENTS];
    for (int i = 0; i < 7 * ROW_ELEMENTS; i++) plain[i] = (float)i;
    CHECK(H5Dwrite_chunk(set, H5P_DEFAULT, 3, (hsize_t[]){7, 0, 0}, sizeof plain, plain) >= 0);
    H5Dclose(set);
    H5Fclose(file);
    dpt_dataset *ds;
    if (!CHECK_OK(open_fields("mask.h5", 1, &ds))) return;
    CHECK_EQ_I64(dpt_dataset_index(ds)->part[0].chunk[1].mask, 3);
    check_field(file_path("mask.h5"), ds, 0, 0);
    dpt_reader *reader;
    CHECK_OK(dpt_reader_create(ds, 1 << 20, &reader));
    CHECK_OK(dpt_reader_rows(reader, 0, 8, 3, plain));
    CHECK(plain[0] == (float)ROW_ELEMENTS);
    CHECK_EQ_I64(dpt_reader_chunks(reader), 0); /* rows stand there as they are */
    dpt_reader_destroy(&reader);
    dpt_dataset_close(&ds);
}

/* How often chunks are decoded: 4 of whole rows a field, 24 across the axes. */
static void decodes_once(void) {
    for (int cut = 0; cut < 2; cut++) {
        dpt_dataset *ds = open_two("once.h5", ALL_THREE, cut);
        uint64_t all = dpt_dataset_index(ds)->part[0].chunks, band = cut == 0 ? 1 : 4;
        uint64_t bytes = dpt_dataset_index(ds)->part[0].chunk_bytes;
        float row[ROWS * ROW_ELEMENTS];
        const struct {
            uint64_t cache;
            int fields, step;
            uint64_t decoded;
        } plan[] = {{band * bytes, 1, 1, all},                        /* in order, a band fits */
                    {all * bytes, 1, 5, all},                         /* in any order, all fit */
                    {2 * band * bytes, 2, 1, 2 * all},                /* two fields in turn */
                    {0, 1, 1, cut == 0 ? all : (uint64_t)(ROWS * 4)}, /* one chunk at the least */
                    {0, 2, 1, cut == 0 ? 2 * all : (uint64_t)(2 * ROWS * 4)}};
        for (size_t i = 0; ds && i < sizeof plan / sizeof *plan; i++) {
            dpt_reader *reader;
            CHECK_OK(dpt_reader_create(ds, plan[i].cache, &reader));
            for (int r = 0; r < ROWS; r++)
                for (int f = 0; f < plan[i].fields; f++)
                    CHECK_OK(dpt_reader_rows(reader, f, (uint64_t)(r * plan[i].step % ROWS), 1, row));
            CHECK_EQ_I64(dpt_reader_chunks(reader), plan[i].decoded);
            dpt_reader_destroy(&reader);
        }
        dpt_dataset_close(&ds);
    }
}

/* All rows of a chunk go straight to the caller, and are not kept; they come from the cache if they are there. */
static void whole_chunks(void) {
    dpt_dataset *ds = open_two("whole.h5", ALL_THREE, 0);
    const struct {
        uint64_t row, count, decoded;
    } plan[] = {{0, 7, 1}, {0, 7, 2}, {3, 1, 3}, {0, 7, 3}, {2, 5, 3}, {7, 7, 4}, {8, 1, 5}};
    float rows[7 * ROW_ELEMENTS];
    dpt_reader *reader;
    if (ds == NULL || !CHECK_OK(dpt_reader_create(ds, 1 << 20, &reader))) return;
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        CHECK_OK(dpt_reader_rows(reader, 0, plan[i].row, plan[i].count, rows));
        CHECK_EQ_I64(dpt_reader_chunks(reader), plan[i].decoded);
    }
    dpt_reader_destroy(&reader);
    dpt_dataset_close(&ds);
}

typedef struct reading {
    dpt_reader *reader;
    const unsigned char *want;
    int wrong;
} reading;

static void *read_many(void *user) {
    reading *r = user;
    unsigned char have[ROW_ELEMENTS * 4];
    for (uint64_t i = 0; i < 400; i++) {
        uint64_t row = i * 17 % ROWS;
        if (dpt_reader_rows(r->reader, 0, row, 1, have) != DPT_OK ||
            memcmp(have, r->want + row * sizeof have, sizeof have) != 0)
            r->wrong++;
    }
    return NULL;
}

/* Threads that share a cache decode each chunk once between them; in a small one they stay right. */
static void threads(void) {
    dpt_dataset *ds = open_two("threads.h5", ALL_THREE, 1);
    unsigned char *want = truth(file_path("threads.h5"), "x0");
    for (int small = 0; small < 2; small++) {
        enum { THREADS = 4 };
        reading r[THREADS] = {{.want = want}};
        pthread_t thread[THREADS];
        uint64_t decoded = 0;
        CHECK_OK(dpt_reader_create(ds, small ? 3 * 96 : 1 << 20, &r[0].reader));
        for (int i = 1; i < THREADS; i++) {
            r[i].want = want;
            CHECK_OK(dpt_reader_share(r[0].reader, &r[i].reader));
        }
        for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, read_many, &r[i]);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(thread[i], NULL);
            CHECK_EQ_I64(r[i].wrong, 0);
            decoded += dpt_reader_chunks(r[i].reader);
            dpt_reader_destroy(&r[i].reader);
        }
        if (!small) CHECK_EQ_I64(decoded, dpt_dataset_index(ds)->part[0].chunks);
    }
    free(want);
    dpt_dataset_close(&ds);
}

static void change_bytes(const char *name, uint64_t offset, const void *bytes, size_t count) {
    int file = open(file_path(name), O_WRONLY);
    CHECK(file >= 0 && pwrite(file, bytes, count, (off_t)offset) == (ssize_t)count);
    close(file);
}

/* One byte of one chunk, in the file before it is opened: the other chunks read well. */
static void damaged_chunk(void) {
    dpt_dataset *ds = open_two("flip.h5", FLETCHER, 0);
    uint64_t offset = dpt_dataset_index(ds)->part[1].chunk[2].offset;
    dpt_dataset_close(&ds);
    unsigned char *want = truth(file_path("flip.h5"), "x1"), out[ROWS * ROW_ELEMENTS * 4], byte;
    int file = open(file_path("flip.h5"), O_RDONLY);
    CHECK(syscall(SYS_pread64, file, &byte, 1, offset + 100) == 1);
    close(file);
    byte ^= 16;
    change_bytes("flip.h5", offset + 100, &byte, 1);
    if (!CHECK_OK(open_fields("flip.h5", 2, &ds))) return;
    dpt_reader *reader;
    CHECK_OK(dpt_reader_create(ds, 1 << 20, &reader));
    check_read(reader, ds, 1, 0, 14, want);
    CHECK_FAILS(dpt_reader_rows(reader, 1, 12, 5, out), DPT_ERR_DATA,
                "flip.h5: x1: rows 12 to 16: chunk 2 of 4 (at byte ");
    CHECK(strstr(dpt_last_error(), "fletcher32") != NULL);
    CHECK_FAILS(dpt_reader_rows(reader, 1, 0, ROWS, out), DPT_ERR_DATA, "flip.h5: x1: rows 0 to 22: chunk 2 of 4");
    check_read(reader, ds, 1, 21, 2, want);
    dpt_reader_destroy(&reader);
    dpt_dataset_close(&ds);
    free(want);
}

/* Written to after the index was made: named by the next reader, and by one that finds damage. */
static void changed_file(void) {
    dpt_dataset *ds = open_two("changed.h5", FLETCHER, 0);
    float out[ROWS * ROW_ELEMENTS];
    dpt_reader *before, *after;
    CHECK_OK(dpt_reader_create(ds, 0, &before));
    CHECK_OK(dpt_reader_rows(before, 0, 0, 1, out));
    usleep(20000); /* longer than the clock of file times ticks */
    change_bytes("changed.h5", dpt_dataset_index(ds)->part[0].chunk[1].offset, "new bytes", 9);
    CHECK_OK(dpt_reader_create(ds, 0, &after));
    CHECK_FAILS(dpt_reader_rows(after, 0, 0, 1, out), DPT_ERR_DATA,
                "changed.h5: x0: rows 0 to 0: the file was changed between index and read: it has been written to");
    CHECK_FAILS(dpt_reader_rows(before, 0, 7, 2, out), DPT_ERR_DATA,
                "changed.h5: x0: rows 7 to 8: the file was changed between index and read");
    CHECK(truncate(file_path("changed.h5"), (off_t)dpt_dataset_index(ds)->part[0].chunk[3].offset + 10) == 0);
    CHECK_FAILS(dpt_reader_rows(after, 0, 0, 1, out), DPT_ERR_DATA, " bytes then, ");
    CHECK_FAILS(dpt_reader_rows(before, 0, 21, 2, out), DPT_ERR_DATA,
                "changed.h5: x0: rows 21 to 22: the file was changed");
    dpt_reader_destroy(&before);
    dpt_reader_destroy(&after);
    dpt_dataset_close(&ds);
}

/* Storage that gives little at a time, fails for a while, fails for good. */
static void failing_storage(void) {
    dpt_dataset *ds = open_two("fails.h5", SHUFFLE_DEFLATE, 0);
    unsigned char *want = truth(file_path("fails.h5"), "x0"), out[ROWS * ROW_ELEMENTS * 4];
    const struct {
        int failures, error, most;
        const char *text;
        int often;
    } plan[] = {{0, 0, 7, NULL, 0},
                {0, EIO, 50, NULL, 2},
                {3, EIO, 0, NULL, 0},
                {3, EIO, 7, NULL, 0},
                {500, EINTR, 0, NULL, 0},
                {100, EIO, 0, "fails.h5: x0: rows 3 to 5: chunk 0 of 4 (at byte ", 0},
                {1, ENXIO, 0, "No such device or address (tries: 1, 0.", 0},
                {1, ESTALE, 0, "Stale file handle (tries: 1, 0.", 0},
                {3, ETIMEDOUT, 0, NULL, 0},
                {3, EAGAIN, 0, NULL, 0},
                {4, ETIMEDOUT, 0, "Connection timed out (tries: 4, 0.", 0},
                {2000, EINTR, 0, "Interrupted system call (tries: 1000, ", 0}};
    for (size_t i = 0; ds && i < sizeof plan / sizeof *plan; i++) {
        dpt_reader *reader;
        CHECK_OK(dpt_reader_create(ds, 0, &reader));
        reads.error = plan[i].error;
        reads.most = plan[i].most;
        reads.often = plan[i].often;
        reads.failures = plan[i].failures;
        if (plan[i].text == NULL) {
            check_read(reader, ds, 0, 3, 3, want);
            if (plan[i].failures > 0 && plan[i].error != EINTR)
                CHECK_EQ_I64(dpt_reader_done(reader).retries, plan[i].failures);
        } else {
            int calls = reads.calls;
            CHECK_FAILS(dpt_reader_rows(reader, 0, 3, 3, out), DPT_ERR_IO, plan[i].text);
            if (plan[i].error == EIO) CHECK_EQ_I64(reads.calls - calls, 4);
            reads.failures = 0;
            check_read(reader, ds, 0, 3, 3, want); /* and the reader goes on */
        }
        reads.failures = reads.most = reads.often = 0;
        dpt_reader_destroy(&reader);
    }
    free(want);
    dpt_dataset_close(&ds);
}

/* Each allocation fails in turn: nothing leaks, and the next try works. */
static void out_of_memory(void) {
    dpt_dataset *ds = open_two("memory.h5", SHUFFLE_DEFLATE, 1);
    unsigned char *want = truth(file_path("memory.h5"), "x0"), out[ROWS * ROW_ELEMENTS * 4];
    int failures = 0;
    for (int64_t n = 1; ds && n < 200; n++) {
        dpt_reader *reader = NULL, *other = NULL;
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_reader_create(ds, 500, &reader);
        if (status == DPT_OK) status = dpt_reader_share(reader, &other);
        if (status == DPT_OK) status = dpt_reader_rows(other, 0, 0, ROWS, out);
        dpt_alloc_fail_at(0);
        if (other) check_read(other, ds, 0, 0, ROWS, want);
        dpt_reader_destroy(&reader);
        dpt_reader_destroy(&other);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY);
        failures++;
    }
    CHECK(failures >= 10 && failures < 199);
    free(want);
    dpt_dataset_close(&ds);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "reader", {"start", start}, {"masked_chunk", masked_chunk},
                      {"decodes_once", decodes_once}, {"whole_chunks", whole_chunks}, {"threads", threads},
                      {"damaged_chunk", damaged_chunk}, {"changed_file", changed_file},
                      {"failing_storage", failing_storage}, {"out_of_memory", out_of_memory}, {"stop", stop});
}
