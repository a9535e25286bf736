/* Decoding of chunks: HDF5 itself writes them, in every order of filters, and says what they hold. Then every way to
 * harm one: cut off anywhere, each bit turned over; nothing may be read or written outside of the buffers, which are
 * guarded here. */
#include "data/decode.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "data_files.h"

typedef struct row {
    const char *name;
    int count;
    uint8_t filter[4];
} row;

enum { DEFLATE = DPT_FILTER_DEFLATE, SHUFFLE = DPT_FILTER_SHUFFLE, FLETCHER32 = DPT_FILTER_FLETCHER32 };
static const row rows[] = {
    {"none", 0, {0}},
    {"deflate", 1, {DEFLATE}},
    {"shuffle", 1, {SHUFFLE}},
    {"fletcher32", 1, {FLETCHER32}},
    {"shuffle, deflate", 2, {SHUFFLE, DEFLATE}},
    {"deflate, shuffle", 2, {DEFLATE, SHUFFLE}},
    {"shuffle, fletcher32", 2, {SHUFFLE, FLETCHER32}},
    {"fletcher32, shuffle", 2, {FLETCHER32, SHUFFLE}},
    {"deflate, fletcher32", 2, {DEFLATE, FLETCHER32}},
    {"fletcher32, deflate", 2, {FLETCHER32, DEFLATE}},
    {"deflate, deflate", 2, {DEFLATE, DEFLATE}},
    {"shuffle, deflate, fletcher32", 3, {SHUFFLE, DEFLATE, FLETCHER32}},
    {"fletcher32, shuffle, deflate", 3, {FLETCHER32, SHUFFLE, DEFLATE}},
    {"shuffle, fletcher32, deflate", 3, {SHUFFLE, FLETCHER32, DEFLATE}},
    {"deflate, deflate, deflate, shuffle", 4, {DEFLATE, DEFLATE, DEFLATE, SHUFFLE}},
    {"fletcher32, fletcher32, shuffle, shuffle", 4, {FLETCHER32, FLETCHER32, SHUFFLE, SHUFFLE}},
};
enum { ROWS = sizeof rows / sizeof *rows, ALL_THREE = 11 };

/* What a chunk holds. */
typedef enum kind { WAVES, NOISE, ZEROS, ONES, KINDS } kind;

static void fill(kind what, uint8_t *out, uint64_t bytes, uint64_t element_bytes) {
    uint32_t state = 12345;
    for (uint64_t i = 0; i < bytes; i++) {
        uint64_t element = i / element_bytes, byte = i % element_bytes;
        state = state * 1664525 + 1013904223;
        out[i] = what == ZEROS   ? 0
                 : what == ONES  ? 0xff
                 : what == NOISE ? (uint8_t)(state >> 24)
                                 : (uint8_t)((element * element / 7) >> (3 * byte));
    }
}

static dpt_pipeline pipeline_of(const row *r, uint32_t element_bytes) {
    dpt_pipeline p = {.count = r->count, .element_bytes = element_bytes};
    memcpy(p.filter, r->filter, sizeof r->filter);
    return p;
}

static dpt_decoder *decoder;
static hid_t file;

static void begin(void) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5Pset_fapl_core(access, 1 << 20, 0);
    file = H5Fcreate("memory.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    CHECK(file >= 0);
    CHECK_OK(dpt_decoder_create(&decoder));
}

static void end(void) {
    dpt_decoder_destroy(&decoder);
    CHECK(decoder == NULL);
    H5Fclose(file);
    check_nothing_open();
}

static void set_filters(hid_t properties, const row *r) {
    for (int i = 0; i < r->count; i++) {
        if (r->filter[i] == SHUFFLE) CHECK(H5Pset_shuffle(properties) >= 0);
        if (r->filter[i] == DEFLATE) CHECK(H5Pset_deflate(properties, 6) >= 0);
        if (r->filter[i] == FLETCHER32) CHECK(H5Pset_fletcher32(properties) >= 0);
    }
}

/* A new dataset of one chunk; `type` to close with it. */
static hid_t one_chunk(const row *r, uint64_t element_bytes, hsize_t elements, hid_t *type) {
    hid_t p = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &elements, NULL);
    *type = H5Tcreate(H5T_OPAQUE, element_bytes);
    H5Pset_chunk(p, 1, &elements);
    set_filters(p, r);
    if (H5Lexists(file, "x", H5P_DEFAULT) > 0) H5Ldelete(file, "x", H5P_DEFAULT);
    hid_t set = H5Dcreate2(file, "x", *type, space, H5P_DEFAULT, p, H5P_DEFAULT);
    CHECK(set >= 0);
    H5Sclose(space);
    H5Pclose(p);
    return set;
}

/* The bytes of a chunk as HDF5 writes it: release with free. */
static uint8_t *encode(const row *r, uint64_t element_bytes, uint64_t elements, const void *values, uint32_t *mask,
                       uint64_t *bytes) {
    hid_t type, set = one_chunk(r, element_bytes, elements, &type);
    hsize_t stored = 0, origin = 0;
    CHECK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    CHECK(H5Dflush(set) >= 0);
    CHECK(H5Dget_chunk_storage_size(set, &origin, &stored) >= 0 && stored > 0);
    uint8_t *raw = malloc(stored);
    CHECK(H5Dread_chunk(set, H5P_DEFAULT, &origin, mask, raw) >= 0);
    *bytes = stored;
    H5Dclose(set);
    H5Tclose(type);
    return raw;
}

/* Whether HDF5 reads these bytes of a chunk. */
static bool hdf5_reads(const row *r, uint64_t element_bytes, uint64_t elements, const void *raw, uint32_t mask,
                       uint64_t bytes, void *out) {
    hid_t type, set = one_chunk(r, element_bytes, elements, &type);
    hsize_t origin = 0;
    CHECK(H5Dwrite_chunk(set, H5P_DEFAULT, mask, &origin, bytes, raw) >= 0);
    H5Dclose(set); /* else HDF5 1.10 reads with the mask of before */
    set = H5Dopen2(file, "x", H5P_DEFAULT);
    bool read = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0;
    H5Dclose(set);
    H5Tclose(type);
    return read;
}

/* A buffer that ends where memory does: a byte read or written behind it ends the test, whoever does so. */
static uint8_t *guarded(int which, uint64_t bytes) {
    static uint8_t *memory[2];
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), all = 8 << 20;
    if (memory[which] == NULL) {
        void *p = mmap(NULL, all + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect((char *)p + all, page, PROT_NONE) != 0) abort();
        memory[which] = p;
    }
    if (bytes > all) abort();
    return memory[which] + all - bytes;
}

/* Decodes a copy, from a buffer of exactly its size into one of exactly out_bytes, which the next call takes back. */
static dpt_status decode(const dpt_pipeline *p, uint32_t mask, const uint8_t *raw, uint64_t bytes, uint64_t out_bytes,
                         uint8_t **out) {
    uint8_t *in = guarded(0, bytes);
    *out = guarded(1, out_bytes);
    memcpy(in, raw, bytes);
    memset(*out, 0x55, out_bytes);
    return dpt_decode(decoder, p, mask, in, bytes, *out, out_bytes);
}

static void check_round(const row *r, uint64_t element_bytes, uint64_t elements, kind what) {
    uint64_t bytes = elements * element_bytes, stored;
    uint8_t *values = malloc(bytes), *have;
    uint32_t mask;
    fill(what, values, bytes, element_bytes);
    uint8_t *raw = encode(r, element_bytes, elements, values, &mask, &stored);
    dpt_pipeline p = pipeline_of(r, (uint32_t)element_bytes);
    dpt_status status = decode(&p, mask, raw, stored, bytes, &have);
    check_that(status == DPT_OK && memcmp(have, values, bytes) == 0, __FILE__, __LINE__,
               "%s: %d elements of %d bytes, kind %d: %s", r->name, (int)elements, (int)element_bytes, (int)what,
               status == DPT_OK ? "other values" : dpt_last_error());
    free(raw);
    free(values);
}

static void pipelines(void) {
    static const uint64_t element_bytes[] = {1, 2, 3, 4, 8, 12}, elements[] = {1, 2, 77, 3000};
    begin();
    for (int r = 0; r < ROWS; r++)
        for (size_t e = 0; e < sizeof element_bytes / sizeof *element_bytes; e++)
            for (size_t n = 0; n < sizeof elements / sizeof *elements; n++)
                for (kind what = WAVES; what <= NOISE; what++)
                    check_round(&rows[r], element_bytes[e], elements[n], what);
    end();
}

/* Sizes around the checksum's lanes and blocks; bytes that are all 0 or all ones, whose sums are 0 in two ways. */
static void checksums(void) {
    static const row sums = {"fletcher32", 1, {FLETCHER32}};
    begin();
    for (uint64_t n = 1; n < 100; n++) check_round(&sums, 1, n, (kind)(n % KINDS));
    static const uint64_t large[] = {11519, 11520, 11521, 11551, 11552, 23040, 23041, 400001, 3000000};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        for (kind what = WAVES; what < KINDS; what++) check_round(&sums, 1, large[i], what);
    end();
}

/* A filter left out of a chunk: its bytes are those of a pipeline without it. */
static void masks(void) {
    const row *all = &rows[ALL_THREE];
    enum { ELEMENTS = 100, BYTES = 4 * ELEMENTS };
    uint8_t values[BYTES], theirs[BYTES], *have;
    begin();
    fill(WAVES, values, BYTES, 4);
    for (uint32_t mask = 0; mask < 8; mask++) {
        row some = {.count = 0};
        for (int i = 0; i < all->count; i++)
            if (!(mask >> i & 1)) some.filter[some.count++] = all->filter[i];
        uint32_t none;
        uint64_t stored;
        uint8_t *raw = encode(&some, 4, ELEMENTS, values, &none, &stored);
        CHECK_EQ_I64(none, 0);
        CHECK(hdf5_reads(all, 4, ELEMENTS, raw, mask, stored, theirs) && memcmp(theirs, values, BYTES) == 0);
        dpt_pipeline p = pipeline_of(all, 4);
        CHECK_OK(decode(&p, mask, raw, stored, BYTES, &have));
        CHECK(memcmp(have, values, BYTES) == 0);
        free(raw);
    }
    end();
}

static void truncations(void) {
    enum { ELEMENTS = 75, BYTES = 4 * ELEMENTS };
    uint8_t values[BYTES], *have;
    begin();
    fill(WAVES, values, BYTES, 4);
    for (int r = 0; r < ROWS; r++) {
        uint64_t stored;
        uint32_t mask;
        uint8_t *raw = encode(&rows[r], 4, ELEMENTS, values, &mask, &stored);
        dpt_pipeline p = pipeline_of(&rows[r], 4);
        for (uint64_t n = 0; n < stored; n++) {
            dpt_status status = decode(&p, mask, raw, n, BYTES, &have);
            check_that(status == DPT_ERR_DATA, __FILE__, __LINE__, "%s: %d of %d bytes: %s", rows[r].name, (int)n,
                       (int)stored, dpt_status_text(status));
        }
        free(raw);
    }
    end();
}

/* Each bit turned over. Deflate has a checksum of its own, but some bits of a stream mean nothing. */
static void flips(void) {
    enum { ELEMENTS = 75, BYTES = 4 * ELEMENTS };
    uint8_t values[BYTES], *have;
    begin();
    fill(WAVES, values, BYTES, 4);
    for (int r = 0; r < ROWS; r++) {
        uint64_t stored;
        uint32_t mask;
        uint8_t *raw = encode(&rows[r], 4, ELEMENTS, values, &mask, &stored);
        dpt_pipeline p = pipeline_of(&rows[r], 4);
        bool guarded = false, summed = false;
        for (int i = 0; i < rows[r].count; i++) guarded |= rows[r].filter[i] != SHUFFLE;
        if (rows[r].count > 0) summed = rows[r].filter[rows[r].count - 1] == FLETCHER32;
        for (uint64_t bit = 0; bit < 8 * stored; bit++) {
            raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
            dpt_status status = decode(&p, mask, raw, stored, BYTES, &have);
            bool same = status == DPT_OK && memcmp(have, values, BYTES) == 0;
            bool right = summed    ? status == DPT_ERR_DATA
                         : guarded ? status == DPT_ERR_DATA || same
                                   : status == DPT_OK && !same;
            check_that(right, __FILE__, __LINE__, "%s: bit %d of byte %d: %s", rows[r].name, (int)(bit % 8),
                       (int)(bit / 8), dpt_status_text(status));
            raw[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(raw);
    }
    end();
}

/* HDF5 before 1.6.3 stored both halves of the sum with their bytes swapped; other orders are damage, to HDF5 too. */
static void old_checksums(void) {
    static const row sums = {"fletcher32", 1, {FLETCHER32}};
    static const int order[][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {3, 2, 1, 0}, {2, 3, 0, 1}, {1, 0, 2, 3}};
    enum { BYTES = 333 };
    uint8_t values[BYTES], theirs[BYTES], sum[4], *have;
    uint32_t mask;
    uint64_t stored;
    begin();
    fill(NOISE, values, BYTES, 1);
    uint8_t *raw = encode(&sums, 1, BYTES, values, &mask, &stored);
    CHECK_EQ_I64(stored, BYTES + 4);
    memcpy(sum, raw + BYTES, 4);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 4; k++) raw[BYTES + k] = sum[order[i][k]];
        bool good = hdf5_reads(&sums, 1, BYTES, raw, mask, stored, theirs);
        CHECK_EQ_I64(good, i < 2);
        dpt_pipeline p = pipeline_of(&sums, 1);
        CHECK_EQ_I64(decode(&p, mask, raw, stored, BYTES, &have), good ? DPT_OK : DPT_ERR_DATA);
    }
    char text[40]; /* of the sum as it should be, read as little-endian */
    snprintf(text, sizeof text, "the checksum is 0x%02x%02x%02x%02x,", sum[3], sum[2], sum[1], sum[0]);
    dpt_pipeline p = pipeline_of(&sums, 1);
    CHECK_FAILS(decode(&p, mask, raw, stored, BYTES, &have), DPT_ERR_DATA, text);
    free(raw);
    end();
}

/* A chunk that is longer or shorter than declared, also by far; sizes that no chunk can have. */
static void wrong_sizes(void) {
    enum { BYTES = 4000 };
    uint8_t *values = calloc(1, BYTES * 256), *have;
    uint32_t mask;
    uint64_t stored;
    begin();
    for (int r = 0; r < ROWS; r++) {
        uint8_t *raw = encode(&rows[r], 4, BYTES / 4, values, &mask, &stored);
        dpt_pipeline p = pipeline_of(&rows[r], 4);
        for (int off = -4; off <= 4; off++) {
            dpt_status status = decode(&p, mask, raw, stored, (uint64_t)(BYTES + off), &have);
            check_that(status == (off ? DPT_ERR_DATA : DPT_OK), __FILE__, __LINE__, "%s: %d bytes too many: %s",
                       rows[r].name, off, dpt_last_error());
        }
        free(raw);
    }
    dpt_pipeline deflate = pipeline_of(&rows[1], 4), sums = pipeline_of(&rows[3], 4),
                 shuffle = pipeline_of(&rows[2], 0);
    uint8_t *raw = encode(&rows[1], 4, BYTES * 64, values, &mask, &stored);
    CHECK_FAILS(decode(&deflate, 0, raw, stored, 100, &have), DPT_ERR_DATA, "holds more than 100 bytes");
    CHECK_FAILS(decode(&deflate, 0, raw, stored, BYTES * 256 + 9, &have), DPT_ERR_DATA,
                "holds 1024000 bytes, not 1024009");
    free(raw);
    CHECK_FAILS(decode(&sums, 0, values, 3, BYTES, &have), DPT_ERR_DATA, "3 bytes, a checksum alone has 4");
    CHECK_FAILS(decode(&sums, 1, values, 3, BYTES, &have), DPT_ERR_DATA, "3 bytes, not the chunk's 4000");
    CHECK_FAILS(decode(&shuffle, 0, values, BYTES, BYTES, &have), DPT_ERR_DATA, "elements of 0 bytes");
    dpt_pipeline other = {.count = 1, .filter = {32}}, many = {.count = DPT_MAX_FILTERS + 1};
    CHECK_FAILS(decode(&other, 0, values, BYTES, BYTES, &have), DPT_ERR_UNSUPPORTED, "filter 32 is not supported");
    CHECK_FAILS(decode(&many, 0, values, BYTES, BYTES, &have), DPT_ERR_UNSUPPORTED, "9 filters; at most 8");
    CHECK_FAILS(dpt_decode(decoder, &deflate, 0, values, BYTES, values, UINT64_MAX), DPT_ERR_UNSUPPORTED,
                "a chunk of 18446744073709551615 bytes");
    free(values);
    end();
}

/* Room is made once; where there is none the decoder stays usable. */
static void memory(void) {
    enum { BYTES = 4000 };
    uint8_t values[BYTES], *have;
    uint32_t mask;
    uint64_t stored;
    const row *deep = &rows[ROWS - 2];
    fill(WAVES, values, BYTES, 4);
    begin();
    uint8_t *raw = encode(deep, 4, BYTES / 4, values, &mask, &stored);
    dpt_pipeline p = pipeline_of(deep, 4);
    for (int failing = 1; failing <= 3; failing++) {
        dpt_alloc_fail_at(failing);
        dpt_status status = decode(&p, mask, raw, stored, BYTES, &have);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_ERR_MEMORY || (failing > 1 && status == DPT_OK));
    }
    CHECK_OK(decode(&p, mask, raw, stored, BYTES, &have));
    int64_t before = dpt_alloc_count();
    for (int i = 0; i < 3; i++) {
        CHECK_OK(decode(&p, mask, raw, stored, BYTES, &have));
        CHECK(memcmp(have, values, BYTES) == 0);
    }
    CHECK_EQ_I64(dpt_alloc_count(), before);
    free(raw);
    end();
    dpt_alloc_fail_at(1);
    CHECK_EQ_I64(dpt_decoder_create(&decoder), DPT_ERR_MEMORY);
    dpt_alloc_fail_at(0);
    CHECK(decoder == NULL);
    dpt_decoder_destroy(&decoder);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "decode", {"pipelines", pipelines}, {"checksums", checksums}, {"masks", masks},
                      {"truncations", truncations}, {"flips", flips}, {"old_checksums", old_checksums},
                      {"wrong_sizes", wrong_sizes}, {"memory", memory});
}
