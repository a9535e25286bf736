/* data_scan.c: see data_scan.h. Rows are read some megabytes at a time; where that fails, one by one. */
#include "cli/data_scan.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum { BUFFER_BYTES = 4 << 20, CACHE_BYTES = 64 << 20 };

dpt_status dpt_scan_open(const char *file, const char *path, dpt_scan *scan) {
    const dpt_control alone = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1};
    const dpt_field_spec spec = {.name = "values", .path = path, .dtype = DPT_F64, .ndim = DPT_ANY_NDIM};
    *scan = (dpt_scan){.dataset = NULL};
    DPT_TRY(dpt_dataset_open(&alone, &file, 1, &spec, 1, &scan->dataset));
    scan->field = dpt_dataset_field(scan->dataset, 0);
    scan->rows = dpt_dataset_rows(scan->dataset);
    scan->row_bytes = (uint64_t)scan->field->elements * scan->field->stored.bytes;
    scan->rows_at_once = scan->row_bytes < BUFFER_BYTES ? BUFFER_BYTES / scan->row_bytes : 1;
    if (scan->rows_at_once > scan->rows) scan->rows_at_once = scan->rows;
    scan->buffer = dpt_alloc(scan->rows_at_once * scan->row_bytes);
    dpt_status status = scan->buffer ? dpt_reader_create(scan->dataset, CACHE_BYTES, &scan->reader) : DPT_ERR_MEMORY;
    if (status != DPT_OK) dpt_scan_close(scan);
    return status;
}

void dpt_scan_close(dpt_scan *scan) {
    dpt_reader_destroy(&scan->reader);
    dpt_dataset_close(&scan->dataset);
    dpt_free(scan->buffer);
    *scan = (dpt_scan){.dataset = NULL};
}

static void keep_first(dpt_status status, uint64_t *unreadable, char **first_message) {
    if ((*unreadable)++ == 0) *first_message = dpt_strdup(status == DPT_OK ? "" : dpt_last_error());
}

/* Rows [row, row + n), of which at least one cannot be read. */
static void add_readable(dpt_scan *scan, uint64_t row, uint64_t n, dpt_statistics *s, uint64_t *unreadable,
                         char **first_message) {
    const uint64_t elements = (uint64_t)scan->field->elements;
    for (uint64_t i = row; i < row + n; i++) {
        dpt_status status = dpt_reader_rows(scan->reader, 0, i, 1, scan->buffer);
        if (status == DPT_OK) {
            dpt_statistics_add(s, scan->buffer, elements);
            continue;
        }
        dpt_statistics_skip(s, elements);
        keep_first(status, unreadable, first_message);
    }
}

dpt_status dpt_scan_rows(dpt_scan *scan, uint64_t rows, dpt_statistics *s, uint64_t *unreadable, char **first_message) {
    const uint64_t elements = (uint64_t)scan->field->elements;
    for (uint64_t row = 0, n; row < rows; row += n) {
        n = rows - row < scan->rows_at_once ? rows - row : scan->rows_at_once;
        dpt_status status = dpt_reader_rows(scan->reader, 0, row, n, scan->buffer);
        if (status == DPT_OK)
            dpt_statistics_add(s, scan->buffer, n * elements);
        else if (unreadable == NULL || status == DPT_ERR_MEMORY)
            return status;
        else
            add_readable(scan, row, n, s, unreadable, first_message);
    }
    return DPT_OK;
}

static void place_text(const dpt_field *field, uint64_t element, char *text, size_t bytes, size_t n) {
    uint64_t left = (uint64_t)field->elements;
    for (int i = 0; i < field->ndim; i++) {
        left /= (uint64_t)field->dim[i];
        n = dpt_append(text, bytes, n, i ? ",%llu" : " at [%llu", (unsigned long long)(element / left));
        element %= left;
    }
    dpt_append(text, bytes, n, "]");
}

dpt_status dpt_scan_value(dpt_scan *scan, uint64_t place, double *value, char *where, size_t bytes) {
    const uint64_t elements = (uint64_t)scan->field->elements, row = place / elements, element = place % elements;
    dpt_statistics one = dpt_statistics_begin(scan->field->stored);
    DPT_TRY(dpt_reader_rows(scan->reader, 0, row, 1, scan->buffer));
    dpt_statistics_add(&one, scan->buffer + element * scan->field->stored.bytes, 1);
    *value = one.nans ? NAN : one.infinities ? HUGE_VAL : one.mean;
    size_t n = dpt_append(where, bytes, 0, "row %llu", (unsigned long long)row);
    if (elements > 1) place_text(scan->field, element, where, bytes, n);
    return DPT_OK;
}

void dpt_scan_printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}
