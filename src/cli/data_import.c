/* data_import.c: dptrain data import: makes an HDF5 dataset from files of other formats, on all ranks that it is
 * started with. The last line of its output is the target's name; how far it is stands on stderr: on a terminal a line
 * that moves, elsewhere a line every 10 s. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "data/import.h"

static const double quiet_s = 0.5, terminal_interval_s = 0.1, plain_interval_s = 10;

size_t dpt_cli_data_import_usage(char *text, size_t bytes, size_t length) {
    length = dpt_append(text, bytes, length,
                        "dptrain data import OUT.h5 DATASET=FILE[#PART] ...   (mpirun -np 4: by 4 processes together)\n"
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

/* ---- how far it is ---- */

typedef struct import_line {
    bool terminal;
    double start_s, shown_s; /* of the first look; when last shown */
    int width;               /* of what stands on the terminal */
} import_line;

/* "/x  1200000 of 9600000 rows  12 %  240 MB/s  300000 rows/s": rates are those of this run. */
static void progress_text(const dpt_import_progress *p, double seconds, char *text, size_t bytes) {
    const double share = (double)p->bytes / (double)p->all_bytes;
    size_t n = 0;
    if (p->source) n = dpt_append(text, bytes, n, "%s  ", p->source->dataset);
    n = dpt_append(text, bytes, n, "%" PRId64 " of %" PRId64 " rows  %d %%", p->rows, p->all_rows, (int)(share * 100));
    if (seconds <= 0) return;
    dpt_append(text, bytes, n, "  %.0f MB/s  %.0f rows/s", (double)(p->bytes - p->kept_bytes) / seconds / 1e6,
               (double)(p->rows - p->kept_rows) / seconds);
}

static void show_progress(void *user, const dpt_import_progress *progress) {
    import_line *line = user;
    char text[400];
    const double now_s = dpt_clock_s();
    if (now_s - line->shown_s < (line->terminal ? terminal_interval_s : plain_interval_s)) return;
    progress_text(progress, now_s - line->start_s, text, sizeof text);
    const int width = (int)strlen(text);
    if (line->terminal)
        fprintf(stderr, "\r%s%*s", text, line->width > width ? line->width - width : 0, "");
    else
        fprintf(stderr, "%s\n", text);
    fflush(stderr);
    line->width = line->terminal ? width : 0;
    line->shown_s = now_s;
}

static dpt_status import_words(const dpt_import_options *options, const char *target, char **word, int count) {
    dpt_import_source *source = dpt_alloc_zero((size_t)count, sizeof *source);
    dpt_status status = source ? DPT_OK : DPT_ERR_MEMORY;
    for (int i = 0; i < count && status == DPT_OK; i++) status = read_word(word[i], &source[i]);
    if (options->control) status = dpt_control_agree(options->control, status);
    if (status == DPT_OK) status = dpt_import_files_with(options, source, count, target);
    dpt_free(source);
    return status;
}

static dpt_status import_watched(dpt_cli *cli, const char *target, char **word, int count) {
    const double now_s = dpt_clock_s();
    import_line line = {.terminal = isatty(STDERR_FILENO), .start_s = now_s, .shown_s = now_s};
    if (line.terminal) line.shown_s += quiet_s - terminal_interval_s;
    const dpt_import_options options = {
        .control = cli->control.world > 1 ? &cli->control : NULL, .watch = show_progress, .user = &line};
    const bool is_fashion = count == 1 && strcmp(word[0], "fashion-mnist") == 0;
    const dpt_status status = is_fashion ? dpt_import_fashion_mnist_with(&options, NULL, target)
                                         : import_words(&options, target, word, count);
    if (line.width > 0) fprintf(stderr, "\r%*s\r", line.width, "");
    if (status == DPT_ERR_IO && is_fashion && !dpt_import_fashion_mnist_available(NULL))
        dpt_error_prefix(status, "Debian's package dataset-fashion-mnist is not installed: ");
    return status;
}

/* A target that is there is never taken for done silently: it may be of other sources. */
dpt_status dpt_cli_data_import(dpt_cli *cli) {
    DPT_CHECK(cli->argc >= 2, DPT_ERR_CONFIG,
              "usage: dptrain data import OUT.h5 DATASET=FILE[#PART] ... (dptrain data --help has examples)");
    const char *target = cli->argv[0];
    const bool there = access(target, F_OK) == 0;
    DPT_TRY(import_watched(cli, target, cli->argv + 1, cli->argc - 1));
    if (cli->control.rank != 0) return DPT_OK;
    if (there) fprintf(stderr, "dptrain: %s exists already and is left as it is, whatever it was made from\n", target);
    printf("%s\n", target);
    return DPT_OK;
}
