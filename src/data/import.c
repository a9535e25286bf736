/* import.c: IDX to HDF5. Everything in a header is checked before it is used, and the stream must end where the header
 * says: not a byte earlier, not a byte later. */
#include "data/import.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/memory.h"
#include "data/hdf5_output.h"

enum { BUFFER_BYTES = 1 << 20, IDX_U8 = 0x08 };

typedef struct idx_stream {
    const char *path;
    gzFile file;
    int ndim;
    int64_t dim[DPT_MAX_NDIM];
    int64_t row_bytes;
} idx_stream;

/* Reads up to `bytes`; fewer only where the stream ends. */
static dpt_status read_stream(idx_stream *in, void *out, int64_t bytes, int64_t *got) {
    *got = 0;
    while (*got < bytes) {
        int64_t left = bytes - *got;
        int n = gzread(in->file, (char *)out + *got, left < BUFFER_BYTES ? (unsigned)left : BUFFER_BYTES);
        int code;
        const char *reason = gzerror(in->file, &code);
        if (n > 0) *got += n;
        if (code == Z_BUF_ERROR)
            return dpt_error(DPT_ERR_DATA, "%s: truncated: the compressed stream ends early", in->path);
        if (code == Z_ERRNO) return dpt_error(DPT_ERR_IO, "%s: %s", in->path, strerror(errno));
        DPT_CHECK(n >= 0 && code == Z_OK, DPT_ERR_DATA, "%s: damaged: %s", in->path, reason);
        if (n == 0) break;
    }
    return DPT_OK;
}

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

static dpt_status read_sizes(idx_stream *in) {
    unsigned char b[4 * DPT_MAX_NDIM];
    int64_t got, all = 1;
    DPT_TRY(read_stream(in, b, 4 * in->ndim, &got));
    DPT_CHECK(got == 4 * in->ndim, DPT_ERR_DATA, "%s: truncated in its header: %lld bytes of %d", in->path,
              (long long)got + 4, 4 + 4 * in->ndim);
    for (int i = 0; i < in->ndim; i++) {
        const unsigned char *p = b + 4 * i;
        in->dim[i] = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | (int64_t)p[3];
        DPT_CHECK(in->dim[i] > 0, DPT_ERR_DATA, "%s: axis %d has size 0", in->path, i);
        DPT_CHECK(!__builtin_mul_overflow(all, in->dim[i], &all), DPT_ERR_DATA, "%s: declares more than 2^63 bytes",
                  in->path);
    }
    in->row_bytes = all / in->dim[0];
    return DPT_OK;
}

static dpt_status read_header(idx_stream *in) {
    unsigned char b[4];
    int64_t got;
    DPT_TRY(read_stream(in, b, 4, &got));
    DPT_CHECK(got == 4 && b[0] == 0 && b[1] == 0, DPT_ERR_DATA, "%s: not an IDX file", in->path);
    DPT_CHECK(b[2] == IDX_U8, DPT_ERR_UNSUPPORTED, "%s: values of IDX type 0x%02x%s are not supported (only 0x08)",
              in->path, b[2], idx_type_text(b[2]));
    in->ndim = b[3];
    DPT_CHECK(in->ndim >= 1 && in->ndim <= DPT_MAX_NDIM, DPT_ERR_DATA, "%s: %d axes; 1 to %d are possible", in->path,
              in->ndim, DPT_MAX_NDIM);
    return read_sizes(in);
}

static dpt_status start_dataset(const idx_stream *in, const char *path, dpt_hdf5_output *out) {
    int64_t dim[DPT_MAX_NDIM + 1];
    bool image = in->ndim == 3;
    int ndim = 0;
    for (int i = 0; i < in->ndim; i++) {
        dim[ndim++] = in->dim[i];
        if (i == 0 && image) dim[ndim++] = 1;
    }
    return dpt_hdf5_output_dataset(out, path, DPT_U8, ndim, dim);
}

static dpt_status copy_rows(idx_stream *in, dpt_hdf5_output *out, char *buffer, int64_t rows_at_once) {
    int64_t rows = in->dim[0], got;
    for (int64_t row = 0; row < rows; row += rows_at_once) {
        int64_t n = rows - row < rows_at_once ? rows - row : rows_at_once;
        DPT_TRY(read_stream(in, buffer, n * in->row_bytes, &got));
        DPT_CHECK(got == n * in->row_bytes, DPT_ERR_DATA, "%s: truncated: %lld bytes of values, its header says %lld",
                  in->path, (long long)(row * in->row_bytes + got), (long long)(rows * in->row_bytes));
        DPT_TRY(dpt_hdf5_output_rows(out, row, n, buffer));
    }
    DPT_TRY(read_stream(in, buffer, 1, &got));
    DPT_CHECK(got == 0, DPT_ERR_DATA, "%s: goes on after the %lld bytes of values that its header says", in->path,
              (long long)(rows * in->row_bytes));
    return DPT_OK;
}

/* One row must fit the memory of this machine; no dataset has larger ones. */
static dpt_status copy_source(idx_stream *in, const char *path, dpt_hdf5_output *out) {
    DPT_TRY(read_header(in));
    int64_t rows_at_once = in->row_bytes < BUFFER_BYTES ? BUFFER_BYTES / in->row_bytes : 1;
    char *buffer = dpt_alloc((size_t)(rows_at_once * in->row_bytes));
    DPT_CHECK_ALLOC(buffer);
    dpt_status status = start_dataset(in, path, out);
    if (status == DPT_OK) status = copy_rows(in, out, buffer, rows_at_once);
    dpt_free(buffer);
    return status;
}

static dpt_status import_source(const dpt_idx_source *source, dpt_hdf5_output *out) {
    idx_stream in = {.path = source->idx};
    errno = 0;
    in.file = gzopen(source->idx, "rb");
    DPT_CHECK(in.file != NULL, DPT_ERR_IO, "%s: %s", source->idx, errno ? strerror(errno) : "out of memory");
    dpt_status status = copy_source(&in, source->dataset, out);
    gzclose_r(in.file);
    return status;
}

typedef struct source_list {
    const dpt_idx_source *source;
    int count;
} source_list;

static dpt_status import_sources(dpt_hdf5_output *out, const void *sources) {
    const source_list *list = sources;
    for (int i = 0; i < list->count; i++) DPT_TRY(import_source(&list->source[i], out));
    return DPT_OK;
}

dpt_status dpt_import_idx(const dpt_idx_source *sources, int count, const char *target) {
    DPT_CHECK(count > 0, DPT_ERR_ARG, "%s: an import of no files", target);
    return dpt_hdf5_output_once(target, import_sources, &(source_list){sources, count});
}

enum { FASHION_FILES = 4 };
static const char fashion_folder[] = "/usr/share/datasets/fashion-mnist";
static const dpt_idx_source fashion_files[FASHION_FILES] = {{"train-images-idx3-ubyte.gz", "/train/x"},
                                                            {"train-labels-idx1-ubyte.gz", "/train/y"},
                                                            {"t10k-images-idx3-ubyte.gz", "/test/x"},
                                                            {"t10k-labels-idx1-ubyte.gz", "/test/y"}};

dpt_status dpt_import_fashion_mnist(const char *source_dir, const char *target) {
    dpt_idx_source sources[FASHION_FILES];
    char *path[FASHION_FILES] = {NULL};
    dpt_status status = DPT_OK;
    for (int i = 0; i < FASHION_FILES; i++) {
        path[i] = dpt_format("%s/%s", source_dir ? source_dir : fashion_folder, fashion_files[i].idx);
        if (path[i] == NULL) status = DPT_ERR_MEMORY;
        sources[i] = (dpt_idx_source){path[i], fashion_files[i].dataset};
    }
    if (status == DPT_OK) status = dpt_import_idx(sources, FASHION_FILES, target);
    for (int i = 0; i < FASHION_FILES; i++) dpt_free(path[i]);
    return status;
}

bool dpt_import_fashion_mnist_available(const char *source_dir) {
    bool all = true;
    for (int i = 0; i < FASHION_FILES && all; i++) {
        char *path = dpt_format("%s/%s", source_dir ? source_dir : fashion_folder, fashion_files[i].idx);
        all = path != NULL && access(path, R_OK) == 0;
        dpt_free(path);
    }
    return all;
}
