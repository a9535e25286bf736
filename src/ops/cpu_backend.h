/* cpu_backend.h: the CPU's plug-in table. */
#ifndef DPT_OPS_CPU_BACKEND_H
#define DPT_OPS_CPU_BACKEND_H

#include "backend/backend.h"

const dpt_backend *dpt_cpu_backend(void);

#endif
