/* Going once over a part: every row at one rank, in blocks that begin at chunks; columns on all ranks; what cannot be
 * read or converted is named on all of them. */
#include "data/part_scan.h"

#include <stdlib.h>

#include "data_files.h"

enum { FIRST = 1003, ROWS = FIRST + 430, CHUNK = 7, WIDE = 12000 };

static dpt_control control;
static dpt_dataset *data; /* fields: id (i64), x (u8 [WIDE], deflated in chunks of 7 rows, cut across), plain (f64) */
static dpt_selection *part;
static uint64_t stored_bytes; /* of x, in both files */

static int64_t id_of(uint64_t sample) { return (int64_t)(sample * sample % 977); }

static void add_across(hid_t file, const uint8_t *x, hsize_t rows) {
    const hsize_t dim[] = {rows, WIDE}, chunk[] = {CHUNK, WIDE / 3 + 1};
    hid_t p = file_properties(STORE_DEFLATE, 2, chunk), space = H5Screate_simple(2, dim, NULL);
    hid_t set = H5Dcreate2(file, "x", H5T_STD_U8LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    stored_bytes += H5Dget_storage_size(set);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(p);
}

static void write_file(const char *name, uint64_t first, uint64_t rows) {
    int64_t *id = malloc(rows * sizeof *id);
    double *plain = malloc(rows * sizeof *plain);
    uint8_t *x = malloc(rows * WIDE);
    uint32_t noise = 1;
    for (uint64_t r = 0; r < rows; r++) {
        id[r] = id_of(first + r);
        plain[r] = 0.5 * (double)(first + r);
        for (int i = 0; i < WIDE; i++) x[r * WIDE + (uint64_t)i] = (uint8_t)((noise = noise * 1664525u + 99u) >> 29);
    }
    hid_t file = file_create(name);
    file_add(file, "id", H5T_STD_I64BE, DPT_I64, id, 1, (hsize_t[]){rows}, STORE_CHUNKS);
    file_add(file, "plain", H5T_IEEE_F64LE, DPT_F64, plain, 1, (hsize_t[]){rows}, STORE_PLAIN);
    add_across(file, x, rows);
    H5Fclose(file);
    free(id);
    free(plain);
    free(x);
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    const char *files[] = {file_path("a.h5"), file_path("b.h5")};
    if (check_rank() == 0) {
        write_file("a.h5", 0, FIRST);
        write_file("b.h5", FIRST, ROWS - FIRST);
    }
    files_ready();
    const dpt_field_spec fields[] = {{.name = "id", .path = "id", .dtype = DPT_I64, .ndim = 0},
                                     {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = 1, .dim = {WIDE}},
                                     {.name = "plain", .path = "plain", .dtype = DPT_F64, .ndim = 0}};
    CHECK_OK(dpt_dataset_open(&control, files, 2, fields, 3, &data));
    CHECK_OK(dpt_selection_create(ROWS, true, &part));
    for (uint64_t i = 0; i < ROWS; i++)
        if (i % 5 == 0 || (i > 300 && i < 500)) dpt_selection_remove(part, i, 1);
    CHECK_OK(dpt_selection_seal(part));
}

static void stop(void) {
    dpt_selection_destroy(&part);
    dpt_dataset_close(&data);
    check_nothing_open();
    dpt_control_close(&control);
}

typedef struct seen {
    const dpt_scan *scan;
    int64_t times[ROWS], block[ROWS];
    uint64_t last_block, next_row;
    bool any;
} seen;

static dpt_status look(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values) {
    seen *s = user;
    CHECK(!s->any || (block >= s->last_block && row == s->next_row)); /* in order */
    for (int64_t i = 0; i < rows; i++) {
        uint64_t k = row + (uint64_t)i, sample = s->scan->selection ? dpt_selection_sample(part, k) : k;
        s->times[k]++;
        s->block[k] = (int64_t)block;
        if (s->scan->field == 0) CHECK_EQ_I64(((const int64_t *)values)[i], id_of(sample));
    }
    s->any = true;
    s->last_block = block;
    s->next_row = row + (uint64_t)rows;
    return DPT_OK;
}

/* What all ranks together see, of so many blocks at most. */
static void tiles(void) {
    const uint64_t most[] = {1, 2, 5, 33, 1000, UINT64_MAX};
    for (int with = 0; with < 2; with++)
        for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
            dpt_scan scan = {
                .dataset = data, .dtype = DPT_I64, .selection = with ? part : NULL, .most_blocks = most[m]};
            static seen s;
            s = (seen){.scan = &scan};
            CHECK_OK(dpt_scan_share(&scan, control.rank, control.world, look, &s));
            const uint64_t rows = dpt_part_rows(data, scan.selection);
            CHECK_OK(dpt_control_sum_i64(&control, s.times, ROWS));
            CHECK_OK(dpt_control_sum_i64(&control, s.block, ROWS));
            for (uint64_t k = 0; k < rows; k++) {
                uint64_t sample = with ? dpt_selection_sample(part, k) : k;
                CHECK_EQ_I64(s.times[k], 1);
                CHECK((uint64_t)s.block[k] < dpt_scan_blocks(&scan) && dpt_scan_blocks(&scan) <= most[m]);
                uint64_t in_file = sample < FIRST ? sample : sample - FIRST;
                bool begins = in_file % CHUNK == 0;
                if (!with && k > 0 && s.block[k] != s.block[k - 1]) CHECK(begins && s.block[k] == s.block[k - 1] + 1);
            }
        }
}

static void columns(void) {
    static int64_t id[ROWS];
    static double plain[ROWS];
    for (int with = 0; with < 2; with++) {
        const dpt_selection *selection = with ? part : NULL;
        const uint64_t rows = dpt_part_rows(data, selection);
        dpt_scan scan = {.dataset = data, .dtype = DPT_I64, .selection = selection, .most_blocks = 50};
        memset(id, 0xff, sizeof id);
        memset(plain, 0xff, sizeof plain);
        CHECK_OK(dpt_scan_column(&control, &scan, id));
        scan.field = 2;
        scan.dtype = DPT_F64;
        CHECK_OK(dpt_scan_column(&control, &scan, plain));
        for (uint64_t k = 0; k < rows; k++) {
            uint64_t sample = with ? dpt_selection_sample(part, k) : k;
            CHECK(id[k] == id_of(sample) && plain[k] == 0.5 * (double)sample);
        }
        if (with) CHECK(rows < ROWS && id[rows] == -1); /* nothing is written past the end */
    }
}

/* Bytes that this process has read so far, by any call. */
static int64_t bytes_read(void) {
    long long bytes = -1;
    FILE *f = fopen("/proc/self/io", "r");
    if (f == NULL) return -1;
    if (fscanf(f, "rchar: %lld", &bytes) != 1) bytes = -1;
    fclose(f);
    return bytes;
}

static dpt_status pass(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values) {
    (void)block, (void)row, (void)values;
    *(int64_t *)user += rows;
    return DPT_OK;
}

/* Chunks are cut across the samples, and a piece of 1 MiB holds ten samples: each chunk is read once. */
static void each_chunk_once(void) {
    int64_t rows = 0, before = bytes_read();
    if (control.world > 1 || before < 0) return;
    dpt_scan scan = {.dataset = data, .field = 1, .dtype = DPT_F64, .most_blocks = 40};
    CHECK_OK(dpt_scan_share(&scan, 0, 1, pass, &rows));
    int64_t read = bytes_read() - before;
    CHECK_EQ_I64(rows, ROWS);
    check_that(read >= (int64_t)stored_bytes && read < (int64_t)stored_bytes + 65536, __FILE__, __LINE__,
               "%lld bytes were read of chunks of %lld", (long long)read, (long long)stored_bytes);
}

static dpt_status refuse(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values) {
    (void)user, (void)values;
    return block == 3 ? dpt_error(DPT_ERR_DATA, "rows %d to %d", (int)row, (int)row + (int)rows - 1) : DPT_OK;
}

static void faults(void) {
    static int64_t id[ROWS];
    const dpt_normalise few = {.classes = 900};
    dpt_scan scan = {.dataset = data, .dtype = DPT_I64, .normalise = &few, .most_blocks = 8};
    uint64_t first = 0;
    while (id_of(first) < 900) first++;
    CHECK_FAILS(dpt_scan_column(&control, &scan, id), DPT_ERR_DATA, "a.h5: id: sample ");
    CHECK_FAILS(dpt_scan_column(&control, &scan, id), DPT_ERR_DATA, "is outside [0, 900)");
    if (control.world == 1) {
        char text[80];
        snprintf(text, sizeof text, "sample %d (row %d of the file), element 0: label %d", (int)first, (int)first,
                 (int)id_of(first));
        CHECK_FAILS(dpt_scan_column(&control, &scan, id), DPT_ERR_DATA, text);
    }
    scan = (dpt_scan){.dataset = data, .field = 1, .dtype = DPT_F64, .most_blocks = 8};
    CHECK_FAILS(dpt_scan_column(&control, &scan, id), DPT_ERR_SHAPE, "x holds 12000 values a sample");
    scan.field = 0;
    scan.dtype = DPT_I64;
    CHECK_FAILS(dpt_control_agree(&control, dpt_scan_share(&scan, control.rank, control.world, refuse, NULL)),
                DPT_ERR_DATA, "rows ");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "part_scan", {"start", start}, {"tiles", tiles}, {"columns", columns},
                      {"each_chunk_once", each_chunk_once}, {"faults", faults}, {"stop", stop});
}
