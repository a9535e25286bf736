/* Datasets: every stored type and storage read back, files that continue each other, and each way a file can be bad.
 * Runs at several rank counts: every rank must end with the same status and message. */
#include "data/dataset.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/memory.h"
#include "data_files.h"

enum { ROWS = 50, WIDTH = 6 };

static dpt_control control;

/* What stands at an element, in each type: exact in all of them. */
static int64_t value_at(int64_t row, int64_t element) { return (row * 31 + element * 7) % 200; }

static void fill(dpt_dtype dtype, int64_t first_row, int64_t rows, void *out) {
    for (int64_t i = 0; i < rows * WIDTH; i++) {
        int64_t v = value_at(first_row + i / WIDTH, i % WIDTH);
        switch (dtype) {
            case DPT_F32: ((float *)out)[i] = (float)v + 0.5f; break;
            case DPT_F64: ((double *)out)[i] = (double)v + 0.25; break;
            case DPT_U8: ((uint8_t *)out)[i] = (uint8_t)v; break;
            case DPT_I32: ((int32_t *)out)[i] = (int32_t)(v - 100); break;
            case DPT_I64: ((int64_t *)out)[i] = (v - 100) * ((int64_t)1 << 40); break;
            default: break;
        }
    }
}

static void add_values(hid_t file, const char *path, hid_t disk, dpt_dtype dtype, int64_t first_row, int64_t rows,
                       file_storage storage) {
    char *data = malloc((size_t)(rows * WIDTH + 1) * 8);
    fill(dtype, first_row, rows, data);
    file_add(file, path, disk, dtype, data, 3, (hsize_t[]){(hsize_t)rows, 2, WIDTH / 2}, storage);
    free(data);
}

static dpt_status open_one(const char *file, dpt_field_spec spec, dpt_dataset **ds) {
    if (spec.name == NULL) spec.name = "x";
    return dpt_dataset_open(&control, &file, 1, &spec, 1, ds);
}

static void check_rows(const dpt_dataset *ds, int field, dpt_dtype dtype, uint64_t row, uint64_t count) {
    char have[200 * WIDTH * 8], want[200 * WIDTH * 8];
    memset(have, 0x55, sizeof have);
    fill(dtype, (int64_t)row, (int64_t)count, want);
    CHECK_OK(dpt_dataset_read(ds, field, row, count, have));
    check_that(memcmp(have, want, count * WIDTH * dpt_dtype_size(dtype)) == 0, __FILE__, __LINE__, "%s rows %d + %d",
               dpt_dtype_text(dtype), (int)row, (int)count);
}

static hid_t disk_type(dpt_dtype dtype) {
    const hid_t types[] = {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_U8LE, H5T_STD_I32LE, H5T_STD_I64LE};
    return types[dtype];
}

static void types_and_storage(void) {
    for (int t = 0; t < DPT_I64 + 1; t++)
        for (file_storage storage = STORE_PLAIN; storage <= STORE_COMPACT; storage++) {
            if (check_rank() == 0) {
                hid_t file = file_create("types.h5");
                add_values(file, "/deep/group/x", disk_type((dpt_dtype)t), (dpt_dtype)t, 0, ROWS, storage);
                H5Fclose(file);
            }
            files_ready();
            dpt_dataset *ds;
            dpt_field_spec spec = {.path = "/deep/group/x", .dtype = DPT_F64, .ndim = 2, .dim = {2, DPT_ANY_DIM}};
            if (!CHECK_OK(open_one(file_path("types.h5"), spec, &ds))) continue;
            CHECK_EQ_I64(dpt_dataset_rows(ds), ROWS);
            const dpt_field *field = dpt_dataset_field(ds, 0);
            CHECK(dpt_stored_is(field->stored, (dpt_dtype)t) && field->dtype == DPT_F64 && field->ndim == 2 &&
                  field->dim[1] == 3);
            CHECK_EQ_I64(field->elements, WIDTH);
            check_rows(ds, 0, (dpt_dtype)t, 0, ROWS);
            check_rows(ds, 0, (dpt_dtype)t, 13, 2);
            for (uint64_t row = 0; row < ROWS; row += 7) check_rows(ds, 0, (dpt_dtype)t, (row * 29) % ROWS, 1);
            CHECK_FAILS(dpt_dataset_read(ds, 0, ROWS, 1, NULL), DPT_ERR_ARG, "rows 50 to 51 of a dataset of 50");
            CHECK_OK(dpt_dataset_read(ds, 0, ROWS, 0, NULL));
            dpt_dataset_close(&ds);
            CHECK(ds == NULL);
            files_ready();
        }
}

static void write_parts(void) {
    const int rows[] = {10, 0, 25, 15};
    int64_t first = 0;
    for (int f = 0; f < 4 && check_rank() == 0; f++) {
        char name[20];
        snprintf(name, sizeof name, "part%d.h5", f);
        hid_t file = file_create(name);
        add_values(file, "x", H5T_IEEE_F32LE, DPT_F32, first, rows[f], f == 2 ? STORE_CHUNKS : STORE_PLAIN);
        add_values(file, "y", H5T_STD_I32LE, DPT_I32, first, rows[f], STORE_PLAIN);
        H5Fclose(file);
        first += rows[f];
    }
    files_ready();
}

static void several_files(void) {
    write_parts();
    const char *files[] = {file_path("part0.h5"), file_path("part1.h5"), file_path("part2.h5"), file_path("part3.h5")};
    dpt_field_spec fields[] = {{.name = "x", .path = "x", .dtype = DPT_F32, .ndim = 2, .dim = {2, 3}},
                               {.name = "y", .path = "/y", .dtype = DPT_I64, .ndim = DPT_ANY_NDIM}};
    bool zero = check_rank() == 0; /* only rank 0's arguments count */
    dpt_dataset *ds, *again;
    if (!CHECK_OK(
            dpt_dataset_open(&control, zero ? files : NULL, zero ? 4 : 0, zero ? fields : NULL, zero ? 2 : 0, &ds)))
        return;
    CHECK_EQ_I64(dpt_dataset_rows(ds), 50);
    CHECK_EQ_I64(dpt_dataset_field_count(ds), 2);
    CHECK_EQ_TEXT(dpt_dataset_field(ds, 1)->name, "y");
    check_rows(ds, 0, DPT_F32, 0, 50);
    check_rows(ds, 1, DPT_I32, 5, 40);
    for (uint64_t row = 0; row < 50; row++) check_rows(ds, 0, DPT_F32, row, 1);
    uint64_t row;
    CHECK_EQ_TEXT(dpt_dataset_locate(ds, 9, &row), files[0]);
    CHECK_EQ_I64(row, 9);
    CHECK_EQ_TEXT(dpt_dataset_locate(ds, 10, &row), files[2]);
    CHECK_EQ_I64(row, 0);
    CHECK_EQ_TEXT(dpt_dataset_locate(ds, 49, &row), files[3]);
    CHECK_EQ_I64(row, 14);
    CHECK_OK(dpt_control_same(&control, "digest", dpt_dataset_digest(ds)));
    CHECK_OK(dpt_dataset_open(&control, files, 4, fields, 2, &again));
    CHECK(again && dpt_dataset_digest(ds) == dpt_dataset_digest(again));
    dpt_dataset_close(&again);
    CHECK_OK(dpt_dataset_open(&control, files, 3, fields, 2, &again));
    CHECK(again && dpt_dataset_digest(ds) != dpt_dataset_digest(again));
    dpt_dataset_close(&again);
    dpt_dataset_close(&ds);
    files_ready();
}

typedef struct reading {
    const dpt_dataset *ds;
    uint64_t start;
    int wrong;
} reading;

static void *read_many(void *user) {
    reading *r = user;
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t row = (r->start + i * 17) % 50;
        float have[WIDTH], want[WIDTH];
        fill(DPT_F32, (int64_t)row, 1, want);
        if (dpt_dataset_read(r->ds, 0, row, 1, have) != DPT_OK || memcmp(have, want, sizeof want) != 0) r->wrong++;
    }
    return NULL;
}

static void threads(void) {
    write_parts();
    const char *files[] = {file_path("part0.h5"), file_path("part2.h5"), file_path("part3.h5")};
    dpt_field_spec field = {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};
    dpt_dataset *ds;
    if (!CHECK_OK(dpt_dataset_open(&control, files, 3, &field, 1, &ds))) return;
    pthread_t thread[4];
    reading r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = (reading){.ds = ds, .start = (uint64_t)i * 11};
        pthread_create(&thread[i], NULL, read_many, &r[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        CHECK_EQ_I64(r[i].wrong, 0);
    }
    dpt_dataset_close(&ds);
    files_ready();
}

static void refuse(const char *file, dpt_field_spec spec, dpt_status code, const char *text) {
    dpt_dataset *ds = (dpt_dataset *)&control;
    files_ready();
    CHECK_FAILS(open_one(file_path(file), spec, &ds), code, text);
    CHECK(ds == NULL);
    if (strstr(dpt_last_error(), file) == NULL)
        CHECK_EQ_TEXT(dpt_last_error(), file); /* every message names the file */
    files_ready();
}

static const dpt_field_spec any_x = {.path = "/x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};

static void cut(const char *name, long bytes) {
    if (check_rank() == 0) CHECK(truncate(file_path(name), bytes) == 0);
}

static void write_bytes(const char *name, const char *text) {
    if (check_rank() != 0) return;
    FILE *f = fopen(file_path(name), "w");
    CHECK(f != NULL && fputs(text, f) >= 0);
    fclose(f);
}

static void bad_files(void) {
    refuse("none.h5", any_x, DPT_ERR_IO, "none.h5: No such file or directory");
    refuse("", any_x, DPT_ERR_DATA, "not a regular file");
    write_bytes("text.h5", "these are not the bytes you are looking for\n");
    refuse("text.h5", any_x, DPT_ERR_DATA, "text.h5: not an HDF5 file");
    write_bytes("empty.h5", "");
    refuse("empty.h5", any_x, DPT_ERR_DATA, "empty.h5: an empty file, of 0 bytes");
    long size = 0;
    if (check_rank() == 0) {
        hid_t file = file_create("cut.h5");
        add_values(file, "x", H5T_IEEE_F32LE, DPT_F32, 0, ROWS, STORE_PLAIN);
        H5Fclose(file);
        FILE *f = fopen(file_path("cut.h5"), "r");
        fseek(f, 0, SEEK_END);
        size = ftell(f);
        fclose(f);
    }
    MPI_Bcast(&size, 1, MPI_LONG, 0, MPI_COMM_WORLD);
    char text[80];
    snprintf(text, sizeof text, "cut.h5: truncated: %ld bytes of %ld", size - 100, size);
    cut("cut.h5", size - 100);
    refuse("cut.h5", any_x, DPT_ERR_DATA, text);
    cut("cut.h5", 40);
    refuse("cut.h5", any_x, DPT_ERR_DATA, "damaged or truncated");
}

static void bad_shapes(void) {
    if (check_rank() == 0) {
        hid_t file = file_create("shape.h5");
        add_values(file, "/train/x", H5T_IEEE_F32LE, DPT_F32, 0, ROWS, STORE_PLAIN);
        add_values(file, "/train/short", H5T_IEEE_F32LE, DPT_F32, 0, ROWS - 1, STORE_PLAIN);
        add_values(file, "/train/zero", H5T_IEEE_F32LE, DPT_F32, 0, 0, STORE_PLAIN);
        float one = 1;
        hid_t space = H5Screate(H5S_SCALAR);
        hid_t set = H5Dcreate2(file, "scalar", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &one);
        H5Dclose(set);
        H5Sclose(space);
        H5Fclose(file);
    }
    dpt_field_spec x = {.path = "/train/x", .dtype = DPT_F32, .ndim = 3, .dim = {1, 2, 3}};
    refuse("shape.h5", x, DPT_ERR_SHAPE, "/train/x: a sample is [2,3], expected [1,2,3]");
    refuse("shape.h5", (dpt_field_spec){.path = "/train/x", .dtype = DPT_F32, .ndim = 2, .dim = {-1, 4}}, DPT_ERR_SHAPE,
           "a sample is [2,3], expected [?,4]");
    refuse("shape.h5", (dpt_field_spec){.path = "scalar", .ndim = DPT_ANY_NDIM}, DPT_ERR_SHAPE, "no axis of samples");
    refuse("shape.h5", (dpt_field_spec){.path = "/train/zero", .ndim = DPT_ANY_NDIM}, DPT_ERR_DATA, "0 samples");
    refuse("shape.h5", (dpt_field_spec){.path = "/train/X", .ndim = DPT_ANY_NDIM}, DPT_ERR_DATA,
           "no such dataset; the file holds /scalar, /train/short, /train/x, /train/zero");
    refuse("shape.h5", (dpt_field_spec){.path = "/train", .ndim = DPT_ANY_NDIM}, DPT_ERR_DATA, "no such dataset");
    refuse("shape.h5", (dpt_field_spec){.path = "/train/x/y", .ndim = DPT_ANY_NDIM}, DPT_ERR_DATA, "no such dataset");
    refuse("shape.h5", (dpt_field_spec){.path = "/train/x", .dtype = DPT_I64, .ndim = DPT_ANY_NDIM},
           DPT_ERR_UNSUPPORTED, "stored as f32, wanted as i64 for input \"x\"");
    const char *file = file_path("shape.h5");
    dpt_field_spec two[] = {{.name = "x", .path = "/train/x", .ndim = DPT_ANY_NDIM},
                            {.name = "y", .path = "/train/short", .ndim = DPT_ANY_NDIM}};
    dpt_dataset *ds;
    CHECK_FAILS(dpt_dataset_open(&control, &file, 1, two, 2, &ds), DPT_ERR_DATA,
                "shape.h5: /train/short has 49 rows, /train/x has 50");
    CHECK_FAILS(dpt_dataset_open(&control, &file, 0, two, 2, &ds), DPT_ERR_ARG, "no files");
    CHECK_FAILS(dpt_dataset_open(&control, &file, 1, two, 0, &ds), DPT_ERR_ARG, "no fields");
}

static void files_that_differ(void) {
    if (check_rank() == 0) {
        hid_t a = file_create("a.h5"), b = file_create("b.h5"), c = file_create("c.h5");
        add_values(a, "x", H5T_IEEE_F32LE, DPT_F32, 0, ROWS, STORE_PLAIN);
        add_values(b, "x", H5T_IEEE_F64LE, DPT_F64, 0, ROWS, STORE_PLAIN);
        float flat[ROWS] = {0};
        file_add(c, "x", H5T_IEEE_F32LE, DPT_F32, flat, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
        H5Fclose(a);
        H5Fclose(b);
        H5Fclose(c);
    }
    files_ready();
    const char *ab[] = {file_path("a.h5"), file_path("b.h5")}, *ac[] = {file_path("a.h5"), file_path("c.h5")};
    dpt_field_spec x = any_x;
    x.name = "x";
    dpt_dataset *ds;
    CHECK_FAILS(dpt_dataset_open(&control, ab, 2, &x, 1, &ds), DPT_ERR_DATA, "b.h5: /x: stored as f64, but as f32 in ");
    CHECK_FAILS(dpt_dataset_open(&control, ac, 2, &x, 1, &ds), DPT_ERR_SHAPE,
                "c.h5: /x: a sample is [], but [2,3] in ");
}

static void add_type(hid_t file, const char *name, hid_t type) {
    hid_t space = H5Screate_simple(1, (hsize_t[]){4}, NULL);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(set);
    H5Sclose(space);
}

static void refused_types(void) {
    if (check_rank() == 0) {
        hid_t file = file_create("type.h5"), text = H5Tcopy(H5T_C_S1), pair = H5Tcreate(H5T_COMPOUND, 8);
        hid_t narrow = H5Tcopy(H5T_STD_I32LE), brain = H5Tcopy(H5T_IEEE_F32LE);
        H5Tset_size(text, 8);
        H5Tset_precision(narrow, 24);
        H5Tset_fields(brain, 15, 7, 8, 0, 7);
        H5Tset_size(brain, 2);
        add_type(file, "narrow", narrow);
        add_type(file, "brain", brain);
        add_type(file, "vax", H5T_VAX_F32);
        H5Tclose(narrow);
        H5Tclose(brain);
        H5Tinsert(pair, "a", 0, H5T_NATIVE_FLOAT);
        add_type(file, "long", H5T_NATIVE_LDOUBLE);
        add_type(file, "text", text);
        add_type(file, "pair", pair);
        H5Tclose(text);
        H5Tclose(pair);
        H5Fclose(file);
    }
    const struct {
        const char *path, *text;
    } bad[] = {{"long", "type float with 80 bits used of 128"},
               {"narrow", "type signed integer with 24 bits used of 32"},
               {"brain", "in the form of IEEE 754 alone (here 8 bits of exponent, 7 of mantissa)"},
               {"vax", "type float in neither little- nor big-endian"},
               {"text", "type string"},
               {"pair", "type compound"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("type.h5", (dpt_field_spec){.path = bad[i].path, .ndim = DPT_ANY_NDIM}, DPT_ERR_UNSUPPORTED,
               bad[i].text);
}

/* Files that point elsewhere, declare what they do not hold, or ask for code. */
static void add_hostile(hid_t file) {
    hsize_t dim = 100, chunk = 10, big = 20 << 20;
    hid_t space = H5Screate_simple(1, &dim, NULL), p = H5Pcreate(H5P_DATASET_CREATE);
    H5Lcreate_soft("/real", file, "/soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("/etc/passwd", "/x", file, "/outside", H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(H5Dcreate2(file, "nothing", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT));
    H5Pset_external(p, "/etc/hostname", 0, 400);
    H5Dclose(H5Dcreate2(file, "external", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT));
    H5Pclose(p);
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_virtual(p, space, "other.h5", "x", space);
    H5Dclose(H5Dcreate2(file, "virtual", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT));
    H5Pclose(p);
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(p, 1, &chunk);
    hid_t set = H5Dcreate2(file, "holes", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    hid_t part = H5Scopy(space), memory = H5Screate_simple(1, &chunk, NULL);
    H5Sselect_hyperslab(part, H5S_SELECT_SET, &chunk, NULL, &chunk, NULL);
    float values[10] = {1};
    H5Dwrite(set, H5T_NATIVE_FLOAT, memory, part, H5P_DEFAULT, values);
    H5Dclose(set);
    H5Sclose(part);
    H5Sclose(memory);
    H5Pset_nbit(p);
    H5Dclose(H5Dcreate2(file, "nbit", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT));
    H5Pclose(p);
    H5Sclose(space);
    space = H5Screate_simple(1, &big, NULL);
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(p, 1, &big);
    H5Dclose(H5Dcreate2(file, "large", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT));
    H5Pclose(p);
    H5Sclose(space);
}

static void hostile(void) {
    if (check_rank() == 0) {
        hid_t file = file_create("hostile.h5");
        add_values(file, "real", H5T_IEEE_F32LE, DPT_F32, 0, ROWS, STORE_PLAIN);
        add_hostile(file);
        H5Fclose(file);
    }
    const struct {
        const char *path;
        dpt_status code;
        const char *text;
    } bad[] = {{"/soft", DPT_ERR_UNSUPPORTED, "/soft is a soft or external link"},
               {"/outside", DPT_ERR_UNSUPPORTED, "/outside is a soft or external link"},
               {"/nothing", DPT_ERR_DATA, "declares 400 bytes, none is stored"},
               {"/external", DPT_ERR_UNSUPPORTED, "external storage"},
               {"/virtual", DPT_ERR_UNSUPPORTED, "virtual storage"},
               {"/holes", DPT_ERR_DATA, "1 of its 10 chunks are stored"},
               {"/nbit", DPT_ERR_UNSUPPORTED, "filter 5 nbit is not supported"},
               {"/large", DPT_ERR_UNSUPPORTED, "chunks of 83886080 bytes; at most 67108864"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse("hostile.h5", (dpt_field_spec){.path = bad[i].path, .ndim = DPT_ANY_NDIM}, bad[i].code, bad[i].text);
}

/* A count patched into the file's bytes: 4,611,686,018,427,387,904 rows, or 2^40, where 50 are stored. */
static void lying_counts(void) {
    const uint64_t lies[] = {1ull << 62, 1ull << 40, 51};
    for (int i = 0; i < 3; i++) {
        if (check_rank() == 0) {
            hid_t file = file_create("lie.h5");
            float flat[1009] = {0};
            file_add(file, "x", H5T_IEEE_F32LE, DPT_F32, flat, 1, (hsize_t[]){1009}, STORE_PLAIN);
            H5Fclose(file);
            FILE *f = fopen(file_path("lie.h5"), "r+");
            char bytes[16384];
            size_t n = fread(bytes, 1, sizeof bytes, f);
            uint64_t rows = 1009, lie = lies[i] == 51 ? 4000 : lies[i];
            for (size_t at = 0; at + 8 <= n; at++)
                if (memcmp(bytes + at, &rows, 8) == 0) memcpy(bytes + at, &lie, 8);
            rewind(f);
            fwrite(bytes, 1, n, f);
            fclose(f);
        }
        files_ready();
        dpt_dataset *ds;
        const char *path = file_path("lie.h5");
        dpt_field_spec x = any_x;
        x.name = "x";
        dpt_status status = dpt_dataset_open(&control, &path, 1, &x, 1, &ds);
        check_that(status == DPT_ERR_DATA || status == DPT_ERR_IO, __FILE__, __LINE__, "%s", dpt_last_error());
        CHECK(strstr(dpt_last_error(), "lie.h5") != NULL);
        dpt_dataset_close(&ds);
        files_ready();
    }
}

/* A file that shrinks after it was opened is an error, not a crash. */
static void shrinks(void) {
    if (check_rank() == 0) {
        hid_t file = file_create("shrink.h5");
        add_values(file, "x", H5T_IEEE_F32LE, DPT_F32, 0, ROWS, STORE_PLAIN);
        H5Fclose(file);
    }
    files_ready();
    dpt_dataset *ds;
    if (!CHECK_OK(open_one(file_path("shrink.h5"), any_x, &ds))) return;
    files_ready();
    cut("shrink.h5", 2060);
    files_ready();
    float row[WIDTH * ROWS];
    CHECK_FAILS(
        dpt_dataset_read(ds, 0, 40, 10, row), DPT_ERR_DATA,
        "shrink.h5: /x: rows 40 to 49: the file was changed between index and read: 3248 bytes then, 2060 bytes");
    dpt_dataset_close(&ds);
    files_ready();
}

/* Each allocation of the last rank fails in turn: all ranks say so, none hangs, nothing leaks (AddressSanitizer). */
static void out_of_memory(void) {
    write_parts();
    const char *files[] = {file_path("part0.h5"), file_path("part2.h5")};
    dpt_field_spec field = {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};
    int failures = 0;
    for (int64_t n = 1; n < 100; n++) {
        dpt_dataset *ds;
        if (check_rank() == check_world() - 1) dpt_alloc_fail_at(n);
        dpt_status status = dpt_dataset_open(&control, files, 2, &field, 1, &ds);
        dpt_alloc_fail_at(0);
        dpt_dataset_close(&ds);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY);
        failures++;
    }
    CHECK(failures >= 8 && failures < 99);
}

/* The caller's own use of HDF5 keeps its error printing. */
static herr_t own_printer(hid_t stack, void *user) { return stack < 0 && user == NULL ? 0 : 0; }

static void leaves_error_printing(void) {
    H5E_auto2_t was, now;
    void *was_data, *data;
    H5Eget_auto2(H5E_DEFAULT, &was, &was_data);
    H5Eset_auto2(H5E_DEFAULT, own_printer, &control);
    dpt_dataset *ds;
    CHECK(open_one(file_path("none.h5"), any_x, &ds) != DPT_OK);
    H5Eget_auto2(H5E_DEFAULT, &now, &data);
    CHECK(now == own_printer && data == &control);
    H5Eset_auto2(H5E_DEFAULT, was, was_data);
}

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

/* More files than the process may open: said so, with what helps. */
static void too_many_files(void) {
    enum { FILES = 90 };
    static char name[FILES][400];
    const char *files[FILES];
    struct rlimit before, low;
    for (int f = 0; f < FILES; f++) {
        char leaf[20];
        snprintf(leaf, sizeof leaf, "many%d.h5", f);
        snprintf(name[f], sizeof name[f], "%s", file_path(leaf));
        files[f] = name[f];
        if (check_rank() != 0) continue;
        hid_t file = file_create(leaf);
        add_values(file, "x", H5T_IEEE_F32LE, DPT_F32, f, 1, STORE_PLAIN);
        H5Fclose(file);
    }
    files_ready();
    int free_one = dup(0);
    dpt_field_spec x = any_x;
    x.name = "x";
    dpt_dataset *ds;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0 && free_one >= 0);
    low = before, low.rlim_cur = (rlim_t)free_one + FILES / 2;
    close(free_one);
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK_FAILS(dpt_dataset_open(&control, files, FILES, &x, 1, &ds), DPT_ERR_IO, "raise that limit (ulimit -n)");
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    if (CHECK_OK(dpt_dataset_open(&control, files, FILES, &x, 1, &ds))) check_rows(ds, 0, DPT_F32, 0, FILES);
    dpt_dataset_close(&ds);
    files_ready();
}

int main(int argc, char **argv) {
    return CHECK_MAIN(
        argc, argv, "dataset", {"start", start}, {"types_and_storage", types_and_storage},
        {"several_files", several_files}, {"threads", threads}, {"bad_files", bad_files}, {"bad_shapes", bad_shapes},
        {"files_that_differ", files_that_differ}, {"refused_types", refused_types}, {"hostile", hostile},
        {"lying_counts", lying_counts}, {"shrinks", shrinks}, {"out_of_memory", out_of_memory},
        {"leaves_error_printing", leaves_error_printing}, {"too_many_files", too_many_files}, {"stop", stop});
}
