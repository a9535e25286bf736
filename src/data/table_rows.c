/* table_rows.c: see table_rows.h. Quotes come in pairs, doubled ones too, so that a '\n' ends a row where the number of
 * quotes before it is even. Text without quotes goes by at the speed of memory. */
#include "data/table_rows.h"

#include <string.h>

#include "base/memory.h"

enum { BUFFER_BYTES = 256 << 10, MAX_ROW_BYTES = 64 << 20, PLACE_BYTES = 4 << 20 };

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

/* What a pass over text has seen so far. */
typedef struct row_scan {
    bool quoted;
    int64_t ends;       /* of rows */
    int64_t inside;     /* line ends in quotes */
    const char *last;   /* behind the last end of a row; NULL: none in this piece */
    int64_t lines_last; /* line ends up to there */
} row_scan;

static void scan_piece(row_scan *scan, const char *p, const char *end) {
    scan->last = NULL;
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p)), *stop = quote ? quote : end;
        const char *newline = scan->quoted ? NULL : memrchr(p, '\n', (size_t)(stop - p));
        if (scan->quoted) scan->inside += count_byte(p, stop, '\n');
        if (newline) {
            scan->ends += count_byte(p, newline + 1, '\n');
            scan->last = newline + 1;
            scan->lines_last = scan->ends + scan->inside;
        }
        if (quote == NULL) break;
        scan->quoted = !scan->quoted;
        p = quote + 1;
    }
}

static dpt_status add_place(dpt_table_places *places, int64_t row, int64_t byte, int64_t line) {
    DPT_GROW(places->place, places->count, places->room);
    places->place[places->count++] = (dpt_import_place){row, byte, line};
    return DPT_OK;
}

dpt_status dpt_table_rows_find(dpt_table_rows *rows, dpt_table_places *places) {
    row_scan scan = {.quoted = false};
    bool any = false;
    int64_t got, at = 0, blank = 0; /* blank: line ends since the last byte of a value */
    *places = (dpt_table_places){0};
    DPT_TRY(add_place(places, 0, 0, 1));
    do {
        DPT_TRY(dpt_import_input_read(&rows->input, rows->text, rows->capacity, &got));
        scan_piece(&scan, rows->text, rows->text + got);
        const int64_t place = scan.last ? at + (scan.last - rows->text) : 0;
        if (place - places->place[places->count - 1].byte >= PLACE_BYTES)
            DPT_TRY(add_place(places, scan.ends, place, scan.lines_last + 1));
        int64_t value = got;
        while (value > 0 && (rows->text[value - 1] == '\n' || rows->text[value - 1] == '\r')) value--;
        if (value > 0) any = true, blank = 0;
        blank += count_byte(rows->text + value, rows->text + got, '\n');
        at += got;
    } while (got == rows->capacity);
    places->rows = scan.quoted || blank == 0 ? scan.ends + any : scan.ends - blank + any;
    while (places->count > 1 && places->place[places->count - 1].row >= places->rows) places->count--;
    return dpt_import_input_seek(&rows->input, 0);
}

dpt_status dpt_table_rows_seek(dpt_table_rows *rows, const dpt_import_place *place) {
    DPT_TRY(dpt_import_input_seek(&rows->input, place->byte));
    rows->at = rows->whole = rows->end = 0;
    rows->line = place->line;
    rows->ended = false;
    return DPT_OK;
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
        row_scan scan = {.quoted = false};
        scan_piece(&scan, rows->text, rows->text + rows->end);
        rows->whole = rows->ended ? rows->end : scan.last ? scan.last - rows->text : 0;
    }
    return DPT_OK;
}
