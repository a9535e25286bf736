/* dataset.c: opening over ranks. Nothing changes after that: any number of readers (reader.h) may share a dataset. */
#include "data/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/dataset_private.h"
#include "data/index_cache.h"

/* Rank 0's bytes on all ranks. *bytes is the caller's on every rank, also after a failure. */
static dpt_status share_bytes(const dpt_control *control, void **bytes, uint64_t *size) {
    DPT_TRY(dpt_control_broadcast(control, size, sizeof *size, 0));
    if (control->rank != 0) *bytes = dpt_alloc(*size);
    DPT_TRY(dpt_control_agree(control, *bytes ? DPT_OK : DPT_ERR_MEMORY));
    return dpt_control_broadcast(control, *bytes, *size, 0);
}

/* The file must be rank 0's in size, and on rank 0 the one that the index was made of. Elsewhere it may be a copy, with
 * a time of its own. */
static dpt_status open_descriptor(bool is_first, dpt_index_file *file, int *descriptor) {
    *descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(*descriptor >= 0 || (errno != EMFILE && errno != ENFILE), DPT_ERR_IO,
              "%s: %s: raise that limit (ulimit -n), or make few files of many (dptrain data pack)", file->path,
              strerror(errno));
    DPT_CHECK(*descriptor >= 0, DPT_ERR_IO, "%s: %s", file->path, strerror(errno));
    struct stat about;
    DPT_CHECK(fstat(*descriptor, &about) == 0, DPT_ERR_IO, "%s: %s", file->path, strerror(errno));
    DPT_CHECK((uint64_t)about.st_size == file->bytes, DPT_ERR_DATA, "%s: %lld bytes here, %llu bytes on rank 0",
              file->path, (long long)about.st_size, (unsigned long long)file->bytes);
    DPT_CHECK(!is_first || dpt_index_mtime_ns(&about) == file->mtime_ns, DPT_ERR_DATA,
              "%s: the file was changed while its index was made", file->path);
    file->mtime_ns = dpt_index_mtime_ns(&about);
    return DPT_OK;
}

/* This rank's own view of the files of an index. */
static dpt_status open_files(bool is_first, dpt_dataset *ds) {
    int files = ds->index.files;
    ds->descriptor = dpt_alloc((size_t)files * sizeof *ds->descriptor);
    DPT_CHECK_ALLOC(ds->descriptor);
    for (int f = 0; f < files; f++) ds->descriptor[f] = -1;
    for (int f = 0; f < files; f++) DPT_TRY(open_descriptor(is_first, &ds->index.file[f], &ds->descriptor[f]));
    return DPT_OK;
}

static dpt_status make_bytes(const char *const *files, int file_count, const dpt_field_spec *fields, int field_count,
                             const char *index_folder, void **bytes, uint64_t *size) {
    dpt_index index;
    dpt_status status = dpt_index_obtain(files, file_count, fields, field_count, index_folder, &index);
    if (status == DPT_OK) status = dpt_index_pack(&index, bytes, size);
    dpt_index_destroy(&index);
    return status;
}

dpt_status dpt_dataset_open_rows(const dpt_control *control, const char *const *files, int file_count,
                                 const dpt_field_spec *fields, int field_count, const char *index_folder,
                                 dpt_dataset **dataset) {
    void *bytes = NULL;
    uint64_t size = 0;
    *dataset = NULL;
    dpt_dataset *ds = dpt_alloc_zero(1, sizeof *ds);
    dpt_status status = ds ? DPT_OK : DPT_ERR_MEMORY;
    if (ds && control->rank == 0)
        status = make_bytes(files, file_count, fields, field_count, index_folder, &bytes, &size);
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    DPT_TRY_GOTO(share_bytes(control, &bytes, &size), fail);
    status = dpt_index_unpack(bytes, size, &ds->index);
    if (status == DPT_OK) status = open_files(control->rank == 0, ds);
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    ds->digest = dpt_index_digest(&ds->index);
    DPT_TRY_GOTO(dpt_control_same(control, "the dataset index", ds->digest), fail);
    dpt_free(bytes);
    *dataset = ds;
    return DPT_OK;
fail:
    dpt_free(bytes);
    dpt_dataset_close(&ds);
    return status;
}

dpt_status dpt_dataset_open(const dpt_control *control, const char *const *files, int file_count,
                            const dpt_field_spec *fields, int field_count, dpt_dataset **dataset) {
    return dpt_dataset_open_indexed(control, files, file_count, fields, field_count, NULL, dataset);
}

dpt_status dpt_dataset_open_indexed(const dpt_control *control, const char *const *files, int file_count,
                                    const dpt_field_spec *fields, int field_count, const char *index_folder,
                                    dpt_dataset **dataset) {
    int sequences = 0;
    *dataset = NULL;
    for (int i = 0; control->rank == 0 && i < field_count; i++) sequences += fields[i].offsets != NULL;
    DPT_TRY(dpt_control_broadcast(control, &sequences, sizeof sequences, 0));
    return (sequences > 0 ? dpt_dataset_open_sequences : dpt_dataset_open_rows)(control, files, file_count, fields,
                                                                                field_count, index_folder, dataset);
}

void dpt_dataset_close(dpt_dataset **dataset) {
    dpt_dataset *ds = *dataset;
    *dataset = NULL;
    if (ds == NULL) return;
    for (int f = 0; ds->descriptor && f < ds->index.files; f++)
        if (ds->descriptor[f] >= 0) close(ds->descriptor[f]);
    dpt_free(ds->descriptor);
    dpt_sequences_close(ds);
    dpt_caller_close(&ds->caller);
    dpt_index_destroy(&ds->index);
    dpt_free(ds);
}

uint64_t dpt_dataset_rows(const dpt_dataset *dataset) { return dataset->index.rows; }

int dpt_dataset_field_count(const dpt_dataset *dataset) { return dataset->index.fields; }

const dpt_field *dpt_dataset_field(const dpt_dataset *dataset, int field) { return &dataset->index.field[field].about; }

int dpt_dataset_file_count(const dpt_dataset *dataset) { return dataset->index.files; }

uint64_t dpt_dataset_file_rows(const dpt_dataset *dataset, int file) { return dataset->index.file[file].rows; }

const char *dpt_dataset_file_path(const dpt_dataset *dataset, int file) { return dataset->index.file[file].path; }

static uint64_t stored_row_bytes(const dpt_field *field) { return (uint64_t)field->elements * field->stored.bytes; }

int dpt_dataset_longest_field(const dpt_dataset *dataset) {
    int longest = 0;
    for (int i = 1; i < dpt_dataset_field_count(dataset); i++)
        if (stored_row_bytes(dpt_dataset_field(dataset, i)) > stored_row_bytes(dpt_dataset_field(dataset, longest)))
            longest = i;
    return longest;
}

uint64_t dpt_dataset_chunk_rows(const dpt_dataset *dataset, int file, int field) {
    const dpt_index_part *part = &dataset->index.part[file * dataset->index.fields + field];
    if (part->storage == DPT_STORAGE_ELSEWHERE) return dpt_sequence_chunk_rows(dataset, file, field);
    return part->storage == DPT_STORAGE_CHUNKED ? part->chunk_dim[0] : 0;
}

uint64_t dpt_dataset_digest(const dpt_dataset *dataset) { return dataset->digest; }

const char *dpt_dataset_locate(const dpt_dataset *dataset, uint64_t sample, uint64_t *row_in_file) {
    const dpt_index_file *file = &dataset->index.file[dpt_index_file_of(&dataset->index, sample)];
    if (row_in_file) *row_in_file = sample - file->first_row;
    return file->path;
}

const dpt_index *dpt_dataset_index(const dpt_dataset *dataset) { return &dataset->index; }

int dpt_dataset_descriptor(const dpt_dataset *dataset, int file) { return dataset->descriptor[file]; }
