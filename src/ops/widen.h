/* widen.h: the kernel that stands in the CPU's table for every operation: it runs the operation's own, on f32 copies
 * where operands are 16-bit floats. */
#ifndef DPT_OPS_WIDEN_H
#define DPT_OPS_WIDEN_H

#include "backend/kernel.h"

extern const dpt_kernel dpt_cpu_widening;

#endif
