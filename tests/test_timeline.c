/* test_timeline.c: spans as a trace (names with quotes, times in microseconds from the first span), and as a table with
 * shares and rates by formula; ceilings measured on the device; a session that fills a timeline. */
#include "program/timeline.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "check.h"
#include "dptrain/ops.h"
#include "graph_run.h"
#include "program/ceilings.h"
#include "program/session.h"

static char *read_file(const char *path) {
    FILE *in = fopen(path, "r");
    char *text = calloc(1, 1 << 16);
    if (in && text) {
        size_t n = fread(text, 1, (1 << 16) - 1, in);
        text[n] = 0;
    }
    if (in) fclose(in);
    return text;
}

static const char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), name);
    return path;
}

static int occurrences(const char *text, const char *word) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) n++;
    return n;
}

static void trace(void) {
    dpt_timeline *t;
    dpt_cost cost = {.flop = 7, .bytes = 64};
    CHECK_OK(dpt_timeline_create(3, &t));
    dpt_timeline_add(t, DPT_TRACK_OPS, "a \"quoted\"\\\n", "add", 11.5, 11.75, &cost);
    dpt_timeline_add(t, DPT_TRACK_STEP, "step 4", "step", 11.0, 12.0, NULL);
    CHECK_OK(dpt_timeline_write(t, path_of("trace.json")));
    char *text = read_file(path_of("trace.json"));
    CHECK(strstr(text, "\"name\":\"a \\\"quoted\\\"\\\\\\u000a\"") != NULL);
    CHECK(strstr(text, "\"pid\":3,\"tid\":2,\"ts\":500000.000,\"dur\":250000.000") != NULL);
    CHECK(strstr(text, "\"pid\":3,\"tid\":0,\"ts\":0.000,\"dur\":1000000.000") != NULL);
    CHECK(strstr(text, "\"args\":{\"op\":\"add\",\"bytes\":64,\"flop\":7}") != NULL);
    CHECK_EQ_I64(occurrences(text, "\"ph\":\"X\""), 2);
    CHECK_EQ_I64(occurrences(text, "{"), occurrences(text, "}"));
    free(text);
    CHECK_FAILS(dpt_timeline_write(t, "/nowhere/trace.json"), DPT_ERR_IO, "/nowhere/trace.json");
    dpt_timeline_destroy(&t);
    dpt_timeline_destroy(&t);
}

static void table(void) {
    dpt_timeline *t;
    const dpt_ceilings ceilings = {.bytes_per_s = 100e9, .flop_per_s = 50e9};
    CHECK_OK(dpt_timeline_create(0, &t));
    for (int i = 0; i < 3; i++) /* 3 ms, 150 MB, 30 MFLOP: 50 GB/s and 10 GFLOP/s */
        dpt_timeline_add(t, DPT_TRACK_OPS, "x", "mul", i, i + 1e-3, &(dpt_cost){.flop = 10e6, .bytes = 50e6});
    dpt_timeline_add(t, DPT_TRACK_EXCHANGE, "y", "bucket_wait", 5, 5.009, NULL);
    dpt_timeline_add(t, DPT_TRACK_STEP, "z", "step", 0, 9, NULL); /* is no operation */
    FILE *out = fopen(path_of("table.txt"), "w");
    CHECK_OK(dpt_timeline_table(t, &ceilings, out));
    fclose(out);
    char *text = read_file(path_of("table.txt"));
    char name[32];
    long long calls;
    double ms, share, gb, gb_share, gflop, gflop_share;
    const char *line = strstr(text, "\nmul");
    CHECK(line && sscanf(line, " %31s %lld %lf %lf %% %lf %lf %% %lf %lf", name, &calls, &ms, &share, &gb, &gb_share,
                         &gflop, &gflop_share) == 8);
    CHECK_EQ_I64(calls, 3);
    CHECK_NEAR(ms, 3, 1e-9);
    CHECK_NEAR(share, 25, 1e-9);
    CHECK_NEAR(gb, 50, 1e-9);
    CHECK_NEAR(gb_share, 50, 1e-9);
    CHECK_NEAR(gflop, 10, 1e-9);
    CHECK_NEAR(gflop_share, 20, 1e-9);
    CHECK(strstr(text, "bucket_wait") < line); /* the longest first */
    CHECK(strstr(text, "step") == NULL);
    free(text);
    dpt_timeline_destroy(&t);
}

static void ceilings(void) {
    dpt_context *ctx;
    dpt_ceilings c;
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx))) return;
    size_t before = ctx->device.allocated[DPT_FOR_COMPUTE];
    CHECK_OK(dpt_ceilings_measure(ctx->backend, &ctx->device, DPT_F32, false, &c));
    CHECK(c.bytes_per_s > 1e6 && c.bytes_per_s < 1e14);
    CHECK(c.flop_per_s > 1e6 && c.flop_per_s < 1e17);
    CHECK(ctx->device.allocated[DPT_FOR_COMPUTE] == before);
    dpt_context_destroy(&ctx);
}

/* Spans of a profiled run: one a call, in order, none before the run began or after it ended. */
static void session(void) {
    dpt_context *ctx;
    dpt_timeline *t;
    graph_run run;
    const float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    if (!CHECK_OK(check_context(MPI_COMM_SELF, 1, &ctx)) || !CHECK_OK(dpt_timeline_create(0, &t))) return;
    dpt_graph *g = dpt_graph_create(ctx);
    dpt_tensor *in = dpt_input(g, "x", DPT_F32, 2, ((int64_t[]){DPT_BATCH, 4}));
    dpt_output(g, "y", dpt_relu(dpt_scale(dpt_offset(in, 1), 2)));
    double begin_s = dpt_clock_s();
    if (CHECK_OK(graph_run_open(&run, ctx, g, 2, 2, true))) {
        CHECK_OK(dpt_session_profile(run.session, true, t));
        for (int k = 0; k < 2; k++) {
            CHECK_OK(graph_run_set(&run, "x", DPT_F32, x, 2));
            CHECK_OK(graph_run_forward(&run));
        }
        CHECK_EQ_I64(dpt_session_profile_read(run.session).runs, 2);
        CHECK_OK(dpt_session_profile(run.session, false, NULL));
        CHECK_OK(graph_run_set(&run, "x", DPT_F32, x, 2));
        CHECK_OK(graph_run_forward(&run)); /* adds nothing */
    }
    double took_us = 1e6 * (dpt_clock_s() - begin_s), last = -1, ts, dur;
    CHECK_OK(dpt_timeline_write(t, path_of("session.json")));
    char *text = read_file(path_of("session.json"));
    CHECK_EQ_I64(occurrences(text, "\"ph\":\"X\""), 6);
    for (const char *at = text; (at = strstr(at, "\"ts\":")) != NULL; at++) {
        if (!CHECK(sscanf(at, "\"ts\":%lf,\"dur\":%lf", &ts, &dur) == 2)) break;
        CHECK(ts >= last && dur >= 0 && ts + dur <= took_us);
        last = ts;
    }
    free(text);
    graph_run_close(&run);
    dpt_graph_destroy(&g);
    dpt_timeline_destroy(&t);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "timeline", {"trace", trace}, {"table", table}, {"ceilings", ceilings},
                      {"session", session});
}
