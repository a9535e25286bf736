/* data.c: dptrain data: what is done with datasets outside of a training. Finds the command; each has a file of its
 * own, data_<command>.c. Runs without MPI, but for what several ranks do together when a launcher started them. */
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

typedef struct data_command {
    const char *name;
    dpt_status (*run)(dpt_cli *cli);
    size_t (*usage)(char *text, size_t bytes, size_t length); /* "dptrain data <name> ...", appended */
    bool by_ranks;
} data_command;

static const data_command commands[] = {
    {"import", dpt_cli_data_import, dpt_cli_data_import_usage, true},
    {"info", dpt_cli_data_info, dpt_cli_data_info_usage, false},
    {"verify", dpt_cli_data_verify, dpt_cli_data_verify_usage, false},
    {"pack", dpt_cli_data_pack, dpt_cli_data_pack_usage, false},
    {"manifest", dpt_cli_data_manifest, dpt_cli_data_manifest_usage, false},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

size_t dpt_cli_data_usage(char *text, size_t bytes) {
    size_t n = 0;
    for (int i = 0; i < COMMANDS; i++) {
        n = dpt_append(text, bytes, n, "%s", i ? "\n" : "usage: ");
        n = commands[i].usage(text, bytes, n);
    }
    return n;
}

bool dpt_cli_data_by_ranks(const char *name) {
    bool by_ranks = false;
    for (int i = 0; name != NULL && i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0) by_ranks = commands[i].by_ranks;
    return by_ranks;
}

dpt_status dpt_cli_data(dpt_cli *cli) {
    char names[200];
    size_t n = 0;
    const char *name = cli->argc > 0 ? cli->argv[0] : NULL;
    for (int i = 0; i < COMMANDS; i++) {
        n = dpt_append(names, sizeof names, n, "%s%s", i ? ", " : "", commands[i].name);
        if (name == NULL || strcmp(name, commands[i].name) != 0) continue;
        cli->argc--;
        cli->argv++;
        return commands[i].run(cli);
    }
    DPT_CHECK(name != NULL, DPT_ERR_CONFIG, "data: which of %s? (dptrain data --help)", names);
    return dpt_error(DPT_ERR_CONFIG, "no command \"data %s\"; there are %s (dptrain data --help)", name, names);
}
