/* declare.h: declares every op and every CPU kernel of op_list.h, for the files that define them. */
#ifndef DPT_OPS_DECLARE_H
#define DPT_OPS_DECLARE_H

#include "backend/kernel.h"
#include "graph/op.h"
#include "ops/op_list.h"

#define DPT_DECLARE_OP(ID, name) extern const dpt_op dpt_op_##name;
#define DPT_DECLARE_KERNEL(ID, name)   \
    extern const dpt_op dpt_op_##name; \
    extern const dpt_kernel dpt_cpu_##name;
DPT_OP_LIST(DPT_DECLARE_KERNEL, DPT_DECLARE_OP)
#undef DPT_DECLARE_OP
#undef DPT_DECLARE_KERNEL

#endif
