/* table_columns.c: see table_columns.h. Columns are counted from 1 in texts, from 0 in the code. A first row is a
 * header where none of its fields is a number and not all are empty. */
#include "data/table_columns.h"

#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/decimal.h"

enum { MAX_COLUMNS = 1 << 20 };

/* ---- fields ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* From behind a field to what closes it: the last of a run of blanks, where they separate. */
static const char *find_end(char separator, const char *p) {
    if (separator != ' ' || *p != ' ') return p;
    while (*p == ' ') p++;
    return dpt_table_line_ends(p) ? p : p - 1;
}

static const char *find_quoted(char separator, const char *p, const char *row_end, dpt_table_field *field) {
    field->text = ++p;
    for (;; p += 2) { /* doubled ones stand for one */
        p = memchr(p, '"', (size_t)(row_end - p));
        if (p == NULL) return "a double quote is not closed";
        if (p[1] != '"') break;
    }
    field->bytes = p - field->text;
    for (const char *q = field->text; (q = memchr(q, '\n', (size_t)(p - q))) != NULL; q++) field->newlines++;
    field->end = find_end(separator, p + 1);
    return dpt_table_field_ends(separator, field->end) ? NULL : "text after the closing double quote";
}

const char *dpt_table_field_find(char separator, const char *p, const char *row_end, dpt_table_field *field) {
    while (separator == ' ' && *p == ' ') p++;
    const char *start = p;
    *field = (dpt_table_field){.text = p, .end = p};
    if (*p == '"') {
        const char *wrong = find_quoted(separator, p, row_end, field);
        if (wrong) return wrong;
    } else {
        for (; *p != separator && *p != '\n'; p++)
            if (*p == '"') return "a double quote inside of a field";
        if (*p == '\n' && p > start && p[-1] == '\r') p--;
        field->end = find_end(separator, p);
        field->bytes = p - start;
    }
    while (field->bytes > 0 && is_blank(field->text[0])) field->text++, field->bytes--;
    while (field->bytes > 0 && is_blank(field->text[field->bytes - 1])) field->bytes--;
    return NULL;
}

bool dpt_table_field_is_special(const dpt_table_field *field) {
    static const char *const words[] = {"nan", "inf", "infinity"};
    const char *text = field->text;
    size_t bytes = (size_t)field->bytes;
    if (bytes > 0 && (*text == '+' || *text == '-')) text++, bytes--;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (bytes == strlen(words[i]) && strncasecmp(text, words[i], bytes) == 0) return true;
    return false;
}

int64_t dpt_table_fields(char separator, const char *row, const char *row_end) {
    dpt_table_field field;
    int64_t n = 1;
    for (; dpt_table_field_find(separator, row, row_end, &field) == NULL && *field.end == separator; n++)
        row = field.end + 1;
    return n;
}

/* ---- the first row ---- */

static bool ends_in(const char *path, const char *ending) {
    size_t length = strlen(path), n = strlen(ending);
    if (length > 3 && strcasecmp(path + length - 3, ".gz") == 0) length -= 3;
    return length > n && strncasecmp(path + length - n, ending, n) == 0;
}

/* By the name of the file, else what stands in the first row outside of quotes. A ';' comes first: beside it a ',' is
 * a decimal comma or part of a name. Blanks separate where nothing else does, unless the name
 * promises commas. */
static char find_separator(const char *path, const char *row, const char *row_end) {
    if (ends_in(path, ".tsv") || ends_in(path, ".tab")) return '\t';
    bool quoted = false, semicolon = false, tab = false, comma = false;
    for (const char *p = row; p < row_end && (quoted || *p != '\n'); p++) {
        if (*p == '"') quoted = !quoted;
        semicolon |= !quoted && *p == ';';
        tab |= !quoted && *p == '\t';
        comma |= !quoted && *p == ',';
    }
    return semicolon ? ';' : tab ? '\t' : comma || ends_in(path, ".csv") ? ',' : ' ';
}

static bool is_number(const dpt_table_field *field) {
    dpt_decimal n;
    if (field->bytes == 0) return false;
    return dpt_decimal_scan(field->text, &n) == field->text + field->bytes || dpt_table_field_is_special(field);
}

/* A quoted name may hold doubled quotes. */
static char *copy_name(const dpt_table_field *field) {
    char *name = dpt_alloc((size_t)field->bytes + 1), *to = name;
    for (int64_t i = 0; name && i < field->bytes; i++) {
        *to++ = field->text[i];
        if (field->text[i] == '"') i++;
    }
    if (name) *to = 0;
    return name;
}

static dpt_status copy_names(dpt_table_columns *c, const char *row, const char *row_end) {
    dpt_table_field field;
    c->name = dpt_alloc_zero((size_t)c->count, sizeof *c->name);
    DPT_CHECK_ALLOC(c->name);
    for (int64_t i = 0; i < c->count; i++, row = field.end + 1) {
        dpt_table_field_find(c->separator, row, row_end, &field);
        c->name[i] = copy_name(&field);
        DPT_CHECK_ALLOC(c->name[i]);
    }
    return DPT_OK;
}

static dpt_status read_first_row(dpt_table_columns *c, const char *path, const char *row, const char *row_end,
                                 const char **values) {
    dpt_table_field field;
    bool number = false, text = false;
    const bool marked = *row == '#';
    c->separator = find_separator(path, row, row_end);
    *values = row;
    for (row += marked; marked && *row == ' ';) row++;
    for (const char *p = row;; p = field.end + 1) {
        const char *wrong = dpt_table_field_find(c->separator, p, row_end, &field);
        c->count++;
        DPT_CHECK(wrong == NULL, DPT_ERR_DATA, "%s: line 1, column %lld: %s", path, (long long)c->count, wrong);
        DPT_CHECK(c->count <= MAX_COLUMNS, DPT_ERR_DATA, "%s: more than %d columns", path, MAX_COLUMNS);
        number |= is_number(&field);
        text |= field.bytes > 0;
        if (*field.end != c->separator) break;
    }
    if (!marked && (number || !text)) return DPT_OK;
    *values = field.end + (*field.end == '\r' ? 2 : 1);
    return copy_names(c, row, row_end);
}

/* ---- what is wanted ---- */

static dpt_status refuse_column(const dpt_table_columns *c, const char *path, const char *item) {
    char names[600];
    size_t n = 0;
    names[0] = 0;
    for (int64_t i = 0; c->name && i < c->count && n < 400; i++)
        n = dpt_append(names, sizeof names, n, "%s%.40s", i ? ", " : ": ", c->name[i]);
    return dpt_error(DPT_ERR_CONFIG, "%s: no column \"%s\"; there are 1 to %lld%s%s", path, item, (long long)c->count,
                     c->name ? "" : ", without names", names);
}

static dpt_status choose(dpt_table_columns *c, const char *path, int64_t column) {
    DPT_CHECK(c->place[column] < 0, DPT_ERR_CONFIG, "%s: column %lld is asked for twice", path, (long long)column + 1);
    c->place[column] = (int32_t)c->chosen++;
    return DPT_OK;
}

static bool read_index(const char **text, int64_t *index) {
    uint64_t digits = 0;
    const char *end = dpt_decimal_digits(*text, &digits);
    bool fits = end > *text && end - *text <= 9;
    *text = end;
    *index = (int64_t)digits;
    return fits;
}

/* "3" or "3-5", from 1. */
static bool read_range(const char *item, int64_t *first, int64_t *last) {
    if (!read_index(&item, first)) return false;
    *last = *first;
    if (*item == '-') {
        item++;
        if (!read_index(&item, last)) return false;
    }
    return *item == 0;
}

static dpt_status choose_item(dpt_table_columns *c, const char *path, const char *item) {
    int64_t first, last, found = -1;
    for (int64_t i = 0; c->name && i < c->count; i++) {
        if (strcmp(c->name[i], item) != 0) continue;
        DPT_CHECK(found < 0, DPT_ERR_CONFIG, "%s: columns %lld and %lld are both named \"%s\"; take them by number",
                  path, (long long)found + 1, (long long)i + 1, item);
        found = i;
    }
    if (found >= 0) return choose(c, path, found);
    if (!read_range(item, &first, &last) || first < 1 || last < first || last > c->count)
        return refuse_column(c, path, item);
    c->keeps_axis |= strchr(item, '-') != NULL;
    for (int64_t i = first; i <= last; i++) DPT_TRY(choose(c, path, i - 1));
    return DPT_OK;
}

static dpt_status choose_items(dpt_table_columns *c, const char *path, char *list) {
    for (int64_t i = 0; *list == 0 && i < c->count; i++) DPT_TRY(choose(c, path, i));
    if (*list == 0) return DPT_OK;
    for (char *item = list, *comma; item; item = comma) {
        comma = strchr(item, ',');
        if (comma) *comma++ = 0;
        DPT_TRY(choose_item(c, path, item));
    }
    return DPT_OK;
}

/* Takes ":f64" and such off the end of a part. */
static dpt_status read_suffixes(dpt_table_columns *c, const char *path, char *part) {
    for (char *colon; (colon = strrchr(part, ':')) != NULL; *colon = 0) {
        const char *word = colon + 1;
        int dtype = 0;
        if (strcmp(word, "nan") == 0) {
            c->allows_nan = true;
            continue;
        }
        while (dtype < DPT_DTYPE_COUNT && strcmp(word, dpt_dtype_text((dpt_dtype)dtype)) != 0) dtype++;
        if (dtype == DPT_DTYPE_COUNT) break; /* part of a name */
        c->dtype = (dpt_dtype)dtype;
        DPT_CHECK(c->dtype == DPT_F32 || c->dtype == DPT_F64 || c->dtype == DPT_I64, DPT_ERR_UNSUPPORTED,
                  "%s: tables are read as f32, f64 or i64, not %s", path, word);
    }
    DPT_CHECK(!c->allows_nan || c->dtype != DPT_I64, DPT_ERR_CONFIG, "%s: i64 has no NaN, so no :nan", path);
    return DPT_OK;
}

static dpt_status choose_part(dpt_table_columns *c, const char *path, const char *text) {
    char *part = dpt_strdup(text ? text : "");
    DPT_CHECK_ALLOC(part);
    dpt_status status = read_suffixes(c, path, part);
    if (status == DPT_OK) status = choose_items(c, path, part);
    dpt_free(part);
    c->keeps_axis |= c->chosen > 1;
    return status;
}

dpt_status dpt_table_columns_open(dpt_table_columns *c, const char *path, const char *part, const char *row,
                                  const char *row_end, const char **values) {
    *c = (dpt_table_columns){.dtype = DPT_F32};
    dpt_status status;
    DPT_TRY_GOTO(read_first_row(c, path, row, row_end, values), fail);
    c->place = dpt_alloc((size_t)c->count * sizeof *c->place);
    DPT_CHECK_ALLOC_GOTO(c->place, fail);
    for (int64_t i = 0; i < c->count; i++) c->place[i] = -1;
    DPT_TRY_GOTO(choose_part(c, path, part), fail);
    return DPT_OK;
fail:
    dpt_table_columns_close(c);
    return status;
}

void dpt_table_columns_close(dpt_table_columns *c) {
    for (int64_t i = 0; c->name && i < c->count; i++) dpt_free(c->name[i]);
    dpt_free(c->name);
    dpt_free(c->place);
    *c = (dpt_table_columns){0};
}
