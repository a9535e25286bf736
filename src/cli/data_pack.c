/* data_pack.c: dptrain data pack OUT.h5 IN.h5 ... [--option]: many HDF5 files into one or a few. Runs without MPI. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "data/pack.h"

static const char usage[] =
    "dptrain data pack OUT.h5 IN.h5 ... [--chunk-rows N] [--deflate LEVEL] [--shuffle] [--fletcher32] [--files K]\n"
    "  rows side by side, or in chunks of N rows, packed by filters (without N: chunks of about 1 MiB);\n"
    "  --files K: K files, OUT-0.h5 and so on, that share the rows, and OUT.manifest, which lists them for data.files";

size_t dpt_cli_data_pack_usage(char *text, size_t bytes, size_t length) {
    return dpt_append(text, bytes, length, "%s", usage);
}

/* The number after an option. */
static dpt_status read_number(dpt_cli *cli, int *at, int64_t least, int64_t most, int64_t *number) {
    const char *option = cli->argv[*at], *word = *at + 1 < cli->argc ? cli->argv[*at + 1] : "";
    char *end;
    errno = 0;
    long long value = strtoll(word, &end, 10);
    DPT_CHECK(*word && *end == 0 && errno == 0 && value >= least && value <= most, DPT_ERR_CONFIG,
              "%s: \"%s\" is no number from %lld to %lld\nusage: %s", option, word, (long long)least, (long long)most,
              usage);
    ++*at;
    *number = value;
    return DPT_OK;
}

static dpt_status read_option(dpt_cli *cli, int *at, dpt_pack_options *options) {
    const char *word = cli->argv[*at];
    dpt_hdf5_layout *layout = &options->layout;
    int64_t number;
    if (strcmp(word, "--chunk-rows") == 0) return read_number(cli, at, 1, INT64_MAX, &layout->chunk_rows);
    if (strcmp(word, "--deflate") == 0) {
        DPT_TRY(read_number(cli, at, 1, 9, &number));
        layout->deflate = (int)number;
        return DPT_OK;
    }
    if (strcmp(word, "--files") == 0) {
        DPT_TRY(read_number(cli, at, 1, DPT_PACK_MAX_FILES, &number));
        options->files = (int)number;
        return DPT_OK;
    }
    bool shuffle = strcmp(word, "--shuffle") == 0, fletcher32 = strcmp(word, "--fletcher32") == 0;
    DPT_CHECK(shuffle || fletcher32, DPT_ERR_CONFIG, "unknown option \"%s\"\nusage: %s", word, usage);
    layout->shuffle |= shuffle;
    layout->fletcher32 |= fletcher32;
    return DPT_OK;
}

/* Files to the front of argv; *count of them, OUT.h5 included. */
static dpt_status read_words(dpt_cli *cli, dpt_pack_options *options, int *count) {
    *count = 0;
    for (int at = 0; at < cli->argc; at++) {
        if (strncmp(cli->argv[at], "--", 2) == 0)
            DPT_TRY(read_option(cli, &at, options));
        else
            cli->argv[(*count)++] = cli->argv[at];
    }
    DPT_CHECK(*count >= 2, DPT_ERR_CONFIG, "usage: %s", usage);
    dpt_hdf5_layout *layout = &options->layout;
    bool filtered = layout->deflate || layout->shuffle || layout->fletcher32;
    if (filtered && layout->chunk_rows == 0) layout->chunk_rows = DPT_PACK_CHUNK_AUTO;
    return DPT_OK;
}

dpt_status dpt_cli_data_pack(dpt_cli *cli) {
    dpt_pack_options options = {.files = 0};
    int count;
    DPT_TRY(read_words(cli, &options, &count));
    const char *target = cli->argv[0];
    DPT_TRY(dpt_pack(&cli->control, (const char *const *)(cli->argv + 1), count - 1, &options, target));
    for (int i = 0; i < options.files || i == 0; i++) {
        char *name = dpt_pack_name(target, i, options.files);
        DPT_CHECK_ALLOC(name);
        printf("%s\n", name);
        dpt_free(name);
    }
    if (options.files == 0) return DPT_OK;
    char *manifest = dpt_pack_manifest_name(target);
    DPT_CHECK_ALLOC(manifest);
    printf("%s\n", manifest);
    dpt_free(manifest);
    return DPT_OK;
}
