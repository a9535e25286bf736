/* dataset_index.c: from files to an index. */
#include "data/dataset_index.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/chunk_lookup.h"

static void shape_text(char *text, size_t bytes, int ndim, const int64_t *dim) {
    size_t n = dpt_append(text, bytes, 0, "[");
    for (int i = 0; i < ndim; i++)
        n = dim[i] == DPT_ANY_DIM ? dpt_append(text, bytes, n, i ? ",?" : "?")
                                  : dpt_append(text, bytes, n, i ? ",%lld" : "%lld", (long long)dim[i]);
    dpt_append(text, bytes, n, "]");
}

static bool same_shape(int wanted_ndim, const int64_t *wanted, int ndim, const int64_t *dim) {
    bool same = wanted_ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = wanted[i] == DPT_ANY_DIM || wanted[i] == dim[i];
    return same;
}

static dpt_status refuse_shape(int ndim, const int64_t *dim, int wanted_ndim, const int64_t *wanted,
                               const char *other) {
    char have[160], want[160];
    shape_text(have, sizeof have, ndim, dim);
    shape_text(want, sizeof want, wanted_ndim, wanted);
    if (other) return dpt_error(DPT_ERR_SHAPE, "a sample is %s, but %s in %s", have, want, other);
    return dpt_error(DPT_ERR_SHAPE, "a sample is %s, expected %s", have, want);
}

dpt_status dpt_index_check_wanted(const dpt_field_spec *wanted, dpt_stored stored, int ndim, const int64_t *dim) {
    if (wanted->ndim != DPT_ANY_NDIM && !same_shape(wanted->ndim, wanted->dim, ndim, dim))
        return refuse_shape(ndim, dim, wanted->ndim, wanted->dim, NULL);
    bool integer = wanted->dtype != DPT_F32 && wanted->dtype != DPT_F64;
    DPT_CHECK(
        stored.kind != DPT_STORED_FLOAT || !integer, DPT_ERR_UNSUPPORTED,
        "stored as %s, wanted as %s for input \"%s\": classes are integers, for numbers there are other losses (mse)",
        dpt_stored_text(stored), dpt_dtype_text(wanted->dtype), wanted->name);
    return DPT_OK;
}

/* The first file decides what a field is. */
static dpt_status settle_field(const dpt_field_spec *spec, const dpt_found *found, dpt_index_field *field) {
    DPT_TRY(dpt_index_check_wanted(spec, found->stored, found->ndim, found->dim));
    field->name = dpt_strdup(spec->name);
    field->path = dpt_strdup(spec->path);
    if (!field->name || !field->path) return DPT_ERR_MEMORY;
    field->about = (dpt_field){.name = field->name,
                               .path = field->path,
                               .dtype = spec->dtype,
                               .stored = found->stored,
                               .ndim = found->ndim,
                               .elements = found->elements};
    memcpy(field->about.dim, found->dim, sizeof found->dim);
    field->row_bytes = found->row_bytes;
    return DPT_OK;
}

static dpt_status check_like_first(const dpt_index *index, const dpt_index_field *field, const dpt_found *found) {
    const dpt_field *about = &field->about;
    if (!same_shape(about->ndim, about->dim, found->ndim, found->dim))
        return refuse_shape(found->ndim, found->dim, about->ndim, about->dim, index->file[0].path);
    DPT_CHECK(dpt_stored_equal(about->stored, found->stored), DPT_ERR_DATA, "stored as %s, but as %s in %s",
              dpt_stored_text(found->stored), dpt_stored_text(about->stored), index->file[0].path);
    return DPT_OK;
}

static dpt_status add_field(dpt_index *index, int64_t handle, int f, const dpt_field_spec *specs, int i) {
    dpt_index_file *file = &index->file[f];
    const dpt_field_spec *spec = &specs[i];
    dpt_found found;
    DPT_TRY(dpt_index_inspect(handle, file->path, file->bytes, spec->path, &found));
    index->part[f * index->fields + i] = found.part;
    dpt_status status =
        f == 0 ? settle_field(spec, &found, &index->field[i]) : check_like_first(index, &index->field[i], &found);
    if (status != DPT_OK) return dpt_error_prefix(status, "%s: %s: ", file->path, spec->path);
    if (i == 0) file->rows = found.rows;
    DPT_CHECK(file->rows == found.rows, DPT_ERR_DATA, "%s: %s has %llu rows, %s has %llu", file->path, spec->path,
              (unsigned long long)found.rows, specs[0].path, (unsigned long long)file->rows);
    return DPT_OK;
}

static dpt_status add_file(dpt_index *index, int f, const dpt_listed_file *listed, const dpt_field_spec *specs) {
    dpt_index_file *file = &index->file[f];
    file->path = dpt_strdup(listed->path);
    DPT_CHECK_ALLOC(file->path);
    file->bytes = (uint64_t)listed->about.st_size;
    file->mtime_ns = dpt_index_mtime_ns(&listed->about);
    file->first_row = index->rows;
    dpt_h5_scope scope;
    hid_t handle = -1;
    dpt_h5_enter(&scope);
    dpt_status status;
    DPT_TRY_GOTO(dpt_chunk_lookup_open(file->path, &handle), fail);
    for (int i = 0; i < index->fields; i++) DPT_TRY_GOTO(add_field(index, handle, f, specs, i), fail);
    DPT_CHECK_GOTO(index->rows + file->rows <= INT64_MAX, fail, DPT_ERR_DATA, "%s: more than 2^63 rows", file->path);
    index->rows += file->rows;
    DPT_TRY_GOTO(dpt_chunk_lookup_content(handle, file->bytes, &file->content), fail);
fail:
    dpt_h5_close_file(handle);
    dpt_h5_leave(&scope);
    return status;
}

dpt_status dpt_index_grid(dpt_index_part *part, uint64_t rows, int ndim, const int64_t *dim, uint32_t element_bytes) {
    static const uint64_t most = 64 << 20;
    uint64_t bytes = element_bytes, chunks = 1;
    bool over = false;
    for (int k = 0; k <= ndim; k++) {
        uint64_t size = k == 0 ? rows : (uint64_t)dim[k - 1], chunk = part->chunk_dim[k];
        DPT_CHECK(chunk > 0, DPT_ERR_DATA, "axis %d of its chunks has size 0", k);
        part->grid[k] = size / chunk + (size % chunk != 0);
        over |= __builtin_mul_overflow(bytes, chunk, &bytes);
        over |= __builtin_mul_overflow(chunks, part->grid[k], &chunks);
    }
    DPT_CHECK(!over && bytes <= most, DPT_ERR_UNSUPPORTED, "chunks of %llu bytes; at most %llu are supported",
              over ? ~0ull : (unsigned long long)bytes, (unsigned long long)most);
    part->chunks = chunks;
    part->chunk_bytes = bytes;
    return DPT_OK;
}

/* Stored bytes of a chunk are what its filters can make of its values: known but for deflate, which in the worst case
 * adds a little. */
static dpt_status check_chunk(const dpt_index_part *part, uint64_t i, uint64_t file_bytes) {
    const dpt_index_chunk *chunk = &part->chunk[i];
    uint64_t most = part->chunk_bytes;
    bool deflated = false;
    for (int k = 0; k < part->pipeline.count; k++) {
        if (chunk->mask >> k & 1) continue;
        if (part->pipeline.filter[k] == DPT_FILTER_FLETCHER32) most += 4;
        if (part->pipeline.filter[k] == DPT_FILTER_DEFLATE) deflated = true, most += most / 64 + 1024;
    }
    uint64_t least = deflated ? 1 : most;
    DPT_CHECK(chunk->bytes >= least && chunk->bytes <= most, DPT_ERR_DATA,
              "chunk %llu declares %u stored bytes for %llu of values", (unsigned long long)i, chunk->bytes,
              (unsigned long long)part->chunk_bytes);
    DPT_CHECK(chunk->offset <= file_bytes && chunk->bytes <= file_bytes - chunk->offset, DPT_ERR_DATA,
              "chunk %llu: %u bytes from byte %llu, the file ends at byte %llu", (unsigned long long)i, chunk->bytes,
              (unsigned long long)chunk->offset, (unsigned long long)file_bytes);
    return DPT_OK;
}

dpt_status dpt_index_check_part(const dpt_index_part *part, uint64_t rows, uint64_t row_bytes, uint64_t file_bytes) {
    uint64_t bytes;
    DPT_CHECK(!__builtin_mul_overflow(rows, row_bytes, &bytes) && bytes <= INT64_MAX, DPT_ERR_DATA,
              "declares more than 2^63 bytes");
    if (part->storage == DPT_STORAGE_CHUNKED)
        for (uint64_t i = 0; i < part->chunks; i++) DPT_TRY(check_chunk(part, i, file_bytes));
    DPT_CHECK(
        part->storage != DPT_STORAGE_CONTIGUOUS || (part->offset <= file_bytes && bytes <= file_bytes - part->offset),
        DPT_ERR_DATA, "declares %llu bytes from byte %llu, the file ends at byte %llu", (unsigned long long)bytes,
        (unsigned long long)part->offset, (unsigned long long)file_bytes);
    return DPT_OK;
}

void dpt_index_part_clear(dpt_index_part *part) {
    dpt_free(part->values);
    dpt_free(part->chunk);
    *part = (dpt_index_part){.storage = part->storage};
}

dpt_status dpt_index_allocate(dpt_index *index, int files, int fields) {
    *index = (dpt_index){.files = files, .fields = fields};
    DPT_CHECK((int64_t)files * fields < INT32_MAX, DPT_ERR_UNSUPPORTED, "a dataset of %d fields in %d files", fields,
              files);
    index->file = dpt_alloc_zero((size_t)files, sizeof *index->file);
    index->field = dpt_alloc_zero((size_t)fields, sizeof *index->field);
    index->part = dpt_alloc_zero((size_t)files * (size_t)fields, sizeof *index->part);
    return index->file && index->field && index->part ? DPT_OK : DPT_ERR_MEMORY;
}

dpt_status dpt_index_create(const dpt_file_list *files, const dpt_field_spec *fields, int field_count,
                            dpt_index *index) {
    *index = (dpt_index){0};
    DPT_CHECK(files->count < INT32_MAX, DPT_ERR_UNSUPPORTED, "a dataset of %lld files", (long long)files->count);
    DPT_TRY(dpt_index_allocate(index, (int)files->count, field_count));
    for (int f = 0; f < index->files; f++) DPT_TRY(add_file(index, f, &files->file[f], fields));
    DPT_CHECK(index->rows > 0, DPT_ERR_DATA, "%s: %s: 0 samples", index->file[0].path, fields[0].path);
    return DPT_OK;
}

void dpt_index_destroy(dpt_index *index) {
    for (int f = 0; index->file && f < index->files; f++) {
        dpt_free(index->file[f].path);
        dpt_content_free(&index->file[f].content);
    }
    for (int i = 0; index->field && i < index->fields; i++) {
        dpt_free(index->field[i].name);
        dpt_free(index->field[i].path);
    }
    for (int p = 0; index->part && p < index->files * index->fields; p++) dpt_index_part_clear(&index->part[p]);
    dpt_free(index->file);
    dpt_free(index->field);
    dpt_free(index->part);
    *index = (dpt_index){0};
}

static void digest_part(dpt_digest *d, const dpt_index_part *part, uint64_t value_bytes, int axes) {
    dpt_digest_i64(d, part->storage);
    dpt_digest_i64(d, (int64_t)part->offset);
    if (part->storage == DPT_STORAGE_COMPACT) dpt_digest_bytes(d, part->values, value_bytes);
    if (part->storage != DPT_STORAGE_CHUNKED) return;
    for (int k = 0; k < axes; k++) dpt_digest_i64(d, (int64_t)part->chunk_dim[k]);
    dpt_digest_i64(d, part->pipeline.count);
    dpt_digest_i64(d, part->pipeline.element_bytes);
    dpt_digest_bytes(d, part->pipeline.filter, (size_t)part->pipeline.count);
    dpt_digest_bytes(d, part->chunk, part->chunks * sizeof *part->chunk);
}

uint64_t dpt_index_digest(const dpt_index *index) {
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
        const dpt_index_field *field = &index->field[p % index->fields];
        uint64_t bytes = index->file[p / index->fields].rows * field->row_bytes;
        digest_part(&d, &index->part[p], bytes, field->about.ndim + 1);
    }
    return d.value;
}

int dpt_index_file_of(const dpt_index *index, uint64_t row) {
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

int64_t dpt_index_mtime_ns(const struct stat *about) {
    return (int64_t)((uint64_t)about->st_mtim.tv_sec * 1000000000 + (uint64_t)about->st_mtim.tv_nsec);
}
