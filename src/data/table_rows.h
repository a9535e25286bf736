/* table_rows.h: the rows of a file of comma-separated values as text, in bounded memory: whole rows at a time, each
 * closed by '\n', found without looking at fields. A row ends at a '\n' outside of double quotes (RFC 4180).
 *
 *   DPT_TRY(dpt_table_rows_open(&rows, path));
 *   DPT_TRY_GOTO(dpt_table_rows_find(&rows, &places), fail);    a pass over the whole file, then back to its start
 *   DPT_TRY_GOTO(dpt_table_rows_more(&rows), fail);
 *   ... takes rows from rows.at and moves it behind them, to rows.whole at most; then more again
 *   fail: dpt_table_rows_close(&rows); */
#ifndef DPT_DATA_TABLE_ROWS_H
#define DPT_DATA_TABLE_ROWS_H

#include <stdbool.h>

#include "data/import_input.h"
#include "data/import_stream.h"

typedef struct dpt_table_rows {
    dpt_import_input input;
    char *text;
    int64_t capacity;
    int64_t at, whole, end; /* in text: the next row, the end of the last whole one, of what was read */
    int64_t line;           /* that begins at `at`, from 1; kept by the one who moves it, for messages here */
    bool ended;             /* nothing more in the file */
} dpt_table_rows;

/* DPT_ERR_IO, DPT_ERR_MEMORY. On failure nothing needs closing. Local, like all here. */
dpt_status dpt_table_rows_open(dpt_table_rows *rows, const char *path);
/* How many rows there are, empty lines at the end of the file not counted, and where some of them begin, some MiB
 * apart: of the first row and of those behind it. Release `place` with dpt_free, after a failure too. */
typedef struct dpt_table_places {
    int64_t rows;
    dpt_import_place *place;
    int64_t count, room;
} dpt_table_places;
dpt_status dpt_table_rows_find(dpt_table_rows *rows, dpt_table_places *places);
/* Goes forward to a place. */
dpt_status dpt_table_rows_seek(dpt_table_rows *rows, const dpt_import_place *place);
/* Once at == whole: reads until there is a whole row again; at == whole still: the file has ended. The last row gets
 * its '\n' if it has none; a quote may be open in it. DPT_ERR_DATA: a row of more than 64 MiB; damaged. */
dpt_status dpt_table_rows_more(dpt_table_rows *rows);
void dpt_table_rows_close(dpt_table_rows *rows);

#endif
