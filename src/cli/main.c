/* main.c: the dptrain program: finds the subcommand, starts MPI for those that use it, and ends with one message and
 * one exit code. The code of a failure is agreed on by all ranks: if they all come to the end within a few seconds the
 * lowest failed rank's message is printed once; if some do not come, this rank reports for itself and aborts the job.
 */
#include <mpi.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/fatal.h"

static const double agree_limit_s = 10;

typedef struct command {
    const char *name;
    dpt_status (*run)(dpt_cli *cli);
    bool mpi;
    const char *usage, *help;
} command;

static const command commands[] = {
    {"train", dpt_cli_train, true, "[config.yaml] [key=value ...]",
     "trains; with nothing at all: a small CNN on Fashion-MNIST"},
    {"eval", dpt_cli_eval, true, "PARAMS.h5 [config.yaml] [key=value ...]", "a trained model on the test samples"},
    {"explain", dpt_cli_explain, true, "[PASS] [MODE] [config.yaml] [key=value ...]",
     "the program of a training step, after a pass or finished"},
    {"bench", dpt_cli_bench, true,
     "NAME... | allreduce [seconds=S] [batch=B] [precision=P] [device=D] [comm=C] [emulate=F] [profile=true]",
     "steps a second on random data, of any model.name; allreduce: the exchange by itself, and how much of it hides"},
    {"data", dpt_cli_data, false,
     "import OUT.h5 DATASET=FILE[#PART] ... | info FILE.h5 ... | verify FILE.h5 ... | pack OUT.h5 IN.h5 ...",
     "makes HDF5 datasets from files of other formats, shows, checks and packs them (dptrain data --help)"},
    {"info", dpt_cli_info, false, "[layers]", "versions and devices; layers: what model.file may hold"},
};
enum { N_COMMAND = sizeof commands / sizeof *commands };

static void print_help(void) {
    printf("dptrain %s: data-parallel deep learning on MPI ranks\n\n", dpt_version());
    printf("  mpirun -np 8 ./dptrain [command] [words]\n\n");
    for (int i = 0; i < N_COMMAND; i++)
        printf("  %-8s %-44s %s\n", commands[i].name, commands[i].usage, commands[i].help);
    printf(
        "\nEvery key of a config: dptrain train --help. Exit codes: 0 done, 64 config or launch, 65 data, 66 no valid\n"
        "parameters, 70 internal, 71 device, 72 lost peer, 73 diverged, 74 input/output.\n");
}

static void print_command_help(const command *c) {
    if (c->run == dpt_cli_data) {
        char usage[4000];
        dpt_cli_data_usage(usage, sizeof usage);
        printf("%s\n", usage);
        return;
    }
    printf("dptrain %s %s\n\n%s\n", c->name, c->usage, c->help);
    if (c->run != dpt_cli_train && c->run != dpt_cli_eval && c->run != dpt_cli_explain) return;
    printf("\n");
    dpt_config_reference(stdout);
}

/* Words that are no subcommand belong to train: an override, a config file. */
static dpt_status find_command(const char *word, const command **found) {
    *found = NULL;
    size_t n = word ? strlen(word) : 0;
    if (word == NULL || strchr(word, '=') || (n > 5 && strcmp(word + n - 5, ".yaml") == 0) ||
        (n > 4 && strcmp(word + n - 4, ".yml") == 0)) {
        *found = &commands[0];
        return DPT_OK;
    }
    const char *names[N_COMMAND];
    for (int i = 0; i < N_COMMAND; i++) {
        names[i] = commands[i].name;
        if (strcmp(word, names[i]) == 0) *found = &commands[i];
    }
    if (*found) return DPT_OK;
    const char *near = dpt_nearest(word, names, N_COMMAND);
    return dpt_error(DPT_ERR_CONFIG, "no command \"%s\"%s%s%s (dptrain --help lists them)", word,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

dpt_log_level dpt_cli_log_level = DPT_LOG_INFO;

static void print_log(void *user, dpt_log_level level, const char *message) {
    (void)user;
    if (level < dpt_cli_log_level) return;
    if (level >= DPT_LOG_WARNING)
        fprintf(stderr, "dptrain: %s\n", message);
    else
        printf("%s\n", message);
}

/* A task that srun started alone, beside others in the same plight: task 0 speaks for them. */
static bool is_silent_singleton(void) {
    const char *task = getenv("SLURM_PROCID"), *ompi = getenv("OMPI_COMM_WORLD_SIZE");
    return ompi == NULL && task != NULL && strcmp(task, "0") != 0;
}

static void print_failure(const char *message) {
    static const char own[] = "rank 0: "; /* what rank 0 says of itself needs no name */
    if (strncmp(message, own, sizeof own - 1) == 0) message += sizeof own - 1;
    fflush(stdout);
    fprintf(stderr, "dptrain: %s\n", message);
}

/* Waits, within the limit, until all ranks are here. */
static bool all_here(MPI_Comm comm) {
    MPI_Request request;
    int done = 0;
    if (MPI_Ibarrier(comm, &request) != MPI_SUCCESS) return false;
    for (double end = dpt_clock_s() + agree_limit_s; !done && dpt_clock_s() < end;) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        struct timespec pause = {.tv_nsec = 1000000};
        if (!done) nanosleep(&pause, NULL);
    }
    return done != 0;
}

/* The rank that a message names and its host: this rank's, or if all ranks are here, which is then collective, the
 * named one's. */
static void find_cause(dpt_cli *cli, const char *message, bool all, char *host, size_t bytes) {
    int *rank = &cli->report.rank;
    if (sscanf(message, "rank %d:", rank) != 1 || *rank < 0 || *rank >= cli->control.world) *rank = 0;
    gethostname(host, bytes - 1);
    if (!all) return;
    if (dpt_control_broadcast(&cli->control, rank, sizeof *rank, 0) == DPT_OK)
        dpt_control_broadcast(&cli->control, host, bytes, *rank);
}

/* Rank 0 has the run directory; a rank that ends alone knows where it is. */
static void write_report(dpt_cli *cli, int code, const char *message, const char *host) {
    const char *folder = atomic_load(&cli->folder);
    bool first;
    char now[32];
    if (cli->run == NULL && folder == NULL) return;
    dpt_clock_utc(now, sizeof now);
    cli->report.exit_code = code;
    cli->report.message = code ? message : NULL;
    cli->report.host = host;
    cli->report.ended = now;
    dpt_status status = cli->run ? dpt_exit_report_write(dpt_run_dir_path(cli->run), &cli->report)
                                 : dpt_exit_report_write_first(folder, cli->control.rank, &cli->report, &first);
    if (status != DPT_OK) print_failure(dpt_last_error());
    dpt_run_dir_close(&cli->run);
}

/* One message, one code. */
static int conclude(dpt_cli *cli, dpt_status status, bool mpi) {
    char message[1200], host[256] = "";
    int code = dpt_exit_code(status, cli->context);
    bool together = mpi && status != DPT_OK && cli->control.world > 1;
    dpt_fatal_disarm();
    if (together && !all_here(cli->control.comm)) {
        snprintf(message, sizeof message, "rank %d: %s", cli->control.rank, dpt_last_error());
        print_failure(message);
        find_cause(cli, message, false, host, sizeof host);
        write_report(cli, code, message, host);
        MPI_Abort(MPI_COMM_WORLD, code);
    }
    snprintf(message, sizeof message, "%s", status == DPT_OK ? "" : dpt_last_error());
    bool speaks = cli->control.rank == 0 && !(cli->control.world == 1 && is_silent_singleton());
    if (status != DPT_OK && speaks) print_failure(message);
    find_cause(cli, message, together, host, sizeof host);
    write_report(cli, code, message, host);
    dpt_free(cli->folder);
    return code;
}

static int run_without_mpi(dpt_cli *cli, const command *c) {
    dpt_status status = dpt_launch_prepare(&cli->launch);
    dpt_log_set(print_log, NULL);
    if (status == DPT_OK) status = c->run(cli);
    return conclude(cli, status, false);
}

static int run_with_mpi(dpt_cli *cli, const command *c) {
    dpt_status status = dpt_launch_check_tasks();
    if (status != DPT_OK) return conclude(cli, status, false);
    status = dpt_launch_prepare(&cli->launch);
    int provided, world, no_words = 0;
    MPI_Init_thread(&no_words, NULL, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    if (status == DPT_OK) status = dpt_control_open(&cli->control, MPI_COMM_WORLD);
    if (cli->control.rank == 0) dpt_log_set(print_log, NULL);
    if (status == DPT_OK) status = dpt_launch_check(world);
    if (status == DPT_OK) status = c->run(cli);
    int code = conclude(cli, status, true);
    dpt_control_close(&cli->control);
    MPI_Finalize();
    return code;
}

static bool asks_for_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

/* What needs no ranks is said by the first of them. */
static bool is_first_rank(void) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    return rank == NULL || strcmp(rank, "0") == 0;
}

/* Rank 0 has a socket for every other rank. */
static void raise_file_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files); /* else the watchdog says what is missing */
}

int main(int argc, char **argv) {
    char started[32];
    dpt_clock_utc(started, sizeof started);
    dpt_cli cli = {.control = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1},
                   .report = {.started = started, .step = -1, .epoch = -1}};
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word && asks_for_help(word)) {
        if (is_first_rank()) print_help();
        return 0;
    }
    if (word && strcmp(word, "--version") == 0) {
        if (is_first_rank()) printf("dptrain %s\n", dpt_version());
        return 0;
    }
    raise_file_limit();
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow (ulimit -f) fails like one on a full disk */
    const command *c;
    if (find_command(word, &c) != DPT_OK) {
        if (is_first_rank()) print_failure(dpt_last_error());
        return DPT_EXIT_CONFIG;
    }
    bool named = word && strcmp(word, c->name) == 0;
    cli.argc = argc - 1 - named;
    cli.argv = argv + 1 + named;
    for (int i = 0; i < cli.argc; i++)
        if (asks_for_help(cli.argv[i])) {
            if (is_first_rank()) print_command_help(c);
            return 0;
        }
    const bool mpi = c->mpi || (c->run == dpt_cli_data && dpt_cli_data_by_ranks(cli.argv[0]) && dpt_launch_is_by_mpi());
    if (!mpi && !is_first_rank()) return 0;
    return mpi ? run_with_mpi(&cli, c) : run_without_mpi(&cli, c);
}
