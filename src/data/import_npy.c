/* import_npy.c: NumPy arrays (NPY, and the members of an NPZ) as streams of rows. Three steps, each of which knows the
 * one before it only: bytes from the file or the archive; values in C order; the type that is written.
 *
 * An array in Fortran order is read by blocks of rows: for each value of a row the block's column is one read, since
 * there the first axis is the fastest. Rows so long that a block holds only a few are refused: the reads would be tiny.
 *
 * Invariant: the sizes of the header and of the file (of the member) are the same before any value is read. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/numbers.h"
#include "data/import_stream.h"
#include "data/npy_header.h"
#include "data/npz_member.h"

enum { RAW_BYTES = 1 << 16, BLOCK_BYTES = 32 << 20, LEAST_BLOCK_ROWS = 64 };

/* How a stored type is written: widened, or as it is. */
typedef struct element {
    dpt_stored_kind kind;
    uint8_t bytes;
    dpt_dtype dtype;
    void (*widen)(const unsigned char *in, int64_t count, void *out);
} element;

#define WIDEN(name, from, to, widened)                                          \
    static void name(const unsigned char *in, int64_t count, void *out) {       \
        for (int64_t i = 0; i < count; i++) {                                   \
            from value;                                                         \
            memcpy(&value, in + i * (int64_t)sizeof value, sizeof value);       \
            const to wide = (widened);                                          \
            memcpy((char *)out + i * (int64_t)sizeof wide, &wide, sizeof wide); \
        }                                                                       \
    }
WIDEN(i32_of_i8, int8_t, int32_t, value)
WIDEN(i32_of_i16, int16_t, int32_t, value)
WIDEN(i32_of_u16, uint16_t, int32_t, value)
WIDEN(i64_of_u32, uint32_t, int64_t, value)
WIDEN(f32_of_f16, uint16_t, float, dpt_f32_of_f16(value))

static const element elements[] = {
    {DPT_STORED_FLOAT, 2, DPT_F32, f32_of_f16},    {DPT_STORED_FLOAT, 4, DPT_F32, NULL},
    {DPT_STORED_FLOAT, 8, DPT_F64, NULL},          {DPT_STORED_SIGNED, 1, DPT_I32, i32_of_i8},
    {DPT_STORED_SIGNED, 2, DPT_I32, i32_of_i16},   {DPT_STORED_SIGNED, 4, DPT_I32, NULL},
    {DPT_STORED_SIGNED, 8, DPT_I64, NULL},         {DPT_STORED_UNSIGNED, 1, DPT_U8, NULL},
    {DPT_STORED_UNSIGNED, 2, DPT_I32, i32_of_u16}, {DPT_STORED_UNSIGNED, 4, DPT_I64, i64_of_u32},
    {DPT_STORED_UNSIGNED, 8, DPT_I64, NULL}};

static const element *find_element(dpt_stored stored) {
    const element *e = elements;
    while (e->kind != stored.kind || e->bytes != stored.bytes) e++;
    return e;
}

typedef struct npy_stream {
    char *name; /* for messages: "a.npy", "a.npz#x" */
    int file;   /* -1: an archive's */
    dpt_npz_member member;
    int64_t bytes, at; /* of the file or the member; how many are read */
    int64_t values_at; /* the first value's byte */
    dpt_npy_header header;
    const element *type;
    int64_t row; /* the next */
    /* Fortran order: rows in C order; column: as they stand in the file */
    char *block, *column;
    int64_t block_rows, block_from, block_bytes; /* its room; the bytes of it that are there, and those given out */
    int64_t block_row;                           /* the first row of the next block */
    _Alignas(8) unsigned char raw[RAW_BYTES];
} npy_stream;

/* ---- bytes ---- */

static dpt_status read_at(const npy_stream *s, int64_t at, void *out, int64_t bytes) {
    for (int64_t got = 0; got < bytes;) {
        ssize_t n = pread(s->file, (char *)out + got, (size_t)(bytes - got), (off_t)(at + got));
        if (n < 0 && errno == EINTR) continue;
        DPT_CHECK(n >= 0, DPT_ERR_IO, "%s", strerror(errno));
        DPT_CHECK(n > 0, DPT_ERR_DATA, "ends at byte %lld, and had %lld when it was opened", (long long)(at + got),
                  (long long)s->bytes);
        got += n;
    }
    return DPT_OK;
}

/* The next bytes of the file or the member, all of them. */
static dpt_status read_bytes(npy_stream *s, void *out, int64_t bytes) {
    int64_t got = bytes;
    if (s->file >= 0)
        DPT_TRY(read_at(s, s->at, out, bytes));
    else
        DPT_TRY(dpt_npz_read(&s->member, out, bytes, &got));
    DPT_CHECK(got == bytes, DPT_ERR_DATA, "truncated: %lld bytes, the archive says %lld", (long long)(s->at + got),
              (long long)s->bytes);
    s->at += bytes;
    return DPT_OK;
}

/* An archive tells whether its checksum is right where it has no more bytes. */
static dpt_status check_end(npy_stream *s) {
    char more;
    int64_t got = 0;
    if (s->file < 0) DPT_TRY(dpt_npz_read(&s->member, &more, 1, &got));
    DPT_CHECK(got == 0, DPT_ERR_DATA, "goes on after the %lld bytes that the archive says", (long long)s->bytes);
    return DPT_OK;
}

/* ---- values in C order ---- */

/* Copies values that stand side by side to places `stride` bytes apart. */
static void scatter(const char *in, int64_t count, int bytes, char *out, int64_t stride) {
    switch (bytes) {
#define SCATTER(width)                                                                         \
    case width:                                                                                \
        for (int64_t i = 0; i < count; i++) memcpy(out + i * stride, in + i * (width), width); \
        break;
        SCATTER(1)
        SCATTER(2)
        SCATTER(4)
        SCATTER(8)
#undef SCATTER
    }
}

/* The next rows of an array in Fortran order: value (i0, i1, .., ik) is number i0 + d0 (i1 + d1 (.. ik)) of the file.
 */
static dpt_status fill_block(npy_stream *s) {
    const dpt_npy_header *h = &s->header;
    int64_t width = h->stored.bytes, rows = h->dim[0] - s->block_row, index[DPT_MAX_NDIM + 1] = {0};
    if (rows > s->block_rows) rows = s->block_rows;
    for (int64_t e = 0; e < h->elements; e++) {
        int64_t number = 0;
        for (int d = h->ndim - 1; d > 0; d--) number = (number + index[d]) * h->dim[d - 1];
        DPT_TRY(read_at(s, s->at + (number + s->block_row) * width, s->column, rows * width));
        scatter(s->column, rows, (int)width, s->block + e * width, h->elements * width);
        for (int d = h->ndim - 1; d > 0 && ++index[d] == h->dim[d]; d--) index[d] = 0;
    }
    s->block_row += rows;
    s->block_from = 0;
    s->block_bytes = rows * h->elements * width;
    return DPT_OK;
}

static dpt_status next_values(npy_stream *s, void *out, int64_t bytes) {
    if (s->block == NULL) return read_bytes(s, out, bytes);
    for (int64_t got = 0; got < bytes;) {
        if (s->block_from == s->block_bytes) DPT_TRY(fill_block(s));
        int64_t n = s->block_bytes - s->block_from;
        if (n > bytes - got) n = bytes - got;
        memcpy((char *)out + got, s->block + s->block_from, (size_t)n);
        s->block_from += n;
        got += n;
    }
    return DPT_OK;
}

/* ---- the type that is written ---- */

static void swap_bytes(unsigned char *values, int64_t count, int bytes) {
    switch (bytes) {
#define SWAP(width, type, swap)                          \
    case width:                                          \
        for (int64_t i = 0; i < count; i++) {            \
            type value;                                  \
            memcpy(&value, values + i * (width), width); \
            value = swap(value);                         \
            memcpy(values + i * (width), &value, width); \
        }                                                \
        break;
        SWAP(2, uint16_t, __builtin_bswap16)
        SWAP(4, uint32_t, __builtin_bswap32)
        SWAP(8, uint64_t, __builtin_bswap64)
#undef SWAP
    }
}

static bool is_checked(const dpt_npy_header *h) {
    return h->is_bool || (h->stored.kind == DPT_STORED_UNSIGNED && h->stored.bytes == 8);
}

/* first: of the values, counted from the array's first one. */
static dpt_status check_values(const npy_stream *s, const unsigned char *values, int64_t count, int64_t first) {
    const bool is_bool = s->header.is_bool;
    const uint64_t most = is_bool ? 1 : INT64_MAX;
    for (int64_t i = 0; i < count; i++) {
        uint64_t value = values[i];
        if (!is_bool) memcpy(&value, values + i * 8, 8);
        if (value <= most) continue;
        long long row = (first + i) / s->header.elements;
        if (is_bool) return dpt_error(DPT_ERR_DATA, "row %lld: a bool of value %d", row, (int)value);
        return dpt_error(DPT_ERR_DATA, "row %lld: %llu is above 2^63-1, the largest integer that is written", row,
                         (unsigned long long)value);
    }
    return DPT_OK;
}

static dpt_status read_values(npy_stream *s, int64_t count, char *out) {
    const dpt_stored stored = s->header.stored;
    const int64_t at_once = RAW_BYTES / stored.bytes, out_bytes = (int64_t)dpt_dtype_size(s->type->dtype);
    bool checked = is_checked(&s->header);
    if (s->type->widen == NULL && !stored.big_endian && !checked) return next_values(s, out, count * stored.bytes);
    for (int64_t i = 0; i < count; i += at_once) {
        int64_t n = count - i < at_once ? count - i : at_once;
        DPT_TRY(next_values(s, s->raw, n * stored.bytes));
        if (stored.big_endian) swap_bytes(s->raw, n, stored.bytes);
        if (checked) DPT_TRY(check_values(s, s->raw, n, s->row * s->header.elements + i));
        if (s->type->widen)
            s->type->widen(s->raw, n, out + i * out_bytes);
        else
            memcpy(out + i * out_bytes, s->raw, (size_t)(n * out_bytes));
    }
    return DPT_OK;
}

static dpt_status read_rows(dpt_import_stream *stream, int64_t rows, void *out, int64_t *got) {
    npy_stream *s = stream->state;
    int64_t left = s->header.dim[0] - s->row, n = rows < left ? rows : left;
    *got = 0;
    if (n == 0) return DPT_OK;
    dpt_status status = read_values(s, n * s->header.elements, out);
    if (status == DPT_OK && n == left) status = check_end(s);
    if (status != DPT_OK) return dpt_error_prefix(status, "%s: ", s->name);
    s->row += n;
    *got = n;
    return DPT_OK;
}

/* What is read out of an archive and dropped still counts for its checksum. */
static dpt_status drop_bytes(npy_stream *s, int64_t bytes) {
    for (int64_t n; bytes > 0; bytes -= n) {
        n = bytes < RAW_BYTES ? bytes : RAW_BYTES;
        DPT_TRY(read_bytes(s, s->raw, n));
    }
    return DPT_OK;
}

static dpt_status seek_row(dpt_import_stream *stream, int64_t row) {
    npy_stream *s = stream->state;
    const int64_t row_bytes = s->header.elements * s->header.stored.bytes;
    dpt_status status = DPT_OK;
    if (s->block) {
        s->block_row = row;
        s->block_from = s->block_bytes = 0;
    } else if (s->file >= 0) {
        s->at = s->values_at + row * row_bytes;
    } else {
        status = drop_bytes(s, (row - s->row) * row_bytes);
    }
    s->row = row;
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "%s: ", s->name);
}

/* ---- opening ---- */

static void close_npy(npy_stream *s) {
    if (s->file >= 0) close(s->file);
    dpt_npz_close(&s->member);
    dpt_free(s->name);
    dpt_free(s->block);
    dpt_free(s->column);
    dpt_free(s);
}

static void close_stream(dpt_import_stream *stream) {
    close_npy(stream->state);
    stream->state = NULL;
}

static dpt_status rename_stream(npy_stream *s, const char *file, const char *part) {
    char *name = part ? dpt_format("%s#%s", file, part) : dpt_strdup(file);
    DPT_CHECK_ALLOC(name);
    dpt_free(s->name);
    s->name = name;
    return DPT_OK;
}

/* The file, or the member of the archive that it is. */
static dpt_status open_bytes(npy_stream *s, const dpt_import_source *source) {
    unsigned char prefix[DPT_NPY_PREFIX_BYTES] = {0};
    struct stat about;
    s->file = open(source->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused below, not waited for */
    DPT_CHECK(s->file >= 0 && fstat(s->file, &about) == 0, DPT_ERR_IO, "%s", strerror(errno));
    DPT_CHECK(S_ISREG(about.st_mode), DPT_ERR_DATA, "not a regular file");
    s->bytes = about.st_size;
    int64_t n = s->bytes < DPT_NPY_PREFIX_BYTES ? s->bytes : DPT_NPY_PREFIX_BYTES;
    DPT_TRY(read_at(s, 0, prefix, n));
    if (!dpt_npz_is(prefix, n)) {
        DPT_CHECK(n < 2 || prefix[0] != 0x1f || prefix[1] != 0x8b, DPT_ERR_UNSUPPORTED,
                  "arrays packed by gzip are not supported; gunzip unpacks it (numpy.savez_compressed packs arrays)");
        DPT_CHECK(dpt_npy_is(prefix, n), DPT_ERR_DATA, "neither an NPY nor an NPZ file");
        DPT_CHECK(source->part == NULL, DPT_ERR_CONFIG, "an NPY file is one array and has no part \"%s\"",
                  source->part);
        return DPT_OK;
    }
    close(s->file);
    s->file = -1;
    DPT_TRY(dpt_npz_open(source->file, s->bytes, source->part, &s->member));
    s->bytes = s->member.bytes;
    return rename_stream(s, source->file, s->member.name);
}

static dpt_status read_header_bytes(npy_stream *s, void *out, int64_t bytes) {
    DPT_CHECK(bytes <= s->bytes - s->at, DPT_ERR_DATA, "truncated in its header: %lld bytes of %lld",
              (long long)s->bytes, (long long)(s->at + bytes));
    return read_bytes(s, out, bytes);
}

static dpt_status read_header(npy_stream *s) {
    unsigned char prefix[DPT_NPY_PREFIX_BYTES], length[4] = {0};
    int length_bytes;
    DPT_TRY(read_header_bytes(s, prefix, sizeof prefix));
    DPT_CHECK(dpt_npy_is(prefix, sizeof prefix), DPT_ERR_DATA, "not an NPY file");
    DPT_TRY(dpt_npy_length_bytes(prefix, &length_bytes));
    DPT_TRY(read_header_bytes(s, length, length_bytes));
    uint32_t bytes = length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 | (uint32_t)length[3] << 24;
    DPT_CHECK(bytes <= DPT_NPY_MAX_HEADER_BYTES, DPT_ERR_UNSUPPORTED, "a header of %u bytes; at most %d are read",
              bytes, DPT_NPY_MAX_HEADER_BYTES);
    char *text = dpt_alloc(bytes);
    DPT_CHECK_ALLOC(text);
    dpt_status status = read_header_bytes(s, text, bytes);
    if (status == DPT_OK) status = dpt_npy_header_read(text, bytes, &s->header);
    dpt_free(text);
    DPT_TRY(status);
    DPT_CHECK(s->header.bytes == s->bytes - s->at, DPT_ERR_DATA,
              "holds %lld bytes of values, its header declares %lld (or is damaged)", (long long)(s->bytes - s->at),
              (long long)s->header.bytes);
    return DPT_OK;
}

/* The order makes a difference only where two axes have more than one value. */
static bool is_c_order(const dpt_npy_header *h) {
    int axes = 0;
    for (int i = 0; i < h->ndim; i++) axes += h->dim[i] > 1;
    return !h->fortran_order || axes <= 1;
}

static dpt_status prepare_order(npy_stream *s, const char *file) {
    const dpt_npy_header *h = &s->header;
    if (is_c_order(h)) return DPT_OK;
    DPT_CHECK(s->file >= 0, DPT_ERR_UNSUPPORTED,
              "an array in Fortran order inside of an archive is not supported; numpy.savez(\"%s\", "
              "%s=numpy.ascontiguousarray(a)) writes it in C order",
              file, s->member.name);
    int64_t row_bytes = h->elements * h->stored.bytes, most = BLOCK_BYTES / row_bytes;
    s->block_rows = most < h->dim[0] ? most : h->dim[0];
    DPT_CHECK(s->block_rows == h->dim[0] || s->block_rows >= LEAST_BLOCK_ROWS, DPT_ERR_UNSUPPORTED,
              "rows of %lld bytes in Fortran order are not supported (at most %d); numpy.save(\"new.npy\", "
              "numpy.ascontiguousarray(numpy.load(\"%s\", mmap_mode=\"r\"))) writes them in C order",
              (long long)row_bytes, BLOCK_BYTES / LEAST_BLOCK_ROWS, file);
    s->block = dpt_alloc((size_t)(s->block_rows * row_bytes));
    s->column = dpt_alloc((size_t)(s->block_rows * h->stored.bytes));
    return s->block && s->column ? DPT_OK : DPT_ERR_MEMORY;
}

dpt_status dpt_import_open_npy(const dpt_import_source *source, dpt_import_stream *stream) {
    *stream = (dpt_import_stream){.ndim = 0};
    npy_stream *s = dpt_alloc_zero(1, sizeof *s);
    DPT_CHECK_ALLOC(s);
    s->file = -1;
    dpt_status status;
    DPT_TRY_GOTO(rename_stream(s, source->file, NULL), fail);
    DPT_TRY_GOTO(open_bytes(s, source), fail);
    DPT_TRY_GOTO(read_header(s), fail);
    DPT_TRY_GOTO(prepare_order(s, source->file), fail);
    s->values_at = s->at;
    s->type = find_element(s->header.stored);
    stream->dtype = s->type->dtype;
    stream->ndim = s->header.ndim;
    memcpy(stream->dim, s->header.dim, sizeof stream->dim);
    DPT_CHECK_GOTO(
        !__builtin_mul_overflow(s->header.elements, (int64_t)dpt_dtype_size(stream->dtype), &stream->row_bytes), fail,
        DPT_ERR_DATA, "declares rows of more than 2^63 bytes");
    stream->read = read_rows;
    stream->seek = seek_row;
    stream->close = close_stream;
    stream->in_order = s->file < 0;
    stream->state = s;
    return DPT_OK;
fail:
    if (s->name) dpt_error_prefix(status, "%s: ", s->name);
    close_npy(s);
    return status;
}
