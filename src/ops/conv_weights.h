/* conv_weights.h: filters between the canonical order [O, C, K] and the tiles of 16 x 16 (8 x 8) channels that oneDNN's
 * convolutions want. Its own reorders take up to a third of the time of a convolution with many channels. */
#ifndef DPT_OPS_CONV_WEIGHTS_H
#define DPT_OPS_CONV_WEIGHTS_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct dpt_conv_weights {
    const float *from;
    float *to;
    int64_t out, in, taps;                          /* O, C, K */
    int64_t block, out_stride, in_stride, k_stride; /* of tiles, in elements */
    bool into_tiles, out_last;                      /* the innermost of a tile are outputs */
} dpt_conv_weights;

/* Whether there is a loop for this pair of layouts, one of them canonical; then all but the addresses is filled in. */
bool dpt_conv_weights_open(dpt_conv_weights *w, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                           const dnnl_memory_desc_t *canonical);
void dpt_conv_weights_run(const dpt_conv_weights *w, int threads);

#endif
