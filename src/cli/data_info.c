/* data_info.c: dptrain data info: what HDF5 files hold. Of each dataset its shape and type, how it is stored, and what
 * its values look like: those of the first rows, as many as are asked for or take a moment to read. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/data_scan.h"

enum { BARS = 16, BAR_WIDTH = 40 };
static const uint64_t MOMENT_BYTES = 256 << 20; /* of values, where no number of rows is asked for */

size_t dpt_cli_data_info_usage(char *text, size_t bytes, size_t length) {
    return dpt_append(text, bytes, length,
                      "dptrain data info FILE.h5 ... [rows=N|all]\n"
                      "  shapes, types, chunks, filters, and what the first N rows hold: range, mean, histogram");
}

/* ---- the histogram ---- */

/* Bars of whole bins: 2^shift of them each. */
static int shift_for(const dpt_statistics *s, int last) {
    int shift = 0;
    while (((s->first + last) >> shift) - (s->first >> shift) >= BARS) shift++;
    return shift;
}

static void print_bar(const dpt_statistics *s, int64_t place, int exponent, uint64_t n, uint64_t most) {
    static const char full[] = "########################################";
    _Static_assert(sizeof full == BAR_WIDTH + 1, "a bar as long as it may be");
    const double share = (double)n / (double)s->count;
    int length = (int)((double)n / (double)most * BAR_WIDTH + 0.5);
    if (n > 0 && length == 0) length = 1;
    char range[64];
    const double low = ldexp((double)place, exponent), next = ldexp((double)place + 1, exponent);
    if (s->stored.kind == DPT_STORED_FLOAT)
        snprintf(range, sizeof range, "%11.5g to %.5g", low, next);
    else if (exponent == 0)
        snprintf(range, sizeof range, "%11.15g", low);
    else
        snprintf(range, sizeof range, "%11.15g to %.15g", low, next - 1);
    printf("    %-28s %7.3f %%%s%.*s\n", range, 100 * share, length ? " " : "", length, full);
}

static void print_histogram(const dpt_statistics *s) {
    int last = DPT_HISTOGRAM_BINS - 1;
    while (last > 0 && s->bin[last] == 0) last--;
    const int shift = shift_for(s, last);
    uint64_t bar[BARS] = {0}, most = 0;
    const int64_t first = s->first >> shift;
    const int bars = (int)(((s->first + last) >> shift) - first) + 1;
    for (int i = 0; i <= last; i++) bar[((s->first + i) >> shift) - first] += s->bin[i];
    for (int i = 0; i < bars; i++) most = bar[i] > most ? bar[i] : most;
    for (int i = 0; i < bars; i++) print_bar(s, first + i, s->exponent + shift, bar[i], most);
}

/* ---- datasets ---- */

static void print_values(const dpt_scan *scan, uint64_t rows, const dpt_statistics *s) {
    if (rows < scan->rows)
        printf("    the first %" PRIu64 " of %" PRIu64 " rows: ", rows, scan->rows);
    else
        printf("    all %" PRIu64 " rows: ", rows);
    if (s->count > 0)
        printf("min %.10g, max %.10g, mean %.6g, std %.6g", s->min, s->max, s->mean, dpt_statistics_std(s));
    else
        printf("no finite value");
    if (s->nans > 0) printf(", %" PRIu64 " NaN", s->nans);
    if (s->infinities > 0) printf(", %" PRIu64 " infinite", s->infinities);
    printf("\n");
    if (s->count > 0 && s->min < s->max) print_histogram(s);
}

/* rows: UINT64_MAX: all; 0: those that take a moment. */
static dpt_status show_values(const char *file, const char *path, uint64_t rows) {
    dpt_scan scan;
    DPT_TRY(dpt_scan_open(file, path, &scan));
    if (rows == 0) rows = MOMENT_BYTES / scan.row_bytes + 1;
    if (rows > scan.rows) rows = scan.rows;
    dpt_statistics s = dpt_statistics_begin(scan.field->stored);
    printf("    stored as %s\n", dpt_stored_text(s.stored));
    dpt_status status = dpt_scan_rows(&scan, rows, &s, NULL, NULL);
    if (status == DPT_OK) print_values(&scan, rows, &s);
    dpt_scan_close(&scan);
    return status;
}

/* A dataset that training cannot use is none of this command's failures; one that cannot be read is. */
static dpt_status show_dataset(const char *file, dpt_description *d, uint64_t rows) {
    char *path = dpt_strdup(d->path);
    DPT_CHECK_ALLOC(path);
    dpt_scan_printable(path);
    dpt_scan_printable(d->storage);
    printf("  %s %s\n", path, d->shape);
    dpt_free(path);
    printf("    %s: %" PRIu64 " bytes", d->storage, d->stored_bytes);
    if (d->declared_bytes == UINT64_MAX)
        printf(" for 2^64 or more");
    else if (d->declared_bytes != d->stored_bytes)
        printf(" for %" PRIu64, d->declared_bytes);
    printf("\n");
    dpt_status status = show_values(file, d->path, rows);
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    char *said = dpt_strdup(dpt_last_error());
    DPT_CHECK_ALLOC(said);
    dpt_scan_printable(said);
    const bool usable = status == DPT_ERR_UNSUPPORTED || status == DPT_ERR_SHAPE;
    printf("    %s: %s\n", usable ? "not for training" : "bad", said);
    dpt_free(said);
    return usable ? DPT_OK : status;
}

static dpt_status show_file(const char *file, uint64_t rows) {
    dpt_description *all;
    int64_t count;
    struct stat about;
    DPT_TRY(dpt_describe(file, &all, &count));
    printf("%s: %lld bytes, %" PRId64 " dataset%s\n", file, stat(file, &about) == 0 ? (long long)about.st_size : 0,
           count, count == 1 ? "" : "s");
    dpt_status first = DPT_OK;
    char *message = NULL;
    for (int64_t i = 0; i < count; i++) {
        dpt_status status = show_dataset(file, &all[i], rows);
        if (status == DPT_OK || first != DPT_OK) continue;
        first = status;
        message = dpt_strdup(dpt_last_error());
    }
    dpt_describe_free(all, count);
    if (message) dpt_scan_printable(message);
    if (first != DPT_OK) dpt_error(first, "%s", message ? message : "out of memory");
    dpt_free(message);
    return first;
}

static dpt_status read_rows(const char *word, uint64_t *rows) {
    char *end;
    if (strcmp(word, "all") == 0) {
        *rows = UINT64_MAX;
        return DPT_OK;
    }
    *rows = word[0] >= '0' && word[0] <= '9' ? strtoull(word, &end, 10) : 0;
    DPT_CHECK(*rows > 0 && *end == 0, DPT_ERR_CONFIG, "rows=%s: rows is a number from 1 up, or \"all\"", word);
    return DPT_OK;
}

dpt_status dpt_cli_data_info(dpt_cli *cli) {
    char usage[400];
    uint64_t rows = 0;
    int files = 0;
    for (int i = 0; i < cli->argc; i++)
        if (strncmp(cli->argv[i], "rows=", 5) == 0)
            DPT_TRY(read_rows(cli->argv[i] + 5, &rows));
        else
            files++;
    dpt_cli_data_info_usage(usage, sizeof usage, 0);
    DPT_CHECK(files > 0, DPT_ERR_CONFIG, "usage: %s", usage);
    for (int i = 0; i < cli->argc; i++)
        if (strncmp(cli->argv[i], "rows=", 5) != 0) DPT_TRY(show_file(cli->argv[i], rows));
    return DPT_OK;
}
