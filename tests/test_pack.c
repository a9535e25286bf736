/* Packing: many files into one or a few, with equal values and the layout that was asked for, as HDF5 itself tells it;
 * what is refused, and that nothing half-made is left. */
#include "data/pack.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data/describe.h"
#include "data/hdf5_output.h"
#include "data/manifest.h"
#include "data_files.h"

/* Three files of images [n,2,3] f32 and labels [n] i64 in /train, and of u8 rows [m] in /test, stored in different
 * ways. */
enum { FILES = 3, TRAIN = 5 + 30 + 11, TEST = 4 + 1 + 9 };
static const int64_t train_rows[FILES] = {5, 30, 11}, test_rows[FILES] = {4, 1, 9};

static dpt_control control;
static const dpt_control alone = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1};

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

static float x_at(int64_t row, int64_t i) { return (float)(row * 100 + i) / 8; }
static int64_t y_at(int64_t row) { return (row << 33) - row; }
static uint8_t t_at(int64_t row) { return (uint8_t)(row * row + 3); }

static const char *source_name(int f) {
    static const char *const names[FILES] = {"a.h5", "b.h5", "c.h5"};
    return names[f];
}

static void write_sources(void) {
    int64_t train = 0, test = 0;
    for (int f = 0; f < FILES; f++) {
        float x[30 * 6];
        int64_t y[30];
        uint8_t t[30];
        for (int64_t r = 0; r < train_rows[f]; r++) {
            for (int64_t i = 0; i < 6; i++) x[r * 6 + i] = x_at(train + r, i);
            y[r] = y_at(train + r);
        }
        for (int64_t r = 0; r < test_rows[f]; r++) t[r] = t_at(test + r);
        hsize_t n = (hsize_t)train_rows[f], m = (hsize_t)test_rows[f];
        hid_t file = file_create(source_name(f));
        file_storage storage = f == 1 ? STORE_ALL_FILTERS : STORE_PLAIN;
        file_add(file, "/train/x", H5T_IEEE_F32LE, DPT_F32, x, 3, (hsize_t[]){n, 2, 3}, storage);
        file_add(file, "/train/y", H5T_STD_I64LE, DPT_I64, y, 1, &n, storage);
        file_add(file, "/test/t", H5T_STD_U8LE, DPT_U8, t, 1, &m, f == 2 ? STORE_COMPACT : STORE_PLAIN);
        H5Fclose(file);
        train += train_rows[f];
        test += test_rows[f];
    }
}

static dpt_status pack(const dpt_pack_options *options, const char *target) {
    const char *files[] = {file_path("a.h5"), file_path("b.h5"), file_path("c.h5")};
    return dpt_pack(&alone, files, FILES, options, file_path(target));
}

/* Values are equal, through the library's own reader. */
static void check_values(const char *const *names, int count) {
    const char *files[4];
    for (int i = 0; i < count; i++) files[i] = file_path(names[i]);
    dpt_field_spec train[] = {{.name = "x", .path = "/train/x", .dtype = DPT_F32, .ndim = 2, .dim = {2, 3}},
                              {.name = "y", .path = "/train/y", .dtype = DPT_I64, .ndim = 0}};
    dpt_field_spec test = {.name = "t", .path = "/test/t", .dtype = DPT_I64, .ndim = 0};
    dpt_dataset *a = NULL, *b = NULL;
    if (CHECK_OK(dpt_dataset_open(&control, files, count, train, 2, &a)) &&
        CHECK_OK(dpt_dataset_open(&control, files, count, &test, 1, &b)) &&
        CHECK(dpt_dataset_rows(a) == TRAIN && dpt_dataset_rows(b) == TEST)) {
        float x[TRAIN * 6];
        int64_t y[TRAIN];
        uint8_t t[TEST];
        int wrong = 0;
        CHECK_OK(dpt_dataset_read(a, 0, 0, TRAIN, x));
        CHECK_OK(dpt_dataset_read(a, 1, 0, TRAIN, y));
        CHECK_OK(dpt_dataset_read(b, 0, 0, TEST, t));
        for (int64_t r = 0; r < TRAIN; r++) {
            for (int64_t i = 0; i < 6; i++) wrong += x[r * 6 + i] != x_at(r, i);
            wrong += y[r] != y_at(r);
        }
        for (int64_t r = 0; r < TEST; r++) wrong += t[r] != t_at(r);
        CHECK_EQ_I64(wrong, 0);
        CHECK(dpt_stored_is(dpt_dataset_field(a, 0)->stored, DPT_F32));
        CHECK(dpt_stored_is(dpt_dataset_field(b, 0)->stored, DPT_U8));
    }
    dpt_dataset_close(&a);
    dpt_dataset_close(&b);
}

/* Layout as HDF5 tells it: rows of a chunk (0: contiguous), and the filters in their order. */
static void check_layout(const char *name, const char *path, int64_t chunk_rows, int filters, const int *filter) {
    hid_t file = H5Fopen(file_path(name), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT), creation = H5Dget_create_plist(set);
    hsize_t chunk[8] = {0};
    if (H5Pget_layout(creation) == H5D_CHUNKED) H5Pget_chunk(creation, 8, chunk);
    CHECK_EQ_I64(chunk[0], chunk_rows);
    if (strcmp(path, "/train/x") == 0 && chunk_rows) CHECK(chunk[1] == 2 && chunk[2] == 3);
    CHECK_EQ_I64(H5Pget_nfilters(creation), filters);
    for (int i = 0; i < filters; i++) {
        unsigned flags, value[8] = {0};
        size_t values = 8;
        CHECK_EQ_I64(H5Pget_filter2(creation, (unsigned)i, &flags, &values, value, 0, NULL, NULL), filter[i]);
        if (filter[i] == H5Z_FILTER_DEFLATE) CHECK_EQ_I64(value[0], 7);
    }
    H5Pclose(creation);
    H5Dclose(set);
    H5Fclose(file);
}

/* Each dataset tells the XXH64 of its values, however it is stored. */
static void check_checksums(const char *name) {
    dpt_description *all;
    int64_t count, y[TRAIN];
    uint8_t t[TEST];
    for (int64_t r = 0; r < TRAIN; r++) y[r] = y_at(r);
    for (int64_t r = 0; r < TEST; r++) t[r] = t_at(r);
    if (!CHECK_OK(dpt_describe(file_path(name), &all, &count)) || !CHECK_EQ_I64(count, 3)) return;
    CHECK_EQ_TEXT(all[0].path, "/test/t");
    CHECK(all[0].has_checksum && all[0].checksum == dpt_hash(t, sizeof t, 0) && all[0].rows == TEST);
    CHECK(all[1].has_checksum && all[1].rows == TRAIN);
    CHECK(all[2].has_checksum && all[2].checksum == dpt_hash(y, sizeof y, 0));
    dpt_describe_free(all, count);
    CHECK_OK(dpt_describe(file_path("a.h5"), &all, &count));
    CHECK(!all[0].has_checksum);
    dpt_describe_free(all, count);
}

/* An attribute of that name that says something else is none. */
static void other_checksums(void) {
    static const char *const texts[] = {"0123456789abcdeF", "0123456789abcde", "", "0123456789abcdef0"};
    dpt_description *all;
    int64_t count;
    for (int i = 0; i < 6; i++) {
        hid_t file = file_create("sum.h5"), space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
        file_add(file, "/x", H5T_STD_U8LE, DPT_U8, "x", 1, (hsize_t[]){1}, STORE_PLAIN);
        hid_t set = H5Dopen2(file, "/x", H5P_DEFAULT);
        if (i < 5) H5Tset_size(type, i < 4 ? strlen(texts[i]) + 1 : H5T_VARIABLE);
        hid_t attribute =
            H5Acreate2(set, "dptrain_xxh64", i < 5 ? type : H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
        if (i < 4) H5Awrite(attribute, type, texts[i]);
        H5Aclose(attribute);
        H5Dclose(set);
        H5Tclose(type);
        H5Sclose(space);
        H5Fclose(file);
        CHECK_OK(dpt_describe(file_path("sum.h5"), &all, &count));
        check_that(!all[0].has_checksum, __FILE__, __LINE__, "attribute %d taken for a checksum", i);
        dpt_describe_free(all, count);
    }
}

static void layouts(void) {
    static const int all[] = {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE, H5Z_FILTER_FLETCHER32};
    write_sources();
    CHECK_OK(pack(&(dpt_pack_options){0}, "plain.h5"));
    check_values((const char *[]){"plain.h5"}, 1);
    check_layout("plain.h5", "/train/x", 0, 0, NULL);
    check_checksums("plain.h5");
    CHECK_OK(pack(&(dpt_pack_options){.layout = {.chunk_rows = 4}}, "chunks.h5"));
    check_values((const char *[]){"chunks.h5"}, 1);
    check_layout("chunks.h5", "/train/x", 4, 0, NULL);
    check_layout("chunks.h5", "/train/y", 4, 0, NULL);
    CHECK_OK(pack(&(dpt_pack_options){.layout = {.chunk_rows = 20, .deflate = 7, .shuffle = true, .fletcher32 = true}},
                  "filters.h5"));
    check_values((const char *[]){"filters.h5"}, 1);
    check_layout("filters.h5", "/train/x", 20, 3, all);
    check_checksums("filters.h5");
    check_layout("filters.h5", "/test/t", TEST, 3, all); /* 14 rows: one chunk */
    CHECK_OK(pack(&(dpt_pack_options){.layout = {.chunk_rows = DPT_PACK_CHUNK_AUTO, .deflate = 7}}, "auto.h5"));
    check_values((const char *[]){"auto.h5"}, 1);
    check_layout("auto.h5", "/train/x", TRAIN, 1, all + 1);
    /* what was packed can be packed again, and becomes the same bytes */
    const char *packed = file_path("filters.h5");
    CHECK_OK(dpt_pack(&alone, &packed, 1, &(dpt_pack_options){0}, file_path("again.h5")));
    char command[900];
    snprintf(command, sizeof command, "cmp '%s' '%s'", file_path("plain.h5"), file_path("again.h5"));
    CHECK(system(command) == 0);
}

static void put_attribute(hid_t set, const char *name, hid_t type, hsize_t count, const void *value) {
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t attribute = H5Acreate2(set, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

/* Texts of fixed and of any length, numbers, a type with a name; a reference would point nowhere. */
static void attributes(void) {
    const char *units[] = {"m/s", "a longer text than the first"}, *const names = "cat\0dog";
    const int32_t number[] = {3, -4, 5};
    hid_t file = file_create("told.h5"), text = H5Tcopy(H5T_C_S1), any = H5Tcopy(H5T_C_S1);
    file_add(file, "/g/x", H5T_STD_U8LE, DPT_U8, "abcd", 1, (hsize_t[]){4}, STORE_PLAIN);
    hid_t set = H5Dopen2(file, "/g/x", H5P_DEFAULT), named = H5Tcopy(H5T_STD_I32BE);
    hobj_ref_t reference;
    H5Tset_size(text, 4);
    H5Tset_size(any, H5T_VARIABLE);
    H5Tcommit2(file, "/kind", named, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put_attribute(set, "classes", text, 2, names);
    put_attribute(set, "units", any, 2, units);
    put_attribute(set, "numbers", H5T_STD_I32LE, 3, number);
    put_attribute(set, "kinds", named, 3, number);
    put_attribute(set, DPT_CHECKSUM_ATTRIBUTE, H5T_STD_I32LE, 3, number); /* not one of ours: not taken over */
    H5Rcreate(&reference, file, "/g/x", H5R_OBJECT, -1);
    put_attribute(set, "to", H5T_STD_REF_OBJ, 1, &reference);
    H5Tclose(named);
    H5Dclose(set);
    H5Fclose(file);
    const char *source = file_path("told.h5");
    if (!CHECK_OK(dpt_pack(&alone, &source, 1, &(dpt_pack_options){0}, file_path("retold.h5")))) return;
    file = H5Fopen(file_path("retold.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    set = H5Dopen2(file, "/g/x", H5P_DEFAULT);
    CHECK_EQ_I64(H5Aget_num_attrs(set), 5);
    CHECK(H5Aexists(set, "to") == 0);
    char fixed[8];
    char *back[2] = {NULL};
    int32_t numbers[3];
    hid_t a = H5Aopen(set, "classes", H5P_DEFAULT);
    CHECK(H5Aread(a, text, fixed) >= 0 && memcmp(fixed, names, sizeof fixed) == 0);
    H5Aclose(a);
    a = H5Aopen(set, "units", H5P_DEFAULT);
    if (CHECK(H5Aread(a, any, back) >= 0))
        for (int i = 0; i < 2; i++) CHECK_EQ_TEXT(back[i], units[i]);
    for (int i = 0; i < 2; i++) H5free_memory(back[i]);
    H5Aclose(a);
    for (int i = 0; i < 2; i++) {
        a = H5Aopen(set, i ? "kinds" : "numbers", H5P_DEFAULT);
        CHECK(H5Aread(a, i ? H5T_STD_I32BE : H5T_STD_I32LE, numbers) >= 0 &&
              memcmp(numbers, number, sizeof number) == 0);
        H5Aclose(a);
    }
    H5Tclose(text);
    H5Tclose(any);
    H5Dclose(set);
    H5Fclose(file);
}

/* Datasets belong together where they share a group and a number of rows: neither alone makes them. */
static void groups(void) {
    static const char *const paths[] = {"/p/x", "/p/z", "/q/x"};
    static const hsize_t rows[2][3] = {{4, 7, 4}, {3, 2, 5}};
    const char *names[] = {"g1.h5", "g2.h5"}, *files[] = {file_path("g1.h5"), file_path("g2.h5")};
    for (int f = 0; f < 2; f++) {
        hid_t file = file_create(names[f]);
        for (int i = 0; i < 3; i++)
            file_add(file, paths[i], H5T_STD_U8LE, DPT_U8, (uint8_t[9]){0}, 1, &rows[f][i], STORE_PLAIN);
        H5Fclose(file);
    }
    if (!CHECK_OK(dpt_pack(&alone, files, 2, &(dpt_pack_options){0}, file_path("groups.h5")))) return;
    hid_t file = H5Fopen(file_path("groups.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int i = 0; i < 3; i++) {
        hid_t set = H5Dopen2(file, paths[i], H5P_DEFAULT), space = H5Dget_space(set);
        CHECK_EQ_I64(H5Sget_simple_extent_npoints(space), rows[0][i] + rows[1][i]);
        H5Sclose(space);
        H5Dclose(set);
    }
    H5Fclose(file);
}

static hid_t half_type(hid_t order_of) {
    hid_t type = H5Tcopy(order_of);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

/* Every type that a file may have stays what it is. */
static void types(void) {
    hid_t half_le = half_type(H5T_IEEE_F32LE), half_be = half_type(H5T_IEEE_F32BE);
    const hid_t type[] = {half_le,        half_be,       H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE,
                          H5T_IEEE_F64BE, H5T_STD_I8LE,  H5T_STD_U8LE,   H5T_STD_I16LE,  H5T_STD_U16BE,
                          H5T_STD_I32BE,  H5T_STD_U32LE, H5T_STD_I64BE,  H5T_STD_U64LE,  H5T_STD_I64LE};
    enum { TYPES = sizeof type / sizeof *type, N = 6 };
    const double values[N] = {0, 1, 100, 17, 3, 64};
    char path[TYPES][8];
    hid_t file = file_create("types.h5");
    for (int t = 0; t < TYPES; t++) {
        snprintf(path[t], sizeof path[t], "/t%d", t);
        file_add(file, path[t], type[t], DPT_F64, values, 1, (hsize_t[]){N}, STORE_PLAIN);
    }
    H5Fclose(file);
    const char *source = file_path("types.h5");
    CHECK_OK(dpt_pack(&alone, &source, 1, &(dpt_pack_options){.layout = {.chunk_rows = 4}}, file_path("typed.h5")));
    file = H5Fopen(file_path("typed.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int t = 0; t < TYPES && file >= 0; t++) {
        double back[N];
        hid_t set = H5Dopen2(file, path[t], H5P_DEFAULT), stored = H5Dget_type(set);
        check_that(H5Tequal(stored, type[t]) > 0, __FILE__, __LINE__, "type %d became another", t);
        CHECK(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
        check_that(memcmp(values, back, sizeof back) == 0, __FILE__, __LINE__, "values of type %d", t);
        H5Tclose(stored);
        H5Dclose(set);
    }
    if (file >= 0) H5Fclose(file);
    H5Tclose(half_le);
    H5Tclose(half_be);
}

static void shared_out(void) {
    static const char *const names[] = {"part-0.h5", "part-1.h5", "part-2.h5", "part-3.h5"};
    CHECK_OK(pack(&(dpt_pack_options){.files = 4}, "part.h5"));
    check_values(names, 4);
    const char *first = file_path(names[0]), *last = file_path(names[3]);
    dpt_field_spec test = {.name = "t", .path = "/test/t", .dtype = DPT_I64, .ndim = 0};
    dpt_dataset *ds;
    for (int i = 0; i < 2; i++) /* 14 rows over 4 files: 4, 4, 3, 3 */
        if (CHECK_OK(dpt_dataset_open(&control, i ? &last : &first, 1, &test, 1, &ds))) {
            CHECK_EQ_I64(dpt_dataset_rows(ds), i ? 3 : 4);
            dpt_dataset_close(&ds);
        }
    /* the manifest stands for them, and is a target like the others */
    const char *manifest = file_path("part.manifest");
    CHECK(dpt_manifest_is(manifest));
    check_values((const char *[]){"part.manifest"}, 1);
    CHECK_OK(dpt_pack(&alone, &manifest, 1, &(dpt_pack_options){0}, file_path("joined.h5")));
    check_values((const char *[]){"joined.h5"}, 1);
    const char *twice[] = {manifest, file_path(names[2])};
    CHECK_FAILS(dpt_pack(&alone, twice, 2, &(dpt_pack_options){0}, file_path("bad.h5")), DPT_ERR_DATA,
                "part-2.h5: listed twice");
    for (int i = 0; i < 4; i++) unlink(file_path(names[i]));
    CHECK_FAILS(pack(&(dpt_pack_options){.files = 4}, "part.h5"), DPT_ERR_CONFIG, "part.manifest: exists already");
    unlink(manifest);
    CHECK_OK(pack(&(dpt_pack_options){.files = 4}, "part.h5"));
    char *name = dpt_pack_name("x/y.h5", 3, 101);
    CHECK_EQ_TEXT(name, "x/y-003.h5");
    dpt_free(name);
    name = dpt_pack_name("data", 9, 10);
    CHECK_EQ_TEXT(name, "data-9");
    dpt_free(name);
}

/* Chunks of several buffers, and buffers of several chunks: 9 MiB in rows of 3 KiB. */
static void larger_than_buffers(void) {
    enum { ROWS = 3001, ROW = 768 };
    float *values = malloc(sizeof *values * ROWS * ROW), *back = malloc(sizeof *values * ROWS * ROW);
    for (int i = 0; i < ROWS * ROW; i++) values[i] = (float)i;
    hid_t file = file_create("large.h5");
    file_add(file, "/x", H5T_IEEE_F32LE, DPT_F32, values, 2, (hsize_t[]){ROWS, ROW}, STORE_PLAIN);
    H5Fclose(file);
    static const int64_t chunk[] = {0, 7, 1999, ROWS + 1};
    for (int c = 0; c < 4; c++) {
        const char *source = file_path("large.h5"), *target = file_path("out.h5");
        unlink(target);
        dpt_field_spec spec = {.name = "x", .path = "/x", .dtype = DPT_F32, .ndim = 1, .dim = {ROW}};
        dpt_dataset *ds;
        CHECK_OK(dpt_pack(&alone, &source, 1, &(dpt_pack_options){.layout = {.chunk_rows = chunk[c]}}, target));
        if (!CHECK_OK(dpt_dataset_open(&control, &target, 1, &spec, 1, &ds))) continue;
        CHECK_OK(dpt_dataset_read(ds, 0, 0, ROWS, back));
        CHECK(memcmp(values, back, sizeof *values * ROWS * ROW) == 0);
        dpt_dataset_close(&ds);
    }
    free(values);
    free(back);
}

/* Files in the test's folder whose names begin so. */
static int files_like(const char *begin) {
    DIR *folder = opendir(check_tmpdir());
    int n = 0;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) n += strncmp(e->d_name, begin, strlen(begin)) == 0;
    closedir(folder);
    return n;
}

static void refuse(const char *const *names, int count, dpt_pack_options options, dpt_status code, const char *text) {
    const char *files[4];
    for (int i = 0; i < count; i++) files[i] = file_path(names[i]);
    CHECK_FAILS(dpt_pack(&alone, files, count, &options, file_path("bad.h5")), code, text);
    CHECK_EQ_I64(files_like("bad"), 0);
}

static void bad_sources(void) {
    const float x[8] = {0};
    const int64_t y[8] = {0};
    hid_t file = file_create("uneven.h5"); /* against a.h5: 4 images and 3 labels */
    file_add(file, "/train/x", H5T_IEEE_F32LE, DPT_F32, (float[24]){0}, 3, (hsize_t[]){4, 2, 3}, STORE_PLAIN);
    file_add(file, "/train/y", H5T_STD_I64LE, DPT_I64, y, 1, (hsize_t[]){3}, STORE_PLAIN);
    file_add(file, "/test/t", H5T_STD_U8LE, DPT_F32, x, 1, (hsize_t[]){3}, STORE_PLAIN);
    H5Fclose(file);
    refuse((const char *[]){"a.h5", "uneven.h5"}, 2, (dpt_pack_options){0}, DPT_ERR_DATA,
           "/train/y has 3 rows, /train/x has 4");
    file = file_create("other.h5");
    file_add(file, "/train/x", H5T_IEEE_F32LE, DPT_F32, x, 1, (hsize_t[]){4}, STORE_PLAIN);
    file_add(file, "/extra", H5T_IEEE_F32LE, DPT_F32, x, 1, (hsize_t[]){4}, STORE_PLAIN);
    H5Fclose(file);
    refuse((const char *[]){"a.h5", "other.h5"}, 2, (dpt_pack_options){0}, DPT_ERR_DATA,
           "other.h5: holds /extra, which ");
    refuse((const char *[]){"a.h5", "none.h5"}, 2, (dpt_pack_options){0}, DPT_ERR_IO, "none.h5: No such file");
    file = file_create("empty.h5");
    H5Fclose(file);
    refuse((const char *[]){"empty.h5"}, 1, (dpt_pack_options){0}, DPT_ERR_DATA, "empty.h5: holds no dataset");
    refuse((const char *[]){"a.h5", "empty.h5"}, 2, (dpt_pack_options){0}, DPT_ERR_DATA, "no such dataset");
    file = file_create("scalar.h5");
    hid_t space = H5Screate(H5S_SCALAR), set;
    set = H5Dcreate2(file, "/one", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(file);
    refuse((const char *[]){"scalar.h5"}, 1, (dpt_pack_options){0}, DPT_ERR_SHAPE, "/one: has no axis of samples");
}

static void bad_options(void) {
    static const char *const a[] = {"a.h5"};
    refuse(a, 1, (dpt_pack_options){.layout = {.deflate = 3}}, DPT_ERR_CONFIG, "filters without chunks");
    refuse(a, 1, (dpt_pack_options){.layout = {.chunk_rows = 1, .deflate = 10}}, DPT_ERR_CONFIG,
           "a deflate level of 10");
    refuse(a, 1, (dpt_pack_options){.layout = {.chunk_rows = -2}}, DPT_ERR_CONFIG, "chunks of -2 rows");
    refuse(a, 1, (dpt_pack_options){.files = 10001}, DPT_ERR_CONFIG, "10001 files; 1 to 10000 are possible");
    refuse(a, 1, (dpt_pack_options){.files = 5}, DPT_ERR_CONFIG, "/test/t: 4 samples for 5 files");
    const char *source = file_path("a.h5");
    CHECK_FAILS(dpt_pack(&alone, &source, 1, &(dpt_pack_options){0}, file_path("a.h5")), DPT_ERR_CONFIG,
                "a.h5: exists already");
    CHECK_FAILS(dpt_pack(&alone, &source, 1, &(dpt_pack_options){.files = 2}, file_path("part.h5")), DPT_ERR_CONFIG,
                "part-0.h5: exists already");
    /* 200 rows of 512 KiB, never written but for the last value */
    hid_t file = file_create("wide.h5"), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    hid_t space = H5Screate_simple(2, (hsize_t[]){200, 1 << 17}, NULL);
    hid_t set = H5Dcreate2(file, "/x", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(creation);
    H5Fclose(file);
    refuse((const char *[]){"wide.h5"}, 1, (dpt_pack_options){.layout = {.chunk_rows = 129}}, DPT_ERR_UNSUPPORTED,
           "/x: chunks of 129 rows are larger than 64 MiB, the most that can be read; 128 rows fit");
}

/* A set of files is whole or not there: the third file cannot be made. */
static void no_half_sets(void) {
    const char *source = file_path("one.h5"), *lock = file_path("bad-2.h5.lock");
    mkdir(lock, 0777); /* no lock can be taken there */
    hid_t file = file_create("one.h5");
    file_add(file, "/x", H5T_IEEE_F32LE, DPT_F32, (float[9]){0}, 1, (hsize_t[]){9}, STORE_PLAIN);
    H5Fclose(file);
    CHECK_FAILS(dpt_pack(&alone, &source, 1, &(dpt_pack_options){.files = 3}, file_path("bad.h5")), DPT_ERR_IO,
                "bad-2.h5 cannot be written: ");
    CHECK_EQ_I64(files_like("bad"), 1); /* that folder */
    rmdir(lock);
    mkdir(file_path("bad.manifest.tmp"), 0777); /* nor can the manifest */
    CHECK_FAILS(dpt_pack(&alone, &source, 1, &(dpt_pack_options){.files = 3}, file_path("bad.h5")), DPT_ERR_IO,
                "bad.manifest cannot be written: Is a directory");
    CHECK_EQ_I64(files_like("bad-"), 0);
    rmdir(file_path("bad.manifest.tmp"));
}

static void out_of_memory(void) {
    int failures = 0,
        good = 0; /* what is only noted for an index may be missing: a few good ones in a row are the end */
    for (int64_t n = 1; n < 1000 && good < 4; n++) {
        unlink(file_path("memory.h5"));
        dpt_alloc_fail_at(n);
        dpt_status status = pack(&(dpt_pack_options){.layout = {.chunk_rows = 4}}, "memory.h5");
        dpt_alloc_fail_at(0);
        good = status == DPT_OK ? good + 1 : 0;
        if (status == DPT_OK) continue;
        CHECK(status == DPT_ERR_MEMORY && files_like("memory") == 0);
        failures++;
    }
    CHECK(failures > 20 && failures < 999);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "pack", {"start", start}, {"layouts", layouts}, {"other_checksums", other_checksums},
                      {"attributes", attributes}, {"groups", groups}, {"types", types}, {"shared_out", shared_out},
                      {"larger_than_buffers", larger_than_buffers}, {"bad_sources", bad_sources},
                      {"bad_options", bad_options}, {"no_half_sets", no_half_sets}, {"out_of_memory", out_of_memory},
                      {"stop", stop});
}
