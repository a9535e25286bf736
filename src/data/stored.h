/* stored.h: the types that elements may have in a file: integers of 8 to 64 bits, floats of 16, 32 and 64, in either
 * byte order. */
#ifndef DPT_DATA_STORED_H
#define DPT_DATA_STORED_H

#include <stdbool.h>
#include <stdint.h>

#include "dptrain/types.h"

typedef enum dpt_stored_kind {
    DPT_STORED_FLOAT = 0,
    DPT_STORED_SIGNED = 1,
    DPT_STORED_UNSIGNED = 2,
    DPT_STORED_KIND_COUNT = 3
} dpt_stored_kind;

typedef struct dpt_stored {
    uint8_t kind;    /* dpt_stored_kind */
    uint8_t bytes;   /* 1, 2, 4 or 8; a float has 2 at least */
    bool big_endian; /* false for single bytes */
} dpt_stored;

/* The type of a dtype, little-endian. BF16 has none: as F16. */
dpt_stored dpt_stored_of(dpt_dtype dtype);
/* Whether the bytes in a file are those of this dtype in memory. */
bool dpt_stored_is(dpt_stored stored, dpt_dtype dtype);
bool dpt_stored_equal(dpt_stored a, dpt_stored b);
/* Whether it is one of those above. */
bool dpt_stored_valid(dpt_stored stored);
/* "u8", "i16", "f32", "f32 big-endian"; "?" for what is not valid. */
const char *dpt_stored_text(dpt_stored stored);

#endif
