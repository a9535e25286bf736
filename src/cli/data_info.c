/* data_info.c: dptrain data info: what HDF5 files hold. Of each dataset its shape and type, how it is stored, and what
 * its values look like: those of the first rows, as many as are asked for or take a moment to read; as a picture too.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/data_scan.h"
#include "cli/picture.h"

enum { BARS = 16, BAR_WIDTH = 40 };
static const uint64_t MOMENT_BYTES = 256 << 20; /* of values, where no number of rows is asked for */

size_t dpt_cli_data_info_usage(char *text, size_t bytes, size_t length) {
    return dpt_append(text, bytes, length,
                      "dptrain data info FILE.h5 ... [rows=N|all] [--picture FILE.svg]\n"
                      "  shapes, types, chunks, filters, and what the first N rows hold: range, mean, histogram");
}

/* What is asked for, and what was seen on the way. */
typedef struct info {
    uint64_t rows; /* UINT64_MAX: all; 0: those that take a moment */
    int threads;
    const char *picture; /* file; NULL: none */
    dpt_picture_histogram *panel;
    int64_t panels, capacity;
} info;

/* ---- the histogram ---- */

static int last_bin(const dpt_statistics *s) {
    int last = DPT_HISTOGRAM_BINS - 1;
    while (last > 0 && s->bin[last] == 0) last--;
    return last;
}

_Static_assert((int)DPT_PICTURE_BINS >= (int)DPT_HISTOGRAM_BINS, "a panel has room for a histogram");

static dpt_status add_panel(info *in, const char *file, const char *path, uint64_t rows, const dpt_statistics *s) {
    DPT_GROW(in->panel, in->panels, in->capacity);
    dpt_picture_histogram *h = &in->panel[in->panels++];
    *h = (dpt_picture_histogram){.first = (double)s->first, .width = ldexp(1, s->exponent), .bins = last_bin(s) + 1};
    snprintf(h->title, sizeof h->title, "%.140s: %.100s, %" PRIu64 " rows", file, path, rows);
    memcpy(h->bin, s->bin, sizeof s->bin);
    return DPT_OK;
}

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
    const int last = last_bin(s);
    const int shift = shift_for(s, last);
    uint64_t bar[BARS] = {0}, most = 0;
    const int64_t first = s->first >> shift;
    const int bars = (int)(((s->first + last) >> shift) - first) + 1;
    for (int i = 0; i <= last; i++) bar[((s->first + i) >> shift) - first] += s->bin[i];
    for (int i = 0; i < bars; i++) most = bar[i] > most ? bar[i] : most;
    for (int i = 0; i < bars; i++) print_bar(s, first + i, s->exponent + shift, bar[i], most);
}

/* ---- datasets ---- */

static void print_values(const dpt_cli_scan *scan, uint64_t rows, const dpt_statistics *s) {
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

static dpt_status show_values(info *in, const char *file, const char *path) {
    dpt_cli_scan scan;
    dpt_cli_scan_result result;
    uint64_t rows = in->rows;
    DPT_TRY(dpt_cli_scan_open(file, path, &scan));
    if (rows == 0) rows = MOMENT_BYTES / scan.row_bytes + 1;
    if (rows > scan.rows) rows = scan.rows;
    printf("    stored as %s\n", dpt_stored_text(scan.field->stored));
    scan.threads = in->threads;
    dpt_status status = dpt_cli_scan_rows(&scan, rows, &result);
    if (status == DPT_OK) {
        print_values(&scan, rows, &result.statistics);
        if (in->picture && result.statistics.count > 0) status = add_panel(in, file, path, rows, &result.statistics);
        dpt_cli_scan_result_free(&result);
    }
    dpt_cli_scan_close(&scan);
    return status;
}

/* A dataset that training cannot use is none of this command's failures; one that cannot be read is. */
static dpt_status show_dataset(info *in, const char *file, dpt_description *d) {
    char *path = dpt_strdup(d->path);
    DPT_CHECK_ALLOC(path);
    dpt_cli_scan_printable(path);
    dpt_cli_scan_printable(d->storage);
    printf("  %s %s\n", path, d->shape);
    dpt_free(path);
    printf("    %s: %" PRIu64 " bytes", d->storage, d->stored_bytes);
    if (d->declared_bytes == UINT64_MAX)
        printf(" for 2^64 or more");
    else if (d->declared_bytes != d->stored_bytes)
        printf(" for %" PRIu64, d->declared_bytes);
    printf("\n");
    if (d->has_checksum) printf("    checksum of its values (XXH64): %016" PRIx64 "\n", d->checksum);
    if (d->rows == 0) {
        printf("    0 rows\n");
        return DPT_OK;
    }
    dpt_status status = show_values(in, file, d->path);
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    char *said = dpt_strdup(dpt_last_error());
    DPT_CHECK_ALLOC(said);
    dpt_cli_scan_printable(said);
    const bool usable = status == DPT_ERR_UNSUPPORTED || status == DPT_ERR_SHAPE;
    printf("    %s: %s\n", usable ? "not for training" : "bad", said);
    dpt_free(said);
    return usable ? DPT_OK : status;
}

static dpt_status show_file(info *in, const char *file) {
    dpt_description *all;
    int64_t count;
    struct stat about;
    DPT_TRY(dpt_describe(file, &all, &count));
    printf("%s: %lld bytes, %" PRId64 " dataset%s\n", file, stat(file, &about) == 0 ? (long long)about.st_size : 0,
           count, count == 1 ? "" : "s");
    dpt_status first = DPT_OK;
    char *message = NULL;
    for (int64_t i = 0; i < count; i++) {
        dpt_status status = show_dataset(in, file, &all[i]);
        if (status == DPT_OK || first != DPT_OK) continue;
        first = status;
        message = dpt_strdup(dpt_last_error());
    }
    dpt_describe_free(all, count);
    if (message) dpt_cli_scan_printable(message);
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

/* Options out of the words; the files go to the front. */
static dpt_status read_words(dpt_cli *cli, info *in, int *files) {
    char usage[500];
    dpt_cli_data_info_usage(usage, sizeof usage, 0);
    for (int i = 0; i < cli->argc; i++) {
        char *word = cli->argv[i];
        if (strncmp(word, "rows=", 5) == 0) {
            DPT_TRY(read_rows(word + 5, &in->rows));
        } else if (strcmp(word, "--picture") == 0) {
            in->picture = ++i < cli->argc ? cli->argv[i] : "";
            const size_t n = strlen(in->picture);
            DPT_CHECK(n > 4 && strcmp(in->picture + n - 4, ".svg") == 0, DPT_ERR_CONFIG,
                      "--picture: \"%s\" is no name that ends in .svg", in->picture);
        } else if (strncmp(word, "--", 2) == 0) {
            return dpt_error(DPT_ERR_CONFIG, "unknown option \"%s\"\nusage: %s", word, usage);
        } else {
            cli->argv[(*files)++] = word;
        }
    }
    DPT_CHECK(*files > 0, DPT_ERR_CONFIG, "usage: %s", usage);
    return DPT_OK;
}

static dpt_status draw(const info *in) {
    char *svg;
    DPT_TRY(dpt_picture_histograms(in->panel, in->panels, &svg));
    dpt_status status = dpt_file_write(in->picture, svg, strlen(svg));
    dpt_free(svg);
    return status;
}

dpt_status dpt_cli_data_info(dpt_cli *cli) {
    info in = {.threads = cli->launch.threads > 0 ? cli->launch.threads : 1};
    int files = 0;
    dpt_status status = read_words(cli, &in, &files);
    for (int i = 0; i < files && status == DPT_OK; i++) status = show_file(&in, cli->argv[i]);
    if (status == DPT_OK && in.picture) status = draw(&in);
    dpt_free(in.panel);
    return status;
}
