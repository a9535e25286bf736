/* block_advice.h: has the system read a block of a file as a whole when the first of its rows is wanted and more of
 * them will be, in any order: order lanes takes rows from few blocks at a time, which a system that sees reads of
 * single rows here and there does not guess. What lies in the page cache already costs a look a block. */
#ifndef DPT_DATA_BLOCK_ADVICE_H
#define DPT_DATA_BLOCK_ADVICE_H

#include <stdint.h>

enum { DPT_BLOCK_ADVICE_ROOM = 4096 };

/* Starts as zeros. The blocks that were looked at last: one that is forgotten is looked at again, no more. */
typedef struct dpt_block_advice {
    uint64_t seen[DPT_BLOCK_ADVICE_ROOM];
} dpt_block_advice;

/* Bytes [offset, offset + bytes) of an open file are a block that is read from in this round (an epoch). One thread at
 * a time. Local. */
void dpt_block_advise(dpt_block_advice *advice, uint64_t round, int descriptor, uint64_t offset, uint64_t bytes);

#endif
