/* import.c: finds out the format of each source and writes its rows to HDF5, a piece at a time. Nothing here knows a
 * format but the table; a format gets its line there. */
#include "data/import.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/hdf5_output.h"
#include "data/import_input.h"

enum { PIECE_BYTES = 1 << 20, HEAD_BYTES = 8 };

typedef struct import_format {
    const char *name;
    const char *magic; /* of the content, decompressed; NULL: not known by it */
    size_t magic_bytes;
    const char *endings; /* of names, less .gz; each closed by a blank */
    const char *example; /* a line of help */
    dpt_status (*open)(const dpt_import_source *source, dpt_import_stream *stream); /* NULL: not read */
} import_format;

static const import_format formats[] = {
    {"IDX", "\0\0", 2, ".idx ", "/train/x=train-images-idx3-ubyte.gz    IDX, plain or gzip", dpt_import_open_idx},
    {"NPY", "\x93NUMPY", 6, ".npy ", "/x=fields.npy                          NumPy array", dpt_import_open_npy},
    {"NPZ", "PK\3\4", 4, ".npz ", "/x=run.npz#velocity                    array of a NumPy archive",
     dpt_import_open_npy},
    {"CSV", NULL, 0, ".csv .tsv .tab .txt .dat ",
     "/x=table.csv#1-8  /y=table.csv#9:i64   columns of CSV, TSV or text with blanks; by number from 1, or name of\n"
     "                                         the header; behind them :f32 (not said), :f64 or :i64, and :nan to\n"
     "                                         allow NaN, infinities and empty fields",
     dpt_import_open_table},
};
static const import_format folder_format = {
    "images",
    NULL,
    0,
    "",
    "/x=photos#images  /y=photos#labels     folder of PNG or JPEG, a subfolder a class;\n                              "
    "           :size=64x64 another height and width, :skip=yes without broken ones",
    dpt_import_open_images};
enum { FORMATS = sizeof formats / sizeof *formats };

const char *dpt_import_example(int index) {
    for (int i = 0; i < FORMATS; i++)
        if (formats[i].open && index-- == 0) return formats[i].example;
    return folder_format.open && index == 0 ? folder_format.example : NULL;
}

static dpt_status read_head(const char *path, char *head, int64_t *got) {
    dpt_import_input input;
    DPT_TRY(dpt_import_input_open(&input, path));
    dpt_status status = dpt_import_input_read(&input, head, HEAD_BYTES, got);
    dpt_import_input_close(&input);
    return status;
}

/* Whether a name ends in one of the endings, in whatever case, .gz behind it or not. */
static bool has_ending(const char *path, const char *endings) {
    size_t length = strlen(path);
    if (length > 3 && strcasecmp(path + length - 3, ".gz") == 0) length -= 3;
    for (const char *blank; (blank = strchr(endings, ' ')) != NULL; endings = blank + 1) {
        size_t n = (size_t)(blank - endings);
        if (length > n && strncasecmp(path + length - n, endings, n) == 0) return true;
    }
    return false;
}

static dpt_status find_format(const char *path, const import_format **format) {
    struct stat about;
    char head[HEAD_BYTES];
    int64_t got;
    DPT_CHECK(stat(path, &about) == 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    *format = &folder_format;
    if (S_ISDIR(about.st_mode)) return DPT_OK;
    DPT_CHECK(S_ISREG(about.st_mode), DPT_ERR_IO, "%s: neither a file nor a folder", path);
    DPT_TRY(read_head(path, head, &got));
    for (int i = 0; i < FORMATS; i++) {
        *format = &formats[i];
        size_t n = formats[i].magic_bytes;
        if (n > 0 && (size_t)got >= n && memcmp(head, formats[i].magic, n) == 0) return DPT_OK;
    }
    for (int i = 0; i < FORMATS; i++) {
        *format = &formats[i];
        if (has_ending(path, formats[i].endings)) return DPT_OK;
    }
    return dpt_error(DPT_ERR_DATA,
                     "%s: of no known format: neither the first bytes of IDX, NPY or NPZ, nor a name that ends in "
                     ".csv, .tsv, .tab, .txt or .dat",
                     path);
}

static dpt_status find_reader(const dpt_import_source *source, const import_format **format) {
    DPT_TRY(find_format(source->file, format));
    DPT_CHECK((*format)->open != NULL, DPT_ERR_UNSUPPORTED, "%s: %s is not imported", source->file, (*format)->name);
    return DPT_OK;
}

/* ---- writing ---- */

typedef struct import_job {
    const dpt_import_source *source;
    int count;
    const dpt_import_watch *watch;
} import_job;

static dpt_status copy_rows(const dpt_import_source *source, dpt_import_stream *in, dpt_hdf5_output *out, void *piece,
                            int64_t piece_rows, const dpt_import_watch *watch) {
    int64_t rows = in->dim[0], got;
    for (int64_t row = 0; row < rows; row += got) {
        int64_t n = rows - row < piece_rows ? rows - row : piece_rows;
        DPT_TRY(in->read(in, n, piece, &got));
        DPT_CHECK(got == n, DPT_ERR_DATA, "%s: ends after %lld of its %lld rows; was it changed meanwhile?",
                  source->file, (long long)(row + got), (long long)rows);
        DPT_TRY(dpt_hdf5_output_rows(out, row, n, piece));
        if (watch) watch->rows(watch->user, source, row + n, rows);
    }
    return DPT_OK;
}

/* One row must fit the memory of this machine; no dataset has larger ones. */
static dpt_status write_stream(const import_job *job, const dpt_import_source *source, dpt_import_stream *in,
                               dpt_hdf5_output *out) {
    DPT_CHECK(in->dim[0] > 0 && in->row_bytes > 0, DPT_ERR_DATA, "%s: holds no %s", source->file,
              in->dim[0] > 0 ? "values" : "rows");
    int64_t piece_rows = in->row_bytes < PIECE_BYTES ? PIECE_BYTES / in->row_bytes : 1;
    if (piece_rows > in->dim[0]) piece_rows = in->dim[0];
    void *piece = dpt_alloc((size_t)(piece_rows * in->row_bytes));
    DPT_CHECK_ALLOC(piece);
    dpt_status status = dpt_hdf5_output_dataset(out, source->dataset, in->dtype, in->ndim, in->dim);
    dpt_hdf5_output_checksum(out);
    if (status == DPT_OK) status = copy_rows(source, in, out, piece, piece_rows, job->watch);
    dpt_free(piece);
    return status;
}

static dpt_status import_source(const import_job *job, const dpt_import_source *source, dpt_hdf5_output *out) {
    const import_format *format = NULL;
    dpt_import_stream in;
    DPT_TRY(find_reader(source, &format));
    DPT_TRY(format->open(source, &in));
    dpt_status status = write_stream(job, source, &in, out);
    in.close(&in);
    return status;
}

static dpt_status import_sources(dpt_hdf5_output *out, const void *what) {
    const import_job *job = what;
    const import_format *format = NULL; /* a wrong name is told of before hours of work */
    for (int i = 0; i < job->count; i++) DPT_TRY(find_reader(&job->source[i], &format));
    for (int i = 0; i < job->count; i++) DPT_TRY(import_source(job, &job->source[i], out));
    return DPT_OK;
}

dpt_status dpt_import_files_watched(const dpt_import_source *sources, int count, const char *target,
                                    const dpt_import_watch *watch) {
    DPT_CHECK(count > 0, DPT_ERR_ARG, "%s: an import of no files", target);
    return dpt_hdf5_output_once(target, import_sources, &(import_job){sources, count, watch});
}

dpt_status dpt_import_files(const dpt_import_source *sources, int count, const char *target) {
    return dpt_import_files_watched(sources, count, target, NULL);
}

/* ---- Fashion-MNIST ---- */

enum { FASHION_FILES = 4 };
static const char fashion_folder[] = "/usr/share/datasets/fashion-mnist";
static const dpt_import_source fashion_files[FASHION_FILES] = {{"/train/x", "train-images-idx3-ubyte.gz", NULL},
                                                               {"/train/y", "train-labels-idx1-ubyte.gz", NULL},
                                                               {"/test/x", "t10k-images-idx3-ubyte.gz", NULL},
                                                               {"/test/y", "t10k-labels-idx1-ubyte.gz", NULL}};

dpt_status dpt_import_fashion_mnist(const char *source_dir, const char *target) {
    dpt_import_source sources[FASHION_FILES];
    char *path[FASHION_FILES] = {NULL};
    dpt_status status = DPT_OK;
    for (int i = 0; i < FASHION_FILES; i++) {
        path[i] = dpt_format("%s/%s", source_dir ? source_dir : fashion_folder, fashion_files[i].file);
        if (path[i] == NULL) status = DPT_ERR_MEMORY;
        sources[i] = (dpt_import_source){.dataset = fashion_files[i].dataset, .file = path[i]};
    }
    if (status == DPT_OK) status = dpt_import_files(sources, FASHION_FILES, target);
    for (int i = 0; i < FASHION_FILES; i++) dpt_free(path[i]);
    return status;
}

bool dpt_import_fashion_mnist_available(const char *source_dir) {
    bool all = true;
    for (int i = 0; i < FASHION_FILES && all; i++) {
        char *path = dpt_format("%s/%s", source_dir ? source_dir : fashion_folder, fashion_files[i].file);
        all = path != NULL && access(path, R_OK) == 0;
        dpt_free(path);
    }
    return all;
}
