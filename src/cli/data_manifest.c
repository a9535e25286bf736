/* data_manifest.c: dptrain data manifest OUT FILE.h5 ...: a list of files with their rows, sizes and checksums, which
 * data.files takes in their place. Runs without MPI. */
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli.h"
#include "data/file_list.h"

static const char usage[] =
    "dptrain data manifest OUT FILE.h5 ...\n"
    "  a text with rows, bytes and checksum of each file; data.files=OUT then stands for them, in this order";

size_t dpt_cli_data_manifest_usage(char *text, size_t bytes, size_t length) {
    return dpt_append(text, bytes, length, "%s", usage);
}

dpt_status dpt_cli_data_manifest(dpt_cli *cli) {
    DPT_CHECK(cli->argc >= 2, DPT_ERR_CONFIG, "usage: %s", usage);
    const char *out = cli->argv[0], *const *files = (const char *const *)(cli->argv + 1);
    dpt_file_list list;
    DPT_CHECK(access(out, F_OK) != 0 || dpt_manifest_is(out), DPT_ERR_CONFIG, "%s: exists already and is no manifest",
              out);
    DPT_TRY(dpt_file_list_make(files, cli->argc - 1, &list)); /* none twice, none empty */
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < list.count && status == DPT_OK; i++)
        if (list.file[i].manifest)
            status = dpt_error(DPT_ERR_CONFIG, "%s is a manifest itself; a manifest lists HDF5 files",
                               list.file[i].manifest);
    dpt_file_list_free(&list);
    if (status == DPT_OK) status = dpt_manifest_write(out, files, cli->argc - 1);
    if (status == DPT_OK) printf("%s\n", out);
    return status;
}
