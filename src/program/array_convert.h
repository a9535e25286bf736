/* array_convert.h: arrays of one element type to another, as inputs need it: f64 to f32 and back, integers to floats,
 * integers to integers where every value fits. */
#ifndef DPT_PROGRAM_ARRAY_CONVERT_H
#define DPT_PROGRAM_ARRAY_CONVERT_H

#include "base/error.h"
#include "dptrain/types.h"

/* Whether the conversion can be made. DPT_ERR_ARG: floats to integers, no such type, or an integer that does not fit
 * (its index is named). */
dpt_status dpt_array_check(const void *from, dpt_dtype from_type, dpt_dtype to_type, int64_t count);
/* Converts; errors as above. */
dpt_status dpt_array_convert(const void *from, dpt_dtype from_type, void *to, dpt_dtype to_type, int64_t count);

#endif
