/* kernel_call.h: runs one kernel on arrays of a test, as the executor would, without graph or program. */
#ifndef DPT_TESTS_KERNEL_CALL_H
#define DPT_TESTS_KERNEL_CALL_H

#include <string.h>

#include "backend/device.h"
#include "base/memory.h"
#include "check.h"
#include "ops/op_table.h"

/* An operand over data; with batch, dim[0] is the capacity of batch axis 0. */
static inline dpt_operand kernel_operand(const void *data, dpt_dtype dtype, bool batch, int ndim, const int64_t *dim) {
    dpt_operand o = {.data = (void *)(uintptr_t)data, .dtype = dtype, .ndim = ndim, .axis = batch ? 0 : -1, .count = 1};
    for (int i = 0; i < ndim; i++) o.dim[i] = dim[i], o.count *= dim[i];
    o.row_count = batch ? o.count / dim[0] : o.count;
    return o;
}

static inline dpt_operand kernel_vector(const void *data, dpt_dtype dtype, int64_t count) {
    return kernel_operand(data, dtype, false, 1, &count);
}

static inline dpt_operand kernel_scalar(const void *data, dpt_dtype dtype) {
    return kernel_operand(data, dtype, false, 0, NULL);
}

/* Runs a kernel once on the device that tests run on. call has op, operands on host memory, attributes, block and
 * arenas; this adds a device of `threads` threads, a workspace filled with 0xff bytes (NaN) and a table, runs and
 * releases. On a GPU every operand gets memory of its own, so that a store out of bounds shows, and is copied back. */
void kernel_run(dpt_call *call, int threads);
/* The same, run `times` times after one bind, as a program does in its steps; on a GPU what it only writes is spoilt
 * between the runs. */
void kernel_run_times(dpt_call *call, int threads, int times);

#endif
