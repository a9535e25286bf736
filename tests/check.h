/* check.h: what every test binary shares: one CUnit suite from a table, MPI started if the launcher is mpirun, checks
 * that print what they compared.
 *
 *   static void adds(void) { CHECK_EQ_I64(1 + 1, 2); }
 *   int main(int argc, char **argv) { return CHECK_MAIN(argc, argv, "base", {"adds", adds}); } */
#ifndef DPT_TESTS_CHECK_H
#define DPT_TESTS_CHECK_H

#include <CUnit/CUnit.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dptrain/context.h"

/* Under a sanitizer, where a test takes ten times as long: campaigns are then shorter. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECK_IS_SLOW 1
#else
#define CHECK_IS_SLOW 0
#endif

typedef struct check_case {
    const char *name;
    void (*run)(void);
} check_case;

/* Runs the cases; starts and ends MPI around them. The exit status: 0 if all passed on this rank. Arguments, where
 * given, name the cases to run. */
int check_main(int argc, char **argv, const char *suite, const check_case *cases, int count);
#define CHECK_MAIN(argc, argv, suite, ...)                           \
    check_main(argc, argv, suite, (const check_case[]){__VA_ARGS__}, \
               (int)(sizeof((const check_case[]){__VA_ARGS__}) / sizeof(check_case)))

int check_rank(void);
int check_world(void);

/* The device that tests run on: the environment's DPT_TEST_DEVICE, "cpu" by default. */
const char *check_device(void);
/* A context on that device; 0 threads: the default. Collective over comm. */
dpt_status check_context(MPI_Comm comm, int threads, dpt_context **context);
/* Called once before MPI ends, for what a helper keeps. */
void check_at_end(void (*fn)(void));

bool check_that(bool ok, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));

#define CHECK(condition) check_that((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_OK(call) check_ok((call), __FILE__, __LINE__, #call)
/* The call fails with this status and its message holds the text. */
#define CHECK_FAILS(call, code, text) check_fails((call), (code), (text), __FILE__, __LINE__, #call)
#define CHECK_EQ_I64(a, b) check_eq_i64((int64_t)(a), (int64_t)(b), __FILE__, __LINE__, #a, #b)
#define CHECK_EQ_TEXT(a, b) check_eq_text((a), (b), __FILE__, __LINE__, #a)
/* |a-b| <= tolerance * max(1, |b|) */
#define CHECK_NEAR(a, b, tolerance) check_near((a), (b), (tolerance), __FILE__, __LINE__, #a, #b)

bool check_ok(dpt_status status, const char *file, int line, const char *call);
bool check_fails(dpt_status status, dpt_status code, const char *text, const char *file, int line, const char *call);
bool check_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *as, const char *bs);
bool check_eq_text(const char *a, const char *b, const char *file, int line, const char *as);
bool check_near(double a, double b, double tolerance, const char *file, int line, const char *as, const char *bs);

/* ||a-b||2 / ||b||2, over n values; ||a||2 where b is all zero. */
double check_relative_f32(const float *a, const float *b, int64_t n);
double check_relative_f64(const double *a, const double *b, int64_t n);

/* A fresh folder under TMPDIR, the same path on all ranks, removed at exit by rank 0. Collective. */
const char *check_tmpdir(void);

#endif
