/* test_fabric.c: described fabrics and their mistakes; the line through measured points; the cache of figures, good,
 * damaged and unwritable; bucket sizes by formula, and where a graph's buckets begin. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/comm_emulated.h"
#include "backend/fabric_measure.h"
#include "base/memory.h"
#include "check.h"
#include "graph/graph.h"
#include "models/zoo.h"
#include "program/arenas.h"
#include "program/buckets.h"
#include "train/trainer.h"

/* ---- words ---- */

static void check_fabric(const char *text, double latency_s, double bandwidth) {
    dpt_fabric f;
    if (!CHECK_OK(dpt_fabric_parse(text, &f))) return;
    CHECK_NEAR(f.latency_s * 1e6, latency_s * 1e6, 1e-9);
    CHECK_NEAR(f.bandwidth / 1e9, bandwidth / 1e9, 1e-9);
    CHECK_EQ_TEXT(f.name, text);
}

static void words(void) {
    check_fabric("30us,45GB/s", 30e-6, 45e9);
    check_fabric("0.5ms, 200MB/s", 0.5e-3, 200e6);
    check_fabric("1 s,1e-3 GB/s", 1, 1e6);
    check_fabric("0us,100GB/s", 0, 100e9);
    check_fabric("8xnvlink", 25e-6, 271e9);
    check_fabric("4-nodes", 108.6e-6, 235e9);
    check_fabric("128-nodes", 317.6e-6, 177e9);
}

static void mistakes(void) {
    static const struct {
        const char *text, *message;
    } bad[] = {{"8xnvlnk", "no fabric \"8xnvlnk\" (did you mean \"8xnvlink\"?)"},
               {"", "no fabric \"\": there are 8xnvlink"},
               {"30us", "no fabric \"30us\""},
               {"fast,45GB/s", "\"fast\" is no latency"},
               {"30,45GB/s", "\"30\" is no latency: a number and us, ms or s"},
               {"30us,45", "\"45\" is no bandwidth: a number and GB/s or MB/s"},
               {"30us,45Gbit/s", "\"45Gbit/s\" is no bandwidth"},
               {"30us,", "\"\" is no bandwidth"},
               {",45GB/s", "\"\" is no latency"},
               {"nanus,45GB/s", "\"nanus\" is no latency"},
               {"30us,infGB/s", "\"infGB/s\" is no bandwidth"},
               {"-1us,45GB/s", "a latency of -1e-06 s"},
               {"11s,45GB/s", "a latency of 11 s: from 0 to 10 s"},
               {"30us,0GB/s", "a bandwidth of 0 GB/s"},
               {"30us,45GB/s,3", "\"45GB/s,3\" is no bandwidth"},
               {"100000000000000000000000000000000000us,1GB/s", "is no latency"}};
    dpt_fabric f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(dpt_fabric_parse(bad[i].text, &f), DPT_ERR_CONFIG, bad[i].message);
}

/* Half of the bandwidth is reached where latency and transfer take equally long: NCCL's measured sizes. */
static void seconds(void) {
    dpt_fabric f = {30e-6, 45e9, ""};
    CHECK_NEAR(dpt_fabric_seconds(&f, DPT_ALL_REDUCE, 45000000), 0.00103, 1e-12);
    CHECK_NEAR(dpt_fabric_seconds(&f, DPT_ALL_REDUCE, 0), 30e-6, 1e-12);
    CHECK_NEAR(dpt_fabric_seconds(&f, DPT_REDUCE_SCATTER, 45000000) + dpt_fabric_seconds(&f, DPT_ALL_GATHER, 45000000),
               0.00103, 1e-12);
    CHECK_OK(dpt_fabric_parse("8xnvlink", &f));
    CHECK_NEAR(f.latency_s * f.bandwidth / 1e6, 7, 0.05);
    CHECK_OK(dpt_fabric_parse("128-nodes", &f));
    CHECK_NEAR(f.latency_s * f.bandwidth / 1e6, 56, 0.01);
}

/* ---- figures ---- */

static void fit(void) {
    double bytes[] = {4e3, 3e4, 2e5, 2e6, 1.6e7}, exact[5], noisy[5], flat[] = {1e-5, 1e-5, 1e-5, 1e-5, 9e-6},
           steep[] = {1e-7, 3e-6, 4e-5, 5e-4, 4e-3};
    dpt_fabric f;
    for (int i = 0; i < 5; i++) {
        exact[i] = 20e-6 + bytes[i] / 5e9;
        noisy[i] = exact[i] * (i % 2 ? 1.05 : 0.95);
    }
    dpt_fabric_fit(bytes, exact, 5, &f);
    CHECK_NEAR(f.latency_s * 1e6, 20, 1e-9);
    CHECK_NEAR(f.bandwidth / 1e9, 5, 1e-9);
    dpt_fabric_fit(bytes, noisy, 5, &f);
    CHECK_NEAR(f.latency_s * 1e6, 20, 0.1);
    CHECK_NEAR(f.bandwidth / 1e9, 5, 0.1);
    dpt_fabric_fit(bytes, exact, 3, &f);
    CHECK_NEAR(f.bandwidth / 1e9, 5, 1e-6);
    dpt_fabric_fit(bytes, flat, 5, &f); /* nothing grows */
    CHECK(f.latency_s > 8e-6 && f.latency_s < 1.1e-5 && isfinite(f.bandwidth) && f.bandwidth > 0);
    dpt_fabric_fit(bytes, steep, 5, &f); /* no latency */
    CHECK(f.latency_s == 0 && f.bandwidth > 1e9 && f.bandwidth < 5e10);
}

static dpt_context *open_context(const char *emulate) {
    dpt_context_options o;
    dpt_context *ctx = NULL;
    dpt_context_options_init(&o);
    o.device = check_device();
    o.comm_thread = 1;
    o.emulate = emulate;
    CHECK_OK(dpt_context_create(MPI_COMM_WORLD, &o, &ctx));
    return ctx;
}

/* The same on all ranks. */
static dpt_fabric find(dpt_context *ctx) {
    dpt_fabric f = {0}, root;
    CHECK_OK(dpt_fabric_find(&ctx->control, &ctx->device, &ctx->comm, &f));
    root = f;
    CHECK_OK(dpt_control_broadcast(&ctx->control, &root, sizeof root, 0));
    CHECK(root.latency_s == f.latency_s && root.bandwidth == f.bandwidth);
    CHECK_EQ_TEXT(f.name, root.name);
    CHECK(f.latency_s >= 0 && f.latency_s < 10 && f.bandwidth > 1 && isfinite(f.bandwidth));
    return f;
}

/* The one file under the cache folder. */
static bool cache_file(char *path, size_t bytes) {
    char command[4200];
    snprintf(command, sizeof command, "ls %s/dptrain/fabric-*.txt 2>/dev/null", getenv("XDG_CACHE_HOME"));
    FILE *pipe = popen(command, "r");
    bool found = pipe && fgets(path, (int)bytes, pipe) != NULL;
    if (pipe) pclose(pipe);
    if (found) path[strcspn(path, "\n")] = 0;
    return found;
}

static void overwrite(const char *path, const char *text) {
    FILE *file = check_rank() == 0 ? fopen(path, "w") : NULL;
    if (file) {
        fputs(text, file);
        fclose(file);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void cache(void) {
    char path[4096] = "", line[128] = "", bad[160];
    dpt_context *ctx = open_context(NULL);
    if (ctx == NULL) return;
    setenv("XDG_CACHE_HOME", check_tmpdir(), 1);
    dpt_fabric measured = find(ctx);
    CHECK_EQ_TEXT(measured.name, "measured");
    MPI_Barrier(MPI_COMM_WORLD);
    if (!CHECK(cache_file(path, sizeof path))) return;
    dpt_fabric again = find(ctx);
    CHECK_EQ_TEXT(again.name, "from an earlier job");
    CHECK_NEAR(again.latency_s * 1e6, measured.latency_s * 1e6, 1e-6);
    CHECK_NEAR(again.bandwidth / 1e9, measured.bandwidth / 1e9, 1e-6);
    FILE *file = fopen(path, "r");
    CHECK(file && fgets(line, sizeof line, file) != NULL);
    if (file) fclose(file);
    char *digit = strchr(line, 'e');
    if (!CHECK(strncmp(line, "dptrain-fabric 1 ", 17) == 0 && digit != NULL)) return;
    snprintf(bad, sizeof bad, "%s", line);
    bad[digit - line - 1] ^= 1; /* another number, the old check */
    const char *const garbage[] = {"",
                                   "\n",
                                   "dptrain-fabric 1 nan nan 0\n",
                                   "dptrain-fabric 2 1e-5 1e9 0\n",
                                   bad,
                                   "\x7f"
                                   "ELF\x02\x01"};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        overwrite(path, garbage[i]);
        CHECK_EQ_TEXT(find(ctx).name, "measured");
        MPI_Barrier(MPI_COMM_WORLD);
        CHECK_EQ_TEXT(find(ctx).name, "from an earlier job");
    }
    dpt_context_destroy(&ctx);
}

/* A file stands where the folder should be, so that root cannot write there either. */
static void unwritable_cache(void) {
    char path[4096];
    dpt_context *ctx = open_context(NULL);
    if (ctx == NULL) return;
    snprintf(path, sizeof path, "%s/a-file", check_tmpdir());
    overwrite(path, "no folder\n");
    setenv("XDG_CACHE_HOME", path, 1);
    CHECK_EQ_TEXT(find(ctx).name, "measured");
    CHECK_EQ_TEXT(find(ctx).name, "measured");
    setenv("XDG_CACHE_HOME", check_tmpdir(), 1);
    dpt_context_destroy(&ctx);
}

/* Memory on one rank alone: all ranks fail, and what was made goes. */
static void out_of_memory(void) {
    dpt_context *ctx = open_context(NULL);
    dpt_fabric f;
    if (ctx == NULL) return;
    size_t before = ctx->device.allocated[DPT_FOR_COMM];
    if (check_rank() == check_world() - 1) dpt_alloc_fail_at(1);
    CHECK_FAILS(dpt_fabric_measure(&ctx->control, &ctx->device, &ctx->comm, &f), DPT_ERR_MEMORY, "planned failure");
    dpt_alloc_fail_at(0);
    CHECK_EQ_I64(ctx->device.allocated[DPT_FOR_COMM], before);
    CHECK_OK(dpt_fabric_measure(&ctx->control, &ctx->device, &ctx->comm, &f));
    CHECK_EQ_I64(ctx->device.allocated[DPT_FOR_COMM], before);
    dpt_context_destroy(&ctx);
}

static void emulated_figures(void) {
    dpt_context *ctx = open_context("40us,3GB/s");
    if (ctx == NULL) return;
    dpt_fabric f = find(ctx);
    CHECK_EQ_TEXT(f.name, "emulated");
    CHECK_NEAR(f.latency_s * 1e6, 40, 1e-9);
    CHECK_NEAR(f.bandwidth / 1e9, 3, 1e-9);
    dpt_context_destroy(&ctx);
}

/* ---- buckets ---- */

static const int64_t mib = 1 << 20;

static void check_sizes(double latency_s, double bandwidth, int64_t gradient_mib, double bytes_mib) {
    dpt_fabric f = {latency_s, bandwidth, ""};
    dpt_bucket_sizes s = dpt_bucket_sizes_for(&f, gradient_mib * mib);
    CHECK_NEAR((double)s.bytes / (double)mib, bytes_mib, 0);
    CHECK_EQ_I64(s.last * 8, s.bytes);
}

/* latency * bandwidth in MiB, in words: the first argument, in s, times the second over 2^20. */
static void sizes(void) {
    check_sizes(1e-6, 1e9, 1000, 8); /* 1 kB: 1 MiB, but not more than 128 of them */
    check_sizes(1e-6, 1e9, 100, 1);  /* the least */
    check_sizes(8.0 / 1e3, (double)mib * 1e3, 1000, 8);
    check_sizes(11.0 / 1e3, (double)mib * 1e3, 1000, 8); /* to the nearest power of two: below 8 sqrt(2) */
    check_sizes(12.0 / 1e3, (double)mib * 1e3, 1000, 16);
    check_sizes(1, 1e9, 1000, 64); /* the most */
    check_sizes(1, 1e9, 100, 16);  /* at least 4 of them */
    check_sizes(1, 1e9, 3, 1);
    check_sizes(25e-6, 271e9, 1360, 16); /* 8 x NVLink, 356 million parameters: 6.5 MiB, and 128 of them */
    check_sizes(25e-6, 271e9, 500, 8);
}

static dpt_arena_plan plan_of(const char *model_name, int64_t bucket_bytes, int64_t last_bytes, dpt_graph **g) {
    const dpt_model *model = NULL;
    dpt_arena_plan plan = {0};
    *g = dpt_graph_create(NULL);
    bool ok = CHECK_OK(dpt_model_find(model_name, &model)) && CHECK_OK(model->build(*g, &model->defaults));
    if (ok) CHECK_OK(dpt_arena_plan_make(*g, 0, bucket_bytes, last_bytes, &plan));
    return plan;
}

/* Every byte of the gradients in one bucket, in order; only the last holds the loss. */
static void check_cover(const dpt_arena_plan *p) {
    int64_t segments = 0, end = 0;
    for (int64_t k = 0; k < p->n_bucket; k++) {
        const dpt_bucket *b = &p->bucket[k];
        CHECK(b->first == segments && b->offset >= end && b->offset - end < DPT_ALIGNMENT && b->bytes > 0);
        CHECK(b->tail == (k == p->n_bucket - 1));
        if (b->count) CHECK_EQ_I64(b->offset, p->segment[b->first].grad_offset);
        segments += b->count;
        end = b->offset + b->bytes;
    }
    CHECK_EQ_I64(segments, p->n_segment);
    CHECK_EQ_I64(end, p->loss.offset + p->loss.bytes);
}

/* mlp, in arena order: fc3.bias 40, fc3.weight 20480, fc2.bias 2048, fc2.weight 1048576, fc1.bias 2048, fc1.weight
 * 1605632 bytes (bias behind weight in the order of making, so before it here), in slots of 256; then the loss. */
static void last_bucket(void) {
    static const struct {
        int64_t bucket_bytes, last_bytes, n_bucket, in_last;
    } want[] = {{4 << 20, 0, 1, 6},       {1 << 20, 0, 2, 2},
                {4 << 20, 1 << 19, 2, 1}, {1 << 20, 1 << 17, 3, 1},
                {1 << 20, 1605888, 3, 1}, {1 << 20, 1605632 + 2048 + 256, 2, 2},
                {4 << 20, 4 << 20, 1, 6}, {1, 1, 6, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        dpt_graph *g;
        dpt_arena_plan p = plan_of("mlp", want[i].bucket_bytes, want[i].last_bytes, &g);
        check_cover(&p);
        CHECK_EQ_I64(p.n_bucket, want[i].n_bucket);
        CHECK_EQ_I64(p.bucket[p.n_bucket - 1].count, want[i].in_last);
        dpt_arena_plan_free(&p);
        dpt_graph_destroy(&g);
    }
}

/* cnn: what it reads first is small: there the last bucket is as small as asked, whatever the others are. */
static void small_last_bucket(void) {
    for (int64_t last = 1024; last <= 1 << 20; last *= 4) {
        dpt_graph *g;
        dpt_arena_plan p = plan_of("cnn", 1 << 20, last, &g);
        check_cover(&p);
        CHECK(p.bucket[p.n_bucket - 1].bytes <=
              (last > 1284 ? last : 1284)); /* conv1.weight, in its slot, and the loss */
        dpt_arena_plan_free(&p);
        dpt_graph_destroy(&g);
    }
}

/* ---- in a trainer ---- */

static char said[256];
static void hear(void *user, dpt_log_level level, const char *message) {
    (void)user, (void)level;
    if (strncmp(message, "all-reduce: ", 12) == 0) snprintf(said, sizeof said, "%s", message);
}

static dpt_status make_trainer(dpt_context *ctx, const char *model_name, int64_t bucket_bytes, dpt_graph **g,
                               dpt_trainer **t) {
    const dpt_model *model;
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = 4;
    o.bucket_bytes = bucket_bytes;
    o.no_evaluation = 1;
    said[0] = 0;
    DPT_TRY(dpt_model_find(model_name, &model));
    *g = dpt_graph_create(ctx);
    DPT_TRY(model->build(*g, &model->defaults));
    return dpt_trainer_create(*g, &o, t);
}

static void check_trainer(dpt_context *ctx, const char *model, int64_t bucket_bytes, int64_t buckets, bool measured) {
    dpt_graph *g = NULL;
    dpt_trainer *t = NULL;
    if (CHECK_OK(make_trainer(ctx, model, bucket_bytes, &g, &t))) {
        CHECK_EQ_I64(t->plan.n_bucket, buckets);
        CHECK((said[0] != 0) == measured);
        if (measured) CHECK(strstr(said, "; buckets of 1 MiB, the last of 0.125 MiB") != NULL);
    }
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
}

/* Emulated, so that the figures are known: 1 MiB. mlp: see last_bucket. */
static void trainers_with_overlap(void) {
    dpt_context *ctx = open_context("1us,1GB/s");
    if (ctx == NULL) return;
    dpt_log_set(hear, NULL);
    check_trainer(ctx, "mlp", 0, 3, true);
    check_trainer(ctx, "mlp", 4 << 20, 2, false);  /* asked for */
    check_trainer(ctx, "mlp", 24 << 20, 1, false); /* all of it fits into the last, of 3 MiB */
    check_trainer(ctx, "surrogate", 0, 1, false);  /* too little to cut */
    ctx->device.deterministic = true;
    check_trainer(ctx, "mlp", 0, 2, false); /* 4 MiB, and fc1.weight last */
    dpt_log_set(NULL, NULL);
    dpt_context_destroy(&ctx);
}

/* Alone, nothing is exchanged; with a thread at several ranks it is measured. Ranks that ask for different sizes fail
 * together, whoever of them would measure. */
static void trainers_over_ranks(void) {
    dpt_context *ctx = open_context(NULL);
    if (ctx == NULL) return;
    setenv("XDG_CACHE_HOME", check_tmpdir(), 1);
    dpt_log_set(hear, NULL);
    dpt_graph *g = NULL;
    dpt_trainer *t = NULL;
    CHECK_OK(make_trainer(ctx, "mlp", 0, &g, &t));
    CHECK((said[0] != 0) == (check_world() > 1));
    dpt_trainer_destroy(&t);
    dpt_graph_destroy(&g);
    for (int odd = 0; odd < 2 && check_world() > 1; odd++) {
        CHECK_FAILS(make_trainer(ctx, "mlp", check_rank() == odd ? 64 << 20 : 0, &g, &t), DPT_ERR_CONFIG,
                    "the graph or the trainer's options differs between ranks");
        dpt_graph_destroy(&g);
    }
    dpt_log_set(NULL, NULL);
    dpt_context_destroy(&ctx);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "fabric", {"words", words}, {"mistakes", mistakes}, {"seconds", seconds},
                      {"fit", fit}, {"cache", cache}, {"unwritable_cache", unwritable_cache},
                      {"out_of_memory", out_of_memory}, {"emulated_figures", emulated_figures}, {"sizes", sizes},
                      {"last_bucket", last_bucket}, {"small_last_bucket", small_last_bucket},
                      {"trainers_with_overlap", trainers_with_overlap}, {"trainers_over_ranks", trainers_over_ranks});
}
