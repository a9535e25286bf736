/* import_table.c: CSV and TSV as a stream: RFC 4180, LF or CRLF, a header or none (table_columns.h). The file is read
 * twice: rows are counted, then read, so that the target's size is known before its first row.
 *
 * A number that stands plainly between separators takes the quick way; anything else (quotes, blanks, NaN, a wrong
 * field) the slow one, which alone makes messages. Invariant: a row is taken from text that ends in '\n'
 * (table_rows.h), so neither way needs to look at lengths. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/decimal.h"
#include "data/import_stream.h"
#include "data/table_columns.h"
#include "data/table_rows.h"

typedef struct table {
    dpt_table_rows rows;
    dpt_table_columns columns;
    int64_t all_rows, rows_left;
    int64_t *notes; /* all_rows, then the places */
    int64_t places;
} table;

static dpt_import_place *places_of(const table *t) { return (dpt_import_place *)(void *)(t->notes + 1); }

/* ---- messages ---- */

/* "data.csv: line 17, column 3 (x3)" */
static dpt_status refuse_field(const table *t, int64_t column, const char *what) {
    const char *name = t->columns.name ? t->columns.name[column] : NULL;
    return dpt_error(DPT_ERR_DATA, "%s: line %lld, column %lld%s%.40s%s: %s", t->rows.input.path,
                     (long long)t->rows.line, (long long)column + 1, name ? " (" : "", name ? name : "",
                     name ? ")" : "", what);
}

static dpt_status refuse_value(const table *t, int64_t column, const dpt_table_field *field, const char *what) {
    enum { MOST = 40 };
    char text[200], shown[MOST + 1];
    int n = field->bytes < MOST ? (int)field->bytes : MOST;
    for (int i = 0; i < n; i++) shown[i] = (unsigned char)field->text[i] < ' ' ? '?' : field->text[i];
    shown[n] = 0;
    snprintf(text, sizeof text, "\"%s%s\" %s", shown, field->bytes > MOST ? "..." : "", what);
    return refuse_field(t, column, text);
}

static dpt_status refuse_count(const table *t, const char *row) {
    int64_t fields = dpt_table_fields(t->columns.separator, row, t->rows.text + t->rows.whole);
    return dpt_error(DPT_ERR_DATA, "%s: line %lld: %lld field%s, the first line has %lld", t->rows.input.path,
                     (long long)t->rows.line, (long long)fields, fields == 1 ? "" : "s", (long long)t->columns.count);
}

/* ---- one field ---- */

/* False: not certain in the quick way. */
static inline bool store_quickly(dpt_dtype dtype, const dpt_decimal *n, char *out, int64_t place) {
    switch (dtype) {
        case DPT_F32: return dpt_decimal_f32(n, (float *)(void *)out + place);
        case DPT_F64: return dpt_decimal_f64(n, (double *)(void *)out + place);
        default: return dpt_decimal_i64(n, (int64_t *)(void *)out + place);
    }
}

static void store_float(dpt_dtype dtype, double value, char *out, int64_t place) {
    if (dtype == DPT_F32)
        ((float *)(void *)out)[place] = (float)value;
    else
        ((double *)(void *)out)[place] = value;
}

static dpt_status store_exactly(const table *t, int64_t column, const dpt_table_field *field, const dpt_decimal *n,
                                char *out) {
    dpt_dtype dtype = t->columns.dtype;
    int64_t place = t->columns.place[column];
    if (store_quickly(dtype, n, out, place)) return DPT_OK;
    if (dtype == DPT_I64)
        return refuse_value(t, column, field, n->whole ? "is not within 64 bits" : "is not an integer");
    double value = dtype == DPT_F32 ? (double)dpt_decimal_exact_f32(field->text) : dpt_decimal_exact_f64(field->text);
    if (isinf(value)) return refuse_value(t, column, field, dtype == DPT_F32 ? "is too large for f32" : "is too large");
    store_float(dtype, value, out, place);
    return DPT_OK;
}

/* A number between blanks or quotes, one that needs the C library, a NaN where they are allowed; or what is wrong. */
static dpt_status read_slowly(const table *t, int64_t column, const char *p, char *out, dpt_table_field *field) {
    const dpt_table_columns *c = &t->columns;
    dpt_decimal n;
    const char *wrong = dpt_table_field_find(c->separator, p, t->rows.text + t->rows.whole, field);
    if (wrong) return refuse_field(t, column, wrong);
    if (field->bytes > 0 && dpt_decimal_scan(field->text, &n) == field->text + field->bytes)
        return store_exactly(t, column, field, &n, out);
    bool special = dpt_table_field_is_special(field);
    if (special && !c->allows_nan) return refuse_value(t, column, field, "is not finite (the suffix :nan allows it)");
    if (field->bytes == 0 && !c->allows_nan) return refuse_field(t, column, "empty (the suffix :nan makes it a NaN)");
    if (field->bytes > 0 && !special)
        return refuse_value(t, column, field,
                            c->count > 1 && c->chosen == c->count
                                ? "is not a number; FILE#1,3-5 takes some columns, and this takes all"
                                : "is not a number");
    char first = special ? field->text[*field->text == '+' || *field->text == '-'] : 'n';
    double value = first == 'i' || first == 'I' ? INFINITY : NAN;
    store_float(c->dtype, field->bytes > 0 && *field->text == '-' ? -value : value, out, c->place[column]);
    return DPT_OK;
}

/* ---- rows ---- */

/* Reads or passes over the field at *p, and leaves *p at what closes it. */
static inline dpt_status read_field(const table *t, int64_t column, const char **p, char *out, int64_t *newlines) {
    const dpt_table_columns *c = &t->columns;
    dpt_decimal n;
    dpt_table_field field;
    if (c->place[column] >= 0) {
        const char *end = dpt_decimal_scan(*p, &n);
        if (end && dpt_table_field_ends(c->separator, end) && store_quickly(c->dtype, &n, out, c->place[column])) {
            *p = end;
            return DPT_OK;
        }
        DPT_TRY(read_slowly(t, column, *p, out, &field));
    } else {
        const char *wrong = dpt_table_field_find(c->separator, *p, t->rows.text + t->rows.whole, &field);
        if (wrong) return refuse_field(t, column, wrong);
    }
    *newlines += field.newlines;
    *p = field.end;
    return DPT_OK;
}

static dpt_status read_row(table *t, char *out) {
    const char *row = t->rows.text + t->rows.at, *p = row;
    const int64_t last = t->columns.count - 1;
    int64_t newlines = 1;
    for (int64_t i = 0; i <= last; i++) {
        DPT_TRY(read_field(t, i, &p, out, &newlines));
        if (i == last) break;
        if (*p != t->columns.separator) return refuse_count(t, row);
        p++;
    }
    if (*p == '\r') p++;
    if (*p != '\n') return refuse_count(t, row);
    t->rows.at = p + 1 - t->rows.text;
    t->rows.line += newlines;
    return DPT_OK;
}

/* Only empty lines may follow the rows that were counted. */
static dpt_status check_end(table *t) {
    dpt_table_rows *rows = &t->rows;
    for (;;) {
        if (rows->at == rows->whole) DPT_TRY(dpt_table_rows_more(rows));
        if (rows->at == rows->whole) return DPT_OK;
        for (; rows->at < rows->whole; rows->at++)
            DPT_CHECK(rows->text[rows->at] == '\n' || rows->text[rows->at] == '\r', DPT_ERR_DATA,
                      "%s: line %lld: more rows than were counted; was it changed meanwhile?", rows->input.path,
                      (long long)rows->line);
    }
}

static dpt_status read_rows(dpt_import_stream *stream, int64_t rows, void *out, int64_t *got) {
    table *t = stream->state;
    for (*got = 0; *got < rows && t->rows_left > 0; ++*got, t->rows_left--) {
        if (t->rows.at == t->rows.whole) DPT_TRY(dpt_table_rows_more(&t->rows));
        if (t->rows.at == t->rows.whole) return DPT_OK;
        DPT_TRY(read_row(t, (char *)out + *got * stream->row_bytes));
    }
    return *got > 0 && t->rows_left == 0 ? check_end(t) : DPT_OK;
}

static int by_row(const void *row, const void *place) {
    const int64_t a = *(const int64_t *)row, b = ((const dpt_import_place *)place)->row;
    return (a > b) - (a < b);
}

static dpt_status seek_row(dpt_import_stream *stream, int64_t row) {
    table *t = stream->state;
    const dpt_import_place *place = bsearch(&row, places_of(t), (size_t)t->places, sizeof *place, by_row);
    DPT_CHECK(place != NULL, DPT_ERR_INTERNAL, "%s: row %lld is not one of its places", t->rows.input.path,
              (long long)row);
    t->rows_left = t->all_rows - row;
    return dpt_table_rows_seek(&t->rows, place);
}

/* ---- opening ---- */

static void close_table(dpt_import_stream *stream) {
    table *t = stream->state;
    dpt_table_rows_close(&t->rows);
    dpt_table_columns_close(&t->columns);
    dpt_free(t->notes);
    dpt_free(t);
    stream->state = NULL;
}

/* Passes over a byte-order mark and a header. */
static dpt_status read_first_row(table *t, const dpt_import_source *source) {
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    dpt_table_rows *rows = &t->rows;
    const char *values;
    DPT_TRY(dpt_table_rows_more(rows));
    DPT_CHECK(rows->whole > 0, DPT_ERR_DATA, "%s: holds no rows", source->file);
    if (rows->whole > 3 && memcmp(rows->text, byte_order_mark, 3) == 0) rows->at = 3;
    DPT_CHECK(rows->at == 0 || rows->whole > 4, DPT_ERR_DATA, "%s: holds no rows but its byte-order mark",
              source->file);
    const char *row = rows->text + rows->at, *row_end = rows->text + rows->whole;
    DPT_TRY(dpt_table_columns_open(&t->columns, source->file, source->part, row, row_end, &values));
    for (; row < values; row++) rows->line += *row == '\n';
    rows->at = values - rows->text;
    return DPT_OK;
}

/* The first place becomes that of the first row of values; rows are counted from it. */
static dpt_status keep_places(table *t, const dpt_import_source *source, const dpt_table_places *found) {
    const bool header = t->columns.name != NULL;
    t->all_rows = found->rows - header;
    DPT_CHECK(t->all_rows > 0, DPT_ERR_DATA, "%s: holds no rows but its header", source->file);
    t->notes = dpt_alloc(sizeof *t->notes + (size_t)found->count * sizeof(dpt_import_place));
    DPT_CHECK_ALLOC(t->notes);
    t->notes[0] = t->all_rows;
    places_of(t)[t->places++] = (dpt_import_place){0, t->rows.at, t->rows.line};
    for (int64_t i = 1; i < found->count; i++) {
        dpt_import_place place = found->place[i];
        place.row -= header;
        if (place.row > 0) places_of(t)[t->places++] = place;
    }
    return DPT_OK;
}

static dpt_status find_places(table *t, const dpt_import_source *source) {
    dpt_table_places found;
    dpt_status status = dpt_table_rows_find(&t->rows, &found);
    if (status == DPT_OK && found.rows == 0) status = dpt_error(DPT_ERR_DATA, "%s: holds no rows", source->file);
    if (status == DPT_OK) status = read_first_row(t, source);
    if (status == DPT_OK) status = keep_places(t, source, &found);
    dpt_free(found.place);
    return status;
}

static bool are_places(const dpt_import_place *place, int64_t count, int64_t rows) {
    bool good = count > 0 && place[0].row == 0;
    for (int64_t i = 0; i < count; i++)
        good = good && place[i].row < rows && place[i].byte >= 0 && place[i].line > 0 &&
               (i == 0 || place[i].row > place[i - 1].row);
    return good;
}

static dpt_status take_notes(table *t, const dpt_import_source *source, const void *notes, int64_t bytes) {
    const int64_t place_bytes = bytes - (int64_t)sizeof *t->notes;
    DPT_CHECK(place_bytes > 0 && place_bytes % (int64_t)sizeof(dpt_import_place) == 0, DPT_ERR_DATA,
              "%s: notes of another format", source->file);
    t->notes = dpt_alloc((size_t)bytes);
    DPT_CHECK_ALLOC(t->notes);
    memcpy(t->notes, notes, (size_t)bytes);
    t->all_rows = t->notes[0];
    t->places = place_bytes / (int64_t)sizeof(dpt_import_place);
    DPT_CHECK(are_places(places_of(t), t->places, t->all_rows), DPT_ERR_DATA, "%s: notes of another format",
              source->file);
    return read_first_row(t, source);
}

static void describe(const table *t, dpt_import_stream *stream) {
    stream->dtype = t->columns.dtype;
    stream->ndim = t->columns.keeps_axis ? 2 : 1;
    stream->dim[0] = t->all_rows;
    stream->dim[1] = t->columns.chosen;
    stream->row_bytes = t->columns.chosen * (int64_t)dpt_dtype_size(stream->dtype);
    stream->place = places_of(t);
    stream->places = t->places;
    stream->notes = t->notes;
    stream->notes_bytes = (int64_t)sizeof *t->notes + t->places * (int64_t)sizeof *stream->place;
}

/* notes NULL: a pass over the file finds them. */
static dpt_status open_table(const dpt_import_source *source, const void *notes, int64_t bytes,
                             dpt_import_stream *stream) {
    table *t = dpt_alloc_zero(1, sizeof *t);
    DPT_CHECK_ALLOC(t);
    *stream = (dpt_import_stream){.read = read_rows, .seek = seek_row, .close = close_table, .state = t};
    dpt_status status;
    DPT_TRY_GOTO(dpt_table_rows_open(&t->rows, source->file), fail);
    DPT_TRY_GOTO(notes ? take_notes(t, source, notes, bytes) : find_places(t, source), fail);
    t->rows_left = t->all_rows;
    describe(t, stream);
    stream->in_order = dpt_import_input_is_packed(&t->rows.input);
    return DPT_OK;
fail:
    close_table(stream);
    return status;
}

dpt_status dpt_import_open_table(const dpt_import_source *source, dpt_import_stream *stream) {
    return open_table(source, NULL, 0, stream);
}

dpt_status dpt_import_reopen_table(const dpt_import_source *source, const void *notes, int64_t bytes,
                                   dpt_import_stream *stream) {
    return open_table(source, notes, bytes, stream);
}
