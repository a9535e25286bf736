/* data_scan.h: one dataset of a file, whatever it is for, read row by row: what `data info` and `data verify` share. */
#ifndef DPT_CLI_DATA_SCAN_H
#define DPT_CLI_DATA_SCAN_H

#include "cli/cli.h"
#include "data/dataset.h"
#include "data/describe.h"
#include "data/reader.h"
#include "data/statistics.h"

typedef struct dpt_scan {
    dpt_dataset *dataset;
    dpt_reader *reader;
    const dpt_field *field;
    uint64_t rows, row_bytes;
    uint64_t rows_at_once; /* that fit in the buffer */
    char *buffer;
} dpt_scan;

/* Errors as those of dpt_dataset_open, and named as there. On failure nothing needs closing. */
dpt_status dpt_scan_open(const char *file, const char *path, dpt_scan *scan);
void dpt_scan_close(dpt_scan *scan);

/* Adds rows [0, rows) to the statistics. unreadable NULL: ends at the first failure. Otherwise goes on past rows that
 * cannot be read and counts them; first_message (owned by the caller, NULL before) is what was said of the first. */
dpt_status dpt_scan_rows(dpt_scan *scan, uint64_t rows, dpt_statistics *statistics, uint64_t *unreadable,
                         char **first_message);
/* The value at a place, counted in values from the first: what it is, and "row 17 at [0,3,4]" (the place in a row only
 * where that has more than one). */
dpt_status dpt_scan_value(dpt_scan *scan, uint64_t place, double *value, char *where, size_t bytes);

/* Text out of a file on its way to a terminal: what is no printing character becomes "?". Changes it in place. */
void dpt_scan_printable(char *text);

#endif
