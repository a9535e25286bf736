/* data_verify.c: dptrain data verify: decodes every value of every dataset, so that what is damaged, no number or out
 * of range is known before a training begins; of manifests first that the files are those that they list. A line a
 * dataset. What is bad is counted and passed by; the exit code is that of the first. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/data_scan.h"
#include "data/content.h"
#include "data/manifest.h"

size_t dpt_cli_data_verify_usage(char *text, size_t bytes, size_t length) {
    return dpt_append(
        text, bytes, length,
        "dptrain data verify FILE.h5|MANIFEST ... [DATASET=LOW:HIGH ...] [--threads N]\n"
        "  reads every value: damage, checksums, NaN, infinity; with /train/y=0:9 also classes outside of "
        "0 to 9");
}

/* What the values of a dataset must lie in. */
typedef struct range {
    const char *path;
    double low, high;
    bool named, used; /* in a file; by a dataset that was read */
} range;

typedef struct verification {
    range *ranges;
    int count; /* of ranges */
    int threads;
    int64_t good, bad;
    dpt_status status; /* of the first that is bad, and what is wrong with it: */
    char first[900];
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

/* What is wrong with a dataset: starts with the file and its path. */
typedef struct complaint {
    const char *file, *path;
    size_t length;
    char text[900];
} complaint;

static void complain(complaint *c, const char *format, ...) DPT_PRINTF(2, 3);
static void complain(complaint *c, const char *format, ...) {
    char what[700];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    if (c->length == 0) c->length = dpt_append(c->text, sizeof c->text, 0, "%s: %s: ", c->file, c->path);
    c->length = dpt_append(c->text, sizeof c->text, c->length, "%s", what);
}

static dpt_status judge_values(const dpt_cli_scan *scan, const dpt_statistics *s, complaint *c) {
    char where[200];
    double value;
    if (s->nans + s->infinities > 0) {
        DPT_TRY(dpt_cli_scan_value(scan, s->first_bad, &value, where, sizeof where));
        complain(c, "%svalues that are NaN: %" PRIu64 ", infinite: %" PRIu64 "; the first, %s, in %s",
                 c->length ? "; " : "", s->nans, s->infinities, isnan(value) ? "NaN" : "infinite", where);
    }
    if (s->outside > 0) {
        DPT_TRY(dpt_cli_scan_value(scan, s->first_outside, &value, where, sizeof where));
        complain(c, "%svalues outside of %.15g to %.15g: %" PRIu64 "; the first, %.15g, in %s", c->length ? "; " : "",
                 s->low, s->high, s->outside, value, where);
    }
    return DPT_OK;
}

static dpt_status judge(const dpt_cli_scan *scan, const dpt_cli_scan_result *r, const dpt_description *about,
                        complaint *c) {
    if (r->unreadable > 0)
        c->length =
            dpt_append(c->text, sizeof c->text, 0, "%" PRIu64 " of %" PRIu64 " rows cannot be read; the first: %s",
                       r->unreadable, scan->rows, r->first_message ? r->first_message : "out of memory");
    else if (about->has_checksum && about->checksum != r->checksum)
        complain(c,
                 "the checksum of its values (XXH64) is %016" PRIx64 ", but %016" PRIx64
                 " was written with them: they were changed",
                 r->checksum, about->checksum);
    return judge_values(scan, &r->statistics, c);
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

static void print_good(const dpt_cli_scan *scan, const char *file, const dpt_description *about,
                       const dpt_statistics *s) {
    char name[1100];
    snprintf(name, sizeof name, "%s", about->path);
    dpt_cli_scan_printable(name);
    printf("%s: %s: good: %" PRIu64 " rows of %" PRId64 " %s, %.10g to %.10g%s", file, name, scan->rows,
           scan->field->elements, dpt_stored_text(s->stored), s->min, s->max,
           about->has_checksum ? ", checksum right" : "");
    print_missing(s);
    printf("\n");
}

static void note_bad(verification *v, dpt_status status, const char *message) {
    char text[sizeof v->first];
    snprintf(text, sizeof text, "%s", message);
    dpt_cli_scan_printable(text);
    printf("%s\n", text);
    if (v->bad++ > 0) return;
    memcpy(v->first, text, sizeof text);
    v->status = status;
}

static dpt_status verify_values(verification *v, dpt_cli_scan *scan, const char *file, const dpt_description *about) {
    complaint c = {.file = file, .path = about->path};
    dpt_cli_scan_result result;
    range *wanted = range_of(v, about->path);
    if (wanted != NULL) {
        wanted->used = true;
        scan->low = wanted->low;
        scan->high = wanted->high;
    }
    scan->threads = v->threads;
    scan->goes_on = true;
    DPT_TRY(dpt_cli_scan_rows(scan, scan->rows, &result));
    dpt_status status = judge(scan, &result, about, &c);
    if (status == DPT_OK && c.length > 0) note_bad(v, DPT_ERR_DATA, c.text);
    if (status == DPT_OK && c.length == 0) {
        print_good(scan, file, about, &result.statistics);
        v->good++;
    }
    dpt_cli_scan_result_free(&result);
    return status;
}

static void print_beside(const char *text, const char *what) {
    char line[900];
    snprintf(line, sizeof line, "%s", text);
    dpt_cli_scan_printable(line);
    printf("%s: %s\n", line, what);
}

/* Text, pictures of other programs, single numbers: a file may hold more than what is trained on. */
static dpt_status verify_dataset(verification *v, const char *file, const dpt_description *about) {
    dpt_cli_scan scan;
    range *wanted = range_of(v, about->path);
    if (about->rows == 0) { /* nothing can be wrong with its values */
        if (wanted != NULL) wanted->used = true;
        printf("%s: ", file);
        print_beside(about->path, "good: 0 rows");
        v->good++;
        return DPT_OK;
    }
    dpt_status status = dpt_cli_scan_open(file, about->path, &scan);
    if (status == DPT_ERR_MEMORY) return status;
    if (status == DPT_ERR_UNSUPPORTED || status == DPT_ERR_SHAPE) {
        print_beside(dpt_last_error(), "not checked");
        return DPT_OK;
    }
    if (status != DPT_OK) {
        note_bad(v, status, dpt_last_error());
        return DPT_OK;
    }
    status = verify_values(v, &scan, file, about);
    dpt_cli_scan_close(&scan);
    return status;
}

static dpt_status verify_file(verification *v, const char *file) {
    dpt_description *all;
    int64_t count;
    dpt_status status = dpt_describe(file, &all, &count);
    if (status == DPT_ERR_MEMORY) return status;
    if (status != DPT_OK) {
        note_bad(v, status, dpt_last_error());
        return DPT_OK;
    }
    for (int64_t i = 0; i < count && status == DPT_OK; i++) status = verify_dataset(v, file, &all[i]);
    dpt_describe_free(all, count);
    return status;
}

/* ---- manifests ---- */

static dpt_status compare_rows(const dpt_manifest_file *line) {
    uint64_t *rows;
    int64_t count;
    DPT_TRY(dpt_manifest_rows(line->path, &rows, &count));
    bool same = count == line->row_counts && memcmp(rows, line->rows, (size_t)count * sizeof *rows) == 0;
    dpt_free(rows);
    DPT_CHECK(same, DPT_ERR_DATA, "%s: its datasets have other numbers of rows than the manifest says", line->path);
    return DPT_OK;
}

static dpt_status compare_file(const dpt_manifest_file *line) {
    struct stat about;
    uint64_t checksum;
    DPT_CHECK(stat(line->path, &about) == 0, DPT_ERR_IO, "%s: %s", line->path, strerror(errno));
    DPT_CHECK((uint64_t)about.st_size == line->bytes, DPT_ERR_DATA, "%s has %lld bytes, the manifest says %" PRIu64,
              line->path, (long long)about.st_size, line->bytes);
    DPT_TRY(dpt_file_checksum(line->path, NULL, &checksum));
    DPT_CHECK(checksum == line->checksum, DPT_ERR_DATA,
              "%s: its checksum (XXH64) is %016" PRIx64 ", the manifest says %016" PRIx64, line->path, checksum,
              line->checksum);
    return compare_rows(line);
}

static dpt_status verify_manifest(verification *v, const char *path) {
    dpt_manifest m;
    DPT_TRY(dpt_manifest_read(path, &m));
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < m.count && status == DPT_OK; i++) {
        status = compare_file(&m.file[i]);
        if (status == DPT_ERR_MEMORY) break;
        if (status != DPT_OK) {
            dpt_error_prefix(status, "%s: line %" PRId64 ": ", path, m.file[i].line);
            note_bad(v, status, dpt_last_error());
        }
        status = access(m.file[i].path, R_OK) == 0 ? verify_file(v, m.file[i].path) : DPT_OK;
    }
    dpt_manifest_free(&m);
    return status;
}

/* ---- names before values ---- */

/* *all false: a file that cannot be looked at may hold what is missing; reading it will say why. */
static dpt_status name_ranges(verification *v, const char *file, bool *all) {
    dpt_description *about;
    int64_t count;
    dpt_status status = dpt_describe(file, &about, &count);
    if (status != DPT_OK) *all = false;
    if (status != DPT_OK) return status == DPT_ERR_MEMORY ? status : DPT_OK;
    for (int64_t i = 0; i < count; i++) {
        range *wanted = range_of(v, about[i].path);
        if (wanted != NULL) wanted->named = true;
    }
    dpt_describe_free(about, count);
    return DPT_OK;
}

static const range *first_unnamed(const verification *v) {
    for (int i = 0; i < v->count; i++)
        if (!v->ranges[i].named) return &v->ranges[i];
    return NULL;
}

static dpt_status name_ranges_of_list(verification *v, const char *path, bool *all) {
    dpt_manifest m;
    DPT_TRY(dpt_manifest_read(path, &m));
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < m.count && status == DPT_OK && first_unnamed(v); i++)
        status = name_ranges(v, m.file[i].path, all);
    dpt_manifest_free(&m);
    return status;
}

/* A misspelt name is said before a terabyte is read; most often the first file has all of them. */
static dpt_status check_names(verification *v, char **files, int count) {
    bool all = true;
    for (int i = 0; i < count && first_unnamed(v); i++)
        DPT_TRY(dpt_manifest_is(files[i]) ? name_ranges_of_list(v, files[i], &all) : name_ranges(v, files[i], &all));
    const range *missing = first_unnamed(v);
    DPT_CHECK(missing == NULL || !all, DPT_ERR_CONFIG,
              "%s: no such dataset in these files (dptrain data info lists them)", missing->path);
    return DPT_OK;
}

static dpt_status verify_files(verification *v, char **files, int count) {
    DPT_TRY(check_names(v, files, count));
    for (int i = 0; i < count; i++)
        DPT_TRY(dpt_manifest_is(files[i]) ? verify_manifest(v, files[i]) : verify_file(v, files[i]));
    DPT_CHECK(v->bad == 0, v->status, "%" PRId64 " of %" PRId64 " are bad: %s", v->bad, v->bad + v->good, v->first);
    for (int i = 0; i < v->count; i++)
        DPT_CHECK(v->ranges[i].used, DPT_ERR_CONFIG, "%s: no such dataset in these files, or it was not read",
                  v->ranges[i].path);
    DPT_CHECK(v->good > 0, DPT_ERR_DATA, "%s: no dataset that can be checked", files[0]);
    return DPT_OK;
}

/* ---- words ---- */

static dpt_status read_threads(const dpt_cli *cli, int *at, int *threads) {
    const char *word = *at + 1 < cli->argc ? cli->argv[*at + 1] : "";
    char *end;
    long n = strtol(word, &end, 10);
    DPT_CHECK(*word && *end == 0 && n >= 1 && n <= 64, DPT_ERR_CONFIG, "--threads: \"%s\" is no number from 1 to 64",
              word);
    ++*at;
    *threads = (int)n;
    return DPT_OK;
}

/* Ranges and options out of the words; the files go to the front. */
static dpt_status read_words(dpt_cli *cli, verification *v, int *files) {
    char usage[500];
    dpt_cli_data_verify_usage(usage, sizeof usage, 0);
    for (int i = 0; i < cli->argc; i++) {
        char *word = cli->argv[i];
        if (strcmp(word, "--threads") == 0)
            DPT_TRY(read_threads(cli, &i, &v->threads));
        else if (strncmp(word, "--", 2) == 0)
            return dpt_error(DPT_ERR_CONFIG, "unknown option \"%s\"\nusage: %s", word, usage);
        else if (read_range(word, &v->ranges[v->count]))
            v->count++;
        else
            cli->argv[(*files)++] = word;
    }
    DPT_CHECK(*files > 0, DPT_ERR_CONFIG, "usage: %s", usage);
    return DPT_OK;
}

dpt_status dpt_cli_data_verify(dpt_cli *cli) {
    int files = 0;
    verification v = {.ranges = dpt_alloc_zero((size_t)cli->argc + 1, sizeof *v.ranges),
                      .threads = cli->launch.threads};
    DPT_CHECK_ALLOC(v.ranges);
    if (v.threads < 1) v.threads = 1;
    dpt_status status = read_words(cli, &v, &files);
    if (status == DPT_OK) status = verify_files(&v, cli->argv, files);
    dpt_free(v.ranges);
    return status;
}
