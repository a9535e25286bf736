/* dataset.c: opening over ranks, and reading. Contiguous rows are read with pread at the offsets of the index, by any
 * number of threads at once; chunked and compact ones by HDF5 itself, one thread at a time, from handles that are
 * opened at the first such read. Nothing but those handles changes after opening. */
#include "data/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset_index.h"
#include "data/hdf5_util.h"

/* Chunks that HDF5 keeps decoded, a field and file: enough that chunks of usual size survive between random rows. */
enum { CHUNK_CACHE_BYTES = 64 << 20, CHUNK_CACHE_SLOTS = 12421 };

struct dpt_dataset {
    dpt_index index;
    uint64_t digest;
    int *descriptor; /* [file] */
    hid_t *file;     /* [file], -1 until needed; under the HDF5 lock, as is: */
    hid_t *reader;   /* [file * fields + field] */
};

static uint64_t index_digest(const dpt_index *index) {
    dpt_digest d = {0};
    dpt_digest_i64(&d, index->files);
    dpt_digest_i64(&d, index->fields);
    for (int f = 0; f < index->files; f++) {
        dpt_digest_i64(&d, (int64_t)index->file[f].bytes);
        dpt_digest_i64(&d, (int64_t)index->file[f].rows);
    }
    for (int i = 0; i < index->fields; i++) {
        const dpt_field *about = &index->field[i].about;
        dpt_digest_text(&d, about->name);
        dpt_digest_text(&d, about->path);
        dpt_digest_i64(&d, about->dtype);
        dpt_digest_text(&d, dpt_stored_text(about->stored));
        dpt_digest_i64(&d, about->ndim);
        for (int k = 0; k < about->ndim; k++) dpt_digest_i64(&d, about->dim[k]);
    }
    for (int p = 0; p < index->files * index->fields; p++) {
        dpt_digest_i64(&d, index->part[p].storage);
        dpt_digest_i64(&d, (int64_t)index->part[p].offset);
        dpt_digest_i64(&d, (int64_t)index->part[p].chunk_dim[0]);
    }
    return d.value;
}

/* Rank 0's bytes on all ranks. *bytes is the caller's on every rank, also after a failure. */
static dpt_status share_bytes(const dpt_control *control, void **bytes, uint64_t *size) {
    DPT_TRY(dpt_control_broadcast(control, size, sizeof *size, 0));
    if (control->rank != 0) *bytes = dpt_alloc(*size);
    DPT_TRY(dpt_control_agree(control, *bytes ? DPT_OK : DPT_ERR_MEMORY));
    return dpt_control_broadcast(control, *bytes, *size, 0);
}

static dpt_status open_descriptor(const dpt_index_file *file, int *descriptor) {
    *descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(*descriptor >= 0, DPT_ERR_IO, "%s: %s", file->path, strerror(errno));
    struct stat about;
    DPT_CHECK(fstat(*descriptor, &about) == 0, DPT_ERR_IO, "%s: %s", file->path, strerror(errno));
    DPT_CHECK((uint64_t)about.st_size == file->bytes, DPT_ERR_DATA, "%s: %lld bytes here, %llu bytes on rank 0",
              file->path, (long long)about.st_size, (unsigned long long)file->bytes);
    return DPT_OK;
}

/* This rank's own view of the files of an index. */
static dpt_status open_files(dpt_dataset *ds) {
    int files = ds->index.files, parts = files * ds->index.fields;
    ds->descriptor = dpt_alloc((size_t)files * sizeof *ds->descriptor);
    ds->file = dpt_alloc((size_t)files * sizeof *ds->file);
    ds->reader = dpt_alloc((size_t)parts * sizeof *ds->reader);
    for (int f = 0; ds->descriptor && f < files; f++) ds->descriptor[f] = -1;
    for (int f = 0; ds->file && f < files; f++) ds->file[f] = -1;
    for (int p = 0; ds->reader && p < parts; p++) ds->reader[p] = -1;
    if (!ds->descriptor || !ds->file || !ds->reader) return DPT_ERR_MEMORY;
    for (int f = 0; f < files; f++) DPT_TRY(open_descriptor(&ds->index.file[f], &ds->descriptor[f]));
    return DPT_OK;
}

static dpt_status make_bytes(const char *const *files, int file_count, const dpt_field_spec *fields, int field_count,
                             void **bytes, uint64_t *size) {
    dpt_index index;
    dpt_status status = dpt_index_create(files, file_count, fields, field_count, &index);
    if (status == DPT_OK) status = dpt_index_pack(&index, bytes, size);
    dpt_index_destroy(&index);
    return status;
}

dpt_status dpt_dataset_open(const dpt_control *control, const char *const *files, int file_count,
                            const dpt_field_spec *fields, int field_count, dpt_dataset **dataset) {
    void *bytes = NULL;
    uint64_t size = 0;
    *dataset = NULL;
    dpt_dataset *ds = dpt_alloc_zero(1, sizeof *ds);
    dpt_status status = ds ? DPT_OK : DPT_ERR_MEMORY;
    if (ds && control->rank == 0) status = make_bytes(files, file_count, fields, field_count, &bytes, &size);
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    DPT_TRY_GOTO(share_bytes(control, &bytes, &size), fail);
    status = dpt_index_unpack(bytes, size, &ds->index);
    if (status == DPT_OK) status = open_files(ds);
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    ds->digest = index_digest(&ds->index);
    DPT_TRY_GOTO(dpt_control_same(control, "the dataset index", ds->digest), fail);
    dpt_free(bytes);
    *dataset = ds;
    return DPT_OK;
fail:
    dpt_free(bytes);
    dpt_dataset_close(&ds);
    return status;
}

void dpt_dataset_close(dpt_dataset **dataset) {
    dpt_dataset *ds = *dataset;
    *dataset = NULL;
    if (ds == NULL) return;
    int files = ds->index.files, parts = files * ds->index.fields;
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    for (int p = 0; ds->reader && p < parts; p++) dpt_h5_close_dataset(ds->reader[p]);
    for (int f = 0; ds->file && f < files; f++) dpt_h5_close_file(ds->file[f]);
    dpt_h5_leave(&scope);
    for (int f = 0; ds->descriptor && f < files; f++)
        if (ds->descriptor[f] >= 0) close(ds->descriptor[f]);
    dpt_free(ds->descriptor);
    dpt_free(ds->file);
    dpt_free(ds->reader);
    dpt_index_destroy(&ds->index);
    dpt_free(ds);
}

uint64_t dpt_dataset_rows(const dpt_dataset *dataset) { return dataset->index.rows; }

int dpt_dataset_field_count(const dpt_dataset *dataset) { return dataset->index.fields; }

const dpt_field *dpt_dataset_field(const dpt_dataset *dataset, int field) { return &dataset->index.field[field].about; }

int dpt_dataset_file_count(const dpt_dataset *dataset) { return dataset->index.files; }

uint64_t dpt_dataset_file_rows(const dpt_dataset *dataset, int file) { return dataset->index.file[file].rows; }

uint64_t dpt_dataset_chunk_rows(const dpt_dataset *dataset, int file, int field) {
    const dpt_index_part *part = &dataset->index.part[file * dataset->index.fields + field];
    return part->storage == DPT_STORAGE_CHUNKED ? part->chunk_dim[0] : 0;
}

uint64_t dpt_dataset_digest(const dpt_dataset *dataset) { return dataset->digest; }

/* The last file that starts at or before a row; empty files in between hold none. */
static int file_of(const dpt_index *index, uint64_t row) {
    int low = 0, high = index->files - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (index->file[middle].first_row <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

const char *dpt_dataset_locate(const dpt_dataset *dataset, uint64_t sample, uint64_t *row_in_file) {
    const dpt_index_file *file = &dataset->index.file[file_of(&dataset->index, sample)];
    if (row_in_file) *row_in_file = sample - file->first_row;
    return file->path;
}

static dpt_status read_bytes(int descriptor, uint64_t offset, uint64_t bytes, char *out) {
    while (bytes > 0) {
        ssize_t n = pread(descriptor, out, bytes < SSIZE_MAX ? bytes : SSIZE_MAX, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        DPT_CHECK(n >= 0, DPT_ERR_IO, "%s", strerror(errno));
        DPT_CHECK(n > 0, DPT_ERR_IO, "the file ends at byte %llu, %llu bytes early", (unsigned long long)offset,
                  (unsigned long long)bytes);
        out += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return DPT_OK;
}

static dpt_status open_reader(const dpt_dataset *ds, int f, int field) {
    hid_t *reader = &ds->reader[f * ds->index.fields + field], access = -1;
    if (*reader >= 0) return DPT_OK;
    dpt_status status;
    if (ds->file[f] < 0) DPT_TRY(dpt_h5_open(ds->index.file[f].path, &ds->file[f]));
    DPT_TRY_GOTO(DPT_H5(access = H5Pcreate(H5P_DATASET_ACCESS)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_chunk_cache(access, CHUNK_CACHE_SLOTS, CHUNK_CACHE_BYTES, 0.75)), fail);
    DPT_TRY_GOTO(DPT_H5(*reader = H5Dopen2(ds->file[f], ds->index.field[field].path, access)), fail);
fail:
    dpt_h5_close_properties(access);
    return status;
}

/* Rows through HDF5, one thread at a time. */
static dpt_status read_hdf5(const dpt_dataset *ds, int f, int field, uint64_t row, uint64_t count, void *out) {
    const dpt_field *about = &ds->index.field[field].about;
    hsize_t start[DPT_MAX_NDIM + 1] = {row}, size[DPT_MAX_NDIM + 1] = {count};
    for (int d = 0; d < about->ndim; d++) size[d + 1] = (hsize_t)about->dim[d];
    hid_t space = -1, memory = -1, type = -1;
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status;
    DPT_TRY_GOTO(open_reader(ds, f, field), fail);
    hid_t reader = ds->reader[f * ds->index.fields + field];
    DPT_TRY_GOTO(DPT_H5(space = H5Dget_space(reader)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL)), fail);
    DPT_TRY_GOTO(DPT_H5(memory = H5Screate_simple(about->ndim + 1, size, NULL)), fail);
    DPT_TRY_GOTO(DPT_H5(type = H5Dget_type(reader)), fail); /* as it is stored */
    DPT_TRY_GOTO(DPT_H5(H5Dread(reader, type, memory, space, H5P_DEFAULT, out)), fail);
fail:
    if (type >= 0) H5Tclose(type);
    dpt_h5_close_space(memory);
    dpt_h5_close_space(space);
    dpt_h5_leave(&scope);
    return status;
}

/* Rows of one file. */
static dpt_status read_part(const dpt_dataset *ds, int f, int field, uint64_t row, uint64_t count, void *out) {
    const dpt_index_part *part = &ds->index.part[f * ds->index.fields + field];
    uint64_t row_bytes = ds->index.field[field].row_bytes;
    dpt_status status = part->storage == DPT_STORAGE_CONTIGUOUS
                            ? read_bytes(ds->descriptor[f], part->offset + row * row_bytes, count * row_bytes, out)
                            : read_hdf5(ds, f, field, row, count, out);
    if (status == DPT_OK) return DPT_OK;
    return dpt_error_prefix(status, "%s: %s: rows %llu to %llu: ", ds->index.file[f].path, ds->index.field[field].path,
                            (unsigned long long)row, (unsigned long long)(row + count - 1));
}

dpt_status dpt_dataset_read(const dpt_dataset *dataset, int field, uint64_t row, uint64_t count, void *out) {
    const dpt_index *index = &dataset->index;
    DPT_CHECK(row <= index->rows && count <= index->rows - row, DPT_ERR_ARG, "rows %llu to %llu of a dataset of %llu",
              (unsigned long long)row, (unsigned long long)(row + count), (unsigned long long)index->rows);
    char *to = out;
    while (count > 0) {
        int f = file_of(index, row);
        uint64_t in_file = row - index->file[f].first_row, left = index->file[f].rows - in_file;
        uint64_t n = count < left ? count : left;
        DPT_TRY(read_part(dataset, f, field, in_file, n, to));
        to += n * index->field[field].row_bytes;
        row += n;
        count -= n;
    }
    return DPT_OK;
}
