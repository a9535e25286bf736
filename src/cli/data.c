/* data.c: dptrain data: what is done with datasets outside of a training. Finds the command; each has a file of its
 * own, data_<command>.c. Runs without MPI. */
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

typedef struct data_command {
    const char *name;
    dpt_status (*run)(dpt_cli *cli);
    size_t (*usage)(char *text, size_t bytes, size_t length); /* "dptrain data <name> ...", appended */
} data_command;

static const data_command commands[] = {
    {"import", dpt_cli_data_import, dpt_cli_data_import_usage},
    {"info", dpt_cli_data_info, dpt_cli_data_info_usage},
    {"verify", dpt_cli_data_verify, dpt_cli_data_verify_usage},
    {"pack", dpt_cli_data_pack, dpt_cli_data_pack_usage},
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

dpt_status dpt_cli_data(dpt_cli *cli) {
    char usage[2000];
    dpt_cli_data_usage(usage, sizeof usage);
    DPT_CHECK(cli->argc >= 1, DPT_ERR_CONFIG, "%s", usage);
    const char *name = cli->argv[0];
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        cli->argc--;
        cli->argv++;
        return commands[i].run(cli);
    }
    return dpt_error(DPT_ERR_CONFIG, "no command \"data %s\"\n%s", name, usage);
}
