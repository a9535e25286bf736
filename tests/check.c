/* check.c: see check.h. Messages go to stderr with the rank in front; CUnit counts. */
#include "check.h"

#include <CUnit/Basic.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int rank, world = 1;
static char folder[256];
static void (*at_end)(void);

int check_rank(void) { return rank; }
int check_world(void) { return world; }
void check_at_end(void (*fn)(void)) { at_end = fn; }

const char *check_device(void) {
    const char *device = getenv("DPT_TEST_DEVICE");
    return device ? device : "cpu";
}

dpt_status check_context(MPI_Comm comm, int threads, dpt_context **context) {
    dpt_context_options o;
    dpt_context_options_init(&o);
    o.device = check_device();
    o.threads = threads;
    return dpt_context_create(comm, &o, context);
}

bool check_that(bool ok, const char *file, int line, const char *format, ...) {
    if (!ok) {
        char text[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        fprintf(stderr, "[rank %d] %s:%d: %s\n", rank, file, line, text);
    }
    CU_assertImplementation(ok, (unsigned)line, format, file, "", CU_FALSE);
    return ok;
}

bool check_ok(dpt_status status, const char *file, int line, const char *call) {
    return check_that(status == DPT_OK, file, line, "%s: %s: %s", call, dpt_status_text(status), dpt_last_error());
}

bool check_fails(dpt_status status, dpt_status code, const char *text, const char *file, int line, const char *call) {
    if (!check_that(status == code, file, line, "%s: status '%s', expected '%s' (%s)", call, dpt_status_text(status),
                    dpt_status_text(code), dpt_last_error()))
        return false;
    return check_that(strstr(dpt_last_error(), text) != NULL, file, line, "%s: message '%s' lacks '%s'", call,
                      dpt_last_error(), text);
}

bool check_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *as, const char *bs) {
    return check_that(a == b, file, line, "%s = %lld, %s = %lld", as, (long long)a, bs, (long long)b);
}

bool check_eq_text(const char *a, const char *b, const char *file, int line, const char *as) {
    return check_that(a && b && strcmp(a, b) == 0, file, line, "%s = '%s', expected '%s'", as, a ? a : "(null)",
                      b ? b : "(null)");
}

bool check_near(double a, double b, double tolerance, const char *file, int line, const char *as, const char *bs) {
    double scale = fabs(b) > 1 ? fabs(b) : 1;
    return check_that(fabs(a - b) <= tolerance * scale, file, line,
                      "%s = %.17g, %s = %.17g, off by %.3g (allowed %.3g)", as, a, bs, b, fabs(a - b),
                      tolerance * scale);
}

double check_relative_f64(const double *a, const double *b, int64_t n) {
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += (a[i] - b[i]) * (a[i] - b[i]);
        s += b[i] * b[i];
    }
    return s > 0 ? sqrt(d / s) : sqrt(d);
}

double check_relative_f32(const float *a, const float *b, int64_t n) {
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return s > 0 ? sqrt(d / s) : sqrt(d);
}

static void remove_folder(void) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (rank == 0 && folder[0] && system(command) != 0) fprintf(stderr, "left behind: %s\n", folder);
}

const char *check_tmpdir(void) {
    if (folder[0]) return folder;
    const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    if (rank == 0) {
        snprintf(folder, sizeof folder, "%s/dptrain-test-XXXXXX", base);
        if (mkdtemp(folder) == NULL) {
            perror(folder);
            exit(1);
        }
    }
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    return folder;
}

static bool chosen(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return true;
    return argc < 2;
}

int check_main(int argc, char **argv, const char *suite, const check_case *cases, int count) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    if (CU_initialize_registry() != CUE_SUCCESS) return 1;
    CU_pSuite s = CU_add_suite(suite, NULL, NULL);
    for (int i = 0; i < count; i++)
        if (chosen(argc, argv, cases[i].name)) CU_add_test(s, cases[i].name, cases[i].run);
    CU_basic_set_mode(rank == 0 ? CU_BRM_VERBOSE : CU_BRM_SILENT);
    CU_basic_run_tests();
    int failed = (int)CU_get_number_of_failures(), run = (int)CU_get_number_of_tests_run(), all = 0;
    CU_cleanup_registry();
    MPI_Allreduce(&failed, &all, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    remove_folder();
    if (at_end) at_end();
    MPI_Finalize();
    return all == 0 && run > 0 ? 0 : 1;
}
