/* test_run_dir.c: the run directory and the other things a job script sees: its lock, its files, exit codes, the launch
 * check, progress lines, metrics. */
#include "cli/run_dir.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"
#include "cli/exit_code.h"
#include "cli/exit_report.h"
#include "cli/launch_check.h"
#include "cli/progress.h"
#include "dptrain/types.h"
#include "train/metrics_log.h"

/* A path in the folder of this test; one at a time. */
static const char *at(const char *name) {
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), name);
    return path;
}

static void write_text(const char *path, const char *text) {
    FILE *out = fopen(path, "w");
    if (!CHECK(out != NULL)) return;
    fputs(text, out);
    fclose(out);
}

/* The content of a file, "" where there is none; one at a time. */
static const char *read_text(const char *path) {
    static char text[4096];
    FILE *in = fopen(path, "r");
    size_t n = in ? fread(text, 1, sizeof text - 1, in) : 0;
    if (in) fclose(in);
    text[n] = '\0';
    return text;
}

static void open_and_write(void) {
    dpt_run_dir *run;
    if (!CHECK_OK(dpt_run_dir_open(at("deep/er/run"), "cnn", false, &run))) return;
    CHECK_EQ_TEXT(dpt_run_dir_path(run), at("deep/er/run"));
    char host[256], lock[300];
    gethostname(host, sizeof host);
    snprintf(lock, sizeof lock, "%s %ld\n", host, (long)getpid());
    CHECK_EQ_TEXT(read_text(at("deep/er/run/lock")), lock);
    CHECK_OK(dpt_run_dir_write(run, "config.yaml", "batch: 1\n"));
    CHECK_OK(dpt_run_dir_write(run, "config.yaml", "batch: 2\n"));
    CHECK_EQ_TEXT(read_text(at("deep/er/run/config.yaml")), "batch: 2\n");
    CHECK(access(at("deep/er/run/config.yaml.tmp"), F_OK) != 0);
    char *file = dpt_run_dir_file(run, "params.h5");
    CHECK_EQ_TEXT(file, at("deep/er/run/params.h5"));
    dpt_free(file);
    CHECK_FAILS(dpt_run_dir_write(run, "none/x", "y"), DPT_ERR_IO, "none/x cannot be written: No such file");
    dpt_run_dir_close(&run);
    CHECK(run == NULL);
    dpt_run_dir_close(&run);
    CHECK_EQ_TEXT(read_text(at("deep/er/run/lock")), "");
}

static void not_empty(void) {
    dpt_run_dir *run;
    mkdir(at("full"), 0777);
    write_text(at("full/precious"), "data");
    CHECK_FAILS(dpt_run_dir_open(at("full"), "cnn", false, &run), DPT_ERR_CONFIG, "is not empty (precious)");
    CHECK(run == NULL);
    CHECK(access(at("full/lock"), F_OK) != 0); /* left as it was */
    CHECK_OK(dpt_run_dir_open(at("full"), "cnn", true, &run));
    CHECK_EQ_TEXT(read_text(at("full/precious")), "data");
    dpt_run_dir_close(&run);
    CHECK_FAILS(dpt_run_dir_open(at("full"), "cnn", false, &run), DPT_ERR_CONFIG, "is not empty");
    mkdir(at("empty"), 0777);
    CHECK_OK(dpt_run_dir_open(at("empty"), "cnn", false, &run));
    dpt_run_dir_close(&run);
    CHECK_OK(dpt_run_dir_open(at("empty"), "cnn", false, &run)); /* a free lock is not content */
    dpt_run_dir_close(&run);
}

static void cannot_be_made(void) {
    dpt_run_dir *run;
    write_text(at("file"), "");
    CHECK_FAILS(dpt_run_dir_open(at("file/run"), "cnn", false, &run), DPT_ERR_IO, "cannot be made: Not a directory");
    CHECK_FAILS(dpt_run_dir_open(at("file"), "cnn", false, &run), DPT_ERR_IO, "cannot be made: Not a directory");
    CHECK_FAILS(dpt_run_dir_open("/proc/run", "cnn", false, &run), DPT_ERR_IO, "/proc/run cannot be made: ");
    CHECK_FAILS(dpt_run_dir_open("", "cnn", false, &run), DPT_ERR_CONFIG, "run.dir is empty");
    if (geteuid() == 0) return; /* root may write anywhere */
    mkdir(at("closed"), 0555);
    CHECK_FAILS(dpt_run_dir_open(at("closed/run"), "cnn", false, &run), DPT_ERR_IO, "Permission denied");
    CHECK_FAILS(dpt_run_dir_open(at("closed"), "cnn", false, &run), DPT_ERR_IO, "Permission denied");
}

/* Another process that holds the lock as another dptrain would, until pclose. */
static FILE *start_holder(const char *lock) {
    char command[1000];
    snprintf(command, sizeof command, "exec flock '%s' sh -c 'touch \"%s.held\"; read line'", lock, lock);
    FILE *holder = popen(command, "w");
    char held[420];
    snprintf(held, sizeof held, "%s.held", lock);
    for (int i = 0; i < 1000 && access(held, F_OK) != 0; i++) usleep(10000);
    CHECK(unlink(held) == 0);
    return holder;
}

static void locks(void) {
    dpt_run_dir *run, *other;
    char lock[400], text[400], host[256];
    gethostname(host, sizeof host);
    mkdir(at("locked"), 0777);
    snprintf(lock, sizeof lock, "%s", at("locked/lock"));

    snprintf(text, sizeof text, "%s 1234567\n", host);
    write_text(lock, text);
    FILE *holder = start_holder(lock);
    if (!CHECK(holder != NULL)) return;
    CHECK_FAILS(dpt_run_dir_open(at("locked"), "cnn", false, &run), DPT_ERR_CONFIG, "in use by process 1234567 on ");
    CHECK_FAILS(dpt_run_dir_open(at("locked"), "cnn", true, &run), DPT_ERR_CONFIG, host);
    CHECK_EQ_TEXT(read_text(lock), text);
    pclose(holder);
    CHECK_OK(dpt_run_dir_open(at("locked"), "cnn", false, &run)); /* it is gone: the lock is stale */
    snprintf(text, sizeof text, "%s %ld\n", host, (long)getpid());
    CHECK_EQ_TEXT(read_text(lock), text);
    CHECK_FAILS(dpt_run_dir_open(at("locked"), "cnn", true, &other), DPT_ERR_CONFIG, "in use by process");
    dpt_run_dir_close(&run);

    write_text(lock, "another.host 17\n");
    CHECK_FAILS(dpt_run_dir_open(at("locked"), "cnn", false, &run), DPT_ERR_CONFIG,
                "in use by process 17 on another.host (if that is gone, remove");
    write_text(lock, "no lock of ours");
    CHECK_OK(dpt_run_dir_open(at("locked"), "cnn", false, &run));
    dpt_run_dir_close(&run);
}

static void default_names(void) {
    char before[400], wanted[64];
    dpt_run_dir *run;
    if (!CHECK(getcwd(before, sizeof before) != NULL && chdir(check_tmpdir()) == 0)) return;
    unsetenv("SLURM_ARRAY_JOB_ID");
    setenv("SLURM_JOB_ID", "812", 1);
    if (CHECK_OK(dpt_run_dir_open(NULL, "mlp", false, &run))) CHECK_EQ_TEXT(dpt_run_dir_path(run), "runs/mlp-812");
    dpt_run_dir_close(&run);
    setenv("SLURM_ARRAY_JOB_ID", "800", 1);
    setenv("SLURM_ARRAY_TASK_ID", "3", 1);
    if (CHECK_OK(dpt_run_dir_open(NULL, "mlp", false, &run))) CHECK_EQ_TEXT(dpt_run_dir_path(run), "runs/mlp-800_3");
    dpt_run_dir_close(&run);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_ARRAY_JOB_ID");
    unsetenv("SLURM_ARRAY_TASK_ID");
    if (CHECK_OK(dpt_run_dir_open(NULL, "cnn", false, &run))) {
        int year, day, second, end = 0;
        snprintf(wanted, sizeof wanted, "%s", dpt_run_dir_path(run));
        CHECK(sscanf(wanted, "runs/cnn-%4d%4dT%6dZ%n", &year, &day, &second, &end) == 3 && wanted[end] == '\0');
        CHECK(year >= 2024);
    }
    dpt_run_dir_close(&run);
    CHECK(chdir(before) == 0);
}

static void report(void) {
    dpt_run_dir *run;
    if (!CHECK_OK(dpt_run_dir_open(at("reported"), "cnn", false, &run))) return;
    dpt_exit_report r = {.exit_code = 65,
                         .message = "a \"quoted\"\n\\ \xc3\xa9 \xff\xc3",
                         .rank = 3,
                         .host = "n1",
                         .step = 12,
                         .epoch = -1,
                         .phase = "train",
                         .started = "20260101T000000Z"};
    CHECK_OK(dpt_exit_report_write(dpt_run_dir_path(run), &r));
    CHECK_EQ_TEXT(read_text(at("reported/exit_report.json")),
                  "{\n  \"version\": \"0.1.0\",\n  \"exit_code\": 65,\n  \"status\": \"data\",\n"
                  "  \"message\": \"a \\\"quoted\\\"\\u000a\\\\ \xc3\xa9 \\ufffd\\ufffd\",\n  \"rank\": 3,\n"
                  "  \"host\": \"n1\",\n  \"step\": 12,\n  \"epoch\": null,\n  \"phase\": \"train\",\n"
                  "  \"started\": \"20260101T000000Z\",\n  \"ended\": null\n}\n");
    dpt_run_dir_close(&run);
}

/* Of several that write one is the first, and its report stays. */
static void first_report(void) {
    dpt_exit_report r = {.exit_code = 72, .message = "first", .rank = -1, .step = -1, .epoch = -1};
    bool first = false;
    mkdir(at("fatal"), 0777);
    CHECK_OK(dpt_exit_report_write_first(at("fatal"), 1, &r, &first));
    CHECK(first);
    r.message = "second";
    CHECK_OK(dpt_exit_report_write_first(at("fatal"), 2, &r, &first));
    CHECK(!first);
    const char *text = read_text(at("fatal/exit_report.json"));
    CHECK(strstr(text, "\"message\": \"first\"") && strstr(text, "\"rank\": null"));
    CHECK(access(at("fatal/exit_report.json.1"), F_OK) != 0 && access(at("fatal/exit_report.json.2"), F_OK) != 0);
    CHECK_FAILS(dpt_exit_report_write_first(at("nowhere"), 1, &r, &first), DPT_ERR_IO, "exit_report.json cannot be");
    CHECK(!first);
}

/* The table of the design, section 10. */
static void exit_codes(void) {
    const struct {
        dpt_status status;
        int code;
    } plain[] = {{DPT_OK, 0},          {DPT_ERR_ARG, 64},         {DPT_ERR_CONFIG, 64},
                 {DPT_ERR_SHAPE, 64},  {DPT_ERR_UNSUPPORTED, 64}, {DPT_ERR_MEMORY, 70},
                 {DPT_ERR_DATA, 65},   {DPT_ERR_IO, 74},          {DPT_ERR_PEER, 72},
                 {DPT_ERR_DEVICE, 71}, {DPT_ERR_DIVERGED, 73},    {DPT_ERR_INTERNAL, 70}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        CHECK_EQ_I64(dpt_exit_code(plain[i].status, DPT_EXIT_WHILE_RUNNING), plain[i].code);
    CHECK_EQ_I64(dpt_exit_code(DPT_ERR_DATA, DPT_EXIT_WHILE_LOADING), 66);
    CHECK_EQ_I64(dpt_exit_code(DPT_ERR_IO, DPT_EXIT_WHILE_LOADING), 66);
    CHECK_EQ_I64(dpt_exit_code(DPT_ERR_MEMORY, DPT_EXIT_WHILE_LOADING), 70);
    CHECK_EQ_I64(dpt_exit_code(DPT_OK, DPT_EXIT_WHILE_STOPPING), 75);
    CHECK_EQ_I64(dpt_exit_code(DPT_ERR_IO, DPT_EXIT_WHILE_STOPPING), 74);
    CHECK_EQ_I64(DPT_EXIT_REPLICAS, 76);
    CHECK_EQ_TEXT(dpt_exit_text(75), "preempted, resumable");
    CHECK_EQ_TEXT(dpt_exit_text(1), "unknown");
}

static const char *const launch_names[] = {"OMPI_COMM_WORLD_SIZE",
                                           "OMPI_COMM_WORLD_LOCAL_SIZE",
                                           "OMPI_MCA_orte_bound_at_launch",
                                           "OMPI_MCA_mpi_yield_when_idle",
                                           "OMP_NUM_THREADS",
                                           "SLURM_STEP_NUM_TASKS",
                                           "SLURM_STEP_TASKS_PER_NODE",
                                           "SLURM_CPUS_ON_NODE"};

static void clear_launch(void) {
    for (size_t i = 0; i < sizeof launch_names / sizeof *launch_names; i++) unsetenv(launch_names[i]);
}

static void singletons(void) {
    clear_launch();
    CHECK_OK(dpt_launch_check(1));
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    CHECK_OK(dpt_launch_check(1));
    setenv("SLURM_STEP_NUM_TASKS", "8", 1);
    CHECK_OK(dpt_launch_check(8));
    CHECK_FAILS(dpt_launch_check(1), DPT_ERR_CONFIG, "srun started 8 tasks");
    CHECK_FAILS(dpt_launch_check(1), DPT_ERR_CONFIG, "srun --mpi=pmix");
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    CHECK_OK(dpt_launch_check(1));
    clear_launch();
}

/* On one core of however many the host has. */
static void launch(void) {
    cpu_set_t all, one;
    dpt_launch l;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    clear_launch();
    CHECK_OK(dpt_launch_prepare(&l));
    CHECK(l.local_world == 1 && l.cores == CPU_COUNT(&all) && l.threads == CPU_COUNT(&all) && !l.oversubscribed);
    CHECK_EQ_I64(atoi(getenv("OMP_NUM_THREADS")), CPU_COUNT(&all));
    CHECK(getenv("OMPI_MCA_mpi_yield_when_idle") == NULL);

    clear_launch();
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
    CHECK_OK(dpt_launch_prepare(&l)); /* not bound: two ranks on this one core */
    CHECK(l.local_world == 2 && l.cores == 1 && l.threads == 1 && l.oversubscribed);
    CHECK_EQ_TEXT(getenv("OMPI_MCA_mpi_yield_when_idle"), "1");
    CHECK_EQ_TEXT(getenv("OMP_NUM_THREADS"), "1");

    clear_launch();
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
    setenv("OMPI_MCA_orte_bound_at_launch", "1", 1);
    setenv("OMP_NUM_THREADS", "5", 1);
    CHECK_OK(dpt_launch_prepare(&l)); /* bound: the other has a core of its own, if there is one */
    CHECK(l.threads == 1 && l.cores == online && l.oversubscribed == (online < 2));
    CHECK_EQ_TEXT(getenv("OMP_NUM_THREADS"), "5");
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);

    clear_launch();
    setenv("SLURM_STEP_TASKS_PER_NODE", "2(x3),4", 1);
    setenv("SLURM_CPUS_ON_NODE", "3", 1);
    CHECK_OK(dpt_launch_prepare(&l));
    CHECK(l.local_world == 4 && l.cores == 3 && l.threads == 1 && l.oversubscribed);
    clear_launch();
}

/* What the calls print, at times that we choose. */
static void progress(void) {
    char *text = NULL;
    size_t bytes = 0;
    dpt_progress p;
    dpt_progress_evaluation e = {.loss = 0.29714,
                                 .count = 2,
                                 .name = {"top5", "accuracy"},
                                 .value = {0.99, 0.89306},
                                 .samples = 10000,
                                 .seconds = 2};
    FILE *out = open_memstream(&text, &bytes);
    dpt_progress_start(&p, out, false, 100, 1000);
    dpt_progress_step(&p, 1, 1, 2.3, 128, 1001);
    dpt_progress_step(&p, 10, 1, 1.5, 1152, 1010); /* 1280 samples in 10 s; 90 steps at 1 s each */
    dpt_progress_evaluated(&p, 1, &e);
    dpt_progress_step(&p, 20, 2, 1.25, 1000, 1022); /* 12 s, 2 of them evaluation; 80 steps at 1.1 s */
    dpt_progress_step(&p, 100, 2, NAN, 50, 1023);   /* the last step always shows */
    dpt_progress_result(&p, &e);
    e.count = 1;
    dpt_progress_result(&p, &e);
    fclose(out);
    CHECK_EQ_TEXT(text,
                  "epoch 1  step 10/100  loss 1.5000  128 samples/s  90 s left\n"
                  "epoch 1  test loss 0.2971  test top5 0.9900  test accuracy 0.8931  (10000 samples, 2.0 s)\n"
                  "epoch 2  step 20/100  loss 1.2500  100 samples/s  88 s left\n"
                  "epoch 2  step 100/100  loss nan  50 samples/s  0 s left\n"
                  "test accuracy 0.8931\n"
                  "test loss 0.2971\n");
    free(text);
}

static void progress_terminal(void) {
    char *text = NULL;
    size_t bytes = 0;
    dpt_progress p;
    dpt_progress_evaluation e = {.loss = 0.5, .count = 1, .name = {"accuracy"}, .value = {0.75}};
    FILE *out = open_memstream(&text, &bytes);
    dpt_progress_start(&p, out, true, 10000, 0);
    dpt_progress_step(&p, 1, 1, 2, 100, 1);      /* 9999 s */
    dpt_progress_step(&p, 2, 1, 2, 100, 1.0625); /* too soon */
    dpt_progress_step(&p, 4, 1, 2, 100, 2);      /* 9996 * 0.5 s; 200 samples in 1 s; 1 shorter than the last */
    dpt_progress_step(&p, 20, 1, 2, 100, 3);     /* 9980 * 0.15 s */
    dpt_progress_result(&p, &e);
    fclose(out);
    CHECK_EQ_TEXT(text,
                  "\repoch 1  step 1/10000  loss 2.0000  100 samples/s  2h46m left"
                  "\repoch 1  step 4/10000  loss 2.0000  200 samples/s  1h23m left"
                  "\repoch 1  step 20/10000  loss 2.0000  100 samples/s  24m57s left"
                  "\r                                                               \r"
                  "test accuracy 0.7500\n");
    free(text);
}

static void header(void) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    dpt_progress_about about = {.version = "9.9",
                                .device = "cpu",
                                .model = "cnn",
                                .data = "Fashion-MNIST",
                                .order = "exact",
                                .reading = "4 batches ahead",
                                .run_dir = "runs/x",
                                .ranks = 8,
                                .hosts = 1,
                                .threads = 2,
                                .parameters = 1234,
                                .memory_bytes = 3 << 19,
                                .train_samples = 60000,
                                .test_samples = 10000,
                                .batch = 128,
                                .steps = 2345};
    dpt_progress_header(out, &about);
    fclose(out);
    const char *wanted[] = {"dptrain 9.9",
                            "8 on 1 host, 2 threads each, cpu",
                            "cnn, 1234 parameters, 1.5 MiB",
                            "60000 training samples, 10000 test",
                            "order       exact\n",
                            "reading     4 batches ahead\n",
                            "2345 steps of 128",
                            "runs/x\n"};
    for (int i = 0; i < 8; i++) check_that(strstr(text, wanted[i]) != NULL, __FILE__, __LINE__, "no wanted[%d]", i);
    free(text);
}

static void metrics(void) {
    dpt_metrics_log *log;
    dpt_metric first[] = {{.name = "step", .value = 9007199254740991},
                          {.name = "loss", .value = 0.1},
                          {.name = "grad_norm", .value = NAN},
                          {.name = "lr", .value = INFINITY}};
    dpt_metric second[] = {{.name = "test_loss", .value = -1.5e-12},
                           {.name = "confusion", .matrix = (int64_t[]){1, 2, 3, 4}, .side = 2}};
    char path[400];
    snprintf(path, sizeof path, "%s", at("metrics.jsonl"));
    if (!CHECK_OK(dpt_metrics_log_open(path, &log))) return;
    CHECK_OK(dpt_metrics_log_write(log, "train", first, 4));
    const char *line =
        "{\"event\": \"train\", \"step\": 9007199254740991, \"loss\": 0.1, \"grad_norm\": null, "
        "\"lr\": null}\n";
    CHECK_EQ_TEXT(read_text(path), line); /* there before the file is closed */
    CHECK_OK(dpt_metrics_log_close(&log));
    CHECK(log == NULL);
    CHECK_OK(dpt_metrics_log_open(path, &log)); /* goes on where it was */
    CHECK_OK(dpt_metrics_log_write(log, "evaluation", second, 2));
    CHECK_OK(dpt_metrics_log_close(&log));
    char both[400];
    snprintf(both, sizeof both,
             "%s{\"event\": \"evaluation\", \"test_loss\": -1.5e-12, \"confusion\": [[1, 2], [3, 4]]}\n", line);
    CHECK_EQ_TEXT(read_text(path), both);
    CHECK_FAILS(dpt_metrics_log_open(at("none/m"), &log), DPT_ERR_IO, "none/m cannot be opened: No such file");
    CHECK(log == NULL);
    CHECK_OK(dpt_metrics_log_close(&log));
    if (access("/dev/full", W_OK) != 0 || !CHECK_OK(dpt_metrics_log_open("/dev/full", &log))) return;
    CHECK_FAILS(dpt_metrics_log_write(log, "train", second, 2), DPT_ERR_IO, "No space left on device");
    dpt_metrics_log_close(&log);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "run_dir", {"open_and_write", open_and_write}, {"not_empty", not_empty},
                      {"cannot_be_made", cannot_be_made}, {"locks", locks}, {"default_names", default_names},
                      {"report", report}, {"first_report", first_report}, {"exit_codes", exit_codes},
                      {"singletons", singletons}, {"launch", launch}, {"progress", progress},
                      {"progress_terminal", progress_terminal}, {"header", header}, {"metrics", metrics});
}
