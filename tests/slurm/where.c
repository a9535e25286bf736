/* where.c: which device each rank of a job gets: a line a rank, "rank 1 on n1: cuda 1 (CUDA on the host, ...)", in
 * their order; warnings and errors from rank 0 on stderr, the exit code as dptrain's. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "cli/exit_code.h"
#include "dptrain/dptrain.h"

static void print_warning(void *user, dpt_log_level level, const char *message) {
    (void)user;
    if (level >= DPT_LOG_WARNING) fprintf(stderr, "%s\n", message);
}

int main(int argc, char **argv) {
    enum { LINE = 256, MOST = 64 };
    static char lines[MOST][LINE];
    char mine[LINE], host[64] = "";
    int provided;
    dpt_context *ctx = NULL;
    dpt_context_options o;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    int rank, world;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    if (rank == 0) dpt_log_set(print_warning, NULL);
    dpt_context_options_init(&o);
    o.device = "cuda";
    dpt_status status = dpt_context_create(MPI_COMM_WORLD, &o, &ctx);
    gethostname(host, sizeof host - 1);
    snprintf(mine, sizeof mine, "rank %d on %s: %.150s", rank, host, ctx ? dpt_context_device(ctx) : "none");
    if (status == DPT_OK && world <= MOST) MPI_Gather(mine, LINE, MPI_CHAR, lines, LINE, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int r = 0; r < world && rank == 0 && status == DPT_OK; r++) puts(lines[r]);
    if (rank == 0 && status != DPT_OK) fprintf(stderr, "%s\n", dpt_last_error());
    dpt_context_destroy(&ctx);
    MPI_Finalize();
    return dpt_exit_code(status, DPT_EXIT_WHILE_RUNNING);
}
