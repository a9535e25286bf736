/* data.c: dptrain data import: makes an HDF5 dataset from files of other formats. Runs without MPI. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "data/import.h"

static const char usage[] =
    "usage: dptrain data import OUT.h5 DATASET=FILE ...   IDX files, plain or gzip: "
    "/train/x=train-images-idx3-ubyte.gz\n"
    "       dptrain data import OUT.h5 fashion-mnist      Fashion-MNIST from Debian's dataset-fashion-mnist";

static const struct {
    const char *name;
    dpt_status (*run)(dpt_cli *cli);
} others[] = {{"info", dpt_cli_data_info}, {"verify", dpt_cli_data_verify}};

static dpt_status import_files(const char *target, char **word, int count) {
    dpt_idx_source *source = dpt_alloc_zero((size_t)count, sizeof *source);
    DPT_CHECK_ALLOC(source);
    dpt_status status = DPT_OK;
    for (int i = 0; i < count && status == DPT_OK; i++) {
        char *equals = strchr(word[i], '=');
        if (equals == NULL || equals == word[i]) {
            status = dpt_error(DPT_ERR_CONFIG, "\"%s\" is not of the form DATASET=FILE\n%s", word[i], usage);
            break;
        }
        *equals = 0;
        source[i] = (dpt_idx_source){.dataset = word[i], .idx = equals + 1};
    }
    if (status == DPT_OK) status = dpt_import_idx(source, count, target);
    dpt_free(source);
    return status;
}

dpt_status dpt_cli_data(dpt_cli *cli) {
    for (size_t i = 0; i < sizeof others / sizeof *others && cli->argc > 0; i++) {
        if (strcmp(cli->argv[0], others[i].name) != 0) continue;
        cli->argc--;
        cli->argv++;
        return others[i].run(cli);
    }
    DPT_CHECK(cli->argc >= 3 && strcmp(cli->argv[0], "import") == 0, DPT_ERR_CONFIG, "%s", usage);
    const char *target = cli->argv[1];
    if (cli->argc == 3 && strcmp(cli->argv[2], "fashion-mnist") == 0)
        DPT_TRY(dpt_import_fashion_mnist(NULL, target));
    else
        DPT_TRY(import_files(target, cli->argv + 2, cli->argc - 2));
    printf("%s\n", target);
    return DPT_OK;
}
