/* chunk_files.h: files of chunked datasets for the tests of what reads them: every stored type, layout and pipeline of
 * filters, written by HDF5, and what HDF5 reads of them. */
#ifndef DPT_TESTS_CHUNK_FILES_H
#define DPT_TESTS_CHUNK_FILES_H

#include <stdlib.h>

#include "data/dataset_index.h"
#include "data/reader.h"
#include "data_files.h"

enum { ROWS = 23, A = 3, B = 5, TYPES = 22, ROW_ELEMENTS = A * B, MAX_ROW_BYTES = ROW_ELEMENTS * 8 };

static dpt_control control;

static inline uint64_t draw(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Types: 11 little-endian ones, then the same big-endian. */
static inline hid_t make_type(int t) {
    const hid_t known[] = {H5T_STD_I8LE,  H5T_STD_I16LE, H5T_STD_I32LE,  H5T_STD_I64LE,  H5T_STD_U8LE,  H5T_STD_U16LE,
                           H5T_STD_U32LE, H5T_STD_U64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_IEEE_F32LE};
    hid_t type = H5Tcopy(known[t % 11]);
    if (t % 11 == 10) { /* f16 */
        H5Tset_fields(type, 15, 10, 5, 0, 10);
        H5Tset_size(type, 2);
        H5Tset_ebias(type, 15);
    }
    if (t >= 11) H5Tset_order(type, H5T_ORDER_BE);
    return type;
}

/* Every order of every selection of the three filters: S shuffle, D deflate, F fletcher32. */
static const char *const pipelines[] = {"",   "S",  "D",   "F",   "SD",  "DS",  "SF",  "FS",
                                        "DF", "FD", "SDF", "SFD", "DSF", "DFS", "FSD", "FDS"};
enum {
    FILTERS = sizeof pipelines / sizeof *pipelines,
    NONE = 0,
    SHUFFLE = 1,
    DEFLATE = 2,
    FLETCHER = 3,
    SHUFFLE_DEFLATE = 4,
    ALL_THREE = 10
};

static inline void set_filters(hid_t p, int filters) {
    for (const char *f = pipelines[filters]; *f; f++) {
        if (*f == 'S') H5Pset_shuffle(p);
        if (*f == 'D') H5Pset_deflate(p, 3);
        if (*f == 'F') H5Pset_fletcher32(p);
    }
}

/* Layouts: contiguous, compact, then chunks: of whole rows; across both axes, over the ends; longer than the data;
 * wider than the data. */
static const hsize_t chunks[][3] = {{7, A, B}, {4, 2, 3}, {64, A, B}, {5, A, B + 2}};
enum { CUTS = 4, FIELDS = 2 + CUTS * FILTERS };

/* Random bytes, with runs that deflate can use, stored as they are. */
static inline void add_random(hid_t file, const char *name, hid_t type, hid_t properties, int ndim, const hsize_t *dim,
                              uint64_t seed) {
    size_t n = H5Tget_size(type);
    for (int k = 0; k < ndim; k++) n *= dim[k];
    unsigned char *data = malloc(n);
    for (size_t i = 0; i < n; i++) data[i] = (unsigned char)(i % 3 ? draw(&seed) : i / 40);
    hsize_t open_end[3] = {H5S_UNLIMITED, H5S_UNLIMITED, H5S_UNLIMITED}; /* chunks may then be larger than all rows */
    hid_t space = H5Screate_simple(ndim, dim, H5Pget_layout(properties) == H5D_CHUNKED ? open_end : NULL);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    CHECK(set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    free(data);
}

static inline void add_chunked(hid_t file, const char *name, hid_t type, const hsize_t *chunk, int filters,
                               uint64_t seed) {
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(p, 3, chunk);
    set_filters(p, filters);
    add_random(file, name, type, p, 3, (hsize_t[]){ROWS, A, B}, seed);
    H5Pclose(p);
}

static inline void field_name(int field, char *name) { snprintf(name, 16, "x%d", field); }

static inline void write_layouts(hid_t file, hid_t type) {
    char name[16];
    hid_t compact = H5Pcreate(H5P_DATASET_CREATE), contiguous = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(compact, H5D_COMPACT);
    add_random(file, "x0", type, contiguous, 3, (hsize_t[]){ROWS, A, B}, 1);
    add_random(file, "x1", type, compact, 3, (hsize_t[]){ROWS, A, B}, 2);
    H5Pclose(compact);
    H5Pclose(contiguous);
    for (int i = 2; i < FIELDS; i++) {
        field_name(i, name);
        add_chunked(file, name, type, chunks[(i - 2) / FILTERS], (i - 2) % FILTERS, (uint64_t)i);
    }
}

/* What HDF5 reads, in the type of the file; the caller's to free. */
static inline unsigned char *truth(const char *path, const char *name) {
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    unsigned char *data = malloc((size_t)H5Sget_simple_extent_npoints(space) * H5Tget_size(type) + 1);
    CHECK(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(set);
    H5Fclose(file);
    dpt_h5_leave(&scope);
    return data;
}

static inline uint64_t row_bytes(const dpt_dataset *ds, int field) {
    const dpt_field *about = dpt_dataset_field(ds, field);
    return (uint64_t)about->elements * about->stored.bytes;
}

static inline void check_read(dpt_reader *reader, const dpt_dataset *ds, int field, uint64_t row, uint64_t count,
                              const unsigned char *want) {
    static unsigned char have[1 << 16];
    uint64_t bytes = row_bytes(ds, field);
    memset(have, 0x55, sizeof have);
    if (!CHECK_OK(dpt_reader_rows(reader, field, row, count, have))) return;
    check_that(memcmp(have, want + row * bytes, count * bytes) == 0 && have[count * bytes] == 0x55, __FILE__, __LINE__,
               "%s %s rows %d + %d", dpt_dataset_field(ds, field)->path,
               dpt_stored_text(dpt_dataset_field(ds, field)->stored), (int)row, (int)count);
}

/* All rows, single ones in any order, and runs, from a reader with so much cache. */
static inline void check_field(const char *path, const dpt_dataset *ds, int field, uint64_t cache_bytes) {
    uint64_t rows = dpt_dataset_rows(ds), state = 9;
    dpt_reader *reader;
    if (!CHECK_OK(dpt_reader_create(ds, cache_bytes, &reader))) return;
    unsigned char *want = truth(path, dpt_dataset_field(ds, field)->path);
    for (int i = 0; i < 6; i++) {
        uint64_t row = draw(&state) % rows;
        check_read(reader, ds, field, row, 1, want);
        check_read(reader, ds, field, row, 1 + draw(&state) % (rows - row), want);
    }
    check_read(reader, ds, field, 0, rows, want);
    free(want);
    dpt_reader_destroy(&reader);
}

static inline dpt_status open_fields(const char *name, int count, dpt_dataset **ds) {
    static char names[FIELDS][16];
    dpt_field_spec spec[FIELDS];
    const char *path = file_path(name);
    for (int i = 0; i < count; i++) {
        field_name(i, names[i]);
        spec[i] = (dpt_field_spec){.name = names[i], .path = names[i], .dtype = DPT_F64, .ndim = DPT_ANY_NDIM};
    }
    return dpt_dataset_open(&control, &path, 1, spec, count, ds);
}

static inline dpt_dataset *open_two(const char *name, int filters, int cut) {
    hid_t file = file_create(name);
    add_chunked(file, "x0", H5T_IEEE_F32LE, chunks[cut], filters, 3);
    add_chunked(file, "x1", H5T_IEEE_F32LE, chunks[cut], filters, 4);
    H5Fclose(file);
    dpt_dataset *ds = NULL;
    CHECK_OK(open_fields(name, 2, &ds));
    return ds;
}

static inline void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static inline void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

#endif
