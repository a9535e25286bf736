/* table_rows.c: see table_rows.h. Quotes come in pairs, doubled ones too, so that a '\n' ends a row where the number of
 * quotes before it is even. Text without quotes goes by at the speed of memory. */
#include "data/table_rows.h"

#include <string.h>

#include "base/memory.h"

enum { BUFFER_BYTES = 256 << 10, MAX_ROW_BYTES = 64 << 20 };

dpt_status dpt_table_rows_open(dpt_table_rows *rows, const char *path) {
    *rows = (dpt_table_rows){.capacity = BUFFER_BYTES, .line = 1};
    rows->text = dpt_alloc(BUFFER_BYTES);
    DPT_CHECK_ALLOC(rows->text);
    dpt_status status = dpt_import_input_open(&rows->input, path);
    if (status != DPT_OK) dpt_table_rows_close(rows);
    return status;
}

void dpt_table_rows_close(dpt_table_rows *rows) {
    dpt_import_input_close(&rows->input);
    dpt_free(rows->text);
    rows->text = NULL;
}

static int64_t count_byte(const char *p, const char *end, char byte) {
    int64_t n = 0;
    for (; p < end; p++) n += *p == byte;
    return n;
}

/* Rows that end in a piece of text; *last, where there is one, behind the last of them. */
static int64_t count_ends(const char *p, const char *end, bool *quoted, const char **last) {
    int64_t n = 0;
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p)), *stop = quote ? quote : end;
        if (!*quoted) {
            const char *newline = memrchr(p, '\n', (size_t)(stop - p));
            if (newline) n += count_byte(p, newline + 1, '\n'), *last = newline + 1;
        }
        if (quote == NULL) break;
        *quoted = !*quoted;
        p = quote + 1;
    }
    return n;
}

dpt_status dpt_table_rows_count(dpt_table_rows *rows, int64_t *count) {
    bool quoted = false, any = false;
    int64_t got, ends = 0, blank = 0; /* blank: ends since the last byte of a value */
    const char *last;
    do {
        DPT_TRY(dpt_import_input_read(&rows->input, rows->text, rows->capacity, &got));
        ends += count_ends(rows->text, rows->text + got, &quoted, &last);
        int64_t value = got;
        while (value > 0 && (rows->text[value - 1] == '\n' || rows->text[value - 1] == '\r')) value--;
        if (value > 0) any = true, blank = 0;
        blank += count_byte(rows->text + value, rows->text + got, '\n');
    } while (got == rows->capacity);
    *count = quoted || blank == 0 ? ends + any : ends - blank + any;
    return dpt_import_input_rewind(&rows->input);
}

static dpt_status grow(dpt_table_rows *rows) {
    DPT_CHECK(rows->capacity < MAX_ROW_BYTES, DPT_ERR_DATA,
              "%s: line %lld: no end of the row within 64 MiB; is a double quote not closed?", rows->input.path,
              (long long)rows->line);
    char *larger = dpt_realloc(rows->text, (size_t)(2 * rows->capacity), 1);
    DPT_CHECK_ALLOC(larger);
    rows->text = larger;
    rows->capacity *= 2;
    return DPT_OK;
}

dpt_status dpt_table_rows_more(dpt_table_rows *rows) {
    int64_t got;
    memmove(rows->text, rows->text + rows->at, (size_t)(rows->end - rows->at));
    rows->end -= rows->at;
    rows->at = rows->whole = 0;
    while (rows->whole == 0 && !rows->ended) {
        if (rows->end == rows->capacity) DPT_TRY(grow(rows));
        int64_t room = rows->capacity - rows->end;
        DPT_TRY(dpt_import_input_read(&rows->input, rows->text + rows->end, room, &got));
        rows->end += got;
        rows->ended = got < room;
        if (rows->ended && rows->end > 0 && rows->text[rows->end - 1] != '\n') rows->text[rows->end++] = '\n';
        bool quoted = false;
        const char *last = rows->text;
        count_ends(rows->text, rows->text + rows->end, &quoted, &last);
        rows->whole = rows->ended ? rows->end : last - rows->text;
    }
    return DPT_OK;
}
