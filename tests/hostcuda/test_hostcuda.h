/* test_hostcuda.h: what the files of tests of CUDA on the host share. */
#ifndef HOSTCUDA_TEST_HOSTCUDA_H
#define HOSTCUDA_TEST_HOSTCUDA_H

#include "check.h"
#include "test_kernels.h"

/* The call returns this CUDA error, which is then cleared. */
#define CHECK_CODE(call, code) check_code((call), (code), __FILE__, __LINE__, #call)
#define CHECK_CUDA(call) CHECK_CODE(call, cudaSuccess)
bool check_code(cudaError_t got, cudaError_t expected, const char *file, int line, const char *call);

/* Device memory holding a copy of n floats; of n floats not written, where host is NULL. */
float *device_floats(const float *host, int n);
void read_floats(const float *device, float *host, int n);

/* Runs it in a child process, which must end abnormally and say the text on standard error. */
void check_dies(void (*run)(void), const char *text);

cudaStream_t make_stream(void); /* non-blocking */
cudaEvent_t make_event(void);   /* without timing */

/* Checks that need luck in the choice of an order are tried so often. */
enum { TRIES = 40 };

/* test_streams.c */
void test_waits(void);
void test_slots(void);
void test_queries(void);
void test_copies(void);
void test_graphs(void);
void test_captures(void);
void test_forked_captures(void);
void test_stale_addresses(void);
void test_counters(void);

/* test_cublaslt.c */
void test_products(void);
void test_transposes_and_batches(void);
void test_epilogues(void);
void test_sixteen_bit(void);
void test_refusals(void);
void test_algorithms(void);

#endif
