/* table_columns.h: the columns of a table of text, their names, and which of them are wanted. */
#ifndef DPT_DATA_TABLE_COLUMNS_H
#define DPT_DATA_TABLE_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dptrain/types.h"

/* A field of a row as text, without its quotes and the blanks around it. */
typedef struct dpt_table_field {
    const char *text;
    int64_t bytes;
    const char *end;  /* the separator, or the end of the line */
    int64_t newlines; /* in it */
} dpt_table_field;

typedef struct dpt_table_columns {
    char separator;
    int64_t count;
    char **name;    /* [count] from the header; NULL: there is none */
    int32_t *place; /* [count] in a row of output, -1: not wanted */
    int64_t chosen;
    bool keeps_axis; /* rows have an axis of columns, even if of one */
    dpt_dtype dtype;
    bool allows_nan; /* empty fields, which become NaN, nan and inf */
} dpt_table_columns;

static inline bool dpt_table_line_ends(const char *p) { return *p == '\n' || (*p == '\r' && p[1] == '\n'); }

/* Whether a field ends at p: at a separator, LF or CRLF. The separator ' ' stands for a run of blanks, its last one,
 * and blanks at either end of a line are none. */
static inline bool dpt_table_field_ends(char separator, const char *p) {
    if (*p != separator) return dpt_table_line_ends(p);
    return separator != ' ' || (p[1] != ' ' && !dpt_table_line_ends(p + 1));
}

/* The field at p of a row that is closed by '\n', at row_end or before. NULL, or what is wrong with its quotes. Local,
 * like all here. */
const char *dpt_table_field_find(char separator, const char *p, const char *row_end, dpt_table_field *field);
/* nan, inf, infinity with or without a sign, in whatever case. */
bool dpt_table_field_is_special(const dpt_table_field *field);
/* Of a row; where quotes are wrong, those before. */
int64_t dpt_table_fields(char separator, const char *row, const char *row_end);

/* Reads the first row of a file, text that ends before row_end: separator, count, names if it is a header, and chooses
 * what part asks for: [columns][:f32|:f64|:i64][:nan]     columns: 3   1-8   1,3,5-7   names of the header; none: all
 * DPT_ERR_CONFIG: no such column (those there are), twice the same, not of that form. DPT_ERR_DATA: wrong quotes, too
 * many columns. DPT_ERR_UNSUPPORTED: another type. Messages name path. *values: the first row that is no header. On
 * failure nothing needs closing. */
dpt_status dpt_table_columns_open(dpt_table_columns *columns, const char *path, const char *part, const char *row,
                                  const char *row_end, const char **values);
void dpt_table_columns_close(dpt_table_columns *columns);

#endif
