/* data_import.c: dptrain data import: makes an HDF5 dataset from files of other formats. The last line of its output
 * is the target's name; how far it is stands on stderr, where that is a terminal and it takes long. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "data/import.h"

static const double quiet_s = 0.5, interval_s = 0.1;

size_t dpt_cli_data_import_usage(char *text, size_t bytes, size_t length) {
    length = dpt_append(text, bytes, length,
                        "dptrain data import OUT.h5 DATASET=FILE[#PART] ...\n"
                        "  fashion-mnist                          Debian's dataset-fashion-mnist, in place of files");
    for (int i = 0; dpt_import_example(i); i++)
        length = dpt_append(text, bytes, length, "\n  %s", dpt_import_example(i));
    return length;
}

static dpt_status refuse_word(const char *word) {
    return dpt_error(DPT_ERR_CONFIG, "\"%s\" is not of the form DATASET=FILE[#PART] (dptrain data --help has examples)",
                     word);
}

/* Splits "DATASET=FILE#PART" in place. A file may have a # in its own name. */
static dpt_status read_word(char *word, dpt_import_source *source) {
    char *equals = strchr(word, '=');
    if (equals == NULL || equals == word || equals[1] == 0) return refuse_word(word);
    *equals = 0;
    *source = (dpt_import_source){.dataset = word, .file = equals + 1};
    char *part = strchr(equals + 1, '#');
    if (part == NULL || access(source->file, F_OK) == 0) return DPT_OK;
    *part = 0;
    source->part = part + 1;
    return DPT_OK;
}

/* ---- the line that moves ---- */

typedef struct moving_line {
    double shown_s; /* when last */
    int width;      /* of what stands there */
} moving_line;

static void show_rows(void *user, const dpt_import_source *source, int64_t done, int64_t rows) {
    moving_line *line = user;
    double now_s = dpt_clock_s();
    if (now_s - line->shown_s < interval_s) return;
    fputc('\r', stderr);
    int width = fprintf(stderr, "%s  %" PRId64 " of %" PRId64 " rows  %d %%", source->dataset, done, rows,
                        (int)((double)done / (double)rows * 100));
    if (width < line->width) fprintf(stderr, "%*s", line->width - width, "");
    fflush(stderr);
    line->width = width;
    line->shown_s = now_s;
}

static dpt_status import_watched(const dpt_import_source *source, int count, const char *target) {
    moving_line line = {.shown_s = dpt_clock_s() + quiet_s - interval_s};
    dpt_import_watch watch = {show_rows, &line};
    dpt_status status = dpt_import_files_watched(source, count, target, isatty(STDERR_FILENO) ? &watch : NULL);
    if (line.width > 0) fprintf(stderr, "\r%*s\r", line.width, "");
    return status;
}

static dpt_status import_words(const char *target, char **word, int count) {
    dpt_import_source *source = dpt_alloc_zero((size_t)count, sizeof *source);
    DPT_CHECK_ALLOC(source);
    dpt_status status = DPT_OK;
    for (int i = 0; i < count && status == DPT_OK; i++) status = read_word(word[i], &source[i]);
    if (status == DPT_OK) status = import_watched(source, count, target);
    dpt_free(source);
    return status;
}

/* A target that is there is never taken for done silently: it may be of other sources. */
dpt_status dpt_cli_data_import(dpt_cli *cli) {
    DPT_CHECK(cli->argc >= 2, DPT_ERR_CONFIG,
              "usage: dptrain data import OUT.h5 DATASET=FILE[#PART] ... (dptrain data --help has examples)");
    const char *target = cli->argv[0];
    bool there = access(target, F_OK) == 0;
    if (cli->argc == 2 && strcmp(cli->argv[1], "fashion-mnist") == 0)
        DPT_TRY(dpt_import_fashion_mnist(NULL, target));
    else
        DPT_TRY(import_words(target, cli->argv + 1, cli->argc - 1));
    if (there) fprintf(stderr, "dptrain: %s exists already and is left as it is, whatever it was made from\n", target);
    printf("%s\n", target);
    return DPT_OK;
}
