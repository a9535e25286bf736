/* op_table.h: the CPU's kernels by op number; NULL for ops without one. */
#ifndef DPT_OPS_OP_TABLE_H
#define DPT_OPS_OP_TABLE_H

#include "backend/kernel.h"
#include "ops/op_list.h"

extern const dpt_kernel *const dpt_cpu_kernels[DPT_OP_COUNT];

#endif
