/* data_verify.c: dptrain data verify: decodes every value of every dataset, so that what is damaged, no number or out
 * of range is known before a training begins. A line a dataset; the exit code is that of bad data where one is bad. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/data_scan.h"

size_t dpt_cli_data_verify_usage(char *text, size_t bytes, size_t length) {
    return dpt_append(text, bytes, length,
                      "dptrain data verify FILE.h5 ... [DATASET=LOW:HIGH ...]\n"
                      "  reads every value: damage, NaN, infinity; with /train/y=0:9 also classes outside of 0 to 9");
}

/* What the values of a dataset must lie in. */
typedef struct range {
    const char *path;
    double low, high;
    bool used;
} range;

typedef struct verification {
    range *ranges;
    int count; /* of ranges */
    int64_t good, bad;
    char first[900]; /* what is wrong with the first bad dataset */
} verification;

/* "DATASET=LOW:HIGH", taken apart in place; false: a file. */
static bool read_range(char *word, range *out) {
    char *equals = strrchr(word, '='), *end;
    if (equals == NULL || equals == word) return false;
    *out = (range){.path = word, .low = strtod(equals + 1, &end)};
    if (end == equals + 1 || *end != ':') return false;
    const char *high = end + 1;
    out->high = strtod(high, &end);
    if (end == high || *end != 0 || !isfinite(out->low) || !isfinite(out->high)) return false;
    *equals = 0;
    return true;
}

/* A dataset is named with or without the slash in front. */
static range *range_of(verification *v, const char *path) {
    for (int i = 0; i < v->count; i++)
        if (strcmp(v->ranges[i].path + (v->ranges[i].path[0] == '/'), path + (path[0] == '/')) == 0)
            return &v->ranges[i];
    return NULL;
}

/* What is wrong, "" for nothing; starts with file and dataset. */
static dpt_status judge(dpt_scan *scan, const char *file, const char *path, const dpt_statistics *s,
                        uint64_t unreadable, const char *first_message, char *text, size_t bytes) {
    char where[200];
    double value;
    size_t n = 0;
    text[0] = 0;
    if (unreadable > 0)
        n = dpt_append(text, bytes, n, "%" PRIu64 " of %" PRIu64 " rows cannot be read; the first: %s", unreadable,
                       scan->rows, first_message ? first_message : "out of memory");
    if (s->nans + s->infinities > 0) {
        DPT_TRY(dpt_scan_value(scan, s->first_bad, &value, where, sizeof where));
        if (n == 0) n = dpt_append(text, bytes, n, "%s: %s: ", file, path);
        n = dpt_append(text, bytes, n,
                       "%svalues that are NaN: %" PRIu64 ", infinite: %" PRIu64 "; the first, %s, in %s",
                       unreadable ? "; " : "", s->nans, s->infinities, isnan(value) ? "NaN" : "infinite", where);
    }
    if (s->outside > 0) {
        DPT_TRY(dpt_scan_value(scan, s->first_outside, &value, where, sizeof where));
        const bool more = n > 0;
        if (!more) n = dpt_append(text, bytes, n, "%s: %s: ", file, path);
        dpt_append(text, bytes, n, "%svalues outside of %.15g to %.15g: %" PRIu64 "; the first, %.15g, in %s",
                   more ? "; " : "", s->low, s->high, s->outside, value, where);
    }
    return DPT_OK;
}

/* Classes of the range that no sample has: each has a bin of its own where the range is no wider than the bins. */
static void print_missing(const dpt_statistics *s) {
    const double low = ceil(s->low), high = floor(s->high);
    if (s->stored.kind == DPT_STORED_FLOAT || !(high - low < DPT_HISTOGRAM_BINS)) return;
    int missing = 0;
    for (double class = low; class <= high; class ++) {
        const double bin = class - (double)s->first;
        if (bin >= 0 && bin < DPT_HISTOGRAM_BINS && s->bin[(int)bin] > 0) continue;
        printf("%s%.15g", missing++ ? ", " : "; no sample of ", class);
    }
}

static void print_good(const dpt_scan *scan, const char *file, const char *path, const dpt_statistics *s) {
    char name[1100];
    snprintf(name, sizeof name, "%s", path);
    dpt_scan_printable(name);
    printf("%s: %s: good: %" PRIu64 " rows of %" PRId64 " %s, %.10g to %.10g", file, name, scan->rows,
           scan->field->elements, dpt_stored_text(s->stored), s->min, s->max);
    print_missing(s);
    printf("\n");
}

static void note_bad(verification *v, const char *message) {
    char text[sizeof v->first];
    snprintf(text, sizeof text, "%s", message);
    dpt_scan_printable(text);
    printf("%s\n", text);
    if (v->bad++ == 0) memcpy(v->first, text, sizeof text);
}

static dpt_status verify_values(verification *v, dpt_scan *scan, const char *file, const char *path) {
    char text[sizeof v->first], *message = NULL;
    uint64_t unreadable = 0;
    dpt_statistics s = dpt_statistics_begin(scan->field->stored);
    range *wanted = range_of(v, path);
    if (wanted != NULL) {
        wanted->used = true;
        s.low = wanted->low;
        s.high = wanted->high;
    }
    dpt_status status = dpt_scan_rows(scan, scan->rows, &s, &unreadable, &message);
    if (status == DPT_OK) status = judge(scan, file, path, &s, unreadable, message, text, sizeof text);
    dpt_free(message);
    DPT_TRY(status);
    if (text[0] != 0) {
        note_bad(v, text);
    } else {
        print_good(scan, file, path, &s);
        v->good++;
    }
    return DPT_OK;
}

/* Text, pictures of other programs, single numbers: a file may hold more than what is trained on. */
static dpt_status verify_dataset(verification *v, const char *file, const char *path) {
    dpt_scan scan;
    dpt_status status = dpt_scan_open(file, path, &scan);
    if (status == DPT_ERR_MEMORY) return status;
    if (status == DPT_ERR_UNSUPPORTED || status == DPT_ERR_SHAPE) {
        char text[sizeof v->first];
        snprintf(text, sizeof text, "%s", dpt_last_error());
        dpt_scan_printable(text);
        printf("%s: not checked\n", text);
        return DPT_OK;
    }
    if (status != DPT_OK) {
        note_bad(v, dpt_last_error());
        return DPT_OK;
    }
    status = verify_values(v, &scan, file, path);
    dpt_scan_close(&scan);
    return status;
}

static dpt_status verify_file(verification *v, const char *file) {
    dpt_description *all;
    int64_t count;
    DPT_TRY(dpt_describe(file, &all, &count));
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < count && status == DPT_OK; i++) status = verify_dataset(v, file, all[i].path);
    dpt_describe_free(all, count);
    return status;
}

static dpt_status verify_files(verification *v, char **files, int count) {
    for (int i = 0; i < count; i++) DPT_TRY(verify_file(v, files[i]));
    for (int i = 0; i < v->count; i++)
        DPT_CHECK(v->ranges[i].used, DPT_ERR_CONFIG, "%s: no such dataset in these files, or it was not read",
                  v->ranges[i].path);
    DPT_CHECK(v->bad == 0, DPT_ERR_DATA, "%" PRId64 " of %" PRId64 " datasets are bad: %s", v->bad, v->bad + v->good,
              v->first);
    DPT_CHECK(v->good > 0, DPT_ERR_DATA, "%s: no dataset that can be checked", files[0]);
    return DPT_OK;
}

dpt_status dpt_cli_data_verify(dpt_cli *cli) {
    char usage[400];
    int files = 0;
    verification v = {.ranges = dpt_alloc_zero((size_t)cli->argc + 1, sizeof *v.ranges)};
    DPT_CHECK_ALLOC(v.ranges);
    for (int i = 0; i < cli->argc; i++)
        if (read_range(cli->argv[i], &v.ranges[v.count]))
            v.count++;
        else
            cli->argv[files++] = cli->argv[i];
    dpt_cli_data_verify_usage(usage, sizeof usage, 0);
    dpt_status status = files > 0 ? verify_files(&v, cli->argv, files) : dpt_error(DPT_ERR_CONFIG, "usage: %s", usage);
    dpt_free(v.ranges);
    return status;
}
