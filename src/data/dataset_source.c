/* dataset_source.c: a dataset of samples that the caller has in memory or gives by a function. The index counts its
 * rows as if they stood in one file, or in one file a rank where each rank has its own, so that orders, ledger and
 * messages need not know.
 *
 * Invariant: a rank is never asked for rows of another (rank_order.h); if it is, that is an error, not a read. */
#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset_private.h"
#include "data/dataset_source.h"

enum { COMPARED_ROWS = 64 };

struct dpt_caller {
    dpt_source_read read;
    void *user;
    bool serial, own_rows;
    int rank, world;
    uint64_t *first;              /* [world + 1]: numbers of each rank's first sample, with own_rows */
    uint64_t first_row, rows;     /* that this rank can give */
    const unsigned char **values; /* [field] */
    int64_t *classes;             /* [field] */
    pthread_mutex_t lock;         /* with serial */
};

void dpt_source_init(dpt_source *source) { *source = (dpt_source){.struct_size = sizeof *source, .name = "memory"}; }

dpt_status dpt_source_fail(dpt_status status, const char *reason) {
    return dpt_error(status, "%s", reason ? reason : "");
}

/* ---- what the caller says ---- */

static dpt_status check_field(const dpt_source *source, int i) {
    const dpt_source_field *f = &source->fields[i];
    DPT_CHECK(f->name && f->name[0], DPT_ERR_ARG, "field %d of the source has no name", i);
    for (int j = 0; j < i; j++)
        DPT_CHECK(strcmp(source->fields[j].name, f->name) != 0, DPT_ERR_ARG,
                  "two fields of the source are named \"%s\"", f->name);
    DPT_CHECK(dpt_dtype_size(f->dtype) > 0, DPT_ERR_ARG, "field \"%s\": an unknown dtype, %d", f->name, (int)f->dtype);
    DPT_CHECK(f->dtype != DPT_BF16, DPT_ERR_UNSUPPORTED, "field \"%s\": values of bf16; hand them over as f32",
              f->name);
    DPT_CHECK(f->ndim >= 0 && f->ndim <= DPT_MAX_NDIM, DPT_ERR_ARG, "field \"%s\": samples of %d dimensions", f->name,
              f->ndim);
    int64_t bytes = (int64_t)dpt_dtype_size(f->dtype);
    bool over = source->rows > INT64_MAX;
    for (int k = 0; k < f->ndim; k++) {
        DPT_CHECK(f->dim[k] > 0, DPT_ERR_ARG, "field \"%s\": axis %d of a sample has size %lld", f->name, k,
                  (long long)f->dim[k]);
        over |= __builtin_mul_overflow(bytes, f->dim[k], &bytes);
    }
    over |= __builtin_mul_overflow(bytes, (int64_t)source->rows, &bytes);
    DPT_CHECK(!over, DPT_ERR_ARG, "field \"%s\": %llu rows are more than 2^63 bytes", f->name,
              (unsigned long long)source->rows);
    DPT_CHECK(f->values || source->read || source->rows == 0, DPT_ERR_ARG,
              "field \"%s\" has neither values nor a function that reads them", f->name);
    return DPT_OK;
}

static dpt_status check_source(const dpt_source *source) {
    DPT_CHECK(source->struct_size == sizeof *source, DPT_ERR_ARG, "dpt_source was not started by dpt_source_init");
    DPT_CHECK(source->fields && source->field_count > 0, DPT_ERR_ARG, "a source of no fields");
    for (int i = 0; i < source->field_count; i++) DPT_TRY(check_field(source, i));
    return DPT_OK;
}

static uint64_t digest_fields(const dpt_source *source) {
    dpt_digest d = {0};
    dpt_digest_i64(&d, source->own_rows != 0);
    dpt_digest_i64(&d, source->field_count);
    for (int i = 0; i < source->field_count; i++) {
        const dpt_source_field *f = &source->fields[i];
        dpt_digest_text(&d, f->name);
        dpt_digest_i64(&d, f->dtype);
        dpt_digest_i64(&d, f->ndim);
        for (int k = 0; k < f->ndim; k++) dpt_digest_i64(&d, f->dim[k]);
        dpt_digest_i64(&d, f->classes);
    }
    return d.value;
}

/* Some rows of what lies in memory: ranks that hold other values by mistake are found before they train. */
static uint64_t digest_values(const dpt_dataset *dataset) {
    const dpt_caller *caller = dataset->caller;
    dpt_digest d = {0};
    for (int i = 0; i < dataset->index.fields; i++) {
        uint64_t bytes = dataset->index.field[i].row_bytes, rows = caller->rows;
        uint64_t n = rows < COMPARED_ROWS ? rows : COMPARED_ROWS, step = rows / n;
        for (uint64_t k = 0; k < n && caller->values[i]; k++)
            dpt_digest_bytes(&d, caller->values[i] + (k == n - 1 ? rows - 1 : k * step) * bytes, bytes);
    }
    return d.value;
}

/* ---- creation ---- */

static dpt_status add_fields(const dpt_source *source, dpt_index *index, dpt_caller *caller) {
    for (int i = 0; i < source->field_count; i++) {
        const dpt_source_field *f = &source->fields[i];
        dpt_index_field *field = &index->field[i];
        field->name = dpt_strdup(f->name);
        field->path = dpt_strdup(f->name);
        if (!field->name || !field->path) return DPT_ERR_MEMORY;
        field->about = (dpt_field){.name = field->name,
                                   .path = field->path,
                                   .dtype = f->dtype == DPT_F16 ? DPT_F32 : f->dtype,
                                   .stored = dpt_stored_of(f->dtype),
                                   .ndim = f->ndim,
                                   .elements = 1};
        memcpy(field->about.dim, f->dim, (size_t)f->ndim * sizeof *f->dim);
        for (int k = 0; k < f->ndim; k++) field->about.elements *= f->dim[k];
        field->row_bytes = (uint64_t)field->about.elements * field->about.stored.bytes;
        caller->values[i] = f->values;
        caller->classes[i] = f->classes;
    }
    for (int p = 0; p < index->files * index->fields; p++) index->part[p].storage = DPT_STORAGE_ELSEWHERE;
    return DPT_OK;
}

/* One file of all rows, or one a rank; of_rank: rows of each rank. */
static dpt_status add_files(const dpt_source *source, dpt_caller *caller, const uint64_t *of_rank, dpt_index *index) {
    const char *name = source->name ? source->name : "memory";
    for (int f = 0; f < index->files; f++) {
        dpt_index_file *file = &index->file[f];
        file->path = caller->own_rows ? dpt_format("%s of rank %d", name, f) : dpt_strdup(name);
        DPT_CHECK_ALLOC(file->path);
        file->first_row = index->rows;
        file->rows = of_rank[f];
        DPT_CHECK(file->rows <= INT64_MAX - index->rows, DPT_ERR_ARG, "%s: more than 2^63 rows", name);
        index->rows += file->rows;
        if (caller->own_rows) caller->first[f + 1] = index->rows;
    }
    DPT_CHECK(index->rows > 0, DPT_ERR_ARG, "%s: 0 samples", name);
    caller->first_row = caller->own_rows ? caller->first[caller->rank] : 0;
    caller->rows = source->rows;
    return DPT_OK;
}

static dpt_status allocate(const dpt_control *control, const dpt_source *source, uint64_t **of_rank, dpt_dataset *ds) {
    DPT_TRY(check_source(source));
    dpt_caller *caller = ds->caller = dpt_alloc_zero(1, sizeof *caller);
    DPT_CHECK_ALLOC(caller);
    pthread_mutex_init(&caller->lock, NULL);
    caller->read = source->read;
    caller->user = source->user;
    caller->serial = source->serial;
    caller->own_rows = source->own_rows;
    caller->rank = control->rank;
    caller->world = control->world;
    caller->first = dpt_alloc_zero((size_t)control->world + 1, sizeof *caller->first);
    caller->values = dpt_alloc_zero((size_t)source->field_count, sizeof *caller->values);
    caller->classes = dpt_alloc_zero((size_t)source->field_count, sizeof *caller->classes);
    *of_rank = dpt_alloc_zero((size_t)control->world, sizeof **of_rank);
    DPT_TRY(dpt_index_allocate(&ds->index, source->own_rows ? control->world : 1, source->field_count));
    if (!caller->first || !caller->values || !caller->classes || !*of_rank) return DPT_ERR_MEMORY;
    return add_fields(source, &ds->index, caller);
}

static dpt_status create(const dpt_control *control, const dpt_source *source, uint64_t **of_rank, dpt_dataset *ds) {
    DPT_TRY(dpt_control_agree(control, ds ? allocate(control, source, of_rank, ds) : DPT_ERR_MEMORY));
    DPT_TRY(dpt_control_same(control, "the data source: a name, type or shape of its fields, or own_rows",
                             digest_fields(source)));
    if (!source->own_rows) DPT_TRY(dpt_control_same(control, "the data source: its number of rows", source->rows));
    DPT_TRY(dpt_control_gather(control, &source->rows, sizeof source->rows, *of_rank));
    DPT_TRY(dpt_control_agree(control, add_files(source, ds->caller, *of_rank, &ds->index)));
    if (!source->own_rows)
        DPT_TRY(dpt_control_same(control, "the data source: what its values are", digest_values(ds)));
    dpt_digest d = {dpt_index_digest(&ds->index)};
    dpt_digest_i64(&d, (int64_t)digest_fields(source));
    ds->digest = d.value;
    return DPT_OK;
}

dpt_status dpt_dataset_open_source(const dpt_control *control, const dpt_source *source, dpt_dataset **dataset) {
    uint64_t *of_rank = NULL;
    *dataset = NULL;
    dpt_dataset *ds = dpt_alloc_zero(1, sizeof *ds);
    dpt_status status = create(control, source, &of_rank, ds);
    dpt_free(of_rank);
    if (status == DPT_OK)
        *dataset = ds;
    else
        dpt_dataset_close(&ds);
    return status;
}

void dpt_caller_close(dpt_caller **caller) {
    dpt_caller *c = *caller;
    *caller = NULL;
    if (c == NULL) return;
    pthread_mutex_destroy(&c->lock);
    dpt_free(c->first);
    dpt_free((void *)c->values);
    dpt_free(c->classes);
    dpt_free(c);
}

const uint64_t *dpt_dataset_own_rows(const dpt_dataset *dataset, int *world) {
    const dpt_caller *caller = dataset->caller;
    if (caller == NULL || !caller->own_rows) return NULL;
    *world = caller->world;
    return caller->first;
}

int64_t dpt_dataset_classes(const dpt_dataset *dataset, int field) {
    return dataset->caller ? dataset->caller->classes[field] : 0;
}

/* ---- reading ---- */

static dpt_status call(dpt_caller *c, int field, uint64_t row, uint64_t count, void *out) {
    dpt_error(DPT_OK, "%s", ""); /* what it says, if anything, comes after this */
    if (c->serial) pthread_mutex_lock(&c->lock);
    dpt_status status = c->read(c->user, field, row, count, out);
    if (c->serial) pthread_mutex_unlock(&c->lock);
    if (status == DPT_OK) return DPT_OK;
    DPT_CHECK((int)status > 0 && status <= DPT_ERR_INTERNAL, DPT_ERR_DATA,
              "the function returned %d, which is no dpt_status", (int)status);
    return dpt_last_error()[0] ? status : dpt_error(status, "the function failed: %s", dpt_status_text(status));
}

dpt_status dpt_caller_rows(const dpt_dataset *dataset, int field, uint64_t row, uint64_t count, void *out) {
    dpt_caller *c = dataset->caller;
    uint64_t row_bytes = dataset->index.field[field].row_bytes;
    DPT_CHECK(row >= c->first_row && row - c->first_row <= c->rows && count <= c->rows - (row - c->first_row),
              DPT_ERR_ARG, "%s: %s: samples %llu to %llu; rank %d holds %llu from %llu on, and no others",
              dpt_dataset_locate(dataset, row, NULL), dataset->index.field[field].path, (unsigned long long)row,
              (unsigned long long)(row + count - 1), c->rank, (unsigned long long)c->rows,
              (unsigned long long)c->first_row);
    row -= c->first_row;
    if (c->values[field]) {
        memcpy(out, c->values[field] + row * row_bytes, count * row_bytes);
        return DPT_OK;
    }
    dpt_status status = call(c, field, row, count, out);
    if (status == DPT_OK) return DPT_OK;
    return dpt_error_prefix(
        status, "%s: %s: rows %llu to %llu: ", dpt_dataset_locate(dataset, row + c->first_row, NULL),
        dataset->index.field[field].path, (unsigned long long)row, (unsigned long long)(row + count - 1));
}
