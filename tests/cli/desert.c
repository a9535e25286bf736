/* desert.c: ranks that sum gradients until one of them fails, for tests/cli/watchdog.sh:
 *
 *   mpirun -np N desert WHAT RANK DEVICE COMM
 *
 * WHAT: skip: the rank leaves one collective out; swap: it runs another in its place; sleep: it stops in the step for
 * good; leave: it closes its context; none. Each step begins with an exchange of the control plane, as the trainer's
 * does. on_fatal prints what it was told and ends the process with 3; without a failure it ends with 0 after 200 steps.
 * The others are really blocked in MPI or NCCL then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"

enum { COUNT = 40000, STEPS = 200, WHEN = 100 };

static int my_rank;

static void on_fatal(void *user, const dpt_failure *f) {
    char line[1400];
    (void)user;
    int n = snprintf(line, sizeof line, "told %d: status %d rank %d host %s step %lld phase %s: %s\n", my_rank,
                     (int)f->status, f->rank, f->host, (long long)f->step, f->phase, f->message);
    if (write(STDOUT_FILENO, line, (size_t)n) != n) _exit(4);
    usleep(300000); /* mpirun ends the others as soon as one has ended */
    _exit(3);
}

static dpt_status work(dpt_context *c, const char *what, bool odd, void *gradient, dpt_stream *stream) {
    for (int64_t step = 0; step < STEPS; step++) {
        int64_t rows = 1;
        bool now = odd && step == WHEN;
        dpt_position_step(c->position, step);
        DPT_TRY(dpt_control_sum_i64(&c->control, &rows, 1));
        if (now && strcmp(what, "leave") == 0) return DPT_OK;
        if (now && strcmp(what, "sleep") == 0) pause();
        if (now && strcmp(what, "skip") == 0) continue;
        bool other = now && strcmp(what, "swap") == 0;
        DPT_TRY(dpt_comm_run(&c->comm, other ? DPT_BROADCAST : DPT_ALL_REDUCE, gradient, COUNT, DPT_F32, stream));
        DPT_TRY(c->device.ops->stream_sync(&c->device, stream));
    }
    return DPT_OK;
}

static dpt_status run(char **word) {
    dpt_context_options o;
    dpt_context *c;
    dpt_stream *stream = NULL;
    void *gradient;
    dpt_context_options_init(&o);
    o.device = word[2];
    o.comm = word[3];
    o.stuck_s = 0.6;
    o.on_fatal = on_fatal;
    DPT_TRY(dpt_context_create(MPI_COMM_WORLD, &o, &c));
    my_rank = dpt_context_rank(c);
    DPT_TRY(c->device.ops->alloc(&c->device, COUNT * sizeof(float), DPT_FOR_COMM, &gradient));
    DPT_TRY(c->device.ops->stream_create(&c->device, 0, &stream));
    dpt_position_phase(c->position, DPT_PHASE_STEP);
    dpt_status status = work(c, word[0], my_rank == atoi(word[1]), gradient, stream);
    dpt_position_phase(c->position, DPT_PHASE_END);
    c->device.ops->stream_destroy(&c->device, stream);
    c->device.ops->release(&c->device, gradient, COUNT * sizeof(float), DPT_FOR_COMM);
    dpt_context_destroy(&c);
    return status;
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided); /* NCCL on the host needs it */
    if (argc != 5) return 64;
    dpt_status status = run(argv + 1);
    if (status != DPT_OK) printf("failed %d: %s\n", my_rank, dpt_last_error());
    bool left = strcmp(argv[1], "leave") == 0 && my_rank == atoi(argv[2]);
    if (left) pause(); /* mpirun ends it; in MPI_Finalize that makes Open MPI 4.1's mpirun crash now and then */
    MPI_Finalize();
    return status == DPT_OK ? 0 : 1;
}
