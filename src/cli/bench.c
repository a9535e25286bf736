/* bench.c: dptrain bench NAME... [seconds=S] [batch=B] [precision=P] [device=D] [comm=C] [emulate=F] [zero=1]
 * [profile=true]: steps a second of the zoo's models on random data in memory: forward, backward, exchange and update,
 * a line a workload in the format of tests/peers/torch_ddp.py. batch is per rank. samples/s is the sum over ranks, from
 * the median step of rank 0. On a device the data lie there, as the peer's do, and steps are queued in blocks, each
 * timed as a whole. profile adds where the time went. comm and emulate are comm.library and comm.emulate of a config.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_workload.h"
#include "cli/bind.h"
#include "cli/fatal.h"
#include "ops/op_list.h"
#include "program/ceilings.h"

typedef struct bench {
    dpt_cli *cli;
    dpt_context *ctx;
    dpt_context_options options;
    double seconds;
    int64_t batch; /* 0: the model's own */
    dpt_precision precision;
    bool profile;
    int zero; /* 1: optimiser moments shared out over ranks */
} bench;

static dpt_status read_option(bench *b, const char *word) {
    const char *value = strchr(word, '=') + 1;
    char *end;
    double number = strtod(value, &end);
    bool numeric = end != value && *end == 0 && number > 0;
    if (dpt_workload_context_word(word, &b->options)) return DPT_OK;
    if (strncmp(word, "seconds=", 8) == 0 && numeric)
        b->seconds = number;
    else if (strncmp(word, "batch=", 6) == 0 && numeric && number <= 1 << 24)
        b->batch = (int64_t)number;
    else if (strcmp(word, "zero=1") == 0)
        b->zero = 1;
    else if (strcmp(word, "profile=true") == 0)
        b->profile = true;
    else
        return dpt_workload_precision(
            word,
            "seconds=S, batch=B, precision=fp32|tf32|bf16|fp16, device=D, comm=C, emulate=F, zero=1 or profile=true",
            &b->precision);
    return DPT_OK;
}

/* What a profile sums up: the time of all runs, and of what is convolution or product in it. */
typedef struct shown {
    double runs, products_s;
} shown;

static bool is_product(int op) {
    return op == DPT_OP_CONV || op == DPT_OP_CONV_DGRAD || op == DPT_OP_CONV_WGRAD || op == DPT_OP_MATMUL ||
           op == DPT_OP_LINEAR || op == DPT_OP_LINEAR_DGRAD || op == DPT_OP_LINEAR_WGRAD;
}

/* A convolution as tests/peers/onednn_conv.c takes it, so that launch/bench-conv.sh can time the same beside it.
 * Nothing for the few that it does not know: dilated, transposed to another size, or with numbers of their own a
 * dimension. */
static void show_convolution(const dpt_call *call) {
    const dpt_conv_attr *a = &call->attr.conv;
    if (call->op != DPT_OP_CONV && call->op != DPT_OP_CONV_DGRAD && call->op != DPT_OP_CONV_WGRAD) return;
    for (int i = 0; i < a->spatial; i++)
        if (a->dilation[i] != 1 || a->kernel[i] != a->kernel[0] || a->stride[i] != a->stride[0] ||
            a->pad[i] != a->pad[0])
            return;
    printf(" %s:%lldx%lld", dpt_ops[call->op]->name, (long long)call->in[0].dim[0], (long long)a->in_dim[1]);
    for (int i = 0; i < a->spatial; i++) printf("x%lld", (long long)a->in_dim[2 + i]);
    printf(":%lld:%lld:%lld:%lld:%lld", (long long)a->weight_dim[0], (long long)a->kernel[0], (long long)a->stride[0],
           (long long)a->pad[0], (long long)a->groups);
}

static void show_call(void *user, const dpt_node *node, const dpt_call *call, double seconds) {
    shown *s = user;
    if (is_product(call->op)) s->products_s += seconds;
    printf("  %-24s %-20s %10.2f us", node->name, dpt_op_of(node)->name, 1e6 * seconds / s->runs);
    show_convolution(call);
    printf("\n");
}

/* Call by call, then by operation beside what the device can do at most. */
static dpt_status show_profile(const bench *b, const dpt_workload *w, const dpt_timeline *timeline) {
    dpt_session *session = w->trainer->train.session;
    dpt_profile p = dpt_session_profile_read(session);
    shown s = {.runs = (double)p.runs};
    double whole = 0;
    dpt_ceilings ceilings;
    dpt_session_profile_each(session, show_call, &s);
    for (int64_t i = 0; i < w->n_time; i++) whole += w->times[i] * w->block;
    DPT_TRY(dpt_ceilings_of_precision(b->ctx, b->precision, &ceilings));
    DPT_TRY(dpt_timeline_table(timeline, &ceilings, stdout));
    printf("  kernels %.2f us, collectives %.2f us, step %.2f us, outside both %.2f %%\n", 1e6 * p.kernels_s / s.runs,
           1e6 * p.collectives_s / s.runs, 1e6 * whole / s.runs, 100 * (whole - p.kernels_s - p.collectives_s) / whole);
    printf("  convolutions and products %.2f %% of the step\n", 100 * s.products_s / whole);
    return DPT_OK;
}

static void add_flop(void *user, const dpt_node *node, const dpt_call *call, double seconds) {
    (void)node, (void)seconds;
    *(double *)user += dpt_call_cost(call).flop;
}

static dpt_status time_it(const bench *b, dpt_workload *w, dpt_timeline *timeline, double *median) {
    DPT_TRY(dpt_workload_warm_up(w));
    DPT_TRY(dpt_session_profile(w->trainer->train.session, b->profile, timeline));
    DPT_TRY(dpt_workload_time(w, b->seconds, median));
    return b->profile && b->cli->control.rank == 0 ? show_profile(b, w, timeline) : DPT_OK;
}

static dpt_status run(const bench *b, const char *name, dpt_workload *w) {
    dpt_timeline *timeline = NULL;
    double median, flop = 0;
    int world = b->cli->control.world;
    if (b->profile) w->block = 1;
    if (b->profile) DPT_TRY(dpt_timeline_create(b->cli->control.rank, &timeline));
    dpt_status status = time_it(b, w, timeline, &median);
    dpt_session_profile(w->trainer->train.session, false, NULL);
    dpt_timeline_destroy(&timeline);
    if (status != DPT_OK || b->cli->control.rank != 0) return status;
    dpt_session_profile_each(w->trainer->train.session, add_flop, &flop);
    printf("%-10s ranks %d batch %lld steps %6lld samples/s %12.1f step_ms %9.3f gflop/s %8.1f\n", name, world,
           (long long)w->batch, (long long)w->n_time * w->block, (double)(world * w->batch) / median, 1e3 * median,
           world * flop / median / 1e9);
    fflush(stdout);
    return DPT_OK;
}

static dpt_status run_one(const bench *b, const char *name) {
    dpt_workload w;
    dpt_status status = dpt_workload_open(b->cli, b->ctx, name, b->batch, b->precision, b->zero, &w);
    if (status == DPT_OK) status = run(b, name, &w);
    dpt_workload_close(&w);
    return status;
}

dpt_status dpt_cli_bench(dpt_cli *cli) {
    if (cli->argc > 0 && strcmp(cli->argv[0], "allreduce") == 0) return dpt_cli_bench_allreduce(cli);
    bench b = {.cli = cli, .seconds = 5};
    dpt_status status = DPT_OK;
    int names = 0;
    dpt_context_options_init(&b.options);
    b.options.threads = cli->launch.threads;
    for (int i = 0; i < cli->argc && status == DPT_OK; i++) {
        if (strchr(cli->argv[i], '='))
            status = read_option(&b, cli->argv[i]);
        else
            names++;
    }
    if (status == DPT_OK && names == 0)
        status = dpt_error(DPT_ERR_CONFIG,
                           "usage: dptrain bench NAME... [seconds=S] [batch=B] [precision=P] [device=D] [comm=C] "
                           "[emulate=F] [zero=1] [profile=true]");
    if (status != DPT_OK) return dpt_control_agree(&cli->control, status);
    dpt_fatal_arm(cli, &b.options);
    status = dpt_context_create(cli->control.comm, &b.options, &b.ctx);
    if (status == DPT_OK) status = dpt_bind_near_device(b.ctx);
    for (int i = 0; i < cli->argc && status == DPT_OK; i++)
        if (!strchr(cli->argv[i], '=')) status = run_one(&b, cli->argv[i]);
    dpt_context_destroy(&b.ctx);
    return status;
}
