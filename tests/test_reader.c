/* The reader against HDF5 itself: each stored type, layout and filter byte for byte as H5Dread gives them, chunks that
 * were decoded once however many threads and rows ask, and files that are damaged, changed or failing. */
#include "data/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/dataset_index.h"
#include "data_files.h"

enum { ROWS = 23, A = 3, B = 5, TYPES = 22, ROW_ELEMENTS = A * B, MAX_ROW_BYTES = ROW_ELEMENTS * 8, USER_BLOCK = 1024 };

static dpt_control control;

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

static uint64_t draw(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Types: 11 little-endian ones, then the same big-endian. */
static hid_t make_type(int t) {
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

enum { NONE, SHUFFLE, DEFLATE, FLETCHER, SHUFFLE_DEFLATE, DEFLATE_FLETCHER, ALL_THREE, FLETCHER_FIRST, FILTERS };

static void set_filters(hid_t p, int filters) {
    if (filters == FLETCHER_FIRST) H5Pset_fletcher32(p);
    if (filters == SHUFFLE || filters == SHUFFLE_DEFLATE || filters == ALL_THREE || filters == FLETCHER_FIRST)
        H5Pset_shuffle(p);
    if (filters != NONE && filters != SHUFFLE && filters != FLETCHER) H5Pset_deflate(p, 3);
    if (filters == FLETCHER || filters == DEFLATE_FLETCHER || filters == ALL_THREE) H5Pset_fletcher32(p);
}

/* Layouts: contiguous, compact, then chunks: of whole rows; across both axes, over the ends; longer than the data;
 * wider than the data. */
static const hsize_t chunks[][3] = {{7, A, B}, {4, 2, 3}, {64, A, B}, {5, A, B + 2}};
enum { CUTS = 4, FIELDS = 2 + CUTS * FILTERS };

/* Random bytes, with runs that deflate can use, stored as they are. */
static void add_random(hid_t file, const char *name, hid_t type, hid_t properties, int ndim, const hsize_t *dim,
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

static void add_chunked(hid_t file, const char *name, hid_t type, const hsize_t *chunk, int filters, uint64_t seed) {
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(p, 3, chunk);
    set_filters(p, filters);
    add_random(file, name, type, p, 3, (hsize_t[]){ROWS, A, B}, seed);
    H5Pclose(p);
}

static void field_name(int field, char *name) { snprintf(name, 16, "x%d", field); }

static void write_layouts(hid_t file, hid_t type) {
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
static unsigned char *truth(const char *path, const char *name) {
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

static uint64_t row_bytes(const dpt_dataset *ds, int field) {
    const dpt_field *about = dpt_dataset_field(ds, field);
    return (uint64_t)about->elements * about->stored.bytes;
}

static void check_read(dpt_reader *reader, const dpt_dataset *ds, int field, uint64_t row, uint64_t count,
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
static void check_field(const char *path, const dpt_dataset *ds, int field, uint64_t cache_bytes) {
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

static dpt_status open_fields(const char *name, int count, dpt_dataset **ds) {
    static char names[FIELDS][16];
    dpt_field_spec spec[FIELDS];
    const char *path = file_path(name);
    for (int i = 0; i < count; i++) {
        field_name(i, names[i]);
        spec[i] = (dpt_field_spec){.name = names[i], .path = names[i], .dtype = DPT_F64, .ndim = DPT_ANY_NDIM};
    }
    return dpt_dataset_open(&control, &path, 1, spec, count, ds);
}

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

static dpt_dataset *open_two(const char *name, int filters, int cut) {
    hid_t file = file_create(name);
    add_chunked(file, "x0", H5T_IEEE_F32LE, chunks[cut], filters, 3);
    add_chunked(file, "x1", H5T_IEEE_F32LE, chunks[cut], filters, 4);
    H5Fclose(file);
    dpt_dataset *ds = NULL;
    CHECK_OK(open_fields(name, 2, &ds));
    return ds;
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

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }
static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "reader", {"start", start}, {"types_layouts_filters", types_layouts_filters},
                      {"newer_formats", newer_formats}, {"masked_chunk", masked_chunk}, {"decodes_once", decodes_once},
                      {"whole_chunks", whole_chunks}, {"threads", threads}, {"damaged_chunk", damaged_chunk},
                      {"lying_tables", lying_tables}, {"changed_file", changed_file},
                      {"failing_storage", failing_storage}, {"large_file", large_file}, {"packed", packed},
                      {"out_of_memory", out_of_memory}, {"stop", stop});
}
