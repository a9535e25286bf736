/* What decoding costs in any order: the estimate beside what a reader decodes, for caches of several sizes; which
 * chunks count at all. */
#include "data/read_cost.h"

#include <stdlib.h>

#include "data/reader.h"
#include "data/sampler.h"
#include "data_files.h"

enum { ROWS = 1400, CHUNK = 7, CHUNKS = ROWS / CHUNK, WIDE = 600 };

static dpt_control control;
static dpt_dataset *data, *plain; /* data: deflated, and plain beside it; plain: chunks that need no decoding */
static dpt_selection *part;

static void open(dpt_dataset **dataset, int count, const char *first, const char *second) {
    const dpt_field_spec fields[] = {{.name = "a", .path = first, .dtype = DPT_F32, .ndim = 1, .dim = {WIDE}},
                                     {.name = "b", .path = second, .dtype = DPT_F32, .ndim = 1, .dim = {WIDE}}};
    const char *files[] = {file_path("a.h5")};
    CHECK_OK(dpt_dataset_open(&control, files, 1, fields, count, dataset));
}

/* In chunks across the axis of a sample, which may still grow. */
static void add_chunked(hid_t file, const char *name, const uint8_t *x, const hsize_t *chunk) {
    const hsize_t dim[] = {ROWS, WIDE}, most[] = {ROWS, H5S_UNLIMITED};
    hid_t p = file_properties(STORE_CHUNKS, 2, chunk), space = H5Screate_simple(2, dim, most);
    hid_t set = H5Dcreate2(file, name, H5T_STD_U8LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(p);
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    uint8_t *x = calloc(ROWS, WIDE);
    hid_t file = file_create("a.h5");
    const hsize_t dim[] = {ROWS, WIDE};
    file_add(file, "deflated", H5T_STD_U8LE, DPT_U8, x, 2, dim, STORE_DEFLATE);
    file_add(file, "chunks", H5T_STD_U8LE, DPT_U8, x, 2, dim, STORE_CHUNKS);
    file_add(file, "plain", H5T_STD_U8LE, DPT_U8, x, 2, dim, STORE_PLAIN);
    int64_t offset[ROWS / 4 + 1];
    for (int i = 0; i <= ROWS / 4; i++) offset[i] = 4 * i;
    file_add(file, "offsets", H5T_STD_I64LE, DPT_I64, offset, 1, (hsize_t[]){ROWS / 4 + 1}, STORE_PLAIN);
    add_chunked(file, "cut", x, (hsize_t[]){CHUNK, WIDE / 2});
    add_chunked(file, "wide", x, (hsize_t[]){CHUNK, 2 * WIDE});
    H5Fclose(file);
    free(x);
    open(&data, 2, "deflated", "plain");
    open(&plain, 2, "chunks", "plain");
    CHECK_OK(dpt_selection_create(ROWS, false, &part));
    for (uint64_t c = 0; c < CHUNKS; c += 4) dpt_selection_add(part, c * CHUNK + 2, 3);
    CHECK_OK(dpt_selection_seal(part));
}

static void stop(void) {
    dpt_selection_destroy(&part);
    dpt_dataset_close(&data);
    dpt_dataset_close(&plain);
    check_nothing_open();
    dpt_control_close(&control);
}

static void counts(void) {
    dpt_read_cost cost = dpt_read_cost_find(plain, NULL);
    CHECK(cost.bytes == 0 && dpt_read_cost_decodes(&cost, 0) == 0);
    cost = dpt_read_cost_find(data, NULL);
    CHECK_EQ_I64(cost.bytes, ROWS * WIDE);
    CHECK_NEAR(cost.rows_per_chunk, CHUNK, 0);
    CHECK_NEAR(dpt_read_cost_decodes(&cost, 0), CHUNK, 0);
    cost = dpt_read_cost_find(data, part); /* three rows of every fourth chunk */
    CHECK_EQ_I64(cost.bytes, ROWS * WIDE / 4);
    CHECK_NEAR(cost.rows_per_chunk, 3, 0);
    dpt_dataset *cut;
    open(&cut, 1, "cut", NULL);
    cost = dpt_read_cost_find(cut, NULL);
    CHECK_EQ_I64(cost.bytes, ROWS * WIDE);
    CHECK_NEAR(cost.rows_per_chunk, CHUNK, 0);
    dpt_dataset_close(&cut);
    open(&cut, 1, "wide", NULL); /* chunks wider than a sample are put together too */
    cost = dpt_read_cost_find(cut, NULL);
    CHECK_EQ_I64(cost.bytes, 2 * ROWS * WIDE);
    dpt_dataset_close(&cut);
    dpt_dataset *sequences; /* of four steps: 350 samples */
    const char *files[] = {file_path("a.h5")};
    const dpt_field_spec of_steps = {
        .name = "s", .path = "deflated", .offsets = "offsets", .dtype = DPT_F32, .ndim = 2, .dim = {DPT_ANY_DIM, WIDE}};
    CHECK_OK(dpt_dataset_open(&control, files, 1, &of_steps, 1, &sequences));
    cost = dpt_read_cost_find(sequences, NULL);
    CHECK_EQ_I64(cost.bytes, ROWS * WIDE);
    CHECK_NEAR(cost.rows_per_chunk, CHUNK / 4.0, 1e-12);
    dpt_dataset_close(&sequences);
}

/* Chunks that ranks decode in an epoch, each in its share, over all chunks; the mean of some epochs after the first. */
static double decodes(int world, uint64_t cache_bytes) {
    enum { EPOCHS = 4 };
    dpt_order order = dpt_order_create(ROWS, 3);
    uint64_t chunks = 0;
    for (int rank = 0; rank < world; rank++) {
        dpt_reader *reader;
        uint8_t row[WIDE];
        int64_t first, count;
        CHECK_OK(dpt_reader_create(data, cache_bytes, &reader));
        dpt_share(ROWS, rank, world, &first, &count);
        for (uint64_t e = 0; e < EPOCHS; e++) {
            uint64_t before = dpt_reader_chunks(reader);
            for (int64_t i = first; i < first + count; i++)
                CHECK_OK(dpt_reader_rows(reader, 0, dpt_order_exact(&order, e, (uint64_t)i), 1, row));
            if (e > 0) chunks += dpt_reader_chunks(reader) - before;
        }
        dpt_reader_destroy(&reader);
    }
    return (double)chunks / (EPOCHS - 1) / CHUNKS;
}

static void estimates(void) {
    const dpt_read_cost cost = dpt_read_cost_find(data, NULL);
    for (int world = 1; world <= 4; world += 3)
        for (int quarter = 0; quarter <= 4; quarter++) {
            uint64_t kept = (uint64_t)quarter * cost.bytes / 4;
            double expected = dpt_read_cost_decodes(&cost, kept), found = decodes(world, kept);
            double late = world > 1 && kept == cost.bytes ? 0.25 : 0; /* chunks that a rank comes across at last */
            check_that(fabs(found - expected) <= expected * 0.15 + late, __FILE__, __LINE__,
                       "%d ranks, %d quarters kept: %.3f decodes a chunk, %.3f expected", world, quarter, found,
                       expected);
        }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "read_cost", {"start", start}, {"counts", counts}, {"estimates", estimates},
                      {"stop", stop});
}
