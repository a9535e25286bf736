/* decode.h: the bytes of one HDF5 chunk, as they lie in the file, to its elements: the filters shuffle, deflate and
 * fletcher32 undone in any order, outside of HDF5 and its lock, each check made.
 *
 *   dpt_decoder *decoder;
 *   DPT_TRY(dpt_decoder_create(&decoder));
 *   DPT_TRY(dpt_decode(decoder, &pipeline, mask, in, in_bytes, out, out_bytes)); */
#ifndef DPT_DATA_DECODE_H
#define DPT_DATA_DECODE_H

#include <stdint.h>

#include "base/error.h"

typedef enum dpt_filter { DPT_FILTER_DEFLATE = 1, DPT_FILTER_SHUFFLE = 2, DPT_FILTER_FLETCHER32 = 3 } dpt_filter;

enum { DPT_MAX_FILTERS = 8 };

/* In the order in which they were applied when the chunk was written; values of dpt_filter are those of HDF5. */
typedef struct dpt_pipeline {
    int count;
    uint8_t filter[DPT_MAX_FILTERS];
    uint32_t element_bytes; /* that shuffle was told */
} dpt_pipeline;

/* One thread's: libdeflate's state and the room between two filters. */
typedef struct dpt_decoder dpt_decoder;
dpt_status dpt_decoder_create(dpt_decoder **decoder);
void dpt_decoder_destroy(dpt_decoder **decoder);

/* Decodes a chunk into exactly out_bytes. mask: bit i says that filter i was left out for this chunk. in and out do not
 * overlap; in may be changed. Local.
 * DPT_ERR_DATA: the stream is damaged or ends early, the checksum differs (both, in hex), the result has another size
 * (both). DPT_ERR_UNSUPPORTED: another filter, more than DPT_MAX_FILTERS. */
dpt_status dpt_decode(dpt_decoder *decoder, const dpt_pipeline *pipeline, uint32_t mask, void *in, uint64_t in_bytes,
                      void *out, uint64_t out_bytes);

#endif
