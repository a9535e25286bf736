/* What a file may hold, and where the index says that it lies: each stored type, layout and pipeline of filters byte
 * for byte as H5Dread gives them, every form of HDF5's chunk tables, tables that lie, files beyond 2^31 rows; and the
 * index as bytes. */
#include <unistd.h>

#include "base/memory.h"
#include "chunk_files.h"
#include "data/describe.h"

enum { USER_BLOCK = 1024 };

static void types_layouts_filters(void) {
    static const char *const text[] = {"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "f16"};
    for (int t = 0; t < TYPES; t++) {
        hid_t type = make_type(t), file = file_create("all.h5");
        write_layouts(file, type);
        H5Fclose(file);
        H5Tclose(type);
        dpt_dataset *ds;
        if (!CHECK_OK(open_fields("all.h5", FIELDS, &ds))) continue;
        const char *found = dpt_stored_text(dpt_dataset_field(ds, 0)->stored);
        CHECK(strncmp(found, text[t % 11], strlen(text[t % 11])) == 0);
        CHECK((strstr(found, "big-endian") != NULL) == (t >= 11 && t % 11 != 0 && t % 11 != 4));
        for (int i = 0; i < FIELDS; i++) check_field(file_path("all.h5"), ds, i, i % 2 ? 1 << 20 : 0);
        dpt_dataset_close(&ds);
    }
}

/* The table against HDF5's slow way to it. */
static void check_table(const char *path, const dpt_dataset *ds, int field) {
    const dpt_index_part *part = &dpt_dataset_index(ds)->part[field];
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t set = H5Dopen2(file, dpt_dataset_field(ds, field)->path, H5P_DEFAULT);
    for (uint64_t i = 0; i < part->chunks; i++) {
        hsize_t at[3], bytes;
        uint64_t rest = i;
        for (int k = 2; k >= 0; k--) {
            at[k] = rest % part->grid[k] * part->chunk_dim[k];
            rest /= part->grid[k];
        }
        unsigned mask;
        haddr_t offset;
        CHECK(H5Dget_chunk_info_by_coord(set, at, &mask, &offset, &bytes) >= 0);
        /* HDF5 1.10 counts from behind the user's block */
        CHECK((offset == part->chunk[i].offset || offset + USER_BLOCK == part->chunk[i].offset) &&
              bytes == part->chunk[i].bytes);
    }
    H5Dclose(set);
    H5Fclose(file);
}

/* The ways in which HDF5 keeps its chunks in the newest format, behind a block of the user's; and edges without
 * filters. */
static void newer_formats(void) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    H5Pset_userblock(create, USER_BLOCK);
    hid_t file = H5Fcreate(file_path("new.h5"), H5F_ACC_TRUNC, create, access);
    const struct {
        const char *what;
        hsize_t chunk[3], most[3];
        int filters;
        bool early, plain_edges;
    } way[] = {{"single chunk", {ROWS, A, B}, {ROWS, A, B}, DEFLATE, false, false},
               {"implicit", {4, 2, 3}, {ROWS, A, B}, NONE, true, false},
               {"fixed array", {4, 2, 3}, {ROWS, A, B}, ALL_THREE, false, false},
               {"extensible array", {4, 2, 3}, {H5S_UNLIMITED, A, B}, ALL_THREE, false, false},
               {"B-tree 2", {4, 2, 3}, {H5S_UNLIMITED, H5S_UNLIMITED, B}, ALL_THREE, false, false},
               {"edges as they are", {4, 2, 3}, {ROWS, A, B}, ALL_THREE, false, true}};
    enum { WAYS = sizeof way / sizeof *way };
    unsigned char data[ROWS * MAX_ROW_BYTES];
    uint64_t state = 5;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)draw(&state);
    for (int i = 0; i < WAYS; i++) {
        hid_t p = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(3, (hsize_t[]){ROWS, A, B}, way[i].most);
        H5Pset_chunk(p, 3, way[i].chunk);
        set_filters(p, way[i].filters);
        if (way[i].early) H5Pset_alloc_time(p, H5D_ALLOC_TIME_EARLY);
        if (way[i].plain_edges) H5Pset_chunk_opts(p, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
        char name[16];
        field_name(i, name);
        hid_t set = H5Dcreate2(file, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
        CHECK(H5Dwrite(set, H5T_IEEE_F64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        H5Dclose(set);
        H5Sclose(space);
        H5Pclose(p);
    }
    H5Fclose(file);
    H5Pclose(create);
    H5Pclose(access);
    dpt_dataset *ds;
    if (!CHECK_OK(open_fields("new.h5", WAYS, &ds))) return;
    for (int i = 0; i < WAYS; i++) {
        check_field(file_path("new.h5"), ds, i, 1 << 20);
        check_table(file_path("new.h5"), ds, i);
    }
    dpt_dataset_close(&ds);
}

/* Finds bytes in a file, and puts others in their place; how often they were found. */
static int replace(const char *name, const void *old, const void *new, size_t count) {
    static char bytes[1 << 16];
    FILE *f = fopen(file_path(name), "r+");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    int found = 0;
    for (size_t at = 0; at + count <= n; at++) {
        if (memcmp(bytes + at, old, count) != 0) continue;
        memcpy(bytes + at, new, count);
        found++;
    }
    rewind(f);
    CHECK(fwrite(bytes, 1, n, f) == n);
    fclose(f);
    return found;
}

/* A table of chunks that lies: about a place, a size with and without filters. */
static void lying_tables(void) {
    const uint64_t far[] = {1ull << 62, 1 << 20, UINT64_MAX - 1};
    for (int i = 0; i < 3; i++) {
        dpt_dataset *ds = open_two("lie.h5", ALL_THREE, 1);
        uint64_t offset = dpt_dataset_index(ds)->part[0].chunk[7].offset;
        dpt_dataset_close(&ds);
        CHECK_EQ_I64(replace("lie.h5", &offset, &far[i], 8), 1);
        CHECK(open_fields("lie.h5", 2, &ds) != DPT_OK);
        CHECK(strstr(dpt_last_error(), "lie.h5: x0: chunk 7: ") != NULL);
    }
    const struct {
        int filters;
        uint32_t bytes;
        const char *text;
    } lie[] = {{NONE, 100000, "lie.h5: x0: chunk 7"},
               {NONE, 4, "chunk 7 declares 4 stored bytes for 96 of values"},
               {FLETCHER, 96, "chunk 7 declares 96 stored bytes for 96 of values"},
               {DEFLATE, 3000, "chunk 7 declares 3000 stored bytes for 96 of values"},
               {DEFLATE, 0, "chunk 7"}};
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        dpt_dataset *ds = open_two("lie.h5", lie[i].filters, 1);
        const dpt_index_chunk chunk = dpt_dataset_index(ds)->part[0].chunk[7];
        dpt_dataset_close(&ds);
        /* a record of the B-tree: size, mask, start of the chunk; element's place; address */
        uint64_t record[6] = {chunk.bytes, 4, 2, 3, 0, chunk.offset}, other[6];
        memcpy(other, record, sizeof record);
        other[0] = lie[i].bytes;
        CHECK_EQ_I64(replace("lie.h5", record, other, sizeof record), 1);
        dpt_status status = open_fields("lie.h5", 2, &ds);
        check_that(status != DPT_OK && strstr(dpt_last_error(), lie[i].text), __FILE__, __LINE__, "%s",
                   dpt_last_error());
        dpt_dataset_close(&ds);
    }
}

/* Layouts on which HDF5 1.10.8 ends the process: a chunk without a size, one of too few axes or of none. */
static void lying_layouts(void) {
    /* the message: version 3, class, axes and one more; address; sizes, that of an element last */
    const struct {
        int at;
        unsigned char byte;
        const char *text;
    } lie[] = {{11, 0, "lie.h5: x0: axis 0 of its chunks has size 0"},
               {15, 0, "lie.h5: x0: axis 1 of its chunks has size 0"},
               {2, 0, "lie.h5: x0: its chunks have 0 axes, its values 3"},
               {2, 3, "lie.h5: x0: its chunks have 2 axes, its values 3"},
               {2, 5, "lie.h5: x0: its chunks have 4 axes, its values 3"}};
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        dpt_dataset *ds;
        hid_t file = file_create("lie.h5");
        add_chunked(file, "x0", H5T_IEEE_F32LE, chunks[1], NONE, 3);
        H5Fclose(file);
        static unsigned char bytes[1 << 16];
        FILE *f = fopen(file_path("lie.h5"), "r+");
        size_t n = fread(bytes, 1, sizeof bytes, f), at = 0;
        const unsigned char sizes[] = {4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0};
        while (at + 27 < n && (memcmp(bytes + at, "\3\2\4", 3) != 0 || memcmp(bytes + at + 11, sizes, 16) != 0)) at++;
        if (CHECK(at + 27 < n)) bytes[at + (size_t)lie[i].at] = lie[i].byte;
        rewind(f);
        CHECK(fwrite(bytes, 1, n, f) == n);
        fclose(f);
        CHECK_FAILS(open_fields("lie.h5", 1, &ds), DPT_ERR_DATA, lie[i].text);
        dpt_description *all = NULL; /* still told of */
        int64_t count = 0;
        CHECK_OK(dpt_describe(file_path("lie.h5"), &all, &count));
        if (CHECK_EQ_I64(count, 1)) CHECK_EQ_TEXT(all[0].path, "/x0");
        dpt_describe_free(all, count);
    }
}

/* More than 2^31 rows, more than 4 GiB, in a file of holes. */
static void large_file(void) {
    enum { TAIL = 5 };
    const hsize_t rows = (1ull << 31) + 1000, start = rows - TAIL, count = TAIL;
    hid_t file = file_create("large.h5"), p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_fill_time(p, H5D_FILL_TIME_NEVER);
    hid_t space = H5Screate_simple(1, &rows, NULL), memory = H5Screate_simple(1, &count, NULL);
    hid_t set = H5Dcreate2(file, "x0", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
    float values[TAIL] = {1, 2, 3, 4, 5}, have[TAIL] = {0};
    CHECK(H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Sclose(memory);
    H5Pclose(p);
    H5Fclose(file);
    dpt_dataset *ds;
    dpt_reader *reader;
    if (!CHECK_OK(open_fields("large.h5", 1, &ds))) return;
    CHECK_EQ_I64(dpt_dataset_rows(ds), rows);
    CHECK_OK(dpt_reader_create(ds, 0, &reader));
    CHECK_OK(dpt_reader_rows(reader, 0, start, TAIL, have));
    CHECK(memcmp(have, values, sizeof have) == 0);
    CHECK_OK(dpt_reader_rows(reader, 0, (1ull << 31) - 1, 2, have));
    CHECK(have[0] == 0 && have[1] == 0);
    CHECK_FAILS(dpt_reader_rows(reader, 0, start, TAIL + 1, have), DPT_ERR_ARG, "rows 2147484643 to 2147484649");
    dpt_reader_destroy(&reader);
    dpt_dataset_close(&ds);
    CHECK(unlink(file_path("large.h5")) == 0);
}

/* An index as bytes comes back as it was; cut or changed bytes never bring more than an error. */
static void packed(void) {
    hid_t file = file_create("packed.h5");
    write_layouts(file, H5T_STD_I16BE);
    H5Fclose(file);
    dpt_dataset *ds;
    if (!CHECK_OK(open_fields("packed.h5", FIELDS, &ds))) return;
    void *bytes;
    uint64_t size, state = 1;
    dpt_index index;
    CHECK_OK(dpt_index_pack(dpt_dataset_index(ds), &bytes, &size));
    CHECK_OK(dpt_index_unpack(bytes, size, &index));
    CHECK(dpt_index_digest(&index) == dpt_dataset_digest(ds));
    index.part[2].chunk[3].offset++;
    CHECK(dpt_index_digest(&index) != dpt_dataset_digest(ds));
    dpt_index_destroy(&index);
    for (uint64_t n = 0; n < size; n += 1 + n / 100) {
        CHECK_FAILS(dpt_index_unpack(bytes, n, &index), DPT_ERR_DATA, "a dataset index of");
        dpt_index_destroy(&index);
    }
    for (int i = 0; i < 2000; i++) {
        unsigned char *byte = (unsigned char *)bytes + draw(&state) % size, was = *byte;
        *byte = (unsigned char)draw(&state);
        dpt_index_unpack(bytes, size, &index);
        dpt_index_destroy(&index);
        *byte = was;
    }
    dpt_free(bytes);
    dpt_dataset_close(&ds);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "layouts", {"start", start}, {"types_layouts_filters", types_layouts_filters},
                      {"newer_formats", newer_formats}, {"lying_tables", lying_tables},
                      {"lying_layouts", lying_layouts}, {"large_file", large_file}, {"packed", packed}, {"stop", stop});
}
