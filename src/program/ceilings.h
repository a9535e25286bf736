/* ceilings.h: what a device can do at most, measured through the same interface that programs use: a large copy, and a
 * large matrix product. */
#ifndef DPT_PROGRAM_CEILINGS_H
#define DPT_PROGRAM_CEILINGS_H

#include "backend/backend.h"
#include "program/timeline.h"

/* Takes well under a second and, for its time, memory beside the program's. dtype: of the product's operands. Local. */
dpt_status dpt_ceilings_measure(const dpt_backend *backend, dpt_device *device, dpt_dtype dtype, bool tf32,
                                dpt_ceilings *ceilings);

/* The same for the type that products are computed in under a precision. */
dpt_status dpt_ceilings_of_precision(dpt_context *ctx, dpt_precision precision, dpt_ceilings *ceilings);

#endif
