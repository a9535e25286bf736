/* dataset_sequence.c: opening fields whose samples have different lengths. The steps of all samples are a dataset of
 * their own, one step a row; the offsets are read and checked by rank 0, sent to all, and stay in memory. What is left
 * is put together: an index in which such fields have no place of their own.
 *
 * Invariant: begin[] rises, begins with 0 and ends with the rows of `steps`; no sample is longer than `length` unless
 * it is to be cut. */
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "data/convert.h"
#include "data/dataset_private.h"

enum { NAME_BYTES = 256, PATH_BYTES = 1024, PIECE = 8192 };

typedef enum plan_kind { OF_ROWS, OF_STEPS, OF_LENGTHS } plan_kind;

/* What rank 0 wants of a field, as it is sent to the others. */
typedef struct plan {
    int kind, dtype;
    int offsets_of; /* the first field with the same offsets */
    int cuts;
    int64_t length;
    double pad;
    char name[NAME_BYTES], path[PATH_BYTES]; /* of lengths: the offsets' */
} plan;

typedef struct opening {
    const dpt_control *control;
    const char *const *files; /* these of rank 0 alone, to index_folder */
    int file_count;
    const dpt_field_spec *fields;
    const char *index_folder;
    int64_t count;
    plan *plan;
    dpt_dataset *rows;    /* the fields without offsets; NULL: none */
    dpt_dataset *offsets; /* the first ones, where rows is NULL */
    dpt_dataset *ds;
} opening;

/* ---- what is wanted ---- */

static dpt_status check_pad(const dpt_field_spec *spec) {
    static const struct {
        double least, past;
    } range[] = {[DPT_U8] = {0, 256}, [DPT_I32] = {-0x1p31, 0x1p31}, [DPT_I64] = {-0x1p63, 0x1p63}};
    double pad = spec->pad;
    bool fits = pad - pad == 0; /* finite */
    if (spec->dtype == DPT_F32) fits = (float)pad - (float)pad == 0;
    if (spec->dtype == DPT_U8 || spec->dtype == DPT_I32 || spec->dtype == DPT_I64)
        fits = pad >= range[spec->dtype].least && pad < range[spec->dtype].past && pad == (double)(int64_t)pad;
    DPT_CHECK(fits, DPT_ERR_ARG, "input \"%s\" is %s: it cannot be padded with %g", spec->name,
              dpt_dtype_text(spec->dtype), pad);
    return DPT_OK;
}

static dpt_status plan_field(const dpt_field_spec *fields, int i, plan *p) {
    const dpt_field_spec *spec = &fields[i];
    *p = (plan){.kind = OF_ROWS, .dtype = spec->dtype, .offsets_of = i};
    if (spec->offsets == NULL) return DPT_OK;
    p->kind = spec->path ? OF_STEPS : OF_LENGTHS;
    DPT_CHECK(strlen(spec->name) < NAME_BYTES && strlen(spec->offsets) < PATH_BYTES, DPT_ERR_ARG,
              "input \"%.40s...\": its name or that of its offsets is too long", spec->name);
    for (int j = i - 1; j >= 0; j--)
        if (fields[j].offsets && strcmp(fields[j].offsets, spec->offsets) == 0) p->offsets_of = j;
    strcpy(p->name, spec->name);
    strcpy(p->path, spec->offsets);
    p->cuts = spec->cuts;
    p->pad = spec->pad;
    p->length = spec->length;
    DPT_CHECK(p->length >= 0, DPT_ERR_ARG, "input \"%s\": samples of %lld steps", spec->name, (long long)p->length);
    if (p->kind == OF_LENGTHS) return DPT_OK;
    DPT_CHECK(spec->ndim == DPT_ANY_NDIM || spec->ndim > 0, DPT_ERR_SHAPE,
              "input \"%s\" is of sequences, which have one dimension at least; expected none", spec->name);
    int64_t wanted = spec->ndim > 0 ? spec->dim[0] : DPT_ANY_DIM;
    DPT_CHECK(wanted == DPT_ANY_DIM || wanted > 0, DPT_ERR_ARG, "input \"%s\": samples of %lld steps", spec->name,
              (long long)wanted);
    if (p->length == 0 && wanted != DPT_ANY_DIM) p->length = wanted;
    DPT_CHECK(wanted == DPT_ANY_DIM || wanted == p->length, DPT_ERR_SHAPE,
              "input \"%s\": a sample is delivered with %lld steps, expected %lld", spec->name, (long long)p->length,
              (long long)wanted);
    return check_pad(spec);
}

static dpt_status share_plan(opening *o) {
    const dpt_control *control = o->control;
    DPT_TRY(dpt_control_broadcast(control, &o->count, sizeof o->count, 0));
    o->plan = dpt_alloc_zero((size_t)o->count, sizeof *o->plan);
    o->ds = dpt_alloc_zero(1, sizeof *o->ds);
    if (o->ds) o->ds->sequence = dpt_alloc_zero((size_t)o->count, sizeof *o->ds->sequence);
    if (o->ds && o->ds->sequence) o->ds->sequences = (int)o->count;
    dpt_status status = o->plan && o->ds && o->ds->sequence ? DPT_OK : DPT_ERR_MEMORY;
    if (control->rank == 0)
        for (int i = 0; i < o->count && status == DPT_OK; i++) status = plan_field(o->fields, i, &o->plan[i]);
    DPT_TRY(dpt_control_agree(control, status));
    return dpt_control_broadcast(control, o->plan, (size_t)o->count * sizeof *o->plan, 0);
}

/* ---- datasets of its parts ---- */

static dpt_status open_rows(opening *o) {
    int count = 0;
    dpt_field_spec *specs = dpt_alloc_zero((size_t)o->count, sizeof *specs);
    dpt_status status = dpt_control_agree(o->control, specs ? DPT_OK : DPT_ERR_MEMORY);
    for (int i = 0; i < o->count && status == DPT_OK; i++) {
        if (o->plan[i].kind != OF_ROWS) continue;
        if (o->control->rank == 0) specs[count] = o->fields[i];
        count++;
    }
    if (status == DPT_OK && count > 0)
        status = dpt_dataset_open_rows(o->control, o->files, o->file_count, specs, count, o->index_folder, &o->rows);
    dpt_free(specs);
    return status;
}

/* Parts are opened one after another: a file, or a manifest, that was written to between two of them is found here. */
static dpt_status check_same_files(const opening *o, const dpt_dataset *part) {
    const dpt_dataset *first = o->rows ? o->rows : o->offsets;
    DPT_CHECK(first == NULL || part->index.files == first->index.files, DPT_ERR_DATA,
              "%s: %d files, %d a moment ago: a manifest was changed while the index was made",
              part->index.file[0].path, part->index.files, first ? first->index.files : 0);
    for (int f = 0; first && f < part->index.files; f++) {
        const dpt_index_file *a = &first->index.file[f], *b = &part->index.file[f];
        DPT_CHECK(a->bytes == b->bytes && a->mtime_ns == b->mtime_ns, DPT_ERR_DATA,
                  "%s: the file was changed while its index was made", b->path);
    }
    return DPT_OK;
}

static dpt_status open_steps(opening *o, int i) {
    dpt_field_spec spec = {.name = ""};
    if (o->control->rank == 0) {
        spec = o->fields[i];
        spec.offsets = NULL;
        if (spec.ndim > 0) memmove(spec.dim, spec.dim + 1, (size_t)--spec.ndim * sizeof *spec.dim);
    }
    DPT_TRY(dpt_dataset_open_rows(o->control, o->files, o->file_count, &spec, 1, o->index_folder,
                                  &o->ds->sequence[i].steps));
    return dpt_control_agree(o->control, check_same_files(o, o->ds->sequence[i].steps));
}

static dpt_status open_offsets(opening *o, int i, dpt_dataset **offsets) {
    dpt_field_spec spec = {.name = o->plan[i].name, .path = o->plan[i].path, .dtype = DPT_F64, .ndim = 0};
    DPT_TRY(dpt_dataset_open_rows(o->control, o->files, o->file_count, &spec, 1, o->index_folder, offsets));
    DPT_TRY(dpt_control_agree(o->control, check_same_files(o, *offsets)));
    const dpt_index *index = &(*offsets)->index;
    for (int f = 0; f < index->files; f++) {
        const dpt_index_file *file = &index->file[f];
        DPT_CHECK(file->rows > 0, DPT_ERR_DATA, "%s: %s: holds nothing: offsets are one more than the samples",
                  file->path, spec.path);
        const dpt_dataset *other = o->rows ? o->rows : o->offsets;
        if (other == NULL) continue;
        uint64_t rows = other->index.file[f].rows - (o->rows == NULL);
        DPT_CHECK(rows == file->rows - 1, DPT_ERR_DATA, "%s: %s holds %llu offsets, so %llu samples; %s has %llu",
                  file->path, spec.path, (unsigned long long)file->rows, (unsigned long long)file->rows - 1,
                  other->index.field[0].path, (unsigned long long)rows);
    }
    DPT_CHECK(index->rows > (uint64_t)index->files, DPT_ERR_DATA, "%s: %s: 0 samples", index->file[0].path, spec.path);
    return DPT_OK;
}

/* ---- offsets ---- */

/* One file's offsets, added to what the files before it hold. */
static dpt_status read_file_offsets(const dpt_dataset *offsets, int f, dpt_reader *reader, const dpt_convert *convert,
                                    uint64_t before, uint64_t *begin) {
    const dpt_index_file *file = &offsets->index.file[f];
    const char *path = offsets->index.field[0].path;
    unsigned char stored[PIECE * 8];
    int64_t value[PIECE], last = 0, bad = 0;
    for (uint64_t at = 0, n; at < file->rows; at += n) {
        n = file->rows - at < PIECE ? file->rows - at : PIECE;
        DPT_TRY(dpt_reader_rows(reader, 0, file->first_row + at, n, stored));
        if (dpt_convert_rows(convert, stored, (int64_t)n, value, &bad) != DPT_OK)
            return dpt_error_prefix(DPT_ERR_DATA, "%s: %s: offset %llu: ", file->path, path,
                                    (unsigned long long)at + (unsigned long long)bad);
        DPT_CHECK(at > 0 || value[0] == 0, DPT_ERR_DATA, "%s: %s: the first offset is %lld, expected 0", file->path,
                  path, (long long)value[0]);
        for (uint64_t i = 0; i < n; i++) {
            DPT_CHECK(value[i] >= last && (uint64_t)value[i] <= INT64_MAX - before, DPT_ERR_DATA,
                      "%s: %s: offset %llu is %lld, the one before it %lld", file->path, path,
                      (unsigned long long)(at + i), (long long)value[i], (long long)last);
            last = value[i];
            begin[at + i] = before + (uint64_t)value[i];
        }
    }
    return DPT_OK;
}

static dpt_status read_offsets(const dpt_dataset *offsets, uint64_t *begin) {
    const dpt_index *index = &offsets->index;
    dpt_field about = index->field[0].about;
    DPT_CHECK(about.stored.kind != DPT_STORED_FLOAT, DPT_ERR_UNSUPPORTED, "%s: %s: stored as %s: offsets are integers",
              index->file[0].path, about.path, dpt_stored_text(about.stored));
    about.dtype = DPT_I64;
    dpt_convert *convert;
    dpt_reader *reader = NULL;
    DPT_TRY(dpt_convert_create(&about, NULL, &convert));
    dpt_status status = dpt_reader_create(offsets, 0, &reader);
    begin[0] = 0;
    for (int f = 0; f < index->files && status == DPT_OK; f++) {
        status = read_file_offsets(offsets, f, reader, convert, *begin, begin);
        begin += index->file[f].rows - 1; /* the last of a file is where the next one begins */
    }
    dpt_reader_destroy(&reader);
    dpt_convert_destroy(&convert);
    return status;
}

/* Opens, reads and checks the offsets of field i: begin[] on all ranks. */
static dpt_status take_offsets(opening *o, int i) {
    dpt_dataset *offsets = NULL;
    uint64_t *begin = NULL, bytes;
    dpt_status status;
    DPT_TRY_GOTO(open_offsets(o, i, &offsets), fail);
    bytes = offsets->index.rows - (uint64_t)offsets->index.files + 1;
    begin = __builtin_mul_overflow(bytes, sizeof *begin, &bytes) ? NULL : dpt_alloc(bytes);
    o->ds->sequence[i].begin = begin;
    o->ds->sequence[i].owns_begin = true;
    status = begin ? DPT_OK : DPT_ERR_MEMORY;
    if (status == DPT_OK && o->control->rank == 0) status = read_offsets(offsets, begin);
    DPT_TRY_GOTO(dpt_control_agree(o->control, status), fail);
    DPT_TRY_GOTO(dpt_control_broadcast(o->control, begin, bytes, 0), fail);
    if (o->rows == NULL && o->offsets == NULL) {
        o->offsets = offsets;
        offsets = NULL;
    }
fail:
    dpt_dataset_close(&offsets);
    return status;
}

/* ---- putting together ---- */

/* Files, and the fields without offsets, as they were opened. */
static dpt_status take_rows(opening *o) {
    dpt_dataset *from = o->rows ? o->rows : o->offsets;
    dpt_index *in = &from->index, *to = &o->ds->index;
    DPT_TRY(dpt_index_allocate(to, in->files, (int)o->count));
    for (int f = 0; f < in->files; f++) {
        to->file[f] = in->file[f];
        in->file[f] = (dpt_index_file){.path = NULL};
        to->file[f].first_row = to->rows;
        if (o->rows == NULL) to->file[f].rows--;
        to->rows += to->file[f].rows;
    }
    o->ds->descriptor = from->descriptor;
    from->descriptor = NULL;
    for (int i = 0, j = 0; i < o->count; i++) {
        if (o->plan[i].kind != OF_ROWS) continue;
        to->field[i] = in->field[j];
        in->field[j] = (dpt_index_field){.row_bytes = 0};
        for (int f = 0; f < in->files; f++) {
            to->part[f * to->fields + i] = in->part[f * in->fields + j];
            in->part[f * in->fields + j] = (dpt_index_part){.storage = DPT_STORAGE_ELSEWHERE};
        }
        j++;
    }
    return DPT_OK;
}

/* Steps of every file against its offsets, and the lengths against what is wanted. */
static dpt_status check_lengths(const opening *o, int i) {
    const dpt_index *index = &o->ds->index;
    const plan *p = &o->plan[i];
    dpt_sequence *s = &o->ds->sequence[i];
    const char *path = s->steps ? s->steps->index.field[0].path : p->path;
    uint64_t longest = 0, which = 0, row;
    for (int f = 0; f < index->files && s->steps; f++) {
        uint64_t total = s->begin[index->file[f].first_row + index->file[f].rows] - s->begin[index->file[f].first_row];
        DPT_CHECK(total == s->steps->index.file[f].rows, DPT_ERR_DATA,
                  "%s: %s ends with %llu, but %s has %llu rows: the last offset is their number", index->file[f].path,
                  p->path, (unsigned long long)total, path, (unsigned long long)s->steps->index.file[f].rows);
    }
    for (uint64_t k = 0; k < index->rows; k++)
        if (s->begin[k + 1] - s->begin[k] > longest) longest = s->begin[k + 1] - s->begin[k], which = k;
    DPT_CHECK(longest > 0, DPT_ERR_DATA, "%s: %s: every sample is empty", index->file[0].path, p->path);
    s->length = p->length > 0 ? p->length : (int64_t)longest;
    s->cuts = p->cuts;
    s->pad = p->pad;
    const char *file = dpt_dataset_locate(o->ds, which, &row);
    DPT_CHECK(
        s->cuts || (uint64_t)s->length >= longest, DPT_ERR_DATA,
        "%s: %s: sample %llu (row %llu of the file) has %llu steps, more than the %lld wanted: ask for so many, or "
        "for longer samples to be cut",
        file, path, (unsigned long long)which, (unsigned long long)row, (unsigned long long)longest,
        (long long)s->length);
    return DPT_OK;
}

static dpt_status make_field(const opening *o, int i) {
    dpt_index *index = &o->ds->index;
    const dpt_sequence *s = &o->ds->sequence[i];
    const plan *p = &o->plan[i];
    const dpt_field *step = s->steps ? &s->steps->index.field[0].about : NULL;
    dpt_index_field *field = &index->field[i];
    field->name = dpt_strdup(p->name);
    field->path = dpt_strdup(step ? step->path : p->path);
    if (!field->name || !field->path) return DPT_ERR_MEMORY;
    field->about = (dpt_field){.name = field->name,
                               .path = field->path,
                               .dtype = (dpt_dtype)p->dtype,
                               .stored = step ? step->stored : dpt_stored_of(DPT_I64),
                               .elements = step ? step->elements : 1,
                               .sequence = step != NULL};
    dpt_field *about = &field->about;
    int64_t bytes = about->stored.bytes, all;
    if (step) {
        DPT_CHECK(step->ndim < DPT_MAX_NDIM, DPT_ERR_UNSUPPORTED, "%s: %s: steps of %d dimensions; at most %d",
                  index->file[0].path, field->path, step->ndim, DPT_MAX_NDIM - 1);
        about->ndim = step->ndim + 1;
        about->dim[0] = s->length;
        memcpy(about->dim + 1, step->dim, (size_t)step->ndim * sizeof *step->dim);
        bool over = __builtin_mul_overflow(about->elements, s->length, &about->elements) ||
                    __builtin_mul_overflow(about->elements, bytes, &bytes) || index->rows > INT64_MAX ||
                    __builtin_mul_overflow(bytes, (int64_t)index->rows, &all);
        DPT_CHECK(!over, DPT_ERR_DATA, "%s: %s: padded to %lld steps its samples have more than 2^63 bytes",
                  index->file[0].path, field->path, (long long)s->length);
    }
    field->row_bytes = (uint64_t)bytes;
    for (int f = 0; f < index->files; f++) index->part[f * index->fields + i].storage = DPT_STORAGE_ELSEWHERE;
    return DPT_OK;
}

static uint64_t digest_of(const opening *o) {
    dpt_digest d = {0};
    dpt_digest_i64(&d, (int64_t)dpt_index_digest(&o->ds->index));
    for (int i = 0; i < o->count; i++) {
        const dpt_sequence *s = &o->ds->sequence[i];
        if (s->begin == NULL) continue;
        dpt_digest_i64(&d, s->steps ? (int64_t)s->steps->digest : 0);
        dpt_digest_i64(&d, (int64_t)dpt_hash(s->begin, (o->ds->index.rows + 1) * sizeof *s->begin, 0));
        dpt_digest_i64(&d, s->length);
        dpt_digest_i64(&d, s->cuts);
        dpt_digest_f64(&d, s->pad);
    }
    return d.value;
}

static dpt_status put_together(opening *o) {
    DPT_TRY(take_rows(o));
    for (int i = 0; i < o->count; i++) {
        if (o->plan[i].kind == OF_ROWS) continue;
        DPT_TRY(check_lengths(o, i));
        DPT_TRY(make_field(o, i));
    }
    o->ds->digest = digest_of(o);
    return DPT_OK;
}

static dpt_status open_parts(opening *o) {
    DPT_TRY(share_plan(o));
    DPT_TRY(open_rows(o));
    for (int i = 0; i < o->count; i++) {
        int of = o->plan[i].offsets_of;
        if (o->plan[i].kind == OF_ROWS) continue;
        if (of == i) DPT_TRY(take_offsets(o, i));
        o->ds->sequence[i].begin = o->ds->sequence[of].begin;
        if (o->plan[i].kind == OF_STEPS) DPT_TRY(open_steps(o, i));
    }
    DPT_TRY(dpt_control_agree(o->control, put_together(o)));
    return dpt_control_same(o->control, "the dataset index", o->ds->digest);
}

dpt_status dpt_dataset_open_sequences(const dpt_control *control, const char *const *files, int file_count,
                                      const dpt_field_spec *fields, int field_count, const char *index_folder,
                                      dpt_dataset **dataset) {
    opening o = {.control = control,
                 .files = files,
                 .file_count = file_count,
                 .fields = fields,
                 .count = field_count,
                 .index_folder = index_folder};
    dpt_status status = open_parts(&o);
    dpt_dataset_close(&o.rows);
    dpt_dataset_close(&o.offsets);
    dpt_free(o.plan);
    if (status == DPT_OK) {
        *dataset = o.ds;
        return DPT_OK;
    }
    dpt_dataset_close(&o.ds);
    return status;
}
