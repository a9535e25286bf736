/* dataset_pack.c: an index as bytes: every number as 8 bytes little-endian, every text as its length and its bytes.
 * They come from another rank, or from a file that anyone may have written.
 *
 * Invariant: reading believes no size before the bytes for it are there, and no place before it is within its file. */
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset_index.h"

/* Bytes being written (at NULL they are only counted) or read. */
typedef struct tape {
    unsigned char *at;
    uint64_t used, size;
    bool short_of; /* bytes; or a number cannot be */
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

static void put_part(tape *t, const dpt_index_part *part, uint64_t value_bytes, int axes) {
    put_number(t, (uint64_t)part->storage);
    put_number(t, part->offset);
    if (part->storage == DPT_STORAGE_COMPACT) put_bytes(t, part->values, value_bytes);
    if (part->storage != DPT_STORAGE_CHUNKED) return;
    for (int k = 0; k < axes; k++) put_number(t, part->chunk_dim[k]);
    put_number(t, (uint64_t)part->pipeline.count);
    put_number(t, part->pipeline.element_bytes);
    put_bytes(t, part->pipeline.filter, (uint64_t)part->pipeline.count);
    for (uint64_t i = 0; i < part->chunks; i++) {
        put_number(t, part->chunk[i].offset);
        put_number(t, (uint64_t)part->chunk[i].bytes | (uint64_t)part->chunk[i].mask << 32);
    }
}

static void put_index(tape *t, const dpt_index *index) {
    put_number(t, (uint64_t)index->files);
    put_number(t, (uint64_t)index->fields);
    put_number(t, index->rows);
    for (int f = 0; f < index->files; f++) {
        const dpt_index_file *file = &index->file[f];
        put_text(t, file->path);
        put_number(t, file->bytes);
        put_number(t, (uint64_t)file->mtime_ns);
        put_number(t, file->first_row);
        put_number(t, file->rows);
        put_number(t, (uint64_t)file->content.extents);
        for (int64_t e = 0; e < file->content.extents; e++) {
            put_number(t, file->content.extent[e].offset);
            put_number(t, file->content.extent[e].bytes);
        }
        put_number(t, file->content.digest);
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
        const dpt_index_field *field = &index->field[p % index->fields];
        uint64_t bytes = index->file[p / index->fields].rows * field->row_bytes;
        put_part(t, &index->part[p], bytes, field->about.ndim + 1);
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
    uint64_t dtype = get_number(t);
    field->about.stored = get_stored(t);
    uint64_t ndim = get_number(t);
    if (dtype >= DPT_DTYPE_COUNT || ndim > DPT_MAX_NDIM) t->short_of = true;
    if (t->short_of) return;
    field->about.dtype = (dpt_dtype)dtype;
    field->about.ndim = (int)ndim;
    for (int d = 0; !t->short_of && d < field->about.ndim; d++) field->about.dim[d] = (int64_t)get_number(t);
    field->about.elements = (int64_t)get_number(t);
    field->row_bytes = get_number(t);
    int64_t elements = 1, bytes;
    bool over = false;
    for (int d = 0; !t->short_of && d < field->about.ndim; d++)
        over |= field->about.dim[d] < 1 || __builtin_mul_overflow(elements, field->about.dim[d], &elements);
    over |= __builtin_mul_overflow(elements, (int64_t)field->about.stored.bytes, &bytes);
    if (over || elements != field->about.elements || (uint64_t)bytes != field->row_bytes) t->short_of = true;
}

static void *get_bytes(tape *t, uint64_t bytes) {
    if (t->short_of || t->size - t->used < bytes) return t->short_of = true, NULL;
    void *data = dpt_alloc(bytes);
    if (data == NULL) return t->short_of = t->no_memory = true, NULL;
    memcpy(data, t->at + t->used, bytes);
    t->used += bytes;
    return data;
}

static void get_pipeline(tape *t, dpt_pipeline *pipeline) {
    uint64_t count = get_number(t);
    pipeline->element_bytes = (uint32_t)get_number(t);
    if (t->short_of || count > DPT_MAX_FILTERS || t->size - t->used < count) {
        t->short_of = true;
        return;
    }
    pipeline->count = (int)count;
    memcpy(pipeline->filter, t->at + t->used, count);
    t->used += count;
    for (uint64_t i = 0; i < count; i++)
        if (pipeline->filter[i] < DPT_FILTER_DEFLATE || pipeline->filter[i] > DPT_FILTER_FLETCHER32) t->short_of = true;
}

static void get_chunks(tape *t, uint64_t rows, const dpt_field *about, dpt_index_part *part) {
    for (int k = 0; k <= about->ndim; k++) part->chunk_dim[k] = get_number(t);
    get_pipeline(t, &part->pipeline);
    if (t->short_of || dpt_index_grid(part, rows, about->ndim, about->dim, about->stored.bytes) != DPT_OK ||
        part->chunks > (t->size - t->used) / (2 * sizeof(uint64_t))) {
        part->chunks = 0;
        t->short_of = true;
        return;
    }
    part->chunk = dpt_alloc_zero(part->chunks, sizeof *part->chunk);
    if (part->chunk == NULL) t->short_of = t->no_memory = true;
    for (uint64_t i = 0; !t->short_of && i < part->chunks; i++) {
        part->chunk[i].offset = get_number(t);
        uint64_t rest = get_number(t);
        part->chunk[i].bytes = (uint32_t)rest;
        part->chunk[i].mask = (uint32_t)(rest >> 32);
    }
}

static void get_part(tape *t, const dpt_index_file *file, const dpt_index_field *field, dpt_index_part *part) {
    const uint64_t rows = file->rows, storage = get_number(t);
    uint64_t bytes;
    part->offset = get_number(t);
    if (__builtin_mul_overflow(rows, field->row_bytes, &bytes) || storage > DPT_STORAGE_COMPACT) t->short_of = true;
    if (t->short_of) return;
    part->storage = (dpt_storage)storage;
    if (part->storage == DPT_STORAGE_COMPACT)
        part->values = get_bytes(t, bytes);
    else if (part->storage == DPT_STORAGE_CHUNKED)
        get_chunks(t, rows, &field->about, part);
    if (!t->short_of && dpt_index_check_part(part, rows, field->row_bytes, file->bytes) != DPT_OK) t->short_of = true;
}

static void get_content(tape *t, uint64_t file_bytes, dpt_content *content) {
    uint64_t extents = get_number(t), end = 0;
    if (t->short_of || extents > (t->size - t->used) / (2 * sizeof(uint64_t))) {
        t->short_of = true;
        return;
    }
    content->extent = dpt_alloc_zero(extents, sizeof *content->extent);
    if (content->extent == NULL) t->short_of = t->no_memory = true;
    for (uint64_t i = 0; !t->short_of && i < extents; i++) {
        dpt_extent *e = &content->extent[i];
        e->offset = get_number(t);
        e->bytes = get_number(t);
        if (e->offset < end || e->offset > file_bytes || e->bytes > file_bytes - e->offset) t->short_of = true;
        end = e->offset + e->bytes;
        content->extents++;
    }
    content->digest = get_number(t);
}

/* Rows follow each other from file to file. */
static void get_file(tape *t, uint64_t *rows, dpt_index_file *file) {
    file->path = get_text(t);
    file->bytes = get_number(t);
    file->mtime_ns = (int64_t)get_number(t);
    file->first_row = get_number(t);
    file->rows = get_number(t);
    if (file->bytes > INT64_MAX || file->first_row != *rows || file->rows > INT64_MAX - *rows) t->short_of = true;
    if (t->short_of) return;
    *rows += file->rows;
    get_content(t, file->bytes, &file->content);
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
    uint64_t files = get_number(&t), fields = get_number(&t), rows = get_number(&t), counted = 0;
    /* each takes a number at the least; so none of these counts is more than the bytes that are there */
    uint64_t numbers = size / sizeof(uint64_t);
    bool fits = files > 0 && fields > 0 && files < INT32_MAX && fields < INT32_MAX && files <= numbers / fields;
    *index = (dpt_index){0};
    DPT_CHECK(!t.short_of && fits, DPT_ERR_DATA, "a dataset index of %llu bytes", (unsigned long long)size);
    DPT_TRY(dpt_index_allocate(index, (int)files, (int)fields));
    index->rows = rows;
    for (int f = 0; f < index->files && !t.short_of; f++) get_file(&t, &counted, &index->file[f]);
    for (int i = 0; i < index->fields && !t.short_of; i++) get_field(&t, &index->field[i]);
    for (int p = 0; p < index->files * index->fields && !t.short_of; p++)
        get_part(&t, &index->file[p / index->fields], &index->field[p % index->fields], &index->part[p]);
    if (t.no_memory) return DPT_ERR_MEMORY;
    DPT_CHECK(!t.short_of && t.used == size && rows == counted && rows > 0, DPT_ERR_DATA,
              "a dataset index of %llu bytes, %llu read", (unsigned long long)size, (unsigned long long)t.used);
    return DPT_OK;
}
