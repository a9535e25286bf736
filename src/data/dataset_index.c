/* dataset_index.c: from files to an index, and the index as bytes: every number as 8 bytes little-endian, every text as
 * its length and its bytes. */
#include "data/dataset_index.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/hdf5_util.h"

static void shape_text(char *text, size_t bytes, int ndim, const int64_t *dim) {
    size_t n = dpt_append(text, bytes, 0, "[");
    for (int i = 0; i < ndim; i++)
        n = dim[i] == DPT_ANY_DIM ? dpt_append(text, bytes, n, i ? ",?" : "?")
                                  : dpt_append(text, bytes, n, i ? ",%lld" : "%lld", (long long)dim[i]);
    dpt_append(text, bytes, n, "]");
}

static bool same_shape(int ndim, const int64_t *wanted, const dpt_found *found) {
    bool same = ndim == found->ndim;
    for (int i = 0; same && i < ndim; i++) same = wanted[i] == DPT_ANY_DIM || wanted[i] == found->dim[i];
    return same;
}

static dpt_status refuse_shape(const dpt_found *found, int ndim, const int64_t *wanted, const char *other) {
    char have[160], want[160];
    shape_text(have, sizeof have, found->ndim, found->dim);
    shape_text(want, sizeof want, ndim, wanted);
    if (other) return dpt_error(DPT_ERR_SHAPE, "a sample is %s, but %s in %s", have, want, other);
    return dpt_error(DPT_ERR_SHAPE, "a sample is %s, expected %s", have, want);
}

/* The first file decides what a field is. */
static dpt_status settle_field(const dpt_field_spec *spec, const dpt_found *found, dpt_index_field *field) {
    if (spec->ndim != DPT_ANY_NDIM && !same_shape(spec->ndim, spec->dim, found))
        return refuse_shape(found, spec->ndim, spec->dim, NULL);
    bool integer = spec->dtype != DPT_F32 && spec->dtype != DPT_F64;
    bool stored_integer = found->stored.kind != DPT_STORED_FLOAT;
    DPT_CHECK(
        stored_integer || !integer, DPT_ERR_UNSUPPORTED,
        "stored as %s, wanted as %s for input \"%s\": classes are integers, for numbers there are other losses (mse)",
        dpt_stored_text(found->stored), dpt_dtype_text(spec->dtype), spec->name);
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
    if (!same_shape(about->ndim, about->dim, found))
        return refuse_shape(found, about->ndim, about->dim, index->file[0].path);
    DPT_CHECK(dpt_stored_equal(about->stored, found->stored), DPT_ERR_DATA, "stored as %s, but as %s in %s",
              dpt_stored_text(found->stored), dpt_stored_text(about->stored), index->file[0].path);
    return DPT_OK;
}

static dpt_status add_field(dpt_index *index, int64_t handle, int f, const dpt_field_spec *specs, int i) {
    dpt_index_file *file = &index->file[f];
    const dpt_field_spec *spec = &specs[i];
    dpt_found found;
    DPT_TRY(dpt_index_inspect(handle, file->path, file->bytes, spec->path, &found));
    dpt_status status =
        f == 0 ? settle_field(spec, &found, &index->field[i]) : check_like_first(index, &index->field[i], &found);
    if (status != DPT_OK) return dpt_error_prefix(status, "%s: %s: ", file->path, spec->path);
    if (i == 0) file->rows = found.rows;
    DPT_CHECK(file->rows == found.rows, DPT_ERR_DATA, "%s: %s has %llu rows, %s has %llu", file->path, spec->path,
              (unsigned long long)found.rows, specs[0].path, (unsigned long long)file->rows);
    index->part[f * index->fields + i] = found.part;
    return DPT_OK;
}

static dpt_status add_file(dpt_index *index, int f, const char *path, const dpt_field_spec *specs) {
    dpt_index_file *file = &index->file[f];
    file->path = dpt_strdup(path);
    DPT_CHECK_ALLOC(file->path);
    dpt_h5_scope scope;
    hid_t handle = -1;
    struct stat about;
    dpt_h5_enter(&scope);
    dpt_status status;
    DPT_TRY_GOTO(dpt_h5_open(path, &handle), fail);
    DPT_CHECK_GOTO(stat(path, &about) == 0, fail, DPT_ERR_IO, "%s: disappeared", path);
    file->bytes = (uint64_t)about.st_size;
    file->first_row = index->rows;
    for (int i = 0; i < index->fields; i++) DPT_TRY_GOTO(add_field(index, handle, f, specs, i), fail);
    DPT_CHECK_GOTO(index->rows + file->rows <= INT64_MAX, fail, DPT_ERR_DATA, "%s: more than 2^63 rows", path);
    index->rows += file->rows;
fail:
    dpt_h5_close_file(handle);
    dpt_h5_leave(&scope);
    return status;
}

static dpt_status allocate(dpt_index *index, int files, int fields) {
    *index = (dpt_index){.files = files, .fields = fields};
    index->file = dpt_alloc_zero((size_t)files, sizeof *index->file);
    index->field = dpt_alloc_zero((size_t)fields, sizeof *index->field);
    index->part = dpt_alloc_zero((size_t)files * (size_t)fields, sizeof *index->part);
    return index->file && index->field && index->part ? DPT_OK : DPT_ERR_MEMORY;
}

dpt_status dpt_index_create(const char *const *files, int file_count, const dpt_field_spec *fields, int field_count,
                            dpt_index *index) {
    *index = (dpt_index){0};
    DPT_CHECK(file_count > 0, DPT_ERR_ARG, "a dataset of no files");
    DPT_CHECK(field_count > 0, DPT_ERR_ARG, "%s: a dataset of no fields", files[0]);
    DPT_TRY(allocate(index, file_count, field_count));
    for (int f = 0; f < file_count; f++) DPT_TRY(add_file(index, f, files[f], fields));
    DPT_CHECK(index->rows > 0, DPT_ERR_DATA, "%s: %s: 0 samples", files[0], fields[0].path);
    return DPT_OK;
}

void dpt_index_destroy(dpt_index *index) {
    for (int f = 0; index->file && f < index->files; f++) dpt_free(index->file[f].path);
    for (int i = 0; index->field && i < index->fields; i++) {
        dpt_free(index->field[i].name);
        dpt_free(index->field[i].path);
    }
    dpt_free(index->file);
    dpt_free(index->field);
    dpt_free(index->part);
    *index = (dpt_index){0};
}

/* Bytes being written (at NULL they are only counted) or read. */
typedef struct tape {
    unsigned char *at;
    uint64_t used, size;
    bool short_of; /* bytes */
    bool no_memory;
} tape;

static void put_bytes(tape *t, const void *data, uint64_t bytes) {
    if (t->at) memcpy(t->at + t->used, data, bytes);
    t->used += bytes;
}

static void put_number(tape *t, uint64_t value) {
    unsigned char b[8];
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)(value >> (8 * i));
    put_bytes(t, b, sizeof b);
}

static void put_text(tape *t, const char *text) {
    put_number(t, strlen(text));
    put_bytes(t, text, strlen(text));
}

static uint64_t get_number(tape *t) {
    if (t->size - t->used < 8) t->short_of = true;
    if (t->short_of) return 0;
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)t->at[t->used + (uint64_t)i] << (8 * i);
    t->used += 8;
    return value;
}

static char *get_text(tape *t) {
    uint64_t bytes = get_number(t);
    if (t->short_of || t->size - t->used < bytes) return t->short_of = true, NULL;
    char *text = dpt_alloc(bytes + 1);
    if (text == NULL) return t->short_of = t->no_memory = true, NULL;
    memcpy(text, t->at + t->used, bytes);
    text[bytes] = 0;
    t->used += bytes;
    return text;
}

static void put_stored(tape *t, dpt_stored stored) {
    put_number(t, (uint64_t)stored.kind | (uint64_t)stored.bytes << 8 | (uint64_t)stored.big_endian << 16);
}

static void put_index(tape *t, const dpt_index *index) {
    put_number(t, (uint64_t)index->files);
    put_number(t, (uint64_t)index->fields);
    put_number(t, index->rows);
    for (int f = 0; f < index->files; f++) {
        const dpt_index_file *file = &index->file[f];
        put_text(t, file->path);
        put_number(t, file->bytes);
        put_number(t, file->first_row);
        put_number(t, file->rows);
    }
    for (int i = 0; i < index->fields; i++) {
        const dpt_index_field *field = &index->field[i];
        put_text(t, field->name);
        put_text(t, field->path);
        put_number(t, (uint64_t)field->about.dtype);
        put_stored(t, field->about.stored);
        put_number(t, (uint64_t)field->about.ndim);
        for (int d = 0; d < field->about.ndim; d++) put_number(t, (uint64_t)field->about.dim[d]);
        put_number(t, (uint64_t)field->about.elements);
        put_number(t, field->row_bytes);
    }
    for (int p = 0; p < index->files * index->fields; p++) {
        put_number(t, (uint64_t)index->part[p].storage);
        put_number(t, index->part[p].offset);
        put_number(t, index->part[p].chunk_dim[0]);
    }
}

static dpt_stored get_stored(tape *t) {
    uint64_t v = get_number(t);
    dpt_stored stored = {.kind = v & 255, .bytes = v >> 8 & 255, .big_endian = v >> 16 & 1};
    if (!dpt_stored_valid(stored)) t->short_of = true;
    return stored;
}

static void get_field(tape *t, dpt_index_field *field) {
    field->name = get_text(t);
    field->path = get_text(t);
    field->about = (dpt_field){.name = field->name, .path = field->path};
    field->about.dtype = (dpt_dtype)get_number(t);
    field->about.stored = get_stored(t);
    field->about.ndim = (int)get_number(t);
    if (field->about.ndim < 0 || field->about.ndim > DPT_MAX_NDIM) t->short_of = true;
    for (int d = 0; !t->short_of && d < field->about.ndim; d++) field->about.dim[d] = (int64_t)get_number(t);
    field->about.elements = (int64_t)get_number(t);
    field->row_bytes = get_number(t);
}

dpt_status dpt_index_pack(const dpt_index *index, void **bytes, uint64_t *size) {
    tape count = {0};
    put_index(&count, index);
    tape t = {.at = dpt_alloc(count.used)};
    *bytes = t.at;
    *size = t.at ? count.used : 0;
    DPT_CHECK_ALLOC(t.at);
    put_index(&t, index);
    return DPT_OK;
}

dpt_status dpt_index_unpack(const void *bytes, uint64_t size, dpt_index *index) {
    tape t = {.at = (unsigned char *)(uintptr_t)bytes, .size = size};
    uint64_t files = get_number(&t), fields = get_number(&t), rows = get_number(&t);
    DPT_CHECK(!t.short_of && files <= size && fields <= size && files < INT32_MAX && fields < INT32_MAX,
              DPT_ERR_INTERNAL, "a dataset index of %llu bytes", (unsigned long long)size);
    DPT_TRY(allocate(index, (int)files, (int)fields));
    index->rows = rows;
    for (int f = 0; f < index->files; f++) {
        dpt_index_file *file = &index->file[f];
        file->path = get_text(&t);
        file->bytes = get_number(&t);
        file->first_row = get_number(&t);
        file->rows = get_number(&t);
    }
    for (int i = 0; i < index->fields; i++) get_field(&t, &index->field[i]);
    for (int p = 0; p < index->files * index->fields; p++) {
        index->part[p].storage = (dpt_storage)get_number(&t);
        index->part[p].offset = get_number(&t);
        index->part[p].chunk_dim[0] = get_number(&t);
    }
    if (t.no_memory) return DPT_ERR_MEMORY;
    DPT_CHECK(!t.short_of && t.used == size, DPT_ERR_INTERNAL, "a dataset index of %llu bytes, %llu read",
              (unsigned long long)size, (unsigned long long)t.used);
    return DPT_OK;
}
