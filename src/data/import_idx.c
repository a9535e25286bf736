/* import_idx.c: IDX (http://yann.lecun.com/exdb/mnist) as a stream: two zero bytes, a type, the number of axes, their
 * sizes as 32-bit big-endian numbers, the values. Everything in a header is checked before it is used, and the stream
 * must end where the header says: not a byte earlier, not a byte later. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "data/import_input.h"
#include "data/import_stream.h"

enum { IDX_U8 = 0x08 };

typedef struct idx_file {
    dpt_import_input input;
    int ndim;
    int64_t dim[DPT_MAX_NDIM];
    int64_t row; /* the next */
} idx_file;

static const char *idx_type_text(unsigned char type) {
    switch (type) {
        case 0x09: return " (signed bytes)";
        case 0x0B: return " (16-bit integers)";
        case 0x0C: return " (32-bit integers)";
        case 0x0D: return " (32-bit floats)";
        case 0x0E: return " (64-bit floats)";
        default: return "";
    }
}

static dpt_status read_sizes(idx_file *idx, int64_t *row_bytes) {
    const char *path = idx->input.path;
    unsigned char b[4 * DPT_MAX_NDIM];
    int64_t got, all = 1;
    DPT_TRY(dpt_import_input_read(&idx->input, b, 4 * idx->ndim, &got));
    DPT_CHECK(got == 4 * idx->ndim, DPT_ERR_DATA, "%s: truncated in its header: %lld bytes of %d", path,
              (long long)got + 4, 4 + 4 * idx->ndim);
    for (int i = 0; i < idx->ndim; i++) {
        const unsigned char *p = b + 4 * i;
        idx->dim[i] = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | (int64_t)p[3];
        DPT_CHECK(idx->dim[i] > 0, DPT_ERR_DATA, "%s: axis %d has size 0", path, i);
        DPT_CHECK(!__builtin_mul_overflow(all, idx->dim[i], &all) && all <= INT64_MAX - 4 - 4 * DPT_MAX_NDIM,
                  DPT_ERR_DATA, "%s: declares more than 2^63 bytes", path);
    }
    *row_bytes = all / idx->dim[0];
    return DPT_OK;
}

static dpt_status read_header(idx_file *idx, int64_t *row_bytes) {
    const char *path = idx->input.path;
    unsigned char b[4];
    int64_t got;
    DPT_TRY(dpt_import_input_read(&idx->input, b, 4, &got));
    DPT_CHECK(got == 4 && b[0] == 0 && b[1] == 0, DPT_ERR_DATA, "%s: not an IDX file", path);
    DPT_CHECK(b[2] == IDX_U8, DPT_ERR_UNSUPPORTED, "%s: values of IDX type 0x%02x%s are not supported (only 0x08)",
              path, b[2], idx_type_text(b[2]));
    idx->ndim = b[3];
    DPT_CHECK(idx->ndim >= 1 && idx->ndim <= DPT_MAX_NDIM, DPT_ERR_DATA, "%s: %d axes; 1 to %d are possible", path,
              idx->ndim, DPT_MAX_NDIM);
    return read_sizes(idx, row_bytes);
}

static dpt_status refuse_long(const idx_file *idx, int64_t declared) {
    return dpt_error(DPT_ERR_DATA, "%s: goes on after the %lld bytes of values that its header says", idx->input.path,
                     (long long)declared);
}

static dpt_status check_end(idx_file *idx, int64_t row_bytes) {
    char next;
    int64_t got;
    DPT_TRY(dpt_import_input_read(&idx->input, &next, 1, &got));
    return got == 0 ? DPT_OK : refuse_long(idx, idx->dim[0] * row_bytes);
}

static dpt_status refuse_short(const idx_file *idx, int64_t bytes, int64_t declared) {
    return dpt_error(DPT_ERR_DATA, "%s: truncated: %lld bytes of values, its header says %lld", idx->input.path,
                     (long long)bytes, (long long)declared);
}

/* What the file's size tells without reading it: a damaged header must not ask for a target that no disk has. */
static dpt_status check_size(idx_file *idx, int64_t row_bytes) {
    enum { DEFLATE_MOST = 1032 /* bytes from one */ };
    const char *path = idx->input.path;
    const int64_t declared = idx->dim[0] * row_bytes;
    struct stat about;
    DPT_CHECK(stat(path, &about) == 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    const int64_t bytes = about.st_size;
    if (dpt_import_input_is_packed(&idx->input)) {
        DPT_CHECK(declared / DEFLATE_MOST <= bytes, DPT_ERR_DATA,
                  "%s: declares %lld bytes of values, which its %lld packed bytes cannot hold", path,
                  (long long)declared, (long long)bytes);
        return DPT_OK;
    }
    const int64_t values = bytes - (4 + 4 * idx->ndim);
    if (values < declared) return refuse_short(idx, values, declared);
    return values == declared ? DPT_OK : refuse_long(idx, declared);
}

static dpt_status read_rows(dpt_import_stream *stream, int64_t rows, void *out, int64_t *got) {
    idx_file *idx = stream->state;
    int64_t left = idx->dim[0] - idx->row, bytes;
    *got = 0;
    if (left == 0) return DPT_OK;
    if (rows > left) rows = left;
    DPT_TRY(dpt_import_input_read(&idx->input, out, rows * stream->row_bytes, &bytes));
    if (bytes < rows * stream->row_bytes)
        return refuse_short(idx, idx->row * stream->row_bytes + bytes, idx->dim[0] * stream->row_bytes);
    idx->row += rows;
    if (idx->row == idx->dim[0]) DPT_TRY(check_end(idx, stream->row_bytes));
    *got = rows;
    return DPT_OK;
}

static dpt_status seek_row(dpt_import_stream *stream, int64_t row) {
    idx_file *idx = stream->state;
    idx->row = row;
    return dpt_import_input_seek(&idx->input, 4 + 4 * idx->ndim + row * stream->row_bytes);
}

static void close_file(dpt_import_stream *stream) {
    idx_file *idx = stream->state;
    dpt_import_input_close(&idx->input);
    dpt_free(idx);
    stream->state = NULL;
}

/* Images, which have three axes, get one of channels. */
static void describe(const idx_file *idx, dpt_import_stream *stream) {
    bool image = idx->ndim == 3;
    stream->dtype = DPT_U8;
    stream->ndim = 0;
    for (int i = 0; i < idx->ndim; i++) {
        stream->dim[stream->ndim++] = idx->dim[i];
        if (i == 0 && image) stream->dim[stream->ndim++] = 1;
    }
}

dpt_status dpt_import_open_idx(const dpt_import_source *source, dpt_import_stream *stream) {
    DPT_CHECK(source->part == NULL, DPT_ERR_CONFIG, "%s: an IDX file has no parts, so no #%s", source->file,
              source->part);
    idx_file *idx = dpt_alloc_zero(1, sizeof *idx);
    DPT_CHECK_ALLOC(idx);
    *stream = (dpt_import_stream){.read = read_rows, .seek = seek_row, .close = close_file, .state = idx};
    dpt_status status;
    DPT_TRY_GOTO(dpt_import_input_open(&idx->input, source->file), fail);
    DPT_TRY_GOTO(read_header(idx, &stream->row_bytes), fail);
    DPT_TRY_GOTO(check_size(idx, stream->row_bytes), fail);
    describe(idx, stream);
    stream->in_order = dpt_import_input_is_packed(&idx->input);
    return DPT_OK;
fail:
    close_file(stream);
    return status;
}
