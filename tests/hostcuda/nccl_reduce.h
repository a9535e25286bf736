/* nccl_reduce.h: sums and the like over the ranks' values, in the order of ranks: so the same bits on all ranks. */
#ifndef HOSTCUDA_NCCL_REDUCE_H
#define HOSTCUDA_NCCL_REDUCE_H

#include <nccl.h>
#include <stddef.h>

namespace hostnccl {

/* 0: not a type, or none that is implemented here (8 bits of float). */
size_t bytes_of(ncclDataType_t type);

/* out [count] = parts [0][count] op parts [1][count] op …, for `ranks` parts one after another. Types of 16 bits are
 * added in f32 and rounded once. */
void reduce_parts(ncclDataType_t type, ncclRedOp_t op, void *out, const void *parts, int ranks, size_t count);

}  // namespace hostnccl

#endif
