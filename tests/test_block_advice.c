/* What the system is told of blocks that rows come out of: each once an epoch, in its bounds, where it is not in the
 * page cache. The calls that tell it are this file's own. */
#include "data/block_advice.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "data/dataset_index.h"
#include "data/reader.h"
#include "data_files.h"

enum { ROWS = 1000, WIDTH = 600, ROW_BYTES = WIDTH * 4, BLOCK_ROWS = ((1 << 20) + ROW_BYTES - 1) / ROW_BYTES };

static struct {
    bool cached;
    int looks, count;
    uint64_t offset[64], bytes[64];
} said;

ssize_t preadv2(int descriptor, const struct iovec *to, int count, off_t offset, int flags) {
    (void)descriptor, (void)offset;
    CHECK(count == 1 && to->iov_len == 1 && flags == RWF_NOWAIT);
    said.looks++;
    if (said.cached) return 1;
    errno = EAGAIN;
    return -1;
}

int posix_fadvise(int descriptor, off_t offset, off_t bytes, int advice) {
    CHECK(descriptor >= 0 && advice == POSIX_FADV_WILLNEED && said.count < 64);
    said.offset[said.count] = (uint64_t)offset;
    said.bytes[said.count++] = (uint64_t)bytes;
    return 0;
}

static dpt_control control;

static dpt_dataset *open_data(file_storage storage) {
    static float x[ROWS * WIDTH];
    static int32_t y[ROWS];
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)i;
    const char *path = file_path("data.h5");
    hid_t file = file_create("data.h5");
    file_add(file, "y", H5T_STD_I32LE, DPT_I32, y, 1, (hsize_t[]){ROWS}, storage);
    file_add(file, "x", H5T_IEEE_F32LE, DPT_F32, x, 2, (hsize_t[]){ROWS, WIDTH}, storage);
    H5Fclose(file);
    dpt_dataset *ds = NULL;
    CHECK_OK(dpt_dataset_open(&control, &path, 1,
                              (dpt_field_spec[]){{.name = "y", .path = "y", .dtype = DPT_I32, .ndim = 0},
                                                 {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM}},
                              2, &ds));
    return ds;
}

/* All rows, far from each other. */
static void read_rows(dpt_reader *reader) {
    float x[WIDTH];
    int32_t y;
    int wrong = 0;
    for (uint64_t i = 0; i < ROWS; i++) {
        const uint64_t row = i * 387 % ROWS;
        CHECK_OK(dpt_reader_rows(reader, 1, row, 1, x));
        CHECK_OK(dpt_reader_rows(reader, 0, row, 1, &y));
        wrong += x[1] != (float)(row * WIDTH + 1);
    }
    CHECK_EQ_I64(wrong, 0);
}

static uint64_t total(void) {
    uint64_t bytes = 0;
    for (int i = 0; i < said.count; i++) bytes += said.bytes[i];
    return bytes;
}

static void contiguous(void) {
    dpt_dataset *ds = open_data(STORE_PLAIN);
    dpt_reader *reader;
    if (!ds || !CHECK_OK(dpt_reader_create(ds, 0, &reader))) return;
    const uint64_t begin = dpt_dataset_index(ds)->part[1].offset;
    memset(&said, 0, sizeof said);
    read_rows(reader);
    CHECK_EQ_I64(said.looks + said.count, 0); /* nothing is known of blocks */
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        memset(&said, 0, sizeof said);
        CHECK_OK(dpt_reader_in_blocks(reader, epoch));
        read_rows(reader);
        CHECK_EQ_I64(said.count, (ROWS + BLOCK_ROWS - 1) / BLOCK_ROWS);
        CHECK_EQ_I64(total(), ROWS * ROW_BYTES);
        for (int i = 0; i < said.count; i++) CHECK_EQ_I64((said.offset[i] - begin) % (BLOCK_ROWS * ROW_BYTES), 0);
        read_rows(reader);
        CHECK_EQ_I64(said.count, (ROWS + BLOCK_ROWS - 1) / BLOCK_ROWS);
    }
    memset(&said, 0, sizeof said);
    said.cached = true;
    CHECK_OK(dpt_reader_in_blocks(reader, 2));
    read_rows(reader);
    CHECK(said.looks == (ROWS + BLOCK_ROWS - 1) / BLOCK_ROWS && said.count == 0);
    dpt_reader_destroy(&reader);
    dpt_dataset_close(&ds);
}

static void in_chunks(void) {
    dpt_dataset *ds = open_data(STORE_CHUNKS);
    dpt_reader *reader;
    if (!ds || !CHECK_OK(dpt_reader_create(ds, 0, &reader))) return;
    const dpt_index_part *part = &dpt_dataset_index(ds)->part[1];
    float x[7 * WIDTH];
    memset(&said, 0, sizeof said);
    CHECK_OK(dpt_reader_in_blocks(reader, 0));
    for (uint64_t row = 0; row < 35; row += 5) CHECK_OK(dpt_reader_rows(reader, 1, row, 1, x));
    CHECK_EQ_I64(said.count, 5);
    for (int i = 0; i < said.count; i++)
        CHECK(said.offset[i] == part->chunk[i].offset && said.bytes[i] == part->chunk_bytes);
    CHECK_OK(dpt_reader_rows(reader, 1, 35, 7, x)); /* a whole one is read at once */
    CHECK_EQ_I64(said.count, 5);
    dpt_reader_destroy(&reader);
    dpt_dataset_close(&ds);
}

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }

static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "block_advice", {"start", start}, {"contiguous", contiguous},
                      {"in_chunks", in_chunks}, {"stop", stop});
}
