/* comm_values.h: operands of collectives whose results are known: small integers, exact in every type, and so are their
 * sums. */
#ifndef DPT_TESTS_COMM_VALUES_H
#define DPT_TESTS_COMM_VALUES_H

#include "backend/comm.h"
#include "base/numbers.h"
#include "check.h"

static inline int comm_value(int rank, int64_t i) { return (int)((i + rank) % 7); }
static inline int comm_sum(int64_t i) {
    int sum = 0;
    for (int r = 0; r < check_world(); r++) sum += comm_value(r, i);
    return sum;
}

static inline void comm_put(void *data, dpt_dtype dtype, int64_t i, int value) {
    switch (dtype) {
        case DPT_F32: ((float *)data)[i] = (float)value; break;
        case DPT_F64: ((double *)data)[i] = value; break;
        case DPT_U8: ((uint8_t *)data)[i] = (uint8_t)value; break;
        case DPT_I32: ((int32_t *)data)[i] = value; break;
        case DPT_I64: ((int64_t *)data)[i] = value; break;
        case DPT_BF16: ((uint16_t *)data)[i] = dpt_bf16_of_f32((float)value); break;
        case DPT_F16: ((uint16_t *)data)[i] = dpt_f16_of_f32((float)value); break;
    }
}

static inline double comm_get(const void *data, dpt_dtype dtype, int64_t i) {
    switch (dtype) {
        case DPT_F32: return (double)((const float *)data)[i];
        case DPT_F64: return ((const double *)data)[i];
        case DPT_U8: return ((const uint8_t *)data)[i];
        case DPT_I32: return ((const int32_t *)data)[i];
        case DPT_I64: return (double)((const int64_t *)data)[i];
        case DPT_BF16: return (double)dpt_f32_of_bf16(((const uint16_t *)data)[i]);
        case DPT_F16: return (double)dpt_f32_of_f16(((const uint16_t *)data)[i]);
    }
    return NAN;
}

/* What element i of `all`, seen by this rank, must be; NAN: it may be anything. */
static inline double comm_expected(dpt_collective what, int64_t count, int64_t i) {
    switch (what) {
        case DPT_ALL_REDUCE: return comm_sum(i);
        case DPT_BROADCAST: return comm_value(0, i);
        case DPT_ALL_GATHER: return comm_value((int)(i / count), i);
        case DPT_REDUCE_SCATTER: return i / count == check_rank() ? (double)comm_sum(i) : (double)NAN;
    }
    return (double)NAN;
}

#endif
