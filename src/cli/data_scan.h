/* data_scan.h: one dataset of a file, whatever it is for, read block by block: what `data info` and `data verify`
 * share.
 *
 *   DPT_TRY(dpt_cli_scan_open(file, path, &scan));
 *   scan.threads = 4;
 *   DPT_TRY_GOTO(dpt_cli_scan_rows(&scan, scan.rows, &result), fail);
 *   ... result.statistics ...
 *   dpt_cli_scan_result_free(&result); */
#ifndef DPT_CLI_DATA_SCAN_H
#define DPT_CLI_DATA_SCAN_H

#include "cli/cli.h"
#include "data/dataset.h"
#include "data/describe.h"
#include "data/reader.h"
#include "data/statistics.h"

typedef struct dpt_cli_scan {
    dpt_dataset *dataset;
    dpt_reader *reader;
    const dpt_field *field;
    uint64_t rows, row_bytes;
    uint64_t rows_at_once; /* of a block */
    uint64_t chunk_rows;   /* 0: not chunked */
    /* the caller's to set: */
    int threads;      /* that read; 1 */
    bool goes_on;     /* past rows that cannot be read; false */
    double low, high; /* values should lie in; any */
} dpt_cli_scan;

/* The same whatever the number of threads is. */
typedef struct dpt_cli_scan_result {
    dpt_statistics statistics;
    uint64_t checksum;   /* XXH64 of the values as stored; of no meaning where rows are unreadable */
    uint64_t unreadable; /* rows; of a chunk all or none */
    char *first_message; /* what was said of the first of them; NULL: none, or out of memory */
} dpt_cli_scan_result;

/* Errors as those of dpt_dataset_open, and named as there. On failure nothing needs closing. */
dpt_status dpt_cli_scan_open(const char *file, const char *path, dpt_cli_scan *scan);
void dpt_cli_scan_close(dpt_cli_scan *scan);

/* Looks at rows [0, rows). Errors as dpt_reader_rows; where the scan goes on only DPT_ERR_MEMORY. On failure nothing
 * needs freeing. */
dpt_status dpt_cli_scan_rows(const dpt_cli_scan *scan, uint64_t rows, dpt_cli_scan_result *result);
void dpt_cli_scan_result_free(dpt_cli_scan_result *result);
/* The value at a place, counted in values from the first: what it is, and "row 17 at [0,3,4]" (the place in a row only
 * where that has more than one). */
dpt_status dpt_cli_scan_value(const dpt_cli_scan *scan, uint64_t place, double *value, char *where, size_t bytes);

/* Text out of a file on its way to a terminal: what is no printing character becomes "?". Changes it in place. */
void dpt_cli_scan_printable(char *text);

#endif
