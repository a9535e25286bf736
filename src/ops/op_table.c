/* op_table.c: the two tables that op_list.h makes: what the graph knows, and the CPU's kernels,
 * which all go through widen.c. */
#include "ops/op_table.h"

#include "ops/declare.h"
#include "ops/widen.h"

const dpt_op *const dpt_ops[] = {
#define OP(ID, name) [DPT_OP_##ID] = &dpt_op_##name,
    DPT_OP_LIST(OP, OP)};

const dpt_kernel *const dpt_cpu_kernels[DPT_OP_COUNT] = {
#define KERNEL(ID, name) [DPT_OP_##ID] = &dpt_cpu_widening,
#define NOTHING(ID, name)
    DPT_OP_LIST(KERNEL, NOTHING)};
